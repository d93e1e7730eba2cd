package org.rlhf4j.hub;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpHeaders;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Arrays;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;

/** The hub's protocol: descriptions of models, and their files at a commit. */
final class HubClient implements AutoCloseable {
  private static final Set<Integer> REDIRECTS = Set.of(301, 302, 303, 307, 308);
  private static final Set<Integer> PASSING = Set.of(408, 429, 500, 502, 503, 504);
  private static final int MOST_REDIRECTS = 10;

  /** Descriptions of the largest repositories have a few megabytes. */
  private static final int LONGEST_DESCRIPTION = 64 << 20;

  private final HubSettings settings;
  private final HubProgress progress;
  private final HttpClient http;

  HubClient(HubSettings settings, HubProgress progress) {
    this.settings = settings;
    this.progress = progress;
    // Redirects are followed here: the client would take the token along.
    this.http =
        HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .followRedirects(HttpClient.Redirect.NEVER)
            .connectTimeout(settings.timeout())
            .build();
  }

  /**
   * An answer that is not a redirect and no passing trouble.
   *
   * @param linked headers of the first hop that tells of the file behind it, else of the last
   */
  record Reply(int status, HttpHeaders headers, HttpHeaders linked, InputStream body)
      implements AutoCloseable {
    Optional<String> header(String name) {
      return headers.firstValue(name);
    }

    @Override
    public void close() throws IOException {
      body.close();
    }
  }

  /**
   * What the model's repository holds.
   *
   * @throws InputException if there is no such repository or revision, or no access to it
   * @throws HubException if the server cannot be reached or does not answer as a hub does
   */
  RepoListing listing(ModelName model) {
    URI uri =
        URI.create(
            settings.endpoint()
                + "/api/models/"
                + model.repo()
                + "/revision/"
                + encoded(model.revision())
                + "?blobs=true");
    Retries retries = new Retries(model.toString(), settings, progress);
    while (true) {
      try (Reply reply = send("GET", uri, 0)) {
        requireFound(reply, model, "");
        byte[] bytes = reply.body().readNBytes(LONGEST_DESCRIPTION);
        long length = reply.headers().firstValueAsLong("Content-Length").orElse(bytes.length);
        if (bytes.length < length) {
          throw new IOException("after " + bytes.length + " of " + length + " bytes");
        }
        return RepoListing.from(parse(bytes), settings.endpoint().toString());
      } catch (IOException e) {
        retries.after(e);
      }
    }
  }

  private JsonNode parse(byte[] bytes) throws IOException {
    try {
      return Json.MAPPER.readTree(bytes);
    } catch (JsonProcessingException e) {
      throw new HubException(
          settings.endpoint()
              + ": expected the description of a model as JSON, found something else; is"
              + " HF_ENDPOINT right?",
          e);
    }
  }

  /** {@code file} with what its headers say, where the listing left out size or checksum. */
  RepoFile completed(ModelName model, String commit, RepoFile file) {
    Retries retries = new Retries(model + ": " + file.name(), settings, progress);
    while (true) {
      try (Reply reply = send("HEAD", fileUri(model, commit, file), 0)) {
        requireFound(reply, model, file.name());
        HttpHeaders headers = reply.linked();
        String etag =
            headers
                .firstValue("X-Linked-Etag")
                .or(() -> headers.firstValue("ETag"))
                .map(e -> e.replaceAll("^W/", "").replace("\"", ""))
                .orElse("");
        long size =
            headers
                .firstValueAsLong("X-Linked-Size")
                .orElse(headers.firstValueAsLong("Content-Length").orElse(-1));
        RepoFile known = new RepoFile(file.name(), size, SafeNames.isEtag(etag) ? etag : "");
        if (!known.isKnown()) {
          throw new HubException(
              model + ": " + file.name() + ": expected the server to tell its size and ETag");
        }
        return known;
      } catch (IOException e) {
        retries.after(e);
      }
    }
  }

  /**
   * One attempt at a file's content from byte {@code from} on.
   *
   * @throws InputException if there is no access to it
   */
  Reply open(ModelName model, String commit, RepoFile file, long from) throws IOException {
    Reply reply = send("GET", fileUri(model, commit, file), from);
    try {
      if (reply.status() != 416) {
        requireFound(reply, model, file.name());
      }
      return reply;
    } catch (RuntimeException e) {
      reply.close();
      throw e;
    }
  }

  private URI fileUri(ModelName model, String commit, RepoFile file) {
    String path =
        Arrays.stream(file.name().split("/"))
            .map(HubClient::encoded)
            .collect(Collectors.joining("/"));
    return URI.create(settings.endpoint() + "/" + model.repo() + "/resolve/" + commit + "/" + path);
  }

  private static String encoded(String text) {
    return URLEncoder.encode(text, StandardCharsets.UTF_8).replace("+", "%20");
  }

