"""Data sets from folders, tables and arrays, and what is wrong with them."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from lilliput.data import Reading, read
from lilliput.errors import DataError


def sound(
    path: Path, samples: int, *, rate: int = 16_000, seed: int = 0, channels: int = 1
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).integers(-999, 999, samples * channels).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(data.tobytes())


def picture(path: Path, size: tuple[int, int], seed: int = 0) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra data)")
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    image.fromarray(pixels).save(path)


def test_pictures_in_splits_and_classes(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 1)):
        for label in ("cat", "dog"):
            for k in range(count):
                picture(tmp_path / split / label / f"{k}.png", (12, 16), k)
    (tmp_path / ".hidden").write_text("passed over")
    data = read(tmp_path, Reading(size=(8, 8)))
    assert list(data) == ["test", "train"]
    assert data.classes == ("cat", "dog")
    assert data["train"].x.shape == (6, 8, 8, 3)
    assert data["train"].x.dtype == np.uint8
    assert data["train"].y is not None
    assert data["train"].y.tolist() == [0, 0, 0, 1, 1, 1]
    assert read(tmp_path, Reading(channels=1))["test"].x.shape == (2, 12, 16, 1)


def test_speakers_stay_together_and_in_their_split(tmp_path: Path) -> None:
    for speaker in range(12):
        for take in range(3):
            sound(tmp_path / "yes" / f"s{speaker}_nohash_{take}.wav", 100, seed=speaker)
    reading = Reading(group=r"^(.*)_nohash", window=80, parts={"train": 0.5, "test": 0.5})
    data = read(tmp_path, reading)
    train, test = data["train"].groups, data["test"].groups
    assert train is not None
    assert test is not None
    assert not set(train) & set(test)
    assert len(data["train"]) + len(data["test"]) == 36
    assert data["train"].x.dtype == np.int16
    before = set(train)
    sound(tmp_path / "yes" / "another_nohash_0.wav", 100)
    again = read(tmp_path, reading)["train"].groups
    assert again is not None
    assert set(again) - {"another"} == before


def test_windows_of_recordings(tmp_path: Path) -> None:
    rows = "\n".join(f"{k},{-k},0.5" for k in range(10))
    for label in ("walk", "run"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.csv").write_text(f"x,y,z\n{rows}\n")
    reading = Reading(window=4, stride=3, parts={"all": 1.0})
    x = read(tmp_path, reading)["all"].x
    assert x.shape == (6, 4, 3)
    assert x[1, :, 0].tolist() == [3, 4, 5, 6]
    (tmp_path / "run" / "short.csv").write_text("7,7,7\n")
    padded = read(tmp_path, reading)["all"].x
    assert padded.shape == (7, 4, 3)
    assert [7, 7, 7] in padded[:, 0].tolist()


def test_a_table_with_a_class_and_a_split(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,split,class,b\n1,train,up,2\n3,test,down,4\n5,train,down,6\n")
    data = read(path)
    assert data.classes == ("down", "up")
    assert data["train"].x.tolist() == [[1, 2], [5, 6]]
    assert data["test"].y is not None
    assert data["test"].y.tolist() == [0]


@pytest.mark.parametrize("form", ["named", "column", "neither"])
def test_arrays(tmp_path: Path, form: str) -> None:
    path, x, y = tmp_path / "d.npz", np.arange(20).reshape(10, 2), np.arange(10) % 3
    if form == "named":
        np.savez(path, x_train=x[:6], y_train=y[:6], x_test=x[6:], y_test=y[6:])
    elif form == "column":
        split = np.array(["train"] * 6 + ["test"] * 4)
        np.savez(path, x=x, y=y, split=split, classes=np.array(["a", "b", "c"]))
    else:
        np.savez(path, x=x, y=y)
    data = read(path)
    assert sorted(data) == ["test", "train"]
    together = np.concatenate([data[n].x for n in data])
    assert sorted(together.tolist()) == x.tolist()
    assert data.classes == (("a", "b", "c") if form == "column" else ())
    for name in data:
        split = data[name]
        assert split.y is not None
        assert (split.y == split.x[:, 0] // 2 % 3).all()
    np.save(tmp_path / "x.npy", x)
    assert sum(len(s) for s in read(tmp_path / "x.npy").splits.values()) == 10


def test_what_is_wrong_is_listed_at_once(tmp_path: Path) -> None:
    sound(tmp_path / "a" / "1.wav", 50)
    sound(tmp_path / "a" / "2.wav", 50, rate=8_000)
    sound(tmp_path / "a" / "3.wav", 50, channels=2)
    (tmp_path / "a" / "4.wav").write_bytes(b"RIFFnonsense")
    (tmp_path / "a" / "5.txt").write_text("x")
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    sound(tmp_path / "a" / "b" / "c" / "6.wav", 50)
    with pytest.raises(DataError) as e:
        read(tmp_path)
    words = str(e.value)
    for part in ("8000", "2 of 16 bits", "4.wav", "5.txt", "too many folders"):
        assert part in words
    assert len(e.value.problems) == 5


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.csv", "1,2\n3\n", "row of another length"),
        ("t.csv", "1,2\n3,x\n", "not a number"),
        ("t.csv", "1,2\n3,nan\n", "not a number"),
        ("t.csv", "", "without rows"),
        ("t.txt", "1", "no data set"),
        ("t.npz", "junk", "arrays cannot be read"),
        ("t.npy", "junk", "arrays cannot be read"),
    ],
)
def test_files_that_are_no_data(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        read(tmp_path / name)


def test_arrays_that_do_not_fit_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 2)), y=np.zeros(4))
    with pytest.raises(DataError, match="several lengths"):
        read(tmp_path / "d.npz")
    np.savez(tmp_path / "o.npz", x=np.array([{}], object))
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "o.npz")
    np.savez(tmp_path / "n.npz", z=np.zeros(3))
    with pytest.raises(DataError, match="no examples"):
        read(tmp_path / "n.npz")


def test_shapes_that_differ_ask_for_a_size(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "a" / "1.png", (8, 8))
    picture(tmp_path / "train" / "a" / "2.png", (9, 8))
    with pytest.raises(DataError, match=r"several shapes[\s\S]*give a size"):
        read(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no examples"):
        read(tmp_path)
    with pytest.raises(DataError, match="no data set"):
        read(tmp_path / "missing")
    with pytest.raises(DataError, match="shares"):
        Reading(parts={"train": 0.5})
    np.savez(tmp_path / "d.npz", x_all=np.zeros((3, 2)))
    with pytest.raises(DataError, match="no such split"):
        read(tmp_path / "d.npz")["train"]
