package org.rlhf4j.checkpoint;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;

/**
 * How transformers and bitsandbytes keep NF4 in safetensors. For a matrix {@code X.weight} there
 * are
 *
 * <ul>
 *   <li>{@code X.weight}: the codes, u8 [n/2, 1]
 *   <li>{@code X.weight.absmax}: f32 [blocks]; with double quantisation u8
 *   <li>{@code X.weight.quant_map}: the 16 levels, f32
 *   <li>{@code X.weight.nested_absmax}, {@code X.weight.nested_quant_map}: with double quantisation
 *       only
 *   <li>{@code X.weight.quant_state.bitsandbytes__nf4}: the bytes of a JSON object with shape,
 *       block size, the dtype that there was before, and the offset of double quantisation
 * </ul>
 */
public final class BitsAndBytes {
  private static final String STATE = ".quant_state.bitsandbytes__";
  private static final String SUPPORTED =
      "expected 4 bits as bitsandbytes' NF4 with blocks of 64, with or without double quantisation";

  private BitsAndBytes() {}

  // ---- config.json

  /** Refuses a model whose configuration says that its weights are quantised in another way. */
  static void checkConfig(Path file, JsonNode config) {
    JsonNode quantization = config.path("quantization_config");
    if (!quantization.isObject()) {
      return;
    }
    String method = quantization.path("quant_method").asText("bitsandbytes");
    if (!method.equals("bitsandbytes")) {
      throw unsupported(file, "quantization_config: quant_method '" + method + "'");
    }
    if (quantization.path("load_in_8bit").asBoolean()) {
      throw unsupported(file, "quantization_config: load_in_8bit");
    }
    String type = quantization.path("bnb_4bit_quant_type").asText("nf4");
    if (quantization.path("load_in_4bit").asBoolean() && !type.equals("nf4")) {
      throw unsupported(file, "quantization_config: bnb_4bit_quant_type '" + type + "'");
    }
  }

  /**
   * What transformers writes as {@code quantization_config}.
   *
   * @param compute what products are computed in
   */
  static ObjectNode config(boolean nested, FloatType compute) {
    ObjectNode config = Json.MAPPER.createObjectNode();
    config.put("_load_in_4bit", true);
    config.put("_load_in_8bit", false);
    config.put("bnb_4bit_compute_dtype", compute.torchName());
    config.put("bnb_4bit_quant_storage", "uint8");
    config.put("bnb_4bit_quant_type", "nf4");
    config.put("bnb_4bit_use_double_quant", nested);
    config.put("llm_int8_enable_fp32_cpu_offload", false);
    config.put("llm_int8_has_fp16_weight", false);
    config.putNull("llm_int8_skip_modules");
    config.put("llm_int8_threshold", 6.0);
    config.put("load_in_4bit", true);
    config.put("load_in_8bit", false);
    config.put("quant_method", "bitsandbytes");
    return config;
  }

  // ---- reading

  /** The same file, with one {@link Nf4Tensor} in place of the tensors that describe it. */
  public static TensorFile join(TensorFile file) {
    Map<String, StoredTensor> stored = file.tensors();
    Map<String, StoredTensor> joined = new LinkedHashMap<>(stored);
    for (String name : stored.keySet()) {
      int at = name.indexOf(STATE);
      if (at >= 0) {
        joined.replace(name.substring(0, at), join(file, name.substring(0, at), name));
        for (String part : List.of("absmax", "quant_map", "nested_absmax", "nested_quant_map")) {
          joined.remove(name.substring(0, at) + "." + part);
        }
        joined.remove(name);
      } else if (name.endsWith(".SCB")) {
        throw unsupported(file.path(), "tensor '" + name + "': LLM.int8");
      }
    }
    return joined.size() == stored.size() ? file : new Joined(file, joined);
  }

  private record Joined(TensorFile file, Map<String, StoredTensor> tensors) implements TensorFile {
    Joined {
      tensors = java.util.Collections.unmodifiableMap(tensors);
    }

