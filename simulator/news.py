"""News that services tell each other through the world: what happened to a machine, an agent or a session.

A service that causes something does not call the others; it tells, and whoever is concerned listens.
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class MachineRunning:
    """A VM has booted (created, started, or restarted). `vm` is its resource id."""

    vm: str


@dataclass(frozen=True)
class MachineStopping:
    """A VM begins to stop: whoever is signed in loses the session now. `clean` where the guest shut down in order."""

    vm: str
    clean: bool


@dataclass(frozen=True)
class MachineStopped:
    """A VM is off or deallocated."""

    vm: str


@dataclass(frozen=True)
class MachineDeleted:
    """A VM is gone, with what was on it."""

    vm: str


@dataclass(frozen=True)
class MachineJoined:
    """A VM has joined Microsoft Entra ID; `managed` where it was enrolled in Intune too."""

    vm: str
    managed: bool


@dataclass(frozen=True)
class AgentInstalled:
    """The AVD agent was installed in a VM with a registration token."""

    vm: str
    token: str


@dataclass(frozen=True)
class SessionChanged:
    """A user's session began, changed state or ended.

    `state` as the broker names it, or "SignedOut", or "CutOff" where the machine went away under it. `warnings`: when the user was
    sent messages.
    """

    pool: str
    host: str
    user: str
    session: int
    state: str
    why: str
    warnings: tuple[datetime, ...] = ()


@dataclass(frozen=True)
class PoolChanged:
    """Which hosts of a pool serve, or how many sessions they take, may have changed. `pool` is its name."""

    pool: str


@dataclass(frozen=True)
class UserWarned:
    """A message was shown to the user of a session."""

    pool: str
    host: str
    user: str
    session: int


@dataclass(frozen=True)
class SignInRefused:
    """A user wanted a desktop, and no host could give one."""

    pool: str
    user: str


@dataclass(frozen=True)
class CloudPcWiped:
    """A reprovision wiped a Cloud PC. `lost`: work that had no copy; `cut_off`: its user was at work."""

    user: str
    lost: bool
    cut_off: bool
