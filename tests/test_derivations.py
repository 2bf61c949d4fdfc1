"""The displayed results of docs/derivations.md, evaluated as they are written, against the layers.

Loops run over the indices of the formulas, counted from 0. Nothing here is meant to be fast.
"""
import copy
import math

import numpy as np
import pytest

import layers
import norm_layers
import rnn_layers
from fc_net import TwoLayerNet
from rnn import CaptioningRNN
from test_convolution import filtering, flipped, full, valid

N, D, M, C, F, T, H, V = 3, 4, 6, 2, 5, 7, 5, 8


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def assert_equal(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def delta(i, j):
    return float(i == j)


# ---------------------------------------------------------------- fully connected

@pytest.fixture
def fully_connected(rng):
    X, W, b = rng.standard_normal((N, D)), rng.standard_normal((D, M)), rng.standard_normal(M)
    Y, cache = layers.fc_forward(X, W, b)
    dY = rng.standard_normal((N, M))
    return X, W, b, Y, dY, layers.fc_backward(dY, cache)


def test_fully_connected_input(fully_connected):
    X, W, b, Y, dY, (dX, _, _) = fully_connected
    for n, m in np.ndindex(N, M):
        assert_equal(Y[n, m], sum(X[n, d] * W[d, m] for d in range(D)) + b[m])
    for i, j in np.ndindex(N, D):
        assert_equal(dX[i, j], sum(dY[n, m] * delta(n, i) * W[j, m]
                                   for n, m in np.ndindex(N, M)))
        assert_equal(dX[i, j], sum(dY[i, m] * W[j, m] for m in range(M)))
    assert_equal(dX, dY @ W.T)


def test_fully_connected_weights(fully_connected):
    X, _, _, _, dY, (_, dW, _) = fully_connected
    for i, j in np.ndindex(D, M):
        assert_equal(dW[i, j], sum(dY[n, m] * X[n, i] * delta(m, j)
                                   for n, m in np.ndindex(N, M)))
        assert_equal(dW[i, j], sum(X[n, i] * dY[n, j] for n in range(N)))
    assert_equal(dW, X.T @ dY)


def test_fully_connected_bias(fully_connected):
    dY, (_, _, db) = fully_connected[4:]
    for j in range(M):
        assert_equal(db[j], sum(dY[n, m] * delta(m, j) for n, m in np.ndindex(N, M)))
        assert_equal(db[j], sum(dY[n, j] for n in range(N)))
    assert_equal(db, np.ones(N) @ dY)


# ---------------------------------------------------------------- ReLU

def test_relu(rng):
    X, dY = rng.standard_normal((N, D)), rng.standard_normal((N, D))
    X[1, 2] = 0
    Y, cache = layers.relu_forward(X)
    dX = layers.relu_backward(dY, cache)
    for i, j in np.ndindex(N, D):
        assert_equal(Y[i, j], max(X[i, j], 0))
        assert_equal(dX[i, j], dY[i, j] * (X[i, j] > 0))


# ---------------------------------------------------------------- convolution

HEIGHT, WIDTH, KERNEL_HEIGHT, KERNEL_WIDTH = 6, 7, 3, 2
OUT_HEIGHT, OUT_WIDTH = HEIGHT - KERNEL_HEIGHT + 1, WIDTH - KERNEL_WIDTH + 1


@pytest.fixture
def convolution(rng):
    X = rng.standard_normal((N, C, HEIGHT, WIDTH))
    K = rng.standard_normal((F, C, KERNEL_HEIGHT, KERNEL_WIDTH))
    Y, cache = layers.conv_forward(X, K)
    dY = rng.standard_normal(Y.shape)
    return X, K, Y, dY, layers.conv_backward(dY, cache)


def test_convolution_kernels(convolution):
    X, K, Y, dY, (_, dK) = convolution
    for n, f, i, j in np.ndindex(Y.shape):
        assert_equal(Y[n, f, i, j], sum(X[n, c, i + p, j + q] * K[f, c, p, q]
                                        for c, p, q in np.ndindex(K.shape[1:])))
    for f, c, p, q in np.ndindex(K.shape):
        assert_equal(dK[f, c, p, q], sum(dY[n, f, i, j] * X[n, c, i + p, j + q] for n, i, j
                                         in np.ndindex(N, OUT_HEIGHT, OUT_WIDTH)))
    for f, c in np.ndindex(F, C):
        assert_equal(dK[f, c], sum(filtering(X[n, c], dY[n, f]) for n in range(N)))


def test_convolution_images(convolution):
    X, K, _, dY, (dX, _) = convolution
    for n, c, k, l in np.ndindex(X.shape):
        with_deltas = sum(dY[n, f, i, j] * delta(i + p, k) * delta(j + q, l) * K[f, c, p, q]
                          for f, i, j, p, q in np.ndindex(F, OUT_HEIGHT, OUT_WIDTH,
                                                          KERNEL_HEIGHT, KERNEL_WIDTH))
        deltas_used = sum(dY[n, f, k - p, l - q] * K[f, c, p, q]
                          for f, p, q in np.ndindex(F, KERNEL_HEIGHT, KERNEL_WIDTH)
                          if 0 <= k - p < OUT_HEIGHT and 0 <= l - q < OUT_WIDTH)
        # Counted from 0, p runs from max(0, k - H'' + 1) to min(H' - 1, k), and q likewise.
        in_range = sum(dY[n, f, k - p, l - q] * K[f, c, p, q] for f in range(F)
                       for p in range(max(0, k - OUT_HEIGHT + 1), min(KERNEL_HEIGHT - 1, k) + 1)
                       for q in range(max(0, l - OUT_WIDTH + 1), min(KERNEL_WIDTH - 1, l) + 1))
        assert_equal(dX[n, c, k, l], with_deltas)
        assert_equal(dX[n, c, k, l], deltas_used)
        assert_equal(dX[n, c, k, l], in_range)
    for n, c in np.ndindex(N, C):
        assert_equal(dX[n, c], sum(full(dY[n, f], K[f, c]) for f in range(F)))


def test_flipped_kernel(convolution):
    X, K = convolution[:2]
    assert_equal(valid(X[0, 0], flipped(K[0, 0])), filtering(X[0, 0], K[0, 0]))


def test_flipped_kernel_example():
    X, K = np.array([[1, 2, 3, 4]]), np.array([[1, 10]])
    assert_equal(filtering(X, K), [[21, 32, 43]])
    assert_equal(valid(X, K), [[12, 23, 34]])
    assert_equal(full(X, K), [[1, 12, 23, 34, 40]])
    assert_equal(valid(X, flipped(K)), [[21, 32, 43]])
    dY = np.array([[1, 2, 3]])
    assert_equal(full(dY, K), [[1, 12, 23, 30]])
    assert_equal(filtering(np.array([[0, 1, 2, 3, 0]]), np.array([[10, 1]])), [[1, 12, 23, 30]])
    layer = layers.conv_forward(X[None, None].astype(float), K[None, None].astype(float))[1]
    assert_equal(layers.conv_backward(dY[None, None].astype(float), layer)[0][0, 0],
                 [[1, 12, 23, 30]])


def test_full_convolution_is_filtering_of_padded(convolution):
    _, K, _, dY, _ = convolution
    rows, columns = KERNEL_HEIGHT - 1, KERNEL_WIDTH - 1
    padded = np.pad(dY[0, 0], ((rows, rows), (columns, columns)))
    assert_equal(full(dY[0, 0], K[0, 0]), filtering(padded, flipped(K[0, 0])))


def test_convolution_as_matrix_products(convolution):
    X, K, Y, dY, (dX, dK) = convolution
    K_row = K.reshape(F, -1)
    dK_row, dX_sum = np.zeros_like(K_row), np.zeros_like(X)
    for n in range(N):
        X_col = np.array([[X[n, c, i + p, j + q] for i, j in np.ndindex(OUT_HEIGHT, OUT_WIDTH)]
                          for c, p, q in np.ndindex(K.shape[1:])])
        assert_equal(Y[n].reshape(F, -1), K_row @ X_col)
        dY_n = dY[n].reshape(F, -1)
        dK_row += dY_n @ X_col.T
        dX_col = (K_row.T @ dY_n).reshape(*K.shape[1:], OUT_HEIGHT, OUT_WIDTH)
        for c, p, q, i, j in np.ndindex(dX_col.shape):
            dX_sum[n, c, i + p, j + q] += dX_col[c, p, q, i, j]
    assert_equal(dK, dK_row.reshape(K.shape))
    assert_equal(dX, dX_sum)


def test_convolution_with_bias_stride_and_padding(rng):
    (s_h, s_w), (z_h, z_w) = (2, 3), (1, 2)
    X = rng.standard_normal((2, C, HEIGHT, WIDTH))
    K = rng.standard_normal((N, C, KERNEL_HEIGHT, KERNEL_WIDTH))
    b = rng.standard_normal(N)
    Y, cache = layers.conv_forward(X, K, b, {"stride": (s_h, s_w), "pad": (z_h, z_w)})
    dY = rng.standard_normal(Y.shape)
    dX, dK, db = layers.conv_backward(dY, cache)
    assert Y.shape[2:] == (math.floor((HEIGHT + 2 * z_h - KERNEL_HEIGHT) / s_h) + 1,
                           math.floor((WIDTH + 2 * z_w - KERNEL_WIDTH) / s_w) + 1)

    def x(n, c, k, l):
        """X, and 0 outside of the image."""
        return X[n, c, k, l] if 0 <= k < HEIGHT and 0 <= l < WIDTH else 0.0

    def pixel(i, j, p, q):
        """Counted from 0, (i - 1)s + p - z is i·s + p - z."""
        return i * s_h + p - z_h, j * s_w + q - z_w

    for n, f, i, j in np.ndindex(Y.shape):
        assert_equal(Y[n, f, i, j], b[f] + sum(x(n, c, *pixel(i, j, p, q)) * K[f, c, p, q]
                                               for c, p, q in np.ndindex(K.shape[1:])))
    for f, c, p, q in np.ndindex(K.shape):
        assert_equal(dK[f, c, p, q], sum(dY[n, f, i, j] * x(n, c, *pixel(i, j, p, q))
                                         for n, i, j in np.ndindex(2, *Y.shape[2:])))
    for n, c, k, l in np.ndindex(X.shape):
        assert_equal(dX[n, c, k, l], sum(
            dY[n, f, i, j] * K[f, c, p, q]
            for f, i, j, p, q in np.ndindex(*Y.shape[1:], KERNEL_HEIGHT, KERNEL_WIDTH)
            if pixel(i, j, p, q) == (k, l)))
    for f in range(N):
        assert_equal(db[f], sum(dY[n, f, i, j] for n, i, j in np.ndindex(2, *Y.shape[2:])))
    for n in range(2):
        X_col = np.array([[x(n, c, *pixel(i, j, p, q)) for i, j in np.ndindex(Y.shape[2:])]
                          for c, p, q in np.ndindex(K.shape[1:])])
        assert_equal(Y[n].reshape(N, -1),
                     K.reshape(N, -1) @ X_col + np.outer(b, np.ones(X_col.shape[1])))


# ---------------------------------------------------------------- max pooling

@pytest.mark.parametrize("stride", [1, 2, 3])
def test_max_pooling(rng, stride):
    X = rng.integers(0, 4, (N, C, 5, 6)).astype(float)             # with ties
    size = {"pool_height": 2, "pool_width": 3, "stride": stride}
    Y, cache = layers.max_pool_forward(X, size)
    dY = rng.standard_normal(Y.shape)
    assert Y.shape[2:] == ((5 - 2) // stride + 1, (6 - 3) // stride + 1)
    dX = np.zeros_like(X)
    for n, c, i, j in np.ndindex(Y.shape):
        places = [(i * stride + p, j * stride + q) for p in range(2) for q in range(3)]
        winner = max(places, key=lambda place: X[n, c, place[0], place[1]])     # the first
        assert Y[n, c, i, j] == X[n, c, winner[0], winner[1]]
        dX[n, c, winner[0], winner[1]] += dY[n, c, i, j]
    assert_equal(layers.max_pool_backward(dY, cache), dX)


# ---------------------------------------------------------------- softmax and cross-entropy

def probabilities(scores):
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


def test_softmax_loss(rng):
    X, y = rng.standard_normal((N, C)), rng.integers(0, C, N)
    loss, _ = layers.softmax_loss(X, y)
    assert_equal(loss, -sum(math.log(probabilities(X[n])[y[n]]) for n in range(N)) / N)
    assert_equal(loss, sum(math.log(sum(math.exp(X[n, k]) for k in range(C))) - X[n, y[n]]
                           for n in range(N)) / N)


def test_softmax_gradient(rng):
    X, y = rng.standard_normal((N, C)), rng.integers(0, C, N)
    _, dX = layers.softmax_loss(X, y)
    for n, c in np.ndindex(N, C):
        assert_equal(dX[n, c], (probabilities(X[n])[c] - delta(c, y[n])) / N)


# ---------------------------------------------------------------- hinge loss

def test_hinge_loss(rng):
    X, y = rng.standard_normal((N, V)), rng.integers(0, V, N)
    X[0, y[0]] -= 9                             # all other classes are too close
    X[1, y[1]] += 9                             # none is
    loss, dX = layers.svm_loss(X, y)
    m = np.array([[X[n, c] - X[n, y[n]] + 1 for c in range(V)] for n in range(N)])
    assert_equal(loss, sum(max(0, m[n, c]) for n, c in np.ndindex(N, V) if c != y[n]) / N)
    S, E = np.zeros((N, V)), np.zeros((N, V))
    for n, k in np.ndindex(N, V):
        assert_equal(dX[n, k], sum((m[n, c] > 0) * (delta(c, k) - delta(k, y[n]))
                                   for c in range(V) if c != y[n]) / N)
        if k == y[n]:
            assert_equal(dX[n, k], -sum(m[n, c] > 0 for c in range(V) if c != k) / N)
        else:
            assert_equal(dX[n, k], float(m[n, k] > 0) / N)
        S[n, k], E[n, k] = m[n, k] > 0 and k != y[n], delta(k, y[n])
    assert_equal(dX, (S - E * (S @ np.ones((V, V)))) / N)


# ---------------------------------------------------------------- normalisation

EPS = 0.1


@pytest.fixture
def batch(rng):
    """(X, gamma, beta, dY, mu, sigma, X_hat) of T samples, normalised over the samples."""
    X, dY = rng.standard_normal((T, D)), rng.standard_normal((T, D))
    gamma, beta = rng.standard_normal((2, D))
    mu = [sum(X[n, d] for n in range(T)) / T for d in range(D)]
    v = [sum((X[n, d] - mu[d]) ** 2 for n in range(T)) / T for d in range(D)]
    sigma = [math.sqrt(v[d] + EPS) for d in range(D)]
    X_hat = np.array([[(X[n, d] - mu[d]) / sigma[d] for d in range(D)] for n in range(T)])
    return X, gamma, beta, dY, mu, sigma, X_hat


def projection(x_hat):
    """I - 1·1ᵀ/N - x̂·x̂ᵀ/N."""
    size = len(x_hat)
    return np.eye(size) - np.ones((size, size)) / size - np.outer(x_hat, x_hat) / size


@pytest.mark.parametrize("backward", [norm_layers.batchnorm_backward,
                                      norm_layers.batchnorm_backward_alt])
def test_batch_normalisation(batch, backward):
    X, gamma, beta, dY, _, sigma, X_hat = batch
    Y, cache = norm_layers.batchnorm_forward(X, gamma, beta, {"mode": "train", "eps": EPS})
    dX, dgamma, dbeta = backward(dY, cache)
    for n, d in np.ndindex(T, D):
        assert_equal(Y[n, d], gamma[d] * X_hat[n, d] + beta[d])
    for d in range(D):
        assert_equal(dgamma[d], sum(dY[n, d] * X_hat[n, d] for n in range(T)))
        assert_equal(dbeta[d], sum(dY[n, d] for n in range(T)))
        assert_equal(dX[:, d], gamma[d] / sigma[d] * projection(X_hat[:, d]) @ dY[:, d])
    for i, d in np.ndindex(T, D):
        assert_equal(dX[i, d], gamma[d] / sigma[d] * (
            dY[i, d] - sum(dY[n, d] for n in range(T)) / T
            - X_hat[i, d] * sum(dY[n, d] * X_hat[n, d] for n in range(T)) / T))
        assert_equal(dX[i, d], gamma[d] / sigma[d] * (
            dY[i, d] - dbeta[d] / T - X_hat[i, d] / T * dgamma[d]))
        assert_equal(dX[i, d], sum(gamma[d] * dY[n, d] / sigma[d] * (
            delta(n, i) - 1 / T - X_hat[n, d] * X_hat[i, d] / T) for n in range(T)))


def test_batch_normalisation_step_by_step(batch):
    X, gamma, beta, dY, mu, sigma, _ = batch
    _, cache = norm_layers.batchnorm_forward(X, gamma, beta, {"mode": "train", "eps": EPS})
    dX, _, _ = norm_layers.batchnorm_backward(dY, cache)
    for d in range(D):
        dX_hat = [gamma[d] * dY[n, d] for n in range(T)]
        dv = -sum(dX_hat[n] * (X[n, d] - mu[d]) for n in range(T)) / (2 * sigma[d] ** 3)
        dmu = -sum(dX_hat) / sigma[d]
        assert_equal(dmu, dmu - 2 / T * dv * sum(X[n, d] - mu[d] for n in range(T)))
        for n in range(T):
            assert_equal(dX[n, d], dX_hat[n] / sigma[d] + 2 * (X[n, d] - mu[d]) / T * dv + dmu / T)


@pytest.mark.parametrize("backward", [norm_layers.batchnorm_backward,
                                      norm_layers.batchnorm_backward_alt])
def test_batch_normalisation_after_training(rng, batch, backward):
    X, gamma, beta, dY = batch[:4]
    mu, v = rng.standard_normal(D), rng.uniform(0.5, 2, D)
    Y, cache = norm_layers.batchnorm_forward(X, gamma, beta, {
        "mode": "test", "eps": EPS, "running_mean": mu, "running_var": v})
    dX, _, _ = backward(dY, cache)
    for n, d in np.ndindex(T, D):
        sigma = math.sqrt(v[d] + EPS)
        assert_equal(Y[n, d], gamma[d] * (X[n, d] - mu[d]) / sigma + beta[d])
        assert_equal(dX[n, d], gamma[d] / sigma * dY[n, d])


def test_batch_normalisation_of_images(rng):
    """With a row for each pixel and a column for each channel it is the layer for matrices."""
    X, dY = rng.standard_normal((N, C, 4, 5)), rng.standard_normal((N, C, 4, 5))
    gamma, beta = rng.standard_normal((2, C))

    def rows(images):
        return np.array([[images[n, c, k, l] for c in range(C)] for n, k, l in np.ndindex(N, 4, 5)])

    Y, cache = norm_layers.spatial_batchnorm_forward(X, gamma, beta, {"mode": "train", "eps": EPS})
    expected, row_cache = norm_layers.batchnorm_forward(rows(X), gamma, beta,
                                                        {"mode": "train", "eps": EPS})
    assert_equal(rows(Y), expected)
    dX, *dweights = norm_layers.spatial_batchnorm_backward(dY, cache)
    for actual, right in zip((rows(dX), *dweights),
                             norm_layers.batchnorm_backward(rows(dY), row_cache), strict=True):
        assert_equal(actual, right)


def test_layer_normalisation(rng):
    X, dY = rng.standard_normal((N, D)), rng.standard_normal((N, D))
    gamma, beta = rng.standard_normal((2, D))
    Y, cache = norm_layers.layernorm_forward(X, gamma, beta, {"eps": EPS})
    dX, dgamma, dbeta = norm_layers.layernorm_backward(dY, cache)
    mu = [sum(X[n, d] for d in range(D)) / D for n in range(N)]
    sigma = [math.sqrt(sum((X[n, d] - mu[n]) ** 2 for d in range(D)) / D + EPS) for n in range(N)]
    X_hat = np.array([[(X[n, d] - mu[n]) / sigma[n] for d in range(D)] for n in range(N)])
    for n, e in np.ndindex(N, D):
        assert_equal(Y[n, e], gamma[e] * X_hat[n, e] + beta[e])
        assert_equal(dX[n, e], sum(gamma[d] * dY[n, d] / sigma[n] * (
            delta(d, e) - 1 / D - X_hat[n, d] * X_hat[n, e] / D) for d in range(D)))
        assert_equal(dX[n, e], 1 / sigma[n] * (
            gamma[e] * dY[n, e] - sum(gamma[d] * dY[n, d] for d in range(D)) / D
            - X_hat[n, e] * sum(gamma[d] * dY[n, d] * X_hat[n, d] for d in range(D)) / D))
    for n in range(N):
        assert_equal(dX[n], projection(X_hat[n]) @ (gamma * dY[n]) / sigma[n])
    for d in range(D):
        assert_equal(dgamma[d], sum(dY[n, d] * X_hat[n, d] for n in range(N)))
        assert_equal(dbeta[d], sum(dY[n, d] for n in range(N)))


def test_group_normalisation(rng):
    channels, G, height, width = 6, 3, 2, 4
    X, dY = (rng.standard_normal((N, channels, height, width)) for _ in range(2))
    gamma, beta = rng.standard_normal((2, channels))
    Y, cache = norm_layers.spatial_groupnorm_forward(
        X, gamma.reshape(1, -1, 1, 1), beta.reshape(1, -1, 1, 1), G, {"eps": EPS})
    dX, dgamma, dbeta = norm_layers.spatial_groupnorm_backward(dY, cache)
    assert dgamma.shape == dbeta.shape == (1, channels, 1, 1)
    M = channels * height * width / G

    def over_group(values, n, g):
        """The sum over the numbers of group g of sample n: neighbouring channels."""
        return sum(values[n, c, k, l] for c, k, l in np.ndindex(X.shape[1:])
                   if c * G // channels == g)

    X_hat = np.empty_like(X)
    for n, c, k, l in np.ndindex(X.shape):
        g = c * G // channels
        mu = over_group(X, n, g) / M
        sigma = math.sqrt(over_group((X - mu) ** 2, n, g) / M + EPS)
        X_hat[n, c, k, l] = (X[n, c, k, l] - mu) / sigma
        assert_equal(Y[n, c, k, l], gamma[c] * X_hat[n, c, k, l] + beta[c])
    dX_hat = gamma[:, None, None] * dY
    for n, c, k, l in np.ndindex(X.shape):
        g = c * G // channels
        mu = over_group(X, n, g) / M
        sigma = math.sqrt(over_group((X - mu) ** 2, n, g) / M + EPS)
        assert_equal(dX[n, c, k, l], 1 / sigma * (
            gamma[c] * dY[n, c, k, l] - over_group(dX_hat, n, g) / M
            - X_hat[n, c, k, l] * over_group(dX_hat * X_hat, n, g) / M))
    for c in range(channels):
        places = list(np.ndindex(N, height, width))
        assert_equal(dgamma[0, c, 0, 0],
                     sum(dY[n, c, k, l] * X_hat[n, c, k, l] for n, k, l in places))
        assert_equal(dbeta[0, c, 0, 0], sum(dY[n, c, k, l] for n, k, l in places))


# ---------------------------------------------------------------- recurrent networks

@pytest.fixture
def recurrent(rng):
    return (rng.standard_normal((T, N, D)), rng.standard_normal((N, H)),
            rng.standard_normal((D, H)), rng.standard_normal((H, H)), rng.standard_normal(H))


def test_recurrent_step(rng, recurrent):
    x, h0, Wx, Wh, b = recurrent
    h, cache = rnn_layers.rnn_step_forward(x[0], h0, Wx, Wh, b)
    for n, k in np.ndindex(N, H):
        assert_equal(h[n, k], math.tanh(sum(x[0, n, d] * Wx[d, k] for d in range(D))
                                        + sum(h0[n, e] * Wh[e, k] for e in range(H)) + b[k]))
    dh = rng.standard_normal((N, H))
    da = dh * (1 - h * h)
    expected = (da @ Wx.T, da @ Wh.T, x[0].T @ da, h0.T @ da, da.T @ np.ones(N))
    for actual, right in zip(rnn_layers.rnn_step_backward(dh, cache), expected):
        assert_equal(actual, right)


def test_back_propagation_through_time(rng, recurrent):
    x, h0, Wx, Wh, b = recurrent
    states, cache = rnn_layers.rnn_forward(x, h0, Wx, Wh, b)
    h = [h0]
    for t in range(T):
        h.append(np.tanh(x[t] @ Wx + h[t] @ Wh + b))
        assert_equal(states[t], h[t + 1])
    G = rng.standard_normal((T, N, H))
    dx, dh0, dWx, dWh, db = rnn_layers.rnn_backward(G, cache)
    da, from_later = [None] * T, 0
    for t in reversed(range(T)):
        dh = G[t] + from_later
        da[t] = dh * (1 - h[t + 1] * h[t + 1])
        from_later = da[t] @ Wh.T
        assert_equal(dx[t], da[t] @ Wx.T)
    assert_equal(dh0, from_later)
    assert_equal(dWx, sum(x[t].T @ da[t] for t in range(T)))
    assert_equal(dWh, sum(h[t].T @ da[t] for t in range(T)))
    assert_equal(db, sum(da[t].T @ np.ones(N) for t in range(T)))


def sigmoid(u):
    return 1 / (1 + np.exp(-u))


@pytest.fixture
def lstm(rng):
    return (rng.standard_normal((T, N, D)), rng.standard_normal((N, H)),
            rng.standard_normal((D, 4 * H)), rng.standard_normal((H, 4 * H)),
            rng.standard_normal(4 * H))


def lstm_step(x, h, c, Wx, Wh, b):
    """(i, f, o, g, next_c, next_h) from the definition."""
    a = np.split(x @ Wx + h @ Wh + b, 4, axis=1)
    i, f, o, g = *map(sigmoid, a[:3]), np.tanh(a[3])
    next_c = f * c + i * g
    return i, f, o, g, next_c, o * np.tanh(next_c)


def lstm_step_back(dh, E, c, i, f, o, g, next_c):
    """(da, E of the step before) from the formulas."""
    dc = E + dh * o * (1 - np.tanh(next_c) ** 2)
    da = np.concatenate([dc * g * i * (1 - i), dc * c * f * (1 - f),
                         dh * np.tanh(next_c) * o * (1 - o), dc * i * (1 - g ** 2)], axis=1)
    return da, dc * f


def test_lstm_step(rng, lstm):
    x, h0, Wx, Wh, b = lstm
    c0, dh, E = (rng.standard_normal((N, H)) for _ in range(3))
    *gates, c, h = lstm_step(x[0], h0, c0, Wx, Wh, b)
    next_h, next_c, cache = rnn_layers.lstm_step_forward(x[0], h0, c0, Wx, Wh, b)
    assert_equal(next_h, h)
    assert_equal(next_c, c)
    da, dc0 = lstm_step_back(dh, E, c0, *gates, c)
    expected = (da @ Wx.T, da @ Wh.T, dc0, x[0].T @ da, h0.T @ da, da.sum(axis=0))
    for actual, right in zip(rnn_layers.lstm_step_backward(dh, E, cache), expected):
        assert_equal(actual, right)


def test_lstm_through_time(rng, lstm):
    x, h0, Wx, Wh, b = lstm
    states, cache = rnn_layers.lstm_forward(x, h0, Wx, Wh, b)
    h, c, gates = [h0], [np.zeros((N, H))], []
    for t in range(T):
        *gates_t, next_c, next_h = lstm_step(x[t], h[t], c[t], Wx, Wh, b)
        gates.append(gates_t)
        c.append(next_c)
        h.append(next_h)
        assert_equal(states[t], next_h)
    G = rng.standard_normal((T, N, H))
    dx, dh0, dWx, dWh, db = rnn_layers.lstm_backward(G, cache)
    da, from_later, E = [None] * T, 0, 0
    for t in reversed(range(T)):
        da[t], E = lstm_step_back(G[t] + from_later, E, c[t], *gates[t], c[t + 1])
        from_later = da[t] @ Wh.T
        assert_equal(dx[t], da[t] @ Wx.T)
    assert_equal(dh0, from_later)
    assert_equal(dWx, sum(x[t].T @ da[t] for t in range(T)))
    assert_equal(dWh, sum(h[t].T @ da[t] for t in range(T)))
    assert_equal(db, sum(da[t].sum(axis=0) for t in range(T)))


# ---------------------------------------------------------------- words

def test_word_embedding(rng):
    x, W = rng.integers(0, V, (N, T)), rng.standard_normal((V, D))
    x[0, 1] = x[2, 0] = x[0, 0]                                     # a word three times
    Y, cache = rnn_layers.word_embedding_forward(x, W)
    dY = rng.standard_normal(Y.shape)
    dW = rnn_layers.word_embedding_backward(dY, cache)
    for n, t, d in np.ndindex(Y.shape):
        assert Y[n, t, d] == W[x[n, t], d]
    for v, d in np.ndindex(V, D):
        assert_equal(dW[v, d], sum(delta(x[n, t], v) * dY[n, t, d] for n, t in np.ndindex(N, T)))


def test_temporal_fully_connected(rng):
    X, W, b = rng.standard_normal((N, T, D)), rng.standard_normal((D, M)), rng.standard_normal(M)
    Y, cache = rnn_layers.temporal_fc_forward(X, W, b)
    dY = rng.standard_normal(Y.shape)
    dX, dW, db = rnn_layers.temporal_fc_backward(dY, cache)
    for n, t, m in np.ndindex(Y.shape):
        assert_equal(Y[n, t, m], sum(X[n, t, d] * W[d, m] for d in range(D)) + b[m])
    for n, t, d in np.ndindex(X.shape):
        assert_equal(dX[n, t, d], sum(dY[n, t, m] * W[d, m] for m in range(M)))
    for d, m in np.ndindex(D, M):
        assert_equal(dW[d, m], sum(X[n, t, d] * dY[n, t, m] for n, t in np.ndindex(N, T)))
    for m in range(M):
        assert_equal(db[m], sum(dY[n, t, m] for n, t in np.ndindex(N, T)))


def test_temporal_softmax_loss(rng):
    X, y = rng.standard_normal((N, T, V)), rng.integers(0, V, (N, T))
    mask = np.arange(T) < np.array([[5], [2], [0]])                 # N sentences, one of no words
    loss, dX = rnn_layers.temporal_softmax_loss(X, y, mask)
    assert_equal(loss, -sum(mask[n, t] * math.log(probabilities(X[n, t])[y[n, t]])
                            for n, t in np.ndindex(N, T)) / N)
    for n, t, v in np.ndindex(X.shape):
        p = probabilities(X[n, t])[v]
        assert_equal(dX[n, t, v], mask[n, t] / N * (p - delta(v, y[n, t])))


# ---------------------------------------------------------------- dropout and weight decay

def test_dropout(rng):
    p, X, dY = 0.6, rng.standard_normal((N, D)), rng.standard_normal((N, D))
    Y, cache = norm_layers.dropout_forward(X, {"p": p, "mode": "train", "seed": 1})
    dX = norm_layers.dropout_backward(dY, cache)
    B = np.array([[float(Y[i, j] != 0) for j in range(D)] for i in range(N)])
    assert 0 < B.sum() < N * D
    for i, j in np.ndindex(N, D):
        assert_equal(Y[i, j], B[i, j] / p * X[i, j])
        assert_equal(dX[i, j], B[i, j] / p * dY[i, j])
    assert_equal(dX, 1 / p * B * dY)


def test_dropout_of_the_captioning_model(rng):
    r = 0.4
    words = {"<NULL>": 0, "<START>": 1, "<END>": 2, "cat": 3}
    model = CaptioningRNN(words, D, M, H, feature_dropout=r, dtype=np.float64, rng=0)
    plain = CaptioningRNN(words, D, M, H, dtype=np.float64, rng=0)
    features, captions = rng.standard_normal((N, D)), np.array([[1, 3, 2]] * N)
    coins = copy.deepcopy(model.rng).random((N, D), dtype=np.float32) >= r
    dropped = np.array([[coins[n, d] / (1 - r) * features[n, d] for d in range(D)]
                        for n in range(N)])
    loss, grads = model.loss(features, captions)
    expected_loss, expected_grads = plain.loss(dropped, captions)
    assert_equal(loss, expected_loss)
    for name, gradient in expected_grads.items():
        assert_equal(grads[name], gradient)


def test_weight_decay(rng):
    X, y = rng.standard_normal((N, D)), rng.integers(0, C, N)
    (loss, grads), (loss_reg, grads_reg) = (
        TwoLayerNet(D, H, C, reg=reg, dtype=np.float64, rng=0).loss(X, y) for reg in (0, 0.25))
    params = TwoLayerNet(D, H, C, dtype=np.float64, rng=0).params
    penalty = 0.0
    for name in ("W1", "W2"):
        for i, j in np.ndindex(params[name].shape):
            penalty += 0.25 / 2 * params[name][i, j] ** 2
            assert_equal(grads_reg[name][i, j], grads[name][i, j] + 0.25 * params[name][i, j])
    assert_equal(loss_reg, loss + penalty)
    assert_equal(grads_reg["b1"], grads["b1"])
