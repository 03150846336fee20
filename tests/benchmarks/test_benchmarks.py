"""The benchmarks end alike, the baseline is what its description says, and what is printed of
arithmetic is right."""

import argparse
import importlib
import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import gpu, language_model, launches, scaling, signer_corpora, training
from benchmarks.baseline_teacher import BaselineTeacher, baseline_update, plain_adamw
from benchmarks.multiply_adds import count_multiply_adds
from benchmarks.results import add_json_option, figure_name, finish
from command_line import Parser
from data.corpus import Corpus, split_files
from data.simulation.corpora import synthesize_transcripts
from data.sources.transcripts import TranscribedSentence
from models.config import ModelConfig
from models.ctc_head import CosineHead
from models.i3d_teacher import I3DTeacher, count_parameters

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path.stem
    for path in (ROOT / "benchmarks").glob("*.py")
    if "__main__" in path.read_text(encoding="utf-8")
)


def read_figures(path: Path, script: str) -> dict[str, float]:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert set(content) == {"script", "machine", "date", "figures"} and content["script"] == script
    return content["figures"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_benchmark_takes_json_and_ends_by_finish(name, capsys):
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{name}").main(["--help"])
    assert ended.value.code == 0
    assert "--json FILE" in capsys.readouterr().out
    assert "    finish(" in (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")


def options(*words: object):
    parser = Parser(prog="mine.py")
    add_json_option(parser)
    return parser.parse_args(list(map(str, words)))


def test_figures_are_written_whole_and_the_headline_is_last(tmp_path, capsys):
    path = tmp_path / "figures.json"
    path.write_text("an earlier one")
    finish(options("--json", path), {"wer": 12.345, "count": 7, "none": float("nan")}, "wer")
    assert capsys.readouterr().out == "wer: 12.35\n"
    assert read_figures(path, "mine") == {"wer": 12.345, "count": 7, "none": None}
    assert os.listdir(tmp_path) == ["figures.json"]
    for value, shown in (
        (7, "7"),
        (1432.0, "1432"),
        (0.00474, "0.00474"),
        (float("nan"), "nan"),
        (-2.5, "-2.50"),
    ):
        finish(options(), {"x": value}, "x")
        assert capsys.readouterr().out == f"x: {shown}\n"


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path, capsys):
    for path in (tmp_path, tmp_path / "nowhere" / "figures.json"):
        with pytest.raises(SystemExit) as ended:
            options("--json", path)
        assert ended.value.code == 2 and "--json: cannot be written to" in capsys.readouterr().err


def test_names_of_figures():
    assert figure_name("default recipe", "dev, seen") == "default_recipe_dev_seen"


def test_a_cheap_benchmark_from_its_command_to_its_figures(tmp_path, run_script):
    for name, rows in (("train", ["A B", "A B", "B A"]), ("dev", ["A B", "A X"])):
        lines = [f"{name}-{i}|{name}-{i}.mp4|anna|{row}" for i, row in enumerate(rows)]
        (tmp_path / f"{name}.csv").write_text(
            "\n".join(["id|video|signer|annotation", *lines]), encoding="utf-8"
        )
    words = (
        "--transcripts",
        tmp_path / "train.csv",
        "--dev",
        tmp_path / "dev.csv",
        "--json",
        tmp_path / "figures.json",
    )
    ended = run_script("benchmarks/language_model.py", *words)
    assert ended.returncode == 0, ended.stderr
    figures = read_figures(tmp_path / "figures.json", "language_model")
    assert ended.stdout.splitlines()[-1] == f"perplexity: {figures['perplexity']:.2f}"
    assert figures["dev_glosses"] == 4 and figures["outside_vocabulary"] == 1
    assert language_model.main(list(map(str, words))) == 0


# ------------------------------------------------------------------------------------------------------- launches


def test_what_computes_or_copies_is_counted_and_views_are_not():
    x = torch.ones(3, 4, device="meta", requires_grad=True)
    with launches.Counter() as counter:
        # The copy
        y = torch.empty(12, device="meta").copy_(torch.empty(1, device="meta").expand(12))
        z = (x.t().reshape(12) * y).view(4, 3).unsqueeze(0).sum()  # one copy, the product, the sum
    assert counter.count == 4
    with launches.Counter() as counter:
        z.backward()
    assert 2 <= counter.count <= 8


def test_an_updates_launches(tiny_corpus, tmp_path):
    """CTC takes four a step, and nothing else depends on lengths; what the recipe makes of one
    update is bounded, so that nobody adds a loop over sentences or landmarks unseen."""
    found = []
    for batches in (1, 2):
        path = tmp_path / f"{batches}.json"
        assert (
            launches.main(
                ["--data_dir", str(tiny_corpus), "--batches", str(batches), "--json", str(path)]
            )
            == 0
        )
        found.append(read_figures(path, "launches"))
    one, two = found
    assert one["launches"] == sum(one[phase] for phase in launches.PHASES)
    assert one["forward"] == two["forward"] and one["backward"] == two["backward"]
    assert two["loss"] - one["loss"] == 4 * (two["steps"] - one["steps"])
    assert 900 < one["launches"] - 4 * one["steps"] < 1_250
    # Weights, gradients and two moments of 46.9 M parameters; of each frame at least the
    # inception's input, 512 float32.
    assert (
        one["model_gb"] == pytest.approx(0.750, abs=0.001)
        and one["kept_gb"] > 4e-9 * 512 * 4 * one["steps"]
    )
    assert not torch.ones(2).is_meta and torch.autocast("cpu", enabled=False) is not None, (
        "nothing stays patched"
    )


# ------------------------------------------------------------------------------------------------- the baseline


def test_the_baseline_has_27_million_parameters_and_stride_16():
    with torch.device("meta"):
        baseline = BaselineTeacher(ModelConfig(), 1232)
    assert count_parameters(baseline) == 27_179_856
    widths = [stage.norm.num_features for stage in baseline.stages]
    assert widths == list(ModelConfig().inception_widths)
    assert (baseline.lstm.hidden_size, baseline.lstm.num_layers, baseline.lstm.bidirectional) == (
        512,
        3,
        True,
    )
    read = torch.cat(baseline.columns)
    assert sorted(read.tolist()) == list(range(6516)), "every feature is read, once"


def small_sizes() -> ModelConfig:
    return ModelConfig(**training.SMALL, dropout=0.0)


def test_the_baseline_interpolates_back_to_the_full_rate():
    torch.manual_seed(0)
    model = BaselineTeacher(small_sizes(), 5, lstm_hidden=4).eval()
    steps = []
    model.stages[1].register_forward_hook(lambda *given: steps.append(given[2].shape[2]))
    seen = []
    model.lstm.register_forward_pre_hook(lambda _, given: seen.append(given[0].data.shape))
    found = model(torch.randn(2, 37, 6516), torch.tensor([37, 20]))
    assert found.shape == (2, 37, 5) and steps == [10]  # ceil(37 / 4), pooled once more behind it
    assert seen == [(57, 16)], "the LSTM runs over the sentences' own frames at the full rate"
    torch.testing.assert_close(found[0].exp().sum(1), torch.ones(37))


def test_the_baseline_learns_from_files(tmp_path):
    torch.manual_seed(0)
    model = BaselineTeacher(small_sizes(), 4, lstm_hidden=8)
    optimizer = plain_adamw(model)
    assert not optimizer.defaults["fused"] and not optimizer.defaults["foreach"]
    optimizer.param_groups[0]["lr"] = 0.01
    files = [tmp_path / "0.npy", tmp_path / "1.npy"]
    for number, file in enumerate(files):
        random = np.random.default_rng(number)
        np.save(file, random.normal(size=(20 + number, 6516)).astype(np.float32))
    losses = [baseline_update(model, optimizer, files, [[1, 2], [3]]) for _ in range(15)]
    assert losses[-1] < 0.8 * losses[0]


# ------------------------------------------------------------------------------------------------- arithmetic


def test_multiply_adds_by_hand():
    linear, head, convolution = nn.Linear(6, 5), CosineHead(6, 7), nn.Conv1d(3, 4, 5, padding=2)
    lstm = nn.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True)
    assert count_multiply_adds(linear, lambda: linear(torch.rand(2, 3, 6))) == 2 * 3 * 6 * 5
    assert count_multiply_adds(head, lambda: head(torch.rand(2, 3, 6))) == 2 * 3 * 6 * 7
    assert (
        count_multiply_adds(convolution, lambda: convolution(torch.rand(2, 3, 10)))
        == 2 * 10 * 3 * 4 * 5
    )
    # A step of a direction: four gates of 2, each from 3 (in layer 2 from 4) inputs and 2 of
    # before.
    step = 2 * (4 * 2 * (3 + 2)) + 2 * (4 * 2 * (4 + 2))
    x = torch.rand(2, 7, 3)
    assert count_multiply_adds(lstm, lambda: lstm(x)) == 2 * 7 * step
    packed = pack_padded_sequence(x, torch.tensor([7, 4]), batch_first=True)
    assert count_multiply_adds(lstm, lambda: lstm(packed)) == (7 + 4) * step


