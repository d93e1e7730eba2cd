package org.rlhf4j.graph;

import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;

/**
 * The parameters that one optimizer trains, in one contiguous f32 buffer, their gradients in
 * another: one AdamW call, one norm, one blob in a checkpoint. Matrices lie first, vectors (norms,
 * biases) after them, since those take no weight decay.
 */
public final class Parameters implements AutoCloseable {
  /** Name and shape of a parameter to be. */
  public record Spec(String name, long... shape) {
    public static Spec of(String name, long... shape) {
      return new Spec(name, shape);
    }
  }

  private final Scope scope;
  private final Map<String, Parameter> byName = new LinkedHashMap<>();
  private final Tensor values;
  private final Tensor compute;
  private final Tensor grads;
  private final long decayed;

  /**
   * @param computeDtype what the forward reads: F32, or BF16 for a bf16 copy beside the f32 values
   * @param trainable whether there are gradients
   */
  public Parameters(Device device, List<Spec> specs, DType computeDtype, boolean trainable) {
    List<Spec> ordered = new ArrayList<>(specs.stream().filter(s -> s.shape.length > 1).toList());
    decayed = ordered.stream().mapToLong(s -> elements(s.shape)).sum();
    specs.stream().filter(s -> s.shape.length <= 1).forEach(ordered::add);
    long total = ordered.stream().mapToLong(s -> elements(s.shape)).sum();

    scope = device.scope();
    values = scope.zeros(DType.F32, total);
    compute = computeDtype == DType.F32 ? values : scope.zeros(computeDtype, total);
    grads = trainable ? scope.zeros(DType.F32, total) : null;
    long from = 0;
    for (Spec s : ordered) {
      long to = from + elements(s.shape);
      // Norms and biases are read in f32 by every op.
      Tensor read = s.shape.length > 1 ? compute : values;
      byName.put(
          s.name,
          new Parameter(
              s.name,
              values.rows(from, to).reshape(s.shape),
              read.rows(from, to).reshape(s.shape),
              grads == null ? null : grads.rows(from, to).reshape(s.shape)));
      from = to;
    }
  }

  private static long elements(long[] shape) {
    long n = 1;
    for (long s : shape) {
      n *= s;
    }
    return n;
  }

  public Parameter get(String name) {
    Parameter p = byName.get(name);
    if (p == null) {
      throw new IllegalArgumentException("no parameter " + name);
    }
    return p;
  }

  public boolean contains(String name) {
    return byName.containsKey(name);
  }

  public Collection<Parameter> all() {
    return byName.values();
  }

  /** All values, f32 [n]. */
  public Tensor values() {
    return values;
  }

  /** All gradients, f32 [n]; null if frozen. */
  public Tensor grads() {
    return grads;
  }

  /** What a forward in bf16 reads, [n]; null if it reads the values themselves. */
  public Tensor rounded() {
    return compute == values ? null : compute;
  }

  /** How many of the elements, from the front, take weight decay. */
  public long decayed() {
    return decayed;
  }

  public long count() {
    return values.elements();
  }

  /**
   * Several matrices that follow one another and have the same number of columns, as one.
   *
   * @param of picks value, compute copy or gradient
   */
  public Tensor joined(List<String> names, java.util.function.Function<Parameter, Tensor> of) {
    List<Tensor> parts = names.stream().map(n -> of.apply(get(n))).toList();
    Tensor whole =
        parts.get(0) == null ? null : of.apply(new Parameter("", values, compute, grads));
    if (whole == null) {
      return null;
    }
    long from = 0;
    for (Parameter p : byName.values()) {
      if (p.name().equals(names.get(0))) {
        break;
      }
      from += p.value().elements();
    }
    long rows = parts.stream().mapToLong(t -> t.size(0)).sum();
    long columns = parts.get(0).size(1);
    return whole.rows(from, from + rows * columns).reshape(rows, columns);
  }

  /**
   * Brings the forward's bf16 copies up to date with the values: after loading. An optimizer step
   * does so itself.
   */
  public void refresh() {
    if (compute != values) {
      Kernels.copy(compute, values);
    }
  }

  public void zeroGrads() {
    Kernels.fill(grads, 0);
  }

  @Override
  public void close() {
    scope.close();
  }
}
