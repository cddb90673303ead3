import checkpoint_files as files
import numpy as np
import pytest

from convert.conversion import convert_file
from convert.verification import Row, verification_report, verify

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("quick_compilation")

# Format, an array of the converted module, the layer that must be named first.
SPOILED = [
    ("stylegan2-rosinality", "mapping/layers/2/bias", "mapping.layers.2"),
    ("stylegan2-nvlabs", "synthesis/convs/3/affine/kernel", "synthesis.convs.3"),
    ("stylegan2-genforce", "synthesis/to_rgbs/1/bias", "synthesis.to_rgbs.1"),
    ("stylegan1-genforce", "synthesis/layers/4/noise", "synthesis.layers.4"),
    pytest.param(
        "unsup3d", "albedo_net/up/2/norm/scale", "albedo_net.up.2", marks=pytest.mark.whole_run
    ),
    pytest.param("dcgan", "synthesis/norms/1/mean", "layers.1", marks=pytest.mark.whole_run),
]


@pytest.mark.parametrize(("format", "array", "layer"), SPOILED)
def test_a_mismatch_names_its_layer(format, array, layer, checkpoint):
    conversion = convert_file(checkpoint(format))
    arrays = conversion.converted.arrays
    arrays[array] = arrays[array] + np.float32(0.5)
    rows = verify(conversion, conversion.module())
    assert next(row for row in rows if not row.agrees).layer == layer
    report = verification_report(rows)
    assert "DIFFERS" in report and "DISAGREE" in report


def test_mirrored_kernels_do_not_pass(checkpoint):
    conversion = convert_file(checkpoint("stylegan2-genforce"))
    arrays = conversion.converted.arrays
    arrays["synthesis/convs/1/kernel"] = arrays["synthesis/convs/1/kernel"][::-1, ::-1]
    rows = verify(conversion, conversion.module())
    assert next(row for row in rows if not row.agrees).layer == "synthesis.convs.1"


def test_agreement_is_relative_to_the_layers_values_and_heeds_nan():
    assert Row("a", (1,), 9e-5, 0.1).agrees
    assert not Row("a", (1,), 2e-4, 0.1).agrees
    assert Row("a", (1,), 2e-3, 30.0).agrees
    assert not Row("a", (1,), float("inf"), 30.0).agrees


@pytest.mark.whole_run
def test_fused_upsampling_agrees(checkpoint):
    state, _ = files.golden("stylegan1-genforce")
    rng = np.random.default_rng(0)
    before = 16
    # On from 32x32 to 128x128, whose first layer is a transposed convolution, narrowing.
    for level, width in ((4, 4), (5, 2)):
        size = 4 << level
        for layer in (2 * level, 2 * level + 1):
            name = f"synthesis.layer{layer}"
            state[f"{name}.weight"] = rng.normal(size=(width, before, 3, 3))
            state[f"{name}.bias"] = rng.normal(size=width)
            state[f"{name}.apply_noise.weight"] = rng.normal(size=width)
            state[f"{name}.apply_noise.noise"] = rng.normal(size=(1, 1, size, size))
            state[f"{name}.style.weight"] = rng.normal(size=(2 * width, 32))
            state[f"{name}.style.bias"] = rng.normal(size=2 * width)
            before = width
        state[f"synthesis.output{level}.weight"] = rng.normal(size=(3, width, 1, 1))
        state[f"synthesis.output{level}.bias"] = rng.normal(size=3)
    state = {k: np.asarray(v, np.float32) for k, v in state.items()}
    conversion = convert_file(checkpoint("stylegan1-genforce", state))
    assert conversion.converted.config.channels == (16, 16, 16, 16, 4, 2)
    module = conversion.module()
    assert [layer.fused for layer in module.synthesis.layers] == [False] * 10 + [True, False]
    assert all(row.agrees for row in verify(conversion, module))
