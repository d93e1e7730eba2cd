package org.rlhf4j.nn;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.rlhf4j.checkpoint.Nf4Tensor;
import org.rlhf4j.checkpoint.Quantization;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;

/**
 * A base that is never trained: matrices packed for the products, read from a checkpoint one at a
 * time.
 */
final class FrozenWeights implements WeightStore {
  private final Device device;
  private final Scope scope;
  private final DType dtype;
  private final Quantization quantization;
  private final Function<String, StoredTensor> source;
  private final List<Weight> weights = new ArrayList<>();

  FrozenWeights(
      Device device,
      DType dtype,
      Quantization quantization,
      Function<String, StoredTensor> source) {
    this.device = device;
    this.scope = device.scope();
    this.dtype = dtype;
    this.quantization = quantization;
    this.source = source;
  }

  @Override
  public DType dtype() {
    return dtype;
  }

  @Override
  public Weight matrix(List<String> names) {
    List<StoredTensor> parts = names.stream().map(source).toList();
    boolean quantised =
        quantization == Quantization.AUTO
            ? parts.stream().allMatch(Nf4Tensor.class::isInstance)
            : quantization.isNf4();
    return keep(quantised ? packNf4(parts) : pack(parts));
  }

  @Override
  public Weight head(String name) {
    return keep(pack(List.of(source.apply(name))));
  }

  private Weight keep(Weight weight) {
    weights.add(weight);
    return weight;
  }

  /** What is stored in NF4 keeps its own kind of scales, unless another is asked for. */
  private Weight packNf4(List<StoredTensor> parts) {
    boolean nested =
        quantization == Quantization.AUTO
            ? ((Nf4Tensor) parts.get(0)).scales().isNested()
            : quantization.isNested();
    try (Scope loading = device.scope()) {
      return Weight.packNf4(
          parts.stream().map(p -> Nf4Matrices.load(loading, p, dtype, nested)).toList(), dtype);
    }
  }

  private Weight pack(List<StoredTensor> parts) {
    long in = parts.get(0).shape()[1];
    long out = parts.stream().mapToLong(p -> p.shape()[0]).sum();
    try (Scope loading = device.scope()) {
      Tensor joined = loading.allocate(dtype, out, in);
      long row = 0;
      for (StoredTensor part : parts) {
        TensorLoader.load(part, joined.rows(row, row + part.shape()[0]));
        row += part.shape()[0];
      }
      return Weight.pack(joined);
    }
  }

  @Override
  public Tensor matrixGrad(List<String> names) {
    return null;
  }

  @Override
  public Parameter vector(String name) {
    return joinedVector(List.of(name));
  }

  @Override
  public Parameter joinedVector(List<String> names) {
    if (names.isEmpty()) {
      return null;
    }
    List<StoredTensor> parts = names.stream().map(source).toList();
    Tensor joined =
        scope.allocate(DType.F32, parts.stream().mapToLong(StoredTensor::elements).sum());
    long at = 0;
    for (StoredTensor part : parts) {
      TensorLoader.load(part, joined.rows(at, at + part.elements()));
      at += part.elements();
    }
    return Parameter.frozen(names.get(0), joined);
  }

  @Override
  public Parameter table(String name) {
    StoredTensor stored = source.apply(name);
    Tensor table = scope.allocate(dtype, stored.shape());
    TensorLoader.load(stored, table);
    return Parameter.frozen(name, table);
  }

  @Override
  public void close() {
    weights.forEach(Weight::close);
    scope.close();
  }
}
