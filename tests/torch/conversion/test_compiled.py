"""What converted models draw in compiled programs is what they draw in eager code."""

from functools import partial

import pytest
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

import anydrop
from anydrop.torch.conversion.convert import convert


class Calling(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, 0.5, self.training)


class Attending(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)


class MultiHead(nn.Module):
    """Attention of PyTorch's, which computes the weights where they are asked for."""

    def __init__(self, need_weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, 0.5, batch_first=True, dtype=torch.float64)
        self.need_weights = need_weights

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x, need_weights=self.need_weights)[0]


KINDS = [Calling, Attending, partial(MultiHead, False), partial(MultiHead, True)]


@pytest.mark.parametrize("kind", KINDS, ids=["dropout", "attention", "multi-head", "weights"])
def test_a_compiled_function_draws_the_masks_of_eager_code(kind):
    torch.compiler.reset()
    x, eager, model = torch.randn(2, 4, 8, dtype=torch.float64), kind(), kind()
    model.load_state_dict(eager.state_dict())
    for one in (eager, model):
        convert(one, seed=0, functional=True)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for _ in range(3):
        torch.testing.assert_close(compiled(x), eager(x))
    steps = [[m.step for m in one.modules() if hasattr(m, "reseed")] for one in (eager, model)]
    assert steps[0] == steps[1]
    assert max(steps[0]) == 3


def test_a_block_with_shared_axes_is_one_program():
    torch.compiler.reset()
    x, at = torch.randn(2, 3, 6, 6), torch.tensor(5)

    def dropped(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = anydrop.drop_block2d(x, 0.3, 3, shared_axes=1, seed=0, step=at)
        return y

    compiled = torch.compile(dropped, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, at), dropped(x, at), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated")
def test_another_model_can_be_scripted_while_one_is_converted():
    model = Calling()
    convert(model, functional=True)
    scripted = torch.jit.script(Calling())
    assert set(scripted(torch.ones(64)).tolist()) == {0.0, 2.0}
