"""What preflight says of an image and its build: where it comes from, where it goes, and what its build machine can reach."""

from __future__ import annotations

from typing import Any

import pytest

from evergold import tags
from evergold.config.models import ImageSet
from evergold.images import build
from evergold.images.refresh import begin_refresh, definition_of
from evergold.validation.image_checks import check_source
from evergold.validation.preflight import PreflightError, check_image_set, refuse_unless_passed
from evergold.validation.verdicts import Check
from simulator.scenario import Subnet, VirtualNetwork, load
from tests.support.simulated import NETWORKS, Simulated, simulated, small_image_set

GROUP, POOL = "rg-avd-pilot", "hp-pilot"
HOST_SOURCE = {"kind": "session_host", "pool": POOL, "resource_group": GROUP, "hosts_resource_group": GROUP}
OFFICE = {
    "kind": "gallery_version",
    "resource_group": "rg-images",
    "gallery": "gal_evergold",
    "image_definition": "office",
}
ISOLATION, GUARD = "isolation of the build subnet", "guard of the build subnet"


def from_host(source: dict[str, Any] | None = None, **build: Any) -> ImageSet:
    plain = small_image_set().build.model_dump()
    return small_image_set(source={**HOST_SOURCE, **(source or {})}, build={**plain, **build})


def five_hosts() -> dict[str, Any]:
    return {"host_pools": [load("small").host_pools[0].model_copy(update={"hosts": 5})]}


def subnets(**build: Any) -> list[Subnet]:
    """The world's subnets, the build's changed as told."""
    first, *others = load("small").subnets
    return [first.model_copy(update=build), *others]


def found(image_set: ImageSet | None = None, **changes: Any) -> dict[str, Check]:
    """What preflight finds, by the names of the checks; nothing is written."""

    async def body(world: Simulated) -> list[Check]:
        checks = await check_image_set(world.azure, world.image_set)
        harmless = ("/oauth2/v2.0/token", "/query", "/backupStatus")
        written = [path for method, path in world.wire.calls if method != "GET" and not path.endswith(harmless)]
        assert written == []
        return checks

    return {check.name: check for check in simulated(body, image_set, **changes)}


def refusal(checks: dict[str, Check]) -> str:
    with pytest.raises(PreflightError) as refused:
        refuse_unless_passed(checks.values(), "The refresh")
    return str(refused.value)


# A session host as the source


def test_a_copy_of_a_host_is_allowed_and_says_that_microsoft_advises_against_it() -> None:
    checks = found(from_host(), **five_hosts())
    refuse_unless_passed(checks.values(), "The refresh")
    assert checks["image source"].verdict == "warn"
    assert "advises against images made from hosts" in checks["image source"].remedy
    assert checks[ISOLATION].verdict == "pass"
    assert any(name.startswith("capacity of hp-pilot without") for name in checks)


def test_a_pool_that_is_too_small_for_its_floor_cannot_lend_a_host() -> None:
    text = refusal(found(from_host()))
    assert "capacity of hp-pilot without pil-00" in text
    assert "4 session slots open, and never more than 4." in text
    assert "lower capacity_floor_percent" in text


def test_a_host_that_is_not_there_is_refused() -> None:
    assert "has no session host pil-009" in refusal(found(from_host({"host": "pil-009"}), **five_hosts()))


def test_a_host_of_another_security_type_than_the_build_is_refused() -> None:
    async def body(world: Simulated) -> list[Check]:
        for machine in world.cloud.compute.machines():
            machine.security_type = "Standard"
        return await check_image_set(world.azure, world.image_set)

    checks = simulated(body, from_host(), **five_hosts())
    text = refusal({check.name: check for check in checks})
    assert "has security type Standard, and the build makes TrustedLaunch." in text


