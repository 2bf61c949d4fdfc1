"""Runs the functions of a student's file and hands back raw results. It decides nothing.

The text of this file is the program of the process in which a submission runs (Process);
in a notebook the same steps are made without a process (Direct). Both take scripts, lists
of steps, and answer each with a Reply:

    ["keep", slot, value]                   have a value at hand under a name
    ["pack", [value...], slot]              the same for a tuple
    ["call", target, [value...], {}, slot]  call a function or a method; keep the result
    ["attempt", ...]                        the same, but what it raises does not count
    ["get", at, parts]                      describe what is there: raw bytes of arrays, or a type
    ["put", at, key, value]                 at[key] = value
    ["fill", at, value]                     at[...] = value
    ["copy", at, slot]                      a deep copy
    ["signature", target]                   the names of the arguments

`at` is At(slot, keys and .attributes...). All a worker can say is a frame: a length, a JSON
text, and the bytes of its arrays. Caches and models stay where they are, in their slots.

Every function is called in a process of its own, forked from one that has loaded NumPy and
no submission; what it breaks is gone with it. Python 3.10, NumPy alone.
"""
import ast
import copy
import importlib.machinery
import importlib.util
import inspect
import json
import math
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tokenize
import types
import warnings

import numpy as np

LARGEST_ARRAY = 1 << 26         # bytes of a result; larger ones are only described
LARGEST_FRAME = 1 << 28
ADDRESS_SPACE = 1 << 31
DIFFERENTIATING = ("torch", "tensorflow", "jax", "autograd", "keras", "theano", "tinygrad")


# ---------------------------------------------------------------- frames

class Given:
    """An array on its way to a worker, and the layout that it is to have there; or a tuple."""

    def __init__(self, array, layout="plain"):
        self.array, self.layout = array, layout


class At:
    """What a slot holds, or something in it."""

    def __init__(self, slot, *path):
        self.path = [slot, *path]


def laid_out(array, layout):
    """A fresh copy in C order, in Fortran order, with gaps and negative steps, or read-only."""
    if layout == "strided" and array.ndim:
        room = np.zeros([2 * size for size in array.shape], array.dtype)
        view = room[(slice(None, None, -2),) * array.ndim]
        view[...] = array
        return view
    array = np.array(array, order="F" if layout == "fortran" else "C")
    array.flags.writeable = layout != "readonly"
    return array


def encode(tree):
    """A frame: its length, that of its JSON, the JSON, and the bytes of the arrays in it."""
    blobs = []

    def enter(value):
        if isinstance(value, At):
            return {"@": value.path}
        value = value if isinstance(value, Given) else Given(value)
        array, layout = value.array, value.layout
        if isinstance(array, tuple):
            return {"()": array}
        if isinstance(array, np.generic):
            array = np.asarray(array)
        blobs.append(array.tobytes())
        return {"#": [array.dtype.str, array.shape, layout]}

    text = json.dumps(tree, default=enter).encode()
    size = 8 + len(text) + sum(map(len, blobs))
    return b"".join([size.to_bytes(8, "big"), len(text).to_bytes(8, "big"), text, *blobs])


def decode(frame):
    """The tree of a frame without its first eight bytes. Raises ValueError if it is none."""
    end = 8 + int.from_bytes(frame[:8], "big")
    position = end

    def enter(entry):
        nonlocal position
        if "@" in entry:
            return At(*entry["@"])
        if "()" in entry:
            return tuple(entry["()"])
        if "#" not in entry:
            return entry
        kind, shape, layout = entry["#"]
        if not re.fullmatch(r"[<>|=][biufc]\d+", kind) or min(shape, default=0) < 0:
            raise ValueError("an array of an unknown kind")
        dtype = np.dtype(kind)
        start, position = position, position + math.prod(shape) * dtype.itemsize
        return laid_out(np.frombuffer(frame[start:position], dtype).reshape(shape), layout)

    try:
        tree = json.loads(frame[8:end], object_hook=enter)
    except Exception as error:
        raise ValueError(f"what came is no frame: {error}") from error
    if position != len(frame):
        raise ValueError("what came is no frame: there are bytes left over")
    return tree


