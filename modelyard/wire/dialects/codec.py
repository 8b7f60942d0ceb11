"""What every text dialect has of a call: how its body is read, and how its answer is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelyard.core.limits import WireLimits
    from modelyard.core.request import InferReply, InferRequest
    from modelyard.core.signature import Signature
    from modelyard.wire.binary import Buffer

SHORT_TYPES = ("application/json", "")
"""What short rows of numbers come as; whatever else is looked at with care."""


class Codec(ABC):
    """One call's body, both ways.

    Attributes:
        form: in which of the protocol's forms the request came, once it is read; the answer has the same.
    """

    __slots__ = ("form",)

    def __init__(self) -> None:
        self.form = ""

    @property
    def alike(self) -> str:
        """What short requests are remembered under; "": they are not.

        One that differs from them in its numbers only is read like them, and answered in the same form.
        """
        return ""

    @property
    def content_type(self) -> bytes:
        """Of the answer."""
        return b"application/json"

    @abstractmethod
    def read(
        self, body: Buffer, signature: Signature, limits: WireLimits
    ) -> InferRequest | Generator[None, None, InferRequest]:
        """The request, or the steps to it; raises ``CallerError``."""

    @abstractmethod
    def write(self, reply: InferReply) -> bytes | Generator[None, None, bytes]:
        """The body of the answer, or the steps to it; raises ``CallerError``."""
