package org.rlhf4j.lora;

import java.util.List;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.rlhf4j.InputException;

/** Some of a model's modules, in one of the ways in which PEFT's target_modules says it. */
public sealed interface ModulePattern {
  /** Every linear layer but the output layer. */
  ModulePattern ALL_LINEAR = new AllLinear();

  /** No module at all. */
  ModulePattern NONE = new Names(List.of());

  /** Whether {@code module} ("model.layers.0.self_attn.q_proj") is among them. */
  boolean matches(String module);

  /** Whole names ("model.layers.0.mlp.up_proj") and ends of names ("up_proj", "mlp.up_proj"). */
  record Names(List<String> names) implements ModulePattern {
    public Names {
      names = List.copyOf(names);
    }

    /** Whether {@code module} is one of the whole names. */
    boolean matchesWhole(String module) {
      return names.contains(module);
    }

    @Override
    public boolean matches(String module) {
      return matchesWhole(module) || names.stream().anyMatch(n -> module.endsWith("." + n));
    }

    @Override
    public String toString() {
      return names.toString();
    }
  }

  /**
   * A regular expression that matches the whole name, as Python's re.fullmatch.
   *
   * @param text as the user wrote it, and as PEFT stores it
   */
  record Regex(String text, Pattern compiled) implements ModulePattern {
    @Override
    public boolean matches(String module) {
      return compiled.matcher(module).matches();
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Regex r && text.equals(r.text);
    }

    @Override
    public int hashCode() {
      return text.hashCode();
    }

    @Override
    public String toString() {
      return "'" + text + "'";
    }
  }

  /** See {@link #ALL_LINEAR}; only the layers that can have an adapter are ever asked for. */
  record AllLinear() implements ModulePattern {
    @Override
    public boolean matches(String module) {
      return true;
    }

    @Override
    public String toString() {
      return "all-linear";
    }
  }

  static ModulePattern names(String... names) {
    return new Names(List.of(names));
  }

  /**
   * A regular expression, or the word all-linear (in any case): what a string means in PEFT.
   *
   * @throws InputException if the expression is none
   */
  static ModulePattern ofText(String text) {
    return text.equalsIgnoreCase("all-linear")
        ? ALL_LINEAR
        : new Regex(text, compile(python(text), text));
  }

  /** A pattern for {@code expression}; the exception shows {@code text}. */
  static Pattern compile(String expression, String text) {
    try {
      return Pattern.compile(expression);
    } catch (PatternSyntaxException e) {
      throw new InputException("'" + text + "' is not a regular expression: " + e.getDescription());
    }
  }

  /** Python writes a named group (?P&lt;name&gt;…), Java (?&lt;name&gt;…). */
  static String python(String expression) {
    return expression.replace("(?P<", "(?<");
  }
}
