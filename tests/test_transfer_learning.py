"""Transfer learning on tiny networks and tiny pictures, and the script as a user runs it."""
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from PIL import Image
from torch import nn

import experiment
import transfer_learning as tl
from checkpoint import CheckpointError
from data.download import DownloadError
from test_scripts import at_once

ROOT = pathlib.Path(__file__).resolve().parent.parent

torch.set_num_threads(1)        # the networks are tiny, and other processes have work to do, too


def colour_pictures(count, side=16):
    """Noise with a tinge that tells the class: (X uint8, y)."""
    rng = np.random.default_rng(count)
    y = rng.permutation(count) % 2
    X = rng.integers(0, 200, (count, side, side, 3))
    X[..., 0] += 50 * y[:, None, None]
    return X.astype(np.uint8), y


def colour_loaders(train=30, val=20, side=16, batch_size=8):
    """The script's loaders of such pictures."""
    args = types.SimpleNamespace(image_size=side * 3 // 4, batch_size=batch_size, min_area=0.3,
                                 seed=0)
    (X_train, y_train), (X_val, y_val) = colour_pictures(train, side), colour_pictures(val, side)
    return tl.loaders_of(args, {"X_train": X_train, "y_train": y_train, "X_val": X_val,
                                "y_val": y_val})


class TinyNet(nn.Module):
    """Convolution, BatchNorm, dropout, linear layer."""

    def __init__(self, num_classes=5):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
                                      nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2))
        self.fc = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.fc(self.features(x))


def tiny_net(num_classes=5, seed=0):
    """A tiny network whose BatchNorm has seen pictures."""
    torch.manual_seed(seed)
    model = TinyNet(num_classes)
    model(next(iter(colour_loaders()["val"]))[0])
    return model


def copied_state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_state(got, expected, but=()):
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected if name not in but)


# ---------------------------------------------------------------- pictures in mini-batches

def epoch_of(loader, epoch):
    tl.set_epoch(loader, epoch)
    return list(loader)


def test_each_picture_comes_once_an_epoch_with_new_crops_and_epochs_repeat():
    loader = colour_loaders()["train"]
    loader.dataset.y = np.arange(30)
    first, second, again = (epoch_of(loader, epoch) for epoch in (1, 2, 1))
    assert [tuple(x.shape) for x, _ in first] == [(8, 3, 12, 12)] * 3 + [(6, 3, 12, 12)]
    assert [len(y) for _, y in colour_loaders(train=17)["train"]] == [8, 8]     # none is alone
    order = torch.cat([y for _, y in first]).tolist()
    assert sorted(order) == list(range(30)) and order != sorted(order)
    assert order != torch.cat([y for _, y in second]).tolist()
    assert all(torch.equal(x, same) for (x, _), (same, _) in zip(first, again))
    crops = [torch.cat([x for x, _ in batches])[torch.cat([y for _, y in batches]).argsort()]
             for batches in (first, second)]
    assert not any(torch.equal(*pair) for pair in zip(*crops))


# ---------------------------------------------------------------- train_model

def train_tiny(epochs=6, **options):
    """Train a tiny network. Returns (model, history)."""
    model = tiny_net(2)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    torch.manual_seed(1)
    history = tl.train_model(model, colour_loaders(), optimizer, scheduler, epochs, **options)
    assert history.pop("seconds") > 0
    return model, history


def test_it_learns_and_reports_each_epoch(capsys):
    _, history = train_tiny(12, label="tiny")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12 and all(line.startswith("tiny  epoch ") for line in lines)
    assert "loss" in lines[0] and "left" in lines[0]
    assert f"val {history['val_accuracy'][0]:.2%}" in lines[0]
    assert max(history["val_accuracy"]) > 0.85


