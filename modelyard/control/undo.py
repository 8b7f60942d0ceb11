"""A release that cannot be served here: turned back when there is something to turn back to.

One rule: control undoes what somebody has just done, never what it did itself, and never what had worked. So
there is no loop, and a machine that fails later does not move everybody's traffic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.control.rollouts import Deed
from modelyard.deploy.plan import Order

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from modelyard.deploy.current import Current
    from modelyard.serve.link import Copy

FRESH_S = 900.0
"""How long after a release a version that fails is taken for the release's fault."""

_MAKES_LIVE = frozenset(("release", "promote"))


def undo(
    current: Current,
    copies: Mapping[int, Sequence[Copy]],
    workers: int,
    served: Collection[int],
    now: datetime,
    host: str,
) -> Deed | None:
    """The order that takes a version off that no worker of this host can serve.

    Args:
        current: what is in force.
        copies: version -> its copies in this host's workers, of those that follow this release.
        workers: how many workers follow it.
        served: versions of the model that served on this host once.
        now: UTC.
        host: this one's name.
    """
    release = current.release
    if not workers or current.at is None or (now - current.at).total_seconds() > FRESH_S:
        return None
    canary, live = release.canary, release.live
    for version, role in ((canary.version if canary else None, "canary"), (live, "live version")):
        if version is None or version in served:
            continue
        failed = [copy for copy in copies.get(version, ()) if copy.state == "failed"]
        if len(failed) < workers:
            continue
        if role != "canary":
            verb = None if current.order is None else current.order.verb
            if not release.before or verb not in _MAKES_LIVE:
                return None
        why = f"the {role} {version} cannot be served on host {host}: {failed[0].reason}"
        evidence = {
            "by": "failed-on-host",
            "host": host,
            "version": version,
            "workers": workers,
            "reason": failed[0].reason,
        }
        return Deed(release.model, Order("rollback"), why, evidence, current.revision)
    return None
