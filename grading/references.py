"""What every function of the assignment computes, written from its definition in float64.

These are for reading, not for speed. All of them take one argument with an additional axis in
front, of variants that are computed at once: so a gradient by central differences is one call
(slopes). The gradients written out here are what the derivations give; they are the ground on
which the table of mistakes stands. A verdict never rests on them, but on central differences.
"""
import numpy as np


# ---------------------------------------------------------------- central differences

def slopes(f, directions, step):
    """df(s·direction)/ds at s = 0 for each of the directions (K, ...): an array (K,).

    f takes all of them at once and returns an array (K,). Step 1 is for functions that are linear
    along the directions, where the difference is exact. Else it is of fourth order; its error is
    about step⁴.
    """
    factors = (1, -1) if step == 1 else (1, -1, 2, -2)
    shifts = np.concatenate([factor * step * directions for factor in factors])
    values = f(shifts).reshape(len(factors), -1)
    first = values[0] - values[1]
    return first / 2 if step == 1 else (8 * first - (values[2] - values[3])) / (12 * step)


def numerical_gradient(f, shape, step):
    """The gradient of f(shift) at shift = 0, coordinate by coordinate."""
    size = int(np.prod(shape))
    return slopes(f, np.eye(size).reshape(size, *shape), step).reshape(shape)


# ---------------------------------------------------------------- layers

def fc(x, w, b):
    """out[n, m] = Σ_d x[n, d]·w[d, m] + b[m]; x is (N, D)."""
    return x @ w + b[..., None, :]


def rows(x):
    """(N, d_1, ..., d_k) as (N, D)."""
    return x.reshape(len(x), -1)


def fc_gradients(x, w, b, dout):
    """dx, dw, db of the fully connected layer; x may have more axes."""
    return {"dx": (dout @ w.T).reshape(x.shape), "dw": rows(x).T @ dout, "db": dout.sum(axis=0)}


def relu(x):
    """out = x where x is positive, else 0; what is not a number stays so."""
    return np.maximum(x, 0.0)


def relu_gradients(x, dout):
    """dx of the rectified linear unit."""
    return {"dx": np.where(x > 0, dout, 0.0)}


def conv(x, w):
    """out[n, f, i, j] = Σ_c,k,l x[n, c, i + k, j + l]·w[f, c, k, l]."""
    HH, WW = w.shape[-2:]
    OH, OW = x.shape[-2] - HH + 1, x.shape[-1] - WW + 1
    filters = np.swapaxes(w.reshape(*w.shape[:-3], -1), -1, -2)
    variants = np.broadcast_shapes(x.shape[:-4], w.shape[:-4])
    out = np.empty((*variants, x.shape[-4], w.shape[-4], OH, OW))
    for i, j in np.ndindex(OH, OW):
        window = x[..., i:i + HH, j:j + WW]
        out[..., i, j] = window.reshape(*window.shape[:-3], -1) @ filters
    return out


def conv_gradients(x, w, dout):
    """dx and dw of the convolution: each output pixel pays its window and the filter."""
    HH, WW = w.shape[2:]
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for i, j in np.ndindex(dout.shape[2:]):
        window = x[:, :, i:i + HH, j:j + WW]
        dx[:, :, i:i + HH, j:j + WW] += np.tensordot(dout[:, :, i, j], w, axes=1)
        dw += np.tensordot(dout[:, :, i, j].T, window, axes=1)
    return {"dx": dx, "dw": dw}


