"""Python functions and classes: gathered, opened in a child, served as models."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from booster_rows import prepared

from modelyard.core.errors import (
    BadInput,
    CorruptFile,
    MissingExtra,
    MissingFile,
    ModelFailed,
    NotConvertible,
    TooLarge,
    UnsafeFile,
)
from modelyard.core.tensor import Array
from modelyard.flow import Prepared, open_version
from modelyard.gathered import find_code, gather


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))
    return path


def answers(found: Prepared, *rows: Array) -> tuple[Array, ...]:
    opened = open_version(found.bundle.folder)
    try:
        return opened.runner.run(rows)
    finally:
        opened.runner.close()


def pieces(found: Prepared, *rows: Array) -> list[list[object]]:
    """The first output of each piece."""
    opened = open_version(found.bundle.folder)
    try:
        stream, out = opened.runner.stream(rows), []
        while (piece := stream.next()) is not None:
            out.append(piece[0].tolist())
        stream.close()
        return out
    finally:
        opened.runner.close()


def texts(*words: str) -> Array:
    out = np.empty(len(words), dtype=object)
    out[:] = [word.encode() for word in words]
    return out


@pytest.mark.proves("format:python", "imports", "native", "batch")
def test_a_function_of_plain_values_runs_row_by_row(tmp_path: Path) -> None:
    write(tmp_path, "slope.py", "SLOPE = 3.0\n")
    np.save(tmp_path / "weights.npy", np.array([2.0]))
    source = write(
        tmp_path,
        "line.py",
        '''
        """A line."""
        import numpy as np
        from slope import SLOPE
        WEIGHTS = np.load("weights.npy")
        def line(x: float, y: float) -> float:
            """Two weights."""
            return SLOPE * x + WEIGHTS[0] * y
        ''',
    )
    found = prepared(source, tmp_path)
    names = {"source/line.py", "source/slope.py", "source/weights.npy", "source/function.json"}
    assert names <= set(found.bundle.parts)
    assert [(spec.name, spec.dtype.name) for spec in found.signature.inputs] == [("x", "FP64"), ("y", "FP64")]
    assert found.signature.batched
    assert "no ONNX form" in found.report.reason
    for path in (source, tmp_path / "slope.py", tmp_path / "weights.npy"):
        path.unlink()
    (out,) = answers(found, np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    assert out.tolist() == [3.0, 8.0]


def test_a_name_chooses_and_a_missing_one_is_asked_for(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        "two.py",
        "def one(x: int) -> int:\n    return x\n\ndef other(x: int) -> int:\n    return -x\n",
    )
    with pytest.raises(NotConvertible, match=r"one, other; name one, as two.py:NAME"):
        prepared(source, tmp_path)
    found = prepared(Path(f"{source}:other"), tmp_path)
    assert answers(found, np.array([4]))[0].tolist() == [-4]
    with pytest.raises(NotConvertible, match="has no 'third'; it has one, other"):
        prepared(Path(f"{source}:third"), tmp_path)
    with pytest.raises(MissingFile, match=r"no such file: .*/gone.py"):
        prepared(tmp_path / "gone.py:one", tmp_path)


def test_a_module_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A child has no environment of ours: this raises only where nothing may be imported.
    monkeypatch.setenv("MODELYARD_TESTING_HERE", "1")
    write(tmp_path, "shop/__init__.py", "import os\nassert 'MODELYARD_TESTING_HERE' not in os.environ\n")
    write(tmp_path, "shop/rates.py", "TAX = 0.5\n")
    write(
        tmp_path,
        "shop/price.py",
        """
        from . import rates
        from shop.rates import TAX
        def gross(net: float) -> float:
            return net * (1 + TAX)
        """,
    )
    write(tmp_path, "shop/other.py", "x = 1\n")
    monkeypatch.chdir(tmp_path)
    found = prepared(Path("shop.price:gross"), tmp_path)
    parts = set(found.bundle.parts)
    assert {"source/shop/__init__.py", "source/shop/price.py", "source/shop/rates.py"} <= parts
    assert "source/shop/other.py" not in parts
    assert answers(found, np.array([2.0]))[0].tolist() == [3.0]
    with pytest.raises(MissingFile, match=r"no module 'shop.nothing'"):
        prepared(Path("shop.nothing:gross"), tmp_path)


def test_arrays_say_the_line_to_add(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        "double.py",
        "import numpy as np\n\ndef double(x: np.ndarray) -> np.ndarray:\n    return x * 2\n",
    )
    with pytest.raises(NotConvertible, match=r"add: --input x:float32\[N,4\]"):
        prepared(source, tmp_path)
    found = prepared(source, tmp_path, options={"input": ["x:float32[N,3]"]})
    assert found.signature.inputs[0].shape == (None, 3)
    assert found.signature.batched
    assert answers(found, np.ones((2, 3), np.float32))[0].tolist() == [[2.0] * 3] * 2


@pytest.mark.parametrize(
    ("hint", "shape", "dtype"),
    [
        ('Annotated[np.ndarray, "float32[N,2]"]', (None, 2), "FP32"),
        ('Annotated[NDArray[np.float64], "double[N]"]', (None,), "FP64"),
        ("list[str]", (None,), "BYTES"),
        ("np.float32", (None,), "FP32"),
        ("bool", (None,), "BOOL"),
        ("int | None", (None,), "INT64"),
    ],
)
def test_hints(tmp_path: Path, hint: str, shape: tuple[int | None, ...], dtype: str) -> None:
    source = write(
        tmp_path,
        "hinted.py",
        f"""
        from typing import Annotated
        import numpy as np
        from numpy.typing import NDArray
        def same(x: {hint}, factor=1):
            return {{"y": x}}
        """,
    )
    spec = prepared(Path(f"{source}:same"), tmp_path).signature.inputs[0]
    assert (spec.name, spec.shape, spec.dtype.name) == ("x", shape, dtype)


def test_a_sample_says_what_hints_do_not(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        "total.py",
        "import numpy as np\n\ndef total(rows: np.ndarray):\n    return rows.sum(axis=1)\n",
    )
    sample = write(tmp_path, "rows.csv", "a,b\n1,2\n3,4\n5,6\n")
    found = prepared(source, tmp_path, sample=sample)
    assert found.signature.inputs[0].columns == ("a", "b")
    assert answers(found, np.array([[1, 2]], np.float32))[0].tolist() == [3.0]


def test_rows_that_lean_on_each_other_are_not_batched(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        "norm.py",
        """
        from typing import Annotated
        import numpy as np
        def norm(x: Annotated[np.ndarray, "float32[N,3]"]):
            return x / x.max()
        """,
    )
    found = prepared(source, tmp_path)
    assert not found.signature.batched
    assert any("depends on the rows beside it" in note for note in found.report.notes)


MIX = """
from typing import Annotated
import numpy as np
def mix(x: Annotated[np.ndarray, "float32[N]"]):
    return x - x.mean()
