package org.rlhf4j.hub;

import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;
import static java.nio.file.StandardCopyOption.REPLACE_EXISTING;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import org.rlhf4j.json.Json;

/**
 * One repository's folder in the Hugging Face cache, laid out as huggingface_hub does:
 *
 * <pre>
 * .locks/models--org--name/ETAG.lock
 * models--org--name/refs/REVISION            the commit
 * models--org--name/blobs/ETAG               contents
 * models--org--name/snapshots/COMMIT/FILE    relative links to them; copies where links cannot be
 * models--org--name/.no_exist/COMMIT/FILE    empty: the repository is known not to have the file
 * </pre>
 */
final class HubCache {
  /**
   * The part of a file that has come so far. huggingface_hub's own parts have other names: the two
   * cannot see each other's locks.
   */
  private static final String PART = ".rlhf4j.incomplete";

  /** A file lock is the whole process's; threads are kept apart by these. */
  private static final Map<Path, ReentrantLock> THREADS = new ConcurrentHashMap<>();

  private final Path root;
  private final Path locks;
  private final boolean links;

  HubCache(Path cache, String repo) {
    this(cache, repo, true);
  }

  /**
   * @param links whether symbolic links are tried
   */
  HubCache(Path cache, String repo, boolean links) {
    String folder = "models--" + repo.replace("/", "--");
    this.root = cache.toAbsolutePath().resolve(folder);
    this.locks = cache.toAbsolutePath().resolve(".locks").resolve(folder);
    this.links = links;
  }

  Path root() {
    return root;
  }

  /** The commit that {@code revision} was when it was last asked for. */
  Optional<String> commit(String revision) throws IOException {
    if (SafeNames.isCommit(revision)) {
      return Optional.of(revision);
    }
    Path ref = root.resolve("refs").resolve(revision);
    return Files.isRegularFile(ref)
        ? Optional.of(Files.readString(ref).strip()).filter(SafeNames::isCommit)
        : Optional.empty();
  }

  void setCommit(String revision, String commit) throws IOException {
    if (!revision.equals(commit)) {
      Path ref = root.resolve("refs").resolve(revision);
      Files.createDirectories(ref.getParent());
      Path written = Files.createTempFile(ref.getParent(), ".ref", null);
      Files.writeString(written, commit);
      Files.move(written, ref, ATOMIC_MOVE, REPLACE_EXISTING);
    }
  }

  Path snapshot(String commit) {
    return root.resolve("snapshots").resolve(commit);
  }

  Path blob(RepoFile file) {
    return root.resolve("blobs").resolve(file.etag());
  }

  Path part(RepoFile file) {
    return root.resolve("blobs").resolve(file.etag() + PART);
  }

  /** Whether weights of a model or an adapter are there, all of them. */
  boolean hasWeights(String commit) {
    Path snapshot = snapshot(commit);
    return hasModel(snapshot) || isAdapter(snapshot);
  }

  private static boolean isAdapter(Path snapshot) {
    return Files.isRegularFile(snapshot.resolve(Wanted.ADAPTER_CONFIG))
        && Files.isRegularFile(snapshot.resolve(Wanted.ADAPTER_WEIGHTS));
  }

  private static boolean hasModel(Path snapshot) {
    if (!Files.isRegularFile(snapshot.resolve(Wanted.CONFIG))) {
      return false;
    }
    Path index = snapshot.resolve(Wanted.INDEX);
    if (!Files.isRegularFile(index)) {
      return Files.isRegularFile(snapshot.resolve(Wanted.WEIGHTS));
    }
    JsonNode json = Json.readObject(index);
    return Wanted.shards(json, index.toString()).stream()
        .allMatch(shard -> Files.isRegularFile(snapshot.resolve(shard)));
  }

  /**
   * Whether there is nothing to ask the server for: weights, and of every other file that matters
   * either the file or the knowledge that there is none.
   */
  boolean isComplete(String commit) {
    Path snapshot = snapshot(commit);
    List<String> others = new ArrayList<>();
    if (hasModel(snapshot)) {
      others.addAll(Wanted.OPTIONAL);
    }
    if (isAdapter(snapshot)) {
      others.add(Wanted.VALUE_HEAD);
    }
    return hasWeights(commit)
        && others.stream()
            .allMatch(
                name ->
                    Files.isRegularFile(snapshot.resolve(name))
                        || Files.exists(absent(commit, name)));
  }

  private Path absent(String commit, String name) {
    return root.resolve(".no_exist").resolve(commit).resolve(name);
  }

  void setAbsent(String commit, String name) throws IOException {
    Files.createDirectories(absent(commit, name).getParent());
    try {
      Files.createFile(absent(commit, name));
    } catch (FileAlreadyExistsException e) {
      // Known before.
    }
  }

  /** Makes {@code file}, whose blob is there, appear in the snapshot. */
  void link(String commit, RepoFile file) throws IOException {
    Path pointer = snapshot(commit).resolve(file.name());
    if (Files.isRegularFile(pointer)) {
      return;
    }
    Files.createDirectories(pointer.getParent());
    // A link that leads nowhere: its blob was deleted once.
    Files.deleteIfExists(pointer);
    try {
      if (!links) {
        throw new UnsupportedOperationException();
      }
      Files.createSymbolicLink(pointer, pointer.getParent().relativize(blob(file)));
    } catch (FileAlreadyExistsException e) {
      // Another thread made it just now, for the same content.
    } catch (UnsupportedOperationException | IOException e) {
      Path copy = Files.createTempFile(pointer.getParent(), ".copy", null);
      Files.copy(blob(file), copy, REPLACE_EXISTING);
      Files.move(copy, pointer, ATOMIC_MOVE, REPLACE_EXISTING);
    }
  }

  /** What is done under a file's lock. */
  interface Locked {
    void run() throws IOException;
  }

  /**
   * Runs {@code work} while no other thread or process has the lock of {@code file}.
   *
   * @param waiting is run once if the lock has to be waited for
   */
  void locked(RepoFile file, Runnable waiting, Locked work) throws IOException {
    Files.createDirectories(locks);
    Path path = locks.resolve(file.etag() + ".lock");
    ReentrantLock threads = THREADS.computeIfAbsent(path, p -> new ReentrantLock());
    threads.lock();
    try (FileChannel channel =
            FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
        FileLock lock = lock(channel, waiting)) {
      work.run();
    } finally {
      threads.unlock();
    }
  }

  private static FileLock lock(FileChannel channel, Runnable waiting) throws IOException {
    FileLock now = channel.tryLock();
    if (now != null) {
      return now;
    }
    waiting.run();
    return channel.lock();
  }

  /** Bytes that can still be written to the disk of the cache. */
  long usableSpace() throws IOException {
    Files.createDirectories(root);
    return Files.getFileStore(root).getUsableSpace();
  }
}
