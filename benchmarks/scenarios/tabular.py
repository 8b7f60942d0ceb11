"""Small tabular rows over HTTP (`peers`) and gRPC (`grpc`): one iris row a request, 150 rows in turn."""

from __future__ import annotations

from benchmarks import bodies, models
from benchmarks.catalogue import chosen
from benchmarks.load import Sample, h2load, lua_script, wrk
from benchmarks.places import WORK
from benchmarks.plan import Case, Data, Plan, measure, outcome
from benchmarks.process import Running
from benchmarks.session import ask, fleet, grpc_body, http_body

CONNECTIONS = (1, 32, 128)
STREAMS = ((1, 1), (4, 8))


def peers(plan: Plan) -> Data:
    """HTTP: every server that answers JSON, at 1, 32 and 128 connections."""
    model = models.iris()
    servers = chosen(plan.servers, "json", model.name)

    def case(connections: int) -> Case:
        def load(running: Running) -> Sample:
            requests = [http_body(running, question, "json") for question in model.questions]
            script = lua_script(WORK / "load", running.path, requests)
            return wrk(running.port, script, connections, plan.seconds, plan.cores.load)

        return Case(str(connections), "json", load)

    cases = [case(n) for n in CONNECTIONS]
    with fleet(model, servers, plan.cores) as up:
        cells = measure(up, cases, plan)
        return outcome(up, cells, [c.name for c in cases])


def grpc(plan: Plan) -> Data:
    """gRPC ModelInfer: one connection with one stream, and four with eight each."""
    model = models.iris()
    servers = [s for s in chosen(plan.servers, "grpc", model.name) if s.key != "mlserver-sklearn"]
    question = model.questions[0]

    def case(connections: int, streams: int) -> Case:
        def load(running: Running) -> Sample:
            size = len(ask(running, question, "grpc")) + 5
            message = bodies.framed(grpc_body(running, question))
            port, core = running.grpc_port, plan.cores.load
            return h2load(port, message, size, connections, streams, plan.seconds, core)

        return Case(f"{connections}x{streams}", "grpc", load)

    cases = [case(*shape) for shape in STREAMS]
    with fleet(model, servers, plan.cores) as up:
        cells = measure(up, cases, plan)
        return outcome(up, cells, [c.name for c in cases])
