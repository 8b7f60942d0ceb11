"""Between the server and a model host there are frames of JSON and raw tensors, and no pickle anywhere."""

from __future__ import annotations

import ast
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

import modelyard
from modelyard.sandbox.child import Child
from modelyard.sandbox.frames import FrameReader
from modelyard.sandbox.policy import Policy

ROOT = Path(modelyard.__file__).parent
SERVING = ("sandbox", "runtime", "engine", "serve", "wire", "monitor", "core", "artifact")
"""What a worker and the frame of a host are made of; what a host opens for its model is the model's own."""
UNSAFE = {
    "pickle",
    "_pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "multiprocessing",
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.add("pickle" if getattr(node.value, "value", True) else "no pickle")
    return found


@pytest.mark.parametrize("part", SERVING)
def test_no_module_of_the_road_imports_it(part):
    files = list((ROOT / part).rglob("*.py"))
    assert files
    assert {path.name: imports(path) & UNSAFE for path in files if imports(path) & UNSAFE} == {}


class Tapped:
    """A socket that keeps what goes through it."""

    def __init__(self, end):
        self.end = end
        self.sent, self.received = bytearray(), bytearray()

    def __getattr__(self, name):
        return getattr(self.end, name)

    def send(self, data):
        count = self.end.send(data)
        self.sent += bytes(data[:count])
        return count

    def recv(self, size):
        data = self.end.recv(size)
        self.received += data
        return data


def test_both_ends_answer_without_it_and_only_frames_cross(monkeypatch):
    def refused(*_, **__):
        raise AssertionError("pickle in the server")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refused)
    small = np.arange(6, dtype=np.float32).reshape(2, 3)
    large = np.random.default_rng(0).random((50_000, 3), np.float32)
    text = np.array([b"\x80\x04]q\x00.", "é".encode(), b""], object)
    with Child.start("python_hosts:picklefree_verbs", Policy()) as child:
        tapped = child._channel._end = Tapped(child._channel._end)
        child.call("open", {}, ())
        for array in (small, large, text, np.repeat(text, 50_000)):
            (answer,) = child.call("predict", {}, (array,)).arrays
            np.testing.assert_array_equal(answer, array)
    for stream in (tapped.sent, tapped.received):
        reader = FrameReader()
        reader.feed(bytes(stream))
        frames = []
        while (found := reader.next()) is not None:
            frames.append(found)
        assert len(frames) >= 5
        assert not reader._held, "bytes that are no frame"
        # The numbers of an inline frame are exactly those of its arrays, byte for byte.
        inline = [payload for head, payload in frames if head.inline and head.blocks[0].dtype == "FP32"]
        assert inline == [small.tobytes()]
        assert not any(is_pickle(payload) for _, payload in frames)


def is_pickle(data: bytes) -> bool:
    try:
        return bool(list(pickletools.genops(data)))
    except (ValueError, IndexError, UnicodeDecodeError):
        return False
