"""Predict messages of a form that was read before: compared, not read.

One rule: clients repeat themselves. In two messages of one length that are equal before and after the values
of their only tensor, these values have the same place, datatype and shape; as they are fixed in size and any
bits are a number, there is nothing else to find out. Bounded, and only short heads are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from msgspec import Struct

from modelyard.core.request import InferRequest, WantedOutput

if TYPE_CHECKING:
    from modelyard.core.tensor import Array

_FORMS = 1024
_HEAD_BYTES = 1024
_SPEC = 0x0A
"""The tag of the model's spec, the first field of a message as every library writes it."""

SpecT = TypeVar("SpecT")


class Form(Struct, Generic[SpecT], frozen=True):
    """What messages of one length have in common.

    Args:
        head: the bytes before the values.
        tail: the bytes after them.
        spec: the model that they name.
        name: of the input.
        dtype: of the values.
        shape: of the input.
        wanted: names of the outputs that they ask for.
    """

    head: bytes
    tail: bytes
    spec: SpecT
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    wanted: tuple[str, ...]

    def request(self, payload: bytes) -> InferRequest:
        """The call in such a message; its array is a view."""
        array: Array = np.ndarray(self.shape, self.dtype, payload, len(self.head))
        wanted = [WantedOutput(name) for name in self.wanted] if self.wanted else None
        return InferRequest([self.name], [array], wanted=wanted)


class Forms(Generic[SpecT]):
    """The forms that were seen, one for each length and model."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, bytes], Form[SpecT]] = {}

    def find(self, payload: bytes) -> Form[SpecT] | None:
        """The form of a message, if it is known."""
        form = self._seen.get((len(payload), _spec(payload)))
        if form is not None and payload.startswith(form.head) and payload.endswith(form.tail):
            return form
        return None

    def learn(self, payload: bytes, spec: SpecT, request: InferRequest) -> None:
        """Remember the form of a message that was read, where it is one."""
        if len(request.arrays) != 1 or not payload or payload[0] != _SPEC:
            return
        array = request.arrays[0]
        if array.dtype.kind not in "fiu" or not array.size:
            return
        start = _address(array) - _address(np.frombuffer(payload, np.uint8))
        end = start + array.nbytes
        if not 0 < start <= end <= len(payload):  # its values were copied
            return
        if start + len(payload) - end > _HEAD_BYTES:
            return
        if len(self._seen) >= _FORMS:
            self._seen.clear()
        wanted = tuple(output.name for output in request.wanted or ())
        self._seen[len(payload), _spec(payload)] = Form(
            payload[:start], payload[end:], spec, request.names[0], array.dtype, array.shape, wanted
        )


def _spec(payload: bytes) -> bytes:
    """The bytes of the model's spec, where they stand first and are few: they part one model from another."""
    return payload[: 2 + payload[1]] if len(payload) > 2 and payload[1] < 128 else b""


def _address(array: Array) -> int:
    found: int = array.__array_interface__["data"][0]
    return found
