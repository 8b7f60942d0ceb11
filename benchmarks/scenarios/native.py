"""Native hosts: rows a second through the server against a bare loop of the framework's own call.

A batch that keeps the processor for longer than 5 ms is what the claim is about, so that the booster gets 64
rows a request. As with the heavy model, the ceiling at c connections of one request each is the bare loop at
the batch that c requests make. The bare loop and the server share the core, one after the other, in the same
rounds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks import frameworks
from benchmarks.catalogue import V2_ALL, Launch, Server, Start
from benchmarks.envs import NotInstallable
from benchmarks.frameworks import ENV, Caller, Kind, caller
from benchmarks.load import Sample, lua_script, wrk
from benchmarks.places import WORK
from benchmarks.plan import Case, Data, Plan, compare, outcome, spread_of
from benchmarks.process import NotStarted, Running
from benchmarks.rounds import beside
from benchmarks.session import Fleet, fleet, http_body

CONNECTIONS = (1, 8)
ROUNDS = 3
"""A tenth is less than three rounds are apart on a shared machine."""
MODEL = "native"


@dataclass(frozen=True, slots=True)
class Native:
    """A model that is served by its original.

    Args:
        rows: of one request.
    """

    kind: Kind
    rows: int = 1

    @property
    def server(self) -> Server:
        """How it is started: with the interpreter that has its framework."""
        return Server(
            self.kind.key,
            self.kind.title,
            self.kind.env,
            (),
            V2_ALL,
            frozenset({MODEL}),
            self._start,
            "modelyard serve --native",
        )

    def _start(self, launch: Launch) -> Start:
        code = "import sys; from modelyard.console.cli.main import main; sys.exit(main())"
        asked = ["--input", self.kind.asked] if self.kind.asked else []
        ports = ["--http-port", str(launch.port), "--grpc-port", str(launch.grpc_port)]
        command = [launch.python, "-c", code, "serve", str(launch.model.path), "--native", "--name", MODEL]
        environ = {"MODELYARD_HOME": str(WORK / "home-native"), "KERAS_BACKEND": "torch"}
        return Start([*command, *asked, *ports], environ)


NATIVES = (
    Native(
        Kind(
            "native-torch",
            "TorchScript, four convolutions of 3x96x96",
            "module(tensor)",
            ".pt",
            ENV,
            "x:float32[N,3,96,96]",
        )
    ),
    Native(Kind("native-forest", "scikit-learn, forest of 300", "predict_proba(rows)", ".pkl")),
    Native(
        Kind("native-booster", "LightGBM, 1000 rounds of 127 leaves, 64 rows", "predict(rows)", ".txt"),
        rows=64,
    ),
)
_MOST_ROWS = 64
"""Of a batch of several requests, by default."""


def run(plan: Plan) -> Data:
    """Rows a second of native hosts and of the bare loops, and the ratio between them."""
    cells: list[Data] = []
    skipped: dict[str, str] = {}
    for native in NATIVES:
        kind = native.kind
        try:
            model = frameworks.model(kind, MODEL, native.rows)
            frameworks.python_of(kind)
            with (
                fleet(model, [native.server], plan.cores) as up,
                caller(kind, plan.cores.server, ours=False) as (bare, _),
            ):
                for connections in CONNECTIONS:
                    cells += _cells(native, bare, connections, up, plan)
                skipped |= outcome(up, [], [])["skipped"]
        except (NotInstallable, NotStarted) as error:
            skipped[kind.key] = str(error)
            print(f"  {kind.key}: out: {error}", flush=True)
    titles = {one.kind.key: one.kind.title for one in NATIVES}
    return {"cases": [str(n) for n in CONNECTIONS], "cells": cells, "titles": titles, "skipped": skipped}


def _cells(native: Native, bare: Caller, connections: int, up: Fleet, plan: Plan) -> list[Data]:
    """One number of connections: each round is the bare loop, then the server."""
    seconds, rows = max(plan.seconds, 2), native.rows
    batch = rows * connections if rows * connections <= _MOST_ROWS else rows
    rates: list[float] = []

    def load(running: Running) -> Sample:
        rates.append(bare.rate(batch, seconds) * batch)
        return ask(running, seconds)

    def ask(running: Running, seconds: int) -> Sample:
        requests = [http_body(running, question, "binary") for question in running.model.questions]
        script = lua_script(WORK / "load", running.path, requests)
        return wrk(running.port, script, connections, seconds, plan.cores.load)

    running = up.running.get(native.kind.key)
    if running is not None:
        with up.dropping(native.kind.key), running.thawed():
            ask(running, 1)  # what batches cost is learnt
    more = replace(plan, rounds=ROUNDS * plan.rounds)
    found = compare(up, native.kind.key, [Case(str(connections), "binary", load)], more)
    for one in found:
        one["bare"] = spread_of(rates)
        one["rows"] = spread_of([seen["rate"] * rows for seen in one["rounds"]])
        one["batch_s"] = batch / one["bare"]["median"]
        one["of_bare"] = beside([seen["rate"] * rows for seen in one["rounds"]], rates)
    return found
