"""How `serve` and `up` listen: the options that they share, and the address that they refuse."""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING, Any

import click

from modelyard.console.cli.door_options import HELP, parse_doors
from modelyard.core.errors import UnsafeFile
from modelyard.core.limits import WireLimits
from modelyard.engine.limits import QueueLimits
from modelyard.serve.options import ServeOptions
from modelyard.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

_PORT = click.IntRange(0, 65535)
_COUNT = click.IntRange(1, 1 << 20)
_QUEUE = QueueLimits()
_MOST_BODIES = 512 << 20

_OPTIONS = (
    click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on."),
    click.option("--http-port", default=8000, show_default=True, type=_PORT, help="0: any free port."),
    click.option("--grpc-port", default=8001, show_default=True, type=_PORT, help="0: any free port."),
    click.option("--no-grpc", is_flag=True, help="Serve REST only."),
    click.option(
        "--max-batch-rows",
        default=_QUEUE.max_batch_rows,
        show_default=True,
        type=_COUNT,
        help="Rows of different requests that run together, at most.",
    ),
    click.option(
        "--max-wait-ms",
        default=0.0,
        show_default=True,
        type=click.FloatRange(0, 10_000),
        help="How long a batch may wait to fill; 0 runs what is there.",
    ),
    click.option(
        "--max-waiting",
        default=_QUEUE.max_waiting,
        show_default=True,
        type=_COUNT,
        help="Requests that may wait; more are refused with 429.",
    ),
    click.option(
        "--max-body-mb",
        default=64,
        show_default=True,
        type=click.FloatRange(0.0009, 2048),
        help="The largest request body after decompression, MiB.",
    ),
    click.option(
        "--request-timeout",
        default=60.0,
        show_default=True,
        type=click.FloatRange(0.001, 86_400),
        help="Seconds that a request may take when its caller gives no time.",
    ),
    click.option("--dialect", "doors", multiple=True, metavar="NAME@PORT", help=HELP),
    click.option("--no-dialects", is_flag=True, help="Speak V2 and /predict only on the ports above."),
    click.option(
        "--shared-memory",
        "shared",
        multiple=True,
        metavar="PREFIX",
        help="Let callers use shared memory of this user whose key starts with it; / is all of it.",
    ),
    click.option(
        "--insecure", is_flag=True, help="Allow an address that other machines reach, without keys."
    ),
)


def listening_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of ``ServeOptions``; the command gets it as ``options``, and ``insecure``."""

    @functools.wraps(command)
    def inner(
        *arguments: Any,
        host: str,
        http_port: int,
        grpc_port: int,
        no_grpc: bool,
        max_batch_rows: int,
        max_wait_ms: float,
        max_waiting: int,
        max_body_mb: float,
        request_timeout: float,
        doors: tuple[str, ...],
        no_dialects: bool,
        shared: tuple[str, ...],
        insecure: bool,
        **rest: Any,
    ) -> Any:
        refuse_open_bind("--host", host, insecure)
        body_bytes = int(max_body_mb * (1 << 20))
        options = ServeOptions(
            host,
            http_port,
            None if no_grpc else grpc_port,
            QueueLimits(
                max_batch_rows=max_batch_rows, max_wait_s=max_wait_ms / 1000, max_waiting=max_waiting
            ),
            WireLimits(body_bytes=body_bytes, elements=body_bytes),
            bodies_bytes=max(8 * body_bytes, _MOST_BODIES),
            request_s=request_timeout,
            dialects=not no_dialects,
            doors=parse_doors(doors, (http_port, None if no_grpc else grpc_port)),
            vertex=read_settings().vertex,
            shared=shared,
        )
        return command(*arguments, options=options, insecure=insecure, **rest)

    wrapped: Callable[..., Any] = inner
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def refuse_open_bind(option: str, host: str, insecure: bool) -> None:
    """Until there are keys, only this machine may call, unless the operator takes it on himself.

    Raises:
        UnsafeFile: an address that other machines reach.
    """
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not insecure:
        raise UnsafeFile(
            f"{option} {host} is an address that other machines reach, and this server has no keys yet: "
            "anyone could call it; add --insecure if something in front of it keeps them out"
        )
