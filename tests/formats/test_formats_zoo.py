"""Every animal of the zoo: what it takes and gives, its own answers, and its ONNX."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from zoo import ZOO, Animal

from modelyard.core.errors import NotConvertible
from modelyard.formats.estimator.convert import convert
from modelyard.formats.estimator.study import Studied, study

CLOSE = 1e-3  # scores, relative to 1 + |score|
SHARE = 0.95  # of rows: one tree of a forest may fall to the other side of a threshold


def inputs_of(studied: Studied, X: object) -> tuple[np.ndarray, ...]:
    """The tensors that a client would send for these rows."""
    specs = studied.signature.inputs
    if isinstance(X, list):
        return (np.array([[text.encode()] for text in X], dtype=object),)
    if isinstance(X, np.ndarray):
        return (X.astype(np.float32),)
    assert isinstance(X, pd.DataFrame)
    if len(specs) == 1 and specs[0].dtype.name == "BYTES":
        return (np.vectorize(str.encode, otypes=[object])(X.to_numpy(dtype=object)),)
    if len(specs) == 1:
        return (X[list(specs[0].columns)].to_numpy(np.float32),)
    out = []
    for spec in specs:
        cells = X[spec.name]
        if spec.dtype.name == "BYTES":
            made = np.array([b"" if value != value else value.encode() for value in cells], dtype=object)
        else:
            made = cells.to_numpy().astype(spec.dtype.numpy)
        out.append(made.reshape(-1, 1))
    return tuple(out)


def run_onnx(graph: bytes, studied: Studied, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """ONNX Runtime's answer; text needs a locale that every machine has."""
    proto = onnx.load_from_string(graph)
    for node in proto.graph.node:
        if node.op_type == "StringNormalizer":
            node.attribute.append(onnx.helper.make_attribute("locale", "C.UTF-8"))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    assert [one.name for one in session.get_inputs()] == [spec.name for spec in studied.signature.inputs]
    assert [one.name for one in session.get_outputs()] == [spec.name for spec in studied.signature.outputs]
    feed = {
        spec.name: np.vectorize(bytes.decode, otypes=[object])(array) if array.dtype == object else array
        for spec, array in zip(studied.signature.inputs, inputs, strict=True)
    }
    outputs = session.run(None, feed)
    return [
        np.vectorize(str.encode, otypes=[object])(array) if array.dtype == object else array
        for array in outputs
    ]


def agree(left: np.ndarray, right: np.ndarray) -> bool:
    assert left.shape == right.shape
    assert left.dtype == right.dtype
    if left.dtype.kind in "Oib" or left.dtype == np.float64:
        return bool(np.array_equal(left, right))
    off = np.abs(left - right) > CLOSE * (1 + np.abs(left))
    off |= np.isnan(left) != np.isnan(right)
    return bool(1 - off.reshape(len(off), -1).any(axis=1).mean() >= SHARE)


@pytest.fixture(scope="module", params=ZOO, ids=[name for name, _ in ZOO])
def animal(request: pytest.FixtureRequest) -> tuple[Animal, Studied]:
    found = request.param[1]()
    return found, study(found.model)


def rows_for_model(X: object, model: object) -> object:
    """The rows as the person who trained the model would pass them, at float32 precision."""
    if isinstance(X, np.ndarray):
        narrow = getattr(model, "cluster_centers_", np.zeros(0)).dtype == np.float32
        return X if narrow else X.astype(np.float32).astype(np.float64)
    if isinstance(X, pd.DataFrame) and not hasattr(model, "feature_names_in_"):
        table = X.to_numpy(dtype=object)
        number = [isinstance(cell, float) for cell in table[0]]
        table[:, number] = table[:, number].astype(np.float32).astype(float)
        return table
    if isinstance(X, pd.DataFrame):
        return X.apply(
            lambda column: column.astype(np.float32).astype(float) if column.dtype.kind == "f" else column
        )
    return X


