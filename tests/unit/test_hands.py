"""What other hands do to a pool: told once, when it is certain, and never where it was Evergold's own doing."""

from dataclasses import replace

from evergold import tags
from evergold.rollout.hands import Hands
from evergold.rollout.model import Host
from tests.support.moments import EPOCH
from tests.support.pools import host, look, new, old, retired, target


def told(*looks: tuple[Host, ...], **aim: object) -> tuple[str, ...]:
    hands = Hands()
    for hosts in looks:
        hands.look(look(*hosts), target(2, **aim), EPOCH)
    return hands.told


def test_a_host_that_is_gone_in_two_looks_is_told_once_with_the_time() -> None:
    both, one = (old("a"), old("b")), (old("a"),)
    assert told(both, one) == ()
    assert told(both, one, both, one) == ()
    assert told(both, one, one, one) == (f"{EPOCH:%H:%M} UTC: b is gone",)


def test_a_host_that_came_into_the_pool_is_told_and_one_of_ours_is_not() -> None:
    before = (old("a"),)
    theirs = (*before, host("x"))
    assert told(before, theirs, theirs) == (f"{EPOCH:%H:%M} UTC: x has come into the pool",)
    ours = (*before, new("n"))
    assert told(before, ours, ours) == ()


def test_what_evergold_removes_itself_is_nobody_elses_doing() -> None:
    failed = (old("a"), new("n", provisioning_state="Failed"))
    assert told(failed, (old("a"),), (old("a"),), spent_names=("n",)) == ()
    assert told((old("a"), retired("r")), (old("a"),), (old("a"),)) == ()
    assert told((old("a"), old("b")), (old("a"),), (old("a"),), vacant_names=("b",)) == ()


def test_a_host_made_anew_under_its_name_is_another_one() -> None:
    anew = replace(old("a"), vm_id="another", tags={tags.IMAGE_SET: "office"})
    assert told((old("a"),), (anew,), (anew,)) == (
        f"{EPOCH:%H:%M} UTC: a is gone",
        f"{EPOCH:%H:%M} UTC: a has come into the pool",
    )
