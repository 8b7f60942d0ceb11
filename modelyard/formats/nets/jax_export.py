"""Functions of ``jax.export``: StableHLO with shapes, compiled again where it is served.

Source: jax.export.deserialize (JAX 0.10). The artifact holds no Python, so there is no road from it to ONNX:
jax2onnx starts from the function, and stops at the one primitive (``call_exported``) that is left of it here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import CorruptFile, NotConvertible
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import dtype_of
from modelyard.formats.nets.asked import NO_SAMPLE, stated
from modelyard.formats.nets.extras import extra
from modelyard.formats.nets.network import Network, study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.tensor import Array
    from modelyard.formats.opened import Ask


def load_jax(path: str, ask: Ask) -> tuple[Network, list[str]]:
    """Open a serialized ``jax.export.Exported``.

    Raises:
        MissingExtra: JAX is not installed.
        CorruptFile: it is damaged.
        NotConvertible: it was exported for another kind of machine, or does not run.
    """
    with extra("jax", "a jax.export file"):
        import jax
        from jax import export
        from jax import tree_util as trees
    try:
        exported = export.deserialize(bytearray(Path(path).read_bytes()))
    except Exception as error:  # a plug-in call: its reader raises whatever it does
        raise CorruptFile(f"it is no jax.export file that can be read: {_line(error)}") from error
    if "cpu" not in exported.platforms:
        raise NotConvertible(
            f"it was exported for {', '.join(exported.platforms)}; export it with platforms=['cpu']"
        )
    args, keywords = trees.tree_unflatten(exported.in_tree, list(range(len(exported.in_avals))))
    names = _names(trees, (args, keywords), "x")
    own = tuple(_spec(name, aval) for name, aval in zip(names, exported.in_avals, strict=True))
    said = stated(ask, names) if ask.options.get("input") else None
    inputs = said if said is not None else own
    outputs = _names(
        trees, trees.tree_unflatten(exported.out_tree, list(range(len(exported.out_avals)))), "output"
    )
    call = jax.jit(exported.call)

    def answer(arrays: Sequence[Array]) -> list[tuple[str, Array]]:
        given, named = trees.tree_unflatten(exported.in_tree, list(arrays))
        found = trees.tree_leaves(call(*given, **named))
        return [(name, np.asarray(one)) for name, one in zip(outputs, found, strict=True)]

    def export_graph() -> bytes:
        raise NotConvertible(
            "a jax.export file holds no Python function, which is what converters to ONNX start from; for a "
            "graph, run jax2onnx where the function is and serve what it writes"
        )

    signature, profile, _ = study(inputs, answer)
    notes = [NO_SAMPLE] if ask.sample is None and ask.tensor is None else []
    facts = {
        "class": f"JAX function {exported.fun_name!r}",
        "library": "jax",
        "version": str(jax.__version__),
    }
    return Network(signature, profile, facts, answer, export_graph), notes


def _names(trees: Any, tree: Any, prefix: str) -> list[str]:
    """Names of the leaves: keys where there are keys, else the prefix and a number."""
    found = []
    leaves = trees.tree_flatten_with_path(tree)[0]
    for at, (path, _) in enumerate(leaves):
        keys = [str(step.key) for step in path if hasattr(step, "key") and isinstance(step.key, str)]
        found.append("_".join(keys) or (prefix if len(leaves) == 1 else f"{prefix}_{at}"))
    return found


def _spec(name: str, aval: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in aval.shape)
    try:
        return TensorSpec(name, dtype_of(np.empty(0, aval.dtype)), shape)
    except (KeyError, TypeError) as error:
        raise NotConvertible(f"its input {name!r} is {aval.dtype}, which no protocol carries") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
