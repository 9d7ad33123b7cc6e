"""PyTorch: NumPy's kernels in the host's memory, Triton on CUDA, int64 arithmetic elsewhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anydrop.backends.base import COMPUTE, Backend, dtype_name
from anydrop.backends.plan import Pass, Plan, Plans
from anydrop.backends.torch import host, int64, operator
from anydrop.backends.torch.drawing import Drawing
from anydrop.backends.torch.watchers import (
    in_backward,
    in_vmap,
    is_distributed,
    is_memory,
    is_plain_cpu,
    is_recorded,
    requires_grad,
)
from anydrop.core import check
from anydrop.core.recipe import Affine, Recipe
from anydrop.core.stream import Key
from anydrop.core.typing import Array

NAMES = {getattr(torch, name): name for name in COMPUTE}


class TorchBackend(Drawing):
    """The backend of PyTorch tensors; see `Drawing` for its parameters."""

    namespace = "array_api_compat.torch"
    conversion = "to(torch.float32)"

    def __init__(self, name: str = "torch", namespace: str = "", draws: str = "") -> None:
        super().__init__(name, namespace, draws)
        self._plans = Plans()

    @property
    def plans(self) -> Plans | None:  # type: ignore[override]
        """The plans of earlier calls, or None while a compiler traces the call."""
        return None if torch.compiler.is_compiling() else self._plans

    def plan(self, x: Tensor, recipe: Recipe, affine: Affine) -> Plan | None:
        """Return a plan that repeats `select` for small CPU tensors."""
        draws = host.draws(x, recipe, affine) if self._on_host and is_plain_cpu(x) else None
        if draws is None:
            return None
        dtype, shape = x.dtype, x.shape

        def passing(draw: host.Draw, *, counts: bool = False) -> Pass:
            def select(
                x: Tensor, key: Key, step: int, first: int = 0, out: Tensor | None = None
            ) -> Tensor | None:
                if not is_plain_cpu(x) or x.dtype is not dtype or x.shape != shape:
                    return None
                if not x.is_contiguous() or (out is not None and not _takes(out, x)):
                    return None
                if counts and in_backward():  # a checkpoint's recompute
                    return None
                if out is not None or not requires_grad(x):
                    return draw(x, key, step, first, out)

                def derivative(gradient: Tensor) -> Tensor:
                    dx = backward(gradient.contiguous(), key, step, first)
                    if dx is None:
                        dx = self.select(gradient, recipe.at(key, step, first), affine.scale)
                    return dx

                return operator.recompute(lambda x: draw(x, key, step, first), derivative, x)

            return select

        forward, linear = draws
        backward = passing(linear)
        return Plan.of(recipe, passing(forward), backward, passing(forward, counts=True))

    def draw(self, rng: Any, shape: tuple[int, ...], p: float, like: Tensor) -> Tensor:
        """Return ``uniform(shape) < 1 - p`` from a generator of PyTorch's.

        The numbers are doubles, because a float32 is never less than a very small ``1 - p``, except
        on a device without doubles.
        """
        if not isinstance(rng, torch.Generator):
            raise TypeError(
                "rng must be a torch.Generator for a PyTorch tensor, "
                f"got {check.described(rng)}; a seed goes to seed="
            )
        if is_distributed(like):
            raise TypeError(
                "rng= is not supported for a DTensor, since each process draws only its part of "
                "the mask: use seed="
            )
        here, there = like.device, rng.device
        if here.type != there.type or (here.index or 0) != (there.index or 0):
            raise ValueError(
                f"rng must be a generator of the tensor's device, {here}, got one of {there}: "
                f"make it with torch.Generator({str(here)!r})"
            )
        if in_backward():
            raise TypeError(
                "rng= draws another mask in each call, so gradients would be wrong in this "
                "backward pass, where torch.utils.checkpoint runs its function again: use the "
                "function with a seed, anydrop.dropout(x, p, seed=seed, step=step)"
            )
        dtype = torch.float32 if here.type == "mps" else torch.float64
        return torch.rand(shape, generator=rng, device=here, dtype=dtype) < 1.0 - p

    def owns(self, x: object) -> bool:
        """Tell whether `x` is a tensor, also of a subclass: it can override every operation."""
        return isinstance(x, Tensor)

    def dtype_name(self, x: Tensor) -> str:
        """Return the plain name of a tensor's dtype: ``"float32"``."""
        return NAMES.get(x.dtype) or dtype_name(x.dtype)

    def shape(self, x: Tensor) -> tuple[int, ...]:
        """Return the shape of a tensor. Its lengths may be symbols of a compiler."""
        if x.is_nested:
            raise TypeError(
                "dropout needs a dense tensor, got a nested one: drop from its values, "
                "torch.nested.nested_tensor_from_jagged(anydrop.dropout(x.values(), ...), "
                "x.offsets()), or from each tensor of x.unbind()"
            )
        return tuple(x.shape)

    def device(self, x: Tensor) -> torch.device:
        """Return the device of a tensor."""
        return x.device

    def aligned(self, x: Tensor, like: Tensor) -> Tensor:
        """Return a tensor in the memory order of another of as many dimensions."""
        return int64.aligned(x, like)

    def pack(self, keep: Tensor) -> Tensor:
        """Pack a boolean mask into bits of uint8, with the first of eight in the lowest bit."""
        if is_memory(keep):
            return torch.from_numpy(np.packbits(keep.numpy(), bitorder="little"))
        return super().pack(keep)

    def unpack(self, bits: Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return the boolean mask that `pack` packed."""
        if is_memory(bits):
            flat = np.unpackbits(bits.numpy(), count=math.prod(shape), bitorder="little")
            return torch.from_numpy(flat.view(np.bool_).reshape(shape))
        return super().unpack(bits, shape, like)

    def move(self, x: Tensor, like: Tensor) -> Tensor:
        """Return a tensor on the device of `like`."""
        return x.to(like.device)

    def from_numpy(self, x: Array, like: Tensor) -> Tensor:
        """Copy a NumPy array to a tensor on the device of `like`."""
        return host.tensor(x).to(like.device)

    def detached(self, x: Array) -> Array:
        """Return a tensor without its autograd graph."""
        return x.detach()

    def to_numpy(self, x: Tensor) -> Array:
        """Convert a tensor to NumPy. The array may share its memory."""
        return host.array(x.detach().cpu().resolve_conj().resolve_neg())

    def probes(self) -> list[tuple[Backend, Tensor]]:
        """Return a backend and an empty tensor for each device and kernel of this machine."""
        cpu = self.empty("cpu")
        others = [self.empty(f"cuda:{index}") for index in range(torch.cuda.device_count())]
        if torch.backends.mps.is_available():
            others.append(self.empty("mps"))
        pairs = [("cpu", cpu), ("int64", cpu)]
        if getattr(operator.kernels("triton"), "INTERPRETED", False):
            pairs.append(("triton", cpu))
        pairs += [(operator.kernel_for(like.device), like) for like in others]
        return [(TorchBackend(draws=kernel), like) for kernel, like in pairs]

    def check_input(self, x: Tensor) -> None:
        """Raise if dropout does not support the dtype or layout of a tensor."""
        super().check_input(x)
        if x.layout != torch.strided:
            raise TypeError(
                f"dropout needs a dense tensor, got one of layout {x.layout}; "
                "convert it first, e.g. with to_dense()"
            )

    def check_like(self, other: Tensor, x: Tensor, name: str, *others: Any) -> None:
        """Raise if a second tensor does not match x, or is not dense; see `Backend.check_like`."""
        if isinstance(other, Tensor) and (other.is_nested or other.layout != torch.strided):
            kind = "nested" if other.is_nested else str(other.layout)
            raise ValueError(f"{name} must be a dense tensor, got a {kind} one: convert it first")
        super().check_like(other, x, name, *others)

    def check_out(self, out: Tensor, x: Tensor) -> None:
        """Raise if the result for `x` can't be written to `out`."""
        if out is not x:
            self.check_like(out, x, "out")  # Every tensor can be written to.
        if is_distributed(x) != is_distributed(out):
            raise ValueError(
                f"out must be distributed as x is, {check.type_name(x)}, got {check.type_name(out)}"
            )
        followed = requires_grad(x) or requires_grad(out)
        if followed and (out is not x or x.is_leaf):
            raise ValueError(
                "out= of tensors that require grad must be x itself, or the residual, and no leaf, "
                "as for F.dropout(x, inplace=True): leave it out, or call under torch.no_grad()"
            )
        steps = zip(out.shape, out.stride(), strict=True)
        if out.numel() and any(n > 1 and not stride for n, stride in steps):
            raise ValueError(
                "out must have memory of its own for every element, got an expanded tensor"
            )

    def check_stateful(self, *, counts: bool) -> None:
        """Raise for a layer's pass that is traced once, or a forward that is a recompute."""
        if counts and in_vmap():
            raise TypeError(
                "a layer counts its forwards, and torch.vmap runs one for all examples, or one for "
                "each chunk of them: use the function and pass a step, for all or mapped beside x, "
                "anydrop.dropout(x, p, seed=seed, step=step)"
            )
        if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
            return  # The compiler traces the layer's step, and `counted` does the rest.
        if torch.compiler.is_exporting() or is_recorded():
            raise TypeError(
                "a layer counts its steps in Python, which a trace runs once, so each run would "
                "drop the same elements: use a module, such as anydrop.torch.Dropout, or the "
                "function with its step, anydrop.dropout(x, p, seed=seed, step=step)"
            )
        if counts and in_backward():
            raise TypeError(operator.RUN_AGAIN)

    def counted(self, step: Any) -> Any:
        """Return a layer's step as a tensor, which a compiled program reads at each run."""
        return operator.once(step) if torch.compiler.is_compiling() else step


def _takes(out: Tensor, x: Tensor) -> bool:
    """Tell whether a kernel can write the result for x, contiguous memory, to `out`."""
    return (
        not requires_grad(x)
        and is_memory(out)
        and out.dtype is x.dtype
        and out.shape == x.shape
        and out.is_contiguous()
        # By addresses, since tensors over one NumPy array have different storages.
        and (out is x or abs(out.data_ptr() - x.data_ptr()) >= x.nbytes)
    )
