package org.rlhf4j.data;

import java.nio.file.Path;
import java.util.List;

/**
 * What a data file gave.
 *
 * @param file as the user named it
 * @param records in the order of the file; never empty
 * @param skipped bad lines passed over ({@code skipBadLines})
 * @param truncated records that were longer than the limit
 * @param notes sentences for the log about what was skipped, truncated, dropped or looks odd
 */
public record Dataset<T>(
    Path file, List<T> records, int skipped, int truncated, List<String> notes) {}
