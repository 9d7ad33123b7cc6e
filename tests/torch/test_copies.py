"""Copies of modules: which draw masks of their own, and which draw the same ones."""

import copy
import io
import itertools
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from process import python
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )
import torch
from torch import multiprocessing, nn
from torch.utils.checkpoint import checkpoint

from anydrop.torch import Dropout

X = torch.ones(4000)


def assert_unlike(ys):
    """Two independent masks at p = 0.5 agree in half of 4000 places, give or take 6.3 sigma."""
    for a, b in itertools.combinations(ys, 2):
        assert 1800 < (a == b).sum() < 2200


# Deep copies --------------------------------------------------------------------------------------


def family():
    """Return a module, copies, a copy of a copy, and one of a model that holds it twice."""
    drop = Dropout(0.5, seed=0)
    first, second = copy.deepcopy(drop), copy.deepcopy(drop)
    model = copy.deepcopy(nn.Sequential(drop, drop))
    assert model[0] is model[1]
    return [drop, first, second, copy.deepcopy(first), copy.deepcopy(second), model[0]]


def test_deep_copies_draw_masks_of_their_own_the_same_in_each_run():
    ys = [drop(X) for drop in family()]
    assert_unlike(ys)
    assert torch.equal(ys[0], anydrop.dropout(X, 0.5, seed=0, step=0))
    torch.manual_seed(5)
    assert all(torch.equal(drop(X), y) for drop, y in zip(family(), ys, strict=True))
    for drop, y in zip(family(), ys, strict=True):
        assert torch.equal(anydrop.dropout(X, 0.5, seed=drop.seed, step=0), y)


def test_deep_copies_are_the_same_in_another_process():
    program = """
        import copy, hashlib, torch, anydrop.torch
        drop = anydrop.torch.Dropout(0.5, seed=0)
        both = [copy.deepcopy(drop), copy.deepcopy(copy.deepcopy(drop))]
        print([hashlib.sha256(d(torch.ones(4000)).numpy().tobytes()).hexdigest() for d in both])
    """
    assert python(program) == python(program)


def test_a_deep_copy_begins_at_the_step_of_its_original_and_counts_by_itself():
    drop = Dropout(0.5, seed=0)
    drop.step = 5
    copied = copy.deepcopy(drop)
    drop(X)
    assert (drop.step, copied.step) == (6, 5)
    y = copied(X)
    assert (drop.step, copied.step) == (6, 6)
    assert torch.equal(y, anydrop.dropout(X, 0.5, seed=copied.seed, step=5))


def test_a_deep_copy_is_a_copy():
    drop = Dropout(0.25, inplace=True, seed=(1, 2), per_rank=3).eval()
    drop.note, drop.inner = ["mine"], nn.Linear(2, 2)
    copied = copy.deepcopy(drop)
    assert copied.note == ["mine"]
    assert copied.note is not drop.note
    assert copied.inner.weight is not drop.inner.weight
    assert (copied.p, copied.inplace, copied.training) == (0.25, True, False)
    assert "seed=(1, 2), copy=0, per_rank=3, step=0" in repr(copied)
    assert copied.handle != drop.handle


@pytest.mark.parametrize("way", ["eager", "compiled"])
def test_the_layers_of_an_encoder_draw_masks_of_their_own(way):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    layer.dropout = Dropout(0.5, seed=0)
    encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    drops = nn.ModuleList(layer.dropout for layer in encoder.layers)

    def each(x):
        return [drop(x) for drop in drops]

    forward = (
        torch.compile(each, backend="aot_eager", fullgraph=True) if way == "compiled" else each
    )
    ys = [*forward(X), *forward(X)]
    assert_unlike(ys)
    expected = [anydrop.dropout(X, 0.5, seed=d.seed, step=t) for t in range(2) for d in drops]
    assert all(map(torch.equal, ys, expected))


