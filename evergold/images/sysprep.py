"""Why sysprep fails: the causes that are known, read from the ends of its logs, each with what to do.

Pure. Only what sysprep logged as an error counts: it names every check it runs (ValidateBitLockerState) as information, and whoever reads
those names as causes blames BitLocker for everything.

Sources: learn.microsoft.com, "Sysprep fails with Microsoft Store apps" (KB 2769827), "Errors when capturing Windows 11 image by using
capture media in Configuration Manager" (0x80073cf2, 0x800F0975), "A fatal error occurred while trying to Sysprep the machine" (KB 929828,
0xc004d307), "Sysprep as SYSTEM on Windows 11", "Sysprep (Generalize) a Windows installation".
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


# The order matters: a rearm that is used up also leaves the line about an invalid state, so what says more stands first.
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
        r"(?:reboot|restart)[^\n]{0,20}pending|pending[^\n]{0,20}(?:reboot|restart)|Windows updates that require a reboot",
        "Windows waits for a restart.",
        "Set reboot_after on the last customise step, or restart the machine; then start the run again.",
    ),
    Cause(
        r"Trusted ?Installer is busy|CBS is busy|using reserved storage|reserved storage is in use|0x800f0975",
        "Windows is still installing updates or features, and holds its servicing.",
        "Have a windows_update step last among the customise steps, so that updates are in and the machine is restarted before "
        "sysprep; then start the run again.",
    ),
    Cause(
        r"BitLocker is on|0x80310039",
        "BitLocker is on.",
        "Switch device encryption off in a customise script, and let it be decrypted before sysprep.",
    ),
    Cause(
        r"value senseGuid under key",
        "The machine is onboarded to Microsoft Defender for Endpoint, which protects its settings from sysprep.",
        "Offboard it in a customise script, or build from a source that was never onboarded: the hosts are onboarded, not the image.",
    ),
    Cause(
        r"domain[- ]joined|joined to (?:a|the) domain|Entra[- ]joined|enrolled in (?:MDM|Intune)",
        "The machine is joined to a domain or managed by Intune.",
        "Build in a network and resource group where nothing joins machines by itself: an image must never have been joined.",
    ),
    Cause(
        r"0xc004d307|SLReArmWindows|reached the maximum number of times|number of re-?arms",
        "This Windows was generalised too often: its rearm count is used up.",
        "Build from a marketplace image instead of from an image of an image.",
    ),
    Cause(
        r"machine is in an invalid state|0x8007139f",
        "Windows is not in a state that can be generalised, as after a sysprep that broke off.",
        "Start the run again from a source that sysprep has not broken: a marketplace image, or the snapshot from before sysprep.",
    ),
)
# Lines of information and warnings: "2026-11-12 20:14:01, Info                  SYSPRP ...".
NO_ERROR = re.compile(r"^[^\n,]*,[ \t]*(?:Info|Warning)\b[^\n]*$", re.MULTILINE)


def cause_of(text: str) -> Cause | None:
    """The first known cause that the text gives away, with its words filled in; None where it is not a known one."""
    errors = NO_ERROR.sub("", text)
    for cause in CAUSES:
        found = re.search(cause.says, errors, re.IGNORECASE)
        if found:
            return Cause(cause.says, cause.problem.format(**found.groupdict()), cause.remedy)
    return None
