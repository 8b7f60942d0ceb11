import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_samples import IRIS, LIMITS, plain_values, run, same, tensors

from modelyard.core.errors import BadInput, BadRequest, CallerError, TooLarge
from modelyard.core.limits import WireLimits
from modelyard.core.tensor import DTYPES
from modelyard.wire import rest
from modelyard.wire.binary import finish
from modelyard.wire.nesting import _bones
from modelyard.wire.strings import blank_escapes, bones_of, read_string, whole_escapes


class Counted(bytes):
    """A body that counts how much of it was sliced since it was last asked."""

    read = 0

    def __getitem__(self, key):
        got = super().__getitem__(key)
        if isinstance(key, slice):
            type(self).read += len(got)
        return got


def verdict(text, limits):
    """What became of a request: the arrays, or the kind of error."""
    try:
        got = run(rest.decode_infer(text, None, IRIS, limits))
    except CallerError as error:
        return type(error).__mro__[1], None
    return got, got.arrays


def document(arrays, nested, spaces):
    rows = []
    for at, array in enumerate(arrays):
        name = next(row.name for row in DTYPES.values() if row.numpy == array.dtype)
        values = plain_values(array, nested and array.size > 0)
        rows.append({"name": f"x{at}", "shape": array.shape, "datatype": name, "data": values})
    return json.dumps({"id": "i", "inputs": rows, "outputs": [{"name": "y"}]}, indent=spaces).encode()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(tensors(), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from([None, 2]),
    st.integers(1, 200),
)
def test_steps_of_any_size_read_what_one_look_reads(arrays, nested, spaces, step):
    text = document(arrays, nested, spaces)
    got, at_once = verdict(text, LIMITS)
    stepped, by_steps = verdict(text, WireLimits(step_bytes=step))
    assert at_once is not None
    assert by_steps is not None
    assert all(map(same, at_once, by_steps))
    assert all(map(same, at_once, arrays))
    assert (got.id, got.wanted, got.names) == (stepped.id, stepped.wanted, stepped.names)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_steps_refuse_what_one_look_refuses(data):
    """Break a good request in one place: both readings agree on whether it is one, and on its numbers."""
    arrays = data.draw(st.lists(tensors(), min_size=1, max_size=2))
    text = bytearray(document(arrays, data.draw(st.booleans()), None))
    at = data.draw(st.integers(0, len(text) - 1))
    how = data.draw(st.sampled_from(["drop", "double", "put"]))
    if how == "drop":
        del text[at]
    elif how == "double":
        text[at:at] = text[at : at + data.draw(st.integers(1, 12))]
    else:
        text[at:at] = data.draw(
            st.sampled_from([b"[", b"]", b",", b'"', b"\\", b"{", b"}", b"0", b" ", b"null"])
        )
    _, at_once = verdict(bytes(text), LIMITS)
    _, by_steps = verdict(bytes(text), WireLimits(step_bytes=data.draw(st.integers(1, 120))))
    if by_steps is not None:
        assert at_once is not None
        assert all(map(same, at_once, by_steps))
    elif at_once is not None:  # steps may only be stricter about blanks and strings out of measure
        assert how == "double"


def big(shape=(3, 50, 400), nested=False, spaces=None):
    array = (np.arange(int(np.prod(shape))) / 7).astype(np.float32).reshape(shape)
    return array, document([array], nested, spaces)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("step", [1 << 10, 16 << 10, 128 << 10])
def test_no_step_reads_more_than_a_few_slices(nested, step):
    array, text = big(nested=nested)
    check_steps(text, step, lambda got: same(got.arrays[0], array))


def check_steps(text, step, check):
    Counted.read = 0
    work = rest.decode_infer(Counted(text), None, IRIS, WireLimits(step_bytes=step))
    steps = worst = 0
    while True:
        Counted.read = 0
        try:
            next(work)
        except StopIteration as end:
            got = end.value
            break
        steps += 1
        worst = max(worst, Counted.read)
    assert check(got)
    assert steps >= len(text) // step
    assert worst <= 3 * step + 1024
    return steps


