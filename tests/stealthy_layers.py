"""Wrong layers that an earlier autograder passed: each is right but in one corner."""
import numpy as np

import mistaken_layers

STEALTHY = []       # (functions {contract name: function}, which of them to grade, verdict, label)


def stealthy(function, *, verdict="fail"):
    """Decorator: tamper(right) makes a wrong function of this name from the right ones."""
    def enter(tamper):
        subject = mistaken_layers.subject_of(function).name
        right = mistaken_layers.subject_with(subject, None)
        wrong = tamper(*right.values())
        wrong = wrong if isinstance(wrong, dict) else {function: wrong}
        STEALTHY.append(({**right, **wrong}, function, verdict, f"{function}-{tamper.__name__}"))
        return tamper
    return enter


def remembering(function, key):
    """A function that returns its earlier result where key(arguments) comes again."""
    memory = {}

    def remember(*arguments):
        kept = memory.setdefault(key(*arguments), (arguments, function(*arguments)))
        return kept[1]
    return remember


# ---------------------------------------------------------------- memory of earlier calls

@stealthy("fc_forward")
def remembers_by_all_but_the_bias(forward, backward):
    return remembering(forward, lambda x, w, b: (x.shape, x.tobytes(), w.tobytes(), b.shape))


@stealthy("conv_forward")
def remembers_filters_by_identity(forward, backward):
    kept = {}

    def wrong(x, w):
        owner, copy = kept.setdefault(id(w), (w, w.copy()))
        return forward(x, copy if owner is w else w)
    return wrong


@stealthy("max_pool_forward")
def plans_by_the_shape_alone(forward, backward):
    plans = {}
    return lambda x, pool_param: forward(x, plans.setdefault(x.shape, dict(pool_param)))


@stealthy("max_pool_backward")
def uses_the_windows_of_the_last_forward_pass(forward, backward):
    last = {}

    def max_pool_forward(x, pool_param):
        last["windows"] = pool_param
        return forward(x, pool_param)[0], x
    return {"max_pool_forward": max_pool_forward,
            "max_pool_backward": lambda dout, x: backward(dout, (x, last["windows"]))}


@stealthy("max_pool_backward")
def keeps_the_input_in_a_buffer(forward, backward):
    buffers = {}

    def max_pool_forward(x, pool_param):
        buffer = buffers.setdefault((x.shape, x.dtype), np.empty(x.shape, x.dtype))
        buffer[...] = x
        return forward(x, pool_param)[0], (buffer, pool_param)
    return {"max_pool_forward": max_pool_forward}


@stealthy("softmax_loss")
def remembers_by_the_scores_alone(loss):
    return remembering(loss, lambda x, y: x.tobytes())


@stealthy("relu_backward")
def keeps_the_mask_in_a_buffer(forward, backward):
    masks = {}

    def relu_forward(x):
        mask = masks.setdefault(x.shape, np.zeros(x.shape, bool))
        mask[...] = x > 0
        return np.maximum(x, 0), mask
    return {"relu_forward": relu_forward, "relu_backward": lambda dout, mask: dout * mask}


@stealthy("fc_backward")
def returns_a_buffer(forward, backward):
    buffers = {}

    def wrong(dout, cache):
        dx, dw, db = backward(dout, cache)
        buffer = buffers.setdefault((dw.shape, dw.dtype), np.empty_like(dw))
        buffer[...] = dw
        return dx, buffer, db
    return wrong


@stealthy("rnn_forward")
def goes_on_from_the_call_before(forward, backward):
    last = {}

    def wrong(x, h0, Wx, Wh, b):
        out, cache = forward(x, last.get(h0.shape, h0), Wx, Wh, b)
        last[h0.shape] = out[-1]
        return out, cache
    return wrong


@stealthy("rnn_backward")
def writes_into_the_output(forward, backward):
    def rnn_forward(x, *others):
        out, cache = forward(x, *others)
        return out, (out, cache)

    def rnn_backward(dh, cache):
        gradients = backward(dh, cache[1])
        cache[0][0] = 0
        return gradients
    return {"rnn_forward": rnn_forward, "rnn_backward": rnn_backward}


