"""Virtual machines and what runs in them, as sent to and read from Azure."""

from typing import Any

import pytest
from azure.mgmt.compute import models
from pydantic import SecretStr

from evergold.azure import Azure, AzureFailure
from evergold.azure.compute import (
    AttachedDisk,
    ExtensionSpec,
    GalleryImage,
    MarketplaceImage,
    PurchasePlan,
    Script,
    VmSpec,
    image_version_of,
    merged,
    status_of,
)
from evergold.azure.ids import vm_id
from tests.support.tiny_azure import ARM, SECRET_VARIABLE, SUBSCRIPTION, TinyAzure, answer, refusal, with_azure

VERSION_ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/g/images/i/versions/1.2.0"
OPERATION = f"{ARM}/subscriptions/s/providers/Microsoft.Compute/locations/westeurope/operations/op"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "s3cret")


def spec(**changes: Any) -> VmSpec:
    values: dict[str, Any] = {
        "name": "desk-01",
        "resource_group": "rg",
        "location": "westeurope",
        "size": "Standard_D4ds_v5",
        "subnet_id": "/subnet",
        "image": GalleryImage(VERSION_ID),
        "admin_username": "keeper",
        "admin_password": SecretStr("P@ss"),
        "tags": {"evergold-refresh": "r1"},
    }
    return VmSpec(**{**values, **changes})


def vm(
    *codes: str, provisioning: str = "Succeeded", tags: dict[str, str] | None = None, **extra: Any
) -> dict[str, Any]:
    """A VM as Azure returns it, with these instance view codes."""
    return {
        "id": vm_id(SUBSCRIPTION, "rg", "desk-01"),
        "name": "desk-01",
        "location": "westeurope",
        "tags": tags or {},
        "properties": {
            "provisioningState": provisioning,
            "vmId": "guid",
            "instanceView": {"statuses": [{"code": code, "message": "Because."} for code in codes]},
        },
        **extra,
    }


def running(location: str = OPERATION) -> dict[str, str]:
    """The headers of an operation that Azure has accepted."""
    return {"Azure_AsyncOperation": location}


def test_a_vm_is_one_put_with_nic_and_disk_inline_that_go_when_it_goes() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> Any:
        tiny.on("PUT", "/desk-01", answer(vm(provisioning="Creating"), 201, **running()))
        assert await azure.compute.begin_create_vm(spec())
        (put,) = tiny.requests("PUT")
        assert put.headers["if-none-match"] == "*"
        return put.json

    sent = with_azure(body)
    properties = sent["properties"]
    (nic,) = properties["networkProfile"]["networkInterfaceConfigurations"]
    assert properties["networkProfile"]["networkApiVersion"] == "2022-11-01"
    assert nic["properties"]["deleteOption"] == "Delete"
    assert nic["properties"]["ipConfigurations"][0]["properties"]["subnet"] == {"id": "/subnet"}
    assert nic["tags"] == sent["tags"] == {"evergold-refresh": "r1"}
    assert properties["storageProfile"]["osDisk"]["deleteOption"] == "Delete"
    assert properties["storageProfile"]["imageReference"] == {"id": VERSION_ID}
    assert properties["licenseType"] == "Windows_Client"
    assert properties["securityProfile"]["securityType"] == "TrustedLaunch"
    assert sent["identity"] == {"type": "SystemAssigned"}


def test_a_marketplace_vm_names_its_exact_version_and_its_plan() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> Any:
        tiny.on("PUT", "/desk-01", answer(vm(), 201))
        image = MarketplaceImage("MicrosoftWindowsDesktop", "windows-11", "win11-25h2-avd", "26200.1.1")
        plan = PurchasePlan("MicrosoftWindowsDesktop", "windows-11", "win11-25h2-avd")
        await azure.compute.begin_create_vm(spec(image=image, plan=plan, identity=False, security_type="Standard"))
        return tiny.requests("PUT")[0].json

    sent = with_azure(body)
    assert sent["properties"]["storageProfile"]["imageReference"]["version"] == "26200.1.1"
    assert sent["plan"]["product"] == "windows-11"
    assert sent["properties"]["securityProfile"] == {"securityType": "Standard"}
    assert "identity" not in sent


