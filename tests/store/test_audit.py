import pytest
import sqlalchemy as sa

from modelyard.store.migrate import migrate
from modelyard.store.rows import Entry


@pytest.fixture
def told(index):
    for _ in range(3):
        index.create_version("iris", "a" * 64, "", "ada")
    index.release("iris", 0, [Entry(1)], "bob", "because", {"p99_s": 0.1})
    index.set_alias("iris", "best", 2, 0, "eve")
    return index


def test_every_move_is_a_line_with_who_and_what(told):
    rows = told.audit()
    assert [(row.seq, row.who, row.action, row.subject) for row in rows] == [
        (1, "ada", "push", "iris:1"),
        (2, "ada", "push", "iris:2"),
        (3, "ada", "push", "iris:3"),
        (4, "bob", "release", "iris"),
        (5, "eve", "alias", "iris@best"),
    ]
    assert rows[3].detail["evidence"] == {"p99_s": 0.1}
    assert told.audit(after=3, limit=1) == (rows[3],)
    assert told.audit(subject="iris:2") == (rows[1],)
    check = told.verify_audit()
    assert (check.ok, check.rows, check.head) == (True, 5, rows[-1].hash)


@pytest.mark.parametrize(
    ("statement", "at"),
    [
        ("UPDATE audit SET who = 'eve' WHERE seq = 1", 1),
        ("UPDATE audit SET at = at + 1 WHERE seq = 4", 4),
        ("UPDATE audit SET detail = '{}' WHERE seq = 4", 4),
        ("UPDATE audit SET hash = previous WHERE seq = 5", 5),
        ("UPDATE audit SET previous = hash WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq = 5", 6),
        ("UPDATE audit SET seq = 9 WHERE seq = 5", 5),
    ],
)
def test_no_line_is_changed_unnoticed(told, statement, at):
    migrate(told.database, "0001")  # whoever can change rows can take the triggers down too
    with told.database.write() as connection:
        connection.execute(sa.text(statement))
    check = told.verify_audit()
    assert not check.ok
    assert check.broken_at in (at, 5 if at == 6 else at)
    assert "line" in check.finding
