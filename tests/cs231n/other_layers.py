# The same layers in other ways: loops, other caches, running values changed in place.
# warn conv_forward_naive: the stride does not divide the image
import numpy as np


def affine_forward(x, w, b):
    rows = np.reshape(x, (x.shape[0], np.prod(x.shape[1:])))
    return np.matmul(rows, w) + b[None, :], (x, w, b)


def affine_backward(dout, cache):
    x, w, b = cache
    rows = np.reshape(x, (x.shape[0], np.prod(x.shape[1:])))
    return np.matmul(dout, w.T).reshape(*x.shape), np.einsum("nd,nm->dm", rows, dout), dout.sum(0)


def svm_loss(x, y):
    loss, dx = 0.0, np.zeros_like(x)
    N, C = x.shape
    for n in range(N):
        for c in range(C):
            if c == y[n]:
                continue
            margin = x[n, c] - x[n, y[n]] + 1
            if margin > 0:
                loss += margin
                dx[n, c] += 1
                dx[n, y[n]] -= 1
    return loss / N, dx / N


def batchnorm_forward(x, gamma, beta, bn_param):
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    D = x.shape[1]
    running_mean = bn_param.get("running_mean", np.zeros(D, dtype=x.dtype))
    running_var = bn_param.get("running_var", np.zeros(D, dtype=x.dtype))
    if bn_param["mode"] == "train":
        sample_mean = np.mean(x, axis=0)
        centred = x - sample_mean
        sample_var = np.mean(centred ** 2, axis=0)
        inverse = 1.0 / np.sqrt(sample_var + eps)
        running_mean *= momentum
        running_mean += (1 - momentum) * sample_mean
        running_var *= momentum
        running_var += (1 - momentum) * sample_var
        cache = {"centred": centred, "inverse": inverse, "gamma": gamma}
    else:
        centred, inverse, cache = x - running_mean, 1 / np.sqrt(running_var + eps), None
    bn_param["running_mean"], bn_param["running_var"] = running_mean, running_var
    return centred * inverse * gamma + beta, cache


def batchnorm_backward(dout, cache):
    centred, inverse, gamma = cache["centred"], cache["inverse"], cache["gamma"]
    N, D = dout.shape
    dxhat = dout * gamma
    dinverse = np.sum(dxhat * centred, axis=0)
    dvar = -0.5 * inverse ** 3 * dinverse
    dcentred = dxhat * inverse + 2.0 / N * np.ones((N, D), dtype=dout.dtype) * centred * dvar
    dmean = -np.sum(dcentred, axis=0)
    dx = dcentred + np.ones((N, D), dtype=dout.dtype) * dmean / N
    return dx, np.sum(dout * centred * inverse, axis=0), np.sum(dout, axis=0)


def batchnorm_backward_alt(dout, cache):
    centred, inverse, gamma = cache["centred"], cache["inverse"], cache["gamma"]
    xhat = centred * inverse
    dxhat = dout * gamma
    dx = inverse * (dxhat - dxhat.mean(0) - xhat * (dxhat * xhat).mean(0))
    return dx, (dout * xhat).sum(0), dout.sum(0)


def layernorm_forward(x, gamma, beta, ln_param):
    eps = ln_param.get("eps", 1e-5)
    xT = x.T
    mean, var = xT.mean(axis=0), xT.var(axis=0)
    xhat = ((xT - mean) / np.sqrt(var + eps)).T
    return gamma * xhat + beta, (xhat, gamma, var + eps)


def layernorm_backward(dout, cache):
    xhat, gamma, var = cache
    N, D = dout.shape
    dx = np.zeros_like(dout)
    for n in range(N):
        d = dout[n] * gamma
        dx[n] = (d - d.sum() / D - xhat[n] * np.dot(d, xhat[n]) / D) / np.sqrt(var[n])
    return dx, np.einsum("nd,nd->d", dout, xhat), dout.sum(axis=0)


