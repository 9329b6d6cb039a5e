"""What waiting does to a job: where it stands in its line, and when its patience ends."""

from collections.abc import Mapping

from sill.scheduler.carbon import Prices, cheapest_start_us
from sill.scheduler.entries import Entry, Rank
from sill.scheduler.ledger import Ledger
from sill.scheduler.machines import MILLI
from sill.scheduler.placement import Need
from sill.scheduler.prediction import Predictor
from sill.scheduler.types import Policy

STARVED_PRIORITY = 10**9
"""A job that waited for longer than `Policy.starved_s` comes before all priorities."""


def rank_of(policy: Policy, entry: Entry, now_us: int) -> Rank:
    """Where a job stands among those of its queue; its index `key` is worked out already."""
    job = entry.job
    is_starved = bool(policy.starved_s) and starves_us(policy, entry) <= now_us
    priority, key = (STARVED_PRIORITY, 0.0) if is_starved else (job.priority, entry.key)
    return (-priority, entry.front, key, job.submitted_us, entry.number)


def starves_us(policy: Policy, entry: Entry) -> int:
    """From when on it comes before all others."""
    return entry.waiting_us + round(policy.starved_s * 1e6)


def patient_us(policy: Policy, predictor: Predictor, entry: Entry) -> int:
    """Until when it may be overtaken."""
    own_s = entry.leaf.spec.patience_s
    patience_s = policy.patience_s if own_s is None else own_s
    if policy.patience_ratio and entry.need.workers == 1:
        patience_s = max(patience_s, policy.patience_ratio * predictor.total_s(entry.job))
    return entry.waiting_us + round(patience_s * 1e6)


def is_large(policy: Policy, ledger: Ledger, need: Need) -> bool:
    """True for a gang that needs most of a node, or several: small work finds room as others end."""
    if not policy.reserve_from or need.workers > 1:
        return True
    devices = ledger.devices.get(need.types[0]) if need.types else None
    return devices is not None and need.milli >= policy.reserve_from * MILLI * devices.most


def cheapest_us_of(prices: Mapping[str, Prices], predictor: Predictor, entry: Entry, now_us: int) -> int:
    """When a job that opted in should start, by prices known now; 0 for at once."""
    job = entry.job
    if job.start_by_us <= now_us or entry.attempt:
        return 0
    known = [prices.get(place, prices.get("")) for place in job.places or ("",)]
    runs_s, from_us = predictor.total_s(job), max(now_us, job.not_before_us)
    starts = [cheapest_start_us(each, from_us, job.start_by_us, runs_s) for each in known if each is not None]
    return min(starts, key=lambda start: start[1])[0] if starts else 0
