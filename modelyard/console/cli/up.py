"""``modelyard up``: this host serves what is released in a yard."""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from modelyard.console.cli.listening import listening_options, refuse_open_bind
from modelyard.console.cli.torchserve_option import torchserve_option
from modelyard.console.cli.yard_options import Where, where_options
from modelyard.control.place import YardPlace
from modelyard.control.process import Control, ControlOptions, Up
from modelyard.control.watcher import WatchOptions
from modelyard.core.errors import BadInput
from modelyard.core.ref import check_name
from modelyard.core.version import VERSION
from modelyard.deploy.policy import parse_policy
from modelyard.deploy.torchserve import ModelStore
from modelyard.settings import read_settings

if TYPE_CHECKING:
    from modelyard.deploy.torchserve import TorchServeConfig
    from modelyard.serve.options import ServeOptions

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_UNITS = {"": 1, "K": 10, "M": 20, "G": 30, "T": 40}


@click.command()
@where_options(url=False)
@torchserve_option
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes.")
@listening_options
@click.option("--console-host", default="127.0.0.1", show_default=True, help="The admin API's address.")
@click.option(
    "--console-port", default=8002, show_default=True, type=click.IntRange(0, 65535), help="0: any free port."
)
@click.option("--watch", type=_FOLDER, help="A folder of models to follow: name/1/file, as others have it.")
@click.option(
    "--version-policy",
    default="latest",
    show_default=True,
    help="Which versions of a watched model: latest:N, all, or 1,3,7. config.pbtxt goes before it.",
)
@click.option(
    "--memory-budget",
    default="",
    help="What loaded models may hold, as 2GiB, in all workers together; idle ones go and come back.",
)
@click.option("--pin", multiple=True, metavar="NAME", help="A model that stays loaded; may be repeated.")
@click.option("--host-name", default="", help="This host's name in the yard; the machine's without.")
@click.option("--trust", is_flag=True, help="Open unsafe files even where this kernel cannot confine them.")
@click.option("--json", "as_json", is_flag=True, help="Say where it listens as one JSON line on stdout.")
def up(
    where: Where,
    torchserve: TorchServeConfig | None,
    workers: int,
    options: ServeOptions,
    insecure: bool,
    console_host: str,
    console_port: int,
    watch: Path | None,
    version_policy: str,
    memory_budget: str,
    pin: tuple[str, ...],
    host_name: str,
    trust: bool,
    as_json: bool,
) -> int:
    """Serve what is released until Ctrl-C; SIGHUP replaces the workers one by one."""
    refuse_open_bind("--console-host", console_host, insecure)
    refuse_shared(options, workers)
    if torchserve is not None:
        refuse_open_bind("grpc_management_address", torchserve.rpc[0], insecure)
    logging.basicConfig(
        level=read_settings().log_level.upper(),
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    for theirs in ("alembic", "uvicorn"):
        logging.getLogger(theirs).setLevel(logging.WARNING)
    told = ControlOptions(
        YardPlace(where.home, where.registry, where.artifacts),
        host_name_of(host_name),
        workers,
        replace(options, budget_bytes=parse_size(memory_budget) // workers, trust=trust),
        (console_host, console_port),
        frozenset(check_name(name) for name in pin),
        None if watch is None else WatchOptions(watch, parse_policy(version_policy), trust),
        ModelStore() if torchserve is None else torchserve.store,
        None if torchserve is None else torchserve.rpc,
    )
    return Control(told, VERSION, _say_json if as_json else _say).run()


def refuse_shared(options: ServeOptions, workers: int) -> None:
    """A region is registered with the one process that took the call; the others would not know it.

    Raises:
        BadInput: shared memory with several workers.
    """
    if options.shared and workers > 1:
        raise BadInput(
            f"--shared-memory does not go with --workers {workers}: a caller registers a region with one "
            "of the processes that share the port, and the next call may reach another; use --workers 1"
        )


def host_name_of(text: str) -> str:
    """A host's name: the one given, or the machine's as far as it may be one."""
    if text:
        return check_name(text)
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).strip("._-")
    return clean[:128] or "host"


def parse_size(text: str) -> int:
    """A number of bytes; nothing is 0.

    >>> parse_size("2GiB"), parse_size("512MiB"), parse_size("")
    (2147483648, 536870912, 0)

    Raises:
        BadInput: not a size.
    """
    if not text:
        return 0
    found = re.fullmatch(r"([0-9]{1,12})(?:([KMGT])iB|B)?", text.strip(), re.ASCII)
    if found is None or not int(found[1]):
        raise BadInput(f"{text[:40]!r} is not a size; write it as 512MiB or 2GiB")
    return int(found[1]) << (_UNITS[found[2]] if found[2] else 0)


def _released(up: Up) -> list[tuple[str, str]]:
    reconciler = up.host.reconciler
    if reconciler is None:
        return []
    found = sorted(reconciler.wanted.items())
    return [(name, one.current.release.in_force()) for name, one in found if one.current.release.entries]


def _say(up: Up) -> None:
    standing, released = up.standing, _released(up)
    pids = " ".join(str(row.pid) for row in up.host.own_workers())
    lines = [f"up: {len(released)} models are released"]
    lines += [f"  {name:<16} {said}" for name, said in released[:10]]
    lines += [f"  and {len(released) - 10} more"] if len(released) > 10 else []
    lines += [f"  {'REST':<16} {standing.http}", f"  {'gRPC':<16} {standing.grpc}"][: 1 + bool(standing.grpc)]
    lines += [f"  {'page':<16} {standing.http}/docs", f"  {'admin':<16} {standing.console}/docs"]
    lines += [f"  {'TorchServe gRPC':<16} {up.torchserve} (management)"] if up.torchserve else []
    lines += [f"  {'workers':<16} {pids}"]
    lines += (
        [f"  {'loading':<16} {count} copies are still on their way"] if (count := up.host.loading()) else []
    )
    lines += [f"  {'problem':<16} {said}" for said in up.host.problems()]
    click.echo("\n".join([*lines, "Ctrl-C stops it."]))


def _say_json(up: Up) -> None:
    standing = up.standing
    said = {
        "pid": standing.pid,
        "http": standing.http,
        "grpc": standing.grpc or None,
        "console": standing.console,
        "torchserve_grpc": up.torchserve or None,
        "workers": [row.pid for row in up.host.own_workers()],
        "released": dict(_released(up)),
        "loading": up.host.loading(),
        "problems": up.host.problems(),
    }
    click.echo(json.dumps(said))
