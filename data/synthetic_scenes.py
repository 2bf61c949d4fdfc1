"""Drawn scenes with true captions: an offline stand-in for the captions of COCO.

A scene is one to three coloured shapes, each in a cell of its own of a 2 x 2 grid and moved
a little in it, so that "above" and "left of" are never a matter of taste: the centres of two
shapes differ by at most 2·JITTER along an axis, or by at least CELL - 2·JITTER.

What the network sees of a picture is made from its pixels by fixed steps:

1. masks: how close each pixel's colour is to each of the colours
2. correlation of each mask with a template of each shape in each size, of sum 0 and length 1
3. the maximum over each cell of the grid
4. in each cell, the strongest template and colour if it exceeds THRESHOLD: a shape is found
5. a list of the shapes that were found, from left to right and from top to bottom: SCALE for
   the cell, the colour, the size and the shape of the first, of the second, of the third;
   0 for all else

Of colour, size and shape each has numbers of its own, so that a network can describe what
it has never seen together. What it is tested on it has never seen: the features themselves
say whether a scene is for training or for validation, so that none are in both.

I: pictures, S: pixels of a picture's side, N: captions, T: words of a caption, V: words of
the vocabulary, D: features. Centres and radii are in pixels, x to the right, y downwards.
"""
import itertools
import math
import re
import zlib
from dataclasses import dataclass

import numpy as np

from data.coco import SPECIAL_WORDS, CaptionFeatures, encode_captions

SIZE = 48                   # pixels of a picture's side
CELLS = 2                   # cells along a side
CELL = SIZE // CELLS
JITTER = 4                  # the farthest that a shape is from the middle of its cell, by axis
MARGIN = CELL // 2          # the difference of centres from which on a relation holds
UNEVEN = 0.07               # by so much a shape is larger or smaller than its size says, at most
MOST = 3                    # shapes of a scene
HELD_OUT = 5                # one in so many different scenes is kept for validation
THRESHOLD = 3.0             # a shape's own template gives about 5 (small) or 8 (large)
SCALE = 5.0                 # few features are not 0: with ones a network hardly notices them

SHAPES = ("circle", "square", "triangle")
COLOURS = {"red": (0.85, 0.10, 0.10), "green": (0.10, 0.65, 0.20), "blue": (0.10, 0.25, 0.90),
           "yellow": (0.95, 0.85, 0.10), "purple": (0.65, 0.10, 0.75)}
INNER = 0.7                 # of a triangle's inscribed circle, for a radius of 1
RADII = {"small": 4.5, "large": 7.5}
ATTRIBUTES = {"size": tuple(RADII), "colour": tuple(COLOURS), "shape": SHAPES}
OPENINGS = ("", "there is ")
# The axis on which the second centre is clearly larger. There is no "right of" nor "below": of
# two shapes it is always the upper or the left one that comes first.
RELATIONS = {"left of": 0, "above": 1}
CAPTION_LENGTH = 14         # <START>, the longest caption, <END>

_OBJECT = "a ({}) ({}) ({})".format(*("|".join(words) for words in ATTRIBUTES.values()))
_CAPTION = "(?:{})({})(?: ({}) ({}))?".format("|".join(OPENINGS), _OBJECT, "|".join(RELATIONS),
                                              _OBJECT)


@dataclass(frozen=True)
class SceneObject:
    """One shape of a scene; `centre` is (x, y) in pixels."""
    size: str
    colour: str
    shape: str
    centre: tuple

    def __str__(self):
        return f"a {self.size} {self.colour} {self.shape}"


@dataclass(frozen=True)
class CaptionCheck:
    """What is right about a caption: words by attribute, and whether all of it is true."""
    right: dict             # "size", "colour", "shape" -> words that are right
    total: dict             # the same -> such words in the caption
    true: bool


