"""Random orders on a real registry against the rules on values: the rows say what the rules say."""

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yards import open_yard

from modelyard.core.errors import IllegalMove, VersionNotFound
from modelyard.core.ref import ModelRef
from modelyard.deploy.plan import VERBS, Order, plan, replay
from modelyard.deploy.release import Release

ORDERS = st.lists(
    st.builds(
        Order, st.sampled_from(list(VERBS)), st.integers(1, 5), st.sampled_from([None, 100, 5_000, 10_000])
    ),
    max_size=25,
)


@settings(max_examples=30, deadline=None)
@given(ORDERS)
def test_the_registry_does_what_the_rules_say(orders):
    with tempfile.TemporaryDirectory() as folder, open_yard(Path(folder)) as yard:
        release, states, kept = Release("iris"), dict.fromkeys(range(1, 5), "ready"), []
        for order in orders:
            try:
                done = plan(release, order, states)
            except (IllegalMove, VersionNotFound) as refused:
                before = yard.index.change()
                with pytest.raises(type(refused), match=re.escape(refused.message)):
                    yard.order("iris", order, "ada")
                assert yard.index.change() == before
                continue
            outcome = yard.order("iris", order, "ada")
            assert outcome.changed == done.changed
            assert outcome.current.release == done.release
            if done.changed:
                kept.append(order)
            release = done.release
            states.update(done.states)
        assert {number: yard.version(ModelRef("iris", number)).state for number in states} == states
        rows = yard.history("iris", limit=1000)
        assert [row.order for row in reversed(rows)] == kept
        assert replay("iris", [row.order for row in reversed(rows)], states) == release
        for at, row in enumerate(reversed(rows), 1):
            assert replay("iris", kept[:at], states) == row.release
            assert yard.history_at("iris", row.at) == row
        assert yard.verify_audit().ok
