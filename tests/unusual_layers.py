"""Layers that are right, but written as nobody in the project would: the grader must pass them."""
import numpy as np

import mistaken_layers

UNUSUAL = []        # (functions {contract name: function}, verdict wanted, label)


def unusual(*functions, verdict="pass"):
    """[an entry] of functions named LABEL__CONTRACT_NAME."""
    return [({function.__name__.split("__")[1]: function for function in functions}, verdict,
             functions[0].__name__.split("__")[0])]


def loops__fc_forward(x, w, b):
    N, M = len(x), len(b)
    out = np.empty((N, M), x.dtype)
    for n in range(N):
        sample = x[n].flatten()
        for m in range(M):
            total = b[m]
            for d in range(len(sample)):
                total = total + sample[d] * w[d, m]
            out[n, m] = total
    return out, {"x": x, "w": w, "unused": None}


def loops__fc_backward(dout, cache):
    x, w = cache["x"], cache["w"]
    rows = np.array([sample.flatten() for sample in x])
    dx = np.zeros(rows.shape, dout.dtype)
    dw, db = np.zeros(w.shape, dout.dtype), np.zeros(w.shape[1], dout.dtype)
    for n in range(len(x)):
        for m in range(len(db)):
            dx[n] += dout[n, m] * w[:, m]
            dw[:, m] += dout[n, m] * rows[n]
            db[m] += dout[n, m]
    return dx.reshape(x.shape), dw, db


UNUSUAL += unusual(loops__fc_forward, loops__fc_backward)


def augmented__fc_forward(x, w, b):
    """The bias is a row of the weights; outputs in Fortran order."""
    rows = np.hstack([x.reshape(len(x), -1), np.ones((len(x), 1), x.dtype)])
    weights = np.vstack([w, b])
    return np.asfortranarray(rows @ weights), [rows, weights, x.shape]


def augmented__fc_backward(dout, cache):
    rows, weights, shape = cache
    dweights = rows.T @ dout
    return (dout @ weights.T)[:, :-1].reshape(shape), dweights[:-1], dweights[-1]


UNUSUAL += unusual(augmented__fc_forward, augmented__fc_backward)


def half_at_0__relu_forward(x):
    return (x + abs(x)) / 2, x


def half_at_0__relu_backward(dout, cache):
    return dout * (np.sign(cache) + 1).astype(dout.dtype) / 2


UNUSUAL += unusual(half_at_0__relu_forward, half_at_0__relu_backward)


def mask__relu_forward(x):
    return x * (x >= 0), (None, x >= 0)


def mask__relu_backward(dout, cache):
    return cache[1] * dout


UNUSUAL += unusual(mask__relu_forward, mask__relu_backward)


def clip__relu_forward(x):
    out = x.clip(min=0)
    return out, out


def clip__relu_backward(dout, cache):
    dx = dout.copy()
    dx[cache == 0] = 0
    return dx


UNUSUAL += unusual(clip__relu_forward, clip__relu_backward)


def loops__conv_forward(x, w):
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    out = np.zeros((N, F, H - HH + 1, W - WW + 1), x.dtype)
    for n in range(N):
        for f in range(F):
            for i in range(out.shape[2]):
                for j in range(out.shape[3]):
                    out[n, f, i, j] = np.sum(x[n, :, i:i + HH, j:j + WW] * w[f])
    return out, (x, w)


def loops__conv_backward(dout, cache):
    x, w = cache
    HH, WW = w.shape[2:]
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for n, f, i, j in np.ndindex(dout.shape):
        dx[n, :, i:i + HH, j:j + WW] += w[f] * dout[n, f, i, j]
        dw[f] += x[n, :, i:i + HH, j:j + WW] * dout[n, f, i, j]
    return dx, dw


UNUSUAL += unusual(loops__conv_forward, loops__conv_backward)


