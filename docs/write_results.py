"""Writes docs/results.md and the figures of README.md. Each figure comes from a run, none is typed.

    python docs/write_results.py gather FOLDER [NAME ...]   take over what runs have left in FOLDER
    python docs/write_results.py                            write the documents

RUNS in this file says which runs the documents report and which command each is. A script's run is
read from FOLDER/NAME/metrics.json (run it with --out FOLDER/NAME), any other from FOLDER/NAME.json.
gather keeps what the documents need in docs/results.json and pictures in docs/figures, then
writes the documents. What is not in FOLDER stays as it was; what was never measured is
reported as such. Photographs are not copied: they belong to those who took them.
"""
import argparse
import dataclasses
import importlib
import itertools
import json
import os
import pathlib
import re
import shlex
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import experiment
from checkpoint import save_atomically

STORED = ROOT / "docs" / "results.json"
DOCUMENT = ROOT / "docs" / "results.md"
README = ROOT / "README.md"
FIGURES = ROOT / "docs" / "figures"
LARGE_PICTURE = 200_000         # bytes; larger ones are stored with 256 colours

MNIST = "MNIST"
FLICKR = "Flickr8k in the layout of COCO's captions"
INSECTS = "photographs of ants and bees"
DRAWN = "**DRAWN DATA**"


@dataclasses.dataclass(frozen=True)
class Run:
    """A run whose figures are reported.

    command: the command line, as somebody with the same data gives it
    data: what the figures are about
    pictures: those of the results folder that the documents show
    samples: whether captions that the network has written are shown
    """
    command: str
    data: str = ""
    pictures: tuple = ()
    samples: bool = False

    @property
    def script(self):
        """The module of an experiment, or None for what writes JSON by itself."""
        name = shlex.split(self.command)[1].removesuffix(".py")
        return None if name.startswith("tests/") else name

    @property
    def arguments(self):
        return shlex.split(self.command)[2:]

    @property
    def kind(self):
        return "synthetic" if self.data.startswith(DRAWN) else "real"


CAPTIONS = "python image_captioning.py --data-dir coco_captioning_flickr8k"
RUNS = {
    "mnist_train": Run("python mnist_train.py", MNIST, ("hidden_sizes", "mistakes")),
    "cnn_train": Run("python cnn_train.py", MNIST,
                     ("learning_curves", "filters", "feature_maps", "mistakes")),
    "mnist_synthetic": Run("python mnist_train.py --data synthetic",
                           f"{DRAWN}: digits of our own, not MNIST"),
    "cnn_synthetic": Run("python cnn_train.py --data synthetic",
                         f"{DRAWN}: digits of our own, not MNIST", ("mistakes",)),
    "captions_rnn": Run(CAPTIONS, FLICKR, ("learning_curves",), samples=True),
    "captions_lstm": Run(f"{CAPTIONS} --cell lstm", FLICKR, ("learning_curves",), samples=True),
    "captions_overfit": Run(f"{CAPTIONS} --overfit 50", FLICKR),
    "captions_synthetic": Run("python image_captioning.py --data synthetic",
                              f"{DRAWN}: scenes of our own, not COCO",
                              ("learning_curves", "captions_val")),
    "transfer_squeezenet": Run(
        "python transfer_learning.py --arch squeezenet1_1 "
        "--weights squeezenet1_1_imagenet_fp16.pth",
        f"{INSECTS}; SqueezeNet's ImageNet weights, rounded to 16 bits", ("learning_curves",)),
    "transfer_resnet": Run(
        "python transfer_learning.py --weights resnet18_imagenet_partial.pth --freeze-batchnorm "
        "--learning-rate 0.03 --backbone-rate 0.0002 --epochs 8",
        f"{INSECTS}; **partial** ImageNet weights of ResNet-18", ("learning_curves",)),
    "transfer_synthetic": Run(
        "python transfer_learning.py --data synthetic",
        f"{DRAWN}: insects of our own, no photographs; pretrained on drawn shapes",
        ("learning_curves", "predictions_finetune")),
    "synthetic_to_real": Run("python tests/synthetic_to_real.py --json synthetic_to_real.json",
                             "trained on drawn digits, tested on MNIST"),
    "benchmark": Run("python tests/benchmark.py --json benchmark.json"),
    "autograder": Run("python tests/compare_graders.py --json autograder.json"),
}
HISTORIES = ("train_loss_per_word", "val_loss_per_word", "bleu_4_of_subset")


