// Attention on tensor cores (sm_80 and newer): a block computes `Shape::kRows` query rows of one head of one sequence.
//
// Four warps; each owns 16 query rows. With Split = 1 the warps own different rows and all keys. With Split > 1 `Split`
// warps share 16 rows and take different keys of each tile, each with its own running maximum and sum; the partial
// results meet in shared memory at the end. More, smaller blocks then fill a GPU when batch, heads and tokens are few.
//
// Keys and values come by cp.async, tile t + 1 while tile t is multiplied. A row of shared memory is D elements;
// 16-byte chunk c of row r lies at chunk c ^ (r % 8), so ldmatrix and the copies are free of bank conflicts. Widths
// that are no multiple of 16 are filled with zeros; a head narrower than D skips the steps that it does not need.
//
// Rows and keys go 16 at a time: a warp does no arithmetic for rows past the last token, and of the last tile only as
// many steps of 16 keys as there are. At N = 197 that is 208 x 208 for a head instead of 256 x 256.
//
// The projection's bias costs nothing on keys (it adds the same to all logits of a row) and nothing per tile on values
// (the weights of a row sum to 1, so it is added at the end); it is added to the queries as they are read.
//
// Shared memory: Q [kRows][D], K [2][kKeys][D], V [2][kKeys][D]; after the last tile the weights lie over Q (float
// [4][16][2]) and the partial sums over K and V (float [4][16][D], chunks of 8 swizzled in the same way).
#pragma once
#include "attention.cuh"

template <int D, int Split_>
struct MmaShape {
    static constexpr int kSplit = Split_;
    static constexpr int kKeys = D <= 64 ? 64 : 32;
    static constexpr int kRows = 16 * kWarps / kSplit;
    static constexpr int kWarpKeys = kKeys / kSplit;
    static_assert(kWarpKeys % 16 == 0, "a warp multiplies 16 keys at a time");
    static constexpr int kSharedBytes = (kRows + 4 * kKeys) * D * 2;
};

template <int D>
__device__ __forceinline__ int swizzled(int row, int chunk) {
    return row * D + ((chunk ^ (row & 7)) << 3);
}

// Eight elements of one row with zeros past `width`, plus the bias.
template <class T>
__device__ __forceinline__ Pack<T> gather(const T* row, int column, int width, bool inside, bool packs, const T* bias) {
    Pack<T> pack;
    if (inside && packs && column < width) {
        pack = *reinterpret_cast<const Pack<T>*>(row + column);
    } else {
#pragma unroll
        for (int e = 0; e < 8; ++e)
            pack.item[e] = inside && column + e < width ? row[column + e] : from_float<T>(0.f);
    }
    if (bias != nullptr) {
#pragma unroll
        for (int e = 0; e < 8; ++e)
            if (inside && column + e < width)
                pack.item[e] = from_float<T>(to_float(pack.item[e]) + to_float(bias[column + e]));
    }
    return pack;
}

// Starts the copy of `Count` rows of one head into a swizzled tile; rows past the last token and columns past `width`
// become zeros.
template <class T, int D, int Count, class Rows>
__device__ __forceinline__ void load_tile(T* tile, const T* qkv, const Rows& rows, int sequence, int first, int column,
                                          int width, bool packs, int row_stride) {
    const int chunks = 2 * ceil_div(width, 16);
#pragma unroll
    for (int n = threadIdx.x; n < Count * (D / 8); n += kThreads) {
        const int r = n / (D / 8), chunk = n % (D / 8);
        if (chunk >= chunks) continue;
        const bool inside = first + r < rows.tokens;
        const T* row = qkv + rows.row(sequence, inside ? first + r : 0) * row_stride + column;
        T* to = tile + swizzled<D>(r, chunk);
        if (packs) {
            const bool there = inside && chunk * 8 < width;
            copy_async(to, there ? row + chunk * 8 : qkv, there ? 16 : 0);
        } else {
            shared_store(reinterpret_cast<Pack<T>*>(to),
                         gather<T>(row, chunk * 8, width, inside, false, static_cast<const T*>(nullptr)));
        }
    }
}

// What a warp works on: the sequence and head, the first row of its block and key of its tile, its own share of both.
struct Share {
    int sequence, head, row, key, warp_row, warp_key;
};

// The running softmax of a warp's 16 rows (Milakov and Gimelshein, 2018), in the layout of the accumulators of
// mma.sync: lane l has rows l / 4 and l / 4 + 8, columns 2 (l % 4) and its right neighbour of each eight.
template <int D>
struct Running {
    float sums[D / 8][4] = {};
    float highest[2] = {MINUS_INFINITY, MINUS_INFINITY}, weight[2] = {0.f, 0.f};
};

