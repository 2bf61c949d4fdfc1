"""The layers of a recurrent network that writes sentences, each a pair of pure functions.

    NAME_forward(inputs...)     -> (out, cache)
    NAME_backward(dout, cache)  -> the gradients of the inputs, in their order

L is the scalar loss at the end of the network; dout, dh and dc are its gradients
with respect to a layer's output, hidden states and cells.

Letters, used in every docstring:

    N  sentences in the batch       T  time steps: words of a sentence
    D  numbers in a word's vector   H  numbers in a hidden state
    V  words in the vocabulary      M  outputs of a fully connected layer

What layers.py promises of its layers holds here too: nothing is changed, nothing
is random, floating dtypes are kept, strides do not matter, NaN propagates, wrong
input raises ValueError. The recurrent layers are time-major, x is (T, N, D) and
h is (T, N, H), so that a time step is one contiguous block; the temporal layers
take one sentence after the other, (N, T, ...).

The derivations of all gradients are in docs/derivations.md.
"""
import numpy as np

from layers import (as_cache, as_float_array, as_indices, as_upstream_gradient, empty, multiply,
                    total, zeros)


# ---------------------------------------------------------------- plain recurrent network

def rnn_step_forward(x, prev_h, Wx, Wh, b):
    """One time step of a plain recurrent network: next_h = tanh(x·Wx + prev_h·Wh + b).

    Inputs:
        x: (N, D), the input of this step
        prev_h: (N, H), the hidden state before it
        Wx: (D, H)
        Wh: (H, H)
        b: (H,)
    Returns (next_h, cache): next_h is (N, H); cache is (x, prev_h, Wx, Wh, next_h).
    Raises ValueError where the sizes do not fit.
    """
    x, prev_h, Wx, Wh, b = _recurrent_inputs("rnn_step_forward", x=x, prev_h=prev_h,
                                             Wx=Wx, Wh=Wh, b=b)
    next_h = multiply(x, Wx) + multiply(prev_h, Wh)
    next_h += b
    np.tanh(next_h, out=next_h)
    return next_h, (x, prev_h, Wx, Wh, next_h)


def rnn_step_backward(dnext_h, cache):
    """Gradients of one time step.

    Inputs: dnext_h (N, H); cache from rnn_step_forward.
    Returns (dx, dprev_h, dWx, dWh, db) with the shapes of the inputs.
    Derived in docs/derivations.md, "Recurrent network".
    """
    x, prev_h, Wx, Wh, next_h = as_cache("rnn_step_backward", cache,
                                         "ND", "NH", "DH", "HH", "NH")
    dnext_h = as_upstream_gradient("rnn_step_backward", dnext_h, next_h.shape, "dnext_h")
    # next_h = tanh(a) and tanh' = 1 - tanh²  ⇒  da = dnext_h ⊙ (1 - next_h²)
    da = dnext_h * (1 - next_h * next_h)
    # a = x·Wx + prev_h·Wh + b: two fully connected layers that share their output
    return (multiply(da, Wx.T), multiply(da, Wh.T),
            multiply(x.T, da), multiply(prev_h.T, da), total(da, axis=0))


def rnn_forward(x, h0, Wx, Wh, b):
    """A plain recurrent network over whole sentences: h_t = tanh(x_t·Wx + h_{t-1}·Wh + b).

    Inputs:
        x: (T, N, D)
        h0: (N, H), the hidden states before the first step
        Wx: (D, H)
        Wh: (H, H)
        b: (H,)
    Returns (h, cache): h is (T, N, H), the hidden state after each step; cache is
    (x, states, Wx, Wh) with states (T + 1, N, H): h0, then h.
    Raises ValueError where the sizes do not fit.
    """
    x, h0, Wx, Wh, b = _recurrent_inputs("rnn_forward", x=x, h0=h0, Wx=Wx, Wh=Wh, b=b)
    states = empty((len(x) + 1, *h0.shape), np.result_type(x, h0, Wx, Wh, b))
    states[0] = h0
    h = states[1:]
    # What the inputs contribute waits for nobody: one product for all time steps.
    np.matmul(_rows(x), Wx, out=_rows(h))
    h += b
    recurrent = np.empty_like(h0, dtype=h.dtype)
    for t in range(len(x)):
        np.matmul(states[t], Wh, out=recurrent)
        h[t] += recurrent
        np.tanh(h[t], out=h[t])
    return h, (x, states, Wx, Wh)


