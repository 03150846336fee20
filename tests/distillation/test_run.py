"""Settings, corpora and checkpoints that do not fit are refused before anything is trained."""

import re
import shutil
from contextlib import nullcontext

import pytest
import yaml

import distill_student
import distillation.run
from data.corpus import Corpus
from distillation.config import StudentConfig
from errors import DataError, UsageError
from models.build import build_model
from models.checkpoint import load_checkpoint, save_checkpoint
from models.i3d_teacher import count_parameters
from tests.conftest import ROOT
from training.distributed import Ranks
from training.resume import CONTINUE, FINE_TUNE, plan_start
from training.run import execute


def test_exactly_one_teacher_must_be_given(settings, prepare):
    with pytest.raises(UsageError, match="no teacher: give --teacher CHECKPOINT or"):
        prepare(settings(distillation={"soft_weight": 0.7}))
    with pytest.raises(UsageError, match="both name a teacher"):
        prepare(settings(distillation={"teacher": "a", "soft_targets": "b"}))
    with pytest.raises(UsageError, match="--teacher has no effect with --soft_weight 0"):
        prepare(settings(distillation={"teacher": "a", "soft_weight": 0.0}))


def test_a_student_must_learn_from_something(settings, prepare):
    message = "soft_weight and ctc_weight are both 0: there is nothing to learn from"
    with pytest.raises(UsageError, match=message):
        prepare(settings(distillation={"soft_weight": 0.0, "ctc_weight": 0.0}))
    with pytest.raises(UsageError, match=r"ctc_weight -0\.1: expected 0 or more"):
        prepare(settings(distillation={"teacher": "a", "ctc_weight": -0.1}))


def test_a_student_has_its_own_corpus_and_the_glosses_of_its_teacher(
    settings, prepare, make_corpus, tmp_path, capsys
):
    """The corpus of the student lacks two of the teacher's glosses."""
    other = make_corpus(tmp_path / "other", {"train": ["HOUSE RAIN SUN"], "dev": ["SUN RAIN"]})
    trainer = prepare(settings(data_dir=str(other))).trainer
    assert trainer.corpus.path == other
    assert trainer.vocabulary.glosses == ("HOUSE", "RAIN", "SUN", "TOMORROW", "WIND")
    students, teachers = (
        sum(parameter.numel() for parameter in model.parameters())
        for model in (trainer.model, trainer.source.model)
    )
    assert f"(the student has {100 * students / teachers:.1f} %)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("teacher", "student", "advice"),
    [
        (47_000_000, 3_400_000, None),
        (3_800_000, 380_000, None),
        (3_800_000, 3_400_000, r"has 89\.5 % .*: --config configs/student_demo\.yaml has"),
        (3_800_000, 390_000, r"has 10\.3 % of .*: lower the sizes under `model` in a YAML file"),
        (1_000_000, 3_400_000, r"has 340\.0 % of .* at most 10 %: lower the sizes"),
    ],
)  # fmt: skip
def test_a_student_that_is_large_beside_its_teacher_is_told(
    settings, prepare, monkeypatch, capsys, teacher, student, advice
):
    monkeypatch.setattr("distillation.run.count_parameters", lambda model: student)
    open_source = distillation.run._open_source

    def open_teacher(*arguments, **options):
        source = open_source(*arguments, **options)
        source.parameters = teacher
        return source

    monkeypatch.setattr("distillation.run._open_source", open_teacher)
    prepare(settings())
    warnings = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("warning: the student")
    ]
    assert len(warnings) == (advice is not None)
    assert advice is None or re.search(advice, warnings[0])


def test_the_demo_student_has_the_size_that_the_warning_names():
    sizes = yaml.safe_load((ROOT / distillation.run._DEMO_CONFIG).read_text())["model"]
    config = StudentConfig().updated({"model": sizes})
    parameters = count_parameters(build_model(config.model, 50))
    assert abs(parameters / distillation.run._DEMO_STUDENT - 1) < 0.1


def test_stored_targets_fix_temperature_and_augmentation(settings, prepare, stored):
    overrides = settings(distillation={"soft_targets": str(stored(0))})
    config = prepare(overrides).config
    assert config.distillation.temperature == 2.0 and not config.augmentation.enabled
    with_views = settings(distillation={"soft_targets": str(stored(2))})
    assert prepare(with_views).config.augmentation.enabled
    message = r"distillation.temperature 3.0: the soft targets .* were exported with 2.0"
    with pytest.raises(UsageError, match=message):
        prepare(settings(distillation={"soft_targets": str(stored(0)), "temperature": 3.0}))
    message = r"augmentation.enabled True: the soft targets .* were exported with False"
    with pytest.raises(UsageError, match=message):
        prepare({**overrides, "augmentation": {"enabled": True}})


