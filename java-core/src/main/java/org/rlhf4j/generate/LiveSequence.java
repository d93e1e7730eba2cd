package org.rlhf4j.generate;

import java.util.Arrays;
import org.rlhf4j.nn.KvCache;

/** A sequence being continued. */
final class LiveSequence {
  /** Which of the prompts it began as. */
  final int index;

  final int promptLength;
  int[] ids;
  int length;
  KvCache.Sequence cached;

  LiveSequence(int index, int[] prompt, int maxNewTokens) {
    this.index = index;
    promptLength = prompt.length;
    ids = Arrays.copyOf(prompt, prompt.length + maxNewTokens);
    length = prompt.length;
  }

  int newTokens() {
    return length - promptLength;
  }

  int last() {
    return ids[length - 1];
  }

  void append(int id) {
    ids[length++] = id;
  }
}
