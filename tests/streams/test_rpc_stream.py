"""``ModelStreamInfer`` by Triton's own clients, on both engines."""

from __future__ import annotations

import asyncio
import os
import queue
import signal

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from plane_running import Plane, until
from talking import words
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from modelyard.serve.grpc import ENGINES


def text_input(text):
    found = triton.InferInput("text", [1], "BYTES")
    found.set_data_from_numpy(words(text))
    return [found]


def numbers(value):
    found = triton.InferInput("x", [1, 2], "FP32")
    found.set_data_from_numpy(np.array([[value, value]], np.float32))
    return [found]


def word_of(result):
    (word,) = result.as_numpy("prediction")
    return word.decode()


def final(result):
    return result.get_response().parameters["triton_final_response"].bool_param


class Call:
    """Triton's synchronous client with one stream open."""

    def __init__(self, plane, **how):
        self.found = queue.Queue()
        self.client = triton.InferenceServerClient(plane.grpc_url)
        self.how = how

    def __enter__(self):
        self.client.start_stream(lambda result, error: self.found.put((result, error)), **self.how)
        return self

    def __exit__(self, *_):
        self.client.close()

    def talk(self, text, **how):
        self.client.async_stream_infer("talk", text_input(text), **how)

    def result(self):
        result, error = self.found.get(timeout=60)
        assert error is None, error.message()
        return result

    def error(self):
        result, error = self.found.get(timeout=60)
        assert result is None
        assert isinstance(error, InferenceServerException)
        return error.message()


@pytest.mark.proves("dialect:triton", call="gRPC: ModelStreamInfer, piece by piece", client="tritonclient")
def test_a_piece_comes_before_the_next_is_made(plane, tmp_path):
    gate = tmp_path / "gate"
    with Call(plane) as call:
        call.talk(f"first wait:{gate} second", request_id="7")
        result = call.result()
        assert (word_of(result), result.get_response().id, final(result)) == ("first ", "7", False)
        assert not gate.exists()
        gate.touch()
        assert word_of(call.result()) == "second "
        call.talk("third")
        assert word_of(call.result()) == "third "
        call.client.stop_stream()
        assert call.found.empty()


def test_the_empty_final_response_comes_where_it_is_asked_for(plane):
    with Call(plane) as call:
        call.talk("a b", request_id="1", enable_empty_final_response=True)
        assert [word_of(result) for result in (call.result(), call.result())] == ["a ", "b "]
        last = call.result()
        assert final(last)
        assert (last.get_response().id, len(last.get_response().outputs)) == ("1", 0)
        call.talk("refuse", request_id="2", enable_empty_final_response=True)
        assert "not this" in call.error()
        call.talk("", request_id="3", enable_empty_final_response=True)
        last = call.result()
        assert (final(last), last.get_response().id, last.get_response().model_name) == (True, "3", "talk")


def test_models_that_answer_once_answer_in_order_and_errors_end_nothing(plane):
    with Call(plane) as call:
        for at in range(100):
            call.client.async_stream_infer("double", numbers(at), request_id=str(at))
        for at in range(100):
            result = call.result()
            assert result.get_response().id == str(at)
            assert result.as_numpy("y").tolist() == [[2 * at, 2 * at]]
            assert final(result)
        call.client.async_stream_infer("nope", numbers(1))
        assert "no model named" in call.error()
        call.client.async_stream_infer("double", text_input("x"), request_id="bad")
        assert "input" in call.error()
        call.client.async_stream_infer("double", numbers(5))
        assert call.result().as_numpy("y").tolist() == [[10, 10]]


def test_streams_and_others_share_a_call(plane, tmp_path):
    gate = tmp_path / "gate"
    with Call(plane) as call:
        call.client.async_stream_infer("double", numbers(1))
        call.talk(f"one wait:{gate} two", request_id="talk")
        call.client.async_stream_infer("double", numbers(2))
        found = {}
        for _ in range(3):
            result = call.result()
            found.setdefault(result.get_response().model_name, []).append(result)
        assert [each.as_numpy("y")[0][0] for each in found["double"]] == [2, 4]
        assert [word_of(each) for each in found["talk"]] == ["one "]
        gate.touch()
        assert word_of(call.result()) == "two "


def test_an_error_midway_ends_its_request_only(plane):
    with Call(plane) as call:
        call.talk("one raise two", request_id="9")
        assert word_of(call.result()) == "one "
        assert "told to" in call.error()
        call.talk("again")
        assert word_of(call.result()) == "again "


def test_a_client_that_cancels_closes_the_generator(plane, tmp_path):
    gate = tmp_path / "gate"
    with Call(plane) as call:
        call.talk(f"gone wait:{gate} {'word ' * 100}")
        assert word_of(call.result()) == "gone "
        call.client.stop_stream(cancel_requests=True)
    gate.touch()
    until(plane.rests)
    assert "gone" in plane.closed()


