package org.rlhf4j.hub;

import java.util.List;
import java.util.regex.Pattern;

/**
 * What a server calls its files becomes paths on this machine: only what stays inside its folder is
 * taken.
 */
final class SafeNames {
  private static final Pattern COMMIT = Pattern.compile("[0-9a-f]{40}");
  private static final Pattern ETAG = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,127}");

  private SafeNames() {}

  /** Whether {@code name} is a path below a folder, with slashes, on every operating system. */
  static boolean isRelativeFile(String name) {
    return !name.isEmpty()
        && name.chars().noneMatch(c -> c < ' ' || c == 127 || c == '\\' || c == ':')
        && List.of(name.split("/", -1)).stream()
            .noneMatch(part -> part.isEmpty() || part.equals(".") || part.equals(".."));
  }

  static boolean isCommit(String text) {
    return COMMIT.matcher(text).matches();
  }

  static boolean isEtag(String text) {
    return ETAG.matcher(text).matches() && !text.contains("..");
  }

  /** {@code name}, or a HubException: such a server is not to be trusted with anything. */
  static String checked(String name, String server) {
    if (!isRelativeFile(name)) {
      throw new HubException(
          server
              + ": expected the name of a file inside the model's folder, found '"
              + name.replaceAll("\\p{Cntrl}", "?")
              + "'");
    }
    return name;
  }
}
