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


def grounds(homes, functions, files):
    """{name: text on which the verdict on it rests}.

    That is the function, the graded functions that it names, and so on; everything else in its
    file; and the files beside it that are imported. Comments and layout do not count. homes is
    {name: path}. The set `files` gets what was looked for: a file may be mended, or be there, only
    later. Raises OSError, or SyntaxError or ValueError for what is no Python.
    """
    texts, trees = {}, {}
    for path in dict.fromkeys(homes.values()):
        definitions, shared = {}, [imported(path, trees, files)]
        for node in trees[path].body:
            if getattr(node, "name", None) in functions:
                definitions.setdefault(node.name, []).append(node)
            else:
                shared.append(ast.unparse(node))
        for name in (name for name, home in homes.items() if home == path):
            needed = needed_by(name, definitions, functions)
            texts[name] = "\n".join([*shared, *(
                ast.unparse(node) for each in sorted(needed) for node in definitions[each])])
    return texts


def needed_by(name, definitions, functions):
    """The names of those definitions on which a function rests, itself among them."""
    waiting, needed = {name, functions[name].forward}, set()
    while waiting := (waiting & set(definitions)) - needed:
        needed |= waiting
        waiting = {getattr(node, "id", None) or getattr(node, "attr", None)
                   for each in waiting for definition in definitions[each]
                   for node in ast.walk(definition)}
    return needed


def imported(path, trees, files):
    """The text of the files beside a file that it imports, and that those import. trees gets what
    is parsed, by path."""
    waiting = [path]
    files.add(path)
    for file in waiting:
        if file not in trees:
            trees[file] = ast.parse(file.read_bytes(), file.name)
        for node in ast.walk(trees[file]):
            modules = [alias.name for alias in getattr(node, "names", ())
                       if isinstance(node, (ast.Import, ast.ImportFrom))]
            modules.append(getattr(node, "module", None) or "")
            others = [path.with_name(f"{module.split('.')[0]}.py") for module in modules if module]
            files.update(others)
            waiting += [other for other in others if other.is_file() and other not in waiting]
    return "\n".join(ast.unparse(trees[file]) for file in waiting[1:])
