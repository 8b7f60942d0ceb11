"""A set of servers for one model: started, checked, frozen, measured in turn, ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc

from benchmarks import bodies, machine
from benchmarks.bodies import Body, WrongAnswer
from benchmarks.catalogue import Server
from benchmarks.envs import NotInstallable
from benchmarks.load import INFER, LoadFailed
from benchmarks.models import Model, Question
from benchmarks.process import NotStarted, Running, post, start, wait_port


@dataclass(slots=True)
class Fleet:
    """The servers that came up and answered right, and why the others did not."""

    model: Model
    cores: machine.Cores
    running: dict[str, Running] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    ready_s: dict[str, float] = field(default_factory=dict)

    def drop(self, key: str, reason: str) -> None:
        """Take a server out of the run and say why."""
        gone = self.running.pop(key, None)
        if gone and gone.child.poll() is not None and "exit code" not in reason:
            reason += f"; it had ended with exit code {gone.child.returncode}: {gone.last_words()}"
        self.skipped[key] = reason
        print(f"  {key}: out: {reason}", flush=True)
        if gone:
            gone.stop()

    @contextlib.contextmanager
    def dropping(self, key: str) -> Iterator[None]:
        """Turn a server's failure into its row's reason; anything else is a bug of the bench."""
        try:
            yield
        except (NotInstallable, NotStarted, WrongAnswer, LoadFailed) as error:
            self.drop(key, str(error))


@contextlib.contextmanager
def fleet(model: Model, servers: list[Server], cores: machine.Cores) -> Iterator[Fleet]:
    """Start every server one after the other; each is checked on real questions, then frozen."""
    made = Fleet(model, cores)
    try:
        for server in servers:
            with made.dropping(server.key):
                running = start(server, model, cores.server)
                made.running[server.key] = running
                made.ready_s[server.key] = first_answer(running)
                for kind in sorted(server.speaks):
                    verify(running, kind)
                if running.astray(cores.server):
                    raise NotStarted("it has threads outside its core")
                running.freeze()
                print(f"  {server.key}: up in {made.ready_s[server.key]:.2f} s, answers checked", flush=True)
        yield made
    finally:
        for running in made.running.values():
            running.stop()


def first_answer(running: Running, limit_s: float = 60.0) -> float:
    """Ask until the first right answer: seconds since the process was started."""
    kind = "json" if "json" in running.server.speaks else "grpc"
    wait_port(running, running.port if kind == "json" else running.grpc_port, limit_s)
    while True:
        try:
            learn_input(running)
            ask(running, running.model.questions[0], kind)
            return time.perf_counter() - running.began
        except (OSError, http.client.HTTPException, WrongAnswer, grpc.RpcError) as error:
            if running.child.poll() is not None:
                raise NotStarted(f"exit code {running.child.returncode}: {running.last_words()}") from error
            if time.perf_counter() - running.began > limit_s:
                raise WrongAnswer(f"{type(error).__name__}: {error}"[:300]) from error
            time.sleep(0.005)


def learn_input(running: Running) -> None:
    """Take the input's name and datatype from the server's own metadata, where it has such a page."""
    if not running.server.path.startswith("/v2/") or "json" not in running.server.speaks:
        return
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    try:
        connection.request("GET", f"/v2/models/{running.model.name}")
        answer = connection.getresponse()
        page = answer.read()
    finally:
        connection.close()
    if answer.status == 200:
        inputs = json.loads(page).get("inputs") or []
        if len(inputs) == 1:
            running.input_name = inputs[0]["name"]
            running.input_dtype = inputs[0]["datatype"]


def http_body(running: Running, question: Question, kind: str) -> Body:
    """A question as this server wants it; `kind` is "json" or "binary"."""
    if running.server.body == "rows":
        return bodies.plain_rows(question.tensor)
    if kind == "binary":
        return bodies.v2_binary(question.tensor, running.input_name, running.input_dtype)
    named = running.server.requested
    return bodies.v2_json(question.tensor, running.input_name, running.input_dtype, named)


def grpc_body(running: Running, question: Question) -> bytes:
    """A question as a serialised ModelInferRequest for this server."""
    named = running.server.requested
    name, dtype = running.input_name, running.input_dtype
    return bodies.grpc_request(question.tensor, running.model.name, name, dtype, named)


def ask(running: Running, question: Question, kind: str) -> bytes:
    """One question over one surface; the answer's bytes once they are proved right. Raises WrongAnswer."""
    if kind == "grpc":
        with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
            answer: bytes = channel.unary_unary(INFER)(grpc_body(running, question), timeout=30)
        bodies.check(question, bodies.read_grpc(answer))
        return answer
    body = http_body(running, question, kind)
    status, data, head = post(running.port, running.path, body.data, body.headers)
    if status != 200:
        raise WrongAnswer(f"{kind}: status {status}: {data[:200].decode(errors='replace')}")
    arrays = bodies.read_rows(data) if running.server.body == "rows" else bodies.read_v2(data, head)
    bodies.check(question, arrays)
    return data


def verify(running: Running, kind: str, clients: int = 8, most: int = 48) -> None:
    """Ask many questions at once, so that batched answers in the wrong hands are seen. Raises WrongAnswer."""
    every = max(1, len(running.model.questions) // most)
    questions = running.model.questions[::every]
    with ThreadPoolExecutor(clients) as pool:
        try:
            list(pool.map(lambda question: ask(running, question, kind), questions))
        except (OSError, http.client.HTTPException, grpc.RpcError) as error:
            raise WrongAnswer(f"{kind}: {type(error).__name__}: {error}"[:300]) from error
