import pytest

from modelyard.core.errors import BadInput, MissingFile
from modelyard.store.rows import Entry


def test_what_is_pushed_is_fetched(registry, bundle):
    version = registry.push(bundle, "iris", "first forest", "ada")
    assert (version.number, version.manifest) == (1, bundle.digest)
    found = registry.fetch("iris", 1)
    assert found.path("model.onnx").read_bytes() == bundle.path("model.onnx").read_bytes()
    assert registry.push(bundle, "iris", "again", "ada").number == 2
    registry.index.release("iris", 0, [Entry(2)], "ada", "go")
    assert registry.fetch("iris", 2) == found


def test_a_push_that_is_refused_writes_nothing(registry, bundle):
    with pytest.raises(BadInput):
        registry.push(bundle, "../iris", "", "ada")
    assert list(registry.blobs.list()) == []
    assert registry.index.change() == 0


def test_a_lost_blob_is_told(registry, bundle):
    version = registry.push(bundle, "iris", "", "ada")
    registry.blobs.delete(version.manifest)
    with pytest.raises(MissingFile):
        registry.fetch("iris", 1)
