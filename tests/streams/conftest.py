"""A plane that serves the talker, on a real host, behind real listeners; once for each gRPC engine."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "serve"))

from plane_running import Plane, until

from modelyard.flow import open_version, prepare
from modelyard.serve.grpc import ENGINES
from modelyard.wishes import Wishes


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


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    """The talker, made a model."""
    made = prepare(HERE / "talker.py", Wishes(), tmp_path_factory.mktemp("talker"), lambda text, share: None)
    assert made.bundle.facts["streams"] is True
    return made.bundle.folder


@pytest.fixture(scope="session", params=list(ENGINES))
def shared(request, bundle):
    with Talk(request.param) as plane:
        plane.open(bundle)
        yield plane


@pytest.fixture
def plane(shared):
    """Left as it was found."""
    yield shared
    until(shared.rests)


def words(*texts: str) -> np.ndarray:
    """A BYTES tensor."""
    out = np.empty(len(texts), dtype=object)
    out[:] = [text.encode() for text in texts]
    return out
