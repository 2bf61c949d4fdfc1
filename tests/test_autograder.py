"""The command and its reports, used as students, teachers and grading systems use them."""

import csv
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import pytest

import autograder
import compare_graders
from grading import contract, report
from grading.judge import Verdict
from grading.report import Report
from test_teaching import with_python

ROOT = pathlib.Path(__file__).resolve().parent.parent
GRADER = ROOT / "autograder.py"

RIGHT = """
import numpy as np

def fc_forward(x, w, b):
    return x.reshape(len(x), -1) @ w + b, (x, w, b)

def fc_backward(dout, cache):
    x, w, b = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dout, dout.sum(axis=0)

def relu_forward(x):
    return np.maximum(x, 0), x

def relu_backward(dout, cache):
    return dout * (cache > 0)
"""
WRONG_DW = RIGHT.replace("-1).T @ dout", "-1).T @ dout / len(x)")
ENDLESS = RIGHT.replace("return np.maximum(x, 0), x", "while True: pass")
FUNCTIONS = ["fc_forward", "fc_backward", "relu_forward", "relu_backward"]
POINTS = {"fc_forward": 1, "fc_backward": 4, "relu_forward": 2, "relu_backward": 3}


def run(*arguments, grader=GRADER, **options):
    """Run the command; the result has returncode, stdout and stderr."""
    return subprocess.run([sys.executable, str(grader), *map(str, arguments)], text=True,
                          capture_output=True, **options)


