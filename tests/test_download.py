"""The downloader against a small server that misbehaves on request, and zip files with traps."""
import contextlib
import hashlib
import http.server
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import zipfile

import pytest

import data.download
from data.download import DataError, DownloadError, download, unpack_zip

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONTENT = bytes(range(256)) * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"

# The key and the certificate of a server at 127.0.0.1 that nobody trusts, good until 2120. The key
# is no secret: it is used in the test below alone.
UNTRUSTED = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgsL/oj8z234mDy8WI
UIIB0P+u0CkcH++a5PbfcM1rn16hRANCAAQVCwGSS1HvtomzcOag9xzVlIJaiWFa
zBMP/v/I/Odt2n8pA0wuChS5Uw7pfLPTZFggPAbMixrjJ9mXfcHnDwsk
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBbDCCARKgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAkxMjcuMC4w
LjEwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CTEyNy4wLjAuMTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBULAZJLUe+2ibNw
5qD3HNWUglqJYVrMEw/+/8j8523afykDTC4KFLlTDul8s9NkWCA8BsyLGuMn2Zd9
wecPCySjUzBRMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgKEMB0GA1Ud
DgQWBBTI4+AB08qs0bA80jmeHZuRfphC+jAPBgNVHREECDAGhwR/AAABMAoGCCqG
SM49BAMCA0gAMEUCIQCRzOxKtyahshKCP5WScG9JEinNV1cqyGvA8E7FUIszMAIg
dA7VgsCFPSlUTMAFXvyukerYcds52QiaWDfSBpvypJg=
-----END CERTIFICATE-----
"""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET /NAME by calling server.pages[NAME](handler)."""

    def do_GET(self):
        name = self.path.lstrip("/")
        self.server.asked.append((name, self.headers["Range"]))
        self.server.pages.get(name, lambda handler: handler.send_error(404))(self)

    def log_message(self, *args):
        """Keep quiet."""

    def start(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


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
        if start >= len(content):
            handler.start(416)
            return
        handler.start(206 if asked else 200, Content_Length=len(content) - start)
        handler.wfile.write(content[start:breaks.pop(0) if breaks else len(content)])
    return page


def endless(handler):
    handler.start()
    while not handler.server.closing.is_set():
        handler.wfile.write(CONTENT)


@pytest.fixture
def server(monkeypatch):
    """A server of `pages`; `asked` lists (NAME, Range header)."""
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.pages, server.asked, server.closing = {}, [], threading.Event()
        server.handle_error = lambda *args: None    # many tests are about clients that hang up
        server.url = f"http://127.0.0.1:{server.server_port}/{{}}".format
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def hanging_dns(monkeypatch):
    """Name lookup that does not come back."""
    over = threading.Event()

    def getaddrinfo(*args, **kwargs):
        over.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    over.set()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(data.download, "PAUSES", (0, 0.01, 0.01, 0.01))


def assert_only(folder, *names):
    """The folder holds these names and no leftover."""
    assert sorted(os.listdir(folder)) == sorted(names)


# ---------------------------------------------------------------- whole files

def test_a_new_folder_and_the_second_mirror(server, tmp_path):
    server.pages["good"] = whole()
    path = tmp_path / "new" / "folder" / "f"
    urls = [server.url("gone"), server.url("good")]
    assert download(urls, path, md5=MD5) == server.url("good")
    assert server.asked == [("gone", None), ("good", None)]
    assert path.read_bytes() == CONTENT
    assert_only(path.parent, "f")


def test_a_right_file_is_not_downloaded_again_and_a_wrong_one_is_replaced(server, tmp_path):
    server.pages["f"] = whole()
    (tmp_path / "f").write_bytes(b"something else")
    download(server.url("f"), tmp_path / "f", md5=MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert download(server.url("f"), tmp_path / "f", md5=MD5) is None
    assert len(server.asked) == 1


def test_a_file_of_unknown_length(server, tmp_path):
    def page(handler):
        handler.start()
        handler.wfile.write(CONTENT)
    server.pages["f"] = page
    download(server.url("f"), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


# ---------------------------------------------------------------- cut transfers

def test_a_cut_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.pages["f"] = ranged(breaks_at=[100_000, 150_000])
    download(server.url("f"), tmp_path / "f", md5=MD5)
    assert server.asked == [("f", None), ("f", "bytes=100000-"), ("f", "bytes=150000-")]
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert_only(tmp_path, "f")


def test_the_next_run_goes_on(server, tmp_path):
    server.pages["f"] = ranged(breaks_at=[1000] * 4)
    with pytest.raises(DownloadError, match="cut after 1,000 of 256,000 bytes"):
        download(server.url("f"), tmp_path / "f", md5=MD5)
    assert_only(tmp_path, "f.part")
    download(server.url("f"), tmp_path / "f", md5=MD5)
    assert server.asked[-1] == ("f", "bytes=1000-") and len(server.asked) == 5
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert_only(tmp_path, "f")


def test_a_transfer_that_stands_still_counts_as_cut_and_another_mirror_goes_on(
        server, tmp_path, monkeypatch):
    monkeypatch.setattr(data.download, "STALL_SECONDS", 0.1)

    def stands_still(handler):
        handler.start(Content_Length=len(CONTENT))
        handler.wfile.write(CONTENT[:1000])
        handler.server.closing.wait(10)
    server.pages.update(slow=stands_still, good=ranged())
    start = time.monotonic()
    download([server.url("slow"), server.url("good")], tmp_path / "f", md5=MD5)
    assert server.asked[1] == ("good", "bytes=1000-") and time.monotonic() - start < 5
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize("page, left, others", [
    (whole(), CONTENT[:1000], []), (whole(), b"x" * 300_000, []),       # it knows no Range
    (ranged(), CONTENT, []),                                            # all was there already
    (ranged(), b"another version", ["g"]), (ranged(), b"x" * 300_000, ["g"])])
def test_what_an_earlier_run_left(server, tmp_path, page, left, others):
    server.pages.update(f=page, g=ranged())
    (tmp_path / "f.part").write_bytes(left)
    download([server.url("f"), server.url("g")], tmp_path / "f", md5=MD5)
    assert server.asked == [("f", f"bytes={len(left)}-"), *((name, None) for name in others)]
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert_only(tmp_path, "f")


def test_two_processes_at_once_do_not_disturb_each_other(server, tmp_path):
    both_half_done = threading.Barrier(2, timeout=20)

    def page(handler):
        handler.start(Content_Length=len(CONTENT))
        handler.wfile.write(CONTENT[:120_000])
        both_half_done.wait()
        handler.wfile.write(CONTENT[120_000:])
    server.pages["f"] = page
    code = (f"from data.download import download\n"
            f"download({server.url('f')!r}, {str(tmp_path / 'f')!r}, md5={MD5!r})")
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE,
                                  text=True) for _ in range(2)]
    for process in processes:
        assert process.communicate(timeout=30)[1] == ""
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert_only(tmp_path, "f")


def test_a_process_that_comes_second_is_content_with_the_file(server, tmp_path):
    def page(handler):
        handler.start(Content_Length=len(CONTENT))
        handler.wfile.write(CONTENT[:1000])
        while not (tmp_path / "f.part").exists():
            handler.server.closing.wait(0.01)
        (tmp_path / "f").write_bytes(CONTENT)
        (tmp_path / "f.part").unlink()
        handler.wfile.write(CONTENT[1000:])
    server.pages["f"] = page
    download(server.url("f"), tmp_path / "f", md5=MD5)
    assert_only(tmp_path, "f")


# ---------------------------------------------------------------- wrong answers

@pytest.mark.parametrize("page, options, message", [
    (whole(CONTENT[::-1]), {}, "what it sent does not have the md5 " + MD5),
    (whole(HTML, Content_Type="text/html"), {}, "web page: does the network ask for a login"),
    (whole(), {"max_bytes": 1000}, "more than 1,000 bytes"),
    (lambda handler: handler.start(Content_Length=100_000_001), {}, "more than 100,000,000 bytes"),
    (endless, {"max_bytes": 100_000}, "more than 100,000 bytes"),
    (lambda handler: handler.send_error(403), {}, "Forbidden")])
def test_a_wrong_answer_is_one_line_and_what_was_there_stays(
        server, tmp_path, page, options, message):
    server.pages["f"] = page
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(DownloadError, match=message) as caught:
        download(server.url("f"), tmp_path / "f", md5=MD5, **options)
    text = str(caught.value)
    assert server.url("f") in text and str(tmp_path / "f") in text and "\n" not in text
    assert len(server.asked) == 1, "asking again cannot help"
    assert (tmp_path / "f").read_bytes() == b"old"


def test_a_certificate_that_is_not_trusted_is_told_with_what_to_do(server, tmp_path):
    trusted = tmp_path / "server.pem"
    trusted.write_text(UNTRUSTED)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.pages["f"] = whole()
    url = server.url("f").replace("http:", "https:")
    with pytest.raises(DownloadError, match="CERTIFICATE_VERIFY_FAILED.*'Install Certificates"
                       ".command'.* SSL_CERT_FILE .* run again") as caught:
        download(url, tmp_path / "f", md5=MD5)
    assert "\n" not in str(caught.value) and "Check the network" not in str(caught.value)
    assert server.asked == []

    code = f"from data.download import download; download({url!r}, {str(tmp_path / 'f')!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True,
                   env={**os.environ, "SSL_CERT_FILE": str(trusted)})
    assert (tmp_path / "f").read_bytes() == CONTENT


