"""A recurrent network learns to describe pictures.

EECS 545 homework 4, question 4: train a plain RNN or an LSTM to write the captions of
COCO pictures, word by word, from features of the picture. Takes a folder in COCO's layout from
data/coco_captioning or --data-dir, else downloads it (about 1 GB, and asks first), else draws small
scenes with captions of its own.

N: pictures or captions, T: words of a caption, D: features of a picture, V: words.
"""
import argparse
import collections
import io
import math
import os
import sys
import textwrap
import time
import urllib.request
from typing import NamedTuple

if __name__ == "__main__":
    # Before NumPy is imported: the Solver has threads of its own, which matrix products would only
    # disturb.
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ.setdefault(name, "1")

import experiment  # first: it says in one line what is missing
import numpy as np
from data.coco import CaptionFeatures, decode_captions, load_coco
from rnn import CaptioningRNN
from solver import Solver

SCENES = {False: (18_000, 500), True: (300, 60)}    # drawn for training and validation, by --quick
QUICK_CAPTIONS = 2_000
BLEU_SUBSET = 200                                   # pictures whose BLEU is taken after each epoch
LENGTH_NORM = 0.7                                   # of beam search, see CaptioningRNN.sample
REFERENCES_SHOWN = 3                                # below a picture
PICTURE_SECONDS = 5                                 # for a picture of the network, and a page


class ByData(NamedTuple):
    """A flag's default: on photographs with either cell, and on drawn scenes."""
    rnn: float
    lstm: float
    scenes: float

    def __str__(self):
        lstm = f" ({self.lstm} with --cell lstm)" if self.lstm != self.rnn else ""
        return f"{self.rnn} on photographs{lstm}, {self.scenes} on drawn scenes"


def arguments(argv=None):
    """The parsed command line; what it leaves to the data is a ByData, see with_defaults."""
    parser = experiment.argument_parser(
        __doc__.split("\n\n")[0], script="image_captioning", epochs=ByData(12, 7, 7),
        data_dir_help="folder in the layout of CS231n's coco_captioning")
    parser.add_argument("--cell", choices=("rnn", "lstm"), default="rnn", help="kind of network")
    parser.add_argument("--pca", action=argparse.BooleanOptionalAction, default=True,
                        help="512 principal components of the features instead of all 4,096")
    parser.add_argument("--yes", action="store_true",
                        help="download about 1 GB without asking, if need be")
    for flag, default, meaning in (
            ("--hidden-dim", 512, "hidden state size"),
            ("--wordvec-dim", ByData(256, 256, 128), "size of a word vector"),
            ("--beam", 5, "captions that beam search keeps at a time"),
            ("--max-length", 17, "longest caption that is written, in words"),
            ("--overfit", None, "overfit N captions: the loss should approach 0")):
        parser.add_argument(flag, type=experiment.positive_integer, default=default, metavar="N",
                            help=meaning)
    for flag, default, meaning in (
            ("--dropout", ByData(0.4, 0.4, 0.0), "word vectors and hidden states"),
            ("--feature-dropout", ByData(0.2, 0.2, 0.0), "features")):
        parser.add_argument(flag, type=experiment.share, default=default, metavar="X",
                            help=f"share of the {meaning} that is dropped in training")
    experiment.training_flags(parser, update_rule="adam", learning_rate=2e-3, batch_size=100,
                              shares=2)
    args = experiment.parse(parser, argv, quick={"epochs": 2, "hidden_dim": 128,
                                                 "wordvec_dim": 64})
    if args.overfit:
        parser.set_defaults(epochs=100, dropout=0.0, feature_dropout=0.0, learning_rate=5e-3,
                            lr_decay=0.97, batch_size=25)
        args = experiment.parse(parser, argv, quick={"hidden_dim": 128})
    return args


def with_defaults(args, kind):
    """The arguments with the defaults for this kind of data, 'real' or 'synthetic'."""
    which = "scenes" if kind == "synthetic" else args.cell
    return argparse.Namespace(**{
        flag: getattr(value, which) if isinstance(value, ByData) else value
        for flag, value in vars(args).items()})


