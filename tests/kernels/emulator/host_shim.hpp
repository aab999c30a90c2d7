// A GPU for g++: runs a kernel's grid block by block, every thread of a block as a fiber, with the collective
// instructions in the lane layouts of the PTX manual, and reports races on shared memory.
//
// Fibers are entered by setcontext and switched by the compiler's own longjmp: swapcontext asks the kernel for the signal
// mask each time, and AddressSanitizer clears the shadow of a whole stack then, which took nine tenths of the time.
//
// A thread runs until it meets the other threads of its warp (shuffle, ldmatrix, mma.sync) or block (__syncthreads).
// Waiting for lanes that have left, or that wait at another instruction, is an error, not a hang. Shared memory has a
// shadow: two accesses of different threads to one byte without a __syncthreads between them, one of them a write, are
// a race. cp.async writes at no known moment between its issue and its wait: the bytes are poisoned at the issue (a
// write), and arrive at the wait (a write again).
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define MINUS_INFINITY (-INFINITY)

struct uint3 {
    unsigned x, y, z;
};
struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }

inline uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace shim {

constexpr int kLanes = 32;
constexpr std::size_t kStackBytes = 128 * 1024;

struct PendingCopy {
    void* to;
    unsigned char data[16];
};

using Place = void* [5];  // where to come back to, for __builtin_longjmp

struct Fiber {
    Place place;
    bool entered = false;
    std::unique_ptr<char[]> stack;
    enum State { kReady, kAtWarp, kAtBlock, kDone } state = kReady;
    int barrier_line = 0;
    std::vector<PendingCopy> open;
    std::vector<std::vector<PendingCopy>> groups;
};

struct Slot {
    unsigned in[12];
    const void* address;
    unsigned out[4];
};

struct Warp {
    const char* what = nullptr;
    int arrived = 0;
    Slot slot[kLanes];
};

struct Shadow {
    int written = -1, read = -1;  // the barrier interval
    short writer = -1, reader = -1;  // reader -2: several threads
};

struct Freed {
    void operator()(void* memory) const { std::free(memory); }
};
using Bytes = std::unique_ptr<unsigned char[], Freed>;

// `count` bytes, aligned, and exactly as many as asked for: one byte further is AddressSanitizer's.
inline Bytes exact_bytes(std::size_t count) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 128, count)) throw std::runtime_error("out of memory");
    return Bytes(static_cast<unsigned char*>(memory));
}

struct Block {
    Place scheduler;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    Bytes exact;
    unsigned char* shared = nullptr;
    std::size_t shared_bytes = 0;
    std::vector<Shadow> shadow_bytes;
    Shadow* shadow = nullptr;
    int interval = 0;
    int current = 0;
    std::function<void()> body;
    std::string error;
};

inline Block* block = nullptr;

// Goes to a place on another stack. The frames of this one stay alive, so AddressSanitizer must not hear that it ends:
// the function is not declared as one that does not return.
__attribute__((noinline, no_sanitize("address"))) inline void jump(Place& to) { __builtin_longjmp(to, 1); }

// Back to the scheduler, and on from here when it comes to this fiber again.
__attribute__((noinline)) inline void switch_back() {
    if (__builtin_setjmp(block->fibers[block->current].place) == 0) jump(block->scheduler);
}

[[noreturn]] inline void yield_forever() {
    for (;;) switch_back();
}

// Ends the launch with a sentence: the scheduler does not resume the fibers again.
[[noreturn]] inline void fail(const std::string& message) {
    if (block->error.empty()) {
        char place[160];
        std::snprintf(place, sizeof place, " (block %u,%u thread %d)", blockIdx.x, blockIdx.y, block->current);
        block->error = message + place;
    }
    yield_forever();
}

inline void yield(Fiber::State state) {
    block->fibers[block->current].state = state;
    switch_back();
}

// The emulator's own bookkeeping, which runs at every access: optimised, and not checked by the sanitizers.
#define SHIM_FAST __attribute__((optimize("O2"), no_sanitize("address", "undefined")))

