"""What the planner sees and what it answers: plain data.

A `Snapshot` is one look at a pool, a `Target` what the rollout is for, a `Policy` how it may be done. A `Plan` holds the actions to
take now and, for every host, its state and the reason in words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from evergold.rollout.quiet import Schedule
from evergold.rollout.windows import Window

ReleaseMethod = Literal["opportunistic", "immediate", "scheduled"]
PERSONAL = "Personal"  # the kind of host pool in which each user has a host of their own


@dataclass(frozen=True)
class Session:
    """A user's session as the broker lists it, active or disconnected."""

    id: str
    user: str
    state: str
    created_at: datetime | None


@dataclass(frozen=True)
class Host:
    """A VM of the pool, registered or not, or a registration without a VM.

    Attributes:
        name: the VM's name.
        vm_id: the GUID Azure gave this very VM; one made later under the same name has another.
        image_version_id: resource id of the gallery version it was made from, or None.
        provisioning_state: Azure's word for the VM; "Unknown" for a registration whose VM was not found.
        power: "running", "starting", "stopping", "stopped", "deallocating", "deallocated" or "unknown".
        registered: whether the broker knows it; the fields from `status` on mean nothing otherwise.
        session_count: sessions of every state.
        assigned_user: whose host it is, in a personal pool; "" where it is nobody's.
        health_checks: names of the AVD health checks that fail.
        agent_ready: whether the VM agent answers, so that something can be done in the machine; None where the list does not say.
        problem: why Azure could not provision it, where it says so.
        etag: of the VM as it was listed; "" where Azure gives none.

    """

    name: str
    vm_resource_id: str
    vm_id: str
    image_version_id: str | None
    power: str
    provisioning_state: str
    created_at: datetime | None
    tags: Mapping[str, str] = field(default_factory=dict)
    registered: bool = False
    session_host_name: str | None = None
    status: str | None = None
    allow_new_session: bool = False
    session_count: int = 0
    last_heartbeat: datetime | None = None
    health_checks: tuple[str, ...] = ()
    sessions: tuple[Session, ...] = ()
    assigned_user: str = ""
    agent_ready: bool | None = None
    problem: str = ""
    etag: str = ""

    @property
    def has_vm(self) -> bool:
        """Whether its VM was found; otherwise it is a name in the pool and no more."""
        return self.provisioning_state != "Unknown"


@dataclass(frozen=True)
class Pool:
    """The host pool's own settings.

    Attributes:
        max_session_limit: sessions that the broker lets on to one host; Azure's 999999, or 0, where nobody has set a limit.
        load_balancer_type: "BreadthFirst", "DepthFirst" or "Persistent". It decides nothing here: `plan` says why.

    """

    resource_id: str
    max_session_limit: int
    load_balancer_type: str
    host_pool_type: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """One look at a pool.

    Attributes:
        complete: False where a read failed or the reads do not fit together; `problem` says why.
        taken_names: names that no new host may have although no host of this pool has them: those of other VMs in the resource group
            of the pool's hosts. A disk or network card that a VM left behind is not seen: a creation that meets one has failed.

    """

    taken_at: datetime
    pool: Pool
    hosts: tuple[Host, ...]
    complete: bool = True
    problem: str = ""
    taken_names: tuple[str, ...] = ()

    @classmethod
    def incomplete(cls, taken_at: datetime, problem: str) -> Self:
        """A look that failed: nothing can be said of the pool."""
        return cls(taken_at, Pool("", 0, "", ""), (), complete=False, problem=problem)


@dataclass(frozen=True)
class Frozen:
    """The hosts that a rollout replaces, as the pool's tags name them.

    Attributes:
        youngest: no host that was frozen has been made since.
        names: theirs, in small letters.

    """

    youngest: datetime
    names: frozenset[str]

    def has(self, host: Host) -> bool:
        """Whether this very host was frozen, and not one that was made later under its name."""
        return host.created_at is not None and host.created_at <= self.youngest and host.name.casefold() in self.names


