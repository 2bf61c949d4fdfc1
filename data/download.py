"""Downloads that are whole or not there, and zip files that cannot write outside their folder.

download()    tries the mirrors in turn, resumes a cut transfer, verifies, then renames into place.
unpack_zip()  checks the member names, unpacks beside the target, then renames into place.
"""
import contextlib
import hashlib
import http.client
import os
import queue
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile

CONNECT_SECONDS = 8         # until a mirror answers, for all mirrors together
STALL_SECONDS = 15          # a transfer that stands still for so long was cut
PAUSES = (0, 0.5, 1, 2)     # seconds before each round through the mirrors
MAX_BYTES = 100_000_000     # whoever wants more asks for it
CHUNK = 1 << 16


class DataError(ValueError):
    """A data file is missing or not what it should be; the message names it and the remedy."""


class DownloadError(OSError):
    """A file cannot be downloaded or stored; the message says why and what to do."""


class _Failure(Exception):
    """What went wrong with one mirror."""


class _Cut(_Failure):
    """The transfer broke off: the same mirror may send the rest."""


def download(urls, path, *, md5=None, max_bytes=MAX_BYTES, progress=False):
    """Fetch a file from the first mirror that sends it whole.

    The bytes go to `path`.part, which is renamed to `path` once it is right. A cut transfer
    goes on where it stopped, in this run or the next. If no mirror can be reached, that takes
    CONNECT_SECONDS in all, even if name lookup hangs.

    Inputs:
    - urls: address or list of addresses (http or https), the preferred one first
    - path: the file to write; its folder is created
    - md5: expected checksum, hexadecimal. Without one, the caller checks the content.
    - max_bytes: refuse a larger file
    - progress: print the progress

    Returns the address that sent the file, or None if the right file was there already.
    Raises DownloadError if no mirror sends the file, or if it cannot be stored.
    """
    urls = [urls] if isinstance(urls, str) else list(urls)
    path, failures, seconds = os.fspath(path), {}, CONNECT_SECONDS / len(urls)
    try:
        for pause in PAUSES:
            time.sleep(pause if urls else 0)
            for url in list(urls):
                if _fault(path, md5) is None:
                    return None
                try:
                    _transfer(url, path + ".part", max_bytes, seconds, progress)
                    _accept(path + ".part", path, md5)
                    return url
                except _Failure as failure:
                    failures[url] = failure
                    if not isinstance(failure, _Cut):
                        urls.remove(url)
    except OSError as error:                # network errors are failures by now: this is the disk
        raise DownloadError(f"cannot store {path}: {error.strerror or error}") from error
    reasons = " ".join("; ".join(f"{url}: {failures[url]}" for url in failures).split())
    raise DownloadError(f"{os.path.basename(path)} cannot be downloaded ({reasons}). Check the "
                        f"network and run again, or get the file by hand and put it at {path}")


def _transfer(url, part, limit, seconds, progress):
    """Write to the .part file what it lacks."""
    start = os.path.getsize(part) if os.path.exists(part) else 0
    with _ask(url, start, seconds) as answer:
        if answer.status == 416:            # there is nothing after `start`
            return
        if answer.headers.get_content_type() == "text/html":
            raise _Failure("the server sent a web page: does the network ask for a login?")
        start = start if answer.status == 206 else 0
        length = answer.headers["Content-Length"]
        total = start + int(length) if length else 0
        if progress:
            print(f"downloading {url} ({total / 1e6:.1f} MB)", flush=True)
        os.makedirs(os.path.dirname(part) or ".", exist_ok=True)
        # Not in append mode: two processes that write one file put the same bytes in the same
        # places, so neither disturbs the other.
        with open(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            file.seek(start)
            _copy(answer, file, total, limit, progress and sys.stdout.isatty())
            file.truncate()


def _copy(answer, file, total, limit, show):
    """Copy the body of an answer to a file, which then has `total` bytes (0: nobody knows)."""
    while max(file.tell(), total) <= limit:
        try:
            chunk = answer.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _Cut(f"the connection broke after {file.tell():,} bytes ({error})") from None
        if not chunk and file.tell() < total:
            raise _Cut(f"the connection broke after {file.tell():,} of {total:,} bytes")
        if not chunk:
            return
        file.write(chunk)
        if show:
            print(f"  {file.tell() / 1e6:.1f} MB", end="\r", flush=True)
    raise _Failure(f"the server sends more than {limit:,} bytes")


def _ask(url, start, seconds):
    """The server's answer to a request for the bytes from `start` on, within so many seconds.

    No timeout covers name lookup, so the request is made in a thread that can be left behind.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "data-download/1.0"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    answers = queue.Queue()

    def ask():
        try:
            answers.put(urllib.request.urlopen(request, timeout=STALL_SECONDS))
        except Exception as error:          # raised again in the caller's thread
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise _Failure(f"no answer within {seconds:g} seconds") from None
    if isinstance(answer, Exception) and getattr(answer, "code", None) != 416:
        raise _Failure(getattr(answer, "reason", None) or answer)
    return answer


def _accept(part, path, md5):
    """Rename the .part file if it is right, else remove it."""
    fault = _fault(part, md5)
    with contextlib.suppress(FileNotFoundError):    # another process was faster
        os.remove(part) if fault else os.replace(part, path)
    if _fault(path, md5):
        raise _Failure(f"what it sent {fault}")


def _fault(path, md5):
    """What is wrong with a file, or None."""
    if not os.path.exists(path):
        return "is gone"
    if md5 and file_hash(path, "md5") != md5:
        return f"has not the md5 {md5} but {file_hash(path, 'md5')}"
    return None


def file_hash(path, name):
    """The hash of a file, hexadecimal; name is 'md5', 'sha256' or another of hashlib's."""
    digest = hashlib.new(name, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def unpack_zip(path, folder, top, check):
    """Unpack the folder `top` of the zip file `path` as `folder`, which must be missing or empty.

    It is unpacked beside `folder` and renamed, so `folder` is whole or not there. Before that,
    check(unpacked folder) is called; what it raises leaves nothing behind.

    Raises DataError if the zip file is damaged or leads out of the folder, DownloadError if it
    cannot be read or stored.
    """
    parent, name = os.path.split(os.path.abspath(folder))
    try:
        os.makedirs(parent, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=f"{name}.unpacking-") as beside:
            with zipfile.ZipFile(path) as archive:
                for member in filter(_leads_out, archive.namelist()):
                    raise DataError(f"{path} is refused: {member!r} leads out of the folder")
                archive.extractall(beside)
            source = os.path.join(beside, top)
            if not os.path.isdir(source):
                raise DataError(f"{path} holds no folder {top}: delete it and download it again")
            check(source)
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(folder)            # Windows cannot rename onto an empty folder
            os.rename(source, folder)
    except DataError:
        raise
    except OSError as error:
        raise DownloadError(f"cannot unpack {path} into {folder}: {error}") from error
    except Exception as error:              # of a damaged file zipfile raises almost anything
        raise DataError(f"{path} is damaged ({error}): delete it and download it again") from error


def _leads_out(member):
    """Whether the name of a zip file's member is absolute or climbs out of its folder."""
    return member.startswith("/") or ".." in member.split("/") or "\\" in member or ":" in member
