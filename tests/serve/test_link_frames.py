"""The worker's end of the link: frames however they are cut, names however long."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.serve.link_server import Frames, listen_unix


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=12), st.data())
def test_frames_come_out_as_they_went_in_however_they_are_cut(bodies, data):
    wire = b"".join(len(body).to_bytes(4, "little") + body for body in bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=20)))
    frames, found = Frames(300), []
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += frames.feed(wire[begin:end])
    assert found == bodies


@pytest.mark.parametrize("size", [0, 301, 1 << 31])
def test_a_frame_of_another_size_is_refused_before_it_is_read(size):
    frames = Frames(300)
    assert list(frames.feed(b"\1\0\0\0a")) == [b"a"]
    with pytest.raises(ValueError, match=f"a frame of {size} bytes"):
        list(frames.feed(size.to_bytes(4, "little")))


def test_a_path_may_be_longer_than_an_address_and_what_lies_there_is_replaced(tmp_path):
    folder = tmp_path / ("a" * 100) / ("b" * 100)
    folder.mkdir(parents=True)
    path = folder / "worker-0.sock"
    path.write_text("what a dead worker left")
    with listen_unix(path) as listening:
        assert path.stat().st_mode & 0o777 == 0o600
        assert os.listdir(folder) == ["worker-0.sock"]
        handle = os.open(folder, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"/proc/self/fd/{handle}/worker-0.sock")
        os.close(handle)
        listening.accept()[0].close()
