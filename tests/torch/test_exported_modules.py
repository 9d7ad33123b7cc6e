"""Programs that were exported or traced: here, and loaded in a process that has not seen them.

Then ``torch.fx``, which traces with proxies. Anything else that is no tensor is refused.
"""

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
from situations.trial import N, Net, Trial
from torch import nn

import anydrop.torch

# PyTorch's own calls.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
ONES = torch.ones(N)


def unseeded(seed):
    return anydrop.torch.Dropout(0.5)


def seeded(seed):
    return anydrop.torch.Dropout(0.5, seed=seed)


def exported(net, path, strict=False):
    torch.export.save(torch.export.export(net, (ONES,), strict=strict), path)
    return f"torch.export.load({str(path)!r}).module()"


def in_a_new_process(load, more=""):
    """Return outputs of three runs of a program, or the error."""
    return json.loads(
        python(
            f"""
            import json, warnings
            warnings.simplefilter("ignore")
            import torch
            import anydrop.torch
            program = {load}
            try:
                {more or "torch.manual_seed(3)"}
                print(json.dumps([program(torch.ones({N})).tolist() for _ in range(3)]))
            except RuntimeError as error:
                print(json.dumps(str(error)))
            """
        )
    )


@pytest.mark.parametrize("make", [unseeded, seeded])
def test_an_eval_program_in_a_new_process(make, tmp_path):
    found = in_a_new_process(exported(Net(make).eval(), tmp_path / "program.pt2"))
    assert found == [[9.0] * N] * 3


@pytest.mark.parametrize("make", [unseeded, seeded])
def test_an_eval_trace_in_a_new_process(make, tmp_path):
    path = tmp_path / "program.pt"
    torch.jit.save(torch.jit.trace(Net(make).eval(), ONES), path)
    assert in_a_new_process(f"torch.jit.load({str(path)!r})") == [[9.0] * N] * 3


@pytest.mark.parametrize("strict", [False, True])
def test_an_unseeded_training_program_draws_in_a_new_process_what_its_model_draws(strict, tmp_path):
    net = Net(unseeded)
    found = in_a_new_process(exported(net, tmp_path / "program.pt2", strict))
    torch.manual_seed(3)
    assert found == [net(ONES).tolist() for _ in range(3)]


def test_an_unseeded_training_program_is_checkpointed_in_a_new_process(tmp_path):
    load = exported(Net(unseeded), tmp_path / "program.pt2")
    printed = python(
        f"""
        import warnings
        warnings.simplefilter("ignore")
        import torch
        import anydrop.torch
        from situations.checkpoints import around
        from situations.trial import Trial
        trial = Trial({load})
        trial.step(around(trial.net))
        trial.judge()
        print("right")
        """
    )
    assert printed == "right"


@pytest.mark.parametrize("strict", [False, True])
def test_a_seeded_training_program_counts_where_its_module_lives(strict, tmp_path):
    net = Net(seeded)
    load = exported(net, tmp_path / "program.pt2", strict)
    assert net.one.step == net.two.step == 0
    trial = Trial(eval(load))
    trial.step()
    trial.judge()
    assert net.one.step == net.two.step == 3
    for step, (_, y) in enumerate(trial.runs):
        one, two = (anydrop.dropout(np.ones(N, "f4"), 0.5, seed=s, step=step) for s in (1, 2))
        assert np.array_equal(y.detach(), one + 8 * two)


def test_a_seeded_training_program_in_a_new_process_says_why_it_does_not_run(tmp_path):
    found = in_a_new_process(exported(Net(seeded), tmp_path / "program.pt2"))
    assert "counts the steps of a module with a seed, and that module is not in this" in found
    assert "anydrop.dropout(x, p, seed=seed, step=step)" in found


