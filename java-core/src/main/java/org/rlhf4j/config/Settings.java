package org.rlhf4j.config;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.rlhf4j.InputException;
import org.rlhf4j.Nearest;

/**
 * The value of every key of one command, and where each came from. Immutable and valid: every
 * instance has passed the checks of its keys and those between keys.
 *
 * <p>Sources, later wins: defaults, YAML file, flags, {@code key=value} overrides.
 */
public final class Settings {
  /** What config.yaml says beside the keys. */
  private static final String COMMAND = "command";

  private static final String VERSIONS = "versions";

  private final Command command;
  private final Map<String, Object> values;
  private final Map<String, String> origins;
  private final List<String> warnings;

  private Settings(Command command, Map<String, Object> values, Map<String, String> origins) {
    this.command = command;
    this.values = Collections.unmodifiableMap(values);
    this.origins = Map.copyOf(origins);
    this.warnings = List.copyOf(Checks.check(this));
  }

  /** All keys at their defaults. */
  public static Settings defaults(Command command) {
    Map<String, Object> values = new LinkedHashMap<>();
    Keys.of(command).forEach(k -> values.put(k.name(), k.defaults().get(command)));
    return new Settings(command, values, Map.of());
  }

  /**
   * Reads a YAML file over the defaults; the config.yaml of a run is such a file.
   *
   * @throws InputException with FILE:LINE for an unknown key or a value that does not fit
   */
  public static Settings load(Command command, Path yaml) {
    return new Reader(command).file(yaml).settings();
  }

  /**
   * Reads the config.yaml of a run, of whichever command it was.
   *
   * @throws InputException with FILE:LINE as {@link #load}, or if it does not say its command
   */
  public static Settings loadRun(Path yaml) {
    for (YamlEntries.Entry entry : YamlEntries.read(yaml, Set.of(VERSIONS))) {
      if (entry.name().equals(COMMAND)) {
        for (Command command : Command.values()) {
          if (command.text().equals(entry.value())) {
            return load(command, yaml);
          }
        }
        throw InputException.at(
            yaml, entry.line(), "command: expected sft|reward|ppo, found '" + entry.value() + "'");
      }
    }
    throw InputException.at(yaml, "expected the config.yaml of a run, which says its command");
  }

  /**
   * Reads a command line: {@code --config FILE}, flags named as keys ({@code --learning-rate 1e-4},
   * {@code --learning_rate=1e-4}, {@code --resume}, {@code --no-shuffle}), and {@code key=value}
   * overrides. With {@code --resume} and no {@code --config}, the config.yaml in {@code --out} is
   * the file.
   *
   * @throws InputException naming the flag or FILE:LINE
   */
  public static Settings fromArguments(Command command, List<String> arguments) {
    Arguments read = Arguments.read(command, arguments);
    Optional<Path> file = read.config().or(() -> read.resumed());
    Reader reader = new Reader(command);
    file.ifPresent(reader::file);
    read.flags().forEach(reader::argument);
    read.overrides().forEach(reader::argument);
    return reader.settings();
  }

  /**
   * These settings with {@code key=value} overrides.
   *
   * @throws InputException as {@link #fromArguments}
   */
  public Settings withOverrides(List<String> overrides) {
    Reader reader = new Reader(this);
    Arguments read = Arguments.read(command, overrides);
    read.flags().forEach(reader::argument);
    read.overrides().forEach(reader::argument);
    return reader.settings();
  }

  /**
   * These settings with one key changed; {@code value} may be a string, number, boolean, path or
   * list or map, or null.
   */
  public Settings with(String key, Object value) {
    boolean asItIs = value == null || value instanceof List || value instanceof Map;
    Object raw = asItIs ? value : value.toString();
    return new Reader(this).set(key, raw, key).settings();
  }

  public Command command() {
    return command;
  }

  /** What is allowed but is probably not meant; to be logged before the run starts. */
  public List<String> warnings() {
    return warnings;
  }

  /**
   * The same values, with messages that name keys only: for a reader to whom files and flags say
   * nothing.
   */
  public Settings withoutOrigins() {
    return new Settings(command, values, Map.of());
  }

  /**
   * The start of a message about {@code key}: {@code FILE:LINE: key}, the flag, or the key itself.
   */
  public String where(String key) {
    return origins.getOrDefault(key, key);
  }

  /** An exception about the value of {@code key}, which says where it was given. */
  public InputException problem(String key, String problem) {
    return new InputException(where(key) + ": " + problem);
  }

  int integer(String key) {
    return (Integer) value(key);
  }

  long whole(String key) {
    return (Long) value(key);
  }

  double number(String key) {
    return (Double) value(key);
  }

  boolean flag(String key) {
    return (Boolean) value(key);
  }

  String text(String key) {
    return (String) value(key);
  }

  @SuppressWarnings("unchecked")
  List<String> names(String key) {
    return (List<String>) value(key);
  }

  /** Null where not set; the order of the keys counts. */
  @SuppressWarnings("unchecked")
  Map<String, Number> numbers(String key) {
    return (Map<String, Number>) value(key);
  }

  /** One or several, or none where not set. */
  List<String> paths(String key) {
    return switch (value(key)) {
      case null -> List.of();
      case List<?> list -> list.stream().map(String::valueOf).toList();
      case Object one -> List.of(one.toString());
    };
  }

