"""The computation of one element.

numba picks the code by the types of the rule and the arrays. Half types are passed as their bits:
float16 as uint16 and bfloat16 as int16.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import overload

from anydrop.backends.numpy.kernels.halves import (
    narrow_bfloat,
    narrow_half,
    widen_bfloat,
    widen_half,
)
from anydrop.backends.numpy.kernels.rules import (
    NOISE,
    Add,
    Choose,
    Drop,
    MultiplyNoise,
    Normal,
)
from anydrop.core.quantile import UNIT


def put(y, i, sources, at, word, rule):
    """Compute element i of y from the elements at the places `at` in the sources.

    For noise rules, `word` is the numerator of a normal number; see `normals`.
    """


@overload(put)
def _put(y, i, sources, at, word, rule):
    if y.dtype == types.boolean:

        def put(y, i, sources, at, word, rule):
            y[i] = word >= rule.least

    elif y.dtype == types.uint32:

        def put(y, i, sources, at, word, rule):
            y[i] = word

    elif rule.instance_class is Choose:

        def put(y, i, sources, at, word, rule):
            # Load both: loading only one would take a branch on the word.
            new, previous = sources[0][at[0]], sources[1][at[1]]
            y[i] = new if word >= rule.least else previous

    elif rule.instance_class is Drop:

        def put(y, i, sources, at, word, rule):
            value = sources[0][at[0]]
            y[i] = type(value)(0) if word >= rule.least else value

    elif rule.instance_class is Normal:

        def put(y, i, sources, at, word, rule):
            y[i] = _normal(word, rule.scale)

    elif rule.instance_class in NOISE:

        def put(y, i, sources, at, word, rule):
            noise = _normal(word, rule.scale) * rule.scale
            y[i] = _narrow(y, _perturbed(_widen(sources[0][at[0]]), noise, rule))

    elif rule.instance_class is Add:

        def put(y, i, sources, at, word, rule):
            v = _scaled(_biased(sources, at), rule.scale, rule.shift)
            v = v if word >= rule.least else type(v)(rule.fill)
            y[i] = _narrow(y, _widen(sources[1][at[1]]) + v)

    else:

        def put(y, i, sources, at, word, rule):
            v = _scaled(_widen(sources[0][at[0]]), rule.scale, rule.shift)
            y[i] = _narrow(y, v if word >= rule.least else type(v)(rule.fill))

    return put


def _biased(sources, at):
    """Return x + bias, or x if there is no bias."""


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
        # Multiply the parts: the complex product of an infinite part would make a NaN of the other
        # part.
        return lambda v, scale, shift: complex(v.real * scale + shift, v.imag * scale)
    return lambda v, scale, shift: v * scale + shift


@njit(inline="always")
def _normal(word, like):
    """Return the normal number of a numerator, in the dtype of another number."""
    return type(like)(np.int32(word)) * type(like)(UNIT)


def _perturbed(v, noise, rule):
    """Return a number with noise."""


@overload(_perturbed)
def _perturbed_by(v, noise, rule):
    if rule.instance_class is not MultiplyNoise:
        return lambda v, noise, rule: v + noise
    if isinstance(v, types.Complex):
        return lambda v, noise, rule: _times(v, noise + type(noise)(1))
    return lambda v, noise, rule: v * (noise + type(noise)(1))


@njit(inline="always")
def _times(v, factor):
    """Return a complex number times a real one, part by part."""
    return complex(v.real * factor, v.imag * factor)


def _widen(value):
    """Return an array's number in the dtype of the computation."""


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
