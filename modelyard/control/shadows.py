"""What the shadows in force would have answered, in the words of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.client.admin_values import ShadowExample, ShadowRow
from modelyard.monitor.shadow import Differences

if TYPE_CHECKING:
    from modelyard.client.admin_values import ReleaseRow
    from modelyard.monitor.observations import Observations


def shadow_rows(release: ReleaseRow, seen: Observations) -> tuple[ShadowRow, ...]:
    """One row for each shadow of a release, also for one that got no copy yet."""
    found = {
        sums.version: (Differences.from_json(sums.shadow or {"examples": ()}), sums.dropped)
        for sums in seen.models
        if sums.model == release.model
    }
    numbers = [entry.version for entry in release.entries if entry.role == "shadow"]
    return tuple(_row(number, *found.get(str(number), (Differences(), 0))) for number in numbers)


def _row(number: int, found: Differences, dropped: int) -> ShadowRow:
    return ShadowRow(
        number, found.sentence(), found.requests, found.failed, found.unlike, found.labels,
        found.labels_equal, found.scores, found.scores_near, found.mean_difference, found.max_difference,
        dropped, tuple(ShadowExample(one.output, one.live, one.shadow) for one in found.examples),
    )  # fmt: skip