def test_a_vm_on_a_disk_that_is_there_tells_windows_nothing_and_carries_the_plan() -> None:
    disk = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/copy"

    async def body(azure: Azure, tiny: TinyAzure) -> Any:
        tiny.on("PUT", "/desk-01", answer(vm(), 201))
        plan = PurchasePlan("contoso", "desktop", "gold")
        await azure.compute.begin_create_vm(spec(image=AttachedDisk(disk), plan=plan))
        return tiny.requests("PUT")[0].json

    sent = with_azure(body)
    storage = sent["properties"]["storageProfile"]
    assert "osProfile" not in sent["properties"]
    assert "imageReference" not in storage
    assert storage["osDisk"]["createOption"] == "Attach"
    assert storage["osDisk"]["deleteOption"] == "Delete"
    assert storage["osDisk"]["managedDisk"] == {"id": disk}
    assert sent["plan"] == {"name": "gold", "publisher": "contoso", "product": "desktop"}


NIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/desk-01-nic"


def with_nic(option: str, **extra: Any) -> dict[str, Any]:
    """A VM as Azure returns it, with what is to become of its NIC."""
    found = vm(**extra)
    nic = {"id": NIC, "properties": {"primary": True, "deleteOption": option}}
    found["properties"]["networkProfile"] = {"networkInterfaces": [nic]}
    return found


def test_a_vm_with_a_nic_that_is_there_names_it_and_leaves_it_behind_when_it_goes() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> Any:
        tiny.on("PUT", "/desk-01", answer(vm(), 201))
        await azure.compute.begin_create_vm(spec(network_card=NIC))
        return tiny.requests("PUT")[0].json

    profile = with_azure(body)["properties"]["networkProfile"]
    assert profile == {"networkInterfaces": [{"id": NIC, "properties": {"primary": True, "deleteOption": "Detach"}}]}


def test_the_nic_of_a_vm_that_stands_is_kept_by_a_patch_of_nothing_else() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> Any:
        tiny.on("GET", "/desk-01", with_nic("Delete", etag='"7"'))
        tiny.on("PATCH", "/desk-01", vm())
        await azure.compute.begin_keep_network_cards("rg", "desk-01")
        return tiny.requests("PATCH")[0]

    patch = with_azure(body)
    kept = {"id": NIC, "properties": {"primary": True, "deleteOption": "Detach"}}
    assert patch.json == {"properties": {"networkProfile": {"networkInterfaces": [kept]}}}
    assert patch.headers["if-match"] == '"7"'


def test_that_a_vm_was_changed_meanwhile_is_left_to_the_next_look_at_it() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> int:
        tiny.on("GET", "/desk-01", with_nic("Delete", etag='"7"'))
        tiny.on("PATCH", "/desk-01", refusal(412, "PreconditionFailed"))
        await azure.compute.begin_keep_network_cards("rg", "desk-01")
        return len(tiny.requests("PATCH"))

    assert with_azure(body) == 1


def test_an_os_disk_is_swapped_by_writing_back_the_vm_that_was_read() -> None:
    disks = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks"

    async def body(azure: Azure, tiny: TinyAzure) -> list[Any]:
        had = vm(etag='"7"')
        os_disk = {"name": "old", "createOption": "FromImage", "managedDisk": {"id": f"{disks}/old"}}
        had["properties"]["storageProfile"] = {"osDisk": os_disk}
        has = vm(etag='"8"')
        has["properties"]["storageProfile"] = {"osDisk": {**os_disk, "managedDisk": {"id": f"{disks}/NEW"}}}
        tiny.on("GET", "/desk-01", had, has)
        tiny.on("PUT", "/desk-01", answer(vm(), 200))
        await azure.compute.swap_os_disk("rg", "desk-01", f"{disks}/new")
        await azure.compute.swap_os_disk("rg", "desk-01", f"{disks}/new")
        return tiny.requests("PUT")

    (put,) = with_azure(body)
    assert put.headers["if-match"] == '"7"'
    swapped = put.json["properties"]["storageProfile"]["osDisk"]
    assert (swapped["name"], swapped["managedDisk"]) == ("new", {"id": f"{disks}/new"})


