import os
import threading

import pytest

from modelyard.artifact.bundle import write_bundle
from modelyard.core.errors import IllegalMove, VersionNotFound
from modelyard.store.collect import collect
from modelyard.store.fsck import fsck
from modelyard.store.rows import Entry

MOVES = {("ready", "retire"): "retired"}


@pytest.fixture
def retired(registry, tmp_path):
    """iris:1..4, of which 1 to 3 are retired; 2 is released and 3 has an alias."""
    for number in range(1, 5):
        parts = {"model.bin": bytes([number]) * 999, "shared.bin": b"in all of them"}
        made = write_bundle(tmp_path / "made" / str(number), {"n": number}, parts)
        registry.push(made, "iris", "", "ada")
    registry.index.release("iris", 0, [Entry(1)], "ada", "")
    registry.index.release("iris", 1, [Entry(2)], "ada", "")
    registry.index.set_alias("iris", "keep", 3, 0, "ada")
    for number in (1, 2, 3):
        registry.index.set_state("iris", number, "retire", MOVES, "ada")
    return registry


def gc(registry, **options):
    return collect(registry.index, registry.blobs, who="ada", **{"grace_s": 0.0, **options})


def test_only_what_is_dead_and_unreferenced_goes(retired):
    assert gc(retired).deleted == 0
    done = gc(retired, dead={"retired"})
    assert done.versions == (("iris", 1),)
    assert (done.deleted, done.freed_bytes > 999) == (2, True)
    for number in (2, 3, 4):
        assert retired.fetch("iris", number).facts["n"] == number
    with pytest.raises(VersionNotFound, match="was collected"):
        retired.fetch("iris", 1)
    assert retired.index.get_version("iris", 1).gone
    assert fsck(retired.index, retired.blobs).ok
    assert retired.index.audit(subject="iris:1")[-1].action == "collect"
    assert gc(retired, dead={"retired"}).versions == ()


def test_what_was_collected_is_not_released_again(retired):
    gc(retired, dead={"retired"})
    with pytest.raises(IllegalMove, match="bundle was collected"):
        retired.index.release("iris", 2, [Entry(1)], "ada", "back")
    with pytest.raises(IllegalMove, match="bundle was collected"):
        retired.index.set_alias("iris", "keep", 1, 1, "ada")
    assert retired.index.history("iris")[-1].entries == (Entry(1),)


def test_grace_keeps_the_young(retired):
    retired.blobs.put(b"nobody's")
    done = gc(retired, dead={"retired"}, grace_s=3600.0)
    assert (done.versions, done.deleted, done.kept) == ((), 0, 0)
    assert done.young == len(list(retired.blobs.list()))


def test_a_dry_run_says_the_same_and_does_nothing(retired):
    retired.blobs.put(b"nobody's")
    before = sorted(entry.digest for entry in retired.blobs.list())
    told = gc(retired, dead={"retired"}, dry_run=True)
    assert sorted(entry.digest for entry in retired.blobs.list()) == before
    assert not retired.index.get_version("iris", 1).gone
    done = gc(retired, dead={"retired"})
    assert told.dry_run
    assert (told.versions, told.deleted, told.freed_bytes, told.kept) == (
        done.versions, done.deleted, done.freed_bytes, done.kept,
    )  # fmt: skip
    assert done.deleted == 3


def test_a_pin_holds_until_it_is_over(registry):
    digest = registry.blobs.put(b"being pushed")
    token = registry.index.pin([digest])
    assert gc(registry).deleted == 0
    registry.index.unpin(token)
    assert gc(registry).deleted == 1
    digest = registry.blobs.put(b"being pushed by one that died")
    registry.index.pin([digest], seconds=-1.0)
    assert gc(registry).deleted == 1


def test_debris_of_killed_writers_goes(registry, bundle):
    registry.push(bundle, "iris", "", "ada")
    aside = registry.blobs.folder / "aside" / "left"
    aside.write_bytes(b"half")
    assert gc(registry).swept == 0, "it may be a writer at work"
    os.utime(aside, (1, 1))
    assert gc(registry).swept == 1
    assert registry.fetch("iris", 1)


def test_pushes_beside_a_busy_gc_lose_nothing(registry, tmp_path):
    """The same blobs pushed, retired and collected without any grace, in turn and at once."""
    made = [
        write_bundle(tmp_path / "made" / str(n), {"n": n}, {"model.bin": bytes([n]) * 999}) for n in range(3)
    ]
    over = threading.Event()
    rounds = []

    def collect_on():
        while not over.is_set():
            rounds.append(gc(registry, dead={"retired"}).deleted)

    collector = threading.Thread(target=collect_on)
    collector.start()
    try:
        for n in range(45):
            version = registry.push(made[n % 3], "iris", "", "ada")
            registry.cache = tmp_path / "caches" / str(n)
            assert registry.fetch("iris", version.number).facts["n"] == n % 3
            registry.index.set_state("iris", version.number, "retire", MOVES, "ada")
    finally:
        over.set()
        collector.join()
    assert sum(rounds) > 0
    assert fsck(registry.index, registry.blobs).ok
