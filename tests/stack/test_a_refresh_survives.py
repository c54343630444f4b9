"""What is left of a refresh that was killed in the build, while it was suspended, and in the rollout, and started again each time."""

import json
import shutil

import pytest

from tests.contracts import checkers
from tests.stack.killed_refresh import KilledRefresh

pytestmark = pytest.mark.timeout(600)


def test_it_was_killed_in_build_suspension_and_rollout(killed_refresh: KilledRefresh) -> None:
    assert killed_refresh.killed == ["refresh office", "worker", "roll out office 1.2.0 to hp-pilot"]


def test_it_ends_completed(killed_refresh: KilledRefresh) -> None:
    assert killed_refresh.final_state.startswith("Completed"), killed_refresh.final_state


def test_every_host_is_on_the_new_version_once(killed_refresh: KilledRefresh) -> None:
    assert "6 of 6 hosts on the new version" in killed_refresh.report
    assert [len(in_pool(killed_refresh, pool)) for pool in ("hp-pilot", "hp-office")] == [3, 3]
    assert set(killed_refresh.truth["machines"].values()) == {1}, "no machine was made twice"


def test_the_report_is_a_page_too_with_the_approved_evidence_and_a_lane_for_every_host(
    killed_refresh: KilledRefresh,
) -> None:
    (page,) = (killed_refresh.stack.state / "reports").glob("*.html")
    text = page.read_text()
    assert "6 of 6 hosts on 1.2.0" in text
    assert "critical and security updates" in text, "the evidence is kept"
    document = json.loads(page.with_suffix(".json").read_text())["report"]
    for pool in document["pools"]:
        assert len(pool["lanes"]) == 6
        assert len(pool["samples"]) > 3, "what was seen before the process was killed, and after"


def test_nobody_was_harmed(killed_refresh: KilledRefresh) -> None:
    assert killed_refresh.truth["violations"] == []


def test_the_crashed_rollout_was_started_again_by_the_refresh(killed_refresh: KilledRefresh) -> None:
    assert killed_refresh.tries_of_rollouts == {"hp-pilot": 2, "hp-office": 1}


def test_no_build_machine_is_left(killed_refresh: KilledRefresh) -> None:
    assert any(name.startswith("evg-") for name in killed_refresh.truth["machines"]), "one was made"
    assert killed_refresh.state["machines"] == []


def test_there_is_one_new_version_and_everyone_gets_it(killed_refresh: KilledRefresh) -> None:
    versions = [v for image in killed_refresh.state["images"] if image["name"] == "office" for v in image["versions"]]
    assert sorted(version["version"] for version in versions) == ["1.0.0", "1.1.0", "1.2.0"]


def test_the_question_shows_what_was_found(killed_refresh: KilledRefresh) -> None:
    for text in (
        "office 1.2.0",
        "AVD agent",
        "heartbeat in Log Analytics",
        "critical and security updates",
        "hp-office",
    ):
        assert text in killed_refresh.question


def test_a_chat_is_told_of_the_crash_of_the_question_and_of_the_end(killed_refresh: KilledRefresh) -> None:
    titles = [message["title"] for message in killed_refresh.told.messages]
    for title in ("refresh office crashed", "refresh office waits for you", "refresh office is finished"):
        assert title in titles
    assert "refresh office failed" not in titles


def test_what_a_chat_is_told_links_to_the_run(killed_refresh: KilledRefresh) -> None:
    waiting = next(m for m in killed_refresh.told.messages if "waits for you" in m["title"])
    assert waiting["url"].startswith(killed_refresh.stack.prefect_url)
    assert waiting["url"].endswith(f"/{killed_refresh.run}")


def test_the_same_comes_by_mail(killed_refresh: KilledRefresh) -> None:
    mails = {str(mail["subject"]): mail.get_content() for mail in killed_refresh.mailbox.messages}
    assert {"refresh office crashed", "refresh office is finished"} <= set(mails)
    assert f"/{killed_refresh.run}" in mails["refresh office waits for you"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here: install Debian's package chromium")
def test_a_person_approved_it_in_the_browser(killed_refresh: KilledRefresh) -> None:
    assert "Approved by Ada" in killed_refresh.report


@pytest.mark.skipif(bool(checkers.why_not_python()), reason=checkers.why_not_python())
def test_every_exchange_with_azure_holds_to_the_published_contracts(killed_refresh: KilledRefresh) -> None:
    found = checkers.check_bodies(killed_refresh.stack.journal_path)
    assert found.violations == 0, found.output
    assert found.covered >= 0.8 * found.seen


@pytest.mark.skipif(bool(checkers.why_not_oav()), reason=checkers.why_not_oav())
def test_every_exchange_passes_microsofts_own_validator(killed_refresh: KilledRefresh) -> None:
    found = checkers.check_with_oav(killed_refresh.stack.journal_path)
    assert found.violations == 0, found.output


def in_pool(refresh: KilledRefresh, pool: str) -> list[str]:
    """The names of the hosts in the pool that serve on the new version."""
    hosts = [host for each in refresh.state["pools"] if each["name"] == pool for host in each["hosts"]]
    return [host["name"] for host in hosts if host["phase"] == "serving" and host["version"] == "1.2.0"]
