"""Which mask a recompute draws, a step that is said, masks under vmap, and what they refuse."""

import copy
import threading

import numpy as np
import pytest
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from situations import COLUMNS
from situations.checkpoints import around
from situations.trial import N, Net, SilentError, Trial, all_differ, masks
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

import anydrop.torch
from anydrop.schedules import Linear
from anydrop.torch import Dropout, DropPath, draws, steps

STOCK, *OURS = COLUMNS.values()
UNSEEDED, SEEDED = OURS
ONES = torch.ones(N)
REENTRANT = pytest.mark.parametrize("reentrant", [False, True])
MAKE = pytest.mark.parametrize("make", OURS)


def expected(step, seed=1):
    return torch.from_numpy(anydrop.dropout(np.ones(N, "f4"), 0.5, seed=seed, step=step))


# Tokens ------------------------------------------------------------------------------------------


@MAKE
@REENTRANT
def test_forwards_that_were_forgotten_are_refused(make, reentrant, monkeypatch):
    monkeypatch.setattr(draws, "MEMORY", 4)
    trial = Trial(Net(make))
    for _ in range(5):
        trial.forward(around(trial.net, use_reentrant=reentrant))
    for _, y in trial.runs[1:]:
        y.sum().backward()
    with pytest.raises(RuntimeError, match="none of this module's last 4 forwards began"):
        trial.runs[0][1].sum().backward()


@REENTRANT
def test_a_generator_that_was_seeded_alike_before_two_forwards(reentrant):
    def run(make):
        trial = Trial(Net(make))
        for _ in range(2):
            torch.manual_seed(5)
            trial.forward(around(trial.net, use_reentrant=reentrant))
        trial.backward()
        trial.judge()

    for make in (STOCK, UNSEEDED):
        with pytest.raises(SilentError, match="repeats a mask"):
            run(make)
    with pytest.raises(RuntimeError, match="several forwards began in this state"):
        run(SEEDED)


@MAKE
def test_a_generator_that_is_not_restored_is_refused(make):
    trial = Trial(Net(make))
    y = trial.forward(around(trial.net, preserve_rng_state=False))
    with pytest.raises(RuntimeError, match=r"preserve_rng_state=True.*module\(x, step=t\)"):
        y.sum().backward()


@MAKE
def test_a_refused_recompute_leaves_the_count(make):
    module = make(1)
    y = checkpoint(
        lambda x: module(x) * x,
        ONES.clone().requires_grad_(),
        use_reentrant=False,
        preserve_rng_state=False,
    )
    before = module.step
    with pytest.raises(RuntimeError, match="checkpoint's second run"):
        y.sum().backward()
    assert module.step == before


@REENTRANT
def test_a_recompute_spends_no_step(reentrant):
    trial = Trial(Net(SEEDED))
    trial.step(around(trial.net, use_reentrant=reentrant), times=4)
    trial.judge()
    assert trial.net.one.step == trial.net.two.step == 4


# A step that is said -----------------------------------------------------------------------------


def eager(call):
    return call


def checkpointed(call):
    return lambda *x: checkpoint(call, *x, use_reentrant=False)


def without_the_generator(call):
    return lambda *x: checkpoint(call, *x, use_reentrant=False, preserve_rng_state=False)


def compiled(call):
    return torch.compile(call, backend="aot_eager", fullgraph=True)


@pytest.mark.parametrize("way", [eager, checkpointed, without_the_generator, compiled])
@pytest.mark.parametrize("kind", [int, torch.tensor])
def test_a_step_is_said(way, kind):
    torch.compiler.reset()
    module, w = Dropout(0.5, seed=1), ONES.clone().requires_grad_()
    call = way(lambda x, step: module(x, step=step) * w)
    for step in (7, 0, 2**40, 7):
        x = ONES.clone().requires_grad_()
        y = call(x, kind(step))
        y.sum().backward()
        assert torch.equal(y, expected(step))
        assert torch.equal(x.grad, y)
        assert torch.equal(w.grad, y)
        w.grad = None
    assert module.step == 0


def test_a_step_that_is_a_tensor_compiles_once():
    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    module = Dropout(0.5, seed=1)
    call = torch.compile(lambda x, t: module(x, step=t), backend=counter, fullgraph=True)
    for step in range(12):
        assert torch.equal(call(ONES, torch.tensor(step)), expected(step))
    assert counter.frame_count == 1


