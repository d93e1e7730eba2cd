package org.rlhf4j.nn;

import java.util.List;

/**
 * How a family wires a decoder layer, and what its checkpoints name the parts. A name that is null
 * is a part that the family does not have.
 *
 * @param prefix what stands before a layer's number, "model.layers."
 * @param beforeAttention the norm of attention's input
 * @param afterAttention a norm of attention's output, before it is added to the residual stream
 * @param beforeMlp the norm of the MLP's input
 * @param afterMlp a norm of the MLP's output
 * @param queryNorm an RMS norm of each head's query; with {@code keyNorm}, or neither
 * @param qkv queries, keys and values: three layers, or one that is all three side by side
 * @param o attention's output
 * @param activation between the MLP's layers
 * @param mlpIn gate and up, two layers or one; without a gate, one layer
 * @param mlpOut the MLP's output
 * @param transposed whether checkpoints store the linear layers' matrices as [in, out]
 */
public record Block(
    String prefix,
    String beforeAttention,
    String afterAttention,
    String beforeMlp,
    String afterMlp,
    String queryNorm,
    String keyNorm,
    Linears qkv,
    Linears o,
    Activation activation,
    Linears mlpIn,
    Linears mlpOut,
    boolean transposed) {

  /** Linear layers that share their input, and whether they have a bias. */
  public record Linears(List<String> names, boolean bias) {}

  /** The full name of a part of layer {@code index}. */
  String name(int index, String part) {
    return prefix + index + "." + part;
  }
}
