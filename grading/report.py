"""What is said about verdicts, and where it is written: text, JSON, Gradescope, a grade book.

Nothing here judges, and no student's code runs here. A Report holds the verdicts on some
functions and displays them; the rest of the file writes reports down, for one submission or
for a folder of them.
"""
import collections
import contextlib
import csv
import dataclasses
import functools
import hashlib
import html
import io
import json
import math
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import re
import shlex
import sys
import tempfile
import textwrap
import time
import urllib.parse
import zipfile
import zlib

from . import contract, judge
from .courses import COURSES, DEFAULT, course_of

VERSION = "2.0"
HOME = pathlib.Path(__file__).resolve().parent.parent
DERIVATIONS = "docs/derivations.md"
COLOURS = {             # on a terminal, and on a page
    "pass": (32, "#2a7d2a"), "warn": (33, "#a06a00"), "fail": (31, "#b00020"),
    "not judged": (36, "#1f6f8b"), "missing": (35, "#7a3e9d")}
MEANINGS = {
    "pass": "right in every case that was tried",
    "warn": "right, with the weakness that is named; full points",
    "fail": "a wrong number, shape or crash on what the assignment asks; no points",
    "not judged": "waits for its forward pass; costs no points of its own",
    "missing": "no such function, or no such file; no points",
}
MARKS = {**{status: status for status in MEANINGS}, "fail": "FAIL"}


@functools.cache
def version():
    """The version with a fingerprint of the grader's files: it changes when they change."""
    files = [HOME / "autograder.py", *sorted((HOME / "grading").glob("*.py"))]
    text = b"".join(path.read_bytes() for path in files)
    return f"{VERSION}+{hashlib.sha256(text).hexdigest()[:8]}"


# ---------------------------------------------------------------- one report

class Report:
    """The verdicts {name: Verdict} on some functions, displayed by Python and by notebooks."""

    def __init__(self, verdicts, seed=0):
        self.verdicts, self.seed = dict(verdicts), seed

    @property
    def right(self):
        """The names of the functions that are right (pass or warn)."""
        return [name for name, v in self.verdicts.items() if v.status in ("pass", "warn")]

    @property
    def failed(self):
        """Whether any function is not right."""
        return len(self.right) < len(self.verdicts)

    def earned(self, points=None):
        """{function: points that it earns}.

        points is {function: number}, or a number that the functions share equally, or None for
        one point each. Raises ValueError for points on a function that is not in the report.
        A function that is not judged earns the share that the judged ones earn together: its
        mistake, the wrong forward pass, has been paid for already. Out of time is no such reason.
        """
        points = points_of(self.verdicts, points)
        judged = [name for name, verdict in self.verdicts.items()
                  if verdict.status != "not judged" or verdict.timed_out]
        possible = sum(points[name] for name in judged)
        share = sum(points[name] for name in judged if name in self.right) / (possible or 1)
        return {name: float(points[name] * (name in self.right if name in judged else share))
                for name in points}

    def score(self, points=None):
        """The points earned in all, as a float: the last line of an nbgrader cell."""
        return float(sum(self.earned(points).values()))

    def raise_if_failed(self):
        """Raise AssertionError with what is wrong, unless every function is right."""
        if self.failed:
            wrong = {n: v for n, v in self.verdicts.items() if n not in self.right}
            raise AssertionError("\n" + Report(wrong, self.seed).text())

    def summary(self):
        """One line: how many are right."""
        counts = collections.Counter(verdict.status for verdict in self.verdicts.values())
        parts = ", ".join(f"{counts[status]} {status}" for status in MARKS if counts[status])
        return f"{len(self.right)} of {len(self.verdicts)} right: {parts} (seed {self.seed})"

    def legend(self):
        """Lines: what the verdicts mean that occur."""
        occurring = {verdict.status for verdict in self.verdicts.values()} - {"pass"}
        return legend(status for status in MARKS if status in occurring)

    def text(self, width=80, brief=False):
        """Each verdict, the summary and what the verdicts mean."""
        writer = Lines(self.verdicts, width, brief=brief)
        lines = [line for verdict in self.verdicts.values() for line in writer.add(verdict)]
        return "\n".join([*lines, "", self.summary(), *self.legend()])

    __repr__ = text

    def _repr_html_(self):
        rows = []
        for name, verdict in self.verdicts.items():
            said = "<br>".join(map(html.escape, details(verdict)))
            rows.append(f'<tr><td style="text-align:left"><code>{name}</code></td>'
                        f'<td style="background-color:{COLOURS[verdict.status][1]};color:white">'
                        f'{MARKS[verdict.status]}</td><td style="text-align:left">{said}</td></tr>')
        said = "<br>".join(map(html.escape, [self.summary(), *self.legend()]))
        return f"<table>{''.join(rows)}</table><p>{said}</p>"


