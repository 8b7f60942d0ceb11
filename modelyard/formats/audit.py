"""What a file would do when opened, found out without opening it.

A scanner is a tripwire, never a boundary: every published one has been got round. This one informs a person
(`modelyard inspect`); safety comes from the sandboxed child alone, which opens a file in the same way
whether the audit liked it or not.
"""

from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from modelyard.core.errors import CorruptFile, MissingFile
from modelyard.formats.containers import hub
from modelyard.formats.inflate import compression_of, peek
from modelyard.formats.names import SKOPS_REVIEWED, sort_of
from modelyard.formats.nets import look
from modelyard.formats.onnx_walk import NotProtobuf, survey
from modelyard.formats.pickle_facts import PickleFacts, WalkLimits
from modelyard.formats.pickle_walk import walk_pickle
from modelyard.formats.sniff import BAD_ZIP

if TYPE_CHECKING:
    from pathlib import Path

    from modelyard.formats.sniff import Sniffed

_Sorts: TypeAlias = dict[str, list[str]]
_INFLATED_BYTES = 64 << 20
_SCHEMA_BYTES = 32 << 20
_SHOWN = 12
_PICKLES = ("pickle", "joblib", "cloudpickle")
_HELD = "it can bring code of its own; it is opened in a sandboxed child only"
_GLOBAL = re.compile(rb"[ci]([A-Za-z_][\w.]{0,100})\n([A-Za-z_][\w.]{0,100})\n")
_PAIR = re.compile(
    rb"\x8c(.)([A-Za-z_][\w.]{0,100})(?:\x94)?\x8c(.)([A-Za-z_][\w.]{0,100})(?:\x94)?\x93", re.DOTALL
)
_STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")


class Audit(Struct, frozen=True):
    """What a file asks for.

    Args:
        size_bytes: of the file.
        safe: opening it runs no code that the file brings.
        complete: all of it was looked at.
        known: imports of well-known packages, as ``module.name``.
        unknown: other imports.
        dangerous: imports that a model has no use for.
        findings: what a person should know, one plain sentence each.
        facts: figures by name, as text: opsets, nodes, protocol, ...
    """

    size_bytes: int
    safe: bool
    complete: bool
    known: tuple[str, ...]
    unknown: tuple[str, ...]
    dangerous: tuple[str, ...]
    findings: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


def audit(path: Path, sniffed: Sniffed) -> Audit:
    """List what a recognised file would import, call or refer to.

    Raises:
        MissingFile: the file has gone, or may not be read.
        CorruptFile: its content is not what was sniffed.
    """
    try:
        if sniffed.format in look.FORMATS:
            return _network(path, sniffed)
        if path.is_dir() and sniffed.format.startswith("huggingface"):
            return _hub(path, sniffed)
        if path.is_dir():
            return Audit(0, False, True, (), (), (), (_HELD,), ())
        with open(path, "rb") as stream:
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            if sniffed.format == "onnx":
                return _onnx(path, stream, size)
            if sniffed.format == "skops":
                return _skops(path, stream, size)
            if sniffed.safe:
                return Audit(size, True, True, (), (), (), (), (("kind", sniffed.detail),))
            if sniffed.format not in _PICKLES:
                return Audit(size, False, True, (), (), (), (_HELD,), ())
            return _pickle(stream, size)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise MissingFile(f"{path} cannot be read: {error.strerror}") from error
    except OSError as error:
        raise CorruptFile(f"{path} cannot be read: {error.strerror or error}") from error


def _hub(path: Path, sniffed: Sniffed) -> Audit:
    found = hub.read(path)
    size = sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    if found.graph:
        with (path / found.graph).open("rb") as stream:
            own = _onnx(path / found.graph, stream, size)
        return replace(own, facts=(("graph", found.graph), *own.facts))
    findings = ["its weights are numbers only; the class that uses them is of the installed Transformers"]
    if found.code:
        findings = [
            f"it asks for Python code of its own ({_some(list(found.code))}), which is never run here"
        ]
    return Audit(
        size, sniffed.safe, True, (), (), (), tuple(findings), (("architecture", found.architecture),)
    )


