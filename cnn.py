"""Convolutional networks: a small one with one convolution, and a deep one with many."""
import math

import numpy as np

from checks import arrays, number, positive_integers
from layers import (conv_backward, conv_forward, fc_backward, fc_forward, max_pool_backward,
                    max_pool_forward, relu_backward, relu_forward, softmax_loss)

try:
    from layers import conv_weights_backward
except ImportError:                             # layers with the functions of the course alone
    def conv_weights_backward(dout, cache):
        """dw of a layer, at the price of a dx that nobody needs."""
        return conv_backward(dout, cache)[1]

POOL = {"pool_height": 2, "pool_width": 2, "stride": 2}


class ConvNet:
    """One convolution layer and two fully connected ones, with a softmax loss.

        conv - relu - 2x2 max pool - fc - relu - fc - softmax

    With (C, H, W) = input_dim, HH = WW = filter_size and F = num_filters, the convolution shrinks
    the images from H x W to (H - HH + 1) x (W - WW + 1), and the pooling to half of that, rounded
    down.

    `params` maps names to arrays: W1 (F, C, HH, WW), which has no bias; W2 (F·H/2·W/2 of the pooled
    images, hidden_dim), b2 (hidden_dim,); W3 (hidden_dim, num_classes), b3 (num_classes,).

    Args:
        input_dim: (C, H, W)
        num_filters, filter_size, hidden_dim, num_classes: sizes of the layers
        weight_scale: standard deviation of the initial weights; None takes √(2 / inputs of the
            layer) (He et al., 2015). Biases start at 0.
        reg: strength of the L2 penalty ½·reg·Σ W² on W1, W2 and W3
        dtype: of the parameters; inputs are converted to it
        rng: numpy.random.Generator or a seed, for the initial weights
    Raises ValueError for sizes that are not positive integers or do not fit.
    """

    def __init__(self, input_dim=(1, 28, 28), num_filters=32, filter_size=7, hidden_dim=100,
                 num_classes=10, weight_scale=None, reg=0.0, dtype=np.float32, rng=None):
        C, H, W = _image_sizes("ConvNet", input_dim)
        num_filters, filter_size, hidden_dim, num_classes = positive_integers(
            "ConvNet", num_filters=num_filters, filter_size=filter_size, hidden_dim=hidden_dim,
            num_classes=num_classes)
        if filter_size >= min(H, W):
            raise ValueError(f"ConvNet: filter_size expects less than {min(H, W)} for images of "
                             f"{H}x{W}, so that the convolution leaves a 2x2 window to pool, "
                             f"got {filter_size}")
        self.reg, self.dtype = number("ConvNet", "reg", reg), dtype
        self.input_dim = C, H, W
        features = num_filters * ((H - filter_size + 1) // 2) * ((W - filter_size + 1) // 2)
        rng = np.random.default_rng(rng)

        def weights(inputs, *shape):
            scale = math.sqrt(2 / inputs) if weight_scale is None else weight_scale
            return (scale * rng.standard_normal(shape)).astype(dtype)

        self.params = {
            "W1": weights(C * filter_size ** 2, num_filters, C, filter_size, filter_size),
            "W2": weights(features, features, hidden_dim), "b2": np.zeros(hidden_dim, dtype),
            "W3": weights(hidden_dim, hidden_dim, num_classes), "b3": np.zeros(num_classes, dtype),
        }

    def loss(self, X, y=None):
        """Scores without y; loss and gradients with it.

        Args:
            X: (N, C, H, W) images
            y: (N,) integer labels, 0 <= y < num_classes
        Returns scores (N, num_classes), or (loss, grads) with the keys of params.
        """
        X = _images("ConvNet", X, self.input_dim, self.dtype)
        W1, W2, b2, W3, b3 = (self.params[name] for name in ("W1", "W2", "b2", "W3", "b3"))
        filtered, cache_conv = conv_forward(X, W1)
        # ReLU never decreases, so max(relu(·)) = relu(max(·)): pooling first gives the same
        # network and the same gradients, and ReLU has a quarter of the work.
        pooled, cache_pool = max_pool_forward(filtered, POOL)
        active1, cache_relu1 = relu_forward(pooled)
        hidden, cache_fc1 = fc_forward(active1.reshape(len(X), -1), W2, b2)
        active2, cache_relu2 = relu_forward(hidden)
        scores, cache_fc2 = fc_forward(active2, W3, b3)
        if y is None:
            return scores

        loss, dscores = softmax_loss(scores, y)
        dactive2, dW3, db3 = fc_backward(dscores, cache_fc2)
        dhidden = relu_backward(dactive2, cache_relu2)
        dactive1, dW2, db2 = fc_backward(dhidden, cache_fc1)
        dpooled = relu_backward(dactive1.reshape(pooled.shape), cache_relu1)
        dfiltered = max_pool_backward(dpooled, cache_pool)
        dW1 = conv_weights_backward(dfiltered, cache_conv)
        if self.reg:
            # L += ½·reg·ΣW²  ⇒  dW += reg·W   (docs/derivations.md, "Weight decay")
            loss += 0.5 * self.reg * sum(np.vdot(W, W) for W in (W1, W2, W3))
            dW1 += self.reg * W1
            dW2 += self.reg * W2
            dW3 += self.reg * W3
        return loss, {"W1": dW1, "W2": dW2, "b2": db2, "W3": dW3, "b3": db3}

    def feature_maps(self, X):
        """What the filters make of images X (N, C, H, W), after the ReLU and before the pooling."""
        X = _images("ConvNet", X, self.input_dim, self.dtype)
        return relu_forward(conv_forward(X, self.params["W1"])[0])[0]


class DeepConvNet:
    """Pairs of convolutions with batch normalisation, then two fully connected layers.

        ((conv - norm - relu) x 2 - 2x2 max pool) x len(num_filters) - fc - relu - fc - softmax

    The convolutions pad the images, which keep their size; each pooling halves it, rounded down.

    `params` maps names to arrays: convolution i, counted from 1, has Wi (F, C, HH, WW), gammai (F,)
    and betai (F,), which takes the place of a bias; the two fully connected layers, counted on,
    have Wi (inputs, outputs) and bi (outputs,).

    `state` maps names to arrays that batch normalisation needs in test mode: running_meani and
    running_vari (F,) of convolution i. loss(X, y) normalises with the statistics of the mini-batch
    and puts new running values into `state`; loss(X) normalises with these.

    Args:
        input_dim: (C, H, W)
        num_filters: for each pair of convolutions, how many filters each of the two has
        filter_size: height and width of a filter, an odd number
        hidden_dim, num_classes: sizes of the fully connected layers
        weight_scale: standard deviation of the initial weights; None takes √(2 / inputs of the
            layer) (He et al., 2015). betai and bi start at 0, gammai at 1.
        reg: strength of the L2 penalty ½·reg·Σ W² on all weights Wi
        dtype: of the parameters; inputs are converted to it
        rng: numpy.random.Generator or a seed, for the initial weights
    Raises ValueError for sizes that are not positive integers or do not fit.
    Source: Simonyan and Zisserman, "Very deep convolutional networks", 2015, with the batch
    normalisation of Ioffe and Szegedy, 2015.
    """

    def __init__(self, input_dim=(1, 28, 28), num_filters=(16, 32), filter_size=3, hidden_dim=128,
                 num_classes=10, weight_scale=None, reg=0.0, dtype=np.float32, rng=None):
        self.input_dim = C, H, W = _image_sizes("DeepConvNet", input_dim)
        if not isinstance(num_filters, (tuple, list)) or \
                not 1 <= len(num_filters) < min(H, W).bit_length():
            raise ValueError(f"DeepConvNet: num_filters expects a list of 1 to "
                             f"{min(H, W).bit_length() - 1} numbers for images of {H}x{W}, each of "
                             f"which halves them, got {num_filters!r:.80}")
        filter_size, hidden_dim, num_classes, *num_filters = positive_integers(
            "DeepConvNet", filter_size=filter_size, hidden_dim=hidden_dim, num_classes=num_classes,
            **{f"num_filters[{place}]": size for place, size in enumerate(num_filters)})
        if filter_size % 2 == 0:
            raise ValueError("DeepConvNet: filter_size expects an odd number, so that padding "
                             f"keeps the size of the images, got {filter_size}")
        self.reg, self.dtype = number("DeepConvNet", "reg", reg), dtype
        self.conv_param = {"stride": 1, "pad": filter_size // 2}
        self.num_convs = 2 * len(num_filters)
        rng = np.random.default_rng(rng)

        def weights(inputs, *shape):
            scale = math.sqrt(2 / inputs) if weight_scale is None else weight_scale
            return (scale * rng.standard_normal(shape)).astype(dtype)

        self.params, self.state = {}, {}
        filters = [F for F in num_filters for _ in range(2)]
        for i, (C, F) in enumerate(zip([C, *filters], filters), start=1):
            self.params |= {
                f"W{i}": weights(C * filter_size ** 2, F, C, filter_size, filter_size),
                f"gamma{i}": np.ones(F, dtype), f"beta{i}": np.zeros(F, dtype)}
            self.state |= {f"running_mean{i}": np.zeros(F, dtype),
                           f"running_var{i}": np.ones(F, dtype)}
        halvings = len(num_filters)
        features = filters[-1] * (H >> halvings) * (W >> halvings)
        for i, (inputs, outputs) in enumerate(
                ((features, hidden_dim), (hidden_dim, num_classes)), start=self.num_convs + 1):
            self.params |= {f"W{i}": weights(inputs, inputs, outputs),
                            f"b{i}": np.zeros(outputs, dtype)}

    def loss(self, X, y=None):
        """Scores without y, in test mode; loss and gradients with it, in training mode.

        Args:
            X: (N, C, H, W) images
            y: (N,) integer labels, 0 <= y < num_classes
        Returns scores (N, num_classes), or (loss, grads) with the keys of params.
        """
        p, convs, mode = self.params, self.num_convs, "test" if y is None else "train"
        x, caches = _images("DeepConvNet", X, self.input_dim, self.dtype), []
        for i in range(1, convs + 1):
            x, cache = self._conv_forward(i, x, mode)
            if mode == "train":
                caches.append(cache)
        hidden, cache_fc1 = fc_forward(x, p[f"W{convs + 1}"], p[f"b{convs + 1}"])
        active, cache_relu = relu_forward(hidden)
        scores, cache_fc2 = fc_forward(active, p[f"W{convs + 2}"], p[f"b{convs + 2}"])
        if y is None:
            return scores

        grads = {}
        loss, dscores = softmax_loss(scores, y)
        dactive, grads[f"W{convs + 2}"], grads[f"b{convs + 2}"] = fc_backward(dscores, cache_fc2)
        dhidden = relu_backward(dactive, cache_relu)
        dx, grads[f"W{convs + 1}"], grads[f"b{convs + 1}"] = fc_backward(dhidden, cache_fc1)
        for i in range(convs, 0, -1):
            dx = self._conv_backward(i, dx, caches[i - 1], grads)
        if self.reg:
            # L += ½·reg·ΣW²  ⇒  dW += reg·W   (docs/derivations.md, "Weight decay")
            for name in (f"W{i}" for i in range(1, convs + 3)):
                loss += 0.5 * self.reg * np.vdot(p[name], p[name])
                grads[name] += self.reg * p[name]
        return loss, grads

    def feature_maps(self, X):
        """What the first filters make of images X (N, C, H, W), after the norm and the ReLU."""
        X = _images("DeepConvNet", X, self.input_dim, self.dtype)
        return self._conv_forward(1, X, "test")[0]

    # norm_layers is imported where it is used: who has the layers of the course alone lacks it.

    def _conv_forward(self, i, x, mode):
        """(output, caches) of convolution i, with the pooling after each second one."""
        from norm_layers import spatial_batchnorm_forward
        p, cache_pool = self.params, None
        x, cache_conv = conv_forward(x, p[f"W{i}"], None, self.conv_param)
        bn_param = {"mode": mode, "running_mean": self.state[f"running_mean{i}"],
                    "running_var": self.state[f"running_var{i}"]}
        x, cache_norm = spatial_batchnorm_forward(x, p[f"gamma{i}"], p[f"beta{i}"], bn_param)
        if mode == "train":
            self.state[f"running_mean{i}"] = bn_param["running_mean"]
            self.state[f"running_var{i}"] = bn_param["running_var"]
        if i % 2 == 0:                          # before the ReLU, as in ConvNet
            x, cache_pool = max_pool_forward(x, POOL)
        x, cache_relu = relu_forward(x)
        return x, (cache_conv, cache_norm, cache_pool, cache_relu)

    def _conv_backward(self, i, dout, caches, grads):
        """The gradient of the inputs of convolution i; puts those of its parameters into grads."""
        from norm_layers import spatial_batchnorm_backward
        cache_conv, cache_norm, cache_pool, cache_relu = caches
        dout = relu_backward(dout, cache_relu)
        if i % 2 == 0:
            dout = max_pool_backward(dout, cache_pool)
        dout, grads[f"gamma{i}"], grads[f"beta{i}"] = spatial_batchnorm_backward(dout, cache_norm)
        dx, grads[f"W{i}"], _ = conv_backward(dout, cache_conv)
        return dx


def _image_sizes(model, input_dim):
    """(C, H, W) as integers, or ValueError in the name of the model."""
    if not isinstance(input_dim, (tuple, list)) or len(input_dim) != 3:
        raise ValueError(f"{model}: input_dim expects (C, H, W), got {input_dim!r}")
    return tuple(positive_integers(model, **dict(zip("CHW", input_dim))))


def _images(model, X, input_dim, dtype):
    """X as images of this size and dtype, or ValueError in the name of the model."""
    X, = arrays(model, X=(X, "NCHW"))
    if X.shape[1:] != input_dim:
        raise ValueError(f"{model}: X expects images of shape {input_dim} after the batch "
                         f"axis, got {X.shape}")
    return X.astype(dtype, copy=False)