def rnn_backward(dh, cache):
    """Gradients of the plain recurrent network: back-propagation through time.

    Inputs:
        dh: (T, N, H), the gradients that reach each h_t from above: not those that
            reach it from later time steps, which are computed here
        cache: from rnn_forward
    Returns (dx, dh0, dWx, dWh, db) with the shapes of the inputs.
    Derived in docs/derivations.md, "Recurrent network".
    """
    x, states, Wx, Wh = as_cache("rnn_backward", cache, "TND", "SNH", "DH", "HH",
                                 fits=lambda x, states, *_: len(states) == len(x) + 1)
    h = states[1:]
    dh = as_upstream_gradient("rnn_backward", dh, h.shape, "dh")
    da = empty(h.shape, np.result_type(dh, h))
    dprev_h = np.zeros(h.shape[1:], da.dtype)
    # All steps multiply by it, and few rows at a time: it is faster copied than transposed.
    Wh_T = np.ascontiguousarray(Wh.T)
    for t in reversed(range(len(x))):
        # h_t feeds the layer above and step t + 1, so that two gradients add up;
        # h_t = tanh(a_t)  ⇒  da_t = dh_t ⊙ (1 - h_t²)
        dprev_h += dh[t]
        np.multiply(h[t], h[t], out=da[t])
        np.subtract(1, da[t], out=da[t])
        da[t] *= dprev_h
        # a_t = x_t·Wx + h_{t-1}·Wh + b  ⇒  dh_{t-1} = da_t·Whᵀ
        np.matmul(da[t], Wh_T, out=dprev_h)
    dx, dWx, dWh, db = _shared_weights_backward(da, x, states[:-1], Wx)
    return dx, dprev_h, dWx, dWh, db


def _shared_weights_backward(da, x, prev_h, Wx):
    """(dx, dWx, dWh, db), given da of a_t = x_t·Wx + h_{t-1}·Wh + b at all time steps.

    Every step uses the same weights, so their gradients are sums over all steps:
    one large product each, over the (T·N) rows of all steps together.
    """
    da_rows = _rows(da)
    dx = multiply(da_rows, Wx.T).reshape(x.shape)
    return dx, multiply(_rows(x).T, da_rows), multiply(_rows(prev_h).T, da_rows), \
        total(da_rows, axis=0)


def _rows(x):
    """(A, B, C) as (A·B, C): a view where the strides allow it."""
    return x.reshape(-1, x.shape[-1])


# ---------------------------------------------------------------- LSTM

# Columns of Wx, Wh and b, H of each: input gate i, forget gate f, output gate o and
# block input g, in CS231n's order (PyTorch has i, f, g, o). The first three are squashed
# by the logistic function, the last by tanh.