def _network(path: Path, sniffed: Sniffed) -> Audit:
    found = look.look(path, sniffed.format)
    sorts: dict[str, list[str]] = {"known": [], "unknown": [], "dangerous": [], "code": []}
    for name in found.imports:
        own = name.partition(".")[0] in ("torch", "__torch__")
        sorts["known" if own else sort_of(name)].append(name)
    findings = list(found.findings)
    if sorts["dangerous"]:
        findings.append(
            f"it asks for {_some(sorts['dangerous'])}, which no model needs: do not trust this file"
        )
    if sorts["unknown"] or sorts["code"]:
        findings.append(
            f"it needs packages that are not known here: {_some(sorts['unknown'] + sorts['code'])}"
        )
    return Audit(
        found.size_bytes,
        sniffed.safe,
        found.complete,
        tuple(sorts["known"]),
        tuple(sorts["unknown"] + sorts["code"]),
        tuple(sorts["dangerous"]),
        tuple(findings),
        found.facts,
    )


def _onnx(path: Path, stream: BinaryIO, size: int) -> Audit:
    try:
        found = survey(stream)
    except NotProtobuf as error:
        raise CorruptFile(f"{path} is no ONNX model: {error}") from error
    findings = []
    custom = [name for name in found.domains if name not in _STANDARD_DOMAINS]
    if custom:
        findings.append(f"it uses operators of its own ({_some(custom)}), which this server does not have")
    if found.external:
        outside = [name for name in found.external if name.startswith("/") or ".." in name.split("/")]
        findings.append(f"its weights lie in other files: {_some(list(found.external))}")
        if outside:
            findings.append(f"it refers to files outside its folder: {_some(outside)}")
    if not found.complete:
        findings.append("it is too large to be read whole; the figures are lower bounds")
    opsets = ", ".join(f"{name or 'ai.onnx'} {version}" for name, version in found.opsets.items())
    facts = (
        ("IR version", str(found.ir_version)),
        ("producer", found.producer or "not stated"),
        ("operator sets", opsets),
        ("nodes", str(found.nodes)),
        ("weights", str(found.weights)),
        ("external files", str(len(found.external))),
    )
    return Audit(size, True, found.complete, (), (), (), tuple(findings), facts)


def _pickle(stream: BinaryIO, size: int) -> Audit:
    method = compression_of(stream.read(16))
    stream.seek(0)
    source: BinaryIO = stream
    cut = False
    if method == "lz4":
        note = "it is compressed with lz4, which is not read here; its imports are unknown"
        return Audit(size, False, False, (), (), (), (note,), (("compression", "lz4"),))
    if method is not None:
        data = peek(stream, method, _INFLATED_BYTES) or b""
        if data.startswith(b"\x80"):
            cut = len(data) >= _INFLATED_BYTES
            source = io.BytesIO(data)
        else:
            # Two bytes of magic can also be two opcodes.
            method = None
            stream.seek(0)
    found = walk_pickle(source, WalkLimits())
    rest = _scan_rest(source) if not found.complete else {}
    names = [*found.globals, *(name for name in rest if name not in found.globals)]
    sorts: dict[str, list[str]] = {"known": [], "unknown": [], "dangerous": [], "code": []}
    for name in names:
        sorts[sort_of(name)].append(name)
    findings = ["loading a pickle can run any code; it is opened in a sandboxed child only"]
    findings += _pickle_findings(found, sorts, cut=cut, scanned=bool(rest) or not found.complete)
    facts = [("protocol", str(found.protocol)), ("opcodes", str(found.opcodes)), ("imports", str(len(names)))]
    if found.arrays:
        facts.append(("raw arrays", str(found.arrays)))
    if method is not None:
        facts.append(("compression", method))
    return Audit(
        size,
        False,
        found.complete and not cut,
        tuple(sorts["known"]),
        tuple(sorts["unknown"] + sorts["code"]),
        tuple(sorts["dangerous"]),
        tuple(findings),
        tuple(facts),
    )


