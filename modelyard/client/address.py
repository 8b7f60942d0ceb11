"""Where a server is: the URL that a person gives, taken apart and checked."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from msgspec import Struct

from modelyard.core.errors import BadInput

PORTS = {"http": 80, "https": 443, "grpc": 8001, "grpcs": 8001}


class Address(Struct, frozen=True):
    """A server's address.

    Args:
        scheme: "http", "https", "grpc" or "grpcs".
        host: a name or an address, IPv6 without brackets.
        port: TCP port.
        prefix: the path before ``/v2`` (a proxy's), empty or "/something".
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def secure(self) -> bool:
        """Whether the connection is TLS."""
        return self.scheme in ("https", "grpcs")

    @property
    def is_grpc(self) -> bool:
        """Whether it speaks gRPC, else HTTP."""
        return self.scheme in ("grpc", "grpcs")

    @property
    def authority(self) -> str:
        """Host and port as URLs and the Host header write them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole, for messages."""
        return f"{self.scheme}://{self.authority}{self.prefix}"


def parse_address(url: str) -> Address:
    """Read a server's URL; without a scheme it is HTTP.

    >>> parse_address("127.0.0.1:8000").url
    'http://127.0.0.1:8000'
    >>> parse_address("grpc://yard").port
    8001

    Raises:
        BadInput: no URL of a server.
    """
    text = url.strip()
    url = re.sub(r"//[^/]*@", "//...@", text)  # what the messages show: it may hold a password
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadInput(f"{url!r:.200} is not a server's URL: {error}") from None
    if parts.scheme not in PORTS:
        raise BadInput(f"{url!r:.200} has scheme {parts.scheme!r}; use {', '.join(f'{s}://' for s in PORTS)}")
    if not host or not host.isprintable() or " " in host:
        raise BadInput(f"{url!r:.200} names no host; write for example http://127.0.0.1:8000")
    if parts.username or parts.query or parts.fragment:
        raise BadInput(f"{url!r:.200} holds more than a server's URL does; give credentials in headers")
    prefix = parts.path.rstrip("/")
    if prefix and parts.scheme.startswith("grpc"):
        raise BadInput(f"{url!r:.200}: gRPC has no path; write grpc://{host}:{port or 8001}")
    if not prefix.isascii() or not prefix.isprintable() or " " in prefix:
        raise BadInput(f"{url!r:.200}: percent-encode its path")
    return Address(parts.scheme, host, port if port is not None else PORTS[parts.scheme], prefix)
