"""What a file is, by its content.

One rule: the name of a file says nothing. A bounded head and tail are read, nothing is loaded, and a file
that is not served is named for what it is.
"""

from __future__ import annotations

import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, BinaryIO

import msgspec
from msgspec import Struct

from modelyard.core.errors import CorruptFile, MissingFile, UnknownFormat
from modelyard.formats import foreign
from modelyard.formats.boosters.marks import Damaged, recognise
from modelyard.formats.containers import hub
from modelyard.formats.inflate import compression_of, peek
from modelyard.formats.nets import marks
from modelyard.formats.onnx_walk import NotProtobuf, looks_cut_off, outline
from modelyard.formats.pickle_facts import WalkLimits
from modelyard.formats.pickle_walk import walk_pickle

if TYPE_CHECKING:
    from pathlib import Path

    from modelyard.formats.pickle_facts import PickleFacts

HEAD_BYTES = 256 << 10
_TAIL_BYTES = 128 << 10
_DIRECTORY_BYTES = 16 << 20
_MEMBERS = 100_000
_TENSOR_HEAD_BYTES = 16 << 20
BAD_ZIP = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OverflowError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    KeyError,
    RecursionError,
    msgspec.DecodeError,
)
"""What zipfile and the decompressors raise for bytes that they do not like."""
MAR = "MAR-INF/MANIFEST.json"
"""What every TorchServe archive holds."""
_SMALL = WalkLimits(opcodes=20_000, globals=1000)


class _Tensor(msgspec.Struct):
    """A row of the head of safetensors weights; what stands beside the tensors has none."""

    data_offsets: tuple[int, int] = (0, 0)


class Sniffed(Struct, frozen=True):
    """What a file is.

    Args:
        format: a row of ``FORMATS``.
        detail: for a person: "pickle, protocol 5".
        safe: opening it runs no code that the file brings.
    """

    format: str
    detail: str
    safe: bool


def sniff(path: Path) -> Sniffed:
    """Recognise a model file.

    Raises:
        MissingFile: it is not there, is a folder, or may not be read.
        CorruptFile: it is empty, truncated or damaged.
        UnknownFormat: it is something else; the message says what.
        UnsafeFile: it leads out of its own folder.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            if (net := marks.of_folder(path)) is not None:
                return Sniffed(*net, False)
            for mark, name, detail in foreign.CODE_FOLDERS:
                if (path / mark).is_file():
                    return Sniffed(name, detail, False)
            if (folder := hub.look(path)) is not None:
                return Sniffed("huggingface-onnx" if folder.graph else "huggingface", folder.detail, False)
            raise _folder(path)
        if not stat.S_ISREG(mode):
            raise MissingFile(f"{path} is no ordinary file; give the path of a model file")
        with open(path, "rb") as stream:
            return _sniff_stream(path, stream)
    except FileNotFoundError as error:
        raise MissingFile(f"no such file: {path}") from error
    except PermissionError as error:
        raise MissingFile(f"{path} may not be read by this user; check its permissions") from error
    except (OSError, ValueError) as error:
        raise CorruptFile(f"{path} cannot be read: {_short(error)}") from error


def _short(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200]


def _folder(path: Path) -> MissingFile | UnknownFormat:
    for name, what in foreign.FOLDERS:
        if os.path.exists(os.path.join(path, name)):
            return UnknownFormat(f"{path} is {what}; {foreign.READ_HERE}")
    return MissingFile(f"{path} is a folder; give the path of a model file in it")


def _sniff_stream(path: Path, stream: BinaryIO) -> Sniffed:
    head = stream.read(HEAD_BYTES)
    if not head:
        raise CorruptFile(f"{path} is empty; save the model again")
    size = stream.seek(0, os.SEEK_END)
    if head.startswith(foreign.LFS_POINTER):
        raise CorruptFile(f"{path} is a Git LFS pointer, not the model; run: git lfs pull")
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _zip(path, stream, size)
    if (net := marks.of_bytes(head)) is not None:
        return Sniffed(*net, net[0] in marks.SAFE)
    try:
        booster = recognise(head, stream, size)
    except Damaged as error:
        raise CorruptFile(f"{path} starts as a model {error}; copy it again") from error
    if booster is not None:
        return Sniffed(*booster, True)
    for at, magic, what in foreign.MAGIC:
        if head[at : at + len(magic)] == magic:
            raise UnknownFormat(f"{path} is {what}; {foreign.READ_HERE}")
    if _is_safetensors(head, size):
        _check_tensors(path, stream, size)
        return Sniffed("safetensors", "safetensors weights", True)
    found = _pickle(path, stream, head) or _compressed(path, stream, head)
    if found is not None:
        return found
    try:
        facts = outline(stream)
    except NotProtobuf:
        pass
    else:
        opsets = ", ".join(f"{name or 'ai.onnx'} {version}" for name, version in facts.opsets.items())
        return Sniffed("onnx", f"ONNX, IR version {facts.ir_version}, operator sets {opsets[:200]}", True)
    if looks_cut_off(stream):
        raise CorruptFile(f"{path} starts as an ONNX model, but its end is missing; copy it again")
    start = head[:4096].lstrip()
    for mark, what in foreign.TEXTS:
        if start[:1] in b"{<[" and mark.lower() in start.lower():
            raise UnknownFormat(f"{path} is {what}; {foreign.READ_HERE}")
    raise UnknownFormat(f"{path} is {_guess(head)}; {foreign.READ_HERE}")


def _guess(head: bytes) -> str:
    if not head.strip(b"\x00"):
        return "a file of zeros; the copy probably failed"
    try:
        text = head[:4096].decode("utf-8", "strict" if len(head) <= 4096 else "ignore")
    except UnicodeDecodeError:
        return "no model that is known here"
    if all(char.isprintable() or char in "\r\n\t" for char in text):
        return "a text file, not a model"
    return "no model that is known here"


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return 2 <= length <= min(size - 8, 100 << 20) and head[8:9] == b"{" and b'"dtype"' in head[8:4096]


def _check_tensors(path: Path, stream: BinaryIO, size: int) -> None:
    """The head says how far the tensors reach; one that is absurdly long is left to the child."""
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    if length > _TENSOR_HEAD_BYTES:
        return
    try:
        table = msgspec.json.decode(stream.read(length), type=dict[str, _Tensor])
    except (msgspec.DecodeError, RecursionError) as error:
        raise CorruptFile(f"{path} starts as safetensors weights, but its head is damaged: {error}") from None
    end = max((one.data_offsets[1] for one in table.values()), default=0)
    if 8 + length + end > size:
        raise CorruptFile(
            f"{path} has {size} bytes and its tensors reach to byte {8 + length + end}; copy it again"
        )


def _zip(path: Path, stream: BinaryIO, size: int) -> Sniffed:
    _check_directory(path, stream, size)
    stream.seek(0)
    try:
        with zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
            if "schema.json" in names:
                with archive.open("schema.json") as member:
                    start = member.read(1 << 16)
                if b'"__class__"' in start or b'"__loader__"' in start:
                    return Sniffed("skops", "skops archive", False)
            if MAR in names:
                return Sniffed("mar", "TorchServe archive", False)
            net = marks.of_archive(path, archive.infolist(), size)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        OverflowError,
    ) as error:
        raise CorruptFile(f"{path} is a damaged zip archive: {_short(error)}") from error
    if net is not None:
        return Sniffed(*net, False)
    for part, what in foreign.ARCHIVES:
        if any(part in name for name in names):
            raise UnknownFormat(f"{path} is {what}; {foreign.READ_HERE}")
    raise UnknownFormat(f"{path} is a zip archive without a model; {foreign.READ_HERE}")


def _check_directory(path: Path, stream: BinaryIO, size: int) -> None:
    """The archive's directory is read whole by zipfile: bound it first."""
    stream.seek(max(0, size - _TAIL_BYTES))
    tail = stream.read(_TAIL_BYTES)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise CorruptFile(f"{path} starts as a zip archive, but its end is missing; copy it again")
    members = int.from_bytes(tail[at + 10 : at + 12], "little")
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    zip64 = tail.rfind(b"PK\x06\x06", 0, at)
    if zip64 >= 0 and len(tail) >= zip64 + 56:
        members = max(
            members if members != 0xFFFF else 0, int.from_bytes(tail[zip64 + 32 : zip64 + 40], "little")
        )
        length = max(
            length if length != 0xFFFFFFFF else 0, int.from_bytes(tail[zip64 + 40 : zip64 + 48], "little")
        )
    if length > min(size, _DIRECTORY_BYTES) or members > _MEMBERS:
        raise CorruptFile(f"{path} is a zip archive with an absurd directory; it is not read")


