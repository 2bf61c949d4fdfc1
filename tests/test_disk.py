"""A full, read-only or vanishing disk, odd folders, and checkpoints of another training.

Each ends in one line that names the file and says what to do, with exit code 2, and whatever was
whole before is whole afterwards: the training data and the last good checkpoint.
"""
import ast
import hashlib
import pathlib
import shutil
import subprocess
import sys

import pytest

from checkpoint import read_checkpoint
from project import TOP
from test_scripts import ROOT, message, run, started, tiny_mnist

TASKS = {
    "mnist_train": ["--hidden-sizes", "3", "300", "--epochs", "2", "--batch-size", "50"],
    "cnn_train": ["--num-filters", "4", "--hidden-dim", "40", "--epochs", "2", "--batch-size", "50"],
}
# The first checkpoint that a script writes, and a setting that makes it another model's.
FIRST = {"mnist_train": "hidden_3.npz", "cnn_train": "cnn.npz"}
OTHER_MODEL = {"mnist_train": ["--reg", "0.5", "--learning-rate", "0.01"],
               "cnn_train": ["--num-filters", "5"]}
# The autograder runs the file that it is asked to grade: that is its purpose.
SOURCES = [path for path in sorted([*TOP, *(ROOT / "data").glob("*.py")])
           if path.stem != "autograder"]
every_script = pytest.mark.parametrize("script", TASKS)


def arguments(script, data_dir, out):
    # At a rate that falls from epoch to epoch, so that epochs can be added.
    return ["--data-dir", str(data_dir), "--out", str(out), "--lr-decay", "0.9", *TASKS[script]]