def pool_windows(x, pool_param):
    """Yields ((i, j), rows, columns): each output pixel and the slices of its window."""
    height, width, stride = (pool_param[k] for k in ("pool_height", "pool_width", "stride"))
    for i in range(1 + (x.shape[-2] - height) // stride):
        for j in range(1 + (x.shape[-1] - width) // stride):
            yield ((i, j), slice(i * stride, i * stride + height),
                   slice(j * stride, j * stride + width))


def pool_shape(x, pool_param):
    """(..., OH, OW): rows and columns that no whole window reaches are dropped."""
    return x.shape[:-2] + tuple(
        1 + (size - pool_param[name]) // pool_param["stride"]
        for size, name in zip(x.shape[-2:], ("pool_height", "pool_width")))


def max_pool(x, pool_param):
    """out[n, c, i, j] = the largest number in the window of x that starts at stride·(i, j)."""
    out = np.empty(pool_shape(x, pool_param))
    for (i, j), rows, columns in pool_windows(x, pool_param):
        out[..., i, j] = x[..., rows, columns].max(axis=(-2, -1))
    return out


def first_maximum(window):
    """(N, C, height, width) booleans: the first maximum of each window, row by row."""
    flat = window.reshape(*window.shape[:2], -1)
    winner = flat.argmax(axis=2)[:, :, None] == np.arange(flat.shape[2])
    return winner.reshape(window.shape)


def max_pool_gradients(x, pool_param, dout):
    """dx of max pooling; the first maximum of a window gets its dout."""
    dx = np.zeros(x.shape)
    for (i, j), rows, columns in pool_windows(x, pool_param):
        winner = first_maximum(x[:, :, rows, columns])
        dx[:, :, rows, columns] += winner * dout[:, :, i, j, None, None]
    return {"dx": dx}


def log_softmax(x):
    """log p along the last axis, p = exp(x) / Σ exp(x), by way of x - max."""
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def one_hot(y, C):
    """Labels as rows of 0 with a single 1."""
    return (y[..., None] == np.arange(C)).astype(float)


def softmax_loss(x, y):
    """-1/N Σ_n log p[n, y_n]."""
    return -log_softmax(x)[..., np.arange(len(y)), y].mean(axis=-1)


def softmax_loss_gradients(x, y):
    """dx = (p - one_hot) / N."""
    return {"dx": (np.exp(log_softmax(x)) - one_hot(y, x.shape[1])) / len(x)}


def svm_loss(x, y):
    """1/N Σ_n Σ_{c ≠ y_n} max(0, x[n, c] - x[n, y_n] + 1)."""
    # The right class is summed as well, and there it is 1.
    return (np.maximum(margins(x, y), 0).sum(axis=-1) - 1).mean(axis=-1)


def margins(x, y):
    """x[n, c] - x[n, y_n] + 1."""
    return x - x[..., np.arange(len(y)), y][..., None] + 1


def svm_loss_gradients(x, y):
    """dx = 1/N for each wrong class within the margin, and minus their number, over N, for y_n."""
    within = (margins(x, y) > 0) - one_hot(y, x.shape[1])
    return {"dx": (within - one_hot(y, x.shape[1]) * within.sum(axis=1, keepdims=True)) / len(x)}


# ---------------------------------------------------------------- stride, padding and bias

def padded(image, *sides):
    """The images with zeros around: (above, below), (left, right), or one number for both."""
    around = [(s, s) if np.ndim(s) == 0 else s for s in sides]
    return np.pad(image, [(0, 0)] * (image.ndim - 2) + around)


def strided_conv(x, w, b, conv_param):
    """The convolution of x with zeros around, at every stride-th place, plus b[f]."""
    stride, pad = conv_param["stride"], conv_param["pad"]
    out = conv(padded(x, pad, pad), w)[..., ::stride, ::stride]
    return out + b[..., None, :, None, None]


def strided_conv_gradients(x, w, b, conv_param, dout, *, start=lambda i, stride: i * stride,
                           add=np.add, sizes=None, db=lambda dout: dout.sum(axis=(0, 2, 3)),
                           crop=lambda dx, pad, H, W: dx[:, :, pad:pad + H, pad:pad + W]):
    """dx, dw, db: each output pixel pays its window and the filter.

    The keywords are there to be tampered with, by the table of mistakes.
    """
    (HH, WW), stride, pad = w.shape[2:], conv_param["stride"], conv_param["pad"]
    around = padded(x, pad, pad)
    dx, dw = np.zeros(around.shape), np.zeros(w.shape)
    for i, j in np.ndindex(*(sizes or dout.shape[2:])):
        top, left = start(i, stride), start(j, stride)
        window = np.s_[:, :, top:top + HH, left:left + WW]
        dx[window] = add(dx[window], np.tensordot(dout[:, :, i, j], w, axes=1))
        dw += np.tensordot(dout[:, :, i, j].T, around[window], axes=1)
    return {"dx": crop(dx, pad, *x.shape[2:]), "dw": dw, "db": db(dout)}


# ---------------------------------------------------------------- normalisation

def under_the_root(variance, eps):
    """√(variance + eps)."""
    return np.sqrt(variance + eps)


def normalised(x, axis, eps, *, variance_of=np.var, root=under_the_root, mean_of=np.mean):
    """(x - μ) / √(σ² + eps), with the mean μ and the variance σ² along an axis."""
    variance = variance_of(x, axis=axis, keepdims=True)
    return (x - mean_of(x, axis=axis, keepdims=True)) / root(variance, eps)


def normalised_gradient(x, dx_hat, axis, eps, *, by_mean=1, by_variance=1, of_mean=np.mean,
                        of_variance=np.mean):
    """dx of x̂ = normalised(x), given dx̂: what goes straight, by way of μ and by way of σ².

    The keywords are there to be tampered with, by the table of mistakes.
    """
    x_hat, sigma = normalised(x, axis, eps), np.sqrt(x.var(axis=axis, keepdims=True) + eps)
    through_mean = of_mean(dx_hat, axis=axis, keepdims=True)
    through_variance = x_hat * of_variance(dx_hat * x_hat, axis=axis, keepdims=True)
    return (dx_hat - by_mean * through_mean - by_variance * through_variance) / sigma


def eps_of(param):
    """What is added to the variance."""
    return param.get("eps", 1e-5)


def batchnorm(x, gamma, beta, bn_param, *, mode=None, average=lambda old, new, momentum:
              momentum * old + (1 - momentum) * new, variance_of=np.var, axis=-2, **changes):
    """(out, running_mean, running_var): out = gamma·x̂ + beta, x (N, D) normalised over the batch.

    In the mode "test" the running values stand for those of the batch, and stay as they are. The
    keywords are there to be tampered with, by the table of mistakes.
    """
    running = [bn_param.get(f"running_{name}", np.zeros(x.shape[-1])) for name in ("mean", "var")]
    eps, momentum = eps_of(bn_param), bn_param.get("momentum", 0.9)
    if (mode or bn_param["mode"]) == "train":
        x_hat = normalised(x, axis, eps, variance_of=variance_of, **changes)
        if bn_param["mode"] == "train":
            batch = x.mean(axis=-2), variance_of(x, axis=-2)
            running = [average(*pair, momentum) for pair in zip(running, batch)]
    else:
        x_hat = (x - running[0]) / changes.get("root", under_the_root)(running[1], eps)
    return x_hat * gamma[..., None, :] + beta[..., None, :], *running


def batchnorm_gradients(x, gamma, beta, bn_param, dout, **changes):
    """dx, dgamma, dbeta in the mode "train"."""
    eps = eps_of(bn_param)
    return {"dx": normalised_gradient(x, dout * gamma, 0, eps, **changes),
            "dgamma": (dout * normalised(x, 0, eps)).sum(axis=0), "dbeta": dout.sum(axis=0)}


def layernorm(x, gamma, beta, ln_param, *, axis=-1, **changes):
    """gamma·x̂ + beta, x (N, D) normalised over the features of each sample."""
    x_hat = normalised(x, axis, eps_of(ln_param), **changes)
    return x_hat * gamma[..., None, :] + beta[..., None, :]


def layernorm_gradients(x, gamma, beta, ln_param, dout, **changes):
    """dx, dgamma, dbeta."""
    eps = eps_of(ln_param)
    return {"dx": normalised_gradient(x, dout * gamma, 1, eps, **changes),
            "dgamma": (dout * normalised(x, 1, eps)).sum(axis=0), "dbeta": dout.sum(axis=0)}


def pixels(x):
    """(..., N, C, H, W) as (..., N·H·W, C): every pixel is a sample."""
    last = np.moveaxis(x, -3, -1)
    return last.reshape(*x.shape[:-4], -1, x.shape[-3])


def images(rows, shape):
    """(..., N·H·W, C) as (..., N, C, H, W): the way back from pixels."""
    N, C, H, W = shape[-4:]
    return np.moveaxis(rows.reshape(*rows.shape[:-2], N, H, W, C), -1, -3)


def spatial_batchnorm(x, gamma, beta, bn_param, *, there=pixels, back=images, **changes):
    """Batch normalisation of the pixels of each channel."""
    out, *running = batchnorm(there(x), gamma, beta, bn_param, **changes)
    return back(out, x.shape), *running


def spatial_batchnorm_gradients(x, gamma, beta, bn_param, dout, *, there=pixels, back=images,
                                **changes):
    """dx, dgamma, dbeta in the mode "train"."""
    d = batchnorm_gradients(there(x), gamma, beta, bn_param, there(dout), **changes)
    return {**d, "dx": back(d["dx"], x.shape)}


def grouped(x, G):
    """(..., N, C, H, W) as (..., N, G, C/G·H·W)."""
    return x.reshape(*x.shape[:-3], G, -1)


def spatial_groupnorm(x, gamma, beta, G, gn_param, *, groups=grouped, axis=-1, **changes):
    """gamma·x̂ + beta, x (N, C, H, W) normalised over groups of C/G channels of each sample."""
    x_hat = normalised(groups(x, G), axis, eps_of(gn_param), **changes).reshape(x.shape)
    return x_hat * gamma + beta


def spatial_groupnorm_gradients(x, gamma, beta, G, gn_param, dout, **changes):
    """dx, dgamma, dbeta; the last two have the shape (1, C, 1, 1) of gamma."""
    eps = eps_of(gn_param)
    x_hat = normalised(grouped(x, G), -1, eps).reshape(x.shape)
    dx = normalised_gradient(grouped(x, G), grouped(dout * gamma, G), -1, eps, **changes)
    return {"dx": dx.reshape(x.shape), "dgamma": (dout * x_hat).sum(axis=(0, 2, 3), keepdims=True),
            "dbeta": dout.sum(axis=(0, 2, 3), keepdims=True)}


# ---------------------------------------------------------------- recurrent layers

def rnn_step(x, prev_h, Wx, Wh, b):
    """next_h = tanh(x·Wx + prev_h·Wh + b)."""
    return np.tanh(x @ Wx + prev_h @ Wh + b[..., None, :])


def rnn_step_gradients(x, prev_h, Wx, Wh, b, dout):
    """dx, dprev_h, dWx, dWh, db of one time step."""
    return gradients_of_sums(dout * (1 - rnn_step(x, prev_h, Wx, Wh, b) ** 2), x, prev_h, Wx, Wh)


def gradients_of_sums(da, x, prev_h, Wx, Wh):
    """The gradients of a = x·Wx + prev_h·Wh + b, given da."""
    return {"dx": da @ Wx.T, "dprev_h": da @ Wh.T, "dWx": x.T @ da, "dWh": prev_h.T @ da,
            "db": da.sum(axis=0)}


def rnn(x, h0, Wx, Wh, b):
    """h[t] = tanh(x[t]·Wx + h[t - 1]·Wh + b), with h[-1] = h0; x is (T, N, D)."""
    states = [h0]
    for t in range(x.shape[-3]):
        states.append(rnn_step(x[..., t, :, :], states[-1], Wx, Wh, b))
    return np.stack(np.broadcast_arrays(*states[1:]), axis=-3)


def rnn_gradients(x, h0, Wx, Wh, b, dout, *, slope=lambda h: 1 - h ** 2,
                  carry=lambda dprev_h: dprev_h, way_back=np.transpose, select=lambda dout: dout,
                  times=reversed, add=np.add):
    """dx, dh0, dWx, dWh, db by back-propagation through time.

    The keywords are there to be tampered with, by the table of mistakes.
    """
    h, dout = [h0, *rnn(x, h0, Wx, Wh, b)], select(dout)
    dx, dprev_h = np.zeros(x.shape), np.zeros(h0.shape)
    sums = {"dWx": np.zeros(Wx.shape), "dWh": np.zeros(Wh.shape), "db": np.zeros(b.shape)}
    for t in times(range(len(x))):
        da = (dout[t] + carry(dprev_h)) * slope(h[t + 1])
        dx[t], dprev_h = da @ Wx.T, da @ way_back(Wh)
        step = gradients_of_sums(da, x[t], h[t], Wx, Wh)
        sums = {name: add(total, step[name]) for name, total in sums.items()}
    return {"dx": dx, "dh0": dprev_h, **sums}


def sigmoid(a):
    """1 / (1 + exp(-a)), for a of any size."""
    return 0.5 + 0.5 * np.tanh(0.5 * a)


def lstm_step(x, prev_h, prev_c, Wx, Wh, b, *, order="ifog", last=np.tanh, block=np.tanh,
              keep=sigmoid):
    """(next_h, next_c): next_c = f·prev_c + i·g and next_h = o·tanh(next_c), i, f, o being gates.

    `order` is that of the gates in the columns of Wx, Wh and b.
    """
    a = dict(zip(order, np.split(x @ Wx + prev_h @ Wh + b[..., None, :], 4, axis=-1)))
    next_c = keep(a["f"]) * prev_c + sigmoid(a["i"]) * block(a["g"])
    return sigmoid(a["o"]) * last(next_c), next_c


def lstm(x, h0, Wx, Wh, b, *, step=lstm_step, first_cell=None):
    """h (T, N, H): the step of lstm_step at every time; the cells start at 0."""
    h, c, states = h0, np.zeros(h0.shape) if first_cell is None else first_cell, []
    for t in range(x.shape[-3]):
        h, c = step(x[..., t, :, :], h, c, Wx, Wh, b)
        states.append(h)
    return np.stack(np.broadcast_arrays(*states), axis=-3)


def lstm_slopes(i, f, o, g, prev_c, tanh_c, dnext_h, dc):
    """The gradients of what the gates were computed from: the definition of the way back."""
    return {"i": dc * g * i * (1 - i), "f": dc * prev_c * f * (1 - f),
            "o": dnext_h * tanh_c * o * (1 - o), "g": dc * i * (1 - g * g)}


def lstm_step_gradients(x, prev_h, prev_c, Wx, Wh, b, dout, *, gates=lstm_slopes, order="ifog",
                        cell=lambda dnext_c, dnext_h, o, tanh_c:
                        dnext_c + dnext_h * o * (1 - tanh_c ** 2),
                        before=lambda dc, gate, dnext_c: dc * gate["f"]):
    """dx, dprev_h, dprev_c, dWx, dWh, db of one time step; dout is (dnext_h, dnext_c).

    The keywords are there to be tampered with, by the table of mistakes.
    """
    dnext_h, dnext_c = dout
    a = dict(zip(order, np.split(x @ Wx + prev_h @ Wh + b, 4, axis=1)))
    gate = {name: np.tanh(a[name]) if name == "g" else sigmoid(a[name]) for name in "ifog"}
    tanh_c = np.tanh(gate["f"] * prev_c + gate["i"] * gate["g"])
    dc = cell(dnext_c, dnext_h, gate["o"], tanh_c)
    da = gates(**gate, prev_c=prev_c, tanh_c=tanh_c, dnext_h=dnext_h, dc=dc)
    da = np.hstack([da[name] for name in order])
    return {**gradients_of_sums(da, x, prev_h, Wx, Wh), "dprev_c": before(dc, gate, dnext_c)}


def lstm_gradients(x, h0, Wx, Wh, b, dout, *, step=lstm_step_gradients,
                   carry=lambda dprev_h, dprev_c: (dprev_h, dprev_c), add=np.add, order="ifog",
                   times=reversed):
    """dx, dh0, dWx, dWh, db by back-propagation through time."""
    states = [(h0, np.zeros(h0.shape))]
    for x_t in x:
        states.append(lstm_step(x_t, *states[-1], Wx, Wh, b, order=order))
    dx, dprev_h, dprev_c = np.zeros(x.shape), np.zeros(h0.shape), np.zeros(h0.shape)
    sums = {"dWx": np.zeros(Wx.shape), "dWh": np.zeros(Wh.shape), "db": np.zeros(b.shape)}
    for t in times(range(len(x))):
        from_h, from_c = carry(dprev_h, dprev_c)
        d = step(x[t], *states[t], Wx, Wh, b, (dout[t] + from_h, from_c), order=order)
        dx[t], dprev_h, dprev_c = d["dx"], d["dprev_h"], d["dprev_c"]
        sums = {name: add(total, d[name]) for name, total in sums.items()}
    return {"dx": dx, "dh0": dprev_h, **sums}


# ---------------------------------------------------------------- words in, words out

def word_embedding(x, W):
    """out[n, t] = W[x[n, t]]."""
    return W[..., x, :]


def word_embedding_gradients(x, W, dout):
    """dW[v] = the sum of dout over all places that hold word v."""
    dW = np.zeros(W.shape)
    for place in np.ndindex(x.shape):
        dW[x[place]] += dout[place]
    return {"dW": dW}


def temporal_fc(x, w, b):
    """out[n, t, m] = Σ_d x[n, t, d]·w[d, m] + b[m]."""
    N, T, D = x.shape[-3:]
    out = fc(x.reshape(*x.shape[:-3], N * T, D), w, b)
    return out.reshape(*out.shape[:-2], N, T, out.shape[-1])


def temporal_fc_gradients(x, w, b, dout):
    """dx, dw, db: a fully connected layer of N·T samples."""
    return {"dx": dout @ w.T, "dw": np.tensordot(x, dout, axes=((0, 1), (0, 1))),
            "db": dout.sum(axis=(0, 1))}


def temporal_softmax_loss(x, y, mask):
    """-1/N Σ_n Σ_t mask[n, t]·log p[n, t, y[n, t]]."""
    n, t = np.nonzero(mask)
    return -log_softmax(x)[..., n, t, y[n, t]].sum(axis=-1) / len(y)


def temporal_softmax_loss_gradients(x, y, mask):
    """dx = mask·(p - one_hot) / N."""
    dscores = (np.exp(log_softmax(x)) - one_hot(y, x.shape[2])) / len(x)
    return {"dx": np.where(mask[:, :, None] != 0, dscores, 0.0)}


# ---------------------------------------------------------------- update rules

# Each returns the weights after every one of the gradients dws. What the steps keep starts at 0,
# or from what config holds.

def steps_of(dws, config):
    """(gradient, learning rate) of each step; the rate falls by a factor lr_decay."""
    rates = config["learning_rate"] * config.get("lr_decay", 1.0) ** np.arange(len(dws))
    return list(zip(dws, rates))


def sgd(w, dws, config, *, sign=-1):
    """w ← w - learning_rate·dw."""
    path = []
    for dw, rate in steps_of(dws, config):
        w = w + sign * rate * dw
        path.append(w)
    return np.array(path)


def sgd_momentum(w, dws, config, *, friction=None, scale=1.0, stale=False):
    """velocity ← momentum·velocity - learning_rate·dw;  w ← w + velocity."""
    momentum = config.get("momentum", 0.9) if friction is None else friction
    velocity, path = config.get("velocity", np.zeros(w.shape)), []
    for dw, rate in steps_of(dws, config):
        before = velocity
        velocity = momentum * velocity - scale * rate * dw
        w = w + (before if stale else velocity)
        path.append(w)
    return np.array(path)


def sgd_momentum_of_pytorch(w, dws, config):
    """velocity ← momentum·velocity + dw;  w ← w - learning_rate·velocity.

    That is the other one, as long as the learning rate stays what it is.
    """
    velocity, path = np.zeros(w.shape), []
    for dw, rate in steps_of(dws, config):
        velocity = config.get("momentum", 0.9) * velocity + dw
        w = w - rate * velocity
        path.append(w)
    return np.array(path)


def outside(mean, epsilon):
    """√mean + epsilon."""
    return np.sqrt(mean) + epsilon


def inside(mean, epsilon):
    """√(mean + epsilon)."""
    return np.sqrt(mean + epsilon)


def rmsprop(w, dws, config, *, root=outside, swap=False, damp=True, stale=False):
    """cache ← decay·cache + (1 - decay)·dw²;  w ← w - learning_rate·dw / (√cache + epsilon)."""
    decay = config.get("decay_rate", 0.99)
    decay = 1 - decay if swap else decay
    cache, path = config.get("cache", np.zeros(w.shape)), []
    for dw, rate in steps_of(dws, config):
        before = cache
        cache = decay * cache + (1 - decay if damp else 1) * dw ** 2
        w = w - rate * dw / root(before if stale else cache, config.get("epsilon", 1e-8))
        path.append(w)
    return np.array(path)


def adam(w, dws, config, *, first=1, correct=(True, True), swap=False, power=2, root=outside,
         steps=True, epsilon_first=False):
    """m and v are running means of dw and dw², corrected for their start at 0.

    w ← w - learning_rate·m̂ / (√v̂ + epsilon), m̂ = m / (1 - beta1ᵗ), v̂ = v / (1 - beta2ᵗ).
    With epsilon_first, it is added before v is corrected, as in the last paragraph of section 2
    of Kingma and Ba: √v + epsilon, divided by √(1 - beta2ᵗ).
    """
    beta1, beta2 = config.get("beta1", 0.9), config.get("beta2", 0.999)
    if swap:
        beta1, beta2 = beta2, beta1
    m, v = (config.get(name, np.zeros(w.shape)) for name in "mv")
    first, path = first + config.get("t", 0), []
    for t, (dw, rate) in enumerate(steps_of(dws, config), start=first):
        t = t if steps else first
        m = beta1 * m + (1 - beta1) * dw
        v = beta2 * v + (1 - beta2) * dw ** power
        epsilon = config.get("epsilon", 1e-8)
        if epsilon_first:
            epsilon = epsilon / np.sqrt(1 - beta2 ** t)
        m_hat = m / (1 - beta1 ** t) if correct[0] else m
        v_hat = v / (1 - beta2 ** t) if correct[1] else v
        w = w - rate * m_hat / root(v_hat, epsilon)
        path.append(w)
    return np.array(path)


# ---------------------------------------------------------------- models

# `reg` is the strength of the penalty ½·reg·Σ W² on all weights, but not on biases.

POOL = {"pool_height": 2, "pool_width": 2, "stride": 2}


def penalty(reg, *weights):
    """½·reg·Σ W², each W with or without an axis of variants in front."""
    return 0.5 * reg * sum((W ** 2).sum(axis=tuple(range(-axes, 0))) for W, axes in weights)


def two_layer_scores(X, W1, b1, W2, b2):
    """fc - relu - fc."""
    return fc(relu(fc(X, W1, b1)), W2, b2)


def two_layer_loss(X, y, reg, W1, b1, W2, b2):
    """Softmax loss of the scores, and the penalty."""
    return softmax_loss(two_layer_scores(X, W1, b1, W2, b2), y) + penalty(reg, (W1, 2), (W2, 2))


def conv_net_scores(X, W1, W2, b2, W3, b3):
    """conv - relu - 2x2 max pool - fc - relu - fc."""
    pooled = max_pool(relu(conv(X, W1)), POOL)
    return fc(relu(fc(pooled.reshape(*pooled.shape[:-3], -1), W2, b2)), W3, b3)


def conv_net_loss(X, y, reg, W1, W2, b2, W3, b3):
    """Softmax loss of the scores, and the penalty."""
    return softmax_loss(conv_net_scores(X, W1, W2, b2, W3, b3), y) \
        + penalty(reg, (W1, 4), (W2, 2), (W3, 2))


def captioning_loss(features, captions, null, reg, W_proj, b_proj, W_embed, Wx, Wh, b, W_vocab,
                    b_vocab, *, shift=1, counts=lambda words, null: words != null):
    """h0 = features·W_proj + b_proj; each word but the last is read, the next one is to be said.

    Positions whose next word is <NULL> do not count.
    """
    read, said = captions[:, :-1], captions[:, shift:len(captions[0]) - 1 + shift]
    h0 = fc(features, W_proj, b_proj)
    words = np.swapaxes(word_embedding(read, W_embed), -2, -3)
    h = np.swapaxes(rnn(words, h0, Wx, Wh, b), -2, -3)
    scores = temporal_fc(h, W_vocab, b_vocab)
    weights = ((W_proj, 2), (W_embed, 2), (Wx, 2), (Wh, 2), (W_vocab, 2))
    return temporal_softmax_loss(scores, said, counts(said, null)) + penalty(reg, *weights)