def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    """One time step of a long short-term memory.

        [a_i  a_f  a_o  a_g] = x·Wx + prev_h·Wh + b
        i, f, o = σ(a_i), σ(a_f), σ(a_o)        g = tanh(a_g)
        next_c = f ⊙ prev_c + i ⊙ g             next_h = o ⊙ tanh(next_c)

    Inputs:
        x: (N, D), the input of this step
        prev_h, prev_c: (N, H), hidden state and cell before it
        Wx: (D, 4H), Wh: (H, 4H), b: (4H,), their columns in the order i, f, o, g
    Returns (next_h, next_c, cache): next_h and next_c are (N, H); cache is
    (x, prev_h, prev_c, Wx, Wh, gates, tanh_c).
    Raises ValueError where the sizes do not fit.
    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997; the forget gate:
    Gers et al., "Learning to forget", 2000.
    """
    x, prev_h, Wx, Wh, b = _recurrent_inputs("lstm_step_forward", gates=4, x=x, prev_h=prev_h,
                                             Wx=Wx, Wh=Wh, b=b)
    prev_c = as_float_array("lstm_step_forward", "prev_c", prev_c, ndim=2)
    if prev_c.shape != prev_h.shape:
        raise ValueError(f"lstm_step_forward: prev_c expects the shape of prev_h, "
                         f"{prev_h.shape}, got {prev_c.shape}")
    gates = multiply(x, Wx) + multiply(prev_h, Wh)
    gates += b
    next_h, next_c, tanh_c = inplace_lstm_cell(gates, prev_c)
    return next_h, next_c, (x, prev_h, prev_c, Wx, Wh, gates, tanh_c)


def lstm_step_backward(dnext_h, dnext_c, cache):
    """Gradients of one time step of the LSTM.

    Inputs: dnext_h and dnext_c (N, H); cache from lstm_step_forward.
    Returns (dx, dprev_h, dprev_c, dWx, dWh, db) with the shapes of the inputs.
    Derived in docs/derivations.md, "LSTM".
    """
    x, prev_h, prev_c, Wx, Wh, gates, tanh_c = as_cache(
        "lstm_step_backward", cache, "ND", "NH", "NH", "DG", "HG", "NG", "NH",
        fits=lambda x, prev_h, prev_c, Wx, *_: Wx.shape[1] == 4 * prev_h.shape[1])
    dnext_h = as_upstream_gradient("lstm_step_backward", dnext_h, tanh_c.shape, "dnext_h")
    dnext_c = as_upstream_gradient("lstm_step_backward", dnext_c, tanh_c.shape, "dnext_c")
    da, dprev_c = _lstm_cell_backward(dnext_h, dnext_c, gates, tanh_c, prev_c)
    return (multiply(da, Wx.T), multiply(da, Wh.T), dprev_c,
            multiply(x.T, da), multiply(prev_h.T, da), total(da, axis=0))


def lstm_forward(x, h0, Wx, Wh, b):
    """An LSTM over whole sentences; all cells start at 0. The step is lstm_step_forward's.

    Inputs:
        x: (T, N, D)
        h0: (N, H), the hidden states before the first step
        Wx: (D, 4H), Wh: (H, 4H), b: (4H,), their columns in the order i, f, o, g
    Returns (h, cache): h is (T, N, H), the hidden state after each step; cache is
    (x, states, cells, gates, tanh_c, Wx, Wh): states and cells (T + 1, N, H) begin
    with those before the first step, gates (T, N, 4H) are i, f, o, g.
    Raises ValueError where the sizes do not fit.
    """
    x, h0, Wx, Wh, b = _recurrent_inputs("lstm_forward", gates=4, x=x, h0=h0, Wx=Wx, Wh=Wh, b=b)
    T, N, _ = x.shape
    dtype = np.result_type(x, h0, Wx, Wh, b)
    states = empty((T + 1, *h0.shape), dtype)
    states[0] = h0
    cells = empty(states.shape, dtype)
    cells[0] = 0
    tanh_c = empty((T, *h0.shape), dtype)
    gates = empty((T, N, Wx.shape[1]), dtype)
    np.matmul(_rows(x), Wx, out=_rows(gates))
    gates += b
    recurrent = np.empty_like(gates[0])
    for t in range(T):
        np.matmul(states[t], Wh, out=recurrent)
        gates[t] += recurrent
        states[t + 1], cells[t + 1], tanh_c[t] = inplace_lstm_cell(gates[t], cells[t])
    return states[1:], (x, states, cells, gates, tanh_c, Wx, Wh)


