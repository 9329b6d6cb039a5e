"""What several processes count is told in one answer: series of each that a Prometheus reader takes, and Triton's sums."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from sill.api.adding_up import add_statistics, join_metrics

STATISTICS = {
    "model_stats": [
        {
            "name": "churn",
            "version": "1",
            "last_inference": 1_700_000_000_000,
            "inference_count": 5,
            "execution_count": 2,
            "inference_stats": {"success": {"count": 5, "ns": 100}, "fail": {"count": 0, "ns": 0}},
            "batch_stats": [{"batch_size": 1, "compute_infer": {"count": 1, "ns": 10}}],
            "memory_usage": [{"type": "cpu", "id": 0, "byte_size": 1_000}],
        }
    ]
}


def exposition(seen: list[tuple[str, float]]) -> str:
    registry = CollectorRegistry(auto_describe=False)
    requests = Counter("sill_inference_requests", "Requests.", ("endpoint",), registry=registry)
    seconds = Histogram(
        "sill_inference_request_seconds", "Seconds.", ("endpoint",), registry=registry, buckets=(0.1, 1)
    )
    waiting = Gauge("sill_inference_waiting", "Waiting.", ("endpoint",), registry=registry)
    share = Gauge("sill_inference_weight_percent", "Share.", ("endpoint",), registry=registry)
    for endpoint, value in seen:
        requests.labels(endpoint).inc()
        seconds.labels(endpoint).observe(value)
        waiting.labels(endpoint).inc(value)
        share.labels(endpoint).set(90)
    return generate_latest(registry).decode()


def samples_of(text: str) -> list[Sample]:
    families = text_string_to_metric_families(text)
    return [sample for family in families for sample in family.samples if not sample.name.endswith("_created")]


def samples(text: str) -> dict[str, float]:
    return {f"{sample.name}{sorted(sample.labels.items())}": sample.value for sample in samples_of(text)}


SEEN = st.lists(st.tuples(st.sampled_from(["a", 'b "quoted" }', "c d"]), st.floats(0, 2)), max_size=6)


@given(SEEN, SEEN)
def test_each_sample_says_whose_it_is_and_is_as_that_one_told_it(
    first: list[tuple[str, float]], second: list[tuple[str, float]]
) -> None:
    texts = {"replica-1": exposition(first), "replica-2": exposition(second)}

    assert samples(join_metrics(texts)) == {
        f"{sample.name}{sorted({**sample.labels, 'replica': replica}.items())}": sample.value
        for replica, text in texts.items()
        for sample in samples_of(text)
    }


def test_each_family_is_told_once_and_a_sample_without_labels_gets_its_first() -> None:
    text = exposition([("a", 0.5), ("b", 1.5)])

    assert join_metrics({"one": text, "two": text}).count("# TYPE sill_inference_request_seconds ") == 1
    assert join_metrics({"one": "# TYPE up gauge\nup 1\n"}) == '# TYPE up gauge\nup{replica="one"} 1\n'
    assert join_metrics({}) == ""


def test_counts_and_times_are_added_and_the_latest_moment_stays() -> None:
    other = {
        "model_stats": [
            STATISTICS["model_stats"][0] | {"last_inference": 7},
            {"name": "b", "version": "1", "inference_count": 3},
        ]
    }
    churn, b = add_statistics([STATISTICS, other])["model_stats"]

    assert (churn["inference_count"], churn["last_inference"]) == (10, 1_700_000_000_000)
    assert churn["inference_stats"]["success"] == {"count": 10, "ns": 200}
    assert churn["batch_stats"] == [{"batch_size": 1, "compute_infer": {"count": 2, "ns": 20}}]
    assert churn["memory_usage"] == [{"type": "cpu", "id": 0, "byte_size": 2_000}]
    assert b == {"name": "b", "version": "1", "inference_count": 3}
    assert add_statistics([STATISTICS]) == STATISTICS