// Adds `key_steps` times 16 keys of a tile to what a warp has.
template <class T, int D, int Split, class Rows>
__device__ __forceinline__ void attend_tile(const T* q_tile, const T* keys, const T* values, const Rows& rows,
                                            const Head& head, const Share& mine, int key_steps, Running<D>& so_far) {
    constexpr int kWarpKeys = MmaShape<D, Split>::kWarpKeys;
    const int lane = threadIdx.x % 32;
    const int qk_steps = ceil_div(head.qk, 16), v_steps = ceil_div(head.v, 16);

    float logits[kWarpKeys / 8][4] = {};
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
        if (step < qk_steps) {
            unsigned a[4], b[4];
            ldmatrix(a, shared_at(q_tile + swizzled<D>(mine.warp_row + lane % 16, 2 * step + lane / 16)));
#pragma unroll
            for (int n = 0; n < kWarpKeys / 16; ++n) {
                if (n >= key_steps) continue;
                const int key = mine.warp_key + 16 * n + lane % 8 + lane / 16 * 8;
                ldmatrix(b, shared_at(keys + swizzled<D>(key, 2 * step + lane / 8 % 2)));
                mma<T>(logits[2 * n], a, b[0], b[1]);
                mma<T>(logits[2 * n + 1], a, b[2], b[3]);
            }
        }
    }

    float tile_highest[2] = {so_far.highest[0], so_far.highest[1]};
#pragma unroll
    for (int n = 0; n < kWarpKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const int i = mine.row + mine.warp_row + lane / 4 + e / 2 * 8;
            const int j = mine.key + mine.warp_key + 8 * n + 2 * (lane % 4) + e % 2;
            float logit = logits[n][e] * head.scale_log2;
            if (rows.adds() && i < rows.tokens && j < rows.tokens)
                logit += rows.added(mine.sequence, mine.head, i, j) * kLog2e;
            logit = j < rows.tokens ? logit : MINUS_INFINITY;
            logits[n][e] = logit;
            tile_highest[e / 2] = fmaxf(tile_highest[e / 2], logit);
        }
    }
    float base[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        tile_highest[r] = fmaxf(tile_highest[r], __shfl_xor_sync(0xffffffffu, tile_highest[r], 1));
        tile_highest[r] = fmaxf(tile_highest[r], __shfl_xor_sync(0xffffffffu, tile_highest[r], 2));
        base[r] = exponent_base(tile_highest[r]);
        const float shrink = exp2f(so_far.highest[r] - base[r]);
        so_far.highest[r] = tile_highest[r];
        so_far.weight[r] *= shrink;
#pragma unroll
        for (int n = 0; n < D / 8; ++n) {
            so_far.sums[n][2 * r] *= shrink;
            so_far.sums[n][2 * r + 1] *= shrink;
        }
    }
#pragma unroll
    for (int n = 0; n < kWarpKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            logits[n][e] = exp2f(logits[n][e] - base[e / 2]);
            so_far.weight[e / 2] += logits[n][e];
        }
    }
#pragma unroll
    for (int n = 0; n < kWarpKeys / 16; ++n) {
        if (n >= key_steps) continue;
        const unsigned a[4] = {pack_pair(T(), logits[2 * n][0], logits[2 * n][1]),
                               pack_pair(T(), logits[2 * n][2], logits[2 * n][3]),
                               pack_pair(T(), logits[2 * n + 1][0], logits[2 * n + 1][1]),
                               pack_pair(T(), logits[2 * n + 1][2], logits[2 * n + 1][3])};
#pragma unroll
        for (int step = 0; step < D / 16; ++step) {
            if (step < v_steps) {
                unsigned b[4];
                const int key = mine.warp_key + 16 * n + lane % 16;
                ldmatrix_transposed(b, shared_at(values + swizzled<D>(key, 2 * step + lane / 16)));
                mma<T>(so_far.sums[2 * step], a, b[0], b[1]);
                mma<T>(so_far.sums[2 * step + 1], a, b[2], b[3]);
            }
        }
    }
}

