package org.rlhf4j.optim;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.rlhf4j.optim.LrSchedule.Type;

/** The rates against transformers' get_{constant,linear,cosine}_schedule_with_warmup. */
class LrScheduleTest {
  /** transformers.optimization's lambdas, written as they stand there. */
  private static double transformers(Type type, int step, int warmup, int total) {
    if (step < warmup) {
      return (double) step / Math.max(1, warmup);
    }
    return switch (type) {
      case CONSTANT -> 1;
      case LINEAR -> Math.max(0, (double) (total - step) / Math.max(1, total - warmup));
      case COSINE -> {
        double progress = (double) (step - warmup) / Math.max(1, total - warmup);
        yield Math.max(0, 0.5 * (1 + Math.cos(Math.PI * 0.5 * 2 * progress)));
      }
    };
  }

  @ParameterizedTest
  @CsvSource({"0, 1", "0, 7", "3, 11", "1, 2", "10, 4", "100, 1000"})
  void everyStepOfARun(int warmup, int total) {
    for (Type type : Type.values()) {
      LrSchedule schedule = new LrSchedule(type, 3e-4, warmup, total);
      for (int step = 0; step < total; step++) {
        double want = 3e-4 * transformers(type, step, warmup, total);
        assertEquals(want, schedule.at(step), 1e-18, type + " step " + step);
      }
    }
  }

  @Test
  void handComputed() {
    LrSchedule linear = new LrSchedule(Type.LINEAR, 1, 2, 6);
    assertEquals(0, linear.at(0));
    assertEquals(0.5, linear.at(1));
    assertEquals(1, linear.at(2));
    assertEquals(0.75, linear.at(3));
    assertEquals(0.25, linear.at(5));
    LrSchedule cosine = new LrSchedule(Type.COSINE, 2, 0, 4);
    assertEquals(2, cosine.at(0));
    assertEquals(1, cosine.at(2), 1e-15);
    assertEquals(1 + Math.sqrt(0.5), cosine.at(1), 1e-15);
  }

  @ParameterizedTest
  @EnumSource(Type.class)
  void neverNegativeNorAboveThePeakWhateverTheStep(Type type) {
    LrSchedule schedule = new LrSchedule(type, 1, 2, 5);
    for (int step = 0; step < 20; step++) {
      assertTrue(schedule.at(step) >= 0 && schedule.at(step) <= 1, "step " + step);
    }
    if (type != Type.CONSTANT) {
      assertEquals(0, schedule.at(5), 1e-15);
      assertEquals(0, schedule.at(9), 1e-15);
    }
  }
}
