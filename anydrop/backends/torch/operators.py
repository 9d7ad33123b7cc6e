"""The operators that draw a recipe, as PyTorch's autograd, compiler and transforms see them.

Each is opaque to them. Its derivative draws the recipe again, so nothing is kept of a call but its
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from anydrop.backends.torch.operator import (
    DESCRIPTION,
    LIBRARY,
    described,
    described_by,
    in_order_of,
    kernels,
    shared_by,
)
from anydrop.backends.torch.watchers import (
    apply_in_transform,
    below_autograd,
    requires_grad,
)
from anydrop.core.recipe import Recipe

# Shape and dtype of a tensor, or None for none: what is kept of it.
Kind: TypeAlias = tuple[Sequence[int], torch.dtype] | None
# Takes the name of an operator, its tensors, and its numbers as `numbers=`. It draws the recipe of
# the operator whose derivative is wanted.
Again: TypeAlias = Callable[..., Tensor]

# A captured CUDA graph would keep a step that was read on the host, and repeat its mask.
_TAGS = (torch.Tag.cudagraph_unsafe, torch.Tag.pt2_compliant_tag)


class Operator:
    """An operator that draws a recipe. It is affine in one tensor, or linear in several.

    The modules of the kernels have a function with its name, which takes the tensors, the recipe
    and the numbers.

    Parameters
    ----------
    name : str
        Its name.
    tensors, numbers : str
        Its arguments before and after the recipe, in the language of PyTorch's schemas. The result
        has the shape of the first tensor, and the dtype of the second if there is one.
    gradients : callable
        Takes an `Again`, the `Kind` of each tensor, whether the gradient of each is needed, the
        gradient of the result, and the numbers. It returns the gradients of the tensors.
    shape : callable, optional
        Takes the shape of the result and the numbers, and returns the shape of the recipe if that
        differs.
    """

    def __init__(
        self,
        name: str,
        tensors: str,
        numbers: str,
        gradients: Callable[..., tuple[Tensor | None, ...]],
        shape: Callable[..., tuple[int, ...]] = lambda shape, *numbers: shape,
    ) -> None:
        arguments = ", ".join(filter(None, (tensors, DESCRIPTION, numbers)))
        LIBRARY.define(f"{name}({arguments}) -> Tensor", tags=_TAGS)
        self.name, self.count = name, tensors.count("Tensor")
        self.gradients, self.shape = gradients, shape
        LIBRARY.impl(name, self._run, "CompositeExplicitAutograd")
        LIBRARY.impl(name, self._differentiable, "Autograd")
        torch.library.register_fake(f"anydrop::{name}", self._shape_of, lib=LIBRARY)
        torch.library.register_vmap(f"anydrop::{name}", self._batched, lib=LIBRARY)
        self.run = getattr(torch.ops.anydrop, name).default

    def __call__(
        self,
        tensors: Sequence[Tensor | None],
        recipe: Recipe,
        numbers: Sequence[Any],
        kernel: str,
    ) -> Tensor:
        """Return the operator's result, through PyTorch's dispatcher."""
        device = next(t.device for t in tensors if t is not None)
        y: Tensor = self.run(*tensors, *described(recipe, device), kernel, *numbers)
        return y

    def draw(
        self, *tensors: Tensor | None, keep: Any, numbers: Sequence[Any], kernel: str
    ) -> Tensor:
        """Return the result from a kernel, without the dispatcher, with the first tensor's strides.

        Some kernels also take a mask that was drawn before, or None, instead of a recipe.
        """
        y: Tensor = getattr(kernels(kernel), self.name)(*tensors, keep, *numbers)
        return in_order_of(next(t for t in tensors if t is not None), y)

    def derivative(
        self, again: Again, tensors: Sequence[Tensor | None], numbers: Sequence[Any]
    ) -> Callable[[Tensor], tuple[Tensor | None, ...]]:
        """Return a function from the gradient of the result to those of the tensors.

        It keeps no tensor.
        """
        kinds = [_kind(t) for t in tensors]
        needed = [t is not None and requires_grad(t) for t in tensors]
        return lambda gradient: self.gradients(again, kinds, needed, gradient, *numbers)

    # Key by key of PyTorch's dispatcher --------------------------------------------------------

    def _run(self, *arguments: Any) -> Tensor:
        tensors, place, rest = self.parted(arguments)
        numbers = rest[5:]
        x = next(t for t in tensors if t is not None)
        shape = self.shape(tuple(x.shape), *numbers)
        recipe, kernel = described_by(shape, x.device, place, *rest[:5])
        return self.draw(*tensors, keep=recipe, numbers=numbers, kernel=kernel)

    def _shape_of(self, *arguments: Any) -> Tensor:
        given = [t for t in arguments[: min(self.count, 2)] if t is not None]
        return torch.empty_like(given[0], dtype=given[-1].dtype)

    def _differentiable(self, *arguments: Any) -> Tensor:
        # Function.apply would refuse transforms, since there is no `setup_context`. Here the
        # dispatcher handles them.
        y: Tensor = apply_in_transform(_Derivative, self, *arguments)
        return y

    def _batched(self, info: Any, dims: Any, *arguments: Any) -> tuple[Tensor, int]:
        """Apply the operator to a batch, with one mask for all examples unless a step is mapped."""
        n, (tensors, place, rest) = info.batch_size, self.parted(arguments)
        if dims[self.count] is not None:
            pairs = zip((*tensors, place), dims, strict=False)
            each = [[t] * n if dim is None else t.unbind(dim) for t, dim in pairs]
            return torch.stack([self.run(*one, *rest) for one in zip(*each, strict=True)]), 0
        given = list(zip(tensors, dims, strict=False))
        ndim = next(t.ndim - (dim is not None) for t, dim in given if t is not None)
        examples = [_of_examples(n, ndim, t, dim) for t, dim in given]
        # A number with an entry for each axis gets one for the new axis.
        numbers = ([1, *value] if isinstance(value, Sequence) else value for value in rest[5:])
        return self.run(*examples, *shared_by(n, place, *rest[:4]), rest[4], *numbers), 0

    def parted(self, arguments: Sequence[Any]) -> tuple[Sequence[Any], Tensor, Sequence[Any]]:
        """Return the tensors, the place, and the other arguments."""
        return arguments[: self.count], arguments[self.count], arguments[self.count + 1 :]


class _Derivative(torch.autograd.Function):
    """The derivative of an operator, used below the dispatcher, one level of transforms at a time.

    The linear part of an operator of one tensor is its own transpose, so one function is both
    derivatives. An operator of several tensors is linear, so it is its own forward derivative.
    """

    @staticmethod
    def forward(ctx: Any, operator: Operator, *arguments: Any) -> Tensor:
        tensors, place, ctx.rest = operator.parted(arguments)
        ctx.save_for_backward(place)
        ctx.save_for_forward(place)
        ctx.operator, ctx.kinds = operator, [_kind(t) for t in tensors]
        with below_autograd():
            y: Tensor = operator.run(*arguments)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[1 : len(ctx.kinds) + 1]
        return None, *_gradients(ctx, needed, gradient), *(None,) * (len(ctx.rest) + 1)

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Any) -> Tensor | None:
        if len(ctx.kinds) == 1:
            return _gradients(ctx, (True,), tangents[0])[0]
        (place,) = ctx.saved_tensors
        y: Tensor = ctx.operator.run(*tangents[: len(ctx.kinds)], place, *ctx.rest)
        return y


def _gradients(ctx: Any, needed: Sequence[bool], gradient: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients of an operator's tensors, from operators that draw the same recipe."""
    (place,) = ctx.saved_tensors

    def again(name: str, *tensors: Tensor | None, numbers: Sequence[Any]) -> Tensor:
        run = getattr(torch.ops.anydrop, name).default
        y: Tensor = run(*tensors, place, *ctx.rest[:5], *numbers)
        return y

    found: tuple[Tensor | None, ...] = ctx.operator.gradients(
        again, ctx.kinds, needed, gradient, *ctx.rest[5:]
    )
    return found


