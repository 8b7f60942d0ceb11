"""What the project says of its speed, each with what this run measured. Nothing here fails a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from benchmarks.catalogue import SERVERS
from benchmarks.plan import Data, cell, median, times
from benchmarks.rounds import ratio


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence and its measure; `held` is None when the run did not measure it."""

    text: str
    measured: str
    held: bool | None


LONG_S = 0.005
"""Of models that take longer for a batch it is said that their host costs little."""
Results = dict[str, Data]


def claims(results: Results) -> list[Claim]:
    """Every claim, in the order in which a reader would ask."""
    return [
        *_tabular(results),
        *_grpc(results),
        *_image(results),
        *_heavy(results),
        *_start(results),
        *_polite(results),
        *_loop(results),
        *_soak(results),
        *_swaps(results),
        *_workers(results),
        *_registry(results),
        *_converted(results),
        *_native(results),
        *_dialects(results),
    ]


def _at_least(text: str, measured: float | None, wanted: float, unit: str = "x") -> Claim:
    if measured is None:
        return Claim(text, "not measured", None)
    return Claim(text, f"{measured:.3g}{unit}", measured >= wanted)


def _below(text: str, measured: float | None, limit: float, unit: str) -> Claim:
    if measured is None:
        return Claim(text, "not measured", None)
    return Claim(text, f"{measured:.3g}{unit}", measured < limit)


def _tabular(results: Results) -> Iterator[Claim]:
    data = results.get("peers", {"cells": []})
    for peer, wanted in (("fastapi", 10), ("fastapi-plain", 10), ("flask", 200), ("flask-one-pass", 200)):
        for case in ("32", "128"):
            measured = times(data, "modelyard", peer, case)
            text = f"HTTP, {case} connections: at least {wanted}x {SERVERS[peer].title}"
            yield _at_least(text, measured, wanted)
    for peer in ("fastapi", "flask"):
        text = f"HTTP, 1 connection: p50 below that of {SERVERS[peer].title}"
        yield _below(text, times(data, "modelyard", peer, "1", "p50_us"), 1, " of theirs")


def _grpc(results: Results) -> Iterator[Claim]:
    data = results.get("grpc", {"cells": []})
    peer = SERVERS["grpcaio"].title
    measured = times(data, "modelyard", "grpcaio", "4x8")
    yield _at_least(f"gRPC, 4 connections x 8 streams: at least 5x {peer}", measured, 5)
    yield _below(
        f"gRPC, one stream: p50 below that of {peer}",
        times(data, "modelyard", "grpcaio", "1x1", "p50_us"),
        1,
        " of theirs",
    )


def _image(results: Results) -> Iterator[Claim]:
    data = results.get("image", {"cells": []})
    for case in ("binary 1", "binary 8"):
        measured = times(data, "modelyard", "triton", case)
        yield _at_least(f"Image, {case}: at least level with {SERVERS['triton'].title}", measured, 1)
    for case in ("json 1", "json 8"):
        rest = {c["server"]: c["rate"]["median"] for c in data["cells"] if c["case"] == case}
        rest.pop("modelyard", None)
        best = max(rest, key=lambda key: rest[key], default=None)
        named = f" (the best: {SERVERS[best].title})" if best else ""
        text = f"Image, {case}: at least 2x every peer{named}"
        yield _at_least(text, times(data, "modelyard", best, case) if best else None, 2)


def _heavy(results: Results) -> Iterator[Claim]:
    data = results.get("heavy", {"cells": []})
    for case in ("1", "4", "8", "16"):
        one = cell(data, "modelyard", case)
        text = f"Heavy model, {case} connections: at least 0.95 of the bare loop at that batch size"
        yield _at_least(text, one["of_bare"] if one else None, 0.95, "")
    measured = ratio(median(data, "modelyard", "8"), median(data, "modelyard", "1"))
    yield _at_least("Heavy model: 8 clients at least 3x one client", measured, 3)


def _start(results: Results) -> Iterator[Claim]:
    data = results.get("start", {"cells": []})
    limits = (
        ("onnx", 1.5),
        ("onnx, first time", 1.5),
        ("onnx, first time, on all cores", 1.5),
        ("pickle, first time", 6.0),
        ("pickle, compiled before", 1.5),
    )
    for case, limit in limits:
        one = next((c for c in data["cells"] if c["case"] == case), None)
        text = f"First right answer, {case}: under {limit:g} s"
        yield _below(text, one["seconds"]["median"] if one else None, limit, " s")
    one = next((c for c in data["cells"] if c["case"] == "onnx"), None)
    size = (one["rss"]["median"] + one["rss_children"]["median"]) / (1 << 20) if one else None
    yield _below("Resident memory with iris: under 110 MiB", size, 110, " MiB")


def _polite(results: Results) -> Iterator[Claim]:
    rows = results.get("polite", {}).get("servers", {}).get("modelyard")
    beside = {name: one for name, one in (rows or {}).items() if "over_quiet" in one}
    worst = max(beside, key=lambda name: beside[name]["over_quiet"], default=None)
    text = "Polite client: p99 within 3x of quiet beside every abuse" + (
        f" (the worst: {worst})" if worst else ""
    )
    if worst is None:
        yield Claim(text, "not measured", None)
    else:
        unhurt = all(one["failed"] == 0 and one["after"] == "well" for one in beside.values())
        middle = beside[worst]["over_quiet"]
        each = beside[worst].get("over_quiet_each", [middle])
        if unhurt and middle > 3 >= min(each):
            span = f"{min(each):.3g}x to {max(each):.3g}x"
            yield Claim(text, f"too noisy to say: from {span} in {len(each)} rounds", None)
            return
        lost = "" if unhurt else ", and requests were lost"
        yield Claim(text, f"{middle:.3g}x{lost}", middle <= 3 and unhurt)


