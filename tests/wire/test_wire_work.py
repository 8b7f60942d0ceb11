"""How much each step of a decoder does: counted, never timed."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_samples import IRIS, LIMITS

from modelyard.core.errors import CallerError, TooLarge
from modelyard.core.limits import WireLimits
from modelyard.wire import grpc, numbers, rest
from modelyard.wire.binary import finish
from modelyard.wire.messages import ModelInferRequest
from modelyard.wire.nesting import number_bones
from modelyard.wire.numbers import SHORT_ARRAYS
from modelyard.wire.skeleton import _DELTA, SPANS, Skeleton
from modelyard.wire.strings import bones_of, brackets_of, read_string


class Counter:
    """Counts calls of a function, and the most of them in one step."""

    def __init__(self, monkeypatch, owner, name):
        self.now = self.most = self.all = 0
        whole = getattr(owner, name)

        def counted(*given):
            self.now += 1
            self.all += 1
            self.most = max(self.most, self.now)
            return whole(*given)

        monkeypatch.setattr(owner, name, counted)

    def drive(self, work):
        """Run steps to their end, counting each apart."""
        while True:
            self.now = 0
            try:
                next(work)
            except StopIteration as end:
                return end.value


def tiny(extra=b""):
    return b'{"name":"a","shape":[1],"datatype":"FP32","data":[1' + extra + b"]}"


@pytest.mark.parametrize("count", [75_000, 1_000_000])
def test_tiny_tensors_are_counted_before_more_than_the_first_slice_is_looked_at(monkeypatch, count):
    looked = Counter(monkeypatch, Skeleton, "_is_key")
    parsed = Counter(monkeypatch, rest, "_parse")
    work = rest.decode_infer(b'{"inputs":[' + b",".join([tiny()] * count) + b"]}", None, IRIS, LIMITS)
    with pytest.raises(TooLarge):
        looked.drive(work)
    assert looked.all <= 2 * (4096 // len(tiny()) + 1)
    assert parsed.all == 0


@pytest.mark.parametrize("blanks", [40, 100, 500])
def test_a_step_looks_at_some_arrays_only(monkeypatch, blanks):
    looked = Counter(monkeypatch, Skeleton, "_is_key")
    body = b'{"inputs":[' + b",".join([tiny(b" " * blanks)] * 20_000) + b"]}"
    with pytest.raises(TooLarge):
        looked.drive(rest.decode_infer(body, None, IRIS, LIMITS))
    assert looked.most <= SPANS
    assert looked.all <= 3 * LIMITS.tensors


@pytest.mark.parametrize("size", [4, 900, 3000])
def test_a_step_reads_some_short_arrays_only(monkeypatch, size):
    """1,024 tensors is a request that is allowed: it is read, but not within one step."""
    values = (np.arange(size) / 8).tolist()
    tensors = [
        {"name": f"x{at}", "shape": [size], "datatype": "FP32", "data": values, "more": "." * 80}
        for at in range(LIMITS.tensors)
    ]
    body = json.dumps({"inputs": tensors}).encode()
    read = Counter(monkeypatch, numbers, "read_data")
    got = read.drive(rest.decode_infer(body, None, IRIS, LIMITS))
    assert len(got.arrays) == LIMITS.tensors
    assert all(array.tolist() == values for array in got.arrays)
    assert read.all == LIMITS.tensors
    assert read.most <= (SHORT_ARRAYS if size < 1000 else 1)


@pytest.mark.parametrize("count", [75_000, 1_000_000])
def test_tiny_grpc_tensors_are_counted_before_any_is_parsed(monkeypatch, count):
    message = ModelInferRequest()
    message.inputs.add(name="a", datatype="FP32", shape=[1]).contents.fp32_contents.append(1)
    parsed = Counter(monkeypatch, grpc, "parse")
    with pytest.raises(TooLarge):
        grpc.decode_infer(message.SerializeToString() * count, LIMITS)
    assert parsed.all == 0


@pytest.mark.parametrize(
    "member",
    [
        '"parameters":{' + ",".join(f'"k{at}":1' for at in range(45_000)) + "}",
        '"o":[' + "1," * 300_000 + "1]",
    ],
    ids=["parameters", "unknown"],
)
def test_what_is_beside_the_data_is_never_parsed_when_long(monkeypatch, member):
    parsed = Counter(monkeypatch, rest, "_parse")
    with pytest.raises(CallerError):
        parsed.drive(rest.decode_infer(f'{{"inputs":[],{member}}}'.encode(), None, IRIS, LIMITS))
    assert parsed.all == 0


numbers_text = st.text(alphabet="[]{},0123456789.-+eE \ntrufalsn", max_size=200).map(str.encode)


@given(numbers_text, st.integers(-1, 3))
def test_brackets_without_strings_are_found_as_those_with_strings_are(text, depth):
    """The short road (no quote in the slice) and the long one see the same brackets."""
    places, codes, inside = bones_of(text, False)
    assert not inside
    brackets = codes != 44
    quick_places, quick = brackets_of(text)
    plain = np.isin(quick, list(b"[]{}"))
    assert quick_places[plain].tolist() == places[brackets].tolist()
    assert quick[plain].tolist() == codes[brackets].tolist()
    assert number_bones(memoryview(text)) == codes.tobytes()


class Slow(Skeleton):
    """The walk that takes every slice for one with strings in it."""

    def _slice(self, at, text):
        places, codes, self._in_string = bones_of(text, self._in_string)
        if not places.size:
            return
        depths = np.cumsum(_DELTA[codes], dtype=np.int64) + self._depth
        self._depth = int(depths[-1])
        opens = places[(codes == 91) & (depths == self._level + 1)] + at
        yield from self._spans(
            opens.tolist(), (places[(codes == 93) & (depths == self._level)] + at).tolist()
        )


def spans(kind, text, step):
    walked = kind(text, len(text), WireLimits(step_bytes=step))
    try:
        beside = finish(walked.walk())
    except CallerError as error:
        return type(error)
    return walked.spans, beside


@settings(deadline=None, max_examples=300)
@given(st.data(), st.integers(64, 200))
def test_the_short_walk_is_the_long_walk(data, step):
    """Bodies with a few bytes put in, taken out or doubled: the same arrays in the same places."""
    rows = data.draw(st.integers(1, 40))
    values = [[at / 8, 1e-05 * at] for at in range(rows)]
    tensors = [{"name": 'a"data":[', "shape": [rows, 2], "datatype": "FP32", "data": values}] * 2
    text = bytearray(json.dumps({"inputs": tensors, "id": "\\"}).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        put = data.draw(st.sampled_from([b"", b"[", b"]", b"{", b"}", b'"', b"\\", b",", b'"data":[', b"]]"]))
        text[at : at + data.draw(st.integers(0, 3))] = put
    assert spans(Skeleton, bytes(text), step) == spans(Slow, bytes(text), step)


def test_a_pair_of_escapes_may_be_cut_anywhere():
    """Also within its second half: the first half alone is no character."""
    text = "\\" * 5 + "\U0001f600" * 40
    for before in range(12):
        written = json.dumps("a" * before + text).encode()
        assert finish(read_string(written, 0, len(written), 64)) == "a" * before + text
