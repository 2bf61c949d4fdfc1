"""Handwritten digits drawn by a moving pen: an offline stand-in for MNIST.

Each digit has several ways of writing, and the usual ones are listed more than once.
A way of writing is a list of strokes, a stroke a smooth curve through a few points.
A drawn digit takes one of them and

1. moves each point a little, and all of them with slow waves        (another hand)
2. stretches, slants and rotates the whole                           (another habit)
3. fits it into a box of 20 x 20 pixels and puts its centre of mass
   at the centre of 28 x 28 pixels, as MNIST was made                (LeCun et al., 1998)
4. draws it with a round pen of a certain width, whose pressure
   changes along the stroke and whose edge is more or less soft      (another pen)

NumPy alone is needed, and the same seed draws the same digits.
"""
import numpy as np

SIZE = 28                   # pixels of a picture's side
BOX = 20                    # pixels of the longer side of the digit itself
POINTS = 96                 # places where the pen touches the paper


def load_synthetic_digits(seed, num_train, num_val, num_test):
    """Drawn digits in the form of data.mnist.load_mnist.

    Inputs: seed, a natural number; the sizes of the three parts.
    Returns a dict with X_train (num_train, 1, 28, 28) float32 in [0, 1], y_train
    (num_train,) int64 in 0..9, and X_val, y_val, X_test, y_test alike. The parts
    are independent: asking for fewer training digits leaves the others as they are.
    """
    data = {}
    for number, (part, size) in enumerate((("train", num_train), ("val", num_val),
                                           ("test", num_test))):
        rng = np.random.default_rng([seed, number])
        data[f"y_{part}"] = rng.integers(0, 10, size)
        data[f"X_{part}"] = draw_digits(data[f"y_{part}"], rng)
    return data


def draw_digits(y, rng):
    """Draw one picture for each label.

    Inputs: y (N,) integers in 0..9; rng, a numpy.random.Generator.
    Returns (N, 1, 28, 28) float32 in [0, 1], ink is 1.
    Raises ValueError for a label that is no digit.
    """
    y = np.asarray(y)
    if y.ndim != 1 or y.dtype.kind not in "iu" or ((y < 0) | (y > 9)).any():
        raise ValueError(f"draw_digits: y expects a list of integers from 0 to 9, got {y!r}")
    pen = _deform(_write(y, rng), rng)
    radius = np.clip(rng.lognormal(np.log(1.25), 0.28, (len(y), 1)), 0.7, 2.8)
    pictures = _render(_fit(pen, radius), radius, rng)
    return _centre(pictures)[:, np.newaxis]


# ---------------------------------------------------------------- where the pen goes

def _write(y, rng):
    """The places of the pen, (N, POINTS, 2) in x and y from 0 to 1, y downwards."""
    pen = np.empty((len(y), POINTS, 2))
    jitter = rng.uniform(0.01, 0.07, (len(y), 1, 1))
    way = rng.random(len(y))
    for digit, writings in WRITINGS.items():
        for number, strokes in enumerate(writings):
            chosen = np.flatnonzero((y == digit) & ((way * len(writings)).astype(int) == number))
            points, curve = _curve(strokes)
            moved = points + jitter[chosen] * rng.standard_normal((len(chosen), *points.shape))
            pen[chosen] = curve @ moved
    return pen


def _curve(strokes):
    """(points (K, 2), curve (POINTS, K)): the pen moves along curve @ points.

    The spline is linear in its points, so that one matrix serves every hand. The
    places of the pen are at equal distances for the points as they are.
    """
    points = np.array([point for stroke in strokes for point in stroke], dtype=float)
    pieces, first = [], 0
    for stroke in strokes:
        for start, end in _smooth_runs(stroke):
            pieces.append(_spline(np.eye(len(points))[first + start:first + end]))
        first += len(stroke)
    lengths = [np.linalg.norm(np.diff(piece @ points, axis=0), axis=1) for piece in pieces]
    share = np.cumsum([0, *(length.sum() for length in lengths)])
    ends = np.rint(share / share[-1] * POINTS).astype(int)
    curve = []
    for piece, length, count in zip(pieces, lengths, np.diff(ends)):
        along = np.concatenate([[0], np.cumsum(length)])
        places = np.interp(np.linspace(0, along[-1], count), along, np.arange(len(along)))
        below = np.minimum(places.astype(int), len(along) - 2)
        rest = (places - below)[:, np.newaxis]
        curve.append((1 - rest) * piece[below] + rest * piece[below + 1])
    return points, np.concatenate(curve)