def load_synthetic_scenes(seed, num_train, num_val, captions_per_picture=12):
    """Drawn scenes and their captions in the form of data.coco.load_coco.

    Inputs: seed, a natural number; the numbers of pictures of both parts; the most
    captions that a picture gets (a scene has two to twelve, however many are asked for).

    Returns the dict of load_coco, with D = 42 features, T = 14 and these differences:
    - urls_train, urls_val: names of the pictures, and folder is None: there are no files
    - pictures_train, pictures_val: (I, 48, 48, 3) uint8
    - scenes_train, scenes_val: lists of I scenes, tuples of SceneObject
    The parts are drawn independently: another num_train leaves the validation as it is.
    No features of one part are in the other.
    """
    idx_to_word = _vocabulary()
    word_to_idx = {word: i for i, word in enumerate(idx_to_word)}
    data = {"idx_to_word": idx_to_word, "word_to_idx": word_to_idx, "folder": None}
    for number, (part, size) in enumerate((("train", num_train), ("val", num_val))):
        # One stream for each kind of choice: more captions leave the scenes as they are.
        scene_rng, picture_rng, caption_rng = (
            np.random.default_rng([seed, number, stream]) for stream in range(3))
        scenes, pictures, features = _draw_part(part, size, scene_rng, picture_rng)
        sentences, owners = [], []
        for i, scene in enumerate(scenes):
            captions = true_captions(scene)
            for choice in caption_rng.permutation(len(captions))[:captions_per_picture]:
                sentences.append(captions[choice])
                owners.append(i)
        data |= {
            f"X_{part}": CaptionFeatures(features, np.array(owners, np.int64)),
            f"y_{part}": encode_captions(sentences, word_to_idx, CAPTION_LENGTH),
            f"urls_{part}": [f"{part} scene {i}" for i in range(size)],
            f"pictures_{part}": pictures, f"scenes_{part}": scenes}
    return data


def _draw_part(part, size, scene_rng, picture_rng):
    """`size` scenes of a part, their pictures and their features."""
    scenes, pictures, features = [], [], []
    while len(scenes) < size:
        drawn = [_invent_scene(scene_rng) for _ in range(256)]
        drawn_pictures = draw_scenes(drawn, picture_rng)
        # In quarters, which stay nearer to the processor.
        seen = np.concatenate([scene_features(few) for few in np.split(drawn_pictures, 4)])
        mine = [i for i, row in enumerate(seen) if _part_of(row) == part][:size - len(scenes)]
        scenes += [drawn[i] for i in mine]
        pictures.append(drawn_pictures[mine])
        features.append(seen[mine])
    return scenes, np.concatenate(pictures), np.concatenate(features)


def _part_of(features):
    """The part that a scene with these features (D,) belongs to, as if by chance."""
    return "train" if zlib.crc32(features.tobytes()) % HELD_OUT else "val"


# ---------------------------------------------------------------- scenes and captions

def true_captions(scene):
    """All captions of a scene: its only shape, or each pair of shapes that a relation holds for.

    A shape that looks like another one of the scene is not mentioned in a relation.
    """
    names = [str(thing) for thing in scene]
    statements = names
    if len(scene) > 1:
        statements = [f"{first} {relation} {second}"
                      for first, second in itertools.permutations(scene, 2)
                      for relation in RELATIONS
                      if _holds(relation, first, second)
                      and names.count(str(first)) == names.count(str(second)) == 1]
    return [opening + statement for statement in statements for opening in OPENINGS]


def check_caption(scene, sentence):
    """Compare a sentence with a scene, word for word and as a whole.

    A mentioned object is compared with the object of the scene that it fits best; words for
    size, colour and shape outside of "a SIZE COLOUR SHAPE" are wrong. The whole is true if it
    is a caption, each mentioned object exists as it is described, and the relation holds
    between two such objects by at least MARGIN.

    Inputs: scene, a tuple of SceneObject; sentence, a string. Returns a CaptionCheck.
    """
    words = sentence.split()
    total = {name: sum(word in values for word in words) for name, values in ATTRIBUTES.items()}
    right = dict.fromkeys(ATTRIBUTES, 0)
    for mentioned in re.findall(rf"\b{_OBJECT}\b", sentence):
        fits = [[word == getattr(thing, name) for name, word in zip(ATTRIBUTES, mentioned)]
                for thing in scene]
        for name, fit in zip(ATTRIBUTES, max(fits, key=sum)):
            right[name] += fit
    return CaptionCheck(right, total, _is_true(scene, " ".join(words)))