@pytest.mark.parametrize("kind", ["conformer", "bilstm", "baseline"])
def test_without_lstm_and_attention_the_count_is_that_of_torch(kind, monkeypatch):
    torch.manual_seed(0)
    sizes = ModelConfig(
        **training.SMALL,
        dropout=0.0,
        lstm_hidden=16,
        sequence="bilstm" if kind == "bilstm" else "conformer",
    )
    model = (
        BaselineTeacher(sizes, 5, lstm_hidden=16) if kind == "baseline" else I3DTeacher(sizes, 5)
    )
    model.eval()
    x, lengths = torch.rand(2, 16, 6516), torch.tensor([16, 16])
    steps = 2 * (16 if kind == "baseline" else 4)
    of_lstm = steps * sum(
        weight.numel()
        for layer in model.modules()
        if isinstance(layer, nn.LSTM)
        for name, weight in layer.named_parameters()
        if "weight" in name
    )

    # In place of the LSTM, which torch counts on some devices and not on others, zeros of its
    # shape.
    def nothing(layer: nn.LSTM, given: torch.Tensor, *_):
        width = layer.hidden_size * (1 + layer.bidirectional)
        if isinstance(given, torch.Tensor):
            return given.new_zeros(*given.shape[:2], width), None
        return given._replace(data=given.data.new_zeros(len(given.data), width)), None

    monkeypatch.setattr(nn.LSTM, "forward", nothing)
    # Torch does not count oneDNN's products
    monkeypatch.setattr("models.cpu_kernels._by_onednn", lambda *_: False)
    monkeypatch.setattr(
        nn.functional, "scaled_dot_product_attention", lambda queries, keys, values, **_: values
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x, lengths)
    assert (
        count_multiply_adds(model, lambda: model(x, lengths)) - of_lstm
        == counter.get_total_flops() // 2
    )


