"""`--instances`: several model hosts behind one model, as a person asks for them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from serving import Yard, run

from modelyard.artifact.bundle import open_bundle

CODE = """
import os
import time

def who(x: float) -> dict[str, float]:
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass
    return {"y": 2 * x, "pid": float(os.getpid()) if x == 77.25 else 0.0}
"""


@pytest.fixture
def slow(tmp_path):
    path = tmp_path / "slow.py"
    path.write_text(CODE)
    return path


def children_of(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {child for task in tasks for child in (task / "children").read_text().split()}


def test_serve_answers_from_as_many_hosts_as_were_asked_for(slow, tmp_path):
    with Yard.start(slow, "--instances", "2", home=tmp_path) as yard:
        who = set()
        for count in range(1, 9):
            x = {"name": "x", "shape": [count], "datatype": "FP64", "data": [77.25] * count}
            status, answer = yard.post("/v2/models/slow/infer", {"inputs": [x]})
            assert status == 200, answer
            outputs = {one["name"]: one["data"] for one in answer["outputs"]}
            assert outputs["y"] == [154.5] * count
            who |= {str(int(pid)) for pid in outputs["pid"]}
        while len(found := children_of(yard.process.pid)) > 2:  # the child that prepared it is on its way out
            time.sleep(0.05)
        assert who == found
        assert len(found) == 2
    assert not any(os.path.exists(f"/proc/{pid}") for pid in found)


def test_a_pushed_version_keeps_its_number(slow, tmp_path):
    where = ("--home", tmp_path / "yard")
    done = run("push", slow, "--name", "slow", "--instances", "3", "--json", *where, home=tmp_path)
    assert done.returncode == 0, done.stderr
    digest = json.loads(done.stdout)["version"]["digest"]
    again = run("push", slow, "--name", "slow", "--json", *where, home=tmp_path)
    assert json.loads(again.stdout)["version"]["digest"] != digest
    (kept,) = [
        open_bundle(path.parent)
        for path in (tmp_path / "yard" / "compiled").rglob("manifest.json")
        if open_bundle(path.parent).digest == digest
    ]
    assert kept.facts["engine"] == {"instances": 3}


@pytest.mark.parametrize("verb", ["serve", "push"])
def test_a_graph_refuses_them_in_one_line(verb, files, tmp_path):
    done = run(verb, files / "sums.onnx", "--instances", "2", home=tmp_path)
    assert done.returncode == 78
    lines = [line for line in done.stderr.decode().splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "this model is a graph that runs in the server itself" in lines[0]
    assert "--native" in lines[0]
