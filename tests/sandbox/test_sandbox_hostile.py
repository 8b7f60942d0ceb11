"""Hostile code in a real child: nothing happens outside, and each attempt ends in one clear line."""

from __future__ import annotations

import os
import pickle
import socket
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
from sandbox_payloads import FORGERIES

from modelyard.core.errors import BadInput, ChildFailed, ModelFailed, ModelyardError
from modelyard.sandbox.child import Child
from modelyard.sandbox.policy import Policy

TARGET = "sandbox_payloads:verbs"


@pytest.fixture
def start():
    """Start children that cannot outlive the test."""
    children = []

    def begin(**limits):
        child = Child.start(TARGET, Policy(**limits))
        children.append(child)
        return child

    yield begin
    for child in children:
        child.close()


def refused(findings: dict) -> dict:
    """What was not refused."""
    return {name: found for name, found in findings.items() if str(found).startswith(("done", "0"))}


def facts(path: Path) -> tuple[int, ...]:
    """What meddling would change."""
    found = path.stat()
    return found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns, found.st_nlink


def test_the_child_holds_nothing_of_the_parent(start, monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    with open(tmp_path / "open_in_parent", "w") as stream:
        os.set_inheritable(stream.fileno(), True)
        found = start(write=tmp_path, threads=2).call("about").values
    assert set(found["environment"]) == {
        "LANG", "HOME", "TMPDIR", "JOBLIB_MULTIPROCESSING",
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
        "KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "TORCHINDUCTOR_CACHE_DIR",
        "HF_HUB_OFFLINE",
    }  # fmt: skip
    assert found["environment"]["OMP_NUM_THREADS"] == "2"
    kinds = sorted(found["fds"].values())
    # stdin is /dev/null, stdout and stderr are the pipe; then the channel and two maps of the memory file.
    assert found["fds"]["0"] == stat.S_IFCHR
    assert found["fds"]["1"] == found["fds"]["2"] == stat.S_IFIFO
    assert kinds == sorted([stat.S_IFCHR, *[stat.S_IFIFO] * 2, stat.S_IFSOCK, *[stat.S_IFREG] * 2])
    assert found["status"] == {
        "CapEff": "0" * 16,
        "CapPrm": "0" * 16,
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }
    assert (found["dumpable"], found["core"], found["session"], found["isolated"]) == (0, 0, True, 1)


def test_files_that_were_not_granted_cannot_be_read(start, tmp_path):
    secret, granted = tmp_path / "secret.txt", tmp_path / "granted.txt"
    secret.write_text("hunter2")
    granted.write_text("fine")
    link = tmp_path / "link"
    link.symlink_to(secret)
    ppid = os.getpid()
    paths = [str(secret), str(link), f"{granted.parent}/../{tmp_path.name}/secret.txt"]
    paths += [
        "/etc/shadow",
        "/etc/passwd",
        f"/proc/{ppid}/environ",
        f"/proc/{ppid}/cmdline",
        "/proc/1/environ",
    ]
    paths += [
        f"/proc/self/root{secret}",
        f"/proc/self/cwd{secret}",
        str(Path(__file__).parents[2] / "Makefile"),
    ]
    child = start(read=(granted,))
    found = child.call("read_files", {"paths": [*paths, str(granted)]}).values
    assert found.pop(str(granted)) == "done: b'fine'"
    assert set(found.values()) == {"PermissionError:13"}


def test_a_granted_link_grants_its_goal_and_nothing_beside(start, tmp_path):
    goal, other = tmp_path / "a" / "model", tmp_path / "a" / "secret"
    goal.parent.mkdir()
    goal.write_text("model")
    other.write_text("secret")
    link = tmp_path / "link"
    link.symlink_to(goal)
    found = start(read=(link,)).call("read_files", {"paths": [str(link), str(other)]}).values
    assert found == {str(link): "done: b'model'", str(other): "PermissionError:13"}


def test_only_the_write_folder_can_be_written(start, tmp_path):
    folder, outside, model = tmp_path / "out", tmp_path / "outside", tmp_path / "model"
    folder.mkdir()
    model.write_text("model")
    escape = folder / "escape"
    escape.symlink_to(tmp_path)
    paths = [outside, model, escape / "outside", f"{folder}/../outside", f"{np.__path__[0]}/owned.py"]
    paths += ["/tmp/owned", "/dev/shm/owned", "/proc/self/comm", Path.home() / ".profile"]
    child = start(read=(model,), write=folder)
    before = facts(model)
    found = child.call("write_files", {"paths": [str(path) for path in paths]}).values
    assert set(found.values()) <= {"PermissionError:13"}, found
    inside = child.call("write_files", {"paths": [f"{folder}/result"]}).values
    assert list(inside.values()) == ["done: 5"]
    assert not outside.exists()
    assert model.read_text() == "model"
    assert facts(model) == before
    assert sorted(entry.name for entry in folder.iterdir()) == ["escape", "result"]


def test_what_landlock_does_not_see_is_refused_by_the_filter(start, tmp_path):
    folder, model = tmp_path / "out", tmp_path / "model"
    folder.mkdir()
    model.write_text("model")
    before = facts(model)
    found = (
        start(read=(model,), write=folder).call("meddle", {"path": str(model), "other": str(folder)}).values
    )
    assert refused(found) == {}
    assert facts(model) == before
    assert list(folder.iterdir()) == []


def test_no_network_and_no_local_socket(start, tmp_path):
    path = str(tmp_path / "local")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as local:
        local.bind(path)
        local.listen()
        found = start(read=(tmp_path,)).call("network", {"port": tcp.getsockname()[1], "path": path}).values
        tcp.setblocking(False)
        with pytest.raises(BlockingIOError):
            tcp.accept()
    assert refused(found) == {}
    assert set(found.values()) == {"PermissionError:1"}


def test_no_process_no_program_and_nobody_else_is_touched(start):
    child = start()
    found = child.call("processes").values
    assert refused(found) == {}
    assert found["system"] != 0
    assert found["clone3"] == "OSError:38"
    assert found["io_uring"] == "OSError:38"
    assert found["fork"] == found["kill_parent"] == "PermissionError:1"
    assert child.call("echo").values == {}


def test_what_computing_takes_still_works(start, tmp_path):
    found = start(write=tmp_path).call("own_signals").values
    assert found == {"heard": [1, 2, 3], "lazy": "wave"}


def test_a_fork_bomb_makes_nothing(start):
    with pytest.raises(ModelFailed, match=r"^RuntimeError: 0 processes made$"):
        start().call("fork_bomb", timeout_s=60)


@pytest.mark.parametrize("bomb", ["memory_bomb", "shared_memory_bomb"])
def test_a_memory_bomb_ends_at_its_limit(start, bomb):
    child = start(memory_bytes=256 << 20)
    with pytest.raises(ChildFailed, match=r"more than 0.25 GiB of memory; raise memory_bytes"):
        child.call(bomb, timeout_s=60)
    assert child.call("echo", {"still": "there"}).values == {"still": "there"}


@pytest.mark.parametrize("verb", ["endless", "ignore_cpu_signal"])
def test_processor_time_is_bounded(start, verb):
    with pytest.raises(ChildFailed, match="more than 1 s of processor time; raise cpu_s"):
        start(cpu_s=1).call(verb, timeout_s=60)


def test_the_wall_clock_is_kept_by_the_parent_even_between_calls(start):
    child = start(wall_s=1.5)
    assert child.call("echo").values == {}
    child._watch.ended.wait(60)
    with pytest.raises(ChildFailed, match=r"ran for longer than 1.5 s; raise wall_s"):
        child.call("echo")
    with pytest.raises(ChildFailed, match=r"ran for longer than 1.5 s; raise wall_s"):
        start(wall_s=1.5).call("sleep", timeout_s=60)


def test_a_thread_bomb_ends(start):
    with pytest.raises((ChildFailed, ModelFailed), match=r"threads; raise threads|can't start new thread"):
        start().call("thread_bomb", timeout_s=60)


def test_a_file_bomb_ends(start, tmp_path):
    with pytest.raises(ChildFailed, match=r"a file of more than 0.00391 GiB; raise file_bytes"):
        start(write=tmp_path, file_bytes=4 << 20).call("big_file", timeout_s=60)
    assert (tmp_path / "big").stat().st_size <= 4 << 20


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("exit_politely", "it ended by itself with exit status 3"),
        ("exit_hard", "it ended by itself with exit status 0"),
        ("segfault", r"it crashed \(SIGSEGV\)"),
        ("abort", r"it crashed \(SIGABRT\)"),
        ("kill_self", r"it was killed \(SIGKILL\)"),
        ("close_channel", "it closed its channel"),
    ],
)
def test_a_child_that_ends_says_so_in_one_line(start, verb, line):
    child = start()
    with pytest.raises(ChildFailed, match=line) as failure:
        child.call(verb, timeout_s=60)
    assert "\n" not in failure.value.message
    with pytest.raises(ChildFailed, match=line):
        child.call("echo")
    assert not child.alive


