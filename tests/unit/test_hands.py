"""What other hands do to a pool: told once, when it is certain, and never where it was Evergold's own doing."""

from dataclasses import replace

from evergold import tags
from evergold.rollout.hands import Hands
from evergold.rollout.model import Host
from tests.support.moments import EPOCH
from tests.support.pools import REFRESH, host, look, new, old, retired, target


def told(*looks: tuple[Host, ...], exclusion_tag: str = "", **aim: object) -> tuple[str, ...]:
    hands = Hands(exclusion_tag)
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


def test_a_new_host_that_others_delete_is_missing_at_first_and_taken_when_a_second_look_lacks_it_too() -> None:
    hands, left = Hands(), old("a")
    both = look(left, new("n", provisioning_state="Deleting"))
    seen = []
    for each in (both, look(left), both, look(left), look(left), look(left)):
        hands.look(each, target(2), EPOCH)
        seen.append((hands.missing, [host.name for host in hands.taken]))
    assert seen == [((), []), (("n",), []), ((), []), (("n",), []), ((), ["n"]), ((), ["n"])]
    assert hands.told == (f"{EPOCH:%H:%M} UTC: n is gone",)


def test_neither_an_outdated_host_nor_one_that_failed_is_missing_or_taken() -> None:
    hands, aim = Hands(), target(2, spent_names=("n",))
    for each in (look(old("a"), old("b"), new("n")), look(old("a")), look(old("a"))):
        hands.look(each, aim, EPOCH)
        assert (hands.missing, hands.taken) == ((), ())
    assert hands.told == (f"{EPOCH:%H:%M} UTC: b is gone",)


def test_a_host_made_anew_under_its_name_is_another_one() -> None:
    anew = replace(old("a"), vm_id="another", tags={tags.IMAGE_SET: "office"})
    assert told((old("a"),), (anew,), (anew,)) == (
        f"{EPOCH:%H:%M} UTC: a is gone",
        f"{EPOCH:%H:%M} UTC: a has come into the pool",
    )


# Tags

AT = f"{EPOCH:%H:%M} UTC"


def tagged(name: str, **given: str) -> Host:
    """An outdated host with these tags beside Evergold's own."""
    return old(name, tagged=given)


def test_a_tag_that_others_set_is_told_once_when_two_looks_in_a_row_show_it() -> None:
    before, after = (tagged("a"), tagged("b")), (tagged("a", owner="Ada"), tagged("b"))
    assert told(before, after) == ()
    assert told(before, after, before, after) == ()
    assert told(before, after, after, after) == (f"{AT}: a has the tag owner: Ada",)


def test_a_tag_that_changes_or_goes_is_told_too() -> None:
    ada, bob, nobody = ((tagged("a", **given),) for given in ({"owner": "Ada"}, {"owner": "Bob"}, {}))
    assert told(ada, bob, bob, nobody, nobody) == (
        f"{AT}: a has the tag owner: Bob (before: Ada)",
        f"{AT}: a has lost the tag owner: Bob",
    )


def test_a_value_that_is_another_at_each_look_is_not_told() -> None:
    looks = ((tagged("a", heartbeat=str(number)),) for number in range(6))
    assert told(*looks) == ()


def test_what_is_there_when_a_run_begins_or_when_a_host_comes_is_no_news() -> None:
    first = (tagged("a", owner="Ada"),)
    both = (*first, new("n", tagged={"cost-centre": "42"}))
    assert told(first, both, both, both) == ()


def test_evergolds_own_tags_and_the_exclusion_tag_that_it_sets_are_not_others_doing() -> None:
    plain, ours = new("n"), new("n", tagged={tags.CHECKED_AT: "x", "leave-alone": REFRESH})
    theirs = new("n", tagged={"leave-alone": "a colleague"})
    assert told((plain,), (ours,), (ours,), (plain,), (plain,), exclusion_tag="Leave-Alone") == ()
    assert told((plain,), (theirs,), (theirs,), exclusion_tag="Leave-Alone") == (
        f"{AT}: n has the tag leave-alone: a colleague",
    )


def test_a_tag_is_the_same_tag_in_any_letter_case() -> None:
    before, after = (tagged("a", Owner="Ada"),), (tagged("a", owner="Ada"),)
    assert told(before, after, after) == ()


def test_one_tag_on_many_hosts_is_one_sentence() -> None:
    names = [f"h{number:02d}" for number in range(1, 13)]
    before = tuple(tagged(name) for name in names)
    alike = tuple(tagged(name, owner="Ada") for name in names)
    each_its_own = tuple(tagged(name, owner=f"of {name}") for name in names)
    assert told(before, alike, alike) == (f"{AT}: 12 hosts (h01, h02, h03 and 9 more) have the tag owner: Ada",)
    assert told(before, each_its_own, each_its_own) == (
        f"{AT}: 12 hosts (h01, h02, h03 and 9 more) have the tag owner, each with a value of its own",
    )


def test_a_tag_that_changes_again_and_again_is_told_a_few_times_and_no_more() -> None:
    looks = [(tagged("a", load=str(number // 2)),) for number in range(40)]
    assert len(told(*looks)) == 5
    assert told(*looks)[-1] == f"{AT}: a has the tag load: 5 (before: 4); no more is told of this tag"


def test_a_long_value_is_cut_short() -> None:
    before, after = (tagged("a"),), (tagged("a", note="x" * 256),)
    assert told(before, after, after) == (f"{AT}: a has the tag note: {'x' * 59}…",)


def test_hosts_that_another_tool_looks_after_are_told_at_the_first_look() -> None:
    marked = (
        tagged("a", includeInAutoReplace="True", AutoReplacePendingDrainTimestamp="2026-11-12T19:00:00Z"),
        tagged("b", IncludeInAutoReplace="true"),
        tagged("c", IncludeInAutoReplace="False"),
    )
    assert told(marked, marked, marked) == (
        f"{AT}: 2 hosts (a, b) have the tag IncludeInAutoReplace: AVD Session Host Replacer replaces such a host when it is old, or on an "
        "older image",
        f"{AT}: a has the tag AutoReplacePendingDrainTimestamp: AVD Session Host Replacer has drained such a host, and deletes it when "
        "nobody is on it, or its grace is over",
    )


def test_a_tag_by_which_another_tool_takes_a_host_is_told_with_what_it_means() -> None:
    before, after = (tagged("a"),), (tagged("a", IncludeInAutoReplace="true"),)
    assert told(before, after, after) == (
        f"{AT}: a has the tag IncludeInAutoReplace: true (AVD Session Host Replacer replaces such a host when it is old, or on an older "
        "image)",
    )
