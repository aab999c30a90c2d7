// residual_layernorm: sum = x + scale * branch (scale: LayerScale, optional) and normed = LayerNorm(sum), both written.
//
// One warp a row; grid (ceil(rows / warps per block)), block (32, warps per block). The row stays in shared memory as
// float between the passes, each lane reading back only what it wrote, so no barrier is needed; mean and variance
// are two passes over it, which keeps rows far from zero exact (a one-pass variance cancels).
// Shared memory: float [warps per block][width], width rounded up to whole packs.
//
// residual_layernorm_{fp32,fp16,bf16}         16-byte accesses; width a multiple of 16 bytes of elements
// residual_layernorm_{fp32,fp16,bf16}_scalar  any width
//
// CPU reference (float64):
//     sum[r] = x[r] + scale * branch[r];  mean = avg(sum[r]);  var = avg((sum[r] - mean)^2)
//     normed[r] = (sum[r] - mean) / sqrt(var + epsilon) * weight + bias
#include "device.cuh"

template <class T, int Width>
struct Chunk;
template <class T>
struct Chunk<T, 1> {
    static constexpr int count = 1;
    T item[1];
};
template <class T>
struct Chunk<T, 16> : Pack<T> {};

template <class T, int Bytes>
__device__ __forceinline__ void normalise(const T* x, const T* branch, const T* scale, const T* weight, const T* bias,
                                          int rows, int width, float epsilon, T* sum, T* normed) {
    using C = Chunk<T, Bytes>;
    constexpr int kCount = C::count;
    SHARED_BYTES(shared);
    const int chunks = ceil_div(width, kCount);
    float* const kept = reinterpret_cast<float*>(shared) + threadIdx.y * chunks * kCount;
    const int row = blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;  // a whole warp leaves; nobody waits for it
    const long long start = static_cast<long long>(row) * width;

    float total = 0.f;
    for (int c = threadIdx.x; c < chunks; c += 32) {
        const C a = *reinterpret_cast<const C*>(x + start + c * kCount);
        C b, s, kept_as;
        if (branch != nullptr) b = *reinterpret_cast<const C*>(branch + start + c * kCount);
        if (scale != nullptr) s = *reinterpret_cast<const C*>(scale + c * kCount);
#pragma unroll
        for (int e = 0; e < kCount; ++e) {
            float value = to_float(a.item[e]);
            if (branch != nullptr) value += to_float(b.item[e]) * (scale != nullptr ? to_float(s.item[e]) : 1.f);
            kept_as.item[e] = from_float<T>(value);
            shared_store(kept + c * kCount + e, value);
            total += value;
        }
        if (sum != nullptr) *reinterpret_cast<C*>(sum + start + c * kCount) = kept_as;
    }
    const float mean = warp_sum(total) / width;
    float squares = 0.f;
    for (int c = threadIdx.x; c < chunks; c += 32)
#pragma unroll
        for (int e = 0; e < kCount; ++e) {
            const float off = shared_load(kept + c * kCount + e) - mean;
            squares += off * off;
        }
    const float inverse = 1.f / sqrtf(warp_sum(squares) / width + epsilon);
    for (int c = threadIdx.x; c < chunks; c += 32) {
        const C w = *reinterpret_cast<const C*>(weight + c * kCount);
        const C b = *reinterpret_cast<const C*>(bias + c * kCount);
        C result;
#pragma unroll
        for (int e = 0; e < kCount; ++e) {
            const float value = (shared_load(kept + c * kCount + e) - mean) * inverse;
            result.item[e] = from_float<T>(value * to_float(w.item[e]) + to_float(b.item[e]));
        }
        *reinterpret_cast<C*>(normed + start + c * kCount) = result;
    }
}

#define RESIDUAL_LAYERNORM(name, T, BYTES)                                                                        \
    extern "C" __global__ void __launch_bounds__(128) name(                                                       \
        const T* __restrict__ x, const T* __restrict__ branch, const T* __restrict__ scale,                       \
        const T* __restrict__ weight, const T* __restrict__ bias, int rows, int width, float epsilon,             \
        T* __restrict__ sum, T* __restrict__ normed) {                                                            \
        normalise<T, BYTES>(x, branch, scale, weight, bias, rows, width, epsilon, sum, normed);                   \
    }

RESIDUAL_LAYERNORM(residual_layernorm_fp32, float, 16)
RESIDUAL_LAYERNORM(residual_layernorm_fp16, half_t, 16)
RESIDUAL_LAYERNORM(residual_layernorm_bf16, bfloat_t, 16)
RESIDUAL_LAYERNORM(residual_layernorm_fp32_scalar, float, 1)
RESIDUAL_LAYERNORM(residual_layernorm_fp16_scalar, half_t, 1)
RESIDUAL_LAYERNORM(residual_layernorm_bf16_scalar, bfloat_t, 1)
