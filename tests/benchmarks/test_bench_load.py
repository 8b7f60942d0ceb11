"""Reading wrk and h2load: what is counted as an answer, and what is refused."""

import pytest

from benchmarks.bodies import Body
from benchmarks.load import LoadFailed, NoAnswer, lua_script, read_h2load, read_wrk

WRK = """\
Running 1s test @ http://127.0.0.1:8000
  12000 requests in 2.00s, 3.2MB read
RESULT {"requests": 12000, "duration_us": 2000000, "bytes": 3200000, "failed": %(failed)d, \
"refused": %(refused)d, "p50_us": 80, "p90_us": 120, "p99_us": 300, "max_us": 900}
"""
H2LOAD = """\
finished in 2.00s, 100.00 req/s, 3.16KB/s
requests: 200 total, 208 started, 200 done, 200 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 200 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 18.00KB (18432) total, 2.00KB (2048) headers (space savings 96.17%), 15.82KB (16200) data
"""
LOG = "".join(f"1000{i}\t200\t{100 + i}\n" for i in range(200))


def test_wrk_sample_counts_good_answers_only():
    sample = read_wrk(WRK % {"failed": 0, "refused": 0}, cpu_s=0.5)
    assert sample.rate == 6000
    assert (sample.p50_us, sample.p90_us, sample.p99_us) == (80, 120, 300)
    assert sample.load_busy == 0.25
    assert sample.refused == 0


def test_wrk_refusals_lower_the_rate_and_are_kept():
    sample = read_wrk(WRK % {"failed": 7, "refused": 2000}, cpu_s=0)
    assert sample.rate == 5000
    assert sample.refused == 2007


def test_wrk_without_a_result_or_an_answer_is_a_failure():
    with pytest.raises(LoadFailed, match="unable to connect"):
        read_wrk("unable to connect to 127.0.0.1:9: Connection refused", 0)
    with pytest.raises(NoAnswer):
        read_wrk((WRK % {"failed": 0, "refused": 0}).replace('"requests": 12000', '"requests": 0'), 0)


def test_wrk_with_nothing_but_refusals_is_a_failure_not_a_zero():
    with pytest.raises(LoadFailed, match="all of 12000 answers were refusals"):
        read_wrk(WRK % {"failed": 0, "refused": 12000}, 0)


def test_h2load_percentiles_come_from_its_log():
    sample = read_h2load(H2LOAD, LOG, answer_bytes=81, seconds=2, cpu_s=1)
    assert sample.rate == 100
    assert (sample.p50_us, sample.p99_us) == (200, 298)
    assert sample.refused == 0


def test_h2load_sees_grpc_errors_by_their_missing_bytes():
    with pytest.raises(LoadFailed, match="errors inside"):
        read_h2load(H2LOAD, LOG, answer_bytes=90, seconds=2, cpu_s=1)


def test_h2load_without_answers_is_a_failure():
    with pytest.raises(LoadFailed, match="no answer"):
        read_h2load(H2LOAD.replace("200 2xx", "0 2xx"), LOG, 81, 2, 1)
    with pytest.raises(LoadFailed, match="could not connect"):
        read_h2load("could not connect", "", 81, 2, 1)


def test_script_reads_each_body_from_its_own_file(tmp_path):
    bodies = [Body(b"\x00one", {"Content-Type": "a/b", "X-Head": "7"}), Body(b"two", {})]
    text = lua_script(tmp_path, "/v2/models/m/infer", bodies).read_text()
    assert (tmp_path / "0").read_bytes() == b"\x00one"
    assert (tmp_path / "1").read_bytes() == b"two"
    assert '["Content-Type"] = "a/b", ["X-Head"] = "7"' in text
    assert "for i = 0, 2 - 1 do" in text
    assert "requests[i + 1]" in text
