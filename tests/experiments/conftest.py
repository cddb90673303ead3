import dataclasses

import pytest

from facesem_jax.checkpoint import Description, save_module


@pytest.fixture(scope="session")
def pair(tiny_generator, tiny_decomposer, tmp_path_factory):
    """A directory with a random generator and a random decomposer that reads its images."""
    directory = tmp_path_factory.mktemp("pair")
    config = dataclasses.asdict(tiny_generator.config)
    save_module(directory / "generator", tiny_generator, Description("stylegan2", config))
    config = tiny_decomposer.config.to_dict()
    save_module(directory / "decomposer", tiny_decomposer, Description("unsup3d", config))
    return directory
