"""Grades every layer, update rule and model of the project, and says what is wrong.

    python autograder.py                          grade the project
    python autograder.py conv max_pool            a part of it
    python autograder.py --layers FILE            one file with the functions of layers.py
    pytest autograder.py -k conv                  the same as tests
    autograder.check(conv_forward, conv_backward) in a notebook

The verdict on each function:

pass     The function does what the contract says, on every case tried.
warn     Right, but careless: it returns float64 for float32 (or the other way
         round), or float64 with the digits of float32; it does not pass on NaN;
         its backward works only once per cache; its pooling refuses windows that
         do not tile the image; its loss is infinite or not a number where a
         probability is too small for a float (scores that differ by more than
         about 700, which the textbook formula -log p does); a vocabulary of 70000
         words is too much for the machine.
fail     Wrong for some valid input; or it changes an array it was given, depends
         on calls made before, raises on valid input, never ends, or returns
         something other than NumPy arrays of the shapes asked for. A model also
         fails if it starts with numbers that are not finite, or with the same numbers
         for each unit of a layer (the last one and the recurrent Wh may start at 0).
missing  There is no such function, or no such file.

How it is decided:

* A forward pass must equal a slow reference written from the definition. That is
  what a gradient check alone cannot see: a wrong forward with its own backward.
* A backward pass must equal central differences of the reference, in float64 with
  random normal upstream gradients: every coordinate on small cases, random
  directions on large ones. It gets the cache of the forward pass of its own file.
* Cases are random but for the seed; no two axes need be equal, and the edges are
  there: any two axes take every pair of sizes up to 5, each is once in the hundreds,
  several are large at once, so that code that works in blocks needs more than one;
  numbers up to 1e300 and down to 1e-300, float32, labels of 8 bits, read-only,
  transposed and strided arrays. Inputs keep away from kinks. At exact ties and at 0
  every subgradient is right: to the first maximum, to the last, shared.
* Between the calls that are judged there are others: with other numbers, with one
  argument changed, with other numbers in the same arrays. Nothing may be remembered
  wrongly, no result of an earlier call overwritten. Gradients must be linear in dout.
* Not asked: infinities in the input, empty arrays, float16, ids and labels out of range.
* A backward pass that fits a wrong forward pass is wrong too, and is told so.
* Update rules may change their config, but not the weights or the gradient.

A failure is explained by counterfactuals: the table of mistakes below computes what
a layer with that mistake returns. Where the graded output equals that, and not the
truth, the mistake is named; else it is called unknown.

Exit code: 0 if nothing failed, 1 if something did, 2 for a wrong command. A function
that is missing from a file that exists counts as failed; a file that does not exist
only if it was asked for, by a name or by an option.

The file under test runs in a process of its own, for 10 seconds of computing per
function. That keeps accidents away from the verdicts, not malice: code that looks for
the grader, or is wrong at one size in a million, can pass. NumPy is all that is needed, and
nothing of the project is imported: copied next to a student's files it works there.
"""
import argparse
import collections
import copy
import dataclasses
import functools
import html
import importlib.machinery
import importlib.util
import inspect
import itertools
import json
import math
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback

import numpy as np

SECONDS_PER_FUNCTION = 10       # of computing: other work on the machine does not count
WAITING_PER_FUNCTION = 60       # by the clock, for a function that sleeps or waits
DERIVATIONS = "docs/derivations.md"
HOME = pathlib.Path(__file__).resolve().parent


# ================================================================ 1. the references

# Each is written from the definition, in float64, for reading and not for speed. The
# gradients are what the derivations give; a verdict never rests on them, but on central
# differences. They are the ground on which the table of mistakes is written.

def fc_reference(x, w, b):
    """out[n, m] = Σ_d x[n, d]·w[d, m] + b[m], each sample of x flattened to D numbers."""
    return x.reshape(len(x), -1) @ w + b


def fc_gradients(x, w, b, dout):
    """dx, dw, db of the fully connected layer."""
    rows = x.reshape(len(x), -1)
    return {"dx": (dout @ w.T).reshape(x.shape), "dw": rows.T @ dout, "db": dout.sum(axis=0)}


def relu_reference(x):
    """out = x where x is positive, else 0; what is not a number stays so."""
    return np.maximum(x, 0.0)


def relu_gradients(x, dout):
    """dx of the rectified linear unit."""
    return {"dx": np.where(x > 0, dout, 0.0)}


def conv_reference(x, w):
    """out[n, f, i, j] = Σ_c,k,l x[n, c, i + k, j + l]·w[f, c, k, l]."""
    HH, WW = w.shape[2:]
    out = np.empty((len(x), len(w), x.shape[2] - HH + 1, x.shape[3] - WW + 1))
    filters = w.reshape(len(w), -1).T
    for i, j in np.ndindex(out.shape[2:]):
        out[:, :, i, j] = x[:, :, i:i + HH, j:j + WW].reshape(len(x), -1) @ filters
    return out


def conv_gradients(x, w, dout):
    """dx and dw of the convolution: each output pixel pays its window and the filter."""
    HH, WW = w.shape[2:]
    filters = w.reshape(len(w), -1)
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for i, j in np.ndindex(dout.shape[2:]):
        window = x[:, :, i:i + HH, j:j + WW]
        dx[:, :, i:i + HH, j:j + WW] += (dout[:, :, i, j] @ filters).reshape(window.shape)
        dw += (dout[:, :, i, j].T @ window.reshape(len(x), -1)).reshape(w.shape)
    return {"dx": dx, "dw": dw}


