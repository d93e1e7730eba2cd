package org.rlhf4j.hub;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.rlhf4j.InputException;

/**
 * Where models come from and where they are kept.
 *
 * @param cache the folder of {@code models--org--name} folders
 * @param endpoint the server, without a slash at its end
 * @param token sent to the endpoint, and to no other host
 * @param offline the network is not to be used
 * @param timeout for an answer to begin, and for the next bytes of it to come
 * @param firstWait before the second attempt; doubles with each further one
 * @param attempts in a row that bring nothing, before giving up
 */
public record HubSettings(
    Path cache,
    URI endpoint,
    Optional<String> token,
    boolean offline,
    Duration timeout,
    Duration firstWait,
    int attempts) {
  private static final String DEFAULT_ENDPOINT = "https://huggingface.co";
  private static final Set<String> TRUE = Set.of("1", "ON", "YES", "TRUE");

  /** What the process's environment says. */
  public static HubSettings fromEnvironment() {
    return from(System.getenv());
  }

  /**
   * What the variables say, which are those of huggingface_hub: HF_HUB_CACHE, HF_HOME,
   * XDG_CACHE_HOME; HF_ENDPOINT; HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH; HF_HUB_OFFLINE,
   * TRANSFORMERS_OFFLINE; HF_HUB_DOWNLOAD_TIMEOUT in seconds.
   *
   * @throws InputException naming the variable whose value cannot be used
   */
  public static HubSettings from(Map<String, String> environment) {
    Variables variables = new Variables(environment);
    Path home =
        variables
            .path("HF_HOME")
            .orElseGet(
                () ->
                    variables
                        .path("XDG_CACHE_HOME")
                        .orElse(variables.home().resolve(".cache"))
                        .resolve("huggingface"));
    Path cache =
        variables
            .path("HF_HUB_CACHE")
            .or(() -> variables.path("HUGGINGFACE_HUB_CACHE"))
            .orElse(home.resolve("hub"));
    Path tokenFile = variables.path("HF_TOKEN_PATH").orElse(home.resolve("token"));
    Optional<String> token =
        variables
            .text("HF_TOKEN")
            .or(() -> variables.text("HUGGING_FACE_HUB_TOKEN"))
            .or(() -> read(tokenFile))
            .map(HubSettings::checkedToken);
    boolean offline =
        variables
            .text("HF_HUB_OFFLINE")
            .or(() -> variables.text("TRANSFORMERS_OFFLINE"))
            .filter(v -> TRUE.contains(v.toUpperCase(Locale.ROOT)))
            .isPresent();
    return new HubSettings(
        cache,
        endpoint(variables.text("HF_ENDPOINT").orElse(DEFAULT_ENDPOINT)),
        token,
        offline,
        variables.text("HF_HUB_DOWNLOAD_TIMEOUT").map(HubSettings::timeout).orElse(TIMEOUT),
        Duration.ofMillis(500),
        5);
  }

  private static final Duration TIMEOUT = Duration.ofSeconds(30);

  public HubSettings withOffline(boolean value) {
    return new HubSettings(cache, endpoint, token, value, timeout, firstWait, attempts);
  }

  /** For servers on this machine, where nothing is gained by waiting. */
  HubSettings withPatience(Duration newTimeout, Duration newFirstWait) {
    return new HubSettings(cache, endpoint, token, offline, newTimeout, newFirstWait, attempts);
  }

  private static URI endpoint(String text) {
    try {
      URI uri = URI.create(text.replaceAll("/+$", ""));
      if (uri.getHost() != null && Set.of("http", "https").contains(uri.getScheme())) {
        return uri;
      }
    } catch (IllegalArgumentException e) {
      // Said below.
    }
    throw new InputException("HF_ENDPOINT: expected http(s)://HOST, found '" + text + "'");
  }

  private static Duration timeout(String text) {
    try {
      int seconds = Integer.parseInt(text);
      if (seconds > 0) {
        return Duration.ofSeconds(seconds);
      }
    } catch (NumberFormatException e) {
      // Said below.
    }
    throw new InputException(
        "HF_HUB_DOWNLOAD_TIMEOUT: expected whole seconds > 0, found '" + text + "'");
  }

  private static Optional<String> read(Path file) {
    try {
      return Files.isRegularFile(file)
          ? Optional.of(Files.readString(file).strip()).filter(t -> !t.isEmpty())
          : Optional.empty();
    } catch (IOException e) {
      throw new InputException(file + ": the token cannot be read: " + e.getMessage(), e);
    }
  }

  /** The message must not show the token. */
  private static String checkedToken(String token) {
    if (!token.chars().allMatch(c -> c > ' ' && c < 127)) {
      throw new InputException(
          "HF_TOKEN: expected letters, digits and signs, found a space or another character that"
              + " no token has");
    }
    return token;
  }

  /** Without the token: settings end up in logs. */
  @Override
  public String toString() {
    return "HubSettings[cache="
        + cache
        + ", endpoint="
        + endpoint
        + ", token="
        + (token.isPresent() ? "set" : "none")
        + ", offline="
        + offline
        + "]";
  }

  /** Environment variables; an empty one is as one that is not set. */
  private record Variables(Map<String, String> all) {
    Optional<String> text(String name) {
      return Optional.ofNullable(all.get(name)).map(String::strip).filter(v -> !v.isEmpty());
    }

    Path home() {
      return Path.of(text("HOME").orElse(System.getProperty("user.home")));
    }

    Optional<Path> path(String name) {
      return text(name)
          .map(
              v ->
                  v.equals("~") || v.startsWith("~/")
                      ? Path.of(home() + v.substring(1))
                      : Path.of(v));
    }
  }
}
