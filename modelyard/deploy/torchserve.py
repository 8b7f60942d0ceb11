"""TorchServe's ``config.properties``: what of it has a meaning here, as a value.

Rule: every key is either obeyed or named. What contradicts itself, or asks for what would be unsafe to leave
out (TLS), is an error with its file and line. Source: pytorch/serve docs/configuration.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct, field

from modelyard.core.errors import BadConfig
from modelyard.deploy.properties import MOST_BYTES, Property, read_properties

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

INFERENCE, MANAGEMENT, RPC, RPC_MANAGEMENT = 8080, 8081, 7070, 7071
LOOPBACK = "127.0.0.1"
NONE: tuple[tuple[str, str], ...] = ()
NO_URL: tuple[str, ...] = ()
WITHOUT_MEANING = frozenset((
    "async_logging", "blacklist_env_vars", "cors_allowed_headers", "cors_allowed_methods",
    "cors_allowed_origin", "certificate_file", "cpu_launcher_args", "cpu_launcher_enable", "debug",
    "decode_input_request", "default_service_handler", "disable_token_authorization",
    "enable_envvars_config", "enable_grpc_ssl", "enable_metrics_api",
    "grpc_inference_max_connection_age_ms", "grpc_management_max_connection_age_ms", "initial_worker_port",
    "install_py_dep_per_model", "io_ratio", "ipex_enable", "keystore", "keystore_pass", "keystore_type",
    "limit_max_image_pixels", "max_response_size", "metric_time_interval", "metrics_address",
    "metrics_config", "metrics_format", "metrics_mode", "model_metrics_auto_detect", "model_server_home",
    "model_snapshot", "netty_client_threads", "number_of_gpu", "number_of_netty_threads",
    "prefer_direct_buffer", "private_key_file", "snapshot_store", "system_metrics_cmd", "token",
    "tsConfigFile", "ts_open_inference_protocol", "unregister_model_timeout", "use_env_allowed_urls",
    "use_native_io", "version", "vmargs", "workflow_store",
))  # fmt: skip
"""TorchServe's own keys that change nothing here."""


class Batching(Struct, frozen=True):
    """How requests for a model are put together; None: as the server does it.

    Args:
        rows: that run together at most.
        wait_s: how long a batch may wait for more.
    """

    rows: int | None = None
    wait_s: float | None = None


class ModelStore(Struct, frozen=True):
    """Where models may be registered from.

    Args:
        folder: of archives; None: none.
        allowed_urls: expressions, one of which the whole of a URL must match; none: no URL.
        load: (name or "", file) of the archives to serve from the start.
        model_api: models may be registered and unregistered by callers.
        batching: archive -> how its requests are put together.
    """

    folder: Path | None = None
    allowed_urls: tuple[str, ...] = ()
    load: tuple[tuple[str, str], ...] = ()
    model_api: bool = True
    batching: Mapping[str, Batching] = field(default_factory=dict)


class TorchServeConfig(Struct, frozen=True):
    """What a ``config.properties`` asks for.

    Args:
        options: option of ``modelyard up`` -> its value; TorchServe's own ports where the file is silent.
        store: where models come from.
        rpc: address and port of the management API over gRPC.
        ineffective: keys that change nothing here.
        unknown: keys that TorchServe does not have.
    """

    options: Mapping[str, str | int | float]
    store: ModelStore
    rpc: tuple[str, int]
    ineffective: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def without_effect(self, file: str) -> str:
        """What was not obeyed, in one line; "" when all was."""
        found = f"no effect here: {', '.join(self.ineffective)}" if self.ineffective else ""
        strange = f"not known: {', '.join(self.unknown)}" if self.unknown else ""
        said = "; ".join(filter(None, (found, strange)))
        return said and f"{file}: {said}"


