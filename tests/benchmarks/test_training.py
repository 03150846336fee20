"""The benchmark of the training speed runs teacher and baseline."""

import pytest

from benchmarks import training


def test_teacher_and_baseline_side_by_side(tiny_corpus, tmp_path, capsys, read_figures):
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
    assert lines[2].strip().startswith("teacher: 1 thread; large linear layers by torch")
    assert [line.split()[1] for line in lines[3:5]] == ["teacher", "baseline"]
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
