package org.rlhf4j.hub;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Stream;
import org.rlhf4j.json.Json;

/** A hub on loopback with one repository, {@code org/tiny}, and faults on demand. */
public final class HubServer implements AutoCloseable {
  public static final String REPO = "org/tiny";
  public static final String COMMIT = "0123456789abcdef0123456789abcdef01234567";

  /** One request as it came. */
  record Request(String method, String path, String range, String authorization) {}

  /** What is done with a request in place of the right answer. */
  interface Fault {
    void answer(HttpExchange exchange, byte[] content) throws IOException;
  }

  /** Set: every file is redirected there. */
  HubServer cdn;

  /** Whether the listing tells sizes and checksums. */
  boolean blobs = true;

  boolean ranges = true;

  final List<Request> requests = new CopyOnWriteArrayList<>();

  private final Map<String, byte[]> files = new LinkedHashMap<>();
  private final Map<String, Deque<Fault>> faults = new ConcurrentHashMap<>();
  private final Map<String, Long> sent = new ConcurrentHashMap<>();
  private final HttpServer server;
  private final ExecutorService workers = Executors.newCachedThreadPool();

  public HubServer() throws IOException {
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 50);
    server.setExecutor(workers);
    server.createContext("/", this::handle);
    server.start();
  }

  public String endpoint() {
    return "http://127.0.0.1:" + server.getAddress().getPort();
  }

  HubServer with(String name, byte[] content) {
    files.put(name, content);
    return this;
  }

  HubServer with(String name, String content) {
    return with(name, content.getBytes(StandardCharsets.UTF_8));
  }

  /** Serves every file of a folder. */
  public HubServer withFolder(Path folder) throws IOException {
    try (Stream<Path> all = Files.list(folder)) {
      for (Path file : all.filter(Files::isRegularFile).sorted().toList()) {
        with(file.getFileName().toString(), Files.readAllBytes(file));
      }
    }
    return this;
  }

  /** The next request for {@code what}, a file's name or "listing", goes wrong so. */
  HubServer failing(String what, Fault... some) {
    faults.computeIfAbsent(what, w -> new ArrayDeque<>()).addAll(List.of(some));
    return this;
  }

  /** Bytes of a file's content that were sent in all. */
  long sent(String name) {
    return sent.getOrDefault(name, 0L);
  }

  long count(String part) {
    return requests.stream().filter(r -> r.path().contains(part)).count();
  }

  static Fault status(int status, String... headers) {
    return (exchange, content) -> {
      for (int i = 0; i < headers.length; i += 2) {
        exchange.getResponseHeaders().add(headers[i], headers[i + 1]);
      }
      exchange.sendResponseHeaders(status, -1);
    };
  }

  /** Says the whole length, sends {@code bytes} and drops the connection. */
  Fault dropAfter(String name, int bytes) {
    return (exchange, content) -> {
      exchange.sendResponseHeaders(200, content.length);
      exchange.getResponseBody().write(content, 0, bytes);
      exchange.getResponseBody().flush();
      sent.merge(name, (long) bytes, Long::sum);
      exchange.close();
    };
  }

  /** Sends something else, whole. */
  static Fault instead(byte[] other) {
    return (exchange, content) -> {
      exchange.sendResponseHeaders(200, other.length);
      exchange.getResponseBody().write(other);
    };
  }

  /** Sends {@code bytes} and then nothing, with the connection open. */
  static Fault stallAfter(int bytes) {
    return (exchange, content) -> {
      exchange.sendResponseHeaders(200, content.length);
      exchange.getResponseBody().write(content, 0, bytes);
      exchange.getResponseBody().flush();
      try {
        Thread.sleep(3000);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    };
  }

  private void handle(HttpExchange exchange) throws IOException {
    try (exchange) {
      String path = exchange.getRequestURI().getPath();
      requests.add(
          new Request(
              exchange.getRequestMethod(),
              path,
              exchange.getRequestHeaders().getFirst("Range"),
              exchange.getRequestHeaders().getFirst("Authorization")));
      String api = "/api/models/" + REPO + "/revision/";
      String resolve = "/" + REPO + "/resolve/" + COMMIT + "/";
      if (path.startsWith(api)) {
        String revision = path.substring(api.length());
        byte[] listing = listing();
        Fault fault = next("listing");
        if (fault != null) {
          fault.answer(exchange, listing);
        } else if (List.of("main", "v1", "refs/pr/1", COMMIT).contains(revision)) {
          exchange.sendResponseHeaders(200, listing.length);
          exchange.getResponseBody().write(listing);
        } else {
          status(404, "X-Error-Code", "RevisionNotFound").answer(exchange, listing);
        }
      } else if (path.startsWith(resolve) && files.containsKey(path.substring(resolve.length()))) {
        file(exchange, path.substring(resolve.length()));
      } else {
        status(401, "X-Error-Code", "RepoNotFound").answer(exchange, new byte[0]);
      }
    }
  }

  private Fault next(String what) {
    synchronized (faults) {
      Deque<Fault> queue = faults.get(what);
      return queue == null ? null : queue.poll();
    }
  }

  private void file(HttpExchange exchange, String name) throws IOException {
    byte[] content = files.get(name);
    exchange.getResponseHeaders().add("X-Repo-Commit", COMMIT);
    exchange.getResponseHeaders().add("X-Linked-Etag", '"' + etag(name) + '"');
    exchange.getResponseHeaders().add("X-Linked-Size", "" + content.length);
    Fault fault = next(name);
    if (fault != null) {
      fault.answer(exchange, content);
      return;
    }
    if (cdn != null) {
      status(302, "Location", cdn.endpoint() + exchange.getRequestURI().getPath())
          .answer(exchange, content);
      return;
    }
    if (exchange.getRequestMethod().equals("HEAD")) {
      exchange.getResponseHeaders().add("Content-Length", "" + content.length);
      exchange.sendResponseHeaders(200, -1);
      return;
    }
    String range = exchange.getRequestHeaders().getFirst("Range");
    int from = 0;
    if (range != null && ranges) {
      from = Integer.parseInt(range.replaceAll("bytes=([0-9]+)-", "$1"));
      exchange
          .getResponseHeaders()
          .add(
              "Content-Range", "bytes " + from + "-" + (content.length - 1) + "/" + content.length);
    }
    exchange.sendResponseHeaders(from > 0 ? 206 : 200, content.length - from);
    try (OutputStream out = exchange.getResponseBody()) {
      out.write(content, from, content.length - from);
      sent.merge(name, (long) content.length - from, Long::sum);
    }
  }

  private byte[] listing() {
    ObjectNode all = Json.MAPPER.createObjectNode();
    all.put("sha", COMMIT);
    ArrayNode siblings = all.putArray("siblings");
    files.forEach(
        (name, content) -> {
          ObjectNode sibling = siblings.addObject().put("rfilename", name);
          if (blobs) {
            sibling.put("size", content.length).put("blobId", sum("SHA-1", blob(content)));
            if (isLarge(name)) {
              sibling
                  .putObject("lfs")
                  .put("sha256", sum("SHA-256", content))
                  .put("size", content.length);
            }
          }
        });
    return all.toString().getBytes(StandardCharsets.UTF_8);
  }

  private static boolean isLarge(String name) {
    return name.endsWith(".safetensors") || name.endsWith(".gguf");
  }

  String etag(String name) {
    byte[] content = files.get(name);
    return isLarge(name) ? sum("SHA-256", content) : sum("SHA-1", blob(content));
  }

  private static byte[] blob(byte[] content) {
    byte[] head = ("blob " + content.length + "\0").getBytes(StandardCharsets.US_ASCII);
    byte[] all = Arrays.copyOf(head, head.length + content.length);
    System.arraycopy(content, 0, all, head.length, content.length);
    return all;
  }

  private static String sum(String algorithm, byte[] bytes) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance(algorithm).digest(bytes));
    } catch (NoSuchAlgorithmException e) {
      throw new UncheckedIOException(new IOException(e));
    }
  }

  @Override
  public void close() {
    server.stop(0);
    workers.shutdownNow();
  }
}
