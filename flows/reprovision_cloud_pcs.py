"""Reprovisions Cloud PCs with the image that their policies have, after an approval, ring by ring, without anyone losing work.

The run can be killed at any instant, or lie suspended for days, and be started again: what was sent stands in Graph, the rest in a note on
the image definition. Start one at a time for an image set.
"""

from prefect import flow

from evergold.config.load import load_image_set
from evergold.validation.preflight import connect_for
from flows.parameters import ImageSetName, Words
from tasks import cloud_pcs
from tasks.approval import requester


@flow(name="reprovision-cloud-pcs", flow_run_name="reprovision with {image_set} {image_version}", persist_result=False)
async def reprovision_cloud_pcs(
    image_set: ImageSetName, image_version: str, give_up: Words = "", started_by: Words = ""
) -> None:
    """Reprovision every Cloud PC of the image set's policies that is not on the version. Each loses its disk, and is guarded first.

    Args:
        image_set: Name of an image set that has cloud_pcs.
        image_version: The version, x.y.z. It must have been imported, and the policies must have it.
        give_up: Id of a campaign that is unfinished, such as "evergold office 20261112-2000": it ends, and this one begins.
        started_by: Your name; needed where the image set wants two people (approval.four_eyes).

    """
    loaded = load_image_set(image_set)
    async with connect_for(loaded) as azure:
        if give_up:
            await cloud_pcs.give_up(azure, loaded, give_up)
        begun = await cloud_pcs.begin(azure, loaded, image_version)
        campaign = await cloud_pcs.decide(azure, loaded, begun, await requester(started_by))
        if campaign is not None:
            await cloud_pcs.carry_out(azure, loaded, campaign)
            await cloud_pcs.end_campaign(azure, loaded)
