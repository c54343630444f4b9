"""An image set's own checks: a PowerShell script that runs on the host, or a KQL query about it.

A script passes when it exits with 0; what it prints last is what the verdict shows. A query passes when it finds no row, or finds one,
as the image set says.
"""

from __future__ import annotations

from datetime import timedelta

from evergold.azure import Azure
from evergold.azure.ids import host_pool_id, vm_id
from evergold.config.load import script_file
from evergold.config.models import ImageSet, OwnCheck, OwnQuery, OwnScript
from evergold.images.guest import Step, answer_in, problem_of
from evergold.validation.applications import machine_of, run_and_forget
from evergold.validation.arriving import PartialAnswerError, rows_of
from evergold.validation.looking import failed, passed, unknown, warned
from evergold.validation.queries import Value, filled, parameters_of
from evergold.validation.subject import Subject
from evergold.validation.verdicts import Check

SHOWN = 200  # characters of what a check of somebody else's found


async def check_own(azure: Azure, image_set: ImageSet, subject: Subject, own: OwnCheck) -> Check:
    """The verdict of one of the image set's own checks."""
    if isinstance(own, OwnScript):
        return await _run_script(azure, image_set, subject, own)
    return await _run_query(azure, subject, own)


async def _run_script(azure: Azure, image_set: ImageSet, subject: Subject, own: OwnScript) -> Check:
    threshold = f"{own.script} exits with 0"
    step = Step(f"check-{own.name}", own.script, own.parameters, timeout_minutes=own.timeout_minutes)
    result = await run_and_forget(azure, machine_of(image_set, subject), step)
    facts = answer_in(result.output)
    said = str(facts.get("measured") or facts.get("error") or result.output.strip()[-SHOWN:])
    if result.exit_code is None or result.execution_state in ("TimedOut", "Canceled"):
        return unknown(own.name, problem_of(result, facts), threshold, own.remedy)
    if not result.succeeded:
        measured = f"Exit code {result.exit_code}. {said}".strip()
        return _bad(own, measured, threshold, (f"exit code {result.exit_code}",))
    return passed(own.name, said or "It exited with 0.", threshold)


async def _run_query(azure: Azure, subject: Subject, own: OwnQuery) -> Check:
    within = timedelta(minutes=own.within_minutes)
    threshold = f"{own.query} finds {own.passes_with}, within {own.within_minutes} minutes"
    text = script_file(own.query).read_text(encoding="utf-8")
    subscription = str(azure.environment.subscription_id)
    known: dict[str, Value] = {
        "machine": vm_id(subscription, subject.pool.hosts.resource_group, subject.host),
        "pool": host_pool_id(subscription, subject.pool.resource_group, subject.pool.name),
        "host": subject.host,
        "within": within,
        **own.parameters,
    }
    values = {name: value for name, value in known.items() if name in parameters_of(text)}
    try:
        rows = await rows_of(azure, filled(text, own.query, values), within, f"run {own.query}")
    except PartialAnswerError as problem:
        return unknown(own.name, str(problem), threshold, "Start the run again.")
    first = ", ".join(f"{column}: {value}" for column, value in rows[0].items())[:SHOWN] if rows else ""
    measured = f"{len(rows)} rows; the first: {first}." if rows else "No rows."
    if bool(rows) != (own.passes_with == "rows"):
        return _bad(own, measured, threshold, ())
    return passed(own.name, measured, threshold)


def _bad(own: OwnCheck, measured: str, threshold: str, facts: tuple[str, ...]) -> Check:
    """As bad as the image set says."""
    verdict = warned if own.otherwise == "warn" else failed
    return verdict(own.name, measured, threshold, own.remedy, facts)