def points_of(names, points=None):
    """{function: points} from a mapping (others have 0), a number to be shared, or None."""
    if points is None or isinstance(points, (int, float)):
        return dict.fromkeys(names, 1 if points is None else points / max(1, len(names)))
    if unknown := [name for name in points if name not in names]:
        raise ValueError(f"points are given for {', '.join(unknown)}, which is not graded here")
    return {name: points.get(name, 0) for name in names}


def legend(statuses=MARKS):
    """Lines of less than 80 characters: what verdicts mean."""
    return [f"{status:12}{MEANINGS[status]}" for status in statuses]


def details(verdict):
    """What is said about a verdict, a line for each thing, the most useful first."""
    # An exception's message may hold what moves a terminal's cursor or changes its colours.
    yield from ("".join(letter if letter.isprintable() else "?" for letter in line)
                for line in verdict.diagnosis.splitlines())
    if verdict.case:
        yield f"case: {verdict.case}"
    if verdict.place and verdict.expected is not None:
        yield (f"{verdict.place}: expected {float(verdict.expected):.8g}, "
               f"got {float(verdict.actual):.8g}")
    if verdict.derivation and (HOME / DERIVATIONS).is_file():
        yield f'see {DERIVATIONS}, "{verdict.derivation}"'


class Lines:
    """Turns verdicts, which may come in any order, into lines in the order of the names."""

    def __init__(self, names, width=80, coloured=False, brief=False):
        self.names, self.width, self.brief, self.coloured = list(names), width, brief, coloured
        self.waiting, self.said = {}, None
        self.told, self.missing = set(), {}     # {reason: names}

    def add(self, verdict):
        """The lines that can be shown now that this verdict is known."""
        self.waiting[verdict.name] = verdict
        while self.names and self.names[0] in self.waiting:
            verdict = self.waiting.pop(self.names.pop(0))
            if verdict.status == "missing":
                self.missing.setdefault(verdict.diagnosis, []).append(verdict.name)
            else:
                yield from self.lines_of(verdict)
        if not self.names:
            yield from self.missing_lines()

    def lines_of(self, verdict):
        """A line with the verdict, and indented ones with the details."""
        mark, said = marked(verdict.status, self.coloured), list(details(verdict))
        aside = ""
        if said == [judge.NOT_YET]:
            aside = judge.NOT_YET
        elif said and said == self.said:        # what is wrong with a whole file is said once
            aside = "as above"
        if self.brief:
            said, aside = [], ""
        yield f"{verdict.name:27} {mark}{aside and f' ({aside})'}"
        for line in [] if aside else said:
            if line not in self.told:
                yield from wrapped(line, self.width)
        self.told |= {line for line in said if line.endswith(judge.IN_VAIN)}
        self.said = said

    def missing_lines(self):
        """What is missing, in a line for each reason."""
        for reason, names in self.missing.items():
            because = f" ({reason})" if reason and not self.brief else ""
            yield from wrapped(f"missing: {', '.join(names)}{because}", self.width, "")
        self.missing = {}


def marked(status, coloured):
    """A verdict as it is shown."""
    return f"\033[{COLOURS[status][0]}m{MARKS[status]}\033[0m" if coloured else MARKS[status]