# Isolation


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"dns_servers": ["10.0.0.4"]}, "it uses DNS servers of its own (10.0.0.4)"),
        ({"peered_with": ["vnet-hub"]}, "it is peered with vnet-hub"),
    ],
)
def test_a_copy_is_not_built_where_it_could_reach_the_domain(network: dict[str, Any], words: str) -> None:
    networks = [VirtualNetwork(name="vnet-build", **network)]
    text = refusal(found(from_host(), networks=networks, **five_hosts()))
    assert f"vnet-build is not isolated: {words}." in text
    assert "build.isolation_waiver" in text


def test_a_copy_is_not_built_beside_the_hosts() -> None:
    checks = found(from_host(subnet_id=f"{NETWORKS}/vnet-avd/subnets/snet-hosts"), **five_hosts())
    assert "vnet-avd is not isolated: session hosts are in it (snet-hosts)." in refusal(checks)


def test_a_network_with_a_gateway_is_not_isolated() -> None:
    gateway = Subnet(resource_group="rg-network", network="vnet-build", name="GatewaySubnet", prefix="10.10.1.0/27")
    text = refusal(found(from_host(), subnets=[*subnets(), gateway], **five_hosts()))
    assert "it has a gateway to other networks" in text


def test_a_waiver_is_a_warning_that_gives_its_reason() -> None:
    waiver = "The peering leads to the update server alone, behind a firewall."
    networks = [VirtualNetwork(name="vnet-build", peered_with=["vnet-hub"])]
    check = found(from_host(isolation_waiver=waiver), networks=networks, **five_hosts())[ISOLATION]
    assert (check.verdict, waiver in check.measured) == ("warn", True)


def test_other_sources_may_be_built_in_a_network_that_is_not_isolated() -> None:
    networks = [VirtualNetwork(name="vnet-build", dns_servers=["10.0.0.4"])]
    assert ISOLATION not in found(networks=networks)


# The guard


def test_a_subnet_without_a_security_group_is_a_warning() -> None:
    check = found(subnets=subnets(security_group=None))[GUARD]
    assert (check.verdict, check.measured) == ("warn", "It has no network security group.")


def test_a_security_group_that_lets_the_internet_in_is_a_warning() -> None:
    check = found(subnets=subnets(open_ports=["3389"]))[GUARD]
    assert (check.verdict, check.measured) == ("warn", "nsg-build lets the internet in: open-0.")


# Backup


def test_a_host_that_is_backed_up_is_a_warning_and_one_that_is_not_is_fine() -> None:
    named = from_host({"host": "pil-001"})
    check = found(named, backed_up=["pil-001"], **five_hosts())["backup of pil-001"]
    assert (check.verdict, "backed up in vault-hosts" in check.measured) == ("warn", True)
    assert found(named, **five_hosts())["backup of pil-001"].verdict == "pass"


def test_who_may_not_ask_about_backup_is_warned_and_not_stopped() -> None:
    client = load("small").clients[0].model_copy(update={"denied": ["Microsoft.RecoveryServices/*"]})
    checks = found(from_host({"host": "pil-001"}), clients=[client], **five_hosts())
    assert checks["backup of pil-001"].verdict == "warn"
    assert "Nobody can say whether it is backed up" in checks["backup of pil-001"].measured
    refuse_unless_passed(checks.values(), "The refresh")


# Regions


@pytest.mark.parametrize(
    ("publish", "zones", "verdict", "words"),
    [
        ({"regions": [{"name": "westeurope"}]}, [], "warn", "If westeurope is lost, no host can be made anywhere."),
        ({"regions": [{"name": "westeurope"}, {"name": "northeurope"}]}, ["1", "2"], "warn", "is kept in one."),
        (
            {
                "regions": [{"name": "westeurope"}, {"name": "northeurope"}],
                "storage_account_type": "Standard_ZRS",
            },
            ["1", "2"],
            "pass",
            "on Standard_ZRS.",
        ),
    ],
)
def test_an_image_outlives_the_loss_of_a_region_and_of_a_zone(
    publish: dict[str, Any], zones: list[str], verdict: str, words: str
) -> None:
    plain = small_image_set(publish=publish).model_dump(mode="json", exclude_none=True)
    plain["rings"][0]["pools"][0]["hosts"]["zones"] = zones
    check = found(ImageSet.model_validate(plain))["image regions"]
    assert (check.verdict, words in check.measured) == (verdict, True), check.measured


