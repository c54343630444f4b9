"""The scripts in guest/ keep to one shape, which the build and whoever reads a run command's output rely on."""

import re
from pathlib import Path

import pytest
import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

GUEST = Path(__file__).resolve().parents[2] / "guest"
# What people add as checks of their own (docs/checks.md) keeps to no shape of ours.
SCRIPTS = sorted(path for path in GUEST.rglob("*.ps1") if path.parent.name != "checks")
PARSER = Parser(Language(tree_sitter_powershell.language()))
SHARED = re.compile(r"^# --- The one way .*?^# --- What this script does\. ---$", re.MULTILINE | re.DOTALL)
SECRET = re.compile(r"\$(Password|RegistrationToken|QuerySecret|secret)\b", re.IGNORECASE)
# Everything that could bring a value out of the script: answers, streams, logs and files.
OUTLET = re.compile(
    r"\b(Write-\w+|Complete-\w+|Out-(?!Null)\w+|Set-Content|Add-Content|Tee-Object|Start-Transcript|WriteLine|throw)\b|/l\*?v|>>?\s*['\"$\w]"
)

each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def nodes(node: Node) -> list[Node]:
    return [node, *(inner for child in node.children for inner in nodes(child))]


def step_of(text: str) -> str:
    first = text.splitlines()[0]
    assert first.startswith("# STEP: "), "the first line names the step"
    return first.removeprefix("# STEP: ")


def test_every_step_of_a_build_has_its_script() -> None:
    assert {step_of(path.read_text()) for path in SCRIPTS} == {
        "boot",
        "check-fslogix",
        "check-windows-365",
        "configure-desktop",
        "files",
        "image-state",
        "install-apps",
        "local-administrator",
        "manifest",
        "preflight",
        "prepare",
        "register-host",
        "smoke",
        "sysprep",
    }


@each_script
def test_a_script_is_powershell(script: Path) -> None:
    wrong = [
        f"line {node.start_point[0] + 1}: {node.type}"
        for node in nodes(PARSER.parse(script.read_bytes()).root_node)
        if node.type == "ERROR" or node.is_missing
    ]
    assert wrong == []


@each_script
def test_a_script_names_the_step_that_it_is_called_after(script: Path) -> None:
    text = script.read_text()
    assert step_of(text) == script.stem
    assert f"\n$Step = '{script.stem}'\n" in text


@each_script
def test_a_script_says_what_it_is_for_and_what_each_parameter_means(script: Path) -> None:
    text = script.read_text()
    assert re.search(r"<#\n\.SYNOPSIS\n\S.*\n", text)
    declared = re.findall(r"\] \$(\w+)(?=[ ,)\n])", text.split("[CmdletBinding()]")[1].split("# --- The one way")[0])
    assert re.findall(r"^\.PARAMETER (\w+)$", text, re.MULTILINE) == declared


@each_script
def test_every_script_answers_in_the_same_way(script: Path) -> None:
    text = script.read_text()
    shared = SHARED.findall(text)
    assert shared == SHARED.findall(SCRIPTS[0].read_text())
    assert text.count("[Console]::Out.WriteLine($line)") == 1
    assert re.search(r"^ *exit\b", SHARED.sub("", text), re.MULTILINE) is None, "only Complete-Step ends a script"
    assert "Write-Host" not in text


@each_script
def test_a_script_is_plain_ascii_and_small_enough_for_a_run_command(script: Path) -> None:
    assert script.read_bytes().isascii(), "Windows PowerShell reads a script without a byte order mark as ANSI"
    assert script.stat().st_size < 100_000


@each_script
def test_no_secret_leaves_a_script(script: Path) -> None:
    body = SHARED.sub("", script.read_text()).split("[CmdletBinding()]")[1]
    told = [line for line in body.splitlines() if OUTLET.search(line) and SECRET.search(line)]
    # The one place where a token is named in an answer is the one that takes it out of the text.
    assert [line for line in told if ".Replace($RegistrationToken, '(token)')" not in line] == []


def test_the_parameters_that_hold_secrets_are_plain_text_for_as_short_as_can_be() -> None:
    """They must be given as protected parameters: neither has a default that could be left in."""
    for name, parameter in (("local-administrator", "Password"), ("register-host", "RegistrationToken")):
        text = (GUEST / f"{name}.ps1").read_text()
        assert f"[Parameter(Mandatory = $true)] [string] ${parameter}" in text


def test_sysprep_refuses_system_and_clears_its_old_logs_before_it_starts() -> None:
    text = (GUEST / "sysprep.ps1").read_text()
    refused, cleared, started = (
        text.index(part) for part in ("    Assert-Administrator\n", 'Remove-Item -Path "$Logs', "Start-Process")
    )
    assert refused < cleared < started
    assert "'/generalize', '/oobe', '/mode:vm', '/quit'" in text
