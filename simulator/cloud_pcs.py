"""Windows 365: Cloud PCs with the people who work on them, their restore points, and what a reprovision does to both.

Where no source says how the service behaves, this is assumed: a reprovision shows in `lastRemoteActionResult` at once and in `status` two
minutes later; the service wipes the disk then, and gives the Cloud PC a new name and new devices; a manual restore point is there after 10
to 65 minutes and takes the place of the manual one before it (learn.microsoft.com, "Restore a single Cloud PC": it may take more than an
hour). Whether restore points survive a reprovision is nowhere promised: a scenario says whether they do.
"""

import uuid
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from simulator.device_images import DeviceImages
from simulator.graph import GraphError
from simulator.graph_devices import wire
from simulator.kernel.arm import Json
from simulator.news import CloudPcWiped
from simulator.scenario import CloudPcs as Given

if TYPE_CHECKING:
    from simulator.cloud import Cloud

SATURDAY = 5
STATUS_LAGS_S = 120
RESTORE_POINT_EVERY = timedelta(hours=12)
RESTORE_POINTS_KEPT = 10
REPROVISIONED_FROM = ("provisioned", "provisionedWithWarnings", "failed")
GRACE = timedelta(days=7)

Kind = Literal["automatic", "manual"]


@dataclass(frozen=True)
class RestorePoint:
    """A copy of a Cloud PC's disk."""

    id: str
    created: datetime
    kind: Kind
    image: str  # that was on the disk


@dataclass(eq=False)
class Worker:
    """Whose Cloud PC it is. Hours are local, as fractions. `synced`: all of the work is in OneDrive as well."""

    name: str
    arrives: float
    leaves: float
    synced: bool
    away_since: datetime | None = None  # has not signed in since


@dataclass(eq=False)
class CloudPc:
    """One Cloud PC."""

    id: str
    name: str
    policy: "Policy"
    worker: Worker
    image: str
    device_id: str
    managed_id: str
    status: str = "provisioned"
    changed: datetime | None = None
    action: Json | None = None
    points: list[RestorePoint] = field(default_factory=list)
    shared: list[datetime] = field(default_factory=list)  # copies in the customer's own storage
    wiped: datetime | None = None
    grace_until: datetime | None = None

    def body(self, last_login: datetime | None, *, beta: bool) -> Json:
        """The object as a GET shows it; v1.0 knows less."""
        shown: Json = {
            "id": self.id,
            "displayName": f"{self.policy.name} - {self.worker.name}",
            "imageDisplayName": self.image,
            "provisioningPolicyId": self.policy.id,
            "provisioningPolicyName": self.policy.name,
            "provisioningType": "dedicated",
            "servicePlanName": "Cloud PC Enterprise 2vCPU/8GB/128GB",
            "userPrincipalName": self.worker.name,
            "managedDeviceId": self.managed_id,
            "managedDeviceName": self.name,
            "aadDeviceId": self.device_id,
            "gracePeriodEndDateTime": wire(self.grace_until),
            "lastModifiedDateTime": wire(self.changed),
        }
        if beta:
            shown |= {
                "status": self.status,
                "lastRemoteActionResult": self.action,
                "lastLoginResult": {"time": wire(last_login)} if last_login else None,
            }
        return shown


@dataclass(eq=False)
class Policy:
    """A provisioning policy, assigned to one group."""

    id: str
    name: str
    image_id: str
    image_type: str
    image_name: str
    group: str
    description: str = ""

    def body(self, *, expanded: bool) -> Json:
        """The object as a GET shows it."""
        shown: Json = {
            "id": self.id,
            "displayName": self.name,
            "description": self.description,
            "imageId": self.image_id,
            "imageType": self.image_type,
            "imageDisplayName": self.image_name,
            "provisioningType": "dedicated",
        }
        if expanded:
            target = {"@odata.type": "microsoft.graph.cloudPcManagementGroupAssignmentTarget", "groupId": self.group}
            shown["assignments"] = [{"id": f"{self.id}_{self.group}", "target": target}]
        return shown


