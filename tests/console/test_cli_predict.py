"""`modelyard predict` as a person runs it: files and pipes in, table, JSON and files out, exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from serving import run

sys.path.insert(0, str(Path(__file__).parents[1] / "client"))

from v2_server import CLASSES, grpc_server, http_server

CSV = "sepal_l,sepal_w,petal_l,petal_w\n5.1,3.5,1.4,0.2\n6,2.9,4.5,1.5\n6.3,3.3,6,2.5\n"
TABLE = """\
row  label       scores                                         \n\
---  ----------  -----------------------------------------------
  0  setosa      setosa 0.800  versicolor 0.100  virginica 0.100
  1  versicolor  versicolor 0.800  setosa 0.100  virginica 0.100
  2  virginica   virginica 0.800  setosa 0.100  versicolor 0.100
"""


@pytest.fixture(scope="module")
def url():
    with http_server() as (found, _):
        yield found


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(CSV)
    return path


def test_a_table_comes_out(url, rows, home) -> None:
    done = run("predict", url, "iris", rows, home=home)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert done.stdout.decode() == TABLE


def test_grpc_gives_the_same_labels(rows, home) -> None:
    with grpc_server() as (url, _):
        done = run("predict", url, "plain:1", rows, home=home)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.decode().splitlines()[2:]] == CLASSES


def test_json_is_one_document_with_every_key(url, rows, home) -> None:
    done = run("predict", url, "iris", rows, "--json", home=home)
    found = json.loads(done.stdout)
    assert found.pop("seconds") >= 0
    assert found == {
        "url": url,
        "model": "iris",
        "version": "1",
        "rows": 3,
        "classes": CLASSES,
        "labels": CLASSES,
        "scores": [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]],
        "outputs": {},
    }


def test_a_model_without_a_label_shows_its_outputs(url, tmp_path, home) -> None:
    np.save(tmp_path / "rows.npy", np.array([[1, 2, 3], [4, 5, np.nan]], np.float32))
    done = run("predict", url, "double", tmp_path / "rows.npy", home=home)
    assert [line.rstrip() for line in done.stdout.decode().splitlines()] == [
        "row  y",
        "---  --------",
        "  0  2 4 6",
        "  1  8 10 nan",
    ]
    found = json.loads(run("predict", url, "double", tmp_path / "rows.npy", "--json", home=home).stdout)
    assert found["labels"] is None
    assert found["outputs"] == {"y": [[2, 4, 6], [8, 10, None]]}


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (CSV, []),
        (CSV.replace(",", ";"), ["--format", "csv"]),
        ('[{"petal_w": 0.2, "petal_l": 1.4, "sepal_l": 5.1, "sepal_w": 3.5}]', []),
        ("[[5.1, 3.5, 1.4, 0.2]]", ["--format", "json"]),
    ],
)
def test_standard_input_in_any_form(url, home, text: str, options: list[str]) -> None:
    done = run("predict", url, "iris", "-", *options, home=home, stdin=text.encode())
    assert done.returncode == 0, done.stderr
    assert "setosa 0.800" in done.stdout.decode()


@pytest.mark.parametrize("suffix", ["csv", "json", "npy"])
def test_files_are_written(url, rows, tmp_path, home, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    done = run("predict", url, "iris", rows, "--output", out, home=home)
    assert (done.returncode, done.stdout) == (0, b"")
    assert "3 rows written" in done.stderr.decode()
    if suffix == "csv":
        assert out.read_text().splitlines()[:2] == [
            "label,score_setosa,score_versicolor,score_virginica",
            "setosa,0.8,0.1,0.1",
        ]
    elif suffix == "json":
        assert json.loads(out.read_text())["labels"] == CLASSES
    else:
        assert np.load(out).tolist() == CLASSES


def test_batches_are_put_together_in_order(home, tmp_path) -> None:
    values = np.arange(30, dtype=np.float32).reshape(10, 3)
    np.save(tmp_path / "rows.npy", values)
    with http_server() as (url, script):
        done = run("predict", url, "double", tmp_path / "rows.npy", "--batch-rows", "4", "--json", home=home)
    assert json.loads(done.stdout)["outputs"]["y"] == (values * 2).tolist()
    assert [seen["header"]["inputs"][0]["shape"] for seen in script.seen] == [[4, 3], [4, 3], [2, 3]]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{url}", "iris", "missing.csv"], 66, "missing.csv"),
        (["{url}", "nobody", "{rows}"], 69, "no model nobody"),
        (["http://127.0.0.1:1", "iris", "{rows}"], 69, "nobody answers at http://127.0.0.1:1"),
        (["ftp://x", "iris", "{rows}"], 65, "use http://"),
        (["{url}", "iris", "{bad}"], 65, "no column 'petal_w'"),
        (["{url}", "iris", "{words}"], 65, "'abc' is not a number"),
        (["{url}", "iris"], 2, "ROWS"),
        (["{url}", "iris", "{rows}", "--output", "x.exe"], 2, "must end in .csv"),
        (["{url}", "iris", "{rows}", "--output", "no/folder.csv"], 2, "there is no folder"),
        (["{url}", "iris", "{rows}", "--timeout", "-1"], 2, "timeout"),
    ],
)
def test_each_failure_is_one_line_and_its_exit_code(
    url, rows, tmp_path, home, arguments: list[str], code: int, said: str
) -> None:
    bad, words = tmp_path / "bad.csv", tmp_path / "words.csv"
    bad.write_text("sepal_l,sepal_w,petal_l\n1,2,3\n")
    words.write_text(CSV + "abc,1,1,1\n")
    done = run(
        "predict", *(part.format(url=url, rows=rows, bad=bad, words=words) for part in arguments), home=home
    )
    error = done.stderr.decode()
    assert done.returncode == code, error
    assert said in error
    assert "Traceback" not in error
    assert done.stdout == b""
    if code != 2:
        assert error.count("\n") == 1


def test_a_label_cannot_steer_the_terminal(home, rows, monkeypatch) -> None:
    import v2_server

    evil = {**v2_server.IRIS, "classes": ["\x1b[2J", "b", "c"]}
    monkeypatch.setattr(v2_server, "IRIS", evil)
    with http_server() as (url, _):
        done = run("predict", url, "iris", rows, home=home)
    assert b"\x1b" not in done.stdout
    assert "\\x1b[2J 0.800" in done.stdout.decode()


def read_terminal(master):
    """What was drawn until the other end closed."""
    drawn = b""
    with contextlib.suppress(OSError):  # EIO: closed
        while part := os.read(master, 1 << 16):
            drawn += part
    return drawn.decode(errors="replace")


def test_long_work_shows_progress_on_a_terminal_and_takes_it_away(url, tmp_path, home) -> None:
    import pty
    import subprocess

    from serving import MODELYARD

    np.save(tmp_path / "rows.npy", np.ones((4000, 3), np.float32))
    master, slave = pty.openpty()
    command = [MODELYARD, "predict", url, "double", tmp_path / "rows.npy", "--batch-rows", "1", "--json"]
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=slave,
        env={**os.environ, "HOME": str(home)},
    )
    os.close(slave)
    # A terminal reads as it is written to: its buffer holds 4 KiB.
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_terminal, master)
        out, _ = process.communicate(timeout=90)
        drawn = reading.result(30)
    os.close(master)
    assert len(json.loads(out)["outputs"]["y"]) == 4000
    assert "4,000 rows  " in drawn
    assert drawn.endswith("\r\x1b[K")
    assert drawn.count("\x1b[K") < 200, "throttled: not one draw a batch"
    assert "\n" not in drawn
