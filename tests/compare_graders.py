"""How many of the known mistakes are caught: by the kind of test that courses publish, and by ours.

    python tests/compare_graders.py                 print the numbers
    python tests/compare_graders.py --json FILE     and write them to a file

The published kind of test has one fixed example for each layer: the forward pass against known
numbers, the backward pass against the numerical gradient of the forward pass of the same file. It
is applied here to every layer of layers.py and rnn_layers.py that the autograder grades, but not to
update rules and models.
"""
import argparse
import functools
import json
import math
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import experiment
import mistaken_layers
from checkpoint import save_atomically
from grading import answers, contract, judge, worker
from grading.mistakes import MISTAKES


def examples():
    """{layer: (inputs of the forward test, inputs of the backward test)}, as courses do."""
    rng = np.random.default_rng(0)
    pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}

    def grid(*shape):
        return np.linspace(-0.3, 0.4, int(np.prod(shape))).reshape(shape)

    def normal(*shape):
        return rng.normal(size=shape)

    def ids(*shape, upper):
        return rng.integers(0, upper, shape)

    return {
        "fc": ((grid(2, 4, 5, 6), grid(120, 3), grid(3)),
               (normal(10, 2, 3), normal(6, 5), normal(5))),
        "relu": ((grid(3, 4),), (normal(10, 10),)),
        "conv": ((grid(1, 1, 4, 4), grid(1, 1, 2, 2)), (normal(1, 1, 5, 5), normal(1, 1, 3, 3))),
        "max_pool": ((grid(2, 3, 4, 4), pool_param), (normal(3, 2, 8, 8), pool_param)),
        "softmax_loss": ((0.001 * normal(50, 10), ids(50, upper=10)),) * 2,
        "rnn_step": ((grid(3, 10), grid(3, 4), grid(10, 4), grid(4, 4), grid(4)),
                     (normal(4, 5), normal(4, 6), normal(5, 6), normal(6, 6), normal(6))),
        "rnn": ((grid(3, 2, 4), grid(2, 5), grid(4, 5), grid(5, 5), grid(5)),
                (normal(10, 2, 3), normal(2, 5), normal(3, 5), normal(5, 5), normal(5))),
        "lstm_step": ((grid(3, 4), grid(3, 5), grid(3, 5), grid(4, 20), grid(5, 20), grid(20)),
                      (normal(4, 5), normal(4, 6), normal(4, 6), normal(5, 24), normal(6, 24),
                       normal(24))),
        "lstm": ((grid(3, 2, 5), grid(2, 4), grid(5, 16), grid(4, 16), grid(16)),
                 (normal(10, 2, 3), normal(2, 6), normal(3, 24), normal(6, 24), normal(24))),
        "word_embedding": ((np.array([[0, 3, 1, 2], [2, 1, 0, 3]]), grid(5, 3)),
                           (ids(50, 3, upper=5), normal(5, 6))),
        "temporal_fc": ((grid(2, 3, 4), grid(4, 3), grid(3)),
                        (normal(2, 3, 4), normal(4, 5), normal(5))),
        "temporal_softmax_loss": ((normal(7, 8, 9), ids(7, 8, upper=9),
                                   rng.random((7, 8)) > 0.5),) * 2,
    }


EXAMPLES = examples()


def close(actual, expected):
    """The relative error that published tests ask for."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        return False
    scale = np.maximum(1e-8, np.abs(actual) + np.abs(expected))
    return bool((np.abs(actual - expected) / scale).max() < 1e-4)


LAYERS = {layer.name: layer for layer in answers.LAYERS}


def called(name, mistake, inputs):
    """(outputs, cache) of a layer's forward pass, or ((loss,), dx) of a loss."""
    function = mistaken_layers.subject_with(name, mistake)[LAYERS[name].functions[0].name]
    *outputs, last = function(*inputs)
    return outputs, last


@functools.cache
def upstream(name):
    """A random upstream gradient for each output; 1 for a loss."""
    if LAYERS[name].is_loss:
        return (1.0,)
    outputs, _ = called(name, None, EXAMPLES[name][1])
    rng = np.random.default_rng(1)
    return tuple(rng.normal(size=out.shape) for out in outputs)


