"""Recognise the files of the boosting libraries by their first and last bytes; nothing is loaded."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable

_TAIL_BYTES = 128 << 10
_FEATURES = re.compile(rb'"num_feature"\s*:\s*"(\d{1,30})"')

MOST_COLUMNS = 100_000_000
"""A row of more could not be sent; XGBoost sets memory aside for as many as the file says."""

_ENDS_OF_TEXT = (b"end of trees", b"end of parameters", b"pandas_categorical:")


class Damaged(Exception):
    """The start is right, the rest is not."""


def recognise(head: bytes, stream: BinaryIO, size: int) -> tuple[str, str] | None:
    """Format and detail of a booster's file; None for anything else.

    Raises:
        Damaged: its end is missing, or it says what cannot be; the message says what it starts as and why.
    """
    for mark in (_xgboost_json, _xgboost_ubjson, _lightgbm, _catboost):
        found = mark(head)
        if found is not None:
            name, detail, whole = found
            stream.seek(max(0, size - _TAIL_BYTES), os.SEEK_SET)
            tail = stream.read(_TAIL_BYTES)
            if not whole(tail, size):
                raise Damaged(f"({detail}), but its end is missing")
            if name == "xgboost" and (columns := _columns(tail)) > MOST_COLUMNS:
                raise Damaged(f"({detail}), but says that it takes {columns:,} columns")
            return name, detail
    return None


def _columns(tail: bytes) -> int:
    """What XGBoost's JSON says near its end, where its parameters stand; 0 when it is not there."""
    found = _FEATURES.search(tail)
    return int(found[1]) if found else 0


def _xgboost_json(head: bytes) -> tuple[str, str, Callable[[bytes, int], bool]] | None:
    start = head[:4096].lstrip()
    if not start.startswith(b"{") or b'"learner"' not in start:
        return None
    return "xgboost", "XGBoost, JSON", lambda tail, _: tail.rstrip().endswith(b"}")


def _xgboost_ubjson(head: bytes) -> tuple[str, str, Callable[[bytes, int], bool]] | None:
    if head[:1] != b"{" or head[1:2] not in (b"L", b"l", b"I", b"U", b"i") or b"learner" not in head[:64]:
        return None
    return "xgboost", "XGBoost, UBJSON", lambda tail, _: tail.endswith(b"}")


def _lightgbm(head: bytes) -> tuple[str, str, Callable[[bytes, int], bool]] | None:
    if not head.startswith((b"tree\nversion=", b"tree\r\nversion=")):
        return None
    return "lightgbm", "LightGBM, text", lambda tail, _: any(mark in tail for mark in _ENDS_OF_TEXT)


def _catboost(head: bytes) -> tuple[str, str, Callable[[bytes, int], bool]] | None:
    if not head.startswith(b"CBM1"):
        return None
    length = int.from_bytes(head[4:8], "little")
    return "catboost", "CatBoost, binary", lambda _, size: size >= 8 + length
