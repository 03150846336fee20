"""The loss of a student, complete runs, and checkpoints."""

import json

import pytest
import torch

import evaluate
import training.final_evaluation
from data.checks.file_hash import sha256_of
from data.corpus import Corpus
from data.ctc_targets import pad_targets
from distillation.student_trainer import soft_loss
from distillation.teachers import TaughtBatch
from inference.model_on_corpus import open_model_on_corpus
from models.checkpoint import load_checkpoint
from models.i3d_teacher import I3DTeacher
from models.prediction import JoinedHeads
from models.student import Student
from training.head_tuning import TunedHeads
from training.run import execute

# ---------------------------------------------------------------- the loss


def test_soft_loss_by_hand():
    """Two steps of three classes; the second sentence has one step; temperature 2."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 3).log_softmax(-1), torch.randn(2, 2, 3).log_softmax(-1)
    steps = torch.tensor([2, 1])

    def kl(row, step, first):
        p = torch.softmax(teacher[row, step, first:] / 2, 0)
        q = torch.softmax(student[row, step, first:] / 2, 0)
        return float((p * (p / q).log()).sum())

    for blank, first in ((True, 0), (False, 1)):
        expected = [4 * (kl(0, 0, first) + kl(0, 1, first)) / 2, 4 * kl(1, 0, first)]
        found = soft_loss(student, teacher, steps, 2.0, blank)
        assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_only_with_soft_blank_does_the_blank_change_the_soft_loss():
    student, teacher = torch.randn(1, 3, 4).log_softmax(-1), torch.randn(1, 3, 4).log_softmax(-1)
    other = student.clone()
    other[..., 0] += 3

    def losses(blank: bool) -> list[torch.Tensor]:
        steps = torch.tensor([3])
        return [soft_loss(each, teacher, steps, 3.0, blank) for each in (student, other)]

    assert torch.allclose(*losses(blank=False))
    assert not torch.allclose(*losses(blank=True))


def padded_targets(trainer, batch):
    targets = [trainer.train.targets[index] for index in batch.indices]
    return pad_targets(targets, torch.device("cpu"))


@pytest.mark.parametrize("blank", [False, True])
def test_the_total_is_the_weighted_sum(settings, prepare, blank):
    options = {"soft_weight": 0.6, "ctc_weight": 0.2, "temperature": 2.0, "soft_blank": blank}
    options |= settings()["distillation"]
    trainer = prepare(settings(distillation=options)).trainer
    trainer.model.eval()
    (batch, *_) = trainer.batches(trainer.plan.begin(1)[0])
    padded = padded_targets(trainer, batch)
    output, total = trainer.losses(batch, *padded)
    ctc = trainer.loss(output, *padded).total
    soft = soft_loss(output.log_probs, batch.teacher_log_probs, output.lengths, 2.0, blank)
    assert torch.allclose(total, 0.6 * soft + 0.2 * ctc) and (soft > 0).all()
    assert trainer.plan.flat_start(1, 0) == 0, "the teacher shows where the glosses are"


def test_without_a_teacher_the_loss_is_that_of_train_teacher(settings, prepare, tiny_corpus):
    without = {"soft_weight": 0, "ctc_weight": 1}
    trainer = prepare(settings(distillation=without, data_dir=str(tiny_corpus))).trainer
    trainer.model.eval()
    (batch, *_) = trainer.batches(trainer.plan.begin(1)[0])
    padded = padded_targets(trainer, batch)
    output, total = trainer.losses(batch, *padded)
    assert not isinstance(batch, TaughtBatch)
    assert torch.equal(total, trainer.loss(output, *padded).total)


# ---------------------------------------------------------------- runs


def test_a_run_writes_a_student_that_can_be_evaluated(
    settings, prepare, finished_run, tiny_corpus, tmp_path, capsys
):
    teacher, student = finished_run / "best_model.pth", tmp_path / "student" / "best_model.pth"
    result = execute(prepare(settings()))
    printed = capsys.readouterr().out
    assert "student: 0.0 M parameters" in printed and f"teacher: {teacher}" in printed

    checkpoint = load_checkpoint(student)
    assert checkpoint["kind"] == "student"
    assert checkpoint["teacher"]["sha256"] == sha256_of(teacher)
    assert checkpoint["vocabulary"] == load_checkpoint(teacher)["vocabulary"]
    fingerprint = checkpoint["corpus"]["fingerprint"]
    assert fingerprint == Corpus(tiny_corpus).fingerprint, "the teacher's corpus is the default"

    name = f"{teacher}".replace("_", "\\_")
    card = (tmp_path / "student" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"Taught by {name}, SHA-256 {checkpoint['teacher']['sha256']}." in card
    assert "Taught by" not in (finished_run / "MODEL_CARD.md").read_text(encoding="utf-8")

    for path, kind in ((student, Student), (teacher, I3DTeacher)):
        assert isinstance(open_model_on_corpus(path, None, "cpu").model, kind)
    words = ["--checkpoint", str(student), "--decoder", "greedy", "--device", "cpu"]
    assert evaluate.main([*words, "--output_dir", str(tmp_path / "evaluation")]) == 0
    evaluated = json.loads((tmp_path / "evaluation" / "result.json").read_text())
    assert evaluated["wer"] == pytest.approx(result["greedy_dev_wer"])


def test_a_student_joins_its_heads_as_chosen_on_dev(settings, prepare, tmp_path, monkeypatch):
    heads = JoinedHeads(0.7, 0.25)
    found = TunedHeads(heads, 40.0, 50.0)
    monkeypatch.setattr(training.final_evaluation, "tune_heads", lambda *_: found)
    result = execute(prepare(settings(epochs=1, decoder="adaptive")))
    path = tmp_path / "student" / "best_model.pth"
    entry = load_checkpoint(path)["heads"]
    assert (entry["conv_share"], entry["prior_scale"]) == (0.7, 0.25)
    assert result["heads"] == str(heads)
    assert open_model_on_corpus(path, None, "cpu").model.prediction.heads == heads


@pytest.mark.parametrize("source", ["teacher", "stored"])
def test_an_interrupted_run_continues_to_the_same_weights(
    settings, prepare, stored, tmp_path, source
):
    distillation = {"soft_targets": str(stored(2))} if source == "stored" else None

    def run(folder: str, resume=None):
        folder = str(tmp_path / folder)
        return prepare(settings(distillation=distillation, epochs=3, output_dir=folder), resume)

    execute(run("uninterrupted"))
    part = run("interrupted")

    def stop(*_, **__):
        if part.trainer.progress.epoch == 2 and part.trainer.progress.group == 1:
            part.trainer.save()
            raise KeyboardInterrupt

    part.trainer._stop_if_asked = stop
    with pytest.raises(KeyboardInterrupt):
        execute(part)
    continued = run("interrupted", tmp_path / "interrupted" / "last.pth")
    assert continued.start.kind == "continue"
    execute(continued)
    expected, found = (
        load_checkpoint(tmp_path / name / "last.pth")["model"]
        for name in ("uninterrupted", "interrupted")
    )
    assert all(torch.equal(expected[name], found[name]) for name in expected)
