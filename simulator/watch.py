"""What no caller may do to a pool and to the people in it, judged in the world itself at the instant that it is done.

`simulator.truth` tells how things went, whatever brought it about. This watches callers of the API only: a host that dies by itself takes
capacity and work from people too, and is nobody's breach. It listens and never acts. Each breach is a sentence that begins with the
number of what must always hold:

| | what a caller may not do |
| --- | --- |
| I1 | take a host out of service, so that the pool falls below the scenario's floor; from its scaling plan's ramp-down to the next |
| | ramp-up below the plan's share, or one host, and so that less than the floor is there to be woken for the day |
| I2 | stop, delete or forget a host under somebody; sign somebody out without the scenario's notice, or without a free slot elsewhere |
| I3 | sign somebody out twice within a day, or while a host of the same image as the one they lose still takes people; but whoever |
| | had to come back, since every host of the other image had died, may be moved again |
| I5 | touch a machine that was put under protection, or its record in the pool |
| I6 | make a machine under a name that another had, unless such names are used again, or that the pool still lists for another |
| I7 | change hosts of a resource group while another caller has a pool there, by the tag in which the scenario's promises say so |
| I8 | open a host that was in drain mode before anybody came; `suspended` tells which hosts that were open are closed still |

What is there for the day is open, or off and was shut by nobody but the plan: a caller who drains a host that sleeps takes it too.

A caller knows of a host's death only once its heartbeat is too old, and reads may be a minute old. So a host counts as capacity for
six minutes after it fell silent; but whoever shuts that very host may have known of it after four, and takes nothing, as does whoever
shuts one that came back less than two minutes ago. A slot counts as free that was so within the last two minutes.
"""

import re
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from simulator.kernel.gate import Answered, Asked
from simulator.news import PoolChanged, SessionChanged
from simulator.session_hosts import USABLE, Pool, SessionHost

if TYPE_CHECKING:
    from simulator.cloud import Cloud
    from simulator.machines import Machine

