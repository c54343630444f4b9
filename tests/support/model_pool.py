"""A pool in memory, for the planner's property tests: hosts that boot, join, die and sleep, and users who come and go.

It does what a plan says and checks each action against the truth, which the planner never sees: who is on which host, who was
warned when, who was moved before. It shares no rule with the planner: a broken promise is an `AssertionError` that names it.

Azure's clock and the engine's are two: the engine's can be set back, and then what it wrote lies in its future, as do Azure's times.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from evergold import tags
from evergold.rollout.frozen import frozen_into, hosts_to_freeze, noted
from evergold.rollout.model import CHECKS, Action, Frozen, Host, Kind, Plan, Policy, Pool, Session, Snapshot, Target
from evergold.rollout.observe import CLOCK_SKEW
from evergold.rollout.plan import plan
from tests.support.moments import EPOCH
from tests.support.pools import NEW_VERSION, OLD_VERSION, REFRESH

RETURN = timedelta(minutes=10)  # users who were signed out are back by then
BOOT = timedelta(minutes=10)
UP_WITHIN = timedelta(minutes=15)  # a host that was switched on is up by then, or something is wrong with it


@dataclass
class User:
    """Somebody at work: since when, warned when, and last told again when."""

    name: str
    since: datetime
    warned: datetime | None = None
    reminded: datetime | None = None


@dataclass
class Machine:
    """A VM and what the broker knows of it."""

    name: str
    vm_id: str
    image: str
    created: datetime
    tags: dict[str, str] = field(default_factory=dict)
    registered: bool = False
    open: bool = False
    power: str = "running"
    provisioning: str = "Succeeded"
    alive: bool = True
    heard: datetime = EPOCH
    users: list[User] = field(default_factory=list)
    left_at: datetime | None = None  # when its last user left
    drained_at: datetime | None = None
    deleted_at: datetime | None = None
    proven_from: datetime | None = None  # since when it is checked and has not been seen unwell
    fate: str = "good"  # what becomes of a new one: good, stillborn, mute or faulty
    owner: str = ""  # in a personal pool
    woken_at: datetime | None = None  # when the rollout switched it on

    @property
    def serves(self) -> bool:
        """Whether somebody could sign in to it now."""
        return self.registered and self.open and self.alive and self.power == "running"


class ModelPool:
    """The truth, the rollout's settings, and what has gone on."""

    def __init__(
        self,
        machines: list[Machine],
        limit: int,
        policy: Policy,
        *,
        rollback: bool = False,
        personal: bool = False,
    ) -> None:
        self.now = EPOCH
        self.personal = personal
        self.behind = timedelta(0)  # how far the engine's clock has been set back
        self.most_behind = timedelta(
            0
        )  # and was at most: what it timed while it was, is so much shorter once it is right again
        self.machines = {machine.name: machine for machine in machines}
        self.limit = limit
        self.policy = policy
        self.rollback = rollback
        self.size = sum(1 for machine in machines if machine.registered)
        self.hold: str | None = None
        self.failures = 0
        self.last_failure: datetime | None = None
        # The failure that a new host has to wait for. One that served before it was lost says nothing of the image: what the plan that
        # removes it makes beside that need not wait.
        self.waits_for: datetime | None = None
        self.failures_before_plan = 0
        self.spent: list[str] = []
        self.vacant: list[str] = []
        self.next_fates: list[str] = []
        self.moved: set[str] = set()
        self.homeless: dict[str, datetime] = {}
        self.made = 0
        self.judged: frozenset[str] = frozenset()
        # Where a scaling plan is suspended, what sleeps was shut by it.
        self.has_plan = bool(policy.schedules)
        self.was_drained = {m.name for m in machines if not m.open and not (self.has_plan and m.power == "deallocated")}
        self.noted: Frozen | None = None
        names = hosts_to_freeze(self.look(), self.target)
        self.frozen = {name: self.machines[name].vm_id for name in names}
        self.noted = frozen_into(noted(REFRESH, [h for h in self.look().hosts if h.name in names]).tags, REFRESH)
        for name in self.was_drained & self.frozen.keys():
            self._mark(self.machines[name])
            self.machines[name].tags[tags.WAS_DRAINED] = REFRESH

    # --- What the planner is told ---

    @property
    def clock(self) -> datetime:
        """The time as the engine has it: what it writes into tags, and what it plans by."""
        return self.now - self.behind

    @property
    def target(self) -> Target:
        """The rollout, as the pool's own tags tell it."""
        return Target(
            REFRESH,
            NEW_VERSION,
            self.size,
            "new",
            failures_before=self.failures,
            last_failure=self.last_failure,
            rollback=self.rollback,
            spent_names=tuple(self.spent),
            vacant_names=tuple(self.vacant),
            hold=self.hold,
            sign_in_seen=self.judged,
            frozen=self.noted,
        )

    def look(self, missing: frozenset[str] = frozenset()) -> Snapshot:
        """What Azure shows; `missing` registrations are left out, as from a list that was cut short."""
        hosts = tuple(self._host(machine, machine.name not in missing) for machine in self.machines.values())
        kind = ("Persistent", "Personal") if self.personal else ("BreadthFirst", "Pooled")
        pool = Pool("/pools/model", self.limit, *kind, {tags.SCALING: "/plans/model"} if self.has_plan else {})
        in_time = all(host.last_heartbeat is None or host.last_heartbeat - self.clock <= CLOCK_SKEW for host in hosts)
        return Snapshot(self.clock, pool, hosts, complete=in_time, problem="" if in_time else "the clock is behind")

    def plan(self, snapshot: Snapshot | None = None) -> Plan:
        """The planner's answer to what Azure shows now; where it asks how sign-in goes, it is told that all is well."""
        seen = snapshot or self.look()
        asked = plan(seen, self.target, self.policy, self.clock).to_judge
        if asked:
            self._judge(asked)
        return plan(seen, self.target, self.policy, self.clock)

    def _judge(self, names: tuple[str, ...]) -> None:
        least = timedelta(minutes=self.policy.min_ready_minutes + self.policy.wave_bake_minutes)
        proven = [self.machines[name].proven_from for name in names]
        baked = any(at is not None and self.now - at >= least - self.most_behind for at in proven)
        assert baked, f"{names} are judged before they bake"
        self.judged = frozenset(names)

    def _host(self, machine: Machine, listed: bool) -> Host:
        registered = machine.registered and listed
        up = machine.alive and machine.power == "running"
        return Host(
            name=machine.name,
            vm_resource_id=f"/vms/{machine.name}",
            vm_id=machine.vm_id,
            image_version_id=machine.image,
            power=machine.power,
            provisioning_state=machine.provisioning,
            created_at=machine.created,
            tags=dict(machine.tags),
            registered=registered,
            session_host_name=machine.name if registered else None,
            status=("Available" if up else "Unavailable") if registered else None,
            allow_new_session=machine.open and registered,
            session_count=len(machine.users) if registered else 0,
            last_heartbeat=machine.heard if registered else None,
            sessions=tuple(Session(u.name, u.name, "Active", u.since) for u in machine.users) if registered else (),
            assigned_user=machine.owner if registered else "",
        )

    # --- What goes on by itself ---

    def pass_time(self, minutes: int) -> None:
        """Machines boot, report, and come to the end of what Azure does to them."""
        self.now += timedelta(minutes=minutes)
        for machine in list(self.machines.values()):
            if machine.provisioning == "Deleting":
                self._finish_deletion(machine)
            elif machine.power == "deallocating":
                machine.power = "deallocated"
            elif machine.provisioning == "Creating" and self.now - machine.created >= BOOT:
                self._boot(machine)
            if machine.registered and machine.alive and machine.power == "running":
                machine.heard = self.now
        self.homeless = {name: at for name, at in self.homeless.items() if self.now - at < RETURN}

    def _finish_deletion(self, machine: Machine) -> None:
        if machine.deleted_at is not None and self.now - machine.deleted_at >= BOOT:
            del self.machines[machine.name]

    def set_back(self, by: timedelta) -> None:
        """The engine's clock is set back."""
        self.behind += by
        self.most_behind = max(self.most_behind, self.behind)

    def make_anew(self, machine: Machine) -> None:
        """Somebody makes a host once more by hand: the same name and tags, another VM."""
        machine.vm_id, machine.created = f"another-{machine.vm_id}", self.now
        machine.users.clear()

    def is_frozen(self, machine: Machine) -> bool:
        """Whether it is the very machine that was there when the rollout began."""
        return self.frozen.get(machine.name) == machine.vm_id

    def _boot(self, machine: Machine) -> None:
        machine.provisioning = "Failed" if machine.fate == "stillborn" else "Succeeded"
        # The broker opens every host as soon as it registers.
        machine.registered = machine.open = machine.fate in ("good", "faulty")

    def sign_in(self, name: str, machine: Machine) -> None:
        """Somebody comes to work, if the broker lets them in there."""
        theirs = machine.owner in ("", name)
        if machine.serves and len(machine.users) < self.limit and theirs:
            machine.owner = name if self.personal else ""
            machine.users.append(User(name, self.now))
            self.homeless.pop(name, None)

    def sign_out(self, machine: Machine) -> None:
        """Whoever came first goes home."""
        if machine.users:
            machine.users.pop(0)
            machine.left_at = self.now

    def of_pool_outdated(self) -> list[Machine]:
        """Outdated machines that are in the pool and not kept."""
        return [
            machine
            for machine in self.machines.values()
            if self.is_frozen(machine) and machine.registered and not machine.owner and tags.KEEP not in machine.tags
        ]

    @property
    def capacity(self) -> int:
        """Slots for people who want to sign in now."""
        return self.limit * sum(1 for machine in self.machines.values() if machine.serves)

    @property
    def is_quiet(self) -> bool:
        """The one quiet time that the tests use: ten hours from the beginning of each of their days."""
        return self.has_plan and (self.clock - EPOCH) % timedelta(days=1) < timedelta(hours=10)

    @property
    def floor(self) -> int:
        """Slots that must be open by day."""
        return -(-self.size * self.limit * self.policy.floor_percent // 100)

    @property
    def floor_now(self) -> int:
        """Slots that must be open now: in quiet time no more than one host's, and the share that the scaling plan keeps."""
        if not self.is_quiet:
            return self.floor
        share = -(-self.size * self.policy.schedules[0].least_percent // 100)
        return min(self.floor, self.limit * max(share, 1))

    @property
    def at_hand(self) -> int:
        """Slots that are open, or will be once those are woken that the plan has switched off."""
        return self.limit * sum(1 for machine in self.machines.values() if machine.serves or self._rests(machine))

    def _rests(self, machine: Machine) -> bool:
        just_up = machine.woken_at is not None and self.clock - machine.woken_at <= UP_WITHIN and machine.open
        shut = not machine.open and (tags.DRAINED_AT in machine.tags or machine.name in self.was_drained)
        off = machine.power in ("deallocating", "deallocated") and tags.KEEP not in machine.tags
        return machine.registered and not shut and not _is_unproven(machine) and (off or just_up)

    # --- What the plan does, and what it may not do ---

    def apply(self, result: Plan, at_most: int | None = None) -> None:
        """Takes the plan's actions in order, as many as given (a crash), each checked against the truth."""
        self.waits_for, self.failures_before_plan = self.last_failure, self.failures
        self._wake(result.to_wake)
        for action in result.actions[:at_most]:
            before, at_hand = self.capacity, self.at_hand
            touched = self.machines.get(action.host)
            harmless = action.kind in (Kind.UNDRAIN, *CHECKS, Kind.ALLOW_SESSIONS, Kind.NOTE_UNWELL, Kind.SHUT)
            owned = touched is not None and touched.owner
            assert not owned or harmless, f"I5: {action} on a host that is somebody's own"
            self._do(action)
            unchecked = action.kind is Kind.SHUT
            assert unchecked or self.capacity >= min(self.floor_now, before), (
                f"I1: {action} took the pool below its floor"
            )
            # By day nothing is asleep for long, and what is unwell then may be room again as well as what sleeps.
            enough = self.at_hand >= min(self.floor, at_hand)
            assert unchecked or not self.is_quiet or enough, f"I1: {action} took from the pool what it needs by day"

    def _wake(self, names: tuple[str, ...]) -> None:
        heard = [machine for machine in self.machines.values() if self.now - machine.heard <= timedelta(minutes=5)]
        serving = [machine for machine in heard if machine.serves and not _is_unproven(machine)]
        people = sum(len(machine.users) for machine in serving)
        in_need = self.limit * len(serving) < max(self.floor_now, people)
        for name in names:
            machine = self.machines[name]
            assert tags.KEEP not in machine.tags, f"I5: {name} is woken, and somebody keeps it"
            assert machine.power == "deallocated", f"{name} is woken, and is {machine.power}"
            deep_in_the_night = self.is_quiet and (self.clock - EPOCH) % timedelta(days=1) < timedelta(
                hours=9, minutes=30
            )
            assert not deep_in_the_night or in_need or _is_new(machine), f"{name} is woken at night for nobody"
            machine.tags[tags.WOKEN_AT] = tags.format_time(self.clock)
            machine.power, machine.woken_at = "running", self.clock
            machine.open = machine.open or not (tags.DRAINED_AT in machine.tags or machine.name in self.was_drained)

    def fall_asleep(self, machine: Machine) -> None:
        """A scaling plan switches it off, and shuts it."""
        machine.power = "deallocated"
        machine.open = machine.open and not self.has_plan

    def wake_by_hand(self, machine: Machine) -> None:
        """Somebody, or the scaling plan, switches it on; a plan opens what it wakes."""
        if machine.power != "running":
            machine.power, machine.open = "running", machine.open or self.has_plan

    def _do(self, action: Action) -> None:
        if action.kind == Kind.CREATE:
            self._create(action.host)
            return
        machine = self.machines[action.host]
        assert tags.KEEP not in machine.tags, f"I5: {action} touches a host that somebody keeps"
        ours = tags.BACK in machine.tags or machine.tags.get(tags.REFRESH) == REFRESH or self._is_way_back(machine)
        assert ours or self.is_frozen(machine), f"I5: {action} touches a host that was not frozen"
        {
            Kind.CHECK: self._check,
            Kind.CHECK_CANARY: self._check,
            Kind.ALLOW_SESSIONS: self._open,
            Kind.SHUT: self._shut,
            Kind.DRAIN: self._drain,
            Kind.UNDRAIN: self._undrain,
            Kind.NOTE_EMPTY: self._note_empty,
            Kind.FORGET_EMPTY: self._forget_empty,
            Kind.NOTE_UNWELL: self._note_unwell,
            Kind.WARN: self._warn,
            Kind.REMIND: self._remind,
            Kind.SIGN_OUT: self._sign_out,
            Kind.REMOVE_FROM_POOL: self._remove,
            Kind.DEALLOCATE: self._deallocate,
            Kind.MARK_RETIRED: self._mark_retired,
            Kind.DELETE_OUTDATED: self._delete_outdated,
            Kind.DELETE_FAILED: self._delete_failed,
            Kind.START: self._start,
            Kind.REJOIN: self._rejoin,
            Kind.GIVE_UP: self._give_up,
        }[action.kind](machine, action)

    def _create(self, name: str) -> None:
        assert name not in self.machines, f"I6: {name} stands already"
        assert name not in self.spent, f"I6: {name} was used before"
        assert len(name) <= 15, f"I6: {name} is too long for Windows"
        standing = [
            m for m in self.machines.values() if m.registered or (self._is_ours(m) and m.power != "deallocated")
        ]
        assert len(standing) < self.size + self.policy.surge, f"{name} is beyond the surge"
        self._is_its_turn(name)
        self.made += 1
        fate = self.next_fates.pop(0) if self.next_fates else "good"
        self.machines[name] = Machine(
            name,
            f"made-{self.made}",
            NEW_VERSION,
            self.now,
            {tags.REFRESH: REFRESH},
            provisioning="Creating",
            heard=self.now,
            fate=fate,
        )

    def _is_way_back(self, machine: Machine) -> bool:
        """Whether it is on the version that a roll back goes to, and out of the pool or drained by the rollout before it."""
        drained = tags.DRAINED_AT in machine.tags and tags.WAS_DRAINED not in machine.tags
        return self.rollback and machine.image == NEW_VERSION and (tags.RETIRED_AT in machine.tags or drained)

    def _is_its_turn(self, name: str) -> None:
        """A new host is within the wave that sign-in to those before it opened, and no sooner than the pause after a failure allows."""
        waiting = [m for m in self.machines.values() if self._is_way_back(m) and not m.registered]
        assert not [m for m in waiting if tags.FAILED not in m.tags and tags.KEEP not in m.tags], (
            f"{name} is made while retained hosts stand"
        )
        ours = [m for m in self.machines.values() if tags.REFRESH in m.tags and tags.KEEP not in m.tags]
        serving = [
            m.proven_from
            for m in ours
            if m.open and m.proven_from is not None and (m.name in self.judged or self.rollback)
        ]
        before = sum(1 for at in serving if self.last_failure is not None and at <= self.last_failure)
        since, rest = len(serving) - before, self.size - before
        # Hosts that others keep alive in the pool leave fewer to make: whichever number that is, its waves hold.
        bound = before + max(self._open_wave(since, fewer) for fewer in range(rest + 1))
        good = [m for m in ours if m.provisioning not in ("Deleting", "Failed") and tags.FAILED not in m.tags]
        young = [m for m in good if self.now - m.heard < timedelta(minutes=self.policy.join_timeout_minutes)]
        assert self.rollback or len(young) < bound, (
            f"{name} is number {len(young) + 1}, and the open wave has but {bound}"
        )
        if self.waits_for is not None:
            failures = self.failures if self.waits_for == self.last_failure else self.failures_before_plan
            pause = min(self.policy.retry_minutes * 2 ** (failures - 1), 60)
            assert self.clock - self.waits_for >= timedelta(minutes=pause), f"{name} is tried too soon after a failure"

    def _open_wave(self, since: int, rest: int) -> int:
        bounds = [-(-rest * share // 100) for share in self.policy.waves]
        return next((bound for bound in bounds if bound > since), rest)

    def _is_ours(self, machine: Machine) -> bool:
        """Whether the rollout has to see to it: made by it, or frozen into it and neither retired nor kept."""
        if not self.is_frozen(machine):
            return tags.REFRESH in machine.tags
        return tags.RETIRED_AT not in machine.tags and tags.KEEP not in machine.tags

    def _check(self, machine: Machine, _: Action) -> None:
        machine.tags[tags.CHECKED_AT if machine.fate == "good" else tags.FAILED] = tags.format_time(self.clock)
        machine.proven_from = self.now

    def _open(self, machine: Machine, _: Action) -> None:
        assert machine.proven_from is not None, f"{machine.name} opens unchecked"
        proven = timedelta(minutes=self.policy.min_ready_minutes)
        assert self.now - machine.proven_from >= proven, f"{machine.name} opens before it has proven itself"
        assert self.now - machine.heard <= timedelta(minutes=5), f"{machine.name} opens, and nobody hears of it"
        machine.open = True

    def _note_unwell(self, machine: Machine, _: Action) -> None:
        machine.tags[tags.UNWELL_AT] = tags.format_time(self.clock)
        machine.proven_from = self.now

    def _in_window(self) -> bool:
        """The one window that the tests use: four hours from the beginning of each of their days."""
        closed = self.policy.release_method == "scheduled" and self.policy.windows
        return not closed or (self.clock - EPOCH) % timedelta(days=1) < timedelta(hours=4)

    def _shut(self, machine: Machine, action: Action) -> None:
        assert not self.is_frozen(machine), f"I8: {action} on an outdated host, which nobody could put back"
        machine.open = False

    def _drain(self, machine: Machine, action: Action) -> None:
        assert self.is_frozen(machine), f"I5: {action} on a host that was not frozen"
        assert self._in_window(), f"{machine.name} drains outside the maintenance window"
        proven = any(m.image == NEW_VERSION and m.proven_from and m.serves for m in self.machines.values())
        assert proven or self._is_first_in_place(machine), f"{machine.name} drains before a new host serves"
        self._mark(machine)
        if machine.open:
            machine.tags.pop(tags.WAS_DRAINED, None)
        if tags.DRAINED_AT not in machine.tags and not machine.users:
            machine.tags[tags.EMPTY_SINCE] = tags.format_time(self.clock)
        machine.tags.setdefault(tags.DRAINED_AT, tags.format_time(self.clock))
        machine.drained_at = machine.drained_at or self.now
        machine.open = False

    def _mark(self, machine: Machine) -> None:
        machine.tags[tags.REPLACE] = tags.frozen_value(REFRESH, machine.vm_id)

    def _is_first_in_place(self, machine: Machine) -> bool:
        """Whether no other outdated host has gone, or is going, to make room for the canary."""
        others = [name for name in self.frozen if name != machine.name]
        away = [name for name in others if self._is_going(name)]
        return self.policy.strategy == "in_place" and (self.rollback or not away)

    def _is_going(self, name: str) -> bool:
        """Whether it is gone, or drained here and not opened again by other hands."""
        machine = self.machines.get(name)
        return machine is None or (tags.DRAINED_AT in machine.tags and not machine.open)

    def _undrain(self, machine: Machine, _: Action) -> None:
        theirs = self.is_frozen(machine) and machine.name in self.was_drained
        assert not theirs, f"I8: {machine.name} was in drain mode before, and is opened"
        machine.open = True
        machine.drained_at = None
        for tag in (tags.DRAINED_AT, tags.WARNED_AT, tags.WARNED_SESSIONS, tags.EMPTY_SINCE):
            machine.tags.pop(tag, None)

    def _note_empty(self, machine: Machine, _: Action) -> None:
        self._mark(machine)
        machine.tags[tags.EMPTY_SINCE] = tags.format_time(self.clock)

    def _forget_empty(self, machine: Machine, _: Action) -> None:
        machine.tags.pop(tags.EMPTY_SINCE, None)

    def _warn(self, machine: Machine, action: Action) -> None:
        self._users_may_be_moved(action)
        machine.tags[tags.WARNED_AT] = tags.format_time(self.clock)
        machine.tags[tags.WARNED_SESSIONS] = tags.ids_value(user.name for user in machine.users)
        for user in machine.users:
            user.warned = user.warned or self.now

    def _remind(self, machine: Machine, action: Action) -> None:
        self._users_may_be_moved(action)
        least = timedelta(minutes=self.policy.warn_again_minutes)
        for user in machine.users:
            if user.name in action.sessions:
                last = user.reminded or user.warned
                assert last is not None, f"{user.name} is reminded of what nobody told them"
                assert self.now - last >= least, f"{user.name} is told again after {self.now - last}"
                user.reminded = self.now
        machine.tags[tags.REMINDED_AT] = tags.format_time(self.clock)

    def _sign_out(self, machine: Machine, action: Action) -> None:
        self._users_may_be_moved(action)
        going = [user for user in machine.users if user.name in action.sessions]
        free = sum(self.limit - len(m.users) for m in self.machines.values() if m.serves and m.image == NEW_VERSION)
        assert len(going) + len(self.homeless) <= free, f"I2: {action} leaves users without a slot"
        for user in going:
            notice = self.now - user.warned if user.warned else None
            assert notice is not None, f"I2: {user.name} is signed out without a warning"
            assert notice >= timedelta(minutes=self.policy.warn_minutes), f"I2: {user.name} had only {notice}"
            assert user.name not in self.moved, f"I3: {user.name} is moved a second time"
            self.moved.add(user.name)
            self.homeless[user.name] = self.now
            machine.users.remove(user)
            machine.left_at = self.now
        machine.tags[tags.MOVED_USERS] = str(int(machine.tags.get(tags.MOVED_USERS, "0")) + len(going))

    def _users_may_be_moved(self, action: Action) -> None:
        assert self.policy.release_method != "opportunistic", f"I2: {action} under opportunistic release"
        start = self.policy.scheduled_start
        if self.policy.release_method == "scheduled" and start is not None:
            assert self.clock >= start, f"{action} before its time"
        assert self._in_window(), f"{action} outside the maintenance window"
        assert not any(m.open for m in self.of_pool_outdated()), f"I3: {action} while an outdated host takes users"

    def _remove(self, machine: Machine, action: Action) -> None:
        assert not machine.users, f"I2: {action} with {len(machine.users)} users on it"
        assert not machine.open, f"I2: {action} while it takes users"
        settled = timedelta(minutes=self.policy.settle_minutes)
        assert machine.left_at is None or self.now - machine.left_at >= settled, f"{action} before it settled"
        least = timedelta(minutes=self.policy.min_drain_minutes)
        assert machine.drained_at is not None, f"{action} undrained"
        assert self.now - machine.drained_at >= least, f"{action} before it drained its least time"
        machine.registered = False

    def _deallocate(self, machine: Machine, action: Action) -> None:
        assert not machine.users, f"I2: {action} with {len(machine.users)} users on it"
        assert not machine.registered, f"I2: {action} while it is in the pool"
        machine.power = "deallocating"

    def _delete_outdated(self, machine: Machine, action: Action) -> None:
        assert self.policy.strategy == "in_place", f"I11: {action} on the way back"
        assert self.is_frozen(machine), f"I5: {action} on a host that was not frozen"
        assert not machine.users, f"I2: {action} with {len(machine.users)} users on it"
        assert not machine.registered, f"I2: {action} while it is in the pool"
        was_shut = not {tags.DRAINED_AT, tags.WAS_DRAINED}.isdisjoint(machine.tags)
        assert was_shut, f"I5: {action} on a host that other hands took out of the pool"
        if machine.name not in self.vacant:
            self.vacant.append(machine.name)
        machine.provisioning, machine.deleted_at = "Deleting", self.now

    def _mark_retired(self, machine: Machine, action: Action) -> None:
        assert machine.power == "deallocated", f"{action} while it runs"
        machine.tags[tags.RETIRED_AT] = tags.format_time(self.clock)

    def _delete_failed(self, machine: Machine, action: Action) -> None:
        assert not self.is_frozen(machine), f"I5: {action} on a host that this rollout did not make"
        assert tags.BACK not in machine.tags, f"I11: {action} on a host that is the way back"
        assert not machine.users, f"I2: {action} with {len(machine.users)} users on it"
        self.failures += 1
        self.last_failure = self.clock
        if tags.CHECKED_AT not in machine.tags:
            self.waits_for = self.clock
        self.spent.append(machine.name)
        machine.registered = machine.open = False
        machine.provisioning = "Deleting"
        machine.deleted_at = self.now

    def _start(self, machine: Machine, _: Action) -> None:
        for mark in (tags.RETIRED_AT, tags.CHECKED_AT, tags.UNWELL_AT, tags.DRAINED_AT, tags.EMPTY_SINCE):
            machine.tags.pop(mark, None)
        machine.tags |= {
            tags.BACK: tags.frozen_value(REFRESH, machine.vm_id),
            tags.BACK_AT: tags.format_time(self.clock),
        }
        machine.power, machine.proven_from = "running", None
        machine.heard = self.now

    def _rejoin(self, machine: Machine, action: Action) -> None:
        assert machine.power == "running", f"{action} on a machine that is off"
        machine.registered = machine.open = machine.fate in ("good", "faulty")

    def _give_up(self, machine: Machine, action: Action) -> None:
        assert not machine.users, f"I2: {action} with {len(machine.users)} users on it"
        self.failures += 1
        self.last_failure = self.clock
        self.spent.append(machine.name)
        machine.registered = machine.open = False
        machine.power = "deallocated"
        machine.tags.pop(tags.BACK)
        machine.tags |= {tags.FAILED: action.reason, tags.RETIRED_AT: tags.format_time(self.clock)}


def _is_new(machine: Machine) -> bool:
    """Whether the rollout made it, or brought it back."""
    return not {tags.REFRESH, tags.BACK}.isdisjoint(machine.tags)


def _is_unproven(machine: Machine) -> bool:
    """Whether the broker may have opened it, though nobody has looked at it yet."""
    return _is_new(machine) and tags.CHECKED_AT not in machine.tags


def retained_machine(number: int, fate: str = "good") -> Machine:
    """A machine that an earlier rollout retired, on the version that the pool goes back to."""
    name = f"kept-{number}"
    marks = {tags.RETIRED_AT: tags.format_time(EPOCH), tags.CHECKED_AT: tags.format_time(EPOCH)}
    made = EPOCH - timedelta(days=60)
    return Machine(name, f"id-{name}", NEW_VERSION, made, marks, power="deallocated", fate=fate)


def old_machine(number: int, *, is_open: bool = True, kept: bool = False) -> Machine:
    """A machine of the pool as the rollout finds it."""
    name = f"old-{number}"
    marks = {tags.KEEP: "yes"} if kept else {}
    return Machine(name, f"id-{name}", OLD_VERSION, EPOCH - timedelta(days=30), marks, registered=True, open=is_open)
