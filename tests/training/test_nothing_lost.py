"""Nothing is lost and nothing goes wrong in silence: what continuing, full disks and broken numbers
must not do."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import train_teacher
from data.batching import load_batch
from data.corpus import Corpus
from errors import DataError, DivergenceError, UsageError, run_script
from models.checkpoint import load_checkpoint, save_checkpoint
from models.config import ModelConfig
from models.ctc_head import CosineHead
from models.masking import MaskedBatchNorm
from training.config import Config
from training.overfit_check import run_overfit_check
from training.resume import plan_start
from training.stop_signals import InterruptedRunError
from training.trainer import Trainer


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_nan_in_the_landmarks_is_refused_and_named(split, tiny_corpus, tiny_yaml, tmp_path):
    corpus = Path(shutil.copytree(tiny_corpus, tmp_path / "corpus"))
    path = corpus / f"{split}.landmarks.npy"
    landmarks = np.load(path)
    second = Corpus(tiny_corpus).split(split).sentences[0].frames
    landmarks[second, 515, 0] = np.nan
    np.save(path, landmarks)
    with pytest.raises(
        DataError, match=f"{split} sentence {split}-01: landmarks hold NaN or infinite values"
    ):
        train_teacher.main(["--config", str(tiny_yaml), "--data_dir", str(corpus)])
    opened = Corpus(corpus).split(split)
    load_batch(opened, np.array([0, 2, 3]))


def test_numbers_that_are_not_finite_do_not_stay_in_the_running_statistics():
    norm = MaskedBatchNorm(2)
    x = torch.randn(1, 2, 6)
    norm(x, torch.ones(1, 1, 6))
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    for bad in (math.nan, math.inf, 1e30):  # the last one's square is infinite
        x[0, 0, 3] = bad
        norm(x, torch.ones(1, 1, 6))
        assert norm.running_mean[0] == mean[0] and norm.running_var[0] == variance[0]
        assert norm.running_mean[1] != mean[1], "the other channel goes on"


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot write .*last\.pth"):
        save_checkpoint(tmp_path / "file" / "last.pth", {})


@pytest.mark.parametrize(
    "name", ["config.yaml", "metrics.jsonl", "result.json", "dev_hypotheses.csv"]
)
def test_a_full_disk_is_one_line_whatever_is_written(name, tiny_yaml, tmp_path):
    blocked = tmp_path / "run" / name
    original = Path.write_text

    def full(path, *arguments, **options):
        if path == blocked:
            raise OSError(28, "No space left on device")
        return original(path, *arguments, **options)

    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(DataError, match=r"cannot write to .*No space left"),
    ):
        patch.setattr(Path, "write_text", full)
        train_teacher.main(["--config", str(tiny_yaml), "--epochs", "1"])


def test_a_given_setting_is_judged_beside_the_checkpoints_settings(run_copy):
    # Above the default peak, below the checkpoint's
    overrides = {"training": {"min_learning_rate": 0.005}}
    assert plan_start(str(run_copy / "last.pth"), overrides).config.training.learning_rate == 0.01


def test_a_complete_run_continued_elsewhere_is_whole_there(execute_run, run_copy, tmp_path):
    execute_run({"training": {"output_dir": str(tmp_path / "other")}}, run_copy / "last.pth")
    names = {path.name for path in run_copy.iterdir() if not path.name.startswith("previous.pth")}
    assert {path.name for path in (tmp_path / "other").iterdir()} == names
    assert (tmp_path / "other" / "metrics.jsonl").read_text() == (
        run_copy / "metrics.jsonl"
    ).read_text()


def test_a_lone_checkpoint_without_its_best_model_is_refused_before_training(
    run_copy, execute_run, tmp_path
):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    checkpoint["training"]["progress"] |= {"finished": False, "epoch": 3, "group": 1}
    checkpoint["training"]["progress"]["history"] = checkpoint["training"]["progress"]["history"][
        :2
    ]
    # That nothing will beat
    checkpoint["training"]["stopping"] |= {"best_epoch": 1, "best_wer": 0.0}
    (tmp_path / "alone").mkdir()
    save_checkpoint(tmp_path / "alone" / "teacher.pth", checkpoint)
    with pytest.raises(DataError, match=r"its best model so far \(epoch 1\) is not beside it"):
        execute_run({}, tmp_path / "alone" / "teacher.pth")


def test_a_lone_checkpoint_that_is_the_best_itself_can_be_continued(
    run_copy, execute_run, tmp_path
):
    best = load_checkpoint(run_copy / "best_model.pth")["training"]
    (tmp_path / "alone").mkdir()
    shutil.copy(run_copy / "best_model.pth", tmp_path / "alone" / "teacher_v1.pth")
    assert best["stopping"]["best_epoch"] == len(best["progress"]["history"])
    _, result = execute_run({}, tmp_path / "alone" / "teacher_v1.pth")
    assert result["epochs_run"] == 3


def test_a_best_model_that_a_kill_kept_from_being_copied(run_copy, execute_run):
    """last.pth says that its epoch is the best; best_model.pth is still the one before."""
    last = load_checkpoint(run_copy / "last.pth")
    last["training"]["stopping"]["best_epoch"] = 3
    last["model"]["head.weight"] = last["model"]["head.weight"] + 1
    save_checkpoint(run_copy / "last.pth", last)
    execute_run({}, run_copy / "last.pth")
    assert torch.equal(
        load_checkpoint(run_copy / "best_model.pth")["model"]["head.weight"],
        last["model"]["head.weight"],
    )


def test_a_run_continued_in_its_first_epoch_moves_what_is_in_the_other_folder_aside(
    tiny_settings, execute_run, run_copy, tmp_path
):
    settings = {
        **tiny_settings,
        "training": {**tiny_settings["training"], "output_dir": str(tmp_path / "first")},
    }
    original = Trainer.update

    def stop(self, batches):
        original(self, batches)
        save_checkpoint(self.folder / "last.pth", self.state())
        raise InterruptedRunError(15)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr(Trainer, "update", stop)
        execute_run(settings)
    earlier = (run_copy / "best_model.pth").read_bytes()
    execute_run({"training": {"output_dir": str(run_copy)}}, tmp_path / "first" / "last.pth")
    assert (run_copy.with_name("copy.earlier-1") / "best_model.pth").read_bytes() == earlier


def test_a_fine_tune_that_was_interrupted_still_knows_what_it_started_from(execute_run, run_copy):
    overrides = {
        "training": {
            "learning_rate": 0.001,
            "epochs": 2,
            "output_dir": str(run_copy.with_name("tuned")),
        }
    }

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "update", stop)
        execute_run(overrides, run_copy / "best_model.pth")
    _, result = execute_run({"training": {"output_dir": str(run_copy.with_name("tuned"))}}, "auto")
    assert result["loaded_dev_wer"] > 0


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_the_heads_scale_is_a_number_above_zero(value):
    with pytest.raises(UsageError, match=r"model\.head_scale .*expected a number above 0"):
        ModelConfig(head_scale=value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training", {}),
        ("corpus", {}),
        ("config", []),
        ("model", 5),
        ("decoder", {}),
        ("vocabulary", {}),
        ("kind", {}),
    ],
)
def test_a_checkpoint_that_was_doctored_inside_is_refused(key, value, run_copy, tmp_path):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    checkpoint.pop("format_version")
    save_checkpoint(tmp_path / "doctored.pth", {**checkpoint, key: value})
    with pytest.raises(DataError, match=f"no usable '{key}'"):
        load_checkpoint(tmp_path / "doctored.pth")


def test_a_training_state_of_another_version_cannot_be_continued(run_copy, capsys):
    checkpoint = load_checkpoint(run_copy / "last.pth")
    checkpoint.pop("format_version")
    known = checkpoint["training"]["progress"]
    for progress in (
        {**known, "laps": 3},
        {name: value for name, value in known.items() if name != "skipped_updates"},
    ):
        changed = {**checkpoint, "training": {**checkpoint["training"], "progress": progress}}
        save_checkpoint(run_copy / "last.pth", changed)
        with pytest.raises(DataError, match=r"can be fine-tuned from.*but not continued"):
            train_teacher.main(["--resume", str(run_copy / "last.pth")])


def test_a_fine_tune_never_takes_its_checkpoints_folder(run_copy):
    given = {"training": {"output_dir": str(run_copy), "learning_rate": 1e-3}}
    start = plan_start(str(run_copy / "best_model.pth"), given)
    assert Path(start.config.training.output_dir) == run_copy.with_name("copy_finetune")


def test_a_checkpoint_in_the_current_folder_can_be_fine_tuned_from(run_copy, monkeypatch):
    monkeypatch.chdir(run_copy)
    assert (
        train_teacher.main(
            ["--resume", "best_model.pth", "--learning_rate", "0.001", "--epochs", "1"]
        )
        == 0
    )
    assert (run_copy.with_name("copy_finetune") / "result.json").is_file()


def test_a_fresh_run_in_the_current_folder_moves_the_earlier_one_aside(
    run_copy, tiny_yaml, monkeypatch
):
    monkeypatch.chdir(run_copy)
    before = (run_copy / "result.json").read_text()
    assert (
        train_teacher.main(["--config", str(tiny_yaml), "--output_dir", ".", "--epochs", "1"]) == 0
    )
    assert (run_copy.with_name("copy.earlier-1") / "result.json").read_text() == before
    assert (run_copy / "result.json").read_text() != before


def test_extending_a_vocabulary_without_a_checkpoint_is_refused(tiny_yaml):
    with pytest.raises(
        UsageError,
        match=r"--extend_vocabulary extends a checkpoint's vocabulary, and there is none",
    ):
        train_teacher.main(["--config", str(tiny_yaml), "--extend_vocabulary"])


def test_a_warm_up_as_long_as_the_run_is_said(tiny_yaml, capsys):
    assert (
        train_teacher.main(
            ["--config", str(tiny_yaml), "--epochs", "2", "--warmup_epochs", "2", "--dry_run"]
        )
        == 0
    )
    assert "--warmup_epochs 2 is no shorter than --epochs 2" in capsys.readouterr().out


def test_the_overfit_check_does_not_run_on_through_nan(tiny_settings, monkeypatch):
    tiny_settings["training"]["epochs"] = 10
    monkeypatch.setattr("torch.nn.utils.clip_grad_norm_", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(DivergenceError, match="gradient of epoch 1 is not finite"):
        run_overfit_check(Config().updated(tiny_settings), 2)


def test_an_error_of_the_system_is_one_line_and_exit_3(capsys):
    def main() -> int:
        raise PermissionError(13, "Permission denied", "/some/file")

    with pytest.raises(SystemExit) as ended:
        run_script(main)
    assert ended.value.code == 3
    assert capsys.readouterr().err == "error: [Errno 13] Permission denied: '/some/file'\n"


def test_bf16_counts_frames_exactly():
    norm = MaskedBatchNorm(2)
    x = torch.randn(1, 2, 1403, generator=torch.Generator().manual_seed(0)).bfloat16()
    mask = torch.ones(1, 1, 1403, dtype=torch.bfloat16)  # 1403 in bf16 is 1400
    norm(x, mask)
    torch.testing.assert_close(
        norm.running_mean, 0.1 * x.float().mean((0, 2)), atol=1e-7, rtol=1e-5
    )


def test_logits_keep_float32_under_autocast():
    head = CosineHead(64, 300)
    x = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(x)
    torch.testing.assert_close(logits, head(x), atol=0, rtol=0)
