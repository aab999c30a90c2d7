// Attention without tensor cores: fp32 everywhere, and 16-bit types on sm_75. One block computes 16 query rows of one
// head of one sequence: four warps of four rows, 32 keys at a time.
//
// Logits: lane = key, four rows at once, so a key read from shared memory serves four products. Values: lane = value
// column (d = lane + 32 c), the weights come from the other lanes by shuffle. All arithmetic is fp32.
//
// Shared memory, float: Q [16][D], then one tile [32][D + 1] that holds the keys and then the values (the odd row
// length keeps 32 lanes in 32 banks).
#pragma once
#include "attention.cuh"

constexpr int kPlainRows = 16;
constexpr int kPlainKeys = 32;
constexpr int kRowsPerWarp = kPlainRows / kWarps;

template <class T, int D, class Rows>
__device__ __forceinline__ void load_plain(float* tile, const T* qkv, const Rows& rows, int sequence, int first,
                                           int count, int column, int width, int padded, int stride, int row_stride,
                                           const T* bias) {
    for (int n = threadIdx.x; n < count * padded; n += kThreads) {
        const int r = n / padded, d = n % padded;
        float value = 0.f;
        if (first + r < rows.tokens && d < width) {
            value = to_float(qkv[rows.row(sequence, first + r) * row_stride + column + d]);
            if (bias != nullptr) value += to_float(bias[d]);
        }
        shared_store(tile + r * stride + d, value);
    }
}

template <class T, int D, class Rows>
__device__ __forceinline__ void attend_plain(const T* qkv, const T* qkv_bias, const int* table,
                                             const Rows rows, T* out) {
    SHARED_BYTES(shared);
    float* const q_tile = reinterpret_cast<float*>(shared);
    float* const tile = q_tile + kPlainRows * D;
    constexpr int kStride = D + 1;

    const int blocks = ceil_div(rows.tokens, kPlainRows);
    const int sequence = blockIdx.x / blocks, first_row = blockIdx.x % blocks * kPlainRows, h = blockIdx.y;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const Head head(table, h);
    const int qk_padded = 4 * ceil_div(head.qk, 4), v_padded = 32 * ceil_div(head.v, 32);
    const bool adds = rows.adds();
    const T* const none = nullptr;

    load_plain<T, D>(q_tile, qkv, rows, sequence, first_row, kPlainRows, head.q_at, head.qk, qk_padded, D,
                     head.row_stride, qkv_bias != nullptr ? qkv_bias + head.q_at : none);
    float sums[kRowsPerWarp][D / 32] = {};
    float highest[kRowsPerWarp], weight[kRowsPerWarp];
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) {
        highest[r] = MINUS_INFINITY;
        weight[r] = 0.f;
    }

    for (int first_key = 0; first_key < rows.tokens; first_key += kPlainKeys) {
        load_plain<T, D>(tile, qkv, rows, sequence, first_key, kPlainKeys, head.k_at, head.qk, qk_padded, kStride,
                         head.row_stride, none);
        __syncthreads();  // keys (and, the first time, queries) are there
        float logit[kRowsPerWarp] = {};
        for (int d = 0; d < qk_padded; d += 4) {
            float k[4];
#pragma unroll
            for (int e = 0; e < 4; ++e) k[e] = shared_load(tile + lane * kStride + d + e);
#pragma unroll
            for (int r = 0; r < kRowsPerWarp; ++r) {
                const float* const row = q_tile + (kRowsPerWarp * warp + r) * D + d;
                const float4 q = shared_load(reinterpret_cast<const float4*>(row));
                logit[r] += q.x * k[0] + q.y * k[1] + q.z * k[2] + q.w * k[3];
            }
        }
        __syncthreads();  // the keys have been read; values may take their place
        load_plain<T, D>(tile, qkv, rows, sequence, first_key, kPlainKeys, head.v_at, head.v, v_padded, kStride,
                         head.row_stride, none);

        const int j = first_key + lane;
#pragma unroll
        for (int r = 0; r < kRowsPerWarp; ++r) {
            const int i = first_row + kRowsPerWarp * warp + r;
            float value = logit[r] * head.scale_log2;
            if (adds && i < rows.tokens && j < rows.tokens) value += rows.added(sequence, h, i, j) * kLog2e;
            value = j < rows.tokens ? value : MINUS_INFINITY;
            const float top = fmaxf(highest[r], warp_max(value));
            const float base = exponent_base(top);
            const float shrink = exp2f(highest[r] - base);
            logit[r] = exp2f(value - base);
            weight[r] = weight[r] * shrink + warp_sum(logit[r]);
            highest[r] = top;
#pragma unroll
            for (int c = 0; c < D / 32; ++c) sums[r][c] *= shrink;
        }
        __syncthreads();  // the values are there
        for (int key = 0; key < kPlainKeys; ++key) {
            float p[kRowsPerWarp];
#pragma unroll
            for (int r = 0; r < kRowsPerWarp; ++r) p[r] = __shfl_sync(0xffffffffu, logit[r], key);
#pragma unroll
            for (int c = 0; c < D / 32; ++c) {
                if (32 * c < head.v) {
                    const float v = shared_load(tile + key * kStride + lane + 32 * c);
#pragma unroll
                    for (int r = 0; r < kRowsPerWarp; ++r) sums[r][c] += p[r] * v;
                }
            }
        }
        __syncthreads();  // the values have been read
    }

    const T* const v_bias = qkv_bias != nullptr ? qkv_bias + head.v_at : none;
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) {
        const int i = first_row + kRowsPerWarp * warp + r;
        if (i >= rows.tokens) continue;
        T* const to = out + rows.row(sequence, i) * head.out_stride + head.out_at;
#pragma unroll
        for (int c = 0; c < D / 32; ++c) {
            const int d = lane + 32 * c;
            if (d < head.v) to[d] = finish<T>(sums[r][c], weight[r], v_bias, d);
        }
    }
}