def test_a_vm_that_is_there_already_is_never_overwritten() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> bool:
        tiny.on("PUT", "/desk-01", refusal(412, "PreconditionFailed"))
        return await azure.compute.begin_create_vm(spec())

    assert with_azure(body) is False


def test_creating_again_after_a_crash_waits_for_the_vm_that_the_first_attempt_began() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> tuple[str | None, float]:
        tiny.on("PUT", "/desk-01", refusal(412, "PreconditionFailed"))
        tiny.on("GET", "/desk-01", vm(provisioning="Creating"), vm(provisioning="Creating"), vm("PowerState/running"))
        made = await azure.compute.create_vm(spec())
        return made.name, tiny.requests("GET")[-1].at

    assert with_azure(body) == ("desk-01", 30)


def test_why_a_creation_failed_is_read_off_the_operation() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> AzureFailure:
        tiny.on("PUT", "/desk-01", answer(vm(provisioning="Creating"), 201, **running()))
        failed = {"status": "Failed", "error": {"code": "ZonalAllocationFailed", "message": "No room in zone 1."}}
        tiny.on("GET", "/operations/op", {"status": "InProgress"}, failed)
        with pytest.raises(AzureFailure) as caught:
            await azure.compute.create_vm(spec())
        return caught.value

    failure = with_azure(body)
    assert (failure.code, failure.message, failure.retryable) == ("ZonalAllocationFailed", "No room in zone 1.", True)
    assert failure.what == "create the virtual machine"


def test_why_a_creation_failed_is_read_off_the_vm_where_the_operation_is_lost() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> AzureFailure:
        tiny.on("GET", "/desk-01", vm("ProvisioningState/failed/OSProvisioningTimedOut", provisioning="Failed"))
        with pytest.raises(AzureFailure) as caught:
            await azure.compute.wait_until_provisioned("rg", "desk-01", 3600)
        return caught.value

    failure = with_azure(body)
    assert (failure.code, failure.message) == ("OSProvisioningTimedOut", "Because.")


def test_an_hour_of_polling_ends_at_the_time_out_on_the_clock() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> tuple[AzureFailure, float, int]:
        tiny.on("POST", "/deallocate", answer(status=202, **running()))
        tiny.on("GET", "/operations/op", {"status": "InProgress"})
        with pytest.raises(AzureFailure) as caught:
            await azure.compute.deallocate("rg", "desk-01", timeout_seconds=3600)
        polls = tiny.requests("GET")
        return caught.value, polls[-1].at, len(polls)

    failure, last, polls = with_azure(body)
    assert (failure.code, last, polls) == ("TookTooLong", 3600, 361)
    assert "60 minutes" in failure.message


def test_polling_keeps_to_the_pace_that_azure_asks_for() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> list[float]:
        tiny.on("POST", "/start", answer(status=202, **running(), Retry_After="25"))
        busy = answer({"status": "InProgress"}, Retry_After="25")
        tiny.on("GET", "/operations/op", busy, busy, {"status": "Succeeded"})
        await azure.compute.start("rg", "desk-01")
        return [seen.at for seen in tiny.requests("GET", "/operations/op")]

    assert with_azure(body) == [0, 25, 50]


def test_what_is_not_there_is_none_and_deleting_it_is_done() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> None:
        assert await azure.compute.get_vm("rg", "nobody") is None
        assert await azure.compute.get_script_result("rg", "nobody", "s") is None
        assert await azure.compute.list_marketplace_versions("westeurope", "p", "o", "s") == []
        await azure.compute.delete_vm("rg", "nobody")
        tiny.on("DELETE", "/nobody", answer(status=204))
        await azure.compute.delete_vm("rg", "nobody")

    with_azure(body)


def test_tags_are_merged_into_what_is_there() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> Any:
        tiny.on("GET", "/desk-01", vm(tags={"owner": "ann", "Old": "1"}))
        tiny.on("PATCH", "/desk-01", vm())
        await azure.compute.update_vm_tags("rg", "desk-01", {"evergold-drained-at": "now"}, remove=("old",))
        return tiny.requests("PATCH")[0].json

    assert with_azure(body) == {"tags": {"owner": "ann", "evergold-drained-at": "now"}}


