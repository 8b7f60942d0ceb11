"""TorchServe's StreamPredictions with a model that streams: pieces as they are made, a status at the end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import grpc
import pytest
from plane_running import until

sys.path.insert(0, str(Path(__file__).parents[1] / "dialects"))

import torchserve_messages as ts

METHOD = f"/{ts.SERVICE.format('inference', 'Inference')}/StreamPredictions"


@pytest.fixture
def channel(plane):
    with grpc.insecure_channel(plane.grpc_url) as channel:
        yield channel


def talk(channel, text, timeout=60):
    call = channel.unary_stream(
        METHOD,
        request_serializer=ts.inference["PredictionsRequest"].SerializeToString,
        response_deserializer=ts.inference["PredictionResponse"].FromString,
    )
    return call(ts.predictions("talk", {"data": f'{{"data": ["{text}"]}}'.encode()}), timeout=timeout)


@pytest.mark.proves(
    "dialect:torchserve",
    call="gRPC: StreamPredictions, piece by piece",
    client="protobuf classes of the published definitions, grpcio",
)
def test_a_piece_comes_before_the_next_is_made(plane, channel, tmp_path):
    gate = tmp_path / "gate"
    call = talk(channel, f"first wait:{gate} second")
    assert next(call).prediction == b'["first "]'
    assert not gate.exists()
    gate.touch()
    assert [one.prediction for one in call] == [b'["second "]']
    assert call.code() is grpc.StatusCode.OK


def test_an_error_midway_is_the_status_after_the_pieces(plane, channel):
    call = talk(channel, "one raise two")
    assert next(call).prediction == b'["one "]'
    with pytest.raises(grpc.RpcError) as ended:
        next(call)
    assert ended.value.code() is grpc.StatusCode.INTERNAL
    assert "told to" in ended.value.details()


def test_an_error_before_the_first_piece_is_the_status(plane, channel):
    call = talk(channel, "refuse")
    with pytest.raises(grpc.RpcError) as ended:
        next(call)
    assert ended.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_client_that_cancels_closes_the_generator(plane, channel, tmp_path):
    gate = tmp_path / "gate"
    call = talk(channel, f"left wait:{gate} never")
    assert next(call).prediction == b'["left "]'
    call.cancel()
    gate.touch()
    until(plane.rests)
    assert "left" in plane.closed()


def test_a_host_that_is_killed_midway_is_said(plane, channel, tmp_path):
    call = talk(channel, f"one wait:{tmp_path / 'gate'} two")
    assert next(call).prediction == b'["one "]'
    os.kill(plane.host.pid, signal.SIGKILL)
    with pytest.raises(grpc.RpcError) as ended:
        next(call)
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert [one.prediction for one in talk(channel, "again")] == [b'["again "]']


def test_a_long_answer_comes_whole_and_in_order(plane, channel):
    numbers = [one.prediction[2:10] for one in talk(channel, "many:2000")]
    assert numbers == [b"%08d" % at for at in range(2000)]
