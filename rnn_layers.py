"""The layers of a recurrent network that writes sentences, each a pair of pure functions.

    NAME_forward(inputs...)     -> (out, cache)
    NAME_backward(dout, cache)  -> the gradients of the inputs, in their order

L is the scalar loss at the end of the network; dout, dh and dc are its gradients with respect to
a layer's output, hidden states and cells.

Letters, used in every docstring and error message:

    N  sentences in the batch       T  time steps: words of a sentence
    D  features of a word vector    H  hidden state size
    V  words in the vocabulary      M  outputs of a fully connected layer

What layers.py promises of its layers holds here too. The recurrent layers are time-major: x is
(T, N, D) and h is (T, N, H), so that a time step is one contiguous block. The temporal layers take
one sentence after the other, (N, T, ...).

All gradients are derived in docs/derivations.md.
"""
import numpy as np

from checks import arrays, gradient, indices
from layers import fc_backward, fc_forward, softmax_loss


# ---------------------------------------------------------------- plain recurrent network

def rnn_step_forward(x, prev_h, Wx, Wh, b):
    """One time step of a plain recurrent network: next_h = tanh(x·Wx + prev_h·Wh + b).

    Inputs: x (N, D), the input of this step; prev_h (N, H), the hidden state before it;
    Wx (D, H); Wh (H, H); b (H,).
    Returns (next_h, cache): next_h is (N, H); cache is (x, prev_h, Wx, Wh, next_h).
    Source: EECS 545 homework 4, question 4.
    """
    x, prev_h, Wx, Wh, b = arrays("rnn_step_forward", x=(x, "ND"), prev_h=(prev_h, "NH"),
                                  Wx=(Wx, "DH"), Wh=(Wh, "HH"), b=(b, "H"))
    next_h = _rnn_cell(x @ Wx + b, prev_h, Wh)
    return next_h, (x, prev_h, Wx, Wh, next_h)


def rnn_step_backward(dnext_h, cache):
    """Gradients (dx, dprev_h, dWx, dWh, db) of one time step, given dnext_h (N, H).

    Derived in docs/derivations.md, "Recurrent network".
    """
    x, prev_h, Wx, Wh, next_h = cache
    dnext_h = gradient("rnn_step_backward", dnext_h, next_h.shape, "dnext_h")
    da = _rnn_cell_backward(dnext_h, next_h)
    # a = x·Wx + prev_h·Wh + b: two fully connected layers that share their output
    return da @ Wx.T, da @ Wh.T, x.T @ da, prev_h.T @ da, da.sum(axis=0)


def rnn_forward(x, h0, Wx, Wh, b):
    """A plain recurrent network over whole sentences: h_t = tanh(x_t·Wx + h_{t-1}·Wh + b).

    Inputs: x (T, N, D); h0 (N, H), the hidden states before the first step; Wx (D, H);
    Wh (H, H); b (H,).
    Returns (h, cache): h is (T, N, H), the hidden state after each step; cache is (x, h0, Wx, Wh, h).
    Source: EECS 545 homework 4, question 4.
    """
    x, h0, Wx, Wh, b = arrays("rnn_forward", x=(x, "TND"), h0=(h0, "NH"), Wx=(Wx, "DH"),
                              Wh=(Wh, "HH"), b=(b, "H"))
    h = _over_time(x, Wx, b)
    prev_h = h0
    for t in range(len(h)):
        prev_h = h[t] = _rnn_cell(h[t], prev_h, Wh)
    return h, (x, h0, Wx, Wh, h)