def test_tags_that_are_so_already_are_not_sent_again() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> int:
        tiny.on("GET", "/desk-01", vm(tags={"a": "1"}))
        await azure.compute.update_vm_tags("rg", "desk-01", {"a": "1"}, remove=("b",))
        return len(tiny.requests("PATCH"))

    assert with_azure(body) == 0


def test_a_tag_that_someone_else_sets_meanwhile_is_kept() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> list[Any]:
        tiny.on("GET", "/desk-01", vm(etag='"1"'), vm(etag='"2"', tags={"keep": "me"}))
        tiny.on("PATCH", "/desk-01", refusal(412, "PreconditionFailed"), vm())
        await azure.compute.update_vm_tags("rg", "desk-01", {"a": "1"})
        return [(seen.headers["if-match"], seen.json["tags"]) for seen in tiny.requests("PATCH")]

    assert with_azure(body) == [('"1"', {"a": "1"}), ('"2"', {"keep": "me", "a": "1"})]


def test_tag_names_are_the_same_in_any_case() -> None:
    assert merged({"Evergold-Keep": "1", "x": "y"}, {"evergold-keep": "2"}, ()) == {"x": "y", "evergold-keep": "2"}


def script(**changes: Any) -> Script:
    return Script(**{"name": "r1-clean", "source": "Get-Date", "location": "westeurope", **changes})


def command(state: str, exit_code: int = 0, provisioning: str = "Succeeded") -> dict[str, Any]:
    view = {"executionState": state, "exitCode": exit_code, "output": "out", "error": "err"}
    return {"location": "westeurope", "properties": {"provisioningState": provisioning, "instanceView": view}}


def test_a_script_is_sent_once_and_awaited_and_its_exit_code_counts() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> Any:
        absent = refusal(404, "ResourceNotFound")
        tiny.on("GET", "/runCommands/r1-clean", absent, command("Running"), command("Succeeded", exit_code=3))
        tiny.on("PUT", "/runCommands/r1-clean", answer(command("Pending"), 201, **running()))
        result = await azure.compute.run_script("rg", "desk-01", script())
        return result, [seen.json["properties"] for seen in tiny.requests("PUT")]

    result, (sent,) = with_azure(body)
    assert (result.exit_code, result.output, result.error, result.execution_state) == (3, "out", "err", "Succeeded")
    assert result.over
    assert not result.succeeded
    assert sent["asyncExecution"] is True


def test_a_script_that_was_sent_before_a_crash_is_awaited_and_not_run_again() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> int:
        tiny.on("GET", "/runCommands/r1-clean", command("Running"), command("Succeeded"))
        result = await azure.compute.run_script("rg", "desk-01", script())
        assert result.succeeded
        return len(tiny.requests("PUT"))

    assert with_azure(body) == 0


def test_a_script_that_azure_could_not_run_at_all_is_a_failure_not_a_result() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> None:
        tiny.on("GET", "/runCommands/r1-clean", command("Unknown", provisioning="Failed"))
        with pytest.raises(AzureFailure, match="RunCommandFailed"):
            await azure.compute.run_script("rg", "desk-01", script())

    with_azure(body)


def test_secrets_travel_in_protected_parameters_and_show_nowhere_else() -> None:
    secret = script(protected_parameters={"token": SecretStr("hush")}, run_as_user="k", run_as_password=SecretStr("pw"))
    assert "hush" not in repr(secret)
    assert "pw" not in repr(secret)
    assert "P@ss" not in repr(spec())

    async def body(azure: Azure, tiny: TinyAzure) -> Any:
        tiny.on("PUT", "/runCommands/r1-clean", answer(command("Pending"), 201))
        await azure.compute.begin_script("rg", "desk-01", secret)
        return tiny.requests("PUT")[0].json["properties"]

    sent = with_azure(body)
    assert sent["protectedParameters"] == [{"name": "token", "value": "hush"}]
    assert (sent["runAsUser"], sent["runAsPassword"], sent["parameters"]) == ("k", "pw", [])


