"""A student taught by a teacher: the loss, who sees what, checkpoints, and what is refused."""

import json
from pathlib import Path

import pytest
import torch

import evaluate
from data.corpus import Corpus, sha256_of
from data.ctc_targets import pad_targets
from data.device_cache import CachedSplit
from distillation.config import StudentConfig
from distillation.export import SoftTargetExportRequest, export_soft_targets
from distillation.student_trainer import GuidedBatch, prepare_student, soft_loss
from errors import DataError, UsageError
from inference.opened_checkpoint import open_checkpoint_on_corpus
from models.checkpoint import load_checkpoint, save_checkpoint
from models.i3d_teacher import I3DTeacher
from models.student import Student
from training.resume import plan_start
from training.run import execute
from training.saved_config import read_config

MODEL = {
    "pose_width": 8,
    "face_width": 8,
    "hand_width": 16,
    "widths": [16, 24, 24],
    "conformer_width": 16,
    "lstm_hidden": 16,
    "dropout": 0.1,
}


@pytest.fixture
def settings(make_settings, finished_run, tmp_path):
    """settings(model={}, distillation={}, **training) -> settings of a student of the finished
    run's teacher."""

    def make(model=(), distillation=None, **training) -> dict[str, dict]:
        taught = {"teacher": str(finished_run / "best_model.pth")}
        run = make_settings(tmp_path / "student", epochs=2)["training"]
        del run["data_dir"]  # the teacher's is the default
        run.update(training)
        return {
            "training": run,
            "model": {**MODEL, **dict(model)},
            "distillation": distillation or taught,
        }

    return make


def prepare(overrides: dict, resume=None):
    return prepare_student(
        plan_start(resume and str(resume), overrides, StudentConfig()), overrides
    )


@pytest.fixture(scope="module")
def stored(finished_run, tmp_path_factory):
    """stored(views) -> folder of soft targets of the finished run's teacher. Read it only."""
    made: dict[int, Path] = {}

    def make(views: int) -> Path:
        if views not in made:
            made[views] = tmp_path_factory.mktemp("stored") / f"views{views}"
            best = finished_run / "best_model.pth"
            export_soft_targets(
                SoftTargetExportRequest(
                    best, None, ("train",), 2.0, None, views, 7, made[views], "cpu"
                )
            )
        return made[views]

    return make


# ---------------------------------------------------------------- the loss


