# The same layers in unusual ways: layer normalisation by batch normalisation, a channel at a time,
# windows as a view, the mask of what is dropped.
import numpy as np
from numpy.lib.stride_tricks import as_strided


def svm_loss(x, y):
    Y = np.eye(x.shape[1], dtype=x.dtype)[y]
    m = x - (x * Y).sum(1, keepdims=True) + (1 - Y)
    hot = (m > 0).astype(x.dtype) * (1 - Y)
    loss = np.mean(np.sum(np.clip(m, 0, None) * (1 - Y), axis=1))
    return loss, (hot - Y * hot.sum(1)[:, None]) / len(x)


def batchnorm_forward(x, gamma, beta, bn_param):
    is_layernorm = bn_param.get("layernorm", 0)
    eps = bn_param.setdefault("eps", 1e-5)
    momentum = bn_param.setdefault("momentum", 0.9)
    if not is_layernorm:
        bn_param.setdefault("running_mean", np.zeros(x.shape[1], dtype=x.dtype))
        bn_param.setdefault("running_var", np.zeros(x.shape[1], dtype=x.dtype))
    if bn_param["mode"] == "test":
        xhat = (x - bn_param["running_mean"]) / np.sqrt(bn_param["running_var"] + eps)
        return gamma * xhat + beta, None
    mu = np.einsum("nd->d", x) / len(x)
    xc = x - mu
    std = (np.einsum("nd,nd->d", xc, xc) / len(x) + eps) ** 0.5
    if not is_layernorm:
        bn_param["running_mean"] *= momentum
        bn_param["running_mean"] += (1 - momentum) * mu
        bn_param["running_var"] *= momentum
        bn_param["running_var"] += (1 - momentum) * (std ** 2 - eps)
    return gamma * (xc / std) + beta, [xc, std, gamma, is_layernorm]


def batchnorm_backward(dout, cache):
    xc, std, gamma, axis = cache
    N = dout.shape[0]
    dfdz = dout * gamma
    dzdv = -0.5 * std ** -3 * xc
    dx = dfdz / std + np.sum(dfdz * -1 / std, axis=0) / N
    dx += np.sum(dfdz * dzdv, axis=0) * (2 / N * xc)
    return dx, np.sum(dout * xc / std, axis=axis), np.sum(dout, axis=axis)


def batchnorm_backward_alt(dout, cache):
    xc, std, gamma, axis = cache
    N, xhat = len(dout), xc / std
    dx = np.empty_like(dout)
    for d in range(dout.shape[1]):
        jacobian = np.eye(N, dtype=dout.dtype) - 1 / N - np.outer(xhat[:, d], xhat[:, d]) / N
        dx[:, d] = jacobian @ (dout * gamma)[:, d] / std[d]
    return dx, np.einsum("nd,nd->d", dout, xhat), dout.sum(axis=0)


def layernorm_forward(x, gamma, beta, ln_param):
    ln_param = {**ln_param, "mode": "train", "layernorm": 1}
    out, cache = batchnorm_forward(x.T, gamma.reshape(-1, 1), beta.reshape(-1, 1), ln_param)
    return out.T, cache


def layernorm_backward(dout, cache):
    dx, dgamma, dbeta = batchnorm_backward(dout.T, cache)
    return dx.T, dgamma, dbeta


def dropout_forward(x, dropout_param):
    if "seed" in dropout_param:
        np.random.seed(dropout_param["seed"])
    out, dropped = x.copy(), None
    if dropout_param["mode"] == "train":
        dropped = np.random.rand(*x.shape) >= dropout_param["p"]
        out /= dropout_param["p"]
        out[dropped] = 0
    return out, (dropout_param, dropped)


def dropout_backward(dout, cache):
    dropout_param, dropped = cache
    if dropped is None:
        return dout
    dx = dout / dropout_param["p"]
    dx[dropped] *= 0
    return dx


def windows(xp, HH, WW, stride):
    N, C, H, W = xp.shape
    n, c, h, w = xp.strides
    sizes = (H - HH) // stride + 1, (W - WW) // stride + 1, HH, WW
    return as_strided(xp, (N, C, *sizes), (n, c, h * stride, w * stride, h, w))


