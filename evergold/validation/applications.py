"""Whether what people work with is there and starts: software, the smoke script, profiles.

All of it is asked inside the host, by scripts of guest/. They read and start things, and leave nothing behind; their run commands are
removed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from evergold.azure import Azure
from evergold.azure.compute import ScriptResult
from evergold.config.models import ImageSet
from evergold.images.build import read_manifest
from evergold.images.guest import Machine, Step, answer_in, command_of, problem_of
from evergold.images.manifest import Manifest, as_numbers
from evergold.validation.looking import failed, listed, passed, unknown, warned
from evergold.validation.subject import Subject
from evergold.validation.verdicts import Check

SOFTWARE = "software"
SMOKE = "applications start"
FSLOGIX = "FSLogix profiles"
SMOKE_SCRIPT = "guest/smoke.ps1"
FSLOGIX_SCRIPT = "guest/check-fslogix.ps1"


def machine_of(image_set: ImageSet, subject: Subject) -> Machine:
    """The subject as a machine to run scripts in."""
    return Machine(subject.pool.hosts.resource_group, subject.host, image_set.location)


async def check_software(azure: Azure, image_set: ImageSet, subject: Subject) -> Check:
    """Every program of the image's manifest is on the host, in that version or, where it updates itself, a higher one."""
    expected, threshold = subject.manifest, "every program of the image, in its version or a higher one"
    if expected is None or expected.software_left_out:
        reason = "The image version has no list of software." if expected is None else "The list was too long to keep."
        return warned(SOFTWARE, reason, threshold, "Compare the software by hand.")
    machine = machine_of(image_set, subject)
    actual = await read_manifest(azure, machine, {})
    await _forget_pages(azure, machine)
    return judge_software(expected, actual, subject.host)


def judge_software(expected: Manifest, actual: Manifest, host: str) -> Check:
    """The verdict over what should be there and what is."""
    threshold = "every program of the image, in its version or a higher one"
    missing = [name for name in expected.software if name not in actual.software]
    lower = [
        f"{name} {actual.software[name]} (not {version})"
        for name, version in expected.software.items()
        if name in actual.software and as_numbers(actual.software[name]) < as_numbers(version)
    ]
    higher = [n for n, v in expected.software.items() if as_numbers(actual.software.get(n, "")) > as_numbers(v)]
    remedy = "Look at the host: did a program remove or replace them at the first start, or a policy?"
    if missing or lower:
        told = [*(f"{name} is missing" for name in sorted(missing)), *sorted(lower)]
        return failed(SOFTWARE, f"{host}: {listed(told)}.", threshold, remedy, [*missing, *lower])
    updated = f"; {len(higher)} have updated themselves" if higher else ""
    return passed(SOFTWARE, f"All {len(expected.software)} programs are there{updated}.", threshold)


async def check_smoke(azure: Azure, image_set: ImageSet, subject: Subject) -> Check:
    """The programs start without an error: guest/smoke.ps1 starts each of them on the host, and says so."""
    programs = ",".join(image_set.checks.programs)
    threshold = f"{programs.replace(',', ', ')} start, those that are there"
    return await _ask(azure, image_set, subject, SMOKE, SMOKE_SCRIPT, threshold, {"Programs": programs})


async def check_fslogix(azure: Azure, image_set: ImageSet, subject: Subject) -> Check:
    """FSLogix is on, its driver runs, and every profile share can be reached."""
    return await _ask(azure, image_set, subject, FSLOGIX, FSLOGIX_SCRIPT, "on, running, shares can be reached")


async def _ask(
    azure: Azure,
    image_set: ImageSet,
    subject: Subject,
    name: str,
    script: str,
    threshold: str,
    parameters: Mapping[str, str] = MappingProxyType({}),
) -> Check:
    limit = image_set.checks.script_timeout_minutes
    step = Step(f"check-{name.lower().replace(' ', '-')}", script, parameters, timeout_minutes=limit)
    result = await run_and_forget(azure, machine_of(image_set, subject), step)
    return judge_answer(result, name, script, threshold)


def judge_answer(result: ScriptResult, name: str, script: str, threshold: str) -> Check:
    """The verdict over what a script of guest/ answered: "ok" and "error", and, where it has any, "warning" and "measured"."""
    remedy = f"Look at it on the host; the script is {script}."
    facts = answer_in(result.output)
    if result.exit_code is None or not facts:
        return unknown(name, f"{script} gave no answer: {problem_of(result, facts)}", threshold, remedy)
    if not result.succeeded or not facts.get("ok", True):
        problem = problem_of(result, facts)
        return failed(name, problem, threshold, remedy, [problem])
    if facts.get("warning"):
        return warned(name, str(facts["warning"]), threshold, remedy)
    return passed(name, str(facts.get("measured") or "As it should be."), threshold)


async def run_and_forget(azure: Azure, machine: Machine, step: Step) -> ScriptResult:
    """How a script ended that was run now, however it ended; its run command is gone again."""
    group, name = machine.resource_group, machine.name
    await azure.compute.delete_script(group, name, step.name)
    try:
        return await azure.compute.run_script(group, name, command_of(machine, step))
    finally:
        await azure.compute.delete_script(group, name, step.name)


async def _forget_pages(azure: Azure, machine: Machine) -> None:
    """No run command of a manifest's pages is left."""
    group, number = machine.resource_group, 1
    while await azure.compute.get_script_result(group, machine.name, f"manifest-{number}") is not None:
        await azure.compute.delete_script(group, machine.name, f"manifest-{number}")
        number += 1