def test_native_answers_are_the_models_own(animal: tuple[Animal, Studied]) -> None:
    found, studied = animal
    model = found.model
    outputs = studied.predict(inputs_of(studied, found.X))
    by_name = {spec.name: array for spec, array in zip(studied.signature.outputs, outputs, strict=True)}
    rows = rows_for_model(found.X, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "transformed" in by_name:
            assert np.array_equal(by_name["transformed"], model.transform(rows).astype(np.float32))
            return
        answer = np.asarray(model.predict(rows))
        if "prediction" in by_name:
            assert np.array_equal(by_name["prediction"], answer.reshape(len(answer), -1).astype(np.float32))
            return
        label = by_name[studied.signature.label or ""]
        if answer.dtype.kind in "UO":
            assert [item.decode() for item in label] == [str(item) for item in answer]
        else:
            assert np.array_equal(label, answer)
        if "probabilities" in by_name:
            assert np.array_equal(by_name["probabilities"], model.predict_proba(rows).astype(np.float32))
        if "probabilities_0" in by_name:
            for at, part in enumerate(model.predict_proba(rows)):
                assert np.array_equal(by_name[f"probabilities_{at}"], part.astype(np.float32))
        if "scores" in by_name:
            own = model.decision_function(rows)
            if by_name["scores"].ndim == 2 and own.ndim == 1:
                own = np.stack([-own, own], axis=1)
            assert np.array_equal(by_name["scores"], own.astype(np.float32))


def test_the_graph_is_as_expected(animal: tuple[Animal, Studied]) -> None:
    found, studied = animal
    if found.expectation == "native":
        with pytest.raises(NotConvertible) as refusal:
            convert(studied)
        assert "\n" not in refusal.value.message
        return
    inputs = inputs_of(studied, found.X)
    own = studied.predict(inputs)
    outputs = run_onnx(convert(studied), studied, inputs)
    same = [agree(left, right) for left, right in zip(own, outputs, strict=True)]
    if found.expectation == "liar":
        assert not all(same), "this converter is no liar any more: move the animal to 'onnx'"
    elif found.expectation == "near":
        assert same[0]
    else:
        assert all(same)


def test_the_signature_fits_its_own_rows(animal: tuple[Animal, Studied]) -> None:
    found, studied = animal
    signature = studied.signature
    inputs = inputs_of(studied, found.X)
    bound, rows = signature.bind([spec.name for spec in signature.inputs], inputs)
    assert rows == len(found.X)
    for spec, array in zip(signature.outputs, studied.predict(bound), strict=True):
        assert array.dtype == spec.dtype.numpy
        assert spec.fits(array.shape)
        assert array.shape[0] == rows
    if signature.scores is not None:
        scores = next(spec for spec in signature.outputs if spec.name == signature.scores)
        assert scores.shape == (None, len(signature.classes))
    assert signature.from_json(signature.to_json()) == signature
    columns = [len(own) for own in studied.profile.columns]
    assert columns == [spec.shape[-1] if len(signature.inputs) == 1 else 1 for spec in signature.inputs]


def test_no_rows_give_no_answers(animal: tuple[Animal, Studied]) -> None:
    _, studied = animal
    empty = tuple(np.empty((0, spec.shape[-1] or 1), spec.dtype.numpy) for spec in studied.signature.inputs)
    for spec, array in zip(studied.signature.outputs, studied.predict(empty), strict=True):
        assert array.shape[0] == 0
        assert spec.fits(array.shape)


def test_the_conversion_leaves_the_model_as_it_was(animal: tuple[Animal, Studied]) -> None:
    found, studied = animal
    inputs = inputs_of(studied, found.X)
    before = studied.predict(inputs)
    with contextlib.suppress(NotConvertible):
        convert(studied)
    for left, right in zip(before, studied.predict(inputs), strict=True):
        assert np.array_equal(left, right)
