"""`anydrop.monte_carlo` of models with the modules of anydrop.torch."""

import threading

import pytest
from numpy.random import SeedSequence
from subjects import available

import anydrop
from anydrop import monte_carlo
from anydrop.schedules import Linear

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )
import torch
from torch import nn

from anydrop.torch import Dropout

X = torch.ones(50, 4)


def child(i, seed=1):
    return SeedSequence(seed, spawn_key=(i,))


def drawn(i, t, p=0.5, x=X):
    return anydrop.dropout(x, p, seed=child(i), step=t)


class Network(nn.Module):
    """Modules with a seed and without one, a plain layer, and batch norm."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4, affine=False, eps=0)
        self.drops = nn.ModuleList([Dropout(0.5, seed=0), Dropout(0.25)])
        self.plain = anydrop.Dropout(0.5, seed=0)

    def forward(self, x):
        return self.plain(self.drops[1](self.drops[0](self.norm(x))))


def expected(samples):
    def sample(t):
        y = drawn(1, t, p=0.25, x=drawn(0, t))
        return drawn(2, t, x=y)

    return torch.stack([sample(t) for t in range(samples)])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("way", ["eager", "compiled"])
def test_modules_draw_and_everything_else_is_at_inference(training, way):
    model = Network().train(training)
    model.plain.train(training)
    model.drops[0].step, model.drops[0].training = 3, True
    modes = [module.training for module in model.modules()]
    state, shown = {k: v.clone() for k, v in model.state_dict().items()}, repr(model)
    generator = torch.get_rng_state()
    call = model
    if way == "compiled":
        drops = torch.compile(nn.Sequential(*model.drops), backend="aot_eager", fullgraph=True)

        def call(x):
            return model.plain(drops(model.norm(x)))

    for _ in range(2):  # alike, though the generator moves
        result = monte_carlo(call, X, samples=4, seed=1, return_samples=True)
        assert torch.equal(result.outputs, expected(4))
    assert [module.training for module in model.modules()] == modes
    assert repr(model) == shown
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    # They go on as they would have.
    model.drops.train()
    torch.set_rng_state(generator)
    y = model.drops[1](X)
    torch.set_rng_state(generator)
    assert torch.equal(nn.Sequential(Dropout(0.25))(X), y)
    assert torch.equal(model.drops[0](X), anydrop.dropout(X, 0.5, seed=0, step=3))


def test_the_spread_of_one_module():
    """Of a module alone: 1 in the mean, and 1 of standard deviation at p = 0.5."""
    result = monte_carlo(Dropout(0.5).eval(), torch.ones(10), samples=2000, seed=0)
    assert torch.allclose(result.mean, torch.ones(10), atol=0.11)  # 5 sigma
    assert torch.allclose(result.std, torch.ones(10), atol=0.02)


def test_a_schedule_stays_where_it_is():
    drop = Dropout(Linear(0.0, 0.5, 10), seed=0)
    drop.step = 5
    result = monte_carlo(drop, X, samples=3, seed=1, return_samples=True)
    assert torch.equal(result.outputs, torch.stack([drawn(0, t, p=0.25) for t in range(3)]))
    assert drop.step == 5
    y, mask = anydrop.dropout(X, 0.25, seed=0, step=5, return_mask=True)
    assert mask.p == 0.25
    assert torch.equal(drop(X), y)


def test_layers_are_named():
    model = Network()
    result = monte_carlo(model, X, samples=2, seed=1, layers=[model.drops[1]], return_samples=True)
    assert torch.equal(result.outputs, torch.stack([drawn(0, t, p=0.25) for t in range(2)]))
    with pytest.raises(TypeError, match="layers must contain layers of anydrop, got torch"):
        monte_carlo(model, X, samples=2, seed=1, layers=[nn.Dropout()])


def test_a_run_within_a_run():
    drop = Dropout(0.5, seed=0)

    def predict(x):
        inner = monte_carlo(drop, X, samples=2, seed=1, return_samples=True).outputs
        assert torch.equal(inner, torch.stack([drawn(0, t) for t in range(2)]))
        return drop(x)

    outer = monte_carlo(predict, X, samples=2, seed=1, return_samples=True).outputs
    assert torch.equal(outer, torch.stack([drawn(0, t) for t in range(2)]))
    assert drop.step == 0


def test_an_error_leaves_modules_as_they_were():
    drop = Dropout(0.5, seed=0).eval()

    def predict(x):
        drop(x)
        raise KeyError

    with pytest.raises(KeyError):
        monte_carlo(predict, X, samples=2, seed=1)
    assert repr(drop) == "Dropout(p=0.5, inplace=False, seed=0, step=0)"
    assert not drop.training
    assert torch.equal(drop.train()(X), anydrop.dropout(X, 0.5, seed=0, step=0))


def test_what_is_refused():
    drop = Dropout(0.5, seed=0)
    with pytest.raises(ValueError, match="same_masks=True is for anydrop's plain layers"):
        monte_carlo(drop, X, samples=2, seed=1, same_masks=True)
    with pytest.raises(ValueError, match="every p is 0, so all samples would be equal"):
        monte_carlo(nn.Sequential(Dropout(0.0), Dropout(0.0, seed=0)), X, samples=2, seed=1)
    with pytest.raises(ValueError, match="no dropout layer drew a mask in the first sample"):
        monte_carlo(lambda x: drop.eval()(x), X, samples=2, seed=1)
    with pytest.raises(RuntimeError, match="monte_carlo did not find Dropout"):
        monte_carlo(lambda x: drop(x) + made()(x), X, samples=2, seed=1)
    other = Dropout(0.5, seed=0)
    with pytest.raises(RuntimeError, match="monte_carlo did not find Dropout"):
        monte_carlo(lambda x: drop(x) + other.train()(x), X, samples=2, seed=1, layers=[drop])
    assert other.step == 0
    with pytest.raises(RuntimeError, match="monte_carlo is running this module with its own seed"):
        monte_carlo(lambda x: (drop.reseed(1), drop(x))[1], X, samples=2, seed=1)
    assert (drop.seed, drop.step) == (0, 0)


def made():
    return Dropout(0.5)


def test_a_module_is_in_one_thread_at_a_time():
    drop, errors = Dropout(0.5, seed=0), []

    def elsewhere(call):
        try:
            call()
        except RuntimeError as error:
            errors.append(str(error))

    def predict(x):
        for call in (lambda: drop(x), lambda: monte_carlo(drop, X, samples=2, seed=1)):
            thread = threading.Thread(target=elsewhere, args=(call,))
            thread.start()
            thread.join()
        return drop(x)

    result = monte_carlo(predict, X, samples=1, seed=1)
    assert torch.equal(result.mean, drawn(0, 0))
    assert len(errors) == 2
    assert all("this Dropout is running in another thread" in error for error in errors)
