"""Modelyard: from a trained model file to a fast, versioned, watched service."""

from modelyard.core import version

__version__ = version.VERSION