def test_soft_targets_of_another_corpus(settings, prepare, stored, make_corpus, tmp_path):
    splits = {"train": ["HOUSE RAIN SUN TOMORROW WIND"], "dev": ["SUN RAIN"]}
    other = make_corpus(tmp_path / "other", splits)
    distillation = {"soft_targets": str(stored(0))}
    with pytest.raises(
        DataError, match=r"exported from .*tiny, not from .*other: leave out --data_dir"
    ):
        prepare(settings(distillation=distillation, data_dir=str(other)))


def test_soft_targets_without_the_train_split(settings, prepare, export, tmp_path):
    export(tmp_path / "dev_only", splits=("dev",))
    with pytest.raises(DataError, match=r"no soft targets of the train split \(it has: dev\)"):
        prepare(settings(distillation={"soft_targets": str(tmp_path / "dev_only")}))


def test_glosses_that_the_teacher_does_not_know(settings, prepare, make_corpus, tmp_path, capsys):
    splits = {"train": ["HOUSE RAIN", "SUN SNOW"], "dev": ["SUN SNOW"]}
    other = make_corpus(tmp_path / "other", splits)
    message = r"1 gloss that the teacher .*best_model\.pth does not know \(SNOW\): fine-tune"
    with pytest.raises(DataError, match=message):
        prepare(settings(data_dir=str(other)))
    assert "warning" not in capsys.readouterr().out, "the error alone"


def test_of_many_unknown_glosses_five_are_listed(settings, prepare, make_corpus, tmp_path):
    splits = {"train": ["SUN F E D C B A"], "dev": ["SUN RAIN"]}
    other = make_corpus(tmp_path / "other", splits)
    message = (
        r"6 glosses that the teacher .*best_model\.pth does not know \(A, B, C, D, E and 1 more\)"
    )
    with pytest.raises(DataError, match=message):
        prepare(settings(data_dir=str(other)))


def test_a_run_continues_when_the_decoder_of_its_teacher_was_tuned(
    settings, prepare, tmp_path, run_copy
):
    teacher = run_copy / "best_model.pth"
    overrides = settings(distillation={"teacher": str(teacher)}, epochs=1)
    execute(prepare(overrides))
    tuned = load_checkpoint(teacher)
    tuned.pop("format_version")
    tuned["decoder"]["steps_per_gloss"] += 1
    save_checkpoint(teacher, tuned)
    assert prepare(overrides, tmp_path / "student" / "last.pth").start.kind == CONTINUE


def test_a_run_continues_with_a_teacher_that_was_moved(settings, prepare, tmp_path, run_copy):
    overrides = settings(distillation={"teacher": str(run_copy / "best_model.pth")}, epochs=1)
    execute(prepare(overrides))
    student = tmp_path / "student" / "last.pth"
    moved = run_copy.rename(tmp_path / "moved") / "best_model.pth"
    message = (
        r"best_model\.pth does not exist: .*; .*last\.pth was trained with it: .* with --teacher"
    )
    with pytest.raises(DataError, match=message):
        prepare({}, student)
    with pytest.raises(DataError, match=r"does not exist: expected best_model\.pth of a run$"):
        prepare(overrides, student)
    assert prepare({"distillation": {"teacher": str(moved)}}, student).start.kind == CONTINUE
    changed = load_checkpoint(moved)
    changed["model"]["head.weight"] += 1
    changed.pop("format_version")
    save_checkpoint(moved, changed)
    start = prepare({"distillation": {"teacher": str(moved)}}, student).start
    assert start.kind == FINE_TUNE and f"now {moved})" in start.reason


def test_a_run_continues_with_soft_targets_that_were_moved(
    settings, prepare, stored, tmp_path, finished_run
):
    first = tmp_path / "first"
    shutil.copytree(stored(0), first)
    execute(prepare(settings(distillation={"soft_targets": str(first)}, epochs=1)))
    student, moved = tmp_path / "student" / "last.pth", first.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"was trained with it: .* with --soft_targets"):
        prepare({}, student)
    start = prepare({"distillation": {"soft_targets": str(moved)}}, student).start
    assert start.kind == CONTINUE
    others = {"distillation": {"soft_targets": str(stored(2))}}
    assert prepare(others, student).start.kind == FINE_TUNE