SHIM_FAST inline void touch(const void* address, std::size_t bytes, bool write, const char* what) {
    const auto at = static_cast<const unsigned char*>(address) - block->shared;
    if (at < 0 || at + bytes > block->shared_bytes)
        fail(std::string(what) + " outside of shared memory at byte " + std::to_string(at));
    if (at % bytes) fail(std::string(what) + " is not aligned to " + std::to_string(bytes) + " bytes");
    const int me = block->current, now = block->interval;
    Shadow* const shadow = block->shadow;
    for (std::size_t b = at; b < at + bytes; ++b) {
        Shadow& s = shadow[b];
        if (s.written == now && s.writer != me)
            fail("race: " + std::string(what) + " of byte " + std::to_string(b) + " that thread " +
                 std::to_string(s.writer) + " wrote since the last barrier");
        if (write) {
            if (s.read == now && s.reader != me)
                fail("race: " + std::string(what) + " of byte " + std::to_string(b) +
                     " that another thread read since the last barrier");
            s.written = now;
            s.writer = me;
        } else {
            if (s.read == now && s.reader != me) s.reader = -2;
            else s.reader = me;
            s.read = now;
        }
    }
}

// Meets the other 31 lanes; the last to arrive runs `work(slots)` for all of them.
template <class Fill, class Work>
inline Slot& meet(const char* what, Fill fill, Work work) {
    const int lane = block->current % kLanes;
    Warp& warp = block->warps[block->current / kLanes];
    if (warp.arrived > 0 && std::strcmp(warp.what, what) != 0)
        fail(std::string("lanes of one warp meet at ") + warp.what + " and at " + what);
    warp.what = what;
    fill(warp.slot[lane]);
    if (++warp.arrived < kLanes) {
        yield(Fiber::kAtWarp);
    } else {
        work(warp.slot);
        warp.arrived = 0;
        const int first = block->current / kLanes * kLanes;
        for (int l = 0; l < kLanes; ++l) block->fibers[first + l].state = Fiber::kReady;
    }
    return warp.slot[lane];
}

inline void trampoline() {
    block->body();
    block->fibers[block->current].state = Fiber::kDone;
    yield_forever();
}

// Runs a fiber until it yields.
__attribute__((noinline)) inline void resume(Fiber& fiber) {
    if (__builtin_setjmp(block->scheduler) != 0) return;
    if (fiber.entered) jump(fiber.place);
    fiber.entered = true;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fiber.stack.get();
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    makecontext(&context, trampoline, 0);
    setcontext(&context);
}

inline void run_block(std::size_t shared_bytes, unsigned order, const std::function<void()>& body) {
    Block here;
    block = &here;
    const int threads = blockDim.x * blockDim.y * blockDim.z;
    if (threads % kLanes) throw std::runtime_error("the block is not a whole number of warps");
    here.fibers = std::vector<Fiber>(threads);
    here.warps = std::vector<Warp>(threads / kLanes);
    here.body = body;
    here.shared_bytes = shared_bytes;
    here.exact = exact_bytes(shared_bytes);
    here.shared = here.exact.get();
    std::memset(here.shared, 0xff, shared_bytes);  // NaN in every type
    here.shadow_bytes.assign(shared_bytes, Shadow());
    here.shadow = here.shadow_bytes.data();
    for (Fiber& fiber : here.fibers) fiber.stack.reset(new char[kStackBytes]);
    for (int done = 0; done < threads && here.error.empty();) {
        bool moved = false;
        for (int n = 0; n < threads && here.error.empty(); ++n) {
            const int t = order % 2 ? threads - 1 - n : n;
            if (here.fibers[t].state != Fiber::kReady) continue;
            moved = true;
            here.current = t;
            threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
            resume(here.fibers[t]);
            if (here.fibers[t].state == Fiber::kDone) {
                ++done;
                if (!here.fibers[t].open.empty() || !here.fibers[t].groups.empty())
                    here.error = "a thread left with copies under way";
            }
        }
        if (moved || !here.error.empty()) continue;
        int waiting = 0;
        for (Fiber& fiber : here.fibers) waiting += fiber.state == Fiber::kAtBlock;
        if (waiting < threads) {
            here.error = "the threads wait for each other: " + std::to_string(waiting) + " of " +
                         std::to_string(threads) + " at a barrier, " + std::to_string(done) + " gone";
            break;
        }
        ++here.interval;
        for (Fiber& fiber : here.fibers) fiber.state = Fiber::kReady;
    }
    const std::string error = here.error;
    block = nullptr;
    if (!error.empty()) throw std::runtime_error(error);
}

