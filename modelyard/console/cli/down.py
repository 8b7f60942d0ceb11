"""``modelyard down``: stop what `modelyard up` started on this host."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from modelyard.console.cli.up import host_name_of
from modelyard.console.cli.yard_options import Where, where_options
from modelyard.control.stopping import stop
from modelyard.core.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable


@click.command()
@where_options(url=False)
@click.option("--host-name", default="", help="As it was given to `modelyard up`.")
@click.option(
    "--timeout", default=60.0, show_default=True, type=click.FloatRange(0.1, 86_400), help="Seconds to wait."
)
def down(where: Where, host_name: str, timeout: float) -> None:
    """Stop control and its workers; they finish what is in flight."""
    until = time.monotonic() + timeout
    stopped = stop(where.home, host_name_of(host_name), _waiter(until, timeout))
    click.echo(stopped)


def _waiter(until: float, timeout: float) -> Callable[[], None]:
    def wait() -> None:
        if time.monotonic() > until:
            raise Unavailable(f"not stopped within {timeout:g} s: it is finishing what is in flight")
        time.sleep(0.05)

    return wait
