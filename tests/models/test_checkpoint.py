import errno
import io
import os
import pickle
import zipfile

import pytest
import torch

from errors import DataError
from models.checkpoint import copy_checkpoint, load_checkpoint, model_sha256, save_checkpoint


def content(value: float = 1.0) -> dict:
    return {
        "model": {"weight": torch.full((50, 50), value)},
        "vocabulary": ["HAUS", "ÜBEN", "می\u200cخواهم"],
        "config": {
            "training": {"epochs": 3, "data_dir": None},
            "model": {"inception_widths": [8, 8]},
        },
        "corpus": {
            "name": "x",
            "path": "p",
            "fingerprint": "f",
            "simulated": True,
            "composed": False,
        },
        "decoder": {"steps_per_gloss": 3.5},
        "training": {
            "progress": {"hypotheses": {4: [1, 2]}, "history": [{"dev_loss": float("nan")}]},
            "stopping": {},
            "optimizer": {},
            "scaler": {},
        },
    }


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_loaded_checkpoint_has_the_saved_content(tmp_path):
    path = tmp_path / "last.pth"
    save_checkpoint(path, content())
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["model"]["weight"], torch.ones(50, 50))
    for key in ("vocabulary", "config", "corpus", "decoder"):
        assert loaded[key] == content()[key]
    assert loaded["training"]["progress"]["hypotheses"] == {4: [1, 2]}, "keys are still numbers"
    assert names(tmp_path) == ["last.pth", "last.pth.sha256"]
    assert torch.load(path, weights_only=True)["vocabulary"] == ["HAUS", "ÜBEN", "می\u200cخواهم"]


def test_saving_again_replaces_the_checkpoint(tmp_path):
    path = tmp_path / "last.pth"
    save_checkpoint(path, content(1.0))
    save_checkpoint(path, content(2.0))
    assert load_checkpoint(path)["model"]["weight"].unique().tolist() == [2.0]
    assert names(tmp_path) == ["last.pth", "last.pth.sha256"]


def test_a_copy_stays_when_the_source_is_replaced(tmp_path):
    last, best = tmp_path / "last.pth", tmp_path / "best_model.pth"
    save_checkpoint(last, content(1.0))
    copy_checkpoint(last, best)
    save_checkpoint(last, content(2.0))
    assert load_checkpoint(best)["model"]["weight"].unique().tolist() == [1.0]
    copy_checkpoint(last, best)
    assert load_checkpoint(best)["model"]["weight"].unique().tolist() == [2.0]
    assert names(tmp_path) == [
        "best_model.pth",
        "best_model.pth.sha256",
        "last.pth",
        "last.pth.sha256",
    ]


def test_a_copy_works_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    last, best = tmp_path / "last.pth", tmp_path / "best_model.pth"
    save_checkpoint(last, content(1.0))
    copy_checkpoint(last, best)
    assert load_checkpoint(best)["model"]["weight"].unique().tolist() == [1.0]


def test_a_damaged_byte_is_found(tmp_path):
    path = tmp_path / "last.pth"
    save_checkpoint(path, content())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"checkpoint .*last\.pth is damaged: SHA-256 .*last\.pth\.sha256"
    ):
        load_checkpoint(path)


@pytest.mark.parametrize("with_hash", [True, False])
def test_a_truncated_checkpoint_is_refused(tmp_path, with_hash):
    path = tmp_path / "last.pth"
    save_checkpoint(path, content())
    data = path.read_bytes()
    if not with_hash:
        (tmp_path / "last.pth.sha256").unlink()
    for size in (0, 1, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match=r"last\.pth") as error:
            load_checkpoint(path)
        assert "\n" not in str(error.value)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"checkpoint .*none\.pth does not exist: expected best_model\.pth"
    ):
        load_checkpoint(tmp_path / "none.pth")
    with pytest.raises(DataError, match="is a folder: expected a file such as best_model"):
        load_checkpoint(tmp_path)


class Payload:
    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path, how):
    path, trace = tmp_path / "evil.pth", tmp_path / "was-run"
    evil = {"format_version": 1, **content(), "model": Payload(str(trace))}
    if how == "torch":
        torch.save(evil, path)
    else:
        path.write_bytes(pickle.dumps(evil))
    with pytest.raises(DataError, match=r"evil\.pth cannot be read"):
        load_checkpoint(path)
    assert not trace.exists()


