"""Protobuf's text format, read strictly: text in, fields in order out, with the line of each.

Rule: it knows no schema. Source of the grammar: "Text Format Language Specification" of Protocol Buffers;
extensions, ``Any`` and field numbers are left out, because the files read here have none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from modelyard.core.errors import BadConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_CHARS = 256 << 10
MOST_DEPTH = 16
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f\v]+|\#[^\n]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>-?(?:0[xX][0-9a-fA-F]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?)(?![\w.]))
    |(?P<word>-?[A-Za-z_]\w*)
    |(?P<mark>[{}<>\[\]:,;])""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_PLAIN = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "?": 63, "\\": 92, "'": 39, '"': 34}
_CLOSE = {"{": "}", "<": ">"}


class Word(Struct, frozen=True):
    """An enum value or true and false: a bare word."""

    name: str


class Field(Struct, frozen=True):
    """One field; a repeated field comes once for each of its values."""

    name: str
    value: Value
    line: int


Value: TypeAlias = "str | int | float | Word | tuple[Field, ...]"


class _Token(Struct, frozen=True):
    kind: str
    text: str
    line: int


def parse(text: str, file: str) -> tuple[Field, ...]:
    """The fields of a message in text format.

    >>> parse('name: "iris" dims: [1, 2]', "config.pbtxt")[2].value
    2

    Raises:
        BadConfig: not text format, too long or too deep; the message names the file and the line.
    """
    if len(text) > MOST_CHARS:
        raise BadConfig(f"{file} has {len(text)} characters; at most {MOST_CHARS} are read")
    reader = _Reader(list(_tokens(text, file)), file)
    return tuple(reader.fields("", 0))


def _tokens(text: str, file: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise BadConfig(f"{file}, line {line}: cannot read {text[at : at + 20]!r}")
        if found.lastgroup != "space":
            yield _Token(str(found.lastgroup), found.group(), line)
        line += found.group().count("\n")
        at = found.end()
    yield _Token("end", "", line)


class _Reader:
    def __init__(self, tokens: list[_Token], file: str) -> None:
        self._tokens = tokens
        self._file = file
        self._at = 0

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _skip(self, marks: str) -> bool:
        token = self._tokens[self._at]
        if token.kind == "mark" and token.text in marks:
            self._at += 1
            return True
        return False

    def _fail(self, token: _Token, wanted: str) -> BadConfig:
        found = repr(token.text[:20]) if token.text else "the end of the file"
        return BadConfig(f"{self._file}, line {token.line}: found {found} where {wanted} should be")

    def fields(self, close: str, depth: int) -> Iterator[Field]:
        if depth > MOST_DEPTH:
            raise BadConfig(f"{self._file} is nested deeper than {MOST_DEPTH} levels")
        while True:
            token = self._next()
            if token.kind == "end" and not close:
                return
            if token.kind == "mark" and close and token.text == close:
                return
            if token.kind != "word" or token.text.startswith("-"):
                raise self._fail(token, f"a field's name{f' or {close}' if close else ''}")
            colon = self._skip(":")
            for value in self._values(colon, depth):
                yield Field(token.text, value, token.line)
            self._skip(",;")

    def _values(self, colon: bool, depth: int) -> Iterator[Value]:
        if not self._skip("["):
            yield self._value(colon, depth)
            return
        if self._skip("]"):
            return
        while True:
            yield self._value(colon, depth)
            if self._skip("]"):
                return
            if not self._skip(","):
                raise self._fail(self._tokens[self._at], "a comma or ]")

    def _value(self, colon: bool, depth: int) -> Value:
        token = self._next()
        if token.kind == "mark" and token.text in _CLOSE:
            return tuple(self.fields(_CLOSE[token.text], depth + 1))
        if not colon:
            raise self._fail(token, "a colon or {")
        if token.kind == "text":
            whole = self._text(token)
            while self._tokens[self._at].kind == "text":
                whole += self._text(self._next())
            try:
                return whole.decode()
            except UnicodeDecodeError:
                raise self._fail(token, "UTF-8 text") from None
        if token.kind == "word":
            return Word(token.text)
        if token.kind == "number":
            return self._number(token)
        raise self._fail(token, "a value")

    def _number(self, token: _Token) -> int | float:
        text = token.text
        digits = text.lstrip("-")
        if len(digits) > 40:
            raise self._fail(token, "a number of at most 40 digits")
        if digits.lower().startswith("0x"):
            return int(text, 16)
        if digits.isdigit():
            if digits.startswith("0") and len(digits) > 1:
                if not set(digits) <= set("01234567"):
                    raise self._fail(token, "an octal number")
                return int(text, 8)
            return int(text)
        return float(text.rstrip("fF"))

    def _text(self, token: _Token) -> bytes:
        def plain(found: re.Match[str]) -> str:
            octal, hexa, short, long, one = found.groups()
            if short or long:
                code = int(short or long, 16)
                if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                    raise self._fail(token, "text without impossible characters")
                return chr(code).encode().decode("latin-1")
            if octal or hexa:
                return chr(int(octal, 8) & 0xFF if octal else int(hexa, 16))
            if one not in _PLAIN:
                raise self._fail(token, "text without unknown escapes")
            return chr(_PLAIN[str(one)])

        # Escapes name bytes, so the text is handled as bytes that look like characters.
        return _ESCAPE.sub(plain, token.text[1:-1].encode().decode("latin-1")).encode("latin-1")
