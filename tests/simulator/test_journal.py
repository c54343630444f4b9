"""What the journal keeps can be shown to anybody: secrets are masked before they reach it, and the contract still holds."""

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.kernel.journal import MASK, masked
from tests.contracts.checkers import check_bodies, why_not_python
from tests.simulator.test_compute import order, put, running, vm_path
from tests.simulator.test_desktop import call
from tests.support.caller import Caller

PASSWORD, PARAMETER, SETTING, RUN_AS = "Correct1Horse", "hush-parameter", "hush-setting", "hush-run-as"


def with_secrets_sent(world: Caller) -> list[str]:
    """Sends every kind of secret that Azure takes and has the broker hand out a token; returns them all."""
    running(world)
    script = {
        "source": {"script": "exit 0"},
        "protectedParameters": [{"name": "RegistrationToken", "value": PARAMETER}],
        "runAsUser": "keeper",
        "runAsPassword": RUN_AS,
    }
    world.send("PUT", vm_path(world, rest="/runCommands/c1"), {"location": "westeurope", "properties": script})
    extension = {
        "publisher": "Microsoft.Azure.ActiveDirectory",
        "type": "AADLoginForWindows",
        "typeHandlerVersion": "2.0",
        "protectedSettings": {"deep": [{"key": SETTING}]},
    }
    world.send("PUT", vm_path(world, rest="/extensions/e1"), {"location": "westeurope", "properties": extension})
    expires = "2026-11-13T16:30:00Z"
    info = {"expirationTime": expires, "registrationTokenOperation": "Update"}
    call(world, "PATCH", body={"properties": {"registrationInfo": info}})
    token = call(world, "POST", "/retrieveRegistrationToken").json()["token"]
    call(world, "POST", "/listRegistrationTokens")
    return [PASSWORD, PARAMETER, SETTING, RUN_AS, token]


def test_no_secret_reaches_the_journal_or_the_controls() -> None:
    world = Caller()
    secrets = with_secrets_sent(world)
    kept = json.dumps(list(world.cloud.journal.latest), default=str)
    shown = "".join(world.send("GET", f"/_sim/{each}").text for each in ("journal", "state", "scenario", "truth"))
    assert all(secrets)
    assert [secret for secret in secrets if secret in kept + shown] == []


def test_no_secret_reaches_the_file_either(tmp_path: Path) -> None:
    world = Caller()
    world.cloud.journal.path = tmp_path / "traffic.jsonl"
    secrets = with_secrets_sent(world)
    written = world.cloud.journal.path.read_text()
    assert [secret for secret in secrets if secret in written] == []


def test_what_azure_is_sent_and_answers_is_not_changed_by_it() -> None:
    world = Caller()
    body = order(world)
    put(world)
    assert body["properties"]["osProfile"]["adminPassword"] == PASSWORD
    with_secrets_sent(world)
    assert MASK not in call(world, "POST", "/retrieveRegistrationToken").text


@pytest.mark.skipif(bool(why_not_python()), reason=why_not_python())
def test_masked_traffic_still_holds_to_the_contract(tmp_path: Path) -> None:
    world = Caller()
    world.cloud.journal.path = tmp_path / "traffic.jsonl"
    with_secrets_sent(world)
    found = check_bodies(world.cloud.journal.path)
    assert (found.violations, found.covered > 0) == (0, True), found.output


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"adminPassword": "a"}, {"adminPassword": MASK}),
        ({"a": [{"b": {"runAsPassword": "a"}}]}, {"a": [{"b": {"runAsPassword": MASK}}]}),
        ({"client_secret": "a", "access_token": "b"}, {"client_secret": MASK, "access_token": MASK}),
        ({"registrationInfo": {"token": None}}, {"registrationInfo": {"token": None}}),
        ({"registrationInfo": {"token": "a"}}, {"registrationInfo": {"token": MASK}}),
        ({"registrationTokenOperation": "Update"}, {"registrationTokenOperation": "Update"}),
        ({"ssoSecretType": "SharedKey"}, {"ssoSecretType": "SharedKey"}),
        ({"passwordProfile": {"password": "a", "force": True}}, {"passwordProfile": {"password": MASK, "force": True}}),
        ({"protectedSettings": {"a": 1, "b": ["c"]}}, {"protectedSettings": {"a": 1, "b": [MASK]}}),
        (
            {"protectedParameters": [{"name": "Token", "value": "a"}]},
            {"protectedParameters": [{"name": "Token", "value": MASK}]},
        ),
        (["a", {"token": "b"}], ["a", {"token": MASK}]),
    ],
)
def test_secrets_are_told_by_their_names_however_deep(body: Any, shown: Any) -> None:
    assert masked(body) == shown
