"""Model hosts in a real worker: deaths in mid-request, several hosts, memory that goes back to the system."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException
from worker_parts import WHOLE, WorkerProcess, states

from modelyard.core.errors import BadConfig, CorruptFile
from modelyard.flow import Wishes, open_version, prepare
from modelyard.kept import with_engine, with_instances
from modelyard.serve.link import WantedModel, WantedSplit, WantedVersion

ENTRY = ("-m", "modelyard.control.worker")
BALLAST = 64 << 20
CODE = f"""
import os
import time
from typing import Annotated

import numpy

BALLAST = numpy.ones({BALLAST} // 8)


def predict(x: Annotated[numpy.ndarray, "float64[N,2]"]):
    while x[0, 0] == -1:
        pass
    while x[0, 0] == -2 and time.process_time() < x[0, 1]:
        pass
    who = numpy.where(x[:, 1] == 7, os.getpid(), 0)  # the recorded rows get an answer that is always the same
    return {{"y": x * 2 + BALLAST[0] - 1, "who": who}}
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("native")
    path = folder / "doubles.py"
    path.write_text(CODE)
    rows = folder / "rows.json"
    rows.write_text(json.dumps([[1.0, 2.0], [3.0, 4.0]]))
    found = prepare(path, Wishes(sample=rows), folder / "cache", lambda *_: None)
    assert found.report.road == "python"
    return found.bundle


def wanted(bundle, number=1):
    size = sum(path.stat().st_size for path in bundle.folder.rglob("*") if path.is_file())
    version = WantedVersion(number, bundle.digest, str(bundle.folder), size)
    return WantedModel("doubles", number, (version,), WantedSplit((number,), (WHOLE,)))


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    with WorkerProcess(tmp_path_factory.mktemp("worker"), main=ENTRY) as running:
        yield running


@pytest.fixture(params=[1, 2])
def served(worker, bundle, request):
    """The worker with the model in one host or two, and its processes."""
    actual = worker.control.serve(wanted(with_instances(bundle, request.param)))
    assert list(states(actual).values()) == ["serving"], actual
    pids = hosts_of(worker)
    assert len(pids) == request.param
    yield worker
    worker.control.serve()
    assert hosts_of(worker) == set()


def hosts_of(worker) -> set[int]:
    """The model hosts below a worker."""
    pid = worker.process.pid
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"modelyard.sandbox.boot" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.add(int(child))
    return found


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def until(holds, within_s=60.0):
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def rest(worker, first=1.0):
    """One V2 request: status, and the answer's rows and process or the error."""
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=60)
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [first, 7.0]}]}
    try:
        connection.request("POST", "/v2/models/doubles/infer", json.dumps(body))
        answer = connection.getresponse()
        found = json.loads(answer.read())
    finally:
        connection.close()
    if answer.status != 200:
        return answer.status, found["error"]
    outputs = {one["name"]: one["data"] for one in found["outputs"]}
    assert outputs["y"] == [2 * first, 14.0]
    return 200, outputs["who"][0]


def rpc(worker, first=1.0):
    """The same over gRPC, by the protocol's own client."""
    x = triton.InferInput("x", [1, 2], "FP64")
    x.set_data_from_numpy(np.array([[first, 7.0]]))
    with triton.InferenceServerClient(f"127.0.0.1:{worker.hello.grpc_port}") as client:
        try:
            answer = client.infer("doubles", [x], client_timeout=60)
        except InferenceServerException as error:
            return error.status(), error.message()
    return 200, int(answer.as_numpy("who")[0])


