"""The bench's command line."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import load, machine, report
from benchmarks.catalogue import SERVERS
from benchmarks.places import RESULTS, ROOT, WORK
from benchmarks.plan import Data, Plan
from benchmarks.scenarios import (
    converted,
    dialects,
    heavy,
    image,
    many,
    native,
    polite,
    registry,
    soak,
    start,
    swaps,
    tabular,
    workers,
)

SCENARIOS: dict[str, Callable[[Plan], Data]] = {
    "peers": tabular.peers,
    "grpc": tabular.grpc,
    "image": image.run,
    "heavy": heavy.run,
    "middling": heavy.middling,
    "start": start.run,
    "polite": polite.run,
    "soak": soak.run,
    "swaps": swaps.run,
    "workers": workers.run,
    "registry": registry.run,
    "many": many.run,
    "converted": converted.run,
    "native": native.run,
    "dialects": dialects.run,
}
EX_UNAVAILABLE = 69


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one-second runs, two rounds, half a minute of soak"
    )
    parser.add_argument(
        "--only", type=_names(SCENARIOS), default=list(SCENARIOS), metavar="A,B", help="scenarios"
    )
    parser.add_argument(
        "--servers", type=_names(SERVERS), default=list(SERVERS), metavar="A,B", help="servers"
    )
    parser.add_argument("--rounds", type=int, help="interleaved rounds of each figure (3)")
    parser.add_argument("--seconds", type=int, help="seconds of load in each round (2)")
    parser.add_argument("--soak-minutes", type=float, help="length of the soak (10)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON instead of tables")
    parser.add_argument("--report", action="store_true", help="only write the tables and plots again")
    return parser.parse_args(argv)


def _names(known: dict[str, object]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        asked = [name for name in text.split(",") if name]
        unknown = [name for name in asked if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return asked

    return parse  # type: ignore[return-value]


def planned(asked: argparse.Namespace, cores: machine.Cores) -> Plan:
    """The knobs that a command line asks for."""
    times, seconds, minutes = (2, 1, 0.5) if asked.quick else (3, 2, 10.0)
    return Plan(
        servers=tuple(asked.servers),
        rounds=asked.rounds or times,
        seconds=asked.seconds or seconds,
        soak_s=round((minutes if asked.soak_minutes is None else asked.soak_minutes) * 60),
        cores=cores,
    )


def results_of(asked: argparse.Namespace) -> Path:
    """Where to write: a short or partial run must not replace the committed figures."""
    whole = not asked.quick and len(asked.servers) == len(SERVERS) and not asked.rounds and not asked.seconds
    return RESULTS if whole else WORK / "results"


def main() -> int:
    """Run what was asked for; 0, or 69 when the load programs are not installed."""
    asked = arguments()
    if asked.report:
        report.write(RESULTS)
        return 0
    missing = load.missing_tools()
    if missing:
        print(f"{' and '.join(missing)} not found; on Debian or Ubuntu: {load.INSTALL}", file=sys.stderr)
        return EX_UNAVAILABLE
    # Without this, SIGTERM would leave frozen servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan = planned(asked, machine.cores())
    about = machine.describe(plan.cores, machine.busy_share())
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    # This process asks and checks: that is load, and so it stays off the server's core, as do its children.
    os.sched_setaffinity(0, {plan.cores.load})
    began, folder = time.monotonic(), results_of(asked)
    for name in asked.only:
        print(f"\n{name}: {SCENARIOS[name].__doc__.splitlines()[0]}", flush=True)
        before = machine.foreign_cpu_s()
        found = SCENARIOS[name](plan)
        stolen = machine.foreign_cpu_s(before)
        found["steal"] = stolen[7] / max(sum(stolen), 1)
        found["machine"] = about
        found["plan"] = {"rounds": plan.rounds, "seconds": plan.seconds, "soak_s": plan.soak_s}
        report.save(folder, name, found)
        print(json.dumps(found) if asked.json else report.terminal(name, found), flush=True)
    report.write(folder)
    print(f"\n{report.checklist(folder, asked.only)}\n")
    print(f"{time.monotonic() - began:.0f} s; tables and plots in {(folder / 'README.md').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