def rnn_backward(dh, cache):
    """Gradients (dx, dh0, dWx, dWh, db): back-propagation through time.

    dh (T, N, H) is the gradient that reaches each h_t from the layer above. What reaches it from
    later time steps is computed here.
    Derived in docs/derivations.md, "Recurrent network".
    """
    x, h0, Wx, Wh, h = cache
    dh = gradient("rnn_backward", dh, h.shape, "dh")
    da = np.empty(h.shape, np.result_type(dh, h))
    dprev_h = np.zeros_like(da[0])
    for t in reversed(range(len(h))):
        # h_t feeds the layer above and step t + 1, so two gradients add up
        da[t] = _rnn_cell_backward(dh[t] + dprev_h, h[t])
        # a_t = x_t·Wx + h_{t-1}·Wh + b  ⇒  dh_{t-1} = da_t·Whᵀ
        dprev_h = da[t] @ Wh.T
    dx, dWx, dWh, db = _over_time_backward(da, x, h0, h, Wx)
    return dx, dprev_h, dWx, dWh, db


def _rnn_cell(a, prev_h, Wh):
    """The hidden state after a step, given a = x·Wx + b."""
    return np.tanh(a + prev_h @ Wh)


def _rnn_cell_backward(dnext_h, next_h):
    """next_h = tanh(a) and tanh' = 1 - tanh²  ⇒  da = dnext_h ⊙ (1 - next_h²)"""
    return dnext_h * (1 - next_h * next_h)


def _over_time(x, Wx, b):
    """x_t·Wx + b for all t. It does not depend on h: one product for all time steps."""
    return (_rows(x) @ Wx + b).reshape(*x.shape[:2], -1)


def _over_time_backward(da, x, h0, h, Wx):
    """(dx, dWx, dWh, db), given da of a_t = x_t·Wx + h_{t-1}·Wh + b at all time steps.

    Every step uses the same weights, so their gradients are sums over all steps: one product
    over the T·N rows of all steps together.
    """
    dx = (_rows(da) @ Wx.T).reshape(x.shape)
    dWx = _rows(x).T @ _rows(da)
    dWh = h0.T @ da[0] + _rows(h[:-1]).T @ _rows(da[1:])
    return dx, dWx, dWh, _rows(da).sum(axis=0)


def _rows(x):
    """(A, B, C) as (A·B, C)."""
    return x.reshape(-1, x.shape[-1])


# ---------------------------------------------------------------- LSTM

# Columns of Wx, Wh and b, H of each: input gate i, forget gate f, output gate o and block input g,
# in CS231n's order (PyTorch has i, f, g, o). The logistic function squashes the first three, tanh
# the last.

def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    """One time step of a long short-term memory.

        [a_i  a_f  a_o  a_g] = x·Wx + prev_h·Wh + b
        i, f, o = σ(a_i), σ(a_f), σ(a_o)        g = tanh(a_g)
        next_c = f ⊙ prev_c + i ⊙ g             next_h = o ⊙ tanh(next_c)

    Inputs: x (N, D), the input of this step; prev_h, prev_c (N, H), hidden state and cell before
    it; Wx (D, 4H), Wh (H, 4H), b (4H,), their columns in the order i, f, o, g.
    Returns (next_h, next_c, cache): next_h and next_c are (N, H); cache is
    (x, prev_h, prev_c, Wx, Wh, gates, next_c).
    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997; the forget gate:
    Gers et al., "Learning to forget", 2000.
    """
    x, prev_h, prev_c, Wx, Wh, b = arrays(
        "lstm_step_forward", x=(x, "ND"), prev_h=(prev_h, "NH"), prev_c=(prev_c, "NH"),
        Wx=(Wx, "D4H"), Wh=(Wh, "H4H"), b=(b, "4H"))
    next_h, next_c, gates = _lstm_cell(x @ Wx + b, prev_h, prev_c, Wh)
    return next_h, next_c, (x, prev_h, prev_c, Wx, Wh, gates, next_c)


def lstm_step_backward(dnext_h, dnext_c, cache):
    """Gradients (dx, dprev_h, dprev_c, dWx, dWh, db), given dnext_h and dnext_c (N, H).

    Derived in docs/derivations.md, "LSTM".
    """
    x, prev_h, prev_c, Wx, Wh, gates, next_c = cache
    dnext_h = gradient("lstm_step_backward", dnext_h, next_c.shape, "dnext_h")
    dnext_c = gradient("lstm_step_backward", dnext_c, next_c.shape, "dnext_c")
    da, dprev_c = _lstm_cell_backward(dnext_h, dnext_c, gates, next_c, prev_c)
    return da @ Wx.T, da @ Wh.T, dprev_c, x.T @ da, prev_h.T @ da, da.sum(axis=0)


