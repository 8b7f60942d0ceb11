"""SageMaker's contract for containers. Source: "Use your own inference code with hosting services".

    GET  /ping            200 while the models answer, else 503
    POST /invocations     any body; ``Accept`` says what comes back

The contract leaves the body to the container: JSON, CSV (without a header line, as SageMaker has it, or
with one), npy. On the inference port ``/invocations`` is MLflow's, except for what only SageMaker sends: its
own headers, or npy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.serve.dialects.dialect import Dialect, only, text_of
from modelyard.wire.dialects.bodies import media_of
from modelyard.wire.dialects.free import NPY, Free

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.serve.dialects.dialect import Handler
    from modelyard.serve.http import HttpCall

_OWN = frozenset(
    (
        b"x-amzn-sagemaker-custom-attributes",
        b"x-amzn-sagemaker-target-model",
        b"x-amzn-sagemaker-inference-id",
    )
)


class SageMaker(Dialect):
    """The contract."""

    name = "sagemaker"

    def read(self, parts: Sequence[str]) -> Handler | None:
        """What answers a path."""
        match list(parts):
            case ["ping"]:
                return self._ping
            case ["invocations"]:
                return self._invocations
        return None

    def takes(self, call: HttpCall) -> bool:
        """Whether only SageMaker sends such a call."""
        if call.path == b"/ping":
            return False
        kind = call.header(b"content-type")
        if kind is not None and b"npy" in kind.lower() and media_of(text_of(kind)) == NPY:
            return True
        return not _OWN.isdisjoint(call.head.headers)

    def _ping(self, call: HttpCall) -> None:
        only(call, b"GET", b"HEAD")
        call.respond(200 if self.plane.ready else 503, b"\n")

    def _invocations(self, call: HttpCall) -> None:
        named = text_of(call.header(b"x-amzn-sagemaker-target-model")).removesuffix(".tar.gz").strip("/")
        if named:
            route = self.route(named)
        else:
            route = self.one("name one in the header X-Amzn-SageMaker-Target-Model")
        self.infer(route, _codec, call)


def _codec(call: HttpCall) -> Free:
    return Free(text_of(call.header(b"content-type")), text_of(call.header(b"accept")), bare=False)