def lstm_backward(dh, cache):
    """Gradients of the LSTM: back-propagation through time.

    Inputs:
        dh: (T, N, H), the gradients that reach each h_t from above
        cache: from lstm_forward
    Returns (dx, dh0, dWx, dWh, db) with the shapes of the inputs.
    Derived in docs/derivations.md, "LSTM".
    """
    x, states, cells, gates, tanh_c, Wx, Wh = as_cache(
        "lstm_backward", cache, "TND", "SNH", "SNH", "TNG", "TNH", "DG", "HG",
        fits=lambda x, states, cells, gates, *_:
        len(states) == len(x) + 1 and gates.shape[2] == 4 * states.shape[2])
    dh = as_upstream_gradient("lstm_backward", dh, tanh_c.shape, "dh")
    da = empty(gates.shape, np.result_type(dh, gates))
    dprev_h = np.zeros(tanh_c.shape[1:], da.dtype)
    dprev_c = np.zeros_like(dprev_h)
    Wh_T = np.ascontiguousarray(Wh.T)           # as in rnn_backward
    for t in reversed(range(len(x))):
        dprev_h += dh[t]
        da[t], dprev_c = _lstm_cell_backward(dprev_h, dprev_c, gates[t], tanh_c[t], cells[t])
        np.matmul(da[t], Wh_T, out=dprev_h)
    dx, dWx, dWh, db = _shared_weights_backward(da, x, states[:-1], Wx)
    return dx, dprev_h, dWx, dWh, db


def inplace_lstm_cell(a, prev_c):
    """(next_h, next_c, tanh_c) of one step of an LSTM, given a = x·Wx + prev_h·Wh + b.

    Replaces a (N, 4H) by the gates i, f, o, g: the one function here that writes into
    an argument, for callers to whom `a` belongs. prev_c is (N, H), as are the results.
    """
    H = prev_c.shape[1]
    # σ(a) = ½ + ½·tanh(½a): it overflows nowhere, and one tanh does all four.
    logistic = a[:, :3 * H]
    logistic *= 0.5
    np.tanh(a, out=a)
    logistic *= 0.5
    logistic += 0.5
    i, f, o, g = (a[:, k * H:(k + 1) * H] for k in range(4))
    next_c = f * prev_c
    next_c += i * g
    tanh_c = np.tanh(next_c)
    return o * tanh_c, next_c, tanh_c


def _lstm_cell_backward(dnext_h, dnext_c, gates, tanh_c, prev_c):
    """(da, dprev_c): through one step, back to what the gates were computed from."""
    H = prev_c.shape[1]
    i, f, o, g = (gates[:, k * H:(k + 1) * H] for k in range(4))
    # next_h = o ⊙ tanh(next_c), and next_c also goes on to the next step
    dc = dnext_c + dnext_h * o * (1 - tanh_c * tanh_c)
    # σ' = σ·(1 - σ) and tanh' = 1 - tanh²
    da = np.empty_like(gates, dtype=dc.dtype)
    da[:, :H] = dc * g * i * (1 - i)
    da[:, H:2 * H] = dc * prev_c * f * (1 - f)
    da[:, 2 * H:3 * H] = dnext_h * tanh_c * o * (1 - o)
    da[:, 3 * H:] = dc * i * (1 - g * g)
    return da, dc * f


# ---------------------------------------------------------------- words in, words out

def word_embedding_forward(x, W):
    """Each word's vector: out = W[x].

    Inputs:
        x: integer array of any shape, usually (N, T): word ids, 0 <= x < V
        W: (V, D), a row for each word
    Returns (out, cache): out is (*x.shape, D); cache is (x, (V, D)).
    Raises ValueError for ids that are not integers or out of range.
    """
    W = as_float_array("word_embedding_forward", "W", W, ndim=2)
    x = as_indices("word_embedding_forward", "x", x, None, len(W))
    out = empty((*x.shape, W.shape[1]), W.dtype)
    # The ids are checked: "clip" only spares NumPy a buffer of its own.
    np.take(W, x, axis=0, out=out, mode="clip")
    return out, (x, W.shape)


