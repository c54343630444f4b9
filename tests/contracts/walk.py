"""A walk through every operation that the simulator plays, with Microsoft's own clients as they come, recorded for the checkers."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from azure.core import AsyncPipelineClient, MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.identity.aio import ClientSecretCredential
from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.desktopvirtualization.aio import DesktopVirtualizationMgmtClient
from azure.monitor.query.aio import LogsQueryClient

from evergold.azure.pipeline import ClockTransport, graph_policies
from evergold.clock import LoopClock, run_virtual
from simulator.cloud import Cloud
from simulator.kernel.clock import LoopClock as WorldClock
from simulator.scenario import CloudPcs, Scenario, load
from tests.support.asgi_transport import AsgiTransport
from tests.support.scaling import properties_of

HOST = "https://azure.simulated"
SCOPE = "https://management.azure.com/.default"
GRAPH_SCOPE = f"{HOST}/.default"
LOCATION = "westeurope"
BUILD, HOSTS, IMAGES, POOL = "rg-images-build", "rg-avd-pilot", "rg-images", "hp-pilot"
GALLERY = (IMAGES, "gal_evergold", "office")
POOLS = "Microsoft.DesktopVirtualization/hostPools"
PUBLISHER = ("microsoftwindowsdesktop", "office-365", "win11-25h2-avd-m365")
MARKETPLACE = {**dict(zip(("publisher", "offer", "sku"), PUBLISHER, strict=True)), "version": "26200.9231.261110"}
TAGS = {"evergold-refresh": "walk"}
MORNING = timedelta(hours=18)
KQL = """
    WVDAgentHealthStatus
    | where TimeGenerated > ago(30m)
    | summarize LastSeen = max(TimeGenerated), Reports = count() by SessionHostName, Status
    | project SessionHostName, Status, Seen = tostring(LastSeen), Reports = tostring(Reports)
