"""The admin API on a real port, spoken to by the real client and by raw requests."""

import asyncio
import http.client
import io
import json
import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest
from admin_running import Running
from yards import make_bundle, open_yard

from modelyard.artifact.bundle import open_bundle
from modelyard.artifact.tarball import ImportLimits, export_bundle, import_bundle
from modelyard.client.admin import AdminClient
from modelyard.client.admin_values import CopyRow, GuardRules, OrderRequest, WorkerRow
from modelyard.client.errors import BadReply, Unreachable
from modelyard.control.admin import admin_app
from modelyard.control.admin_routes import ROWS
from modelyard.core.errors import (
    BadInput,
    Conflict,
    IllegalMove,
    MissingFile,
    ModelNotFound,
    RouteNotFound,
    TooLarge,
    Unavailable,
    VersionNotFound,
)
from modelyard.monitor.observations import ModelSums, Observations, Sums


@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    with open_yard(tmp_path_factory.mktemp("yard")) as opened:
        opened.index.create_version("empty", "a" * 64, "", "ada")
        yield opened


@pytest.fixture(scope="module")
def running(yard):
    with Running(admin_app(yard, None, limits=ImportLimits(total_bytes=1 << 20))) as started:
        yield started


@pytest.fixture
def admin(running):
    return AdminClient(running.url, "ada@here")


def ask(running, method, path, body=None, headers=None):
    link = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    try:
        link.request(method, path, body, headers or {})
        answer = link.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        link.close()


def refused(answer):
    status, headers, body = answer
    assert headers["content-type"] == "application/json"
    said = json.loads(body)
    assert said["error"]
    return status, said["code"]


def tar_of(bundle):
    target = io.BytesIO()
    export_bundle(bundle, target)
    return target.getvalue()


def test_a_life_over_the_api(admin, tmp_path):
    one, two = make_bundle(tmp_path, b"1"), make_bundle(tmp_path, b"2")
    made = admin.push(one, "wine", "first")
    assert (made.model, made.number, made.digest, made.created_by) == ("wine", 1, one.digest, "ada@here")
    assert admin.push(two, "wine", "second").number == 2
    start = datetime.now(UTC)
    done = admin.order("wine", OrderRequest("release", 1, why="go"))
    assert (done.changed, done.release.revision, done.release.who, done.release.why) == (
        True,
        1,
        "ada@here",
        "go",
    )
    assert not admin.order("wine", OrderRequest("release", 1)).changed
    guard = GuardRules(min_requests=7)
    done = admin.order("wine", OrderRequest("canary", steps=("1%", "50%"), hold="5m", guard=guard))
    assert (done.release.rollout.version, done.release.rollout.steps, done.release.guard) == (
        2,
        ("1%", "50%"),
        guard,
    )
    assert done.release.rollout.hold_s == 300
    assert admin.order("wine", OrderRequest("promote")).release.entries[0].version == 2
    assert admin.order("wine", OrderRequest("rollback")).release.entries[0].version == 1
    assert admin.order("wine", OrderRequest("retire", 2)).said == "version 2 of wine drains"
    assert admin.order("wine", OrderRequest("restore", 2)).changed
    assert admin.order("wine", OrderRequest("shadow", 2)).changed
    assert admin.order("wine", OrderRequest("withdraw", 2)).changed
    assert admin.order("wine", OrderRequest("off")).release.entries == ()
    history = admin.history("wine")
    assert [row.revision for row in history] == list(range(9, 0, -1))
    assert admin.history("wine", before=3, limit=1)[0].revision == 2
    for row in history:
        assert admin.history_at("wine", row.at) == row
    assert admin.history_at("wine", start - timedelta(days=1)).revision == 0
    page = admin.version("wine:2")
    assert (page.version.note, page.size_bytes, page.files[0].name) == ("second", 1_000, "model.onnx")
    assert admin.version("wine").version.number == 2
    assert {line.what for line in admin.diff("wine:1", "wine:2") if line.a != line.b} == {
        "bundle",
        "file model.onnx",
    }
    assert [row.number for row in admin.versions("wine", before=2)] == [1]
    assert admin.model("wine").model.release == admin.released("wine")
    assert "wine" in [row.name for row in admin.models("iris", 5)]
    assert {row.subject for row in admin.audit(subject="wine:1")} == {"wine:1"}
    assert admin.verify_audit().ok


