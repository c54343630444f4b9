"""Every query of ours, read and bound by Microsoft's own parser against the documented columns of the tables.

The simulator runs the same text on another engine; here it is seen that Log Analytics would take it. The parser is the npm package
@kusto/language-service-next in the folder $EVERGOLD_KUSTO, into which somebody has run
`npm install --prefix "$EVERGOLD_KUSTO" @kusto/language-service-next@12.4.1`. Where it is not there, that is said, not hidden.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from simulator.log_tables import TABLES

REPOSITORY = Path(__file__).resolve().parents[2]
CHECKER = Path(__file__).with_name("kql-check.js")
FOLDER = os.environ.get("EVERGOLD_KUSTO", "")
QUERIES = sorted([*REPOSITORY.glob("evergold/**/*.kql"), *REPOSITORY.glob("deployments/**/*.kql")])


def why_not() -> str | None:
    """Why nothing can be bound here; None where it can."""
    if shutil.which("node") is None:
        return "There is no node here, so Microsoft's KQL parser does not run."
    if not FOLDER or not (Path(FOLDER) / "node_modules/@kusto/language-service-next").is_dir():
        return "EVERGOLD_KUSTO names no folder with Microsoft's KQL parser: npm install --prefix FOLDER @kusto/language-service-next@12.4.1"
    return None


pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


PLANTED = {
    "column": "Heartbeat | project Nope",
    "table": "Hartbeat | count",
    "operator": "Heartbeat | sumarize count()",
    "types": "Heartbeat | where TimeGenerated > 3 | summarize max(Computer) by bin(Computer, 1h)",
}


@pytest.fixture(scope="module")
def problems() -> dict[str, list[str]]:
    """What the parser finds wrong with our queries, the docs' example and planted mistakes: it takes long to start, so it starts once."""
    tables = {
        name: " ".join(f"{column}:{kind}" for column, kind in columns.items()) for name, columns in TABLES.items()
    }
    (example,) = re.findall(r"```kql\n(.*?)```", (REPOSITORY / "docs/checks.md").read_text(), re.DOTALL)
    ours = {path.relative_to(REPOSITORY).as_posix(): path.read_text() for path in QUERIES}
    asked = json.dumps({"tables": tables, "queries": {**ours, "docs": example, **PLANTED}})
    command = ["node", str(CHECKER), str(Path(FOLDER).resolve())]
    found: dict[str, list[str]] = json.loads(
        subprocess.run(command, input=asked, capture_output=True, text=True, check=True, timeout=120).stdout
    )
    return found


def test_every_query_binds_to_the_documented_tables(problems: dict[str, list[str]]) -> None:
    assert len(QUERIES) >= 5
    ours = [path.relative_to(REPOSITORY).as_posix() for path in QUERIES]
    assert {name: problems[name] for name in ours} == {name: [] for name in ours}


def test_the_query_that_the_docs_give_as_an_example_binds_too(problems: dict[str, list[str]]) -> None:
    assert problems["docs"] == []


def test_a_planted_mistake_is_found(problems: dict[str, list[str]]) -> None:
    assert all(problems[name] for name in PLANTED), problems
    assert re.search("line 1: Error: .*'Nope'", problems["column"][0])


def test_every_query_says_what_each_of_its_parameters_means() -> None:
    for path in QUERIES:
        lines = path.read_text().splitlines()
        assert lines[0].startswith("// "), f"{path.name} begins with what it finds"
        bare = [line for line in lines if re.match(r"let \w+ = (\"|\d)", line) and "//" not in line]
        assert not bare, f"{path.name}: {bare}"
