"""100,000 versions of 1,000 models: no verb of the yard reads a whole table."""

import re

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from test_index_large import large  # noqa: F401 - a fixture

from modelyard.core.ref import ModelRef
from modelyard.deploy.plan import Order
from modelyard.deploy.yard import Yard
from modelyard.store.blobs.table import open_blobs
from modelyard.store.registry import Registry
from modelyard.store.schema import MODELS, VERSIONS


@pytest.fixture(scope="module")
def yard(large, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("blobs")
    return Yard(Registry(large, open_blobs(str(folder)), folder / "cache"))


CALLS = {
    "list": lambda yard: yard.models("m0500", 100),
    "versions": lambda yard: yard.versions("m0500", 50),
    "show": lambda yard: (yard.version(ModelRef("m0700", 77)), yard.version(ModelRef("m0700"))),
    "released": lambda yard: yard.released("m0700"),
    "release": lambda yard: yard.order("m0901", Order("release"), "ada"),
    "retire": lambda yard: yard.order("m0902", Order("retire", 5), "ada"),
    "history": lambda yard: yard.history("m0900"),
    "nothing changed": lambda yard: yard.wanted(yard.index.change()),
    "little changed": lambda yard: yard.wanted(yard.index.change() - 3),
    "draining": lambda yard: yard.draining(),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_verb_reads_a_whole_table(yard, name):
    statements = []

    def note(_connection, _cursor, statement, parameters, _context, many):
        statements.append((statement, parameters[0] if many else parameters))

    engine = yard.index.database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        CALLS[name](yard)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert statements
    assert len(statements) < 40
    with yard.index.database.read() as connection:
        for statement, parameters in statements:
            if not re.match(r"\s*(SELECT|UPDATE|DELETE)", statement):
                continue
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", tuple(parameters)).all()
            steps = [row[-1] for row in plan]
            bad = [
                step
                for step in steps
                if step.startswith("SCAN")
                and not re.match(r"SCAN (registry|alembic_version|\d+-ROW VALUES|CONSTANT)", step)
            ]
            assert not bad, (statement, steps)


def test_the_first_look_reads_each_model_once(yard):
    with yard.index.database.read() as connection:
        counts = [
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (MODELS, VERSIONS)
        ]
    assert counts == [1000, 100_000]
    changes = yard.wanted(0)
    assert len(changes.models) == 1000
    needed = {
        wanted.model.name: [version.number for version in wanted.versions]
        for wanted in changes.models
        if wanted.versions
    }
    assert needed["m0050"] == [3, 7]
    assert set(needed) >= {f"m{number:04}" for number in range(0, 1000, 50)}