@dataclass(frozen=True)
class Target:
    """What a rollout is for, frozen when it starts.

    Attributes:
        size: hosts that the pool had when the rollout came to it (see `frozen.pool_size`), and shall have when it is done.
        name_prefix: of new hosts' names.
        frozen: the hosts that it replaces, beside those that are marked so themselves; None where none are noted.
        canary_only: only have one checked host, in drain mode, and touch nothing else.
        canary_proven: this version has already served elsewhere, so that no host of this pool need go first.
        rollback: the way back: hosts that are retained on this version come back first, at once, and a lower version is no mistake.
        failures_before: new hosts that failed and were removed already.
        spent_names: their names, which are not used again: the device that joined under one may still be in the directory.
        vacant_names: of the hosts that were deleted in place, which their successors bear; those of a while ago may be missing.
        last_failure: when the last of them was removed: the next try waits from then on, and the waves begin anew.
        last_cause: which one it was, and why.
        hold: why a person has stopped it, or None.
        watched_since: since when a run has looked after the pool without a break or a hold; None: always.
        sign_in_seen: names of new hosts that served when sign-in was found to be no worse on them than on the outdated ones.
        sign_in_worse: how sign-in goes on new hosts, where it goes worse than on the outdated ones; empty where it does not.
        sign_in_unseen: why nobody could say how sign-in goes, at the last look.

    """

    refresh: str
    image_version_id: str
    size: int
    name_prefix: str
    canary_only: bool = False
    canary_proven: bool = False
    rollback: bool = False
    failures_before: int = 0
    spent_names: tuple[str, ...] = ()
    vacant_names: tuple[str, ...] = ()
    last_failure: datetime | None = None
    last_cause: str = ""
    hold: str | None = None
    watched_since: datetime | None = None
    sign_in_seen: frozenset[str] = frozenset()
    sign_in_worse: str = ""
    sign_in_unseen: str = ""
    frozen: Frozen | None = None


