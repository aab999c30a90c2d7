"""The committed resource report holds for these sources: no spills, and as many blocks as planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import KernelError
from secateur.kernels.compile import ARCHITECTURES, SOURCES, Compiled, compile_kernel, compiler_name, source_digest
from secateur.kernels.instructions import MULTIPLICATIONS
from secateur.kernels.resource_report import LOOP_ARCHITECTURES, ResourceReport, read_report
from secateur.kernels.resources import Resources, blocks_that_fit, resources_of
from secateur.kernels.variants import INSTRUCTIONS, RAGGED_TILES, SHORT_BEFORE

REPORT = Path(__file__).parents[2] / "benchmarks" / "results" / "kernel_resources.json"


def planned_blocks(kernel: str, architecture: int) -> int:
    """The fewest blocks of a kernel that a multiprocessor of the architecture is to hold: two, but for heads over 64.

    A head of 256 fills the registers; all keys of 208 tokens fill the shared memory where it is small.
    """
    if "_d256" in kernel or ("_short" in kernel and architecture in (86, 89)):
        return 1
    return 2


@pytest.fixture(scope="module")
def report() -> ResourceReport:
    return read_report(REPORT)


def test_the_report_is_of_these_sources(report: ResourceReport) -> None:
    """Otherwise: python -P -m secateur.kernels.resource_report."""
    assert report.sources == {source: source_digest(source) for source in SOURCES}


def test_every_kernel_is_there_for_every_architecture(report: ResourceReport) -> None:
    """sm_75 has no m16n8k16 of these types, so no kernels for tensor cores; sm_100 and newer have no short tile."""
    names = {a: {one.kernel for one in report.kernels if one.architecture == a} for a in ARCHITECTURES}
    assert len(names[80]) == 39
    short = {name for name in names[80] if "_short" in name}
    for a in ARCHITECTURES[1:]:
        assert names[a] == (names[80] if a < SHORT_BEFORE else names[80] - short)
    tensor_cores = {name for name in names[80] if "attention" in name and "plain" not in name}
    assert names[75] == names[80] - tensor_cores


def test_nothing_spills(report: ResourceReport) -> None:
    assert [(one.kernel, one.architecture) for one in report.kernels if one.spill_bytes or one.stack_bytes] == []


def test_the_short_tile_keeps_its_budget_of_instructions(report: ResourceReport) -> None:
    """At most 330 beside the products for 16 rows and 64 keys of 64, and less than 0.4 of what 64 x 64 issues."""
    others = {(one.kernel.removeprefix("ragged_attention_fp16"), one.architecture): one.others for one in report.loops}
    for architecture in LOOP_ARCHITECTURES:
        assert others["_d64_short208", architecture] <= 330
        assert others["_d64_short208", architecture] < 0.4 * others["_d64", architecture]
        assert others["_d64_short208", architecture] > 64  # an exponential and an FMA for each weight alone are 64


def test_launches_are_chosen_by_what_was_counted(report: ResourceReport) -> None:
    counted = {
        one.kernel.removeprefix("ragged_attention_fp16"): one.others + MULTIPLICATIONS
        for one in report.loops
        if one.architecture == 90
    }
    assert counted.keys() == {tile.suffix for tile in RAGGED_TILES if tile.tensor_cores}
    for suffix, found in counted.items():
        assert INSTRUCTIONS[suffix] == pytest.approx(found, abs=1)


def test_the_documented_instructions_are_those_of_the_report(report: ResourceReport) -> None:
    """The rows of the table in the kernels' README: a variant, then its count for each architecture."""
    text = (REPORT.parents[2] / "kernels" / "README.md").read_text(encoding="utf-8")
    head = next(line for line in text.splitlines() if line.startswith("| instructions |"))
    assert head == "| instructions | " + " | ".join(f"sm_{one}" for one in LOOP_ARCHITECTURES) + " |"
    rows = text.split(head)[1].split("\n\n")[0].splitlines()[2:]
    for suffix, row in zip(("_d64", "_d64_few", "_d64_short208"), rows, strict=True):
        counts = [one.others for one in report.loops if one.kernel == f"ragged_attention_fp16{suffix}"]
        assert row == f"| `{suffix}` | " + " | ".join(f"{count:.0f}" for count in counts) + " |"


