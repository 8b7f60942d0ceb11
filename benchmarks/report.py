"""Results on disk and on paper: raw JSON, a README with tables and plots, a checklist of the claims."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import plots, tables
from benchmarks.catalogue import SERVERS
from benchmarks.claims import Results, claims
from benchmarks.plan import Data

HEADINGS = {
    "peers": (
        "Small tabular rows over HTTP",
        "One iris row a request, 150 different rows in turn, forest of 100 trees. FastAPI stands there "
        "twice: as tutorials write it, and tuned, with all that is known to make it faster.",
    ),
    "grpc": (
        "Small tabular rows over gRPC",
        "`ModelInfer` with raw contents; columns are connections x streams.",
    ),
    "image": (
        "A 600 KB image tensor",
        "1 x 3 x 224 x 224 FP32 through an almost empty graph, as the JSON text that tritonclient sends "
        "and as binary.",
    ),
    "heavy": (
        "A heavy model",
        "Tens of milliseconds: six dense layers of 4096, one row a request; in brackets the share of the "
        "bare loop at that batch size. Binary bodies where a server speaks them, JSON where not.",
    ),
    "middling": (
        "A middling model",
        "The same with layers of 2048, around five milliseconds: what a server adds weighs four times as "
        "much.",
    ),
    "start": (
        "Start and memory",
        "From the process's start to the first right answer; memory after 150 answers.",
    ),
    "polite": (
        "A polite client beside abusive ones",
        "200 small requests a second on a fixed schedule, each latency counted from when it was due. The "
        "abuser shares the load's core as an idle process, so part of each rise is the load's own; the last "
        "column is the processor time between two calls of a timer of 1 ms on Modelyard's own event loop.",
    ),
    "soak": ("Soak", "Full load, memory of all processes sampled each second."),
    "swaps": (
        "Versions that change under load",
        "`modelyard up` with one worker and its control on the server's core: 200 releases, canaries, "
        "promotions and rollbacks between five versions of the iris forest, under 64 connections. Loading a "
        "version costs time of the same core.",
    ),
    "workers": (
        "One worker and two",
        "`modelyard up` with 32 connections for each worker. One worker has the server's core; two have both "
        "cores, and the load shares one of them: with the middling model it takes next to nothing.",
    ),
    "registry": (
        "A large registry",
        "100,000 versions of 1,000 models in SQLite on this machine's disk, each verb 60 times in one "
        "process; `release` and `push` wait for the disk. A look is what a control process reads when "
        "something changed.",
    ),
    "many": (
        "A thousand models",
        "The iris forest a thousand times under different names, all released, under a memory budget that a "
        "part of them fits into; every answer is checked. A cold answer is a request for a model that is not "
        "loaded: it waits for the load.",
    ),
    "converted": (
        "Converted models beside their framework's call",
        "Each model as its framework calls it and as Modelyard runs it, one thread each, no server: rows in, "
        "scores out. `its host` means that the original won the race against its graph; the way to "
        "the host and back is in the figure.",
    ),
    "native": (
        "Native hosts beside the bare loop",
        "`modelyard serve --native` with binary bodies, of one row or as the table says, against a "
        "loop of the framework's call at the batch size that so many connections make, on the same core.",
    ),
    "dialects": (
        "The dialects beside V2",
        "The same iris rows for the same server: over HTTP by 32 connections, compared with V2's JSON; over "
        "gRPC by 4 connections x 8 streams, compared with V2's raw contents. TorchServe and MLflow answer "
        "with the label, the others with label and scores; the answers of every way are checked.",
    ),
}
METHOD = """\
**How it was measured.** Each server runs on one core and the load on another; every thread of a
server is checked to be on its core. All servers of a table are up at the same time, but all except the
one under load are stopped (SIGSTOP); Triton's processes do not survive that, so Triton idles beside
the others. Rounds are interleaved (A B C, B C A, ...); a figure is the median of its rounds; what is
claimed of one thing beside another is the median of what each round says of the two. ± is half of
the range between the lowest and the highest. Before a server is measured its answers to real
questions, many at once, are compared with the model's own; one that answers wrong is left out.
Refused or failed requests are never counted as answers. HTTP load is wrk with one thread, gRPC load is
h2load; numeric libraries of every server are told to use one thread. CPU/request is the processor time
of a server's whole tree divided by its answers: it is less touched by neighbours than the rate. "Core
used" is the share of its core that a server had: well below 100% under many connections means that
the load, or a neighbour on this machine, was the limit. RSS is the first process + its children, after
the last load.
"""


def save(folder: Path, name: str, found: Data) -> None:
    """Keep a scenario's raw data."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def load(folder: Path) -> Results:
    """The raw data of every scenario that was run."""
    paths = {name: folder / f"{name}.json" for name in HEADINGS}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def terminal(name: str, found: Data) -> str:
    """One scenario for the terminal."""
    lines = [tables.plain(tables.TABLES[name](found))]
    lines += [f"  left out: {tables.title(key)}: {why}" for key, why in found["skipped"].items()]
    return "\n".join(lines)


def checklist(folder: Path, scenarios: list[str]) -> str:
    """Every claim with what these scenarios measured; older results in the folder are left out."""
    marks = {True: "yes", False: "NO ", None: " - "}
    fresh = {name: data for name, data in load(folder).items() if name in scenarios}
    return "\n".join(f"  {marks[c.held]}  {c.text}: {c.measured}" for c in claims(fresh))


def write(folder: Path) -> None:
    """Write the README and the plots from the raw data in `folder`."""
    results = load(folder)
    if not results:
        return
    newest = max(results.values(), key=lambda data: data["machine"]["date"])
    about = [f"- {name}: {value}" for name, value in newest["machine"].items()]
    parts = ["# Benchmarks", "Made by `make bench`; do not edit.", METHOD, "## The machine", "\n".join(about)]
    parts += [_warning(results)]
    parts += ["## What is claimed, and what this run saw", _claims(results)]
    for name, data in results.items():
        heading, words = HEADINGS[name]
        plan = data["plan"]
        times = f"{plan['rounds']} rounds of {plan['seconds']} s" if name != "soak" else f"{plan['soak_s']} s"
        measured = f"{data['machine']['date']}, {times}, {data['steal']:.1%} of the time stolen by the host."
        parts += [f"## {heading}", words, tables.markdown(tables.TABLES[name](data)), measured]
        parts += ["\n".join(f"- left out: {tables.title(k)}: {why}" for k, why in data["skipped"].items())]
        plot = plots.draw(name, data, folder)
        parts += [f"![{heading}]({plot})"] if plot else []
    parts += ["## What was chosen for each server", _choices()]
    (folder / "README.md").write_text("\n\n".join(part for part in parts if part) + "\n")


def _warning(results: Results) -> str:
    busy = [float(data["machine"]["busy before the run"].split("%")[0]) for data in results.values()]
    if max(busy) <= 10:
        return ""
    return (
        f"**This machine was not idle: {max(busy):.0f}% of all cores were busy before a run began.** "
        "Believe CPU/request before rates, and repeat the run on a quiet machine."
    )


def _claims(results: Results) -> str:
    marks = {True: "yes", False: "**no**", None: "-"}
    rows = [[c.text, c.measured, marks[c.held]] for c in claims(results)]
    return tables.markdown([["claim", "measured", "held"], *rows])


def _choices() -> str:
    return "\n".join(f"- **{s.title}**: {s.note}." for s in SERVERS.values())
