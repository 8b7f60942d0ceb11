"""``modelyard restore MODEL VERSION``: a retired version back into the ranks."""

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
def restore(
    where: Where,
    model: str,
    version: int | None,
    why: str,
    wait: bool,
    timeout: float,
    expected: int | None,
    as_json: bool,
) -> int:
    """Bring the retired VERSION of MODEL back into the ranks; it carries no traffic until it is released."""
    ref = read_ref(model, version)
    asked = OrderRequest("restore", ref.version, why=why, expected=expected)
    return give(where, ref.name, asked, wait=wait, timeout=timeout, as_json=as_json)
