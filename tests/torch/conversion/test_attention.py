"""Attention of converted modules comes to what PyTorch's comes to, but for the masks."""

import copy

import pytest
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from anydrop.torch import convert

STOCK = F.scaled_dot_product_attention


class Attention(nn.Module):
    def forward(self, query, key, value, **keywords):
        return F.scaled_dot_product_attention(query, key, value, **keywords)


class OfItself(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x)


def close(some, others):
    torch.testing.assert_close(some, others, rtol=1e-8, atol=1e-8)


def attention(*inputs, p=2.0**-31, **keywords):
    """Run converted attention. At so small a probability nothing is dropped."""
    parts = nn.ModuleList([Attention()])
    convert(parts, seed=0)
    return parts[0](*inputs, dropout_p=p, **keywords)


def inputs(length=5, keys=7, heads=(3, 3, 3)):
    shapes = [(2, heads[0], length, 8), (2, heads[1], keys, 8), (2, heads[2], keys, 6)]
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


SEEN = torch.rand(5, 7, generator=torch.Generator().manual_seed(1)) > 0.3
SEEN[2] = False
NONE = torch.zeros(5, 7, dtype=torch.float64).masked_fill(~SEEN, -float("inf"))


@pytest.mark.parametrize(
    ("given", "keywords"),
    [
        ({}, {}),
        ({}, {"scale": -0.3}),
        ({"length": 9, "keys": 4}, {"is_causal": True}),
        ({}, {"attn_mask": SEEN}),
        ({}, {"attn_mask": NONE}),
        ({}, {"attn_mask": torch.full_like(NONE, -float("inf"))}),
        ({}, {"attn_mask": torch.linspace(-1, 1, 7, dtype=torch.float64, requires_grad=True)}),
        ({"heads": (6, 2, 3)}, {"enable_gqa": True}),
    ],
)
def test_attention_is_that_of_pytorch(given, keywords):
    def run(function):
        tensors, mask = inputs(**given), keywords.get("attn_mask")
        y = function(*tensors, **keywords)
        wanted = [*tensors, *([mask] if mask is not None and mask.requires_grad else [])]
        return y, torch.autograd.grad(y.square().sum(), wanted)

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        close(run(attention), run(STOCK))


@pytest.mark.parametrize(
    ("given", "keywords", "message"),
    [
        ({}, {"attn_mask": torch.ones(5, 7, dtype=torch.int64)}, r"torch.int64: .*attn_mask.bool"),
        ({}, {"attn_mask": torch.ones(4, 2, 3, 5, 7) > 0}, r"must broadcast to \(2, 3, 5, 7\)"),
        ({"heads": (1, 2, 2)}, {"enable_gqa": True}, "number of key and value heads, got 1 and 2"),
        ({}, {"attn_mask": SEEN, "is_causal": True}, "not both"),
        ({}, {"p": 1.5}, "p must satisfy"),
    ],
)
def test_attention_that_pytorch_refuses(given, keywords, message):
    with pytest.raises((RuntimeError, TypeError, ValueError), match=message):
        attention(*inputs(**given), **keywords)


def test_attention_of_nested_tensors_is_refused():
    nested = torch.nested.nested_tensor(
        [torch.ones(3, 2, 8), torch.ones(5, 2, 8)], layout=torch.jagged
    )
    with pytest.raises(TypeError, match=r"nested tensors.*where="):
        attention(*[nested.transpose(1, 2)] * 3)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True, "add_zero_attn": True}])
def test_multi_head_attention_is_pytorchs(options, need_weights):
    torch.manual_seed(0)
    stock = nn.MultiheadAttention(16, 2, dropout=2.0**-31, dtype=torch.float64, **options)
    x = torch.randn(5, 2, 16, dtype=torch.float64)
    hidden = torch.arange(5)[None] > torch.tensor([[2], [4]])
    parts = nn.ModuleList([copy.deepcopy(stock)])
    convert(parts, seed=0)

    def run(module):
        module.zero_grad()
        y, weights = module(x, x, x, key_padding_mask=hidden, need_weights=need_weights)
        y.square().sum().backward()
        return y, weights, [p.grad for p in module.parameters()]

    close(run(parts[0]), run(stock))
    assert parts[0].anydrop.step == 1


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_another_models_attention_is_scripted_meanwhile():
    model = nn.Sequential(nn.MultiheadAttention(4, 2))
    convert(model)
    x = torch.randn(2, 3, 5, 4)
    assert torch.equal(torch.jit.script(OfItself())(x), STOCK(x, x, x))
