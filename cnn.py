"""A small convolutional network: conv - relu - 2x2 max pool - fc - relu - fc - softmax."""
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
        if not isinstance(input_dim, (tuple, list)) or len(input_dim) != 3:
            raise ValueError(f"ConvNet: input_dim expects (C, H, W), got {input_dim!r}")
        C, H, W = positive_integers("ConvNet", **dict(zip("CHW", input_dim)))
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
        X, = arrays("ConvNet", X=(X, "NCHW"))
        if X.shape[1:] != self.input_dim:
            raise ValueError(f"ConvNet: X expects images of shape {self.input_dim} after the batch "
                             f"axis, got {X.shape}")
        W1, W2, b2, W3, b3 = (self.params[name] for name in ("W1", "W2", "b2", "W3", "b3"))
        filtered, cache_conv = conv_forward(X.astype(self.dtype, copy=False), W1)
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
