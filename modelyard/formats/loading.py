"""Build the object that a file holds. Child only: unpickling runs whatever the file says.

Each loader answers ``(object, notes)`` and raises the error that names what is missing.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import CorruptFile, FileError, MissingExtra, NotConvertible, UnsafeFile
from modelyard.formats.boosters.wrappers import unwrapped
from modelyard.formats.extras import way_to
from modelyard.formats.names import SKOPS_REVIEWED

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.formats.opened import Ask

_NOTES = 8


def load_onnx(path: str, ask: Ask) -> tuple[bytes, list[str]]:
    """The graph as it lies in the file; nothing is built."""
    del ask
    return Path(path).read_bytes(), []


def load_pickle(path: str, ask: Ask) -> tuple[Any, list[str]]:
    """A pickle, cloudpickle or (compressed) joblib file.

    Raises:
        CorruptFile: the stream is damaged.
        MissingExtra: it needs a package that is not installed.
        NotConvertible: it needs classes of the program that wrote it.
        UnsafeFile: it tried what the sandbox forbids.
    """
    return guarded(lambda: unwrapped(_unpickle(path), ask))


def load_skops(path: str, ask: Ask) -> tuple[Any, list[str]]:
    """A skops archive; only reviewed types and those in ``ask.trusted`` are built.

    Raises:
        UnsafeFile: it names other types; they are listed.
    """

    def load() -> Any:
        from skops import io

        asked = io.get_untrusted_types(file=path)
        strange = [name for name in asked if name not in SKOPS_REVIEWED and name not in ask.trusted]
        if strange:
            raise UnsafeFile(
                f"the file names types that are not trusted: {', '.join(strange[:12])}; "
                "if you know where it comes from, name them as trusted"
            )
        return unwrapped(io.load(path, trusted=asked), ask)

    return guarded(load)


def _unpickle(path: str) -> Any:
    try:
        import joblib
    except ModuleNotFoundError:
        with Path(path).open("rb") as stream:
            return pickle.load(stream)  # noqa: S301  (the child is where this is allowed)
    return joblib.load(path)


def guarded(load: Callable[[], Any]) -> tuple[Any, list[str]]:
    """Run a loader; turn what it raises into the error that helps, and its warnings into notes."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            found = load()
        except FileError:
            raise
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"the file needs the Python module {error.name!r}, which is not installed here; "
                f"{way_to(error.name or '')}"
            ) from error
        except AttributeError as error:
            raise NotConvertible(_not_found(error)) from error
        except (EOFError, pickle.UnpicklingError, IndexError, UnicodeDecodeError) as error:
            raise CorruptFile(f"the file is damaged: {_line(error)}") from error
        except PermissionError as error:
            raise UnsafeFile(
                f"while it was opened, the file tried what the sandbox forbids: {_line(error)}"
            ) from error
        except Exception as error:
            # A plug-in call: classes restore themselves with code of their own.
            raise NotConvertible(
                f"the file could not be opened: {type(error).__name__}: {_line(error)}"
            ) from error
    notes = dict.fromkeys(_note(warning) for warning in heard if _matters(warning))
    return found, list(notes)[:_NOTES]


def _matters(warning: warnings.WarningMessage) -> bool:
    return "Version" in warning.category.__name__ or issubclass(warning.category, UserWarning)


def _note(warning: warnings.WarningMessage) -> str:
    message = warning.message
    then = getattr(message, "original_sklearn_version", None)
    if then is not None:
        now = getattr(message, "current_sklearn_version", "another version")
        return f"saved with scikit-learn {then}, opened with {now}: check its answers"
    return _line(message)


def _not_found(error: AttributeError) -> str:
    text = _line(error)
    if "__main__" in text or "__mp_main__" in text:
        return (
            f"the file needs code of the program that saved it ({text}); "
            "save it with cloudpickle, or put the class in an installed module"
        )
    return f"the file does not fit the installed packages: {text}"


def _line(error: Warning | BaseException | str) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
