"""`Layer`: what all layers have in common. It counts a seed's steps and remembers one recipe."""

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
    """State around a dropout function: a mode, a seed, a step and the last mask's recipe.

    One layer belongs to one thread: two that share it may draw the same step twice.

    A subclass names its function, and has a `Setting` for each thing that its constructor takes.

    Parameters
    ----------
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        Fresh entropy by default, which the attribute `seed` then reports.
    rng : generator, optional
        A generator of the library whose arrays will come, instead of `seed`; see `dropout`.
    **options
        The settings, by the names of their `Setting`.
    """

    #: The function, which takes the options as keywords.
    _function: ClassVar[Callable[..., Any]]
    #: Its rule, by which its calls are planned; None of a function that does more than drop.
    _rule: ClassVar[Rule | None] = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "_function" in vars(cls) and "_rule" not in vars(cls):
            cls._rule = None  # the rule of its parent is that of another function

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
        self._plan: Plan | None = None  # of the call that drew that mask
        self._unmasked: Differentiable | None = None  # the last forward, if it was at inference
        self._home: tuple[Any, ...] = ()  # backend and device of the last training input
        self._share_batch = False  # whether all examples of a batch share one mask
        self._twin: Self | None = None  # what draws in its place while `monte_carlo` runs it
        self._thread: int | None = None  # of a twin: where that is

    def _call(self, x: Array, training: bool, **inputs: Any) -> tuple[Any, Any, Plan | None]:
        """Return what the function makes of an input, the mask that it drew, and its plan."""
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
        """Return the options as the function takes them at this step."""
        arguments = self._options.copy()
        for name, value in self._options.items():
            if isinstance(value, schedules.Schedule):
                arguments[name] = schedules.at(value, place.known_step(self._step))
        return arguments

    def _batch_axes(self, ndim: int) -> tuple[int, ...]:
        """Return which axes of a mask with so many count examples."""
        return (0,)

    def _shared_by_batch(self, shape: tuple[int, ...], **inputs: Any) -> dict[str, Any]:
        """Return what a function takes to draw one mask for all examples of a batch."""
        noise = self._options.get("noise_shape")
        own = check.all_shared(self._options["shared_axes"], noise, shape)
        examples = (axis for axis in self._batch_axes(len(shape)) if axis < len(shape))
        shared = tuple(sorted({*own, *examples}))
        return {"shared_axes": shared} | ({} if noise is None else {"noise_shape": None})

    # Passes ------------------------------------------------------------------------------------

    def forward(self, x: Array, training: bool | None = None) -> Array:
        """Call the layer's function: in training with its next mask.

        Parameters
        ----------
        x : array
            Of any library, and of a shape and dtype that the function takes.
        training : bool, optional
            Overrides the layer's mode for this call.

        Returns
        -------
        array
            What the function returns; of most layers `x` itself at inference.

        Raises
        ------
        TypeError, ValueError
            As the function of this layer does. The layer is then as it was.
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
                # `recipe` sees to what making a mask does beside.
                mask = tuple.__new__(Mask, (self._key, step, *plan.rest))
                # One assignment, so that an interrupt can't leave the layer half changed.
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
        # The next call is of this kind, unless a schedule or a compiler has a say in it.
        if not (plan and type(self._step) is int and self._arguments() == self._options):
            plan = None
        key = mask.key if plan else (0, 0)
        # Not +=, which would change a tensor in place that whoever read the step has too.
        new = mask, None, plan, key, (backend, backend.device(x)), self._step + 1
        # One assignment, so that an interrupt can't leave the layer half changed.
        self._mask, self._unmasked, self._plan, self._key, self._home, self._step = new
        return y

    def _inference(self, x: Array, **inputs: Any) -> Any:
        """Describe an inference forward of an input, for its backward pass."""
        arguments = self._arguments()
        scale = 1.0 - arguments["p"] if arguments.get("scaling") == "inference" else 1.0
        return Mask((0, 0), 0, tuple(x.shape), 0.0, scale)

    def backward(self, gradient: Array, training: bool | None = None) -> Any:
        """Return the gradient of the input of an earlier forward.

        In training mode that is the last training forward, whatever inference came after it. In
        inference mode it is the last forward of either kind. A mask is drawn again; nothing of its
        size was stored.

        Parameters
        ----------
        gradient : array
            Gradient of that forward's output, of any library.
        training : bool, optional
            Overrides the layer's mode for this call.

        Returns
        -------
        array
            With the dtype, library and device of `gradient`; of layers with two inputs a tuple. It
            may be `gradient` itself where nothing was dropped or scaled.

        Raises
        ------
        RuntimeError
            If there was no such forward yet.
        TypeError
            If `gradient` is no floating-point array of a known library.
        ValueError
            If its shape is not that of the output.
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
        """The layer that draws: this one, or its twin in a run of `monte_carlo`."""
        return self if self._twin is None else self._twin

    @property
    def seed(self) -> stream.Seed | None:
        """The seed, or None if the layer draws from `rng`."""
        return self._acting._seed

    @property
    def step(self) -> int:
        """Which draw comes next. It may be set, to skip draws or to repeat them.

        For a program that PyTorch compiles, set it to an int64 scalar tensor, of which the layer
        keeps a copy: an int would be compiled for at each step.
        """
        step: int = self._acting._step
        return step

    @step.setter
    def step(self, value: int) -> None:
        acting = self._acting
        acting._step, acting._plan = place.counter(value), None

    @property
    def training(self) -> bool:
        """Whether a forward without `training` drops."""
        return self._acting._training

    def train(self, mode: bool = True) -> Self:
        """Set the layer to training mode, or to inference with False.

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
            If `mode` is no bool.
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
        """Keep mask of the last training forward, or its noise, drawn when asked for.

        It is an array of that input's library and device, with length 1 along shared axes, and
        None before the first training forward.
        """
        acting = self._acting
        return None if acting._mask is None else acting._mask.keep(like=acting._like())

    @property
    def recipe(self) -> Any:
        """The last training forward's mask, described: what an autograd engine keeps of a call.

        It draws the same mask at any later time, whatever the layer has done since.
        """
        if "jax" in modules:  # which may have come since the mask was made
            introduce()
        return self._acting._mask
