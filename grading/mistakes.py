"""Known slips, as data: what each of them computes in place of the reference.

A slip is one row, however many outputs it reaches: a name, the outputs, a sentence for the student,
and the change to the reference, written as a student would write it: where that raises an
exception, it raises here.
"""
import dataclasses
import functools
import inspect
import itertools
import math
from functools import partial

import numpy as np

from . import references as right


@dataclasses.dataclass(frozen=True)
class Mistake:
    """What a function with a known slip returns in place of some of its outputs.

    The arguments of `change` have the names of what it needs: inputs of the function, dout, or what
    the reference gives for them: out, dx, dw, .... It returns an array, or {output: array}, of
    which only those in `outputs` count.
    """
    name: str
    function: str
    outputs: tuple
    sentence: str
    change: object

    def compute(self, **inputs):
        """The wrong array, or {output: array}, for these inputs."""
        wanted = arguments_of(self.change)
        if any(argument.kind is argument.VAR_KEYWORD for argument in wanted):
            return self.change(**inputs)
        given = {argument.name: inputs[argument.name] if argument.name in inputs else
                 right_value(self.function, argument.name, inputs) for argument in wanted
                 if argument.name in inputs or argument.default is argument.empty}
        return self.change(**given)


@functools.cache
def arguments_of(change):
    """The parameters of a function."""
    return tuple(inspect.signature(change).parameters.values())


def right_value(function, name, inputs):
    """A result of the reference: a gradient, that of the sums in a recurrent layer, or the output
    of the forward pass."""
    subject = function.removesuffix("_forward").removesuffix("_backward")
    gradients = vars(right).get(f"{subject}_gradients")
    if name == "da":        # dx, if the sums are the inputs
        sums = {"x": inputs["x"] @ inputs["Wx"], "Wx": np.eye(len(inputs["b"]))}
        return gradients(**{**inputs, **sums})["dx"]
    if name.startswith("d"):
        return gradients(**inputs)[name]
    return vars(right)[subject](**{key: inputs[key] for key in inputs if key != "dout"})


def entries(function, *table):
    """Mistakes of one function, from rows of (name, outputs, sentence, change)."""
    return [Mistake(name, function, tuple(outputs.split()), sentence, change)
            for name, outputs, sentence, change in table]


def cut_short(what):
    """The sentence for loops that end too early."""
    return f"only the first {what} is computed: is there a return inside the loop?"


def only(array, *place):
    """The array with all but one place as np.zeros made it."""
    found = np.zeros(array.shape)
    found[place] = array[place]
    return found


def regrouped(array, *order):
    """The array transposed and then given its old shape: reshape for transpose."""
    return array.transpose(order).reshape(array.shape)


OTHER_CACHE = "x and w are mixed up: the cache is unpacked in another order than it was packed"

# ---------------------------------------------------------------- fully connected layer

# The same for one sample and for N·T of them.
FLAT = (
    ("does_not_transpose_w", "dx", "w is not transposed: dx = dout·wᵀ",
     lambda x, w, dout: (dout @ w).reshape(x.shape)),
    ("reshapes_w", "dx", "w is reshaped where it should be transposed: w.T, not w.reshape(M, D)",
     lambda x, w, dout: (dout @ w.reshape(w.shape[::-1])).reshape(x.shape)),
    ("leaves_dx_flat", "dx", "dx is left flat: it needs the shape of x",
     lambda w, dout: (dout @ w.T).reshape(-1, len(w))),
    ("reshapes_x", "dw", "x is reshaped where it should be transposed: rows.T, not rows.reshape(D, "
     "-1)", lambda x, w, dout: x.reshape(len(w), -1) @ dout.reshape(-1, w.shape[1])),
    ("averages_dw", "dw", "dw is divided by N (or N·T): the mean belongs to the loss, and dout has "
     "it already", lambda dw, dout: dw / math.prod(dout.shape[:-1])),
)
FC = entries(
    "fc_forward",
    ("fc_without_bias", "out", "the bias is not added", lambda x, w: right.rows(x) @ w),
    ("fc_with_negative_bias", "out", "the bias is subtracted",
     lambda x, w, b: right.rows(x) @ w - b),
    ("fc_flattens_in_fortran_order", "out", "x is flattened in column-major order: x.reshape(N, "
     "-1) keeps the order that w expects",
     lambda x, w, b: x.reshape(len(x), -1, order="F") @ w + b),
    ("fc_does_not_flatten", "out", "x is not flattened: flatten each sample, x.reshape(len(x), -1)",
     lambda x, w, b: x @ w + b),
    ("fc_overwrites_the_sum", "out", "the products are overwritten: they must be added (+=, not =)",
     lambda x, w, b: right.rows(x)[:, -1:] @ w[-1:] + b),
    ("fc_returns_in_the_loop", "out", cut_short("sample"),
     lambda x, w, b: only(right.rows(x) @ w + b, 0)),
) + entries(
    "fc_backward",
    *((f"fc_{name}", *row) for name, *row in FLAT),
    ("fc_does_not_transpose_x", "dw", "x is not transposed: dw = xᵀ·dout",
     lambda x, dout: right.rows(x) @ dout),
    ("fc_dw_of_the_last_sample", "dw", "dw is overwritten by each sample: their gradients must be "
     "added (+=, not =)", lambda x, dout: right.rows(x)[-1:].T @ dout[-1:]),
    ("fc_transposes_dw", "dw", "dw is transposed: it needs the shape of w", lambda dw: dw.T),
    ("fc_does_not_sum_db", "db", "the bias gradient is not summed over the batch: b is added to "
     "every sample, so every sample sends its dout back", lambda dout: dout),
    ("fc_averages_db", "db", "the bias gradient is averaged over the batch, not summed",
     lambda dout: dout.mean(axis=0)),
    ("fc_takes_db_of_one_sample", "db", "the bias gradient is that of the first sample alone",
     lambda dout: dout[0]),
    ("fc_keeps_axis_of_db", "db", "the bias gradient keeps the batch axis: shape (1, M), not (M,)",
     lambda dout: dout.sum(axis=0, keepdims=True)),
    ("fc_sums_db_over_features", "db", "the bias gradient is summed over the features, not over "
     "the batch", lambda dout: dout.sum(axis=1)),
    ("fc_sums_db_over_everything", "db", "the bias gradient is summed over everything to one "
     "number", lambda dout: dout.sum()),
    ("fc_unpacks_the_cache_in_another_order", "dx dw db", OTHER_CACHE,
     lambda x, w, b, dout: right.fc_gradients(w, x, b, dout)),
)

# ---------------------------------------------------------------- ReLU

RELU = entries(
    "relu_forward",
    ("relu_takes_absolute_value", "out", "the absolute value is taken: negative numbers must "
     "become 0", lambda x: np.abs(x)),
    ("relu_is_identity", "out", "negative numbers pass: out = max(x, 0)", lambda x: x),
    ("relu_returns_mask", "out", "out is 1 where it should be x: the mask is not multiplied by x",
     lambda x: x > 0),
    ("relu_takes_minimum", "out", "the minimum is taken in place of the maximum",
     lambda x: np.minimum(x, 0)),
    ("relu_leaks", "out", "this is a leaky ReLU: negative numbers keep a hundredth",
     lambda x: np.where(x > 0, x, 0.01 * x)),
    ("relu_takes_one_maximum", "out", "max gives the largest numbers of an array: np.maximum(0, x) "
     "compares each number with 0", lambda x: np.max(x, 0)),
    ("relu_calls_max_of_0", "out", "np.max(0, x) takes x for an axis, and np.zeros(x) for a shape: "
     "np.maximum(0, x), np.zeros_like(x)", lambda x: np.max(0, x)),
    ("relu_stops_at_6", "out", "large numbers are cut off at 6", lambda x: np.clip(x, 0, 6)),
) + entries(
    "relu_backward",
    ("relu_passes_everything", "dx", "dout passes everywhere: it must be 0 where x is negative",
     lambda dout: dout),
    ("relu_masks_by_dout", "dx", "the mask is taken from dout, not from x",
     lambda dout: np.where(dout > 0, dout, 0.0)),
    ("relu_forgets_dout", "dx", "the upstream gradient is left out: dx = dout·[x > 0], not [x > 0]",
     lambda x: x > 0),
    ("relu_multiplies_by_x", "dx", "dout is multiplied by x: the slope where x is positive is 1",
     lambda x, dout: np.where(x > 0, x * dout, 0.0)),
    ("relu_masks_the_wrong_half", "dx", "the mask is upside down: dout passes where x is negative",
     lambda x, dout: np.where(x > 0, 0.0, dout)),
    ("relu_compares_with_1", "dx", "numbers between 0 and 1 get no gradient: compare x with 0, not "
     "1", lambda x, dout: np.where(x > 1, dout, 0.0)),
)


# ---------------------------------------------------------------- convolution

def multiplied(window, w):
    """The sums over a window as they are written first."""
    return (window[:, None] * w).sum(axis=(2, 3, 4))


def contracted(window, w):
    """The same with np.tensordot, which does not broadcast."""
    return np.tensordot(window, w, ((1, 2, 3), (1, 2, 3)))


def convolved(sizes, sums=multiplied):
    """The convolution written as loops over windows, with other (OH, OW, HH, WW)."""
    def change(x, w):
        OH, OW, HH, WW = sizes(*x.shape[2:], *w.shape[2:])
        out = np.zeros((len(x), len(w), OH, OW))
        for i, j in np.ndindex(OH, OW):
            out[:, :, i, j] = sums(x[:, :, i:i + HH, j:j + WW], w)
        return out
    return change


def conv_not_summed(x, w, out):
    """The products of a window, written to one place: an exception."""
    out[0, 0, 0, 0] = x[0, :, :w.shape[2], :w.shape[3]] * w[0]
    return out