def ticks(pid: int) -> int:
    """Processor time of a process, in hundredths of a second."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def busy_host(before: dict[int, int]) -> int:
    """The host that has worked for a tenth of a second since."""
    found = []

    def one_works() -> bool:
        found[:] = [pid for pid, spent in before.items() if ticks(pid) >= spent + 10]
        return bool(found)

    until(one_works)
    (pid,) = found
    return pid


@pytest.mark.parametrize(
    ("ask", "code"), [(rest, 503), (rpc, "StatusCode.UNAVAILABLE")], ids=["rest", "grpc"]
)
def test_a_host_killed_in_mid_request_is_a_clear_503_and_a_new_one_answers(served, ask, code):
    before = {pid: ticks(pid) for pid in hosts_of(served)}
    heard = []
    asking = threading.Thread(target=lambda: heard.append(ask(served, -1.0)))
    asking.start()
    held = busy_host(before)
    if len(before) > 1:
        assert {rest(served)[1] for _ in range(3)} == set(before) - {held}, "the others go on"
    os.kill(held, signal.SIGKILL)
    asking.join(60)
    ((status, message),) = heard
    assert status == code
    assert "the process that runs this model ended; it is being restarted, try again" in message
    assert "SIGKILL" not in message
    status, who = ask(served)
    assert (status, who != held) == (200, True)
    until(lambda: len(hosts_of(served)) == len(before))
    assert held not in hosts_of(served)


def test_two_hosts_share_the_requests_and_the_rows_go_home(worker, bundle):
    worker.control.serve(wanted(with_instances(bundle, 2)))
    pids = hosts_of(worker)
    heard = []
    callers = [
        threading.Thread(target=lambda at=at: heard.extend(rest(worker, 10.0 * at + n) for n in range(20)))
        for at in range(1, 5)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert [status for status, _ in heard] == [200] * 80
    assert {who for _, who in heard} == pids


def test_what_is_measured_counts_every_host(worker, bundle):
    sizes = {}
    for instances in (1, 2):
        actual = worker.control.serve(wanted(with_instances(bundle, instances)))
        (copy,) = actual.copies
        held = sum(map(resident, hosts_of(worker)))
        assert copy.size_bytes > 0.8 * held
        sizes[instances] = copy.size_bytes
    assert sizes[2] - sizes[1] > BALLAST


def test_unloading_gives_everything_back_to_the_system(worker, bundle):
    worker.control.serve(wanted(bundle))
    for _ in range(50):
        rest(worker)
    worker.control.serve()
    shared, before = set(os.listdir("/dev/shm")), resident(worker.process.pid)
    files = len(os.listdir(f"/proc/{worker.process.pid}/fd"))
    for _ in range(3):
        worker.control.serve(wanted(with_instances(bundle, 2)))
        hosts = hosts_of(worker)
        assert len(hosts) == 2
        assert min(map(resident, hosts)) > BALLAST
        assert rest(worker)[0] == 200
        assert set(os.listdir("/dev/shm")) == shared, "tensors travel through files without a name"
        worker.control.serve()
        assert all(map(gone, hosts))
        assert rest(worker)[0] == 404
    assert resident(worker.process.pid) - before < 8 << 20
    until(lambda: len(os.listdir(f"/proc/{worker.process.pid}/fd")) <= files)
    assert not [name for name in mapped_by(worker) if "memfd:modelyard" in name]


def mapped_by(worker) -> list[str]:
    """What the worker holds of shared memory: open or mapped."""
    pid = worker.process.pid
    held = Path(f"/proc/{pid}/maps").read_text().splitlines()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            held.append(os.readlink(entry))
        except FileNotFoundError:
            continue
    return held


def test_a_graph_has_no_hosts(tmp_path, files):
    found = prepare(files / "sums.onnx", Wishes(), tmp_path, lambda *_: None)
    with pytest.raises(BadConfig, match=r"^--instances 2 starts model hosts, and this model is a graph"):
        with_instances(found.bundle, 2)
    assert with_instances(found.bundle, 1) is found.bundle


@pytest.mark.parametrize("many", [0, -1, 65, 1 << 70, "2", 2.0, True, None])
def test_a_bundle_cannot_ask_for_more_than_there_is(bundle, tmp_path, many):
    odd = with_engine(bundle, {"instances": many}, tmp_path / "odd")
    with pytest.raises(CorruptFile, match="1 to 64 can be had"):
        open_version(odd.folder)


def test_the_count_is_part_of_the_version(bundle):
    two = with_instances(bundle, 2)
    assert two.digest != bundle.digest
    assert with_instances(bundle, 2).digest == two.digest
    assert two.facts == {**bundle.facts, "engine": {"instances": 2}}
