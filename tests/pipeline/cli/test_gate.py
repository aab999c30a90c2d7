"""`secateur gate`: exit codes, files, refusals, and what it prints."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from secateur.core.errors import SecateurError
from secateur.export.devices.device import Device, Remote
from secateur.pipeline.cli import cli, main
from secateur.pipeline.runs import gate_run
from secateur.pipeline.runs.run_folder import RUN, claim
from tests.benchmarks.samples import HERE, result
from tests.forked import COMMAND, finished, secateur, started


def run(*words: object) -> Result:
    return CliRunner(env={"GITHUB_STEP_SUMMARY": None}).invoke(cli, ["gate", *map(str, words)])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`run/` with a true speedup of 1.5, `slow.json` of 1.1, `edge.json` of 1.2, and others."""
    made = tmp_path_factory.mktemp("results")
    (made / "run").mkdir()
    result(1.5, 200, seed=1).save(made / "run" / "bench.json")
    result(1.1, 200, seed=2).save(made / "slow.json")
    result(1.2, 12, seed=4).save(made / "edge.json")
    result(1.5, 200, seed=3).save(made / "baseline.json")
    result(environment=replace(HERE, cpu_model="Other")).save(made / "elsewhere.json")
    return made


@pytest.fixture
def folder(results: Path, tmp_path: Path) -> Path:
    """A copy of them, to be written into."""
    return Path(shutil.copytree(results, tmp_path, dirs_exist_ok=True))


def test_the_exit_codes(folder: Path) -> None:
    assert run(folder / "run", "--min-speedup", 1.3).exit_code == 0
    assert run(folder / "slow.json", "--min-speedup", 1.3).exit_code == 1
    assert run(folder / "edge.json", "--min-speedup", 1.2).exit_code == 3
    assert run(folder / "baseline.json", folder / "run" / "bench.json", "--min-speedup", 1.3).exit_code == 0
    assert run(folder / "baseline.json", folder / "slow.json").exit_code == 1
    assert run().exit_code == 2
    assert run(folder / "run", folder / "run", folder / "run").exit_code == 2


def test_times_of_trtexec_are_judged(tmp_path: Path) -> None:
    for name, time in (("dense", 3.0), ("pruned", 2.0)):
        times = [{"computeMs": time + 0.001 * (index % 7)} for index in range(100)]
        (tmp_path / f"{name}.json").write_text(json.dumps(times))
    files = (tmp_path / "dense.json", tmp_path / "pruned.json")
    done = run("--trtexec", *files, "--min-speedup", 1.4, "--target", "tensorrt:dla@fp16", "--batch", 4)
    assert done.exit_code == 0, done.output
    assert "tensorrt:dla@fp16 batch 4" in done.output and "one after the other" in done.output
    assert run("--trtexec", *files, "--min-speedup", 1.6).exit_code == 1
    assert run("--trtexec", *reversed(files)).exit_code == 1
    for wrong in (files[:1], (*files, "--accept"), (*files, "--target", "tensorrt", "--target", "torch:cpu")):
        assert run("--trtexec", *wrong).exit_code == 2
    assert run(files[0], "--batch", 4).exit_code == 2


def test_the_verdict_is_written_for_others(folder: Path) -> None:
    words = ("--min-speedup", 1.3, "--junit", folder / "gate.xml", "--markdown", folder / "gate.md")
    assert run(folder / "slow.json", *words).exit_code == 1
    assert "<failure" in (folder / "gate.xml").read_text()
    assert "| speedup |" in (folder / "gate.md").read_text()
    for _ in range(2):  # others write to it too
        run(folder / "slow.json", "--min-speedup", 1.3, "--summary", folder / "summary.md")
    assert (folder / "summary.md").read_text() == 2 * (folder / "gate.md").read_text()


def test_what_is_not_judged_leaves_no_earlier_verdict(folder: Path) -> None:
    files = [folder / "gate.xml", folder / "gate.md"]
    words = ("--junit", files[0], "--markdown", files[1])
    assert run(folder / "run", *words).exit_code == 0
    earlier = {file: file.read_text() for file in files}
    for wrong in ((folder / "absent.json",), (folder / "run", "--max-macs", "lots")):
        for file in files:
            file.write_text(earlier[file])
        assert run(*wrong, *words).exit_code != 0
        assert [file.exists() for file in files] == [False, False]


