"""The yard's values as lines for people."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

from modelyard.console.text import printable, table, terminal_width
from modelyard.deploy.release import show_weight

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from modelyard.client.admin_values import EntryRow, ReleaseRow, VersionRow


def say_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(msgspec.json.encode(value).decode())


def moment(at: datetime | None) -> str:
    """To the second, in UTC.

    >>> from datetime import datetime, timezone
    >>> moment(datetime(2026, 11, 20, 10, 0, 0, 5, timezone.utc))
    '2026-11-20 10:00:00Z'
    """
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}Z"


def size(count: int) -> str:
    """Bytes for a person.

    >>> size(2_500_000)
    '2.38 MiB'
    """
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} bytes"


def draw(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table as wide as the terminal, or as it needs in a pipe."""
    width = terminal_width(sys.stdout) if sys.stdout.isatty() else None
    return table(heads, rows, numbers=numbers, width=width, bold=sys.stdout.isatty())


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Heading and sentence, one a line; without the empty ones."""
    shown = [(head, text) for head, text in rows if text]
    width = max((len(head) for head, _ in shown), default=0) + 2
    return "\n".join(f"  {head:<{width}}{printable(text)}" for head, text in shown)


def part(entry: EntryRow) -> str:
    """One version's part: ``2 with 10%``."""
    return (
        str(entry.version)
        if entry.weight in {0, 10_000}
        else f"{entry.version} with {show_weight(entry.weight)}"
    )


def parts(release: ReleaseRow, role: str) -> str:
    """All versions with a role."""
    return ", ".join(part(entry) for entry in release.entries if entry.role == role)


def release_facts(release: ReleaseRow) -> list[tuple[str, str]]:
    """What is in force, a line each."""
    rollout, guard = release.rollout, release.guard
    steps = ""
    if rollout is not None:
        shown = [f"[{step}]" if at == rollout.at else step for at, step in enumerate(rollout.steps)]
        steps = f"{' '.join(shown)}, each holds {rollout.hold_s:g} s at least"
    turned = ""
    if guard is not None:
        turned = (
            f"turned back when it fails more (by {guard.error_floor:.2%} at least) or is slower "
            f"({guard.p99_ratio:g} times the p99), after {guard.min_requests} requests each"
        )
    return [
        ("live", parts(release, "live") or "nothing"),
        ("canary", parts(release, "canary")),
        ("steps", steps),
        ("guard", turned),
        ("shadows", parts(release, "shadow")),
        ("before", ", ".join(map(str, reversed(release.before[-8:])))),
        ("revision", f"{release.revision}, {moment(release.at)}, {release.who}" if release.revision else ""),
        ("because", "" if release.why == release.said else release.why),
    ]


def version_table(versions: Sequence[VersionRow], release: ReleaseRow) -> str:
    """Versions with their states and parts."""
    roles = {entry.version: entry.role for entry in release.entries}
    rows = [
        [
            str(row.number),
            "collected" if row.gone else roles.get(row.number, row.state),
            row.digest[:12],
            moment(row.created_at),
            row.created_by,
            row.note,
        ]
        for row in versions
    ]
    return draw(["version", "state", "digest", "pushed", "by", "note"], rows, numbers=[0])
