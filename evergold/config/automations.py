"""Automations and the channels by which people are told, as validated, frozen data. `evergold.automations` brings them to Prefect."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from evergold.config.base import Part, problem
from evergold.config.models import Name, VariableName


class Channel(Part):
    """Where people are told."""

    name: Name
    kind: Literal["teams", "slack", "webhook", "smtp", "sendgrid"]
    secret_variable: VariableName = Field(
        description="Environment variable that holds the webhook's address, the mail server's with user and password, or SendGrid's key."
    )
    sender: str = Field(default="", description="For e-mail (smtp, sendgrid): the sender's address.")
    to: tuple[str, ...] = Field(default=(), description="For e-mail (smtp, sendgrid): who gets it.")

    @property
    def is_email(self) -> bool:
        """Whether it delivers e-mail."""
        return self.kind in ("smtp", "sendgrid")

    @model_validator(mode="after")
    def _email_has_addresses(self) -> Self:
        if self.is_email and not (self.sender and self.to):
            raise problem(
                f"is {self.kind}, and sender or to is missing", "Add both, or choose another kind.", field="kind"
            )
        return self


class Channels(Part):
    """The file deployments/automations/channels.yaml."""

    channels: tuple[Channel, ...]


class Automation(Part):
    """One file: when something happens, tell people, or do something."""

    name: str = Field(min_length=1, description='Shown in Prefect behind "Evergold: ".')
    description: str
    trigger: dict[str, Any] = Field(description="In Prefect's words: docs.prefect.io, Automations.")
    title: str = Field(
        default="", description="What people are told first; Prefect fills in {{ flow_run.name }} and the like."
    )
    text: str = Field(default="", description="What they are told then. A link to the run is added.")
    actions: tuple[dict[str, Any], ...] = Field(default=(), description="What Prefect does, in its words.")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.title and not self.actions:
            raise problem(
                "is missing, and there are no actions", "Say what people are told, or what is done.", field="title"
            )
        return self
