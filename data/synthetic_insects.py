"""Drawn ants and bees, and drawn shapes to learn seeing from: pictures without a network.

load_synthetic_insects() stands in for the photographs of data/hymenoptera.py, and
load_synthetic_shapes() for ImageNet: many pictures of other things, on the same grounds.

Everything is painted from two strokes, ellipses and thick lines, with soft edges. Colour
alone does not tell the insects apart: there are yellowish ants and black bees, flowers and
soil under both. What tells is build: the waist, the wings, the stripes, the legs.

S: height and width of a picture in pixels. Coordinates run from -1 to 1, x to the right and
y downwards; colours are (red, green, blue) from 0 to 1.
"""
import numpy as np

INSECTS = ["ants", "bees"]
SHAPES = ["disc", "ring", "triangle", "square", "star", "cross", "striped oval", "dumbbell",
          "chain", "comb", "wheel", "propeller"]


def load_synthetic_insects(seed, num_train, num_val, side=72):
    """Draw ants and bees. Returns the dict of data.hymenoptera.load_image_folder."""
    return _load(_insect, INSECTS, seed, num_train, num_val, side)


def load_synthetic_shapes(seed, num_train, num_val, side=72):
    """Draw shapes of 12 kinds, none of them an insect. Returns the same dict."""
    return _load(_shape, SHAPES, seed, num_train, num_val, side)


def _load(draw, classes, seed, num_train, num_val, side):
    """Training and validation pictures from streams of their own."""
    data = {"classes": classes}
    for part, number, count in (("train", 0, num_train), ("val", 1, num_val)):
        rng = np.random.default_rng([seed, len(classes), number])
        y = rng.permutation(np.arange(count) % len(classes))
        data[f"X_{part}"] = np.stack([_picture(draw, rng, classes[label], side) for label in y])
        data[f"y_{part}"] = y.astype(np.int64)
    return data


def _picture(draw, rng, name, side):
    """One picture (S, S, 3) uint8: a ground, the thing, its light, and the camera's noise."""
    canvas = Canvas(side, _ground(rng, side))
    angle, scale = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.85)
    canvas.place(rng.uniform(-0.25, 0.25, 2), angle, scale, mirrored=rng.random() < 0.5)
    draw(rng, canvas, name)
    if rng.random() < 0.3:  # a blade of grass in front
        canvas.place((0, 0), rng.uniform(0, 2 * np.pi), 1)
        across = rng.uniform(-0.5, 0.5)
        canvas.line((-1.5, across), (1.5, across + rng.uniform(-0.3, 0.3)),
                    rng.uniform(0.02, 0.06), rng.uniform((0.1, 0.3, 0), (0.5, 0.7, 0.3)))
    light = rng.uniform(0.75, 1.2) * rng.uniform(0.93, 1.07, 3)
    noise = rng.normal(0, rng.uniform(0.01, 0.05), canvas.pixels.shape)
    return (np.clip(canvas.pixels * light + noise, 0, 1) * 255).astype(np.uint8)


# ---------------------------------------------------------------- painting

class Canvas:
    """Pixels to paint on, in coordinates of the thing that is drawn."""

    def __init__(self, side, pixels):
        self.pixels = pixels.astype(np.float32)
        self.side = side
        self.y, self.x = np.mgrid[-1:1:side * 1j, -1:1:side * 1j].astype(np.float32)
        self.place((0, 0), 0, 1)

    def place(self, centre, angle, scale, mirrored=False):
        """Turn, scale, mirror and move what is drawn from now on."""
        x, y = self.x - centre[0], self.y - centre[1]
        self.u = (np.cos(angle) * x + np.sin(angle) * y) / scale
        self.v = (np.cos(angle) * y - np.sin(angle) * x) / scale * (-1 if mirrored else 1)
        self.soft = 1.2 / (self.side * scale)  # half the width of an edge

    def ellipse(self, centre, radii, colour, angle=0.0, alpha=1.0):
        """A filled ellipse. Returns how much of each pixel it covers."""
        u, v = self._turned(centre, angle)
        distance = np.hypot(u / radii[0], v / radii[1])
        # The distance from the edge, to first order: exact on the axes, good near the edge.
        return self._paint((distance - 1) * min(radii), colour, alpha)

    def line(self, start, end, thickness, colour, alpha=1.0):
        """A line with round ends."""
        (a, b), (c, d) = start, end
        length = max((c - a) ** 2 + (d - b) ** 2, 1e-9)
        along = np.clip(((self.u - a) * (c - a) + (self.v - b) * (d - b)) / length, 0, 1)
        distance = np.hypot(self.u - a - along * (c - a), self.v - b - along * (d - b))
        return self._paint(distance - thickness / 2, colour, alpha)

    def polygon(self, corners, colour):
        """A filled convex polygon; corners (K, 2) by growing angle."""
        distance = np.full_like(self.u, -np.inf)
        for (a, b), (c, d) in zip(corners, np.roll(corners, -1, axis=0)):
            normal = np.array([d - b, a - c]) / np.hypot(d - b, a - c)
            distance = np.maximum(distance, (self.u - a) * normal[0] + (self.v - b) * normal[1])
        return self._paint(distance, colour, 1)

    def stripes(self, cover, centre, angle, places, width, colour):
        """Bands across the u-axis of an ellipse that has just been painted."""
        u, _ = self._turned(centre, angle)
        for place in places:
            band = np.clip(0.5 - (np.abs(u - place) - width / 2) / (2 * self.soft), 0, 1)
            self._blend(band * cover, colour)

    def _turned(self, centre, angle):
        u, v = self.u - centre[0], self.v - centre[1]
        return np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u

    def _paint(self, distance, colour, alpha):
        """Paint where a signed distance is negative, with a soft edge."""
        cover = alpha * np.clip(0.5 - distance / (2 * self.soft), 0, 1)
        self._blend(cover, colour)
        return cover

    def _blend(self, cover, colour):
        self.pixels = self.pixels + cover[..., None] * (np.asarray(colour) - self.pixels)


