"""Strict framing: every form by which two servers could disagree about where a request ends is refused."""

import pytest
from http_running import GET, Running, chunked, post

from modelyard.serve import http_connection
from modelyard.serve.http_body import ChunkReader
from modelyard.serve.http_connection import Connection


@pytest.fixture(scope="module")
def running():
    with Running(header_s=5.0, body_s=5.0) as each:
        yield each


def request(*lines, body=b"", start=b"POST /echo HTTP/1.1"):
    return b"\r\n".join([start, *lines, b"", b""]) + body


H = b"Host: a"
CHUNKED = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
FORMS = {
    "length and chunked": request(H, b"Content-Length: 5", CHUNKED, body=END),
    "chunked and length": request(H, CHUNKED, b"Content-Length: 5", body=END),
    "two lengths": request(H, b"Content-Length: 5", b"Content-Length: 6", body=b"hello"),
    "the same length twice": request(H, b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
    "length +5": request(H, b"Content-Length: +5", body=b"hello"),
    "length 5, 5": request(H, b"Content-Length: 5, 5", body=b"hello"),
    "length -1": request(H, b"Content-Length: -1"),
    "length huge": request(H, b"Content-Length: 99999999999999999999999"),
    "length of 2**64": request(H, b"Content-Length: 18446744073709551616"),
    "length hex": request(H, b"Content-Length: 0x5", body=b"hello"),
    "length empty": request(H, b"Content-Length:"),
    "length with a letter": request(H, b"Content-Length: 5a", body=b"hello"),
    "length with a blank": request(H, b"Content-Length: 1 0", body=b"hello"),
    "length with an underscore": request(H, b"Content-Length: 1_0", body=b"hello"),
    "length in other digits": request(H, "Content-Length: ٥".encode(), body=b"hello"),
    "blank before the colon": request(H, b"Content-Length : 5", body=b"hello"),
    "tab before the colon": request(H, b"Content-Length\t: 5", body=b"hello"),
    "blank before the name": request(b" Host: a"),
    "folded line": request(H, b"X: a\r\n b"),
    "folded line with a tab": request(H, b"X: a\r\n\tb"),
    "folded length": request(H, b"Content-Length:\r\n 5", body=b"hello"),
    "bare LF after the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF in headers": b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF at the end": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "bare CR in a value": request(H, b"X: a\rb"),
    "bare CR before a name": request(H, b"\rX: b"),
    "NUL in a value": request(H, b"X: a\0b"),
    "NUL in a name": request(H, b"X\0: b"),
    "control character in a value": request(H, b"X: \x01"),
    "DEL in a value": request(H, b"X: \x7f"),
    "no name": request(H, b": b"),
    "no colon": request(H, b"X"),
    "a name in brackets": request(H, b"X(y): b"),
    "xchunked": request(H, b"Transfer-Encoding: xchunked", body=END),
    "chunked, identity": request(H, b"Transfer-Encoding: chunked, identity", body=END),
    "identity, chunked": request(H, b"Transfer-Encoding: identity, chunked", body=END),
    "gzip, chunked": request(H, b"Transfer-Encoding: gzip, chunked", body=END),
    "identity": request(H, b"Transfer-Encoding: identity"),
    "empty transfer encoding": request(H, b"Transfer-Encoding:"),
    "chunked, chunked": request(H, b"Transfer-Encoding: chunked, chunked", body=END),
    "chunked twice": request(H, CHUNKED, CHUNKED, body=END),
    "chunked;": request(H, b"Transfer-Encoding: chunked;q=1", body=END),
    "quoted chunked": request(H, b'Transfer-Encoding: "chunked"', body=END),
    "chunked with vertical tab": request(H, b"Transfer-Encoding: \x0bchunked", body=END),
    "chunked on 1.0": request(H, CHUNKED, start=b"POST /echo HTTP/1.0", body=END),
    "chunk size overflow": request(H, CHUNKED, body=b"FFFFFFFFFFFFFFFFF\r\nhello\r\n" + END),
    "chunk size 2**64 + 5": request(H, CHUNKED, body=b"10000000000000005\r\nhello\r\n" + END),
    "chunk size 0x5": request(H, CHUNKED, body=b"0x5\r\nhello\r\n" + END),
    "chunk size +5": request(H, CHUNKED, body=b"+5\r\nhello\r\n" + END),
    "chunk size -5": request(H, CHUNKED, body=b"-5\r\nhello\r\n" + END),
    "chunk size empty": request(H, CHUNKED, body=b"\r\nhello\r\n" + END),
    "chunk size with a blank": request(H, CHUNKED, body=b"5 \r\nhello\r\n" + END),
    "chunk size after a blank": request(H, CHUNKED, body=b" 5\r\nhello\r\n" + END),
    "chunk size no hex": request(H, CHUNKED, body=b"5g\r\nhello\r\n" + END),
    "chunk size ends in LF": request(H, CHUNKED, body=b"5\nhello\r\n" + END),
    "chunk ends in LF": request(H, CHUNKED, body=b"5\r\nhello\n" + END),
    "chunk ends in nothing": request(H, CHUNKED, body=b"5\r\nhello" + END),
    "chunk longer than it said": request(H, CHUNKED, body=b"4\r\nhello\r\n" + END),
    "chunk ends in XX": request(H, CHUNKED, body=b"5\r\nhelloXX" + END),
    "LF in a chunk extension": request(H, CHUNKED, body=b"5;a\nb\r\nhello\r\n" + END),
    "NUL in a chunk extension": request(H, CHUNKED, body=b"5;a\0\r\nhello\r\n" + END),
    "chunk extension too long": request(H, CHUNKED, body=b"5;" + b"a" * 300 + b"\r\nhello\r\n" + END),
    "endless chunk line": request(H, CHUNKED, body=b"5;" + b"a" * 5000),
    "last chunk ends in LF": request(H, CHUNKED, body=b"0\n\n"),
    "trailer without a colon": request(H, CHUNKED, body=b"0\r\nhello\r\n\r\n"),
    "folded trailer": request(H, CHUNKED, body=b"0\r\nX: a\r\n b\r\n\r\n"),
    "blank in the method": request(H, start=b"PO ST /echo HTTP/1.1"),
    "blank before the method": request(H, start=b" POST /echo HTTP/1.1"),
    "tab after the method": request(H, start=b"POST\t/echo HTTP/1.1"),
    "two blanks after the method": request(H, start=b"POST  /echo HTTP/1.1"),
    "two blanks before the version": request(H, start=b"POST /echo  HTTP/1.1"),
    "blank after the version": request(H, start=b"POST /echo HTTP/1.1 "),
    "blank in the target": request(H, start=b"POST /ec ho HTTP/1.1"),
    "fragment in the target": request(H, start=b"POST /echo#a HTTP/1.1"),
    "raw UTF-8 in the target": request(H, start="POST /ä HTTP/1.1".encode()),
    "relative target": request(H, start=b"POST echo HTTP/1.1"),
    "other scheme": request(H, start=b"POST ftp://a/echo HTTP/1.1"),
    "user in the target": request(H, start=b"POST http://u@a/echo HTTP/1.1"),
    "star for POST": request(H, start=b"POST * HTTP/1.1"),
    "lower-case method": request(H, start=b"post /echo HTTP/1.1"),
    "unknown method": request(H, start=b"FROB /echo HTTP/1.1"),
    "no version": request(H, start=b"POST /echo"),
    "lower-case version": request(H, start=b"POST /echo http/1.1"),
    "no host": request(),
    "two hosts": request(H, b"Host: b"),
    "the same host twice": request(H, H),
    "two hosts in one": request(b"Host: a, b"),
    "path in the host": request(b"Host: a/b"),
    "two content types": request(H, b"Content-Type: a/b", b"Content-Type: c/d", b"Content-Length: 0"),
    "two tensor headers": request(
        H, b"Inference-Header-Content-Length: 1", b"Inference-Header-Content-Length: 2", b"Content-Length: 0"
    ),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "noise": bytes(range(128, 256)),
    "several empty lines first": b"\r\n\r\n" + GET,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("piecemeal", [False, True], ids=["whole", "bytewise"])
def test_refused_with_400_and_closed(running, form, piecemeal):
    running.calls.clear()
    with running.client() as client:
        data = FORMS[form] + GET
        for piece in [data] if not piecemeal else [data[i : i + 1] for i in range(min(len(data), 600))]:
            client.send(piece)
        answer = client.answer()
        assert answer.status == 400, answer
        assert answer.headers[b"connection"] == b"close"
        assert client.ended()
    assert running.calls == []
    running.polite()


OTHERS = {
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/1.2": (request(H, start=b"GET /echo HTTP/1.2"), 505),
    "HTTP/0.9": (request(H, start=b"GET /echo HTTP/0.9"), 505),
    "CONNECT": (request(b"Host: a:1", start=b"CONNECT a:1 HTTP/1.1"), 501),
    "long target": (request(H, start=b"GET /" + b"a" * 9000 + b" HTTP/1.1"), 414),
    "many headers": (request(H, *[b"X-%d: y" % i for i in range(101)]), 431),
    "long header": (request(H, b"X: " + b"y" * 40_000), 431),
    "endless header": (b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000, 431),
    "long trailer": (
        request(H, CHUNKED, body=b"0\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 1200),
        431,
    ),
    "body over the limit": (request(H, b"Content-Length: 67108865"), 413),
    "chunk over the limit": (request(H, CHUNKED, body=b"4000001\r\n"), 413),
    "other expectation": (request(H, b"Expect: wonders", b"Content-Length: 0"), 417),
    "unknown coding": (request(H, b"Content-Encoding: br", b"Content-Length: 1", body=b"x"), 415),
    "two codings": (request(H, b"Content-Encoding: gzip, gzip", b"Content-Length: 1", body=b"x"), 415),
}


@pytest.mark.parametrize("form", OTHERS)
def test_refused_with_its_own_status(running, form):
    data, status = OTHERS[form]
    with running.client() as client:
        answer = client.send(data).answer()
        assert answer.status == status, answer
        assert client.ended()
    running.polite()


def test_million_one_byte_chunks_are_refused_early(running):
    running.calls.clear()
    with running.client() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            client.send(b"1\r\nx\r\n" * 10_000)
        assert b"tiny chunks" in client.answer().body
    assert running.calls == []
    running.polite()


def test_many_chunk_extensions_are_refused(running):
    body = (b"400;" + b"e" * 200 + b"\r\n" + bytes(1024) + b"\r\n") * 100
    with running.client() as client:
        assert client.send(request(H, CHUNKED, body=body)).answer().status == 400


def test_bytes_after_close_are_no_request(running):
    running.calls.clear()
    with running.client() as client:
        client.send(request(H, b"Connection: close", b"Content-Length: 2", body=b"hi") + GET)
        answer = client.answer()
        assert (answer.status, answer.body, answer.headers[b"connection"]) == (200, b"hi", b"close")
        assert client.ended()
    assert len(running.calls) == 1


UPGRADES = [b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AA"]
SOCKET = [b"Upgrade: websocket", b"Connection: upgrade", b"Content-Length: 5"]
EXTENDED = b"05;x=y\r\nhello\r\n000\r\nA: b\r\n\r\n"
ASKED, HELLO = (b"GET", b"/echo", b"", b""), (b"POST", b"/echo", b"", b"hello")
FINE = [
    (GET, ASKED),
    (b"\r\n" + GET, ASKED),
    (post(b"hello"), HELLO),
    (post(b"", extra=b"Content-Encoding: gzip\r\n"), (b"POST", b"/echo", b"", b"")),
    (chunked(b"hel", b"lo"), HELLO),
    (chunked(), (b"POST", b"/echo", b"", b"")),
    (request(H, b"transfer-encoding:CHUNKED", body=EXTENDED), HELLO),
    (request(H, b"Content-Length:\t5 ", body=b"hello"), HELLO),
    (request(b"Host:", start=b"GET http://a.b:80/echo?x=1?y HTTP/1.1"), (b"GET", b"/echo", b"x=1?y", b"")),
    (request(b"Host: [::1]:80", start=b"GET HTTPS://a/echo HTTP/1.1"), ASKED),
    (request(start=b"GET /echo?a%20b HTTP/1.0"), (b"GET", b"/echo", b"a%20b", b"")),
    (request(H, *UPGRADES, start=b"GET /echo HTTP/1.1"), ASKED),
    (request(H, *SOCKET, body=b"hello"), HELLO),
]


@pytest.mark.parametrize(("data", "call"), FINE)
def test_what_is_well_formed_is_read(running, data, call):
    running.calls.clear()
    with running.client() as client:
        assert client.send(data).answer().status == 200
    assert running.calls == [call]


def test_a_turn_reads_a_bounded_number_of_chunks(monkeypatch):
    """Others have their turn after a few spells, however many chunks have arrived."""
    turns, spells = [], []

    class Counting(ChunkReader):
        def feed(self, data, at):
            spells.append(at)
            return super().feed(data, at)

    read = Connection._read

    def counted(connection, data):
        spells.clear()
        try:
            return read(connection, data)
        finally:
            turns.append(len(spells))

    monkeypatch.setattr(http_connection, "ChunkReader", Counting)
    monkeypatch.setattr(Connection, "_read", counted)
    with Running() as running, running.client() as client:
        client.send(chunked(*[b"12345678"] * 3000))
        assert client.answer().body == b"12345678" * 3000
    assert sum(turns) >= 3000 * 2 // 32
    assert max(turns) <= 4
