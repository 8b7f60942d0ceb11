from datetime import UTC, datetime, timedelta

import pytest

from modelyard.control.undo import FRESH_S, undo
from modelyard.deploy.current import Current
from modelyard.deploy.plan import Order
from modelyard.deploy.release import Entry, Release
from modelyard.serve.link import Copy

NOW = datetime(2026, 11, 28, tzinfo=UTC)
LIVE = (Entry(2, 10_000, "live"),)
TRIED = (Entry(3, 1_000, "canary"), Entry(2, 9_000, "live"))


def current(entries=LIVE, *, verb="release", before=(1,), age_s=5.0):
    at = NOW - timedelta(seconds=age_s)
    return Current(Release("iris", 7, entries, before), order=Order(verb, 2), at=at, who="ada")


def copies(*states, version=2):
    return {version: [Copy("iris", version, "d", state, "row 3 differs") for state in states]}


def found(now=None, states=("failed", "failed"), workers=2, served=(), version=2):
    return undo(now or current(), copies(*states, version=version), workers, served, NOW, "here")


def test_a_live_version_that_no_worker_can_serve_is_turned_back_with_its_reason():
    deed = found()
    assert deed.order == Order("rollback")
    assert (deed.model, deed.expected) == ("iris", 7)
    assert deed.why == "the live version 2 cannot be served on host here: row 3 differs"
    assert deed.evidence == {
        "by": "failed-on-host", "host": "here", "version": 2, "workers": 2, "reason": "row 3 differs",
    }  # fmt: skip


def test_a_canary_is_turned_back_likewise_also_when_nothing_was_live_before():
    deed = found(current(TRIED, verb="canary", before=()), version=3)
    assert deed.order == Order("rollback")
    assert "the canary 3" in deed.why


@pytest.mark.parametrize(
    "case",
    [
        {"states": ("failed", "serving")},
        {"states": ("failed",)},
        {"states": ("loading", "loading")},
        {"states": ()},
        {"workers": 0},
        {"served": (2,)},
        {"now": current(before=())},
        {"now": current(age_s=FRESH_S + 1)},
        # What control, or somebody, turned back already: never twice, or it would walk down all versions.
        {"now": current(verb="rollback")},
        {"now": current(verb="shadow")},
        {"now": Current(Release("iris"))},
    ],
)
def test_everything_else_stands(case):
    assert found(**case) is None
