"""A resumed run equals the unbroken one, whichever tool saved the model."""

import copy

import pytest
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint import state_dict as dcp_state
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from anydrop.torch import Dropout

# What PyTorch says of its distributed checkpoints in one process, and of its own calls.
pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning"),
    pytest.mark.filterwarnings("ignore:FSDP is switching to use `NO_SHARD`:UserWarning"),
    pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:Please use DTensor instead:FutureWarning"),
]

WAYS = ["eager", "compiled", "checkpointed", "reentrant"]


class Model(nn.Module):
    """Two blocks with dropout; one has two masks a forward."""

    def __init__(self, seed=0, way="eager"):
        super().__init__()
        seeds = (None, None) if seed is None else (seed, (seed, 1))
        self.first = nn.Sequential(nn.Linear(6, 16), Dropout(0.5, seed=seeds[0]), nn.Tanh())
        self.second = nn.Sequential(nn.Linear(16, 16), Dropout(0.3, seed=seeds[1]))
        self.way = way

    def forward(self, x):
        x = self.first(x)
        for _ in range(2):
            if self.way in {"checkpointed", "reentrant"}:
                x = checkpoint(self.second, x, use_reentrant=self.way == "reentrant")
            else:
                x = self.second(x)
        return x


def made(way, seed=0):
    torch.manual_seed(0)
    return Model(seed, way)


def optimizer_of(model):
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def train(model, optimizer, begin, end):
    """Return what the model's forwards returned: its masks, and its weights after each step."""
    forward = torch.compile(model, backend="aot_eager") if model.way == "compiled" else model
    outputs = []
    for t in range(begin, end):
        optimizer.zero_grad()
        y = forward(torch.randn(5, 6, generator=torch.Generator().manual_seed(t)))
        y.square().sum().backward()
        optimizer.step()
        outputs.append(y.detach())
    return outputs


def by_state(model, way, seed, folder):
    new = made(way, seed)
    new.load_state_dict(model.state_dict())
    return new


def by_file(model, way, seed, folder):
    torch.save(model.state_dict(), folder / "state.pt")
    new = made(way, seed)
    new.load_state_dict(torch.load(folder / "state.pt", weights_only=True), assign=True)
    return new


def by_mapped_file(model, way, seed, folder):
    torch.save(model.state_dict(), folder / "state.pt")
    with torch.device("meta"):
        new = Model(seed, way)
    state = torch.load(folder / "state.pt", mmap=True)
    new.load_state_dict(state, assign=True)
    return new


def by_pickle(model, way, seed, folder):
    torch.save(model, folder / "model.pt")
    return torch.load(folder / "model.pt", weights_only=False)


def by_safetensors(model, way, seed, folder):
    safetensors.torch.save_file(model.state_dict(), folder / "state.safetensors")
    new = made(way, seed)
    new.load_state_dict(safetensors.torch.load_file(folder / "state.safetensors"))
    return new


def by_safetensors_model(model, way, seed, folder):
    safetensors.torch.save_model(model, str(folder / "model.safetensors"))
    new = made(way, seed)
    missing = safetensors.torch.load_model(new, str(folder / "model.safetensors"))
    assert missing == (set(), [])
    return new


def by_dcp(model, way, seed, folder):
    dcp.save({"model": model.state_dict()}, checkpoint_id=folder)
    new = made(way, seed)
    state = {"model": new.state_dict()}
    dcp.load(state, checkpoint_id=folder)
    new.load_state_dict(state["model"])
    return new


def by_dcp_of_model(model, way, seed, folder):
    dcp.save({"model": dcp_state.get_model_state_dict(model)}, checkpoint_id=folder)
    new = made(way, seed)
    state = {"model": dcp_state.get_model_state_dict(new)}
    dcp.load(state, checkpoint_id=folder)
    missing = dcp_state.set_model_state_dict(new, state["model"])
    assert missing == ([], [])
    return new


def by_full_state(model, way, seed, folder):
    options = dcp_state.StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = dcp_state.get_model_state_dict(model, options=options)
    new = made(way, seed)
    dcp_state.set_model_state_dict(new, state, options=options)
    return new


