"""Microsoft Graph as Evergold uses it, against the simulated one: devices, pages, permissions, throttling."""

from typing import Any

import pytest

from evergold.azure import AzureFailure
from simulator.kernel.faults import Fault
from simulator.scenario import load
from tests.support.simulated import Simulated, simulated


def vm_of(world: Simulated, name: str) -> str:
    return next(machine.id for machine in world.cloud.compute.machines() if machine.name == name)


def test_what_a_deleted_machine_left_in_entra_and_intune_is_found_by_its_resource_and_deleted() -> None:
    async def body(world: Simulated) -> None:
        vm = vm_of(world, "pil-001")
        world.cloud.devices.add("pil-001")  # somebody else's device of that name
        world.cloud.devices.add("pil-003", vm.replace("pil-001", "pil-003"), managed=True)
        assert len(await world.azure.graph.forget_machine(vm)) == 1
        assert len(await world.azure.graph.forget_machine(vm.replace("pil-001", "pil-003"))) == 2
        left = [(device.name, device.resource) for device in world.cloud.devices.devices.values()]
        assert left == [("pil-002", vm_of(world, "pil-002")), ("pil-001", "")]
        assert world.cloud.devices.managed == {}
        assert await world.azure.graph.forget_machine(vm) == [], "it is gone already"

    simulated(body)


def test_deleting_a_device_that_is_not_there_is_done_already() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.graph.delete_directory_device("11111111-0000-4000-8000-000000000000")
        await world.azure.graph.delete_managed_device("11111111-0000-4000-8000-000000000000")

    simulated(body)


def test_a_list_is_followed_to_its_last_page() -> None:
    async def body(world: Simulated) -> None:
        for number in range(230):
            world.cloud.devices.add(f"laptop-{number:03d}")
        names = [item["displayName"] for item in await world.azure.graph.list_all("/devices")]
        assert len(names) == len(set(names)) == 232
        assert world.wire.sent("GET", "/v1.0/devices") == 3

    simulated(body)


def test_a_call_that_graph_throttles_waits_as_asked_and_goes_through() -> None:
    async def body(world: Simulated) -> None:
        world.cloud.faults.planned.append(Fault(path="/v1.0/devices", status=429, code="TooManyRequests", times=2))
        before = world.azure.clock.now()
        assert len(await world.azure.graph.directory_devices("pil-001")) == 1
        assert (world.azure.clock.now() - before).total_seconds() == 3  # no Retry-After: 1 s, then 2 s

    simulated(body)


def test_without_the_permission_it_says_which_page_names_them() -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(
            AzureFailure, match=r"Authorization_RequestDenied.*application permissions in docs/windows"
        ) as caught:
            await world.azure.graph.directory_devices("pil-001")
        assert caught.value.status == 403
        assert not caught.value.retryable

    simulated(body, **denying("Device.*"))


def denying(*patterns: str) -> dict[str, Any]:
    """The small world, where the application lacks some permissions."""
    client = load("small").clients[0]
    return {"clients": [client.model_copy(update={"denied": list(patterns)})]}
