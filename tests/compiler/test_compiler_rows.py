"""Probing rows: of the right datatype and shape, within what the model remembers, the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.compiler import columns, texts
from modelyard.compiler.rows import FEWEST, REAL_ROWS, probe_rows
from modelyard.core.profile import ColumnProfile, Profile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES

FLOAT = DTYPES["FP32"]


def one_input(*profiles, dtype="FP32"):
    spec = TensorSpec("input", DTYPES[dtype], (None, len(profiles)))
    return Signature((spec,), (TensorSpec("y", FLOAT, (None, 1)),)), Profile((tuple(profiles),))


def groups(signature, profile, **more):
    return {one.name: one for one in probe_rows(signature, profile, **more)}


NUMBER = ColumnProfile("number", 2.0, 5.0, (2.5, 3.75), (), True)
PLAIN = ColumnProfile("number", -1.0, 1.0)

profiles = st.builds(
    ColumnProfile,
    st.sampled_from(["number", "integer", "category", "text", "flag"]),
    st.none() | st.floats(-1e6, 0, width=32),
    st.none() | st.floats(0, 1e6, width=32),
    st.lists(st.floats(-100, 100, width=32), max_size=3).map(lambda found: tuple(sorted(found))),
    st.lists(st.text(max_size=6), max_size=4, unique=True).map(tuple),
    st.booleans(),
)
shapes = st.lists(st.none() | st.integers(1, 4), max_size=2).map(lambda sizes: (None, *sizes))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(DTYPES)), shapes, profiles), min_size=1, max_size=3),
    st.integers(0, 5),
)
def test_rows_fit_any_signature_and_are_the_same_every_time(inputs, seed):
    specs = tuple(TensorSpec(f"x{at}", DTYPES[kind], shape) for at, (kind, shape, _) in enumerate(inputs))
    signature = Signature(specs, (TensorSpec("y", FLOAT, (None,)),))
    profile = Profile(tuple((one,) for _, _, one in inputs))
    first = probe_rows(signature, profile, size=8, seed=seed)
    again = probe_rows(signature, profile, size=8, seed=seed)
    assert first[0].name == "typical"
    assert len({one.name for one in first}) == len(first)
    for one, two in zip(first, again, strict=True):
        bound, rows = signature.bind([spec.name for spec in specs], one.inputs)
        assert rows == one.rows > 0
        for array, other in zip(bound, two.inputs, strict=True):
            assert array.flags.c_contiguous
            if array.dtype.kind == "O":
                assert all(isinstance(item, bytes) for item in array.ravel())
                assert array.tolist() == other.tolist()
            else:
                np.testing.assert_array_equal(array, other)


def test_another_seed_gives_other_rows():
    made = one_input(NUMBER, PLAIN)
    one, two = (groups(*made, seed=seed)["typical"].inputs[0] for seed in (0, 1))
    assert not np.array_equal(one, two)


def test_typical_numbers_stay_in_the_range():
    found = groups(*one_input(NUMBER, PLAIN))
    for name in ("typical", "round numbers"):
        array = found[name].inputs[0]
        assert array[:, 0].min() >= 2.0 - 1e-6
        assert array[:, 0].max() <= 5.0 + 1e-6
        assert array[:, 1].min() >= -1.0
    assert found["far outside"].inputs[0].max() > 5.0


def test_round_numbers_are_round():
    array = groups(*one_input(NUMBER))["round numbers"].inputs[0].astype(np.float64)
    assert np.mean(np.abs(array * 10 - np.round(array * 10)) < 1e-4) > 0.9


def test_thresholds_and_one_step_to_either_side():
    array = groups(*one_input(NUMBER, PLAIN))["thresholds"].inputs[0]
    wanted = set()
    for cut in (np.float32(2.5), np.float32(3.75)):
        wanted |= {cut, np.nextafter(cut, np.float32(-9)), np.nextafter(cut, np.float32(9))}
    assert set(array[:, 0].tolist()) == {float(one) for one in wanted}
    assert array.dtype == np.float32


def test_whole_numbers_and_flags_and_codes():
    codes = ColumnProfile("integer", 0, 3, (), ("0", "1", "3"))
    span = ColumnProfile("integer", 2, 7)
    flag = ColumnProfile("flag")
    found = groups(*one_input(codes, span, flag))
    array = found["typical"].inputs[0]
    assert set(array[:, 0]) == {0, 1, 3}
    assert set(array[:, 1]) <= {2, 3, 4, 5, 6, 7}
    assert set(array[:, 2]) == {0, 1}
    unseen = found["unseen codes"].inputs[0]
    assert {-1.0, 4.0, 43.0} <= set(unseen[:, 0].tolist())


def test_missing_only_where_the_original_takes_it():
    found = groups(*one_input(NUMBER, PLAIN))
    promised, other = found["missing"].inputs[0], found["missing, not promised"].inputs[0]
    assert np.isnan(promised[:, 0]).any()
    assert not np.isnan(promised[:, 1]).any()
    assert np.isnan(other[:, 1]).any()
    assert not np.isnan(other[:, 0]).any()
    assert np.isinf(found["infinite"].inputs[0]).any(axis=1).all()
    for name in ("typical", "round numbers", "thresholds", "far outside"):
        assert np.isfinite(found[name].inputs[0]).all()


def test_known_categories_only_and_unknown_ones_apart():
    city = ColumnProfile("category", values=("Köln", "Oslo"))
    found = groups(*one_input(city, dtype="BYTES"))
    assert set(found["typical"].inputs[0].ravel()) == {"Köln".encode(), b"Oslo"}
    assert not set(found["unseen"].inputs[0].ravel()) <= {"Köln".encode(), b"Oslo"}
    assert b"" in found["empty"].inputs[0].ravel()
    assert "missing" not in found
    assert "round numbers" not in found


def test_texts_use_the_vocabulary_and_write_as_people_do():
    words = ColumnProfile("text", values=("good", "not good", "story"))
    found = groups(*one_input(words, dtype="BYTES"))
    plain = " ".join(one.decode() for one in found["text"].inputs[0].ravel())
    world = " ".join(one.decode() for one in found["accents and apostrophes"].inputs[0].ravel())
    assert plain.isascii()
    assert not world.isascii()
    for piece in ("good", "GOOD", "Good", "story", "42", "."):
        assert piece in plain
    for piece in ("Don't", "é", "'", "你好"):
        assert piece in world
    odd = [one.decode() for one in found["odd text"].inputs[0].ravel()]
    assert "" in odd
    assert any(len(set(one.split())) == 1 < len(one.split()) for one in odd)


def test_words_of_nothing_are_ordinary_words():
    assert "the" in texts.words_of([])
    rng = np.random.default_rng(0)
    assert all(isinstance(one, bytes) for one in texts.plain_texts(rng, 5, []))


def test_real_rows_come_first_and_are_kept():
    signature, profile = one_input(NUMBER, PLAIN)
    sample = np.arange(12, dtype=np.float32).reshape(6, 2)
    kept = np.arange(4 * REAL_ROWS, dtype=np.float32).reshape(-1, 2)
    found = probe_rows(signature, profile, sample=(sample,), training=(kept,))
    assert [(one.name, one.kind) for one in found[:3]] == [
        ("sample", "real"),
        ("training", "usual"),
        ("typical", "usual"),
    ]
    np.testing.assert_array_equal(found[0].inputs[0], sample)
    assert found[1].rows == REAL_ROWS
    assert set(map(tuple, found[1].inputs[0].tolist())) <= set(map(tuple, kept.tolist()))
    assert found[-1].name == "between training rows"


def test_wide_rows_are_few():
    spec = TensorSpec("image", FLOAT, (None, 3, 512, 512))
    signature = Signature((spec,), (TensorSpec("y", FLOAT, (None, 1)),))
    found = probe_rows(signature, Profile(((PLAIN,),)))
    assert found[0].rows == 2 * FEWEST
    assert sum(array.nbytes for one in found for array in one.inputs) < 256 << 20


@pytest.mark.parametrize("low", [None, 0.0])
def test_a_range_that_is_not_known_is_guessed(low):
    rng = np.random.default_rng(0)
    drawn = columns.typical(rng, 500, ColumnProfile("number", low, None), False)
    assert np.isfinite(drawn).all()
    assert drawn.std() > 0.1


def test_take_copies_rows():
    group = probe_rows(*one_input(NUMBER))[0]
    few = group.take(slice(0, 3))
    few.inputs[0][:] = 0
    assert group.inputs[0][:3].all()
    assert (few.name, few.kind, few.rows) == (group.name, group.kind, 3)
