"""A plane that serves a model that streams, and asks its host what has ended there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from plane_running import Plane

from modelyard.flow import open_version


class Talk(Plane):
    """Serves ``talk`` and ``double``; ``closed`` asks the host which answers have ended."""

    def open(self, folder: Path) -> None:
        opened = open_version(folder)
        self.host = opened.runner
        talk = self.slot("talk", "1", signature=opened.signature, runner=opened.runner)
        self.publish(talk, self.slot("double", "2"))
        self.batcher = talk.batcher

    def __exit__(self, *whatever: object) -> None:
        super().__exit__(*whatever)
        self.host.close()

    def closed(self) -> list[str]:
        """The first words of the texts whose generators have ended."""
        (text,) = self.host_says("closed")
        return text.split()

    def host_says(self, text: str) -> list[str]:
        """The whole answer, by the unary road."""
        status, found = self.ask("POST", "/v2/models/talk/generate", f'{{"text": "{text}"}}')
        assert status == 200, found
        return [found["prediction"]]

    def rests(self) -> bool:
        """Nothing runs, waits or is held."""
        return self.do(lambda: not (self.batcher.in_flight or self.batcher.waiting))


def words(*texts: str) -> np.ndarray:
    """A BYTES tensor."""
    out = np.empty(len(texts), dtype=object)
    out[:] = [text.encode() for text in texts]
    return out