# ---------------------------------------------------------------- data

def load_captions(args):
    """(data, kind) as data.coco.load_coco gives it; kind is 'real' or 'synthetic'."""
    from data.synthetic_scenes import load_synthetic_scenes
    data, kind = experiment.load_real_or_drawn(
        args, "COCO", "scenes", lambda: load_coco(args.data_dir, pca=args.pca, progress=True,
                                                  confirm=lambda: _agrees(args)),
        lambda: load_synthetic_scenes(args.seed, *SCENES[args.quick]))
    if args.overfit:
        data = _with_captions(data, _different(data["X_train"])[:args.overfit])
        data |= {f"{name}_val": data[f"{name}_train"]
                 for name in ("X", "y", "urls", "pictures", "scenes") if f"{name}_train" in data}
    elif args.quick:
        data = _with_captions(data, slice(QUICK_CAPTIONS))
    experiment.say(
        f"{data_name(args, kind)}: {len(data['y_train']):,} captions of "
        f"{len(np.unique(data['X_train'].pictures)):,} pictures for training, "
        f"{len(data['y_val']):,} of {len(np.unique(data['X_val'].pictures)):,} for validation, "
        f"{len(data['idx_to_word']):,} words")
    return data, kind


def _agrees(args):
    """Whether about 1 GB may be downloaded; nobody at a terminal means no."""
    if args.yes or not sys.stdin.isatty():
        return args.yes
    try:
        answer = input("Download about 1 GB of COCO features and captions? [y/N] ")
    except EOFError:                            # Ctrl-D
        return False
    return answer.strip().lower() in ("y", "yes")


def _with_captions(data, rows):
    """The data with only these of the captions for training."""
    X = data["X_train"]
    return data | {"X_train": CaptionFeatures(X.features, X.pictures[rows]),
                   "y_train": data["y_train"][rows]}


def _different(X):
    """Rows of captions of different features: of two for the same one would have to be guessed."""
    _, different = np.unique(X.features, axis=0, return_index=True)
    pictures, rows = np.unique(X.pictures, return_index=True)
    return np.sort(rows[np.isin(pictures, different)])


def data_name(args, kind):
    """What pictures and tables call the data: coco_captioning is COCO, else the folder counts."""
    if kind == "synthetic":
        return "synthetic scenes"
    folder = os.path.basename(os.path.abspath(args.data_dir or "coco_captioning"))
    name = folder.removeprefix("coco_captioning").strip("_-")
    return folder if name == folder else name.capitalize() or "COCO"


# ---------------------------------------------------------------- how good a caption is

def minus_loss_per_word(model, X, y):
    """The Solver's metric, the larger the better: (minus the summed loss, words)."""
    loss, words = model.total_loss(X, y)
    return -loss, words


def described(solver):
    """What the progress says of an epoch: losses per word, and BLEU 1 to 4 in percent."""
    scores = " ".join(f"{100 * value:.0f}" for value in solver.extra_history["BLEU"][-1])
    return (f"a word {-solver.train_acc_history[-1]:.3f} val {-solver.val_acc_history[-1]:.3f}  "
            f"BLEU {scores}")


