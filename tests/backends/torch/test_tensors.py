"""PyTorch tensors: memory, kernels, devices, generators and errors; `reference` holds the bits."""

import copy
import re

import numpy as np
import pytest
from process import python
from subjects import available

import anydrop
from anydrop import Dropout, Mask, Window
from anydrop.testing import DTYPES
from anydrop.testing.reference import bits, keep, numbers, select
from anydrop.testing.subject import dtype_of

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch

from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.backends.torch import host, int64, operator
from anydrop.backends.torch.backend import TorchBackend

needs_numba = pytest.mark.skipif(
    not available("numba"), reason="numba is not installed here; nox -s tests-numpy runs this"
)
quiet = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def error(kind, message, call, *args, **kwargs):
    with pytest.raises(kind, match=re.escape(message)):
        call(*args, **kwargs)


def example(shape=(6, 5), dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


# Memory -----------------------------------------------------------------------------------------

LAYOUTS = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(1, 3).contiguous().transpose(1, 3),
    "strided": lambda x: torch.stack([x, x], dim=-1)[..., 0],
    "flipped": lambda x: x.flip(0).flip(0),
    "expanded": lambda x: x[:, :1].expand(x.shape),
    "sliced": lambda x: torch.cat([x[:1], x])[1:],
}


@pytest.mark.parametrize("draws", ["cpu", "int64"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize(
    "recipe",
    [{}, {"shared_axes": (0, 2)}, {"window": Window((2, 3, 4, 1), (9, 20, 31, 9))}],
    ids=str,
)
def test_layout(layout, recipe, draws, requires_grad):
    """The mask of the logical index, and the memory format that PyTorch itself would keep."""
    x = LAYOUTS[layout](example((2, 3, 4, 5))).detach().requires_grad_(requires_grad)
    kept = torch.from_numpy(keep((2, 3, 4, 5), 0.5, seed=8, step=2, **recipe))
    mask = Mask.from_seed(x.shape, 0.5, seed=8, step=2, **recipe)
    y = TorchBackend(draws=draws).select(x, mask, 2.0)
    assert torch.equal(y, torch.where(kept, x * 2, 0))
    assert y.stride() == torch.empty_like(x).stride()
    assert y.requires_grad == requires_grad


@needs_numba
@quiet
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_compiled_kernels_take_a_tensors_memory(monkeypatch, dtype):
    """They are NumPy's, tested there; here it is that they are handed the right bytes."""
    if dtype == "bfloat16" and not available("ml_dtypes"):
        pytest.skip("ml_dtypes is not installed here; nox -s tests-torch runs this")
    monkeypatch.setattr(host, "HOST", NumpyBackend(use_numba=True))
    x = numbers((7, 33), dtype_of(dtype), np.random.default_rng(0))
    backend = TorchBackend()
    assert backend.kernel == "numba"
    for given in (x, x.T):
        expected = select(given, keep(given.shape, 0.3, seed=1), 1 / 0.7)
        tensor = backend.from_numpy(x, torch.empty(0))
        tensor = tensor if given is x else tensor.T
        y = anydrop.dropout(tensor, 0.3, seed=1)
        assert bits(backend.to_numpy(y)) == bits(expected)


@quiet
def test_bfloat16_without_ml_dtypes(monkeypatch):
    """The same bits: computed in float32 and rounded once."""
    x = torch.tensor(numbers((500,), np.dtype("f4"), np.random.default_rng(0))).bfloat16()
    expected = bits(select(x.float().numpy(), keep((500,), 0.3, seed=1), 1 / 0.7))
    expected = torch.frombuffer(bytearray(expected), dtype=torch.float32).bfloat16()
    monkeypatch.setattr(host, "BFLOAT16", None)
    y, out = anydrop.dropout(x, 0.3, seed=1), torch.empty_like(x)
    assert anydrop.dropout(x, 0.3, seed=1, out=out) is out
    layer = anydrop.Dropout(0.3, seed=1)
    layer.step = 2**64 - 3
    for _ in range(2):  # the second does the first again, where that goes
        layer(x)
    layer.step = 0
    for got in (y, out, layer(x), layer.backward(x)):
        assert torch.equal(got.isnan(), expected.isnan())
        got, wanted = (t.nan_to_num().view(torch.int16) for t in (got, expected))
        assert torch.equal(got, wanted)
    error(TypeError, "unless ml_dtypes is installed", anydrop.resolve(x).to_numpy, x)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_conjugated_and_negated_views(requires_grad):
    """Their memory holds another number than they do."""
    z = example((40,), torch.complex64) * (1 + 2j)
    kept = torch.from_numpy(keep((40,), 0.5, seed=0))
    for x in (z.conj(), z.conj().imag, torch._efficientzerotensor(40)):
        y = anydrop.dropout(x.requires_grad_(requires_grad), 0.5, seed=0)
        assert torch.equal(y, torch.where(kept, x.resolve_conj().resolve_neg() * 2, 0))


def test_kinds_of_tensors():
    class Own(torch.Tensor):
        pass

    expected = anydrop.dropout(torch.ones(40), 0.5, seed=0)
    own = torch.ones(40).as_subclass(Own)
    assert type(anydrop.dropout(own, 0.5, seed=0)) is Own
    parameter = torch.nn.Parameter(torch.ones(40))
    with torch.inference_mode():
        inference = torch.ones(40)
        assert anydrop.dropout(inference, 0.5, seed=0, out=inference).is_inference()
    for x in (own, parameter, inference.clone()):
        y = anydrop.dropout(x, 0.5, seed=0) if x is not inference else x
        assert y.shape == expected.shape
    assert torch.equal(anydrop.dropout(own, 0.5, seed=0).as_subclass(torch.Tensor), expected)
    assert torch.equal(anydrop.dropout(parameter, 0.5, seed=0), expected)
    assert torch.equal(inference, expected)
    assert not anydrop.dropout(parameter.detach(), 0.5, seed=0).requires_grad


def test_out():
    x, out = example(), torch.zeros(5, 6).T
    expected = anydrop.dropout(x, 0.5, seed=3)
    assert anydrop.dropout(x, 0.5, seed=3, out=out) is out
    assert torch.equal(out, expected)
    overlapping = torch.arange(101.0)
    expected = anydrop.dropout(overlapping[:100].clone(), 0.5, seed=3)
    anydrop.dropout(overlapping[:100], 0.5, seed=3, out=overlapping[1:])
    assert torch.equal(overlapping[1:], expected)


def test_autograd_sees_that_out_was_written_to():
    x = torch.ones(9, requires_grad=True) * 1
    y = (x**2).sum()
    with torch.no_grad():
        anydrop.dropout(x, 0.5, seed=0, out=x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


# Kernels and devices ----------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [{}, {"shared_axes": (1,)}, {"window": Window((3, 1), (70, 9))}])
def test_int64_in_pieces(monkeypatch, recipe):
    expected = keep((60, 7), 0.4, seed=5, **recipe)
    mask = Mask.from_seed((60, 7), 0.4, seed=5, **recipe)
    for chunk in (1, 7, 64, 2**16):
        monkeypatch.setattr(int64, "CHUNK", chunk)
        kept = int64.keep(mask, torch.device("cpu"))
        assert np.array_equal(kept.numpy(), expected)


def test_which_kernel_serves_a_device(monkeypatch):
    kinds = [torch.device(kind) for kind in ("cpu", "cuda", "mps", "xpu", "meta")]
    monkeypatch.setattr(operator, "_triton", lambda: object())
    assert [operator.kernel_for(d) for d in kinds] == ["cpu", "triton", *("int64",) * 3]
    monkeypatch.setattr(operator, "_triton", lambda: None)
    assert [operator.kernel_for(d) for d in kinds] == ["cpu", *("int64",) * 4]


def test_a_broken_triton_is_not_missed(tmp_path):
    (tmp_path / "triton.py").write_text("raise RuntimeError('no driver')")
    code = """
        import torch
        from anydrop.backends.torch.operator import kernel_for
        print(kernel_for(torch.device("cuda")))
    """
    assert python(code, path=[tmp_path]) == "int64"


def test_probes():
    kernels = [backend.kernel for backend, like in TorchBackend().probes()]
    assert kernels[1] == "int64"
    assert kernels[0] in ("numba", "chunked NumPy")
    assert str(TorchBackend().device(torch.empty(0))) == "cpu"


def test_torch_is_not_imported_for_numpy():
    loaded = python("""
        import sys
        import numpy as np, anydrop
        anydrop.dropout(np.ones(3), 0.5, seed=0)
        print("torch" in sys.modules)
    """)
    assert loaded == "False"


# Steps and windows that are tensors -------------------------------------------------------------


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize(
    ("given", "number"),
    [
        (torch.tensor(7), 7),
        (torch.tensor(7, dtype=torch.int32), 7),
        (torch.tensor([3, 5], dtype=torch.uint32), 3 + 5 * 2**32),
        (torch.tensor([2**32 - 1, 2**32 - 1]), 2**64 - 1),
    ],
)
def test_step(given, number, requires_grad):
    x = example().requires_grad_(requires_grad)
    expected = torch.where(torch.from_numpy(keep((6, 5), 0.5, seed=3, step=number)), x * 2, 0)
    assert torch.equal(anydrop.dropout(x, 0.5, seed=3, step=given), expected)
    kept = Mask.from_seed((6, 5), 0.5, seed=3, step=given).keep(like=x)
    assert torch.equal(kept, expected != 0)


def test_offset():
    x = example((20,))
    expected = anydrop.dropout(x, 0.5, seed=3, window=Window((2**35,), (2**40,)))
    window = Window((torch.tensor(2**35),), (2**40,))
    assert torch.equal(anydrop.dropout(x, 0.5, seed=3, window=window), expected)


def test_a_layer_whose_step_is_a_tensor():
    step = torch.tensor(0)
    drop, other = Dropout(0.5, seed=3), Dropout(0.5, seed=3)
    drop.step = step
    for _ in range(3):
        assert torch.equal(drop(example()), other(example()))
        assert torch.equal(drop.mask, other.mask)
    assert drop.state_dict() == other.state_dict()
    assert step == 0


# Generators -------------------------------------------------------------------------------------


def test_generator():
    """The numbers that one call of torch.rand gives in double precision."""
    x = torch.ones(70, 30)
    rng = torch.Generator().manual_seed(7)
    y, mask = anydrop.dropout(x, 0.3, rng=rng, return_mask=True)
    uniform = torch.rand(70, 30, generator=rng.manual_seed(7), dtype=torch.float64)
    assert torch.equal(y, torch.where(uniform < 0.7, torch.tensor(1 / 0.7), 0))
    assert torch.equal(mask.keep(like=x), uniform < 0.7)
    assert mask.bits.dtype == torch.uint8
    assert mask.bits.numel() == 263
    assert torch.equal(mask.apply(x), y)
    assert torch.equal(torch.from_numpy(mask.apply(x.numpy())), y)


def test_a_layer_with_a_generator_can_be_copied():
    drop = Dropout(0.5, rng=torch.Generator().manual_seed(7))
    drop(example())
    assert torch.equal(copy.deepcopy(drop)(example()), drop(example()))


def test_rng_of_another_kind():
    message = "rng must be a torch.Generator for a PyTorch tensor, got int 42; a seed goes to seed="
    error(TypeError, message, anydrop.dropout, example(), 0.5, rng=42)
    rng = np.random.default_rng(0)
    error(TypeError, "got numpy.random._gen", anydrop.dropout, example(), 0.5, rng=rng)


def test_generator_of_another_device():
    x = torch.empty(3, device="meta")
    message = (
        "rng must be a generator of the tensor's device, meta, got one of cpu: "
        "make it with torch.Generator('meta')"
    )
    error(ValueError, message, anydrop.dropout, x, 0.5, rng=torch.Generator())


# Errors -----------------------------------------------------------------------------------------


def test_dtype():
    for dtype in (torch.int32, torch.bool, torch.float8_e4m3fn):
        message = f"got dtype {str(dtype).removeprefix('torch.')}; convert it first"
        error(TypeError, message, anydrop.dropout, torch.ones(3).to(dtype), 0.5, seed=0)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_layout_without_dropout():
    message = "dropout needs a dense tensor, got one of layout torch.sparse_coo; convert it first"
    error(TypeError, message, anydrop.dropout, torch.eye(3).to_sparse(), 0.5, seed=0)
    message = "dropout needs a dense tensor, got a nested one"
    for layout in (torch.jagged, torch.strided):
        nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout)
        error(TypeError, message, anydrop.dropout, nested, 0.5, seed=0)
    jagged = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    values = anydrop.dropout(jagged.values(), 0.5, seed=0)  # as the message says
    back = torch.nested.nested_tensor_from_jagged(values, jagged.offsets())
    assert torch.equal(torch.cat(back.unbind()), anydrop.dropout(torch.ones(5), 0.5, seed=0))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("training", [True, False])
def test_second_tensors_that_are_not_dense(training):
    """Though they have the shape and the dtype of x."""
    x = torch.eye(3)
    kinds = {
        "torch.sparse_coo": x.to_sparse(),
        "torch._mkldnn": x.to_mkldnn(),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    }
    for kind, other in kinds.items():
        for name in ("residual", "bias", "out"):
            arguments = {"residual": x, name: other, "seed": 0, "training": training}
            message = f"{name} must be a dense tensor, got a {kind} one: convert it first"
            error(ValueError, message, anydrop.dropout_add, x, **arguments)


def test_a_p_that_is_a_tensor():
    message = "p must be a real number with 0 <= p < 1, got torch.Tensor tensor(0.5000): p can't"
    error(TypeError, message, anydrop.dropout, example(), torch.tensor(0.5), seed=0)


def test_out_that_can_not_be():
    x, grad = example(), example().requires_grad_()
    cases = [
        (x, example((5, 6)), "out must have the shape of x"),
        (x, x.double(), "out must have the dtype of x, float32, got float64"),
        (x, x.to("meta"), "out must have the device of x, cpu, got meta"),
        (x, np.zeros((6, 5), "f4"), "out must be of the library of x, torch, got numpy.ndarray"),
        (x, torch.zeros(5).expand(6, 5), "out must have memory of its own for every element"),
        (grad, x, "out= of tensors that require grad must be x itself"),
        (x, grad, "leave it out, or call under torch.no_grad()"),
    ]
    for given, out, message in cases:
        error(ValueError, message, anydrop.dropout, given, 0.5, seed=0, out=out)
    with torch.no_grad():
        assert anydrop.dropout(grad, 0.5, seed=0, out=x) is x


@pytest.mark.parametrize("requires_grad", [False, True])
def test_step_of_another_kind(requires_grad):
    x = example().requires_grad_(requires_grad)
    message = "step must satisfy 0 <= step < 2**64, got -1"
    error(ValueError, message, anydrop.dropout, x, 0.5, seed=0, step=torch.tensor(-1))
    message = "step must be an int, or an integer array, got torch.Tensor of dtype torch.float32"
    for device in ("cpu", "meta"):
        step = torch.tensor(1.0, device=device)
        error(TypeError, message, anydrop.dropout, x, 0.5, seed=0, step=step)
