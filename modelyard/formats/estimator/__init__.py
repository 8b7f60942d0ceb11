"""Fitted estimators, inside the child: what they take and give, and the way to ONNX.

Only this package and ``formats/loading.py`` import scikit-learn and its family.
"""
