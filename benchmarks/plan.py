"""How long and how often: the knobs of a run, and the one loop that all throughput scenarios share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import machine, rounds
from benchmarks.load import Sample
from benchmarks.process import Running
from benchmarks.session import Fleet

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """The knobs of one run."""

    servers: tuple[str, ...]
    rounds: int
    seconds: int
    soak_s: int
    cores: machine.Cores


@dataclass(frozen=True, slots=True)
class Case:
    """One column of a table: its name and how to load one server for it."""

    name: str
    surface: str
    load: Callable[[Running], Sample]


def measure(fleet: Fleet, cases: list[Case], plan: Plan) -> list[Data]:
    """Every server in every case, in interleaved rounds; only the one under load is thawed.

    Cells come back as data: the samples of each round, and their spread.
    """
    cells: dict[tuple[str, str], list[Data]] = {}
    for case in cases:
        able = [key for key, one in fleet.running.items() if case.surface in one.server.speaks]
        for number, key in rounds.interleaved(able, plan.rounds):
            running = fleet.running.get(key)
            if running is None:
                continue
            with fleet.dropping(key):
                cells.setdefault((key, case.name), []).append(_one(running, case))
            say(f"  {case.name}: round {number + 1} of {plan.rounds}: {key}")
    say("")
    return [_cell(key, name, samples) for (key, name), samples in cells.items()]


def compare(fleet: Fleet, key: str, cases: list[Case], plan: Plan) -> list[Data]:
    """One server in every case, the cases interleaved: for what is said of one beside another."""
    cells: dict[str, list[Data]] = {}
    for number, case in rounds.interleaved(cases, plan.rounds):
        running = fleet.running.get(key)
        if running is None:
            break
        with fleet.dropping(key):
            cells.setdefault(case.name, []).append(_one(running, case))
        say(f"  {case.name}: round {number + 1} of {plan.rounds}: {key}")
    say("")
    return [_cell(key, name, samples) for name, samples in cells.items()]


def _one(running: Running, case: Case) -> Data:
    with running.thawed():
        cpu_s = running.cpu_s()
        sample = case.load(running)
        cpu_s = running.cpu_s() - cpu_s
        memory = running.memory()
    per_request = cpu_s / sample.requests * 1e6
    return asdict(sample) | {"cpu_us": per_request, "rss": memory.root, "rss_children": memory.children}


def _cell(key: str, name: str, samples: list[Data]) -> Data:
    figures = ("rate", "p50_us", "p90_us", "p99_us", "cpu_us", "load_busy", "rss", "rss_children")
    summed = {figure: asdict(rounds.spread(s[figure] for s in samples)) for figure in figures}
    refused = sum(s["refused"] for s in samples)
    noise = rounds.spread(s["rate"] for s in samples).noise
    return {"server": key, "case": name, "refused": refused, "noise": noise, "rounds": samples} | summed


def spread_of(values: list[float]) -> Data:
    """The spread of some figures, as data."""
    return asdict(rounds.spread(values))


def say(text: str) -> None:
    """Show progress on one line of a terminal; nothing where there is none."""
    if sys.stdout.isatty():
        print("\r" + text.ljust(78)[:78] + ("" if text else "\r"), end="", flush=True)


def cell(data: Data, server: str, case: str) -> Data | None:
    """The cell of one server and case, if it was measured."""
    return next((c for c in data["cells"] if c["server"] == server and c["case"] == case), None)


def times(data: Data, one: str, other: str, case: str, figure: str = "rate") -> float | None:
    """How many times the other's figure one server's is, if both were measured; see ``rounds.beside``."""
    ones, others = cell(data, one, case), cell(data, other, case)
    if ones is None or others is None:
        return None
    mine, theirs = ([seen[figure] for seen in found["rounds"]] for found in (ones, others))
    return rounds.beside(mine, theirs)


def median(data: Data, server: str, case: str, figure: str = "rate") -> float | None:
    """One median out of a scenario's data, if it was measured."""
    found = cell(data, server, case)
    return found[figure]["median"] if found else None


def outcome(fleet: Fleet, cells: list[Data], cases: list[str]) -> Data:
    """What a throughput scenario gives back."""
    return {"cases": cases, "cells": cells, "skipped": fleet.skipped, "ready_s": fleet.ready_s}