inline void run_grid(uint3 grid, uint3 threads, std::size_t shared_bytes, unsigned order,
                     const std::function<void()>& body) {
    gridDim = grid;
    blockDim = threads;
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = {x, y, z};
                run_block(shared_bytes, order + x, body);
            }
}

inline void arrive(const PendingCopy& copy) {
    touch(copy.to, 16, true, "the arrival of cp.async");
    std::memcpy(copy.to, copy.data, 16);
}

}  // namespace shim

#define SHARED_BYTES(name) unsigned char* const name = shim::block->shared

template <class T>
inline T shared_load(const T* from) {
    shim::touch(from, sizeof(T), false, "a load");
    return *from;
}

template <class T>
inline void shared_store(T* to, T value) {
    shim::touch(to, sizeof(T), true, "a store");
    *to = value;
}

inline void __syncthreads() { shim::yield(shim::Fiber::kAtBlock); }

inline void copy_async(void* to, const void* from, int bytes) {
    if (reinterpret_cast<std::uintptr_t>(from) % 16) shim::fail("cp.async reads from an address that is not aligned");
    shim::touch(to, 16, true, "cp.async");
    shim::PendingCopy copy = {to, {}};
    std::memcpy(copy.data, from, bytes);
    std::memset(to, 0xff, 16);
    shim::block->fibers[shim::block->current].open.push_back(copy);
}

inline void copy_commit() {
    shim::Fiber& fiber = shim::block->fibers[shim::block->current];
    fiber.groups.push_back(std::move(fiber.open));
    fiber.open.clear();
}

template <int Pending>
inline void copy_wait() {
    auto& groups = shim::block->fibers[shim::block->current].groups;
    while (groups.size() > Pending) {
        for (const shim::PendingCopy& copy : groups.front()) shim::arrive(copy);
        groups.erase(groups.begin());
    }
}

inline float __shfl_sync(unsigned, float value, int from) {
    auto fill = [&](shim::Slot& s) {
        std::memcpy(&s.in[0], &value, 4);
        s.in[1] = static_cast<unsigned>(from) % 32;
    };
    auto work = [](shim::Slot* s) {
        for (int l = 0; l < 32; ++l) s[l].out[0] = s[s[l].in[1]].in[0];
    };
    float result;
    std::memcpy(&result, &shim::meet("a shuffle", fill, work).out[0], 4);
    return result;
}

inline float __shfl_xor_sync(unsigned mask, float value, int step) {
    return __shfl_sync(mask, value, (shim::block->current % 32) ^ step);
}

