import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from modelyard.core.errors import BadInput, IllegalMove, VersionNotFound
from modelyard.core.routing import WHOLE
from modelyard.deploy.plan import VERBS, Order, plan, replay
from modelyard.deploy.release import KEPT_LIVES, Entry, Release, parse_weight, show_weight
from modelyard.deploy.states import RELEASE

READY = dict.fromkeys(range(1, 6), "ready")
VERSIONS = st.one_of(st.none(), st.integers(1, 6))
ORDERS = st.builds(
    Order, st.sampled_from(list(VERBS)), VERSIONS, st.one_of(st.none(), st.integers(-1, WHOLE + 1))
)


def after(*orders, states=READY):
    release = Release("iris")
    for verb, *arguments in orders:
        release = plan(release, Order(verb, *arguments), states).release
    return release


def refused(release, verb, *arguments, states=READY):
    with pytest.raises(IllegalMove) as error:
        plan(release, Order(verb, *arguments), states)
    return error.value.message


def test_release_moves_all_traffic_at_once():
    release = after(("release", 1), ("release", 2))
    assert release.entries == (Entry(2, WHOLE, "live"),)
    assert release.before == (1,)
    assert release.number == 2


def test_a_canary_takes_its_share_from_the_live_version():
    release = after(("release", 1), ("canary", 2, 1_000))
    assert release.split().versions == (2, 1)
    assert release.split().weights == (1_000, 9_000)


def test_a_canary_may_grow_and_keeps_its_salt():
    small, large = (after(("release", 1), ("canary", 2, weight)) for weight in (100, 5_000))
    assert small.split().salt == large.split().salt == b"iris:2"


def test_a_shadow_leaves_and_the_canary_stays():
    release = after(("release", 1), ("canary", 2, 500), ("shadow", 3), ("withdraw", 3))
    assert (release.state, release.canary.version, release.shadows) == ("canary", 2, ())
    assert after(("release", 1), ("canary", 2, 500), ("withdraw", 2)).state == "steady"


def test_a_shadow_carries_nothing():
    release = after(("release", 1), ("shadow", 3))
    assert release.split().versions == (1,)
    assert release.split().shadows == (3,)


def test_promote_and_back():
    release = after(("release", 1), ("canary", 2, 500), ("promote",))
    assert (release.live, release.before, release.canary) == (2, (1,), None)
    assert plan(release, Order("rollback"), READY).release.live == 1


def test_rollback_of_a_canary_leaves_the_live_version():
    release = after(("release", 1), ("release", 2), ("canary", 3, 500), ("rollback",))
    assert (release.live, release.before, release.canary) == (2, (1,), None)


def test_rollback_to_a_version_of_long_ago_forgets_what_came_after():
    release = after(("release", 1), ("release", 2), ("release", 3), ("canary", 4, 1), ("rollback", 1))
    assert (release.live, release.before, release.canary) == (1, (), None)


@pytest.mark.parametrize(
    ("orders", "order", "says"),
    [
        ([], ("canary", 2, 1_000), "release one first; in force: nothing is released"),
        ([], ("rollback",), "nothing is live"),
        ([("release", 1)], ("rollback",), "no version was live before"),
        ([("release", 1)], ("rollback", 3), "version 3 was not live before"),
        ([("release", 1)], ("promote",), "there is no canary; in force: version 1 is live"),
        ([("release", 1)], ("canary", 1, 1_000), "version 1 is live"),
        ([("release", 1)], ("canary", 2, None), "say which share"),
        ([("release", 1)], ("shadow", 1), "version 1 answers requests"),
        ([("release", 1)], ("retire", 1), "version 1 carries traffic as live"),
        ([("release", 1)], ("withdraw", 1), "version 1 is live; release another or roll back"),
        ([("release", 1)], ("release", None), "say which version"),
        ([("release", 1), ("shadow", 2)], ("retire", 2), "version 2 carries traffic as shadow"),
        (
            [("release", 1), ("canary", 2, 9)],
            ("release", 3),
            "version 2 is on trial; promote it or roll back",
        ),
        ([("release", 1), ("canary", 2, 9)], ("canary", 3, 9), "version 2 is the canary with 0.09%"),
        ([("release", 1), ("canary", 2, 9)], ("promote", 3), "version 3 is not the canary"),
    ],
)
def test_a_refusal_names_what_is_in_force(orders, order, says):
    assert says in refused(after(*orders), *order)


@pytest.mark.parametrize("verb", ["release", "canary", "shadow"])
@pytest.mark.parametrize("state", ["draft", "failed", "draining", "retired", "removed"])
def test_only_ready_versions_carry_traffic(verb, state):
    states = {**READY, 2: state}
    assert f"version 2 of iris is {state}" in refused(after(("release", 1)), verb, 2, 100, states=states)


def test_an_unknown_version_is_not_found():
    for verb in ("release", "withdraw", "retire", "restore"):
        with pytest.raises(VersionNotFound, match="iris has no version 9"):
            plan(Release("iris"), Order(verb, 9), READY)


