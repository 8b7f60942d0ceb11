"""``modelyard push FILE``: a model file becomes the next version of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from modelyard.client.admin import AdminClient
from modelyard.console.cli.announce import describe_road
from modelyard.console.cli.asked import asked, asks, stem_of
from modelyard.console.cli.yard_options import JSON, Where, where_options
from modelyard.console.cli.yard_text import facts, say_json, size
from modelyard.console.text import ProgressLine
from modelyard.core.ref import check_name, name_of_file
from modelyard.flow import OpenLimits, Wishes, prepare
from modelyard.kept import with_instances

if TYPE_CHECKING:
    from modelyard.client.admin_values import VersionRow
    from modelyard.console.cli.yard_options import AnyDesk
    from modelyard.flow import Prepared

_FILE = click.Path(path_type=Path)


@click.command()
@where_options()
@click.argument("file", type=_FILE)
@click.option("--name", help="The model's name; from the file's name when left out.")
@click.option("--note", default="", help="What this version is, in words.")
@click.option("--sample", type=_FILE, help="Real rows for the proof: .csv .json .npy .parquet, pictures.")
@click.option("--native", is_flag=True, help="Keep the original for a model host; do not convert it.")
@asks
@click.option("--trust", is_flag=True, help="Open an unsafe file even where this kernel cannot confine it.")
@click.option("--open-seconds", default=180.0, show_default=True, help="How long preparing may take a child.")
@click.option("--open-mb", default=4096, show_default=True, help="How much memory a child may take, MiB.")
@click.option(
    "--instances",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="How many model hosts answer side by side, for a model that is served natively.",
)
@JSON
def push(
    where: Where,
    file: Path,
    name: str | None,
    note: str,
    sample: Path | None,
    native: bool,
    trust: bool,
    open_seconds: float,
    open_mb: int,
    instances: int,
    as_json: bool,
) -> None:
    """Import, compile and verify a model FILE, and register it as the model's next version.

    It carries no traffic until it is released.
    """
    model = name_of_file(stem_of(file)) if name is None else check_name(name)
    wishes = Wishes(sample, native, trust, OpenLimits(open_seconds, open_mb << 20), options=asked())
    progress = ProgressLine()
    try:
        with where.desk() as desk:
            prepared = prepare(file, wishes, where.home / "compiled", progress.show)
            prepared = replace(prepared, bundle=with_instances(prepared.bundle, instances))
            made = _register(desk, prepared, model, note, progress)
    finally:
        progress.close()
    if as_json:
        say_json({"version": made, "report": prepared.report.to_json()})
        return
    click.echo(f"{made.model}:{made.number} is registered")
    rows = [*describe_road(prepared.report), ("digest", made.digest), ("size", size(_size(prepared)))]
    click.echo(facts([*rows, ("next", f"modelyard release {made.model} {made.number}")]))


def _register(desk: AnyDesk, prepared: Prepared, model: str, note: str, progress: ProgressLine) -> VersionRow:
    progress.show("registering the version")
    if not isinstance(desk, AdminClient):
        return desk.push(prepared.bundle, model, note)
    total = _size(prepared) or 1
    return desk.push(
        prepared.bundle, model, note, lambda sent: progress.show("sending", min(sent / total, 1.0))
    )


def _size(prepared: Prepared) -> int:
    return sum(path.stat().st_size for path in prepared.bundle.folder.rglob("*") if path.is_file())
