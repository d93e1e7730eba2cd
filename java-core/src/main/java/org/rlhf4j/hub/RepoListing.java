package org.rlhf4j.hub;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.LinkedHashMap;
import java.util.Map;

/** What a repository holds at one commit. */
record RepoListing(String commit, Map<String, RepoFile> files) {
  /**
   * From the answer of {@code /api/models/{repo}/revision/{revision}?blobs=true}.
   *
   * @throws HubException if it is no such answer, or names a file outside the repository
   */
  static RepoListing from(JsonNode answer, String server) {
    String commit = answer.path("sha").asText();
    JsonNode siblings = answer.path("siblings");
    if (!SafeNames.isCommit(commit) || !siblings.isArray()) {
      throw new HubException(
          server
              + ": expected sha and siblings in the description of the model, found neither or"
              + " something else; is HF_ENDPOINT right?");
    }
    Map<String, RepoFile> files = new LinkedHashMap<>();
    for (JsonNode sibling : siblings) {
      String name = SafeNames.checked(sibling.path("rfilename").asText(), server);
      JsonNode lfs = sibling.path("lfs");
      boolean large = lfs.isObject();
      long size = (large ? lfs : sibling).path("size").asLong(-1);
      String etag = (large ? lfs.path("sha256") : sibling.path("blobId")).asText("");
      files.put(name, new RepoFile(name, size, SafeNames.isEtag(etag) ? etag : ""));
    }
    return new RepoListing(commit, files);
  }
}
