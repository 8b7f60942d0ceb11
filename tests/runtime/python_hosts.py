"""Models for a host, as a target that children run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from modelyard.core.errors import BadInput, CorruptFile


class Host:
    def open(self, values, arrays):
        if values.get("broken"):
            raise CorruptFile("the file is not what it says it is")
        counter = values.get("fails_while")
        if counter and Path(counter).exists():
            raise CorruptFile("not yet")
        self.scale = float(arrays[0][0]) if arrays else 2.0
        return {"signature": {}}, []

    def predict(self, values, arrays):
        x = arrays[0]
        code = float(x.reshape(-1)[0])
        if code == -1:
            os.kill(os.getpid(), signal.SIGKILL)
        if code == -2:
            time.sleep(3600)
        if code == -3:
            raise KeyError("no such column")
        if code == -4:
            raise BadInput("the caller is wrong")
        if code == -5:
            return {}, [x[:1] if len(x) > 1 else np.vstack([x, x])]
        if code == -6:
            return {}, []
        if code == -7:
            return {}, [x.astype("f8")]
        if code == -8:
            bytearray(1 << 40)
        if code == -9:
            print("these are my last words", flush=True)
            os._exit(9)
        if code == -10:
            time.sleep(0.5)
        return {}, [x * np.float32(self.scale)]


class Keeper:
    """What no model should do with its input, and some do."""

    def __init__(self):
        self.kept = []

    def open(self, values, arrays):
        return {}, []

    def predict(self, values, arrays):
        x = arrays[0]
        way = int(x.reshape(-1)[0])
        before = [float(np.asarray(one).reshape(-1)[-1]) for one in self.kept]
        about = [float(x.flags.owndata), float(x.flags.writeable), *before]
        if way == 1:
            self.kept.append(x)
        elif way == 2:
            self.kept.append(x[-5:].T)
        elif way == 3:
            self.kept.append(memoryview(x))
        elif way == 4:
            self.kept.append(x.reshape(-1).view(np.uint32).view(np.float32))
        elif way == 5:
            x *= 2
            return {}, [x[:, :1], np.array(about)]
        elif way == 6:
            try:
                raise KeyError("kept in its traceback")
            except KeyError as error:
                self.kept.append(x[-1:])
                raise ValueError("with its cause") from error
        return {}, [x, np.array(about)]


def keeping_verbs():
    keeper = Keeper()
    return {"open": keeper.open, "predict": keeper.predict}


def host_verbs():
    host = Host()
    return {"open": host.open, "predict": host.predict}


def picklefree_verbs():
    """The same host with a pickle module that can do nothing; asked about it at "open"."""
    import _pickle
    import marshal
    import pickle

    def refused(*_, **__):
        raise AssertionError("pickle on the road of a model host")

    for module in (pickle, _pickle, marshal):
        for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
            if hasattr(module, name) and (module is not marshal or name in {"dump", "dumps"}):
                setattr(module, name, refused)
    return {"open": Host().open, "predict": lambda values, arrays: ({}, arrays)}