def pool_windows(x, pool_param):
    """Yields ((i, j), rows, columns): each output pixel and the slices of its window."""
    height, width, stride = (pool_param[k] for k in ("pool_height", "pool_width", "stride"))
    for i in range(1 + (x.shape[2] - height) // stride):
        for j in range(1 + (x.shape[3] - width) // stride):
            yield ((i, j), slice(i * stride, i * stride + height),
                   slice(j * stride, j * stride + width))


def pool_shape(x, pool_param):
    """(N, C, OH, OW): rows and columns that no whole window reaches are dropped."""
    return x.shape[:2] + tuple(
        1 + (size - pool_param[name]) // pool_param["stride"]
        for size, name in zip(x.shape[2:], ("pool_height", "pool_width")))


def max_pool_reference(x, pool_param):
    """out[n, c, i, j] = the largest number in the window of x that starts at stride·(i, j)."""
    out = np.empty(pool_shape(x, pool_param))
    for (i, j), rows, columns in pool_windows(x, pool_param):
        out[:, :, i, j] = x[:, :, rows, columns].max(axis=(2, 3))
    return out


def first_maximum(window):
    """(N, C, height, width) booleans: the first maximum of each window, row by row."""
    flat = window.reshape(*window.shape[:2], -1)
    winner = flat.argmax(axis=2)[:, :, None] == np.arange(flat.shape[2])
    return winner.reshape(window.shape)


def max_pool_gradients(x, pool_param, dout):
    """dx of max pooling; the first maximum of a window gets its dout."""
    dx = np.zeros(x.shape)
    for (i, j), rows, columns in pool_windows(x, pool_param):
        dx[:, :, rows, columns] += first_maximum(x[:, :, rows, columns]) * dout[:, :, i, j, None, None]
    return {"dx": dx}


def log_softmax(x):
    """log p along the last axis, p = exp(x) / Σ exp(x), by way of x - max."""
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def one_hot(y, C):
    """Labels as rows of 0 with a single 1."""
    return (y[..., None] == np.arange(C)).astype(float)


def softmax_loss_reference(x, y):
    """-1/N Σ_n log p[n, y_n]."""
    return -sum(row[label] for row, label in zip(log_softmax(x), y)) / len(x)


def softmax_loss_gradients(x, y):
    """dx = (p - one_hot) / N."""
    return {"dx": (np.exp(log_softmax(x)) - one_hot(y, x.shape[1])) / len(x)}


def rnn_step_reference(x, prev_h, Wx, Wh, b):
    """next_h = tanh(x·Wx + prev_h·Wh + b)."""
    return np.tanh(x @ Wx + prev_h @ Wh + b)


def rnn_step_gradients(x, prev_h, Wx, Wh, b, dout):
    """dx, dprev_h, dWx, dWh, db of one time step."""
    da = dout * (1 - rnn_step_reference(x, prev_h, Wx, Wh, b) ** 2)
    return {"dx": da @ Wx.T, "dprev_h": da @ Wh.T, "dWx": x.T @ da, "dWh": prev_h.T @ da,
            "db": da.sum(axis=0)}


def rnn_reference(x, h0, Wx, Wh, b):
    """h[t] = tanh(x[t]·Wx + h[t - 1]·Wh + b), with h[-1] = h0; x is (T, N, D)."""
    h = [h0]
    for x_t in x:
        h.append(rnn_step_reference(x_t, h[-1], Wx, Wh, b))
    return np.array(h[1:])


def rnn_gradients(x, h0, Wx, Wh, b, dout):
    """dx, dh0, dWx, dWh, db: back-propagation through time."""
    return backward_through_time(x, h0, Wx, Wh, b, dout)


def backward_through_time(x, h0, Wx, Wh, b, dout, *, slope=lambda h: 1 - h ** 2,
                          carry=lambda dprev_h: dprev_h, way_back=np.transpose,
                          select=lambda dout: dout):
    """The gradients of rnn_reference. The keywords are there to be tampered with."""
    h, dout = [h0, *rnn_reference(x, h0, Wx, Wh, b)], select(dout)
    dx, dprev_h = np.zeros(x.shape), np.zeros(h0.shape)
    dWx, dWh, db = np.zeros(Wx.shape), np.zeros(Wh.shape), np.zeros(b.shape)
    for t in reversed(range(len(x))):
        da = (dout[t] + carry(dprev_h)) * slope(h[t + 1])
        dx[t], dprev_h = da @ Wx.T, da @ way_back(Wh)
        dWx += x[t].T @ da
        dWh += h[t].T @ da
        db += da.sum(axis=0)
    return {"dx": dx, "dh0": dprev_h, "dWx": dWx, "dWh": dWh, "db": db}


def word_embedding_reference(x, W):
    """out[n, t] = W[x[n, t]]."""
    return np.array([[W[word] for word in sentence] for sentence in x])


def word_embedding_gradients(x, W, dout):
    """dW[v] = the sum of dout over all places that hold word v."""
    dW = np.zeros(W.shape)
    for place in np.ndindex(x.shape):
        dW[x[place]] += dout[place]
    return {"dW": dW}


def temporal_fc_reference(x, w, b):
    """out[n, t, m] = Σ_d x[n, t, d]·w[d, m] + b[m]."""
    return x @ w + b


def temporal_fc_gradients(x, w, b, dout):
    """dx, dw, db: a fully connected layer of N·T samples."""
    return {"dx": dout @ w.T, "dw": np.tensordot(x, dout, axes=((0, 1), (0, 1))),
            "db": dout.sum(axis=(0, 1))}


def temporal_softmax_loss_reference(x, y, mask):
    """-1/N Σ_n Σ_t mask[n, t]·log p[n, t, y[n, t]]."""
    log_p = log_softmax(x)
    return -sum(log_p[n, t, y[n, t]] for n, t in np.argwhere(mask)) / len(x)


def temporal_softmax_loss_gradients(x, y, mask):
    """dx = mask·(p - one_hot) / N."""
    dscores = (np.exp(log_softmax(x)) - one_hot(y, x.shape[2])) / len(x)
    return {"dx": np.where(mask[:, :, None] != 0, dscores, 0.0)}


# Update rules. Each returns the weights after every one of the gradients dws.

def steps_of(dws, config):
    """(gradient, learning rate) of each step; the rate falls by a factor lr_decay."""
    rates = config["learning_rate"] * config.get("lr_decay", 1.0) ** np.arange(len(dws))
    return list(zip(dws, rates))


def sgd_reference(w, dws, config, *, sign=-1):
    """w ← w - learning_rate·dw."""
    path = []
    for dw, rate in steps_of(dws, config):
        w = w + sign * rate * dw
        path.append(w)
    return np.array(path)


def sgd_momentum_reference(w, dws, config, *, friction=None, scale=1.0, stale=False):
    """velocity ← momentum·velocity - learning_rate·dw;  w ← w + velocity."""
    momentum = config.get("momentum", 0.9) if friction is None else friction
    velocity, path = np.zeros(w.shape), []
    for dw, rate in steps_of(dws, config):
        before = velocity
        velocity = momentum * velocity - scale * rate * dw
        w = w + (before if stale else velocity)
        path.append(w)
    return np.array(path)


def sgd_momentum_of_pytorch(w, dws, config):
    """velocity ← momentum·velocity + dw;  w ← w - learning_rate·velocity.

    That is the other one, as long as the learning rate stays what it is.
    """
    velocity, path = np.zeros(w.shape), []
    for dw, rate in steps_of(dws, config):
        velocity = config.get("momentum", 0.9) * velocity + dw
        w = w - rate * velocity
        path.append(w)
    return np.array(path)


def rmsprop_reference(w, dws, config, *, root=lambda cache, epsilon: np.sqrt(cache) + epsilon,
                      swap=False, first=0.0):
    """cache ← decay·cache + (1 - decay)·dw²;  w ← w - learning_rate·dw / (√cache + epsilon)."""
    decay = config.get("decay_rate", 0.99)
    decay = 1 - decay if swap else decay
    cache, path = np.full(w.shape, first), []
    for dw, rate in steps_of(dws, config):
        cache = decay * cache + (1 - decay) * dw ** 2
        w = w - rate * dw / root(cache, config.get("epsilon", 1e-8))
        path.append(w)
    return np.array(path)


def adam_reference(w, dws, config, *, first=1, correct=(True, True), swap=False, power=2,
                   root=lambda v, epsilon: np.sqrt(v) + epsilon, steps=True):
    """m and v are running means of dw and dw², corrected for their start at 0.

    w ← w - learning_rate·m̂ / (√v̂ + epsilon), m̂ = m / (1 - beta1ᵗ), v̂ = v / (1 - beta2ᵗ).
    """
    beta1, beta2 = config.get("beta1", 0.9), config.get("beta2", 0.999)
    if swap:
        beta1, beta2 = beta2, beta1
    m, v, path = np.zeros(w.shape), np.zeros(w.shape), []
    for t, (dw, rate) in enumerate(steps_of(dws, config), start=first):
        t = t if steps else first
        m = beta1 * m + (1 - beta1) * dw
        v = beta2 * v + (1 - beta2) * dw ** power
        m_hat = m / (1 - beta1 ** t) if correct[0] else m
        v_hat = v / (1 - beta2 ** t) if correct[1] else v
        w = w - rate * m_hat / root(v_hat, config.get("epsilon", 1e-8))
        path.append(w)
    return np.array(path)


# Models. `reg` is the strength of the penalty ½·reg·Σ W² on all weights, but not on biases.

def penalty(reg, *weights):
    """½·reg·Σ W²."""
    return 0.5 * reg * sum(np.sum(W ** 2) for W in weights)


def two_layer_scores(X, W1, b1, W2, b2):
    """fc - relu - fc."""
    return fc_reference(relu_reference(fc_reference(X, W1, b1)), W2, b2)


def two_layer_loss(X, y, reg, W1, b1, W2, b2):
    """Softmax loss of the scores, and the penalty."""
    return softmax_loss_reference(two_layer_scores(X, W1, b1, W2, b2), y) + penalty(reg, W1, W2)


def conv_net_scores(X, W1, W2, b2, W3, b3):
    """conv - relu - 2x2 max pool - fc - relu - fc."""
    pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    pooled = max_pool_reference(relu_reference(conv_reference(X, W1)), pool_param)
    return fc_reference(relu_reference(fc_reference(pooled, W2, b2)), W3, b3)


def conv_net_loss(X, y, reg, W1, W2, b2, W3, b3):
    """Softmax loss of the scores, and the penalty."""
    return softmax_loss_reference(conv_net_scores(X, W1, W2, b2, W3, b3), y) \
        + penalty(reg, W1, W2, W3)


def captioning_loss(features, captions, null, reg, W_proj, b_proj, W_embed, Wx, Wh, b, W_vocab,
                    b_vocab, *, shift=1, counts=lambda words, null: words != null):
    """h0 = features·W_proj + b_proj; each word but the last is read, the next one is to be said.

    Positions whose next word is <NULL> do not count.
    """
    read, said = captions[:, :-1], captions[:, shift:len(captions[0]) - 1 + shift]
    h0 = fc_reference(features, W_proj, b_proj)
    words = word_embedding_reference(read, W_embed).transpose(1, 0, 2)
    h = rnn_reference(words, h0, Wx, Wh, b).transpose(1, 0, 2)
    scores = temporal_fc_reference(h, W_vocab, b_vocab)
    return temporal_softmax_loss_reference(scores, said, counts(said, null)) \
        + penalty(reg, W_proj, W_embed, Wx, Wh, W_vocab)


# ================================================================ 2. the table of mistakes

@dataclasses.dataclass(frozen=True)
class Mistake:
    """What a function with a known mistake returns in place of one of its outputs."""
    name: str
    function: str
    output: str
    sentence: str
    compute: object                 # (inputs..., dout) -> the array


MISTAKES = []


def mistake(function, output):
    """Decorator: enter a function that computes an output wrongly; its docstring says how."""
    def enter(compute):
        sentence = " ".join(compute.__doc__.split())
        MISTAKES.append(Mistake(compute.__name__, function, output, sentence, compute))
        return compute
    return enter


# ---------------------------------------------------------------- fully connected layer

@mistake("fc_forward", "out")
def fc_without_bias(x, w, b):
    """the bias is not added"""
    return fc_reference(x, w, 0 * b)


@mistake("fc_forward", "out")
def fc_with_negative_bias(x, w, b):
    """the bias is subtracted"""
    return fc_reference(x, w, -b)


@mistake("fc_forward", "out")
def fc_flattens_in_fortran_order(x, w, b):
    """x is flattened in column-major order: x.reshape(N, -1) keeps the order that w expects"""
    return x.reshape(len(x), -1, order="F") @ w + b


@mistake("fc_backward", "dx")
def fc_reshapes_w(x, w, b, dout):
    """w is reshaped where it should be transposed: w.T, not w.reshape(M, D)"""
    return (dout @ w.reshape(w.shape[::-1])).reshape(x.shape)


@mistake("fc_backward", "dx")
def fc_leaves_dx_flat(x, w, b, dout):
    """dx is left flat: it needs the shape of x"""
    return dout @ w.T


@mistake("fc_backward", "dx")
def fc_does_not_transpose_w(x, w, b, dout):
    """w is not transposed: dx = dout·wᵀ"""
    return (dout @ w).reshape(x.shape)


@mistake("fc_backward", "dw")
def fc_reshapes_x(x, w, b, dout):
    """x is reshaped where it should be transposed: rows.T, not rows.reshape(D, N)"""
    return x.reshape(-1, len(x)) @ dout


@mistake("fc_backward", "dw")
def fc_averages_dw(x, w, b, dout):
    """dw is divided by N: the mean over the batch belongs to the loss, and dout has it already"""
    return fc_gradients(x, w, b, dout)["dw"] / len(x)


@mistake("fc_backward", "dw")
def fc_transposes_dw(x, w, b, dout):
    """dw is transposed: it needs the shape of w"""
    return fc_gradients(x, w, b, dout)["dw"].T


@mistake("fc_backward", "db")
def fc_does_not_sum_db(x, w, b, dout):
    """the bias gradient is not summed over the batch: b is added to every sample, so every sample
    sends its dout back"""
    return dout


@mistake("fc_backward", "db")
def fc_averages_db(x, w, b, dout):
    """the bias gradient is averaged over the batch, not summed"""
    return dout.mean(axis=0)


@mistake("fc_backward", "db")
def fc_takes_db_of_one_sample(x, w, b, dout):
    """the bias gradient is that of the first sample alone"""
    return dout[0]


@mistake("fc_backward", "db")
def fc_keeps_axis_of_db(x, w, b, dout):
    """the bias gradient keeps the batch axis: shape (1, M), not (M,)"""
    return dout.sum(axis=0, keepdims=True)


@mistake("fc_backward", "db")
def fc_sums_db_over_features(x, w, b, dout):
    """the bias gradient is summed over the features, not over the batch"""
    return dout.sum(axis=1)


@mistake("fc_backward", "db")
def fc_sums_db_over_everything(x, w, b, dout):
    """the bias gradient is summed over everything to one number"""
    return dout.sum()


# ---------------------------------------------------------------- ReLU

@mistake("relu_forward", "out")
def relu_takes_absolute_value(x):
    """the absolute value is taken: negative numbers must become 0"""
    return np.abs(x)


@mistake("relu_forward", "out")
def relu_is_identity(x):
    """negative numbers pass: out = max(x, 0)"""
    return x


@mistake("relu_forward", "out")
def relu_returns_mask(x):
    """out is 1 where it should be x: the mask is not multiplied by x"""
    return (x > 0).astype(float)


@mistake("relu_forward", "out")
def relu_takes_minimum(x):
    """the minimum is taken in place of the maximum"""
    return np.minimum(x, 0)


@mistake("relu_forward", "out")
def relu_leaks(x):
    """this is a leaky ReLU: negative numbers keep a hundredth"""
    return np.where(x > 0, x, 0.01 * x)


@mistake("relu_forward", "out")
def relu_stops_at_6(x):
    """large numbers are cut off at 6"""
    return np.clip(x, 0, 6)


@mistake("relu_backward", "dx")
def relu_passes_everything(x, dout):
    """dout passes everywhere: it must be 0 where x is negative"""
    return dout


@mistake("relu_backward", "dx")
def relu_masks_by_dout(x, dout):
    """the mask is taken from dout, not from x"""
    return np.where(dout > 0, dout, 0.0)


@mistake("relu_backward", "dx")
def relu_forgets_dout(x, dout):
    """the upstream gradient is left out: dx = dout·[x > 0], not [x > 0]"""
    return (x > 0).astype(float)


@mistake("relu_backward", "dx")
def relu_multiplies_by_x(x, dout):
    """dout is multiplied by x: the slope where x is positive is 1"""
    return np.where(x > 0, x * dout, 0.0)


@mistake("relu_backward", "dx")
def relu_masks_the_wrong_half(x, dout):
    """the mask is upside down: dout passes where x is negative"""
    return np.where(x > 0, 0.0, dout)


@mistake("relu_backward", "dx")
def relu_compares_with_1(x, dout):
    """numbers between 0 and 1 get no gradient: compare x with 0, not 1"""
    return np.where(x > 1, dout, 0.0)


# ---------------------------------------------------------------- convolution

@mistake("conv_forward", "out")
def conv_flips_the_filter(x, w):
    """the filter is flipped: this layer slides it as it is (cross-correlation)"""
    return conv_reference(x, w[:, :, ::-1, ::-1])


@mistake("conv_forward", "out")
def conv_transposes_the_filter(x, w):
    """the filter is transposed: its rows go along the image's rows"""
    return conv_reference(x, w.transpose(0, 1, 3, 2).reshape(w.shape))


@mistake("conv_forward", "out")
def conv_overwrites_channels(x, w):
    """only the last channel counts: out is overwritten where the channels should be added"""
    return conv_reference(x[:, -1:], w[:, -1:])


@mistake("conv_forward", "out")
def conv_sees_the_first_channel(x, w):
    """only the first channel counts: sum over all channels of x"""
    return conv_reference(x[:, :1], w[:, :1])


@mistake("conv_forward", "out")
def conv_repeats_the_first_image(x, w):
    """every image gets the output of the first one"""
    return np.repeat(conv_reference(x[:1], w), len(x), axis=0)


@mistake("conv_forward", "out")
def conv_repeats_the_first_filter(x, w):
    """every filter gives the output of the first one"""
    return np.repeat(conv_reference(x, w[:1]), len(w), axis=1)


@mistake("conv_forward", "out")
def conv_averages_channels(x, w):
    """the channels are averaged, not summed"""
    return conv_reference(x, w) / x.shape[1]


@mistake("conv_forward", "out")
def conv_pads(x, w):
    """the image is padded with zeros: the filter must stay inside it"""
    HH, WW = w.shape[2:]
    padding = ((HH - 1) // 2, HH // 2), ((WW - 1) // 2, WW // 2)
    return conv_reference(np.pad(x, ((0, 0), (0, 0), *padding)), w)


@mistake("conv_forward", "out")
def conv_loses_the_last_row(x, w):
    """the last row and column are left out: H - HH + 1, not H - HH"""
    return conv_reference(x, w)[:, :, :-1, :-1]


@mistake("conv_forward", "out")
def conv_reshapes_for_transposes(x, w):
    """filters and pixels are mixed up: the product has to be transposed, not reshaped, into (N, F,
    OH, OW)"""
    out = conv_reference(x, w)
    return out.transpose(0, 2, 3, 1).reshape(out.shape)


@mistake("conv_forward", "out")
def conv_mixes_images_and_filters(x, w):
    """images and filters are mixed up: transpose, do not reshape, (F, N, OH, OW) into (N, F, OH,
    OW)"""
    out = conv_reference(x, w)
    return out.transpose(1, 0, 2, 3).reshape(out.shape)


@mistake("conv_forward", "out")
def conv_uses_height_for_width(x, w):
    """the height H is used where the width W belongs: the columns past H are never reached"""
    out = conv_reference(x, w)
    out[:, :, :, max(x.shape[2] - w.shape[3] + 1, 0):] = 0
    return out


@mistake("conv_forward", "out")
def conv_uses_width_for_height(x, w):
    """the width W is used where the height H belongs: the rows past W are never reached"""
    out = conv_reference(x, w)
    out[:, :, max(x.shape[3] - w.shape[2] + 1, 0):] = 0
    return out


def full_convolution(dout, w):
    """What dx is: dout, padded all around, filtered with w flipped, summed over the filters."""
    HH, WW = w.shape[2:]
    padded = np.pad(dout, ((0, 0), (0, 0), (HH - 1, HH - 1), (WW - 1, WW - 1)))
    return conv_reference(padded, w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])


@mistake("conv_backward", "dx")
def conv_does_not_flip_for_dx(x, w, dout):
    """the filter is not flipped: dx is dout fully convolved with w, and that flips it"""
    return full_convolution(dout, w[:, :, ::-1, ::-1])


@mistake("conv_backward", "dx")
def conv_overwrites_windows(x, w, dout):
    """the windows are overwritten: they overlap, so their gradients must be added (+=, not =)"""
    HH, WW = w.shape[2:]
    dx = np.zeros(x.shape)
    for i, j in np.ndindex(dout.shape[2:]):
        dx[:, :, i:i + HH, j:j + WW] = np.tensordot(dout[:, :, i, j], w, axes=(1, 0))
    return dx


@mistake("conv_backward", "dx")
def conv_dx_of_the_last_filter(x, w, dout):
    """only the last filter counts: dx must sum over all filters"""
    return conv_gradients(x, w[-1:], dout[:, -1:])["dx"]


@mistake("conv_backward", "dx")
def conv_dx_of_the_first_filter(x, w, dout):
    """only the first filter counts: dx must sum over all filters"""
    return conv_gradients(x, w[:1], dout[:, :1])["dx"]


@mistake("conv_backward", "dx")
def conv_dx_without_padding(x, w, dout):
    """a valid convolution is put in the corner where a full one belongs: dout has to be padded
    with HH - 1 and WW - 1 zeros"""
    full = full_convolution(dout, w)
    HH, WW = w.shape[2:]
    inner = full[:, :, HH - 1:x.shape[2] - HH + 1, WW - 1:x.shape[3] - WW + 1]
    dx = np.zeros(x.shape)
    dx[:, :, :inner.shape[2], :inner.shape[3]] = inner
    return dx


@mistake("conv_backward", "dx")
def conv_averages_dx(x, w, dout):
    """dx is divided by N: dout has the mean over the batch already"""
    return conv_gradients(x, w, dout)["dx"] / len(x)


@mistake("conv_backward", "dw")
def conv_averages_dw(x, w, dout):
    """dw is divided by N: dout has the mean over the batch already"""
    return conv_gradients(x, w, dout)["dw"] / len(x)


@mistake("conv_backward", "dw")
def conv_flips_dw(x, w, dout):
    """dw is flipped: it is x filtered with dout, as it is"""
    return conv_gradients(x, w, dout)["dw"][:, :, ::-1, ::-1]


@mistake("conv_backward", "dw")
def conv_dw_of_the_last_image(x, w, dout):
    """only the last image counts: dw must sum over the batch"""
    return conv_gradients(x[-1:], w, dout[-1:])["dw"]


@mistake("conv_backward", "dw")
def conv_dw_of_the_first_image(x, w, dout):
    """only the first image counts: dw must sum over the batch"""
    return conv_gradients(x[:1], w, dout[:1])["dw"]


@mistake("conv_backward", "dw")
def conv_dw_of_the_last_pixel(x, w, dout):
    """only the last output pixel counts: dw must sum over all of them (+=, not =)"""
    return conv_gradients(x[:, :, dout.shape[2] - 1:, dout.shape[3] - 1:], w,
                          dout[:, :, -1:, -1:])["dw"]


@mistake("conv_backward", "dw")
def conv_flips_dout_for_dw(x, w, dout):
    """dout is flipped: dw is x filtered with dout, as it is"""
    return conv_gradients(x, w, dout[:, :, ::-1, ::-1])["dw"]


@mistake("conv_backward", "dw")
def conv_sums_channels_of_dw(x, w, dout):
    """the channels are summed: each channel of a filter has its own gradient"""
    dw = conv_gradients(x, w, dout)["dw"]
    return np.broadcast_to(dw.sum(axis=1, keepdims=True), dw.shape).copy()


@mistake("conv_backward", "dw")
def conv_reshapes_dw(x, w, dout):
    """the axes of dw are mixed up: transpose, do not reshape, (C, F, HH, WW) into (F, C, HH,
    WW)"""
    return conv_gradients(x, w, dout)["dw"].transpose(1, 0, 2, 3).reshape(w.shape)


@mistake("conv_backward", "dx")
def conv_reshapes_w_for_dx(x, w, dout):
    """the axes of w are mixed up: transpose, do not reshape, (F, C, HH, WW) into (C, F, HH, WW)"""
    swapped = w.reshape(w.shape[1], w.shape[0], *w.shape[2:])
    return conv_gradients(x, swapped.transpose(1, 0, 2, 3), dout)["dx"]


# ---------------------------------------------------------------- max pooling

def repool(x, pool_param, start=-np.inf, reduce=np.max, **changes):
    """Pooling with other sizes, another start of the search or another statistic."""
    pool_param = {**pool_param, **changes}
    out = np.empty(pool_shape(x, pool_param))
    for (i, j), rows, columns in pool_windows(x, pool_param):
        out[:, :, i, j] = np.maximum(start, reduce(x[:, :, rows, columns], axis=(2, 3)))
    return out


@mistake("max_pool_forward", "out")
def pool_starts_at_0(x, pool_param):
    """the search for the maximum starts at 0: windows of negative numbers give 0"""
    return repool(x, pool_param, start=0)


@mistake("max_pool_forward", "out")
def pool_takes_the_mean(x, pool_param):
    """the mean of the window is taken, not the maximum"""
    return repool(x, pool_param, reduce=np.mean)


@mistake("max_pool_forward", "out")
def pool_takes_the_minimum(x, pool_param):
    """the minimum of the window is taken, not the maximum"""
    return repool(x, pool_param, reduce=np.min)


@mistake("max_pool_forward", "out")
def pool_ignores_the_stride(x, pool_param):
    """the stride is left out: windows move by their own size"""
    height, width = pool_param["pool_height"], pool_param["pool_width"]
    rows, columns = x.shape[2] // height, x.shape[3] // width
    tiles = x[:, :, :rows * height, :columns * width]
    return tiles.reshape(*x.shape[:2], rows, height, columns, width).max(axis=(3, 5))


@mistake("max_pool_forward", "out")
def pool_moves_by_1(x, pool_param):
    """the stride is taken as 1"""
    return repool(x, pool_param, stride=1)


@mistake("max_pool_forward", "out")
def pool_swaps_height_and_width(x, pool_param):
    """pool_height and pool_width are mixed up"""
    return repool(x, pool_param, pool_height=pool_param["pool_width"],
                  pool_width=pool_param["pool_height"])


@mistake("max_pool_forward", "out")
def pool_uses_height_for_width(x, pool_param):
    """pool_height is used for the width as well"""
    return repool(x, pool_param, pool_width=pool_param["pool_height"])


@mistake("max_pool_forward", "out")
def pool_windows_of_stride(x, pool_param):
    """the stride is used for the size of the window"""
    out = np.full(pool_shape(x, pool_param), -np.inf)
    stride = pool_param["stride"]
    for i, j in np.ndindex(out.shape[2:]):
        window = x[:, :, i * stride:(i + 1) * stride, j * stride:(j + 1) * stride]
        out[:, :, i, j] = window.max(axis=(2, 3))
    return out


@mistake("max_pool_forward", "out")
def pool_mixes_channels(x, pool_param):
    """the maximum is taken over the channels as well"""
    out = max_pool_reference(x, pool_param)
    return np.broadcast_to(out.max(axis=1, keepdims=True), out.shape).copy()


@mistake("max_pool_forward", "out")
def pool_rounds_up(x, pool_param):
    """windows that reach over the edge are kept: OH and OW are rounded down"""
    stride = pool_param["stride"]
    sizes = [1 + math.ceil((size - pool_param[name]) / stride)
             for size, name in zip(x.shape[2:], ("pool_height", "pool_width"))]
    out = np.empty(x.shape[:2] + tuple(sizes))
    for i, j in np.ndindex(*sizes):
        window = x[:, :, i * stride:i * stride + pool_param["pool_height"],
                   j * stride:j * stride + pool_param["pool_width"]]
        out[:, :, i, j] = window.max(axis=(2, 3))
    return out


def repay(x, pool_param, dout, share, *, add=True):
    """dx of pooling, when a window gets share(window, its dout)."""
    dx = np.zeros(x.shape)
    for (i, j), rows, columns in pool_windows(x, pool_param):
        paid = share(x[:, :, rows, columns], dout[:, :, i, j, None, None])
        if add:
            dx[:, :, rows, columns] += paid
        else:
            dx[:, :, rows, columns] = paid
    return dx


def is_maximum(window):
    """Booleans: which numbers of each window are its maximum."""
    return window == window.max(axis=(2, 3), keepdims=True)


@mistake("max_pool_backward", "dx")
def pool_pays_every_tie(x, pool_param, dout):
    """every maximum of a tie is paid in full: a window has one dout to give, to one of them or
    shared"""
    return repay(x, pool_param, dout, lambda window, d: is_maximum(window) * d)


@mistake("max_pool_backward", "dx")
def pool_overwrites_overlaps(x, pool_param, dout):
    """overlapping windows are overwritten: their gradients must be added (+=, not =)"""
    return repay(x, pool_param, dout, lambda window, d: first_maximum(window) * d, add=False)


@mistake("max_pool_backward", "dx")
def pool_overwrites_shared_maxima(x, pool_param, dout):
    """overlapping windows overwrite their maximum: where two windows share it, the gradients must
    be added (+=, not =)"""
    dx = np.zeros(x.shape)
    for (i, j), rows, columns in pool_windows(x, pool_param):
        winner = first_maximum(x[:, :, rows, columns])
        dx[:, :, rows, columns] = np.where(winner, dout[:, :, i, j, None, None],
                                           dx[:, :, rows, columns])
    return dx


@mistake("max_pool_backward", "dx")
def pool_pays_everybody(x, pool_param, dout):
    """the gradient goes to every number of the window, not to its maximum alone"""
    return repay(x, pool_param, dout, lambda window, d: np.ones(window.shape) * d)


@mistake("max_pool_backward", "dx")
def pool_shares_with_everybody(x, pool_param, dout):
    """the gradient is shared by the whole window, as in mean pooling: only the maximum gets it"""
    return repay(x, pool_param, dout, lambda window, d: np.ones(window.shape) * d
                 / window[0, 0].size)


@mistake("max_pool_backward", "dx")
def pool_pays_the_minimum(x, pool_param, dout):
    """the gradient goes to the minimum of the window"""
    return repay(x, pool_param, dout, lambda window, d: first_maximum(-window) * d)


@mistake("max_pool_backward", "dx")
def pool_forgets_dout(x, pool_param, dout):
    """the upstream gradient is left out: the maximum gets 1, not dout"""
    return repay(x, pool_param, np.ones(dout.shape),
                 lambda window, d: first_maximum(window) * d)


@mistake("max_pool_backward", "dx")
def pool_multiplies_by_x(x, pool_param, dout):
    """the maximum gets dout times its own value"""
    return repay(x, pool_param, dout, lambda window, d: first_maximum(window) * d * window)


@mistake("max_pool_backward", "dx")
def pool_pays_the_corner(x, pool_param, dout):
    """the gradient goes to the first number of each window"""
    def corner(window, d):
        paid = np.zeros(window.shape)
        paid[:, :, 0, 0] = d[:, :, 0, 0]
        return paid
    return repay(x, pool_param, dout, corner)


@mistake("max_pool_backward", "dx")
def pool_unravels_by_height(x, pool_param, dout):
    """the maximum's place is unravelled with pool_height where pool_width belongs"""
    dx = np.zeros(x.shape)
    for (i, j), rows, columns in pool_windows(x, pool_param):
        window = x[:, :, rows, columns]
        place = window.reshape(*window.shape[:2], -1).argmax(axis=2)
        row, column = np.divmod(place, pool_param["pool_height"])
        n, c = np.indices(place.shape)
        np.add.at(dx, (n, c, rows.start + row, columns.start + column), dout[:, :, i, j])
    return dx


# ---------------------------------------------------------------- softmax and cross-entropy

def wrong_softmax_loss(x, y, *, divisor=None, log=lambda p: np.log(p), normalise=-1):
    """The loss of textbook code with one thing changed."""
    p = np.exp(x - x.max(axis=-1, keepdims=True))
    p = p / p.sum(axis=normalise, keepdims=True)
    return -log(p[np.arange(len(y)), y]).sum() / (divisor or len(y))


@mistake("softmax_loss", "loss")
def softmax_sums_the_loss(x, y):
    """the loss is summed over the batch: divide it by N"""
    return len(x) * softmax_loss_reference(x, y)


@mistake("softmax_loss", "loss")
def softmax_divides_by_classes(x, y):
    """the loss is divided by N·C: only the batch is averaged, by N"""
    return softmax_loss_reference(x, y) / x.shape[1]


@mistake("softmax_loss", "loss")
def softmax_forgets_the_sign(x, y):
    """the sign is wrong: the loss is minus log p"""
    return -softmax_loss_reference(x, y)


@mistake("softmax_loss", "loss")
def softmax_overflows(x, y):
    """exp overflows: subtract each row's largest score first"""
    p = np.exp(x)
    return -np.log((p / p.sum(axis=1, keepdims=True))[np.arange(len(y)), y]).mean()


@mistake("softmax_loss", "loss")
def softmax_shifts_by_the_global_maximum(x, y):
    """exp overflows or underflows: the largest score of each row is to be subtracted, not that of
    the whole batch"""
    p = np.exp(x - x.max())
    return -np.log((p / p.sum(axis=1, keepdims=True))[np.arange(len(y)), y]).mean()


@mistake("softmax_loss", "loss")
def softmax_normalises_over_the_batch(x, y):
    """the probabilities are normalised over the batch, not over the classes: sum along axis 1"""
    return wrong_softmax_loss(x, y, normalise=0)


@mistake("softmax_loss", "loss")
def softmax_normalises_over_everything(x, y):
    """the probabilities are normalised over the whole array, not row by row"""
    return wrong_softmax_loss(x, y, normalise=(0, 1))


@mistake("softmax_loss", "loss")
def softmax_adds_1e_8(x, y):
    """an epsilon of 1e-8 is added inside the log: it hides large losses"""
    return wrong_softmax_loss(x, y, log=lambda p: np.log(p + 1e-8))


@mistake("softmax_loss", "loss")
def softmax_adds_1e_10(x, y):
    """an epsilon of 1e-10 is added inside the log: it hides large losses"""
    return wrong_softmax_loss(x, y, log=lambda p: np.log(p + 1e-10))


@mistake("softmax_loss", "loss")
def softmax_adds_1e_12(x, y):
    """an epsilon of 1e-12 is added inside the log: it hides large losses"""
    return wrong_softmax_loss(x, y, log=lambda p: np.log(p + 1e-12))


@mistake("softmax_loss", "loss")
def softmax_takes_log2(x, y):
    """the log has base 2: take the natural one"""
    return softmax_loss_reference(x, y) / np.log(2)


@mistake("softmax_loss", "loss")
def softmax_adds_all_classes(x, y):
    """the logs of all classes are added: only the right class counts"""
    return -log_softmax(x).sum() / len(x)


@mistake("softmax_loss", "loss")
def softmax_forgets_the_log(x, y):
    """the log is left out: this is minus the mean probability"""
    return wrong_softmax_loss(x, y, log=lambda p: p)


@mistake("softmax_loss", "dx")
def softmax_forgets_n_in_dx(x, y):
    """dx is not divided by N, as the loss is"""
    return len(x) * softmax_loss_gradients(x, y)["dx"]


@mistake("softmax_loss", "dx")
def softmax_divides_dx_twice(x, y):
    """dx is divided by N twice"""
    return softmax_loss_gradients(x, y)["dx"] / len(x)


@mistake("softmax_loss", "dx")
def softmax_forgets_one_hot(x, y):
    """1 is not subtracted at the right class: dx = (p - one_hot) / N"""
    return np.exp(log_softmax(x)) / len(x)


@mistake("softmax_loss", "dx")
def softmax_turns_dx_around(x, y):
    """the sign is wrong: dx = (p - one_hot) / N"""
    return -softmax_loss_gradients(x, y)["dx"]


@mistake("softmax_loss", "dx")
def softmax_subtracts_one_after_dividing(x, y):
    """1 is subtracted after the division by N: dx = (p - one_hot) / N"""
    return np.exp(log_softmax(x)) / len(x) - one_hot(y, x.shape[1])


@mistake("softmax_loss", "dx")
def softmax_subtracts_in_whole_columns(x, y):
    """1 is subtracted in whole columns: index dx[np.arange(N), y], not dx[:, y]"""
    p = np.exp(log_softmax(x))
    p[:, y] -= 1
    return p / len(x)


@mistake("softmax_loss", "dx")
def softmax_dx_overflows(x, y):
    """exp overflows: subtract each row's largest score first"""
    p = np.exp(x)
    return (p / p.sum(axis=1, keepdims=True) - one_hot(y, x.shape[1])) / len(x)


@mistake("softmax_loss", "dx")
def softmax_dx_shifts_by_the_global_maximum(x, y):
    """exp underflows: the largest score of each row is to be subtracted, not that of the whole
    batch"""
    p = np.exp(x - x.max())
    return (p / p.sum(axis=1, keepdims=True) - one_hot(y, x.shape[1])) / len(x)


@mistake("softmax_loss", "dx")
def softmax_dx_of_the_right_class(x, y):
    """only the right class gets a gradient: the others get p / N"""
    return softmax_loss_gradients(x, y)["dx"] * one_hot(y, x.shape[1])


# ---------------------------------------------------------------- recurrent network

@mistake("rnn_step_forward", "out")
def step_without_tanh(x, prev_h, Wx, Wh, b):
    """tanh is left out"""
    return x @ Wx + prev_h @ Wh + b


@mistake("rnn_step_forward", "out")
def step_without_bias(x, prev_h, Wx, Wh, b):
    """the bias is left out"""
    return np.tanh(x @ Wx + prev_h @ Wh)


@mistake("rnn_step_forward", "out")
def step_with_sigmoid(x, prev_h, Wx, Wh, b):
    """the logistic function is used where tanh belongs"""
    return 1 / (1 + np.exp(-(x @ Wx + prev_h @ Wh + b)))


@mistake("rnn_step_forward", "out")
def step_with_relu(x, prev_h, Wx, Wh, b):
    """ReLU is used where tanh belongs"""
    return np.maximum(x @ Wx + prev_h @ Wh + b, 0)


@mistake("rnn_step_forward", "out")
def step_transposes_Wh(x, prev_h, Wx, Wh, b):
    """Wh is transposed: prev_h·Wh"""
    return np.tanh(x @ Wx + prev_h @ Wh.T + b)


@mistake("rnn_step_forward", "out")
def step_without_memory(x, prev_h, Wx, Wh, b):
    """the previous state is left out"""
    return np.tanh(x @ Wx + b)


@mistake("rnn_step_forward", "out")
def step_adds_bias_late(x, prev_h, Wx, Wh, b):
    """the bias is added after tanh"""
    return np.tanh(x @ Wx + prev_h @ Wh) + b


def slips_of_the_step():
    """Wrong slopes of tanh, which show in every gradient of the step."""
    for output in ("dx", "dprev_h", "dWx", "dWh", "db"):
        def of_da(da, x, prev_h, Wx, Wh, output=output):
            return {"dx": da @ Wx.T, "dprev_h": da @ Wh.T, "dWx": x.T @ da,
                    "dWh": prev_h.T @ da, "db": da.sum(axis=0)}[output]

        for name, sentence, slope in (
                ("step_forgets_the_slope", "the derivative of tanh, 1 - h², is left out",
                 lambda a, h: np.ones_like(h)),
                ("step_applies_tanh_twice", "tanh is applied to h once more: its slope is 1 - h², "
                 "as h is tanh already", lambda a, h: 1 - np.tanh(h) ** 2),
                ("step_forgets_the_square", "the slope of tanh is 1 - h², not 1 - h",
                 lambda a, h: 1 - h),
                ("step_takes_slope_of_a", "the slope of tanh is 1 - h², h being its result and not "
                 "its argument", lambda a, h: 1 - a ** 2),
                ("step_takes_slope_of_sigmoid", "the slope of the logistic function, h·(1 - h), is "
                 "used for that of tanh, 1 - h²", lambda a, h: h * (1 - h))):
            def compute(x, prev_h, Wx, Wh, b, dout, of_da=of_da, slope=slope):
                a = x @ Wx + prev_h @ Wh + b
                return of_da(dout * slope(a, np.tanh(a)), x, prev_h, Wx, Wh)
            yield Mistake(f"{name}_in_{output}", "rnn_step_backward", output, sentence, compute)


@mistake("rnn_step_backward", "dprev_h")
def step_does_not_transpose_Wh(x, prev_h, Wx, Wh, b, dout):
    """Wh is not transposed: dprev_h = da·Whᵀ"""
    return step_da(x, prev_h, Wx, Wh, b, dout) @ Wh


def step_da(x, prev_h, Wx, Wh, b, dout):
    """The gradient of tanh's argument."""
    return dout * (1 - rnn_step_reference(x, prev_h, Wx, Wh, b) ** 2)


@mistake("rnn_step_backward", "dWh")
def step_transposes_dWh(x, prev_h, Wx, Wh, b, dout):
    """dWh is transposed: it is prev_hᵀ·da"""
    return (prev_h.T @ step_da(x, prev_h, Wx, Wh, b, dout)).T


@mistake("rnn_step_backward", "dWh")
def step_takes_next_h_for_prev_h(x, prev_h, Wx, Wh, b, dout):
    """the new state is taken for the previous one: dWh = prev_hᵀ·da"""
    return rnn_step_reference(x, prev_h, Wx, Wh, b).T @ step_da(x, prev_h, Wx, Wh, b, dout)


@mistake("rnn_step_backward", "db")
def step_does_not_sum_db(x, prev_h, Wx, Wh, b, dout):
    """db is not summed over the batch"""
    return step_da(x, prev_h, Wx, Wh, b, dout)


@mistake("rnn_step_backward", "db")
def step_averages_db(x, prev_h, Wx, Wh, b, dout):
    """db is averaged over the batch, not summed"""
    return step_da(x, prev_h, Wx, Wh, b, dout).mean(axis=0)


@mistake("rnn_step_backward", "db")
def step_sums_dout_for_db(x, prev_h, Wx, Wh, b, dout):
    """db is the sum of dnext_h: the slope of tanh belongs to it"""
    return dout.sum(axis=0)


@mistake("rnn_forward", "out")
def rnn_starts_from_0(x, h0, Wx, Wh, b):
    """h0 is left out: the first step starts from it, not from 0"""
    return rnn_reference(x, 0 * h0, Wx, Wh, b)


@mistake("rnn_forward", "out")
def rnn_always_uses_h0(x, h0, Wx, Wh, b):
    """every step starts from h0, not from the state before it"""
    return np.tanh(x @ Wx + h0 @ Wh + b)


@mistake("rnn_forward", "out")
def rnn_repeats_the_first_input(x, h0, Wx, Wh, b):
    """every step reads x[0], not x[t]"""
    return rnn_reference(np.repeat(x[:1], len(x), axis=0), h0, Wx, Wh, b)


@mistake("rnn_forward", "out")
def rnn_runs_backwards(x, h0, Wx, Wh, b):
    """the steps are taken from the last to the first"""
    return rnn_reference(x[::-1], h0, Wx, Wh, b)[::-1]


@mistake("rnn_forward", "out")
def rnn_runs_over_the_batch(x, h0, Wx, Wh, b):
    """the steps go along axis 1, the batch: x is time-major, (T, N, D)"""
    return rnn_reference(x.transpose(1, 0, 2), h0, Wx, Wh, b).transpose(1, 0, 2)


@mistake("rnn_forward", "out")
def rnn_forgets_the_bias(x, h0, Wx, Wh, b):
    """the bias is left out"""
    return rnn_reference(x, h0, Wx, Wh, 0 * b)


@mistake("rnn_forward", "out")
def rnn_returns_the_last_state(x, h0, Wx, Wh, b):
    """only the last state is returned: out holds that of every step, (T, N, H)"""
    return rnn_reference(x, h0, Wx, Wh, b)[-1]


@mistake("rnn_forward", "out")
def rnn_returns_h0_first(x, h0, Wx, Wh, b):
    """the states before each step are returned, from h0 on, not those after it"""
    return np.array([h0, *rnn_reference(x, h0, Wx, Wh, b)])[:-1]


@mistake("rnn_forward", "out")
def rnn_without_tanh(x, h0, Wx, Wh, b):
    """tanh is left out"""
    h = [h0]
    for x_t in x:
        h.append(x_t @ Wx + h[-1] @ Wh + b)
    return np.array(h[1:])


@mistake("rnn_forward", "out")
def rnn_transposes_Wh(x, h0, Wx, Wh, b):
    """Wh is transposed: h·Wh"""
    return rnn_reference(x, h0, Wx, Wh.T, b)


def slips_through_time():
    """Slips that show in several gradients of the recurrent network at once."""
    def only_the_last(dout):
        return np.where(np.arange(len(dout))[:, None, None] == len(dout) - 1, dout, 0.0)

    slips = (
        ("rnn_cuts_time", "the gradient does not go on to the step before: h[t - 1] gets "
         "da[t]·Whᵀ beside its own dh[t - 1]", {"carry": lambda dprev_h: 0 * dprev_h}),
        ("rnn_forgets_the_slope", "the derivative of tanh, 1 - h², is left out",
         {"slope": np.ones_like}),
        ("rnn_applies_tanh_twice", "tanh is applied to h once more: its slope is 1 - h², as h is "
         "tanh already", {"slope": lambda h: 1 - np.tanh(h) ** 2}),
        ("rnn_forgets_the_square", "the slope of tanh is 1 - h², not 1 - h",
         {"slope": lambda h: 1 - h}),
        ("rnn_takes_slope_of_sigmoid", "the slope of the logistic function, h·(1 - h), is used for "
         "that of tanh, 1 - h²", {"slope": lambda h: h * (1 - h)}),
        ("rnn_does_not_transpose_Wh", "Wh is not transposed on the way back: h[t - 1] gets "
         "da[t]·Whᵀ", {"way_back": lambda Wh: Wh}),
        ("rnn_uses_the_last_dh_only", "only the last step's dh is used: every step has one of "
         "its own", {"select": only_the_last}),
    )
    for name, sentence, tampering in slips:
        for output in ("dx", "dh0", "dWx", "dWh", "db"):
            def compute(x, h0, Wx, Wh, b, dout, output=output, tampering=tampering):
                return backward_through_time(x, h0, Wx, Wh, b, dout, **tampering)[output]
            yield Mistake(f"{name}_in_{output}", "rnn_backward", output, sentence, compute)


def every_da(x, h0, Wx, Wh, b, dout):
    """(da, states): the gradients of tanh's arguments at all steps, and h0, h[0], h[1], ..."""
    states = np.array([h0, *rnn_reference(x, h0, Wx, Wh, b)])
    # With Wx and x replaced by the identity, the gradient of x is da itself.
    identity = np.eye(h0.shape[1])
    da = backward_through_time(x @ Wx, h0, identity, Wh, b, dout)["dx"]
    return da, states


@mistake("rnn_backward", "dWh")
def rnn_takes_h_t_for_h_before(x, h0, Wx, Wh, b, dout):
    """h[t] is used where h[t - 1] belongs: dWh adds h[t - 1]ᵀ·da[t]"""
    da, states = every_da(x, h0, Wx, Wh, b, dout)
    return sum(h.T @ d for h, d in zip(states[1:], da))


@mistake("rnn_backward", "dWh")
def rnn_takes_h0_for_every_state(x, h0, Wx, Wh, b, dout):
    """h0 is used at every step where h[t - 1] belongs"""
    da, _ = every_da(x, h0, Wx, Wh, b, dout)
    return h0.T @ da.sum(axis=0)


@mistake("rnn_backward", "dWh")
def rnn_forgets_h0_in_dWh(x, h0, Wx, Wh, b, dout):
    """the first step is left out of dWh: its state before is h0"""
    da, states = every_da(x, h0, Wx, Wh, b, dout)
    return sum((h.T @ d for h, d in zip(states[1:-1], da[1:])), np.zeros(Wh.shape))


@mistake("rnn_backward", "dWh")
def rnn_keeps_dWh_of_the_first_step(x, h0, Wx, Wh, b, dout):
    """dWh is overwritten at each step: all steps share Wh, so their gradients add up (+=, not =)"""
    da, states = every_da(x, h0, Wx, Wh, b, dout)
    return states[0].T @ da[0]


@mistake("rnn_backward", "dWx")
def rnn_keeps_dWx_of_the_first_step(x, h0, Wx, Wh, b, dout):
    """dWx is overwritten at each step: all steps share Wx, so their gradients add up (+=, not =)"""
    return x[0].T @ every_da(x, h0, Wx, Wh, b, dout)[0][0]


@mistake("rnn_backward", "db")
def rnn_keeps_db_of_the_first_step(x, h0, Wx, Wh, b, dout):
    """db is overwritten at each step: all steps share b, so their gradients add up (+=, not =)"""
    return every_da(x, h0, Wx, Wh, b, dout)[0][0].sum(axis=0)


@mistake("rnn_backward", "db")
def rnn_averages_db_over_time(x, h0, Wx, Wh, b, dout):
    """db is averaged over the steps, not summed"""
    return rnn_gradients(x, h0, Wx, Wh, b, dout)["db"] / len(x)


@mistake("rnn_backward", "dh0")
def rnn_returns_dh_of_the_first_state(x, h0, Wx, Wh, b, dout):
    """dh0 is the gradient of the state after the first step: one more step back to h0 is missing"""
    if len(x) == 1:
        return dout[0]
    return dout[0] + rnn_gradients(x[1:], rnn_reference(x[:1], h0, Wx, Wh, b)[0],
                                   Wx, Wh, b, dout[1:])["dh0"]


@mistake("rnn_backward", "dh0")
def rnn_returns_no_dh0(x, h0, Wx, Wh, b, dout):
    """dh0 is 0: the first step sends a gradient back to h0"""
    return np.zeros(h0.shape)


@mistake("rnn_backward", "dx")
def rnn_reverses_dx(x, h0, Wx, Wh, b, dout):
    """dx is in reverse order: step t of the way back belongs to x[t]"""
    return rnn_gradients(x, h0, Wx, Wh, b, dout)["dx"][::-1]


# ---------------------------------------------------------------- word embedding

@mistake("word_embedding_forward", "out")
def embedding_counts_from_1(x, W):
    """word v gets the vector of word v - 1: ids count from 0"""
    return word_embedding_reference(x - 1, W)


@mistake("word_embedding_forward", "out")
def embedding_normalises(x, W):
    """the vectors are scaled to length 1"""
    out = word_embedding_reference(x, W)
    return out / np.sqrt((out ** 2).sum(axis=2, keepdims=True))


@mistake("word_embedding_forward", "out")
def embedding_swaps_axes(x, W):
    """the axes N and T are mixed up: out is (N, T, D)"""
    return word_embedding_reference(x, W).transpose(1, 0, 2)


@mistake("word_embedding_forward", "out")
def embedding_wraps_at_256(x, W):
    """word ids are stored in 8 bits: those above 255 wrap around"""
    return word_embedding_reference(x % 256, W)


@mistake("word_embedding_backward", "dW")
def embedding_adds_repeated_words_once(x, W, dout):
    """dW[x] += dout adds a repeated word once only: use np.add.at(dW, x, dout)"""
    dW = np.zeros(W.shape)
    dW[x] += dout
    return dW


@mistake("word_embedding_backward", "dW")
def embedding_averages_repeated_words(x, W, dout):
    """the gradients of a repeated word are averaged, not summed"""
    counts = np.bincount(x.reshape(-1), minlength=len(W))
    return word_embedding_gradients(x, W, dout)["dW"] / np.maximum(counts, 1)[:, None]


@mistake("word_embedding_backward", "dW")
def embedding_averages_over_the_batch(x, W, dout):
    """dW is divided by N: dout has the mean over the batch already"""
    return word_embedding_gradients(x, W, dout)["dW"] / len(x)


@mistake("word_embedding_backward", "dW")
def embedding_backward_wraps_at_256(x, W, dout):
    """word ids are stored in 8 bits: those above 255 wrap around"""
    return word_embedding_gradients(x % 256, W, dout)["dW"]


@mistake("word_embedding_backward", "dW")
def embedding_forgets_dout(x, W, dout):
    """dW counts the words, without dout"""
    return word_embedding_gradients(x, W, np.ones(dout.shape))["dW"]


@mistake("word_embedding_backward", "dW")
def embedding_returns_dW_of_seen_words(x, W, dout):
    """dW has rows for the words of this batch only: it needs the shape of W"""
    return word_embedding_gradients(x, W, dout)["dW"][:x.max() + 1]


# ---------------------------------------------------------------- temporal layers

@mistake("temporal_fc_forward", "out")
def temporal_fc_forgets_the_bias(x, w, b):
    """the bias is not added"""
    return x @ w


@mistake("temporal_fc_forward", "out")
def temporal_fc_mixes_n_and_t(x, w, b):
    """N and T are mixed up: reshape (N·T, M) into (N, T, M), in this order"""
    N, T, _ = x.shape
    out = temporal_fc_reference(x, w, b)
    return out.reshape(T, N, -1).transpose(1, 0, 2)


@mistake("temporal_fc_forward", "out")
def temporal_fc_leaves_out_flat(x, w, b):
    """out is left flat, (N·T, M): it is (N, T, M)"""
    return temporal_fc_reference(x, w, b).reshape(-1, w.shape[1])


@mistake("temporal_fc_forward", "out")
def temporal_fc_uses_the_last_step(x, w, b):
    """every step gets the output of the last one"""
    out = temporal_fc_reference(x, w, b)
    return np.repeat(out[:, -1:], out.shape[1], axis=1)


@mistake("temporal_fc_backward", "db")
def temporal_fc_sums_db_over_the_batch_alone(x, w, b, dout):
    """db is not summed over time: b is added at every step of every sentence"""
    return dout.sum(axis=0)


@mistake("temporal_fc_backward", "db")
def temporal_fc_sums_db_over_time_alone(x, w, b, dout):
    """db is not summed over the batch: b is added at every step of every sentence"""
    return dout.sum(axis=1)


@mistake("temporal_fc_backward", "db")
def temporal_fc_averages_db(x, w, b, dout):
    """db is averaged, not summed"""
    return dout.mean(axis=(0, 1))


@mistake("temporal_fc_backward", "dw")
def temporal_fc_averages_dw(x, w, b, dout):
    """dw is divided by N·T: dout has all averages already"""
    return temporal_fc_gradients(x, w, b, dout)["dw"] / (x.shape[0] * x.shape[1])


@mistake("temporal_fc_backward", "dw")
def temporal_fc_averages_dw_over_the_batch(x, w, b, dout):
    """dw is divided by N: dout has the mean over the batch already"""
    return temporal_fc_gradients(x, w, b, dout)["dw"] / len(x)


@mistake("temporal_fc_backward", "dw")
def temporal_fc_takes_dw_of_the_last_step(x, w, b, dout):
    """dw is that of the last step alone: all steps share w"""
    return x[:, -1].T @ dout[:, -1]


@mistake("temporal_fc_backward", "dw")
def temporal_fc_reshapes_x(x, w, b, dout):
    """x is reshaped where it should be transposed: rows.T, not rows.reshape(D, N·T)"""
    return x.reshape(x.shape[2], -1) @ dout.reshape(-1, dout.shape[2])


@mistake("temporal_fc_backward", "dx")
def temporal_fc_reshapes_w(x, w, b, dout):
    """w is reshaped where it should be transposed: w.T, not w.reshape(M, D)"""
    return dout @ w.reshape(w.shape[::-1])


@mistake("temporal_fc_backward", "dx")
def temporal_fc_leaves_dx_flat(x, w, b, dout):
    """dx is left flat, (N·T, D): it needs the shape of x"""
    return (dout @ w.T).reshape(-1, x.shape[2])


@mistake("temporal_softmax_loss", "loss")
def temporal_loss_ignores_the_mask(x, y, mask):
    """the mask is not applied to the loss"""
    return temporal_softmax_loss_reference(x, y, np.ones(mask.shape))


@mistake("temporal_softmax_loss", "loss")
def temporal_loss_turns_the_mask_around(x, y, mask):
    """the mask is upside down: 1 marks the positions that count"""
    return temporal_softmax_loss_reference(x, y, mask == 0)


@mistake("temporal_softmax_loss", "loss")
def temporal_loss_averages_over_time(x, y, mask):
    """the loss is divided by N·T: it is summed over time and averaged over the batch alone"""
    return temporal_softmax_loss_reference(x, y, mask) / mask.shape[1]


@mistake("temporal_softmax_loss", "loss")
def temporal_loss_averages_over_the_mask(x, y, mask):
    """the loss is divided by the number of positions that count: divide by N alone"""
    return temporal_softmax_loss_reference(x, y, mask) * len(x) / mask.sum()


@mistake("temporal_softmax_loss", "loss")
def temporal_loss_is_a_sum(x, y, mask):
    """the loss is not divided by N"""
    return temporal_softmax_loss_reference(x, y, mask) * len(x)


@mistake("temporal_softmax_loss", "loss")
def temporal_loss_divides_by_t(x, y, mask):
    """the loss is divided by T where N belongs"""
    return temporal_softmax_loss_reference(x, y, mask) * len(x) / mask.shape[1]


@mistake("temporal_softmax_loss", "loss")
def temporal_loss_overflows(x, y, mask):
    """exp overflows: subtract the largest score of each position first"""
    p = np.exp(x)
    p = p / p.sum(axis=2, keepdims=True)
    return -(mask * np.log(np.take_along_axis(p, y[:, :, None], 2)[:, :, 0])).sum() / len(x)


@mistake("temporal_softmax_loss", "dx")
def temporal_dx_ignores_the_mask(x, y, mask):
    """the mask is not applied to the gradient: positions that do not count have none"""
    return temporal_softmax_loss_gradients(x, y, np.ones(mask.shape))["dx"]


@mistake("temporal_softmax_loss", "dx")
def temporal_dx_turns_the_mask_around(x, y, mask):
    """the mask is upside down: 1 marks the positions that count"""
    return temporal_softmax_loss_gradients(x, y, mask == 0)["dx"]


@mistake("temporal_softmax_loss", "dx")
def temporal_dx_forgets_n(x, y, mask):
    """dx is not divided by N, as the loss is"""
    return len(x) * temporal_softmax_loss_gradients(x, y, mask)["dx"]


@mistake("temporal_softmax_loss", "dx")
def temporal_dx_averages_over_time(x, y, mask):
    """dx is divided by N·T: divide by N alone"""
    return temporal_softmax_loss_gradients(x, y, mask)["dx"] / mask.shape[1]


@mistake("temporal_softmax_loss", "dx")
def temporal_dx_averages_over_the_mask(x, y, mask):
    """dx is divided by the number of positions that count: divide by N alone"""
    return temporal_softmax_loss_gradients(x, y, mask)["dx"] * len(x) / mask.sum()


@mistake("temporal_softmax_loss", "dx")
def temporal_dx_divides_by_t(x, y, mask):
    """dx is divided by T where N belongs"""
    return temporal_softmax_loss_gradients(x, y, mask)["dx"] * len(x) / mask.shape[1]


@mistake("temporal_softmax_loss", "dx")
def temporal_dx_forgets_one_hot(x, y, mask):
    """1 is not subtracted at the right word: dx = mask·(p - one_hot) / N"""
    return np.exp(log_softmax(x)) * mask[:, :, None] / len(x)


@mistake("temporal_softmax_loss", "dx")
def temporal_dx_overflows(x, y, mask):
    """exp overflows: subtract the largest score of each position first"""
    p = np.exp(x)
    p = p / p.sum(axis=2, keepdims=True)
    return (p - one_hot(y, x.shape[2])) * mask[:, :, None] / len(x)


# ---------------------------------------------------------------- update rules

def slips_of_the_rules():
    """The update rules with one thing changed."""
    def slip(function, name, sentence, reference, **changes):
        return Mistake(name, function, "w", sentence,
                       lambda w, dws, config: reference(w, dws, config, **changes))

    yield slip("sgd", "sgd_climbs", "the weights go uphill: subtract learning_rate·dw",
               sgd_reference, sign=1)
    yield Mistake("sgd_forgets_the_learning_rate", "sgd", "w", "the learning rate is left out",
                  lambda w, dws, config: sgd_reference(w, dws, {**config, "learning_rate": 1.0}))
    momentum = functools.partial(slip, "sgd_momentum", reference=sgd_momentum_reference)
    yield momentum(name="momentum_forgets_the_velocity", friction=0.0,
                   sentence="the velocity is not kept: this is plain gradient descent")
    yield momentum(name="momentum_goes_on_for_ever", friction=1.0,
                   sentence="the velocity is not multiplied by momentum")
    yield momentum(name="momentum_steps_late", stale=True,
                   sentence="the step is taken with the velocity before its update")
    yield momentum(name="momentum_climbs", scale=-1.0,
                   sentence="the velocity goes uphill: subtract learning_rate·dw")
    yield Mistake("momentum_dampens", "sgd_momentum", "w", "dw is multiplied by 1 - momentum: this "
                  "rule adds learning_rate·dw in full",
                  lambda w, dws, config: sgd_momentum_reference(
                      w, dws, config, scale=1 - config.get("momentum", 0.9)))
    rmsprop = functools.partial(slip, "rmsprop", reference=rmsprop_reference)
    yield rmsprop(name="rmsprop_forgets_the_root", root=lambda cache, epsilon: cache + epsilon,
                  sentence="the square root of the cache is left out")
    yield rmsprop(name="rmsprop_puts_epsilon_under_the_root",
                  root=lambda cache, epsilon: np.sqrt(cache + epsilon),
                  sentence="epsilon is added under the root: √cache + epsilon")
    yield rmsprop(name="rmsprop_swaps_the_decay", swap=True,
                  sentence="decay_rate and 1 - decay_rate are mixed up")
    yield rmsprop(name="rmsprop_forgets_epsilon", root=lambda cache, epsilon: np.sqrt(cache),
                  sentence="epsilon is left out")
    adam = functools.partial(slip, "adam", reference=adam_reference)
    yield adam(name="adam_forgets_the_corrections", correct=(False, False),
               sentence="the bias corrections 1 - beta1ᵗ and 1 - beta2ᵗ are left out")
    yield adam(name="adam_corrects_m_alone", correct=(True, False), sentence="v is not corrected: "
               "divide it by 1 - beta2ᵗ")
    yield adam(name="adam_corrects_v_alone", correct=(False, True), sentence="m is not corrected: "
               "divide it by 1 - beta1ᵗ")
    yield adam(name="adam_counts_one_step_late", first=2, sentence="t is one too large: it is 1 in "
               "the first step")
    yield adam(name="adam_does_not_count", steps=False, sentence="t stays at 1: it grows with "
               "every step")
    yield adam(name="adam_swaps_the_betas", swap=True, sentence="beta1 and beta2 are mixed up: beta1 "
               "is that of m, beta2 that of v")
    yield adam(name="adam_forgets_the_root", root=lambda v, epsilon: v + epsilon,
               sentence="the square root of v is left out")
    yield adam(name="adam_puts_epsilon_under_the_root",
               root=lambda v, epsilon: np.sqrt(v + epsilon),
               sentence="epsilon is added under the root: √v̂ + epsilon")
    yield adam(name="adam_forgets_the_square", power=1, sentence="v is the mean of dw, not of dw²")


# ---------------------------------------------------------------- models

def slips_of_the_models():
    """Wrong losses of the models, and penalties that do not reach the gradient."""
    for model, loss, weights in (("TwoLayerNet", two_layer_loss, ("W1", "W2")),
                                 ("ConvNet", conv_net_loss, ("W1", "W2", "W3"))):
        for name, factor, sentence in (
                ("forgets_the_penalty", 0, "the penalty ½·reg·ΣW² is left out of the loss"),
                ("doubles_the_penalty", 2, "the penalty is reg·ΣW²: the factor ½ is left out")):
            yield Mistake(f"{model}_{name}", model, "loss", sentence,
                          lambda reg, *, loss=loss, factor=factor, **others:
                          loss(reg=factor * reg, **others))
        for weight in weights:
            for name, factor, sentence in (
                    ("forgets_the_penalty", 0, "the gradient of the penalty, reg·W, is left out"),
                    ("doubles_the_penalty", 2, "the gradient of the penalty ½·reg·ΣW² is reg·W: "
                     "here it is twice that"),
                    ("halves_the_penalty", 0.5, "the gradient of the penalty ½·reg·ΣW² is reg·W: "
                     "here it is half of that")):
                yield Mistake(f"{model}_{name}_in_d{weight}", model, f"d{weight}", sentence,
                              lambda reg, *, loss=loss, factor=factor, weight=weight, **others:
                              gradient_of(loss, weight, reg=factor * reg, **others))
    captioning = (
        ("shifts_nothing", {"shift": 0}, "each word is asked to predict itself: the target is the "
         "next word, captions[:, 1:]"),
        ("counts_the_padding", {"counts": lambda words, null: np.ones(words.shape)},
         "the padding <NULL> counts: mask it, words != null"),
        ("takes_0_for_null", {"counts": lambda words, null: words != 0},
         "0 is taken for the id of <NULL>: look it up in word_to_idx"))
    for name, changes, sentence in captioning:
        yield Mistake(f"CaptioningRNN_{name}", "CaptioningRNN", "loss", sentence,
                      lambda changes=changes, **inputs: captioning_loss(**inputs, **changes))


def gradient_of(loss, name, **inputs):
    """The gradient of a model's loss with respect to one of its inputs; computed once for each."""
    def objective(shift):
        return loss(**{**inputs, name: inputs[name] + shift})

    key = (loss, name, *((value.tobytes(), value.shape) if isinstance(value, np.ndarray) else value
                         for value in inputs.values()))
    if key not in KNOWN_GRADIENTS:
        KNOWN_GRADIENTS[key] = numerical_gradient(objective, inputs[name].shape, 1e-3)
    return KNOWN_GRADIENTS[key].copy()


KNOWN_GRADIENTS = {}        # several mistakes ask for the same ones


MISTAKES += [*slips_of_the_step(), *slips_through_time(), *slips_of_the_rules(),
             *slips_of_the_models()]


# ================================================================ 3. the grader

# ---------------------------------------------------------------- what is expected

TOLERANCE = {np.dtype(np.float64): 2e-6, np.dtype(np.float32): 2e-4}
# float64 results that are this good are taken for exact; those between the two limits have
# only the digits of float32.
DOUBLE_PRECISION = 1e-8
# Cases of more numbers than this are there for their size: properties are seen in smaller ones.
LARGE = 500
# Where the truth is next to 0, errors are measured against this share of dout instead.
FLOOR = {np.dtype(np.float64): 1e-4, np.dtype(np.float32): 1e-2}


@dataclasses.dataclass
class Difference:
    """The worst disagreement: the place as a tuple or in words, expected and actual value."""
    place: object
    expected: float
    actual: float


class Exact:
    """The truth is one array."""

    def __init__(self, array):
        self.array = np.asarray(array, dtype=float)
        self.shape = self.array.shape

    def difference(self, actual, tolerance, floor):
        """None if `actual` agrees, or the worst Difference."""
        return worst_difference(actual, self.array, self.array, tolerance, floor)

    def times(self, factor):
        """The truth of a layer whose result is larger by a factor."""
        return Exact(self.array * factor)


class Digits(Exact):
    """The truth is one array, and even its smallest numbers must be right."""

    def difference(self, actual, tolerance, floor):
        """None if `actual` agrees, or the worst Difference."""
        size = np.where(self.array == 0, 1.0, np.abs(self.array))
        expected = self.array / size
        with np.errstate(over="ignore"):
            found = worst_difference(actual / size, expected, expected, tolerance, 0)
        if found:
            found.expected = float(self.array[found.place])
            found.actual = float(actual[found.place])
        return found


class Either:
    """The truth is one of several arrays: definitions differ."""

    def __init__(self, *arrays):
        self.truths = [Exact(array) for array in arrays]
        self.shape = self.truths[0].shape

    def difference(self, actual, tolerance, floor):
        """None if `actual` agrees with one of them, or the worst Difference from the first."""
        found = [truth.difference(actual, tolerance, floor) for truth in self.truths]
        return found[0] if all(found) else None


class Between:
    """Every number has a lower and an upper limit: any subgradient of ReLU at 0."""

    def __init__(self, low, high):
        self.low, self.high = low, high
        self.shape = low.shape

    def difference(self, actual, tolerance, floor):
        """None if `actual` agrees, or the worst Difference."""
        return worst_difference(actual, self.low, self.high, tolerance, floor)


class TiedWindows:
    """Any subgradient of max pooling at ties. Where windows overlap, their sums cannot be told
    apart: there the bounds and the sum over each channel are what is asked."""

    def __init__(self, x, pool_param, dout):
        self.x, self.pool_param, self.dout = x, pool_param, dout
        self.shape = x.shape

    def difference(self, actual, tolerance, floor):
        """None if `actual` agrees, or the worst Difference."""
        low, high = np.zeros(self.shape), np.zeros(self.shape)
        for (i, j), rows, columns in pool_windows(self.x, self.pool_param):
            window = self.x[:, :, rows, columns]
            share = np.where(window == window.max(axis=(2, 3), keepdims=True),
                             self.dout[:, :, i, j, None, None], 0.0)
            low[:, :, rows, columns] += np.minimum(share, 0)
            high[:, :, rows, columns] += np.maximum(share, 0)
        found = worst_difference(actual, low, high, tolerance, floor)
        height, width, stride = (self.pool_param[k] for k in ("pool_height", "pool_width", "stride"))
        if stride < max(height, width):
            sums = self.dout.sum(axis=(2, 3))
            return found or worst_difference(actual.sum(axis=(2, 3)), sums, sums, tolerance,
                                             np.abs(self.dout).sum())
        for (i, j), rows, columns in pool_windows(self.x, self.pool_param):
            paid = actual[:, :, rows, columns].sum(axis=(2, 3))
            unequal = worst_difference(paid, self.dout[:, :, i, j], self.dout[:, :, i, j],
                                       tolerance, floor)
            if found is None and unequal is not None:
                n, c = unequal.place
                unequal.place = f"summed over window {(i, j)} of image {n}, channel {c}"
                found = unequal
        return found


class Slopes:
    """The truth is known along some directions: Σ gradient·direction = slope."""

    def __init__(self, directions, slopes):
        self.directions, self.slopes = directions, slopes
        self.shape = directions[0].shape

    def difference(self, actual, tolerance, floor):
        """None if `actual` agrees, or the worst Difference."""
        for direction, slope in zip(self.directions, self.slopes):
            found = float(np.sum(actual * direction))
            size = max(np.abs(actual * direction).sum() / math.sqrt(actual.size), abs(slope), floor)
            if not abs(found - slope) <= tolerance * size:
                return Difference("its sum times a random direction", float(slope), found)
        return None


def worst_difference(actual, low, high, tolerance, floor):
    """The place where `actual` is furthest outside of [low, high], or None if nowhere."""
    scale = max(np.abs(low).max(), np.abs(high).max(), floor)
    with np.errstate(invalid="ignore"):
        error = np.maximum(low - actual, actual - high)
    error = np.where(np.isfinite(actual), error, np.inf)
    place = np.unravel_index(np.argmax(error), error.shape)
    if error[place] <= tolerance * scale:
        return None
    nearest = low[place] if actual[place] < low[place] else high[place]
    return Difference(tuple(map(int, place)), float(nearest), float(actual[place]))


def slope_along(f, direction, step):
    """df(direction·s)/ds at s = 0 by central differences.

    step 1 is for functions that are linear along the direction, where the difference
    is exact. Else it is of fourth order; its error is about step⁴.
    """
    first = f(step * direction) - f(-step * direction)
    if step == 1:
        return first / 2
    second = f(2 * step * direction) - f(-2 * step * direction)
    return (8 * first - second) / (12 * step)


def numerical_gradient(f, shape, step):
    """The gradient of f(shift) at shift = 0, coordinate by coordinate."""
    gradient = np.empty(shape)
    for place in np.ndindex(shape):
        shift = np.zeros(shape)
        shift[place] = 1
        gradient[place] = slope_along(f, shift, step)
    return gradient


# ---------------------------------------------------------------- cases

def transposed(array):
    """The same numbers in Fortran order."""
    return np.array(array, order="F")       # always a copy: what is graded may write to it


def strided(array):
    """The same numbers as a view with gaps and negative steps."""
    if array.ndim == 0:
        return array
    room = np.zeros([2 * size for size in array.shape], array.dtype)
    view = room[(slice(None, None, -2),) * array.ndim]
    view[...] = array
    return view


def read_only(array):
    """A copy that cannot be written to."""
    array = array.copy()
    array.flags.writeable = False
    return array


@dataclasses.dataclass
class Case:
    """One set of inputs, and what a right layer makes of it."""
    label: str                      # what is special about it; "" for nothing
    inputs: dict                    # argument -> value; floating-point arrays are float64
    dout: object                    # upstream gradient, None for losses
    truth: dict                     # output or gradient -> Exact, Between, Slopes...
    dtype: np.dtype = np.dtype(np.float64)
    layout: object = np.array
    loss_may_overflow: bool = False
    may_be_refused: bool = False    # windows that do not tile: refusing them is only careless
    is_vast: bool = False           # a machine may be too small for it: that is only careless
    unit: float = 1.0               # the size of the numbers, where it is not about 1
    constructor: dict = None        # arguments that build the model of this case

    def arguments(self):
        """Fresh inputs for the function under test, in its order."""
        return [self.fresh(value) for value in self.inputs.values()]

    def upstream(self):
        """A fresh dout."""
        return self.fresh(self.dout)

    def fresh(self, value):
        """A copy of an argument in this case's dtype and layout."""
        if isinstance(value, dict):
            return dict(value)
        if value.dtype == np.float64:
            value = value.astype(self.dtype)
        return self.layout(value)

    @property
    def size(self):
        """How much there is to look at: the number of all input elements."""
        return sum(np.size(value) for value in self.inputs.values())

    @property
    def floor(self):
        """The size of a result below which an error does not count."""
        largest = 1.0 if self.dout is None else min(1.0, self.unit) * np.abs(self.dout).max()
        return FLOOR[self.dtype] * largest

    def describe(self):
        """Shapes, and what is special."""
        parts = [f"{name} {value.shape}" if isinstance(value, np.ndarray) else
                 ", ".join(f"{key} {size}" for key, size in value.items())
                 if isinstance(value, dict) else f"{name} {value}"
                 for name, value in self.inputs.items()]
        return ", ".join(parts) + (f"; {self.label}" if self.label else "")


@dataclasses.dataclass(frozen=True)
class Layer:
    """A pair of functions of the contract, or a loss, and how to test it."""
    name: str
    file: str
    section: str                    # of the derivations
    reference: object
    gradients: object
    inputs: tuple                   # names of the arguments
    varied: tuple                   # those that have a gradient
    cases: object                   # (layer, rng) -> list of Case
    step: float                     # of the central differences
    upstream: str = "dout"

    @property
    def is_loss(self):
        """Losses return (loss, dx) at once."""
        return self.name.endswith("_loss")

    @property
    def functions(self):
        """The names of the functions of this layer."""
        return (self.name,) if self.is_loss else (f"{self.name}_forward", f"{self.name}_backward")

    @property
    def gradient_names(self):
        """dx, dw, ...: what backward returns, in order."""
        return tuple("d" + name for name in self.varied)

    def trial(self, name, functions, cases):
        """Try one of the functions in all cases."""
        if self.is_loss:
            return try_loss(self, name, functions[name], cases)
        if name.endswith("_forward"):
            return try_all_forward(self, name, functions[name], cases)
        return try_all_backward(self, name, functions, cases)


def new_case(layer, rng, inputs, label="", *, dtype=np.float64, layout=np.array,
             dout_scale=1.0, one_window=False, long=False, truth=None, scales=None, **flags):
    """A Case of a layer with its truth; `long` ones know their gradients along directions only.

    With one_window, dout is 0 but for one place of each channel: where windows that
    overlap have ties, that alone tells what each of them does.

    `scales` {argument: factor} makes some inputs large or small. The output must follow
    by the largest or smallest of the factors, because the truth is that of the unscaled
    inputs, multiplied.
    """
    dtype = np.dtype(dtype)
    inputs = {name: value.astype(dtype).astype(float)
              if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value
              for name, value in zip(layer.inputs, inputs)}
    out = layer.reference(**inputs)
    dout = None if layer.is_loss else \
        (dout_scale * rng.standard_normal(out.shape)).astype(dtype).astype(float)
    if one_window:
        places = np.prod(out.shape[2:])
        chosen = rng.integers(0, places, out.shape[:2])[:, :, None] == np.arange(places)
        dout = np.where(chosen.reshape(out.shape), dout, 0.0)
    exact = truth.get("out", Exact) if truth else Exact
    expected = {"loss" if layer.is_loss else "out": exact(out)}
    for name in layer.varied:
        def objective(shift, name=name):
            value = layer.reference(**{**inputs, name: inputs[name] + shift})
            return value if layer.is_loss else np.sum(dout * value)

        shape = inputs[name].shape
        if truth and "d" + name in truth:
            expected["d" + name] = truth["d" + name](inputs, dout)
        elif long:
            directions = [rng.standard_normal(shape) for _ in range(2)]
            directions = [d / np.abs(d).max() for d in directions]
            expected["d" + name] = Slopes(
                directions, [slope_along(objective, d, layer.step) for d in directions])
        else:
            expected["d" + name] = Exact(numerical_gradient(objective, shape, layer.step))
    if scales:
        factor = next(iter(scales.values()))
        inputs = {name: value * scales.get(name, 1.0) for name, value in inputs.items()}
        for name in expected:
            expected[name] = expected[name].times(factor / scales.get(name[1:], 1.0))
        flags["unit"] = factor
    return Case(label, inputs, dout, expected, dtype, layout, **flags)


# The same medium-sized inputs in other guises.
GUISES = (
    ("in Fortran order", {"layout": transposed}),
    ("with gaps and negative strides", {"layout": strided}),
    ("read-only arrays", {"layout": read_only}),
    ("float32", {"dtype": np.float32}),
    ("dout is large, of the order of 1e30", {"dout_scale": 1e30}),
    ("dout is small, of the order of 1e-30", {"dout_scale": 1e-30}),
    ("dout = 0", {"dout_scale": 0.0}),
)


def pairs_of_sizes(axes):
    """25 rows of sizes from 1 to 5 in which any two of six axes take every pair of sizes, once.

    An orthogonal array: modulo 5, lines a + k·b of different slopes k meet once. A seventh
    axis is no line: it meets some pairs twice and some not at all.
    """
    for a, b in np.ndindex(5, 5):
        lines = [a + k * b for k in range(5)] + [b, a + b + a * b]
        yield [1 + line % 5 for line in lines[:axes]]


def swept(layer, rng, draw, axes):
    """Small cases of all pairs of sizes; their gradients are known along directions."""
    return [new_case(layer, rng, draw(rng, *sizes), long=True) for sizes in pairs_of_sizes(axes)]


def broad(layer, rng, draw, *shapes):
    """Cases with several large axes at once: whoever works in blocks needs more than one.

    Few outputs for many products, so that loops written in Python come through in time.
    """
    return [new_case(layer, rng, draw(rng, *sizes), "several axes are large", long=True)
            for sizes in shapes]


def cases_from_shapes(layer, rng, draw, small, long, guises=(0,)):
    """Cases of the shapes in `small` and `long` ({label: sizes}), and guises of some small ones."""
    cases = []
    shapes = list(small.items())
    for label, sizes in shapes:
        cases.append(new_case(layer, rng, draw(rng, *sizes), label))
    for which in guises:
        label, sizes = shapes[which]
        inputs = draw(rng, *sizes)
        for guise, options in GUISES:
            if layer.is_loss and "dout_scale" in options:
                continue
            cases.append(new_case(layer, rng, inputs, ", ".join(filter(None, (label, guise))),
                                  **options))
    for label, sizes in long.items():
        inputs = draw(rng, *sizes)
        cases.append(new_case(layer, rng, inputs, label, long=True))
        cases.append(new_case(layer, rng, inputs, label + ", float32", long=True,
                              dtype=np.float32))
    return cases


def cases_with_zeros(layer, rng, inputs):
    """What a layer gets in a new network: x from a ReLU, biases that are 0."""
    inputs = dict(zip(layer.inputs, inputs))
    changes = {"x as after ReLU": {"x": np.maximum(inputs["x"], 0.0)}}
    if "b" in inputs:
        changes["b = 0"] = {"b": 0 * inputs["b"]}
    return [new_case(layer, rng, {**inputs, **changed}.values(), label)
            for label, changed in changes.items()]


def scaled_cases(layer, rng, inputs, *groups):
    """Large and small numbers for a layer that is linear in each of these groups of arguments."""
    return [new_case(layer, rng, inputs, f"{word} numbers in {' and '.join(group)}",
                     scales=dict.fromkeys(group, factor))
            for group in groups for word, factor in (("large", 2.0 ** 100), ("small", 2.0 ** -100))]


DIFFERENT = "numbers of very different sizes"


def of_all_sizes(rng, shape):
    """Numbers of both signs from 1e-300 to 1e300, in random order."""
    size = int(np.prod(shape))
    powers = 10 ** np.linspace(-300, 300, (size + 1) // 2)
    return rng.permutation(np.concatenate([powers, -powers])[:size]).reshape(shape)


def away_from_kinks(rng, shape):
    """Distinct numbers of both signs, none within 3 of another nor within 1.5 of 0, in random order.

    Central differences with step 1 along directions no larger than 1 cross no kink:
    two numbers come closer by at most 2, and are at least 3.2 apart.
    """
    size = int(np.prod(shape))
    values = 4.0 * (np.arange(size) - size // 2) + 2 + rng.uniform(-0.4, 0.4, size)
    return rng.permutation(values).reshape(shape)


def fc_cases(layer, rng):
    """x of two to four axes, and axes of length 1."""
    def draw(rng, x_shape, M):
        D = int(np.prod(x_shape[1:]))
        return tuple(rng.standard_normal(s) for s in (x_shape, (D, M), (M,)))

    small = {"": ((4, 5), 3), "x with 4 axes": ((2, 3, 4, 2), 5), "N = 1": ((1, 3), 2),
             "D = 1": ((3, 1), 2), "M = 1": ((2, 3), 1), "N = D = M = 1": ((1, 1), 1),
             "x with 3 axes": ((3, 2, 2), 4), "square: N = D = M": ((3, 3), 3),
             "x with 5 axes": ((2, 1, 2, 1, 3), 2), "tiny": ((2, 1), 1), "N = M": ((2, 4), 2),
             "N = D": ((2, 2), 3)}
    long = {"N is large": ((1030, 2), 3), "D is large": ((2, 1030), 3), "M is large": ((3, 2), 1030)}
    cases = cases_from_shapes(layer, rng, draw, small, long, guises=(0, 1))
    cases += swept(layer, rng, lambda rng, N, D, M: draw(rng, (N, D), M), 3)
    cases += swept(layer, rng, lambda rng, N, A, B, M: draw(rng, (N, A, B), M), 4)
    cases += broad(layer, rng, draw, ((67, 70), 69))
    x, w, b = draw(rng, (3, 4), 2)
    cases += cases_with_zeros(layer, rng, (x, w, b))
    cases.append(new_case(layer, rng, (x, np.eye(4), rng.standard_normal(4)), "w = I"))
    return cases + scaled_cases(layer, rng, (x, w, b), ("x", "b"), ("w", "b")) + [
                    new_case(layer, rng, draw(rng, (3, 4), 5), "another w for x of this shape"),
                    new_case(layer, rng, draw(rng, (3, 2, 2), 2), "x of another shape for this w"),
                    new_case(layer, rng, (x, 0 * w, b), "w = 0")]


def relu_cases(layer, rng):
    """Any number of axes; numbers of both signs, and 0, where any slope from 0 to 1 is right."""
    def draw(rng, *shape):
        return (away_from_kinks(rng, shape),)

    small = {"": (4, 5), "one axis": (6,), "4 axes": (2, 3, 4, 2), "one number": (1,),
             "two numbers": (2,), "N = 1": (1, 3), "3 axes": (2, 1, 3), "5 axes": (2, 1, 2, 1, 3)}
    long = {"N is large": (1030, 2), "D is large": (2, 1030)}
    cases = cases_from_shapes(layer, rng, draw, small, long, guises=(0, 2))
    cases += swept(layer, rng, draw, 2) + broad(layer, rng, draw, (130, 140))
    cases.append(new_case(layer, rng, (of_all_sizes(rng, (4, 5)),), DIFFERENT, truth={
        "out": Digits, "dx": lambda i, dout: Digits(relu_gradients(i["x"], dout)["dx"])}))
    cases.append(new_case(layer, rng, (-np.abs(rng.standard_normal((2, 3))) - 0.1,),
                          "all numbers negative", truth={"dx": lambda i, dout: Exact(0 * dout)}))
    for label, x in (("numbers between 0 and 1", rng.uniform(0.1, 0.9, (2, 3))),
                     ("numbers above 6", 10 ** rng.uniform(1, 6, (2, 3))),
                     ("numbers near 0", 1e-8 * away_from_kinks(rng, (2, 3)))):
        cases.append(new_case(layer, rng, (x,), label, truth={
            "dx": lambda i, dout: Exact(relu_gradients(i["x"], dout)["dx"])}))

    def any_slope_at_0(inputs, dout):
        x = inputs["x"]
        full, at_0 = np.where(x > 0, dout, 0.0), np.where(x == 0, dout, 0.0)
        return Between(full + np.minimum(at_0, 0), full + np.maximum(at_0, 0))

    x = rng.integers(-1, 2, (5, 4)).astype(float)
    x[0, :2] = 0
    return cases + [new_case(layer, rng, (x,), "x holds zeros", truth={"dx": any_slope_at_0})]


# Wide, tall and square images; wide, tall and square windows.
ORIENTATIONS = ((5, 7), (7, 5), (6, 6)), ((2, 3), (3, 2), (2, 2))


def conv_cases(layer, rng):
    """Sizes (N, C, H, W, F, HH, WW) in which each axis is once 1, once many, once equal to another."""
    def draw(rng, N, C, H, W, F, HH, WW):
        return rng.standard_normal((N, C, H, W)), rng.standard_normal((F, C, HH, WW))

    small = {"": (2, 3, 5, 6, 4, 2, 3), "even filters": (1, 2, 5, 4, 3, 4, 2),
             "1x1 filters": (2, 3, 4, 3, 2, 1, 1), "filter as large as the image": (2, 2, 3, 4, 3, 3, 4),
             "N = 1, C = 1": (1, 1, 4, 5, 2, 2, 3), "F = 1": (3, 2, 4, 3, 1, 3, 2),
             "everything 1": (1, 1, 1, 1, 1, 1, 1), "two pixels": (1, 1, 1, 2, 1, 1, 1),
             "one row": (1, 1, 1, 3, 1, 1, 2), "one column": (1, 1, 3, 1, 1, 2, 1),
             "tiny": (1, 1, 2, 2, 1, 1, 2), "two channels": (1, 2, 1, 1, 1, 1, 1),
             "two filters": (1, 1, 1, 1, 2, 1, 1), "two images": (2, 1, 1, 1, 1, 1, 1),
             "square, N = C = F": (2, 2, 4, 4, 2, 3, 3), "C > F": (2, 4, 3, 4, 2, 2, 2),
             "F > C": (1, 2, 3, 4, 5, 2, 2), "H > W": (2, 2, 6, 3, 2, 3, 2),
             "H = W, HH != WW": (1, 2, 4, 4, 2, 1, 3), "H != W, HH = WW": (2, 1, 3, 5, 2, 2, 2),
             "tall filters": (1, 1, 5, 3, 2, 4, 1), "odd square filters": (1, 2, 5, 6, 2, 3, 3),
             "5x5 filters": (1, 1, 6, 7, 1, 5, 5), "7x7 filters": (1, 1, 8, 9, 2, 7, 7)}
    long = {"N is large": (1030, 2, 3, 2, 3, 2, 1), "C is large": (2, 300, 2, 3, 2, 1, 2),
            "F is large": (2, 1, 3, 2, 300, 2, 2), "H is large": (2, 1, 150, 3, 2, 3, 2),
            "W is large": (1, 2, 3, 150, 2, 2, 3), "large filters": (1, 1, 40, 35, 2, 33, 34),
            "7x7 filters, three channels": (2, 3, 11, 12, 4, 7, 7),
            "11x11 filters": (2, 2, 16, 15, 2, 11, 11),
            "images of 28x28": (2, 1, 28, 28, 2, 7, 7)}
    cases = cases_from_shapes(layer, rng, draw, small, long, guises=(4, 2, 15))
    cases += swept(layer, rng, lambda rng, N, C, F, HH, WW, OH, OW:
                   draw(rng, N, C, HH + OH - 1, WW + OW - 1, F, HH, WW), 7)
    # The windows of all images together take 3.5 MB; in the second, those of one image do.
    cases += broad(layer, rng, draw, (9, 12, 14, 16, 2, 7, 8), (1, 4, 42, 44, 1, 9, 10),
                   (66, 1, 1, 2, 65, 1, 1), (66, 65, 1, 2, 1, 1, 2), (1, 66, 2, 2, 65, 2, 1),
                   (2050, 1, 1, 2, 2, 1, 1))
    for label, sizes in {"three channels, 3x3 filters": (2, 3, 6, 5, 4, 3, 3),
                         "three channels, 5x5 filters": (2, 3, 8, 9, 4, 5, 5),
                         "other filters for images of this shape": (2, 3, 5, 6, 4, 3, 2),
                         "fewer filters for images of this shape": (2, 3, 5, 6, 2, 2, 3),
                         "other images for filters of this shape": (2, 3, 6, 4, 4, 2, 3)}.items():
        cases.append(new_case(layer, rng, draw(rng, *sizes), label, long=True))
    for size, C, F in itertools.product((1, 2, 3, 5), (1, 2, 3), (1, 2, 3)):
        sizes = 3, C, size + 1, size + 2, F, size, size
        cases.append(new_case(layer, rng, draw(rng, *sizes), "square filters", long=True))
    for image, window, F in itertools.product(*ORIENTATIONS, (1, 2, 3)):
        cases.append(new_case(layer, rng, draw(rng, 2, 2, *image, F, *window), long=True))
    x, w = draw(rng, 2, 2, 3, 4, 2, 2, 2)
    cases += cases_with_zeros(layer, rng, (x, w))
    return cases + scaled_cases(layer, rng, (x, w), ("x",), ("w",)) + [
                    new_case(layer, rng, (np.abs(x), np.abs(w)), "positive numbers"),
                    new_case(layer, rng, (-np.abs(x), np.abs(w)), "negative results")]


def max_pool_cases(layer, rng):
    """Sizes (N, C, H, W, pool_height, pool_width, stride); windows that tile or do not; ties."""
    def draw(rng, N, C, H, W, *pool):
        return away_from_kinks(rng, (N, C, H, W)), \
            dict(zip(("pool_height", "pool_width", "stride"), pool))

    tiling = {"": (2, 3, 4, 6, 2, 2, 2), "3x3 windows": (2, 1, 3, 6, 3, 3, 3),
              "1x1 windows": (1, 2, 2, 3, 1, 1, 1), "one window": (1, 1, 2, 2, 2, 2, 2),
              "two windows": (1, 1, 2, 4, 2, 2, 2), "two windows, one above the other":
              (1, 1, 4, 2, 2, 2, 2), "one number": (1, 1, 1, 1, 1, 1, 1),
              "two channels": (1, 2, 1, 1, 1, 1, 1), "two images": (2, 1, 2, 2, 2, 2, 2),
              "4x4 windows": (1, 2, 4, 8, 4, 4, 4), "5x5 windows": (1, 1, 5, 10, 5, 5, 5),
              "N > C": (5, 2, 4, 2, 2, 2, 2)}
    untiled = {"the last column is left over": (1, 1, 2, 3, 2, 2, 2),
               "the last row is left over": (1, 1, 3, 2, 2, 2, 2),
               "rows and columns are left over": (2, 3, 5, 7, 2, 2, 2),
               "overlapping windows": (1, 1, 2, 3, 2, 2, 1),
               "overlapping windows, one above the other": (1, 1, 3, 2, 2, 2, 1),
               "overlapping windows of 3x3": (1, 2, 5, 4, 3, 3, 1),
               "overlapping windows of 3x2": (2, 3, 5, 4, 3, 2, 1),
               "overlapping windows with stride 2": (2, 2, 5, 7, 3, 3, 2),
               "windows with gaps": (2, 2, 5, 8, 2, 1, 3), "1x1 windows with gaps": (1, 2, 4, 5, 1, 1, 2),
               "1x1 windows with gaps, few": (1, 1, 1, 3, 1, 1, 2),
               "windows of 1x3": (1, 2, 4, 6, 1, 3, 3), "windows of 3x1": (2, 1, 6, 3, 3, 1, 3),
               "windows of 2x3": (1, 2, 5, 7, 2, 3, 2), "windows of 3x2": (1, 1, 7, 5, 3, 2, 3),
               "the window is the image": (2, 2, 3, 4, 3, 4, 1),
               "the window is the image, stride 2": (2, 2, 4, 3, 4, 3, 2),
               "stride above the image": (1, 2, 3, 3, 2, 2, 5)}
    long = {"N is large": (1030, 1, 2, 4, 2, 2, 2), "C is large": (2, 300, 2, 2, 2, 2, 2),
            "H is large": (1, 2, 150, 2, 2, 2, 2), "W is large": (2, 1, 2, 150, 2, 2, 2),
            "the window is large": (3, 4, 40, 40, 20, 20, 20)}
    cases = cases_from_shapes(layer, rng, draw, tiling, long, guises=(0,))
    cases += swept(layer, rng, lambda rng, N, C, rows, columns, size:
                   draw(rng, N, C, rows * size, columns * size, size, size, size), 5)
    cases += broad(layer, rng, draw, (2, 3, 68, 70, 2, 2, 2), (67, 66, 2, 2, 2, 2, 2))
    refusable = swept(layer, rng, lambda rng, N, C, height, width, stride, right, down:
                      draw(rng, N, C, height + down - 1, width + right - 1, height, width,
                           stride), 7)
    for image, window, stride in itertools.product(*ORIENTATIONS, (1, 2, 3)):
        refusable.append(new_case(layer, rng, draw(rng, 2, 2, *image, *window, stride), long=True))
    for sizes in ((2, 2, 1), (3, 2, 2), (2, 3, 2), (1, 2, 2), (2, 2, 3), (4, 6, 2)):
        refusable.append(new_case(layer, rng, draw(rng, 2, 3, 4, 6, *sizes), "images of this shape "
                                  f"with windows of {sizes[0]}x{sizes[1]} and stride {sizes[2]}"))
    refusable += cases_from_shapes(layer, rng, draw, untiled,
                                  {"many overlaps": (2, 2, 12, 13, 5, 4, 1)}, guises=(5, 7))

    x, pool = draw(rng, *tiling[""])
    cases.append(new_case(layer, rng, (x - x.max() - 2, pool), "all numbers negative"))
    cases.append(new_case(layer, rng, (x - 1e6, pool), "all numbers below -1e6"))
    winners = {"dx": lambda i, dout: Exact(max_pool_gradients(**i, dout=dout)["dx"])}
    cases.append(new_case(layer, rng, (1e300 * (x - x.max() - 2), pool), "all numbers below -1e300",
                          truth=winners))
    cases.append(new_case(layer, rng, (1e-200 * x, pool), "numbers of the order of 1e-200",
                          truth={**winners, "out": Digits}))
    cases.append(new_case(layer, rng, (of_all_sizes(rng, x.shape), pool), DIFFERENT,
                          truth={**winners, "out": Digits}))
    cases.append(new_case(layer, rng, (1e6 + 1e-8 * x, pool), "numbers that differ little",
                          truth={**winners, "out": Digits}))
    cases.append(new_case(layer, rng, (x - x.min() + 2, pool), "all numbers positive"))
    overlap = dict(zip(pool, (3, 2, 1)))
    refusable.append(new_case(layer, rng, (x - x.max() - 2, overlap), "overlapping, all negative"))

    def any_winner(inputs, dout):
        return TiedWindows(inputs["x"], inputs["pool_param"], dout)

    for label, x in (("ties", rng.integers(0, 3, (2, 3, 4, 6)).astype(float)),
                     ("one window of equal numbers", np.ones((1, 1, 2, 2))),
                     ("windows of zeros, as after ReLU", np.zeros((1, 2, 2, 4)))):
        cases.append(new_case(layer, rng, (x, pool), label, truth={"dx": any_winner}))
    ties = rng.integers(0, 3, (2, 2, 5, 8)).astype(float)
    refusable.append(new_case(layer, rng, (ties, dict(zip(pool, (2, 1, 3)))),
                              "ties, windows with gaps", truth={"dx": any_winner}))
    for sizes in ((3, 3, 1), (3, 2, 2), (3, 2, 3)):
        label = f"ties, windows of {sizes[0]}x{sizes[1]} with stride {sizes[2]}"
        refusable.append(new_case(layer, rng, (ties, dict(zip(pool, sizes))), label,
                                  truth={"dx": any_winner}))
        for _ in range(3):
            refusable.append(new_case(layer, rng, (ties, dict(zip(pool, sizes))), label +
                                      ", dout of one window alone", truth={"dx": any_winner},
                                      one_window=True))
    for case in refusable:
        case.may_be_refused = True
    return cases + refusable


def with_the_last(labels, count):
    """Labels of which the first one is the last class."""
    labels.reshape(-1)[0] = count - 1
    return labels


def softmax_cases(layer, rng):
    """Labels that repeat or are the last; scores that overflow a careless exp."""
    def draw(rng, N, C, scale=1.0):
        return scale * rng.standard_normal((N, C)), with_the_last(rng.integers(0, C, N), C)

    small = {"": (4, 5), "N = 1": (1, 3), "C = 1": (3, 1), "C = 2": (3, 2), "one of two": (1, 2),
             "N = C": (3, 3), "N > C": (5, 2), "scores around 10": (3, 4, 10.0),
             "scores around 100": (3, 4, 100.0)}
    long = {"N is large": (1030, 3), "C is large": (3, 1030)}
    cases = cases_from_shapes(layer, rng, draw, small, long)
    x, y = draw(rng, 4, 3)

    def add(label, x, y, **options):
        cases.append(new_case(layer, rng, (x, y), label, **options))

    cases += swept(layer, rng, draw, 2) + broad(layer, rng, draw, (300, 200))
    add("all labels equal", x, np.full(4, 1))
    add("each label is the last class", x, np.full(4, 2))
    add("labels are int32", x, y.astype(np.int32))
    for kind in (np.uint8, np.int8, np.int16, np.uint16, np.uint32):
        add(f"labels are {kind.__name__}", x, y.astype(kind))
    for kind, N, C in ((np.uint8, 300, 100), (np.int8, 300, 100), (np.int16, 300, 200)):
        many, labels = draw(rng, N, C)
        add(f"many labels are {kind.__name__}", many, labels.astype(kind), long=True)
    add("scores around 1000", x + 1000, y)
    add("scores around -1000", x - 1000, y)
    for offset in (100, 300, -100, -300):
        add(f"scores around {offset}, float32", x + offset, y, dtype=np.float32)
    exact = {"dx": lambda i, dout: Exact(softmax_loss_gradients(**i)["dx"])}
    add("scores around 1e5", x + 1e5, y, truth=exact)
    add("a different offset for each row", x + np.array([[-1e3], [-30.0], [800], [1e3]]), y)
    add("all scores 0", np.zeros((2, 3)), np.array([2, 0]))
    add("the right scores lead by 30", np.where(one_hot(y, 3) == 1, 30.0, 0.0) + x, y)
    add("the right scores trail by 40", np.where(one_hot(y, 3) == 1, -40.0, 0.0) + x, y)
    add("the right scores trail by 300", np.where(one_hot(y, 3) == 1, -300.0, 0.0) + x, y)
    add("the right scores trail by 695", np.where(one_hot(y, 3) == 1, -695.0, 0.0) + x, y)
    extreme = np.array([[1e3, -1e3, 0], [-1e3, 1e3, 5], [1e3, 1e3, -1e3], [-1e3, 0, 3]])
    right = np.array([0, 1, 0, 2])
    add("scores of ±1000", extreme, right, truth=exact, loss_may_overflow=True)
    add("scores of ±1000, wrong ones lead", extreme, np.array([1, 0, 2, 0]), truth=exact,
        loss_may_overflow=True)
    return cases


def rnn_draw(rng, T, N, D, H, scale=1.0):
    """Inputs of the recurrent layer; weights small enough for gradients to live long."""
    return (rng.standard_normal((T, N, D)), rng.uniform(-1, 1, (N, H)),
            scale * rng.standard_normal((D, H)) / math.sqrt(D),
            scale * rng.standard_normal((H, H)) / math.sqrt(H), 0.5 * rng.standard_normal(H))


def rnn_step_cases(layer, rng):
    """One step: T = 1 of the recurrent layer."""
    def draw(rng, N, D, H, scale=1.0):
        x, *rest = rnn_draw(rng, 1, N, D, H, scale)
        return (x[0], *rest)

    small = {"": (3, 4, 5), "N = 1": (1, 2, 3), "D = 1": (2, 1, 3), "H = 1": (3, 2, 1),
             "everything 1": (1, 1, 1), "D > H": (2, 5, 2), "D = H": (2, 3, 3), "N = H": (2, 3, 2),
             "N = D": (2, 2, 3), "N = D = H": (3, 3, 3), "large weights": (2, 3, 2, 4.0)}
    long = {"N is large": (1030, 2, 3), "D is large": (2, 300, 3), "H is large": (2, 3, 80)}
    cases = cases_from_shapes(layer, rng, draw, small, long) + swept(layer, rng, draw, 3)
    cases += broad(layer, rng, draw, (67, 66, 69))
    x, prev_h, Wx, Wh, b = draw(rng, 2, 3, 4)
    cases += cases_with_zeros(layer, rng, (x, prev_h, Wx, Wh, b))
    far = np.where(rng.random(b.shape) < 0.5, -1e3, 1e3)
    return cases + [new_case(layer, rng, (x, 0 * prev_h, Wx, Wh, b), "prev_h = 0"),
                    new_case(layer, rng, (x, prev_h, Wx, Wh, far), "sums around ±1000"),
                    new_case(layer, rng, (x, prev_h, Wx, Wh, far), "sums around ±1000, float32",
                             dtype=np.float32),
                    new_case(layer, rng, (x, 3 * prev_h, Wx, Wh, b), "prev_h above 1")]


def rnn_cases(layer, rng):
    """Sizes (T, N, D, H), time-major."""
    small = {"": (3, 2, 4, 5), "T = 1": (1, 2, 3, 2), "N = 1": (3, 1, 2, 3), "D = 1": (2, 3, 1, 2),
             "H = 1": (3, 2, 2, 1), "everything 1": (1, 1, 1, 1), "two steps": (2, 1, 1, 1),
             "two sentences": (1, 2, 1, 1), "T = N": (2, 2, 3, 2), "D = H": (3, 2, 3, 3),
             "all equal": (2, 2, 2, 2), "D > H": (2, 1, 4, 2), "N > T": (2, 4, 1, 2),
             "large weights": (3, 2, 2, 3, 3.0),
             "very large weights": (2, 2, 2, 2, 6.0), "T = 6": (6, 2, 2, 3)}
    long = {"T is large": (520, 2, 1, 2), "N is large": (2, 1030, 3, 2),
            "D is large": (2, 3, 100, 2), "H is large": (3, 2, 2, 70)}
    cases = cases_from_shapes(layer, rng, rnn_draw, small, long) + swept(layer, rng, rnn_draw, 4)
    # One large weight for 70 steps would be too curved for central differences.
    cases += broad(layer, rng, rnn_draw, (3, 67, 66, 69), (70, 66, 2, 1, 0.5))
    x, h0, Wx, Wh, b = rnn_draw(rng, 3, 2, 3, 2)
    cases += cases_with_zeros(layer, rng, (x, h0, Wx, Wh, b))
    far = np.where(rng.random(b.shape) < 0.5, -1e3, 1e3)
    return cases + [new_case(layer, rng, (x, 0 * h0, Wx, Wh, b), "h0 = 0"),
                    new_case(layer, rng, (x, h0, Wx, Wh, far), "sums around ±1000"),
                    new_case(layer, rng, (x, h0, Wx, Wh, far), "sums around ±1000, float32",
                             dtype=np.float32),
                    new_case(layer, rng, (x, 3 * h0, Wx, Wh, b), "h0 above 1")]


def word_embedding_cases(layer, rng):
    """Sizes (N, T, V, D); words that repeat, words that are missing, many words."""
    def draw(rng, N, T, V, D):
        return with_the_last(rng.integers(0, V, (N, T)), V), rng.standard_normal((V, D))

    small = {"": (3, 4, 5, 2), "one word": (1, 1, 1, 1), "two places": (1, 2, 2, 1),
             "words repeat": (2, 3, 2, 3), "words are missing": (1, 2, 6, 3), "N = 1": (1, 4, 3, 2),
             "T = 1": (4, 1, 3, 2), "D = 1": (2, 3, 4, 1), "T = D": (2, 3, 4, 3),
             "V = D": (3, 2, 4, 4)}
    long = {"more than 256 words": (4, 150, 400, 3), "more than 65536 words": (2, 20, 70000, 1),
            "N is large": (1030, 2, 5, 3), "T is large": (2, 1030, 5, 3), "D is large": (2, 3, 4, 300)}
    cases = cases_from_shapes(layer, rng, draw, small, long) + swept(layer, rng, draw, 4)
    cases += broad(layer, rng, draw, (67, 70, 300, 66))

    def add(label, x, V, D, **options):
        cases.append(new_case(layer, rng, (x, rng.standard_normal((V, D))), label, **options))

    for kind in (np.int8, np.uint8, np.int16, np.uint16, np.uint32):
        words = rng.integers(0, 100, (60, 5)).astype(kind)
        add(f"words are {kind.__name__}", words, 100, 50, long=True)
    cases.append(new_case(layer, rng, (np.array([[3, 1, 0, 2]]), of_all_sizes(rng, (4, 5))),
                          DIFFERENT, truth={
        "out": Digits,
        "dW": lambda i, dout: Exact(word_embedding_gradients(**i, dout=dout)["dW"])}))

    add("the same word everywhere", np.full((2, 3), 1), 3, 2)
    add("the same word twice", np.array([[1, 1]]), 2, 1)
    add("the last word", np.array([[3, 0], [3, 3]]), 4, 2)
    add("words are int32", rng.integers(0, 4, (2, 3)).astype(np.int32), 4, 2)
    add("words above 65536", np.array([[65536, 69999, 65537], [69999, 0, 1]]), 70000, 1, long=True)
    add("words above 256", np.array([[299, 256, 257], [299, 0, 1]]), 300, 2, long=True)
    for case in cases:
        case.is_vast = len(case.inputs["W"]) > 65536
    return cases


def temporal_fc_cases(layer, rng):
    """Sizes (N, T, D, M)."""
    def draw(rng, N, T, D, M):
        return tuple(rng.standard_normal(s) for s in ((N, T, D), (D, M), (M,)))

    small = {"": (2, 3, 4, 5), "N = 1": (1, 2, 3, 2), "T = 1": (3, 1, 2, 4), "D = 1": (2, 3, 1, 2),
             "M = 1": (2, 3, 2, 1), "everything 1": (1, 1, 1, 1), "two steps": (1, 2, 1, 1),
             "two sentences": (2, 1, 1, 1), "N = T = D = M": (2, 2, 2, 2), "N > T": (4, 2, 3, 2),
             "T = D": (2, 3, 3, 2)}
    long = {"N is large": (1030, 2, 3, 2), "T is large": (2, 1030, 2, 3), "D is large": (2, 3, 300, 2),
            "M is large": (2, 3, 2, 300)}
    x, w, b = draw(rng, 2, 3, 4, 5)
    return cases_from_shapes(layer, rng, draw, small, long) + swept(layer, rng, draw, 4) + [
        *broad(layer, rng, draw, (9, 20, 66, 67)), *cases_with_zeros(layer, rng, (x, w, b)),
        *scaled_cases(layer, rng, (x, w, b), ("x", "b"), ("w", "b"))]


def temporal_softmax_cases(layer, rng):
    """Sizes (N, T, V); masks with empty rows, empty masks, masks that are boolean or numbers."""
    def draw(rng, N, T, V, scale=1.0):
        return (scale * rng.standard_normal((N, T, V)),
                with_the_last(rng.integers(0, V, (N, T)), V), rng.random((N, T)) < 0.7)

    def everything(rng, *sizes):
        x, y, mask = draw(rng, *sizes)
        return x, y, np.ones_like(mask)

    small = {"": (3, 4, 5), "N = 1": (1, 3, 2), "T = 1": (4, 1, 3), "two words": (2, 3, 2),
             "N = T = V": (3, 3, 3), "scores around 100": (2, 3, 4, 100.0)}
    full = {"nothing masked": (2, 3, 4), "one place, nothing masked": (1, 1, 2),
            "two steps, nothing masked": (1, 2, 2), "two sentences, nothing masked": (2, 1, 2)}
    long = {"N is large": (1030, 2, 3), "T is large": (2, 1030, 3), "more than 256 words": (2, 3, 400)}
    cases = cases_from_shapes(layer, rng, draw, small, long)
    cases += cases_from_shapes(layer, rng, everything, full,
                               {"T is large, nothing masked": (2, 300, 3)}, guises=())
    x, y, _ = draw(rng, 3, 4, 3)
    mask = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], bool)

    def add(label, x, y, mask, **options):
        cases.append(new_case(layer, rng, (x, y, mask), label, **options))

    cases += swept(layer, rng, draw, 3) + swept(layer, rng, everything, 3)
    cases += broad(layer, rng, draw, (90, 9, 70)) + broad(layer, rng, everything, (90, 9, 70))
    for kind in (np.uint8, np.int8, np.int16, np.uint16, np.uint32):
        many, words, counted = draw(rng, 60, 5, 100)
        add(f"words are {kind.__name__}", many, words.astype(kind), counted, long=True)
    for offset in (100, 300, -100, -300):
        add(f"scores around {offset}, float32", x + offset, y, mask, dtype=np.float32)
    for bits in range(16):              # every mask of four places
        x_4, y_4, _ = draw(rng, 1, 4, 3)
        add("", x_4, y_4, (bits >> np.arange(4) & 1 == 1)[None], long=True)
    add("one row masked as a whole", x, y, mask)
    add("one of two places masked", x[:1, :2], y[:1, :2], np.array([[True, False]]))
    add("everything masked", x, y, np.zeros_like(mask))
    add("mask of floats", x, y, mask.astype(float))
    add("mask of integers", x, y, mask.astype(int))
    add("labels are int32", x, y.astype(np.int32), mask)
    add("all labels equal", x, np.full_like(y, 2), mask)
    add("scores around 1000", x + 1000, y, mask)
    add("scores around -1000", x - 1000, y, mask)
    add("a different offset in each place", x + rng.uniform(-1e3, 1e3, (3, 4, 1)), y, mask)
    add("the right scores trail by 300", x - 300 * one_hot(y, 3), y, mask)
    add("the right scores trail by 695", x - 695 * one_hot(y, 3), y, mask)
    exact = {"dx": lambda i, dout: Exact(temporal_softmax_loss_gradients(**i)["dx"])}
    add("scores of ±1000", rng.choice([-1e3, 0, 1e3], x.shape), y, mask, truth=exact,
        loss_may_overflow=True)
    return cases


LAYERS = {layer.name: layer for layer in (
    Layer("fc", "layers", "Fully connected layer", fc_reference, fc_gradients,
          ("x", "w", "b"), ("x", "w", "b"), fc_cases, 1),
    Layer("relu", "layers", "ReLU", relu_reference, relu_gradients, ("x",), ("x",), relu_cases, 1),
    Layer("conv", "layers", "Convolution", conv_reference, conv_gradients,
          ("x", "w"), ("x", "w"), conv_cases, 1),
    Layer("max_pool", "layers", "Max pooling", max_pool_reference, max_pool_gradients,
          ("x", "pool_param"), ("x",), max_pool_cases, 1),
    Layer("softmax_loss", "layers", "Softmax and cross-entropy", softmax_loss_reference,
          softmax_loss_gradients, ("x", "y"), ("x",), softmax_cases, 2e-4),
    Layer("rnn_step", "rnn_layers", "Recurrent network", rnn_step_reference, rnn_step_gradients,
          ("x", "prev_h", "Wx", "Wh", "b"), ("x", "prev_h", "Wx", "Wh", "b"), rnn_step_cases,
          1e-4, "dnext_h"),
    Layer("rnn", "rnn_layers", "Back-propagation through time", rnn_reference, rnn_gradients,
          ("x", "h0", "Wx", "Wh", "b"), ("x", "h0", "Wx", "Wh", "b"), rnn_cases, 1e-4, "dh"),
    Layer("word_embedding", "rnn_layers", "Word embedding", word_embedding_reference,
          word_embedding_gradients, ("x", "W"), ("W",), word_embedding_cases, 1),
    Layer("temporal_fc", "rnn_layers", "Temporal layers", temporal_fc_reference,
          temporal_fc_gradients, ("x", "w", "b"), ("x", "w", "b"), temporal_fc_cases, 1),
    Layer("temporal_softmax_loss", "rnn_layers", "Temporal layers",
          temporal_softmax_loss_reference, temporal_softmax_loss_gradients, ("x", "y", "mask"),
          ("x",), temporal_softmax_cases, 2e-4),
)}


# ---------------------------------------------------------------- verdicts

@dataclasses.dataclass
class Failure:
    """One thing that went wrong in one case."""
    message: str
    case: Case = None
    output: str = None              # name of the output or gradient, if one is wrong
    difference: Difference = None
    actual: object = None           # the wrong array itself


@dataclasses.dataclass
class Verdict:
    """What is said about one function."""
    name: str
    status: str                     # pass, warn, fail or missing
    diagnosis: str = ""
    case: str = None                # a small failing case
    place: str = None               # the worst index there
    expected: float = None
    actual: float = None
    mistakes: tuple = ()            # names of the known mistakes that explain it
    derivation: str = None

    def details(self):
        """Lines below the line of the verdict."""
        if self.case:
            yield f"case: {self.case}"
        if self.place:
            yield f"{self.place}: expected {self.expected:.8g}, got {self.actual:.8g}"
        if self.derivation:
            yield f'see {DERIVATIONS}, "{self.derivation}"'


class Misbehaviour(Exception):
    """The function under test did something that ends the case; carries the message."""


def call(name, function, *arguments):
    """The function's result. Misbehaviour if it raises anything at all."""
    try:
        with np.errstate(all="ignore"):
            return function(*arguments)
    except (Exception, SystemExit) as error:
        raise Misbehaviour(f"{name} raised {describe_error(error)}") from error


def describe_error(error):
    """Type, message and the line of the graded file where it happened."""
    message = " ".join(text_of(error).split())
    if isinstance(error, NotImplementedError) and not message:
        return "NotImplementedError: it is not written yet"
    frames = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if frame.filename != __file__]
    where = ""
    if frames:
        own = [f for f in frames if "site-packages" not in f.filename] or frames
        where = f" ({pathlib.Path(own[-1].filename).name}, line {own[-1].lineno})"
    return f"{type(error).__name__}{': ' if message else ''}{message[:200]}{where}"


def text_of(error):
    """The message of an exception; nothing if its own __str__ raises."""
    try:
        return str(error)
    except BaseException:       # of whatever kind: the exception may be the graded file's own
        return ""


def checked_array(owner, name, value):
    """Raise Misbehaviour unless value is a real floating-point array; its shape is judged later."""
    if value is None:
        raise Misbehaviour(f"{owner} returns None for {name}: it is not written yet, "
                           "or a return is missing")
    if not isinstance(value, (np.ndarray, np.generic)):
        raise Misbehaviour(f"{owner} returns a {type(value).__name__} for {name}, "
                           "not a NumPy array")
    if np.asarray(value).dtype.kind != "f":
        raise Misbehaviour(f"{owner} returns {name} of dtype {value.dtype}, "
                           "not floating-point numbers")
    if isinstance(value, (np.matrix, np.ma.MaskedArray)):
        raise Misbehaviour(f"{owner} returns a {type(value).__name__} for {name}: "
                           "its operators are not those of an array")
    return np.asarray(value)


def unpacked(owner, result, names):
    """The tuple that a function returned, or Misbehaviour if it is not one of this length."""
    if result is None:
        raise Misbehaviour(f"{owner} returns None: it is not written yet, or a return is missing")
    if len(names) == 1:
        if isinstance(result, (tuple, list)):
            raise Misbehaviour(f"{owner} returns a {type(result).__name__}, not the array "
                               f"{names[0]} alone")
        return (result,)
    if not isinstance(result, (tuple, list)) or len(result) != len(names):
        kind = type(result).__name__
        got = f"a {kind} of {len(result)}" if isinstance(result, (tuple, list)) else f"a {kind}"
        raise Misbehaviour(f"{owner} returns {got}, not the tuple ({', '.join(names)})")
    return result


def checked_config(owner, config):
    """Raise Misbehaviour unless a rule can be called again with the config that it returned."""
    if not isinstance(config, dict):
        raise Misbehaviour(f"{owner} returns a {type(config).__name__} for config, not the dict "
                           "that the next call needs")
    if "learning_rate" not in config:
        raise Misbehaviour(f"{owner} returns a config without learning_rate, which the next call "
                           "needs")
    return config


def changed(before, after):
    """Whether an argument differs from its copy made before the call."""
    if isinstance(before, dict):
        return before != after
    return not np.array_equal(before, after, equal_nan=before.dtype.kind == "f")


class Trial:
    """The course of one function through its cases: failures and warnings."""

    def __init__(self, name, subject):
        self.name, self.subject = name, subject
        self.failures, self.warnings = [], []
        self.cases = []

    def fail(self, message, case=None, **details):
        """Note a failure."""
        self.failures.append(Failure(message, case, **details))

    def warn(self, message):
        """Note a carelessness, once."""
        if message not in self.warnings:
            self.warnings.append(message)

    def protect(self, case, owner, names, given, copies):
        """Fail if a call changed its arguments."""
        for name, value, copy in zip(names, given, copies):
            if changed(copy, value):
                self.fail(f"{owner} changes {name}, which belongs to the caller", case)

    def difference(self, case, truth, array, floor, floor_of_digits):
        """What is wrong with an array; a lack of digits is only worth a warning."""
        rounded = array.dtype.itemsize < case.dtype.itemsize
        tolerance = TOLERANCE[np.dtype(np.float32) if rounded else case.dtype]
        found = truth.difference(array.astype(float), tolerance, floor)
        # On large cases the central differences themselves have fewer digits.
        if not found and not rounded and case.dtype == np.float64 and case.size <= LARGE and \
                truth.difference(array.astype(float), DOUBLE_PRECISION, floor_of_digits):
            self.warn("only about 7 digits are right for float64 inputs: something on the way is "
                      "float32, or a small number is added")
        return found

    def judge(self, case, name, value):
        """Compare one output with the truth."""
        truth = case.truth[name]
        array = checked_array(self.name, name, value)
        if array.shape != truth.shape:
            self.fail(f"{name} has shape {array.shape}, not {truth.shape}", case, output=name,
                      actual=array)
            return
        found = self.difference(case, truth, array, case.floor, 100 * case.floor)
        if found:
            word = "is wrong" if math.isfinite(found.actual) else \
                "is not a number" if math.isnan(found.actual) else "is infinite"
            self.fail(f"{name} {word}", case, output=name, difference=found, actual=array)
        elif array.dtype != case.dtype:
            self.warn(f"{name} is {array.dtype} for {case.dtype} inputs: "
                      "give np.zeros and np.empty the dtype of the input")

    def judge_loss(self, case, value):
        """Compare the loss with the truth; a float is as good as a scalar array."""
        if isinstance(value, (float, int)) and not isinstance(value, bool):
            value = np.float64(value)
        array = checked_array(self.name, "loss", value)
        if array.dtype.itemsize < case.dtype.itemsize:
            self.warn(f"loss is {array.dtype} for {case.dtype} inputs")
        if array.shape == (1,):
            self.warn("loss is an array of one number, not a scalar")
            array = array[0]
        if array.shape != ():
            self.fail(f"loss has shape {array.shape}: it is one number", case, output="loss",
                      actual=array)
            return
        found = self.difference(case, case.truth["loss"], array, case.unit, case.unit)
        if found and case.loss_may_overflow and (not math.isfinite(array) or array > 100):
            self.warn("loss is wrong where a probability is too small for a float: "
                      "log p = x - max - log Σ exp(x - max) always works")
        elif found:
            self.fail("loss is wrong" if math.isfinite(array) else
                      f"loss is {float(array)}", case, output="loss",
                      difference=Difference((), found.expected, float(array)), actual=array)


def try_forward(trial, layer, forward, case, owner):
    """(out, cache) of a forward pass, its arguments protected."""
    arguments, copies = case.arguments(), case.arguments()
    result = call(owner, forward, *arguments)
    trial.protect(case, owner, layer.inputs, arguments, copies)
    return unpacked(owner, result, ("out", "cache"))


def refuses(error):
    """Whether an exception is a deliberate or NumPy's own refusal of sizes."""
    return isinstance(error.__cause__, (ValueError, AssertionError, NotImplementedError))


TOO_MUCH = ("a vocabulary of 70000 words takes more memory or time than there is: does it grow "
            "with the square of the vocabulary, as np.eye(V) does?")


def note(trial, case, error):
    """A Misbehaviour becomes a failure, or a warning where a refusal is only careless."""
    if case.is_vast and isinstance(error.__cause__, MemoryError):
        trial.warn(TOO_MUCH)
    elif case.may_be_refused and refuses(error) and "not written yet" not in str(error):
        trial.warn(f"works only where the windows tile the image ({error})")
    else:
        trial.fail(str(error), case)


def try_loss(layer, name, function, cases):
    """Loss and dx of every case."""
    trial = Trial(name, layer)
    for case in cases:
        arguments, copies = case.arguments(), case.arguments()
        try:
            result = call(name, function, *arguments)
            trial.protect(case, name, layer.inputs, arguments, copies)
            loss, dx = unpacked(name, result, ("loss", "dx"))
            trial.cases.append((case, {"loss": np.asarray(loss), "dx": dx}))
            trial.judge_loss(case, loss)
            trial.judge(case, "dx", dx)
            kept = np.array(dx)
            call(name, function, *perturbed(case))
            if changed(kept, np.asarray(dx)):
                trial.fail(f"{name} overwrites the dx of an earlier call", case)
            check_once(trial, layer, case, name, function)
        except Misbehaviour as error:
            note(trial, case, error)
    return trial


def perturbed(case):
    """Other numbers of the same shapes, for a call in between."""
    return [value if isinstance(value, dict) else other_values(value) for value in case.arguments()]


def other_values(value):
    """An argument with other numbers in it; labels, words and masks in another order; 1x1 windows."""
    if isinstance(value, dict):
        return dict.fromkeys(value, 1)
    if value.dtype.kind == "f" and not np.isin(value, (0, 1)).all():
        return 1.5 - value
    return value[(slice(None, None, -1),) * value.ndim].copy()


def check_once(trial, layer, case, name, function):
    """What need not be tried in every case: only where everything has several sizes."""
    if case.label == "" and case.dtype == np.float64 and not trial.failures:
        other_values_one_by_one(trial, layer, case, name, function)
        same_objects_other_numbers(trial, case, name, function)
        not_a_number_must_show(trial, layer, case, name, function)


def other_values_one_by_one(trial, layer, case, name, function):
    """Change one argument at a time: whoever remembers results must look at all of them."""
    for argument in layer.inputs:
        inputs = {**case.inputs, argument: other_values(case.inputs[argument])}
        output = "loss" if layer.is_loss else "out"
        truth = {output: Exact(layer.reference(**copy.deepcopy(inputs)))}
        other = dataclasses.replace(case, inputs=inputs, truth=truth)
        before = np.array(call(name, function, *case.arguments())[0])
        result = call(name, function, *other.arguments())[0]
        alone = Trial(name, layer)
        if layer.is_loss:
            alone.judge_loss(other, result)
        else:
            alone.judge(other, "out", result)
        if alone.failures and depends_on_history(case, other, name, function, before, result):
            trial.fail(f"{name} gives a wrong result when only {argument} has changed since the "
                       "call before", case)
        else:
            trial.failures += alone.failures


def depends_on_history(case, other, name, function, before, result):
    """Whether a result is that of the call before, or another one after an unrelated call."""
    result = np.array(result)
    call(name, function, *perturbed(case))
    again = np.array(call(name, function, *other.arguments())[0])
    return not changed(before, result) or changed(result, again)


def same_objects_other_numbers(trial, case, name, function):
    """Call a function with arrays that hold other numbers than in the call before.

    Whoever remembers results by the identity of an array, as weights that are updated in
    place keep theirs, gives stale ones.
    """
    arguments = [np.array(value) if isinstance(value, np.ndarray) else value
                 for value in case.arguments()]
    call(name, function, *arguments)
    for array, other in zip(arguments, perturbed(case)):
        if isinstance(array, np.ndarray):
            array[...] = other
    copies = [value.copy() for value in arguments]
    first, second = (call(name, function, *given)[0] for given in (arguments, copies))
    if changed(np.array(second), np.asarray(first)):
        trial.fail(f"{name} remembers results by the identity of an array: when the numbers in "
                   "it are changed, the result must follow", case)


def not_a_number_must_show(trial, layer, case, name, function):
    """Warn if NaN goes in and a number that depends on it comes out."""
    for index, argument in enumerate(layer.inputs):
        if argument not in layer.varied:
            continue
        given = [np.array(v) if isinstance(v, np.ndarray) else v for v in case.arguments()]
        given[index].reshape(-1)[-1] = np.nan
        inputs = dict(zip(layer.inputs, (v.copy() for v in given)))
        with np.errstate(all="ignore"):
            expected = np.isnan(layer.reference(**inputs))
        try:
            out = np.asarray(call(name, function, *given)[0])
            hidden = out.shape == expected.shape and (expected & ~np.isnan(out)).any()
        except Misbehaviour as error:
            hidden, argument = True, f"{argument}, and raises instead ({error})"
        if hidden:
            trial.warn(f"does not pass on NaN in {argument}: a broken number should be seen, "
                       "not turned into another")


def try_all_forward(layer, name, forward, cases):
    """The output of every case."""
    trial = Trial(name, layer)
    for case in cases:
        try:
            out, _ = try_forward(trial, layer, forward, case, name)
            trial.cases.append((case, {"out": out}))
            trial.judge(case, "out", out)
            kept = np.array(out)
            call(name, forward, *perturbed(case))
            if changed(kept, np.asarray(out)):
                trial.fail(f"{name} overwrites the output of an earlier call", case)
            check_once(trial, layer, case, name, forward)
        except Misbehaviour as error:
            note(trial, case, error)
    return trial


def try_all_backward(layer, name, functions, cases):
    """All gradients of every case, by way of the forward pass of the same file."""
    trial = Trial(name, layer)
    forward_name = f"{layer.name}_forward"
    forward, backward = functions.get(forward_name), functions[name]
    if forward is None:
        trial.fail(f"cannot be tried: {name} needs the cache of {forward_name}, which is missing")
        return trial
    for case in cases:
        try:
            try_backward(trial, layer, forward, backward, case)
        except Misbehaviour as error:
            if str(error).startswith(forward_name):
                error = Misbehaviour(f"cannot be tried: {error}").with_traceback(None) \
                    if error.__cause__ is None else chained(f"cannot be tried: {error}", error)
            note(trial, case, error)
    return trial


def chained(message, error):
    """A Misbehaviour with another message and the same cause."""
    other = Misbehaviour(message)
    other.__cause__ = error.__cause__
    return other


def try_backward(trial, layer, forward, backward, case):
    """One case: the gradients, what the call leaves untouched, and a second call."""
    name, names = trial.name, layer.gradient_names
    arguments, copies = case.arguments(), case.arguments()
    out, cache = unpacked(f"{layer.name}_forward",
                          call(f"{layer.name}_forward", forward, *arguments), ("out", "cache"))
    if any(changed(copy, value) for copy, value in zip(copies, arguments)):
        arguments = copies          # the forward pass is to blame, and told so by its own verdict
    copies = case.arguments()
    # A call in between: what backward needs must be in the cache, not in a global variable.
    call(f"{layer.name}_forward", forward, *perturbed(case))
    if isinstance(copies[-1], dict):
        call(f"{layer.name}_forward", forward, *map(other_values, copies))
    dout, dout_copy, out_copy = case.upstream(), case.upstream(), np.array(out)
    failures = len(trial.failures)
    gradients = unpacked(name, call(name, backward, dout, cache), names)
    trial.protect(case, name, (*layer.inputs, layer.upstream), (*arguments, dout),
                  (*copies, dout_copy))
    if changed(out_copy, np.asarray(out)):
        trial.fail(f"{name} changes the output of {layer.name}_forward, "
                   "which belongs to the caller", case)
    gradients = [checked_array(name, n, g) for n, g in zip(names, gradients)]
    trial.cases.append((case, dict(zip(names, gradients))))
    for gradient_name, gradient in zip(names, gradients):
        trial.judge(case, gradient_name, gradient)
    if len(trial.failures) > failures or case.size > LARGE:
        return
    kept = [gradient.copy() for gradient in gradients]
    try:
        again = unpacked(name, call(name, backward, case.upstream(), cache), names)
        if any(changed(a, np.asarray(b)) for a, b in zip(kept, again)):
            trial.warn("a second call with the same cache gives something else: "
                       "backward changes its cache")
        else:
            must_be_linear(trial, case, backward, cache, kept)
    except Misbehaviour as error:
        trial.warn(f"cannot be called twice with the same cache ({error})")
    # Another dout and another cache: gradients in a buffer of the function would be lost.
    _, cache = call(f"{layer.name}_forward", forward, *case.arguments())
    call(name, backward, 2 * case.upstream(), cache)
    if any(changed(a, b) for a, b in zip(kept, gradients)):
        trial.fail(f"{name} overwrites the gradients of an earlier call", case)


def must_be_linear(trial, case, backward, cache, gradients):
    """Gradients for the sum of two upstream gradients are the sums; NaN in dout is passed on.

    The second one is written into the array of the first, as a caller may do.
    """
    def result(dout):
        value = call(trial.name, backward, dout, cache)
        return [np.array(g, dtype=float) for g in (value if isinstance(value, (tuple, list))
                                                   else [value])]

    dout = np.array(case.upstream())
    other = np.random.default_rng(dout.size).standard_normal(dout.shape) * np.abs(dout).max()
    other = other.astype(dout.dtype)
    result(dout)
    if changed(np.array(case.upstream()), dout):
        trial.fail(f"{trial.name} changes {trial.subject.upstream}, which belongs to the caller",
                   case)
        return
    dout[...] = other
    second, both = result(dout), result(case.upstream() + other)
    tolerance = TOLERANCE[case.dtype]
    for name, a, b, c in zip(trial.subject.gradient_names, gradients, second, both):
        size = max(np.abs(a).max(), np.abs(b).max(), case.floor)
        if not np.abs(a + b - c).max() <= tolerance * size:
            trial.fail(f"{name} is not linear in {trial.subject.upstream}: for the sum of two "
                       "upstream gradients it must be the sum of their gradients", case)
            return
    try:
        broken = result(np.full_like(dout, np.nan))
        hidden = [name for name, a, b in zip(trial.subject.gradient_names, second, broken)
                  if np.isfinite(b[a != 0]).any()]
    except Misbehaviour as error:
        hidden = [str(error)]
    if hidden:
        trial.warn(f"does not pass on NaN in {trial.subject.upstream} ({', '.join(hidden)}): "
                   "a broken number should be seen, not turned into another")


# ---------------------------------------------------------------- update rules and models

@dataclasses.dataclass(frozen=True)
class Rule:
    """An update rule, and hyperparameters that let every one of them be seen."""
    name: str
    references: tuple               # of each definition that is in use
    hyperparameters: dict
    file: str = "optim"
    section: str = None

    @property
    def functions(self):
        """A rule is one function."""
        return (self.name,)

    def cases(self, _, rng):
        """Several steps from random weights, with all hyperparameters or with the defaults."""
        defaults = {"learning_rate": 0.1}
        zeros = dict.fromkeys(self.hyperparameters, 0.0) | defaults
        falling = self.hyperparameters | {"lr_decay": 0.5}
        cases = []
        for label, shape, steps, config, options in (
                ("one step", (1,), 1, self.hyperparameters, {}),
                ("two steps", (1, 2), 2, self.hyperparameters, {}),
                ("five steps", (3, 2), 5, self.hyperparameters, {}),
                ("default hyperparameters", (2, 3), 3, defaults, {}),
                ("four axes", (2, 1, 3, 2), 3, self.hyperparameters, {}),
                ("thirty steps", (2, 2), 30, self.hyperparameters, {}),
                ("many weights", (300, 250), 2, self.hyperparameters, {}),
                ("three hundred steps", (2,), 300, self.hyperparameters, {}),
                ("hyperparameters of 0", (2, 3), 3, zeros, {}),
                ("a learning rate that falls", (2, 3), 4, falling, {}),
                ("gradients with zeros", (4, 5), 4, self.hyperparameters, {"share": 0.3}),
                ("large gradients", (2, 2), 3, self.hyperparameters, {"scale": 1e3}),
                ("very large gradients", (2, 2), 3, self.hyperparameters, {"scale": 1e30}),
                ("small gradients", (2, 2), 3, self.hyperparameters, {"scale": 1e-3}),
                ("gradients as small as the default epsilon", (2, 2), 3, defaults, {"scale": 1e-8}),
                ("with gaps and negative strides", (3, 2), 3, self.hyperparameters,
                 {"layout": strided}),
                ("float32", (3, 2), 5, self.hyperparameters, {"dtype": np.dtype(np.float32)}),
                ("in Fortran order", (3, 2), 3, self.hyperparameters, {"layout": transposed}),
                ("read-only arrays", (3, 2), 3, self.hyperparameters, {"layout": read_only})):
            dtype = options.get("dtype", np.dtype(np.float64))
            dws = options.get("scale", 1) * rng.standard_normal((steps, *shape))
            dws = np.where(rng.random(dws.shape) < options.get("share", 1), dws, 0.0)
            inputs = {"w": rng.standard_normal(shape).astype(dtype).astype(float),
                      "dws": dws.astype(dtype).astype(float), "config": config}
            truth = Either(*(reference(**inputs) for reference in self.references))
            cases.append(Case(label, inputs, None, {"w": truth}, dtype,
                              options.get("layout", np.array)))
        return cases

    def trial(self, name, functions, cases):
        """Follow the rule through every case."""
        trial = Trial(name, self)
        for case in cases:
            if trial.failures and (len(case.inputs["dws"]) > 100 or
                                   "lr_decay" in case.inputs["config"]):
                continue        # it is wrong in simpler cases
            try:
                w, dws, config = case.arguments()
                lr_decay = config.pop("lr_decay", 1)
                path, neighbour, neighbours_config = [], w + 1, dict(config)
                for t, dw in enumerate(dws):
                    if t == 2:      # a run that is resumed: everything must be in config
                        config = call(name, copy.deepcopy, config)
                    copies = w.copy(), dw.copy()
                    result = unpacked(name, call(name, functions[name], w, dw, config),
                                      ("next_w", "config"))
                    trial.protect(case, name, ("w", "dw"), (w, dw), copies)
                    w = checked_array(name, "next_w", result[0])
                    config = checked_config(name, result[1])
                    if lr_decay != 1:
                        config["learning_rate"] *= lr_decay
                    path.append(w.copy())
                    # Another parameter of this shape: the state must be in config, not global.
                    neighbour, neighbours_config = unpacked(
                        name, call(name, functions[name], neighbour, -dw, neighbours_config),
                        ("next_w", "config"))
                    if changed(path[-1], w):
                        raise Misbehaviour(f"{name} overwrites the weights of an earlier call")
                    if w.shape != dw.shape:
                        raise Misbehaviour(f"{name} returns next_w of shape {w.shape} "
                                           f"for w of shape {dw.shape}")
                    if case.layout is not np.array:
                        w = case.layout(w)
                trial.cases.append((case, {"w": np.array(path)}))
                trial.judge(case, "w", np.array(path))
            except Misbehaviour as error:
                trial.fail(str(error), case)
        return trial


RULES = {rule.name: rule for rule in (
    Rule("sgd", (sgd_reference,), {"learning_rate": 0.3}),
    Rule("sgd_momentum", (sgd_momentum_reference, sgd_momentum_of_pytorch),
         {"learning_rate": 0.3, "momentum": 0.7}),
    Rule("rmsprop", (rmsprop_reference,),
         {"learning_rate": 0.3, "decay_rate": 0.8, "epsilon": 0.05}),
    Rule("adam", (adam_reference,),
         {"learning_rate": 0.3, "beta1": 0.8, "beta2": 0.95, "epsilon": 0.05}),
)}


MODEL_GUISES = (("", {}), ("float32", {"dtype": np.dtype(np.float32)}),
                ("with gaps and negative strides", {"layout": strided}),
                ("read-only arrays", {"layout": read_only}))


@dataclasses.dataclass(frozen=True)
class Model:
    """A model of the contract: scores, loss, and the gradient of every parameter."""
    name: str
    file: str
    draw: object                    # rng -> (constructor's arguments, label, inputs) of a case
    loss: object
    scores: object                  # None where loss() gives none
    data: tuple                     # names of loss()'s arguments
    section: str = None

    @property
    def functions(self):
        """A model is one entry: its class."""
        return (self.name,)

    def cases(self, _, rng):
        """Small models with random parameters."""
        cases = []
        for arguments, label, drawn in self.draw(rng):
            # Of many samples one shows what rounding in the model does.
            guises = MODEL_GUISES if label == "N = 1" else \
                MODEL_GUISES[:2] if label in ("", "a large batch") else MODEL_GUISES[:1]
            for guise, options in guises:
                dtype = options.get("dtype", np.float64)
                inputs = {name: value.astype(dtype).astype(float) if isinstance(value, np.ndarray)
                          and value.dtype.kind == "f" else value for name, value in drawn.items()}
                cases.append(Case(", ".join(filter(None, (label, guise))), inputs, None,
                                  self.truth(inputs), constructor=arguments, **options))
        return cases

    def truth(self, inputs):
        """Loss, gradients and scores by the references."""
        truth = {"loss": Exact(self.loss(**inputs))}
        for name in self.parameters(inputs):
            truth[f"d{name}"] = Exact(gradient_of(self.loss, name, **inputs))
        if self.scores:
            given = {k: v for k, v in inputs.items() if k not in ("y", "reg")}
            truth["scores"] = Exact(self.scores(**given))
        return truth

    def parameters(self, inputs):
        """The names of the parameters among the inputs of the loss."""
        return [name for name in inputs if name not in (*self.data, "reg", "null")]

    def trial(self, name, functions, cases):
        """Scores, loss and gradients of every case."""
        trial = Trial(name, self)
        for case in cases:
            try:
                self._try(trial, functions[name], case)
            except Misbehaviour as error:
                trial.fail(str(error), case)
        return trial

    def _try(self, trial, model_class, case):
        failures = len(trial.failures)
        try:
            accepted = inspect.signature(model_class).parameters
        except (TypeError, ValueError):
            accepted = {}
        options = {"dtype": case.dtype.type, "reg": case.inputs.get("reg", 0.0)}
        free = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
        arguments = {**case.constructor,
                     **{k: v for k, v in options.items() if free or k in accepted}}
        model = call(self.name, lambda: model_class(**arguments))
        params = getattr(model, "params", None)
        wanted = self.parameters(case.inputs)
        if not isinstance(params, dict) or set(params) != set(wanted):
            raise Misbehaviour(f"{self.name}.params has the keys "
                               f"{sorted(params) if isinstance(params, dict) else params}, "
                               f"not {sorted(wanted)}")
        for name in wanted:
            if np.shape(params[name]) != case.inputs[name].shape:
                raise Misbehaviour(f"{self.name}.params[{name!r}] has shape "
                                   f"{np.shape(params[name])}, not {case.inputs[name].shape}")
            dtype = np.asarray(params[name]).dtype
            if "dtype" in arguments and dtype != case.dtype:
                trial.warn(f"{self.name}.params[{name!r}] is {dtype} though dtype={case.dtype} was "
                           "asked for")
            if not np.isfinite(params[name]).all():
                raise Misbehaviour(f"{self.name}.params[{name!r}] starts with numbers that are not "
                                   "finite")
        *weights, _ = (name for name in wanted if name.startswith("W"))
        for name in weights:
            units = numbers_of_units(np.asarray(params[name]))
            if name != "Wh" and len(units) > 1 and (units == units[0]).all():
                raise Misbehaviour(f"{self.name}.params[{name!r}] starts with the same numbers for "
                                   "each unit, and units that are equal learn the same: random "
                                   "ones are needed")
        params.update({name: np.array(case.inputs[name], case.dtype) for name in wanted})
        owner = f"{self.name}.loss"
        data = [case.fresh(case.inputs[name]) for name in self.data]
        results = {}
        trial.cases.append((case, results))
        # Another batch before this one: nothing may be kept from it.
        call(owner, model.loss, 1.5 * data[0], data[1])
        if self.scores:
            results["scores"] = checked_array(owner, "scores", call(owner, model.loss, data[0]))
            trial.judge(case, "scores", results["scores"])
        loss, grads = unpacked(owner, call(owner, model.loss, *data), ("loss", "grads"))
        results["loss"] = np.asarray(loss)
        trial.judge_loss(case, loss)
        if not isinstance(grads, dict) or set(grads) != set(wanted):
            raise Misbehaviour(f"{owner} returns gradients for "
                               f"{sorted(grads) if isinstance(grads, dict) else grads}, "
                               f"not {sorted(wanted)}")
        for name in wanted:
            results[f"d{name}"] = grads[name]
            trial.judge(case, f"d{name}", grads[name])
        trial.protect(case, owner, (*self.data, *wanted),
                      (*data, *(model.params[name] for name in wanted)),
                      [np.array(case.fresh(case.inputs[name])) for name in (*self.data, *wanted)])
        kept = {name: np.array(grads[name]) for name in wanted}
        call(owner, model.loss, 1.5 * data[0], data[1])
        if any(changed(kept[name], np.asarray(grads[name])) for name in wanted):
            trial.fail(f"{owner} overwrites the gradients of an earlier call", case)
        if len(trial.failures) > failures:
            return          # a loss that is wrong anyway tells nothing of what it has seen
        # Training changes the weights in place, or puts new arrays: either must be seen.
        for change in (in_place, anew):
            change(model.params)
            inputs = {**case.inputs, **{k: v.astype(float) for k, v in model.params.items()}}
            loss = np.asarray(call(owner, model.loss, *data)[0], dtype=float)
            if Exact(self.loss(**inputs)).difference(loss, TOLERANCE[case.dtype], 1.0):
                trial.fail(f"{owner} does not see that params has changed ({change.__doc__})", case)
                return


def numbers_of_units(W):
    """A row for each filter of a convolution, or each column of a matrix."""
    return W.reshape(len(W), -1) if W.ndim == 4 else W.T


def in_place(params):
    """the arrays got other numbers"""
    for W in params.values():
        W *= 1.25


def anew(params):
    """there are other arrays in it"""
    params.update({name: 0.75 * W for name, W in params.items()})


def draw_two_layer(rng):
    """Cases of TwoLayerNet."""
    for label, (N, D, H, C), reg in (("", (3, 5, 4, 2), 0.0), ("with a penalty", (2, 3, 4, 5), 0.3),
                                     ("N = 1", (1, 2, 3, 4), 0.1),
                                     ("a large batch", (70, 2, 3, 2), 0.1),
                                     ("labels are int32", (4, 1, 2, 3), 0),
                                     ("N = D = H = C", (3, 3, 3, 3), 0),
                                     ("labels are uint8", (300, 2, 2, 3), 0)):
        W1, b1 = rng.standard_normal((D, H)), rng.standard_normal(H)
        X = rng.standard_normal((20 * N, D))
        X = X[np.abs(fc_reference(X, W1, b1)).min(axis=1) > 0.05][:N]
        kind = np.dtype(label.split()[-1] if label.startswith("labels") else int)
        inputs = {"X": X, "y": rng.integers(0, C, len(X)).astype(kind), "reg": reg,
                  "W1": W1, "b1": b1,
                  "W2": rng.standard_normal((H, C)), "b2": rng.standard_normal(C)}
        yield {"input_dim": D, "hidden_dim": H, "num_classes": C}, label, inputs


def draw_conv_net(rng):
    """Cases of ConvNet."""
    for label, (N, C, H, W, F, size, hidden, classes), reg in (
            ("", (2, 2, 5, 7, 3, 2, 4, 3), 0.0), ("with a penalty", (3, 1, 6, 5, 2, 3, 3, 2), 0.3),
            ("N = 1", (1, 3, 4, 4, 2, 1, 3, 4), 0.1),
            ("N = 1, one channel", (1, 1, 4, 5, 2, 2, 3, 2), 0),
            ("labels are int32", (2, 1, 4, 3, 1, 2, 2, 3), 0.2),
            ("a large batch, labels are uint8", (40, 1, 4, 4, 1, 1, 1, 3), 0.1)):
        features = F * ((H - size + 1) // 2) * ((W - size + 1) // 2)
        kind = np.dtype(label.split()[-1] if "labels" in label else int)
        inputs = {"X": rng.standard_normal((20 * N, C, H, W)),
                  "y": rng.integers(0, classes, N).astype(kind), "reg": reg,
                  "W1": rng.standard_normal((F, C, size, size)),
                  "W2": rng.standard_normal((features, hidden)) / math.sqrt(features),
                  "b2": rng.standard_normal(hidden), "W3": rng.standard_normal((hidden, classes)),
                  "b3": rng.standard_normal(classes)}
        inputs["X"] = inputs["X"][distances_to_kinks(inputs) > 0.012][:N]
        yield ({"input_dim": (C, H, W), "num_filters": F, "filter_size": size, "hidden_dim": hidden,
                "num_classes": classes}, label, inputs)


def distances_to_kinks(inputs):
    """(N,): how near each image comes to a kink of ConvNet: a 0 before ReLU, or a tied maximum."""
    filtered = conv_reference(inputs["X"], inputs["W1"])
    pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    N = len(filtered)
    pooled = max_pool_reference(relu_reference(filtered), pool_param)
    hidden = fc_reference(pooled, inputs["W2"], inputs["b2"])
    distances = [np.abs(hidden).min(axis=1)]
    for _, rows, columns in pool_windows(filtered, pool_param):
        top = np.sort(filtered[:, :, rows, columns].reshape(N, -1, 4), axis=2)
        # Negative maxima are cut off to 0; there, ties do not matter.
        gap = np.where(top[:, :, 3] > 0, np.minimum(top[:, :, 3] - top[:, :, 2], top[:, :, 3]),
                       -top[:, :, 3])
        distances.append(gap.min(axis=1))
    return np.min(distances, axis=0)


def draw_captioning(rng):
    """Cases of CaptioningRNN; <NULL> is not always word 0."""
    special = ("<NULL>", "<START>", "<END>", "<UNK>")
    for label, (N, T, D, W, H, V), null in (
            ("", (3, 5, 4, 3, 2, 6), 0), ("N = 1", (1, 4, 2, 3, 4, 5), 0),
            ("with a penalty", (1, 3, 2, 2, 3, 5), 0),
            ("<NULL> is word 2", (2, 6, 3, 2, 3, 7), 2), ("one word", (2, 2, 1, 2, 2, 5), 0),
            ("a large batch", (70, 3, 2, 1, 2, 5), 0), ("D = W = H = V", (5, 5, 5, 5, 5, 5), 0),
            ("no padding", (2, 4, 2, 2, 3, 6), 0), ("words are int32", (2, 4, 3, 2, 2, 6), 0)):
        order = [1, 2, 0] if null else [0, 1, 2]
        word_to_idx = {word: order[k] if k < 3 else k
                       for k, word in enumerate([*special, *map(str, range(V - 4))])}
        null = word_to_idx["<NULL>"]
        captions = rng.integers(3, V, (N, T))
        captions[:, 0] = word_to_idx["<START>"]
        captions = captions.astype(np.dtype("int32" if label.endswith("int32") else int))
        lengths = rng.integers(min(2, T - 1), T, N) if label != "no padding" else []
        for n, length in enumerate(lengths):
            captions[n, length] = word_to_idx["<END>"]
            captions[n, length + 1:] = null

        def normal(*shape):
            return rng.standard_normal(shape) / math.sqrt(shape[0])

        yield ({"word_to_idx": word_to_idx, "input_dim": D, "wordvec_dim": W, "hidden_dim": H,
                "cell_type": "rnn"}, label,
               {"features": rng.standard_normal((N, D)), "captions": captions, "null": null,
                "reg": 0.3 if label == "with a penalty" else 0.0,
                "W_proj": normal(D, H), "b_proj": normal(H), "W_embed": rng.standard_normal((V, W)),
                "Wx": normal(W, H), "Wh": normal(H, H), "b": normal(H), "W_vocab": normal(H, V),
                "b_vocab": normal(V)})


MODELS = {model.name: model for model in (
    Model("TwoLayerNet", "fc_net", draw_two_layer, two_layer_loss, two_layer_scores, ("X", "y")),
    Model("ConvNet", "cnn", draw_conv_net, conv_net_loss, conv_net_scores, ("X", "y")),
    Model("CaptioningRNN", "rnn", draw_captioning, captioning_loss, None, ("features", "captions")),
)}


# ---------------------------------------------------------------- all there is

SUBJECTS = {**LAYERS, **RULES, **MODELS}


@functools.lru_cache(maxsize=None)
def cases_of(name, seed):
    """All cases of a subject, the small ones first."""
    subject = SUBJECTS[name]
    rng = np.random.default_rng([seed, list(SUBJECTS).index(name)])
    with np.errstate(all="ignore"):
        return tuple(sorted(subject.cases(subject, rng),
                            key=lambda case: (case.is_vast, case.size)))


# ---------------------------------------------------------------- diagnosis

def equals(actual, predicted, case):
    """Whether the graded array is what a mistake computes."""
    actual, predicted = np.asarray(actual), np.asarray(predicted, dtype=float)
    if actual.shape != predicted.shape:
        return False
    with np.errstate(over="ignore"):        # what float32 cannot hold is infinite in both
        predicted = predicted.astype(actual.dtype).astype(float)
    # Whether an overflow ends as inf or as NaN depends on how the formula is written.
    actual, predicted = (np.where(np.isfinite(a), a, np.nan) for a in (actual, predicted))
    scale = max(np.abs(predicted[np.isfinite(predicted)]).max(initial=0), case.floor)
    return np.allclose(actual, predicted, rtol=0, atol=TOLERANCE[case.dtype] * scale,
                       equal_nan=True)


def prediction(mistake, case):
    """What a layer with this mistake computes, or None where it cannot compute anything."""
    inputs = {name: value.copy() if isinstance(value, (np.ndarray, dict)) else value
              for name, value in case.inputs.items()}
    if case.dout is not None and not mistake.function.endswith("_forward"):
        inputs["dout"] = case.dout.copy()
    try:
        with np.errstate(all="ignore"):
            return np.asarray(mistake.compute(**inputs))
    except (ValueError, IndexError, TypeError, ArithmeticError):
        return None


def differs_from_truth(predicted, case, output):
    """Whether a prediction would have been called wrong."""
    truth = case.truth[output]
    return predicted is None or predicted.shape != truth.shape or \
        truth.difference(predicted.astype(float), TOLERANCE[case.dtype], case.floor) is not None


def explaining_mistakes(trial, output):
    """The known mistakes that compute just the wrong arrays that were graded, best first."""
    wrong = [f for f in trial.failures if f.output == output]
    wrong_cases = {id(f.case) for f in wrong}
    # Mistakes are computed in float64; the same mistake made in float32 overflows earlier.
    wrong = [f for f in wrong if f.case.dtype == np.float64] or wrong
    right = [case for case, results in trial.cases
             if output in results and id(case) not in wrong_cases]
    found = []
    for mistake in MISTAKES:
        if (mistake.function, mistake.output) != (trial.name, output):
            continue
        for failure in wrong:
            predicted = prediction(mistake, failure.case)
            if predicted is None or not equals(failure.actual, predicted, failure.case):
                break
        else:
            # Of two mistakes that fit, the better one predicts no failure that did not occur.
            surplus = sum(differs_from_truth(prediction(mistake, case), case, output)
                          for case in right)
            found.append((surplus, len(found), mistake))
    if not found:
        return []
    least = min(found, key=lambda entry: entry[0])[0]
    return [mistake for surplus, _, mistake in found if surplus == least]


def fits_own_forward(layer, functions, case):
    """Whether wrong gradients are the right ones of a forward pass that is wrong itself."""
    forward, backward = functions[layer.functions[0]], functions[layer.functions[1]]
    if case.size > 400:
        return False
    inputs = dict(zip(case.inputs, case.arguments()))

    def objective(**inputs):
        return float(np.sum(case.dout * call("forward", forward, *inputs.values())[0]))

    try:
        out, cache = call("forward", forward, *case.arguments())
        if np.shape(out) != case.dout.shape or \
                case.truth["out"].difference(np.asarray(out, float), TOLERANCE[case.dtype], 1e-9) is None:
            return False
        gradients = unpacked("backward", call("backward", backward, case.upstream(), cache),
                             layer.gradient_names)
        for name, gradient in zip(layer.varied, gradients):
            own = numerical_gradient(
                lambda shift, name=name: objective(**{**inputs, name: inputs[name] + shift}),
                inputs[name].shape, 1e-3)
            if worst_difference(np.asarray(gradient), own, own, 1e-5, 1e-3):
                return False
    except (Misbehaviour, ValueError, TypeError, IndexError):
        return False
    return True


def verdict_of(trial, subject, functions):
    """The Verdict that follows from a Trial."""
    if not trial.failures:
        status = "warn" if trial.warnings else "pass"
        return Verdict(trial.name, status, "; ".join(trial.warnings))
    wrong = [f for f in trial.failures if f.output]
    if not wrong:
        first = trial.failures[0]
        return Verdict(trial.name, "fail", first.message + how_often(trial.failures),
                       first.case and first.case.describe(), derivation=subject.section)
    named, unknown, mistakes = [], [], []
    for output in dict.fromkeys(f.output for f in wrong):
        failures = [f for f in wrong if f.output == output]
        explanations = explaining_mistakes(trial, output)
        if explanations:
            mistakes += [m.name for m in explanations]
            named.append(f"{output}: {explanations[0].sentence}")
        else:
            unknown.append(f"{failures[0].message}{how_often(failures)}: an unknown mistake")
    # What is wrong beside the numbers explains what no known mistake does, and follows from those.
    beside = list(dict.fromkeys(f.message for f in trial.failures if not f.output))
    order = order_of_results(trial)
    sentences = [order] if order else [*named, *beside[:2], *unknown]
    if trial.name.endswith("_backward") and not mistakes and \
            fits_own_forward(subject, functions, wrong[0].case):
        sentences.append(f"these are the gradients of the {subject.functions[0]} of this file, "
                         "which is wrong itself: mend that first")
    # The smallest case in which one number can be pointed at says more than a sum.
    first = next((f for f in wrong if f.difference and isinstance(f.difference.place, tuple)),
                 wrong[0])
    verdict = Verdict(trial.name, "fail", "; ".join(sentences), first.case.describe(),
                      mistakes=tuple(mistakes), derivation=subject.section)
    if first.difference:
        place = first.difference.place
        verdict.place = f"{first.output}{list(place) if place else ''}" \
            if isinstance(place, tuple) else f"{first.output}, {place}"
        verdict.expected, verdict.actual = first.difference.expected, first.difference.actual
    return verdict


def order_of_results(trial):
    """A sentence, if the results of a layer would all be right in another order."""
    if not isinstance(trial.subject, Layer):
        return None
    names = tuple(trial.cases[0][1])
    for order in itertools.permutations(names):
        if order != names and all(
                isinstance(value, (np.ndarray, np.generic, float)) and
                not differs_from_truth(np.asarray(value), case, name)
                for case, results in trial.cases
                for name, value in zip(order, results.values())):
            return f"the results come in the wrong order: ({', '.join(order)}) is returned where " \
                   f"({', '.join(names)}) is asked for"
    return None


def how_often(failures):
    """In which cases it happens, where that is not all of them."""
    failing = list({id(f.case): f.case for f in failures if f.case}.values())
    labels = [label for label in dict.fromkeys(case.label for case in failing) if label]
    if not failing or len(failing) > 6 or not labels:
        return ""
    return f" (only here: {'; '.join(labels)})"


# ---------------------------------------------------------------- grading in this process

def subject_names():
    """Every name that has a verdict -> the file it lives in, in the order of the report."""
    return {name: subject.file for subject in SUBJECTS.values() for name in subject.functions}


def grade_functions(functions, names, seed=0):
    """Verdicts {name: Verdict} on functions {name: callable}, in this process, without limits."""
    return {name: grade_one(name, functions, seed) for name in names}


def grade_one(name, functions, seed, *, vast=True):
    """The Verdict on one function; `functions` holds its forward pass too."""
    if functions.get(name) is None:
        return Verdict(name, "missing", "there is no such function")
    if not callable(functions[name]):
        kind = type(functions[name]).__name__
        return Verdict(name, "fail", f"{name} is no function but of type {kind}")
    subject = next(s for s in SUBJECTS.values() if name in s.functions)
    try:
        with np.errstate(all="ignore"):     # wrong functions may well return infinities
            cases = [c for c in cases_of(subject.name, seed) if vast or not c.is_vast]
            trial = subject.trial(name, functions, cases)
            return verdict_of(trial, subject, functions)
    except Exception as error:      # what is graded may have broken NumPy itself
        return Verdict(name, "fail", f"grading was disturbed: {describe_error(error)}")


# ---------------------------------------------------------------- grading in processes

def load(path):
    """The module in a file, which may import its neighbours, but not those of this file."""
    path = pathlib.Path(path).absolute()        # a link stays one: its neighbours are meant
    if path.suffix == ".ipynb":
        raise ImportError("a notebook is no module: export it as .py")
    sys.path[:] = [folder for folder in sys.path if pathlib.Path(folder).resolve() != HOME]
    sys.path.insert(0, str(path.parent))
    loader = importlib.machinery.SourceFileLoader(path.stem, str(path))     # whatever its suffix
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_file_location(path.stem, path, loader=loader))
    sys.modules[path.stem] = module
    loader.exec_module(module)
    return module


def limit_computing(seconds):
    """This process ends when it has computed for so long from now on, where the system can do that.

    Only time on a processor counts, so that a busy machine fails nobody. Windows cannot
    do it; there the clock alone sets a limit.
    """
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)


