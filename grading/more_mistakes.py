"""Known slips in the layers of deeper networks: normalisation, dropout, convolution with a stride,
padding and a bias, the hinge loss; and in rules that go on from a stored state.

Rows as in mistakes.py. Where a result is drawn, a slip gives a Truth in place of an array.
"""
from functools import partial

import numpy as np

from . import mistakes
from . import references as right
from .contract import Dropped, Exact, Following
from .mistakes import OTHER_CACHE, Mistake, cut_short, entries, only

# ---------------------------------------------------------------- normalisation

N_MINUS_1 = "the variance is divided by N - 1: here it is the mean of (x - μ)², divided by N"
NO_ROOT = "x - μ is divided by the variance: divide it by its root, √(σ² + eps)"
NO_EPS = "eps is left out: √(σ² + eps)"
EPS_OUTSIDE = "eps is added outside of the root: √(σ² + eps), not √σ² + eps"


def no_mean(x, **_):
    """Nothing that could be subtracted."""
    return 0.0


def one_less(x, **options):
    """The variance divided by one less than the number of values."""
    variance = np.var(x, **options)
    count = x.size / variance.size
    return variance * np.divide(count, count - 1)


def shared_slips(layer, function, of_variance="out"):
    """Rows for what goes wrong in every normalisation; function(**changes) is the change, and
    of_variance says which outputs depend on the definition of the variance."""
    yield (f"{layer}_divides_by_n_minus_1", of_variance, N_MINUS_1,
           function(variance_of=one_less))
    for name, sentence, changes in (
            ("adds_eps_outside", EPS_OUTSIDE, {"root": right.outside}),
            ("forgets_eps", NO_EPS, {"root": lambda variance, eps: np.sqrt(variance)}),
            ("forgets_the_root", NO_ROOT, {"root": lambda variance, eps: variance + eps}),
            ("ignores_eps_of_its_parameters", "eps is always 1e-5: take it from the parameters, "
             "where it is given", {"root": lambda variance, eps: np.sqrt(variance + 1e-5)}),
            ("does_not_centre", "the mean is not subtracted: x̂ = (x - μ) / √(σ² + eps)",
             {"mean_of": no_mean})):
        yield f"{layer}_{name}", "out", sentence, function(**changes)
    yield (f"{layer}_forgets_gamma", "out", "x̂ is not multiplied by gamma: out = gamma·x̂ + beta",
           lambda gamma, **others: function()(gamma=0 * gamma + 1, **others))
    yield (f"{layer}_forgets_beta", "out", "beta is not added: out = gamma·x̂ + beta",
           lambda beta, **others: function()(beta=0 * beta, **others))


def batch_outputs(forward, **changes):
    """out and the running values of batch normalisation with something changed."""
    return lambda **inputs: dict(zip(("out", "running_mean", "running_var"),
                                     forward(**inputs, **changes)))


def not_updated(x, gamma, beta, bn_param):
    """The running values as they came."""
    return {name: bn_param.get(name, np.zeros(gamma.shape))
            for name in ("running_mean", "running_var")}


def in_test_mode(forward):
    """The running values changed in the mode "test", too."""
    return lambda bn_param, **others: dict(zip(
        ("out", "running_mean", "running_var"),
        forward(bn_param={**bn_param, "mode": "train"}, **others)))


RUNNING = "running_mean running_var"
SWAPPED = ("momentum and 1 - momentum are exchanged: running = momentum·running + (1 - "
           "momentum)·batch")


