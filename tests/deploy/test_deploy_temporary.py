"""A yard in memory and a yard on disk: the same orders, the same wishes."""

import pytest

from modelyard.core.errors import BadInput, IllegalMove, ModelNotFound, ModelyardError, VersionNotFound
from modelyard.deploy.plan import Order
from modelyard.deploy.temporary import TemporaryYard
from modelyard.deploy.yard import Yard
from modelyard.flow import Wishes, prepare

ORDERS = (
    Order("release", 1),
    Order("release", 1),
    Order("canary", weight=1_000),
    Order("canary", weight=5_000),
    Order("retire", 2),
    Order("promote"),
    Order("shadow", 3),
    Order("rollback"),
    Order("release", 9),
    Order("withdraw", 3),
    Order("release"),
    Order("retire", 1),
    Order("release", 1),
    Order("off"),
)


@pytest.fixture(scope="module")
def bundle(files, tmp_path_factory):
    cache = tmp_path_factory.mktemp("compiled")
    return prepare(files / "sums.onnx", Wishes(), cache, lambda _what, _share: None).bundle


def carried_out(yard, order):
    """What came of an order, without its time."""
    try:
        done = yard.order("sums", order, "ann")
    except ModelyardError as error:
        return error.code, error.message
    current = done.current
    return current.release, current.order, current.said, current.who, done.sentence, done.changed


def wishes(yard):
    (wanted,) = yard.wanted(0).models
    versions = [(one.model, one.number, one.manifest, one.state) for one in wanted.versions]
    return (
        wanted.model.name,
        wanted.model.last_version,
        wanted.model.revision,
        wanted.current.release,
        versions,
    )


def test_the_same_orders_lead_to_the_same_wishes(tmp_path, bundle):
    memory = TemporaryYard()
    with Yard.open(tmp_path) as disk:
        for number in (1, 2, 3):
            made = [yard.push(bundle, "sums", f"take {number}", "ann") for yard in (memory, disk)]
            assert made[0].number == made[1].number == number
            assert made[0].manifest == made[1].manifest == bundle.digest
        seen = []
        for order in ORDERS:
            seen.append(carried_out(memory, order))
            assert seen[-1] == carried_out(disk, order), order
            assert wishes(memory) == wishes(disk), order
    assert {one[0] for one in seen if len(one) == 2} == {"illegal-move", "version-not-found"}
    assert sum(len(one) > 2 and one[-1] for one in seen) >= 8


def test_what_did_not_change_is_not_wanted_again(bundle):
    yard = TemporaryYard()
    for name in ("a", "b"):
        yard.push(bundle, name, "", "ann")
    since = yard.wanted(0).change
    yard.order("b", Order("release"), "ann")
    changes = yard.wanted(since)
    assert [one.model.name for one in changes.models] == ["b"]
    assert yard.wanted(changes.change).models == ()


def test_what_cannot_be_is_refused(bundle):
    yard = TemporaryYard()
    with pytest.raises(BadInput):
        yard.push(bundle, "../up", "", "ann")
    with pytest.raises(ModelNotFound):
        yard.order("none", Order("release"), "ann")
    yard.push(bundle, "sums", "", "ann")
    with pytest.raises(VersionNotFound):
        yard.order("sums", Order("release", 2), "ann")
    with pytest.raises(IllegalMove):
        yard.order("sums", Order("rollback"), "ann")
