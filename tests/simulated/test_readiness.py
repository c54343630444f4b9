"""What is found on a build machine before sysprep, and what sysprep itself stumbles over: each is named, with what to do."""

from __future__ import annotations

import pytest

from evergold.images import build
from evergold.images.guest import Machine, StepFailure
from evergold.images.readiness import findings_of
from evergold.images.refresh import Refresh, begin_refresh
from tests.support.simulated import Simulated, simulated, small_image_set

PLAIN = small_image_set(customise=[])
MACHINE = Machine("rg", "evg-1", "westeurope")


async def customised(world: Simulated) -> Refresh:
    """A build machine that is as it was delivered."""
    refresh = await begin_refresh(world.azure, world.image_set, world.azure.clock.now())
    await build.ensure_build_vm(world.azure, world.image_set, refresh)
    return refresh


async def prepared(world: Simulated) -> Refresh:
    refresh = await customised(world)
    await build.ensure_prepared(world.azure, world.image_set, refresh)
    return refresh


@pytest.mark.parametrize(
    ("found", "told"),
    [("appx", "apps were installed for one user only: Contoso.Widget"), ("rearm", "generalised as often as it may be")],
)
def test_what_sysprep_would_break_on_stops_the_build_before_anything_is_taken_away(found: str, told: str) -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(StepFailure, match=told):
            await prepared(world)
        assert world.wire.sent("PUT", "/runCommands/prepare") == 0

    simulated(body, PLAIN, guest_failures={"preflight": found})


@pytest.mark.parametrize("found", ["bitlocker", "domain"])
def test_what_is_mended_before_sysprep_is_told_and_stops_nothing(found: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "evergold.images")

    async def body(world: Simulated) -> None:
        await prepared(world)

    simulated(body, PLAIN, guest_failures={"preflight": found})
    assert {"bitlocker": "It is on for C:", "domain": "a member of a domain"}[found] in caplog.text


def test_windows_that_is_servicing_itself_is_waited_for() -> None:
    async def body(world: Simulated) -> None:
        await prepared(world)
        assert world.wire.sent("PUT", "/runCommands/preflight") == 2

    simulated(body, PLAIN, guest_failures={"preflight": "once:servicing"})


def test_it_is_not_waited_for_without_end() -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(StepFailure, match="Windows is servicing itself"):
            await prepared(world)

    simulated(body, PLAIN, guest_failures={"preflight": "servicing"})


@pytest.mark.parametrize("facts", [{}, {"findings": []}, {"findings": [{"name": "apps", "verdict": "perhaps"}]}])
def test_an_answer_without_a_finding_proves_nothing(facts: dict[str, object]) -> None:
    with pytest.raises(StepFailure, match="preflight"):
        findings_of(MACHINE, facts)


@pytest.mark.parametrize(
    ("blocker", "told"),
    [
        ("appx", "The app Contoso.Widget"),
        ("bitlocker", "BitLocker is on"),
        ("domain", "joined to a domain"),
        ("rearm", "generalised too often"),
        ("servicing", "holds its servicing"),
    ],
)
def test_what_sysprep_stumbles_over_is_named_from_its_logs(blocker: str, told: str) -> None:
    async def body(world: Simulated) -> None:
        refresh = await prepared(world)
        with pytest.raises(StepFailure, match=told):
            await build.ensure_sysprepped(world.azure, world.image_set, refresh)

    simulated(body, PLAIN, guest_failures={"sysprep": blocker})
