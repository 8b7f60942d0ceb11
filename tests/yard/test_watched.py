"""A real `up --watch`: both layouts side by side, policies, and what is wrong with a file said by name."""

from __future__ import annotations

import json

import pytest
from numbered import adder
from ups import Up, until

from modelyard.client import Client
from modelyard.core.errors import ModelyardError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def put(folder, version, number):
    place = folder / str(version)
    place.mkdir(parents=True)
    return adder(place / "model.onnx", number)


def answer(up, model):
    """What is added to 1; None when nobody answers."""
    with Client(up.http) as client:
        try:
            told = client.predict(model, [[1.0, 1.0]])
        except ModelyardError:
            return None
    return float(told.outputs["y"][0][0]) - 1.0


def test_named_versions_of_a_policy_are_served_and_no_others(tmp_path):
    models = tmp_path / "models"
    for version in (1, 2, 3):
        put(models / "plain", version, version)
    put(models / "own", 1, 1)  # the same file as plain's, prepared at the same time
    put(models / "own", 2, 2)
    (models / "own/config.pbtxt").write_text("version_policy { specific { versions: [1] } }\n")
    put(models / "wrong", 1, 1)
    (models / "wrong/config.pbtxt").write_text('name: "wrong"\nmax_batch_sizes: 4\n')
    with Up(tmp_path / "home", "--watch", models, "--version-policy", "1,3", "--workers", "2") as up:

        def pushed(model):
            return len(json.loads(up.run("show", model, "--json", check=True).stdout)["versions"])

        assert (answer(up, "plain"), pushed("plain")) == (3.0, 2)
        assert (answer(up, "own"), pushed("own")) == (1.0, 1)
        assert answer(up, "wrong") is None
        with up.admin() as admin:
            (said,) = until(lambda: [one for one in admin.health().problems if "wrong" in one])
        assert "wrong/config.pbtxt, line 2" in said
        assert "max_batch_sizes" in said
        # Mended, and a new one beside it: both are followed without a restart.
        (models / "wrong/config.pbtxt").write_text('name: "wrong"\nmax_batch_size: 4\n')
        until(lambda: answer(up, "wrong") == 1.0)
        put(models / "late", 1, 7)
        until(lambda: answer(up, "late") == 7.0)
        said = "late: version 3 is named by its policy and not there"
        with up.admin() as admin:
            until(lambda: [one.removeprefix("watched folder: ") for one in admin.health().problems] == [said])