KNOWN_AFTER, KNOWN_AT_THE_EARLIEST = timedelta(minutes=6), timedelta(minutes=4)
UP_WITHIN = timedelta(minutes=15)  # a host that was switched on is heard of by then
RECENTLY = timedelta(minutes=2)
BACK_WITHIN = timedelta(minutes=10)  # somebody who was signed out is expected back so soon, and needs a slot until then
AGAIN_WITHIN = timedelta(days=1)
ASLEEP = ("deallocated", "deallocating", "starting")
TOLERANCE = timedelta(seconds=1)  # callers note times in whole seconds
LONGEST_NAME = 15  # Windows computer names
VM = re.compile(
    r"^(.*/resourceGroups/([^/]+)/providers/Microsoft\.Compute/virtualMachines/([^/]+))(/.*)?$", re.IGNORECASE
)
RECORD = re.compile(
    r"^(.*/resourceGroups/([^/]+)/providers/Microsoft\.DesktopVirtualization/hostPools/[^/]+)/sessionHosts/([^/]+)(/.*)?$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Touched:
    """What a write is about: a machine or what hangs on it (`part`), or a host's record, as far as they exist."""

    group: str
    name: str
    part: str = ""
    machine: "Machine | None" = None
    host: SessionHost | None = None

    @property
    def vm_ids(self) -> set[str]:
        """Of the machines that it concerns."""
        return {each.vm_id for each in (self.machine, self.host) if each is not None}


class Watch:
    """Watches every write.

    Attributes:
        broken: the breaches so far, oldest first.
        protected: ids (vmId) of machines that nobody may touch.

    """

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._world = cloud.world
        self.broken: list[str] = []
        self.protected: set[str] = set()
        self._asked: Asked | None = None
        self._touching: Touched | None = None
        self._pending: list[str] = []
        self._capacity: Mapping[str, int] = {}
        self._at_hand: Mapping[str, int] = {}
        self._shut: set[str] = set()  # vmIds of hosts that a caller has put into drain mode since
        self._at_first: dict[str, bool] = {}  # whether a host that was there at the start took people, by vmId
        self._opened: set[str] = set()  # vmIds of hosts that somebody has opened since
        self._names: dict[str, str] = {}  # the vmId that first had a name
        self._leases: dict[str, tuple[str, str]] = {}  # by resource group, the value of the tag and whoever wrote it
        self._signed_out: dict[tuple[str, str], datetime] = {}
        self._homeless: dict[tuple[str, str], datetime] = {}
        self._free: dict[str, deque[tuple[datetime, dict[str, int]]]] = defaultdict(deque)
        self._world.listen(Asked, self._begins)
        self._world.listen(Answered, self._ended)
        self._world.listen(SessionChanged, self._session_changed)
        self._world.listen(PoolChanged, lambda news: self._note_free(news.pool))

    def populate(self) -> None:
        """Takes down how the world was before anybody did anything."""
        self._at_first = {host.vm_id: host.allow_new_session for host in self._cloud.desktop.hosts()}
        self._names = {machine.name.lower(): machine.vm_id for machine in self._cloud.compute.machines()}

    def suspended(self) -> list[str]:
        """Names of the hosts that took people at the start, are in their pool still, and take nobody now."""
        hosts = self._cloud.desktop.hosts()
        return [host.name for host in hosts if self._at_first.get(host.vm_id) and not host.allow_new_session]

    # A write

    def _begins(self, news: Asked) -> None:
        self._asked, self._pending = news, []
        self._capacity, self._at_hand = self._capacities(), self._all_at_hand()
        touched = self._touching = self._touched(news.path)
        if touched is None:
            return
        if touched.vm_ids & self.protected:
            self._would("I5", f"touches {touched.name}, which nobody may touch")
        self._keep_away(touched, news.caller)

    def _ended(self, news: Answered) -> None:
        self.broken += self._pending if news.done else []
        touched = self._touched(news.path)
        if touched is not None and touched.machine is not None and not touched.part and news.method == "PUT":
            self._name_taken(touched.machine)
        if touched is not None and touched.host is not None and news.method == "PATCH":
            self._opened_or_shut(touched.host)
        if self._touching is not None and self._touching.host is not None and news.method == "DELETE":
            self._forgotten(self._touching.host)
        self._room_is_left()
        self._room_is_there_for_the_day()
        self._note_lease(news.caller)
        self._asked = self._touching = None

    def _touched(self, path: str) -> Touched | None:
        if found := VM.match(path):
            return Touched(found[2].lower(), found[3], found[4] or "", self._cloud.compute.find(found[1]))
        if found := RECORD.match(path):
            pool = self._cloud.desktop.pools.get(found[1].lower())
            return Touched(
                found[2].lower(), found[3], found[4] or "", host=pool.hosts.get(found[3].lower()) if pool else None
            )
        return None

    def _break(self, which: str, what: str) -> None:
        self.broken.append(self._breach(which, what))

    def _would(self, which: str, what: str) -> None:
        """A breach if the write is done: one that is refused has touched nothing."""
        self._pending.append(self._breach(which, what))

    def _breach(self, which: str, what: str) -> str:
        call = f"{self._asked.method} by {self._asked.caller}" if self._asked else "nobody"
        return f"{which} at {self._world.now:%Y-%m-%d %H:%M:%S}: {call} {what}"

    # I1

    def _capacities(self) -> dict[str, int]:
        return {
            pool.id: pool.max_sessions * sum(self._is_capacity(host) for host in pool.hosts.values())
            for pool in self._cloud.desktop.pools.values()
        }

    def _is_capacity(self, host: SessionHost) -> bool:
        """A host that came later counts once somebody has opened it: before that it opened by itself, and is to be looked at first."""
        opened_since = self._at_first.keys() | self._opened | self._shut
        return host.allow_new_session and host.vm_id in opened_since and self._seems_alive(host)

    def _is_known_to_be_dead(self, host: SessionHost) -> bool:
        """Whether it is off, or has been silent for so long that whoever shuts it may know that it serves nobody.

        So may whoever has not heard yet that it is back.
        """
        machine = self._cloud.compute.find(host.vm)
        is_on = machine is not None and machine.is_running
        is_back = self._world.now - host.beating_since < RECENTLY
        return not is_on or is_back or self._silent_for(host) >= KNOWN_AT_THE_EARLIEST

    def _seems_alive(self, host: SessionHost) -> bool:
        return self._silent_for(host) < KNOWN_AFTER

    def _silent_for(self, host: SessionHost) -> timedelta:
        silent = [host.beating_until] if host.beating_until is not None else []
        silent += [host.status_since] if host.status not in USABLE else []
        return self._world.now - min(silent, default=self._world.now)

    def _room_is_left(self) -> None:
        if self._touching is not None and self._touching.host and self._is_known_to_be_dead(self._touching.host):
            return  # whoever shuts it takes nothing
        for pool_id, after in self._capacities().items():
            pool = self._cloud.desktop.pools[pool_id.lower()]
            floor = self._floor_now(pool)
            before = self._capacity.get(pool_id, after)
            if after < before and after < floor:
                self._break("I1", f"leaves {pool.name} {after} open slots of {before}, and {floor} is its floor")

    def _floor(self, pool: Pool) -> int:
        """What must be open by day, and be there at night."""
        return -(-pool.nominal_hosts * pool.max_sessions * self._cloud.scenario.promises.floor_percent // 100)

    def _floor_now(self, pool: Pool) -> int:
        """What must be open now: while the pool's scaling plan would have few hosts on, no more than those, and one at least."""
        share = self._cloud.scaling.share_for(pool)
        if share is None:
            return self._floor(pool)
        return min(self._floor(pool), max(-(-pool.nominal_hosts * share // 100), 1) * pool.max_sessions)

    def _all_at_hand(self) -> dict[str, int]:
        """Slots that are open, or sleep until the morning, in pools that have a scaling plan."""
        return {
            pool.id: pool.max_sessions * sum(self._is_at_hand(host) for host in pool.hosts.values())
            for pool in self._cloud.desktop.pools.values()
            if self._cloud.scaling.share_for(pool) is not None
        }

    def _is_at_hand(self, host: SessionHost) -> bool:
        machine = self._cloud.compute.find(host.vm)
        served = self._at_first.get(host.vm_id) or host.vm_id in self._opened
        taken = host.vm_id in self._shut and not host.allow_new_session
        if self._is_capacity(host) or machine is None or not served or taken or host.vm_id in self.protected:
            return self._is_capacity(host)
        booted = machine.booted_at if machine.is_running else None
        just_up = booted is not None and self._world.now - booted < UP_WITHIN
        return just_up or machine.power in ASLEEP

    def _room_is_there_for_the_day(self) -> None:
        host = self._touching.host if self._touching is not None else None
        machine = self._cloud.compute.find(host.vm) if host is not None else None
        asleep = machine is not None and machine.power in ASLEEP
        if host is not None and machine is not None and not asleep and self._is_known_to_be_dead(host):
            return  # whoever shuts it takes nothing
        for pool_id, after in self._all_at_hand().items():
            pool = self._cloud.desktop.pools[pool_id.lower()]
            before = self._at_hand.get(pool_id, after)
            if after < before and after < self._floor(pool):
                self._break(
                    "I1",
                    f"leaves {pool.name} {after} slots for the day of {before}, asleep or open, and {self._floor(pool)} is its floor",
                )

    # I2 and I3

    def _session_changed(self, news: SessionChanged) -> None:
        who = news.pool, news.user
        if news.state == "Active":
            self._homeless.pop(who, None)
            if self._has_no_other_image(news):
                self._signed_out.pop(who, None)
        if self._asked is not None:
            if news.state == "CutOff":
                self._break("I2", f"stops {news.host} under {news.user}")
            elif news.state == "SignedOut" and "by force" in news.why:
                self._moved(news)
        self._note_free(news.pool)

    def _has_no_other_image(self, news: SessionChanged) -> bool:
        """Whether somebody had to come back to the image that they are on: no host of another one lives."""
        pool = self._pool(news.pool)
        host = pool.hosts.get(news.host.lower())
        here = self._image(host) if host is not None else ""
        return not any(each.alive for each in pool.hosts.values() if self._image(each) != here)

    def _forgotten(self, host: SessionHost) -> None:
        """Whoever is on a host whose record is deleted works on, and nobody would know that any more."""
        if host.removed and host.sessions:
            self._break("I2", f"takes {host.name} out of its pool with {len(host.sessions)} people on it")

    def _moved(self, news: SessionChanged) -> None:
        now, who = self._world.now, (news.pool, news.user)
        notice = timedelta(minutes=self._cloud.scenario.promises.warn_minutes) - TOLERANCE
        if not any(notice <= now - warned < AGAIN_WITHIN for warned in news.warnings):
            self._break("I2", f"signs {news.user} out of {news.host} without {notice} of notice")
        if who in self._signed_out and now - self._signed_out[who] < AGAIN_WITHIN:
            self._break("I3", f"signs {news.user} out of {news.host}, after {self._signed_out[who]:%H:%M}")
        self._signed_out[who] = self._homeless[who] = now
        pool = self._pool(news.pool)
        host = pool.hosts.get(news.host.lower())
        image = self._image(host) if host is not None else ""
        self._slot_is_free(pool, image, news)
        taking = [
            each.name
            for each in pool.hosts.values()
            if each.allow_new_session and self._image(each) == image and each.vm_id not in self.protected
        ]
        if taking:
            self._break(
                "I3", f"signs {news.user} out of {news.host}, while {', '.join(taking)} of that image take people"
            )

    def _slot_is_free(self, pool: Pool, image: str, news: SessionChanged) -> None:
        self._note_free(pool.name)
        now = self._world.now
        free = max(
            sum(slots for each, slots in sample.items() if each != image)
            for at, sample in self._free[pool.name]
            if now - at <= RECENTLY
        )
        waiting = sum(1 for (name, _), at in self._homeless.items() if name == pool.name and now - at < BACK_WITHIN)
        if free < waiting:
            self._break(
                "I2", f"signs {news.user} out of {news.host} with {free} slots free elsewhere for {waiting} people"
            )

    def _note_free(self, name: str) -> None:
        """Free slots by image; kept as long as somebody may still believe in them."""
        free: dict[str, int] = defaultdict(int)
        pool = self._pool(name)
        for host in pool.hosts.values():
            if host.allow_new_session and self._seems_alive(host):
                free[self._image(host)] += max(pool.max_sessions - len(host.sessions), 0)
        samples = self._free[name]
        samples.append((self._world.now, free))
        while len(samples) > 1 and self._world.now - samples[1][0] > RECENTLY:
            samples.popleft()

    def _pool(self, name: str) -> Pool:
        return next(pool for pool in self._cloud.desktop.pools.values() if pool.name == name)

    def _image(self, host: SessionHost) -> str:
        machine = self._cloud.compute.find(host.vm)
        return str(machine.image_reference.get("id", "")) if machine is not None else ""

    # I6, I7 and I8

    def _name_taken(self, machine: "Machine") -> None:
        first = self._names.setdefault(machine.name.lower(), machine.vm_id)
        if first != machine.vm_id and not self._cloud.scenario.promises.names_are_used_again:
            self._break("I6", f"makes {machine.name}, and another machine had that name")
        if len(machine.name) > LONGEST_NAME:
            self._break("I6", f"makes {machine.name}, which is too long for Windows")
        for pool in self._cloud.desktop.pools.values():
            listed = pool.hosts.get(machine.name.lower())
            if listed is not None and listed.vm_id != machine.vm_id:
                self._break("I6", f"makes {machine.name}, and {pool.name} lists another machine of that name")

    def _keep_away(self, touched: Touched, caller: str) -> None:
        _, holder = self._leases.get(touched.group, ("", caller))
        if holder != caller:
            self._would("I7", f"changes {touched.name}, and {holder} has the pool")

    def _note_lease(self, caller: str) -> None:
        """Whoever changes the tag has the pool from then on; nobody has it where the tag is not there."""
        tag = self._cloud.scenario.promises.lease_tag
        for pool in self._cloud.desktop.pools.values():
            group, value = pool.group.lower(), pool.tags.get(tag, "")
            if not value:
                self._leases.pop(group, None)
            elif self._leases.get(group, ("", ""))[0] != value:
                self._leases[group] = value, caller

    def _opened_or_shut(self, host: SessionHost) -> None:
        if not host.allow_new_session:
            self._shut.add(host.vm_id)
            return
        self._shut.discard(host.vm_id)
        self._opened.add(host.vm_id)
        if self._at_first.get(host.vm_id) is False:
            self._break("I8", f"opens {host.name}, which was in drain mode before")
