"""The part of Microsoft Graph that is Windows 365: policies, Cloud PCs, their restore points and reports, bulk actions, and groups.

What is beta in Graph is served under /beta alone.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from simulator.cloud_pcs import CloudPc
from simulator.graph import GraphError, GraphRoute, collection
from simulator.graph_devices import wire
from simulator.kernel.arm import ArmRequest, Json, Reply

if TYPE_CHECKING:
    from simulator.cloud import Cloud

ROOM = "deviceManagement/virtualEndpoint"
STABLE, BETA = f"/v1.0/{ROOM}", f"/beta/{ROOM}"
RUN_STATES = "/beta/deviceManagement/deviceHealthScripts/{id}/deviceRunStates"
READ, WRITE = "CloudPC.Read.All", "CloudPC.ReadWrite.All"
REPROVISION, SNAPSHOT = "#microsoft.graph.cloudPcBulkReprovision", "#microsoft.graph.cloudPcBulkCreateSnapshot"


@dataclass(eq=False)
class BulkAction:
    """Something done to several Cloud PCs at once. `refused` are those that could not be told to."""

    id: str
    kind: str
    name: str
    created: datetime
    about: tuple[str, ...]
    refused: tuple[str, ...] = ()


class CloudPcApi:
    """Answers for Windows 365."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._pcs = cloud.cloud_pcs
        self._bulk: dict[str, BulkAction] = {}

    def routes(self) -> list[GraphRoute]:
        """All of it."""
        return [
            *self._pcs.images.routes(),
            GraphRoute("GET", STABLE + "/provisioningPolicies", READ, self._list_policies),
            GraphRoute("GET", STABLE + "/provisioningPolicies/{id}", READ, self._get_policy),
            GraphRoute("PATCH", STABLE + "/provisioningPolicies/{id}", WRITE, self._patch_policy),
            GraphRoute("GET", STABLE + "/cloudPCs", READ, self._list),
            GraphRoute("GET", BETA + "/cloudPCs", READ, self._list),
            GraphRoute("GET", BETA + "/cloudPCs/{id}", READ, self._get),
            GraphRoute("POST", STABLE + "/cloudPCs/{id}/reprovision", WRITE, self._reprovision),
            GraphRoute("POST", STABLE + "/cloudPCs/{id}/restore", WRITE, self._restore),
            GraphRoute("POST", BETA + "/cloudPCs/{id}/createSnapshot", WRITE, self._snapshot),
            GraphRoute("GET", BETA + "/cloudPCs/{id}/retrieveSnapshots", READ, self._points),
            GraphRoute("GET", BETA + "/reports/{function}", READ, self._connection),
            GraphRoute("GET", BETA + "/bulkActions", READ, self._list_bulk),
            GraphRoute("GET", BETA + "/bulkActions/{id}", READ, self._get_bulk),
            GraphRoute("POST", BETA + "/bulkActions", WRITE, self._post_bulk),
            GraphRoute("GET", RUN_STATES, "DeviceManagementConfiguration.Read.All", self._run_states),
            GraphRoute("GET", "/v1.0/groups/{id}/transitiveMembers", "GroupMember.Read.All", self._members),
        ]

    # Policies

    def _list_policies(self, request: ArmRequest) -> Reply:
        expanded = "assignments" in request.query.get("$expand", "")
        bodies = [policy.body(expanded=expanded) for policy in self._pcs.policies.values()]
        return collection(request, bodies, f"{ROOM}/provisioningPolicies")

    def _get_policy(self, request: ArmRequest) -> Reply:
        policy = self._pcs.policies.get(request["id"])
        if policy is None:
            raise GraphError(404, "provisioningPolicyNotFound", "The provisioning policy was not found.")
        return Reply(200, policy.body(expanded="assignments" in request.query.get("$expand", "")))

    def _patch_policy(self, request: ArmRequest) -> Reply:
        self._get_policy(request)
        policy, body = self._pcs.policies[request["id"]], request.body
        policy.description = str(body.get("description", policy.description))
        if "imageId" in body:
            kind = str(body.get("imageType") or policy.image_type)
            image = self._pcs.images.all.get(body["imageId"])
            if kind == "custom" and (image is None or image.status != "ready"):
                raise GraphError(400, "invalidImage", f"The image '{body['imageId']}' does not exist or is not ready.")
            policy.image_id, policy.image_type = str(body["imageId"]), kind
            policy.image_name = (
                image.name if image is not None else str(body.get("imageDisplayName") or body["imageId"])
            )
        return Reply(204)

    # Cloud PCs

    def _body(self, found: CloudPc, request: ArmRequest) -> Json:
        return found.body(self._pcs.last_login(found.worker), beta=request.path.lower().startswith("/beta"))

    def _list(self, request: ArmRequest) -> Reply:
        return collection(request, [self._body(found, request) for found in self._pcs.all.values()], f"{ROOM}/cloudPCs")

    def _get(self, request: ArmRequest) -> Reply:
        return Reply(200, self._body(self._pcs.need(request["id"]), request))

    def _reprovision(self, request: ArmRequest) -> Reply:
        self._pcs.begin_reprovision(self._pcs.need(request["id"]))
        return Reply(204)

    def _restore(self, request: ArmRequest) -> Reply:
        point = str(request.body.get("cloudPcSnapshotId") or "")
        self._pcs.begin_restore(self._pcs.need(request["id"]), point)
        return Reply(204)

    def _snapshot(self, request: ArmRequest) -> Reply:
        account = str(request.body.get("storageAccountId") or "")
        self._pcs.begin_snapshot(self._pcs.need(request["id"]), account)
        return Reply(204)

    def _points(self, request: ArmRequest) -> Reply:
        found = self._pcs.need(request["id"])
        bodies = [
            {
                "id": point.id,
                "cloudPcId": found.id,
                "status": "ready",
                "createdDateTime": wire(point.created),
                "lastRestoredDateTime": None,
                "snapshotType": point.kind,
                "expirationDateTime": None,
            }
            for point in found.points
        ]
        return collection(request, bodies, "Collection(microsoft.graph.cloudPcSnapshot)")

    def _connection(self, request: ArmRequest) -> Reply:
        name, _, argument = request["function"].partition("(cloudPcId='")
        if name.lower() != "getrealtimeremoteconnectionstatus":
            raise GraphError(404, "ResourceNotFound", f"There is no report '{name}'.")
        found = self._pcs.need(argument.removesuffix("')"))
        last = self._pcs.last_session(found.worker)
        signed_in = self._pcs.signed_in(found.worker)
        days = (self._pcs.world.now - last[1]).days if last and not signed_in else 0
        columns = ("CloudPcId", "ManagedDeviceName", "SignInStatus", "DaysSinceLastSignIn")
        values = [found.id, found.name, "SignedIn" if signed_in else "SignedOut", days]
        schema = [{"Column": column, "PropertyType": "String"} for column in columns]
        return Reply(200, {"TotalRowCount": 1, "Schema": schema, "Values": [values]})

    # Bulk actions

    def _bulk_body(self, bulk: BulkAction) -> Json:
        done = [each for each in bulk.about if self._is_done(bulk, self._pcs.all[each])]
        return {
            "@odata.type": bulk.kind,
            "id": bulk.id,
            "displayName": bulk.name,
            "cloudPcIds": list(bulk.about),
            "createdDateTime": wire(bulk.created),
            "scheduledDuringMaintenanceWindow": False,
            "status": "succeeded" if len(done) == len(bulk.about) else "pending",
            "actionSummary": {
                "successfulCount": len(done),
                "failedCount": len(bulk.refused),
                "inProgressCount": len(bulk.about) - len(done) - len(bulk.refused),
            },
        }

    def _is_done(self, bulk: BulkAction, found: CloudPc) -> bool:
        if bulk.kind == SNAPSHOT:
            return any(point.created >= bulk.created for point in found.points)
        return found.id not in bulk.refused and (found.action or {}).get("actionState") == "done"

    def _list_bulk(self, request: ArmRequest) -> Reply:
        seen_until = self._pcs.world.now - timedelta(seconds=self._cloud.scenario.graph_lags_s)
        listed = [self._bulk_body(each) for each in self._bulk.values() if each.created <= seen_until]
        return collection(request, listed, f"{ROOM}/bulkActions")

    def _get_bulk(self, request: ArmRequest) -> Reply:
        if request["id"] not in self._bulk:
            raise GraphError(404, "bulkActionNotFound", "The bulk action was not found.")
        return Reply(200, self._bulk_body(self._bulk[request["id"]]))

    def _post_bulk(self, request: ArmRequest) -> Reply:
        kind, body = str(request.body.get("@odata.type") or ""), request.body
        about = [self._pcs.need(each) for each in body.get("cloudPcIds") or []]
        if kind not in (REPROVISION, SNAPSHOT) or not about or not body.get("displayName"):
            raise GraphError(400, "badRequest", "A bulk action needs its type, a displayName and cloudPcIds.")
        ids = tuple(each.id for each in about)
        bulk = BulkAction(self._pcs.number(), kind, str(body["displayName"]), self._pcs.world.now, ids)
        refused = []
        for each in about:
            try:
                if kind == SNAPSHOT:
                    self._pcs.begin_snapshot(each, str(body.get("storageAccountId") or ""))
                else:
                    self._pcs.begin_reprovision(each)
            except GraphError:
                refused.append(each.id)
        bulk.refused = tuple(refused)
        self._bulk[bulk.id] = bulk
        return Reply(201, self._bulk_body(bulk))

    # Groups

    def _run_states(self, request: ArmRequest) -> Reply:
        """What a remediation that looks for known folders in OneDrive has found, whatever its id."""
        states = [
            {
                "id": f"{request['id']}:{found.managed_id}",
                "detectionState": "success" if found.worker.synced else "fail",
                "lastStateUpdateDateTime": wire(self._pcs.world.now),
                "managedDevice": {"id": found.managed_id},
            }
            for found in self._pcs.all.values()
        ]
        return collection(request, states, "deviceManagement/deviceHealthScripts/deviceRunStates")

    def _members(self, request: ArmRequest) -> Reply:
        people = [
            {"@odata.type": "#microsoft.graph.user", "id": found.id, "userPrincipalName": found.worker.name}
            for found in self._pcs.all.values()
            if found.policy.group == request["id"]
            or request["id"] in self._cloud.scenario.groups.get(found.worker.name, [])
        ]
        return collection(request, people, "directoryObjects")