def test_a_bundle_goes_out_and_comes_in(admin, tmp_path):
    file = tmp_path / "iris.tar"
    digest = admin.export("iris:1", file)
    with file.open("rb") as source:
        assert import_bundle(source, tmp_path / "out").digest == digest
    assert open_bundle(tmp_path / "out").digest == digest
    with file.open("rb") as source:
        assert admin.import_(source, "copy", "", digest).digest == digest
    with pytest.raises(MissingFile, match="cannot be written"):
        admin.export("iris:1", tmp_path / "none" / "x.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iris.tar", "out"]


def test_upkeep(yard, admin):
    assert admin.gc(0.0, True).dry_run
    report = admin.fsck()
    assert report.models >= 1
    assert {finding.subject for finding in report.findings} == {"empty:1"}  # its blobs were never there
    assert admin.health().ok


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda admin: admin.model("nope"), ModelNotFound),
        (lambda admin: admin.version("iris:99"), VersionNotFound),
        (lambda admin: admin.model("../iris"), BadInput),
        (lambda admin: admin.model("iris\0"), BadInput),
        (lambda admin: admin.model("irіs"), BadInput),
        (lambda admin: admin.model("i" * 10_000), BadInput),
        (lambda admin: admin.order("iris", OrderRequest("promote")), IllegalMove),
        (lambda admin: admin.order("iris", OrderRequest("drained", 1)), BadInput),
        (lambda admin: admin.order("iris", OrderRequest("explode")), BadInput),
        (lambda admin: admin.order("iris", OrderRequest("release", 1, share="10%")), BadInput),
        (lambda admin: admin.order("iris", OrderRequest("canary", 1)), BadInput),
        (lambda admin: admin.order("iris", OrderRequest("canary", 1, share="10%", steps=("1%",))), BadInput),
        (lambda admin: admin.order("iris", OrderRequest("canary", 1, steps=("9%", "1%"))), BadInput),
        (
            lambda admin: admin.order(
                "iris", OrderRequest("canary", 1, share="1%", guard=GuardRules(alarm=2.0))
            ),
            BadInput,
        ),
        (lambda admin: admin.order("iris", OrderRequest("release", 1, why="\0")), BadInput),
        (lambda admin: admin.order("iris", OrderRequest("release", 1, why="x" * 20_000)), TooLarge),
        (lambda admin: admin.order("iris", OrderRequest("release", 1, wait_s=1e9)), BadInput),
        (lambda admin: admin.gc(-1.0, True), BadInput),
        (lambda admin: admin.workers(), Unavailable),
    ],
)
def test_what_is_refused_is_the_same_error_and_changes_nothing(yard, admin, act, error):
    before = yard.index.change()
    with pytest.raises(error) as raised:
        act(admin)
    assert raised.type is error
    assert yard.index.change() == before


def test_a_conflict_names_who_won(admin, running):
    admin.order("iris", OrderRequest("release", 1))
    revision = admin.released("iris").revision
    AdminClient(running.url, "bob@there").order("iris", OrderRequest("release", 2, expected=revision))
    with pytest.raises(Conflict, match="bob@there ordered it") as lost:
        admin.order("iris", OrderRequest("release", 3, expected=revision))
    assert (lost.value.revision, lost.value.who) == (revision + 1, "bob@there")
    assert lost.value.at == admin.released("iris").at


