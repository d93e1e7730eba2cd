package org.rlhf4j.data;

/**
 * One example for fine-tuning.
 *
 * @param ids prompt and completion
 * @param promptLength tokens at the start that are not learnt; less than {@code ids.length}
 * @param line where it stands in its file (a line, an element or a row)
 */
public record Demonstration(int[] ids, int promptLength, long line) {
  static final TokenisedList.Form<Demonstration> FORM =
      new TokenisedList.Form<>() {
        @Override
        public void write(Demonstration d, TokenisedList.Writer to) {
          to.number(d.promptLength);
          to.wide(d.line);
          to.list(d.ids, 0);
        }

        @Override
        public Demonstration read(TokenisedList.Reader from) {
          int promptLength = from.number();
          long line = from.wide();
          return new Demonstration(from.list(), promptLength, line);
        }
      };
}
