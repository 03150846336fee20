"""What a run decides by its machine, and what a run that continues keeps."""

import pytest
import torch
from torch import nn

from errors import DataError, UsageError
from models import machine_choices
from models.cpu_kernels import ONEDNN, TORCH, Linear, compute_linear_by, linear_is_computed_by
from models.devices import Precision
from models.machine_choices import (
    MachineChoices,
    choose_machine,
    keep_precision,
    kept_choices,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LARGE_MODEL = nn.Sequential(Linear(200, 300), nn.Linear(1000, 1000), Linear(180, 10))
BEFORE = MachineChoices("cpu", "fp32", 1, ONEDNN, "as given")


@pytest.fixture(autouse=True)
def as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    compute_linear_by(TORCH)


@pytest.fixture
def timed(monkeypatch):
    """timed(torch, onednn, bf16): the milliseconds of the test. Returns the products that it was
    given; the test may be made once."""
    tested = []

    def set_times(*milliseconds: float) -> list:
        def seconds(rows, width, ways):
            tested.append((rows, width))
            return {way: time / 1000 for way, time in zip(ways, milliseconds, strict=True)}

        monkeypatch.setattr(machine_choices, "seconds_of_linear", seconds)
        return tested

    return set_times


def choose(wanted="auto", kept=None, again=False, model=LARGE_MODEL, precision="fp32"):
    return choose_machine(wanted, [model], Precision(precision, CPU), kept, again)


@pytest.mark.parametrize(
    ("times", "way"), [((30, 15), ONEDNN), ((15, 30), TORCH), ((17.9, 15), TORCH)]
)
def test_linear_layers_use_what_is_clearly_faster(timed, times, way):
    """A difference below a fifth may be chance: then torch's own is used."""
    tested = timed(*times)
    chosen = choose()
    assert chosen.linear_layers == linear_is_computed_by() == way
    assert tested == [(280, 200)], "the widest of the model's own layers, square"
    assert f"torch {times[0]:.1f} ms, oneDNN {times[1]:.1f} ms" in str(chosen)
    assert str(chosen).startswith(f"{torch.get_num_threads()} thread")


@pytest.mark.parametrize("way", [TORCH, ONEDNN])
def test_a_setting_decides_without_a_test(timed, way):
    tested = timed(1, 1)
    chosen = choose(way, kept=BEFORE)
    assert chosen.linear_layers == linear_is_computed_by() == way and tested == []
    assert f"(--linear_layers {way})" in str(chosen)


def test_a_run_that_continues_keeps_its_way_unless_asked_to_test_again(timed):
    tested = timed(10, 20)
    assert choose(kept=BEFORE).linear_layers == ONEDNN and tested == []
    assert "as in the checkpoint" in str(choose(kept=BEFORE))
    assert choose(kept=BEFORE, again=True).linear_layers == TORCH and len(tested) == 1


@pytest.mark.parametrize(
    ("times", "expected"),
    [((30, 15, 9.9), "bf16"), ((15, 30, 9.9), "bf16"), ((30, 15, 10.1), ONEDNN)],
)
def test_a_new_run_of_a_large_model_may_use_bf16_where_it_is_much_faster(timed, times, expected):
    tested = timed(*times)
    model, precision = Linear(3712, 928), Precision("fp32", CPU)
    chosen = choose_machine("auto", [model], precision, any_precision=True)
    assert chosen.precision == ("bf16" if expected == "bf16" else "fp32") and len(tested) == 1
    assert chosen.linear_layers == (ONEDNN if expected == ONEDNN else TORCH)
    shown = {"bf16": "layers by bf16", ONEDNN: "layers by oneDNN"}[expected]
    assert f"{shown} (test of one layer" in str(chosen) and f"bf16 {times[2]:.1f} ms" in str(chosen)


@pytest.mark.parametrize(
    "options",
    [
        {"any_precision": False},
        {"kept": MachineChoices("cpu", "fp32", 1, TORCH), "again": True},
        {"steps": 8},  # a small batch has as little to gain as a small model
    ],
)
def test_otherwise_the_number_format_stays(timed, options):
    timed(30, 15)
    options = {"any_precision": True, **options}
    chosen = choose_machine("auto", [Linear(3712, 928)], Precision("fp32", CPU), **options)
    assert (chosen.precision, chosen.linear_layers) == ("fp32", ONEDNN)


def test_a_way_that_was_asked_for_is_one_of_float32(timed):
    tested = timed()
    model = Linear(3712, 928)
    chosen = choose_machine(ONEDNN, [model], Precision("fp32", CPU), any_precision=True)
    assert (chosen.precision, chosen.linear_layers) == ("fp32", ONEDNN) and tested == []


@pytest.mark.parametrize(
    "options", [{"model": nn.Sequential(Linear(100, 100))}, {"precision": "bf16"}]
)
def test_without_large_products_in_float32_nothing_is_tested(timed, options):
    tested = timed(20, 10)
    assert choose(**options).linear_layers == TORCH and tested == []


def test_a_torch_without_onednn(timed, monkeypatch):
    tested = timed(20, 10)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(UsageError, match="--linear_layers onednn: this torch has no oneDNN"):
        choose(ONEDNN)
    assert choose().linear_layers == TORCH and choose(kept=BEFORE).linear_layers == TORCH
    assert kept_choices({}, CPU).linear_layers == TORCH and tested == []


def test_the_real_test_finds_a_way():
    chosen = choose()
    assert chosen.linear_layers in (TORCH, ONEDNN) and "ms" in chosen.reason


@pytest.mark.parametrize(
    ("given", "weight", "steps", "expected"),
    [
        (None, (1024, 256), 280, 1),  # demo.yaml: small
        (None, (3712, 928), 280, 2),  # the full size
        (None, (1024, 256), 2400, 2),  # a large batch of the small one
        ("2", (1024, 256), 280, 2),
    ],
)
def test_threads_share_the_work_of_a_large_model_only(
    given, weight, steps, expected, monkeypatch, timed
):
    timed(1, 1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    torch.set_num_threads(2)
    model, precision = Linear(*weight), Precision("fp32", CPU)
    models = [Linear(3, 3), model]  # a student and its teacher, say
    chosen = choose_machine("auto", models, precision, steps=steps)
    assert chosen.threads == expected == torch.get_num_threads()


@pytest.mark.parametrize(
    ("given", "now", "expected", "note"),
    [
        (None, 1, 1, ""),
        (None, 2, 1, ""),
        ("2", 2, 2, "note: 2 threads, the run so far used 1: results differ"),
    ],
)
def test_a_run_that_continues_keeps_its_threads(
    given, now, expected, note, capsys, monkeypatch, timed
):
    timed(1, 1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    torch.set_num_threads(now)
    assert choose(kept=BEFORE).threads == expected == torch.get_num_threads()
    assert capsys.readouterr().out.startswith(note)


def test_with_fewer_cores_than_before_a_note_names_both_numbers(capsys, monkeypatch, timed):
    timed(1, 1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(1)
    before = MachineChoices("cpu", "fp32", 4, TORCH)
    assert choose(kept=before).threads == 1
    assert "note: 1 threads, the run so far used 4" in capsys.readouterr().out


def test_what_a_checkpoint_holds_is_read_back():
    assert kept_choices({"machine": BEFORE.entry()}, CPU) == MachineChoices(
        "cpu", "fp32", 1, ONEDNN
    )
    assert kept_choices({"machine": BEFORE.entry()}, GPU) is None, "another kind of device"


def test_a_checkpoint_of_an_earlier_version_used_onednn_on_a_cpu():
    assert kept_choices({}, CPU).linear_layers == ONEDNN
    assert kept_choices({}, GPU) is None


@pytest.mark.parametrize(
    "entry",
    [
        [],
        "x",
        {},
        {**BEFORE.entry(), "other": 1},
        {**BEFORE.entry(), "threads": 0},
        {**BEFORE.entry(), "threads": "2"},
        {**BEFORE.entry(), "linear_layers": "x"},
        {**BEFORE.entry(), "linear_layers": []},
        {**BEFORE.entry(), "precision": "fp8"},
    ],
)
def test_a_broken_entry_of_a_checkpoint_is_a_data_error(entry):
    with pytest.raises(DataError, match="the checkpoint's entry 'machine' is not one of this"):
        kept_choices({"machine": entry}, CPU)


def on_gpu(precision: str) -> MachineChoices:
    return MachineChoices("cuda", precision, 1, TORCH)


@pytest.mark.parametrize(
    ("wanted", "usual", "kept", "expected", "note"),
    [
        ("auto", "fp32", None, "fp32", ""),
        ("auto", "bf16", on_gpu("bf16"), "bf16", ""),
        ("auto", "bf16", on_gpu("fp32"), "fp32", ""),
        ("bf16", "bf16", on_gpu("fp32"), "bf16", ""),
        ("auto", "fp32", on_gpu("bf16"), "fp32", "note: the run so far computed in bf16."),
    ],
)
def test_a_run_that_continues_keeps_its_number_format(wanted, usual, kept, expected, note, capsys):
    """The meta device stands for a GPU: nothing is computed."""
    found = keep_precision(wanted, Precision(usual, torch.device("meta")), kept)
    assert found.name == expected and capsys.readouterr().out.startswith(note)


def test_a_run_that_continues_on_a_cpu_keeps_bf16(capsys):
    kept = MachineChoices("cpu", "bf16", 1, TORCH)
    assert keep_precision("auto", Precision("auto", CPU), kept).name == "bf16"
    assert keep_precision("fp32", Precision("fp32", CPU), kept).name == "fp32"
    assert capsys.readouterr().out == ""
