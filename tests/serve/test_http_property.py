"""Whatever the cuts in the byte stream and the order of answers, the calls and their order are the same.

The protocol is driven without a socket: bytes in, bytes out.
"""

import asyncio
from itertools import pairwise
from types import SimpleNamespace

import pytest
from fuzz_http import Wire, mutated, streams
from http_running import GET, ask, chunked, post
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


REQUESTS = {
    "get": GET,
    "post": post(b"hello"),
    "the same again": post(b"hello"),
    "large": post(bytes(70_000)),
    "chunked": chunked(b"a", b"bc" * 100, b"d"),
    "trailers": ask(b"/t", b"Transfer-Encoding: chunked") + b"1;x\r\na\r\n0\r\nB: c\r\n\r\n",
    "query": ask(b"/a%20b?c=d"),
    "empty line first": b"\r\n" + GET,
}
REQUESTS["a body that looks like a request"] = post(GET)
FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FAST
@given(
    names=st.lists(st.sampled_from(sorted(REQUESTS)), min_size=1, max_size=6),
    cuts=st.lists(st.floats(0, 1), max_size=30),
)
def test_any_split_gives_the_same_calls(loop, names, cuts):
    stream = b"".join(REQUESTS[name] for name in names)
    whole = Wire(loop)
    whole.feed([stream])
    places = sorted({0, len(stream), *(int(cut * len(stream)) for cut in cuts)})
    split = Wire(loop)
    split.feed([stream[a:b] for a, b in pairwise(places)])
    assert len(whole.seen) == len(names)
    assert split.seen == whole.seen
    assert split.statuses() == whole.statuses() == [200] * len(names)
    assert whole.budget.held == split.budget.held == 0


@pytest.mark.parametrize(
    "start", [post(GET)[: -len(GET)], chunked(GET).partition(GET)[0], b"GET /echo HTTP/1.1\r\n"]
)
def test_part_of_a_request_is_never_taken_for_a_whole_one(loop, start):
    """The short road is for what stands at the start of a request only."""
    wire = Wire(loop)
    wire.feed([GET, GET + start, GET])
    assert len(wire.seen) == (3 if start.startswith(b"POST /echo HTTP/1.1\r\nHost: a\r\nC") else 2)
    assert all(body in (b"", GET) for _, _, _, body in wire.seen)


@FAST
@given(order=st.permutations(range(8)), sizes=st.lists(st.integers(0, 40_000), min_size=8, max_size=8))
def test_answers_keep_the_order_of_requests(loop, order, sizes):
    wire = Wire(loop, hold=True)
    wire.feed([post(b"%d" % i) for i in range(8)])
    assert len(wire.held) == 8
    for i in order:
        wire.held[i].respond(200, b"%d:" % i + bytes(sizes[i]))
    assert wire.bodies() == [b"%d:" % i + bytes(sizes[i]) for i in range(8)]
    assert wire.budget.held == 0


@pytest.mark.parametrize("seed", range(4))
def test_mutated_streams_neither_raise_nor_leak(loop, seed):
    for stream in mutated(streams(), seed=seed, count=150):
        wire = Wire(loop)
        wire.feed(stream)
        wire.lose()
        assert wire.budget.held == 0
        assert wire.problems == []
        assert all(100 <= status < 600 for status in wire.statuses())


def test_the_wire_itself_reports_problems(loop):
    """The check above can fail: an exception that leaves the protocol is a problem."""
    wire = Wire(loop)
    wire.connection._app = SimpleNamespace()  # not callable: caught at the edge of a request
    wire.feed([GET])
    assert wire.statuses() == [500]
    wire.connection._listener = None
    wire.feed([b"\xff"])
    assert len(wire.problems) == 1
