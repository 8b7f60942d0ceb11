"""Plain text for terminals: tables, one line of progress, bars.

One rule: what comes from outside (labels, model names) never reaches the terminal as control codes, and every
width is counted in terminal cells, not characters.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from time import monotonic
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NARROW, WIDE = 40, 100
_GAP = "  "
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_REDRAW_S = 0.05
_ZERO_WIDTH = frozenset({"Mn", "Me"})
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    r"""The text with everything that could steer a terminal written out.

    >>> printable("a\x1b[31m")
    'a\\x1b[31m'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(mark) for mark in text)


def _visible(mark: str) -> str:
    if unicodedata.category(mark) not in _UNPRINTABLE:
        return mark
    return mark.encode("unicode_escape").decode("ascii")


def cells(text: str) -> int:
    r"""How many terminal cells a text takes: 2 for a wide character, 0 for a combining mark.

    >>> cells("模型"), cells("e\u0301")
    (4, 1)
    """
    if text.isascii():
        return len(text)
    return sum(_cells_of(mark) for mark in text)


def _cells_of(mark: str) -> int:
    if unicodedata.category(mark) in _ZERO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(mark) in "WF" else 1


def clip(text: str, width: int) -> str:
    """The text in at most ``width`` cells; a cut is shown.

    >>> clip("versicolor", 6)
    'versi…'
    """
    if cells(text) <= width:
        return text
    kept, used = [], 0
    for mark in text:
        used += _cells_of(mark)
        if used > width - 1:
            break
        kept.append(mark)
    return "".join(kept) + "…" if width > 0 else ""


def pad(text: str, width: int, right: bool = False) -> str:
    """The text filled with spaces to ``width`` cells, or cut to it."""
    text = clip(text, width)
    space = " " * (width - cells(text))
    return space + text if right else text + space


def terminal_width(stream: TextIO | None = None) -> int:
    """Columns of the terminal behind a stream; WIDE when there is none, NARROW at least."""
    try:
        return max(os.get_terminal_size((stream or sys.stdout).fileno()).columns, NARROW)
    except (OSError, ValueError, AttributeError):
        return WIDE


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Sequence[int] = (),
    width: int | None = None,
    bold: bool = False,
) -> str:
    """Rows under their heads, every line equally wide.

    Args:
        heads: one a column.
        rows: cells of text; missing ones at the end are empty.
        numbers: columns that are aligned to the right.
        width: cells of the whole; wide columns give way first. None: as wide as it needs.
        bold: draw the heads bold (the terminal's own codes; they take no cell).

    >>> print(table(["row", "label"], [["0", "daisy"]], numbers=[0]))
    row  label
    ---  -----
      0  daisy
    """
    lines = [[printable(cell) for cell in row] for row in (heads, *rows)]
    for line in lines[1:]:
        line.extend([""] * (len(heads) - len(line)))
    widths = _widths([max(map(cells, column)) for column in zip(*lines, strict=True)], width)
    drawn = [
        _GAP.join(pad(cell, widths[at], at in numbers) for at, cell in enumerate(line)) for line in lines
    ]
    rule = _GAP.join("-" * size for size in widths)
    head = f"\x1b[1m{drawn[0]}\x1b[0m" if bold else drawn[0]
    return "\n".join([head, rule, *drawn[1:]])


def _widths(wanted: list[int], width: int | None) -> list[int]:
    """Shrink the widest column, one cell at a time, until all fit; none below one cell."""
    widths = [max(size, 1) for size in wanted]
    if width is None:
        return widths
    room = width - len(_GAP) * (len(widths) - 1)
    while sum(widths) > room and max(widths) > 1:
        widest = max(range(len(widths)), key=widths.__getitem__)
        others = sum(widths) - widths[widest]
        second = max((size for at, size in enumerate(widths) if at != widest), default=1)
        widths[widest] = max(room - others, min(second, widths[widest] - 1), 1)
    return widths


def bar(share: float, width: int) -> str:
    """A bar of at most ``width`` cells, in eighths of a cell.

    >>> bar(0.5, 4)
    '██'
    """
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def histogram(rows: Sequence[tuple[str, int]], width: int) -> str:
    """One bar a row: its name, the bar, its count and share.

    >>> print(histogram([("1 ms", 3), ("2 ms", 1)], 40))
    1 ms  ███████████████████████  3   75.0%
    2 ms  ███████▋                 1   25.0%
    """
    total = sum(count for _, count in rows) or 1
    most = max((count for _, count in rows), default=0) or 1
    names = max((cells(printable(name)) for name, _ in rows), default=0)
    counts = max((len(f"{count:,}") for _, count in rows), default=0)
    room = max(width - names - counts - 6 - 3 * len(_GAP), 4)
    return "\n".join(
        f"{pad(printable(name), names, right=True)}{_GAP}{pad(bar(count / most, room), room)}{_GAP}"
        f"{count:>{counts},}{_GAP}{count / total:>6.1%}"
        for name, count in rows
    )


def seconds(value: float) -> str:
    """A duration for a person, three digits at most.

    >>> seconds(0.0001234), seconds(0.25), seconds(75)
    ('123 us', '250 ms', '1 min 15 s')
    """
    if value < 1e-3:
        return f"{value * 1e6:.3g} us"
    if value < 0.9995:
        return f"{value * 1e3:.3g} ms"
    if value < 60:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


class ProgressLine:
    """One line on a terminal that says what goes on; silent where there is no terminal.

    It is drawn in one write over itself (no flicker), at most twenty times a second, and is gone after
    ``close``.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = monotonic) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._on = self._stream.isatty()
        self._drawn_s = float("-inf")
        self._started_s = 0.0
        self._text = ""

    def show(self, text: str, share: float | None = None) -> None:
        """Say what goes on and, if known, which share of it (0 to 1) is done."""
        if not self._on:
            return
        now = self._clock()
        if text != self._text:
            self._text, self._started_s = text, now
        elif now - self._drawn_s < _REDRAW_S and share != 1:
            return
        self._drawn_s = now
        self._stream.write(f"\r{self._line(text, share, now)}\x1b[K")
        self._stream.flush()

    def close(self) -> None:
        """Take the line away."""
        if self._on and self._drawn_s != float("-inf"):
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn_s = float("-inf")

    def _line(self, text: str, share: float | None, now: float) -> str:
        # The last cell stays free: some terminals wrap when it is written.
        width = terminal_width(self._stream) - 1
        text = printable(text)
        if share is None:
            return clip(f"{text} ...", width)
        took = now - self._started_s
        left = f"{seconds(took / share - took)} left" if took > 1 and 0 < share < 1 else ""
        room = min(max(width - cells(text) - 22, 4), 40)
        return clip(f"{text}  {pad(bar(share, room), room)}  {share:>4.0%}  {left}".rstrip(), width)
