"""The page of what is supported: marks are read, wrong ones are refused, and the page is what they say."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import support

FILE = ROOT / "tests" / "formats" / "test_made_up.py"


def proofs(text, file=FILE):
    return list(support.proofs_in(file, dedent(text)))


def test_a_mark_is_read():
    found = proofs(
        """
        import pytest

        @pytest.mark.proves("format:keras", "format:onnx", "imports", "batch", how="by hand")
        @pytest.mark.parametrize("x", [1])
        def test_it(x):
            pass

        @pytest.mark.proves("dialect:v2", call="REST: infer", client="curl")
        async def test_call():
            pass
        """
    )
    assert [(one.subject, one.columns, one.how) for one in found[:2]] == [
        ("format:keras", ("imports", "batch"), "by hand"),
        ("format:onnx", ("imports", "batch"), "by hand"),
    ]
    assert (found[2].subject, found[2].call, found[2].client) == ("dialect:v2", "REST: infer", "curl")


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ('@pytest.mark.proves("format:nix", "imports")', "'?format:nix"),
        ('@pytest.mark.proves("format:onnx", "flies")', "flies"),
        ('@pytest.mark.proves("imports")', "no subject"),
        ('@pytest.mark.proves("format:onnx")', "in columns"),
        ('@pytest.mark.proves("dialect:v2", "imports")', "in columns"),
        ('@pytest.mark.proves("dialect:v2")', "by a call"),
        ('@pytest.mark.proves("format:onnx", *COLUMNS)', "plain strings"),
        ("@pytest.mark.proves", "names nothing"),
        ('@pytest.mark.proves("format:onnx", "imports")\n@pytest.mark.skip', "every change"),
        ('@pytest.mark.proves("format:onnx", "imports")\n@pytest.mark.xfail(strict=True)', "every change"),
    ],
)
def test_a_mark_that_proves_nothing_is_refused(mark, said):
    with pytest.raises(support.WrongMark, match=said):
        proofs(f"import pytest\n\n{mark}\ndef test_it():\n    pass\n")


def test_a_file_that_skips_itself_needs_an_environment():
    text = """
    import pytest
    pytest.importorskip("keras")

    @pytest.mark.proves("format:keras", "imports")
    def test_it():
        pass
    """
    with pytest.raises(support.WrongMark, match=r"envs\.py"):
        proofs(text)
    assert proofs(text, ROOT / "tests" / "formats" / "test_formats_keras.py")


def test_every_format_and_dialect_has_a_row_and_no_test_means_no_claim():
    mark = '@pytest.mark.proves("format:tflite", "native", how="by X")'
    one = proofs(f"{mark}\ndef test_it():\n    pass\n")
    text = support.page(one)
    for subject in support.subjects():
        assert f"| `{subject.partition(':')[2]}` |" in text
    link = "[test_it](../tests/formats/test_made_up.py): native (1)"
    assert f"| `tflite` |  |  | yes |  |  | {link} |" in text
    assert "| `keras` |  |  |  |  |  |  |" in text
    assert "| `kserve1` | | | |" in text
    assert "\n1. by X\n" in text


def test_the_page_is_in_step():
    assert support.PAGE.read_text() == support.page(support.collect((ROOT / "tests").rglob("test_*.py")))


def test_a_skipped_proof_fails_where_every_change_is_tested(pytester_run):
    assert pytester_run({"CI": "1"}) == {"failures": 1, "errors": 1, "skipped": 1}
    assert pytester_run({"CI": ""}) == {"failures": 0, "errors": 0, "skipped": 3}


@pytest.fixture
def pytester_run(tmp_path):
    """Outcomes of skipped tests and files, with and without proofs, under this repository's conftest."""
    (tmp_path / "test_skips.py").write_text(
        dedent(
            """
            import pytest

            @pytest.mark.proves("format:onnx", "imports")
            def test_proof():
                pytest.skip("not today")

            def test_other():
                pytest.skip("not today")
            """
        )
    )

    (tmp_path / "test_gone.py").write_text(
        dedent(
            """
            import pytest

            pytest.importorskip("there_is_no_such_module")

            @pytest.mark.proves("format:onnx", "imports")
            def test_proof():
                pass
            """
        )
    )

    def run(environment):
        page = tmp_path / "page.xml"
        plugins = ("-p", "no:cacheprovider", "-p", "conftest")
        where = ("-c", ROOT / "pyproject.toml", f"--rootdir={ROOT}", tmp_path)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--continue-on-collection-errors",
            *plugins,
            f"--junitxml={page}",
            *where,
        ]
        subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), **environment}, check=False,
            capture_output=True, cwd=tmp_path,
        )  # fmt: skip
        suite = ElementTree.parse(page).getroot().find("testsuite")
        return {name: int(suite.get(name)) for name in ("failures", "errors", "skipped")}

    return run
