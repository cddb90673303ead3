"""Checkpoint files as the codebases write them, made from the golden values' arrays."""

import argparse
import contextlib
import pathlib
import pickle
import sys
import types

import numpy as np
import pytest

DATA = pathlib.Path(__file__).parents[1] / "data"
GOLDEN = {
    "stylegan2-rosinality": "stylegan2_rosinality",
    "stylegan2-nvlabs": "stylegan2_nvlabs_ada",
    "stylegan2-genforce": "stylegan2_genforce",
    "stylegan1-genforce": "stylegan1_genforce",
    "unsup3d": "unsup3d",
}


def golden(format: str) -> tuple[dict, dict]:
    """State dict (float32) and the other arrays of a format's golden values."""
    arrays = dict(np.load(DATA / f"{GOLDEN[format]}.npz"))
    state = {
        k.removeprefix("state/"): v.astype(np.float32)
        for k, v in arrays.items()
        if k.startswith("state/")
    }
    return state, {k: v for k, v in arrays.items() if not k.startswith("state/")}


def dcgan_state(
    features: int = 2, z_dim: int = 5, image_channels: int = 3, *, seed: int = 0
) -> dict:
    """A DCGAN's state dict with moderate activations throughout."""
    rng = np.random.default_rng(seed)
    channels, state = (z_dim, *(features << k for k in (3, 2, 1, 0)), image_channels), {}
    for i in range(5):
        shape = (channels[i], channels[i + 1], 4, 4)
        weight = rng.normal(size=shape) * np.sqrt(0.5 / channels[i])
        state[f"main.{3 * i}.weight"] = weight.astype(np.float32)
    for i in range(4):
        name, shape = f"main.{3 * i + 1}", (channels[i + 1],)
        state[f"{name}.weight"] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        state[f"{name}.bias"] = rng.normal(size=shape).astype(np.float32)
        state[f"{name}.running_mean"] = rng.normal(size=shape).astype(np.float32)
        state[f"{name}.running_var"] = rng.uniform(0.5, 2, shape).astype(np.float32)
        state[f"{name}.num_batches_tracked"] = np.array(7)
    return state


def state_of(format: str) -> dict:
    """The format's small state dict."""
    return dcgan_state() if format == "dcgan" else golden(format)[0]


def wrapped(format: str, state: dict, wrap=lambda x: x) -> dict:
    """The file's content as the codebase saves it, arrays as ``wrap`` makes them."""
    own = {k: wrap(v) for k, v in state.items()}
    other = {f"layer{i}.weight": wrap(np.ones((3, 3), np.float32)) for i in range(2)}
    if format == "stylegan2-rosinality":
        average = wrap(np.linspace(-1, 1, 32, dtype=np.float32))
        raw = {k: wrap(v if "kernel" in k else v + 1) for k, v in state.items()}
        # As train.py saves it: with its options.
        options = argparse.Namespace(size=32, ckpt=pathlib.PurePosixPath("550000.pt"))
        extras = {"args": options, "ada_aug_p": np.float64(0.5)}
        return {"g": raw, "d": other, "g_ema": own, "latent_avg": average, **extras}
    if format.endswith("genforce"):
        raw = {k: wrap(v if "kernel" in k else v + 1) for k, v in state.items()}
        return {"generator": raw, "discriminator": other, "generator_smooth": own}
    if format == "unsup3d":
        nets = {f"net{x}": {} for x in "DALVC"}
        for name, value in own.items():
            net, _, rest = name.partition(".")
            nets[net][rest] = value
        optimizer = {"state": {0: {"exp_avg": wrap(np.zeros(3))}}}
        trace = MetricsTrace()
        return nets | {"optimizerD": optimizer, "epoch": 30, "metrics_trace": trace}
    if format == "dcgan":
        return {"netG_state_dict": own, "netD_state_dict": other, "epoch": 3}
    raise ValueError(format)


class MetricsTrace:
    """Unsup3D's record of its losses, pickled under the name that it has there."""

    def __init__(self):
        self.data = {"train": {"loss": [1.0, 0.5]}}


MetricsTrace.__module__ = "unsup3d.meters"