@pytest.fixture
def file(tmp_path):
    """A function that writes a student's file and returns its path."""
    def write(source, name="student.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        return path
    return write


@pytest.fixture
def points(tmp_path):
    """A file with POINTS."""
    path = tmp_path / "points.json"
    path.write_text(json.dumps(POINTS))
    return path


def functions_in(source):
    """{name: function} that a source defines."""
    names = {}
    exec(source, names)
    return {name: names[name] for name in FUNCTIONS}


# ---------------------------------------------------------------- check() and the Report

def test_check_in_a_notebook(capfd):
    functions = functions_in(WRONG_DW)
    checked = autograder.check(functions["fc_forward"], functions["fc_backward"])
    assert re.search(r"^fc_forward +pass$", repr(checked), re.MULTILINE)
    assert "is divided by" in repr(checked) and "1 of 2 right" in repr(checked)
    assert checked._repr_html_().count("<tr>") == 2 and "FAIL" in checked._repr_html_()
    assert checked.score(4) == checked.score({"fc_forward": 2, "fc_backward": 5}) == 2.0
    assert type(checked.score(4)) is float
    with pytest.raises(AssertionError, match="fc_backward +FAIL"):
        checked.raise_if_failed()
    autograder.check(functions["fc_forward"]).raise_if_failed()
    with pytest.raises(ValueError, match="nothing_known"):
        autograder.check(type("nothing_known", (), {}))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("statuses, worth, score", [
    (["pass", "warn", "fail", "missing"], None, 2.0),
    (["pass", "pass"], 3, 3.0),
    (["pass", "fail", "not judged", "not judged"], None, 2.0),       # half of what is judged
    (["fail", "not judged"], 10, 0.0),
    (["not judged"], None, 0.0),
    (["pass", "not judged, too late"], None, 1.0),
    (["pass", "fail", "not judged"], {"f0": 3, "f1": 1, "f2": 4}, 6.0),
    (["pass", "fail"], {"f0": 3}, 3.0),
    ([], None, 0.0)])
def test_points(statuses, worth, score):
    verdicts = {f"f{i}": Verdict(f"f{i}", status.removesuffix(", too late"),
                                 timed_out="late" in status) for i, status in enumerate(statuses)}
    assert Report(verdicts).score(worth) == pytest.approx(score)


def test_points_on_something_else_are_refused():
    with pytest.raises(ValueError, match="adam"):
        Report({"sgd": Verdict("sgd", "pass")}).score({"sgd": 1, "adam": 1})


def test_lines_fit_and_one_cause_is_said_once(monkeypatch, tmp_path):
    cause = "layers.py cannot be imported: np.float is gone from NumPy: write float. " * 2
    verdicts = [Verdict("fc_forward", "fail", cause), Verdict("fc_backward", "fail", cause),
                Verdict("adam", "fail", "w is wrong.", "w (2,)", "w[0]", 1.0, float("inf"),
                        derivation="ReLU"),
                Verdict("sgd", "not judged", "Mend sgd first.")]
    text = Report({v.name: v for v in verdicts}).text(width=60)
    assert max(map(len, text.split("\n0 of 4")[0].splitlines())) <= 60
    assert text.count("np.float is gone") == 2
    assert "fc_backward                 FAIL (as above)" in text
    lines = text.splitlines()
    at = lines.index("adam                        FAIL")
    assert [line.strip() for line in lines[at + 1:at + 5]] == [
        "w is wrong.", "case: w (2,)", "w[0]: expected 1, got inf",
        'see docs/derivations.md, "ReLU"']
    assert [line.split("  ")[0] for line in lines[-2:]] == ["fail", "not judged"]   # the legend
    monkeypatch.setattr(report, "HOME", tmp_path)
    assert "derivations.md" not in Report({"adam": verdicts[2]}).text()
    assert "w is wrong" not in Report({"adam": verdicts[2]}).text(brief=True)


def test_what_is_not_there_takes_no_line_of_its_own():
    verdicts = [Verdict("fc_forward", "missing", "not in a.py"), Verdict("sgd", "pass"),
                Verdict("relu_forward", "fail", "not written yet"),
                Verdict("adam", "missing", "not in a.py")]
    assert Report({v.name: v for v in verdicts}).text().splitlines()[:4] == [
        "sgd                         pass", "relu_forward                FAIL (not written yet)",
        "missing: fc_forward, adam (not in a.py)", ""]


def test_lines_keep_the_order_of_the_names():
    lines = report.Lines(["sgd", "adam"])
    assert list(lines.add(Verdict("adam", "pass"))) == []
    assert [line.split()[0] for line in lines.add(Verdict("sgd", "pass"))] == ["sgd", "adam"]


# ---------------------------------------------------------------- the command on files

def test_the_known_functions_of_any_file_are_graded(file, tmp_path):
    for name in ("checks.py", "layers.py"):
        shutil.copy(ROOT / name, tmp_path)
    mine = file((ROOT / "rnn_layers.py").read_text(), "my_rnn.py")
    done = run(mine, "word_embedding")
    assert done.returncode == 0 and "2 of 2 right" in done.stdout and not done.stderr
    assert set(report.found_in([mine])) == {
        name for name, function in contract.FUNCTIONS.items() if function.file == "rnn_layers"}


def test_two_files_that_share_a_role(file):
    first, second = RIGHT.split("def relu_forward")
    done = run(file(first, "fc.py"), file("import numpy as np\ndef relu_forward" + second, "b.py"))
    assert done.returncode == 0 and "4 of 4 right" in done.stdout, done.stdout


def test_of_two_files_the_one_with_the_right_name_counts(file):
    paths = [file(RIGHT, "a_copy.py"), file(RIGHT, "layers.py"), file(RIGHT, "z_copy.py")]
    assert set(report.found_in(paths).values()) == {paths[1]}


def test_json_and_the_same_bytes_for_the_same_seed(file, points, tmp_path):
    path = file(WRONG_DW)
    runs = []
    for _ in range(2):
        done = run(path, "--points", points, "--json", tmp_path / "out.json", "--seed", 1)
        runs.append((done.stdout, (tmp_path / "out.json").read_bytes()))
    assert runs[0] == runs[1] and done.returncode == 1 and "6 of 10 points" in done.stdout
    written = json.loads(runs[0][1], parse_constant=pytest.fail)
    assert written["seed"] == 1 and written["points"] == POINTS and written["score"] == 6
    assert written["earned"]["fc_backward"] == 0 and written["version"] == report.version()
    assert written["files"] == {"student.py": report.sha256(path)}
    wrong = written["results"]["fc_backward"]
    assert wrong["status"] == "fail" and wrong["mistakes"] and wrong["place"].startswith("dw[")
    other = run_json(path, tmp_path, "--seed", 2)["results"]["fc_backward"]
    assert wrong["actual"] != other["actual"]


def run_json(path, tmp_path, *arguments):
    """What --json writes about a file."""
    run(path, "--json", tmp_path / "more.json", *arguments)
    return json.loads((tmp_path / "more.json").read_text(), parse_constant=pytest.fail)


def test_json_holds_no_nan(file, tmp_path):
    written = run_json(file(RIGHT.replace("np.maximum(x, 0)", "x / 0")), tmp_path)
    assert written["results"]["relu_forward"]["actual"] in ("inf", "-inf", "nan")


def test_a_function_that_was_asked_for_is_missing(file):
    path = file(RIGHT)
    assert run(path, "relu").returncode == 0
    done = run(path, "relu", "adam", "sgd")
    assert done.returncode == 1 and "\nmissing: sgd, adam (not in the files given)\n" in done.stdout
    done = run("relu", "--layers", file(RIGHT.replace("def relu_b", "def b"), "x.txt"))
    assert done.returncode == 1 and "\nmissing: relu_backward (not in x.txt)\n" in done.stdout


def test_an_import_in_vain_is_told_once(file):
    uses_it = "return missing_sums.dot(x)"
    source = RIGHT.replace("return x.reshape(len(x), -1) @ w + b", uses_it).replace(
        "return np.maximum(x, 0)", uses_it)
    done = run(file("import missing_sums\n" + source), "relu_forward", "fc_forward", env={
        **os.environ, "COLUMNS": "100"})
    assert done.stdout.count("missing_sums is not there") == 1, done.stdout
    for name in ("fc_forward", "relu_forward"):
        assert re.search(rf"^    {name} uses what is not there \(student.py, line \d+: return miss",
                         done.stdout, re.MULTILINE), done.stdout


def test_a_terminal_without_greek_letters_loses_nothing(file):
    source = RIGHT.replace("return np.maximum(x, 0), x", "raise ValueError('Σ ᵀ √')")
    done = run(file(source), env={**os.environ, "PYTHONIOENCODING": "cp1252"})
    assert done.returncode == 1 and not done.stderr and "? ? ?" in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="a pipe that nobody reads ends otherwise")
