"""The typed client: one set of verbs, blocking and asyncio, REST and gRPC.

Names are imported when they are first used, so importing one submodule does not load every transport.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelyard.client.admin import AdminClient
    from modelyard.client.call import ModelInfo, ServerInfo
    from modelyard.client.client import AsyncClient, Client
    from modelyard.client.errors import BadReply, Unreachable
    from modelyard.client.prediction import Prediction

__all__ = [
    "AdminClient",
    "AsyncClient",
    "BadReply",
    "Client",
    "ModelInfo",
    "Prediction",
    "ServerInfo",
    "Unreachable",
]

_HOME = {
    "AdminClient": "admin",
    "AsyncClient": "client",
    "BadReply": "errors",
    "Client": "client",
    "ModelInfo": "call",
    "Prediction": "prediction",
    "ServerInfo": "call",
    "Unreachable": "errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
