"""Grades layers, update rules and models, and says what is wrong. docs/teaching.md tells more.

    python autograder.py                          grade the project
    python autograder.py conv max_pool            a part of it
    python autograder.py my_layers.py             every known function in a file
    python autograder.py --layers FILE            the functions of layers.py in a file
    python autograder.py FILE --watch             again when the file changes, what has changed
    python autograder.py --submissions DIR        a folder of students
    pytest autograder.py -k conv                  the same as tests
    autograder.check(conv_forward, conv_backward) in a notebook

The exit code is 0 if nothing failed, 1 if something did, 2 for a wrong command or if there is
nothing to grade. NumPy is all that is needed: copied with grading/ next to a student's files it
works there.
"""
import argparse
import json
import math
import os
import pathlib
import shutil
import sys

if __name__ == "__main__":              # before NumPy is loaded: the worker needs the other core
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from grading import contract, judge, page, report, screen, watch
from grading.courses import COURSES, DEFAULT, course_of
from grading.gradients import check_gradient, numerical_gradient  # noqa: F401, public here
from grading.report import Report

HOME = pathlib.Path(__file__).resolve().parent
FILES = tuple(dict.fromkeys(function.file for course in COURSES.values()
                            for function in course.functions.values()))


def check(*functions, seed=0, course=DEFAULT):
    """Grade functions or classes, known by their names, in this process; returns a Report.

    A backward pass needs its forward pass with it: check(conv_forward, conv_backward). The course
    is "eecs545" or "cs231n". Raises ValueError for what the course does not ask for.
    """
    if course not in COURSES:
        raise ValueError(f"check: course expects one of {', '.join(COURSES)}, got {course!r}")
    key = report.answer_key(seed, None, course)
    known = key.answered()
    by_name = {getattr(function, "__name__", repr(function)): function for function in functions}
    if unknown := [name for name in by_name if name not in known]:
        other = course_of(by_name, course)
        hint = f"; this looks like {COURSES[other].title}: course={other!r}" if other else ""
        raise ValueError(f"check: expects functions named {', '.join(known)}; "
                         f"got {', '.join(unknown)}{hint}")
    return Report(judge.grade_here(by_name, key), key.seed)


# ---------------------------------------------------------------- command line

def selected(words, functions):
    """The names of functions that words choose: a whole name, its beginning, or a file."""
    chosen = set()
    for word in words:
        matching = {word} if word in functions else \
            {name for name, function in functions.items()
             if word == function.file or name.startswith(word + "_")}
        if not matching:
            other = [f"--course {key} has it" for key, course in COURSES.items()
                     if any(f"{name}_".startswith(f"{word}_") for name in course.functions)]
            raise ValueError(f"there is nothing to grade named {word}: "
                             f"{(other or ['--list shows what there is'])[0]}")
        chosen |= matching
    return [name for name in functions if name in chosen]


def names_and_paths(words, functions):
    """Words of the command line as (names to grade, files to grade or None). Raises ValueError."""
    names, paths, given = [], [], False
    for word in words:
        path = pathlib.Path(word)
        if word.endswith(".ipynb"):
            raise ValueError(f"{word} is a notebook: export it as .py, or use check() in it")
        if word.endswith(".py") and not path.is_file():
            raise ValueError(f"there is no file {word}")
        if word.endswith(".py") or path.is_dir() and word not in FILES:
            given, paths = True, paths + (report.python_files(path) if path.is_dir() else [path])
        else:
            names.append(word)
    return selected(names, functions), paths if given else None


def read_points(path, functions):
    """{function: points} from a JSON file. Raises ValueError."""
    try:
        points = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read --points {path}: {error}") from error
    if not isinstance(points, dict) or not points:
        raise ValueError(f"--points expects an object like {{\"fc_forward\": 2}} in {path}")
    for name, value in points.items():
        if name not in functions:
            raise ValueError(f"--points has {name}, which cannot be graded: --list shows what can")
        if isinstance(value, bool) or not isinstance(value, (int, float)) \
                or not 0 <= value < math.inf:
            raise ValueError(f"--points expects a number of at least 0 for {name}, got {value!r}")
    return {name: points[name] for name in functions if name in points}


def at_least(least, kind):
    """A type for argparse: a number that is at least so large."""
    def number(word):
        value = kind(word)
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"expects a number of at least {least}, got {word}")
        return value
    return number