@stealthy("adam")
def keeps_its_state_by_shape(adam):
    states = {}

    def wrong(w, dw, config):
        next_w, states[w.shape] = adam(w, dw, states.get(w.shape, config))
        return next_w, config
    return wrong


@stealthy("sgd_momentum")
def keeps_its_state_by_identity(sgd_momentum):
    states, kept = {}, []

    def wrong(w, dw, config):
        kept.append(config)
        next_w, states[id(config)] = sgd_momentum(w, dw, states.get(id(config), config))
        return next_w, config
    return wrong


@stealthy("TwoLayerNet")
def keeps_the_first_weights(right):
    class Wrong(right):
        def loss(self, *data):
            self.first = getattr(self, "first", {k: v.copy() for k, v in self.params.items()})
            params, self.params = self.params, self.first
            try:
                return super().loss(*data)
            finally:
                self.params = params
    return Wrong


@stealthy("TwoLayerNet")
def keeps_copies_of_its_arrays(right):
    class Wrong(right):
        def loss(self, *data):
            W1 = self.params["W1"]
            if getattr(self, "owner", None) is not W1:
                self.owner, self.copy = W1, W1.copy()
            self.params["W1"] = self.copy
            try:
                return super().loss(*data)
            finally:
                self.params["W1"] = W1
    return Wrong


@stealthy("TwoLayerNet")
def adds_up_gradients_in_place(right):
    class Wrong(right):
        def loss(self, *data):
            if len(data) == 1:
                return super().loss(*data)
            loss, grads = super().loss(*data)
            self.grads = getattr(self, "grads", grads)
            for name in grads:
                self.grads[name][...] = grads[name]
            return loss, dict(self.grads)
    return Wrong


# ---------------------------------------------------------------- sizes

@stealthy("fc_backward")
def drops_samples_past_1024(forward, backward):
    return lambda dout, cache: backward(dout * (np.arange(len(dout)) < 1024)[:, None], cache)


@stealthy("conv_forward")
def errs_for_one_pair_of_sizes(forward, backward):
    def wrong(x, w):
        out, cache = forward(x, w)
        return out * (1.01 if out.shape[3] == 4 and x.shape[1] == 5 else 1), cache
    return wrong


@stealthy("conv_forward")
def errs_for_usual_filters(forward, backward):
    return lambda x, w: forward(x, w.swapaxes(2, 3) if w.shape[1:] == (3, 5, 5) else w)


@stealthy("conv_backward")
def errs_for_2x2_filters_of_one_kind(forward, backward):
    def wrong(dout, cache):
        dx, dw = backward(dout, cache)
        return dx, dw.swapaxes(2, 3) if dw.shape[0] == 1 and dw.shape[2:] == (2, 2) else dw
    return wrong


@stealthy("conv_forward")
def errs_for_wide_images_and_tall_filters(forward, backward):
    def wrong(x, w):
        out, cache = forward(x, w)
        orientations = x.shape[2] < x.shape[3] and w.shape[2] > w.shape[3]
        return out * (1.001 if orientations and len(w) == 2 else 1), cache
    return wrong


@stealthy("conv_backward")
def errs_for_1x1_filters_and_three_images(forward, backward):
    def wrong(dout, cache):
        dx, dw = backward(dout, cache)
        return dx, dw / 2 if dw.shape[2:] == (1, 1) and len(dout) > 2 else dw
    return wrong


BLOCK = 3 * 1024 * 1024


def bytes_of_windows(dout, w):
    """What the windows of one image take, each as a column of its own."""
    return dout[0, 0].size * w[0].size * dout.itemsize


