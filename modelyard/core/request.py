"""A decoded inference call and its answer, the same for every protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelyard.core.shared import Place, Span
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array


@dataclass(slots=True)
class WantedOutput:
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


@dataclass(slots=True)
class InferRequest:
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


@dataclass(slots=True)
class InferReply:
    """One answer, in the order of ``signature.outputs`` (all of them; codecs pick the wanted ones)."""

    model: str
    version: str
    signature: Signature
    outputs: tuple[Array, ...]
