import inspect

import pytest

from modelyard.console.exits import EXITS
from modelyard.core import errors
from modelyard.core.errors import MissingExtra
from modelyard.core.table import Table
from modelyard.serve.status import STATUS

LEAVES = [
    thing
    for thing in vars(errors).values()
    if inspect.isclass(thing) and issubclass(thing, errors.ModelyardError) and not thing.__subclasses__()
]


def test_the_docstring_draws_the_whole_tree():
    for leaf in LEAVES:
        assert leaf.__name__ in errors.__doc__
        assert leaf.code in errors.__doc__


def test_codes_are_unique():
    assert len({leaf.code for leaf in LEAVES}) == len(LEAVES)


def test_every_error_of_a_caller_has_a_status_and_every_file_error_an_exit_code():
    for leaf in LEAVES:
        if issubclass(leaf, errors.FileError):
            assert leaf.code in EXITS
        else:
            assert leaf.code in STATUS


def test_a_row_is_loaded_when_asked():
    assert Table({"sqrt": "math:sqrt"}).load("sqrt")(9) == 3


def test_a_missing_package_is_named():
    with pytest.raises(MissingExtra, match="needs the package 'no_such_package'"):
        Table({"x": "no_such_package.inner:thing"}, "format").load("x")
