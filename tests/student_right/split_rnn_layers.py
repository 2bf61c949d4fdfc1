# np.split for the gates, dicts as caches, stacked weights; reshape for time.
import numpy as np


def _sigmoid(z):
    positive = z >= 0
    e = np.exp(np.where(positive, -z, z))
    return np.where(positive, 1, e) / (1 + e)


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    xh = np.hstack((x, prev_h))
    W = np.vstack((Wx, Wh))
    next_h = np.tanh(xh.dot(W) + b)
    return next_h, {"xh": xh, "W": W, "h": next_h, "D": x.shape[1]}


def rnn_step_backward(dnext_h, cache):
    D = cache["D"]
    dz = (1 - np.square(cache["h"])) * dnext_h
    dxh = dz.dot(cache["W"].T)
    dW = cache["xh"].T.dot(dz)
    return dxh[:, :D], dxh[:, D:], dW[:D], dW[D:], dz.sum(0)


def rnn_forward(x, h0, Wx, Wh, b):
    T, N, _ = x.shape
    projected = (x.reshape(T * N, -1) @ Wx + b).reshape(T, N, -1)
    h = np.empty_like(projected)
    for t in range(T):
        h[t] = np.tanh(projected[t] + (h0 if t == 0 else h[t - 1]) @ Wh)
    return h, dict(x=x, h0=h0, Wx=Wx, Wh=Wh, h=h)


def rnn_backward(dh, cache):
    x, h, Wx, Wh = cache["x"], cache["h"], cache["Wx"], cache["Wh"]
    T, N, D = x.shape
    before = np.concatenate((cache["h0"][None], h[:-1]))
    dz = np.zeros_like(h)
    carry = np.zeros_like(h[0])
    for t in reversed(range(T)):
        dz[t] = (dh[t] + carry) * (1 - h[t] ** 2)
        carry = dz[t] @ Wh.T
    dWx = np.einsum("tnd,tnh->dh", x, dz)
    dWh = np.einsum("tnk,tnh->kh", before, dz)
    return dz @ Wx.T, carry, dWx, dWh, dz.sum(axis=(0, 1))


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    gates = x @ Wx + prev_h @ Wh + b
    ai, af, ao, ag = np.split(gates, 4, axis=1)
    i, f, o, g = _sigmoid(ai), _sigmoid(af), _sigmoid(ao), np.tanh(ag)
    next_c = prev_c * f + i * g
    tanh_c = np.tanh(next_c)
    next_h = tanh_c * o
    return next_h, next_c, dict(x=x, prev_h=prev_h, prev_c=prev_c, Wx=Wx, Wh=Wh,
                                gates=(i, f, o, g), tanh_c=tanh_c)


def lstm_step_backward(dnext_h, dnext_c, cache):
    i, f, o, g = cache["gates"]
    tanh_c = cache["tanh_c"]
    dc = dnext_h * o * (1 - tanh_c * tanh_c) + dnext_c
    da = np.hstack([
        dc * g * i * (1 - i),
        dc * cache["prev_c"] * f * (1 - f),
        dnext_h * tanh_c * o * (1 - o),
        dc * i * (1 + g) * (1 - g),
    ])
    return (da @ cache["Wx"].T, da @ cache["Wh"].T, dc * f,
            cache["x"].T @ da, cache["prev_h"].T @ da, np.sum(da, 0))


def lstm_forward(x, h0, Wx, Wh, b):
    hs, caches = [h0], []
    c = np.zeros(h0.shape, h0.dtype)
    for xt in x:
        h, c, cache = lstm_step_forward(xt, hs[-1], c, Wx, Wh, b)
        hs.append(h)
        caches.append(cache)
    return np.asarray(hs[1:]), caches


def lstm_backward(dh, cache):
    dWx, dWh, db = (np.zeros_like(p) for p in (cache[0]["Wx"], cache[0]["Wh"], cache[0]["Wx"][0]))
    dx = [None] * len(cache)
    dprev_h = dprev_c = np.zeros_like(dh[0])
    for t, (dht, step) in reversed(list(enumerate(zip(dh, cache)))):
        dx[t], dprev_h, dprev_c, *grads = lstm_step_backward(dht + dprev_h, dprev_c, step)
        for total, grad in zip((dWx, dWh, db), grads):
            total += grad
    return np.stack(dx), dprev_h, dWx, dWh, db


def word_embedding_forward(x, W):
    V = W.shape[0]
    one_hot = np.zeros(x.shape + (V,), dtype=W.dtype)
    n, t = np.indices(x.shape)
    one_hot[n, t, x] = 1
    return one_hot.dot(W), one_hot


def word_embedding_backward(dout, cache):
    V, D = cache.shape[-1], dout.shape[-1]
    return cache.reshape(-1, V).T.dot(dout.reshape(-1, D))


def temporal_fc_forward(x, w, b):
    N, T, D = x.shape
    out = (x.reshape(N * T, D) @ w + b).reshape(N, T, w.shape[1])
    return out, (x, w, b)


def temporal_fc_backward(dout, cache):
    x, w = cache[0], cache[1]
    N, T, D = x.shape
    flat = dout.reshape(N * T, -1)
    return (flat @ w.T).reshape(N, T, D), x.reshape(N * T, D).T @ flat, flat.sum(axis=0)


def temporal_softmax_loss(x, y, mask, verbose=False):
    N, T, V = x.shape
    x_flat, y_flat, mask_flat = x.reshape(N * T, V), y.reshape(N * T), mask.reshape(N * T)
    top = x_flat.max(axis=1, keepdims=True)
    log_p = x_flat - top - np.log(np.exp(x_flat - top).sum(axis=1, keepdims=True))
    loss = -(mask_flat * log_p[np.arange(N * T), y_flat]).sum() / N
    d = np.exp(log_p)
    d[np.arange(N * T), y_flat] -= 1
    d *= (mask_flat / N)[:, None].astype(x.dtype)
    return loss, d.reshape(x.shape)