@dataclass(frozen=True)
class Policy:
    """How a rollout may be done; as in the image set, in plain numbers.

    Attributes:
        strategy: "surge" makes new hosts first; "in_place" deletes an outdated one first, and its successor bears its name.
        surge: hosts that may stand above the pool's size.
        floor_percent: share of the pool's nominal capacity that stays available; `plan` says what capacity is.
        warn_minutes: from the warning to the sign-out.
        warn_again_minutes: how often the warning is repeated until then; 0: it is not.
        settle_minutes: from the last sign-out to the removal.
        min_drain_minutes: how long a host drains at least, even when it is empty.
        min_ready_minutes: how long a new host has to be healthy after its checks before it is opened, and so counts.
        heartbeat_max_age_minutes: a host that was last heard of longer ago is not available.
        join_timeout_minutes: a new host that is not healthy so long after its creation has failed, and so has one that served and has
            been silent so long.
        check_timeout_minutes: how long a new host's checks may take beyond that.
        failure_budget: failed new hosts that a rollout bears; one more halts it.
        retry_minutes: from a failure to the next try; doubled with each further one, up to `plan.LONGEST_RETRY`.
        waves: shares of the hosts, in percent, ascending to 100: the next share begins when the one before serves and is used well.
        wave_bake_minutes: how long a share's hosts are in use before sign-in to them is judged, and the next begins.
        scheduled_start: when a scheduled rollout begins.
        windows: when it may go on from there; empty: always.
        schedules: of the scaling plan that is suspended for the pool: they say when it is quiet (`evergold.rollout.quiet`).
        allowed_failing_health_checks: AVD health checks that may fail on a new host.
        look_max_age_s: how old a look may be: one whose reads were held up for longer shows what was.

    """

    release_method: ReleaseMethod = "opportunistic"
    surge: int = 1
    floor_percent: int = 80
    warn_minutes: int = 5
    warn_again_minutes: int = 0
    settle_minutes: int = 5
    min_drain_minutes: int = 15
    min_ready_minutes: int = 2
    heartbeat_max_age_minutes: int = 5
    join_timeout_minutes: int = 90
    check_timeout_minutes: int = 60
    failure_budget: int = 1
    retry_minutes: int = 5
    waves: tuple[int, ...] = (20, 60, 100)
    wave_bake_minutes: int = 15
    scheduled_start: datetime | None = None
    windows: tuple[Window, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    allowed_failing_health_checks: tuple[str, ...] = ()
    strategy: Literal["surge", "in_place"] = "surge"
    look_max_age_s: float = 120


class Kind(StrEnum):
    """What can be done to a host.

    Only in a roll back: START marks a retained host with BACK and BACK_AT, takes the marks of its retirement and of earlier checks away
    (every tag from REPLACE to RETAIN_UNTIL but POOL), and switches it on. REJOIN registers it in the pool again, and is asked for until
    it is there. GIVE_UP ends that for one that does not come back: counted as a failure, marked FAILED and retired, and off; never deleted.
    """

    CREATE = "create"
    CHECK = "check"
    CHECK_CANARY = "check canary"  # what is the same on every host of an image too: whether it lacks updates
    ALLOW_SESSIONS = "allow sessions"
    SHUT = "shut"  # a new host, into drain mode: until it has been checked, or since it has failed
    DRAIN = "drain"  # an outdated host, and note it: the pool has the less room for new users
    UNDRAIN = "undrain"
    NOTE_EMPTY = "note empty"
    NOTE_UNWELL = "note unwell"  # a checked host that was about to be opened is not healthy: its time runs anew
    FORGET_EMPTY = "forget empty"  # somebody is on it again, or can be: it settles anew when they have left
    WARN = "warn"
    REMIND = "remind"  # tell those who were warned once more, with the minutes that are left
    SIGN_OUT = "sign out"
    REMOVE_FROM_POOL = "remove from pool"
    DEALLOCATE = "deallocate"
    MARK_RETIRED = "mark retired"
    DELETE_OUTDATED = "delete outdated"  # in place: so that its successor can have its name, address and quota
    DELETE_FAILED = "delete failed"
    START = "start"
    REJOIN = "rejoin"
    GIVE_UP = "give up"


CHECKS = (Kind.CHECK, Kind.CHECK_CANARY)


@dataclass(frozen=True)
class Action:
    """One thing to do now to one host, and why. `sessions` names the sessions that a sign-out, a warning or a reminder is for."""

    kind: Kind
    host: str
    reason: str
    sessions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note:
    """Where one host stands, in a word, and why it is left there or what happens to it next."""

    state: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What to do now, and how things stand.

    Attributes:
        notes: for every host of the snapshot, by name.
        waiting_for: what the rollout waits for when there is nothing to do, in words; "" otherwise.
        until: the next moment at which something can change by time alone; None where only an event helps.
        done: the pool is where it should be.
        halted: why the rollout stopped by itself, in a paragraph; None while it goes on.
        capacity_percent: session slots open to new sessions, as a share of the pool's nominal capacity.
        replaced: outdated hosts that are out of the way.
        total: outdated hosts that this rollout replaces.
        users_to_move: sessions on outdated hosts.
        quiet_until: when the pool's quiet time ends, in which it is the scaling plan's own will that few hosts are on; None by day.
        to_wake: hosts that the suspended scaling plan has switched off, and that are to be switched on now.
        to_judge: new hosts to which sign-in has to be looked at now: the next wave depends on it (see `Target.sign_in_seen`).

    """

    actions: tuple[Action, ...] = ()
    notes: Mapping[str, Note] = field(default_factory=dict)
    waiting_for: str = ""
    until: datetime | None = None
    done: bool = False
    halted: str | None = None
    capacity_percent: int = 0
    replaced: int = 0
    total: int = 0
    users_to_move: int = 0
    quiet_until: datetime | None = None
    to_wake: tuple[str, ...] = ()
    to_judge: tuple[str, ...] = ()
