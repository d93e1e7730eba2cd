/**
 * What a run leaves behind and tells: the run folder, metrics, event files, progress, health
 * checks, report.html.
 */
package org.rlhf4j.report;
