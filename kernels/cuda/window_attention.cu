// window_attention: Swin's roll, window partition, attention with bias and shift mask, window reverse and roll back as
// one kernel that reads and writes the feature map once; heads may have different widths.
//
// qkv [B, height, width, sum(q) + sum(k) + sum(v)], out [B, height, width, sum(v)]; height and width are multiples of
// the window's. Grid (B * windows * ceil(window tokens / rows per block), heads), 128 threads.
//
// window_attention_{fp16,bf16}_d64          tensor cores, 64 query rows a block (one block for a 7 x 7 or 8 x 8 window)
// window_attention_{fp16,bf16}_d128         tensor cores, heads up to 128
// window_attention_{fp32,fp16,bf16}_plain_d128  no tensor cores, 16 rows a block
//
// CPU reference, for one image and one head (float64):
//     rolled = roll(qkv, (-shift_y, -shift_x));  windows = partition(rolled)
//     for each window: s[i][j] = scale * dot(q[i], k[j]) + bias[h][i][j] - (100 if region[i] != region[j] else 0)
//                      out[i]  = sum_j softmax(s[i])[j] * v[j]
//     out = roll(reverse(windows), (shift_y, shift_x))
#include "attention_mma.cuh"
#include "attention_plain.cuh"

#define WINDOW_ARGUMENTS(T)                                                                                     \
    const T *__restrict__ qkv, const T *__restrict__ qkv_bias, const T *__restrict__ bias, int bias_heads,      \
        const int *__restrict__ table, int height, int width, int window_height, int window_width, int shift_y,  \
        int shift_x, T *__restrict__ out

#define WINDOW_ROWS(T)                                                                                           \
    const Windows<T> rows = {bias,    bias_heads, height, width, window_height, window_width, shift_y, shift_x, \
                             window_height * window_width}

#define WINDOW_MMA(name, T, D, BLOCKS)                                                          \
    extern "C" __global__ void __launch_bounds__(kThreads, BLOCKS) name(WINDOW_ARGUMENTS(T)) {  \
        WINDOW_ROWS(T);                                                                         \
        attend_mma<T, D, 1>(qkv, qkv_bias, table, rows, out);                                   \
    }

#define WINDOW_PLAIN(name, T, D)                                                            \
    extern "C" __global__ void __launch_bounds__(kThreads, 3) name(WINDOW_ARGUMENTS(T)) {   \
        WINDOW_ROWS(T);                                                                     \
        attend_plain<T, D>(qkv, qkv_bias, table, rows, out);                                \
    }

#if defined(SECATEUR_EMULATED) || __CUDA_ARCH__ >= 800
WINDOW_MMA(window_attention_fp16_d64, half_t, 64, 2)
WINDOW_MMA(window_attention_fp16_d128, half_t, 128, 2)
WINDOW_MMA(window_attention_bf16_d64, bfloat_t, 64, 2)
WINDOW_MMA(window_attention_bf16_d128, bfloat_t, 128, 2)
#endif
WINDOW_PLAIN(window_attention_fp32_plain_d128, float, 128)
WINDOW_PLAIN(window_attention_fp16_plain_d128, half_t, 128)
WINDOW_PLAIN(window_attention_bf16_plain_d128, bfloat_t, 128)
