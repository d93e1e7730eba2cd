package org.rlhf4j.hub;

import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;
import static java.nio.file.StandardCopyOption.REPLACE_EXISTING;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Optional;
import java.util.function.LongConsumer;

/**
 * One file on its way into the cache: resumed where an earlier attempt, or an earlier process,
 * ended; checked; and only then given its name.
 */
final class FileDownload {
  /** Content that proves wrong is fetched once more: the fault may have been on the way. */
  private static final int MOST_WRONG = 2;

  private final HubClient client;
  private final HubCache cache;
  private final ModelName model;
  private final String commit;
  private final RepoFile file;
  private final Retries retries;

  /** Told how many bytes there are more than before; negative where a part was thrown away. */
  private final LongConsumer more;

  private long counted;

  /** The furthest that any attempt came. */
  private long furthest;

  FileDownload(
      HubClient client,
      HubCache cache,
      ModelName model,
      String commit,
      RepoFile file,
      Retries retries,
      long counted,
      LongConsumer more) {
    this.client = client;
    this.cache = cache;
    this.model = model;
    this.commit = commit;
    this.file = file;
    this.retries = retries;
    this.counted = counted;
    this.more = more;
  }

  /** To be called with the file's lock held. */
  void run() throws IOException {
    if (Files.isRegularFile(cache.snapshot(commit).resolve(file.name()))) {
      count(file.size());
      return;
    }
    Path blob = cache.blob(file);
    if (!Files.isRegularFile(blob)) {
      Files.createDirectories(blob.getParent());
      Path part = cache.part(file);
      furthest = Files.exists(part) ? Files.size(part) : 0;
      int wrong = 0;
      for (Optional<String> fault = fetch(part); fault.isPresent(); fault = fetch(part)) {
        Files.deleteIfExists(part);
        furthest = 0;
        if (++wrong == MOST_WRONG) {
          throw new HubException(
              model
                  + ": "
                  + file.name()
                  + ": "
                  + fault.get()
                  + ", twice; the file was thrown away");
        }
      }
      Files.move(part, blob, ATOMIC_MOVE, REPLACE_EXISTING);
    }
    count(file.size());
    cache.link(commit, file);
  }

  /**
   * Brings {@code part} to its end, in as many attempts as it takes; tells what is wrong with it.
   */
  private Optional<String> fetch(Path part) throws IOException {
    try (FileChannel out =
        FileChannel.open(part, StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
      if (out.size() > file.size()) {
        out.truncate(0);
      }
      out.position(out.size());
      count(out.size());
      Checksum sum = new Checksum(file);
      sum.update(part);
      while (out.position() < file.size()) {
        try {
          sum = receive(out, sum);
        } catch (LocalFailure e) {
          throw e.cause();
        } catch (IOException e) {
          if (out.position() > furthest) {
            furthest = out.position();
            retries.progressed();
          }
          retries.after(e);
          // What the attempt took in is in the file.
          sum = new Checksum(file);
          sum.update(part);
        }
      }
      if (out.position() > file.size()) {
        return Optional.of("expected " + file.size() + " bytes, found more");
      }
      String found = sum.found();
      return found.equals(file.etag())
          ? Optional.empty()
          : Optional.of("expected checksum " + file.etag() + ", found " + found);
    }
  }

  /** One attempt at the rest; the checksum that goes with what is then in {@code out}. */
  private Checksum receive(FileChannel out, Checksum before) throws IOException {
    Checksum sum = before;
    long from = out.position();
    try (HubClient.Reply reply = client.open(model, commit, file, from)) {
      if (from > 0 && !continues(reply, from)) {
        out.truncate(0);
        out.position(0);
        count(0);
        sum = new Checksum(file);
        if (reply.status() != 200) {
          throw new Trouble(
              "the server cannot continue at byte " + from + ", so from the start",
              Optional.empty());
        }
      }
      byte[] buffer = new byte[1 << 16];
      InputStream body = reply.body();
      int n = body.read(buffer);
      // One byte too many is enough to know.
      for (; n >= 0 && out.position() <= file.size(); n = body.read(buffer)) {
        write(out, buffer, n);
        sum.update(buffer, n);
        count(out.position());
      }
    }
    if (out.position() < file.size()) {
      throw new IOException("after " + out.position() + " of " + file.size() + " bytes");
    }
    return sum;
  }

  private static boolean continues(HubClient.Reply reply, long from) {
    return reply.status() == 206
        && reply
            .header("Content-Range")
            .map(range -> range.startsWith("bytes " + from + "-"))
            .orElse(false);
  }

  private static void write(FileChannel out, byte[] bytes, int length) throws IOException {
    ByteBuffer buffer = ByteBuffer.wrap(bytes, 0, length);
    try {
      while (buffer.hasRemaining()) {
        out.write(buffer);
      }
    } catch (IOException e) {
      throw new LocalFailure(e);
    }
  }

  private void count(long now) {
    if (now != counted) {
      more.accept(now - counted);
      counted = now;
    }
  }

  /** The disk failed, not the network: another attempt would not help. */
  private static final class LocalFailure extends IOException {
    private static final long serialVersionUID = 1L;

    LocalFailure(IOException cause) {
      super(cause);
    }

    IOException cause() {
      return (IOException) getCause();
    }
  }
}