def test_the_best_weights_are_restored_and_each_epoch_has_crops_of_its_own():
    """With a criterion that drives the scores the wrong way after some epochs."""
    loaders, seen, epochs = colour_loaders(), [], []
    loaders["train"].dataset.set_epoch = epochs.append

    def criterion(scores, y):
        seen.append(copied_state(model))
        return nn.functional.cross_entropy(scores, y if len(seen) < 60 else 1 - y)

    model = tiny_net(2)
    before = tl.one_pass(model, loaders["val"])
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, 1)
    history = tl.train_model(model, loaders, optimizer, scheduler, 14, criterion=criterion)
    assert epochs == list(range(1, 15))
    assert (history["before"]["loss"], history["before"]["accuracy"]) == before
    best = int(np.argmax(history["val_accuracy"]))
    assert history["val_accuracy"][-1] < history["val_accuracy"][best] - 0.2
    assert history["best_epoch"] == best + 1
    # 3 validation batches before the training, then 4 + 3 in each epoch
    assert_same_state(model.state_dict(), seen[3 + 7 * best + 4])


def test_resume_equals_never_stopping(tmp_path):
    left = [3 + 7 * 3 + 2]              # batches until the fourth epoch, and two of its own

    def criterion(scores, y):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return nn.functional.cross_entropy(scores, y)

    whole, whole_history = train_tiny()
    with pytest.raises(KeyboardInterrupt):
        train_tiny(criterion=criterion, checkpoint=tmp_path / "checkpoint.npz")
    for _ in range(2):                  # the second time, nothing is left to do
        resumed, history = train_tiny(checkpoint=tmp_path / "checkpoint.npz", resume=True)
        assert history == whole_history
        assert_same_state(resumed.state_dict(), whole.state_dict())


def test_another_training_and_a_damaged_checkpoint_are_refused(tmp_path):
    path = tmp_path / "checkpoint.npz"
    train_tiny(epochs=1, checkpoint=path, settings={"rate": 0.1})
    with pytest.raises(CheckpointError, match="epochs"):
        train_tiny(epochs=2, checkpoint=path, resume=True, settings={"rate": 0.1})
    with pytest.raises(CheckpointError, match="rate"):
        train_tiny(epochs=1, checkpoint=path, resume=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="checkpoint.npz .*Delete it"):
        train_tiny(epochs=1, checkpoint=path, resume=True, settings={"rate": 0.1})


# ---------------------------------------------------------------- the scenarios

@pytest.mark.parametrize("arch, name", [
    ("resnet18", "fc"), ("squeezenet1_1", "classifier.1"), ("densenet121", "classifier"),
    ("vgg11", "classifier.6"), ("vit_b_16", "heads.head"), ("convnext_tiny", "classifier.2")])
def test_the_last_layer_is_found_and_replaced_for_each_family(arch, name):
    with torch.device("meta"):          # shapes without numbers, so that nothing is computed
        model = torchvision.models.get_model(arch, num_classes=10).eval()
        replaced, head = tl.replace_last_layer(model, 3)
        assert tl.last_layer(model) == name and replaced.get_submodule(name) is head
        for network, count in ((replaced, 3), (model, 10)):
            assert network(torch.zeros(2, 3, 224, 224)).shape == (2, count)


def test_scores_of_squeezenet_may_be_negative():
    model, head = tl.replace_last_layer(torchvision.models.squeezenet1_1(), 2)
    nn.init.constant_(head.bias, -1e4)
    with torch.no_grad():
        assert (model(torch.zeros(1, 3, 33, 33)) < 0).all()


@pytest.mark.parametrize("build", [tiny_net, torchvision.models.squeezenet1_1])
def test_frozen_features_train_as_the_whole_network_would_with_all_else_frozen(build):
    model, loaders = build(), colour_loaders(12, 10, side=44)
    before, own = copied_state(model), tl.last_layer(model)
    train = epoch_of(loaders["train"], 1) + epoch_of(loaders["train"], 2)
    torch.manual_seed(3)
    frozen, history = tl.freeze(model, loaders, 2, num_epochs=3, views=2)
    torch.manual_seed(3)
    whole, head = tl.replace_last_layer(model, 2)
    assert not torch.equal(frozen.get_submodule(own).weight, head.weight)       # it has learned
    whole.requires_grad_(False)
    head.requires_grad_(True)
    whole.train = lambda mode=True: nn.Module.train(whole, False)               # no dropout
    optimizer = torch.optim.SGD(head.parameters(), 0.003, momentum=0.9)
    expected = tl.train_model(whole, {"train": train, "val": loaders["val"]}, optimizer,
                              torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3), 3)
    assert history["before"] == pytest.approx(expected["before"], rel=1e-4)
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(history[name], expected[name], rtol=1e-4)
    for got, wanted in zip(frozen.parameters(), whole.parameters()):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-5)
    assert_same_state(model.state_dict(), before)
    assert_same_state(frozen.state_dict(), before, but=[f"{own}.weight", f"{own}.bias"])
    assert {name for name, weights in frozen.named_parameters() if weights.requires_grad} == \
        {f"{own}.weight", f"{own}.bias"}


