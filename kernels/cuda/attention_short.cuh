// Attention of short sequences on tensor cores (sm_80 to sm_90): all keys and values of one head of one sequence are in
// shared memory, and a warp has all logits of its 16 query rows in registers.
//
// Four warps; each takes 16 rows at a time, every fourth of the block's row groups, so with 197 tokens about 52 rows.
// `gridDim.z` blocks share the rows of one head where heads and sequences alone are too few.
//
// The softmax is the plain one, from its definition: the maximum of a row is known before its first weight, and nothing
// is corrected afterwards. The sum of the weights is a product with ones, of the very weights that multiply the values.
//
// Keys are read while values still come (two groups of cp.async). After the values have arrived no warp waits for
// another: queries come from global memory right into the fragments of mma.sync, and the output goes from them.
//
// Scale and maximum are one FMA: exp(scale (x - max)) = exp2(x f - max f). With a bias, a mask or a scale that is not
// positive the logits are scaled first, and f is 1. Keys past the last token are masked in the last 16 only.
//
// Shared memory: K [up to kKeys][64], V [up to kKeys][64], rows and chunks as in attention_mma.cuh.
#pragma once
#include "attention_mma.cuh"

template <int Keys>
struct ShortShape {
    static constexpr int kKeys = Keys;  // the most tokens
    static constexpr int kWidth = 64;   // the widest head
    static constexpr int kSteps = kKeys / 16;
};

// Starts the copies of all `rows_up` rows of one head; each thread keeps its chunk, and strides over the rows.
template <class T, int D, class Rows>
__device__ __forceinline__ void load_all(T* tile, const T* qkv, const Rows& rows, int sequence, int rows_up, int column,
                                         int width, bool packs, int row_stride) {
    const int chunks = 2 * ceil_div(width, 16);
    const int shift = chunks > 4 ? 3 : chunks > 2 ? 2 : 1;  // 2, 4 or 8 lanes for a row
    const int chunk = threadIdx.x & ((1 << shift) - 1);
    if (chunk >= chunks) return;
    const bool wide_enough = chunk * 8 < width;
    for (int r = threadIdx.x >> shift; r < rows_up; r += kThreads >> shift) {
        const bool inside = r < rows.tokens;
        const T* const row = qkv + rows.row(sequence, inside ? r : 0) * row_stride + column;
        T* const to = tile + swizzled<D>(r, chunk);
        if (packs) {
            copy_async(to, wide_enough ? row + chunk * 8 : qkv, inside && wide_enough ? 16 : 0);
        } else {
            shared_store(reinterpret_cast<Pack<T>*>(to),
                         gather<T>(row, chunk * 8, width, inside, false, static_cast<const T*>(nullptr)));
        }
    }
}

// Two neighbours of a row of queries as mma.sync wants them, with zeros past `width`, plus the bias.
template <class T>
__device__ __forceinline__ unsigned query_pair(const T* row, int column, int width, bool inside, const T* bias) {
    float pair[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        const bool there = inside && column + e < width;
        pair[e] = there ? to_float(row[column + e]) + (bias != nullptr ? to_float(bias[column + e]) : 0.f) : 0.f;
    }
    return pack_pair(T(), pair[0], pair[1]);
}

// logits[key][.] = a k for `Steps` times 16 dimensions of the head; the lane's first row begins at `at`.
template <class T, int Steps, int D, int KeySteps>
__device__ __forceinline__ void multiply_keys(float (&logits)[2 * KeySteps][4], const unsigned (&a)[D / 16][4],
                                              SharedAt at, int key_steps) {
    SharedAt rows_at[Steps];
#pragma unroll
    for (int step = 0; step < Steps; ++step) rows_at[step] = kept(further(at, step));
#pragma unroll
    for (int n = 0; n < KeySteps; ++n) {
        if (n >= key_steps) break;
#pragma unroll
        for (int e = 0; e < 8; ++e) logits[2 * n + e / 4][e % 4] = 0.f;
#pragma unroll
        for (int step = 0; step < Steps; ++step) {
            unsigned b[4];
            ldmatrix(b, rows_at[step] + n * 32 * D);
            mma<T>(logits[2 * n], a[step], b[0], b[1]);
            mma<T>(logits[2 * n + 1], a[step], b[2], b[3]);
        }
    }
}

