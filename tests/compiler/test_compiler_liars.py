"""Real conversions: honest ones pass the gate, those known to answer wrongly without a word do not.

The originals run in this process; the gate is the same. The graphs come from the converters as they are.
"""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from compiler_models import HONEST, IRIS, LIARS

from modelyard.compiler.optimise import optimise
from modelyard.compiler.rehearse_child import session_options, to_bytes, to_text
from modelyard.compiler.rows import probe_rows
from modelyard.compiler.verify import Tolerance, verify
from modelyard.core.errors import ModelFailed
from modelyard.formats.estimator.convert import convert
from modelyard.formats.estimator.study import study

pytestmark = [
    pytest.mark.heavy,
    # scikit-learn adds up each column to look for infinities, of both signs here
    pytest.mark.filterwarnings("ignore:invalid value encountered in reduce:RuntimeWarning"),
]
PATIENT = Tolerance(budget_s=1e9)


class Graph:
    """A compiled graph in this process."""

    def __init__(self, data, signature):
        self.session = ort.InferenceSession(data, session_options())
        self.inputs = signature.inputs

    def __call__(self, inputs):
        feed = {
            spec.name: to_text(spec.name, array) if spec.dtype.kind == "bytes" else array
            for spec, array in zip(self.inputs, inputs, strict=True)
        }
        try:
            found = self.session.run(None, feed)
        except Exception as error:
            raise ModelFailed(str(error)) from error
        return tuple(to_bytes(one) if one.dtype.kind == "O" else one for one in found)


def bare_conversion(original):
    """What the converter gives without any of our care; its outputs are in the order of the signature."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    (spec,) = original.signature.inputs
    kind = StringTensorType if spec.dtype.kind == "bytes" else FloatTensorType
    final = original.model.steps[-1][1] if hasattr(original.model, "steps") else original.model
    # The converter's own advice for neighbours, ten times faster than its default.
    fast = {"optim": "cdist"} if type(final).__name__.startswith("KNeighbors") else {}
    made = convert_sklearn(
        original.model,
        initial_types=[(spec.name, kind([None, spec.shape[1]]))],
        options={id(final): {"zipmap": False, **fast}},
        target_opset={"": 18, "ai.onnx.ml": 3},
    )
    return made.SerializeToString()


def compile_it(build, conversion=convert, **more):
    original = study(build())
    graph = Graph(optimise(conversion(original)).data, original.signature)
    kept = original.training_rows()
    training = None if kept is None else (kept,)
    rows = probe_rows(original.signature, original.profile, training=training, **more)
    return original, graph, rows


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_conversion_passes(name):
    verdict = verify(*compile_it(HONEST[name]), PATIENT)
    assert verdict.ok, "\n".join(verdict.lines())
    assert verdict.rows > 300


@pytest.mark.parametrize("name", LIARS)
def test_a_silent_liar_is_caught(name):
    verdict = verify(*compile_it(LIARS[name], bare_conversion, seed=1), PATIENT)
    assert not verdict.ok
    assert verdict.differences
    assert verdict.reason.split(": ")[1] in "\n".join(verdict.lines())


@pytest.mark.parametrize("name", ["forest of 10", "people, forest of 100", "boosting"])
def test_honest_trees_pass_whatever_the_rows(name):
    for seed in (1, 2, 3):
        verdict = verify(*compile_it(HONEST[name], seed=seed), PATIENT)
        assert verdict.ok, f"seed {seed}\n" + "\n".join(verdict.lines())


def test_margins_for_probabilities_are_caught():
    original, graph, rows = compile_it(HONEST["logistic regression"])

    def margins(inputs):
        label, scores = graph(inputs)
        return label, np.log(np.maximum(scores, 1e-30)).astype(np.float32)

    assert not verify(original, margins, rows).ok


def test_rows_of_the_user_are_judged_without_excuses():
    original, graph, _ = compile_it(HONEST["forest of 100"])
    sample = np.ascontiguousarray(IRIS, np.float32)
    rows = probe_rows(original.signature, original.profile, sample=(sample,))
    verdict = verify(original, graph, rows)
    assert verdict.ok
    assert verdict.groups[0].name == "sample"
    assert verdict.groups[0].labels_differ == 0

    def worse(inputs):
        label, scores = graph(inputs)
        same = (inputs[0] == sample[70]).all(axis=1)
        label[same] = b"setosa"
        return label, scores

    refused = verify(original, worse, rows)
    assert refused.reason == "sample: 1 of 150 rows get another label"
