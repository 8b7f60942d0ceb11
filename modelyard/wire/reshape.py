"""Outputs that go back as something else than their tensor: classifications, or written to shared memory.

One rule: an answer is reshaped into another answer, which the encoders write like any; they know only that an
output with a ``Span`` has no data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from msgspec.structs import replace as replace_fields

from modelyard.core.errors import BadInput
from modelyard.core.request import InferReply, WantedOutput
from modelyard.core.shared import Span
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.wire.binary import STEP_ITEMS, split_strings, view_flat, write_tensor
from modelyard.wire.classes import top_classes

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from modelyard.core.request import InferRequest
    from modelyard.core.tensor import Array


def is_reshaped(wanted: Sequence[WantedOutput]) -> bool:
    """Whether an output goes back as something else."""
    # A plain loop: this runs for every request that names its outputs, and a generator costs twice as much.
    for output in wanted:  # noqa: SIM110
        if output.top or output.place is not None:
            return True
    return False


def reshape(reply: InferReply, request: InferRequest) -> Generator[None, None, tuple[InferReply, Any]]:
    """The steps to the answer that is written, and the request that it answers.

    Nothing is written to a region before every output is known to fit.

    Raises:
        BadInput: a wanted output that the model does not have, or a place that is too small.
        TooLarge: too many classifications.
    """
    order = {spec.name: at for at, spec in enumerate(reply.signature.outputs)}
    specs, arrays, wanted = [], [], []
    writes: list[tuple[Any, list[bytes | memoryview]]] = []
    for output in request.wanted or ():
        spec, array = reply.signature.outputs[order[output.name]], reply.outputs[order[output.name]]
        kept = WantedOutput(output.name, output.binary)
        if output.top:
            array = yield from top_classes(array, reply.signature, spec, output.top)
            spec = TensorSpec(spec.name, DTYPES["BYTES"], (None,) * array.ndim)
        elif output.place is not None and not isinstance(output.place, Span):
            pieces: list[bytes | memoryview] = []
            for piece in raw_pieces(array):
                pieces.append(piece)
                yield
            span, size = output.place.span, sum(map(len, pieces))
            if size > span.size:
                raise BadInput(
                    f"output {spec.name!r} takes {size} bytes; its place in region {span.region[:80]!r} "
                    f"has {span.size}"
                )
            writes.append((output.place, pieces))
            kept.place = Span(span.region, span.offset, size)
        specs.append(spec)
        arrays.append(array)
        wanted.append(kept)
    for place, pieces in writes:
        yield from place.write(pieces)
    signature = replace(reply.signature, outputs=tuple(specs))
    shaped = InferReply(reply.model, reply.version, signature, tuple(arrays))
    return shaped, replace_fields(request, wanted=wanted)


def raw_pieces(array: Array) -> Iterable[bytes | memoryview]:
    """An array as the protocol carries it, in pieces that one step makes."""
    if array.dtype.kind == "O":
        return split_strings(array) if array.size > STEP_ITEMS else (write_tensor(array),)
    return (view_flat(array),)