@pytest.mark.parametrize("word", ['a"b', "\\", "[", "]{,", "é" * 40, ""])
def test_strings_are_read_in_steps(word):
    words = np.empty(5000, object)
    words[:] = [f"{word}{at}".encode() for at in range(5000)]
    for nested in (False, True):
        array = words.reshape(50, 100)
        text = document([array], nested, None)
        check_steps(text, 4096, lambda got, array=array: same(got.arrays[0], array))


@pytest.mark.parametrize("fill", ["x", '"', "\\", "é"])
def test_one_long_string_is_read(fill):
    long = (fill * 60_000).encode()
    words = np.empty((2, 2), object)
    words[:] = [[b"a", long], [long, b"b"]]
    for nested in (False, True):
        got = run(rest.decode_infer(document([words], nested, None), None, IRIS, WireLimits(step_bytes=1000)))
        assert same(got.arrays[0], words)
    with pytest.raises(TooLarge):
        run(
            rest.decode_infer(
                document([words], False, None), None, IRIS, WireLimits(step_bytes=1000, string_bytes=999)
            )
        )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(b"],[", b"],,[", 1),
        lambda text: text.replace(b"],[", b"][", 1),
        lambda text: text.replace(b"],[", b",", 1),
        lambda text: text.replace(b"],[", b"],[[", 1),
        lambda text: text.replace(b",2.0,", b",2.0 2.0,", 1),
        lambda text: text.replace(b",2.0,", b",[2.0],", 1),
        lambda text: text.replace(b",2.0,", b",2.0],[", 1),
        lambda text: text.replace(b",2.0,", b',"2.0",', 1),
        lambda text: text.replace(b",2.0,", b",null,", 1),
        lambda text: text.replace(b",2.0,", b",NaN,", 1),
        lambda text: text.replace(b",2.0,", b",true,", 1),
        lambda text: text.replace(b",2.0,", b",1e39,", 1),
        lambda text: text.replace(b",2.0,", b",1e999,", 1),
        lambda text: text.replace(b",2.0,", b",{},", 1),
        lambda text: text.replace(b",2.0,", b",,", 1),
        lambda text: text.replace(b",2.0,", b",2.0,2.0,", 1),
        lambda text: text.replace(b",2.0,", b",", 1),
        lambda text: text.replace(b",2.0,", b"," + b"[" * 100_000 + b",", 1),
        lambda text: text.replace(b",2.0,", b"," + b"9" * 70_000 + b",", 1),
        lambda text: text.replace(b",2.0,", b"," + b" " * 70_000 + b"2.0,", 1),
        lambda text: text[:-40],
        lambda text: text + b"}",
        lambda text: text.replace(b'"shape": [', b'"shape": [1, ', 1).replace(b"[[[", b"[[", 1),
        lambda text: text.replace(b'"datatype"', b'"data": [1], "datatype"'),
        lambda text: text.replace(b'"outputs"', b'"o": [{"data": [1]}], "outputs"'),
        lambda text: text.replace(b'"outputs"', b'"x": "' + b"y" * 600_000 + b'", "outputs"'),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_long_garbage_is_refused(spoil, nested):
    array = np.tile(np.arange(40, dtype=np.float32), (2, 40, 1))
    text = document([array], nested, None).replace(b", ", b",").replace(b'"shape":', b'"shape": ')
    spoiled = spoil(text)
    assert spoiled != text or not nested
    if spoiled == text:  # a flat array has no rows to spoil
        return
    with pytest.raises(CallerError):
        run(rest.decode_infer(spoiled, None, IRIS, WireLimits(step_bytes=4096)))


def test_integers_are_read_in_steps_exactly():
    for name, values in (
        ("INT64", [2**63 - 1, -(2**63), 0]),
        ("UINT64", [2**64 - 1, 0, 1]),
        ("INT8", [127, -128, 0]),
        ("UINT32", [2**32 - 1, 0, 5]),
    ):
        array = np.array(values * 500, DTYPES[name].numpy)
        text = document([array], False, None)
        assert same(verdict(text, WireLimits(step_bytes=512))[1][0], array)
        bounds = np.iinfo(array.dtype)
        for bad in (int(bounds.max) + 1, int(bounds.min) - 1, 1.5, 10**30):
            spoiled = text.replace(b" 0,", b" %s," % str(bad).encode(), 1)
            assert spoiled != text
            with pytest.raises((BadInput, BadRequest)):
                run(rest.decode_infer(spoiled, None, IRIS, WireLimits(step_bytes=512)))


