package org.rlhf4j.nn;

import java.util.ArrayList;
import java.util.List;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;

/** A model whose every parameter is trained: matrices are views of the flat parameter buffer. */
final class TrainableWeights implements WeightStore {
  private final Parameters parameters;
  private final DType dtype;
  private final List<Weight> weights = new ArrayList<>();

  TrainableWeights(Parameters parameters, DType dtype) {
    this.parameters = parameters;
    this.dtype = dtype;
  }

  @Override
  public DType dtype() {
    return dtype;
  }

  @Override
  public Weight matrix(List<String> names) {
    Weight weight = Weight.view(parameters.joined(names, Parameter::compute));
    weights.add(weight);
    return weight;
  }

  @Override
  public Weight head(String name) {
    return matrix(List.of(name));
  }

  @Override
  public Tensor matrixGrad(List<String> names) {
    return parameters.joined(names, Parameter::grad);
  }

  @Override
  public Parameter vector(String name) {
    return parameters.get(name);
  }

  @Override
  public Parameter joinedVector(List<String> names) {
    if (names.isEmpty()) {
      return null;
    }
    List<Parameter> parts = names.stream().map(parameters::get).toList();
    long n = parts.stream().mapToLong(p -> p.value().elements()).sum();
    long from = 0;
    for (Parameter p : parameters.all()) {
      if (p == parts.get(0)) {
        break;
      }
      from += p.value().elements();
    }
    Tensor value = parameters.values().rows(from, from + n);
    Tensor grad = parameters.grads() == null ? null : parameters.grads().rows(from, from + n);
    return new Parameter(names.get(0), value, value, grad);
  }

  @Override
  public Parameter table(String name) {
    return parameters.get(name);
  }

  @Override
  public void close() {
    weights.forEach(Weight::close);
    parameters.close();
  }
}
