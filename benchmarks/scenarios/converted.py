"""Converted models: a call of what Modelyard serves beside the framework's own usual call, without a server.

Both run on the server's core with one thread, in processes of their own, in interleaved rounds. Where the
original answers faster than its graph, the original is what is served, in its host; the table says so.
"""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks import rounds
from benchmarks.envs import NotInstallable
from benchmarks.frameworks import ENV, Caller, Kind, caller
from benchmarks.plan import Data, Plan, say, spread_of
from benchmarks.process import NotStarted

ROWS = (1, 256)
_INPUT = "x:float32[N,20]"
KINDS = (
    Kind("forest", "scikit-learn, forest of 100", "predict_proba(rows)", ".pkl"),
    Kind("pipeline", "scikit-learn, scaler + logistic", "predict_proba(rows)", ".pkl"),
    Kind("xgboost", "XGBoost, 100 rounds", "predict(DMatrix(rows))", ".json"),
    Kind("lightgbm", "LightGBM, 100 rounds", "predict(rows)", ".txt"),
    Kind("catboost", "CatBoost, 100 rounds", "predict_proba(rows)", ".cbm"),
    Kind("torchscript", "TorchScript, two layers of 64", "module(tensor)", ".pt", ENV, _INPUT),
    Kind("keras", "Keras (torch), two layers of 64", "predict(rows)", ".keras", ENV),
)


def run(plan: Plan) -> Data:
    """Calls a second of 1 row and of 256 rows: ours, the framework's, and the ratio."""
    cells: list[Data] = []
    skipped: dict[str, str] = {}
    for kind in KINDS:
        try:
            cells += _kind(kind, plan)
        except (NotInstallable, NotStarted) as error:
            skipped[kind.title] = str(error)
            print(f"  {kind.key}: out: {error}", flush=True)
    return {"cases": [str(rows) for rows in ROWS], "cells": cells, "skipped": skipped}


def _kind(kind: Kind, plan: Plan) -> list[Data]:
    found = []
    with ExitStack() as stack:
        theirs, _ = stack.enter_context(caller(kind, plan.cores.server, ours=False))
        ours, road = stack.enter_context(caller(kind, plan.cores.server, ours=True))
        for rows in ROWS:
            rates = _rounds(kind, {"ours": ours, "usual": theirs}, rows, plan)
            cell = {name: spread_of(seen) for name, seen in rates.items()}
            times = cell["ours"]["median"] / cell["usual"]["median"]
            found.append(
                {
                    "server": kind.title,
                    "usual_call": kind.usual,
                    "case": str(rows),
                    "road": road,
                    "times": times,
                }
                | cell
            )
    return found


def _rounds(kind: Kind, callers: dict[str, Caller], rows: int, plan: Plan) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in callers}
    for number, name in rounds.interleaved(list(callers), plan.rounds):
        rates[name].append(callers[name].rate(rows, plan.seconds))
        say(f"  {kind.key}, {rows}: round {number + 1} of {plan.rounds}: {name}")
    say("")
    return rates
