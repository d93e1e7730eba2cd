package org.rlhf4j.report;

/**
 * Something about a run that its owner should look at.
 *
 * @param code short and stable ("kl-negative")
 * @param text what was seen, what it usually means, and what to try
 */
public record Finding(String code, String text) {}
