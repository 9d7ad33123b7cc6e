"""What becomes of one element, by the dtypes of the arrays.

numba picks the code by the arrays' types. Half types travel as their bits, float16 as uint16 and
bfloat16 as int16. From one source an element becomes ``where(keep, x * scale + shift, fill)``, from
several ``residual + where(keep, (x + bias) * scale, 0)``.
"""

from __future__ import annotations

from numba import types
from numba.extending import overload

from anydrop.backends.numpy.kernels.halves import (
    narrow_bfloat,
    narrow_half,
    widen_bfloat,
    widen_half,
)


def put(y, i, sources, at, word, rule):
    """Write element i of y, made from the elements at the places `at` in the sources.

    The `rule` is the least word that survives, and the scale, the shift and the fill.
    """


@overload(put)
def _put(y, i, sources, at, word, rule):
    if y.dtype == types.boolean:

        def put(y, i, sources, at, word, rule):
            y[i] = word >= rule[0]

    elif y.dtype == types.uint32:

        def put(y, i, sources, at, word, rule):
            y[i] = word

    elif len(sources) > 1:

        def put(y, i, sources, at, word, rule):
            threshold, scale, shift, fill = rule
            v = _scaled(_biased(sources, at), scale, shift)
            v = v if word >= threshold else type(v)(fill)
            y[i] = _narrow(y, _widen(sources[1][at[1]]) + v)

    else:

        def put(y, i, sources, at, word, rule):
            threshold, scale, shift, fill = rule
            v = _scaled(_widen(sources[0][at[0]]), scale, shift)
            y[i] = _narrow(y, v if word >= threshold else type(v)(fill))

    return put


def _biased(sources, at):
    """Return x + bias, or x where there is no bias."""


@overload(_biased)
def _biased_of(sources, at):
    if len(sources) == 2:
        return lambda sources, at: _widen(sources[0][at[0]])
    return lambda sources, at: _widen(sources[0][at[0]]) + sources[2][at[2]]


def _scaled(v, scale, shift):
    """Return v * scale + shift."""


@overload(_scaled)
def _scaled_of(v, scale, shift):
    if isinstance(v, types.Complex):
        # By parts: a complex product would turn an infinite part into a NaN beside it.
        return lambda v, scale, shift: complex(v.real * scale + shift, v.imag * scale)
    return lambda v, scale, shift: v * scale + shift


def _widen(value):
    """Return a number of an array as the number that it is computed with."""


@overload(_widen)
def _widen_of(value):
    if value == types.uint16:
        return lambda value: widen_half(value)
    if value == types.int16:
        return lambda value: widen_bfloat(value)
    return lambda value: value


def _narrow(y, v):
    """Return a computed number as an element of y."""


@overload(_narrow)
def _narrow_of(y, v):
    if y.dtype == types.uint16:
        return lambda y, v: narrow_half(v)
    if y.dtype == types.int16:
        return lambda y, v: narrow_bfloat(v)
    return lambda y, v: v