def wrapped(line, width, indent="    "):
    """A sentence as lines that fit."""
    return textwrap.wrap(line, width, initial_indent=indent, subsequent_indent="    ",
                         break_on_hyphens=False)


# ---------------------------------------------------------------- JSON and Gradescope

def finite(value):
    """A value as JSON can hold it: numbers that are not finite become "nan", "inf" or "-inf"."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def as_json(report, points, files, course):
    """What --json writes; docs/teaching.md describes the fields. files are paths."""
    results = {name: {field: finite(value) for field, value in dataclasses.asdict(verdict).items()
                      if field != "name"} for name, verdict in report.verdicts.items()}
    return {"version": version(), "course": course, "seed": report.seed,
            "files": {path.name: sha256(path) for path in sorted(files) if path.is_file()},
            **worth(report, points), "results": results}


def worth(report, points):
    """The fields of the JSON that depend on the points."""
    return {"points": points, "score": round(report.score(points), 4),
            "earned": {name: round(p, 4) for name, p in report.earned(points).items()}}


def sha256(path):
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(path, text):
    """Write a file whole or not at all: whoever reads it meanwhile gets the one before."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():        # /dev/stdout: written to, never replaced
        path.write_text(text, encoding="utf-8")
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    # A folder may have a name that is no text, as one unpacked from a ZIP of Windows.
    part.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    os.replace(part, path)


def write_json(path, value):
    """Write a value as JSON."""
    write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def gradescope(report, names, points, hidden=(), brief=False):
    """The object of Gradescope's results.json. Functions without a verdict yet have 0 points."""
    waiting = {name: judge.Verdict(name, "missing", "the autograder ended before this function")
               for name in names if name not in report.verdicts}
    known = Report({**report.verdicts, **waiting}, report.seed)
    earned, tests = known.earned(points), []
    for number, name in enumerate(names, start=1):
        verdict = known.verdicts[name]
        output = [f"{MARKS[verdict.status]}: {MEANINGS[verdict.status]}"]
        extra = {"verdict": verdict.status, "timed_out": verdict.timed_out}
        if not brief:
            output = [*details(verdict), *output]
            extra["mistakes"] = list(verdict.mistakes)
        tests.append({
            "name": name, "number": str(number), "score": round(earned[name], 4),
            "max_score": points[name],
            "status": "passed" if name in known.right else "failed",
            "output": "\n".join(output), "output_format": "text",
            "visibility": "after_due_date" if name in hidden else "visible",
            "extra_data": extra})
    # A count would tell about the hidden functions before the due date.
    return {"output": "" if hidden else known.summary(), "output_format": "text", "tests": tests,
            "extra_data": {"version": version(), "seed": report.seed}}


# The rooms that a stored key stands in for.
SOLUTIONS = "answers", "cases", "mistakes", "more_cases", "more_mistakes", "references"
SETUP = """\
#!/usr/bin/env bash
apt-get update && apt-get install -y python3 python3-pip
python3 -m pip install numpy
"""
RUN_AUTOGRADER = """\
#!/usr/bin/env bash
# Gradescope runs this in /autograder; the results are written after every function.
python3 source/autograder.py submission --gradescope results/results.json {options} || true
"""


def gradescope_upload(path, options, points, key=None):
    """Write the ZIP to be uploaded. With a stored key it holds no solution."""
    options = [*options, "--points", "source/points.json"]
    contents = {"points.json": json.dumps(points, indent=2).encode() + b"\n",
                "autograder.py": (HOME / "autograder.py").read_bytes()}
    for source in sorted((HOME / "grading").glob("*.py")):
        if key is None or source.stem not in SOLUTIONS:
            contents[f"grading/{source.name}"] = source.read_bytes()
    if key is not None:
        options += ["--key", "source/key.npz"]
        contents["key.npz"] = pathlib.Path(key).read_bytes()
    contents["setup.sh"] = SETUP.encode()
    contents["run_autograder"] = RUN_AUTOGRADER.format(options=shlex.join(options)).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name)           # dated 1980: same input, same bytes
            executable = content.startswith(b"#!")
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            archive.writestr(entry, content)


