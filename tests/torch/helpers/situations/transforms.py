"""Situations of ``torch.func``, where a model is a function, and of programs made of a model."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from situations.trial import OTHER, WRONG, Make, N, Net, Trial, all_differ, assert_equal, masks


def as_function(make: Make) -> None:
    """``torch.func.functional_call``."""
    trial = Trial(Net(make))
    trial.step(lambda x: functional_call(trial.net, dict(trial.net.named_parameters()), (x,)))
    trial.judge()


def func_grad(make: Make) -> None:
    """``torch.func.grad`` of ``functional_call``."""
    net, found = Net(make), []
    weights = {name: w.detach() for name, w in net.named_parameters()}

    def loss(weights: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        y = functional_call(net, weights, (x,))
        return y.sum(), y

    for _ in range(3):
        of_both = torch.func.grad(loss, argnums=(0, 1), has_aux=True)
        (of_weights, of_x), y = of_both(weights, torch.ones(N))
        assert_equal(of_x, y, WRONG)
        assert_equal(of_weights["w"] + of_weights["v"], y, WRONG)
        found += masks(y)
    all_differ(found)


def ensemble(make: Make, randomness: str) -> list[Tensor]:
    """Return outputs of three models at once, twice."""
    nets = [Net(make) for _ in range(3)]
    weights, buffers = stack_module_state(nets)

    def call(weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(nets[0], (weights, buffers), (x,))

    found = []
    for _ in range(2):
        x = torch.ones(N, requires_grad=True)
        y = vmap(call, (0, 0, None), randomness=randomness)(weights, buffers, x)
        (of_x,) = torch.autograd.grad(y.sum(), x)
        assert_equal(of_x, y.sum(0), WRONG)
        found.append(y)
    return found


def vmap_ensemble_same(make: Make) -> None:
    """An ensemble by ``vmap(..., randomness="same")``."""
    found = ensemble(make, "same")
    all_differ(mask for y in found for mask in masks(y[0]))
    for y in found:
        assert_equal(y, y[:1].expand_as(y), OTHER)


def vmap_ensemble_different(make: Make) -> None:
    """An ensemble by ``vmap(..., randomness="different")``."""
    all_differ(mask for y in ensemble(make, "different") for one in y for mask in masks(one))


def export_train(make: Make) -> None:
    """``torch.export`` in training mode, run several times."""
    exported(make, strict=False)


def export_train_strict(make: Make) -> None:
    """``torch.export(..., strict=True)`` in training mode, run several times."""
    exported(make, strict=True)


def exported(make: Make, strict: bool) -> None:
    net = Net(make)
    program = torch.export.export(net, (torch.ones(N),), strict=strict).module()
    trial = Trial(program)
    trial.step()
    trial.judge()


def jit_trace(make: Make) -> None:
    """``torch.jit.trace`` in training mode, run several times."""
    net = Net(make)
    trial = Trial(net)
    trial.step(torch.jit.trace(net, torch.ones(N), check_trace=False))
    trial.judge()


def jit_trace_eval(make: Make) -> None:
    """``torch.jit.trace`` in eval mode."""
    net = Net(make).eval()
    found = torch.jit.trace(net, torch.ones(N))(torch.ones(N))
    assert_equal(found, torch.full((N,), 9.0), OTHER)


def jit_script(make: Make) -> None:
    """``torch.jit.script``."""
    trial = Trial(Net(make))
    trial.step(torch.jit.script(trial.net))
    trial.judge()


SITUATIONS = {
    "functional_call": as_function,
    **{
        one.__name__: one
        for one in (
            func_grad,
            vmap_ensemble_same,
            vmap_ensemble_different,
            export_train,
            export_train_strict,
            jit_trace,
            jit_trace_eval,
            jit_script,
        )
    },
}
