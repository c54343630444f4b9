"""The report of a refresh: what was done to whom and where it all stands, read from Azure and from what was kept with the runs.

One document, written three times: as an artifact with its picture to read in the UI, as JSON with its digest, and as a page that can be
opened anywhere. It is written when a refresh ends, well or not.
"""

import base64
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from prefect import task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE

from evergold import tags
from evergold.azure import Azure
from evergold.cloudpc.refresh import story_of
from evergold.config.models import ImageSet, Pool, Ring
from evergold.images.publish import Decision
from evergold.images.refresh import Refresh
from evergold.rollout.model import Host, Snapshot
from evergold.rollout.observe import PoolWatch
from evergold.rollout.preview import target_of
from evergold.validation.page import page
from evergold.validation.pictures import picture_of
from evergold.validation.report import Approval, CloudPcStory, PoolStory, Report, Retained, treated, until_in_words
from evergold.validation.timeline import lanes
from tasks.record import evidence_of, slug, timeline_of

log = logging.getLogger("evergold.report")

FOLDER_VARIABLE = "EVERGOLD_REPORTS"
FOLDER = ".evergold/reports"


@task(name="report", cache_policy=NO_CACHE)
async def write_report(
    azure: Azure, image_set: ImageSet, refresh: Refresh, decision: Decision, problem: str = ""
) -> str:
    """Writes the report of a refresh that has ended; `problem` says why, where it stopped. Returns the text in the UI."""
    report = await compose(azure, image_set, refresh, decision, problem)
    written = save(report)
    text = markdown(report, written)
    shown = f"{text}\n{_picture(report)}" if report.pools else text
    await acreate_markdown_artifact(shown, key=f"refresh-{slug(image_set.name)}", description=f"Refresh {refresh.id}")
    log.info("The report is written: %s", written)
    return text


async def compose(azure: Azure, image_set: ImageSet, refresh: Refresh, decision: Decision, problem: str = "") -> Report:
    """Everything that is known of a refresh, as one document."""
    stories = [
        await _story(azure, image_set, refresh, ring, pool, decision) for ring in image_set.rings for pool in ring.pools
    ]
    desks = await story_of(azure, image_set, refresh.version) if image_set.cloud_pcs is not None else None
    return Report(
        image_set=image_set.name,
        version=refresh.version,
        refresh=refresh.id,
        source=refresh.source,
        written_at=azure.clock.now(),
        problem=problem,
        approval=Approval(
            by=decision.by,
            at=decision.at,
            digest=decision.digest,
            reason=decision.reason,
            given_from=decision.given_from,
        ),
        evidence=await evidence_of(image_set.name, decision.digest),
        pools=tuple(stories),
        cloud_pcs=desks,
    )


def _picture(report: Report) -> str:
    """Its picture, inside the text: an image artifact of Prefect's shows its address beside it, here thousands of letters of it."""
    drawn = base64.b64encode(picture_of(report).encode()).decode()
    return f"![Capacity over time, and a lane for each host](data:image/svg+xml;base64,{drawn})\n"


def save(report: Report) -> Path:
    """Writes the page and the JSON beside it into the reports folder ($EVERGOLD_REPORTS). Returns the page's path."""
    folder = Path(os.environ.get(FOLDER_VARIABLE) or FOLDER).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.refresh}.html"
    path.with_suffix(".json").write_text(report.to_json(), encoding="utf-8")
    path.write_text(page(report), encoding="utf-8")
    return path


