"""The table of situations: what it says is what is measured, and ours is never silently wrong."""

import json

import pytest
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from situations import COLUMNS, FILE, REFUSED, RIGHT, SITUATIONS, text, verdict

import anydrop

TABLE = json.loads(FILE.read_text(encoding="utf-8"))
STOCK, *OURS = COLUMNS
# What modules of ours say where they refuse: nothing is refused by accident.
WORDS = (
    "let the checkpoint restore the state (preserve_rng_state=True, the default)",
    "call torch.manual_seed once and not before each forward",
    "trace it in eval mode, or use torch.export or torch.compile",
    "torch.jit.script",
)
# Where a module without a seed does as PyTorch's generator was told, and as nn.Dropout does.
FOLLOWS = {
    "same_manual_seed_each_step",
    "same_manual_seed_before_two_forwards",
    "same_masks_whatever_torch_seed",
    "resume_without_rng",
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_table_says_what_is_measured(name):
    measured = {column: verdict(name, make) for column, make in COLUMNS.items()}
    assert TABLE[name] == {"situation": text(name), **measured}


def test_the_table_has_no_other_situations():
    assert list(TABLE) == list(SITUATIONS)


@pytest.mark.parametrize("name", SITUATIONS)
def test_ours_is_right_or_refuses_in_words(name):
    for column in OURS:
        found = TABLE[name][column]
        if column == "Dropout(p)" and name in FOLLOWS:
            assert found == TABLE[name][STOCK] == "follows the generator"
        elif found != RIGHT:
            assert found.startswith(REFUSED)
            assert any(words in found for words in WORDS), found


class Frozen(torch.nn.Module):
    """One mask for ever."""

    def __init__(self, seed):
        super().__init__()
        self.seed, self.step = seed, 0

    def forward(self, x):
        if not self.training:
            return x
        return anydrop.dropout(x, 0.5, seed=self.seed, step=self.next())

    def next(self):
        return self.step


class Counting(Frozen):
    """Each call counts, a checkpoint's second run too."""

    def next(self):
        self.step += 1
        return self.step


class Buffered(torch.nn.Module):
    """The count is a buffer, which is changed in place."""

    def __init__(self, seed):
        super().__init__()
        self.seed = seed
        self.register_buffer("step", torch.tensor(0))

    def forward(self, x):
        self.step.add_(1)
        return anydrop.dropout(x, 0.5, seed=self.seed, step=self.step)


# Inductor's situations are those of the other backend; nn.Dropout is what differs from eager there.
FAST = [name for name in SITUATIONS if "inductor" not in name and "equals_eager" not in name]


@pytest.mark.parametrize("name", FAST)
def test_each_situation_finds_a_module_that_is_wrong(name):
    found = {make.__name__: verdict(name, make) for make in (Frozen, Counting, Buffered)}
    assert any(one != RIGHT for one in found.values()), found


@pytest.mark.parametrize("name", [name for name in SITUATIONS if name.startswith("ckpt")])
def test_a_module_that_counts_each_run_has_wrong_gradients_in_checkpoints(name):
    assert verdict(name, Counting) in ("wrong gradients", "repeats a mask")
