"""The figures of docs/ and README.md are those of the runs, by the commands named."""
import importlib.util
import json
import pathlib
import re

import benchmark
import pytest
from PIL import Image
from test_benchmark import RESULT

pytest.importorskip("torchvision")
ROOT = pathlib.Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("write_results", ROOT / "docs" / "write_results.py")
write_results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(write_results)

RUNS, UserError = write_results.RUNS, write_results.experiment.UserError
STORED = json.loads(write_results.STORED.read_text())
TEXTS = [path.read_text() for path in write_results.DOCUMENTS]
PAGE, README, PERFORMANCE = TEXTS
every_document = pytest.mark.parametrize("text", TEXTS, ids=["results", "README", "performance"])
# A whole benchmark, of which the figures do not matter.
BENCHMARK = RESULT | {"data": {"digits": "mnist", "captions": "coco_captioning_flickr8k",
                               "steps": "all"}, "seconds": 60.0}
for threads in ("1 thread", "2 threads"):
    BENCHMARK[threads] = {name: RESULT[threads]["E2" if name.startswith("E") else "W1"]
                          for name in ("E1", "E2", "E4", *benchmark.WORKLOADS)}
MEASURED = {"benchmark": BENCHMARK, "ideas": {"machine": "a machine", "seconds": 60.0, "ideas": [
    {"idea": "a trick", "workload": "W1", "ours": 2.0, "other": 3.0, "ratio": 1.5}]}}


@every_document
def test_the_documents_are_what_the_stored_figures_give(text):
    assert text == write_results.filled(text, STORED), "run python docs/write_results.py"


@every_document
def test_no_figure_stands_outside_of_the_gaps(text):
    prose = write_results.GAP.sub("", text)
    prose = re.sub(r"^```.*?^```", "", prose, flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"\d+ ?%|\d+ (?:seconds|minutes|mistakes)|0\.\d+", prose)


def test_readme_and_results_md_agree():
    for name in write_results.README.values():
        said = write_results.said(name, STORED)
        assert said in PAGE and said in README


