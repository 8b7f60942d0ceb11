"""Results as rows of text, one function a scenario; Markdown and terminal share them."""

from __future__ import annotations

from benchmarks.catalogue import SERVERS
from benchmarks.plan import Data, cell

Table = list[list[str]]


def title(key: str) -> str:
    """A server's name in the tables."""
    return SERVERS[key].title if key in SERVERS else key


def figure(value: float) -> str:
    """A number with the digits that it deserves: three at least, thousands parted."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def rate(found: Data | None) -> str:
    """A median with its noise, or a dash."""
    return f"{figure(found['rate']['median'])} ±{found['noise']:.0%}" if found else "-"


def micros(value: float) -> str:
    """A duration given in microseconds, in the unit that reads best."""
    if value >= 1e6:
        return f"{value / 1e6:.1f} s"
    return f"{value / 1e3:.3g} ms" if value >= 1000 else f"{value:.0f} µs"


def mebibytes(value: float) -> str:
    """Bytes as MiB."""
    return f"{value / (1 << 20):.0f}"


def memory(own: float, children: float) -> str:
    """Resident memory of a process, and of its children where it has any."""
    return mebibytes(own) + (f" + {mebibytes(children)}" if children else "")


def throughput(data: Data, unit: str, detail: str, busy: str) -> Table:
    """One row a server, fastest first at `busy`; p50 at the first case, the rest at `busy`."""
    cases = data["cases"]
    head = ["server", *(f"{case} ({unit}/s)" if i == 0 else case for i, case in enumerate(cases))]
    table = [
        [
            *head,
            f"p50 at {detail}",
            f"p99 at {busy}",
            f"CPU/request at {busy}",
            f"core used at {busy}",
            "RSS MiB",
        ]
    ]
    for key in ranked(data, busy):
        cells = [cell(data, key, case) for case in cases]
        lone, full = cell(data, key, detail), cell(data, key, busy)
        row = [title(key), *(rate(one) for one in cells)]
        row.append(micros(lone["p50_us"]["median"]) if lone else "-")
        row += (
            [micros(full["p99_us"]["median"]), micros(full["cpu_us"]["median"]), core_used(full)]
            if full
            else ["-"] * 3
        )
        last = next((one for one in reversed(cells) if one), None)
        row.append(memory(last["rss"]["median"], last["rss_children"]["median"]) if last else "-")
        table.append(row)
    return table


def core_used(one: Data) -> str:
    """How much of its core the server really had: low means that the load or a neighbour was in the way."""
    return f"{one['cpu_us']['median'] * one['rate']['median'] / 1e6:.0%}"


def ranked(data: Data, case: str) -> list[str]:
    """The measured servers, fastest first in `case`; those without that case last."""
    keys = list(dict.fromkeys(one["server"] for one in data["cells"]))
    return sorted(keys, key=lambda key: -(cell(data, key, case) or {"rate": {"median": 0}})["rate"]["median"])


def peers(data: Data) -> Table:
    return throughput(data, "requests", "1", "32")


def grpc(data: Data) -> Table:
    return throughput(data, "requests", "1x1", "4x8")


def image(data: Data) -> Table:
    return throughput(data, "requests", "json 1", "json 8")


def heavy(data: Data) -> Table:
    """Rows a second, with the share of the bare loop at the same batch size."""
    table = [["server", *(f"{case} connections" for case in data["cases"]), "p50 at 8", "RSS MiB"]]
    bare = [figure(data["bare"][case]["median"]) for case in data["cases"]]
    table.append(["bare ONNX Runtime loop, rows/s", *bare, "-", "-"])
    for key in ranked(data, "8"):
        cells = [cell(data, key, case) for case in data["cases"]]
        shown = [f"{figure(c['rate']['median'])} ({c['of_bare']:.2f})" if c else "-" for c in cells]
        eight = cell(data, key, "8")
        size = memory(eight["rss"]["median"], eight["rss_children"]["median"]) if eight else "-"
        table.append([title(key), *shown, micros(eight["p50_us"]["median"]) if eight else "-", size])
    return table


def start(data: Data) -> Table:
    table = [["server", "first right answer (s)", "lowest to highest", "RSS MiB"]]
    for one in sorted(data["cells"], key=lambda c: c["seconds"]["median"]):
        name = (
            f"{title('modelyard')}, {one['case']}" if one["server"].startswith("modelyard") else one["case"]
        )
        spent = one["seconds"]
        span = f"{spent['low']:.2f} to {spent['high']:.2f}"
        size = memory(one["rss"]["median"], one["rss_children"]["median"])
        table.append([name, f"{spent['median']:.2f}", span, size])
    return table


def soak(data: Data) -> Table:
    """The soak in two columns."""
    if "trend" not in data:
        return [["soak", "not run"]]
    line = data["trend"]
    verdict = "flat" if line["flat"] else "NOT FLAT"
    sizes = [size for _, size in data["memory"]]
    return [
        ["figure", "value"],
        ["load", f"{data['seconds'] / 60:g} minutes at {data['connections']} connections"],
        ["requests", f"{data['requests']:,} ({data['refused']} refused or failed)"],
        ["requests/s, median and range of ten-second pieces", _range(data["rate"])],
        ["resident memory, first to last sample", f"{mebibytes(sizes[0])} to {mebibytes(sizes[-1])} MiB"],
        ["slope after settling", f"{line['slope_per_minute'] / 1024:+.1f} KiB a minute"],
        ["grown after settling", f"{line['grown'] / (1 << 20):+.2f} MiB: {verdict} (flat is below 2%)"],
    ]


def _range(spread: Data) -> str:
    return f"{figure(spread['median'])} ({figure(spread['low'])} to {figure(spread['high'])})"


def polite(data: Data) -> Table:
    """One row an abuse: the polite client's p99 (and how many times quiet) beside it, for each server.

    The last column is the longest turn of Modelyard's own loop meanwhile, in processor time.
    """
    keys = list(data["servers"])
    head = ["the other clients send", *(f"{title(key)}: p99" for key in keys)]
    watched = any("loop" in one for one in data["servers"].get("modelyard", {}).values())
    table = [[*head, "Modelyard's loop: p99 and longest turn"] if watched else head]
    for case in data["cases"]:
        row = [case]
        for key in keys:
            one = data["servers"][key].get(case)
            row.append(_manners(one) if one else "-")
        if watched:
            loop = data["servers"]["modelyard"].get(case, {}).get("loop")
            row.append(f"{micros(loop['p99_us'])}, {micros(loop['max_us'])}" if loop else "-")
        table.append(row)
    return table


def _manners(one: Data) -> str:
    text = micros(one["p99_us"])
    if "p99_each_us" in one:
        text += f" ({micros(min(one['p99_each_us']))} to {micros(max(one['p99_each_us']))})"
    if "over_quiet" in one:
        text += f" ({one['over_quiet']:.1f}x)"
    if one["failed"]:
        text += f", {one['failed']} unanswered"
    if one.get("grown", 0) > 64 << 20:
        text += f", +{mebibytes(one['grown'])} MiB"
    return text + (f", then {one['after']}" if one.get("after", "well") != "well" else "")


def swaps(data: Data) -> Table:
    """Quiet and moving side by side."""
    quiet, moving, memory = data["quiet"], data["moving"], data["memory"]
    table = [["figure", "quiet", f"during {data['moves']} moves"]]
    for name, key in (("p50", "p50_us"), ("p99", "p99_us")):
        table.append([name, *(_micros_range(one[key]) for one in (quiet, moving))])
    table.append(["requests/s", *(_range(one["rate"]) for one in (quiet, moving))])
    table.append(["requests", *(f"{one['requests']:,}" for one in (quiet, moving))])
    table.append(["refused or failed", *(str(one["refused"]) for one in (quiet, moving))])
    sizes = [mebibytes(memory[when][1]) for when in ("before", "after")]
    return [*table, ["worker's RSS MiB, after 20 moves and after all", *sizes]]


def _micros_range(spread: Data) -> str:
    return f"{micros(spread['median'])} ({micros(spread['low'])} to {micros(spread['high'])})"


def workers(data: Data) -> Table:
    """One row a model and number of workers."""
    table = [["model", "workers", "cores", "requests/s", "p99", "CPU/request", "load's core", "RSS MiB"]]
    for one in data["cells"]:
        row = [one["model"], str(one["workers"]), str(one["cores"]), _range(one["rate"])]
        row += [micros(one["p99_us"]["median"]), micros(one["cpu_us"]["median"])]
        table.append([*row, f"{one['load_busy']['median']:.0%}", mebibytes(one["memory"][1])])
    return table


def registry(data: Data) -> Table:
    """One row a verb."""
    table = [["verb", "median", "lowest to highest"]]
    for one in data["cells"]:
        seen = one["seconds"]
        span = f"{micros(seen['low'] * 1e6)} to {micros(seen['high'] * 1e6)}"
        table.append([one["verb"], micros(seen["median"] * 1e6), span])
    return table


def many(data: Data) -> Table:
    """A thousand models in two columns."""
    first, last = data["memory"]["first"], data["memory"]["last"]
    cold, warm = data["cold"], data["warm"]
    return [
        ["figure", "value"],
        ["models released, memory budget", f"{data['models']:,}, {data['budget']}"],
        ["from start to listening for all of them", f"{data['up_s']:.1f} s"],
        ["until the budget was filled", f"{data['calm_s']:.1f} s"],
        ["loaded at the end", str(data["loaded"])],
        ["RSS MiB, control + worker, then", f"{mebibytes(first[0])} + {mebibytes(first[1])}"],
        ["RSS MiB, control + worker, at the end", f"{mebibytes(last[0])} + {mebibytes(last[1])}"],
        [f"cold answer, median and p99 of {cold['count']}", _seconds(cold)],
        [f"loaded answer, median and p99 of {warm['count']}", _seconds(warm)],
    ]


def _seconds(seen: Data) -> str:
    return f"{micros(seen['median'] * 1e6)}, {micros(seen['p99'] * 1e6)}"


def converted(data: Data) -> Table:
    """One row a model, and for each number of rows both rates and their ratio."""
    head = ["model", "usual call", "served by"]
    for rows in data["cases"]:
        head += [f"{rows} row{'s' if rows != '1' else ''}: usual calls/s", "ours", "ratio"]
    table = [head]
    for name in dict.fromkeys(one["server"] for one in data["cells"]):
        cells = [one for one in data["cells"] if one["server"] == name]
        row = [name, f"`{cells[0]['usual_call']}`", "graph" if cells[0]["road"] == "onnx" else "its host"]
        for one in cells:
            row += [_range(one["usual"]), _range(one["ours"]), f"{one['times']:.3g}x"]
        table.append(row)
    return table


def native(data: Data) -> Table:
    """One row a model, and for each number of connections both rates and the share of the bare loop."""
    head = ["model"]
    for case in data["cases"]:
        head += [
            f"{case} connection{'s' if case != '1' else ''}: bare rows/s",
            "a batch takes",
            "served",
            "share",
        ]
    table = [head]
    for key, words in data["titles"].items():
        row = [words]
        for case in data["cases"]:
            one = cell(data, key, case)
            row += (
                [
                    _range(one["bare"]),
                    micros(one["batch_s"] * 1e6),
                    _range(one["rows"]),
                    f"{one['of_bare']:.2f}",
                ]
                if one
                else ["-"] * 4
            )
        table.append(row)
    return table


def dialects(data: Data) -> Table:
    """One row a dialect, and for each number of rows its rate, its share of V2's, its processor time."""
    head = ["dialect"]
    for rows in data["cases"]:
        head += [f"{rows} row{'s' if rows != '1' else ''}: requests/s", "of V2's", "p50", "CPU/request"]
    table = [head]
    for key, words in data["titles"].items():
        row = [words]
        for rows in data["cases"]:
            one = cell(data, "modelyard", f"{key} {rows}")
            row += (
                [
                    rate(one),
                    f"{one['of_v2']:.2f}",
                    micros(one["p50_us"]["median"]),
                    micros(one["cpu_us"]["median"]),
                ]
                if one
                else ["-"] * 4
            )
        table.append(row)
    return table


TABLES = {
    "peers": peers,
    "grpc": grpc,
    "image": image,
    "heavy": heavy,
    "middling": heavy,
    "start": start,
    "polite": polite,
    "soak": soak,
    "swaps": swaps,
    "workers": workers,
    "registry": registry,
    "many": many,
    "converted": converted,
    "native": native,
    "dialects": dialects,
}


def plain(table: Table) -> str:
    """A table for a terminal."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for number, row in enumerate(table):
        first = row[0].ljust(widths[0])
        lines.append(
            "  " + "  ".join([first, *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        )
        if number == 0:
            lines.append("  " + "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def markdown(table: Table) -> str:
    """A table for a page."""
    head, *rows = table
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))
