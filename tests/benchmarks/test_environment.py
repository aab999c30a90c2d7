"""The fingerprint of a measurement: what is in it, and what two must share."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from importlib import metadata

import pytest
import torch

from secateur.benchmarks.environment import (
    Environment,
    command_line,
    differences,
    environment,
    version_changes,
)
from secateur.core.packages import PACKAGES
from secateur.export.machine import Gpu

ORIN = Gpu("Orin", "sm_87", 30000)


@pytest.fixture(scope="module")
def here() -> Environment:
    return environment()


def test_this_machine(here: Environment) -> None:
    assert here.cpu_model
    assert here.cores >= 1
    assert here.threads == torch.get_num_threads()
    assert set(here.versions) == set(PACKAGES)
    assert here.versions["torch"] == metadata.version("torch")
    assert environment(threads=3).threads == 3
    json.dumps(asdict(here))


def test_the_commit_is_that_of_the_checkout(here: Environment) -> None:
    if here.git_commit is not None:  # none in a tarball of the sources, or where git is absent
        assert len(here.git_commit.removesuffix("-dirty")) == 40


def test_the_command_is_as_typed_without_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/secateur", "demo", "--out", "my runs"])
    assert command_line() == "secateur demo --out 'my runs'"


def test_a_cpu_target_is_of_one_kind_by_processor_and_threads(here: Environment) -> None:
    assert differences(here, here, "onnxruntime:cpu") == []
    other = replace(here, cpu_model="another", threads=here.threads + 1, gpu=ORIN)
    found = differences(here, other, "onnxruntime:cpu")
    assert [phrase.partition(":")[0] for phrase in found] == ["processor", "threads"]
    assert "'another'" in found[0]


def test_the_precision_of_a_graph_is_no_part_of_the_machine(here: Environment) -> None:
    assert here.kind("onnxruntime:cpu@fp16") == here.kind("onnxruntime:cpu")
    assert "processor" in here.kind("onnxruntime:cpu@fp16")


def test_a_gpu_target_is_of_one_kind_by_gpu(here: Environment) -> None:
    one, two = (replace(here, gpu=gpu) for gpu in (ORIN, replace(ORIN, name="Thor")))
    assert differences(one, replace(one, cpu_model="another", threads=64), "tensorrt") == []
    assert differences(one, two, "tensorrt") == ["gpu: 'Orin' and 'Thor'"]
    assert differences(one, replace(here, gpu=None), "torch:cuda")


def test_versions_do_not_make_another_kind_but_are_told(here: Environment) -> None:
    other = replace(here, versions={**here.versions, "onnxruntime": "99.0", "timm": None}, driver="1.2")
    assert differences(here, other, "onnxruntime:cpu") == []
    told = version_changes(here, other)
    assert f"timm {here.versions['timm']} -> absent" in told
    assert any(phrase.startswith("onnxruntime ") and phrase.endswith("-> 99.0") for phrase in told)
    assert version_changes(here, here) == []