def test_finetune_trains_all_or_all_but_batchnorm_and_leaves_the_original():
    model, moved = tiny_net().requires_grad_(False), []     # as freeze leaves it
    before = copied_state(model)
    trained, _ = tl.finetune(model, colour_loaders(), 2, num_epochs=2)
    for name, value in trained.state_dict().items():
        assert value.shape != before[name].shape or not torch.equal(value, before[name]), name
    for rate in (1e-4, 1e-3, 1e-2):
        torch.manual_seed(1)
        trained, _ = tl.finetune(model, colour_loaders(), 2, num_epochs=1, backbone_rate=rate,
                                 freeze_batchnorm=True)
        assert_same_state(trained.features[1].state_dict(), model.features[1].state_dict())
        moved.append((trained.features[0].weight - model.features[0].weight).norm())
    assert 0 < moved[0] < moved[1] < moved[2]
    assert_same_state(model.state_dict(), before)


# ---------------------------------------------------------------- weights

def saved(state, path):
    torch.save(state, path)
    return str(path)


def test_weights_are_loaded_also_in_float16_and_of_another_number_of_classes(tmp_path):
    other = tiny_net(7, seed=1).half()
    model = tl.load_weights(tiny_net(5), saved(other.state_dict(), tmp_path / "weights.pth"))
    assert_same_state(model.state_dict(), other.float().state_dict())


@pytest.mark.parametrize("content, message", [
    (lambda: b"", "EOFError"), (lambda: b"<!DOCTYPE html>", "not a state dict of TinyNet"),
    (lambda: [1, 2], "TypeError"), (lambda: {"fc.weight": os.mkdir}, "UnpicklingError"),
    (lambda: nn.Linear(2, 2).state_dict(), "KeyError: 'fc.weight'"),
    (lambda: {**tiny_net().state_dict(), "fc.bias": torch.zeros(3)}, "size mismatch for fc.bias")],
    ids=["empty", "html", "list", "code", "other network", "shape"])
def test_what_is_no_state_dict_of_the_network_is_named(content, message, tmp_path):
    content, path = content(), tmp_path / "weights.pth"
    path.write_bytes(content) if isinstance(content, bytes) else saved(content, path)
    with pytest.raises(experiment.UserError, match=message) as error:
        tl.load_weights(tiny_net(), path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_weights_are_downloaded_once_and_a_cached_file_of_something_else_is_named(
        tmp_path, monkeypatch):
    saved(tiny_net(seed=1).state_dict(), tmp_path / "right.pth")
    content = (tmp_path / "right.pth").read_bytes()
    url = f"https://nowhere/tiny-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    asked = []

    def download(url, path, **options):
        asked.append(url)
        pathlib.Path(path).write_bytes(content)

    weights = types.SimpleNamespace(DEFAULT=types.SimpleNamespace(url=url))
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda arch: weights)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(tl, "build_model", lambda arch: TinyNet())
    monkeypatch.setattr(tl, "download", download)
    (tmp_path / "checkpoints").mkdir()
    for _ in range(2):
        assert_same_state(tl.imagenet_model("resnet18").state_dict(), tiny_net(seed=1).state_dict())
    assert asked == [url]
    path = tmp_path / "checkpoints" / os.path.basename(url)
    for wrong in (b"", b"<!DOCTYPE html>", content[:-1]):
        path.write_bytes(wrong)
        with pytest.raises(experiment.UserError) as error:
            tl.imagenet_model("resnet18")
        assert str(error.value) == (f"{path} does not hold the ImageNet weights of resnet18 (wrong "
                                    "checksum). Delete it and run again")


# ---------------------------------------------------------------- figures

