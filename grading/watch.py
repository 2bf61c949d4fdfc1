"""Which functions are to be graded again after files were saved. Nothing is imported or run."""
import ast
import time

PAUSE = 0.3                     # seconds between two looks at the files


def saves(files):
    """Yields now, and each time that one of the files has changed and is not being written to."""
    last = None
    while True:
        now = {path: stamp(path) for path in sorted(files)}
        if now != last:
            time.sleep(PAUSE / 2)
            if all(stamp(path) == was for path, was in now.items()):
                yield
                last = {path: now.get(path, stamp(path)) for path in sorted(files)}
        time.sleep(PAUSE / 2)


def stamp(path):
    """What changes when a file is saved."""
    try:
        return path.stat().st_mtime_ns, path.stat().st_size
    except OSError:                                 # just being replaced, or gone
        return None


def grounds(homes, functions):
    """({name: text on which the verdict on it rests}, the files that were read).

    That is the function, the graded functions that it names, and so on; everything else in its
    file; and the files beside it that are imported. Comments and layout do not count. homes is
    {name: path}. Raises OSError, or SyntaxError or ValueError for what is no Python.
    """
    texts, read = {}, {}
    for path in dict.fromkeys(homes.values()):
        definitions, shared = {}, [imported(path, read)]
        for node in parsed(path, read).body:
            if getattr(node, "name", None) in functions:
                definitions.setdefault(node.name, []).append(node)
            else:
                shared.append(ast.unparse(node))
        for name in (name for name, home in homes.items() if home == path):
            needed = needed_by(name, definitions, functions)
            texts[name] = "\n".join([*shared, *(
                ast.unparse(node) for each in sorted(needed) for node in definitions[each])])
    return texts, set(read)


def needed_by(name, definitions, functions):
    """The names of those definitions on which a function rests, itself among them."""
    waiting, needed = {name, functions[name].forward}, set()
    while waiting := (waiting & set(definitions)) - needed:
        needed |= waiting
        waiting = {getattr(node, "id", None) or getattr(node, "attr", None)
                   for each in waiting for definition in definitions[each]
                   for node in ast.walk(definition)}
    return needed


def parsed(path, read):
    """The tree of a file, parsed once; read is {path: tree}."""
    if path not in read:
        read[path] = ast.parse(path.read_bytes(), path.name)
    return read[path]


def imported(path, read):
    """The text of the files beside a file that it imports, and that those import."""
    waiting, found = [path], {path: ""}
    for file in waiting:
        for node in ast.walk(parsed(file, read)):
            modules = [alias.name for alias in getattr(node, "names", ())
                       if isinstance(node, (ast.Import, ast.ImportFrom))]
            modules.append(getattr(node, "module", None) or "")
            for module in modules:
                other = path.with_name(f"{module.split('.')[0]}.py")
                if other not in found and other.is_file():
                    found[other] = ast.unparse(parsed(other, read))
                    waiting.append(other)
    return "\n".join(found.values())
