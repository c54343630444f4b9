"""What a refresh or a rollout cannot do without is missed before the first write, in words that say what to do."""

from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from azure.mgmt.compute.models import ResourceSku
from starlette.responses import JSONResponse

from evergold.azure import Azure
from evergold.azure.ids import host_pool_id
from evergold.config.models import ImageSet
from evergold.validation.looking import Look, look_at_all
from evergold.validation.preflight import PreflightError, check_image_set, check_rollout, refuse_unless_passed
from evergold.validation.room import Hardware, judge_moving, judge_size
from evergold.validation.surroundings import NEEDED_PROVIDERS, check_clock, check_providers, check_scaling_plan
from evergold.validation.verdicts import Check
from simulator.kernel.faults import Fault
from simulator.scenario import Quota, Version, load
from tasks.image import approved_version
from tasks.rollout import pool_of
from tests.support.moments import EPOCH
from tests.support.scaling import TAG, assign_plan
from tests.support.simulated import Simulated, simulated, small_image_set
from tests.support.tiny_azure import SECRET_VARIABLE, TinyAzure, with_azure
from tests.support.tiny_azure import refusal as refused

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


def test_no_permission_on_the_subnets() -> None:
    client = load("small").clients[0].model_copy(update={"denied": ["Microsoft.Network/*/join/action"]})
    text = refusal(clients=[client])
    assert "rights on subnet snet-build: Not allowed: Microsoft.Network/virtualNetworks/subnets/join/action." in text
    assert "to this identity on subnet snet-hosts or its network" in text


def test_a_resource_provider_that_is_not_registered() -> None:
    text = refusal(unregistered=["microsoft.desktopvirtualization"])
    assert "resource providers: Microsoft.DesktopVirtualization is NotRegistered." in text
    assert "az provider register --namespace Microsoft.DesktopVirtualization" in text


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
    assert "host pool hp-pilot: Could not be read" in text


def test_where_nothing_may_be_read_nothing_passes() -> None:
    closed = Fault(path="/subscriptions/|/query", times=9999, status=403, code="AuthorizationFailed", message="No.")
    found = checked(faults=[closed])
    assert found.pop("secrets of customise steps").verdict == "pass", "that is seen where this runs"
    assert len(found) >= 14
    assert {check.verdict for check in found.values()} == {"unknown"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host_pool_type": "Personal"}, "It is Personal: its hosts belong to people"),
        (
            {"max_sessions": 999999},
            "It has no session limit, so nobody can say how much capacity a rollout leaves. What to do",
        ),
        (
            {"max_sessions": 999999, "load_balancer": "DepthFirst"},
            "It has no session limit, so nobody can say how much capacity a rollout leaves. It is depth-first: everybody",
        ),
    ],
)
def test_a_pool_that_cannot_be_rolled_out(changes: dict[str, Any], words: str) -> None:
    def changed(world: Simulated) -> None:
        for pool in world.cloud.desktop.pools.values():
            for name, value in changes.items():
                setattr(pool, name, value)

    assert f"host pool hp-pilot: {words}" in refusal(prepare=changed)


def test_a_pool_without_hosts() -> None:
    def emptied(world: Simulated) -> None:
        for host in list(world.cloud.desktop.hosts()):
            world.cloud.desktop.remove(host)

    assert "host pool hp-pilot: It has no session hosts: there is nothing to replace." in refusal(prepare=emptied)


def test_what_the_image_set_names_and_nobody_made() -> None:
    gallery = {"resource_group": "rg-gone", "name": "gal_evergold", "image_definition": "other"}
    text = refusal(small_image_set(gallery=gallery))
    assert "image definition other: gal_evergold/other in rg-gone does not exist." in text
    assert "rights in rg-gone: There is no resource group rg-gone." in text


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


# Every check, each verdict


