"""Options that say of a file what it does not say itself; the same for every verb that opens one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.core.errors import MissingFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Verb = TypeVar("Verb", bound=Callable[..., Any])

_KEY = "modelyard.asked"
_CODE_BYTES = 4 << 20


def asks(verb: Verb) -> Verb:
    """Give a verb the options; ``asked()`` in it has what they said."""
    for option in reversed(_OPTIONS):
        verb = option(verb)
    return verb


def asked() -> dict[str, Any]:
    """What was said, as ``formats.opened.Ask.options`` takes it."""
    found: dict[str, Any] = click.get_current_context().meta.get(_KEY, {})
    return dict(found)


def stem_of(file: Path) -> str:
    """What to call a model of this file, or of ``file.py:function``.

    >>> stem_of(Path("features.py:scale"))
    'scale'
    """
    name = str(file).rpartition(":")[2]
    return name if name.isidentifier() and ":" in str(file) else file.stem


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        context.meta.setdefault(_KEY, {})[str(parameter.name)] = (
            list(value) if isinstance(value, tuple) else value
        )


def _keep_module(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """``file.py:Name`` travels as its text: the child reads no other file, and a bundle can keep it."""
    if not value:
        return
    where, _, name = value.rpartition(":") if ":" in value else (value, "", "")
    _keep(context, parameter, f"{where}:{name}" if not where.endswith(".py") else name)
    if where.endswith(".py"):
        path = Path(where)
        try:
            code = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise MissingFile(f"--module {value}: {path} cannot be read as Python text") from error
        if len(code) > _CODE_BYTES:
            raise MissingFile(f"--module {value}: {path} has more than {_CODE_BYTES >> 20} MiB")
        context.meta.setdefault(_KEY, {}).update({"module": name, "module_code": code})


_OPTIONS = (
    click.option(
        "--input",
        multiple=True,
        expose_value=False,
        callback=_keep,
        metavar="NAME:TYPE[SIZES]",
        help="What the model takes, where its file does not say: x:float32[N,3,224,224]. Repeat for more.",
    ),
    click.option(
        "--module",
        expose_value=False,
        callback=_keep_module,
        metavar="MODULE:CLASS",
        help="The class that weights belong to, or code that layers need: pkg.mod:Class or file.py:Class.",
    ),
    click.option(
        "--pre",
        expose_value=False,
        callback=_keep,
        metavar="FILE.py:FUNCTION",
        help="A function before the model: what it takes is what the service takes.",
    ),
    click.option(
        "--post",
        expose_value=False,
        callback=_keep,
        metavar="FILE.py:FUNCTION",
        help="A function after the model: what it answers is what the service answers.",
    ),
    click.option(
        "--signature",
        expose_value=False,
        callback=_keep,
        help="Which signature of a SavedModel to serve; serving_default when left out.",
    ),
    click.option(
        "--allow-code",
        is_flag=True,
        expose_value=False,
        callback=_keep,
        help="Run the code that the file brings (Lambda layers), in the sandboxed child only.",
    ),
)
