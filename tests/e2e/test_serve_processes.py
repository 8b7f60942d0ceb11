"""`serve` is a worker and a job: what each holds, and what is left when one of them ends."""

import builtins
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from serving import MODELYARD, Yard, run

from modelyard.artifact.bundle import open_bundle, write_bundle
from modelyard.artifact.rows import pack_rows, unpack_rows

FOREIGN = ("sqlalchemy", "alembic", "starlette", "sklearn", "pandas", "skl2onnx", "onnx")


class Endless:
    """Pickles as a call that never ends."""

    def __reduce__(self):
        return builtins.exec, ("while True: pass",)


def stat_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def below(pid: int) -> list[int]:
    """All processes that one started, and those that they started; also those that nobody reaped."""
    every = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    parents = {one: int(stat[1]) for one in every if (stat := stat_of(one))}
    found, new = [], [pid]
    while new:
        new = [one for one, parent in parents.items() if parent in new]
        found += new
    return found


def lives(pid: int) -> bool:
    stat = stat_of(pid)
    return bool(stat) and stat[0] != "Z"


def until(what, seconds=30.0):
    stop = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < stop, "it did not come true"
        time.sleep(0.02)
    return found


def errors_of(stderr: bytes) -> list[str]:
    text = stderr.decode()
    assert "Traceback" not in text
    return [line for line in text.splitlines() if "error" in line.lower()]


@pytest.fixture
def preparing(tmp_path):
    """A `serve` whose model never ends opening: the process, its job, and everything below."""
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Endless()))
    command = [MODELYARD, "serve", path, "--http-port", "0", "--grpc-port", "0"]
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "MODELYARD_HOME": str(tmp_path / "home")},
        start_new_session=True,
    )
    # The job and, below it, the child that opens the file.
    family = until(lambda: found if len(found := below(process.pid)) >= 2 else None)
    time.sleep(1.0)  # the ports are bound by now, or soon after; both ways must end well
    yield process, family
    if process.poll() is None:
        process.kill()
    process.wait()
    process.stderr.close()


def test_the_serving_process_imports_no_registry_and_no_road():
    code = (
        "import sys, modelyard.console.cli.serve, modelyard.control.serving, modelyard.runtime.onnx\n"
        f"print([name for name in sys.modules if name.split('.')[0] in {FOREIGN}\n"
        "       or name in ('modelyard.flow', 'modelyard.deploy.yard', 'modelyard.store.index',\n"
        "                   'modelyard.compiler.rehearse')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert done.stdout.strip() == b"[]"


def test_the_job_imports_no_event_loop():
    code = "import sys, modelyard.control.serve_job; print({'asyncio', 'ssl'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert done.stdout.strip() == b"set()"


def test_nothing_is_left_of_the_job_once_the_model_serves(files, home):
    with Yard.start(files / "sums.onnx", home=home) as yard:
        until(lambda: not below(yard.process.pid), 10)
        status, answer = yard.post("/v2/models/sums/infer", _sums())
        assert (status, answer["model_version"], answer["outputs"][0]["data"]) == (200, "1", [6.0])
        assert yard.ready["version"] == "1"


def _sums():
    return {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_it_prepares_ends_it_and_all_below(preparing, number):
    process, family = preparing
    process.send_signal(number)
    assert process.wait(10) == 0
    until(lambda: not any(map(lives, family)), 10)
    assert errors_of(process.stderr.read()) == []


def test_a_second_interrupt_while_it_prepares_leaves_nothing(preparing):
    process, family = preparing
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) in (0, 130)
    until(lambda: not any(map(lives, family)), 10)


def test_a_killed_server_takes_its_job_along(preparing):
    process, family = preparing
    process.kill()
    process.wait()
    until(lambda: not any(map(lives, family)), 10)


def test_a_killed_job_is_one_clear_line(preparing):
    process, family = preparing
    (job,) = [pid for pid in family if stat_of(pid) and int(stat_of(pid)[1]) == process.pid]
    os.kill(job, signal.SIGKILL)
    assert process.wait(10) == 65
    (said,) = errors_of(process.stderr.read())
    assert said.startswith("error: ")
    assert "ended with code -9" in said
    until(lambda: not any(map(lives, family)), 10)


def test_a_model_that_answers_otherwise_than_recorded_does_not_serve(files, tmp_path):
    with Yard.start(files / "iris_model.pkl", home=tmp_path):
        pass
    (manifest,) = (tmp_path / "compiled").rglob("manifest.json")
    _lie(manifest.parent)
    done = run("serve", files / "iris_model.pkl", "--http-port", 0, "--grpc-port", 0, home=tmp_path)
    assert done.returncode == 70
    (said,) = errors_of(done.stderr)
    assert said.startswith("error: ")
    assert "the original gave" in said
    assert said.endswith("[model-failed]")


def _lie(folder):
    """The same bundle, but for the scores that it says the original gave."""
    bundle = open_bundle(folder)
    label, scores = unpack_rows(bundle.path("answers.bin").read_bytes())
    parts = {name: bundle.path(name).read_bytes() for name in bundle.parts}
    parts["answers.bin"] = pack_rows((label, np.roll(scores, 1, axis=1)))
    aside = folder.with_name("aside")
    write_bundle(aside, bundle.facts, parts)
    folder.rename(folder.with_name("before"))
    aside.rename(folder)
