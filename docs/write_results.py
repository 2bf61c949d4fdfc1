"""Fills the gaps of results.md, performance.md and README.md from runs: no figure is typed.

    python docs/write_results.py gather FOLDER NAME ...     take over what runs have left in FOLDER
    python docs/write_results.py                            write the documents

RUNS says which runs are reported and by which command; add --out FOLDER/NAME to that of a script,
and --json FOLDER/NAME.json to that of a tool in tests/. gather keeps their figures in
docs/results.json and their pictures in docs/figures, then writes the documents. A gap is between
`<!-- figures: NAME -->` and `<!-- end of figures -->`; the text around it is written by hand.
"""
import argparse
import importlib
import json
import pathlib
import re
import sys
import textwrap
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import experiment
from checkpoint import save_atomically

STORED = ROOT / "docs" / "results.json"
FIGURES = ROOT / "docs" / "figures"
DOCUMENTS = (ROOT / "docs" / "results.md", ROOT / "README.md", ROOT / "docs" / "performance.md")
GAP = re.compile(r"(<!-- figures: ([\w ]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)
LARGE_PICTURE = 200_000         # bytes; larger ones are stored with 256 colours


class Run(NamedTuple):
    """A run that is reported, and which pictures of its folder are shown: never photographs."""
    command: str
    data: str                   # may have gaps for figures of the run
    pictures: tuple = ()
    captions: bool = False      # whether the captions that it writes are shown

    def module(self):
        """The script that the command runs."""
        return importlib.import_module(pathlib.Path(self.command.split()[1]).stem)


FLICKR = "Flickr8k in the layout of COCO's captions"
MNIST = "MNIST ({num_train:,} digits to train, {num_val:,} to validate, {num_test:,} to test)"
DRAWN_DIGITS = f"**DRAWN DATA**, not {MNIST}"
CURVES = ("learning_curves",)
CAPTIONING = "python image_captioning.py --data-dir coco_captioning_flickr8k"
RUNS = {
    "mnist_train": Run("python mnist_train.py", MNIST, ("hidden_sizes", "mistakes")),
    "cnn_train": Run("python cnn_train.py", MNIST,
                     (*CURVES, "filters", "feature_maps", "confusion_matrix", "mistakes")),
    "mnist_plain": Run("python mnist_train.py --update-rule sgd_momentum --learning-rate 0.2 "
                       "--lr-decay 0.8 --batch-size 100 --epochs 15 --reg 5e-5", MNIST),
    "cnn_plain": Run("python cnn_train.py --update-rule sgd_momentum --learning-rate 0.05 "
                     "--lr-decay 0.75 --batch-size 100 --epochs 12 --reg 1e-3", MNIST),
    "mnist_seeds": Run("python tests/search_settings.py mnist_train --test --seeds 5", "MNIST"),
    "cnn_seeds": Run("python tests/search_settings.py cnn_train --test --seeds 5", "MNIST"),
    "cnn_deep": Run("python cnn_train.py --model deep", MNIST,
                    (*CURVES, "filters", "feature_maps", "mistakes")),
    "cnn_deep_epoch": Run('python tests/search_settings.py "cnn_train --model deep --epochs 1" '
                          "--test --seeds 5", "MNIST"),
    "weight_scales": Run("python tests/weight_scales.py", "MNIST"),
    "mnist_synthetic": Run("python mnist_train.py --data synthetic", DRAWN_DIGITS),
    "cnn_synthetic": Run("python cnn_train.py --data synthetic", DRAWN_DIGITS, ("mistakes",)),
    "synthetic_to_real": Run("python tests/synthetic_to_real.py", "drawn digits, then MNIST"),
    "captions_rnn": Run(CAPTIONING, FLICKR, CURVES, captions=True),
    "captions_lstm": Run(f"{CAPTIONING} --cell lstm", FLICKR, CURVES, captions=True),
    "captions_overfit": Run(f"{CAPTIONING} --overfit 50", FLICKR),
    "captions_synthetic": Run("python image_captioning.py --data synthetic",
                              "**DRAWN DATA**: scenes, not COCO", (*CURVES, "captions_val")),
    "transfer_squeezenet": Run(
        "python transfer_learning.py --arch squeezenet1_1 "
        "--weights squeezenet1_1_imagenet_fp16.pth",
        "photographs of ants and bees; SqueezeNet's ImageNet weights, rounded to 16 bits", CURVES),
    "transfer_resnet": Run(
        "python transfer_learning.py --weights resnet18_imagenet_partial.pth --freeze-batchnorm "
        "--learning-rate 0.03 --backbone-rate 0.0002 --epochs 8",
        "photographs of ants and bees; **partial** ImageNet weights of ResNet-18", CURVES),
    "transfer_synthetic": Run(
        "python transfer_learning.py --data synthetic", "**DRAWN DATA**: insects, no photographs; "
        "pretrained on drawn shapes", (*CURVES, "predictions_finetune")),
    "benchmark": Run("python tests/benchmark.py --mnist mnist --captions coco_captioning_flickr8k "
                     "--busy --growth", f"MNIST and {FLICKR} for E, random numbers for W"),
    "ideas": Run("python tests/benchmark_ideas.py", "drawn data for E, random numbers for W"),
    "autograder": Run("python tests/compare_graders.py", "functions with one mistake each"),
}
SENTENCES = {                   # on runs that have no summary of their own
    "synthetic_to_real": """\
Trained on drawn digits alone, the two-layer network reads {two_layer_network:.2%} of MNIST's test
images, the convolutional one {convolutional_network:.2%}.""",
    "mnist_seeds": """\
The two-layer network with 512 hidden units reads {results[0][test][mean]:.2%} of MNIST's test
digits ({results[0][test][min]:.2%} to {results[0][test][max]:.2%}, {seeds} seeds) after
{results[0][seconds][mean]:.1f} seconds of training, validation included.""",
    "cnn_seeds": """\
The convolutional network reads {results[0][test][mean]:.2%} of them ({results[0][test][min]:.2%} to
{results[0][test][max]:.2%}, {seeds} seeds) after {results[0][seconds][mean]:.1f} seconds.""",
    "cnn_deep_epoch": """\
After one epoch the deep network reads {results[0][test][mean]:.2%} of MNIST's test digits
({results[0][test][min]:.2%} to {results[0][test][max]:.2%}, {seeds} seeds), in
{results[0][seconds][mean]:.0f} seconds.""",
    "weight_scales": """\
With weights of standard deviations from {scales[0]:g} to {scales[12]:g}, the validation accuracy is
{plain[lowest]:.1%} to {plain[highest]:.1%} without batch normalisation, and {batchnorm[lowest]:.1%}
to {batchnorm[highest]:.1%} with it.""",
    "autograder": """\
Of the {mistakes} mistakes it knows, the autograder reports {ours}, as failures or, where the
assignment asks for no more, as warnings; it names {named}. The kind of test that courses publish
for a layer, a fixed example and the numerical gradient of the student's own forward pass, catches
{theirs} of the {covered} in layers; update rules and models were not compared.""",
}
READING = {                     # how to read a picture, for some by the script that draws it
    "hidden_sizes": "Each point is one training: to the right there are more hidden units, and the "
                    "higher, the more validation digits were read right; the best is bold.",
    "filters": "Each square holds the weights that a filter multiplies with the pixels under it: "
               "ink on red raises its response, ink on blue lowers it, and where a filter has a "
               "red line with blue beside it, it looks for such a stroke.",
    "feature_maps": "To the left of each map stands its filter, and the map is bright where the "
                    "digit looks like that filter; all maps are on one scale, so a dark one found "
                    "nothing.",
    "confusion_matrix": "Each row is a true digit and each column what the network reads: off the "
                        "diagonal, colour and number say how often one was taken for the other.",
    "mistakes": "These test digits were misread with the highest probabilities: `read` is the "
                "network's answer and `true` is the label, each with the probability that the "
                "network gives it.",
    "captions_val": "Above each scene stands what the network wrote and whether it is true, and "
                    "below it some of its true captions.",
    "predictions_finetune": "Above each picture stands the class that the network predicts with "
                            "its probability; red ones are wrong, and name the true class.",
    "learning_curves": {
        "cnn_train": "Left, the loss of each mini-batch (grey) jumps, so its mean over the last "
                     "quarter of an epoch (blue) shows whether it still falls; right, after each "
                     "epoch, the share of digits read right, and a gap between training and "
                     "validation data is overfitting.",
        "image_captioning": "Left, the loss of whole captions in each mini-batch (grey) and its "
                            "mean over the last quarter of an epoch (blue); right, the lower the "
                            "loss per word the better, the higher the dotted BLEU-4 the better, "
                            "and a gap between training and validation data is overfitting.",
        "transfer_learning": "Each scenario has a colour, solid on validation pictures and dashed "
                             "on training pictures; left, the lower the better, right, the higher "
                             "the better, and epoch 0 is before training."},
}
PERFORMANCE = {                 # gap of performance.md -> the run that fills it
    **dict.fromkeys(("speed", "busy", "growth", "convolution", "homework"), "benchmark"),
    "ideas": "ideas"}
README = {"hidden sizes": "mnist_train", "caught": "autograder"}
ACCURACY = "{test_accuracy:.2%} of MNIST's test images"
BLEU = "Flickr8k: loss per word {val_loss_per_word:.2f}, BLEU-4 {bleu_beam[3]:.3f}"
EXPERIMENTS = {                 # the rows of README's table
    "mnist_train": ("two-layer network", ACCURACY),
    "cnn_train": ("convolutional network", ACCURACY),
    "cnn_deep": ("deep convolutional network", ACCURACY),
    "captions_rnn": ("captions, RNN", BLEU),
    "captions_lstm": ("captions, LSTM", BLEU),
    "transfer_squeezenet": ("transfer learning", "fine-tuned {finetune[val_accuracy]:.2%}, frozen "
                            "{freeze[val_accuracy]:.2%}, from scratch {scratch[val_accuracy]:.2%}"),
}

def gather(folder, name):
    """Take over the pictures of a run; returns its figures. UserError if it had other settings."""
    path = folder / f"{name}.json"
    path = path if path.exists() else folder / name / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    check(name, metrics)
    for picture in RUNS[name].pictures:
        copy_picture(path.with_name(f"{picture}.png"), FIGURES / f"{name}_{picture}.png")
    if name == "benchmark":
        figure = RUNS[name].module().ratios_figure(metrics)
        save_atomically(FIGURES / "benchmark_ratios.png",
                        lambda file: figure.savefig(file, format="png"))
    return needed(name, metrics)


def check(name, metrics):
    """Raise UserError unless the run had the data and the settings of its command."""
    run = RUNS[name]
    actual, expected = {"seed": metrics.get("seed", 0)}, {"seed": 0}
    if "config" in metrics:
        actual |= bare(metrics["config"]) | {"data": metrics["data"]}
        expected |= config_of(run)
    if name == "benchmark":
        module = run.module()
        args = module.arguments(run.command.split()[2:])
        for threads in map(module.threads_name, args.threads):
            actual[threads], expected[threads] = sorted(metrics.get(threads, ())), sorted(args.only)
        actual["data"], expected["data"] = metrics["data"], module.data_names(args)
    other = {key: value for key, value in actual.items() if value != expected.get(key, value)}
    if other:
        raise experiment.UserError(f"{name} was not run as `{run.command}`, but with {other}")


def config_of(run):
    """The settings that a script's command gives, and the data."""
    module, kind = run.module(), "synthetic" if "--data synthetic" in run.command else "real"
    args = module.arguments(run.command.split()[2:])
    if hasattr(module, "with_defaults"):        # those that depend on the data
        args = module.with_defaults(args, kind)
    return bare(experiment.config_of(args)) | {"data": kind}


def bare(config):
    """Settings without the folders of the machine."""
    return {key: pathlib.Path(value).name if isinstance(value, str) else value
            for key, value in config.items()}


def needed(name, metrics):
    """The metrics without each step, the machine's folders and the captions that people wrote."""
    kept = {key: value for key, value in metrics.items()
            if key not in ("history", "samples", "data_dir")}
    if "config" in kept:
        kept["config"] = bare(kept["config"])
    if RUNS[name].captions:
        kept["samples"] = {part: [in_bold(**sample) for sample in samples]
                           for part, samples in metrics["samples"].items()}
    return kept


def in_bold(written, references):
    """A caption; the words that are also in a reference of the picture are bold."""
    theirs = " ".join(references).split()
    return " ".join(f"**{word}**" if word in theirs else word for word in written.split())


def copy_picture(source, target):
    """Copy a PNG file; a large one with fewer colours."""
    from PIL import Image
    with Image.open(source) as picture:
        if source.stat().st_size > LARGE_PICTURE:
            picture = picture.convert("RGB").quantize(256)
        save_atomically(target, lambda file: picture.save(file, "PNG", optimize=True))


def filled(text, results):
    """A document with its gaps filled."""
    def gap(match):
        name = match[2]
        content = experiments(results) if name == "experiments" else \
            performance(name, results) if name in PERFORMANCE else \
            said(README[name], results) if name in README else passage(name, results)
        return f"{match[1]}\n{content}\n\n{match[3]}"

    return GAP.sub(gap, text)


def said(name, results):
    """What a run came to: what the command prints at its end, or a sentence."""
    run = RUNS[name]
    if name not in results:
        return f"**Not measured:** `{run.command}`"
    if name in SENTENCES:
        return SENTENCES[name].format(**results[name])
    module = run.module()
    text = module.summary(results[name], f"results/{module.__name__}")
    return "```text\n" + text.strip("\n") + "\n```"


def performance(gap, results):
    """A passage of performance.md; the first one of a run says where it is from."""
    name = PERFORMANCE[gap]
    if name not in results:
        return f"**Not measured:** `{RUNS[name].command}`"
    parts = [RUNS[name].module().PASSAGES[gap](results[name])]
    if gap in ("speed", "ideas"):
        parts.insert(0, origin(name, results[name]))
    if gap == "speed":
        parts.append("![Ratios](figures/benchmark_ratios.png)")
    return "\n\n".join(parts)


def origin(name, result):
    """Which data, which command, how long, on what machine."""
    run = RUNS[name]
    on = result.get("machine") or machine(result["environment"])
    return (f"> {run.data.format(**result)} · `{run.command}` · "
            f"{result['seconds'] / 60:.1f} minutes on {on}")


def machine(*environments):
    """What experiment.environment() found, in words; of several, each different value once."""
    def values(key):
        return " or ".join(dict.fromkeys(
            str(found[key]) for found in environments if found.get(key)))

    threads = values("threads")
    parts = (values("processor"), values("machine"), f"{values('cores')} cores",
             threads and f"{threads} BLAS thread{'s' * (threads != '1')}",
             f"Python {values('python')}", f"NumPy {values('numpy')}",
             values("torch") and f"PyTorch {values('torch')}")
    return ", ".join(part for part in parts if part)


def passage(name, results):
    """What results.md says of a run: origin, outcome, captions, pictures."""
    run, result, parts = RUNS[name], results.get(name), [said(name, results)]
    if result:
        parts.insert(0, origin(name, result))
        if run.captions:
            parts.append(captions(result["samples"]))
        for picture in run.pictures:
            reading = READING[picture]
            parts += [f"![{picture.replace('_', ' ').capitalize()}](figures/{name}_{picture}.png)",
                      reading if isinstance(reading, str) else reading[run.module().__name__]]
    return "\n\n".join(parts)


def captions(samples):
    """What the network writes."""
    titles = {"train": "Pictures it has learned from:", "val": "Pictures it has never seen:"}
    return "\n\n".join("\n".join([titles[part], "", *(f"* {caption}" for caption in captions)])
                       for part, captions in samples.items())


def experiments(results):
    """README's table, and on what machine it was measured."""
    rows = ["| experiment | command | time | result |", "| --- | --- | --- | --- |"]
    for name, (title, text) in EXPERIMENTS.items():
        result = results.get(name)
        cells = f"{result['seconds'] / 60:.1f} minutes | {text.format(**result)}" if result else \
            "| not measured"
        rows.append(f"| {title} | `{RUNS[name].command}` | {cells} |")
    environments = {title: results[name]["environment"]
                    for name, (title, _) in EXPERIMENTS.items() if name in results}
    if environments:
        rows += ["", textwrap.fill(measured_on(environments), 100, break_on_hyphens=False)]
    return "\n".join(rows)


def measured_on(environments):
    """A sentence on the machine and its software; environments are by the experiments' titles."""
    by_threads = {}
    for title, environment in environments.items():
        by_threads.setdefault(environment["threads"], []).append(title)
    threads = ", ".join(f"{number or 'as many as BLAS takes by itself'} ({'; '.join(titles)})"
                        for number, titles in by_threads.items())
    others = ({**environment, "threads": None} for environment in environments.values())
    return f"Measured on {machine(*others)}; BLAS threads: {threads}."


def main(argv=None):
    """Parse, gather if asked to, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(names=())
    gathering = parser.add_subparsers().add_parser("gather", help="take over what runs have left")
    gathering.add_argument("folder", type=pathlib.Path, metavar="FOLDER")
    gathering.add_argument("names", nargs="+", choices=RUNS, metavar="NAME")
    args = parser.parse_args(argv)
    results = json.loads(STORED.read_text(encoding="utf-8"))
    results |= {name: gather(args.folder, name) for name in args.names}
    texts = {STORED: json.dumps(results, indent=1) + "\n",
             **{path: filled(path.read_text(encoding="utf-8"), results)
                for path in DOCUMENTS}}
    for path, text in texts.items():
        save_atomically(path, lambda file: file.write(text.encode()))


if __name__ == "__main__":
    experiment.run(main)