    @Override
    public Path path() {
      return file.path();
    }

    @Override
    public void close() {
      file.close();
    }
  }

  private static Nf4Tensor join(TensorFile file, String name, String stateName) {
    Path path = file.path();
    JsonNode state = state(path, file.tensor(stateName));
    String where = "tensor '" + stateName + "': ";
    String type = state.path("quant_type").asText();
    if (!type.equals("nf4")) {
      throw unsupported(path, where + "quant_type '" + type + "'");
    }
    expect(path, where, state, "blocksize", Nf4Tensor.BLOCK);
    long[] shape = shape(path, where, state.path("shape"));
    long elements = Shapes.elements(shape);
    MemorySegment codes =
        part(
            file, name, null, Nf4Tensor.codeBytes(elements)); // of whatever dtype: FSDP's is not U8
    MemorySegment levels = part(file, name + ".quant_map", "F32", 4L * Nf4Tensor.LEVELS.length);
    if (!Arrays.equals(levels.toArray(Nf4Scales.FLOAT), Nf4Tensor.LEVELS)) {
      throw unsupported(path, "tensor '" + name + ".quant_map': levels other than NF4's");
    }
    long blocks = Nf4Tensor.blocks(elements);
    Nf4Scales scales =
        state.has("nested_blocksize")
            ? nested(file, name, where, state, blocks)
            : new Nf4Scales.Plain(part(file, name + ".absmax", "F32", 4 * blocks));
    return new Nf4Tensor(name, shape, codes, scales, original(path, where, state));
  }

  private static Nf4Scales nested(
      TensorFile file, String name, String where, JsonNode state, long blocks) {
    expect(file.path(), where, state, "nested_blocksize", Nf4Scales.Nested.BLOCK);
    if (!state.path("nested_offset").isNumber()) {
      throw InputException.at(
          file.path(),
          where + "nested_offset: expected a number, found " + state.path("nested_offset"));
    }
    long groups = Nf4Scales.Nested.groups(blocks);
    return new Nf4Scales.Nested(
        part(file, name + ".absmax", "U8", blocks),
        part(file, name + ".nested_quant_map", "F32", 4 * 256),
        part(file, name + ".nested_absmax", "F32", 4 * groups),
        state.get("nested_offset").floatValue());
  }

  private static JsonNode state(Path path, StoredTensor tensor) {
    byte[] bytes = tensor.bytes().toArray(ValueLayout.JAVA_BYTE);
    try {
      JsonNode state = Json.MAPPER.readTree(new String(bytes, StandardCharsets.UTF_8));
      if (state != null && state.isObject()) {
        return state;
      }
    } catch (JsonProcessingException e) {
      // the message is the same
    }
    throw InputException.at(
        path, "tensor '" + tensor.name() + "': expected the bytes of a JSON object");
  }

  private static void expect(Path path, String where, JsonNode state, String key, int value) {
    if (state.path(key).asInt(-1) != value) {
      throw unsupported(path, where + key + " " + state.path(key));
    }
  }

  private static long[] shape(Path path, String where, JsonNode node) {
    long[] shape = new long[node.size()];
    for (int i = 0; i < shape.length; i++) {
      shape[i] = node.get(i).isIntegralNumber() ? node.get(i).longValue() : -1;
    }
    if (shape.length != 2 || Shapes.elements(shape) <= 0) {
      throw InputException.at(
          path, where + "shape: expected rows and columns of a matrix, found " + node);
    }
    return shape;
  }

  private static FloatType original(Path path, String where, JsonNode state) {
    try {
      return FloatType.parse(state.path("dtype").asText());
    } catch (InputException e) {
      throw InputException.at(path, where + e.getMessage());
    }
  }