# ---------------------------------------------------------------- no network, no disk

def test_a_closed_port_is_one_line_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(DownloadError, match="refused.*Check the network.*by hand"):
        download(f"http://127.0.0.1:{port}/f", tmp_path / "new" / "f", md5=MD5)
    assert time.monotonic() - start < 2
    assert_only(tmp_path)


def test_hanging_name_lookup_costs_the_connect_limit_in_all(hanging_dns, tmp_path, monkeypatch):
    assert data.download.CONNECT_SECONDS < 10
    monkeypatch.setattr(data.download, "CONNECT_SECONDS", 0.6)
    start = time.monotonic()
    with pytest.raises(DownloadError, match="no answer within 0.2 seconds"):
        download([f"https://mirror{i}.example/f" for i in range(3)], tmp_path / "f")
    assert 0.5 < time.monotonic() - start < 1.5
    left = set(threading.enumerate()) - {threading.main_thread()}
    assert left and all(thread.daemon for thread in left), "nobody waits for them at the end"
    assert_only(tmp_path)


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


def test_a_full_disk(server, tmp_path):
    server.pages["f"] = whole()
    with full_disk(100_000), pytest.raises(DownloadError, match="cannot store .*f: File too large"):
        download(server.url("f"), tmp_path / "f", md5=MD5)
    assert len(server.asked) == 1 and not (tmp_path / "f").exists()


