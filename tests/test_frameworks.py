"""`anydrop.torch` comes when it is asked for, and says what is missing; each in a new process."""

import pytest
from process import python
from subjects import available


@pytest.mark.skipif(
    not available("torch"), reason="torch is not installed here; nox -s tests-torch runs this"
)
def test_it_comes_with_the_first_use():
    assert python("""
        import sys
        import anydrop
        print("torch" in sys.modules)
        print(anydrop.torch.Dropout(0.5, seed=0))
        print("torch" in sys.modules)
    """).split("\n") == ["False", "Dropout(p=0.5, inplace=False, seed=0, step=0)", "True"]


@pytest.mark.parametrize("use", ["anydrop.torch.Dropout", "from anydrop.torch import Dropout"])
def test_without_pytorch_it_says_what_to_install(use):
    said = python(f"""
        import sys
        sys.modules["torch"] = None  # as if it were not installed
        import anydrop
        try:
            {use}
        except ModuleNotFoundError as error:
            print(error)
    """)
    assert said.startswith("anydrop.torch needs PyTorch, which can't be imported here (")
    assert said.endswith(": pip install 'anydrop[torch]'")
