"""The contract of a backend, written once in the pure array API.

It serves array-api-strict and every library that implements the standard by itself. It is the
specification of the faster backends, not a fast one: it draws one Philox block for each element,
in 32-bit integers, since some namespaces and devices have no 64-bit ones.
"""

from __future__ import annotations

from typing import Any

from anydrop.backends.common.arithmetic import complex_of
from anydrop.backends.common.arrays import COMPUTE as COMPUTE
from anydrop.backends.common.arrays import HALVES as HALVES
from anydrop.backends.common.arrays import dtype_name as dtype_name
from anydrop.backends.common.composed import Composed, written
from anydrop.backends.common.words import words as words_of
from anydrop.backends.plan import Plan, Plans
from anydrop.core import check
from anydrop.core.recipe import Affine, Recipe
from anydrop.core.typing import Array, Namespace


class Backend(Composed):
    """What anydrop needs of an array library.

    Three methods are the contract: `keep` draws a mask, `select` applies one, and `draw` lets the
    library's own generator draw one. The others have defaults, here or in the classes that this one
    is made of, ``Composed`` and ``Arrays``.

    A library that implements the array API standard needs no backend: this class serves it. For
    another library, or to be faster, subclass this class, override what you need, and register
    your class: every layer and function works with it.

    Notes
    -----
    What calls each method, and what it does by default. "All" is every function and layer in
    training; "masks" is to look at them; "composed" are several of blocks, zoneout, tokens, copies
    (of weights) and dropout_add; "moves" are masks and gradients that go to another library;
    "verify" is the command.

    ===============  ============================  =================================================
    method           called for                    by default
    ===============  ============================  =================================================
    keep             masks, tokens, verify         in the namespace, a block for each element
    select           all                           in the namespace, with the mask of ``keep``
    draw             rng=                          refused; yours if the library has generators
    check_generator  rng=                          asks ``draw`` for a mask of no elements
    select_add       dropout_add                   in the namespace, around ``select``
    sum_to           dropout_add                   in the namespace, as a tree of additions
    sum_selected     copies                        of ``select`` and ``sum_to``
    normals          noise                         in the namespace, of the words
    perturb          noise, verify                 in the namespace, of ``normals``
    choose           zoneout                       in the namespace, of ``keep``
    keep_blocks      blocks                        in the namespace, of ``keep``
    select_blocks    blocks                        of ``keep_blocks`` and ``select``
    recompute        rng=, copies                  one call; yours if the library differentiates
    plan             all                           None; yours if calls of few elements must be fast
    at_step          rng=                          the generator; yours if generators have no state
    check_stateful   layers                        nothing; yours if a compiler runs Python once
    counted          layers                        the step; yours if a program may run it twice
    probes           verify                        an array on each device of the namespace
    xp               noise, composed, monte_carlo  the module that ``namespace`` names
    owns             all                           by the array's namespace, or its type's module
    dtype_name       noise, composed, monte_carlo  of ``x.dtype``
    shape            all                           ``x.shape``, with no length unknown
    device           layers, verify                ``x.device``, or ``"cpu"`` if there is none
    empty            masks, noise                  in the namespace
    move             rng=, tokens                  by way of NumPy
    aligned          tokens                        the array; yours if arrays have a memory order
    composable       composed                      the array; yours if functions fail for some
    detached         monte_carlo                   the array; yours if a gradient keeps others alive
    from_numpy       moves, verify                 ``xp.asarray``; yours without a namespace
    to_numpy         moves, digests, verify        DLPack; yours if the library has none
    select_packed    rng=                          of ``unpack`` and ``select``
    pack             rng=, tokens                  in the namespace, or by NumPy
    unpack           rng=                          in the namespace, or by NumPy
    check_input      all                           the dtypes that ``COMPUTE`` names
    check_out        out=                          as ``x``, and writeable; yours if arrays are not
    check_like       composed                      library, shape, dtype and device
    ===============  ============================  =================================================

    A library without a namespace (``namespace = None``) needs ``keep``, ``select``, ``from_numpy``
    and ``to_numpy`` of its own. Its arrays are refused where ``xp`` is called for.
    """

    #: The plans of calls that were made before; None of a library that makes none, and while a
    #: compiler traces the call.
    plans: Plans | None = None

    #: What draws the masks, as ``anydrop verify`` reports it.
    kernel = "array API"

    # The contract ------------------------------------------------------------------------------

    def keep(self, recipe: Recipe, like: Array) -> Array:
        """Return the boolean keep mask of a recipe.

        Parameters
        ----------
        recipe : Recipe
            What to draw: see its `key`, `step_words`, `threshold` and `placement`.
        like : array
            Any array on the device where the mask is wanted.

        Returns
        -------
        array of bool, shape ``recipe.keep_shape``
            True where an element survives.
        """
        if 0 in recipe.keep_shape:
            return self.xp.empty(recipe.keep_shape, dtype=self.xp.bool, device=self.device(like))
        words = words_of(self.xp, self.device(like), recipe)
        return self.xp.reshape(words >= recipe.threshold, recipe.keep_shape)

    def select(
        self,
        x: Array,
        keep: Recipe | Array | None,
        scale: float,
        shift: float | None = None,
        fill: float = 0.0,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, x * scale + shift, fill)``, rounded once to the dtype of `x`.

        Parameters
        ----------
        x : array of any shape
            Of one of the dtypes in `COMPUTE`, which names the dtype to compute in. Complex
            arrays are scaled part by part; `shift` and `fill` are real.
        keep : Recipe, array of bool, or None
            A recipe to draw, a keep mask of this library that is broadcast against `x`, or None
            to keep everything.
        scale, shift, fill : float
            A shift of None is none: adding 0.0 would turn -0 into +0.
        out : array, optional
            Where to write the result; may be `x` itself. `check_out` has seen it.

        Returns
        -------
        array
            With the shape, dtype and device of `x`; `out` if it was given.
        """
        xp = self.xp
        wide = self._wide(x)
        y = _affine(xp, wide, scale, shift)
        if keep is not None:
            kept = self.keep(keep, x) if isinstance(keep, Recipe) else keep
            fills = xp.full((1,) * x.ndim, fill, dtype=wide.dtype, device=self.device(x))
            y = xp.where(kept, y, fills)
        return written(xp.astype(y, x.dtype, copy=False), out)

    def draw(self, rng: Any, shape: tuple[int, ...], p: float, like: Array) -> Array:
        """Return a keep mask from the library's own generator: the RNG adapter.

        Parameters
        ----------
        rng : generator
            Of this library.
        shape : tuple of int
            Of the mask.
        p : float
            Drop probability.
        like : array
            Any array on the device where the mask is wanted.

        Returns
        -------
        array of bool, shape `shape`
            ``uniform(shape) < 1 - p``.

        Raises
        ------
        TypeError
            If `rng` is no generator of this library.
        """
        raise TypeError(
            f"rng= is not supported for {self.name} arrays, which come with no generator of "
            f"their own (got {check.described(rng)}); use seed="
        )

    def check_generator(self, rng: Any, like: Array) -> None:
        """Refuse a generator that `draw` would refuse; it must not move."""
        self.draw(rng, (0,), 0.0, like)

    # What some libraries do better, or must refuse ----------------------------------------------

    def plan(self, x: Array, recipe: Recipe, affine: Affine) -> Plan | None:
        """Return how to do a `select` again for arrays like x, at any key, step and place.

        None, as here, says that nothing would be gained. See ``anydrop.backends.plan``.
        """
        return None

    def at_step(self, rng: Any, step: int) -> Any:
        """Return the generator of a layer's draw number `step`.

        One that has a state moves on by itself, so this is `rng`.
        """
        return rng

    def check_stateful(self, *, counts: bool) -> None:
        """Refuse a layer's pass that something runs again without the layer's knowledge.

        The layer's count of steps would be wrong, and a mask be repeated or skipped.

        Parameters
        ----------
        counts : bool
            Whether the pass spends a step, as a forward does.
        """

    def counted(self, step: Any) -> Any:
        """Return the step of a layer's forward, as a compiled program takes it.

        A checkpoint may run such a program again, unknown to the layer. The program must refuse.
        """
        return step

    def probes(self) -> list[tuple[Backend, Array]]:
        """Return an empty array for each device and kernel found here, and who draws for it."""
        if self._xp is None:
            return [(self, self.empty("cpu"))]
        devices = self._xp.__array_namespace_info__().devices()
        return [(self, self.empty(device)) for device in devices]


def _affine(xp: Namespace, x: Array, scale: float, shift: float | None) -> Array:
    if xp.isdtype(x.dtype, "complex floating"):
        return complex_of(xp, _affine(xp, xp.real(x), scale, shift), xp.imag(x) * scale)
    return x * scale if shift is None else x * scale + shift
