"""What a person or Prometheus sees: metrics, OpenAPI, the documentation page in a real browser."""

import json
import re
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

GOOD = {"input": [[5.1, 3.5, 1.4, 0.2]]}


def numbers(yard) -> dict:
    status, headers, body = yard.ask("GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_metrics_count_what_happened(iris_yard):
    before = numbers(iris_yard)
    for _ in range(5):
        assert iris_yard.post("/predict", GOOD)[0] == 200
    assert iris_yard.post("/predict", {"input": [[1, 2]]})[0] == 400
    after = numbers(iris_yard)

    def grown(name, **labels):
        key = (name, *sorted({"model": "iris", "version": "1", **labels}.items()))
        return after[key] - before.get(key, 0)

    assert grown("modelyard_requests_total", surface="http", code="ok") == 5
    assert grown("modelyard_requests_total", surface="http", code="bad-input") == 1
    assert grown("modelyard_rows_total") == 5
    assert grown("modelyard_request_duration_seconds_count", surface="http") == 6
    assert 1 <= grown("modelyard_batch_rows_count") <= 5
    assert after[("process_resident_memory_bytes",)] > 10 << 20


def test_memory_is_small(iris_yard):
    assert iris_yard.resident_bytes() < 110 << 20


def test_openapi_names_this_models_own_tensors(iris_yard):
    status, document = iris_yard.get("/openapi.json")
    assert status == 200
    assert document["openapi"].startswith("3.1")
    assert "/v2/models/iris/infer" in document["paths"]
    assert "/predict" in document["paths"]
    text = json.dumps(document)
    assert "FP32" in text


def test_every_example_in_the_openapi_document_runs(iris_yard, sums_yard):
    for yard in (iris_yard, sums_yard):
        _, document = yard.get("/openapi.json")
        ran = 0
        for path, methods in document["paths"].items():
            content = (
                methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
            )
            examples = [content["example"]] if "example" in content else []
            examples += [row["value"] for row in content.get("examples", {}).values()]
            for example in examples:
                assert "{" not in path
                status, answer = yard.post(path, example)
                assert status == 200, (path, example, answer)
                ran += 1
        assert ran >= 2


def test_the_root_leads_to_the_page(iris_yard):
    status, headers, _ = iris_yard.ask("GET", "/")
    assert status == 307
    assert headers["Location"] == "/docs"
    status, headers, body = iris_yard.ask("GET", "/docs")
    assert status == 200
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert b"http://" not in body
    assert b"https://" not in body


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_draws_itself_in_a_browser(iris_yard, tmp_path):
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={tmp_path}", "--virtual-time-budget=8000", "--dump-dom", f"{iris_yard.url}/docs"],
        capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
    page = done.stdout
    assert '<p id="state" role="status" class="good">ready</p>' in page
    assert "iris : 1" in page
    assert "FP32" in page
    assert re.search(r"POST /predict</button>", page)
    assert "/v2/models/iris/infer" in page
