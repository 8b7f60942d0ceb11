"""What the converters of all boosting libraries share."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

TARGET_OPSET = 15
"""What the standalone converters of XGBoost and LightGBM were released with."""


_CLASSIFIER: dict[str, Any] = {
    "nocl": [True, False],
    "zipmap": [True, False, "columns"],
}


def float_input(width: int) -> list[tuple[str, Any]]:
    """One matrix called "input"."""
    from onnxmltools.convert.common.data_types import FloatTensorType

    return [("input", FloatTensorType([None, width]))]


def register() -> None:
    """Teach the scikit-learn converter the wrappers of the boosting libraries that are installed."""
    for add in (_register_xgboost, _register_lightgbm, _register_catboost):
        with suppress(ImportError):
            add()


def _register_xgboost() -> None:
    import xgboost
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes

    for kind in (xgboost.XGBClassifier, xgboost.XGBRFClassifier):
        update_registered_converter(
            kind,
            f"Xgboost{kind.__name__}",
            shapes.calculate_linear_classifier_output_shapes,
            _convert_xgboost,
            options=_CLASSIFIER,
        )
    for number in (xgboost.XGBRegressor, xgboost.XGBRFRegressor):
        update_registered_converter(
            number,
            f"Xgboost{number.__name__}",
            shapes.calculate_linear_regressor_output_shapes,
            _convert_xgboost,
        )


def _convert_xgboost(scope: Any, operator: Any, container: Any) -> None:
    """The converter wants columns called f0, f1, ...; what they are called changes no answer."""
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

    booster = operator.raw_operator.get_booster()
    names, booster.feature_names = booster.feature_names, None
    try:
        convert_xgboost(scope, operator, container)
    finally:
        booster.feature_names = names


def _register_lightgbm() -> None:
    import lightgbm
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes

    update_registered_converter(
        lightgbm.LGBMClassifier,
        "LightGbmLGBMClassifier",
        shapes.calculate_linear_classifier_output_shapes,
        convert_lightgbm,
        options=_CLASSIFIER,
    )
    update_registered_converter(
        lightgbm.LGBMRegressor,
        "LightGbmLGBMRegressor",
        shapes.calculate_linear_regressor_output_shapes,
        convert_lightgbm,
        options={"split": None},
    )


def _register_catboost() -> None:
    import catboost
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes

    update_registered_converter(
        catboost.CatBoostClassifier,
        "CatBoostCatBoostClassifier",
        shapes.calculate_linear_classifier_output_shapes,
        _convert_catboost,
        options=_CLASSIFIER,
        parser=_parse_catboost,
    )
    update_registered_converter(
        catboost.CatBoostRegressor,
        "CatBoostCatBoostRegressor",
        shapes.calculate_linear_regressor_output_shapes,
        _convert_catboost,
    )


def _parse_catboost(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Two outputs; the converter gives them only to classes that derive from scikit-learn's."""
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    del custom_parsers
    step = scope.declare_local_operator("CatBoostCatBoostClassifier", model)
    step.inputs = inputs
    kind = Int64TensorType if model.classes_.dtype.kind in "iu" else StringTensorType
    step.outputs.append(scope.declare_local_variable("label", kind()))
    step.outputs.append(scope.declare_local_variable("probabilities", FloatTensorType()))
    return step.outputs


def _convert_catboost(scope: Any, operator: Any, container: Any) -> None:
    """CatBoost's own trees as a step of a larger graph: its first node, on this step's input."""
    from catboost.utils import convert_to_onnx_object
    from onnx import helper

    del scope
    trees = convert_to_onnx_object(operator.raw_operator).graph.node[0]
    container.add_node(
        trees.op_type,
        [operator.inputs[0].full_name],
        [output.full_name for output in operator.outputs],
        op_domain="ai.onnx.ml",
        op_version=1,
        name=f"{operator.full_name}_trees",
        **{one.name: helper.get_attribute_value(one) for one in trees.attribute},
    )
