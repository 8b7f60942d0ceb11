"""Write docs/support.md from the tests' own marks; with --check, say whether it is in step.

    @pytest.mark.proves("format:keras", "imports", "verifies")
    @pytest.mark.proves("dialect:tfserving", call="gRPC: Predict", client="curl")

Marks are read from the source, so no framework is needed. ``how="..."`` says what a reader should know.
One rule: a mark counts only on a test that runs on every change; ``tests/conftest.py`` fails a skipped one.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from envs import ENVIRONMENTS  # noqa: E402 - after the path
from settled import settle  # noqa: E402

from modelyard.formats.table import FORMATS  # noqa: E402
from modelyard.serve.dialects.table import DIALECTS, EXTENSIONS, RPC_DIALECTS  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PAGE = ROOT / "docs" / "support.md"
COLUMNS = ("imports", "verifies", "native", "batch", "streaming")
HEAVY = {path.resolve() for one in ENVIRONMENTS for path in one.paths}
_MARK = "pytest.mark.proves"
_ABSENT = ("pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail")


class WrongMark(Exception):
    """A mark that proves nothing; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One mark of one test about one thing.

    Args:
        subject: ``format:NAME`` or ``dialect:NAME``.
        columns: what it proves of a format.
        call: what is called of a dialect.
        client: by what.
        how: what a reader should know.
        file: of the test.
        test: its name.
    """

    subject: str
    columns: tuple[str, ...]
    call: str
    client: str
    how: str
    file: Path
    test: str


def subjects() -> tuple[str, ...]:
    """All rows, in the order of the code's tables; V2 is no dialect there, because it is always spoken."""
    dialects = dict.fromkeys(("v2", *EXTENSIONS, *DIALECTS, *RPC_DIALECTS))
    return (*(f"format:{name}" for name in FORMATS), *(f"dialect:{name}" for name in dialects))


def proofs_in(file: Path, text: str) -> Iterator[Proof]:
    """The marks of one file of tests.

    Raises:
        WrongMark: about nothing that there is, or on a test that does not run on every change.
    """
    if "mark.proves" not in text:
        return
    tree = ast.parse(text)
    if "importorskip" in text and file.resolve() not in HEAVY and _skips_itself(tree):
        raise WrongMark(f"{file.name} skips itself, and tools/envs.py has no environment for it")
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        marks = [one for one in node.decorator_list if ast.unparse(one).startswith(_MARK)]
        absent = [one for one in node.decorator_list if ast.unparse(one).startswith(_ABSENT)]
        if marks and (absent or not node.name.startswith("test_")):
            raise WrongMark(f"{file.name}:{node.lineno} {node.name} does not run on every change")
        for mark in marks:
            yield from _read(mark, file, node.name)


def _skips_itself(tree: ast.Module) -> bool:
    return any("importorskip" in ast.unparse(node) for node in tree.body if not _is_function(node))


