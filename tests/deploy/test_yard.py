"""The yard on both databases: orders, the past, what hosts must hold."""

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from yards import make_bundle

from modelyard.core.errors import (
    BadInput,
    Conflict,
    CorruptFile,
    IllegalMove,
    MissingFile,
    ModelNotFound,
    ModelyardError,
    VersionNotFound,
)
from modelyard.core.ref import ModelRef, parse_ref
from modelyard.deploy.guard import Rules
from modelyard.deploy.plan import Order
from modelyard.deploy.rollout import begin
from modelyard.deploy.yard import Yard


def give(yard, verb, version=None, weight=None, model="iris", **more):
    return yard.order(model, Order(verb, version, weight), "ada@here", **more)


def test_an_order_is_a_row_with_who_when_why_and_evidence(yard):
    done = give(yard, "release", 1, why="the first", evidence={"p99_s": 0.004})
    now = yard.released("iris")
    assert done.changed
    assert done.current == now
    assert (now.revision, now.release.live, now.who, now.why) == (1, 1, "ada@here", "the first")
    assert now.order == Order("release", 1)
    assert now.evidence == {"p99_s": 0.004}
    assert give(yard, "release", 2).current.why == "version 2 of iris is live; version 1 stands by"


def test_a_rollback_reads_one_row(yard):
    for version in (1, 2, 3):
        give(yard, "release", version)
    assert yard.released("iris").release.before == (1, 2)
    assert give(yard, "rollback").current.release.live == 2
    assert give(yard, "rollback", 1).current.release.live == 1
    with pytest.raises(IllegalMove, match="no version was live before"):
        give(yard, "rollback")


def test_a_fulfilled_order_writes_nothing(yard):
    give(yard, "release", 1)
    before = yard.index.change()
    assert not give(yard, "release", 1).changed
    assert not give(yard, "withdraw", 3).changed
    assert yard.index.change() == before


def test_without_a_version_the_newest_is_meant(yard):
    assert give(yard, "release").current.release.live == 4
    give(yard, "release", 1)
    assert give(yard, "canary", weight=100).current.release.canary.version == 4
    give(yard, "rollback")
    give(yard, "canary", 2, 100)
    assert give(yard, "canary", weight=500).current.release.canary.version == 2


