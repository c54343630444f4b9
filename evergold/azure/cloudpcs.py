"""Windows 365 in Microsoft Graph: device images, provisioning policies, Cloud PCs, their restore points, and bulk actions.

v1.0 where it will do. Beta, and so subject to change without notice, are: a Cloud PC's status and last action (v1.0 has neither), restore
points, who is signed in, and bulk actions. Each such call says `beta=True`.

A bulk action is also our memory: it stands in Graph with its name, its time and the ids of its Cloud PCs the moment it is accepted. Asking
Graph for bulk actions by their names tells a run that died what it had sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from evergold.azure.errors import raise_failed
from evergold.azure.graph import Graph, Json, moment

ROOM = "/deviceManagement/virtualEndpoint"
BulkKind = Literal["reprovision", "snapshot"]
BULK_TYPES: dict[BulkKind, str] = {
    "reprovision": "#microsoft.graph.cloudPcBulkReprovision",
    "snapshot": "#microsoft.graph.cloudPcBulkCreateSnapshot",
}


@dataclass(frozen=True)
class DeviceImage:
    """A custom image that Windows 365 keeps. Status: pending, ready or failed; name and version are its identity."""

    id: str
    name: str
    version: str
    status: str
    error_code: str
    source: str
    changed: datetime | None


@dataclass(frozen=True)
class ProvisioningPolicy:
    """What new Cloud PCs are made from. `image_type`: custom or gallery (Microsoft's own images)."""

    id: str
    name: str
    image_type: str
    image_id: str
    image_name: str


@dataclass(frozen=True)
class CloudPc:
    """A Cloud PC as Graph (beta) tells of it.

    Attributes:
        name: its name as a device; a reprovision changes it.
        image: the display name of the image that is on it.
        managed_id: Intune's id of it.
        action: the last thing that was done to it ("Reprovision"), its state ("pending", "done", "failed") and when it was begun.

    """

    id: str
    name: str
    user: str
    status: str
    image: str
    policy_id: str
    last_login: datetime | None
    grace_until: datetime | None
    action: str
    action_state: str
    action_started: datetime | None
    changed: datetime | None
    managed_id: str = ""


@dataclass(frozen=True)
class RestorePoint:
    """A copy of a Cloud PC's disk that it can be put back to. Kind: automatic, manual or another."""

    id: str
    created: datetime
    kind: str
    ready: bool


@dataclass(frozen=True)
class Connection:
    """Whether somebody is signed in, and for how many days nobody was; None where Graph does not say."""

    signed_in: bool | None
    days_since_sign_in: int | None


@dataclass(frozen=True)
class BulkAction:
    """Something that was asked for several Cloud PCs at once."""

    id: str
    kind: BulkKind | None
    name: str
    created: datetime | None
    cloud_pc_ids: tuple[str, ...]


class CloudPcs:
    """Windows 365 of one tenant."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    # Images

    async def images(self) -> list[DeviceImage]:
        """Every custom image of the tenant, whoever has uploaded it."""
        return [_image(item) for item in await self._graph.list_all(f"{ROOM}/deviceImages")]

    async def image(self, image_id: str) -> DeviceImage | None:
        """One custom image, or None."""
        item = await self._graph.get(f"{ROOM}/deviceImages/{image_id}")
        return _image(item) if item is not None else None

    async def source_images(self) -> set[str]:
        """Resource ids, in small letters, of the managed images that the service can see and take."""
        items = await self._graph.list_all(f"{ROOM}/deviceImages/getSourceImages")
        return {str(item.get("resourceId") or "").lower() for item in items}

    async def import_image(self, name: str, version: str, source: str) -> DeviceImage:
        """Ask for a managed image or gallery version to be uploaded. Accepted only: it is pending for about an hour."""
        body = {"displayName": name, "version": version, "sourceImageResourceId": source}
        return _image(await self._graph.post(f"{ROOM}/deviceImages", body, "import the image into Windows 365"))

    async def delete_image(self, image_id: str) -> None:
        """Delete a custom image. Windows 365 refuses while a policy names it."""
        await self._graph.delete(f"{ROOM}/deviceImages/{image_id}", "delete the device image")

    # Policies

    async def policies(self) -> list[ProvisioningPolicy]:
        """Every provisioning policy of the tenant."""
        return [_policy(item) for item in await self._graph.list_all(f"{ROOM}/provisioningPolicies")]

    async def set_policy_image(self, policy: ProvisioningPolicy, image_type: str, image_id: str, name: str) -> None:
        """Let a policy make its next Cloud PCs from this image. Those that are there do not change."""
        body = {"imageType": image_type, "imageId": image_id, "imageDisplayName": name}
        path = f"{ROOM}/provisioningPolicies/{policy.id}"
        await self._graph.patch(path, body, f"set the image of the provisioning policy {policy.name}")

    # Cloud PCs

    async def list_all(self) -> list[CloudPc]:
        """Every Cloud PC of the tenant, with its status."""
        return [_cloud_pc(item) for item in await self._graph.list_all(f"{ROOM}/cloudPCs", beta=True)]

    async def get(self, cloud_pc_id: str) -> CloudPc | None:
        """One Cloud PC, or None."""
        item = await self._graph.get(f"{ROOM}/cloudPCs/{cloud_pc_id}", beta=True)
        return _cloud_pc(item) if item is not None else None

    async def connection(self, cloud_pc_id: str) -> Connection:
        """Who is signed in there now."""
        path = f"{ROOM}/reports/getRealTimeRemoteConnectionStatus(cloudPcId='{cloud_pc_id}')"
        answer = await self._graph.get(path, beta=True) or {}
        columns = [str(column.get("Column")) for column in answer.get("Schema") or []]
        rows = answer.get("Values") or [[]]
        told: dict[str, Any] = dict(zip(columns, rows[0], strict=False))
        status, days = told.get("SignInStatus"), told.get("DaysSinceLastSignIn")
        return Connection(
            None if status is None else str(status).casefold() in ("signedin", "signed in"),
            int(days) if days is not None else None,
        )

    async def restore_points(self, cloud_pc_id: str) -> list[RestorePoint]:
        """The restore points that can be seen now. None for a Cloud PC that is gone."""
        items = await self._graph.list_all(f"{ROOM}/cloudPCs/{cloud_pc_id}/retrieveSnapshots", beta=True)
        points = [(item, moment(item.get("createdDateTime"))) for item in items]
        return [
            RestorePoint(str(item["id"]), at, str(item.get("snapshotType") or ""), item.get("status") == "ready")
            for item, at in points
            if at is not None
        ]

    async def reprovision_one(self, cloud_pc_id: str) -> None:
        """Reprovision one Cloud PC (v1.0): its disk is wiped. Accepted only."""
        await self._graph.post(f"{ROOM}/cloudPCs/{cloud_pc_id}/reprovision", {}, "reprovision the Cloud PC", once=True)

    async def restore(self, cloud_pc_id: str, restore_point_id: str) -> None:
        """Put a Cloud PC back to a restore point. Accepted only."""
        body = {"cloudPcSnapshotId": restore_point_id}
        await self._graph.post(f"{ROOM}/cloudPCs/{cloud_pc_id}/restore", body, "restore the Cloud PC", once=True)

    # Bulk actions

    async def bulk_actions(self, name: str) -> list[BulkAction]:
        """The bulk actions whose name begins so, oldest first. Filtered here: Graph documents no filter for them."""
        items = await self._graph.list_all(f"{ROOM}/bulkActions", beta=True)
        found = [_bulk(item) for item in items if str(item.get("displayName") or "").startswith(name)]
        return sorted(found, key=lambda each: (each.created is None, each.created))

    async def begin_bulk(
        self, kind: BulkKind, name: str, cloud_pc_ids: Sequence[str], storage_account: str = ""
    ) -> BulkAction:
        """Ask for something for several Cloud PCs. `storage_account`: the resource id that snapshots are copied to as well."""
        body: Json = {"@odata.type": BULK_TYPES[kind], "displayName": name, "cloudPcIds": list(cloud_pc_ids)}
        if storage_account:
            body["storageAccountId"] = storage_account
        return _bulk(
            await self._graph.post(f"{ROOM}/bulkActions", body, f"{kind} Cloud PCs in bulk", beta=True, once=True)
        )

    # What Intune and Entra ID know of people

    async def known_folders(self, script_id: str) -> dict[str, bool]:
        """For Intune's id of each device on which a remediation's detection has run: whether it found no issue (beta)."""
        path = f"/deviceManagement/deviceHealthScripts/{script_id}/deviceRunStates"
        items = await self._graph.list_all(path, beta=True, params={"$expand": "managedDevice($select=id)"})
        told = {"success": True, "fail": False}
        return {
            str((item.get("managedDevice") or {}).get("id")): told[item["detectionState"]]
            for item in items
            if item.get("detectionState") in told
        }

    async def group_members(self, group_id: str) -> set[str]:
        """The user names in a group, and in groups of it, in small letters."""
        path = f"/groups/{group_id}/transitiveMembers"
        items = await self._graph.list_all(path, params={"$select": "id,userPrincipalName"})
        return {str(item["userPrincipalName"]).casefold() for item in items if item.get("userPrincipalName")}

    async def policy_named(self, name: str) -> ProvisioningPolicy:
        """The provisioning policy of this name. Raises where there is none, or more than one."""
        found = [policy for policy in await self.policies() if policy.name.casefold() == name.casefold()]
        if len(found) != 1:
            says = "There is none of that name." if not found else f"{len(found)} have that name."
            raise_failed("find the provisioning policy", name, "ResourceNotFound", says)
        return found[0]


def _image(item: Json) -> DeviceImage:
    return DeviceImage(
        str(item["id"]),
        str(item.get("displayName") or ""),
        str(item.get("version") or ""),
        str(item.get("status") or ""),
        str(item.get("errorCode") or ""),
        str(item.get("sourceImageResourceId") or ""),
        moment(item.get("lastModifiedDateTime")),
    )


def _policy(item: Json) -> ProvisioningPolicy:
    return ProvisioningPolicy(
        str(item["id"]),
        *(str(item.get(key) or "") for key in ("displayName", "imageType", "imageId", "imageDisplayName")),
    )


def _cloud_pc(item: Json) -> CloudPc:
    action = item.get("lastRemoteActionResult") or {}
    return CloudPc(
        id=str(item["id"]),
        name=str(item.get("managedDeviceName") or item.get("displayName") or ""),
        user=str(item.get("userPrincipalName") or "").casefold(),
        status=str(item.get("status") or ""),
        image=str(item.get("imageDisplayName") or ""),
        policy_id=str(item.get("provisioningPolicyId") or ""),
        last_login=moment((item.get("lastLoginResult") or {}).get("time")),
        grace_until=moment(item.get("gracePeriodEndDateTime")),
        action=str(action.get("actionName") or ""),
        action_state=str(action.get("actionState") or ""),
        action_started=moment(action.get("startDateTime")),
        changed=moment(item.get("lastModifiedDateTime")),
        managed_id=str(item.get("managedDeviceId") or ""),
    )


def _bulk(item: Json) -> BulkAction:
    kinds = {value: key for key, value in BULK_TYPES.items()}
    return BulkAction(
        str(item["id"]),
        kinds.get(str(item.get("@odata.type") or "")),
        str(item.get("displayName") or ""),
        moment(item.get("createdDateTime")),
        tuple(str(each) for each in item.get("cloudPcIds") or ()),
    )
