"""``modelyard rollback MODEL``: back, from a canary to the live version, else to the one before."""

from __future__ import annotations

import click

from modelyard.client.admin_values import OrderRequest
from modelyard.console.cli.yard_options import JSON, WHY, Where, where_options
from modelyard.console.cli.yard_orders import give, wait_options
from modelyard.core.ref import check_name


@click.command()
@where_options()
@click.argument("model")
@click.option("--to", "version", type=int, metavar="VERSION", help="To this earlier live version.")
@WHY
@wait_options
@JSON
def rollback(
    where: Where,
    model: str,
    version: int | None,
    why: str,
    wait: bool,
    timeout: float,
    expected: int | None,
    as_json: bool,
) -> int:
    """Go back: from a canary to the live version of MODEL, else to the live version before."""
    asked = OrderRequest("rollback", version, why=why, expected=expected)
    return give(where, check_name(model), asked, wait=wait, timeout=timeout, as_json=as_json)
