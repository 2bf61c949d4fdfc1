"""Runs the functions of a student's file and hands back raw results. It decides nothing.

The text of this file is also the program of the process in which a submission runs (Process);
in a notebook the same steps are made without one (Direct). Both take scripts, lists of steps:

    ["keep", slot, value]                   have a value at hand under a name
    ["pack", [value...], slot]              the same for a tuple
    ["call", target, [value...], {}, slot]  call a function or a method; keep the result
    ["attempt", ...]                        the same, but what it raises does not count
    ["get", at, parts]                      describe what is there: bytes of arrays, or a type
    ["put", at, key, value]                 at[key] = value
    ["fill", at, value]                     at[...] = value
    ["copy", at, slot]                      a deep copy
    ["signature", target]                   the names of the arguments
    ["seed", number]                        of NumPy's generator, before every call from now on

`at` is At(slot, keys and .attributes...): caches and models stay where they are, in slots.
Every function has a process of its own, forked from one that has loaded NumPy and no
submission; what it breaks is gone with it. Python 3.10, NumPy alone.
"""
import copy
import functools
import gc
import importlib
import importlib.util
import inspect
import json
import linecache
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
import traceback
import types
import warnings

import numpy as np

LARGEST_ARRAY = 1 << 26         # bytes of a result; larger ones are only described
LARGEST_FRAME = 1 << 28
DIFFERENTIATING = ("torch", "tensorflow", "jax", "autograd", "keras", "theano", "tinygrad")


# ---------------------------------------------------------------- frames

class Given:
    """An array on its way to a worker, and the layout that it is to have there; or a tuple."""

    def __init__(self, array, layout="plain"):
        self.array, self.layout = array, layout


class At(dict):
    """What a slot holds, or something in it. In JSON it stands as it is."""

    def __init__(self, slot, *path):
        super().__init__({"@": [slot, *path]})

    @property
    def path(self):
        return self["@"]


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
        is_given = isinstance(value, Given)
        array, layout = (value.array, value.layout) if is_given else (value, "plain")
        if isinstance(array, tuple):
            return {"()": array}
        array = np.asarray(array)
        blobs.append(array.tobytes())
        return {"#": [array.dtype.str, array.shape, layout]}

    text = json.dumps(tree, default=enter).encode()
    size = 8 + len(text) + sum(map(len, blobs))
    return b"".join([size.to_bytes(8, "big"), len(text).to_bytes(8, "big"), text, *blobs])


@functools.cache
def dtype_of(kind):
    """A dtype of numbers by its name."""
    if not re.fullmatch(r"[<>|=][biufc]\d+", kind):
        raise ValueError("an array of an unknown kind")
    return np.dtype(kind)


def decode(frame):
    """The tree of a frame without its first eight bytes. Raises ValueError if it is none."""
    position = end = 8 + int.from_bytes(frame[:8], "big")

    def enter(entry):
        nonlocal position
        if "@" in entry:
            return At(*entry["@"])
        if "()" in entry:
            return tuple(entry["()"])
        if "#" not in entry:
            return entry
        kind, shape, layout = entry["#"]
        dtype, count = dtype_of(kind), math.prod(shape)
        if min(shape, default=0) < 0:
            raise ValueError("an array of a negative size")
        start, position = position, position + count * dtype.itemsize
        return laid_out(np.frombuffer(frame, dtype, count, start).reshape(shape), layout)

    try:
        tree = json.loads(frame[8:end], object_hook=enter)
    except Exception as error:
        raise ValueError(f"what came is no frame: {error}") from error
    if position != len(frame):
        raise ValueError("what came is no frame: there are bytes left over")
    return tree


def read_frame(stream):
    """The next frame of a stream, None at its end. Raises ValueError for what is none."""
    size = int.from_bytes(read_exactly(stream, 8), "big")
    if size > LARGEST_FRAME:
        raise ValueError("what came is no frame: it would be too large")
    frame = read_exactly(stream, size)
    return decode(frame) if size and len(frame) == size else None


def read_exactly(stream, size):
    """So many bytes of a stream, which may come in pieces; fewer at its end."""
    data = bytearray()
    while part := stream.read(min(size - len(data), 1 << 20)):
        data += part
    return bytes(data)


