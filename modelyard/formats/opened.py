"""What a loader is asked, and what it answers when it knows the whole model itself.

A loader is one function ``(path, ask) -> (object, notes)``, a row of ``FORMATS``, and runs in the child only.
It may answer any object with ``predict`` or ``transform``: ``estimator/study.py`` finds out the rest. Or it
answers an ``OpenedModel``, which says for itself what it takes and gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from msgspec import Struct, field

from modelyard.core.tensor import Array
from modelyard.formats.estimator.study import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelyard.core.profile import Profile
    from modelyard.core.signature import Signature


class Ask(Struct, frozen=True):
    """What the operator said about a file.

    Args:
        trusted: types that a skops file may build besides the reviewed ones.
        options: what else was said, plain JSON values: ``input`` (``name:dtype[shape]`` lines), ``module``.
        sample: real rows, for models that do not say what they take.
        tensor: the same where they are one array of more than two axes.
    """

    trusted: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    sample: Sample | None = None
    tensor: Array | None = None


@runtime_checkable
class OpenedModel(Protocol):
    """A model that describes itself."""

    signature: Signature
    profile: Profile

    def describe(self) -> dict[str, Any]:
        """Plain facts for a report; "class" must be among them."""

    def predict(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """The original's own answer to rows that fit the signature.

        Raises:
            BadInput: rows that it does not take.
            ModelFailed: the model raised.
        """

    def convert(self) -> bytes:
        """The ONNX graph, with exactly this signature.

        Raises:
            NotConvertible: why there is none.
        """


@runtime_checkable
class Streaming(Protocol):
    """An opened model that can answer piece by piece; ``describe()["streams"]`` says whether it does."""

    def stream(self, inputs: Sequence[Array]) -> Iterator[tuple[Array, ...]]:
        """Each piece when it is made, as the signature says; closing the iterator ends the work.

        Raises:
            BadInput: rows that it does not take.
            ModelFailed: the model raised.
        """
