"""Pages that are written from the code, and whether one is in step."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def settle(page: Path, text: str, tool: str) -> int:
    """Write a page or, with ``--check``, say whether it is in step; the exit status."""
    if "--check" in sys.argv:
        if not page.exists() or page.read_text() != text:
            print(f"docs/{page.name} is not in step; run: python tools/{tool}.py")
            return 1
        return 0
    page.write_text(text)
    return 0
