"""Yards with small bundles in them."""

from contextlib import contextmanager

from modelyard.artifact.bundle import write_bundle
from modelyard.artifact.rows import pack_rows
from modelyard.deploy.yard import Yard

SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4], "columns": []}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1], "columns": []}],
    "batched": True,
    "task": "tensor",
    "label": None,
    "scores": None,
    "classes": [],
}


def make_bundle(folder, byte=b"g", **facts):
    parts = {"model.onnx": byte * 994, "rows.bin": pack_rows(())}
    said = {"signature": SIGNATURE, "graph": None, **facts}
    return write_bundle(folder / f"bundle-{byte[:8].hex()}", said, parts)


@contextmanager
def open_yard(folder, registry_url="", versions=4):
    with Yard.open(folder / "home", registry_url) as yard:
        bundle = make_bundle(folder)
        for number in range(versions):
            yard.push(bundle, "iris", f"note {number + 1}", "ada")
        yield yard