  /** The bytes of a tensor that must have so many, and that dtype unless null. */
  private static MemorySegment part(TensorFile file, String name, String dtype, long bytes) {
    StoredTensor part = file.tensor(name);
    if (part.byteSize() != bytes || (dtype != null && !part.storedType().equals(dtype))) {
      throw InputException.at(
          file.path(),
          "tensor '"
              + name
              + "': expected "
              + bytes
              + " bytes"
              + (dtype == null ? "" : " of " + dtype)
              + " by the quantisation's own description, found "
              + part.byteSize()
              + " of "
              + part.storedType());
    }
    return part.bytes();
  }

  private static InputException unsupported(Path path, String what) {
    return InputException.at(path, what + " is not supported; " + SUPPORTED);
  }

  // ---- writing

  /**
   * The tensors that describe one matrix.
   *
   * @param original what the numbers were before
   * @param quantise makes the matrix; asked when its first part is written, and forgotten with the
   *     last, so that a file of many needs memory for one. With double quantisation asked once
   *     before that, since the header must know the offset.
   */
  public static List<TensorToWrite> split(
      String name, long[] shape, boolean nested, FloatType original, Supplier<Nf4Tensor> quantise) {
    long elements = Shapes.elements(shape);
    long blocks = Nf4Tensor.blocks(elements);
    byte[] state = state(shape, original, nested ? quantise.get().scales().nested() : null);
    Matrix matrix = new Matrix(() -> quantise.get().withScales(nested));
    long[] packed = {Nf4Tensor.codeBytes(elements), 1};
    TensorToWrite codes = TensorToWrite.bytes(name, packed, () -> matrix.begin().codes());
    TensorToWrite levels =
        TensorToWrite.floats(
            name + ".quant_map",
            Nf4Tensor.LEVELS.length,
            () -> MemorySegment.ofArray(Nf4Tensor.LEVELS));
    TensorToWrite described =
        TensorToWrite.bytes(
            name + STATE + "nf4", new long[] {state.length}, () -> MemorySegment.ofArray(state));
    String absmax = name + ".absmax";
    if (!nested) {
      return List.of(
          codes,
          TensorToWrite.floats(absmax, blocks, () -> matrix.end().scales().plain().absmax()),
          levels,
          described);
    }
    long groups = Nf4Scales.Nested.groups(blocks);
    return List.of(
        codes,
        TensorToWrite.bytes(absmax, new long[] {blocks}, () -> matrix.scales().absmax()),
        TensorToWrite.floats(name + ".nested_absmax", groups, () -> matrix.scales().nestedAbsmax()),
        TensorToWrite.floats(
            name + ".nested_quant_map", 256, () -> matrix.end().scales().nested().code()),
        levels,
        described);
  }

  /** One quantised matrix, from its first part to its last. */
  private static final class Matrix {
    private final Supplier<Nf4Tensor> quantise;
    private Nf4Tensor tensor;

    Matrix(Supplier<Nf4Tensor> quantise) {
      this.quantise = quantise;
    }

    Nf4Tensor begin() {
      tensor = quantise.get();
      return tensor;
    }

    Nf4Scales.Nested scales() {
      return tensor.scales().nested();
    }

    Nf4Tensor end() {
      Nf4Tensor last = tensor;
      tensor = null;
      return last;
    }
  }

  /** As Python's json.dumps writes it: equal weights give equal bytes. */
  private static byte[] state(long[] shape, FloatType original, Nf4Scales.Nested nested) {
    String text =
        "{\"quant_type\": \"nf4\", \"blocksize\": "
            + Nf4Tensor.BLOCK
            + ", \"dtype\": \""
            + original.torchName()
            + "\", \"shape\": "
            + Arrays.toString(shape);
    if (nested != null) {
      text +=
          ", \"nested_blocksize\": "
              + Nf4Scales.Nested.BLOCK
              + ", \"nested_dtype\": \"float32\", \"nested_offset\": "
              + (double) nested.offset();
    }
    return (text + "}").getBytes(StandardCharsets.UTF_8);
  }
}
