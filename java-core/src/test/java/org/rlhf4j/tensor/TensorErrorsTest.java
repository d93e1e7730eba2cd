package org.rlhf4j.tensor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.rlhf4j.bindings.NativeException;
import org.rlhf4j.bindings.NativeException.Status;

/**
 * Wrong arguments are an exception that names op, argument, expected and found. The JVM never
 * crashes.
 */
class TensorErrorsTest {
  private final Device device = Device.cpu(2);
  private final Scope scope = device.scope();

  @AfterEach
  void close() {
    device.close();
  }

  private static void refused(Status status, Executable call, String... parts) {
    NativeException e = assertThrows(NativeException.class, call);
    assertEquals(status, e.status(), e.getMessage());
    for (String part : parts) {
      assertTrue(
          e.getMessage().contains(part), () -> "'" + e.getMessage() + "' lacks '" + part + "'");
    }
  }

  @Test
  void wrongShapeAndDtype() {
    Tensor x = scope.zeros(DType.F32, 3, 8);
    Tensor y = scope.zeros(DType.F32, 3, 8);
    Tensor w = scope.zeros(DType.F32, 7);
    refused(
        Status.INVALID_ARGUMENT,
        () -> Kernels.rmsNorm(y, x, w, 1e-5f),
        "rms_norm",
        "w",
        "expected shape [8]",
        "found [7]");
    Tensor ids = scope.zeros(DType.I32, 8);
    refused(
        Status.INVALID_ARGUMENT,
        () -> Kernels.rmsNorm(y, x, ids, 1e-5f),
        "rms_norm",
        "w",
        "expected dtype f32",
        "found i32");
    refused(Status.INVALID_ARGUMENT, () -> Kernels.rmsNorm(null, x, w, 1e-5f), "rms_norm", "null");
  }

  @Test
  void outOfRangeIds() {
    Tensor table = scope.zeros(DType.F32, 5, 4);
    Tensor y = scope.zeros(DType.F32, 2, 4);
    refused(
        Status.INVALID_ARGUMENT,
        () -> Kernels.embedding(y, table, scope.of(1, 5)),
        "embedding",
        "ids[1] is 5",
        "0 to 4");
    refused(
        Status.INVALID_ARGUMENT,
        () -> Kernels.embedding(y, table, scope.of(-1, 0)),
        "ids[0] is -1");
  }

  @Test
  void closedScopeWeightAndDevice() {
    Tensor kept = scope.zeros(DType.F32, 2, 2);
    Tensor gone;
    try (Scope inner = device.scope()) {
      gone = inner.zeros(DType.F32, 2, 2);
    }
    refused(Status.INVALID_HANDLE, () -> Kernels.add(kept, kept, gone), "add", "b", "closed");
    Weight w = Weight.pack(kept);
    w.close();
    w.close();
    refused(
        Status.INVALID_HANDLE,
        () -> Kernels.linear(scope.zeros(DType.F32, 2, 2), kept, w, null, false),
        "linear",
        "weight",
        "closed");
    Device other = Device.cpu(1);
    Tensor theirs = other.scope().zeros(DType.F32, 2, 2);
    refused(Status.INVALID_ARGUMENT, () -> Kernels.add(kept, kept, theirs), "add", "device");
    other.close();
    other.close();
    refused(Status.INVALID_HANDLE, () -> Kernels.add(kept, kept, theirs), "add");
    assertThrows(NativeException.class, () -> other.scope().zeros(DType.F32, 1));
  }

  @Test
  void outputsThatOverlapInputs() {
    Tensor x = scope.zeros(DType.F32, 4, 4);
    Tensor w = scope.zeros(DType.F32, 4);
    refused(Status.INVALID_ARGUMENT, () -> Kernels.rmsNorm(x, x, w, 1e-5f), "rms_norm", "overlaps");
  }

  @Test
  void wrongDtypeOfAWeightNamesBoth() {
    try (Weight w = Weight.pack(scope.zeros(DType.BF16, 4, 4))) {
      Tensor x = scope.zeros(DType.F32, 2, 4);
      refused(
          Status.INVALID_ARGUMENT,
          () -> Kernels.linear(scope.zeros(DType.F32, 2, 4), x, w, null, false),
          "linear",
          "bf16",
          "f32");
    }
  }

  @Test
  void unknownBackend() {
    refused(Status.UNSUPPORTED, () -> Device.open("abacus", 0, 1), "abacus", "cpu");
  }

  @Test
  void viewsOutsideTheTensor() {
    Tensor x = scope.zeros(DType.F32, 3, 4);
    assertThrows(IllegalArgumentException.class, () -> x.rows(1, 4));
    assertThrows(IllegalArgumentException.class, () -> x.columns(-1, 2));
    assertThrows(IllegalArgumentException.class, () -> x.reshape(5));
    assertThrows(IllegalArgumentException.class, () -> x.copyFrom(1f, 2f));
    assertThrows(ArithmeticException.class, () -> scope.allocate(DType.F32, Long.MAX_VALUE, 2));
  }

  @Test
  void memoryGoesBack() {
    long before = device.memory().inUse();
    for (int i = 0; i < 3; i++) {
      try (Scope inner = device.scope()) {
        Tensor a = inner.zeros(DType.F32, 1000, 100);
        inner.free(inner.zeros(DType.F32, 10));
        Kernels.add(a, a, a);
      }
    }
    assertEquals(before, device.memory().inUse());
    long reserved = device.memory().reserved();
    try (Scope inner = device.scope()) {
      inner.zeros(DType.F32, 1000, 100);
    }
    assertEquals(
        reserved,
        device.memory().reserved(),
        "a second step of the same shape takes no new memory");
    device.trim();
  }

  @Test
  void movedTensorsOutliveTheirScope() {
    Tensor kept;
    try (Scope inner = device.scope()) {
      kept = inner.move(inner.of(1f, 2f), scope);
      assertThrows(IllegalArgumentException.class, () -> inner.free(kept));
    }
    assertEquals(List.of(1f, 2f), List.of(kept.toFloats()[0], kept.toFloats()[1]));
  }
}
