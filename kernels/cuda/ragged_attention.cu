// ragged_attention: softmax(scale q k^T + bias + mask) v for heads of different widths, in one launch.
//
// qkv [B, N, sum(q) + sum(k) + sum(v)]: all heads' queries, then all keys, then all values; out [B, N, sum(v)].
// Grid (B * ceil(N / rows per block), heads), 128 threads; for short sequences (B, heads, blocks that share a head).
//
// ragged_attention_{fp16,bf16}_d64_short208       tensor cores, all keys of up to 208 in shared memory; sm_80 to sm_90
// ragged_attention_{fp16,bf16}_d{64,128,256}      tensor cores, 64 query rows a block
// ragged_attention_{fp16,bf16}_d{64,128,256}_few  tensor cores, keys split between warps: 16 (d64) or 32 rows a block
// ragged_attention_{fp32,fp16,bf16}_plain_d{64,256}  no tensor cores, 16 rows a block
//
// CPU reference, for one sequence and one head (float64):
//     for i in tokens:
//         q[i] += q_bias                              (k_bias changes no weight; v_bias is added at the end)
//         s[j] = scale * dot(q[i], k[j]) + bias[h][i][j] + mask[b % masks][i][j]
//         p[j] = exp(s[j] - max(s)) / sum(exp(s - max(s)))
//         out[i] = sum_j p[j] * v[j] + v_bias
#include "attention_mma.cuh"
#include "attention_plain.cuh"
#include "attention_short.cuh"

#define RAGGED_ARGUMENTS(T)                                                                                   \
    const T *__restrict__ qkv, const T *__restrict__ qkv_bias, const T *__restrict__ bias, int bias_heads,    \
        const T *__restrict__ mask, int masks, const int *__restrict__ table, int tokens, T *__restrict__ out

#define RAGGED_MMA(name, T, D, SPLIT, BLOCKS)                                                           \
    extern "C" __global__ void __launch_bounds__(kThreads, BLOCKS) name(RAGGED_ARGUMENTS(T)) {          \
        const Sequences<T> rows = {bias, bias_heads, mask, masks, tokens};                              \
        attend_mma<T, D, SPLIT>(qkv, qkv_bias, table, rows, out);                                       \
    }

#define RAGGED_SHORT(name, T, KEYS, BLOCKS)                                                             \
    extern "C" __global__ void __launch_bounds__(kThreads, BLOCKS) name(RAGGED_ARGUMENTS(T)) {          \
        const Sequences<T> rows = {bias, bias_heads, mask, masks, tokens};                              \
        attend_short<T, KEYS>(qkv, qkv_bias, table, rows, out);                                         \
    }

#define RAGGED_PLAIN(name, T, D, BLOCKS)                                                                \
    extern "C" __global__ void __launch_bounds__(kThreads, BLOCKS) name(RAGGED_ARGUMENTS(T)) {          \
        const Sequences<T> rows = {bias, bias_heads, mask, masks, tokens};                              \
        attend_plain<T, D>(qkv, qkv_bias, table, rows, out);                                            \
    }

#if defined(SECATEUR_EMULATED) || __CUDA_ARCH__ >= 800
RAGGED_MMA(ragged_attention_fp16_d64, half_t, 64, 1, 3)
RAGGED_MMA(ragged_attention_fp16_d64_few, half_t, 64, 4, 3)
RAGGED_MMA(ragged_attention_fp16_d128, half_t, 128, 1, 2)
RAGGED_MMA(ragged_attention_fp16_d128_few, half_t, 128, 2, 2)
RAGGED_MMA(ragged_attention_fp16_d256, half_t, 256, 1, 1)
RAGGED_MMA(ragged_attention_fp16_d256_few, half_t, 256, 2, 1)
RAGGED_MMA(ragged_attention_bf16_d64, bfloat_t, 64, 1, 3)
RAGGED_MMA(ragged_attention_bf16_d64_few, bfloat_t, 64, 4, 3)
RAGGED_MMA(ragged_attention_bf16_d128, bfloat_t, 128, 1, 2)
RAGGED_MMA(ragged_attention_bf16_d128_few, bfloat_t, 128, 2, 2)
RAGGED_MMA(ragged_attention_bf16_d256, bfloat_t, 256, 1, 1)
RAGGED_MMA(ragged_attention_bf16_d256_few, bfloat_t, 256, 2, 1)
#endif
#if defined(SECATEUR_EMULATED) || (__CUDA_ARCH__ >= 800 && __CUDA_ARCH__ < 1000)  // ptxas spills for newer ones
RAGGED_SHORT(ragged_attention_fp16_d64_short208, half_t, 208, 2)
RAGGED_SHORT(ragged_attention_bf16_d64_short208, bfloat_t, 208, 2)
#endif
RAGGED_PLAIN(ragged_attention_fp32_plain_d64, float, 64, 4)
RAGGED_PLAIN(ragged_attention_fp32_plain_d256, float, 256, 3)
RAGGED_PLAIN(ragged_attention_fp16_plain_d64, half_t, 64, 4)
RAGGED_PLAIN(ragged_attention_fp16_plain_d256, half_t, 256, 3)
RAGGED_PLAIN(ragged_attention_bf16_plain_d64, bfloat_t, 64, 4)
RAGGED_PLAIN(ragged_attention_bf16_plain_d256, bfloat_t, 256, 3)
