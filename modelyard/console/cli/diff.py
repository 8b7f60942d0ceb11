"""``modelyard diff A B``: two versions side by side."""

from __future__ import annotations

import click

from modelyard.console.cli.yard_options import JSON, Where, where_options
from modelyard.console.cli.yard_text import draw, say_json


@click.command()
@where_options()
@click.argument("a")
@click.argument("b")
@click.option("--all", "everything", is_flag=True, help="Also what both say alike.")
@JSON
def diff(where: Where, a: str, b: str, everything: bool, as_json: bool) -> None:
    """Say how versions A and B (as iris:1 and iris:2) differ: source, signature, proof, libraries, files."""
    with where.desk() as desk:
        lines = desk.diff(a, b)
    shown = [line for line in lines if everything or line.a != line.b]
    if as_json:
        say_json(shown)
    elif not shown:
        click.echo(f"{a} and {b} are the same bundle")
    else:
        click.echo(draw(["", a, b], [[line.what, line.a, line.b] for line in shown]))
