"""Model files: what a file is, how it is opened, where ONNX or native serving begins."""
