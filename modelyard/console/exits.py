"""Exit codes of the command line: one table. Source of the numbers: BSD ``sysexits.h``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.core.errors import ModelyardError

DATA, NO_INPUT, UNAVAILABLE, INTERNAL, TRY_AGAIN, NO_PERMISSION, CONFIG = 65, 66, 69, 70, 75, 77, 78

EXITS: dict[str, int] = {
    "bad-request": DATA,
    "bad-input": DATA,
    "too-large": DATA,
    "model-not-found": UNAVAILABLE,
    "version-not-found": UNAVAILABLE,
    "region-not-found": UNAVAILABLE,
    "illegal-move": DATA,
    "conflict": TRY_AGAIN,
    "route-not-found": UNAVAILABLE,
    "deadline-exceeded": UNAVAILABLE,
    "overloaded": UNAVAILABLE,
    "unavailable": UNAVAILABLE,
    "host-died": UNAVAILABLE,
    "model-failed": INTERNAL,
    "missing-file": NO_INPUT,
    "corrupt-file": DATA,
    "unknown-format": DATA,
    "unsafe-file": NO_PERMISSION,
    "missing-extra": UNAVAILABLE,
    "not-convertible": DATA,
    "child-failed": DATA,
    "sandbox-unavailable": NO_PERMISSION,
    "newer-registry": UNAVAILABLE,
    "port-busy": UNAVAILABLE,
    "bad-config": CONFIG,
    "over-budget": UNAVAILABLE,
}
"""Error code -> exit code; a code that is not listed exits with 70."""


def exit_code(error: ModelyardError) -> int:
    """The exit code for an error."""
    return EXITS.get(error.code, INTERNAL)