def test_an_empty_word_is_not_the_present_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "run")
    assert run(".").exit_code == 0
    for words in (("", "."), (".", ""), (".", "--junit", "")):
        done = run(*words)
        assert done.exit_code == 2 and "an empty word names nothing" in " ".join(done.output.split())


def test_a_baseline_changes_by_accept_alone(folder: Path) -> None:
    before = (folder / "baseline.json").read_bytes()
    assert run(folder / "baseline.json", folder / "run").exit_code == 0
    assert (folder / "baseline.json").read_bytes() == before
    done = run(folder / "baseline.json", folder / "slow.json", "--accept")
    assert done.exit_code == 0, done.output
    assert "onnxruntime:cpu 1.497" in done.output
    assert " -> 1.1" in done.output
    assert (folder / "baseline.json").read_bytes() == (folder / "slow.json").read_bytes()
    (folder / "recipe.yaml").touch()  # as a repository has it beside its baseline
    for name in ("new.json", "bench.json"):
        assert run(folder / name, folder / "run", "--accept").exit_code == 0
    assert (folder / "new.json").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--accept"), "--accept takes BASELINE and CANDIDATE"),
        (("baseline.json", "run", "--accept", "--min-speedup", "1.3"), "give no limits with it"),
        (("run", "run/bench.json", "--accept"), "is a folder: name the bench.json"),
        (("notes.txt", "run", "--accept"), "notes.txt"),
        (
            ("mine/bench.json", "baseline.json", "--accept"),
            "mine/bench.json is what a run has measured, which `secateur",
        ),
    ],
)
def test_what_cannot_be_accepted(folder: Path, words: tuple[str, ...], said: str) -> None:
    (folder / "notes.txt").write_text("not a baseline")
    claim(folder / "mine", RUN)
    done = run(*(folder / word if not word.startswith(("-", "1")) else word for word in words))
    assert done.exit_code != 0
    assert said in (done.output + str(done.exception))
    assert (folder / "notes.txt").read_text() == "not a baseline"


def test_the_exit_code_of_the_program(folder: Path) -> None:
    assert finished(secateur("gate", folder / "edge.json", "--min-speedup", 1.2)) == [3]


UNREAD = "r, w = os.pipe(); os.close(r); os.dup2(w, 1)\n" + COMMAND
"""Nobody reads what the command prints."""


def test_a_verdict_that_nobody_reads_is_no_failure(folder: Path) -> None:
    cases = [["gate", str(folder / "run")], ["gate", str(folder / "run"), "--json"], ["gate", "--help"]]
    assert finished(*(started(UNREAD, words=words) for words in cases)) == [141, 141, 141]


@pytest.mark.nightly
def test_a_bench_json_is_judged_without_what_runs_need(folder: Path) -> None:
    code = (
        "import sys; from secateur.pipeline.runs.gate_run import gate\n"
        "print(gate(sys.argv[1]).outcome, {'timm', 'onnx', 'optuna', 'scipy.stats'} & set(sys.modules))"
    )
    words = [sys.executable, "-P", "-c", code, str(folder / "baseline.json")]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "pass set()\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["elsewhere.json", "run"], "processor: 'Other' and 'A CPU'"),
        (["absent.json"], "cannot read"),
        (["run", "--target", "torch:cuda"], "not measured on torch:cuda"),
        (["run", "--max-macs", "lots"], "got the limit 'lots'"),
        (["run", "--min-speedup", "0"], "above 0"),
        (["run", "--min-relative", "0.9"], "give a baseline"),
        (["run", "--max-energy", "5mJ"], "energy was given"),
        (["run", "--max-parity", "0.01"], "parity was given"),
        (["run", "--min-fidelity", "0.8"], "there is no "),
        (["slow.json", "--retries", "2"], "slow.json is no run directory: name the run, or give no retries"),
    ],
)
def test_what_cannot_be_judged_is_one_sentence(folder: Path, words: list[str], says: str) -> None:
    done = run(*(str(folder / word) if (folder / word).exists() else word for word in words))
    assert isinstance(done.exception, SecateurError)
    assert done.exception.exit_code == 2
    assert says in str(done.exception)