def _pickle(path: Path, stream: BinaryIO, head: bytes) -> Sniffed | None:
    binary = head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5
    if not binary and not _may_be_text_pickle(head):
        return None
    if foreign.TORCH_LEGACY in head[:64]:
        raise UnknownFormat(f"{path} is a pickled PyTorch file in the old form; {foreign.READ_HERE}")
    stream.seek(0)
    facts = walk_pickle(stream, _SMALL)
    ended_early = not facts.complete and "only the first" not in facts.trouble
    if not binary and (ended_early or facts.opcodes < 2):
        return None
    if ended_early and not facts.arrays:
        raise CorruptFile(f"{path} is a damaged pickle: {facts.trouble}")
    if facts.short:
        raise CorruptFile(
            f"{path} says that an array goes {facts.short:,} bytes beyond the file's end; copy it again"
        )
    if not facts.complete:
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) != b".":
            raise CorruptFile(f"{path} is a pickle whose end is missing; copy it again")
    return Sniffed(*_flavour(facts, head), False)


def _may_be_text_pickle(head: bytes) -> bool:
    """Protocols 0 and 1 have no magic number: only opcodes that such pickles start with."""
    return head[:1] in b"(c]}I)lidNUVTFLKJMGXS" and b"." in head


def _flavour(facts: PickleFacts, head: bytes) -> tuple[str, str]:
    names = facts.globals
    protocol = f"protocol {facts.protocol}"
    if facts.arrays or b"joblib.numpy_pickle" in head:
        return "joblib", f"joblib, {protocol}"
    if any(name.startswith("cloudpickle") for name in names) or b"cloudpickle" in head:
        return "cloudpickle", f"cloudpickle, {protocol}"
    return "pickle", f"pickle, {protocol}"


def _compressed(path: Path, stream: BinaryIO, head: bytes) -> Sniffed | None:
    method = compression_of(head)
    if method is None:
        return None
    if method == "lz4":
        # No lz4 in the standard library: the child looks inside.
        return Sniffed("joblib", "joblib, compressed with lz4", False)
    stream.seek(0)
    start = peek(stream, method, HEAD_BYTES)
    if start is None:
        if method == "zlib":
            return None  # two bytes of magic prove nothing
        raise CorruptFile(f"{path} is a damaged {method} file; copy it again")
    if not (start[:1] == b"\x80" and len(start) > 1 and start[1] <= 5):
        raise UnknownFormat(f"{path} is a {method} file without a pickle in it; {foreign.READ_HERE}")
    facts = walk_pickle(io.BytesIO(start), _SMALL)
    return Sniffed("joblib", f"joblib, protocol {facts.protocol}, compressed with {method}", False)
