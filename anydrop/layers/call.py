"""What every function of the catalogue does: check its arguments, draw a mask, apply it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict, TypeVar

from anydrop.backends import resolve
from anydrop.core import check, place, stream
from anydrop.core.recipe import Window, keep_shape
from anydrop.core.typing import Array
from anydrop.masks.mask import Mask
from anydrop.masks.stored import StoredMask


class Keywords(TypedDict, total=False):
    """The keywords that every function of the catalogue takes; `anydrop.dropout` describes them."""

    training: bool
    seed: stream.Seed | Sequence[int] | None
    step: int
    rng: Any
    shared_axes: int | Sequence[int]
    noise_shape: Sequence[int | None] | None
    window: Window | None
    scaling: check.Scaling
    out: Array | None
    return_mask: bool


class Affine(NamedTuple):
    """What becomes of an element: ``x * scale + shift`` if it is kept, else `fill`."""

    scale: float
    shift: float
    fill: float


Function = TypeVar("Function", bound=Callable[..., Any])


def scaled(mask: Mask) -> tuple[float, ...]:
    """Return what becomes of an element if it is scaled, or set to 0."""
    return (mask.scale,)


def selects(
    affine: Callable[[Mask], tuple[float, ...]] = scaled,
) -> Callable[[Function], Function]:
    """Say of a function that in training it does nothing but `Mask.select` by the mask it returns.

    So a layer can do that by itself when the next array of the same kind comes.

    Parameters
    ----------
    affine : callable
        Returns what becomes of an element by such a mask: the scale and, where they are not 0, the
        shift and the fill.
    """

    def marked(function: Function) -> Function:
        # With itself, since a wrapper takes over all that is written on what it wraps.
        vars(function)["selects"] = function, affine
        return function

    return marked


def affine_of(function: Callable[..., Any]) -> Callable[[Mask], tuple[float, ...]] | None:
    """Return what a function said by `selects`, or None if it said nothing."""
    marked, affine = getattr(function, "selects", (None, None))
    return affine if marked is function else None


class Call:
    """One call of a function: its array and its arguments, checked.

    Parameters
    ----------
    x : array
        What to drop from.
    p : float
        Drop probability.
    unscaled : str
        Why ``scaling="inference"`` makes no sense for the function; empty if it does.
    **keywords
        See `Keywords`.
    """

    def __init__(
        self,
        x: Array,
        p: float,
        *,
        unscaled: str = "",
        training: bool = True,
        seed: stream.Seed | Sequence[int] | None = None,
        step: int = 0,
        rng: Any = None,
        shared_axes: int | Sequence[int] = (),
        noise_shape: Sequence[int | None] | None = None,
        window: Window | None = None,
        scaling: check.Scaling = "train",
        out: Array | None = None,
        return_mask: bool = False,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise TypeError(
                f"unexpected keyword argument {next(iter(unknown))!r}: beside its own a function "
                f"takes {', '.join(Keywords.__annotations__)}"
            )
        self.x, self.backend = x, resolve(x)
        self.training = check.flag(training, "training")
        # Where no mask is placed, lengths may stay unknown.
        placed = self.training or window is not None
        self.shape = self.backend.shape(x) if placed else tuple(x.shape)
        self.p = check.probability(p)
        check.one_source(seed, rng)
        self.seed = None if seed is None else check.seed(seed)
        self.step, self.rng = place.step(step), rng
        self.shared_axes = check.all_shared(shared_axes, noise_shape, self.shape)
        self.window = None if window is None else Window(*place.window(window, self.shape))
        self.scaling = check.scaling(scaling, unscaled=unscaled)
        self.out, self.return_mask = out, check.flag(return_mask, "return_mask")

    def dropped(self, shared_axes: tuple[int, ...] = (), affine: Affine | None = None) -> Any:
        """Drop elements of x.

        Parameters
        ----------
        shared_axes : tuple of int
            What the function shares beside what its caller does.
        affine : Affine, optional
            What becomes of an element: by default it is scaled, or set to 0.

        Returns
        -------
        array, or tuple of array and mask
            What the function returns.
        """
        if not self.training:
            return self.inferred()
        scale = 1.0 / (1.0 - self.p) if self.scaling == "train" else 1.0
        does = affine or (scale,)
        self.check_arrays()  # before a generator is asked for anything
        mask = self.mask(does[0], shared_axes)
        return self.result(mask.select(self.backend, self.x, does, self.out), mask)

    def inferred(self) -> Any:
        """Return what the function returns at inference: x as it is, or scaled as in 2014."""
        scale = 1.0 if self.scaling == "train" else 1.0 - self.p
        if scale == 1.0 and self.out is None:
            return self.result(self.x)
        self.check_arrays()
        return self.result(self.backend.select(self.x, None, scale, out=self.out))

    def mask(
        self,
        scale: float,
        shared_axes: tuple[int, ...] = (),
        *,
        p: float | None = None,
        enlarged_by: tuple[int, ...] | None = None,
    ) -> Mask | StoredMask:
        """Describe the keep mask of this call, or let the generator draw it.

        Parameters
        ----------
        scale : float
            What survivors are multiplied by.
        shared_axes : tuple of int
            What the function shares beside what its caller does.
        p : float, optional
            Drop probability, if another than the call's.
        enlarged_by : tuple of int, optional
            By how much the mask is longer than x, along each axis.
        """
        p = self.p if p is None else p
        shape, window = self.shape, self.window
        if enlarged_by:
            shape = _longer(shape, enlarged_by)
            window = window and Window(window.offset, _longer(window.shape, enlarged_by))
        shared = tuple(sorted({*self.shared_axes, *shared_axes}))
        if self.rng is None:
            if window or enlarged_by:  # else it is x's, and x has an index for each element
                check.index_range(window.shape if window else shape)
            key = stream.key_of(check.a_seed(self.seed))
            return Mask(key, self.step, shape, p, scale, shared, window)
        check.no_place(self.step, window)
        keep = self.backend.draw(self.rng, keep_shape(shape, shared), p, self.x)
        return StoredMask(self.backend.pack(keep), shape, p, scale, shared)

    def written(self, y: Array) -> Array:
        """Return an array, which is checked, in `out` if it is given."""
        return y if self.out is None else self.backend.select(y, None, 1.0, out=self.out)

    def check_arrays(self) -> None:
        """Refuse arrays that nothing can be dropped from, or written to."""
        self.backend.check_input(self.x)
        self.out = self.backend.check_out(self.out, self.x)

    def result(self, y: Array, mask: Any = None) -> Any:
        """Return what the function returns: y, and the mask if its caller wants it."""
        return (y, mask) if self.return_mask else y


def _longer(shape: tuple[int, ...], by: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n + more for n, more in zip(shape, by, strict=True))
