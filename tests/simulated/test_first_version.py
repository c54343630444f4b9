"""docs/your-image-set.md, followed: its files are read as they stand on the page, and the first one becomes a version."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from evergold import tags
from evergold.config.load import load_image_set
from evergold.images import publish
from evergold.images.boot_test import ensure_boots
from evergold.validation.preflight import check_image_set
from tests.support.builds import begun, left_of_builds, whole_build
from tests.support.simulated import Simulated, simulated

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs/your-image-set.md").read_text()
BLOCKS = [block.partition("```")[0] for block in PAGE.split("```yaml\n")[1:]]
FIRST, OTHERS = BLOCKS[0], BLOCKS[1:]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's first file where it says, with the environments of this repository."""
    folder = tmp_path / "deployments"
    (folder / "image_sets").mkdir(parents=True)
    (folder / "environments").symlink_to(REPOSITORY / "deployments/environments")
    (tmp_path / "guest").symlink_to(REPOSITORY / "guest")
    monkeypatch.setenv("EVERGOLD_DEPLOYMENTS", str(folder))
    monkeypatch.setenv("EVERGOLD_REPOSITORY", str(tmp_path))
    file = folder / "image_sets/tools.yaml"
    file.write_text(FIRST)
    return file


def test_the_first_file_of_the_page_passes_preflight_and_becomes_a_version_that_comes_up(written: Path) -> None:
    async def body(world: Simulated) -> None:
        checks = await check_image_set(world.azure, world.image_set)
        assert [check for check in checks if check.verdict in ("fail", "unknown")] == []
        candidate = await whole_build(world)
        await ensure_boots(world.azure, world.image_set, await begun(world), candidate)
        found = await publish.find_version(world.azure, world.image_set, "1.1.0")
        assert found is not None
        assert (found.state, found.excluded, tags.BOOTED in found.tags) == ("candidate", True, True)
        assert left_of_builds(world) == []

    simulated(body, load_image_set("tools"))


def with_block(block: str) -> dict[str, Any]:
    """The first file with another block of the page in it, where that belongs: lists are steps, keys take the place of others."""
    whole, given = yaml.safe_load(FIRST), yaml.safe_load(block)
    if isinstance(given, list):
        return {**whole, "customise": given}
    if set(given) == {"build"} or set(given) == {"publish"}:
        (key,) = given
        return {**whole, key: {**whole[key], **given[key]}}
    return {**whole, **given}


@pytest.mark.parametrize("block", OTHERS, ids=lambda block: " ".join(block.split()[:5]))
def test_every_other_block_of_the_page_fits_into_the_file(block: str, written: Path) -> None:
    placed = written.parents[2] / "guest-files"
    whole = with_block(block)
    for step in whole.get("customise", ()):
        for each in step.get("files", ()):
            if "source" in each:  # the page names a file that is the reader's own
                placed.mkdir(exist_ok=True)
                (placed / "own.json").write_text("{}")
                each["source"] = "guest-files/own.json"
    if (whole.get("publish") or {}).get("managed_image"):
        whole["build"]["security_type"] = "Standard"
    written.write_text(yaml.safe_dump(whole))
    assert load_image_set("tools").name == "tools"