def _is_function(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _read(mark: ast.expr, file: Path, test: str) -> Iterator[Proof]:
    where = f"{file.name} {test}"
    if not isinstance(mark, ast.Call):
        raise WrongMark(f"{where}: the mark names nothing")
    try:
        words = [ast.literal_eval(one) for one in mark.args]
        said = {one.arg or "": ast.literal_eval(one.value) for one in mark.keywords}
    except ValueError:
        raise WrongMark(f"{where}: the mark is written with plain strings only") from None
    about = [word for word in words if ":" in word]
    columns = tuple(word for word in words if ":" not in word)
    known = subjects()
    strange = [word for word in about if word not in known] + [one for one in columns if one not in COLUMNS]
    strange += [name for name in said if name not in ("call", "client", "how")]
    if strange or not about:
        raise WrongMark(
            f"{where}: {strange[0] if strange else 'no subject'} is unknown; see tools/support.py"
        )
    for subject in about:
        if subject.startswith("dialect:") == bool(columns) or (not columns and not said.get("call")):
            raise WrongMark(f"{where}: a format is proved in columns, a dialect by a call and a client")
        yield Proof(
            subject, columns, said.get("call", ""), said.get("client", ""), said.get("how", ""), file, test
        )


def collect(files: Iterable[Path]) -> list[Proof]:
    """The marks of all files, in order."""
    return [proof for file in sorted(files) for proof in proofs_in(file, file.read_text())]


def page(proofs: Sequence[Proof]) -> str:
    """The whole page."""
    return "\n".join([*_head(), *_formats(proofs), *_dialects(proofs)]) + "\n"


def _head() -> Iterator[str]:
    yield "# What is supported, by test"
    yield ""
    yield "Written by `python tools/support.py` from the marks of the tests; `make check` holds it in step."
    yield "A cell is filled by a test that runs on every change with the real framework or client. An empty"
    yield "cell claims nothing."


def _formats(proofs: Sequence[Proof]) -> Iterator[str]:
    yield "\n## Formats\n"
    yield "- **imports**: a file that the framework wrote is opened, and what it takes and gives is found out"
    yield "- **verifies**: its ONNX graph was compared with the original"
    yield "- **native**: the framework, or the code itself, answers in a model host"
    yield "- **batch**: rows of several callers share a run, and each gets the answer that it gets alone"
    yield "- **streaming**: an answer is sent as it comes"
    yield ""
    yield f"| format | {' | '.join(COLUMNS)} | tests |"
    yield "|---" * (len(COLUMNS) + 2) + "|"
    notes: list[str] = []
    for subject in subjects():
        kind, _, name = subject.partition(":")
        if kind == "format":
            own = [proof for proof in proofs if proof.subject == subject]
            cells = ["yes" if any(column in one.columns for one in own) else "" for column in COLUMNS]
            tests = "<br>".join(_test(one, notes) for one in _together(own))
            yield f"| `{name}` | {' | '.join(cells)} | {tests} |"
    yield ""
    yield from (f"{at}. {note}" for at, note in enumerate(notes, 1))


def _together(own: Sequence[Proof]) -> list[Proof]:
    """The marks of one test as one."""
    found: dict[tuple[Path, str, str], Proof] = {}
    for proof in own:
        at = (proof.file, proof.test, proof.how)
        columns = (*(found[at].columns if at in found else ()), *proof.columns)
        found[at] = replace(proof, columns=tuple(one for one in COLUMNS if one in columns))
    return list(found.values())


def _test(proof: Proof, notes: list[str]) -> str:
    """A test with what it proves, and the number of what a reader should know."""
    text = f"[{proof.test}]({_link(proof)}): {', '.join(proof.columns)}"
    if proof.how:
        notes += [] if proof.how in notes else [proof.how]
        text += f" ({notes.index(proof.how) + 1})"
    return text


def _dialects(proofs: Sequence[Proof]) -> Iterator[str]:
    yield "\n## Dialects\n"
    yield "`v2` is the Open Inference Protocol, `triton` its extensions."
    yield ""
    yield "| dialect | call | client | test |"
    yield "|---|---|---|---|"
    for subject in subjects():
        kind, _, name = subject.partition(":")
        if kind == "dialect":
            own = [proof for proof in proofs if proof.subject == subject]
            for proof in own:
                client = proof.client + (f" ({proof.how})" if proof.how else "")
                yield f"| `{name}` | {proof.call} | {client} | [{proof.test}]({_link(proof)}) |"
            if not own:
                yield f"| `{name}` | | | |"


def _link(proof: Proof) -> str:
    return f"../{proof.file.relative_to(ROOT).as_posix()}"


def main() -> int:
    """Write or check."""
    try:
        text = page(collect((ROOT / "tests").rglob("test_*.py")))
    except WrongMark as error:
        print(error)
        return 1
    return settle(PAGE, text, "support")


if __name__ == "__main__":
    raise SystemExit(main())
