"""Files that can be read but not converted: each error names the tensor, nothing is left."""

import checkpoint_files as files
import numpy as np
import pytest

from facesem_jax import load_generator
from facesem_jax.errors import FacesemError

pytestmark = pytest.mark.usefixtures("quick_compilation")

# A tensor from every part of every format.
TENSORS = [
    ("stylegan2-rosinality", "style.2.weight"),
    ("stylegan2-rosinality", "convs.3.noise.weight"),
    ("stylegan2-rosinality", "to_rgbs.2.conv.modulation.bias"),
    ("stylegan2-nvlabs", "synthesis.b4.const"),
    ("stylegan2-nvlabs", "synthesis.b16.conv0.affine.weight"),
    ("stylegan2-nvlabs", "mapping.w_avg"),
    ("stylegan2-genforce", "synthesis.layer3.noise"),
    ("stylegan2-genforce", "synthesis.output3.style.weight"),
    ("stylegan1-genforce", "synthesis.layer0.const"),
    ("stylegan1-genforce", "synthesis.layer5.apply_noise.weight"),
    ("stylegan1-genforce", "synthesis.output3.weight"),
    ("unsup3d", "netD.network.30.bias"),
    ("unsup3d", "netC.out_net1.6.weight"),
    ("dcgan", "main.7.running_var"),
]
# The average of w is estimated where it is missing.
OPTIONAL = {"mapping.w_avg"}


def refused(checkpoint, command, format, state, directory):
    source = checkpoint(format, state)
    code, _, err = command(source, directory / "out")
    assert code == 2
    assert err.count("\n") == 1 and err.startswith(f"error: {source}: ")
    assert list(directory.iterdir()) == [source]
    return err


@pytest.mark.parametrize(("format", "name"), TENSORS)
def test_a_missing_tensor_is_named(format, name, checkpoint, command, tmp_path):
    state = files.state_of(format)
    del state[name]
    if name in OPTIONAL:
        code, out, _ = command(checkpoint(format, state), tmp_path / "out")
        assert code == 0 and "estimated from 10000" in out
    else:
        err = refused(checkpoint, command, format, state, tmp_path)
        assert f"tensor {name} is missing" in err


@pytest.mark.parametrize(("format", "name"), TENSORS)
def test_a_wrong_shape_is_named_with_both_shapes(format, name, checkpoint, command, tmp_path):
    state = files.state_of(format)
    array = state[name]
    state[name] = np.concatenate([array] * 2, axis=-1)
    err = refused(checkpoint, command, format, state, tmp_path)
    assert f"tensor {name} has shape {state[name].shape}; expected " in err


@pytest.mark.parametrize(("format", "name"), TENSORS)
def test_nan_is_named(format, name, checkpoint, command, tmp_path):
    state = files.state_of(format)
    state[name].flat[-1] = np.nan
    err = refused(checkpoint, command, format, state, tmp_path)
    assert f"tensor {name} holds NaN" in err and "--allow-nonfinite" in err


@pytest.mark.whole_run
def test_nan_is_converted_where_it_is_allowed(checkpoint, command, tmp_path):
    state = files.state_of("stylegan2-rosinality")
    state["to_rgbs.2.bias"].flat[1] = np.nan
    source = checkpoint("stylegan2-rosinality", state)
    code, out, err = command(source, tmp_path / "out", "--allow-nonfinite", "--verify")
    assert code == 0, err
    assert "agree" in out
    generator = load_generator(tmp_path / "out")
    np.testing.assert_array_equal(
        np.isnan(generator.synthesis.to_rgbs[3].bias[...]), [False, True, False]
    )


def test_a_spoiled_average_does_not_give_way_to_the_raw_copy(checkpoint, command, tmp_path):
    state = files.state_of("stylegan1-genforce")
    for name in [n for n in state if n.startswith("synthesis.layer7")]:
        del state[name]
    err = refused(checkpoint, command, "stylegan1-genforce", state, tmp_path)
    assert "tensor synthesis.layer7.weight is missing" in err


def test_an_output_that_cannot_be_written_leaves_nothing(checkpoint, command, tmp_path):
    source = checkpoint("dcgan")
    (tmp_path / "file").write_text("in the way")
    code, _, err = command(source, tmp_path / "file" / "out")
    assert code == 2 and "cannot be written" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dcgan.tar", "file"]


def test_an_interrupted_save_leaves_nothing(checkpoint, tmp_path, monkeypatch):
    from convert.conversion import convert_file
    from facesem_jax import checkpoint as module

    source = checkpoint("dcgan")
    conversion = convert_file(source)

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "file_digests", interrupt)
    with pytest.raises(KeyboardInterrupt):
        conversion.save(tmp_path / "out")
    assert list(tmp_path.iterdir()) == [source]


def test_a_crop_of_a_decomposer_is_refused_before_anything_is_written(checkpoint, tmp_path):
    from convert.conversion import convert_file

    conversion = convert_file(checkpoint("unsup3d"))
    with pytest.raises(FacesemError, match="belongs to a generator"):
        conversion.save(tmp_path / "out", crop="ffhq")
    assert not (tmp_path / "out").exists()
