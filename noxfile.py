"""Every check of the project, each in an environment of its own: ``nox --list`` shows them."""

import re
import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

VERSION = Path("anydrop", "_version.py")
PYPROJECT = nox.project.load_toml("pyproject.toml")
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
TEST, LINT, TYPES = (
    nox.project.dependency_groups(PYPROJECT, name) for name in ("test", "lint", "types")
)

# Library -> what a session `tests-<name>` installs for it, and the modules that must then import.
# The next array library is one line here. A session whose library has test files of its own runs
# these and the ones that every library must pass; the others run all tests.
BACKENDS = {
    "numpy": (
        [*EXTRAS["fast"], *EXTRAS["demo"], "ml_dtypes"],
        ["numba", "sklearn", "rich", "ml_dtypes"],
    ),
    "strict": (
        ["array-api-strict", "cubed", *EXTRAS["demo"]],
        ["array_api_strict", "cubed", "sklearn"],
    ),
    "cupy": (
        [*EXTRAS["cuda13"], "nvidia-cuda-nvrtc", "ml_dtypes"],
        ["cupy", "ml_dtypes", "nvrtc", "cuda_on_host"],  # the last two are modules of the tests
    ),
    "torch": (
        [*EXTRAS["fast"], *EXTRAS["torch"], "triton", "ml_dtypes", "safetensors"],
        ["torch", "triton", "numba", "ml_dtypes", "safetensors"],
    ),
    "jax": (EXTRAS["jax"], ["jax"]),
    "dask": (
        [*EXTRAS["fast"], *EXTRAS["dask"], "distributed", "ml_dtypes"],
        ["dask", "distributed", "numba", "ml_dtypes"],
    ),
}
# The pages of the documentation, without what a build writes beside them.
PAGES = [
    str(page)
    for page in sorted(Path("docs").rglob("*.md"))
    if not any(part.startswith("_") for part in page.parts)
]
EVERYTHING = sorted({package for packages, _ in BACKENDS.values() for package in packages})
REQUIRED = sorted({module for _, modules in BACKENDS.values() for module in modules})


def pytest(session: nox.Session, packages: list[str], *arguments: str) -> None:
    session.install("-e", ".", *TEST, *packages)
    session.run("python", "-m", "pytest", *arguments, *session.posargs)


# What every library must pass, beside the tests in its own folders.
EVERYWHERE = ["tests/testing", "tests/masks", "tests/monte_carlo"]


def add_tests(name: str, packages: list[str], required: list[str]) -> None:
    places = (Path("tests", "backends", name), Path("tests", name))
    own = [str(place) for place in places if place.is_dir()]
    files = [*EVERYWHERE, *own] if own and name != "numpy" else ["tests"]

    @nox.session(name=f"tests-{name}")
    def tests(session: nox.Session) -> None:
        pytest(
            session,
            packages,
            *(f"--require={module}" for module in required),
            *files,
        )

    tests.__doc__ = f"Test what {name} is needed for; fail if it can't be imported."


for name, (packages, required) in BACKENDS.items():
    add_tests(name, packages, required)


@nox.session(name="tests-models")
def tests_models(session: nox.Session) -> None:
    """Train tiny models of many families, with random weights; nothing is downloaded."""
    # torchvision, which timm asks for, would bring another PyTorch. transformers brings the rest.
    session.install("--no-deps", "timm", "torchvision")
    pytest(
        session,
        [*EXTRAS["fast"], *EXTRAS["torch"], "transformers>=5.24", "pillow"],
        # The first is a module of the tests, with which torchvision can be imported.
        *(f"--require={name}" for name in ("model_families", "transformers", "timm")),
        "tests/torch/conversion/test_model_families.py",
    )


@nox.session(name="tests-all")
def tests_all(session: nox.Session) -> None:
    """Draw one mask in every way there is, and run the examples of the docstrings and pages."""
    pytest(
        session,
        EVERYTHING,
        *(f"--require={module}" for module in REQUIRED),
        "--complete",
        *("tests/backends/test_one_mask.py", "tests/backends/test_one_catalogue.py"),
        *("tests/test_verify.py", "tests/test_cli.py", "tests/demo"),
    )
    session.run(
        *("python", "-m", "pytest", "--doctest-modules", "--doctest-glob=*.md"),
        *("anydrop", "README.md", *PAGES),
    )