def read_exactly(stream, size):
    """So many bytes of an unbuffered stream; fewer at its end."""
    parts, missing = [], size
    while missing:
        part = stream.read(min(missing, 1 << 20))
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def read_frame(stream):
    """The next frame of a stream, None at its end. Raises ValueError for what is none."""
    size = int.from_bytes(read_exactly(stream, 8).rjust(8, b"\0"), "big")
    if size > LARGEST_FRAME:
        raise ValueError("what came is no frame: it would be too large")
    frame = read_exactly(stream, size)
    return decode(frame) if size and len(frame) == size else None


# ---------------------------------------------------------------- steps

class Interpreter:
    """Carries out scripts with the functions of a file."""

    def __init__(self, functions, folder="", sources=None):
        self.functions, self.folder, self.sources = functions, folder, sources or {}
        self.slots = {"numpy": np}

    def run(self, script):
        """{"results": [...]} of the steps that give some; an "error" and its step if one raised."""
        results, number = [], 0
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for number, step in enumerate(script):
                    result = getattr(self, "do_" + step[0])(*step[1:])
                    if result is not None:
                        results.append(result)
        except BaseException as error:
            return {"results": results, "step": number,
                    "error": described_error(error, self.folder, self.sources)}
        return {"results": results}

    def found(self, value):
        """A value; what is at a place if it is an At."""
        if not isinstance(value, At):
            return value
        here = self.slots[value.path[0]]
        for key in value.path[1:]:
            is_attribute = isinstance(key, str) and key.startswith(".")
            here = getattr(here, key[1:]) if is_attribute else here[key]
        return here

    def do_keep(self, slot, value):
        self.slots[slot] = value

    def do_pack(self, parts, slot):
        self.slots[slot] = tuple(map(self.found, parts))

    def do_call(self, target, arguments, options, slot):
        np.random.seed(0)
        function = self.functions[target] if isinstance(target, str) else self.found(target)
        options = {name: self.found(value) for name, value in options.items()}
        self.slots[slot] = function(*map(self.found, arguments), **options)

    def do_attempt(self, *call):
        try:
            self.do_call(*call)
        except Exception:
            pass                        # it is judged elsewhere

    def do_get(self, at, parts):
        return described(self.found(at), parts)

    def do_put(self, at, key, value):
        self.found(at)[key] = self.found(value)

    def do_fill(self, at, value):
        self.found(at)[...] = value

    def do_copy(self, at, slot):
        self.slots[slot] = copy.deepcopy(self.found(at))

    def do_signature(self, target):
        try:
            wanted = inspect.signature(self.functions[target]).parameters.values()
        except (TypeError, ValueError):
            return {"type": "signature", "names": [], "free": False}
        return {"type": "signature", "names": [p.name for p in wanted],
                "free": any(p.kind is p.VAR_KEYWORD for p in wanted)}


def described(value, parts=None):
    """What a value is: its type, and the bytes if it is an array or can be made one.

    parts: [wanted?...] for the entries of a tuple, which are described one by one.
    """
    kind = type(value)                  # unlike isinstance, this cannot be lied to
    entry = {"type": kind.__name__[:60]}
    if parts and issubclass(kind, (list, tuple)):
        entries = list(list.__iter__(value) if issubclass(kind, list) else tuple.__iter__(value))
        entry["parts"] = [described(part) if wanted else {"type": type(part).__name__[:60]}
                          for part, wanted in zip(entries, parts)]
        entry["length"] = len(entries)
    elif issubclass(kind, (np.ndarray, np.generic)):
        array = np.ndarray.view(value, np.ndarray) if issubclass(kind, np.ndarray) \
            else np.asarray(value)
        if array.dtype.kind in "biufc" and array.nbytes <= LARGEST_ARRAY:
            entry["array"] = np.array(array)        # as it is now: a later step may change it
        else:
            entry |= {"dtype": str(array.dtype), "shape": array.shape}
    elif kind in (int, float) or issubclass(kind, (list, tuple)):
        try:
            entry["array"] = np.array(value, dtype=float)
        except Exception:
            pass                        # it is no array: its type is all there is to say
    elif issubclass(kind, dict):
        entry["entries"] = {str(key)[:60]: described(part)
                            for key, part in list(dict.items(value))[:60]}
    return entry