def dropout_forward(x, dropout_param):
    p, mode = dropout_param["p"], dropout_param["mode"]
    if "seed" in dropout_param:
        np.random.seed(dropout_param["seed"])
    mask = None
    out = x
    if mode == "train":
        mask = np.random.uniform(size=x.shape) <= p
        out = np.where(mask, x / p, 0).astype(x.dtype)
    return out, (dropout_param, mask)


def dropout_backward(dout, cache):
    dropout_param, mask = cache
    if dropout_param["mode"] == "test":
        return dout
    dx = dout / dropout_param["p"]
    dx[mask == 0] = 0
    return dx


def conv_forward_naive(x, w, b, conv_param):
    stride, pad = conv_param["stride"], conv_param["pad"]
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    assert (H + 2 * pad - HH) % stride == 0, "the stride does not fit the height"
    assert (W + 2 * pad - WW) % stride == 0, "the stride does not fit the width"
    padded = np.zeros((N, C, H + 2 * pad, W + 2 * pad), dtype=x.dtype)
    padded[:, :, pad:pad + H, pad:pad + W] = x
    rows = list(range(0, H + 2 * pad - HH + 1, stride))
    columns = list(range(0, W + 2 * pad - WW + 1, stride))
    out = np.empty((N, F, len(rows), len(columns)), dtype=x.dtype)
    for n in range(N):
        for i, top in enumerate(rows):
            for j, left in enumerate(columns):
                window = padded[n, :, top:top + HH, left:left + WW].ravel()
                out[n, :, i, j] = w.reshape(F, -1) @ window + b
    return out, (x, w, b, conv_param)


def conv_backward_naive(dout, cache):
    x, w, b, conv_param = cache
    stride, pad = conv_param["stride"], conv_param["pad"]
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    padded = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)], "constant")
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for n in range(N):
        for i in range(dout.shape[2]):
            for j in range(dout.shape[3]):
                place = np.s_[n, :, i * stride:i * stride + HH, j * stride:j * stride + WW]
                dpadded[place] += np.tensordot(dout[n, :, i, j], w, axes=1)
                dw += dout[n, :, i, j][:, None, None, None] * padded[place]
    if pad > 0:
        dpadded = dpadded[:, :, pad:-pad, pad:-pad]
    return dpadded, dw, np.einsum("nfij->f", dout)


def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    N, C, H, W = x.shape
    rows = np.swapaxes(x, 0, 1).reshape(C, -1).T
    out, cache = batchnorm_forward(rows, gamma, beta, bn_param)
    return np.swapaxes(out.T.reshape(C, N, H, W), 0, 1), cache


def spatial_batchnorm_backward(dout, cache):
    N, C, H, W = dout.shape
    rows = np.swapaxes(dout, 0, 1).reshape(C, -1).T
    dx, dgamma, dbeta = batchnorm_backward(rows, cache)
    return np.swapaxes(dx.T.reshape(C, N, H, W), 0, 1), dgamma, dbeta


def spatial_groupnorm_forward(x, gamma, beta, G, gn_param):
    eps = gn_param.get("eps", 1e-5)
    N, C, H, W = x.shape
    xhat, std = np.zeros_like(x), np.zeros((N, G), dtype=x.dtype)
    size = C // G
    for n in range(N):
        for g in range(G):
            part = x[n, g * size:(g + 1) * size]
            std[n, g] = np.sqrt(part.var() + eps)
            xhat[n, g * size:(g + 1) * size] = (part - part.mean()) / std[n, g]
    return gamma * xhat + beta, (xhat, std, gamma, G)


def spatial_groupnorm_backward(dout, cache):
    xhat, std, gamma, G = cache
    N, C, H, W = dout.shape
    d = (dout * gamma).reshape(N * G, -1).T
    hat = xhat.reshape(N * G, -1).T
    M = d.shape[0]
    dx = (M * d - d.sum(axis=0) - hat * (d * hat).sum(axis=0)) / (M * std.reshape(-1))
    dgamma = (dout * xhat).sum(axis=(0, 2, 3)).reshape(1, C, 1, 1)
    return dx.T.reshape(N, C, H, W), dgamma, dout.sum(axis=(0, 2, 3)).reshape(1, C, 1, 1)