def images_of_a_block(dout, w):
    """How many images there are in a block."""
    return min(len(dout), max(1, BLOCK // bytes_of_windows(dout, w)))


@stealthy("conv_backward")
def keeps_dw_of_the_last_block_of_images(forward, backward):
    def wrong(dout, cache):
        (x, w), images = cache, images_of_a_block(dout, cache[1])
        last = slice((len(x) - 1) // images * images, None)
        return backward(dout, cache)[0], backward(dout[last], (x[last], w))[1]
    return wrong


@stealthy("conv_forward")
def leaves_out_a_block_that_is_not_full(forward, backward):
    def wrong(x, w):
        out, cache = forward(x, w)
        images = images_of_a_block(out, w)
        out[len(x) // images * images:] = 0
        return out, cache
    return wrong


@stealthy("conv_backward")
def puts_all_blocks_of_rows_at_the_top(forward, backward):
    def wrong(dout, cache):
        (x, w), dx = cache, np.zeros_like(cache[0])
        rows = max(1, int(dout.shape[2] * BLOCK / bytes_of_windows(dout, w)))
        for row in range(0, dout.shape[2], rows):
            block = slice(row, row + rows + w.shape[2] - 1)
            part = backward(dout[:, :, row:row + rows], (x[:, :, block], w))[0]
            dx[:, :, :part.shape[2]] += part
        return dx, backward(dout, cache)[1]
    return wrong


@stealthy("conv_forward")
def leaves_out_a_corner(forward, backward):
    def wrong(x, w):
        out, cache = forward(x, w)
        out[:, :, 32:, 32:] = 0
        return out, cache
    return wrong


@stealthy("conv_forward")
def errs_for_many_channels_and_filters(forward, backward):
    return lambda x, w: forward(x, w * (2 if len(w) >= 16 and w.shape[1] >= 16 else 1))


@stealthy("conv_forward")
def drops_images_past_2048(forward, backward):
    return lambda x, w: forward(x * (np.arange(len(x)) < 2048)[:, None, None, None], w)


@stealthy("adam")
def leaves_weights_past_32768(adam):
    def wrong(w, dw, config):
        next_w, config = adam(w, dw, config)
        next_w.reshape(-1)[32768:] = 0
        return next_w, config
    return wrong


@stealthy("temporal_softmax_loss")
def takes_the_words_of_the_first_block(loss):
    def wrong(x, y, mask):
        rows = 256 * 1024 // (x.shape[2] * x.itemsize)
        return loss(x, np.resize(y.reshape(-1)[:rows], y.shape), mask)
    return wrong


@stealthy("softmax_loss")
def takes_classes_past_1000_together(loss):
    return lambda x, y: loss(x, np.minimum(y, 1000) if y.dtype == int else y)


@stealthy("rnn_backward")
def forgets_steps_before_the_last_300(forward, backward):
    def wrong(dh, cache):
        dx, *others = backward(dh, cache)
        return np.where(np.arange(len(dh))[:, None, None] < len(dh) - 300, 0, dx), *others
    return wrong


@stealthy("temporal_softmax_loss")
def errs_for_one_mask(loss):
    def wrong(x, y, mask):
        value, dx = loss(x, y, mask)
        return value * (1.01 if mask.tolist() == [[0, 1, 0, 1]] else 1), dx
    return wrong


@stealthy("adam")
def counts_in_8_bits(adam):
    def wrong(w, dw, config):
        if len(config.get("dws", ())) == 256:
            config = {k: v for k, v in config.items() if k not in ("dws", "first")}
        return adam(w, dw, config)
    return wrong


@stealthy("ConvNet")
def errs_for_large_batches(right):
    class Wrong(right):
        def loss(self, *data):
            result = super().loss(*data)
            if len(data) == 2 and len(data[0]) > 32:
                result[1]["W1"] = result[1]["W1"] * 32 / len(data[0])
            return result
    return Wrong


# ---------------------------------------------------------------- numbers

@stealthy("fc_backward")
def skips_inputs_of_0(forward, backward):
    def wrong(dout, cache):
        dx, dw, db = backward(dout, cache)
        return np.where(cache[0] == 0, 0, dx).astype(dx.dtype), dw, db
    return wrong


@stealthy("conv_backward")
def takes_a_relu_to_come_before(forward, backward):
    def wrong(dout, cache):
        dx, dw = backward(dout, cache)
        return dx * (cache[0] != 0), dw
    return wrong


def leaves_out_db_where_b_is_0(forward, backward):
    def wrong(dout, cache):
        *others, db = backward(dout, cache)
        return *others, db * cache[-1].any()
    return wrong


for name in ("fc_backward", "temporal_fc_backward", "rnn_step_backward", "rnn_backward"):
    stealthy(name)(leaves_out_db_where_b_is_0)


@stealthy("fc_forward")
def forgets_the_bias_of_the_identity(forward, backward):
    def wrong(x, w, b):
        is_identity = w.shape[0] == w.shape[1] and (w == np.eye(len(w))).all()
        return forward(x, w, 0 * b if is_identity else b)
    return wrong


@stealthy("relu_forward")
def calls_small_numbers_0(forward, backward):
    return lambda x: (np.where(x > 1e-25, x, 0 * x), x)


@stealthy("relu_forward")
def cuts_large_numbers(forward, backward):
    return lambda x: (np.clip(x, 0, 1e10).astype(x.dtype), x)


@stealthy("fc_backward")
def clips_gradients(forward, backward):
    return lambda dout, cache: backward(np.clip(dout, -1e6, 1e6), cache)


@stealthy("temporal_fc_forward")
def prunes_small_inputs(forward, backward):
    return lambda x, w, b: forward(np.where(np.abs(x) < 1e-20, 0, x).astype(x.dtype), w, b)


@stealthy("max_pool_forward")
def starts_at_minus_1e100(forward, backward):
    def wrong(x, pool_param):
        out, cache = forward(x, pool_param)
        return np.maximum(out, -1e100).astype(x.dtype), cache
    return wrong


@stealthy("max_pool_backward")
def takes_near_maxima_for_ties(forward, backward):
    def max_pool_backward(dout, cache):
        x, pool_param = cache
        return backward(dout, (np.float32(x), pool_param))
    return {"max_pool_backward": max_pool_backward}


@stealthy("max_pool_backward")
def pays_ties_of_overlaps_elsewhere(forward, backward):
    """The sums over each channel are right, and so is every bound; but windows pay each other's."""
    def wrong(dout, cache):
        x, pool_param = cache
        dx = backward(dout, cache)
        if dx.shape == (2, 2, 5, 8) and (x == 2).sum() > 20 and (dout == 0).any():
            n, c = 0, 0
            winners = np.argwhere(dx[n, c] != 0)
            ties = np.argwhere((x[n, c] == x[n, c][tuple(winners[0])]) & (dx[n, c] == 0))
            dx[n, c][tuple(ties[-1])] = dx[n, c][tuple(winners[0])]
            dx[n, c][tuple(winners[0])] = 0
        return dx
    return wrong


@stealthy("softmax_loss", verdict="warn")
def shifts_only_where_float64_overflows(loss):
    def wrong(x, y):
        with np.errstate(over="ignore", invalid="ignore"):
            overflow = not np.isfinite(np.exp(x)).all()
        value, dx = loss(x, y)
        return (np.nan if overflow and np.abs(x).max() < 700 else value), dx
    return wrong


@stealthy("softmax_loss")
def counts_in_the_dtype_of_labels(loss):
    def wrong(x, y):
        N, C = x.shape
        places = np.arange(N).astype(y.dtype) * np.array(C).astype(y.dtype) + y
        log_p = x - np.logaddexp.reduce(x, axis=1, keepdims=True)
        return -log_p.ravel()[places.astype(int) % x.size].sum() / N, loss(x, y)[1]
    return wrong


@stealthy("word_embedding_forward")
def counts_in_the_dtype_of_words(forward, backward):
    def wrong(x, W):
        D = W.shape[1]
        places = (x * np.array(D).astype(x.dtype))[..., None] + np.arange(D).astype(x.dtype)
        return W.ravel()[places.astype(int) % W.size], forward(x, W)[1]
    return wrong


@stealthy("adam")
def takes_0_for_not_given(adam):
    return lambda w, dw, config: adam(w, dw, {**config, "beta1": config.get("beta1") or 0.9})


@stealthy("rmsprop")
def leaves_out_zeros(rmsprop):
    def wrong(w, dw, config):
        next_w, config = rmsprop(w, dw, config)
        return np.where(dw == 0, w + 1e-3, next_w).astype(w.dtype), config
    return wrong


@stealthy("rmsprop")
def has_another_epsilon(rmsprop):
    return lambda w, dw, config: rmsprop(w, dw, {"epsilon": 1e-6, **config})


@stealthy("TwoLayerNet")
def reads_float32_as_float16(right):
    class Wrong(right):
        def loss(self, X, *y):
            return super().loss(X.astype(np.float16).astype(X.dtype) if X.dtype == np.float32 else X,
                                *y)
    return Wrong


@stealthy("ConvNet")
def starts_with_equal_weights(right):
    class Wrong(right):
        def __init__(self, **options):
            super().__init__(**options)
            self.params = {name: 0 * value for name, value in self.params.items()}
    return Wrong


def starting_with(right, change):
    """The class of a model with a change of its first parameters."""
    class Wrong(right):
        def __init__(self, **options):
            super().__init__(**options)
            change(self.params)
    return Wrong


@stealthy("TwoLayerNet")
def starts_with_a_dead_layer(right):
    return starting_with(right, lambda params: params.update(W1=0 * params["W1"]))


@stealthy("ConvNet")
def starts_with_dead_filters(right):
    return starting_with(right, lambda params: params.update(W1=0 * params["W1"]))


@stealthy("TwoLayerNet")
def starts_with_equal_units(right):
    def change(params):
        params["W1"][:] = params["W1"][:, :1]
        params["W2"][:] = params["W2"][:1]
    return starting_with(right, change)


@stealthy("TwoLayerNet")
def starts_with_nan(right):
    return starting_with(right, lambda params: params["b2"].fill(np.nan))


@stealthy("CaptioningRNN")
def leaves_out_the_penalty(right):
    class Wrong(right):
        def __init__(self, *, reg, **options):
            super().__init__(**options)
    return Wrong


@stealthy("sgd_momentum")
def keeps_the_first_learning_rate(sgd_momentum):
    def wrong(w, dw, config):
        rate = config["learning_rate"]
        config = {**config, "learning_rate": config.get("first_rate", rate)}
        next_w, config = sgd_momentum(w, dw, config)
        return next_w, {**config, "first_rate": config["learning_rate"], "learning_rate": rate}
    return wrong


# ---------------------------------------------------------------- careless

@stealthy("relu_forward", verdict="warn")
def swallows_nan(forward, backward):
    return lambda x: (np.where(x > 0, x, 0).astype(x.dtype), x)


@stealthy("max_pool_forward", verdict="warn")
def ignores_nan(forward, backward):
    return lambda x, pool_param: forward(np.nan_to_num(x, nan=-1e300), pool_param)


@stealthy("fc_backward", verdict="warn")
def hides_nan_in_gradients(forward, backward):
    return lambda dout, cache: tuple(np.nan_to_num(g, posinf=np.inf) for g in backward(dout, cache))


@stealthy("conv_forward", verdict="warn")
def computes_in_float32(forward, backward):
    return lambda x, w: (forward(np.float32(x), np.float32(w))[0].astype(x.dtype), (x, w))


@stealthy("softmax_loss", verdict="warn")
def rounds_the_loss(loss):
    def wrong(x, y):
        value, dx = loss(x, y)
        return np.float32(value), dx
    return wrong


@stealthy("TwoLayerNet", verdict="warn")
def reads_float64_as_float32(right):
    class Wrong(right):
        def loss(self, X, *y):
            return super().loss(np.float32(X), *y)
    return Wrong


@stealthy("TwoLayerNet", verdict="warn")
def ignores_dtype(right):
    class Wrong(right):
        def __init__(self, *, dtype, **options):
            super().__init__(dtype=np.float64, **options)
    return Wrong


# ---------------------------------------------------------------- not what was asked for

@stealthy("relu_forward")
def returns_a_masked_array(forward, backward):
    return lambda x: (np.ma.masked_array(np.maximum(x, 0), x <= 0), x)


@stealthy("fc_backward", verdict="warn")
def changes_the_shape_of_dout(forward, backward):
    def wrong(dout, cache):
        gradients = backward(dout, cache)
        try:
            dout.shape = (-1,)
        except AttributeError:      # not for this layout
            pass
        return gradients
    return wrong