def conv_forward_naive(x, w, b, conv_param):
    stride, pad = conv_param.get("stride", 1), conv_param.get("pad", 0)
    xp = np.pad(x, [(0,), (0,), (pad,), (pad,)])
    out = np.tensordot(windows(xp, *w.shape[2:], stride), w, axes=[(1, 4, 5), (1, 2, 3)])
    out = out.transpose(0, 3, 1, 2)
    out += b.reshape(1, -1, 1, 1)
    return out, (x, w, b, conv_param)


def conv_backward_naive(dout, cache):
    x, w, b, conv_param = cache
    stride, pad = conv_param.get("stride", 1), conv_param.get("pad", 0)
    (N, C, H, W), (F, _, HH, WW), (_, _, OH, OW) = x.shape, w.shape, dout.shape
    xp = np.pad(x, [(0,), (0,), (pad,), (pad,)])
    dw = np.tensordot(dout, windows(xp, HH, WW, stride), axes=[(0, 2, 3), (0, 2, 3)])
    # dout with gaps, and then a convolution with the filters turned around
    wide = np.zeros((N, F, H + 2 * pad + HH - 1, W + 2 * pad + WW - 1), dtype=dout.dtype)
    for i in range(OH):
        for j in range(OW):
            wide[:, :, HH - 1 + i * stride, WW - 1 + j * stride] = dout[:, :, i, j]
    dxp = np.einsum("nfijkl,fckl->ncij", windows(wide, HH, WW, 1), w[:, :, ::-1, ::-1])
    dx = np.delete(dxp, [*range(pad), *range(pad + H, 2 * pad + H)], axis=2)
    dx = np.delete(dx, [*range(pad), *range(pad + W, 2 * pad + W)], axis=3)
    return dx, dw, dout.reshape(N, F, -1).sum(axis=2).sum(axis=0)


def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    out, caches, means, variances = np.empty_like(x), [], [], []
    for c in range(x.shape[1]):
        own = {key: value[c:c + 1] if isinstance(value, np.ndarray) else value
               for key, value in bn_param.items()}
        rows, cache = batchnorm_forward(x[:, c].reshape(-1, 1), gamma[c:c + 1], beta[c:c + 1], own)
        out[:, c] = rows.reshape(out[:, c].shape)
        caches.append(cache)
        means.append(own["running_mean"])
        variances.append(own["running_var"])
    bn_param["running_mean"] = np.concatenate(means)
    bn_param["running_var"] = np.concatenate(variances)
    return out, caches


def spatial_batchnorm_backward(dout, caches):
    dx, sums = np.empty_like(dout), []
    for c, cache in enumerate(caches):
        d, *both = batchnorm_backward(dout[:, c].reshape(-1, 1), cache)
        dx[:, c] = d.reshape(dx[:, c].shape)
        sums.append(both)
    dgamma, dbeta = np.concatenate(sums, axis=1)
    return dx, dgamma, dbeta


def spatial_groupnorm_forward(x, gamma, beta, G, gn_param):
    N, C, H, W = x.shape
    rows = np.reshape(x, (N * G, C // G * H * W))
    xc = rows - rows @ np.full((rows.shape[1], 1), 1 / rows.shape[1], dtype=x.dtype)
    var = np.einsum("ij,ij->i", xc, xc)[:, None] / rows.shape[1]
    inverse = (var + gn_param.get("eps", 1e-5)) ** -0.5
    xhat = (xc * inverse).reshape(x.shape)
    out = xhat * np.tile(gamma, (N, 1, H, W)) + np.tile(beta, (N, 1, H, W))
    return out, {"xhat": xhat, "inverse": inverse, "gamma": gamma}


def spatial_groupnorm_backward(dout, cache):
    xhat, inverse, gamma = cache["xhat"], cache["inverse"], cache["gamma"]
    d = (dout * gamma).reshape(len(inverse), -1)
    dx = np.zeros_like(d)
    for i, (own, row) in enumerate(zip(xhat.reshape(d.shape), d)):
        dx[i] = inverse[i] * (row - row.mean() - own * np.mean(own * row))
    dgamma = np.sum(np.sum(np.sum(dout * xhat, 3, keepdims=True), 2, keepdims=True), 0,
                    keepdims=True)
    return dx.reshape(dout.shape), dgamma, np.sum(dout, axis=(0, 2, 3))[None, :, None, None]
