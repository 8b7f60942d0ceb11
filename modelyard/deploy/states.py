"""The lifecycles of a version and of a release; that of a version's copy in a worker is beside them.

Rule: what may follow what is a row in a table; code asks the table and the documentation is drawn from it.
"""

from __future__ import annotations

from modelyard.core.lifecycle import RESIDENCE, Lifecycle

__all__ = ["LIFECYCLES", "RELEASE", "RESIDENCE", "VERSION", "Lifecycle"]

VERSION = Lifecycle(
    "version",
    "draft",
    {
        ("draft", "register"): "ready",
        ("draft", "fail"): "failed",
        ("ready", "retire"): "draining",
        ("draining", "drained"): "retired",
        ("draining", "restore"): "ready",
        ("retired", "restore"): "ready",
        ("retired", "remove"): "removed",
        ("failed", "remove"): "removed",
    },
)
"""A version in the registry. Which of the ready ones carry traffic is the release's to say, not theirs."""

RELEASE = Lifecycle(
    "release",
    "none",
    {
        ("none", "release"): "steady",
        ("none", "shadow"): "none",
        ("none", "withdraw"): "none",
        ("none", "off"): "none",
        ("steady", "release"): "steady",
        ("steady", "canary"): "canary",
        ("steady", "shadow"): "steady",
        ("steady", "withdraw"): "steady",
        ("steady", "rollback"): "steady",
        ("steady", "off"): "none",
        ("canary", "canary"): "canary",
        ("canary", "promote"): "steady",
        ("canary", "release"): "steady",  # of the canary itself; of another version it is refused
        ("canary", "shadow"): "canary",
        ("canary", "withdraw"): "canary",  # of a shadow; the canary itself is withdrawn by rolling back
        ("canary", "rollback"): "steady",
        ("canary", "off"): "none",
    },
)
"""What carries a model's traffic: nothing, one live version, or a live version and a canary."""

LIFECYCLES: tuple[Lifecycle, ...] = (VERSION, RELEASE, RESIDENCE)
