"""What is wrong is refused with its code, and afterwards not one row of the registry and no blob is another.

Every case is typed at the registry itself, and sent through the admin API; some are sent raw besides.
"""

import http.client
import io
import json
import sqlite3
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

sys.path += [str(Path(__file__).parents[1] / place) for place in ("deploy", "control")]

from admin_running import Running
from test_cli_yard import Shell
from yards import SIGNATURE, make_bundle, open_yard

from modelyard.artifact.bundle import write_bundle
from modelyard.artifact.rows import pack_rows
from modelyard.artifact.tarball import save_bundle
from modelyard.control.admin import admin_app
from modelyard.deploy.yard import Yard

NAMES = [
    "../iris", "a/b", "/etc/passwd", "..", "", "i" * 10_000, "ir\0is", "irіs", "ｉris", "iris\n", ".iris",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    with open_yard(folder) as yard:
        yard.push(make_bundle(folder), "rose", "", "ada")
    return folder / "home"


@pytest.fixture(scope="module")
def url(home):
    with Yard.open(home) as yard, Running(admin_app(yard, None)) as running:
        yield running.url


@pytest.fixture(params=["registry", "admin API"])
def shell(request, home, capsys):
    if request.param == "registry":
        return Shell(home, capsys)
    return Shell(home, capsys, "--url", request.getfixturevalue("url"))


def everything(home):
    """Every table as it is, and every blob."""
    with closing(sqlite3.connect(f"file:{home}/registry.db?mode=ro", uri=True)) as registry:
        tables = list(registry.iterdump())
    assert len(tables) > 20
    blobs = sorted((str(path), path.stat().st_size) for path in (home / "blobs").rglob("*") if path.is_file())
    assert blobs
    return tables, blobs


@pytest.fixture
def unchanged(home):
    before = everything(home)
    yield
    assert everything(home) == before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
@pytest.mark.parametrize(
    "words",
    [
        ["release", "{}"],
        ["show", "{}"],
        ["history", "{}"],
        ["retire", "{}", 1],
        ["import", "TAR", "--name", "{}"],
    ],
    ids=lambda words: words[0],
)
def test_a_name_that_is_none(shell, tmp_path, words, name):
    file = tmp_path / "a.tar"
    save_bundle(make_bundle(tmp_path), file)
    said = shell(*(str(word).format(name).replace("TAR", str(file)) for word in words), code=65)
    assert "[bad-input]" in said
    assert len(said) < 600


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["release", "nope"], 69, "[model-not-found]"),
        (["release", "iris", 9], 69, "[version-not-found]"),
        (["rollback", "nope"], 69, "[model-not-found]"),
        (["promote", "iris"], 65, "[illegal-move]"),
        (["rollback", "iris"], 65, "[illegal-move]"),
        (["release", "iris", 1, "--canary", "10%"], 65, "[illegal-move]"),
        (["release", "iris", 1, "--canary", "101%"], 65, "[bad-input]"),
        (["release", "iris", 1, "--expected", 3], 75, "[conflict]"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_move_that_cannot_be(shell, words, code, says):
    assert says in shell(*words, code=code)


def links(tar, **changes):
    """The same tar, its graph's entry changed."""
    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(tar)) as source, tarfile.open(fileobj=made, mode="w") as target:
        for member in source:
            content = source.extractfile(member)
            if member.name == "model.onnx":
                for name, value in changes.items():
                    setattr(member, name, value)
                if member.type != tarfile.REGTYPE:
                    member.size, content = 0, None
            target.addfile(member, content)
    return made.getvalue()


HOSTILE = {
    "symlink": lambda tar: links(tar, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": lambda tar: links(tar, type=tarfile.LNKTYPE, linkname="rows.bin"),
    "device": lambda tar: links(tar, type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "fifo": lambda tar: links(tar, type=tarfile.FIFOTYPE),
    "absolute": lambda tar: links(tar, name="/tmp/model.onnx"),
    "parent": lambda tar: links(tar, name="../../model.onnx"),
    "twice": lambda tar: links(tar, name="rows.bin"),
    "another byte": lambda tar: tar.replace(b"ggg", b"ghg", 1),
    "half": lambda tar: tar[: len(tar) // 2],
    "nothing": lambda tar: b"",
    "noise": lambda tar: b"noise" * 999,
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("lie", HOSTILE)
def test_a_tar_that_lies(shell, home, tmp_path, lie):
    file = tmp_path / "liar.tar"
    save_bundle(make_bundle(tmp_path), file)
    file.write_bytes(HOSTILE[lie](file.read_bytes()))
    assert shell("import", file, "--name", "rose", code=65).count("\n") == 1
    assert list((home / "cache" / "incoming").glob("*")) == []


@pytest.mark.usefixtures("unchanged")
def test_a_digest_that_is_not_the_bundles(shell, tmp_path):
    file = tmp_path / "other.tar"
    save_bundle(make_bundle(tmp_path), file)
    assert "was asked for" in shell("import", file, "--name", "rose", "--digest", "0" * 64, code=65)


@pytest.mark.usefixtures("unchanged")
def test_a_strangers_graph_is_tried_before_it_is_registered(shell, tmp_path):
    """The digests agree: only a child that loads it can say that it is no graph."""
    facts = {"signature": SIGNATURE, "graph": "model.onnx"}
    parts = {"model.onnx": b"\x08\x07noise" * 99, "rows.bin": pack_rows(())}
    file = tmp_path / "stranger.tar"
    save_bundle(write_bundle(tmp_path / "b", facts, parts), file)
    assert shell("import", file, "--name", "rose", code=65).count("\n") == 1


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("name", [name for name in NAMES if name])
def test_a_name_that_is_none_sent_raw(url, name):
    for method, path, body in (
        ("POST", "/v1/models/{}/orders", json.dumps({"verb": "release", "version": 1})),
        ("GET", "/v1/models/{}/versions/1", None),
    ):
        with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)) as link:
            link.request(
                method, path.format(quote(name, safe="")), body, {"content-type": "application/json"}
            )
            answer = link.getresponse()
            said = json.loads(answer.read())
        assert (answer.status, said["code"]) in {
            (400, "bad-input"),
            (404, "route-not-found"),
            (414, "bad-request"),
        }


@pytest.mark.parametrize("through", ["registry", "admin API"])
def test_a_registry_of_a_later_release(tmp_path, capsys, through):
    with open_yard(tmp_path) as yard:
        home = tmp_path / "home"
        if through == "registry":
            with yard.index.database.write() as connection:
                connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
            before = everything(home)
            for words in (["release", "iris", 1], ["list"], ["gc", "--grace", "0s"], ["fsck"]):
                assert "[newer-registry]" in Shell(home, capsys)(*words, code=69)
        else:
            with Running(admin_app(yard, None)) as running:
                with yard.index.database.write() as connection:
                    connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
                before = everything(home)
                said = Shell(home, capsys, "--url", running.url)("release", "iris", 1, code=69)
                assert "[newer-registry]" in said
        assert everything(home) == before
