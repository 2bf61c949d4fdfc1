"""Transfer learning on tiny networks and tiny pictures, and the script as a user runs it."""
import io
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from torch import nn

import experiment
import transfer_learning as tl
from data.download import DownloadError
from solver import CheckpointError, DivergedError
from test_scripts import at_once

ROOT = pathlib.Path(__file__).resolve().parent.parent

torch.set_num_threads(1)        # the networks are tiny, and other processes have work to do, too


def colour_pictures(count, side=16, seed=0):
    """Noise with a tinge that tells the class: (X uint8, y)."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    X = rng.integers(0, 200, (count, side, side, 3))
    X[..., 0] += 50 * y[:, None, None]
    return X.astype(np.uint8), y


def colour_loaders(batch_size=8, **options):
    """PictureBatches of 30 training and 20 validation pictures."""
    return {part: tl.PictureBatches(*colour_pictures(count, seed=count), batch_size=batch_size,
                                    size=12, augment=part == "train", **options)
            for part, count in (("train", 30), ("val", 20))}


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
    torch.manual_seed(seed)
    return TinyNet(num_classes)


def copied_state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_state(got, expected, but=()):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        if name not in but:
            assert got[name].dtype == value.dtype and torch.equal(got[name], value), name


# ---------------------------------------------------------------- the last layer

@pytest.mark.parametrize("arch, name", [
    ("resnet18", "fc"), ("squeezenet1_1", "classifier.1"), ("mobilenet_v2", "classifier.1"),
    ("mobilenet_v3_small", "classifier.3"), ("efficientnet_b0", "classifier.1"),
    ("shufflenet_v2_x0_5", "fc"), ("densenet121", "classifier"), ("mnasnet0_5", "classifier.1"),
    ("regnet_y_400mf", "fc"), ("convnext_tiny", "classifier.2"), ("vgg11", "classifier.6"),
    ("alexnet", "classifier.6"), ("vit_b_16", "heads.head"), ("swin_t", "head")])
def test_the_last_layer_is_found_and_replaced_for_each_family(arch, name):
    # Shapes without numbers, so that VGG's 500 MB are never allocated; RegNets compute theirs.
    with torch.device("cpu" if arch.startswith("regnet") else "meta"):
        model = torchvision.models.get_model(arch, weights=None, num_classes=10).eval()
        assert tl.last_layer(model) == name
        replaced, head = tl.replace_last_layer(model, 3)
        assert replaced.get_submodule(name) is head
        assert replaced(torch.zeros(2, 3, 224, 224)).shape == (2, 3)
        assert model(torch.zeros(2, 3, 224, 224)).shape == (2, 10)


def test_a_single_layer_is_replaced_whole():
    layer = nn.Linear(5, 3)
    replaced, head = tl.replace_last_layer(layer, 2)
    assert replaced is head and head.out_features == 2 and layer.out_features == 3
    assert not list(replaced.children())


def test_a_model_without_a_last_layer_is_named():
    with pytest.raises(ValueError, match="Sequential has none"):
        tl.last_layer(nn.Sequential(nn.ReLU()))


@pytest.mark.parametrize("fresh", [
    lambda arch: tl.build_model(arch, 2),
    lambda arch: tl.replace_last_layer(torchvision.models.get_model(arch, num_classes=10), 2)[0],
], ids=["built", "replaced"])
@pytest.mark.parametrize("arch, changed", [
    ("squeezenet1_1", ["classifier.2"]), ("shufflenet_v2_x0_5", []), ("mobilenet_v2", [])])
def test_no_activation_follows_the_last_layer(arch, changed, fresh):
    model, original = fresh(arch).eval(), torchvision.models.get_model(arch, num_classes=2).eval()
    names = dict(original.named_modules())
    assert [name for name, module in model.named_modules()
            if type(module) is not type(names[name])] == changed
    original.load_state_dict(model.state_dict())
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 33, 33)).astype(np.float32))
    with torch.no_grad():
        last = model.get_submodule(tl.last_layer(model))
        last.bias.fill_(-1e4)
        assert (model(x) < 0).all()


def test_an_activation_elsewhere_stays():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5), nn.Flatten(), nn.ReLU())
    replaced, _ = tl.replace_last_layer(model, 2)
    assert [type(part) for part in replaced] == [type(part) for part in model]


# ---------------------------------------------------------------- batches

def test_each_picture_comes_once_an_epoch_and_epochs_repeat():
    X, y = colour_pictures(30)
    batches = tl.PictureBatches(X, np.arange(30), batch_size=8, size=12, augment=True, seed=1)
    assert len(batches) == 4
    orders = []
    for epoch in (1, 2, 1):
        batches.set_epoch(epoch)
        pairs = list(batches)
        assert all(x.shape == (len(labels), 3, 12, 12) for x, labels in pairs)
        orders.append((torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])))
    assert sorted(orders[0][1].tolist()) == list(range(30))
    assert orders[0][1].tolist() != orders[1][1].tolist()
    assert torch.equal(orders[0][0], orders[2][0]) and torch.equal(orders[0][1], orders[2][1])


def test_without_augmentation_the_centre_is_normalised():
    X, y = colour_pictures(3)
    (x, labels), = tl.PictureBatches(X, y, size=12)
    expected = (X[:, 2:14, 2:14] / 255 - np.array(tl.MEAN)) / np.array(tl.STD)
    np.testing.assert_allclose(x.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)
    assert labels.tolist() == y.tolist()


def test_no_batch_is_much_smaller_than_the_others():
    X, y = colour_pictures(17)
    batches = tl.PictureBatches(X, y, batch_size=8, size=12, augment=True)
    assert [len(labels) for _, labels in batches] == [6, 6, 5] and len(batches) == 3


@pytest.mark.parametrize("count, batch_size, processes, sizes", [
    (3, 2, 1, [3]), (5, 2, 1, [3, 2]), (6, 2, 1, [2, 2, 2]), (9, 4, 2, [5, 4]), (2, 8, 1, [2])])
def test_no_process_trains_on_a_single_picture(count, batch_size, processes, sizes, monkeypatch):
    monkeypatch.setattr(tl, "process_count", lambda: processes)
    X, y = colour_pictures(count)
    batches = tl.PictureBatches(X, y, batch_size=batch_size, size=12, augment=True)
    assert [len(batch) for batch in batches._batches(np.arange(count))] == sizes
    assert len(batches) == len(sizes)


def test_crops_stay_inside_and_keep_their_area_and_are_mirrored():
    crops = tl.random_crops(np.random.default_rng(0), 4000, 0.3)
    extent = np.abs(crops[:, [0, 1], [0, 1]])
    assert (extent + np.abs(crops[:, :, 2]) <= 1 + 1e-6).all()
    area = extent.prod(axis=1)
    assert 0.25 < area.min() < 0.32 and area.max() > 0.97
    assert 0.45 < (crops[:, 0, 0] < 0).mean() < 0.55
    assert (crops[:, 1, 1] > 0).all() and not crops[:, [0, 1], [1, 0]].any()


def test_a_full_crop_changes_nothing():
    X, y = colour_pictures(2)
    batches = tl.PictureBatches(X, y, size=16)
    whole = np.tile(np.eye(2, 3, dtype=np.float32), (2, 1, 1))
    (x, _), = batches
    torch.testing.assert_close(batches._batch(np.arange(2), whole)[0], x)


def test_subset_takes_pictures_in_order():
    X, y = colour_pictures(9)
    batches = tl.PictureBatches(X, np.arange(9), size=12, augment=True)
    (x, labels), = batches.subset([5, 2])
    assert labels.tolist() == [5, 2]
    assert torch.equal(x, batches.subset(np.array([5, 2])).__iter__().__next__()[0])


@pytest.mark.parametrize("change, message", [
    ({"X": np.zeros((4, 8, 8, 3))}, "uint8"),
    ({"X": np.zeros((4, 3, 8, 8), np.uint8)}, "number, S, S, 3"),
    ({"y": np.zeros(3, int)}, "one label for each"),
    ({"X": np.zeros((0, 8, 8, 3), np.uint8), "y": np.zeros(0, int)}, "at least one"),
    ({"size": 9}, "1 to 8"), ({"size": 0}, "1 to 8"),
    ({"augment": True, "batch_size": 1}, "at least two pictures")])
def test_wrong_pictures_are_named(change, message):
    arguments = {"X": np.zeros((4, 8, 8, 3), np.uint8), "y": np.zeros(4, int), "size": 8, **change}
    with pytest.raises(ValueError, match=f"PictureBatches: .*{message}"):
        tl.PictureBatches(**arguments)


# ---------------------------------------------------------------- train_model

def train_tiny(epochs=4, rate=0.1, **options):
    """Train a tiny network. Returns (model, history)."""
    model = tiny_net(2)
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    torch.manual_seed(1)
    history = tl.train_model(model, colour_loaders(), optimizer, epochs, scheduler=scheduler,
                             verbose=False, **options)
    assert history.pop("seconds") > 0
    return model, history


def test_it_learns_and_reports_each_epoch(capsys):
    model = tiny_net(2)
    history = tl.train_model(model, colour_loaders(), torch.optim.Adam(model.parameters(), 0.05),
                             12, label="tiny")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12 and all(line.startswith("tiny  epoch ") for line in lines)
    assert "loss" in lines[0] and "val " in lines[0] and "left" in lines[0]
    assert history["train_loss"][-1] < history["train_loss"][0]
    assert max(history["val_accuracy"]) > 0.85


def test_the_best_weights_are_restored():
    """With a criterion that drives the scores the wrong way after three epochs."""
    model, epoch = tiny_net(2), 0
    loaders = colour_loaders()
    seen = []

    class Watched:
        """The validation data; notes the weights whenever they are looked at."""
        def __len__(self):
            return len(loaders["val"])

        def __iter__(self):
            seen.append(copied_state(model))
            return iter(loaders["val"])

    def criterion(scores, y):
        return nn.functional.cross_entropy(scores, y if len(seen) < 9 else 1 - y)

    history = tl.train_model(model, {"train": loaders["train"], "val": Watched()},
                             torch.optim.Adam(model.parameters(), 0.05), 14, criterion=criterion,
                             verbose=False)
    best = int(np.argmax(history["val_accuracy"]))
    assert history["val_accuracy"][-1] < history["val_accuracy"][best] - 0.2
    assert history["best_epoch"] == best + 1
    assert_same_state(model.state_dict(), seen[best + 1])
    assert tl.evaluate(model, loaders["val"])[1] == history["val_accuracy"][best]
    assert history["before"]["accuracy"] == pytest.approx(
        tl.evaluate(tiny_net(2), loaders["val"])[1])


def test_any_dataloader_will_do():
    X, y = colour_pictures(20)
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(X).permute(0, 3, 1, 2) / 255,
                                             torch.from_numpy(y))
    loader = torch.utils.data.DataLoader(dataset, batch_size=6, shuffle=True)
    model = tiny_net(2)
    history = tl.train_model(model, {"train": loader, "val": loader},
                             torch.optim.SGD(model.parameters(), 0.1), 2, verbose=False)
    assert len(history["val_loss"]) == 2


def test_a_loader_is_told_the_epoch():
    told = []

    class Told(list):
        def set_epoch(self, epoch):
            told.append(epoch)

    x, y = torch.zeros(2, 3, 12, 12), torch.tensor([0, 1])
    model = tiny_net(2)
    tl.train_model(model, {"train": Told([(x, y)]), "val": [(x, y)]},
                   torch.optim.SGD(model.parameters(), 0.1), 3, verbose=False)
    assert told == [1, 2, 3]


class Stop(Exception):
    """As if Ctrl-C had been pressed."""


def stop_after(batches):
    """Cross-entropy of so many batches of training and validation, then Stop."""
    left = [batches]

    def criterion(scores, y):
        left[0] -= 1
        if left[0] < 0:
            raise Stop
        return nn.functional.cross_entropy(scores, y)

    return criterion


def test_resume_equals_never_stopping(tmp_path):
    path = tmp_path / "checkpoint.pth"
    whole, whole_history = train_tiny(epochs=6)
    with pytest.raises(Stop):  # in epoch 4, of 4 training and 3 validation batches each
        train_tiny(epochs=6, checkpoint=path, criterion=stop_after(3 + 3 * 7 + 2))
    content = torch.load(path, weights_only=True)["state"].numpy()
    state = torch.load(io.BytesIO(content), weights_only=True)
    assert len(state["history"]["val_loss"]) == 3
    torch.manual_seed(99)
    resumed, history = train_tiny(epochs=6, checkpoint=path, resume=True)
    assert history == whole_history
    assert_same_state(resumed.state_dict(), whole.state_dict())
    again, history = train_tiny(epochs=6, checkpoint=path, resume=True)
    assert history == whole_history
    assert_same_state(again.state_dict(), whole.state_dict())


@pytest.mark.parametrize("own", ["loader", "sampler", "batch_sampler"])
def test_resume_goes_on_with_the_generator_of_a_loader(own, tmp_path):
    X, y = colour_pictures(20)
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(X).permute(0, 3, 1, 2) / 255,
                                             torch.from_numpy(y))

    def train(**options):
        generator = torch.Generator().manual_seed(5)
        sampler = torch.utils.data.RandomSampler(dataset, generator=generator)
        loader = torch.utils.data.DataLoader(dataset, **{
            "loader": {"batch_size": 6, "shuffle": True, "generator": generator},
            "sampler": {"batch_size": 6, "sampler": sampler},
            "batch_sampler": {"batch_sampler": torch.utils.data.BatchSampler(sampler, 6, False)},
        }[own])
        torch.manual_seed(0)
        model, history = tl.finetune(tiny_net(), {"train": loader, "val": [(x, y) for x, y in [
            dataset[:]]]}, 2, num_epochs=3, verbose=False, **options)
        return model.state_dict(), history["train_loss"]

    path = tmp_path / "checkpoint.pth"
    whole, whole_losses = train()
    with pytest.raises(Stop):
        train(checkpoint=path, criterion=stop_after(1 + 5 + 2))
    resumed, losses = train(checkpoint=path, resume=True)
    assert losses == whole_losses
    assert_same_state(resumed, whole)


def test_numbers_of_numpy_can_be_resumed(tmp_path):
    options = {"num_epochs": np.int64(2), "learning_rate": np.float64(0.01), "verbose": False,
               "checkpoint": tmp_path / "checkpoint.pth",
               "settings": {"a": np.float64(1), "b": (1, np.arange(2))}}
    torch.manual_seed(0)
    whole, _ = tl.freeze(tiny_net(), colour_loaders(), 2, **options)
    resumed, _ = tl.freeze(tiny_net(), colour_loaders(), 2, resume=True, **options)
    assert_same_state(resumed.state_dict(), whole.state_dict())
    with pytest.raises(ValueError, match="expects finite numbers, texts"):
        tl.freeze(tiny_net(), colour_loaders(), 2, **{**options, "settings": {"a": object()}})


def test_a_checkpoint_with_strange_objects_is_refused(tmp_path):
    class Odd(torch.optim.lr_scheduler.CosineAnnealingLR):
        def state_dict(self):
            return {**super().state_dict(), "odd": pathlib.PurePosixPath("a")}

    model, path = tiny_net(2), tmp_path / "checkpoint.pth"
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    options = {"scheduler": Odd(optimizer, 1), "checkpoint": path, "verbose": False}
    tl.train_model(model, colour_loaders(), optimizer, 1, **options)
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        tl.train_model(model, colour_loaders(), optimizer, 1, resume=True, **options)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pth"
    train_tiny(epochs=2, checkpoint=path, settings={"rate": 0.1})
    with pytest.raises(CheckpointError, match="its epochs is 2, now 3"):
        train_tiny(epochs=3, checkpoint=path, resume=True, settings={"rate": 0.1})
    with pytest.raises(CheckpointError, match="its rate is 0.1, now None"):
        train_tiny(epochs=2, checkpoint=path, resume=True)
    model = tiny_net(3)
    with pytest.raises(CheckpointError, match="does not fit"):
        tl.train_model(model, colour_loaders(), torch.optim.SGD(model.parameters(), 0.1), 2,
                       checkpoint=path, resume=True, settings={"rate": 0.1})


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pth"
    whole, _ = train_tiny(epochs=1, checkpoint=path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            same, _ = train_tiny(epochs=1, checkpoint=path, resume=True)
        except CheckpointError as error:
            assert str(path) in str(error) and "Delete it to start afresh" in str(error)
            refused += 1
        else:       # a bit between the members of the zip file, which nobody reads
            assert_same_state(same.state_dict(), whole.state_dict())
    assert refused > 50
    path.write_bytes(content[:500])
    with pytest.raises(CheckpointError, match="Delete it to start afresh"):
        train_tiny(epochs=1, checkpoint=path, resume=True)
    torch.save({"model": {}}, path)
    with pytest.raises(CheckpointError, match="has checkpoint format None"):
        train_tiny(epochs=1, checkpoint=path, resume=True)


def test_a_checkpoint_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="cannot write"):
        train_tiny(epochs=1, checkpoint=tmp_path / "nowhere" / "checkpoint.pth")


def test_a_diverging_training_is_named():
    with pytest.raises(DivergedError, match="learning rate"):
        train_tiny(rate=1e30)


def test_nothing_to_train_on_is_named():
    with pytest.raises(ValueError, match="num_epochs expects at least 1, got 0"):
        train_tiny(epochs=0)
    model, batches = tiny_net(2), list(colour_loaders()["val"])
    for empty in ("train", "val"):
        with pytest.raises(ValueError, match="at least one batch"):
            tl.train_model(model, {"train": batches, "val": batches, empty: []},
                           torch.optim.SGD(model.parameters(), 0.1), 1, verbose=False)


def test_side_exits_are_refused():
    class Exits(TinyNet):
        def forward(self, x):
            return (super().forward(x),)

    model = Exits()
    with pytest.raises(ValueError, match="side exits"):
        tl.train_model(model, colour_loaders(), torch.optim.SGD(model.parameters(), 0.1), 1)


# ---------------------------------------------------------------- the scenarios

def pretrained():
    """A tiny network whose BatchNorm has seen pictures."""
    model = tiny_net()
    model.train()
    for x, _ in colour_loaders()["val"]:
        model(x)
    return model


def test_frozen_means_frozen(monkeypatch):
    optimizers = []
    train = tl.train_model

    def watched(model, loaders, optimizer, *args, **options):
        optimizers.append(optimizer)
        return train(model, loaders, optimizer, *args, **options)

    monkeypatch.setattr(tl, "train_model", watched)
    model = pretrained()
    before = copied_state(model)
    trained, history = tl.freeze(model, colour_loaders(), 2, num_epochs=3, verbose=False)
    head = {"fc.weight", "fc.bias"}
    assert_same_state(trained.state_dict(), before, but=head)
    assert_same_state(model.state_dict(), before)
    assert {name for name, p in trained.named_parameters() if p.requires_grad} == head
    assert {name for name, p in trained.named_parameters() if p.grad is not None} == head
    (optimizer,) = optimizers
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in trained.fc.parameters()}
    assert {id(p) for p in optimizer.state} == {id(p) for p in held}
    torch.manual_seed(0)
    start = tl.replace_last_layer(model, 2)[0]
    assert not torch.equal(trained.fc.weight, start.fc.weight)
    assert len(history["val_accuracy"]) == 3


@pytest.mark.parametrize("arch", ["resnet18", "squeezenet1_1", "mobilenet_v3_small",
                                  "efficientnet_b0", "densenet121"])
def test_frozen_means_frozen_for_real_architectures(arch):
    torch.manual_seed(0)
    model = torchvision.models.get_model(arch, weights=None)
    before = copied_state(model)
    X, y = colour_pictures(6, side=40)
    loaders = {"train": tl.PictureBatches(X, y, batch_size=3, size=33, augment=True),
               "val": tl.PictureBatches(X, y, size=33)}
    trained, _ = tl.freeze(model, loaders, 2, num_epochs=1, verbose=False)
    head = tl.last_layer(model)
    assert_same_state(trained.state_dict(), before, but={f"{head}.weight", f"{head}.bias"})


def test_a_frozen_batchnorm_without_weights_is_frozen_too():
    model = pretrained()
    model.features[1] = nn.BatchNorm2d(4, affine=False)
    before = copied_state(model)
    trained, _ = tl.freeze(model, colour_loaders(), 2, num_epochs=1, verbose=False)
    assert_same_state(trained.state_dict(), before, but={"fc.weight", "fc.bias"})


def test_finetune_trains_all_and_leaves_the_original():
    model = pretrained()
    before = copied_state(model)
    trained, _ = tl.finetune(model, colour_loaders(), 2, num_epochs=2, verbose=False)
    assert_same_state(model.state_dict(), before)
    for name, value in trained.state_dict().items():
        assert value.shape != before[name].shape or not torch.equal(value, before[name]), name


def test_finetune_can_leave_batchnorm_alone():
    model = pretrained()
    before = copied_state(model)
    trained, _ = tl.finetune(model, colour_loaders(), 2, num_epochs=2, freeze_batchnorm=True,
                             verbose=False)
    state = trained.state_dict()
    for name, value in before.items():
        if name.startswith("features.1."):
            assert torch.equal(state[name], value), name
    assert not torch.equal(state["features.0.weight"], before["features.0.weight"])


def test_a_larger_backbone_rate_moves_the_backbone_further():
    model = pretrained()
    start = model.features[0].weight.detach()

    def moved(rate):
        torch.manual_seed(1)
        trained, _ = tl.finetune(model, colour_loaders(), 2, num_epochs=1, backbone_rate=rate,
                                 verbose=False)
        return (trained.features[0].weight - start).norm()

    assert moved(1e-4) < moved(1e-3) < moved(1e-2)


def test_freezing_after_freezing_trains_the_new_last_layer_only():
    once, _ = tl.freeze(pretrained(), colour_loaders(), 2, num_epochs=1, verbose=False)
    before = copied_state(once)
    twice, _ = tl.freeze(once, colour_loaders(), 2, num_epochs=1, verbose=False)
    assert_same_state(twice.state_dict(), before, but={"fc.weight", "fc.bias"})


# ---------------------------------------------------------------- weights

def saved(state, path):
    torch.save(state, path)
    return str(path)


def test_weights_are_loaded_and_float16_is_widened(tmp_path):
    model, other = tiny_net(seed=0), tiny_net(seed=1)
    other.features[1].running_mean += 1
    path = saved(other.half().state_dict(), tmp_path / "weights.pth")
    loaded = tl.load_weights(model, path)
    assert_same_state(loaded.state_dict(), other.float().state_dict())
    assert not torch.equal(model.fc.weight, loaded.fc.weight)


def test_weights_with_another_number_of_classes_are_taken(tmp_path):
    path = saved(tiny_net(7).state_dict(), tmp_path / "weights.pth")
    assert tl.load_weights(tiny_net(5), path).fc.out_features == 7


@pytest.mark.parametrize("state, message", [
    ({}, "it lacks fc.bias, fc.weight, features.0.weight"),
    (None, "has too much extra"),
    ({"features.0.weight": torch.zeros(4, 3, 5, 5)},
     r"another shape for features.0.weight \(4, 3, 5, 5\) instead of \(4, 3, 3, 3\)"),
    ([1, 2], "holds no state dict"), ({3: torch.zeros(2)}, "holds no state dict"),
    pytest.param({"fc.bias": torch.zeros(5).to_sparse()}, "holds no state dict",
                 marks=pytest.mark.filterwarnings("ignore:Validating sparse")),
    ({"fc.bias": torch.zeros(5, dtype=torch.complex64)}, "holds no state dict"),
    ({"fc.weight": torch.zeros(())}, r"another shape for fc.weight \(\) instead of \(5, 4\)"),
])
def test_weights_that_do_not_fit_are_listed(state, message, tmp_path):
    model = tiny_net()
    if state is None:
        state = {**model.state_dict(), "extra": torch.zeros(1)}
    elif state and isinstance(state, dict):
        state = {**model.state_dict(), **state}
    with pytest.raises(experiment.UserError, match=message):
        tl.load_weights(model, saved(state, tmp_path / "weights.pth"))


@pytest.mark.parametrize("wrap", [
    lambda state: {"epoch": 3, "state_dict": state},
    lambda state: {f"module.{name}": value for name, value in state.items()}])
def test_weights_of_a_training_script_are_unwrapped(wrap, tmp_path):
    other = tiny_net(seed=1).state_dict()
    path = saved(wrap(other), tmp_path / "weights.pth")
    assert_same_state(tl.load_weights(tiny_net(), path).state_dict(), other)


def test_a_model_instead_of_its_weights_is_named_in_plain_words(tmp_path):
    path = saved(tiny_net(), tmp_path / "model.pth")
    with pytest.raises(experiment.UserError, match="A state dict is expected") as error:
        tl.load_weights(tiny_net(), path)
    assert str(error.value).isprintable() and "weights_only" not in str(error.value)


def test_a_name_server_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    def hanging(*_, **options):
        time.sleep(3)
        raise OSError("too late")

    monkeypatch.setattr(tl, "CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    started = time.monotonic()
    with pytest.raises(experiment.UserError, match="no answer within 0.1 seconds.*--weights FILE"):
        tl.imagenet_model("resnet18")
    assert time.monotonic() - started < 2


def test_code_in_a_weights_file_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = saved({"fc.weight": Trap()}, tmp_path / "weights.pth")
    with pytest.raises(experiment.UserError, match="cannot be read as weights"):
        tl.load_weights(tiny_net(), path)
    assert not (tmp_path / "sprung").exists()


def test_missing_and_damaged_weights_files_are_named(tmp_path):
    with pytest.raises(experiment.UserError, match="nowhere.pth does not exist"):
        tl.load_weights(tiny_net(), tmp_path / "nowhere.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(experiment.UserError, match="text.pth cannot be read"):
        tl.load_weights(tiny_net(), tmp_path / "text.pth")


def test_unknown_architectures_and_devices_are_named():
    with pytest.raises(experiment.UserError, match="resnet99 is unknown.*resnet18"):
        tl.build_model("resnet99")
    for name in ("quantum", "meta", "hpu"):
        with pytest.raises(experiment.UserError, match=f"--device {name} cannot be used"):
            tl.choose_device(name)
    assert tl.choose_device("cpu") == torch.device("cpu")


# ---------------------------------------------------------------- pictures

def test_visualize_model_shows_pictures_with_what_is_predicted():
    pytest.importorskip("matplotlib")
    X, y = colour_pictures(10)
    batches = tl.PictureBatches(X, y, batch_size=4, size=16)
    model = tiny_net(2)
    figure = tl.visualize_model(model, batches, ["dull", "red"], num_images=7, title="title")
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 7 and figure.get_suptitle() == "title"
    probabilities, labels = tl.predict(model, batches)
    assert labels.tolist() == y.tolist()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    for axes, picture, said, label in zip(shown, X, probabilities, y):
        np.testing.assert_allclose(axes.images[0].get_array(), picture / 255, atol=1e-5)
        guess = said.argmax()
        expected = f"{['dull', 'red'][guess]} {said[guess]:.0%}"
        if guess != label:
            expected += f"\ntrue: {['dull', 'red'][label]}"
        assert axes.get_title() == expected


@pytest.mark.parametrize("names", [
    ["a$x_$", "b$\\foo$"], ["Große Waldameise, Weibchen", "incomprehensibilities" * 3],
    [os.fsdecode(b"fourmi \xe9"), "two\nlines"]], ids=["dollars", "long", "unprintable"])
def test_classes_may_have_any_name(names, tmp_path):
    pytest.importorskip("matplotlib")
    X, y = colour_pictures(9)
    batches = tl.PictureBatches(X, 1 - y, size=16)
    figure = tl.visualize_model(tiny_net(2), batches, names, title=tl.name_of_pictures("", names))
    figure.savefig(tmp_path / "picture.png")
    boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.images]
    assert len(boxes) == 9
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    width = figure.bbox.width
    assert all(0 <= box.x0 and box.x1 <= width for box in boxes)
    tl.curves_figure({"freeze": train_tiny(epochs=1)[1]},
                     tl.name_of_pictures("", names)).savefig(tmp_path / "curves.png")


def test_the_title_of_a_single_picture_is_not_cut():
    pytest.importorskip("matplotlib")
    X, y = colour_pictures(1)
    figure = tl.visualize_model(tiny_net(2), tl.PictureBatches(X, y, size=16), ["a", "b"],
                                title="from scratch squeezenet1_1: most confident mistakes on it")
    figure.draw_without_rendering()
    title = figure._suptitle.get_window_extent()
    assert 0 <= title.x0 and title.x1 <= figure.bbox.width
    assert not title.overlaps(figure.axes[0].title.get_window_extent())


def test_a_single_epoch_is_visible_in_the_curves():
    pytest.importorskip("matplotlib")
    history = train_tiny(epochs=1)[1]
    left, _ = tl.curves_figure({"freeze": history}, "title").axes
    assert [line.get_marker() for line in left.lines if len(line.get_xdata()) == 1] == ["."]


def test_the_worst_mistakes_come_first():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.99, 0.01]])
    assert tl.worst_mistakes(probabilities, np.array([0, 0, 0, 1])).tolist() == [3, 2, 1]
    assert tl.worst_mistakes(probabilities, np.array([0, 1, 1, 0])).tolist() == []


# ---------------------------------------------------------------- the script

def run(*arguments, expect=0, launcher=(), env=None):
    """The finished process of the script; its exit code must be as expected."""
    done = subprocess.run(
        [sys.executable, *launcher, ROOT / "transfer_learning.py", *map(str, arguments)],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})})
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def failing_run(capsys, *arguments):
    """What a script that fails writes on standard error; it must exit with code 2."""
    with pytest.raises(SystemExit) as stop:
        experiment.run(lambda: tl.main([str(argument) for argument in arguments]))
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures in the layout of an ImageFolder, of a tinge that tells the class."""
    image = pytest.importorskip("PIL.Image")
    root = tmp_path_factory.mktemp("pictures")
    for part, count, seed in (("train", 22, 0), ("val", 14, 1)):
        X, y = colour_pictures(count, side=40, seed=seed)
        for number, (pixels, label) in enumerate(zip(X, y)):
            place = root / part / ("dull", "red")[label]
            place.mkdir(parents=True, exist_ok=True)
            image.fromarray(pixels).save(place / f"{number}.png")
    (root / "train" / "dull" / "broken.jpg").write_bytes(b"no picture")
    return root