def _smooth_runs(stroke):
    """Slices (start, end) of a stroke between its corners: points that are given twice."""
    corners = [i for i in range(1, len(stroke)) if stroke[i] == stroke[i - 1]]
    return list(zip([0, *corners], [*corners, len(stroke)]))


def _spline(points, steps=24):
    """A dense Catmull-Rom curve through points (K, any number of coordinates)."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points,
                             2 * points[-1:] - points[-2:-1]])
    before, start, end, after = (padded[i:i + len(points) - 1, np.newaxis] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[:, np.newaxis]
    dense = start + t / 2 * (end - before
                             + t * (2 * before - 5 * start + 4 * end - after
                                    + t * (3 * (start - end) + after - before)))
    return np.concatenate([dense.reshape(-1, points.shape[1]), points[-1:]])


def _deform(pen, rng):
    """Slow waves over the paper, then stretching, slant and rotation. pen is (N, POINTS, 2)."""
    N = len(pen)
    pen = pen - 0.5
    for place in (pen, pen[:, :, ::-1]):        # along the axis: uneven sizes; across it: bends
        size = rng.uniform(0, 0.11, (N, 1, 2))
        frequency = rng.uniform(2, 8, (N, 1, 2))
        pen = pen + size * np.sin(frequency * place + rng.uniform(0, 2 * np.pi, (N, 1, 2)))
    stretch = rng.lognormal(-0.08, 0.25, N)
    slant = rng.normal(0.1, 0.28, N)
    angle = rng.normal(0, 0.15, N)
    cos, sin = np.cos(angle), np.sin(angle)
    # x' = stretch·x - slant·y, then the rotation
    transform = np.array([[cos * stretch, -cos * slant - sin],
                          [sin * stretch, -sin * slant + cos]]).transpose(2, 0, 1)
    return pen @ transform.transpose(0, 2, 1)


def _fit(pen, radius):
    """In pixels: the inked box, its longer side BOX, in the middle. radius is (N, 1)."""
    low, high = pen.min(axis=1), pen.max(axis=1)
    longer = (high - low).max(axis=1)[:, np.newaxis]
    scale = (BOX - 2 * radius) / longer
    middle = (low + high)[:, np.newaxis] / 2
    return (pen - middle) * scale[:, np.newaxis] + (SIZE - 1) / 2


# ---------------------------------------------------------------- ink

def _render(pen, radius, rng, block=256):
    """Pictures (N, SIZE, SIZE) of pens of these radii in pixels, (N, 1)."""
    N = len(pen)
    along = np.linspace(0, 1, POINTS)
    pressure = 1 + rng.uniform(0, 0.25, (N, 1)) * np.sin(
        rng.uniform(1, 8, (N, 1)) * along + rng.uniform(0, 2 * np.pi, (N, 1)))
    softness = rng.uniform(0.8, 1.4, (N, 1, 1)).astype(np.float32)
    ink = rng.uniform(1, 1.4, (N, 1, 1)).astype(np.float32)
    radii = (radius * pressure).astype(np.float32)[:, :, np.newaxis]
    pixels = np.arange(SIZE, dtype=np.float32)
    pen = pen.astype(np.float32)
    pictures = np.empty((N, SIZE, SIZE), np.float32)
    for n in range(0, N, block):
        part = slice(n, n + block)
        # distance² - radius² of a pixel from each place of the pen, and its minimum:
        # a column's part and a row's part, so that a place costs one sum over the picture
        columns = (pixels - pen[part, :, :1]) ** 2
        rows = (pixels - pen[part, :, 1:]) ** 2 - radii[part] ** 2
        power = np.full(pictures[part].shape, np.inf, np.float32)
        candidate = np.empty_like(power)
        for place in range(POINTS):
            np.add(rows[:, place, :, np.newaxis], columns[:, place, np.newaxis], out=candidate)
            np.minimum(power, candidate, out=power)
        # Near the edge distance² - r² ≈ 2r·(distance - r): from here the distance to the edge.
        r = radius[part, :, np.newaxis].astype(np.float32)
        edge = np.sqrt(np.maximum(power + r * r, 0)) - r
        pictures[part] = np.clip(ink[part] * (0.5 - edge / softness[part]), 0, 1)
    return pictures


def _centre(pictures):
    """Move the centre of mass of (N, SIZE, SIZE) pictures to pixel SIZE / 2, by whole pixels."""
    margin = (SIZE - BOX) // 2
    padded = np.pad(pictures, ((0, 0), (margin, margin), (margin, margin)))
    for axis in (1, 2):
        mass = pictures.sum(axis=3 - axis)
        centre = mass @ np.arange(SIZE) / mass.sum(axis=1)
        shift = np.clip(np.rint(SIZE / 2 - centre).astype(int), -margin, margin)
        places = np.arange(SIZE) + margin - shift[:, np.newaxis]
        padded = np.take_along_axis(padded, np.expand_dims(places, 3 - axis), axis)
    return padded


# ---------------------------------------------------------------- ways of writing

# Strokes through points (x, y) in a box about 1 high, y downwards; a point given
# twice is a corner, everywhere else the pen turns smoothly.
WRITINGS = {
    0: [
        [[(.55, 0), (.25, .1), (.05, .45), (.15, .85), (.45, 1), (.8, .8), (.9, .4), (.75, .08),
          (.5, 0)]],
        [[(.75, .12), (.45, 0), (.12, .3), (.1, .75), (.45, 1), (.85, .7), (.85, .25), (.55, .02),
          (.4, .12)]],
        [[(.45, 0), (.25, .3), (.2, .7), (.42, 1), (.65, .75), (.68, .3), (.45, 0)]],
        [[(.6, .05), (.3, .2), (.05, .6), (.2, .95), (.55, .9), (.9, .5), (.9, .15), (.6, .02),
          (.4, .15)]],
        [[(.2, .1), (.1, .5), (.25, .95), (.65, .95), (.9, .5), (.75, .1), (.55, .02)]],
        [[(.6, 0), (.2, .25), (.1, .7), (.4, 1), (.8, .75), (.9, .3), (.7, 0), (.45, .1),
          (.55, .3)]],
    ],
    1: [
        *4 * [[[(.5, 0), (.5, .5), (.5, 1)]]],
        *2 * [[[(.3, .22), (.5, 0), (.5, 0), (.5, 1)]]],
        [[(.3, .2), (.52, 0), (.52, 0), (.5, 1)], [(.2, 1), (.8, 1)]],
    ],
    2: [
        [[(.1, .25), (.35, 0), (.7, .1), (.7, .4), (.4, .75), (.05, 1), (.05, 1), (.5, .97),
          (.95, .98)]],
        [[(.1, .2), (.45, 0), (.75, .2), (.6, .55), (.3, .9), (.1, .95), (.12, .78), (.4, .82),
          (.7, 1), (1, .9)]],
        [[(.05, .15), (.4, 0), (.8, .15), (.65, .5), (.2, .95), (.2, .95), (.55, .88), (1, .95)]],
        [[(.2, .15), (.5, 0), (.75, .25), (.65, .7), (.35, 1), (.1, .9), (.2, .68), (.5, .72),
          (1, .95)]],
        [[(0, .1), (.5, 0), (.7, .2), (.45, .6), (.15, .85), (.05, .98), (.2, .98), (.2, .8),
          (.5, .85), (.95, .95)]],
        [[(.1, .08), (.6, .02), (.75, .12), (.5, .5), (.05, .98), (.05, .98), (.5, 1),
          (.9, .95)]],
    ],
    3: [
        [[(.1, .12), (.45, 0), (.75, .2), (.35, .45), (.35, .45), (.8, .65), (.65, .93), (.3, 1),
          (.02, .88)]],
        [[(.1, .02), (.8, .02), (.8, .02), (.4, .4), (.4, .4), (.8, .6), (.7, .92), (.35, 1),
          (.05, .9)]],
        [[(.1, .15), (.45, 0), (.72, .2), (.5, .42), (.35, .46), (.5, .47), (.8, .7), (.55, .97),
          (.1, .92)]],
        [[(.2, .05), (.6, .05), (.7, .25), (.4, .43), (.4, .43), (.7, .55), (.7, .85), (.4, 1),
          (.1, .97)]],
        [[(.05, .2), (.3, 0), (.75, .15), (.3, .5), (.3, .5), (.7, .6), (.6, .9), (.2, 1),
          (0, .85), (.15, .78)]],
        [[(.05, .1), (.4, 0), (.65, .15), (.5, .35), (.25, .42), (.25, .42), (.7, .5), (.85, .75),
          (.5, 1), (0, .9)]],
        [[(0, .2), (.35, 0), (.8, .2), (.6, .42), (.4, .48), (.4, .48), (.8, .6), (.75, .9),
          (.4, 1), (0, .8)]],
    ],
    4: [
        [[(.15, 0), (.1, .25), (.05, .5), (.05, .5), (.45, .52), (.85, .48)],
         [(.72, .08), (.7, .5), (.66, 1)]],
        [[(.65, 0), (.35, .3), (.05, .6), (.05, .6), (.95, .6)], [(.65, 0), (.64, .5), (.65, 1)]],
        [[(.1, .05), (.08, .35), (.35, .52), (.7, .4)], [(.75, 0), (.7, .5), (.65, 1)]],
        [[(.1, .05), (.05, .4), (.3, .5), (.68, .35), (.75, 0), (.75, 0), (.7, .4), (.62, 1)]],
        [[(.3, 0), (.05, .45), (.05, .45), (.8, .5)], [(.6, .25), (.55, .6), (.45, 1)]],
        [[(.2, .1), (.1, .55), (.1, .55), (.5, .5), (.9, .45)], [(.8, 0), (.6, .5), (.4, 1)]],
    ],
    5: [
        [[(.85, 0), (.3, .02), (.3, .02), (.22, .42), (.22, .42), (.55, .36), (.85, .6),
          (.65, .95), (.3, 1), (.02, .87)]],
        [[(.32, .05), (.22, .45), (.22, .45), (.55, .4), (.8, .65), (.6, .95), (.3, 1),
          (.05, .9)], [(.3, .03), (.6, .04), (.95, 0)]],
        [[(.85, .03), (.4, .05), (.25, .3), (.55, .45), (.7, .7), (.5, .95), (.1, .95)]],
        [[(.95, .05), (.4, .08), (.4, .08), (.25, .4), (.55, .5), (.65, .75), (.4, .98),
          (.05, .9)]],
        [[(.35, .1), (.2, .45), (.2, .45), (.5, .5), (.55, .75), (.35, 1), (.05, .95)],
         [(.35, .1), (.7, .05), (1.1, 0)]],
        [[(.3, .05), (.3, .4), (.3, .4), (.6, .45), (.7, .75), (.4, 1), (.1, .98)],
         [(.3, .05), (.75, .05)]],
    ],
    6: [
        [[(.75, 0), (.4, .2), (.12, .55), (.15, .88), (.45, 1), (.75, .82), (.65, .58), (.35, .6),
          (.14, .8)]],
        [[(.35, 0), (.15, .45), (.15, .85), (.45, 1), (.72, .82), (.6, .6), (.35, .62),
          (.18, .8)]],
        [[(.6, 0), (.25, .35), (.1, .75), (.35, 1), (.7, .85), (.7, .55), (.4, .5), (.15, .7)]],
        [[(.4, 0), (.2, .35), (.1, .75), (.3, 1), (.6, .85), (.55, .6), (.3, .65), (.2, .9)]],
        [[(.2, 0), (.08, .4), (.1, .85), (.45, 1), (.85, .85), (.8, .5), (.45, .5), (.25, .75),
          (.35, .97)]],
        [[(.85, .02), (.45, .3), (.15, .7), (.25, 1), (.6, .9), (.55, .68), (.2, .82)]],
    ],
    7: [
        [[(.05, .05), (.5, .03), (.9, .05), (.9, .05), (.6, .5), (.38, 1)]],
        [[(.05, .2), (.1, .03), (.1, .03), (.85, .05), (.85, .05), (.55, .5), (.42, 1)]],
        [[(.05, .15), (.45, .02), (.8, .1), (.62, .55), (.5, 1)]],
        [[(.05, .05), (.85, .05), (.85, .05), (.6, .5), (.4, 1)], [(.3, .5), (.85, .48)]],
        [[(.1, .1), (.5, .05), (.8, .02), (.8, .02), (.7, .5), (.65, 1)]],
        [[(.05, .35), (.2, .1), (.55, .12), (.85, .02), (.85, .02), (.65, .5), (.5, 1)]],
        [[(.05, .4), (.1, .05), (.1, .05), (.5, .04), (.8, .05), (.8, .05), (.7, .5), (.6, 1)]],
    ],
    8: [
        [[(.8, .12), (.45, 0), (.15, .2), (.45, .47), (.8, .75), (.5, 1), (.12, .8), (.4, .5),
          (.8, .22), (.75, .1)]],
        [[(.5, .47), (.2, .25), (.5, 0), (.78, .22), (.5, .47), (.15, .75), (.5, 1), (.85, .75),
          (.5, .47)]],
        [[(.7, .05), (.35, .05), (.3, .3), (.6, .6), (.6, .9), (.3, 1), (.2, .8), (.5, .5),
          (.75, .2), (.68, .05)]],
        [[(.55, .45), (.3, .2), (.55, 0), (.75, .2), (.55, .45), (.25, .75), (.4, 1), (.65, .85),
          (.6, .5)]],
        [[(.9, .1), (.5, 0), (.2, .2), (.5, .45), (.65, .75), (.45, 1), (.2, .85), (.45, .5),
          (.95, .05)]],
        [[(.6, 0), (.25, .15), (.35, .4), (.65, .65), (.6, .95), (.3, .95), (.3, .7), (.6, .4),
          (.75, .15), (.6, 0)]],
        [[(.5, .5), (.1, .25), (.5, 0), (.9, .25), (.5, .5), (.2, .75), (.5, 1), (.8, .75),
          (.5, .5)]],
        [[(.75, .05), (.45, .02), (.25, .2), (.5, .45), (.7, .7), (.5, 1), (.25, .8), (.5, .45),
          (.8, .25), (.75, .0)]],
    ],
    9: [
        *2 * [[[(.8, .15), (.45, 0), (.1, .25), (.35, .5), (.75, .35), (.82, .12), (.82, .12),
                (.75, .55), (.7, 1)]]],
        *2 * [[[(.7, .1), (.35, .05), (.1, .3), (.3, .5), (.7, .3), (.72, .1), (.72, .1),
                (.6, .6), (.4, 1)]]],
        *2 * [[[(.75, .1), (.4, 0), (.1, .2), (.2, .42), (.55, .35), (.75, .1), (.7, .5),
                (.6, 1)]]],
        [[(.65, .4), (.35, .45), (.3, .15), (.6, 0), (.72, .2), (.68, .6), (.66, 1)]],
        [[(.8, .12), (.4, .02), (.12, .28), (.4, .48), (.78, .25), (.78, .25), (.75, .6),
          (.6, .92), (.2, 1)]],
        [[(.75, .15), (.5, 0), (.2, .15), (.25, .38), (.6, .35), (.75, .15), (.7, .6), (.5, .95),
          (.15, .9)]],
    ],
}