def work(path, names, seed, seconds):
    """Grade functions of a file and print a line of JSON before and after each: the worker.

    What the file prints goes to nowhere: the lines go through a copy of standard output.
    """
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)

    worker = os.getpid()

    def tell(**message):
        if os.getpid() == worker:       # the file may have forked
            lines.write(json.dumps(message) + "\n")
            lines.flush()

    tell(stage="import")
    limit_computing(seconds)
    try:
        module = load(path)
    except (Exception, SystemExit) as error:
        tell(stage="no import", error=describe_import_error(error, path))
        return
    functions = {name: getattr(module, name, None) for name in subject_names()}
    for name in names:
        tell(stage="start", name=name)
        limit_computing(seconds)
        if name.startswith("word_embedding"):   # the vast cases may well be the end of this process
            tell(stage="so far",
                 verdict=dataclasses.asdict(grade_one(name, functions, seed, vast=False)))
            limit_computing(seconds)
        tell(stage="verdict", verdict=dataclasses.asdict(grade_one(name, functions, seed)))
    tell(stage="end")


def describe_import_error(error, path):
    """One line: what went wrong while the file was imported, and where in it."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} (line {error.lineno})"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if pathlib.Path(frame.filename).name == pathlib.Path(path).name]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {text_of(error)}{where}"


def grade_file(path, names, seed=0, progress=None):
    """Verdicts {name: Verdict} on functions of a file that need not be trusted to end.

    A process that hangs or dies costs the function it was at; another one goes on
    with the rest.
    """
    report = progress or (lambda verdict: None)
    verdicts = {}

    def settle(verdict):
        verdicts[verdict.name] = verdict
        report(verdict)

    if not pathlib.Path(path).is_file():
        for name in names:
            settle(Verdict(name, "missing", f"there is no file {path}"))
        return verdicts
    while len(verdicts) < len(names):
        remaining = [name for name in names if name not in verdicts]
        at, so_far, end = None, None, None
        for message in messages_of_worker(path, remaining, seed):
            if message["stage"] == "start":
                at, so_far = message["name"], None
            elif message["stage"] == "so far":
                so_far = Verdict(**message["verdict"])
            elif message["stage"] == "verdict":
                at = None
                settle(Verdict(**message["verdict"]))
            elif message["stage"] != "import":
                end = message
        if end and end["stage"] == "end":
            continue
        problem = end["error"] if end["stage"] == "no import" else end["stage"]
        if at is None:                  # it never came to a function
            for name in remaining:
                if name not in verdicts:
                    settle(Verdict(name, "fail",
                                   f"{pathlib.Path(path).name} cannot be imported: {problem}"))
        elif so_far and end.get("exhausted"):
            settle(with_warning(so_far, f"{TOO_MUCH} ({problem})"))
        else:
            settle(Verdict(at, "fail", problem))
    return verdicts


def with_warning(verdict, message):
    """A verdict that is no better than careless."""
    return dataclasses.replace(
        verdict, status="warn" if verdict.status == "pass" else verdict.status,
        diagnosis="; ".join(filter(None, (verdict.diagnosis, message))))


def messages_of_worker(path, names, seed):
    """The worker's messages; a last one {"stage": what happened} if it hung or died."""
    command = [sys.executable, str(pathlib.Path(__file__).resolve()), "--worker", str(path),
               "--seconds", str(SECONDS_PER_FUNCTION), "--seed", str(seed), *names]
    one_core = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **one_core, "PYTHONDONTWRITEBYTECODE": "1"}
    worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, env=environment,
                              start_new_session=os.name == "posix")
    lines = queue.Queue()

    def read():
        for line in worker.stdout:
            lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while True:
            try:
                line = next_line(lines, worker)
            except queue.Empty:
                yield {"stage": f"not finished after {WAITING_PER_FUNCTION} seconds: an endless "
                                "loop, or does it wait for something?", "exhausted": True}
                return
            if line is None:
                code = worker.wait()
                yield {"stage": how_it_ended(code), "exhausted": code in ENDED_BY_A_LIMIT}
                return
            message = json.loads(line)
            yield message
            if message["stage"] in ("end", "no import"):
                return
    finally:
        end_with_children(worker)
        reader.join()
        worker.stdout.close()


