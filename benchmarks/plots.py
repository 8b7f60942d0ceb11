"""One picture a scenario, as SVG: Modelyard in colour, its peers in greys, nothing else to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.plan import Data, cell
from benchmarks.tables import figure, micros, ranked, title

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
OURS = ("#9fc5e8", "#4a90c2", "#0b5394")
THEIRS = ("#d9dde2", "#b4bcc6", "#8a95a3")
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlepad": 14,
    "xtick.color": FAINT,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "modelyard",
    "figure.facecolor": "white",
}


def draw(name: str, data: Data, folder: Path) -> str | None:
    """Draw a scenario into `folder`; the file's name, or nothing when there is nothing to show."""
    with mpl.rc_context(STYLE):
        made = DRAWINGS[name](data) if name in DRAWINGS else None
        if made is None:
            return None
        path = folder / f"{name}.svg"
        made.savefig(path, bbox_inches="tight", metadata={"Date": None})
        plt.close(made)
    return path.name


def _shades(key: str) -> tuple[str, ...]:
    return OURS if key.startswith("modelyard") else THEIRS


def _bars(
    data: Data, cases: list[str], by: str, heading: str, unit: str, legend: Callable[[str], str]
) -> Figure | None:
    keys = ranked(data, by)[::-1]
    if not keys:
        return None
    drawn, axes = plt.subplots(figsize=(8.6, 0.62 * len(keys) + 1.3))
    height = 0.8 / len(cases)
    longest = max(one["rate"]["median"] for one in data["cells"])
    for row, key in enumerate(keys):
        for at, case in enumerate(cases):
            one = cell(data, key, case)
            if one is None:
                continue
            y = row + 0.4 - height * (at + 0.5)
            seen = one["rate"]
            axes.barh(y, seen["median"], height * 0.9, color=_shades(key)[at + 3 - len(cases)])
            axes.plot([seen["low"], seen["high"]], [y, y], color=INK, linewidth=0.8)
            right = max(seen["high"], seen["median"]) + longest * 0.008
            axes.text(right, y, figure(seen["median"]), va="center", fontsize=7.5, color=FAINT)
    for at, case in enumerate(cases):
        axes.barh([0], [0], color=THEIRS[at + 3 - len(cases)], label=legend(case))
    axes.legend(frameon=False, loc="lower right", fontsize=9, labelcolor=INK)
    _rows(axes, [title(key) for key in keys])
    axes.set_xlim(0, longest * 1.1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_title(heading)
    axes.set_xlabel(
        f"{unit}: median of the rounds, line from the lowest to the highest", fontsize=8.5, color=FAINT
    )
    return drawn


def _rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text().startswith("Modelyard") else "normal")
    axes.tick_params(length=0)
    axes.xaxis.grid(visible=True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["bottom"].set_visible(False)


def _peers(data: Data) -> Figure | None:
    heading = "Iris forest over HTTP, server on one core"
    plural = {"1": "1 connection"}
    return _bars(
        data, data["cases"], "32", heading, "requests/s", lambda c: plural.get(c, f"{c} connections")
    )


def _grpc(data: Data) -> Figure | None:
    names = {"1x1": "1 connection, 1 stream", "4x8": "4 connections, 8 streams each"}
    return _bars(
        data,
        data["cases"],
        "4x8",
        "Iris forest over gRPC, server on one core",
        "requests/s",
        lambda c: names[c],
    )


def _image(data: Data) -> Figure | None:
    """Two panels: JSON and binary differ too much for one scale."""
    drawn, panels = plt.subplots(1, 2, figsize=(10.4, 3.6), gridspec_kw={"wspace": 0.75})
    for axes, kind in zip(panels, ("json", "binary"), strict=True):
        case = f"{kind} 8"
        keys = [key for key in ranked(data, case) if cell(data, key, case)][::-1]
        values = [cell(data, key, case)["rate"] for key in keys]  # type: ignore[index]
        axes.barh(range(len(keys)), [v["median"] for v in values], 0.6, color=[_shades(k)[-1] for k in keys])
        for row, seen in enumerate(values):
            axes.text(seen["high"], row, "  " + figure(seen["median"]), va="center", fontsize=8, color=FAINT)
        _rows(axes, [title(key).split(" + ")[0].split(",")[0] for key in keys])
        axes.set_xlim(0, max((v["high"] for v in values), default=1) * 1.18)
        axes.set_title({"json": "600 KB image as JSON", "binary": "The same as binary"}[kind])
        axes.set_xlabel("requests/s, 8 connections", fontsize=8.5, color=FAINT)
    return drawn


def _heavy(data: Data) -> Figure | None:
    cases = data["cases"]
    drawn, axes = plt.subplots(figsize=(8.2, 4.2))
    where = range(len(cases))
    bare = [data["bare"][case]["median"] for case in cases]
    axes.plot(where, bare, color=INK, linestyle=(0, (4, 3)), linewidth=1.4)
    axes.annotate(
        "bare ONNX Runtime loop", (where[-1], bare[-1]), (6, 0), textcoords="offset points", va="center"
    )
    ends: list[tuple[float, str]] = []
    for at, key in enumerate(ranked(data, "8")):
        values = [
            (cell(data, key, case) or {"rate": {"median": float("nan")}})["rate"]["median"] for case in cases
        ]
        ours = key.startswith("modelyard")
        shade = OURS[-1] if ours else ("#5f6b7a", "#8a95a3", "#b4bcc6")[at % 3]
        axes.plot(
            where,
            values,
            color=shade,
            linewidth=2.4 if ours else 1.5,
            marker="o",
            markersize=5 if ours else 3.5,
        )
        ends.append((values[-1], title(key).split(" + ")[0]))
    for y, name in ends:
        bold = "bold" if name.startswith("Modelyard") else "normal"
        axes.annotate(name, (where[-1], y), (6, 0), textcoords="offset points", va="center", fontweight=bold)
    axes.set_xticks(list(where), [f"{case} client{'s' if case != '1' else ''}" for case in cases])
    axes.set_ylim(0)
    axes.yaxis.grid(visible=True, color=GRID, linewidth=0.8)
    axes.tick_params(length=0)
    axes.set_title("Rows/s against the bare loop at the same batch size")
    return drawn


def _start(data: Data) -> Figure | None:
    cells = sorted(data["cells"], key=lambda c: -c["seconds"]["median"])
    if not cells:
        return None
    drawn, axes = plt.subplots(figsize=(8.6, 0.38 * len(cells) + 1.2))
    names = [f"Modelyard, {c['case']}" if c["server"].startswith("modelyard") else c["case"] for c in cells]
    shades = [_shades(c["server"])[-1] for c in cells]
    axes.barh(range(len(cells)), [c["seconds"]["median"] for c in cells], 0.6, color=shades)
    for row, one in enumerate(cells):
        size = (one["rss"]["median"] + one["rss_children"]["median"]) / (1 << 20)
        text = f"  {one['seconds']['median']:.2f} s, {size:.0f} MiB"
        axes.text(one["seconds"]["median"], row, text, va="center", fontsize=8, color=FAINT)
    _rows(axes, names)
    axes.set_xlim(0, max(c["seconds"]["median"] for c in cells) * 1.2)
    axes.set_title("From the process's start to the first right answer")
    axes.set_xlabel("seconds; resident memory beside", fontsize=8.5, color=FAINT)
    return drawn


def _soak(data: Data) -> Figure | None:
    if "trend" not in data:
        return None
    drawn, axes = plt.subplots(figsize=(8.6, 3.4))
    minutes = [t / 60 for t, _ in data["memory"]]
    sizes = [size / (1 << 20) for _, size in data["memory"]]
    axes.plot(minutes, sizes, color=OURS[-1], linewidth=1.6)
    line = data["trend"]
    begin, end = data["settle_s"] / 60, minutes[-1]
    base = line["start"] / (1 << 20)
    rise = line["slope_per_minute"] / (1 << 20) * (end - begin)
    axes.plot([begin, end], [base, base + rise], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    words = f"{line['slope_per_minute'] / 1024:+.1f} KiB a minute"
    axes.annotate(words, (end, base + rise), (-4, 10), textcoords="offset points", ha="right")
    axes.set_ylim(0, max(sizes) * 1.3)
    axes.set_xlim(0)
    axes.yaxis.grid(visible=True, color=GRID, linewidth=0.8)
    axes.tick_params(length=0)
    axes.set_title(f"Resident memory at full load ({figure(data['rate']['median'])} requests/s)")
    axes.set_xlabel("minutes", color=FAINT)
    axes.set_ylabel("MiB", color=FAINT)
    return drawn


def _polite(data: Data) -> Figure | None:
    keys = list(data["servers"])
    if not keys:
        return None
    cases = data["cases"][::-1]
    drawn, axes = plt.subplots(figsize=(8.6, 0.5 * len(cases) + 1.4))
    marks = "oDs^"
    for at, key in enumerate(reversed(keys)):
        seen = [
            (row, data["servers"][key][case])
            for row, case in enumerate(cases)
            if case in data["servers"][key]
        ]
        shade = OURS[-1] if key == "modelyard" else ("#b4bcc6", "#8a95a3", "#5f6b7a")[at % 3]
        xs, ys = [one["p99_us"] for _, one in seen], [row for row, _ in seen]
        size = 70 if key == "modelyard" else 36
        axes.scatter(
            xs, ys, size, color=shade, marker=marks[at % 4], label=title(key).split(" + ")[0], zorder=3
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: micros(value))
    _rows(axes, cases)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.set_title("What a polite client feels beside abusive ones")
    axes.set_xlabel("p99 of 200 scheduled requests a second", fontsize=8.5, color=FAINT)
    return drawn


def _converted(data: Data) -> Figure | None:
    names = list(dict.fromkeys(one["server"] for one in data["cells"]))[::-1]
    if not names:
        return None
    drawn, axes = plt.subplots(figsize=(8.6, 0.62 * len(names) + 1.3))
    height = 0.8 / len(data["cases"])
    for at, rows in enumerate(data["cases"]):
        for row, name in enumerate(names):
            times = [o["times"] for o in data["cells"] if o["server"] == name and o["case"] == rows]
            y = row + 0.4 - height * (at + 0.5)
            axes.barh([y] * len(times), times, height * 0.9, color=OURS[at + 1])
            for one in times:
                axes.text(one, y, f"  {one:.3g}x", va="center", fontsize=7.5, color=FAINT)
        axes.barh([0], [0], color=OURS[at + 1], label=f"{rows} row{'s' if rows != '1' else ''} a call")
    axes.axvline(1, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xscale("log")
    axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _rows(axes, names)
    axes.set_title("Calls a second, as many times as the framework's usual call makes")
    return drawn


def _dialects(data: Data) -> Figure | None:
    keys = [key for key in data["titles"] if cell(data, "modelyard", f"{key} 1")][::-1]
    if not keys:
        return None
    drawn, axes = plt.subplots(figsize=(8.6, 0.62 * len(keys) + 1.3))
    height = 0.8 / len(data["cases"])
    for at, rows in enumerate(data["cases"]):
        for row, key in enumerate(keys):
            one = cell(data, "modelyard", f"{key} {rows}")
            if one is None:
                continue
            y = row + 0.4 - height * (at + 0.5)
            axes.barh(y, one["of_v2"], height * 0.9, color=OURS[at + 1])
            words = f"  {one['of_v2']:.2f} ({figure(one['rate']['median'])}/s)"
            axes.text(one["of_v2"], y, words, va="center", fontsize=7.5, color=FAINT)
        axes.barh([0], [0], color=OURS[at + 1], label=f"{rows} row{'s' if rows != '1' else ''} a request")
    axes.axvline(1, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _rows(axes, [data["titles"][key] for key in keys])
    axes.set_xlim(0, 1.6)
    axes.set_title("Requests a second as a share of V2's, over the same transport")
    return drawn


DRAWINGS: dict[str, Callable[[Data], Figure | None]] = {
    "peers": _peers,
    "grpc": _grpc,
    "image": _image,
    "heavy": _heavy,
    "middling": _heavy,
    "start": _start,
    "polite": _polite,
    "soak": _soak,
    "converted": _converted,
    "dialects": _dialects,
}
