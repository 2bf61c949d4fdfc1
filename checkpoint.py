"""A training on disk: named arrays and a JSON state in one .npz, written whole or not at all."""
import json
import os
import zipfile

import numpy as np

VERSION = 2


class CheckpointError(ValueError):
    """A checkpoint cannot be written or read, or belongs to another training."""


def save_atomically(path, write):
    """Call write(file) on a temporary file beside `path`, then rename it to `path`.

    Whoever reads `path` sees the old file or the new one, never a part. What a killed process
    leaves behind has a fixed name, which the next run overwrites.
    """
    path = os.fspath(path)
    temporary = path + ".tmp"
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if os.path.exists(temporary):
            os.remove(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename = path               # the name that the caller knows
        raise


def write_checkpoint(path, settings, state, arrays):
    """Write a checkpoint.

    Args:
        settings: dict of what decides the result, as JSON holds it; read_checkpoint compares it
        state: dict, as JSON holds it
        arrays: dict of named arrays
    Raises CheckpointError when the file cannot be written; the previous one is then intact.
    """
    text = _as_json({"version": VERSION, "settings": settings, "state": state,
                     "arrays": list(arrays)})
    try:
        save_atomically(path, lambda file: _savez(file, {"json": np.array(text), **arrays}))
    except OSError as error:
        raise CheckpointError(f"cannot write the checkpoint {path}: {error.strerror or error}. The "
                              "previous one, if any, is intact: free some space and run again with "
                              "--resume, or choose another --out folder") from error


def _savez(file, arrays):
    """As np.savez; that of NumPy 2.0 leaves the zip open on a full disk, and Python complains."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


def read_checkpoint(path, settings=None):
    """The (state, arrays) of a checkpoint. No pickle is loaded; the zip's own CRC is the checksum.

    settings: those of the training that wants to go on; None accepts any.
    Raises CheckpointError for a file that is damaged or not a checkpoint, and for other settings.
    """
    try:
        with zipfile.ZipFile(path) as file:
            # A damaged header of an array may ask for less than is there: then NumPy checks no CRC.
            if file.testzip():
                raise ValueError("wrong checksum")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        content = json.loads(str(arrays.pop("json")))
        version, old, state = content["version"], content["settings"], content["state"]
        # One flipped bit in the zip's table of contents may hide an array.
        if list(arrays) != content["arrays"]:
            raise ValueError("not all arrays are there")
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except Exception as error:                  # a flipped bit makes zipfile raise almost anything
        raise CheckpointError(f"{path} is damaged, or not a checkpoint ({error}). Delete it to "
                              "start afresh") from error
    if version != VERSION:
        raise CheckpointError(f"{path} has checkpoint format {version}, this program reads "
                              f"{VERSION}. Delete it to start afresh")
    if settings is not None:
        for name, then, now in _differences(old, json.loads(_as_json(settings))):
            raise CheckpointError(f"{path} is of another training ({name}: {then} then, {now} "
                                  "now). Use the same settings, another --out folder, or start "
                                  "afresh without --resume")
    return state, arrays


def _as_json(value):
    """The text of a value; NumPy's numbers and arrays become plain numbers and lists."""
    return json.dumps(value, default=lambda array: array.tolist())


def _differences(then, now, name=""):
    """(name, then, now) of every setting that differs."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in {**now, **then}:
            yield from _differences(then.get(key), now.get(key), f"{name} {key}".strip())
    elif then != now:
        yield name, then, now
