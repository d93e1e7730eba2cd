package org.rlhf4j.tokenizer;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A template as Jinja2 would lex it, rewritten so that jinjava has nothing left to interpret
 * differently:
 *
 * <ul>
 *   <li>whitespace control ({@code -}, {@code +}, trim_blocks, lstrip_blocks, the final newline) is
 *       applied here, and its marks are removed;
 *   <li>string literals inside tags become variables, so that Python's escapes and quotes decide;
 *   <li>{@code [::-1]} becomes {@code |reverse}; {@code not x is y} gets its parentheses; a loop
 *       with a condition filters its list first; {@code {% generation %}} marks are dropped, which
 *       transformers only uses for masks.
 * </ul>
 */
final class JinjaSource {
  /** Names that no template uses. */
  private static final String LITERAL = "rlhf4j_literal_";

  private static final String LIST = "rlhf4j_list_";

  private static final Pattern OPEN = Pattern.compile("\\{\\{|\\{%|\\{#");
  private static final Pattern RAW_END = Pattern.compile("\\{%[-+]?\\s*endraw\\s*[-+]?%\\}");
  private static final Pattern REVERSED = Pattern.compile("\\[\\s*:\\s*:\\s*-\\s*1\\s*\\]");

  /** {@code not x is y} means {@code not (x is y)}; jinjava reads {@code (not x) is y}. */
  private static final Pattern NOT_IS =
      Pattern.compile("\\bnot\\s+([A-Za-z_][\\w.\\[\\]]*\\s+is\\s+(?:not\\s+)?\\w+)");

  private static final Pattern FOR_IF =
      Pattern.compile("for\\s+(\\w+)\\s+in\\s+(.+?)\\s+if\\s+(.+)");
  private static final Pattern LSTRIP = Pattern.compile("(?:^|(?<=\n))[ \t\r\u000b\f]*\\z");

  /** What jinjava renders. */
  final String template;

  /** The values of the literals' variables. */
  final Map<String, Object> literals = new LinkedHashMap<>();

  /** A piece of the template: text, or the inside of a tag of that kind ({@code '{'}, {@code '%'}, {@code '#'}). */
  private record Piece(char kind, String text, char before, char after) {}

  JinjaSource(String source) {
    String normal = source.replace("\r\n", "\n").replace('\r', '\n');
    List<Piece> pieces =
        split(normal.endsWith("\n") ? normal.substring(0, normal.length() - 1) : normal);
    StringBuilder out = new StringBuilder();
    for (int i = 0; i < pieces.size(); i++) {
      Piece piece = pieces.get(i);
      switch (piece.kind) {
        case 't' ->
            out.append(
                strip(
                    piece.text,
                    i > 0 ? pieces.get(i - 1) : null,
                    i + 1 < pieces.size() ? pieces.get(i + 1) : null,
                    i == 0));
        case '{' -> out.append("{{ ").append(expression(piece.text)).append(" }}");
        case '%' -> out.append(statement(expression(piece.text).strip()));
        case 'r' -> out.append("{{ ").append(literal(piece.text)).append(" }}");
        default -> {} // a comment
      }
    }
    template = out.toString();
  }

  /** Splits into text and tags; text pieces stand between any two tags, if only empty ones. */
  private static List<Piece> split(String source) {
    List<Piece> pieces = new ArrayList<>();
    Matcher open = OPEN.matcher(source);
    int at = 0;
    while (open.find(at)) {
      pieces.add(new Piece('t', source.substring(at, open.start()), ' ', ' '));
      char kind = source.charAt(open.start() + 1);
      String close = kind == '{' ? "}}" : kind + "}";
      int end =
          kind == '#' ? source.indexOf(close, open.end()) : closing(source, open.end(), close);
      if (end < 0) {
        throw new IllegalArgumentException("'" + open.group() + "' without '" + close + "'");
      }
      String inside = source.substring(open.end(), end);
      char before = inside.isEmpty() ? ' ' : inside.charAt(0);
      char after = inside.isEmpty() ? ' ' : inside.charAt(inside.length() - 1);
      boolean marked = before == '-' || before == '+' && kind != '{';
      boolean markedAfter = after == '-' || after == '+' && kind != '{';
      String text =
          inside.substring(
              marked ? 1 : 0, Math.max(marked ? 1 : 0, inside.length() - (markedAfter ? 1 : 0)));
      at = end + 2;
      if (kind == '%' && text.strip().equals("raw")) {
        Matcher rawEnd = RAW_END.matcher(source);
        if (!rawEnd.find(at)) {
          throw new IllegalArgumentException("'raw' without 'endraw'");
        }
        boolean markedEnd = source.charAt(rawEnd.end() - 3) == '-';
        pieces.add(
            new Piece(
                'r',
                source.substring(at, rawEnd.start()),
                marked ? before : ' ',
                markedEnd ? '-' : ' '));
        at = rawEnd.end();
      } else {
        pieces.add(new Piece(kind, text, marked ? before : ' ', markedAfter ? after : ' '));
      }
    }
    pieces.add(new Piece('t', source.substring(at), ' ', ' '));
    return pieces;
  }

