"""Code that the operator names with ``--module``: the class of some weights, the layers of a model.

It runs in the child only, behind the same walls as the file. ``pkg.mod:Class`` is imported from what is
installed; ``file.py:Class`` arrives as text.
"""

from __future__ import annotations

import importlib
import linecache
import sys
import types
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import MissingExtra, NotConvertible

if TYPE_CHECKING:
    from modelyard.formats.opened import Ask

NAME = "modelyard_given"
"""What the module of a file is called in the child."""


def given(ask: Ask) -> Any:
    """The class or function that was named, or the module where no name in it was; None: nothing was.

    Raises:
        MissingExtra: the module is not installed.
        NotConvertible: its code raises, or it has no such name.
    """
    said = str(ask.options.get("module") or "")
    text = ask.options.get("module_code")
    if not said and text is None:
        return None
    if text is not None:
        module = _run(str(text))
        name = said
    else:
        where, _, name = said.partition(":")
        module = _import(where)
    if not name:
        return module
    found = getattr(module, name, None)
    if found is None:
        known = [key for key, value in vars(module).items() if isinstance(value, type) and key[0] != "_"]
        raise NotConvertible(
            f"--module: there is no {name!r} in it; it has {', '.join(known[:12]) or 'no class'}"
        )
    return found


def _import(where: str) -> types.ModuleType:
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"--module {where}: the Python module {error.name!r} is not installed here; install the package "
            "it comes from, or give the file: --module path/to/file.py:Class"
        ) from error
    except Exception as error:  # a plug-in call: importing runs its code
        raise NotConvertible(f"--module {where}: importing it raised {_said(error)}") from error


def _run(text: str) -> types.ModuleType:
    module = types.ModuleType(NAME)
    module.__file__ = f"{NAME}.py"
    # A name in sys.modules and its lines where inspect looks: dataclasses, pickles and torch.jit.script ask.
    sys.modules[NAME] = module
    linecache.cache[module.__file__] = (len(text), None, text.splitlines(keepends=True), module.__file__)
    try:
        exec(compile(text, module.__file__, "exec"), vars(module))  # noqa: S102  (the child is the place for it)
    except Exception as error:  # a plug-in call
        raise NotConvertible(f"--module: running the file raised {_said(error)}") from error
    return module


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
