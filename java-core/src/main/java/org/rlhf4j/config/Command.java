package org.rlhf4j.config;

import java.util.Locale;

/** A training stage that takes a configuration. */
public enum Command {
  SFT,
  REWARD,
  PPO;

  /** As the user writes it: {@code sft}, {@code reward}, {@code ppo}. */
  public String text() {
    return name().toLowerCase(Locale.ROOT);
  }
}
