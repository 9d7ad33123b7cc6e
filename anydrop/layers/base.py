"""`Layer`: the state around a dropout function."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from sys import modules
from typing import Any, ClassVar, Self

from anydrop import schedules
from anydrop.backends import introduce, resolve
from anydrop.backends.plan import Plan
from anydrop.core import check, place, seeds, stream
from anydrop.core.runs import RUNS, check_found
from anydrop.core.typing import Array
from anydrop.layers.call import Call, Rule
from anydrop.layers.state import State
from anydrop.masks.mask import Differentiable, Drawn, Mask


class Layer(State, abc.ABC):
    """Base class of all layers.

    A layer calls a dropout function, and keeps what that needs between calls: a mode (training or
    inference), a seed, the step, and a recipe of the last mask. `DropLayer` adds a drop
    probability. Derive from one of the two to make a layer of your own function. `Dropout` shows
    the methods.

    Use a layer in one thread at a time: two threads may draw the same step twice.

    Parameters
    ----------
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        Seed of the masks. By default the operating system provides one, and the attribute `seed`
        reports it.
    rng : generator, optional
        Generator of the library whose arrays will come, instead of `seed`. See `dropout`.
    **options
        The settings of the subclass, by name: the class has a `Setting` for each of them.
    """

    #: The function that the layer calls, with the options as keywords.
    _function: ClassVar[Callable[..., Any]]
    #: The rule that plans its calls; None if the function does more than drop.
    _rule: ClassVar[Rule | None] = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "_function" in vars(cls) and "_rule" not in vars(cls):
            cls._rule = None  # the parent's rule belongs to another function

    def __init__(
        self,
        *,
        seed: stream.Seed | Sequence[int] | None = None,
        rng: Any = None,
        **options: Any,
    ) -> None:
        seeds.forbid_two_sources(seed, rng)
        self._options = self._check_settings(options)
        self._seed: stream.Seed | None = None
        if rng is None:
            self._seed = seeds.fresh() if seed is None else seeds.checked(seed)
        self._rng = seeds.checked_generator(rng)
        self._step = 0
        self._training = True
        self._mask: Drawn | None = None
        self._plan: Plan | None = None  # of the call that drew `_mask`
        self._unmasked: Differentiable | None = None  # of the last forward, if that was inference
        self._home: tuple[Any, ...] = ()  # backend and device of the last training input
        self._share_batch = False  # whether all examples of a batch share one mask
        self._twin: Self | None = None  # draws in its place during `monte_carlo`
        self._thread: int | None = None  # of a twin: the thread of its run

    def _call(self, x: Array, training: bool, **inputs: Any) -> tuple[Any, Any, Plan | None]:
        """Call the function; return its result, its mask and its plan."""
        arguments = self._arguments()
        if training and self._rng is None:
            arguments |= {"seed": self._seed, "step": resolve(x).counted(self._step)}
        elif training:
            arguments["rng"] = resolve(x).at_step(self._rng, self._step)
        if training and self._share_batch:
            arguments |= self._shared_by_batch(resolve(x).shape(x), **inputs)
        if self._rule is None or inputs:
            y, mask = self._function(x, **inputs, **arguments, training=training, return_mask=True)
            return y, mask, None
        own = self._rule.own and tuple(arguments.pop(name) for name in self._rule.own)
        call = Call(x, unscaled=self._rule.unscaled, **arguments, training=training)
        return call.drop(self._rule, own)

    def _arguments(self) -> dict[str, Any]:
        """Return the options for this step, with schedules evaluated."""
        arguments = self._options.copy()
        for name, value in self._options.items():
            if isinstance(value, schedules.Schedule):
                arguments[name] = schedules.at(value, place.known_step(self._step))
        return arguments

    def _batch_axes(self, ndim: int) -> tuple[int, ...]:
        """Return the axes of a mask, of `ndim` dimensions, that count examples."""
        return (0,)

    def _shared_by_batch(self, shape: tuple[int, ...], **inputs: Any) -> dict[str, Any]:
        """Return the keywords with which all examples of a batch share one mask."""
        noise = self._options.get("noise_shape")
        own = check.all_shared(self._options["shared_axes"], noise, shape)
        examples = (axis for axis in self._batch_axes(len(shape)) if axis < len(shape))
        shared = tuple(sorted({*own, *examples}))
        return {"shared_axes": shared} | ({} if noise is None else {"noise_shape": None})

    # Passes ------------------------------------------------------------------------------------

    def forward(self, x: Array, training: bool | None = None) -> Array:
        """Apply dropout to an input. In training this draws the next mask, and advances `step`.

        Calling the layer does the same: ``layer(x)``.

        Parameters
        ----------
        x : array
            Input, of any library, with a shape and dtype that the layer's function takes.
        training : bool, optional
            True drops, and False means inference. By default the layer's own mode decides; see
            `train`.

        Returns
        -------
        array
            The output. At inference most layers return `x` itself.

        Raises
        ------
        TypeError, ValueError
            If the layer's function refuses the input. The layer is then unchanged.
        """
        plan, step = self._plan, self._step
        if (
            plan is not None
            and not RUNS
            and (self._training if training is None else training is True)
            and step <= stream.LAST_STEP
        ):
            y = plan.stateful(x, self._key, step)
            if y is not None:
                # Skips `Mask.__new__`, which introduces masks to JAX: `recipe` does that.
                mask = tuple.__new__(Mask, (self._key, step, *plan.rest))
                # A single assignment, so that an interrupt can't leave the layer half changed.
                self._mask, self._unmasked, self._step = mask, None, step + 1
                return y
        return self._forward(x, training)

    __call__ = forward

    def _forward(self, x: Array, training: bool | None, **inputs: Any) -> Any:
        if RUNS:
            if self._twin is None:
                check_found(self, self._training, training)
            self = self._acting
        training = self._training if training is None else check.flag(training, "training")
        backend = resolve(x)
        if not training:
            y = self._call(x, training, **inputs)[0]
            self._unmasked = self._inference(x, **inputs)
            return y
        backend.check_stateful(counts=True)
        y, mask, plan = self._call(x, training, **inputs)
        # The next call has the same plan, unless a schedule or a compiler may change it.
        if not (plan and type(self._step) is int and self._arguments() == self._options):
            plan = None
        key = mask.key if plan else (0, 0)
        # Not +=, which would change in place a tensor that somebody may have read as `step`.
        new = mask, None, plan, key, (backend, backend.device(x)), self._step + 1
        # A single assignment, so that an interrupt can't leave the layer half changed.
        self._mask, self._unmasked, self._plan, self._key, self._home, self._step = new
        return y

    def _inference(self, x: Array, **inputs: Any) -> Any:
        """Describe an inference forward, for its backward pass."""
        arguments = self._arguments()
        scale = 1.0 - arguments["p"] if arguments.get("scaling") == "inference" else 1.0
        return Mask((0, 0), 0, tuple(x.shape), 0.0, scale)

    def backward(self, gradient: Array, training: bool | None = None) -> Any:
        """Return the gradient of the input, from the gradient of the output.

        In training mode this is the backward pass of the last training forward, even if you ran
        inference since. In inference mode it is that of the last forward of either kind. The mask
        is drawn again, since none was stored.

        Parameters
        ----------
        gradient : array
            Gradient of the output of that forward, of any library.
        training : bool, optional
            True or False chooses the mode for this call. By default the layer's own mode decides.

        Returns
        -------
        array
            Gradient of the input, with the dtype, library and device of `gradient`. Layers with
            several inputs return a tuple. If nothing was dropped or scaled, this may be `gradient`
            itself.

        Raises
        ------
        RuntimeError
            If there was no such forward yet.
        TypeError
            If `gradient` is not a floating-point array of a known library.
        ValueError
            If it has another shape than the output.
        """
        if RUNS:
            self = self._acting
        training = self._training if training is None else check.flag(training, "training")
        unmasked = None if training else self._unmasked
        mask = unmasked or self._mask
        if mask is None:
            kind = "the last forward in training mode" if training else "an earlier forward"
            way_out = "forward(x, training=True)" if training else "forward(x)"
            raise RuntimeError(
                f"{type(self).__name__}.backward() belongs to {kind}, and there was none yet: call "
                f"{way_out} first"
            )
        if self._plan is not None and isinstance(mask, Mask) and not unmasked:
            dx = self._plan.linear(gradient, mask.key, mask.step)
            if dx is not None:
                return dx
        resolve(gradient).check_stateful(counts=False)
        return mask.apply(gradient)

    # State -------------------------------------------------------------------------------------

    @property
    def _acting(self) -> Self:
        """The layer that draws: this one or, during `monte_carlo`, its twin."""
        return self if self._twin is None else self._twin

    @property
    def seed(self) -> stream.Seed | None:
        """Seed of the masks, or None if the layer draws from a generator."""
        return self._acting._seed

    @property
    def step(self) -> int:
        """Step of the next mask: how many masks the layer has drawn.

        Set it to skip steps or to repeat them. If PyTorch compiles the layer, set it to an int64
        scalar tensor first, which the layer copies. With an int the compiler would run again at
        each step.
        """
        step: int = self._acting._step
        return step

    @step.setter
    def step(self, value: int) -> None:
        acting = self._acting
        acting._step, acting._plan = place.counter(value), None

    @property
    def training(self) -> bool:
        """Whether the layer is in training mode; see `train` and `eval`."""
        return self._acting._training

    def train(self, mode: bool = True) -> Self:
        """Set the layer to training mode, or to inference mode with ``train(False)``.

        Parameters
        ----------
        mode : bool, default True
            Whether to drop.

        Returns
        -------
        Layer
            This layer.

        Raises
        ------
        TypeError
            If `mode` is not a bool.
        """
        self._acting._training = check.flag(mode, "mode")
        return self

    def eval(self) -> Self:
        """Set the layer to inference mode.

        Returns
        -------
        Layer
            This layer.
        """
        return self.train(False)

    @property
    def mask(self) -> Array | None:
        """Boolean mask of the last training forward, True where an element was kept.

        It is drawn again when you read it, in the library and on the device of that input, with
        length 1 along shared axes. Layers of noise return the noise. Before the first training
        forward it is None.
        """
        acting = self._acting
        return None if acting._mask is None else acting._mask.keep(like=acting._like())

    @property
    def recipe(self) -> Any:
        """Recipe of the last training forward's mask, such as a `Mask`.

        It still draws that mask after later calls of the layer: keep it in an autograd engine of
        your own, and call its ``apply`` in the backward pass. Before the first training forward it
        is None.
        """
        if "jax" in modules:  # which may have been imported since the mask was made
            introduce()
        return self._acting._mask
