"""No body makes a codec raise anything but a finding for its caller."""

import json
from contextlib import suppress

import numpy as np
import pytest
import tf_messages as tf
from dialect_models import MODELS
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import CallerError
from modelyard.core.limits import WireLimits
from modelyard.core.request import InferReply, InferRequest
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.wire.binary import finish
from modelyard.wire.dialects.free import Free
from modelyard.wire.dialects.instances import Instances
from modelyard.wire.dialects.mlflow import Scoring
from modelyard.wire.dialects.tfserving import Examples, Predict
from modelyard.wire.dialects.tfserving_forms import Forms
from modelyard.wire.dialects.tfserving_rpc import ExamplesCall, PredictCall, read_spec, read_tasks
from modelyard.wire.dialects.varints import cut_varints, pack_varints, unpack_varints

KINDS = ("", "application/json", "text/csv", "application/x-npy", "text/csv; charset=utf-8", "image/jpeg",
         "multipart/form-data; boundary=x")  # fmt: skip
CODECS = {
    "predict": lambda kind: Predict(),
    "classify": lambda kind: Examples(True),
    "regress": lambda kind: Examples(False),
    "instances": Instances,
    "mlflow": Scoring,
    "torchserve": lambda kind: Free(kind, "", True),
    "sagemaker": lambda kind: Free(kind, "text/csv", False),
}
LIMITS = [WireLimits(), WireLimits(step_bytes=64)]
"""With short steps every body is a long one."""

words = st.sampled_from(
    ["instances", "inputs", "x", "a", "b", "b64", "rooms", "town", "jpeg", "columns", "data", "examples",
     "dataframe_split", "dataframe_records", "length", "width", "signature_name", "context", "params"]
)  # fmt: skip
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5), words
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=3)),
    max_leaves=20,
)
rows = st.lists(
    st.lists(st.one_of(st.floats(width=32), st.integers(0, 9), leaves), min_size=1, max_size=3), max_size=4
)
bodies = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(str.encode),
    values.map(json.dumps).map(str.encode),
    st.dictionaries(words, st.one_of(rows, values), max_size=3).map(json.dumps).map(str.encode),
    rows.map(lambda lines: "\n".join(",".join(map(str, line)) for line in lines).encode("utf-8", "replace")),
)


def settle(found):
    return found if isinstance(found, (InferRequest, bytes)) else finish(found)


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=120, deadline=None)
@given(
    body=bodies,
    kind=st.sampled_from(KINDS),
    model=st.sampled_from(sorted(MODELS)),
    limits=st.sampled_from(LIMITS),
)
def test_text_codecs_find_fault_with_their_caller_only(codec, body, kind, model, limits):
    signature, work = MODELS[model]
    made = CODECS[codec](kind)
    try:
        request = settle(made.read(body, signature, limits))
        inputs, _ = signature.bind(request.names, request.arrays)
    except CallerError:
        return
    with np.errstate(all="ignore"):
        outputs = work(*inputs)
    try:
        text = settle(made.write(InferReply("m", "1", signature, outputs)))
    except CallerError:
        return
    assert isinstance(text, bytes)


cells = st.one_of(
    st.floats(width=32, allow_nan=False),
    st.integers(-9, 9),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    leaves,
)
tables = st.one_of(
    st.lists(st.lists(cells, min_size=2, max_size=2), max_size=4),
    st.lists(cells, max_size=4),
    st.lists(st.lists(cells, max_size=3), max_size=3),
)
INT = Signature((TensorSpec("x", DTYPES["INT16"], (None, 2)),), MODELS["odd"][0].outputs)
FLAGS = Signature((TensorSpec("x", DTYPES["BOOL"], (None,)),), MODELS["odd"][0].outputs)
HALF = Signature((TensorSpec("inputs", DTYPES["FP16"], (None, 1)),), MODELS["odd"][0].outputs)
SHORT_WAYS = [INT, FLAGS, HALF, *(MODELS[name][0] for name in ("iris", "odd", "fixed", "pair"))]


def outcome(codec, body, signature):
    """The arrays that a body gives, or the kind of the finding: its words are the long way's."""
    try:
        request = settle(codec.read(body, signature, WireLimits()))
        inputs, _ = signature.bind(request.names, request.arrays)
    except CallerError as error:
        return type(error)
    return [(array.dtype.str, array.shape, repr(array.tolist())) for array in inputs]


@pytest.mark.parametrize("codec", ["predict", "instances", "mlflow", "torchserve"])
@settings(max_examples=150, deadline=None)
@given(
    table=tables,
    member=st.sampled_from(["instances", "inputs", "data", "x", "dataframe_records"]),
    beside=st.dictionaries(st.sampled_from(["params", "parameters", "signature_name", "rows", "z"]), leaves),
    signature=st.sampled_from(SHORT_WAYS),
)
def test_the_short_way_finds_what_the_long_way_finds(codec, table, member, beside, signature):
    short = json.dumps({member: table, **beside}).encode()
    long = json.dumps({member: table, **beside, "\N{SNOWMAN}": 0}, ensure_ascii=False).encode()
    kind = "application/json"
    assert outcome(CODECS[codec](kind), short, signature) == outcome(CODECS[codec](kind), long, signature)
    if codec == "torchserve":
        bare = json.dumps(table).encode()
        assert outcome(CODECS[codec](kind), bare, signature) == outcome(
            CODECS[codec](kind), b" " + bare, signature
        )