  /** The members of a group that are set: {@code columns.prompt} as "prompt". */
  public Map<String, String> group(String name) {
    Map<String, String> members = new LinkedHashMap<>();
    values.forEach(
        (key, value) -> {
          if (key.startsWith(name + ".") && value != null) {
            members.put(key.substring(name.length() + 1), value.toString());
          }
        });
    return members;
  }

  Optional<Path> path(String key) {
    return Optional.ofNullable(text(key)).map(Path::of);
  }

  /** Null where not set. Asking for a key that the command lacks is a programming error. */
  Object value(String key) {
    if (!values.containsKey(key)) {
      throw new IllegalArgumentException(command.text() + " has no key " + key);
    }
    return values.get(key);
  }

  /**
   * Every key with its value, in the table's order, dotted names as they are. Unset keys have null.
   */
  public Map<String, Object> flat() {
    return values;
  }

  /**
   * What config.yaml holds: the command, the versions, then every key, defaults included; dotted
   * names become nested maps. {@link #load} reads it back to the same values.
   */
  public Map<String, Object> effective(Map<String, String> versions) {
    Map<String, Object> tree = new LinkedHashMap<>();
    tree.put(COMMAND, command.text());
    tree.put(VERSIONS, new LinkedHashMap<>(versions));
    values.forEach((name, value) -> putNested(tree, name, value));
    return tree;
  }

  @SuppressWarnings("unchecked")
  private static void putNested(Map<String, Object> tree, String name, Object value) {
    int dot = name.indexOf('.');
    if (dot < 0) {
      tree.put(name, value);
      return;
    }
    Object group = tree.computeIfAbsent(name.substring(0, dot), k -> new LinkedHashMap<>());
    ((Map<String, Object>) group).put(name.substring(dot + 1), value);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Settings s && command == s.command && values.equals(s.values);
  }

  @Override
  public int hashCode() {
    return values.hashCode();
  }

  @Override
  public String toString() {
    return command.text() + values;
  }

  /** Collects values from the sources in turn. */
  private static final class Reader {
    private final Command command;
    private final Map<String, Object> values;
    private final Map<String, String> origins;

    Reader(Command command) {
      this(defaults(command));
    }

    Reader(Settings start) {
      command = start.command;
      values = new LinkedHashMap<>(start.values);
      origins = new HashMap<>(start.origins);
    }

    Settings settings() {
      return new Settings(command, values, origins);
    }

    Reader file(Path yaml) {
      Map<String, Integer> lines = new HashMap<>();
      for (YamlEntries.Entry entry : YamlEntries.read(yaml, Set.of(VERSIONS))) {
        if (entry.name().equals(COMMAND)) {
          sameCommand(yaml, entry);
          continue;
        }
        String where = yaml + ":" + entry.line() + ": " + entry.name();
        Integer before = lines.put(key(entry.name(), where).name(), entry.line());
        if (before != null) {
          throw InputException.at(
              yaml, entry.line(), entry.name() + ": given before, on line " + before);
        }
        set(entry.name(), entry.value(), where);
      }
      return this;
    }

    void argument(Arguments.Argument argument) {
      set(argument.key(), argument.value(), argument.where());
    }

    Reader set(String name, Object raw, String where) {
      Key key = key(name, where);
      values.put(key.name(), parse(key, raw, where));
      origins.put(key.name(), where);
      return this;
    }

    private void sameCommand(Path yaml, YamlEntries.Entry entry) {
      if (!command.text().equals(entry.value())) {
        throw InputException.at(
            yaml,
            entry.line(),
            "this configuration is for "
                + entry.value()
                + ", and the command is "
                + command.text());
      }
    }

    private Key key(String name, String where) {
      Key key =
          Keys.find(name)
              .orElseThrow(() -> new InputException(where + ": unknown key" + hint(name, where)));
      if (key.isFor(command)) {
        return key;
      }
      List<String> others = new ArrayList<>();
      key.defaults().keySet().forEach(c -> others.add(c.text()));
      throw new InputException(
          where + ": a key of " + String.join(", ", others) + ", not of " + command.text());
    }

    private String hint(String name, String where) {
      String here = Keys.ELSEWHERE.get(name.replace('-', '_'));
      if (here != null) {
        return "; here it is called " + here;
      }
      boolean asFlag = where.startsWith("--");
      List<String> known =
          Keys.of(command).stream().map(k -> asFlag ? k.flag() : k.name()).toList();
      return Nearest.hint(asFlag ? "--" + name.replace('_', '-') : name, known);
    }

    /** The value of {@code raw}: a String, a list of such, or null for nothing. */
    private static Object parse(Key key, Object raw, String where) {
      boolean none = raw == null || raw.equals("none") || raw.equals("None") || raw.equals("null");
      if (none && key.allowsNone()) {
        return !key.zeroIsNone()
            ? null
            : key.type() == ValueType.INTEGER ? (Object) 0 : (Object) 0.0;
      }
      Object value = null;
      try {
        value = raw == null ? null : key.type().parse(raw);
      } catch (IllegalArgumentException | ArithmeticException e) {
        // Said below, with what was expected.
      }
      boolean fits =
          value != null
              && (!(value instanceof Number n) || key.bounds().contain(n.doubleValue()))
              && (key.choices().isEmpty() || key.choices().contains(value));
      if (!fits) {
        String found = raw == null ? "nothing" : "'" + raw + "'";
        throw new InputException(where + ": expected " + key.expected() + ", found " + found);
      }
      return value;
    }
  }
}
