package org.rlhf4j.plan;

import java.util.List;

/**
 * What a short run of the true trainer took, on a model of the true widths but of few layers and
 * tokens of vocabulary.
 *
 * @param weights bytes of the frozen base, or of all parameters where they are trained
 * @param loading bytes beyond those at the highest while the model is loaded: the largest tensor,
 *     before it is packed
 * @param state bytes that stay between steps beside them: adapters, gradients, moments, copies that
 *     the first backward makes
 * @param phases bytes beyond those, at the highest of each phase of a step. They are kept apart
 *     since each grows in its own way: the highest of a small model need not be that of a large one
 * @param seconds of one step
 */
record Probe(
    int layers,
    int vocab,
    long weights,
    long loading,
    long state,
    List<Long> phases,
    double seconds) {}
