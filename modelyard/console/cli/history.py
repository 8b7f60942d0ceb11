"""``modelyard history MODEL``: what was in force, when, who moved it and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelyard.console.cli.yard_options import JSON, Where, where_options
from modelyard.console.cli.yard_text import draw, facts, moment, release_facts, say_json
from modelyard.control.desk import parse_moment
from modelyard.core.ref import check_name
from modelyard.deploy.release import show_weight

if TYPE_CHECKING:
    from modelyard.client.admin_values import ReleaseRow
    from modelyard.console.cli.yard_options import AnyDesk


@click.command()
@where_options()
@click.argument("model")
@click.option("--at", metavar="MOMENT", help="What answered then, in ISO 8601: 2026-11-20T10:00Z.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="Rows at most.")
@click.option("--before", type=click.IntRange(1), help="Only what came before this revision.")
@JSON
def history(where: Where, model: str, at: str | None, limit: int, before: int | None, as_json: bool) -> None:
    """Show what was in force for MODEL, newest first, or exactly what answered at one moment."""
    name = check_name(model)
    with where.desk() as desk:
        if at is None:
            found = desk.history(name, before, limit)
            say_json(found) if as_json else click.echo(_table(found))
            return
        then = desk.history_at(name, parse_moment(at))
        say_json(then) if as_json else click.echo(_then(desk, then, at))


def _then(desk: AnyDesk, release: ReleaseRow, at: str) -> str:
    if not release.entries:
        return f"nothing of {release.model} was released at {at}"
    rows = [
        [
            str(entry.version),
            entry.role,
            show_weight(entry.weight) if entry.weight else "",
            desk.version(f"{release.model}:{entry.version}").version.digest,
        ]
        for entry in release.entries
    ]
    return "\n".join(
        [
            f"{release.model} at {at}",
            draw(["version", "part", "share", "digest"], rows, numbers=[0]),
            "",
            facts(release_facts(release)[-2:]),
        ]
    )


def _table(found: tuple[ReleaseRow, ...]) -> str:
    if not found:
        return "nothing was ever released"
    rows = [
        [str(row.revision), moment(row.at), row.who, row.said, "" if row.why == row.said else row.why]
        for row in found
    ]
    return draw(["revision", "at", "who", "what", "why"], rows, numbers=[0])
