// bias_gelu: out = gelu(x + bias), the exact gelu with erf (Hendrycks and Gimpel, 2016), over rows of any width.
//
// Grid-stride over 16-byte packs: bytes moved are those of x and out, the bias stays in cache.
//
// bias_gelu_{fp32,fp16,bf16}         16-byte accesses; width a multiple of 16 bytes of elements
// bias_gelu_{fp32,fp16,bf16}_scalar  any width
//
// CPU reference (float64): t = x[r][c] + bias[c];  out[r][c] = t / 2 * (1 + erf(t / sqrt(2)))
#include "device.cuh"

__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.f + erff(x * 0.70710678118654752f)); }

template <class T>
__device__ __forceinline__ void bias_gelu_packs(const T* x, const T* bias, long long rows, int width, T* out) {
    constexpr int kCount = Pack<T>::count;
    const int packs = width / kCount;
    const long long total = rows * packs;
    for (long long n = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; n < total;
         n += static_cast<long long>(gridDim.x) * blockDim.x) {
        const Pack<T> in = reinterpret_cast<const Pack<T>*>(x)[n];
        const Pack<T> add = reinterpret_cast<const Pack<T>*>(bias)[n % packs];
        Pack<T> result;
#pragma unroll
        for (int e = 0; e < kCount; ++e)
            result.item[e] = from_float<T>(gelu(to_float(in.item[e]) + to_float(add.item[e])));
        reinterpret_cast<Pack<T>*>(out)[n] = result;
    }
}

template <class T>
__device__ __forceinline__ void bias_gelu_scalar(const T* x, const T* bias, long long rows, int width, T* out) {
    const long long total = rows * width;
    for (long long n = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; n < total;
         n += static_cast<long long>(gridDim.x) * blockDim.x)
        out[n] = from_float<T>(gelu(to_float(x[n]) + to_float(bias[n % width])));
}

#define BIAS_GELU(name, T, BODY)                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                       \
        name(const T* __restrict__ x, const T* __restrict__ bias, int rows, int width, T* __restrict__ out) { \
        BODY<T>(x, bias, rows, width, out);                                                                 \
    }

BIAS_GELU(bias_gelu_fp32, float, bias_gelu_packs)
BIAS_GELU(bias_gelu_fp16, half_t, bias_gelu_packs)
BIAS_GELU(bias_gelu_bf16, bfloat_t, bias_gelu_packs)
BIAS_GELU(bias_gelu_fp32_scalar, float, bias_gelu_scalar)
BIAS_GELU(bias_gelu_fp16_scalar, half_t, bias_gelu_scalar)
BIAS_GELU(bias_gelu_bf16_scalar, bfloat_t, bias_gelu_scalar)
