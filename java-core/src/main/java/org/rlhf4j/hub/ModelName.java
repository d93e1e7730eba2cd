package org.rlhf4j.hub;

import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A model on the hub, written {@code org/name[@revision][:FILE.gguf]}.
 *
 * @param repo {@code org/name}
 * @param revision a branch, a tag or a commit
 * @param file the one GGUF file that is meant, where one is named
 */
record ModelName(String repo, String revision, Optional<String> file) {
  /** What messages say is expected. */
  static final String FORM = "org/name[@revision][:FILE.gguf]";

  static final String DEFAULT_REVISION = "main";

  private static final String PART = "[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?";
  private static final Pattern NAME =
      Pattern.compile(
          "(?<repo>PART/PART)(?:@(?<revision>[A-Za-z0-9._/-]+))?(?::(?<file>[^:]+\\.gguf))?"
              .replace("PART", PART));

  /** A name's last part that can only be a file's. */
  private static final Pattern FILE_LIKE =
      Pattern.compile(".*\\.(gguf|safetensors|bin|json|pth|pt|git)", Pattern.CASE_INSENSITIVE);

  private static final int LONGEST_REPO = 96;

  /** Empty where {@code text} cannot be a name. */
  static Optional<ModelName> parse(String text) {
    Matcher m = NAME.matcher(text);
    if (!m.matches()) {
      return Optional.empty();
    }
    String repo = m.group("repo");
    String revision = Optional.ofNullable(m.group("revision")).orElse(DEFAULT_REVISION);
    Optional<String> file = Optional.ofNullable(m.group("file"));
    boolean bad =
        repo.length() > LONGEST_REPO
            || repo.contains("--")
            || repo.contains("..")
            || FILE_LIKE.matcher(repo).matches()
            || !SafeNames.isRelativeFile(revision)
            || !file.map(SafeNames::isRelativeFile).orElse(true);
    return bad ? Optional.empty() : Optional.of(new ModelName(repo, revision, file));
  }

  @Override
  public String toString() {
    return repo
        + (revision.equals(DEFAULT_REVISION) ? "" : "@" + revision)
        + file.map(f -> ":" + f).orElse("");
  }
}
