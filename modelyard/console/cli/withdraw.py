"""``modelyard withdraw MODEL VERSION``: a shadow or canary out."""

from __future__ import annotations

import click

from modelyard.client.admin_values import OrderRequest
from modelyard.console.cli.yard_options import JSON, WHY, Where, read_ref, where_options
from modelyard.console.cli.yard_orders import give, wait_options


@click.command()
@where_options()
@click.argument("model")
@click.argument("version", type=int, required=False)
@WHY
@wait_options
@JSON
def withdraw(
    where: Where,
    model: str,
    version: int | None,
    why: str,
    wait: bool,
    timeout: float,
    expected: int | None,
    as_json: bool,
) -> int:
    """Take VERSION of MODEL, a shadow or canary, out; the live version goes on."""
    ref = read_ref(model, version)
    asked = OrderRequest("withdraw", ref.version, why=why, expected=expected)
    return give(where, ref.name, asked, wait=wait, timeout=timeout, as_json=as_json)
