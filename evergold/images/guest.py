"""Running the scripts of guest/ in a machine, and reading what they answer.

A script's proof is its exit code, never the state of the run command that carried it. Its answer is the last line of its output, one
JSON object; scripts of other people may answer nothing.
"""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import SecretStr

from evergold.azure import Azure, AzureFailure
from evergold.azure.compute import Script, ScriptResult
from evergold.config.load import script_file

Facts = Mapping[str, Any]

# The same account on build machines and on hosts: where an image brings it along, a new machine gives it a new password.
ADMINISTRATOR = "evergold"
PASSWORD_LENGTH = 40
LOG_LENGTH = 4000
SCRIPT_NOT_STARTED = "RunCommandFailed"  # the code of an AzureFailure: the script never ran, so it has no result
RUN_AGAIN = "Look at the log, remove the cause, and start the run again: it goes on from this step."


class StepFailure(Exception):  # noqa: N818  (it is what happened, and reads so in `except StepFailure as failure`)
    """A step inside a machine did not end well.

    Attributes:
        step: which one, as in the script's first line.
        machine: the name of the VM.
        problem: what went wrong, in words.
        remedy: what to do next.
        log: the end of the log, as much as there is.
        facts: the script's answer, where it gave one.

    """

    def __init__(
        self, step: str, machine: str, problem: str, remedy: str, log: str = "", facts: Facts | None = None
    ) -> None:
        super().__init__(step, machine, problem, remedy, log, facts)
        self.step = step
        self.machine = machine
        self.problem = problem
        self.remedy = remedy
        self.log = log
        self.facts: Facts = facts or {}

    def to_markdown(self) -> str:
        """The failure as a page of its own: what went wrong, what to do, and the end of the log as it is."""
        fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall(r"`{3,}", self.log))])
        log = f"\n## The end of its log\n\n{fence}text\n{self.log}\n{fence}\n" if self.log else ""
        told = f"{self.problem}\n\n**What to do:** {self.remedy} The machine is left as it is."
        return f"# {self.step} failed on {self.machine}\n\n{told}\n{log}"

    def __str__(self) -> str:
        log = f"\nThe end of its log:\n{self.log}" if self.log else ""
        return f"{self.step} failed on {self.machine}. {self.problem} What to do: {self.remedy}{log}"


@dataclass(frozen=True)
class Machine:
    """A VM to run scripts in."""

    resource_group: str
    name: str
    location: str


@dataclass(frozen=True)
class Step:
    """A script to be run in a machine once.

    Attributes:
        name: of the run command, and of the step in messages.
        script: the script's path, from the top of the repository.
        source: its text, where that is not what the file says; None: as in the file.
        run_as: account and password of a local administrator; None for SYSTEM.
        exit_codes: those that mean success.

    """

    name: str
    script: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    protected: Mapping[str, SecretStr] = field(default_factory=dict)
    run_as: tuple[str, SecretStr] | None = None
    timeout_minutes: int = 60
    tags: Mapping[str, str] = field(default_factory=dict)
    exit_codes: tuple[int, ...] = (0,)
    source: str | None = None


async def ensure_step(azure: Azure, machine: Machine, step: Step) -> Facts:
    """Have the script run to a good end, and return its answer. Raises StepFailure if it ends badly.

    One that has run or runs is not sent again; one that an earlier try left behind as failed is removed and sent anew.
    """
    if await standing(azure, machine, step.name, step.exit_codes) == "failed":
        await azure.compute.delete_script(machine.resource_group, machine.name, step.name)
    result = await azure.compute.run_script(machine.resource_group, machine.name, command_of(machine, step))
    return facts_or_failure(machine, step.name, result, step.exit_codes)


async def ensure_fresh_step(azure: Azure, machine: Machine, step: Step) -> Facts:
    """Run the script now, whatever became of it before, and return its answer. Raises StepFailure if it ends badly."""
    await azure.compute.delete_script(machine.resource_group, machine.name, step.name)
    result = await azure.compute.run_script(machine.resource_group, machine.name, command_of(machine, step))
    return facts_or_failure(machine, step.name, result)


async def standing(
    azure: Azure, machine: Machine, name: str, exit_codes: tuple[int, ...] = (0,)
) -> Literal["absent", "counts", "failed"]:
    """What there is of the run command of this name: none; one that runs or has ended well; one that ended badly."""
    try:
        result = await azure.compute.get_script_result(machine.resource_group, machine.name, name)
    except AzureFailure as failure:
        if failure.code == SCRIPT_NOT_STARTED:
            return "failed"
        raise
    if result is None:
        return "absent"
    return "failed" if result.over and not result.ended_with(exit_codes) else "counts"


def command_of(machine: Machine, step: Step) -> Script:
    """The run command that carries a step."""
    return Script(
        name=step.name,
        source=step.source or script_file(step.script).read_text(encoding="utf-8"),
        location=machine.location,
        parameters=step.parameters,
        protected_parameters=step.protected,
        run_as_user=step.run_as[0] if step.run_as else None,
        run_as_password=step.run_as[1] if step.run_as else None,
        timeout_seconds=step.timeout_minutes * 60,
        tags=step.tags,
    )


def facts_or_failure(machine: Machine, step: str, result: ScriptResult, exit_codes: tuple[int, ...] = (0,)) -> Facts:
    """What a script that is over has answered; raises StepFailure if it did not end well."""
    facts = answer_in(result.output)
    # Where the image set calls another code than 0 a success, that counts, whatever the script says.
    if result.ended_with(exit_codes) and (result.exit_code or facts.get("ok", True)):
        return facts
    raise StepFailure(step, machine.name, problem_of(result, facts), RUN_AGAIN, log_of(result, facts), facts)


def answer_in(output: str) -> Facts:
    """The JSON object in the last line of a script's output; empty where there is none."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    try:
        answer = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def problem_of(result: ScriptResult, facts: Facts) -> str:
    """Why a script did not end well, in a sentence."""
    if result.execution_state == "TimedOut":
        return "It was not done in the time it was given, and Azure stopped it."
    if facts.get("error"):
        return str(facts["error"])
    if result.execution_state == "Canceled":
        return "Somebody stopped it."
    return f"Its exit code was {result.exit_code}, its state {result.execution_state}. {result.message}".strip()


def log_of(result: ScriptResult, facts: Facts) -> str:
    """The end of what the script left in the way of logs."""
    tails = [f"{name}.log:\n{facts[name]}" for name in ("setuperr", "setupact") if facts.get(name)]
    streams = [text for text in (result.error, "" if facts else result.output) if text]
    return "\n".join([*tails, *streams])[-LOG_LENGTH:]


def new_password() -> SecretStr:
    """A password that Windows accepts and no shell stumbles over. Kept nowhere: where it is lost, another one is set."""
    characters = string.ascii_letters + string.digits
    while True:
        password = "".join(secrets.choice(characters) for _ in range(PASSWORD_LENGTH))
        kinds = (str.islower, str.isupper, str.isdigit)
        if password[0].isalpha() and all(any(kind(letter) for letter in password) for kind in kinds):
            return SecretStr(password)
