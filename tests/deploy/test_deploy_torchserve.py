"""TorchServe's config.properties: what takes effect, what is named, what is refused."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import BadConfig
from modelyard.deploy.properties import read_properties
from modelyard.deploy.torchserve import Batching, parse_torchserve, read_torchserve

EXAMPLE = r"""
# as the examples of TorchServe have it
inference_address=http://0.0.0.0:8085
management_address : http://127.0.0.1:8086
metrics_address=http://127.0.0.1:8087
grpc_inference_port 7777
grpc_management_port=7778
grpc_inference_address=0.0.0.0
default_workers_per_model=4
job_queue_size=1000
default_response_timeout=90
max_request_size=6553500
number_of_netty_threads=32
install_py_dep_per_model=true
load_models=noop=noop.mar, other.mar
allowed_urls=https://s3\\.amazonaws\\.com/.*, https://models\.example\.org/.*
enable_model_api=true
models={\
  "noop": {\
    "1.0": {\
        "defaultVersion": true,\
        "marName": "noop.mar",\
        "minWorkers": 1,\
        "maxWorkers": 1,\
        "batchSize": 4,\
        "maxBatchDelay": 100,\
        "responseTimeout": 120\
    }\
  }\
}
frobnicate=1
"""


def test_an_example_of_torchserve(tmp_path):
    config = parse_torchserve(f"{EXAMPLE}model_store={tmp_path}\n", "config.properties")
    assert config.options == {
        "host": "0.0.0.0",
        "http_port": 8085,
        "console_host": "127.0.0.1",
        "console_port": 8086,
        "grpc_port": 7777,
        "workers": 4,
        "max_waiting": 1000,
        "request_timeout": 90,
        "max_body_mb": 6553500 / (1 << 20),
    }
    assert config.rpc == ("127.0.0.1", 7778)
    store = config.store
    assert (store.folder, store.model_api) == (tmp_path, True)
    assert store.load == (("noop", "noop.mar"), ("", "other.mar"))
    # A backslash is written twice in Java's format.
    assert store.allowed_urls == (r"https://s3\.amazonaws\.com/.*", "https://models.example.org/.*")
    assert store.batching == {"noop.mar": Batching(4, 0.1)}
    assert config.without_effect("config.properties") == (
        "config.properties: no effect here: metrics_address, number_of_netty_threads, "
        "install_py_dep_per_model; not known: frobnicate"
    )


def test_torchserves_own_ports_where_the_file_is_silent():
    config = parse_torchserve("", "config.properties")
    assert config.options == {
        "host": "127.0.0.1",
        "http_port": 8080,
        "grpc_port": 7070,
        "console_host": "127.0.0.1",
        "console_port": 8081,
    }
    assert config.rpc == ("127.0.0.1", 7071)
    assert (config.store.folder, config.store.allowed_urls) == (None, ())
    assert config.without_effect("x") == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a=1\na=2", "line 2: 'a' is in line 1 already"),
        ("\ninference_address=https://127.0.0.1:8443", "line 2: inference_address: .* TLS"),
        ("inference_address=unix:/tmp/x", "not an address"),
        ("inference_address=http://user@127.0.0.1:1", "not an address"),
        ("management_address=http://127.0.0.1:99999", "line 1: management_address: .* out of range"),
        ("grpc_inference_port=99999", "whole number from 0 to 65535"),
        ("grpc_inference_address=10.0.0.1", "use one address"),
        ("job_queue_size=-1", "line 1: job_queue_size: '-1' is not a whole number from 1"),
        ("max_request_size=$$SIZE$$", "variables of the environment"),
        ("model_store=/nowhere/at/all", "is not a folder"),
        ("load_models=all", "the model_store that they are in is not named"),
        ("allowed_urls=https://(", "no regular expression"),
        ("enable_model_api=perhaps", "neither true nor false"),
        ("models={1}", "line 1: models"),
        ("models={}\\u12", "hexadecimal"),
        ('models={"a": {"1.0": {"batchSize": 4}}}', "not what TorchServe writes there"),
        ('models={"a": {"1.0": {"marName": "a.mar", "batchSize": "4"}}}', "a whole number from 1"),
        ("x" * (2 << 20), "no configuration"),
    ],
)
def test_what_is_refused(text, said):
    with pytest.raises(BadConfig, match=said) as refused:
        parse_torchserve(text, "config.properties")
    assert refused.value.message.startswith("config.properties")


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(BadConfig, match="cannot be read"):
        read_torchserve(tmp_path / "none")
    (tmp_path / "odd").write_bytes(b"\xff\xfe=1")
    with pytest.raises(BadConfig, match="UTF-8"):
        read_torchserve(tmp_path / "odd")


def test_the_format_of_java():
    text = "! comment\n  a = 1  \nb\\ c:x\\\n    y\\tz\nempty\ne=\\u0041\\\\\n# last \\\nf=\\"
    assert [(one.line, one.key, one.value) for one in read_properties(text, "x")] == [
        (2, "a", "1"),
        (3, "b c", "xy\tz"),
        (5, "empty", ""),
        (6, "e", "A\\"),
        (8, "f", ""),
    ]


@settings(max_examples=200)
@given(st.text(st.sampled_from("ab=: \\\n#!u0{}\t"), max_size=40))
def test_no_text_breaks_it(text):
    with suppress(BadConfig):
        parse_torchserve(text, "x")
