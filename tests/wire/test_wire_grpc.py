import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2, service_pb2
from wire_samples import LIMITS, reply_of, request, run, same, tensors

from modelyard.core.errors import BadInput, BadRequest, CallerError, TooLarge, Unsupported
from modelyard.core.limits import WireLimits
from modelyard.core.request import WantedOutput
from modelyard.core.tensor import DTYPES, dtype_of
from modelyard.wire import grpc, grpc_stream, messages
from modelyard.wire.contents import _FIELDS
from modelyard.wire.protobuf import field, varint

SMALL = WireLimits(step_bytes=16)
TYPED = tuple(name for name in DTYPES if name != "FP16")


def typed(*arrays, spoil=None):
    message = service_pb2.ModelInferRequest(model_name="iris", id="t")
    for at, array in enumerate(arrays):
        name = dtype_of(array).name
        tensor = message.inputs.add(name=f"x{at}", datatype=name, shape=array.shape)
        getattr(tensor.contents, _FIELDS[name][1]).extend(array.ravel().tolist())
    if spoil:
        spoil(message)
    return message.SerializeToString()


def decode(payload, limits=LIMITS):
    return run(grpc.decode_infer(payload, limits).request)


def test_messages_are_those_of_the_canonical_file():
    canonical = descriptor_pb2.FileDescriptorProto()
    service_pb2.DESCRIPTOR.CopyToProto(canonical)
    theirs = {message.name: message for message in canonical.message_type}
    ours = descriptor_pb2.FileDescriptorProto()
    messages.POOL.FindFileByName("modelyard/inference.proto").CopyToProto(ours)
    assert len(ours.message_type) == 39

    def outline(message):
        return (
            message.name,
            [(o.name) for o in message.oneof_decl],
            sorted(
                (f.name, f.number, f.type, f.label, f.type_name, f.HasField("oneof_index"))
                for f in message.field
            ),
            sorted(outline(inner) for inner in message.nested_type),
            message.options.map_entry,
        )

    for message in ours.message_type:
        assert outline(message) == outline(theirs[message.name])


def test_health_messages_have_the_bytes_of_health_proto():
    assert grpc.encode_health(True) == b"\x08\x01"
    assert grpc.encode_health(False) == b"\x08\x02"
    assert grpc.decode_health_request(b"\x0a\x04iris") == "iris"
    assert grpc.decode_health_request(b"") == ""


@given(st.lists(tensors(dtypes=TYPED), min_size=1, max_size=3), st.sampled_from([16, 70, 1 << 17]))
def test_typed_contents_are_read(arrays, step):
    got = decode(typed(*arrays), WireLimits(step_bytes=step))
    assert all(map(same, got.arrays, arrays))


@pytest.mark.parametrize("name", TYPED)
def test_long_typed_contents_are_read_in_steps(name):
    row = DTYPES[name]
    array = np.arange(9000) % 251
    array = array.astype(row.numpy) if row.size else np.array([b"%d" % item for item in array], object)
    if row.kind == "int" and row.size == 8:
        array[::7] = np.iinfo(row.numpy).max
    limits = WireLimits(step_bytes=1024)
    work = grpc.decode_infer(typed(array), limits).request
    assert hasattr(work, "send")
    if name not in ("FP32", "FP64"):
        assert sum(1 for _ in work) > 3
    assert same(decode(typed(array), limits).arrays[0], array)
    with pytest.raises(CallerError):
        decode(typed(array, spoil=lambda m: m.inputs[0].shape.__setitem__(0, 8999)), limits)


def test_large_raw_tensors_are_views_of_the_message():
    array = np.arange(100_000, dtype=np.float32)
    message = service_pb2.ModelInferRequest(model_name="m")
    message.inputs.add(name="x", datatype="FP32", shape=[100_000])
    message.raw_input_contents.append(array.tobytes())
    payload = message.SerializeToString()
    got = decode(payload).arrays[0]
    assert same(got, array)
    assert np.shares_memory(got, np.frombuffer(payload, np.uint8))
    floats = typed(array)
    got = decode(floats).arrays[0]
    assert same(got, array)
    assert np.shares_memory(got, np.frombuffer(floats, np.uint8))


def _raw(*contents):
    return lambda message: message.raw_input_contents.extend(contents)


def _set(**values):
    def spoil(message):
        for key, value in values.items():
            if key == "shape":
                message.inputs[0].shape[:] = value
            else:
                setattr(message.inputs[0], key, value)

    return spoil