def bleu(candidates, references, max_order=4):
    """Corpus BLEU of orders 1 to max_order: how many n-grams stand in the references, too.

        BLEU_k = exp(min(0, 1 - r / c)) · (precision_1 ⋯ precision_k)^(1 / k)

    precision_n is the share of the candidates' n-grams that a reference has, each counted
    at most as often as in the reference that has it most; c are the words of all candidates,
    r those of the references that come closest to them in length (of two the shorter).

    Inputs: candidates, a list of sentences; references, for each a list of one or more sentences;
    words are what stands between spaces. Returns a list of max_order numbers from 0 to 1.
    Source: Papineni et al., "BLEU: a method for automatic evaluation of machine
    translation", 2002.
    """
    right, total = np.zeros(max_order), np.zeros(max_order)
    candidate_words = reference_words = 0
    for candidate, sentences in zip(candidates, references, strict=True):
        words, sentences = candidate.split(), [sentence.split() for sentence in sentences]
        candidate_words += len(words)
        reference_words += min((abs(len(s) - len(words)), len(s)) for s in sentences)[1]
        for n in range(1, max_order + 1):
            most = collections.Counter()
            for sentence in sentences:
                most |= _ngrams(sentence, n)
            counts = _ngrams(words, n)
            right[n - 1] += (counts & most).total()
            total[n - 1] += counts.total()
    if not right.all():
        # A precision of 0 makes its order, and all above, 0.
        right[np.argmin(right != 0):] = 0
    brevity = math.exp(min(0.0, 1 - reference_words / candidate_words)) if candidate_words else 0.0
    with np.errstate(divide="ignore"):
        log_precisions = np.log(right / np.maximum(total, 1))
    orders = np.arange(1, max_order + 1)
    return [float(value) for value in brevity * np.exp(np.cumsum(log_precisions) / orders)]


def _ngrams(words, n):
    """How often each run of n words occurs."""
    return collections.Counter(zip(*(words[i:] for i in range(n))))


def references_of(data, part, pictures):
    """All captions of each of these pictures, as lists of sentences."""
    sentences = collections.defaultdict(list)
    wanted = set(pictures.tolist())
    of_caption = data[f"X_{part}"].pictures
    rows = [row for row in range(len(of_caption)) if int(of_caption[row]) in wanted]
    for row, sentence in zip(rows, decode_captions(data[f"y_{part}"][rows], data["idx_to_word"])):
        sentences[int(of_caption[row])].append(sentence)
    return [sentences[int(picture)] for picture in pictures]


def write_captions(model, data, part, pictures, max_length, **options):
    """A sentence for each of these pictures, 500 at a time."""
    features = data[f"X_{part}"].features
    sentences = []
    for start in range(0, len(pictures), 500):
        captions = model.sample(features[pictures[start:start + 500]], max_length, **options)
        sentences += decode_captions(captions, data["idx_to_word"])
    return sentences


def writing_options(args):
    """How captions are written: up to <END>, and with <UNK> only where they are overfitted."""
    never = ("<NULL>", "<START>") if args.overfit else ("<NULL>", "<START>", "<UNK>")
    return {"max_length": args.max_length, "stop": True, "never": never}


def score(model, data, pictures, max_length, **options):
    """BLEU 1 to 4 on these validation pictures."""
    return bleu(write_captions(model, data, "val", pictures, max_length, **options),
                references_of(data, "val", pictures))


def share_of_true_captions(data, sentences, pictures):
    """For drawn scenes: ({attribute: share of the words for it that are right}, true captions)."""
    from data.synthetic_scenes import check_caption
    checks = [check_caption(data["scenes_val"][picture], sentence)
              for picture, sentence in zip(pictures, sentences)]
    share = {name: sum(check.right[name] for check in checks)
             / max(1, sum(check.total[name] for check in checks)) for name in checks[0].total}
    return share, float(np.mean([check.true for check in checks]))


# ---------------------------------------------------------------- pictures

def load_pictures(data, part, numbers):
    """These pictures as arrays, None for those that are gone or that the network does not give."""
    if f"pictures_{part}" in data:
        return data[f"pictures_{part}"][numbers]
    from matplotlib.image import imread
    pictures, started = [], time.monotonic()
    for number in numbers:
        address, picture = data[f"urls_{part}"][number], None
        try:
            if not address.startswith(("http://", "https://")):
                picture = imread(os.path.join(data["folder"], address))
            elif time.monotonic() - started < PICTURE_SECONDS:
                with urllib.request.urlopen(address, timeout=PICTURE_SECONDS) as answer:
                    picture = imread(io.BytesIO(answer.read()), format="jpg")
        except Exception:                       # of a strange picture Pillow raises almost any
            pass
        pictures.append(picture)
    return pictures


