"""The ready workflow and the snippets of docs/ci.md: their steps do as plain shell what they promise."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from click.testing import CliRunner

from secateur.pipeline.cli import cli
from tests.benchmarks.samples import result

ROOT = Path(__file__).parents[3]
WORKFLOW = ROOT / ".github" / "workflows" / "gate.yml"
GITHUB, GITLAB = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL))


def steps(workflow: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in workflow["jobs"]["gate"]["steps"] if "name" in step}


SECATEUR = f'exec "{sys.executable}" -P -m secateur "$@"'


def shell(
    script: str, folder: Path, program: str = SECATEUR, **env: str
) -> tuple[subprocess.CompletedProcess[str], str]:
    """Runs a script as GitHub's `shell: bash` and GitLab's runner do; returns the process and the step summary.

    `program` is what `secateur` is there.
    """
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    programs = {"secateur": program, "pip": 'echo "pip $*"'}
    for name, line in programs.items():
        (tools / name).write_text(f"#!/bin/sh\n{line}\n")
        (tools / name).chmod(0o755)
    summary = folder / "summary.md"
    values = {"GITHUB_STEP_SUMMARY": str(summary), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", **env}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **values},
        capture_output=True,
        text=True,
        check=False,
    )
    return done, summary.read_text() if summary.exists() else ""


# --- the workflow ---


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    return content


def test_the_workflow_has_its_steps(workflow: dict[str, Any]) -> None:
    assert list(steps(workflow)) == ["Install", "Run", "Gate", "Report"]
    assert steps(workflow)["Report"]["if"] == "always()"
    assert workflow["permissions"] == {"contents": "read"}
    assert (WORKFLOW.parents[2] / workflow["env"]["RECIPE"]).is_file()


@pytest.mark.parametrize(
    ("env", "code", "says"),
    [
        ({"BASELINE": "baseline.json"}, 0, "pass (4 of 4 checks)"),
        ({"RUN": "edge.json", "ON_INCONCLUSIVE": "warn"}, 0, "inconclusive"),
        ({"RUN": "absent"}, 2, ""),
    ],
)
def test_the_gate_step(workflow: dict[str, Any], tmp_path: Path, env: dict[str, str], code: int, says: str) -> None:
    for name, truth, blocks in (("run", 1.5, 200), ("baseline", 1.5, 200), ("edge", 1.2, 12)):
        result(truth, blocks, seed=4).save(tmp_path / f"{name}.json")
    done, summary = shell(steps(workflow)["Gate"]["run"], tmp_path, **{**workflow["env"], "RUN": "run.json", **env})
    assert done.returncode == code, done.stderr
    assert says in summary.replace("\\", "")
    assert ("::warning" in done.stdout) == (env.get("ON_INCONCLUSIVE") == "warn")


# --- the snippets ---


def called(script: str, folder: Path, env: Mapping[str, str]) -> list[list[str]]:
    """The commands of secateur that a script runs, with their words as the shell gives them."""
    words = folder / "words"
    done, _ = shell(script, folder, program='printf "%s\\0" "$@" "" >> words', **env)
    assert done.returncode == 0, done.stderr
    return [command.split("\0") for command in words.read_text().removesuffix("\0\0").split("\0\0")]


@pytest.fixture
def ready(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with a finished run in `run`."""
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


HERE = {"TARGET": "torch:cpu", "MIN_SPEEDUP": "0.001", "MAX_DROP": "100", "RECIPE": "run/recipe.yaml"}
RUN = ["run", "run/recipe.yaml", "--out", "run"]


def test_the_steps_for_github_leave_the_verdict_in_the_summary(ready: Path) -> None:
    env = {**GITHUB["env"], **HERE, "MIN_SPEEDUP": "1000"}
    install, run, gate = (step["run"] for step in steps(GITHUB).values())
    assert shell(install, ready)[0].stdout == "pip install secateur[cpu]\n"
    assert called(run, ready, env) == [RUN]
    (ready / "words").unlink()
    (words,) = called(gate, ready, env)
    done = CliRunner(env={"GITHUB_STEP_SUMMARY": "summary.md"}).invoke(cli, words)
    assert done.exit_code == 1, done.output
    assert (ready / "summary.md").read_text().startswith("**secateur gate: fail")
    uploaded = GITHUB["jobs"]["gate"]["steps"][-1]["with"]["path"].split()
    assert [(ready / name).is_file() for name in uploaded] == [True] * 3


def test_the_script_for_gitlab_leaves_the_checks_as_tests(ready: Path) -> None:
    job = GITLAB["gate"]
    run, words = called("\n".join(job["script"]), ready, {**job["variables"], **HERE})
    assert run == RUN
    done = CliRunner(env={"GITHUB_STEP_SUMMARY": None}).invoke(cli, words)
    assert done.exit_code == 0, done.output
    root = ElementTree.parse(ready / job["artifacts"]["reports"]["junit"]).getroot()
    assert (root.attrib["failures"], root.attrib["errors"]) == ("0", "0")
    assert [(ready / name).is_file() for name in job["artifacts"]["paths"]] == [True] * 3
    assert job["allow_failure"] == {"exit_codes": [3]}
