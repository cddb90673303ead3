"""Every format through its real file and the command line."""

import io
import json
import pathlib
import subprocess
import sys
import zipfile

import checkpoint_files as files
import chex
import jax
import numpy as np
import pytest

from convert.conversion import convert_file
from facesem_jax import load_crop, load_decomposer, load_generator
from facesem_jax.decomposer.crop import CropBox
from facesem_jax.decomposer.shading import light_direction
from facesem_jax.errors import FacesemError
from facesem_jax.training.face_stream import FACE_BOX

ROOT = pathlib.Path(__file__).parents[2]
STYLEGANS = [k for k in files.GOLDEN if k.startswith("stylegan")]
pytestmark = pytest.mark.usefixtures("quick_compilation")
_draw = jax.jit(lambda generator, w: generator.synthesis(w))


def check_stylegan(directory, format):
    """The directory's generator gives the reference's golden values."""
    generator, (_, arrays) = load_generator(directory), files.golden(format)
    np.testing.assert_allclose(generator.mapping(arrays["z"]), arrays["w"], atol=1e-4, rtol=0)
    for latent, image in (("w", "image"), ("w_plus", "image_w_plus")):
        expected = arrays[image].transpose(0, 2, 3, 1)
        found = _draw(generator, arrays[latent])
        chex.assert_equal_shape([found, expected])
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    if "w_truncated_psi07" in arrays:
        found = generator.mapping(arrays["z"], truncation_psi=0.7)
        np.testing.assert_allclose(found, arrays["w_truncated_psi07"], atol=1e-4, rtol=0)
    if "w_truncated_psi07_layers4" in arrays:
        found = generator.mapping(arrays["z"], truncation_psi=0.7, truncation_cutoff=4)
        np.testing.assert_allclose(found, arrays["w_truncated_psi07_layers4"], atol=1e-4, rtol=0)