def test_soft_loss_by_hand():
    """Two steps of three classes, the second sentence one step long; temperature 2."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 3).log_softmax(-1), torch.randn(2, 2, 3).log_softmax(-1)
    steps = torch.tensor([2, 1])

    def kl(row, step, first):
        p = torch.softmax(teacher[row, step, first:] / 2, 0)
        q = torch.softmax(student[row, step, first:] / 2, 0)
        return float((p * (p / q).log()).sum())

    for blank, first in ((True, 0), (False, 1)):
        expected = [4 * (kl(0, 0, first) + kl(0, 1, first)) / 2, 4 * kl(1, 0, first)]
        assert soft_loss(student, teacher, steps, 2.0, blank).tolist() == pytest.approx(
            expected, rel=1e-5
        )


def test_the_blank_is_left_to_ctc():
    student, teacher = torch.randn(1, 3, 4).log_softmax(-1), torch.randn(1, 3, 4).log_softmax(-1)
    other = student.clone()
    other[..., 0] += 3
    same, changed = (
        soft_loss(each, teacher, torch.tensor([3]), 3.0, False) for each in (student, other)
    )
    assert torch.allclose(same, changed)
    assert not torch.allclose(
        *(soft_loss(each, teacher, torch.tensor([3]), 3.0, True) for each in (student, other))
    )


def test_total_is_the_weighted_sum(settings):
    trainer = prepare(
        settings(distillation={**settings()["distillation"], "soft_weight": 0.6, "ctc_weight": 0.2})
    ).trainer
    trainer.model.eval()
    (batch, *_) = trainer.batches(trainer.begin_epoch(1)[0])
    targets = [trainer.train.targets[index] for index in batch.indices]
    padded = pad_targets(targets, torch.device("cpu"))
    output, total = trainer.losses(batch, *padded)
    alone = trainer.loss(output, *padded).total
    soft = soft_loss(output.log_probs, batch.soft, output.lengths, 3.0, False)
    assert torch.allclose(total, 0.6 * soft + 0.2 * alone) and (soft > 0).all()


# ---------------------------------------------------------------- what teacher and student see


def test_the_teacher_reads_the_batch_that_the_student_sees(settings, finished_run):
    trainer = prepare(settings()).trainer
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    teacher = I3DTeacher(read_config(checkpoint, "").model, 6).eval()
    teacher.load_state_dict(checkpoint["model"])
    teacher.set_input_layout(trainer.pipeline.layout)
    before = {name: tensor.clone() for name, tensor in trainer.guide.model.state_dict().items()}
    for batch in trainer.batches(trainer.begin_epoch(1)[0]):
        assert isinstance(batch, GuidedBatch)
        assert torch.allclose(
            teacher(batch.features, batch.lengths, batch.detected).log_probs, batch.soft, atol=1e-5
        )
        trainer.update([batch])
        trainer.read_last_update()
    assert all(
        torch.equal(tensor, before[name])
        for name, tensor in trainer.guide.model.state_dict().items()
    )


def test_a_causal_students_teacher_still_looks_ahead(settings, finished_run):
    """The same draws: as many steps; but the teacher's are those of its own features."""
    causal, whole = (prepare(settings(model={"causal": flag})).trainer for flag in (True, False))
    plan = causal.begin_epoch(1)[0]
    for one, other in zip(causal.batches(plan), whole.batches(plan), strict=True):
        assert torch.equal(one.soft, other.soft) and torch.equal(one.lengths, other.lengths)
        assert not torch.equal(one.features, other.features)


def test_a_causal_students_teacher_takes_resident_landmarks_too(settings, monkeypatch):
    trainer = prepare(settings(model={"causal": True})).trainer
    plan = trainer.begin_epoch(1)[0]
    expected = [batch.soft for batch in trainer.batches(plan)]
    trainer.pipeline.resident = [
        CachedSplit(trainer.train.split, torch.device("cpu"), trainer.pipeline.layout)
    ]
    monkeypatch.setattr("data.pipeline.load_batch", None)
    for batch, soft in zip(trainer.batches(plan), expected, strict=True):
        assert torch.equal(batch.soft, soft)