def test_as_many_blocks_as_planned_fit(report: ResourceReport) -> None:
    short = [
        (one.kernel, one.architecture, one.blocks_per_multiprocessor)
        for one in report.kernels
        if one.blocks_per_multiprocessor < planned_blocks(one.kernel, one.architecture)
    ]
    assert short == []


@pytest.mark.skipif(not (compiler_name() or "").startswith("nvcc"), reason="nvcc is not on this machine")
def test_a_fresh_compilation_agrees(report: ResourceReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiler_name() != report.compiler:
        pytest.skip(f"the report is of {report.compiler}, and this machine has {compiler_name()}")
    monkeypatch.setenv("SECATEUR_KERNEL_CACHE", str(tmp_path))
    fresh = resources_of(compile_kernel("bias_gelu", 87))
    assert fresh == [one for one in report.kernels if one.architecture == 87 and one.kernel.startswith("bias_gelu")]


@pytest.mark.parametrize(
    ("architecture", "threads", "registers", "shared", "blocks"),
    [
        (80, 128, 128, 0, 4),  # registers: 4 warps of 4096 each
        (80, 128, 129, 0, 3),  # handed out in units of 256 a warp: 129 registers count as 136
        (80, 128, 32, 40960, 4),  # shared memory: 164 KiB over 40 + 1
        (80, 128, 32, 41 * 1024, 3),  # the system's own KiB counts
        (75, 128, 32, 32768, 2),  # sm_75 reserves nothing
        (86, 128, 32, 99 * 1024, 1),
        (86, 128, 32, 99 * 1024 + 1, 0),
        (89, 256, 32, 0, 6),  # 48 warps
        (80, 32, 16, 0, 16),  # the limit on blocks
    ],
)
def test_blocks_that_fit(architecture: int, threads: int, registers: int, shared: int, blocks: int) -> None:
    assert blocks_that_fit(architecture, threads, registers, shared) == blocks


def test_a_log_without_resources_is_refused() -> None:
    with pytest.raises(KernelError, match=r"nvrtc 13\.2 reported no resources of bias_gelu: nvcc is needed"):
        resources_of(Compiled("bias_gelu", 80, "cubin", b"", "", "nvrtc 13.2"))
    with pytest.raises(KernelError, match="said nothing of the registers of bias_gelu_fp32"):
        resources_of(Compiled("bias_gelu", 80, "cubin", b"", "Compiling entry function 'bias_gelu_fp32'", "nvcc"))


LOG = """
ptxas info    : Compiling entry function 'bias_gelu_fp32' for 'sm_80'
ptxas info    : Function properties for bias_gelu_fp32
    24 bytes stack frame, 16 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem, 384 bytes cmem[0]
ptxas info    : Compiling entry function 'bias_gelu_bf16' for 'sm_80'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 31 registers, used 0 barriers, 384 bytes cmem[0]
"""


def test_what_ptxas_says_is_read() -> None:
    found = resources_of(Compiled("bias_gelu", 80, "cubin", b"", LOG, "nvcc"))
    assert found == [
        Resources("bias_gelu_bf16", 80, 256, 31, 0, 0, 0, 0, 8),
        Resources("bias_gelu_fp32", 80, 256, 40, 1024, 0, 24, 28, 6),
    ]
    with pytest.raises(KernelError, match="said nothing of the registers of bias_gelu_bf16"):
        resources_of(Compiled("bias_gelu", 80, "cubin", b"", LOG.replace("Used 31 registers, ", ""), "nvcc"))
