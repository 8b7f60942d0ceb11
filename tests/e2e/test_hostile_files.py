"""A hostile pickle does nothing outside its child and ends in one clear line."""

import builtins
import os
import pickle
import socket
import subprocess
import time

import pytest
from serving import run


class Call:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def code(text: str) -> Call:
    return Call(builtins.exec, text)


def payloads(witness: str, port: int) -> dict[str, Call]:
    return {
        "os.system": Call(os.system, f"touch {witness}"),
        "subprocess": Call(subprocess.Popen, ["touch", witness]),
        "file write": code(f"open({witness!r}, 'w').write('x')"),
        "socket": code(f"import socket; socket.create_connection(('127.0.0.1', {port}), 2).send(b'x')"),
        "fork bomb": code("import os\nwhile True:\n  os.fork()"),
        "memory bomb": code("x = [bytearray(1 << 28) for _ in range(4096)]"),
        "endless loop": code("while True: pass"),
        "kill the parent": code("import os, signal; os.kill(os.getppid(), signal.SIGKILL)"),
        "exit 0": code("import os; os._exit(0)"),
        "crash": code("import ctypes; ctypes.string_at(0)"),
        "read a secret": code("raise ValueError(open('/etc/passwd').read())"),
    }


NAMES = list(payloads("", 0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("verb", ["serve", "inspect"])
def test_it_does_nothing_outside(tmp_path, home, name, verb):
    witness = tmp_path / "witness"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        path = tmp_path / "model.pkl"
        path.write_bytes(pickle.dumps(payloads(str(witness), listener.getsockname()[1])[name]))
        options = (
            ("--http-port", 0, "--grpc-port", 0, "--open-seconds", 4, "--open-mb", 1024)
            if verb == "serve"
            else ()
        )
        done = run(verb, path, *options, home=home, timeout_s=60)
        with pytest.raises(BlockingIOError):
            listener.accept()
    time.sleep(0.05)
    assert not witness.exists()
    text = done.stderr.decode() + done.stdout.decode()
    assert "Traceback" not in text
    assert "root:" not in text
    if verb == "serve":
        assert done.returncode not in (0, 70)
        errors = [line for line in done.stderr.decode().splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert len(errors[0]) < 600
    else:
        assert done.returncode in (0, 65, 77)


def test_inspect_says_what_is_unsafe(tmp_path, home):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Call(os.system, "true")))
    done = run("inspect", path, home=home)
    assert "system" in done.stdout.decode()
    assert "unsafe" in done.stdout.decode().lower()
