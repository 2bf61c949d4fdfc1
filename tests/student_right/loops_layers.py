# No vectorisation at all: slow, but right. Everything in float of the input, fc for matrices only.
# warn fc_forward: flatten
import numpy as np


def fc_forward(x, w, b):
    N, D = x.shape
    M = w.shape[1]
    out = np.zeros((N, M), dtype=x.dtype)
    for i in range(N):
        for j in range(M):
            s = 0
            for k in range(D):
                s += x[i, k]*w[k, j]
            out[i, j] = s + b[j]
    cache = (x, w, b)
    return out, cache


def fc_backward(dout, cache):
    x, w, b = cache
    N, D = x.shape
    M = w.shape[1]
    dx = np.zeros((N, D), dtype=x.dtype)
    dw = np.zeros((D, M), dtype=w.dtype)
    db = np.zeros(M, dtype=b.dtype)
    for i in range(N):
        for j in range(M):
            db[j] += dout[i, j]
            for k in range(D):
                dx[i, k] += dout[i, j]*w[k, j]
                dw[k, j] += x[i, k]*dout[i, j]
    return dx, dw, db


def relu_forward(x):
    out = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        if x[index] > 0:
            out[index] = x[index]
        elif x[index] != x[index]:
            out[index] = x[index]
    return out, x


def relu_backward(dout, cache):
    x = cache
    dx = np.zeros_like(dout)
    for index in np.ndindex(x.shape):
        if x[index] > 0:
            dx[index] = dout[index]
    return dx


def conv_forward(x, w):
    N, C, H, W = x.shape
    F, C, HH, WW = w.shape
    Hout = H - HH + 1
    Wout = W - WW + 1
    out = np.zeros((N, F, Hout, Wout), dtype=x.dtype)
    for n in range(N):
        for f in range(F):
            for i in range(Hout):
                for j in range(Wout):
                    out[n, f, i, j] = np.sum(x[n, :, i:i+HH, j:j+WW]*w[f, :, :, :])
    return out, (x, w)


def conv_backward(dout, cache):
    x, w = cache
    N, C, H, W = x.shape
    F, C, HH, WW = w.shape
    N, F, Hout, Wout = dout.shape
    dx = np.zeros_like(x)
    dw = np.zeros_like(w)
    for n in range(N):
        for f in range(F):
            for i in range(Hout):
                for j in range(Wout):
                    dx[n, :, i:i+HH, j:j+WW] += w[f]*dout[n, f, i, j]
                    dw[f] += x[n, :, i:i+HH, j:j+WW]*dout[n, f, i, j]
    return dx, dw


def max_pool_forward(x, pool_param):
    N, C, H, W = x.shape
    HH = pool_param['pool_height']
    WW = pool_param['pool_width']
    stride = pool_param['stride']
    Hout = (H - HH)//stride + 1
    Wout = (W - WW)//stride + 1
    out = np.zeros((N, C, Hout, Wout), dtype=x.dtype)
    for n in range(N):
        for c in range(C):
            for i in range(Hout):
                for j in range(Wout):
                    out[n, c, i, j] = np.max(x[n, c, i*stride:i*stride+HH, j*stride:j*stride+WW])
    return out, (x, pool_param)


def max_pool_backward(dout, cache):
    x, pool_param = cache
    N, C, H, W = x.shape
    HH = pool_param['pool_height']
    WW = pool_param['pool_width']
    stride = pool_param['stride']
    N, C, Hout, Wout = dout.shape
    dx = np.zeros_like(x)
    for n in range(N):
        for c in range(C):
            for i in range(Hout):
                for j in range(Wout):
                    window = x[n, c, i*stride:i*stride+HH, j*stride:j*stride+WW]
                    row, col = np.unravel_index(np.argmax(window), window.shape)
                    dx[n, c, i*stride+row, j*stride+col] += dout[n, c, i, j]
    return dx


def softmax_loss(x, y):
    N, C = x.shape
    loss = 0.0
    dx = np.zeros_like(x)
    for i in range(N):
        scores = x[i] - np.max(x[i])
        denominator = np.sum(np.exp(scores))
        loss += np.log(denominator) - scores[y[i]]
        for j in range(C):
            dx[i, j] = np.exp(scores[j])/denominator
        dx[i, y[i]] -= 1
    loss /= N
    dx /= N
    return loss, dx
