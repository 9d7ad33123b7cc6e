"""What every dropout function does: check its arguments, draw a mask, apply it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

from anydrop.backends import resolve
from anydrop.backends.plan import Plan
from anydrop.core import check, place, seeds, stream
from anydrop.core.recipe import Affine, Recipe, Window, keep_shape, scaled
from anydrop.core.stream import key_of_entropy
from anydrop.core.typing import Array
from anydrop.masks.mask import Mask
from anydrop.masks.stored import StoredMask

# Compared by identity, to see at once that a keyword was left out.
NO_AXES: tuple[int, ...] = ()
TRAIN: check.Scaling = "train"


class Keywords(TypedDict, total=False):
    """The keywords that every dropout function takes. `anydrop.dropout` describes them."""

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


@dataclass(frozen=True, eq=False)
class Rule:
    """What a function that applies one mask needs, so that its calls can be planned.

    Parameters
    ----------
    shared : callable
        Takes the shape of x and the function's own settings, and returns the axes that the function
        shares, or raises.
    own : tuple of str
        Names of the function's own settings.
    affine : callable, optional
        Takes p, and returns how elements change. By default kept ones are scaled, and others set to
        0.
    unscaled : str
        Why the function refuses ``scaling="inference"``; empty if it takes it.
    """

    shared: Callable[..., tuple[int, ...]] = lambda shape: ()
    own: tuple[str, ...] = ()
    affine: Callable[[float], Affine] | None = None
    unscaled: str = ""


class Result(NamedTuple):
    """Result of a call, the mask of a training call, and the plan if there is one."""

    y: Array
    mask: Any = None
    plan: Plan | None = None


def drop(
    rule: Rule,
    x: Array,
    p: float,
    own: tuple[Hashable, ...] = (),
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
) -> Any:
    """Return the result of a function with a rule.

    Parameters
    ----------
    rule : Rule
        Rule of the function.
    x, p : array, float
        Input and drop probability.
    own : tuple
        The function's own settings, checked.
    training, seed, step, rng, shared_axes, noise_shape, window, scaling, out, return_mask
        See `anydrop.dropout`.
    """
    plans = resolve(x).plans
    if (
        plans is not None
        and training is True
        and type(p) is float
        and type(step) is int
        and not step >> 64  # neither negative, nor of more than 64 bits
        and ((type(seed) is int and not seed >> 64) or type(seed) is stream.Keyed)
        and rng is None
        and shared_axes is NO_AXES
        and noise_shape is None
        and window is None
        and scaling is TRAIN
        and not unknown
    ):
        # All arguments are in normal form, as they were in the call that was planned.
        try:
            plan = plans.get((x.dtype, x.shape, rule, p, own))
        except (RuntimeError, TypeError):
            # A nested tensor has no shape, and is refused below. Symbolic lengths, in a trace,
            # can't be a key.
            plan = None
        if plan:
            key = key_of_entropy(seed) if type(seed) is int else stream.key_of(seed)
            y = plan.forward(x, key, step, 0, out)
            if y is not None and return_mask is False:
                return y
            if y is not None and return_mask is True:
                return y, Mask._make((key, step, *plan.rest))
    keywords = shared_axes, noise_shape, window, scaling, out, return_mask
    call = Call(x, p, rule.unscaled, training, seed, step, rng, *keywords, **unknown)
    y, mask, _ = call.drop(rule, own)
    return (y, mask) if call.return_mask else y


class Call:
    """One call of a function: its array and its arguments, checked.

    Parameters
    ----------
    x : array
        Input.
    p : float
        Drop probability.
    unscaled : str
        Why the function refuses ``scaling="inference"``; empty if it takes it.
    **keywords
        See `Keywords`.
    """

    def __init__(
        self,
        x: Array,
        p: float,
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
                f"unexpected keyword argument {next(iter(unknown))!r}: besides its own arguments a "
                f"function takes {', '.join(Keywords.__annotations__)}"
            )
        self.x, self.backend = x, resolve(x)
        self.training = check.flag(training, "training")
        # Without a mask, lengths may stay unknown.
        placed = self.training or window is not None
        self.shape = self.backend.shape(x) if placed else tuple(x.shape)
        self.p = check.probability(p)
        seeds.forbid_two_sources(seed, rng)
        self.seed = None if seed is None else seeds.checked(seed)
        self.step, self.rng = place.step(step), rng
        self.shared_axes = check.all_shared(shared_axes, noise_shape, self.shape)
        self.window = None if window is None else Window(*place.window(window, self.shape))
        self.scaling = check.scaling(scaling, unscaled=unscaled)
        self.out, self.return_mask = out, check.flag(return_mask, "return_mask")

    def drop(self, rule: Rule, own: tuple[Hashable, ...]) -> Result:
        """Drop elements of x by a rule, given the function's own settings."""
        shared = rule.shared(self.shape, *own)
        if not self.training:
            return Result(self.inferred())
        kind, plan = self._planned(rule, own)
        if plan:
            window, first = self.window, 0
            if window:
                first = sum(o * s for o, s in zip(window.offset, plan.strides, strict=True))
            key = stream.key_of(self.seed)  # type: ignore[arg-type]
            y = plan.forward(self.x, key, self.step, first, self.out)
            if y is not None:
                return Result(y, Mask._make((key, self.step, *plan.rest[:-1], window)), plan)
        if rule.affine:
            affine = rule.affine(self.p)
        else:
            affine = scaled(1.0 / (1.0 - self.p) if self.scaling == "train" else 1.0)
        self.check_arrays()  # before a generator draws
        mask = self.mask(affine.scale, shared)
        if self.p == 0.0:
            return Result(self.written(self.x), mask)
        y = mask.select(self.backend, self.x, affine, self.out)
        if kind and not plan and self.backend.plans.is_known(kind):  # type: ignore[union-attr]
            recipe = Recipe(*mask)
            if recipe.window:
                zero = (0,) * len(self.shape)
                recipe = recipe._replace(window=recipe.window._replace(offset=zero))
            plan = self.backend.plan(self.x, recipe, affine)
            if plan:
                self.backend.plans.add(kind, plan)  # type: ignore[union-attr]
        return Result(y, mask, plan)

    def _planned(
        self, rule: Rule, own: tuple[Hashable, ...]
    ) -> tuple[Hashable | None, Plan | None]:
        """Return the kind of this call, and its plan; None if there can't be one."""
        plans = self.backend.plans
        if plans is None or self.seed is None or type(self.step) is not int:
            return None, None
        if self.window and not all(type(o) is int for o in self.window.offset):
            return None, None
        kind: tuple[Hashable, ...] = self.x.dtype, self.shape, rule, self.p, own
        if self.shared_axes or self.window or self.scaling != TRAIN:
            extent = self.window and self.window.shape
            kind = *kind, self.shared_axes, extent, self.scaling
        try:
            return kind, plans.get(kind)
        except TypeError:  # symbolic lengths, in a trace
            return None, None

    def inferred(self) -> Array:
        """Return the result at inference: x, scaled if `scaling` is "inference"."""
        scale = 1.0 if self.scaling == "train" else 1.0 - self.p
        if scale == 1.0 and self.out is None:
            return self.x
        self.check_arrays()
        return self.backend.select(self.x, None, scale, out=self.out)

    def mask(
        self,
        scale: float,
        shared_axes: tuple[int, ...] = (),
        *,
        p: float | None = None,
        enlarged_by: tuple[int, ...] | None = None,
    ) -> Mask | StoredMask:
        """Return the mask of this call: its recipe, or what the generator draws.

        Parameters
        ----------
        scale : float
            Factor of kept elements.
        shared_axes : tuple of int
            Axes that the function shares, in addition to the caller's.
        p : float, optional
            Drop probability, if it is not the call's.
        enlarged_by : tuple of int, optional
            How much longer than x the mask is, along each axis.
        """
        p = self.p if p is None else p
        shape, window, shared = self.shape, self.window, self.shared_axes
        if enlarged_by:
            shape = _longer(shape, enlarged_by)
            window = window and Window(window.offset, _longer(window.shape, enlarged_by))
        if shared_axes:
            shared = tuple(sorted({*shared, *shared_axes}))
        if self.rng is None:
            if window or enlarged_by:  # else it has the shape of x, which is never too large
                check.index_range(window.shape if window else shape)
            key = stream.key_of(seeds.require_seed(self.seed))
            return Mask(key, self.step, shape, p, scale, shared, window)
        check.no_place(self.step, window)
        if self.p == 0.0:  # any key will do, since nothing is dropped
            self.backend.check_generator(self.rng, self.x)
            return Mask((0, 0), 0, shape, 0.0, scale, shared)
        keep = self.backend.draw(self.rng, keep_shape(shape, shared), p, self.x)
        return StoredMask(self.backend.pack(keep), shape, p, scale, shared)

    def written(self, y: Array) -> Array:
        """Return a checked array, copied to `out` if that is given."""
        return y if self.out is None else self.backend.select(y, None, 1.0, out=self.out)

    def check_arrays(self) -> None:
        """Refuse an x or `out` of the wrong kind."""
        self.backend.check_input(self.x)
        if self.out is not None:
            self.backend.check_out(self.out, self.x)

    def result(self, y: Array, mask: Any = None) -> Any:
        """Return y, or y and the mask if the caller wants it."""
        return (y, mask) if self.return_mask else y


def _longer(shape: tuple[int, ...], by: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n + more for n, more in zip(shape, by, strict=True))
