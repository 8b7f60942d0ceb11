"""Folders and archives that other tools wrote around a model file."""
