# The softmax loss in many hands; a name before two underscores is the student's.
# warn unshifted__softmax_loss: 710
# warn reads__softmax_loss: log p = x - max
# warn largest_of_all__softmax_loss: row
# warn tiny__softmax_loss: epsilon
# warn small__softmax_loss: epsilon
# warn hardly__softmax_loss: epsilon
# warn unshifted__temporal_softmax_loss: 710
# warn small__temporal_softmax_loss: epsilon
# warn vector__softmax_loss: array of one number
import numpy as np


def unshifted__softmax_loss(x, y):
    N = x.shape[0]
    exps = np.exp(x)
    probs = exps / np.sum(exps, axis=1, keepdims=True)
    loss = -np.mean(np.log(probs[range(N), y]))
    dx = probs
    dx[range(N), y] -= 1
    return loss, dx / N


def reads__softmax_loss(x, y):
    N = x.shape[0]
    probs = np.exp(x - np.max(x, axis=1).reshape(N, 1))
    probs = probs / np.sum(probs, axis=1).reshape(N, 1)
    loss = -np.sum(np.log(probs[np.arange(N), y])) / N
    dx = probs.copy()
    dx[np.arange(N), y] -= 1
    dx /= N
    return loss, dx


def tiny__softmax_loss(x, y):
    N = x.shape[0]
    probs = np.exp(x - np.max(x, axis=1, keepdims=True))
    probs /= np.sum(probs, axis=1, keepdims=True)
    loss = -np.sum(np.log(probs[np.arange(N), y] + 1e-12)) / N
    probs[np.arange(N), y] -= 1
    return loss, probs / N


def largest_of_all__softmax_loss(x, y):
    num_train = x.shape[0]
    x = x - np.max(x)
    exp_scores = np.exp(x)
    sums = np.sum(exp_scores, axis=1, keepdims=True)
    correct = x[np.arange(num_train), y].reshape(-1, 1)
    loss = np.sum(-correct + np.log(sums)) / num_train
    dx = exp_scores / sums
    dx[np.arange(num_train), y] += -1
    return loss, dx / num_train


def hardly__softmax_loss(x, y):
    shifted = x - np.amax(x, axis=1)[:, None]
    p = np.exp(shifted) / np.sum(np.exp(shifted), axis=1)[:, None]
    loss = 0
    for i in range(len(y)):
        loss += -np.log(p[i, y[i]] + 1e-20)
        p[i, y[i]] -= 1
    return loss / len(y), p / len(y)


def small__softmax_loss(x, y):
    eps = 1e-8
    N, C = x.shape
    target = np.zeros((N, C), dtype=x.dtype)
    for i in range(N):
        target[i, y[i]] = 1
    e = np.exp(x - x.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    loss = -np.sum(target * np.log(p + eps)) / N
    return loss, (p - target) / N


def vector__softmax_loss(x, y):
    N = x.shape[0]
    y = y.reshape(N, 1)
    s = x - x.max(axis=1, keepdims=True)
    lse = np.log(np.exp(s).sum(axis=1, keepdims=True))
    loss = np.mean(lse - np.take_along_axis(s, y.astype(int), axis=1), axis=0)
    dx = np.exp(s - lse)
    np.put_along_axis(dx, y.astype(int), np.take_along_axis(dx, y.astype(int), axis=1) - 1, axis=1)
    return loss, dx / N


def columns__softmax_loss(x, y):
    """With the samples as columns, as in the lecture."""
    z = x.T
    z = z - z.max(axis=0)
    log_sum = np.log(np.exp(z).sum(axis=0))
    n = z.shape[1]
    loss = 0.
    for k in range(n):
        loss = loss - (z[y[k], k] - log_sum[k]) / n
    d = np.exp(z - log_sum)
    for k in range(n):
        d[y[k], k] = d[y[k], k] - 1
    return loss, d.T / n


def logaddexp__softmax_loss(x, y):
    logp = x - np.logaddexp.reduce(x, axis=1)[:, np.newaxis]
    n = np.arange(len(x))
    onehot = np.zeros_like(x)
    onehot[n, y] = 1
    return -logp[n, y].mean(), (np.exp(logp) - onehot) / len(x)


def nested__temporal_softmax_loss(x, y, mask, verbose=False):
    N, T, V = x.shape
    loss = 0.0
    dx = np.zeros_like(x)
    for n in range(N):
        for t in range(T):
            if not mask[n, t]:
                continue
            s = x[n, t] - np.max(x[n, t])
            p = np.exp(s) / np.sum(np.exp(s))
            loss += np.log(np.sum(np.exp(s))) - s[y[n, t]]
            p[y[n, t]] -= 1
            dx[n, t] = p
    return loss / N, dx / N


def unshifted__temporal_softmax_loss(x, y, mask):
    N, T, V = x.shape
    e = np.exp(x.reshape(-1, V))
    p = e / e.sum(axis=1, keepdims=True)
    m = mask.reshape(-1).astype(x.dtype)
    loss = np.sum(-m * np.log(p[np.arange(N * T), y.reshape(-1)])) / N
    p[np.arange(N * T), y.reshape(-1)] -= 1
    return loss, (p * m[:, None] / N).reshape(N, T, V)


def small__temporal_softmax_loss(x, y, mask, verbose=True):
    N, T, V = x.shape
    p = np.exp(x - x.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    n, t = np.meshgrid(np.arange(N), np.arange(T), indexing='ij')
    loss = -np.sum(mask * np.log(p[n, t, y] + 1e-9)) / N
    p[n, t, y] -= 1
    dx = p * mask[..., np.newaxis] / N
    if verbose:
        print('dx', dx.shape)
    return loss, dx


def masked__temporal_softmax_loss(x, y, mask, verbose=None):
    N = x.shape[0]
    keep = mask.astype(bool)
    rows, words = x[keep], y[keep]
    dx = np.zeros_like(x)
    if len(rows) == 0:
        return 0.0, dx
    rows = rows - rows.max(axis=1, keepdims=True)
    lse = np.log(np.exp(rows).sum(axis=1, keepdims=True))
    loss = (lse[:, 0] - rows[np.arange(len(rows)), words]).sum() / N
    grad = np.exp(rows - lse)
    grad[np.arange(len(rows)), words] -= 1
    dx[keep] = grad / N
    return loss, dx