template <class T, int D, int Split, class Rows>
__device__ __forceinline__ void attend_mma(const T* qkv, const T* qkv_bias, const int* table,
                                           const Rows rows, T* out) {
    using Shape = MmaShape<D, Split>;
    constexpr int kRows = Shape::kRows, kKeys = Shape::kKeys, kWarpKeys = Shape::kWarpKeys;
    SHARED_BYTES(shared);
    T* const q_tile = reinterpret_cast<T*>(shared);
    T* const k_tile = q_tile + kRows * D;
    T* const v_tile = k_tile + 2 * kKeys * D;

    const int blocks = ceil_div(rows.tokens, kRows);
    const int sequence = blockIdx.x / blocks, first_row = blockIdx.x % blocks * kRows, h = blockIdx.y;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = 16 * (warp / Split), warp_key = kWarpKeys * (warp % Split);
    const Head head(table, h);
    const int qk_steps = ceil_div(head.qk, 16), v_steps = ceil_div(head.v, 16);
    const int tiles = ceil_div(rows.tokens, kKeys);

    load_tile<T, D, kKeys>(k_tile, qkv, rows, sequence, 0, head.k_at, head.qk, head.qk_packs, head.row_stride);
    load_tile<T, D, kKeys>(v_tile, qkv, rows, sequence, 0, head.v_at, head.v, head.v_packs, head.row_stride);
    copy_commit();
    for (int n = threadIdx.x; n < kRows * (D / 8); n += kThreads) {
        const int r = n / (D / 8), chunk = n % (D / 8);
        if (chunk >= 2 * qk_steps) continue;
        const bool inside = first_row + r < rows.tokens;
        const T* row = qkv + rows.row(sequence, inside ? first_row + r : 0) * head.row_stride + head.q_at;
        const T* bias = qkv_bias != nullptr ? qkv_bias + head.q_at : nullptr;
        shared_store(reinterpret_cast<Pack<T>*>(q_tile + swizzled<D>(r, chunk)),
                     gather<T>(row, chunk * 8, head.qk, inside, head.qk_packs, bias));
    }

    const bool awake = first_row + warp_row < rows.tokens;
    Running<D> so_far;
    for (int tile = 0; tile < tiles; ++tile) {
        const int stage = tile & 1;
        if (tile + 1 < tiles) {
            const int next = (tile + 1) * kKeys;
            load_tile<T, D, kKeys>(k_tile + (stage ^ 1) * kKeys * D, qkv, rows, sequence, next, head.k_at, head.qk,
                                   head.qk_packs, head.row_stride);
            load_tile<T, D, kKeys>(v_tile + (stage ^ 1) * kKeys * D, qkv, rows, sequence, next, head.v_at, head.v,
                                   head.v_packs, head.row_stride);
            copy_commit();
            copy_wait<1>();
        } else {
            copy_wait<0>();
        }
        __syncthreads();  // tile has arrived for all threads
        const T* const keys = k_tile + stage * kKeys * D;
        const T* const values = v_tile + stage * kKeys * D;

        // only as far as there are keys; a warp whose rows all lie past the last token has nothing to do
        const int key_steps = awake ? ceil_div(rows.tokens - tile * kKeys - warp_key, 16) : 0;
        if (key_steps > 0) {
            const Share mine = {sequence, h, first_row, tile * kKeys, warp_row, warp_key};
            attend_tile<T, D, Split>(q_tile, keys, values, rows, head, mine, key_steps, so_far);
        }
        __syncthreads();  // all warps have read this stage before the next copy writes to it
    }

    float* const partial = reinterpret_cast<float*>(k_tile);  // [kWarps][16][D]
    float2* const weights = reinterpret_cast<float2*>(q_tile);  // [kWarps][16] of (highest, weight)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        so_far.weight[r] += __shfl_xor_sync(0xffffffffu, so_far.weight[r], 1);
        so_far.weight[r] += __shfl_xor_sync(0xffffffffu, so_far.weight[r], 2);
        const int at = 16 * warp + lane / 4 + 8 * r;
        if (lane % 4 == 0) shared_store(weights + at, make_float2(so_far.highest[r], so_far.weight[r]));
#pragma unroll
        for (int n = 0; n < D / 8; ++n)
            if (n < 2 * v_steps)
                shared_store(reinterpret_cast<float2*>(partial + swizzled<D>(at, n) + 2 * (lane % 4)),
                             make_float2(so_far.sums[n][2 * r], so_far.sums[n][2 * r + 1]));
    }
    __syncthreads();  // all partial results are there

    const T* const v_bias = qkv_bias != nullptr ? qkv_bias + head.v_at : nullptr;
    for (int n = threadIdx.x; n < kRows * (D / 8); n += kThreads) {
        const int r = n / (D / 8), chunk = n % (D / 8);
        if (first_row + r >= rows.tokens || chunk * 8 >= head.v) continue;
        float2 part[Split];
        float top = MINUS_INFINITY, total = 0.f, value[8] = {};
#pragma unroll
        for (int s = 0; s < Split; ++s) {
            part[s] = shared_load(weights + 16 * (r / 16 * Split + s) + r % 16);
            top = fmaxf(top, part[s].x);
        }
#pragma unroll
        for (int s = 0; s < Split; ++s) {
            const float share = exp2f(part[s].x - exponent_base(top));
            total += part[s].y * share;
            const int at = 16 * (r / 16 * Split + s) + r % 16;
#pragma unroll
            for (int e = 0; e < 8; ++e) value[e] += shared_load(partial + swizzled<D>(at, chunk) + e) * share;
        }
        T* const to = out + rows.row(sequence, first_row + r) * head.out_stride + head.out_at;
        Pack<T> pack;
#pragma unroll
        for (int e = 0; e < 8; ++e)
            pack.item[e] = chunk * 8 + e < head.v ? finish<T>(value[e], total, v_bias, chunk * 8 + e)
                                                  : from_float<T>(0.f);
        if (head.v_packs) {
            *reinterpret_cast<Pack<T>*>(to + chunk * 8) = pack;
        } else {
#pragma unroll
            for (int e = 0; e < 8; ++e)
                if (chunk * 8 + e < head.v) to[chunk * 8 + e] = pack.item[e];
        }
    }
}
