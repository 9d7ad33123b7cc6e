"""Tries an installed anydrop: ``python smoke.py VERSION``, without the checkout on the path."""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

import anydrop

place = Path(anydrop.__file__)
if "site-packages" not in place.parts:
    raise SystemExit(f"anydrop was imported from {place}, and not from an installed package")
if not sys.argv[1] == anydrop.__version__ == version("anydrop"):
    raise SystemExit(f"expected version {sys.argv[1]}, got {anydrop.__version__}")

x = np.arange(1.0, 9.0)
kept = np.array([0, 1, 1, 1, 1, 1, 0, 1])
for dtype in (np.float32, np.float64):
    drop = anydrop.Dropout(0.5, seed=0)
    assert np.array_equal(drop(x.astype(dtype)), 2 * x * kept)
    assert np.array_equal(drop.backward(np.ones(8, dtype)), 2.0 * kept)
    resumed = anydrop.Dropout(0.5, seed=1)
    resumed.load_state_dict(drop.state_dict())
    assert np.array_equal(resumed(x), drop(x))
    assert drop.eval()(x) is x
noise = anydrop.gaussian_noise(np.zeros(1000), 1.0, seed=0)  # needs the table, which is data
assert abs(noise.std() - 1) < 0.1
print(f"anydrop {anydrop.__version__} works in Python {sys.version.split()[0]}")
