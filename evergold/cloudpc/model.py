"""What the planner of Cloud PC reprovisions is told, and what it answers. Plain data; times are aware, in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from evergold.rollout.windows import Window

# What becomes of a Cloud PC, as the planner sees it now.
Fate = Literal["done", "failed", "left", "under way", "waiting", "next", "snapshot", "later"]
SETTLED: tuple[Fate, ...] = ("done", "failed", "left")


@dataclass(frozen=True)
class Desk:
    """One Cloud PC of the campaign, as it was seen.

    Attributes:
        ring: the name of the ring that its user belongs to; "" for none.
        image: the display name of the image that is on it; target: of the one that it is to have.
        reprovision_begun: the last reprovision of it was begun by somebody then; None for none or another action since.
        sent_at: this campaign asked for its reprovision then.
        asked_at: this campaign last asked for a restore point of it then.
        warned_at: its user, who was signed in, was warned then, and a restore point asked for in the same breath.
        restore_points: when the ones that can be seen now were made.
        known_folders: its user's known folders are in OneDrive; None where nothing reports it.

    """

    id: str
    name: str
    user: str
    ring: str
    status: str
    image: str
    target: str
    changed: datetime | None = None
    last_login: datetime | None = None
    grace_until: datetime | None = None
    reprovision_begun: datetime | None = None
    sent_at: datetime | None = None
    asked_at: datetime | None = None
    warned_at: datetime | None = None
    signed_in: bool | None = None
    days_since_sign_in: int | None = None
    restore_points: tuple[datetime, ...] = ()
    known_folders: bool | None = None


@dataclass(frozen=True)
class Campaign:
    """One go at bringing Cloud PCs to an image, forward or back.

    Attributes:
        id: names it in Graph too: its bulk actions are called so.
        targets: the first part of each policy's id to the display name of the image that its Cloud PCs are to have. Frozen.
        version: the image version that it is about (on the way back: the one that is left).
        waivers: user to reason: reprovisioned though something speaks against it.
        approved_by: "" as long as nobody has.
        told_at: users were told that it is coming.
        told_again_at: they were told again, on the day.

    """

    id: str
    targets: Mapping[str, str]
    version: str
    kind: Literal["forward", "back"]
    started_at: datetime
    approved_by: str = ""
    approved_at: datetime | None = None
    digest: str = ""
    waivers: Mapping[str, str] = field(default_factory=dict)
    told_at: datetime | None = None
    told_again_at: datetime | None = None

    @property
    def image(self) -> str:
        """The images that it leads to, in words."""
        return ", ".join(sorted(set(self.targets.values())))


@dataclass(frozen=True)
class Rules:
    """The policy in the planner's terms; times in the units of their names.

    Attributes:
        rings: their names, in order, with the minutes between each and the next.
        windows: when Cloud PCs may be reprovisioned; empty: any time.
        warn_minutes: from the warning of somebody who is signed in to the reprovision; None: they are waited for.

    """

    rings: tuple[tuple[str, int], ...]
    waves: tuple[int, ...]
    windows: tuple[Window, ...]
    max_at_once: int
    failure_budget: int
    notice_days: int
    restore_point_max_age_hours: int
    restore_point_timeout_minutes: int
    reprovision_timeout_minutes: int
    max_days_since_sign_in: int
    give_up_days: int
    known_folders_required: bool
    warn_minutes: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What becomes of one Cloud PC, and why, in words."""

    desk: Desk
    fate: Fate
    why: str


@dataclass(frozen=True)
class Plan:
    """What is to be done now.

    Attributes:
        tell: tell every user who is not done: "ahead" or "today"; "" for nobody now.
        snapshot, reprovision: ids of Cloud PCs to ask for.
        warn: ids of Cloud PCs whose users are signed in: to be warned, and a restore point asked for.
        halted: why it has stopped by itself, in a paragraph; None while it goes on.
        done: nothing is left to do.
        nothing_before: nothing can be done before that moment: no need to look more than now and then.

    """

    verdicts: tuple[Verdict, ...]
    tell: Literal["", "ahead", "today"] = ""
    snapshot: tuple[str, ...] = ()
    warn: tuple[str, ...] = ()
    reprovision: tuple[str, ...] = ()
    halted: str | None = None
    done: bool = False
    nothing_before: datetime | None = None

    def count(self, *fates: Fate) -> int:
        """How many Cloud PCs have one of these fates."""
        return sum(verdict.fate in fates for verdict in self.verdicts)
