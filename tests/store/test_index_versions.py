from concurrent.futures import ThreadPoolExecutor

import pytest

from modelyard.core.errors import (
    BadInput,
    Conflict,
    IllegalMove,
    ModelNotFound,
    TooLarge,
    VersionNotFound,
)
from modelyard.store.database import Database
from modelyard.store.index import Index

A, B, C = "a" * 64, "b" * 64, "c" * 64
MOVES = {("ready", "retire"): "retired", ("retired", "restore"): "ready"}


def test_numbers_count_up_from_one_for_each_model(index):
    numbers = [index.create_version(model, A, "", "ada").number for model in ("iris", "wine", "iris", "iris")]
    assert numbers == [1, 1, 2, 3]
    assert index.get_model("iris").last_version == 3


def test_a_version_is_as_it_was_registered(index):
    made = index.create_version("iris", A, "première forêt 🌲", "ada", blobs=[B], state="draft")
    assert index.get_version("iris", 1) == made
    assert (made.manifest, made.note, made.created_by, made.state) == (A, "première forêt 🌲", "ada", "draft")
    assert made.created_at.utcoffset().total_seconds() == 0


def test_racing_pushes_get_every_number_once(address):
    with Index(Database(address)) as one, Index(Database(address)) as two, ThreadPoolExecutor(8) as pool:
        done = pool.map(lambda n: (one, two)[n % 2].create_version("iris", A, str(n), "x").number, range(40))
        assert sorted(done) == list(range(1, 41))
        assert one.verify_audit().rows == 40


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\0b", "x" * 10_000, "", ".hidden", "ірis", "iris ", "iris\n", "-rf", "ｉris"]
)
def test_names_that_are_none_are_refused_and_nothing_changes(index, name):
    for call in (
        lambda: index.create_version(name, A, "", "ada"),
        lambda: index.get_version(name, 1),
        lambda: index.release(name, 0, [], "ada", ""),
        lambda: index.get_model(name),
        lambda: index.history(name),
    ):
        with pytest.raises(BadInput):
            call()
    assert index.change() == 0
    assert index.list_models() == ()


@pytest.mark.parametrize("digest", ["", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"])
def test_digests_that_are_none_are_refused(index, digest):
    with pytest.raises(BadInput):
        index.create_version("iris", digest, "", "ada")
    with pytest.raises(BadInput):
        index.create_version("iris", A, "", "ada", blobs=[digest])
    assert index.change() == 0


def test_texts_that_no_database_keeps_are_refused(index):
    with pytest.raises(BadInput):
        index.create_version("iris", A, "nul\0", "ada")
    with pytest.raises(BadInput):
        index.create_version("iris", A, "half \ud800", "ada")
    with pytest.raises(TooLarge):
        index.create_version("iris", A, "x" * 10_001, "ada")
    with pytest.raises(TooLarge):
        index.create_version("iris", A, "", "x" * 201)
    assert index.change() == 0


def test_unknown_models_and_versions_are_told_apart(index):
    index.create_version("iris", A, "", "ada")
    with pytest.raises(ModelNotFound):
        index.get_version("wine", 1)
    for number in (2, 0, -1, 2**31, 2**70):
        with pytest.raises(VersionNotFound, match="versions are 1 to 1"):
            index.get_version("iris", number)


def test_pages_go_through_everything_once(index):
    for number in range(7):
        index.create_version("iris", A, str(number), "ada")
        index.create_version(f"m{number}", A, "", "ada")
    found, before = [], None
    while page := index.list_versions("iris", before, limit=3):
        found += [version.number for version in page]
        before = found[-1]
    assert found == [7, 6, 5, 4, 3, 2, 1]
    names, after = [], ""
    while page := index.list_models(after, limit=3):
        names += [model.name for model in page]
        after = names[-1]
    assert names == ["iris", *(f"m{number}" for number in range(7))]


def test_names_are_ordered_alike_in_both_databases(index):
    for name in ("b", "A", "a_1", "a-1", "B", "a.1", "0"):
        index.create_version(name, A, "", "ada")
    names = [model.name for model in index.list_models()]
    assert names == sorted(names)


def test_states_move_only_as_the_table_says(index):
    index.create_version("iris", A, "", "ada")
    retired = index.set_state("iris", 1, "retire", MOVES, "bob", "old")
    assert retired.state == "retired"
    assert retired == index.get_version("iris", 1)
    with pytest.raises(IllegalMove, match="iris:1 is retired, so it cannot retire; it can: restore"):
        index.set_state("iris", 1, "retire", MOVES, "bob")
    assert index.get_version("iris", 1) == retired
    assert [row.action for row in index.audit()] == ["push", "state"]


def test_aliases_move_by_compare_and_swap(index):
    for _ in range(3):
        index.create_version("iris", A, "", "ada")
    index.create_version("wine", A, "", "ada")
    assert index.set_alias("iris", "best", 1, 0, "ada").revision == 1
    assert index.set_alias("iris", "best", 2, 1, "bob").revision == 2
    with pytest.raises(Conflict, match="bob moved it") as caught:
        index.set_alias("iris", "best", 3, 1, "eve")
    assert (caught.value.revision, caught.value.who) == (2, "bob")
    assert index.get_alias("iris", "best").version == 2
    assert [alias.name for alias in index.list_aliases("iris")] == ["best"]
    with pytest.raises(VersionNotFound):
        index.get_alias("wine", "best")
    with pytest.raises(VersionNotFound):
        index.set_alias("wine", "best", 2, 0, "eve")
    with pytest.raises(BadInput):
        index.set_alias("iris", "../x", 1, 0, "eve")
