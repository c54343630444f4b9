"""The product against the simulated Azure, in one process and in virtual time: real clients, no sockets, an hour in an instant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from evergold.azure import Azure
from evergold.clock import LoopClock, run_virtual
from evergold.config.models import Environment, ImageSet, ManualStep
from evergold.images.customise import ensure_customise_step
from evergold.images.refresh import Refresh
from simulator.cloud import Cloud
from simulator.kernel.clock import LoopClock as WorldClock
from simulator.scenario import Scenario, load
from tests.support.asgi_transport import AsgiTransport

T = TypeVar("T")
SECRET_VARIABLE = "EVERGOLD_SIMULATED_SECRET"
HOST = "https://azure.simulated"
NETWORKS = (
    "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/rg-network/providers/"
    "Microsoft.Network/virtualNetworks"
)


class Killed(BaseException):
    """The process died: nothing in it runs any more, and nobody catches this by accident."""


class Wire:
    """Between the product and its Azure: notes every call and what is written, and lets the process die at a chosen one."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.calls: list[tuple[str, str]] = []
        self.written: list[str] = []
        self.dies_after_writes: int | None = None
        # With `dies_for_good` nothing that the process still tries on its way out is sent, until it is not `dead` any more.
        self.dies_for_good = self.dead = False
        self.dies_of: type[BaseException] = Killed

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request. A process that dies has its write done, and never learns of it."""
        method, path = scope["method"], scope["path"]
        if self.dead:
            raise Killed(f"{method} {path}: it is dead")
        self.calls.append((method, path))
        is_write = method != "GET" and path.startswith(("/subscriptions", "/v1.0", "/beta"))

        async def received() -> Any:
            message = await receive()
            if is_write and message["type"] == "http.request":
                self.written.append(message["body"].decode())
            return message

        await self._cloud.app(scope, received, send)
        if self.dies_after_writes is not None and is_write:
            self.dies_after_writes -= 1
            if not self.dies_after_writes:
                self.dies_after_writes, self.dead = None, self.dies_for_good
                raise self.dies_of(f"{method} {path}")

    @property
    def writes(self) -> int:
        """How many calls there were to Azure's management that may have changed something."""
        return sum(1 for method, path in self.calls if method != "GET" and path.startswith("/subscriptions"))

    def sent(self, method: str, path_end: str = "") -> int:
        """How many calls of this method there were whose path ends so, in any case."""
        return sum(1 for each, path in self.calls if each == method and path.casefold().endswith(path_end.casefold()))


@dataclass(frozen=True)
class Simulated:
    """A world, the product's view of it, and the wire between them."""

    azure: Azure
    cloud: Cloud
    image_set: ImageSet
    wire: Wire


async def dies_after(world: Simulated, writes: int, work: Callable[[], Awaitable[object]]) -> None:
    """Does the work until the process dies for good, right after so many writes; then a new one may begin."""
    world.wire.dies_after_writes, world.wire.dies_for_good = writes, True
    with pytest.raises(Killed):
        await work()
    world.wire.dead = False


async def customised(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """Every customise step that needs no person is done, in order."""
    for step in image_set.customise:
        if not isinstance(step, ManualStep):
            await ensure_customise_step(azure, image_set, refresh, step)


def simulated(body: Callable[[Simulated], Awaitable[T]], image_set: ImageSet | None = None, **changes: Any) -> T:
    """Run a test's body in the small world, changed as told (fields of `Scenario`)."""
    # Copied, so that what happens in one world is in no other that is given the same changes.
    scenario: Scenario = load("small").model_copy(update=deepcopy(changes), deep=True)

    async def main(clock: LoopClock) -> T:
        cloud = Cloud(scenario, WorldClock(scenario.start))
        wire = Wire(cloud)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(SECRET_VARIABLE, scenario.clients[0].secret)
            async with Azure.connect(environment_of(scenario), AsgiTransport(wire), clock) as azure:
                return await body(Simulated(azure, cloud, image_set or small_image_set(), wire))

    return run_virtual(main, scenario.start)


def environment_of(scenario: Scenario) -> Environment:
    """An environment that points at a world."""
    return Environment.model_validate(
        {
            "name": "simulated",
            "cloud": "custom",
            "endpoints": {
                "resource_manager": HOST,
                "resource_manager_scope": "https://management.azure.com/.default",
                "authority": HOST,
                "log_analytics": HOST,
                "graph": HOST,
            },
            "credential": {
                "kind": "client_secret",
                "tenant_id": scenario.tenant_id,
                "client_id": scenario.clients[0].client_id,
                "secret_variable": SECRET_VARIABLE,
            },
            "subscription_id": scenario.subscription_id,
            "log_analytics_workspace_id": scenario.workspace_id,
        }
    )


def small_image_set(
    customise: Sequence[dict[str, Any]] = ({"name": "apps", "script": "guest/customise/install-apps.ps1"},),
    **changes: Any,
) -> ImageSet:
    """The image set of the small world."""
    hosts = {
        "resource_group": "rg-avd-pilot",
        "name_prefix": "pil",
        "vm_size": "Standard_D4s_v5",
        "subnet_id": f"{NETWORKS}/vnet-avd/subnets/snet-hosts",
    }
    whole: dict[str, Any] = {
        "name": "office",
        "environment": "simulated",
        "location": "westeurope",
        "gallery": {"resource_group": "rg-images", "name": "gal_evergold", "image_definition": "office"},
        "source": {
            "kind": "marketplace",
            "publisher": "microsoftwindowsdesktop",
            "offer": "office-365",
            "sku": "win11-25h2-avd-m365",
        },
        "build": {
            "resource_group": "rg-images-build",
            "vm_size": "Standard_D4s_v5",
            "subnet_id": f"{NETWORKS}/vnet-build/subnets/snet-build",
        },
        "customise": list(customise),
        "publish": {"regions": [{"name": "westeurope"}, {"name": "northeurope"}]},
        "rings": [{"name": "pilot", "pools": [{"name": "hp-pilot", "resource_group": "rg-avd-pilot", "hosts": hosts}]}],
    }
    return ImageSet.model_validate({**whole, **changes})
