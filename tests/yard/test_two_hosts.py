"""Two hosts' worth of processes on one PostgreSQL and one S3: one release, live on both."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import pytest
from numbered import Load, adder
from ups import Up, until

sys.path.insert(0, str(Path(__file__).parent.parent / "store"))

from postgres_cluster import Cluster, find
from s3_places import KEYS, S3Server

from modelyard.client import Client

HERE = (
    find("initdb") and find("pg_ctl") and all(map(importlib.util.find_spec, ("psycopg", "moto", "obstore")))
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not HERE, reason="PostgreSQL, psycopg, moto and obstore are needed"),
]


@pytest.fixture(scope="module")
def cluster():
    made = Cluster()
    try:
        made.init().start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def s3():
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def hosts(tmp_path, cluster, s3):
    shared = ["--registry", cluster.database(), "--artifacts", s3.bucket()]
    environment = {
        "AWS_ACCESS_KEY_ID": KEYS["access_key"],
        "AWS_SECRET_ACCESS_KEY": KEYS["secret_key"],
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3.endpoint,
        "AWS_ALLOW_HTTP": "true",
    }
    here = Up(tmp_path / "here", *shared, "--host-name", "here", environment=environment)
    there = Up(tmp_path / "there", *shared, "--host-name", "there", environment=environment)
    here.shared = there.shared = shared
    with here, there:
        for number in (1, 2):
            path = adder(tmp_path / f"adder{number}.onnx", number)
            here.run("push", path, "--name", "adder", *shared, check=True)
        yield here, there


def answers(up: Up) -> str | None:
    try:
        with Client(up.http) as client:
            return client.predict("adder", [[1.0, 1.0]]).version
    except Exception:
        return None


def test_a_release_here_is_live_there(hosts):
    here, there = hosts
    here.order("adder", "release", 1)
    until(lambda: answers(there) == "1")
    began = time.monotonic()
    here.order("adder", "release", 2)
    until(lambda: answers(there) == "2")
    print(f"live on both after {time.monotonic() - began:.2f} s")
    with here.admin() as admin:  # a host says that it is there when its turn comes, not with what it serves
        until(lambda: {host.name for host in admin.hosts()} == {"here", "there"})


def test_without_its_registry_a_host_goes_on(hosts, cluster):
    here, there = hosts
    here.order("adder", "release", 1)
    until(lambda: answers(there) == "1")
    with Load("adder", there.http, there.grpc, connections=4, channels=2) as load:
        cluster.kill()
        time.sleep(3)
        told = here.run("list", *here.shared)
        assert told.returncode != 0
        assert b"does not answer" in told.stderr or b"unavailable" in told.stderr.lower()
        cluster.start()
        until(lambda: here.run("list", *here.shared).returncode == 0)
        here.run("release", "adder", "2", *here.shared, check=True)
        until(lambda: answers(there) == "2", 30)
    assert load.heard.failed == []
    assert load.heard.wrong == []
