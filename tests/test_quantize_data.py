"""What quantising learns from: every form of data, what is odd about it, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tests.quantised import float_digits, pictures, varied

import lilliput
from lilliput import Quantization
from lilliput.demo_data import load_digits_split
from lilliput.errors import DataError, LilliputError, UnsupportedError, UsageError
from lilliput.ir import Array, Builder, Module
from lilliput.ir.types import f32
from lilliput.ops.conv import conv2d
from lilliput.ops.elementwise import Clamp, clamp
from lilliput.ops.reduce import Reduction, mean
from lilliput.ops.unary import UNARY
from lilliput.quant.batch import evenly
from lilliput.quant.data import samples

FEW = 40


@cache
def network() -> Module:
    return float_digits()


def digits(count: int = FEW) -> tuple[Array, Array]:
    found = load_digits_split()
    return found.x_train[:count].astype(np.float32), found.y_train[:count]


def scales(found: lilliput.Quantized) -> dict[str, float]:
    return {name: q.scale[0] for name, q in found.encodings.activations.items()}


# Forms ------------------------------------------------------------------------------------


def test_every_form_of_the_same_data_gives_the_same_integers(tmp_path: Path) -> None:
    x, y = digits()
    wanted = scales(lilliput.quantize(network(), x))
    (entry,) = network().inputs("infer")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    np.save(tmp_path / "data.npy", x)
    folder = tmp_path / "folder"
    folder.mkdir()
    for k, row in enumerate(x):
        np.save(folder / f"{k:03}.npy", row)

    def batches() -> Iterator[tuple[Array, Array]]:
        for k in range(0, FEW, 16):
            yield x[k : k + 16], y[k : k + 16]

    forms = {
        "mapping": {entry.name: x},
        "rows": list(x),
        "one by one": [row[None] for row in x],
        "batches": batches(),
        "mappings": [{"x": x[:7]}, {"x": x[7:]}],
        ".npz": tmp_path / "data.npz",
        ".npy": str(tmp_path / "data.npy"),
        "folder": folder,
    }
    for name, given in forms.items():
        assert scales(lilliput.quantize(network(), given)) == wanted, name


def test_a_loader_of_torch_is_gone_through() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra torch)")
    x, y = digits()
    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    found = lilliput.quantize(network(), torch.utils.data.DataLoader(data, batch_size=16))
    assert scales(found) == scales(lilliput.quantize(network(), x))


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra data)")
    x, y = digits()
    grey = np.rint(x[..., 0]).astype(np.uint8)
    for k, (row, label) in enumerate(zip(grey, y, strict=True)):
        place = tmp_path / str(label)
        place.mkdir(exist_ok=True)
        image.fromarray(row).save(place / f"{k:03}.png")
    found = lilliput.quantize(network(), tmp_path)
    listed = grey[np.argsort(y, kind="stable"), ..., None]  # sums of float may tell orders apart
    assert scales(found) == scales(lilliput.quantize(network(), listed))
    (tmp_path / "0" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"not a picture"):
        lilliput.quantize(network(), tmp_path)


def test_a_folder_with_nothing_in_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no examples"):
        lilliput.quantize(network(), tmp_path)


@pytest.mark.parametrize("name", ["missing.npz", "text.npy", "objects.npz"])
def test_files_that_hold_no_arrays(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "text.npy":
        path.write_text("1, 2, 3")
    if name == "objects.npz":
        np.savez(path, x=np.array([{}], object))
    with pytest.raises(DataError, match="arrays cannot be read"):
        lilliput.quantize(network(), path)


# What is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "nothing to go through"),
        (5, "no array"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, "not named like the inputs"),
        (np.inf * pictures(8), "NaN or infinity"),
        (pictures(8)[:, :4], "another shape"),
        (pictures(8)[0], "too few samples"),
    ],
)
def test_data_that_cannot_be_used(given: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        lilliput.quantize(varied(), given)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.arange(FEW) % 11, "labels are no classes"),
        (np.arange(FEW) - 1, "labels are no classes"),
        (np.zeros(3, np.int64), "labels do not fit"),
        (np.zeros(FEW, np.float32), "labels do not fit"),
    ],
)
def test_labels_that_are_none(labels: Array, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        lilliput.quantize(network(), digits()[0], labels=labels)


def test_groups_of_another_count() -> None:
    x, y = digits()
    with pytest.raises(UsageError, match="groups do not fit"):
        lilliput.quantize(network(), x, labels=y, groups=["a"])


def test_an_activation_that_never_fires() -> None:
    b = Builder()
    x = b.input("x", f32(1, 2, 2, 3))
    w = b.param("w", -np.ones((4, 1, 1, 3), np.float32))
    y = b.add(clamp, (b.add(conv2d, (x, w)),), Clamp(0.0), name="dead")
    module = b.module((b.add(mean, (y,), Reduction((1, 2))),))
    data = np.random.default_rng(0).uniform(0, 1, (40, 2, 2, 3))
    with pytest.raises(UsageError, match="never fires"):
        lilliput.quantize(module, data)
    found = lilliput.quantize(module, data, Quantization(allow_dead=True))
    assert any("never fires" in text for text in found.outcome.warnings)


# Sorted data ------------------------------------------------------------------------------


def test_sorted_data_are_looked_at_evenly() -> None:
    graph = network().graphs["infer"]
    (entry,) = graph.inputs
    rows = np.arange(1000, dtype=np.float32).reshape(-1, 1, 1, 1)
    count, part = evenly(graph, {entry.name: np.broadcast_to(rows, (1000, 8, 8, 1))}, 5)
    assert count == 5
    assert part[entry.name][:, 0, 0, 0].tolist() == [0, 250, 500, 749, 999]


def test_rounding_learns_as_much_from_sorted_data() -> None:
    digits_split = load_digits_split()
    order = np.argsort(digits_split.y_train[:1000], kind="stable")
    options = Quantization(adaptive_rounding=True, bias_correction=True)
    found = lilliput.quantize(
        network(),
        digits_split.x_train[:1000][order],
        options,
        test=digits_split.x_test,
        labels=digits_split.y_test,
    )
    seen = found.outcome.evaluated
    assert seen is not None
    assert seen.integer_accuracy is not None
    assert seen.float_accuracy is not None
    assert seen.integer_accuracy > seen.float_accuracy - 0.01


def test_a_missing_class_is_told_of(tmp_path: Path) -> None:
    x, y = digits(300)
    some = y < 7
    np.savez(tmp_path / "some.npz", x=x[some], y=y[some])
    forms = {
        "labels": lilliput.quantize(network(), x[some], labels=y[some]),
        ".npz": lilliput.quantize(network(), tmp_path / "some.npz"),
        "loader": lilliput.quantize(network(), [(x[some], y[some])]),
    }
    for name, found in forms.items():
        said = [text for text in found.outcome.warnings if "3 classes (7, 8, 9)" in text]
        assert len(said) == 1, name
    whole = lilliput.quantize(network(), x, labels=y)
    assert not any("classes" in text for text in whole.outcome.warnings)


def test_classes_beside_an_input_of_their_name_are_data() -> None:
    b = Builder()
    b.input("y", f32(1, 4))
    graph = b.graph(())
    found = samples({"y": np.random.default_rng(0).normal(size=(9, 4))}, graph.inputs)
    assert found.labels is None


# Options ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ranges", ["percentile", "mse", "kl"])
def test_rare_values_are_cut_off(ranges: str) -> None:
    x, y = digits(200)
    plain = lilliput.quantize(network(), x)
    found = lilliput.quantize(network(), x, Quantization(ranges=ranges), labels=y)
    before, after = scales(plain), scales(found)
    (entry,) = network().inputs("infer")
    assert after[entry.name] == before[entry.name]
    assert all(after[name] <= before[name] * (1 + 1e-6) for name in before)
    assert any(after[name] < 0.99 * before[name] for name in before)
    seen = found.outcome.evaluated
    assert seen is not None
    assert seen.integer_accuracy is not None
    assert seen.integer_accuracy > 0.95


def test_rare_values_are_worth_a_step_of_16_bits() -> None:
    x, _ = digits(200)
    plain = lilliput.quantize(network(), x, Quantization("int16"))
    assert scales(lilliput.quantize(network(), x, Quantization("int16", "mse"))) == scales(plain)


def test_kl_is_for_8_bits_and_other_names_are_none() -> None:
    x, _ = digits()
    with pytest.raises(UsageError, match="8 bits"):
        lilliput.quantize(network(), x, Quantization("int16", "kl"))
    with pytest.raises(UsageError, match="minmax"):
        lilliput.quantize(network(), x, Quantization(ranges="widest"))
    with pytest.raises(UsageError, match="int8 or int16"):
        lilliput.quantize(network(), x, Quantization("int4"))


@pytest.mark.parametrize("symmetric", [False, True])
def test_symmetric_heads_have_zero_at_zero(symmetric: bool) -> None:
    data = np.random.default_rng(0).normal(0.5, 1, size=(40, 4, 4, 4))
    options = Quantization(allow_float=True, symmetric_heads=symmetric)
    head = lilliput.quantize(_with_erf(), data, options).model.module.outputs("infer")[0]
    assert (head.type.zero_point == 0) is symmetric


def test_groups_are_compared() -> None:
    x, y = digits(200)
    groups = np.where(np.arange(200) % 4 == 0, "left", "right")
    found = lilliput.quantize(network(), x, labels=y, groups=groups)
    seen = found.outcome.evaluated
    assert seen is not None
    assert seen.worst_gap is not None
    assert [(p.name, p.samples) for p in seen.groups] == [("left", 50), ("right", 150)]
    accuracies = [p.integer_accuracy for p in seen.groups]
    assert seen.worst_gap[1] == pytest.approx(max(accuracies) - min(accuracies))
    assert sum(p.flips for p in seen.groups) == seen.flips


def _with_erf() -> Module:
    """An operator without an integer form between two that have one."""
    rng = np.random.default_rng(4)
    b = Builder()
    x = b.input("x", f32(1, 4, 4, 4))
    first = b.param("w", rng.normal(0, 0.5, (8, 1, 1, 4)).astype(np.float32))
    y = b.add(UNARY["erf"], (b.add(conv2d, (x, first), name="first"),), name="bent")
    last = b.param("v", rng.normal(0, 0.5, (3, 1, 1, 8)).astype(np.float32))
    return b.module((b.add(conv2d, (y, last), name="last"),))


def test_floats_are_refused_or_told() -> None:
    data = np.random.default_rng(0).normal(size=(40, 4, 4, 4))
    with pytest.raises(UnsupportedError, match="--allow-float"):
        lilliput.quantize(_with_erf(), data)
    found = lilliput.quantize(_with_erf(), data, Quantization(allow_float=True))
    assert len(found.outcome.floats) == 1
    assert "bent" in found.outcome.floats[0]


def test_errors_are_lilliputs(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(LilliputError):
        lilliput.quantize(network(), tmp_path / "x.npz")