# ---------------------------------------------------------------- where functions are

def python_files(folder):
    """The .py files in a folder and below it, the least deep first, without hidden ones."""
    files = [path for path in pathlib.Path(folder).rglob("*.py") if path.is_file() and not any(
        part.startswith((".", "__")) for part in path.relative_to(folder).parts)]
    return sorted(files, key=lambda path: (len(path.parts), path))


def found_in(paths, functions=contract.FUNCTIONS):
    """{name: path} of the known functions that are defined in files, in the contract's order.

    Of several files that define a function, the one with the name of its home comes first.
    """
    # Without NUL bytes, so that a file in UTF-16 is found too: the judge says what is wrong.
    texts = {path: path.read_bytes().replace(b"\0", b"").decode(errors="replace")
             for path in paths}
    found = {}
    for name, function in functions.items():
        definition = re.compile(rf"^(?:def|class)\s+{name}\b|^{name}\s*=", re.MULTILINE)
        defining = [path for path, text in texts.items() if definition.search(text)]
        if defining:
            found[name] = min(defining, key=lambda path: path.stem != function.file)
    return found


def homes_of(names, paths, functions=contract.FUNCTIONS):
    """{name: path} of those names that have a home: defined there, or by the file's name."""
    found, by_stem = found_in(paths, functions), {path.stem: path for path in reversed(paths)}
    homes = {name: found.get(name, by_stem.get(functions[name].file)) for name in names}
    return {name: path for name, path in homes.items() if path}


def hint_on_course(paths, course):
    """A sentence, if the functions in files are those of another course; else ""."""
    known = {name: function for each in COURSES.values()
             for name, function in each.functions.items()}
    other = course_of(found_in(paths, known), course)
    return f"This looks like {COURSES[other].title}: --course {other} grades it." if other else ""


# ---------------------------------------------------------------- a folder of submissions

LARGEST_FILE, MOST_FILES = 5_000_000, 500       # of what is unpacked from a student's ZIP


@functools.cache
def answer_key(seed, path=None, course=DEFAULT):
    """The answer key of a seed, or one that is stored in a file. Raises ValueError.

    A hand-out has only its stored one.
    """
    path = path or stored_key()
    try:
        return contract.Key.load(path) if path else contract.Key(seed, course)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"cannot read --key {path}: {error}") from error


def stored_key():
    """The path of the key in a hand-out, which has no modules that compute answers, or None."""
    path = HOME / "grading" / "key.npz"
    computes = (HOME / "grading" / "answers.py").is_file()
    return str(path) if path.is_file() and not computes else None


def submissions_in(folder):
    """{student: path}, sorted: each subfolder, and each ZIP without a folder of the same name.

    Raises ValueError if there is none.
    """
    entries = sorted(pathlib.Path(folder).iterdir(), key=lambda path: (path.is_dir(), path.name))
    students = {path.name if path.is_dir() else path.stem: path for path in entries
                if not path.name.startswith((".", "__"))
                and (path.is_dir() or path.suffix.lower() == ".zip")}
    if not students:
        raise ValueError(f"there is no subfolder and no ZIP in {folder}")
    return dict(sorted(students.items()))


def unpack(archive_path, folder):
    """Unpack the .py files of a ZIP. Raises ValueError for one that is broken or not harmless."""
    try:
        with zipfile.ZipFile(archive_path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".py")]
            if len(entries) > MOST_FILES:
                raise ValueError(f"it holds more than {MOST_FILES} Python files")
            for entry in entries:
                name = pathlib.PurePosixPath(entry.filename.replace("\\", "/"))
                if name.is_absolute() or ".." in name.parts or ":" in str(name):
                    raise ValueError(f"it holds a file with the name {entry.filename!r}")
                with archive.open(entry) as file:
                    content = file.read(LARGEST_FILE + 1)
                if len(content) > LARGEST_FILE:
                    raise ValueError(f"{entry.filename} has more than {LARGEST_FILE:,} bytes")
                target = pathlib.Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ValueError(f"it cannot be unpacked: {error}") from error