def next_line(lines, worker):
    """What the worker says next; None if it has ended. Raises queue.Empty if it took too long."""
    deadline = time.monotonic() + WAITING_PER_FUNCTION
    while True:
        # Its children may hold the pipe open after its own end: that alone tells nothing.
        ended = worker.poll() is not None
        try:
            return lines.get(timeout=0.5)
        except queue.Empty:
            if ended:
                return None
            if time.monotonic() > deadline:
                raise


# Exit codes of a worker that has computed for too long, or taken more memory than there is.
ENDED_BY_A_LIMIT = [-getattr(signal, name) for name in ("SIGPROF", "SIGKILL")
                    if hasattr(signal, name)]


def how_it_ended(code):
    """What the exit code of a worker that said nothing more means."""
    if os.name == "posix" and code == -signal.SIGPROF:
        return f"not finished after {SECONDS_PER_FUNCTION} seconds of computing: an endless loop?"
    return f"Python itself ended (exit code {code})"


def end_with_children(worker):
    """Kill a worker and, where that is possible, whatever it started."""
    if os.name == "posix":
        try:
            os.killpg(worker.pid, signal.SIGKILL)       # it leads a group of its own
        except (ProcessLookupError, PermissionError):   # all have ended
            pass
    worker.kill()
    worker.wait()