@nox.session(name="tests-minimal")
def tests_minimal(session: nox.Session) -> None:
    """Test with NumPy and array-api-compat alone, at the lowest versions that are promised."""
    lowest = [
        requirement.replace(">=", "==") for requirement in PYPROJECT["project"]["dependencies"]
    ]
    pytest(session, lowest, "--forbid=numba", "--forbid=array_api_strict")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format with ruff."""
    session.install(*LINT)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy, strictly."""
    session.install("-e", ".[fast,demo]", *TYPES)
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    session.install("-e", ".[fast,torch,jax,docs]")
    session.run(
        *("sphinx-build", "-W", "--keep-going", "-n", "-b", "html", "docs", "docs/_build/html"),
        *session.posargs,
    )


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Train on real data with and without dropout, and draw pictures."""
    session.install("-e", ".[fast,demo]")
    session.run("python", "-m", "anydrop", "demo", *session.posargs)


@nox.session(default=False)
def verify(session: nox.Session) -> None:
    """Draw the published masks on every library of the table above."""
    session.install("-e", ".", *EVERYTHING)
    session.run("python", "-m", "anydrop", "verify")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Time it beside what people use, and write tables and pictures; ``-- --help`` has options."""
    session.install("-e", ".[fast,torch,jax,dask,progress]", "matplotlib>=3.9")
    session.run("python", "tests/benchmarks/bench.py", *session.posargs)


# A link in the README to a file of the repository, and a picture from there.
LINK = re.compile(r"\[([^\]]*)\]\((?![a-z]+:|#)([^)]*)\)")
PICTURE = re.compile(r'<img alt="([^"]*)" src="(?![a-z]+:)([^"]*)"([^>]*)>')


def for_an_index(readme: str) -> str:
    """Return the README with links that also work where a package index shows it.

    Links to files of the repository lead to the address `Source` in the metadata. Without such an
    address only their text is left, and a picture's description.
    """
    if source := PYPROJECT["project"].get("urls", {}).get("Source"):
        readme = PICTURE.sub(rf'<img alt="\1" src="{source}/raw/HEAD/\2"\3>', readme)
        return LINK.sub(rf"[\1]({source}/blob/HEAD/\2)", readme)
    return LINK.sub(r"\1", PICTURE.sub(r"*\1*", readme))


def interpreters() -> list[str]:
    """Return a Python of each version that the metadata names and that is installed here."""
    named = [line.rpartition(" ")[2] for line in PYPROJECT["project"]["classifiers"]]
    versions = [name for name in named if re.fullmatch(r"3\.\d+", name)]
    folders = [*Path.home().glob(".pyenv/versions/*/bin")]
    found = []
    for name in (f"python{version}" for version in versions):
        places = [shutil.which(name), *(shutil.which(name, path=str(path)) for path in folders)]
        for place in filter(None, places):  # a launcher may be there without its Python
            if subprocess.run([place, "--version"], capture_output=True).returncode == 0:
                found.append(place)
                break
    return found


@nox.session(default=False)
def release(session: nox.Session) -> None:
    """Build and check what is uploaded, and try it on every Python that is installed here.

    It builds the last commit, not the working tree, into the folder ``dist``, which it empties.
    """
    session.install("build", "twine", "check-wheel-contents", "validate-pyproject[all]")
    session.run("validate-pyproject", "pyproject.toml")
    work = Path(session.create_tmp()).resolve()
    shutil.rmtree(work)
    session.run("git", "clone", "-q", ".", str(work / "source"), external=True)
    readme = work / "source" / "README.md"
    readme.write_text(for_an_index(readme.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.rmtree("dist", ignore_errors=True)  # another version there would be uploaded, too
    session.run("python", "-m", "build", "--outdir", "dist", str(work / "source"))
    version = re.search(r'^__version__ = "(.+)"', VERSION.read_text(), re.MULTILINE)[1]
    built = sorted(Path("dist").resolve().iterdir())
    session.run("twine", "check", "--strict", *map(str, built))
    session.run("check-wheel-contents", *(str(path) for path in built if path.suffix == ".whl"))
    smoke = Path("tests", "smoke.py").resolve()
    if not (pythons := interpreters()):
        session.error("none of the Python versions in the metadata is installed here")
    for python in pythons:
        for path in built:
            place = work / f"{Path(python).name}-{path.suffix[1:]}"
            session.run(python, "-m", "venv", str(place), external=True, env={"PYTHONPATH": ""})
            own = str(place / ("Scripts" if (place / "Scripts").is_dir() else "bin") / "python")
            session.run(own, "-m", "pip", "install", "-q", str(path), external=True)
            with session.chdir(work):
                session.run(own, "-m", "anydrop", "verify", external=True)
                session.run(own, str(smoke), version, external=True)