def write_torch(path, content: dict, *, legacy: bool = False) -> None:
    """``torch.save``, new or old form."""
    torch = pytest.importorskip("torch")
    meters = types.ModuleType("unsup3d.meters")
    meters.MetricsTrace = MetricsTrace
    modules = {"unsup3d": types.ModuleType("unsup3d"), "unsup3d.meters": meters}
    with registered(modules):
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)


def tensors(array):
    """A torch tensor of an array."""
    torch = pytest.importorskip("torch")
    return torch.from_numpy(np.array(array))


@contextlib.contextmanager
def fake_modules():
    """``torch_utils.persistence`` and ``dnnlib.util`` as a pickle names them."""
    persistence = types.ModuleType("torch_utils.persistence")
    util = types.ModuleType("dnnlib.util")
    rebuild = types.FunctionType((lambda meta: meta).__code__, {})
    rebuild.__name__ = rebuild.__qualname__ = "_reconstruct_persistent_obj"
    rebuild.__module__ = "torch_utils.persistence"
    persistence._reconstruct_persistent_obj = rebuild
    util.EasyDict = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    modules = {
        "torch_utils": types.ModuleType("torch_utils"),
        "torch_utils.persistence": persistence,
        "dnnlib": types.ModuleType("dnnlib"),
        "dnnlib.util": util,
    }
    with registered(modules):
        yield rebuild, util.EasyDict


@contextlib.contextmanager
def registered(modules: dict):
    """Modules that can be imported for a while."""
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class Persistent:
    """Stands for an NVlabs persistent object while it is pickled."""

    def __init__(self, class_name: str, **attributes):
        self.class_name = class_name
        self.parameters, self.buffers, self.modules = {}, {}, {}
        self.attributes = attributes

    def child(self, name: str) -> "Persistent":
        return self.modules.setdefault(name, Persistent(name.capitalize()))


def network(state: dict, **attributes) -> Persistent:
    """A tree of persistent objects that holds a state dict, with NVlabs' attributes."""
    root = Persistent("Generator", c_dim=0, z_dim=32, **attributes)
    for name, value in state.items():
        *parents, leaf = name.split(".")
        at = root
        for parent in parents:
            at = at.child(parent)
            if parent.startswith("fc"):
                at.attributes["bias_gain"] = np.float64(0.01)
                at.attributes["activation"] = "lrelu"
        buffer = leaf in ("resample_filter", "noise_const", "w_avg")
        (at.buffers if buffer else at.parameters)[leaf] = value
    return root


SOURCE_TEXT = "raise SystemExit('the source text of a pickle was run')\n"


def write_network_pickle(path, content: dict, *, protocol: int = 4, tensor=tensors) -> None:
    """A pickle as stylegan2-ada-pytorch writes it: persistent objects with their source text."""
    torch = pytest.importorskip("torch")
    import collections

    with fake_modules() as (rebuild, easy_dict), open(path, "wb") as file:

        class Pickler(pickle.Pickler):
            def reducer_override(self, item):
                if not isinstance(item, Persistent):
                    return NotImplemented
                state = {
                    "training": False,
                    "_parameters": collections.OrderedDict(
                        (k, torch.nn.Parameter(tensor(v))) for k, v in item.parameters.items()
                    ),
                    "_buffers": collections.OrderedDict(
                        (k, tensor(v)) for k, v in item.buffers.items()
                    ),
                    "_non_persistent_buffers_set": set(),
                    "_forward_hooks": collections.OrderedDict(),
                    "_modules": collections.OrderedDict(item.modules),
                    "_init_args": (),
                    "_init_kwargs": easy_dict(),
                    **item.attributes,
                }
                meta = easy_dict(
                    type="class",
                    version=6,
                    module_src=SOURCE_TEXT,
                    class_name=item.class_name,
                    state=state,
                )
                return rebuild, (meta,)

        Pickler(file, protocol).dump(content)


def write_checkpoint(path, format: str, state: dict | None = None, **attributes) -> None:
    """Writes the format's own kind of file."""
    state = state_of(format) if state is None else state
    if format == "stylegan2-nvlabs":
        other = network({"layer.weight": np.ones((3, 3), np.float32)})
        content = {"G": other, "D": other, "G_ema": network(state, **attributes)}
        write_network_pickle(path, content | {"augment_pipe": None, "training_set_kwargs": {}})
    else:
        write_torch(path, wrapped(format, state, tensors))
