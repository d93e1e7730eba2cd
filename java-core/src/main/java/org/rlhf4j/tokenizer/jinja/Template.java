package org.rlhf4j.tokenizer.jinja;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A template, read once and rendered any number of times, by any number of threads. Expressions
 * have Python's values and Jinja2's meaning; statements are if, for (with if, else, break and
 * continue), set (also as a block), macro, filter, raw, do and generation. Nothing can be imported
 * or included, and what is passed in is never changed.
 */
public final class Template {
  /** A statement, or a text. */
  @FunctionalInterface
  private interface Node {
    void run(Scope scope, StringBuilder out);
  }

  /** Ends a turn of a loop, or the loop; no stack trace is needed. */
  private static final class Jump extends RuntimeException {
    private static final long serialVersionUID = 1L;
    static final Jump BREAK = new Jump();
    static final Jump CONTINUE = new Jump();

    private Jump() {
      super(null, null, false, false);
    }
  }

  private final List<Piece> pieces;
  private final Node root;
  private int at;

  /** Throws {@link JinjaException} with the line when the source is no template. */
  public Template(String source) {
    pieces = Piece.split(source);
    try {
      root = block();
      if (at < pieces.size()) {
        throw new JinjaException("unexpected '" + keyword(pieces.get(at)) + "'");
      }
    } catch (JinjaException e) {
      throw new JinjaException("line " + line() + ": " + e.getMessage());
    } catch (StackOverflowError e) {
      throw new JinjaException("line " + line() + ": nested too deeply");
    }
  }

  private int line() {
    return pieces.get(Math.min(at, pieces.size() - 1)).line();
  }

  /**
   * Renders.
   *
   * @param variables Java's strings, numbers, booleans, lists, maps and {@link Function}s; null is
   *     None
   * @throws JinjaException with the line of what failed
   */
  public String render(Map<String, ?> variables) {
    Map<String, Object> all = new HashMap<>(Builtins.ALL);
    variables.forEach((name, value) -> all.put(name, Values.from(value)));
    Scope scope = new Scope(all);
    StringBuilder out = new StringBuilder();
    try {
      root.run(scope, out);
    } catch (StackOverflowError e) {
      throw new JinjaException("macros call each other without end");
    }
    return out.toString();
  }

  private static String keyword(Piece piece) {
    return piece.kind() == '%' ? new ExpressionParser(piece.text()).peek().text() : "";
  }

  /** Everything up to one of these words, which is left to be read. */
  private Node block(String... ends) {
    List<Node> nodes = new ArrayList<>();
    while (at < pieces.size()) {
      Piece piece = pieces.get(at);
      if (piece.kind() == 't') {
        at++;
        nodes.add((s, out) -> out.append(piece.text()));
      } else if (piece.kind() == '{') {
        ExpressionParser parser = new ExpressionParser(piece.text());
        Expression value = parser.tuple();
        parser.end();
        at++;
        nodes.add(located(piece.line(), (s, out) -> out.append(Values.text(value.value(s)))));
      } else {
        String word = keyword(piece);
        if (List.of(ends).contains(word) || word.startsWith("end") || word.startsWith("el")) {
          break;
        }
        nodes.add(located(piece.line(), statement(new ExpressionParser(piece.text()))));
      }
    }
    Node[] all = nodes.toArray(Node[]::new);
    return (s, out) -> {
      for (Node node : all) {
        node.run(s, out);
      }
    };
  }

  /** Faults inside name the line, the innermost first one. */
  private static Node located(int line, Node node) {
    return (s, out) -> {
      try {
        node.run(s, out);
      } catch (LocatedException e) {
        throw e;
      } catch (JinjaException e) {
        throw new LocatedException("line " + line + ": " + e.getMessage());
      } catch (ClassCastException | NullPointerException | IndexOutOfBoundsException e) {
        throw new LocatedException(
            "line " + line + ": an argument is missing, or of the wrong kind");
      }
    };
  }

  private static final class LocatedException extends JinjaException {
    private static final long serialVersionUID = 1L;

    LocatedException(String message) {
      super(message);
    }
  }

  /** Goes behind the end tag, which must be there. */
  private void end(String... words) {
    if (at == pieces.size()) {
      throw new JinjaException("expected '" + words[0] + "', found the end of the template");
    }
    String found = keyword(pieces.get(at));
    if (!List.of(words).contains(found)) {
      throw new JinjaException("expected '" + words[0] + "', found '" + found + "'");
    }
    at++;
  }