def test_the_time_of_a_call_is_the_clients(plane, tmp_path):
    gate = tmp_path / "gate"
    with Call(plane, stream_timeout=1.0) as call:
        call.talk(f"timed wait:{gate} never")
        assert word_of(call.result()) == "timed "
        assert "Deadline" in call.error()
    gate.touch()
    until(plane.rests)
    assert "timed" in plane.closed()


def test_a_host_that_is_killed_midway_is_said(plane, tmp_path):
    gate = tmp_path / "gate"
    with Call(plane) as call:
        call.talk(f"one wait:{gate} two")
        assert word_of(call.result()) == "one "
        os.kill(plane.host.pid, signal.SIGKILL)
        assert "is being restarted" in call.error()
        call.talk("again")
        assert word_of(call.result()) == "again "


@pytest.mark.proves("dialect:triton", call="gRPC: ModelStreamInfer, asyncio", client="tritonclient")
def test_the_asynchronous_client(plane):
    async def ask():
        async with triton_aio.InferenceServerClient(plane.grpc_url) as client:

            async def requests():
                yield {"model_name": "talk", "inputs": text_input("a b")}
                yield {"model_name": "double", "inputs": numbers(4), "request_id": "d"}

            texts, doubles = [], []
            async for result, error in client.stream_infer(requests()):
                assert error is None
                response = result.get_response()
                if response.model_name == "double":
                    doubles.append(result.as_numpy("y").tolist())
                else:
                    texts.append((word_of(result), final(result)))
            return texts, doubles

    assert asyncio.run(ask()) == ([("a ", False), ("b ", False)], [[[8, 8]]])


def raw(text):
    request = service_pb2.ModelInferRequest(model_name="talk")
    request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(text.encode())
    return request


def test_a_slow_reader_holds_no_more_than_its_window(plane):
    """The model could say 320 MB; what is made is what flow control lets through."""
    with grpc.insecure_channel(plane.grpc_url) as channel:
        answers = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(
            iter([raw("many:10000")])
        )
        assert next(answers).infer_response.raw_output_contents
        (job,) = plane.do(lambda: list(plane.batcher._streams))
        made = -1
        while made != plane.do(lambda: job.count):
            made = plane.do(lambda: job.count)
            for _ in range(20):
                plane.host_says("meanwhile")
        assert 0 < made * 32768 < 48 << 20
        for _ in range(made + 100):
            next(answers)
        answers.cancel()
    until(plane.rests)


def test_garbage_is_said_and_the_call_goes_on(plane):
    method = "/inference.GRPCInferenceService/ModelStreamInfer"
    with grpc.insecure_channel(plane.grpc_url) as channel:
        call = channel.stream_stream(
            method, response_deserializer=service_pb2.ModelStreamInferResponse.FromString
        )
        answers = call(iter([b"\xff\xff", raw("fine").SerializeToString()]))
        first = next(answers)
        assert "malformed" in first.error_message
        assert [each.infer_response.raw_output_contents[0][4:] for each in answers] == [b"fine "]


def test_large_messages_pass_in_a_row(plane):
    text = "x" * 200_000
    with Call(plane) as call:
        for _ in range(3):
            call.talk(text)
        for _ in range(3):
            assert word_of(call.result()) == text + " "


def test_the_configuration_says_decoupled(plane):
    with triton.InferenceServerClient(plane.grpc_url) as client:
        assert client.get_model_config("talk").config.model_transaction_policy.decoupled
        assert not client.get_model_config("double").config.model_transaction_policy.decoupled
        assert word_of(client.infer("talk", text_input("a b"))) == "a b "
    assert plane.ask("GET", "/v2/models/talk/config")[1]["model_transaction_policy"] == {"decoupled": True}


@pytest.mark.parametrize("engine", list(ENGINES))
def test_a_server_that_stops_ends_a_call_that_waits(engine):
    with Plane(engine) as plane:
        plane.publish(plane.slot("double", "2"))
        with Call(plane) as call:
            call.client.async_stream_infer("double", numbers(1))
            assert call.result().as_numpy("y").tolist() == [[2, 2]]
            plane.wait(plane.grpc.drain(20))
            assert "the server is stopping" in call.error()


def test_a_native_server_that_nobody_streams_from_starts_no_other():
    with Plane("native") as plane:
        plane.publish(plane.slot("double", "2"))
        with triton.InferenceServerClient(plane.grpc_url) as client:
            assert client.infer("double", numbers(1)).as_numpy("y").tolist() == [[2, 2]]
        assert plane.grpc._behind._server is None
