"""What stands above the services: groups, resource providers, what a caller may do, locks, vCPU quota, and the VM sizes on offer."""

import fnmatch
import re
from typing import TYPE_CHECKING

from simulator.kernel.arm import ArmError, ArmRequest, Json, Reply, Route, page

if TYPE_CHECKING:
    from simulator.cloud import Cloud

SUBSCRIPTION = "/subscriptions/{subscription}"
GROUP = SUBSCRIPTION + "/resourceGroups/{group}"
SUBNET = GROUP + "/providers/Microsoft.Network/virtualNetworks/{network}/subnets/{subnet}"

# Size to (family, vCPUs, memory in GB): learn.microsoft.com, "VM sizes".
SIZES: dict[str, tuple[str, int, int]] = {
    "Standard_D2s_v5": ("standardDSv5Family", 2, 8),
    "Standard_D4s_v5": ("standardDSv5Family", 4, 16),
    "Standard_D8s_v5": ("standardDSv5Family", 8, 32),
    "Standard_D16s_v5": ("standardDSv5Family", 16, 64),
    "Standard_D4as_v5": ("standardDASv5Family", 4, 16),
    "Standard_D8as_v5": ("standardDASv5Family", 8, 32),
    "Standard_E4s_v5": ("standardESv5Family", 4, 32),
    "Standard_E8s_v5": ("standardESv5Family", 8, 64),
    "Standard_D4s_v6": ("standardDSv6Family", 4, 16),
    "Standard_D4ps_v5": ("standardDPSv5Family", 4, 16),
}


