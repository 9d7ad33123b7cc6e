// Stands in for what philox.cu takes from CUDA, and looks at every access to memory.

#include <cstring>
#include <math.h>

#define __device__
#define __global__
#define __forceinline__ inline
#define __grid_constant__

struct Dim {
    unsigned x;
};
static thread_local Dim gridDim, blockDim, blockIdx, threadIdx;

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

// -ffp-contract=off keeps a product and a sum apart. A GPU has one NaN in float32, of all bits but the
// sign, and so it is here: rounded as if it were a number, it would become -0.
inline float one_nan(float v) {
    const unsigned bits = 0x7FFFFFFF;
    if (v != v) memcpy(&v, &bits, 4);
    return v;
}
inline float mul(float a, float b) { return one_nan(a * b); }
inline float add(float a, float b) { return one_nan(a + b); }
inline double mul(double a, double b) { return a * b; }
inline double add(double a, double b) { return a + b; }
inline float from_float16(unsigned short bits) {
    _Float16 h;
    memcpy(&h, &bits, 2);
    return (float)h;
}
inline unsigned short to_float16(float v) {
    const _Float16 h = (_Float16)v;
    unsigned short bits;
    memcpy(&bits, &h, 2);
    return bits;
}
inline unsigned leading_zeros(unsigned word) { return __builtin_clz(word); }
inline unsigned high_half(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
inline unsigned bits_of(float v) {
    unsigned bits;
    memcpy(&bits, &v, 4);
    return bits;
}
inline float float_of(unsigned bits) {
    float v;
    memcpy(&v, &bits, 4);
    return v;
}

// The memory that a launch may touch, and what it did.
struct Watch {
    const char *readable[4][2], *writable[2];
    unsigned long long out_of_bounds, misaligned, bytes_read, bytes_written, vectors;
};
static thread_local Watch* watch;

inline bool within(const char* at, int size, const char* const range[2]) {
    return range[0] <= at && at + size <= range[1];
}
inline void note(const char* at, int size, bool allowed) {
    watch->out_of_bounds += !allowed;
    watch->misaligned += (unsigned long long)at % size != 0;
    watch->vectors += size == 16;
}
template <class T> inline T read(const char* at) {
    bool ok = false;
    for (const auto& range : watch->readable) ok = ok || within(at, sizeof(T), range);
    note(at, sizeof(T), ok);
    watch->bytes_read += sizeof(T);
    T value{};
    if (ok) memcpy(&value, at, sizeof(T));
    return value;
}
template <class T> inline void write(char* at, T value) {
    const bool ok = within(at, sizeof(T), watch->writable);
    note(at, sizeof(T), ok);
    watch->bytes_written += sizeof(T);
    if (ok) memcpy(at, &value, sizeof(T));
}
