"""Draws figures of derivations.md and results.md into docs/figures:  python docs/draw_figures.py

Most are drawings; weight_scales.png shows a run that docs/results.json holds.
"""
import argparse
import json
import math
import pathlib

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.ticker import PercentFormatter

STORED = pathlib.Path(__file__).resolve().parent / "results.json"
FOLDER = STORED.parent / "figures"
INPUT, WEIGHTS, OUTPUT, GRADIENT = "#cfe2f3", "#fce5cd", "#d9ead3", "#cc0000"


def new_axes(width, height, x_limits, y_limits):
    """(figure, axes) without ticks or frame, one unit as wide as high."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    axes = figure.subplots()
    axes.set(xlim=x_limits, ylim=y_limits, aspect="equal")
    axes.set_axis_off()
    return figure, axes


def save(figure, name):
    """Write docs/figures/NAME."""
    figure.savefig(FOLDER / name)


def matrix(axes, x, y, rows, columns, name, colour, row_label, column_label):
    """A rectangle of rows x columns with its name in it and its sizes beside it; (x, y) is its
    upper left corner."""
    axes.add_patch(Rectangle((x, y - rows), columns, rows, facecolor=colour, edgecolor="black"))
    axes.text(x + columns / 2, y - rows / 2, name, ha="center", va="center", fontsize=13)
    axes.text(x - 0.15, y - rows / 2, row_label, ha="right", va="center", style="italic")
    axes.text(x + columns / 2, y + 0.12, column_label, ha="center", va="bottom", style="italic")


def fully_connected():
    """Y = XW + 1b and its three gradients, as shapes."""
    N, D, M = 1.6, 2.6, 2.0
    figure, axes = new_axes(10.5, 7, (-0.6, 14.2), (-11.7, 0.7))
    dY, dX, dW = (rf"$\partial L/\partial {name}$" for name in "YXW")

    def product(y, left, right, result, extra=None):
        """One line: result = left · right; each is (rows, columns, name, colour, labels)."""
        x = 0
        middle = y - max(part[0] for part in (left, right, result)) / 2
        for part, sign in ((result, "="), (left, "·"), (right, extra or "")):
            rows, columns, *rest = part
            matrix(axes, x, middle + rows / 2, rows, columns, *rest)
            axes.text(x + columns + 0.45, middle, sign, ha="center", va="center", fontsize=16)
            x += columns + 1.45
        return x, middle

    end, middle = product(0, (N, D, "$X$", INPUT, "N", "D"), (D, M, "$W$", WEIGHTS, "D", "M"),
                          (N, M, "$Y$", OUTPUT, "N", "M"), extra="+")
    matrix(axes, end, middle + 0.3, 0.6, M, r"$b^\mathsf{T}$", WEIGHTS, "1", "M")
    axes.text(end + M + 0.3, middle, "for each of the N rows", va="center")
    product(-3.3, (N, M, dY, OUTPUT, "N", "M"), (M, D, r"$W^\mathsf{T}$", WEIGHTS, "M", "D"),
            (N, D, dX, INPUT, "N", "D"))
    product(-6.2, (D, N, r"$X^\mathsf{T}$", INPUT, "D", "N"), (N, M, dY, OUTPUT, "N", "M"),
            (D, M, dW, WEIGHTS, "D", "M"))
    product(-9.8, (0.6, N, r"$\mathbf{1}^\mathsf{T}$", "white", "1", "N"),
            (N, M, dY, OUTPUT, "N", "M"),
            (0.6, M, r"$(\partial L/\partial b)^\mathsf{T}$", WEIGHTS, "1", "M"))
    save(figure, "fully_connected.png")


def convolutions():
    """The first and the last place of the kernel in the three operations."""
    figure = Figure(figsize=(11, 4.9), layout="constrained", dpi=120)
    size, kernel = 4, 2
    names = (("filtering", 0, "abcd"), ("valid convolution", 0, "dcba"),
             ("full convolution", kernel - 1, "dcba"))
    for axes, (name, margin, letters) in zip(figure.subplots(1, 3), names):
        axes.set(xlim=(-1.3, size + 1.3), ylim=(size + 1.2, -2.4), aspect="equal")
        axes.set_axis_off()
        places = size - kernel + 1 + 2 * margin
        axes.text(size / 2, -1.3, f"{name}\n{places} x {places} places", ha="center", va="bottom",
                  fontsize=12)
        for i in range(size):
            for j in range(size):
                axes.add_patch(Rectangle((j, i), 1, 1, facecolor=INPUT, edgecolor="0.6"))
        for row, column, line in ((-margin, -margin, "solid"),
                                  (size - kernel + margin, size - kernel + margin, "dashed")):
            for place, letter in enumerate(letters):
                i, j = row + place // kernel, column + place % kernel
                inside = 0 <= i < size and 0 <= j < size
                axes.add_patch(Rectangle((j, i), 1, 1, facecolor=WEIGHTS, edgecolor="0.6",
                                         alpha=0.9 if inside else 0.45))
                axes.text(j + 0.5, i + 0.5, letter, ha="center", va="center", fontsize=13)
            axes.add_patch(Rectangle((column, row), kernel, kernel, fill=False, linewidth=2,
                                     linestyle=line))
    figure.supxlabel("image 4 x 4 (blue), kernel 2 x 2 with the weights a b / c d (orange) "
                     "at its first place (solid) and its last (dashed);\n"
                     "convolution turns the kernel by 180°, and outside of the image there is 0",
                     fontsize=11)
    save(figure, "convolutions.png")


def box(axes, x, y, text, colour):
    """A rounded box around (x, y)."""
    axes.add_patch(FancyBboxPatch((x - 0.55, y - 0.3), 1.1, 0.6, boxstyle="round,pad=0.05",
                                  facecolor=colour, edgecolor="black"))
    axes.text(x, y, text, ha="center", va="center", fontsize=13)


def arrow(axes, start, end, colour):
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, color=colour,
                                   linewidth=1.4, shrinkA=0, shrinkB=0))


def through_time():
    """Three steps of a recurrent network: values forward in black, gradients back in red."""
    figure, axes = new_axes(11, 5, (-0.9, 11.4), (-2.7, 2.5))
    box(axes, 0, 0, "$h_0$", OUTPUT)
    for t in range(1, 4):
        x = 3.2 * t
        box(axes, x, 0, f"$h_{t}$", OUTPUT)
        box(axes, x, -1.7, f"$x_{t}$", INPUT)
        arrow(axes, (x - 2.6, 0.12), (x - 0.62, 0.12), "black")
        arrow(axes, (x - 0.62, -0.12), (x - 2.6, -0.12), GRADIENT)
        arrow(axes, (x - 0.15, -1.33), (x - 0.15, -0.37), "black")
        arrow(axes, (x + 0.15, -0.37), (x + 0.15, -1.33), GRADIENT)
        arrow(axes, (x - 0.15, 0.37), (x - 0.15, 1.4), "black")
        arrow(axes, (x + 0.15, 1.4), (x + 0.15, 0.37), GRADIENT)
        axes.text(x + 0.05, 1.5, f"$G_{t}$", color=GRADIENT, ha="left", va="bottom", fontsize=13)
        axes.text(x - 1.6, 0.2, "$W_h$", ha="center", va="bottom", fontsize=11)
        axes.text(x - 1.6, -0.22, rf"$\frac{{\partial L}}{{\partial a_{t}}}W_h^\mathsf{{T}}$",
                  ha="center", va="top", color=GRADIENT, fontsize=13)
        axes.text(x - 0.25, -0.85, "$W_x$", ha="right", va="center", fontsize=11)
        axes.text(x + 0.25, -0.85, rf"$\frac{{\partial L}}{{\partial a_{t}}}W_x^\mathsf{{T}}$",
                  ha="left", va="center", color=GRADIENT, fontsize=13)
    axes.text(6.4, 2.25, "the layers above", ha="center", va="center", fontsize=12)
    axes.text(5.25, -2.5, "black: values, forwards     red: gradients, backwards; "
              "where two red arrows meet they add up", ha="center", va="center", fontsize=11)
    save(figure, "through_time.png")


def weight_scales():
    """What comes of five layers, against the scale of their initial weights (a run's figures)."""
    run = json.loads(STORED.read_text(encoding="utf-8"))["weight_scales"]
    figure = Figure(figsize=(10, 4), layout="constrained", dpi=120)
    left, right = figure.subplots(1, 2)
    for name, label, style in (("plain", "without batch normalisation", "o-"),
                               ("batchnorm", "with batch normalisation", "s-")):
        left.plot(run["scales"], run[name]["accuracies"], style, label=label)
        right.plot(run["scales"], run[name]["losses"], style, label=label)
    left.set(ylabel="best validation accuracy", ylim=(0, 1))
    left.yaxis.set_major_formatter(PercentFormatter(1))
    right.set(ylabel="training loss of the last epoch", yscale="log")
    for axes in (left, right):
        axes.axvline(math.sqrt(2 / 100), color="0.6", linestyle="dotted",
                     label=r"$\sqrt{2/\mathrm{inputs}}$")
        axes.set(xlabel="standard deviation of the initial weights", xscale="log")
    right.legend(loc="upper left")
    save(figure, "weight_scales.png")


def main(argv=None):
    """Draw all of them."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    FOLDER.mkdir(exist_ok=True)
    fully_connected()
    convolutions()
    through_time()
    weight_scales()


if __name__ == "__main__":
    main()
