"""The command `facesem`: a face generator's semantics from the shell.

    facesem edit --seed 8 --yaw 20 --component mouth-1=-2.5 -o out.png

Nothing heavy is imported before a command is chosen, so that the help appears at once and only
`facesem convert` needs PyTorch.
"""

import difflib
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Command(NamedTuple):
    """A command: the module that holds its ``Options`` and ``main``.

    Attributes:
      module: The module's name.
      summary: One line for the help.
      options: Name of the options' dataclass in the module.
      main: Name of the function in the module.
    """

    module: str
    summary: str
    options: str = "Options"
    main: str = "main"


class Group(NamedTuple):
    """Commands below a command.

    Attributes:
      summary: One line for the help.
      commands: By name.
    """

    summary: str
    commands: dict[str, "Command | Group"]


_DIRECTIONS = "experiments.directions_command"

_COMMANDS: dict[str, Command | Group] = {
    "edit": Command(
        "experiments.edit_command", "draw a face, turned, lit or changed in one part, as PNG"
    ),
    "decompose": Command(
        "experiments.decompose_command", "view, light, depth and albedo of the face in a picture"
    ),
    "invert": Command(
        "experiments.invert_command", "find the latent of the face in a picture, to edit it"
    ),
    "directions": Group(
        "the directions that edits move along",
        {
            "list": Command(
                _DIRECTIONS, "print every direction with its unit", "ListOptions", "list_main"
            ),
            "export": Command(
                _DIRECTIONS,
                "write directions as .npz, or as .npy boundaries for other tools",
                "ExportOptions",
                "export_main",
            ),
        },
    ),
    "convert": Command(
        "convert.torch_to_flax", "turn a PyTorch checkpoint into a model that all commands load"
    ),
}

FACESEM = Group("faces of a generator, edited by what its latent space has learned", _COMMANDS)

EXAMPLES = (
    "facesem edit --seed 8 --yaw 20 --component mouth-1=-2.5 -o out.png",
    "facesem edit --photo holiday.jpg --component mouth-1=-2 -o changed.png",
    "facesem decompose photo.png",
    "facesem invert photo.png",
    "facesem directions list",
    "facesem directions export --name yaw -o yaw.npy",
    "facesem convert stylegan2-ffhq.pt models/ffhq --crop ffhq",
)

_HELP = ("-h", "--help")


def help_text(path: Sequence[str], group: Group) -> str:
    """The help of ``facesem`` or of a group of its commands.

    Args:
      path: The words before, "facesem" first.
      group: What may follow.
    """
    prog, width = " ".join(path), max(map(len, group.commands)) + 2
    examples = [e for e in EXAMPLES if e.startswith(prog + " ")]
    lines = [
        f"usage: {prog} COMMAND [options]",
        "",
        group.summary,
        "",
        "commands:",
        *(f"  {name:<{width}}{entry.summary}" for name, entry in group.commands.items()),
        "",
        f"`{prog} COMMAND --help` explains a command.",
        "Exit status: 0 done, 2 bad input (one line says what was wrong), 130 interrupted.",
        "",
        "examples:",
        *(f"  {e}" for e in examples),
    ]
    return "\n".join(lines)


def find_command(args: Sequence[str]) -> tuple[list[str], Command | Group, list[str]]:
    """Follows the words of a command line to a command.

    Args:
      args: The words after ``facesem``.

    Returns:
      The words up to the command, "facesem" first; the command, or the group where no command or
      ``--help`` follows; and the words after it.

    Raises:
      ValueError: On an unknown command.
    """
    path, entry, rest = ["facesem"], FACESEM, list(args)
    while isinstance(entry, Group) and rest and rest[0] not in _HELP:
        name = rest.pop(0)
        if name not in entry.commands:
            near = difflib.get_close_matches(name, entry.commands, n=1)
            advice = (
                f"did you mean {near[0]}?" if near else f"known are {', '.join(entry.commands)}."
            )
            raise ValueError(f"unknown command {' '.join([*path, name])!r}; {advice}")
        path.append(name)
        entry = entry.commands[name]
    return path, entry, rest


def main(args: Sequence[str] | None = None) -> None:
    """Runs one command.

    Args:
      args: The words after ``facesem``; ``None`` for those of the process.
    """
    args = sys.argv[1:] if args is None else list(args)
    if args[:1] == ["--version"]:
        print(f"facesem-jax {importlib.metadata.version('facesem-jax')}")
        return
    try:
        path, entry, rest = find_command(args)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if isinstance(entry, Group):
        print(help_text(path, entry), file=sys.stdout if rest else sys.stderr)
        sys.exit(0 if rest else 2)
    from facesem_jax.command_line import run_command

    module = importlib.import_module(entry.module)
    run_command(
        getattr(module, entry.main), getattr(module, entry.options), prog=" ".join(path), args=rest
    )


if __name__ == "__main__":
    main()
