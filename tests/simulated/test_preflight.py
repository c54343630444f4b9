"""What a refresh or a rollout cannot do without is missed before the first write, in words that say what to do."""

from collections.abc import Callable
from typing import Any

import pytest

from evergold.config.models import ImageSet
from evergold.validation.preflight import PreflightError, check_image_set, check_rollout, refuse_unless_passed
from simulator.kernel.faults import Fault
from simulator.scenario import Quota, Version, load
from tasks.image import approved_version
from tasks.rollout import pool_of
from tests.support.simulated import Simulated, simulated, small_image_set

# Asking is not writing: a token, a query.
HARMLESS = ("/oauth2/v2.0/token", "/query")


def refusal(
    image_set: ImageSet | None = None, prepare: Callable[[Simulated], None] | None = None, **changes: Any
) -> str:
    """What preflight says of a world; nothing must have been written to it."""

    async def body(world: Simulated) -> str:
        if prepare is not None:
            prepare(world)
        with pytest.raises(PreflightError) as refused:
            refuse_unless_passed(await check_image_set(world.azure, world.image_set), "The refresh of office")
        assert_nothing_was_written(world)
        return str(refused.value)

    text = simulated(body, image_set, **changes)
    assert text.startswith("The refresh of office was not started; nothing in Azure was changed.")
    assert text.count("What to do: ") == text.count("\n- ")
    return text


def assert_nothing_was_written(world: Simulated) -> None:
    written = [(method, path) for method, path in world.wire.calls if method != "GET" and not path.endswith(HARMLESS)]
    assert written == []


def with_pool(name: str) -> ImageSet:
    """The image set with another pool's name."""
    plain = small_image_set().model_dump(mode="json", exclude_none=True)
    plain["rings"][0]["pools"][0]["name"] = name
    return ImageSet.model_validate(plain)


def test_where_nothing_is_missing_every_check_passes_and_says_what_it_saw() -> None:
    async def body(world: Simulated) -> None:
        checks = await check_image_set(world.azure, world.image_set)
        assert {check.verdict for check in checks} == {"pass"}
        seen = {check.name: check.measured for check in checks}
        assert seen["host pool hp-pilot"] == "2 hosts, up to 4 sessions each."
        assert_nothing_was_written(world)

    simulated(body)


def test_a_pool_that_does_not_exist() -> None:
    text = refusal(with_pool("hp-missing"))
    assert "There is no host pool hp-missing in rg-avd-pilot." in text
    assert "Correct `rings` in deployments/image_sets/office.yaml." in text


def test_no_permission() -> None:
    client = load("small").clients[0].model_copy(update={"denied": ["Microsoft.Compute/virtualMachines/delete"]})
    text = refusal(clients=[client])
    assert "Not allowed: Microsoft.Compute/virtualMachines/delete." in text
    assert "Assign the role in deployments/azure/evergold-role.json" in text


def test_a_lock() -> None:
    text = refusal(locks=["rg-avd-pilot"])
    assert "locks on rg-avd-pilot: Locked: keep (CanNotDelete)." in text
    assert "it also stops signing users out" in text


def test_no_quota() -> None:
    text = refusal(quotas=[Quota(limit=12)])
    assert "vCPU quota standardDSv5Family: 4 of 12 vCPUs free in westeurope, 8 needed." in text
    assert "lower max_surge" in text


def test_a_vm_size_that_is_not_on_offer() -> None:
    build = {**small_image_set().build.model_dump(), "vm_size": "Standard_M128s"}
    text = refusal(small_image_set(build=build))
    assert "Standard_M128s is not on offer in westeurope for this subscription." in text


def test_a_subnet_that_is_missing() -> None:
    subnet = small_image_set().build.subnet_id.replace("snet-build", "snet-gone")
    text = refusal(small_image_set(build={**small_image_set().build.model_dump(), "subnet_id": subnet}))
    assert "snet-gone does not exist." in text


def test_a_subnet_that_is_full() -> None:
    subnets = [each.model_copy(update={"prefix": "10.10.0.0/29"}) for each in load("small").subnets]
    text = refusal(subnets=subnets, image_set=small_image_set(rollout={"max_surge": 2}))
    assert "subnet snet-hosts: 1 addresses free, 2 needed." in text


def test_a_marketplace_image_that_is_not_there() -> None:
    source = {"kind": "marketplace", "publisher": "microsoftwindowsdesktop", "offer": "office-365", "sku": "win95"}
    text = refusal(small_image_set(source=source))
    assert "microsoftwindowsdesktop:office-365:win95:latest is not in the marketplace of westeurope." in text


def test_a_gallery_version_that_is_not_replicated() -> None:
    definition = load("small").definitions[0]
    far = definition.model_copy(
        update={"versions": [*definition.versions, Version(version="2.0.0", os_build="1.1", regions=["eastus"])]}
    )
    where = {"resource_group": "rg-images", "gallery": "gal_evergold", "image_definition": "office", "version": "2.0.0"}
    text = refusal(small_image_set(source={"kind": "gallery_version", **where}), definitions=[far])
    assert "2.0.0 cannot be used in westeurope: it is Succeeded, and is not replicated there." in text
    assert "add westeurope to the version's target regions" in text


def test_an_image_definition_of_another_security_type() -> None:
    definition = load("small").definitions[0].model_copy(update={"security_type": "Standard"})
    text = refusal(definitions=[definition])
    assert "has security type Standard, and the build makes TrustedLaunch." in text


def test_a_log_analytics_workspace_that_is_not_there() -> None:
    text = refusal(workspace_id="55555555-5555-4555-8555-555555555555", prepare=another_workspace)
    assert "There is no Log Analytics workspace 55555555" in text
    assert "it is the workspace id, not its resource id" in text


def another_workspace(world: Simulated) -> None:
    """The world's workspace is another one than the environment names."""
    world.cloud.scenario.workspace_id = "66666666-6666-4666-8666-666666666666"


def test_what_could_not_be_seen_is_not_fine() -> None:
    def trouble(world: Simulated) -> None:
        world.cloud.faults.planned.append(Fault(path="/hostPools/hp-pilot$", times=1000))

    text = refusal(prepare=trouble)
    assert "host pool hp-pilot: could not be read" in text


def test_a_version_that_nobody_published_is_not_rolled_out() -> None:
    async def body(world: Simulated) -> None:
        pool = world.image_set.rings[0].pools[0]
        with pytest.raises(PreflightError, match=r"has no version 9\.9\.9 \(it has: 1\.0\.0\)"):
            refuse_unless_passed(await check_rollout(world.azure, world.image_set, pool, "9.9.9"), "The rollout")
        assert_nothing_was_written(world)

    simulated(body)


def test_a_version_that_nobody_approved_is_not_rolled_out() -> None:
    definition = load("small").definitions[0]
    candidate = Version(version="1.1.0", os_build="26200.9231", exclude_from_latest=True)
    changed = definition.model_copy(update={"versions": [*definition.versions, candidate]})

    async def body(world: Simulated) -> None:
        with pytest.raises(PreflightError, match="only an approved version is rolled out"):
            await approved_version(world.azure, world.image_set, "1.1.0")
        assert_nothing_was_written(world)

    simulated(body, definitions=[changed])


def test_a_pool_that_the_image_set_does_not_name() -> None:
    with pytest.raises(
        ValueError, match=r"office has no host pool hp-x: deployments/image_sets/office\.yaml names hp-pilot"
    ):
        pool_of(small_image_set(), "hp-x")
