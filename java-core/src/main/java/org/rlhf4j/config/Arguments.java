package org.rlhf4j.config;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.rlhf4j.InputException;

/**
 * A command line taken apart into the file, the flags and the overrides; keys are not looked up
 * yet.
 */
record Arguments(Optional<Path> config, List<Argument> flags, List<Argument> overrides) {
  /**
   * One value.
   *
   * @param where what a message about it starts with: the flag as typed, or the key
   */
  record Argument(String key, String value, String where) {}

  static Arguments read(Command command, List<String> arguments) {
    Optional<Path> config = Optional.empty();
    List<Argument> flags = new ArrayList<>();
    List<Argument> overrides = new ArrayList<>();
    for (int i = 0; i < arguments.size(); i++) {
      String argument = arguments.get(i);
      int equals = argument.indexOf('=');
      if (!argument.startsWith("--")) {
        if (equals <= 0) {
          throw new InputException(argument + ": expected --flag VALUE or key=value");
        }
        String key = argument.substring(0, equals);
        overrides.add(new Argument(key, argument.substring(equals + 1), key));
        continue;
      }
      String flag = equals < 0 ? argument : argument.substring(0, equals);
      String name = flag.substring(2);
      boolean next = i + 1 < arguments.size() && !arguments.get(i + 1).startsWith("--");
      Optional<Key> key = Keys.find(name);
      if (equals >= 0) {
        flags.add(new Argument(name, argument.substring(equals + 1), flag));
      } else if (key.isPresent() && key.get().isSwitch()) {
        boolean word = next && isWord(arguments.get(i + 1));
        flags.add(new Argument(name, word ? arguments.get(++i) : "true", flag));
      } else if (key.isEmpty() && isNegated(name)) {
        flags.add(new Argument(name.substring(3), "false", flag));
      } else {
        // An unknown flag takes a value too: the message is then about the flag, not about the word
        // after it.
        flags.add(new Argument(name, next ? arguments.get(++i) : null, flag));
      }
      if (name.equals("config")) {
        String file = flags.removeLast().value();
        if (file == null || file.isBlank()) {
          throw new InputException("--config: expected a file, found nothing");
        }
        config = Optional.of(Path.of(file));
      }
    }
    return new Arguments(config, List.copyOf(flags), List.copyOf(overrides));
  }

  /** The configuration of the run that is to be resumed, where these arguments ask for that. */
  Optional<Path> resumed() {
    return last("resume")
        .filter(v -> v.equalsIgnoreCase("true"))
        .flatMap(v -> last("out"))
        .map(out -> Path.of(out, "config.yaml"))
        .filter(Files::isRegularFile);
  }

  private Optional<String> last(String key) {
    Optional<String> found = Optional.empty();
    for (List<Argument> list : List.of(flags, overrides)) {
      for (Argument a : list) {
        if (a.key().equals(key)) {
          found = Optional.ofNullable(a.value());
        }
      }
    }
    return found;
  }

  private static boolean isWord(String text) {
    return text.matches("(?i)true|false|yes|no|on|off");
  }

  private static boolean isNegated(String name) {
    return name.startsWith("no-") && Keys.find(name.substring(3)).filter(Key::isSwitch).isPresent();
  }
}