# ------------------------------------------------------------------------------------------------- training and GPU


def test_teacher_and_baseline_side_by_side(tiny_corpus, tmp_path, capsys):
    words = [
        "--small",
        "--data_dir",
        tiny_corpus,
        "--batch_size",
        4,
        "--updates",
        2,
        "--json",
        tmp_path / "figures.json",
    ]
    assert training.main(list(map(str, words))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[2:4]] == ["teacher", "baseline"]
    figures = read_figures(tmp_path / "figures.json", "training")
    name, value = lines[-1].split(": ")
    assert (
        figures[name] == pytest.approx(float(value), rel=0.01)
        and name == "times_the_baseline_batch_4"
    )
    for name in ("teacher", "baseline"):
        assert figures[f"{name}_batch_4_sentences_per_second"] * figures[
            f"{name}_batch_4_seconds"
        ] == pytest.approx(4)
        assert 0 < figures[f"{name}_batch_4_share_of_peak"] < 1.5
        assert 0 <= figures[f"{name}_batch_4_padded_share"] < 0.5


def test_losses_of_a_run_whose_batches_hold_their_sentences_in_another_order(tiny_corpus):
    losses, reversed_ = (
        scaling.measure_rounding(str(tiny_corpus), reverse) for reverse in (False, True)
    )
    assert len(losses) == len(reversed_) > 1 and losses[0] == pytest.approx(reversed_[0], rel=1e-5)


