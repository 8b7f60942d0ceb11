"""Records, which are structs: a person who asks for `help` gets it."""

import importlib
import inspect
import pkgutil

import msgspec

import modelyard

OWN_PROCESS = ("modelyard.store.migrations.",)
"""What only another program may import."""


def records():
    """Every struct of the package whose module can be imported here."""
    for found in pkgutil.walk_packages(modelyard.__path__, "modelyard."):
        if found.name.startswith(OWN_PROCESS) or found.name.endswith("__main__"):
            continue
        try:
            module = importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            if str(error.name).startswith("modelyard"):
                raise
            continue  # a framework that is not here
        for one in vars(module).values():
            if (
                isinstance(one, type)
                and issubclass(one, msgspec.Struct)
                and one.__module__ == module.__name__
            ):
                yield one


def test_the_signature_of_every_record_can_be_asked_for():
    """Types that are imported for the type checker alone would end `help` in a NameError."""
    seen = list(records())
    assert len(seen) > 200
    for one in seen:
        assert list(inspect.signature(one).parameters) == list(one.__struct_fields__), one
