"""What a hostile model file would do, as handlers that run inside a sealed child."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import pickle
import resource
import signal
import socket
import stat
import struct
import sys
import threading
import time
from pathlib import Path

import numpy as np

from modelyard.core.errors import BadInput, SandboxUnavailable
from modelyard.sandbox.progress import report_progress

libc = ctypes.CDLL(None, use_errno=True)


def finding(action) -> str:
    """The name of the exception that an action ended in, or what it gave."""
    try:
        return f"done: {action()!r}"[:200]
    except BaseException as error:
        code = getattr(error, "errno", None)
        return f"{type(error).__name__}:{code}"


def raw(number: int, *arguments) -> int:
    """A system call, past every library."""
    got = libc.syscall(number, *arguments)
    if got < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return got


def echo(values, arrays):
    report_progress("echoing", 0.5)
    return values, arrays


def about(values, arrays):
    fds = {
        fd: stat.S_IFMT(os.fstat(fd).st_mode)
        for fd in range(300)
        if finding(lambda fd=fd: os.fstat(fd)).startswith("done")
    }
    status = dict(
        line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )
    return {
        "environment": dict(os.environ),
        "fds": {str(fd): mode for fd, mode in fds.items()},
        "status": {name: status[name].strip() for name in ("CapEff", "CapPrm", "NoNewPrivs", "Seccomp")},
        "dumpable": libc.prctl(3, 0, 0, 0, 0),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
        "session": os.getsid(0) == os.getpid(),
        "isolated": sys.flags.isolated,
    }, []


def read_files(values, arrays):
    return {path: finding(lambda path=path: Path(path).read_bytes()) for path in values["paths"]}, []


def write_files(values, arrays):
    return {path: finding(lambda path=path: Path(path).write_text("owned")) for path in values["paths"]}, []


def meddle(values, arrays):
    """All that Landlock does not see, on a file that may be read."""
    path, other = values["path"], values["other"]
    return {
        "chmod": finding(lambda: os.chmod(path, 0o777)),
        "chown": finding(lambda: os.chown(path, 1, 1)),
        "utime": finding(lambda: os.utime(path, (1, 1))),
        "truncate": finding(lambda: os.truncate(path, 0)),
        "setxattr": finding(lambda: os.setxattr(path, "user.x", b"1")),
        "emptying": finding(lambda: os.open(path, os.O_RDONLY | os.O_TRUNC)),
        "emptying_nothing": finding(lambda: os.open(path, 3 | os.O_TRUNC)),
        "unlink": finding(lambda: os.unlink(path)),
        "rename": finding(lambda: os.rename(path, path + "2")),
        "link": finding(lambda: os.link(path, other + "/hard")),
        "symlink": finding(lambda: os.symlink("/etc/shadow", other + "/soft")),
        "fifo": finding(lambda: os.mkfifo(other + "/fifo")),
        "mkdir": finding(lambda: os.mkdir(str(Path(path).parent / "made"))),
        "list": finding(lambda: os.listdir("/etc")),
        "fchmod": finding(lambda: os.fchmod(os.open(path, os.O_RDONLY), 0o777)),
        "mount": finding(lambda: raw(165 if os.uname().machine == "x86_64" else 40, 0, 0, 0, 0, 0)),
    }, []


def network(values, arrays):
    port, path = values["port"], values["path"]
    return {
        "tcp": finding(lambda: socket.create_connection(("127.0.0.1", port), 1)),
        "udp": finding(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
        "unix": finding(lambda: socket.socket(socket.AF_UNIX).connect(path)),
        "abstract": finding(lambda: socket.socket(socket.AF_UNIX).connect("\0" + path)),
        "netlink": finding(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
        "packet": finding(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
        "pair": finding(lambda: socket.socketpair()),
        "channel": finding(lambda: [socket.socket(fileno=fd).sendmsg([b"x"]) for fd in channel_fds()]),
    }, []


def processes(values, arrays):
    parent = os.getppid()
    read_bytes = ctypes.create_string_buffer(8)
    return {
        "fork": finding(os.fork),
        "vfork": finding(lambda: named("vfork")),
        "clone": finding(lambda: named("clone", signal.SIGCHLD, 0, 0, 0, 0)),
        "clone3": finding(lambda: named("clone3", read_bytes, 64)),
        "execve": finding(lambda: os.execv("/bin/true", ["true"])),
        "system": os.system("true"),
        "popen": finding(lambda: __import__("subprocess").run(["true"])),
        "spawn": finding(lambda: os.posix_spawn("/bin/true", ["true"], {})),
        "kill_parent": finding(lambda: os.kill(parent, signal.SIGKILL)),
        "kill_all": finding(lambda: os.kill(-1, signal.SIGKILL)),
        "kill_group": finding(lambda: os.killpg(0, 0)),
        "tgkill": finding(lambda: named("tgkill", parent, parent, 9)),
        "sigqueue": finding(lambda: named("rt_sigqueueinfo", parent, 9, read_bytes)),
        "pidfd": finding(lambda: os.pidfd_open(parent)),
        "ptrace": finding(lambda: named("ptrace", 16, parent, 0, 0)),
        "vm_read": finding(lambda: named("process_vm_readv", parent, read_bytes, 1, read_bytes, 1, 0)),
        "environ": finding(lambda: Path(f"/proc/{parent}/environ").read_bytes()),
        "mem": finding(lambda: open(f"/proc/{parent}/mem", "rb")),
        "maps": finding(lambda: Path(f"/proc/{parent}/maps").read_bytes()),
        "prlimit": finding(lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE, (1, 1))),
        "renice": finding(lambda: os.setpriority(os.PRIO_PROCESS, parent, 19)),
        "affinity": finding(lambda: os.sched_setaffinity(parent, {0})),
        "pdeathsig": finding(lambda: prctl(1, 0)),
        "dumpable": finding(lambda: prctl(4, 1)),
        "bpf": finding(lambda: named("bpf", 0, 0, 0)),
        "perf": finding(lambda: named("perf_event_open", 0, 0, 0, 0, 0)),
        "userfaultfd": finding(lambda: named("userfaultfd", 0)),
        "io_uring": finding(lambda: named("io_uring_setup", 1, 0)),
        "memfd": finding(lambda: os.memfd_create("x")),
        "unshare": finding(lambda: named("unshare", 0x10000000)),
        "keyctl": finding(lambda: named("keyctl", 0, 0, 0)),
        "shmget": finding(lambda: named("shmget", 0, 4096, 0o1000)),
        "personality": finding(lambda: named("personality", 0)),
        "setuid": finding(lambda: os.setuid(os.getuid())),
        "chroot": finding(lambda: os.chroot("/")),
        "raise_limit": finding(
            lambda: resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        ),
        "x32": finding(lambda: raw(0x40000000 + 39)),
        "late_call": finding(lambda: raw(999)),
    }, []


_X86 = {
    "vfork": 58, "clone": 56, "clone3": 435, "tgkill": 234, "rt_sigqueueinfo": 129, "ptrace": 101,
    "process_vm_readv": 310, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425,
    "unshare": 272, "keyctl": 250, "shmget": 29, "personality": 135,
}  # fmt: skip
_ARM = {
    "vfork": 9999, "clone": 220, "clone3": 435, "tgkill": 131, "rt_sigqueueinfo": 138, "ptrace": 117,
    "process_vm_readv": 270, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "io_uring_setup": 425,
    "unshare": 97, "keyctl": 219, "shmget": 194, "personality": 92,
}  # fmt: skip


def named(name: str, *arguments) -> int:
    numbers = _X86 if os.uname().machine == "x86_64" else _ARM
    return raw(numbers[name], *arguments)


def prctl(option: int, value: int) -> int:
    if libc.prctl(option, value, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "prctl")
    return 0


def own_signals(values, arrays):
    """What stays allowed: threads, signals to itself, timers, temporary files."""
    heard = []
    signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    os.kill(os.getpid(), signal.SIGUSR1)
    thread = threading.Thread(target=lambda: heard.append(2))
    thread.start()
    thread.join()
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x").write_text("1")
        os.rename(Path(folder) / "x", Path(folder) / "y")
        heard.append(int((Path(folder) / "y").read_text()) + 2)
    import wave

    return {"heard": heard, "lazy": wave.__name__}, []


def fork_bomb(values, arrays):
    made = 0
    for _ in range(10_000):
        try:
            if os.fork() == 0:
                continue
            made += 1
        except OSError:
            continue
    raise RuntimeError(f"{made} processes made")


def memory_bomb(values, arrays):
    held = []
    while True:
        held.append(bytearray(64 << 20))


def shared_memory_bomb(values, arrays):
    held = []
    while True:
        held.append(mmap.mmap(-1, 64 << 20))


def endless(values, arrays):
    while True:
        pass


def sleep(values, arrays):
    time.sleep(values.get("s", 3600))
    return {}, []


def ignore_cpu_signal(values, arrays):
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    return endless(values, arrays)


def thread_bomb(values, arrays):
    threading.stack_size(32 << 10)
    while True:
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()


def big_file(values, arrays):
    with open(Path(os.environ["TMPDIR"]) / "big", "wb") as stream:
        while True:
            stream.write(bytes(1 << 20))


def exit_politely(values, arrays):
    sys.exit(3)


def exit_hard(values, arrays):
    os._exit(0)


def segfault(values, arrays):
    ctypes.string_at(0)


def abort(values, arrays):
    os.abort()


def kill_self(values, arrays):
    os.kill(os.getpid(), signal.SIGKILL)


def flood(values, arrays):
    line = b"\x1b[31mloud\x1b[0m\n" * 5000
    for _ in range(values["times"]):
        os.write(values["fd"], line)
    return {}, []


def channel_fds() -> list[int]:
    """Found as an attacker finds it."""
    return [
        fd
        for fd in range(3, 300)
        if finding(lambda fd=fd: os.fstat(fd)).startswith("done") and stat.S_ISSOCK(os.fstat(fd).st_mode)
    ]


def memory_fds() -> list[int]:
    return [
        fd
        for fd in range(3, 300)
        if finding(lambda fd=fd: os.fstat(fd)).startswith("done") and stat.S_ISREG(os.fstat(fd).st_mode)
    ]


def _frame(text: bytes, payload: bytes = b"") -> bytes:
    return struct.pack("<I", len(text)) + text + payload


def _reply(number: int, **fields) -> bytes:
    return _frame(json.dumps({"kind": "reply", "id": number, **fields}).encode())


FORGERIES = {
    "noise": lambda number: b"\x07" * 4096,
    "huge_header": lambda number: struct.pack("<I", 0xFFFFFFFF) + b"{}",
    "empty_header": lambda number: struct.pack("<I", 0),
    "not_json": lambda number: _frame(b"[[[["),
    "deep_json": lambda number: _frame(b'{"kind":"reply","values":' + b'{"a":' * 200_000),
    "wrong_kind": lambda number: _frame(b'{"kind":"call"}'),
    "unknown_field": lambda number: _reply(number, extra=1),
    "wrong_id": lambda number: _reply(number + 1),
    "pickle": lambda number: pickle.dumps({"kind": "reply", "id": number}),
    "negative_inline": lambda number: _reply(number, inline=-1),
    "huge_inline": lambda number: _reply(number, inline=1 << 40),
    "huge_shared": lambda number: _reply(number, shared=1 << 60, blocks=[["UINT8", [1 << 60], 0, 1 << 60]]),
    "outside": lambda number: _reply(number, shared=64, blocks=[["UINT8", [64], 64, 64]]),
    "negative_at": lambda number: _reply(number, shared=64, blocks=[["UINT8", [64], -64, 64]]),
    "negative_shape": lambda number: _reply(number, shared=64, blocks=[["UINT8", [-8, -8], 0, 64]]),
    "wrong_size": lambda number: _reply(number, shared=64, blocks=[["FP64", [64], 0, 64]]),
    "overflow": lambda number: _reply(number, shared=64, blocks=[["UINT8", [1 << 32, 1 << 32, 64], 0, 64]]),
    "overlap": lambda number: _reply(number, shared=64, blocks=[["UINT8", [64], 0, 64]] * 900),
    "many": lambda number: _reply(number, blocks=[["UINT8", [0], 0, 0]] * 5000),
    "empty_giant": lambda number: _reply(number, blocks=[["FP64", [1 << 61, 1 << 61, 0], 0, 0]]),
    "dtype": lambda number: _reply(number, shared=8, blocks=[["OBJECT", [1], 0, 8]]),
    "strings": lambda number: _reply(number, shared=64, blocks=[["BYTES", [1 << 40], 0, 64]]),
    "axes": lambda number: _reply(number, blocks=[["UINT8", [1] * 70, 0, 1]]),
}  # fmt: skip


def forge(values, arrays):
    """Write straight to the channel, then hang."""
    data = FORGERIES[values["what"]](values["number"])
    for fd in channel_fds():
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    time.sleep(3600)


def half_frame(values, arrays):
    for fd in channel_fds():
        os.write(fd, struct.pack("<I", 1000) + b"{")
    time.sleep(3600)


def close_channel(values, arrays):
    for fd in channel_fds():
        os.close(fd)
    time.sleep(3600)


def progress_flood(values, arrays):
    while True:
        report_progress("x")


def claim(values, arrays):
    raise SandboxUnavailable("run it again with --trust")


def refuse(values, arrays):
    raise BadInput("the caller is wrong\x1b[31m\nreally")


def stumble(values, arrays):
    raise KeyError("no such column " + "x" * 5000)


def steal_memory(values, arrays):
    """Try to make the parent's reads of the memory file fail."""
    found = {}
    for fd in memory_fds():
        size = os.fstat(fd).st_size
        found["size"] = size
        found["shrink"] = finding(lambda fd=fd: os.ftruncate(fd, 0))
        found["grow"] = finding(lambda fd=fd, size=size: os.ftruncate(fd, 2 * size))
        libc.fallocate(fd, 3, ctypes.c_int64(0), ctypes.c_int64(size))
    return found, [np.arange(1 << 20)]


def bad_answers(values, arrays):
    return {}, {"text": [np.array(["a"])], "object": [np.array([1, "x"], object)], "none": [None]}[
        values["what"]
    ]


def unpickle(values, arrays):
    return {"got": repr(pickle.loads(arrays[0].tobytes()))[:200]}, []


def pid_of_parent(values, arrays):
    return {"parent": os.getppid()}, []


def verbs():
    skip = {"finding", "raw", "named", "verbs", "channel_fds", "memory_fds", "prctl"}
    return {
        name: value
        for name, value in globals().items()
        if callable(value)
        and name not in skip
        and not name.startswith("_")
        and getattr(value, "__module__", "") == __name__
    }


def verbs_that_fail():
    raise RuntimeError("the libraries are broken")