# ---------------------------------------------------------------- reports

MARKS = {"pass": "pass", "warn": "warn", "fail": "FAIL", "missing": "missing"}
COLOURS = {"pass": "32", "warn": "33", "fail": "31", "missing": "35"}


def lines_of(verdict, coloured=False):
    """A verdict as text: a line, and some indented ones if it is not a pass."""
    mark = f"{MARKS[verdict.status]:8}"
    if coloured:
        mark = f"\033[{COLOURS[verdict.status]}m{mark}\033[0m"
    yield f"{verdict.name:24} {mark}{' ' if verdict.diagnosis else ''}{verdict.diagnosis}".rstrip()
    for line in verdict.details():
        yield " " * 34 + line


def summary_of(verdicts):
    """One line with the score: what is right, if careless, counts."""
    counts = collections.Counter(verdict.status for verdict in verdicts)
    parts = [f"{counts[status]} {status}" for status in MARKS if counts[status]]
    return f"{counts['pass'] + counts['warn']} of {len(verdicts)} right: {', '.join(parts)}"


class Report:
    """Verdicts, to be displayed by Python's prompt or by a notebook."""

    def __init__(self, verdicts, seed):
        self.verdicts, self.seed = list(verdicts), seed

    def __repr__(self):
        lines = [line for verdict in self.verdicts for line in lines_of(verdict)]
        return "\n".join([*lines, summary_of(self.verdicts) + f" (seed {self.seed})"])

    def _repr_html_(self):
        colours = {"pass": "#2a7d2a", "warn": "#a06a00", "fail": "#b00020", "missing": "#7a3e9d"}
        rows = []
        for verdict in self.verdicts:
            said = [verdict.diagnosis, *verdict.details()]
            rows.append(
                f'<tr><td style="text-align:left"><code>{html.escape(verdict.name)}</code></td>'
                f'<td style="color:{colours[verdict.status]};font-weight:bold">'
                f'{MARKS[verdict.status]}</td><td style="text-align:left">'
                f'{"<br>".join(html.escape(line) for line in said if line)}</td></tr>')
        return (f"<table>{''.join(rows)}</table>"
                f"<p>{html.escape(summary_of(self.verdicts))} (seed {self.seed})</p>")