def test_visualize_model_shows_pictures_with_what_is_predicted():
    loader, model, names = colour_loaders()["val"], tiny_net(2), ["dull", "a red one among them"]
    figure = tl.visualize_model(model, loader, names, num_images=10, title="title")
    assert len(figure.axes) == 10 and figure.get_suptitle() == "title"
    probabilities, labels = tl.predict(model, loader)
    assert len({axes.get_title().count("true") for axes in figure.axes}) == 2
    for axes, picture, said, label in zip(figure.axes, colour_pictures(20)[0], probabilities,
                                          labels):
        np.testing.assert_allclose(axes.images[0].get_array(), picture[2:14, 2:14] / 255, atol=1e-5)
        guess = said.argmax()
        true = "" if guess == label else f"\ntrue: {names[label][:16]}"
        assert axes.get_title() == f"{names[guess][:16]} {said[guess]:.0%}{true}"


def test_the_title_of_a_single_picture_is_not_cut():
    figure = tl.visualize_model(tiny_net(2), colour_loaders()["val"], "ab", 1, 10 * "long title ")
    figure.draw_without_rendering()
    title = figure._suptitle.get_window_extent()
    assert 0 <= title.x0 and title.x1 <= figure.bbox.width
    assert not title.overlaps(figure.axes[0].title.get_window_extent())


# ---------------------------------------------------------------- the script

def started_run(*arguments, launcher=(), env=None):
    """The script at work in a process of its own."""
    return subprocess.Popen(
        [sys.executable, *launcher, ROOT / "transfer_learning.py", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})})


def run(*arguments, expect=0, **options):
    """(output, errors) of the script; its exit code must be as expected."""
    with started_run(*arguments, **options) as process:
        try:
            output, errors = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == expect, output + errors
    return output, errors


