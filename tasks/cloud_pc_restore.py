"""Single Cloud PCs put back to before their reprovision, in the Prefect UI: what would be lost, an approval, and what became of each."""

import asyncio
import hashlib
import logging
from typing import Literal

from prefect import task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.input import RunInput
from prefect.runtime import flow_run as this_run
from pydantic import Field

from evergold.azure import Azure, AzureFailure
from evergold.cloudpc import lease
from evergold.cloudpc.images import settings_of
from evergold.cloudpc.observe import first_part
from evergold.cloudpc.policies import policies_of
from evergold.cloudpc.restore import Restored, ensure_restored, foreseen
from evergold.config.models import ImageSet
from tasks.approval import Question, fill_in, objection_to_name

log = logging.getLogger("evergold.cloudpc")


class RestoreForm(RunInput):
    """Decides whether Cloud PCs are put back to their restore points."""

    decision: Literal["approve", "reject"] = Field(
        title="Decision",
        description="approve: put each of these back to its restore point. reject: none is touched.",
    )
    name: str = Field(title="Your name", min_length=2, max_length=100, description="It is kept with the run.")
    reason: str = Field(default="", title="Reason", max_length=200, description="Needed to reject.")


def users_in(text: str) -> list[str]:
    """The users in a list with commas, each once. Raises ValueError where it names nobody: an empty list never means everybody."""
    users = list(dict.fromkeys(user for each in text.split(",") if (user := each.strip().casefold())))
    if not users:
        raise ValueError(
            f"restore is {text!r} and names nobody. Nothing was changed. Write it as ada@contoso.com, bob@contoso.com."
        )
    return users


async def decide(azure: Azure, image_set: ImageSet, users: list[str], requested_by: str) -> bool:
    """Whether a person approves it. To be called from the flow itself: it suspends the run. An answer is kept with the run."""
    fates = await asyncio.gather(*(_foreseen(azure, image_set, user) for user in users))
    question = Question(digest_of(users), describe(image_set, fates), image_set.approval, requested_by)
    log.info("Waiting for an approval to restore the Cloud PCs of %s", ", ".join(users))
    form, given_from = await fill_in(RestoreForm, question, lambda form: objection_to(form, question), "restore-")
    log.info("%s: %s (%s) %s", form.name.strip(), form.decision, given_from, form.reason.strip())
    return form.decision == "approve"


def objection_to(form: RestoreForm, question: Question) -> str | None:
    """Why an answer cannot count, in words for the person who gave it; None when it can."""
    to_name = objection_to_name(form.name, form.decision, question)
    if to_name is not None or form.decision == "approve" or form.reason.strip():
        return to_name
    return "to reject, please give the reason."


def digest_of(users: list[str]) -> str:
    """Names what is decided about: the same people are not asked about twice in one run."""
    return hashlib.sha256("\n".join(["restore", *sorted(users)]).encode()).hexdigest()


def describe(image_set: ImageSet, fates: list[tuple[str, str]]) -> str:
    """What an approval does to whom, as Markdown."""
    rows = "\n".join(f"| {user} | {words} |" for user, words in fates)
    return (
        f"## {image_set.name}: put these Cloud PCs back to before their reprovision?\n\n"
        "**Whatever a user did on the Cloud PC's disk since then is lost.** What is in OneDrive stays. No policy is changed, and nobody "
        f"else is touched.\n\n| user | what happens |\n| --- | --- |\n{rows}"
    )


async def _foreseen(azure: Azure, image_set: ImageSet, user: str) -> tuple[str, str]:
    try:
        return user, await foreseen(azure, image_set, user)
    except AzureFailure as failure:
        return user, f"Nothing: {failure.message}"


@task(name="restore Cloud PCs", cache_policy=NO_CACHE)
async def restore(azure: Azure, image_set: ImageSet, users: list[str]) -> None:
    """Each of these users has the disk of before the reprovision again, or the artifact says why not. Raises RestoreError."""
    policies = await policies_of(azure, settings_of(image_set).provisioning_policies)
    await lease.refuse_held(azure, image_set, [first_part(policy) for policy in policies], str(this_run.id))
    ended = await asyncio.gather(*(ensure_restored(azure, image_set, user) for user in users), return_exceptions=True)
    told = []
    for user, each in zip(users, ended, strict=True):
        if isinstance(each, BaseException) and not isinstance(each, AzureFailure):
            raise each
        told.append(each if isinstance(each, Restored) else Restored(user, "left", str(each)))
    for restored in told:
        log.info("%s: %s. %s", restored.user, restored.outcome, restored.words)
    await acreate_markdown_artifact(
        "\n\n".join(f"## {each.user}: {each.outcome}\n\n{each.words}" for each in told),
        key=f"restored-{image_set.name}",
        description="Cloud PCs put back to their restore points",
    )
    others = [each for each in told if each.outcome != "restored"]
    if others:
        listed = "\n".join(f"- {each.user}: {each.words}" for each in others)
        raise RestoreError(f"{len(others)} of {len(told)} Cloud PCs were not restored. The others are done.\n{listed}")


class RestoreError(Exception):
    """Some Cloud PCs were not restored; says which, why, and what to do."""
