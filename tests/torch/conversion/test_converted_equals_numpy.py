"""A converted model draws the masks of the same network in NumPy, which has layers of its names."""

import numpy as np
import pytest
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )
import torch
import transformer
import transformer_torch
from torch import nn

from anydrop.torch import convert


def test_a_transformer_draws_and_returns_what_the_network_in_numpy_does():
    torch.manual_seed(0)
    model = transformer_torch.Classifier().double()
    table = convert(model, seed=5)
    masks = transformer_torch.watched(model)

    network = transformer.Classifier(layers=2, heads=2, p=0.2)
    layers = anydrop.seed_layers(network, 5)
    assert sorted(layers) == sorted(place.name for place in table)

    seen = set()
    for x, y, weights in transformer_torch.train(model, steps=5):
        assert np.allclose(network(x, weights), y, rtol=0, atol=1e-10)
        assert masks.keys() == layers.keys()
        for name, layer in layers.items():
            assert np.array_equal(layer.mask, masks[name])
            seen.add(masks[name].tobytes())
    assert len(seen) == 5 * len(layers)

    anydrop.seed_layers(network, 6)
    assert not np.allclose(network(x, weights), y, rtol=0, atol=1e-3)


class Perceptron:
    """nn.Sequential(Linear, Dropout, Tanh, Dropout, Linear), forward and backward by hand."""

    def __init__(self, weights, p):
        self.weights = weights
        self.drops = {"1": anydrop.Dropout(p), "3": anydrop.Dropout(p)}

    def forward(self, x):
        w = self.weights
        self.x = x
        self.hidden = np.tanh(self.drops["1"](x @ w["0.weight"].T + w["0.bias"]))
        self.dropped = self.drops["3"](self.hidden)
        return self.dropped @ w["4.weight"].T + w["4.bias"]

    def backward(self, gradient):
        found = {"4.weight": gradient.T @ self.dropped, "4.bias": gradient.sum(axis=0)}
        gradient = self.drops["3"].backward(gradient @ self.weights["4.weight"])
        gradient = self.drops["1"].backward(gradient * (1 - self.hidden**2))
        return found | {"0.weight": gradient.T @ self.x, "0.bias": gradient.sum(axis=0)}


def test_a_perceptron_has_the_gradients_that_numpy_has():
    torch.manual_seed(0)
    parts = nn.Linear(6, 32), nn.Dropout(0.3), nn.Tanh(), nn.Dropout(0.3), nn.Linear(32, 2)
    model = nn.Sequential(*parts).double()
    weights = {name: w.detach().numpy().copy() for name, w in model.named_parameters()}
    assert [place.name for place in convert(model, seed=5)] == ["1", "3"]

    network = Perceptron(weights, 0.3)
    anydrop.seed_layers(network.drops, 5)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rng = np.random.default_rng(0)
    for _ in range(10):
        x, target = rng.standard_normal((4, 6)), rng.standard_normal((4, 2))
        optimizer.zero_grad()
        loss = (model(torch.from_numpy(x)) - torch.from_numpy(target)).square().mean()
        loss.backward()

        errors = network.forward(x) - target
        gradients = network.backward(2 * errors / errors.size)
        assert np.square(errors).mean() == pytest.approx(loss.item(), rel=1e-10)
        for name, weight in model.named_parameters():
            assert np.allclose(gradients[name], weight.grad, rtol=1e-10, atol=1e-12)

        optimizer.step()
        for name, gradient in gradients.items():
            weights[name] -= 0.1 * gradient
