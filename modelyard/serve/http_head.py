"""Bytes of a request head in, its meaning out.

Two readers must agree on every head: the whitelist below, on the raw bytes, and llhttp. Each refuses forms
that the other would let pass (llhttp: several Host lines, Transfer-Encoding on HTTP/1.0, two spaces after the
method; the whitelist: values that overflow). What a head says about the length of its body is decided here
once, and a head that says it in two ways is refused.

Paths and queries are passed on as they came, percent signs included: only the application knows which of its
segments may hold an encoded slash.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from msgspec import Struct

from modelyard.serve.http_limits import Refused

if TYPE_CHECKING:
    from modelyard.serve.http_limits import HttpLimits

CHUNKED = -1
LARGE_BYTES = 64 << 10
"""A body above this size is answered before the next request of its connection is read: pipelining is for
small requests, and 128 large ones would be one client's hold on everybody's memory."""

_WHITELIST = re.compile(
    rb"([A-Z]{1,20}+) ([\x21\x22\x24-\x7e]++) HTTP/([0-9])\.([0-9])\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n"
)
_ABSOLUTE = re.compile(rb"https?://[A-Za-z0-9._~%:\[\]-]++(?=[/?]|\Z)", re.IGNORECASE)
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*+")
_ONCE = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"content-encoding",
        b"content-type",
        b"expect",
        b"authorization",
        b"inference-header-content-length",
    )
)
_CODINGS = {b"": b"", b"identity": b"", b"gzip": b"gzip", b"x-gzip": b"gzip", b"deflate": b"deflate"}


class Head(Struct):
    """One request head.

    Args:
        raw: its bytes, the empty line included.
        size: how many they are.
        path: the path of the target, not decoded.
        query: what follows the first question mark, not decoded.
        headers: lower-case names; values of a repeated name are joined with a comma.
        length: bytes of the body, or ``CHUNKED``.
        whole: bytes of the whole request when nothing but a body of stated length follows; else -1.
        minor: 0 or 1, of HTTP/1.x.
        keep: the connection stays open after the answer.
        waits: the client waits for "100 Continue".
        coding: b"", b"gzip" or b"deflate".
        plain: nothing of the above is unusual, and the body is short: others may follow without waiting.
    """

    raw: bytes
    size: int
    method: bytes
    path: bytes
    query: bytes
    headers: dict[bytes, bytes]
    length: int
    whole: int
    minor: int
    keep: bool
    waits: bool
    coding: bytes
    plain: bool


NO_HEAD = Head(b"", 0, b"", b"", b"", {}, 0, -1, 1, keep=False, waits=False, coding=b"", plain=False)


class _Lines:
    """What llhttp reports of one head."""

    __slots__ = ("count", "headers", "most", "target")

    def __init__(self, most: int) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.target = b""
        self.count = 0
        self.most = most

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.count += 1
        name = name.lower()
        headers = self.headers
        if name in headers:
            if name in _ONCE:
                raise Refused(400, f"header {name.decode('latin-1')} is given twice; give it once")
            value = headers[name] + b", " + value
        headers[name] = value


def parse_head(raw: bytes, limits: HttpLimits) -> Head:
    """Read a whole head, up to and with its empty line.

    Raises:
        Refused: it is malformed (400), too long (414, 431), or asks for what is not offered here.
    """
    match = _WHITELIST.fullmatch(raw)
    if match is None:
        raise _malformed(raw, limits)
    method, target, major, minor_text = match.groups()
    if major != b"1" or minor_text not in (b"0", b"1"):
        raise Refused(505, "this server speaks HTTP/1.1 and HTTP/1.0 here")
    if len(target) > limits.target_bytes:
        raise Refused(414, f"the request target has {len(target)} bytes; the limit is {limits.target_bytes}")
    if raw.count(b"\r\n") - 2 > limits.headers:
        raise Refused(431, f"more than {limits.headers} header lines")
    if method in (b"CONNECT", b"PRI"):
        raise Refused(501, f"{method.decode()} is not offered here")
    headers = _tokenise(raw, target, limits)
    minor = 1 if minor_text == b"1" else 0
    length = _length(headers, minor, limits)
    keep = _keeps(headers.get(b"connection", b""), minor)
    waits = _waits(headers.get(b"expect"), minor)
    coding = _coding(headers.get(b"content-encoding", b""))
    _check_host(headers.get(b"host"), minor)
    path, query = _split_target(method, target)
    simple = length >= 0 and not waits and not coding
    size = len(raw)
    whole = size + length if simple else -1
    plain = simple and keep and minor == 1 and length <= LARGE_BYTES and method != b"HEAD"
    return Head(raw, size, method, path, query, headers, length, whole, minor, keep, waits, coding, plain)


def check_start(data: bytes | bytearray, at: int, end: int, limits: HttpLimits) -> None:
    """Refuse what will never be a head before all of it has arrived.

    Args:
        data: what was received; the head starts at ``at``.
        at: see ``data``.
        end: where its empty line was found, or -1.
        limits: how long it may be.

    Raises:
        Refused: it starts like no request (400), ends a line in LF alone (400), or is too long (431).
    """
    if not 65 <= data[at] <= 90:
        if data.startswith(b"\r", at) and len(data) <= at + 2:
            return
        raise Refused(400, "malformed request line; it is METHOD SP target SP HTTP/1.1 CR LF")
    if (len(data) if end < 0 else end) - at > limits.header_bytes:
        raise Refused(431, f"the request head is over the limit of {limits.header_bytes} bytes")
    if end < 0 and data.count(b"\n", at) != data.count(b"\r\n", at):
        raise Refused(400, "a line of the request head ends in LF alone; lines end in CR LF")


def _tokenise(raw: bytes, target: bytes, limits: HttpLimits) -> dict[bytes, bytes]:
    lines = _Lines(limits.headers)
    try:
        HttpRequestParser(lines).feed_data(raw)
    except HttpParserUpgrade:
        pass  # An Upgrade that is not taken up is answered as if it had not been asked: RFC 9110, 7.8.
    except HttpParserError as error:
        if isinstance(error.__context__, Refused):
            raise error.__context__ from None
        raise Refused(400, f"malformed request head: {error}") from None
    if lines.target != target:
        raise Refused(400, "malformed request line")
    return lines.headers


def _malformed(raw: bytes, limits: HttpLimits) -> Refused:
    line, _, rest = raw.partition(b"\r\n")
    if len(line) > limits.target_bytes + 64:
        return Refused(414, f"the request line is longer than the limit of {limits.target_bytes} bytes")
    if _WHITELIST.fullmatch(line + b"\r\n\r\n") is None:
        return Refused(400, "malformed request line; it is METHOD SP target SP HTTP/1.1 CR LF")
    if rest.startswith((b" ", b"\t")) or b"\r\n " in raw or b"\r\n\t" in raw:
        return Refused(400, "a header line is folded; write it on one line")
    return Refused(400, "malformed header line; it is name: value CR LF, without control characters")


def _length(headers: dict[bytes, bytes], minor: int, limits: HttpLimits) -> int:
    coding = headers.get(b"transfer-encoding")
    stated = headers.get(b"content-length")
    if coding is not None:
        if stated is not None:
            raise Refused(400, "Content-Length and Transfer-Encoding are both given; give one")
        if minor == 0:
            raise Refused(400, "Transfer-Encoding needs HTTP/1.1")
        if coding.strip(b" \t").lower() != b"chunked":
            raise Refused(400, "the only Transfer-Encoding read here is chunked")
        return CHUNKED
    if stated is None:
        return 0
    stated = stated.strip(b" \t")
    if not stated.isdigit() or len(stated) > 18:
        raise Refused(400, "Content-Length must be one decimal number")
    length = int(stated)
    if length > limits.body_bytes:
        raise Refused(413, f"the body has {length} bytes; the limit is {limits.body_bytes}")
    return length


def _keeps(connection: bytes, minor: int) -> bool:
    if not connection:
        return minor == 1
    options = [option.strip() for option in connection.lower().split(b",")]
    if b"close" in options:
        return False
    return minor == 1 or b"keep-alive" in options


def _waits(expect: bytes | None, minor: int) -> bool:
    if expect is None:
        return False
    if expect.strip().lower() != b"100-continue":
        raise Refused(417, "the only expectation known here is 100-continue")
    return minor == 1


def _coding(value: bytes) -> bytes:
    coding = _CODINGS.get(value.strip(b" \t").lower())
    if coding is None:
        raise Refused(415, "Content-Encoding must be gzip, deflate or identity")
    return coding


def _check_host(host: bytes | None, minor: int) -> None:
    if host is None:
        if minor == 1:
            raise Refused(400, "HTTP/1.1 needs a Host header")
    elif _HOST.fullmatch(host.strip(b" \t")) is None:
        raise Refused(400, "malformed Host header")


def _split_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    if not target.startswith(b"/"):
        if target == b"*" and method == b"OPTIONS":
            return target, b""
        absolute = _ABSOLUTE.match(target)
        if absolute is None:
            raise Refused(400, "the request target must be a path")
        target = target[absolute.end() :]
        if not target.startswith(b"/"):
            target = b"/" + target
    path, _, query = target.partition(b"?")
    return path, query
