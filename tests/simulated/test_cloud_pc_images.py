"""From an image version to a custom image of Windows 365, into the policies, and back."""

from dataclasses import replace
from typing import Any

import pytest

from evergold.azure import AzureFailure
from evergold.cloudpc import campaign as notes
from evergold.cloudpc.checks import check_cloud_pcs, check_version
from evergold.cloudpc.directions import begin_back, begin_forward
from evergold.cloudpc.engine import reprovision
from evergold.cloudpc.images import ensure_imported, name_for, retire_images
from evergold.cloudpc.observe import PolicyChangedError
from evergold.cloudpc.policies import policies_of
from evergold.images.manifest import Manifest, OperatingSystem, to_tags
from evergold.images.refresh import definition_of
from simulator.kernel.faults import Fault
from tests.support.cloud_pcs import NEW, POLICY, Heard, image_set_of, place_of, prepared, reprovisioned, with_cloud_pcs
from tests.support.simulated import Killed, Simulated, simulated, small_image_set

CHECK = {"name": "check", "script": "guest/customise/check-windows-365.ps1"}
SINGLE = {
    "kind": "marketplace",
    "publisher": "microsoftwindowsdesktop",
    "offer": "windows-ent-cpc",
    "sku": "win11-25h2-ent-cpc",
}


def images_of(world: Simulated) -> list[str]:
    return sorted(image.name for image in world.cloud.cloud_pcs.images.all.values())


async def refused(world: Simulated, **manifest: Any) -> list[str]:
    """The prerequisites that a version with this manifest does not meet."""
    told = {
        "os": OperatingSystem(name="Windows 11 Enterprise", build="26200.9231"),
        "software": {"Teams": "1"},
        **manifest,
    }
    tags = to_tags(Manifest(**told))
    await world.azure.galleries.update_version(definition_of(world.image_set), NEW, set_tags=tags)
    return [check.name for check in await check_version(world.azure, world.image_set, NEW) if check.verdict != "pass"]


def test_an_image_as_windows_365_wants_it_meets_every_prerequisite() -> None:
    async def body(world: Simulated) -> None:
        assert await refused(world) == []
        for name in ("Windows 11 Enterprise multi-session", "Windows 11 Enterprise N", "Windows 11 Enterprise LTSC"):
            assert await refused(world, os=OperatingSystem(name=name, build="26200.1")) == ["Windows 365: edition"]
        old = OperatingSystem(name="Windows 11 Enterprise", build="22621.1")
        assert await refused(world, os=old) == ["Windows 365: supported build"]
        assert await refused(world, software={"Microsoft FSLogix Apps": "3"}) == ["Windows 365: FSLogix"]
        assert await refused(world, software_left_out=True, software={}) == ["Windows 365: FSLogix"]

    simulated(body, small_image_set([CHECK], cloud_pcs=_settings(), rings=[]), **with_cloud_pcs())


def test_todays_rules_want_generation_2_and_those_of_2022_generation_1() -> None:
    async def body(world: Simulated) -> None:
        assert await refused(world) == ["Windows 365: generation"]

    simulated(body, small_image_set([CHECK], cloud_pcs=_settings(rules="2022"), rings=[]), **with_cloud_pcs())


def test_preflight_refuses_cloud_pcs_on_a_multi_session_source_and_a_build_that_does_not_look_inside() -> None:
    async def body(world: Simulated) -> None:
        bad = {check.name for check in await check_cloud_pcs(world.azure, world.image_set) if check.verdict == "fail"}
        assert bad == {"Windows 365: source", "Windows 365: check in the build"}

    async def good(world: Simulated) -> None:
        assert {check.verdict for check in await check_cloud_pcs(world.azure, world.image_set)} == {"pass"}

    simulated(body, image_set_of(), **with_cloud_pcs())
    simulated(good, small_image_set([CHECK], source=SINGLE, cloud_pcs=_settings(), rings=[]), **with_cloud_pcs())


def _settings(**changes: Any) -> dict[str, Any]:
    return {"provisioning_policies": [POLICY], "rings": [{"name": "everyone"}], **changes}


def test_a_managed_image_that_the_service_does_not_see_is_refused_before_the_import() -> None:
    async def body(world: Simulated) -> None:
        assert await refused(world) == ["Windows 365: source", "Windows 365: source in reach"]

    settings = _settings(source="managed_image", managed_image="office-{version}")
    simulated(body, small_image_set([CHECK], cloud_pcs=settings, rings=[]), **with_cloud_pcs())


def test_an_import_dies_after_its_request_and_the_next_run_waits_for_the_same_image() -> None:
    async def body(world: Simulated) -> None:
        world.wire.dies_after_writes = 1
        with pytest.raises(Killed):
            await ensure_imported(world.azure, world.image_set, NEW)
        image = await ensure_imported(world.azure, world.image_set, NEW)
        assert (image.status, images_of(world)) == ("ready", ["office 1.1.0"])

    simulated(body, image_set_of(), **with_cloud_pcs())


def test_an_import_whose_answer_is_lost_makes_one_image() -> None:
    async def body(world: Simulated) -> None:
        assert (await ensure_imported(world.azure, world.image_set, NEW)).status == "ready"
        assert images_of(world) == ["office 1.1.0"]

    fault = Fault(method="POST", path="deviceImages", status=504, code="GatewayTimeout", after=True)
    simulated(body, image_set_of(), **with_cloud_pcs(faults=[fault]))