# ---------------------------------------------------------------- gathering

def gather(folder, names):
    """Take over the figures and pictures of these runs, as far as they are in the folder."""
    if not folder.is_dir():
        raise experiment.UserError(f"{folder} is no folder")
    stored = load()
    for name in names:
        run, metrics = RUNS[name], read(folder, name)
        if metrics is None:
            print(f"{name}: not in {folder}" + ("; kept" if name in stored else "; not measured"))
            continue
        check(name, metrics)
        for picture in run.pictures:
            copy_picture(folder / name / f"{picture}.png", FIGURES / f"{name}_{picture}.png")
        stored[name] = needed(run, metrics)
        print(f"{name}: taken over")
    ordered = {name: stored[name] for name in RUNS if name in stored}
    save(STORED, json.dumps(ordered, indent=1) + "\n")


def read(folder, name):
    """The figures that a run has left, or None."""
    path = folder / name / "metrics.json" if RUNS[name].script else folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise experiment.UserError(f"{path} is damaged: {error}") from None


def check(name, metrics):
    """Raise UserError unless the run was of the command and the data that RUNS says."""
    run = RUNS[name]
    if not run.script:
        lacks = {(workload, threads) for workload in WORKLOADS for threads in (1, 2)} - {
            (row["workload"], row["threads"]) for row in metrics["rows"]} \
            if name == "benchmark" else ()
        if lacks or metrics.get("seed", 0) != 0 or not metrics.get("homework", True):
            raise experiment.UserError(f"{name} was not run as `{run.command}`, but with a part of "
                                       "the workloads or another seed")
        return
    if metrics["data"] != run.kind:
        raise experiment.UserError(f"{name} is to be of {run.kind} data, this run is of "
                                   f"{metrics['data']}")
    expected = {**config_of(run), "seed": 0}
    actual = {**plain(metrics["config"]), "seed": metrics["seed"]}
    other = [key for key, value in actual.items()
             if key not in ("data", "device", "yes") and value != expected.get(key)]
    if other:
        settings = ", ".join(f"{key} {actual[key]}" for key in other)
        raise experiment.UserError(f"{name} was not run as `{run.command}`, but with {settings}")


def config_of(run):
    """The settings that a run's command gives, as they come out of JSON."""
    module = importlib.import_module(run.script)
    args = module.arguments(run.arguments)
    if hasattr(module, "with_defaults"):        # those that depend on the data
        args = module.with_defaults(args, run.kind)
    return plain(json.loads(json.dumps(experiment.config_of(args))))


def plain(config):
    """Settings without the folders of the machine."""
    return {key: os.path.basename(value) if isinstance(value, str) else value
            for key, value in config.items()}


def needed(run, metrics):
    """What the documents need of the metrics: nothing of each step, no folder of the machine.

    Of the captions that people wrote, which are theirs, only which words the network's share.
    """
    kept = {key: value for key, value in metrics.items()
            if key not in ("history", "samples", "data_dir")}
    if run.samples and "samples" in metrics:
        kept["samples"] = {part: [shared_words(**sample) for sample in samples]
                           for part, samples in metrics["samples"].items()}
    history = {key: metrics.get("history", {})[key] for key in HISTORIES
               if key in metrics.get("history", {})}
    if history:
        kept["history"] = history
    if "config" in kept:
        kept["config"] = plain(kept["config"])
    if "machine" not in kept and "environment" not in kept:
        kept["environment"] = {**experiment.environment(), "threads": None,
                               "recorded_later": True}
    return kept


