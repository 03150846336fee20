"""The benchmark of windows gives the figures of complete recordings when one window has it all."""

from benchmarks import online


def test_windows_beside_complete_recordings(finished_run, tiny_corpus, capsys):
    words = ["--checkpoint", finished_run / "best_model.pth", "--data_dir", tiny_corpus]
    words += ["--seconds", 100, "--device", "cpu"]
    words += ["--window", 2, 100, "--overlap", 1.5, "--lookahead", 0.25]
    assert online.main(list(map(str, words))) == 0
    lines = capsys.readouterr().out.splitlines()
    alone, complete = (
        next(line for line in lines if line.startswith(start))
        for start in ("each sentence", "complete recordings")
    )
    assert "over 4 sentences" in alone and "over 1 sentences" in complete
    small, large = (line.split() for line in lines[-3:-1])
    # 12 steps, and the frame that shows that the recording continues
    assert small[:3] == ["2", "1.5", "0.25"] and small[-1] == "49"
    assert large[3] == complete.split()[3] and large[4] == "0.00"  # one window has everything
