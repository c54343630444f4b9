"""Deployments folders to load from; and the same stories from hypothesis whatever else runs in the process."""

import shutil
from pathlib import Path

import pytest
import trustme
from hypothesis.internal.conjecture import providers

REPOSITORY = Path(__file__).resolve().parents[2]

# Hypothesis (6.170) draws numbers from the constants of whatever modules are loaded, even where it is told to be deterministic: which
# test files share a worker would decide which stories are told. There is no setting for it.
providers._get_local_constants = lambda: providers._local_constants


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
