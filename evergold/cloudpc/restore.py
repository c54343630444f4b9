"""A single Cloud PC back to what was on its disk before it was reprovisioned: from its restore point, where there still is one.

Windows 365 puts a Cloud PC back to a restore point of its own. Where that did not outlive the reprovision, and a copy stands in the
customer's storage account, Graph can make a *new* Cloud PC of the copy and nothing else: for that the user needs a licence and a
policy, and somebody has to choose the file, so the steps are told, and done by a person. No fresh restore point is made first: a manual
one would take the place of the very one that is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from evergold.azure import Azure
from evergold.azure.cloudpcs import CloudPc, RestorePoint
from evergold.azure.errors import raise_failed
from evergold.azure.pipeline import wait_until
from evergold.cloudpc.images import settings_of
from evergold.cloudpc.plan import CAN_BE_REPROVISIONED, RUNS
from evergold.cloudpc.policies import policies_of
from evergold.config.models import ImageSet

RESTORE_TIMEOUT_S = 4 * 3600.0
POLL_S = 120.0


@dataclass(frozen=True)
class Restored:
    """What became of one user's wish, in words that say what to do next."""

    user: str
    outcome: Literal["restored", "by hand", "left"]
    words: str


async def ensure_restored(azure: Azure, image_set: ImageSet, user: str) -> Restored:
    """The user's Cloud PC has the disk again that it had before its reprovision, with the image of then, or the words say why not.

    Done before, it is not done again. Raises AzureFailure where the user has no Cloud PC of the image set's policies, or Graph fails.
    """
    desk = await _desk_of(azure, image_set, user)
    if desk.action.casefold() == "restore" and desk.status == "restoring":
        return await _waited_for(azure, desk)
    chosen = await _chosen(azure, image_set, desk)
    return chosen if isinstance(chosen, Restored) else await _restored(azure, desk, chosen)


async def foreseen(azure: Azure, image_set: ImageSet, user: str) -> str:
    """What `ensure_restored` would do as things are now, in a sentence; nothing is changed. Raises as it does."""
    desk = await _desk_of(azure, image_set, user)
    chosen = await _chosen(azure, image_set, desk)
    if isinstance(chosen, Restored):
        return " ".join(chosen.words.splitlines()[:1])
    return f"{desk.name} is put back to its restore point of {chosen.created:%Y-%m-%d %H:%M} UTC: what was done on it since is lost."


async def _chosen(azure: Azure, image_set: ImageSet, desk: CloudPc) -> RestorePoint | Restored:
    """The restore point that a Cloud PC goes back to, or why it goes back to none."""
    user = desk.user
    before = await _reprovisioned_at(azure, image_set, desk)
    if before is None:
        return Restored(
            user, "left", "Nothing tells that this image set has reprovisioned it, so nothing was restored."
        )
    if desk.action.casefold() == "restore" and desk.action_started is not None and desk.action_started > before:
        return Restored(user, "restored", f"It was restored on {desk.action_started:%Y-%m-%d %H:%M} UTC.")
    if desk.status not in CAN_BE_REPROVISIONED:
        return Restored(user, "left", f"It is {desk.status}. Start this again when it is provisioned.")
    if (await azure.cloud_pcs.connection(desk.id)).signed_in is not False:
        return Restored(
            user, "left", "Its user is signed in, or nobody can say. Ask them to sign out, and start this again."
        )
    points = [each for each in await azure.cloud_pcs.restore_points(desk.id) if each.ready and each.created <= before]
    if not points:
        return Restored(user, "by hand", by_hand(image_set, user, before))
    return max(points, key=lambda point: point.created)


def by_hand(image_set: ImageSet, user: str, before: datetime) -> str:
    """What a person does where no restore point of before the reprovision is left."""
    account = settings_of(image_set).safety.share_snapshots_to
    if account is None:
        return (
            f"No restore point from before {before:%Y-%m-%d %H:%M} UTC is left, and safety.share_snapshots_to names no storage account, "
            "so there is no copy. Look into the user's OneDrive, and ask Microsoft's support."
        )
    graph = "https://graph.microsoft.com/beta/deviceManagement/virtualEndpoint/snapshots"
    return "\n".join(
        (
            f"No restore point from before {before:%Y-%m-%d %H:%M} UTC is left. A copy may be in the storage account. By hand:",
            f"1. In {account}, find the newest .vhd of this Cloud PC from before that time, and make a SAS URL of it that may be read.",
            f"2. See that {user} has a free Windows 365 licence, and is in a provisioning policy's group: a *new* Cloud PC is made.",
            f'3. Graph (beta): POST {graph}/importSnapshot with {{"assignedUserId": "<object id of {user}>", "sourceFiles": '
            '[{"sourceType": "sasUrl", "fileType": "dataFile", "sasUrl": "<the SAS URL>"}]}',
            f"4. GET {graph}/retrieveSnapshotImportResult(snapshotId='<the answer's>') until it says succeeded.",
            "5. Where only files are missing: attach the .vhd to any Windows machine instead, and copy them.",
        )
    )


async def _desk_of(azure: Azure, image_set: ImageSet, user: str) -> CloudPc:
    ids = {policy.id for policy in await policies_of(azure, settings_of(image_set).provisioning_policies)}
    found = [
        desk for desk in await azure.cloud_pcs.list_all() if desk.policy_id in ids and desk.user == user.casefold()
    ]
    if len(found) != 1:
        raise_failed(
            "restore the Cloud PC",
            user,
            "ResourceNotFound",
            f"{len(found)} Cloud PCs of {image_set.name} are of this user.",
        )
    return found[0]


async def _reprovisioned_at(azure: Azure, image_set: ImageSet, desk: CloudPc) -> datetime | None:
    """When the image set last asked for its reprovision: Graph's bulk actions tell, or its last action."""
    actions = await azure.cloud_pcs.bulk_actions(f"evergold {image_set.name} ")
    moments = [each.created for each in actions if each.kind == "reprovision" and desk.id in each.cloud_pc_ids]
    if desk.action.casefold() == "reprovision":
        moments.append(desk.action_started)
    return max((moment for moment in moments if moment is not None), default=None)


async def _restored(azure: Azure, desk: CloudPc, point: RestorePoint) -> Restored:
    await azure.cloud_pcs.restore(desk.id, point.id)
    done = await _waited_for(azure, desk)
    return Restored(desk.user, done.outcome, f"{done.words} Restore point of {point.created:%Y-%m-%d %H:%M} UTC.")


async def _waited_for(azure: Azure, desk: CloudPc) -> Restored:
    async def look() -> CloudPc | None:
        seen = await azure.cloud_pcs.get(desk.id)
        over = seen is not None and seen.status in CAN_BE_REPROVISIONED and seen.action_state != "pending"
        return seen if over and seen is not None and seen.action.casefold() == "restore" else None

    clock = azure.clock
    seen: CloudPc = await wait_until(look, "restore the Cloud PC", desk.name, clock, RESTORE_TIMEOUT_S, POLL_S)
    if seen.status not in RUNS or seen.action_state == "failed":
        return Restored(desk.user, "left", "Windows 365 says that the restore failed: open the Cloud PC in Intune.")
    return Restored(desk.user, "restored", f"It has its disk of before again, with {seen.image}.")
