"""The gates that no general tool has: sizes, documentation in step, names that must not appear.

Run as ``make check``. Every gate returns sentences; none means that it holds.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES, FUNCTION_LINES, TOTAL_LINES = 400, 60, 70_000
FORBIDDEN_IN_FILES = {
    r"pypi\.org|pythonhosted|registry\.npmjs|deb\.debian\.org": "a host name of a package registry",
    r"(?<![\w.~/-])/(?:work|root)/": "an absolute path of one machine",
    r"(?i)\b(?:TODO|FIXME|XXX)\b(?!\(#\d+\))": "a TODO without an issue number",
}
BANNED_NAMES = re.compile(r"(Manager|Helper|Utils?)$")


def sources() -> list[Path]:
    """Our own Python files, as git sees them."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def package() -> list[Path]:
    """The files of the package itself."""
    return [path for path in sources() if path.is_relative_to(ROOT / "modelyard")]


def sizes() -> Iterator[str]:
    """A file fits in the head, a function on the screen, the whole in a week of reading."""
    total = 0
    for path in package():
        text = path.read_text()
        lines = text.count("\n")
        total += lines
        if lines > FILE_LINES:
            yield f"{path.relative_to(ROOT)} has {lines} lines; the limit is {FILE_LINES}"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES:
                    where = f"{path.relative_to(ROOT)}:{node.lineno}"
                    yield f"{where} {node.name} has {length} lines; the limit is {FUNCTION_LINES}"
    if total > TOTAL_LINES:
        yield f"the package has {total} lines; the budget is {TOTAL_LINES}"


def names() -> Iterator[str]:
    """No class named after nothing."""
    for path in package():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and BANNED_NAMES.search(node.name):
                yield f"{path.relative_to(ROOT)}:{node.lineno} class {node.name}: say what it is"


def imports() -> Iterator[str]:
    """The root is empty, nobody imports it, and none of our own imports hides in a function."""
    for path in package():
        tree = ast.parse(path.read_text())
        inside = {
            id(child)
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for child in ast.walk(function)
        }
        for node in ast.walk(tree):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [module or ""]
            own = [name for name in named if name == "modelyard" or name.startswith("modelyard.")]
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if "modelyard" in own:
                yield f"{where} imports the root package"
            if own and id(node) in inside:
                yield f"{where} imports {own[0]} inside a function"


def environment() -> Iterator[str]:
    """Only settings.py reads the environment."""
    for path in package():
        if path.name == "settings.py":
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"\bos\.(environ|getenv)\b", line) and "# settings:" not in line:
                yield f"{path.relative_to(ROOT)}:{number} reads the environment; settings.py does"


def forbidden() -> Iterator[str]:
    """Words that must not be committed."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if (
            path.suffix in {".png", ".svg", ".onnx", ".pkl", ".bin"}
            or not path.is_file()
            or path.name == "gates.py"
        ):
            continue
        text = path.read_text(errors="replace")
        for pattern, meaning in FORBIDDEN_IN_FILES.items():
            found = re.search(pattern, text)
            if found:
                line = text.count("\n", 0, found.start()) + 1
                yield f"{name}:{line} holds {meaning}: {found.group()}"


def _in_step(tool: str) -> Iterator[str]:
    """What a tool that writes a page says of it."""
    done = subprocess.run(
        [sys.executable, ROOT / f"tools/{tool}.py", "--check"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        yield done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def documented() -> Iterator[str]:
    """The reference page says what the code's tables say: verbs, options, settings, metrics, codes."""
    yield from _in_step("reference")


def supported() -> Iterator[str]:
    """The page of what is supported says what the tests prove."""
    yield from _in_step("support")


def languages() -> Iterator[str]:
    """The Chinese README shows the same commands and output as the English one."""
    blocks = [
        re.findall(r"^```.*?^```", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
        for name in ("README.md", "README.zh-CN.md")
    ]
    if blocks[0] != blocks[1]:
        yield "README.zh-CN.md: its code blocks differ from README.md's"


def changelog() -> Iterator[str]:
    """The version that is built is in the changelog."""
    version = re.search(r'VERSION = "(.+)"', (ROOT / "modelyard/core/version.py").read_text())
    if version is None or f"## {version.group(1)}" not in (ROOT / "CHANGELOG.md").read_text():
        yield "CHANGELOG.md has no section for the version in modelyard/core/version.py"


def decisions() -> Iterator[str]:
    """Decision records are numbered without a gap and listed."""
    folder = ROOT / "docs/adr"
    found = sorted(path.name for path in folder.glob("[0-9]*.md"))
    numbers = [int(name[:4]) for name in found]
    if numbers != list(range(len(numbers))):
        yield f"docs/adr: the numbers are {numbers}; they should count up from 0"
    index = (folder / "README.md").read_text()
    for name in found:
        if name not in index:
            yield f"docs/adr/README.md does not list {name}"


GATES: tuple[Callable[[], Iterator[str]], ...] = (
    sizes, names, imports, environment, forbidden, documented, supported, languages, changelog, decisions,
)  # fmt: skip


def main() -> int:
    """Run every gate and say what does not hold."""
    findings = [f"{gate.__name__}: {line}" for gate in GATES for line in gate()]
    print("\n".join(findings) or f"gates: {len(GATES)} hold")
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
