"""What an audit says of files, hostile ones first; nothing here may ever be unpickled."""

from __future__ import annotations

import functools
import io
import os
import pickle
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest
from zoo import ZOO

from modelyard.core.errors import CorruptFile
from modelyard.formats.audit import Audit, audit
from modelyard.formats.names import sort_of
from modelyard.formats.pickle_facts import WalkLimits
from modelyard.formats.pickle_walk import walk_pickle
from modelyard.formats.sniff import Sniffed, sniff

MARK = "/nowhere/modelyard-audit-was-fooled"


class Calls:
    """Pickles as a call."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.pair = (function, arguments)

    def __reduce__(self) -> object:
        return self.pair


def looked_at(path: Path, data: bytes) -> Audit:
    path.write_bytes(data)
    return audit(path, sniff(path))


def _short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def _stack_global(module: bytes, name: bytes) -> bytes:
    return b"\x80\x04" + module + name + b"\x93" + _short(f"touch {MARK}") + b"\x85R."


_JUMBLED = b"q\x05" + b"0" + _short("os") + b"\x94" + b"0N0" + b"h\x01h\x05\x93)R."
_FAR_MEMO = b"r\x00\x00\x01\x000j\x00\x00\x01\x00"
_BURIED = _short("sys") + b"0" + _short("system")
_RUNSTRING = b"\x80\x04cnumpy.testing._private.utils\nrunstring\n(tR."
_RESOLVE = b"\x80\x04cpkgutil\nresolve_name\n" + _short("os:system") + b"\x85R."

HOSTILE = [
    ("reduce", pickle.dumps(Calls(os.system, f"touch {MARK}")), "posix.system"),
    ("protocol 0", pickle.dumps(Calls(os.system, f"touch {MARK}"), 0), "posix.system"),
    ("protocol 2", pickle.dumps(Calls(os.system, f"touch {MARK}"), 2), "posix.system"),
    ("nested", pickle.dumps([{"a": ({1: [Calls(eval, "1")]},)}]), "builtins.eval"),
    ("global by text", b"cos\nsystem\n(S'id'\ntR.", "os.system"),
    ("inst", b"(S'id'\nios\nsystem\n.", "os.system"),
    ("obj", b"(cos\nsystem\nS'id'\no.", "os.system"),
    ("stack global", _stack_global(_short("os"), _short("system")), "os.system"),
    ("memo between", _stack_global(_short("os") + b"\x94", _short("system") + b"\x94"), "os.system"),
    (
        "names from the memo",
        b"\x80\x04"
        + _short("system")
        + b"q\x05"
        + b"0"
        + _short("os")
        + b"\x94"
        + b"0N0"
        + b"h\x01h\x05\x93)R.",
        "os.system",
    ),
    (
        "long memo",
        _stack_global(_short("os") + _FAR_MEMO, _short("system")),
        "os.system",
    ),
    (
        "names under a pop",
        _stack_global(_short("os") + b"N0", _BURIED),
        "os.system",
    ),
    ("names doubled", _stack_global(_short("os") + b"20", _short("system") + b"20"), "os.system"),
    ("names under a mark", _stack_global(_short("os") + b"(NN1", _short("system")), "os.system"),
    ("long strings", _stack_global(b"X\x02\0\0\0os", b"\x8d\x06\0\0\0\0\0\0\0system"), "os.system"),
    ("call then pop", b"\x80\x04cos\nsystem\n" + _short("id") + b"\x85R0N.", "os.system"),
    (
        "pkgutil",
        b"\x80\x04cpkgutil\nresolve_name\n" + _short("os:system") + b"\x85R.",
        "pkgutil.resolve_name",
    ),
    ("runpy", b"\x80\x04crunpy\nrun_path\n" + _short("x") + b"\x85R.", "runpy.run_path"),
    ("attrgetter", b"\x80\x04coperator\nattrgetter\n" + _short("x") + b"\x85R.", "operator.attrgetter"),
    ("partial", pickle.dumps(functools.partial(os.system, "id")), "posix.system"),
    ("builtins", b"\x80\x04cbuiltins\ngetattr\n" + _short("x") + b"\x85R.", "builtins.getattr"),
    (
        "submodule of a known package",
        b"\x80\x04cnumpy.testing._private.utils\nrunstring\n(tR.",
        "numpy.testing._private.utils.runstring",
    ),
]


@pytest.mark.parametrize(("data", "name"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_hostile_names_are_found(tmp_path: Path, data: bytes, name: str) -> None:
    found = looked_at(tmp_path / "model.pkl", data)
    assert name in found.dangerous
    assert any("do not trust this file" in finding for finding in found.findings)
    assert not found.safe
    assert not os.path.exists(MARK)


def test_hidden_names_are_called_hidden(tmp_path: Path) -> None:
    data = b"\x80\x04" + b"cbuiltins\nstr\n" + _short("os") + b"\x85R" + _short("system") + b"\x93)R."
    found = looked_at(tmp_path / "model.pkl", data)
    assert any("hides the names of 1 imports" in finding for finding in found.findings)


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("xz", 1)], ids=str)
def test_hostile_calls_after_raw_arrays_are_found(tmp_path: Path, compress: object) -> None:
    out = io.BytesIO()
    held = {"w": np.arange(5000.0), "names": np.array(["a", None, Calls(os.system, "id")], dtype=object)}
    joblib.dump([held, np.zeros((3, 4), "f4"), Calls(eval, "1")], out, compress=compress)
    found = looked_at(tmp_path / "model.joblib", out.getvalue())
    assert {"posix.system", "builtins.eval"} <= set(found.dangerous)
    assert found.complete


def test_what_cannot_be_followed_is_searched_and_said(tmp_path: Path) -> None:
    data = (
        b"\x80\x04(]\x94cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}b" + b"\xff" * 50 + b"cos\nsystem\n)R."
    )
    path = tmp_path / "odd"
    path.write_bytes(data)
    found = audit(path, Sniffed("joblib", "joblib", False))
    assert "os.system" in found.dangerous
    assert not found.complete
    assert any("only searched" in finding for finding in found.findings)


def test_ordinary_models_ask_for_ordinary_things(tmp_path: Path) -> None:
    for _, build in ZOO:
        found = looked_at(tmp_path / "model.pkl", pickle.dumps(build().model))
        assert found.complete
        assert found.known
        assert found.dangerous == ()
        assert found.unknown == ()


def test_a_walk_is_bounded() -> None:
    stream = io.BytesIO(b"\x80\x04" + b"N" * 500_000 + b".")
    facts = walk_pickle(stream, WalkLimits(opcodes=1000))
    assert facts.opcodes == 1001
    assert not facts.complete
    many = b"\x80\x04" + b"".join(b"cm%d\nf\n0" % at for at in range(5000)) + b"N."
    assert len(walk_pickle(io.BytesIO(many), WalkLimits(globals=100)).globals) == 100


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8d" + b"\xff" * 8 + b".",  # a string of 2**64 bytes
        b"\x80\x04\x8b" + b"\xff\xff\xff\x7f" + b".",  # a number of 2 GiB
        b"\x80\x04L" + b"9" * 60_000 + b"L\n.",  # a decimal number with 60,000 digits
        b"\x80\x04R.",
        b"\x80\x041.",
        b"\x80\x04h\x00\x93.",
        b"\x80\x04gzzz\n.",
        b"g" + b"1" * 70_000,
        b"\x80\x04\x81\x81\x81.",
        b"\x80\x04}b.",
        b"\x80\x04\x82\x01.",
    ],
)
def test_odd_streams_end_quietly(data: bytes) -> None:
    facts = walk_pickle(io.BytesIO(data), WalkLimits())
    assert facts.opcodes < 100


def test_names_are_sorted() -> None:
    assert sort_of("os.system") == "dangerous"
    assert sort_of("builtins.dict") == "known"
    assert sort_of("builtins.exec") == "dangerous"
    assert sort_of("builtins.dict.fromkeys") == "dangerous"
    assert sort_of("cloudpickle.cloudpickle._make_function") == "code"
    assert sort_of("acme.models.Best") == "unknown"
    assert sort_of("sklearn.tree._tree.Tree") == "known"
    assert sort_of("sklearn_extra.Evil") == "unknown"


def _graph(**changes: object) -> onnx.ModelProto:
    node = onnx.helper.make_node("Relu", ["x"], ["y"], domain=str(changes.get("domain", "")))
    value = [onnx.helper.make_tensor_value_info(name, 1, [None, 2]) for name in ("x", "y")]
    weight = onnx.numpy_helper.from_array(np.zeros((2, 2), "f4"), "w")
    if "external" in changes:
        weight.data_location = onnx.TensorProto.EXTERNAL
        entry = weight.external_data.add()
        entry.key, entry.value = "location", str(changes["external"])
    graph = onnx.helper.make_graph([node] * 3, "g", value[:1], value[1:], [weight])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])


def test_onnx_is_outlined(tmp_path: Path) -> None:
    found = looked_at(tmp_path / "m.onnx", _graph().SerializeToString())
    facts = dict(found.facts)
    assert found.safe
    assert found.complete
    assert facts["nodes"] == "3"
    assert facts["weights"] == "1"
    assert facts["operator sets"] == "ai.onnx 18"
    assert found.findings == ()


def test_onnx_oddities_are_said(tmp_path: Path) -> None:
    found = looked_at(
        tmp_path / "m.onnx", _graph(domain="acme.ops", external="../../etc/passwd").SerializeToString()
    )
    assert any("acme.ops" in finding for finding in found.findings)
    assert any("outside its folder" in finding for finding in found.findings)


def test_an_onnx_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"hello")
    with pytest.raises(CorruptFile):
        audit(path, Sniffed("onnx", "ONNX", True))
