"""Reconstruction and distillation as part of a run: `secateur recover` by one process, by two, and by two machines."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from secateur.pipeline.recover.reconstruct import Reconstruction
from secateur.pipeline.runs.teach_stage import START
from tests.forked import COMMAND
from tests.pipeline.runs.processes import (
    ENVIRONMENT,
    LAUNCH,
    RECIPE,
    SECONDS,
    launch_stage,
    run_stage,
    workers,
    write_recipe,
)
from tests.ranks import two_ranks_run

HOST = ["unshare", "--map-root-user", "--net", "--uts"]
TOOLS = ("unshare", "nsenter", "ip", "hostname")
SCRIPT = """
set -eu
unshare --net --uts sleep 600 & second=$!
trap 'kill $second' EXIT
until [ "$(readlink /proc/$second/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
on_second() { nsenter --target $second --net --uts "$@"; }
hostname first; on_second hostname second
ip link set lo up; on_second ip link set lo up
ip link add wire type veth peer name wire netns $second
ip address add 10.77.0.1/24 dev wire; on_second ip address add 10.77.0.2/24 dev wire
ip link set wire up; on_second ip link set wire up
export GLOO_SOCKET_IFNAME=wire
on_second "$@" --machine_rank=1 -m secateur recover "$RUN" & helper=$!
"$@" --machine_rank=0 -m secateur recover "$RUN"
wait $helper
"""
"""`"$@"` is the launcher, `RUN` the run's folder, which both see."""


UNTAUGHT = {**RECIPE, "recover": {**RECIPE["recover"], "distill": {**RECIPE["recover"]["distill"], "epochs": 0}}}


def can_make_hosts() -> bool:
    """Whether this machine lets us have networks of our own."""
    if not all(map(shutil.which, TOOLS)):
        return False
    wire = "ip link add wire type veth peer name other"
    return subprocess.run([*HOST, "sh", "-c", wire], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that one process has recovered."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    run_stage("recover", folder, RECIPE)
    return folder


def check_same(one: Path, other: Path) -> None:
    """The recovered weights are the same as far as rounding goes, by how far teaching moved them."""
    assert not {path.name for path in other.iterdir()} & {START, "reconstruct.pt", "distill.pt"}
    rebuilt, same = (Reconstruction.load(folder / "reconstruction.json") for folder in (one, other))
    assert same.curve == pytest.approx(rebuilt.curve, rel=1e-2)
    assert same.before == pytest.approx(rebuilt.before, rel=1e-2)
    weights, found = (load_file(folder / "model/model.safetensors") for folder in (one, other))
    plain = load_file(one / "pruned/model.safetensors")
    assert set(weights) == set(found)
    gaps = torch.cat([(weights[name] - found[name]).abs().flatten() for name in weights]).mean()
    moved = torch.cat([(weights[name] - plain[name]).abs().flatten() for name in weights]).mean()
    assert gaps < 1e-2 * moved


@pytest.mark.nightly
def test_two_processes_recover_what_one_does_with_settings_that_only_the_first_has_seen(
    one: Path, tmp_path: Path
) -> None:
    """Without them the second process would distil for no step, and the first one wait for it."""
    write_recipe(tmp_path / "two", UNTAUGHT)
    two_ranks_run(COMMAND, words=["recover", str(tmp_path / "two"), "--set", "recover.distill.epochs=1"])
    check_same(one, tmp_path / "two")


@pytest.mark.nightly
def test_two_machines_recover_what_one_does(one: Path, tmp_path: Path) -> None:
    """As `accelerate launch` starts them; where there can be no networks of our own, two processes of one machine."""
    if not can_make_hosts():
        launch_stage("recover", tmp_path / "two", RECIPE)
    else:
        write_recipe(tmp_path / "two", RECIPE)
        machines = ["--num_machines=2", "--num_processes=2", "--main_process_ip=10.77.0.1", "--main_process_port=29500"]
        subprocess.run(
            [*HOST, "bash", "-c", SCRIPT, "two_machines", *LAUNCH, *machines, f"--log_dir={tmp_path / 'logs'}"],
            env={**ENVIRONMENT, "RUN": str(tmp_path / "two")},
            check=True,
            timeout=SECONDS,
        )
        assert workers(tmp_path / "logs") == 2
    check_same(one, tmp_path / "two")
