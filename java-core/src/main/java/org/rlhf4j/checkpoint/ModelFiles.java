package org.rlhf4j.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;
import org.rlhf4j.tokenizer.ChatTemplate;
import org.rlhf4j.tokenizer.Tokenizer;

/**
 * What {@code --model PATH} names, opened: a Hugging Face folder, or one GGUF file that is made to
 * look like one. Tensors have Hugging Face's names, shapes and row order; the configuration is in
 * the terms of its config.json. Weights are mapped, not read, and the tokenizer is loaded when it
 * is first asked for, so opening is fast.
 *
 * <p>Closing unmaps the weights and closes the tokenizer.
 */
public abstract sealed class ModelFiles implements AutoCloseable
    permits HuggingFaceFolder, GgufModel {
  private final Path path;
  private Tokenizer tokenizer;

  ModelFiles(Path path) {
    this.path = path;
  }

  /**
   * Opens a folder or a GGUF file.
   *
   * @throws InputException when the path is missing, or is a folder without config.json or weights,
   *     or holds something else: the message says what was expected and what was found
   */
  public static ModelFiles open(Path path) {
    return open(path, true);
  }

  /**
   * As {@link #open}, of a folder whose weights need not be there: without them {@link #tensors} is
   * empty.
   */
  public static ModelFiles openDescription(Path path) {
    return open(path, false);
  }

  private static ModelFiles open(Path path, boolean withWeights) {
    if (Files.isDirectory(path)) {
      return HuggingFaceFolder.openFolder(path, withWeights);
    }
    if (!Files.exists(path)) {
      throw InputException.at(path, "no such model: expected a Hugging Face folder or a GGUF file");
    }
    if (!path.getFileName().toString().endsWith(".gguf") && !startsWithGguf(path)) {
      throw InputException.at(
          path,
          "expected a GGUF file, or the Hugging Face folder that holds config.json, found another"
              + " kind of file");
    }
    return GgufModel.openFile(path);
  }

  private static boolean startsWithGguf(Path path) {
    try (var in = Files.newInputStream(path)) {
      return "GGUF".equals(new String(in.readNBytes(4), StandardCharsets.ISO_8859_1));
    } catch (IOException e) {
      throw new InputException(path + ": cannot be read: " + e.getMessage(), e);
    }
  }

  /** As the user named it. */
  public Path path() {
    return path;
  }

  /** True for a GGUF file. */
  public abstract boolean isGguf();

  /**
   * The configuration in the terms of Hugging Face's config.json. From a folder: that file as it is
   * (newer ones have {@code rope_parameters}, older ones {@code rope_theta} and {@code
   * rope_scaling}). From GGUF: the older form, synthesised; rotary factors that are not Llama 3's
   * formula appear as {@code rope_scaling = {"rope_type": "factors", "factors": [head_dim/2 numbers
   * that divide the frequencies]}}.
   */
  public abstract JsonNode config();

  /** generation_config.json; an empty object when there is none. */
  public abstract JsonNode generationConfig();

  /**
   * tokenizer_config.json, with {@code chat_template} inside when there is one; an empty object
   * when there is none.
   */
  public abstract ObjectNode tokenizerConfig();

  /** The chat template's source, if the model has one. */
  public Optional<String> chatTemplateSource() {
    JsonNode template = tokenizerConfig().path("chat_template");
    return template.isTextual() ? Optional.of(template.textValue()) : Optional.empty();
  }

  /** The chat template with the tokenizer's special tokens, if the model has one. */
  public Optional<ChatTemplate> chatTemplate() {
    return chatTemplateSource()
        .map(source -> new ChatTemplate(source, tokenizer().specialTokens()));
  }

  abstract TensorFile weights();

  abstract Tokenizer loadTokenizer();

  /**
   * The tokenizer as metadata of a GGUF file ({@code tokenizer.*}), for an embedding of that many
   * rows.
   */
  abstract Map<String, Object> ggufTokenizer(int rows);

  /** All tensors under Hugging Face names. */
  public Map<String, StoredTensor> tensors() {
    return weights().tensors();
  }

  /**
   * One tensor; an InputException names the file, the tensor and the nearest names when there is
   * none. A checkpoint of the decoder alone, saved without its head, leaves the first part of all
   * names away ("model.", "transformer."): its tensors are found under the full names too.
   */
  public StoredTensor tensor(String hfName) {
    StoredTensor bare = tensors().get(hfName.substring(hfName.indexOf('.') + 1));
    return bare != null && !tensors().containsKey(hfName) ? bare : weights().tensor(hfName);
  }

  /** How the largest tensor is stored: what the model is stored in, in one word. */
  public String storedType() {
    if (tensors().isEmpty()) { // a description: what the configuration says of them
      String dtype = config().path("dtype").asText(config().path("torch_dtype").asText());
      return dtype.equals("float32") ? "F32" : "BF16";
    }
    return tensors().values().stream()
        .max(Comparator.comparingLong(StoredTensor::elements))
        .map(StoredTensor::storedType)
        .orElseThrow(() -> InputException.at(path, "expected tensors, found none"));
  }

  /** How the matrices are stored. GGUF's block formats are dequantised as they are read: NONE. */
  public Quantization quantization() {
    return Quantization.of(tensors().values());
  }

  /** Whether the model brought a tokenizer: without one, only token ids can be given. */
  public boolean hasTokenizer() {
    return isGguf() || Files.isRegularFile(path.resolve("tokenizer.json"));
  }

  /** The model's tokenizer, loaded on the first call. Owned by this object. */
  public synchronized Tokenizer tokenizer() {
    if (tokenizer == null) {
      tokenizer = loadTokenizer();
    }
    return tokenizer;
  }

  /**
   * The tokens that end a generation: {@code eos_token_id} (a number or a list) of
   * generation_config.json, else of config.json. Empty when neither has one.
   */
  public Set<Integer> eosIds() {
    for (JsonNode source : new JsonNode[] {generationConfig(), config()}) {
      JsonNode eos = source.path("eos_token_id");
      if (eos.isArray()) {
        Set<Integer> ids = new LinkedHashSet<>();
        eos.forEach(id -> ids.add(eosId(id)));
        return ids;
      }
      if (!eos.isMissingNode() && !eos.isNull()) {
        return Set.of(eosId(eos));
      }
    }
    return Set.of();
  }

  private int eosId(JsonNode id) {
    int rows = config().path("vocab_size").asInt(Integer.MAX_VALUE);
    if (!id.isInt() || id.intValue() < 0 || id.intValue() >= rows) {
      throw InputException.at(
          path,
          "eos_token_id: expected a token id below "
              + rows
              + ", or a list of such, found "
              + Json.kind(id));
    }
    return id.intValue();
  }

  /** How {@code generate} samples from this model unless it is told otherwise. */
  public SamplingDefaults samplingDefaults() {
    return SamplingDefaults.from(generationConfig(), path);
  }

  /**
   * Unmaps the weights, once they have been read: mapped pages count as the process's memory. The
   * rest stays open.
   */
  public void closeWeights() {
    weights().close();
  }

  @Override
  public synchronized void close() {
    if (tokenizer != null) {
      tokenizer.close();
    }
    weights().close();
  }

  /** The names in a folder, for messages: at most a dozen. */
  static String listing(Path folder) {
    try (Stream<Path> files = Files.list(folder)) {
      String names =
          files
              .map(f -> f.getFileName().toString())
              .sorted()
              .limit(12)
              .collect(Collectors.joining(", "));
      return names.isEmpty() ? "an empty folder" : names;
    } catch (IOException e) {
      return "a folder that cannot be listed";
    }
  }
}
