import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))

from postgres_cluster import Cluster, find
from yards import open_yard

HAS_POSTGRES = bool(find("initdb") and find("pg_ctl"))


@pytest.fixture(scope="session")
def databases():
    if not HAS_POSTGRES:
        pytest.skip("no PostgreSQL here: initdb and pg_ctl are needed")
    pytest.importorskip("psycopg")
    made = Cluster()
    try:
        made.init().start()
        yield made
    finally:
        made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request, tmp_path):
    """A new database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.db"
    return request.getfixturevalue("databases").database()


@pytest.fixture
def yard(tmp_path, registry_url):
    with open_yard(tmp_path, registry_url) as opened:
        yield opened
