from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from service_kit.loop_metrics import LoopCounter, LoopGauge, LoopHistogram


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def shown(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_a_counter_shows_each_combination_of_labels(registry: CollectorRegistry) -> None:
    counter = LoopCounter("things_total", "Things.", ["kind"], registry=registry)
    counter.cell("a").value += 2
    counter.cell("b").value += 1
    counter.cell("a").value += 1
    assert shown(registry) == ['things_total{kind="a"} 3.0', 'things_total{kind="b"} 1.0']


def test_a_counter_without_labels_is_there_before_it_counts(registry: CollectorRegistry) -> None:
    LoopCounter("things_total", "Things.", registry=registry)
    assert shown(registry) == ["things_total 0.0"]


def test_a_gauge_goes_up_and_down(registry: CollectorRegistry) -> None:
    gauge = LoopGauge("level", "A level.", registry=registry)
    gauge.value += 5
    gauge.value -= 2
    assert shown(registry) == ["level 3.0"]


def test_a_histogram_counts_cumulatively_and_includes_its_bounds(registry: CollectorRegistry) -> None:
    histogram = LoopHistogram("seconds", "Seconds.", ["rpc"], buckets=(0.1, 1.0), registry=registry)
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.distribution("x").observe(value)
    assert shown(registry) == [
        'seconds_bucket{le="0.1",rpc="x"} 2.0',
        'seconds_bucket{le="1.0",rpc="x"} 3.0',
        'seconds_bucket{le="+Inf",rpc="x"} 4.0',
        'seconds_count{rpc="x"} 4.0',
        'seconds_sum{rpc="x"} 7.65',
    ]


def test_a_name_can_be_registered_once(registry: CollectorRegistry) -> None:
    LoopGauge("level", "A level.", registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        LoopGauge("level", "Another.", registry=registry)