@pytest.mark.parametrize(
    ("model", "order", "error"),
    [
        ("wine", Order("release", 1), ModelNotFound),
        ("iris", Order("release", 9), VersionNotFound),
        ("iris", Order("release", 2**70), VersionNotFound),
        ("iris", Order("release", -1), VersionNotFound),
        ("iris", Order("promote"), IllegalMove),
        ("iris", Order("canary", 2, 100), IllegalMove),
        ("iris", Order("retire", 2), IllegalMove),
        ("iris", Order("retire"), IllegalMove),
        ("../iris", Order("release", 1), BadInput),
        ("iris\0", Order("release", 1), BadInput),
        ("i" * 10_000, Order("release", 1), BadInput),
        ("irіs", Order("release", 1), BadInput),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_refused_changes_nothing(yard, model, order, error):
    give(yard, "release", 2)
    before = (yard.index.change(), yard.released("iris"), yard.versions("iris"))
    with pytest.raises(error) as refused:
        yard.order(model, order, "ada")
    assert len(refused.value.message) < 400
    assert (yard.index.change(), yard.released("iris"), yard.versions("iris")) == before


def test_of_two_that_race_one_wins_and_the_other_hears_who(yard, tmp_path):
    give(yard, "release", 1)
    with pytest.raises(Conflict, match="is at revision 1, not 0: ada@here ordered it") as lost:
        give(yard, "release", 2, expected=0)
    assert (lost.value.revision, lost.value.who) == (1, "ada@here")
    assert lost.value.at == yard.released("iris").at
    url = yard.index.database.url.render_as_string(hide_password=False)
    with Yard.open(tmp_path / "home", url) as other, ThreadPoolExecutor(6) as pool:

        def race(racer):
            try:
                return (yard, other)[racer % 2].order(
                    "iris", Order("release", racer % 4 + 1), f"racer {racer}", expected=revision
                )
            except Conflict as conflict:
                return conflict

        for _ in range(5):
            revision = yard.released("iris").revision
            done = list(pool.map(race, range(6)))
            won = [row for row in done if not isinstance(row, Conflict) and row.changed]
            assert len(won) == 1
            assert {row.who for row in done if isinstance(row, Conflict)} <= {won[0].current.who}
            assert yard.released("iris") == won[0].current


def test_retiring_moves_the_version_with_the_release(yard):
    give(yard, "release", 2)
    done = give(yard, "retire", 1)
    assert (done.current.revision, yard.version(ModelRef("iris", 1)).state) == (2, "draining")
    assert [row.number for row in yard.draining()] == [1]
    with pytest.raises(IllegalMove, match="is draining"):
        give(yard, "release", 1)
    give(yard, "drained", 1)
    assert yard.version(ModelRef("iris", 1)).state == "retired"
    assert yard.draining() == ()
    give(yard, "restore", 1)
    assert yard.version(ModelRef("iris", 1)).state == "ready"
    assert give(yard, "release", 1).current.release.before == (2,)
    subjects = [row.subject for row in yard.audit() if row.action == "state"]
    assert subjects == ["iris:1", "iris:1", "iris:1"]
    assert yard.verify_audit().ok


def test_a_rollout_and_its_rules_live_in_the_row(yard):
    give(yard, "release", 1)
    rollout, rules = begin(2, (100, 1_000, 10_000), 60.0, 1e9), Rules(min_requests=7)
    give(yard, "canary", 2, 100, rollout=rollout, rules=rules)
    assert (yard.released("iris").rollout, yard.released("iris").rules) == (rollout, rules)
    give(yard, "shadow", 3)
    give(yard, "retire", 4)
    assert (yard.released("iris").rollout, yard.released("iris").rules) == (rollout, rules)
    done = give(yard, "canary", 2, 100)  # by hand: it no longer grows by itself
    assert done.changed
    assert (done.current.rollout, done.current.rules) == (None, None)
    give(yard, "canary", 2, 100, rollout=rollout, rules=rules)
    for verb in ("promote", "rollback"):
        done = give(yard, verb)
        assert (done.current.rollout, done.current.rules) == (None, None)
    with pytest.raises(BadInput, match="belongs to the canary"):
        give(yard, "canary", 3, 100, rollout=rollout)
    with pytest.raises(BadInput, match="belongs to the canary"):
        give(yard, "release", 2, rollout=rollout)


def test_off_answers_nobody_and_keeps_the_past(yard):
    give(yard, "release", 1)
    give(yard, "release", 2)
    give(yard, "shadow", 3)
    done = give(yard, "off").current
    assert (done.release.entries, done.release.before, done.needed) == ((), (1, 2), ())
    assert give(yard, "release", 2).current.release.before == (1,)


def test_a_shadow_may_come_before_a_release(yard):
    assert give(yard, "shadow", 1).current.needed == (1,)
    assert yard.released("iris").release.split() is None


def test_the_past_says_exactly_what_was_in_force(yard):
    first = yard.index.get_model("iris").created_at
    assert yard.history_at("iris", first).revision == 0
    rows = [
        give(yard, "release", 1),
        give(yard, "canary", 2, 500),
        give(yard, "promote"),
        give(yard, "rollback"),
    ]
    tick = timedelta(microseconds=1)
    for number, row in enumerate(rows):
        current = row.current
        assert yard.history_at("iris", current.at) == current
        assert yard.history_at("iris", current.at - tick).revision == number
    assert yard.history("iris") == tuple(row.current for row in reversed(rows))
    assert [row.revision for row in yard.history("iris", before=3, limit=1)] == [2]


def test_a_host_hears_what_changed_and_nothing_else(yard, tmp_path):
    yard.push(make_bundle(tmp_path), "wine", "", "ada")
    start = yard.wanted(0)
    assert {wanted.model.name for wanted in start.models} == {"iris", "wine"}
    assert all(wanted.versions == () for wanted in start.models)
    give(yard, "release", 1)
    give(yard, "release", 2)
    give(yard, "canary", 3, 1_000)
    give(yard, "shadow", 4)
    changes = yard.wanted(start.change)
    (iris,) = changes.models
    assert [version.number for version in iris.versions] == [3, 2, 4, 1]  # the last one stands by
    assert iris.versions[0].manifest == make_bundle(tmp_path).digest
    assert iris.current == yard.released("iris")
    assert yard.wanted(changes.change) == type(changes)(changes.change, ())
    assert changes.change == yard.index.change()
    yard.gc("ada", 0.0)  # a change of no model
    assert yard.wanted(changes.change).models == ()


def test_export_and_import_make_an_equal_version(yard, tmp_path):
    file = tmp_path / "iris.tar"
    bundle = yard.export(ModelRef("iris", 2), file)
    assert bundle.digest == yard.version(ModelRef("iris", 2)).manifest
    with file.open("rb") as source:
        made = yard.import_(source, "copy", "from elsewhere", "bob", expected=bundle.digest)
    assert (made.model, made.number, made.manifest) == ("copy", 1, bundle.digest)
    again = tmp_path / "again.tar"
    yard.export(ModelRef("copy"), again)
    assert again.read_bytes() == file.read_bytes()
    with pytest.raises(MissingFile, match="cannot be written"):
        yard.export(ModelRef("iris"), tmp_path / "none" / "x.tar")


def test_a_tar_that_lies_registers_nothing(yard, tmp_path):
    file = tmp_path / "iris.tar"
    yard.export(ModelRef("iris"), file)
    raw = file.read_bytes()
    before = yard.index.change()
    at = raw.index(b"ggg")
    lies = {
        "changed": raw[:at] + b"h" + raw[at + 1 :],
        "cut": raw[: len(raw) // 2],
        "empty": b"",
    }
    for lie in lies.values():
        with pytest.raises(CorruptFile):
            yard.import_(io.BytesIO(lie), "liar", "", "bob")
    with pytest.raises(CorruptFile, match="was asked for"):
        yard.import_(io.BytesIO(raw), "liar", "", "bob", expected="0" * 64)
    with pytest.raises(BadInput):
        yard.import_(io.BytesIO(raw), "../liar", "", "bob")
    assert yard.index.change() == before
    assert list((yard.registry.cache / "incoming").iterdir()) == []


def test_a_bundle_without_a_signature_is_no_models(yard, tmp_path):
    with pytest.raises(CorruptFile, match="its signature cannot be read"):
        yard.push(make_bundle(tmp_path, b"q", signature={"inputs": 3}), "iris", "", "ada")


def test_diff_names_what_differs(yard, tmp_path):
    yard.push(make_bundle(tmp_path, b"h", report={"notes": ["x"]}), "iris", "", "ada")
    lines = {line.what: (line.a, line.b) for line in yard.diff(parse_ref("iris:1"), parse_ref("iris:5"))}
    assert lines["report.notes"] == ("", "[x]")
    assert lines["signature.inputs.x"] == ("datatype FP32, shape [-1, 4]",) * 2
    assert lines["file model.onnx"][0] != lines["file model.onnx"][1]
    assert lines["size"] == ("1,000 bytes",) * 2
    assert all(line.same for line in yard.diff(parse_ref("iris:1"), parse_ref("iris:2")))


def test_garbage_is_what_was_retired_and_nothing_in_use(yard, tmp_path):
    yard.push(make_bundle(tmp_path, b"h"), "iris", "", "ada")
    give(yard, "release", 1)
    give(yard, "retire", 5)
    assert yard.gc("ada", 0.0).versions == ()  # it may still be draining somewhere
    give(yard, "drained", 5)
    assert yard.gc("ada", 3600.0).versions == ()
    assert yard.gc("ada", 0.0, dry_run=True).versions == (("iris", 5),)
    done = yard.gc("ada", 0.0)
    assert (done.versions, done.deleted) == ((("iris", 5),), 2)
    for call in (yard.manifest, yard.bundle):
        with pytest.raises(VersionNotFound, match="was collected"):
            call(ModelRef("iris", 5))
    with pytest.raises(IllegalMove, match="is removed"):
        give(yard, "restore", 5)
    assert yard.fsck().ok
    assert yard.bundle(ModelRef("iris", 1)).has("model.onnx")


def test_a_closed_home_says_so(tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises((ModelyardError, OSError)):
        Yard.open(tmp_path / "home")