def described_error(error, folder, sources):
    """Type, message and the student's own last line of what was thrown."""
    try:
        message = " ".join(str(error).split())
    except BaseException:               # the exception may be of the submission's own making
        message = ""
    entry = {"type": type(error).__name__[:60],
             "message": re.sub(r"0x[0-9a-fA-F]{6,}", "0x...", message)[:300]}
    if isinstance(error, SyntaxError) and error.filename in sources:
        return entry | {"message": str(error.msg), "file": pathlib.Path(error.filename).name,
                        "line": error.lineno, "text": (error.text or "").strip()[:80]}
    trace = error.__traceback__
    while trace:
        name = trace.tb_frame.f_code.co_filename
        if name in sources or folder and name.startswith(folder) and "-packages" not in name:
            lines = sources.get(name, [])
            entry |= {"file": pathlib.Path(name).name, "line": trace.tb_lineno,
                      "text": "".join(lines[trace.tb_lineno - 1:trace.tb_lineno]).strip()[:80]}
        trace = trace.tb_next
    return entry


# ---------------------------------------------------------------- loading a submission

class Missing(Exception):
    """Something is used that is not there."""


class StandIn(types.ModuleType):
    """In the place of a module that is not there, and of all in it. Fails when it is used."""

    def __init__(self, name, sentence):
        super().__init__(name)
        self.__dict__.update(__path__=[], __spec__=None, sentence=sentence)

    def __getattr__(self, name):
        if name.startswith("__") and name != "__call__":
            raise AttributeError(name)
        return StandIn(f"{self.__name__}.{name}", self.sentence)

    def __call__(self, *_, **__):
        if LOADING:                     # plt.rcParams[...] = ... at the top of a file does no harm
            return self
        raise Missing(self.sentence)

    def __mro_entries__(self, _):
        return ()


LOADING = []                            # not empty while a file is being imported
for operation in ("getitem setitem iter len enter exit array add radd sub rsub mul rmul matmul "
                  "rmatmul truediv rtruediv pow neg lt gt float int bool").split():
    setattr(StandIn, f"__{operation}__", StandIn.__call__)


class Finder:
    """Refuses modules that differentiate by themselves, and the grader; gives stand-ins."""

    def __init__(self, refused):
        self.refused, self.stand_ins = refused, {}

    def find_spec(self, name, path=None, target=None):
        for known, sentence in self.stand_ins.items():
            if name == known or name.startswith(known + "."):
                return importlib.machinery.ModuleSpec(name, self, loader_state=sentence)
        top = name.partition(".")[0]
        if top in self.refused:
            raise ModuleNotFoundError(self.refused[top], name=top)
        return None

    def create_module(self, spec):
        return StandIn(spec.name, spec.loader_state)

    def exec_module(self, module):
        pass


def source_of(path):
    """The text of a Python file. Raises SyntaxError, with what to do, for what is none."""
    content = path.read_bytes()
    if path.suffix == ".ipynb":
        raise SyntaxError("a notebook is no Python file: export it as .py (File, Save and Export "
                          "Notebook As, Executable Script), or jupyter nbconvert --to script FILE")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise SyntaxError("it is saved as UTF-16: save it as UTF-8")
    if b"\0" in content:
        raise SyntaxError("it contains NUL bytes, as UTF-16 does: save it as UTF-8")
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (UnicodeDecodeError, SyntaxError):
        raise SyntaxError("it is not saved as UTF-8: save it as UTF-8") from None


def load(path, finder, sources):
    """The module of a file. What it imports in vain is replaced by a stand-in."""
    name = path.stem if path.stem not in sys.modules else "submission"
    sources[str(path)] = []
    text = source_of(path)
    sources[str(path)] = text.splitlines()
    program = compile(text, str(path), "exec", dont_inherit=True)
    LOADING.append(path)
    for _ in range(30):
        module = sys.modules[name] = types.ModuleType(name)
        module.__file__ = str(path)
        try:
            exec(program, module.__dict__)
            break
        except ModuleNotFoundError as error:
            if not error.name or error.name in finder.stand_ins:
                raise
            refused = error.name in finder.refused
            finder.stand_ins[error.name] = str(error) if refused else \
                f"the module {error.name} is not there where this is graded"
    LOADING.clear()
    return module


