"""The command line of prepare_data.py split: what it makes and prints, and its errors."""

import pytest

import prepare_data
from data.corpus import Corpus
from errors import UsageError
from tests.data.small_corpus import write_corpus


@pytest.fixture
def corpus(tmp_path):
    """Twelve sentences of three signers; one has a gloss of its own."""
    rows = [(f"s{n:02d}", "abc"[n % 3], "A B" if n else "A NEW", 5 + n) for n in range(12)]
    return write_corpus(tmp_path / "corpus", {"train": rows})


def test_split_makes_and_prints_a_dev_split(run_main, corpus, tmp_path):
    options = ("--by", "signer", "--dev_signers", "a", "--test", "0.2", "--seed", "4")
    ended = run_main(prepare_data.main, "split", corpus, "--output", tmp_path / "out", *options)
    assert ended.returncode == 0
    lines = [" ".join(line.split()) for line in ended.stdout.splitlines()]
    assert lines[:6] == [
        "dev: 4 of 12 train sentences (33.3 %)",
        "dev: 0 of 1 signers are in train (a); 3 of 4 sentences have a gloss sequence of train",
        "dev: 1 of 3 glosses are not in train",
        "test: 4 of 12 train sentences (33.3 %, asked for 20 %)",
        "test: 0 of 1 signers are in train (b); 4 of 4 sentences have a gloss sequence of train",
        "test: 0 of 2 glosses are not in train",
    ]
    assert lines[6] == f"{tmp_path / 'out'}: out"
    assert [line.split()[:2] for line in lines[7:]] == [["train", "4"], ["dev", "4"], ["test", "4"]]
    assert ended.stderr.splitlines()[-1] == (
        "warning: 1 of 8 gloss tokens of dev are not in train and count as errors in WER (1 of 4 "
        "sentences have one): NEW"
    )
    again = run_main(prepare_data.main, "split", corpus, "--output", tmp_path / "out", *options)
    assert again.returncode == 2 and "already exists: choose another --output" in again.stderr


def test_a_tenth_is_the_default(corpus, tmp_path):
    assert (
        prepare_data.main(
            ["split", str(corpus), "--output", str(tmp_path / "out"), "--by", "random"]
        )
        == 0
    )
    sizes = {name: len(part) for name, part in Corpus(tmp_path / "out").splits.items()}
    assert sizes == {"train": 11, "dev": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--by random --dev 0", "--dev 0.0: expected a number above 0 and below 1"),
        ("--by random --dev 10", "--dev 10.0: expected a number above 0 and below 1"),
        ("--by random --test 1", "--test 1.0: expected a number above 0 and below 1"),
        ("--by random --dev_signers a", "--dev_signers has no effect with --by random"),
        ("--by sentence --test_signers a", "--test_signers has no effect with --by sentence"),
        ("--by signer --dev_signers a --dev 0.2", "--dev 0.2 and --dev_signers: give one of them"),
        (
            "--by signer --dev_signers a b --test_signers b",
            "signer b is in --dev_signers and in --test_signers",
        ),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(UsageError) as refused:
        prepare_data.main(["split", "nowhere", "--output", "out", *options.split()])
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ("--dev 0.5 --test 0.5", "--dev 0.5 and --test 0.5"),
        ("--test 0.95", "--dev 0.1 and --test 0.95"),
    ],
)
def test_shares_that_leave_nothing_for_train(corpus, tmp_path, options, shares):
    with pytest.raises(UsageError, match=f"{shares} leave nothing for train"):
        prepare_data.main(
            [
                "split",
                str(corpus),
                "--by",
                "random",
                "--output",
                str(tmp_path / "o"),
                *options.split(),
            ]
        )


def test_a_way_to_split_is_needed(capsys):
    with pytest.raises(SystemExit) as ended:
        prepare_data.main(["split", "nowhere", "--output", "out"])
    assert ended.value.code == 2
    assert "required: --by" in capsys.readouterr().err