def shard(word):
    """A type for argparse: I/N as (I, N)."""
    index, _, count = word.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"expects I/N with I from 1 to N, got {word}")
    return int(index), int(count)


def parser_of_commands():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="autograder.py", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["verdicts:", *report.legend()]))
    add = parser.add_argument
    add("words", nargs="*", metavar="NAME or FILE",
        help="functions (conv, conv_backward, rnn_layers; default: all) and .py files or folders")
    for file in FILES:
        add(f"--{file.replace('_', '-')}", metavar="FILE", dest=file, type=pathlib.Path,
            help=f"grade this file in the place of {file}.py")
    add("--course", choices=COURSES, default=DEFAULT,
        help=f"whose functions they are (default: {DEFAULT})")
    add("--version", action="version", version=f"%(prog)s {report.version()}",
        help="show the version with a fingerprint of the grader's files, and stop")
    add("--list", action="store_true", help="show what can be graded, and stop")
    add("--seed", type=at_least(0, int), default=0, help="of the random cases (default: 0)")
    add("--seconds", type=at_least(0.1, float), default=30, metavar="N",
        help="limit for each function (default: 30)")
    add("--budget", type=at_least(1, float), metavar="SECONDS", help="limit for the whole run")
    add("--strict", action="store_true", help="a warning is a failure")
    add("--allow", action="append", default=[], metavar="NAME",
        help="let submissions import a library that differentiates by itself (torch, jax, ...)")
    add("--points", metavar="FILE", help="JSON: what is graded, and for how many points")
    add("-v", "--verbose", action="store_true",
        help="every verdict in full, in the order of the functions, as soon as it is known")
    add("--brief", action="store_true", help="verdicts without explanations")
    add("--watch", action="store_true",
        help="grade again what has changed when a file is saved, until Ctrl-C")
    add("--html", metavar="FILE", type=pathlib.Path,
        help="write a page with all verdicts and pictures of wrong arrays")
    add("--json", metavar="FILE", type=pathlib.Path, help="write the verdicts to this file too")
    add("--gradescope", metavar="FILE", type=pathlib.Path, help="write Gradescope's results.json")
    add("--hidden", nargs="+", default=[], metavar="NAME",
        help="functions whose results Gradescope shows after the due date")
    add("--make-gradescope", metavar="ZIP", type=pathlib.Path,
        help="write the upload for Gradescope, with the other options in it")
    add("--submissions", metavar="DIR", type=pathlib.Path,
        help="grade a folder of students: a subfolder or a ZIP each")
    add("--out", metavar="FOLDER", type=pathlib.Path, default=pathlib.Path("results/grades"),
        help="where the grade book goes (default: results/grades)")
    add("--shard", metavar="I/N", type=shard, default=(1, 1), help="every N-th student only")
    add("--key", metavar="FILE", help="use a stored answer key")
    add("--make-key", metavar="FILE", type=pathlib.Path, help="store the answer key, and stop")
    add("--handout", metavar="DIR", type=pathlib.Path,
        help="write the project for students, with the functions emptied, and stop")
    return parser


def parse(arguments):
    """The options, with names, paths, points and students worked out; a wrong command ends here."""
    parser = parser_of_commands()
    options = parser.parse_intermixed_args(arguments)
    try:
        options.key = options.key or report.stored_key()
        key = options.key and report.answer_key(options.seed, options.key)
        if key:
            options.seed, options.course = key.seed, key.course
        functions = options.functions = COURSES[options.course].functions
        options.key_of = options.seed, options.key, options.course
        options.names, options.paths = names_and_paths(options.words, functions)
        options.hidden = selected(options.hidden, functions)
        options.worth = read_points(options.points, functions) if options.points else None
        options.names = options.names or list(options.worth or {})
        if options.handout and (options.key or options.paths or options.course != DEFAULT):
            raise ValueError("--handout expects names of functions of the project, which are those "
                             f"of {COURSES[DEFAULT].title}: no file, no key and no other course")
        options.known = key.answered() if key else list(functions)
        if unknown := [name for name in options.names if name not in options.known]:
            raise ValueError(f"{options.key} has no answers for {', '.join(unknown)}")
        report.points_of(options.names, options.worth)
        if options.submissions:
            options.students = report.submissions_in(options.submissions)
    except (ValueError, OSError) as error:
        said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
        parser.exit(2, f"autograder.py: error: {said}\n")
    options.limits = {"seconds": options.seconds, "budget": options.budget,
                      "strict": options.strict, "allow": tuple(options.allow)}
    return options