def test_a_crash_leaves_its_traceback_for_the_operator(start):
    child = start()
    with pytest.raises(ChildFailed):
        child.call("segfault", timeout_s=60)
    assert "in segfault" in child.last_words


@pytest.mark.parametrize("fd", [1, 2])
def test_a_flood_of_words_is_bounded_and_cleaned(start, fd):
    child = start()
    child.call("flood", {"fd": fd, "times": 100}, timeout_s=120)
    assert 0 < len(child.last_words) <= 64 << 10
    assert "\x1b" not in child.last_words


@pytest.mark.parametrize("what", FORGERIES)
def test_garbage_on_the_channel_ends_the_child_at_once(start, what):
    child = start()
    child.ready(60)
    with pytest.raises(ChildFailed, match="it answered garbage: ") as failure:
        child.call("forge", {"what": what, "number": 1}, timeout_s=60)
    assert "\n" not in failure.value.message
    assert len(failure.value.message) < 300
    assert not child.alive


@pytest.mark.parametrize("verb", ["half_frame", "sleep", "progress_flood"])
def test_nothing_holds_the_parent_past_its_timeout(start, verb):
    child = start()
    child.ready(60)
    with pytest.raises(ChildFailed, match=r"did not answer within 0.3 s|reports of progress in one call"):
        child.call(verb, timeout_s=0.3)
    assert not child.alive