def check(*functions, seed=0):
    """Grade functions or classes, known by their names, in this process; returns a Report.

    A backward pass needs its forward pass with it: check(conv_forward, conv_backward).
    Raises ValueError for what is not in the contract.
    """
    by_name = {}
    for function in functions:
        name = getattr(function, "__name__", repr(function))
        if name not in subject_names():
            raise ValueError(f"check: expects functions named {', '.join(subject_names())}; "
                             f"got {name}")
        by_name[name] = function
    return Report(grade_functions(by_name, list(by_name), seed).values(), seed)


# ---------------------------------------------------------------- command line

FILES = ("layers", "rnn_layers", "optim", "fc_net", "cnn", "rnn")


def selected(words):
    """The names of functions that words choose: a whole name, its beginning, or a file."""
    names = subject_names()
    chosen = set()
    for word in words:
        word = word.removesuffix(".py")
        matching = {word} if word in names else \
            {name for name, file in names.items() if word == file or name.startswith(word + "_")}
        if not matching:
            raise ValueError(f"there is nothing to grade named {word}: --list shows what there is")
        chosen |= matching
    return [name for name in names if name in chosen] if words else list(names)


def grade_files(files, names, seed, progress=None):
    """Verdicts {name: Verdict} of several files {"layers": path, ...}."""
    verdicts = {}
    for file, path in files.items():
        wanted = [name for name, home in subject_names().items() if home == file and name in names]
        verdicts.update(grade_file(path, wanted, seed, progress) if wanted else {})
    return verdicts


