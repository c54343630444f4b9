"""The note of a campaign: tags on the image definition, since nothing in Graph has room for notes.

One JSON text in as many tags as it needs, written in a single update: whoever reads it reads all of one state. While it stands, no other
campaign of the image set begins. What was sent does not stand here: Graph's own bulk actions, which carry the campaign's id as their name,
tell that better.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Literal

from evergold import tags
from evergold.azure import Azure, AzureFailure
from evergold.cloudpc.model import Campaign
from evergold.config.models import ImageSet
from evergold.images.refresh import definition_of

TAG = "evergold-cloud-pcs"
CHUNK = 256  # Azure's limit for a tag's value
MOST_CHUNKS = 8
TIMES = ("started_at", "approved_at", "told_at", "told_again_at")


async def current(azure: Azure, image_set: ImageSet) -> Campaign | None:
    """The campaign that is under way, or None."""
    return from_tags(await _tags(azure, image_set))


async def begin(
    azure: Azure, image_set: ImageSet, targets: Mapping[str, str], version: str, kind: Literal["forward", "back"]
) -> Campaign:
    """The campaign to these images (policy to image, as in `Campaign`), under way or new; noted before anything is asked of Graph.

    One that nobody has approved gives way to another: it has sent nothing. Raises AzureFailure while an approved one is under way.
    """
    now = azure.clock.now()
    standing = await current(azure, image_set)
    if standing is not None and dict(standing.targets) == dict(targets):
        return standing
    if standing is not None and standing.approved_by:
        raise AzureFailure(
            "begin to reprovision Cloud PCs",
            image_set.name,
            "CampaignUnderWay",
            f"{standing.id} is under way, to {standing.image}.",
            retryable=False,
            remedy=f"Let it end, or start the flow with give_up: {standing.id}. Cloud PCs that it has sent are not called back.",
        )
    started = datetime.fromisoformat(tags.format_time(now))
    new = Campaign(f"evergold {image_set.name} {now:%Y%m%d-%H%M}", dict(targets), version, kind, started)
    await note(azure, image_set, new)
    return new


async def note(azure: Azure, image_set: ImageSet, campaign: Campaign) -> Campaign:
    """Writes the campaign as it now is. Returns it."""
    chunks = to_tags(campaign)
    present = await _tags(azure, image_set)
    old = tuple(name for name in present if name.startswith(f"{TAG}-") and name not in chunks)
    await azure.galleries.update_definition_tags(definition_of(image_set), chunks, remove=old)
    return campaign


async def end(azure: Azure, image_set: ImageSet, campaign: Campaign) -> None:
    """Takes the note of this campaign away; leaves any other's alone."""
    present = await _tags(azure, image_set)
    standing = from_tags(present)
    if standing is not None and standing.id == campaign.id:
        names = tuple(name for name in present if name.startswith(f"{TAG}-"))
        await azure.galleries.update_definition_tags(definition_of(image_set), {}, remove=names)


def to_tags(campaign: Campaign) -> dict[str, str]:
    """The campaign as tags. Raises AzureFailure where its waivers are too long to be kept."""
    plain: dict[str, Any] = {key: value for key, value in asdict(campaign).items() if value}
    plain |= {key: tags.format_time(plain[key]) for key in TIMES if key in plain}
    text = json.dumps(plain, separators=(",", ":"), ensure_ascii=True)
    chunks = [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)]
    if len(chunks) > MOST_CHUNKS:
        raise AzureFailure(
            "note the waivers",
            campaign.id,
            "TooLong",
            f"They need {len(chunks)} tags, and {MOST_CHUNKS} are kept for them.",
            retryable=False,
            remedy="Waive fewer users at once, or give shorter reasons.",
        )
    return {f"{TAG}-{number}": chunk for number, chunk in enumerate(chunks, start=1)}


def from_tags(present: dict[str, str]) -> Campaign | None:
    """The campaign that tags speak of; None where there is none, or none that can be read."""
    text = "".join(present.get(f"{TAG}-{number}", "") for number in range(1, MOST_CHUNKS + 1))
    try:
        plain = json.loads(text) if text else None
        if not isinstance(plain, dict):
            return None
        times = {key: tags.parse_time(plain.get(key)) for key in TIMES}
        return Campaign(**{**plain, **{key: moment for key, moment in times.items() if moment is not None}})
    except (ValueError, TypeError):
        return None


def approved(campaign: Campaign, by: str, at: datetime, digest: str, waivers: dict[str, str]) -> Campaign:
    """The campaign with a person's approval of it."""
    return replace(campaign, approved_by=by, approved_at=at, digest=digest, waivers=waivers)


async def _tags(azure: Azure, image_set: ImageSet) -> dict[str, str]:
    image = await azure.galleries.get_definition(definition_of(image_set))
    if image is None:
        raise AzureFailure(
            "read the image definition",
            str(definition_of(image_set)),
            "ResourceNotFound",
            "There is no such definition.",
            retryable=False,
            remedy=f"Create it, or correct `gallery` in deployments/image_sets/{image_set.name}.yaml.",
        )
    return dict(image.tags or {})
