"""Downloads that are whole or not there, and zip files that cannot write outside their folder.

download()    tries the mirrors in turn, resumes a cut transfer, verifies, then renames into place.
unpack_zip()  checks the member names, unpacks beside the target, then renames into place.
"""
import contextlib
import hashlib
import http.client
import os
import pathlib
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
CERTIFICATES = (            # what to do where Python does not trust the server
    "With Python from python.org on macOS, run 'Install Certificates.command' in its folder in "
    "Applications; behind a company's proxy, set SSL_CERT_FILE to the proxy's certificate file")


class DataError(ValueError):
    """A data file is missing or not what it should be; the message names it and the remedy."""


class DownloadError(OSError):
    """A file cannot be downloaded or stored; the message says why and what to do."""


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
    mirrors = [urls] if isinstance(urls, str) else list(urls)
    path, failures, seconds = os.fspath(path), {}, CONNECT_SECONDS / len(mirrors)
    try:
        if _is_right(path, md5):
            return None
        for pause in PAUSES:
            time.sleep(pause if mirrors else 0)
            for url in list(mirrors):
                try:
                    _transfer(url, path + ".part", max_bytes, seconds, progress)
                    _accept(path + ".part", path, md5)
                    return url
                except ConnectionError as error:    # cut: the same mirror may send the rest
                    failures[url] = error
                except DownloadError as error:      # asking this mirror again cannot help
                    failures[url] = error
                    mirrors.remove(url)
    except OSError as error:
        raise DownloadError(f"cannot store {path}: {error.strerror or error}") from error
    reasons = " ".join("; ".join(f"{url}: {failures[url]}" for url in failures).split())
    remedy = CERTIFICATES if "CERTIFICATE_VERIFY_FAILED" in reasons else "Check the network"
    raise DownloadError(f"{os.path.basename(path)} cannot be downloaded ({reasons}). {remedy} and "
                        f"run again, or get the file by hand and put it at {path}")


def _transfer(url, part, limit, seconds, progress):
    """Write to the .part file what it lacks."""
    start = os.path.getsize(part) if os.path.exists(part) else 0
    with _ask(url, start, seconds) as answer:
        if answer.status == 416:            # there is nothing after `start`
            return
        if answer.headers.get_content_type() == "text/html":
            raise DownloadError("the server sent a web page: does the network ask for a login?")
        start = start if answer.status == 206 else 0
        total = start + int(answer.headers["Content-Length"] or 0)
        if progress:
            print(f"downloading {url} ({total / 1e6:.1f} MB)", flush=True)
        os.makedirs(os.path.dirname(part) or ".", exist_ok=True)
        # Not in append mode: two processes that write one file put the same bytes in the same
        # places, so neither disturbs the other.
        with open(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            file.seek(start)
            _copy(answer, file, total, limit, progress and sys.stdout.isatty())
            file.truncate()


def _ask(url, start, seconds):
    """The server's answer to a request for the bytes from `start` on, within so many seconds.

    No timeout covers name lookup, so the request is made in a thread that can be left behind.
    """
    headers = {"User-Agent": "data-download/1.0"} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(url, headers=headers)
    answers = []

    def ask():
        try:
            answers.append(urllib.request.urlopen(request, timeout=STALL_SECONDS))
        except Exception as error:          # the caller's thread wants to know
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    answer = answers[0] if answers else DownloadError(f"no answer within {seconds:g} seconds")
    if isinstance(answer, Exception) and getattr(answer, "code", None) != 416:
        raise DownloadError(getattr(answer, "reason", None) or answer)
    return answer


def _copy(answer, file, total, limit, show):
    """Copy the body of an answer to a file that has at least `total` bytes then."""
    while max(file.tell(), total) <= limit:
        try:
            chunk = answer.read1(1 << 16)
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionError(f"cut after {file.tell():,} bytes ({error})") from None
        if not chunk and file.tell() < total:
            raise ConnectionError(f"cut after {file.tell():,} of {total:,} bytes")
        if not chunk:
            return
        file.write(chunk)
        if show:
            print(f"  {file.tell() / 1e6:.1f} MB", end="\r", flush=True)
    raise DownloadError(f"the server sends more than {limit:,} bytes")


def _accept(part, path, md5):
    """Rename the .part file if it is right, else remove it."""
    with contextlib.suppress(FileNotFoundError):    # another process was faster
        os.replace(part, path) if _is_right(part, md5) else os.remove(part)
    if not _is_right(path, md5):
        raise DownloadError(f"what it sent does not have the md5 {md5}")


def _is_right(path, md5):
    """Whether a file is there and has the checksum, if one is given."""
    return os.path.exists(path) and (not md5 or file_hash(path, "md5") == md5)


def file_hash(path, name):
    """The hash of a file, hexadecimal; name is 'md5', 'sha256' or another of hashlib's."""
    content = pathlib.Path(path).read_bytes()
    return hashlib.new(name, content, usedforsecurity=False).hexdigest()


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
                # A Windows path knows both kinds of slash, and drives.
                for member in map(pathlib.PureWindowsPath, archive.namelist()):
                    if member.anchor or ".." in member.parts:
                        raise DataError(f"{path} is refused: {member} leads out of the folder")
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