def _noise(rng, side, cells):
    """Smooth noise (S, S) from 0 to 1: random values on a coarse grid, interpolated."""
    grid = rng.random((cells + 1, cells + 1))
    place = np.linspace(0, cells, side, endpoint=False)
    low = place.astype(int)
    part = place - low
    rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


GROUNDS = {  # two colours between which the ground wavers
    "leaf": ((0.15, 0.35, 0.10), (0.50, 0.70, 0.30)),
    "soil": ((0.30, 0.20, 0.12), (0.62, 0.48, 0.35)),
    "sand": ((0.65, 0.55, 0.40), (0.90, 0.82, 0.68)),
    "stone": ((0.35, 0.35, 0.37), (0.75, 0.74, 0.72)),
    "petal": ((0.60, 0.30, 0.55), (0.95, 0.75, 0.85)),
    "yellow petal": ((0.75, 0.55, 0.05), (0.98, 0.88, 0.35)),
    "sky": ((0.45, 0.60, 0.80), (0.85, 0.92, 0.98)),
}


def _ground(rng, side):
    """What the thing stands on (S, S, 3): noise of several sizes, blots and blades."""
    dark, light = (np.array(colour) + rng.normal(0, 0.05, 3)
                   for colour in GROUNDS[rng.choice(list(GROUNDS))])
    sizes = rng.choice([2, 4, 8, 16, 32], 3, replace=False)
    weights = rng.dirichlet(np.ones(3))
    mix = sum(weight * _noise(rng, side, cells) for weight, cells in zip(weights, sizes))
    canvas = Canvas(side, dark + mix[..., None] * (light - dark))
    for _ in range(rng.integers(0, 6)):
        colour = np.clip(canvas.pixels[side // 2, side // 2] + rng.normal(0, 0.2, 3), 0, 1)
        if rng.random() < 0.5:
            canvas.ellipse(rng.uniform(-1, 1, 2), rng.uniform(0.05, 0.5, 2), colour,
                           rng.uniform(0, np.pi), rng.uniform(0.3, 0.9))
        else:
            canvas.line(rng.uniform(-1.2, 1.2, 2), rng.uniform(-1.2, 1.2, 2),
                        rng.uniform(0.02, 0.15), colour, rng.uniform(0.3, 0.9))
    return canvas.pixels


# ---------------------------------------------------------------- insects

def _insect(rng, canvas, name):
    """Paint an ant or a bee, head towards positive u, seen from above or from the side."""
    from_above = rng.random() < 0.6
    (_ant if name == "ants" else _bee)(rng, canvas, from_above)


ANT_COLOURS = ((0.05, 0.04, 0.04), (0.20, 0.10, 0.05), (0.45, 0.18, 0.08), (0.65, 0.40, 0.12))


def _ant(rng, canvas, from_above):
    """Three parts with a thin waist between, long bent legs, elbowed antennae, rarely wings."""
    colours = np.clip([ANT_COLOURS[k] + rng.normal(0, 0.03, 3)
                       for k in rng.choice(4, 2, p=(0.4, 0.3, 0.2, 0.1))], 0, 1)
    front, back = colours if rng.random() < 0.3 else (colours[0], colours[0])
    bend = rng.uniform(-0.12, 0.12)
    sides = (-1, 1) if from_above else (1,)
    _legs(rng, canvas, front, sides, hips=(0.36, 0.22, 0.08), reach=rng.uniform(0.45, 0.7),
          thickness=rng.uniform(0.03, 0.05))
    if rng.random() < 0.08:
        _wings(rng, canvas, sides=(-1, 1) if from_above else (-1,), length=0.85)
    fat = rng.uniform(0.8, 1.2)
    cover = canvas.ellipse((-0.52, bend), (0.34 * fat, 0.22 * fat), back)
    if rng.random() < 0.4:
        canvas.stripes(cover, (-0.52, bend), 0, (-0.12, 0.05, 0.2), 0.02, back * 1.4)
    canvas.ellipse((-0.14, bend / 2), (0.07, 0.06), front)
    canvas.line((-0.2, bend / 2), (0.0, 0.0), 0.05, front)
    canvas.ellipse((0.2, 0), (0.26, rng.uniform(0.09, 0.13)), front)
    head = rng.uniform(-0.08, 0.08)
    canvas.ellipse((0.6, head), (0.18, rng.uniform(0.14, 0.19)), front, angle=head)
    for side in (-1, 1):
        elbow = (rng.uniform(0.8, 0.95), head + side * rng.uniform(0.15, 0.35))
        tip = (elbow[0] + rng.uniform(0.1, 0.25), elbow[1] + side * rng.uniform(-0.2, 0.15))
        canvas.line((0.68, head + 0.08 * side), elbow, 0.03, front)
        canvas.line(elbow, tip, 0.04, front)
        canvas.line((0.74, head + 0.06 * side), (0.86, head + 0.02 * side), 0.04, front * 0.7)
    _gloss(rng, canvas, ((-0.5, bend), (0.2, 0.0), (0.6, head)))


def _bee(rng, canvas, from_above):
    """A stout striped abdomen close to a furry thorax, broad clear wings, short legs."""
    dark = np.clip((0.12, 0.08, 0.05) + rng.normal(0, 0.03, 3), 0, 1)
    pale = np.array((rng.uniform(0.55, 0.95), rng.uniform(0.4, 0.7), rng.uniform(0.05, 0.3)))
    if rng.random() < 0.2:  # dark kinds, hardly striped
        pale = dark + rng.uniform(0.05, 0.2)
    fur = pale * 0.8 if rng.random() < 0.6 else dark + 0.12
    bend = rng.uniform(-0.12, 0.12)
    sides = (-1, 1) if from_above else (1,)
    _legs(rng, canvas, dark, sides, hips=(0.38, 0.22, 0.06), reach=rng.uniform(0.25, 0.5),
          thickness=rng.uniform(0.04, 0.07))
    length, width = rng.uniform(0.38, 0.5), rng.uniform(0.22, 0.32)
    centre = (0.02 - length, bend)
    light_abdomen = rng.random() < 0.5
    cover = canvas.ellipse(centre, (length, width), pale if light_abdomen else dark, angle=-bend)
    count = rng.integers(3, 6)
    places = np.linspace(-0.75, 0.7, count) * length
    canvas.stripes(cover, centre, -bend, places, 0.9 * length / count,
                   dark if light_abdomen else pale)
    canvas.ellipse((0.22, 0), (0.27, rng.uniform(0.2, 0.28)), fur)
    for angle in rng.uniform(0, 2 * np.pi, 12):
        start = (0.22 + 0.22 * np.cos(angle), 0.2 * np.sin(angle))
        end = (0.22 + 0.33 * np.cos(angle), 0.31 * np.sin(angle))
        canvas.line(start, end, 0.03, fur * rng.uniform(0.7, 1.2))
    head = rng.uniform(-0.06, 0.06)
    canvas.ellipse((0.56, head), (0.14, rng.uniform(0.17, 0.21)), dark)
    for side in sides:
        canvas.ellipse((0.6, head + 0.14 * side), (0.08, 0.06), dark * 0.5)
    for side in (-1, 1):
        canvas.line((0.64, head + 0.06 * side),
                    (rng.uniform(0.78, 0.9), head + side * rng.uniform(0.1, 0.3)), 0.03, dark)
    _wings(rng, canvas, sides=(-1, 1) if from_above else (-1,), length=rng.uniform(0.7, 0.95))
    _gloss(rng, canvas, (centre, (0.56, head)))


def _legs(rng, canvas, colour, sides, hips, reach, thickness):
    """A bent leg from each hip to each side; the front ones reach forward, the hind ones back."""
    for side in sides:
        for hip, lean in zip(hips, (0.35, -0.05, -0.45)):
            out = reach * rng.uniform(0.8, 1.2)
            lean = (lean + rng.uniform(-0.12, 0.12)) * out / 0.5
            knee = (hip + 0.4 * lean, side * (0.08 + 0.65 * out))
            foot = (hip + 1.2 * lean, side * (0.08 + out + rng.uniform(-0.05, 0.15)))
            canvas.line((hip, 0.05 * side), knee, thickness, colour)
            canvas.line(knee, foot, 0.75 * thickness, colour)


def _wings(rng, canvas, sides, length):
    """Two clear wings on each side, spread or folded back."""
    spread = rng.uniform(0.15, 1.3)  # radians away from the back
    colour = rng.uniform(0.7, 0.95, 3)
    alpha = rng.uniform(0.3, 0.65)
    for side in sides:
        for share, turn in ((0.75, -0.35), (1.0, 0.0)):
            angle = np.pi - side * max(spread + turn * spread, 0.1)
            half = share * length / 2
            centre = (0.2 + half * np.cos(angle), side * 0.08 + half * np.sin(angle))
            canvas.ellipse(centre, (half, share * 0.17), colour * 0.75, angle, alpha)
            canvas.ellipse(centre, (half - 0.025, share * 0.17 - 0.02), colour, angle, alpha)


def _gloss(rng, canvas, places):
    """Small lights on a shining body."""
    strength = rng.uniform(0, 0.5)
    for u, v in places:
        canvas.ellipse((u + 0.03, v - 0.07), (0.08, 0.03), (1, 1, 1), alpha=strength)


# ---------------------------------------------------------------- shapes

def _shape(rng, canvas, name):
    """Paint one of the shapes, in two random colours."""
    colour, other = rng.uniform(0, 1, (2, 3))
    if name in ("disc", "ring", "striped oval"):
        _paint_round(rng, canvas, name, colour, other)
    elif name in ("triangle", "square"):
        corners = 3 if name == "triangle" else 4
        canvas.polygon(0.8 * _around(corners) * (1, rng.uniform(0.7, 1)), colour)
    elif name in ("star", "cross"):
        points = 5 if name == "star" else 4
        for point in 0.9 * _around(points):
            canvas.line((0, 0), point, rng.uniform(0.16, 0.2), colour)
    elif name in ("dumbbell", "chain"):
        _paint_beads(rng, canvas, name, colour, other)
    elif name == "comb":
        canvas.line((-0.8, 0), (0.8, 0), rng.uniform(0.1, 0.25), colour)
        for place in np.linspace(-0.75, 0.75, rng.integers(4, 8)):
            canvas.line((place, 0), (place + rng.uniform(-0.1, 0.1), 0.6), 0.05, colour)
    elif name == "wheel":
        for point in 0.9 * _around(rng.integers(6, 11)):
            canvas.line((0, 0), point, rng.uniform(0.03, 0.07), other)
        canvas.ellipse((0, 0), np.full(2, rng.uniform(0.25, 0.45)), colour)
    else:  # propeller
        for u, v in 0.45 * _around(rng.integers(2, 5)):
            canvas.ellipse((u, v), (0.45, rng.uniform(0.13, 0.2)), colour, np.arctan2(v, u),
                           rng.uniform(0.4, 0.9))
        canvas.ellipse((0, 0), (0.1, 0.1), other)


def _paint_round(rng, canvas, name, colour, other):
    """A disc, a ring or a striped oval."""
    flat = rng.uniform(0.5, 0.75) if name == "striped oval" else rng.uniform(0.8, 1)
    radii = np.array((0.8, 0.8 * flat))
    cover = canvas.ellipse((0, 0), radii, colour)
    if name == "ring":
        canvas.ellipse((0, 0), radii * rng.uniform(0.45, 0.65), other)
    elif name == "striped oval":
        count = rng.integers(3, 6)
        canvas.stripes(cover, (0, 0), 0, np.linspace(-0.55, 0.55, count), 0.7 / count, other)


def _paint_beads(rng, canvas, name, colour, other):
    """Two balls on a bar, or a bent chain of four balls that touch."""
    if name == "dumbbell":
        canvas.line((-0.5, 0), (0.5, 0), rng.uniform(0.06, 0.14), other)
        for u in (-0.55, 0.55):
            canvas.ellipse((u, 0), rng.uniform(0.22, 0.35, 2), colour)
        return
    bend = rng.uniform(-0.5, 0.5)
    for u in (-0.66, -0.22, 0.22, 0.66):
        canvas.ellipse((u, bend * u * u), rng.uniform(0.18, 0.27, 2), colour)


def _around(count):
    """Points evenly on the unit circle, by growing angle: (count, 2)."""
    angles = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)
