"""Which yard a verb works on: the options that all of them share, and the desk that they open."""

from __future__ import annotations

import functools
import json
import os
import pwd
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from modelyard.client.admin_values import Health
from modelyard.control.desk import Desk
from modelyard.core.errors import BadInput, ModelyardError
from modelyard.core.ref import ModelRef, parse_ref
from modelyard.core.table import Table
from modelyard.deploy.yard import Yard
from modelyard.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelyard.client.admin import AdminClient

    AnyDesk: TypeAlias = Desk | AdminClient

_CLIENT: Table[type[AdminClient]] = Table({"admin": "modelyard.client.admin:AdminClient"}, "client")
"""Most verbs work on the registry and need none."""

_HOME = click.option(
    "--home", type=click.Path(path_type=Path), help="The yard's folder; MODELYARD_HOME, else ~/.modelyard."
)
_REGISTRY = click.option(
    "--registry", help="The registry's database; MODELYARD_REGISTRY, else registry.db in the home."
)
_ARTIFACTS = click.option(
    "--artifacts", help="Where bundles are kept; MODELYARD_ARTIFACTS, else in the home."
)
_URL = click.option("--url", help="Go through a running control's admin API, as http://127.0.0.1:8002.")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document, for machines.")
WHY = click.option("--why", default="", help="In words, for the history.")


@dataclass(frozen=True, slots=True)
class Where:
    """Which yard.

    Args:
        home: its folder.
        registry: address of its database; empty: in the home.
        artifacts: address of its bundles; empty: in the home.
        url: of a control's admin API; empty: the registry itself.
    """

    home: Path
    registry: str = field(default="", repr=False)
    artifacts: str = field(default="", repr=False)
    url: str = ""

    def open(self) -> Yard:
        """The yard itself."""
        return Yard.open(self.home, self.registry, self.artifacts)

    @contextmanager
    def desk(self) -> Iterator[AnyDesk]:
        """The desk: over the admin API with ``url``, else on the registry."""
        desk: AnyDesk = self._client(self.url) if self.url else Desk(self.open(), who())
        try:
            yield desk
        finally:
            desk.close()

    def _client(self, url: str, **more: float) -> AdminClient:
        return _CLIENT.load("admin")(url, who(), **more)

    def controls(self) -> list[AdminClient]:
        """The control processes that serve this yard here: the one of ``url``, else those of the home."""
        if self.url:
            return [self._client(self.url)]
        found = []
        for path in sorted((self.home / "run").glob("*/control.json")):
            try:
                client = self._client(str(json.loads(path.read_text())["console"]), timeout_s=5.0)
                if isinstance(client.health(), Health):
                    found.append(client)
            except (OSError, ValueError, KeyError, TypeError, ModelyardError):
                continue  # the file of one that is gone
        return found


def where_options(*, url: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of ``Where``; the command gets one as its first argument."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def inner(
            *arguments: Any,
            home: Path | None,
            registry: str | None,
            artifacts: str | None,
            url: str | None = None,
            **rest: Any,
        ) -> Any:
            settings = read_settings()
            where = Where(
                (home or settings.home).absolute(),
                settings.registry if registry is None else registry,
                settings.artifacts if artifacts is None else artifacts,
                url or "",
            )
            return command(where, *arguments, **rest)

        wrapped: Callable[..., Any] = inner
        for option in (_URL, _ARTIFACTS, _REGISTRY, _HOME) if url else (_ARTIFACTS, _REGISTRY, _HOME):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def who() -> str:
    """In whose name things are written down: the user and the machine."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:200]


def read_ref(ref: str, version: int | None) -> ModelRef:
    """A reference and, if it stands apart, its version.

    >>> read_ref("iris", 2) == read_ref("iris:2", None)
    True

    Raises:
        BadInput: not a reference, or two versions.
    """
    found = parse_ref(ref)
    if version is not None and found.version not in {None, version}:
        raise BadInput(f"{ref!r:.100} names version {found.version}, and {version} stands beside it; say one")
    return ModelRef(found.name, found.version if version is None else version)
