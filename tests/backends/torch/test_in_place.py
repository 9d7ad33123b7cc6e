"""``out=x`` where autograd follows x, as PyTorch's own operations in place."""

import pytest
from subjects import available

import anydrop
from anydrop import Mask

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch

SHAPE = (2, 3, 8, 8)

IN_PLACE = {
    "dropout": lambda x, **out: anydrop.dropout(x, 0.5, seed=3, **out),
    "shared": lambda x, **out: anydrop.dropout2d(x, 0.5, seed=3, **out),
    "alpha": lambda x, **out: anydrop.alpha_dropout(x, 0.5, seed=3, **out),
    "gaussian": lambda x, **out: anydrop.gaussian_dropout(x, 0.5, seed=3, **out),
    "noise": lambda x, **out: anydrop.gaussian_noise(x, 0.5, seed=3, **out),
    "blocks": lambda x, **out: anydrop.drop_block2d(x, 0.5, 3, seed=3, **out),
    "zoneout": lambda x, **out: anydrop.zoneout(x, x.detach() * 0, 0.5, seed=3, **out),
    "sum": lambda x, **out: anydrop.dropout_add(x, x.detach() * 2, 0.5, seed=3, **out),
    "sum into the residual": lambda x, **out: anydrop.dropout_add(
        x.detach() * 2, x, 0.5, bias=x[0], seed=3, **out
    ),
    "bare sum": lambda x, **out: anydrop.dropout_add(x, x * 2, 0.5, training=False, **out),
    "a generator's": lambda x, **out: anydrop.dropout(
        x, 0.5, rng=torch.Generator().manual_seed(0), **out
    ),
    "p = 0": lambda x, **out: anydrop.dropout(x, 0.0, seed=3, **out),
    "gaussian at p = 0": lambda x, **out: anydrop.gaussian_dropout(x, 0.0, seed=3, **out),
    "zoneout at p = 0": lambda x, **out: anydrop.zoneout(x, -x.detach(), 0.0, seed=3, **out),
    "inference": lambda x, **out: anydrop.dropout(
        x, 0.5, training=False, scaling="inference", **out
    ),
    "a mask": lambda x, **out: Mask.from_seed(SHAPE, 0.5, seed=3).apply(x, **out),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("call", IN_PLACE.values(), ids=IN_PLACE)
def test_in_place_where_autograd_follows(call, layout):
    """As ``F.dropout(x, inplace=True)``: the tensor changes, and its gradient is right."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)).to(memory_format=layout)

    def gradient(in_place):
        leaf = x.clone().requires_grad_()
        z = leaf * 3.0
        y = call(z, out=z) if in_place else call(z)
        if in_place:
            assert y is z
        (dx,) = torch.autograd.grad((y**2).sum(), leaf)
        return y.detach(), dx

    for a, b in zip(gradient(True), gradient(False), strict=True):
        assert torch.equal(a, b)


def test_in_place_of_what_autograd_has_kept():
    """PyTorch finds it out, as for any operation in place."""
    x = torch.ones(5, requires_grad=True)
    z = x.exp()  # whose derivative is its result
    anydrop.dropout(z, 0.5, seed=0, out=z)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


@pytest.mark.parametrize("out", ["leaf", "other", "other that requires grad"])
def test_out_that_autograd_could_not_follow(out):
    x = torch.ones(5, requires_grad=True)
    z = x if out == "leaf" else x * 2.0
    target = x if out == "leaf" else torch.empty(5, requires_grad=out != "other")
    with pytest.raises(ValueError, match="must be x itself, or the residual, and no leaf, as"):
        anydrop.dropout(z, 0.5, seed=0, out=target)
    with torch.no_grad():
        assert anydrop.dropout(z, 0.5, seed=0, out=target) is target