def homes_of_command(options):
    """(names, {name: path}) of the functions to be graded, from the files that were given; and a
    hint, if these are for another course."""
    roles = {role: getattr(options, role) for role in FILES if getattr(options, role) is not None}
    if not roles and options.paths is None:
        # The project; a file that is not there counts only if something of it was asked for.
        roles = {role: HOME / f"{role}.py" for role in FILES if (HOME / f"{role}.py").is_file()}
    functions, paths = options.functions, options.paths or []
    homes = {name: roles[function.file] for name, function in functions.items()
             if function.file in roles}
    homes |= report.homes_of(options.names, paths, functions) if options.names else \
        report.found_in(paths, functions)
    names = options.names or [name for name in options.known if name in homes]
    return names, {name: homes[name] for name in names if name in homes}, \
        report.hint_on_course([*paths, *filter(pathlib.Path.is_file, roles.values())],
                              options.course)


def grade_files(options):
    """Grade what was given; returns the exit code."""
    names, homes, hint = homes_of_command(options)
    graded = graded_now(options, names, homes)
    if not homes:
        wanted = f"no {' and no '.join(options.names)}" if options.names else "nothing to grade"
        print(f"autograder.py: error: there is {wanted} in what was given:", hint or
              "--list shows which functions can be graded", file=sys.stderr)
        return 2
    tell(options, graded, hint)
    return int(graded.failed)


def graded_now(options, names, homes, known=None):
    """The Report on these functions, written where the options say. Those that are known, as
    {name: Verdict}, are not graded again."""
    done, points = dict(known or {}), report.points_of(names, options.worth)
    again = [name for name in names if name not in done]
    lines = report.Lines(again, *terminal(), options.brief)

    def save():
        if options.gradescope:
            report.write_json(options.gradescope, report.gradescope(
                Report(done, options.seed), names, points, options.hidden, options.brief))

    def show(verdict):
        done[verdict.name] = verdict
        save()
        if options.verbose or options.brief:
            for line in lines.add(verdict):
                print(line, flush=True)
        else:
            progress(f"{len(done)} of {len(names)} graded")

    save()
    try:
        judge.grade(homes, again, report.answer_key(*options.key_of), on_verdict=show,
                    **options.limits)
    except KeyboardInterrupt:
        progress()
        if done and not options.brief:
            print("\n".join(screen.overview(
                Report(done, options.seed), f"stopped after {len(done)} of {len(names)}; ",
                *terminal())))
        raise
    progress()
    graded = Report({name: done[name] for name in names}, options.seed)
    if options.json:
        report.write_json(options.json, report.as_json(graded, points, set(homes.values()),
                                                       options.course))
    if options.html:
        report.write(options.html, page.page(graded, score_of(options, graded)))
    return graded


def tell(options, graded, hint=""):
    """Print what was found: after the verdicts of --verbose and --brief the total, else a screen
    that begins with it."""
    if options.verbose or options.brief:
        print("\n".join(["", graded.summary(), *graded.legend(), *filter(None, [hint])]))
        if options.worth:
            print(score_of(options, graded).removesuffix("; "))
    else:
        height = screen.HEIGHT - bool(hint)
        print("\n".join([*screen.overview(graded, score_of(options, graded), *terminal(), height),
                         *filter(None, [hint])]), flush=True)


def score_of(options, graded):
    """The points, where there are some, as the beginning of a line."""
    points = report.points_of(graded.verdicts, options.worth)
    return f"{graded.score(points):g} of {sum(points.values()):g} points; " if options.worth else ""


def terminal():
    """How wide lines may be, and whether there are colours."""
    return (max(40, min(100, shutil.get_terminal_size().columns)),
            sys.stdout.isatty() and "NO_COLOR" not in os.environ)


def progress(text=""):
    """A line on a terminal that the next one wipes."""
    if sys.stderr.isatty():
        print(f"\r{text:30}\r", end="", file=sys.stderr, flush=True)


