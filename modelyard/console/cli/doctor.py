"""``modelyard doctor``: what this machine has, what it lacks, and the line that installs each."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from modelyard.console.text import table
from modelyard.formats.extras import FRAMEWORKS, Framework
from modelyard.sandbox import landlock


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
def doctor(as_json: bool) -> None:
    """Say which optional packages are installed, and how to install the others."""
    found = {name: _installed(row) for name, row in FRAMEWORKS.items()}
    walls = landlock.version()
    if as_json:
        rows: list[dict[str, Any]] = [
            {
                "module": name,
                "package": said[0] if said else row.packages[0],
                "version": said[1] if said else None,
                "use": row.use,
                "install": None if said else row.line,
            }
            for (name, row), said in zip(FRAMEWORKS.items(), found.values(), strict=True)
        ]
        page = {"python": platform.python_version(), "landlock": walls, "frameworks": rows}
        click.echo(json.dumps(page))
        return
    click.echo(f"Python {platform.python_version()} on {platform.machine()}")
    click.echo(_sandbox(walls) + "\n")
    lines = [
        [row.use, *(said or (row.packages[0], "missing")), "" if said else row.line]
        for row, said in zip(FRAMEWORKS.values(), found.values(), strict=True)
    ]
    click.echo(table(["for", "package", "version", "install with"], lines))


def _installed(row: Framework) -> tuple[str, str] | None:
    """The package's name and version; nothing is imported to find out."""
    for name in row.packages:
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    return None


def _sandbox(walls: int) -> str:
    if walls:
        return f"unsafe files are opened in a sandboxed child (Landlock {walls})"
    return "this kernel has no Landlock: unsafe files are opened only with --trust"
