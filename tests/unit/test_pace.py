"""How long the engine waits until its next look."""

from datetime import timedelta

import pytest

from evergold.rollout.engine import Tick, pause_s
from evergold.rollout.lease import OLDEST_READ_S
from evergold.rollout.model import Action, Kind, Plan
from tests.support.moments import EPOCH
from tests.support.pools import host, look

OPENED = (Action(Kind.ALLOW_SESSIONS, "n", "its checks have passed"),)


def tick(hosts: int, done: tuple[Action, ...] = (), until_s: float | None = None) -> Tick:
    until = EPOCH + timedelta(seconds=until_s) if until_s is not None else None
    return Tick(EPOCH, look(*(host(f"h{number}") for number in range(hosts))), Plan(until=until), done)


def test_it_looks_once_a_minute() -> None:
    assert pause_s(tick(10)) == 60
    assert pause_s(tick(10, until_s=300)) == 60


def test_it_looks_earlier_where_time_alone_changes_something() -> None:
    assert pause_s(tick(10, until_s=25)) == 25
    assert pause_s(tick(10, until_s=1)) == 10


def test_it_looks_again_soon_where_a_host_was_opened_that_others_wait_for() -> None:
    assert pause_s(tick(10, OPENED)) == 10


def test_no_look_after_a_host_was_drained_can_be_older_than_that() -> None:
    drained = Action(Kind.DRAIN, "h1", "it is outdated")
    assert pause_s(tick(10, (*OPENED, drained))) == OLDEST_READ_S
    assert pause_s(tick(10, (drained,), until_s=20)) == OLDEST_READ_S


@pytest.mark.parametrize(("hosts", "seconds"), [(500, 10), (2_000, 24), (5_000, 60), (10_000, 60)])
def test_the_larger_the_pool_the_less_often_it_is_listed(hosts: int, seconds: float) -> None:
    assert pause_s(tick(hosts, OPENED)) == seconds
    assert pause_s(tick(hosts, until_s=1)) == seconds
