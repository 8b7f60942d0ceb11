"""``modelyard convert FILE -o model.onnx``: a verified ONNX graph, or the reason why there is none."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import click

from modelyard.artifact.bundle import copy_file
from modelyard.artifact.source import GRAPHS
from modelyard.console.cli.asked import asked, asks
from modelyard.console.text import ProgressLine
from modelyard.core.errors import NotConvertible
from modelyard.flow import OpenLimits, Prepared, Wishes, prepare
from modelyard.settings import read_settings

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@click.option("-o", "--output", required=True, type=_FILE, help="Where to write the graph.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.option("--sample", type=_FILE, help="Real rows for the proof: .csv .json .npy .parquet, pictures.")
@asks
@click.option("--trust", is_flag=True, help="Open an unsafe file even where this kernel cannot confine it.")
@click.option("--open-seconds", default=180.0, show_default=True, help="How long a child may take.")
@click.option("--open-mb", default=4096, show_default=True, help="How much memory a child may take, MiB.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object, for machines.")
def convert(
    file: Path,
    output: Path,
    force: bool,
    sample: Path | None,
    trust: bool,
    open_seconds: float,
    open_mb: int,
    as_json: bool,
) -> None:
    """Convert FILE to ONNX, prove that it answers as the original, and say what was proved.

    A graph that differs from the original is never written.
    """
    if output.exists() and not force:
        raise click.BadParameter(f"{output} is there already; add --force to write over it", param_hint="-o")
    if not output.parent.is_dir():
        raise click.BadParameter(f"there is no folder {str(output.parent)!r}", param_hint="-o")
    wishes = Wishes(
        sample, trust=trust, limits=OpenLimits(open_seconds, open_mb << 20), options=asked(), graph=True
    )
    progress = ProgressLine()
    try:
        found = prepare(file, wishes, read_settings().cache, progress.show)
    finally:
        progress.close()
    if found.report.road != "onnx":
        raise NotConvertible(f"{file} is not converted: {found.report.reason}")
    beside = _write(found, output)
    if as_json:
        page = {
            "output": str(output),
            "beside": [str(path) for path in beside],
            "signature": found.signature.to_json(),
            "report": found.report.to_json(),
        }
        click.echo(json.dumps(page, ensure_ascii=False))
        return
    click.echo("\n".join([f"{output} is written", *found.report.lines()]))
    if beside:
        click.echo(f"its weights are beside it: {', '.join(path.name for path in beside)}")


def _write(found: Prepared, output: Path) -> list[Path]:
    """The graph, whole or not at all, after the weights that it keeps in other files."""
    bundle = found.bundle
    main = bundle.facts["graph"]
    beside = []
    for name in bundle.parts:
        if name.startswith(f"{GRAPHS}/") and name != main:
            target = output.parent / name.removeprefix(f"{GRAPHS}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(bundle.path(name), target)
            beside.append(target)
    _copy(bundle.path(main), output)
    return beside


def _copy(source: Path, target: Path) -> None:
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        copy_file(source, aside)
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)
