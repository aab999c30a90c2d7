// The few device primitives that the kernels share: element types, 16-byte packs, shared-memory access, asynchronous
// copies, ldmatrix and mma.sync. With SECATEUR_EMULATED the same names come from the host emulator of the tests, so
// every kernel below them compiles with g++ unchanged.
//
// Shared memory is only touched through shared_load, shared_store, copy_async and ldmatrix: that is what lets the
// emulator see every access and report races.
#pragma once

#ifdef SECATEUR_EMULATED
#include "host_shim.hpp"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>

using half_t = __half;
using bfloat_t = __nv_bfloat16;

#define SHARED_BYTES(name) extern __shared__ __align__(128) unsigned char name[]
#define MINUS_INFINITY __int_as_float(0xff800000)

// A T in shared memory, read by this thread.
template <class T>
__device__ __forceinline__ T shared_load(const T* from) {
    return *from;
}

template <class T>
__device__ __forceinline__ void shared_store(T* to, T value) {
    *to = value;
}

// Starts a copy of 16 bytes from global to shared memory; `bytes` (0 or 16) are read, the rest is filled with zeros.
__device__ __forceinline__ void copy_async(void* to, const void* from, int bytes) {
#if __CUDA_ARCH__ >= 800
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(address), "l"(from), "r"(bytes) : "memory");
#endif
}

__device__ __forceinline__ void copy_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}

// Waits until at most `Pending` of this thread's committed groups are still under way.
template <int Pending>
__device__ __forceinline__ void copy_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;\n" ::"n"(Pending) : "memory");
#endif
}

// The value itself, kept in a register: the compiler may not compute it once more where it is used, nor keep for later
// what was compared with it.
template <class T>
__device__ __forceinline__ T kept(T x) {
    asm volatile("" : "+r"(x));
    return x;
}

// Where a lane's rows of ldmatrix begin: computed once, and moved on by whole bytes.
using SharedAt = unsigned;
__device__ __forceinline__ SharedAt shared_at(const void* row) {
    return static_cast<unsigned>(__cvta_generic_to_shared(row));
}

// The row's chunks 2 `step` further on, swizzled: rows of 128 bytes, and tiles that begin at a multiple of them.
__device__ __forceinline__ SharedAt further(SharedAt row, int step) { return row ^ (step << 5); }

// Four 8x8 matrices of 16-bit elements; lanes 8m .. 8m + 7 give the row addresses of matrix m. Lane l receives elements
// (l / 4, 2 (l % 4)) and its right neighbour of each, or of each transposed.
__device__ __forceinline__ void ldmatrix(unsigned (&r)[4], SharedAt row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}

__device__ __forceinline__ void ldmatrix_transposed(unsigned (&r)[4], SharedAt row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}

// c[16][8] += a[16][16] b[16][8], fp32 accumulation; fragments as in the PTX manual for m16n8k16.
template <class T>
__device__ __forceinline__ void mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1);

template <>
__device__ __forceinline__ void mma<half_t>(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

template <>
__device__ __forceinline__ void mma<bfloat_t>(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

__device__ __forceinline__ float bits_to_float(int bits) { return __int_as_float(bits); }

// 2^x in one instruction: at most 2 units in the last place off, and zero in the place of denormal numbers.
__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(half_t x) { return __half2float(x); }
__device__ __forceinline__ float to_float(bfloat_t x) { return __bfloat162float(x); }

template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) { return x; }
template <>
__device__ __forceinline__ half_t from_float<half_t>(float x) { return __float2half_rn(x); }
template <>
__device__ __forceinline__ bfloat_t from_float<bfloat_t>(float x) { return __float2bfloat16_rn(x); }

// Two values rounded to T in one register, `low` in the low half, as mma.sync wants them.
__device__ __forceinline__ unsigned pack_pair(half_t, float low, float high) {
    __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<unsigned*>(&pair);
}
__device__ __forceinline__ unsigned pack_pair(bfloat_t, float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<unsigned*>(&pair);
}
#endif

// 16 bytes of T: one vector load or store.
template <class T>
struct alignas(16) Pack {
    static constexpr int count = 16 / sizeof(T);
    T item[count];
};

__device__ __forceinline__ int ceil_div(int a, int b) { return (a + b - 1) / b; }

__device__ __forceinline__ float warp_sum(float x) {
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
    for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}
