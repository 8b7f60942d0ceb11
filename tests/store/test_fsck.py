import os

import pytest
import sqlalchemy as sa

from modelyard.artifact.bundle import write_bundle
from modelyard.core.digest import sha256_of
from modelyard.store.fsck import fsck
from modelyard.store.migrate import migrate
from modelyard.store.rows import Entry

GRAPH = b"graph" * 999


@pytest.fixture
def pushed(registry, bundle, tmp_path):
    registry.push(bundle, "iris", "", "ada")
    other = write_bundle(tmp_path / "other", {}, {"rows.bin": b"other"})
    registry.push(other, "wine", "", "ada")
    registry.index.release("iris", 0, [Entry(1)], "ada", "go")
    return registry


def look(registry):
    return [(finding.subject, finding.text) for finding in fsck(registry.index, registry.blobs).findings]


def test_a_sound_registry(pushed):
    heard = []
    extra = pushed.blobs.put(b"nobody's")
    found = fsck(pushed.index, pushed.blobs, lambda blobs, size: heard.append((blobs, size)))
    assert found.ok
    assert (found.models, found.versions, found.blobs, found.unneeded) == (2, 2, 6, 1)
    assert found.size_bytes == heard[-1][1]
    assert heard[-1][0] == 6
    assert pushed.blobs.size(extra) == 8


def test_a_damaged_blob(pushed):
    digest = sha256_of([GRAPH])
    path = pushed.blobs.local_path(digest)
    os.chmod(path, 0o600)
    path.write_bytes(GRAPH[:-1] + b"X")
    assert look(pushed) == [
        (f"blob {digest}", "its bytes are not what its digest says"),
        ("iris:1", f"blob {digest} is damaged"),
    ]


def test_a_lost_part_and_a_lost_manifest(pushed):
    digest = sha256_of([GRAPH])
    pushed.blobs.delete(digest)
    pushed.blobs.delete(pushed.index.get_version("wine", 1).manifest)
    (iris, part), (wine, manifest) = look(pushed)
    assert (iris, part) == ("iris:1", f"blob {digest} is lost")
    assert wine == "wine:1"
    assert "manifest is lost" in manifest


@pytest.mark.parametrize(
    ("statement", "subject", "text"),
    [
        (
            "UPDATE models SET last_version = 7 WHERE name = 'iris'",
            "iris",
            "it states 7 versions, there are 1",
        ),
        ("UPDATE models SET revision = 0 WHERE name = 'iris'", "iris", "it states 0 releases, there are 1"),
        ("DELETE FROM version_blobs", "iris:1", "lists other blobs"),
        ("UPDATE audit SET who = 'eve' WHERE seq = 2", "audit", "line 2 was changed"),
        ("UPDATE versions SET number = 5 WHERE note = '' AND id = 1", "iris", "1 up to 5"),
    ],
)
def test_rows_that_contradict_each_other(pushed, statement, subject, text):
    migrate(pushed.index.database, "0001")
    with pushed.index.database.write() as connection:
        connection.execute(sa.text(statement))
    found = [line for where, line in look(pushed) if where == subject]
    assert found
    assert text in found[0]