def test_progress_is_printed_if_asked_for(server, tmp_path, capfd):
    server.pages["f"] = whole()
    download(server.url("f"), tmp_path / "f")
    download(server.url("f"), tmp_path / "g", progress=True)
    assert capfd.readouterr() == (f"downloading {server.url('f')} (0.3 MB)\n", "")


# ---------------------------------------------------------------- unpacking

GOOD = [("pets/", b""), ("pets/cats/a.txt", b"A"), ("pets/dogs/a.txt", b"C"), ("notes.txt", b"D")]


def make_zip(path, *members):
    """A zip file of (name, content) pairs."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("exists", [False, True])
def test_the_top_folder_of_a_zip_is_checked_and_takes_its_name(tmp_path, exists):
    checked, out = [], tmp_path / "out"
    if exists:
        out.mkdir()
    unpack_zip(make_zip(tmp_path / "z.zip", *GOOD), out, "pets",
               lambda folder: checked.append(sorted(os.listdir(folder))))
    assert checked == [["cats", "dogs"]]
    assert (out / "cats" / "a.txt").read_bytes() == b"A"
    assert_only(out, "cats", "dogs")
    assert_only(tmp_path, "out", "z.zip")


def refuse(folder):
    raise DataError("not what it should be")


@pytest.mark.parametrize("members, top, check, error, message", [
    (GOOD, "pets", refuse, DataError, "not what it should be"),
    (GOOD, "plants", list, DataError, "holds no folder plants: delete it"),
    ([("pets/big", bytes(200_000))], "pets", list, DownloadError, "cannot unpack .*too large"),
    *(([*GOOD, (name, b"x")], "pets", list, DataError, "z.zip is refused: .* leads out of")
      for name in ("/tmp/evil", "../evil", "a/../../evil", "pets/..", "..\\evil", "C:evil"))])
def test_what_is_refused_leaves_nothing(tmp_path, members, top, check, error, message):
    path = make_zip(tmp_path / "z.zip", *members)
    with full_disk(100_000), pytest.raises(error, match=message) as caught:
        unpack_zip(path, tmp_path / "out", top, check)
    assert "damaged" not in str(caught.value)
    assert_only(tmp_path, "z.zip")


def test_a_folder_with_content_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(b"")
    with pytest.raises(DownloadError, match="out.*not empty"):
        unpack_zip(make_zip(tmp_path / "z.zip", *GOOD), tmp_path / "out", "pets", list)
    assert_only(tmp_path / "out", "mine")
    assert_only(tmp_path, "out", "z.zip")


@pytest.mark.parametrize("damage", [
    lambda content: b"", lambda content: HTML, lambda content: content[:-30],
    lambda content: content[:36] + b"\xff" + content[37:]])
def test_a_damaged_or_missing_zip(tmp_path, damage):
    path = make_zip(tmp_path / "z.zip", ("pets/a", os.urandom(1000)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="z.zip is damaged .*delete it"):
        unpack_zip(path, tmp_path / "out", "pets", list)
    path.unlink()
    with pytest.raises(DownloadError, match="cannot unpack .*No such file.*z.zip"):
        unpack_zip(path, tmp_path / "out", "pets", list)
    assert_only(tmp_path)
