"""What is done to a build machine, step by step: scripts, Windows updates, and what a person does."""

import hashlib
import json
from typing import Any

import pytest

from evergold import tags
from evergold.config.load import script_file
from evergold.config.models import ImageSet, ManualStep, ScriptStep, WindowsUpdateStep
from evergold.images import build, customise
from evergold.images.guest import StepFailure
from evergold.images.refresh import Refresh, begin_refresh
from evergold.validation.verdicts import judge_steps_by_hand
from tests.support.simulated import Killed, Simulated, customised, simulated, small_image_set

SCRIPT = "guest/customise/install-apps.ps1"
OCTOBER = {
    "kind": "marketplace",
    "publisher": "microsoftwindowsdesktop",
    "offer": "office-365",
    "sku": "win11-25h2-avd-m365",
    "version": "26200.9060.261013",
}
UPDATES = {"name": "updates", "kind": "windows_update"}


def with_steps(*steps: dict[str, Any], **changes: Any) -> ImageSet:
    return small_image_set(customise=steps, **changes)


async def machine_of(world: Simulated) -> Refresh:
    """A refresh whose build machine runs."""
    refresh = await begin_refresh(world.azure, world.image_set, world.azure.clock.now())
    await build.ensure_build_vm(world.azure, world.image_set, refresh)
    return refresh


async def tags_of(world: Simulated, refresh: Refresh) -> dict[str, str]:
    return dict((await build.own_vm(world.azure, world.image_set, refresh)).tags or {})


# Scripts


def test_a_step_that_does_not_say_its_kind_is_a_script() -> None:
    (step,) = with_steps({"name": "apps", "script": SCRIPT}).customise
    assert isinstance(step, ScriptStep)


def test_another_exit_code_is_success_where_the_image_set_says_so_and_3010_restarts_the_machine() -> None:
    async def body(world: Simulated) -> None:
        refresh = await machine_of(world)
        await customised(world.azure, world.image_set, refresh)
        assert world.wire.sent("POST", "/restart") == 1
        assert world.wire.sent("PUT", "/runCommands/customise-apps") == 1

    step = {"name": "apps", "script": SCRIPT, "expected_exit_codes": [0, 3010]}
    simulated(body, with_steps(step), guest_failures={"install-apps": "exit:3010"})


def test_the_same_exit_code_is_a_failure_where_it_does_not() -> None:
    async def body(world: Simulated) -> None:
        refresh = await machine_of(world)
        with pytest.raises(StepFailure, match="failed with 3010"):
            await customised(world.azure, world.image_set, refresh)

    simulated(body, with_steps({"name": "apps", "script": SCRIPT}), guest_failures={"install-apps": "exit:3010"})


def test_a_secret_reaches_the_script_and_stands_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LICENCE_KEY", "s3cret-licence")

    async def body(world: Simulated) -> None:
        refresh = await machine_of(world)
        await customised(world.azure, world.image_set, refresh)
        sent = next(r for r in world.cloud.journal.latest if r["method"] == "PUT" and "customise-apps" in r["url"])
        assert "LicenceKey" in json.dumps(sent, default=str)
        assert "s3cret-licence" not in json.dumps(list(world.cloud.journal.latest), default=str)
        assert "s3cret-licence" not in str(await tags_of(world, refresh))

    step = {"name": "apps", "script": SCRIPT, "secrets": {"LicenceKey": "LICENCE_KEY"}}
    simulated(body, with_steps(step))
    assert "s3cret-licence" not in caplog.text


def test_a_secret_whose_variable_is_not_set_is_missed_before_the_first_write(monkeypatch: pytest.MonkeyPatch) -> None:
    step = {"name": "apps", "script": SCRIPT, "secrets": {"LicenceKey": "LICENCE_KEY"}}
    monkeypatch.delenv("LICENCE_KEY", raising=False)
    assert customise.missing_secrets(with_steps(step)) == {"LICENCE_KEY": "apps"}
    monkeypatch.setenv("LICENCE_KEY", "x")
    assert customise.missing_secrets(with_steps(step)) == {}


# Files


def placed(world: Simulated, refresh: Refresh) -> dict[str, str]:
    """The files on the build machine's disk, with their SHA-256."""
    (machine,) = (each for each in world.cloud.compute.machines() if each.name == refresh.vm_name)
    return machine.contents.files


def test_files_of_the_repository_and_of_a_url_are_put_on_the_machine_and_no_secret_stands_anywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STORE_SAS", "?sig=s3cret")
    content = script_file("guest/smoke.ps1").read_bytes()

    async def body(world: Simulated) -> None:
        refresh = await machine_of(world)
        await customised(world.azure, world.image_set, refresh)
        assert placed(world, refresh) == {
            "C:\\Tools\\it's.ps1": hashlib.sha256(content).hexdigest(),
            "C:\\Tools\\big.zip": "ab" * 32,
        }
        await customised(world.azure, world.image_set, refresh)
        assert world.wire.sent("PUT", "/runCommands/customise-tools") == 1
        assert "s3cret" not in json.dumps(list(world.cloud.journal.latest), default=str)

    files = [
        {"source": "guest/smoke.ps1", "destination": "C:\\Tools\\it's.ps1"},
        {
            "url": "https://store.blob.core.windows.net/f/big.zip",
            "sha256": "AB" * 32,
            "destination": "C:\\Tools\\big.zip",
        },
    ]
    simulated(body, with_steps({"name": "tools", "kind": "files", "files": files, "query_secret": "STORE_SAS"}))


def test_a_file_that_is_not_what_was_asked_for_stops_the_build_and_names_it() -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(StepFailure, match=r"customise-tools failed.*failed with 1"):
            await customised(world.azure, world.image_set, await machine_of(world))

    step = {"name": "tools", "kind": "files", "files": [{"source": "Makefile", "destination": "C:\\Makefile"}]}
    simulated(body, with_steps(step), guest_failures={"files": "exit:1"})