SMALL = ["--arch", "mobilenet_v3_small", "--weights", "none", "--image-size", 33, "--epochs", 2,
         "--batch-size", 8]
PICTURES = {"learning_curves.png", *(f"predictions_{name}.png" for name in tl.SCENARIOS)}


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def run_here(capsys, *arguments):
    """What the script prints, run within this process, which has imported PyTorch already."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)            # as in the processes that it is compared with
    try:
        tl.main([str(argument) for argument in arguments])
    finally:
        torch.set_num_threads(threads)
    return capsys.readouterr().out


def started_run(*arguments):
    """The script at work in a process of its own."""
    return subprocess.Popen(
        [sys.executable, ROOT / "transfer_learning.py", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"})


def stopped_run(number, line, *arguments):
    """Send a signal to the script when it prints such a line; what it then has to say."""
    process = started_run(*arguments)
    while line not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}[number]
    return errors


def assert_same_run(actual, expected):
    """Metrics, weights and pictures are the same bits, and no half-written file is left."""
    assert without_times(metrics_of(actual)) == without_times(metrics_of(expected))
    assert sorted(path.name for path in actual.rglob("*")) == \
        sorted(path.name for path in expected.rglob("*"))
    for name in tl.SCENARIOS:
        assert_same_state(*(torch.load(folder / f"{name}.pth", weights_only=True)
                            for folder in (actual, expected)))
    for path in expected.glob("*.png"):
        assert (actual / path.name).read_bytes() == path.read_bytes(), path.name


def without_times(metrics):
    metrics.pop("seconds")
    for name in tl.SCENARIOS:
        metrics[name].pop("seconds")
        metrics["history"][name].pop("seconds")
    return metrics


def test_a_folder_of_pictures_and_resume_equals_never_stopping(
        folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")      # as in the processes
    options = [*SMALL, "--data-dir", folder, "--seed", 3, "--device", "cpu"]

    def stop_twice():
        errors = stopped_run(signal.SIGINT, "frozen  epoch 1/2", *options,
                             "--out", tmp_path / "stopped")
        assert "Traceback" not in errors and errors.strip().endswith("--resume")
        stopped_run(signal.SIGKILL, "scratch  epoch 1/2", *options,
                    "--out", tmp_path / "stopped", "--resume")

    whole, _ = at_once(lambda: run(*options, "--out", tmp_path / "whole"), stop_twice)
    printed = whole.stdout
    assert "skipped:" in printed and "broken.jpg" in printed
    metrics = metrics_of(tmp_path / "whole")
    assert metrics["data"] == "real" and metrics["classes"] == ["dull", "red"]
    assert (metrics["num_train"], metrics["num_val"]) == (22, 14)
    assert metrics["freeze"]["trained_parameters"] == 2 * 1025
    assert metrics["finetune"]["trained_parameters"] == metrics["scratch"]["trained_parameters"]
    for name in tl.SCENARIOS:
        history = metrics["history"][name]
        assert metrics[name]["val_accuracy"] == max(history["val_accuracy"])
        assert metrics[name]["before_accuracy"] == history["before"]["accuracy"]
        assert f"{metrics[name]['val_accuracy']:.2%}" in printed
    assert PICTURES <= set(os.listdir(tmp_path / "whole"))

    options += ["--out", tmp_path / "stopped", "--resume"]
    run_here(capsys, *options)
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
    assert "This run is finished" in run_here(capsys, *options)
    error = failing_run(capsys, *options, "--learning-rate", 1)
    assert "another training: its learning_rate is None, now 1.0" in error


def test_resume_refuses_other_pictures_classes_and_weights(
        folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tl, "build_model", lambda *_: TinyNet())
    monkeypatch.setattr(experiment, "save_figure", lambda *_: None)
    pictures = shutil.copytree(folder, tmp_path / "pictures")
    model = tiny_net()
    weights = saved(model.state_dict(), tmp_path / "weights.pth")
    options = [*SMALL, "--weights", weights, "--epochs", 1, "--scenarios", "freeze",
               "--data-dir", pictures, "--out", tmp_path / "out"]
    run_here(capsys, *options)
    (tmp_path / "out/metrics.json").unlink()            # as if stopped before the end
    run_here(capsys, *options, "--resume")
    (tmp_path / "out/metrics.json").unlink()

    model.features[0].weight.data += 1
    saved(model.state_dict(), weights)
    assert "its hash of the pretrained weights is" in failing_run(capsys, *options, "--resume")
    picture = next((pictures / "val/red").iterdir())
    picture.write_bytes(next((pictures / "train/dull").glob("*.png")).read_bytes())
    assert "its hash of the pictures is" in failing_run(capsys, *options, "--resume")
    for part in ("train", "val"):
        (pictures / part / "red").rename(pictures / part / "scarlet")
    error = failing_run(capsys, *options, "--resume")
    assert "its classes is ['dull', 'red'], now ['dull', 'scarlet']" in error


@pytest.mark.slow
def test_killed_at_ten_random_moments(folder, tmp_path, capsys):
    """Each a run that is killed, resumed and compared with one that never was."""
    options = [*SMALL, "--data-dir", folder, "--device", "cpu"]
    started = time.monotonic()
    run(*options, "--out", tmp_path / "whole")
    seconds = time.monotonic() - started
    rng = np.random.default_rng(0)
    kills = 0
    while kills < 10:
        out = tmp_path / str(kills)
        process = started_run(*options, "--out", out)
        try:
            process.wait(timeout=rng.uniform(0.2, 1) * seconds)
            continue
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        kills += 1
        run(*options, "--out", out, "--resume")
        assert_same_run(out, tmp_path / "whole")
    with capsys.disabled():
        print(f"\ntransfer_learning: {kills} kills, {kills} identical")


def test_ctrl_c_under_torchrun_says_to_call_torchrun_again(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend: None)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with pytest.raises(SystemExit) as stop, tl.together(torch.device("cpu")):
        raise KeyboardInterrupt
    assert stop.value.code == 130
    assert "Go on with the same call of torchrun and --resume" in capsys.readouterr().err


def test_the_files_of_the_first_process_decide(tmp_path, monkeypatch):
    """The second of two processes, on a disk of its own, gets what the first one has sent."""
    path = tmp_path / "checkpoint.pth"
    whole, whole_history = train_tiny(epochs=2, checkpoint=path)
    checkpoint = path.read_bytes()
    sent = []
    monkeypatch.setattr(torch.distributed, "broadcast_object_list",
                        lambda outcome: outcome.__setitem__(slice(None), sent.pop(0)))
    monkeypatch.setattr(tl, "process_rank", lambda: 1)
    monkeypatch.setattr(tl, "process_count", lambda: 2)
    monkeypatch.setattr(tl, "sum_over_processes", lambda tensor: tensor)
    monkeypatch.setattr(tl, "_parallel", lambda model: model)
    sent.append([checkpoint, None])
    resumed, history = train_tiny(epochs=2, checkpoint=tmp_path / "nowhere", resume=True)
    assert history == whole_history
    assert_same_state(resumed.state_dict(), whole.state_dict())
    sent.append([None, CheckpointError("cannot be read")])
    with pytest.raises(CheckpointError, match="cannot be read"):
        train_tiny(epochs=2, checkpoint=path, resume=True)
    assert not sent


def test_two_processes_do_what_one_does(folder, tmp_path):
    """Dropout and BatchNorm's batches differ between processes, so this network has neither."""
    options = [*SMALL, "--data-dir", folder, "--device", "cpu", "--freeze-batchnorm",
               "--scenarios", "finetune", "freeze", "--batch-size", 5,
               "--arch", "shufflenet_v2_x0_5"]
    _, two = at_once(
        lambda: run(*options, "--out", tmp_path / "one"),
        lambda: run(*options, "--out", tmp_path / "two", launcher=[
            "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]))
    assert two.stdout.count("frozen  epoch 2/2") == 1
    one, two = (metrics_of(tmp_path / name) for name in ("one", "two"))
    assert (one["processes"], two["processes"]) == (1, 2)
    for name in ("finetune", "freeze"):
        assert one[name]["val_accuracy"] == two[name]["val_accuracy"]
        for measure in ("train_loss", "val_loss", "train_accuracy", "val_accuracy"):
            np.testing.assert_allclose(two["history"][name][measure],
                                       one["history"][name][measure], rtol=2e-4)


def test_the_offline_experiment(tmp_path):
    done = run("--quick", "--data", "synthetic", "--arch", "shufflenet_v2_x0_5",
               "--out", tmp_path)
    assert "*** SYNTHETIC DATA" in done.stdout and "drawn ants and bees" in done.stdout
    metrics = metrics_of(tmp_path)
    assert metrics["data"] == "synthetic"
    assert metrics["weights"] == "weights learned from drawn shapes"
    assert all(0.3 < metrics[name]["val_accuracy"] <= 1 for name in tl.SCENARIOS)
    assert PICTURES <= set(os.listdir(tmp_path))


@pytest.mark.parametrize("arguments, message", [
    (["--data-dir", "no/such/folder"], "no/such/folder"),
    (["--arch", "resnet99"], "resnet99 is unknown"),
    (["--weights", "no/such/file.pth"], "no/such/file.pth does not exist"),
    (["--device", "quantum"], "quantum"),
    (["--scratch-rate", "1e30", "--scenarios", "scratch"], "try a learning rate"),
    (["--data", "synthetic"], "--data-dir is for real data"),
    (["--epochs", "0"], "--epochs"), (["--seed", 2**64], "expects an integer below 2**64"),
    (["--learning-rate", "1e300"], "--learning-rate: expects a number that float32 can hold"),
    (["--image-size", 10**9], "--image-size: expects at most 4096"),
    (["--batch-size", "1"], "--batch-size expects at least two"),
    (["--arch", "alexnet"], "AlexNet cannot take pictures of 33 x 33 pixels"),
    (["--arch", "googlenet", "--image-size", "64"], "side exits"),
])
@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet")
def test_wrong_use_is_one_line_and_exit_code_2(arguments, message, folder, tmp_path, capsys):
    (tmp_path / "finetune.pth").touch()         # of an older run, which a mistake must not cost
    error = failing_run(capsys, "--data-dir", folder, *SMALL, "--out", tmp_path, *arguments)
    assert (tmp_path / "finetune.pth").exists() or message == "try a learning rate"
    assert message in error and error.splitlines()[-1].count("error: ") == 1


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError("9 GB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ...")])
@pytest.mark.parametrize("place", ["first", "training"])
def test_lack_of_memory_is_one_line(error, place, folder, tmp_path, capsys, monkeypatch):
    class Hungry(TinyNet):
        def forward(self, x):
            if place == "first" or len(x) > 2:
                raise error
            return super().forward(x)

    monkeypatch.setattr(torchvision.models, "get_model", lambda *_, **options: Hungry(2))
    message = failing_run(capsys, "--data-dir", folder, *SMALL, "--out", tmp_path)
    assert message.startswith("error: not enough memory: try a smaller --batch-size")
    assert message.count("\n") == 1


def test_a_fresh_run_leaves_nothing_of_an_older_one(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torchvision.models, "get_model",
                        lambda *_, num_classes=5, **options: TinyNet(num_classes))
    monkeypatch.setattr(experiment, "save_figure",
                        lambda args, name, figure: (tmp_path / name).touch())
    for name in ("mistakes_scratch.png", "predictions_finetune.png", "scratch.pth", "own.png"):
        (tmp_path / name).touch()
    options = [*SMALL, "--data-dir", folder, "--out", tmp_path, "--scenarios", "freeze"]
    run_here(capsys, *options, "--resume")
    assert (tmp_path / "scratch.pth").exists()
    run_here(capsys, *options)
    left = {path.name for path in tmp_path.iterdir()} - {"mistakes_freeze.png"}
    assert left == {"checkpoints", "metrics.json", "freeze.pth", "learning_curves.png",
                    "predictions_freeze.png", "own.png"}


def test_an_empty_class_and_weights_that_do_not_fit_are_one_line(folder, tmp_path, capsys):
    (tmp_path / "data/train/a").mkdir(parents=True)
    (tmp_path / "data/train/b").mkdir()
    (tmp_path / "data/val/a").mkdir(parents=True)
    (tmp_path / "data/val/b").mkdir()
    error = failing_run(capsys, "--data-dir", tmp_path / "data", "--out", tmp_path)
    assert error.count("\n") == 1 and "holds no pictures" in error
    path = saved(tiny_net().state_dict(), tmp_path / "weights.pth")
    error = failing_run(capsys, "--data-dir", folder, *SMALL, "--weights", path,
                        "--out", tmp_path)
    assert error.count("\n") == 1
    assert "does not fit MobileNetV3: it lacks classifier.0.bias" in error and "more" in error


def test_without_a_network_insects_are_drawn_and_weights_are_named(tmp_path, capsys, monkeypatch):
    def unreachable(*_, **options):
        raise DownloadError("no network")

    monkeypatch.setattr("data.hymenoptera.find_hymenoptera", unreachable)
    monkeypatch.setattr(tl, "check_that_it_answers", unreachable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    error = failing_run(capsys, "--data", "real", "--out", tmp_path)
    assert error == "error: no network\n"
    monkeypatch.setattr(torchvision.models, "get_model",
                        lambda arch, weights, **options: TinyNet(**options))
    error = failing_run(capsys, "--quick", "--weights", "imagenet", "--out", tmp_path)
    assert "ImageNet weights of resnet18 cannot be had (no network)" in error
    tl.main(["--quick", "--scenarios", "freeze", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "cannot be had: no network" in printed and "*** SYNTHETIC DATA" in printed


def test_without_torch_one_line_says_how_to_install_it(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')")
    done = run("--help", expect=2, env={"PYTHONPATH": str(tmp_path)})
    assert done.stderr == "error: torch is missing: python -m pip install torch torchvision\n"


def test_help_explains_every_flag(capsys):
    with pytest.raises(SystemExit):
        tl.main(["--help"])
    text = capsys.readouterr().out
    for flag in ("--data", "--data-dir", "--out", "--epochs", "--seed", "--resume", "--quick",
                 "--arch", "--weights", "--device", "--freeze-batchnorm", "--scenarios"):
        assert flag in text
