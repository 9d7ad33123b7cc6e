"""`Variant`: a way to call a function of the catalogue, and what a test knows of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import anydrop
from anydrop import resolve

TOKEN = -1
SELU = -1.7580993408473766  # where SELU saturates


def plain(p):
    return 1 / (1 - p), -0.0, 0.0


def unscaled(p):
    return 1.0, -0.0, 0.0


def replaced(p):
    return 1.0, -0.0, float(TOKEN)


def alpha(p):
    a = 1 / math.sqrt((SELU**2 * p + 1) * (1 - p))
    return a, -a * SELU * p, a * SELU - a * SELU * p


class Variant(NamedTuple):
    """A function of the catalogue with some options, and the layer around it."""

    name: str
    function: Callable[..., Any]
    #: Of an input.
    shape: tuple[int, ...] = (6, 5)
    #: Axes along which the name says that all elements are dropped together.
    shared: tuple[int, ...] = ()
    #: What the function and the layer take; none of it is a default.
    options: dict[str, Any] = {}  # noqa: RUF012 - a tuple's default
    #: Scale, shift and fill for a p.
    affine: Callable[[float], tuple[float, float, float]] = plain
    #: Lengths of a block along each axis.
    sizes: tuple[int, ...] = ()
    #: What a call makes of an input: its first argument, and what it takes beside.
    first: Callable[[Any], Any] = lambda x: x
    inputs: Callable[[Any], dict[str, Any]] = lambda x: {}
    #: Name of the drop probability, or of what stands in its place.
    rate: str = "p"

    @property
    def layer(self) -> type[anydrop.Layer]:
        """The class of the function's name."""
        words = self.function.__name__.split("_")
        return getattr(anydrop, "".join(map(str.capitalize, words)))

    def __call__(self, x: Any, rate: float = 0.4, **keywords: Any) -> Any:
        """Call the function."""
        given = {self.rate: rate, **self.options, **self.inputs(x), **keywords}
        return self.function(self.first(x), **given)

    def __str__(self) -> str:
        return self.name

    def make(self, rate: float = 0.4, **keywords: Any) -> Any:
        """Return a layer."""
        return self.layer(**{self.rate: rate}, **self.options, **{"seed": 0, **keywords})

    def run(self, layer: Any, x: Any, **keywords: Any) -> Any:
        """Call a layer with all the inputs that it wants."""
        return layer(self.first(x), **self.inputs(x), **keywords)

    @property
    def whole(self) -> bool:
        """Whether its input holds integers, which have no gradients."""
        return self.layer is anydrop.TokenDropout

    @property
    def copies(self) -> bool:
        """Whether its input holds copies of one table, of which the function takes the first."""
        return self.first is first_of_all

    def input(self, dtype: str = "f4") -> np.ndarray:
        """Return an input of random numbers, none of them 0."""
        rng = np.random.default_rng(0)
        if self.whole:
            return rng.integers(10, 100, self.shape)
        return (1 + rng.random(self.shape)).astype(dtype)

    def example(self, dtype: Any = "f4") -> np.ndarray:
        """Return small whole numbers, none of them 0."""
        x = np.random.default_rng(0).integers(1, 9, self.shape).astype(dtype)
        if self.copies:
            x[...] = x[:1]
        return x

    @property
    def fates(self) -> tuple[Any, ...]:
        """Index of one of the elements that are dropped together, of each such group."""
        return (..., *(0 if a in self.shared else slice(None) for a in range(len(self.shape))))


def first_of_all(x: Any) -> Any:
    return x[0, ...]


def integers(x: Any) -> Any:
    xp = resolve(x).xp
    return xp.astype(x, xp.int32)


def opposite(x: Any) -> dict[str, Any]:
    return {"previous": -x}


def zeros(x: Any) -> dict[str, Any]:
    return {"previous": x * 0}


def nothing(x: Any) -> dict[str, Any]:
    """Return a residual of zeros."""
    return {"residual": resolve(x).xp.zeros_like(x)}


def nothing_twice(x: Any) -> dict[str, Any]:
    """Return a residual and a bias of zeros."""
    zeros = resolve(x).xp.zeros_like(x)
    return {"residual": zeros, "bias": zeros[0, ...]}


def number_of_copies(x: Any) -> dict[str, Any]:
    return {"examples": x.shape[0]}


def formats(function, shape, **fields) -> Iterator[Variant]:
    """Yield a function of feature maps for a shape (batch, channels, ...) in every data format."""
    batch, channels, *positions = shape
    for first in (True, False):
        for batched in (True, False):
            examples = (batch,) * batched
            inner = (channels, *positions) if first else (*positions, channels)
            start = len(examples) + first
            shared = tuple(range(start, start + len(positions)))
            data_format = "channels_first" if first else "channels_last"
            name = f"{function.__name__}-{data_format}{'' if batched else '-unbatched'}"
            options = {"data_format": data_format, "batched": batched}
            yield Variant(name, function, (*examples, *inner), shared, options, **fields)


def blocks(function, shape, lengths, name="", **options) -> Variant:
    """Return a function of blocks of those lengths along the last axes."""
    size = lengths[0] if len(set(lengths)) == 1 else lengths
    return Variant(
        *(f"{function.__name__}-{'x'.join(map(str, lengths))}{name}", function, shape),
        options={"block_size": size, **options},
        sizes=(*(1,) * (len(shape) - len(lengths)), *lengths),
    )