def _loop(results: Results) -> Iterator[Claim]:
    rows = results.get("polite", {}).get("servers", {}).get("modelyard", {})
    turns = {name: one["loop"]["max_us"] / 1000 for name, one in rows.items() if one.get("loop")}
    worst = max(turns, key=lambda name: turns[name], default=None)
    named = f" (the longest: {worst})" if worst else ""
    text = f"Beside every abuse: no turn of the event loop over 10 ms of processor time{named}"
    yield _below(text, turns[worst] if worst else None, 10, " ms")


def _soak(results: Results) -> Iterator[Claim]:
    line = results.get("soak", {}).get("trend")
    minutes = results.get("soak", {}).get("seconds", 600) / 60
    text = f"Soak, {minutes:g} minutes at full load: memory flat, nothing refused"
    if line is None:
        yield Claim(text, "not measured", None)
    else:
        refused = results["soak"]["refused"]
        grown = f"{line['grown'] / (1 << 20):+.2f} MiB, {refused} refused"
        yield Claim(text, grown, line["flat"] and refused == 0)


def _swaps(results: Results) -> Iterator[Claim]:
    data = results.get("swaps")
    text = "200 moves under 64 connections: p99 within 3x of quiet, nothing refused"
    grown = "200 moves: the worker's memory within 10% of before"
    if data is None:
        yield Claim(text, "not measured", None)
        yield Claim(grown, "not measured", None)
        return
    times = data["moving"]["p99_us"]["median"] / data["quiet"]["p99_us"]["median"]
    refused = data["moving"]["refused"]
    yield Claim(text, f"{times:.3g}x, {refused} refused", times <= 3 and refused == 0)
    before, after = (data["memory"][when][1] for when in ("before", "after"))
    yield Claim(grown, f"{after / before - 1:+.1%}", after < 1.1 * before)


def _workers(results: Results) -> Iterator[Claim]:
    rates = {
        (one["model"], one["workers"]): one["rate"]["median"]
        for one in results.get("workers", {}).get("cells", ())
    }
    for model, words in (("iris", "beside the load"), ("middling", "with next to no load")):
        times = ratio(rates.get((model, 2)), rates.get((model, 1)))
        yield _at_least(f"{model}: two workers on two cores, {words}, at least 1.6x one on one", times, 1.6)


def _registry(results: Results) -> Iterator[Claim]:
    cells = results.get("registry", {}).get("cells", ())
    for verb in ("list, a page of 100 models", "show a model", "show a version", "release"):
        one = next((cell["seconds"]["median"] * 1000 for cell in cells if cell["verb"] == verb), None)
        yield _below(f"100,000 versions, {verb}: under 100 ms", one, 100, " ms")


def _dialects(results: Results) -> Iterator[Claim]:
    data = results.get("dialects", {"cells": []})
    for key, words in (("tfs", "TensorFlow Serving, REST"), ("torchserve", "TorchServe")):
        for rows in ("1", "32"):
            one = cell(data, "modelyard", f"{key} {rows}")
            text = f"{words}, {rows} row{'s' if rows != '1' else ''}: at least 0.85 of V2's requests a second"
            yield _at_least(text, one["of_v2"] if one else None, 0.85, "")
    for rows in ("1", "32"):
        one = cell(data, "modelyard", f"tfs-grpc {rows}")
        text = (
            f"TensorFlow Serving, gRPC, {rows} row{'s' if rows != '1' else ''}: at least 0.85 of V2 over gRPC"
        )
        yield _at_least(text, one["of_v2"] if one else None, 0.85, "")


def _converted(results: Results) -> Iterator[Claim]:
    """A single row decides what a caller feels; the road itself is chosen by the product of both sizes."""
    times: dict[str, list[float]] = {}
    for one in results.get("converted", {}).get("cells", ()):
        times.setdefault(one["server"], []).append(one["times"])
    for words, found in (
        ("1 row", {name: each[0] for name, each in times.items()}),
        ("1 row and 256, the product of both ratios", {name: prod(each) for name, each in times.items()}),
    ):
        worst = min(found, key=lambda name: found[name], default=None)
        named = f" (the least: {worst})" if worst else ""
        text = f"Converted models, {words}: at least level with the usual call{named}"
        yield _at_least(text, found[worst] if worst else None, 1)


def _native(results: Results) -> Iterator[Claim]:
    data = results.get("native", {})
    cells = [one for one in data.get("cells", ()) if one["batch_s"] > LONG_S]
    if not cells:
        yield Claim("Native hosts of models over 5 ms: at least 0.9 of the bare loop", "not measured", None)
    for one in cells:
        words = (
            f"{data['titles'][one['server']]}, {one['case']} connection{'s' if one['case'] != '1' else ''}"
        )
        yield _at_least(f"Native host, {words}: at least 0.9 of the bare loop", one["of_bare"], 0.9, "")
