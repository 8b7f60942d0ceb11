"""A process knows how many cores it may keep busy, also where a container's limit says so."""

from __future__ import annotations

import os

import pytest

from modelyard.core.cores import usable_cores

HERE = len(os.sched_getaffinity(0))


def old(controllers, quota):
    """The files of cgroup v1."""
    return {f"{controllers}/cpu.cfs_quota_us": quota, f"{controllers}/cpu.cfs_period_us": "100000"}


def tree(folder, groups, files):
    named = folder / "cgroup"
    named.write_text(groups)
    for name, text in files.items():
        place = folder / "mount" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return named, folder / "mount"


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, HERE),
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "190000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, HERE),
        ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
        ("0::/pod/one\n", {"cpu.max": "max 100000", "pod/cpu.max": "100000 100000"}, 1),
        ("0::/pod/one\n", {"pod/one/cpu.max": "100000 100000", "pod/cpu.max": "max 100000"}, 1),
        ("5:cpu,cpuacct:/\n", old("cpu,cpuacct", "100000"), 1),
        ("5:cpu:/\n", old("cpu", "-1"), HERE),
        ("4:memory:/\n0::/\n", {"cpu.max": "nonsense"}, HERE),
        ("", {}, HERE),
    ],
)
def test_the_quota_of_its_groups_counts(groups, files, cores, tmp_path):
    assert usable_cores(*tree(tmp_path, groups, files)) == cores


def test_without_groups_and_on_one_core(tmp_path):
    assert usable_cores(tmp_path / "none", tmp_path) == HERE
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
