"""``modelyard off MODEL``: nothing of the model is released any more."""

from __future__ import annotations

import click

from modelyard.client.admin_values import OrderRequest
from modelyard.console.cli.yard_options import JSON, WHY, Where, where_options
from modelyard.console.cli.yard_orders import give, wait_options
from modelyard.core.ref import check_name


@click.command()
@where_options()
@click.argument("model")
@WHY
@wait_options
@JSON
def off(
    where: Where,
    model: str,
    why: str,
    wait: bool,
    timeout: float,
    expected: int | None,
    as_json: bool,
) -> int:
    """Take MODEL off: it answers nobody. Its versions and what was live before are kept."""
    name = check_name(model)
    asked = OrderRequest("off", why=why, expected=expected)
    return give(where, name, asked, wait=wait, timeout=timeout, as_json=as_json)
