"""Who is told what, and what Prefect does by itself: the files in deployments/automations, brought to the Prefect server.

A file is an automation in Prefect's own words (trigger, actions), or in place of its actions a `title` and a `text`: these go to
every channel of channels.yaml, in the form that each wants. `apply` can be run any number of times: afterwards the server has exactly
these automations of ours (their names begin with "Evergold: "), and those of others are untouched. The secrets of channels come from
environment variables and stand nowhere but in Prefect's encrypted blocks.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from prefect.blocks.core import Block
from prefect.blocks.notifications import SendgridEmail, SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.types import SecretDict
from pydantic import SecretStr, ValidationError

from evergold.config.automations import Automation, Channel
from evergold.config.load import load_automations, load_channels

OURS = "Evergold: "


class AutomationError(Exception):
    """Prefect does not know such a trigger, action or channel; names it, and says what is wrong in it."""


@dataclass(frozen=True)
class Applied:
    """What was brought to the server: names of automations, of the channels they tell, and of channels without a secret."""

    automations: tuple[str, ...]
    channels: tuple[str, ...]
    left_out: tuple[str, ...]


async def apply(root: Path | None = None) -> Applied:
    """Brings channels and automations to the Prefect server. Raises ConfigError or AutomationError before it is changed."""
    automations, channels = load_automations(root), load_channels(root)
    known = [channel for channel in channels if os.environ.get(channel.secret_variable)]
    made = {channel.name: block_of(channel, os.environ[channel.secret_variable]) for channel in known}
    blocks = {name: str(await block.save(f"evergold-{name}", overwrite=True)) for name, block in made.items()}
    wanted = [_core(automation, known, blocks) for automation in automations]
    wanted = [each for each in wanted if each.actions]
    async with get_client() as client:
        present = [each for each in await client.read_automations() if each.name.startswith(OURS)]
        for core in wanted:
            same = [each for each in present if each.name == core.name]
            if same:
                await client.update_automation(same[0].id, core)
            else:
                await client.create_automation(core)
        names = {core.name for core in wanted}
        for stale in present:
            if stale.name not in names:
                await client.delete_automation(stale.id)
    return Applied(
        automations=tuple(core.name.removeprefix(OURS) for core in wanted),
        channels=tuple(channel.name for channel in known),
        left_out=tuple(channel.name for channel in channels if channel not in known),
    )


def payload(kind: str, title: str, text: str) -> str:
    """What a channel of this kind is sent, as a template that Prefect fills in: JSON, whatever the run has said."""
    return "{% set _title %}" + title + "{% endset %}{% set _text %}" + text + "{% endset %}" + _BODIES[kind]


_BODIES = {
    "slack": """{"text": {{ ("*" ~ _title ~ "*\\n" ~ _text ~ "\\n" ~ (flow_run|ui_url))|tojson }}}""",
    # An adaptive card: learn.microsoft.com, "Create incoming webhooks with Workflows for Microsoft Teams".
    "teams": """{"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": {
"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
"body": [{"type": "TextBlock", "weight": "bolder", "wrap": true, "text": {{ _title|tojson }}},
{"type": "TextBlock", "wrap": true, "text": {{ _text|tojson }}}],
"actions": [{"type": "Action.OpenUrl", "title": "Open the run", "url": {{ (flow_run|ui_url)|tojson }}}]}}]}""",
    "webhook": """{"title": {{ _title|tojson }}, "text": {{ _text|tojson }}, "url": {{ (flow_run|ui_url)|tojson }},
"run": {{ (flow_run.id|string)|tojson }}, "state": {{ flow_run.state.name|tojson }}}""",
}


def block_of(channel: Channel, secret: str) -> Block:
    """The block that a channel's messages go through, and that holds its secret. Raises AutomationError where that is no address."""
    if channel.kind == "sendgrid":
        return SendgridEmail(api_key=SecretStr(secret), sender_email=channel.sender, to_emails=list(channel.to))
    if channel.kind == "smtp":
        return _mail(channel, secret)
    headers = SecretDict({"Content-Type": "application/json"})
    return Webhook(method="POST", url=SecretStr(secret), headers=headers)


def _mail(channel: Channel, server: str) -> Block:
    # Prefect has no block for a mail server that its automations can send by. All its notifications go through the library Apprise, and the
    # block for Slack hands it any address: this one is a mail server's (appriseit.com, "Email").
    if server.partition("://")[0] not in ("mailto", "mailtos"):
        raise AutomationError(
            f"{channel.secret_variable} holds no mail server, and the channel {channel.name} needs one. What to do: write it as "
            "mailtos://USER:PASSWORD@mail.example.com:587, or without encryption as mailto://mail.example.com:25."
        )
    addresses = urlencode({"from": channel.sender, "to": ",".join(channel.to), "format": "text"})
    return SlackWebhook(url=SecretStr(f"{server}{'&' if '?' in server else '?'}{addresses}"))


def _core(automation: Automation, channels: Iterable[Channel], blocks: Mapping[str, str]) -> AutomationCore:
    told = [_telling(automation, channel, blocks[channel.name]) for channel in channels if automation.title]
    try:
        return AutomationCore.model_validate(
            {
                "name": OURS + automation.name,
                "description": automation.description,
                "trigger": automation.trigger,
                "actions": [*automation.actions, *told],
            }
        )
    except ValidationError as wrong:
        raise AutomationError(f"The automation {automation.name} is not one that Prefect knows: {wrong}") from wrong


def _telling(automation: Automation, channel: Channel, block: str) -> dict[str, Any]:
    if channel.is_email:
        body = f"{automation.text}\n\n{{{{ flow_run|ui_url }}}}"
        return {"type": "send-notification", "block_document_id": block, "subject": automation.title, "body": body}
    text = payload(channel.kind, automation.title, automation.text)
    return {"type": "call-webhook", "block_document_id": block, "payload": text}