"""


@dataclass(frozen=True)
class Clients:
    """The clients, and the time.

    Untyped, because they are given plain JSON: that they take, though their type hints name models only.
    """

    compute: Any
    desktops: Any
    logs: Any
    graph_client: Any
    clock: LoopClock
    scenario: Scenario

    def id(self, group: str, path: str) -> str:
        """A resource id."""
        return f"/subscriptions/{self.scenario.subscription_id}/resourceGroups/{group}/providers/{path}"

    async def get(self, path: str, version: str) -> None:
        """A read for which there is no client here."""
        response = await self.compute.send_request(HttpRequest("GET", f"{HOST}{path}?api-version={version}"))
        response.raise_for_status()

    async def graph(self, method: str, path: str, body: Any = None) -> Any:
        """A call of Microsoft Graph; the object in its answer."""
        response = await self.graph_client.send_request(HttpRequest(method, f"{HOST}{path}", json=body))
        response.raise_for_status()
        return response.json() if response.text() else None


def record(path: Path) -> set[tuple[str, str]]:
    """Walks, writes the exchanges to `path`, and returns the routes that nobody has walked, as method and path."""
    scenario = load("small").model_copy(update={"cloud_pcs": [CloudPcs(policy="Office", count=2)]})

    async def main(clock: LoopClock) -> set[tuple[str, str]]:
        cloud = Cloud(scenario, WorldClock(scenario.start), journal=path)
        transport: Any = ClockTransport(AsgiTransport(cloud.app), clock)
        async with AsyncExitStack() as stack:
            credential = await stack.enter_async_context(
                ClientSecretCredential(
                    scenario.tenant_id,
                    scenario.clients[0].client_id,
                    scenario.clients[0].secret,
                    authority=HOST,
                    disable_instance_discovery=True,
                    transport=transport,
                )
            )
            common: dict[str, Any] = {"transport": transport, "polling_interval": 15}
            arm = (credential, scenario.subscription_id, HOST)
            clients = Clients(
                await stack.enter_async_context(ComputeManagementClient(*arm, credential_scopes=[SCOPE], **common)),
                await stack.enter_async_context(
                    DesktopVirtualizationMgmtClient(*arm, credential_scopes=[SCOPE], **common)
                ),
                await stack.enter_async_context(LogsQueryClient(credential, endpoint=HOST, transport=transport)),
                AsyncPipelineClient(HOST, transport=transport, policies=graph_policies(credential, GRAPH_SCOPE, clock)),
                clock,
                scenario,
            )
            await walk(clients)
        return unwalked(cloud, path)

    return run_virtual(main, scenario.start)


def unwalked(cloud: Cloud, path: Path) -> set[tuple[str, str]]:
    """The routes of the world that no recorded exchange has taken."""
    taken = {(e["method"], e["url"].removeprefix(HOST).partition("?")[0]) for e in map(json.loads, path.open())}
    routes = [route for service in cloud._services() for route in service.routes()]
    return {
        (route.method, route.path)
        for route in routes
        if not any(method == route.method and route.pattern.match(url) for method, url in taken)
    }


async def walk(to: Clients) -> None:
    """Everything, in an order in which it can be done."""
    await look_around(to)
    await make_a_machine(to)
    await run_things_on_it(to)
    await copy_its_disk(to)
    await publish_it(to)
    await make_a_managed_image(to)
    await to.clock.sleep(MORNING.total_seconds())
    await keep_a_pool(to)
    await move_its_users(to)
    await read_logs(to)
    await ask_graph(to)
    await be_refused(to)


async def look_around(to: Clients) -> None:
    base = f"/subscriptions/{to.scenario.subscription_id}"
    await to.get(f"{base}/resourceGroups", "2021-04-01")
    await to.get(f"{base}/resourceGroups/{HOSTS}", "2021-04-01")
    await to.get(f"{base}/providers/Microsoft.DesktopVirtualization", "2021-04-01")
    await to.get(to.id(HOSTS, "Microsoft.Authorization/permissions"), "2022-04-01")
    await to.get(to.id(HOSTS, "Microsoft.Authorization/locks"), "2020-05-01")
    subnet = to.id("rg-network", "Microsoft.Network/virtualNetworks/vnet-avd/subnets/snet-hosts")
    await to.get(subnet, "2024-05-01")
    await to.get(f"{subnet}/providers/Microsoft.Authorization/permissions", "2022-04-01")
    await to.get(to.id("rg-network", "Microsoft.Network/virtualNetworks/vnet-avd"), "2024-05-01")
    await to.get(to.id("rg-network", "Microsoft.Network/networkSecurityGroups/nsg-hosts"), "2024-05-01")
    await ask_about_protection(to)
    vm = to.id(HOSTS, "Microsoft.Compute/virtualMachines/pil-001")
    await to.get(f"{vm}/providers/Microsoft.Insights/dataCollectionRuleAssociations", "2022-06-01")
    cards = to.id(HOSTS, "Microsoft.Network/networkInterfaces")
    response = await to.compute.send_request(HttpRequest("GET", f"{HOST}{cards}?api-version=2024-05-01"))
    await to.get(response.json()["value"][0]["id"], "2024-05-01")
    assert [usage async for usage in to.compute.usage.list(LOCATION)]
    assert [sku async for sku in to.compute.resource_skus.list(filter=f"location eq '{LOCATION}'")]
    assert await to.compute.virtual_machine_images.list(LOCATION, *PUBLISHER)
    await to.compute.virtual_machine_images.get(LOCATION, *PUBLISHER, version=MARKETPLACE["version"])
    await to.compute.galleries.get(*GALLERY[:2])
    definition = (await to.compute.gallery_images.get(*GALLERY)).as_dict()
    assert [each.name async for each in to.compute.gallery_images.list_by_gallery(*GALLERY[:2])]
    await finish(to.compute.gallery_images.begin_update(*GALLERY, gallery_image={"tags": TAGS}))
    kept = ("osType", "osState", "hyperVGeneration", "architecture", "identifier", "features")
    properties = {name: definition["properties"][name] for name in kept}
    whole = {"location": LOCATION, "tags": TAGS, "properties": properties}
    await finish(to.compute.gallery_images.begin_create_or_update(*GALLERY, gallery_image=whole))
    assert [version async for version in to.compute.gallery_image_versions.list_by_gallery_image(*GALLERY)]


async def ask_about_protection(to: Clients) -> None:
    """Backup, and terms: a world whose image is sold is another one, so the terms are refused."""
    base = f"{HOST}/subscriptions/{to.scenario.subscription_id}/providers"
    machine = {"resourceType": "VM", "resourceId": to.id(HOSTS, "Microsoft.Compute/virtualMachines/pil-001")}
    backup = f"{base}/Microsoft.RecoveryServices/locations/{LOCATION}/backupStatus?api-version=2024-04-01"
    asked = await to.compute.send_request(HttpRequest("POST", backup, json=machine))
    assert asked.json()["protectionStatus"] == "NotProtected"
    plan = "Microsoft.MarketplaceOrdering/offerTypes/virtualmachine/publishers/p/offers/o/plans/n/agreements/current"
    terms = await to.compute.send_request(HttpRequest("GET", f"{base}/{plan}?api-version=2021-01-01"))
    assert terms.status_code == 400


async def make_a_machine(to: Clients) -> None:
    machines = to.compute.virtual_machines
    await finish(
        machines.begin_create_or_update(
            BUILD, "build", order(to, "build", MARKETPLACE), match_condition=MatchConditions.IfMissing
        )
    )
    await machines.get(BUILD, "build")
    await machines.get(BUILD, "build", expand="instanceView")
    await machines.instance_view(BUILD, "build")
    assert [vm async for vm in machines.list(BUILD)]
    assert [vm async for vm in machines.list_all()]
    assert [vm async for vm in machines.list_all(status_only="true")]
    await finish(machines.begin_update(BUILD, "build", {"tags": {**TAGS, "more": "1"}}))
    image = {"id": to.id(IMAGES, "Microsoft.Compute/galleries/gal_evergold/images/office/versions/1.0.0")}
    await finish(machines.begin_create_or_update(HOSTS, "pil-101", order(to, "pil-101", image)))
    await change_hands(to, image)


async def change_hands(to: Clients, image: dict[str, Any]) -> None:
    """A network card outlives its machine, and another is made with it."""
    machines = to.compute.virtual_machines
    first = order(to, "pil-102", image)
    await finish(machines.begin_create_or_update(HOSTS, "pil-102", first))
    kept = {"properties": {"primary": True, "deleteOption": "Detach"}}
    card = {"id": to.id(HOSTS, "Microsoft.Network/networkInterfaces/pil-102-nic"), **kept}
    profile = {"properties": {"networkProfile": {"networkInterfaces": [card]}}}
    await finish(machines.begin_update(HOSTS, "pil-102", profile))
    await finish(machines.begin_delete(HOSTS, "pil-102"))
    second = order(to, "pil-103", image)
    second["properties"] |= profile["properties"]
    await finish(machines.begin_create_or_update(HOSTS, "pil-103", second))
    await finish(machines.begin_delete(HOSTS, "pil-103"))


async def run_things_on_it(to: Clients) -> None:
    machines, vm = to.compute.virtual_machines, (BUILD, "build")
    extensions, commands = to.compute.virtual_machine_extensions, to.compute.virtual_machine_run_commands
    kind = {"publisher": "Microsoft.Azure.ActiveDirectory", "type": "AADLoginForWindows", "typeHandlerVersion": "2.2"}
    in_intune = {"autoUpgradeMinorVersion": True, "settings": {"mdmId": "0000000a-0000-0000-c000-000000000000"}}
    extension = {"location": LOCATION, "tags": TAGS, "properties": {**kind, **in_intune}}
    await finish(extensions.begin_create_or_update(*vm, "join", extension))
    await extensions.get(*vm, "join")
    await extensions.list(*vm)
    await finish(extensions.begin_delete(*vm, "join"))
    command = {
        "location": LOCATION,
        "tags": TAGS,
        "properties": {
            "source": {"script": "Get-Date"},
            "parameters": [{"name": "a", "value": "b"}],
            "protectedParameters": [{"name": "token", "value": "hush"}],
            "asyncExecution": False,
            "timeoutInSeconds": 600,
            "treatFailureAsDeploymentFailure": False,
        },
    }
    await finish(commands.begin_create_or_update(*vm, "date", command))
    await commands.get_by_virtual_machine(*vm, "date", expand="instanceView")
    assert [each async for each in commands.list_by_virtual_machine(*vm)]
    await finish(commands.begin_delete(*vm, "date"))
    at_once = {"commandId": "RunPowerShellScript", "script": ["Get-Date"], "parameters": [{"name": "a", "value": "b"}]}
    await finish(machines.begin_run_command(*vm, at_once))
    await finish(machines.begin_assess_patches(*vm))
    settings = {"classificationsToInclude": ["Critical", "Security"]}
    wanted = {"maximumDuration": "PT2H", "rebootSetting": "IfRequired", "windowsParameters": settings}
    await finish(machines.begin_install_patches(*vm, wanted))
    await finish(machines.begin_restart(*vm))
    await to.clock.sleep(1200)  # a machine may be told 12 things at once, and then 4 a minute
    await finish(machines.begin_power_off(*vm))
    await finish(machines.begin_start(*vm))


async def copy_its_disk(to: Clients) -> None:
    vm = (await to.compute.virtual_machines.get(BUILD, "build")).as_dict()
    source = vm["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"]
    snapshots, disks = to.compute.snapshots, to.compute.disks
    copy = {"createOption": "Copy", "sourceResourceId": source}
    snapshot = {"location": LOCATION, "tags": TAGS, "properties": {"creationData": copy, "incremental": True}}
    await finish(snapshots.begin_create_or_update(BUILD, "snap", snapshot))
    made = (await snapshots.get(BUILD, "snap")).as_dict()
    await finish(snapshots.begin_update(BUILD, "snap", {"tags": {"more": "1"}}))
    assert [each async for each in snapshots.list_by_resource_group(BUILD)]
    assert [each async for each in snapshots.list()]
    copy = {"createOption": "Copy", "sourceResourceId": made["id"]}
    disk = {"location": LOCATION, "tags": TAGS, "sku": {"name": "Premium_LRS"}, "properties": {"creationData": copy}}
    await finish(disks.begin_create_or_update(BUILD, "disk", disk))
    await disks.get(BUILD, "disk")
    await finish(disks.begin_update(BUILD, "disk", {"tags": {"more": "1"}}))
    assert [each async for each in disks.list_by_resource_group(BUILD)]
    assert [each async for each in disks.list()]
    await boot_and_swap(to, made["id"])
    await finish(snapshots.begin_delete(BUILD, "snap"))


async def boot_and_swap(to: Clients, snapshot_id: str) -> None:
    """A machine on a disk that is there, and then on another one."""
    machines, disks = to.compute.virtual_machines, to.compute.disks
    copied = order(to, "copied", MARKETPLACE)
    disk_id = to.id(BUILD, "Microsoft.Compute/disks/disk")
    attached = {"createOption": "Attach", "osType": "Windows", "managedDisk": {"id": disk_id}}
    copied["properties"]["storageProfile"] = {"osDisk": attached}
    del copied["properties"]["osProfile"]
    await finish(machines.begin_create_or_update(BUILD, "copied", copied))
    await finish(machines.begin_deallocate(BUILD, "copied"))
    source = {"createOption": "Copy", "sourceResourceId": snapshot_id}
    other = {"location": LOCATION, "properties": {"creationData": source, "osType": "Windows"}}
    await finish(disks.begin_create_or_update(BUILD, "other", other))
    machine = await machines.get(BUILD, "copied")
    os_disk = machine.properties.storage_profile.os_disk
    os_disk.name, os_disk.managed_disk = "other", {"id": to.id(BUILD, "Microsoft.Compute/disks/other")}
    await finish(machines.begin_create_or_update(BUILD, "copied", machine))
    await finish(disks.begin_delete(BUILD, "disk"))
    await finish(machines.begin_delete(BUILD, "copied"))


async def publish_it(to: Clients) -> None:
    await seal(to, "build")
    versions = to.compute.gallery_image_versions
    regions = [{"name": name, "regionalReplicaCount": 1} for name in ("westeurope", "northeurope")]
    body: dict[str, Any] = {
        "location": LOCATION,
        "tags": TAGS,
        "properties": {
            "publishingProfile": {"targetRegions": regions, "excludeFromLatest": True},
            "storageProfile": {"source": {"virtualMachineId": to.id(BUILD, "Microsoft.Compute/virtualMachines/build")}},
        },
    }
    await finish(versions.begin_create_or_update(*GALLERY, "1.1.0", body))
    await versions.get(*GALLERY, "1.1.0", expand="ReplicationStatus")
    await finish(versions.begin_update(*GALLERY, "1.1.0", {"tags": {**TAGS, "more": "1"}}))
    body["properties"]["publishingProfile"]["excludeFromLatest"] = False
    body["properties"]["publishingProfile"]["targetRegions"] = [regions[0], {**regions[1], "name": "eastus"}]
    body["properties"]["safetyProfile"] = {"allowDeletionOfReplicatedLocations": True}
    await finish(versions.begin_create_or_update(*GALLERY, "1.1.0", body))
    await versions.get(*GALLERY, "1.1.0", expand="ReplicationStatus")
    await finish(versions.begin_delete(*GALLERY, "1.1.0"))
    await finish(to.compute.virtual_machines.begin_delete(BUILD, "build"))


async def make_a_managed_image(to: Clients) -> None:
    machines, images = to.compute.virtual_machines, to.compute.images
    machine = order(to, "plain", MARKETPLACE, security=None)
    await finish(machines.begin_create_or_update(BUILD, "plain", machine))
    await seal(to, "plain")
    source = {"id": to.id(BUILD, "Microsoft.Compute/virtualMachines/plain")}
    body = {
        "location": LOCATION,
        "tags": TAGS,
        "properties": {"sourceVirtualMachine": source, "hyperVGeneration": "V2"},
    }
    await finish(images.begin_create_or_update(BUILD, "image", body))
    await images.get(BUILD, "image")
    assert [each async for each in images.list_by_resource_group(BUILD)]
    await finish(images.begin_delete(BUILD, "image"))


async def seal(to: Clients, name: str) -> None:
    await finish(to.compute.virtual_machines.begin_deallocate(BUILD, name))
    await to.compute.virtual_machines.generalize(BUILD, name)


async def keep_a_pool(to: Clients) -> None:
    pools, hosts = to.desktops.host_pools, to.desktops.session_hosts
    assert [each async for each in pools.list()]
    assert [each async for each in pools.list_by_resource_group(HOSTS)]
    await pools.get(HOSTS, POOL)
    properties = {"hostPoolType": "Pooled", "loadBalancerType": "DepthFirst", "preferredAppGroupType": "Desktop"}
    await pools.create_or_update(HOSTS, POOL, {"location": LOCATION, "tags": TAGS, "properties": properties})
    expires = (to.clock.now() + timedelta(hours=2)).isoformat()
    token = {"expirationTime": expires, "registrationTokenOperation": "Update"}
    await pools.update(HOSTS, POOL, {"tags": TAGS, "properties": {"registrationInfo": token}})
    await pools.retrieve_registration_token(HOSTS, POOL)
    await pools.list_registration_tokens(HOSTS, POOL)
    await keep_a_plan(to)
    assert [each async for each in hosts.list(HOSTS, POOL)]
    await hosts.get(HOSTS, POOL, "pil-001")
    await hosts.update(HOSTS, POOL, "pil-001", {"properties": {"allowNewSession": False}})


async def keep_a_plan(to: Clients) -> None:
    plans = to.desktops.scaling_plans
    assert not [each async for each in plans.list_by_host_pool(HOSTS, POOL)]
    body = {"location": LOCATION, "tags": TAGS, "properties": properties_of(to.id(HOSTS, f"{POOLS}/{POOL}"))}
    await plans.create(HOSTS, "office-hours", body)
    await plans.get(HOSTS, "office-hours")
    assert [each async for each in plans.list_by_resource_group(HOSTS)]
    assert [each async for each in plans.list_by_host_pool(HOSTS, POOL)]
    references = [{"hostPoolArmPath": to.id(HOSTS, f"{POOLS}/{POOL}"), "scalingPlanEnabled": False}]
    await plans.update(HOSTS, "office-hours", {"properties": {"hostPoolReferences": references}})
    await plans.delete(HOSTS, "office-hours")


async def move_its_users(to: Clients) -> None:
    sessions = to.desktops.user_sessions
    everybody = [each async for each in sessions.list_by_host_pool(HOSTS, POOL)]
    assert len(everybody) >= 2
    _, host, number = str(everybody[0].name).split("/")
    one = (HOSTS, POOL, host, number)
    assert [each async for each in sessions.list(*one[:3])]
    await sessions.get(*one)
    await sessions.send_message(*one, send_message={"messageTitle": "Soon", "messageBody": "In five minutes."})
    await sessions.disconnect(*one)
    await sessions.delete(*one, force=True)
    await to.desktops.session_hosts.delete(HOSTS, POOL, host, force=True)
    await finish(to.compute.virtual_machines.begin_delete(HOSTS, host))


async def read_logs(to: Clients) -> None:
    workspace = to.scenario.workspace_id
    for query in (KQL, "Heartbeat | where TimeGenerated > ago(1h) | distinct Computer"):
        assert (await to.logs.query_workspace(workspace, query, timespan=timedelta(hours=1), server_timeout=60)).tables


async def ask_graph(to: Clients) -> None:
    """Devices: there is no contract of these to hold to, but every route is taken."""
    for place in ("devices", "deviceManagement/managedDevices"):
        listed = await to.graph("GET", f"/v1.0/{place}")
        for device in listed["value"][:1]:
            await to.graph("GET", f"/v1.0/{place}/{device['id']}")
            await to.graph("DELETE", f"/v1.0/{place}/{device['id']}")
    stable, beta = (f"/{version}/deviceManagement/virtualEndpoint" for version in ("v1.0", "beta"))
    policy = (await to.graph("GET", f"{stable}/provisioningPolicies"))["value"][0]
    await to.graph("GET", f"{stable}/provisioningPolicies/{policy['id']}?$expand=assignments")
    await to.graph("PATCH", f"{stable}/provisioningPolicies/{policy['id']}", {"description": "walked"})
    source = to.id(IMAGES, "Microsoft.Compute/images/walked")
    new = {"displayName": "walked", "version": "1.0.0", "sourceImageResourceId": source}
    image = await to.graph("POST", f"{stable}/deviceImages", new)
    await to.graph("GET", f"{stable}/deviceImages")
    await to.graph("GET", f"{stable}/deviceImages/getSourceImages")
    await to.graph("GET", f"{stable}/deviceImages/{image['id']}")
    await to.graph("DELETE", f"{stable}/deviceImages/{image['id']}")
    await to.graph("GET", "/v1.0/groups/55555555-5555-4555-8555-555555555555/transitiveMembers")
    await ask_cloud_pcs(to, stable, beta)


async def ask_cloud_pcs(to: Clients, stable: str, beta: str) -> None:
    first, second = (each["id"] for each in (await to.graph("GET", f"{stable}/cloudPCs"))["value"][:2])
    await to.graph("GET", f"{beta}/cloudPCs")
    await to.graph("GET", "/beta/deviceManagement/deviceHealthScripts/any/deviceRunStates")
    await to.graph("GET", f"{beta}/cloudPCs/{first}")
    await to.graph("GET", f"{beta}/reports/getRealTimeRemoteConnectionStatus(cloudPcId='{first}')")
    await to.graph("POST", f"{beta}/cloudPCs/{first}/createSnapshot", {})
    points = await to.graph("GET", f"{beta}/cloudPCs/{first}/retrieveSnapshots")
    point = {"cloudPcSnapshotId": points["value"][0]["id"]}
    await to.graph("POST", f"{stable}/cloudPCs/{first}/restore", point)
    kind = "#microsoft.graph.cloudPcBulkCreateSnapshot"
    bulk = {"@odata.type": kind, "displayName": "walked", "cloudPcIds": [second]}
    made = await to.graph("POST", f"{beta}/bulkActions", bulk)
    await to.graph("GET", f"{beta}/bulkActions")
    await to.graph("GET", f"{beta}/bulkActions/{made['id']}")
    await to.graph("POST", f"{stable}/cloudPCs/{second}/reprovision", {})


async def be_refused(to: Clients) -> None:
    """What Azure says no to."""
    workspace, nowhere = to.scenario.workspace_id, "55555555-5555-4555-8555-555555555555"
    with suppress_refusal(404):
        await to.compute.virtual_machines.get(HOSTS, "nobody")
    with suppress_refusal(404):
        await to.desktops.session_hosts.get(HOSTS, POOL, "nobody")
    with suppress_refusal(412):
        taken = order(to, "pil-101", MARKETPLACE)
        await to.compute.virtual_machines.begin_create_or_update(
            HOSTS, "pil-101", taken, match_condition=MatchConditions.IfMissing
        )
    with suppress_refusal(400):
        await to.logs.query_workspace(workspace, "Heartbeat | where", timespan=None)
    with suppress_refusal(404):
        await to.logs.query_workspace(nowhere, "Heartbeat", timespan=None)


class suppress_refusal(suppress):  # noqa: N801  # reads as the function that it is
    """Expects that Azure refuses with a status, and swallows that."""

    def __init__(self, status: int) -> None:
        super().__init__(HttpResponseError)
        self._status = status

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool:
        assert isinstance(error, HttpResponseError), f"a refusal with {self._status} is expected, not {error!r}"
        assert error.status_code == self._status, error
        return True


async def finish(beginning: Any) -> Any:
    """Waits for a long-running operation."""
    return await (await beginning).result()


def order(to: Clients, name: str, image: dict[str, str], security: str | None = "TrustedLaunch") -> dict[str, Any]:
    """The body of a virtual machine with its card inline."""
    network = "vnet-build/subnets/snet-build" if "id" not in image else "vnet-avd/subnets/snet-hosts"
    subnet = {"id": to.id("rg-network", f"Microsoft.Network/virtualNetworks/{network}")}
    address = {"name": "ip", "properties": {"subnet": subnet, "primary": True}}
    card = {"primary": True, "deleteOption": "Delete", "ipConfigurations": [address]}
    disk = {"createOption": "FromImage", "deleteOption": "Delete", "managedDisk": {"storageAccountType": "Premium_LRS"}}
    properties: dict[str, Any] = {
        "hardwareProfile": {"vmSize": "Standard_D4s_v5"},
        "storageProfile": {"imageReference": image, "osDisk": disk},
        "osProfile": {"computerName": name, "adminUsername": "keeper", "adminPassword": "Correct1Horse"},
        "networkProfile": {
            "networkApiVersion": "2022-11-01",
            "networkInterfaceConfigurations": [{"name": f"{name}-nic", "properties": card}],
        },
    }
    if security:
        uefi = {"secureBootEnabled": True, "vTpmEnabled": True}
        properties["securityProfile"] = {"securityType": security, "uefiSettings": uefi}
    identity = {"type": "SystemAssigned"}
    return {"location": LOCATION, "tags": TAGS, "identity": identity, "properties": properties}