@functools.cache
def own_slope(name, mistake, argument, place, step=1e-5):
    """One number of the numerical gradient of the forward pass of a file, right or wrong."""
    objectives = []
    for shift in (step, -step):
        inputs = {key: value.copy() for key, value in zip(LAYERS[name].inputs, EXAMPLES[name][1])}
        inputs[argument][place] += shift
        outputs, _ = called(name, mistake, inputs.values())
        objectives.append(sum(np.sum(d * out) for d, out in zip(upstream(name), outputs)))
    return (objectives[0] - objectives[1]) / (2 * step)


def course_accepts(name, mistake):
    """Whether the published kind of test passes a layer with a mistake, or a right one (None)."""
    layer, (forward_inputs, inputs) = LAYERS[name], EXAMPLES[name]
    in_forward = mistake and mistake.function == layer.functions[0].name \
        and mistake.outputs != ("dx",)
    try:
        expected, _ = called(name, None, forward_inputs)
        if not all(map(close, called(name, mistake, forward_inputs)[0], expected)):
            return False
        _, gradients = called(name, mistake, inputs)
        if not layer.is_loss:
            backward = mistaken_layers.subject_with(name, mistake)[layer.functions[1].name]
            gradients = backward(*upstream(name), gradients)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        for argument, gradient in zip(layer.varied, gradients):
            shape = inputs[layer.inputs.index(argument)].shape
            if gradient.shape != shape or not all(
                    close(gradient[place], own_slope(name, mistake if in_forward else None,
                                                     argument, place))
                    for place in np.ndindex(shape)):
                return False
    except (ValueError, IndexError, TypeError):
        return False
    return True


KEY = contract.Key(0)


def verdict_on(mistake):
    """Our verdict on a function that makes this mistake and is right otherwise."""
    name = mistake.function
    functions = mistaken_layers.subject_with(mistaken_layers.subject_of(name).name, mistake)
    with np.errstate(all="ignore"):
        return judge.grade_one(worker.Direct(functions), name, KEY, math.inf,
                               lambda: KEY.cases(name))


def count_caught(verdict_on=verdict_on):
    """How many mistakes there are, how many of these are in what the published kind of test covers
    (covered), and how many are caught and named, in all and for each function.
    """
    functions = {}
    counts = {"mistakes": 0, "covered": 0, "theirs": 0, "ours": 0, "named": 0}
    for mistake in MISTAKES:
        name = mistaken_layers.subject_of(mistake.function).name
        verdict = verdict_on(mistake)
        ours = verdict.status in ("fail", "warn")       # some slips are no more than a weakness
        theirs = name in EXAMPLES and not course_accepts(name, mistake)
        counts["covered"] += name in EXAMPLES
        counts["named"] += mistake.name in verdict.mistakes
        row = functions.setdefault(mistake.function, {"theirs": 0, "ours": 0, "mistakes": 0})
        for totals in (counts, row):
            totals["mistakes"] += 1
            totals["theirs"] += theirs
            totals["ours"] += ours
    return {**counts, "functions": functions}


def sentence_of(counts):
    """The numbers in words."""
    return ("theirs caught {theirs} of {mistakes} mistakes ({theirs} of {covered} in the layers; "
            "update rules and models are not compared); ours caught {ours} of {mistakes}, and named "
            "{named}"
            ).format(**counts)


def main(arguments=None):
    """Count, print, write."""
    parser = argparse.ArgumentParser(description="Compare the autograder with the tests that "
                                     "courses publish, on the table of known mistakes.")
    parser.add_argument("--json", type=experiment.file_to_write, metavar="FILE",
                        help="write the numbers to this file too")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    counts = count_caught()
    print(sentence_of(counts))
    if options.json:
        result = {**counts, "seconds": round(time.monotonic() - started, 1),
                  "environment": experiment.environment()}
        save_atomically(options.json,
                        lambda file: file.write(json.dumps(result, indent=2).encode()))


if __name__ == "__main__":
    experiment.run(main)
