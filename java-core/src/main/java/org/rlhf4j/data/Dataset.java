package org.rlhf4j.data;

import java.util.List;

/**
 * What data files gave.
 *
 * @param name the files, as the user named them
 * @param records in the order of the files; never empty
 * @param skipped bad lines passed over ({@code skipBadLines})
 * @param truncated records that were longer than the limit and were cut
 * @param filtered records that were longer than the limit and were left out
 * @param notes sentences for the log: first how many rows were read and kept and by which rule the
 *     others went, then what was skipped or looks odd
 */
public record Dataset<T>(
    String name, List<T> records, int skipped, int truncated, int filtered, List<String> notes) {}
