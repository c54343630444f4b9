"""The checks of a host: for each what passes, what is a warning, what fails, and that what could not be seen never passes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from evergold.azure import Azure
from evergold.azure.compute import ScriptResult
from evergold.azure.ids import image_version_id
from evergold.config.models import ImageSet
from evergold.images.manifest import Manifest, OperatingSystem
from evergold.images.refresh import Refresh
from evergold.validation.agent import AGENT, PLACE, check_agent, check_place
from evergold.validation.applications import (
    SMOKE,
    SOFTWARE,
    check_fslogix,
    check_smoke,
    check_software,
    judge_answer,
)
from evergold.validation.arriving import (
    AGENT_LOG,
    COLLECTION,
    DELAY,
    EVENT_TABLE,
    EVENTS,
    HEARTBEAT,
    PERF,
    PERF_TABLE,
    check_agent_log,
    check_collection,
    check_delay,
    check_heartbeat,
    check_table,
    rows_of,
)
from evergold.validation.checks import check_canary, check_new_host, check_serving_host
from evergold.validation.looking import Look, look_at_all
from evergold.validation.own import check_own
from evergold.validation.patched import BUILD, PATCHES, check_build, check_patches
from evergold.validation.queries import filled
from evergold.validation.sign_in import SIGN_IN, Tally, check_sign_in, judge_sign_in
from evergold.validation.subject import Subject
from evergold.validation.verdicts import Check
from simulator.kernel.faults import Fault
from simulator.machines import Machine
from simulator.scenario import load
from tasks.rings import bake
from tasks.rollout import RingError
from tests.support.moments import EPOCH
from tests.support.simulated import Simulated, simulated, small_image_set
from tests.support.tiny_azure import SECRET_VARIABLE, TinyAzure, refusal, with_azure

REPOSITORY = Path(__file__).resolve().parents[2]
HOST = "pil-001"
HALF_AN_HOUR = 1800
OFFICE = {"Microsoft 365 Apps for enterprise": "16.0.19328.20158", "Microsoft Teams": "26275.1008.4021.7710"}
WHOLE = Manifest(os=OperatingSystem(name="Windows 11", build="26200.9060"), software=OFFICE)
DENIED = Fault(path="/query", times=99, status=403, code="InsufficientAccessError", message="No.")

See = Callable[[Azure, ImageSet, Subject], Awaitable[Check]]


def subject(world: Simulated, **changes: Any) -> Subject:
    """The first host of the pool, in use."""
    return replace(Subject(world.image_set.rings[0].pools[0], HOST, version(world), False, WHOLE), **changes)


def version(world: Simulated, number: str = "1.0.0") -> str:
    return image_version_id(world.cloud.scenario.subscription_id, "rg-images", "gal_evergold", "office", number)


def machine(world: Simulated) -> Machine:
    return next(each for each in world.cloud.compute.machines() if each.name == HOST)


def patched(world: Simulated) -> None:
    for each in world.cloud.compute.machines():
        each.change(missing_patches=())


def seen(
    see: See,
    prepare: Callable[[Simulated], None] | None = None,
    image_set: ImageSet | None = None,
    asked: dict[str, Any] | None = None,
    **changes: Any,
) -> Check:
    """What one check says of a world half an hour after something in it was changed."""

    async def body(world: Simulated) -> Check:
        if prepare is not None:
            prepare(world)
        await world.azure.clock.sleep(HALF_AN_HOUR)
        looks = [Look("it", lambda: see(world.azure, world.image_set, subject(world, **(asked or {}))))]
        (found,) = await look_at_all(world.azure.clock, looks, 30)
        return found

    found = simulated(body, image_set, **changes)
    assert found.measured
    assert found.threshold
    assert bool(found.remedy) is (found.verdict != "pass"), "whatever is not fine says what to do"
    return found


def with_defect(name: str) -> dict[str, Any]:
    """A world whose image has a defect."""
    definition = load("small").definitions[0]
    bad = definition.versions[0].model_copy(update={"defects": [name]})
    return {"definitions": [definition.model_copy(update={"versions": [bad]})]}


# All of them


def test_a_healthy_patched_host_passes_every_check() -> None:
    async def body(world: Simulated) -> dict[str, str]:
        patched(world)
        await world.azure.clock.sleep(HALF_AN_HOUR)
        return {check.name: check.verdict for check in await check_canary(world.azure, world.image_set, subject(world))}

    everything = [
        AGENT,
        HEARTBEAT,
        AGENT_LOG,
        PATCHES,
        PLACE,
        BUILD,
        COLLECTION,
        DELAY,
        PERF,
        EVENTS,
        SOFTWARE,
        SIGN_IN,
    ]
    found = simulated(body)
    found.pop(SMOKE, None)
    assert found == dict.fromkeys(everything, "pass")


def test_no_run_command_is_left_on_a_host_that_was_checked() -> None:
    async def body(world: Simulated) -> None:
        patched(world)
        await check_canary(world.azure, world.image_set, subject(world))
        assert [await world.azure.compute.get_script_result("rg-avd-pilot", HOST, "manifest-1")] == [None]

    simulated(body, small_image_set(checks={"fslogix": True}))


def test_nothing_is_run_in_a_host_that_people_work_on() -> None:
    async def body(world: Simulated) -> None:
        await check_serving_host(world.azure, world.image_set, subject(world))
        assert not [path for method, path in world.wire.calls if method == "PUT"]

    simulated(body)


def test_the_checks_of_a_host_that_waits_for_days_say_the_same_every_day() -> None:
    async def body(world: Simulated) -> None:
        patched(world)
        await world.azure.clock.sleep(HALF_AN_HOUR)
        days = []
        for _ in range(3):
            found = await check_serving_host(world.azure, world.image_set, subject(world))
            days.append([(check.name, check.verdict, check.threshold, check.facts) for check in found])
            await world.azure.clock.sleep(86_400)
        assert days[0] == days[1] == days[2]

    simulated(body)


def test_a_check_that_takes_too_long_is_unknown_and_holds_up_no_other() -> None:
    async def body(world: Simulated) -> None:
        clock = world.azure.clock

        async def slow() -> Check:
            await clock.sleep(86_400)
            raise AssertionError("it was to be given up")

        started = clock.now()
        looks = [Look("slow", slow), Look("quick", lambda: check_agent(world.azure, world.image_set, subject(world)))]
        first, second = await look_at_all(clock, looks, 10)
        assert (first.verdict, second.verdict) == ("unknown", "pass")
        assert "within 10 minutes" in first.measured
        assert (clock.now() - started).total_seconds() == 2 * 600 + 60, "looked at once more, and then no more"

    simulated(body)


def test_what_could_not_be_seen_the_first_time_may_be_the_second() -> None:
    hiccup = Fault(path="/query", times=1, status=403, code="InsufficientAccessError", message="Not yet.")
    assert seen(check_heartbeat, faults=[hiccup]).verdict == "pass"


def test_where_nothing_may_be_read_nothing_passes() -> None:
    closed = Fault(path="/subscriptions/|/query", times=9999, status=403, code="AuthorizationFailed", message="No.")

    async def body(world: Simulated) -> dict[str, str]:
        found = await check_canary(world.azure, world.image_set, subject(world))
        assert all(check.remedy for check in found)
        return {check.name: check.verdict for check in found}

    own_too = {"own": [{"name": "mine", "remedy": "Ask Kim.", **SCRIPT}], "fslogix": True}
    found = simulated(body, small_image_set(checks=own_too), faults=[closed])
    assert len(found) >= 14
    assert set(found.values()) == {"unknown"}


# Agent


def test_an_agent_names_its_versions_and_how_many_health_checks_succeeded() -> None:
    found = seen(check_agent)
    assert found.verdict == "pass"
    assert re.search(r"(\d+) of \1 health checks succeeded", found.measured)
    assert "agent 1.0." in found.measured
    assert "stack " in found.measured


def test_an_agent_that_could_not_update_itself_is_a_warning() -> None:
    scripted = {"status": "Available", "lastHeartBeat": EPOCH.isoformat(), "updateState": "Failed"}
    found = answered(check_agent, "GET", f"/sessionHosts/{HOST}", {"name": f"hp-pilot/{HOST}", "properties": scripted})
    assert (found.verdict, "Failed" in found.measured) == ("warn", True)


def test_a_health_check_that_fails_fails_by_name() -> None:
    found = seen(check_agent, **with_defect("MonitoringAgentCheck"))
    assert (found.verdict, found.facts) == ("fail", ("MonitoringAgentCheck",))


def test_a_health_check_that_may_fail_does_no_harm_and_is_told() -> None:
    allowing = small_image_set(checks={"allowed_failing_health_checks": ["MonitoringAgentCheck"]})
    found = seen(check_agent, image_set=allowing, **with_defect("MonitoringAgentCheck"))
    assert (found.verdict, "MonitoringAgentCheck may fail" in found.measured) == ("pass", True)


def test_an_agent_that_cannot_be_read_is_unknown() -> None:
    denied = Fault(path="/sessionHosts/", times=99, status=403, code="AuthorizationFailed", message="No.")
    assert seen(check_agent, faults=[denied]).verdict == "unknown"


def test_a_host_that_is_off_passes_neither_as_an_agent_nor_by_its_heartbeat() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.compute.deallocate("rg-avd-pilot", HOST)
        await world.azure.clock.sleep(3600)
        found = {
            check.name: check
            for check in await check_new_host(world.azure, world.image_set, subject(world), updates_too=True)
        }
        assert (found[AGENT].verdict, found[HEARTBEAT].verdict) == ("fail", "fail")
        assert "last heard of" in found[AGENT].measured

    simulated(body)


# Pool, image, drain mode


async def place(azure: Azure, image_set: ImageSet, host: Subject) -> Check:
    return await check_place(azure, host)


def test_a_host_that_is_where_and_what_it_should_be_passes() -> None:
    found = seen(place)
    assert (found.verdict, found.measured) == ("pass", "In hp-pilot, from 1.0.0, drain mode off.")


def test_another_image_version_is_a_warning_and_a_fact() -> None:
    wanted = version_of_the_small_world("1.1.0")
    found = seen(place, asked={"version_id": wanted})
    assert found.verdict == "warn"
    assert "was made from 1.0.0, and 1.1.0 is what the pool is to have" in found.measured
    assert found.facts == (version_of_the_small_world("1.0.0").casefold(),)


def version_of_the_small_world(number: str) -> str:
    return image_version_id(load("small").subscription_id, "rg-images", "gal_evergold", "office", number)


def test_drain_mode_that_nobody_of_us_set_is_a_warning() -> None:
    def drained(world: Simulated) -> None:
        for host in world.cloud.desktop.hosts():
            host.allow_new_session = False

    found = seen(place, drained)
    assert (found.verdict, found.measured) == ("warn", f"{HOST} is in drain mode: no rollout of ours drained it.")


def test_a_canary_that_takes_sessions_already_is_a_warning() -> None:
    assert seen(place, asked={"closed": True}).measured == f"{HOST} takes new sessions already."


def test_a_host_without_a_registration_fails() -> None:
    def removed(world: Simulated) -> None:
        world.cloud.desktop.remove(next(host for host in world.cloud.desktop.hosts() if host.name == HOST))

    assert (seen(place, removed).verdict, seen(check_agent, removed).verdict) == ("fail", "fail")


def test_a_name_that_another_machine_has_taken_fails() -> None:
    def reinstalled(world: Simulated) -> None:
        machine(world).vm_id = "99999999-9999-4999-8999-999999999999"

    found = seen(place, reinstalled)
    assert (found.verdict, "belongs to another machine" in found.measured) == ("fail", True)


def test_a_host_that_tells_nothing_of_its_image_is_unknown() -> None:
    def by_hand(world: Simulated) -> None:
        machine(world).image_reference, machine(world).exact_version = {}, ""

    found = seen(place, by_hand)
    assert (found.verdict, found.measured) == ("unknown", f"Azure does not say what {HOST} was made from.")


def test_a_place_that_cannot_be_read_is_unknown() -> None:
    denied = Fault(path="/sessionHosts/", times=99, status=403, code="AuthorizationFailed", message="No.")
    assert seen(place, faults=[denied]).verdict == "unknown"


# Patched


def test_a_missing_security_update_fails_by_name() -> None:
    found = seen(check_patches)
    assert found.verdict == "fail"
    assert len(found.facts) == 1
    assert "KB5103388" in found.facts[0]


def test_a_recent_assessment_that_found_nothing_is_not_made_again_and_its_age_is_told() -> None:
    async def body(world: Simulated) -> None:
        patched(world)
        asked = (world.azure, world.image_set, subject(world))
        await check_patches(*asked)
        await world.azure.clock.sleep(1200)
        assert "as assessed 20 minutes ago" in (await check_patches(*asked)).measured
        assert world.wire.sent("POST", "/assessPatches") == 1

    simulated(body)


def test_an_assessment_that_azure_refuses_is_unknown() -> None:
    denied = Fault(path="/assessPatches", times=99, status=409, code="OperationNotAllowed", message="Not now.")
    assert seen(check_patches, faults=[denied]).verdict == "unknown"


@pytest.mark.parametrize(
    ("floor", "image", "verdict"),
    [
        ("26200.9060", WHOLE, "pass"),
        (None, WHOLE, "pass"),
        ("26200.9231", WHOLE, "fail"),
        (None, Manifest(os=OperatingSystem(name="Windows 11", build="26200.9231")), "fail"),
        (None, None, "warn"),
    ],
)
def test_a_windows_build_is_held_against_the_floor_and_the_image(
    floor: str | None, image: Manifest | None, verdict: str
) -> None:
    checks = {"minimum_os_build": floor} if floor else {}
    found = seen(check_build, image_set=small_image_set(checks=checks), asked={"manifest": image})
    assert (found.verdict, found.measured.startswith("26200.9060")) == (verdict, True)


def test_a_build_without_its_update_revision_is_a_warning() -> None:
    found = seen(check_build, lambda world: machine(world).change(os_build="26200"))
    assert (found.verdict, "no update revision" in found.measured) == ("warn", True)


def test_the_build_of_a_machine_that_is_off_is_unknown() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.compute.deallocate("rg-avd-pilot", HOST)
        assert (await check_build(world.azure, world.image_set, subject(world))).verdict == "unknown"

    simulated(body)


# Logs


async def counters(azure: Azure, image_set: ImageSet, host: Subject) -> Check:
    return await check_table(azure, host, PERF_TABLE)


async def events(azure: Azure, image_set: ImageSet, host: Subject) -> Check:
    return await check_table(azure, host, EVENT_TABLE)


async def collection(azure: Azure, image_set: ImageSet, host: Subject) -> Check:
    return await check_collection(azure, host)


def logs_late(minutes: float) -> dict[str, Any]:
    durations = load("small").durations.model_copy(update={"log_delay": (minutes * 60, minutes * 60 + 1)})
    return {"durations": durations}


def test_a_host_that_sends_no_logs_fails_where_it_must_and_is_a_warning_elsewhere() -> None:
    mute = with_defect("logs")
    verdicts = [seen(see, **mute).verdict for see in (check_heartbeat, collection, counters, events, check_agent_log)]
    assert verdicts == ["fail", "fail", "warn", "warn", "warn"]


def test_logs_that_arrive_late_are_a_warning_and_it_is_told_how_late() -> None:
    found = seen(check_delay, **logs_late(12))
    assert (found.verdict, found.measured) == (
        "warn",
        "Logs are late: 12 minutes as a rule, 12 minutes at most, in the last hour.",
    )


def test_logs_that_stay_away_for_longer_than_a_heartbeat_may_are_told_apart_from_none() -> None:
    late = logs_late(20)
    assert (seen(check_heartbeat, **late).verdict, seen(check_delay, **late).verdict) == ("fail", "warn")
    assert seen(check_delay, **with_defect("logs")).verdict == "unknown"


@pytest.mark.parametrize(
    "see", [check_heartbeat, check_delay, check_agent_log, counters, events, collection, check_agent]
)
def test_what_may_not_be_read_is_unknown(see: See) -> None:
    denied = [DENIED, Fault(path="/dataCollectionRuleAssociations|/sessionHosts/", times=99, status=403, code="No")]
    assert seen(see, faults=denied).verdict == "unknown"


def test_an_agent_that_reports_trouble_in_its_log_fails() -> None:
    found = seen(check_agent_log, **with_defect("DomainJoinedCheck"))
    assert (found.verdict, found.measured) == ("fail", f"{HOST} reported Unavailable.")


# Applications


def test_a_program_that_is_missing_or_older_fails_by_name_and_one_that_updated_itself_does_not() -> None:
    def changed(world: Simulated) -> None:
        machine(world).change(software={"Microsoft Teams": "1.0", "Edge": "200"})

    found = seen(check_software, changed)
    assert found.verdict == "fail"
    assert "Microsoft 365 Apps for enterprise is missing" in found.measured
    assert "Microsoft Teams 1.0 (not 26275.1008.4021.7710)" in found.measured
    newer = Manifest(os=WHOLE.os, software={"Microsoft Teams": "1.0"})
    assert "1 have updated themselves" in seen(check_software, asked={"manifest": newer}).measured


@pytest.mark.parametrize("manifest", [None, WHOLE.model_copy(update={"software": {}, "software_left_out": True})])
def test_software_that_nobody_listed_is_a_warning(manifest: Manifest | None) -> None:
    assert seen(check_software, asked={"manifest": manifest}).verdict == "warn"


def test_software_that_could_not_be_listed_is_unknown() -> None:
    assert seen(check_software, guest_failures={"manifest": "exit:1"}).verdict == "unknown"


def test_profiles_that_cannot_be_mounted_fail_with_the_scripts_reason() -> None:
    assert seen(check_fslogix).verdict == "pass"
    found = seen(check_fslogix, guest_failures={"check-fslogix": "exit:1"})
    assert (found.verdict, found.measured) == ("fail", "The step failed with 1.")


def test_programs_that_do_not_start_fail_with_the_scripts_reason_and_are_unknown_where_it_hangs() -> None:
    found = seen(check_smoke, guest_failures={"smoke": "exit:1"})
    assert (found.verdict, found.measured) == ("fail", "The step failed with 1.")
    assert seen(check_smoke, guest_failures={"smoke": "timeout"}).verdict == "unknown"


def test_without_programs_none_is_started() -> None:
    async def body(world: Simulated) -> None:
        names = {check.name for check in await check_canary(world.azure, world.image_set, subject(world))}
        assert SMOKE not in names

    simulated(body, small_image_set(checks={"programs": []}))


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (ScriptResult(0, '{"ok":true,"measured":"2 programs started."}', "", "Succeeded"), "pass"),
        (ScriptResult(0, '{"ok":true,"warning":"Teams took a minute."}', "", "Succeeded"), "warn"),
        (ScriptResult(1, '{"ok":false,"error":"Excel did not start."}', "", "Failed"), "fail"),
        (ScriptResult(0, "nothing that can be read", "", "Succeeded"), "unknown"),
        (ScriptResult(None, "", "", "TimedOut"), "unknown"),
    ],
)
def test_the_smoke_script_is_believed_only_where_it_answers(result: ScriptResult, verdict: str) -> None:
    assert judge_answer(result, SMOKE, "guest/smoke.ps1", "every program starts").verdict == verdict


# Sign-in


async def sign_in(azure: Azure, image_set: ImageSet, host: Subject) -> Check:
    return await check_sign_in(azure, image_set, host.pool, (host.host,))


@pytest.mark.parametrize(
    ("new", "old", "nowhere", "verdict"),
    [
        (Tally(), Tally(40, 1), Tally(), "pass"),
        (Tally(20, 2, "X"), Tally(40, 2), Tally(), "pass"),
        (Tally(4, 2, "X"), Tally(40, 0), Tally(), "warn"),
        (Tally(20, 0), Tally(40, 0), Tally(2, 2, "NoHost"), "warn"),
        (Tally(20, 5, "X"), Tally(40, 2), Tally(), "fail"),
        (Tally(20, 20, "X"), Tally(), Tally(), "fail"),
    ],
)
def test_sign_in_on_new_hosts_is_held_against_the_others(new: Tally, old: Tally, nowhere: Tally, verdict: str) -> None:
    assert judge_sign_in(new, old, nowhere, 5, 10).verdict == verdict


def test_sign_in_passes_where_people_get_in_and_counts_them() -> None:
    async def body(world: Simulated) -> Check:
        await world.azure.clock.sleep(18 * 3600)
        return await sign_in(world.azure, world.image_set, subject(world))

    found = simulated(body)
    assert found.verdict == "pass"
    assert re.search(r"0 of \d+ attempts failed", found.measured)


@pytest.mark.parametrize(("min_attempts", "verdict"), [(1, "fail"), (1000, "warn")])
def test_sign_in_that_fails_on_the_new_host_alone_is_seen(min_attempts: int, verdict: str) -> None:
    async def body(world: Simulated) -> Check:
        machine(world).change(defects=("sign-in",))
        await world.azure.clock.sleep(18 * 3600)
        return await sign_in(world.azure, world.image_set, subject(world))

    found = simulated(body, small_image_set(checks={"sign_in_min_attempts": min_attempts}))
    assert found.verdict == verdict
    assert "ConnectionFailedUserSIDInformationMismatch" in found.measured


@pytest.mark.parametrize("broken", [False, True])
def test_a_ring_whose_people_do_not_get_in_any_more_is_the_last_one(broken: bool) -> None:
    async def body(world: Simulated) -> None:
        refresh = Refresh("office-1", "1.0.0", "a:b:c:1", "office")
        for each in world.cloud.compute.machines() if broken else ():
            each.change(defects=("sign-in",))
        await bake.fn(world.azure, world.image_set, refresh, world.image_set.rings[0])

    expected: Any = nullcontext()
    if broken:
        expected = pytest.raises(RingError, match=r"sign-in to hp-pilot is fail.*The next ring was not begun")
    with expected:
        simulated(body, small_image_set(checks={"sign_in_min_attempts": 1}))


def test_sign_ins_that_may_not_be_read_are_unknown() -> None:
    assert seen(sign_in, faults=[DENIED]).verdict == "unknown"


# An image set's own checks


def own(**given: Any) -> ImageSet:
    return small_image_set(checks={"own": [{"name": "mine", "remedy": "Ask Kim.", **given}]})


async def first_own(azure: Azure, image_set: ImageSet, host: Subject) -> Check:
    return await check_own(azure, image_set, host, image_set.checks.own[0])


SCRIPT = {"kind": "script", "script": "guest/check-fslogix.ps1"}
QUERY = {"kind": "query", "query": "evergold/validation/queries/heartbeat.kql"}


@pytest.mark.parametrize(
    ("given", "failures", "verdict"),
    [
        (SCRIPT, {}, "pass"),
        (SCRIPT, {"check-fslogix": "exit:3"}, "fail"),
        ({**SCRIPT, "otherwise": "warn"}, {"check-fslogix": "exit:3"}, "warn"),
        ({**SCRIPT, "timeout_minutes": 2}, {"check-fslogix": "timeout"}, "unknown"),
        ({**QUERY, "passes_with": "rows"}, {}, "pass"),
        (QUERY, {}, "fail"),
        ({**QUERY, "otherwise": "warn"}, {}, "warn"),
    ],
)
def test_a_check_of_ones_own(given: dict[str, Any], failures: dict[str, str], verdict: str) -> None:
    found = seen(first_own, image_set=own(**given), guest_failures=failures)
    assert (found.name, found.verdict) == ("mine", verdict)
    assert found.remedy in ("", "Ask Kim.")


def test_a_query_of_ones_own_that_azure_refuses_is_unknown() -> None:
    assert seen(first_own, image_set=own(**QUERY), faults=[DENIED]).verdict == "unknown"


def test_the_query_in_the_docs_runs_and_finds_no_crash_on_a_healthy_host() -> None:
    text = re.findall(r"```kql\n(.*?)```", (REPOSITORY / "docs/checks.md").read_text(), re.DOTALL)[0]

    async def body(world: Simulated) -> None:
        await world.azure.clock.sleep(HALF_AN_HOUR)
        hour = timedelta(hours=1)
        kql = filled(text, "docs/checks.md", {"machine": machine(world).id, "within": hour})
        assert await rows_of(world.azure, kql, hour, "try the docs") == []

    simulated(body)


# Against scripted answers: what the simulated Azure does not do

TABLE = {"name": "PrimaryResult", "columns": [{"name": "LastSeen", "type": "datetime"}], "rows": []}
PARTIAL = {"tables": [TABLE], "error": {"code": "PartialError", "message": "a shard did not answer"}}


def answered(see: See, method: str, path_end: str, answer: Any) -> Check:
    """What a check says of an Azure that answers one thing as told."""

    async def body(azure: Azure, tiny: TinyAzure) -> Check:
        tiny.on(method, path_end, answer)
        image_set = small_image_set()
        return await see(azure, image_set, Subject(image_set.rings[0].pools[0], HOST))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SECRET_VARIABLE, "s3cret")
        return with_azure(body)


@pytest.mark.parametrize("see", [check_heartbeat, check_delay, check_agent_log, counters, events, sign_in])
def test_an_answer_in_part_is_unknown(see: See) -> None:
    found = answered(see, "POST", "/query", PARTIAL)
    assert (found.verdict, "a shard did not answer" in found.measured) == ("unknown", True)


def test_a_workspace_that_nobody_sends_agent_health_to_is_a_warning() -> None:
    words = "Failed to resolve table or column expression named 'WVDAgentHealthStatus'"
    found = answered(check_agent_log, "POST", "/query", refusal(400, "BadArgumentError", words))
    assert (found.verdict, found.name) == ("warn", AGENT_LOG)


@pytest.mark.parametrize("status", ["Failed", "InProgress", "Unknown"])
def test_an_assessment_that_did_not_succeed_is_unknown(status: str) -> None:
    found = answered(check_patches, "POST", "/assessPatches", {"status": status, "rebootPending": False})
    assert found.verdict == "unknown"