def conv_of_reshaped_columns(x, w):
    """The windows as columns (N, C·HH·WW, OH·OW), reshaped into (C·HH·WW, OH·OW·N)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    columns = windows.transpose(0, 1, 4, 5, 2, 3).reshape(w[0].size, -1)
    out = w.reshape(len(w), -1) @ columns
    return out.reshape(len(w), *windows.shape[2:4], -1).transpose(3, 0, 1, 2)


CONV_FORWARD = entries(
    "conv_forward",
    ("conv_flips_the_filter", "out", "the filter is flipped: this layer slides it as it is "
     "(cross-correlation)", lambda x, w: right.conv(x, w[:, :, ::-1, ::-1])),
    ("conv_transposes_the_filter", "out", "the filter is transposed: its rows go along the image's "
     "rows", lambda x, w: right.conv(x, regrouped(w, 0, 1, 3, 2))),
    ("conv_overwrites_channels", "out", "only the last channel counts: out is overwritten where "
     "the channels should be added", lambda x, w: right.conv(x[:, -1:], w[:, -1:])),
    ("conv_sees_the_first_channel", "out", "only the first channel counts: sum over all channels "
     "of x", lambda x, w: right.conv(x[:, :1], w[:, :1])),
    ("conv_repeats_the_first_image", "out", "every image gets the output of the first one",
     lambda out: np.repeat(out[:1], len(out), axis=0)),
    ("conv_repeats_the_first_filter", "out", "every filter gives the output of the first one",
     lambda out: np.repeat(out[:, :1], out.shape[1], axis=1)),
    ("conv_averages_channels", "out", "the channels are averaged, not summed",
     lambda x, out: out / x.shape[1]),
    ("conv_pads", "out", "the image is padded with zeros: the filter must stay inside it",
     lambda x, w: right.conv(right.padded(x, *(((s - 1) // 2, s // 2) for s in w.shape[2:])), w)),
    ("conv_loses_the_last_row", "out", "the last row and column are left out: H - HH + 1, not H - "
     "HH", lambda out: out[:, :, :-1, :-1]),
    ("conv_reshapes_for_transposes", "out", "filters and pixels are mixed up: the product has to "
     "be transposed, not reshaped, into (N, F, OH, OW)", lambda out: regrouped(out, 0, 2, 3, 1)),
    ("conv_mixes_images_and_filters", "out", "images and filters are mixed up: transpose, do not "
     "reshape, (F, N, OH, OW) into (N, F, OH, OW)", lambda out: regrouped(out, 1, 0, 2, 3)),
    ("conv_reshapes_pixels_first", "out", "pixels and images are mixed up: transpose, do not "
     "reshape, (OH, OW, N, F) into (N, F, OH, OW)", lambda out: regrouped(out, 2, 3, 0, 1)),
    ("conv_reshapes_columns_first", "out", "pixels and images are mixed up: transpose, do not "
     "reshape, (F, OH, OW, N) into (N, F, OH, OW)", lambda out: regrouped(out, 1, 2, 3, 0)),
    ("conv_reshapes_columns", "out", "the columns are mixed up: transpose, do not reshape, (N, "
     "C·HH·WW, OH·OW) into (C·HH·WW, OH·OW, N)", conv_of_reshaped_columns),
    ("conv_does_not_sum", "out", "the products of a window are not summed: out[n, f, i, j] is one "
     "number, their sum", conv_not_summed),
    ("conv_uses_height_for_width", "out", "the height H is used where the width W belongs: the "
     "columns past H are never reached",
     lambda x, w, out: only(out, ..., slice(max(x.shape[2] - w.shape[3] + 1, 0)))),
    ("conv_uses_width_for_height", "out", "the width W is used where the height H belongs: the "
     "rows past W are never reached",
     lambda x, w, out: only(out, ..., slice(max(x.shape[3] - w.shape[2] + 1, 0)), slice(None))),
    ("conv_takes_OW_from_OH", "out", "the output's width is taken from its height: OW = W - WW + 1",
     convolved(lambda H, W, HH, WW: (H - HH + 1, H - HH + 1, HH, WW))),
    *((f"conv_is_for_squares_{sums.__name__}", "out", "height is used for width, of the images and "
       "of the filters: this works for squares alone",
       convolved(lambda H, W, HH, WW: (H - HH + 1, H - HH + 1, HH, HH), sums))
      for sums in (multiplied, contracted)),
    ("conv_takes_OH_from_OW", "out", "the output's height is taken from its width: OH = H - HH + 1",
     convolved(lambda H, W, HH, WW: (W - WW + 1, W - WW + 1, HH, WW))),
    ("conv_swaps_H_and_W", "out", "height and width are mixed up: N, C, H, W = x.shape, in this "
     "order", convolved(lambda H, W, HH, WW: (W - HH + 1, H - WW + 1, HH, WW))),
    ("conv_swaps_HH_and_WW", "out", "the filter's height and width are mixed up: F, C, HH, WW = "
     "w.shape, in this order",
     convolved(lambda H, W, HH, WW: (H - WW + 1, W - HH + 1, WW, HH))),
    ("conv_returns_in_the_loop", "out", cut_short("image"), lambda out: only(out, 0)),
    ("conv_returns_after_one_number", "out", cut_short("number"),
     lambda out: only(out, 0, 0, 0, 0)),
    ("conv_averages_products", "out", "the sum is divided by C·HH·WW: the products of a window are "
     "summed, not averaged", lambda w, out: out / w[0].size),
    ("conv_returns_after_one_window", "out", cut_short("output pixel"),
     lambda out: only(out, ..., 0, 0)),
)


def conv_loops(x, w, dout, sizes=None, add=True):
    """dx and dw with loops over OH·OW output pixels, whatever the size of dout."""
    HH, WW = w.shape[2:]
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for i, j in itertools.product(*map(range, sizes or dout.shape[2:])):
        window = np.s_[:, :, i:i + HH, j:j + WW]
        dx[window] = (dx[window] if add else 0) + np.tensordot(dout[:, :, i, j], w, axes=1)
        dw += np.tensordot(dout[:, :, i, j].T, x[window], axes=1)
    return {"dx": dx, "dw": dw}


def conv_in_four_loops(x, w, dout):
    """dx and dw with loops over images, filters and output pixels, counted in x and w."""
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    (H, W), (HH, WW) = x.shape[2:], w.shape[2:]
    for n, f, i, j in itertools.product(*map(range, (len(x), len(w), H - HH + 1, W - WW + 1))):
        window = np.s_[n, :, i:i + HH, j:j + WW]
        dx[window] += dout[n, f, i, j] * w[f]
        dw[f] += dout[n, f, i, j] * x[window]
    return {"dx": dx, "dw": dw}


def conv_adding_once(x, w, dout):
    """dx[:, k, i, j] += columns: of the windows of a pixel the last one counts."""
    OH, OW = dout.shape[2:]
    dx = np.zeros(x.shape)
    for k, l in np.ndindex(w.shape[2:]):
        dx[:, :, k:k + OH, l:l + OW] = np.einsum("nfij,fc->ncij", dout, w[:, :, k, l])
    return dx


def full_convolution(dout, w, HH, WW):
    """What dx is if HH and WW are w's: dout, padded, filtered with w flipped, over the filters."""
    around = right.padded(dout, HH - 1, WW - 1)
    if around.shape[2] < w.shape[2] or around.shape[3] < w.shape[3]:
        raise ValueError("window shape cannot be larger than the image")
    return right.conv(around, w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])


def windows_of(around, x, w):
    """dx with a loop over the pixels of x, from dout with zeros around it."""
    dx = np.zeros(x.shape)
    for i, j in np.ndindex(x.shape[2:]):
        window = around[:, :, i:i + w.shape[2], j:j + w.shape[3]]
        dx[:, :, i, j] = np.tensordot(window, w[:, :, ::-1, ::-1], ([1, 2, 3], [0, 2, 3]))
    return dx


def conv_padding_by_slice(x, w, dout):
    """padded[:, :, pad:-pad] = dout, which raises an exception where the pad is 0."""
    HH, WW = w.shape[2:]
    around = right.padded(0 * dout, HH - 1, WW - 1)
    around[:, :, HH - 1:-(HH - 1), WW - 1:-(WW - 1)] = dout
    return windows_of(around, x, w)


def conv_valid_in_corner(x, w, dout):
    """dx by a valid convolution of dout, written to the corner."""
    HH, WW = w.shape[2:]
    inner = full_convolution(dout, w, HH, WW)[:, :, HH - 1:x.shape[2] - HH + 1,
                                              WW - 1:x.shape[3] - WW + 1]
    dx = np.zeros(x.shape)
    dx[:, :, :inner.shape[2], :inner.shape[3]] = inner
    return dx




