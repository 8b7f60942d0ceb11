"""Who may speak to the admin port: nobody's web page.

Rule: a browser that shows a stranger's page can reach a loopback port. So the Host header must be an address,
localhost or a name that was given (any other may have been made to point here: DNS rebinding), and what
changes something must not come from another origin. Bodies are JSON or tar, which no form can send without
asking first, and nobody is told yes.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelyard.core.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SAFE_METHODS = frozenset({"GET", "HEAD"})
_OTHERS = frozenset({"cross-site", "same-site"})


def check_caller(method: str, headers: Mapping[str, str], hosts: Collection[str] | None) -> None:
    """Let a request in, or say why not.

    Args:
        method: the HTTP method.
        headers: the request's, by names in lower case.
        hosts: names that Host may have beside localhost; None: any.

    >>> check_caller("POST", {"host": "127.0.0.1:8002"}, ())

    Raises:
        BadRequest: the Host is not one of this port's, or the request comes from another site's page.
    """
    host = headers.get("host", "")
    if hosts is not None and not _names_us(host, hosts):
        raise BadRequest(
            f"the request is for host {host[:80]!r}, not for this one; use the address it listens on"
        )
    if method in SAFE_METHODS:
        return
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        raise BadRequest(
            f"the request comes from a page of {origin[:80]!r}; changes are not taken from there"
        )
    if headers.get("sec-fetch-site", "") in _OTHERS:
        raise BadRequest("the request comes from another site's page; changes are not taken from there")


def _names_us(host: str, hosts: Collection[str]) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name in hosts:
        return True
    try:
        ipaddress.ip_address(name)  # nobody can make an address point elsewhere
    except ValueError:
        return False
    return True
