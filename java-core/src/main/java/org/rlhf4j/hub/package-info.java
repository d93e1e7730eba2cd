/**
 * Models by name: found in the local Hugging Face cache, or downloaded into it. {@link
 * org.rlhf4j.hub.ModelHub} is the entry.
 */
package org.rlhf4j.hub;
