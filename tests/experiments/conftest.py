import dataclasses

import pytest

from facesem_jax.checkpoint import Description, save_module


@pytest.fixture(scope="session")
def save_generator():
    """Writes a StyleGAN2 as a checkpoint."""

    def save(directory, generator):
        config = dataclasses.asdict(generator.config)
        save_module(directory, generator, Description("stylegan2", config))

    return save


@pytest.fixture(scope="session")
def pair(save_generator, tiny_generator, tiny_decomposer, tmp_path_factory):
    """A directory with a random generator and a random decomposer that reads its images."""
    directory = tmp_path_factory.mktemp("pair")
    save_generator(directory / "generator", tiny_generator)
    config = tiny_decomposer.config.to_dict()
    save_module(directory / "decomposer", tiny_decomposer, Description("unsup3d", config))
    return directory
