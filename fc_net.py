"""Networks of fully connected layers: one of two, and one of any number."""
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


class FullyConnectedNet:
    """Any number of fully connected layers, with a softmax loss.

        (fc - norm - relu - dropout) x len(hidden_dims) - fc - softmax

    `params` maps names to arrays: layer i, counted from 1, has Wi (inputs, outputs) and
    bi (outputs,); a hidden layer that is normalised also has gammai and betai (outputs,).

    `state` maps names to arrays that batch normalisation needs in test mode: running_meani and
    running_vari (outputs,) of hidden layer i. loss(X, y) normalises with the statistics of the
    mini-batch and puts new running values into `state`; loss(X) normalises with these.

    Args:
        hidden_dims: hidden-layer sizes, a list; an empty one leaves a linear classifier
        input_dim, num_classes: sizes of the first layer's inputs and the last layer's outputs
        dropout_keep_ratio: probability with which loss(X, y) keeps a hidden unit; 1 is no dropout
        normalization: None, "batchnorm" or "layernorm"
        reg: strength of the L2 penalty ½·reg·Σ W² on all weights Wi
        weight_scale: standard deviation of the initial weights; None takes √(2 / inputs of the
            layer) (He et al., 2015). bi and betai start at 0, gammai at 1.
        dtype: of the parameters; inputs are converted to it
        seed: an integer, with which each loss(X, y) drops the same units, as a numerical gradient
            needs it; None draws other ones from rng each time
        rng: numpy.random.Generator or a seed, for the initial weights and for dropout
    Source: CS231n, assignment 2.
    """

    def __init__(self, hidden_dims, input_dim=784, num_classes=10, dropout_keep_ratio=1,
                 normalization=None, reg=0.0, weight_scale=None, dtype=np.float32, seed=None,
                 rng=None):
        if not isinstance(hidden_dims, (list, tuple)):
            raise ValueError("FullyConnectedNet: hidden_dims expects a list of positive integers, "
                             f"got {hidden_dims!r:.80}")
        sizes = positive_integers(
            "FullyConnectedNet", input_dim=input_dim,
            **{f"hidden_dims[{place}]": size for place, size in enumerate(hidden_dims)},
            num_classes=num_classes)
        keep = number("FullyConnectedNet", "dropout_keep_ratio", dropout_keep_ratio)
        if not 0 < keep <= 1:
            raise ValueError("FullyConnectedNet: dropout_keep_ratio expects more than 0 and at "
                             f"most 1, got {dropout_keep_ratio!r}")
        if normalization not in (None, "batchnorm", "layernorm"):
            raise ValueError("FullyConnectedNet: normalization expects None, 'batchnorm' or "
                             f"'layernorm', got {normalization!r}")
        self.reg, self.dtype = number("FullyConnectedNet", "reg", reg), dtype
        self.normalization, self.num_layers = normalization, len(sizes) - 1
        self.rng = np.random.default_rng(rng)
        self.dropout_param = None if keep == 1 else {"p": keep, "seed": seed}
        self.params, self.state = {}, {}
        for i, (inputs, outputs) in enumerate(zip(sizes, sizes[1:]), start=1):
            scale = math.sqrt(2 / inputs) if weight_scale is None else weight_scale
            weights = scale * self.rng.standard_normal((inputs, outputs))
            self.params |= {f"W{i}": weights.astype(dtype), f"b{i}": np.zeros(outputs, dtype)}
            if normalization and i < self.num_layers:
                self.params |= {f"gamma{i}": np.ones(outputs, dtype),
                                f"beta{i}": np.zeros(outputs, dtype)}
            if normalization == "batchnorm" and i < self.num_layers:
                self.state |= {f"running_mean{i}": np.zeros(outputs, dtype),
                               f"running_var{i}": np.ones(outputs, dtype)}

    def loss(self, X, y=None):
        """Scores without y, in test mode; loss and gradients with it, in training mode.

        Args:
            X: (N, ...), each sample has input_dim numbers
            y: (N,) integer labels, 0 <= y < num_classes
        Returns scores (N, num_classes), or (loss, grads) with the keys of params.
        """
        p, last, mode = self.params, self.num_layers, "test" if y is None else "train"
        _, X = arrays("FullyConnectedNet", W1=(p["W1"], "DH"), X=(X, "ND..."))
        x, caches = X.reshape(len(X), -1).astype(self.dtype, copy=False), []
        for i in range(1, last):
            x, cache = self._hidden_forward(i, x, mode)
            caches.append(cache)
        scores, cache = fc_forward(x, p[f"W{last}"], p[f"b{last}"])
        if y is None:
            return scores

        grads = {}
        loss, dscores = softmax_loss(scores, y)
        dx, grads[f"W{last}"], grads[f"b{last}"] = fc_backward(dscores, cache)
        for i in range(last - 1, 0, -1):
            dx = self._hidden_backward(i, dx, caches[i - 1], grads)
        if self.reg:
            # L += ½·reg·ΣW²  ⇒  dW += reg·W   (docs/derivations.md, "Weight decay")
            for name in (f"W{i}" for i in range(1, last + 1)):
                loss += 0.5 * self.reg * np.vdot(p[name], p[name])
                grads[name] += self.reg * p[name]
        return loss, grads

    # norm_layers is imported where it is used: who has the layers of the course alone lacks it.

    def _hidden_forward(self, i, x, mode):
        """(output, caches) of hidden layer i."""
        import norm_layers
        p, cache_norm, cache_dropout = self.params, None, None
        x, cache_fc = fc_forward(x, p[f"W{i}"], p[f"b{i}"])
        if self.normalization == "layernorm":
            x, cache_norm = norm_layers.layernorm_forward(x, p[f"gamma{i}"], p[f"beta{i}"], {})
        elif self.normalization == "batchnorm":
            bn_param = {"mode": mode, "running_mean": self.state[f"running_mean{i}"],
                        "running_var": self.state[f"running_var{i}"]}
            x, cache_norm = norm_layers.batchnorm_forward(x, p[f"gamma{i}"], p[f"beta{i}"],
                                                          bn_param)
            if mode == "train":
                self.state[f"running_mean{i}"] = bn_param["running_mean"]
                self.state[f"running_var{i}"] = bn_param["running_var"]
        x, cache_relu = relu_forward(x)
        if self.dropout_param:
            rng = self.rng if self.dropout_param["seed"] is None else None
            x, cache_dropout = norm_layers.dropout_forward(
                x, {**self.dropout_param, "mode": mode, "rng": rng})
        return x, (cache_fc, cache_norm, cache_relu, cache_dropout)

    def _hidden_backward(self, i, dout, caches, grads):
        """The gradient of the inputs of hidden layer i; puts those of its parameters into grads."""
        import norm_layers
        cache_fc, cache_norm, cache_relu, cache_dropout = caches
        if self.dropout_param:
            dout = norm_layers.dropout_backward(dout, cache_dropout)
        dout = relu_backward(dout, cache_relu)
        if self.normalization:
            backward = norm_layers.layernorm_backward if self.normalization == "layernorm" else \
                norm_layers.batchnorm_backward_alt
            dout, grads[f"gamma{i}"], grads[f"beta{i}"] = backward(dout, cache_norm)
        if i == 1:                              # nobody needs the gradient of the data
            grads["W1"], grads["b1"] = fc_weights_backward(dout, cache_fc)
            return None
        dx, grads[f"W{i}"], grads[f"b{i}"] = fc_backward(dout, cache_fc)
        return dx
