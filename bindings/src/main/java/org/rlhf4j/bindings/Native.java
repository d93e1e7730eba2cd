package org.rlhf4j.bindings;

import org.rlhf4j.bindings.c.Rlhf4j;

/** Loads the library once, and turns a status into an exception. */
public final class Native {
  private static final int INTERNAL = NativeException.Status.INTERNAL.ordinal();

  private Native() {}

  /**
   * Loads the native library if that has not happened; fails with a message that says what to do.
   */
  public static void load() {
    Holder.ensure();
  }

  /** The library's version, compiler and backends, in one line. */
  public static String buildInfo() {
    load();
    return Rlhf4j.rl_build_info().getString(0);
  }

  /** Throws what {@code rl_last_error} tells unless {@code status} is 0. */
  public static void check(int status) {
    if (status != 0) {
      throw new NativeException(
          NativeException.Status.values()[Math.min(status, INTERNAL)],
          Rlhf4j.rl_last_error().getString(0));
    }
  }

  /** Holds the loading: class initialisation runs it once, whichever thread comes first. */
  private static final class Holder {
    static {
      NativeLibrary.load();
      int found = Rlhf4j.rl_abi_version();
      if (found != Rlhf4j.RL_ABI_VERSION()) {
        throw new UnsatisfiedLinkError(
            "librlhf4j has ABI "
                + found
                + ", these classes need "
                + Rlhf4j.RL_ABI_VERSION()
                + ": use a library and a jar of the same version");
      }
    }

    static void ensure() {}
  }
}