class Management:
    """Azure Resource Manager's own resources."""

    def __init__(self, cloud: "Cloud") -> None:
        scenario = cloud.scenario
        self._cloud = cloud
        self._denied = {client.client_id.lower(): client.denied for client in scenario.clients}
        self._groups = {name.lower(): name for name in scenario.resource_groups}
        self._limits = {(quota.location.lower(), quota.family): quota.limit for quota in scenario.quotas}
        self._used: dict[tuple[str, str], int] = {}

    def routes(self) -> list[Route]:
        """Groups, resource providers, permissions, locks, usages and SKUs."""
        authorization = "/providers/Microsoft.Authorization"
        compute = SUBSCRIPTION + "/providers/Microsoft.Compute"
        group_read = "Microsoft.Resources/subscriptions/resourceGroups/read"
        provider_read = "Microsoft.Resources/subscriptions/providers/read"
        return [
            Route("GET", SUBSCRIPTION + "/resourceGroups", self._list_groups, action=group_read),
            Route("GET", GROUP, self._get_group, action=group_read),
            Route("GET", SUBSCRIPTION + "/providers/{namespace}", self._provider, action=provider_read),
            Route("GET", GROUP + authorization + "/permissions", self._permissions),
            Route("GET", SUBNET + authorization + "/permissions", self._permissions),
            Route("GET", GROUP + authorization + "/locks", self._locks),
            Route("GET", compute + "/locations/{location}/usages", self._usages),
            Route("GET", compute + "/skus", self._skus),
        ]

    def allows(self, caller: str, action: str, path: str) -> bool:
        """Whether the caller may do the action; also refuses deletions under a lock, as ARM does for everybody."""
        self._refuse_if_locked(action, path)
        return not any(_fits(pattern, action) for pattern in self._denied.get(caller.lower(), []))

    def require_group(self, group: str) -> None:
        """Raises the 404 where there is no such resource group."""
        if group.lower() not in self._groups:
            raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")

    def reserve(self, location: str, size: str) -> None:
        """Takes the vCPUs of one VM of a size from the quota, or raises the documented refusal."""
        if size not in SIZES:
            raise ArmError(
                409,
                "SkuNotAvailable",
                f"The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: {size}' is currently "
                f"not available in location '{location}'. Please try another size or deploy to a different location or different "
                "zone. See https://aka.ms/azureskunotavailable for details.",
            )
        family, cores, _ = SIZES[size]
        key = (location.lower(), family)
        used, limit = self._used.get(key, 0), self._limits.get(key, 0)
        if used + cores > limit:
            raise ArmError(
                409,
                "OperationNotAllowed",
                f"Operation could not be completed as it results in exceeding approved {family} Cores quota. Additional details "
                f"- Deployment Model: Resource Manager, Location: {location}, Current Limit: {limit}, Current Usage: {used}, "
                f"Additional Required: {cores}, (Minimum) New Limit Required: {used + cores}.",
            )
        self._used[key] = used + cores

    def release(self, location: str, size: str) -> None:
        """Gives the vCPUs of one VM back."""
        family, cores, _ = SIZES[size]
        self._used[location.lower(), family] -= cores

    def _refuse_if_locked(self, action: str, path: str) -> None:
        match = re.search(r"/resourceGroups/([^/]+)", path, re.IGNORECASE)
        locked = match and match[1].lower() in {group.lower() for group in self._cloud.scenario.locks}
        if locked and action.endswith("/delete"):
            raise ArmError(
                409,
                "ScopeLocked",
                f"The scope '{path}' cannot perform delete operation because following scope(s) are locked: "
                f"'{match[0] if match else ''}'. Please remove the lock and try again.",
            )

    def _group_body(self, request: ArmRequest, name: str) -> Json:
        return {
            "id": f"/subscriptions/{request['subscription']}/resourceGroups/{name}",
            "name": name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": "westeurope",
            "properties": {"provisioningState": "Succeeded"},
        }

    def _list_groups(self, request: ArmRequest) -> Reply:
        return page(request, [self._group_body(request, name) for name in self._groups.values()])

    def _get_group(self, request: ArmRequest) -> Reply:
        self.require_group(request["group"])
        return Reply(200, self._group_body(request, self._groups[request["group"].lower()]))

    def _provider(self, request: ArmRequest) -> Reply:
        namespace = request["namespace"]
        missing = namespace.lower() in {name.lower() for name in self._cloud.scenario.unregistered}
        body = {
            "id": f"/subscriptions/{request['subscription']}/providers/{namespace}",
            "namespace": namespace,
            "resourceTypes": [],
            "registrationState": "NotRegistered" if missing else "Registered",
            "registrationPolicy": "RegistrationRequired",
        }
        return Reply(200, body)

    def _permissions(self, request: ArmRequest) -> Reply:
        self.require_group(request["group"])
        denied = self._denied.get(request.caller.lower(), [])
        return Reply(
            200, {"value": [{"actions": ["*"], "notActions": denied, "dataActions": [], "notDataActions": []}]}
        )

    def _locks(self, request: ArmRequest) -> Reply:
        self.require_group(request["group"])
        group = request["group"]
        scope = f"/subscriptions/{request['subscription']}/resourceGroups/{group}/providers/Microsoft.Authorization/locks/keep"
        locked = group.lower() in {name.lower() for name in self._cloud.scenario.locks}
        lock = {
            "id": scope,
            "name": "keep",
            "type": "Microsoft.Authorization/locks",
            "properties": {"level": "CanNotDelete", "notes": ""},
        }
        return Reply(200, {"value": [lock] if locked else []})

    def _usages(self, request: ArmRequest) -> Reply:
        location = request["location"].lower()
        families = sorted({family for family, _, _ in SIZES.values()})
        usages = [
            {
                "unit": "Count",
                "currentValue": self._used.get((location, family), 0),
                "limit": self._limits.get((location, family), 0),
                "name": {"value": family, "localizedValue": f"{family} vCPUs"},
            }
            for family in families
        ]
        return page(request, usages)

    def _skus(self, request: ArmRequest) -> Reply:
        match = re.search(r"location eq '([^']+)'", request.query.get("$filter", ""))
        location = match[1] if match else "westeurope"
        return page(request, [_sku(size, location) for size in SIZES])


def _sku(size: str, location: str) -> Json:
    family, cores, memory = SIZES[size]
    return {
        "resourceType": "virtualMachines",
        "name": size,
        "tier": "Standard",
        "size": size.removeprefix("Standard_"),
        "family": family,
        "locations": [location],
        "locationInfo": [{"location": location, "zones": ["1", "2", "3"], "zoneDetails": []}],
        "capabilities": [
            {"name": "vCPUs", "value": str(cores)},
            {"name": "MemoryGB", "value": str(memory)},
            {"name": "HyperVGenerations", "value": "V1,V2"},
            {"name": "CpuArchitectureType", "value": "Arm64" if size == "Standard_D4ps_v5" else "x64"},
            {"name": "DiskControllerTypes", "value": "NVMe" if size.endswith("_v6") else "SCSI"},
        ],
        "restrictions": [],
    }


def _fits(pattern: str, action: str) -> bool:
    return fnmatch.fnmatchcase(action.lower(), pattern.lower())