def batch_slips(layer, forward):
    """Rows for the forward passes of both batch normalisations."""
    yield (f"{layer}_running_var_of_n_minus_1", "running_var", "the running variance is that of "
           "the batch divided by N - 1, as PyTorch has it: here it is divided by N",
           batch_outputs(forward, variance_of=one_less))
    yield from shared_slips(layer, partial(batch_outputs, forward), "out running_var")
    yield (f"{layer}_swaps_momentum", RUNNING, SWAPPED, batch_outputs(
        forward, average=lambda old, new, momentum: (1 - momentum) * old + momentum * new))
    yield (f"{layer}_does_not_average", RUNNING, "the running values are replaced by those of the "
           "batch: running = momentum·running + (1 - momentum)·batch",
           batch_outputs(forward, average=lambda old, new, momentum: new))
    yield (f"{layer}_ignores_momentum", RUNNING, "momentum is always 0.9: take it from bn_param, "
           "where it is given", batch_outputs(
               forward, average=lambda old, new, momentum: 0.9 * old + 0.1 * new))
    yield (f"{layer}_never_stores_running_values", RUNNING, "the running values are not stored: "
           "put them into bn_param in the mode 'train'", not_updated)
    yield (f"{layer}_tests_with_the_batch", "out", "the mode 'test' uses the mean and the variance "
           "of the batch: it uses the running ones", batch_outputs(forward, mode="train"))
    yield (f"{layer}_updates_in_test", RUNNING, "the mode 'test' changes the running values: only "
           "training does", in_test_mode(forward))


def gradient_slips(layer, gradients, fold):
    """Rows for the backward pass of a normalisation; fold sums an array up to gamma's shape."""
    mean, variance = "every x moves the mean", "every x changes the variance"
    for name, words, changes in (
            ("forgets_the_mean", f"mean is left out: {mean}", {"by_mean": 0}),
            ("forgets_the_variance", f"variance is left out: {variance}", {"by_variance": 0}),
            ("forgets_both", f"mean and of the variance is left out: {mean}, and {variance}",
             {"by_mean": 0, "by_variance": 0})):
        yield (f"{layer}_{name}", "dx", f"what goes to x by way of the {words}",
               partial(gradients, **changes))
    for name, rest in (("mean", "dμ / N"), ("variance", "dσ²·2·(x - μ) / N")):
        yield (f"{layer}_does_not_divide_the_{name}", "dx", f"what goes to x by way of the {name} "
               f"is not divided by the number N of values that it is taken of: {rest}",
               partial(gradients, **{f"of_{name}": np.sum}))
    yield (f"{layer}_turns_the_variance_around", "dx", "the sign of what goes by way of the "
           "variance is wrong: dσ² = Σ dx̂·(x - μ)·(-½)·(σ² + eps)^(-3/2)",
           partial(gradients, by_variance=-1))
    yield (f"{layer}_doubles_the_variance", "dx", "what goes by way of the variance is twice as "
           "large as it should be: the factor ½ of the root's derivative is left out",
           partial(gradients, by_variance=2))
    yield (f"{layer}_forgets_gamma_in_dx", "dx", "gamma is left out of dx: dx̂ = dout·gamma",
           lambda gamma, **others: gradients(gamma=0 * gamma + 1, **others))
    yield (f"{layer}_dgamma_from_x", "dgamma", "dgamma is Σ dout·x: it takes the normalised x̂, "
           "not x", lambda x, dout: fold(dout * x))
    yield (f"{layer}_dgamma_forgets_x_hat", "dgamma", "dgamma is the sum of dout alone: it is Σ "
           "dout·x̂", lambda dout: fold(dout))
    for name in ("dgamma", "dbeta"):
        yield (f"{layer}_averages_{name}", name, f"{name} is averaged, not summed",
               lambda name=name, **inputs: gradients(**inputs)[name] / (
                   inputs["dout"].size / inputs["gamma"].size))


def without_transpose(x):
    """(N, C, H, W) as (N·H·W, C) by reshape alone."""
    return x.reshape(-1, x.shape[1])


def reshaped_back(rows, shape):
    """(N·H·W, C) as (N, C, H, W) by reshape alone."""
    return rows.reshape(shape)


RESHAPED = ("the pixels are reshaped without a transpose: move the channels last first, "
            "x.transpose(0, 2, 3, 1).reshape(-1, C)")