  private Reply send(String method, URI first, long from) throws IOException {
    URI uri = first;
    HttpHeaders linked = null;
    for (int hop = 0; hop <= MOST_REDIRECTS; hop++) {
      HttpResponse<InputStream> response = sendOnce(method, uri, from);
      HttpHeaders headers = response.headers();
      if (linked == null && headers.firstValue("X-Linked-Etag").isPresent()) {
        linked = headers;
      }
      int status = response.statusCode();
      InputStream body = new TimedInput(response.body(), settings.timeout());
      if (!REDIRECTS.contains(status)) {
        if (PASSING.contains(status)) {
          body.close();
          throw new Trouble("the server answered " + status, retryAfter(headers));
        }
        return new Reply(status, headers, linked == null ? headers : linked, body);
      }
      body.close();
      uri = redirected(uri, headers.firstValue("Location").orElse(""));
    }
    throw new HubException(first + ": more than " + MOST_REDIRECTS + " redirects");
  }

  private HttpResponse<InputStream> sendOnce(String method, URI uri, long from) throws IOException {
    HttpRequest.Builder request =
        HttpRequest.newBuilder(uri)
            .method(method, HttpRequest.BodyPublishers.noBody())
            .timeout(settings.timeout())
            .header("User-Agent", "rlhf4j")
            .header("Accept-Encoding", "identity");
    if (from > 0) {
      request.header("Range", "bytes=" + from + "-");
    }
    if (settings.token().isPresent() && isEndpoint(uri)) {
      request.header("Authorization", "Bearer " + settings.token().get());
    }
    try {
      return http.send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new HubException(uri.getHost() + ": interrupted", e);
    }
  }

  private boolean isEndpoint(URI uri) {
    URI own = settings.endpoint();
    return own.getScheme().equals(uri.getScheme())
        && own.getHost().equalsIgnoreCase(uri.getHost())
        && own.getPort() == uri.getPort();
  }

  private static URI redirected(URI from, String location) {
    URI to;
    try {
      to = from.resolve(URI.create(location));
    } catch (IllegalArgumentException e) {
      throw new HubException(from + ": redirects to what is no address: '" + location + "'", e);
    }
    String scheme = to.getScheme() == null ? "" : to.getScheme().toLowerCase(Locale.ROOT);
    boolean allowed =
        scheme.equals("https") || scheme.equals("http") && from.getScheme().equals("http");
    if (location.isEmpty() || to.getHost() == null || !allowed) {
      throw new HubException(
          from + ": redirects to " + to + ", expected an address with https; not followed");
    }
    return to;
  }

  private static Optional<Duration> retryAfter(HttpHeaders headers) {
    return headers
        .firstValue("Retry-After")
        .flatMap(
            text -> {
              try {
                if (text.strip().matches("[0-9]{1,9}")) {
                  return Optional.of(Duration.ofSeconds(Long.parseLong(text.strip())));
                }
                ZonedDateTime until =
                    ZonedDateTime.parse(text.strip(), DateTimeFormatter.RFC_1123_DATE_TIME);
                Duration wait = Duration.between(ZonedDateTime.now(until.getZone()), until);
                return Optional.of(wait.isNegative() ? Duration.ZERO : wait);
              } catch (DateTimeException e) {
                return Optional.empty();
              }
            });
  }

  private void requireFound(Reply reply, ModelName model, String file) {
    int status = reply.status();
    if (status == 200 || status == 206) {
      return;
    }
    String code = reply.header("X-Error-Code").orElse("");
    String where = model + (file.isEmpty() ? "" : ": " + file);
    String page = settings.endpoint() + "/" + model.repo();
    boolean token = settings.token().isPresent();
    if (code.equals("GatedRepo") || status == 403) {
      throw new InputException(
          where
              + ": no access: accept the model's licence at "
              + page
              + (token
                  ? ", with the account that HF_TOKEN belongs to, and see that the token may read it"
                  : " and set HF_TOKEN to a token of your account"));
    }
    if (code.equals("RevisionNotFound")) {
      throw new InputException(
          model.repo()
              + ": expected a branch, a tag or a commit after @, found '"
              + model.revision()
              + "', which "
              + page
              + " does not have");
    }
    if (status == 404 && !file.isEmpty()) {
      throw new HubException(
          where + ": the server lists the file and answers 404 when asked for it");
    }
    // The hub answers 401, not 404, where it will not say whether a repository exists.
    if (status == 401 || status == 404) {
      throw new InputException(
          where
              + ": no such file or folder here, and no such model at "
              + settings.endpoint()
              + (token
                  ? " that HF_TOKEN gives access to (is the token valid?)"
                  : "; if it is private, set HF_TOKEN"));
    }
    throw new HubException(where + ": the server answered " + status);
  }

  @Override
  public void close() {
    http.shutdownNow();
  }
}
