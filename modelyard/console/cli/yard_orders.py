"""Giving an order and saying what came of it: what the verbs of a release share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec import structs

from modelyard.console.cli.yard_text import facts, release_facts, say_json
from modelyard.console.exits import UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from modelyard.client.admin_values import OrderRequest, OutcomeRow
    from modelyard.console.cli.yard_options import Where


def wait_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--wait``, ``--timeout`` and ``--expected``."""
    for option in (
        click.option(
            "--expected", type=click.IntRange(0), help="The revision you saw; another one is a conflict."
        ),
        click.option(
            "--timeout",
            default=60.0,
            show_default=True,
            type=click.FloatRange(0.1, 3600),
            help="How long to wait, in seconds.",
        ),
        click.option("--wait", is_flag=True, help="Wait until this machine serves it."),
    ):
        command = option(command)
    return command


def give(where: Where, name: str, asked: OrderRequest, *, wait: bool, timeout: float, as_json: bool) -> int:
    """Give an order, wait if that was asked, say what came of it; the exit code."""
    with where.desk() as desk:
        done = desk.order(name, asked)
    if wait:
        done = structs.replace(done, settled=_settled(where, name, done.release.revision, timeout))
    if as_json:
        say_json(done)
    else:
        _say(done, wait)
    return UNAVAILABLE if wait and done.settled is False else 0


def _settled(where: Where, name: str, revision: int, timeout: float) -> bool | None:
    controls = where.controls()
    return all(control.settled(name, revision, timeout) for control in controls) if controls else None


def _say(done: OutcomeRow, wait: bool) -> None:
    click.echo(done.said)
    click.echo(facts(release_facts(done.release)))
    if wait:
        text = {
            True: "this machine serves it",
            False: "this machine does not serve it yet; look at: modelyard show",
            None: "no control runs on this yard here; it serves when one does: modelyard up",
        }[done.settled]
        click.echo(text)