def watch_files(options):
    """Grade again what changes until Ctrl-C; returns the exit code of the last state."""
    graded, known, code, files = Report({}), {}, 1, set(options.paths or ())
    try:
        for _ in watch.saves(files):
            try:
                names, homes, hint = homes_of_command(options)
                if not names:
                    raise ValueError(hint or "it has no function that is known")
                files |= set(homes.values())
                grounds = watch.grounds(homes, options.functions, files)
            except (OSError, SyntaxError, ValueError) as error:
                print(f"waiting, this cannot be graded: {error}", flush=True)
                code = 1
                continue
            same = {name: verdict for name, verdict in graded.verdicts.items()
                    if name in names and known.get(name) == grounds.get(name)}
            before, graded = graded, graded_now(options, names, homes, same)
            known = grounds
            code = int(graded.failed)
            changed = [name for name in names if name not in same]
            if changed or before.verdicts.keys() != graded.verdicts.keys():
                tell(options, graded, hint)
            for colour, some in (("green", set(graded.right) - set(before.right)),
                                 ("red", set(before.right) - set(graded.right))):
                if turned := [name for name in changed if name in some & set(before.verdicts)]:
                    print(screen.in_a_line(f"turned {colour}", "", turned, terminal()[0]))
            print(f"graded {len(changed)} of {len(names)}; watching, Ctrl-C ends it", flush=True)
    except KeyboardInterrupt:
        return code


def grade_submissions(options):
    """Grade a folder of students and write the grade book; returns the exit code."""
    names, students = options.names or options.known, options.students
    points = report.points_of(names, options.worth)
    index, count = options.shard
    some = dict(list(students.items())[index - 1::count])
    report.grade_class(some, options.out, names, points, options.key_of, options.limits,
                       options.brief)
    # Other shards may have graded the others.
    records = [record for student in students
               if (record := report.read_record(options.out, student)).get("points") == points]
    report.write(options.out / "grades.csv", report.grade_book(records, names))
    report.write(options.out / "class.html", report.class_page(records, names))
    print(f"{len(records)} of {len(students)} submissions are in {options.out / 'grades.csv'} "
          f"and {options.out / 'class.html'}")
    return 0


def make_gradescope(options):
    """Write the upload: the options of this command are those of every submission."""
    names = options.names or options.known
    words = [*names, "--seed", str(options.seed), "--seconds", f"{options.seconds:g}",
             # Gradescope ends a run after ten minutes, and shows nothing of it.
             "--budget", f"{options.budget or 540:g}"]
    words += ["--course", options.course] if options.course != DEFAULT else []
    words += ["--strict"] * options.strict + ["--brief"] * options.brief
    words += [word for name in options.allow for word in ("--allow", name)]
    words += ["--hidden", *options.hidden] if options.hidden else []
    points = report.points_of(names, options.worth)
    report.gradescope_upload(options.make_gradescope, words, points, options.key)
    print(f"{options.make_gradescope}: {len(points)} functions, {sum(points.values()):g} points. "
          "Upload it as the assignment's autograder.")
    return 0


def write_handout(options):
    """Write what students get; returns the exit code."""
    from grading import handout             # a hand-out itself does not have it
    try:
        print(handout.write(options.handout, options.names or options.known, options.seed))
    except (SyntaxError, ValueError) as error:
        print(f"autograder.py: error: nothing is handed out: {error}", file=sys.stderr)
        return 2
    return 0


def main(arguments=None):
    """Run the command line; returns the exit code."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")    # not every terminal has a Σ or a ½
    options = parse(arguments)
    try:
        if options.list:
            print("\n".join(f"{n:27} {f.file}.py" for n, f in options.functions.items()))
        elif options.make_key:
            report.answer_key(options.seed, None, options.course).save(
                options.make_key, options.names or None)
        elif options.handout:
            return write_handout(options)
        elif options.make_gradescope:
            return make_gradescope(options)
        elif options.submissions:
            return grade_submissions(options)
        else:
            return (watch_files if options.watch else grade_files)(options)
        return 0
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"autograder.py: error: {error}", file=sys.stderr)
        return 2


# ---------------------------------------------------------------- pytest

def pytest_generate_tests(metafunc):
    """One test for each function of the contract."""
    if metafunc.function is test_contract:
        metafunc.parametrize("name", report.answer_key(0).answered())


def test_contract(name):
    """A verdict other than fail; what is not there yet is skipped."""
    import pytest
    file = HOME / f"{contract.FUNCTIONS[name].file}.py"
    if not file.is_file():
        pytest.skip(f"there is no {file.name}")
    verdicts = judge.grade({file.stem: file}, [name], report.answer_key(0))
    if Report(verdicts).failed:
        pytest.fail(Report(verdicts).text(), pytrace=False)


def run():
    """main(), ended quietly where nobody reads its output any more, as with `| head`."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:
        code = 130                              # as a shell has it
    return code


if __name__ == "__main__":
    sys.exit(run())
