"""The grader graded: every known mistake is caught and named, every right layer passes."""
import functools
import json
import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import autograder
import compare_graders
import mistaken_layers
from stealthy_layers import STEALTHY
from unusual_layers import UNUSUAL

ROOT = pathlib.Path(__file__).resolve().parent.parent
GRADER = str(ROOT / "autograder.py")
MISTAKE_IDS = [f"{m.function}-{m.name}" for m in autograder.MISTAKES]


@functools.cache
def verdict_on(mistake, seed=0):
    """The verdict on a function that makes this mistake and is right otherwise."""
    return compare_graders.verdict_on(mistake, seed)


# ---------------------------------------------------------------- the references

@pytest.mark.parametrize("name", autograder.SUBJECTS)
def test_the_references_and_their_gradients_pass(name):
    functions = mistaken_layers.subject_with(name, None)
    for function in functions:
        verdict = autograder.grade_one(function, functions, seed=0)
        assert verdict.status == "pass", verdict


def torch_twins():
    """{layer: function of torch tensors} for the layers, losses included."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional

    def pool(x, pool_param):
        size = pool_param["pool_height"], pool_param["pool_width"]
        return F.max_pool2d(x, size, pool_param["stride"])

    def step(x, prev_h, Wx, Wh, b):
        return torch.tanh(x @ Wx + prev_h @ Wh + b)

    def rnn(x, h0, Wx, Wh, b):
        cell = torch.nn.RNN(x.shape[2], h0.shape[1], dtype=torch.float64)
        values = {"weight_ih_l0": Wx.T, "weight_hh_l0": Wh.T, "bias_ih_l0": b,
                  "bias_hh_l0": torch.zeros_like(b)}
        return torch.func.functional_call(cell, values, (x, h0[None]))[0]

    def temporal_loss(x, y, mask):
        losses = F.cross_entropy(x.flatten(0, 1), y.flatten().long(), reduction="none")
        return (losses * mask.flatten()).sum() / len(x)

    return {"fc": lambda x, w, b: x.flatten(1) @ w + b, "relu": F.relu, "conv": F.conv2d,
            "max_pool": pool, "softmax_loss": lambda x, y: F.cross_entropy(x, y.long()),
            "rnn_step": step, "rnn": rnn, "word_embedding": lambda x, W: F.embedding(x.long(), W),
            "temporal_fc": lambda x, w, b: x @ w + b, "temporal_softmax_loss": temporal_loss}


@pytest.mark.parametrize("name", autograder.LAYERS)
def test_the_references_equal_torch(name):
    """PyTorch is the second oracle, for the outputs and for the gradients of every case."""
    twin, layer = torch_twins()[name], autograder.LAYERS[name]
    import torch
    for case in autograder.cases_of(name, 0):
        inputs = {key: dict(value) if isinstance(value, dict) else torch.tensor(value)
                  for key, value in case.inputs.items()}
        for key in layer.varied:
            inputs[key].requires_grad_()
        out = twin(*inputs.values())
        truth = case.truth["loss" if layer.is_loss else "out"]
        assert truth.difference(out.detach().numpy(), 1e-9, 1e-3) is None, case.describe()
        out.backward(None if layer.is_loss else torch.tensor(case.dout))
        for key in layer.varied:
            gradient = inputs[key].grad.numpy()
            assert case.truth[f"d{key}"].difference(gradient, 1e-7, case.floor) is None, \
                (key, case.describe())


# ---------------------------------------------------------------- the table of mistakes

def test_the_table_covers_every_function():
    assert len(autograder.MISTAKES) >= 60
    assert {m.function for m in autograder.MISTAKES} == set(autograder.subject_names())
    assert len(set(MISTAKE_IDS)) == len(MISTAKE_IDS)


@pytest.mark.parametrize("mistake", autograder.MISTAKES, ids=MISTAKE_IDS)
def test_mistake_is_caught_and_named(mistake):
    verdict = verdict_on(mistake)
    assert verdict.status == "fail"
    assert mistake.name in verdict.mistakes, verdict
    assert verdict.case and "unknown" not in verdict.diagnosis
    named = [m for m in autograder.MISTAKES if m.function == mistake.function and
             m.name in verdict.mistakes]
    assert verdict.diagnosis.startswith(tuple(f"{m.output}: {m.sentence}" for m in named)), verdict
    assert "call before" not in verdict.diagnosis and "does not see" not in verdict.diagnosis


def test_an_overflow_is_named_however_the_formula_is_written():
    def softmax_loss(x, y):
        each = np.arange(len(y))
        dx = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
        dx[each, y] -= 1
        return (np.log(np.exp(x).sum(axis=1)) - x[each, y]).mean(), dx / len(y)

    verdict = autograder.grade_one("softmax_loss", {"softmax_loss": softmax_loss}, seed=0)
    assert set(verdict.mistakes) == {"softmax_overflows", "softmax_dx_overflows"}, verdict


@pytest.mark.parametrize("functions, wanted, label", UNUSUAL, ids=[entry[2] for entry in UNUSUAL])
def test_right_but_unusual(functions, wanted, label):
    for name in functions:
        verdict = autograder.grade_one(name, functions, seed=0)
        assert verdict.status == wanted, verdict


@pytest.mark.parametrize("functions, name, wanted, label", STEALTHY, ids=[e[3] for e in STEALTHY])
def test_wrong_in_one_corner(functions, name, wanted, label):
    verdict = autograder.grade_one(name, functions, seed=0)
    assert verdict.status == wanted, verdict


def test_there_are_enough_unusual_ones():
    assert len(UNUSUAL) >= 20


def test_same_seed_same_verdicts():
    mistake = next(m for m in autograder.MISTAKES if m.name == "fc_averages_dw")
    first = verdict_on(mistake)
    autograder.cases_of.cache_clear()
    assert compare_graders.verdict_on(mistake) == first
    assert compare_graders.verdict_on(mistake, seed=1).actual != first.actual


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 21))
def test_verdicts_do_not_depend_on_the_seed(seed):
    for mistake in autograder.MISTAKES:
        verdict = verdict_on(mistake, seed)
        assert verdict.status == "fail" and mistake.name in verdict.mistakes, (mistake.name, verdict)
    for functions, wanted, label in UNUSUAL:
        for name in functions:
            verdict = autograder.grade_one(name, functions, seed)
            assert verdict.status == wanted, (label, verdict)
    for functions, name, wanted, label in STEALTHY:
        verdict = autograder.grade_one(name, functions, seed)
        assert verdict.status == wanted, (label, verdict)
    for name in autograder.SUBJECTS:
        functions = mistaken_layers.subject_with(name, None)
        assert {autograder.grade_one(f, functions, seed).status for f in functions} == {"pass"}


# ---------------------------------------------------------------- the course's kind of test

def test_the_kind_of_test_that_courses_publish_catches_fewer(capsys):
    counts = compare_graders.count_caught(verdict_on)
    with capsys.disabled():
        print("\n" + compare_graders.sentence_of(counts))
    assert 0 < counts["theirs"] < counts["covered"] and counts["ours"] == counts["mistakes"]
    for name in compare_graders.EXAMPLES:
        assert compare_graders.course_accepts(name, None)


def test_the_comparison_is_written_as_json(tmp_path, monkeypatch):
    monkeypatch.setattr(autograder, "MISTAKES", autograder.MISTAKES[:8])
    compare_graders.main(["--json", str(tmp_path / "counts.json")])
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["ours"] == counts["mistakes"] == 8
    assert counts["functions"] == {"fc_forward": {"theirs": 3, "ours": 3, "mistakes": 3},
                                   "fc_backward": {"theirs": 5, "ours": 5, "mistakes": 5}}


# ---------------------------------------------------------------- files never seen before

RELU = """
import numpy as np

