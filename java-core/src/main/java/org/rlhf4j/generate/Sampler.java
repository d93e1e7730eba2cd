package org.rlhf4j.generate;

import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Head;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.SampleConfig;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;

/** Draws the next token of sequences from their last hidden states. */
final class Sampler implements AutoCloseable {
  private final CausalLm model;
  private final GenerationConfig config;
  private final long firstStream;
  private final Scope scope;
  private final Tensor eos;

  /**
   * @param firstStream sequence i draws from the random stream firstStream + i
   */
  Sampler(CausalLm model, GenerationConfig config, long firstStream) {
    this.model = model;
    this.config = config;
    this.firstStream = firstStream;
    scope = model.device().scope();
    int[] ids = config.eosIds().stream().mapToInt(Integer::intValue).sorted().toArray();
    eos = ids.length == 0 ? null : scope.of(ids);
  }

  /** The random stream of a sequence. */
  int stream(LiveSequence l) {
    return (int) (firstStream + l.index);
  }

  /** 1 if the sequence may end here, else 0. */
  int mayEnd(LiveSequence l) {
    return l.newTokens() >= config.minNewTokens() ? 1 : 0;
  }

  /**
   * @param next i32 [n] (=): the tokens
   * @param hidden float [n,H]
   * @param streams i32 [n], as {@link #stream} says; {@code steps} i32 [n]: new tokens so far
   * @param mayEnd i32 [n], as {@link #mayEnd} says; null: all may
   */
  void draw(Graph g, Tensor next, Tensor hidden, Tensor streams, Tensor steps, Tensor mayEnd) {
    boolean suppress = mayEnd != null && eos != null;
    Kernels.sample(
        next,
        null,
        Head.logits(g, hidden, model.head()),
        streams,
        steps,
        suppress ? eos : null,
        suppress ? mayEnd : null,
        new SampleConfig(config.temperature(), config.topK(), config.topP(), config.seed()));
  }

  @Override
  public void close() {
    scope.close();
  }
}