  private Node statement(ExpressionParser tag) {
    String word = tag.name();
    at++;
    return switch (word) {
      case "if" -> condition(tag);
      case "for" -> loop(tag);
      case "set" -> set(tag);
      case "macro" -> macro(tag);
      case "filter" -> filter(tag);
      case "generation" -> generation(tag);
      case "do" -> {
        Expression value = tag.tuple();
        tag.end();
        yield (s, out) -> value.value(s);
      }
      case "break", "continue" -> {
        tag.end();
        Jump jump = word.equals("break") ? Jump.BREAK : Jump.CONTINUE;
        yield (s, out) -> {
          throw jump;
        };
      }
      default -> {
        at--;
        throw new JinjaException("Encountered unknown tag '" + word + "'.");
      }
    };
  }

  private Node condition(ExpressionParser tag) {
    Expression test = tag.tuple();
    tag.end();
    Node yes = block("elif", "else", "endif");
    Node no = (s, out) -> {};
    if (at < pieces.size() && keyword(pieces.get(at)).equals("elif")) {
      ExpressionParser other = new ExpressionParser(pieces.get(at).text());
      other.name();
      at++;
      no = condition(other);
    } else {
      if (at < pieces.size() && keyword(pieces.get(at)).equals("else")) {
        at++;
        no = block("endif");
      }
      end("endif", "elif", "else");
    }
    Node otherwise = no;
    return (s, out) -> (Values.truth(test.value(s)) ? yes : otherwise).run(s, out);
  }

  /** Names to give values to: one, or several for a list's elements, or a namespace's attribute. */
  private record Target(String name, String attribute, List<Target> parts) {
    void set(Scope scope, Object value) {
      if (parts != null) {
        List<Object> items = Values.items(value);
        if (items.size() != parts.size()) {
          throw new JinjaException(
              "expected " + parts.size() + " values to unpack, found " + items.size());
        }
        for (int i = 0; i < parts.size(); i++) {
          parts.get(i).set(scope, items.get(i));
        }
      } else if (attribute == null) {
        scope.set(name, value);
      } else if (scope.get(name) instanceof Values.Namespace namespace) {
        namespace.attributes.put(attribute, value);
      } else {
        throw new JinjaException("cannot assign attribute on non-namespace object");
      }
    }
  }

  private static Target target(ExpressionParser tag) {
    List<Target> parts = new ArrayList<>();
    boolean several = false;
    do {
      if (tag.accept("(")) {
        parts.add(target(tag));
        tag.expect(")");
      } else if (several && (tag.is("=") || tag.is("in"))) {
        break;
      } else {
        String name = tag.name();
        parts.add(new Target(name, tag.accept(".") ? tag.name() : null, null));
      }
      several = tag.is(",");
    } while (tag.accept(","));
    return parts.size() == 1 ? parts.get(0) : new Target(null, null, parts);
  }

  private Node loop(ExpressionParser tag) {
    Target target = target(tag);
    tag.expect("in");
    Expression over = tag.or();
    while (tag.is(",")) { // a tuple without brackets
      tag.expect(",");
      Expression first = over;
      Expression more = tag.or();
      over =
          s -> {
            List<Object> both = new Values.Tuple();
            both.add(first.value(s));
            both.add(more.value(s));
            return both;
          };
    }
    Expression items = over;
    Expression condition = tag.accept("if") ? tag.expression() : null;
    tag.end();
    Node body = block("else", "endfor");
    Node none = (s, out) -> {};
    if (at < pieces.size() && keyword(pieces.get(at)).equals("else")) {
      at++;
      none = block("endfor");
    }
    end("endfor");
    Node otherwise = none;
    return (s, out) -> {
      Object value = items.value(s);
      List<Object> all = Values.items(value);
      if (condition != null) {
        all.removeIf(
            item -> {
              Scope inner = s.inner();
              target.set(inner, item);
              return !Values.truth(condition.value(inner));
            });
      }
      if (all.isEmpty()) {
        otherwise.run(s.inner(), out);
      }
      turns(s, out, target, all, body);
    };
  }