def _contents(name, *values):
    return lambda message: getattr(message.inputs[0].contents, name).extend(values)


def _parameter(key, **value):
    return lambda message: message.parameters[key].MergeFrom(service_pb2.InferParameter(**value))


X = np.array([[1, 2, 3, 4]], np.float32)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (_raw(X.tobytes()), BadRequest),
        (_raw(X.tobytes(), b""), BadRequest),
        (_contents("fp64_contents", 1.0), BadInput),
        (_contents("fp32_contents", 1.0), BadInput),
        (_set(shape=[1, 3]), BadInput),
        (_set(shape=[-1, 4]), BadInput),
        (_set(shape=[2**62, 2**62]), TooLarge),
        (_set(shape=[1] * 40), TooLarge),
        (_set(datatype="FP99"), BadInput),
        (_set(datatype="FP16"), BadInput),
        (_set(datatype="INT32"), BadInput),
        (_set(name="n" * 5000), TooLarge),
        (lambda message: message.ClearField("inputs"), BadRequest),
        (lambda message: message.inputs[0].ClearField("contents"), BadRequest),
        (lambda message: message.inputs.append(message.inputs[0]), BadInput),
        (lambda message: message.inputs.extend([message.inputs[0]] * 1100), TooLarge),
        (lambda message: message.raw_input_contents.extend([b""] * 5000), CallerError),
        (_parameter("priority", int64_param=2), BadRequest),
        (_parameter("priority", string_param="1"), BadRequest),
        (_parameter("timeout", int64_param=-1), BadRequest),
        (_parameter("sequence_id", int64_param=4), Unsupported),
        (_parameter("sequence_id", string_param="s"), Unsupported),
        (_parameter("nothing"), BadRequest),
        (lambda m: m.outputs.add(name="y").parameters["classification"].MergeFrom(
            service_pb2.InferParameter(int64_param=-2)), BadRequest),
        (lambda m: m.inputs[0].parameters["shared_memory_region"].MergeFrom(
            service_pb2.InferParameter(string_param="r")), Unsupported),
    ],
)  # fmt: skip
@pytest.mark.parametrize("limits", [LIMITS, SMALL])
def test_what_contradicts_itself_is_refused(spoil, error, limits):
    with pytest.raises(error):
        decode(typed(X, spoil=spoil), limits)


@pytest.mark.parametrize(
    ("datatype", "contents", "values"),
    [
        ("INT8", "int_contents", [128]),
        ("INT16", "int_contents", [-32769]),
        ("UINT8", "uint_contents", [256]),
        ("UINT16", "uint_contents", [65536]),
        ("INT8", "uint_contents", [1]),
        ("BOOL", "int_contents", [1]),
    ],
)
@pytest.mark.parametrize("limits", [LIMITS, WireLimits(step_bytes=8)])
def test_narrow_datatypes_are_checked(datatype, contents, values, limits):
    message = service_pb2.ModelInferRequest()
    tensor = message.inputs.add(name="x", datatype=datatype, shape=[len(values)])
    getattr(tensor.contents, contents).extend(values)
    with pytest.raises(BadInput, match="'x'"):
        decode(message.SerializeToString(), limits)


def test_parameters_of_every_kind_are_kept():
    def spoil(message):
        for key, value in (
            ("b", {"bool_param": True}),
            ("d", {"double_param": 1.5}),
            ("u", {"uint64_param": 2**63}),
        ):
            message.parameters[key].MergeFrom(service_pb2.InferParameter(**value))

    for limits in (LIMITS, SMALL):
        assert decode(typed(X, spoil=spoil), limits).parameters == {"b": True, "d": 1.5, "u": 2**63}


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff",
        b"\x0a\x05ab",
        b"\x0a\x01\xff",
        b"\x0b\x0c",
        b"\x00\x00",
        b"\x08" + b"\x80" * 20,
        typed(X)[:-1],
        typed(X) + b"\x3a\xff\xff\xff\xff\x0f",
    ],
)
@pytest.mark.parametrize("limits", [LIMITS, WireLimits(step_bytes=1)])
def test_malformed_messages_are_refused(payload, limits):
    with pytest.raises(CallerError):
        decode(payload, limits)


@pytest.mark.parametrize("decoder", [grpc.decode_model_ref, grpc.decode_health_request])
def test_malformed_small_messages_are_refused(decoder):
    with pytest.raises(BadRequest):
        decoder(b"\xff\xff")