def run_here(capsys, *arguments):
    """What the script prints, run within this process, which has imported PyTorch already."""
    tl.main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def failing_run(capsys, *arguments):
    """The message of a script that fails, its lines joined; it must exit with code 2."""
    with pytest.raises(SystemExit) as stop:
        experiment.run(lambda: tl.main([str(argument) for argument in arguments]))
    assert stop.value.code == 2
    return " ".join(capsys.readouterr().err.split()) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures in the layout of an ImageFolder, of a tinge that tells the class."""
    root = tmp_path_factory.mktemp("pictures")
    for part, count in (("train", 22), ("val", 14)):
        X, y = colour_pictures(count, side=40)
        for number, (pixels, label) in enumerate(zip(X, y)):
            place = root / part / ("dull", "red")[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"{number}.png")
    (root / "train" / "dull" / "broken.jpg").write_bytes(b"no picture")
    return root


SMALL = ["--arch", "mobilenet_v3_small", "--weights", "none", "--image-size", 33, "--epochs", 2,
         "--batch-size", 8, "--device", "cpu"]
PICTURES = {"learning_curves.png", *(f"predictions_{name}.png" for name in tl.SCENARIOS)}


def metrics_of(folder):
    """The metrics of a run without its times."""
    metrics = json.loads((folder / "metrics.json").read_text())
    for part in (metrics, *metrics["history"].values(), *map(metrics.get, metrics["history"])):
        part.pop("seconds")
    return metrics


def assert_same_run(actual, expected):
    """Metrics, weights and pictures are the same bits, and no half-written file is left."""
    assert metrics_of(actual) == metrics_of(expected)
    assert sorted(path.name for path in actual.rglob("*")) == \
        sorted(path.name for path in expected.rglob("*"))
    for name in tl.SCENARIOS:
        assert_same_state(*(torch.load(folder / f"{name}.pth", weights_only=True)
                            for folder in (actual, expected)))
    for path in expected.glob("*.png"):
        assert (actual / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.long
def test_a_folder_of_pictures_and_resume_equals_never_stopping(folder, tmp_path, capsys):
    options = [*SMALL, "--data-dir", folder, "--seed", 3]

    def stop_and_go_on():
        process = started_run(*options, "--out", tmp_path / "stopped")
        while "frozen  epoch 1/2" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 130 and errors.strip().endswith("--resume")
        assert "Traceback" not in errors
        run(*options, "--out", tmp_path / "stopped", "--resume")

    (printed, errors), _ = at_once(lambda: run(*options, "--out", tmp_path / "whole"),
                                   stop_and_go_on)
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
    metrics = metrics_of(tmp_path / "whole")
    assert errors == "" and "skipped: 1 " in printed and "broken.jpg" in printed
    assert metrics["data"] == "real" and metrics["classes"] == ["dull", "red"]
    assert (metrics["num_train"], metrics["num_val"]) == (22, 14)
    assert metrics["freeze"]["trained_parameters"] == 2 * 1025
    for name in tl.SCENARIOS:
        assert metrics[name]["val_accuracy"] == max(metrics["history"][name]["val_accuracy"])
        assert f"{metrics[name]['val_accuracy']:.2%}" in printed
    assert PICTURES <= set(os.listdir(tmp_path / "whole"))
    options += ["--out", tmp_path / "stopped", "--resume"]
    assert "This run is finished" in run_here(capsys, *options)
    with pytest.raises(CheckpointError, match="learning_rate"):
        run_here(capsys, *options, "--learning-rate", 1)


def test_a_fresh_run_replaces_an_older_one_and_resume_refuses_other_pictures_and_weights(
        folder, tmp_path, capsys, monkeypatch):
    out, pictures = tmp_path / "out", shutil.copytree(folder, tmp_path / "pictures")
    monkeypatch.setattr(tl, "build_model", lambda *_: TinyNet())
    monkeypatch.setattr(experiment, "save_figure", lambda args, name, _: (out / name).touch())
    out.mkdir()
    for name in ("mistakes_scratch.png", "predictions_finetune.png", "scratch.pth", "own.png"):
        (out / name).touch()
    model = tiny_net()
    weights = saved(model.state_dict(), tmp_path / "weights.pth")
    options = [*SMALL, "--weights", weights, "--scenarios", "freeze", "--data-dir", pictures,
               "--out", out]
    run_here(capsys, *options)
    assert {path.name for path in out.iterdir()} - {"mistakes_freeze.png"} == {
        "checkpoints", "metrics.json", "freeze.pth", "learning_curves.png",
        "predictions_freeze.png", "own.png"}
    (out / "metrics.json").unlink()                     # as if stopped before the end

    def refused(name):
        with pytest.raises(CheckpointError, match=name):
            run_here(capsys, *options, "--resume")

    model.features[0].weight.data += 1
    saved(model.state_dict(), weights)
    refused("hash of the pretrained weights")
    picture = next((pictures / "val/red").iterdir())
    picture.write_bytes(next((pictures / "train/dull").glob("*.png")).read_bytes())
    refused("hash of the pictures")
    for part in ("train", "val"):
        (pictures / part / "red").rename(pictures / part / "scarlet")
    refused("scarlet")


@pytest.mark.slow
def test_killed_at_fifty_random_moments(folder, tmp_path, capsys):
    """Each a run that is killed, resumed and compared with one that never was."""
    options = [*SMALL, "--data-dir", folder]
    started = time.monotonic()
    run(*options, "--out", tmp_path / "whole")
    seconds = time.monotonic() - started
    rng = np.random.default_rng(0)
    kills = identical = 0
    while kills < 50:
        out = tmp_path / str(kills)
        process = started_run(*options, "--out", out)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=rng.uniform(0.1, 1) * seconds)
        process.kill()
        process.communicate()
        if process.returncode == 0:             # it was done before its moment came
            shutil.rmtree(out)
            continue
        kills += 1
        run(*options, "--out", out, "--resume")
        assert_same_run(out, tmp_path / "whole")
        identical += 1
    with capsys.disabled():
        print(f"\ntransfer_learning: {kills} kills, {identical} identical")


@pytest.mark.long
def test_two_processes_do_what_one_does(folder, tmp_path):
    """Dropout and BatchNorm's batches differ between processes, so this network has neither."""
    options = [*SMALL, "--data-dir", folder, "--freeze-batchnorm", "--scenarios", "finetune",
               "freeze", "--batch-size", 6, "--arch", "shufflenet_v2_x0_5"]
    _, (printed, errors) = at_once(
        lambda: run(*options, "--out", tmp_path / "one"),
        lambda: run(*options, "--out", tmp_path / "two", launcher=[
            "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]))
    assert printed.count("frozen  epoch 2/2") == 1 and "Warning" not in errors
    one, two = (metrics_of(tmp_path / name) for name in ("one", "two"))
    assert (one["processes"], two["processes"]) == (1, 2)
    for name in ("finetune", "freeze"):
        assert one[name]["val_accuracy"] == two[name]["val_accuracy"]
        for measure in ("train_loss", "val_loss", "train_accuracy", "val_accuracy"):
            np.testing.assert_allclose(two["history"][name][measure],
                                       one["history"][name][measure], rtol=2e-4)


@pytest.mark.long
def test_the_offline_experiment(tmp_path):
    printed, _ = run("--quick", "--data", "synthetic", "--arch", "shufflenet_v2_x0_5",
                     "--out", tmp_path)
    assert "*** SYNTHETIC DATA" in printed and "drawn ants and bees" in printed
    metrics = metrics_of(tmp_path)
    assert metrics["data"] == "synthetic"
    assert metrics["weights"] == "weights learned from drawn shapes"
    assert all(0.3 < metrics[name]["val_accuracy"] <= 1 for name in tl.SCENARIOS)
    assert PICTURES <= set(os.listdir(tmp_path))


@pytest.mark.parametrize("arguments, message", [
    (["--data-dir", "no/such/folder"], "no/such/folder"),
    (["--arch", "resnet99"], "resnet99 is unknown"),
    (["--weights", "no/such/file.pth"], "no/such/file.pth: No such file"),
    (["--device", "quantum"], "--device quantum cannot be used"),
    (["--scratch-rate", "1e30", "--scenarios", "scratch"], "try a learning rate ten times smaller"),
    (["--data", "synthetic"], "--data-dir is for real data"),
    (["--epochs", "0"], "--epochs"), (["--batch-size", "1"], "--batch-size expects at least two"),
    (["--arch", "alexnet"], "AlexNet cannot be trained on pictures of 33 x 33 pixels"),
    (["--arch", "googlenet", "--image-size", "64"], "GoogLeNet cannot be trained"),
])
@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet")
def test_wrong_use_is_one_line_and_exit_code_2(arguments, message, folder, tmp_path, capsys):
    (tmp_path / "finetune.pth").touch()         # of an older run, which a mistake must not cost
    error = failing_run(capsys, "--data-dir", folder, *SMALL, "--out", tmp_path, *arguments)
    assert (tmp_path / "finetune.pth").exists() or "learning rate" in message
    assert message in error and error.splitlines()[-1].count("error: ") == 1


def test_lack_of_memory_is_one_line(capsys, monkeypatch):
    def hungry(args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(tl, "load_pictures", hungry)
    message = failing_run(capsys, "--device", "cpu")
    assert message.startswith("error: not enough memory: CUDA out of memory")
    assert message.count("\n") == 1


def test_without_a_network_insects_are_drawn_and_weights_are_named(tmp_path, capsys, monkeypatch):
    def unreachable(url, path, **options):
        raise DownloadError(f"no network, put it at {path}")

    monkeypatch.setattr("data.hymenoptera.download", unreachable)
    monkeypatch.setattr("data.hymenoptera.FOLDER", str(tmp_path / "hymenoptera_data"))
    monkeypatch.setattr(tl, "download", unreachable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setitem(tl.DRAWN, True, (24, 8, 8))
    error = failing_run(capsys, "--data", "real", "--out", tmp_path)
    assert error == f"error: no network, put it at {tmp_path}/hymenoptera_data.zip\n"
    error = failing_run(capsys, "--quick", "--weights", "imagenet", "--out", tmp_path)
    assert error.startswith(f"error: no network, put it at {tmp_path}/checkpoints/resnet18-")
    monkeypatch.setattr(tl, "build_model", lambda *_: TinyNet())
    printed = run_here(capsys, "--quick", "--scenarios", "freeze", "--out", tmp_path)
    assert "not available: no network" in printed and "*** SYNTHETIC DATA" in printed


def test_without_torch_one_line_says_how_to_install_it(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')")
    _, errors = run("--help", expect=2, env={"PYTHONPATH": str(tmp_path)})
    assert errors == "error: torch is missing: python -m pip install torch torchvision\n"
