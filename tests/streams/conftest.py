"""A plane that serves the talker, on a real host, behind real listeners; once for each gRPC engine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "serve"))

from plane_running import until
from talking import Talk

from modelyard.flow import prepare
from modelyard.serve.grpc import ENGINES
from modelyard.wishes import Wishes


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    """The talker, made a model."""
    made = prepare(HERE / "talker.py", Wishes(), tmp_path_factory.mktemp("talker"), lambda text, share: None)
    assert made.bundle.facts["streams"] is True
    return made.bundle.folder


@pytest.fixture(scope="module", params=list(ENGINES))
def shared(request, bundle):
    """Ended with its module: other tests count the threads of this process."""
    with Talk(request.param) as plane:
        plane.open(bundle)
        yield plane


@pytest.fixture
def plane(shared):
    """Left as it was found."""
    yield shared
    until(shared.rests)
