"""What the parameters of a Python function say of the tensors it takes."""

from __future__ import annotations

import inspect
from typing import Any


def tensors_taken(function: Any) -> list[str]:
    """Names of the parameters that must be given; all that may be, where none must.

    >>> tensors_taken(lambda x, mask=None: x)
    ['x']
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return ["x"]
    plain = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    needed = [one.name for one in plain if one.default is one.empty]
    return needed or [one.name for one in plain][:1] or ["x"]
