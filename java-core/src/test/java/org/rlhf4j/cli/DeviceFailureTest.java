package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.bindings.NativeException;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.testing.TestDevice;

/** What becomes of a kernel that fails: an exception, one message, and nothing saved is lost. */
class DeviceFailureTest {
  @TempDir Path work;

  /** The checker's report, with kernel and line, is the exception's message. */
  @Test
  void aFailedLaunchIsAnException() {
    try (Device device = Device.named(TestDevice.emulated("emulated-checked"), 1);
        Scope scope = device.scope()) {
      Tensor nobodyWrote = scope.allocate(DType.F32, 3, 8);
      Tensor y = scope.allocate(DType.F32, 3, 8);
      Kernels.add(y, nobodyWrote, nobodyWrote); // launched, not yet run
      NativeException e = assertThrows(NativeException.class, y::toFloats);
      assertEquals(NativeException.Status.INTERNAL, e.status());
      for (String part :
          List.of("CUDA_ERROR_LAUNCH_FAILED", "add_", "uninitialised", "elementwise.h:")) {
        assertTrue(e.getMessage().contains(part), e::getMessage);
      }
      Tensor ones = scope.allocate(DType.F32, 3, 8);
      Kernels.fill(ones, 1);
      Kernels.add(y, ones, ones);
      assertEquals(2, y.toFloats()[23]);
    }
  }

  /**
   * The third optimizer step of a run fails, and then, as on a GPU, every call. The process ends as
   * for any other error, and from its second checkpoint the run becomes the one that had no error.
   */
  @Test
  void aRunEndsWithOneMessageAndGoesOnFromItsCheckpoint() throws Exception {
    String device = TestDevice.emulated("emulated");
    Path out = work.resolve("run");
    List<Object> line = TrainingRuns.on(device, TrainingRuns.sft(work, out));
    Process process =
        ProcessTest.start(
            work, Map.of("RLHF4J_EMULATOR_FAIL", "adamw:3"), line, "save_steps=1", "max_steps=4");
    assertEquals(1, process.waitFor(), () -> TrainingRuns.text(work.resolve("err")));
    List<String> said =
        TrainingRuns.text(work.resolve("err")).lines().filter(l -> l.startsWith("rlhf4j")).toList();
    assertEquals(1, said.size(), said::toString);
    assertTrue(said.get(0).startsWith("rlhf4j: failed: "), said::toString);
    String all = TrainingRuns.text(work.resolve("err"));
    assertTrue(all.contains("adamw") && all.contains("RLHF4J_EMULATOR_FAIL asks"), all);
    assertTrue(all.contains("the last checkpoint is " + out.resolve("checkpoints/step-2")), all);
    assertTrue(!all.contains("\tat ") && !all.contains("hs_err"), all);
    assertEquals(List.of("step-1", "step-2"), TrainingRuns.names(out.resolve("checkpoints")));
    assertTrue(Files.notExists(out.resolve("adapter")), "no result");

    Ran.run("sft", "--out", out, "--resume").done();
    Path whole = work.resolve("whole");
    TrainingRuns.run(
            TrainingRuns.on(device, TrainingRuns.sft(work, whole)), "save_steps=1", "max_steps=4")
        .done();
    TrainingRuns.assertSame(whole, out);
  }

  /** Without a GPU. */
  @Test
  void aDeviceThatIsNotThereIsWrongInput() throws IOException, InterruptedException {
    List<Object> line = TrainingRuns.on("cuda", TrainingRuns.sft(work, work.resolve("run")));
    Process process =
        ProcessTest.start(work, Map.of("RLHF4J_CUDA_DRIVER", "libnone.so"), line, "max_steps=1");
    assertEquals(2, process.waitFor());
    String said = TrainingRuns.text(work.resolve("err"));
    assertEquals(1, said.lines().filter(l -> !l.startsWith("WARNING: ")).count(), said);
    assertTrue(said.contains("rlhf4j: --device cuda: "), said);
    // There is no driver, or no backend to ask for one.
    assertTrue(said.contains("install the driver") || said.contains("native/build.sh cuda"), said);
    assertTrue(said.contains("--device cpu"), said);
    assertTrue(Files.notExists(work.resolve("run")), "nothing is made");
  }

  @Test
  void autoTakesTheCpuWhereThereIsNoGpu() throws IOException, InterruptedException {
    List<Object> line = TrainingRuns.on("auto", TrainingRuns.sft(work, work.resolve("run")));
    Process process =
        ProcessTest.start(work, Map.of("RLHF4J_CUDA_DRIVER", "libnone.so"), line, "max_steps=1");
    assertEquals(0, process.waitFor());
    assertTrue(TrainingRuns.text(work.resolve("err")).contains("device: cpu, "));
  }
}
