"""Listeners come and go on one port under new connections: nobody is reset."""

import asyncio
import threading

from http_running import GET, Client, Running

from modelyard.serve.budget import BodyBudget
from modelyard.serve.http import HttpLimits, HttpListener


def test_nobody_is_reset_when_one_of_two_listeners_leaves():
    lost, done, stop = [], [0], threading.Event()

    async def come_and_go(running, port):
        for _ in range(12):
            other = HttpListener(running.app, HttpLimits(), BodyBudget(1 << 28), lambda *_: b"")
            assert await other.open("127.0.0.1", port, reuse_port=True) == port
            await asyncio.sleep(0.1)
            other.shun()
            await asyncio.sleep(0.01)
            await other.drain(5)
            await asyncio.sleep(0.1)

    with Running() as running:
        stays = HttpListener(running.app, HttpLimits(), BodyBudget(1 << 28), lambda *_: b"")
        port = running.wait(stays.open("127.0.0.1", 0, reuse_port=True))

        def user():
            while not stop.is_set():
                try:
                    with Client(port) as client:
                        answer = client.send(GET).answer()
                        assert answer is not None
                        assert answer.status == 200
                        done[0] += 1
                except (AssertionError, OSError) as error:
                    lost.append(error)

        users = [threading.Thread(target=user) for _ in range(6)]
        for each in users:
            each.start()
        running.wait(come_and_go(running, port), 120)
        stop.set()
        for each in users:
            each.join()
        running.wait(stays.close())
    assert lost == []
    assert done[0] > 30
