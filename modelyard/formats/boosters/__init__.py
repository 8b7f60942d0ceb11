"""Gradient boosting libraries, one file each: their own files, and their steps inside scikit-learn models.

A library is imported in its own file only, and only in a child.
"""
