"""What the terminal shows: widths in cells, no control codes from outside, one quiet progress line."""

from __future__ import annotations

import io
import os
import pty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.console.text import (
    ProgressLine,
    bar,
    cells,
    clip,
    histogram,
    pad,
    printable,
    seconds,
    table,
    terminal_width,
)


class Screen(io.StringIO):
    """A stream that says it is a terminal and counts its writes."""

    def __init__(self, tty: bool = True) -> None:
        super().__init__()
        self.tty = tty
        self.writes: list[str] = []

    def isatty(self) -> bool:
        return self.tty

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


def test_table_counts_wide_and_combining_characters() -> None:
    drawn = table(["row", "花"], [["0", "山鸢尾"], ["12", "e\u0301te\u0301"]], numbers=[0])
    assert drawn.split("\n") == [
        "row  花    ",
        "---  ------",
        "  0  山鸢尾",
        " 12  e\u0301te\u0301   ",
    ]


@given(
    st.lists(st.text(max_size=12), min_size=1, max_size=6).flatmap(
        lambda heads: st.tuples(
            st.just(heads),
            st.lists(st.lists(st.text(max_size=20), max_size=len(heads)), max_size=8),
        )
    ),
    st.sampled_from([None, 40, 20, 10]),
)
def test_every_line_of_any_table_is_equally_wide(parts: tuple, width: int | None) -> None:
    heads, rows = parts
    lines = table(heads, rows, numbers=[0], width=width).split("\n")
    assert len(lines) == 2 + len(rows)
    assert len({cells(line) for line in lines}) == 1
    if width is not None and width >= 3 * len(heads):
        assert cells(lines[0]) <= width


def test_the_widest_column_gives_way_first() -> None:
    drawn = table(["a", "long"], [["1", "x" * 60]], width=20).split("\n")
    assert drawn[2] == "1  " + "x" * 16 + "…"


@given(st.text(max_size=30), st.integers(0, 40))
def test_clip_and_pad_hold_their_width(text: str, width: int) -> None:
    assert cells(clip(printable(text), width)) <= width
    assert cells(pad(printable(text), width)) == width


@pytest.mark.parametrize("mark", ["\x1b", "\r", "\n", "\x9b", "\u202e", "\u2028", "\x00", "\ud800"])
def test_nothing_from_outside_steers_the_terminal(mark: str) -> None:
    drawn = table([f"h{mark}"], [[f"x{mark}[31m"]])
    assert mark not in drawn.replace("\n", "", 2)
    drawn.encode()


def test_bold_heads_take_no_cells() -> None:
    head = table(["a"], [["b"]], bold=True).split("\n")[0]
    assert head == "\x1b[1ma\x1b[0m"


@pytest.mark.parametrize(
    ("share", "drawn"), [(0, ""), (1, "████"), (0.5, "██"), (1 / 32, "▏"), (7, "████"), (-1, "")]
)
def test_bars_are_drawn_in_eighths(share: float, drawn: str) -> None:
    assert bar(share, 4) == drawn


def test_histogram_lines_are_equally_wide_and_full_at_most() -> None:
    lines = histogram([("1 ms", 12000), ("10 ms", 1), ("100 ms", 0)], 60).split("\n")
    assert {cells(line) for line in lines} == {60}
    assert "12,000" in lines[0]
    assert "▏" not in lines[2]
    assert histogram([], 60) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2e-7, "0.2 us"),
        (9.99e-4, "999 us"),
        (0.0123, "12.3 ms"),
        (1.5, "1.5 s"),
        (59.99, "60 s"),
        (61, "1 min 1 s"),
    ],
)
def test_seconds_reads_like_a_person(value: float, text: str) -> None:
    assert seconds(value) == text


def test_progress_is_silent_without_a_terminal() -> None:
    screen = Screen(tty=False)
    line = ProgressLine(screen)
    line.show("working", 0.5)
    line.close()
    assert screen.writes == []


def test_progress_draws_over_itself_and_leaves_nothing() -> None:
    screen, now = Screen(), [0.0]
    line = ProgressLine(screen, clock=lambda: now[0])
    line.show("rows", 0.0)
    for step in range(1, 100):
        now[0] = step * 0.001
        line.show("rows", step / 200)
    assert len(screen.writes) == 2, "one draw at 0 s, one at 50 ms"
    now[0] = 10.0
    line.show("rows", 0.5)
    assert "50%" in screen.writes[-1]
    assert "10 s left" in screen.writes[-1]
    line.close()
    assert screen.writes[-1] == "\r\x1b[K"
    assert all(text.startswith("\r") and "\n" not in text for text in screen.writes)


def test_progress_fits_the_terminal_it_is_on() -> None:
    import fcntl
    import struct
    import termios

    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
        with os.fdopen(slave, "w", closefd=False) as stream:
            assert terminal_width(stream) == 50
            line = ProgressLine(stream)
            line.show("a text that is much longer than the terminal is wide, by far " * 3, 0.25)
            line.close()
        drawn = os.read(master, 4096).decode()
    finally:
        os.close(master)
        os.close(slave)
    first = drawn.split("\x1b[K")[0].lstrip("\r")
    assert cells(first) == 49