CONV_BACKWARD = entries(
    "conv_backward",
    ("conv_does_not_flip_for_dx", "dx", "the filter is not flipped: dx is dout fully convolved "
     "with w, and that flips it",
     lambda w, dout: full_convolution(dout, w[:, :, ::-1, ::-1], *w.shape[2:])),
    ("conv_overwrites_windows", "dx", "the windows are overwritten: they overlap, so their "
     "gradients must be added (+=, not =)",
     lambda x, w, dout: conv_loops(x, w, dout, add=False)),
    ("conv_overwrites_windows_and_filters", "dx", "the windows are overwritten: the gradients of "
     "all filters and of overlapping windows must be added (+=, not =)",
     lambda x, w, dout: conv_loops(x, w[-1:], dout[:, -1:], add=False)),
    ("conv_adds_repeated_pixels_once", "dx", "dx[:, k, i, j] += adds a repeated pixel once only, "
     "though windows overlap: use np.add.at(dx, ...)", conv_adding_once),
    ("conv_dx_of_the_last_filter", "dx", "only the last filter counts: dx must sum over all "
     "filters", lambda x, w, dout: right.conv_gradients(x, w[-1:], dout[:, -1:])),
    ("conv_dx_of_the_first_filter", "dx", "only the first filter counts: dx must sum over all "
     "filters", lambda x, w, dout: right.conv_gradients(x, w[:1], dout[:, :1])),
    ("conv_dx_without_padding", "dx", "a valid convolution is put in the corner where a full one "
     "belongs: dout has to be padded with HH - 1 and WW - 1 zeros", conv_valid_in_corner),
    *((name, "dx", "the pads are swapped: HH - 1 zeros above and below dout, WW - 1 left and "
       "right", change) for name, change in (
           ("conv_swaps_the_pads",
            lambda w, dout: full_convolution(dout, w, *w.shape[:1:-1])),
           ("conv_swaps_the_pads_of_windows", lambda x, w, dout:
            windows_of(right.padded(dout, w.shape[3] - 1, w.shape[2] - 1), x, w)))),
    *((name, "dx", "the pad of the rows, HH - 1, is used for the columns as well: there it is WW - "
       "1", change) for name, change in (
           ("conv_pads_by_the_height",
            lambda w, dout: full_convolution(dout, w, *2 * (w.shape[2],))),
           ("conv_pads_windows_by_the_height", lambda x, w, dout:
            windows_of(right.padded(dout, w.shape[2] - 1, w.shape[2] - 1), x, w)))),
    ("conv_pads_by_a_slice", "dx", "a slice pad:-pad is empty where pad is 0: write pad:pad + OH",
     conv_padding_by_slice),
    ("conv_slices_with_pad_0", "dx", "a slice pad:-pad is empty where pad is 0: write pad:pad + H",
     lambda w, dx: dx[:, :, :dx.shape[2] * (w.shape[2] > 1), :dx.shape[3] * (w.shape[3] > 1)]),
    ("conv_averages_dx", "dx", "dx is divided by N: dout has the mean over the batch already",
     lambda dx: dx / len(dx)),
    ("conv_reshapes_w_for_dx", "dx", "the axes of w are mixed up: transpose, do not reshape, (F, "
     "C, HH, WW) into (C, F, HH, WW)", lambda x, w, dout: right.conv_gradients(
         x, w.reshape(w.shape[1], len(w), *w.shape[2:]).swapaxes(0, 1), dout)),
    ("conv_reshapes_columns_of_dx", "dx", "images, channels and pixels are mixed up: transpose, do "
     "not reshape, (H, W, N, C) into (N, C, H, W)", lambda dx: regrouped(dx, 2, 3, 0, 1)),
    ("conv_dx_of_the_first_image", "dx", cut_short("image"), lambda dx: only(dx, 0)),
    ("conv_averages_dw", "dw", "dw is divided by N: dout has the mean over the batch already",
     lambda x, dw: dw / len(x)),
    ("conv_flips_dw", "dw", "dw is flipped: it is x filtered with dout, as it is",
     lambda dw: dw[:, :, ::-1, ::-1]),
    *((f"conv_dw_of_the_{which}", "dw", sentence, lambda x, w, dout, place=place:
       right.conv_gradients(x, w, only(dout, *place))) for which, sentence, place in (
           ("last_image", "only the last image counts: dw must sum over the batch", (-1,)),
           ("first_image", "only the first image counts: dw must sum over the batch", (0,)),
           ("last_pixel", "only the last output pixel counts: dw must sum over all of them (+=, "
            "not =)", (..., -1, -1)),
           ("last_window", "only the last window of the last image counts: dw must sum over all "
            "of them (+=, not =)", (-1, ..., -1, -1)),
           ("first_pixel", cut_short("output pixel"), (..., 0, 0)))),
    ("conv_flips_dout_for_dw", "dw", "dout is flipped: dw is x filtered with dout, as it is",
     lambda x, w, dout: right.conv_gradients(x, w, dout[:, :, ::-1, ::-1])),
    ("conv_sums_channels_of_dw", "dw", "the channels are summed: each channel of a filter has its "
     "own gradient", lambda dw: np.broadcast_to(dw.sum(axis=1, keepdims=True), dw.shape)),
    ("conv_reshapes_dw", "dw", "the axes of dw are mixed up: transpose, do not reshape, (C, F, HH, "
     "WW) into (F, C, HH, WW)", lambda dw: regrouped(dw, 1, 0, 2, 3)),
    ("conv_reshapes_columns_of_dw", "dw", "the axes of dw are mixed up: transpose, do not reshape, "
     "(C, HH, WW, F) into (F, C, HH, WW)", lambda dw: regrouped(dw, 1, 2, 3, 0)),
    ("conv_reshapes_dout", "dx dw", "images and filters of dout are mixed up: dout.transpose(1, 0, "
     "2, 3).reshape(F, -1), not dout.reshape(F, -1)",
     lambda x, w, dout: right.conv_gradients(
         x, w, dout.reshape(len(w), len(x), *dout.shape[2:]).swapaxes(0, 1))),
    ("conv_reshapes_dout_by_pixels", "dx dw", "the axes of dout are mixed up: dout.transpose(1, 2, "
     "3, 0).reshape(F, -1), not dout.reshape(F, -1)",
     lambda x, w, dout: right.conv_gradients(
         x, w, dout.reshape(len(w), *dout.shape[2:], len(x)).transpose(3, 0, 1, 2))),
    ("conv_swaps_H_and_W_in_backward", "dx dw", "height and width are mixed up: N, F, OH, OW = "
     "dout.shape, in this order",
     lambda x, w, dout: conv_loops(x, w, dout, dout.shape[:1:-1])),
    ("conv_takes_sizes_from_dout", "dx dw", "the size of the output is computed from that of dout: "
     "dout has that size already, (N, F, OH, OW)",
     lambda x, w, dout: conv_loops(x, w, dout, [
         size - window + 1 for size, window in zip(dout.shape[2:], w.shape[2:])])),
    ("conv_unpacks_the_cache_in_another_order", "dx dw", OTHER_CACHE,
     lambda x, w, dout: right.conv_gradients(w, x, dout)),
    ("conv_unpacks_the_cache_of_its_loops_in_another_order", "dx dw", OTHER_CACHE,
     lambda x, w, dout: conv_in_four_loops(w, x, dout)),
)


# ---------------------------------------------------------------- max pooling

def windows(H, W, height, width, stride):
    """(OH, OW, rows and columns of a window, steps from one window to the next)."""
    return 1 + (H - height) // stride, 1 + (W - width) // stride, height, width, stride, stride


