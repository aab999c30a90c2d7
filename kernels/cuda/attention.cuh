// What the attention kernels share: the head table, where a token's row lies, and what is added to a logit.
#pragma once
#include "device.cuh"

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr float kLog2e = 1.4426950408889634f;

// The head table, int32: {heads, row stride of qkv, row stride of out, bits of the scale} and then, for every head,
// {qk width, v width, q offset, k offset, v offset, out offset, flags, 0}, in elements. Flag 1: q and k may be read 16
// bytes at a time; flag 2: v and out may.
constexpr int kTableHeader = 4;
constexpr int kTableHead = 8;

struct Head {
    int qk, v, q_at, k_at, v_at, out_at;
    bool qk_packs, v_packs;
    int row_stride, out_stride;
    float scale_log2;

    __device__ __forceinline__ Head(const int* table, int index) {
        const int* row = table + kTableHeader + kTableHead * index;
        qk = row[0];
        v = row[1];
        q_at = row[2];
        k_at = row[3];
        v_at = row[4];
        out_at = row[5];
        qk_packs = row[6] & 1;
        v_packs = row[6] & 2;
        row_stride = table[1];
        out_stride = table[2];
        scale_log2 = bits_to_float(table[3]) * kLog2e;
    }
};

// What is added to the logits of one query, by key: a row of the bias and a row of the mask, either null. Two pointers
// that stay in registers: `added` below finds its element anew, where a kernel (the plain ones) would spill them.
template <class T>
struct AddedRow {
    const T* bias;
    const T* mask;

    __device__ __forceinline__ float operator[](int j) const {
        return (bias != nullptr ? to_float(bias[j]) : 0.f) + (mask != nullptr ? to_float(mask[j]) : 0.f);
    }
};

// Token i of sequence b is row b * tokens + i of the input and of the output.
template <class T>
struct Sequences {
    const T* bias;   // [bias_heads, tokens, tokens] or null
    int bias_heads;  // 1: shared by all heads
    const T* mask;   // [masks, tokens, tokens] or null; sequence b takes mask b % masks
    int masks;
    int tokens;

    __device__ __forceinline__ long long row(int sequence, int i) const {
        return static_cast<long long>(sequence) * tokens + i;
    }
    __device__ __forceinline__ bool adds() const { return bias != nullptr || mask != nullptr; }
    __device__ __forceinline__ AddedRow<T> added_row(int sequence, int head, int i) const {
        const long long area = static_cast<long long>(tokens) * tokens;
        const long long at = static_cast<long long>(i) * tokens;
        return {bias != nullptr ? bias + (bias_heads > 1 ? head : 0) * area + at : nullptr,
                mask != nullptr ? mask + (sequence % masks) * area + at : nullptr};
    }
    // What is added to the logit of query i and key j.
    __device__ __forceinline__ float added(int sequence, int head, int i, int j) const {
        float sum = 0.f;
        const long long area = static_cast<long long>(tokens) * tokens;
        const long long at = static_cast<long long>(i) * tokens + j;
        if (bias != nullptr) sum += to_float(bias[(bias_heads > 1 ? head : 0) * area + at]);
        if (mask != nullptr) sum += to_float(mask[(sequence % masks) * area + at]);
        return sum;
    }
};

// Swin (Liu et al., 2021): "sequence" is one window of a feature map [B, height, width, .] rolled by -shift; token i of
// it is read where it lies in the unrolled map, so roll, partition, reverse and roll back cost no traffic. Tokens that
// the roll brought together from opposite borders are kept apart by -100, as timm does.
template <class T>
struct Windows {
    const T* bias;  // [bias_heads, tokens, tokens] or null
    int bias_heads;
    int height, width, window_height, window_width, shift_y, shift_x;
    int tokens;  // window_height * window_width

    struct Place {
        int y, x;
    };
    // Where token i of the window lies in the rolled map.
    __device__ __forceinline__ Place place(int sequence, int i) const {
        const int across = width / window_width;
        const int window = sequence % (across * (height / window_height));
        return {window / across * window_height + i / window_width, window % across * window_width + i % window_width};
    }
    __device__ __forceinline__ long long row(int sequence, int i) const {
        const Place at = place(sequence, i);
        const int image = sequence / ((width / window_width) * (height / window_height));
        const int y = at.y + shift_y < height ? at.y + shift_y : at.y + shift_y - height;
        const int x = at.x + shift_x < width ? at.x + shift_x : at.x + shift_x - width;
        return (static_cast<long long>(image) * height + y) * width + x;
    }
    __device__ __forceinline__ int region(int sequence, int i) const {
        const Place at = place(sequence, i);
        const int down = at.y < height - window_height ? 0 : at.y < height - shift_y ? 1 : 2;
        const int right = at.x < width - window_width ? 0 : at.x < width - shift_x ? 1 : 2;
        return 3 * down + right;
    }
    __device__ __forceinline__ bool shifted() const { return shift_y > 0 || shift_x > 0; }
    __device__ __forceinline__ bool adds() const { return bias != nullptr || shifted(); }
    __device__ __forceinline__ float added(int sequence, int head, int i, int j) const {
        float sum = 0.f;
        if (bias != nullptr) {
            const long long at = (static_cast<long long>(bias_heads > 1 ? head : 0) * tokens + i) * tokens + j;
            sum += to_float(bias[at]);
        }
        if (shifted() && region(sequence, i) != region(sequence, j)) sum -= 100.f;
        return sum;
    }
};

// The highest logit so far as the base of exp2: finite even when all logits of a row are minus infinity.
__device__ __forceinline__ float exponent_base(float highest) { return highest == MINUS_INFINITY ? 0.f : highest; }

// One output value from its unnormalised sum; a row without any finite logit gives 0, as PyTorch's safe softmax does.
template <class T>
__device__ __forceinline__ T finish(float sum, float weight, const T* v_bias, int column) {
    if (!(weight > 0.f)) return from_float<T>(weight == 0.f ? 0.f : weight);
    const float value = sum / weight + (v_bias != nullptr ? to_float(v_bias[column]) : 0.f);
    return from_float<T>(value);
}