def test_a_compiled_program_with_a_step_follows_seed_place_and_copy():
    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    module = Dropout(0.5, seed=1)
    twin = copy.deepcopy(module)
    calls = {
        m: torch.compile(m, backend=counter, fullgraph=True, dynamic=False) for m in (module, twin)
    }

    def check():
        for m, call in calls.items():
            y = anydrop.dropout(ONES, 0.5, seed=m.seed, step=7)
            assert torch.equal(call(ONES, step=torch.tensor(7)), y)

    check()
    module.reseed(5)
    check()
    module.reseed(5, "a.place")
    check()
    twin.reseed(np.random.SeedSequence(3, spawn_key=(1, 2)))
    check()
    assert counter.frame_count == 1


def test_a_module_without_a_seed_takes_no_step():
    with pytest.raises(TypeError, match=r"has none: make it with Dropout\(\.\.\., seed=0\)"):
        Dropout(0.5)(ONES, step=3)


@REENTRANT
def test_a_recompute_after_a_block_has_ended_draws_the_mask_of_its_forward(reentrant):
    trial = Trial(Net(SEEDED))
    call = around(trial.net, use_reentrant=reentrant)
    for step in (7, 3):
        with steps(trial.net, step):
            y = trial.forward(call)
        assert torch.equal(y, expected(step, 1) + 8 * expected(step, 2))
    trial.forward(call)
    trial.backward()
    trial.judge()
    assert trial.net.one.step == 1


@REENTRANT
def test_a_recompute_within_a_block(reentrant):
    trial = Trial(Net(SEEDED))
    for step in (7, 3):
        with steps(trial.net, step):
            trial.step(around(trial.net, use_reentrant=reentrant), times=1)
    trial.judge()
    assert trial.net.one.step == 0


def test_a_second_call_within_a_block_is_refused():
    net = Net(SEEDED, shared=True)
    with steps(net, 7), pytest.raises(RuntimeError, match=r"a second time within one block.*step="):
        net(ONES)
    assert torch.equal(net.one(ONES), expected(0))


def test_a_block_around_a_compiled_model():
    torch.compiler.reset()
    trial = Trial(Net(SEEDED))
    call = compiled(trial.net)
    for step in (7, 3, 5):
        with steps(trial.net, step):
            y = trial.forward(call)
        assert torch.equal(y, expected(step, 1) + 8 * expected(step, 2))
    trial.backward()
    trial.judge()
    assert trial.net.one.step == 0


def test_blocks_within_a_block():
    module = Dropout(0.5, seed=1)
    with steps(module, 7):
        with steps(module, 3):
            assert torch.equal(module(ONES), expected(3))
        assert torch.equal(module(ONES), expected(7))
    assert torch.equal(module(ONES), expected(0))


# Several models, and threads ---------------------------------------------------------------------


@MAKE
def test_gradients_are_accumulated_over_microbatches(make):
    trial = Trial(Net(make))
    for _ in range(3):
        for _ in range(4):
            (trial.forward(around(trial.net)).sum() / 4).backward()
    for x, y in trial.runs:
        assert torch.equal(x.grad, y / 4)
    assert torch.equal(trial.net.w.grad + trial.net.v.grad, sum(y for _, y in trial.runs) / 4)
    all_differ(mask for _, y in trial.runs for mask in masks(y))


@MAKE
def test_two_models_take_turns(make):
    trials = [Trial(Net(lambda seed, n=n: make(seed + 2 * n))) for n in range(2)]
    for _ in range(3):
        for trial in trials:
            trial.forward(around(trial.net))
    for trial in reversed(trials):
        trial.backward()
        trial.judge()
    all_differ(mask for trial in trials for _, y in trial.runs for mask in masks(y))


def in_threads(functions):
    """Run functions at once; raise what one of them raised."""
    barrier, errors = threading.Barrier(len(functions)), []

    def run(function):
        try:
            barrier.wait(timeout=60)
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def test_threads_that_share_a_module_draw_each_step_once():
    module, drawn = Dropout(0.5, seed=1), [[], []]
    in_threads([lambda ys=ys: ys.extend(module(ONES) for _ in range(200)) for ys in drawn])
    assert module.step == 400
    found = sorted(tuple(y.tolist()) for ys in drawn for y in ys)
    assert found == sorted(tuple(expected(step).tolist()) for step in range(400))