// sums[.][column] += weights v for `Steps` times 16 columns of the head.
template <class T, int Steps, int D, int KeySteps>
__device__ __forceinline__ void multiply_values(float (&sums)[D / 8][4], const unsigned (&weights)[KeySteps][4],
                                                SharedAt at, int key_steps) {
    SharedAt rows_at[Steps];
#pragma unroll
    for (int step = 0; step < Steps; ++step) rows_at[step] = kept(further(at, step));
#pragma unroll
    for (int n = 0; n < KeySteps; ++n) {
        if (n >= key_steps) break;
#pragma unroll
        for (int step = 0; step < Steps; ++step) {
            unsigned b[4];
            ldmatrix_transposed(b, rows_at[step] + n * 32 * D);
            mma<T>(sums[2 * step], weights[n], b[0], b[1]);
            mma<T>(sums[2 * step + 1], weights[n], b[2], b[3]);
        }
    }
}

template <class T, int Keys, class Rows>
__device__ __forceinline__ void attend_short(const T* qkv, const T* qkv_bias, const int* table, const Rows rows,
                                             T* out) {
    constexpr int D = ShortShape<Keys>::kWidth, kSteps = ShortShape<Keys>::kSteps;
    SHARED_BYTES(shared);
    const int all_steps = ceil_div(rows.tokens, 16);
    T* const keys = reinterpret_cast<T*>(shared);
    T* const values = keys + 16 * all_steps * D;

    const int sequence = blockIdx.x, h = blockIdx.y;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const Head head(table, h);
    const int qk_steps = ceil_div(head.qk, 16);
    load_all<T, D>(keys, qkv, rows, sequence, 16 * all_steps, head.k_at, head.qk, head.qk_packs, head.row_stride);
    copy_commit();
    load_all<T, D>(values, qkv, rows, sequence, 16 * all_steps, head.v_at, head.v, head.v_packs, head.row_stride);
    copy_commit();
    copy_wait<1>();
    __syncthreads();  // the keys are there

    const T* const q_bias = qkv_bias != nullptr ? qkv_bias + head.q_at : nullptr;
    const bool scaled_first = rows.adds() || !(head.scale_log2 > 0.f);
    const float factor = scaled_first ? 1.f : head.scale_log2;
    const int groups = all_steps, stride = kWarps * gridDim.z;
    const SharedAt keys_at = kept(shared_at(keys + swizzled<D>(lane % 8 + lane / 16 * 8, lane / 8 % 2)));
    const SharedAt values_at = kept(shared_at(values + swizzled<D>(lane % 16, lane / 16)));
    bool values_there = false;
    for (int group = blockIdx.z * kWarps + warp; group < groups || !values_there; group += stride) {
        const bool awake = group < groups;  // all warps meet once, at the values
        float logits[2 * kSteps][4];  // of the steps that there are
        float highest[2] = {MINUS_INFINITY, MINUS_INFINITY};
        if (awake) {
            unsigned a[D / 16][4];
#pragma unroll
            for (int part = 0; part < 4; ++part) {
                const int i = 16 * group + lane / 4 + part % 2 * 8;
                const bool inside = i < rows.tokens;
                const T* const row = qkv + rows.row(sequence, inside ? i : 0) * head.row_stride + head.q_at;
                const int first = 2 * (lane % 4) + part / 2 * 8;
                if (head.qk_packs && q_bias == nullptr) {
                    const int width = inside ? head.qk : 0;
#pragma unroll
                    for (int step = 0; step < D / 16; ++step)
                        a[step][part] = 16 * step + first < width
                                            ? *reinterpret_cast<const unsigned*>(row + 16 * step + first)
                                            : 0u;
                } else {
#pragma unroll
                    for (int step = 0; step < D / 16; ++step)
                        a[step][part] = query_pair<T>(row, 16 * step + first, head.qk, inside, q_bias);
                }
            }
            if (qk_steps > 3) multiply_keys<T, 4, D, kSteps>(logits, a, keys_at, kept(all_steps));
            else if (qk_steps == 3) multiply_keys<T, 3, D, kSteps>(logits, a, keys_at, kept(all_steps));
            else if (qk_steps == 2) multiply_keys<T, 2, D, kSteps>(logits, a, keys_at, kept(all_steps));
            else multiply_keys<T, 1, D, kSteps>(logits, a, keys_at, kept(all_steps));
            if (scaled_first) {
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                    const int i = 16 * group + lane / 4 + 8 * r;
                    const auto added = rows.added_row(sequence, h, i < rows.tokens ? i : 0);
#pragma unroll
                    for (int n = 0; n < 2 * kSteps; ++n) {
#pragma unroll
                        for (int e = 0; e < 2; ++e) {
                            const int j = 8 * n + 2 * (lane % 4) + e;
                            if (j >= rows.tokens) continue;  // masked below, or of a step that is not there
                            float& logit = logits[n][2 * r + e];
                            logit = logit * head.scale_log2 + added[j] * kLog2e;
                        }
                    }
                }
            }
            const int last = kept(all_steps - 1);
#pragma unroll
            for (int n = 0; n < kSteps; ++n) {
                if (n == last) {
#pragma unroll
                    for (int e = 0; e < 8; ++e)
                        if (16 * n + 8 * (e / 4) + 2 * (lane % 4) + e % 2 >= rows.tokens)
                            logits[2 * n + e / 4][e % 4] = MINUS_INFINITY;
                }
#pragma unroll
                for (int e = 0; e < 8; ++e)
                    highest[e % 4 / 2] = fmaxf(highest[e % 4 / 2], logits[2 * n + e / 4][e % 4]);
                if (n == last) break;
            }
        }
        if (!values_there) {
            copy_wait<0>();
            __syncthreads();  // the values are there
            values_there = true;
        }
        if (!awake) break;

        float base[2], totals[4] = {};
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            highest[r] = fmaxf(highest[r], __shfl_xor_sync(0xffffffffu, highest[r], 1));
            highest[r] = fmaxf(highest[r], __shfl_xor_sync(0xffffffffu, highest[r], 2));
            base[r] = -exponent_base(highest[r]) * factor;
        }
        unsigned weights[kSteps][4];
        const unsigned ones = pack_pair(T(), 1.f, 1.f);
        const int key_steps = kept(all_steps);
