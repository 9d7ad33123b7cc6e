// The stream, version 1, for CUDA: one pass over memory draws a mask or noise and applies it.
//
// sources.py puts QUANTILE, the table of the normal numbers, before this file. It appends a line
// KERNEL(...) for each kernel. launch.py packs the arguments. The tests also compile this file for
// the CPU with a C++ compiler, and with a header that replaces the block below. So nothing else in
// this file may be specific to CUDA.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define INLINE __device__ __forceinline__

#ifdef __CUDACC__
// These functions use PTX for two reasons. CuPy appends -ftz=true to the options, so __fmul_rn would
// flush subnormals. And the compiler never fuses these PTX products and sums.
INLINE float mul(float a, float b) { float r; asm("mul.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }
INLINE float add(float a, float b) { float r; asm("add.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }
INLINE double mul(double a, double b) { double r; asm("mul.rn.f64 %0, %1, %2;" : "=d"(r) : "d"(a), "d"(b)); return r; }
INLINE double add(double a, double b) { double r; asm("add.rn.f64 %0, %1, %2;" : "=d"(r) : "d"(a), "d"(b)); return r; }
INLINE float from_float16(u16 bits) { float r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(bits)); return r; }
INLINE u16 to_float16(float v) { u16 r; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(v)); return r; }
INLINE u32 leading_zeros(u32 word) { return __clz(word); }
INLINE u32 high_half(u32 a, u32 b) { return __umulhi(a, b); }
INLINE u32 bits_of(float v) { return __float_as_uint(v); }
INLINE float float_of(u32 bits) { return __uint_as_float(bits); }
template <class T> INLINE T read(const char* at) { return *reinterpret_cast<const T*>(at); }
template <class T> INLINE void write(char* at, T value) { *reinterpret_cast<T*>(at) = value; }
#endif

// Arguments, in the layout of launch.py ---------------------------------------------------------

struct Axis {
    u64 length;
    u64 mask; // how much a step along the axis adds to the index
    i64 x, y; // how much it adds to the addresses
};

template <class T> struct Affine {
    T scale, shift, fill;
};

const int MOST_AXES = 40;

struct Args {
    const char* x;
    char* y;
    const char* keep; // a mask to read instead of drawing one; indices are then offsets from here
    u64 first;        // index of the first element
    u64 items;        // number of groups of neighbours; a thread handles one group at a time
    u64 groups;       // number of groups along the run
    Affine<double> wide;
    Affine<float> narrow;
    u32 key[2], step[2], threshold;
    u32 ndim, run;    // number of axes, the fastest last, and which one is the run of neighbours
    u32 inverse;      // ~0 to invert the mask, otherwise 0
    Axis axes[MOST_AXES];
};

struct Beside {
    i64 residual, bias; // how much a step along an axis adds to their addresses
};

struct MoreArgs : Args {
    const char *residual, *bias;
    Beside beside[MOST_AXES];
};

INLINE Affine<float> affine(const Args& a, float) { return a.narrow; }
INLINE Affine<double> affine(const Args& a, double) { return a.wide; }

// Elements -------------------------------------------------------------------------------------

struct Float16 {
    typedef u16 Unit;
    typedef float Compute;
    static const int PARTS = 1, WIDTH = 8;
    static INLINE float decode(u16 bits) { return from_float16(bits); }
    static INLINE u16 encode(float v) { return to_float16(v); }
};

struct BFloat16 {
    typedef u16 Unit;
    typedef float Compute;
    static const int PARTS = 1, WIDTH = 8;
    static INLINE float decode(u16 bits) { return float_of((u32)bits << 16); }
    static INLINE u16 encode(float v) {
        u32 bits = bits_of(v);
        if ((bits & 0x7FFFFFFF) > 0x7F800000) return (u16)(bits >> 16 | 0x40);
        return (u16)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16); // to nearest, ties to even
    }
};

template <class T, int N> struct Real {
    typedef T Unit;
    typedef T Compute;
    static const int PARTS = N, WIDTH = 4;
    static INLINE T decode(T v) { return v; }
    static INLINE T encode(T v) { return v; }
};

typedef Real<float, 1> Float32;
typedef Real<double, 1> Float64;
typedef Real<float, 2> Complex64;
typedef Real<double, 2> Complex128;

struct Bool { // for the keep mask itself, without x
    typedef u8 Unit;
    static const int PARTS = 1, WIDTH = 16;
};

struct None {}; // for no residual or no bias

template <class Element> struct IsThere {
    static const bool value = true;
};
template <> struct IsThere<None> {
    static const bool value = false;
};
// A result has the dtype of the residual, if there is one.
template <class Element, class Residual> struct ResultOf {
    typedef Residual Type;
};
template <class Element> struct ResultOf<Element, None> {
    typedef Element Type;
};

// The random words of a block ------------------------------------------------------------------

struct Block {
    u32 words[4];
};

INLINE Block philox(const Args& a, u64 block) {
    u32 c0 = (u32)block, c1 = (u32)(block >> 32), c2 = a.step[0], c3 = a.step[1];
    u32 k0 = a.key[0], k1 = a.key[1];
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const u64 p0 = (u64)0xD2511F53u * c0, p1 = (u64)0xCD9E8D57u * c2;
        c0 = (u32)(p1 >> 32) ^ c1 ^ k0;
        c1 = (u32)p1;
        c2 = (u32)(p0 >> 32) ^ c3 ^ k1;
        c3 = (u32)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// One bit for each of N neighbours. The first one begins a block.
template <int N> INLINE u32 keep_neighbours(const Args& a, u64 index) {
    u32 kept = 0;
#pragma unroll
    for (int b = 0; b < N / 4; ++b) {
        const Block block = philox(a, index / 4 + b);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane)
            kept |= (u32)(block.words[lane] >= a.threshold) << (4 * b + lane);
    }
    return kept;
}

INLINE u32 word_of(const Args& a, u64 index) {
    const Block block = philox(a, index / 4);
    const u32 low = index & 1 ? block.words[1] : block.words[0];
    const u32 high = index & 1 ? block.words[3] : block.words[2];
    return index & 2 ? high : low;
}

// Normal numbers, version 1 --------------------------------------------------------------------

// core/quantile.py defines them. Everything is integer arithmetic except for the last product. It is
// exact in double and rounds once in float.
template <class Number> INLINE Number normal(u32 word) {
    const bool upper = word >> 31;
    const u32 count = upper ? ~word : word;
    const u32 octave = 26 - leading_zeros(count | 32);
    const uint4 c = QUANTILE[(octave << 5) + (count >> octave)];
    const u32 place = count << (31 - octave) << 1;
    const u32 fall = high_half(place, c.y - high_half(place, c.z - high_half(place, c.w))) >> 8;
    const int magnitude = (int)(c.x - fall);
    return mul((Number)(upper ? magnitude : -magnitude), (Number)0x1p-28);
}

// The normal numbers of N neighbours, where the first one begins a block. If shared, N copies of the
// number of one index.
template <int N, class Number> INLINE void normals(const Args& a, u64 index, bool shared, Number (&z)[N]) {
    if (shared) {
        const Number one = normal<Number>(word_of(a, index));
#pragma unroll
        for (int j = 0; j < N; ++j) z[j] = one;
        return;
    }
#pragma unroll
    for (int b = 0; b < N / 4; ++b) {
        const Block block = philox(a, index / 4 + b);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) z[4 * b + lane] = normal<Number>(block.words[lane]);
    }
}

