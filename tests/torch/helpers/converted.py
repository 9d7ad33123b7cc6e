"""A model with attention, a function and modules, which tests convert; and a fixture."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere


class Calling(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, 16)

    def forward(self, x):
        return F.dropout(self.linear(x), 0.3, self.training)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, dropout=0.1)
        self.calling = Calling()
        self.drop = nn.Dropout(0.2)
        self.same = self.drop
        self.linear = nn.Linear(16, 16)

    def forward(self, x):
        x = self.drop(self.calling(self.attention(x, x, x)[0]))
        return self.same(self.linear(x))


def described(model):
    """Return what a model is, but for its tensors."""
    return [(name, type(part), set(vars(part))) for name, part in model.named_modules()]


def within(module):
    return nn.Sequential(module)


@pytest.fixture(autouse=True)
def one_thread():
    """Small matrices take several threads longer, where other processes have the processors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
