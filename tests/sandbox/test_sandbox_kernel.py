"""What the kernel is asked for: numbers, filters, and kernels that lack something."""

from __future__ import annotations

import errno
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.sandbox import landlock
from modelyard.sandbox.landlock import handled
from modelyard.sandbox.places import grants
from modelyard.sandbox.seccomp import program
from modelyard.sandbox.syscalls import FREE, numbers

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, REFUSE, ABSENT = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
CLASSES = (*FREE, "checked", "absent")


def answer(machine: str, number: int, *arguments: int, arch: int | None = None, pid: int = 77) -> int:
    """Runs the filter as the kernel would."""
    given = (*arguments, *([0] * (6 - len(arguments))))
    data = struct.pack("<IIQ6Q", number, ARCH[machine] if arch is None else arch, 0, *given)
    steps, at, held = program(machine, pid), 0, 0
    while True:
        code, value, if_true, if_false = steps[at]
        at += 1
        if code == 0x20:
            held = struct.unpack_from("<I", data, value)[0]
        elif code == 0x54:
            held &= value
        elif code == 0x06:
            return value
        else:
            assert code in {0x15, 0x35}
            at += if_true if (held == value if code == 0x15 else held >= value) else if_false


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_those_of_the_headers(machine):
    if not HEADERS[machine].exists():
        pytest.skip("no kernel headers on this machine")
    defined = {
        name.removeprefix("3264_").removeprefix("_"): int(number)
        for name, number in re.findall(r"#define __NR(\w+) (\d+)", HEADERS[machine].read_text())
    }
    defined = {name.removeprefix("3264_"): number for name, number in defined.items()}
    defined.setdefault("newfstatat", defined.get("fstatat", -1))
    ours = {name: number for kind in CLASSES for name, number in numbers(kind, machine).items()}
    known = {name: number for name, number in ours.items() if name in defined}
    assert len(known) > 0.9 * len(ours)
    assert known == {name: defined[name] for name in known}


@pytest.mark.parametrize("machine", HEADERS)
def test_every_call_meets_its_answer(machine):
    steps = program(machine, 77)
    assert len(steps) < 4096
    assert all(0 <= step.if_true < 256 and 0 <= step.if_false < 256 for step in steps)
    free = {number for kind in FREE for number in numbers(kind, machine).values()}
    absent = set(numbers("absent", machine).values())
    checked = set(numbers("checked", machine).values())
    for number in range(700):
        if number not in checked:
            right = ALLOW if number in free else ABSENT if number in absent or number >= 451 else REFUSE
            assert answer(machine, number) == right, number
    assert answer(machine, min(free), arch=0x40000003) == REFUSE  # 32-bit calls of the same machine
    if machine == "x86_64":
        assert answer(machine, 0x40000000) == answer(machine, 0x40000000 + 59) == REFUSE


@pytest.mark.parametrize("machine", HEADERS)
def test_arguments_are_checked(machine):
    call = numbers("checked", machine)
    thread = 0x3D0F00  # what the C library passes for a thread
    assert answer(machine, call["clone"], thread) == ALLOW
    for flags in (17, 0x1200011, thread | 0x10000000, thread | 0x20000, thread & ~0x10000, thread | 0x4000):
        assert answer(machine, call["clone"], flags) == REFUSE, hex(flags)
    for name in ("kill", "tgkill"):
        assert answer(machine, call[name], 77) == ALLOW
        for pid in (1, 76, 0, 2**64 - 1, 2**32 - 1):
            assert answer(machine, call[name], pid) == REFUSE
    assert answer(machine, call["prlimit64"], 0) == answer(machine, call["prlimit64"], 77) == ALLOW
    assert answer(machine, call["prlimit64"], 1) == REFUSE
    assert answer(machine, call["prctl"], 15) == ALLOW
    assert {answer(machine, call["prctl"], option) for option in (1, 4, 22, 24, 38, 47, 1499557217)} == {
        REFUSE
    }
    assert answer(machine, call["ioctl"], 3, 0x5401) == ALLOW
    assert {answer(machine, call["ioctl"], 3, number) for number in (0x5412, 0x541C, 0x8901)} == {REFUSE}
    assert answer(machine, call["fcntl"], 3, 1030) == ALLOW
    assert {answer(machine, call["fcntl"], 3, number) for number in (8, 10, 15, 1024, 1026)} == {REFUSE}
    for name, at in (("open", 1), ("openat", 2)):
        if name in call:
            flags = {mode | extra for mode in (0, 1, 2) for extra in (0, os.O_CREAT, os.O_CLOEXEC)}
            assert {answer(machine, call[name], *[0] * at, flag) for flag in flags} == {ALLOW}
            assert {answer(machine, call[name], *[0] * at, mode | 0o1100) for mode in (1, 2)} == {ALLOW}
            assert {answer(machine, call[name], *[0] * at, mode | 0o1000) for mode in (0, 3)} == {REFUSE}
    # Only the low half is read by the kernel, so a high half must not change the answer.
    assert answer(machine, call["kill"], 77 | 5 << 32) == ALLOW
    assert answer(machine, call["clone"], 17 | 5 << 32) == REFUSE


