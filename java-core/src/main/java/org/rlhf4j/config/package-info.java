/**
 * What a training run is told: one table of keys ({@link org.rlhf4j.config.Keys}), read from
 * defaults, a YAML file, flags and {@code key=value} overrides into {@link
 * org.rlhf4j.config.Settings}, and handed to the trainers as typed records.
 */
package org.rlhf4j.config;
