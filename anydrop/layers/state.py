"""`State`: how a layer is saved, loaded, copied, pickled and shown."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from anydrop import schedules
from anydrop.backends import resolve
from anydrop.backends.plan import Plan
from anydrop.core import check, place, seeds, stream
from anydrop.core.setting import Setting
from anydrop.core.typing import Array
from anydrop.masks.mask import Differentiable, Drawn


class State:
    """The settings of a layer, its source of randomness, and its step."""

    _options: dict[str, Any]
    _seed: stream.Seed | None
    _rng: Any
    _step: Any
    _training: bool
    _mask: Drawn | None
    _unmasked: Differentiable | None
    _plan: Plan | None
    _home: tuple[Any, ...]
    _twin: Any

    @classmethod
    def _check_settings(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Return settings in normal form; refuse one that is wrong, or a combination."""
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

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the layer as plain JSON, for a checkpoint.

        It consists of the seed, the step and the settings. A layer that loads it continues with the
        masks that this layer would draw next. If the layer draws from `rng`, save the generator's
        state yourself.

        Returns
        -------
        dict
            Of ints, floats, strings, None, and lists and dicts of them.
        """
        options = {name: _to_json(value) for name, value in self._options.items()}
        seed = seeds.to_json(self._seed)
        return {**self._identity(), "seed": seed, "step": place.known_step(self._step), **options}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state that `state_dict` returned.

        Parameters
        ----------
        state : dict
            State of a layer of the same class. The layer's mode, `training`, stays as it is. `mask`
            and `recipe` are None until the next training forward.

        Raises
        ------
        ValueError
            If the state is of another class or version, lacks a key or has an unknown one, or has a
            value that the layer refuses. The layer is then unchanged.
        """
        state = check.state(state, self._identity(), {"seed", "step", *self._options})
        if (state["seed"] is None) != (self._rng is not None):
            saved, own = ("rng", "seed") if state["seed"] is None else ("seed", "rng")
            raise ValueError(
                f"the state is of a layer with {saved}=, and this layer has {own}=: make it with "
                f"{saved}= before loading"
            )
        try:
            seed = seeds.from_json(state["seed"])
            step = check.integer(state["step"], "step")
            if not 0 <= step <= stream.LAST_STEP + 1:  # 2**64: after the last mask
                raise ValueError(f"step must satisfy 0 <= step <= 2**64, got {step}")
            options = self._check_settings({name: state[name] for name in self._options})
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a state of this layer: {error}") from error
        self._begin(options, seed, step)

    def reseed(self, seed: stream.Seed | Sequence[int]) -> None:
        """Restart the layer with another seed, at step 0.

        To do this for all layers of a model, use `anydrop.seed_layers`.

        Parameters
        ----------
        seed : int, sequence of int or numpy.random.SeedSequence
            The new seed. Ints must be >= 0, with at most 4,300 decimal digits.

        Raises
        ------
        TypeError, ValueError
            If the seed has the wrong type or is out of range, or if the layer draws from `rng`.
        RuntimeError
            If `monte_carlo` is running the layer.
        """
        if self._rng is not None:
            raise ValueError("this layer draws from a generator given as rng=: make it with seed=")
        if self._twin is not None:
            raise RuntimeError("monte_carlo is running this layer: reseed it afterwards")
        self._begin(self._options, seeds.checked(seed), 0)

    def _begin(self, options: dict[str, Any], seed: stream.Seed | None, step: Any) -> None:
        """Continue at a step of a seed, with no mask drawn yet."""
        new = options, seed, step, None, None, None
        # A single assignment, so that an interrupt can't leave the layer half changed.
        self._options, self._seed, self._step, self._mask, self._unmasked, self._plan = new
        self._home = ()

    def _identity(self) -> dict[str, Any]:
        return {"layer": type(self).__name__, "stream": stream.VERSION}

    # Copies and pickles keep all attributes, also those of a subclass. Two things can't be pickled:
    # a generator that is a module (numpy.random) is kept by its name, and a library and its device
    # as an empty array.

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        state, slots = state if isinstance(state, tuple) else (state, {})
        is_module = isinstance(self._rng, ModuleType)
        source = {"_rng": None, "_module": self._rng.__name__} if is_module else {}
        home = self._like() if self._home else ()
        return {**state, **slots, **source, "_home": home, "_plan": None, "_twin": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        module = state.pop("_module", None)
        for name, value in state.items():
            setattr(self, name, value)
        if module:
            self._rng = import_module(module)
        like, self._home = self._home, ()
        if self._mask is not None:
            backend = resolve(like)
            self._home = (backend, backend.device(like))

    def __repr__(self) -> str:
        defaults = self._defaults()
        shown = [f"{n}={v!r}" for n, v in self._options.items() if n == "p" or v != defaults.get(n)]
        if self._rng is not None:
            shown.append(f"rng={self._rng!r}")
        else:
            shown.append(f"seed={seeds.described(self._seed)}")
        shown.append(f"step={self._step}")
        if not self._training:
            shown.append("training=False")
        return f"{type(self).__name__}({', '.join(shown)})"

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        """Return the defaults of the constructor's parameters."""
        return {
            name: parameter.default
            for base in reversed(cls.__mro__)
            if issubclass(base, State) and base is not State
            for name, parameter in inspect.signature(base).parameters.items()
        }

    def _like(self) -> Array:
        """Return an empty array in the library and on the device of the last training input."""
        backend, device = self._home
        return backend.empty(device)


def _to_json(value: Any) -> Any:
    if isinstance(value, schedules.Schedule):
        return value.to_json()
    return list(value) if isinstance(value, tuple) else value
