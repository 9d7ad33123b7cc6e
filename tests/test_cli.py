"""The command line: every answer is a result, or one line that says what is wrong."""

import io
import subprocess
import sys

import pytest
from subjects import available

from anydrop import __version__, cli, demo, verify

missing = [name for module, name in demo.NEEDED.items() if not available(module)]
needed = pytest.mark.skipif(bool(missing), reason=f"the demo needs {', '.join(missing)}")


def refusal(arguments, monkeypatch, capsys):
    """Return the one line that refuses a command line, beside the usage."""
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert not out
    usage, line = err.splitlines()
    assert usage.startswith("usage: anydrop")
    return line


def test_verify_as_a_process():
    command = [sys.executable, "-m", "anydrop", "verify"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "One digest of masks, 4e10e0c081350e29, " in done.stdout
    assert not done.stderr


def test_version(capsys):
    assert __version__ == "0.1.0"
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == "anydrop 0.1.0\n"


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "demo " in out
    assert "verify " in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "anydrop: error: no command given: choose one of demo, verify"),
        (["nonsense"], "anydrop: error: argument command: invalid choice: 'nonsense'"),
        (["verify", "all"], "anydrop: error: unrecognized arguments: all"),
        (["demo", "--epochs", "3"], "anydrop: error: unrecognized arguments: --epochs 3"),
        *(
            (
                ["demo", "--seeds", text],
                "anydrop demo: error: argument --seeds: must be a whole number of at least 1, "
                f"got {text!r}",
            )
            for text in ("x", "", "0", "-1", "1.5", "1e3", "nan", 5000 * "9")
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_said_in_one_line(monkeypatch, capsys, arguments, line):
    monkeypatch.setattr(demo, "run", lambda **options: pytest.fail("it ran"))
    assert refusal(arguments, monkeypatch, capsys).startswith(line)


@needed
def test_an_unknown_library(monkeypatch, capsys):
    line = refusal(["demo", "--backend", "nonesuch"], monkeypatch, capsys)
    beginning = "anydrop demo: error: the demo can't train with 'nonesuch'; installed here: numpy"
    assert line.startswith(beginning)
    assert "dask" not in line  # which can't train either


@needed
@pytest.mark.parametrize("out", ["", "a file", "a file/below"])
def test_a_folder_that_can_not_be(tmp_path, monkeypatch, capsys, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").touch()
    line = refusal(["demo", "--out", out], monkeypatch, capsys)
    beginning = "anydrop demo: error: out must be a folder that the demo can write to, got "
    assert line.startswith(beginning + repr(out))


def test_missing_packages(monkeypatch, capsys):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    assert refusal(["demo"], monkeypatch, capsys) == (
        "anydrop demo: error: the demo needs scikit-learn, matplotlib and rich: "
        "python -m pip install 'anydrop[demo]'"
    )


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "anydrop: interrupted"),
        (OSError(28, "No space left on device"), 1, "anydrop: error: [Errno 28] No space left"),
    ],
)
def test_what_stops_a_run_is_said_in_one_line(monkeypatch, capsys, error, code, line):
    def run(**options):
        raise error

    monkeypatch.setattr(demo, "run", run)
    with pytest.raises(SystemExit) as caught:
        cli.main(["demo"])
    assert caught.value.code == code
    (only,) = capsys.readouterr().err.splitlines()
    assert only.startswith(line)


def test_a_fault_in_verify_is_no_wrong_command_line(monkeypatch):
    """A ValueError there is a bug, whose traceback is wanted."""

    def run():
        raise ValueError("a bug")

    monkeypatch.setattr(verify, "run", run)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["verify"])


def test_a_reader_that_leaves():
    """As in ``anydrop verify | true``: no traceback."""
    code = """if True:
        import sys
        from anydrop import cli, verify
        verify.run = lambda: print("one line") or 0
        input()
        sys.exit(cli.main(["verify"]))"""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        process.stdout.close()
        process.stdin.write(b"closed\n")
        process.stdin.flush()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_a_terminal_without_the_letters(monkeypatch):
    written = io.BytesIO()
    terminal = io.TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(demo, "run", lambda **options: print("1 ± 2") or 0)
    assert cli.main(["demo"]) == 0
    assert written.getvalue() == b"1 ? 2\n"