def _pickle_findings(
    found: PickleFacts, sorts: dict[str, list[str]], *, cut: bool, scanned: bool
) -> list[str]:
    out = []
    if sorts["dangerous"]:
        out.append(f"it asks for {_some(sorts['dangerous'])}, which no model needs: do not trust this file")
    if found.computed:
        out.append(f"it hides the names of {found.computed} imports, as no ordinary model does")
    if sorts["code"]:
        out.append("it brings Python functions of its own (cloudpickle)")
    if sorts["unknown"]:
        out.append(f"it needs packages that are not known here: {_some(sorts['unknown'])}")
    if scanned:
        why = found.trouble or "the stream could not be followed"
        out.append(f"{why}; the rest was only searched for names, so the list may lack some")
    if cut:
        out.append(f"only the first {_INFLATED_BYTES >> 20} MiB of what it decompresses to were read")
    return out


def _scan_rest(source: BinaryIO) -> dict[str, None]:
    """Look for import opcodes with plain names in what the walk could not follow."""
    names: dict[str, None] = {}
    keep = b""
    read = 0
    while read < _INFLATED_BYTES and len(names) < 1000:
        chunk = source.read(1 << 20)
        if not chunk:
            break
        read += len(chunk)
        for name in scan_names(keep + chunk):
            names[name] = None
        keep = chunk[-512:]
    return names


def scan_names(data: bytes) -> list[str]:
    r"""Names in ``GLOBAL`` opcodes, and short strings beside each other as ``STACK_GLOBAL`` leaves them.

    >>> scan_names(b"xxcos\nsystem\n(")
    ['os.system']
    """
    out = [f"{match[1].decode()}.{match[2].decode()}" for match in _GLOBAL.finditer(data)]
    out += [
        f"{match[2].decode()}.{match[4].decode()}"
        for match in _PAIR.finditer(data)
        if len(match[2]) == match[1][0] and len(match[4]) == match[3][0]
    ]
    return out


def _skops(path: Path, stream: BinaryIO, size: int) -> Audit:
    try:
        with zipfile.ZipFile(stream) as archive, archive.open("schema.json") as member:
            text = member.read(_SCHEMA_BYTES + 1)
        schema: Any = msgspec.json.decode(text) if len(text) <= _SCHEMA_BYTES else None
    except BAD_ZIP as error:
        raise CorruptFile(
            f"{path} is a damaged skops archive: {' '.join(str(error).split())[:200]}"
        ) from error
    if schema is None:
        return Audit(size, False, False, (), (), (), ("its schema is too large to be read",), ())
    types = _types(schema)
    sorts: dict[str, list[str]] = {"known": [], "unknown": [], "dangerous": [], "code": []}
    for name in types:
        sorts["known" if name in SKOPS_REVIEWED else sort_of(name)].append(name)
    findings = ["skops builds only types that are trusted; it is opened in a sandboxed child all the same"]
    unknown = sorts["unknown"] + sorts["code"]
    if unknown or sorts["dangerous"]:
        findings.append(
            f"it names types that are not trusted by default: {_some(sorts['dangerous'] + unknown)}"
        )
    version = schema.get("_skops_version") if isinstance(schema, dict) else None
    facts = (("skops version", str(version)), ("types", str(len(types))))
    return Audit(
        size,
        False,
        True,
        tuple(sorts["known"]),
        tuple(unknown),
        tuple(sorts["dangerous"]),
        tuple(findings),
        facts,
    )


def _types(schema: Any) -> list[str]:
    """Every ``module.class`` that a schema names, without recursion."""
    names: dict[str, None] = {}
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            module, cls = node.get("__module__"), node.get("__class__")
            if isinstance(module, str) and isinstance(cls, str):
                names[f"{module}.{cls}"[:300]] = None
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return sorted(names)


def _some(names: list[str]) -> str:
    shown = ", ".join(name[:120] for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
