"""The downloader against a small server that misbehaves on request, and zip files with traps."""
import contextlib
import errno
import hashlib
import http.server
import inspect
import io
import os
import pathlib
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile

import pytest

import data.download
from data.download import (DataError, DownloadError, NetworkUnreachable, ProgressLine, download,
                           unpack_zip)

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONTENT = bytes(range(256)) * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"
LIMIT_SECONDS = 30  # of a test, many times what any of them takes


class Server(http.server.ThreadingHTTPServer):
    """Answers GET /NAME by calling pages[NAME](handler); `asked` lists (NAME, Range header)."""
    daemon_threads = False  # so that server_close waits for the handlers

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages = {}
        self.asked = []
        self.closing = threading.Event()

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, request, client_address):
        """A client that hung up is what many tests are about."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.lstrip("/")
        self.server.asked.append((name, self.headers["Range"]))
        page = self.server.pages.get(name)
        if page is None:
            self.send_error(404)
        else:
            page(self)

    def log_message(self, *args):
        """Keep quiet."""

    def start(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


def chunk(content):
    return b"%x\r\n%b\r\n" % (len(content), content)


def chunked(*pieces, ending=b"0\r\n\r\n"):
    """A page sent in chunks; pieces without bytes (or another ending) make it a broken one."""
    def page(handler):
        handler.start(Transfer_Encoding="chunked")
        for piece in pieces:
            handler.wfile.write(chunk(piece))
        handler.wfile.write(ending)
    return page


def whole(content=CONTENT, **headers):
    """A page that ignores Range."""
    def page(handler):
        handler.start(**{"Content_Length": len(content), **headers})
        handler.wfile.write(content)
    return page


def ranged(content=CONTENT, breaks_at=()):
    """A page that honours Range; each position in breaks_at breaks one answer off there."""
    breaks = list(breaks_at)

    def page(handler):
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
        start = int(asked[1]) if asked else 0
        stop = breaks.pop(0) if breaks else len(content)
        if start >= len(content):
            handler.start(416, Content_Range=f"bytes */{len(content)}")
            return
        if asked:
            handler.start(206, Content_Length=len(content) - start,
                          Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            handler.start(Content_Length=len(content))
        handler.wfile.write(content[start:stop])
    return page


def redirect(url):
    return lambda handler: handler.start(302, Location=url)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    threads = set(threading.enumerate())
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()
    assert_threads_end(threads)


def assert_threads_end(before):
    """No thread beside those in `before` runs on."""
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=2)
        assert not thread.is_alive(), thread


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr("data.download.PAUSES", (0.01, 0.02))


@pytest.fixture(autouse=True)
def time_limit():
    """A download that never ends fails its test instead of holding up the others."""
    if not hasattr(signal, "SIGALRM"):  # Windows
        yield
        return

    def too_long(*args):
        pytest.fail(f"still running after {LIMIT_SECONDS} seconds")
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def assert_only(folder, *names):
    """The folder holds these names and no leftover."""
    assert sorted(os.listdir(folder)) == sorted(names)


# ---------------------------------------------------------------- good downloads

@pytest.mark.parametrize("check", [{}, {"md5": MD5}, {"sha256": SHA256.upper()},
                                   {"md5": MD5, "sha256": SHA256, "size": len(CONTENT)}])
def test_a_file_is_downloaded_into_a_new_folder(server, tmp_path, check):
    server.pages["f"] = whole()
    path = tmp_path / "new" / "folder" / "f"
    assert download(server.url("f"), path, **check) == server.url("f")
    assert path.read_bytes() == CONTENT
    assert_only(path.parent, "f")


def test_a_whole_file_is_not_downloaded_again(server, tmp_path):
    (tmp_path / "f").write_bytes(CONTENT)
    assert download(server.url("f"), tmp_path / "f", sha256=SHA256) is None
    assert server.asked == []


def test_a_wrong_file_in_its_place_is_replaced(server, tmp_path):
    server.pages["f"] = whole()
    (tmp_path / "f").write_bytes(b"something else")
    download(server.url("f"), tmp_path / "f", sha256=SHA256)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_file_whose_length_nobody_tells(server, tmp_path):
    def page(handler):
        handler.start()
        handler.wfile.write(CONTENT)
    server.pages["f"] = page
    download(server.url("f"), tmp_path / "f", md5=MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_file_in_chunks(server, tmp_path):
    server.pages["f"] = chunked(CONTENT[:1000], CONTENT[1000:])
    download(server.url("f"), tmp_path / "f", md5=MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_an_empty_file(server, tmp_path):
    server.pages["f"] = whole(b"")
    download(server.url("f"), tmp_path / "f", size=0)
    assert (tmp_path / "f").read_bytes() == b""


def test_redirects_are_followed(server, tmp_path):
    server.pages["f"] = whole()
    server.pages["old"] = redirect(server.url("f"))
    download(server.url("old"), tmp_path / "f", md5=MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["file:///etc/hosts", "ftp://127.0.0.1/f"])
def test_redirects_lead_to_web_addresses_only(server, tmp_path, url):
    server.pages["f"] = redirect(url)
    with pytest.raises(DownloadError, match="redirect"):
        download(server.url("f"), tmp_path / "f")
    assert_only(tmp_path)


def test_a_redirect_without_end_is_left(server, tmp_path):
    server.pages["f"] = redirect(server.url("f"))
    with pytest.raises(DownloadError, match="infinite loop") as caught:
        download(server.url("f"), tmp_path / "f")
    assert "\n" not in str(caught.value)


def test_404_on_the_first_mirror_then_the_next(server, tmp_path):
    server.pages["good"] = whole()
    urls = [server.url("gone"), server.url("good")]
    assert download(urls, tmp_path / "f", md5=MD5) == server.url("good")
    assert server.asked == [("gone", None), ("good", None)]


def test_a_server_in_trouble_is_asked_again(server, tmp_path):
    answers = [lambda handler: handler.send_error(503), whole()]
    server.pages["f"] = lambda handler: answers.pop(0)(handler)
    download(server.url("f"), tmp_path / "f", md5=MD5)
    assert len(server.asked) == 2


# ---------------------------------------------------------------- resuming

def test_a_broken_download_is_resumed_where_it_broke(server, tmp_path):
    server.pages["f"] = ranged(breaks_at=[100_000, 150_000])
    download(server.url("f"), tmp_path / "f", sha256=SHA256)
    assert server.asked == [("f", None), ("f", "bytes=100000-"), ("f", "bytes=150000-")]
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert_only(tmp_path, "f")


def test_the_next_run_resumes(server, tmp_path):
    server.pages["f"] = ranged(breaks_at=[1000] * 3)
    with pytest.raises(DownloadError, match="broke after 1,000 of 256,000 bytes"):
        download(server.url("f"), tmp_path / "f", sha256=SHA256)
    assert_only(tmp_path, "f.part")
    server.asked.clear()
    download(server.url("f"), tmp_path / "f", sha256=SHA256)
    assert server.asked == [("f", "bytes=1000-")]
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert_only(tmp_path, "f")


def test_another_mirror_resumes(server, tmp_path):
    server.pages.update(bad=ranged(breaks_at=[5000]), good=ranged())
    download([server.url("bad"), server.url("good")], tmp_path / "f", sha256=SHA256)
    assert server.asked == [("bad", None), ("good", "bytes=5000-")]
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_server_that_cannot_resume_sends_all(server, tmp_path):
    server.pages["f"] = whole()
    (tmp_path / "f.part").write_bytes(CONTENT[:1000])
    download(server.url("f"), tmp_path / "f", sha256=SHA256)
    assert server.asked == [("f", "bytes=1000-")]
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"another version", b"x" * len(CONTENT), b"x" * 300_000])
def test_what_is_left_of_another_version_is_thrown_away(server, tmp_path, left):
    server.pages["f"] = ranged()
    (tmp_path / "f.part").write_bytes(left)
    download(server.url("f"), tmp_path / "f", sha256=SHA256)
    assert server.asked == [("f", f"bytes={len(left)}-"), ("f", None)]
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize("size, requests", [(None, 1), (len(CONTENT), 0)])
def test_a_part_that_is_whole_already_is_taken(server, tmp_path, size, requests):
    server.pages["f"] = ranged()
    (tmp_path / "f.part").write_bytes(CONTENT)
    download(server.url("f"), tmp_path / "f", sha256=SHA256, size=size)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert len(server.asked) == requests


def test_without_a_checksum_nothing_is_resumed(server, tmp_path):
    server.pages["f"] = ranged(breaks_at=[1000])
    (tmp_path / "f.part").write_bytes(b"another version")
    download(server.url("f"), tmp_path / "f")
    assert [range_ for _, range_ in server.asked] == [None, None]
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_an_answer_for_another_range_is_not_spliced_in(server, tmp_path):
    def page(handler):
        handler.start(206, Content_Length=10, Content_Range=f"bytes 5-14/{len(CONTENT)}")
        handler.wfile.write(CONTENT[5:15])
    server.pages.update(bad=page, good=ranged())
    (tmp_path / "f.part").write_bytes(CONTENT[:1000])
    download([server.url("bad"), server.url("good")], tmp_path / "f", sha256=SHA256)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_progress_earns_more_attempts(server, tmp_path, monkeypatch):
    monkeypatch.setattr("data.download.ROUND_WELL_SPENT", 10_000)
    server.pages["f"] = ranged(breaks_at=range(10_000, 110_000, 10_000))
    download(server.url("f"), tmp_path / "f", sha256=SHA256)
    assert len(server.asked) == 11


# ---------------------------------------------------------------- bad answers

@pytest.mark.parametrize("page, check, message", [
    (whole(CONTENT[::-1]), {"md5": MD5}, "md5 .* instead of " + MD5),
    (whole(CONTENT[::-1]), {"sha256": SHA256}, "sha256 .* instead of " + SHA256),
    (whole(CONTENT[1:]), {"size": len(CONTENT)}, "offers 255,999 bytes instead of 256,000"),
    (whole(HTML, Content_Type="text/html"), {}, "web page"),
    (whole(HTML, Content_Type="text/html"), {"size": len(CONTENT)}, "web page"),
    (whole(HTML), {"sha256": SHA256}, "web page"),
    (whole(), {"max_bytes": 1000}, "more than the allowed 1,000"),
    (lambda handler: handler.start(204), {}, "HTTP 204"),
    (lambda handler: handler.send_error(403), {}, "HTTP 403 Forbidden"),
    (lambda handler: handler.send_error(403, "\x1b[2J" + 10_000 * "x"), {},
     r"HTTP 403 \[2Jx{100,200}\)"),
    (redirect("http://[bad/"), {}, "bad address .*Invalid IPv6"),
    (redirect(f"http://{70 * 'a'}.example/"), {}, "bad address .*too long"),
    (redirect("http://login..example/"), {}, "bad address .*label empty"),
    (redirect("http://\u00e4.example/"), {}, "bad address .*can't encode"),
    (redirect("http://127.0.0.1:port/"), {}, "bad address .*nonnumeric port"),
    (whole(Content_Length=5000 * "9"), {}, "size of 5,000 digits"),
    (lambda handler: handler.start(206, Content_Range=f"bytes 0-9/{5000 * '9'}"), {},
     "size of 5,000 digits"),
    (whole(Content_Encoding="gzip"), {}, "encoded as gzip"),
    (whole(Content_Encoding="gzip"), {"size": len(CONTENT)}, "encoded as gzip"),
])
def test_a_wrong_answer_is_refused_and_leaves_nothing(server, tmp_path, page, check, message):
    server.pages["f"] = page
    with pytest.raises(DownloadError, match=message) as caught:
        download(server.url("f"), tmp_path / "f", **check)
    text = str(caught.value)
    assert text.isprintable() and len(text) < 1000
    assert server.url("f") in text and str(tmp_path / "f") in text
    assert not isinstance(caught.value, NetworkUnreachable)
    assert len(server.asked) == 1, "asking again cannot help"
    assert_only(tmp_path)


def test_a_file_is_asked_for_as_it_is(server, tmp_path):
    encodings = []

    def page(handler):
        encodings.append(handler.headers["Accept-Encoding"])
        whole(Content_Encoding="identity")(handler)
    server.pages["f"] = page
    download(server.url("f"), tmp_path / "f")
    assert encodings == ["identity"] and (tmp_path / "f").read_bytes() == CONTENT


def test_an_encoding_that_is_only_said_does_no_harm_to_a_file_with_a_checksum(server, tmp_path):
    server.pages["f"] = whole(Content_Encoding="x-gzip")
    download(server.url("f"), tmp_path / "f", sha256=SHA256)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_redirect_to_nonsense_on_the_first_mirror_then_the_next(server, tmp_path):
    server.pages.update(bad=redirect("http://login..example/"), good=whole())
    assert download([server.url("bad"), server.url("good")], tmp_path / "f") == server.url("good")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_web_page_with_the_right_checksum_is_the_file(server, tmp_path):
    server.pages["f"] = whole(HTML, Content_Type="text/html")
    download(server.url("f"), tmp_path / "f", sha256=hashlib.sha256(HTML).hexdigest())
    assert (tmp_path / "f").read_bytes() == HTML


@pytest.mark.parametrize("limit", [{"size": 100_000}, {"max_bytes": 100_000}])
def test_an_endless_answer_is_cut_off(server, tmp_path, limit):
    def page(handler):
        handler.start()
        while not handler.server.closing.is_set():
            handler.wfile.write(CONTENT)
    server.pages["f"] = page
    with pytest.raises(DownloadError, match="more than 100,000 bytes"):
        download(server.url("f"), tmp_path / "f", **limit)
    assert_only(tmp_path)


def drip(handler):
    """A byte now and then, for ever."""
    handler.start(Content_Length=len(CONTENT))
    while not handler.server.closing.wait(0.05):
        handler.wfile.write(b"x")


def drip_head(handler):
    """A header line now and then, for ever."""
    handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
    while not handler.server.closing.wait(0.05):
        handler.wfile.write(b"X-Drip: x\r\n")


def silence(handler):
    """A head and no body."""
    handler.start(Content_Length=len(CONTENT))
    handler.server.closing.wait(10)


def endless(start, more, pause):
    """A chunked page that begins with start and goes on with more for ever."""
    def page(handler):
        chunked(ending=start)(handler)
        while not handler.server.closing.wait(pause):
            handler.wfile.write(more)
    return page


@pytest.mark.parametrize("page, message", [
    pytest.param(drip, "too slow: [1-9] bytes in 0.4 seconds", id="body"),
    pytest.param(silence, "too slow", id="silence"),
    pytest.param(drip_head, "no answer within", id="head"),
    pytest.param(endless(b"5;", b"x", 0.05), "too slow", id="head of a chunk"),
    pytest.param(endless(chunk(CONTENT) + b"0\r\n", b"x", 0.05), "too slow", id="trailer"),
    pytest.param(endless(chunk(CONTENT) + b"0\r\n", b"X: y\r\n", 0.001), "too slow",
                 id="trailers")])
def test_a_drip_is_dropped_for_the_next_mirror(server, tmp_path, page, message):
    server.pages.update(slow=page, good=whole())
    limits = {"connect_seconds": 0.8, "stall_seconds": 0.4}
    start = time.monotonic()
    assert download([server.url("slow"), server.url("good")], tmp_path / "f", **limits) \
        == server.url("good")
    with pytest.raises(DownloadError, match=message):
        download(server.url("slow"), tmp_path / "g", **limits)
    assert time.monotonic() - start < 4
    server.closing.set()


@pytest.mark.parametrize("status", [200, 404])
def test_an_answer_that_comes_too_late_is_closed(server, tmp_path, monkeypatch, status):
    """Even if somebody keeps it, as a debugger or another Python's memory management does."""
    given_up = threading.Event()
    kept = []
    open_address = urllib.request.OpenerDirector.open

    def open_and_keep(*args, **options):
        try:
            kept.append(open_address(*args, **options))
        except urllib.error.HTTPError as error:
            kept.append(error)
            raise
        return kept[-1]

    def page(handler):
        given_up.wait(10)
        handler.start(status, Content_Length=len(CONTENT))
        handler.server.closing.wait(10)
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", open_and_keep)
    server.pages["f"] = page
    with pytest.raises(NetworkUnreachable, match="no answer within"):
        download(server.url("f"), tmp_path / "f", connect_seconds=0.2)
    assert kept == []
    given_up.set()
    wait_until(lambda: kept and kept[0].closed)
    server.closing.set()


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="urls expects at least one"):
        download([], tmp_path / "f")
    with pytest.raises(ValueError, match="http or https"):
        download("file:///etc/hosts", tmp_path / "f")


