package org.rlhf4j.nn;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.stream.IntStream;
import org.rlhf4j.checkpoint.FloatSource;
import org.rlhf4j.checkpoint.Nf4Scales;
import org.rlhf4j.checkpoint.Nf4Tensor;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Nf4;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;

/**
 * Brings stored tensors to the device, converting on the way; a chunk at a time, so that no f32
 * copy of a whole model exists.
 */
final class TensorLoader {
  private static final int CHUNK = 1 << 20;

  private TensorLoader() {}

  /** Fills {@code destination} (dense; f32 or bf16; as many elements) from a file. */
  static void load(StoredTensor source, Tensor destination) {
    if (source.elements() != destination.elements()) {
      throw new IllegalArgumentException(
          source.name() + " has " + source.elements() + " elements, expected " + destination);
    }
    if (source.storedType().equals(destination.dtype().name())) {
      destination.copyFrom(source.bytes());
    } else {
      load((FloatSource) source, destination);
    }
    source.unload();
  }

  /** Fills {@code destination} with so many values as it has elements. */
  static void load(FloatSource source, Tensor destination) {
    Tensor flat = destination.reshape(destination.elements());
    long total = destination.elements();
    int workers = Math.max(1, Runtime.getRuntime().availableProcessors());
    float[][] buffers = new float[workers][];
    try (Scope scope = destination.device().scope();
        Arena arena = Arena.ofConfined()) {
      int largest = (int) Math.min(CHUNK, total);
      MemorySegment host = arena.allocate(4L * largest, 64);
      Tensor wide = destination.dtype() == DType.F32 ? null : scope.allocate(DType.F32, largest);
      for (long group = 0; group < total; group += (long) CHUNK * workers) {
        long first = group;
        int chunks = (int) Math.min(workers, (total - first + CHUNK - 1) / CHUNK);
        IntStream.range(0, chunks)
            .parallel()
            .forEach(
                w -> {
                  long from = first + (long) w * CHUNK;
                  int n = (int) Math.min(CHUNK, total - from);
                  if (buffers[w] == null) {
                    buffers[w] = new float[largest];
                  }
                  source.read(from, n, buffers[w], 0);
                });
        for (int w = 0; w < chunks; w++) {
          long from = first + (long) w * CHUNK;
          int n = (int) Math.min(CHUNK, total - from);
          MemorySegment.copy(buffers[w], 0, host, ValueLayout.JAVA_FLOAT, 0, n);
          Tensor target = flat.rows(from, from + n);
          Tensor staging = wide == null ? target : wide.rows(0, n);
          staging.copyFrom(host.asSlice(0, 4L * n));
          if (wide != null) {
            Kernels.copy(target, staging);
          }
        }
      }
    }
  }

  /** Copies codes and scales as they are; both sides have scales of the same kind. */
  static void load(Nf4Tensor source, Nf4 destination) {
    copy(source.codes(), destination.codes());
    switch (source.scales()) {
      case Nf4Scales.Plain plain -> copy(plain.absmax(), destination.absmax());
      case Nf4Scales.Nested nested -> {
        copy(nested.absmax(), destination.absmax());
        copy(nested.code(), destination.nestedCode());
        copy(nested.nestedAbsmax(), destination.nestedAbsmax());
        destination.offset().copyFrom(nested.offset());
      }
    }
    source.unload();
  }

  private static void copy(MemorySegment from, Tensor to) {
    if (from.isNative()) {
      to.copyFrom(from);
      return;
    }
    try (Arena arena = Arena.ofConfined()) {
      to.copyFrom(arena.allocate(from.byteSize(), 64).copyFrom(from));
    }
  }
}
