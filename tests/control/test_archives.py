"""Where archives may come from: names, URLs, redirects, limits; real servers on real ports."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from modelyard.control.archives import FetchLimits, archive, check_url
from modelyard.core.errors import BadInput, MissingFile, ModelNotFound
from modelyard.deploy.torchserve import ModelStore

DATA = b"archive" * 1000
LIMITS = FetchLimits(size_bytes=100_000, total_s=5.0, silence_s=2.0)


class Answers(BaseHTTPRequestHandler):
    """What each path answers; ``elsewhere`` is another server that is on no list."""

    elsewhere = ""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        moved = {
            "/ok/moved": "/ok/a.mar",
            "/ok/away": f"{self.elsewhere}/ok/a.mar",
            "/ok/up": "/secret/a.mar",
            "/ok/dots": "/ok/../secret/a.mar",
            "/ok/file": "file:///etc/hostname",
            "/ok/loop": "/ok/loop",
        }
        if self.path in moved:
            self.send_response(302)
            self.send_header("location", moved[self.path])
            self.send_header("content-length", "0")
            self.end_headers()
        elif self.path == "/ok/none":
            self.send_error(404)
        elif self.path == "/ok/drip":
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            for _ in range(100):
                try:
                    self.wfile.write(b"x")
                    time.sleep(0.05)
                except OSError:
                    return
        else:
            body = DATA * 20 if self.path == "/ok/big" else DATA
            self.send_response(200)
            self.send_header("content-length", str(len(body) + (9 if self.path == "/ok/short" else 0)))
            self.end_headers()
            self.wfile.write(body)


@contextmanager
def listening(elsewhere=""):
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Answers,), {"elsewhere": elsewhere}))
    server.asked = []
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def servers():
    with listening() as other, listening(other.url) as server:
        yield server, other


@pytest.fixture
def store(servers, tmp_path):
    folder = tmp_path / "store"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.mar").write_bytes(DATA)
    (folder / "sub" / "b.mar").write_bytes(DATA)
    (tmp_path / "outside.mar").write_bytes(DATA)
    (folder / "inside.mar").symlink_to("sub/b.mar")
    (folder / "leaves.mar").symlink_to("../outside.mar")
    return ModelStore(folder, (f"{servers[0].url}/ok/.*", f"file://{folder}/.*"))


def fetched(url, store, tmp_path, limits=LIMITS):
    with archive(url, store, tmp_path / "aside", limits) as path:
        data = path.read_bytes()
    assert not (tmp_path / "aside").exists()
    return path.name, data


def test_names_are_files_of_the_store(store, tmp_path):
    for name in ("a.mar", "./a.mar", "inside.mar"):
        assert fetched(name, store, tmp_path) == (name.removeprefix("./"), DATA)
    for name in (
        "../outside.mar", "..", "sub/b.mar", "sub", "/etc/passwd", "a.mar/", "leaves.mar", "none.mar",
        "..\\outside.mar", "a.mar\0", ".hidden", "a.py:function", "", "C:\\a.mar", "%2e%2e/outside.mar",
    ):  # fmt: skip
        with pytest.raises(ModelNotFound):
            fetched(name, store, tmp_path)
    with pytest.raises(ModelNotFound, match="Model store has not been configured"):
        fetched("a.mar", ModelStore(), tmp_path)


def test_urls_of_the_list_are_fetched(servers, store, tmp_path):
    url = servers[0].url
    assert fetched(f"{url}/ok/a.mar?token=1", store, tmp_path) == ("a.mar", DATA)
    assert fetched(f"{url}/ok/moved", store, tmp_path) == ("moved", DATA)
    assert fetched(f"file://{store.folder}/a.mar", store, tmp_path) == ("a.mar", DATA)
    assert fetched(f"file://{store.folder}/inside.mar", store, tmp_path) == ("b.mar", DATA)


def test_no_url_is_on_the_empty_list(servers, store, tmp_path):
    url = servers[0].url
    servers[0].asked.clear()
    for one in (f"{url}/ok/a.mar", f"file://{store.folder}/a.mar", "s3://bucket/a.mar", "ftp://h/a.mar"):
        with pytest.raises(ModelNotFound, match="does not match any allowed URL"):
            fetched(one, ModelStore(store.folder), tmp_path)
    assert servers[0].asked == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/ok/away", "does not match any allowed"),
        ("/ok/up", "does not match any allowed"),
        ("/ok/dots", "does not match any allowed"),
        ("/ok/file", "leads to another protocol"),
        ("/ok/loop", "more than 5 redirects"),
        ("/ok/none", "status 404"),
        ("/ok/big", "more than 100000 bytes"),
        ("/ok/short", "Failed to download"),
    ],
)
def test_a_server_cannot_lead_elsewhere_or_send_too_much(servers, store, tmp_path, path, said):
    server, other = servers
    with pytest.raises((MissingFile, ModelNotFound), match=said):
        fetched(server.url + path, store, tmp_path)
    assert other.asked == []
    assert not any(asked.startswith("/secret") for asked in server.asked)
    assert not (tmp_path / "aside").exists()


def test_a_slow_server_is_given_up(servers, store, tmp_path):
    with pytest.raises(MissingFile, match="it took too long"):
        fetched(f"{servers[0].url}/ok/drip", store, tmp_path, FetchLimits(total_s=0.3, silence_s=2.0))
    with listening() as gone:
        url = gone.url
    with pytest.raises(MissingFile, match="ConnectionRefusedError"):
        fetched(f"{url}/ok/a.mar", ModelStore(None, (".*",)), tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "http://good.example/a b.mar",
        "http://good.example\\@evil.example/a.mar",
        "http://user:secret@good.example/a.mar",
        "http://good.example/a.mar#x",
        "http:///a.mar",
        "http://good.example:0/a.mar",
        "http://good.example:99999/a.mar",
        "http://[::1/a.mar",
        "gopher://good.example/a.mar",
        "file://host/a.mar",
        "http://good.example/\n",
        "http://good.example/" + "a" * 3000,
    ],
)
def test_odd_urls_are_refused_even_when_all_are_allowed(url):
    with pytest.raises(BadInput):
        check_url(url, [".*"])


@pytest.mark.parametrize("path", ["../x", "a/../../x", "%2e%2e/x", "%252e%252e/x", ".%2E/x"])
def test_no_url_climbs(path):
    with pytest.raises(ModelNotFound, match="Relative path"):
        check_url(f"https://good.example/models/{path}", ["https://good.example/models/.*"])


def test_a_file_address_is_judged_by_where_its_links_lead(store, tmp_path):
    with pytest.raises(ModelNotFound, match="does not match"):
        fetched(f"file://{store.folder}/leaves.mar", store, tmp_path)
    for name in ("none.mar", "sub"):
        with pytest.raises(MissingFile):
            fetched(f"file://{store.folder}/{name}", store, tmp_path)
