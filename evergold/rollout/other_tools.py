"""Other tools that replace session hosts, known by the tags with which they mark the hosts that they look after.

Two tools that replace the hosts of one pool work against each other: each makes up for what the other took away. Nothing can be done
about it here but to say so, before a rollout and while it goes on. A tool's settings can give its tags other names, so that seeing none
proves nothing. Sources, in each tool's public repository:

- AVD Session Host Replacer: Azure/AVDSessionHostReplacer, `FunctionApp/FunctionParameters.psd1`, `Get-SHRSessionHost.ps1` (it replaces
  only hosts whose tag says true), `Remove-SHRSessionHost.ps1` (a drained host is deleted when nobody is on it, or its grace is over).
- The add-on that was made of it, with the tag of a host that is kept: Azure/FederalAVD,
  `deployments/add-ons/sessionHostReplacer/README.md`, "Tag Schema".
- Nerdio Manager: Get-Nerdio/NMW, `scripted-actions/azure-runbooks/Delay host availability in AVD for 10 minutes.ps1`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

REPLACER = "AVD Session Host Replacer"
NERDIO = "Nerdio Manager"
WHAT_TO_DO = (
    "Switch that tool off for this pool while a rollout is at work there, or leave the pool to it: what one makes, the other would "
    "replace. If it is gone for good, remove its tag from the hosts."
)


@dataclass(frozen=True)
class Mark:
    """A tag of another tool, and what the tool does with a host that bears it; with `value`, only where it has that value."""

    tag: str
    tool: str
    meaning: str
    value: str = ""


MARKS = (
    Mark("IncludeInAutoReplace", REPLACER, "replaces such a host when it is old, or on an older image", value="true"),
    Mark(
        "AutoReplacePendingDrainTimestamp",
        REPLACER,
        "has drained such a host, and deletes it when nobody is on it, or its grace is over",
    ),
    Mark("AutoReplaceShutdownTimestamp", REPLACER, "has switched such a host off, and deletes it in some days"),
    Mark("NMW_VM_FQDN", NERDIO, "may start, stop, drain and replace such a host"),
)


def mark_of(tag: str, value: str) -> Mark | None:
    """What a tag on a host says of another tool; None where it says nothing. Azure's tags know no capitals in their names."""
    for mark in MARKS:
        if mark.tag.casefold() == tag.casefold() and mark.value in ("", value.strip().casefold()):
            return mark
    return None


def told_of(hosts: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What other tools have marked, and what they do with it, in a sentence for each of their tags; of hosts' tags by the hosts' names."""
    found: dict[Mark, list[str]] = {mark: [] for mark in MARKS}
    for name in sorted(hosts):
        for tag, value in hosts[name].items():
            if mark := mark_of(tag, value):
                found[mark].append(name)
    return [
        f"{counted(names)} the tag {mark.tag}: {mark.tool} {mark.meaning}" for mark, names in found.items() if names
    ]


def counted(names: Sequence[str], verb: str = "") -> str:
    """The beginning of a sentence about what hosts have: one by its name, more by their number, the first few by name."""
    if len(names) == 1:
        return f"{names[0]} has {verb}".rstrip()
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} hosts ({', '.join(names[:3])}{more}) have {verb}".rstrip()