def test_a_tar_that_lies_registers_nothing(yard, admin, tmp_path):
    raw = tar_of(make_bundle(tmp_path, b"t"))
    before = yard.index.change()
    at = raw.index(b"ttt")
    for lie in (raw[:at] + b"u" + raw[at + 1 :], raw[: len(raw) // 2], b"", b"x" * 5000):
        with pytest.raises(BadInput):
            admin.import_(io.BytesIO(lie), "liar", "")
    with pytest.raises(BadInput, match="was asked for"):
        admin.import_(io.BytesIO(raw), "liar", "", "0" * 64)
    with pytest.raises(TooLarge):
        admin.import_(io.BytesIO(tar_of(make_bundle(tmp_path, b"v" * 2_000))), "liar", "")
    assert yard.index.change() == before
    assert list((yard.registry.cache / "incoming").iterdir()) == []


def test_an_endless_upload_is_cut_off(running, yard):
    before = yard.index.change()
    with socket.create_connection(("127.0.0.1", running.port), 3) as link:
        link.sendall(
            b"POST /v1/models/liar/versions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"content-type: application/x-tar\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        step = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        answer = b""
        try:
            for _ in range(400):
                link.sendall(step)
        except OSError:
            pass
        try:
            while data := link.recv(65536):
                answer += data
        except OSError:
            pass
    assert not answer or b" 413 " in answer.splitlines()[0]
    assert yard.index.change() == before


ORDER = json.dumps({"verb": "release", "version": 1})
TYPED = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-type": "text/plain"}, 415, "unsupported-media"),
        ({"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported-media"),
        ({"content-type": "multipart/form-data; boundary=x"}, 415, "unsupported-media"),
        ({}, 415, "unsupported-media"),
        ({**TYPED, "origin": "http://evil.example"}, 400, "bad-request"),
        ({**TYPED, "origin": "null"}, 400, "bad-request"),
        ({**TYPED, "origin": "http://127.0.0.1:1"}, 400, "bad-request"),
        ({**TYPED, "sec-fetch-site": "cross-site"}, 400, "bad-request"),
        ({**TYPED, "host": "evil.example"}, 400, "bad-request"),
        ({**TYPED, "host": "127.0.0.1.evil.example:8002"}, 400, "bad-request"),
        ({**TYPED, "host": "localhost.evil.example"}, 400, "bad-request"),
    ],
    ids=str,
)
def test_a_strangers_page_changes_nothing(yard, running, headers, status, code):
    before = yard.index.change()
    assert refused(ask(running, "POST", "/v1/models/iris/orders", ORDER, headers)) == (status, code)
    assert yard.index.change() == before


def test_our_own_page_may(running):
    headers = {**TYPED, "origin": f"http://127.0.0.1:{running.port}", "sec-fetch-site": "same-origin"}
    assert ask(running, "POST", "/v1/models/iris/orders", ORDER, headers)[0] == 200
    assert ask(running, "GET", "/v1/models", None, {"host": f"localhost:{running.port}"})[0] == 200
    assert refused(ask(running, "GET", "/v1/models", None, {"host": "rebound.example"})) == (
        400,
        "bad-request",
    )


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{", '{"verb": 1}', '{"verb": "release", "versoin": 1}', "[" * 100_000, '{"verb": "a\xff"}'],
)
def test_a_body_that_is_none_is_told(yard, running, body):
    before = yard.index.change()
    answer = ask(running, "POST", "/v1/models/iris/orders", body.encode("latin-1"), TYPED)
    assert refused(answer) == (400, "bad-request")
    assert yard.index.change() == before


def test_a_body_has_a_bound(running):
    assert refused(ask(running, "POST", "/v1/gc", b" " * (2 << 20), TYPED)) == (413, "too-large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nope", 404, "route-not-found"),
        ("DELETE", "/v1/models/iris", 405, "method-not-allowed"),
        ("GET", "/v1/models/..%2Fetc/versions/1", 404, "route-not-found"),
        ("GET", "/v1/models/iris/versions/x", 400, "bad-input"),
        ("GET", "/v1/models/iris/versions/-1", 400, "bad-input"),
        ("GET", "/v1/models?limit=ten", 400, "bad-request"),
        ("GET", "/v1/models/iris/history?at=yesterday", 400, "bad-input"),
        ("GET", "/v1/models/iris/history?at=2026-11-20T10:00", 400, "bad-input"),
        ("GET", "/v1/models/iris/settled?revision=1&wait_s=nan", 503, "unavailable"),
        ("GET", "/metrics", 503, "unavailable"),
    ],
)
def test_bad_addresses(running, method, path, status, code):
    assert refused(ask(running, method, path)) == (status, code)


def test_the_document_and_the_page_name_every_route(running):
    status, _, body = ask(running, "GET", "/openapi.json")
    document = json.loads(body)
    assert status == 200
    assert document["openapi"] == "3.1.0"
    named = {(method.upper(), path) for path, row in document["paths"].items() for method in row}
    assert named == {(row.method, row.path) for row in ROWS}
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]
    operations = [row["operationId"] for path in document["paths"].values() for row in path.values()]
    assert len(set(operations)) == len(operations)
    status, headers, page = ask(running, "GET", "/docs")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    for row in ROWS:
        assert row.path.encode() in page
    assert ask(running, "GET", "/docs/docs.css")[0] == 200


