"""The figures of docs/results.md and README.md are those of the runs, by the commands named."""
import importlib.util
import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("write_results", ROOT / "docs" / "write_results.py")
write_results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(write_results)

STORED = write_results.load()
SCRIPTS = [name for name, run in write_results.RUNS.items() if run.script]


def test_results_md_is_what_the_stored_figures_give():
    assert write_results.DOCUMENT.read_text() == write_results.document(STORED), \
        "python docs/write_results.py"


def test_the_figures_of_the_readme_are_what_the_stored_figures_give():
    text = write_results.README.read_text()
    assert text == write_results.readme(text, STORED), "python docs/write_results.py"
    parts = [match[2] for match in write_results.PART.finditer(text)]
    assert set(parts) == {"experiments", *write_results.PARTS_OF_README}
    assert text.count("<!-- figures:") == text.count("<!-- end of figures -->") == len(parts)


def test_no_figure_of_the_readme_stands_outside_of_what_is_written_by_program():
    prose = write_results.PART.sub("", write_results.README.read_text())
    prose = re.sub(r"^```.*?^```", "", prose, flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"\d+ ?%|\d+ (?:seconds|minutes|mistakes)|0\.\d+", prose)


def test_every_picture_is_shown_and_every_picture_shown_is_of_a_stored_run():
    shown = {pathlib.Path(target).name
             for path in (write_results.README, *(ROOT / "docs").glob("*.md"))
             for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", path.read_text())}
    assert shown == {path.name for path in write_results.FIGURES.iterdir()}


@pytest.mark.parametrize("name", sorted(STORED))
def test_a_stored_run_is_of_the_command_that_the_documents_name(name):
    if name.startswith("transfer"):
        pytest.importorskip("torchvision")
    write_results.check(name, STORED[name])


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_commands_are_understood(name):
    if name.startswith("transfer"):
        pytest.importorskip("torchvision")
    assert write_results.config_of(write_results.RUNS[name])


def test_nothing_of_the_machine_but_its_kind_is_stored():
    assert not re.findall(r'"(?:/|[A-Z]:\\|~)[^"]*"', write_results.STORED.read_text())
    for name, result in STORED.items():
        assert "machine" in result or {"cores", "python", "numpy"} <= result["environment"].keys()


def test_what_was_never_measured_is_reported_as_such():
    document = write_results.document({})
    assert document.count("**Not measured:**") == len(write_results.RUNS)
    text = write_results.README.read_text()
    assert write_results.readme(text, {}).count("ot measured") >= len(write_results.PARTS_OF_README)


# ---------------------------------------------------------------- with figures made up

ENVIRONMENT = {"machine": "x86_64", "cores": 4, "threads": 1, "python": "3.0.1", "numpy": "9.8.7"}


def made_up(name):
    """Metrics of a run that never was, as its command would leave them."""
    run = write_results.RUNS[name]
    if not run.script:
        return {"benchmark": {
                    "machine": "some machine", "homework": [
                        {"version": "loops", "forward_ms": 7.0, "backward_ms": 8.0}],
                    "rows": [{"workload": workload, "threads": threads, "ours_ms": 1.0,
                              "torch_ms": 3.0, "ratio": None, "quiet": False,
                              "product_limit": 0.5, "extra_mb": 2.0, "bare_ms": 1.5}
                             for workload in write_results.WORKLOADS for threads in (1, 2)]},
                "autograder": {"theirs": 1, "covered": 5, "ours": 7, "mistakes": 7},
                "synthetic_to_real": {"two_layer_network": 0.1234, "convolutional_network": 0.4321},
                }[name] | {"seconds": 3.0} | ({} if name == "benchmark" else
                                              {"environment": ENVIRONMENT})
    scenario = {"val_accuracy": 0.75, "before_accuracy": 0.5, "best_epoch": 2,
                "trained_parameters": 12345, "seconds": 60.0}
    of_script = {
        "mnist_train": {"test_accuracy": 0.9753, "val_accuracy": 0.97, "best_hidden_size": 16,
                        "sizes": [{"hidden_size": 16, "val_accuracy": 0.97, "parameters": 12730,
                                   "seconds": 2.5}],
                        "num_train": 55000, "num_val": 5000, "num_test": 10000},
        "cnn_train": {"test_accuracy": 0.9753, "val_accuracy": 0.97},
        "image_captioning": {
            "val_loss_per_word": 2.625, "train_loss": 2.125, "bleu": [0.5, 0.4, 0.3, 0.2],
            "bleu_beam": [0.6, 0.5, 0.4, 0.3], "captions_true": 0.9375,
            "words_right": {"size": 0.95, "colour": 0.96, "shape": 0.97},
            "samples": {"val": [{"written": "a dog runs", "references": ["a cat", "the dog"]}]}},
        "transfer_learning": {"num_train": 245, "num_val": 153, "weights": "some", "device": "cpu",
                              "finetune": scenario, "freeze": scenario, "scratch": scenario},
    }[run.script]
    history = {"loss": [3.0, 2.0, 1.0, 0.5], "train_loss_per_word": [2.5, 2.25],
               "val_loss_per_word": [2.75, 2.625], "bleu_4_of_subset": [0.1, 0.15]}
    return {"data": run.kind, "seed": 0, "config": write_results.config_of(run), **of_script,
            "history": history, "seconds": 200.0, "environment": ENVIRONMENT}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder with the results of all runs; what is gathered goes elsewhere, too."""
    pytest.importorskip("torchvision")
    from matplotlib.figure import Figure
    for name, run in write_results.RUNS.items():
        if run.script:
            (tmp_path / "runs" / name).mkdir(parents=True)
            (tmp_path / "runs" / name / "metrics.json").write_text(json.dumps(made_up(name)))
            for picture in run.pictures:
                Figure(figsize=(1, 1)).savefig(tmp_path / "runs" / name / f"{picture}.png")
        else:
            (tmp_path / "runs" / f"{name}.json").write_text(json.dumps(made_up(name)))
    figures = tmp_path / "docs" / "figures"
    figures.mkdir(parents=True)
    text = write_results.README.read_text()
    for attribute, path in (("FIGURES", figures), ("STORED", tmp_path / "docs" / "results.json"),
                            ("DOCUMENT", tmp_path / "docs" / "results.md"),
                            ("README", tmp_path / "README.md")):
        monkeypatch.setattr(write_results, attribute, path)
    write_results.README.write_text(text)
    return tmp_path / "runs"


def test_gathering_takes_over_all_runs_and_writes_both_documents(runs):
    write_results.main(["gather", str(runs)])
    document, readme = write_results.DOCUMENT.read_text(), write_results.README.read_text()
    assert "ot measured" not in document + readme
    assert "97.53 % of the test images right" in document and "97.53 %" in readme
    assert "55,000 images to learn from" in document
    assert "3 minutes on 1 of 4 cores (x86_64, Python 3.0.1, NumPy 9.8.7)" in document
    assert "93.75 % of the captions of unseen scenes are true" in document
    assert "\n* **a dog** runs\n" in document
    assert "| busy |" in document and "12.34 %" in document and "12.34 %" in readme
    assert document.count("DRAWN DATA") == 5
    stored = write_results.load()
    assert set(stored) == set(write_results.RUNS)
    assert "loss" not in stored["captions_rnn"]["history"]
    assert "the dog" not in write_results.STORED.read_text()
    shown = {f"figures/{path.name}" for path in write_results.FIGURES.iterdir()}
    assert shown == set(re.findall(r"!\[[^\]]*\]\(([^)]+)\)", document))


def test_gathering_some_runs_keeps_the_others(runs, capsys):
    write_results.main(["gather", str(runs)])
    metrics = made_up("cnn_train") | {"test_accuracy": 0.5}
    (runs / "cnn_train" / "metrics.json").write_text(json.dumps(metrics))
    (runs / "mnist_train" / "metrics.json").unlink()
    write_results.main(["gather", str(runs), "cnn_train", "mnist_train"])
    stored = write_results.load()
    assert stored["cnn_train"]["test_accuracy"] == 0.5 and "mnist_train" in stored
    assert "mnist_train: not in" in capsys.readouterr().out


@pytest.mark.parametrize("change, message", [
    ({"data": "synthetic"}, "is to be of real data"),
    ({"seed": 4}, "was not run as `python cnn_train.py`, but with seed 4"),
    ({"config": {"epochs": 3}}, "but with epochs 3"),
])
def test_a_run_of_another_command_is_refused(runs, change, message):
    metrics = made_up("cnn_train")
    metrics["config"] |= change.pop("config", {})
    (runs / "cnn_train" / "metrics.json").write_text(json.dumps(metrics | change))
    with pytest.raises(write_results.experiment.UserError, match=re.escape(message)):
        write_results.main(["gather", str(runs), "cnn_train"])
    assert not write_results.STORED.exists()


@pytest.mark.parametrize("name, change", [
    ("synthetic_to_real", {"seed": 7}), ("benchmark", {"homework": []}),
    ("benchmark", {"rows": made_up("benchmark")["rows"][1:]})])
def test_a_part_of_a_tool_or_another_seed_is_refused(runs, name, change):
    (runs / f"{name}.json").write_text(json.dumps(made_up(name) | change))
    with pytest.raises(write_results.experiment.UserError, match=f"{name} was not run as"):
        write_results.main(["gather", str(runs), name])


def test_a_run_without_samples_says_so(runs):
    metrics = made_up("captions_rnn")
    del metrics["samples"]
    (runs / "captions_rnn" / "metrics.json").write_text(json.dumps(metrics))
    write_results.main(["gather", str(runs)])
    assert "**Not measured:** samples" in write_results.DOCUMENT.read_text()


def test_a_folder_that_does_not_exist_is_an_error(runs):
    with pytest.raises(write_results.experiment.UserError, match="is no folder"):
        write_results.main(["gather", str(runs / "nowhere")])
