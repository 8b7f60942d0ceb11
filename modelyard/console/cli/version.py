"""``modelyard version``: what is installed."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import click

PACKAGES = ("modelyard", "numpy", "onnxruntime", "scikit-learn", "skl2onnx", "onnx", "protobuf")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
def version(as_json: bool) -> None:
    """Show the versions of Modelyard and of what it stands on."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = installed(name)
        except PackageNotFoundError:
            found[name] = None
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, text in found.items():
        click.echo(f"{name:<14} {text or 'not installed'}")