inline void ldmatrix_as(unsigned (&r)[4], const void* row, bool transposed) {
    shim::touch(row, 16, false, "ldmatrix");
    auto fill = [&](shim::Slot& s) { s.address = row; };
    auto work = [transposed](shim::Slot* s) {
        for (int l = 0; l < 32; ++l)
            for (int m = 0; m < 4; ++m) {
                std::uint16_t pair[2];
                for (int e = 0; e < 2; ++e) {
                    const int i = transposed ? 2 * (l % 4) + e : l / 4, j = transposed ? l / 4 : 2 * (l % 4) + e;
                    std::memcpy(&pair[e], static_cast<const char*>(s[8 * m + i].address) + 2 * j, 2);
                }
                std::memcpy(&s[l].out[m], pair, 4);
            }
    };
    const shim::Slot& slot = shim::meet(transposed ? "ldmatrix.trans" : "ldmatrix", fill, work);
    std::copy(slot.out, slot.out + 4, r);
}
template <class T>
inline T kept(T x) {
    return x;
}
using SharedAt = const unsigned char*;
inline SharedAt shared_at(const void* row) { return static_cast<SharedAt>(row); }
inline SharedAt further(SharedAt row, int step) {
    return reinterpret_cast<SharedAt>(reinterpret_cast<std::uintptr_t>(row) ^ (static_cast<std::uintptr_t>(step) << 5));
}
inline void ldmatrix(unsigned (&r)[4], const void* row) { ldmatrix_as(r, row, false); }
inline void ldmatrix_transposed(unsigned (&r)[4], const void* row) { ldmatrix_as(r, row, true); }

using half_t = _Float16;
struct bfloat_t {
    std::uint16_t bits = 0;
};

inline float bits_to_float(int bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}
// ex2.approx.ftz: denormal numbers are zero, in and out.
inline float exp2_fast(float x) {
    const float y = std::fpclassify(x) == FP_SUBNORMAL ? 1.f : std::exp2(x);
    return std::fpclassify(y) == FP_SUBNORMAL ? 0.f : y;
}
inline float to_float(float x) { return x; }
inline float to_float(half_t x) { return static_cast<float>(x); }
inline float to_float(bfloat_t x) { return bits_to_float(static_cast<int>(static_cast<std::uint32_t>(x.bits) << 16)); }

template <class T>
inline T from_float(float x);
template <>
inline float from_float<float>(float x) { return x; }
template <>
inline half_t from_float<half_t>(float x) { return static_cast<half_t>(x); }
template <>
inline bfloat_t from_float<bfloat_t>(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if (x != x) return {static_cast<std::uint16_t>((bits >> 16) | 0x40)};
    return {static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};  // to nearest, ties to even
}

template <class T>
inline unsigned pack_pair(T, float low, float high) {
    const T pair[2] = {from_float<T>(low), from_float<T>(high)};
    unsigned bits;
    std::memcpy(&bits, pair, 4);
    return bits;
}

// m16n8k16: with g = lane / 4 and t = lane % 4, a0..a3 hold rows {g, g+8, g, g+8} and columns 2t, 2t+1 (+8 for a2, a3);
// b0, b1 hold rows 2t, 2t+1 (+8 for b1) of column g; c0, c1 are row g and c2, c3 row g+8, columns 2t, 2t+1.
template <class T>
inline void mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    auto fill = [&](shim::Slot& s) {
        std::copy(a, a + 4, s.in);
        s.in[4] = b0;
        s.in[5] = b1;
        std::memcpy(&s.in[6], c, 16);
    };
    auto work = [](shim::Slot* s) {
        float am[16][16], bm[16][8];
        auto element = [](unsigned word, int e) {
            T pair[2];
            std::memcpy(pair, &word, 4);
            return to_float(pair[e]);
        };
        for (int l = 0; l < 32; ++l)
            for (int e = 0; e < 2; ++e) {
                const int g = l / 4, t = l % 4;
                for (int r = 0; r < 4; ++r) am[g + 8 * (r % 2)][2 * t + e + 8 * (r / 2)] = element(s[l].in[r], e);
                for (int r = 0; r < 2; ++r) bm[2 * t + e + 8 * r][g] = element(s[l].in[4 + r], e);
            }
        for (int l = 0; l < 32; ++l)
            for (int e = 0; e < 4; ++e) {
                float sum;
                std::memcpy(&sum, &s[l].in[6 + e], 4);
                for (int k = 0; k < 16; ++k) sum += am[l / 4 + 8 * (e / 2)][k] * bm[k][2 * (l % 4) + e % 2];
                std::memcpy(&s[l].out[e], &sum, 4);
            }
    };
    std::memcpy(c, shim::meet("mma.sync", fill, work).out, 16);
}
