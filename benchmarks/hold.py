"""What the hold gains and costs: `python -m benchmarks.hold`; `--real` adds ONNX Runtime and a real thread.

The simulation runs the engine itself, unchanged, in virtual time: only the model's run time and the
clients are made up. It takes about a minute and gives the same figures every time. Writes `hold.md`,
`hold.svg` and `hold.png` under `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.places import RESULTS, ROOT
from modelyard.core.observer import Silent
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.engine import hold as hold_rule
from modelyard.engine.batcher import Batcher
from modelyard.engine.job import Job
from modelyard.engine.limits import QueueLimits

sys.path.insert(0, str(ROOT / "tests" / "engine"))
from virtual_time import CurveRunner, VirtualLoop, VirtualWorker

ROWS = np.zeros((64, 1), np.float32)
SIGNATURE = Signature(
    (TensorSpec("x", DTYPES["FP32"], (None, 1)),), (TensorSpec("y", DTYPES["FP32"], (None, 1)),)
)
ROUND_TRIP_S = 300e-6
HANDOVER_S = 50e-6


def dense(rows: int) -> float:
    """Six dense layers of 2048, as measured: 174, 490 and 725 rows/s in batches of 1, 4 and 8."""
    return float(np.interp(rows, [1, 4, 8, 64], [1 / 174, 4 / 490, 8 / 725, 8 / 725 + 56 * 0.72e-3]))


def steep(rows: int) -> float:
    """A network whose rows cost more: 6 ms and 1.2 ms a row."""
    return 6e-3 + 1.2e-3 * rows


def linear(rows: int) -> float:
    """A model that gains nothing from batches: 1.2 ms a row."""
    return 1.2e-3 * rows


CURVES: dict[str, Callable[[int], float]] = {"dense": dense, "steep": steep, "linear": linear}


@dataclass(frozen=True, slots=True)
class Load:
    """Who asks: `clients` that ask again when answered, and strangers who come `rate` times a second."""

    name: str
    clients: int = 0
    rate: float = 0.0
    most_rows: int = 1
    think_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What one run of one load gave."""

    rows_s: float
    p50_ms: float
    p99_ms: float
    held: int
    filled: int


def loads(curve: Callable[[int], float]) -> Iterator[Load]:
    """Closed loops, open arrivals as parts of what full batches could do, mixed rows, and both together."""
    for clients in (1, 2, 4, 8, 16, 32):
        yield Load(_clients(clients), clients)
    full = 64 / curve(64)
    for part in (0.1, 0.3, 0.6, 0.8):
        yield Load(f"Poisson, {part:.0%} of the peak", rate=part * full)
    yield Load("8 clients, 1 to 8 rows", 8, most_rows=8)
    yield Load("8 clients that think 20 ms", 8, think_s=0.02)
    yield Load("4 clients and Poisson, 20%", 4, rate=0.2 * full)


def _clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"


class Crowd:
    """The callers of one batcher."""

    def __init__(self, loop: asyncio.AbstractEventLoop, batcher: Batcher, load: Load, seed: int) -> None:
        self._loop = loop
        self._batcher = batcher
        self._load = load
        self._chance = random.Random(seed)
        self.times: list[float] = []
        self.rows = 0

    def start(self) -> None:
        for _ in range(self._load.clients):
            self._loop.call_later(self._chance.random() * 0.01, self._ask, True)
        if self._load.rate:
            self._arrive()

    def _arrive(self) -> None:
        self._ask(False)
        self._loop.call_later(self._chance.expovariate(self._load.rate), self._arrive)

    def _ask(self, again: bool) -> None:
        rows = self._chance.randint(1, self._load.most_rows)
        asked = self._loop.time()

        def reply(outputs: object, error: Exception | None) -> None:
            if error is not None:
                raise error
            self.times.append(self._loop.time() - asked)
            self.rows += rows
            if again:
                pause = ROUND_TRIP_S * (0.5 + self._chance.expovariate(2.0))
                if self._load.think_s:
                    pause += self._chance.expovariate(1 / self._load.think_s)
                self._loop.call_later(pause, self._ask, True)

        self._batcher.submit(Job((ROWS[:rows],), rows, reply))


def simulate(
    curve: Callable[[int], float], load: Load, share: float, learns: bool, seconds: float = 20.0
) -> Seen:
    """One load on one model in virtual time."""
    loop = VirtualLoop()
    limits = QueueLimits(hold_share=share, max_waiting=100_000)
    batcher = Batcher(CurveRunner(loop, curve), SIGNATURE, limits, Silent(), loop.time)
    crowd = Crowd(loop, batcher, load, seed=1)

    async def play() -> None:
        batcher.open(loop, VirtualWorker(loop, HANDOVER_S))
        await batcher.warm_up((ROWS[:1],))
        crowd.start()
        await asyncio.sleep(seconds)

    weight = hold_rule.WEIGHT
    hold_rule.WEIGHT = weight if learns else 0.0
    try:
        loop.run_until_complete(play())
    finally:
        hold_rule.WEIGHT = weight
        loop.close()
    times = sorted(crowd.times)
    p50, p99 = (1e3 * times[int(len(times) * part)] for part in (0.5, 0.99))
    return Seen(crowd.rows / seconds, p50, p99, batcher.hold.held, batcher.hold.filled)