# ---------------------------------------------------------------- steps

class Interpreter:
    """Carries out scripts with some functions. folder: where the student's files are."""

    def __init__(self, functions, folder=None):
        self.functions, self.folder = functions, folder
        self.slots, self.seed = {"numpy": np}, 0

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
                    "error": described_error(error, self.folder)}
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

    def do_seed(self, number):
        self.seed = number

    def do_keep(self, slot, value):
        self.slots[slot] = value

    def do_pack(self, parts, slot):
        self.slots[slot] = tuple(map(self.found, parts))

    def do_call(self, target, arguments, options, slot):
        np.random.seed(self.seed)
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
            wanted = ()
        return {"type": "signature", "names": [p.name for p in wanted],
                "free": any(p.kind is p.VAR_KEYWORD for p in wanted)}


KINDS = np.ndarray, list, tuple, dict, np.generic


def described(value, parts=None):
    """What a value is: its type, and the bytes if it is an array or can be made one.

    parts: [wanted?...] for the entries of a tuple, which are described one by one.
    """
    kind = type(value)                  # unlike isinstance, this cannot be lied to
    entry = {"type": kind.__name__[:60]}
    base = kind if kind in KINDS else next((one for one in KINDS if issubclass(kind, one)), kind)
    if parts and base in (list, tuple):
        entries = list(base.__iter__(value))
        entry["parts"] = [described(part) if wanted else {"type": type(part).__name__[:60]}
                          for part, wanted in zip(entries, parts)]
        entry["length"] = len(entries)
    elif base in (np.ndarray, np.generic):
        array = np.ndarray.view(value, np.ndarray) if base is np.ndarray else np.asarray(value)
        if array.dtype.kind in "biufc" and array.nbytes <= LARGEST_ARRAY:
            entry["array"] = np.array(array)        # as it is now: a later step may change it
        else:
            entry |= {"dtype": str(array.dtype), "shape": array.shape}
    elif base in (int, float, list, tuple):
        try:
            entry["array"] = np.array(value, dtype=float)
        except Exception:
            pass                        # it is no array: its type is all there is to say
    elif base is dict:
        entry["entries"] = {str(key)[:60]: described(part)
                            for key, part in list(dict.items(value))[:60]}
    return entry


def described_error(error, folder):
    """Type and message of what was thrown, and the last line of it in the student's folder."""
    try:
        message = " ".join(str(error).split())
    except BaseException:               # the exception may be of the submission's own making
        message = ""
    message = re.sub(r"0x[0-9a-fA-F]{6,}", "0x...", message)[:300]
    trace = traceback.walk_tb(error.__traceback__)
    places = [(frame.f_code.co_filename, line) for frame, line in trace]
    if isinstance(error, SyntaxError):
        message = str(error.msg)
        places.append((str(error.filename), error.lineno or 0))
    elif message.startswith("attempted relative import"):
        message += ": all files that are graded together lie in one folder"
    own = [(name, line) for name, line in places
           if folder and name.startswith(folder) and "-packages" not in name]
    name, line = own[-1] if own else ("", 0)
    return {"type": type(error).__name__[:60], "message": message,
            "file": os.path.basename(name), "line": line,
            "text": linecache.getline(name, line).strip()[:80]}


# ---------------------------------------------------------------- loading a submission

class Missing(Exception):
    """Something is used that is not there."""


class StandIn(types.ModuleType):
    """In the place of a module that is not there, and of all in it. Fails when it is used."""

    is_harmless = True          # while the file is loaded: plt.rcParams[...] = ... at its top

    def __init__(self, name, sentence):
        super().__init__(name)
        self.__dict__.update(__path__=[], __spec__=None, _sentence=sentence)

    def __getattr__(self, name):
        if name.startswith("__") and name != "__call__":
            raise AttributeError(name)
        return StandIn(f"{self.__name__}.{name}", self._sentence)

    def __call__(self, *_, **__):
        if StandIn.is_harmless:
            return self
        raise Missing(self._sentence)

    def __mro_entries__(self, _):
        return ()


for operation in ("getitem setitem iter len enter exit array add radd sub rsub mul rmul matmul "
                  "rmatmul truediv rtruediv pow neg lt gt float int bool").split():
    setattr(StandIn, f"__{operation}__", StandIn.__call__)