def check_unsup3d(directory):
    """The directory's decomposer gives the reference's golden values."""
    decomposer, (_, arrays) = load_decomposer(directory), files.golden("unsup3d")
    images = arrays["image"].transpose(0, 2, 3, 1)
    parts = jax.jit(lambda d, x: d(x))(decomposer, images)
    expected = {
        "depth": arrays["canonical_depth"],
        "albedo": arrays["albedo"].transpose(0, 2, 3, 1),
        "view": arrays["view"],
        "confidence_l1": arrays["conf_l1"].transpose(0, 2, 3, 1),
        "confidence_perceptual": arrays["conf_percl"].transpose(0, 2, 3, 1),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(parts, name), value, atol=1e-4, rtol=0, err_msg=name)
    light = np.concatenate([arrays["light_ambient"], arrays["light_diffuse"]], axis=1)
    np.testing.assert_allclose(parts.light[:, :2], light, atol=1e-4, rtol=0)
    found = light_direction(parts.light)
    np.testing.assert_allclose(found, arrays["light_direction"], atol=1e-4, rtol=0)
    # Normals divide depth's rounding by a pixel's width: compared on one depth, in test_shading.
    drawn = decomposer.canonical_image(parts)
    expected = arrays["canonical_image"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(drawn, expected, atol=1e-4, rtol=0)


def check(directory, format):
    (check_unsup3d if format == "unsup3d" else lambda d: check_stylegan(d, format))(directory)


@pytest.mark.whole_run
@pytest.mark.parametrize("format", files.GOLDEN)
def test_golden_values_through_the_real_file(format, checkpoint, command, tmp_path):
    source = checkpoint(format)
    code, out, err = command(source, tmp_path / "out", "--verify")
    assert code == 0, err
    assert f"({format})" in out and "PyTorch and JAX agree" in out
    check(tmp_path / "out", format)
    description = json.loads((tmp_path / "out" / "description.json").read_text())
    assert source.name in description["source"]
    assert convert_file(source).source.sha256 in description["source"]


def flat_content(format, state):
    """What a .safetensors file of the layout holds: dotted names."""
    flat = {}

    def collect(prefix, value):
        if isinstance(value, dict):
            for key, item in value.items():
                collect(f"{prefix}.{key}" if prefix else str(key), item)
        elif isinstance(value, np.ndarray):
            flat[prefix] = np.array(value, order="C")

    if format == "stylegan2-nvlabs":
        collect("", {"G_ema": state})
    else:
        collect("", files.wrapped(format, state))
    return flat


def _quick_formats():
    """All, the one with the largest networks in the whole runs alone."""
    slow = pytest.mark.whole_run
    return [pytest.param(f, marks=slow if f == "unsup3d" else ()) for f in files.GOLDEN]


@pytest.mark.parametrize("format", _quick_formats())
def test_golden_values_through_safetensors(format, command, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    state, _ = files.golden(format)
    source = tmp_path / "model.safetensors"
    safetensors.save_file(flat_content(format, state), source)
    code, out, err = command(source, tmp_path / "out")
    assert code == 0, err
    assert "safetensors" in out and f"({format})" in out
    check(tmp_path / "out", format)


def test_a_dcgan_becomes_a_generator_with_its_crop(checkpoint, command, tmp_path):
    code, out, err = command(checkpoint("dcgan"), tmp_path / "out", "--verify")
    assert code == 0, err
    assert "PyTorch and JAX agree in 5 layers" in out
    generator = load_generator(tmp_path / "out")
    z = np.random.default_rng(0).standard_normal((2, 5), np.float32)
    np.testing.assert_array_equal(generator.mapping(z), z)
    np.testing.assert_allclose(generator.mapping(z, 0.5), z / 2)
    chex.assert_shape(generator.synthesis(z), (2, 64, 64, 3))
    assert load_crop(tmp_path / "out") == FACE_BOX
    with pytest.raises(FacesemError, match="one layer of latents"):
        generator.mapping(z, truncation_cutoff=3)


# Unsup3D's five networks have to be told apart by the wrapper's names.
@pytest.mark.parametrize("format", [*STYLEGANS, "dcgan"])
def test_a_bare_state_dict(format, command, tmp_path):
    state = files.state_of(format)
    files.write_torch(tmp_path / "bare.pth", {k: files.tensors(v) for k, v in state.items()})
    code, out, err = command(tmp_path / "bare.pth", tmp_path / "out")
    assert code == 0, err
    assert "the whole file" in out
    if format in STYLEGANS:
        check(tmp_path / "out", format)


def test_old_files_float16_and_a_module_prefix(command, tmp_path):
    state, _ = files.golden("stylegan2-genforce")
    content = {f"module.{k}": files.tensors(v).half() for k, v in state.items()}
    files.write_torch(tmp_path / "old.pth", {"generator_smooth": content}, legacy=True)
    code, out, err = command(tmp_path / "old.pth", tmp_path / "out")
    assert code == 0, err
    assert "PyTorch legacy file" in out
    check_stylegan(tmp_path / "out", "stylegan2-genforce")  # The golden weights are float16-exact.


@pytest.mark.whole_run
def test_a_module_prefix_inside_the_networks_of_unsup3d(command, tmp_path):
    state, _ = files.golden("unsup3d")
    content = files.wrapped("unsup3d", state, files.tensors)
    nets = {k: v for k, v in content.items() if k.startswith("net")}
    wrapped = {k: {f"module.{n}": t for n, t in net.items()} for k, net in nets.items()}
    files.write_torch(tmp_path / "p.pth", wrapped)
    code, _, err = command(tmp_path / "p.pth", tmp_path / "out")
    assert code == 0, err
    check_unsup3d(tmp_path / "out")


def test_a_file_saved_on_a_gpu(command, tmp_path):
    state, _ = files.golden("stylegan2-rosinality")
    buffer = io.BytesIO()
    files.write_torch(buffer, files.wrapped("stylegan2-rosinality", state, files.tensors))
    # The storages' location is a string in the archive's pickle.
    source = tmp_path / "gpu.pt"
    with zipfile.ZipFile(buffer) as before, zipfile.ZipFile(source, "w") as after:
        for entry in before.infolist():
            data = before.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert b"X\x03\x00\x00\x00cpu" in data
                data = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            after.writestr(entry.filename, data)
    code, _, err = command(source, tmp_path / "out")
    assert code == 0, err
    check_stylegan(tmp_path / "out", "stylegan2-rosinality")


def test_the_raw_copy_is_taken_only_where_there_is_no_average(command, tmp_path):
    state, _ = files.golden("stylegan2-rosinality")
    content = files.wrapped("stylegan2-rosinality", state, files.tensors)
    del content["g_ema"], content["latent_avg"]
    files.write_torch(tmp_path / "g.pt", content)
    code, out, err = command(tmp_path / "g.pt", tmp_path / "out")
    assert code == 0, err
    assert "no moving average" in out and "average w" in out
    generator = load_generator(tmp_path / "out")
    # Estimated by the converter in NumPy; here by the module, on other latents.
    z = np.random.default_rng(1).standard_normal((20_000, 32), np.float32)
    mean = np.asarray(jax.jit(lambda g: g.mapping(z).mean(axis=0))(generator))
    np.testing.assert_allclose(generator.mapping.w_avg[...], mean, atol=0.1)
    assert np.abs(mean).max() > 0.3


@pytest.mark.whole_run
def test_noise_maps_that_the_file_lacks_are_drawn_once(command, tmp_path):
    state, _ = files.golden("stylegan2-rosinality")
    state = {k: v for k, v in state.items() if not k.startswith("noises.")}
    files.write_torch(tmp_path / "n.pt", {"g_ema": {k: files.tensors(v) for k, v in state.items()}})
    noise = []
    for name, *options in (("a", "--verify"), ("b",)):
        code, out, err = command(tmp_path / "n.pt", tmp_path / name, *options)
        assert code == 0, err
        assert "7 noise maps are not in the file" in out and ("agree" in out) == bool(options)
        noise.append(np.asarray(load_generator(tmp_path / name).synthesis.convs[6].noise[...]))
    np.testing.assert_array_equal(*noise)
    assert 0.9 < noise[0].std() < 1.1


@pytest.mark.whole_run
def test_attributes_of_a_network_pickle_are_heeded(checkpoint, command, tmp_path):
    state, arrays = files.golden("stylegan2-nvlabs")
    source = tmp_path / "ada.pkl"
    network = files.network(state)
    for name in ("b4", "b8", "b16", "b32"):
        block = network.modules["synthesis"].modules[name]
        block.attributes["use_fp16"] = name == "b32"
        for layer in block.modules.values():
            layer.attributes["conv_clamp"] = 0.5
    for layer in network.modules["mapping"].modules.values():
        layer.attributes["bias_gain"] = np.float64(0.02)
    files.write_network_pickle(source, {"G_ema": network})
    code, out, err = command(source, tmp_path / "out", "--verify")
    assert code == 0, err
    assert "trained with float16" in out and "agree" in out
    generator = load_generator(tmp_path / "out")
    assert generator.config.conv_clamp == 0.5
    assert generator.config.mapping_lr_multiplier == 0.02
    image = _draw(generator, arrays["w"])
    assert np.abs(image - arrays["image"].transpose(0, 2, 3, 1)).max() > 0.1
    # NVlabs' bias_act clamps after its gain: no layer's output passes conv_clamp itself.
    outputs = dict(generator.synthesis.stages(arrays["w"]))
    convs = [np.abs(x).max() for name, x in outputs.items() if name.startswith("convs.")]
    assert max(convs) == 0.5 and np.abs(outputs["to_rgbs.0"]).max() <= 0.5


@pytest.mark.parametrize(
    ("name", "value"), [("conv_clamp", "abc"), ("conv_clamp", -1.0), ("bias_gain", "x")]
)
def test_attributes_that_are_no_numbers_are_refused(name, value, command, tmp_path):
    state, _ = files.golden("stylegan2-nvlabs")
    network = files.network(state)
    part = network.modules["mapping" if name == "bias_gain" else "synthesis"]
    next(iter(part.modules.values())).attributes[name] = value
    files.write_network_pickle(tmp_path / "ada.pkl", {"G_ema": network})
    code, _, err = command(tmp_path / "ada.pkl", tmp_path / "out")
    assert code == 2 and f"{name} is {value!r}; expected a number above 0" in err


@pytest.mark.parametrize(
    ("raw", "average"),
    [
        ("g._orig_mod", "g_ema._orig_mod"),
        ("model", "model_ema"),
        ("gen", "gen_ema"),
        ("generator.state_dict", "generator_smooth.state_dict"),
    ],
)
def test_the_average_is_found_by_its_name(raw, average, command, tmp_path):
    state, _ = files.golden("stylegan2-rosinality")
    content = {}
    for shift, path in ((1, raw), (0, average)):
        part = {
            k: files.tensors(v if "kernel" in k else v + np.float32(shift))
            for k, v in state.items()
        }
        *outer, inner = path.split(".")
        if inner == "_orig_mod":
            content[outer[0]] = {f"_orig_mod.{k}": v for k, v in part.items()}
        else:
            content |= {outer[0]: {inner: part}} if outer else {inner: part}
    files.write_torch(tmp_path / "own.pt", content)
    code, out, err = command(tmp_path / "own.pt", tmp_path / "out")
    assert code == 0, err
    assert "holds no moving average" not in out
    kernel = load_generator(tmp_path / "out").mapping.layers[0].kernel[...]
    np.testing.assert_array_equal(kernel, state["style.1.weight"].T)


def test_conditional_generators_are_refused(checkpoint, command, tmp_path):
    state, _ = files.golden("stylegan2-nvlabs")
    state["mapping.embed.weight"] = np.ones((32, 10), np.float32)
    code, _, err = command(checkpoint("stylegan2-nvlabs", state), tmp_path / "out")
    assert code == 2 and "conditional" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("format", "name", "shape", "message"),
    [
        ("stylegan2-nvlabs", "synthesis.b8.skip.weight", (16, 16, 1, 1), "residual connections"),
        ("stylegan2-genforce", "mapping.embedding.weight", (10, 32), "conditional"),
        ("stylegan1-genforce", "mapping.label_weight", (10, 32), "conditional"),
        ("stylegan1-genforce", "synthesis.lod", (), "still growing"),
        ("stylegan2-genforce", "synthesis.layer3.extra", (2,), "has no place in this format"),
        ("stylegan2-rosinality", "convs.2.conv.blur.kernel", (4, 4), "is no filter"),
    ],
)
def test_variants_are_refused_by_name(format, name, shape, message, checkpoint, command, tmp_path):
    state, _ = files.golden(format)
    state[name] = np.ones(shape, np.float32)
    code, _, err = command(checkpoint(format, state), tmp_path / "out")
    assert code == 2 and message in err
    assert list(tmp_path.iterdir()) == [checkpoint(format, state)]


def test_stylegan3_is_named(command, tmp_path):
    state = {f"synthesis.L{i}_36_512.weight": files.tensors(np.ones((2, 2))) for i in range(9)}
    files.write_torch(tmp_path / "3.pt", {"g_ema": state})
    code, _, err = command(tmp_path / "3.pt", tmp_path / "out")
    assert code == 2 and "StyleGAN3" in err


def test_a_dry_run_writes_nothing(checkpoint, command, tmp_path):
    source = checkpoint("stylegan2-rosinality")
    code, out, err = command(source, "--dry-run")
    assert code == 0, err
    for text in ("32 x 32", "4: 16, 8: 16, 16: 16, 32: 16", "g_ema", "d.layer0.weight"):
        assert text in out
    assert f"sha256          {convert_file(source).source.sha256}".split()[1] in out
    assert list(tmp_path.iterdir()) == [source]


def test_a_forced_format(checkpoint, command, tmp_path):
    source = checkpoint("dcgan")
    code, _, err = command(source, tmp_path / "a", "--format", "unsup3d")
    assert code == 2 and "no state dict in the format unsup3d" in err
    code, _, err = command(source, tmp_path / "a", "--format", "smile")
    assert code == 2 and "known are stylegan2-rosinality" in err
    assert command(source, tmp_path / "a", "--format", "dcgan")[0] == 0


def test_a_directory_in_use_is_left_alone(checkpoint, command, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    code, _, err = command(checkpoint("dcgan"), tmp_path / "out")
    assert code == 2 and "not empty" in err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
    code, _, err = command(checkpoint("dcgan"))
    assert code == 2 and "--dry-run" in err


def test_crops_are_stored(checkpoint, command, tmp_path):
    source = checkpoint("stylegan2-rosinality")
    assert command(source, tmp_path / "a", "--crop", "ffhq")[0] == 0
    assert load_crop(tmp_path / "a").width == pytest.approx(0.73)
    assert command(source, tmp_path / "b", "--crop", "0.1,0.2,0.5,0.6")[0] == 0
    assert load_crop(tmp_path / "b") == CropBox(0.1, 0.2, 0.5, 0.6)
    assert load_crop(source.parent / "b") is not None
    code, _, err = command(checkpoint("unsup3d"), tmp_path / "c", "--crop", "ffhq")
    assert code == 2 and "belongs to a generator" in err


@pytest.mark.parametrize("start", [["convert/torch_to_flax.py"], ["-m", "convert.torch_to_flax"]])
def test_both_ways_to_start_it(start, tmp_path):
    found = subprocess.run(
        [sys.executable, *start, tmp_path / "missing.pt", tmp_path / "out"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert found.returncode == 2
    assert (
        found.stderr
        == f"error: {tmp_path / 'missing.pt'} is no file; give a checkpoint to convert.\n"
    )
