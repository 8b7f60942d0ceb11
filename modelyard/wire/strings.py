"""JSON text with strings in it, taken apart a slice at a time without a loop over its characters.

One rule: brackets and commas count only outside of strings. Escapes are blanked first (a run of
backslashes pairs up from its start), then every quote that is left opens or closes a string.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from msgspec.json import Decoder

from modelyard.core.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelyard.core.tensor import Array
    from modelyard.wire.binary import Buffer

_STRING = Decoder(str)
_LAST_ESCAPE = re.compile(rb"\\u([0-9a-fA-F]{0,4})\Z")
_HIGH = (b"d8", b"d9", b"da", b"db")
"""How the first half of a surrogate pair starts."""


def whole_escapes(text: bytes) -> bytes:
    """The text without a last backslash that would escape what follows it."""
    run = len(text) - len(text.rstrip(b"\\"))
    return text[:-1] if run % 2 else text


def blank_escapes(text: bytes) -> bytes:
    """The text, of the same length, with no escaped quote left in it."""
    if b"\\" in text:
        return text.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    return text


def bones_of(text: bytes, in_string: bool) -> tuple[Array, Array, bool]:
    """Where brackets, braces and commas stand outside of strings.

    Args:
        text: a slice that neither starts nor ends within an escape.
        in_string: whether it starts within a string.

    Returns:
        their positions, their codes, and whether the slice ends within a string.
    """
    codes = np.frombuffer(blank_escapes(text), np.uint8)
    if not codes.size:
        return np.flatnonzero(codes), codes, in_string
    inside = _inside(codes == 34, in_string)
    lower = codes | 32  # a bracket becomes a brace, and nothing else does
    bones = lower == 123
    bones |= lower == 125
    bones |= codes == 44
    bones &= ~inside
    at = np.flatnonzero(bones)
    return at, codes[at], bool(inside[-1])


def _inside(quotes: Array, in_string: bool) -> Array:
    """Whether an odd number of quotes stands up to each character, itself included.

    ``np.bitwise_xor.accumulate`` over 64 characters at a time: 6 times as fast as over single ones.
    """
    packed = np.packbits(quotes, bitorder="little")
    words = np.zeros(-(-packed.size // 8), "<u8")
    words.view(np.uint8)[: packed.size] = packed
    for shift in (1, 2, 4, 8, 16, 32):
        words ^= words << shift
    odd = words >> 63
    before = np.bitwise_xor.accumulate(odd) ^ odd
    if in_string:
        before ^= 1
    words ^= -before  # all ones where it starts within a string
    return np.unpackbits(words.view(np.uint8), count=quotes.size, bitorder="little").view(bool)


def brackets_of(text: bytes) -> tuple[Array, Array]:
    """Where brackets, braces and letters stand in text without a quote, and their codes.

    All else that numbers are made of lies below them in ASCII.
    """
    codes = np.frombuffer(text, np.uint8)
    at = np.flatnonzero(codes >= 91)
    return at, codes[at]


def cut_strings(
    body: Buffer, start: int, end: int, step: int, longest: int
) -> Generator[None, None, tuple[int, bytes, tuple[int, int] | None]]:
    """The next piece of an array of strings.

    Returns:
        where it ends (before a comma, or at ``end``), its bones, and where its one string lies, quotes
        included, when that is too long for a step.

    Raises:
        BadRequest: no end in sight.
        TooLarge: a string that is far over ``longest``.
    """
    step = max(step, 64)
    if end - start <= step:
        at, codes, _ = bones_of(bytes(body[start:end]), False)
        return end, codes.tobytes(), None
    text = whole_escapes(bytes(body[start : start + step]))
    at, codes, _ = bones_of(text, False)
    commas = np.flatnonzero(codes == 44)
    if commas.size and at[commas[-1]] > 0:
        last = int(commas[-1])
        return start + int(at[last]), codes[:last].tobytes(), None
    quote = text.find(b'"')
    if quote < 0:
        raise BadRequest("a string was expected, white space without end was found")
    stop = yield from _string_end(body, start + quote + 1, end, step, longest)
    tail = bytes(body[stop : min(stop + 64, end)])
    after = tail.lstrip(b" \t\r\n]")  # a long string may end its row and the rows around it
    cut = stop + len(tail) - len(after)
    if cut < end and not after.startswith(b","):
        raise BadRequest("a comma was expected after a string")
    head = text[:quote] + bytes(body[stop:cut])
    return cut, head.translate(None, b" \t\r\n"), (start + quote, stop)


def read_string(body: Buffer, start: int, end: int, step: int) -> Generator[None, None, str]:
    """The JSON string in ``body[start:end]``, quotes included, in steps.

    Raises:
        msgspec.DecodeError: malformed.
    """
    parts = []
    at, last = start + 1, end - 1
    while at < last:
        text = bytes(body[at : min(at + max(step, 64), last)])
        if at + len(text) < last:
            text = _whole_characters(text)
        parts.append(_STRING.decode(b'"' + text + b'"'))
        at += len(text)
        yield
    return "".join(parts)


def _whole_characters(text: bytes) -> bytes:
    """The text without a last character or escape that goes on after it; never empty."""
    text = whole_escapes(text)
    cut = len(text)
    while cut > len(text) - 3 and text[cut - 1] & 0xC0 == 0x80:
        cut -= 1
    if text[cut - 1] >= 0xC0:
        return text[: cut - 1]
    whole = _without_half(text)
    # What is left of a pair that was cut within its second half is a first half again.
    return whole if len(whole) in (len(text), len(text) - 6) else _without_half(whole)


def _without_half(text: bytes) -> bytes:
    """The text without a last escape that is cut off or is the first half of a pair."""
    escape = _LAST_ESCAPE.search(text, max(len(text) - 8, 0))
    if escape and (len(escape[1]) < 4 or escape[1][:2].lower() in _HIGH):
        run = escape.start() + 1 - len(text[: escape.start() + 1].rstrip(b"\\"))
        if run % 2:  # else the backslash before the u is itself escaped
            return text[: escape.start()]
    return text


def _string_end(body: Buffer, at: int, end: int, step: int, longest: int) -> Generator[None, None, int]:
    """The position after the quote that closes the string whose text starts at ``at``."""
    begin = at
    while at < end:
        if at - begin > 6 * longest:  # every byte may be written as \\u00xx
            raise TooLarge(f"a string is over the {longest} bytes that are read")
        text = whole_escapes(bytes(body[at : min(at + step, end)]))
        if not text:
            break
        found = blank_escapes(text).find(b'"')
        if found >= 0:
            return at + found + 1
        at += len(text)
        yield
    raise BadRequest("a string has no end")
