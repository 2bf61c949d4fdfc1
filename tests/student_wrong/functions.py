"""Wrong functions that differ from a right one in more than a line. A name before two underscores
is the student's; the docstring holds words that the diagnosis must hold."""
import numpy as np


def padded__conv_backward(dout, cache):
    """pad is 0"""
    x, w = cache
    F, C, HH, WW = w.shape
    N, _, H, W = x.shape
    ph, pw = HH - 1, WW - 1
    padded = np.zeros((N, F, dout.shape[2] + 2*ph, dout.shape[3] + 2*pw), dout.dtype)
    padded[:, :, ph:-ph, pw:-pw] = dout
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    turned = w[:, :, ::-1, ::-1]
    for i in range(H):
        for j in range(W):
            dx[:, :, i, j] = np.tensordot(padded[:, :, i:i+HH, j:j+WW], turned,
                                          ([1, 2, 3], [0, 2, 3]))
    for p in range(HH):
        for q in range(WW):
            dw[:, :, p, q] = np.tensordot(dout, x[:, :, p:p+dout.shape[2], q:q+dout.shape[3]],
                                          ([0, 2, 3], [0, 2, 3]))
    return dx, dw


def square__conv_backward(dout, cache):
    """used for the columns"""
    x, w = cache
    F, C, HH, WW = w.shape
    pad = HH - 1
    padded = np.pad(dout, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            dx[:, :, i, j] = np.tensordot(padded[:, :, i:i+HH, j:j+WW], w[:, :, ::-1, ::-1],
                                          ([1, 2, 3], [0, 2, 3]))
    for p in range(HH):
        for q in range(WW):
            dw[:, :, p, q] = np.tensordot(dout, x[:, :, p:p+dout.shape[2], q:q+dout.shape[3]],
                                          ([0, 2, 3], [0, 2, 3]))
    return dx, dw


def square__conv_forward(x, w):
    """squares"""
    N, C, H, W = x.shape
    F, _, k, _ = w.shape
    out = np.zeros((N, F, H - k + 1, H - k + 1), x.dtype)
    for i in range(H - k + 1):
        for j in range(H - k + 1):
            out[:, :, i, j] = np.tensordot(x[:, :, i:i+k, j:j+k], w, ([1, 2, 3], [1, 2, 3]))
    return out, (x, w)


def listed__max_pool_forward(x, pool_param):
    """reshape"""
    N, C, H, W = x.shape
    h, w, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    values = []
    for i in range((H - h)//s + 1):
        for j in range((W - w)//s + 1):
            values.append(x[:, :, i*s:i*s+h, j*s:j*s+w].max(axis=(2, 3)))
    return np.array(values).reshape(N, C, (H - h)//s + 1, (W - w)//s + 1), (x, pool_param)


def stacked__conv_forward(x, w):
    """reshape"""
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    pixels = []
    for i in range(H - HH + 1):
        for j in range(W - WW + 1):
            pixels.append(x[:, :, i:i+HH, j:j+WW].reshape(N, -1) @ w.reshape(F, -1).T)
    return np.array(pixels).reshape(N, F, H - HH + 1, W - WW + 1), (x, w)


def channels__conv_forward(x, w):
    """last channel"""
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    out = np.zeros((N, F, H - HH + 1, W - WW + 1), x.dtype)
    for f in range(F):
        for c in range(C):
            for i in range(H - HH + 1):
                for j in range(W - WW + 1):
                    out[:, f, i, j] = np.sum(x[:, c, i:i+HH, j:j+WW] * w[f, c], axis=(1, 2))
    return out, (x, w)


def square__max_pool_forward(x, pool_param):
    """width"""
    N, C, H, W = x.shape
    size, stride = pool_param['pool_height'], pool_param['stride']
    n = (H - size)//stride + 1
    out = np.zeros((N, C, n, n), x.dtype)
    for i in range(n):
        for j in range(n):
            out[:, :, i, j] = x[:, :, i*stride:i*stride+size, j*stride:j*stride+size].max((2, 3))
    return out, (x, pool_param)


def unmoved__max_pool_backward(dout, cache):
    """(i·stride, j·stride)"""
    x, pool_param = cache
    h, w = pool_param['pool_height'], pool_param['pool_width']
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(dout.shape):
        window = x[n, c, i:i+h, j:j+w]
        row, column = np.unravel_index(window.argmax(), window.shape)
        dx[n, c, i+row, j+column] += dout[n, c, i, j]
    return dx


def tiled__max_pool_forward(x, pool_param):
    """cannot reshape"""
    N, C, H, W = x.shape
    h, w = pool_param['pool_height'], pool_param['pool_width']
    tiles = x.reshape(N, C, H//h, h, W//w, w)
    return tiles.max(axis=(3, 5)), (x, pool_param)


def global__fc_forward(x, w, b):
    """bias_not_there"""
    return x @ w + bias_not_there, (x, w, b)


def zeros__fc_backward(dout, cache):
    """0 everywhere"""
    x, w, b = cache
    return np.zeros_like(x), np.zeros_like(w), np.zeros_like(b)


def written__fc_backward(dout, cache):
    """changes w"""
    x, w, b = cache
    dw = x.reshape(len(x), -1).T @ dout
    dx = (dout @ w.T).reshape(x.shape)
    w -= 0.1 * dw
    return dx, dw, dout.sum(0)


def labels__softmax_loss(x, y):
    """changes y"""
    N = len(y)
    p = np.exp(x - x.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[np.arange(N), y]).mean()
    p[np.arange(N), y] -= 1
    y += 1
    return loss, p / N


def short__fc_forward(x, w, b):
    """not the tuple (out, cache)"""
    return x.reshape(len(x), -1) @ w + b


def integers__relu_backward(dout, cache):
    """dtype"""
    return (dout * (cache > 0)).astype(int)


def rounded__temporal_fc_forward(x, w, b):
    """not a NumPy array"""
    return "a wrong thing", (x, w, b)


def batch__rnn_forward(x, h0, Wx, Wh, b):
    """raises"""
    N, T, D = x.shape
    h = np.zeros((N, T, h0.shape[1]), x.dtype)
    for t in range(T):
        h0 = np.tanh(x[:, t] @ Wx + h0 @ Wh + b)
        h[:, t] = h0
    return h, (x, h, Wx, Wh, b)


def kept__sgd_momentum(w, dw, config=None):
    """outside of config"""
    global velocity
    velocity = 0.9 * globals().get('velocity', 0) - config['learning_rate'] * dw
    return w + velocity, config


def counted__adam(w, dw, config=None):
    """t is 0"""
    config.setdefault('t', 0)
    config.setdefault('m', 0)
    config.setdefault('v', 0)
    config['m'] = 0.9 * config['m'] + 0.1 * dw
    config['v'] = 0.999 * config['v'] + 0.001 * dw ** 2
    config['t'] = 1 - 0.9 ** 0
    m, v = config['m'] / config['t'], config['v'] / config['t']
    return w - config['learning_rate'] * m / (np.sqrt(v) + 1e-8), config