dtypes = st.integers(0, 24)
numbers = st.lists(st.integers(0, 255), max_size=6)
tensors = st.builds(
    lambda dtype, sizes, floats, ints, strings, content: tf.TensorProto(
        dtype=dtype,
        tensor_shape={"dim": [{"size": size} for size in sizes]},
        float_val=floats,
        int64_val=ints,
        int_val=ints,
        string_val=strings,
        tensor_content=content,
    ),
    dtypes,
    st.lists(st.integers(-1, 5), max_size=3),
    st.lists(st.floats(width=32), max_size=6),
    numbers,
    st.lists(st.binary(max_size=4), max_size=3),
    st.one_of(st.just(b""), st.binary(max_size=24)),
)


@settings(max_examples=200, deadline=None)
@given(
    tensor=tensors,
    name=st.sampled_from(["x", "a", "jpeg"]),
    model=st.sampled_from(sorted(MODELS)),
    limits=st.sampled_from(LIMITS),
    cut=st.integers(0, 400),
    flip=st.integers(0, 400),
)
def test_predict_messages_find_fault_with_their_caller_only(tensor, name, model, limits, cut, flip):
    request = tf.PredictRequest(model_spec={"name": "m"})
    request.inputs[name].CopyFrom(tensor)
    whole = bytearray(request.SerializeToString())
    if flip < len(whole):
        whole[flip] ^= 0x55
    payload = bytes(whole[: len(whole) - cut] if cut < len(whole) else whole)
    signature, work = MODELS[model]
    codec = PredictCall(Forms())
    try:
        codec.spec(payload)
        found = settle(codec.read(payload, signature, limits))
        inputs, _ = signature.bind(found.names, found.arrays)
    except CallerError:
        return
    with np.errstate(all="ignore"):
        reply = InferReply("m", "1", signature, work(*inputs))
    assert tf.PredictResponse.FromString(codec.write(reply, found)).model_spec.name == "m"


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(
        st.lists(st.floats(width=32, allow_nan=False), min_size=4, max_size=4), min_size=2, max_size=4
    ),
    shape=st.sampled_from([(2, 2), (4,), (1, 4), (4, 1)]),
    packed=st.booleans(),
    wanted=st.sampled_from([[], ["label"], ["probabilities", "label"]]),
    flip=st.integers(0, 400),
)
def test_messages_of_a_known_form_are_read_as_any_other(values, shape, packed, wanted, flip):
    forms, seen = Forms(), []
    for row in values:
        request = tf.PredictRequest(model_spec={"name": "m"}, output_filter=wanted)
        tensor = request.inputs["x"]
        tensor.dtype = 1
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
        if packed:
            tensor.float_val.extend(row)
        else:
            tensor.tensor_content = np.array(row, np.float32).tobytes()
        seen.append(bytearray(request.SerializeToString()))
    if flip < len(seen[-1]):
        seen[-1][flip] ^= 0x55
    _read_call(PredictCall(forms), bytes(seen[0]))
    assert forms.find(bytes(seen[0])) is not None
    for payload in map(bytes, seen):
        assert _read_call(PredictCall(forms), payload) == _read_call(PredictCall(), payload)


def _read_call(codec, payload):
    try:
        spec = codec.spec(payload)
        found = settle(codec.read(payload, MODELS["iris"][0], WireLimits()))
    except CallerError as error:
        return type(error), str(error)
    arrays = [(array.dtype.str, array.shape, array.tobytes()) for array in found.arrays]
    return spec, found.names, arrays, found.wanted


@settings(max_examples=120, deadline=None)
@given(payload=st.binary(max_size=80), model=st.sampled_from(sorted(MODELS)))
def test_garbage_is_a_finding_for_every_message(payload, model):
    for read in (
        lambda: read_spec(payload),
        lambda: read_tasks(payload),
        lambda: settle(PredictCall().read(payload, MODELS[model][0], WireLimits())),
        lambda: ExamplesCall(["classify"]).read(payload, MODELS[model][0], WireLimits()),
        lambda: ExamplesCall(["regress"], True).read(payload, MODELS[model][0], WireLimits()),
    ):
        with suppress(CallerError):
            read()


@given(st.lists(st.integers(0, 2**64 - 1)), st.integers(10, 40))
def test_packed_numbers_come_back(items, step):
    packed = pack_varints(np.array(items, np.uint64))
    assert tf.TensorProto(uint64_val=items).SerializeToString().endswith(packed)
    pieces = [unpack_varints(piece) for piece in cut_varints(memoryview(packed), step)]
    assert [int(item) for piece in pieces for item in piece] == items


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_negative_numbers_are_protobuf_s(items):
    packed = pack_varints(np.array(items, np.int64))
    assert tf.TensorProto(int64_val=items).SerializeToString().endswith(packed)
    assert unpack_varints(packed).view(np.int64).tolist() == items
