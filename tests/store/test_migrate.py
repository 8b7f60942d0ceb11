import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from modelyard.core.errors import BadInput, CorruptFile, NewerRegistry, Unavailable
from modelyard.store.alembic_steps import known_steps
from modelyard.store.database import Database
from modelyard.store.index import Index
from modelyard.store.migrate import migrate, step_of, steps
from modelyard.store.schema import METADATA


@pytest.fixture
def database(address):
    opened = Database(address)
    yield opened
    opened.close()


def tables(database):
    with database.read() as connection:
        return set(sa.inspect(connection).get_table_names()) - {"alembic_version"}


def test_the_steps_end_in_what_the_code_says(database):
    migrate(database)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    assert tables(database) == set(METADATA.tables)


def test_the_steps_that_are_known_are_those_that_lie_there():
    assert steps() == known_steps()


def test_up_and_down_and_up_again(database):
    for step in steps():
        assert migrate(database, step) == step
    for step in (*reversed(steps()[:-1]), "base"):
        migrate(database, step)
        assert step_of(database) == (None if step == "base" else step)
    assert tables(database) == set()
    assert migrate(database) == steps()[-1]
    assert tables(database) == set(METADATA.tables)


def test_what_is_there_stays_over_a_step_down_and_up(address, database):
    with Index(Database(address)) as index:
        made = index.create_version("iris", "a" * 64, "", "ada")
    migrate(database, steps()[0])
    with Index(Database(address)) as index:
        assert step_of(database) == steps()[-1]
        assert index.get_version("iris", 1) == made
        assert index.verify_audit().ok


def test_a_registry_of_a_later_release_is_refused_unchanged(address, database):
    with Index(Database(address)) as index:
        index.create_version("iris", "a" * 64, "", "ada")
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerRegistry, match=r"'9999'.*knows '0003'"):
        Index(Database(address)).open()
    with pytest.raises(NewerRegistry):
        migrate(database, "base")
    assert step_of(database) == "9999"
    assert tables(database) == set(METADATA.tables)


def test_a_migration_that_fails_never_happened(database, monkeypatch):
    migrate(database, steps()[0])
    from alembic.operations import Operations

    done, real = [], Operations.execute

    def break_at_the_third(self, statement, **options):
        done.append(statement)
        if len(done) == 3:
            raise RuntimeError("out of luck")
        return real(self, statement, **options)

    from alembic import op

    monkeypatch.setattr(op, "execute", lambda statement: break_at_the_third(op._proxy, statement))
    with pytest.raises(RuntimeError, match="out of luck"):
        migrate(database)
    monkeypatch.undo()
    assert step_of(database) == steps()[0]
    assert migrate(database) == steps()[-1]


def test_addresses_that_are_none(tmp_path):
    for url in ("", "nonsense", "mysql://x/y", "postgresql://x/y", "sqlite+aiosqlite:///x"):
        with pytest.raises(BadInput):
            Database(url)
    with pytest.raises(BadInput):
        migrate(Database("sqlite://"))


def test_a_file_that_is_no_database_is_refused_unchanged(tmp_path):
    path = tmp_path / "registry.db"
    path.write_bytes(b"these are not the tables you are looking for" * 100)
    with pytest.raises(CorruptFile):
        Index(Database(f"sqlite:///{path}")).open()
    assert path.read_bytes().startswith(b"these are not")


def test_a_server_that_is_not_there_is_told_without_its_address(tmp_path):
    pytest.importorskip("psycopg")
    database = Database(f"postgresql+psycopg://yard:secret@/x?host={tmp_path}", busy_s=2)
    with pytest.raises(Unavailable) as caught:
        Index(database).open()
    assert "secret" not in caught.value.message
    assert str(tmp_path) not in caught.value.message
