"""The original behind a model file, held open in a sandboxed child.

One rule: this process never builds what the file holds. It sends a path and rows, and gets back names,
numbers and bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from msgspec import Struct
from msgspec.structs import replace

from modelyard.core.errors import NotConvertible
from modelyard.core.form import Form
from modelyard.core.profile import Profile
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array
from modelyard.formats.inflate import check_end
from modelyard.formats.opening import opening
from modelyard.formats.rows import typed
from modelyard.sandbox.child import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from modelyard.formats.rows import Rows
    from modelyard.formats.sniff import Sniffed
    from modelyard.sandbox.policy import Policy

TARGET = "modelyard.formats.child:verbs"
"""What a child runs to open and convert."""


def open_values(
    path: Path,
    sniffed: Sniffed,
    *,
    sample: Rows | None = None,
    trusted_types: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], list[Array]]:
    """The call "open" of either target: its values and arrays."""
    names, columns = sample_columns(sample)
    return opening(path, sniffed.format, names, trusted_types, options), columns


def sample_columns(sample: Rows | None) -> tuple[list[str] | None, list[Array]]:
    """What a child sees of a sample: the names of the columns and their first rows.

    No names and one array are rows of one tensor; no names and no array: there is no sample.
    """
    if sample is None:
        return None, []
    if sample.tensor is not None:
        return None, [sample.tensor[:TENSOR_ROWS]]
    columns = typed(sample)
    return list(columns.names), [column[:SAMPLE_ROWS] for column in columns.columns]


TENSOR_ROWS = 4
SAMPLE_ROWS = 256
"""How many rows of a sample the child sees; it needs kinds and ranges, not the data."""
FAST_S = 120.0
"""How long the framework may take to make its fast form."""


class Original(Struct):
    """An open model file; close it, or use it in a ``with`` block.

    Args:
        description: plain facts for a report: class, library, versions, steps, task, classes, columns.
        signature: what it takes and gives.
        profile: what it remembers of its columns.
        notes: what a person should know, one sentence each.
        training_rows: rows of the training set that the model kept, as its one input; None when it kept none.
    """

    description: dict[str, Any]
    signature: Signature
    profile: Profile
    notes: tuple[str, ...]
    training_rows: Array | None
    _child: Child

    @classmethod
    def open(
        cls,
        path: Path,
        sniffed: Sniffed,
        *,
        policy: Policy,
        sample: Rows | None = None,
        trusted_types: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        trust: bool = False,
        on_progress: Callable[[str, float | None], None] | None = None,
    ) -> Self:
        """Open a pickle, joblib, cloudpickle or skops file in a child.

        Args:
            path: the file.
            sniffed: what ``sniff`` said of it.
            policy: limits of the child; reading the file itself is added to it.
            sample: rows from the user, for models that do not say what they take.
            trusted_types: types that a skops file may build besides the reviewed ones.
            options: what the operator said of the file, see ``opened.Ask``.
            trust: open it even where the kernel cannot confine a child.
            on_progress: hears what is being done.

        Raises:
            FileError: the file cannot be opened or served; the message says why.
            SandboxUnavailable: no confinement here, and no ``trust``.
        """
        if sniffed.format == "onnx":
            raise NotConvertible(f"{path} is ONNX already; it is served as it is")
        where = path.resolve()
        if sniffed.format == "joblib":
            check_end(path)
        values, arrays = open_values(
            where, sniffed, sample=sample, trusted_types=trusted_types, options=options
        )
        child = Child.start(TARGET, replace(policy, read=(*policy.read, where)), trust=trust)
        try:
            reply = child.call("open", values, arrays, on_progress=on_progress)
        except BaseException:
            child.close()
            raise
        return cls(
            reply.values["description"],
            Signature.from_json(reply.values["signature"]),
            Profile.from_json(reply.values["profile"]),
            tuple(reply.values["notes"]),
            reply.arrays[0] if reply.arrays else None,
            child,
        )

    def convert(self) -> bytes:
        """The ONNX graph, with exactly this signature.

        Raises:
            NotConvertible: why there is none.
        """
        return self._child.call("convert", {}).arrays[0].tobytes()

    def predict(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """The original's own answer to rows that fit the signature.

        Raises:
            ModelFailed: the model raised.
        """
        return tuple(self._child.call("predict", {}, inputs).arrays)

    def make_fast(self) -> Form:
        """Make the framework's form of it that answers sooner; one without a name where there is none.

        Raises:
            ModelFailed: the framework raised.
            ChildFailed: it took the child with it.
        """
        found = self._child.call("fast", {}, timeout_s=FAST_S).values
        return Form(str(found["what"]), tuple(int(size) for size in found["sizes"]), float(found["gain"]))

    def predict_fast(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """The answer of that form.

        Raises:
            ModelFailed: it raised.
        """
        return tuple(self._child.call("predict", {"fast": True}, inputs).arrays)

    def close(self) -> None:
        """End the child."""
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
