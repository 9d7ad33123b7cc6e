"""Masks that JAX meets before anydrop has seen a JAX array, whoever was imported first."""

import pytest
from process import python
from subjects import available

if not available("jax"):
    pytest.skip("jax is not installed here; nox -s tests-jax runs this", allow_module_level=True)

# Every description, of a mask drawn by a seed or stored; and one that a layer made.
MAKE = """
from anydrop.masks.zoneout import Complement
x = np.ones((2, 3, 6, 5), "f4")
drop = anydrop.Dropout(0.3, seed=2**40)
def masks():
    rng = np.random.default_rng(0)
    seeded = {"return_mask": True, "seed": 2**70, "step": 2**40}
    stored = {"return_mask": True, "rng": rng}
    drop(x)
    mask = anydrop.Mask.from_seed(x.shape, 0.3, seed=1)
    return {
        "layer": drop.recipe,
        "from seed": mask,
        "stored": anydrop.dropout(x, 0.3, **stored)[1],
        "blocks": anydrop.drop_block2d(x, 0.3, 2, **seeded)[1],
        "stored blocks": anydrop.drop_block2d(x, 0.3, 2, **stored)[1],
        "noise": anydrop.gaussian_dropout(x, 0.3, **seeded)[1],
        "zoneout": anydrop.zoneout(x, x, 0.3, **seeded)[1],
        "dropout_add": anydrop.dropout_add(x, x, 0.3, bias=x[0], **seeded)[1],
        "complement": Complement(mask, mask.shape),
        "copies": anydrop.drop_connect(x[0], 0.3, examples=2, **seeded)[1],
    }
made = masks()
"""
USE = """
for kind, mask in made.items():
    expected = mask.apply(x)
    def same(got):
        for a, b in zip(got, expected) if isinstance(got, tuple) else [(got, expected)]:
            assert np.allclose(a, b, rtol=1e-6, atol=1e-6), kind
    same(jax.jit(lambda mask, g: mask.apply(g))(mask, x))
    same(jax.device_put(mask).apply(x))
    same(jax.jit(lambda mask: mask)(mask).apply(x))
    same(jax.lax.scan(lambda mask, g: (mask, mask.apply(g)), mask, x[None])[0].apply(x))
print("done")
"""
NUMPY, ANYDROP, JAX = "import numpy as np\n", "import anydrop\n", "import jax\n"


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(JAX + ANYDROP + MAKE + USE, id="jax, anydrop, masks"),
        pytest.param(ANYDROP + JAX + MAKE + USE, id="anydrop, jax, masks"),
        pytest.param(
            ANYDROP + MAKE + JAX + "import anydrop.jax\n" + USE, id="anydrop, masks, jax, the line"
        ),
        pytest.param(ANYDROP + MAKE + JAX + MAKE + USE, id="anydrop, masks, jax, more masks"),
    ],
)
def test_every_description_in_every_program(program):
    assert python(NUMPY + program) == "done"


@pytest.mark.parametrize(
    "mask",
    [
        "drop.recipe",
        "mask._replace(step=3)",
        "copy.deepcopy(mask)",
        "pickle.loads(saved)",
        "pickle.loads(stored)",
        "anydrop.Mask(*mask)",
    ],
)
def test_one_that_is_made_of_another(mask):
    """The first, made before JAX was imported, was not JAX's business; this one is."""
    program = f"""
        import copy, pickle
        import numpy as np, anydrop
        x, drop = np.ones(7, "f4"), anydrop.Dropout(0.5, seed=2**40)
        drop(x)
        mask = drop.recipe
        drop(x)
        saved = pickle.dumps(mask)
        stored = pickle.dumps(anydrop.dropout(x, rng=np.random.default_rng(0), return_mask=True)[1])
        import jax
        mask = {mask}
        expected = mask.apply(x)
        print(np.array_equal(jax.jit(lambda mask, x: mask.apply(x))(mask, x), expected))
    """
    assert python(program) == "True"


def test_jax_is_imported_by_nobody_else():
    program = "import sys, numpy as np, anydrop" + MAKE + "print('jax' in sys.modules)"
    assert python(program) == "False"


def test_a_broken_jax_is_no_business_of_numpys(tmp_path):
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("")
    program = """
        import numpy as np, jax, anydrop
        mask = anydrop.dropout(np.ones(7), 0.5, seed=0, return_mask=True)[1]
        print(int(mask.apply(np.ones(7)).sum()))
    """
    assert python(program, path=[tmp_path]) == "10"
