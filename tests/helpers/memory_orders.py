"""Arrays whose axes lie in memory in any order, and calls of every variant with them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from catalogue import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from variants import Variant

# Orders of axes, outermost first: of images with channels last, turned round, with channels
# within rows, and with channels before examples; and of volumes.
FOUR = [(0, 2, 3, 1), (3, 2, 1, 0), (0, 2, 1, 3), (1, 0, 2, 3)]
FIVE = [(0, 2, 3, 4, 1), (4, 3, 2, 1, 0)]


def orders(ndim: int) -> Iterable[tuple[int, ...]]:
    """Return orders of so many axes, but for C's."""
    several = {4: FOUR, 5: FIVE}.get(ndim)
    return several or list(itertools.permutations(range(ndim)))[1:]


def laid_out(x: Any, order: tuple[int, ...]) -> Any:
    """Return a copy of an array whose axes lie in memory in an order."""
    return np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))


def calls(variant: Variant, generator: Callable[[], Any]) -> Iterator[dict[str, Any]]:
    """Yield the keywords of calls: by a seed, at inference, with a shared axis, by a generator."""
    yield {"seed": 0}
    yield {"seed": 0, "training": False}
    if variant.sizes:
        yield {"seed": 0, "shared_axes": 0}
    elif not {"shared_axes", "noise_shape"} & variant.options.keys():
        for axis in range(len(variant.first(variant.input()).shape)):
            yield {"seed": 0, "shared_axes": axis}
    if variant.rate == "p" and "gaussian" not in variant.name:
        yield {"rng": generator()}


# Every variant, but those that make copies of a table, with an array in every order.
CASES = {
    f"{variant}-{''.join(map(str, order))}": (variant, order)
    for variant in VARIANTS
    if "examples" not in variant.inputs(variant.input())
    for order in orders(len(variant.shape))
}