class Refusal:
    """Finds modules that differentiate by themselves, and the grader, and refuses them."""

    def __init__(self, allowed):
        self.sentences = {name: f"{name} differentiates by itself, and a layer is to do so here: "
                          "it is not there" for name in DIFFERENTIATING if name not in allowed}
        self.sentences |= dict.fromkeys(("autograder", "grading"), "the grader cannot be imported")

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in self.sentences:
            raise ModuleNotFoundError(self.sentences[top], name=name)


def source_of(path):
    """The text of a Python file. Raises SyntaxError, with what to do, for what is none."""
    content = path.read_bytes()
    if path.suffix == ".ipynb":
        raise SyntaxError("a notebook is no Python file: export it as .py (File, Save and Export "
                          "Notebook As, Executable Script), or jupyter nbconvert --to script FILE")
    if b"\0" in content:
        raise SyntaxError("it contains NUL bytes, as UTF-16 does: save it as UTF-8")
    try:
        return importlib.util.decode_source(content)
    except (UnicodeDecodeError, SyntaxError):
        raise SyntaxError("it is not saved as UTF-8: save it as UTF-8") from None


def load(path):
    """(the names in a file, {module: sentence} of what it imports in vain).

    Such a module is replaced by a stand-in. A neighbour may be imported with a dot or without.
    """
    name = path.stem if path.stem not in sys.modules else "submission"
    program = compile(source_of(path), str(path), "exec", dont_inherit=True)
    missing = {}
    while True:
        module = sys.modules[name] = types.ModuleType(name)
        module.__file__, module.__package__, module.__path__ = str(path), name, [str(path.parent)]
        try:
            exec(program, module.__dict__)
        except ModuleNotFoundError as error:
            if not error.name or isinstance(sys.modules.get(error.name), StandIn):
                raise
            sys.modules[error.name] = stand_in(error, missing)
        else:
            StandIn.is_harmless = False
            return vars(module), missing


def stand_in(error, missing):
    """The StandIn for a module that was not found, whose sentence is put into missing."""
    above = sys.modules.get(error.name.rpartition(".")[0])
    if isinstance(above, StandIn):
        return StandIn(error.name, above._sentence)
    sentence = str(error)
    if sentence.startswith("No module named"):
        sentence = f"the module {error.name} is not there where this is graded"
    missing[error.name] = sentence
    return StandIn(error.name, sentence)


# ---------------------------------------------------------------- guards

READING = {"open", "os.listdir", "os.scandir", "os.chdir"}
CHANGING = {"os.remove", "os.rename", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.link",
            "os.symlink", "os.mkdir", "os.utime", "shutil.rmtree"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
REFUSED = re.compile(
    r"os\.(fork|forkpty|exec|posix_spawn|spawn|system|startfile|kill|killpg)|pty\.spawn|"
    r"subprocess\.Popen|socket\..*|signal\.pthread_kill|ctypes\.(dlopen|dlsym|string_at).*")


def guard(scratch, grader):
    """Install the audit hook: no processes, no network, no file of the grader; writing in scratch.

    What is meant by ordinary means. Code that is determined finds others: docs/teaching.md.
    """
    realpath, fsdecode, refused = os.path.realpath, os.fsdecode, REFUSED.fullmatch
    process = re.compile(r"/proc/\d").match
    kinds = str, bytes, os.PathLike

    def is_in(path, *folders):
        return any(path == folder or path.startswith(folder + os.sep) for folder in folders)

    def hook(event, arguments):
        if refused(event):
            raise PermissionError(f"{event}: a submission may not start or reach other processes")
        if event not in READING and event not in CHANGING:
            return
        named = arguments[:1] if event == "open" else arguments[:2]
        paths = [realpath(fsdecode(path)) for path in named if isinstance(path, kinds)]
        if any(process(path) or is_in(path, *grader) for path in paths):
            raise PermissionError("a submission may not read the grader")
        writes = arguments[2] & WRITING if event == "open" else event in CHANGING
        if writes and not all(is_in(path, scratch, os.devnull) for path in paths):
            raise PermissionError("a submission may not write outside of its scratch folder")

    sys.addaudithook(hook)


def limit(seconds, is_free):
    """Limits of this process, where the system has them; is_free: as much memory as there is."""
    try:
        import resource
    except ImportError:
        return
    whole = max(1, math.ceil(seconds))      # the signal can be ignored, what comes then cannot
    limits = {"CPU": (whole, whole + 1), "FSIZE": (1 << 26, 1 << 26), "CORE": (0, 0)}
    if not is_free:
        limits |= {"AS": (1 << 31, 1 << 31), "NPROC": (1024, 1024)}
    for name, values in limits.items():
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), values)
        except (AttributeError, ValueError, OSError):   # this system has no such limit, or less
            pass