def checked(
    image_set: ImageSet | None = None, prepare: Callable[[Simulated], None] | None = None, **changes: Any
) -> dict[str, Check]:
    """Everything that preflight says of a world."""

    async def body(world: Simulated) -> dict[str, Check]:
        if prepare is not None:
            prepare(world)
        return {check.name: check for check in await check_image_set(world.azure, world.image_set)}

    return simulated(body, image_set, **changes)


def test_a_personal_pool_is_taken_in_place_and_it_is_said_how_many_hosts_stay() -> None:
    def changed(world: Simulated) -> None:
        (pool,) = world.cloud.desktop.pools.values()
        pool.host_pool_type = "Personal"
        pool.hosts["pil-001"].assigned_user = "ada@contoso.com"

    in_place = small_image_set(rollout={"strategy": "in_place", "capacity_floor_percent": 50})
    check = checked(in_place, prepare=changed)["host pool hp-pilot"]
    assert (check.verdict, "1 of its 2 hosts are nobody's" in check.measured) == ("pass", True)


def test_families_that_have_room_are_named_where_one_has_none() -> None:
    quotas = [Quota(limit=12), Quota(family="standardDASv5Family", limit=40)]
    found = checked(quotas=quotas)["vCPU quota standardDSv5Family"]
    assert "These families have room: standardDASv5Family (40 free, such as Standard_D4as_v5)." in found.remedy


def in_zones() -> ImageSet:
    """The image set with hosts in two zones."""
    plain = small_image_set().model_dump(mode="json", exclude_none=True)
    plain["rings"][0]["pools"][0]["hosts"]["zones"] = ["1", "2"]
    return ImageSet.model_validate(plain)


def test_the_zones_of_a_pool_are_told() -> None:
    assert checked(in_zones())["VM size Standard_D4s_v5"].measured == "Standard_D4s_v5 is on offer, in zones 1, 2."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"locationInfo": [{"location": "westeurope", "zones": ["1"]}]}, "cannot be had in zone 2"),
        (
            {"restrictions": [{"type": "Zone", "values": [], "restrictionInfo": {"zones": ["1"]}}]},
            "cannot be had in zone 1",
        ),
        ({"capabilities": [{"name": "HyperVGenerations", "value": "V1"}]}, "runs generation 1 machines only"),
        ({"capabilities": [{"name": "TrustedLaunchDisabled", "value": "True"}]}, "does not support Trusted Launch"),
    ],
)
def test_a_vm_size_that_does_not_fit(changes: dict[str, Any], words: str) -> None:
    plain = {"name": "Standard_D4s_v5", "locationInfo": [{"location": "westeurope", "zones": ["1", "2", "3"]}]}
    sku: Any = ResourceSku({**plain, **changes})
    found = judge_size(sku, in_zones(), Hardware())
    assert (found.verdict, words in found.measured) == ("fail", True)


def sized(vm_size: str, **definition: str) -> Check:
    """What is said of hosts of this size, made from an image definition like this."""
    plain = small_image_set().model_dump(mode="json", exclude_none=True)
    plain["rings"][0]["pools"][0]["hosts"]["vm_size"] = vm_size
    changed = load("small").definitions[0].model_copy(update=definition)
    return checked(ImageSet.model_validate(plain), definitions=[changed])[f"VM size {vm_size}"]


@pytest.mark.parametrize(
    ("vm_size", "definition", "verdict", "words"),
    [
        ("Standard_D4s_v6", {}, "fail", "NVME disks only"),
        ("Standard_D4s_v6", {"disk_controllers": "SCSI, NVMe"}, "pass", "is on offer"),
        ("Standard_D4s_v5", {"disk_controllers": "SCSI,NVMe"}, "pass", "is on offer"),
        ("Standard_D4ps_v5", {}, "fail", "has Arm64 processors, and the image definition is for x64"),
        ("Standard_D4s_v5", {"architecture": "Arm64"}, "fail", "has x64 processors"),
    ],
)
def test_hosts_and_the_build_have_the_processor_and_disks_that_the_image_definition_is_for(
    vm_size: str, definition: dict[str, str], verdict: str, words: str
) -> None:
    found = sized(vm_size, **definition)
    assert (found.verdict, words in found.measured) == (verdict, True)


