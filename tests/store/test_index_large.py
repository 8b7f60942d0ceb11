"""100,000 versions of 1,000 models: what is asked for is found by an index, never by reading all."""

import re

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from modelyard.store.database import Database
from modelyard.store.index import Index
from modelyard.store.rows import Entry
from modelyard.store.schema import MODELS, VERSION_BLOBS, VERSIONS

COUNT, EACH = 1000, 100

ONE_ROW = ("SCAN registry", "SCAN alembic_version")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large")
    with Index(Database(f"sqlite:///{path}/r.db")) as index:
        with index.database.write() as connection:
            connection.execute(
                sa.insert(MODELS),
                [
                    {"id": n + 1, "name": f"m{n:04}", "created_at": n, "created_by": "ada",
                     "last_version": EACH, "revision": 0, "change": n + 1}
                    for n in range(COUNT)
                ],
            )  # fmt: skip
            for n in range(COUNT):
                rows = range(n * EACH, (n + 1) * EACH)
                connection.execute(
                    sa.insert(VERSIONS),
                    [
                        {
                            "id": row + 1,
                            "model_id": n + 1,
                            "number": row % EACH + 1,
                            "manifest": f"{row:064x}",
                            "note": "",
                            "created_at": row,
                            "created_by": "ada",
                            "state": "ready",
                            "state_at": row,
                        }
                        for row in rows
                    ],
                )  # fmt: skip
                connection.execute(
                    sa.insert(VERSION_BLOBS),
                    [{"version_id": row + 1, "digest": f"{row:064x}"} for row in rows],
                )
            connection.execute(sa.text("UPDATE registry SET change = 1000"))
        for n in range(COUNT):
            if n % 50 == 0:
                index.release(f"m{n:04}", 0, [Entry(3), Entry(7, 10, "canary")], "ada", "")
        yield index


CALLS = {
    "list": lambda index: index.list_models("m0500", 100),
    "versions": lambda index: index.list_versions("m0500", 50, 100),
    "show": lambda index: index.get_version("m0700", 77),
    "current": lambda index: index.current("m0700"),
    "current_of": lambda index: index.current_of([f"m{n:04}" for n in range(0, 1000, 7)]),
    "release": lambda index: index.release(
        "m0900", index.get_model("m0900").revision, [Entry(5), Entry(9, 1, "canary")], "ada", ""
    ),
    "push": lambda index: index.create_version("m0901", "a" * 64, "", "ada", blobs=["b" * 64]),
    "history": lambda index: index.history("m0900"),
    "changes": lambda index: index.changes_since(index.change()),
    "change": lambda index: index.change(),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_call_reads_a_whole_table(large, name):
    statements = []

    def note(_connection, cursor, statement, parameters, _context, many):
        statements.append((statement, parameters[0] if many else parameters))

    engine = large.database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        CALLS[name](large)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert statements
    with large.database.read() as connection:
        for statement, parameters in statements:
            if not re.match(r"\s*(SELECT|UPDATE|DELETE)", statement):
                continue
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", tuple(parameters)).all()
            steps = [row[-1] for row in plan]
            bad = [step for step in steps if step.startswith("SCAN") and not step.startswith(ONE_ROW)]
            assert not bad, (statement, steps)


def test_what_they_answer(large):
    assert [model.name for model in CALLS["list"](large)][:2] == ["m0501", "m0502"]
    assert CALLS["show"](large).manifest == f"{70076:064x}"
    assert len(CALLS["versions"](large)) == 49
    assert {release.revision for release in large.current_of(["m0050", "m0100"]).values()} == {1}