RESHAPED_BACK = ("the result is reshaped without a transpose: reshape it to (N, H, W, C), and then "
                 "move the channels, transpose(0, 3, 1, 2)")
RESHAPES = (
    ("reshapes_without_transpose", "out running_mean running_var", "dx dgamma dbeta", RESHAPED,
     {"there": without_transpose, "back": reshaped_back}),
    ("reshapes_there_without_transpose", "out running_mean running_var", "dx dgamma dbeta",
     RESHAPED, {"there": without_transpose}),
    ("reshapes_back_without_transpose", "out", "dx", RESHAPED_BACK, {"back": reshaped_back}))


def over_channels(x):
    """A sum over all axes but the channels."""
    return x.sum(axis=(0, 2, 3))


BATCHNORM = entries(
    "batchnorm_forward", *batch_slips("batchnorm", right.batchnorm),
    ("batchnorm_over_features", "out", "each sample is normalised over its features: each feature "
     "is to be normalised over the batch, along axis 0", batch_outputs(right.batchnorm, axis=-1)),
    ("batchnorm_over_everything", "out", "one mean and one variance are taken of the whole array: "
     "each feature has its own, along axis 0", batch_outputs(right.batchnorm, axis=(-2, -1))),
) + entries(
    "batchnorm_backward",
    *gradient_slips("batchnorm_backward", right.batchnorm_gradients, lambda d: d.sum(axis=0)),
) + entries(
    "spatial_batchnorm_forward", *batch_slips("spatial_batchnorm", right.spatial_batchnorm),
    *((f"spatial_batchnorm_{name}", outputs, sentence,
       batch_outputs(right.spatial_batchnorm, **changes))
      for name, outputs, _, sentence, changes in RESHAPES),
) + entries(
    "spatial_batchnorm_backward",
    *gradient_slips("spatial_batchnorm_backward", right.spatial_batchnorm_gradients, over_channels),
    *((f"spatial_batchnorm_backward_{name}", outputs, sentence,
       partial(right.spatial_batchnorm_gradients, **changes))
      for name, _, outputs, sentence, changes in RESHAPES),
)

LAYERNORM = entries(
    "layernorm_forward",
    *shared_slips("layernorm", lambda **changes: partial(right.layernorm, **changes)),
    ("layernorm_over_the_batch", "out", "each feature is normalised over the batch, along axis 0: "
     "each sample is to be normalised over its features, along axis 1",
     partial(right.layernorm, axis=-2)),
    ("layernorm_over_everything", "out", "one mean and one variance are taken of the whole array: "
     "each sample has its own, along axis 1", partial(right.layernorm, axis=(-2, -1))),
) + entries(
    "layernorm_backward",
    *gradient_slips("layernorm_backward", right.layernorm_gradients, lambda d: d.sum(axis=0)),
    ("layernorm_sums_dgamma_over_features", "dgamma", "dgamma is summed over the features: gamma "
     "is shared by the samples, so sum over axis 0", lambda x, ln_param, dout: (
         dout * right.normalised(x, 1, right.eps_of(ln_param))).sum(axis=1)),
    ("layernorm_sums_dbeta_over_features", "dbeta", "dbeta is summed over the features: beta is "
     "shared by the samples, so sum over axis 0", lambda dout: dout.sum(axis=1)),
    ("layernorm_backward_over_the_batch", "dx", "dx is that of a normalisation over the batch: "
     "the sums go along axis 1, over the features of a sample",
     lambda x, gamma, ln_param, dout: right.normalised_gradient(
         x, dout * gamma, 0, right.eps_of(ln_param))),
)


def interleaved(x, G):
    """(N, C, H, W) as groups of every G-th channel."""
    return x.reshape(len(x), -1, G, *x.shape[2:]).swapaxes(1, 2).reshape(len(x), G, -1)


