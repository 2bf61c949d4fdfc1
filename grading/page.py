"""The page of --html: every verdict, and wrong arrays as pictures. It needs no network."""
import html
import math

import numpy as np

from . import contract
from .report import COLOURS, MARKS, details

MOST = 16                       # rows and columns of an array that are drawn
NUMBERS = 8                     # with at most so many columns the numbers are in the cells
# Blue and orange are told apart by the colour-blind; on all shades of them black can be read.
NEGATIVE, ZERO, POSITIVE = (86, 156, 214), (255, 255, 255), (240, 150, 50)

PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{total}</title><style>
body {{ font-family: sans-serif; margin: 2em; max-width: 75em; }}
h2 {{ font-size: 1em; margin-bottom: 0.3em; }}
p {{ margin: 0.2em 0 0.2em 2em; }}
figure {{ margin: 0.8em 0 1.5em 2em; }}
figure svg {{ margin-right: 1.5em; vertical-align: top; }}
</style></head><body>
<h1>{total}</h1>
{verdicts}
</body></html>
"""


def page(report, score=""):
    """The page as text; score is the beginning of its first line."""
    parts = []
    for name, verdict in report.verdicts.items():
        colour = COLOURS[verdict.status][1]
        parts.append(f'<h2><code>{name}</code> <span style="color:{colour}">'
                     f"{MARKS[verdict.status]}</span></h2>")
        parts += [f"<p>{html.escape(line)}</p>" for line in details(verdict)]
        parts += map(figure, verdict.wrong)
    return PAGE.format(total=html.escape(score + report.summary()), verdicts="\n".join(parts))


def figure(finding):
    """Heat maps of a wrong array: what is expected, what came, and the difference."""
    actual, truth = finding.actual, finding.case.truth[finding.output].given(finding.seen)
    place, framed, expected = (0,) * actual.ndim, "", nearest(truth, actual)
    if expected is not None and expected.shape == actual.shape:
        with np.errstate(invalid="ignore"):
            difference = actual - expected
        place = np.unravel_index(np.argmax(np.nan_to_num(np.abs(difference), nan=np.inf)),
                                 actual.shape)
        maps = [("expected", expected, largest(expected, actual), place),
                ("actual", actual, largest(expected, actual), place),
                ("difference, actual − expected", difference, largest(difference), place)]
        framed = "; framed: the largest difference"
    else:
        maps = [(f"{word}, shape {array.shape}", array, largest(array), (0,) * array.ndim)
                for word, array in (("expected", expected), ("actual", actual))
                if expected is not None and array.ndim >= 2]
    pictures = [heat_map(title, *shown(array, at), scale, framed)
                for title, array, scale, at in maps]
    where = "".join(f"{index}, " for index in place[:-2])
    caption = (f"{finding.output}{f'[{where}:, :]' if where else ''} in the case "
               f"{finding.case.describe()}{framed}")
    return (f"<figure>{''.join(pictures)}<figcaption>{html.escape(caption)}</figcaption></figure>"
            if pictures else "")


def nearest(truth, actual):
    """The right array, of several the one nearest to a wrong one; None if it is not known."""
    if isinstance(truth, contract.Either):
        return nearest(truth.truths[0], actual)
    if isinstance(truth, contract.Tolerated):
        return nearest(truth.right, actual)
    if isinstance(truth, contract.Exact):
        return truth.array
    if actual.shape != truth.shape:
        return None
    if isinstance(truth, (contract.Between, contract.Shared)):
        return np.where(np.isnan(actual), truth.low, np.clip(actual, truth.low, truth.high))
    if isinstance(truth, contract.Dropped):
        return np.where(actual == 0, 0.0, truth.values)
    if isinstance(truth, contract.Following):
        return np.where(truth.kept, truth.values, 0.0)
    return None


def largest(*arrays):
    """The largest size of a finite number in the arrays: the end of the scale of colours."""
    sizes = [np.abs(array[np.isfinite(array)]).max(initial=0) for array in arrays]
    return float(max(sizes)) or 1.0


def shown(array, place):
    """(the part of the last two axes around a place, its first row and column, the place)."""
    panel = array[tuple(place[:-2])]
    starts = [max(0, min(index - MOST // 2, size - MOST))
              for index, size in zip(place[-2:], panel.shape)]
    rows, columns = (slice(start, start + MOST) for start in starts)
    return panel[rows, columns], starts, place[-2:]


def heat_map(title, cells, starts, place, scale, framed=True):
    """An SVG: a square for each number of a matrix, with a scale of the colours below."""
    size = 44 if cells.shape[1] <= NUMBERS else 16
    left, top = 24, 38
    width = max(left + size * cells.shape[1], 180) + 2
    height = top + size * len(cells) + 46
    parts = [text(0, 14, title, "start", 13)]
    for j in range(cells.shape[1]):
        parts.append(text(left + size * (j + 0.5), top - 5, starts[1] + j))
    for i, row in enumerate(cells):
        parts.append(text(left - 4, top + size * (i + 0.5) + 3, starts[0] + i, "end"))
        for j, value in enumerate(row):
            x, y = left + size * j, top + size * i
            parts.append(f'<rect x="{x}" y="{y}" width="{size}" height="{size}" '
                         f'fill="{colour(value / scale)}" stroke="#888" stroke-width="0.5"/>')
            if size > 16 or not math.isfinite(value):
                number = f"{value:.3g}" if size > 16 else "!"
                parts.append(text(x + size / 2, y + size / 2 + 4, number))
    if framed:
        parts.append(f'<rect x="{left + size * (place[1] - starts[1])}" '
                     f'y="{top + size * (place[0] - starts[0])}" width="{size}" height="{size}" '
                     'fill="none" stroke="black" stroke-width="2.5"/>')
    y = height - 32
    parts += [f'<rect x="{left + 6 * k}" y="{y}" width="6" height="10" '
              f'fill="{colour(k / 10 - 1)}"/>' for k in range(21)]
    parts += [text(left + 126 * (k + 1) / 2, y + 22, f"{k * scale:.3g}") for k in (-1, 0, 1)]
    return (f'<svg role="img" aria-label="{html.escape(title)}" width="{width}" height="{height}" '
            f'font-family="sans-serif">{"".join(parts)}</svg>')


def text(x, y, words, anchor="middle", size=10):
    """A text in an SVG."""
    return (f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}">'
            f"{html.escape(str(words))}</text>")


def colour(share):
    """The colour of a number between -1 and 1; grey for what is none."""
    if not math.isfinite(share):
        return "#bbb"
    end = NEGATIVE if share < 0 else POSITIVE
    mixed = (round(zero + (other - zero) * abs(share)) for zero, other in zip(ZERO, end))
    return "#" + "".join(f"{part:02x}" for part in mixed)
