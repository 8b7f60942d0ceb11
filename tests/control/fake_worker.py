"""A worker that serves nothing: it speaks the link, and does what its environment says."""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

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
from modelyard.serve.options import options_digest, read_options

NOTHING = Sums([], 0.0)


class Fake:
    def __init__(self, options):
        self.options = options
        self.stop = asyncio.Event()
        self.peer = None
        self.actual = Actual(0, (), True)

    def joined(self, peer):
        self.peer = peer
        ports = (self.options.http_port, self.options.grpc_port)
        peer.send(Hello(os.getpid(), "1", options_digest(self.options), *ports, self.actual.generation))
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
    parser = argparse.ArgumentParser()
    parser.add_argument("--options")
    parser.add_argument("--socket", type=Path)
    found = parser.parse_args()
    print("a fake begins", file=sys.stderr, flush=True)
    if os.environ.get("FAKE_BREAKS"):
        sys.exit("no luck today")
    time.sleep(float(os.environ.get("FAKE_SLOW", "0")))
    fake = Fake(read_options(found.options))
    link = LinkServer(found.socket, fake)
    await link.open()
    await fake.stop.wait()
    link.close()


if __name__ == "__main__":
    asyncio.run(main())