@pytest.mark.parametrize(
    ("hosts", "surge", "busiest", "verdict"),
    [(6, 5, 8, "pass"), (6, 3, 8, "warn"), (10, 8, 7, "pass"), (2, 1, 5, "warn")],
)
def test_users_can_only_be_moved_where_one_surge_can_take_them_in(
    hosts: int, surge: int, busiest: int, verdict: str
) -> None:
    limit = 4 if busiest == 5 else 8
    assert judge_moving("hp", hosts, limit, surge, busiest, 80).verdict == verdict


def test_an_immediate_release_with_a_small_surge_is_a_warning_and_goes_on() -> None:
    name = "room to move users of hp-pilot"
    found = checked(small_image_set(rollout={"release_method": "immediate"}))
    assert found[name].verdict == "warn"
    assert "nobody is signed out until some have left" in found[name].measured
    assert name not in checked()


@pytest.mark.parametrize(("tag", "verdict"), [(TAG, "pass"), (None, "warn")])
def test_a_scaling_plan_without_an_exclusion_tag_is_a_warning(tag: str | None, verdict: str) -> None:
    async def body(world: Simulated) -> Check:
        pool = world.image_set.rings[0].pools[0]
        pool_id = host_pool_id(world.cloud.scenario.subscription_id, pool.resource_group, pool.name)
        await assign_plan(world, pool_id, tag)
        return await check_scaling_plan(world.azure, pool)

    assert simulated(body).verdict == verdict
    assert checked()["scaling plan of hp-pilot"].measured == "None."


def test_a_tool_that_replaces_hosts_of_the_pool_too_is_a_warning() -> None:
    def marked(world: Simulated) -> None:
        for machine in world.cloud.compute.machines():
            machine.tags["IncludeInAutoReplace"] = "True" if machine.name == "pil-002" else "False"

    found = checked(prepare=marked)["other tools on hp-pilot"]
    assert found.verdict == "warn"
    assert found.measured == (
        "pil-002 has the tag IncludeInAutoReplace: AVD Session Host Replacer replaces such a host when it is old, or on an older image."
    )
    assert "Switch that tool off for this pool" in found.remedy
    assert checked()["other tools on hp-pilot"].verdict == "pass"


@pytest.mark.parametrize(
    ("off_by_s", "verdict"),
    [(0, "pass"), (30, "pass"), (-90, "warn"), (120, "warn"), (400, "fail"), (-400, "fail"), (None, "unknown")],
)
def test_a_clock_that_is_off_is_seen(off_by_s: int | None, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "s3cret")

    async def body(azure: Azure, tiny: TinyAzure) -> str:
        said = {} if off_by_s is None else {"Date": format_datetime(EPOCH + timedelta(seconds=off_by_s), usegmt=True)}
        tiny.on("GET", "/resourceGroups", JSONResponse({"value": []}, headers=said))
        return (await check_clock(azure)).verdict

    assert with_azure(body) == verdict


@pytest.mark.parametrize(
    ("state", "verdict"),
    [("Registered", "pass"), ("Registering", "warn"), ("Unregistered", "fail"), (None, "unknown")],
)
def test_a_resource_provider_on_its_way_is_a_warning(
    state: str | None, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "s3cret")

    async def body(azure: Azure, tiny: TinyAzure) -> str:
        for provider in NEEDED_PROVIDERS:
            answer = {"registrationState": state} if state else refused(403, "AuthorizationFailed", "No.")
            tiny.on("GET", f"/providers/{provider}", answer)
        (found,) = await look_at_all(azure.clock, [Look("it", lambda: check_providers(azure))], 10)
        return found.verdict

    assert with_azure(body) == verdict


def test_the_clock_of_the_simulated_azure_is_the_worlds() -> None:
    assert checked()["clock"].measured == "As Azure's."
