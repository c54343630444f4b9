"""Plain reads of Azure Resource Manager, for what none of our SDKs covers: rights, locks, networks, groups, providers, backup, terms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.mgmt.core import AsyncARMPipelineClient

from evergold.azure.errors import explaining

Json = dict[str, Any]
PERMISSIONS_API = "2022-04-01"
LOCKS_API = "2020-05-01"
SUBNETS_API = "2024-05-01"
GROUPS_API = "2021-04-01"
PROVIDERS_API = "2021-04-01"
ASSOCIATIONS_API = "2022-06-01"
NETWORK_API = "2024-05-01"
BACKUP_API = "2024-04-01"
TERMS_API = "2021-01-01"


class Arm:
    """Azure Resource Manager, read only."""

    def __init__(self, client: AsyncARMPipelineClient[HttpRequest, AsyncHttpResponse], subscription_id: str) -> None:
        self._client = client
        self._subscription_id = subscription_id

    async def get(self, path: str, api_version: str, *, expand: str | None = None) -> Json | None:
        """The resource at a path such as "/subscriptions/...", as JSON; None if there is none."""
        params = {"api-version": api_version, **({"$expand": expand} if expand else {})}
        return await self._fetch(path, params)

    async def list_all(self, path: str, api_version: str) -> list[Json]:
        """Every item of a list, following its pages."""
        items: list[Json] = []
        page = await self._fetch(path, {"api-version": api_version}, absent_ok=False)
        while page is not None:
            items.extend(page.get("value") or [])
            following = page.get("nextLink")
            page = await self._fetch(following, {}, absent_ok=False) if following else None
        return items

    async def permissions(self, scope: str) -> list[Permission]:
        """What the identity that we sign in as may do at a scope (a resource's or resource group's id)."""
        path = f"{scope.rstrip('/')}/providers/Microsoft.Authorization/permissions"
        return [Permission.read(item) for item in await self.list_all(path, PERMISSIONS_API)]

    async def locks(self, scope: str) -> list[Json]:
        """Locks that hold at a scope or below it: properties.level is CanNotDelete or ReadOnly."""
        return await self.list_all(f"{scope.rstrip('/')}/providers/Microsoft.Authorization/locks", LOCKS_API)

    async def subnet(self, subnet_id: str) -> Json | None:
        """The subnet with its address prefix and the addresses in use (properties.ipConfigurations), or None."""
        return await self.get(subnet_id, SUBNETS_API)

    async def virtual_network(self, network_id: str) -> Json | None:
        """The virtual network with its peerings, DNS servers and subnets, or None."""
        return await self.get(network_id, NETWORK_API)

    async def security_group(self, group_id: str) -> Json | None:
        """The network security group with its rules, or None."""
        return await self.get(group_id, NETWORK_API)

    async def network_card(self, card_id: str) -> Json | None:
        """The network card with its addresses and subnets, or None."""
        return await self.get(card_id, NETWORK_API)

    async def marketplace_terms(self, publisher: str, offer: str, plan: str) -> Json | None:
        """The subscription's agreement to a marketplace plan (properties.accepted), or None where there is none."""
        path = (
            f"/subscriptions/{self._subscription_id}/providers/Microsoft.MarketplaceOrdering/offerTypes/virtualmachine"
        )
        return await self.get(
            f"{path}/publishers/{publisher}/offers/{offer}/plans/{plan}/agreements/current", TERMS_API
        )

    async def backup_status(self, location: str, vm_id: str) -> Json:
        """Whether Azure Backup protects a virtual machine (protectionStatus), and in which vault (vaultId). A POST that only reads."""
        path = f"/subscriptions/{self._subscription_id}/providers/Microsoft.RecoveryServices/locations/{location}/backupStatus"
        with explaining("read the backup status", vm_id):
            request = HttpRequest(
                "POST",
                self._client.format_url(path),
                params={"api-version": BACKUP_API},
                json={"resourceType": "VM", "resourceId": vm_id},
            )
            response = await self._client.send_request(request)
            if response.status_code != 200:
                raise HttpResponseError(response=response)
            answer: Json = response.json()
            return answer

    async def data_collection_associations(self, vm_id: str) -> list[Json]:
        """The data collection rules and endpoints that are associated with a VM (properties.dataCollectionRuleId)."""
        path = f"{vm_id}/providers/Microsoft.Insights/dataCollectionRuleAssociations"
        return await self.list_all(path, ASSOCIATIONS_API)

    async def resource_group(self, name: str) -> Json | None:
        """The resource group, or None."""
        return await self.get(f"/subscriptions/{self._subscription_id}/resourceGroups/{name}", GROUPS_API)

    async def registration_of(self, provider: str) -> str:
        """Whether the subscription has registered a resource provider: Registered, Registering, NotRegistered or Unregistered."""
        path = f"/subscriptions/{self._subscription_id}/providers/{provider}"
        found = await self.get(path, PROVIDERS_API)
        return str((found or {}).get("registrationState") or "NotRegistered")

    async def server_time(self) -> datetime | None:
        """What time it is for Azure, to the second, as the Date header of an answer says; None where it has none."""
        path = f"/subscriptions/{self._subscription_id}/resourceGroups"
        with explaining("read", path):
            request = HttpRequest("GET", self._client.format_url(path), params={"api-version": GROUPS_API, "$top": "1"})
            response = await self._client.send_request(request)
            if response.status_code != 200:
                raise HttpResponseError(response=response)
        try:
            return parsedate_to_datetime(response.headers["Date"])
        except (KeyError, ValueError):
            return None

    async def _fetch(self, path: str, params: Mapping[str, str], *, absent_ok: bool = True) -> Json | None:
        with explaining("read", path.partition("?")[0]):
            request = HttpRequest("GET", self._client.format_url(path), params=dict(params))
            response = await self._client.send_request(request)
            if response.status_code == 404 and absent_ok:
                return None
            if response.status_code != 200:
                raise HttpResponseError(response=response)
            answer: Json = response.json()
            return answer


@dataclass(frozen=True)
class Permission:
    """One grant: action patterns allowed and taken away again, as Azure writes them ("Microsoft.Compute/*/read")."""

    actions: tuple[str, ...]
    not_actions: tuple[str, ...] = ()

    @classmethod
    def read(cls, item: Mapping[str, Any]) -> Permission:
        """From an item of the permissions list."""
        return cls(tuple(item.get("actions") or ()), tuple(item.get("notActions") or ()))

    def allows(self, action: str) -> bool:
        """Whether this grant allows an action such as "Microsoft.Compute/virtualMachines/write"."""
        return any(_fits(pattern, action) for pattern in self.actions) and not any(
            _fits(pattern, action) for pattern in self.not_actions
        )


def _fits(pattern: str, action: str) -> bool:
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(expression, action, re.IGNORECASE) is not None