def einsum__conv_forward(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    return np.einsum("ncijkl,fckl->nfij", windows, w), (windows, x.shape, w)


def einsum__conv_backward(dout, cache):
    windows, x_shape, w = cache
    dw = np.einsum("ncijkl,nfij->fckl", windows, dout)
    HH, WW = w.shape[2:]
    padded = np.pad(dout, ((0, 0), (0, 0), (HH - 1, HH - 1), (WW - 1, WW - 1)))
    turned = np.lib.stride_tricks.sliding_window_view(padded, (HH, WW), axis=(2, 3))
    return np.einsum("nfijkl,fckl->ncij", turned, w[:, :, ::-1, ::-1]), dw


UNUSUAL += unusual(einsum__conv_forward, einsum__conv_backward)


def fft__conv_forward(x, w):
    """Correlation is a product with the complex conjugate in the frequency domain."""
    H, W = x.shape[2:]
    fx, fw = np.fft.rfft2(x), np.fft.rfft2(w, s=(H, W))
    out = np.fft.irfft2(np.einsum("nchw,fchw->nfhw", fx, fw.conj()), s=(H, W))
    return out[:, :, :H - w.shape[2] + 1, :W - w.shape[3] + 1].astype(x.dtype), (x, w)


def fft__conv_backward(dout, cache):
    x, w = cache
    size = x.shape[2:]
    fd = np.fft.rfft2(dout, s=size)
    fx, fw = np.fft.rfft2(x), np.fft.rfft2(w, s=size)
    dx = np.fft.irfft2(np.einsum("nfhw,fchw->nchw", fd, fw), s=size)
    dw = np.fft.irfft2(np.einsum("nchw,nfhw->fchw", fx, fd.conj()), s=size)
    return dx.astype(x.dtype), dw[:, :, :w.shape[2], :w.shape[3]].astype(x.dtype)


UNUSUAL += unusual(fft__conv_forward, fft__conv_backward)


def shifts__conv_forward(x, w):
    """A sum over the places in the filter, not over those in the image; Fortran order."""
    HH, WW = w.shape[2:]
    OH, OW = x.shape[2] - HH + 1, x.shape[3] - WW + 1
    out = sum(np.tensordot(w[:, :, k, m], x[:, :, k:k + OH, m:m + OW], axes=(1, 1))
              for k in range(HH) for m in range(WW)).swapaxes(0, 1)
    return np.asfortranarray(out), (x, w, {"OH": OH, "OW": OW})


def shifts__conv_backward(dout, cache):
    x, w, sizes = cache
    dx, dw = np.zeros(x.shape, x.dtype), np.zeros(w.shape, w.dtype, order="F")
    for k, m in np.ndindex(w.shape[2:]):
        rows, columns = slice(k, k + sizes["OH"]), slice(m, m + sizes["OW"])
        dx[:, :, rows, columns] += np.tensordot(dout, w[:, :, k, m], axes=(1, 0)).transpose(0, 3, 1, 2)
        dw[:, :, k, m] = np.tensordot(dout, x[:, :, rows, columns], axes=((0, 2, 3), (0, 2, 3)))
    return dx, dw


UNUSUAL += unusual(shifts__conv_forward, shifts__conv_backward)


def pool_forward(x, pool_param):
    """Windows by stride tricks."""
    height, width, stride = (pool_param[k] for k in ("pool_height", "pool_width", "stride"))
    windows = np.lib.stride_tricks.sliding_window_view(x, (height, width), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]
    return windows.max(axis=(4, 5)), (x, pool_param)


def pool_backward(choose):
    """A backward pass that splits each window's dout by choose(window) -> weights."""
    def backward(dout, cache):
        x, pool_param = cache
        height, width, stride = (pool_param[k] for k in ("pool_height", "pool_width", "stride"))
        dx = np.zeros_like(x)
        for n, c, i, j in np.ndindex(dout.shape):
            place = (n, c, slice(i * stride, i * stride + height),
                     slice(j * stride, j * stride + width))
            dx[place] += choose(x[place]) * dout[n, c, i, j]
        return dx
    return backward


def last_maximum(window):
    weights = np.zeros_like(window)
    weights[tuple(np.argwhere(window == window.max())[-1])] = 1
    return weights


def shared_maximum(window):
    ties = (window == window.max()).astype(window.dtype)
    return ties / ties.sum()


def first_column_maximum(window):
    weights = np.zeros_like(window)
    column, row = np.unravel_index(window.T.argmax(), window.T.shape)
    weights[row, column] = 1
    return weights


UNUSUAL += [({"max_pool_forward": pool_forward, "max_pool_backward": pool_backward(choose)},
             "pass", choose.__name__)
            for choose in (last_maximum, shared_maximum, first_column_maximum)]


def reshape__max_pool_forward(x, pool_param):
    """Only for square windows: height and width are given apart, so that is wrong."""
    height, width, stride = (pool_param[k] for k in ("pool_height", "pool_width", "stride"))
    assert height == width == stride and x.shape[2] % height == x.shape[3] % width == 0
    N, C, H, W = x.shape
    tiles = x.reshape(N, C, H // height, height, W // width, width)
    out = tiles.max(axis=3).max(axis=4)
    return out, None


UNUSUAL += unusual(reshape__max_pool_forward, verdict="fail")


def textbook__softmax_loss(x, y):
    """-log p is infinite where p is 0."""
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.sum(np.log(p[np.arange(len(x)), y])) / len(x)
    dx = p.copy()
    dx[np.arange(len(x)), y] -= 1
    return loss, dx / len(x)


UNUSUAL += unusual(textbook__softmax_loss, verdict="warn")


def one_hot__softmax_loss(x, y):
    """0·log 0 is not a number."""
    N, C = x.shape
    right = np.eye(C, dtype=x.dtype)[y]
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return -(right * np.log(p)).sum() / N, (p - right) / N


UNUSUAL += unusual(one_hot__softmax_loss, verdict="warn")


def logaddexp__softmax_loss(x, y):
    log_p = x - np.logaddexp.reduce(x, axis=1, keepdims=True)
    dx = np.exp(log_p)
    np.add.at(dx, (np.arange(len(y)), y), -1)
    return float(-log_p[range(len(y)), y].mean()), dx * x.dtype.type(1 / len(y))


UNUSUAL += unusual(logaddexp__softmax_loss)


def row_by_row__softmax_loss(x, y):
    loss, dx = 0.0, np.zeros_like(x)
    for n, row in enumerate(x):
        e = np.exp(row - max(row))
        loss += np.log(e.sum()) + max(row) - row[y[n]]
        dx[n] = e / e.sum()
        dx[n, y[n]] -= 1
    return np.array(loss / len(x)), dx / len(x)


UNUSUAL += unusual(row_by_row__softmax_loss)


def stacked__rnn_step_forward(x, prev_h, Wx, Wh, b):
    """One product of the stacked inputs with the stacked weights."""
    both, weights = np.concatenate([x, prev_h], axis=1), np.concatenate([Wx, Wh])
    next_h = np.tanh(both @ weights + b)
    return next_h, {"both": both, "weights": weights, "h": next_h, "D": x.shape[1]}


def stacked__rnn_step_backward(dnext_h, cache):
    da = dnext_h * (1 - cache["h"]) * (1 + cache["h"])
    dboth, dweights, D = da @ cache["weights"].T, cache["both"].T @ da, cache["D"]
    return dboth[:, :D], dboth[:, D:], dweights[:D], dweights[D:], da.sum(axis=0)


UNUSUAL += unusual(stacked__rnn_step_forward, stacked__rnn_step_backward)


def logistic__rnn_forward(x, h0, Wx, Wh, b):
    """tanh from exp, and a cache of closures' worth: one tuple per step."""
    states, caches = [], []
    h = h0
    for x_t in x:
        before = h
        h = 1 - 2 / (1 + np.exp(2 * (np.dot(x_t, Wx) + np.dot(h, Wh) + b)))
        states.append(h)
        caches.append((x_t, before, h))
    return np.stack(states), (caches, Wx, Wh, b)


def logistic__rnn_backward(dh, cache):
    steps, Wx, Wh, b = cache
    dx, dWx, dWh, db = [], np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
    dprev_h = np.zeros_like(dh[0])
    for dh_t, (x_t, before, h) in zip(dh[::-1], reversed(steps)):
        da = (dh_t + dprev_h) * (1 - h * h)
        dprev_h = np.einsum("nh,kh->nk", da, Wh)
        dx.append(da @ Wx.T)
        dWx, dWh, db = dWx + x_t.T @ da, dWh + before.T @ da, db + da.sum(0)
    return np.array(dx[::-1]), dprev_h, dWx, dWh, db


UNUSUAL += unusual(logistic__rnn_forward, logistic__rnn_backward)


def one_hot__word_embedding_forward(x, W):
    chosen = (x[..., None] == np.arange(len(W))).astype(W.dtype)
    return chosen @ W, chosen


def one_hot__word_embedding_backward(dout, cache):
    return np.einsum("ntv,ntd->vd", cache, dout)


UNUSUAL += unusual(one_hot__word_embedding_forward, one_hot__word_embedding_backward)


def take__word_embedding_forward(x, W):
    return np.take(W, x, axis=0), (x, W.shape, W.dtype)


def take__word_embedding_backward(dout, cache):
    x, shape, dtype = cache
    order = np.argsort(x, axis=None, kind="stable")
    words, starts = np.unique(x.reshape(-1)[order], return_index=True)
    dW = np.zeros(shape, dtype)
    dW[words] = np.add.reduceat(dout.reshape(-1, shape[1])[order], starts, axis=0)
    return dW


UNUSUAL += unusual(take__word_embedding_forward, take__word_embedding_backward)


def stepwise__temporal_fc_forward(x, w, b):
    return np.stack([step @ w + b for step in x.swapaxes(0, 1)], axis=1), (x, w, b)


def stepwise__temporal_fc_backward(dout, cache):
    x, w, _ = cache
    return (np.stack([step @ w.T for step in dout.swapaxes(0, 1)], axis=1),
            sum(x[:, t].T @ dout[:, t] for t in range(x.shape[1])), np.einsum("ntm->m", dout))


UNUSUAL += unusual(stepwise__temporal_fc_forward, stepwise__temporal_fc_backward)


def textbook__temporal_softmax_loss(x, y, mask):
    """CS231n's: infinite or not a number where p is 0."""
    N, T, V = x.shape
    rows, words, counted = x.reshape(N * T, V), y.reshape(N * T), mask.reshape(N * T)
    p = np.exp(rows - np.max(rows, axis=1, keepdims=True))
    p /= np.sum(p, axis=1, keepdims=True)
    loss = -np.sum(counted * np.log(p[np.arange(N * T), words])) / N
    dx = p.copy()
    dx[np.arange(N * T), words] -= 1
    dx /= N
    dx *= counted[:, None]
    return loss, dx.reshape(N, T, V)


UNUSUAL += unusual(textbook__temporal_softmax_loss, verdict="warn")


def sentences__temporal_softmax_loss(x, y, mask):
    loss, dx = 0.0, np.zeros_like(x)
    for n, t in np.ndindex(y.shape):
        if mask[n, t]:
            shifted = x[n, t] - x[n, t].max()
            log_p = shifted - np.log(np.exp(shifted).sum())
            loss -= log_p[y[n, t]] / len(x)
            dx[n, t] = np.exp(log_p) / len(x)
            dx[n, t, y[n, t]] -= 1 / len(x)
    return loss, dx


UNUSUAL += unusual(sentences__temporal_softmax_loss)


def float64__conv_forward(x, w):
    """np.zeros without a dtype makes float64 of float32."""
    out, _ = loops__conv_forward(x.astype(float), w.astype(float))
    return out, (x, w)


def float64__conv_backward(dout, cache):
    x, w = cache
    return loops__conv_backward(dout.astype(float), (x.astype(float), w.astype(float)))


UNUSUAL += unusual(float64__conv_forward, float64__conv_backward, verdict="warn")


class Cache:
    """An object as a cache."""

    def __init__(self, **values):
        self.__dict__.update(values)


def object__temporal_fc_forward(x, w, b):
    return np.einsum("ntd,dm->ntm", x, w) + b, Cache(x=x, w=w, nothing=None, names=["x", "w"])


def object__temporal_fc_backward(dout, cache):
    flat = cache.x.reshape(-1, cache.x.shape[-1])
    return np.dot(dout, cache.w.T), np.dot(flat.T, dout.reshape(len(flat), -1)), sum(sum(dout))


UNUSUAL += unusual(object__temporal_fc_forward, object__temporal_fc_backward)


def textbook_adam(w, dw, config=None):
    """CS231n's: the config is changed in place, its state is filled in."""
    config = {} if config is None else config
    for name, value in (("learning_rate", 1e-3), ("beta1", 0.9), ("beta2", 0.999),
                        ("epsilon", 1e-8), ("m", np.zeros_like(w)), ("v", np.zeros_like(w)),
                        ("t", 0)):
        config.setdefault(name, value)
    config["t"] += 1
    config["m"] = config["beta1"] * config["m"] + (1 - config["beta1"]) * dw
    config["v"] = config["beta2"] * config["v"] + (1 - config["beta2"]) * dw ** 2
    m = config["m"] / (1 - config["beta1"] ** config["t"])
    v = config["v"] / (1 - config["beta2"] ** config["t"])
    return w - config["learning_rate"] * m / (np.sqrt(v) + config["epsilon"]), config


UNUSUAL += [({"adam": textbook_adam}, "pass", "textbook")]


def pytorchs_sgd_momentum(w, dw, config):
    velocity = config.get("momentum", 0.9) * config.get("velocity", 0) + dw
    return w - config["learning_rate"] * velocity, {**config, "velocity": velocity}


UNUSUAL += [({"sgd_momentum": pytorchs_sgd_momentum}, "pass", "pytorchs")]


class WithZeros(mistaken_layers.subject_with("TwoLayerNet", None)["TwoLayerNet"]):
    """The last layer starts at 0: its gradient does not."""

    def __init__(self, **options):
        super().__init__(**options)
        self.params["W2"][:] = 0


UNUSUAL += [({"TwoLayerNet": WithZeros}, "pass", "last_layer_at_0")]
