package org.rlhf4j.report;

/**
 * Text that becomes part of a page. Everything that does not come from this program goes through
 * here.
 */
final class Html {
  private Html() {}

  /**
   * {@code text} as text between tags or within a quoted attribute. Control characters become
   * visible.
   */
  static String text(Object text) {
    String s = String.valueOf(text);
    StringBuilder out = new StringBuilder(s.length() + 16);
    s.codePoints()
        .forEach(
            c -> {
              switch (c) {
                case '&' -> out.append("&amp;");
                case '<' -> out.append("&lt;");
                case '>' -> out.append("&gt;");
                case '"' -> out.append("&quot;");
                case '\'' -> out.append("&#39;");
                default -> appendVisible(out, c);
              }
            });
    return out.toString();
  }

  private static void appendVisible(StringBuilder out, int c) {
    boolean control = c < 0x20 && c != '\n' && c != '\t' || c >= 0x7f && c < 0xa0;
    boolean half = c >= 0xd800 && c < 0xe000;
    // Marks that turn the reading direction could make one text look like another.
    boolean turn = c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069;
    if (control || half || turn) {
      out.append(String.format("\\u%04x", c));
    } else {
      out.appendCodePoint(c);
    }
  }

  /**
   * {@code value} as JSON that can stand in a script element: no text in it can end the element or
   * open a comment.
   */
  static String json(Object value) {
    return JsonLines.write(value)
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029");
  }
}
