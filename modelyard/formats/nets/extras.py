"""A missing framework ends in the line that installs it."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelyard.core.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Around the imports of a framework.

    Args:
        name: the extra of our own package that brings it.
        what: the file that needs it, for the message.

    Raises:
        MissingExtra: a package of it is not installed; the message has the line.
    """
    # Some frameworks ask for the folder of temporary files when they are imported. A child has none, and
    # the search for one raises; named here, it is asked for and never written to.
    tempfile.tempdir = tempfile.tempdir or "/nonexistent"
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{what} needs the Python package {(error.name or '').partition('.')[0]!r}, which is not "
            f"installed here; run: pip install 'modelyard[{name}]'"
        ) from error
