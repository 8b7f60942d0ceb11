from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.core.errors import (
    BadInput,
    Conflict,
    IllegalMove,
    InternalError,
    ModelyardError,
    TooLarge,
    VersionNotFound,
)
from modelyard.store.database import Database
from modelyard.store.index import Index
from modelyard.store.rows import Entry
from modelyard.store.schema import RELEASE_ENTRIES, RELEASES, VERSIONS

A = "a" * 64
START = datetime(2026, 11, 20, 10, tzinfo=UTC)


@pytest.fixture
def iris(index):
    for _ in range(4):
        index.create_version("iris", A, "", "ada")
    index.create_version("wine", A, "", "ada")
    return index


def test_a_release_is_what_is_in_force(iris):
    assert iris.current("iris") is None
    entries = (Entry(2, 90), Entry(3, 10, "canary"), Entry(1, 0, "shadow"))
    made = iris.release("iris", 0, entries, "ada", "try it", {"p99_s": 0.004})
    assert made.entries == entries
    assert iris.current("iris") == made
    assert iris.current_of(["iris", "wine", "none"]) == {"iris": made}
    assert iris.get_model("iris").revision == 1


def test_the_loser_of_a_race_hears_who_won_and_when(iris):
    won = iris.release("iris", 0, [Entry(1)], "ada", "first")
    with pytest.raises(Conflict, match="revision 1, not 0: ada released it") as caught:
        iris.release("iris", 0, [Entry(2)], "bob", "also")
    assert (caught.value.revision, caught.value.who, caught.value.at) == (1, "ada", won.at)
    assert iris.history("iris") == (won,)
    with pytest.raises(Conflict, match="no release yet"):
        iris.release("wine", 3, [Entry(1)], "bob", "")


def test_of_many_racers_one_wins_every_round(address):
    with Index(Database(address)) as one, Index(Database(address)) as two, ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            one.create_version("iris", A, "", "ada")

        def race(revision, racer):
            try:
                return (one, two)[racer % 2].release("iris", revision, [Entry(racer + 1)], f"r{racer}", "")
            except Conflict as lost:
                return lost

        for revision in range(6):
            done = list(pool.map(lambda racer, at=revision: race(at, racer), range(8)))
            won = [result for result in done if not isinstance(result, Conflict)]
            assert len(won) == 1
            assert {lost.who for lost in done if isinstance(lost, Conflict)} == {won[0].who}
            assert one.current("iris") == won[0]


def test_bad_releases_are_refused_and_nothing_changes(iris):
    before = iris.change()
    for entries, error in (
        ([Entry(9)], VersionNotFound),
        ([Entry(1), Entry(1)], BadInput),
        ([Entry(1, -1)], BadInput),
        ([Entry(1, 0)], BadInput),
        ([Entry(1, 5, "shadow")], BadInput),
        ([Entry(1, 5, "boss")], BadInput),
        ([Entry(number) for number in range(1, 99)], TooLarge),
    ):
        with pytest.raises(error):
            iris.release("iris", 0, entries, "ada", "")
    for evidence in ({"x": float("nan")}, {"x": object()}, {"x": "\ud800"}):
        with pytest.raises(BadInput):
            iris.release("iris", 0, [Entry(1)], "ada", "", evidence)
    with pytest.raises(IllegalMove, match="iris:1 is ready"):
        iris.release("iris", 0, [Entry(1)], "ada", "", states={"proved"})
    assert iris.change() == before
    assert iris.history("iris") == ()


def test_a_released_version_is_not_retired_by_who_asks_for_that(iris):
    moves = {("ready", "retire"): "retired"}
    iris.release("iris", 0, [Entry(1)], "ada", "")
    with pytest.raises(IllegalMove, match="is released"):
        iris.set_state("iris", 1, "retire", moves, "ada", unreleased=True)
    iris.release("iris", 1, [Entry(2)], "ada", "")
    assert iris.set_state("iris", 1, "retire", moves, "ada", unreleased=True).state == "retired"


