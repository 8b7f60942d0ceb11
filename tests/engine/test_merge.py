import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import ModelFailed
from modelyard.core.tensor import DTYPES
from modelyard.engine.job import Job
from modelyard.engine.merge import JOIN_BELOW_BYTES, merge, split


def job(*inputs):
    return Job(inputs, len(inputs[0]), lambda outputs, error: None)


def array(dtype, rows, trailing, seed):
    values = np.random.default_rng(seed).integers(0, 2, (rows, *trailing))
    if dtype.kind == "bytes":
        return np.array([b"x" * int(v) for v in values.ravel()] + [None], object)[:-1].reshape(values.shape)
    return values.astype(dtype.numpy)


@given(
    st.sampled_from(list(DTYPES.values())),
    st.lists(st.integers(0, 4), min_size=2, max_size=9),
    st.lists(st.integers(0, 3), max_size=3),
)
def test_merged_rows_are_the_rows_and_split_gives_them_back(dtype, sizes, trailing):
    jobs = [job(array(dtype, rows, trailing, at)) for at, rows in enumerate(sizes)]
    (merged,) = merge(jobs)
    assert merged.dtype == dtype.numpy
    assert merged.shape == (sum(sizes), *trailing)
    assert merged.tolist() == np.concatenate([one.inputs[0] for one in jobs]).tolist()
    for one, (back, again) in zip(jobs, split(jobs, (merged, merged)), strict=True):
        assert back.shape == one.inputs[0].shape
        assert back.tolist() == again.tolist() == one.inputs[0].tolist()


def test_one_job_is_not_copied():
    lone = job(np.ones((3, 2)), np.zeros(3))
    assert merge([lone]) is lone.inputs
    outputs = (np.ones(3),)
    assert split([lone], outputs) == [outputs]


def test_large_arrays_are_merged_too():
    jobs = [job(np.full((1, JOIN_BELOW_BYTES // 8), at, "f8")) for at in range(3)]
    (merged,) = merge(jobs)
    assert merged[:, -1].tolist() == [0, 1, 2]


def test_answers_are_views():
    jobs = [job(np.zeros((1, 1))), job(np.zeros((2, 1)))]
    output = np.arange(3.0)
    assert all(np.shares_memory(answer[0], output) for answer in split(jobs, (output,)))


@pytest.mark.parametrize("output", [np.zeros(2), np.zeros(4), np.zeros((1, 3)), np.array(3.0)])
def test_an_output_that_does_not_count_rows_is_never_sliced(output):
    jobs = [job(np.zeros((1, 1))), job(np.zeros((2, 1)))]
    with pytest.raises(ModelFailed, match="does not answer row by row"):
        split(jobs, (np.zeros(3), output))


def test_a_model_without_batches_answers_as_it_likes():
    lone = job(np.zeros((2, 2)))
    outputs = (np.array(1.0), np.zeros((7, 1)))
    assert split([lone], outputs, batched=False) == [outputs]
