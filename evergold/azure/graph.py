"""Microsoft Graph: plain calls with our own policies, and the devices that joined machines leave behind in Entra ID and Intune.

Written on azure-core and not on msgraph-sdk: that SDK brings its own HTTP stack (httpx under Kiota) with its own retries, and would
leave two kinds of patience, two kinds of virtual time and two kinds of tests; and half of what Windows 365 needs is beta, for which it
has no models in its v1.0 package. Here a call to Graph is paced, tried again and explained as every other call to Azure.

Promises:
- What is *beta* says so at the call (`beta=True`): Microsoft may change it without notice.
- A list is whole or it fails: pages are followed to the end, and only on Graph's own host, since the token goes along.
- Deleting what is not there is done already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from azure.core import AsyncPipelineClient
from azure.core.exceptions import HttpResponseError
from azure.core.rest import AsyncHttpResponse, HttpRequest

from evergold.azure.errors import explaining, raise_failed
from evergold.azure.pipeline import ONCE

Json = dict[str, Any]
# Without it Graph says "unknownFutureValue" for what was added later, such as four of the reasons why an image was refused.
READ_HEADERS = {"Prefer": "include-unknown-enum-members"}
RESOURCE_MARK = "[AzureResourceId]:"  # begins the entry of a device's physicalIds that names the VM it is


@dataclass(frozen=True)
class DirectoryDevice:
    """A device in Microsoft Entra ID.

    Attributes:
        id: its object id, by which it is deleted.
        device_id: the id that the device and Intune know it by.
        resource_id: the VM that it is, in lower case; "" where the directory does not say.

    """

    id: str
    device_id: str
    name: str
    created: datetime | None
    resource_id: str


@dataclass(frozen=True)
class ManagedDevice:
    """A device in Intune. `device_id` is the one in the directory."""

    id: str
    device_id: str
    name: str
    enrolled: datetime | None


class Graph:
    """One tenant's Microsoft Graph."""

    def __init__(self, client: AsyncPipelineClient[HttpRequest, AsyncHttpResponse], endpoint: str) -> None:
        self._client = client
        self._endpoint = endpoint.rstrip("/")

    # Calls

    async def get(self, path: str, *, beta: bool = False, params: Mapping[str, str] | None = None) -> Json | None:
        """The object at a path such as "/devices/{id}", or None if there is none."""
        return await self._read(self._url(path, beta), params or {})

    async def list_all(self, path: str, *, beta: bool = False, params: Mapping[str, str] | None = None) -> list[Json]:
        """Every item of a collection, following its pages."""
        url: str | None = self._url(path, beta)
        given, items = dict(params or {}), list[Json]()
        while url:
            page = await self._read(url, given)
            if page is None:
                raise_failed("list", path, "ResourceNotFound", "There is no such collection.")
            items.extend(page.get("value") or [])
            url, given = page.get("@odata.nextLink"), {}
            if url and not url.startswith(f"{self._endpoint}/"):
                raise_failed("list", path, "UnreadableAnswer", "The next page is said to be on another host.")
        return items

    async def post(self, path: str, body: Json, what: str, *, beta: bool = False, once: bool = False) -> Json:
        """Create or act; the object in the answer, or {} where there is none. `what` is a verb phrase, for errors.

        `once`: it must not happen twice, so it is not tried again where an answer leaves open whether it was carried out.
        """
        return await self._write("POST", path, body, what, beta, once=once)

    async def patch(self, path: str, body: Json, what: str, *, beta: bool = False) -> Json:
        """Change; the object in the answer, or {} where there is none."""
        return await self._write("PATCH", path, body, what, beta)

    async def delete(self, path: str, what: str, *, beta: bool = False) -> None:
        """Delete; that there is nothing to delete (404) counts as done."""
        with explaining(what, path):
            response = await self._client.send_request(HttpRequest("DELETE", self._url(path, beta)))
            if response.status_code not in (200, 202, 204, 404):
                raise HttpResponseError(response=response)

    # Devices

    async def directory_devices(self, name: str) -> list[DirectoryDevice]:
        """Devices in Entra ID of exactly this name. There can be several: a name is no identity."""
        items = await self.list_all("/devices", params={"$filter": f"displayName eq {quoted(name)}"})
        return [
            DirectoryDevice(
                item["id"],
                str(item.get("deviceId") or ""),
                str(item.get("displayName") or ""),
                moment(item.get("createdDateTime")),
                _resource(item.get("physicalIds") or []),
            )
            for item in items
        ]

    async def delete_directory_device(self, object_id: str) -> None:
        """Delete a device from Entra ID by its object id."""
        await self.delete(f"/devices/{object_id}", "delete the device from Entra ID")

    async def managed_devices(self, device_id: str) -> list[ManagedDevice]:
        """Intune's records of a device, by its device id in the directory."""
        items = await self.list_all(
            "/deviceManagement/managedDevices", params={"$filter": f"azureADDeviceId eq {quoted(device_id)}"}
        )
        return [
            ManagedDevice(
                item["id"],
                str(item.get("azureADDeviceId") or ""),
                str(item.get("deviceName") or ""),
                moment(item.get("enrolledDateTime")),
            )
            for item in items
        ]

    async def delete_managed_device(self, managed_id: str) -> None:
        """Delete a device from Intune by its id there."""
        await self.delete(f"/deviceManagement/managedDevices/{managed_id}", "delete the device from Intune")

    async def forget_machine(self, vm_id: str) -> list[str]:
        """Delete the devices that a VM has left in Entra ID and Intune, and say which, in words.

        `vm_id` is the VM's resource id. Only devices of its name *and* that name this very resource go; others of that name belong to
        somebody else. Intune's record goes first: it is found by the directory's.
        """
        name, done = vm_id.rpartition("/")[2], list[str]()
        for device in await self.directory_devices(name):
            if device.resource_id != vm_id.lower():
                continue
            for managed in await self.managed_devices(device.device_id):
                await self.delete_managed_device(managed.id)
                done.append(f"{managed.name} in Intune ({managed.id})")
            await self.delete_directory_device(device.id)
            done.append(f"{device.name} in Entra ID ({device.id})")
        return done

    # The wire

    def _url(self, path: str, beta: bool) -> str:
        return f"{self._endpoint}/{'beta' if beta else 'v1.0'}{path}"

    async def _read(self, url: str, params: Mapping[str, str]) -> Json | None:
        path = url.removeprefix(self._endpoint).partition("?")[0]
        with explaining("read", path):
            response = await self._client.send_request(
                HttpRequest("GET", url, params=dict(params), headers=READ_HEADERS)
            )
            if response.status_code == 404:
                return None
            if response.status_code != 200:
                raise HttpResponseError(response=response)
            answer: Json = response.json()
            return answer

    async def _write(self, method: str, path: str, body: Json, what: str, beta: bool, *, once: bool = False) -> Json:
        with explaining(what, path):
            request = HttpRequest(method, self._url(path, beta), json=body)
            response = await self._client.send_request(request, **({ONCE: True} if once else {}))
            if response.status_code not in (200, 201, 202, 204):
                raise HttpResponseError(response=response)
            answer: Json = response.json() if response.text() else {}
            return answer


def quoted(text: str) -> str:
    """A text as a $filter writes it."""
    return "'" + text.replace("'", "''") + "'"


def moment(value: str | None) -> datetime | None:
    """A time as Graph writes it; None where there is none (Graph's year 0001 among them)."""
    if not value or value.startswith("0001"):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def _resource(physical_ids: list[str]) -> str:
    found = (each.removeprefix(RESOURCE_MARK) for each in physical_ids if each.startswith(RESOURCE_MARK))
    return next(found, "").lower()
