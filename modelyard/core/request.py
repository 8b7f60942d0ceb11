"""A decoded inference call and its answer, the same for every protocol."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from msgspec import Struct

from modelyard.core.shared import Place, Span
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array


class WantedOutput(Struct):
    """One output that the caller asked for.

    Args:
        name: the output.
        binary: raw bytes (True), JSON (False), or as the request says (None).
        top: give that many classifications instead of the tensor; 0 gives the tensor.
        place: where it is written instead of sent; a ``Span`` is where it has been written.
    """

    name: str
    binary: bool | None = None
    top: int = 0
    place: Place | Span | None = None


class Bound:
    """What was found when requests of one form were bound to a signature before.

    Args:
        state: their protocol, and what its reader keeps of each of them for the answer.

    Attributes:
        signature: which one; None: none yet.
        rows: how many each of them brings.
    """

    __slots__ = ("rows", "signature", "state")

    def __init__(self, state: tuple[str, Hashable]) -> None:
        self.signature: Signature | None = None
        self.rows = 0
        self.state = state


class InferRequest(Struct):
    """One decoded call; ``names[i]`` belongs to ``arrays[i]``.

    Args:
        names: input names in the order of the request.
        arrays: C-contiguous arrays, already of the stated datatype and shape.
        id: echoed in the answer.
        wanted: the outputs asked for; None is all of them.
        binary: outputs go back as raw bytes unless they say otherwise.
        priority: 0 is normal, 1 is urgent.
        timeout_s: how long the caller will wait; None is the server's own limit.
        parameters: what else the request carried (already without the reserved keys).
        key: what the caller wants to be sticky by, where several versions share the traffic.
        bound: of requests like it in all but the numbers of their one input; None: it is like no other.
    """

    names: list[str]
    arrays: list[Array]
    id: str | None = None
    wanted: list[WantedOutput] | None = None
    binary: bool = False
    priority: int = 0
    timeout_s: float | None = None
    parameters: Mapping[str, Any] | None = None
    key: bytes | None = None
    bound: Bound | None = None


class Together:
    """What one run gave to several requests of one row each, in the order of the rows.

    Attributes:
        outputs: of all of them.
        columns: by output, what its elements are as text in each row; empty: they cannot be said.
        texts: by protocol, the whole answer to each row; empty: they must be written one by one.
    """

    __slots__ = ("columns", "outputs", "texts")

    def __init__(self, outputs: tuple[Array, ...]) -> None:
        self.outputs = outputs
        self.columns: dict[int, list[bytes]] = {}
        self.texts: dict[Hashable, list[bytes]] = {}


class InferReply(Struct):
    """One answer, in the order of ``signature.outputs`` (all of them; codecs pick the wanted ones)."""

    model: str
    version: str
    signature: Signature
    outputs: tuple[Array, ...]