# ---------------------------------------------------------------- the process of a submission

REFUSED = re.compile(
    r"os\.(fork|forkpty|exec|posix_spawn|spawn|system|startfile|kill|killpg)|pty\.spawn|"
    r"subprocess\.Popen|socket\..*|signal\.pthread_kill|ctypes\.(dlopen|dlsym|string_at).*")
CHANGING = re.compile(r"os\.(remove|rename|rmdir|truncate|chmod|chown|link|symlink|mkdir|utime)|"
                      r"shutil\.(rmtree|move|chown)")


def guard(scratch, grader):
    """Install the audit hook: no processes, no network, no file of the grader; writing in scratch.

    What is meant by ordinary means. Code that is determined finds others: docs/teaching.md.
    """
    stat, fspath, absolute, join = os.stat, os.fspath, os.path.abspath, os.path.join
    forbidden = set()
    for root, _, names in (entry for path in grader for entry in
                           (os.walk(path) if os.path.isdir(path) else
                            [(os.path.dirname(path), (), [os.path.basename(path)])])):
        paths = [join(root, name) for name in names] + ([root] if root in grader else [])
        forbidden |= {(stat(path).st_dev, stat(path).st_ino) for path in paths}
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    libraries = tuple({os.path.dirname(os.path.dirname(module.__file__)) + os.sep
                       for module in (np, os, json)})
    frame_of = sys._getframe

    def is_forbidden(path):
        while path:
            try:
                status = stat(path)
                if (status.st_dev, status.st_ino) in forbidden:
                    return True
            except (OSError, ValueError):
                pass
            path, _, last = path.rstrip("/").rpartition("/")
        return False

    def may_change(path):
        path = absolute(path)
        return path.startswith(scratch + os.sep) or path in (scratch, os.devnull)

    def by_a_library():
        frame = frame_of(2)
        while frame and "ctypes" in frame.f_code.co_filename:
            frame = frame.f_back
        return frame is not None and frame.f_code.co_filename.startswith(libraries)

    def hook(event, arguments):
        if event == "open" or event in ("os.listdir", "os.scandir", "os.chdir"):
            path = arguments[0]
            if path is None or isinstance(path, int):
                return
            path = os.fsdecode(fspath(path))
            if is_forbidden(path) or re_process(path):
                raise PermissionError("a submission may not read the grader")
            if event == "open" and arguments[2] & writing and not may_change(path):
                raise PermissionError("a submission may not write outside of its scratch folder")
        elif changing(event) and isinstance(arguments[0], (str, bytes)):
            if not all(may_change(os.fsdecode(path)) for path in arguments[:2]
                       if isinstance(path, (str, bytes))):
                raise PermissionError("a submission may not change files outside of its scratch "
                                      "folder")
        elif refused(event) and not (event.startswith("ctypes") and by_a_library()):
            raise PermissionError(f"{event}: a submission may not start or reach other processes")

    re_process = re.compile(r"/proc/\d").match
    changing, refused = CHANGING.fullmatch, REFUSED.fullmatch
    sys.addaudithook(hook)


def limit(seconds, is_free):
    """Limits of this process, where the system has them."""
    try:
        import resource
    except ImportError:
        return
    whole = max(1, math.ceil(seconds))
    wanted = {"RLIMIT_CPU": (whole, whole + 1), "RLIMIT_FSIZE": (1 << 26, 1 << 26),
              "RLIMIT_CORE": (0, 0)}
    if not is_free:
        wanted |= {"RLIMIT_AS": (ADDRESS_SPACE, ADDRESS_SPACE), "RLIMIT_NPROC": (1024, 1024)}
    for name, values in wanted.items():
        try:
            resource.setrlimit(getattr(resource, name), values)
        except (AttributeError, ValueError, OSError):       # this system has no such limit, or less
            pass


