"""Verdicts and evidence: what the checks found, in a form that a person can read and that an approval can name.

Pure. The digest of evidence covers what was decided on, and nothing that changes by looking again: reading the same world twice gives
the same digest, and a check that ends otherwise, a patch that goes missing or another image version gives a new one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from evergold.images.manifest import Change, Difference, Manifest

Verdict = Literal["pass", "warn", "fail", "unknown"]

# From best to worst. What could not be seen is worse than a warning, and stops a refresh as a failure does.
ORDER: tuple[Verdict, ...] = ("pass", "warn", "unknown", "fail")
SIGNS: dict[Verdict, str] = {"pass": "pass", "warn": "**warn**", "fail": "**FAIL**", "unknown": "**unknown**"}
SHOWN = 20  # lines of a list in a table before "and n more"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Check(_Part):
    """One thing that was looked at.

    Attributes:
        measured: what was found, in words. May hold ages and times: it is not part of the digest.
        threshold: what was asked for.
        remedy: what to do; "" where there is nothing to do.
        facts: what was found that an approval must not survive a change of, such as names of missing patches.

    """

    name: str
    verdict: Verdict
    measured: str
    threshold: str
    remedy: str
    facts: tuple[str, ...] = ()


class Evidence(_Part):
    """Everything that is known of a candidate when a person is asked about it.

    Attributes:
        image_version_id: resource id of the candidate.
        source: the exact image that it was built from.
        canary: name of the host that was checked.
        manifest, difference: None where they are not known.
        compared_with: the version that `difference` is against, or "".
        plan: what an approval would set going, as markdown. Its numbers change with every sign-in: it is not part of the digest.

    """

    refresh: str
    image_set: str
    version: str
    image_version_id: str
    source: str
    checks: tuple[Check, ...]
    canary: str = ""
    manifest: Manifest | None = None
    difference: Difference | None = None
    compared_with: str = ""
    plan: str = ""

    @property
    def verdict(self) -> Verdict:
        """The worst verdict among the checks; "unknown" where nothing was checked."""
        return worst(self.checks)

    @property
    def passed(self) -> bool:
        """Whether a person may be asked to approve: everything was looked at, and nothing failed."""
        return self.verdict in ("pass", "warn")

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of what was found. Does not depend on when it was read, nor on the order of the checks."""
        content = self.model_dump(mode="json", exclude={"checks", "canary", "plan"})
        content["image_version_id"] = self.image_version_id.casefold()
        content["checks"] = sorted(
            [check.name, check.verdict, check.threshold, sorted(check.facts)] for check in self.checks
        )
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> str:
        """The evidence as one document, with its digest beside it."""
        document = {"digest": self.digest, "evidence": self.model_dump(mode="json")}
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    def to_markdown(self) -> str:
        """The evidence for the approval form and the report."""
        parts = [
            f"## {self.image_set} {self.version}: {SIGNS[self.verdict]}",
            f"Built from `{self.source}`. Evidence `{self.digest[:12]}`, refresh `{self.refresh}`"
            + (f", checked on `{self.canary}`." if self.canary else "."),
            _checks_table(self.checks),
            _contents(self.manifest),
            _difference(self.difference, self.compared_with),
            self.plan,
        ]
        return "\n\n".join(part for part in parts if part) + "\n"


def worst(checks: Iterable[Check]) -> Verdict:
    """The worst verdict among these; "unknown" if there is none."""
    return max((check.verdict for check in checks), key=ORDER.index, default="unknown")


def worst_first(checks: Iterable[Check]) -> list[Check]:
    """In the order in which a person should read them."""
    return sorted(checks, key=lambda check: -ORDER.index(check.verdict))


def judge_steps_by_hand(done: Mapping[str, str]) -> tuple[Check, ...]:
    """What people have changed by hand in the build, by step: worth a look, since no script can do it again."""
    return tuple(
        Check(
            name=f"done by hand: {step}",
            verdict="warn",
            measured=note,
            threshold="scripts alone",
            remedy="See whether it is what was asked for. Next month it has to be done again: better, write a script.",
            facts=(note,),
        )
        for step, note in sorted(done.items())
    )


