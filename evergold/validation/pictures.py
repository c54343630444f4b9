"""Pictures of a rollout as SVG, drawn by hand: no library, no script, nothing fetched.

Pure. All pictures of one pool share a time axis. Colours are told apart by people who do not see red and green alike, and every one of
them is also named in a legend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape

from evergold.validation.report import PoolStory, Report
from evergold.validation.timeline import Lane, Phase, waits

WIDTH, LEFT, RIGHT = 1080, 104, 20
CAPACITY_HEIGHT, LANE_HEIGHT, AXIS_HEIGHT = 150, 19, 26
MOST_LANES = 60
SIGNED_OUT_WIDTH = 90
COLOURS: Mapping[Phase, str] = {
    "old serving": "#aab4c0",
    "drained": "#e69f00",
    "users gone": "#f6d58b",
    "retired": "#5b6470",
    "created": "#dbe7f5",
    "joined": "#9ac3ec",
    "checked": "#4b92d4",
    "serving": "#00795c",
    "failed": "#c0261c",
}
NAMES: Mapping[Phase, str] = {"old serving": "serving (old)", "serving": "serving (new)"}
INK, FAINT, GRID, GOOD, BAD = "#1d2733", "#5f6b7a", "#e4e9ef", "#00795c", "#c0261c"
STEPS = tuple(timedelta(minutes=each) for each in (5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080))
FONT = "font-family='system-ui,Segoe UI,Roboto,Helvetica,Arial,sans-serif'"


@dataclass(frozen=True)
class Axis:
    """A span of time over the width of a picture."""

    start: datetime
    end: datetime

    def x(self, moment: datetime) -> float:
        """Where a moment is; what lies outside is at the edge."""
        share = (moment - self.start) / max(self.end - self.start, timedelta(seconds=1))
        return round(LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT), 1)

    def ticks(self) -> Iterator[datetime]:
        """Round moments, at most ten."""
        step = next((each for each in STEPS if (self.end - self.start) / each <= 10), STEPS[-1])
        midnight = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
        moment = midnight + step * -((midnight - self.start) // step)
        while moment <= self.end:
            yield moment
            moment += step


def axis_of(story: PoolStory) -> Axis | None:
    """The time that a pool's pictures are about: from its first moment to its last."""
    moments = [sample.at for sample in story.samples]
    moments += [span.since for lane in story.lanes for span in lane.spans]
    if not moments:
        return None
    start, end = min(moments), max(moments)
    margin = max((end - start) * 0.02, timedelta(minutes=2))
    return Axis(start, end + margin)


def picture_of(report: Report) -> str:
    """Every pool in one picture, for places that show an image and no page."""
    drawn = [(story, axis) for story in report.pools if (axis := axis_of(story)) is not None]
    parts, top = [], 8.0
    for story, axis in drawn:
        parts.append(
            _text(
                10,
                top + 16,
                f"{story.pool}: {story.on_version} of {story.hosts} hosts on {report.version}",
                15,
                INK,
                "bold",
            )
        )
        top += 28
        for body, height in (_capacity(story, axis), _lanes(story, axis)):
            parts.append(f"<g transform='translate(0 {top})'>{body}</g>")
            top += height + 6
        top += 14
    parts.append(f"<g transform='translate(0 {top})'>{_legend()}</g>")
    # On white: where it is shown may be dark, and its ink is too.
    paper = f"<rect width='{WIDTH}' height='{top + 30:.0f}' fill='#ffffff'/>"
    return _svg(paper + "".join(parts), top + 30, f"{report.image_set} {report.version}: {report.headline}")


def capacity_picture(story: PoolStory, axis: Axis) -> str:
    """Capacity over time, its floor, and where nobody looked."""
    body, height = _capacity(story, axis)
    return _svg(body, height, f"Session capacity of {story.pool} over time")


def lanes_picture(story: PoolStory, axis: Axis) -> str:
    """A lane for each host."""
    body, height = _lanes(story, axis)
    return _svg(body, height, f"What became of each host of {story.pool}")


def legend_picture() -> str:
    """What the colours of the lanes mean."""
    return _svg(_legend(), 22, "What the colours mean")


