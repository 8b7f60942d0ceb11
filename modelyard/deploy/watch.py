"""A watched folder of models: what lies there, as a value, and what is wanted from it.

Rule: ``scan`` is a pure function of a listing; ``read_folder`` makes the listing and does nothing else. One
model that cannot be read is a problem with its name on it and never in the way of the others.

Two layouts, which may lie side by side: TensorFlow Serving's ``name/1/..`` with one model file a version
(or a SavedModel), and Triton's ``name/1/model.onnx`` beside ``name/config.pbtxt``.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from modelyard.core.digest import sha256_of
from modelyard.core.errors import BadConfig, BadInput, MissingFile
from modelyard.core.ref import check_name
from modelyard.deploy.pbtxt import MOST_CHARS
from modelyard.deploy.policy import LATEST, Policy, wanted
from modelyard.deploy.triton import TritonConfig, read_config

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = "config.pbtxt"
SAVED_MODEL = "saved_model.pb"
MOST_ENTRIES = 200_000
MOST_DEPTH = 6
FILE, FOLDER, OUTSIDE, OTHER = "file", "folder", "outside", "other"


class Found(Struct, frozen=True):
    """One entry of a folder.

    Args:
        kind: "file", "folder", "outside" (a link that leaves the watched folder) or "other".
        size_bytes: of a file.
        changed_ns: when it was last written.
    """

    kind: str
    size_bytes: int = 0
    changed_ns: int = 0


class Listing(Struct, frozen=True):
    """A folder as a value: paths below it, ``/`` between their parts, and the texts of the configurations."""

    found: Mapping[str, Found]
    texts: Mapping[str, str]


class WatchedVersion(Struct, frozen=True):
    """One version that is wanted; another ``stamp`` means that its files changed."""

    version: int
    path: str
    stamp: str


class WatchedModel(Struct, frozen=True):
    """One model that is wanted.

    Args:
        name: the folder's name.
        versions: ascending; the highest is the one to release.
        missing: versions that its policy names and that are not there.
        config: what its ``config.pbtxt`` says, in Triton's layout.
    """

    name: str
    versions: tuple[WatchedVersion, ...]
    missing: tuple[int, ...] = ()
    config: TritonConfig | None = None


class Scan(Struct, frozen=True):
    """What is wanted, by name, and what is wrong, one sentence each."""

    models: tuple[WatchedModel, ...]
    problems: tuple[str, ...] = ()


def scan(listing: Listing, policy: Policy = LATEST) -> Scan:
    """What a listing asks for; ``policy`` is for models whose configuration states none."""
    below: dict[str, dict[str, Found]] = defaultdict(dict)
    problems: list[str] = []
    for path, found in sorted(listing.found.items()):
        top, slash, rest = path.partition("/")
        if _hidden(path):
            continue
        if slash:
            below[top][rest] = found
        elif found.kind == FOLDER:
            below.setdefault(top, {})
        else:
            problems.append(
                f"{path}: not a model's folder; the layout is {path}/1/ and the model's file in it"
            )
    models = []
    for name, inside in sorted(below.items()):
        try:
            model, told = _model(name, inside, listing.texts.get(f"{name}/{CONFIG}"), policy)
        except (BadConfig, BadInput) as error:
            problems.append(error.message if error.message.startswith(name) else f"{name}: {error.message}")
        else:
            problems += told
            if model.versions:
                models.append(model)
    return Scan(tuple(models), tuple(problems))


def settled(before: Scan, now: Scan) -> Scan:
    """Only the versions whose files did not change between two looks: nobody is writing them."""
    stamps = {(model.name, one.version): one.stamp for model in before.models for one in model.versions}
    models = []
    for model in now.models:
        still = tuple(one for one in model.versions if stamps.get((model.name, one.version)) == one.stamp)
        if still:
            models.append(replace(model, versions=still))
    return Scan(tuple(models), now.problems)


def _hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _model(
    name: str, inside: Mapping[str, Found], text: str | None, policy: Policy
) -> tuple[WatchedModel, list[str]]:
    check_name(name)
    config = None
    if CONFIG in inside:
        if inside[CONFIG].kind != FILE or text is None:
            raise BadConfig(
                f"{name}/{CONFIG}: not a file of at most {MOST_CHARS} bytes inside the watched folder"
            )
        config = read_config(text, f"{name}/{CONFIG}")
        if config.name not in {"", name}:
            raise BadConfig(
                f"{name}/{CONFIG}: field 'name' is {config.name[:80]!r}, but its folder is {name!r}"
            )
        policy = config.policy
    problems: list[str] = []
    folders = {}
    for path, found in inside.items():
        if "/" in path or path == CONFIG:
            continue
        if found.kind == OUTSIDE:
            problems.append(f"{name}/{path}: a link that leaves the watched folder; it is not followed")
        elif found.kind == FOLDER and path.isascii() and path.isdigit():
            if path.startswith("0") or len(path) > 18:
                problems.append(
                    f"{name}/{path}: a version is a positive whole number without zeros before it"
                )
            else:
                folders[int(path)] = path
        else:
            problems.append(f"{name}/{path}: neither a version's folder nor {CONFIG}; it is not used")
    want = wanted(policy, folders)
    versions = []
    for version in want.versions:
        try:
            versions.append(_version(name, version, inside, config))
        except BadConfig as error:
            problems.append(error.message)
    problems += [
        f"{name}: version {version} is named by its policy and not there" for version in want.missing
    ]
    if not folders:
        problems.append(f"{name}: no version; the layout is {name}/1/ and the model's file in it")
    return WatchedModel(name, tuple(versions), want.missing, config), problems


def _version(
    name: str, version: int, inside: Mapping[str, Found], config: TritonConfig | None
) -> WatchedVersion:
    prefix = f"{version}/"
    files = {path[len(prefix) :]: found for path, found in inside.items() if path.startswith(prefix)}
    where = f"{name}/{version}"
    for path, found in files.items():
        if found.kind == OUTSIDE:
            raise BadConfig(f"{where}/{path}: a link that leaves the watched folder; it is not followed")
        if found.kind == OTHER:
            raise BadConfig(f"{where}/{path}: neither a file nor a folder")
    plain = [path for path, found in files.items() if "/" not in path and found.kind == FILE]
    if config is not None:
        if config.file_name not in plain:
            raise BadConfig(f"{where}: no file {config.file_name}, which {config.file} asks for")
        chosen = f"{where}/{config.file_name}"
    elif SAVED_MODEL in plain:
        chosen = where
    elif len(plain) == 1:
        chosen = f"{where}/{plain[0]}"
    else:
        has = ", ".join(plain[:5]) or "none"
        raise BadConfig(f"{where}: one model file is wanted, it has: {has}")
    rows = (
        f"{path}\0{one.kind}\0{one.size_bytes}\0{one.changed_ns}\n" for path, one in sorted(files.items())
    )
    stamp = sha256_of(row.encode(errors="surrogateescape") for row in rows)
    return WatchedVersion(version, chosen, stamp)


def read_folder(root: Path) -> Listing:
    """List a watched folder, and read the configurations in it.

    Entries that vanish meanwhile are left out; links are followed as long as they stay inside.

    Raises:
        MissingFile: no such folder.
        BadConfig: more than ``MOST_ENTRIES`` entries.
    """
    real = os.path.realpath(root)
    if not os.path.isdir(real):
        raise MissingFile(f"{root}: no such folder")
    found: dict[str, Found] = {}
    texts: dict[str, str] = {}
    for path, entry in _walk(real, real, "", 1):
        found[path] = entry
        if len(found) > MOST_ENTRIES:
            raise BadConfig(f"{root} holds more than {MOST_ENTRIES} entries; watch a folder of models only")
        if entry.kind == FILE and path.count("/") == 1 and path.endswith(f"/{CONFIG}"):
            text = _read_text(os.path.join(real, path))
            if text is not None:
                texts[path] = text
    return Listing(found, texts)


def _walk(real: str, folder: str, prefix: str, depth: int) -> Iterator[tuple[str, Found]]:
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        full, name = entry.path, entry.name
        try:
            # The folder is inside, so only a link can lead out.
            inside = not entry.is_symlink() or os.path.realpath(full).startswith(real + os.sep)
            seen = entry.stat()
        except OSError:
            continue
        path = prefix + name
        if not inside:
            yield path, Found(OUTSIDE)
        elif stat.S_ISDIR(seen.st_mode):
            yield path, Found(FOLDER)
            # A link to a folder above would lead round for ever; no layout is deeper than this.
            if depth < MOST_DEPTH and not name.startswith("."):
                yield from _walk(real, full, f"{path}/", depth + 1)
        else:
            kind = FILE if stat.S_ISREG(seen.st_mode) else OTHER
            yield path, Found(kind, seen.st_size, seen.st_mtime_ns)


def _read_text(path: str) -> str | None:
    try:
        # It may have become a pipe since it was listed: never wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        data = stream.read(MOST_CHARS + 1)
    return data.decode(errors="replace") if len(data) <= MOST_CHARS else None
