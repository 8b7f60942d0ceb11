"""How a child that holds an original is asked to open it; light, because a serving process imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

HOST_TARGET = "modelyard.formats.child:host_verbs"
"""What a child runs to open and answer only."""


def opening(
    path: Path,
    format_name: str,
    names: Sequence[str] | None,
    trusted_types: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    *,
    fast: bool = False,
) -> dict[str, Any]:
    """The values of the call "open", for a sample that was taken apart before.

    With ``fast`` the host answers in the fast form of the model, see ``formats.fast``.
    """
    return {
        "path": str(path),
        "format": format_name,
        "trusted_types": list(trusted_types),
        "options": dict(options or {}),
        "sample": list(names) if names is not None else None,
        "fast": fast,
    }
