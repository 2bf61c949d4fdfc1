"""A network of two fully connected layers: fc - relu - fc - softmax."""
import math

import numpy as np

from checks import arrays, number, positive_integers
from layers import fc_backward, fc_forward, relu_backward, relu_forward, softmax_loss

try:
    from layers import fc_weights_backward
except ImportError:                             # layers with the functions of the course alone
    def fc_weights_backward(dout, cache):
        """(dw, db) of a layer, at the price of a dx that nobody needs."""
        return fc_backward(dout, cache)[1:]


class TwoLayerNet:
    """Two fully connected layers with a ReLU between them and a softmax loss.

    `params` maps names to arrays: W1 (input_dim, hidden_dim), b1 (hidden_dim,),
    W2 (hidden_dim, num_classes), b2 (num_classes,).

    Args:
        input_dim, hidden_dim, num_classes: sizes of the layers
        weight_scale: standard deviation of the initial weights; None takes √(2 / inputs of the
            layer), which keeps the size of the activations from layer to layer (He et al.,
            "Delving deep into rectifiers", 2015). Biases start at 0.
        reg: strength of the L2 penalty ½·reg·Σ W² on W1 and W2
        dtype: of the parameters; inputs are converted to it
        rng: numpy.random.Generator or a seed, for the initial weights
    """

    def __init__(self, input_dim=784, hidden_dim=100, num_classes=10, weight_scale=None, reg=0.0,
                 dtype=np.float32, rng=None):
        input_dim, hidden_dim, num_classes = positive_integers(
            "TwoLayerNet", input_dim=input_dim, hidden_dim=hidden_dim, num_classes=num_classes)
        self.reg, self.dtype = number("TwoLayerNet", "reg", reg), dtype
        rng = np.random.default_rng(rng)

        def weights(inputs, outputs):
            scale = math.sqrt(2 / inputs) if weight_scale is None else weight_scale
            return (scale * rng.standard_normal((inputs, outputs))).astype(dtype)

        self.params = {
            "W1": weights(input_dim, hidden_dim), "b1": np.zeros(hidden_dim, dtype),
            "W2": weights(hidden_dim, num_classes), "b2": np.zeros(num_classes, dtype),
        }

    def loss(self, X, y=None):
        """Scores without y; loss and gradients with it.

        Args:
            X: (N, ...), each sample has input_dim numbers
            y: (N,) integer labels, 0 <= y < num_classes
        Returns scores (N, num_classes), or (loss, grads) with the keys of params.
        """
        W1, b1, W2, b2 = (self.params[name] for name in ("W1", "b1", "W2", "b2"))
        _, X = arrays("TwoLayerNet", W1=(W1, "DH"), X=(X, "ND..."))
        X = X.reshape(len(X), -1).astype(self.dtype, copy=False)
        hidden, cache1 = fc_forward(X, W1, b1)
        active, cache_relu = relu_forward(hidden)
        scores, cache2 = fc_forward(active, W2, b2)
        if y is None:
            return scores

        loss, dscores = softmax_loss(scores, y)
        dactive, dW2, db2 = fc_backward(dscores, cache2)
        dhidden = relu_backward(dactive, cache_relu)
        dW1, db1 = fc_weights_backward(dhidden, cache1)
        if self.reg:
            # L += ½·reg·ΣW²  ⇒  dW += reg·W   (docs/derivations.md, "Weight decay")
            loss += 0.5 * self.reg * (np.vdot(W1, W1) + np.vdot(W2, W2))
            dW1 += self.reg * W1
            dW2 += self.reg * W2
        return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}
