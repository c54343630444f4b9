"""The command line: what it prints and how it ends when it cannot do what it was asked."""

import pytest
from typer.testing import CliRunner

from evergold.cli import app

runner = CliRunner()


def test_an_unknown_image_set_is_refused_with_the_known_ones() -> None:
    ended = runner.invoke(app, ["doctor", "offic"])
    assert ended.exit_code == 2
    assert 'Did you mean "office"?' in ended.stderr


def test_a_missing_ca_file_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, deployments_without_ca: None
) -> None:
    monkeypatch.setenv("EVERGOLD_CLIENT_SECRET", "anything")
    ended = runner.invoke(app, ["doctor", "office"])
    assert ended.exit_code == 1
    assert "ca.pem is not there" in ended.stderr
    assert "start it: it makes the file" in ended.stderr


def test_a_missing_secret_names_the_variable(monkeypatch: pytest.MonkeyPatch, deployments_with_ca: None) -> None:
    monkeypatch.delenv("EVERGOLD_CLIENT_SECRET", raising=False)
    ended = runner.invoke(app, ["doctor", "office"])
    assert ended.exit_code == 1
    assert "EVERGOLD_CLIENT_SECRET is not set" in ended.stderr
