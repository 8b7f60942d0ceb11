"""A real S3 server in a process of its own, and a proxy that spoils what goes through it."""

import contextlib
import socket
import subprocess
import sys
import threading

SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
KEYS = {"access_key": "test", "secret_key": "test"}


class S3Server:
    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.port = int(next(line for line in self.process.stdout if line.strip().isdigit()))
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.buckets = 0

    def bucket(self):
        """A new, empty bucket's address."""
        import boto3

        self.buckets += 1
        name = f"yard-{self.buckets}"
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        client.create_bucket(Bucket=name)
        return f"s3://{name}/some/prefix"

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class FaultyProxy:
    """Passes connections on, except the next ``left`` ones, which suffer ``fault``.

    refuse: closed at once. stall: read, never answered. error: a 503.
    cut-answer and cut-request: closed after ``after`` bytes of it.
    """

    def __init__(self, port):
        self.to = port
        self.fault, self.left, self.after, self.suffered = "", 0, 0, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def spoil(self, fault, times, after=0):
        self.fault, self.left, self.after, self.suffered = fault, times, after, 0

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.sockets.append(client)
                fault = ""
                if self.left > 0:
                    self.left -= 1
                    self.suffered += 1
                    fault = self.fault
                threading.Thread(target=self._serve, args=(client, fault), daemon=True).start()

    def _serve(self, client, fault):
        with contextlib.suppress(OSError):
            if fault == "refuse":
                client.close()
            elif fault == "stall":
                while client.recv(1 << 16):
                    pass
            elif fault == "error":
                client.recv(1 << 16)
                client.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                client.close()
            else:
                server = socket.create_connection(("127.0.0.1", self.to))
                self.sockets.append(server)
                limits = (
                    self.after if fault == "cut-request" else None,
                    self.after if fault == "cut-answer" else None,
                )
                there = threading.Thread(target=self._pump, args=(client, server, limits[0]), daemon=True)
                there.start()
                self._pump(server, client, limits[1])
                there.join(5)

    @staticmethod
    def _pump(source, sink, limit):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if limit is not None:
                    data, limit = data[:limit], limit - len(data)
                sink.sendall(data)
                if limit is not None and limit <= 0:
                    break
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self):
        for one in (self.listener, *self.sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
