package org.rlhf4j.config;

import java.util.Collections;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * One configuration key.
 *
 * @param name in snake_case, with a dot between a group and its member ("lora.r")
 * @param type of its value
 * @param defaults by command; a key that a command lacks is not the command's, and a null is "not
 *     set"
 * @param bounds of a number
 * @param choices of a word; empty: any
 * @param zeroIsNone whether {@code none} may be written for 0, which switches the feature off
 * @param help one line for --help, with the unit
 */
public record Key(
    String name,
    ValueType type,
    Map<Command, Object> defaults,
    Bounds bounds,
    List<String> choices,
    boolean zeroIsNone,
    String help) {

  /** Limits of a number; the text says them to the user ("in (0, 1]"), or is empty. */
  record Bounds(double low, boolean lowIncluded, double high, boolean highIncluded, String text) {
    static final Bounds ANY =
        new Bounds(Double.NEGATIVE_INFINITY, true, Double.POSITIVE_INFINITY, true, "");

    boolean contain(double value) {
      return (lowIncluded ? value >= low : value > low)
          && (highIncluded ? value <= high : value < high);
    }
  }

  static Key of(String name, ValueType type, String help) {
    return new Key(name, type, Map.of(), Bounds.ANY, List.of(), false, help);
  }

  /** The same default for the commands named; for all where none is named. */
  Key orElse(Object value, Command... commands) {
    Set<Command> named =
        commands.length == 0 ? EnumSet.allOf(Command.class) : EnumSet.copyOf(List.of(commands));
    Map<Command, Object> all = new EnumMap<>(Command.class);
    all.putAll(defaults);
    named.forEach(c -> all.put(c, value));
    return new Key(name, type, Collections.unmodifiableMap(all), bounds, choices, zeroIsNone, help);
  }

  /** Not set unless the user sets it. */
  Key optional(Command... commands) {
    return orElse(null, commands);
  }

  Key atLeast(double low) {
    return bounded(new Bounds(low, true, Double.POSITIVE_INFINITY, true, ">= " + plain(low)));
  }

  Key moreThan(double low) {
    return bounded(new Bounds(low, false, Double.POSITIVE_INFINITY, true, "> " + plain(low)));
  }

  Key from(double low, double high) {
    return bounded(
        new Bounds(low, true, high, true, "in [" + plain(low) + ", " + plain(high) + "]"));
  }

  Key fromBelow(double low, double high) {
    return bounded(
        new Bounds(low, true, high, false, "in [" + plain(low) + ", " + plain(high) + ")"));
  }

  Key above(double low, double high) {
    return bounded(
        new Bounds(low, false, high, true, "in (" + plain(low) + ", " + plain(high) + "]"));
  }

  Key noneIsZero() {
    return new Key(name, type, defaults, bounds, choices, true, help);
  }

  Key oneOf(String... words) {
    return new Key(name, type, defaults, bounds, List.of(words), zeroIsNone, help);
  }

  /** Whether {@code command} has this key. */
  public boolean isFor(Command command) {
    return defaults.containsKey(command);
  }

  /** As a command-line flag: {@code --learning-rate}, {@code --lora.r}. */
  public String flag() {
    return "--" + name.replace('_', '-');
  }

  /** Whether the flag stands alone, without a value. */
  public boolean isSwitch() {
    return type == ValueType.FLAG;
  }

  /** Whether "none" is a value of this key. */
  boolean allowsNone() {
    return zeroIsNone || defaults.containsValue(null);
  }

  /** What the user may write: "a number > 0", "kl|abs|mse|k3|full". */
  public String expected() {
    String what = choices.isEmpty() ? type.expected() : String.join("|", choices);
    return what
        + (bounds.text().isEmpty() ? "" : " " + bounds.text())
        + (allowsNone() ? ", or none" : "");
  }

  private Key bounded(Bounds value) {
    return new Key(name, type, defaults, value, choices, zeroIsNone, help);
  }

  private static String plain(double value) {
    return value == Math.rint(value) ? Long.toString((long) value) : Double.toString(value);
  }
}
