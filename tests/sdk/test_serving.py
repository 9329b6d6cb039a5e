"""Rates are what grew between two looks; a model that was loaded anew counts from its load."""

from sill.sdk.serving import Look, between, read_metrics


def text(good: int, bad: int, slow: int) -> str:
    labels = 'project="p",endpoint="churn",version="3",revision="2"'
    return f"""# TYPE sill_inference_requests counter
sill_inference_requests_total{{{labels},status="200"}} {good}
sill_inference_requests_total{{{labels},status="503"}} {bad}
# TYPE sill_inference_waiting gauge
sill_inference_waiting{{{labels}}} 4
sill_inference_waiting{{project="other",endpoint="churn",version="1",revision="1"}} 9
# TYPE sill_inference_request_seconds histogram
sill_inference_request_seconds_bucket{{{labels},le="0.001"}} {good - slow}
sill_inference_request_seconds_bucket{{{labels},le="0.1"}} {good}
sill_inference_request_seconds_bucket{{{labels},le="+Inf"}} {good}
# TYPE sill_inference_batch_rows histogram
sill_inference_batch_rows_bucket{{{labels},le="+Inf"}} {good // 2}
sill_inference_batch_rows_sum{{{labels}}} {good}
sill_inference_batch_rows_count{{{labels}}} {good // 2}
"""


def look(at_s: float, good: int, bad: int = 0, slow: int = 0) -> Look:
    return Look(at_s=at_s, values=read_metrics(text(good, bad, slow), "p"))


def test_a_rate_is_what_grew_and_only_of_the_project() -> None:
    (told,) = between(look(10.0, 100), look(12.0, 300, bad=10, slow=20))

    assert (told.endpoint, told.version, told.revision) == ("churn", "3", "2")
    assert (told.requests_per_s, told.errors_per_s) == (105.0, 5.0)
    assert (told.p50_ms, told.p99_ms) == (1.0, 100.0)
    assert (told.waiting, told.batch_rows) == (4, 2.0)


def test_a_model_loaded_anew_counts_from_its_load() -> None:
    (told,) = between(look(10.0, 1_000), look(11.0, 50))

    assert told.requests_per_s == 50.0


def test_without_requests_there_is_no_latency() -> None:
    (told,) = between(look(10.0, 100), look(11.0, 100))

    assert (told.requests_per_s, told.p99_ms, told.batch_rows) == (0.0, 0.0, 0.0)


def test_what_several_replicas_did_is_added_and_one_that_was_not_there_before_counts_from_now() -> None:
    def seen(at_s: float, **good: int) -> Look:
        told = [
            text(count, 0, 0).replace('project="p"', f'replica="{name}",project="p"') for name, count in good.items()
        ]
        return Look(at_s=at_s, values=read_metrics("".join(told), "p"))

    (told,) = between(seen(10.0, first=100, second=50), seen(12.0, first=300, second=20, late=1_000))

    assert (told.requests_per_s, told.waiting, told.batch_rows) == (110.0, 12, 2.0)