class CloudPcs:
    """Every Cloud PC of the tenant."""

    def __init__(self, cloud: "Cloud") -> None:
        self.cloud = cloud
        self.world = cloud.world
        self._zone = ZoneInfo(cloud.scenario.time_zone)
        self._numbers = 0
        self.policies: dict[str, Policy] = {}
        self.all: dict[str, CloudPc] = {}
        self.images = DeviceImages(self)

    def populate(self) -> None:
        """Makes the scenario's Cloud PCs, which have long been worked on."""
        for given in self.cloud.scenario.cloud_pcs:
            image_id = "microsoftwindowsdesktop_windows-ent-cpc_win11-24h2-ent-cpc-m365"
            policy = Policy(self.number(), given.policy, image_id, "gallery", given.image, given.group)
            self.policies[policy.id] = policy
            for number in range(1, given.count + 1):
                self._add(given, policy, number)

    def _add(self, given: Given, policy: Policy, number: int) -> None:
        dice = self.world.chance("cloud pc", given.policy, number)
        name = f"{given.prefix}{number:03d}@contoso.com"
        synced = dice.random() >= given.unsynced
        idle = self.world.now - timedelta(days=90) if dice.random() < given.idle else None
        worker = Worker(name, dice.gauss(8.5, 0.5), dice.gauss(17.25, 0.75), synced, idle)
        device_name = f"CPC-{number:03d}-{dice.getrandbits(20):05X}"
        device, managed = self.cloud.devices.add(device_name, managed=True, user=name)
        found = CloudPc(self.number(), device_name, policy, worker, given.image, device, managed)
        found.changed = self.world.now - timedelta(days=30)
        self.all[found.id] = found
        if given.restore_points:
            first = timedelta(hours=12 * dice.random())
            self.world.after(0, lambda: self._point(found, "automatic"))
            self.world.after(first.total_seconds(), lambda: self._automatically(found))

    def number(self) -> str:
        """An id that nobody has yet."""
        self._numbers += 1
        return str(uuid.UUID(int=self.world.chance("windows 365", self._numbers).getrandbits(128), version=4))

    def need(self, cloud_pc_id: str) -> CloudPc:
        """The Cloud PC, or the 404."""
        if cloud_pc_id not in self.all:
            raise GraphError(404, "cloudPcNotFound", f"The Cloud PC '{cloud_pc_id}' was not found.")
        return self.all[cloud_pc_id]

    # People

    def signed_in(self, worker: Worker) -> bool:
        """Whether somebody works now."""
        last = self.last_session(worker)
        return last is not None and last[0] <= self.world.now < last[1]

    def last_session(self, worker: Worker) -> tuple[datetime, datetime] | None:
        """Begin and end of the latest day's work that has begun; None for somebody who never came."""
        if worker.away_since is not None:
            return worker.away_since - timedelta(hours=8), worker.away_since
        day = self.world.now.astimezone(self._zone).date()
        for back in range(8):
            date = day - timedelta(days=back)
            midnight = datetime.combine(date, time(), self._zone)
            begin = (midnight + timedelta(hours=worker.arrives)).astimezone(self.world.now.tzinfo)
            if date.weekday() < SATURDAY and begin <= self.world.now:
                return begin, (midnight + timedelta(hours=worker.leaves)).astimezone(self.world.now.tzinfo)
        return None

    def last_login(self, worker: Worker) -> datetime | None:
        """When somebody last signed in."""
        last = self.last_session(worker)
        return last[0] if last else None

    # Restore points

    def _automatically(self, found: CloudPc) -> None:
        self._point(found, "automatic")
        self.world.after(RESTORE_POINT_EVERY.total_seconds(), lambda: self._automatically(found))

    def _point(self, found: CloudPc, kind: Kind) -> None:
        if found.status not in REPROVISIONED_FROM:
            return
        if kind == "manual":
            found.points = [point for point in found.points if point.kind != "manual"]
        found.points.append(RestorePoint(f"CPC_{found.id}_{self.number()}", self.world.now, kind, found.image))
        found.points = found.points[-RESTORE_POINTS_KEPT:]

    def begin_snapshot(self, found: CloudPc, storage_account: str) -> None:
        """Takes a manual restore point in its own time, and where an account is named a copy there."""
        dice = self.world.chance("snapshot", found.id, self.world.now)
        if self.cloud.scenario.cloud_pc_failures.get(found.worker.name) == "snapshot":
            return  # accepted, and never seen

        def taken() -> None:
            self._point(found, "manual")
            if storage_account:
                found.shared.append(self.world.now)

        self.world.after(dice.uniform(*self.cloud.scenario.durations.restore_point), taken)

    # Reprovision and restore

    def begin_reprovision(self, found: CloudPc) -> None:
        """Accepts a reprovision, or raises the refusal."""
        if found.status not in REPROVISIONED_FROM:
            raise GraphError(
                400,
                "invalidCloudPcStatus",
                f"The Cloud PC is {found.status}: it can be reprovisioned when provisioned or failed.",
            )
        self._act(found, "Reprovision")
        self.world.after(STATUS_LAGS_S, lambda: self._wipe(found))

    def begin_restore(self, found: CloudPc, point_id: str) -> None:
        """Accepts a restore from one of its restore points, or raises the refusal."""
        chosen = next((point for point in found.points if point.id == point_id), None)
        if chosen is None:
            raise GraphError(400, "cloudPcSnapshotNotFound", f"The restore point '{point_id}' was not found.")
        self._act(found, "Restore")
        found.status = "restoring"

        def restored() -> None:
            found.image = chosen.image
            self._end(found, "provisioned", "done")

        self.world.after(STATUS_LAGS_S * 10, restored)

    def _act(self, found: CloudPc, name: str) -> None:
        now = wire(self.world.now)
        found.action = {"actionName": name, "actionState": "pending", "startDateTime": now, "lastUpdatedDateTime": now}
        found.action |= {"cloudPcId": found.id, "managedDeviceId": found.managed_id, "statusDetail": None}

    def _wipe(self, found: CloudPc) -> None:
        self.world.tell(CloudPcWiped(found.worker.name, lost=self._loses(found), cut_off=self.signed_in(found.worker)))
        found.status, found.wiped = "provisioning", self.world.now
        if not self.cloud.scenario.restore_points_survive:
            found.points = []
        self.cloud.devices.remove(found.device_id)
        seconds = self.world.chance("reprovision", found.id).uniform(*self.cloud.scenario.durations.reprovision)
        self.world.after(seconds, lambda: self._provisioned(found))

    def _loses(self, found: CloudPc) -> bool:
        """Whether work is lost for good: not in OneDrive, and since the last of it no copy was made that outlives the wipe."""
        last = self.last_session(found.worker)
        if found.worker.synced or last is None or (found.wiped is not None and last[1] <= found.wiped):
            return False
        until = min(last[1], self.world.now)
        points = [p.created for p in found.points] if self.cloud.scenario.restore_points_survive else []
        return not any(copy >= until for copy in (*points, *found.shared))

    def _provisioned(self, found: CloudPc) -> None:
        if self.cloud.scenario.cloud_pc_failures.get(found.worker.name) == "reprovision":
            self._end(found, "failed", "failed")
            return
        found.name = f"CPC-{self.world.chance('name', found.id, self.world.now).getrandbits(32):08X}"
        found.device_id, found.managed_id = self.cloud.devices.add(found.name, managed=True, user=found.worker.name)
        found.image = found.policy.image_name
        self._end(found, "provisioned", "done")

    def _end(self, found: CloudPc, status: str, state: str) -> None:
        found.status, found.changed = status, self.world.now
        if found.action is not None:
            found.action |= {"actionState": state, "lastUpdatedDateTime": wire(self.world.now)}
