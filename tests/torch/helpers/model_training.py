"""Ten steps of training of a family's model, in each way that must give the same."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from model_families import Family, seeded
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from anydrop.torch.conversion.convert import convert

STEPS = 10


# What a training step calls with the inputs.
Loss = Callable[..., Tensor]


class Trained(NamedTuple):
    """The losses and gradients of all steps, and the model's state at the end."""

    losses: list[Tensor]
    gradients: list[dict[str, Tensor]]
    state: dict[str, Tensor]


def loss_of(output: Any) -> Tensor:
    """Return the model's own loss, or the distance of its output from a ramp."""
    if not isinstance(output, Tensor):
        loss: Tensor = output.loss
        return loss
    ramp = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return (output - ramp).square().mean()


def eager(model: nn.Module) -> Loss:
    """Return the plain way, which all others must give the same as."""
    return lambda **inputs: loss_of(model(**inputs))


def train(
    family: Family,
    run: Callable[[nn.Module], Loss] = eager,
    *,
    seed: int | None = 0,
    converted: bool = True,
    resumed: bool = False,
    generators: int = 0,
) -> Trained:
    """Train a family's model for ten steps.

    Parameters
    ----------
    family : Family
        Its model is converted.
    run : callable
        Takes the model, and returns what a training step calls with the inputs.
    seed : int or None
        Of the conversion.
    converted : bool
        Whether the model is converted.
    resumed : bool
        Whether a new model goes on after five steps, from a file.
    generators : int
        The seed of PyTorch's and NumPy's generators. A seed of the conversion makes it irrelevant.
        But what is left of some models draws from the generators: theirs begin anew in each step,
        with the step's number, so that LayerDrop and the like do the same in each way.
    """

    def made(weights: int) -> Any:
        model, inputs = family.made(weights)
        if converted:
            convert(model, seed=seed, functional=True)
        return model, torch.optim.AdamW(model.parameters(), lr=1e-3), run(model), inputs

    model, optimizer, call, inputs = made(0)
    trained = Trained([], [], {})
    with seeded(generators):
        for step in range(STEPS):
            if resumed and step == STEPS // 2:
                file = io.BytesIO()
                torch.save((model.state_dict(), optimizer.state_dict()), file)
                file.seek(0)
                of_model, of_optimizer = torch.load(file, weights_only=True)
                model, optimizer, call, _ = made(1)
                model.load_state_dict(of_model)
                optimizer.load_state_dict(of_optimizer)
            with seeded(step) if family.left and seed is not None else nullcontext():
                loss = call(**inputs)
                optimizer.zero_grad()
                loss.backward()
            trained.losses.append(loss.detach())
            trained.gradients.append(gradients_of(model))
            optimizer.step()
    trained.state.update(model.state_dict())
    return trained


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the gradients that a model has, by name."""
    parameters = model.named_parameters()
    return {name: x.grad.clone() for name, x in parameters if x.grad is not None}


def assert_same(trained: Trained, other: Trained) -> None:
    """Compare losses, gradients, and then weights and the steps of all masks, to 1e-10."""
    close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-10)
    close(trained.losses, other.losses)
    close(trained.gradients, other.gradients)
    assert trained.state.keys() == other.state.keys()
    for name, value in trained.state.items():
        if not name.endswith(COUNTED_IN_EACH_RUN):
            close(value, other.state[name])


# BatchNorm counts a checkpoint's second run, too, whoever drops. Training does not read these.
COUNTED_IN_EACH_RUN = ("running_mean", "running_var", "num_batches_tracked")


# Ways to run a model --------------------------------------------------------------------------


def checkpointed(*, use_reentrant: bool, **options: Any) -> Callable[[nn.Module], Loss]:
    """Return a way with checkpoints: of each layer where the model has them built in, or of all."""
    options["use_reentrant"] = use_reentrant

    def run(model: Any) -> Loss:
        if getattr(model, "supports_gradient_checkpointing", False):
            model.activation_checkpointing_enable(options)
            return eager(model)
        # The reentrant kind has gradients only if an input has.
        one = torch.zeros((), requires_grad=True)
        return lambda **inputs: checkpoint(lambda _: eager(model)(**inputs), one, **options)

    return run


def compiled(backend: str, run: Callable[[Any], Loss] = eager) -> Callable[[nn.Module], Loss]:
    """Return a way with a compiler, within another."""

    def run_program(model: nn.Module) -> Loss:
        call = run(torch.compile(model, backend=backend))

        def loss(**inputs: Tensor) -> Tensor:
            # A program would draw NumPy's random numbers from PyTorch's generator otherwise.
            with torch._dynamo.config.patch(use_numpy_random_stream=True):
                return call(**inputs)

        return loss

    return run_program