def test_a_run_does_not_continue_with_a_changed_teacher(settings, prepare, tmp_path, run_copy):
    overrides = settings(distillation={"teacher": str(run_copy / "best_model.pth")}, epochs=1)
    execute(prepare(overrides))
    changed = load_checkpoint(run_copy / "best_model.pth")
    changed["model"]["head.weight"] += 1
    changed.pop("format_version")
    save_checkpoint(run_copy / "best_model.pth", changed)
    with pytest.raises(DataError, match=r"the teacher has changed: .*put that checkpoint back"):
        prepare(overrides, tmp_path / "student" / "last.pth")
    # With other settings the student is fine-tuned, and a fine-tune may have another teacher.
    folder = str(tmp_path / "tuned")
    overrides["training"] = {"learning_rate": 0.02, "output_dir": folder}
    assert prepare(overrides, tmp_path / "student" / "last.pth").start.kind == FINE_TUNE


def test_a_teacher_does_not_continue_as_a_student_nor_a_student_as_a_teacher(
    settings, prepare, finished_run, tmp_path
):
    message = r"a checkpoint of a teacher, not of a student; use train_teacher.py"
    with pytest.raises(UsageError, match=message):
        prepare(settings(), finished_run / "last.pth")
    execute(prepare(settings(epochs=1)))
    message = r"a checkpoint of a student, not of a teacher; use distill_student.py"
    with pytest.raises(UsageError, match=message):
        plan_start(str(tmp_path / "student" / "last.pth"), {})


def test_the_corpus_of_the_teacher_must_be_here(settings, prepare, run_copy):
    """Another corpus with the same glosses, such as the built-in one, must not take its place."""
    checkpoint = load_checkpoint(run_copy / "best_model.pth")
    checkpoint["corpus"]["path"] = "corpora/gone"
    checkpoint.pop("format_version")
    save_checkpoint(run_copy / "best_model.pth", checkpoint)
    overrides = settings(distillation={"teacher": str(run_copy / "best_model.pth")})
    with pytest.raises(DataError, match=r"corpora/gone, which does not exist here: .*--data_dir"):
        prepare(overrides)


def test_another_corpus_in_the_folder_of_the_teachers_is_refused(settings, prepare, other_in_place):
    checkpoint, corpus = other_in_place
    teacher = {"teacher": str(checkpoint)}
    message = r"same is not the corpus that .*best_model\.pth was trained on: .* with --data_dir"
    with pytest.raises(DataError, match=message):
        prepare(settings(distillation=teacher))
    prepare(settings(distillation=teacher, data_dir=str(corpus)))


class TwoRanks(Ranks):
    """Rank 0 of two."""

    world = 2

    def gather(self, value):
        return [value, value]


@pytest.mark.parametrize("source", ["teacher", "soft_targets"])
def test_several_processes_read_the_corpus_of_the_teacher(
    finished_run, stored, tiny_corpus, tmp_path, monkeypatch, capsys, source
):
    """Not the built-in one, whose hashes made every file of the teacher's a changed one."""
    runs = []
    monkeypatch.setattr("training.run.connect_processes", lambda: nullcontext(TwoRanks()))
    monkeypatch.setattr("training.run.dry_run", runs.append)
    monkeypatch.setattr("data.simulation.corpora.builtin_corpus", None)
    given = {"teacher": finished_run / "best_model.pth", "soft_targets": stored(0)}[source]
    arguments = [f"--{source}", str(given), "--output_dir", str(tmp_path / "s"), "--dry_run"]
    assert distill_student.main(arguments) == 0
    assert runs[0].corpus.path == tiny_corpus and "was changed" not in capsys.readouterr().out
    assert runs[0].corpus.fingerprint == Corpus(tiny_corpus).fingerprint


def test_a_run_does_not_continue_with_other_soft_targets(settings, prepare, export, tmp_path):
    soft = tmp_path / "soft"
    export(soft, splits=("train",), views=1)
    overrides = settings(distillation={"soft_targets": str(soft)}, epochs=1)
    execute(prepare(overrides))
    last = tmp_path / "student" / "last.pth"
    assert prepare(overrides, last).start.kind == CONTINUE
    soft.rename(tmp_path / "earlier")
    export(soft, splits=("train",), views=1, seed=6)
    with pytest.raises(DataError, match=r"the soft targets have changed: .*train a new student"):
        prepare(overrides, last)


def test_soft_targets_in_the_output_folder_are_not_moved_aside(settings, prepare, export, tmp_path):
    folder = tmp_path / "student"
    export(folder / "soft", splits=("train",))
    (folder / "metrics.jsonl").touch()
    run = prepare(settings(distillation={"soft_targets": str(folder / "soft")}))
    with pytest.raises(UsageError, match="soft"):
        execute(run)
    assert (folder / "soft" / "soft_targets.json").is_file()
