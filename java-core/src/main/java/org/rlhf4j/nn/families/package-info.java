/**
 * The families of models, one file each: what their checkpoints name the parts, how the parts are
 * wired, and which options of config.json are supported. docs/add-a-family.md shows how to add one.
 */
package org.rlhf4j.nn.families;
