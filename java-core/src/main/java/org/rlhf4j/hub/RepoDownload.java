package org.rlhf4j.hub;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorCompletionService;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.LongConsumer;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;

/**
 * A model's or an adapter's files at one commit, on their way into the cache. Weights come last, so
 * that where they are, the rest is too.
 */
final class RepoDownload {
  private static final int AT_ONCE = 4;

  private final HubSettings settings;
  private final HubProgress progress;
  private final HubClient client;
  private final HubCache cache;
  private final ModelName model;
  private final RepoListing listing;
  private long done;

  RepoDownload(
      HubSettings settings,
      HubProgress progress,
      HubClient client,
      HubCache cache,
      ModelName model,
      RepoListing listing) {
    this.settings = settings;
    this.progress = progress;
    this.client = client;
    this.cache = cache;
    this.model = model;
    this.listing = listing;
  }

  /** Downloads what is missing; the folder, or the GGUF file that the name names. */
  Path run() throws IOException {
    if (model.file().isPresent()) {
      String name = model.file().get();
      RepoFile file = listing.files().get(name);
      if (file == null) {
        throw new InputException(
            model.repo()
                + ": no file "
                + name
                + ", expected one of "
                + Wanted.ending(listing.files().keySet(), ".gguf"));
      }
      fetch(List.of(known(file)), List.of());
      cache.setCommit(model.revision(), listing.commit());
      return cache.snapshot(listing.commit()).resolve(name);
    }
    List<RepoFile> small = known(Wanted.small(model, listing));
    List<RepoFile> weights = known(Wanted.weights(model, listing, index()));
    fetch(small, weights);
    for (String name : Wanted.OPTIONAL) {
      recordAbsence(name);
    }
    recordAbsence(Wanted.VALUE_HEAD);
    cache.setCommit(model.revision(), listing.commit());
    return cache.snapshot(listing.commit());
  }

  private void recordAbsence(String name) throws IOException {
    if (!listing.files().containsKey(name)) {
      cache.setAbsent(listing.commit(), name);
    }
  }

  /** The index is needed first: it says which files are weights. */
  private JsonNode index() throws IOException {
    RepoFile index = listing.files().get(Wanted.INDEX);
    if (index == null) {
      return null;
    }
    download(known(index), 0, bytes -> {});
    return Json.readObject(cache.snapshot(listing.commit()).resolve(Wanted.INDEX));
  }

  private List<RepoFile> known(List<RepoFile> files) {
    return files.stream().map(this::known).toList();
  }

  private RepoFile known(RepoFile file) {
    return file.isKnown() ? file : client.completed(model, listing.commit(), file);
  }

  private void fetch(List<RepoFile> first, List<RepoFile> then) throws IOException {
    List<RepoFile> all = new ArrayList<>(first);
    all.addAll(then);
    long total = 0;
    for (RepoFile file : all) {
      total += file.size();
      done += present(file);
    }
    requireSpace(total - done);
    progress.begin(model.toString(), done, total);
    try (ExecutorService workers =
        Executors.newFixedThreadPool(
            AT_ONCE, work -> Thread.ofPlatform().daemon().name("download").unstarted(work))) {
      try {
        inParallel(workers, first);
        inParallel(workers, then);
      } finally {
        workers.shutdownNow();
      }
    } finally {
      progress.end();
    }
  }

  private void inParallel(ExecutorService workers, List<RepoFile> files) throws IOException {
    ExecutorCompletionService<Void> running = new ExecutorCompletionService<>(workers);
    for (RepoFile file : files) {
      long before = present(file);
      Callable<Void> task =
          () -> {
            download(file, before, this::count);
            return null;
          };
      running.submit(task);
    }
    try {
      for (int i = 0; i < files.size(); i++) {
        running.take().get();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new HubException(model + ": interrupted", e);
    } catch (ExecutionException e) {
      switch (e.getCause()) {
        case IOException cause -> throw cause;
        case RuntimeException cause -> throw cause;
        case Error cause -> throw cause;
        default -> throw new IllegalStateException(e.getCause());
      }
    }
  }

  private void download(RepoFile file, long before, LongConsumer more) throws IOException {
    String what = model + ": " + file.name();
    Retries retries = new Retries(what, settings, notes());
    cache.locked(
        file,
        () -> note(what + ": waiting for another process that downloads it"),
        new FileDownload(client, cache, model, listing.commit(), file, retries, before, more)::run);
  }

  /** The listener is told by one thread at a time. */
  private HubProgress notes() {
    return new HubProgress() {
      @Override
      public void note(String text) {
        RepoDownload.this.note(text);
      }
    };
  }

  private synchronized void note(String text) {
    progress.note(text);
  }

  private synchronized void count(long more) {
    done += more;
    progress.at(done);
  }

  private long present(RepoFile file) throws IOException {
    if (Files.isRegularFile(cache.blob(file))
        || Files.isRegularFile(cache.snapshot(listing.commit()).resolve(file.name()))) {
      return file.size();
    }
    Path part = cache.part(file);
    return Files.isRegularFile(part) ? Math.min(Files.size(part), file.size()) : 0;
  }

  private void requireSpace(long needed) throws IOException {
    long free = cache.usableSpace();
    if (needed > free) {
      throw new HubException(
          String.format(
              Locale.ROOT,
              "%s: needs %.1f GB more, and %s has %.1f GB free; HF_HUB_CACHE names another folder",
              model,
              needed / 1e9,
              cache.root().getParent(),
              free / 1e9));
    }
  }
}
