"""Downloads that are whole or not there, and zip files that cannot write where they should not.

download()    tries the mirrors in turn, resumes what broke off, verifies, then renames into place.
unpack_zip()  checks all members before it writes the first, unpacks beside the target, renames.
check_that_it_answers()  limits the waiting of others' downloaders for an address.

Only the standard library is needed. Nothing is printed unless `progress` asks for it.
"""
import concurrent.futures
import contextlib
import dataclasses
import errno
import functools
import hashlib
import http.client
import itertools
import os
import re
import shutil
import socket
import ssl
import stat
import struct
import sys
import tempfile
import threading
import time
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib

try:
    import fcntl
except ImportError:  # Windows has no flock: see _part_file and _folder_lock
    fcntl = None

CONNECT_SECONDS = 8  # until the first mirror has answered, for all of them together
STALL_SECONDS = 15  # a connection that stays below MIN_SPEED for so long is dropped
MIN_SPEED = 1000  # bytes per second
MAX_BYTES = 10**9  # of a file whose size nobody knows, and of an unpacked zip file
MAX_DEPTH = 100  # of folders in a zip file: os.makedirs and shutil.rmtree go down by recursion
CHUNK = 1 << 16
PAUSES = (0.5, 1.0)  # seconds before the second and the third round through the mirrors
ROUND_WELL_SPENT = 10**6  # new bytes after which a round does not count as failed


class DataError(ValueError):
    """A data file is missing or not what it should be; the message names it and the remedy."""


class DownloadError(OSError):
    """A file cannot be downloaded or stored; the message says why and what to do."""


class NetworkUnreachable(DownloadError):
    """No mirror could even be reached, so further files need not be tried."""


# ---------------------------------------------------------------- download

def download(urls, path, *, md5=None, sha256=None, size=None, max_bytes=MAX_BYTES,
             connect_seconds=CONNECT_SECONDS, stall_seconds=STALL_SECONDS, progress=None,
             verified_later=False):
    """Fetch a file from the first mirror that gives it whole.

    The bytes go to `path`.part, which is renamed to `path` once it is verified, so `path`
    is never a partial file. A broken download is resumed, by the next attempt or the next
    run, but only where a checksum or the caller judges the result. Several processes may
    download the same file at once: each writes a .part file of its own.

    Inputs:
    - urls: address or list of addresses (http or https), the preferred one first
    - path: where the file shall be; its folder is made if need be
    - md5, sha256: expected checksums (hexadecimal); without one and without size, a server
      that announces too small a file is believed
    - size: expected number of bytes
    - max_bytes: refuse a larger file
    - connect_seconds: give up if no mirror has answered after so long, hanging DNS included
    - stall_seconds: drop a connection that gives less than 1 kB/s over so long
    - verified_later: the caller checks the content: resume without a checksum, too
    - progress: True prints the progress; a function is called as progress(done, total)
      in bytes, total being None where the server does not tell

    Returns the address that served the file, or None if the file was there already.
    Raises NetworkUnreachable if no mirror can be reached, DownloadError for everything else.
    """
    urls = [urls] if isinstance(urls, str) else list(urls)
    if not urls:
        raise ValueError("download: urls expects at least one address, got none")
    for url in urls:
        _check_scheme(url)
    path = os.fspath(path)
    wanted = _Wanted(md5, sha256, size, max_bytes, verified_later)
    try:
        if os.path.exists(path):
            with open(path, "rb") as file:
                if wanted.fault(file) is None:
                    return None
        with _reporting(progress, path) as report, _part_file(path, wanted.verifiable) as part:
            fetcher = _Fetcher(part, wanted, connect_seconds, stall_seconds, report)
            url = fetcher.fetch(urls, path)
            _move_into_place(part, path)
        _remove_leftovers(path)
    except DownloadError:
        raise
    except OSError as error:  # network trouble is a DownloadError by now: this is the disk
        raise DownloadError(f"cannot store {path}: {error.strerror or error}") from error
    return url


