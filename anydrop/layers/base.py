"""`Layer`: what all layers have in common. It counts a seed's steps and remembers one recipe."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np

from anydrop import schedules
from anydrop.backends import resolve
from anydrop.core import check, stream
from anydrop.core.runs import RUNS, check_found
from anydrop.core.typing import Array
from anydrop.layers.repeat import Repeat, repeat
from anydrop.layers.setting import Setting
from anydrop.masks.mask import Drawn, Mask


class Layer(abc.ABC):
    """State around a dropout function: a mode, a seed, a step and the last mask's recipe.

    One layer belongs to one thread: two that share it may draw the same step twice.

    A subclass names its function, and has an `Setting` for each thing that its constructor takes.

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

    def __init__(
        self,
        *,
        seed: stream.Seed | Sequence[int] | None = None,
        rng: Any = None,
        **options: Any,
    ) -> None:
        check.one_source(seed, rng)
        self._options = self._check_settings(options)
        self._seed: stream.Seed | None = None
        if rng is None:
            self._seed = stream.fresh_seed() if seed is None else check.seed(seed)
        self._rng = rng
        self._step = 0
        self._training = True
        self._mask: Drawn | None = None
        self._repeat: Repeat | None = None  # how to do the call of that mask again
        self._home: tuple[Any, ...] = ()  # backend and device of the last training input
        self._share_batch = False  # whether all examples of a batch share one mask
        self._twin: Self | None = None  # what draws in its place while `monte_carlo` runs it
        self._thread: int | None = None  # of a twin: where that is

    @classmethod
    def _check_settings(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Return settings in normal form; refuse one by itself, or those that don't go together."""
        check.one_spelling(settings.get("shared_axes", ()), settings.get("noise_shape"))
        return {name: cls._option(name).normal(value) for name, value in settings.items()}

    @classmethod
    def _option(cls, name: str) -> Setting[Any]:
        option = getattr(cls, name, None)
        if isinstance(option, Setting):
            return option
        known = [n for n in cls._defaults() if isinstance(getattr(cls, n, None), Setting)]
        raise TypeError(
            f"{cls.__name__} has no setting {name!r}: it takes {', '.join(['seed', 'rng', *known])}"
        )

    def _call(self, x: Array, training: bool, **inputs: Any) -> tuple[Any, Drawn | None]:
        """Return what the function makes of an input, and the mask that it drew in training."""
        arguments = self._arguments()
        if training:
            arguments |= self._source(x)
            if self._share_batch:
                arguments |= self._shared_by_batch(resolve(x).shape(x), **inputs)
        result: tuple[Any, Drawn | None] = self._function(
            x, **inputs, **arguments, training=training, return_mask=True
        )
        return result

    def _arguments(self) -> dict[str, Any]:
        """Return the options as the function takes them at this step."""
        return {
            name: schedules.at(value, check.known_step(self._step))
            if isinstance(value, schedules.Schedule)
            else value
            for name, value in self._options.items()
        }

    def _source(self, x: Array) -> dict[str, Any]:
        """Return what the functions take to draw the next mask."""
        if self._rng is not None:
            return {"rng": resolve(x).at_step(self._rng, self._step)}
        return {"seed": self._seed, "step": self._step}

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
        known = self._repeat
        if (
            not RUNS
            and known is not None
            and known.options is self._options
            and (self._training if training is None else training is True)
            and self._step <= stream.LAST_STEP
        ):
            y = known.forward(x, self._step)
            if y is not None:
                self._mask = known.drawn(self._step)
                self._step += 1
                return y
        return self._forward(x, training)

    __call__ = forward

    def _forward(self, x: Array, training: bool | None, **inputs: Any) -> Any:
        if RUNS:
            if self._twin is None:
                check_found(self, self._training, training)
            self = self._acting
        training = self._training if training is None else check.flag(training, "training")
        if not training:
            return self._call(x, training, **inputs)[0]
        backend = resolve(x)
        backend.check_stateful(counts=True)
        y, mask = self._call(x, training, **inputs)
        self._repeat = repeat(self._function, backend, x, self._options, mask, self._mask)
        self._mask, self._home = mask, (backend, backend.device(x))
        # Not +=, which would change a tensor in place that whoever read the step has too.
        self._step = self._step + 1
        return y

    def backward(self, gradient: Array) -> Any:
        """Return the gradient of the input of the last training forward.

        The mask is drawn again; nothing of its size was stored.

        Parameters
        ----------
        gradient : array
            Gradient of that forward's output, of any library.

        Returns
        -------
        array
            With the dtype, library and device of `gradient`; of layers with two inputs a tuple.

        Raises
        ------
        RuntimeError
            If there was no training forward yet.
        TypeError
            If `gradient` is no floating-point array of a known library.
        ValueError
            If its shape is not that of the last training output.
        """
        if RUNS:
            self = self._acting
        mask = self._mask
        if mask is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward() belongs to the last forward in training mode, "
                "and there was none yet: call forward(x, training=True) first"
            )
        if self._repeat is not None and isinstance(mask, Mask):
            dx = self._repeat.backward(gradient, mask.step)
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
        return self._acting._step

    @step.setter
    def step(self, value: int) -> None:
        acting = self._acting
        acting._step, acting._repeat = check.layer_step(value), None

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

    def _like(self) -> Array:
        """Return an empty array of the library and on the device of the last training input."""
        backend, device = self._home
        return backend.empty(device)

    @property
    def recipe(self) -> Any:
        """The last training forward's mask, described: what an autograd engine keeps of a call.

        It draws the same mask at any later time, whatever the layer has done since.
        """
        return self._acting._mask

    def state_dict(self) -> dict[str, Any]:
        """Return what it takes to go on drawing the same masks, as plain JSON.

        The state of a generator given as `rng` is not in it: save that beside it.

        Returns
        -------
        dict
            Of ints, floats, strings, None, and lists and dicts of them.
        """
        options = {name: _to_json(value) for name, value in self._options.items()}
        seed = stream.seed_to_json(self._seed)
        return {**self._identity(), "seed": seed, "step": check.known_step(self._step), **options}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that `state_dict` returned.

        Parameters
        ----------
        state : dict
            Of a layer of the same class. The mode, `training`, stays as it is; `mask` and
            `recipe` are None until the next training forward.

        Raises
        ------
        ValueError
            If the state is of another version or class, has missing or foreign keys, or a value
            that the layer would not take. The layer is then as it was.
        """
        state = check.state(state, self._identity(), {"seed", "step", *self._options})
        if (state["seed"] is None) != (self._rng is not None):
            raise ValueError(
                "a state with a seed and a layer with a generator (or the other way round) don't "
                "go together: make the layer with seed= or rng= as it was when saved"
            )
        try:
            seed = stream.seed_from_json(state["seed"])
            seed = None if seed is None else check.seed(seed)
            step = check.layer_step(state["step"])
            options = self._check_settings({name: state[name] for name in self._options})
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a state of this layer: {error}") from error
        self._options, self._seed, self._step = options, seed, step
        self._mask, self._repeat, self._home = None, None, ()

    def _identity(self) -> dict[str, Any]:
        return {"layer": type(self).__name__, "stream": stream.VERSION}

    # Copies and pickles have Python's own state, in which the attributes of a subclass are, but for
    # what can't travel: a generator that is a module, numpy.random, goes by its name, and a library
    # and its device as an empty array, since every library's arrays can travel.

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        state, slots = state if isinstance(state, tuple) else (state, {})
        rng = self._rng.__name__ if isinstance(self._rng, ModuleType) else self._rng
        home = self._like() if self._home else ()
        return {**state, **slots, "_rng": rng, "_home": home, "_repeat": None, "_twin": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        if isinstance(self._rng, str):
            self._rng = import_module(self._rng)
        if self._mask is not None:
            backend = resolve(self._home)
            self._home = (backend, backend.device(self._home))

    def __repr__(self) -> str:
        defaults = self._defaults()
        shown = [f"{n}={v!r}" for n, v in self._options.items() if n == "p" or v != defaults.get(n)]
        if self._rng is not None:
            shown.append(f"rng={self._rng!r}")
        elif isinstance(self._seed, np.random.SeedSequence):
            entropy, spawn_key = self._seed.entropy, self._seed.spawn_key
            pool = f", pool_size={self._seed.pool_size}" * (self._seed.pool_size != 4)
            shown.append(f"seed=SeedSequence(entropy={entropy}, spawn_key={spawn_key}{pool})")
        else:
            shown.append(f"seed={self._seed!r}")
        shown.append(f"step={self._step}")
        if not self._training:
            shown.append("training=False")
        return f"{type(self).__name__}({', '.join(shown)})"

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        """Return the defaults of what a constructor takes."""
        return {
            name: parameter.default
            for base in reversed(cls.__mro__)
            if issubclass(base, Layer)
            for name, parameter in inspect.signature(base).parameters.items()
        }


def _to_json(value: Any) -> Any:
    if isinstance(value, schedules.Schedule):
        return value.to_json()
    return list(value) if isinstance(value, tuple) else value