async def _story(
    azure: Azure, image_set: ImageSet, refresh: Refresh, ring: Ring, pool: Pool, decision: Decision
) -> PoolStory:
    watch = PoolWatch(azure, pool.resource_group, pool.name, pool.hosts.resource_group)
    snapshot = await watch.look()
    samples = await timeline_of(pool.name, refresh.id)
    ours = [host for host in snapshot.hosts if host.tags.get(tags.REPLACE, "").startswith(f"{refresh.id}/")]
    lowest = tags.of_refresh(snapshot.pool.tags.get(tags.LOWEST_CAPACITY), refresh.id)
    return PoolStory(
        pool=pool.name,
        ring=ring.name,
        release_method=decision.release_method or ring.release_method or image_set.rollout.release_method,
        hosts=len(_in_pool(snapshot)),
        on_version=sum(1 for host in _in_pool(snapshot) if _version(host) == refresh.version),
        floor_percent=image_set.rollout.capacity_floor_percent,
        lowest_percent=int(lowest) if lowest and lowest.isdigit() else None,
        warned=sum(_count(host, tags.WARNED_USERS) for host in ours),
        moved=sum(_count(host, tags.MOVED_USERS) for host in ours),
        retained=tuple(
            Retained(host=h.name, until=h.tags.get(tags.RETAIN_UNTIL, "")) for h in ours if tags.RETIRED_AT in h.tags
        ),
        lanes=lanes(snapshot.hosts, samples, target_of(azure, image_set, refresh.id, refresh.version, pool)),
        samples=tuple(samples),
    )


def _in_pool(snapshot: Snapshot) -> list[Host]:
    return [host for host in snapshot.hosts if host.registered]


def _version(host: Host) -> str:
    return (host.image_version_id or "").rpartition("/")[2]


def _count(host: Host, tag: str) -> int:
    value = host.tags.get(tag, "")
    return int(value) if value.isdigit() else 0


def markdown(report: Report, written: Path) -> str:
    """The report for the UI."""
    warned, moved = sum(r.warned for r in report.pools), sum(r.moved for r in report.pools)
    rows = "\n".join(_row(story) for story in report.pools)
    kept = [
        f"| {each.host} | {story.pool} | {until_in_words(each.until)} |"
        for story in report.pools
        for each in story.retained
    ]
    stopped = (
        f"\n**It stopped.** {report.problem}\n" if report.problem else f" Version {report.version} is now the latest."
    )
    parts = [
        f"# {report.image_set} {report.version}: {report.served} on the new version",
        f"{treated(warned, moved, ended=report.outcome != 'stopped') if report.pools else ''}{stopped}\n{_remarks(report.remarks)}".lstrip(
            " "
        ),
        _pools_table(rows, report.version) if report.pools else "",
        _cloud_pcs(report.cloud_pcs),
        f"Built from `{report.source}`. {_approved(report.approval)} {report.approved_with}".rstrip(),
        f"The whole report, with pictures: `{written}`; as JSON beside it. SHA-256 `{report.digest}`.",
        _way_back(kept) if report.pools else "",
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _pools_table(rows: str, version: str) -> str:
    return f"""| host pool | on {version} | retained | users warned | users signed out | lowest capacity |
| --- | --- | --- | --- | --- | --- |
{rows}"""


def _cloud_pcs(story: CloudPcStory | None) -> str:
    if story is None:
        return ""
    waived = "".join(f"\n- waived: {each}" for each in story.waivers)
    return f"""| Cloud PCs | on {story.image} | waivers | approved by |
| --- | --- | --- | --- |
| {story.cloud_pcs} | {story.on_image} of {story.cloud_pcs} | {len(story.waivers)} | {story.approved_by or "nobody"} |
{waived}"""


def _way_back(kept: Sequence[str]) -> str:
    return f"""## The way back

These hosts are switched off and kept until the time given; `retire-hosts` then deletes them.

| host | host pool | kept until |
| --- | --- | --- |
{chr(10).join(kept) or "| none | | |"}
"""


def _row(story: PoolStory) -> str:
    lowest = "not measured"
    if story.lowest_percent is not None:
        lowest = f"{story.lowest_percent} % (floor {story.floor_percent} %)"
    on = f"{story.on_version} of {story.hosts}"
    return f"| {story.pool} | {on} | {len(story.retained)} | {story.warned} | {story.moved} | {lowest} |"


def _remarks(remarks: Sequence[str]) -> str:
    return "\n" + "\n".join(f"- {remark}" for remark in remarks) + "\n" if remarks else ""


def _approved(approval: Approval | None) -> str:
    if approval is None:
        return ""
    reason = f": {approval.reason.rstrip('.')}" if approval.reason else ""
    return (
        f"Approved by {approval.by} on {approval.at:%Y-%m-%d %H:%M} UTC, on evidence `{approval.digest[:12]}`{reason}."
    )
