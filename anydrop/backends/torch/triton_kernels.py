"""The kernels in Triton. They draw words by ``tl.philox`` and make masks and noise of them.

Elements lie in C order. A complex element is two `parts` side by side. `lengths` and `strides`
describe the axes of the indices, last axis first. If they are empty, the indices are one run. The
step and the first index are read from `at` on the device, or passed as numbers.
"""

# Triton has no types, and compiles its functions by those of their arguments at run time.
# mypy: disable-error-code="import-untyped, no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _float(bits, dtype: tl.constexpr):
    return bits.to(tl.int64).to(tl.float64, bitcast=True).to(dtype)


@triton.jit
def _philox(block, step, key):
    return tl.philox(
        key,
        block.to(tl.uint32),
        (block >> 32).to(tl.uint32),
        (block * 0 + step).to(tl.uint32),
        ((block * 0 + step) >> 32).to(tl.uint32),
    )


@triton.jit
def _drawn(
    at,
    step,
    first,
    key,
    lengths,
    strides,
    reads: tl.constexpr,
    lead: tl.constexpr,
    width: tl.constexpr,
):
    """Return the elements of a program, which may start before the first one, and their words."""
    if reads:
        step = tl.load(at)
        first = tl.load(at + 1)
    step = step.to(tl.int64).to(tl.uint64, bitcast=True)
    first = first.to(tl.int64).to(tl.uint64, bitcast=True)
    start = tl.program_id(0).to(tl.int64) * width
    i = start + tl.arange(0, width)
    if len(lengths) == 0:
        # One run of indices: a Philox block gives the words of four neighbours.
        block = (first >> 2) + (start // 4 + tl.arange(0, width // 4)).to(tl.uint64)
        w0, w1, w2, w3 = _philox(block, step, key)
        word = tl.reshape(tl.join(tl.join(w0, w2), tl.join(w1, w3)), (width,))
        if lead:
            i -= (first & 3).to(tl.int64)
    else:
        left = i
        index = i.to(tl.uint64) * 0 + first
        for a in tl.static_range(len(lengths)):
            index += ((left % lengths[a]) * strides[a]).to(tl.uint64)
            left = left // lengths[a]
        w0, w1, w2, w3 = _philox(index >> 2, step, key)
        lane = index & 3
        word = tl.where(lane < 2, tl.where(lane == 0, w0, w1), tl.where(lane == 2, w2, w3))
    return i, word


@triton.jit(
    do_not_specialize=["key", "step", "first", "threshold", "scale", "shift", "fill"],
)
def select_kernel(
    x,
    y,
    at,
    residual,
    bias,
    n,
    key: tl.int64,
    step: tl.int64,
    first: tl.int64,
    threshold: tl.int64,
    scale: tl.int64,
    shift: tl.int64,
    fill: tl.int64,
    lengths,
    strides,
    bias_lengths,
    bias_strides,
    compute: tl.constexpr,
    parts: tl.constexpr,
    shifts: tl.constexpr,
    draws: tl.constexpr,
    narrow: tl.constexpr,
    reads: tl.constexpr,
    lead: tl.constexpr,
    width: tl.constexpr,
):
    """Write ``where(keep, (x + bias) * scale + shift, fill) + residual``, or the mask itself."""
    if draws:
        i, word = _drawn(at, step, first, key, lengths, strides, reads, lead, width)
        kept = word >= threshold.to(tl.uint32)
    else:
        i = tl.program_id(0).to(tl.int64) * width + tl.arange(0, width)
        kept = i >= 0
    inside = (i >= 0) & (i < n)
    if compute is None:
        tl.store(y + i, kept.to(tl.uint8), mask=inside)
    else:
        if bias is not None:
            left = i.to(tl.int32) if narrow else i  # 64-bit divisions take a GPU much longer
            at_bias = left * 0
            for a in tl.static_range(len(bias_lengths)):
                at_bias += (left % bias_lengths[a]) * bias_strides[a]
                left = left // bias_lengths[a]
        for part in tl.static_range(parts):
            here = i * parts + part
            v = tl.load(x + here, mask=inside).to(compute)
            if bias is not None:
                v += tl.load(bias + at_bias * parts + part, mask=inside).to(compute)
            v *= _float(scale, compute)
            if part == 0:
                if shifts:
                    v += _float(shift, compute)
                v = tl.where(kept, v, _float(fill, compute))
            else:
                v = tl.where(kept, v, 0.0)
            if residual is not None:
                v += tl.load(residual + here, mask=inside).to(compute)
            tl.store(y + here, v.to(y.dtype.element_ty), mask=inside)


@triton.jit
def normal(word, table, dtype: tl.constexpr):
    """Return the standard normal numbers of words; see `anydrop.core.quantile`."""
    upper = word >> 31
    count = tl.where(upper > 0, ~word, word)
    # Read the exponent of a float. With the bit after the first cleared, it can't be rounded up.
    leading = (count & ~(count >> 1)).to(tl.int32).to(tl.float32).to(tl.int32, bitcast=True)
    octave = tl.maximum((leading >> 23) - 132, 0).to(tl.uint32)  # 132 = 127 + 5
    place = (count << (31 - octave)) << 1
    row = table + ((octave << 5) + (count >> octave)).to(tl.int32) * 4
    c0 = tl.load(row).to(tl.uint32, bitcast=True)
    c1 = tl.load(row + 1).to(tl.uint32, bitcast=True)
    c2 = tl.load(row + 2).to(tl.uint32, bitcast=True)
    c3 = tl.load(row + 3).to(tl.uint32, bitcast=True)
    fall = tl.umulhi(place, c1 - tl.umulhi(place, c2 - tl.umulhi(place, c3))) >> 8
    magnitude = (c0 - fall).to(tl.int32)
    return tl.where(upper > 0, magnitude, -magnitude).to(dtype) * 2.0**-28


@triton.jit(do_not_specialize=["key", "step", "first", "std"])
def perturb_kernel(
    x,
    y,
    table,
    at,
    n,
    key: tl.int64,
    step: tl.int64,
    first: tl.int64,
    std: tl.int64,
    lengths,
    strides,
    compute: tl.constexpr,
    parts: tl.constexpr,
    relative: tl.constexpr,
    reads: tl.constexpr,
    lead: tl.constexpr,
    width: tl.constexpr,
):
    """Write ``x * (1 + std * z)`` or ``x + std * z``, with standard normal numbers z."""
    i, word = _drawn(at, step, first, key, lengths, strides, reads, lead, width)
    inside = (i >= 0) & (i < n)
    noise = normal(word, table, compute) * _float(std, compute)
    if relative:
        noise += 1.0
    for part in tl.static_range(parts):
        here = i * parts + part
        v = tl.load(x + here, mask=inside).to(compute)
        if relative:
            v *= noise
        else:
            v += noise
        tl.store(y + here, v.to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["key", "step", "first", "threshold"])
def choose_kernel(
    new,
    previous,
    y,
    at,
    n,
    key: tl.int64,
    step: tl.int64,
    first: tl.int64,
    threshold: tl.int64,
    lengths,
    strides,
    parts: tl.constexpr,
    reads: tl.constexpr,
    lead: tl.constexpr,
    width: tl.constexpr,
):
    """Write ``where(keep, new, previous)``, where None stands for zeros."""
    i, word = _drawn(at, step, first, key, lengths, strides, reads, lead, width)
    inside = (i >= 0) & (i < n)
    kept = word >= threshold.to(tl.uint32)
    for part in tl.static_range(parts):
        here = i * parts + part
        if new is None:
            v = tl.load(previous + here, mask=inside & ~kept, other=0.0)
        elif previous is None:
            v = tl.load(new + here, mask=inside & kept, other=0.0)
        else:
            a = tl.load(new + here, mask=inside)
            b = tl.load(previous + here, mask=inside)
            v = tl.where(kept, a, b)
        tl.store(y + here, v, mask=inside)
