"""A worker that serves nothing: it speaks the link, and does what its environment says."""

import asyncio
import os
import sys
import time
from pathlib import Path

from modelyard.control.order import receive_order
from modelyard.monitor.observations import ModelSums, Observations, Sums
from modelyard.serve.link import (
    Actual,
    Copy,
    Desired,
    Drain,
    Hello,
    Seen,
)
from modelyard.serve.link_server import LinkServer
from modelyard.serve.options import options_digest

NOTHING = Sums([], 0.0)


class Fake:
    def __init__(self, options, doors):
        self.options = options
        self.doors = doors
        for door in doors:
            door.listen(100)
        self.stop = asyncio.Event()
        self.peer = None
        self.actual = Actual(0, (), True)

    def joined(self, peer):
        self.peer = peer
        ports = (self.options.http_port, self.options.grpc_port)
        hello = Hello(os.getpid(), "1", options_digest(self.options), *ports, self.actual.generation)
        peer.introduce(hello, [door.fileno() for door in self.doors])
        peer.send(self.actual)
        requests = [("http", "ok", 5)]
        sums = ModelSums("iris", "1", requests, 5, {}, NOTHING, NOTHING, NOTHING, waiting=3)
        peer.send(Seen(Observations([sums], [])))

    def left(self):
        self.peer = None

    def hear(self, message):
        if isinstance(message, Desired):
            lies = os.environ.get("FAKE_FAILS", "").split(",")
            copies = tuple(
                Copy(
                    model.name,
                    version.number,
                    version.digest,
                    "failed" if f"{model.name}:{version.number}" in lies else "serving",
                    "it lies" if f"{model.name}:{version.number}" in lies else "",
                )
                for model in message.models
                for version in model.versions
            )
            self.actual = Actual(message.generation, copies, True)
            self.peer.send(self.actual)
        elif isinstance(message, Drain):
            self.stop.set()


async def main():
    print("a fake begins", file=sys.stderr, flush=True)
    if os.environ.get("FAKE_BREAKS"):
        sys.exit("no luck today")
    time.sleep(float(os.environ.get("FAKE_SLOW", "0")))
    if (received := receive_order()) is None:
        sys.exit(0)
    order, doors = received
    print("it is told what to be", file=sys.stderr, flush=True)
    fake = Fake(order.options, doors)
    link = LinkServer(Path(order.socket), fake)
    await link.open()
    await fake.stop.wait()
    link.close()


if __name__ == "__main__":
    asyncio.run(main())