def shared_words(written, references):
    """A caption, and those of its words that are in somebody's caption of the same picture."""
    theirs = set(" ".join(references).split())
    return {"written": written, "shared": sorted(set(written.split()) & theirs)}


def copy_picture(source, target):
    """Copy a PNG file; a large one with fewer colours."""
    content = source.read_bytes()
    if len(content) > LARGE_PICTURE:
        from PIL import Image
        with Image.open(source) as picture:
            fewer = picture.convert("RGB").quantize(256)
        save_atomically(target, lambda file: fewer.save(file, "PNG", optimize=True))
    else:
        save_atomically(target, lambda file: file.write(content))


def load():
    """{name of the run: figures}, as gathered."""
    return json.loads(STORED.read_text()) if STORED.exists() else {}


def save(path, text):
    save_atomically(path, lambda file: file.write(text.encode()))


# ---------------------------------------------------------------- figures as text

def percent(share):
    return f"{100 * share:.2f} %"


def duration(seconds):
    return f"{seconds:.0f} seconds" if seconds < 180 else f"{seconds / 60:.0f} minutes"


def machine(environment):
    """On what a run ran."""
    cores, threads = environment["cores"], environment["threads"]
    later = environment.get("recorded_later")
    used = f"a machine with {cores} cores" if later else f"{cores} cores" \
        if threads in (None, cores) else f"{threads} of {cores} cores"
    versions = [f"{label} {environment[name]}" for name, label in
                (("python", "Python"), ("numpy", "NumPy"), ("torch", "PyTorch"))
                if name in environment]
    remark = "; versions of the day when the figures were gathered" if later else ""
    return f"{used} ({environment['machine']}, {', '.join(versions)}{remark})"


def origin(name, result):
    """Which data, which command, how long, on what machine."""
    run = RUNS[name]
    on = "a GPU and " if result.get("device", "cpu") != "cpu" else ""
    place = result["machine"] if "machine" in result else machine(result["environment"])
    parts = [run.data, f"`{run.command}`", f"{duration(result['seconds'])} on {on}{place}"]
    return "> " + " · ".join(part for part in parts if part)


