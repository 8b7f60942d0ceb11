"""A 600 KB image tensor through an almost empty graph, as JSON text and as binary: the transport's cost."""

from __future__ import annotations

from benchmarks import models
from benchmarks.catalogue import chosen
from benchmarks.load import Sample, lua_script, wrk
from benchmarks.places import WORK
from benchmarks.plan import Case, Data, Plan, measure, outcome
from benchmarks.process import Running
from benchmarks.session import fleet, http_body

CONNECTIONS = (1, 8)


def run(plan: Plan) -> Data:
    """Both encodings at 1 and 8 connections; the JSON body is what tritonclient sends, about 3 MB of text."""
    model = models.image()
    servers = chosen(plan.servers, "json", model.name)

    def case(kind: str, connections: int) -> Case:
        def load(running: Running) -> Sample:
            requests = [http_body(running, question, kind) for question in model.questions]
            script = lua_script(WORK / "load", running.path, requests)
            return wrk(running.port, script, connections, plan.seconds, plan.cores.load)

        return Case(f"{kind} {connections}", kind, load)

    cases = [case(kind, n) for kind in ("json", "binary") for n in CONNECTIONS]
    with fleet(model, servers, plan.cores) as up:
        cells = measure(up, cases, plan)
        found = outcome(up, cells, [c.name for c in cases])
        one = next(iter(up.running.values()), None)
        if one:
            found["json_bytes"] = len(http_body(one, model.questions[0], "json").data)
        return found