@pytest.mark.parametrize("views", [0, 2])
def test_stored_targets_are_of_the_batch_that_the_student_sees(
    settings, stored, finished_run, views
):
    """Each epoch's view: the teacher, run on the student's features, says what was stored."""
    trainer = prepare(settings(distillation={"soft_targets": str(stored(views))})).trainer
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    teacher = I3DTeacher(read_config(checkpoint, "").model, 6).eval()
    teacher.load_state_dict(checkpoint["model"])
    teacher.set_input_layout(trainer.pipeline.layout)
    shown = []
    for epoch in (1, 2, 3):
        trainer.progress.epoch = epoch
        batch = next(iter(trainer.batches(trainer.begin_epoch(1)[0])))
        own = (teacher(batch.features, batch.lengths, batch.detected).log_probs / 2).log_softmax(-1)
        for row, steps in enumerate(-(-batch.lengths // 4)):
            assert torch.allclose(batch.soft[row, :steps] / 2, own[row, :steps], atol=0.02)
        assert (
            batch.lengths.tolist()
            == trainer.shown_lengths(trainer.epoch_train, epoch)[batch.indices].tolist()
        )
        shown.append(batch.lengths.tolist())
    assert shown[0] == shown[2] and (shown[0] == shown[1]) == (views == 0), (
        "epochs go round the views"
    )


# ---------------------------------------------------------------- runs


def test_a_whole_run_and_its_evaluation(settings, finished_run, tiny_corpus, tmp_path, capsys):
    result = execute(prepare(settings()))
    said = capsys.readouterr().out
    assert (
        "student: 0.0 M parameters" in said
        and f"taught by {finished_run / 'best_model.pth'}" in said
    )
    checkpoint = load_checkpoint(tmp_path / "student" / "best_model.pth")
    assert checkpoint["kind"] == "student"
    assert checkpoint["teacher"]["sha256"] == sha256_of(finished_run / "best_model.pth")
    named = f"{finished_run / 'best_model.pth'}".replace("_", "\\_")
    card = (tmp_path / "student" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"Taught by {named}, SHA-256 {checkpoint['teacher']['sha256']}." in card
    assert "Taught by" not in (finished_run / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert (
        checkpoint["vocabulary"] == load_checkpoint(finished_run / "best_model.pth")["vocabulary"]
    )
    assert checkpoint["corpus"]["fingerprint"] == Corpus(tiny_corpus).fingerprint, (
        "the teacher's corpus by default"
    )
    for folder, kind in ((tmp_path / "student", Student), (finished_run, I3DTeacher)):
        assert isinstance(
            open_checkpoint_on_corpus(folder / "best_model.pth", None, "cpu").model, kind
        )
    words = [
        "--checkpoint",
        str(tmp_path / "student" / "best_model.pth"),
        "--decoder",
        "greedy",
        "--device",
        "cpu",
    ]
    assert evaluate.main([*words, "--output_dir", str(tmp_path / "judged")]) == 0
    judged = json.loads((tmp_path / "judged" / "result.json").read_text())
    assert judged["wer"] == pytest.approx(result["greedy_dev_wer"])


@pytest.mark.parametrize("who", ["teacher", "stored"])
def test_interrupted_it_goes_on_to_the_same_weights(settings, stored, tmp_path, who):
    taught = {"soft_targets": str(stored(2))} if who == "stored" else None

    def run(folder: str, resume=None):
        return prepare(
            settings(distillation=taught, epochs=3, output_dir=str(tmp_path / folder)), resume
        )

    execute(run("whole"))
    part = run("part")

    def stop(*_, **__):
        if part.trainer.progress.epoch == 2 and part.trainer.progress.group == 1:
            save_checkpoint(tmp_path / "part" / "last.pth", part.trainer.state())
            raise KeyboardInterrupt

    part.trainer._stop_if_asked = stop
    with pytest.raises(KeyboardInterrupt):
        execute(part)
    again = run("part", tmp_path / "part" / "last.pth")
    assert again.start.kind == "continue"
    execute(again)
    one, other = (
        load_checkpoint(tmp_path / name / "last.pth")["model"] for name in ("whole", "part")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_without_a_teacher_it_is_trained_on_the_teachers_own_loss(settings, tiny_corpus):
    untaught = {"soft_weight": 0, "ctc_weight": 1}
    trainer = prepare(settings(distillation=untaught, data_dir=str(tiny_corpus))).trainer
    trainer.model.eval()
    (batch, *_) = trainer.batches(trainer.begin_epoch(1)[0])
    padded = pad_targets(
        [trainer.train.targets[index] for index in batch.indices], torch.device("cpu")
    )
    output, total = trainer.losses(batch, *padded)
    assert not isinstance(batch, GuidedBatch)
    assert torch.equal(total, trainer.loss(output, *padded).total)


# ---------------------------------------------------------------- refused


def test_who_teaches_must_be_said_once(settings):
    with pytest.raises(UsageError, match="who teaches\\?"):
        prepare(settings(distillation={"soft_weight": 0.7}))
    with pytest.raises(UsageError, match="both say who teaches"):
        prepare(settings(distillation={"teacher": "a", "soft_targets": "b"}))
    with pytest.raises(UsageError, match="--teacher has no effect with --soft_weight 0"):
        prepare(settings(distillation={"teacher": "a", "soft_weight": 0.0}))


def test_stored_targets_prescribe_their_temperature_and_augmentation(settings, stored):
    overrides = settings(distillation={"soft_targets": str(stored(0))})
    config = prepare(overrides).config
    assert config.distillation.temperature == 2.0 and not config.augmentation.enabled
    assert prepare(
        settings(distillation={"soft_targets": str(stored(2))})
    ).config.augmentation.enabled
    with pytest.raises(
        UsageError, match=r"distillation.temperature 3.0: the soft targets .* were made with 2.0"
    ):
        prepare(settings(distillation={"soft_targets": str(stored(0)), "temperature": 3.0}))
    with pytest.raises(
        UsageError, match=r"augmentation.enabled True: the soft targets .* were made with False"
    ):
        prepare({**overrides, "augmentation": {"enabled": True}})


def test_another_corpus_than_the_soft_targets(settings, stored, make_corpus, tmp_path):
    other = make_corpus(
        tmp_path / "other", {"train": ["HOUSE RAIN SUN TOMORROW WIND"], "dev": ["SUN RAIN"]}
    )
    with pytest.raises(DataError, match="is another: export them again"):
        prepare(settings(distillation={"soft_targets": str(stored(0))}, data_dir=str(other)))


def test_soft_targets_without_what_is_needed(settings, finished_run, tmp_path):
    """Said before anything is trained."""
    export_soft_targets(
        SoftTargetExportRequest(
            finished_run / "best_model.pth",
            None,
            ("dev",),
            2.0,
            None,
            0,
            7,
            tmp_path / "dev_only",
            "cpu",
        )
    )
    with pytest.raises(DataError, match=r"no soft targets of the train split \(it has: dev\)"):
        prepare(settings(distillation={"soft_targets": str(tmp_path / "dev_only")}))


def test_glosses_that_the_teacher_does_not_know(settings, make_corpus, tmp_path):
    other = make_corpus(
        tmp_path / "other", {"train": ["HOUSE RAIN", "SUN SNOW"], "dev": ["SUN RAIN"]}
    )
    with pytest.raises(
        DataError, match=r"1 glosses that its teacher does not know \(SNOW\): fine-tune the teacher"
    ):
        prepare(settings(data_dir=str(other)))


def test_a_changed_teacher_is_not_gone_on_with(settings, tmp_path, run_copy):
    overrides = settings(distillation={"teacher": str(run_copy / "best_model.pth")}, epochs=1)
    execute(prepare(overrides))
    changed = load_checkpoint(run_copy / "best_model.pth")
    changed["model"]["head.weight"] += 1
    changed.pop("format_version")
    save_checkpoint(run_copy / "best_model.pth", changed)
    with pytest.raises(DataError, match="is not the same: put that checkpoint back"):
        prepare(overrides, tmp_path / "student" / "last.pth")


def test_a_teacher_is_not_resumed_as_a_student_nor_the_other_way_round(
    settings, finished_run, tmp_path
):
    with pytest.raises(
        UsageError,
        match=r"a checkpoint of a teacher, not of a student; go on with train_teacher.py",
    ):
        prepare(settings(), finished_run / "last.pth")
    execute(prepare(settings(epochs=1)))
    with pytest.raises(
        UsageError,
        match=r"a checkpoint of a student, not of a teacher; go on with distill_student.py",
    ):
        plan_start(str(tmp_path / "student" / "last.pth"), {})


def test_a_checkpoint_of_a_kind_from_the_future(run_copy):
    checkpoint = {**load_checkpoint(run_copy / "best_model.pth"), "kind": "grandteacher"}
    with pytest.raises(
        DataError, match="a model of kind 'grandteacher', this version knows teacher, student"
    ):
        read_config(checkpoint, "x.pth")
    del checkpoint["kind"]
    assert read_config(checkpoint, "x.pth").kind == "teacher"
