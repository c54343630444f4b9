"""What is on an OS disk. Disks, snapshots and image versions carry it; a running VM reads and changes its disk's contents.

Copying a disk copies its contents: an image remembers what was installed, patched, enrolled and left behind, good or bad.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

ImageState = Literal[
    "IMAGE_STATE_COMPLETE",
    "IMAGE_STATE_UNDEPLOYABLE",
    "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE",
]


@dataclass(frozen=True)
class Patch:
    """A Windows update that a machine lacks or has. `classification` as in the patch API: Critical, Security, Updates ..."""

    kb: str
    title: str
    classification: str


@dataclass(frozen=True)
class Contents:
    """The state of a Windows installation on a disk. Frozen: a change makes a new one, so copies never share a change."""

    os_build: str = "26200.7171"
    edition: str = "Windows 11 Enterprise multi-session"
    hyper_v_generation: Literal["V1", "V2"] = "V2"
    image_state: ImageState = "IMAGE_STATE_COMPLETE"
    generalized: bool = False
    software: dict[str, str] = field(default_factory=dict)
    features: tuple[str, ...] = (
        "MediaPlayback",
        "NetFx4-AdvSrvs",
        "Printing-PrintToPDFServices-Features",
        "SearchEngine-Client-Package",
    )
    files: dict[str, str] = field(default_factory=dict)  # SHA-256 by path, of those that a script has put there
    hotfixes: tuple[str, ...] = ()
    missing_patches: tuple[Patch, ...] = ()
    avd_agent_version: str | None = None
    registered_in: str | None = None
    entra_joined: bool = False
    reboot_pending: bool = False
    local_administrators: tuple[str, ...] = ()
    sysprep_blockers: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()

    def changed(self, **changes: object) -> "Contents":
        """The same disk with something changed."""
        return replace(self, **changes)  # type: ignore[arg-type]  # the field names are checked by dataclasses.replace
