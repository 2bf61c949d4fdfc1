# -*- coding: utf-8 -*-
# A whole submission with all that people leave in: imports that are not needed or not there,
# prints, a global seed, arguments without a main guard, tests at the end of the file.
# pass fc_forward: scipy
# warn relu_backward: float64
import argparse
import os, sys
import time
import numpy as np
import matplotlib.pyplot as plt
from scipy.signal import convolve2d
from pycharm_helpers.debug import trace
sys.path.append('..')
np.random.seed(545)
np.set_printoptions(precision=3, suppress=True)

parser = argparse.ArgumentParser()
parser.add_argument('--verbose', type=int, default=1)
args = parser.parse_args()

plt.rcParams['figure.figsize'] = (10, 8)
print('loading layers ...')


def fc_forward(x, w, b):
    print('fc_forward', x.shape, w.shape, b.shape)
    out = np.matmul(np.reshape(x, (x.shape[0], -1)), w) + b
    cache = (x, w, b)
    return out, cache


def fc_backward(dout, cache):
    x, w, b = cache
    dx = np.matmul(dout, np.transpose(w)).reshape(x.shape)
    dw = np.matmul(np.reshape(x, (x.shape[0], -1)).T, dout)
    db = np.sum(dout, 0)
    # print(dx, dw, db)
    return dx, dw, db


def relu_forward(x):
    out = (np.abs(x) + x) / 2
    cache = x
    return out, cache


def relu_backward(dout, cache):
    x = cache
    dx = dout * np.where(x > 0, 1, 0)
    return dx


def conv_forward(x, w):
    start = time.time()
    N, C, H, W = x.shape
    F, C, HH, WW = w.shape
    H_ = 1 + (H - HH)
    W_ = 1 + (W - WW)
    out = np.zeros((N, F, H_, W_)).astype(x.dtype)
    for f in range(F):
        for i in range(H_):
            for j in range(W_):
                out[:, f, i, j] = np.sum(x[:, :, i:i+HH, j:j+WW] * w[f, :, :, :], axis=(1, 2, 3))
    if args.verbose > 1:
        print('conv took', time.time() - start)
    return out, (x, w)


def conv_backward(dout, cache):
    x, w = cache
    F, C, HH, WW = w.shape
    N, F, H_, W_ = dout.shape
    dx = np.zeros_like(x)
    dw = np.zeros_like(w)
    for f in range(F):
        for i in range(H_):
            for j in range(W_):
                d = dout[:, f, i, j][:, None, None, None]
                dw[f] += np.sum(x[:, :, i:i+HH, j:j+WW] * d, axis=0)
                dx[:, :, i:i+HH, j:j+WW] += w[f][None, ...] * d
    return dx, dw


def max_pool_forward(x, pool_param):
    N, C, H, W = x.shape
    ph, pw = pool_param.get('pool_height'), pool_param.get('pool_width')
    st = pool_param.get('stride')
    H_, W_ = 1 + (H - ph) // st, 1 + (W - pw) // st
    out = np.zeros((N, C, H_, W_)).astype(x.dtype)
    for i in range(H_):
        for j in range(W_):
            out[:, :, i, j] = x[:, :, i*st:i*st+ph, j*st:j*st+pw].max(axis=(2, 3))
    return out, (x, pool_param)


def max_pool_backward(dout, cache):
    x, pool_param = cache
    N, C, H, W = x.shape
    ph, pw = pool_param.get('pool_height'), pool_param.get('pool_width')
    st = pool_param.get('stride')
    dx = np.zeros_like(x)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            win = x[:, :, i*st:i*st+ph, j*st:j*st+pw].reshape(N, C, -1)
            ind = np.argmax(win, axis=2)
            one = (np.arange(ph*pw) == ind[:, :, None]) * dout[:, :, i, j][:, :, None]
            dx[:, :, i*st:i*st+ph, j*st:j*st+pw] += one.reshape(N, C, ph, pw)
    return dx


def softmax_loss(x, y):
    x = x - np.max(x, axis=1, keepdims=True)
    e = np.exp(x)
    N = x.shape[0]
    loss = np.sum(np.log(np.sum(e, axis=1)) - x[np.arange(N), y]) / N
    dx = e / np.sum(e, axis=1, keepdims=True)
    dx[np.arange(N), y] -= 1
    dx /= N
    # plt.plot(loss); plt.show()
    return loss, dx


if __name__ == '__main__':
    x = np.random.randn(3, 4)
    print(fc_forward(x, np.random.randn(4, 5), np.zeros(5)))
    print(convolve2d(x, x))
