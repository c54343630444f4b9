"""Deployments folders to load from."""

import shutil
from pathlib import Path

import pytest
import trustme

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def deployments_without_ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped deployments, with a simulator that was never started."""
    shutil.copytree(REPOSITORY / "deployments", tmp_path / "deployments")
    monkeypatch.setenv("EVERGOLD_DEPLOYMENTS", str(tmp_path / "deployments"))
    monkeypatch.setenv("EVERGOLD_REPOSITORY", str(REPOSITORY))


@pytest.fixture
def deployments_with_ca(tmp_path: Path, deployments_without_ca: None) -> None:
    """The same, with a CA file where the environment looks for it."""
    ca_file = tmp_path / ".evergold" / "simulator" / "ca.pem"
    ca_file.parent.mkdir(parents=True)
    trustme.CA().cert_pem.write_to_path(str(ca_file))