def _is_true(scene, sentence):
    """Whether a sentence is a caption and true."""
    match = re.fullmatch(_CAPTION, sentence)
    if not match:
        return False
    first, relation, second = match.group(1), match.group(5), match.group(6)
    firsts = [thing for thing in scene if str(thing) == first]
    if relation is None:
        return bool(firsts)
    return any(_holds(relation, one, other) for one in firsts for other in scene
               if str(other) == second)


def _holds(relation, first, second):
    """Whether two objects are clearly in this relation."""
    axis = RELATIONS[relation]
    return second.centre[axis] - first.centre[axis] >= MARGIN


def _vocabulary():
    """The list of all words: special ones, then the others in alphabetical order."""
    texts = [*OPENINGS, *RELATIONS, *itertools.chain(*ATTRIBUTES.values()), "a"]
    return [*SPECIAL_WORDS, *sorted(set(" ".join(texts).split()))]


def _invent_scene(rng):
    """A tuple of one to three SceneObjects that have at least one caption."""
    while True:
        count = rng.choice([1, 2, 3], p=[0.3, 0.55, 0.15])
        scene = []
        for cell in rng.permutation(CELLS ** 2)[:count]:
            looks = {name: values[rng.integers(len(values))]
                     for name, values in ATTRIBUTES.items()}
            scene.append(SceneObject(**looks, centre=_centre(cell, looks, rng)))
        if true_captions(scene):
            return tuple(scene)


