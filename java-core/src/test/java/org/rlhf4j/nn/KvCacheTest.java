package org.rlhf4j.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.InputException;
import org.rlhf4j.generate.Generation;
import org.rlhf4j.generate.GenerationConfig;
import org.rlhf4j.generate.Generator;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Head;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Scope;

/** Pages: how many there are, who holds them, and that what is read from them is what was kept. */
class KvCacheTest {
  private static final int PAGE = KvCache.PAGE;

  private static ModelCase model(String name) {
    Path folder = Path.of("src/test/resources/families").resolve(name);
    return new ModelCase(folder, folder.resolve("expected"));
  }

  /** Sequences past the ends of pages, some of them from one prompt: as without a cache. */
  @ParameterizedTest
  @ValueSource(strings = {"llama", "gemma3", "qwen2"})
  void continuationsAreThoseWithoutACache(String name) {
    int maxNewTokens = PAGE + 7;
    model(name)
        .frozen(
            DType.F32,
            lm -> {
              List<int[]> prompts = new ArrayList<>();
              for (int length : new int[] {3, PAGE - 1, PAGE, PAGE + 1, PAGE, 3}) {
                int[] prompt = new int[length];
                Arrays.setAll(prompt, i -> (i * 7 + length) % lm.config().vocabSize());
                prompts.add(prompt);
              }
              List<Generation> all =
                  new Generator(lm)
                      .generate(prompts, null, GenerationConfig.greedy(maxNewTokens, Set.of()));
              for (int b = 0; b < prompts.size(); b++) {
                checkGreedy(lm, prompts.get(b), all.get(b).ids());
              }
            });
  }

  /** Every id has the largest logit after those before it, computed at once. */
  private static void checkGreedy(CausalLm lm, int[] prompt, int[] ids) {
    int[] row = Arrays.copyOf(prompt, prompt.length + ids.length);
    System.arraycopy(ids, 0, row, prompt.length, ids.length);
    int v = lm.config().vocabSize();
    try (Graph g = Graph.inference(lm.device())) {
      PackedBatch batch = PackedBatch.of(g.scope(), List.of(row), null);
      float[] logits = Head.logits(g, lm.hidden(g, batch).value(), lm.head()).toFloats();
      for (int i = prompt.length; i < row.length; i++) {
        float top = Float.NEGATIVE_INFINITY;
        for (int id = 0; id < v; id++) {
          top = Math.max(top, logits[(i - 1) * v + id]);
        }
        float chosen = logits[(i - 1) * v + row[i]];
        assertTrue(chosen > top - 1e-4, "prompt of " + prompt.length + ", token " + i);
      }
    }
  }

  @Test
  void memoryFollowsWhatIsHeld() {
    model("llama")
        .frozen(
            DType.F32,
            lm -> {
              try (KvCache cache = cache(lm);
                  Scope scope = lm.device().scope()) {
                assertEquals(0, cache.pages());
                List<KvCache.Sequence> two = List.of(cache.sequence(), cache.sequence());
                int[] pages = cache.fill(scope, two, new int[] {PAGE + 1, 1}).pages().toInts();
                assertEquals(3, Arrays.stream(pages).distinct().count());
                assertEquals(8, cache.pages(), "the pool's least");
                two.forEach(KvCache.Sequence::close);
                List<KvCache.Sequence> one = List.of(cache.sequence());
                cache.fill(scope, one, new int[] {8 * PAGE});
                assertEquals(8, cache.pages(), "pages that were given back are used again");
                cache.append(one, new int[] {8 * PAGE + 1});
                assertEquals(16, cache.pages());
              }
            });
  }

  @Test
  void forksShareFullPages() {
    model("llama")
        .frozen(
            DType.F32,
            lm -> {
              try (KvCache cache = cache(lm);
                  Scope scope = lm.device().scope()) {
                KvCache.Sequence first = cache.sequence();
                int tokens = 3 * PAGE + 5;
                cache.fill(scope, List.of(first), new int[] {tokens});
                KvCache.Sequence second = first.fork(tokens);
                int[] tables =
                    cache
                        .append(List.of(first, second), new int[] {tokens + 1, tokens + 1})
                        .tables();
                for (int i = 0; i < 3; i++) {
                  assertEquals(tables[i], tables[4 + i]);
                }
                assertTrue(tables[3] != tables[7], "each goes on in a page of its own");
                first.close();
                KvCache.Sequence third = cache.sequence();
                int[] pages = cache.fill(scope, List.of(third), new int[] {PAGE}).pages().toInts();
                for (int i = 4; i < 8; i++) {
                  assertTrue(pages[0] != tables[i], "a page that is still held was handed out");
                }
              }
            });
  }

  @Test
  void aSequenceOfMoreTokensThanPositions() {
    model("gpt2_bare")
        .frozen(
            DType.F32,
            lm ->
                assertThrows(
                    InputException.class,
                    () -> new KvCache(lm.device(), lm.config(), DType.F32, 49)));
  }

  private static KvCache cache(CausalLm lm) {
    return new KvCache(lm.device(), lm.config(), lm.dtype(), 16 * PAGE);
  }
}
