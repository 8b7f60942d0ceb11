"""``modelyard release MODEL [VERSION]``: all traffic at once, a share of it, or copies only."""

from __future__ import annotations

import click

from modelyard.client.admin_values import GuardRules, OrderRequest
from modelyard.console.cli.yard_options import JSON, WHY, Where, read_ref, where_options
from modelyard.console.cli.yard_orders import give, wait_options
from modelyard.core.errors import BadInput

_RULES = GuardRules()


@click.command()
@where_options()
@click.argument("model")
@click.argument("version", type=int, required=False)
@click.option("--canary", metavar="SHARE", help="Try it with a share of the requests, such as 10%.")
@click.option("--shadow", is_flag=True, help="Give it copies of the requests; it answers nobody.")
@click.option("--steps", metavar="SHARES", help="Let the canary grow by itself: 1%,10%,50%,100%.")
@click.option("--hold", default="60s", show_default=True, help="How long each step holds at least.")
@click.option("--no-guard", is_flag=True, help="Do not turn a bad canary back by itself.")
@click.option(
    "--min-requests",
    default=_RULES.min_requests,
    show_default=True,
    help="The guard says nothing before so many requests of each version.",
)
@click.option(
    "--max-error-rise",
    default=_RULES.error_floor,
    show_default=True,
    help="A smaller difference of error shares is let pass (0.001 is 0.1 points).",
)
@click.option(
    "--max-p99-ratio",
    default=_RULES.p99_ratio,
    show_default=True,
    help="How many times the live version's p99 is too slow.",
)
@click.option(
    "--alarm",
    default=_RULES.alarm,
    show_default=True,
    help="The chance that a canary as good as the live version is turned back.",
)
@WHY
@wait_options
@JSON
def release(
    where: Where,
    model: str,
    version: int | None,
    canary: str | None,
    shadow: bool,
    steps: str | None,
    hold: str,
    no_guard: bool,
    min_requests: int,
    max_error_rise: float,
    max_p99_ratio: float,
    alarm: float,
    why: str,
    wait: bool,
    timeout: float,
    expected: int | None,
    as_json: bool,
) -> int:
    """Release VERSION of MODEL, the newest without a number: all traffic, at once, without a gap.

    MODEL may be a reference such as iris:2. With --canary or --steps it is tried beside the live version
    first, and the guard turns it back when it is worse.
    """
    ref = read_ref(model, version)
    if sum((canary is not None, shadow, steps is not None)) > 1:
        raise BadInput("--canary, --steps and --shadow exclude each other; give one of them")
    guard = None if no_guard else GuardRules(min_requests, max_error_rise, max_p99_ratio, alarm)
    verb = "shadow" if shadow else "release" if canary is None and steps is None else "canary"
    asked = OrderRequest(
        verb,
        ref.version,
        canary,
        None if steps is None else tuple(part.strip() for part in steps.split(",")),
        hold,
        guard,
        why,
        expected,
    )
    return give(where, ref.name, asked, wait=wait, timeout=timeout, as_json=as_json)
