"""The contract of a backend, and an implementation of it in the pure array API.

The implementation works for array-api-strict and for every library that implements the standard.
It specifies what the faster backends return, and is not fast itself. It draws one Philox block for
each element, in 32-bit integers, since some namespaces and devices have no 64-bit integers.
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
    """The interface between anydrop and an array library. Subclass it to support another one.

    A backend draws masks and applies them to the arrays of one library. It knows nothing of
    functions and layers, and each of them works with every backend.

    Three methods are the core: `keep` draws a mask, `select` applies one, and `draw` draws one from
    the library's own generator. All others have defaults, here or in the base classes ``Composed``
    and ``Arrays``.

    A library that implements the array API standard needs no backend, because this class works for
    it. For another library, or for more speed, write a subclass, override what you need, and pass
    its name to `anydrop.register`.

    Parameters
    ----------
    name : str
        Name of the library in the registry.
    namespace : str, optional
        Name of the module that is the library's array API namespace. By default the class
        attribute ``namespace``, or `name`.

    See Also
    --------
    anydrop.register : Add a backend.
    anydrop.resolve : Return the backend for an array.
    anydrop.testing.cases : Tests that every backend must pass.

    Notes
    -----
    The table says what each method is called for, and what its default does. "Yours if" says when
    to override it.

    - *all*: every function and layer in training.
    - *masks*: a user looks at a mask.
    - *composed*: several of blocks, zoneout, tokens, copies and dropout_add.
    - *copies*: copies of weights, in DropConnect.
    - *moves*: a mask or a gradient goes to another library.
    - *verify*: the command ``python -m anydrop verify``.

    ===============  ============================  =================================================
    method           called for                    default
    ===============  ============================  =================================================
    keep             masks, tokens, verify         array API, one Philox block for each element
    select           all                           array API, with the mask of ``keep``
    draw             rng=                          raises; yours if the library has generators
    check_generator  rng=                          calls ``draw`` for a mask of no elements
    select_add       dropout_add                   array API, around ``select``
    sum_to           dropout_add                   array API, as a tree of additions
    sum_selected     copies                        ``select``, then ``sum_to``
    normals          noise                         array API, from the words
    perturb          noise, verify                 array API, with ``normals``
    choose           zoneout                       array API, with ``keep``
    keep_blocks      blocks                        array API, with ``keep``
    select_blocks    blocks                        ``select`` with the mask of ``keep_blocks``
    recompute        rng=, copies                  one call; yours if the library differentiates
    plan             all                           None; yours if calls on small arrays must be fast
    at_step          rng=                          the generator; yours if generators have no state
    check_stateful   layers                        nothing; yours if a compiler runs Python once
    counted          layers                        the step; yours if a program may run it twice
    probes           verify                        an array on each device of the namespace
    xp               noise, composed, monte_carlo  the module that ``namespace`` names
    owns             all                           by the array's namespace, or its type's module
    dtype_name       noise, composed, monte_carlo  the name of ``x.dtype``
    shape            all                           ``x.shape``; raises if a length is unknown
    device           layers, verify                ``x.device``, or ``"cpu"`` if there is none
    empty            masks, noise                  array API
    move             rng=, tokens                  through NumPy
    aligned          tokens                        the array; yours if arrays have a memory order
    composable       composed                      the array; yours if functions fail for some
    detached         monte_carlo                   the array; yours if gradients keep arrays alive
    from_numpy       moves, verify                 ``xp.asarray``; yours without a namespace
    to_numpy         moves, digests, verify        DLPack; yours if the library has none
    select_packed    rng=                          ``select`` with the mask of ``unpack``
    pack             rng=, tokens                  array API or NumPy
    unpack           rng=                          array API or NumPy
    check_input      all                           the dtype is in ``COMPUTE``
    check_out        out=                          as ``x``, and writeable; yours if never writeable
    check_like       composed                      same library, shape, dtype and device
    ===============  ============================  =================================================

    A library without a namespace sets ``namespace = None`` and needs its own ``keep``, ``select``,
    ``from_numpy`` and ``to_numpy``. Methods that use ``xp`` raise TypeError for its arrays.
    """

    #: The plans of earlier calls. None if the backend makes no plans, and while a compiler traces
    #: the call.
    plans: Plans | None = None

    #: Name of what draws the masks, as ``python -m anydrop verify`` reports it.
    kernel = "array API"

    # The contract ------------------------------------------------------------------------------

    def keep(self, recipe: Recipe, like: Array) -> Array:
        """Return the boolean keep mask of a recipe.

        Parameters
        ----------
        recipe : Recipe
            What to draw. The mask depends on its `key`, `step_words`, `threshold` and `placement`.
        like : array
            An array on the device where the mask is needed.

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
            Its dtype is a key of `COMPUTE`, and the value is the dtype to compute in. Complex
            arrays are scaled part by part, and `shift` and `fill` are real.
        keep : Recipe, array of bool, or None
            A recipe to draw, or a mask of this library that broadcasts to `x`, or None to keep
            everything.
        scale, shift, fill : float
            A shift of None adds nothing. Adding 0.0 would turn -0 into +0.
        out : array, optional
            Where to write the result. It may be `x` itself. `check_out` was called on it.

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
        """Return a keep mask from the library's own generator, for ``rng=``.

        Parameters
        ----------
        rng : generator
            A generator of this library.
        shape : tuple of int
            Shape of the mask.
        p : float
            Drop probability.
        like : array
            An array on the device where the mask is needed.

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
            f"rng= is not supported for {self.name} arrays, since the library has no generator "
            f"(got {check.described(rng)}); use seed="
        )

    def check_generator(self, rng: Any, like: Array) -> None:
        """Raise if `draw` would refuse a generator. The generator must not move."""
        self.draw(rng, (0,), 0.0, like)

    # What some libraries do better, or must refuse ----------------------------------------------

    def plan(self, x: Array, recipe: Recipe, affine: Affine) -> Plan | None:
        """Return a plan that repeats a `select` for arrays like x, at any key, step and place.

        None, the default, means that a plan would gain nothing. See ``anydrop/backends/plan.py``.
        """
        return None

    def at_step(self, rng: Any, step: int) -> Any:
        """Return the generator for a layer's draw number `step`.

        By default this is `rng`: a generator with a state advances by itself.
        """
        return rng

    def check_stateful(self, *, counts: bool) -> None:
        """Raise if something, such as a compiler, may repeat this pass of a layer unnoticed.

        The layer would count wrong, and repeat or skip a mask.

        Parameters
        ----------
        counts : bool
            Whether the pass counts a step, as a forward does.
        """

    def counted(self, step: Any) -> Any:
        """Return the step of a layer's forward in the form that a compiled program needs.

        A checkpoint may run the program again without the layer's knowledge. The program must then
        raise.
        """
        return step

    def probes(self) -> list[tuple[Backend, Array]]:
        """Return a backend and an empty array for each device and kernel of this machine."""
        if self._xp is None:
            return [(self, self.empty("cpu"))]
        devices = self._xp.__array_namespace_info__().devices()
        return [(self, self.empty(device)) for device in devices]


def _affine(xp: Namespace, x: Array, scale: float, shift: float | None) -> Array:
    if xp.isdtype(x.dtype, "complex floating"):
        return complex_of(xp, _affine(xp, xp.real(x), scale, shift), xp.imag(x) * scale)
    return x * scale if shift is None else x * scale + shift
