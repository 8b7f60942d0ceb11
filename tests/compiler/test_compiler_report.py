"""A report holds what was done, survives JSON, and reads well."""

from __future__ import annotations

import json

from modelyard.compiler.checked import Checked
from modelyard.compiler.report import CompileReport
from modelyard.compiler.verdict import Difference, GroupVerdict, Verdict

GROUP = GroupVerdict("typical", 320, 320, 2, 1, 0, 0.98, 1200.0, 0, False, "2 of 320 rows get another label")
DIFFERENCE = Difference("typical", {"x": "age=3 size=4"}, {"label": "'yes'"}, {"label": "'no'"})
VERDICT = Verdict(False, (GROUP,), (DIFFERENCE,), ("the original is slow",), 1e-4, 0.99)
CHECKED = Checked(True, True, 12e-6, 30e-6, 64, 0.0021, 9 << 20, "onnxruntime 1.31.1", ("a note",))
REPORT = CompileReport(
    "pickle",
    "scikit-learn 1.9.1",
    "python",
    VERDICT.reason,
    ("locale",),
    CHECKED,
    VERDICT,
    ("a note", "another"),
)


def test_a_report_survives_json():
    for one in (REPORT, CompileReport("onnx", "", "onnx", "")):
        assert CompileReport.from_json(json.loads(json.dumps(one.to_json(), allow_nan=False))) == one


def test_a_report_reads_well():
    lines = REPORT.lines()
    assert lines[0] == "the original answers: typical: 2 of 320 rows get another label"
    text = "\n".join(lines)
    for piece in (
        "one row takes 12 us, 64 rows together 30 us",
        "loads in 2.1 ms, takes 9 MiB (onnxruntime 1.31.1)",
        "requests may share a batch",
        "does NOT agree",
        "scores within 0.0001 on 99 % of rows",
        "label: original 'yes', compiled 'no'",
        "locale",
        "note: another",
    ):
        assert piece in text
    assert text.count("a note") == 1
    assert CompileReport("onnx", "", "onnx", "").lines() == ["the compiled graph answers"]


def test_a_graph_that_was_not_run_says_nothing_of_time():
    checked = Checked(False, False, 0.0, 0.0, 1, 0.1, 0, "onnxruntime", ())
    lines = CompileReport("onnx", "", "onnx", "", (), checked).lines()
    assert not any("one row takes" in line for line in lines)
    assert "rows are run one by one" in lines