def word_embedding_backward(dout, cache):
    """Gradient of the word vectors; word ids have none.

    Inputs: dout (*x.shape, D); cache from word_embedding_forward.
    Returns dW (V, D).
    Derived in docs/derivations.md, "Word embedding".
    """
    x, (V, D) = as_cache("word_embedding_backward", cache, np.ndarray, tuple,
                         fits=lambda x, shape: len(shape) == 2)
    x = as_indices("word_embedding_backward", "cache", x, None, V)
    dout = as_upstream_gradient("word_embedding_backward", dout, (*x.shape, D))
    # out_p = W[x_p]  ⇒  dW[v] = Σ_{p: x_p = v} dout_p. Sorted by word, the rows of a word
    # are neighbours and one sum each: three times as fast as np.add.at.
    order = np.argsort(x, axis=None, kind="stable")
    words, starts = np.unique(x.reshape(-1)[order], return_index=True)
    dW = zeros((V, D), dout.dtype)
    dW[words] = np.add.reduceat(dout.reshape(-1, D)[order], starts, axis=0)
    return dW


def temporal_fc_forward(x, w, b):
    """The same fully connected layer at every time step: out[n, t] = x[n, t]·w + b.

    Inputs:
        x: (N, T, D)
        w: (D, M)
        b: (M,)
    Returns (out, cache): out is (N, T, M); cache is (x, w).
    Raises ValueError where the sizes do not fit.
    """
    x = as_float_array("temporal_fc_forward", "x", x, ndim=3)
    w = as_float_array("temporal_fc_forward", "w", w, ndim=2)
    b = as_float_array("temporal_fc_forward", "b", b, ndim=1)
    N, T, D = x.shape
    if w.shape[0] != D:
        raise ValueError(f"temporal_fc_forward: w expects {D} rows, one for each feature of x "
                         f"with shape {x.shape}, got shape {w.shape}")
    if b.shape[0] != w.shape[1]:
        raise ValueError(f"temporal_fc_forward: b expects shape ({w.shape[1]},) to go with w of "
                         f"shape {w.shape}, got {b.shape}")
    out = multiply(_rows(x), w)
    out += b
    return out.reshape(N, T, -1), (x, w)


def temporal_fc_backward(dout, cache):
    """Gradients of the fully connected layer over time.

    Inputs: dout (N, T, M); cache from temporal_fc_forward.
    Returns (dx, dw, db) with the shapes of x, w and b.
    Derived in docs/derivations.md, "Temporal layers".
    """
    x, w = as_cache("temporal_fc_backward", cache, "NTD", "DM")
    dout = as_upstream_gradient("temporal_fc_backward", dout, (*x.shape[:2], w.shape[1]))
    # As fc_backward, with the N·T time steps in place of the N samples
    rows = _rows(dout)
    return multiply(rows, w.T).reshape(x.shape), multiply(_rows(x).T, rows), total(rows, axis=0)


# ---------------------------------------------------------------- loss

# Rows of scores that are worked on at once are to stay in a core's second-level cache.
_BLOCK_BYTES = 256 * 1024