def file_name(word):
    """A word of the command line that is to name a file."""
    if not word:
        raise argparse.ArgumentTypeError("expects the name of a file, got an empty one")
    return word


def parse(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="autograder.py", description="Grade layers, update rules and models.",
        epilog="Without a FILE, the files next to this one are graded. The exit code is 0 only "
               "if nothing failed.")
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help="what to grade: conv, conv_backward, rnn_layers, ... (default: all)")
    for file in FILES:
        parser.add_argument(f"--{file.replace('_', '-')}", metavar="FILE", dest=file,
                            type=file_name, help=f"grade this file in the place of {file}.py")
    parser.add_argument("--json", metavar="FILE", type=file_name,
                        help="write the verdicts to this file too")
    parser.add_argument("--seed", type=int, default=0, help="of the random cases (default: 0)")
    parser.add_argument("--list", action="store_true", help="show what can be graded, and stop")
    parser.add_argument("--worker", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"--seed expects a number of at least 0, got {options.seed}")
    try:
        options.selected = selected(options.names)
    except ValueError as error:
        parser.error(str(error))
    return options


def has_failed(verdict, asked_for, files):
    """Whether a verdict makes the exit code 1."""
    if verdict.status == "missing":
        file = subject_names()[verdict.name]
        return asked_for or pathlib.Path(files[file]).is_file()
    return verdict.status == "fail"


