"""The simulation behind docs/scale.md: laws that hold whatever the numbers."""

from __future__ import annotations

from benchmarks.scale.simulation import Fleet, World, percentile, simulate

CALM = World(areas=200, days=5.0, provider_outages_per_month=0.01)
STEADY = Fleet(detectors=2, service_s=3.0, mtbf_h=1e9)


def test_every_pass_is_worked_off_and_a_seed_repeats_it() -> None:
    first, again = simulate(CALM, STEADY, seed=3), simulate(CALM, STEADY, seed=3)
    assert len(first.own) == first.passes > 0
    assert first == again


def test_nothing_is_faster_than_its_work_and_a_calm_fleet_waits_for_polls_alone() -> None:
    idle = simulate(World(areas=5, days=50.0, provider_outages_per_month=0.01), STEADY)
    assert min(idle.own) > 0.0
    assert percentile(idle.own, 0.95) < STEADY.poll_s + 200.0
    assert percentile(idle.own, 0.5) > STEADY.poll_s / 4


def test_failures_and_too_few_detectors_cost_time_and_no_pass() -> None:
    shaky = simulate(CALM, Fleet(detectors=2, service_s=3.0, mtbf_h=0.5))
    assert shaky.failures > 10
    assert len(shaky.own) == shaky.passes
    few = simulate(CALM, Fleet(detectors=1, service_s=60.0, mtbf_h=1e9))
    many = simulate(CALM, Fleet(detectors=6, service_s=60.0, mtbf_h=1e9))
    assert percentile(many.own, 0.95) < percentile(few.own, 0.95)


def test_a_provider_that_is_down_holds_passes_up() -> None:
    down = World(areas=200, days=5.0, provider_outages_per_month=60.0, provider_outage_h=6.0)
    assert percentile(simulate(down, STEADY).own, 0.95) > percentile(simulate(CALM, STEADY).own, 0.95)