def temporal_softmax_loss(x, y, mask):
    """Softmax and cross-entropy of every word: summed over time, averaged over the batch.

        loss = -1/N Σ_n Σ_t mask[n, t] · log p[n, t, y[n, t]],   p[n, t] = softmax(x[n, t])

    Inputs:
        x: (N, T, V) scores
        y: (N, T) integer word ids, 0 <= y < V
        mask: (N, T) booleans, or numbers 0 and 1: which positions count. At the
            others neither score is looked at nor gradient left.
    Returns (loss, dx): loss is a scalar of x's dtype, dx is (N, T, V).
    Raises ValueError for ids that are not integers or out of range, and for a mask
    of anything but 0 and 1.
    Derived in docs/derivations.md, "Temporal layers".
    """
    x = as_float_array("temporal_softmax_loss", "x", x, ndim=3)
    N, T, V = x.shape
    y = as_indices("temporal_softmax_loss", "y", y, (N, T), V).reshape(-1)
    counted = np.flatnonzero(_as_mask(mask, (N, T)))
    if len(counted) == N * T:
        losses, dscores = _cross_entropy(_rows(x), y, N)
        return total(losses) / x.dtype.type(N), dscores.reshape(x.shape)
    losses, dscores = _cross_entropy(_rows(x)[counted], y[counted], N)
    dx = zeros(x.shape, x.dtype)
    _rows(dx)[counted] = dscores
    return total(losses) / x.dtype.type(N), dx


def _cross_entropy(scores, y, divisor):
    """Loss (K,) of each row of scores (K, V), and the scores' gradient of its sum / divisor."""
    losses = np.empty(len(y), scores.dtype)
    dscores = empty(scores.shape, scores.dtype)
    rows_of_a_block = max(1, _BLOCK_BYTES // (scores.shape[1] * scores.itemsize))
    for start in range(0, len(y), rows_of_a_block):
        block = slice(start, start + rows_of_a_block)
        p, words = dscores[block], y[block]
        rows = np.arange(len(words))
        # log p = x - log Σ_v exp x_v; without the row's maximum it overflows never.
        np.subtract(scores[block], scores[block].max(axis=1, keepdims=True), out=p)
        right = p[rows, words]
        np.exp(p, out=p)
        denominator = total(p, axis=1, keepdims=True)
        losses[block] = np.log(denominator[:, 0]) - right
        # dL/dx_v = (p_v - [v = y]) / N
        p /= denominator
        p[rows, words] -= 1
        p /= divisor
    return losses, dscores


# ---------------------------------------------------------------- arguments

def _as_mask(mask, shape):
    """`mask` as booleans of this shape, or ValueError."""
    mask = as_float_array("temporal_softmax_loss", "mask", mask)
    if mask.shape != shape:
        raise ValueError(f"temporal_softmax_loss: mask expects shape {shape}, got {mask.shape}")
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("temporal_softmax_loss: mask expects booleans, or numbers 0 and 1, "
                         f"got {mask[(mask != 0) & (mask != 1)][0]}")
    return mask != 0


def _recurrent_inputs(function, gates=1, *, x, Wx, Wh, b, **state):
    """(x, h, Wx, Wh, b) as floating-point arrays that fit together, or ValueError.

    `state` is h0 for whole sentences, x being (T, N, D), or prev_h for one step,
    x being (N, D). The weights have `gates`·H columns.
    """
    (h_name, h), = state.items()
    x = as_float_array(function, "x", x, ndim=3 if h_name == "h0" else 2)
    h = as_float_array(function, h_name, h, ndim=2)
    Wx = as_float_array(function, "Wx", Wx, ndim=2)
    Wh = as_float_array(function, "Wh", Wh, ndim=2)
    b = as_float_array(function, "b", b, ndim=1)
    (N, D), H = x.shape[-2:], h.shape[1]
    for name, array, shape, reason in (
            (h_name, h, (N, H), f"a row for each of the {N} sentences of x"),
            ("Wx", Wx, (D, gates * H), f"x has {D} features, {h_name} {H}"),
            ("Wh", Wh, (H, gates * H), f"{h_name} has {H} features"),
            ("b", b, (gates * H,), f"{h_name} has {H} features")):
        if array.shape != shape:
            raise ValueError(f"{function}: {name} expects shape {shape} ({reason}), "
                             f"got {array.shape}")
    return x, h, Wx, Wh, b
