/**
 * The C ABI as Java sees it: generated declarations and the thin layer that turns a status into an
 * exception.
 */
package org.rlhf4j.bindings;
