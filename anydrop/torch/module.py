"""`Module`: the base of all modules. It chooses the mask of each forward and saves the step."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor

from anydrop.backends.torch.watchers import (
    in_backward,
    in_vmap,
    is_distributed,
    is_jit_traced,
    is_traced,
)
from anydrop.core import place, seeds, stream
from anydrop.core.runs import RUNS, check_thread
from anydrop.core.seedable import Seedable
from anydrop.core.stream import Key, Keyed, Seed
from anydrop.torch import operator, proxies, ranks, saved
from anydrop.torch.draws import UNSEEDED, Draws
from anydrop.torch.loan import Loan, check_run
from anydrop.torch.rates import Rated

# Attributes that copies and pickles leave out.
OF_ONE_OBJECT = ("_draws", "_keys", "_lent_in", "_rate", "counts", "handle")
UNCOUNTED = "anydrop.torch: not counted"  # in a deep copy's memo: later copies keep their masks


class Module(Seedable, Rated):
    """Base class of all modules in ``anydrop.torch``: a ``torch.nn.Module`` that draws masks.

    Use it to find the dropout of a model: ``isinstance(m, anydrop.torch.Module)``.

    Parameters
    ----------
    *arguments, **keywords
        Arguments of the PyTorch class that a subclass replaces.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        With a seed, the module counts its training forwards, and each forward draws the next mask
        of that seed. By default, PyTorch's CPU generator chooses each mask, so
        ``torch.manual_seed`` repeats a run. Two modules with the same seed draw the same masks: to
        seed a whole model, use `anydrop.seed_layers`.
    per_rank : bool or int, optional
        For training in several processes, with a seed. True: each process draws its own masks, by
        its global rank. An int: by this rank, such as the data-parallel rank where tensor-parallel
        processes must agree. False: all processes draw the same masks. The default does so, too,
        and warns. A ``DTensor`` always has one global mask.

    Notes
    -----
    **Steps.** With a seed, ``module(x)`` in training mode draws the mask of ``module.step`` and
    adds 1 to it. ``module(x, step=7)`` draws the mask of step 7 and leaves the count alone. In eval
    mode, nothing is drawn or counted. No mask is stored: the backward pass draws it again. See
    `anydrop.torch.Module`.

    **Copies.** ``copy.deepcopy`` of a module with a seed draws other masks than the original. Each
    further copy draws others again, and all of them are the same in each run. ``copy.copy``,
    pickle and ``torch.save`` keep the masks. Each copy counts its own steps.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> drop = anydrop.torch.Dropout(0.5, seed=0)
    >>> drop(torch.ones(4))
    tensor([0., 2., 2., 2.])
    >>> drop(torch.ones(4), step=0)
    tensor([0., 2., 2., 2.])
    """

    #: The thread in which `anydrop.monte_carlo` runs the module, or None.
    _lent_in: int | None = None
    #: Identifies the module in compiled programs.
    handle: Tensor
    #: Whether the module has a seed, and counts its forwards.
    counts: bool

    def __init__(
        self,
        *arguments: Any,
        seed: Seed | Sequence[int] | None = None,
        per_rank: bool | int | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(*arguments, **keywords)
        self.adopt(seed, per_rank)

    def adopt(
        self,
        seed: Seed | Sequence[int] | None = None,
        per_rank: bool | int | None = None,
    ) -> None:
        """Set the attributes that this class adds to a module of PyTorch's."""
        self._seed = None if seed is None else seeds.checked(seed)
        self._place: str | None = None  # name by which this module's seed is derived from a model's
        self._copy: tuple[int, ...] = ()  # (0, 1): the second copy of the first copy
        self._copies = 0  # how many deep copies were made of it
        self._begin(None if self._seed is None else 0)
        self.per_rank = per_rank

    def _begin(self, step: int | None) -> None:
        """Set the attributes that copies do not share."""
        # Compilers read only the last two. They would make a seed a constant of the program.
        self._draws = Draws(step)
        self._keys: dict[int | None, Keyed] = {}
        self.counts = step is not None
        self.handle = operator.handle_of(self)

    def forward(self, input: Tensor, *, step: Any = None) -> Tensor:
        """Apply the module: draw a mask in training mode, and none in eval mode.

        Parameters
        ----------
        input : Tensor
            Of a shape and dtype that the module's function takes.
        step : int or Tensor, optional
            Draw the mask of this step, and don't count it. Only for a module with a seed. In a
            compiled program pass a tensor: a scalar, or the low and high 32 bits in shape (2,).

        Returns
        -------
        Tensor
            With the shape, dtype and device of `input`.
        """
        if not isinstance(input, Tensor):
            return proxies.called(self, input, step=step)
        if self.training:
            return self._run(input, step=step)
        self.check_inference()
        return self._infer(input)

    def check_inference(self) -> None:
        """Raise if a checkpoint recomputes a training forward in eval mode."""
        if not is_traced() and in_backward():
            self._draws.check_inference()

    def _run(self, *inputs: Tensor, step: Any = None) -> Any:
        """Call the function with the mask of the next step, or of a given one."""
        x = inputs[0]
        if step is not None:
            if not self.counts:
                raise TypeError(
                    "step= needs a module with a seed, and this one has none: make it with "
                    f"{type(self).__name__}(..., seed=0)"
                )
            # One program works for all seeds. The compiler can't trace how a key is made.
            read = torch.compiler.is_dynamo_compiling() and not is_distributed(x)
            seed = operator.key(self) if read else self.key(x)
            return self._drop(*inputs, seed=seed, step=step)
        if is_jit_traced():
            raise TypeError(
                "torch.jit.trace runs a module once and would repeat that run's mask for ever: "
                "trace it in eval mode, or use torch.export or torch.compile"
            )
        if in_vmap():
            # Its `randomness` decides: one number for all examples, one for each, or an error.
            at = torch.randint(-(2**63), 2**63 - 1, (), device="cpu")
            # This raises in a recompute with other random numbers. A schedule follows its step.
            seed, counted = operator.draw(self, mapped=True)
            return self._drop(*inputs, seed=seed, step=at, counted=counted)
        if is_traced() and (torch.compiler.is_compiling() or not is_distributed(x)):
            seed, at = operator.draw(self)
            return self._drop(*inputs, seed=seed, step=at, counted=at)
        if x.is_cuda and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                "a CUDA graph that is captured now would repeat this mask at each replay: capture "
                "it in eval mode, or leave the module out of the graph"
            )
        seed, at = self.next_draw(x)
        try:
            return self._drop(*inputs, seed=seed, step=at)
        except Exception:
            if not in_backward():
                self._draws.undo(at)
            raise

    def next_draw(self, x: Tensor | None = None, *, mapped: bool = False) -> tuple[Keyed, int]:
        """Return the key and step for a forward of `x`, and count it, as ``anydrop::draw`` does."""
        if RUNS:
            check_run(self, self._lent_in, mapped)
        return self.key(x), self._draws.next(mapped)

    @property
    def is_lent(self) -> bool:
        """Whether `anydrop.monte_carlo` is running this module."""
        return self._lent_in is not None

    def lend(self, seed: Seed) -> Loan:
        """Return a `Loan`, by which `monte_carlo` has the module draw from another seed."""
        check_thread(self, self._lent_in)
        rate, lent = self._rate(self.step), Draws(0)
        return Loan(
            self,
            rate,
            lent,
            _seed=seed,
            _place=None,
            _copy=(),
            _draws=lent,
            _keys={},
            _lent_in=threading.get_ident(),
            _rate=lambda step=None: rate,  # A schedule does not advance.
            counts=True,
            training=True,
        )

    def key(self, x: Tensor | None = None) -> Keyed:
        """Return the key of the masks that this process draws, as ``anydrop::key`` does."""
        if self._seed is None:
            if is_distributed(x):
                raise TypeError(
                    "a DTensor needs one mask on all ranks, but a module without a seed draws from "
                    f"each rank's own generator: make it with {type(self).__name__}(..., seed=0)"
                )
            return UNSEEDED
        rank = None if is_distributed(x) else self._rank()
        known = self._keys.get(rank)
        if known is None:
            known = self._keys[rank] = Keyed(stream.key_of(self._own_seed(rank)))
        return known

    @property
    def per_rank(self) -> bool | int | None:
        """Whether each process draws its own masks. You may set it. ``state_dict`` omits it."""
        return self._per_rank

    @per_rank.setter
    def per_rank(self, value: bool | int | None) -> None:
        rank = ranks.checked(value)
        if rank is not None and not self.counts:
            raise ValueError(
                f"per_rank={value!r} needs a module with a seed, and this one draws from each "
                "process's own generator: leave per_rank out, or pass seed="
            )
        if repr(rank) != repr(getattr(self, "_per_rank", None)):  # True is not 1
            # A recompute of an earlier forward must not find its step: it would draw another mask.
            self._draws = self._draws.anew(self._draws.step)
        self._per_rank = rank

    def _rank(self) -> int | None:
        """Return the rank whose masks are drawn, or None if all processes draw the same."""
        return ranks.of(self._per_rank)

    def _own_seed(self, rank: int | None) -> Seed:
        """Return the seed of this place, copy and rank."""
        seed = self._placed()
        for n in self._copy:
            # No module has a name that begins with NUL.
            seed = seeds.of_place(seed, f"\0copy {n}")
        return seed if rank is None else seeds.of_rank(seed, rank)

    def _placed(self) -> Seed:
        assert self._seed is not None
        return self._seed if self._place is None else seeds.of_place(self._seed, self._place)

    @property
    def seed(self) -> Seed | None:
        """The seed of this module's masks in this process, or None.

        ``anydrop.dropout(x, m.p, seed=m.seed, step=m.step)`` drops what ``m(x)`` drops next, in any
        library. A seed that was derived for a place, a copy or a rank is a SeedSequence.
        """
        return None if self._seed is None else self._own_seed(self._rank())

    @property
    def step(self) -> int | None:
        """The step of the next forward, or None for a module without a seed. You may set it."""
        return self._draws.step

    @step.setter
    def step(self, value: int) -> None:
        if not self.counts:
            raise TypeError("a module without a seed has no step: make it with seed=")
        self._draws.step = place.known_step(place.step(value))

    @contextmanager
    def at_step(self, step: int) -> Iterator[None]:
        """Have the next forward in this block draw a step without counting it, for `steps`."""
        before, self._draws.told = self._draws.told, [step]
        try:
            yield
        finally:  # `reseed` or `load_state_dict` in the block replaced `_draws`.
            self._draws.told = before

    @property
    def place(self) -> str | None:
        """The name from which `anydrop.seed_layers` derived this module's seed, or None."""
        return self._place

    def reseed(self, seed: Seed | Sequence[int], place: str | None = None) -> None:
        """Set another seed and start at step 0. For a whole model, use `anydrop.seed_layers`.

        Parameters
        ----------
        seed : int, sequence of int or numpy.random.SeedSequence
            Ints must be >= 0, with at most 4,300 decimal digits.
        place : str, optional
            A name, from which the module's own seed is derived, so that modules can share `seed`.
        """
        if self._lent_in is not None:
            raise RuntimeError(
                "monte_carlo is running this module with its own seed: reseed it afterwards"
            )
        self._seed, self._place = seeds.checked(seed), place
        self._copy, self._copies = (), 0
        self._keys, self._draws, self.counts = {}, self._draws.anew(0), True

    def _identity(self) -> Key:
        return stream.key_of(self._placed())

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._draws.step is not None:
            destination[f"{prefix}step"] = saved.words(self._draws.step, self._identity())

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        super()._load_from_state_dict(
            *(state_dict, prefix, local_metadata, strict),
            *(missing_keys, unexpected_keys, error_msgs),
        )
        self.handle = operator.usable_handle(self)
        name = f"{prefix}step"
        if not self.counts:
            return
        if name not in state_dict:
            ranks.warn_of_no_step(name, self._draws.step)
            return
        if name in unexpected_keys:
            unexpected_keys.remove(name)
        try:
            step = saved.step_of(state_dict[name], self._identity(), self)
        except ValueError as error:
            error_msgs.append(f"{name} {error}.")
            return
        self._draws = self._draws.anew(step)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in OF_ONE_OBJECT}
        return {**state, "_step": self._draws.step}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        step = state.pop("_step")
        super().__setstate__(state)
        self._begin(step)

    def __deepcopy__(self, memo: dict[Any, Any]) -> Self:
        new = memo[id(self)] = type(self).__new__(type(self))
        new.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        if self.counts and UNCOUNTED not in memo:
            new._copy, new._copies = (*self._copy, self._copies), 0
            self._copies += 1
        return new

    def __prepare_scriptable__(self) -> Any:
        raise TypeError(
            "torch.jit.script can't compile a module of anydrop.torch: use torch.export, or put "
            "nn.Identity() in its place for inference"
        )

    def _replicate_for_data_parallel(self) -> Self:
        if self.counts and self.training:
            raise RuntimeError(
                "DataParallel runs copies of a module in threads, and they would share its step: "
                "use DistributedDataParallel, or a module without a seed"
            )
        replica: Self = super()._replicate_for_data_parallel()
        return replica

    def extra_repr(self) -> str:
        """Return the text for ``repr``: PyTorch's arguments, then the seed and the step."""
        shown = self._shown()
        if not self.counts:
            return shown
        more = [f"seed={seeds.described(self._seed)}"]
        if self._place is not None:
            more.append(f"place={self._place!r}")
        if self._copy:
            more.append(f"copy={'.'.join(map(str, self._copy))}")
        if self._per_rank is not None:
            more.append(f"per_rank={self._per_rank}")
        return ", ".join([shown, *more, f"step={self._draws.step}"])

    def _shown(self) -> str:
        """Return `extra_repr` of a module without a seed."""
        return super().extra_repr()
