"""``modelyard gc``: what nothing needs any more, and has not for a while."""

from __future__ import annotations

import click

from modelyard.console.cli.yard_options import JSON, Where, where_options
from modelyard.console.cli.yard_text import say_json, size
from modelyard.console.text import ProgressLine
from modelyard.control.desk import Desk
from modelyard.deploy.rollout import parse_hold


@click.command()
@where_options()
@click.option(
    "--grace", default="24h", show_default=True, help="How long a version is retired, and how old a blob is."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@JSON
def gc(where: Where, grace: str, dry_run: bool, as_json: bool) -> None:
    """Give up the bundles of retired versions and delete what nothing needs, after a grace."""
    grace_s = parse_hold(grace)
    progress = ProgressLine()
    try:
        with where.desk() as desk:
            if not isinstance(desk, Desk):
                progress.show("collecting")
                done = desk.gc(grace_s, dry_run)
            else:
                done = desk.gc(grace_s, dry_run, lambda seen: progress.show(f"{seen:,} blobs looked at"))
    finally:
        progress.close()
    if as_json:
        say_json(done)
        return
    given, deleted = ("would be given up", "would be deleted") if dry_run else ("given up", "deleted")
    for model, number in done.versions:
        click.echo(f"{model}:{number} {given}")
    click.echo(
        f"{done.deleted:,} blobs {deleted} ({size(done.freed_bytes)}); {done.kept:,} are needed, "
        f"{done.young:,} are younger than the grace"
    )
    if done.dropped:
        click.echo(f"{done.dropped:,} fetched bundles that nobody used left the disk")