def test_output_may_be_cut_off(file):
    grader = subprocess.Popen([sys.executable, GRADER, file(RIGHT)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    grader.stdout.close()
    assert grader.wait(timeout=120) == 1 and not grader.stderr.read()


def test_wrong_commands_and_nothing_to_grade(file, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.json").write_text('{"fc_foreward": 1}')
    (tmp_path / "nan.json").write_text('{"fc_forward": NaN}')
    file(RIGHT, "student.ipynb")
    for arguments in (["no_such_layer"], ["--seed", "-1"], ["nowhere.py"], ["--shard", "3/2"],
                      ["adam", "--layers", file(RIGHT)], [file("x = 1", "none.py")], ["empty"],
                      ["student.ipynb"], ["relu", "--points", "bad.json"], ["--budget", "nan"],
                      ["--points", "nan.json"], ["--points", "nowhere.json"],
                      ["--submissions", "empty"], ["--submissions", "nowhere"],
                      ["--key", "nowhere.npz"], ["student.py", "--json", "empty"]):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2, arguments
        assert "error: " in done.stderr and "Traceback" not in done.stderr, arguments


def test_a_way_back_that_needs_the_published_cache_is_told_so(file):
    said = run(file("""
def fc_forward(x, w, b):
    return x.reshape(len(x), -1) @ w + b, (x, w)


def fc_backward(dout, cache):
    x, w, b = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dout, dout.sum(axis=0)
""")).stdout
    assert "1 of 2 right" in said and "not enough values to unpack" in said
    assert "right with the cache that the assignment describes, but not with that of the\n" in said


def test_what_another_course_has_is_told_in_one_line():
    done = run("batchnorm")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("autograder.py: error: there is nothing to grade named batchnorm: "
                           "--course cs231n has it\n")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_is_written_to_and_not_replaced(file, tmp_path):
    """Nor is /dev/stdout, which is no plain file either."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)) as reader:
        run("relu", file(RIGHT), "--json", pipe)
        assert pipe.is_fifo() and json.load(reader)["results"]["relu_forward"]["status"] == "pass"


def test_the_help_says_what_the_verdicts_mean():
    said = run("--help").stdout
    assert all(f"\n{status}" in said for status in report.MEANINGS)
    assert "conv_backward               layers.py" in run("--list").stdout


def test_strict_and_brief(file):
    careless = file(RIGHT.replace("dout * (cache > 0)", "np.float64(1) * dout * (cache > 0) "
                                  "if dout.dtype == float else (dout * (cache > 0)).astype(float)"))
    lenient, strict = run(careless, "relu_backward"), run(careless, "relu_backward", "--strict")
    assert "warn" in lenient.stdout and lenient.returncode == 0
    assert "FAIL" in strict.stdout and strict.returncode == 1
    assert "float" not in run(careless, "relu_backward", "--brief").stdout


def test_pytest_collects_the_grader():
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                           "autograder.py", "-k", "relu"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout


@pytest.mark.long
def test_the_project_gets_full_marks():
    done = run()
    assert done.returncode == 0 and "FAIL" not in done.stdout and "warn" not in done.stdout
    count = len(contract.FUNCTIONS)
    assert f"{count} of {count} right: {count} pass" in done.stdout


# ---------------------------------------------------------------- Gradescope

FORMAT = {"text", "html", "simple_format", "md", "ansi"}.__contains__
VISIBILITY = {"visible", "hidden", "after_due_date", "after_published"}.__contains__
NUMBER, TEXT, OBJECT = (lambda value, kind=kind: type(value) in kind
                        for kind in ((int, float), (str,), (dict,)))
TEST_FIELDS = {
    "score": NUMBER, "max_score": NUMBER, "status": {"passed", "failed"}.__contains__,
    "name": TEXT, "name_format": FORMAT, "number": TEXT, "output": TEXT, "output_format": FORMAT,
    "tags": lambda tags: all(map(TEXT, tags)), "visibility": VISIBILITY, "extra_data": OBJECT}
FIELDS = {
    "score": NUMBER, "execution_time": NUMBER, "output": TEXT, "output_format": FORMAT,
    "test_output_format": FORMAT, "test_name_format": FORMAT, "visibility": VISIBILITY,
    "stdout_visibility": VISIBILITY, "extra_data": OBJECT,
    "tests": lambda tests: all(fits(test, TEST_FIELDS) for test in tests),
    "leaderboard": lambda rows: all({"name", "value"} <= set(row) for row in rows)}


def fits(value, fields):
    """Whether an object has only these fields, with values as they are asked for."""
    return all(name in fields and fields[name](content) for name, content in value.items())


def results_of(path):
    """Gradescope's results.json, which must follow the schema and hold all points."""
    results = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert fits(results, FIELDS) and all("score" in test for test in results["tests"])
    assert [test["name"] for test in results["tests"]] == list(POINTS)
    assert sum(test["max_score"] for test in results["tests"]) == sum(POINTS.values())
    return {test["name"]: test for test in results["tests"]}, results


@pytest.fixture
def gradescope(tmp_path, points):
    """A function that makes and unpacks an upload, as /autograder, and grades files there."""
    def grade(files, *arguments):
        done = run("--points", points, "--make-gradescope", tmp_path / "upload.zip", *arguments)
        assert done.returncode == 0 and "10 points" in done.stdout, done.stderr
        home = tmp_path / "autograder"
        for folder in ("source", "submission", "results"):
            (home / folder).mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "zipfile", "-e", tmp_path / "upload.zip",
                        home / "source"], check=True)
        with zipfile.ZipFile(tmp_path / "upload.zip") as archive:
            for entry in archive.infolist():
                os.chmod(home / "source" / entry.filename, entry.external_attr >> 16)
        shutil.copy(home / "source" / "run_autograder", home)
        for name, source in files.items():
            path = home / "submission" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        subprocess.run([home / "run_autograder"], cwd=home, env=with_python(tmp_path), check=True,
                       capture_output=True)
        return results_of(home / "results" / "results.json")
    return grade


@pytest.mark.skipif(os.name != "posix", reason="Gradescope runs Linux")
@pytest.mark.parametrize("stored_key", [False, True])
def test_a_submission_in_gradescope(gradescope, tmp_path, stored_key):
    key = tmp_path / "key.npz"
    if stored_key:
        assert run("--make-key", key, "fc", "relu").returncode == 0
    tests, results = gradescope({"hw4/code/layers.py": WRONG_DW}, "--hidden", "fc_backward",
                                *(["--key", key] if stored_key else []))
    assert (tmp_path / "autograder" / "source" / "grading" / "references.py").exists() != stored_key
    assert {name: test["score"] for name, test in tests.items()} == {**POINTS, "fc_backward": 0}
    assert "is divided by" in tests["fc_backward"]["output"]
    assert tests["fc_backward"]["visibility"] == "after_due_date"
    assert tests["fc_forward"]["visibility"] == "visible" and "FAIL" not in results["output"]


@pytest.mark.skipif(os.name != "posix", reason="Gradescope runs Linux")
def test_an_empty_submission_in_gradescope_has_results(gradescope):
    tests, _ = gradescope({"notes.txt": "sorry"}, "--brief", "--strict")
    assert all(test["score"] == 0 and test["status"] == "failed" for test in tests.values())


def test_brief_results_hold_no_diagnosis(file, points, tmp_path):
    results = tmp_path / "new folder" / "results.json"
    run(file(WRONG_DW), "--points", points, "--gradescope", results, "--brief")
    tests, _ = results_of(results)
    assert "FAIL" in tests["fc_backward"]["output"] and "divided" not in json.dumps(tests)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("source, passed", [
    (RIGHT.replace("fc_forward(x, w, b):", "fc_forward(x, w, b):\n    while True: pass"), 0),
    (ENDLESS, 2)])
def test_results_are_there_before_the_first_function_and_after_each(
        file, points, tmp_path, source, passed):
    path, results = file(source), tmp_path / "results.json"
    grader = subprocess.Popen([sys.executable, GRADER, path, "--points", points, "--gradescope",
                               results], stdout=subprocess.DEVNULL)
    done = 0
    for _ in range(600):
        time.sleep(0.05)
        if results.is_file():
            tests, _ = results_of(results)
            done = sum(test["status"] == "passed" for test in tests.values())
            if done >= passed:
                break
    grader.send_signal(signal.SIGKILL)
    grader.wait()
    waiting = list(POINTS)[passed]
    assert done >= passed and "ended before" in results_of(results)[0][waiting]["output"]


# ---------------------------------------------------------------- a folder of submissions

@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A folder with submissions of many kinds."""
    folder = tmp_path_factory.mktemp("course") / "submissions"
    sources = {"ada/layers.py": RIGHT, "bob/hw4/my_layers.py": WRONG_DW, "eve/layers.py": ENDLESS,
               "joy/layers.py": "import os\nos.kill(os.getppid(), 9)\n" + RIGHT}
    for name, source in sources.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(source)
    (folder / "empty").mkdir()
    (folder / "broken.zip").write_bytes(b"PK\3\4 and no more")
    for name, entry, content in (("zoe", "hw/layers.py", RIGHT), ("sly", "../../layers.py", RIGHT),
                                 ("big", "layers.py", "#" * (report.LARGEST_FILE + 1))):
        with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(entry, content)
    (folder / "mia").mkdir()                    # as Moodle exports them
    shutil.copy(folder / "zoe.zip", folder / "mia")
    (folder.parent / "points.json").write_text(json.dumps(POINTS))
    return folder


def grade_course(course, out, *arguments):
    """Grade the folder; returns {student: row of grades.csv} and what was run."""
    done = run("--submissions", course, "--out", out, "--points", course.parent / "points.json",
               "--seconds", 4, *arguments)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    with open(out / "grades.csv", newline="", encoding="utf-8") as table:
        return {row["student"]: row for row in csv.DictReader(table)}, done


@pytest.mark.long
def test_a_folder_of_submissions(course, tmp_path):
    rows, done = grade_course(course, tmp_path / "out")
    assert list(rows) == ["ada", "big", "bob", "broken", "empty", "eve", "joy", "mia", "sly", "zoe"]
    totals = {student: float(row["total"]) for student, row in rows.items()}
    assert totals["ada"] == totals["zoe"] == totals["mia"] == 10 and totals["bob"] == 6
    assert totals["broken"] == totals["sly"] == totals["big"] == totals["empty"] == 0
    assert rows["eve"]["timed_out"].startswith("relu_forward") and totals["eve"] >= 5
    assert {student for student, row in rows.items() if row["note"]} == \
        {"big", "broken", "empty", "sly"}
    for student, said in (("broken", "cannot be unpacked"), ("sly", "'../../layers.py'"),
                          ("big", "more than 5,000,000 bytes"), ("empty", "no .py file")):
        assert said in rows[student]["note"]
    assert "minutes left" in done.stderr and "submissions in" in done.stderr
    page = (tmp_path / "out" / "class.html").read_text()
    assert "://" not in page
    assert all(f'href="students/{student}.txt"' in page for student in rows)
    assert "is divided by" in (tmp_path / "out" / "students" / "bob.txt").read_text()
    assert not list(course.parent.glob("layers.py"))


@pytest.fixture
def small_course(course, tmp_path):
    """A folder with three submissions of its own."""
    for student in ("ada", "bob"):
        shutil.copytree(course / student, tmp_path / "submissions" / student)
    shutil.copy(course / "zoe.zip", tmp_path / "submissions")
    shutil.copy(course.parent / "points.json", tmp_path)
    return tmp_path / "submissions"


@pytest.mark.long
def test_what_has_not_changed_is_not_graded_again(small_course, tmp_path):
    first, _ = grade_course(small_course, tmp_path / "out")
    again, done = grade_course(small_course, tmp_path / "out")
    assert first == again and not done.stderr
    (small_course / "bob" / "hw4" / "my_layers.py").write_text(RIGHT)
    mended, done = grade_course(small_course, tmp_path / "out")
    assert mended["bob"]["total"] == "10.0" and "ada" not in done.stderr
    _, done = grade_course(small_course, tmp_path / "out", "--seed", 1)
    assert "ada" in done.stderr and "bob" in done.stderr


@pytest.mark.long
def test_shards_make_the_same_book(small_course, tmp_path):
    rows, _ = grade_course(small_course, tmp_path / "whole")
    first, _ = grade_course(small_course, tmp_path / "parts", "--shard", "1/2")
    assert list(first) == ["ada", "zoe"]
    both, _ = grade_course(small_course, tmp_path / "parts", "--shard", "2/2")
    assert both == rows
    for name in ("grades.csv", "class.html"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_grader_that_dies_costs_one_row():
    tasks = {"ada": (2,), "bob": (0,)}
    results = dict(report.each_in_a_process(exit_or_double, tasks, workers=2))
    assert results == {"ada": 4, "bob": None}


def exit_or_double(value):
    """Twice the value, or the end of this process."""
    return 2 * value or os._exit(1)


# ---------------------------------------------------------------- the course's kind of test

def test_the_comparison_with_published_tests_is_written_as_json(tmp_path, monkeypatch):
    some = [m for m in compare_graders.MISTAKES if m.function.startswith("fc_")][2:12:2]
    monkeypatch.setattr(compare_graders, "MISTAKES", some)
    compare_graders.main(["--json", str(tmp_path / "counts.json")])
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["mistakes"] == counts["covered"] == counts["ours"] == len(some)
    assert 0 < counts["theirs"] <= counts["ours"] and 0 < counts["named"] <= counts["ours"]
    rows = counts["functions"]
    assert set(rows) == {"fc_forward", "fc_backward"}
    assert sum(row["theirs"] for row in rows.values()) == counts["theirs"]


@pytest.mark.parametrize("name", compare_graders.EXAMPLES)
def test_published_tests_pass_what_is_right(name):
    assert compare_graders.course_accepts(name, None)