def serve(settings, requests, replies):
    """Load the submission and answer scripts until the end of them."""
    path = pathlib.Path(settings["path"])
    scratch, seconds = settings["scratch"], settings["seconds"]
    folder = str(path.parent) + os.sep
    sys.argv = [str(path)]
    sys.path[:] = [str(path.parent), *(p for p in sys.path if p and p != str(path.parent))]
    limit(seconds, bool(settings["allow"]))
    refused = {name: f"{name} differentiates by itself, and a layer is to do so here: it is not "
               "there" for name in DIFFERENTIATING if name not in settings["allow"]}
    refused |= dict.fromkeys(("autograder", "grading"), "the grader cannot be imported")
    finder, sources = Finder(refused), {}
    sys.modules["__main__"] = types.ModuleType("__main__")      # this program is out of reach
    sys.meta_path.insert(0, finder)
    guard(scratch, settings["grader"])

    def say(tree, encode=encode, write=replies.write, flush=replies.flush):
        write(encode(tree))
        flush()

    try:
        module = load(path, finder, sources)
    except BaseException as error:
        say({"error": described_error(error, folder, sources)})
        os._exit(0)
    functions = {name: value for name, value in vars(module).items() if callable(value)}
    say({"defined": {name: type(vars(module)[name]).__name__ for name in settings["names"]
                     if name in vars(module)},
         "callable": [name for name in settings["names"] if name in functions],
         "missing": finder.stand_ins})
    interpreter = Interpreter(functions, folder, sources)
    for script in iter(lambda: read_frame(requests), None):
        if script == "end":
            say("bye")
            break
        say(interpreter.run(script))
    os._exit(0)


def import_libraries(settings):
    """Import the installed libraries that a file names, once for all its processes."""
    try:
        nodes = list(ast.walk(ast.parse(source_of(pathlib.Path(settings["path"])))))
    except (SyntaxError, ValueError, RecursionError):
        return
    named = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    for name in named:
        top = name.partition(".")[0]
        try:
            spec = importlib.util.find_spec(top)
            if "-packages" in str(spec and spec.origin) and \
                    (top not in DIFFERENTIATING or top in settings["allow"]):
                importlib.import_module(name)
        except Exception:           # it will fail for the file too, and be told there
            pass


def main(settings):
    """Fork a process for every function that is asked for; this one loads no submission."""
    requests = os.fdopen(os.dup(0), "rb", 0)        # unbuffered: each process takes its own frames
    replies = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    child = 0

    def end(*_):
        if child:
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    if hasattr(os, "fork"):
        signal.signal(signal.SIGTERM, end)
    sys.path[:] = [path for path in sys.path if path]
    np.random.seed(0)               # what NumPy imports late is there before it is needed
    import_libraries(settings)
    replies.write(encode("ready"))
    replies.flush()
    while True:
        message = read_frame(requests)
        if message is None:
            os._exit(0)
        settings["seconds"] = message["seconds"]
        child = os.fork() if hasattr(os, "fork") else 0
        if child == 0:
            if hasattr(os, "fork"):
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            serve(settings, requests, replies)
        _, status = os.waitpid(child, 0)
        child = 0
        replies.write(encode({"ended": os.waitstatus_to_exitcode(status)}))
        replies.flush()


# ---------------------------------------------------------------- the judge's side

class Ended(Exception):
    """There is nobody left to answer; the message says why."""

    def __init__(self, sentence, timed_out=False):
        super().__init__(sentence)
        self.timed_out = timed_out


GARBLED = "it writes to the channel through which its results come, so they cannot be read"