def test_a_run_that_changed_since_is_one_sentence_and_exit_2(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "plan.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        main(["gate", str(tmp_path / "run"), "--min-speedup", "0.1"])
    said = capsys.readouterr()
    assert (ended.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert f"`secateur bench {tmp_path / 'run'}`" in said.err


def test_what_was_asked_for_and_not_measured_is_exit_3_unless_others_are_named(folder: Path) -> None:
    result(1.5, 200, seed=1, skipped={"tensorrt": "there is no GPU"}).save(folder / "part.json")
    done = run(folder / "part.json", "--min-speedup", 1.3)
    assert done.exit_code == 3
    assert "tensorrt was asked for and not measured (there is no GPU)" in " ".join(done.output.split())
    assert run(folder / "part.json", "--min-speedup", 1.3, "--target", "onnxruntime:cpu").exit_code == 0


def test_the_table_ends_with_the_verdict(folder: Path) -> None:
    done = run(folder / "run", "--min-speedup", 1.3, "--max-macs", 0.5, "--max-size", "2kB", "--min-top1", 78)
    assert done.exit_code == 0, done.output
    lines = done.output.strip().splitlines()
    assert lines[-1].startswith("pass (4 of 4 checks): onnxruntime:cpu batch 1: 1.5")
    assert all(any(name in line for line in lines) for name in ("speedup", "macs", "size", "top1"))


def test_json(folder: Path) -> None:
    done = run(folder / "slow.json", "--min-speedup", 1.3, "--max-drop", 8, "--json")
    content: dict[str, Any] = json.loads(done.output)
    assert (content["schema"], content["outcome"], content["exit_code"]) == ("secateur.gate/1", "fail", 1)
    assert [check["outcome"] for check in content["checks"]] == ["fail", "pass"]
    assert content["checks"][0]["low"] < content["checks"][0]["value"] < content["checks"][0]["high"] < 1.3


def test_a_run_is_judged_on_several_devices(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"orin": result(), "thor": result(speedup=0.9)}
    remotes = [Remote(Device(name, name)) for name in found]
    monkeypatch.setattr(import_module("secateur.pipeline.cli.gate"), "find_remotes", lambda devices, keep: remotes)
    monkeypatch.setattr(gate_run, "measured_on", lambda remote, *_: found[remote.device.name])
    words = (folder / "run", "--device", "orin", "--device", "thor", "--min-speedup", 1.2)
    done = run(*words, "--json")
    content = json.loads(done.output)
    assert (done.exit_code, content["outcome"]) == (1, "fail")
    assert [(check["device"], check["outcome"]) for check in content["checks"]] == [("orin", "pass"), ("thor", "fail")]
    refused = run(folder / "bench.json", *words)
    assert refused.exit_code == 2 and "a BASELINE is of one device" in refused.output


@pytest.mark.parametrize("word", ["--junit", "--markdown", "--summary"])
def test_a_verdict_is_written_over_an_earlier_one_alone(folder: Path, word: str) -> None:
    """A typing error must not remove what is judged, or what is in the way."""
    kept = folder / "run" / "bench.json"
    before = kept.read_bytes()
    for words in ((folder / "run", word, kept), (kept, word, kept), (kept, folder / "slow.json", word, kept)):
        done = run(*words, "--max-macs", 1)
        assert (done.exit_code, kept.read_bytes()) == (2, before)
        assert f"{word} is {kept}, which is there and is no earlier verdict" in " ".join(done.output.split())
    (folder / "empty").touch()
    for place in (folder / "run" / "new", folder / "empty"):
        for _ in range(2):
            assert run(kept, word, place, "--max-macs", 1).exit_code == 0
        assert place.stat().st_size > 0
    (folder / "notes.md").write_text("mine")
    assert run(kept, word, folder / "notes.md", "--max-macs", 1).exit_code == (0 if word == "--summary" else 2)
    assert (folder / "notes.md").read_text().startswith("mine")


def test_two_files_of_a_verdict_are_two_files(folder: Path) -> None:
    done = run(folder / "run", "--junit", folder / "a", "--markdown", folder / "run" / ".." / "a")
    assert done.exit_code == 2 and "--junit and --markdown are one file" in done.output
    assert not (folder / "a").exists()
