package org.rlhf4j.tokenizer;

import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Locale;

/** Python's {@code strftime} for the directives that chat templates use. */
final class PythonTime {
  private PythonTime() {}

  static String format(LocalDateTime time, String format) {
    StringBuilder out = new StringBuilder();
    for (int i = 0; i < format.length(); i++) {
      char c = format.charAt(i);
      if (c != '%' || i + 1 == format.length()) {
        out.append(c);
        continue;
      }
      char directive = format.charAt(++i);
      String pattern =
          switch (directive) {
            case 'd' -> "dd";
            case 'm' -> "MM";
            case 'Y' -> "yyyy";
            case 'y' -> "yy";
            case 'b' -> "MMM";
            case 'B' -> "MMMM";
            case 'a' -> "EEE";
            case 'A' -> "EEEE";
            case 'H' -> "HH";
            case 'I' -> "hh";
            case 'M' -> "mm";
            case 'S' -> "ss";
            case 'p' -> "a";
            case 'j' -> "DDD";
            default -> null;
          };
      if (pattern != null) {
        out.append(time.format(DateTimeFormatter.ofPattern(pattern, Locale.ENGLISH)));
      } else {
        out.append(directive == '%' ? "%" : "%" + directive);
      }
    }
    return out.toString();
  }
}