def judge_difference(difference: Difference | None) -> Check:
    """What the difference from the version before says: programs that are gone and updates that are lost are worth a look."""
    name, threshold = "difference from the version before", "nothing lost"
    if difference is None:
        return Check(
            name=name, verdict="warn", measured="The version before has no manifest.", threshold=threshold, remedy=""
        )
    if difference.build_is_lower:
        return Check(
            name=name,
            verdict="fail",
            measured=f"Windows goes back from {difference.build_before} to {difference.build_after}.",
            threshold=threshold,
            remedy="Build from a newer source: people would lose updates that they have now.",
        )
    # A cumulative update takes the place of the one before it; only where the build has not risen has something gone.
    if difference.hotfixes_lost and difference.build_after == difference.build_before:
        lost_fixes = _counted(len(difference.hotfixes_lost), "hotfix", "hotfixes")
        return Check(
            name=name,
            verdict="warn",
            measured=f"{lost_fixes} lost, and Windows is still at {difference.build_after}.",
            threshold=threshold,
            remedy="See below which; build from a newer source if they are needed.",
            facts=difference.hotfixes_lost,
        )
    programs, features = [change.name for change in difference.software_removed], difference.features_disabled
    lost = [*programs, *features]
    if lost or difference.software_unknown:
        gone = [f"{_counted(len(programs), 'program')} removed"] if programs else []
        gone += [f"{_counted(len(features), 'feature')} of Windows disabled"] if features else []
        measured = f"{', '.join(gone)}." if gone else "The list of software was too long to keep."
        remedy = "See below whether each removal is meant." if lost else "Compare the software by hand."
        return Check(
            name=name, verdict="warn", measured=measured, threshold=threshold, remedy=remedy, facts=tuple(lost)
        )
    changed = len(difference.software_added) + len(difference.software_changed)
    measured = f"{_counted(changed, 'program')} added or changed, {_counted(len(difference.hotfixes_gained), 'hotfix', 'hotfixes')} gained."
    return Check(name=name, verdict="pass", measured=measured, threshold=threshold, remedy="")


def _checks_table(checks: tuple[Check, ...]) -> str:
    if not checks:
        return "Nothing was checked."
    lines = ["| check | verdict | found | asked for | what to do |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {_cell(c.name)} | {SIGNS[c.verdict]} | {_cell(c.measured)} | {_cell(c.threshold)} | {_cell(c.remedy)} |"
        for c in worst_first(checks)
    ]
    return "\n".join(lines)


def _contents(manifest: Manifest | None) -> str:
    if manifest is None:
        return "What is in the image is not known: it has no manifest."
    programs = "no list of software" if manifest.software_left_out else _counted(len(manifest.software), "program")
    return f"In it: {manifest.os.name}, build {manifest.os.build}, {_counted(len(manifest.hotfixes), 'hotfix', 'hotfixes')}, {programs}."


def _difference(difference: Difference | None, compared_with: str) -> str:
    if difference is None:
        return ""
    lines = [
        f"### Against {compared_with or 'the version before'}",
        "",
        "| what | | before | after |",
        "| --- | --- | --- | --- |",
        f"| Windows | build | {difference.build_before} | {difference.build_after} |",
    ]
    lines += [f"| {_cell(kb)} | hotfix gained | | |" for kb in _shown(difference.hotfixes_gained)]
    lines += [f"| {_cell(kb)} | **hotfix lost** | | |" for kb in _shown(difference.hotfixes_lost)]
    lines += [f"| {_cell(name)} | **feature disabled** | | |" for name in _shown(difference.features_disabled)]
    lines += [f"| {_cell(name)} | feature enabled | | |" for name in _shown(difference.features_enabled)]
    lines += _software("**removed**", difference.software_removed)
    lines += _software("added", difference.software_added)
    lines += _software("changed", difference.software_changed)
    return "\n".join(lines)


def _software(word: str, changes: tuple[Change, ...]) -> list[str]:
    lines = [f"| {_cell(c.name)} | {word} | {_cell(c.before)} | {_cell(c.after)} |" for c in changes[:SHOWN]]
    return [*lines, f"| and {len(changes) - SHOWN} more | {word} | | |"] if len(changes) > SHOWN else lines


def _shown(names: tuple[str, ...]) -> list[str]:
    return [*names[:SHOWN], f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else list(names)


def _cell(text: str) -> str:
    """Text that stays in its cell of a table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\r", "").replace("\n", " ")


def _counted(count: int, one: str, several: str = "") -> str:
    return f"{count} {one}" if count == 1 else f"{count} {several or one + 's'}"