def of_every_gth_channel(x, gamma, beta, G, gn_param):
    """Group normalisation of channels 0, G, 2·G, ...; of 1, G + 1, ...; and so on."""
    x_hat = right.normalised(interleaved(x, G), -1, right.eps_of(gn_param))
    x_hat = x_hat.reshape(len(x), G, -1, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)
    return x_hat * gamma + beta


def of_g_channels(x, gamma, beta, G, gn_param):
    """Groups of G channels: C/G of them."""
    return right.spatial_groupnorm(x, gamma, beta, x.shape[1] // G, gn_param)


GROUPNORM = entries(
    "spatial_groupnorm_forward",
    *shared_slips("groupnorm", lambda **changes: partial(right.spatial_groupnorm, **changes)),
    ("groupnorm_over_other_groups", "out", "the statistics are those of channels of other groups: "
     "a group is C/G channels in a row, x.reshape(N, G, C // G, H, W)", of_every_gth_channel),
    ("groupnorm_over_all_channels", "out", "the statistics are those of all channels: each of the "
     "G groups has its own", lambda G, **others: right.spatial_groupnorm(G=1, **others)),
    ("groupnorm_over_each_channel", "out", "the statistics are those of each channel: a group has "
     "C/G of them", lambda x, G, **others: right.spatial_groupnorm(x, G=x.shape[1], **others)),
    ("groupnorm_takes_G_for_the_size", "out", "G is taken for the number of channels in a group: "
     "it is the number of groups", of_g_channels),
    ("groupnorm_over_the_batch", "out", "the statistics are taken over the batch as well: each "
     "sample has its own", partial(right.spatial_groupnorm, axis=(-3, -1))),
) + entries(
    "spatial_groupnorm_backward",
    *gradient_slips("groupnorm_backward", right.spatial_groupnorm_gradients,
                    lambda d: d.sum(axis=(0, 2, 3), keepdims=True)),
    *((f"groupnorm_flattens_{name}", name, f"{name} has the shape (C,): it needs that of "
       f"{name[1:]}, (1, C, 1, 1)", lambda name=name, **inputs:
       right.spatial_groupnorm_gradients(**inputs)[name].reshape(-1))
      for name in ("dgamma", "dbeta")),
)


# ---------------------------------------------------------------- dropout

def in_training(change):
    """A change in the mode "train"; the mode "test" changes nothing."""
    return lambda x, dropout_param: x if dropout_param["mode"] == "test" else \
        change(x, dropout_param["p"])


def in_testing(change):
    """A change in the mode "test"; the other mode is right."""
    return lambda x, dropout_param: change(x, dropout_param["p"]) \
        if dropout_param["mode"] == "test" else Dropped(x / dropout_param["p"], dropout_param["p"])


def on_the_way_back(change):
    """A change of dx in the mode "train", from dout and p."""
    return lambda dropout_param, dout: dout if dropout_param["mode"] == "test" else \
        change(dout, dropout_param["p"])


def over_1_minus_p(x, p, share):
    """x divided by 1 - p where it is kept; where p is 1, nothing of it is a number."""
    return Dropped(x / (1 - p), share) if p < 1 else np.full(x.shape, np.nan)


def followed(dx):
    """dx where out is not 0."""
    return Following(dx, np.ones(dx.shape, bool), "out")


def in_full(dout, p):
    """dout / p: wrong wherever a number is dropped, which the case cannot tell beforehand."""
    return Exact(dout / p) if p < 1 else dout


NOT_DIVIDED = "what is kept is not divided by p: out = x·mask / p keeps the mean"
P_IS_KEPT = "p is taken for the probability to drop: it is the probability to keep a number"
DROPOUT = entries(
    "dropout_forward",
    ("dropout_does_not_divide", "out", NOT_DIVIDED, in_training(Dropped)),
    ("dropout_multiplies_by_p", "out", "what is kept is multiplied by p: divide it by p",
     in_training(lambda x, p: Dropped(p * x, p))),
    ("dropout_takes_p_for_q", "out", P_IS_KEPT,
     in_training(lambda x, p: over_1_minus_p(x, p, 1 - p))),
    ("dropout_keeps_1_minus_p", "out", P_IS_KEPT, in_training(lambda x, p: Dropped(x / p, 1 - p))),
    ("dropout_keeps_1_minus_p_and_does_not_divide", "out", P_IS_KEPT + "; and what is kept is to "
     "be divided by it", in_training(lambda x, p: Dropped(x, 1 - p))),
    ("dropout_divides_by_1_minus_p", "out", "what is kept is divided by 1 - p: divide it by p, the "
     "probability to keep it", in_training(lambda x, p: over_1_minus_p(x, p, p))),
    ("dropout_drops_nothing", "out", "nothing is dropped in the mode 'train'",
     in_training(lambda x, p: x)),
    ("dropout_is_active_in_test", "out", "the mode 'test' drops numbers: there out is x",
     in_testing(lambda x, p: Dropped(x / p, p))),
    ("dropout_is_active_in_test_without_dividing", "out", "the mode 'test' drops numbers: there "
     "out is x", in_testing(Dropped)),
    ("dropout_scales_in_test", "out", "the mode 'test' multiplies by p: with inverted dropout out "
     "is x there", in_testing(lambda x, p: p * x)),
) + entries(
    "dropout_backward",
    ("dropout_backward_forgets_the_mask", "dx", "the mask is not applied on the way back: dx = "
     "dout·mask", lambda dout: dout),
    ("dropout_backward_divides_without_the_mask", "dx", "dout is divided by p, and the mask is not "
     "applied on the way back: dx = dout·mask", on_the_way_back(in_full)),
    ("dropout_backward_does_not_divide", "dx", "the mask is applied, but dout is not divided by p, "
     "as x was", on_the_way_back(lambda dout, p: followed(dout))),
    ("dropout_backward_divides_twice", "dx", "dout is divided by p twice: the mask is divided "
     "already", on_the_way_back(lambda dout, p: followed(dout / p ** 2))),
    ("dropout_backward_draws_again", "dx", "a new mask is drawn on the way back: the one of the "
     "forward pass is in the cache", on_the_way_back(lambda dout, p: Dropped(dout / p, p))),
)


# ---------------------------------------------------------------- stride, padding and bias

def strided(**changes):
    """The gradients of the convolution with something changed."""
    return partial(right.strided_conv_gradients, **changes)


def with_stride_and_bias(change):
    """A slip of the plain convolution in one with a stride, padding and a bias."""
    def strided_change(x, w, b, conv_param):
        stride, pad = conv_param["stride"], conv_param["pad"]
        return change(x=right.padded(x, pad, pad), w=w)[:, :, ::stride, ::stride] + b[:, None, None]
    return strided_change


def carried_over(table):
    """The slips of the plain convolution that are the same here: those in what is returned, and
    those of the forward pass in x and w."""
    for mistake in table:
        wanted = {argument.name for argument in mistakes.arguments_of(mistake.change)}
        change = mistake.change if wanted <= {"out", "dx", "dw"} else \
            with_stride_and_bias(mistake.compute) if mistake.function == "conv_forward" else None
        if change and mistake.name != "conv_pads":          # which is right here
            yield Mistake(f"strided_{mistake.name}", f"strided_{mistake.function}",
                          mistake.outputs, mistake.sentence, change)


def at_i_j(x, w, b, conv_param):
    """The windows of a right number of outputs, one beside the other."""
    out = right.strided_conv(x, w, b, conv_param)
    pad, (OH, OW) = conv_param["pad"], out.shape[2:]
    return right.conv(right.padded(x, pad, pad), w)[:, :, :OH, :OW] + b[:, None, None]


def without(name, value):
    """The convolution with another stride or pad."""
    return lambda x, w, b, conv_param: right.strided_conv(x, w, b, {**conv_param, name: value})


def bias_later(x, w, b, conv_param):
    """The bias along the last axis."""
    return right.strided_conv(x, w, 0 * b, conv_param) + b


def of_a_part(place, x, w, b, conv_param, dout):
    """The gradients that one part of dout gives."""
    return right.strided_conv_gradients(x, w, b, conv_param, only(dout, *place))


def slice_of_pad(dx, pad, H, W):
    """dx[:, :, pad:-pad, pad:-pad]."""
    return dx[:, :, pad:-pad, pad:-pad]


def sums_over(*axes):
    """db as a sum of dout over some axes."""
    return lambda dout: dout.sum(axis=axes)


CROPPED = "the padding is not cut off dx: dx[:, :, pad:pad + H, pad:pad + W] has the shape of x"
STRIDED_CONV = entries(
    "strided_conv_forward",
    ("strided_conv_forgets_the_bias", "out", "the bias is not added: out[n, f] += b[f]",
     lambda x, w, b, conv_param: right.strided_conv(x, w, 0 * b, conv_param)),
    ("strided_conv_adds_the_bias_to_columns", "out", "b is added along the last axis, the columns: "
     "it has one number for each filter, b[:, None, None]", bias_later),
    ("strided_conv_forgets_the_stride", "out", "the stride is left out: the windows start at i, "
     "not at i·stride", at_i_j),
    ("strided_conv_takes_the_stride_as_1", "out", "the stride is taken as 1",
     without("stride", 1)),
    ("strided_conv_forgets_the_pad", "out", "the image is not padded", without("pad", 0)),
    ("strided_conv_takes_the_pad_as_1", "out", "the pad is taken as 1", without("pad", 1)),
    ("strided_conv_pads_on_one_side", "out", "the image is padded above and to the left alone: pad "
     "it on all sides", lambda x, w, b, conv_param: right.strided_conv(
         right.padded(x, (conv_param["pad"], 0), (conv_param["pad"], 0)), w, b,
         {**conv_param, "pad": 0})),
) + entries(
    "strided_conv_backward",
    ("strided_conv_backward_forgets_the_stride", "dx dw", "the stride is left out on the way back: "
     "the windows start at i, not at i·stride", strided(start=lambda i, stride: i)),
    ("strided_conv_does_not_crop", "dx", CROPPED, strided(crop=lambda dx, pad, H, W: dx)),
    ("strided_conv_crops_the_corner", "dx", "the wrong part of dx is cut out: it starts at pad, "
     "dx[:, :, pad:pad + H, pad:pad + W]", strided(crop=lambda dx, pad, H, W: dx[:, :, :H, :W])),
    ("strided_conv_crops_by_a_slice", "dx", "a slice pad:-pad is empty where pad is 0: write "
     "pad:pad + H", strided(crop=slice_of_pad)),
    ("strided_conv_overwrites_windows", "dx", "the windows are overwritten: they overlap, so their "
     "gradients must be added (+=, not =)", strided(add=lambda old, new: new)),
    ("strided_conv_overwrites_windows_and_filters", "dx", "the windows are overwritten: the "
     "gradients of all filters and of overlapping windows must be added (+=, not =)",
     lambda x, w, b, conv_param, dout: right.strided_conv_gradients(
         x, w[-1:], b, conv_param, dout[:, -1:], add=lambda old, new: new)),
    ("strided_conv_dx_of_the_last_filter", "dx", "only the last filter counts: dx must sum over "
     "all filters", lambda x, w, b, conv_param, dout: right.strided_conv_gradients(
         x, w[-1:], b, conv_param, dout[:, -1:])),
    ("strided_conv_flips_for_dx", "dx", "the filter is flipped: out is no convolution in "
     "the mathematical sense, so dx takes the filter as it is", lambda x, w, b, conv_param, dout:
     right.strided_conv_gradients(x, w[:, :, ::-1, ::-1], b, conv_param, dout)),
    *((f"strided_conv_dw_of_the_{name}", "dw", sentence, partial(of_a_part, place))
      for name, sentence, place in (
          ("last_image", "only the last image counts: dw must sum over the batch", (-1,)),
          ("last_pixel", "only the last output pixel counts: dw must sum over all of them (+=, not "
           "=)", (..., -1, -1)),
          ("last_window", "only the last window of the last image counts: dw must sum over all of "
           "them (+=, not =)", (-1, ..., -1, -1)),
          ("first_pixel", cut_short("output pixel"), (..., 0, 0)))),
    ("strided_conv_dw_without_padding", "dw", "dw is taken from the image without its padding",
     lambda x, w, b, conv_param, dout: right.strided_conv_gradients(
         x, w, b, {**conv_param, "pad": 0}, dout)),
    ("strided_conv_averages_dw", "dw", "dw is divided by N: dout has the mean over the batch "
     "already", lambda x, dw: dw / len(x)),
    *((f"strided_conv_sums_db_{name}", "db", "db is not summed over all axes: b[f] is added to "
       "every pixel of every image, so sum over axes 0, 2 and 3", strided(db=sums_over(*axes)))
      for name, axes in (("over_images", (0,)), ("over_pixels", (2, 3)), ("over_rows", (0, 2)),
                         ("over_columns", (0, 3)), ("over_one_pair", (0, 1)))),
    ("strided_conv_sums_db_over_everything", "db", "db is summed over the filters as well: each "
     "filter has its own", strided(db=np.sum)),
    ("strided_conv_averages_db", "db", "db is averaged, not summed",
     strided(db=lambda dout: dout.mean(axis=(0, 2, 3)))),
    ("strided_conv_averages_db_over_the_batch", "db", "db is divided by N: dout has the mean over "
     "the batch already", strided(db=lambda dout: dout.sum(axis=(0, 2, 3)) / len(dout))),
    ("strided_conv_unpacks_the_cache_in_another_order", "dx dw", OTHER_CACHE,
     lambda x, w, b, conv_param, dout: right.strided_conv_gradients(w, x, b, conv_param, dout)),
    ("strided_conv_swaps_H_and_W_in_backward", "dx dw", "height and width are mixed up: N, F, OH, "
     "OW = dout.shape, in this order", lambda x, w, b, conv_param, dout:
     right.strided_conv_gradients(x, w, b, conv_param, dout, sizes=dout.shape[:1:-1])),
) + [*carried_over(mistakes.CONV_FORWARD + mistakes.CONV_BACKWARD)]


# ---------------------------------------------------------------- hinge loss

def hinges(x, y):
    """The margins of the wrong classes, where they are positive; else 0."""
    return np.maximum(right.margins(x, y), 0) * (1 - right.one_hot(y, x.shape[1]))


def hinge_gradient(x, y, *, counted, among=lambda counted, wrong: counted):
    """dx as it is often written: 1 where a margin is counted, and minus their number for y."""
    counted, right_class = counted.astype(float), right.one_hot(y, x.shape[1])
    wrong = counted * (1 - right_class)
    total = among(counted, wrong).sum(axis=1, keepdims=True)
    return (wrong - right_class * total) / len(x)


def in_whole_columns(x, y):
    """dx where the numbers of counted classes are taken off dx[:, y]."""
    counted = (right.margins(x, y) > 0) * (1 - right.one_hot(y, x.shape[1]))
    dx = counted.copy()
    dx[:, y] -= counted.sum(axis=1)
    return dx / len(x)


NOT_AT_0 = ("margins that are cut off to 0 are counted: count those that are greater than 0, not "
            "those that are at least 0")
RIGHT_CLASS = "the right class is counted as well: its margin is always 1, and costs nothing"
HINGE = entries(
    "svm_loss",
    ("svm_counts_the_right_class", "loss", RIGHT_CLASS, lambda loss: loss + 1),
    ("svm_counts_the_right_class_in_dx", "dx", RIGHT_CLASS, lambda x, y: hinge_gradient(
        x, y, counted=right.margins(x, y) > 0)),
    ("svm_adds_the_right_class_to_dx", "dx", RIGHT_CLASS,
     lambda x, y, dx: dx + right.one_hot(y, x.shape[1]) / len(x)),
    ("svm_counts_margins_of_0", "dx", NOT_AT_0,
     lambda x, y: hinge_gradient(x, y, counted=hinges(x, y) >= 0)),
    ("svm_counts_margins_of_0_of_wrong_classes", "dx", NOT_AT_0, lambda x, y: hinge_gradient(
        x, y, counted=hinges(x, y) >= 0, among=lambda counted, wrong: wrong)),
    ("svm_sums_the_loss", "loss", "the loss is summed over the batch: divide it by N",
     lambda x, loss: len(x) * loss),
    ("svm_divides_by_classes", "loss", "the loss is divided by N·C: only the batch is averaged, by "
     "N", lambda x, loss: loss / x.shape[1]),
    ("svm_divides_the_loss_twice", "loss", "the loss is divided by N twice",
     lambda x, loss: loss / len(x)),
    ("svm_forgets_n_in_dx", "dx", "dx is not divided by N, as the loss is",
     lambda x, dx: len(x) * dx),
    ("svm_divides_dx_twice", "dx", "dx is divided by N twice", lambda x, dx: dx / len(x)),
    ("svm_forgets_delta", "loss", "the margin of 1 is left out: max(0, x[n, c] - x[n, y] + 1)",
     lambda x, y: np.maximum(right.margins(x, y) - 1, 0).sum() / len(x)),
    ("svm_forgets_delta_in_dx", "dx", "the margin of 1 is left out: a class counts where x[n, c] - "
     "x[n, y] + 1 > 0", lambda x, y: hinge_gradient(
         x, y, counted=right.margins(x, y) - 1 > 0)),
    ("svm_squares_the_margins", "loss", "the margins are squared: this is another loss",
     lambda x, y: (hinges(x, y) ** 2).sum() / len(x)),
    ("svm_forgets_the_right_class_in_dx", "dx", "the right class gets no gradient: minus the "
     "number of classes that are counted, over N",
     lambda x, y, dx: dx * (1 - right.one_hot(y, x.shape[1]))),
    ("svm_subtracts_1_for_the_right_class", "dx", "the right class gets -1/N: it is minus the "
     "number of classes that are counted, over N", lambda x, y, dx: np.where(
         right.one_hot(y, x.shape[1]) > 0, -1 / len(x), dx)),
    ("svm_takes_off_whole_columns", "dx", "dx[:, y] are whole columns: the right class of each "
     "sample is dx[np.arange(N), y]", in_whole_columns),
    ("svm_turns_dx_around", "dx", "the sign of dx is wrong", lambda dx: -dx),
)

# ---------------------------------------------------------------- rules that go on

NOT_FROM_STATE = ("what config holds as {} is not used: a rule goes on from what earlier steps "
                  "have stored there")


def afresh(rule, *names):
    """The path of a rule that begins anew, whatever config holds."""
    def change(w, dws, config):
        return rule(w, dws, {key: value for key, value in config.items() if key not in names})
    return change


FROM_STATE = [mistake for rule, *names in (
    (right.sgd_momentum, "velocity"), (right.rmsprop, "cache"), (right.adam, "m", "v", "t"),
    (right.adam, "m"), (right.adam, "v"), (right.adam, "t"))
    for mistake in entries(rule.__name__, (
        f"{rule.__name__}_ignores_{'_'.join(names)}", "w", NOT_FROM_STATE.format(", ".join(names)),
        afresh(rule, *names)))]

MISTAKES = [*BATCHNORM, *LAYERNORM, *GROUPNORM, *DROPOUT, *STRIDED_CONV, *HINGE, *FROM_STATE]
