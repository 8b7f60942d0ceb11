"""An estimator object, served in the background by the real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from modelyard.core.errors import BadInput, ChildFailed, NotConvertible
from modelyard.notebook import serve


@pytest.fixture(autouse=True)
def _own_home(home, monkeypatch) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(home))


@pytest.fixture(scope="module")
def forest(iris):
    from sklearn.ensemble import RandomForestClassifier

    x, y = iris
    return RandomForestClassifier(n_estimators=10, random_state=0).fit(x, y)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_an_estimator_is_served_and_stopped(forest, iris, capfd) -> None:
    x, _ = iris
    with serve(forest, sample=x[:40], name="flowers") as yard:
        assert list(yard.predict("flowers", x[::30]).label) == list(forest.predict(x[::30]))
        assert yard.ready()
        assert "serving 'flowers' at http://127.0.0.1:" in repr(yard)
        pid, folder = yard._process.pid, yard._folder
    assert gone(pid)
    assert not folder.exists()
    assert "stopped" in repr(yard)
    yard.close()
    assert "serving 'flowers'" in capfd.readouterr().err


def test_the_server_ends_with_the_notebook(tmp_path) -> None:
    script = (
        "from modelyard.notebook import serve\nfrom sklearn.linear_model import LinearRegression\n"
        "yard = serve(LinearRegression().fit([[0.0], [1.0], [2.0]], [0.0, 2.0, 4.0]), quiet=True)\n"
        "print(yard._process.pid, float(yard.predict('model', [[3.0]])[0]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=90, check=True)
    pid, value = done.stdout.split()
    assert float(value) == pytest.approx(6, abs=1e-4)
    assert gone(int(pid))


def test_an_object_of_the_notebook_itself_is_an_error_in_one_line() -> None:
    with pytest.raises(ChildFailed) as caught:
        serve({"not": "a model"}, quiet=True)
    assert "Traceback" not in str(caught.value)
    with pytest.raises(NotConvertible, match="cannot be pickled"):
        serve(threading.Lock(), quiet=True)
    with pytest.raises(BadInput, match="cannot be named"):
        serve(None, name="a/b")


def test_a_class_of_the_notebook_goes_along() -> None:
    script = (
        "import numpy as np\nfrom modelyard.notebook import serve\n"
        "from sklearn.base import BaseEstimator, RegressorMixin\n"
        "class Twice(RegressorMixin, BaseEstimator):\n"
        "    def fit(self, x, y):\n        self.n_features_in_ = 1\n        return self\n"
        "    def predict(self, x):\n        return np.asarray(x)[:, 0] * 2\n"
        "with serve(Twice().fit([[1.0]], [1.0]), sample=np.array([[1.0], [2.0]]), quiet=True) as yard:\n"
        "    print(float(yard.predict('model', [[21.0]])[0]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=90, check=False)
    assert done.stdout.strip() == b"42.0", done.stderr.decode()


def test_a_server_that_dies_is_said(forest) -> None:
    from modelyard.client import Unreachable

    yard = serve(forest, quiet=True)
    try:
        os.kill(yard._process.pid, signal.SIGKILL)
        yard._process.wait()
        time.sleep(0.05)
        with pytest.raises(Unreachable):
            yard.predict("model", np.zeros((1, 4)))
    finally:
        yard.close()