# ---------------------------------------------------------------- no network

def closed_port():
    """The number of a port where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_closed_port_is_unreachable(server, tmp_path):
    urls = [f"http://127.0.0.1:{closed_port()}/f" for _ in range(2)]
    start = time.monotonic()
    with pytest.raises(NetworkUnreachable, match="refused.*refused.*by hand") as caught:
        download(urls, tmp_path / "new" / "f", md5=MD5)
    assert time.monotonic() - start < 2
    assert str(tmp_path / "new" / "f") in str(caught.value)
    assert_only(tmp_path)


def test_a_closed_port_on_the_first_mirror_then_the_next(server, tmp_path):
    server.pages["f"] = whole()
    download([f"http://127.0.0.1:{closed_port()}/f", server.url("f")], tmp_path / "f", md5=MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_mirror_that_answered_but_cannot_help_is_no_missing_network(server, tmp_path):
    with pytest.raises(DownloadError, match="404.*refused") as caught:
        download([server.url("gone"), f"http://127.0.0.1:{closed_port()}/f"], tmp_path / "f")
    assert not isinstance(caught.value, NetworkUnreachable)


@pytest.fixture
def hanging_dns(monkeypatch):
    """Name resolution that does not come back."""
    threads = set(threading.enumerate())
    over = threading.Event()

    def getaddrinfo(*args, **kwargs):
        over.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    over.set()
    assert_threads_end(threads)


def test_hanging_name_resolution_costs_the_connect_limit_in_all(hanging_dns, tmp_path):
    start = time.monotonic()
    with pytest.raises(NetworkUnreachable, match="no answer within 0.3 seconds"):
        download([f"https://mirror{i}.example/f" for i in range(3)], tmp_path / "f",
                 connect_seconds=0.9)
    assert 0.8 < time.monotonic() - start < 1.9
    assert_only(tmp_path)


def test_the_connect_limit_is_below_ten_seconds():
    assert inspect.signature(download).parameters["connect_seconds"].default <= 9


# ---------------------------------------------------------------- several processes

def start_download(url, path, **options):
    code = (f"from data.download import download\n"
            f"download({url!r}, {str(path)!r}, sha256={SHA256!r}, **{options!r})")
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE,
                            text=True)


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_two_processes_at_once_do_not_disturb_each_other(server, tmp_path):
    both_half_done = threading.Barrier(2, timeout=20)

    def page(handler):
        handler.start(Content_Length=len(CONTENT))
        for start in range(0, len(CONTENT), 10_000):
            handler.wfile.write(CONTENT[start:start + 10_000])
            if start == 120_000:
                both_half_done.wait()
    server.pages["f"] = page
    processes = [start_download(server.url("f"), tmp_path / "f") for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
    assert server.asked == [("f", None)] * 2
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert_only(tmp_path, "f")


def test_what_a_killed_process_left_is_resumed_and_cleared_away(server, tmp_path):
    def stops_half_way(handler):
        handler.start(Content_Length=len(CONTENT))
        handler.wfile.write(CONTENT[:100_000])
        handler.server.closing.wait(20)
    server.pages.update(stops=stops_half_way, f=ranged())
    parts = [tmp_path / "f.part", tmp_path / "f.2.part"]
    processes = []
    for part in parts:
        processes.append(start_download(server.url("stops"), tmp_path / "f"))
        wait_until(lambda part=part: part.exists() and part.stat().st_size == 100_000)
    for process in processes:
        process.kill()
        process.communicate()
    server.closing.set()
    (tmp_path / "f.txt.part").write_bytes(b"of another file")
    download(server.url("f"), tmp_path / "f", sha256=SHA256)
    assert server.asked[-1] == ("f", "bytes=100000-")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert_only(tmp_path, "f", "f.txt.part")


@pytest.fixture
def before_the_lock(monkeypatch):
    """What another process does between the opening of a file and its lock: {name: function}."""
    pytest.importorskip("fcntl")
    lock, actions = data.download._lock, {}

    def late_lock(file):
        name = os.path.basename(str(file.name))
        if name in actions:
            actions.pop(name)()
        return lock(file)
    monkeypatch.setattr(data.download, "_lock", late_lock)
    return actions


def test_a_part_file_that_its_owner_has_just_finished_is_not_written(server, tmp_path,
                                                                     before_the_lock):
    server.pages["f"] = whole()
    before_the_lock["f.part"] = lambda: os.replace(tmp_path / "f.part", tmp_path / "f")
    download(server.url("f"), tmp_path / "f", sha256=SHA256)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert_only(tmp_path, "f")


def test_a_part_file_that_another_process_has_just_begun_is_not_cleared_away(
        server, tmp_path, before_the_lock):
    begun = tmp_path / "f.2.part"

    def begin():
        os.remove(begun)
        begun.write_bytes(b"just begun")
    begun.write_bytes(b"left behind")
    server.pages["f"] = whole()
    before_the_lock[begun.name] = begin
    download(server.url("f"), tmp_path / "f", sha256=SHA256)
    assert begun.read_bytes() == b"just begun"


@pytest.fixture(params=["Windows", "a drive without locks"])
def no_locks(request, monkeypatch):
    if request.param == "Windows":
        monkeypatch.setattr("data.download.fcntl", None)
        return
    fcntl = pytest.importorskip("fcntl")

    def flock(*args):
        raise OSError(errno.ENOLCK, "No locks available")
    monkeypatch.setattr(fcntl, "flock", flock)


def test_without_locks_a_process_writes_a_file_of_its_own(no_locks, server, tmp_path):
    server.pages["f"] = ranged(breaks_at=[1000])
    (tmp_path / "f.part").write_bytes(b"perhaps being written")
    download(server.url("f"), tmp_path / "f", sha256=SHA256)
    assert server.asked == [("f", None), ("f", "bytes=1000-")]
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert_only(tmp_path, "f", "f.part")


def test_without_locks_a_process_unpacks_into_a_folder_of_its_own(no_locks, tmp_path):
    path = make_zip(tmp_path / "z.zip", *GOOD)
    (tmp_path / "out.123.unpacking").mkdir()
    assert unpack_zip(path, tmp_path / "out") is True
    assert unpack_zip(path, tmp_path / "out") is False
    assert_only(tmp_path, "out", "out.123.unpacking", "z.zip")


def test_without_locks_the_process_that_unpacks_first_wins(no_locks, tmp_path, monkeypatch):
    path = make_zip(tmp_path / "z.zip", *GOOD)
    unpack = data.download._unpack

    def overtaken(*args):
        unpack(*args)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").write_bytes(b"")
    monkeypatch.setattr(data.download, "_unpack", overtaken)
    assert unpack_zip(path, tmp_path / "out") is False
    assert_only(tmp_path, "out", "z.zip")
    assert_only(tmp_path / "out", "theirs")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_an_interrupted_process_keeps_what_it_has(server, tmp_path):
    def stops_half_way(handler):
        handler.start(Content_Length=len(CONTENT))
        handler.wfile.write(CONTENT[:100_000])
        handler.server.closing.wait(20)
    server.pages["f"] = stops_half_way
    process = start_download(server.url("f"), tmp_path / "f")
    part = tmp_path / "f.part"
    wait_until(lambda: part.exists() and part.stat().st_size == 100_000)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert part.read_bytes() == CONTENT[:100_000]
    server.closing.set()


# ---------------------------------------------------------------- the disk

def test_the_bytes_are_on_the_disk_before_the_name(server, tmp_path, monkeypatch):
    """What a power failure leaves cannot be tried out: this holds the order of the calls."""
    pytest.importorskip("fcntl", reason="Windows synchronises no folder")
    fsync, replace, calls = os.fsync, os.replace, []

    def recorded_fsync(descriptor):
        calls.append(("fsync", os.fstat(descriptor).st_ino, os.path.exists(tmp_path / "f")))
        fsync(descriptor)

    def recorded_replace(source, target):
        calls.append(("replace", os.stat(source).st_ino, os.path.getsize(source)))
        replace(source, target)
    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    server.pages["f"] = whole()
    download(server.url("f"), tmp_path / "f")
    file, folder = (tmp_path / "f").stat().st_ino, tmp_path.stat().st_ino
    assert calls == [("fsync", file, False), ("replace", file, len(CONTENT)),
                     ("fsync", folder, True)]


def test_a_file_in_the_place_of_the_folder(server, tmp_path):
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot store .*folder.*f: ") as caught:
        download(server.url("f"), tmp_path / "folder" / "f")
    assert str(tmp_path / "folder" / "f") in str(caught.value)
    assert server.asked == []


def test_a_read_only_folder(server, tmp_path):
    tmp_path.chmod(0o555)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write into a read-only folder")
        with pytest.raises(DownloadError, match="Permission denied") as caught:
            download(server.url("f"), tmp_path / "f")
        assert str(tmp_path / "f") in str(caught.value)
    finally:
        tmp_path.chmod(0o755)


@contextlib.contextmanager
def full_disk(limit):
    """Files cannot grow beyond limit bytes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("check, left", [({}, []), ({"md5": MD5}, ["f.part"])])