VARIANTS = {
    "no hold": (0.0, True),
    "hold 10%": (0.1, True),
    "hold 20%": (0.2, True),
    "20%, unlearnt": (0.2, False),
}


def simulated() -> tuple[str, dict[tuple[str, str, str], Seen]]:
    """Every variant on every load of every model: a table and the figures."""
    seen: dict[tuple[str, str, str], Seen] = {}
    lines: list[str] = []
    for name, curve in CURVES.items():
        lines += [
            f"\n### {name}: {(curve.__doc__ or '').strip()}\n",
            "| load | "
            + " | ".join(f"{variant}: rows/s, p50, p99 ms" for variant in VARIANTS)
            + " | held, filled |",
            "|---" * (len(VARIANTS) + 2) + "|",
        ]
        for load in loads(curve):
            cells = []
            for variant, (share, learns) in VARIANTS.items():
                one = seen[name, load.name, variant] = simulate(curve, load, share, learns)
                cells.append(f"{one.rows_s:.0f}, {one.p50_ms:.1f}, {one.p99_ms:.1f}")
            held = seen[name, load.name, "hold 20%"]
            lines.append(f"| {load.name} | " + " | ".join(cells) + f" | {held.held}, {held.filled} |")
            print(lines[-1], flush=True)
    return "\n".join(lines), seen


def plot(seen: dict[tuple[str, str, str], Seen]) -> None:
    """Throughput by clients, with and without, for each model."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "hold"
    import matplotlib.pyplot as plt

    clients = (1, 2, 4, 8, 16, 32)
    figure, axes = plt.subplots(1, len(CURVES), figsize=(12, 3.8), constrained_layout=True)
    for axis, name in zip(axes, CURVES, strict=True):
        for variant, style in (("no hold", "o--"), ("hold 10%", "s-"), ("hold 20%", "^-")):
            rates = [seen[name, _clients(count), variant].rows_s for count in clients]
            axis.plot(clients, rates, style, label=variant, markersize=4)
        axis.set_xscale("log", base=2)
        axis.set_xticks(clients, [str(count) for count in clients])
        axis.set_ylim(bottom=0)
        axis.set_title(name)
        axis.set_xlabel("clients that ask again when answered")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("rows/s")
    axes[0].legend()
    for ending in ("svg", "png"):
        figure.savefig(
            RESULTS / f"hold.{ending}", dpi=120, metadata={"Date": None} if ending == "svg" else None
        )


def real(rounds: int = 5, seconds: float = 1.5) -> str:
    """The dense network in ONNX Runtime, clients in the same loop, variants in turn; medians of rounds."""
    import uvloop

    from benchmarks.models import middling
    from modelyard.runtime.onnx import OnnxRuntime

    model = middling()
    width = model.questions[0].tensor.shape[1]
    signature = Signature(
        (TensorSpec("x", DTYPES["FP32"], (None, width)),), (TensorSpec("scores", DTYPES["FP32"], (None, 10)),)
    )
    runtime = OnnxRuntime.open(model.path, signature, threads=1)
    inputs = (model.questions[0].tensor,)

    async def measure(clients: int, share: float) -> float:
        loop = asyncio.get_running_loop()
        batcher = Batcher(runtime, signature, QueueLimits(hold_share=share), Silent())
        batcher.open(loop)
        await batcher.warm_up(inputs)
        answered = 0

        def ask() -> None:
            if batcher.available:
                batcher.submit(Job(inputs, 1, reply))

        def reply(outputs: object, error: Exception | None) -> None:
            nonlocal answered
            answered += 1
            loop.call_later(0.001, ask)

        for at in range(clients):
            loop.call_later(0.003 * at, ask)
        await asyncio.sleep(0.5)
        before, started = answered, time.perf_counter()
        await asyncio.sleep(seconds)
        rate = (answered - before) / (time.perf_counter() - started)
        await batcher.drain(5)
        await batcher.close()
        return rate

    lines = ["| clients | no hold, rows/s | hold 20%, rows/s |", "|---|---|---|"]
    for clients in (1, 2, 4, 8, 16):
        rates: dict[float, list[float]] = {0.0: [], 0.2: []}
        for _ in range(rounds):
            for share, kept in rates.items():
                kept.append(uvloop.run(measure(clients, share)))
        lines.append(
            f"| {clients} | " + " | ".join(f"{np.median(kept):.0f}" for kept in rates.values()) + " |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--real", action="store_true", help="also measure ONNX Runtime with a real thread")
    arguments = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    table, seen = simulated()
    plot(seen)
    text = [
        "# The hold",
        "The engine itself in virtual time: run times as stated, a round trip of 300 us on average, a "
        "hand-over of 50 us, 20 s of traffic a cell. `python -m benchmarks.hold` writes this page again.",
        "![rows/s by clients](hold.svg)",
        table,
    ]
    if arguments.real:
        text += [
            "### Six dense layers of 2048 in ONNX Runtime, in real time",
            "One thread for the model, the clients in the server's own loop with a round trip of 1 ms, "
            "medians of five rounds in turn, on a machine that others used as well: read the ratios.",
            real(),
        ]
    (RESULTS / "hold.md").write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