# Slips with the windows, which the forward and the backward pass share.
WINDOW_SLIPS = (
    ("moves_by_1", "the stride is taken as 1", lambda H, W, h, w, s: windows(H, W, h, w, 1)),
    ("swaps_height_and_width", "pool_height and pool_width are mixed up",
     lambda H, W, h, w, s: windows(H, W, w, h, s)),
    ("uses_height_for_width", "pool_height is used for the width as well",
     lambda H, W, h, w, s: windows(H, W, h, h, s)),
    ("windows_of_stride", "the stride is used for the size of the window",
     lambda H, W, h, w, s: (*windows(H, W, h, w, s)[:2], s, s, s, s)),
    ("rounds_up", "windows that reach over the edge are kept: OH and OW are rounded down",
     lambda H, W, h, w, s: (1 + math.ceil((H - h) / s), 1 + math.ceil((W - w) / s), h, w, s, s)),
    ("forgets_1_in_size", "one row and one column of windows are left out: OH = 1 + (H - "
     "pool_height) // stride",
     lambda H, W, h, w, s: ((H - h) // s, (W - w) // s, h, w, s, s)),
    ("size_from_the_stride", "the size of the output is taken as H // stride: it is 1 + (H - "
     "pool_height) // stride", lambda H, W, h, w, s: (H // s, W // s, h, w, s, s)),
    ("size_from_the_window", "the size of the output is taken as H // pool_height: it is 1 + (H - "
     "pool_height) // stride", lambda H, W, h, w, s: (H // h, W // w, h, w, s, s)),
    ("takes_OW_from_OH", "the output's width is taken from its height: OW = 1 + (W - pool_width) "
     "// stride", lambda H, W, h, w, s: (*2 * windows(H, W, h, w, s)[:1], h, w, s, s)),
    ("is_for_squares", "height is used for width, of the images and of the windows: this works for "
     "squares alone", lambda H, W, h, w, s: windows(H, H, h, h, s)),
    ("moves_by_its_own_size", "the stride is left out: windows move by their own size",
     lambda H, W, h, w, s: (*windows(H, W, h, w, s)[:4], h, w)),
    ("takes_OW_from_H", "the output's width is taken from its height: OW = 1 + (W - pool_width) // "
     "stride", lambda H, W, h, w, s: windows(H, H, h, w, s)),
    ("swaps_H_and_W", "height and width are mixed up: N, C, H, W = x.shape, in this order",
     lambda H, W, h, w, s: windows(W, H, h, w, s)),
    ("starts_columns_at_j", "the columns of a window start at j: they start at j·stride",
     lambda H, W, h, w, s: (*windows(H, W, h, w, s)[:5], 1)),
    ("starts_rows_at_i", "the rows of a window start at i: they start at i·stride",
     lambda H, W, h, w, s: (*windows(H, W, h, w, s)[:4], 1, s)),
    ("starts_at_i_j", "windows start at (i, j): they start at (i·stride, j·stride)",
     lambda H, W, h, w, s: (*windows(H, W, h, w, s)[:4], 1, 1)),
)


def cut_out(x, pool_param, layout):
    """(OH, OW), and a list of ((i, j), the index in x) of its windows."""
    sizes = (pool_param[name] for name in ("pool_height", "pool_width", "stride"))
    OH, OW, height, width, down, across = layout(*x.shape[2:], *sizes)
    return (OH, OW), [((i, j), np.s_[:, :, i * down:i * down + height,
                                     j * across:j * across + width])
                      for i, j in itertools.product(range(OH), range(OW))]


def pooled(layout=windows, start=-np.inf, reduce=np.max):
    """Max pooling with other windows, another start of the search or another statistic."""
    def change(x, pool_param):
        shape, places = cut_out(x, pool_param, layout)
        out = np.zeros((*x.shape[:2], *shape))
        for (i, j), window in places:
            out[:, :, i, j] = np.maximum(start, reduce(x[window], axis=(2, 3)))
        return out
    return change


POOL_FORWARD = entries(
    "max_pool_forward",
    ("pool_starts_at_0", "out", "the search for the maximum starts at 0: windows of negative "
     "numbers give 0", pooled(start=0)),
    ("pool_takes_the_mean", "out", "the mean of the window is taken, not the maximum",
     pooled(reduce=np.mean)),
    ("pool_takes_the_minimum", "out", "the minimum of the window is taken, not the maximum",
     pooled(reduce=np.min)),
    ("pool_ignores_the_stride", "out", "the stride is left out: windows move by their own size",
     pooled(lambda H, W, h, w, s: (H // h, W // w, h, w, h, w))),
    *((f"pool_{name}", "out", sentence, pooled(layout)) for name, sentence, layout in WINDOW_SLIPS),
    ("pool_mixes_channels", "out", "the maximum is taken over the channels as well",
     lambda out: np.repeat(out.max(axis=1, keepdims=True), out.shape[1], axis=1)),
    ("pool_reshapes_for_transposes", "out", "images and pixels are mixed up: transpose, do not "
     "reshape, (OH, OW, N, C) into (N, C, OH, OW)", lambda out: regrouped(out, 2, 3, 0, 1)),
    ("pool_cuts_columns_by_reshape", "out", "reshape does not cut windows out: the numbers of a "
     "window are not neighbours in x", lambda x, pool_param, out: x.reshape(
         x.shape[0] * x.shape[1], pool_param["pool_height"] * pool_param["pool_width"], -1
     ).max(axis=1).reshape(out.shape)),
    ("pool_cuts_windows_by_reshape", "out", "reshape does not cut windows out: x.reshape(N, C, OH, "
     "pool_height, OW, pool_width) does, with the maximum over axes 3 and 5",
     lambda x, pool_param, out: x.reshape(
         *out.shape, pool_param["pool_height"], pool_param["pool_width"]).max(axis=(4, 5))),
    ("pool_returns_in_the_loop", "out", cut_short("image"), lambda out: only(out, 0)),
    ("pool_returns_after_one_number", "out", cut_short("number"),
     lambda out: only(out, 0, 0, 0, 0)),
    ("pool_returns_after_one_window", "out", cut_short("window"), lambda out: only(out, ..., 0, 0)),
)


def repay(share, *, add=True, mask=False, layout=windows):
    """dx of pooling, in which a window gets share(window, its dout)."""
    def change(x, pool_param, dout):
        dx = np.zeros(x.shape)
        for (i, j), place in cut_out(x, pool_param, layout)[1]:
            d, before = dout[:, :, i, j, None, None], dx[place]
            paid = share(x[place], d)
            dx[place] = before + paid if add else \
                np.where(share(x[place], np.ones(d.shape)) != 0, paid, before) if mask else paid
        return dx
    return change


def to_first(window, d):
    """The first maximum gets d."""
    return right.first_maximum(window) * d


def to_every(window, d):
    """Every maximum gets d."""
    return (window == window.max(axis=(2, 3), keepdims=True)) * d


paid_to_every_tie = repay(to_every)


def pay_places(place):
    """dx in which the maximum of window (i, j) at `best` in it pays place(...)."""
    def change(x, pool_param, dout):
        dx = np.zeros(x.shape)
        for (i, j), rows, columns in right.pool_windows(x, pool_param):
            window = x[:, :, rows, columns]
            best = window.reshape(*window.shape[:2], -1).argmax(axis=2)
            n, c = np.indices(best.shape)
            row, column = place(i, j, rows.start, columns.start, best, *window.shape[2:])
            np.add.at(dx, (n, c, row, column), dout[:, :, i, j])
        return dx
    return change


def pool_sizes_from_dout(x, pool_param, dout):
    """Windows counted in dout as if it were x."""
    reached = np.zeros(dout.shape)
    for (i, j), _, _ in right.pool_windows(dout, pool_param):
        reached[:, :, i, j] = dout[:, :, i, j]
    return right.max_pool_gradients(x, pool_param, reached)


OVERLAPS = "overlapping windows are overwritten: their gradients must be added (+=, not =)"
SHARED_MAXIMA = ("overlapping windows overwrite their maximum: where two windows share it, the "
                 "gradients must be added (+=, not =)")
AND_TIES = "; and every maximum of a tie is paid in full"
POOL_BACKWARD = entries(
    "max_pool_backward",
    ("pool_pays_every_tie", "dx", "every maximum of a tie is paid in full: a window has one dout "
     "to give, to one of them or shared", paid_to_every_tie),
    ("pool_overwrites_overlaps", "dx", OVERLAPS, repay(to_first, add=False)),
    ("pool_overwrites_overlaps_and_pays_ties", "dx", OVERLAPS + AND_TIES,
     repay(to_every, add=False)),
    ("pool_overwrites_shared_maxima", "dx", SHARED_MAXIMA, repay(to_first, add=False, mask=True)),
    ("pool_overwrites_shared_maxima_and_pays_ties", "dx", SHARED_MAXIMA + AND_TIES,
     repay(to_every, add=False, mask=True)),
    ("pool_pays_everybody", "dx", "the gradient goes to every number of the window, not to its "
     "maximum alone", repay(lambda window, d: np.ones(window.shape) * d)),
    ("pool_shares_with_everybody", "dx", "the gradient is shared by the whole window, as in mean "
     "pooling: only the maximum gets it",
     repay(lambda window, d: np.ones(window.shape) * d / window[0, 0].size)),
    ("pool_pays_the_minimum", "dx", "the gradient goes to the minimum of the window",
     repay(lambda window, d: right.first_maximum(-window) * d)),
    ("pool_forgets_dout", "dx", "the upstream gradient is left out: the maximum gets 1, not dout",
     repay(lambda window, d: to_first(window, 1))),
    ("pool_multiplies_by_x", "dx", "the maximum gets dout times its own value",
     repay(lambda window, d: to_first(window, d) * window)),
    ("pool_pays_the_corner", "dx", "the gradient goes to the first number of each window",
     repay(lambda window, d: only(np.broadcast_to(d, window.shape), ..., 0, 0))),
    ("pool_finds_the_maximum_by_isclose", "dx", "the maximum is found by np.isclose: numbers that "
     "are close to it get its gradient, too",
     repay(lambda window, d: np.isclose(window, window.max((2, 3), keepdims=True)) * d)),
    ("pool_unravels_by_height", "dx", "the maximum's place is unravelled with pool_height where "
     "pool_width belongs", pay_places(
         lambda i, j, top, left, best, height, width:
         (top + best // height, left + best % height))),
    ("pool_forgets_where_the_window_is", "dx", "the gradient is written to the place inside the "
     "window: add where the window starts, (i·stride, j·stride)", pay_places(
         lambda i, j, top, left, best, height, width: (best // width, best % width))),
    ("pool_writes_to_the_output_index", "dx", "the gradient is written to (i, j) + the place "
     "inside the window: the window starts at (i·stride, j·stride)", pay_places(
         lambda i, j, top, left, best, height, width:
         (i + best // width, j + best % width))),
    *((f"pool_backward_{name}", "dx", sentence, repay(to_first, layout=layout))
      for name, sentence, layout in WINDOW_SLIPS),
    ("pool_takes_sizes_from_dout", "dx", "the number of windows is computed from the size of dout: "
     "dout has that size already, (N, C, OH, OW)", pool_sizes_from_dout),
    ("pool_reshapes_dx", "dx", "images and pixels are mixed up: transpose, do not reshape, (H, W, "
     "N, C) into (N, C, H, W)", lambda dx: regrouped(dx, 2, 3, 0, 1)),
    ("pool_pays_the_first_image", "dx", cut_short("image"), lambda dx: only(dx, 0)),
    ("pool_pays_the_first_window", "dx", cut_short("window"), lambda x, pool_param, dout:
     right.max_pool_gradients(x, pool_param, only(dout, ..., 0, 0))),
)


# ---------------------------------------------------------------- softmax and cross-entropy

def textbook(x, y, mask=None, *, axis=-1, log=np.log,
             largest=lambda x: x.max(axis=-1, keepdims=True)):
    """Loss and dx of both softmax losses as they are often written, with one thing changed."""
    mask = np.ones(y.shape) if mask is None else mask
    p = np.exp(x - largest(x))
    p /= p.sum(axis=axis, keepdims=True)
    chosen = np.take_along_axis(p, y[..., None].astype(int), -1)[..., 0]
    return {"loss": -(mask * log(chosen)).sum() / len(x), "p": p,
            "dx": (p - right.one_hot(y, x.shape[-1])) * mask[..., None] / len(x)}


def nothing(x):
    """No score is subtracted."""
    return 0.0


def whole_columns(x, y):
    """1 subtracted in whole columns."""
    p = textbook(x, y)["p"]
    p[:, y] -= 1
    return p / len(x)


def divided_in_the_loop(x, y):
    """The loss divided by N after each sample."""
    loss = 0.0
    for log_p, label in zip(right.log_softmax(x), y):
        loss = (loss - log_p[label]) / len(x)
    return loss


GLOBAL_MAXIMUM = "the largest score of each row is to be subtracted, not that of the whole batch"
OVER_THE_BATCH = ("the probabilities are normalised over the batch, not over the classes: sum "
                  "along axis 1")


def slips_of_exp(loss, dx, rows):
    """Rows for both softmax losses: where exp or the log reach their limits, and epsilons."""
    overflow = f"exp overflows: subtract the largest score of each {rows} first"
    yield loss + "_overflows", "loss", overflow, partial(textbook, largest=nothing)
    yield dx + "_overflows", "dx", overflow, partial(textbook, largest=nothing)
    yield (loss + "_takes_log_of_0", "loss", "log p is infinite where p is too small for a float: "
           "log p = x - max - log Σ exp(x - max) always works", textbook)
    for power in range(3, 21):
        yield (f"{loss}_adds_1e_{power}", "loss", f"an epsilon of 1e-{power} is added inside the "
               "log: it hides large losses",
               partial(textbook, log=lambda p, epsilon=10.0 ** -power: np.log(p + epsilon)))


SOFTMAX = entries(
    "softmax_loss",
    ("softmax_sums_the_loss", "loss", "the loss is summed over the batch: divide it by N",
     lambda x, loss: len(x) * loss),
    ("softmax_divides_the_loss_twice", "loss", "the loss is divided by N twice",
     lambda x, loss: loss / len(x)),
    ("softmax_divides_by_classes", "loss", "the loss is divided by N·C: only the batch is "
     "averaged, by N", lambda x, loss: loss / x.shape[1]),
    ("softmax_divides_by_classes_alone", "loss", "the loss is divided by the number of classes: "
     "divide it by N", lambda x, loss: loss * len(x) / x.shape[1]),
    ("softmax_divides_in_the_loop", "loss", "the loss is divided by N at each step of the loop: "
     "divide it once, after the loop", divided_in_the_loop),
    ("softmax_forgets_the_sign", "loss", "the sign is wrong: the loss is minus log p",
     lambda loss: -loss),
    *slips_of_exp("softmax", "softmax_dx", "row"),
    *((f"softmax_clips_at_1e_{power}", "loss", f"p is cut off at 1e-{power} before the log: it "
       "hides large losses", partial(textbook, log=lambda p, smallest=10.0 ** -power:
                                     np.log(np.maximum(p, smallest)))) for power in range(3, 21)),
    ("softmax_shifts_by_the_global_maximum", "loss", "exp overflows or underflows: " +
     GLOBAL_MAXIMUM, partial(textbook, largest=np.max)),
    ("softmax_normalises_over_the_batch", "loss", OVER_THE_BATCH, partial(textbook, axis=0)),
    ("softmax_normalises_over_everything", "loss", "the probabilities are normalised over the "
     "whole array, not row by row", partial(textbook, axis=(0, 1))),
    ("softmax_takes_log2", "loss", "the log has base 2: take the natural one",
     lambda loss: loss / np.log(2)),
    ("softmax_adds_all_classes", "loss", "the logs of all classes are added: only the right class "
     "counts", lambda x: -right.log_softmax(x).sum() / len(x)),
    ("softmax_forgets_the_log", "loss", "the log is left out: this is minus the mean probability",
     partial(textbook, log=lambda p: p)),
    ("softmax_loss_of_the_first_sample", "loss", cut_short("sample"),
     lambda x, y: right.softmax_loss(x[:1], y[:1]) / len(x)),
    ("softmax_forgets_n_in_dx", "dx", "dx is not divided by N, as the loss is",
     lambda x, dx: len(x) * dx),
    ("softmax_divides_dx_twice", "dx", "dx is divided by N twice", lambda x, dx: dx / len(x)),
    ("softmax_forgets_one_hot", "dx", "1 is not subtracted at the right class: dx = (p - one_hot) "
     "/ N", lambda x, y: textbook(x, y)["p"] / len(x)),
    ("softmax_turns_dx_around", "dx", "the sign is wrong: dx = (p - one_hot) / N", lambda dx: -dx),
    ("softmax_subtracts_one_after_dividing", "dx", "1 is subtracted after the division by N: dx = "
     "(p - one_hot) / N",
     lambda x, y: textbook(x, y)["p"] / len(x) - right.one_hot(y, x.shape[1])),
    ("softmax_subtracts_in_whole_columns", "dx", "1 is subtracted in whole columns: index "
     "dx[np.arange(N), y], not dx[:, y]", whole_columns),
    ("softmax_subtracts_in_whole_rows", "dx", "1 is subtracted in whole rows: index "
     "dx[np.arange(N), y]", lambda x, y: (textbook(x, y)["p"] - 1) / len(x)),
    ("softmax_dx_shifts_by_the_global_maximum", "dx", "exp underflows: " + GLOBAL_MAXIMUM,
     partial(textbook, largest=np.max)),
    ("softmax_dx_normalises_over_the_batch", "dx", OVER_THE_BATCH, partial(textbook, axis=0)),
    ("softmax_dx_of_the_right_class", "dx", "only the right class gets a gradient: the others get "
     "p / N", lambda x, y, dx: dx * right.one_hot(y, x.shape[1])),
    ("softmax_dx_of_the_first_sample", "dx", cut_short("sample"), lambda dx: only(dx, 0)),
)

# What is divided wrongly, and the factor that comes of it.
TEMPORAL_FACTORS = (
    ("averages_over_time", "is divided by N·T: it is summed over time and averaged over the batch "
     "alone", lambda mask: 1 / mask.shape[1]),
    ("averages_over_the_mask", "is divided by the number of positions that count: divide by N "
     "alone", lambda mask: len(mask) / mask.sum()),
    ("divides_by_t", "is divided by T where N belongs", lambda mask: len(mask) / mask.shape[1]),
    ("divides_by_n_twice", "is divided by N twice", lambda mask: 1 / len(mask)),
)
TURNED_AROUND = "the mask is upside down: 1 marks the positions that count"
TEMPORAL_LOSS = entries(
    "temporal_softmax_loss",
    ("temporal_loss_ignores_the_mask", "loss", "the mask is not applied to the loss",
     lambda x, y, mask: right.temporal_softmax_loss(x, y, np.ones(mask.shape))),
    ("temporal_loss_turns_the_mask_around", "loss", TURNED_AROUND,
     lambda x, y, mask: right.temporal_softmax_loss(x, y, mask == 0)),
    ("temporal_loss_is_a_sum", "loss", "the loss is not divided by N",
     lambda x, loss: loss * len(x)),
    *((f"temporal_loss_{name}", "loss", f"the loss {sentence}",
       lambda loss, mask, factor=factor: loss * factor(mask))
      for name, sentence, factor in TEMPORAL_FACTORS),
    *slips_of_exp("temporal_loss", "temporal_dx", "position"),
    ("temporal_dx_ignores_the_mask", "dx", "the mask is not applied to the gradient: positions "
     "that do not count have none",
     lambda x, y, mask: right.temporal_softmax_loss_gradients(x, y, np.ones(mask.shape))),
    ("temporal_dx_turns_the_mask_around", "dx", TURNED_AROUND,
     lambda x, y, mask: right.temporal_softmax_loss_gradients(x, y, mask == 0)),
    ("temporal_dx_forgets_n", "dx", "dx is not divided by N, as the loss is",
     lambda x, dx: len(x) * dx),
    *((f"temporal_dx_{name}", "dx", f"dx {sentence}",
       lambda dx, mask, factor=factor: dx * factor(mask))
      for name, sentence, factor in TEMPORAL_FACTORS),
    ("temporal_dx_forgets_one_hot", "dx", "1 is not subtracted at the right word: dx = mask·(p - "
     "one_hot) / N", lambda x, y, mask: textbook(x, y)["p"] * mask[:, :, None] / len(x)),
)


# ---------------------------------------------------------------- recurrent network

def step_slope(slope):
    """The gradients of a step with another slope(a, h) in place of 1 - h²."""
    def change(x, prev_h, Wx, Wh, b, dout):
        a = x @ Wx + prev_h @ Wh + b
        return right.gradients_of_sums(dout * slope(a, np.tanh(a)), x, prev_h, Wx, Wh)
    return change


SLOPES = (
    ("forgets_the_slope", "the derivative of tanh, 1 - h², is left out",
     lambda a, h: np.ones_like(h)),
    ("applies_tanh_twice", "tanh is applied to h once more: its slope is 1 - h², as h is tanh "
     "already", lambda a, h: 1 - np.tanh(h) ** 2),
    ("forgets_the_square", "the slope of tanh is 1 - h², not 1 - h", lambda a, h: 1 - h),
    ("takes_slope_of_sigmoid", "the slope of the logistic function, h·(1 - h), is used for that of "
     "tanh, 1 - h²", lambda a, h: h * (1 - h)),
    ("takes_h_squared", "the slope of tanh is 1 - h², not h²", lambda a, h: h ** 2),
)
STEP_GRADIENTS, GRADIENTS = "dx dprev_h dWx dWh db", "dx dh0 dWx dWh db"

RNN_STEP = entries(
    "rnn_step_forward",
    *((name, "next_h", sentence, lambda x, prev_h, Wx, Wh, b, change=change:
       change(x @ Wx + prev_h @ Wh, b)) for name, sentence, change in (
           ("step_without_tanh", "tanh is left out", lambda a, b: a + b),
           ("step_without_bias", "the bias is left out", lambda a, b: np.tanh(a)),
           ("step_with_sigmoid", "the logistic function is used where tanh belongs",
            lambda a, b: right.sigmoid(a + b)),
           ("step_with_relu", "ReLU is used where tanh belongs", lambda a, b: np.maximum(a + b, 0)),
           ("step_adds_bias_late", "the bias is added after tanh", lambda a, b: np.tanh(a) + b))),
    ("step_transposes_Wh", "next_h", "Wh is transposed: prev_h·Wh",
     lambda x, prev_h, Wx, Wh, b: right.rnn_step(x, prev_h, Wx, Wh.T, b)),
    ("step_without_memory", "next_h", "the previous state is left out",
     lambda x, prev_h, Wx, Wh, b: right.rnn_step(x, 0 * prev_h, Wx, Wh, b)),
) + entries(
    "rnn_step_backward",
    *((f"step_{name}", STEP_GRADIENTS, sentence, step_slope(slope))
      for name, sentence, slope in SLOPES),
    ("step_takes_slope_of_a", STEP_GRADIENTS, "the slope of tanh is 1 - h², h being its result and "
     "not its argument", step_slope(lambda a, h: 1 - a ** 2)),
    ("step_does_not_transpose_Wh", "dprev_h", "Wh is not transposed: dprev_h = da·Whᵀ",
     lambda da, Wh: da @ Wh),
    ("step_does_not_transpose_Wx", "dx", "Wx is not transposed: dx = da·Wxᵀ",
     lambda da, Wx: da @ Wx),
    ("step_transposes_dWh", "dWh", "dWh is transposed: it is prev_hᵀ·da",
     lambda da, prev_h: da.T @ prev_h),
    ("step_takes_next_h_for_prev_h", "dWh", "the new state is taken for the previous one: dWh = "
     "prev_hᵀ·da", lambda da, next_h: next_h.T @ da),
    ("step_does_not_sum_db", "db", "db is not summed over the batch", lambda da: da),
    ("step_averages_db", "db", "db is averaged over the batch, not summed",
     lambda da: da.mean(axis=0)),
    ("step_sums_db_over_features", "db", "db is summed over the hidden units, not over the batch",
     lambda da: da.sum(axis=1)),
    ("step_sums_dout_for_db", "db", "db is the sum of dnext_h: the slope of tanh belongs to it",
     lambda dout: dout.sum(axis=0)),
)


def linear_states(x, h0, Wx, Wh, b):
    """The states of a network without tanh."""
    h = [h0]
    for x_t in x:
        h.append(x_t @ Wx + h[-1] @ Wh + b)
    return np.array(h[1:])


def dh_of_the_first_state(x, h0, Wx, Wh, b, dout):
    """The gradient of the state after the first step."""
    if len(x) == 1:
        return dout[0]
    first = right.rnn_step(x[0], h0, Wx, Wh, b)
    return dout[0] + right.rnn_gradients(x[1:], first, Wx, Wh, b, dout[1:])["dh0"]


def through_time(**changes):
    """The gradients of the recurrent network with something changed in each step."""
    return partial(right.rnn_gradients, **changes)


def forwards_in_time(layer, forward):
    """Rows for the forward passes of both recurrent layers."""
    yield (f"{layer}_starts_from_0", "h", "h0 is left out: the first step starts from it, not from "
           "0", lambda h0, **others: forward(h0=0 * h0, **others))
    yield (f"{layer}_forgets_the_bias", "h", "the bias is left out",
           lambda b, **others: forward(b=0 * b, **others))
    yield f"{layer}_returns_in_the_loop", "h", cut_short("step"), lambda h: only(h, 0)


def back_in_time(layer, gradients):
    """Rows for the backward passes of both recurrent layers."""
    yield (f"{layer}_goes_back_from_the_first_step", GRADIENTS, "the loop of the backward pass "
           "runs forwards in time: begin with the last step", partial(gradients, times=list))
    yield (f"{layer}_keeps_the_first_step", "dWx dWh db", "the gradients of the weights are "
           "overwritten at each step: all steps share them, so they add up (+=, not =)",
           partial(gradients, add=lambda total, step: step))
    yield (f"{layer}_returns_no_dh0", "dh0", "dh0 is 0: the first step sends a gradient back to h0",
           lambda h0: 0 * h0)


RNN = entries(
    "rnn_forward",
    *forwards_in_time("rnn", right.rnn),
    ("rnn_always_uses_h0", "h", "every step starts from h0, not from the state before it",
     lambda x, h0, Wx, Wh, b: np.tanh(x @ Wx + h0 @ Wh + b)),
    ("rnn_repeats_the_first_input", "h", "every step reads x[0], not x[t]",
     lambda x, **others: right.rnn(np.repeat(x[:1], len(x), axis=0), **others)),
    ("rnn_runs_backwards", "h", "the steps are taken from the last to the first",
     lambda x, **others: right.rnn(x[::-1], **others)[::-1]),
    ("rnn_runs_over_the_batch", "h", "the steps go along axis 1, the batch: x is time-major, (T, "
     "N, D)", lambda x, **others: right.rnn(x.swapaxes(0, 1), **others).swapaxes(0, 1)),
    ("rnn_returns_the_last_state", "h", "only the last state is returned: h holds that of every "
     "step, (T, N, H)", lambda h: h[-1]),
    ("rnn_returns_h0_first", "h", "the states before each step are returned, from h0 on, not those "
     "after it", lambda h0, h: np.array([h0, *h[:-1]])),
    ("rnn_returns_h0_too", "h", "h0 is returned as well: h holds the T states after the steps",
     lambda h0, h: np.array([h0, *h])),
    ("rnn_without_tanh", "h", "tanh is left out", linear_states),
    ("rnn_transposes_Wh", "h", "Wh is transposed: h·Wh",
     lambda Wh, **others: right.rnn(Wh=Wh.T, **others)),
) + entries(
    "rnn_backward",
    ("rnn_cuts_time", GRADIENTS, "the gradient does not go on to the step before: h[t - 1] gets "
     "da[t]·Whᵀ beside its own dh[t - 1]", through_time(carry=lambda dprev_h: 0 * dprev_h)),
    *back_in_time("rnn", right.rnn_gradients),
    *((f"rnn_{name}", GRADIENTS, sentence, through_time(slope=partial(slope, None)))
      for name, sentence, slope in SLOPES),
    ("rnn_does_not_transpose_Wh", GRADIENTS, "Wh is not transposed on the way back: h[t - 1] gets "
     "da[t]·Whᵀ", through_time(way_back=lambda Wh: Wh)),
    ("rnn_uses_the_last_dh_only", GRADIENTS, "only the last step's dh is used: every step has one "
     "of its own", through_time(select=lambda dout: only(dout, -1))),
    ("rnn_takes_h_t_for_h_before", "dWh", "h[t] is used where h[t - 1] belongs: dWh adds h[t - "
     "1]ᵀ·da[t]", lambda h, da: np.einsum("tnh,tnk->hk", h, da)),
    ("rnn_takes_h0_for_every_state", "dWh", "h0 is used at every step where h[t - 1] belongs",
     lambda h0, da: h0.T @ da.sum(axis=0)),
    ("rnn_forgets_h0_in_dWh", "dWh", "the first step is left out of dWh: its state before is h0",
     lambda h, da: np.einsum("tnh,tnk->hk", h[:-1], da[1:])),
    ("rnn_averages_db_over_time", "db", "db is averaged over the steps, not summed",
     lambda x, db: db / len(x)),
    ("rnn_returns_dh_of_the_first_state", "dh0", "dh0 is the gradient of the state after the first "
     "step: one more step back to h0 is missing", dh_of_the_first_state),
    ("rnn_reverses_dx", "dx", "dx is in reverse order: step t of the way back belongs to x[t]",
     lambda dx: dx[::-1]),
    ("rnn_fills_dx_of_the_last_step", "dx", "only the last step gets a gradient: is there a return "
     "inside the loop?", lambda dx: only(dx, -1)),
)


# ---------------------------------------------------------------- LSTM

def gates(**changes):
    """lstm_slopes with the gradients of some gates changed."""
    return lambda **given: {**right.lstm_slopes(**given),
                            **{gate: change(**given) for gate, change in changes.items()}}


NO_SLOPE = "the derivative of {}, is left out"
GATES = {"i": "the input gate", "f": "the forget gate", "o": "the output gate",
         "g": "the block input"}
GATE_SLIPS = (
    ("forgets_the_slope_of_i", NO_SLOPE.format("the input gate, i·(1 - i)"),
     gates(i=lambda dc, g, **_: dc * g)),
    ("forgets_the_slope_of_f", NO_SLOPE.format("the forget gate, f·(1 - f)"),
     gates(f=lambda dc, prev_c, **_: dc * prev_c)),
    ("forgets_the_slope_of_o", NO_SLOPE.format("the output gate, o·(1 - o)"),
     gates(o=lambda dnext_h, tanh_c, **_: dnext_h * tanh_c)),
    ("forgets_the_slope_of_g", NO_SLOPE.format("the block input, 1 - g²"),
     gates(g=lambda dc, i, **_: dc * i)),
    ("gives_di_to_f", "the gradients of the input gate and the forget gate are exchanged",
     gates(i=lambda dc, prev_c, f, **_: dc * prev_c * f * (1 - f),
           f=lambda dc, g, i, **_: dc * g * i * (1 - i))),
    ("takes_slope_of_sigmoid_for_g", "the slope of the block input is that of tanh, 1 - g², not "
     "g·(1 - g)", gates(g=lambda dc, i, g, **_: dc * i * g * (1 - g))),
    ("forgets_tanh_of_c_for_o", "the output gate's gradient is dnext_h·tanh(next_c), not "
     "dnext_h·next_c", gates(o=lambda dnext_h, tanh_c, o, **_:
                             dnext_h * np.arctanh(tanh_c) * o * (1 - o))),
    *((f"gives_nothing_to_{gate}", f"{name} gets no gradient",
       gates(**{gate: lambda dc, **_: 0 * dc})) for gate, name in GATES.items()),
    ("takes_g_for_prev_c", "the forget gate's gradient is dc·prev_c, not dc·g",
     gates(f=lambda dc, g, f, **_: dc * g * f * (1 - f))),
    ("takes_next_c_for_prev_c", "the forget gate's gradient is dc·prev_c, not dc·next_c",
     gates(f=lambda dc, tanh_c, f, **_: dc * np.arctanh(tanh_c) * f * (1 - f))),
)
DC = "dc = dnext_c + dnext_h·o·(1 - tanh(c)²)"
LSTM_STEP_GRADIENTS = "dx dprev_h dprev_c dWx dWh db"
CELL_SLIPS = (
    ("forgets_dnext_c", LSTM_STEP_GRADIENTS, "the gradient of the cell that comes from the step "
     f"after, dnext_c, is left out: {DC}, += and not =",
     {"cell": lambda dnext_c, dnext_h, o, tanh_c: dnext_h * o * (1 - tanh_c ** 2)}),
    ("forgets_next_h_in_dc", LSTM_STEP_GRADIENTS, "next_h = o·tanh(c) sends a gradient to the "
     f"cell, too: {DC}", {"cell": lambda dnext_c, dnext_h, o, tanh_c: dnext_c}),
    ("forgets_the_slope_of_tanh_c", LSTM_STEP_GRADIENTS, "the derivative of tanh(next_c) is left "
     f"out: {DC}", {"cell": lambda dnext_c, dnext_h, o, tanh_c: dnext_c + dnext_h * o}),
    ("forgets_f_in_dprev_c", "dprev_c", "dprev_c = dc·f: the forget gate is left out",
     {"before": lambda dc, gate, dnext_c: dc}),
    ("forgets_next_h_in_dprev_c", "dprev_c", "dprev_c is dc·f, not dnext_c·f: next_h sends a "
     "gradient to the cell, too", {"before": lambda dc, gate, dnext_c: dnext_c * gate["f"]}),
)


def orders(prefix, outputs, function):
    """A row for each other order of the gates; function(order) is the change."""
    for order in map("".join, itertools.permutations("ifog")):
        if order != "ifog":
            yield (f"{prefix}_orders_gates_{order}", outputs, f"the gates are in the order "
                   f"{', '.join(order)}: the columns of Wx, Wh and b are those of i, f, o, g",
                   function(order))


def step_outputs(**changes):
    """next_h and next_c of an LSTM's step with something changed."""
    return lambda **inputs: dict(zip(("next_h", "next_c"), right.lstm_step(**inputs, **changes)))


def one_bias(b):
    """The first gate's bias for all gates."""
    return np.tile(b[:len(b) // 4], 4)


def lstm_step(**changes):
    """The gradients of the LSTM's step with something changed."""
    return partial(right.lstm_step_gradients, **changes)


def lstm(**changes):
    """The gradients of the LSTM with something changed between the steps."""
    return partial(right.lstm_gradients, **changes)


ONE_BIAS = "the same H biases are used for all four gates: b has 4·H"
NO_TANH = "tanh is left out: next_h = o·tanh(next_c)"
LSTM = entries(
    "lstm_step_forward",
    ("lstm_forgets_tanh_of_c", "next_h", NO_TANH, step_outputs(last=lambda c: c)),
    ("lstm_uses_one_bias", "next_h next_c", ONE_BIAS,
     lambda b, **others: step_outputs()(b=one_bias(b), **others)),
    ("lstm_adds_one_bias", "next_h next_c", "only the first H biases are added: b has 4·H, H for "
     "each gate", lambda b, **others: step_outputs()(b=b[:len(b) // 4], **others)),
    ("lstm_forgets_f", "next_h next_c", "the forget gate is left out: next_c = f·prev_c + i·g",
     step_outputs(keep=np.ones_like)),
    ("lstm_without_bias", "next_h next_c", "the bias is left out",
     lambda b, **others: step_outputs()(b=0 * b, **others)),
    ("lstm_forgets_prev_c", "next_h next_c", "the cell before is left out: next_c = f·prev_c + i·g",
     lambda prev_c, **others: step_outputs()(prev_c=0 * prev_c, **others)),
    ("lstm_squashes_g_by_sigmoid", "next_h next_c", "the block input g takes tanh, not the "
     "logistic function", step_outputs(block=right.sigmoid)),
    *orders("lstm_step", "next_h next_c", lambda order: step_outputs(order=order)),
) + entries(
    "lstm_step_backward",
    *((f"lstm_step_{name}", STEP_GRADIENTS, sentence, lstm_step(gates=change))
      for name, sentence, change in GATE_SLIPS),
    *((f"lstm_step_{name}", outputs, sentence, lstm_step(**slip))
      for name, outputs, sentence, slip in CELL_SLIPS),
    ("lstm_step_sums_db_over_gates", "db", "db is one gradient for all gates: b has 4·H",
     lambda db: db.reshape(4, -1).sum(axis=0)),
    ("lstm_step_uses_one_db", "db", "db of the first gate is used for all four: b has 4·H",
     lambda db: one_bias(db)),
    *orders("lstm_step_backward", LSTM_STEP_GRADIENTS, lambda order: lstm_step(order=order)),
) + entries(
    "lstm_forward",
    *forwards_in_time("lstm", right.lstm),
    ("lstm_forgets_tanh_of_c_in_time", "h", NO_TANH,
     partial(right.lstm, step=partial(right.lstm_step, last=lambda c: c))),
    ("lstm_uses_one_bias_in_time", "h", ONE_BIAS,
     lambda b, **others: right.lstm(b=one_bias(b), **others)),
    ("lstm_never_keeps_the_cell", "h", "every step starts from a cell of 0: the cell of step t "
     "goes into step t + 1", partial(
         right.lstm, step=lambda x, h, c, *others: right.lstm_step(x, h, 0 * c, *others))),
    ("lstm_never_keeps_h", "h", "every step starts from h0, not from the state before it",
     lambda x, h0, **others: right.lstm(
         x, h0, step=lambda x_t, h, *rest: right.lstm_step(x_t, h0, *rest), **others)),
    ("lstm_starts_the_cell_from_h0", "h", "the first cell is h0: it is 0",
     lambda h0, **others: right.lstm(h0=h0, first_cell=h0, **others)),
    *orders("lstm", "h", lambda order: partial(
        right.lstm, step=partial(right.lstm_step, order=order))),
) + entries(
    "lstm_backward",
    *((f"lstm_{name}", GRADIENTS, sentence, lstm(step=lstm_step(gates=change)))
      for name, sentence, change in GATE_SLIPS),
    *((f"lstm_{name}", GRADIENTS, sentence, lstm(step=lstm_step(**slip)))
      for name, _, sentence, slip in CELL_SLIPS),
    ("lstm_never_sets_dprev_h", GRADIENTS, "dprev_h is not handed on in the loop: h[t - 1] gets a "
     "gradient from step t beside its own dh[t - 1]", lstm(carry=lambda dh, dc: (0 * dh, dc))),
    ("lstm_never_sets_dprev_c", GRADIENTS, "dprev_c is not handed on in the loop: the cell of step "
     "t - 1 gets a gradient from step t", lstm(carry=lambda dh, dc: (dh, 0 * dc))),
    ("lstm_cuts_time", GRADIENTS, "neither dprev_h nor dprev_c goes on to the step before",
     lstm(carry=lambda dh, dc: (0 * dh, 0 * dc))),
    *back_in_time("lstm", right.lstm_gradients),
    *orders("lstm_backward", GRADIENTS, lambda order: lstm(order=order)),
)


# ---------------------------------------------------------------- words in, words out

def added_at_once(x, W, dout):
    """dW[x] += dout, which adds a repeated word once."""
    found = np.zeros(W.shape)
    found[x] += dout
    return found


WRAPPED = "word ids are stored in 8 bits: those above 255 wrap around"
EMBEDDING = entries(
    "word_embedding_forward",
    ("embedding_counts_from_1", "out", "word v gets the vector of word v - 1: ids count from 0",
     lambda x, W: W[x.astype(int) - 1]),
    ("embedding_normalises", "out", "the vectors are scaled to length 1",
     lambda out: out / np.sqrt((out ** 2).sum(axis=2, keepdims=True))),
    ("embedding_swaps_axes", "out", "the axes N and T are mixed up: out is (N, T, D)",
     lambda out: out.swapaxes(0, 1)),
    ("embedding_reshapes_for_transposes", "out", "the axes N and T are mixed up: out[n, t] = "
     "W[x[n, t]]", lambda out: regrouped(out, 1, 0, 2)),
    ("embedding_wraps_at_256", "out", WRAPPED, lambda x, W: W[x % 256]),
    ("embedding_returns_in_the_loop", "out", cut_short("sentence"), lambda out: only(out, 0)),
) + entries(
    "word_embedding_backward",
    ("embedding_adds_repeated_words_once", "dW", "dW[x] += dout adds a repeated word once only: "
     "use np.add.at(dW, x, dout)", added_at_once),
    ("embedding_averages_repeated_words", "dW", "the gradients of a repeated word are averaged, "
     "not summed", lambda x, dW: dW / np.maximum(
         np.bincount(x.reshape(-1), minlength=len(dW)), 1)[:, None]),
    ("embedding_averages_over_the_batch", "dW", "dW is divided by N: dout has the mean over the "
     "batch already", lambda x, dW: dW / len(x)),
    ("embedding_backward_wraps_at_256", "dW", WRAPPED,
     lambda x, W, dout: right.word_embedding_gradients(x % 256, W, dout)),
    ("embedding_backward_counts_from_1", "dW", "the gradient of word v is written to row v - 1: "
     "ids count from 0",
     lambda x, W, dout: right.word_embedding_gradients(x.astype(int) - 1, W, dout)),
    ("embedding_forgets_dout", "dW", "dW counts the words, without dout",
     lambda x, W, dout: right.word_embedding_gradients(x, W, np.ones(dout.shape))),
    ("embedding_returns_dW_of_seen_words", "dW", "dW has rows for the words of this batch only: it "
     "needs the shape of W", lambda x, dW: dW[:int(x.max()) + 1]),
    ("embedding_dW_of_the_first_sentence", "dW", cut_short("sentence"),
     lambda x, W, dout: right.word_embedding_gradients(x[:1], W, dout[:1])),
)

TEMPORAL_FC = entries(
    "temporal_fc_forward",
    ("temporal_fc_forgets_the_bias", "out", "the bias is not added", lambda x, w: x @ w),
    ("temporal_fc_mixes_n_and_t", "out", "N and T are mixed up: reshape (N·T, M) into (N, T, M), "
     "in this order",
     lambda out: out.reshape(out.shape[1], len(out), -1).swapaxes(0, 1)),
    ("temporal_fc_reshapes_to_T_N", "out", "N and T are mixed up: out is (N, T, M)",
     lambda out: out.reshape(out.shape[1], len(out), -1)),
    ("temporal_fc_leaves_out_flat", "out", "out is left flat, (N·T, M): it is (N, T, M)",
     lambda out: out.reshape(-1, out.shape[2])),
    ("temporal_fc_uses_the_last_step", "out", "every step gets the output of the last one",
     lambda out: np.repeat(out[:, -1:], out.shape[1], axis=1)),
) + entries(
    "temporal_fc_backward",
    *((f"temporal_fc_{name}", *row) for name, *row in FLAT),
    ("temporal_fc_sums_db_over_the_batch_alone", "db", "db is not summed over time: b is added at "
     "every step of every sentence", lambda dout: dout.sum(axis=0)),
    ("temporal_fc_sums_db_over_time_alone", "db", "db is not summed over the batch: b is added at "
     "every step of every sentence", lambda dout: dout.sum(axis=1)),
    ("temporal_fc_averages_db", "db", "db is averaged, not summed",
     lambda dout: dout.mean(axis=(0, 1))),
    ("temporal_fc_averages_dw_over_the_batch", "dw", "dw is divided by N: dout has the mean over "
     "the batch already", lambda x, dw: dw / len(x)),
    ("temporal_fc_takes_dw_of_the_last_step", "dw", "dw is that of the last step alone: all steps "
     "share w", lambda x, dout: x[:, -1].T @ dout[:, -1]),
)


# ---------------------------------------------------------------- update rules

def slips(reference, *table):
    """Mistakes of an update rule, from rows of (name, sentence, keywords of the reference)."""
    return entries(reference.__name__, *((name, "w", sentence, partial(reference, **changes))
                                         for name, sentence, changes in table))


NO_ROOT, NO_EPSILON = {"root": lambda mean, epsilon: mean + epsilon}, \
    {"root": lambda mean, epsilon: np.sqrt(mean)}
RULES = [
    *slips(right.sgd,
           ("sgd_climbs", "the weights go uphill: subtract learning_rate·dw", {"sign": 1})),
    *entries("sgd", ("sgd_forgets_the_learning_rate", "w", "the learning rate is left out",
                     lambda w, dws, config: right.sgd(w, dws, {**config, "learning_rate": 1.0}))),
    *slips(
        right.sgd_momentum,
        ("momentum_forgets_the_velocity", "the velocity is not kept: this is plain gradient "
         "descent", {"friction": 0.0}),
        ("momentum_goes_on_for_ever", "the velocity is not multiplied by momentum",
         {"friction": 1.0}),
        ("momentum_steps_late", "the step is taken with the velocity before its update",
         {"stale": True}),
        ("momentum_climbs", "the velocity goes uphill: subtract learning_rate·dw",
         {"scale": -1.0})),
    *entries("sgd_momentum", (
        "momentum_dampens", "w", "dw is multiplied by 1 - momentum: this rule adds "
        "learning_rate·dw in full", lambda w, dws, config: right.sgd_momentum(
            w, dws, config, scale=1 - config.get("momentum", 0.9)))),
    *slips(
        right.rmsprop,
        ("rmsprop_forgets_the_root", "the square root of the cache is left out", NO_ROOT),
        ("rmsprop_swaps_the_decay", "decay_rate and 1 - decay_rate are mixed up", {"swap": True}),
        ("rmsprop_forgets_epsilon", "epsilon is left out", NO_EPSILON),
        ("rmsprop_does_not_average", "dw² is added in full: multiply it by 1 - decay_rate",
         {"damp": False}),
        ("rmsprop_steps_late", "the step is taken with the cache before its update",
         {"stale": True})),
    *slips(
        right.adam,
        ("adam_forgets_the_corrections", "the bias corrections 1 - beta1ᵗ and 1 - beta2ᵗ are left "
         "out", {"correct": (False, False)}),
        ("adam_corrects_m_alone", "v is not corrected: divide it by 1 - beta2ᵗ",
         {"correct": (True, False)}),
        ("adam_corrects_v_alone", "m is not corrected: divide it by 1 - beta1ᵗ",
         {"correct": (False, True)}),
        ("adam_counts_one_step_late", "t is one too large: it is 1 in the first step",
         {"first": 2}),
        ("adam_counts_from_0", "t is 0 in the first step, and 1 - beta1ᵗ with it: add 1 to t first",
         {"first": 0}),
        ("adam_does_not_count", "t stays at 1: it grows with every step", {"steps": False}),
        ("adam_swaps_the_betas", "beta1 and beta2 are mixed up: beta1 is that of m, beta2 that of "
         "v", {"swap": True}),
        ("adam_forgets_the_root", "the square root of v is left out", NO_ROOT),
        ("adam_puts_epsilon_under_the_root", "epsilon is added under the root: √v̂ + epsilon",
         {"root": right.inside}),
        ("adam_forgets_epsilon", "epsilon is left out", NO_EPSILON),
        ("adam_forgets_the_square", "v is the mean of dw, not of dw²", {"power": 1})),
]


# ---------------------------------------------------------------- models

def gradient_of(loss, name, **inputs):
    """The gradient of a model's loss with respect to one of its inputs, by central differences."""
    def objective(shifts):
        return loss(**{**inputs, name: inputs[name] + shifts})

    return right.numerical_gradient(objective, inputs[name].shape, 1e-3)


def gate(before, d):
    """The right way back through ReLU."""
    return np.where(before > 0, d, 0.0)


def two_layer(X, y, reg, W1, b1, W2, b2, *, relu=gate, hand=lambda dscores, d: d,
              gated=lambda dscores, d: d, cache=lambda X, W: (X, W), bias=0.0):
    """The gradients of TwoLayerNet, with hooks for mistakes."""
    hidden = right.fc(X, W1, b1)
    active = right.relu(hidden)
    dscores = right.softmax_loss_gradients(right.fc(active, W2, b2), y)["dx"]
    last = right.fc_gradients(active, W2, b2, dscores)
    dhidden = hand(dscores, relu(hidden, gated(dscores, last["dx"])))
    first = right.fc_gradients(*cache(X, W1), b1, dhidden)
    return {"dW1": first["dw"] + reg * W1, "db1": first["db"] + bias * reg * b1,
            "dW2": last["dw"] + reg * W2, "db2": last["db"] + bias * reg * b2}


def conv_net(X, y, reg, W1, W2, b2, W3, b3, *, relu=gate, first_relu=None, bias=0.0,
             unpool=lambda x, dout: right.max_pool_gradients(x, right.POOL, dout)["dx"],
             hand=lambda dscores, d: d):
    """The gradients of ConvNet, with hooks for mistakes."""
    filtered = right.conv(X, W1)
    pooled = right.max_pool(right.relu(filtered), right.POOL)
    hidden = right.fc(right.rows(pooled), W2, b2)
    active = right.relu(hidden)
    dscores = right.softmax_loss_gradients(right.fc(active, W3, b3), y)["dx"]
    last = right.fc_gradients(active, W3, b3, dscores)
    second = right.fc_gradients(pooled, W2, b2, hand(dscores, relu(hidden, last["dx"])))
    dfiltered = (first_relu or relu)(filtered, unpool(right.relu(filtered), second["dx"]))
    return {"dW1": right.conv_gradients(X, W1, dfiltered)["dw"] + reg * W1,
            "dW2": second["dw"] + reg * W2, "db2": second["db"] + bias * reg * b2,
            "dW3": last["dw"] + reg * W3, "db3": last["db"] + bias * reg * b3}


def captioner(features, captions, null, reg, W_proj, b_proj, W_embed, Wx, Wh, b, W_vocab, b_vocab,
              *, start=lambda d, dh: d["dh0"], words=lambda d, dh: d["dx"], bias=0.0, shift=1,
              counts=lambda words, null: words != null):
    """The gradients of CaptioningRNN, with hooks for mistakes."""
    read, said = captions[:, :-1], captions[:, shift:captions.shape[1] - 1 + shift]
    h0 = right.fc(features, W_proj, b_proj)
    vectors = W_embed[read].transpose(1, 0, 2)
    h = right.rnn(vectors, h0, Wx, Wh, b).transpose(1, 0, 2)
    dscores = right.temporal_softmax_loss_gradients(
        right.temporal_fc(h, W_vocab, b_vocab), said, counts(said, null))["dx"]
    vocab = right.temporal_fc_gradients(h, W_vocab, b_vocab, dscores)
    dh = vocab["dx"].transpose(1, 0, 2)
    d = right.rnn_gradients(vectors, h0, Wx, Wh, b, dh)
    proj = right.fc_gradients(features, W_proj, b_proj, start(d, dh))
    embed = right.word_embedding_gradients(read, W_embed, words(d, dh).transpose(1, 0, 2))
    return {"dW_proj": proj["dw"] + reg * W_proj, "db_proj": proj["db"] + bias * reg * b_proj,
            "dW_embed": embed["dW"] + reg * W_embed, "dWx": d["dWx"] + reg * Wx,
            "dWh": d["dWh"] + reg * Wh, "db": d["db"] + bias * reg * b,
            "dW_vocab": vocab["dw"] + reg * W_vocab, "db_vocab": vocab["db"] + bias * reg * b_vocab}


def exchanged_caches(X, y, reg, W1, b1, W2, b2):
    """TwoLayerNet's way back with the caches of its two layers exchanged."""
    hidden = right.fc(X, W1, b1)
    scores = right.two_layer_scores(X, W1, b1, W2, b2)
    last = right.fc_gradients(X, W1, b1, right.softmax_loss_gradients(scores, y)["dx"])
    first = right.fc_gradients(right.relu(hidden), W2, b2, gate(hidden, last["dx"]))
    return {"dW1": first["dw"], "db1": first["db"], "dW2": last["dw"], "db2": last["db"]}


def penalties(model, loss, backward, weights, biases):
    """Rows for the penalty of a model."""
    def loss_with_biases(**inputs):
        return loss(**inputs) + 0.5 * inputs["reg"] * sum((inputs[b[1:]] ** 2).sum()
                                                          for b in biases.split())

    for name, factor, sentence in (
            ("forgets", 0, "the penalty ½·reg·ΣW² is left out of the loss"),
            ("doubles", 2, "the penalty is reg·ΣW²: the factor ½ is left out")):
        yield (f"{model}_{name}_the_penalty", "loss", sentence,
               lambda reg, factor=factor, **others: loss(reg=factor * reg, **others))
    for name, factor, sentence in (
            ("forgets", 0, "the gradient of the penalty, reg·W, is left out"),
            ("doubles", 2, "the gradient of the penalty ½·reg·ΣW² is reg·W: here it is twice that"),
            ("halves", 0.5, "the gradient of the penalty ½·reg·ΣW² is reg·W: here it is half of "
             "that")):
        yield (f"{model}_{name}_the_penalty_in_gradients", weights, sentence,
               lambda reg, factor=factor, **others: backward(reg=factor * reg, **others))
    yield (f"{model}_penalises_biases", "loss", "the penalty counts the biases, too: it is that of "
           "the weights alone", loss_with_biases)
    yield (f"{model}_penalises_biases_in_gradients", biases, "the gradients of the biases have a "
           "penalty, too: only the weights have one", partial(backward, bias=1.0))


def exchanges(model, backward, *pairs):
    """Rows for two gradients of a model, each under the other's name."""
    for one, other in map(str.split, pairs):
        def change(one=f"d{one}", other=f"d{other}", **inputs):
            found = backward(**inputs)
            return {one: found[other], other: found[one]}
        yield (f"{model}_exchanges_d{one}_and_d{other}", f"d{one} d{other}", f"the gradients of "
               f"{one} and {other} are stored under each other's name", change)


def through_relu(model, backward, outputs):
    """Rows for what goes wrong at ReLU."""
    yield f"{model}_skips_relu", outputs, SKIPPED, partial(backward, relu=no_gate)
    yield (f"{model}_masks_by_dout", outputs, "the mask of ReLU is taken from the gradient: it "
           "belongs to ReLU's input", partial(backward, relu=lambda before, d: gate(d, d)))


def no_gate(before, d):
    """ReLU's way back left out."""
    return d


def captioning(name, sentence, **hooks):
    """A row of the captioner that changes its loss and with it all gradients."""
    outputs = "loss dW_proj db_proj dW_embed dWx dWh db dW_vocab db_vocab"
    return name, outputs, sentence, lambda **inputs: {
        "loss": right.captioning_loss(**inputs, **hooks), **captioner(**inputs, **hooks)}


SKIPPED = "ReLU's backward pass is left out: the gradient is 0 where its input was negative"
HANDED = ("the gradient of the scores is handed to the layer below the last one: it gets the dx of "
          "the last layer")
MODELS = [
    *entries(
        "TwoLayerNet",
        *penalties("TwoLayerNet", right.two_layer_loss, two_layer, "dW1 dW2", "db1 db2"),
        *through_relu("TwoLayerNet", two_layer, "dW1 db1"),
        ("TwoLayerNet_hands_dscores_to_the_first_layer", "dW1 db1", HANDED,
         partial(two_layer, hand=lambda dscores, d: dscores)),
        ("TwoLayerNet_hands_dscores_to_relu", "dW1 db1", HANDED,
         partial(two_layer, gated=lambda dscores, d: dscores)),
        ("TwoLayerNet_unpacks_a_cache_in_another_order", "dW1 db1", OTHER_CACHE,
         partial(two_layer, cache=lambda X, W: (W, X))),
        ("TwoLayerNet_exchanges_caches", "dW1 db1 dW2 db2", "the caches of the two layers are "
         "exchanged: the last layer's backward pass needs the last layer's cache",
         exchanged_caches),
        *exchanges("TwoLayerNet", two_layer, "W1 W2", "b1 b2")),
    *entries(
        "ConvNet",
        *penalties("ConvNet", right.conv_net_loss, conv_net, "dW1 dW2 dW3", "db2 db3"),
        *through_relu("ConvNet", conv_net, "dW1 dW2 db2"),
        ("ConvNet_skips_relu_after_conv", "dW1", SKIPPED + " (the one after the convolution)",
         partial(conv_net, first_relu=no_gate)),
        ("ConvNet_skips_relu_after_fc", "dW1 dW2 db2",
         SKIPPED + " (the one after the hidden layer)",
         partial(conv_net, relu=no_gate, first_relu=gate)),
        ("ConvNet_hands_dscores_to_the_hidden_layer", "dW1 dW2 db2", HANDED,
         partial(conv_net, hand=lambda dscores, d: dscores)),
        ("ConvNet_skips_pooling", "dW1", "the backward pass of max pooling is left out",
         partial(conv_net, unpool=lambda x, dout: dout)),
        *exchanges("ConvNet", conv_net, "W1 W2", "W2 W3", "W1 W3", "b2 b3")),
    *entries(
        "CaptioningRNN",
        *penalties("CaptioningRNN", right.captioning_loss, captioner,
                   "dW_proj dW_embed dWx dWh dW_vocab", "db_proj db db_vocab"),
        captioning("CaptioningRNN_shifts_nothing", "each word is asked to predict itself: the "
                   "target is the next word, captions[:, 1:]", shift=0),
        captioning("CaptioningRNN_counts_the_padding", "the padding <NULL> counts: mask it, words "
                   "!= null", counts=lambda words, null: np.ones(words.shape)),
        captioning("CaptioningRNN_takes_0_for_null", "0 is taken for the id of <NULL>: look it up "
                   "in word_to_idx", counts=lambda words, null: words != 0),
        ("CaptioningRNN_takes_dh_of_the_first_state", "dW_proj db_proj", "the projection gets the "
         "gradient of the first state: it makes h0, whose gradient is dh0",
         partial(captioner, start=lambda d, dh: dh[0])),
        ("CaptioningRNN_sums_dh_for_the_projection", "dW_proj db_proj", "the projection gets the "
         "sum of the gradients of all states: it makes h0, whose gradient is dh0",
         partial(captioner, start=lambda d, dh: dh.sum(axis=0))),
        ("CaptioningRNN_hands_dh_to_the_words", "dW_embed", "the word vectors get dh: they are x "
         "of the recurrent layer, whose gradient is dx",
         partial(captioner, words=lambda d, dh: dh)),
        *exchanges("CaptioningRNN", captioner, "Wx Wh", "W_proj W_vocab")),
]

MISTAKES = [*FC, *RELU, *CONV_FORWARD, *CONV_BACKWARD, *POOL_FORWARD, *POOL_BACKWARD, *SOFTMAX,
            *RNN_STEP, *RNN, *LSTM, *EMBEDDING, *TEMPORAL_FC, *TEMPORAL_LOSS, *RULES, *MODELS]


def of_function(table, function, outputs):
    """Yields the mistakes of one function in a table, and what any function may do."""
    yield from (mistake for mistake in table if mistake.function == function)
    yield Mistake(f"{function}_takes_zeros_of_an_array", function, outputs, "np.zeros(x) wants a "
                  "shape: np.zeros_like(x) makes zeros of x's shape and dtype", zeros_of_an_array)


def zeros_of_an_array(**inputs):
    """np.zeros(x), which raises TypeError."""
    return np.zeros(next(v for v in inputs.values() if np.asarray(v).dtype.kind == "f"))