@MAKE
def test_threads_with_models_of_their_own(make):
    """Without checkpoints, each of which sets the one generator of all threads back."""
    trials = [Trial(Net(lambda seed, n=n: make(seed + 2 * n))) for n in range(2)]
    in_threads([lambda trial=trial: trial.step(times=50) for trial in trials])
    for trial in trials:
        trial.judge()


@pytest.mark.parametrize(
    "begin", [lambda m: m.load_state_dict(m.state_dict()), lambda m: m.reseed(1)]
)
def test_a_step_that_is_said_survives_what_sets_the_count(begin):
    drop = Dropout(0.5, seed=1)
    with steps(drop, 7):
        begin(drop)
        torch.testing.assert_close(drop(ONES), expected(7), rtol=0, atol=0)
    assert drop.step == 0


@MAKE
@REENTRANT
def test_eval_between_forward_and_recompute_is_refused(make, reentrant):
    drop = make(1)
    x = torch.ones(N, requires_grad=True)
    y = checkpoint(lambda v: drop(v) * v, x, use_reentrant=reentrant)
    drop.eval()
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match=r"call eval\(\) after the backward pass"):
        y.sum().backward()
    assert torch.equal(torch.get_rng_state(), before)
    y = checkpoint(lambda v: drop(v) * v, x, use_reentrant=reentrant)
    y.sum().backward()
    assert torch.equal(x.grad, 2 * x.detach())


# Under torch.vmap ---------------------------------------------------------------------------------

ROWS = torch.ones(3, 4096)
RANDOMNESS = pytest.mark.parametrize("randomness", ["same", "different"])
RUN = pytest.mark.parametrize("run", [torch.vmap, lambda *a, **k: compiled(torch.vmap(*a, **k))])


def compiled(function):
    return torch.compile(function, backend="aot_eager", fullgraph=True)


@RANDOMNESS
def test_a_schedule_follows_the_count_and_not_the_random_step(randomness):
    drop = Dropout(Linear(0.0, 0.8, steps=4), seed=0)
    for expected in (0.0, 0.2, 0.4, 0.6, 0.8):
        y = torch.vmap(drop, randomness=randomness)(ROWS)
        assert abs((y == 0).double().mean() - expected) < 0.05


@RANDOMNESS
@RUN
def test_a_step_that_is_said_does_not_become_a_random_one(randomness, run):
    drop = Dropout(0.5, seed=0)
    with (
        steps(drop, 7),
        pytest.raises(RuntimeError, match=r"steps does not work.*module\(x, step=t\)"),
    ):
        run(drop, randomness=randomness)(ROWS)
    y = run(lambda x: drop(x, step=7), randomness=randomness)(ROWS)
    for row in y:
        np.testing.assert_array_equal(
            row, anydrop.dropout(np.ones(4096, "f4"), 0.5, seed=0, step=7)
        )
    assert drop.step == 0


@pytest.mark.parametrize("make", [Dropout, DropPath])
@RUN
def test_monte_carlo_refuses_masks_that_do_not_follow_its_seed(make, run):
    model = nn.Sequential(make(0.5), nn.Flatten(0))
    mapped = run(model, randomness="different")
    with pytest.raises(RuntimeError, match=r"without torch\.vmap"):
        anydrop.monte_carlo(mapped, ROWS, samples=2, seed=0, layers=[model[0]])


def test_a_rank_that_changes_before_the_recompute_is_refused():
    """The recompute would find its step, and draw the mask of another key."""
    drop = anydrop.torch.Dropout(0.5, seed=0, per_rank=0)
    x = torch.ones(64, requires_grad=True)
    y = checkpoint(lambda x: drop(x).square(), x, use_reentrant=False)
    drop.per_rank = 3
    with pytest.raises(RuntimeError, match="none of this module's last"):
        y.sum().backward()
    assert drop.step == 1


def test_a_block_ends_also_where_a_state_was_loaded_within():
    drop = anydrop.torch.Dropout(0.5, seed=0)
    state = drop.state_dict()
    with anydrop.torch.steps(drop, 7):
        drop.load_state_dict(state)
    x = torch.ones(64)
    for step in range(2):
        assert torch.equal(drop(x), anydrop.dropout(x, 0.5, seed=0, step=step))
