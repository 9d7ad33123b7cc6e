"""The pre-norm blocks of docs/examples: with `nn.Dropout` and a sum, and with `DropoutAdd`."""

import pytest
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )
import pre_norm_torch
import torch

import anydrop
from anydrop.torch import convert


def blocks(dtype):
    """Return both blocks, with the same weights and masks."""
    torch.manual_seed(0)
    before, after = (
        kind(8, 2, 0.3).to(dtype) for kind in (pre_norm_torch.Before, pre_norm_torch.After)
    )
    after.load_state_dict(before.state_dict())
    convert(before, seed=5)
    anydrop.seed_layers(after, 5)
    return before, after


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_blocks_are_equal(dtype):
    """Outputs, gradients of the input and of all parameters, to the bit, for some steps."""
    made = blocks(dtype)
    outputs = set()
    for _ in range(3):
        x, g = torch.randn(2, 4, 5, 8, dtype=dtype)
        results = []
        for block in made:
            block.zero_grad()
            given = x.clone().requires_grad_()
            y = block(given)
            y.backward(g)
            results.append([y, given.grad, *(p.grad for p in block.parameters())])
        assert len(results[0]) == 2 + len(list(made[0].parameters()))
        for old, new in zip(*results, strict=True):
            assert torch.equal(old, new)
        outputs.add(y.detach().numpy().tobytes())
    assert len(outputs) == 3


def test_the_blocks_are_equal_at_inference_and_differ_by_seed():
    before, after = (block.eval() for block in blocks(torch.float32))
    x = torch.randn(4, 5, 8)
    assert torch.equal(before(x), after(x))
    after.train()
    y = after(x)
    assert not torch.equal(before(x), y)
    anydrop.seed_layers(after, 6)
    assert not torch.equal(after(x), y)
