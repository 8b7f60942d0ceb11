"""``modelyard list``: the models of a yard, and what is in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelyard.console.cli.yard_options import JSON, Where, where_options
from modelyard.console.cli.yard_text import draw, moment, parts, say_json

if TYPE_CHECKING:
    from modelyard.client.admin_values import ModelRow
    from modelyard.console.cli.yard_options import AnyDesk

_PAGE = 1000


@click.command("list")
@where_options()
@click.option("--after", default="", help="Only models whose names come after this one.")
@click.option("--limit", type=click.IntRange(1), help="How many at most; all without.")
@JSON
def list_(where: Where, after: str, limit: int | None, as_json: bool) -> None:
    """List the models in the order of their names, with what is in force."""
    with where.desk() as desk:
        found = _all(desk, after, limit)
    if as_json:
        say_json(found)
        return
    if not found:
        click.echo("no models yet; push one: modelyard push FILE")
        return
    rows = [
        [
            model.name,
            str(model.last_version),
            parts(model.release, "live"),
            parts(model.release, "canary"),
            parts(model.release, "shadow"),
            moment(model.release.at),
            model.release.who,
        ]
        for model in found
    ]
    heads = ["model", "versions", "live", "canary", "shadows", "released", "by"]
    click.echo(draw(heads, rows, numbers=[1]))


def _all(desk: AnyDesk, after: str, limit: int | None) -> list[ModelRow]:
    found: list[ModelRow] = []
    while True:
        left = _PAGE if limit is None else min(_PAGE, limit - len(found))
        page = desk.models(after, left) if left else ()
        found.extend(page)
        if len(page) < left or not page:
            return found
        after = page[-1].name