def read_torchserve(path: Path) -> TorchServeConfig:
    """Read a file.

    Raises:
        BadConfig: it cannot be read, or says what has no meaning.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        return parse_torchserve(data.decode(), str(path))
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadConfig(f"{path} is not a text file in UTF-8") from None


def parse_torchserve(text: str, file: str) -> TorchServeConfig:
    """A configuration as a value.

    >>> parse_torchserve("inference_address=http://127.0.0.1:9000", "x").options["http_port"]
    9000

    Raises:
        BadConfig: a value that has no meaning; it names the file, the line and the key.
    """
    reading = _Reading({one.key: one for one in read_properties(text, file)}, file)
    host, port = reading.address("inference_address", INFERENCE)
    console, console_port = reading.address("management_address", MANAGEMENT)
    rpc_host = reading.text("grpc_inference_address", str, host)
    if rpc_host != host:
        raise reading.wrong(
            "grpc_inference_address", f"REST listens on {host}, and gRPC listens there too; use one address"
        )
    options: dict[str, str | int | float] = {
        "host": host,
        "http_port": port,
        "grpc_port": reading.number("grpc_inference_port", 0, 65535, RPC),
        "console_host": console,
        "console_port": console_port,
    }
    for key, name, most in (
        ("default_workers_per_model", "workers", 256),
        ("job_queue_size", "max_waiting", 1 << 20),
        ("default_response_timeout", "request_timeout", 86_400),
    ):
        if key in reading.given:
            options[name] = reading.number(key, 1, most, 0)
    if "max_request_size" in reading.given:
        options["max_body_mb"] = reading.number("max_request_size", 1024, 2 << 30, 0) / (1 << 20)
    rpc = (
        reading.text("grpc_management_address", str, LOOPBACK),
        reading.number("grpc_management_port", 0, 65535, RPC_MANAGEMENT),
    )
    store = _store(reading)
    left = [key for key in reading.given if key not in reading.used]
    return TorchServeConfig(
        options,
        store,
        rpc,
        tuple(key for key in left if key in WITHOUT_MEANING),
        tuple(key for key in left if key not in WITHOUT_MEANING),
    )


class _Reading:
    """The properties on their way to values; what was asked for is remembered."""

    def __init__(self, given: Mapping[str, Property], file: str) -> None:
        self.given = given
        self.used: set[str] = set()
        self._file = file

    def wrong(self, key: str, why: str) -> BadConfig:
        """The error about a key."""
        return BadConfig(f"{self._file}, line {self.given[key].line}: {key}: {why}")

    def text(self, key: str, read: Callable[[str], T], default: T) -> T:
        """A value, read; raises ``BadConfig`` for what ``read`` calls a ``ValueError``."""
        self.used.add(key)
        if key not in self.given:
            return default
        value = self.given[key].value
        if "$$" in value:
            raise self.wrong(key, "variables of the environment are not read here; write the value itself")
        try:
            return read(value)
        except ValueError as error:
            raise self.wrong(key, f"{value[:80]!r} {error}") from None

    def number(self, key: str, least: int, most: int, default: int) -> int:
        """A whole number within bounds."""

        def read(value: str) -> int:
            if not re.fullmatch(r"[0-9]{1,12}", value, re.ASCII) or not least <= int(value) <= most:
                raise ValueError(f"is not a whole number from {least} to {most}")
            return int(value)

        return self.text(key, read, default)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""

        def read(value: str) -> bool:
            if value.lower() not in ("true", "false"):
                raise ValueError("is neither true nor false")
            return value.lower() == "true"

        return self.text(key, read, default)

    def address(self, key: str, port: int) -> tuple[str, int]:
        """Host and port of ``http://host:port``."""

        def read(value: str) -> tuple[str, int]:
            parts = urlsplit(value)
            if parts.scheme == "https":
                raise ValueError("asks for TLS, which is not offered here; put a proxy in front and use http")
            if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or "@" in value:
                raise ValueError("is not an address as http://127.0.0.1:8080")
            return parts.hostname, 80 if parts.port is None else parts.port

        return self.text(key, read, (LOOPBACK, port))


def _store(reading: _Reading) -> ModelStore:
    folder = reading.text("model_store", _folder, None)
    load = reading.text("load_models", _load, NONE)
    if load and folder is None:
        raise reading.wrong("load_models", "the model_store that they are in is not named")
    return ModelStore(
        folder,
        reading.text("allowed_urls", _expressions, NO_URL),
        load,
        reading.flag("enable_model_api", True),
        reading.text("models", _batching, {}),
    )


def _folder(value: str) -> Path | None:
    if value in ("", "standalone"):
        return None
    path = Path(value).absolute()
    if not path.is_dir():
        raise ValueError("is not a folder")
    return path


def _load(value: str) -> tuple[tuple[str, str], ...]:
    if value in ("", "standalone", "none", "N/A"):
        return ()
    if value.lower() == "all":
        return (("", "all"),)
    found = []
    for part in filter(None, (word.strip() for word in value.split(","))):
        name, mark, file = part.partition("=")
        found.append((name.strip(), file.strip()) if mark else ("", name))
    return tuple(found)


def _expressions(value: str) -> tuple[str, ...]:
    found = tuple(filter(None, (part.strip() for part in value.split(","))))
    for one in found:
        try:
            re.compile(one)
        except re.error as error:
            raise ValueError(f"holds {one[:60]!r}, which is no regular expression: {error}") from None
    return found


def _batching(value: str) -> dict[str, Batching]:
    """``{"noop": {"1.0": {"marName": "noop.mar", "batchSize": 4, "maxBatchDelay": 100, ...}}}``."""
    try:
        told = json.loads(value)
        rows = [one for versions in told.values() for one in versions.values()]
        return {
            str(one["marName"]): Batching(
                _bounded(one.get("batchSize"), 1, 1 << 20),
                None if (wait := _bounded(one.get("maxBatchDelay"), 0, 10_000)) is None else wait / 1000,
            )
            for one in rows
        }
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"is not what TorchServe writes there ({error!r:.60})") from None


def _bounded(value: object, least: int, most: int) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"holds {value!r:.40} where a whole number from {least} to {most} belongs")
    return value
