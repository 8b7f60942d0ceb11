"""``modelyard export MODEL:VERSION FILE``: a version as one tar."""

from __future__ import annotations

from pathlib import Path

import click

from modelyard.console.cli.yard_options import JSON, Where, where_options
from modelyard.console.cli.yard_text import say_json, size
from modelyard.core.ref import parse_ref


@click.command()
@where_options()
@click.argument("ref")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@JSON
def export(where: Where, ref: str, file: Path, as_json: bool) -> None:
    """Write the version REF (iris:2; the newest without a number) as a tar FILE.

    Equal bundles make equal files.
    """
    parse_ref(ref)
    with where.desk() as desk:
        digest = desk.export(ref, file)
    written = file.stat().st_size
    if as_json:
        say_json({"digest": digest, "file": str(file), "size_bytes": written})
    else:
        click.echo(f"{ref} is in {file} ({size(written)}), digest {digest}")