// The kernel -----------------------------------------------------------------------------------

// What to compute from x, the residual r and the bias b, with a keep mask or normal numbers z.
enum Work {
    KEEP,    // the keep mask itself
    SELECT,  // where(keep, x * scale + shift, fill)
    ADD,     // r + where(keep, (x + b) * scale, 0)
    CHOOSE,  // where(keep, x, r)
    NORMALS, // z
    TIMES,   // x * (z * scale + shift)
    PLUS,    // x + (z * scale + shift)
};

// Neighbours in registers. They are loaded and stored 16 bytes at a time.
template <class Element, int WIDTH> struct Group {
    static const int UNITS = WIDTH * Element::PARTS;
    static const int QUADS = UNITS * (int)sizeof(typename Element::Unit) / 16;
    union {
        uint4 quads[QUADS];
        typename Element::Unit units[UNITS];
    };
};
template <int WIDTH> struct Group<None, WIDTH> {};

template <class Element, int WIDTH>
INLINE void load(Group<Element, WIDTH>& group, const char* at, i64 stride, int from, int to) {
    typedef typename Element::Unit Unit;
    const int size = Element::PARTS * sizeof(Unit);
    if (to - from == WIDTH && stride == size && (u64)at % 16 == 0) {
#pragma unroll
        for (int q = 0; q < Group<Element, WIDTH>::QUADS; ++q) group.quads[q] = read<uint4>(at + 16 * q);
        return;
    }
#pragma unroll
    for (int j = 0; j < WIDTH; ++j) {
        const bool inside = from <= j && j < to;
#pragma unroll
        for (int part = 0; part < Element::PARTS; ++part)
            group.units[Element::PARTS * j + part] =
                inside ? read<Unit>(at + j * stride + part * (int)sizeof(Unit)) : Unit();
    }
}