def check_that_it_answers(url, seconds):
    """DownloadError after so many seconds at the latest if an address does not answer.

    For what others are to download: nobody else limits the time that a name server takes.
    """
    try:
        _open(url, 0, seconds, seconds).close()
    except _Failure as failure:
        raise DownloadError(str(failure)) from None


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """What is known of a file before it is there."""
    md5: str | None
    sha256: str | None
    size: int | None
    max_bytes: int
    verified_later: bool = False

    @property
    def verifiable(self):
        """Whether somebody can tell a file put together from two attempts from a whole one."""
        return bool(self.md5 or self.sha256 or self.verified_later)

    def fault(self, file):
        """What is wrong with an open binary file, or None."""
        got_size = os.fstat(file.fileno()).st_size
        if self.size is not None and got_size != self.size:
            return f"has {got_size:,} bytes instead of {self.size:,}"
        for name, expected in (("md5", self.md5), ("sha256", self.sha256)):
            if expected:
                file.seek(0)
                digest = functools.partial(hashlib.new, name, usedforsecurity=False)
                got = hashlib.file_digest(file, digest).hexdigest()
                if got != expected.lower():
                    return f"has the {name} {got} instead of {expected.lower()}"
        return None


class _Failure(Exception):
    """One attempt at one mirror failed.

    again: another attempt may help. unreachable: the mirror did not even answer.
    """

    def __init__(self, message, *, again=False, unreachable=False):
        super().__init__(message)
        self.again = again
        self.unreachable = unreachable


class _Fetcher:
    """Fills one .part file from whichever mirror works."""

    def __init__(self, part, wanted, connect_seconds, stall_seconds, report):
        self.part = part
        self.wanted = wanted
        self.stall_seconds = stall_seconds
        self.report = report
        self.connect_deadline = time.monotonic() + connect_seconds
        self.answered = False

    def fetch(self, urls, path):
        """Try mirror after mirror, round after round. Returns the address that worked."""
        name = os.path.basename(path)
        failures = {}
        left = list(urls)
        pauses = iter(PAUSES)
        most = self._size()
        while True:
            for number, url in enumerate(list(left)):
                try:
                    self._fetch_from(url, self._patience(len(left) - number))
                    return url
                except _Failure as failure:
                    failures[url] = failure
            # A mirror that cannot be reached is only waited for if the network was there before.
            left = [url for url in left if failures[url].again
                    or failures[url].unreachable and self.answered]
            if self._size() >= most + ROUND_WELL_SPENT:
                pauses = iter(PAUSES)
            most = max(most, self._size())
            pause = next(pauses, None)
            if not left or pause is None:
                break
            if not self.answered and time.monotonic() + pause > self.connect_deadline:
                break
            time.sleep(pause)
        reasons = "; ".join(f"{url}: {failure}" for url, failure in failures.items())
        if not self.answered and all(failure.unreachable for failure in failures.values()):
            raise NetworkUnreachable(f"no mirror of {name} can be reached ({reasons}). Check the "
                                     f"network, or get the file by hand and put it at {path}")
        raise DownloadError(f"{name} cannot be downloaded ({reasons}). Try again later, or get "
                            f"the file by hand and put it at {path}")

    def _patience(self, mirrors):
        """Seconds to wait for an answer, when so many mirrors have not been tried yet."""
        if self.answered:
            return self.stall_seconds
        return max(0.0, self.connect_deadline - time.monotonic()) / mirrors

    def _size(self):
        return os.fstat(self.part.fileno()).st_size

    def _fetch_from(self, url, patience):
        """Make the .part file whole and verified, from one mirror."""
        if not self.wanted.verifiable:
            self.part.truncate(0)
        if self._size():
            if self._size() != self.wanted.size:
                self._transfer(url, patience)
            if self.wanted.fault(self.part) is None:
                return
            # What lay there was of another version of the file.
            self.part.truncate(0)
        self._transfer(url, patience)
        fault = self.wanted.fault(self.part)
        if fault is not None:
            if _looks_like_html(self.part):
                fault += " and is a web page"
            self.part.truncate(0)
            raise _Failure(f"what it sent {fault}")

    def _transfer(self, url, patience):
        """Append to the .part file what it lacks, or all of it if the server cannot resume."""
        offset = self._size()
        response = _open(url, offset, patience, self.stall_seconds)
        self.answered = True
        with response:
            if response.status == 416:  # nothing after offset: the checksum will judge
                return
            start, total = _extent(response)
            if start != offset:
                self.part.truncate(0)
                if start != 0:
                    raise _Failure("the server sent another part than asked for", again=True)
            self._check_answer(response, total)
            with self._speed_limit(response):
                self._copy(response, total)
        if total is not None and self._size() < total:
            raise _Failure(f"the connection broke after {self._size():,} of {total:,} bytes",
                           again=True)

    def _check_answer(self, response, total):
        """Refuse by its head what cannot be the file."""
        if not (self.wanted.md5 or self.wanted.sha256):  # a checksum knows better than the head
            if response.headers.get_content_type() == "text/html":
                raise _Failure("the server sent a web page instead of the file")
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding.lower() != "identity":
                raise _Failure(f"the server sent the file encoded as {_one_line(encoding)}")
        if total is not None and self.wanted.size not in (None, total):
            kind = " (a web page)" if response.headers.get_content_type() == "text/html" else ""
            raise _Failure(f"the server offers {total:,} bytes{kind} instead of "
                           f"{self.wanted.size:,}")
        if total is not None and total > self.wanted.max_bytes:
            raise _Failure(f"the server offers {total:,} bytes, more than the allowed "
                           f"{self.wanted.max_bytes:,}")

    @contextlib.contextmanager
    def _speed_limit(self, response):
        """Break the connection off when the body comes too slowly.

        A thread watches, because http.client may never come back from one call: it reads the
        head of a chunk and the trailers to their end, and a server need not end them.
        """
        over = threading.Event()
        faults = []

        def watch(connection):
            size = self._size()
            while not over.wait(self.stall_seconds):
                new = self._size() - size
                if new < MIN_SPEED * self.stall_seconds:
                    faults.append(f"too slow: {new:,} bytes in {self.stall_seconds:g} seconds")
                    with contextlib.suppress(OSError):  # the server was faster
                        connection.shutdown(socket.SHUT_RDWR)
                    return
                size += new

        # A duplicate, so that shutdown cannot hit what has got the number of a closed socket.
        with socket.fromfd(response.fileno(), socket.AF_INET, socket.SOCK_STREAM) as connection:
            watcher = threading.Thread(target=watch, args=(connection,), daemon=True)
            watcher.start()
            try:
                yield
            except _Failure:
                if not faults:
                    raise
            finally:
                over.set()
                watcher.join()
        if faults:
            raise _Failure(faults[0])

    def _copy(self, response, total):
        """Copy the body of a response to the .part file."""
        limit = self.wanted.max_bytes if self.wanted.size is None else self.wanted.size
        size = self._size()
        self.report(size, total)
        while chunk := self._read(response):
            size += len(chunk)
            if size > limit:
                self.part.truncate(0)
                raise _Failure(f"the server sent more than {limit:,} bytes")
            _write(self.part, chunk)
            self.report(size, total)

    def _read(self, response):
        """The next bytes, as many as have come; b'' at the end."""
        try:
            return response.read1(CHUNK)
        except TimeoutError:
            raise _Failure(f"too slow: no byte in {self.stall_seconds:g} seconds") from None
        except (OSError, http.client.HTTPException) as error:
            raise _Failure(f"the connection broke after {self._size():,} bytes "
                           f"({_reason(error)})", again=True) from None