def a_zip(inner: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(inner, b"x" * 100)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello world, this is not a checkpoint\n" * 20,
        b"\x80\x02",
        b"\x80\x02}q\x00.",
        b"\x93NUMPY\x01\x00v\x00" + b" " * 118,
        bytes(range(256)) * 8,
        b"(((((",
        b"0" * 64,
        pickle.dumps([1, 2, 3]),
        pickle.dumps(content()["config"], protocol=0),
        a_zip("archive/data.pkl"),
        a_zip("readme.txt"),
    ],
    ids=[
        *("empty", "text", "pickle magic", "empty pickle", "npy header", "all bytes"),
        *(
            "open brackets",
            "zeros",
            "pickled list",
            "pickled settings",
            "zip like torch's",
            "another zip",
        ),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(tmp_path, data):
    path = tmp_path / "file.pth"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"file\.pth") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ([1, 2], "is not one of this project's"),
        ({"model": {}}, "is not one of this project's"),
        ({**content(), "format_version": 99}, "is not one of this project's"),
        (
            {"format_version": 1, "model": {}, "config": {}},
            "has no usable 'vocabulary': expected a list",
        ),
    ],
)
def test_another_programs_checkpoint_is_refused(tmp_path, saved, message):
    torch.save(saved, tmp_path / "other.pth")
    with pytest.raises(DataError, match=message):
        load_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter\nx")],
)
def test_a_full_disk_leaves_the_previous_checkpoint_and_nothing_else(tmp_path, monkeypatch, error):
    path = tmp_path / "last.pth"
    save_checkpoint(path, content(1.0))

    def half(_, target):
        target.write(b"half of it")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(
            DataError, match=r"cannot write .*last\.pth .*previous checkpoint is untouched"
        ) as refused:
            save_checkpoint(path, content(2.0))
    assert "\n" not in str(refused.value)
    assert load_checkpoint(path)["model"]["weight"].unique().tolist() == [1.0]
    assert names(tmp_path) == ["last.pth", "last.pth.sha256"]


LIMITED_WRITE = """
import resource, sys, torch
from pathlib import Path
from errors import DataError
from models.checkpoint import save_checkpoint
content = dict.fromkeys(("vocabulary", "config", "corpus", "decoder", "training"), 0)
path = Path(sys.argv[1])
save_checkpoint(path, {"model": torch.ones(10), **content})
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    save_checkpoint(path, {"model": torch.zeros(1_000_000), **content})
except DataError as error:
    print(error)
"""


def test_a_write_above_the_systems_size_limit_keeps_the_previous_checkpoint(tmp_path, run_script):
    result = run_script("-c", LIMITED_WRITE, tmp_path / "last.pth")
    assert result.returncode == 0, result.stderr
    assert "cannot write" in result.stdout and result.stdout.count("\n") == 1
    assert torch.load(tmp_path / "last.pth", weights_only=True)["model"].tolist() == [1.0] * 10
    assert names(tmp_path) == ["last.pth", "last.pth.sha256"]


def test_a_crash_between_checkpoint_and_hash_leaves_a_checkpoint_that_loads(tmp_path, monkeypatch):
    path = tmp_path / "last.pth"
    save_checkpoint(path, content(1.0))

    class PowerCutError(BaseException):
        pass

    replace = os.replace
    for survived in (0, 1, 2, 3):
        calls = []

        def cut(source, target, calls=calls, survived=survived):
            calls.append(target)
            if len(calls) > survived:
                raise PowerCutError
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", cut)
            try:
                save_checkpoint(path, content(2.0 + survived))
            except PowerCutError:
                assert survived < 3  # hash file with both, checkpoint, hash file with the new one
        expected = 1.0 if survived < 2 else 2.0 + survived
        assert load_checkpoint(path)["model"]["weight"].unique().tolist() == [expected]
        assert (tmp_path / "last.pth.sha256").exists(), "the hash file exists at every moment"


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot write .*last\.pth"):
        save_checkpoint(tmp_path / "absent" / "last.pth", content())
    (tmp_path / "last.pth").mkdir()
    with pytest.raises(DataError, match=r"cannot write .*last\.pth"):
        save_checkpoint(tmp_path / "last.pth", content())


def test_the_hash_of_a_model_changes_with_what_it_predicts_alone():
    content = {
        "kind": "teacher",
        "model": {"b": torch.tensor([1.0, 2.0]), "a": torch.tensor([3])},
        "vocabulary": ["RAIN", "SUN"],
        "config": {"model": {"conformer_width": 8}, "training": {"epochs": 3}},
        "decoder": {"steps_per_gloss": 4.0},
    }
    same = {
        **content,
        "model": {"a": torch.tensor([3]), "b": torch.tensor([1.0, 2.0])},
        "config": {**content["config"], "training": {"epochs": 4}},
        "decoder": {"steps_per_gloss": 5.0},
    }
    assert model_sha256(content) == model_sha256(same)
    others = [
        {"kind": "student"},
        {"model": {**content["model"], "b": torch.tensor([1.0, 2.5])}},
        {"model": {**content["model"], "b": torch.tensor([[1.0, 2.0]])}},
        {"model": {"b": content["model"]["a"], "a": content["model"]["b"]}},
        {"vocabulary": ["SUN", "RAIN"]},
        {"config": {"model": {"conformer_width": 16}}},
    ]
    found = {model_sha256({**content, **other}) for other in others}
    assert len(found) == len(others) and model_sha256(content) not in found