# ---------------------------------------------------------------- the process of a submission

def say(stream, tree):
    """Write a frame."""
    stream.write(encode(tree))
    stream.flush()


def introduction(functions, missing):
    """What is said of {name: function}, and of what their file imports in vain."""
    return {"defined": {name: type(value).__name__ for name, value in functions.items()},
            "callable": [name for name, value in functions.items() if callable(value)],
            "missing": missing}


def serve(settings, requests, replies):
    """Load the submission and answer scripts until there are no more."""
    path = pathlib.Path(settings["path"])
    folder = str(path.parent) + os.sep
    sys.argv = [str(path)]
    sys.path.insert(0, str(path.parent))
    sys.modules["__main__"] = types.ModuleType("__main__")      # this program is out of reach
    limit(settings["seconds"], bool(settings["allow"]))
    guard(settings["scratch"], settings["grader"])
    try:
        names, missing = load(path)
    except BaseException as error:
        say(replies, {"error": described_error(error, folder)})
        os._exit(0)
    functions = {name: names[name] for name in settings["names"] if name in names}
    say(replies, introduction(functions, missing))
    interpreter = Interpreter(functions, folder)
    while (scripts := read_frame(requests)) not in (None, "end"):
        say(replies, {"replies": [interpreter.run(script) for script in scripts]})
    say(replies, {})                # who ends without this has left scripts unread
    os._exit(0)


def import_libraries(path):
    """Import the libraries that a file names, once for all its processes."""
    text = path.read_text(encoding="utf-8", errors="replace")
    for name in re.findall(r"^\s*(?:import|from)\s+(\w[\w.]*)", text, re.MULTILINE):
        try:
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
    child, can_fork = 0, hasattr(os, "fork")

    def end(*_):
        if child:
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    if can_fork:
        signal.signal(signal.SIGTERM, end)
    sys.path[:] = [path for path in sys.path if path]
    sys.meta_path.insert(0, Refusal(settings["allow"]))
    np.random.seed(0)               # what NumPy imports late is there before it is needed
    importlib.import_module("numpy.ma")
    import_libraries(pathlib.Path(settings["path"]))
    say(replies, {})
    gc.freeze()                     # a collection in a child would copy the pages of all of this
    while (seconds := read_frame(requests)) is not None:
        child = os.fork() if can_fork else 0
        if child == 0:
            if can_fork:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            serve(settings | {"seconds": seconds}, requests, replies)
        _, status = os.waitpid(child, 0)
        child = 0
        say(replies, {"ended": os.waitstatus_to_exitcode(status)})
    os._exit(0)


# ---------------------------------------------------------------- the judge's side

GARBLED = "it writes to the channel through which its results come, so they cannot be read"
KILLED, TOO_SLOW = -9, -24      # exit codes: SIGKILL, and SIGXCPU at the end of the time


class Ended(Exception):
    """There is nobody left to answer; the message says why."""

    def __init__(self, sentence, timed_out=False):
        super().__init__(sentence)
        self.timed_out = timed_out


