"""One error tree for the whole product.

It knows no web framework. A leaf carries a stable ``code`` and whose ``fault`` it is;
``serve/status.py`` maps codes to HTTP and gRPC statuses and ``console`` maps them to exit codes.

    ModelyardError
    |-- CallerError                 the request is wrong; the server is fine
    |   |-- BadRequest              bad-request          not a well-formed request
    |   |-- BadInput                bad-input            well-formed, but not what this model takes
    |   |-- TooLarge                too-large            over a stated limit
    |   |-- ModelNotFound           model-not-found
    |   |-- VersionNotFound         version-not-found
    |   |-- RegionNotFound          region-not-found     no such shared memory region is registered
    |   |-- IllegalMove             illegal-move         the state it is in does not allow that
    |   |-- Conflict                conflict             someone else was first
    |   |-- RouteNotFound           route-not-found
    |   |-- MethodNotAllowed        method-not-allowed
    |   |-- UnsupportedMedia        unsupported-media
    |   |-- Unsupported             unsupported          a feature of the protocol that is not offered
    |   |-- SlowRequest             slow-request         the request did not arrive in time
    |   |-- DeadlineExceeded        deadline-exceeded
    |   `-- Cancelled               cancelled            the caller went away
    |-- BusyError                   try again, here or elsewhere
    |   |-- Overloaded              overloaded
    |   `-- Unavailable             unavailable          starting, draining, or the model is down
    |-- ModelError                  the model's own code failed
    |   |-- ModelFailed             model-failed
    |   `-- HostDied                host-died            the process that runs the model ended
    |-- FileError                   the operator's file or machine
    |   |-- MissingFile             missing-file
    |   |-- CorruptFile             corrupt-file
    |   |-- UnknownFormat           unknown-format
    |   |-- UnsafeFile              unsafe-file          opening it would need trust that was not given
    |   |-- MissingExtra            missing-extra        an optional package is not installed
    |   |-- NotConvertible          not-convertible      no road from this file to a service
    |   |-- ChildFailed             child-failed         a sandboxed child broke a limit or died
    |   |-- SandboxUnavailable      sandbox-unavailable
    |   |-- NewerRegistry           newer-registry       a later release of Modelyard made it
    |   |-- PortBusy                port-busy
    |   |-- BadConfig               bad-config           a configuration file says what has no meaning here
    |   `-- OverBudget              over-budget          what must stay loaded exceeds the memory given
    `-- InternalError               internal             a bug of ours

A message names the thing, the finding and the way out. Messages of ``CallerError`` and ``BusyError``
go to clients: they hold no path, no secret and no stack trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from datetime import datetime


class ModelyardError(Exception):
    """Root of every error that Modelyard raises on purpose."""

    code: ClassVar[str] = "internal"

    @property
    def message(self) -> str:
        """The sentence for a person."""
        return str(self.args[0]) if self.args else self.code


class CallerError(ModelyardError):
    """The request is wrong; the server is fine."""


class BadRequest(CallerError):
    """Not a well-formed request."""

    code = "bad-request"


class BadInput(CallerError):
    """Well-formed, but not what this model takes."""

    code = "bad-input"


class TooLarge(CallerError):
    """Over a stated limit."""

    code = "too-large"


class ModelNotFound(CallerError):
    """No such model or version."""

    code = "model-not-found"


class VersionNotFound(CallerError):
    """The model has no such version, release or alias."""

    code = "version-not-found"


class RegionNotFound(CallerError):
    """No shared memory region of that name is registered."""

    code = "region-not-found"


class IllegalMove(CallerError):
    """The state that it is in does not allow that."""

    code = "illegal-move"


class Conflict(CallerError):
    """Someone else was first: ``revision`` is what stands now, ``who`` made it, ``at`` says when."""

    code = "conflict"

    def __init__(self, message: str, revision: int = 0, who: str = "", at: datetime | None = None) -> None:
        super().__init__(message)
        self.revision = revision
        self.who = who
        self.at = at


class RouteNotFound(CallerError):
    """No such path."""

    code = "route-not-found"


class MethodNotAllowed(CallerError):
    """The path exists, the method is not one it takes."""

    code = "method-not-allowed"


class UnsupportedMedia(CallerError):
    """A content type or encoding that is not read here."""

    code = "unsupported-media"


class Unsupported(CallerError):
    """A feature of the protocol that is not offered."""

    code = "unsupported"


class SlowRequest(CallerError):
    """The request did not arrive in time."""

    code = "slow-request"


class DeadlineExceeded(CallerError):
    """The time that the caller gave is over."""

    code = "deadline-exceeded"


class Cancelled(CallerError):
    """The caller went away."""

    code = "cancelled"


class BusyError(ModelyardError):
    """Try again, here or elsewhere."""


class Overloaded(BusyError):
    """The queue of this model is full."""

    code = "overloaded"


class Unavailable(BusyError):
    """Starting, draining, or the model is down."""

    code = "unavailable"


class ModelError(ModelyardError):
    """The model's own code failed."""


class ModelFailed(ModelError):
    """The model raised while it computed."""

    code = "model-failed"


class HostDied(ModelError):
    """The process that runs the model ended; ``last_words`` is for the operator only."""

    code = "host-died"

    def __init__(self, message: str, last_words: str = "") -> None:
        super().__init__(message)
        self.last_words = last_words


class FileError(ModelyardError):
    """The operator's file or machine."""


class MissingFile(FileError):
    """No such file."""

    code = "missing-file"


class CorruptFile(FileError):
    """The file is not what it says it is."""

    code = "corrupt-file"


class UnknownFormat(FileError):
    """The content matches no format that is read here."""

    code = "unknown-format"


class UnsafeFile(FileError):
    """Opening the file would need trust that was not given."""

    code = "unsafe-file"


class MissingExtra(FileError):
    """An optional package is not installed."""

    code = "missing-extra"


class NotConvertible(FileError):
    """No road from this file to a service."""

    code = "not-convertible"


class ChildFailed(FileError):
    """A sandboxed child broke a limit or died."""

    code = "child-failed"


class SandboxUnavailable(FileError):
    """This kernel cannot confine a child."""

    code = "sandbox-unavailable"


class NewerRegistry(FileError):
    """A later release of Modelyard made this registry."""

    code = "newer-registry"


class PortBusy(FileError):
    """Another process holds the port."""

    code = "port-busy"


class BadConfig(FileError):
    """A configuration file says what has no meaning here."""

    code = "bad-config"


class OverBudget(FileError):
    """What must stay loaded exceeds the memory given."""

    code = "over-budget"


class InternalError(ModelyardError):
    """A bug of ours."""

    code = "internal"


_BY_CODE: dict[str, type[ModelyardError]] = {
    thing.code: thing
    for thing in list(vars().values())
    if isinstance(thing, type) and issubclass(thing, ModelyardError) and not thing.__subclasses__()
}


def error_of(code: str, message: str) -> ModelyardError:
    """An error that came from another process of ours as its code and message.

    >>> error_of("port-busy", "port 8000 is taken")
    PortBusy('port 8000 is taken')
    """
    return _BY_CODE.get(code, InternalError)(message)