def in_json(value):
    """A value as JSON can hold it: numbers that are not finite become "nan", "inf" or "-inf"."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def main(arguments=None):
    """Run the command line; returns the exit code."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")    # not every terminal has a Σ or a ½
    options = parse(arguments)
    if options.worker:
        work(options.worker, options.names, options.seed, options.seconds)
        return 0
    if options.list:
        for name, file in subject_names().items():
            print(f"{name:24} {file}.py")
        return 0
    given = {file: getattr(options, file) for file in FILES if getattr(options, file) is not None}
    # With files of somebody else only those are graded, and not the project's own beside them.
    files = given or {file: HOME / f"{file}.py" for file in FILES}
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def show(verdict):
        print("\n".join(lines_of(verdict, coloured)), flush=True)

    names = [name for name in options.selected if subject_names()[name] in files]
    if not names:
        print(f"autograder.py: error: none of {' '.join(options.names)} belongs to the files given",
              file=sys.stderr)
        return 2
    verdicts = grade_files(files, names, options.seed, show)
    print(f"\n{summary_of(list(verdicts.values()))} (seed {options.seed})")
    if options.json:
        results = {name: {k: in_json(value)
                          for k, value in dataclasses.asdict(verdict).items() if k != "name"}
                   for name, verdict in verdicts.items()}
        text = json.dumps({"results": results, "seed": options.seed}, indent=2, allow_nan=False)
        try:
            pathlib.Path(options.json).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            print(f"autograder.py: error: cannot write --json: {error}", file=sys.stderr)
            return 2
    asked_for = bool(options.names or given)
    failed = [v for v in verdicts.values() if has_failed(v, asked_for, files)]
    return 1 if failed else 0


# ---------------------------------------------------------------- pytest

def pytest_generate_tests(metafunc):
    """One test for each function of the contract."""
    if metafunc.function is test_contract:
        metafunc.parametrize("name", list(subject_names()))


def test_contract(name):
    """A verdict other than fail; what is not there yet is skipped."""
    import pytest
    file = HOME / f"{subject_names()[name]}.py"
    if not file.is_file():
        pytest.skip(f"there is no {file.name}")
    verdict = grade_file(file, [name])[name]
    if verdict.status in ("fail", "missing"):
        pytest.fail("\n".join(lines_of(verdict)), pytrace=False)


def run():
    """main(), ended quietly where nobody reads its output any more, as with `| head`."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    return code


if __name__ == "__main__":
    sys.exit(run())