def test_an_image_that_does_not_go_where_the_hosts_are_is_a_warning() -> None:
    async def body(world: Simulated) -> list[Check]:
        for machine in world.cloud.compute.machines():
            machine.location = "eastus"
        return await check_image_set(world.azure, world.image_set)

    check = next(check for check in simulated(body) if check.name == "image regions")
    assert check.measured.startswith("There are hosts in eastus, and the image goes to westeurope, northeurope")


# Images that are sold


def sold(**changes: Any) -> dict[str, Any]:
    return {
        "marketplace": [
            each.model_copy(update={"plan": "gold", "terms_accepted": True, **changes})
            for each in load("small").marketplace
        ]
    }


def test_terms_that_nobody_has_accepted_are_refused_with_the_command_that_accepts_them() -> None:
    text = refusal(found(**sold(terms_accepted=False)))
    assert "The terms of microsoftwindowsdesktop:office-365:gold are not accepted" in text
    assert "az vm image terms accept --publisher microsoftwindowsdesktop --offer office-365 --plan gold" in text
    assert found(**sold())["purchase plan"].verdict == "pass"


def test_the_plan_of_a_marketplace_image_is_carried_to_the_build_machine() -> None:
    async def body(world: Simulated) -> None:
        refresh = await begin_refresh(world.azure, world.image_set, world.azure.clock.now())
        await build.ensure_build_vm(world.azure, world.image_set, refresh)
        machine = next(each for each in world.cloud.compute.machines() if each.name == refresh.vm_name)
        plan = {"publisher": "microsoftwindowsdesktop", "product": "office-365", "name": "gold"}
        assert machine.plan == plan

    simulated(body, **sold())


def test_the_plan_of_a_gallery_version_is_carried_from_its_definition() -> None:
    definition = load("small").definitions[0].model_copy(update={"plan": "contoso:desk:silver"})

    async def body(world: Simulated) -> None:
        refresh = await begin_refresh(world.azure, world.image_set, world.azure.clock.now())
        await build.ensure_build_vm(world.azure, world.image_set, refresh)
        machine = next(each for each in world.cloud.compute.machines() if each.name == refresh.vm_name)
        assert machine.plan == {"publisher": "contoso", "product": "desk", "name": "silver"}

    simulated(body, small_image_set(source=OFFICE), definitions=[definition])


# In the evidence


def test_a_marketplace_image_is_the_source_that_nobody_warns_of() -> None:
    async def body(world: Simulated) -> None:
        check = await check_source(world.azure, "publisher:offer:sku:1.2.3")
        assert check.verdict == "pass"

    simulated(body)


def test_a_host_and_images_upon_images_are_warned_of_in_the_evidence() -> None:
    async def body(world: Simulated) -> None:
        host = await check_source(world.azure, "/subscriptions/s/resourceGroups/g/providers/a/b/pil-001@guid")
        assert (host.verdict, host.facts) == ("warn", ("session host pil-001",))
        refresh = await begin_refresh(world.azure, world.image_set, world.azure.clock.now())
        first = await check_source(world.azure, refresh.source)
        assert (first.verdict, first.facts) == ("warn", ("1 images deep",))
        await world.azure.galleries.update_version(
            definition_of(world.image_set), "1.0.0", set_tags={tags.SOURCE: "publisher:offer:sku:1.2.3"}
        )
        assert (
            "An image of 1 image, the first from publisher:offer:sku:1.2.3."
            in (await check_source(world.azure, refresh.source)).measured
        )

    simulated(body, small_image_set(source=OFFICE))