  /** Where a tag ends: the first {@code close} outside of string literals and brackets. */
  private static int closing(String source, int from, String close) {
    int depth = 0;
    for (int i = from; i < source.length(); i++) {
      char c = source.charAt(i);
      if (c == '\'' || c == '"') {
        i = stringEnd(source, i);
        if (i < 0) {
          return -1;
        }
      } else if (depth == 0 && source.startsWith(close, i)) {
        return i;
      } else if (c == '(' || c == '[' || c == '{') {
        depth++;
      } else if ((c == ')' || c == ']' || c == '}') && depth > 0) {
        depth--;
      }
    }
    return -1;
  }

  /**
   * The index of the quote that ends the literal which starts at {@code start}; -1 when none does.
   */
  private static int stringEnd(String source, int start) {
    for (int i = start + 1; i < source.length(); i++) {
      if (source.charAt(i) == '\\') {
        i++;
      } else if (source.charAt(i) == source.charAt(start)) {
        return i;
      }
    }
    return -1;
  }

  /** The text between two tags, after the whitespace control of both. */
  private static String strip(String text, Piece left, Piece right, boolean first) {
    if (left != null && left.after == '-') {
      text = text.stripLeading();
    } else if (left != null && left.kind != '{' && left.after != '+' && text.startsWith("\n")) {
      text = text.substring(1); // trim_blocks
      first = true; // what is left starts a line
    }
    if (right != null && right.before == '-') {
      text = text.stripTrailing();
    } else if (right != null && right.kind != '{' && right.before != '+') {
      Matcher spaces =
          LSTRIP.matcher(text); // lstrip_blocks: only where the tag is the first thing on its line
      if (spaces.find() && (spaces.start() > 0 || first)) {
        text = text.substring(0, spaces.start());
      }
    }
    return text;
  }

  /** The inside of a tag with its string literals taken out. */
  private String expression(String inside) {
    StringBuilder out = new StringBuilder();
    for (int i = 0; i < inside.length(); i++) {
      char c = inside.charAt(i);
      if (c == '\'' || c == '"') {
        int end = stringEnd(inside, i);
        out.append(literal(unescape(inside.substring(i + 1, end))));
        i = end;
      } else {
        out.append(c == '\n' || c == '\t' ? ' ' : c);
      }
    }
    // The parameters of a macro are declared, not passed.
    String bracketed = inside.strip().startsWith("macro ") ? out.toString() : bracketArguments(out);
    String reversed = REVERSED.matcher(bracketed).replaceAll("|reverse");
    return NOT_IS.matcher(reversed).replaceAll("not ($1)");
  }

  /**
   * {@code f(x=a - b)} becomes {@code f(x=(a - b))}: jinjava binds the equals sign tighter than the
   * minus.
   */
  private static String bracketArguments(CharSequence inside) {
    StringBuilder out = new StringBuilder();
    BitSet bracketed = new BitSet(); // by depth: an argument's bracket is open
    int depth = 0;
    for (int i = 0; i < inside.length(); i++) {
      char c = inside.charAt(i);
      if (",)]}".indexOf(c) >= 0 && bracketed.get(depth)) {
        out.append(')');
        bracketed.clear(depth);
      }
      depth += "([{".indexOf(c) >= 0 ? 1 : ")]}".indexOf(c) >= 0 ? -1 : 0;
      depth = Math.max(depth, 0);
      out.append(c);
      boolean comparison = i > 0 && "=!<>".indexOf(inside.charAt(i - 1)) >= 0;
      if (c == '='
          && depth > 0
          && !comparison
          && i + 1 < inside.length()
          && inside.charAt(i + 1) != '=') {
        out.append('(');
        bracketed.set(depth);
      }
    }
    return out.toString();
  }

  /** A whole statement; what jinjava has no form for is said in other words. */
  private String statement(String inside) {
    if (inside.matches("(end)?generation")) {
      return "";
    }
    Matcher filtered = FOR_IF.matcher(inside);
    if (filtered.matches() && !filtered.group(3).contains(" else ")) {
      String list = literal("").replace(LITERAL, LIST);
      String item = filtered.group(1);
      return "{% set "
          + list
          + " = [] %}{% for "
          + item
          + " in "
          + filtered.group(2)
          + " %}{% if "
          + filtered.group(3)
          + " %}{% do "
          + list
          + ".append("
          + item
          + ") %}{% endif %}{% endfor %}{% for "
          + item
          + " in "
          + list
          + " %}";
    }
    return "{% " + inside + " %}";
  }

  private String literal(String value) {
    String name = LITERAL + literals.size();
    literals.put(name, value);
    return name;
  }

  /** Python's escapes; an unknown one stays as it is, as in Python. */
  private static String unescape(String text) {
    StringBuilder out = new StringBuilder();
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c != '\\' || i + 1 == text.length()) {
        out.append(c);
        continue;
      }
      char escape = text.charAt(++i);
      int digits = escape == 'x' ? 2 : escape == 'u' ? 4 : escape == 'U' ? 8 : 0;
      if (digits > 0
          && i + digits < text.length()
          && text.substring(i + 1, i + 1 + digits).matches("[0-9a-fA-F]+")) {
        out.appendCodePoint(Integer.parseUnsignedInt(text.substring(i + 1, i + 1 + digits), 16));
        i += digits;
        continue;
      }
      switch (escape) {
        case 'n' -> out.append('\n');
        case 't' -> out.append('\t');
        case 'r' -> out.append('\r');
        case 'b' -> out.append('\b');
        case 'f' -> out.append('\f');
        case '0' -> out.append('\0');
        case '\\', '\'', '"' -> out.append(escape);
        default -> out.append('\\').append(escape);
      }
    }
    return out.toString();
  }
}
