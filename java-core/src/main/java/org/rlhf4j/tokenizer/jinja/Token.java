package org.rlhf4j.tokenizer.jinja;

import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A word of an expression or statement.
 *
 * @param value of a string or a number
 */
record Token(Kind kind, String text, Object value) {
  enum Kind {
    NAME,
    STRING,
    NUMBER,
    OPERATOR,
    END
  }

  private static final Pattern WORD =
      Pattern.compile(
          "(?<space>\\s+)|(?<name>[\\p{L}_][\\p{L}\\p{N}_]*)"
              + "|(?<number>[0-9][0-9_]*(?:\\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9]+)?)"
              + "|(?<operator>\\*\\*|//|==|!=|<=|>=|[-+*/%~<>=()\\[\\]{}.,:|])");

  static List<Token> read(String text) {
    List<Token> tokens = new ArrayList<>();
    Matcher word = WORD.matcher(text);
    for (int at = 0; at < text.length(); ) {
      char c = text.charAt(at);
      if (c == '\'' || c == '"') {
        int end = Piece.stringEnd(text, at);
        tokens.add(new Token(Kind.STRING, "string", unescape(text.substring(at + 1, end))));
        at = end + 1;
        continue;
      }
      if (!word.find(at) || word.start() != at) {
        throw new JinjaException("unexpected character '" + c + "'");
      }
      at = word.end();
      if (word.group("name") != null) {
        tokens.add(new Token(Kind.NAME, word.group(), null));
      } else if (word.group("number") != null) {
        String digits = word.group().replace("_", "");
        boolean whole = digits.matches("[0-9]+");
        tokens.add(
            new Token(
                Kind.NUMBER, digits, whole ? (Object) whole(digits) : Double.valueOf(digits)));
      } else if (word.group("operator") != null) {
        tokens.add(new Token(Kind.OPERATOR, word.group(), null));
      }
    }
    tokens.add(new Token(Kind.END, "the end of the tag", null));
    return tokens;
  }

  private static Long whole(String digits) {
    try {
      return Long.valueOf(digits);
    } catch (NumberFormatException e) {
      throw new JinjaException("the number " + digits + " is too large");
    }
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
        int point = Integer.parseUnsignedInt(text.substring(i + 1, i + 1 + digits), 16);
        if (!Character.isValidCodePoint(point)) {
          throw new JinjaException("\\U" + text.substring(i + 1, i + 9) + " is no character");
        }
        out.appendCodePoint(point);
        i += digits;
        continue;
      }
      switch (escape) {
        case 'n' -> out.append('\n');
        case 't' -> out.append('\t');
        case 'r' -> out.append('\r');
        case 'b' -> out.append('\b');
        case 'f' -> out.append('\f');
        case 'v' -> out.append('\u000b');
        case 'a' -> out.append('\u0007');
        case '0' -> out.append('\0');
        case '\n' -> {}
        case '\\', '\'', '"' -> out.append(escape);
        default -> out.append('\\').append(escape);
      }
    }
    return out.toString();
  }
}