def test_the_secret_of_a_files_step_is_missed_before_the_first_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORE_SAS", raising=False)
    files = [{"source": "Makefile", "destination": "C:\\Makefile"}]
    step = {"name": "tools", "kind": "files", "files": files, "query_secret": "STORE_SAS"}
    assert customise.missing_secrets(with_steps(step)) == {"STORE_SAS": "tools"}


# Windows updates


def test_updates_are_installed_until_none_is_missing() -> None:
    async def body(world: Simulated) -> None:
        refresh = await machine_of(world)
        await customised(world.azure, world.image_set, refresh)
        found = await world.azure.compute.assess_patches(world.image_set.build.resource_group, refresh.vm_name)
        assert (found.critical_and_security_patch_count, found.reboot_pending) == (0, False)
        assert world.wire.sent("POST", "/installPatches") == 1
        assert tags.INSTALLING not in await tags_of(world, refresh)

    simulated(body, with_steps(UPDATES, source=OCTOBER))


def test_where_nothing_is_missing_nothing_is_installed() -> None:
    async def body(world: Simulated) -> None:
        await customised(world.azure, world.image_set, await machine_of(world))
        assert world.wire.sent("POST", "/installPatches") == 0

    simulated(body, with_steps(UPDATES))


def test_an_update_that_cannot_be_installed_is_named_after_the_last_round() -> None:
    async def body(world: Simulated) -> None:
        refresh = await machine_of(world)
        with pytest.raises(StepFailure, match=r"After 2 rounds these updates are still missing: .*KB5103388"):
            await customised(world.azure, world.image_set, refresh)
        assert world.wire.sent("POST", "/installPatches") == 2

    image_set = with_steps({**UPDATES, "max_rounds": 2}, source=OCTOBER)
    simulated(body, image_set, guest_failures={"install-patches": "KB5103388"})


@pytest.mark.parametrize(("writes", "what"), [(2, "the note of it"), (3, "the order for it")])
def test_a_run_that_dies_around_an_installation_does_not_start_a_second_one(writes: int, what: str) -> None:
    async def body(world: Simulated) -> None:
        refresh = await machine_of(world)
        world.wire.dies_after_writes = writes
        with pytest.raises(Killed):
            await customised(world.azure, world.image_set, refresh)
        assert world.wire.sent("POST", "/installPatches") == writes - 2, what
        await customised(world.azure, world.image_set, refresh)
        assert world.wire.sent("POST", "/installPatches") == 1

    simulated(body, with_steps(UPDATES, source=OCTOBER))


def test_a_step_that_failed_is_taken_up_again_and_those_before_it_are_not() -> None:
    async def body(world: Simulated) -> None:
        refresh = await machine_of(world)
        with pytest.raises(StepFailure):
            await customised(world.azure, world.image_set, refresh)
        world.cloud.scenario.guest_failures.clear()
        await customised(world.azure, world.image_set, refresh)
        assert world.wire.sent("PUT", "/runCommands/customise-apps") == 1

    image_set = with_steps({"name": "apps", "script": SCRIPT}, {**UPDATES, "max_rounds": 1}, source=OCTOBER)
    simulated(body, image_set, guest_failures={"install-patches": "KB5103388"})


# By hand


def test_what_a_person_is_told_names_the_machine_and_its_address() -> None:
    async def body(world: Simulated) -> None:
        refresh = await machine_of(world)
        told = await customise.way_to_machine(world.azure, world.image_set, refresh)
        assert refresh.vm_name in told
        assert "10.10.0." in told
        assert "Bastion" in told

    simulated(body)


def test_what_a_person_did_stands_on_the_machine_and_the_step_is_done() -> None:
    step = {"name": "printers", "kind": "manual", "instructions": "Install the printer driver."}

    async def body(world: Simulated) -> None:
        refresh = await machine_of(world)
        (manual,) = world.image_set.customise
        assert isinstance(manual, ManualStep)
        assert not await customise.is_step_done(world.azure, world.image_set, refresh, manual)
        await customise.note_manual_step(world.azure, world.image_set, refresh, manual, "Ada", "driver 4.2 installed")
        assert await customise.is_step_done(world.azure, world.image_set, refresh, manual)
        assert (await tags_of(world, refresh))["evergold-by-hand-printers"] == "Ada: driver 4.2 installed"

    simulated(body, with_steps(step))


def test_the_machine_stays_for_as_long_as_a_person_may_take() -> None:
    step = {"name": "printers", "kind": "manual", "instructions": "Install the printer driver.", "expires_days": 7}

    async def body(world: Simulated) -> None:
        refresh = await machine_of(world)
        (manual,) = world.image_set.customise
        assert isinstance(manual, ManualStep)
        await customise.hold_machine(world.azure, world.image_set, refresh, manual)
        until = tags.parse_time((await tags_of(world, refresh))[tags.KEEP_UNTIL])
        assert until is not None
        assert (until - world.azure.clock.now()).days >= 7

    simulated(body, with_steps(step))


def test_updates_ask_for_what_the_image_set_wants() -> None:
    (step,) = with_steps({**UPDATES, "classifications": ["Security"]}).customise
    assert isinstance(step, WindowsUpdateStep)
    assert step.classifications == ("Security",)


def test_what_was_done_by_hand_is_shown_to_whoever_approves() -> None:
    (check,) = judge_steps_by_hand(customise.by_hand({"evergold-by-hand-printers": "Ada: driver 4.2", "other": "x"}))
    assert (check.name, check.verdict, check.measured) == ("done by hand: printers", "warn", "Ada: driver 4.2")