def gpu_figures(tmp_path, *words) -> tuple[int, dict[str, float]]:
    path = tmp_path / "figures.json"
    given = ["--device", "cpu", "--small", "--updates", 1, "--json", path, *words]
    return gpu.main(list(map(str, given))), read_figures(path, "gpu")


def test_the_gpu_table_on_the_cpu(tiny_corpus, tmp_path, capsys, monkeypatch):
    def broken(session):
        raise RuntimeError("no kernel\nfor this")

    monkeypatch.setitem(gpu.STEPS, "overfit", broken)
    steps = ["--steps", "overfit", "corpus", "phases", "agreement"]
    sizes = ["--batch_size", 3, 4, "--frames_per_batch", 90]
    code, figures = gpu_figures(tmp_path, *steps, "--data_dir", tiny_corpus, *sizes)
    said = capsys.readouterr().out
    assert code == 1 and figures["failed_steps"] == 1, "a step that fails is told"
    assert (
        "FAILED: RuntimeError: no kernel for this" in said
        and said.splitlines()[-1] == "failed_steps: 1"
    )
    assert figures["agreement_log_probs"] == 0 and figures["agreement_loss"] == 0
    assert 0 < figures["bf16_loss_difference"] < 0.1
    for row in ("batch_3", "batch_4", "90_frames"):
        assert all(figures[f"{row}_{phase}_ms"] > 0 for phase in gpu.PHASES)
        epoch = (
            gpu.TRAIN_FRAMES / figures[f"{row}_frames_per_second"]
            + figures[f"{row}_between_epochs_seconds"]
        )
        copying = figures[f"{row}_copying_seconds"]
        period = copying + max(epoch - copying, figures[f"{row}_checkpoint_seconds"])
        assert figures[f"{row}_training_minutes"] == pytest.approx(gpu.EPOCHS * period / 60)


def test_a_row_of_the_gpu_table_for_each_size_of_batch():
    given = argparse.Namespace(batch_size=[8, 32], frames_per_batch=[1200], compile=True)
    assert gpu.rows_of(given) == {
        "batch 8": {"batch_size": 8},
        "batch 32": {"batch_size": 32},
        "1200 frames": {"frames_per_batch": 1200},
        "batch 8 compiled": {"batch_size": 8, "compile": True},
    }


def test_when_the_time_is_over_no_step_begins(tiny_corpus, tmp_path, capsys):
    code, figures = gpu_figures(
        tmp_path, "--steps", "phases", "--data_dir", tiny_corpus, "--seconds", 0
    )
    assert code == 1 and figures == {"failed_steps": 1}
    assert "phases                      not begun" in capsys.readouterr().out


def test_a_script_is_stopped_when_its_time_is_over(tmp_path):
    started = time.monotonic()
    assert gpu.run(["-c", "import time; time.sleep(60)"], 0.1, tmp_path / "log") == 143
    assert gpu.run(["-c", "print('said'); raise SystemExit(3)"], 30, tmp_path / "log") == 3
    assert (tmp_path / "log").read_text() == "said\n" and time.monotonic() - started < 30


