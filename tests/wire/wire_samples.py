"""What the wire tests share: signatures, arrays of every datatype, and strategies for them."""

import numpy as np
from hypothesis import strategies as st

from modelyard.core.limits import WireLimits
from modelyard.core.request import InferReply, InferRequest
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.wire.binary import finish

LIMITS = WireLimits()
IRIS = Signature(
    (TensorSpec("X", DTYPES["FP32"], (None, 4), ("a", "b", "c", "d")),),
    (TensorSpec("label", DTYPES["BYTES"], (None,)), TensorSpec("scores", DTYPES["FP32"], (None, 3))),
    task="classifier",
    label="label",
    scores="scores",
    classes=("setosa", "versicolor", "virginica"),
)
TABLE = Signature(
    (
        TensorSpec("age", DTYPES["INT64"], (None, 1)),
        TensorSpec("income", DTYPES["FP64"], (None, 1)),
        TensorSpec("city", DTYPES["BYTES"], (None, 1)),
    ),
    (TensorSpec("y", DTYPES["FP64"], (None, 1)),),
    task="regressor",
    label="y",
)


def run(decoded):
    """The value of a decoder, however it gives it."""
    return finish(decoded) if hasattr(decoded, "send") else decoded


def same(one, other):
    """Whether two arrays are the same in datatype, shape and every bit (NaN and -0.0 included)."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.kind == "O":
        return one.ravel().tolist() == other.ravel().tolist()
    return np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(other).tobytes()


def signature_of(array, name="x"):
    """A signature whose one input and one output are like this array."""
    row = next(row for row in DTYPES.values() if row.numpy == array.dtype)
    spec = TensorSpec(name, row, (None,) * array.ndim)
    return Signature((spec,), (spec,))


def reply_of(*arrays):
    """An answer of these arrays, its outputs named y0, y1, ..."""
    specs = []
    for at, array in enumerate(arrays):
        row = next(row for row in DTYPES.values() if row.numpy == array.dtype)
        specs.append(TensorSpec(f"y{at}", row, (None,) * array.ndim))
    return InferReply("m", "3", Signature((), tuple(specs)), arrays)


def request(**more):
    """A request without inputs."""
    return InferRequest([], [], **more)


def _items(row):
    if row.kind == "bytes":
        return st.text(max_size=6).map(str.encode)
    if row.kind == "bool":
        return st.booleans()
    if row.kind == "int":
        info = np.iinfo(row.numpy)
        return st.integers(int(info.min), int(info.max))
    return st.floats(width=row.size * 8, allow_nan=False, allow_infinity=False)


@st.composite
def tensors(draw, dtypes=tuple(DTYPES), max_axes=3):
    """Arrays of any datatype and shape; floats are finite."""
    row = DTYPES[draw(st.sampled_from(dtypes))]
    shape = tuple(draw(st.lists(st.integers(0, 5), min_size=1, max_size=max_axes)))
    count = int(np.prod(shape))
    items = draw(st.lists(_items(row), min_size=count, max_size=count))
    out = np.empty(count, row.numpy)
    out[:] = items
    return out.reshape(shape)


def plain_values(array, nested):
    """An array as JSON takes it."""
    values = array if nested else array.ravel()
    if array.dtype.kind != "O":
        return values.tolist()
    out = np.empty(values.size, object)
    out[:] = [item.decode() for item in values.ravel()]
    return out.reshape(values.shape).tolist()