def test_a_full_disk(server, tmp_path, check, left):
    server.pages["f"] = whole()
    with full_disk(100_000), pytest.raises(DownloadError, match="cannot store .*f: ") as caught:
        download(server.url("f"), tmp_path / "f", **check)
    assert not isinstance(caught.value, NetworkUnreachable)
    assert_only(tmp_path, *left)
    assert len(server.asked) == 1


# ---------------------------------------------------------------- progress

def test_progress_goes_to_a_function(server, tmp_path):
    server.pages["f"] = ranged(breaks_at=[100_000])
    calls = []
    download(server.url("f"), tmp_path / "f", md5=MD5,
             progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (0, len(CONTENT)) and calls[-1] == (len(CONTENT), len(CONTENT))
    assert calls == sorted(calls)


def test_without_progress_nothing_is_printed(server, tmp_path, capfd):
    server.pages["f"] = whole()
    download(server.url("f"), tmp_path / "f")
    assert capfd.readouterr() == ("", "")


def test_progress_off_a_terminal_is_one_plain_line(server, tmp_path, capfd):
    server.pages["f"] = ranged(breaks_at=[100_000])
    download(server.url("f"), tmp_path / "f", md5=MD5, progress=True)
    assert capfd.readouterr() == ("downloading f (0.3 MB)\n", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_one_moving_line(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("data.download.time.monotonic", lambda: now[0])
    stream = Terminal()
    line = ProgressLine("f", stream)
    for done in (0, 1_000_000, 10_000_000):
        line(done, 10_000_000)
        now[0] += 1
    line.close()
    first, second = "f: 0.0 of 10.0 MB, 0%", "f: 1.0 of 10.0 MB, 10%, 9 s left"
    last = "f: 10.0 of 10.0 MB, 100%".ljust(len(second))  # covers what stood there
    assert stream.getvalue() == f"\r{first}\r{second}\r{last}\n"


def test_progress_of_unknown_length():
    stream = Terminal()
    line = ProgressLine("f", stream)
    line(1_500_000, None)
    line.close()
    assert stream.getvalue() == "\rf: 1.5 MB\n"


# ---------------------------------------------------------------- unpacking

def make_zip(path, *members, compression=zipfile.ZIP_DEFLATED):
    """A zip file of (name or ZipInfo, content) pairs."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def tree(folder):
    """{relative path: content} of all files below folder."""
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}


GOOD = [("pets/", b""), ("pets/cats/a.txt", b"A"), ("pets/cats/b.txt", b"B" * 1000),
        ("pets/dogs/a.txt", b"C"), ("pets/empty/", b""), ("notes.txt", b"D")]


def test_a_good_zip(tmp_path):
    path = make_zip(tmp_path / "z.zip", *GOOD)
    assert unpack_zip(path, tmp_path / "new" / "out") is True
    assert tree(tmp_path / "new" / "out") == {name: content for name, content in GOOD if content}
    assert (tmp_path / "new" / "out" / "pets" / "empty").is_dir()
    assert_only(tmp_path, "new", "z.zip")
    assert_only(tmp_path / "new", "out")


def test_the_top_folder_of_a_zip(tmp_path):
    path = make_zip(tmp_path / "z.zip", *GOOD)
    unpack_zip(path, tmp_path / "out", top="pets")
    assert list(tree(tmp_path / "out")) == ["cats/a.txt", "cats/b.txt", "dogs/a.txt"]
    with pytest.raises(DataError, match="holds no folder plants"):
        unpack_zip(path, tmp_path / "other", top="plants")
    assert_only(tmp_path, "out", "z.zip")


def test_a_folder_with_content_is_left_alone_and_an_empty_one_is_filled(tmp_path):
    path = make_zip(tmp_path / "z.zip", *GOOD)
    (tmp_path / "out").mkdir()
    assert unpack_zip(path, tmp_path / "out", top="pets") is True
    (tmp_path / "out" / "cats" / "a.txt").write_bytes(b"mine")
    assert unpack_zip(path, tmp_path / "out", top="pets") is False
    assert (tmp_path / "out" / "cats" / "a.txt").read_bytes() == b"mine"


def special(name, mode=0, **fields):
    info = zipfile.ZipInfo("placeholder")
    info.filename = name  # the constructor would mend it
    info.external_attr = mode << 16
    for field, value in fields.items():
        setattr(info, field, value)
    return info


@pytest.mark.parametrize("members, message", [
    ([("/tmp/evil", b"x")], "absolute path"),
    ([("../evil", b"x")], "leads out"),
    ([("a/../../evil", b"x")], "leads out"),
    ([("a/..", b"x")], "leads out"),
    ([(special("C:\\evil"), b"x")], "not every system"),
    ([(special("C:evil"), b"x")], "not every system"),
    ([(special("..\\evil"), b"x")], "not every system"),
    ([(special("a\nb"), b"x")], "not every system"),
    ([(special("a//b"), b"x")], "not every system"),
    ([(special("./a"), b"x")], "not every system"),
    ([(special("link", stat.S_IFLNK | 0o777), b"/etc/hosts")], "is a link"),
    ([(special("pipe", stat.S_IFIFO | 0o666), b"")], "is a link or a device"),
    ([("a", b"1"), (special("a"), b"2")], "name of another member, 'a'"),
    ([("a.txt", b"1"), ("A.TXT", b"2")], "name of another member, 'a.txt'"),
    ([("a/x", b"1"), ("A/y", b"2")], "name of another member, 'a'"),
    ([("a", b"1"), ("a/b", b"2")], "name of another member, 'a'"),
    ([("a/b", b"1"), ("a", b"2")], "name of another member, 'a'"),
    ([("\u00e9", b"1"), ("e\u0301", b"2")], "name of another member"),
    ([("a", bytes(1001))], "unpacks to 1,001 bytes, more than the allowed 1,000"),
    ([("a", bytes(600)), ("b", bytes(600))], "unpacks to 1,200 bytes"),
    ([(str(i), b"") for i in range(10)], "11 members, more than the allowed 10"),
    ([(special("a", compress_type=zipfile.ZIP_BZIP2), b"x")], "unusual"),
    ([(101 * "d/" + "f", b"x")], "lies 101 folders deep, more than the allowed 100"),
    ([(1500 * "d/" + "f", b"x")], "lies 1,500 folders deep"),
    ([(1500 * "d/", b"")], "lies 1,499 folders deep"),
])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_a_trap_is_refused_before_anything_is_written(tmp_path, members, message):
    path = make_zip(tmp_path / "z.zip", ("good", b""), *members)
    with pytest.raises(DataError, match=message) as caught:
        unpack_zip(path, tmp_path / "out", max_bytes=1000, max_members=10)
    assert str(path) in str(caught.value) and str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    assert_only(tmp_path, "z.zip")


def test_a_member_as_deep_as_is_allowed(tmp_path):
    name = 100 * "d/" + "f"
    unpack_zip(make_zip(tmp_path / "z.zip", (name, b"x")), tmp_path / "out")
    assert (tmp_path / "out" / name).read_bytes() == b"x"


def test_an_encrypted_member_is_refused(tmp_path):
    path = make_zip(tmp_path / "z.zip", ("a", b"x"))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="encrypted"):
        unpack_zip(path, tmp_path / "out")


def test_a_bomb_that_lies_about_its_size_writes_no_more_than_it_declared(tmp_path):
    path = make_zip(tmp_path / "z.zip", ("a", bytes(10_000_000)))
    content = path.read_bytes()
    central = content.index(b"PK\x01\x02")
    path.write_bytes(content[:central + 24] + (500).to_bytes(4, "little")
                     + content[central + 28:])
    with full_disk(100_000), pytest.raises(DataError, match="damaged"):
        unpack_zip(path, tmp_path / "out", max_bytes=1000)
    assert_only(tmp_path, "z.zip")


@pytest.mark.parametrize("damage", [
    lambda content: b"", lambda content: HTML, lambda content: content[:-30],
    lambda content: content[:60] + b"\xff" * 20 + content[80:],
    lambda content: content[:-6] + (2**32 - 2).to_bytes(4, "little") + content[-2:]])
def test_a_damaged_zip(tmp_path, damage):
    path = make_zip(tmp_path / "z.zip", ("a", os.urandom(1000)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="is damaged .*delete it"):
        unpack_zip(path, tmp_path / "out")
    assert_only(tmp_path, "z.zip")


@pytest.mark.parametrize("error", [struct.error("?"), OverflowError("?"), ValueError("?")])
def test_a_zip_whose_numbers_zipfile_cannot_use_is_damaged(tmp_path, monkeypatch, error):
    """Which numbers those are differs from one Python to the next."""
    def open_member(*args):
        raise error
    path = make_zip(tmp_path / "z.zip", ("a", b"x"))
    monkeypatch.setattr(zipfile.ZipFile, "open", open_member)
    with pytest.raises(DataError, match="is damaged .*delete it"):
        unpack_zip(path, tmp_path / "out")


def test_a_name_that_the_disk_refuses_is_no_damage(tmp_path, monkeypatch):
    def mkdir(folder, *args):
        raise OSError(errno.EINVAL, "Invalid argument", folder)
    path = make_zip(tmp_path / "z.zip", ("a", b"x"))
    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(DownloadError, match="cannot unpack .*Invalid argument .*unpacking"):
        unpack_zip(path, tmp_path / "out")


def test_a_missing_zip(tmp_path):
    with pytest.raises(DownloadError, match="cannot unpack .*z.zip.*No such file"):
        unpack_zip(tmp_path / "z.zip", tmp_path / "out")
    assert_only(tmp_path)


def test_unpacking_onto_a_full_disk(tmp_path):
    path = make_zip(tmp_path / "z.zip", ("a", b"x"), ("big", bytes(200_000)))
    with full_disk(100_000), pytest.raises(DownloadError, match="cannot unpack .*out: File too"):
        unpack_zip(path, tmp_path / "out")
    assert_only(tmp_path, "z.zip")


def test_what_a_killed_process_left_half_unpacked_is_cleared_away(tmp_path):
    path = make_zip(tmp_path / "z.zip", *GOOD)
    (tmp_path / "out.123.unpacking" / "pets").mkdir(parents=True)
    (tmp_path / "outer.123.unpacking").mkdir()
    unpack_zip(path, tmp_path / "out")
    assert_only(tmp_path, "out", "outer.123.unpacking", "z.zip")


def test_two_processes_unpack_at_once(tmp_path):
    path = make_zip(tmp_path / "z.zip", *[(f"{i}.txt", bytes(1000)) for i in range(200)])
    code = (f"from data.download import unpack_zip\n"
            f"print(unpack_zip({str(path)!r}, {str(tmp_path / 'out')!r}))")
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True,
                                  stdout=subprocess.PIPE) for _ in range(2)]
    results = [process.communicate(timeout=30)[0].strip() for process in processes]
    assert sorted(results) == ["False", "True"]
    assert len(os.listdir(tmp_path / "out")) == 200
    assert_only(tmp_path, "out", "z.zip")
