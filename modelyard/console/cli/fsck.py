"""``modelyard fsck``: every byte against its digest, every row against the others."""

from __future__ import annotations

import click

from modelyard.console.cli.yard_options import JSON, Where, where_options
from modelyard.console.cli.yard_text import draw, say_json, size
from modelyard.console.exits import DATA
from modelyard.console.text import ProgressLine
from modelyard.control.desk import Desk


@click.command()
@where_options()
@JSON
def fsck(where: Where, as_json: bool) -> int:
    """Check the whole registry; nothing is changed. Exits with 65 when something is wrong."""
    progress = ProgressLine()
    try:
        with where.desk() as desk:
            if not isinstance(desk, Desk):
                progress.show("checking")
                found = desk.fsck()
            else:
                found = desk.fsck(lambda blobs, done: progress.show(f"{blobs:,} blobs, {size(done)} hashed"))
    finally:
        progress.close()
    if as_json:
        say_json(found)
    else:
        click.echo(
            f"{found.models:,} models, {found.versions:,} versions, {found.blobs:,} blobs, "
            f"{size(found.size_bytes)}; {found.unneeded:,} blobs that nothing needs"
        )
        if found.findings:
            click.echo(draw(["what", "finding"], [[one.subject, one.text] for one in found.findings]))
        else:
            click.echo("sound")
    return DATA if found.findings else 0