@contextlib.contextmanager
def files_of(path):
    """The .py files of a submission; those of a ZIP, also of one in its folder, are unpacked."""
    archives = [path] if path.is_file() else sorted(path.rglob("*.zip"))
    files = [] if path.is_file() else python_files(path)
    if files or not archives:
        yield files
        return
    with tempfile.TemporaryDirectory() as folder:
        for archive in archives:
            try:
                unpack(archive, folder)
            except ValueError as error:
                raise ValueError(f"{archive.name}: {error}") from error
        yield python_files(folder)


def fingerprint(path, settings):
    """What must be the same for a submission not to be graded again: its files and the settings."""
    files = [path] if path.is_file() else [*python_files(path), *sorted(path.rglob("*.zip"))]
    text = [repr(settings), *(f"{os.path.relpath(file, path)} {sha256(file)}" for file in files)]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()


def grade_submission(path, names, points, key_of, options):
    """The verdicts on a submission as JSON, and a note where something is wrong with all of it.

    key_of holds the arguments of answer_key.
    """
    key, seed = answer_key(*key_of), key_of[0]
    try:
        with files_of(path) as files:
            note = hint_on_course(files, key.course) if files else \
                "There is no .py file in the submission."
            homes = homes_of(names, files, key.functions)
            verdicts = judge.grade(homes, names, key, **options)
            return {"note": note, **as_json(Report(verdicts, seed), points, files, key.course)}
    except (ValueError, OSError) as error:
        return not_graded(names, points, key_of, str(error))


def not_graded(names, points, key_of, note):
    """The record of a submission that could not be graded."""
    seed, _, course = key_of
    verdicts = {name: judge.Verdict(name, "missing", "the submission could not be graded")
                for name in names}
    return {"note": note, **as_json(Report(verdicts, seed), points, [], course)}


def report_of(record):
    """The Report that a record of a submission holds."""
    verdicts = {name: judge.Verdict(name, **{**result, "mistakes": tuple(result["mistakes"])})
                for name, result in record["results"].items()}
    return Report(verdicts, record["seed"])


def each_in_a_process(function, tasks, workers):
    """Yields (name, result) of function(*arguments) as they end; tasks is {name: arguments}.

    A process of its own for each, so that one that dies takes no other with it: the result is
    None then. Forked, where that is safe, it has the answer key that was computed before.
    """
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    waiting, running = list(tasks.items()), {}
    while waiting or running:
        while waiting and len(running) < workers:
            name, arguments = waiting.pop(0)
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=send_result, args=(sender, function, arguments))
            process.start()
            sender.close()
            running[receiver] = name, process
        for receiver in multiprocessing.connection.wait(list(running)):
            name, process = running.pop(receiver)
            try:
                result = receiver.recv()
            except EOFError:
                result = None
            process.join()
            yield name, result


def send_result(sender, function, arguments):
    """Call a function and send what it returns: the work of a process."""
    sender.send(function(*arguments))


