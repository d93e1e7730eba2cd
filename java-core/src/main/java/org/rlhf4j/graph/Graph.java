package org.rlhf4j.graph;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Function;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;

/**
 * One forward pass and, if it records, its backward. Each op computes its value at once and leaves
 * behind what its backward does; {@link #backward} runs those in reverse. All memory belongs to the
 * graph and goes back when it is closed.
 */
public final class Graph implements AutoCloseable {
  private final Scope scope;
  private final boolean recording;
  private final List<Runnable> tape = new ArrayList<>();

  private Graph(Scope scope, boolean recording) {
    this.scope = scope;
    this.recording = recording;
  }

  /** A graph that keeps what a backward needs. */
  public static Graph training(Device device) {
    return new Graph(device.scope(), true);
  }

  /** A graph for values alone. */
  public static Graph inference(Device device) {
    return new Graph(device.scope(), false);
  }

  public boolean isRecording() {
    return recording;
  }

  public Scope scope() {
    return scope;
  }

  public Tensor allocate(DType dtype, long... shape) {
    return scope.allocate(dtype, shape);
  }

  /** A value that no gradient flows into. */
  public Var constant(Tensor value) {
    return new Var(value, false);
  }

  /** A value whose gradient is wanted: a leaf. */
  public Var leaf(Tensor value) {
    return new Var(value, recording);
  }

  /**
   * The result of an op.
   *
   * @param needsGrad whether an input or parameter of the op wants a gradient
   * @param backward given the result (its gradient is set), hands gradients to inputs and
   *     parameters; not run if no gradient has arrived
   */
  Var record(Tensor value, boolean needsGrad, Consumer<Var> backward) {
    Var out = new Var(value, recording && needsGrad);
    if (out.needsGrad()) {
      tape.add(
          () -> {
            if (out.grad() != null) {
              backward.accept(out);
              release(out.gradient());
              out.setGradient(null);
            }
            // Every op that reads the value came later on the tape, and is done.
            scope.free(value);
          });
    }
    return out;
  }

  /** Adds {@code grad}, which the caller gives away, to what has arrived at {@code x}. */
  void accumulate(Var x, Tensor grad) {
    add(x, new Var.Gradient(grad, true));
  }

  /** Hands the gradient of {@code y} on to {@code x} as it is. */
  void pass(Var x, Var y) {
    y.gradient().users++;
    add(x, y.gradient());
  }

  /** Takes over one use of {@code grad}. */
  private void add(Var x, Var.Gradient grad) {
    Var.Gradient arrived = x.gradient();
    if (!x.needsGrad()) {
      release(grad);
    } else if (arrived == null) {
      x.setGradient(grad);
    } else if (arrived.isWritable()) {
      Kernels.add(arrived.tensor, arrived.tensor, grad.tensor);
      release(grad);
    } else {
      Tensor sum = allocate(x.value().dtype(), x.value().shape());
      Kernels.add(sum, arrived.tensor, grad.tensor);
      release(arrived);
      release(grad);
      x.setGradient(new Var.Gradient(sum, true));
    }
  }

  private void release(Var.Gradient grad) {
    if (--grad.users == 0 && grad.owned) {
      scope.free(grad.tensor);
    }
  }

  /**
   * Sets the gradient of an output of the whole graph, which stays the caller's; call {@link
   * #backward} once all are set.
   */
  public void seed(Var output, Tensor grad) {
    add(output, new Var.Gradient(grad, false));
  }

  /**
   * Runs the backward of every op, last first. Parameter gradients are added to. Values and
   * gradients of ops go back as soon as they are no longer wanted: read before what is needed, but
   * for the gradients of leaves.
   */
  public void backward() {
    for (int i = tape.size() - 1; i >= 0; i--) {
      tape.get(i).run();
    }
    tape.clear();
  }

  /**
   * Runs {@code block} without keeping its activations; the backward computes them again. Trades a
   * second forward for memory.
   */
  public Var recompute(Var x, Function<Step, Var> block) {
    if (!recording) {
      return block.apply(new Step(this, x));
    }
    Tensor kept;
    try (Graph dry = new Graph(scope.device().scope(), false)) {
      Tensor y = block.apply(new Step(dry, dry.constant(x.value()))).value();
      kept = dry.scope.move(y, scope);
    }
    return record(
        kept,
        true,
        out -> {
          try (Graph again = new Graph(scope.device().scope(), true)) {
            Var input = x.needsGrad() ? again.leaf(x.value()) : again.constant(x.value());
            Var y = block.apply(new Step(again, input));
            again.seed(y, out.grad());
            again.backward();
            if (input.grad() != null) {
              Tensor grad = allocate(input.grad().dtype(), input.grad().shape());
              Kernels.copy(grad, input.grad());
              accumulate(x, grad);
            }
          }
        });
  }

  /** The graph and the input that a recomputed block works with. */
  public record Step(Graph graph, Var input) {}

  @Override
  public void close() {
    tape.clear();
    scope.close();
  }
}
