import asyncio
import shutil

import pytest
from control_parts import prepared

from modelyard.control.build import build
from modelyard.control.fetched import Fetched
from modelyard.control.reconcile import Reconciler
from modelyard.core.errors import Unavailable
from modelyard.deploy.current import Current
from modelyard.deploy.plan import Order
from modelyard.deploy.release import Entry, Release
from modelyard.deploy.wanted import Wanted
from modelyard.deploy.yard import Yard
from modelyard.serve.link import WantedModel, WantedSplit
from modelyard.store.rows import Model, Version, moment_of

THEN = moment_of(0)


def version(number, state="ready"):
    return Version("iris", number, f"d{number}", "", THEN, "ada", state, THEN)


def wanted(*versions, canary=None, live=1, shadows=(), before=()):
    entries = [Entry(canary, 1_000, "canary")] if canary else []
    entries += [Entry(live, 9_000 if canary else 10_000, "live")] if live else []
    entries += [Entry(shadow, 0, "shadow") for shadow in shadows]
    current = Current(Release("iris", 4, tuple(entries), before))
    return Wanted(Model("iris", THEN, "ada", 3, 4, 9), current, versions)


def there(*numbers):
    return {f"d{number}": Fetched(f"/b{number}", 5, 8 if number == 3 else 0) for number in numbers}


def test_all_there_is_told_with_its_split_and_what_its_bundles_say_of_the_engine():
    built = build(wanted(version(1), version(3), canary=3), (), there(1, 3), None, True)
    assert built.missing == ()
    assert built.model.split == WantedSplit((3, 1), (1_000, 9_000), (), b"iris:3")
    assert [(one.number, one.folder, one.max_batch_rows) for one in built.model.versions] == [
        (1, "/b1", 0),
        (3, "/b3", 8),
    ]
    assert (built.model.revision, built.model.pinned) == (4, True)


def test_what_is_not_there_leaves_what_was_told_before():
    before = WantedModel("iris", 3, (), WantedSplit((1,), (10_000,)))
    built = build(wanted(version(1), version(2), canary=2), (), there(1), before, False)
    assert (built.model, built.missing) == (before, (2,))


def test_without_a_before_the_live_version_goes_on_alone():
    built = build(wanted(version(1), version(2), canary=2), (), there(1), None, False)
    assert built.model.split == WantedSplit((1,), (10_000,), (), b"iris:2")
    assert build(wanted(version(1)), (), {}, None, False).model is None


def test_shadows_and_stand_bys_do_not_hold_the_others_up():
    built = build(wanted(version(1), version(2), version(3), shadows=(2,)), (), there(1), None, False)
    assert built.model.split == WantedSplit((1,), (10_000,), (), b"iris:1")
    assert built.missing == (2, 3)


def test_a_retired_stand_by_is_not_held_and_extras_are():
    built = build(wanted(version(1), version(2, "draining")), (version(3),), there(1, 2, 3), None, False)
    assert [one.number for one in built.model.versions] == [1, 3]
    off = build(wanted(live=None), (), {}, built.model, False)
    assert (off.model, off.missing) == (None, ())


def test_a_version_whose_bundle_was_collected_is_missing():
    assert build(wanted(version(1), shadows=(2,)), (), there(1), None, False).missing == (2,)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return [prepared(folder, number) for number in (1, 2)]


@pytest.fixture
def yard(tmp_path, bundles):
    with Yard.open(tmp_path) as opened:
        for bundle in bundles:
            opened.push(bundle, "iris", "", "ada")
        opened.push(bundles[0], "other", "", "ada")
        yield opened


async def true(what, seconds=20):
    stop = asyncio.get_running_loop().time() + seconds
    while not what():
        assert asyncio.get_running_loop().time() < stop, "it did not come true"
        await asyncio.sleep(0.01)


def run(yard, work):
    async def main():
        reconciler = Reconciler(yard, lambda: None, {"other"})
        reconciler.open()
        try:
            await work(reconciler)
        finally:
            await reconciler.close()

    asyncio.run(main())


def live(reconciler, name):
    model = reconciler.models.get(name)
    return None if model is None or model.split is None else model.split.versions


def test_releases_are_followed_and_only_what_changed_is_read(yard, monkeypatch):
    read = []
    asked = yard.index.changes_since
    monkeypatch.setattr(
        yard.index, "changes_since", lambda since, limit: read.append(asked(since, limit)) or read[-1]
    )

    async def work(reconciler):
        await true(lambda: reconciler.complete)
        assert reconciler.models == {}
        yard.order("iris", Order("release", 1), "ada")
        yard.order("other", Order("release", 1), "ada")
        await true(lambda: live(reconciler, "iris") == (1,) and live(reconciler, "other") == (1,))
        assert reconciler.models["other"].pinned
        read.clear()
        yard.order("iris", Order("release", 2), "ada")
        await true(lambda: live(reconciler, "iris") == (2,))
        assert [one.number for one in reconciler.models["iris"].versions] == [2, 1]
        assert {model.name for page in read for model in page} == {"iris"}
        yard.order("iris", Order("off"), "ada")
        await true(lambda: live(reconciler, "iris") is None)
        assert reconciler.problems() == []

    run(yard, work)


def test_a_bundle_that_is_away_is_a_problem_and_the_others_go_on(yard, tmp_path):
    digest = yard.index.get_version("iris", 2).manifest
    blob = tmp_path / "blobs"
    file = next(path for path in blob.rglob("*") if path.name.endswith(digest) or path.name == digest)
    kept = tmp_path / "kept"
    shutil.move(file, kept)

    async def work(reconciler):
        yard.order("iris", Order("release", 1), "ada")
        await true(lambda: live(reconciler, "iris") == (1,))
        yard.order("iris", Order("release", 2), "ada")
        yard.order("other", Order("release", 1), "ada")
        await true(lambda: live(reconciler, "other") == (1,))
        await true(lambda: any(said.startswith("iris:2 cannot be fetched") for said in reconciler.problems()))
        assert live(reconciler, "iris") == (1,)
        assert reconciler.complete
        shutil.move(kept, file)
        # Tried again at once when another order asks for it.
        yard.order("iris", Order("release", 1), "ada")
        await true(lambda: reconciler.wanted["iris"].current.release.live == 1)

    run(yard, work)


def test_a_registry_that_does_not_answer_is_a_problem_until_it_does(yard, monkeypatch):
    async def work(reconciler):
        yard.order("iris", Order("release", 1), "ada")
        await true(lambda: live(reconciler, "iris") == (1,))
        change = yard.index.change

        def away():
            raise Unavailable("the database does not answer")

        monkeypatch.setattr(yard.index, "change", away)
        await true(lambda: reconciler.problems() != [])
        assert "what is served goes on" in reconciler.problems()[0]
        assert live(reconciler, "iris") == (1,)
        monkeypatch.setattr(yard.index, "change", change)
        await true(lambda: reconciler.problems() == [])
        yard.order("iris", Order("release", 2), "ada")
        await true(lambda: live(reconciler, "iris") == (2,))

    run(yard, work)