# ---------------------------------------------------------------- asking a server

def _check_scheme(url):
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in ("http", "https"):
        raise ValueError(f"download: urls expects http or https addresses, got {url!r}")


class _WebOnlyRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https, and to nothing else."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            fp.close()
            raise _Failure(f"the server redirects to {_one_line(newurl)}, which is not a web "
                           "address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url, offset, patience, stall_seconds):
    """The response to a request for the bytes from offset on.

    Raises _Failure, after `patience` seconds at the latest. No timeout covers
    getaddrinfo(), so the request is made in a thread that can be left behind.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "data-download/1.0"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    opener = urllib.request.build_opener(_WebOnlyRedirects)
    answer = concurrent.futures.Future()

    def ask():
        try:
            response = opener.open(request, timeout=stall_seconds)
        except BaseException as error:  # handed over: raised again in the caller's thread
            answer.set_exception(error)
        else:
            answer.set_result(response)

    threading.Thread(target=ask, name=f"asking {url}", daemon=True).start()
    try:
        return answer.result(patience)
    except urllib.error.HTTPError as error:
        if error.code == 416 and offset:
            return error
        error.close()
        again = error.code in (408, 425, 429) or error.code >= 500
        raise _Failure(f"HTTP {error.code} {_one_line(error.reason)}", again=again) from None
    except urllib.error.URLError as error:
        hung_up = isinstance(error.reason, (ConnectionResetError, BrokenPipeError))
        raise _Failure(_reason(error.reason), again=hung_up,
                       unreachable=not hung_up and _is_of_the_network(error.reason)) from None
    # urllib blames its caller for what a redirect says.
    except (ValueError, http.client.InvalidURL) as error:
        raise _Failure(f"bad address ({_reason(error)})") from None
    except (OSError, http.client.HTTPException) as error:
        answered = answer.done()
        answer.add_done_callback(_close_late_answer)
        if answered:
            raise _Failure(f"no answer ({_reason(error)})", again=True) from None
        raise _Failure(f"no answer within {patience:.1f} seconds", unreachable=True) from None


def _is_of_the_network(reason):
    """Whether a request failed before it got to anybody: name, route, port or patience.

    A refusing proxy and a strange redirect raise errors without a number.
    """
    return isinstance(reason, TimeoutError) or (
        isinstance(reason, OSError) and reason.errno is not None
        and not isinstance(reason, ssl.SSLError))


def _close_late_answer(answer):
    """Close what an abandoned request brings after all."""
    if answer.exception() is None:
        answer.result().close()
    elif isinstance(answer.exception(), urllib.error.HTTPError):
        answer.exception().close()


def _extent(response):
    """(position of the first byte, length of the whole file or None) of a response."""
    if response.status == 200:
        length = response.headers.get("Content-Length", "")
        return 0, _number(length) if length.isdecimal() else None
    range_ = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status != 206 or range_ is None:
        raise _Failure(f"the server sent an answer of an unexpected kind (HTTP {response.status})")
    start, total = range_.groups()
    return _number(start), None if total == "*" else _number(total)


def _number(digits):
    """int(digits), which would raise ValueError for thousands of them."""
    if len(digits) > 18:
        raise _Failure(f"the server sent a size of {len(digits):,} digits")
    return int(digits)


def _reason(error):
    """One line on an exception."""
    return _one_line(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def _one_line(text):
    """What a server sent, fit for a message: short, and without a code that moves the cursor."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


def _looks_like_html(file):
    file.seek(0)
    return file.read(200).lstrip().lower().startswith((b"<!doctype html", b"<html"))


# ---------------------------------------------------------------- files

@contextlib.contextmanager
def _part_file(path, keep):
    """A file beside `path` that this process alone writes, with what an earlier run left in it.

    Processes keep apart by locks, which the system releases when a process is killed:
    the first takes PATH.part, one that comes meanwhile PATH.2.part, and so on. If the
    body fails, the file stays for the next run to resume; with keep=False it goes.
    """
    folder = os.path.dirname(path) or "."
    new_folder = not os.path.exists(folder)
    os.makedirs(folder, exist_ok=True)
    with _claim_part_file(path) as file:
        try:
            yield file
        except BaseException:
            if not keep or os.fstat(file.fileno()).st_size == 0:
                os.remove(file.name)
                if new_folder:
                    with contextlib.suppress(OSError):  # another process uses it by now
                        os.rmdir(folder)
            raise


def _claim_part_file(path):
    """Open, unbuffered and locked, the first .part file that nobody else writes."""
    if not _can_lock(os.path.dirname(path) or "."):
        # A name of its own does as well, only that the next run cannot resume it.
        return open(f"{path}.{os.getpid()}.part", "a+b", buffering=0)
    for number in itertools.count(1):
        name = f"{path}.part" if number == 1 else f"{path}.{number}.part"
        while True:
            file = open(name, "a+b", buffering=0)
            locked = _lock(file)
            if locked and _still_named(file):
                return file
            file.close()
            if not locked:
                break
            # Its owner has just renamed or removed it: look again.


@contextlib.contextmanager
def held_folder(folder):
    """Hold a folder; yields whether that succeeded: False if another process holds it.

    A killed process holds nothing any more. Where folders cannot be locked (on Windows, on
    some network drives) this always succeeds.
    """
    if fcntl is None:
        yield True
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            free = _lock(descriptor)
        except OSError:
            free = True
        yield free
    finally:
        os.close(descriptor)


def _lock(file):
    """Lock an open file; False if another process has done so."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _can_lock(folder):
    """Whether files in a folder can be locked: not on Windows, nor on some network drives."""
    if fcntl is None:
        return False
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return _lock(file)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            return False
        raise


def _still_named(file):
    """Whether the file's name still leads to this very file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    except FileNotFoundError:
        return False


def _write(file, chunk):
    """Write all of chunk: an unbuffered file may take less at a time."""
    view = memoryview(chunk)
    while view:
        view = view[file.write(view):]


def _move_into_place(part, path):
    """Rename the .part file to path once its bytes are on the disk."""
    os.fsync(part.fileno())
    if fcntl is None:  # Windows renames no open file; elsewhere the lock must outlive the name
        part.close()
    os.replace(part.name, path)
    _sync_folder(os.path.dirname(path) or ".")


def _sync_folder(folder):
    """Make a rename last, where the system lets a folder be synchronised."""
    if fcntl is None:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(path):
    """Remove .part files of this path that killed processes left behind."""
    folder = os.path.dirname(path) or "."
    if not _can_lock(folder):
        return
    pattern = re.compile(re.escape(os.path.basename(path)) + r"(\.\d+)?\.part")
    for name in filter(pattern.fullmatch, os.listdir(folder)):
        with contextlib.suppress(FileNotFoundError), \
                open(os.path.join(folder, name), "r+b") as file:
            if _lock(file) and _still_named(file):
                os.remove(file.name)


# ---------------------------------------------------------------- unpacking

def unpack_zip(path, folder, *, top=None, max_bytes=MAX_BYTES, max_members=100_000):
    """Unpack a zip file that is not trusted into a folder that is whole or not there.

    All members are checked before anything is written. They are unpacked into a folder
    beside `folder`, which is renamed at the end, so a `folder` with content is never
    half-unpacked and is left as it is.

    Inputs:
    - path: the zip file
    - folder: where its content shall be
    - top: take only what lies in this folder of the zip file, and leave its name out
    - max_bytes, max_members: refuse a zip file that unpacks to more

    Returns True, or False if `folder` had content already.
    Raises DataError if the zip file is damaged or refused, DownloadError if it cannot be
    read or its content cannot be stored.
    """
    path, folder = os.fspath(path), os.path.abspath(folder)
    try:
        with _unpacking_alone(folder):
            if _has_content(folder):
                return False
            half = f"{folder}.{os.getpid()}.unpacking"
            try:
                _unpack(path, half, max_bytes, max_members)
                source = os.path.join(half, top or "")
                if not os.path.isdir(source):
                    raise DataError(f"{path} holds no folder {top}")
                if os.path.isdir(folder):
                    os.rmdir(folder)  # it is empty, and in the way on Windows
                os.rename(source.rstrip(os.sep), folder)
                _sync_folder(os.path.dirname(folder))
            except OSError:
                if _has_content(folder):  # where there are no locks, another process was faster
                    return False
                raise
            finally:
                shutil.rmtree(half, ignore_errors=True)
    except DataError:
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError,
            NotImplementedError) as error:
        raise _damage(path, error) from None
    except OSError as error:
        # A file name that the disk refuses would be named; a position in the zip file has none.
        if error.errno == errno.EINVAL and error.filename is None:
            raise _damage(path, error) from None
        place = f" ({error.filename})" if error.filename else ""
        raise DownloadError(f"cannot unpack {path} into {folder}: "
                            f"{error.strerror or error}{place}") from error
    return True


