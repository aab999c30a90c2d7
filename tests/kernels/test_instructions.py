"""Instructions counted in a disassembly: the way round a loop, with what is passed and what is gone around."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from secateur.core.errors import KernelError
from secateur.kernels import instructions
from secateur.kernels.compile import Compiled
from secateur.kernels.instructions import count_loop, disassembled, loop_instructions


def sass(*lines: str) -> str:
    """A disassembly with these instructions, 16 bytes each, as cuobjdump writes it."""
    return "".join(f"        /*{16 * n:04x}*/                   {line} ;   /* 0x1 */\n" for n, line in enumerate(lines))


LOOP = sass(
    "MOV R1, R2",
    "LDSM.16.M88.4 R4, [R1]",  # 0x10, where the loop begins
    "HMMA.16816.F32 R4, R4, R4, RZ",
    "@!P0 BRA 0x70",  # the rare way: three more
    "FADD R1, R1, R2",
    "FADD R1, R1, R3",
    "FADD R1, R1, R4",
    "BRA P2, 0x90",  # 0x70; names its condition before its target
    "MUFU.EX2 R1, R1",
    "@!P1 LDG.E.U16 R9, [R2]",  # 0x90
    "ISETP.GE.AND P0, PT, R1, R2, PT",
    "@P0 BRA 0x10",
    "EXIT",
)


def test_the_shortest_way_round_passes_products_and_exponentials() -> None:
    """LDSM, BRA, BRA, MUFU.EX2, LDG, ISETP and BRA beside one product: the rare way and what precedes are not in it."""
    assert loop_instructions(LOOP) == (7, 1)


def test_a_word_of_global_memory_is_on_the_way_and_half_a_word_is_not() -> None:
    rare = LOOP.replace("FADD R1, R1, R3", "STG.E.U16 [R1], R3")
    assert loop_instructions(rare) == (7, 1)
    assert loop_instructions(rare.replace("STG.E.U16", "STG.E")) == (10, 1)


def test_of_code_for_each_width_the_widest_is_counted() -> None:
    """Two ways with products, of eight and of six: only the first is what a head of the full width takes."""
    product = "HMMA.16816.F32 R4, R4, R4, R4"
    code = sass(
        "MOV R1, R2", "MUFU.EX2 R1, R1", "@P0 BRA 0xc0", *[product] * 8, "BRA 0x120", *[product] * 6,
        "FMNMX R1, R1, R2, PT", "@P1 BRA 0x10", "EXIT",
    )  # fmt: skip
    assert loop_instructions(code, widest=True) == (5, 8)


@pytest.mark.parametrize("code", [sass("MOV R1, R2", "EXIT"), LOOP.replace("@P0 BRA 0x10", "@P0 BRA 0xa0")])
def test_code_without_a_loop_around_its_products_is_refused(code: str) -> None:
    with pytest.raises(KernelError, match="has no loop around its products"):
        loop_instructions(code)


def test_a_count_is_scaled_to_the_work_of_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "disassembled", lambda image, kernel: LOOP)
    found = count_loop(Compiled("ragged_attention", 86, "cubin", b"", "", "nvcc"), "ragged_attention_fp16_d64")
    assert (found.others, found.loop_multiplications, found.architecture) == (7 * 64, 1, 86)


def test_without_a_disassembler_or_with_one_that_fails_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "find_cuobjdump", lambda: None)
    with pytest.raises(KernelError, match="cuobjdump was not found: install the CUDA toolkit, or Triton"):
        disassembled(b"", "a")
    monkeypatch.setattr(instructions, "find_cuobjdump", lambda: "cuobjdump")
    failed = SimpleNamespace(returncode=1, stdout="", stderr="cuobjdump fatal: not a cubin\n")
    monkeypatch.setattr(instructions.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(KernelError, match=r"cuobjdump failed \(cuobjdump fatal: not a cubin\)"):
        disassembled(b"", "a")