TOOLS = [
    *(by_state, by_file, by_mapped_file, by_pickle, by_safetensors, by_safetensors_model),
    *(by_dcp, by_dcp_of_model, by_full_state),
]


@pytest.mark.parametrize("seed", [0, None], ids=["seed", "no seed"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_a_resumed_run_equals_the_unbroken_one(tool, way, seed, tmp_path):
    unbroken = made(way, seed)
    outputs = train(unbroken, optimizer_of(unbroken), 0, 6)

    model = made(way, seed)
    optimizer = optimizer_of(model)
    assert all(map(torch.equal, train(model, optimizer, 0, 3), outputs[:3]))
    # Without a seed the state of PyTorch's generator says the masks; with one it plays no part.
    generator = torch.get_rng_state()
    new = tool(model, way, seed, tmp_path)
    saved = optimizer.state_dict()
    optimizer = optimizer_of(new)
    optimizer.load_state_dict(copy.deepcopy(saved))
    if seed is None:
        torch.set_rng_state(generator)
    else:
        assert (new.first[1].step, new.second[1].step) == (3, 6)
        torch.manual_seed(99)
    assert all(map(torch.equal, train(new, optimizer, 3, 6), outputs[3:]))
    assert all(map(torch.equal, new.parameters(), unbroken.parameters()))


def test_that_masks_of_another_seed_are_seen():
    """If these were equal, the test above could not fail."""
    one, other = made("eager", 0), made("eager", 1)
    runs = [train(model, optimizer_of(model), 0, 1)[0] for model in (one, other)]
    assert not torch.equal(*runs)


@pytest.mark.parametrize("seed", [0, None], ids=["seed", "no seed"])
def test_a_state_has_one_key_for_a_module_with_a_seed(seed):
    keys = set(made("eager", seed).state_dict())
    weights = {f"{name}.0.{kind}" for name in ("first", "second") for kind in ("weight", "bias")}
    steps = set() if seed is None else {"first.1.step", "second.1.step"}
    assert keys == weights | steps
    assert not list(made("eager", seed).buffers())


@pytest.mark.parametrize("buffers", [False, True])
def test_an_average_of_a_model_goes_on(buffers):
    """The average is a deep copy, whose masks nobody draws until somebody trains it."""

    def averaged(model):
        return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=buffers)

    def run(model, average, begin, end):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for t in range(begin, end):
            train(model, optimizer, t, t + 1)
            average.update_parameters(model)

    unbroken = made("eager")
    average = averaged(unbroken)
    run(unbroken, average, 0, 6)

    model = made("eager")
    before = averaged(model)
    run(model, before, 0, 3)
    new = made("eager")
    after = averaged(new)
    new.load_state_dict(model.state_dict())
    after.load_state_dict(before.state_dict())
    run(new, after, 3, 6)
    assert all(map(torch.equal, after.parameters(), average.parameters()))
    x = torch.ones(5, 6)
    assert torch.equal(after(x), average(x))  # masks of the copy's own
    assert (average.module.first[1].step, unbroken.first[1].step) == (1, 6)
    # The average's weights go back to a model, and to one with PyTorch's dropout.
    new.load_state_dict(after.module.state_dict())


def test_a_distributed_checkpoint_of_a_group(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        model = made("eager")
        train(model, optimizer_of(model), 0, 3)
        wrapped = nn.parallel.DistributedDataParallel(model)
        state = dcp_state.get_model_state_dict(wrapped)
        assert {"first.1.step", "second.1.step"} <= set(state)
        for load in (by_dcp, by_dcp_of_model):
            new = load(model, "eager", 0, tmp_path / load.__name__)
            assert (new.first[1].step, new.second[1].step) == (3, 6)
        sharded = FullyShardedDataParallel(copy.deepcopy(model), device_id=torch.device("cpu"))
        for wrapper in (wrapped, sharded):
            assert list(anydrop.seed_layers(wrapper, 0)) == ["first.1", "second.1"]
    finally:
        torch.distributed.destroy_process_group()
