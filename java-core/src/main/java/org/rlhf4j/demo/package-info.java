/**
 * The embedded default: all stages on a small model of its own making, on data that is shipped with
 * the project.
 */
package org.rlhf4j.demo;