def page_of_captions(data, part, numbers, sentences, title, columns=4):
    """Pictures with the generated caption above and some of the references below each."""
    references = [_some_references(of_picture) for of_picture in references_of(data, part, numbers)]
    truths = [_is_true(data, part, *pair) for pair in zip(numbers, sentences)]
    written = [textwrap.fill({True: "true: ", False: "FALSE: ", None: ""}[true]
                             + (sentence or "(no word)"), 26)
               for true, sentence in zip(truths, sentences)]
    rows = -(-len(numbers) // columns)
    lines = max(text.count("\n") for text in references) + max(t.count("\n") for t in written)
    figure = experiment.new_figure(2.7 * columns, rows * (3 + 0.18 * lines) + 0.5, title)
    for place, (number, picture) in enumerate(zip(numbers, load_pictures(data, part, numbers))):
        axes = figure.add_subplot(rows, columns, place + 1, xticks=[], yticks=[], aspect=1,
                                  anchor="N")
        if picture is None:
            axes.text(0.5, 0.5, "picture not available", ha="center", va="center", color="0.5")
        else:
            # Grey-scale pictures need to be told what black and white are.
            white = np.iinfo(picture.dtype).max if picture.dtype.kind in "iu" else 1
            axes.imshow(picture, cmap="gray", vmin=0, vmax=white)
        # Words such as $ are no formulas.
        axes.set_title(written[place], parse_math=False, loc="left", fontsize=10, weight="bold",
                       color=experiment.COLOURS["wrong" if truths[place] is False else "right"])
        axes.set_xlabel(references[place], parse_math=False, loc="left", fontsize=9)
    return figure


def _some_references(sentences):
    """The first captions that people wrote of a picture, and how many more there are."""
    lines = [textwrap.fill(f"· {sentence}", 32, subsequent_indent="   ")
             for sentence in sentences[:REFERENCES_SHOWN]]
    more = len(sentences) - len(lines)
    return "\n".join([*lines, f"   and {more} more"] if more > 0 else lines)


def _is_true(data, part, number, sentence):
    """Of drawn scenes it is known whether a caption is true; None of photographs."""
    if f"scenes_{part}" not in data:
        return None
    from data.synthetic_scenes import check_caption
    return check_caption(data[f"scenes_{part}"][number], sentence).true


def curves_figure(history, title):
    """The learning curves, with the loss per word instead of an accuracy, and the BLEU-4."""
    figure = experiment.learning_curves(
        {"loss": history["loss"], "train_accuracy": history["train_loss_per_word"],
         "val_accuracy": history["val_loss_per_word"]}, title, metric="loss per word")
    left, right = figure.axes
    left.set(ylabel="training loss per caption (log scale)")
    twin = right.twinx()
    scores = history["bleu_4_of_subset"]
    twin.plot(range(1, len(scores) + 1), scores, "s:", color="0.3", markersize=4,
              label="BLEU-4 (right scale)")
    twin.set(ylabel=f"BLEU-4 of at most {BLEU_SUBSET} pictures", ylim=(0, 1.1 * max(scores) or 1))
    figure.legends[1].remove()
    figure.legend(handles=[*right.lines, *twin.lines], loc="outside lower right", ncols=3,
                  fontsize=8)
    return figure


# ---------------------------------------------------------------- the experiment

def summary(metrics, out):
    """What is printed at the end."""
    lines = ["", f"Loss per word on {metrics['data_name']}: {metrics['train_loss']:.3f} on "
             f"training captions, {metrics['val_loss_per_word']:.3f} on validation captions."]
    for name, label in (("bleu", "greedy"), ("bleu_beam", "beam search")):
        scores = "  ".join(f"BLEU-{n} {value:.3f}" for n, value in enumerate(metrics[name], 1))
        lines.append(f"{label:<12} {scores}")
    if "words_right" in metrics:
        right = ", ".join(f"{name} {share:.1%}" for name, share in metrics["words_right"].items())
        lines.append(f"True captions of drawn scenes: {metrics['captions_true']:.1%}. Right words "
                     f"for {right}.")
    return "\n".join([*lines, f"{metrics['seconds']:.0f} seconds. Pictures and metrics.json are "
                              f"in {out}"])


def make_solver(args, data, kind):
    """The training."""
    model = CaptioningRNN(data["word_to_idx"], data["X_train"].shape[1], args.wordvec_dim,
                          args.hidden_dim, args.cell, dropout=args.dropout,
                          feature_dropout=args.feature_dropout, rng=args.seed)
    subset, writing = np.unique(data["X_val"].pictures)[:BLEU_SUBSET], writing_options(args)
    return Solver(model, data, **experiment.solver_options(args), metric=minus_loss_per_word,
                  extra_metrics={"BLEU": lambda model: score(model, data, subset, **writing)},
                  metrics_text=described,
                  checkpoint=experiment.checkpoint_path(args, f"{args.cell}.npz"),
                  settings={"data": data_name(args, kind), "cell": args.cell, "init": args.init,
                            "dropout": args.dropout, "feature_dropout": args.feature_dropout})


def main(argv=None):
    """The whole experiment."""
    experiment.reuse_memory()
    args = arguments(argv)
    started = time.monotonic()
    data, kind = load_captions(args)
    args = with_defaults(args, kind)
    solver = make_solver(args, data, kind)
    experiment.prepare(args, solver)
    earlier = solver.seconds
    with experiment.results_folder(args, f"{args.cell}.npz"):
        experiment.train(solver)
        metrics = report(args, data, kind, solver)
        metrics["seconds"] = round(time.monotonic() - started + earlier, 1)
        metrics = experiment.save_metrics(args, metrics)
    print(summary(metrics, args.out))


def report(args, data, kind, solver):
    """Draw the pictures; returns the metrics."""
    model = solver.model
    writing = writing_options(args)
    pictures = {part: np.unique(data[f"X_{part}"].pictures) for part in ("train", "val")}
    name = data_name(args, kind)
    history = {"loss": solver.loss_history,
               "train_loss_per_word": [-value for value in solver.train_acc_history],
               "val_loss_per_word": [-value for value in solver.val_acc_history],
               **{f"bleu_{n}_of_subset": list(values)
                  for n, values in enumerate(zip(*solver.extra_history["BLEU"]), 1)}}
    experiment.save_figure(args, "learning_curves.png", curves_figure(
        history, f"{args.cell.upper()} on {name}"))
    samples = {}
    for part, title in (("train", "Training"), ("val", "Validation")):
        shown = pictures[part][:4 if args.quick else 8]
        sentences = write_captions(model, data, part, shown, **writing)
        samples[part] = [{"written": sentence, "references": references} for sentence, references
                         in zip(sentences, references_of(data, part, shown))]
        experiment.save_figure(args, f"captions_{part}.png", page_of_captions(
            data, part, shown, sentences,
            f"{title} pictures of {name}: above each what the network writes, below what "
            f"{'is true' if kind == 'synthetic' else 'people wrote'}"))
    sentences = write_captions(model, data, "val", pictures["val"], **writing)
    metrics = {
        "data": kind, "data_name": name,
        "val_loss_per_word": -solver.best_val_acc,
        "train_loss": -solver.check_accuracy(data["X_train"], data["y_train"], 5000),
        "bleu": bleu(sentences, references_of(data, "val", pictures["val"])),
        "bleu_beam": score(model, data, pictures["val"], **writing, beam=args.beam,
                           length_norm=LENGTH_NORM)}
    if kind == "synthetic":
        metrics["words_right"], metrics["captions_true"] = share_of_true_captions(
            data, sentences, pictures["val"])
    return metrics | {"samples": samples, "history": history}


if __name__ == "__main__":
    experiment.run(main)