def bars_picture(values: Mapping[str, float], colour: str, title: str, told: Callable[[float], str]) -> str:
    """A bar for each value, with its name, and the value as `told` words it."""
    top, parts = 0, []
    largest = max([*values.values(), 1e-9])
    for name, value in values.items():
        length = round((WIDTH / 2 - 290) * value / largest, 1)
        parts.append(_text(178, top + 15, name, 13, INK, anchor="end"))
        parts.append(f"<rect x='188' y='{top + 3}' width='{max(length, 2)}' height='16' rx='3' fill='{colour}'/>")
        parts.append(_text(196 + max(length, 2), top + 16, told(value), 13, FAINT))
        top += 26
    return _svg("".join(parts), max(top, 1), title, WIDTH // 2)


def minutes_in_words(minutes: float) -> str:
    """A length of time: "35 min", "4 h 10 min", "2 days 3 h"."""
    whole = round(minutes)
    days, rest = divmod(whole, 1440)
    hours, left = divmod(rest, 60)
    if days:
        return f"{days} day{'s' if days > 1 else ''} {hours} h" if hours else f"{days} day{'s' if days > 1 else ''}"
    return f"{hours} h {left} min" if hours and left else f"{hours} h" if hours else f"{left} min"


def waits_of(report: Report) -> dict[str, float]:
    """Minutes of waiting by cause over all pools, most first."""
    found: dict[str, float] = {}
    for story in report.pools:
        for cause, minutes in waits(story.samples).items():
            found[cause] = found.get(cause, 0) + minutes
    return dict(sorted(found.items(), key=lambda each: -each[1]))


# Parts


def _capacity(story: PoolStory, axis: Axis) -> tuple[str, float]:
    top, bottom = 10, CAPACITY_HEIGHT - AXIS_HEIGHT
    highest = max([110, *(sample.capacity_percent + 8 for sample in story.samples)])

    def y(percent: float) -> float:
        return round(bottom - (bottom - top) * percent / highest, 1)

    parts = [_grid(axis, top, bottom)]
    for percent in (0, 50, 100):
        parts.append(f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y(percent)}' y2='{y(percent)}' stroke='{GRID}'/>")
        parts.append(_text(LEFT - 8, y(percent) + 4, f"{percent} %", 12, FAINT, anchor="end"))
    if story.samples:
        parts.append(_curve(story, axis, y, bottom))
    for since, until in story.gaps:
        x, width = axis.x(since), axis.x(until) - axis.x(since)
        parts.append(
            f"<rect x='{x}' y='{top}' width='{width:.1f}' height='{bottom - top}' fill='#ffffff' fill-opacity='.82'/>"
        )
        parts.append(_text(x + width / 2, bottom - 8, "no record", 12, FAINT, anchor="middle"))
    if story.samples:
        parts.append(_lowest(story, axis, y))
    floor = y(story.floor_percent)
    parts.append(
        f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{floor}' y2='{floor}' stroke='{BAD}' stroke-width='1.5' stroke-dasharray='6 4'/>"
    )
    parts.append(_text(LEFT - 8, floor + 4, f"floor {story.floor_percent} %", 12, BAD, "bold", "end"))
    return "".join(parts), CAPACITY_HEIGHT


def _curve(story: PoolStory, axis: Axis, at: Callable[[float], float], bottom: float) -> str:
    samples = story.samples
    path = f"M{axis.x(samples[0].at)} {at(samples[0].capacity_percent)}"
    for sample in samples[1:]:
        path += f"H{axis.x(sample.at)}V{at(sample.capacity_percent)}"
    path += f"H{WIDTH - RIGHT}"
    area = f"{path}V{bottom}H{axis.x(samples[0].at)}Z"
    return f"<path d='{area}' fill='{GOOD}' fill-opacity='.13'/><path d='{path}' fill='none' stroke='{GOOD}' stroke-width='2.2'/>"


def _lowest(story: PoolStory, axis: Axis, at: Callable[[float], float]) -> str:
    lowest = min(story.samples, key=lambda sample: sample.capacity_percent)
    x, low = axis.x(lowest.at), at(lowest.capacity_percent)
    colour = BAD if lowest.capacity_percent < story.floor_percent else GOOD
    anchor = "end" if x > WIDTH - 200 else "start"
    words = f"lowest {lowest.capacity_percent} %"
    beside = x + (-9 if anchor == "end" else 9)
    mark = f"<circle cx='{x}' cy='{low}' r='4' fill='{colour}'/>"
    return mark + _text(beside, low - 7, words, 12, colour, "bold", anchor, halo=True)


def _lanes(story: PoolStory, axis: Axis) -> tuple[str, float]:
    shown = story.lanes[:MOST_LANES]
    bottom = len(shown) * LANE_HEIGHT + 6
    parts = [_grid(axis, 0, bottom)]
    for place, lane in enumerate(shown):
        parts.append(_lane(lane, axis, place * LANE_HEIGHT + 4))
    more = len(story.lanes) - len(shown)
    if more:
        parts.append(_text(LEFT, bottom + 30, f"and {more} hosts more, in the JSON beside this page", 12, FAINT))
    return "".join(parts), bottom + AXIS_HEIGHT + (16 if more else 0)


def _lane(lane: Lane, axis: Axis, top: float) -> str:
    height = LANE_HEIGHT - 5
    parts = [
        _text(
            LEFT - 8, top + 11, lane.host, 12, INK if lane.is_new else FAINT, "bold" if lane.is_new else "normal", "end"
        )
    ]
    for span in lane.spans:
        x = axis.x(span.since)
        width = max((axis.x(span.until) if span.until else WIDTH - RIGHT) - x, 1.5)
        title = f"{lane.host}: {NAMES.get(span.phase, span.phase)} from {span.since:%Y-%m-%d %H:%M} UTC"
        faint = " fill-opacity='.3'" if span.phase == "retired" else ""
        parts.append(
            f"<rect x='{x}' y='{top}' width='{width:.1f}' height='{height}' fill='{COLOURS[span.phase]}'{faint}>"
            f"<title>{escape(title)}</title></rect>"
        )
    if lane.moved:
        parts.append(_signed_out(lane, axis, top))
    return "".join(parts)


def _signed_out(lane: Lane, axis: Axis, top: float) -> str:
    """Who was signed out, at the end of the drain: inside it where there is room, before it otherwise."""
    drained = next((span for span in lane.spans if span.phase == "drained"), lane.spans[0])
    start, end = axis.x(drained.since), axis.x(drained.until or axis.end)
    inside = end - start > SIGNED_OUT_WIDTH or start - LEFT < SIGNED_OUT_WIDTH
    x = end - 5 if inside else start - 5
    return _text(x, top + 11, f"{lane.moved} signed out", 11, INK, "bold", "end")


def _legend() -> str:
    parts, x = [], float(LEFT)
    for phase, colour in COLOURS.items():
        name = NAMES.get(phase, phase)
        faint = " fill-opacity='.3'" if phase == "retired" else ""
        parts.append(f"<rect x='{x}' y='4' width='14' height='14' rx='2' fill='{colour}'{faint}/>")
        parts.append(_text(x + 19, 15, name, 12, INK))
        x += 34 + 7.2 * len(name)
    return "".join(parts)


def _grid(axis: Axis, top: float, bottom: float) -> str:
    parts, day = [], None
    for moment in axis.ticks():
        x = axis.x(moment)
        parts.append(f"<line x1='{x}' x2='{x}' y1='{top}' y2='{bottom}' stroke='{GRID}'/>")
        label = f"{moment:%H:%M}" if moment.date() == day else f"{moment:%a %d %b %H:%M}"
        day = moment.date()
        parts.append(_text(x, bottom + 16, label, 11, FAINT, anchor="middle"))
    return "".join(parts)


def _text(
    x: float,
    y: float,
    words: str,
    size: int,
    colour: str,
    weight: str = "normal",
    anchor: str = "start",
    *,
    halo: bool = False,
) -> str:
    outline = " stroke='#fff' stroke-width='4' paint-order='stroke'" if halo else ""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' fill='{colour}' font-weight='{weight}' text-anchor='{anchor}'"
        f"{outline}>{escape(words)}</text>"
    )


def _svg(body: str, height: float, title: str, width: int = WIDTH) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height:.0f}' {FONT} role='img'>"
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def hosts_moved(stories: Sequence[PoolStory]) -> dict[str, float]:
    """Users who were warned and signed out, for bars."""
    return {
        "on old hosts": float(sum(story.users for story in stories)),
        "warned": float(sum(story.warned for story in stories)),
        "signed out": float(sum(story.moved for story in stories)),
    }
