"""What the gateway counts, in the Prometheus text format."""

from sill.gateway.router import Router


def exposition(router: Router) -> bytes:
    """The text."""
    lines = []
    for name, count in router.counts.items():
        lines += [f"# TYPE sill_gateway_{name}_total counter", f"sill_gateway_{name}_total {count}"]
    for name, value in (
        ("open", router.open),
        ("replicas", len(router.replicas)),
        ("retry_budget", round(router.retries.tokens, 1)),
        ("hedge_budget", round(router.hedges.tokens, 1)),
    ):
        lines += [f"# TYPE sill_gateway_{name} gauge", f"sill_gateway_{name} {value}"]
    refused, so_far = router.refused, 0
    lines.append("# TYPE sill_gateway_refused_seconds histogram")
    for bound_s, count in zip((*refused.bounds_s, "+Inf"), refused.counts, strict=True):
        so_far += count
        lines.append(f'sill_gateway_refused_seconds_bucket{{le="{bound_s}"}} {so_far}')
    lines += [f"sill_gateway_refused_seconds_sum {refused.sum_s:.6f}", f"sill_gateway_refused_seconds_count {so_far}"]
    for name, kind in (
        ("admitted", "gauge"),
        ("outstanding", "gauge"),
        ("latency_seconds", "gauge"),
        ("answers_total", "counter"),
        ("failures_total", "counter"),
        ("ejections_total", "counter"),
    ):
        lines.append(f"# TYPE sill_gateway_replica_{name} {kind}")
        for one in router.replicas:
            told = {
                "admitted": int(one.may_serve),
                "outstanding": one.outstanding,
                "latency_seconds": round(one.latency_s, 6),
                "answers_total": one.answers,
                "failures_total": one.failures,
                "ejections_total": one.ejections,
            }[name]
            lines.append(f'sill_gateway_replica_{name}{{replica="{one.name}"}} {told}')
    return "\n".join([*lines, ""]).encode()
