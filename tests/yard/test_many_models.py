"""A thousand small models on one host, most of them asleep."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from numbered import adder
from ups import Up

from modelyard.client import Client
from modelyard.deploy.plan import Order
from modelyard.deploy.yard import Yard
from modelyard.flow import Wishes, prepare

MODELS = 1000


@pytest.fixture(scope="module")
def home():
    """In memory where there is room: two thousand transactions would wait for a disk."""
    place = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=place if os.access(place, os.W_OK) else None, prefix="yard-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def up(home):
    bundles = [
        prepare(
            adder(home / f"adder{number}.onnx", number), Wishes(), home / "compiled", lambda *_: None
        ).bundle
        for number in range(1, 5)
    ]
    with Yard.open(home) as yard:
        for count in range(MODELS):
            name = f"adder-{count:04d}"
            yard.push(bundles[count % 4], name, "", "test")
            yard.order(name, Order("release", 1), "test")
    with Up(home, "--memory-budget", "24MiB", "--pin", "adder-0007") as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_model_answers_and_few_are_loaded(up):
    listed = json.loads(up.run("list", "--json", check=True).stdout)
    assert len(listed if isinstance(listed, list) else listed["models"]) == MODELS
    draw = np.random.default_rng(5)
    with Client(up.http) as client:
        for count in draw.integers(0, MODELS, 200):
            told = client.predict(f"adder-{count:04d}", [[1.0, 1.0]])
            assert np.allclose(told.outputs["y"], 1.0 + count % 4 + 1)
    with up.admin() as admin:
        states = {copy.model: copy.state for copy in admin.copies()}
    assert states["adder-0007"] == "serving"
    assert sum(state == "serving" for state in states.values()) < MODELS
