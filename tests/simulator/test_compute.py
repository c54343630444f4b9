"""Simulated virtual machines answer and change as Azure's do."""

from typing import Any

import pytest

from simulator.machines import Machine
from simulator.news import MachineDeleted, MachineRunning, MachineStopped, MachineStopping
from simulator.scenario import Durations, Quota, load
from tests.support.caller import Answer, Caller

GROUP = "rg-images-build"
SUBNET = "Microsoft.Network/virtualNetworks/vnet-build/subnets/snet-build"
GALLERY = "Microsoft.Compute/galleries/gal_evergold/images/office/versions/1.0.0"
MARKETPLACE = {
    "publisher": "microsoftwindowsdesktop",
    "offer": "office-365",
    "sku": "win11-25h2-avd-m365",
    "version": "26200.9231.261110",
}
ACTIONS = ("start", "powerOff", "deallocate", "restart", "generalize")


def order(world: Caller, name: str = "vm1", **changes: Any) -> dict[str, Any]:
    """The body of a PUT; `changes` replace whole parts of the properties."""
    card = {
        "primary": True,
        "deleteOption": "Delete",
        "ipConfigurations": [
            {"name": "ip", "properties": {"primary": True, "subnet": {"id": world.path("rg-network", SUBNET)}}}
        ],
    }
    properties: dict[str, Any] = {
        "hardwareProfile": {"vmSize": "Standard_D4s_v5"},
        "storageProfile": {
            "imageReference": MARKETPLACE,
            "osDisk": {
                "name": f"{name}-os",
                "createOption": "FromImage",
                "deleteOption": "Delete",
                "managedDisk": {"storageAccountType": "Premium_LRS"},
            },
        },
        "osProfile": {"computerName": name, "adminUsername": "keeper", "adminPassword": "Correct1Horse"},
        "networkProfile": {
            "networkApiVersion": "2022-11-01",
            "networkInterfaceConfigurations": [{"name": f"{name}-nic", "properties": card}],
        },
        "securityProfile": {
            "securityType": "TrustedLaunch",
            "uefiSettings": {"secureBootEnabled": True, "vTpmEnabled": True},
        },
    }
    tags = {"evergold-refresh": "r1"}
    return {"location": "westeurope", "tags": tags, "properties": {**properties, **changes}}


def vm_path(world: Caller, name: str = "vm1", rest: str = "") -> str:
    return world.path(GROUP, f"Microsoft.Compute/virtualMachines/{name}{rest}")


def put(world: Caller, name: str = "vm1", **changes: Any) -> Answer:
    return world.send("PUT", vm_path(world, name), order(world, name, **changes))


def running(world: Caller, name: str = "vm1") -> Machine:
    """A machine that runs."""
    assert world.ended(put(world, name))["status"] == "Succeeded"
    machine = world.cloud.compute.find(vm_path(world, name))
    assert machine is not None
    return machine


def act(world: Caller, action: str, name: str = "vm1") -> Answer:
    return world.send("POST", vm_path(world, name, f"/{action}"))


def deallocated(world: Caller) -> Machine:
    machine = running(world)
    world.ended(act(world, "deallocate"))
    return machine


def codes(world: Caller, name: str = "vm1") -> list[str]:
    """The status codes of a machine's instance view."""
    view = world.send("GET", vm_path(world, name, "/instanceView")).json()
    return [status["code"] for status in view["statuses"]]


def agent(world: Caller) -> str:
    """What the VM agent says of itself."""
    view = world.send("GET", vm_path(world, rest="/instanceView")).json()
    return str(view["vmAgent"]["statuses"][0]["displayStatus"])


