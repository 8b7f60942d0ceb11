"""``modelyard import FILE``: a tar that ``export`` wrote becomes the next version of a model."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from modelyard.console.cli.yard_options import JSON, Where, where_options
from modelyard.console.cli.yard_text import facts, say_json
from modelyard.control.desk import Desk
from modelyard.core.errors import BadInput, MissingFile
from modelyard.core.ref import check_name, name_of_file

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command("import")
@where_options()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="The model's name; from the file's name when left out.")
@click.option("--note", default="", help="What this version is, in words.")
@click.option("--digest", help="The digest that the bundle must have.")
@click.option("--trust", is_flag=True, help="Try its graph even where this kernel cannot confine it.")
@JSON
def import_(
    where: Where,
    file: Path,
    name: str | None,
    note: str,
    digest: str | None,
    trust: bool,
    as_json: bool,
) -> None:
    """Register the bundle in the tar FILE as the model's next version.

    Every byte is checked first, and its graph is tried in a process of its own that can do no harm.
    """
    model = name_of_file(file.stem) if name is None else check_name(name)
    with _opened(file) as source, where.desk() as desk:
        if isinstance(desk, Desk):
            made = desk.import_(source, model, note, digest, trust=trust)
        elif trust:
            raise BadInput("--trust is for this machine, and --url is another's control; leave one out")
        else:
            made = desk.import_(source, model, note, digest)
    if as_json:
        say_json(made)
        return
    click.echo(f"{made.model}:{made.number} is registered")
    click.echo(facts([("digest", made.digest), ("next", f"modelyard release {made.model} {made.number}")]))


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        source = file.open("rb")
    except OSError as error:
        raise MissingFile(f"{file} cannot be read: {error.strerror}") from error
    with source:
        yield source