def _damage(path, error):
    return DataError(f"{path} is damaged ({_reason(error)}): delete it and download it again")


def _has_content(folder):
    return os.path.isdir(folder) and bool(os.listdir(folder))


@contextlib.contextmanager
def _unpacking_alone(folder):
    """Keep other processes from unpacking beside `folder`; clear away what killed ones left."""
    parent = os.path.dirname(folder)
    os.makedirs(parent, exist_ok=True)
    if not _can_lock(parent):  # then what looks left behind may be in use
        yield
        return
    descriptor = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        pattern = re.compile(re.escape(os.path.basename(folder)) + r"\.\d+\.unpacking")
        for name in filter(pattern.fullmatch, os.listdir(parent)):
            shutil.rmtree(os.path.join(parent, name))
        yield
    finally:
        os.close(descriptor)


def _unpack(path, folder, max_bytes, max_members):
    """Write all members of a zip file below a new folder."""
    os.mkdir(folder)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_members(path, members, max_bytes, max_members)
        for member in members:
            target = os.path.join(folder, *member.filename.rstrip("/").split("/"))
            if member.is_dir():
                os.makedirs(target, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            # zipfile reads no member beyond the size that was checked.
            with archive.open(member) as source, open(target, "xb") as file:
                shutil.copyfileobj(source, file, CHUNK)
                file.flush()
                os.fsync(file.fileno())


def _check_members(path, members, max_bytes, max_members):
    """Raise DataError unless every member is a plain file or folder with a place of its own."""
    if len(members) > max_members:
        raise DataError(f"{path} is refused: {len(members):,} members, more than the allowed "
                        f"{max_members:,}")
    size = sum(member.file_size for member in members)
    if size > max_bytes:
        raise DataError(f"{path} is refused: it unpacks to {size:,} bytes, more than the allowed "
                        f"{max_bytes:,}")
    taken = {}
    for member in members:
        fault = _fault_of_member(member) or _clash(member, taken)
        if fault:
            name = _one_line(repr(member.filename))
            raise DataError(f"{path} is refused: member {name} {fault}")


def _fault_of_member(member):
    """Why a member must not be unpacked whatever the others are, or None."""
    name = member.filename
    parts = name.removesuffix("/").split("/")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a plain file"
    if name.startswith("/"):
        return "has an absolute path"
    if ".." in parts:
        return "leads out of the folder"
    if len(parts) - 1 > MAX_DEPTH:
        return f"lies {len(parts) - 1:,} folders deep, more than the allowed {MAX_DEPTH}"
    if "" in parts or "." in parts or any(c in '\\:' or not c.isprintable() for c in name):
        return "has a name that not every system can store"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in an unusual way"
    return None


def _clash(member, taken):
    """Why a member has no place beside the earlier ones, or None; enters it into `taken`.

    taken: {path as a careless file system compares it: (path, whether it is a file)}
    """
    parts = member.filename.removesuffix("/").split("/")
    for depth in range(1, len(parts) + 1):
        path = "/".join(parts[:depth])
        is_file = depth == len(parts) and not member.is_dir()
        key = unicodedata.normalize("NFC", path.casefold())
        if key not in taken:
            taken[key] = path, is_file
            continue
        other, other_is_file = taken[key]
        if is_file or other_is_file or path != other:
            return f"has the name of another member, {other!r}"
    return None


# ---------------------------------------------------------------- progress

class ProgressLine:
    """Prints the progress of a download: a line that moves on a terminal, else one plain line."""

    def __init__(self, name, stream=None):
        self.name = name
        self.stream = sys.stdout if stream is None else stream
        self.moving = self.stream.isatty()
        self.start = None  # (time, bytes) of the first call
        self.next_time = 0.0
        self.shown = ""

    def __call__(self, done, total):
        """Tell that `done` of `total` bytes are there; total may be None."""
        now = time.monotonic()
        if self.start is None:
            self.start = now, done
            if not self.moving:
                size = "" if total is None else f" ({total / 1e6:.1f} MB)"
                print(f"downloading {self.name}{size}", file=self.stream, flush=True)
        if self.moving and (now >= self.next_time or done == total):
            self.next_time = now + 0.2
            self._show(self._text(now, done, total))

    def _text(self, now, done, total):
        if total is None:
            return f"{self.name}: {done / 1e6:.1f} MB"
        text = f"{self.name}: {done / 1e6:.1f} of {total / 1e6:.1f} MB, {done / max(total, 1):.0%}"
        start_time, start_bytes = self.start
        if start_bytes < done < total:
            left = (now - start_time) * (total - done) / (done - start_bytes)
            text += f", {left / 60:.0f} min left" if left >= 120 else f", {left:.0f} s left"
        return text

    def _show(self, text):
        print("\r" + text.ljust(len(self.shown)), end="", file=self.stream, flush=True)
        self.shown = text

    def close(self):
        """End the moving line."""
        if self.shown:
            print(file=self.stream, flush=True)


@contextlib.contextmanager
def _reporting(progress, path):
    """The function to call with (done, total)."""
    if progress is True:
        with contextlib.closing(ProgressLine(os.path.basename(path))) as line:
            yield line
    else:
        yield progress or (lambda done, total: None)