def refusal(answer: Answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


# Making


def test_a_new_vm_is_answered_at_once_and_runs_when_its_operation_has_ended() -> None:
    world = Caller()
    answer = put(world)
    assert answer.status_code == 201
    assert "azure-asyncoperation" in answer.headers
    assert "location" not in answer.headers
    assert answer.json()["properties"]["provisioningState"] == "Creating"
    assert codes(world) == ["ProvisioningState/creating"]
    assert world.ended(answer)["status"] == "Succeeded"
    assert codes(world) == ["ProvisioningState/succeeded", "PowerState/running"]


def test_a_password_goes_in_and_never_comes_out() -> None:
    world = Caller()
    answer = put(world)
    seen = world.send("GET", vm_path(world), expand="instanceView")
    assert "Correct1Horse" not in answer.text + seen.text


def test_what_a_vm_was_made_of_can_be_read_back() -> None:
    world = Caller()
    running(world)
    vm = world.send("GET", vm_path(world)).json()
    storage = vm["properties"]["storageProfile"]
    assert storage["imageReference"] == {**MARKETPLACE, "exactVersion": "26200.9231.261110"}
    assert storage["osDisk"]["managedDisk"]["id"].endswith("/disks/vm1-os")
    assert vm["tags"] == {"evergold-refresh": "r1"}


def test_if_none_match_leaves_a_vm_that_is_there_untouched() -> None:
    world = Caller()
    machine = running(world)
    answer = world.send("PUT", vm_path(world), {**order(world), "tags": {}}, {"If-None-Match": "*"})
    assert refusal(answer) == (412, "PreconditionFailed")
    assert machine.tags == {"evergold-refresh": "r1"}


def test_the_image_of_a_vm_cannot_be_changed() -> None:
    world = Caller()
    running(world)
    other = {"imageReference": {"id": world.path("rg-images", GALLERY)}}
    assert refusal(put(world, storageProfile=other)) == (409, "PropertyChangeNotAllowed")


@pytest.mark.parametrize(
    ("part", "value", "target"),
    [
        ("osProfile", {"computerName": "a-name-of-sixteen"}, "computerName"),
        ("osProfile", {"computerName": "12345"}, "computerName"),
        ("osProfile", {"adminUsername": "keeper", "adminPassword": "short"}, "adminPassword"),
        ("osProfile", {"adminUsername": "administrator", "adminPassword": "Correct1Horse"}, "adminUsername"),
        ("networkProfile", {"networkInterfaces": []}, "networkProfile"),
        ("hardwareProfile", {}, "hardwareProfile.vmSize"),
    ],
)
def test_an_order_that_windows_or_azure_cannot_fulfil_is_refused_at_once(
    part: str, value: dict[str, Any], target: str
) -> None:
    world = Caller()
    asked: dict[str, Any] = {part: value}
    answer = put(world, **asked)
    assert refusal(answer) == (400, "InvalidParameter")
    assert answer.json()["error"]["target"] == target
    assert world.cloud.compute.find(vm_path(world)) is None


def test_a_size_that_is_not_on_offer_is_refused() -> None:
    assert refusal(put(Caller(), hardwareProfile={"vmSize": "Standard_Z9"})) == (409, "SkuNotAvailable")


def test_a_vm_beyond_the_quota_is_refused_and_leaves_nothing() -> None:
    world = Caller(quotas=[Quota(limit=10)])  # two hosts of 4 cores each are there
    assert refusal(put(world)) == (409, "OperationNotAllowed")
    assert world.cloud.disks.find(world.path(GROUP, "Microsoft.Compute/disks/vm1-os")) is None


def test_a_full_subnet_refuses_and_gives_the_quota_back() -> None:
    world = Caller()
    for number in range(11):  # a /28 has 16 addresses, of which Azure keeps 5
        assert put(world, f"vm{number}").status_code == 201
    before = world.send("GET", usages(world)).json()
    assert refusal(put(world, "vm-late")) == (400, "SubnetIsFull")
    assert world.send("GET", usages(world)).json() == before


def usages(world: Caller) -> str:
    return f"/subscriptions/{world.scenario.subscription_id}/providers/Microsoft.Compute/locations/westeurope/usages"


def test_a_subnet_says_who_is_in_it() -> None:
    world = Caller()
    put(world)
    subnet = world.send("GET", world.path("rg-network", SUBNET)).json()["properties"]
    assert [each["id"].split("/")[8] for each in subnet["ipConfigurations"]] == ["vm1-nic"]


def test_a_disk_of_that_name_that_was_left_behind_stands_in_the_way() -> None:
    world = Caller()
    kept = order(world)
    kept["properties"]["storageProfile"]["osDisk"]["deleteOption"] = "Detach"
    world.ended(world.send("PUT", vm_path(world), kept))
    world.ended(world.send("DELETE", vm_path(world)))
    assert refusal(put(world)) == (409, "ConflictingUserInput")


def test_a_trusted_launch_image_makes_no_standard_vm() -> None:
    world = Caller()
    image = {"imageReference": {"id": world.path("rg-images", GALLERY)}, "osDisk": {"createOption": "FromImage"}}
    answer = put(world, storageProfile=image, securityProfile={"securityType": "Standard"})
    assert refusal(answer) == (400, "BadRequest")


def test_an_image_that_was_never_generalised_makes_a_vm_that_fails_to_set_itself_up() -> None:
    world = Caller()
    version = world.cloud.galleries.find(world.path("rg-images", GALLERY))
    assert version is not None
    version.contents = version.contents.changed(image_state="IMAGE_STATE_COMPLETE")
    image = {"imageReference": {"id": version.id}, "osDisk": {"createOption": "FromImage"}}
    ended = world.ended(put(world, storageProfile=image))
    assert (ended["status"], ended["error"]["code"]) == ("Failed", "OSProvisioningClientError")
    assert codes(world)[0] == "ProvisioningState/failed/OSProvisioningClientError"


def test_a_scenario_can_let_the_second_vm_find_no_hardware() -> None:
    world = Caller(guest_failures={"create": "2:AllocationFailed"})
    assert world.ended(put(world, "vm1"))["status"] == "Succeeded"
    assert world.ended(put(world, "vm2"))["error"]["code"] == "AllocationFailed"
    assert world.send("GET", vm_path(world, "vm2")).json()["properties"]["provisioningState"] == "Failed"


# Reading


def test_the_list_of_a_group_has_tags_and_the_list_of_statuses_has_power() -> None:
    world = Caller()
    running(world)
    (of_group,) = world.send("GET", world.path(GROUP, "Microsoft.Compute/virtualMachines")).json()["value"]
    everywhere = f"/subscriptions/{world.scenario.subscription_id}/providers/Microsoft.Compute/virtualMachines"
    statuses = world.send("GET", everywhere, statusOnly="true").json()["value"]
    assert of_group["tags"] == {"evergold-refresh": "r1"}
    assert "instanceView" not in of_group["properties"]
    assert len(statuses) == 3  # the pool's two hosts and this one
    assert all("tags" not in vm and vm["properties"]["instanceView"]["statuses"] for vm in statuses)


def test_ids_do_not_mind_letter_case() -> None:
    world = Caller()
    running(world)
    assert world.send("GET", vm_path(world).upper().replace("/SUBSCRIPTIONS", "/subscriptions")).status_code == 200


def test_a_vm_that_is_not_there_is_told_so_in_azures_words() -> None:
    world = Caller()
    answer = world.send("GET", vm_path(world))
    assert refusal(answer) == (404, "ResourceNotFound")
    assert "Microsoft.Compute/virtualMachines/vm1" in answer.json()["error"]["message"]


# Changing


def test_tags_are_replaced_whole_and_move_the_etag() -> None:
    world = Caller()
    running(world)
    before = world.send("GET", vm_path(world)).json()["etag"]
    answer = world.send("PATCH", vm_path(world), {"tags": {"a": "b"}}, {"If-Match": before})
    assert (answer.status_code, answer.json()["properties"]["provisioningState"]) == (200, "Updating")
    after = world.send("GET", vm_path(world)).json()
    assert after["tags"] == {"a": "b"}
    assert after["etag"] != before


def test_a_change_on_top_of_somebody_elses_is_refused() -> None:
    world = Caller()
    running(world)
    seen = world.send("GET", vm_path(world)).json()["etag"]
    world.send("PATCH", vm_path(world), {"tags": {"theirs": "1"}})
    answer = world.send("PATCH", vm_path(world), {"tags": {"ours": "1"}}, {"If-Match": seen})
    assert refusal(answer) == (412, "PreconditionFailed")
    assert world.send("GET", vm_path(world)).json()["tags"] == {"theirs": "1"}


# Power


def test_deallocating_goes_through_deallocating_to_deallocated() -> None:
    world = Caller()
    running(world)
    answer = act(world, "deallocate")
    assert answer.status_code == 202
    assert {"azure-asyncoperation", "location"} <= set(answer.headers)
    assert codes(world)[-1] == "PowerState/deallocating"
    world.ended(answer)
    assert codes(world)[-1] == "PowerState/deallocated"


def test_a_started_vm_runs_before_its_agent_answers() -> None:
    world = Caller(durations=Durations(vm_start=(30, 30)))
    deallocated(world)
    act(world, "start")
    world.wait(30)
    assert (codes(world)[-1], agent(world)) == ("PowerState/running", "Not Ready")
    world.wait(60)
    assert agent(world) == "Ready"


def test_the_same_change_of_power_twice_is_one_operation() -> None:
    world = Caller()
    running(world)
    first, second = act(world, "deallocate"), act(world, "deallocate")
    assert first.headers["azure-asyncoperation"] == second.headers["azure-asyncoperation"]
    world.ended(first)
    assert act(world, "deallocate").status_code == 200


def test_another_change_of_power_has_to_wait() -> None:
    world = Caller()
    running(world)
    act(world, "deallocate")
    answer = act(world, "start")
    assert refusal(answer) == (409, "OperationNotAllowed")
    assert "An ongoing operation is changing power state" in answer.json()["error"]["message"]


def test_a_vm_that_is_being_made_cannot_be_switched() -> None:
    world = Caller()
    put(world)
    for action in ACTIONS:
        assert refusal(act(world, action)) == (409, "OperationNotAllowed")


def test_a_start_that_finds_no_hardware_leaves_the_vm_off_and_failed_until_one_succeeds() -> None:
    world = Caller(guest_failures={"start": "1:AllocationFailed"})
    deallocated(world)
    assert world.ended(act(world, "start"))["error"]["code"] == "AllocationFailed"
    assert codes(world) == ["ProvisioningState/failed/AllocationFailed", "PowerState/deallocated"]
    assert world.ended(act(world, "start"))["status"] == "Succeeded"
    assert codes(world) == ["ProvisioningState/succeeded", "PowerState/running"]


def test_only_a_vm_that_is_off_can_be_marked_as_generalised_and_then_never_starts_again() -> None:
    world = Caller()
    running(world)
    assert "since the VM is running" in act(world, "generalize").json()["error"]["message"]
    world.ended(act(world, "deallocate"))
    answer = act(world, "generalize")
    assert (answer.status_code, answer.content) == (200, b"")
    assert "OSState/generalized" in codes(world)
    assert "since the VM is generalized" in act(world, "start").json()["error"]["message"]


def test_what_happens_to_a_vm_is_told_once_and_in_order() -> None:
    world = Caller()
    heard: list[object] = []
    for kind in (MachineRunning, MachineStopping, MachineStopped, MachineDeleted):
        world.cloud.world.listen(kind, heard.append)
    machine = running(world)
    world.ended(act(world, "deallocate"))
    world.ended(act(world, "start"))
    world.ended(world.send("DELETE", vm_path(world)))
    assert heard == [
        MachineRunning(machine.id),
        MachineStopping(machine.id, clean=True),
        MachineStopped(machine.id),
        MachineRunning(machine.id),
        MachineStopping(machine.id, clean=False),
        MachineDeleted(machine.id),
    ]


# Deleting


def test_a_deleted_vm_takes_its_card_its_disk_and_its_cores_along() -> None:
    world = Caller()
    before = world.send("GET", usages(world)).json()
    running(world)
    answer = world.send("DELETE", vm_path(world))
    assert answer.status_code == 202
    assert world.send("GET", vm_path(world)).json()["properties"]["provisioningState"] == "Deleting"
    world.ended(answer)
    for gone in ("virtualMachines/vm1", "disks/vm1-os"):
        assert world.send("GET", world.path(GROUP, f"Microsoft.Compute/{gone}")).status_code == 404
    assert world.send("GET", world.path(GROUP, "Microsoft.Network/networkInterfaces/vm1-nic")).status_code == 404
    assert world.send("GET", usages(world)).json() == before
    assert world.send("DELETE", vm_path(world)).status_code == 204


CARD = "Microsoft.Network/networkInterfaces/vm1-nic"


def with_card(world: Caller, option: str) -> dict[str, Any]:
    """A network profile that names the first VM's card, and what is to become of it."""
    return {
        "networkInterfaces": [{"id": world.path(GROUP, CARD), "properties": {"primary": True, "deleteOption": option}}]
    }


def address(world: Caller) -> tuple[str, str]:
    """Of the first VM's card, and how it was given."""
    (found,) = world.send("GET", world.path(GROUP, CARD)).json()["properties"]["ipConfigurations"]
    return found["properties"]["privateIPAddress"], found["properties"]["privateIPAllocationMethod"]


def left_by_its_vm(world: Caller) -> tuple[str, str]:
    """The first VM is made and deleted again, its card stays; returns the card's address."""
    running(world)
    patched = world.send("PATCH", vm_path(world), {"properties": {"networkProfile": with_card(world, "Detach")}})
    assert world.ended(patched)["status"] == "Succeeded"
    before = address(world)
    world.ended(world.send("DELETE", vm_path(world)))
    return before


def test_a_card_that_is_to_be_detached_outlives_its_vm_with_its_address_and_another_vm_is_made_with_it() -> None:
    world = Caller()
    before = left_by_its_vm(world)
    assert "virtualMachine" not in world.send("GET", world.path(GROUP, CARD)).json()["properties"]
    answer = put(world, "vm2", networkProfile=with_card(world, "Detach"))
    assert world.ended(answer)["status"] == "Succeeded"
    assert address(world) == before == ("10.10.0.4", "Dynamic")
    second = world.send("GET", vm_path(world, "vm2")).json()["properties"]["networkProfile"]
    assert second == with_card(world, "Detach")
    assert world.send("GET", world.path(GROUP, CARD)).json()["properties"]["virtualMachine"]["id"] == vm_path(
        world, "vm2"
    )


def test_a_card_goes_with_its_vm_where_that_is_said_later() -> None:
    world = Caller()
    left_by_its_vm(world)
    world.ended(put(world, "vm2", networkProfile=with_card(world, "Detach")))
    world.ended(
        world.send("PATCH", vm_path(world, "vm2"), {"properties": {"networkProfile": with_card(world, "Delete")}})
    )
    world.ended(world.send("DELETE", vm_path(world, "vm2")))
    assert world.send("GET", world.path(GROUP, CARD)).status_code == 404


def test_no_two_vms_have_one_card() -> None:
    world = Caller()
    running(world)
    answer = put(world, "vm2", networkProfile=with_card(world, "Detach"))
    assert refusal(answer) == (400, "NicInUse")
    assert vm_path(world) in answer.json()["error"]["message"]
    assert world.cloud.compute.find(vm_path(world, "vm2")) is None


def test_a_vm_is_not_made_with_a_card_that_is_not_there_or_in_another_region() -> None:
    world = Caller()
    assert refusal(put(world, "vm2", networkProfile=with_card(world, "Detach"))) == (400, "InvalidResourceReference")
    left_by_its_vm(world)
    card = world.cloud.network.find(world.path(GROUP, CARD))
    assert card is not None
    card.location = "northeurope"
    assert refusal(put(world, "vm2", networkProfile=with_card(world, "Detach"))) == (400, "InvalidResourceReference")


def test_the_card_of_a_vm_that_could_not_be_provisioned_is_reserved_for_it_for_three_minutes() -> None:
    world = Caller(guest_failures={"create": "2:AllocationFailed"})
    left_by_its_vm(world)
    failed = put(world, networkProfile=with_card(world, "Detach"))
    assert world.ended(failed)["status"] == "Failed"
    world.ended(world.send("DELETE", vm_path(world)))
    other = put(world, "vm2", networkProfile=with_card(world, "Detach"))
    assert refusal(other) == (400, "NicReservedForAnotherVm")
    world.wait(180)
    assert put(world, "vm2", networkProfile=with_card(world, "Detach")).status_code == 201


def test_a_pools_hosts_may_have_static_addresses() -> None:
    world = Caller(host_pools=[load("small").host_pools[0].model_copy(update={"static_addresses": True})])
    cards = world.send("GET", world.path("rg-avd-pilot", "Microsoft.Network/networkInterfaces")).json()["value"]
    given = [each["properties"]["ipConfigurations"][0]["properties"]["privateIPAllocationMethod"] for each in cards]
    assert given == ["Static", "Static"]


def test_deleting_twice_never_touches_the_next_vm_of_that_name() -> None:
    world = Caller()
    running(world)
    first = world.send("DELETE", vm_path(world))
    world.wait(5)
    world.send("DELETE", vm_path(world))
    world.ended(first)
    running(world)
    world.wait(600)
    assert world.send("GET", vm_path(world)).status_code == 200


def test_nothing_but_deletion_can_be_asked_of_a_vm_that_is_being_deleted() -> None:
    world = Caller()
    running(world)
    world.send("DELETE", vm_path(world))
    for answer in (put(world), act(world, "start"), world.send("PATCH", vm_path(world), {"tags": {}})):
        assert refusal(answer) == (409, "OperationNotAllowed")
        assert "marked for deletion" in answer.json()["error"]["message"]


@pytest.mark.parametrize("under_way", ["creation", "start"])
def test_a_deletion_overtakes_what_is_under_way_and_the_vm_never_runs(under_way: str) -> None:
    world = Caller()
    if under_way == "start":
        machine = deallocated(world)
        overtaken = act(world, "start")
    else:
        overtaken = put(world)
        machine = world.cloud.compute.machines()[-1]
    heard: list[Any] = []
    world.cloud.world.listen(MachineRunning, heard.append)
    world.ended(world.send("DELETE", vm_path(world)))
    assert world.ended(overtaken)["error"]["code"] == "OperationPreempted"
    assert heard == []
    assert not machine.is_running


# A disk that is there already


def disk_path(world: Caller, name: str) -> str:
    return world.path(GROUP, f"Microsoft.Compute/disks/{name}")


def copied_disk(world: Caller, name: str) -> str:
    """The id of a new disk that was copied from a host's."""
    source = world.cloud.compute.machines()[0].disk.id
    body = {
        "location": "westeurope",
        "properties": {"creationData": {"createOption": "Copy", "sourceResourceId": source}},
    }
    world.ended(world.send("PUT", disk_path(world, name), body))
    return disk_path(world, name)


def on_disk(world: Caller, disk: str, **changes: Any) -> dict[str, Any]:
    """The order of a VM on a disk that is there."""
    attached = {"createOption": "Attach", "osType": "Windows", "deleteOption": "Delete", "managedDisk": {"id": disk}}
    body = order(world, storageProfile={"osDisk": attached}, **changes)
    if "osProfile" not in changes:
        del body["properties"]["osProfile"]
    return body


def test_a_vm_on_a_copied_disk_is_the_windows_that_was_copied() -> None:
    world = Caller()
    source = world.cloud.compute.machines()[0]
    assert world.ended(world.send("PUT", vm_path(world), on_disk(world, copied_disk(world, "copy"))))
    machine = world.cloud.compute.find(vm_path(world))
    assert machine is not None
    assert (machine.is_running, machine.contents) == (True, source.contents)
    shown = world.send("GET", vm_path(world)).json()["properties"]
    assert "osProfile" not in shown
    assert "imageReference" not in shown["storageProfile"]
    assert shown["storageProfile"]["osDisk"]["createOption"] == "Attach"
    world.ended(world.send("DELETE", vm_path(world)))
    assert world.send("GET", disk_path(world, "copy")).status_code == 404


def test_a_vm_on_a_disk_that_is_there_is_refused_what_windows_would_be_told() -> None:
    world = Caller()
    body = on_disk(world, copied_disk(world, "copy"), osProfile={"computerName": "vm1"})
    refused = world.send("PUT", vm_path(world), body)
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, "Parameter 'osProfile' is not allowed.")


