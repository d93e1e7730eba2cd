/**
 * Jinja2 as chat templates use it: rendered to the same text as transformers does with Jinja2's
 * immutable sandbox, trim_blocks and lstrip_blocks.
 */
package org.rlhf4j.tokenizer.jinja;