def test_deep_copies_without_a_seed_differ_by_themselves():
    drop = Dropout(0.5)
    copied = copy.deepcopy(drop)
    assert_unlike([drop(X), copied(X), copied(X)])
    torch.manual_seed(0)
    y = drop(X)
    torch.manual_seed(0)
    assert torch.equal(copied(X), y)


def test_a_copy_that_was_made_between_passes_does_not_disturb_them():
    """A checkpoint's second run draws the mask of the first, and the copy knows of neither."""
    drop, weight = Dropout(0.5, seed=0), X.clone().requires_grad_()
    y = checkpoint(lambda w: drop(w) * w, weight, use_reentrant=False)
    copied = copy.deepcopy(drop)
    copied(X)
    y.sum().backward()
    assert torch.equal(weight.grad, 2 * y.detach())
    assert (drop.step, copied.step) == (1, 2)


# The same module once more ------------------------------------------------------------------------


def by_torch_save(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def by_pickle(module):
    return pickle.loads(pickle.dumps(module))


SAME = [by_pickle, by_torch_save, copy.copy]


@pytest.mark.parametrize("same", SAME, ids=lambda same: same.__name__)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_pickles_and_shallow_copies_keep_everything(same, compiled):
    drop = copy.deepcopy(Dropout(0.25, seed=(1, 2), per_rank=1))
    anydrop.seed_layers({"a": drop}, 3)
    for original in (drop, copy.deepcopy(drop)):
        original.step = 7
        twin = same(original)
        assert repr(twin) == repr(original)
        assert twin.state_dict().keys() == original.state_dict().keys()
        call = torch.compile(twin, backend="aot_eager") if compiled else twin
        for step in (7, 8):
            y = call(X)
            assert (twin.step, original.step) == (step + 1, step)  # each counts by itself
            assert torch.equal(original(X), y)
        # What is copied of each is numbered alike.
        assert torch.equal(copy.deepcopy(twin)(X), copy.deepcopy(original)(X))


@pytest.mark.parametrize("same", SAME, ids=lambda same: same.__name__)
def test_pickles_and_shallow_copies_without_a_seed(same):
    drop = Dropout(0.25)
    twin = same(drop)
    assert (twin.step, twin.seed, twin.state_dict()) == (None, None, {})
    torch.manual_seed(0)
    y = drop(X)
    torch.manual_seed(0)
    assert torch.equal(twin(X), y)


# Other processes ----------------------------------------------------------------------------------


def draw(drop, queue):
    queue.put([drop(X).tolist(), drop.step])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")  # of JAX, where another test ran it
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_module_in_another_process(method):
    """It goes on there by itself, with the same masks."""
    context = multiprocessing.get_context(method)
    drop = copy.deepcopy(Dropout(0.5, seed=0))
    drop(X)
    queue = context.Queue()
    process = context.Process(target=draw, args=(drop, queue))
    process.start()
    y, step = queue.get(timeout=120)
    process.join()
    assert (step, drop.step) == (2, 1)
    assert drop(X).tolist() == y


# DataParallel -------------------------------------------------------------------------------------


def test_replicas_with_a_seed_are_refused_in_training():
    """PyTorch makes them like this on each GPU, and calls them in threads."""
    drop = Dropout(0.5, seed=0)
    message = (
        "DataParallel runs copies of a module in threads, and they would share its step: use "
        "DistributedDataParallel, or a module without a seed"
    )
    with pytest.raises(RuntimeError, match=re.escape(message)):
        drop._replicate_for_data_parallel()
    replica = drop.eval()._replicate_for_data_parallel()
    assert replica(X) is X


def test_replicas_without_a_seed_draw_masks_of_their_own():
    drop = Dropout(0.5)
    replicas = [drop._replicate_for_data_parallel() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        ys = list(pool.map(lambda replica: replica(X), replicas))
    assert_unlike(ys)
    weight = X.clone().requires_grad_()
    y = replicas[0](weight)
    y.sum().backward()
    assert torch.equal(weight.grad, y.detach())