def lstm_forward(x, h0, Wx, Wh, b):
    """An LSTM over whole sentences; all cells start at 0. The step is lstm_step_forward's.

    Inputs: x (T, N, D); h0 (N, H), the hidden states before the first step; Wx (D, 4H),
    Wh (H, 4H), b (4H,), their columns in the order i, f, o, g.
    Returns (h, cache): h is (T, N, H), the hidden state after each step; cache is
    (x, h0, Wx, Wh, h, gates, c), with gates (T, N, 4H) and the cells c (T, N, H).
    """
    x, h0, Wx, Wh, b = arrays("lstm_forward", x=(x, "TND"), h0=(h0, "NH"), Wx=(Wx, "D4H"),
                              Wh=(Wh, "H4H"), b=(b, "4H"))
    gates = _over_time(x, Wx, b)
    h = np.empty((len(x), *h0.shape), gates.dtype)
    c = np.empty_like(h)
    prev_h, prev_c = h0, np.zeros_like(h0)
    for t in range(len(x)):
        h[t], c[t], gates[t] = _lstm_cell(gates[t], prev_h, prev_c, Wh)
        prev_h, prev_c = h[t], c[t]
    return h, (x, h0, Wx, Wh, h, gates, c)


def lstm_backward(dh, cache):
    """Gradients (dx, dh0, dWx, dWh, db): back-propagation through time.

    dh (T, N, H) is the gradient that reaches each h_t from the layer above.
    Derived in docs/derivations.md, "LSTM".
    """
    x, h0, Wx, Wh, h, gates, c = cache
    dh = gradient("lstm_backward", dh, h.shape, "dh")
    da = np.empty(gates.shape, np.result_type(dh, gates))
    dprev_h = dprev_c = np.zeros_like(dh[0])
    for t in reversed(range(len(h))):
        prev_c = c[t - 1] if t else np.zeros_like(c[0])
        da[t], dprev_c = _lstm_cell_backward(dh[t] + dprev_h, dprev_c, gates[t], c[t], prev_c)
        dprev_h = da[t] @ Wh.T
    dx, dWx, dWh, db = _over_time_backward(da, x, h0, h, Wx)
    return dx, dprev_h, dWx, dWh, db


def _lstm_cell(a, prev_h, prev_c, Wh):
    """(next_h, next_c, gates) of a step, given a = x·Wx + b; gates (N, 4H) are i, f, o, g."""
    H = prev_c.shape[1]
    gates = a + prev_h @ Wh
    # σ(a) = ½ + ½·tanh(½a) cannot overflow, and one tanh serves all four gates.
    gates[:, :3 * H] *= 0.5
    gates = np.tanh(gates)
    gates[:, :3 * H] *= 0.5
    gates[:, :3 * H] += 0.5
    i, f, o, g = np.split(gates, 4, axis=1)
    next_c = f * prev_c + i * g
    return o * np.tanh(next_c), next_c, gates


def _lstm_cell_backward(dnext_h, dnext_c, gates, next_c, prev_c):
    """(da, dprev_c) of a step: back to what the gates were computed from, and to the cell before."""
    i, f, o, g = np.split(gates, 4, axis=1)
    tanh_c = np.tanh(next_c)
    # next_h = o ⊙ tanh(next_c), and next_c also feeds the next step
    dc = dnext_c + dnext_h * o * (1 - tanh_c * tanh_c)
    # σ' = σ·(1 - σ) and tanh' = 1 - tanh²
    da_i = dc * g * i * (1 - i)
    da_f = dc * prev_c * f * (1 - f)
    da_o = dnext_h * tanh_c * o * (1 - o)
    da_g = dc * i * (1 - g * g)
    return np.hstack([da_i, da_f, da_o, da_g]), dc * f


# ---------------------------------------------------------------- words in, words out

