"""``--torchserve-config FILE``: TorchServe's ``config.properties`` as defaults of ``modelyard up``.

One rule: what stands on the command line wins; the file only changes what is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.deploy.torchserve import read_torchserve

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from modelyard.deploy.torchserve import TorchServeConfig

    Verb = TypeVar("Verb", bound=Callable[..., Any])


def _read(context: click.Context, parameter: click.Parameter, file: Path | None) -> TorchServeConfig | None:
    """Read the file before the other options take their defaults; say what in it changes nothing."""
    del parameter
    if file is None:
        return None
    config = read_torchserve(file)
    context.default_map = {**(context.default_map or {}), **config.options}
    if said := config.without_effect(str(file)):
        click.echo(said, err=True)
    return config


def torchserve_option(verb: Verb) -> Verb:
    """Give a verb the option; it gets a ``TorchServeConfig`` or None as ``torchserve``."""
    option = click.option(
        "--torchserve-config",
        "torchserve",
        type=click.Path(path_type=Path),
        is_eager=True,
        callback=_read,
        metavar="FILE",
        help="TorchServe's config.properties: addresses, model store, allowed URLs and limits for what is "
        "not said here.",
    )
    return option(verb)
