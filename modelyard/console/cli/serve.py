"""``modelyard serve FILE``: a model file becomes a service."""

from __future__ import annotations

import ipaddress
import json
import logging
import sys
from importlib.metadata import version as installed
from pathlib import Path
from time import monotonic

import click

from modelyard.console.cli.announce import describe_road, example_line
from modelyard.console.text import ProgressLine
from modelyard.core.errors import UnsafeFile
from modelyard.core.limits import WireLimits
from modelyard.core.ref import check_name, name_of_file
from modelyard.engine.limits import QueueLimits
from modelyard.flow import OpenLimits, Prepared, Wishes, open_runtime, prepare
from modelyard.serve.process import Loaded, ServeOptions, Server
from modelyard.settings import read_settings

_FILE = click.Path(path_type=Path)
_PORT = click.IntRange(0, 65535)
_COUNT = click.IntRange(1, 1 << 20)
_QUEUE = QueueLimits()


@click.command()
@click.argument("file", type=_FILE)
@click.option("--name", help="The model's name; from the file's name when left out.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--http-port", default=8000, show_default=True, type=_PORT, help="0: any free port.")
@click.option("--grpc-port", default=8001, show_default=True, type=_PORT, help="0: any free port.")
@click.option("--no-grpc", is_flag=True, help="Serve REST only.")
@click.option("--sample", type=_FILE, help="Real rows (.csv .json .npy .parquet) to prove the model on.")
@click.option("--native", is_flag=True, help="Serve the original in a model host; do not convert it.")
@click.option(
    "--max-batch-rows",
    default=_QUEUE.max_batch_rows,
    show_default=True,
    type=_COUNT,
    help="Rows of different requests that run together, at most.",
)
@click.option(
    "--max-wait-ms",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 10_000),
    help="How long a batch may wait to fill; 0 runs what is there.",
)
@click.option(
    "--max-waiting",
    default=_QUEUE.max_waiting,
    show_default=True,
    type=_COUNT,
    help="Requests that may wait; more are refused with 429.",
)
@click.option(
    "--max-body-mb",
    default=64,
    show_default=True,
    type=click.IntRange(1, 2048),
    help="The largest request body after decompression, MiB.",
)
@click.option(
    "--request-timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0.001, 86_400),
    help="Seconds that a request may take when its caller gives no time.",
)
@click.option("--trust", is_flag=True, help="Open an unsafe file even where this kernel cannot confine it.")
@click.option("--open-seconds", default=180.0, show_default=True, help="How long preparing may take a child.")
@click.option("--open-mb", default=4096, show_default=True, help="How much memory a child may take, MiB.")
@click.option("--insecure", is_flag=True, help="Allow an address that other machines reach, without keys.")
@click.option("--json", "as_json", is_flag=True, help="Say where it listens as one JSON line on stdout.")
def serve(
    file: Path,
    name: str | None,
    host: str,
    http_port: int,
    grpc_port: int,
    no_grpc: bool,
    sample: Path | None,
    native: bool,
    max_batch_rows: int,
    max_wait_ms: float,
    max_waiting: int,
    max_body_mb: int,
    request_timeout: float,
    trust: bool,
    open_seconds: float,
    open_mb: int,
    insecure: bool,
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
    _refuse_open_bind(host, insecure)
    model = name_of_file(file.stem) if name is None else check_name(name)
    body_bytes = max_body_mb << 20
    queue = QueueLimits(max_batch_rows=max_batch_rows, max_wait_s=max_wait_ms / 1000, max_waiting=max_waiting)
    options = ServeOptions(
        host,
        http_port,
        None if no_grpc else grpc_port,
        queue,
        limits=WireLimits(body_bytes=body_bytes, elements=body_bytes),
        bodies_bytes=max(8 * body_bytes, 512 << 20),
        request_s=request_timeout,
    )
    wishes = Wishes(sample, native, trust, OpenLimits(open_seconds, open_mb << 20))
    progress = ProgressLine()
    prepared: list[Prepared] = []

    def load() -> Loaded:
        prepared.append(found := prepare(file, wishes, settings.cache, progress.show))
        progress.show("opening the model")
        return Loaded(model, "1", found.signature, open_runtime(found, wishes), found.rows)

    def announce(loaded: Loaded, http: int, grpc: int | None) -> None:
        progress.close()
        say = _announce_json if as_json else _announce
        say(prepared[0], loaded, host, http, grpc, monotonic() - started)

    try:
        return Server(options, installed("modelyard"), load, announce).run()
    finally:
        progress.close()


def _refuse_open_bind(host: str, insecure: bool) -> None:
    """Until there are keys, only this machine may call, unless the operator takes it on himself."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not insecure:
        raise UnsafeFile(
            f"--host {host} is an address that other machines reach, and this server has no keys yet: anyone "
            "could call it; add --insecure if something in front of it keeps them out"
        )


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
