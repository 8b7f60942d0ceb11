"""kill -9 of pushes, imports, orders and collections, thousands of times: what was acknowledged is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parents[1] / place) for place in ("store", "deploy")]

from crash_verbs import MODELS, content, entries
from postgres_cluster import Cluster, find
from s3_places import KEYS, FaultyProxy, S3Server
from yards import make_bundle

from modelyard.core.errors import Unavailable, VersionNotFound
from modelyard.core.ref import ModelRef
from modelyard.deploy.plan import Order
from modelyard.deploy.yard import Yard
from modelyard.store.blobs.table import open_blobs
from modelyard.store.database import Database
from modelyard.store.index import Index
from modelyard.store.registry import Registry

HERE = Path(__file__).parent


@pytest.fixture
def memory():
    """A folder in memory where there is one: a kill is no power cut, so nothing need reach a disk."""
    place = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=place if os.access(place, os.W_OK) else None, prefix="yard-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster():
    if not (find("initdb") and find("pg_ctl")):
        pytest.skip("no PostgreSQL here: initdb and pg_ctl are needed")
    pytest.importorskip("psycopg")
    made = Cluster()
    try:
        made.init().start()
        yield made
    finally:
        made.close()


def torment(folder, address, kills, seed):
    """So many kills; then every word that was given must have been kept."""
    blobs = str(folder / "blobs")
    with Yard.open(folder / "home", address, blobs) as yard:
        subprocess.run(
            [sys.executable, HERE / "crash_verbs.py", str(kills), str(seed), folder, address, blobs],
            check=True,
            timeout=380,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )
        wrong = folder / "wrong"
        assert not wrong.exists(), wrong.read_text()[:3000]
        acks = [json.loads(line) for line in (folder / "acks").read_text().splitlines()]
        check(yard, acks)
        assert yard.verify_audit().ok
        yard.gc("test", grace_s=0.0)
        check(yard, acks)
        assert not list((folder / "blobs").rglob("*.tmp"))
    return acks


def check(yard, acks):
    checkup = yard.fsck()
    assert checkup.ok, checkup.findings[:5]
    versions = [ack[1:] for ack in acks if ack[0] == "version"]
    orders = [ack[1:] for ack in acks if ack[0] == "order"]
    assert len({(model, number) for model, number, *_ in versions}) == len(versions)
    loaded = 0
    for model, number, manifest, kind in versions:
        row = yard.version(ModelRef(model, number))
        assert row.manifest == manifest
        try:
            found = yard.bundle(ModelRef(model, number))
        except VersionNotFound:
            assert row.state == "retired"
            continue
        assert found.path("model.onnx").read_bytes() == content(kind)
        loaded += 1
    assert loaded
    past = {model: _history(yard, model) for model in MODELS}
    for model, revision, why, told in orders:
        row = past[model][revision]
        assert (row.why, sorted(map(list, entries(row)))) == (why, told)
        assert yard.history_at(model, row.at) == row
    for model, rows in past.items():
        # Nothing between two orders: no revision is missing, and time only goes on.
        assert sorted(rows) == list(range(1, len(rows) + 1))
        moments = [rows[revision].at for revision in sorted(rows)]
        assert moments == sorted(set(moments))
        for entry in yard.released(model).release.entries:
            assert yard.version(ModelRef(model, entry.version)).state == "ready"


def _history(yard, model):
    rows, before = {}, None
    while page := yard.history(model, before, 500):
        rows |= {row.revision: row for row in page}
        before = page[-1].revision
    return rows


def test_verbs_that_are_killed(memory):
    acks = torment(memory, f"sqlite:///{memory}/registry.db", 60, 1)
    assert {ack[0] for ack in acks} == {"version", "order"}


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(2))
def test_verbs_that_are_killed_thousands_of_times(memory, seed):
    acks = torment(memory, f"sqlite:///{memory}/registry.db", 1000, 10 + seed)
    assert len(acks) > 100


@pytest.mark.slow
def test_verbs_that_are_killed_on_postgresql(memory, cluster):
    acks = torment(memory, cluster.database(), 250, 20)
    assert len(acks) > 20


@pytest.mark.slow
def test_postgresql_is_killed_and_restarted_under_pushes_and_releases(tmp_path, cluster):
    """Everybody is told that it is away; afterwards all that was acknowledged is there, once."""
    bundles = [make_bundle(tmp_path, bytes([65 + kind]), kind=kind) for kind in range(4)]
    registry, stop = cluster.database(), threading.Event()
    acks, refused, wrong = [], [], []

    def person(model):
        index = Index(Database(registry, busy_s=2))
        yard = Yard(Registry(index, open_blobs(str(tmp_path / "blobs")), tmp_path / "cache"))
        turn = 0
        while not stop.is_set():
            turn += 1
            kind = turn % 4
            try:
                version = yard.push(bundles[kind], model, "", model)
                acks.append(("version", model, version.number, version.manifest, kind))
                done = yard.order(model, Order("release", version.number), model, f"turn {turn}")
                told = sorted(map(list, entries(done.current)))
                acks.append(("order", model, done.current.revision, f"turn {turn}", told))
            except Unavailable as error:
                refused.append(error)
                time.sleep(0.05)
            except Exception as error:
                wrong.append(error)
        yard.close()

    with Yard.open(tmp_path / "home", registry, str(tmp_path / "blobs")) as yard:
        people = [threading.Thread(target=person, args=(model,)) for model in MODELS]
        for one in people:
            one.start()
        for _ in range(4):
            seen = len(acks)
            _until(lambda seen=seen: len(acks) >= seen + 10)
            pid = cluster.pid
            cluster.kill()
            _until(lambda pid=pid: not Path(f"/proc/{pid}").exists())
            told = len(refused)
            _until(lambda told=told: len(refused) > told)
            _restart(cluster)
        seen = len(acks)
        _until(lambda: len(acks) >= seen + 10)
        stop.set()
        for one in people:
            one.join(60)
        assert wrong == []
        check(yard, acks)


@pytest.fixture(scope="module")
def s3():
    for package in ("moto", "boto3", "obstore"):
        pytest.importorskip(package)
    server = S3Server()
    yield server
    server.close()


@pytest.mark.slow
def test_a_bucket_that_fails_stalls_and_truncates_under_pushes_and_fetches(tmp_path, s3):
    proxy = FaultyProxy(s3.port)
    bucket, registry = s3.bucket(), f"sqlite:///{tmp_path}/registry.db"
    index = Index(Database(registry)).open()
    through = Yard(
        Registry(
            index,
            open_blobs(bucket, endpoint=proxy.endpoint, timeout_s="1", retries="1", **KEYS),
            tmp_path / "c",
        )
    )
    straight = Registry(index, open_blobs(bucket, endpoint=s3.endpoint, **KEYS), tmp_path / "straight")
    acknowledged, refused = {}, 0
    try:
        turn = 0
        for fault in ("refuse", "stall", "error", "cut-answer", "cut-request"):
            for times, after in ((1, 30), (2, 300), (50, 30), (50, 700)):
                turn += 1
                bundle = make_bundle(tmp_path, b"%04d" % turn, turn=turn)
                proxy.spoil(fault, times, after)
                try:
                    version = through.push(bundle, "iris", fault, "test")
                    acknowledged[version.number] = turn
                except Unavailable:
                    refused += 1
                proxy.spoil(fault, times, after)
                if acknowledged:
                    number = max(acknowledged)
                    there = Registry(index, through.registry.blobs, tmp_path / f"fetched{turn}")
                    try:
                        assert there.fetch("iris", number).facts["turn"] == acknowledged[number]
                    except Unavailable:
                        refused += 1
                proxy.spoil("", 0)
                assert len(index.list_versions("iris") if acknowledged else ()) == len(acknowledged)
                checkup = Yard(straight).fsck()
                assert checkup.ok, checkup.findings
        assert refused > 5
        assert len(acknowledged) > 5
        for number, turn in acknowledged.items():
            assert straight.fetch("iris", number).facts["turn"] == turn
        through.gc("test", grace_s=0.0)
        assert Yard(straight).fsck().ok
    finally:
        proxy.close()
        through.close()


def _until(what, timeout_s=60):
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def _restart(cluster):
    end = time.monotonic() + 60
    while True:
        try:
            cluster.start()
            return
        except subprocess.CalledProcessError:
            assert time.monotonic() < end
            time.sleep(0.2)
