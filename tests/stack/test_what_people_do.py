"""What people do with runs on real parts, side by side: they answer, are asked to work by hand, cancel; and what comes of doing nothing."""

from datetime import timedelta

import pytest

from tests.stack.conftest import Afterwards

pytestmark = pytest.mark.timeout(600)


def test_an_answer_that_does_not_count_brings_the_form_back_and_the_command_line_answers_it(
    afterwards: Afterwards,
) -> None:
    noted = afterwards.answered()
    assert (noted["approved"], noted["name"], noted["in_days"]) == (True, "Ada", 3)
    assert noted["from"].startswith("evergold approve, by ")


def test_a_build_waits_for_a_person_tells_them_where_to_go_and_notes_what_they_did(afterwards: Afterwards) -> None:
    asked = afterwards.asked_by_hand()
    assert "Install the printer driver." in asked
    assert "Bastion" in asked


def test_a_cancelled_roll_back_ends_within_a_minute_and_opens_what_it_has_drained(afterwards: Afterwards) -> None:
    how, took = afterwards.cancelled()
    assert how == "Cancelled"
    assert took < timedelta(minutes=1)


def test_a_run_that_falls_silent_is_crashed_one_that_nobody_answers_is_told_of_again_and_ends_when_its_time_is_over(
    afterwards: Afterwards,
) -> None:
    told = ["the late one failed", "the patient one still waits for you", "the silent one crashed"]
    assert sorted(afterwards.told_of_silence()) == told


def test_doctor_shows_what_preflight_showed(afterwards: Afterwards) -> None:
    doctor, preflight = afterwards.looked_at_twice()
    assert len(preflight) >= 15
    assert doctor == preflight