def test_an_extensions_secrets_may_stand_at_any_depth_of_its_protected_settings() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> Any:
        tiny.on("PUT", "/extensions/join", answer({"location": "westeurope"}, 201))
        items = {"Items": {"RegistrationInfoToken": SecretStr("hush")}}
        join = ExtensionSpec("join", "westeurope", "Microsoft.Powershell", "DSC", "2.73", {"x": 1}, items)
        assert "hush" not in repr(join)
        await azure.compute.begin_put_extension("rg", "desk-01", join)
        return tiny.requests("PUT")[0].json["properties"]

    sent = with_azure(body)
    assert sent["protectedSettings"] == {"Items": {"RegistrationInfoToken": "hush"}}
    assert sent["settings"] == {"x": 1}


def test_a_patch_assessment_comes_with_what_it_found() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> models.VirtualMachineAssessPatchesResult:
        tiny.on("POST", "/assessPatches", answer(status=202, **running(), Location=f"{OPERATION}?monitor=true"))
        found = {"status": "Succeeded", "criticalAndSecurityPatchCount": 2, "availablePatches": [{"kbId": "5031455"}]}
        tiny.on("GET", "/operations/op", lambda seen: found if "monitor" in seen.query else {"status": "Succeeded"})
        return await azure.compute.assess_patches("rg", "desk-01")

    result = with_azure(body)
    assert result.critical_and_security_patch_count == 2
    assert result.available_patches is not None
    assert result.available_patches[0].kb_id == "5031455"


def test_power_states_of_all_vms_come_in_one_list_whatever_the_case_of_their_ids() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> tuple[Any, Any]:
        more = f"{ARM}/subscriptions/{SUBSCRIPTION}/more"
        tiny.on("GET", "Microsoft.Compute/virtualMachines", {"value": [vm("PowerState/running")], "nextLink": more})
        tiny.on("GET", "/more", {"value": [vm("PowerState/deallocated", id="/SUBSCRIPTIONS/S/Other")]})
        statuses = await azure.compute.list_statuses()
        return statuses, tiny.seen[0].query["statusOnly"]

    statuses, asked = with_azure(body)
    assert asked == "true"
    assert {key: status.power for key, status in statuses.items()} == {
        vm_id(SUBSCRIPTION, "rg", "desk-01").casefold(): "running",
        "/subscriptions/s/other": "deallocated",
    }


def test_marketplace_versions_are_ordered_by_number_not_by_letter() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> list[str]:
        versions = ["26100.9.1", "26100.10.1", "26100.9.12"]
        tiny.on("GET", "/versions", answer([{"name": v, "location": "westeurope"} for v in versions]))
        return await azure.compute.list_marketplace_versions("westeurope", "p", "o", "s")

    assert with_azure(body) == ["26100.9.1", "26100.9.12", "26100.10.1"]


@pytest.mark.parametrize(
    ("codes", "power", "generalized"),
    [
        (("ProvisioningState/succeeded", "PowerState/running"), "running", False),
        (("OSState/generalized", "PowerState/deallocated"), "deallocated", True),
        (("ProvisioningState/creating",), "unknown", False),
    ],
)
def test_a_vms_status_is_read_off_its_instance_view(codes: tuple[str, ...], power: str, generalized: bool) -> None:
    status = status_of(models.VirtualMachine(vm(*codes)))
    assert (status.power, status.generalized) == (power, generalized)


def test_the_image_of_a_vm_is_its_version_id_or_its_marketplace_name() -> None:
    gallery = vm()
    gallery["properties"]["storageProfile"] = {"imageReference": {"id": VERSION_ID}}
    market = vm()
    market["properties"]["storageProfile"] = {
        "imageReference": {"publisher": "p", "offer": "o", "sku": "s", "version": "latest", "exactVersion": "1.0.0"}
    }
    assert image_version_of(models.VirtualMachine(gallery)) == VERSION_ID
    assert image_version_of(models.VirtualMachine(market)) == "p:o:s:1.0.0"