def _kind(x: Tensor | None) -> Kind:
    """Return what is kept of a tensor: its shape and dtype."""
    return None if x is None else (x.shape, x.dtype)


def _of_examples(n: int, ndim: int, x: Tensor | None, dim: int | None) -> Tensor | None:
    """Return a tensor with n examples along a new first axis, if it has `ndim` dimensions.

    A tensor of fewer dimensions broadcasts to all examples unchanged.
    """
    if x is None:
        return None
    if dim is None:
        return x.expand(n, *x.shape) if x.ndim == ndim else x
    x = x.movedim(dim, 0)
    return x.reshape(n, *(1,) * (ndim + 1 - x.ndim), *x.shape[1:])


# The operators of one array, or of two that one is chosen of --------------------------------------


def _select(
    again: Again, kinds: Any, needed: Any, gradient: Tensor, scale: float, *affine: Any
) -> tuple[Tensor]:
    return (again("select", gradient, numbers=(scale, None, 0.0)),)


def _perturb(
    again: Again, kinds: Any, needed: Any, gradient: Tensor, std: float, relative: bool
) -> tuple[Tensor]:
    return (again("perturb", gradient, numbers=(std, True)) if relative else gradient,)


def _choose(
    again: Again, kinds: Any, needed: Sequence[bool], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    shares = (gradient, None), (None, gradient)
    pairs = zip(needed, shares, strict=True)
    return tuple(again("choose", *share, numbers=()) if need else None for need, share in pairs)


def _select_blocks(
    again: Again, kinds: Any, needed: Any, gradient: Tensor, *numbers: Any
) -> tuple[Tensor]:
    return (again("select_blocks", gradient, numbers=numbers),)


def _places(shape: tuple[int, ...], sizes: Sequence[int], scale: float) -> tuple[int, ...]:
    return tuple(n + size - 1 for n, size in zip(shape, sizes, strict=True))


SELECT = Operator("select", "Tensor x", "float scale, float? shift, float fill", _select)
PERTURB = Operator("perturb", "Tensor x", "float std, bool relative", _perturb)
CHOOSE = Operator("choose", "Tensor? new, Tensor? previous", "", _choose)
SELECT_BLOCKS = Operator(
    "select_blocks", "Tensor x", "int[] sizes, float scale", _select_blocks, _places
)
