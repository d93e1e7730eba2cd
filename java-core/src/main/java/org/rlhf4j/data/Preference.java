package org.rlhf4j.data;

/**
 * Two answers to one question.
 *
 * @param chosenIds question and better answer
 * @param rejectedIds question and worse answer
 * @param promptLength tokens at the start of both that are the question; 0 when the data does not
 *     say
 * @param margin by how much the scores should differ at least; 0 by default
 * @param line where it stands in its file
 */
public record Preference(
    int[] chosenIds, int[] rejectedIds, int promptLength, float margin, long line) {
  static final TokenisedList.Form<Preference> FORM =
      new TokenisedList.Form<>() {
        @Override
        public void write(Preference p, TokenisedList.Writer to) {
          int shared = RecordReader.commonPrefix(p.chosenIds, p.rejectedIds);
          to.number(p.promptLength);
          to.number(Float.floatToRawIntBits(p.margin));
          to.wide(p.line);
          to.list(p.chosenIds, 0);
          to.number(shared); // the question is kept once
          to.list(p.rejectedIds, shared);
        }

        @Override
        public Preference read(TokenisedList.Reader from) {
          int promptLength = from.number();
          float margin = Float.intBitsToFloat(from.number());
          long line = from.wide();
          int[] chosen = from.list();
          int shared = from.number();
          return new Preference(chosen, from.list(chosen, shared), promptLength, margin, line);
        }
      };
}
