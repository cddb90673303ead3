import sys

import pytest
from checkpoint_files import write_checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    """``checkpoint(format, state=..., **attributes)`` writes a file and gives its path."""
    suffix = {"stylegan2-rosinality": "pt", "stylegan2-nvlabs": "pkl", "dcgan": "tar"}

    def write(format, state=None, **attributes):
        path = tmp_path / f"{format}.{suffix.get(format, 'pth')}"
        write_checkpoint(path, format, state, **attributes)
        return path

    return write


@pytest.fixture
def command(monkeypatch, capsys):
    """``command(*arguments)`` runs the converter's command line: (exit code, out, err)."""
    from convert.torch_to_flax import Options, main
    from facesem_jax.command_line import run_command

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["torch_to_flax.py", *map(str, arguments)])
        code = 0
        try:
            run_command(main, Options)
        except SystemExit as error:
            code = error.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
