"""The only reader of the environment: settings are read once, here, and passed down as values.

| variable | meaning | default |
|---|---|---|
| MODELYARD_HOME | the yard's folder: what was compiled, the registry, the bundles | ~/.modelyard |
| MODELYARD_REGISTRY | the database, as postgresql+psycopg://user@host/name | registry.db in the home |
| MODELYARD_ARTIFACTS | where bundles are kept, as s3://bucket/prefix or a folder | blobs in the home |
| MODELYARD_LOG | how much the server says: debug, info, warning, error | info |
| AIP_HEALTH_ROUTE, AIP_PREDICT_ROUTE | paths that Vertex AI calls, on the HTTP port | unset |
| NO_COLOR | no colours in the terminal (https://no-color.org) | unset |
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.

    Args:
        home: the yard's folder.
        registry: address of the registry's database; empty: in the home. It may hold a password.
        artifacts: address of the bundles; empty: in the home. It may hold a password.
        log_level: one of LOG_LEVELS.
        color: whether the terminal may be coloured.
        vertex: Vertex AI's paths for health and prediction; empty outside of it.
    """

    home: Path
    registry: str = field(default="", repr=False)
    artifacts: str = field(default="", repr=False)
    log_level: str = "info"
    color: bool = True
    vertex: tuple[str, ...] = ()

    @property
    def cache(self) -> Path:
        """Where compiled models are kept by digest."""
        return self.home / "compiled"


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    >>> read_settings({"MODELYARD_HOME": "/yard"}).cache.as_posix()
    '/yard/compiled'

    Raises:
        ValueError: a variable holds what it cannot mean.
    """
    values = os.environ if environment is None else environment
    home = values.get("MODELYARD_HOME") or str(Path(values.get("HOME", "~")).expanduser() / ".modelyard")
    level = values.get("MODELYARD_LOG", "info").lower()
    if level not in LOG_LEVELS:
        raise ValueError(f"MODELYARD_LOG is {level!r}; it takes one of {', '.join(LOG_LEVELS)}")
    registry, artifacts = values.get("MODELYARD_REGISTRY", ""), values.get("MODELYARD_ARTIFACTS", "")
    vertex = (values.get("AIP_HEALTH_ROUTE", ""), values.get("AIP_PREDICT_ROUTE", ""))
    for path in filter(None, vertex):
        if not path.startswith("/"):
            raise ValueError(
                f"AIP_HEALTH_ROUTE and AIP_PREDICT_ROUTE start with a slash; one is {path[:80]!r}"
            )
    return Settings(
        Path(home), registry, artifacts, level, "NO_COLOR" not in values, vertex if any(vertex) else ()
    )
