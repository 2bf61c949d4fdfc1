"""The first screen: the total, what to mend first, and the names of the rest."""
import collections
import re
import textwrap

from . import judge
from .report import details, marked, wrapped

HEIGHT = 20             # lines that any terminal shows without scrolling
NO_RETURN = f"{judge.NOT_YET}, or without a return"
WAITING = "mend forward first"
MORE = " (-v shows all)"


def overview(report, score="", width=80, coloured=False, height=HEIGHT):
    """The lines of the screen, at most so many.

    The verdicts come in the order of the course, in which nothing uses what comes after it: what
    comes first is to be mended first. What has one cause, as a file that cannot be imported, is
    said once. score: the beginning of the first line.
    """
    told, rest = {}, {}             # {(status, sentences): names}, {(kind, reason): names}
    # All of these are one line. Whoever raises NotImplementedError has forgotten no return.
    stubs = {verdict.diagnosis for verdict in report.verdicts.values() if verdict.is_stub}
    unwritten = judge.NOT_YET if stubs <= {judge.NOT_YET} else NO_RETURN
    for name, verdict in report.verdicts.items():
        kind = (unwritten, "") if verdict.is_stub else kind_of(verdict, width)
        group, key = (rest, kind) if kind else (told, (verdict.status, *details(verdict)))
        group.setdefault(key, []).append(name)
    groups = {key: in_pairs(names, report.verdicts) for key, names in {**told, **rest}.items()}
    order = unwritten, WAITING, "out of time", "missing", "right"
    if list(rest) == [("right", "")] and not told:
        last = wrapped(f"right: {', '.join(groups['right', ''])}", width, "")
    else:
        last = [in_a_line(*kind, groups[kind], width)
                for kind in sorted(rest, key=lambda kind: order.index(kind[0]))]
    lines = [*wrapped(score + report.summary(), width, ""), ""]
    # Warnings cost no points: they come after what is wrong.
    blocks = sorted(told, key=lambda key: key[0] == "warn")
    start, room, before = len(lines), height - len(last), set()
    for number, key in enumerate(blocks):
        status, *said = key
        names = textwrap.shorten(", ".join(groups[key]), width - 12, placeholder=" ...")
        block = [f"{names:27} {marked(status, coloured)}",
                 *(part for line in said if line not in before for part in wrapped(line, width))]
        free = room - len(lines) - (number + 1 < len(blocks))
        if len(block) > free and len(lines) > start:
            names = [name for waiting in blocks[number:] for name in groups[waiting]]
            lines.append(in_a_line("then", MORE, names, width))
            break
        lines += block if len(block) <= free else [*block[:free - 1], f"    ...{MORE}"]
        before |= {line for line in said if line.endswith(judge.IN_VAIN)}
    return lines + last


def kind_of(verdict, width):
    """(what holds for a function of which only the name is shown, why), or None."""
    if verdict.status == "not judged":
        return "out of time" if verdict.timed_out else WAITING, ""
    if verdict.status == "missing":
        why = textwrap.shorten(verdict.diagnosis, width - 26, placeholder=" ...")
        return "missing", f" ({why})"
    return ("right", "") if verdict.status == "pass" else None


def in_pairs(names, graded):
    """The names, in short: conv stands for all of its passes that are graded."""
    def layer(name):
        return re.split("_(?:forward|backward)", name)[0]

    passes = collections.defaultdict(set)
    for name in graded:
        passes[layer(name)].add(name)
    return list(dict.fromkeys(
        layer(name) if len(passes[layer(name)]) > 1 and passes[layer(name)] <= set(names)
        else name for name in names))


def in_a_line(label, end, names, width):
    """A line with as many of the names as it can hold."""
    room = width - len(f"{label}: {end}")
    return f"{label}: {textwrap.shorten(', '.join(names), room, placeholder=' ...')}{end}"
