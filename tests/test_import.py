"""What an import brings with it, and what is missing or broken around it; each in a new process."""

import re
import textwrap

import pytest
from process import python
from subjects import available

DRAW = """
import numpy as np, anydrop
x = np.ones(2**21, "f4")
first = anydrop.dropout(x, 0.5, seed=0)
assert abs(first.mean() - 1) < 0.01
print(anydrop.resolve(x).kernel)
"""
needs_numba = pytest.mark.skipif(
    not available("numba"), reason="numba is not installed here; nox -s tests-numpy runs this"
)


def test_import_brings_no_array_library_but_numpy():
    """Nor anything else that is not in the standard library."""
    roots = python("""
        import sys
        import numpy, numpy.random
        before = set(sys.modules)
        import anydrop
        new = {name.partition(".")[0] for name in set(sys.modules) - before}
        print(*sorted(new - set(sys.stdlib_module_names)))
    """).split()
    assert set(roots) - {"numpy"} == {"anydrop", "array_api_compat"}


@needs_numba
def test_numba_comes_with_the_first_large_array():
    loaded = python("""
        import sys
        import numpy as np, anydrop
        small, large = np.ones(1000, "f4"), np.ones(2**21, "f4")
        anydrop.dropout(small, 0.5, seed=0)
        print("numba" in sys.modules)
        anydrop.dropout(large, 0.5, seed=0)
        print("numba" in sys.modules)
    """)
    assert loaded.split() == ["False", "True"]


@needs_numba
def test_numba_comes_after_many_small_arrays():
    loaded = python("""
        import sys
        import numpy as np, anydrop
        drop = anydrop.Dropout(0.5, seed=0)
        for _ in range(300):
            drop(np.ones((64, 64), "f4"))
        print("numba" in sys.modules)
    """)
    assert loaded == "True"


@pytest.mark.parametrize("breakage", ["raise ImportError('no llvm')", "raise RuntimeError('old')"])
def test_a_broken_numba_is_not_missed(tmp_path, breakage):
    (tmp_path / "numba.py").write_text(breakage)
    assert python(DRAW, path=[tmp_path]) == "chunked NumPy"
    verify = "from anydrop.verify import run; run()"
    assert re.search("chunked NumPy +4e10e0c081350e29 .* ok", python(verify, path=[tmp_path]))


@needs_numba
def test_numba_told_not_to_compile():
    """Its kernels would write nothing, and take hours for it."""
    assert python(DRAW, NUMBA_DISABLE_JIT="1") == "chunked NumPy"


@needs_numba
def test_no_folder_for_the_cache(tmp_path):
    """A package folder and a home that can't be written to: numba then refuses to cache at all."""
    code = f"""
        import numba.core.caching as caching

        def refuse(self):
            raise OSError("read-only file system")

        for locator in caching.CacheImpl._locator_classes:
            locator.ensure_cache_path = refuse
        {textwrap.indent(DRAW, " " * 8).strip()}
    """
    assert python(code) == "numba"


@needs_numba
def test_a_damaged_cache(tmp_path):
    assert python(DRAW, NUMBA_CACHE_DIR=str(tmp_path)) == "numba"
    indices = list(tmp_path.rglob("*.nbi"))
    assert indices
    for index in indices:
        index.write_bytes(b"not a cache")
    assert python(DRAW, NUMBA_CACHE_DIR=str(tmp_path)) == "numba"


@pytest.mark.parametrize(("name", "library"), [("jax", "JAX"), ("torch", "PyTorch")])
def test_a_framework_that_is_missing(name, library):
    said = python(f"""
        import sys
        sys.modules["{name}"] = None  # as if it were not installed
        try:
            import anydrop.{name}
        except ModuleNotFoundError as error:
            print(error)
    """)
    assert said.startswith(f"anydrop.{name} needs {library}, which can't be imported here (")
    assert said.endswith(f": pip install 'anydrop[{name}]'")
