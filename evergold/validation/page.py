"""The report of a refresh as one HTML file: it needs no server, no script and nothing from elsewhere, and can be mailed or printed.

Pure. Whoever opens it tired at night sees first, in a colour and a sentence, whether it went well; then four numbers; then the pictures;
then what it rests on.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from evergold.images.manifest import Change, Difference
from evergold.validation.pictures import (
    GOOD,
    axis_of,
    bars_picture,
    capacity_picture,
    hosts_moved,
    lanes_picture,
    legend_picture,
    minutes_in_words,
    waits_of,
)
from evergold.validation.report import CloudPcStory, Outcome, PoolStory, Report, treated, until_in_words
from evergold.validation.verdicts import Check, Evidence, Verdict, worst_first

VERDICTS: dict[Outcome, str] = {"well": "It went well", "look": "It went through: please look", "stopped": "It stopped"}
SIGNS: dict[Outcome, str] = {"well": "&#10003;", "look": "!", "stopped": "&#10005;"}
WORDS: dict[Verdict, str] = {"pass": "pass", "warn": "warn", "fail": "fail", "unknown": "unknown"}
SHOWN = 40

STYLE = Path(__file__).with_name("report.css").read_text(encoding="utf-8")


def page(report: Report) -> str:
    """The whole file."""
    title = f"{report.image_set} {report.version}: {VERDICTS[report.outcome].lower()}"
    parts = [
        _head(report),
        "<main>",
        _tiles(report),
        _problems(report),
        *(_pool(story, report) for story in report.pools),
        _cloud_pcs(report.cloud_pcs),
        _people_and_waits(report) if report.pools else "",
        _evidence(report.evidence, report.approved_with),
        _way_back(report),
        _foot(report),
        "</main>",
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _head(report: Report) -> str:
    met = (
        treated(*_people(report), ended=report.outcome != "stopped") if report.pools or report.cloud_pcs is None else ""
    )
    took = _took(report)
    approved = ""
    if report.approval is not None:
        reason = f": {escape(report.approval.reason)}" if report.approval.reason else ""
        approved = (
            f" &middot; approved by {escape(report.approval.by)} on {report.approval.at:%Y-%m-%d %H:%M} UTC{reason}"
        )
    when = f" &middot; {took}" if took else ""
    return (
        f'<header class="{report.outcome}"><div><div class="sign">{SIGNS[report.outcome]}</div><div>'
        f"<h1>{VERDICTS[report.outcome]}</h1><p>{escape(report.headline)} {escape(met)}</p>"
        f"<small>{escape(report.image_set)} {escape(report.version)} &middot; refresh {escape(report.refresh)}{when}{approved}</small>"
        "</div></div></header>"
    )


def _tiles(report: Report) -> str:
    done, hosts = sum(each.on_version for each in report.pools), sum(each.hosts for each in report.pools)
    warned, moved = _people(report)
    approved = None if report.evidence is None else report.evidence.passed
    tiles = []
    if report.pools or report.cloud_pcs is None:
        tiles += [
            _tile(f"{done} of {hosts}", f"hosts on {escape(report.version)}", done == hosts),
            _lowest(report),
            _tile(str(moved), f"users signed out, {warned} warned", None),
        ]
    if report.cloud_pcs is not None:
        on, desks = report.cloud_pcs.on_image, report.cloud_pcs.cloud_pcs
        tiles.append(_tile(f"{on} of {desks}", f"Cloud PCs on {escape(report.version)}", on == desks))
    tiles += [
        _tile(_checks_told(report.evidence), "checks passed before approval", approved),
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _lowest(report: Report) -> str:
    """The capacity of the pool that came nearest to its floor, or fell furthest below it."""
    measured = [(each.lowest_percent, each.floor_percent) for each in report.pools if each.lowest_percent is not None]
    if not measured:
        return _tile("?", "lowest capacity was not measured", None)
    lowest, floor = min(measured, key=lambda each: each[0] - each[1])
    return _tile(f"{lowest} %", f"lowest capacity, floor {floor} %", lowest >= floor)


def _tile(number: str, words: str, good: bool | None) -> str:
    kind = "" if good is None else " good" if good else " bad"
    return f'<div class="tile{kind}"><b>{number}</b><span>{words}</span></div>'


def _checks_told(evidence: Evidence | None) -> str:
    if evidence is None:
        return "?"
    return f"{sum(check.verdict == 'pass' for check in evidence.checks)} of {len(evidence.checks)}"


def _problems(report: Report) -> str:
    parts = ""
    if report.problem:
        parts += f'<section><h2>Why it stopped</h2><p class="told">{escape(report.problem)}</p></section>'
    if report.remarks:
        items = "".join(f"<li>{escape(remark)}</li>" for remark in report.remarks)
        parts += f'<section><h2>Please look</h2><ul class="remarks">{items}</ul></section>'
    return parts


def _pool(story: PoolStory, report: Report) -> str:
    axis = axis_of(story)
    title = f"{escape(story.pool)}: {story.on_version} of {story.hosts} hosts on {escape(report.version)}"
    how = f"ring {escape(story.ring)}, {escape(story.release_method)}; {_people_told(story)}"
    if axis is None:
        return f'<section><h2>{title}</h2><p class="faint">{how}. There is no record of how it went over time.</p></section>'
    took = minutes_in_words((axis.end - axis.start).total_seconds() / 60)
    gaps = "".join(f" Nobody looked from {a:%a %H:%M} to {b:%a %H:%M} UTC." for a, b in story.gaps)
    return (
        f'<section><h2>{title}</h2><p class="faint">{how}; {took}.{gaps}</p>'
        f"<h3>Open session capacity</h3>{capacity_picture(story, axis)}"
        f"<h3>Each host: old ones above, new ones in bold</h3>{lanes_picture(story, axis)}{legend_picture()}</section>"
    )


def _cloud_pcs(story: CloudPcStory | None) -> str:
    if story is None:
        return ""
    title = f"Cloud PCs: {story.on_image} of {story.cloud_pcs} on {escape(story.image)}"
    by = f"Approved by {escape(story.approved_by)}. " if story.approved_by else ""
    waived = f"Waived: {escape('; '.join(story.waivers))}." if story.waivers else "Nobody was waived."
    items = "".join(f"<li>{escape(each)}</li>" for each in story.remaining)
    left = f'<ul class="remarks">{items}</ul>' if items else ""
    return f'<section><h2>{title}</h2><p class="faint">{by}{waived}</p>{left}</section>'


def _people_told(story: PoolStory) -> str:
    if not story.warned and not story.moved:
        return "nobody was warned or signed out"
    return f"{story.warned} users warned, {story.moved} signed out"


def _people_and_waits(report: Report) -> str:
    waited = waits_of(report)
    moved = hosts_moved(report.pools)
    people = '<p class="faint">Nobody was on the old hosts when their turn came.</p>'
    if any(moved.values()):
        people = bars_picture(moved, "#4b92d4", "Users", lambda value: f"{value:.0f}")
    bars = '<p class="faint">It did not wait for anything, as far as is known.</p>'
    if waited:
        bars = bars_picture(waited, GOOD, "Waiting by cause", minutes_in_words)
    return (
        f'<div class="two"><section><h2>Users</h2>{people}</section>'
        f"<section><h2>What it waited for</h2>{bars}</section></div>"
    )


def _evidence(evidence: Evidence | None, approved_with: str) -> str:
    if evidence is None:
        return '<section><h2>Evidence</h2><p class="faint">The evidence of the approval is not kept any more.</p></section>'
    manifest = evidence.manifest
    contents = "What is in the image is not known."
    if manifest:
        counts = f"{len(manifest.hotfixes)} hotfixes, {len(manifest.software)} programs"
        contents = f"In it: {escape(manifest.os.name)}, build {escape(manifest.os.build)}, {counts}."
    return (
        f"<section><h2>Evidence</h2><p>Built from <code>{escape(evidence.source)}</code>, "
        f"checked on {escape(evidence.canary or 'import into Windows 365')}. {contents} {escape(approved_with)}</p>"
        f"{_checks(evidence.checks)}{_difference(evidence.difference, evidence.compared_with)}</section>"
    )


def _checks(checks: Iterable[Check]) -> str:
    rows = "".join(
        f'<tr><td><span class="chip {check.verdict}">{WORDS[check.verdict]}</span></td><td>{escape(check.name)}</td>'
        f"<td>{escape(check.measured)}</td><td>{escape(check.threshold)}</td><td>{escape(check.remedy)}</td></tr>"
        for check in worst_first(checks)
    )
    return f"<table><tr><th>verdict</th><th>check</th><th>found</th><th>asked for</th><th>what to do</th></tr>{rows}</table>"


def _difference(difference: Difference | None, compared_with: str) -> str:
    if difference is None:
        return ""
    rows = [("Windows", "build", difference.build_before, difference.build_after)]
    rows += [(kb, "hotfix gained", "", "") for kb in difference.hotfixes_gained]
    rows += [(kb, "hotfix lost", "", "") for kb in difference.hotfixes_lost]
    rows += [(feature, "feature disabled", "", "") for feature in difference.features_disabled]
    rows += [(feature, "feature enabled", "", "") for feature in difference.features_enabled]
    for word, changes in (
        ("removed", difference.software_removed),
        ("added", difference.software_added),
        ("changed", difference.software_changed),
    ):
        rows += [_change(word, change) for change in changes]
    shown = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[:SHOWN])
    more = f'<p class="faint">and {len(rows) - SHOWN} more</p>' if len(rows) > SHOWN else ""
    return (
        f"<h3>What changed since {escape(compared_with or 'the version before')}</h3>"
        f"<table><tr><th>what</th><th></th><th>before</th><th>after</th></tr>{shown}</table>{more}"
    )


def _change(word: str, change: Change) -> tuple[str, str, str, str]:
    return (change.name, word, change.before, change.after)


def _way_back(report: Report) -> str:
    rows = "".join(
        f"<tr><td>{escape(kept.host)}</td><td>{escape(story.pool)}</td><td>{escape(until_in_words(kept.until))}</td></tr>"
        for story in report.pools
        for kept in story.retained
    )
    if not rows:
        return ""
    return (
        "<section><h2>The way back</h2><p>These hosts are switched off and kept until the time given; then retire-hosts deletes them.</p>"
        f"<table><tr><th>host</th><th>host pool</th><th>kept until</th></tr>{rows}</table></section>"
    )


def _foot(report: Report) -> str:
    evidence = f"Evidence <code>{report.evidence.digest}</code><br>" if report.evidence else ""
    return (
        f"<footer>{evidence}Report <code>{report.digest}</code>, written {report.written_at:%Y-%m-%d %H:%M} UTC. "
        "All times are UTC. The JSON beside this file holds everything that is shown here.</footer>"
    )


def _people(report: Report) -> tuple[int, int]:
    return sum(each.warned for each in report.pools), sum(each.moved for each in report.pools)


def _took(report: Report) -> str:
    axes = [axis for story in report.pools if (axis := axis_of(story)) is not None]
    if not axes:
        return ""
    start, end = min(axis.start for axis in axes), max(axis.end for axis in axes)
    took = minutes_in_words((end - start).total_seconds() / 60)
    return f"{start:%a %d %b %H:%M} to {end:%a %d %b %H:%M} UTC ({took})"
