"""What an image must be for Windows 365 to take it, as rules over facts, each with where it stands. Pure.

Everything here is judged before anything is imported: the import takes an hour, and then says one code.
Sources: learn.microsoft.com, "Device images overview" (windows-365/enterprise/device-images) and "Windows 11 Enterprise and Education
lifecycle"; Patrick Koehler, "Windows 365 - Full Image Guide" (2022), for the rules of then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from evergold.validation.verdicts import Check

DEVICE_IMAGES: Final = "Device images overview, learn.microsoft.com"
CHECK_SCRIPT: Final = "guest/customise/check-windows-365.ps1"
# Build to the last day on which Windows Enterprise of it is serviced ("Windows 11 Enterprise and Education lifecycle").
SERVICED_UNTIL: Final[Mapping[int, date]] = {
    22631: date(2026, 11, 10),  # 23H2
    26100: date(2027, 10, 12),  # 24H2
    26200: date(2028, 10, 10),  # 25H2
}
LARGEST_OS_DISK_GB: Final = 128  # the disk of the smallest Enterprise Cloud PC on sale with a custom image
GENERATIONS: Final[Mapping[str, tuple[str, str]]] = {
    "today": ("V2", DEVICE_IMAGES),
    "2022": ("V1", "Windows 365 - Full Image Guide, 2022"),
}


@dataclass(frozen=True)
class Facts:
    """What is known of an image; None where nothing says.

    Attributes:
        edition: as Windows names itself, "Windows 11 Enterprise".
        build: "26200.7171".
        generation: V1 or V2.
        security_type: of the image definition, "TrustedLaunch"; "" for none.
        os_disk_gb, data_disks: size of the one, number of the others.
        software: names of what is installed; None where the list was left out.
        looked_inside: the check script is among the steps of the build, and the build came to its end.
        reachable: Windows 365 sees the source image.

    """

    edition: str | None
    build: str | None
    generation: str | None
    generalised: bool | None
    security_type: str
    os_disk_gb: int | None
    data_disks: int | None
    software: tuple[str, ...] | None
    looked_inside: bool
    source: Literal["gallery", "managed_image"] = "gallery"
    reachable: bool | None = None


def judge(facts: Facts, rules: str, today: date) -> list[Check]:
    """Every rule, in the order in which the guide names them."""
    generation, source = GENERATIONS[rules]
    return [
        _edition(facts.edition),
        _build(facts.build, today),
        _check(
            "Windows 365: generalised",
            facts.generalised,
            "The image is generalised." if facts.generalised else "Nothing proves that the image is generalised.",
            f"generalised with sysprep ({DEVICE_IMAGES})",
            "Build the image with Evergold, which proves it.",
        ),
        _check(
            "Windows 365: generation",
            None if facts.generation is None else facts.generation == generation,
            f"The image is of generation {facts.generation or 'unknown'}.",
            f"{generation} ({source}; rule set {rules})",
            "Build it on a VM of the other generation, or choose the other rule set (cloud_pcs.rules).",
        ),
        _check(
            "Windows 365: data disks",
            None if facts.data_disks is None else facts.data_disks == 0,
            f"The image has {'an unknown number of' if facts.data_disks is None else facts.data_disks} data disks.",
            f"none ({DEVICE_IMAGES})",
            "Build it on a VM without data disks.",
        ),
        _check(
            "Windows 365: OS disk",
            None if facts.os_disk_gb is None else facts.os_disk_gb <= LARGEST_OS_DISK_GB,
            f"The OS disk has {facts.os_disk_gb if facts.os_disk_gb is not None else 'an unknown number of'} GB.",
            f"at most {LARGEST_OS_DISK_GB} GB, so that it fits the smallest Cloud PC ({DEVICE_IMAGES})",
            "Build it on a VM with a smaller OS disk.",
        ),
        _fslogix(facts.software),
        _check(
            "Windows 365: joined, enrolled, recovery partition, Start menu",
            facts.looked_inside,
            "The build has looked." if facts.looked_inside else f"No step of the build runs {CHECK_SCRIPT}.",
            f"never joined or enrolled, no recovery partition, at most 3000 Start-menu apps ({DEVICE_IMAGES})",
            f"Add {CHECK_SCRIPT} as the last step under customise: it stops the build where something stands against it.",
        ),
        _trusted_launch(facts),
        *_reachable(facts),
    ]


def _edition(edition: str | None) -> Check:
    words = (edition or "").casefold()
    wrong = next(
        (
            each
            for each in ("multi-session", "multisession", "ltsc", "enterprise n", "education", "server")
            if each in words
        ),
        "",
    )
    good = None if not edition else "enterprise" in words and not wrong
    return _check(
        "Windows 365: edition",
        good,
        f"The image is {edition or 'of an unknown edition'}.",
        f"single-session Windows Enterprise, not multi-session, N or LTSC ({DEVICE_IMAGES})",
        "Give Windows 365 an image set of its own, whose source is a single-session Enterprise image "
        "(publisher microsoftwindowsdesktop, offer windows-ent-cpc): a multi-session image serves Azure Virtual Desktop only.",
    )


def _build(build: str | None, today: date) -> Check:
    number = int(build.partition(".")[0]) if build and build.partition(".")[0].isdigit() else None
    until = SERVICED_UNTIL.get(number) if number is not None else None
    # A build that is younger than this list is not held against it; an older one is.
    newer = number is not None and number > max(SERVICED_UNTIL)
    return _check(
        "Windows 365: supported build",
        None if number is None else newer or (until is not None and today <= until),
        f"The image is build {build or 'unknown'}{f', serviced until {until}' if until else ''}.",
        "a serviced build of Windows Enterprise (Windows 11 Enterprise and Education lifecycle, learn.microsoft.com)",
        "Choose a newer release as the image set's source.",
    )


def _fslogix(software: tuple[str, ...] | None) -> Check:
    found = [name for name in software or () if "fslogix" in name.casefold()]
    return _check(
        "Windows 365: FSLogix",
        None if software is None else not found,
        f"The image has {', '.join(found)}."
        if found
        else "The image has no FSLogix."
        if software is not None
        else "Unknown.",
        f"no FSLogix components ({DEVICE_IMAGES})",
        "Take FSLogix out of the customise steps, and start from an image without it.",
    )


def _trusted_launch(facts: Facts) -> Check:
    stuck = facts.source == "managed_image" and facts.security_type == "TrustedLaunch"
    return _check(
        "Windows 365: source",
        not stuck,
        f"The source is a {'managed image' if facts.source == 'managed_image' else 'gallery version'}"
        f"{' of a Trusted Launch definition' if facts.security_type == 'TrustedLaunch' else ''}.",
        "a gallery version (public preview), or a managed image, which a Trusted Launch VM cannot make",
        "Write source: gallery, or build.security_type: Standard with an image definition of the same.",
    )


def _reachable(facts: Facts) -> list[Check]:
    if facts.reachable is None:
        return []
    return [
        _check(
            "Windows 365: source in reach",
            facts.reachable,
            "Windows 365 sees the source image." if facts.reachable else "Windows 365 does not see the source image.",
            f"the subscription can be read by the service ({DEVICE_IMAGES})",
            "Give the enterprise application Windows 365 (0af06dc6-e4b5-4f28-818e-e78e62d137a5) the role Reader on the subscription.",
        )
    ]


def _check(name: str, good: bool | None, measured: str, threshold: str, remedy: str) -> Check:
    verdict: Literal["pass", "fail", "unknown"] = "unknown" if good is None else "pass" if good else "fail"
    return Check(name=name, verdict=verdict, measured=measured, threshold=threshold, remedy="" if good else remedy)