class Process:
    """A submission that runs apart: begin() for each function, send() scripts, receive() replies.

    Whatever happens there, receive() returns a dict or raises Ended, in time.
    """

    def __init__(self, path, names, allow=()):
        home = pathlib.Path(__file__).resolve().parent
        self.settings = {"path": str(pathlib.Path(path).absolute()), "names": list(names),
                         "allow": list(allow),
                         "grader": [str(home), *map(str, home.parent.glob("autograder.py"))]}
        self.process = self.about = None

    def start(self):
        """Start the process that is forked for every function."""
        self.scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        folder = os.path.realpath(self.scratch.name)
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("PYTHON")}
        environment |= {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
        environment |= {"TMPDIR": folder, "MPLBACKEND": "agg",
                        "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        source = pathlib.Path(__file__).read_text(encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-c", source, json.dumps({**self.settings, "scratch": folder})],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder,
            env=environment, start_new_session=True, bufsize=0)
        self.frames, self.waiting = queue.Queue(), queue.Queue()
        self.threads = [
            threading.Thread(target=pump, daemon=True, args=arguments) for pump, *arguments in (
                (read_all, self.process.stdout, self.frames),
                (write_all, self.waiting, self.process.stdin))]
        for thread in self.threads:
            thread.start()

    def begin(self, seconds):
        """Load the file anew, for one function; returns what it says of itself."""
        if self.process is None:
            self.start()
            self.patience = 120
            self.receive()          # NumPy and other libraries have been imported
        # Time by the clock is limited too, for code that waits; the machine may be busy.
        self.seconds, self.patience = seconds, 2 * seconds + 5
        self.send({"seconds": seconds})
        self.about = self.receive()
        return self.about

    def send(self, script):
        """Hand over a script; scripts wait in line, so that the worker is never idle."""
        self.waiting.put(encode(script))

    def receive(self):
        """The reply to the next script."""
        if self.process is None:
            raise Ended(GARBLED)
        frame = self.next_frame()
        if frame == "ready" or isinstance(frame, dict) and "ended" not in frame:
            return frame
        code = frame["ended"] if isinstance(frame, dict) else self.stop()
        self.stop()
        if frame == "too slow" or hasattr(signal, "SIGXCPU") and code == -signal.SIGXCPU:
            raise Ended(f"too slow for {self.seconds:g} seconds", timed_out=True)
        if frame is not None and not isinstance(frame, dict):
            raise Ended(GARBLED)
        if code == -9:
            raise Ended(f"too slow for {self.seconds:g} seconds, or it takes too much memory",
                        timed_out=True)
        raise Ended(f"it ends Python itself (exit code {code})")

    def next_frame(self):
        """What came; None if nobody is there; "too slow" when patience has run out."""
        is_gone, start = False, time.monotonic()
        try:
            while True:
                try:
                    return self.frames.get(timeout=min(0.5, max(self.patience, 0.001)))
                except queue.Empty:
                    if is_gone:
                        return None
                    is_gone = self.process.poll() is not None
                if time.monotonic() - start > self.patience:
                    return "too slow"
        finally:
            self.patience -= time.monotonic() - start

    def end(self):
        """The function is done. A process that does not end as it should is not used again."""
        if self.process is None:
            return
        self.patience = 2
        self.send("end")
        if self.next_frame() != "bye" or self.next_frame() != {"ended": 0}:
            self.stop()

    def stop(self):
        """End the process and what it has started; returns its exit code."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        process.terminate()                 # it ends its child, which may have left the group
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            pass
        if hasattr(os, "killpg"):
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):       # all have ended
                pass
        process.kill()
        self.waiting.put(None)
        for thread in self.threads:
            thread.join(1)
        self.scratch.cleanup()
        return process.wait()


def read_all(stream, frames):
    """Put the frames of a stream into a queue; None at its end."""
    try:
        with stream:
            while (frame := read_frame(stream)) is not None:
                frames.put(frame)
        frames.put(None)
    except Exception:               # what came is no frame
        frames.put("garbled")


def write_all(waiting, stream):
    """Write what is put into a queue, until None."""
    try:
        with stream:
            for data in iter(waiting.get, None):
                while data:
                    data = data[stream.write(data):]
    except (BrokenPipeError, OSError):      # the reader tells why
        pass


class Direct:
    """The functions of this process, with the same methods as Process and no protection."""

    def __init__(self, functions):
        self.functions = functions

    def begin(self, seconds):
        """Forget what was kept; says what there is."""
        self.interpreter, self.waiting = Interpreter(self.functions), []
        return {"defined": {name: type(value).__name__ for name, value in self.functions.items()},
                "callable": [name for name, value in self.functions.items() if callable(value)],
                "missing": {}}

    def send(self, script):
        """Hand over a script."""
        self.waiting.append(encode(script))

    def receive(self):
        """Run the next script; both ways through the same bytes as in a process."""
        return decode(encode(self.interpreter.run(decode(self.waiting.pop(0)[8:])))[8:])

    def end(self):
        """Nothing is left to be done."""

    stop = end


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
