"""Programs that were saved, and are loaded by a process that has not seen the operator."""

import json

import numpy as np
import pytest
from process import python
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch

X = torch.linspace(-2, 2, 40).reshape(8, 5)
STEPS = (0, 3, 2**40)
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own calls


class Program(torch.nn.Module):
    def forward(self, x, step):
        return block(x, step)


def block(x, step):
    """Call each function that draws by an operator of its own."""
    y = anydrop.dropout(x, 0.5, seed=3, step=step)
    return anydrop.dropout_add(y, x, 0.5, bias=x[0], seed=4, step=step)


def exported(path):
    torch.export.save(torch.export.export(Program(), (X, torch.tensor(1))), path)
    return f"torch.export.load({str(path)!r}).module()"


def traced(path):
    torch.jit.save(torch.jit.trace(Program(), (X, torch.tensor(1))), path)
    return f"torch.jit.load({str(path)!r})"


@pytest.mark.parametrize("saved", [exported, traced])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_new_process_draws_the_same(saved, tmp_path):
    load = saved(tmp_path / "program.pt2")
    printed = python(
        f"""
        import json, warnings
        warnings.simplefilter("ignore")
        import torch
        import anydrop.torch
        program, x = {load}, torch.linspace(-2, 2, 40).reshape(8, 5)
        print(json.dumps([program(x, torch.tensor(step)).tolist() for step in {STEPS}]))
        """
    )
    for step, y in zip(STEPS, json.loads(printed), strict=True):
        assert np.array_equal(np.asarray(y, "f4"), block(X.numpy(), step))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects:UserWarning")
def test_a_layer_is_not_exported(strict):
    """The program would draw one mask for ever."""

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = anydrop.Dropout(0.5, seed=3)

        def forward(self, x):
            return self.drop(x)

    network = Network()
    with pytest.raises(Exception, match=r"the same elements: use a module, such as anydrop\.torch"):
        torch.export.export(network, (X,), strict=strict)
    assert network.drop.step == 0
    network.drop.eval()
    assert torch.equal(torch.export.export(network, (X,), strict=strict).module()(X), X)
