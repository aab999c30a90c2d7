// ragged_attention_plugin: ragged_attention for the heads of one layer, as an engine of TensorRT carries it.
//
// An ahead-of-time plugin passes its inputs, integers and outputs to a kernel, and nothing else. So the head table is
// part of the image: the translation unit is compiled once for each layer, with
//   SECATEUR_KERNEL  the name of the kernel, another one for each layer
//   SECATEUR_TABLE  the words of the head table, separated by commas (attention.cuh)
//   SECATEUR_TYPE   float, half_t or bfloat_t
//   SECATEUR_D      the widest head of the tile: 64, 128 or 256
//   SECATEUR_SPLIT  warps that share a row's keys: 1, 2 or 4; 0 for the kernel without tensor cores
//
// qkv [B, N, sum(q) + sum(k) + sum(v)], out [B, N, sum(v)]; grid (B * ceil(N / rows per block), heads), 128 threads.
// CPU reference: that of ragged_attention.cu.
#include "attention_mma.cuh"
#include "attention_plain.cuh"

static __device__ const int kTable[] = {SECATEUR_TABLE};

extern "C" __global__ void __launch_bounds__(kThreads)
    SECATEUR_KERNEL(const SECATEUR_TYPE* __restrict__ qkv, int tokens, SECATEUR_TYPE* __restrict__ out) {
    const Sequences<SECATEUR_TYPE> rows = {nullptr, 0, nullptr, 0, tokens};
#if SECATEUR_SPLIT == 0
    attend_plain<SECATEUR_TYPE, SECATEUR_D>(qkv, nullptr, kTable, rows, out);
#else
    attend_mma<SECATEUR_TYPE, SECATEUR_D, SECATEUR_SPLIT>(qkv, nullptr, kTable, rows, out);
#endif
}