def contents(folder):
    """file -> digest of its content."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file()}


def assert_told(done, *words):
    """Exit code 2 and an error message that has all of these words."""
    assert done.returncode == 2, done.stdout + done.stderr
    for word in words:
        assert str(word) in done.stderr, done.stderr


def limited_files(size):
    """For a child process: no file may grow beyond so many bytes, as if the disk were full."""
    resource = pytest.importorskip("resource", reason="Windows limits no files")
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.fixture(scope="module")
def finished_run(tiny_mnist, tmp_path_factory):
    """script -> the folder of its finished run; run when first asked for."""
    folders = {}

    def of(script):
        if script not in folders:
            folders[script] = tmp_path_factory.mktemp(script) / "out"
            run(script, *arguments(script, tiny_mnist, folders[script]))
        return folders[script]

    return of


@pytest.fixture
def unfinished(finished_run, tmp_path):
    """script -> a copy of that folder as it is before the metrics and the pictures are written."""
    def of(script):
        shutil.copytree(finished_run(script) / "checkpoints", tmp_path / "out" / "checkpoints")
        return tmp_path / "out"

    return of


# ---------------------------------------------------------------- disks

@pytest.mark.long
@every_script
def test_a_full_disk_while_training(script, tiny_mnist, tmp_path):
    """The first checkpoint fits, a larger one does not."""
    out, data = tmp_path / "out", contents(tiny_mnist)
    size = {"mnist_train": 100_000, "cnn_train": 20_000}[script]
    done = run(script, *arguments(script, tiny_mnist, out), expect=2, preexec_fn=limited_files(size))
    failed = {"mnist_train": "hidden_300.npz", "cnn_train": "cnn.npz"}[script]
    assert_told(done, "cannot write the checkpoint", out / "checkpoints" / failed, "free some")
    assert contents(tiny_mnist) == data
    left = {path.name for path in contents(out)}
    assert left == ({"hidden_3.npz"} if script == "mnist_train" else set())
    for name in left:
        read_checkpoint(out / "checkpoints" / name)
    run(script, *arguments(script, tiny_mnist, out), "--resume")


@pytest.mark.long
@every_script
def test_a_full_disk_after_training_names_the_picture_and_loses_nothing(
        script, tiny_mnist, unfinished):
    out = unfinished(script)
    before = contents(out)
    done = run(script, *arguments(script, tiny_mnist, out), "--resume", expect=2,
               preexec_fn=limited_files(2_000))
    assert_told(done, f"cannot write {out}", ".png", "--resume")
    assert contents(out) == before
    run(script, *arguments(script, tiny_mnist, out), "--resume")


def on_disk(mount, folder, script, data_dir, out, *more):
    """The finished process of a script in a world of its own, where `mount` was done to folder ($0)."""
    world = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'{mount} && exec "$@"',
             str(folder)]
    if shutil.which("unshare") is None or \
            subprocess.run([*world, "true"], capture_output=True).returncode:
        pytest.skip("this system does not let us mount a disk")
    done = subprocess.run(
        [*world, sys.executable, str(ROOT / f"{script}.py"), *arguments(script, data_dir, out),
         *more], capture_output=True, text=True, timeout=120)
    done.stderr = message(done.stderr)
    return done


SMALL = 'mount -t tmpfs -o size=100k none "$0"'
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"'


@every_script
def test_a_small_disk(script, tiny_mnist, tmp_path):
    done = on_disk(SMALL, tmp_path, script, tiny_mnist, tmp_path / "out")
    assert_told(done, "cannot write", tmp_path / "out", "No space left on device", "--out")


@every_script
def test_a_read_only_disk(script, tiny_mnist, tmp_path):
    done = on_disk(READ_ONLY, tmp_path, script, tiny_mnist, tmp_path / "out")
    assert_told(done, tmp_path / "out", "Read-only file system", "--out")


@every_script
@pytest.mark.parametrize("more, expected", [
    (["--epochs", "3", "--resume"], "cannot write the checkpoint"), (["--resume"], "cannot write"),
    ([], "cannot be used")], ids=["more epochs", "pictures only", "afresh"])
def test_a_results_folder_that_became_read_only(script, more, expected, tiny_mnist, unfinished):
    out = unfinished(script)
    before = contents(out)
    done = on_disk(READ_ONLY, out, script, tiny_mnist, out, *more)
    assert_told(done, expected, out, "Read-only file system")
    assert contents(out) == before


@every_script
def test_a_results_folder_that_is_removed_while_training(script, tiny_mnist, tmp_path):
    out, data = tmp_path / "out", contents(tiny_mnist)
    process = started(script, *arguments(script, tiny_mnist, out), "--epochs", "1000")
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)      # a checkpoint may have come in between
    _, errors = process.communicate(timeout=60)
    done = subprocess.CompletedProcess([], process.returncode, "", message(errors))
    assert_told(done, "cannot write the checkpoint", out, "No such file or directory", "--out")
    assert contents(tiny_mnist) == data


@pytest.mark.long
@pytest.mark.parametrize("name", ["-n Zürich 数据 a'b\"c$HOME;&|`id` %s{x}", "a link"])
def test_folders_may_have_any_name(name, tiny_mnist, tmp_path):
    """Spaces, other alphabets, what a shell would act on, and symbolic links, for data and results."""
    data, out = tmp_path / f"data {name}", tmp_path / name
    if name == "a link":
        data.symlink_to(tiny_mnist)
        (tmp_path / "elsewhere").mkdir()
        out.symlink_to(tmp_path / "elsewhere")
    else:
        shutil.copytree(tiny_mnist, data)
    done = run("mnist_train", f"--data-dir={data.name}", f"--out={out.name}", "--epochs", "1",
               "--hidden-sizes", "3", cwd=tmp_path)
    assert (out / "metrics.json").exists() and "SYNTHETIC" not in done.stdout
    assert {path.name for path in tmp_path.iterdir()} - {"elsewhere"} == {data.name, out.name}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_that_is_read_is_run(path):
    """No pickle, no shell, no evaluation of text in any source."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = {alias.name.split(".")[0] for alias in node.names} | \
                {(getattr(node, "module", None) or "").split(".")[0]}
            assert not modules & {"pickle", "marshal", "shelve", "dill", "joblib", "subprocess"}
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert name not in {"eval", "exec", "compile", "os.system", "os.popen", "__import__"}
            assert keywords.get("shell", "False") == keywords.get("allow_pickle", "False") == "False"
            if name == "torch.load":
                assert keywords.get("weights_only") == "True"
            if name == "np.load":
                assert keywords.get("allow_pickle") == "False"


# ---------------------------------------------------------------- checkpoints

@every_script
def test_a_damaged_checkpoint_is_named_and_left_alone(script, tiny_mnist, unfinished):
    out = unfinished(script)
    path = out / "checkpoints" / FIRST[script]
    path.write_bytes(path.read_bytes()[:1000])
    before = contents(out)
    done = run(script, *arguments(script, tiny_mnist, out), "--resume", expect=2)
    assert_told(done, path, "damaged", "Delete it to start afresh")
    assert contents(out) == before


@every_script
def test_a_checkpoint_of_another_model_is_named_and_left_alone(script, tiny_mnist, unfinished):
    out = unfinished(script)
    before = contents(out)
    done = run(script, *arguments(script, tiny_mnist, out), *OTHER_MODEL[script], "--resume", expect=2)
    assert_told(done, out / "checkpoints" / FIRST[script], "another training", "another --out")
    assert contents(out) == before


@every_script
def test_a_checkpoint_of_the_other_script_is_named(script, tiny_mnist, unfinished, finished_run):
    other = next(name for name in TASKS if name != script)
    out = unfinished(script)
    path = out / "checkpoints" / FIRST[script]
    shutil.copy(finished_run(other) / "checkpoints" / FIRST[other], path)
    done = run(script, *arguments(script, tiny_mnist, out), "--resume", expect=2)
    assert_told(done, path, "another training")
