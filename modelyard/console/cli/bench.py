"""``modelyard bench URL MODEL``: how fast a served model answers, closed or open loop."""

from __future__ import annotations

import asyncio
import math
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import orjson
import uvloop

from modelyard.client.address import parse_address
from modelyard.client.call import Order
from modelyard.client.client import Client
from modelyard.client.errors import BadReply
from modelyard.client.feed import slice_rows
from modelyard.client.load import Plan, Result, Run, refuse_if_dead
from modelyard.client.load_users import Crowd, parse
from modelyard.client.rest import Rest
from modelyard.client.rpc import Rpc
from modelyard.console.text import ProgressLine, histogram, seconds, table, terminal_width
from modelyard.core.errors import BadInput, MissingExtra
from modelyard.core.ref import parse_ref
from modelyard.formats.fit import to_inputs
from modelyard.formats.rows import read_rows
from modelyard.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelyard.client.address import Address
    from modelyard.client.call import Answer, Call, Dialect, Inference
    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array

VARIANTS = 32
"""Different requests that are sent in turn, so that nothing can answer from memory."""
BINS, QUANTILES = 12, (0.5, 0.9, 0.99)


class Counts(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2 only
    """Whole numbers with commas between them."""

    name = "counts"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """``"1,8"`` -> ``[1, 8]``."""
        if isinstance(value, list):
            return value
        try:
            found = [int(part) for part in str(value).split(",")]
        except ValueError:
            found = []
        if not found or min(found) < 1 or max(found) > 10_000:
            self.fail(f"{value!r} is no list of whole numbers from 1 to 10000, such as 1,8,32", param, ctx)
        return found


@click.command()
@click.argument("url")
@click.argument("model")
@click.option(
    "--connections", default="1,8,32", show_default=True, type=Counts(), help="At once; one run each."
)
@click.option(
    "--duration", default=5.0, show_default=True, type=click.FloatRange(0.05), help="Seconds of each run."
)
@click.option(
    "--warmup", default=0.5, show_default=True, type=click.FloatRange(0), help="Seconds not counted."
)
@click.option(
    "--rate", type=click.FloatRange(0.01), help="Open loop: requests/s that arrive whatever happens."
)
@click.option("--rows", type=click.Path(path_type=Path), help="Real rows; made from the metadata otherwise.")
@click.option("--rows-per-request", default=1, show_default=True, type=click.IntRange(1))
@click.option("--binary/--json-body", default=True, help="REST: raw tensors (default) or JSON.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Latency curves as .png or .svg."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, for machines.")
def bench(
    url: str,
    model: str,
    connections: list[int],
    duration: float,
    warmup: float,
    rate: float | None,
    rows: Path | None,
    rows_per_request: int,
    binary: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Load MODEL (NAME or NAME:VERSION) at URL and say how fast it answers.

    Closed loop: each connection sends its next request when it has the answer. With --rate the loop is open:
    requests arrive at random moments (Poisson) and latency counts from the arrival, waiting included.
    """
    if plot is not None:
        _check_plot(plot)
    ref, address = parse_ref(model), parse_address(url)
    version = "" if ref.version is None else str(ref.version)
    with Client(url, binary=binary, timeout_s=30) as yard:
        signature = yard.metadata(ref.name, ref.version).signature
        variants = _variants(signature, rows, rows_per_request)
        try:
            first = yard.infer(ref.name, variants[0], version=ref.version)
        except BadInput as error:
            hint = "" if rows else "; made-up rows do not suit this model: give --rows FILE"
            raise BadInput(f"{error.message}{hint}") from error
    dialect: Dialect = Rpc() if address.is_grpc else Rest(binary)
    calls = [dialect.infer(Order(ref.name, version, inputs)) for inputs in variants]
    check = checker(calls[0], first)
    plans = [Plan(count, duration, rate, warmup) for count in connections]
    results = _run_all(address, plans, calls, check)
    if plot is not None:
        draw_curves(plot, results, f"{ref.name} at {address.url}")
    form = "gRPC" if address.is_grpc else "REST, raw tensors" if binary else "REST, JSON"
    if as_json:
        click.echo(orjson.dumps(document(results, address.url, model, rows_per_request, form)).decode())
    else:
        size = f"{rows_per_request} row{'s' * (rows_per_request > 1)} a request"
        source = f"from {rows.name}" if rows else "made up"
        click.echo(f"{ref.name} at {address.url}, {form}, {size}, {source}\n")
        bold = sys.stdout.isatty() and read_settings().color
        click.echo(report(results, rows_per_request, bold))
        if plot is not None:
            click.echo(f"\nplot written to {plot}")
    for result in results:
        refuse_if_dead(result)


def _variants(signature: Signature, rows: Path | None, size: int) -> list[dict[str, Array]]:
    """Different requests of ``size`` rows each."""
    names = [spec.name for spec in signature.inputs]
    if not signature.batched and size > 1:
        raise BadInput("the first axis of this model does not count rows: leave out --rows-per-request")
    if rows is not None:
        arrays = to_inputs(read_rows(rows), signature)
    else:
        draw = np.random.default_rng(0)
        arrays = tuple(make(spec, VARIANTS * size, signature.batched, draw) for spec in signature.inputs)
    whole = dict(zip(names, arrays, strict=True))
    if not signature.batched:
        return [whole]
    count = len(arrays[0])
    if count < size:
        at = np.arange(size) % count
        return [{name: np.ascontiguousarray(array[at]) for name, array in whole.items()}]
    return [slice_rows(whole, start, start + size) for start in range(0, count - size + 1, size)][:VARIANTS]


def make(spec: TensorSpec, rows: int, batched: bool, draw: np.random.Generator) -> Array:
    """Rows of a datatype and shape when there are no real ones; an axis of any size gets size 1."""
    shape = [1 if size is None else size for size in spec.shape]
    if batched:
        shape[0] = rows
    kind = spec.dtype.kind
    if kind == "bytes":
        texts = np.empty(shape, object)
        texts.reshape(-1)[:] = [b"row %d" % at for at in range(texts.size)]
        return texts
    if kind == "float":
        return draw.standard_normal(shape).astype(spec.dtype.numpy)
    return draw.integers(0, 2, shape).astype(spec.dtype.numpy)


def checker(call: Call[Inference], first: dict[str, Array]) -> Callable[[Answer], None]:
    """Compare an answer with what the first one looked like: names, datatypes and shapes."""
    wanted = {name: (array.dtype, array.shape) for name, array in first.items()}

    def check(answer: Answer) -> None:
        found = call.read(parse(answer)).outputs
        if {name: (array.dtype, array.shape) for name, array in found.items()} != wanted:
            raise BadReply("an answer under load has other outputs than the first answer had")

    return check


def _run_all(
    address: Address, plans: Sequence[Plan], calls: Sequence[Call[Any]], check: Callable[[Answer], None]
) -> list[Result]:
    progress = ProgressLine()

    async def one(plan: Plan) -> Result:
        async with Crowd(address, calls, plan.connections) as users:
            watching = asyncio.create_task(_watch(progress, plan))
            try:
                return await Run(plan, users, check).go()
            finally:
                watching.cancel()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return [runner.run(one(plan)) for plan in plans]
    finally:
        progress.close()


async def _watch(progress: ProgressLine, plan: Plan) -> None:
    loop = asyncio.get_running_loop()
    started, whole_s = loop.time(), plan.warmup_s + plan.duration_s
    while True:
        progress.show(_crowd(plan), min((loop.time() - started) / whole_s, 0.99))
        await asyncio.sleep(0.2)


def report(results: Sequence[Result], rows: int, bold: bool = False) -> str:
    """The runs as a table, the latencies of the last as bars, and what to know about them."""
    heads = ["connections", "requests/s", "rows/s", "p50", "p90", "p99", "max", "errors"]
    opened = results[0].plan.rate is not None
    if opened:
        heads.insert(1, "asked/s")
    lines = []
    for result in results:
        line = [str(result.plan.connections), f"{result.rate:,.0f}", f"{result.rate * rows:,.0f}"]
        line += [_time(result.quantile_s(share)) for share in (*QUANTILES, 1.0)] + [f"{result.failed:,}"]
        if opened:
            line.insert(1, f"{result.plan.rate:,.0f}")
        lines.append(line)
    parts = [table(heads, lines, numbers=range(len(heads)), bold=bold)]
    last = results[-1]
    if len(last.latencies_s) > 1:
        parts.append(
            f"latency at {_crowd(last.plan)}\n"
            + histogram(bins(last.latencies_s), min(terminal_width(), 100))
        )
    remarks = [remark for result in results for remark in _remarks(result)]
    if remarks:
        parts.append("\n".join(remarks))
    return "\n\n".join(parts)


def _crowd(plan: Plan) -> str:
    return f"{plan.connections} connection" + ("" if plan.connections == 1 else "s")


def _time(value_s: float) -> str:
    return "-" if math.isnan(value_s) else seconds(value_s)


def _remarks(result: Result) -> list[str]:
    name = _crowd(result.plan)
    found = []
    if result.errors:
        finding, count = next(iter(result.errors.items()))
        found.append(f"{name}: {result.errors.total():,} errors; first ({count:,} times): {finding}")
    if result.unanswered:
        found.append(f"{name}: {result.unanswered:,} requests had no answer 5 s after the end")
    if result.bottleneck:
        found.append(
            f"{name}: this generator used {result.cpu_share:.0%} of a core, so it may be the limit, not the "
            "server; run several at once"
        )
    if result.overloaded:
        found.append(
            f"{name}: {result.arrived_rate:,.0f}/s arrived and {result.rate:,.0f}/s were answered: overloaded"
        )
    return found


def bins(latencies_s: Array, count: int = BINS) -> list[tuple[str, int]]:
    """Latencies in bins whose edges grow by a constant factor; each is named by its upper edge.

    The slowest hundredth may lie far out: the last bin takes all beyond the 99.9th percentile.
    """
    low = max(float(latencies_s[0]), 1e-6)
    high = max(float(np.quantile(latencies_s, 0.999)), low * 1.05)
    edges = np.geomspace(low, high, count + 1)[1:]
    counts, _ = np.histogram(latencies_s, [0.0, *edges, np.inf])
    names = [f"to {seconds(edge)}" for edge in edges] + [f"over {seconds(edges[-1])}"]
    return list(zip(names, counts.tolist(), strict=True))


def document(results: Sequence[Result], url: str, model: str, rows: int, form: str) -> dict[str, Any]:
    """The runs for machines; every key is always there, times are seconds."""
    return {
        "url": url,
        "model": model,
        "form": form,
        "rows_per_request": rows,
        "runs": [
            {
                "connections": result.plan.connections,
                "rate": result.plan.rate,
                "duration_s": result.seconds,
                "requests": len(result.latencies_s),
                "requests_per_s": result.rate,
                "rows_per_s": result.rate * rows,
                "p50_s": result.quantile_s(0.5),
                "p90_s": result.quantile_s(0.9),
                "p99_s": result.quantile_s(0.99),
                "max_s": result.quantile_s(1.0),
                "errors": dict(result.errors),
                "unanswered": result.unanswered,
                "generator_cpu_share": result.cpu_share,
                "generator_is_bottleneck": result.bottleneck,
            }
            for result in results
        ],
    }


def _check_plot(plot: Path) -> None:
    """Find out before the run whether its plot can be drawn."""
    if plot.suffix.lower() not in (".png", ".svg"):
        raise click.BadParameter(f"{plot.name!r} must end in .png or .svg", param_hint="--plot")
    if not plot.parent.is_dir():
        raise click.BadParameter(f"there is no folder {str(plot.parent)!r}", param_hint="--plot")
    if find_spec("matplotlib") is None:
        raise MissingExtra("--plot needs matplotlib; run: pip install 'modelyard[plot]'")


def draw_curves(plot: Path, results: Sequence[Result], title: str) -> None:
    """Latency over percentile, one curve a run; the percentiles are spread towards the tail."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for result in results:
        count = len(result.latencies_s)
        if not count:
            continue
        beyond = 1 - np.arange(count) / count
        axes.plot(1 / beyond, result.latencies_s * 1e3, label=_crowd(result.plan))
    marks = {1: "0", 2: "50", 10: "90", 100: "99", 1000: "99.9", 10_000: "99.99"}
    axes.set_xscale("log")
    axes.set_xticks(list(marks), [f"{name}%" for name in marks.values()])
    axes.minorticks_off()
    axes.set_yscale("log")
    axes.set(title=title, xlabel="share of requests that were faster", ylabel="latency, ms")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False)
    figure.savefig(plot, dpi=150)
