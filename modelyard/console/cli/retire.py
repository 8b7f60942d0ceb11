"""``modelyard retire MODEL VERSION``: a version out of use."""

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
def retire(
    where: Where,
    model: str,
    version: int | None,
    why: str,
    wait: bool,
    timeout: float,
    expected: int | None,
    as_json: bool,
) -> int:
    """Take VERSION of MODEL out of use: its last requests end, then it is unloaded.

    It must carry no traffic. Its row and its history stay; after a grace gc gives up its bundle.
    """
    ref = read_ref(model, version)
    asked = OrderRequest("retire", ref.version, why=why, expected=expected)
    return give(where, ref.name, asked, wait=wait, timeout=timeout, as_json=as_json)
