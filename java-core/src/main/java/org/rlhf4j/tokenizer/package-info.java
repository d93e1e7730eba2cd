/** Text to token ids and back, and chat templates. */
package org.rlhf4j.tokenizer;