template <class Element, int WIDTH>
INLINE void store(const Group<Element, WIDTH>& group, char* at, i64 stride, int from, int to) {
    typedef typename Element::Unit Unit;
    const int size = Element::PARTS * sizeof(Unit);
    if (to - from == WIDTH && stride == size && (u64)at % 16 == 0) {
#pragma unroll
        for (int q = 0; q < Group<Element, WIDTH>::QUADS; ++q) write<uint4>(at + 16 * q, group.quads[q]);
        return;
    }
#pragma unroll
    for (int j = 0; j < WIDTH; ++j)
        if (from <= j && j < to)
#pragma unroll
            for (int part = 0; part < Element::PARTS; ++part)
                write<Unit>(at + j * stride + part * (int)sizeof(Unit),
                            group.units[Element::PARTS * j + part]);
}

// FLAT: one run of neighbours without gaps in any array, and a mask that is drawn.
template <Work WORK, bool FLAT, class Element, class Residual = None, class Bias = None, class Arguments>
INLINE void run(const Arguments& a) {
    typedef typename ResultOf<Element, Residual>::Type Result;
    typedef typename Result::Unit Unit;
    const bool BESIDE = IsThere<Residual>::value, BIASED = IsThere<Bias>::value;
    const bool NOISE = WORK == NORMALS || WORK == TIMES || WORK == PLUS;
    const int WIDTH = Element::WIDTH, X_SIZE = Element::PARTS * sizeof(typename Element::Unit),
              SIZE = Result::PARTS * sizeof(Unit);
    const u64 threads = (u64)gridDim.x * blockDim.x;
    for (u64 item = (u64)blockIdx.x * blockDim.x + threadIdx.x; item < a.items; item += threads) {
        u64 along = item, index = a.first;
        const char* x = a.x;
        char* y = a.y;
        const char *residual = nullptr, *bias = nullptr;
        if constexpr (BESIDE) {
            residual = a.residual;
            bias = a.bias;
        }
        if (!FLAT) {
            u64 left = item;
            for (u32 d = a.ndim; d-- > 0;) {
                const u64 length = d == a.run ? a.groups : a.axes[d].length;
                const u64 rest = d ? left / length : 0;
                const u64 here = left - rest * length;
                left = rest;
                if (d == a.run) {
                    along = here;
                } else {
                    index += here * a.axes[d].mask;
                    x += (i64)here * a.axes[d].x;
                    y += (i64)here * a.axes[d].y;
                    if constexpr (BESIDE) residual += (i64)here * a.beside[d].residual;
                    if constexpr (BIASED) bias += (i64)here * a.beside[d].bias;
                }
            }
        }
        const u32 r = FLAT ? 0 : a.run;
        const u64 length = a.axes[r].length;
        const i64 mask_stride = FLAT ? 1 : (i64)a.axes[r].mask;
        const i64 x_stride = FLAT ? X_SIZE : a.axes[r].x, y_stride = FLAT ? SIZE : a.axes[r].y;
        const bool given = !FLAT && a.keep;

        // The first group of a run begins with the run's first block, which may be before the run.
        const int lead = given || mask_stride == 0 ? 0 : (int)(index % 4);
        const i64 begin = (i64)(along * WIDTH) - lead;
        // The last group of a run may be empty, because runs may begin anywhere in a block.
        const int from = begin < 0 ? (int)-begin : 0;
        const int to = (i64)length - begin < WIDTH ? (int)((i64)length - begin) : WIDTH;
        const u64 start = index + (mask_stride ? begin : 0); // index of the group's first word

        Group<Result, WIDTH> group; // becomes y
        u32 kept = 0;
        if constexpr (!NOISE) {
            if (given) {
#pragma unroll
                for (int j = 0; j < WIDTH; ++j)
                    if (from <= j && j < to)
                        kept |= (u32)(read<u8>(a.keep + (i64)index + (begin + j) * mask_stride) != 0) << j;
            } else if (a.threshold == 0) {
                kept = ~0u;
            } else if (mask_stride == 0) {
                kept = word_of(a, start) >= a.threshold ? ~0u : 0u;
            } else {
                kept = keep_neighbours<WIDTH>(a, start);
            }
            kept ^= a.inverse;
        }

        if constexpr (WORK == KEEP) {
#pragma unroll
            for (int j = 0; j < WIDTH; ++j) group.units[j] = (Unit)(kept >> j & 1);
        } else if constexpr (WORK == NORMALS) {
            normals<WIDTH>(a, start, mask_stride == 0, group.units);
        } else {
            typedef typename Element::Compute Compute;
            const Affine<Compute> by = affine(a, Compute());
            Group<Element, WIDTH> xs;
            load(xs, x + begin * x_stride, x_stride, from, to);
            Group<Bias, WIDTH> biases;
            if constexpr (BIASED) {
                const i64 stride = a.beside[r].bias;
                load(biases, bias + begin * stride, stride, from, to);
            }
            if constexpr (BESIDE) {
                const i64 stride = FLAT ? SIZE : a.beside[r].residual;
                load(group, residual + begin * stride, stride, from, to);
            }
            Compute z[NOISE ? WIDTH : 1];
            if constexpr (NOISE) normals<WIDTH>(a, start, mask_stride == 0, z);
#pragma unroll
            for (int j = 0; j < WIDTH * Element::PARTS; ++j) {
                const bool real = j % Element::PARTS == 0; // only real parts get shift and fill
                const bool here = kept >> j / Element::PARTS & 1;
                if constexpr (WORK == CHOOSE) {
                    if (here) group.units[j] = xs.units[j];
                } else if constexpr (NOISE) {
                    const Compute noise = add(mul(z[j / Element::PARTS], by.scale), by.shift);
                    const Compute v = Element::decode(xs.units[j]);
                    group.units[j] = Result::encode(WORK == TIMES ? mul(v, noise) : add(v, noise));
                } else {
                    Compute v = Element::decode(xs.units[j]);
                    if constexpr (BIASED) v = add(v, Bias::decode(biases.units[j]));
                    v = mul(v, by.scale);
                    if constexpr (WORK == SELECT)
                        if (real) v = add(v, by.shift);
                    if (!here) v = real ? by.fill : Compute(0);
                    if constexpr (WORK == ADD) v = add(Residual::decode(group.units[j]), v);
                    group.units[j] = Result::encode(v);
                }
            }
        }
        store(group, y + begin * y_stride, y_stride, from, to);
    }
}

#define KERNEL(name, Arguments, ...)                                                     \
    extern "C" __global__ void anydrop_##name(const __grid_constant__ Arguments a) { \
        run<__VA_ARGS__>(a);                                                              \
    }