@pytest.mark.parametrize(
    "tag", [b"\x2a\x00", b"\x3a\x00", b"\x32\x00", b"\x22\x00", b"\x0a\x00", b"\x40\x01"]
)
def test_a_million_tiny_fields_are_refused(tag):
    with pytest.raises(TooLarge):
        decode(tag * 1_000_000)


def test_the_message_is_bounded():
    with pytest.raises(TooLarge):
        decode(typed(X), WireLimits(body_bytes=8))
    words = np.array([b"abcd"], object)
    for limits in (WireLimits(string_bytes=3), WireLimits(string_bytes=3, step_bytes=1)):
        with pytest.raises(TooLarge):
            decode(typed(words), limits)


@given(st.lists(tensors(), min_size=1, max_size=3), st.text(max_size=20))
def test_replies_mean_what_the_library_would_write(arrays, name):
    reply = reply_of(*arrays)
    data = grpc.encode_infer(reply, request(id=name))
    message = service_pb2.ModelInferResponse.FromString(data)
    assert message.SerializeToString() == data
    assert (message.model_name, message.model_version, message.id) == ("m", "3", name)
    assert [list(row.shape) for row in message.outputs] == [list(array.shape) for array in arrays]
    assert len(message.raw_output_contents) == len(arrays)


def test_wanted_outputs_come_in_their_order():
    reply = reply_of(np.zeros(1, np.int8), np.ones(2, np.int8))
    wanted = request(wanted=[WantedOutput("y1"), WantedOutput("y0")])
    message = service_pb2.ModelInferResponse.FromString(grpc.encode_infer(reply, wanted))
    assert [row.name for row in message.outputs] == ["y1", "y0"]
    assert list(message.raw_output_contents) == [b"\x01\x01", b"\x00"]
    with pytest.raises(BadInput):
        grpc.encode_infer(reply, request(wanted=[WantedOutput("y9")]))


@given(st.integers(0, 2**64 - 1))
def test_varints_are_protobufs(value):
    message = messages.InferInputTensor.FromString(field(3, varint(value)))
    assert list(message.shape) == [value if value < 2**63 else value - 2**64]


def test_messages_of_the_model_configuration_are_part_of_the_canonical_ones():
    canonical, ours = descriptor_pb2.FileDescriptorProto(), descriptor_pb2.FileDescriptorProto()
    model_config_pb2.DESCRIPTOR.CopyToProto(canonical)
    messages.POOL.FindFileByName("modelyard/model_config.proto").CopyToProto(ours)

    def check(mine, theirs):
        assert {one.name for one in mine.oneof_decl} <= {one.name for one in theirs.oneof_decl}
        known = {one.name: one for one in theirs.field}
        for one in mine.field:
            their = known[one.name]
            assert (one.number, one.type, one.label, one.type_name) == (
                their.number,
                their.type,
                their.label,
                their.type_name,
            )
            assert one.HasField("oneof_index") == their.HasField("oneof_index")
        inner = {one.name: one for one in theirs.nested_type}
        for one in mine.nested_type:
            check(one, inner[one.name])

    whole = {one.name: one for one in canonical.message_type}
    assert len(ours.message_type) == 6
    for message in ours.message_type:
        check(message, whole[message.name])
    (types,) = ours.enum_type
    assert {one.name: one.number for one in types.value} == dict(model_config_pb2.DataType.items())


def test_answers_of_a_stream_are_messages_of_triton():
    inner = service_pb2.ModelInferResponse(model_name="m", id="7")
    inner.outputs.add(name="y", datatype="FP32", shape=[1])
    for final in (True, False):
        found = service_pb2.ModelStreamInferResponse.FromString(
            grpc_stream.encode_stream_infer(inner.SerializeToString(), final)
        )
        said = found.infer_response.parameters.pop("triton_final_response")
        assert (said.WhichOneof("parameter_choice"), said.bool_param) == ("bool_param", final)
        assert found.infer_response == inner
        assert found.error_message == ""
    end = service_pb2.ModelStreamInferResponse.FromString(grpc_stream.encode_stream_end("m", "3", "7"))
    assert (end.infer_response.model_name, end.infer_response.model_version) == ("m", "3")
    assert (end.infer_response.id, len(end.infer_response.outputs)) == ("7", 0)
    assert end.infer_response.parameters["triton_final_response"].bool_param
    wrong = service_pb2.ModelStreamInferResponse.FromString(grpc_stream.encode_stream_error("no", "m", "7"))
    assert (wrong.error_message, wrong.infer_response.id) == ("no", "7")
    assert wrong.infer_response.parameters["triton_final_response"].bool_param
