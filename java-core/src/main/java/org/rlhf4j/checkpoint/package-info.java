/**
 * Model files: safetensors and GGUF, read by mapping and written atomically; a model under Hugging
 * Face names from either.
 */
package org.rlhf4j.checkpoint;