def test_an_import_that_failed_for_a_fault_of_the_service_is_made_again() -> None:
    async def body(world: Simulated) -> None:
        assert (await ensure_imported(world.azure, world.image_set, NEW)).status == "ready"
        assert images_of(world) == ["office 1.1.0"]

    simulated(body, image_set_of(), **with_cloud_pcs(cloud_pc_failures={"import": "internalServerError"}))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("sourceImageNotGeneralized", "not generalised"),
        ("vmAlreadyAzureAdjoined", "was joined to Microsoft Entra ID"),
        ("somethingNew", "a reason that Evergold does not know"),
    ],
)
def test_an_image_that_was_refused_says_why_and_what_to_do(code: str, words: str) -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(AzureFailure, match=words) as caught:
            await ensure_imported(world.azure, world.image_set, NEW)
        assert (caught.value.code, caught.value.retryable) == (code, False)

    simulated(body, image_set_of(), **with_cloud_pcs(cloud_pc_failures={"import": code}))


def test_before_the_twenty_first_image_room_is_made_among_ones_own() -> None:
    async def body(world: Simulated) -> None:
        for number in range(20):
            name = name_for(world.image_set, f"0.{number}.0") if number < 5 else f"somebody's {number}"
            await world.azure.cloud_pcs.import_image(name, f"0.{number}.0", "/nowhere")
        await world.azure.clock.sleep(7200)
        await ensure_imported(world.azure, world.image_set, NEW)
        assert images_of(world)[:4] == ["office 0.2.0", "office 0.3.0", "office 0.4.0", "office 1.1.0"]

    simulated(body, image_set_of(), **with_cloud_pcs())


def test_where_there_is_no_room_it_says_so_before_it_is_refused_and_names_the_images_there_are() -> None:
    async def body(world: Simulated) -> None:
        for number in range(20):
            await world.azure.cloud_pcs.import_image(f"somebody's {number}", "1.0.0", "/nowhere")
        with pytest.raises(AzureFailure, match="20 custom images and 20 fit: somebody's 0"):
            await ensure_imported(world.azure, world.image_set, NEW)

    simulated(body, image_set_of(), **with_cloud_pcs())


def test_an_image_that_a_policy_a_cloud_pc_or_the_way_back_needs_is_never_deleted() -> None:
    async def body(world: Simulated) -> None:
        await prepared(world, "1.0.0")
        campaign = await notes.current(world.azure, world.image_set)
        assert campaign is not None
        await notes.end(world.azure, world.image_set, campaign)
        await prepared(world, NEW)
        assert await retire_images(world.azure, world.image_set) == []
        assert images_of(world) == ["office 1.0.0", "office 1.1.0"]

    simulated(body, image_set_of(keep_images=1), **with_cloud_pcs())


def test_a_reprovision_is_refused_while_a_policy_has_another_image() -> None:
    async def body(world: Simulated) -> None:
        await ensure_imported(world.azure, world.image_set, NEW)
        with pytest.raises(AzureFailure, match="Run update-provisioning-policy first"):
            await begin_forward(world.azure, world.image_set, NEW)

    simulated(body, image_set_of(), **with_cloud_pcs())


def test_another_campaign_is_refused_while_one_is_under_way() -> None:
    async def body(world: Simulated) -> None:
        standing = await prepared(world)
        with pytest.raises(AzureFailure, match=f"{standing.id} is under way"):
            await notes.begin(world.azure, world.image_set, {"p": "another"}, "9.9.9", "forward")

    simulated(body, image_set_of(), **with_cloud_pcs())


@pytest.mark.parametrize("dies_after", [1, 2, 3])
def test_the_way_back_leads_to_the_former_image_whatever_write_it_dies_after(dies_after: int) -> None:
    async def body(world: Simulated) -> None:
        await reprovisioned(world)
        before = {each.id: each.wiped for each in world.cloud.cloud_pcs.all.values()}
        await world.azure.clock.sleep(2 * 86400)
        world.wire.dies_after_writes = dies_after
        try:
            campaign, _ = await begin_back(world.azure, world.image_set, NEW)
        except Killed:
            campaign, _ = await begin_back(world.azure, world.image_set, NEW)
        world.wire.dies_after_writes = None
        (policy,) = await policies_of(world.azure, (POLICY,))
        assert (policy.image_type, policy.image_name) == ("gallery", "Windows 11 Enterprise + Microsoft 365 Apps 24H2")
        approved = replace(campaign, approved_by="Ada")
        heard = Heard()
        last = await reprovision(place_of(world), approved, heard.tell, heard.show, "a run")
        assert {verdict.fate for verdict in last.verdicts} == {"done"}
        assert all(each.wiped != before[each.id] for each in world.cloud.cloud_pcs.all.values())
        assert world.cloud.truth.report()["violations"] == []

    simulated(body, image_set_of(), **with_cloud_pcs(count=2))


def test_a_policy_that_somebody_changes_in_between_stops_everything() -> None:
    async def body(world: Simulated) -> None:
        campaign = await prepared(world)
        policy = next(iter(world.cloud.cloud_pcs.policies.values()))
        policy.image_name = "somebody's image"
        heard = Heard()
        with pytest.raises(PolicyChangedError, match="names the image somebody's image"):
            await reprovision(place_of(world), campaign, heard.tell, heard.show, "a run")
        assert world.cloud.truth.report()["cloud_pcs_reprovisioned"] == 0

    simulated(body, image_set_of(), **with_cloud_pcs())