def test_every_picture_is_shown_and_no_photograph_is_copied():
    shown = {pathlib.Path(target).name
             for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
             for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", path.read_text())}
    assert shown == {path.name for path in write_results.FIGURES.iterdir()}
    for run in RUNS.values():
        if "Flickr8k" in run.data or "photographs of" in run.data:
            assert set(run.pictures) <= {"learning_curves"}


@pytest.mark.parametrize("name", sorted(STORED))
def test_a_stored_run_is_of_the_command_that_the_documents_name(name):
    write_results.check(name, STORED[name])


def test_every_picture_of_a_run_is_followed_by_a_sentence_on_how_to_read_it():
    for gap in write_results.GAP.finditer(PAGE):
        parts = gap[0].split("\n\n")
        for picture, reading in zip(parts, parts[1:]):
            if picture.startswith("!["):
                assert re.fullmatch(r"[A-Z][^!]*\.", reading)


def test_drawn_digits_are_told_from_the_figures_in_readme():
    for name, run in RUNS.items():
        if name in STORED and run.module().__name__ in ("mnist_train", "cnn_train"):
            assert ("the figures in README.md are of MNIST" in write_results.said(name, STORED)) \
                == (STORED[name]["data"] == "synthetic")


def test_readme_names_the_machine_of_its_table():
    environment = {"processor": "Some CPU", "machine": "x86_64", "cores": 8, "threads": None,
                   "python": "3.12.1", "numpy": "2.4.0"}
    results = {name: STORED[name] | {"environment": environment | {"threads": threads}}
               for name, threads in (("mnist_train", None), ("cnn_train", 1), ("cnn_deep", 1))}
    sentence = " ".join(write_results.experiments(results).partition("\n\n")[2].split())
    assert sentence == (
        "Measured on Some CPU, x86_64, 8 cores, Python 3.12.1, NumPy 2.4.0; BLAS threads: as many "
        "as BLAS takes by itself (two-layer network), 1 (convolutional network; deep convolutional "
        "network).")
    del results["cnn_train"]["environment"]["processor"]     # an older run
    results["cnn_deep"]["environment"]["numpy"] = "2.5.0"
    assert "Some CPU, x86_64, 8 cores, Python 3.12.1, NumPy 2.4.0 or 2.5.0;" in \
        write_results.experiments(results)


def test_what_was_never_measured_is_reported_as_such():
    gaps = [name for text in (PAGE, PERFORMANCE) for _, name, _ in write_results.GAP.findall(text)]
    assert {write_results.PERFORMANCE.get(gap, gap) for gap in gaps} == set(RUNS)
    for text in (PAGE, PERFORMANCE):
        empty = write_results.filled(text, {})
        assert empty.count("**Not measured:**") == len(write_results.GAP.findall(text))
    readme = write_results.filled(README, {})
    assert readme.count("**Not measured:**") == len(write_results.README)
    assert readme.count("| not measured |") == len(write_results.EXPERIMENTS)


# ---------------------------------------------------------------- gathering

@pytest.fixture
def gather(tmp_path, monkeypatch):
    """Takes over a run with changed metrics, elsewhere; returns what is stored, and results.md."""
    stored, documents = tmp_path / "results.json", [tmp_path / path.name
                                                    for path in write_results.DOCUMENTS]
    for path, text in zip((stored, *documents), (json.dumps(STORED), *TEXTS)):
        path.write_text(text)
    for name, path in (("STORED", stored), ("DOCUMENTS", documents), ("FIGURES", tmp_path)):
        monkeypatch.setattr(write_results, name, path)

    def gather(name, **changes):
        metrics = (STORED | MEASURED)[name] | changes | {
            "data_dir": "/home/ada/data", "history": {"loss": [2.0]}}
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        for picture in RUNS[name].pictures:
            Image.new("RGB", (4, 4)).save(folder / f"{picture}.png")
        (folder / "metrics.json").write_text(json.dumps(metrics))
        write_results.main(["gather", str(tmp_path / "runs"), name])
        return json.loads(stored.read_text()), documents[0].read_text()

    return gather


def test_gathering_takes_over_a_run_and_keeps_the_others(gather, tmp_path):
    stored, page = gather("cnn_train", test_accuracy=0.4321)
    assert "43.21% of the test set of MNIST right" in page
    assert "43.21% of MNIST's test images" in (tmp_path / "README.md").read_text()
    assert list(stored) == list(STORED)
    assert [name for name in STORED if stored[name] != STORED[name]] == ["cnn_train"]
    assert "/home" not in json.dumps(stored) and "history" not in stored["cnn_train"]
    assert len(list(tmp_path.glob("cnn_train_*.png"))) == len(RUNS["cnn_train"].pictures)


def test_the_benchmark_fills_its_page_and_draws_the_picture(gather, tmp_path):
    gather("benchmark")
    page = (tmp_path / "performance.md").read_text()
    assert "| W5     | 2.00 ms |" in page and "(figures/benchmark_ratios.png)" in page
    assert "ours 9.0 s, PyTorch 12.0 s" in page and "1.23 (!)" in page and "| loops" in page
    assert Image.open(tmp_path / "benchmark_ratios.png").format == "PNG"
    gather("ideas")
    page = (tmp_path / "performance.md").read_text()
    assert "| a trick |" in page and "**Not measured:**" not in page


def test_a_large_picture_is_stored_with_fewer_colours(tmp_path):
    Image.effect_noise((500, 500), 90).convert("RGB").save(tmp_path / "large.png", compress_level=0)
    write_results.copy_picture(tmp_path / "large.png", tmp_path / "copy.png")
    with Image.open(tmp_path / "copy.png") as copy:
        assert copy.mode == "P" and copy.size == (500, 500)


def test_captions_that_people_wrote_are_not_stored(gather):
    sample = {"written": "a dog runs", "references": ["a cat", "the dog"]}
    stored, page = gather("captions_rnn", samples={"train": [sample], "val": [sample]})
    assert "\n* **a** **dog** runs\n" in page
    assert "the dog" not in json.dumps(stored["captions_rnn"])


@pytest.mark.parametrize("name, changes, message", [
    ("cnn_train", {"data": "synthetic"}, "`python cnn_train.py`, but with {'data': 'synthetic'}"),
    ("cnn_train", {"seed": 4}, "but with {'seed': 4}"),
    ("cnn_train", {"config": {"epochs": 4, "batch_size": 100}}, "but with {'epochs': 4}"),
    ("synthetic_to_real", {"seed": 7}, "but with {'seed': 7}"),
    ("benchmark", {"1 thread": {"W1": {}}}, "but with {'1 thread': ['W1']}"),
    ("benchmark", {"data": RESULT["data"]}, "but with {'data': {'digits': 'mnist', "),
])
def test_a_run_of_another_command_is_refused(gather, name, changes, message, tmp_path):
    with pytest.raises(UserError, match=re.escape(message)):
        gather(name, **changes)
    assert json.loads((tmp_path / "results.json").read_text()) == STORED
    assert not list(tmp_path.glob("*.png"))
