"""CSV whose columns are told by their place, for models whose columns have no names."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import BadInput, BadRequest, TooLarge
from modelyard.wire.dialects.bodies import check_length
from modelyard.wire.plain_rows import from_rows

if TYPE_CHECKING:
    from modelyard.core.limits import WireLimits
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array
    from modelyard.wire.binary import Buffer

MOST_CELLS = 200_000


def read_headless(body: Buffer, signature: Signature, limits: WireLimits, skip: int = 0) -> list[Array]:
    """CSV whose columns are in the model's order; ``skip`` lines are no rows.

    Raises:
        BadRequest: no CSV.
        BadInput: not rows of the model.
        TooLarge: over the limits.
    """
    check_length(body, limits)
    text = bytes(body)
    check_csv(text)
    try:
        lines = [line for line in csv.reader(io.StringIO(text.decode("utf-8-sig"))) if line][skip:]
    except UnicodeDecodeError as error:
        raise BadRequest(f"the CSV is not UTF-8: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise BadRequest(f"the CSV is malformed: {str(error)[:120]}") from None
    if not lines:
        raise BadInput("the CSV has no rows")
    kinds = [spec.dtype.kind for spec in signature.inputs]
    rows = [
        [
            _cell(cell, kinds[at] if len(kinds) > 1 and at < len(kinds) else kinds[0])
            for at, cell in enumerate(line)
        ]
        for line in lines
    ]
    if len({len(row) for row in rows}) > 1:
        raise BadInput("the rows of the CSV have different numbers of values")
    return from_rows(rows, signature)


def check_csv(text: bytes) -> None:
    """Refuse a CSV that would hold the event loop.

    Raises:
        TooLarge: it would.
    """
    if text.count(b",") + text.count(b"\n") > MOST_CELLS:
        raise TooLarge(f"a CSV without a header line may have {MOST_CELLS} cells; send a header line")


def _cell(cell: str, kind: str) -> Any:
    word = cell.strip()
    if kind == "bytes":
        return cell
    if kind == "bool":
        return {"true": True, "false": False, "1": True, "0": False}.get(word.lower(), word)
    if not word:
        return None
    try:
        return int(word) if kind == "int" else float(word)
    except ValueError:
        return word
