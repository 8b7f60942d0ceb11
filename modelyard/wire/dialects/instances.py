"""KServe V1 and Vertex AI: ``{"instances": rows}`` -> ``{"predictions": rows}``.

Sources: KServe's "Data Plane (V1)", Vertex AI's "Custom container requirements for prediction".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.core.errors import BadRequest
from modelyard.wire.dialects.answers import encode_rows, only_output
from modelyard.wire.dialects.bodies import check_json, check_length, parse_object
from modelyard.wire.dialects.codec import SHORT_TYPES, Codec
from modelyard.wire.dialects.rows import read_long, read_rows, request_of
from modelyard.wire.plain_rows import column_names, from_rows
from modelyard.wire.quick import Members

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelyard.core.limits import WireLimits
    from modelyard.core.request import InferReply, InferRequest
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array
    from modelyard.wire.binary import Buffer


_QUICK = Members(("instances",), {"parameters": dict | None})


class Instances(Codec):
    """``{"instances": rows}`` -> ``{"predictions": rows}``; ``parameters`` are taken and unused."""

    __slots__ = ("_content_type", "_parameters")

    def __init__(self, content_type: str, parameters: bool = False) -> None:
        Codec.__init__(self)
        self._content_type = content_type
        self._parameters = parameters

    @property
    def alike(self) -> str:
        """KServe's and Vertex AI's."""
        return "instances" if self._content_type in SHORT_TYPES else ""

    def read(
        self, body: Buffer, signature: Signature, limits: WireLimits
    ) -> InferRequest | Generator[None, None, InferRequest]:
        """Read the body, at once or in steps.

        Raises:
            CallerError: not a request that this model takes.
        """
        check_json(self._content_type, "this protocol")
        check_length(body, limits)
        if len(body) > limits.step_bytes:
            return read_long(
                body, signature, limits, self._key, lambda value: self._arrays(value, signature, limits)
            )
        quick = _QUICK.read(body, signature) if signature.batched else None
        if quick is not None:
            return request_of(signature, [quick[1]])
        return request_of(signature, self._arrays(parse_object(body, limits), signature, limits))

    def _key(self, members: Any) -> str:
        if type(members) is not dict:
            raise BadRequest("the body must be a JSON object")
        if "instances" not in members:
            raise BadRequest("the request has no 'instances'; give a list of them")
        if type(members.get("parameters", {})) not in (dict, type(None)):
            raise BadRequest("'parameters' must be an object")
        return "instances"

    def _arrays(self, members: Any, signature: Signature, limits: WireLimits) -> list[Array]:
        value = members[self._key(members)]
        columns = column_names(signature)
        if len(signature.inputs) > 1 and columns and type(value) is list and value and type(value[0]) is list:
            return from_rows(value, signature)
        return read_rows(value, signature, limits)

    def write(self, reply: InferReply) -> bytes | Generator[None, None, bytes]:
        """One prediction a row: what the model says, without the scores beside it."""
        return encode_rows(only_output(reply, reply.signature.label), bare=False)
