package org.rlhf4j.hub;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Optional;
import org.rlhf4j.InputException;

/**
 * Finds models by name: {@code org/name}, {@code org/name@revision} (a branch, a tag or a commit),
 * and {@code org/name:FILE.gguf} for one GGUF file of a repository. The local Hugging Face cache is
 * looked in first; what it lacks is downloaded into it, resumed where an earlier download ended,
 * and checked by size and checksum. A cache that huggingface_hub filled is used as it is, and
 * huggingface_hub finds what was downloaded here.
 *
 * <pre>{@code
 * Path folder = ModelHub.fromEnvironment().resolve("org/name");
 * try (ModelFiles files = ModelFiles.open(folder)) { ... }
 * }</pre>
 *
 * <p>Immutable; safe for use by several threads and processes at once.
 */
public final class ModelHub {
  private final HubSettings settings;
  private final HubProgress progress;

  private ModelHub(HubSettings settings, HubProgress progress) {
    this.settings = settings;
    this.progress = progress;
  }

  /** Set up by the environment variables of huggingface_hub: see {@link HubSettings#from}. */
  public static ModelHub fromEnvironment() {
    return of(HubSettings.fromEnvironment());
  }

  public static ModelHub of(HubSettings settings) {
    return new ModelHub(settings, HubProgress.NONE);
  }

  /** The same hub, which tells {@code listener} of its downloads. */
  public ModelHub withProgress(HubProgress listener) {
    return new ModelHub(settings, listener);
  }

  /**
   * The folder, or the GGUF file, that {@code pathOrName} means: an existing path is itself,
   * anything else must be a name.
   *
   * @throws InputException if it is neither, or there is no such model or revision, or no access to
   *     it
   * @throws HubException if the network, the server or the disk failed; calling again resumes
   */
  public Path resolve(String pathOrName) {
    Path path = path(pathOrName);
    if (path != null && Files.exists(path)) {
      return path;
    }
    ModelName model =
        ModelName.parse(pathOrName)
            .orElseThrow(
                () ->
                    new InputException(
                        pathOrName
                            + ": no such file or folder, and not a model's name: expected an"
                            + " existing path or "
                            + ModelName.FORM));
    try {
      return find(model);
    } catch (IOException e) {
      throw new HubException(model + ": cannot write to " + settings.cache() + ": " + e, e);
    }
  }

  private static Path path(String text) {
    try {
      return Path.of(text);
    } catch (InvalidPathException e) {
      return null;
    }
  }

  private Path find(ModelName model) throws IOException {
    HubCache cache = new HubCache(settings.cache(), model.repo());
    Optional<String> commit = cache.commit(model.revision());
    Optional<Path> usable = commit.flatMap(c -> cached(cache, model, c));
    boolean complete =
        usable.isPresent() && (model.file().isPresent() || cache.isComplete(commit.get()));
    if (complete || settings.offline() && usable.isPresent()) {
      return usable.get();
    }
    if (settings.offline()) {
      throw new InputException(
          model
              + ": no such file or folder here, and not (wholly) in the cache "
              + settings.cache()
              + "; --offline or HF_HUB_OFFLINE forbids to download it");
    }
    try (HubClient client = new HubClient(settings, progress)) {
      Optional<RepoListing> listing = listing(client, model, usable);
      return listing.isPresent()
          ? new RepoDownload(settings, progress, client, cache, model, listing.get()).run()
          : usable.get();
    } catch (HubException e) {
      throw new HubException(
          e.getMessage() + "; what was downloaded is kept, and running again resumes", e);
    }
  }

  /** Empty where the server does not answer and the cache will do. */
  private Optional<RepoListing> listing(HubClient client, ModelName model, Optional<Path> usable) {
    try {
      return Optional.of(client.listing(model));
    } catch (HubException | InputException e) {
      if (usable.isEmpty()) {
        throw e;
      }
      progress.note(e.getMessage() + "; using " + usable.get());
      return Optional.empty();
    }
  }

  /** What the cache has of the model at {@code commit}, if its weights are all there. */
  private static Optional<Path> cached(HubCache cache, ModelName model, String commit) {
    Path snapshot = cache.snapshot(commit);
    return model.file().isPresent()
        ? Optional.of(snapshot.resolve(model.file().get())).filter(Files::isRegularFile)
        : Optional.of(snapshot).filter(s -> cache.hasWeights(commit));
  }
}
