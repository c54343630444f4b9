"""Why sysprep fails: the causes that are known, read from the ends of its logs, each with what to do.

Pure. Sources: learn.microsoft.com, "Sysprep fails with Microsoft Store apps" (KB 2769827), "Sysprep as SYSTEM on Windows 11", "Sysprep
(Generalize) a Windows installation".
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """A known cause: what in the logs gives it away (a regular expression), and what to do about it."""

    says: str
    problem: str
    remedy: str


CAUSES = (
    Cause(
        r"Package (?P<what>\S+) was installed for a user, but not provisioned for all users",
        "The app {what} was installed for one user only.",
        "Install it for all users, or remove it for all users in a customise script; then start the run again.",
    ),
    Cause(
        r"must run under a local administrator|must run with full rights",
        "It did not run with the rights of a local administrator.",
        "See that the Secondary Logon service may run on the machine, and that no policy filters local administrators.",
    ),
    Cause(
        r"reboot.{0,20}pending|pending.{0,20}reboot|Trusted Installer|There are one or more Windows updates that require a reboot",
        "Windows waits for a restart.",
        "Set reboot_after on the last customise step, or restart the machine; then start the run again.",
    ),
    Cause(
        r"BitLocker",
        "BitLocker is on.",
        "Switch device encryption off in a customise script, and let it be decrypted before sysprep.",
    ),
    Cause(
        r"domain[- ]joined|joined to a domain|Entra[- ]joined|MDM",
        "The machine is joined to a domain or managed by Intune.",
        "Build in a network and resource group where nothing joins machines by itself: an image must never have been joined.",
    ),
    Cause(
        r"0x8007139f|rearm|reached the maximum number of times",
        "This Windows was generalised too often.",
        "Build from a marketplace image instead of from an image of an image.",
    ),
)


def cause_of(text: str) -> Cause | None:
    """The first known cause that the text gives away, with its words filled in; None where it is not a known one."""
    for cause in CAUSES:
        found = re.search(cause.says, text, re.IGNORECASE | re.DOTALL)
        if found:
            return Cause(cause.says, cause.problem.format(**found.groupdict()), cause.remedy)
    return None
