"""TensorFlow SavedModel folders: which road there is depends on what is installed.

With TensorFlow, it is the original: tf2onnx makes a graph that is compared with it, and it answers itself
where that fails. Without, OpenVINO reads and runs the folder, and the report says that nothing was compared.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.core.errors import CorruptFile, MissingExtra, NotConvertible
from modelyard.formats.nets.openvino_host import openvino_network
from modelyard.formats.nets.savedmodel_facts import DEFAULT, SavedSignature, signatures_of
from modelyard.formats.nets.tensorflow_host import tensorflow_network

if TYPE_CHECKING:
    from modelyard.formats.nets.network import Network
    from modelyard.formats.opened import Ask


def load_savedmodel(path: str, ask: Ask) -> tuple[Network, list[str]]:
    """Open a SavedModel.

    Raises:
        CorruptFile: it is damaged, or has no signature.
        NotConvertible: there is no signature of the name that was asked for.
        MissingExtra: neither TensorFlow nor OpenVINO is installed.
    """
    try:
        found = signatures_of((Path(path) / "saved_model.pb").read_bytes())
    except OSError as error:
        raise CorruptFile(f"its saved_model.pb cannot be read: {error.strerror}") from error
    chosen = choose(found, str(ask.options.get("signature") or ""))
    others = [one.name for one in found if one is not chosen]
    notes = []
    if others:
        shown = ", ".join(others[:8])
        notes.append(
            f"signature {chosen.name!r} is served; the folder also has {shown}: --signature {others[0]}"
        )
    if find_spec("tensorflow") is not None:
        network, more = tensorflow_network(path, ask, chosen)
    elif find_spec("openvino") is not None and chosen.name == DEFAULT:
        network, more = openvino_network(path, ask, chosen)
    else:
        what = f"signature {chosen.name!r} of a SavedModel" if find_spec("openvino") else "a SavedModel"
        lines = "pip install 'modelyard[tensorflow]'"
        if chosen.name == DEFAULT:
            lines += " (or, much smaller, pip install 'modelyard[openvino]')"
        raise MissingExtra(f"{what} needs TensorFlow, which is not installed here; run: {lines}")
    return network, [*notes, *more]


def choose(found: tuple[SavedSignature, ...], asked: str) -> SavedSignature:
    """The signature to serve.

    Raises:
        NotConvertible: there is none of that name, or none was named and there are several.
    """
    by_name = {one.name: one for one in found}
    known = ", ".join(by_name)
    if asked:
        if asked not in by_name:
            raise NotConvertible(f"it has no signature {asked!r}; it has {known}")
        return by_name[asked]
    if DEFAULT not in by_name and len(found) > 1:
        raise NotConvertible(
            f"it has the signatures {known} and no {DEFAULT}; choose one: --signature {found[0].name}"
        )
    return by_name.get(DEFAULT, found[0])
