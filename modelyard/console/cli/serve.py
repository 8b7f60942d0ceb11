"""``modelyard serve FILE``: a model file becomes a service."""

from __future__ import annotations

import json
import logging
import sys
from importlib.metadata import version as installed
from pathlib import Path
from time import monotonic

import click

from modelyard.console.cli.announce import describe_road, example_line
from modelyard.console.cli.asked import asked, asks, stem_of
from modelyard.console.cli.listening import listening_options
from modelyard.console.text import ProgressLine
from modelyard.core.ref import check_name, name_of_file
from modelyard.flow import OpenLimits, Prepared, Wishes, open_runtime, prepare
from modelyard.serve.process import Loaded, ServeOptions, Server
from modelyard.settings import read_settings

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--name", help="The model's name; from the file's name when left out.")
@listening_options
@click.option("--sample", type=_FILE, help="Real rows (.csv .json .npy .parquet) to prove the model on.")
@click.option("--native", is_flag=True, help="Serve the original in a model host; do not convert it.")
@asks
@click.option("--trust", is_flag=True, help="Open an unsafe file even where this kernel cannot confine it.")
@click.option("--open-seconds", default=180.0, show_default=True, help="How long preparing may take a child.")
@click.option("--open-mb", default=4096, show_default=True, help="How much memory a child may take, MiB.")
@click.option("--json", "as_json", is_flag=True, help="Say where it listens as one JSON line on stdout.")
def serve(
    file: Path,
    name: str | None,
    sample: Path | None,
    native: bool,
    trust: bool,
    open_seconds: float,
    open_mb: int,
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
    wishes = Wishes(sample, native, trust, OpenLimits(open_seconds, open_mb << 20), options=asked())
    progress = ProgressLine()
    prepared: list[Prepared] = []

    def load() -> Loaded:
        prepared.append(found := prepare(file, wishes, settings.cache, progress.show))
        progress.show("opening the model")
        return Loaded(model, "1", found.signature, open_runtime(found, wishes), found.rows)

    def announce(loaded: Loaded, http: int, grpc: int | None) -> None:
        progress.close()
        say = _announce_json if as_json else _announce
        say(prepared[0], loaded, options.host, http, grpc, monotonic() - started)

    try:
        return Server(options, installed("modelyard"), load, announce).run()
    finally:
        progress.close()


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce(
    prepared: Prepared, loaded: Loaded, host: str, http: int, grpc: int | None, seconds: float
) -> None:
    url = _url(host, http)
    lines = [f"{loaded.name} is ready after {seconds:.1f} s"]
    lines += [f"  {head:<10} {text}" for head, text in describe_road(prepared)]
    lines.append(f"  {'REST':<10} {url}/v2/models/{loaded.name}/infer")
    if grpc is not None:
        lines.append(f"  {'gRPC':<10} {host}:{grpc}")
    lines.append(f"  {'page':<10} {url}/docs")
    lines.append(f"  {'try':<10} {example_line(url, loaded.signature, loaded.example)}")
    click.echo("\n".join([*lines, "Ctrl-C stops it."]))


def _announce_json(
    prepared: Prepared, loaded: Loaded, host: str, http: int, grpc: int | None, seconds: float
) -> None:
    click.echo(
        json.dumps(
            {
                "model": loaded.name,
                "version": loaded.version,
                "http": _url(host, http),
                "grpc": None if grpc is None else f"{host}:{grpc}",
                "ready_after_s": round(seconds, 3),
                "cached": prepared.cached,
                "report": prepared.report.to_json(),
            }
        )
    )