def _centre(cell, looks, rng):
    """Somewhere near the middle of a cell, where the picture's edge cuts nothing off."""
    middle = (np.array([cell % CELLS, cell // CELLS]) + 0.5) * CELL
    x, y = middle + rng.uniform(-JITTER, JITTER, 2)
    if looks["shape"] == "triangle":            # the one that reaches farther than its radius
        inner = INNER * (1 + UNEVEN) * RADII[looks["size"]]
        x = np.clip(x, math.sqrt(3) * inner, SIZE - math.sqrt(3) * inner)
        y = max(y, 2 * inner)
    return float(x), float(y)


# ---------------------------------------------------------------- pictures

def draw_scenes(scenes, rng):
    """Draw scenes on light grounds, with uneven sizes, colours and light, and with noise.

    Inputs: scenes, a list of I scenes; rng, a numpy.random.Generator.
    Returns (I, S, S, 3) uint8.
    """
    canvas = np.ones((len(scenes), SIZE, SIZE, 3), np.float32)
    canvas *= rng.uniform(0.8, 0.95, (len(scenes), 1, 1, 3)).astype(np.float32)
    for picture, scene in zip(canvas, scenes):
        for thing in scene:
            radius = RADII[thing.size] * rng.uniform(1 - UNEVEN, 1 + UNEVEN)
            colour = COLOURS[thing.colour] + rng.uniform(-0.05, 0.05, 3)
            cover = _cover(thing.shape, radius, thing.centre)[..., np.newaxis]
            picture += cover * (colour.astype(np.float32) - picture)
    canvas += 0.03 * rng.standard_normal(canvas.shape, np.float32)
    return np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8)


def _cover(shape, radius, centre):
    """How much of each pixel a shape covers, (S, S) float32 from 0 to 1.

    The shapes of one radius have nearly the same area: that of the circle.
    """
    pixels = np.arange(SIZE, dtype=np.float32) + 0.5
    x, y = pixels - np.float32(centre[0]), (pixels - np.float32(centre[1]))[:, np.newaxis]
    if shape == "circle":
        distance = np.hypot(x, y) - radius
    elif shape == "square":
        distance = np.maximum(np.abs(x), np.abs(y)) - 0.89 * radius
    else:
        # Inside the three sides of an equilateral triangle; its base is below.
        sides = np.maximum(np.sqrt(0.75) * np.abs(x) - 0.5 * y, y)
        distance = sides - INNER * radius
    return np.clip(0.5 - distance, 0, 1).astype(np.float32)


# ---------------------------------------------------------------- features

def scene_features(pictures):
    """What the network sees of pictures: see the steps at the top of this file.

    Input: pictures (I, S, S, 3) uint8; not too many at once, each takes half a megabyte.
    Returns (I, D) float32, each 0 or SCALE: for each colour, size, shape and cell, in this
    order, whether it is that of the first, second, third shape.
    """
    templates = _templates()
    scaled = pictures[:, np.newaxis] / np.float32(255)
    colours = np.array(list(COLOURS.values()), np.float32)[:, np.newaxis, np.newaxis]
    # The background and other colours are farther than 0.5 from each of the colours.
    distances = np.sqrt(np.square(scaled - colours).sum(axis=-1))
    masks = np.clip(1.5 - 3 * distances, 0, 1)
    used = masks.any(axis=(2, 3))               # the other colours match nothing
    # Correlation theorem: F(correlation) = F(mask) · conj(F(template))
    matches = np.fft.irfft2(np.fft.rfft2(masks[used])[:, np.newaxis] * templates, s=(SIZE, SIZE))
    cells = np.zeros((*used.shape, len(templates), CELLS, CELLS), np.float32)
    cells[used] = matches.reshape(*matches.shape[:2], CELLS, CELL, CELLS, CELL).max(axis=(3, 5))
    cells = cells.reshape(*used.shape, len(RADII), len(SHAPES), CELLS ** 2)
    found = (cells == cells.max(axis=(1, 2, 3), keepdims=True)) & (cells > THRESHOLD)
    return SCALE * _listed(found).reshape(len(pictures), -1).astype(np.float32)


def _listed(found):
    """What is found in each cell (I, colours, sizes, shapes, cells), as a list of shapes.

    Returns (I, colours + sizes + shapes + cells, MOST) booleans.
    """
    occupied = found.any(axis=(1, 2, 3))
    # The occupied cells first, in the order of reading.
    order = np.argsort(~occupied, axis=1, kind="stable")[:, :MOST]
    places = np.arange(found.shape[4])[:, np.newaxis] == order[:, np.newaxis]
    places &= np.take_along_axis(occupied, order, axis=1)[:, np.newaxis]
    things = np.take_along_axis(found, order[:, np.newaxis, np.newaxis, np.newaxis], axis=4)
    return np.concatenate([things.any(axis=(2, 3)), things.any(axis=(1, 3)),
                           things.any(axis=(1, 2)), places], axis=1)


def _templates():
    """Conjugate transforms of the templates, (shapes · sizes, S, S // 2 + 1).

    A template is a shape around pixel 0 minus its surroundings, of sum 0, so that an even
    mask gives 0, and of length 1, so that a shape's own template answers it best.
    """
    covers = np.stack([_cover(shape, radius, (SIZE / 2 + 0.5, SIZE / 2 + 0.5))
                       for radius in RADII.values() for shape in SHAPES])
    near = _near(covers)
    means = covers.sum(axis=(1, 2), keepdims=True) / near.sum(axis=(1, 2), keepdims=True)
    templates = (covers - means) * near
    templates /= np.sqrt(np.square(templates).sum(axis=(1, 2), keepdims=True))
    templates = np.roll(templates, (-(SIZE // 2), -(SIZE // 2)), axis=(1, 2))
    return np.conj(np.fft.rfft2(templates)).astype(np.complex64)


def _near(covers):
    """Where a pixel is at most 3 pixels, by row and by column, from something covered."""
    near = covers > 0
    for axis in (1, 2):
        near = np.any([np.roll(near, shift, axis) for shift in range(-3, 4)], axis=0)
    return near