def test_history_is_exact_when_the_clock_goes_back(address):
    times = [START, START + timedelta(hours=1), START - timedelta(days=9), START - timedelta(days=8), START]
    ticks = iter([START, *times])
    with Index(Database(address), clock=lambda: next(ticks)) as index:
        index.create_version("iris", A, "", "ada")
        made = [index.release("iris", revision, [Entry(1)], "ada", "") for revision in range(5)]
    with Index(Database(address)) as index:
        assert [release.at for release in made] == sorted({release.at for release in made})
        assert index.history("iris") == tuple(reversed(made))
        assert index.history_at("iris", made[0].at - timedelta(microseconds=1)) is None
        for one, following in zip(made, [*made[1:], None], strict=True):
            assert index.history_at("iris", one.at) == one
            if following:
                assert index.history_at("iris", following.at - timedelta(microseconds=1)) == one
        assert index.history_at("iris", START + timedelta(days=999)) == made[-1]
        with pytest.raises(BadInput, match="time zone"):
            index.history_at("iris", datetime(2026, 1, 1))


def test_history_pages(iris):
    for revision in range(5):
        iris.release("iris", revision, [Entry(1)], "ada", str(revision))
    assert [release.revision for release in iris.history("iris", limit=2)] == [5, 4]
    assert [release.revision for release in iris.history("iris", before=4, limit=9)] == [3, 2, 1]


def test_the_database_itself_keeps_history_and_models_apart(iris):
    iris.release("iris", 0, [Entry(1)], "ada", "")
    for statement in (
        sa.update(RELEASES).values(who="eve"),
        sa.delete(RELEASES),
        sa.update(RELEASE_ENTRIES).values(weight=1),
        sa.delete(RELEASE_ENTRIES),
        sa.text("UPDATE audit SET who = 'eve'"),
        sa.text("DELETE FROM audit"),
        sa.delete(VERSIONS),
    ):
        with pytest.raises(ModelyardError), iris.database.write() as connection:
            connection.execute(statement)
    with iris.database.read() as connection:
        wine = connection.execute(sa.select(VERSIONS).where(VERSIONS.c.model_id != 1)).one()
    foreign = {
        "release_id": 1,
        "position": 7,
        "model_id": 1,
        "version_id": wine.id,
        "weight": 1,
        "role": "live",
    }
    with pytest.raises(InternalError), iris.database.write() as connection:
        connection.execute(sa.insert(RELEASE_ENTRIES).values(foreign))
    assert iris.current("iris").entries == (Entry(1),)


def test_what_did_not_change_is_not_read(iris):
    start = iris.change()
    assert [model.name for model in iris.changes_since(0)] == ["iris", "wine"]
    assert iris.changes_since(start) == ()
    iris.release("wine", 0, [Entry(1)], "ada", "")
    iris.release("wine", 1, [Entry(1)], "ada", "")
    (changed,) = iris.changes_since(start)
    assert (changed.name, changed.revision, changed.change) == ("wine", 2, start + 2)
    assert iris.change() == start + 2


MOVES = st.lists(st.tuples(st.sampled_from("pr"), st.integers(0, 3), st.integers(-50, 50)), max_size=25)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MOVES)
def test_any_story_is_told_back_exactly(tmp_path_factory, moves):
    """Against a model of three lines: a list of what was released, at what moment."""
    clock, told, pushed = START, [], 0
    folder = tmp_path_factory.mktemp("story")
    with Index(Database(f"sqlite:///{folder}/r.db"), clock=lambda: clock) as index:
        for kind, number, seconds in moves:
            clock += timedelta(seconds=seconds)
            if kind == "p":
                pushed += 1
                assert index.create_version("iris", A, "", "ada").number == pushed
            elif number == 0 or number > pushed:
                with pytest.raises(ModelyardError):
                    index.release("iris", len(told), [Entry(number)], "ada", "")
            else:
                told.append(index.release("iris", len(told), [Entry(number)], "ada", ""))
        if not pushed:
            return
        assert index.history("iris") == tuple(reversed(told))
        for at, release in enumerate(told):
            assert index.history_at("iris", release.at) == release
            assert index.history_at("iris", release.at - timedelta(microseconds=1)) == (
                told[at - 1] if at else None
            )
        assert index.verify_audit().ok