def test_a_disk_that_a_vm_has_is_refused_to_another() -> None:
    world = Caller()
    refused = world.send("PUT", vm_path(world), on_disk(world, world.cloud.compute.machines()[0].disk.id))
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "ConflictingUserInput")


def test_the_os_disk_of_a_vm_that_is_switched_off_can_be_swapped_and_the_old_one_stays() -> None:
    world = Caller()
    first, second = copied_disk(world, "first"), copied_disk(world, "second")
    world.ended(world.send("PUT", vm_path(world), on_disk(world, first)))
    body = on_disk(world, second)
    assert world.send("PUT", vm_path(world), body).json()["error"]["code"] == "OperationNotAllowed"
    world.ended(world.send("POST", vm_path(world, rest="/deallocate")))
    assert world.ended(world.send("PUT", vm_path(world), body))["status"] == "Succeeded"
    states = [world.send("GET", path).json()["properties"]["diskState"] for path in (first, second)]
    assert states == ["Unattached", "Attached"]


def test_an_image_that_is_sold_is_had_only_under_its_plan_and_with_its_terms_accepted() -> None:
    releases = [each.model_copy(update={"plan": "gold"}) for each in Caller().scenario.marketplace]
    world = Caller(marketplace=releases)
    assert world.send("PUT", vm_path(world), order(world)).json()["error"]["code"] == "VMMarketplaceInvalidInput"
    plan = {"publisher": "microsoftwindowsdesktop", "product": "office-365", "name": "gold"}
    assert world.send("PUT", vm_path(world), {**order(world), "plan": plan}).status_code == 201
    refusing = Caller(marketplace=[each.model_copy(update={"terms_accepted": False}) for each in releases])
    refused = refusing.send("PUT", vm_path(refusing), {**order(refusing), "plan": plan})
    assert refused.json()["error"]["code"] == "MarketplacePurchaseEligibilityFailed"
