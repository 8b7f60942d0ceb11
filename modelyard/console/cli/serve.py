"""``modelyard serve FILE``: a model file becomes a service."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from modelyard.console.cli.asked import asked, asks, stem_of
from modelyard.console.cli.listening import listening_options
from modelyard.console.text import ProgressLine
from modelyard.control.serve_start import start_job
from modelyard.control.serve_words import ServeJob
from modelyard.core.ref import check_name, name_of_file
from modelyard.core.table import Table
from modelyard.core.version import VERSION
from modelyard.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.control.serving import Served, Serving
    from modelyard.serve.options import ServeOptions

_FILE = click.Path(path_type=Path)
_PARTS: Table[type[Serving]] = Table({"serving": "modelyard.control.serving:Serving"})
"""What serves is imported while the job that prepares the model is under way already."""
_WORDS: Table[Callable[[Served, str, float], None]] = Table(
    {
        "text": "modelyard.console.cli.announce:announce",
        "json": "modelyard.console.cli.announce:announce_json",
    }
)
"""What is said when it serves; imported then."""


@click.command()
@click.argument("file", type=_FILE)
@click.option("--name", help="The model's name; from the file's name when left out.")
@listening_options
@click.option("--sample", type=_FILE, help="Real rows for the proof: .csv .json .npy .parquet, pictures.")
@click.option("--native", is_flag=True, help="Serve the original in a model host; do not convert it.")
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
@click.option("--json", "as_json", is_flag=True, help="Say where it listens as one JSON line on stdout.")
def serve(
    file: Path,
    name: str | None,
    sample: Path | None,
    native: bool,
    trust: bool,
    open_seconds: float,
    open_mb: int,
    instances: int,
    options: ServeOptions,
    insecure: bool,  # noqa: ARG001 - it was looked at when the address was
    as_json: bool,
) -> int:
    """Serve a model FILE over REST and gRPC until Ctrl-C."""
    started = monotonic()
    settings = read_settings()
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    model = name_of_file(stem_of(file)) if name is None else check_name(name)
    job = ServeJob(
        str(file), model, str(settings.cache), os.getpid(), "" if sample is None else str(sample),
        native, trust, open_seconds, open_mb << 20, asked(),
        instances,
    )  # fmt: skip
    progress = ProgressLine()

    def announce(served: Served) -> None:
        progress.close()
        _WORDS.load("json" if as_json else "text")(served, options.host, monotonic() - started)

    child = start_job(job)
    try:
        parts = replace(options, trust=trust), VERSION, child, progress.show, announce
        return _PARTS.load("serving")(*parts).run()
    finally:
        progress.close()
