"""The type in which products add up, read from kernels' names as public profiles of TensorRT engines show them."""

from __future__ import annotations

import pytest

from secateur.export.trt_tactics import accumulation, accumulations


@pytest.mark.parametrize(
    ("tactic", "word"),
    [
        ("sm80_xmma_gemm_f16f16_f16f32_f32_nn_n_tilesize64x128x32_stage5_warpsize2x2x1_execute_kernel_trt", "fp32"),
        ("sm80_xmma_gemm_f16f16_f16f16_f16_nn", "fp16"),
        ("sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32", "int32"),
        ("sm80_xmma_fprop_implicit_gemm_f32f32_tf32f32_f32_nhwckrsc_nhwc_tilesize128x128x16", "fp32"),
        ("sm89_xmma_gemm_e4m3bf16_e4m3f32_f32_tn_n", "fp32"),
        ("ampere_h16816gemm_128x64_ldg8_stages_64x4_nn_v1", "fp16"),
        ("ampere_fp16_s16816gemm_fp16_128x128_ldg8_f2f_stages_32x1_nn", "fp32"),
        ("cutlass_80_wmma_tensorop_f16_s161616gemm_f16_32x32_64x1", "fp32"),
        ("volta_sgemm_128x64_nn", "fp32"),
        ("ampere_i16832gemm_int8_256x128_ldg16_relu_stages_64x3_tn", "int32"),
        ("__myl_FcAdd_0x2d7f5a6ca66111e1af186480d64c1cea", ""),
        ("__myelin_CASK_STUB", ""),
        ("_gemm_mha_v2_0xb33872a49a9dcc3f23954502c01de251", ""),
        ("", ""),
    ],
)
def test_a_kernel_adds_up_in_the_type_of_its_name(tactic: str, word: str) -> None:
    assert accumulation(tactic) == word


def test_kernels_are_counted_where_they_tell() -> None:
    tactics = ["volta_sgemm_128x64_nn", "sm80_xmma_gemm_f16f16_f16f16_f16_nn", "volta_sgemm_32x32_nn", "reformat"]
    assert accumulations(tactics) == {"fp32": 2, "fp16": 1}
    assert accumulations([]) == {}