def grade_class(students, out, names, points, key_of, options, brief=False):
    """Grade submissions {student: path} into a folder: a record and a text for each.

    What has not changed since it was graded is not graded again. Progress goes to standard error.
    key_of holds the arguments of answer_key.
    """
    seed, key_path, course = key_of
    settings = (version(), seed, key_path and sha256(pathlib.Path(key_path)), course, list(names),
                options)
    prints = {student: fingerprint(path, settings) for student, path in students.items()}
    tasks = {student: (path, names, points, key_of, options)
             for student, path in students.items()
             if read_record(out, student).get("fingerprint") != prints[student]}
    for name in names if tasks else ():
        answer_key(*key_of).cases(name)         # before the processes that share it
    workers, started = os.cpu_count() or 1, time.monotonic()
    graded = each_in_a_process(grade_submission, tasks, workers)
    for done, (student, record) in enumerate(graded, start=1):
        record = {"fingerprint": prints[student], **record} if record else \
            not_graded(names, points, key_of, "The grader was ended while grading it.")
        write_json(out / "students" / f"{student}.json", {"student": student, **record})
        seconds = time.monotonic() - started
        print(f"{done} of {len(tasks)}  {student}: {len(report_of(record).right)} of {len(names)} "
              f"right; {seconds / done * (len(tasks) - done) / 60:.1f} minutes left",
              file=sys.stderr, flush=True)
    if tasks:
        print(f"{len(tasks)} submissions in {time.monotonic() - started:.1f} seconds "
              f"with {workers} workers", file=sys.stderr)
    for student in students:
        record = read_record(out, student)
        record |= worth(report_of(record), points)              # they may be others than before
        write_json(out / "students" / f"{student}.json", record)
        write(out / "students" / f"{student}.txt", student_text(record, brief))


def read_record(out, student):
    """The record of a student; an empty one if there is none yet."""
    try:
        return json.loads((out / "students" / f"{student}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def student_text(record, brief=False):
    """What a student is told, as text."""
    head = f"{record['student']}: {record['score']:g} of {sum(record['points'].values()):g} points"
    text = report_of(record).text(brief=brief)
    return "\n".join([head, *filter(None, [record["note"]]), "", text, ""])


# ---------------------------------------------------------------- the grade book

def grade_book(records, names):
    """grades.csv: a line for each student, sorted."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["student", "total", *names, "seed", "version", "timed_out", "note"])
    for record in records:
        slow = [name for name in names if record["results"][name]["timed_out"]]
        writer.writerow([record["student"], record["score"],
                         *(record["earned"][name] for name in names), record["seed"],
                         record["version"], " ".join(slow), record["note"]])
    return table.getvalue()


def commonest_mistakes(records):
    """[((function, what), how many)] the most frequent first: known mistakes, else a sentence."""
    seen = collections.Counter()
    for record in records:
        told = set()                # what is wrong with a whole file counts once
        for name, result in record["results"].items():
            what = ", ".join(result["mistakes"]) or result["diagnosis"].partition("\n")[0]
            if result["status"] in ("fail", "warn") and what not in told:
                seen[name, what] += 1
                told.add(what)
    return sorted(seen.items(), key=lambda item: (-item[1], item[0]))


def html_table(head, rows):
    """An HTML table of cells that are HTML."""
    lines = ["".join(f"<th>{cell}</th>" for cell in head),
             *("".join(f"<td>{cell}</td>" for cell in row) for row in rows)]
    return "<table>\n" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "\n</table>"


PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Grades</title><style>
body {{ font-family: sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; margin-bottom: 2em; }}
td, th {{ border: 1px solid #ccc; padding: 0.2em 0.6em; text-align: left; }}
</style></head><body>
<h1>{students} submissions</h1>
<h2>Functions</h2>
{functions}
<h2>Commonest mistakes</h2>
{mistakes}
<h2>Students</h2>
{rows}
</body></html>
"""


def class_page(records, names):
    """class.html: functions, commonest mistakes, students; one page without network."""
    statuses = {name: collections.Counter(record["results"][name]["status"] for record in records)
                for name in names}
    functions = [[name, *(statuses[name][status] for status in MARKS)] for name in names]
    mistakes = [[count, name, html.escape(what)]
                for (name, what), count in commonest_mistakes(records)[:30]]
    rows = []
    for record in records:
        student, right = record["student"], report_of(record).right
        wrong = ", ".join(name for name in names if name not in right)
        link = f"students/{urllib.parse.quote(os.fsencode(student))}.txt"
        rows.append([f'<a href="{link}">{html.escape(student)}</a>',
                     f"{record['score']:g}", html.escape(record["note"] or wrong)])
    return PAGE.format(
        students=len(records), functions=html_table(["function", *MARKS], functions),
        mistakes=html_table(["how many", "function", "mistake"], mistakes),
        rows=html_table(["student", "points", "not right"], rows))