def test_a_child_that_never_reads_cannot_hold_the_parent(start):
    child = start()
    child.ready(60)
    ends = []
    stuck = threading.Thread(target=lambda: ends.append(outcome(child, "sleep")))
    os.kill(child.pid, 19)
    stuck.start()
    with pytest.raises(ChildFailed, match=r"busy with another call for 0.2 s"):
        child.call("echo", timeout_s=0.2)
    child.kill()
    stuck.join(60)
    assert ends == ["ChildFailed: the sandboxed child failed: it was ended"]
    stopped = start()
    stopped.ready(60)
    os.kill(stopped.pid, 19)
    with pytest.raises(ChildFailed, match=r"did not answer within 0.3 s"):
        stopped.call("echo", {"text": "x" * (8 << 20)}, timeout_s=0.3)


def test_the_memory_file_cannot_be_used_against_the_parent(start):
    child = start(memory_bytes=256 << 20)
    reply = child.call("steal_memory", timeout_s=60)
    assert reply.values["shrink"] == reply.values["grow"] == "PermissionError:1"
    assert reply.values["size"] == 2 * child._policy.channel_bytes
    np.testing.assert_array_equal(reply.arrays[0], np.arange(1 << 20))


def test_claims_and_messages_of_a_child_are_not_believed(start):
    child = start()
    with pytest.raises(ModelFailed, match="run it again with --trust"):
        child.call("claim")
    with pytest.raises(BadInput, match=r"^the caller is wrong \[31m really$"):
        child.call("refuse")
    with pytest.raises(ModelFailed, match=r"^KeyError: 'no such column") as failure:
        child.call("stumble")
    assert len(failure.value.message) <= 2000
    assert "Traceback" in child.last_words
    for what in ("text", "object", "none"):
        with pytest.raises(ModelFailed):
            child.call("bad_answers", {"what": what})
    with pytest.raises(ModelFailed, match="no such verb 'nothing'"):
        child.call("nothing")


def outcome(child: Child, *arguments, **options) -> str:
    """What a call ended in."""
    try:
        return str(child.call(*arguments, **options).values)
    except ModelyardError as error:
        return f"{type(error).__name__}: {error.message}"


class Pickled:
    """A pickle that calls what it likes."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile_pickles(folder: Path) -> dict[str, bytes]:
    """What is found in the wild, one each."""
    owned = str(folder / "owned")
    made = {
        "os.system": Pickled(os.system, f"touch {owned}"),
        "open": Pickled(open, owned, "w"),
        "exec": Pickled(exec, f"open({owned!r}, 'w').write('x')"),
        "subprocess": Pickled(__import__("subprocess").check_output, ["touch", owned]),
        "socket": Pickled(socket.create_connection, ("127.0.0.1", 9)),
        "kill": Pickled(exec, "import os, signal; os.kill(os.getppid(), signal.SIGTERM)"),
        "shadow": Pickled(exec, "open('/etc/shadow').read()"),
        "rmtree": Pickled(__import__("shutil").rmtree, str(folder)),
        "fork": Pickled(exec, "import os\nos.fork()"),
    }
    return {name: pickle.dumps(value) for name, value in made.items()}


def test_hostile_pickles_do_nothing_outside(start, tmp_path):
    (tmp_path / "precious").write_text("kept")
    child = start(read=(tmp_path,))
    for name, data in hostile_pickles(tmp_path).items():
        ended = outcome(child, "unpickle", arrays=[np.frombuffer(data, np.uint8)], timeout_s=60)
        assert "\n" not in ended
        if name == "os.system":  # never raises: it reports that the shell could not be started
            assert ended in {"{'got': '-1'}", "{'got': '32512'}"}
        else:
            assert ended.startswith(("ModelFailed: PermissionError: ", "ModelFailed: OSError: ")), (
                name,
                ended,
            )
    assert [entry.name for entry in tmp_path.iterdir()] == ["precious"]
    assert child.call("echo", {"alive": True}).values == {"alive": True}


def test_a_pickle_bomb_of_nothing_but_time_ends(start):
    bomb = pickle.dumps(Pickled(exec, "while True: pass"))
    with pytest.raises(ChildFailed, match=r"did not answer within 0.5 s"):
        start().call("unpickle", arrays=[np.frombuffer(bomb, np.uint8)], timeout_s=0.5)