def relu_forward(x):
    return np.maximum(x, 0), x

def relu_backward(dout, cache):
    return dout * (cache > 0)
"""

BROKEN = {      # what fc_forward does -> part of what is said about it
    "raise RuntimeError('no idea')": "RuntimeError: no idea",
    "raise NotImplementedError": "not written yet",
    "pass": "returns None",
    "return x.tolist(), None": "returns a list",
    "return x.reshape(len(x), -1) @ w + b": "not the tuple (out, cache)",
    "return (x.reshape(len(x), -1) @ w + b)[:, None], None": "shape",
    "return (x.reshape(len(x), -1) @ w + b) + 0j, None": "not floating-point",
    "b += 1; return x.reshape(len(x), -1) @ w + b, None": "changes b",
    "import sys; sys.exit(0)": "SystemExit",
    "import os; os._exit(3)": "Python itself ended (exit code 3)",
    "while True: pass": "endless loop",
    "import time; time.sleep(1000)": "does it wait for something",
    "import ctypes; ctypes.string_at(0)": "Python itself ended",
    "import os; os.fork() and os._exit(4); x = 1\n    while True: pass": "exit code 4",
    "import os; os.write(1, b'noise' * 10**5); print('x' * 10**6)": "returns None",
    "input('?')": "EOFError",
}


def grade_source(tmp_path, source, names):
    """Verdicts on a file with this source."""
    path = tmp_path / "layers.py"
    path.write_text(textwrap.dedent(source))
    return autograder.grade_file(path, names)


@pytest.mark.parametrize("body", BROKEN)
def test_a_broken_function_hides_no_other(tmp_path, monkeypatch, body):
    monkeypatch.setattr(autograder, "SECONDS_PER_FUNCTION", 1)
    monkeypatch.setattr(autograder, "WAITING_PER_FUNCTION", 1)
    source = f"def fc_forward(x, w, b):\n    {body}\n{RELU}"
    verdicts = grade_source(tmp_path, source,
                            ["fc_forward", "fc_backward", "relu_forward", "relu_backward"])
    assert verdicts["fc_forward"].status == "fail"
    assert BROKEN[body] in verdicts["fc_forward"].diagnosis
    assert verdicts["fc_backward"].status == "missing"
    assert verdicts["relu_forward"].status == verdicts["relu_backward"].status == "pass"


@pytest.mark.parametrize("source, said", [
    ("import no_such_module", "ModuleNotFoundError"), ("def f(:", "SyntaxError"),
    ("1 / 0", "ZeroDivisionError"), ("raise SystemExit", "SystemExit"),
    ("import os; os._exit(1)", "exit code 1"), ("while True: pass", "endless loop"),
    ("x = '\\0'[5]", "IndexError"),
    ("class E(Exception):\n  def __str__(s): raise E\nraise E", "E:")])
def test_a_file_that_cannot_be_imported_fails_everywhere(tmp_path, monkeypatch, source, said):
    monkeypatch.setattr(autograder, "SECONDS_PER_FUNCTION", 1)
    for verdict in grade_source(tmp_path, source, ["fc_forward", "softmax_loss"]).values():
        assert verdict.status == "fail"
        assert "cannot be imported" in verdict.diagnosis and said in verdict.diagnosis


@pytest.mark.parametrize("end, status, said", [
    ("while True: pass", "warn", "square of the vocabulary"),
    ("os.kill(os.getpid(), signal.SIGKILL)", "warn", "square of the vocabulary"),
    ("raise MemoryError", "warn", "square of the vocabulary"),
    ("os._exit(3)", "fail", "exit code 3"), ("return None", "fail", "returns None")])
def test_what_is_too_large_for_the_machine_is_careless(tmp_path, monkeypatch, end, status, said):
    monkeypatch.setattr(autograder, "SECONDS_PER_FUNCTION", 1)
    source = f"""
        import os, signal
        def word_embedding_forward(x, W):
            if len(W) == 70000:
                {end}
            return W[x], x
    """
    verdict, = grade_source(tmp_path, source, ["word_embedding_forward"]).values()
    assert verdict.status == status and said in verdict.diagnosis


@pytest.mark.parametrize("name", ["student", "student.txt", "layers.py"])
def test_a_file_may_have_any_name_and_be_a_link(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "submission.txt").write_text("import helper\n" + RELU)
    (tmp_path / "helper.py").write_text("")
    (tmp_path / name).symlink_to(tmp_path / "elsewhere" / "submission.txt")
    verdict, = autograder.grade_file(tmp_path / name, ["relu_forward"]).values()
    assert verdict.status == "pass", verdict


def test_a_notebook_is_to_be_exported(tmp_path):
    (tmp_path / "layers.ipynb").write_text("{}")
    verdict, = autograder.grade_file(tmp_path / "layers.ipynb", ["relu_forward"]).values()
    assert verdict.status == "fail" and "export it as .py" in verdict.diagnosis


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_file_that_forks_is_graded_once(tmp_path):
    path = tmp_path / "layers.py"
    path.write_text("import os\nos.fork()\n" + RELU)
    names, said = ["relu_forward", "relu_backward"], []
    autograder.grade_file(path, names, progress=said.append)
    assert [verdict.name for verdict in said] == names


def test_printing_does_no_harm(tmp_path):
    source = "print('{\"stage\": \"end\"}')\nimport os\nos.write(1, b'noise\\n')\n" + \
        RELU.replace("return", "print('hello'); return")
    verdicts = grade_source(tmp_path, source, ["relu_forward", "relu_backward"])
    assert {v.status for v in verdicts.values()} == {"pass"}


def test_neighbours_can_be_imported_and_nothing_is_left_behind(tmp_path):
    (tmp_path / "helper.py").write_text("import numpy as np\n")
    verdicts = grade_source(tmp_path, RELU.replace("import numpy", "from helper import np\nimport numpy"),
                            ["relu_forward"])
    assert verdicts["relu_forward"].status == "pass"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["helper.py", "layers.py"]


def test_the_graders_own_neighbours_cannot_be_imported(tmp_path):
    verdicts = grade_source(tmp_path, "from rnn_layers import rnn_step_forward\n" + RELU,
                            ["relu_forward"])
    assert "No module named 'rnn_layers'" in verdicts["relu_forward"].diagnosis


# ---------------------------------------------------------------- what backward leaves untouched

def relu_forward(x):
    return np.maximum(x, 0), [x]


def conv_functions():
    return mistaken_layers.subject_with("conv", None)


def changes_dout(dout, cache):
    dout[cache[0] <= 0] = 0
    return dout


def changes_x(dout, cache):
    cache[0][...] = dout * (cache[0] > 0)
    return cache[0].copy()


def empties_its_cache(dout, cache):
    return dout * (cache.pop() > 0)


@pytest.mark.parametrize("backward, status, said", [
    (changes_dout, "fail", "changes dout"), (changes_x, "fail", "changes x"),
    (empties_its_cache, "warn", "cannot be called twice")])
def test_what_backward_may_not_do(backward, status, said):
    verdict = autograder.grade_one("relu_backward", {"relu_forward": relu_forward,
                                                     "relu_backward": backward}, 0)
    assert verdict.status == status and said in verdict.diagnosis


def test_a_cache_in_a_global_variable_fails():
    kept = {}

    def forward(x):
        kept["x"] = x
        return np.maximum(x, 0), None

    functions = {"relu_forward": forward,
                 "relu_backward": lambda dout, cache: dout * (kept["x"] > 0)}
    assert autograder.grade_one("relu_backward", functions, 0).status == "fail"


def test_backward_that_fits_a_wrong_forward_is_told_so():
    right = conv_functions()

    def forward(x, w):
        out, cache = right["conv_forward"](x, 1.5 * w)
        return out, cache

    def backward(dout, cache):
        dx, dw = right["conv_backward"](dout, cache)
        return dx, 1.5 * dw

    verdict = autograder.grade_one("conv_backward", {"conv_forward": forward,
                                                     "conv_backward": backward}, 0)
    assert verdict.status == "fail" and "mend that first" in verdict.diagnosis


def test_an_unknown_mistake_is_called_unknown():
    verdict = autograder.grade_one("relu_forward", {
        "relu_forward": lambda x: (np.where(x > 0, x, 0) * 1.001, x)}, 0)
    assert verdict.status == "fail" and "unknown mistake" in verdict.diagnosis
    assert verdict.place and verdict.expected != verdict.actual


@pytest.mark.parametrize("function, order", [
    ("fc_backward", ("dw", "dx", "db")), ("fc_backward", ("dx", "db", "dw")),
    ("conv_backward", ("dw", "dx")), ("rnn_backward", ("dx", "dh0", "dWh", "dWx", "db")),
    ("softmax_loss", ("dx", "loss"))])
def test_results_in_the_wrong_order_are_told_so(function, order):
    layer = mistaken_layers.subject_of(function)
    names = ("loss", "dx") if layer.is_loss else layer.gradient_names
    right = mistaken_layers.subject_with(layer.name, None)

    def wrong(*arguments):
        results = dict(zip(names, right[function](*arguments)))
        return tuple(results[name] for name in order)

    verdict = autograder.grade_one(function, {**right, function: wrong}, seed=0)
    assert verdict.status == "fail" and verdict.diagnosis == \
        f"the results come in the wrong order: ({', '.join(order)}) is returned where " \
        f"({', '.join(names)}) is asked for"


def test_only_here_is_said_of_few_failures_alone():
    right = conv_functions()
    forward = {"conv_forward": lambda x, w: (right["conv_forward"](x, w)[0][:, :, ::2, ::2], x)}
    verdict = autograder.grade_one("conv_forward", forward, seed=0)
    assert verdict.status == "fail" and "only here" not in verdict.diagnosis


def pools_absolute_values(right):
    return {"max_pool_forward": lambda x, pool_param: right["max_pool_forward"](abs(x), pool_param)}


def adds_1e_7(right):
    def loss(x, y):
        value, dx = right["softmax_loss"](x, y)
        return -np.log(np.exp(-value) + 1e-7), dx
    return {"softmax_loss": loss}


@pytest.mark.parametrize("tamper", [pools_absolute_values, adds_1e_7])
def test_a_layer_that_keeps_nothing_is_not_said_to_remember(tamper):
    name, = tamper({})
    subject = mistaken_layers.subject_of(name).name
    verdict = autograder.grade_one(name, tamper(mistaken_layers.subject_with(subject, None)), 0)
    assert verdict.status == "fail" and "unknown mistake" in verdict.diagnosis
    assert "call" not in verdict.diagnosis


def test_a_layer_that_remembers_is_told_so():
    functions, name = next(entry[:2] for entry in STEALTHY
                           if entry[3] == "fc_forward-remembers_by_all_but_the_bias")
    verdict = autograder.grade_one(name, functions, seed=0)
    assert verdict.diagnosis.startswith("fc_forward gives a wrong result when only b has changed")


# ---------------------------------------------------------------- reports and the command line

def test_check_in_a_notebook():
    report = autograder.check(*mistaken_named("fc_backward", "fc_averages_db"))
    assert "fc_forward               pass" in repr(report)
    assert "averaged over the batch" in repr(report) and "1 of 2 right" in repr(report)
    assert report._repr_html_().count("<tr>") == 2 and "FAIL" in report._repr_html_()
    with pytest.raises(ValueError, match="nothing_known"):
        autograder.check(type("nothing_known", (), {}))


class Speechless(Exception):
    """An exception whose message cannot be had."""

    def __str__(self):
        raise RuntimeError


def raises_speechlessly(w, dw, config):
    raise Speechless


@pytest.mark.parametrize("sgd, said", [
    (lambda w, dw, config: (w - config["learning_rate"] * dw, None), "a NoneType for config"),
    (lambda w, dw, config: (w - config["learning_rate"] * dw, {}), "without learning_rate"),
    (raises_speechlessly, "sgd raised Speechless")])
def test_check_survives_what_it_is_given(sgd, said):
    sgd.__name__ = "sgd"
    verdicts = autograder.check(sgd, *mistaken_named("fc_backward", "fc_averages_db")).verdicts
    assert [v.status for v in verdicts] == ["fail", "pass", "fail"]
    assert said in verdicts[0].diagnosis and "disturbed" not in verdicts[0].diagnosis


def mistaken_named(function, name):
    """The functions of a subject with a mistake, carrying the names of the contract."""
    mistake = next(m for m in autograder.MISTAKES if (m.function, m.name) == (function, name))
    subject = mistaken_layers.subject_of(function)
    functions = mistaken_layers.subject_with(subject.name, mistake)
    for key, value in functions.items():
        value.__name__ = key
    return functions.values()


def run(*arguments, **options):
    """The command line, in a process."""
    return subprocess.run([sys.executable, GRADER, *map(str, arguments)], capture_output=True,
                          text=True, timeout=120, **options)


def test_one_file_and_its_json(tmp_path):
    (tmp_path / "student.py").write_text(RELU.replace("cache > 0", "cache > 1"))
    done = run("relu", "--layers", tmp_path / "student.py", "--json", tmp_path / "out.json",
               "--seed", 5)
    assert done.returncode == 1 and "1 of 2 right" in done.stdout and "\033" not in done.stdout
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["seed"] == 5 and written["results"]["relu_forward"]["status"] == "pass"
    assert written["results"]["relu_backward"]["mistakes"] == ["relu_compares_with_1"]
    assert 'see docs/derivations.md, "ReLU"' in done.stdout


def test_json_holds_no_nan(tmp_path):
    (tmp_path / "student.py").write_text(RELU.replace("np.maximum(x, 0)", "x / 0"))
    run("relu_forward", "--layers", tmp_path / "student.py", "--json", tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text(), parse_constant=pytest.fail)
    assert written["results"]["relu_forward"]["actual"] in ("inf", "-inf", "nan")


def test_a_terminal_without_greek_letters_loses_nothing(tmp_path):
    source = RELU.replace("return np.maximum(x, 0), x", "raise ValueError('Σ ᵀ √')")
    (tmp_path / "student.py").write_text(source, encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = run("relu", "--layers", tmp_path / "student.py", "--json", tmp_path / "out.json",
               env=environment)
    assert done.returncode == 1 and not done.stderr and "ValueError: ? ? ?" in done.stdout
    assert len(json.loads((tmp_path / "out.json").read_text())["results"]) == 2


@pytest.mark.skipif(os.name != "posix", reason="a pipe that nobody reads ends otherwise")
def test_output_may_be_cut_off():
    grader = subprocess.Popen([sys.executable, GRADER, "relu"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    grader.stdout.close()
    assert grader.wait(timeout=120) == 1 and not grader.stderr.read()


def test_missing_counts_where_it_was_asked_for(tmp_path):
    (tmp_path / "autograder.py").write_text(pathlib.Path(GRADER).read_text())
    (tmp_path / "optim.py").write_text("def sgd(w, dw, config):\n"
                                       "    return w - config['learning_rate'] * dw, config\n")
    alone = str(tmp_path / "autograder.py")

    def code(*arguments):
        return subprocess.run([sys.executable, alone, *arguments], capture_output=True).returncode

    assert code("sgd") == 0
    assert code("conv") == 1            # asked for, and there is no layers.py
    assert code() == 1                  # adam is missing from a file that exists
    (tmp_path / "optim.py").unlink()
    assert code() == 0                  # nothing is there yet, and nothing failed


def test_wrong_commands():
    for arguments in (["no_such_layer"], ["--seed", "-1"], ["adam", "--layers", "x.py"],
                      ["--layers", ""], ["relu", "--json", ""]):
        done = run(*arguments)
        assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "conv_backward            layers.py" in run("--list").stdout


def test_pytest_collects_the_grader():
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                           "autograder.py", "-k", "relu"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "2 passed" in done.stdout


def test_the_project_gets_full_marks():
    done = run()
    assert done.returncode == 0 and "FAIL" not in done.stdout and "warn" not in done.stdout

