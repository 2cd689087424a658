"""Published checkpoints: safe reading of pickles, int8 layers, architectures with weights."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lilliput
from lilliput import compiler, devices
from lilliput.emu.machine import emulation_device
from lilliput.emu.prove import prove
from lilliput.emu.toolchain import find, host_compilers
from lilliput.errors import FormatError, ModelError, UnsupportedError
from lilliput.frontends.checkpoints.pickles import array, read_pickle
from lilliput.ir.types import Array

INPUT, WIDE, NARROW = (0.0078, 0), (0.0235, -128), (0.07, -6)


def numbers(seed: int, *shape: int, dtype: str = "int8") -> Array:
    rng = np.random.default_rng(seed)
    if dtype == "int8":
        return rng.integers(-127, 128, shape, np.int8)
    return rng.integers(-900, 900, shape, np.int32)


def int8_layer(
    weights: Array, x: tuple[float, int], y: tuple[float, int], **more: Any
) -> dict[str, Any]:
    out = weights.shape[0]
    return {
        "in_channel": 3,
        "out_channel": out,
        "in_shape": 8,
        "kernel_size": weights.shape[2:],
        "stride": 1,
        "groups": 1,
        "act": None,
        "params": {
            "weight": weights,
            "bias": numbers(7, out, dtype="int32"),
            "x_scale": x[0],
            "x_zero": x[1],
            "y_scale": y[0],
            "y_zero": y[1],
            "w_scales": np.full(out, 0.002, np.float32),
        },
        **more,
    }


def int8_network() -> dict[str, Any]:
    """First layer, one block with a shortcut, one without, a classifier of five classes."""
    residual = {"params": {"x_scale": 0.07, "x_zero": -6, "y_scale": 0.09, "y_zero": 1}}
    branch = {
        "pointwise1": int8_layer(numbers(1, 8, 4, 1, 1), NARROW, WIDE),
        "depthwise": int8_layer(numbers(2, 8, 1, 3, 3), WIDE, WIDE, groups=8),
        "pointwise2": int8_layer(numbers(3, 4, 8, 1, 1), WIDE, (0.05, 3)),
        "residual": residual,
        "se": None,
    }
    down = {
        "pointwise1": None,
        "depthwise": int8_layer(numbers(4, 4, 1, 3, 3), (0.09, 1), WIDE, groups=4, stride=2),
        "pointwise2": int8_layer(numbers(5, 6, 4, 1, 1), WIDE, NARROW),
        "residual": None,
        "se": None,
    }
    return {
        "first_conv": int8_layer(numbers(0, 4, 3, 3, 3), INPUT, NARROW),
        "blocks": [branch, down],
        "feature_mix": None,
        "classifier": int8_layer(numbers(6, 5, 6, 1, 1), NARROW, (0.1, 0)),
    }


def zipped(data: bytes, **storages: bytes) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
    return file.getvalue()


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_numpy_pickles_comes_back(protocol: int) -> None:
    held = [np.arange(6, dtype=np.int32).reshape(2, 3), np.asfortranarray(np.eye(3, 2, 1, "f4"))]
    value = {"a": held, "n": np.float32(0.25), "t": (True, None, -3, "x")}
    found = read_pickle(pickle.dumps(value, protocol))
    for before, after in zip(held, found["a"], strict=True):
        read = array(after)
        assert read is not None
        assert read.dtype == before.dtype
        np.testing.assert_array_equal(read, before)
    assert found["n"] == 0.25
    assert found["t"] == (True, None, -3, "x")
    assert array(3) is None


@pytest.mark.parametrize("wrap", [bytes, zipped], ids=["plain", "archive"])
def test_int8_layers_become_a_network(tmp_path: Path, wrap: Any) -> None:
    path = tmp_path / "net.pkl"
    path.write_bytes(wrap(pickle.dumps(int8_network(), 2)))
    model = lilliput.load(path)
    graph = model.module.graphs["infer"]
    assert [n.op.name for n in graph.nodes] == [
        *["conv2d"] * 4,
        "add",
        *["conv2d"] * 2,
        "avg_pool2d",
        "conv2d",
        "reshape",
    ]
    assert {n.origin for n in graph.nodes} >= {"first_conv", "blocks.0.depthwise", "classifier"}
    assert graph.outputs[0].type.shape == (1, 5)
    x = numbers(9, 1, 8, 8, 3)
    first = model.run(x).values[graph.nodes[0].output.name]
    expected = np.zeros((8, 8, 4))
    weights, bias = numbers(0, 4, 3, 3, 3).astype(float), numbers(7, 4, dtype="int32")
    padded = np.pad(x[0].astype(float), ((1, 1), (1, 1), (0, 0)))
    for i in range(3):
        for j in range(3):
            expected += padded[i : i + 8, j : j + 8] @ weights[:, :, i, j].T
    real = (expected + bias) * (0.0078 * 0.002 / 0.07) - 6
    assert np.abs(first[0] - np.clip(real, -128, 127)).max() <= 0.51
    compiled = compiler.compile(model, devices.load("cortex-m4"), compiler.Options(compiler="none"))
    assert compiled.files


def architecture() -> dict[str, Any]:
    conv = {
        "name": "ConvLayer",
        "kernel_size": 3,
        "stride": 2,
        "dilation": 1,
        "groups": 1,
        "in_channels": 3,
        "out_channels": 4,
        "act_func": "relu6",
    }
    branch = {
        "name": "MBInvertedConvLayer",
        "in_channels": 4,
        "out_channels": 4,
        "kernel_size": 3,
        "stride": 1,
        "expand_ratio": 2,
        "mid_channels": None,
        "act_func": "relu6",
        "use_se": False,
    }
    shortcut = {"name": "IdentityLayer"}
    linear = {"name": "LinearLayer", "in_features": 4, "out_features": 5}
    return {
        "bn": {"eps": 1e-3},
        "first_conv": conv,
        "blocks": [{"mobile_inverted_conv": branch, "shortcut": shortcut}],
        "feature_mix_layer": None,
        "classifier": linear,
        "resolution": 8,
    }


def weights() -> dict[str, Array]:
    rng = np.random.default_rng(3)
    path = "blocks.0.mobile_inverted_conv"
    shapes = {
        "first_conv": (4, 3, 3, 3),
        f"{path}.inverted_bottleneck": (8, 4, 1, 1),
        f"{path}.depth_conv": (8, 1, 3, 3),
        f"{path}.point_linear": (4, 8, 1, 1),
    }
    found = dict[str, Array]()
    for name, shape in shapes.items():
        found[f"{name}.conv.weight"] = rng.normal(size=shape).astype("f4")
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{name}.bn.{part}"] = rng.uniform(0.5, 2, shape[0]).astype("f4")
        found[f"{name}.bn.num_batches_tracked"] = np.array(3)
    found["classifier.linear.weight"] = rng.normal(size=(5, 4)).astype("f4")
    found["classifier.linear.bias"] = rng.normal(size=5).astype("f4")
    return found


def older(state: dict[str, Array]) -> bytes:
    """As torch.save wrote a state_dict before 1.6, made by hand: persistent ids and storages."""

    class Writer(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return obj.key if isinstance(obj, Stored) else None

    class Stored:
        def __init__(self, key: tuple[Any, ...]):
            self.key = key

    class Tensor:
        def __init__(self, name: str, data: Array):
            self.name, self.data = name, data

        def __reduce__(self) -> Any:
            kind = "FloatStorage" if self.data.dtype == np.float32 else "LongStorage"
            key = ("storage", MARKS[kind], self.name, "cpu", self.data.size, None)
            steps = tuple(s // self.data.itemsize for s in self.data.strides)
            return MARKS["rebuild"], (Stored(key), 0, self.data.shape, steps, False, OrderedDict())

    file = BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(value, file, 2)
    body = BytesIO()
    Writer(body, 2).dump({"state_dict": OrderedDict((k, Tensor(k, v)) for k, v in state.items())})
    file.write(renamed(body.getvalue()))
    pickle.dump(list(state), file, 2)
    for data in state.values():
        file.write(struct.pack("<q", data.size) + data.tobytes())
    return file.getvalue()


def _rebuild() -> None: ...
def _float_storage() -> None: ...
def _long_storage() -> None: ...


MARKS = {"rebuild": _rebuild, "FloatStorage": _float_storage, "LongStorage": _long_storage}


def renamed(data: bytes) -> bytes:
    """The marks of this module under the names that torch gives them."""
    here = __name__.encode()
    for mark, name in (
        (b"_rebuild", b"torch._utils\n_rebuild_tensor_v2"),
        (b"_float_storage", b"torch\nFloatStorage"),
        (b"_long_storage", b"torch\nLongStorage"),
    ):
        data = data.replace(b"c" + here + b"\n" + mark + b"\n", b"c" + name + b"\n")
    return data


def test_an_architecture_with_its_weights(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "net.json").write_text(json.dumps(architecture()))
    path, state = tmp_path / "net.pth", weights()
    path.write_bytes(older(state))
    model = lilliput.load(path)
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("f4")
    run = model.run(x)
    first = run.values["first_conv.act"]
    gain = state["first_conv.bn.weight"] / np.sqrt(state["first_conv.bn.running_var"] + 1e-3)
    window = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))[2:5, 4:7]
    total = np.einsum("hwc,ochw->o", window, state["first_conv.conv.weight"])
    value = (total - state["first_conv.bn.running_mean"]) * gain + state["first_conv.bn.bias"]
    np.testing.assert_allclose(first[0, 1, 2], np.clip(value, 0, 6), atol=1e-4)
    assert model.module.outputs("infer")[0].type.shape == (1, 5)


def test_an_architecture_alone_is_planned(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text(json.dumps(architecture()))
    module = lilliput.load(path).module
    assert all(p.data is None for p in module.params.values())


def test_weights_alone_ask_for_the_architecture(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(older(weights()))
    with pytest.raises(FormatError, match=r"weights but no layers[\s\S]*net\.json"):
        lilliput.load(path)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        pickle.dumps({"a": complex(1)}),
        pickle.dumps({"a": Path("x")}),
        pickle.dumps(np.array([{}], object), 2),
        b"\x80\x04r\xff\xff\xff\xff.",
        b"\x80\x02}q\x00.trailing"[:3],
        zipped(b"\x80\x02cos\nsystem\n."),
    ],
    ids=["system", "eval", "complex", "path", "objects", "memo", "cut", "archive"],
)
def test_a_pickle_with_anything_else_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "net.pkl"
    path.write_bytes(data)
    with pytest.raises(FormatError):
        lilliput.load(path)


Place = tuple[str | int, ...]


@pytest.mark.parametrize(
    ("place", "value", "error", "message"),
    [
        (("classifier",), None, FormatError, "classifier"),
        (("blocks", 0, "se"), {"a": 1}, UnsupportedError, "squeeze-excite"),
        (("blocks", 0, "pointwise1", "stride"), 0, FormatError, "stride"),
        (("blocks", 0, "pointwise1", "act"), "relu", UnsupportedError, "activation"),
        (("first_conv", "params", "y_scale"), 0.0, FormatError, "y_scale"),
        (("first_conv", "params", "y_scale"), 0.5, FormatError, "scale and zero"),
        (("first_conv", "params", "x_zero"), 300, FormatError, "x_zero"),
        (("first_conv", "params", "bias"), np.zeros(3, "i4"), FormatError, "bias"),
        (("first_conv", "params", "weight"), None, FormatError, "weight"),
        (("blocks",), 3, FormatError, "list"),
    ],
)
def test_layers_that_cannot_be(
    tmp_path: Path, place: Place, value: object, error: type[ModelError], message: str
) -> None:
    network: Any = int8_network()
    inner = network
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path = tmp_path / "net.pkl"
    path.write_bytes(pickle.dumps(network, 2))
    with pytest.raises(error, match=message):
        lilliput.load(path)


WHOLE = pickle.dumps(int8_network(), 2)


@given(
    st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4
    ),
    st.integers(0, len(WHOLE)),
)
def test_mutated_pickles_are_refused_or_read(changes: list[tuple[int, int]], end: int) -> None:
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    try:
        read_pickle(bytes(data[: max(end, 2)]))
        read_pickle(bytes(data))
    except FormatError:
        pass


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("tiny_training/mbv2-w0.35.pkl", 16_758_912),
        ("tiny_training/mcunet-5fps.pkl", 22_613_504),
        ("tiny_training/proxyless-w0.3.pkl", 18_715_904),
        ("mcunet/mcunet-320kb-1mb_imagenet.pth", 81_785_520),
    ],
)
def test_the_published_ones(shared: Path, name: str, macs: int) -> None:
    model = lilliput.load(shared / "models" / name)
    nodes = model.module.graphs["infer"].nodes
    assert sum(n.op.cost(n).macs for n in nodes) == macs
    assert model.module.outputs("infer")[0].type.shape == (1, 1000)


FITTING = {"mbv2-w0.35": "stm32f746", "mcunet-5fps": "stm32h743", "proxyless-w0.3": "stm32f746"}
"""Each published checkpoint of integers, and a board that holds it."""


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.unicorn
@pytest.mark.parametrize("name", list(FITTING))
def test_published_integers_run(shared: Path, name: str) -> None:
    """Every value in memory is that of NumPy in C on this machine and on the board's core."""
    model = lilliput.load(shared / "models" / "tiny_training" / f"{name}.pkl")
    device = devices.load(FITTING[name])
    assert compiler.compile(model, device).summary.fits
    found = compiler.check(model, device, samples=2)
    assert found.ok
    assert found.exact
    assert not found.missing
    assert all(w.tensors for w in found.ways)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.unicorn
def test_published_floats_run(shared: Path) -> None:
    """3 MB of them, on a board of 4 MB; counting 80 million products would take minutes."""
    model = lilliput.load(shared / "models" / "mcunet" / "mcunet-320kb-1mb_imagenet.pth")
    device = devices.load("mps2-an500")
    compiled = compiler.compile(model, device)
    assert compiled.summary.fits
    found = prove(
        model.module,
        compiled.program,
        compiler.random_calls(model, 4, 0)[3:],
        hosts=host_compilers()[:1],
        target=(find(device.core), emulation_device(device.core)),
    )
    assert found.exact, str(found.difference)
    assert len(found.ways) == 3
    assert all(w.tensors for w in found.ways)


@pytest.mark.shared
def test_published_architectures_without_weights(shared: Path) -> None:
    """They are read and counted; what runs needs the weights."""
    found = sorted((shared / "models" / "mcunet" / "configs").glob("*.json"))
    assert len(found) == 13
    for path in found:
        nodes = lilliput.load(path).module.graphs["infer"].nodes
        assert sum(n.op.cost(n).macs for n in nodes) > 1_000_000
