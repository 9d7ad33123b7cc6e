"""The arrays to read: a tuple of x, or of x, a second array, and a bias if there is one.

The second array is a residual, or the alternative to x for the rule `Choose`.

numba compiles a function once for each length of the tuple. Positions in the arrays are a tuple of
the same length.
"""

from __future__ import annotations

from numba.extending import overload

from anydrop.backends.numpy.kernels.memory import prefetch


def places(sources, i):
    """Return i as the place in each source."""


@overload(places)
def _places(sources, i):
    return {
        1: lambda sources, i: (i,),
        2: lambda sources, i: (i, i),
        3: lambda sources, i: (i, i, i),
    }[len(sources)]


def places_of(sources, numbers):
    """Return the first numbers of an array as places, one for each source."""


@overload(places_of)
def _places_of(sources, numbers):
    return {
        1: lambda sources, numbers: (numbers[0],),
        2: lambda sources, numbers: (numbers[0], numbers[1]),
        3: lambda sources, numbers: (numbers[0], numbers[1], numbers[2]),
    }[len(sources)]


def moved(at, n, steps):
    """Return the places n steps further on."""


@overload(moved)
def _moved(at, n, steps):
    return {
        1: lambda at, n, steps: (at[0] + n * steps[0],),
        2: lambda at, n, steps: (at[0] + n * steps[0], at[1] + n * steps[1]),
        3: lambda at, n, steps: (
            at[0] + n * steps[0],
            at[1] + n * steps[1],
            at[2] + n * steps[2],
        ),
    }[len(at)]


def ask_ahead(sources, y, at):
    """Prefetch a group of x, the second array and y.

    A bias is short and stays in the cache.
    """


@overload(ask_ahead)
def _ask_ahead(sources, y, at):
    if len(sources) == 1:

        def ask_ahead(sources, y, at):
            prefetch(sources[0], at)
            prefetch(y, at)

    else:

        def ask_ahead(sources, y, at):
            prefetch(sources[0], at)
            prefetch(sources[1], at)
            prefetch(y, at)

    return ask_ahead
