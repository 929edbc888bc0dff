"""Which instance a call goes to: policies, facts in and decision out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from extframe import Choice, Endpoint, LeastOutstanding, RoundRobin, SameZoneFirst


@dataclass
class Facts:
    endpoint: Endpoint
    outstanding: int = 0


def instances(*weights: int, zones: str = "") -> list[Facts]:
    names = zones or " " * len(weights)
    return [
        Facts(Endpoint(f"tcp://h:{port}", weight=weight, zone=zone.strip()))
        for port, (weight, zone) in enumerate(zip(weights, names, strict=True), 1)
    ]


def chosen(policy: Choice, among: list[Facts], turns: range = range(60)) -> Counter[str]:
    return Counter(policy.choose(among, turn).endpoint.address for turn in turns)


@given(weights=st.lists(st.integers(1, 40), min_size=1, max_size=6), first=st.integers(0, 10**6))
def test_round_robin_chooses_each_instance_as_often_as_its_weight_says(weights, first):
    turns = range(first, first + sum(weights))
    expected = {f"tcp://h:{port}": weight for port, weight in enumerate(weights, 1)}
    assert chosen(RoundRobin(), instances(*weights), turns) == expected


def test_round_robin_does_not_choose_a_heavy_instance_many_times_in_a_row():
    heavy, light = instances(8, 8), instances(8, 4)
    assert [RoundRobin().choose(heavy, turn).endpoint.address for turn in range(4)] == ["tcp://h:1", "tcp://h:2"] * 2
    order = [RoundRobin().choose(light, turn).endpoint.address for turn in range(12)]
    assert "tcp://h:1" * 3 not in "".join(order)


def test_least_outstanding_chooses_the_idlest_and_takes_turns_among_equals():
    among = instances(1, 1, 2)
    assert chosen(LeastOutstanding(), among) == {"tcp://h:1": 15, "tcp://h:2": 15, "tcp://h:3": 30}
    among[0].outstanding, among[1].outstanding, among[2].outstanding = 2, 1, 1
    assert set(chosen(LeastOutstanding(), among)) == {"tcp://h:3"}  # half a call for each unit of its weight


def test_the_hosts_own_zone_comes_first_as_long_as_an_instance_is_left_there():
    among = instances(1, 1, 1, zones="aab")
    assert set(chosen(SameZoneFirst("b"), among)) == {"tcp://h:3"}
    assert set(chosen(SameZoneFirst("b"), among[:2])) == {"tcp://h:1", "tcp://h:2"}
    among[0].outstanding = 1
    assert set(chosen(SameZoneFirst("a", LeastOutstanding()), among)) == {"tcp://h:2"}