def table(head, rows, left=1):
    """A Markdown table; the first columns flush left, the others flush right."""
    lines = [head, ["---"] * left + ["---:"] * (len(head) - left), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def figure(name, picture, text):
    return f"![{text}](figures/{name}_{picture}.png)"


def missing(name):
    return f"**Not measured:** {RUNS[name].data or 'no figures'}, `{RUNS[name].command}`."


def blocks(*parts):
    return "\n\n".join(part for part in parts if part)


def reported(name, results, text):
    """text(result) under its origin, or that there is no such result."""
    if name not in results:
        return missing(name)
    return blocks(origin(name, results[name]), text(results[name]))


# ---------------------------------------------------------------- the sections of results.md

def sizes_of(result):
    """How many samples a run had, where it has recorded that."""
    if "num_test" not in result:
        return ""
    return (f"{result['num_train']:,} images to learn from, {result['num_val']:,} to choose by, "
            f"{result['num_test']:,} to test with. ")


def two_layers(result):
    best = result["best_hidden_size"]
    rows = [[f"**{row['hidden_size']}**" if row["hidden_size"] == best else row["hidden_size"],
             percent(row["val_accuracy"]), f"{row['parameters']:,}", f"{row['seconds']:.1f}"]
            for row in result["sizes"]]
    return blocks(
        table(["hidden units", "validation accuracy", "parameters", "seconds"], rows, left=0),
        f"{sizes_of(result)}Trained again with the best, {best} hidden units, from other random "
        f"numbers: **{percent(result['test_accuracy'])} of the test images right** "
        f"(validation {percent(result['val_accuracy'])}).")


def convolutional(result):
    return (f"{sizes_of(result)}**{percent(result['test_accuracy'])} of the test images right** "
            f"(validation {percent(result['val_accuracy'])}), after {result['config']['epochs']} "
            f"epochs with {result['config']['num_filters']} filters of "
            f"{result['config']['filter_size']}x{result['config']['filter_size']}.")


def section_digits(results):
    return blocks(
        "## Digits: two layers", "*Question 2.* How many hidden units, and how good are they?",
        reported("mnist_train", results, lambda result: blocks(
            two_layers(result),
            figure("mnist_train", "hidden_sizes", "Validation accuracy by hidden units, MNIST"),
            figure("mnist_train", "mistakes", "Most confident mistakes, MNIST"))),
        "## Digits: a convolutional network", "*Question 3.*",
        reported("cnn_train", results, lambda result: blocks(
            convolutional(result),
            figure("cnn_train", "learning_curves", "Learning curves on MNIST"),
            figure("cnn_train", "filters", "Filters learned from MNIST"),
            figure("cnn_train", "feature_maps", "What the filters see in one digit"),
            figure("cnn_train", "mistakes", "Most confident mistakes, MNIST"))),
        "## Digits drawn offline",
        "Without MNIST and without a network the scripts draw digits of their own.",
        reported("mnist_synthetic", results, two_layers),
        reported("cnn_synthetic", results, lambda result: blocks(
            convolutional(result),
            figure("cnn_synthetic", "mistakes", "Most confident mistakes on drawn digits"))),
        "How much of that holds for the real ones? Learned from drawn digits alone, the best epoch "
        "chosen by drawn digits, tested on the 10,000 test images of MNIST. These networks are "
        "trained as `tests/synthetic_to_real.py` says, for fewer epochs than those above:",
        reported("synthetic_to_real", results, lambda result: table(
            ["network", "MNIST's test images right"],
            [["two layers", percent(result["two_layer_network"])],
             ["convolutional", percent(result["convolutional_network"])]])))


def caption_scores(results, names):
    """A table of losses and BLEU of these runs."""
    rows = []
    for name in names:
        result = results[name]
        losses = [f"{result[key]:.3f}" for key in ("train_loss", "val_loss_per_word")]
        for key, search in (("bleu", "greedy"), ("bleu_beam", "beam search")):
            rows.append([result["config"]["cell"].upper(), search, *losses,
                         *(f"{value:.3f}" for value in result[key])])
    return table(["network", "words chosen by", "training loss", "validation loss",
                  "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"], rows, left=2)


def caption_curves(result):
    """Figures after each epoch, as a table."""
    history = result.get("history", {})
    columns = {"train_loss_per_word": "training loss (sample)",
               "val_loss_per_word": "validation loss", "bleu_4_of_subset": "BLEU-4 (subset)"}
    columns = {key: label for key, label in columns.items() if key in history}
    if not columns:
        return ""
    rows = [[epoch, *(f"{value:.3f}" for value in values)] for epoch, values
            in enumerate(zip(*(history[key] for key in columns)), start=1)]
    return table(["epoch", *columns.values()], rows, left=0)


def caption_samples(result):
    """What the network writes; in bold what people also wrote."""
    if "samples" not in result:
        return "**Not measured:** samples of its captions."
    names = {"train": "Pictures it has learned from", "val": "Pictures it has never seen"}
    lists = ["Captions it writes. A word in bold is also in a caption that somebody wrote of the "
             "same picture."]
    for part, samples in result["samples"].items():
        captions = [f"* {with_shared_in_bold(**sample)}" for sample in samples]
        lists.append("\n".join([f"{names[part]}:", "", *captions]))
    return blocks(*lists)


def with_shared_in_bold(written, shared):
    """The caption in Markdown."""
    parts = ((is_shared, " ".join(words)) for is_shared, words
             in itertools.groupby(written.split(), lambda word: word in shared))
    return " ".join(f"**{words}**" if is_shared else words for is_shared, words in parts)


def section_captions(results):
    learned = [name for name in ("captions_rnn", "captions_lstm") if name in results]
    parts = [
        "## Image captioning",
        f"*Question 4.* On {FLICKR}. Losses are per word, BLEU is of the whole corpus against all captions of "
        "each picture, both on validation pictures unless said otherwise. How each network was "
        "trained stands below."]
    if learned:
        parts.append(caption_scores(results, learned))
    for name, cell in (("captions_rnn", "RNN"), ("captions_lstm", "LSTM")):
        parts += [f"### {cell} on photographs", reported(name, results, lambda result: blocks(
            figure(name, "learning_curves", f"Learning curves of the {cell} on Flickr8k"),
            caption_curves(result), caption_samples(result)))]
    parts += [
        "### Some captions by heart",
        reported("captions_overfit", results, lambda result: (
            f"The course's check that the gradients can be trusted: {result['config']['overfit']} "
            f"captions alone, until the loss is near 0. It ends at "
            f"**{result['train_loss']:.4f} per word**.")),
        "### Captions of drawn scenes",
        "A drawn scene is known exactly, so every caption can be checked: is it true?",
        reported("captions_synthetic", results, lambda result: blocks(
            f"**{percent(result['captions_true'])} of the captions of unseen scenes are true as a "
            "whole.** Right are " + ", ".join(
                f"{percent(share)} of the words for {name}"
                for name, share in result["words_right"].items()) + ".",
            caption_scores(results, ["captions_synthetic"]),
            figure("captions_synthetic", "learning_curves", "Learning curves on drawn scenes"),
            figure("captions_synthetic", "captions_val", "Captions of drawn scenes")))]
    return blocks(*parts)


SCENARIOS = {"finetune": "fine-tuned", "freeze": "frozen, new last layer",
             "scratch": "from scratch"}


def transfer_table(result):
    """The three scenarios side by side."""
    rows = [[label, percent(row["before_accuracy"]), f"**{percent(row['val_accuracy'])}**",
             row["best_epoch"], f"{row['trained_parameters']:,}", f"{row['seconds']:.0f}"]
            for key, label in SCENARIOS.items() if (row := result.get(key))]
    return table(["", "before training", "best validation accuracy", "in epoch",
                  "trained parameters", "seconds"], rows)


def transfer(result):
    """The table, and what a single picture counts."""
    return blocks(
        transfer_table(result),
        f"{result['num_train']} pictures to learn from, {result['num_val']} to test with: a "
        f"single one is {percent(1 / result['num_val'])}.")


def section_transfer(results):
    def curves(name, label):
        return reported(name, results, lambda result: blocks(
            transfer(result), figure(name, "learning_curves", f"Learning curves, {label}")))

    return blocks(
        "## Transfer learning",
        "Ants or bees? The validation accuracy of a network whose weights are all trained on, of "
        "one where only a new last layer is, and of one without pretraining. The epoch is chosen "
        "by the same pictures, as in the homework, so that the accuracies flatter a little. One "
        "half is guessing: from so few pictures a network from scratch learns little.",
        "### SqueezeNet",
        "The ReLU that SqueezeNet has behind its scores is left out: with few classes all scores can "
        "become 0 there, and learning ends.",
        curves("transfer_squeezenet", "SqueezeNet"),
        "### ResNet-18 with partial weights", curves("transfer_resnet", "partial ResNet-18"),
        "### Drawn insects",
        reported("transfer_synthetic", results, lambda result: blocks(
            transfer(result),
            figure("transfer_synthetic", "learning_curves", "Learning curves, drawn insects"),
            figure("transfer_synthetic", "predictions_finetune",
                   "Drawn ants and bees with what the fine-tuned network says"))))


WORKLOADS = {
    "W1": "SGD step of a 784-500-10 network, batch 100",
    "W1-dx": "the same, with the gradient of the images",
    "W1-100": "SGD step of a 784-100-10 network, batch 100",
    "W2": "SGD step of the convolutional network, batch 100",
    "W2-dx": "the same, with the gradient of the images",
    "W3a": "convolution and gradients, x (64, 32, 28, 28), w (64, 32, 3, 3)",
    "W3b": "convolution and gradients, x (32, 3, 64, 64), w (32, 3, 5, 5)",
    "W4-25": "Adam step of the captioning RNN, 25 captions",
    "W4-100": "the same with 100 captions",
    "W5": "100 captions written, greedily",
}


def section_speed(results):
    def text(result):
        rows = [[row["workload"], WORKLOADS[row["workload"]], row["threads"],
                 f"{row['ours_ms']:.2f}", f"{row['torch_ms']:.2f}",
                 f"{row['ratio']:.2f}" if row["quiet"] else "busy",
                 f"{row['product_limit']:.0%}", f"{row['extra_mb']:.1f}",
                 f"{row['bare_ms'] / row['ours_ms']:.2f}"]
                for row in result["rows"]]
        versions = [[row["version"], f"{row['forward_ms']:,.2f}", f"{row['backward_ms']:,.2f}"]
                    for row in result["homework"]]
        return blocks(
            "Milliseconds, ours and PyTorch's; a ratio below 1 is faster than PyTorch. The product "
            "limit is the time that the multiplications alone would take at the speed of one "
            "large matrix product, as a share of ours. The last column says how many times as long "
            "ours takes without `experiment.reuse_memory()`, which all scripts call first.",
            table(["", "workload", "threads", "ours", "PyTorch", "ratio", "product limit",
                   "extra MB", "without"], rows, left=2),
            "Memory that the convolution takes beyond its results, forwards and backwards; it does "
            "not grow with the batch:" if result.get("convolution") else "",
            table(["convolution of", "extra MB"], [
                [name, f"{size / 1e6:.1f}"] for name, size in result["convolution"].items()])
            if result.get("convolution") else "",
            "The convolution of W2 as homework usually has it, with one thread, in milliseconds:"
            if versions else "",
            table(["version", "forward", "backward"], versions) if versions else "")

    return blocks("## Speed", reported("benchmark", results, text))


def caught(result):
    return (f"The autograder knows {result['mistakes']} mistakes. The kind of test that courses "
            f"publish for a layer, a fixed example and the numerical gradient of the student's own "
            f"forward pass, catches {result['theirs']} of the {result['covered']} in layers; update "
            f"rules and models were not compared. The autograder catches {result['ours']} of all.")


def section_autograder(results):
    return blocks("## The autograder against the course's kind of test",
                  reported("autograder", results, caught))


HEAD = """\
# Results

What the homework asks to report, from runs of this project. No figure here is typed: they are
written by [`write_results.py`](write_results.py) from [`results.json`](results.json), which holds
what the runs have left, and a test compares. Above each figure stands which data it is of, which
command gave it, how long that took and on what machine.

* **MNIST** is the real data set, 70,000 handwritten digits.
* **Flickr8k** is photographs with captions that people wrote, put into the files and the layout of
  the COCO captions: this is not COCO, and figures of COCO cannot be compared with it.
* **Ants and bees** are the photographs of PyTorch's tutorial on transfer learning. SqueezeNet
  comes with its ImageNet weights, rounded to 16 bits. The weights of ResNet-18 are **partial**:
  of its last four convolutions two are rough approximations and two are left out, so that its
  figures are below what the full weights give. With a network leave `--weights` out: torchvision
  downloads the full ones.
* **DRAWN DATA** is made by the files in `data/synthetic_*.py`, for whoever is offline. Its
  figures say that the programs work, and nothing about photographs or handwriting; only where
  networks that learned from drawn digits are tested on MNIST does the text say otherwise.

The scripts also save pages of photographs with what the networks say of them. They are not shown
here, because the photographs belong to those who took them."""


def document(results):
    """The text of results.md."""
    sections = (section_digits, section_captions, section_transfer, section_speed,
                section_autograder)
    return blocks(HEAD, *(section(results) for section in sections)) + "\n"


# ---------------------------------------------------------------- the figures of README.md

def readme_experiments(results):
    """A line for each experiment."""
    def line(title, name, text):
        if name not in results:
            return [title, f"`{RUNS[name].command}`", "", "not measured"]
        result = results[name]
        return [title, f"`{RUNS[name].command}`", duration(result["seconds"]), text(result)]

    def accuracy(result):
        return f"{percent(result['test_accuracy'])} of MNIST's test images"

    def captions(result):
        return (f"Flickr8k: loss per word {result['val_loss_per_word']:.2f}, "
                f"BLEU-4 {result['bleu_beam'][3]:.3f}")

    def insects(result):
        return ", ".join(f"{SCENARIOS[key].split(',')[0]} {percent(result[key]['val_accuracy'])}"
                         for key in SCENARIOS if key in result)

    return table(["experiment", "command", "time", "result"], [
        line("two-layer network", "mnist_train", accuracy),
        line("convolutional network", "cnn_train", accuracy),
        line("captions, RNN", "captions_rnn", captions),
        line("captions, LSTM", "captions_lstm", captions),
        line("transfer learning", "transfer_squeezenet", insects)], left=4) + "\n\n" + wrapped(
            "The folder with Flickr8k in the layout of COCO's captions and SqueezeNet's rounded "
            "weights are not published with this project. Without `--data-dir` the captions are "
            "COCO's own, without `--weights` torchvision downloads the full ones. `python` stands "
            "for `.venv/bin/python`.")


def readme_hidden_sizes(result):
    """The end of what mnist_train.py prints."""
    import mnist_train
    summary = mnist_train.summary(result, "results/mnist_train").strip("\n")
    return f"```text\n{summary}\n```"


def readme_transfer(result):
    """What SqueezeNet reaches."""
    return blocks(
        wrapped(f"With SqueezeNet and its ImageNet weights, rounded to 16 bits, trained on "
                f"{result['num_train']} photographs and tested on {result['num_val']}:"),
        transfer_table(result))


def readme_drawn_digits(result):
    return wrapped(
        "The drawn digits are a fair stand-in: of networks that were trained on nothing else, "
        f"the two-layer network reads {percent(result['two_layer_network'])} of MNIST's test "
        f"images and the convolutional one {percent(result['convolutional_network'])}.")


def readme_caught(result):
    return wrapped(caught(result))


def wrapped(text):
    """Lines of at most 100 characters."""
    return textwrap.fill(text, 100, break_on_hyphens=False, break_long_words=False)


PARTS_OF_README = {                 # what stands in the marker: (run that it is of, text)
    "hidden sizes": ("mnist_train", readme_hidden_sizes),
    "transfer": ("transfer_squeezenet", readme_transfer),
    "drawn digits": ("synthetic_to_real", readme_drawn_digits),
    "caught": ("autograder", readme_caught),
}
PART = re.compile(r"(<!-- figures: ([\w ]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def readme(text, results):
    """README.md with its figures written anew."""
    def part(match):
        if match[2] == "experiments":
            content = readme_experiments(results)
        else:
            name, text_of = PARTS_OF_README[match[2]]
            content = text_of(results[name]) if name in results else missing(name)
        return f"{match[1]}\n{content}\n\n{match[3]}"

    return PART.sub(part, text)


# ---------------------------------------------------------------- the command

def write():
    """Write both documents from what is stored."""
    results = load()
    save(DOCUMENT, document(results))
    save(README, readme(README.read_text(), results))
    absent = [name for name in RUNS if name not in results]
    print("results.md and README.md are written" + (f"; not measured: {', '.join(absent)}"
                                                    if absent else ""))


def main(argv=None):
    """Parse, gather if asked to, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command")
    gathering = commands.add_parser("gather", help="take over what runs have left")
    gathering.add_argument("folder", type=pathlib.Path, metavar="FOLDER",
                           help="where the runs have left their results")
    gathering.add_argument("names", nargs="*", metavar="NAME",
                           help=f"some of {', '.join(RUNS)} (default: all)")
    args = parser.parse_args(argv)
    if args.command == "gather":
        for name in args.names:
            if name not in RUNS:
                parser.error(f"NAME expects one of {', '.join(RUNS)}, got {name}")
        gather(args.folder, args.names or list(RUNS))
    write()


if __name__ == "__main__":
    experiment.run(main)
