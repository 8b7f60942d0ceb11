"""Modelyard: from a trained model file to a fast, versioned, watched service."""

__version__ = "0.1.0"