def test_retiring_drains_first():
    done = plan(after(("release", 1), ("release", 2)), Order("retire", 1), READY)
    assert done.states == ((1, "draining"),)
    states = {**READY, **dict(done.states)}
    assert "version 1 of iris is draining" in refused(done.release, "rollback", states=states)
    gone = plan(done.release, Order("drained", 1), states)
    assert gone.states == ((1, "retired"),)
    back = plan(gone.release, Order("restore", 1), {**states, **dict(gone.states)})
    assert back.states == ((1, "ready"),)


def test_off_answers_nobody_and_forgets_nothing():
    done = after(("release", 1), ("release", 2), ("canary", 3, 500), ("shadow", 4), ("off",))
    assert (done.entries, done.before, done.split()) == ((), (1, 2), None)
    assert not plan(done, Order("off"), READY).changed
    assert plan(done, Order("release", 2), READY).release.before == (1,)
    assert plan(done, Order("release", 3), READY).release.before == (1, 2)
    assert "nothing is live" in refused(done, "rollback")


def test_the_memory_of_lives_is_bounded():
    release = after(*(("release", 1 + turn % 2) for turn in range(3 * KEPT_LIVES)))
    assert len(release.before) == KEPT_LIVES


@pytest.mark.parametrize(("text", "weight"), [("10%", 1_000), ("0.01%", 1), ("100%", WHOLE), ("2.5 %", 250)])
def test_reads_a_share(text, weight):
    assert parse_weight(text) == weight


@pytest.mark.parametrize(
    "text", ["10", "0%", "100.01%", "-1%", "0.001%", "%", "1e1%", "١٠%", "nan%", "9" * 99]
)
def test_refuses_what_is_no_share(text):
    with pytest.raises(BadInput, match="write a percentage"):
        parse_weight(text)


@given(st.integers(1, WHOLE))
def test_a_share_reads_as_it_was_written(weight):
    assert parse_weight(show_weight(weight)) == weight


class Yard(RuleBasedStateMachine):
    """Any orders in any order, against a model that is a plain stack."""

    def __init__(self):
        super().__init__()
        self.release = Release("iris")
        self.states = dict.fromkeys(range(1, 6), "ready")
        self.orders = []
        self.lives = []
        self.on = False

    @rule(order=ORDERS)
    def move(self, order):
        old, states = self.release, dict(self.states)
        try:
            done = plan(old, order, self.states)
        except (IllegalMove, VersionNotFound):
            assert (self.release, self.states) == (old, states)
            return
        assert done.sentence
        if not done.changed:
            assert done.release == old
            assert not done.states
            return
        assert done.release.number == old.number + 1
        verb = order.verb
        if verb == "withdraw" and old.role_of(order.version) == "canary":
            verb = "rollback"  # to withdraw the canary is to roll back
        if (old.state, verb) in RELEASE.moves:
            assert done.release.state == RELEASE.moves[old.state, verb]
        else:
            assert order.verb in {"retire", "drained", "restore"}
            assert done.release.entries == old.entries
        self.follow(order, old)
        self.release = done.release
        self.states.update(done.states)
        self.orders.append(order)
        self.repeat(order)

    def follow(self, order, old):
        """The stack: what was live, in order."""
        if order.verb == "off":
            self.on = False
        elif order.verb == "release":
            if self.on or self.lives[-1:] != [order.version]:
                self.lives.append(order.version)
            self.on = True
        elif order.verb == "promote":
            self.lives.append(old.canary.version)
        elif order.verb == "rollback" and not (old.canary and order.version in {None, old.live}):
            self.lives.pop()
            while order.version is not None and self.lives[-1] != order.version:
                self.lives.pop()

    def repeat(self, order):
        """The same order again changes nothing, or is refused; a rollback goes one further."""
        if order.verb == "rollback" and order.version is None:
            return
        try:
            assert not plan(self.release, order, self.states).changed
        except IllegalMove:
            assert order.verb == "promote"

    @invariant()
    def the_stack_agrees(self):
        assert self.release.live == (self.lives[-1] if self.on else None)
        assert self.release.before == tuple(self.lives[:-1] if self.on else self.lives)

    @invariant()
    def what_carries_traffic_may(self):
        for entry in self.release.entries:
            assert self.states[entry.version] == "ready"
        split = self.release.split()
        assert (split is None) == (self.release.live is None)

    @invariant()
    def history_replays(self):
        orders = [Order.from_json(json.loads(json.dumps(order.to_json()))) for order in self.orders]
        assert replay("iris", orders, self.states) == self.release

    @invariant()
    def it_is_data(self):
        assert Release.from_json(json.loads(json.dumps(self.release.to_json()))) == self.release

    @invariant()
    def a_release_is_undone(self):
        for version in (1, 2):
            try:
                done = plan(self.release, Order("release", version), self.states)
            except IllegalMove:
                continue
            live = self.release.live
            if done.changed and live is not None:
                undone = plan(done.release, Order("rollback"), self.states).release
                assert (undone.live, undone.before) == (live, self.release.before)


TestYard = Yard.TestCase
TestYard.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
