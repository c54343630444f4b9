"""Automations: every file is one that Prefect knows, and what people are sent is JSON whatever a run has said."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect.blocks.abstract import NotificationBlock
from prefect.events.schemas.automations import AutomationCore
from prefect.server.utilities.user_templates import render_user_template, validate_user_template

from evergold.automations import AutomationError, block_of, payload
from evergold.config.automations import Automation, Channel
from evergold.config.load import ConfigError, load_automations, load_channels
from tests.support.mail import mail_server

NASTY = "RolloutHalted: \"new\" hosts\nfailed: \\ {{ braces }} <b> and 'quotes'"


@pytest.mark.parametrize("automation", load_automations(), ids=lambda each: each.name)
def test_prefect_knows_each_automation(automation: Automation) -> None:
    plain = automation.model_dump()
    actions = plain.pop("actions") or [{"type": "do-nothing"}]
    del plain["title"], plain["text"]
    AutomationCore.model_validate({**plain, "actions": list(actions)})


@pytest.mark.parametrize("kind", ["slack", "teams", "webhook"])
@pytest.mark.parametrize("automation", [a for a in load_automations() if a.title], ids=lambda each: each.name)
async def test_what_is_sent_is_json_whatever_the_run_has_said(kind: str, automation: Automation) -> None:
    template = payload(kind, automation.title, automation.text)
    validate_user_template(template)
    run = SimpleNamespace(name="refresh office", id="1", state=SimpleNamespace(message=NASTY, name="Failed"))
    sent = json.loads(await render_user_template(template.replace("|ui_url", "|string"), {"flow_run": run}))
    assert "refresh office" in json.dumps(sent)
    if automation.text == "{{ flow_run.state.message }}":
        assert json.dumps(NASTY)[1:-1] in json.dumps(sent)


def test_a_rollout_that_halted_by_itself_is_told_apart_from_one_that_failed() -> None:
    stopped = next(each for each in load_automations() if each.name == "stopped")
    assert "halted by itself" in stopped.title


def test_the_channels_shipped_can_be_read() -> None:
    assert {channel.kind for channel in load_channels()} == {"teams", "slack", "webhook"}


def test_a_file_that_is_no_automation_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "automations").mkdir()
    (tmp_path / "automations" / "broken.yaml").write_text("name: x\nwhen: never\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml:2: when: is not a key"):
        load_automations(tmp_path)


def test_a_channel_by_mail_needs_addresses(tmp_path: Path) -> None:
    (tmp_path / "automations").mkdir()
    text = "channels:\n  - {name: mail, kind: smtp, secret_variable: KEY}\n"
    (tmp_path / "automations" / "channels.yaml").write_text(text)
    with pytest.raises(ConfigError, match="sender or to is missing"):
        load_channels(tmp_path)


MAIL = Channel(
    name="mail",
    kind="smtp",
    secret_variable="X",
    sender="evergold@example.com",
    to=("ada@example.com", "al+x@example.com"),
)


async def test_a_mail_server_is_given_a_message_for_each_address() -> None:
    with mail_server() as mailbox:
        block = block_of(MAIL, mailbox.url)
        assert isinstance(block, NotificationBlock)
        with block.raise_on_failure():
            await block.notify(subject="refresh office waits for you", body=NASTY)
    assert [str(message["to"]) for message in mailbox.messages] == ["ada@example.com", "al+x@example.com"]
    for message in mailbox.messages:
        assert (message["from"], message["subject"]) == ("evergold@example.com", "refresh office waits for you")
        assert message.get_content().replace("\r\n", "\n").strip() == NASTY


def test_a_mail_server_that_is_none_is_refused_and_not_repeated() -> None:
    with pytest.raises(AutomationError, match="X holds no mail server, and the channel mail needs one") as refused:
        block_of(MAIL, "smtp.example.com s3cret")
    assert "s3cret" not in str(refused.value)