class OneWorker:
    """A host with one worker; what it settles is decided by the test."""

    def __init__(self):
        self.asked = []
        self.serves = True

    def workers(self):
        return [WorkerRow("here", "worker-0", 7, "ready", 8000, 8001, 3, 0, 1e9)]

    def copies(self):
        return [CopyRow("here", "worker-0", "iris", 1, "serving", "", 10, 0.5)]

    def observations(self):
        none = Sums([0] * 17, 0.0)
        rows = Sums([0] * 12, 0.0)
        seen = ModelSums(
            "iris", "1", [("http", "ok", 5)], 9, {"http": Sums([5] + [0] * 16, 0.1)}, rows, none, none
        )
        return Observations([seen], [("http", "bad-request", 2)], 3)

    def problems(self):
        return ["models/wine/config.pbtxt: line 3"]

    async def settle(self, model, revision, timeout_s):
        self.asked.append((model, revision, timeout_s))
        await asyncio.sleep(0)
        return self.serves


def test_what_runs(yard):
    live = OneWorker()
    with Running(admin_app(yard, live)) as started:
        admin = AdminClient(started.url, "ada")
        (host,) = admin.hosts()
        assert (host.name, host.workers, host.copies) == ("here", admin.workers(), admin.copies())
        assert admin.health().problems == ("models/wine/config.pbtxt: line 3",)
        page = ask(started, "GET", "/metrics")[2].decode()
        assert 'modelyard_requests_total{model="iris",version="1",surface="http",code="ok"} 5' in page
        assert 'modelyard_refused_requests_total{surface="http",code="bad-request"} 2' in page
        done = admin.order("iris", OrderRequest("shadow", 4, wait_s=3.0))
        assert done.settled is True
        assert live.asked == [("iris", done.release.revision, 3.0)]
        live.serves = False
        assert admin.settled("iris", done.release.revision, 0.5) is False
        for wait_s in ("nan", "-1", "1e9", "soon"):
            path = f"/v1/models/iris/settled?revision=1&wait_s={wait_s}"
            assert refused(ask(started, "GET", path)) == (400, "bad-request")


def test_a_registry_that_does_not_answer(tmp_path):
    with open_yard(tmp_path) as yard, Running(admin_app(yard, None)) as started:
        admin = AdminClient(started.url)
        assert admin.health().ok
        yard.close()
        (tmp_path / "home/registry.db").unlink()
        (tmp_path / "home/registry.db").mkdir()
        found = admin.health()
        assert (found.ok, found.registry) == (False, False)
        assert ask(started, "GET", "/health")[0] == 503
        with pytest.raises(Unavailable):
            admin.models()


def test_a_slow_registry_does_not_hold_up_the_others(yard):
    gate = threading.Event()
    with Running(admin_app(yard, None)) as started:
        admin = AdminClient(started.url)
        with yard.index.database.write():  # every other writer waits
            waiting = threading.Thread(
                target=lambda: (admin.order("iris", OrderRequest("release", 1)), gate.set())
            )
            waiting.start()
            assert admin.health().ok
            assert not gate.is_set()
        waiting.join(20)
        assert gate.is_set()


def test_a_client_without_a_server_says_so():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(Unreachable, match="is the server running"):
        AdminClient(f"http://127.0.0.1:{port}").health()
    with pytest.raises(BadInput, match="REST"):
        AdminClient("grpc://127.0.0.1:8001")


def test_something_else_that_answers_is_no_admin_api(sums_yard):
    with pytest.raises((BadReply, RouteNotFound)):
        AdminClient(sums_yard.url).models()
