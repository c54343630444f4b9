"""Building an image against the simulated Azure: the straight path, every way back into it, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from evergold import tags
from evergold.azure import AzureFailure
from evergold.images import build, publish
from evergold.images.catalogue import changes
from evergold.images.guest import StepFailure
from evergold.images.manifest import Manifest, OperatingSystem, from_tags
from evergold.images.publish import Candidate, Decision, PromotionRefused
from evergold.images.refresh import begin_refresh, current_refresh, definition_of, end_refresh
from simulator.scenario import load
from tests.support.builds import STEPS, begun, left_of_builds, versions, whole_build
from tests.support.simulated import Killed, Simulated, customised, simulated, small_image_set

DIGEST = "d" * 64
# A death after each write of a long build: every seventh of them here, all of them with EVERGOLD_SOAK (make soak).
EVERY_WRITE = 7
OCTOBER = {
    "kind": "marketplace",
    "publisher": "microsoftwindowsdesktop",
    "offer": "office-365",
    "sku": "win11-25h2-avd-m365",
    "version": "26200.9060.261013",
}


# The straight path


def test_a_build_ends_as_a_candidate_that_nobody_gets_and_leaves_nothing_behind() -> None:
    async def body(world: Simulated) -> None:
        candidate = await whole_build(world)
        assert (candidate.version, candidate.state, candidate.excluded) == ("1.1.0", "candidate", True)
        assert candidate.manifest is not None
        assert candidate.manifest.os.build == "26200.9231"
        assert left_of_builds(world) == []
        assert await versions(world) == ["1.0.0", "1.1.0"]

    simulated(body)


def test_doing_every_step_twice_is_doing_it_once() -> None:
    async def body(world: Simulated) -> None:
        refresh = await begun(world)
        for ensure in (*STEPS, publish.ensure_version_published):
            await ensure(world.azure, world.image_set, refresh)
            writes = [call for call in world.wire.calls if call[0] != "GET"]
            await ensure(world.azure, world.image_set, refresh)
            assert [call for call in world.wire.calls if call[0] != "GET"] == writes, ensure.__name__

    simulated(body)


def test_a_step_that_asks_for_a_restart_gets_it_once() -> None:
    async def body(world: Simulated) -> None:
        refresh = await begun(world)
        for _ in range(2):
            await build.ensure_build_vm(world.azure, world.image_set, refresh)
            await customised(world.azure, world.image_set, refresh)
        assert world.wire.sent("POST", "/restart") == 1

    step = {"name": "apps", "script": "guest/customise/install-apps.ps1", "reboot_after": True}
    simulated(body, small_image_set(customise=[step]))


def test_a_gallery_version_can_be_the_source_and_is_resolved_once() -> None:
    source = {
        "kind": "gallery_version",
        "resource_group": "rg-images",
        "gallery": "gal_evergold",
        "image_definition": "office",
    }

    async def body(world: Simulated) -> None:
        refresh = await begun(world)
        assert refresh.source.endswith("/images/office/versions/1.0.0")
        assert (await whole_build(world)).version == "1.1.0"

    simulated(body, small_image_set(source=source))


# The anchor


def test_whoever_begins_while_a_refresh_is_unfinished_gets_that_one() -> None:
    async def body(world: Simulated) -> None:
        first = await begun(world)
        await world.azure.clock.sleep(7200)
        second = await begun(world)
        assert (first.id, first.version, first.resumed) == ("office-20261112-1630", "1.1.0", False)
        assert second == replace(first, resumed=True)
        assert first.source == "microsoftwindowsdesktop:office-365:win11-25h2-avd-m365:26200.9231.261110"

    simulated(body)


def test_the_end_of_a_refresh_makes_room_for_the_next_and_is_not_the_end_of_another() -> None:
    async def body(world: Simulated) -> None:
        first = await begun(world)
        await end_refresh(world.azure, world.image_set, replace(first, id="office-20200101-0000"))
        assert await current_refresh(world.azure, world.image_set) is not None
        await end_refresh(world.azure, world.image_set, first)
        assert await current_refresh(world.azure, world.image_set) is None
        definition = await world.azure.galleries.get_definition(definition_of(world.image_set))
        assert definition is not None
        assert [name for name in definition.tags or {} if name.startswith("evergold-")] == []

    simulated(body)


# Dying anywhere


@pytest.mark.parametrize("offset", range(4))
def test_a_build_that_dies_after_any_of_its_writes_comes_to_the_same_end(offset: int) -> None:
    async def body(world: Simulated, last_write: int) -> bool:
        world.wire.dies_after_writes = last_write
        try:
            await whole_build(world)
        except Killed:
            await whole_build(world)
        died = world.wire.dies_after_writes is None
        assert await versions(world) == ["1.0.0", "1.1.0"]
        assert left_of_builds(world) == []
        assert world.wire.sent("PUT", "/versions/1.1.0") == 1
        assert world.wire.sent("PUT", "/runCommands/customise-apps") == 1
        return died

    last_write = 1 + offset
    while simulated(lambda world, n=last_write: body(world, n)):  # type: ignore[misc]
        last_write += 4
    assert last_write > 15, "a build makes more writes than that"


@pytest.mark.parametrize("first", range(0, EVERY_WRITE, 1 if os.environ.get("EVERGOLD_SOAK") else EVERY_WRITE))
def test_a_build_with_every_kind_of_step_dies_anywhere_and_does_each_step_once(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LICENCE_KEY", "s3cret-licence")

    async def body(world: Simulated, last_write: int) -> bool:
        world.wire.dies_after_writes = last_write
        try:
            await whole_build(world)
        except Killed:
            await whole_build(world)
        died = world.wire.dies_after_writes is None
        assert await versions(world) == ["1.0.0", "1.1.0"]
        assert left_of_builds(world) == []
        for step in ("apps", "menu"):
            assert world.wire.sent("PUT", f"/runCommands/customise-{step}") == 1
        assert world.wire.sent("POST", "/installPatches") == 1
        assert not any("s3cret-licence" in sent for sent in world.wire.written if "protectedParameters" not in sent)
        return died

    steps = (
        {"name": "updates", "kind": "windows_update"},
        {"name": "apps", "script": "guest/customise/install-apps.ps1", "secrets": {"LicenceKey": "LICENCE_KEY"}},
        {"name": "menu", "kind": "files", "files": [{"source": "Makefile", "destination": "C:\\Makefile"}]},
    )
    source = {**OCTOBER, "version": "26200.9060.261013"}
    last_write = 1 + first
    while simulated(lambda world, n=last_write: body(world, n), small_image_set(customise=steps, source=source)):  # type: ignore[misc]
        last_write += EVERY_WRITE
    assert last_write > 20, "such a build makes more writes than that"


# What goes wrong inside the machine


def test_a_failed_sysprep_brings_back_its_log_and_names_the_cause_and_is_tried_again() -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(StepFailure) as raised:
            await whole_build(world)
        assert raised.value.step == "sysprep"
        assert "was installed for one user only" in raised.value.problem
        assert "not provisioned for all users" in raised.value.log
        assert len(left_of_builds(world)) == 3, "the machine stays, to be looked at"
        world.cloud.scenario.guest_failures.clear()
        assert (await whole_build(world)).version == "1.1.0"
        assert world.wire.sent("PUT", "/runCommands/customise-apps") == 1

    simulated(body, guest_failures={"sysprep": "appx"})


def test_a_customise_script_that_exits_otherwise_than_with_0_stops_the_build_there() -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(StepFailure) as raised:
            await whole_build(world)
        assert (raised.value.step, raised.value.problem) == ("customise-apps", "The step failed with 1603.")
        assert world.wire.sent("PUT", "/runCommands/prepare") == 0

    simulated(body, guest_failures={"install-apps": "exit:1603"})


def test_a_script_that_never_ends_is_stopped_in_its_time() -> None:
    async def body(world: Simulated) -> None:
        before = world.azure.clock.now()
        with pytest.raises(StepFailure, match="not done in the time it was given"):
            await whole_build(world)
        assert (world.azure.clock.now() - before).total_seconds() < 90 * 60

    simulated(body, guest_failures={"install-apps": "timeout"})


def test_nothing_is_generalised_or_published_without_the_proof() -> None:
    async def body(world: Simulated) -> None:
        refresh = await begun(world)
        await build.ensure_build_vm(world.azure, world.image_set, refresh)
        for ensure in (build.ensure_deallocated, build.ensure_generalized, publish.ensure_version_published):
            with pytest.raises(StepFailure, match="not proven"):
                await ensure(world.azure, world.image_set, refresh)
        assert world.wire.sent("POST", "/deallocate") == world.wire.sent("POST", "/generalize") == 0
        assert await versions(world) == ["1.0.0"]

    simulated(body)


def test_the_password_that_sysprep_runs_under_stands_in_protected_fields_only_and_is_another_each_time() -> None:
    async def body(world: Simulated) -> None:
        refresh = await begun(world)
        for ensure in STEPS[: STEPS.index(build.ensure_sysprepped) + 1]:
            await ensure(world.azure, world.image_set, refresh)
        passwords, rest = set(), ""
        for body in filter(None, world.wire.written):
            properties = (request := json.loads(body)).get("properties", {})
            passwords.add(properties.get("osProfile", {}).pop("adminPassword", None))
            passwords.add(properties.pop("runAsPassword", None))
            passwords |= {parameter["value"] for parameter in properties.pop("protectedParameters", None) or []}
            rest += json.dumps(request)
        rest += json.dumps(list(world.cloud.journal.latest), default=str)
        secrets = passwords - {None}
        assert len(secrets) == 2, "one that the machine was made with, one for sysprep"
        assert [secret for secret in secrets if secret in rest] == []

    simulated(body)


# What is not ours


def test_a_machine_of_that_name_that_is_not_ours_is_left_alone() -> None:
    async def body(world: Simulated) -> None:
        refresh = await begun(world)
        await build.ensure_build_vm(world.azure, world.image_set, refresh)
        await world.azure.compute.update_vm_tags("rg-images-build", refresh.vm_name, {tags.REFRESH: "another"})
        for ensure in (*STEPS[:3], build.ensure_build_cleaned):
            with pytest.raises(StepFailure, match="belongs to another"):
                await ensure(world.azure, world.image_set, refresh)
        assert world.wire.sent("DELETE") == 0

    simulated(body)


def test_a_version_of_that_number_that_is_not_ours_is_left_alone() -> None:
    async def body(world: Simulated) -> None:
        refresh = replace(await begun(world), version="1.0.0")
        for ensure in (publish.find_candidate, publish.ensure_version_published, publish.ensure_rejected):
            with pytest.raises(AzureFailure, match="VersionTaken"):
                await ensure(world.azure, world.image_set, refresh)

    simulated(body)


# Deciding


def decision(world: Simulated, *, approved: bool = True, digest: str = DIGEST) -> Decision:
    return Decision(approved, "Ada", world.azure.clock.now(), digest, "looks good")


def test_only_an_approval_of_this_very_evidence_promotes() -> None:
    async def body(world: Simulated) -> None:
        await whole_build(world)
        refresh = await begun(world)
        with pytest.raises(PromotionRefused, match="nobody has decided"):
            await publish.ensure_promoted(world.azure, world.image_set, refresh, DIGEST)
        noted = await publish.ensure_decided(world.azure, world.image_set, refresh, decision(world))
        assert (noted.state, noted.excluded) == ("approved", True)
        with pytest.raises(PromotionRefused, match="Ada approved evidence dddddddddddd"):
            await publish.ensure_promoted(world.azure, world.image_set, refresh, "e" * 64)
        promoted = await publish.ensure_promoted(world.azure, world.image_set, refresh, DIGEST)
        assert (promoted.state, promoted.excluded) == ("promoted", False)
        assert promoted.manifest is not None

    simulated(body)


def test_the_first_decision_about_the_same_evidence_stands() -> None:
    async def body(world: Simulated) -> None:
        await whole_build(world)
        refresh = await begun(world)
        await publish.ensure_decided(world.azure, world.image_set, refresh, decision(world))
        again = await publish.ensure_decided(
            world.azure, world.image_set, refresh, replace(decision(world, approved=False), by="Eve")
        )
        assert again.decision is not None
        assert (again.decision.approved, again.decision.by, again.decision.digest) == (True, "Ada", DIGEST)

    simulated(body)


def test_a_rejected_version_stays_excluded_and_cannot_be_promoted() -> None:
    async def body(world: Simulated) -> None:
        await whole_build(world)
        refresh = await begun(world)
        await publish.ensure_decided(world.azure, world.image_set, refresh, decision(world, approved=False))
        rejected = await publish.ensure_rejected(world.azure, world.image_set, refresh)
        assert (rejected.state, rejected.excluded) == ("rejected", True)
        with pytest.raises(PromotionRefused):
            await publish.ensure_promoted(world.azure, world.image_set, refresh, DIGEST)

    simulated(body)


def test_the_version_before_is_the_one_that_everyone_gets_now() -> None:
    async def body(world: Simulated) -> None:
        await whole_build(world)
        previous = await publish.find_previous(world.azure, world.image_set, await begun(world))
        assert previous is not None
        assert (previous.version, previous.state, previous.manifest) == ("1.0.0", "promoted", None)

    simulated(body)


def test_all_of_a_decision_stands_on_the_version_and_is_read_back() -> None:
    async def body(world: Simulated) -> None:
        await whole_build(world)
        later = world.azure.clock.now().replace(microsecond=0) + timedelta(days=2)
        made = replace(
            decision(world), not_before=later, release_method="opportunistic", given_from="evergold approve on ws-17"
        )
        noted = await publish.ensure_decided(world.azure, world.image_set, await begun(world), made)
        assert noted.decision is not None
        assert (noted.decision.not_before, noted.decision.release_method) == (later, "opportunistic")
        assert noted.decision.given_from == "evergold approve on ws-17"

    simulated(body)


def test_a_later_decision_leaves_nothing_of_the_one_before() -> None:
    async def body(world: Simulated) -> None:
        await whole_build(world)
        refresh = await begun(world)
        for_later = replace(decision(world), not_before=world.azure.clock.now() + timedelta(days=2))
        await publish.ensure_decided(world.azure, world.image_set, refresh, for_later)
        noted = await publish.ensure_decided(world.azure, world.image_set, refresh, decision(world, digest="e" * 64))
        assert noted.decision is not None
        assert noted.decision.not_before is None

    simulated(body)


def test_who_asked_for_a_refresh_stands_on_what_it_makes_whoever_goes_on_with_it() -> None:
    async def body(world: Simulated) -> None:
        now = world.azure.clock.now()
        await begin_refresh(world.azure, world.image_set, now, "Grace")
        gone_on = await begin_refresh(world.azure, world.image_set, now, "Ada")
        assert (gone_on.started_by, gone_on.resumed) == ("Grace", True)
        candidate = await whole_build(world)
        assert candidate.tags[tags.STARTED_BY] == "Grace"

    simulated(body)


def test_the_demos_last_version_says_what_it_holds_as_a_refresh_would_have_noted_it() -> None:
    given = next(v for v in load("demo").definitions[0].versions if v.tags)
    noted = from_tags(given.tags)
    assert noted is not None
    assert (noted.os.build, list(noted.hotfixes), dict(noted.software)) == (
        given.os_build,
        given.hotfixes,
        given.software,
    )


async def promoted(world: Simulated) -> Candidate:
    return await publish.ensure_promoted(world.azure, world.image_set, await begun(world), DIGEST)


async def promoted_by_hand(world: Simulated) -> Candidate:
    return await publish.ensure_promoted_by_hand(world.azure, world.image_set, "1.1.0", "Grace", "it is urgent")


async def rejected(world: Simulated) -> Candidate:
    return await publish.ensure_rejected(world.azure, world.image_set, await begun(world))


@pytest.mark.parametrize(
    ("fate", "state", "excluded"),
    [(promoted, "promoted", False), (promoted_by_hand, "promoted", False), (rejected, "rejected", True)],
)
def test_what_becomes_of_a_version_is_one_write_so_that_a_death_leaves_all_of_it_or_nothing(
    fate: Callable[[Simulated], Awaitable[Candidate]], state: str, excluded: bool
) -> None:
    async def body(world: Simulated) -> None:
        await whole_build(world)
        await publish.ensure_decided(world.azure, world.image_set, await begun(world), decision(world))
        before = len(world.wire.written)
        world.wire.dies_after_writes = 1
        with pytest.raises(Killed):
            await fate(world)
        left = await publish.find_version(world.azure, world.image_set, "1.1.0")
        assert left is not None
        assert (left.state, left.excluded) == (state, excluded)
        ended = await fate(world)
        assert (ended.state, ended.excluded, ended.decision) == (state, excluded, left.decision)
        assert len(world.wire.written) - before <= 2
        assert await versions(world) == ["1.0.0", "1.1.0"]

    simulated(body)


def test_by_hand_only_an_approved_version_is_promoted_and_it_says_who_did_and_why() -> None:
    async def body(world: Simulated) -> None:
        await whole_build(world)
        by_hand = (world.azure, world.image_set, "1.1.0", "Grace", "the pilot is enough")
        with pytest.raises(PromotionRefused, match="is candidate, and only an approved version"):
            await publish.ensure_promoted_by_hand(*by_hand)
        await publish.ensure_decided(world.azure, world.image_set, await begun(world), decision(world))
        promoted = await publish.ensure_promoted_by_hand(*by_hand)
        assert (promoted.state, promoted.excluded) == ("promoted", False)
        assert promoted.tags[tags.PROMOTED_BY].endswith("|Grace|the pilot is enough")
        assert promoted == await publish.ensure_promoted_by_hand(*by_hand)

    simulated(body)


def test_a_number_given_by_hand_is_used_and_one_that_cannot_be_had_changes_nothing() -> None:
    async def body(world: Simulated) -> None:
        now = world.azure.clock.now()
        with pytest.raises(AzureFailure, match=r"not above 1\.0\.0"):
            await begin_refresh(world.azure, world.image_set, now, version="0.9.0")
        assert await current_refresh(world.azure, world.image_set) is None
        first = await begin_refresh(world.azure, world.image_set, now, version="7.0.0", notes="quarter end")
        assert first.version == "7.0.0"
        with pytest.raises(AzureFailure, match=r"is unfinished, and makes version 7\.0\.0"):
            await begin_refresh(world.azure, world.image_set, now, version="8.0.0")
        candidate = await whole_build(world)
        assert (candidate.version, candidate.tags[tags.NOTES]) == ("7.0.0", "November")

    simulated(body)


def test_a_calendar_number_is_the_day() -> None:
    async def body(world: Simulated) -> None:
        assert (await begun(world)).version == "2026.1112.0"

    simulated(body, small_image_set(version={"scheme": "calendar"}))


def test_what_is_new_is_told_with_what_was_removed_first() -> None:
    def with_software(version: str, build: str, software: dict[str, str]) -> Candidate:
        what = Manifest(os=OperatingSystem(name="Windows 11", build=build), hotfixes=("KB1",), software=software)
        return Candidate(version, "", "", "promoted", False, what, None)

    old = with_software("1.0.0", "26200.1", {"Teams": "1", "Reader": "5"})
    new = with_software("1.1.0", "26200.2", {"Teams": "2"})
    assert [(row["change"], row["what"]) for row in changes(old, new)] == [
        ("REMOVED", "Reader"),
        ("changed", "Windows build"),
        ("changed", "Teams"),
    ]
    assert changes(None, new)[0]["what"] == "manifest of no version before it"
    assert changes(new, new)[0]["change"] == "none"
