package org.rlhf4j.cli;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Head;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.nn.Chunks;
import org.rlhf4j.nn.PackedBatch;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.tensor.Tensor;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
    name = "logprobs",
    description = "Log-probabilities of given sequences, token by token, with sums and perplexity.",
    mixinStandardHelpOptions = true)
final class LogprobsCommand implements Callable<Integer> {
  @Mixin private CommonOptions common;
  @Mixin private InputOptions input;

  @Option(
      names = "--logits",
      description = "also the logits after each token, for the whole vocabulary")
  private boolean logits;

  @Option(names = "--values", description = "also the value head's value at each token")
  private boolean values;

  @Override
  public Integer call() {
    common.configureLog();
    try (LoadedModel model = LoadedModel.open(input, common);
        LoraAdapter adapter = model.adapter(input.adapter, false)) {
      input.requireValueHead(values);
      List<int[]> sequences = input.sequences(model);
      List<Map<String, Object>> found = new ArrayList<>();
      for (int from = 0; from < sequences.size(); ) {
        int to = Chunks.end(sequences, from);
        pass(model, adapter, sequences.subList(from, to), found);
        from = to;
      }
      if (common.json) {
        Output.json(Map.of("sequences", found));
      } else {
        for (Map<String, Object> s : found) {
          Output.line(
              String.format(
                  Locale.ROOT,
                  "%d tokens, log-probability %.4f, perplexity %.4f",
                  ((int[]) s.get("ids")).length,
                  s.get("sum"),
                  s.get("perplexity")));
        }
      }
    }
    return 0;
  }

  private void pass(
      LoadedModel model,
      LoraAdapter adapter,
      List<int[]> sequences,
      List<Map<String, Object>> found) {
    try (Graph g = Graph.inference(model.device())) {
      PackedBatch batch = PackedBatch.of(g.scope(), sequences, adapter);
      Tensor hidden = model.lm().hidden(g, batch).value();
      // Row i predicts token i+1; the last row of a sequence predicts nothing that was given, and
      // its target is not read.
      int[] targets = new int[batch.tokens()];
      for (int b = 0; b < sequences.size(); b++) {
        int[] ids = sequences.get(b);
        System.arraycopy(ids, 1, targets, batch.starts()[b], ids.length - 1);
      }
      float[] logp =
          Head.logprobs(g, g.constant(hidden), model.lm().head(), null, g.scope().of(targets), 1)
              .logp()
              .value()
              .toFloats();
      float[] value =
          values
              ? new Policy(model.lm(), adapter).values(g, g.constant(hidden)).value().toFloats()
              : null;
      for (int b = 0; b < sequences.size(); b++) {
        int start = batch.starts()[b];
        int end = batch.starts()[b + 1];
        Map<String, Object> s = describe(sequences.get(b), logp, start);
        if (logits) {
          s.put("logits", rows(g, hidden.rows(start, end), model));
        }
        if (values) {
          s.put("values", Arrays.copyOfRange(value, start, end));
        }
        found.add(s);
      }
    }
  }

  private static Map<String, Object> describe(int[] ids, float[] logp, int start) {
    List<Float> list = new ArrayList<>();
    list.add(null);
    double sum = 0;
    for (int i = 1; i < ids.length; i++) {
      float l = logp[start + i - 1];
      list.add(l);
      sum += l;
    }
    Map<String, Object> s = new LinkedHashMap<>();
    s.put("ids", ids);
    s.put("logprobs", list);
    s.put("sum", sum);
    s.put("perplexity", ids.length > 1 ? Math.exp(-sum / (ids.length - 1)) : null);
    return s;
  }

  private static float[][] rows(Graph g, Tensor hidden, LoadedModel model) {
    int n = (int) hidden.size(0);
    int v = model.config().vocabSize();
    float[] flat = Head.logits(g, hidden, model.lm().head()).toFloats();
    float[][] rows = new float[n][];
    for (int i = 0; i < n; i++) {
      rows[i] = Arrays.copyOfRange(flat, i * v, (i + 1) * v);
    }
    return rows;
  }
}
