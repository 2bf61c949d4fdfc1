# rnn by a class that keeps its tape; batch-major inside, time-major at the border.
import numpy as np


class Tape(object):
    def __init__(self, Wx, Wh, b):
        self.Wx, self.Wh, self.b = Wx, Wh, b
        self.steps = []

    def forward(self, x, h):
        new = np.tanh(x @ self.Wx + h @ self.Wh + self.b)
        self.steps.append((x, h, new))
        return new


def rnn_forward(x, h0, Wx, Wh, b):
    xb = np.transpose(x, (1, 0, 2))
    N, T, D = xb.shape
    out = np.zeros((N, T, h0.shape[1]), dtype=x.dtype)
    tape = Tape(Wx, Wh, b)
    h = h0.copy()
    for t in range(T):
        h = tape.forward(xb[:, t], h)
        out[:, t] = h
    return out.transpose(1, 0, 2), tape


def rnn_backward(dh, cache):
    dh = dh.copy()
    grads = {name: np.zeros_like(getattr(cache, name)) for name in ("Wx", "Wh", "b")}
    dx = np.zeros(dh.shape[:2] + (cache.Wx.shape[0],), dh.dtype)
    for t in range(len(cache.steps))[::-1]:
        x, h, new = cache.steps[t]
        delta = dh[t] - dh[t] * new * new
        grads["Wx"] += x.T @ delta
        grads["Wh"] += h.T @ delta
        grads["b"] += delta.sum(0)
        dx[t] = delta @ cache.Wx.T
        before = delta @ cache.Wh.T
        if t:
            dh[t - 1] += before
    return dx, before, grads["Wx"], grads["Wh"], grads["b"]


def lstm_forward(x, h0, Wx, Wh, b):
    H = h0.shape[1]
    state = (h0, h0 * 0)
    hs, tape = [], []
    for t in range(len(x)):
        h, c = state
        z = np.concatenate((x[t], h), 1) @ np.concatenate((Wx, Wh), 0) + b
        z[:, :3 * H] = 1 / (1 + np.exp(-z[:, :3 * H]))
        z[:, 3 * H:] = np.tanh(z[:, 3 * H:])
        i, f, o, g = z[:, :H], z[:, H:2 * H], z[:, 2 * H:3 * H], z[:, 3 * H:]
        new_c = f * c + i * g
        state = (o * np.tanh(new_c), new_c)
        hs.append(state[0])
        tape.append((x[t], h, c, z, new_c))
    return np.array(hs), (tape, Wx, Wh)


def lstm_backward(dh, cache):
    tape, Wx, Wh = cache
    H = Wh.shape[0]
    dx, dWx, dWh, db = [], np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(Wh[0])
    dnext_h, dnext_c = np.zeros_like(dh[0]), np.zeros_like(dh[0])
    while tape:
        t = len(dh) - 1 - len(dx)
        x, h, c, z, new_c = tape[t]
        i, f, o, g = z[:, :H], z[:, H:2 * H], z[:, 2 * H:3 * H], z[:, 3 * H:]
        dht = dh[t] + dnext_h
        dct = dnext_c + dht * o * (1 - np.tanh(new_c) ** 2)
        dz = np.zeros_like(z)
        dz[:, :H] = dct * g * i * (1 - i)
        dz[:, H:2 * H] = dct * c * f * (1 - f)
        dz[:, 2 * H:3 * H] = dht * np.tanh(new_c) * o * (1 - o)
        dz[:, 3 * H:] = dct * i * (1 - g * g)
        dx.append(dz @ Wx.T)
        dnext_h, dnext_c = dz @ Wh.T, dct * f
        dWx += x.T @ dz
        dWh += h.T @ dz
        db += dz.sum(0)
        if t == 0:
            break
    return np.array(dx[::-1]), dnext_h, dWx, dWh, db