class Process:
    """A submission that runs apart: begin() for each function, send() scripts, receive() replies.

    Whatever happens there, receive() returns a dict or raises Ended, in time.
    """

    def __init__(self, path, names, allow=()):
        home = pathlib.Path(__file__).resolve().parent
        self.settings = {"path": str(pathlib.Path(path).absolute()), "names": list(names),
                         "allow": list(allow),
                         "grader": [str(home), str(home.parent / "autograder.py")]}
        self.process, self.unfit = None, None

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
            env=environment, start_new_session=True)
        self.frames, self.waiting = queue.Queue(), queue.Queue()
        for pump, *arguments in ((read_all, self.process.stdout, self.frames),
                                 (write_all, self.waiting, self.process.stdin)):
            threading.Thread(target=pump, args=arguments, daemon=True).start()

    def begin(self, seconds):
        """Load the file anew, for one function; returns what it says of itself.

        A file that did not get through its import is not tried again: Ended says the same.
        """
        if self.unfit:
            raise self.unfit
        self.seconds = seconds
        if self.process is None:
            self.start()
            self.patience = 120
            self.receive()          # NumPy and other libraries have been imported
        # Time by the clock is limited too, for code that waits; the machine may be busy.
        self.patience = 2 * seconds + 5
        self.send(seconds)
        try:
            about = self.receive()
            if not is_introduction(about):
                self.stop()
                raise Ended(GARBLED)
        except Ended as ended:
            self.unfit = ended
            raise
        return about

    def send(self, scripts):
        """Hand over the scripts of a case; they wait in line, so that the worker is never idle."""
        self.waiting.put(encode(scripts))

    def receive(self):
        """The replies to the next scripts."""
        if self.process is None:
            raise Ended(GARBLED)
        frame = self.next_frame()
        if "ended" not in frame:
            return frame
        code, exit_code = frame["ended"], self.stop()
        if code == GARBLED:
            raise Ended(GARBLED)
        if code in (TOO_SLOW, KILLED):
            memory = ", or it takes too much memory" if code == KILLED else ""
            raise Ended(f"too slow for {self.seconds:.3g} seconds{memory}", timed_out=True)
        raise Ended(f"it ends Python itself (exit code {exit_code if code is None else code})")

    def next_frame(self):
        """What came; {"ended": TOO_SLOW} when patience has run out."""
        start = time.monotonic()
        try:
            return self.frames.get(timeout=max(self.patience, 0.001))
        except queue.Empty:
            return {"ended": TOO_SLOW}
        finally:
            self.patience -= time.monotonic() - start

    def end(self):
        """The function is done. A process that does not end as it should is not used again."""
        if self.process is None:
            return
        self.patience = 2
        self.send("end")
        if [self.next_frame(), self.next_frame()] != [{}, {"ended": 0}]:
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
            process.kill()
        self.waiting.put(None)              # both threads end
        self.scratch.cleanup()
        return process.wait()


def is_introduction(about):
    """Whether this is what serve() says of a file; it comes from where a student's code runs."""
    try:
        if "error" in about:
            error = about["error"]
            texts = [error[key] for key in ("type", "message", "file", "text")]
            return type(error["line"]) is int and all(type(text) is str for text in texts)
        texts = [*about["defined"].values(), *about["callable"], *about["missing"].values()]
        return all(type(text) is str for text in texts)
    except (KeyError, TypeError, AttributeError):
        return False


def read_all(stream, frames):
    """Put the frames of a stream into a queue; at its end {"ended": None}."""
    try:
        with stream:
            while (frame := read_frame(stream)) is not None:
                if type(frame.get("ended", 0)) is not int:
                    raise ValueError("no exit code")
                frames.put(frame)
        frames.put({"ended": None})
    except Exception:               # what came is no frame
        frames.put({"ended": GARBLED})


def write_all(waiting, stream):
    """Write what is put into a queue, until None."""
    try:
        with stream:
            for data in iter(waiting.get, None):
                stream.write(data)
                stream.flush()
    except OSError:                 # nobody reads; the other thread tells why
        pass


class Direct:
    """The functions of this process, with the same methods as Process and no protection."""

    def __init__(self, functions):
        self.functions = functions

    def begin(self, seconds):
        """Forget what was kept; says what there is."""
        self.interpreter, self.waiting = Interpreter(self.functions), []
        return introduction(self.functions, {})

    def send(self, scripts):
        """Hand over scripts."""
        self.waiting.append(encode(scripts))

    def receive(self):
        """Run the next scripts; both ways through the same bytes as in a process."""
        scripts = decode(self.waiting.pop(0)[8:])
        state = np.random.get_state()           # it belongs to the notebook that calls check()
        try:
            return decode(encode({"replies": [*map(self.interpreter.run, scripts)]})[8:])
        finally:
            np.random.set_state(state)

    def end(self):
        """Nothing is left to be done."""

    stop = end


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