def word_embedding_forward(x, W):
    """The vector of each word: out = W[x].

    Inputs: x, integers of any shape, usually (N, T): word ids, 0 <= x < V; W (V, D), a row for
    each word.
    Returns (out, cache): out is (*x.shape, D); cache is (x, W).
    Source: EECS 545 homework 4, question 4.
    """
    W, = arrays("word_embedding_forward", W=(W, "VD"))
    x = indices("word_embedding_forward", "x", x, None, len(W))
    return W[x], (x, W)


def word_embedding_backward(dout, cache):
    """Gradient dW (V, D) of the word vectors, given dout (*x.shape, D). Word ids have none.

    Derived in docs/derivations.md, "Word embedding".
    """
    x, W = cache
    dout = gradient("word_embedding_backward", dout, (*x.shape, W.shape[1]))
    # out_p = W[x_p]  ⇒  dW[v] = Σ_{p: x_p = v} dout_p. Sorted by word, the rows of a word are
    # neighbours, and one sum each is faster than np.add.at.
    order = np.argsort(x, axis=None, kind="stable")
    words, starts = np.unique(x.reshape(-1)[order], return_index=True)
    dW = np.zeros(W.shape, dout.dtype)
    dW[words] = np.add.reduceat(_rows(dout)[order], starts, axis=0)
    return dW


def temporal_fc_forward(x, w, b):
    """The same fully connected layer at every time step: out[n, t] = x[n, t]·w + b.

    Inputs: x (N, T, D); w (D, M); b (M,).
    Returns (out, cache): out is (N, T, M); cache is (x, w, b, out).
    Source: EECS 545 homework 4, question 4.
    """
    x, w, b = arrays("temporal_fc_forward", x=(x, "NTD"), w=(w, "DM"), b=(b, "M"))
    out, _ = fc_forward(_rows(x), w, b)
    out = out.reshape(*x.shape[:2], -1)
    return out, (x, w, b, out)


def temporal_fc_backward(dout, cache):
    """Gradients (dx, dw, db) of the fully connected layer over time, given dout (N, T, M).

    Derived in docs/derivations.md, "Temporal layers".
    """
    x, w, b, out = cache
    dout = gradient("temporal_fc_backward", dout, out.shape)
    dx, dw, db = fc_backward(_rows(dout), (_rows(x), w, b))
    return dx.reshape(x.shape), dw, db


def temporal_softmax_loss(x, y, mask, verbose=False):
    """Softmax and cross-entropy of every word: summed over time, averaged over the batch.

        loss = -1/N Σ_n Σ_t mask[n, t] · log p[n, t, y[n, t]],   p[n, t] = softmax(x[n, t])

    Inputs: x (N, T, V) scores; y (N, T) integer word ids, 0 <= y < V; mask (N, T), booleans or
    numbers 0 and 1: which words count. At the others scores are ignored and gradients are 0.
    verbose, in the published signature, prints the shape of dx.
    Returns (loss, dx): loss is a scalar of x's dtype, dx is (N, T, V).
    Source: EECS 545 homework 4, question 4.
    Derived in docs/derivations.md, "Temporal layers".
    """
    x, mask = arrays("temporal_softmax_loss", x=(x, "NTV"), mask=(mask, "NT"))
    N, T, V = x.shape
    y = indices("temporal_softmax_loss", "y", y, (N, T), V)
    counted = mask == 1
    if not (counted | (mask == 0)).all():
        raise ValueError(f"temporal_softmax_loss: mask expects booleans, or numbers 0 and 1, "
                         f"got {mask[~counted & (mask != 0)][0]}")
    dx = np.zeros_like(x)
    if verbose:
        print("dx:", dx.shape)
    if not counted.any():
        return x.dtype.type(0), dx
    # softmax_loss averages over the words that count: K / N times that is their sum, over N
    loss, drows = softmax_loss(x[counted], y[counted])
    words_per_sentence = len(drows) / N
    dx[counted] = drows * words_per_sentence
    return loss * words_per_sentence, dx