def each(x: Annotated[np.ndarray, "float32[N]"]):
    return x * 2
def size(file: bytes) -> int:
    if file[:2] != b"\\xff\\xd8":
        raise ValueError("this is no JPEG")
    return len(file)
"""


def test_few_real_rows_still_show_whether_rows_may_share_a_batch(tmp_path: Path) -> None:
    write(tmp_path, "few.py", MIX)
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("x\n1.5\n")
    two.write_text("x\n1.5\n2.5\n")
    for function, sample, batched in (("mix", one, False), ("mix", two, False), ("each", two, True)):
        found = prepared(Path(f"{tmp_path}/few.py:{function}"), tmp_path, sample=sample)
        assert found.signature.batched == batched


def test_a_function_of_files_is_tried_on_real_ones(tmp_path: Path) -> None:
    write(tmp_path, "few.py", MIX)
    source = Path(f"{tmp_path}/few.py:size")
    with pytest.raises(NotConvertible, match=r"this is no JPEG; give a real one with --sample FILE"):
        prepared(source, tmp_path)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "1.jpg").write_bytes(b"\xff\xd8 one")
    found = prepared(source, tmp_path, sample=pictures / "1.jpg")
    assert not found.signature.batched
    assert any("equal rows show nothing" in note for note in found.report.notes)
    assert answers(found, *found_bytes(b"\xff\xd8"))[0].tolist() == [2]
    (pictures / "2.jpg").write_bytes(b"\xff\xd8 twice")
    assert prepared(source, tmp_path, sample=pictures).signature.batched


def found_bytes(*items: bytes) -> tuple[Array]:
    out = np.empty(len(items), dtype=object)
    out[:] = items
    return (out,)


def test_a_class_is_built_once(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        "count.py",
        """
        class Count:
            built = 0
            def __init__(self):
                Count.built += 1
            def predict(self, x: float) -> dict[str, float]:
                return {"x2": x * 2, "built": float(Count.built)}
        """,
    )
    found = prepared(source, tmp_path)
    twice, built = answers(found, np.array([1.0, 2.0]))
    assert twice.tolist() == [2.0, 4.0]
    assert built.tolist() == [1.0, 1.0]


@pytest.mark.proves("format:python", "streaming")
def test_generators_are_known_to_stream(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        "say.py",
        """
        def say(text: str):
            for word in text.split():
                yield word + "!"
        """,
    )
    found = prepared(source, tmp_path)
    assert found.bundle.facts["streams"] is True
    assert not found.signature.batched
    assert answers(found, texts("a b", "c"))[0].tolist() == [b"a!b!", b"c!"]
    assert pieces(found, texts("a b")) == [[b"a!"], [b"b!"]]
    assert pieces(found, texts("")) == []
    with pytest.raises(BadInput, match="one row piece by piece, and 2 are given"):
        pieces(found, texts("a", "b"))


def test_arrays_stream_and_a_piece_that_is_no_answer_ends_it(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        "steps.py",
        """
        from typing import Annotated
        import numpy as np
        def steps(x: Annotated[np.ndarray, "float32[N,2]"]):
            for at in range(3):
                x = x * 2
                yield {"x": x, "at": np.float32(at)}
            if x[0, 0] < 0:
                yield {"x": x[:, :1], "at": np.float32(9)}
        """,
    )
    found = prepared(source, tmp_path)
    row = np.ones((1, 2), np.float32)
    assert pieces(found, row) == [[[2, 2]], [[4, 4]], [[8, 8]]]
    with pytest.raises(ModelFailed, match="expected"):
        pieces(found, -row)


def test_the_words_of_a_function_for_bad_input(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        "root.py",
        """
        def root(x: float) -> float:
            if x < 0:
                raise ValueError("x is below zero")
            return x ** 0.5
        """,
    )
    found = prepared(source, tmp_path)
    with pytest.raises(BadInput, match="x is below zero"):
        answers(found, np.array([-1.0]))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("def f(x: float):\n    return x\n\nopen('/etc/passwd').read()", UnsafeFile, "sandbox forbids"),
        ("import nothing_like_this\n\ndef f(x: float):\n    return x", MissingExtra, "nothing_like_this"),
        ("def f(x: float:\n    return x", CorruptFile, "no Python"),
        ("def f():\n    return 1", NotConvertible, "no parameters"),
        ("def f(x: complex):\n    return 1", NotConvertible, "hinted complex"),
        ("async def f(x: float):\n    return 1", NotConvertible, "leave out async"),
        ("class F:\n    def run(self): ...", NotConvertible, "class without predict"),
        ("def f(x: float):\n    return None", NotConvertible, "answered None"),
        ("def f(x: float):\n    return {1: object()}", NotConvertible, "holds a object"),
        ("1/0\n\ndef f(x: float):\n    return 1", NotConvertible, "ZeroDivisionError"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_says_why(tmp_path: Path, text: str, error: type, message: str) -> None:
    source = write(tmp_path, "odd.py", text)
    with pytest.raises(error, match=message):
        prepared(source, tmp_path)


def test_code_is_bounded(tmp_path: Path) -> None:
    source = write(tmp_path, "big.py", "X = '" + "a" * (5 << 20) + "'\n")
    code = find_code(str(source))
    assert code is not None
    (tmp_path / "out").mkdir()
    with pytest.raises(TooLarge, match="4 MiB"):
        gather(code, tmp_path / "out")


def test_nothing_outside_of_the_folder_is_taken(tmp_path: Path) -> None:
    write(tmp_path, "secret.txt", "s")
    source = write(tmp_path, "in/code.py", "from .. import other\nA = '../secret.txt'\nB = '/etc/passwd'\n")
    code = find_code(str(source))
    assert code is not None
    (tmp_path / "out").mkdir()
    gather(code, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["code.py", "function.json"]