def test_what_bounds_an_update():
    even = dict.fromkeys(gpu.PHASES, 1.0)
    assert gpu.name_bound(even | {"feeder": 9.0}, 0.99, 0.9) == "the feeder (69 % of the update)"
    assert gpu.name_bound(even, 0.95, 0.1) == "launches: the device waits for the host"
    assert gpu.name_bound(even, 0.5, 0.6) == "matrix products"
    assert gpu.name_bound(even | {"loss": 3.0}, 0.5, 0.1) == "CTC (43 % of the update)"
    assert gpu.name_bound(even | {"backward": 4.0}, 0.5, 0.1).startswith(
        "backward (50 % of the update)"
    )


def test_the_shell_script_is_sound():
    script = ROOT / "benchmarks" / "gpu.sh"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_several_processes_act_the_same_bytes(tmp_path):
    rows = [TranscribedSentence(f"s{i}", f"signer{i % 2}", ("A", "B"), 20) for i in range(9)]
    for name, workers in (("one", 1), ("two", 2)):
        synthesize_transcripts(tmp_path / name, {"train": rows}, workers=workers)
    for file in split_files("train"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert len(Corpus(tmp_path / "two").split("train")) == 9


# ---------------------------------------------------------------- corpora with unknown signers


@pytest.fixture
def small_numbers(monkeypatch):
    sizes = {"TRAIN_SENTENCES": 8, "DEV_SENTENCES": 4, "UNKNOWN_SIMULATED": 2}
    sizes |= {"TEST_KNOWN": 6, "TEST_UNKNOWN": 3, "TEST_SENTENCES": 2}
    for name, value in sizes.items():
        monkeypatch.setattr(signer_corpora, name, value)


def test_signers_of_the_simulated_corpus_are_known_or_not_as_said(tmp_path, small_numbers):
    rows = signer_corpora.simulated_rows(tmp_path)
    of_train = {signer for _, signer, *_ in rows["train"]}
    of_dev = {signer for id, signer, *_ in rows["dev"] if id.startswith("unknown-")}
    of_test = {signer for id, signer, *_ in rows["test"] if id.startswith("more-unknown-")}
    assert (len(rows["train"]), len(rows["dev"]), len(of_dev), len(of_test)) == (8, 8, 2, 3)
    assert not of_train & of_dev and not of_train & of_test and not of_dev & of_test
    known = [row for split in ("dev", "test") for row in rows[split] if "unknown" not in row[0]]
    assert len(known) > 4 and {row[1] for row in known} <= of_train
    assert not {row[2] for row in rows["train"]} & {row[2] for row in rows["test"]}, (
        "no sentence of train"
    )
    assert len({row[0] for split in rows.values() for row in split}) == sum(map(len, rows.values()))


def test_the_corpora_of_recorders_and_others(tmp_path, small_numbers):
    """Two recorders who take turns every thirty recordings, and two recordings a gloss of somebody
    else's."""
    random = np.random.default_rng(0)
    for folder, repetitions in (("mine", [*range(8), *range(30, 38)]), ("theirs", range(2))):
        for gloss in ("hello", "thank-you", "no"):
            for repetition in repetitions:
                path = (
                    tmp_path
                    / folder
                    / (gloss if folder == "mine" else gloss.replace("-", " ").title())
                )
                (path / str(repetition)).mkdir(parents=True)
                for frame in range(6):
                    np.save(path / str(repetition) / f"{frame}.npy", random.uniform(0.2, 0.8, 1662))
    words = [
        "--input",
        tmp_path / "mine",
        "--recorders",
        2,
        "--others",
        tmp_path / "theirs",
        "--output",
        tmp_path / "out",
    ]
    assert signer_corpora.main([str(word) for word in words]) == 0
    recorders, both, others = (
        Corpus(tmp_path / "out" / name) for name in ("recorders", "both", "others")
    )
    unknown = {s.signer for s in recorders.split("dev").sentences} - {
        s.signer for s in recorders.split("train").sentences
    }
    assert len(unknown) == 1 and both.simulated and not recorders.simulated
    assert len(both.split("train")) == 16 and "test" not in both.splits
    assert [s.glosses for s in others.split("dev").sentences] == [
        (g,) for g in ("hello", "no", "thank-you") for _ in "12"
    ]