def test_an_exported_program_takes_a_step(tmp_path):
    """As the message above recommends, the step is an argument of the program."""

    class Stepped(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = seeded(1)

        def forward(self, x, step):
            return self.drop(x, step=step)

    path = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(Stepped(), (ONES, torch.tensor(0))), path)
    printed = python(
        f"""
        import json
        import torch
        import anydrop.torch
        program = torch.export.load({str(path)!r}).module()
        x = torch.ones({N})
        print(json.dumps([program(x, torch.tensor(t)).tolist() for t in (0, 5, 2**40)]))
        """
    )
    for step, y in zip((0, 5, 2**40), json.loads(printed), strict=True):
        assert y == anydrop.dropout(np.ones(N, "f4"), 0.5, seed=1, step=step).tolist()


@pytest.mark.parametrize("make", [unseeded, seeded])
def test_a_training_trace_is_refused(make):
    with pytest.raises(TypeError, match="would repeat that run's mask for ever: trace it in eval"):
        torch.jit.trace(Net(make), ONES)


@pytest.mark.parametrize("make", [unseeded, seeded])
@pytest.mark.parametrize("training", [True, False])
def test_a_script_is_refused(make, training):
    net = nn.Sequential(nn.Linear(2, 2), make(1)).train(training)
    with pytest.raises(TypeError, match=r"torch\.jit\.script can't compile .*use torch\.export"):
        torch.jit.script(net)
    net[1] = nn.Identity()
    assert torch.jit.script(net)(torch.ones(2)).shape == (2,)


@pytest.mark.parametrize("make", [unseeded, seeded])
def test_a_captured_cuda_graph_is_refused(make, monkeypatch):
    """Without a GPU, PyTorch's two questions are answered here."""

    class OnGPU(torch.Tensor):
        is_cuda = True

    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    module, x = make(1), ONES.as_subclass(OnGPU)
    with pytest.raises(RuntimeError, match="would repeat this mask at each replay: capture it in"):
        module(x)
    assert module.step in (None, 0)
    assert module.eval()(x) is x
    assert module.train()(ONES).shape == (N,)


# torch.fx ----------------------------------------------------------------------------------------

X = torch.ones(32, 6, 8)
MODULES = [
    lambda: anydrop.torch.Dropout(0.5, seed=0),
    lambda: anydrop.torch.Dropout(0.5),
    lambda: anydrop.torch.Dropout1d(0.5, seed=0),
    lambda: anydrop.torch.DropPath(0.5, seed=0),
    lambda: anydrop.torch.GaussianNoise(0.5, seed=0),
    lambda: anydrop.torch.DropConnect(0.5, seed=0),
]


@pytest.mark.parametrize("make", MODULES)
@pytest.mark.parametrize("training", [True, False])
def test_fx_keeps_the_call_of_a_module(make, training):
    model = nn.Sequential(nn.Linear(8, 8), make()).train(training)
    traced = torch.fx.symbolic_trace(model)
    assert [n.target for n in traced.graph.nodes if n.op == "call_module"] == ["0", "1"]
    assert torch.equal(traced.eval()(X), model.eval()(X))
    results = []
    for one in (model.train(), traced.train()):
        torch.manual_seed(0)
        if model[1].counts:
            model[1].step = 5
        results.append(one(X))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    assert not torch.equal(traced(X), results[1])


def test_fx_keeps_zoneout_and_the_steps_that_are_said():
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.keep = anydrop.torch.Zoneout(0.5, seed=0)

        def forward(self, x, previous):
            return self.keep(x, previous, step=3)

    cell = Cell()
    traced = torch.fx.symbolic_trace(cell)
    assert torch.equal(traced(X, -X), cell(X, -X))
    assert cell.keep.step == 0


def test_fx_of_a_module_alone_is_refused():
    with pytest.raises(TypeError, match=r"torch\.nn\.Sequential\(module\)"):
        torch.fx.symbolic_trace(anydrop.torch.Dropout(0.5))


@pytest.mark.parametrize("make", MODULES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("value", [np.ones((2, 6, 8)), [1.0], None])
def test_what_is_no_tensor_is_refused(make, training, value):
    module = make().train(training)
    with pytest.raises(TypeError, match=rf"takes a torch.Tensor, got {type(value).__name__}"):
        module(value)
    assert module.step in (0, None)
