"""Dropout within a dataset: workers are copies, so the step comes from the index and the epoch."""

import pytest
from process import python
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )


@pytest.mark.parametrize("persistent_workers", [False, True])
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_the_recipe(context, persistent_workers):
    printed = python(f"""
        if __name__ == "__main__":
            import torch, anydrop
            from data_sets import N, Dropped, rows
            found = rows(
                Dropped(torch.ones(N, 64)), multiprocessing_context={context!r},
                persistent_workers={persistent_workers},
            )
            one = lambda step: anydrop.dropout(torch.ones(64), 0.5, seed=0, step=step)
            expected = [one(step) for step in range(2 * N)]
            print(torch.equal(torch.stack(found), torch.stack(expected)))
    """)  # fmt: skip
    assert printed == "True"


def test_why_it_is_needed():
    printed = python("""
        import torch
        from data_sets import N, Counting, rows
        found = rows(Counting(torch.ones(N, 64)), multiprocessing_context="fork")
        print(len(found), len({tuple(row.tolist()) for row in found}))
    """)  # fmt: skip
    rows, masks = map(int, printed.split())
    assert (rows, masks) == (32, 8)  # each of two workers, in each of two epochs, counts from 0
