"""The yard's verbs as a person types them: what they print, their exit codes, and what they leave behind."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parents[1] / place) for place in ("deploy", "control")]

from admin_running import Running
from yards import make_bundle, open_yard

from modelyard.artifact.tarball import save_bundle
from modelyard.console.cli.main import main
from modelyard.control.admin import admin_app
from modelyard.core.ref import ModelRef
from modelyard.deploy.yard import Yard

MODELYARD = Path(sys.executable).with_name("modelyard")


class Shell:
    """Types commands at one yard, in this process."""

    def __init__(self, home, capsys, *options):
        self.home, self.capsys, self.options = home, capsys, options

    def __call__(self, verb, *words, code=0):
        with pytest.raises(SystemExit) as end:
            main([verb, *map(str, words), "--home", str(self.home), *self.options])
        seen = self.capsys.readouterr()
        assert end.value.code == code, seen
        return seen.out if code == 0 else seen.err

    def json(self, verb, *words):
        return json.loads(self(verb, *words, "--json"))


@pytest.fixture
def home(tmp_path):
    with open_yard(tmp_path):
        return tmp_path / "home"


@pytest.fixture(params=["registry", "admin API"])
def shell(request, home, capsys):
    """The same verbs on the registry itself, and through the admin API."""
    if request.param == "registry":
        yield Shell(home, capsys)
        return
    with Yard.open(home) as yard, Running(admin_app(yard, None)) as running:
        yield Shell(home, capsys, "--url", running.url)


def test_a_life(shell):
    assert "version 1 of iris is live" in shell("release", "iris", 1, "--why", "the first")
    said = shell("release", "iris:2", "--steps", "1%, 10%", "--hold", "5m", "--min-requests", 7)
    assert "version 2 of iris is tried with 1% against version 1" in said
    assert "[1%] 10%, each holds 300 s at least" in said
    assert "after 7 requests each" in said
    assert "1 with 99%" in shell("list")
    assert "version 2 of iris is live; version 1 stands by" in shell("promote", "iris")
    assert "version 1 of iris is live again" in shell("rollback", "iris")
    assert "gets copies" in shell("release", "iris", "--shadow")
    assert "version 4 of iris is off" in shell("withdraw", "iris", 4)
    assert "drains" in shell("retire", "iris:3")
    assert "version 3 of iris is ready" in shell("restore", "iris:3")
    assert "10%" in shell("release", "iris", 3, "--canary", "10%", "--no-guard")
    assert shell.json("show", "iris")["model"]["release"]["guard"] is None
    assert "version 1 answers all" in shell("rollback", "iris")
    assert "iris is off" in shell("off", "iris")
    history = shell("history", "iris")
    assert history.splitlines()[2].split()[0] == "11"
    assert "the first" in history.splitlines()[-1]
    assert [row["revision"] for row in shell.json("history", "iris", "--limit", 2)] == [11, 10]


def test_what_answered_then(shell):
    shell("release", "iris", 1)
    then = shell.json("show", "iris")["model"]["release"]["at"]
    shell("release", "iris", 2)
    page = shell("history", "iris", "--at", then)
    digest = shell.json("show", "iris:1")["version"]["digest"]
    assert f"1  live  100%   {digest}" in page
    assert shell.json("history", "iris", "--at", then)["entries"][0]["version"] == 1
    assert "nothing of iris was released" in shell("history", "iris", "--at", "2001-01-01T00:00Z")


def test_in_and_out(shell, tmp_path):
    file = tmp_path / "iris_model.tar"
    digest = shell.json("export", "iris:1", file)["digest"]
    assert shell.json("import", file, "--note", "again", "--digest", digest)["number"] == 5
    assert "copy:1 is registered" in shell("import", file, "--name", "copy")
    assert "are the same bundle" in shell("diff", "iris:1", "copy:1")
    assert "signature.task" in shell("diff", "iris:1", "copy:1", "--all")


def test_upkeep(shell, home):
    shell("retire", "iris", 4)
    with Yard.open(home) as yard:
        (blob, *_) = yard.registry.blobs.list()
        path = yard.registry.blobs.local_path(blob.digest)
    assert "0 blobs would be deleted" in shell("gc", "--grace", "0s", "--dry-run")
    assert shell("fsck").endswith("sound\n")
    assert "all 6 lines hold" in shell("audit")
    assert [row["subject"] for row in shell.json("audit", "iris:4")["lines"]] == ["iris:4", "iris:4"]
    os.chmod(path, 0o600)
    path.write_bytes(b"rotten")
    assert shell("fsck", code=65) == ""


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["release", "nope"], 69, "no model is called 'nope'; run: modelyard list [model-not-found]"),
        (["release", "iris", 9], 69, "iris has no version 9; the newest are: 1, 2, 3, 4 [version-not-found]"),
        (["release", "../iris"], 65, "[bad-input]"),
        (["release", "irіs"], 65, "[bad-input]"),
        (["release", "i" * 10_000], 65, "[bad-input]"),
        (["release", "iris:0"], 65, "[bad-input]"),
        (["release", "iris:1", 2], 65, "say one [bad-input]"),
        (["release", "iris", 1, "--canary", "10%"], 65, "a canary is tried against a live version"),
        (["release", "iris", 1, "--canary", "10"], 65, "write a percentage such as 10%"),
        (["release", "iris", 1, "--canary", "10%", "--shadow"], 65, "exclude each other"),
        (["release", "iris", 1, "--steps", "10%,1%"], 65, "must grow"),
        (["release", "iris", 1, "--steps", "1%,9%", "--hold", "soon"], 65, "is not a time"),
        (["release", "iris", 1, "--steps", "1%,9%", "--alarm", 7], 65, "alarm is a number above 0"),
        (["release", "iris", 1, "--expected", 3], 75, "so revision 3 is not the one in force [conflict]"),
        (["promote", "iris"], 65, "there is no canary; in force: nothing is released [illegal-move]"),
        (["retire", "iris"], 65, "say which version"),
        (["show", "iris:7"], 69, "[version-not-found]"),
        (["history", "iris", "--at", "noon"], 65, "write it as 2026-11-20T10:00Z"),
        (["history", "iris", "--at", "2026-11-20T10:00"], 65, "has no time zone"),
        (["diff", "iris:1", "iris:9"], 69, "[version-not-found]"),
        (["gc", "--grace", "never"], 65, "is not a time"),
        (["import", "none.tar"], 66, "cannot be read: No such file"),
        (["export", "iris", "none/x.tar"], 66, "cannot be written"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_refusal_is_one_clear_line_and_changes_nothing(shell, home, words, code, says):
    with Yard.open(home) as yard:
        before = yard.index.change()
    said = shell(*words, code=code)
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    assert says in said
    with Yard.open(home) as yard:
        assert yard.index.change() == before


def test_a_bundle_that_lies(shell, tmp_path):
    file = tmp_path / "liar.tar"
    save_bundle(make_bundle(tmp_path, b"l"), file)
    raw = file.read_bytes()
    at = raw.index(b"lll")
    for lie in (raw[:at] + b"m" + raw[at + 1 :], raw[:2000], b"", b"no tar" * 300):
        file.write_bytes(lie)
        assert shell("import", file, code=65).count("\n") == 1
    file.write_bytes(raw)
    assert "was asked for" in shell("import", file, "--digest", "0" * 64, code=65)
    assert [row["name"] for row in shell.json("list")] == ["iris"]


def test_nothing_from_outside_steers_the_terminal(shell, home):
    with Yard.open(home) as yard:
        yard.push(yard.bundle(ModelRef("iris", 1)), "iris", "red \x1b[31m alert\n", "eve\x1b]0;x\a")
    for words in (["show", "iris"], ["show", "iris:5"], ["audit"], ["history", "iris"]):
        assert "\x1b" not in shell(*words)


def test_many_models_are_paged(shell, home, tmp_path):
    with Yard.open(home) as yard:
        bundle = yard.bundle(ModelRef("iris", 1))
        for number in range(4):
            yard.push(bundle, f"m{number}", "", "ada")
    assert [row["name"] for row in shell.json("list", "--after", "iris", "--limit", 2)] == ["m0", "m1"]
    assert len(shell("list").splitlines()) == 2 + 5


def test_waiting_without_a_control_says_so(home, capsys):
    shell = Shell(home, capsys)
    assert "no control runs on this yard here" in shell("release", "iris", 1, "--wait")
    (home / "run/here").mkdir(parents=True)
    (home / "run/here/control.json").write_text('{"console": "http://127.0.0.1:9"}')
    assert "no control runs" in shell("release", "iris", 2, "--wait")


def test_a_registry_of_a_later_release_is_left_alone(home, capsys):
    with Yard.open(home) as yard, yard.index.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = (home / "registry.db").read_bytes()
    assert "[newer-registry]" in Shell(home, capsys)("release", "iris", 1, code=69)
    assert (home / "registry.db").read_bytes() == before


def test_a_verb_that_only_looks_imports_no_arrays_and_no_migrations(home):
    """They were most of what a short command cost."""
    code = (
        "import sys; from modelyard.console.cli.main import cli\n"
        "for words in (['list'], ['show', 'iris'], ['release', 'iris', '1']):\n"
        f"    cli.main([*words, '--home', {str(home)!r}], standalone_mode=False)\n"
        "print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "sqlalchemy" in loaded
    assert not loaded & {"numpy", "alembic", "onnx", "onnxruntime", "grpc", "uvicorn", "obstore"}


def test_passwords_of_addresses_are_never_printed(tmp_path, capsys):
    for option, url in (
        ("--registry", "postgresql+psycopg://ada:sesame@127.0.0.1:9/yard"),
        ("--registry", "mysql://ada:sesame@127.0.0.1/yard"),
        ("--registry", "ada:sesame"),
        ("--artifacts", "ftp://ada:sesame@host/x"),
        ("--artifacts", "s3://ada:sesame@bucket/x"),
        ("--artifacts", "s3://bucket/x?secret_key=sesame"),
        ("--url", "http://ada:sesame@127.0.0.1:9"),
        ("--url", "ftp://ada:sesame@127.0.0.1:9"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["list", "--home", str(tmp_path), option, url])
        seen = capsys.readouterr()
        assert end.value.code in (65, 69)
        assert "sesame" not in seen.out + seen.err


def test_a_real_process_pushes_and_releases(files, tmp_path):
    environment = {**os.environ, "MODELYARD_HOME": str(tmp_path / "yard")}

    def run(*words, code=0):
        done = subprocess.run(
            [MODELYARD, *map(str, words)], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    said = run("push", files / "sums.onnx", "--note", "first")
    assert "sums:1 is registered" in said
    assert "next" in said
    made = json.loads(run("push", files / "sums.onnx", "--json"))
    assert (made["version"]["number"], made["report"]["road"]) == (2, "onnx")
    start = datetime.now(UTC)
    assert json.loads(run("release", "sums", "--json"))["release"]["entries"][0]["version"] == 2
    who = json.loads(run("history", "sums", "--json"))[0]["who"]
    assert "@" in who
    assert "nothing of sums" in run("history", "sums", "--at", start.isoformat())
    assert "takes" in run("show", "sums:1")
    run("push", tmp_path / "none.onnx", code=66)
