package org.rlhf4j.hub;

import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;

/**
 * An answer's body that fails where no byte comes for a while: HttpClient's own limit ends with the
 * headers.
 */
final class TimedInput extends FilterInputStream {
  private static final ScheduledExecutorService CLOCK =
      Executors.newSingleThreadScheduledExecutor(
          work -> Thread.ofPlatform().daemon().name("hub-timeout").unstarted(work));

  private final Duration limit;
  private volatile boolean late;

  TimedInput(InputStream in, Duration limit) {
    super(in);
    this.limit = limit;
  }

  @Override
  public int read(byte[] bytes, int from, int length) throws IOException {
    ScheduledFuture<?> alarm =
        CLOCK.schedule(this::giveUp, limit.toMillis(), TimeUnit.MILLISECONDS);
    try {
      int n = in.read(bytes, from, length);
      if (n >= 0 || !late) {
        return n;
      }
    } catch (IOException e) {
      if (!late) {
        throw e;
      }
    } finally {
      alarm.cancel(false);
    }
    throw new Trouble("nothing came for " + limit.toMillis() / 1000.0 + " s", Optional.empty());
  }

  @Override
  public int read() throws IOException {
    byte[] one = new byte[1];
    return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
  }

  /** Wakes the reader. */
  private void giveUp() {
    late = true;
    try {
      in.close();
    } catch (IOException e) {
      // The reader finds out.
    }
  }
}
