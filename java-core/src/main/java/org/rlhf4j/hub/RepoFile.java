package org.rlhf4j.hub;

/**
 * A file of a repository.
 *
 * @param name with slashes, inside the repository
 * @param size in bytes; -1 where the listing does not say
 * @param etag what the cache names its content by: the SHA-256 of a large file, the git blob's
 *     SHA-1 of a small one; empty where the listing does not say
 */
record RepoFile(String name, long size, String etag) {
  boolean isKnown() {
    return size >= 0 && !etag.isEmpty();
  }
}
