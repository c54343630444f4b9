"""The documentation keeps up: its links lead somewhere, and what there is to run is written down."""

import re
from pathlib import Path

import pytest
import typer.main
import yaml

from evergold.cli import app
from evergold.config.models import Checks

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)


def links(page: Path) -> list[str]:
    """Where a page points to within the repository, without code blocks."""
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as a link spells them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "README.md"], ids=lambda page: page.name)
def test_every_page_can_be_reached_from_another(page: Path) -> None:
    others = [
        (other.parent / link.partition("#")[0]).resolve() for other in PAGES if other != page for link in links(other)
    ]
    assert page in others


@pytest.mark.parametrize("picture", sorted((REPOSITORY / "docs/images").iterdir()), ids=lambda path: path.name)
def test_every_picture_is_shown(picture: Path) -> None:
    assert f"images/{picture.name}" in TEXT


@pytest.mark.parametrize("command", sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]  # a group's
def test_every_command_is_written_down(command: str) -> None:
    assert f"evergold {command}" in TEXT


@pytest.mark.parametrize(
    "deployment", [each["name"] for each in yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]]
)
def test_every_deployment_is_written_down_in_the_readme(deployment: str) -> None:
    assert f"`{deployment}`" in (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize(
    "target", re.findall(r"^(\w+):.*##", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
)
def test_every_make_target_is_written_down(target: str) -> None:
    assert f"make {target}" in TEXT


def test_the_checks_of_ones_own_in_the_docs_are_ones_that_an_image_set_takes() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "docs/checks.md").read_text(), re.DOTALL)
    given = yaml.safe_load("".join(blocks))["checks"]
    assert [own.name for own in Checks.model_validate(given).own] == ["printers", "crashes"]