  private static void turns(
      Scope s, StringBuilder out, Target target, List<Object> all, Node body) {
    Object[] changed = {new Object()};
    for (int i = 0; i < all.size(); i++) {
      Scope inner = s.inner();
      inner.set("loop", loopVariable(all, i, changed));
      target.set(inner, all.get(i));
      try {
        body.run(inner, out);
      } catch (Jump jump) {
        if (jump == Jump.BREAK) {
          break;
        }
      }
    }
  }

  private static Map<String, Object> loopVariable(List<Object> all, int i, Object[] changed) {
    Map<String, Object> loop = new LinkedHashMap<>();
    long n = all.size();
    loop.put("index", i + 1L);
    loop.put("index0", (long) i);
    loop.put("revindex", n - i);
    loop.put("revindex0", n - i - 1);
    loop.put("first", i == 0);
    loop.put("last", i + 1 == n);
    loop.put("length", n);
    loop.put("previtem", i > 0 ? all.get(i - 1) : new Undefined("there is no previous item"));
    loop.put("nextitem", i + 1 < n ? all.get(i + 1) : new Undefined("there is no next item"));
    Function cycle = (a, k) -> a.get(i % a.size());
    Function differs =
        (a, k) -> {
          boolean other = !Values.equal(changed[0], a);
          changed[0] = a;
          return other;
        };
    loop.put("cycle", cycle);
    loop.put("changed", differs);
    return loop;
  }

  private Node set(ExpressionParser tag) {
    Target target = target(tag);
    if (tag.accept("=")) {
      Expression value = tag.tuple();
      tag.end();
      return (s, out) -> target.set(s, value.value(s));
    }
    Node body = filtered(tag, "endset");
    return (s, out) -> {
      StringBuilder text = new StringBuilder();
      body.run(s, text);
      target.set(s, text.toString());
    };
  }

  private Node filter(ExpressionParser tag) {
    return filtered(tag, "endfilter");
  }

  /** A block whose text goes through the filters that its tag names, if any. */
  private Node filtered(ExpressionParser tag, String end) {
    String hidden = " text"; // no name of a template has a space
    Expression value = s -> s.get(hidden);
    if (end.equals("endfilter")) {
      value = tag.filter(value);
    }
    Expression filters = tag.filters(value);
    tag.end();
    Node body = block(end);
    end(end);
    return (s, out) -> {
      StringBuilder text = new StringBuilder();
      body.run(s.inner(), text);
      Scope inner = s.inner();
      inner.set(hidden, text.toString());
      out.append(Values.text(filters.value(inner)));
    };
  }

  private Node macro(ExpressionParser tag) {
    String name = tag.name();
    Macro macro = parameters(tag);
    Node body = block("endmacro");
    end("endmacro");
    return (s, out) -> s.set(name, macro.function(name, s, body));
  }

  /** A macro's parameters; a default is null where there is none. */
  private record Macro(List<String> names, List<Expression> defaults) {
    Function function(String name, Scope around, Node body) {
      return (arguments, named) -> {
        Scope inner = around.inner();
        if (arguments.size() > names.size()) {
          throw new JinjaException(
              "macro '" + name + "' takes not more than " + names.size() + " argument(s)");
        }
        for (String given : named.keySet()) {
          if (!names.contains(given)) {
            throw new JinjaException(
                "macro '" + name + "' takes no keyword argument '" + given + "'");
          }
        }
        for (int i = 0; i < names.size(); i++) {
          String parameter = names.get(i);
          inner.set(
              parameter,
              i < arguments.size()
                  ? arguments.get(i)
                  : named.containsKey(parameter)
                      ? named.get(parameter)
                      : defaults.get(i) != null
                          ? defaults.get(i).value(inner)
                          : new Undefined("parameter '" + parameter + "' was not provided"));
        }
        StringBuilder out = new StringBuilder();
        body.run(inner, out);
        return out.toString();
      };
    }
  }

  private static Macro parameters(ExpressionParser tag) {
    List<String> names = new ArrayList<>();
    List<Expression> defaults = new ArrayList<>();
    tag.expect("(");
    while (!tag.accept(")")) {
      names.add(tag.name());
      defaults.add(tag.accept("=") ? tag.expression() : null);
      if (!tag.is(")")) {
        tag.expect(",");
      }
    }
    return new Macro(names, defaults);
  }

  /** Marks what the model itself says: transformers makes masks of it, the text stays the same. */
  private Node generation(ExpressionParser tag) {
    tag.end();
    Node body = block("endgeneration");
    end("endgeneration");
    return (s, out) -> body.run(s.inner(), out);
  }
}
