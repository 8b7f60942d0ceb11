import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from modelyard.monitor.counters import ModelCounters
from modelyard.monitor.exposition import METRICS, Exposition
from modelyard.monitor.histogram import Histogram
from modelyard.monitor.sums import observe


def parse(page: bytes):
    return {family.name: family for family in text_string_to_metric_families(page.decode())}


def test_what_a_model_counted_is_what_prometheus_reads():
    seen = ModelCounters("iris", "1")
    seen.request("http", "ok", 0.0004, 3)
    seen.request("http", "bad-input", 0.0001, 0)
    seen.request("grpc", "ok", 7.0, 2)
    seen.batch(2, 5, 0.001, 0.002)
    page = Exposition()
    page.model(observe(seen, 0, True))
    families = parse(page.text())
    counts = {
        (sample.labels["surface"], sample.labels["code"]): sample.value
        for sample in families["modelyard_requests"].samples
    }
    assert counts == {("http", "ok"): 1, ("http", "bad-input"): 1, ("grpc", "ok"): 1}
    assert families["modelyard_rows"].samples[0].value == 5
    latency = families["modelyard_request_duration_seconds"].samples
    totals = {s.labels["surface"]: s.value for s in latency if s.name.endswith("_count")}
    assert totals == {"http": 2, "grpc": 1}
    below = [s.value for s in latency if s.labels.get("le") == "0.00025" and s.labels["surface"] == "http"]
    assert below == [1]
    assert families["modelyard_batch_rows"].samples[-2].value == 5


def test_label_values_are_escaped():
    page = Exposition()
    page.sample("modelyard_model_ready", 1, {"model": 'a"b\\c\nd'})
    (sample,) = parse(page.text())["modelyard_model_ready"].samples
    assert sample.labels["model"] == 'a"b\\c\nd'


def test_an_unknown_metric_is_a_bug():
    with pytest.raises(KeyError):
        Exposition().sample("modelyard_typo", 1)


def test_every_metric_says_what_it_means():
    for kind, meaning in METRICS.values():
        assert kind in {"counter", "gauge", "histogram"}
        assert meaning.endswith(".")


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.01, 1))
def test_the_quantile_is_an_upper_bound_that_is_tight(values, share):
    bounds = (0.5, 1.0, 5.0, 20.0, 50.0)
    seen = Histogram(bounds)
    for value in values:
        seen.add(value)
    exact = sorted(values)[math.ceil(share * len(values)) - 1]
    found = seen.quantile(share)
    assert found >= exact
    assert all(not exact <= bound < found for bound in bounds)
    assert seen.count == len(values)