def test_a_number_over_64_bits_is_a_float_in_steps_too():
    array = np.array([1.5] * 500 + [1e30], np.float32)
    text = document([array], False, None).replace(b"1.0000000150474662e+30", b"1" + b"0" * 30)
    assert b"1" + b"0" * 30 in text
    assert same(verdict(text, WireLimits(step_bytes=256))[1][0], array)


def test_a_shape_that_boasts_allocates_nothing():
    text = document([np.zeros(1000, np.float32)], False, None)
    boast = text.replace(b'"shape": [1000]', b'"shape": [60000000]')
    with pytest.raises(BadInput):
        run(rest.decode_infer(boast, None, IRIS, WireLimits(step_bytes=256)))


def test_a_forged_mark_is_only_a_number():
    text = document([np.zeros(1000, np.float32)], False, None).replace(
        b'"data":', b'"d\\u0061ta": 0, "data":'
    )
    with pytest.raises(CallerError):
        run(
            rest.decode_infer(
                text.replace(b'"data": [', b'"other": ['), None, IRIS, WireLimits(step_bytes=256)
            )
        )


awkward = st.text(alphabet='\\"u0dD8aé\U0001f600\ud7ff\n', max_size=400)


@given(awkward, st.booleans(), st.integers(64, 90))
def test_a_long_string_is_the_same_wherever_it_is_cut(text, ascii_only, step):
    written = json.dumps(text, ensure_ascii=ascii_only).encode()
    work = read_string(b"[" + written + b"]", 1, 1 + len(written), step)
    assert finish(work) == text


@pytest.mark.parametrize(
    "bad", [b"\\ud800", b"\\ude00", b"\xff", b"\xf0\x9f", b"\\x", b"\n", b"\\ud83d\\ud83d"]
)
@pytest.mark.parametrize("before", range(50, 70))
def test_a_long_string_that_is_malformed_is_refused(bad, before):
    words = document([np.array([b"@"], object)], False, None)
    text = words.replace(b"@", b"a" * before + bad + b"a" * 100)
    with pytest.raises(CallerError):
        run(rest.decode_infer(text, None, IRIS, WireLimits(step_bytes=64)))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_bones_are_those_of_the_nested_array(shape):
    text = json.dumps(np.zeros(shape, int).tolist()).replace(" ", "").replace("0", "")
    assert b"".join(_bones(tuple(shape))).decode() == text


def test_bones_of_large_shapes_come_in_blocks():
    for shape in ((100_000,), (1000, 200), (3, 70_000), (100_000, 1), (2, 3, 40_000)):
        text = json.dumps(np.zeros(shape, int).tolist()).replace(" ", "").replace("0", "")
        assert b"".join(_bones(shape)).decode() == text


@given(st.text(alphabet='\\"[],{}a', max_size=30), st.integers(1, 9))
def test_strings_hide_their_brackets_wherever_the_text_is_cut(inside, step):
    text = json.dumps([inside, [inside], {inside: 1}]).encode()
    at, in_string, found = 0, False, b""
    while at < len(text):
        piece = text[at : at + max(step, 2)]
        if at + len(piece) < len(text):
            piece = whole_escapes(piece)
        _, codes, in_string = bones_of(piece, in_string)
        found += codes.tobytes()
        at += len(piece)
    assert found == b"[,[],{}]"
    assert len(blank_escapes(text)) == len(text)


@given(st.text('[]{},"ab', max_size=400), st.booleans())
def test_bones_of_long_text_are_those_outside_of_strings(text, in_string):
    inside, wanted = in_string, []
    for at, character in enumerate(text):
        if character == '"':
            inside = not inside
        elif not inside and character in "[]{},":
            wanted.append((at, ord(character)))
    places, codes, ends_inside = bones_of(text.encode(), in_string)
    assert list(zip(places.tolist(), codes.tolist(), strict=True)) == wanted
    assert ends_inside == inside
