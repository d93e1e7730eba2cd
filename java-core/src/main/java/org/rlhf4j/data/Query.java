package org.rlhf4j.data;

/**
 * One prompt to answer.
 *
 * @param ids tokens; at least one
 * @param line where it stands in its file
 */
public record Query(int[] ids, long line) {
  static final TokenisedList.Form<Query> FORM =
      new TokenisedList.Form<>() {
        @Override
        public void write(Query q, TokenisedList.Writer to) {
          to.wide(q.line);
          to.list(q.ids, 0);
        }

        @Override
        public Query read(TokenisedList.Reader from) {
          long line = from.wide();
          return new Query(from.list(), line);
        }
      };
}
