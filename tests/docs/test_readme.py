"""The README's commands are run, and what it shows is what comes back."""

import itertools
import os
import re
import subprocess
import sys

import pytest
from pages import ROOT, blocks_of, steady
from serving import MODELYARD

BLOCKS = blocks_of(ROOT / "README.md")


def shown_after(start: str) -> tuple[str, str]:
    """The block that holds ``start``, and the output that stands under it."""
    for block, after in itertools.pairwise(BLOCKS):
        if start in block.text and block.kind != "text":
            assert after.kind == "text"
            return block.text, after.text
    raise AssertionError(f"the README has no block with {start!r}")


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """The tour's own first block, on free ports: the folder, the server's output, its port."""
    folder = tmp_path_factory.mktemp("tour")
    block, shown = shown_after("modelyard serve iris_model.pkl")
    assert "python examples/iris.py" in block
    subprocess.run(
        [sys.executable, ROOT / "examples" / "iris.py"], cwd=folder, check=True, capture_output=True
    )
    process = subprocess.Popen(
        [MODELYARD, "serve", "iris_model.pkl", "--http-port", "0", "--grpc-port", "0"],
        cwd=folder, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "MODELYARD_HOME": str(folder / "home")},
    )  # fmt: skip
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            break
    said = "".join(lines)
    yield folder, said, shown, re.search(r"http://127\.0\.0\.1:(\d+)/docs", said).group(1)
    process.terminate()
    assert process.wait(20) == 0
    process.stdout.close()


def test_serve_says_what_the_readme_shows(tour):
    _, said, shown, _ = tour
    assert steady(said) == steady(shown)


@pytest.mark.parametrize("start", ["/predict -d", "/v2/models/iris/infer -d"])
def test_the_curl_lines_answer_what_the_readme_shows(tour, start):
    _, _, _, port = tour
    command, shown = shown_after(f"curl -s http://127.0.0.1:8000{start}")
    done = subprocess.run(
        ["bash", "-c", command.replace(":8000", f":{port}")],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.strip() == shown.strip()


def test_the_line_to_paste_works(tour):
    _, said, _, _ = tour
    command = re.search(r"try +(curl .*)", said).group(1)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    assert '"predictions":[{"label":' in done.stdout


def test_the_python_block_runs(tour):
    _, _, _, port = tour
    program, shown = shown_after("from modelyard.client import Client")
    done = subprocess.run(
        [sys.executable, "-c", program.replace(":8000", f":{port}")],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == shown.strip()


def test_the_versions_are_released_tried_and_undone_as_the_readme_shows(tour, tmp_path):
    folder, _, _, _ = tour
    first, live = shown_after("modelyard up --workers 2 &")
    second, undone = shown_after("modelyard rollback iris")
    ports = "--http-port 0 --grpc-port 0 --console-port 0"
    first = first.replace("up --workers 2 &", f"up --workers 2 {ports} >up.log 2>&1 &\nsleep 1")
    # A person waits for `up` to say that it is there.
    first = first.replace("sleep 1", "until grep -q Ctrl-C up.log; do sleep 0.1; done")
    environment = {
        **os.environ,
        "MODELYARD_HOME": str(tmp_path / "home"),
        "NO_COLOR": "1",
        "PATH": f"{MODELYARD.parent}:{os.environ['PATH']}",
    }
    try:
        told = [
            subprocess.run(
                ["bash", "-ec", block], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
                timeout=120, check=True,
            ).stdout
            for block in (first, second)
        ]  # fmt: skip
    finally:
        subprocess.run([MODELYARD, "down"], env=environment, check=True, capture_output=True, timeout=60)
    assert steady(told[0]).endswith(steady(live))
    assert steady(told[1]) == steady(undone)


def test_the_links_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
