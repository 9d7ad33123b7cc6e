"""Dask: where chunks are made. In another library, on a device, in other processes, by and by."""

import sys

import numpy as np
import pytest
from process import python
from subjects import available, dask_subjects

import anydrop
from anydrop import Dropout, Mask
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.core.recipe import Recipe

if not available("dask.array"):
    pytest.skip("dask is not installed here; nox -s tests-dask runs this", allow_module_level=True)

import dask
import dask.array as da


class Elsewhere(np.ndarray):
    """Stands for an array on a device, which does not mix with the host's."""

    def __array_function__(self, *call):
        """What NumPy's functions make of it stays there."""
        made = super().__array_function__(*call)
        return made.view(Elsewhere) if isinstance(made, np.ndarray) else made


class ElsewhereBackend(NumpyBackend):
    """Refuses what is not there."""

    def owns(self, x):
        return isinstance(x, Elsewhere)

    def device(self, x):
        assert self.owns(x)
        return "device 1"

    def empty(self, device):
        assert device == "device 1"
        return np.empty(0).view(Elsewhere)

    def keep(self, recipe, like):
        assert self.owns(like)
        return super().keep(recipe, None).view(Elsewhere)

    def select(self, x, keep, *args, **kwargs):
        assert self.owns(x)
        assert isinstance(keep, (Recipe, Elsewhere))
        if self.owns(keep):
            keep = self.to_numpy(keep)
        return super().select(self.to_numpy(x), keep, *args, **kwargs).view(Elsewhere)

    def pack(self, keep):
        return super().pack(self.to_numpy(keep)).view(Elsewhere)

    def unpack(self, bits, shape, like):
        assert self.owns(like)
        return super().unpack(self.to_numpy(bits), shape, None).view(Elsewhere)

    def from_numpy(self, x, like):
        assert self.owns(like)
        return x.view(Elsewhere)

    def to_numpy(self, x):
        assert self.owns(x)
        return x.view(np.ndarray)


def test_chunks_stay_in_their_library_and_on_their_device(monkeypatch):
    there = ElsewhereBackend("elsewhere")
    monkeypatch.setitem(anydrop.backends._BY_TYPE, Elsewhere, there)
    x = np.arange(1, 241, dtype="f4").reshape(6, 40)
    lazy = da.from_array(x.view(Elsewhere), chunks=(4, 16), asarray=False)
    backend = anydrop.resolve(lazy)
    assert str(backend.device(lazy)) == "elsewhere device 1"
    drop = Dropout(0.5, seed=0)
    y = drop(lazy)
    expected = anydrop.dropout(x, 0.5, seed=0)
    kept = expected != 0
    mask = drop.recipe.keep(like=lazy)
    packed = backend.pack(mask)
    for result, number in [
        (y, expected),
        (drop.backward(y), 2 * expected),
        (mask, kept),
        (drop.mask, kept),
        (packed, np.packbits(kept, bitorder="little")),
        (backend.unpack(packed, (6, 40), lazy), kept),
        (backend.select(lazy, mask, 2.0), expected),
        (backend.from_numpy(x, lazy), x),
        (backend.pack(mask[:0]), np.empty(0, "u1")),
        (backend.unpack(packed[:0], (0, 3), lazy), np.empty((0, 3), bool)),
    ]:
        assert isinstance(result._meta, Elsewhere)
        assert result._meta.dtype == number.dtype
        chunks = dask.compute(*result.to_delayed().ravel())
        assert {type(chunk) for chunk in chunks} == {Elsewhere}
        assert np.array_equal(backend.to_numpy(result), number)
    assert mask.name != drop.recipe.keep(like=da.from_array(x, chunks=(4, 16))).name

    eager = Dropout(0.5, rng=np.random.default_rng(0))
    y = eager(x)
    gradient = eager.backward(lazy)
    assert isinstance(gradient.compute(), Elsewhere)
    assert np.array_equal(gradient.compute(), y)


def test_every_chunking_of_the_conformance_tests_is_another():
    """That the subjects do not all mean one chunk by mistake."""
    x = np.empty((20, 20))
    assert len({subject.array(x).chunks for subject in dask_subjects()}) == len(dask_subjects())


@pytest.mark.skipif(
    not available("distributed"), reason="distributed is not installed here; nox -s tests-dask"
)
def test_a_cluster_of_processes_draws_the_same_mask():
    printed = python("""
        import os
        import dask.array as da
        from distributed import Client, LocalCluster
        import anydrop

        if __name__ == "__main__":
            cluster = LocalCluster(
                n_workers=2, processes=True, threads_per_worker=1, dashboard_address=None
            )
            with cluster, Client(cluster) as client:
                x = da.ones((300, 70), chunks=((100, 0, 30, 170), (69, 1)), dtype="f4")
                y, mask = anydrop.dropout(x, 0.25, seed=42, step=3, return_mask=True)
                workers = client.run(os.getpid).values()
                print(len({os.getpid(), *workers}))
                print(mask.digest(like=x))
                print(anydrop.masks.mask.digest(y.compute() != 0))
                rng = anydrop.Dropout(0.5, rng=da.random.default_rng(0))
                y = rng(x).persist()
                print(bool((rng.backward(x) == y).all().compute()))
    """)
    mask = Mask.from_seed((300, 70), 0.25, seed=42, step=3)
    assert printed.split() == ["3", mask.digest(), mask.digest(), "True"]


def test_a_large_array_streams_through():
    """1.2 GB in chunks of 12 MB, of which a few are there at a time."""
    pytest.importorskip("resource", reason="the memory of a process is not to be had here")
    printed = python("""
        import resource
        import dask
        import dask.array as da
        import anydrop

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        dask.config.set(num_workers=2)
        small = anydrop.dropout(da.ones((6000, 1000), chunks=(3000, 1000), dtype="f4"), 0.5, seed=0)
        small.mean().compute()
        before = peak()
        x = da.ones((300_000, 1000), chunks=(3000, 1000), dtype="f4")
        y, mask = anydrop.dropout(x, 0.5, seed=0, return_mask=True)
        mean, kept = dask.compute(y.mean(dtype="f8"), mask.keep(like=x).sum())
        print(mean == kept * 2 / 3e8, peak() - before)
    """)
    right, grown = printed.split()
    assert right == "True"
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(grown) * unit < 300e6


def test_chunks_that_are_not_what_their_array_says():
    x, meta = da.ones((4, 6), chunks=2), {"dtype": float, "meta": np.empty((0, 0))}
    twice = x.map_blocks(lambda c: np.concatenate([c, c]), **meta)
    with pytest.raises(ValueError, match=r"must have the shape \(2, 2\) .* got \(4, 2\)"):
        anydrop.dropout(twice, 0.5, seed=0).compute()
    whole = x.map_blocks(lambda c: c.astype(int), **meta)
    with pytest.raises(TypeError, match="got dtype int64"):
        anydrop.dropout(whole, 0.5, seed=0).compute()
