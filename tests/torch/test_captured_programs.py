"""CUDA graphs that are captured by hand: without a GPU, PyTorch's two questions are answered."""

import pytest
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch

import anydrop.torch


@pytest.mark.parametrize("seed", [None, 0])
def test_a_compiled_program_is_refused(monkeypatch, seed):
    drop = anydrop.torch.Dropout(0.5, seed=seed)
    program = torch.compile(drop, fullgraph=True, backend="aot_eager")
    program(torch.ones(4))
    step = drop.step
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_initialized", lambda: True)
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
        with pytest.raises(RuntimeError, match="leave the program out of the graph"):
            program(torch.ones(4))
    assert drop.step == step
    program(torch.ones(4))
