"""The versions of an image set, as a person wants to see them: what each is, who asked for it and who approved it, and who uses it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evergold import tags
from evergold.azure import Azure
from evergold.azure.ids import key
from evergold.config.models import ImageSet
from evergold.images.manifest import Change, difference
from evergold.images.publish import Candidate, candidate_of
from evergold.images.refresh import definition_of
from evergold.images.versions import Version


@dataclass(frozen=True)
class Entry:
    """One version.

    Attributes:
        regions: where it goes, with its replicas there: "westeurope (2)".
        hosts: machines in the subscription that were made from it, switched off ones too.
        end_of_life: the day, "2027-05-11"; "" where there is none.

    """

    candidate: Candidate
    latest: bool
    provisioning: str
    regions: tuple[str, ...]
    hosts: int
    end_of_life: str

    def row(self) -> dict[str, str]:
        """A row of the table; times are UTC."""
        decision, named = self.candidate.decision, self.candidate.tags
        approved = decision if decision is not None and decision.approved else None
        return {
            "version": self.candidate.version,
            "state": self._state(),
            "source": named.get(tags.SOURCE, ""),
            "notes": named.get(tags.NOTES, ""),
            "started by": named.get(tags.STARTED_BY, "not given" if self.candidate.refresh else ""),
            "approved by": approved.by if approved else "",
            "approved at": f"{approved.at:%Y-%m-%d %H:%M}" if approved else "",
            "regions": ", ".join(self.regions),
            "hosts using it": str(self.hosts),
            "end of life": self.end_of_life,
        }

    def _state(self) -> str:
        if self.provisioning != "Succeeded":
            return self.provisioning.lower()
        return f"{self.candidate.state}, latest" if self.latest else self.candidate.state


async def list_entries(azure: Azure, image_set: ImageSet) -> list[Entry]:
    """Every version of the image set's definition, newest first, whoever made it."""
    versions = await azure.galleries.list_versions(definition_of(image_set))
    hosts = Counter(key(vm.image or "") for vm in await azure.compute.list_all_vms())
    newest = sorted(versions, key=lambda each: Version.parse(each.name or ""), reverse=True)
    usable = (each.name for each in newest if not candidate_of(each).excluded)
    latest = next(usable, None)
    return [_entry(each, hosts, latest) for each in newest]


def _entry(version: Any, hosts: Mapping[str, int], latest: str | None) -> Entry:
    profile = version.properties.publishing_profile
    state = version.properties.provisioning_state
    ends = profile.end_of_life_date if profile else None
    return Entry(
        candidate=candidate_of(version),
        latest=version.name == latest,
        provisioning=str(getattr(state, "value", state) or ""),
        regions=tuple(
            f"{region.name} ({region.regional_replica_count or 1})"
            for region in (profile.target_regions if profile else None) or []
        ),
        hosts=hosts.get(key(version.id or ""), 0),
        end_of_life=f"{ends:%Y-%m-%d}" if ends else "",
    )


def changes(previous: Candidate | None, candidate: Candidate) -> list[dict[str, str]]:
    """What is new in a candidate, one row a change, what was removed first. One row that says why, where that cannot be told."""
    before = previous.manifest if previous is not None else None
    after = candidate.manifest
    if before is None or after is None:
        lacking = (
            candidate.version if after is None else previous.version if previous is not None else "no version before it"
        )
        return [_change("unknown", f"manifest of {lacking}", "", "", "The next refresh can compare: it notes one.")]
    found = difference(before, after)
    rows = [_software("REMOVED", each, "Was that meant?") for each in found.software_removed]
    rows += [
        _change("REMOVED", hotfix, "installed", "", "A later update may hold it.") for hotfix in found.hotfixes_lost
    ]
    rows += [_change("DISABLED", feature, "enabled", "", "Was that meant?") for feature in found.features_disabled]
    if found.build_before != found.build_after:
        remark = "Windows is OLDER than before." if found.build_is_lower else ""
        rows.append(_change("changed", "Windows build", found.build_before, found.build_after, remark))
    rows += [_change("patch gained", hotfix, "", "installed", "") for hotfix in found.hotfixes_gained]
    rows += [_change("feature enabled", feature, "", "enabled", "") for feature in found.features_enabled]
    rows += [_software("added", each, "") for each in found.software_added]
    rows += [_software("changed", each, "") for each in found.software_changed]
    if found.software_unknown:
        rows.append(_change("unknown", "software", "", "", "The list was too long to be kept, in one version or both."))
    return rows or [_change("none", "Windows, hotfixes and software", "", "", "They are the same in both versions.")]


def _software(change: str, each: Change, remark: str) -> dict[str, str]:
    return _change(change, each.name, each.before, each.after, remark)


def _change(change: str, what: str, before: str, after: str, remark: str) -> dict[str, str]:
    return {"change": change, "what": what, "before": before, "after": after, "remark": remark}