#pragma unroll
        for (int n = 0; n < kSteps; ++n) {
            if (n >= key_steps) break;
#pragma unroll
            for (int e = 0; e < 8; ++e) {
                float& p = logits[2 * n + e / 4][e % 4];
                p = exp2_fast(fmaf(p, factor, base[e % 4 / 2]));
            }
#pragma unroll
            for (int e = 0; e < 4; ++e)
                weights[n][e] = pack_pair(T(), logits[2 * n + e / 2][e % 2 * 2], logits[2 * n + e / 2][e % 2 * 2 + 1]);
            mma<T>(totals, weights[n], ones, ones);
        }
        const Head mine(table, kept(h));  // read again: kept all the way it would cost registers that the logits need
        const T* const v_bias = qkv_bias != nullptr ? qkv_bias + mine.v_at : nullptr;
        float sums[D / 8][4] = {};
        const int v_steps = ceil_div(mine.v, 16);
        if (v_steps > 3) multiply_values<T, 4, D, kSteps>(sums, weights, values_at, kept(all_steps));
        else if (v_steps == 3) multiply_values<T, 3, D, kSteps>(sums, weights, values_at, kept(all_steps));
        else if (v_steps == 2) multiply_values<T, 2, D, kSteps>(sums, weights, values_at, kept(all_steps));
        else multiply_values<T, 1, D, kSteps>(sums, weights, values_at, kept(all_steps));
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const float weight = totals[2 * r];
            const int i = 16 * group + lane / 4 + 8 * r;
            if (i >= rows.tokens) continue;
            T* const to = out + rows.row(sequence, i) * mine.out_stride + mine.out_at;
            const bool attends = weight != 0.f;  // a row without any finite logit gives 0, as finish() says
            const float share = attends ? 1.f / weight : 0.f;
            if (v_bias != nullptr && attends) {
#pragma unroll
                for (int n = 0; n < D / 8; ++n)
#pragma unroll
                    for (int e = 0; e < 2; ++e) {
                        const int column = 8 * n + 2 * (lane % 4) + e;
                        if (column < mine.v) sums[n][2 * r + e] += to_float(v_bias[column]) * weight;
                    }
            }
            if (mine.v_packs) {
#pragma unroll
                for (int n = 0; n < D / 8; ++n) {
                    const unsigned pair = pack_pair(T(), sums[n][2 * r] * share, sums[n][2 * r + 1] * share);
                    if (8 * n < mine.v) *reinterpret_cast<unsigned*>(to + 8 * n + 2 * (lane % 4)) = pair;
                }
            } else {
#pragma unroll
                for (int n = 0; n < D / 8; ++n)
#pragma unroll
                    for (int e = 0; e < 2; ++e) {
                        const int column = 8 * n + 2 * (lane % 4) + e;
                        if (column < mine.v) to[column] = from_float<T>(sums[n][2 * r + e] * share);
                    }
            }
        }
    }
}
