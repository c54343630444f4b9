"""A refresh that serves Cloud PCs: from a build to every Cloud PC on it, for an image set of their own and for one with host pools too."""

from __future__ import annotations

from dataclasses import replace

from evergold.cloudpc import campaign as notes
from evergold.cloudpc.directions import begin_forward
from evergold.cloudpc.engine import look, reprovision
from evergold.cloudpc.images import ensure_imported, find_image
from evergold.cloudpc.policies import Image, ensure_policy_image, policies_of
from evergold.cloudpc.prerequisites import CHECK_SCRIPT
from evergold.cloudpc.refresh import ensure_image_forgotten, gather_evidence, story_of
from evergold.config.models import ImageSet
from evergold.images import build, publish
from evergold.images.publish import Candidate
from evergold.images.refresh import Refresh, begin_refresh
from simulator.scenario import load
from tests.support.cloud_pcs import NEW, POLICY, Heard, image_set_of, place_of, with_cloud_pcs
from tests.support.simulated import Simulated, customised, simulated, small_image_set

STEPS = (
    build.ensure_build_vm,
    customised,
    build.ensure_prepared,
    build.ensure_manifest,
    build.ensure_sysprepped,
    build.ensure_state_proven,
    build.ensure_deallocated,
    build.ensure_generalized,
)
SINGLE_SESSION = {
    "kind": "marketplace",
    "publisher": "microsoftwindowsdesktop",
    "offer": "windows-ent-cpc",
    "sku": "win11-25h2-ent-cpc-m365",
}


def for_cloud_pcs(**changes: object) -> ImageSet:
    """An image set whose builds Windows 365 takes."""
    settings = image_set_of().cloud_pcs
    assert settings is not None
    return small_image_set(
        customise=[{"name": "check", "script": CHECK_SCRIPT}],
        source=SINGLE_SESSION,
        cloud_pcs=settings.model_dump(mode="json"),
        **{"rings": [], **changes},
    )


async def built(world: Simulated) -> tuple[Refresh, Candidate]:
    refresh = await begin_refresh(world.azure, world.image_set, world.azure.clock.now())
    for ensure in STEPS:
        await ensure(world.azure, world.image_set, refresh)
    return refresh, await publish.ensure_version_published(world.azure, world.image_set, refresh, notes="November")


async def served(world: Simulated, version: str) -> None:
    """What the refresh does from the import on, with an approval."""
    image = await ensure_imported(world.azure, world.image_set, version)
    campaign = await begin_forward(world.azure, world.image_set, version, policies_follow=True)
    campaign = await notes.note(
        world.azure, world.image_set, replace(campaign, approved_by="Ada", waivers={"cpc-user002@contoso.com": "empty"})
    )
    between = await story_of(world.azure, world.image_set, version)
    assert (between.on_image, between.remaining) == (0, ())
    for policy in await policies_of(world.azure, (POLICY,)):
        await ensure_policy_image(world.azure, world.image_set, policy, Image("custom", image.id, image.name))
    heard = Heard()
    await reprovision(place_of(world), campaign, heard.tell, heard.show, "a run")


def test_an_image_set_for_cloud_pcs_alone_is_proven_by_its_import_and_serves_every_one_of_them() -> None:
    async def body(world: Simulated) -> None:
        refresh, candidate = await built(world)
        image = await ensure_imported(world.azure, world.image_set, refresh.version)
        evidence = await gather_evidence(world.azure, world.image_set, refresh, candidate, image)
        assert evidence.passed, evidence.to_markdown()
        assert {"Windows 365: edition", "Windows 365: import"} <= {check.name for check in evidence.checks}
        before = await story_of(world.azure, world.image_set, refresh.version)
        assert (before.cloud_pcs, before.on_image) == (3, 0)
        await served(world, refresh.version)
        after = await story_of(world.azure, world.image_set, refresh.version)
        assert (after.cloud_pcs, after.on_image, after.remaining) == (3, 3, ())
        assert (after.waivers, after.approved_by) == (("cpc-user002@contoso.com: empty",), "Ada")
        assert world.cloud.truth.report()["violations"] == []

    simulated(body, for_cloud_pcs(), **with_cloud_pcs(count=3, unsynced=0.0, marketplace=load("demo").marketplace))


def test_an_image_set_with_a_host_pool_and_cloud_pcs_serves_the_latter_from_the_same_version() -> None:
    async def body(world: Simulated) -> None:
        assert world.image_set.rings
        await served(world, NEW)
        after = await story_of(world.azure, world.image_set, NEW)
        assert (after.cloud_pcs, after.on_image) == (2, 2)
        assert world.cloud.truth.report()["violations"] == []

    rings = [ring.model_dump(mode="json") for ring in small_image_set().rings]
    simulated(body, for_cloud_pcs(rings=rings), **with_cloud_pcs(count=2, unsynced=0.0))


def test_the_question_can_be_put_before_the_policies_have_the_image_and_nothing_is_done_before_it_is_answered() -> None:
    async def body(world: Simulated) -> None:
        await ensure_imported(world.azure, world.image_set, NEW)
        campaign = await begin_forward(world.azure, world.image_set, NEW, policies_follow=True)
        seen = await look(place_of(world), campaign)
        assert seen.count("later") == 2
        assert (seen.reprovision, seen.snapshot, seen.tell) == ((), (), "")

    simulated(body, image_set_of(), **with_cloud_pcs(count=2))


def test_a_campaign_that_nobody_has_approved_gives_way_to_another() -> None:
    async def body(world: Simulated) -> None:
        await notes.begin(world.azure, world.image_set, {"p": "one"}, "1.0.0", "forward")
        second = await notes.begin(world.azure, world.image_set, {"p": "two"}, "1.1.0", "forward")
        assert await notes.current(world.azure, world.image_set) == second

    simulated(body, image_set_of(), **with_cloud_pcs(count=1))


def test_the_image_of_a_rejected_version_goes_unless_a_policy_has_it() -> None:
    async def body(world: Simulated) -> None:
        await ensure_imported(world.azure, world.image_set, "1.0.0")
        assert await ensure_image_forgotten(world.azure, world.image_set, "1.0.0")
        assert await find_image(world.azure, world.image_set, "1.0.0") is None
        await served(world, NEW)
        assert not await ensure_image_forgotten(world.azure, world.image_set, NEW)
        assert await find_image(world.azure, world.image_set, NEW) is not None

    simulated(body, image_set_of(), **with_cloud_pcs(count=1))
