import importlib.util

import pytest
from postgres_cluster import Cluster, find
from s3_places import KEYS, FaultyProxy, S3Server

from modelyard.artifact.bundle import write_bundle
from modelyard.store.blobs.table import BLOBS, open_blobs
from modelyard.store.database import Database
from modelyard.store.index import Index
from modelyard.store.registry import Registry

NO_POSTGRES = "no PostgreSQL here: initdb, pg_ctl and psycopg are needed"


def has_postgres():
    return bool(find("initdb") and find("pg_ctl") and importlib.util.find_spec("psycopg"))


@pytest.fixture(scope="session")
def cluster():
    if not has_postgres():
        pytest.skip(NO_POSTGRES)
    made = Cluster()
    try:
        made.init().start()
        yield made
    finally:
        made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path):
    """A new database's address, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.db"
    return request.getfixturevalue("cluster").database()


@pytest.fixture
def index(address):
    with Index(Database(address)) as opened:
        yield opened


@pytest.fixture
def registry(index, tmp_path):
    return Registry(index, open_blobs(f"file://{tmp_path}/blobs"), tmp_path / "cache")


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(
        tmp_path / "bundle", {"kind": "onnx"}, {"model.onnx": b"graph" * 999, "rows.bin": b"r"}
    )


@pytest.fixture(scope="session")
def s3_server():
    for package in ("moto", "boto3", "obstore"):
        pytest.importorskip(package)
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def proxy(s3_server):
    made = FaultyProxy(s3_server.port)
    yield made
    made.close()


@pytest.fixture(params=list(BLOBS))
def blobs(request, tmp_path):
    """An empty store of every kind in the table."""
    if request.param == "s3":
        server = request.getfixturevalue("s3_server")
        return open_blobs(server.bucket(), endpoint=server.endpoint, **KEYS)
    return open_blobs({"file": f"file://{tmp_path}/blobs", "memory": "memory://"}[request.param])