def test_each_version_of_landlock_is_asked_for_what_it_has():
    assert handled(1) == ((1 << 13) - 1, 0, 0)
    assert handled(2)[0] == (1 << 14) - 1
    assert handled(3)[0] == (1 << 15) - 1
    assert handled(4) == ((1 << 15) - 1, 3, 0)
    assert handled(5)[0] == (1 << 16) - 1
    assert handled(6) == handled(7) == handled(9) == ((1 << 16) - 1, 3, 3)


def test_a_checkout_grants_its_packages_and_not_what_lies_beside_them(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "module.py").touch()
    (tmp_path / ".env").write_text("TOKEN=1")
    (tmp_path / "data").mkdir()
    found = {
        place: rights
        for place, rights in grants([str(tmp_path)], [], None)
        if place.startswith(str(tmp_path))
    }
    assert found == {
        str(tmp_path): landlock.LIST,
        str(tmp_path / "package"): landlock.READ,
        str(tmp_path / "module.py"): landlock.READ,
    }
    assert not any(place in {"/", "/etc", "/proc", "/home", "/tmp"} for place, _ in grants([], [], None))


# A kernel that lacks something is made with a filter of our own around the parent: the calls answer ENOSYS.
LACKING = """
import ctypes, os, sys
from modelyard.core.errors import SandboxUnavailable
from modelyard.sandbox import seccomp
from modelyard.sandbox.child import Child
from modelyard.sandbox.policy import Policy
Step = seccomp.Step
lacks = [int(number) for number in sys.argv[2:]]
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
steps = [Step(0x20, 0)]
for number in lacks:
    steps += [Step(0x15, number, 0, 1), Step(0x06, 0x50000 | 38)]
assert seccomp.install([*steps, Step(0x06, 0x7FFF0000)])
with Child.start("sandbox_payloads:verbs", Policy(), trust=sys.argv[1] == "trust") as child:
    try:
        print(child.ready(), child.call("echo", {"n": 1}).values)
    except SandboxUnavailable as error:
        print("unavailable:", error)
"""
SECCOMP = 317 if os.uname().machine == "x86_64" else 277


@pytest.mark.parametrize(
    ("lacks", "name", "held"),
    [
        ((444, 445, 446), "Landlock", "no landlock, seccomp, rlimits"),
        ((SECCOMP,), "seccomp", "landlock 7, no seccomp, rlimits"),
        ((444, SECCOMP), "Landlock", "no landlock, no seccomp, rlimits"),
    ],
)
def test_a_kernel_that_cannot_confine_is_refused_unless_trusted(lacks, name, held):
    environment = {"PYTHONPATH": f"{Path(__file__).parent}:{Path(landlock.__file__).parents[2]}"}
    for trust in ("no", "trust"):
        command = [sys.executable, "-c", LACKING, trust, *(str(number) for number in lacks)]
        said = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=60, check=False
        )
        if trust == "no":
            assert re.match(f"unavailable: this kernel cannot confine .* it lacks {name}", said.stdout), said
            assert said.stdout.count("\n") == 1
        else:
            right = held.replace("landlock 7", f"landlock {landlock.version()}")
            assert said.stdout == f"{right} {{'n': 1}}\n", said
