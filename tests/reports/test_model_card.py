"""MODEL_CARD.md of a run: data, error rates, use and limits."""

import json

from data.corpus import Corpus
from reports.model_card import write_model_card
from reports.verdict import Verdict

RESULT = {
    "best_dev_wer": 12.345,
    "best_dev_wer_interval": [10.5, 14.25],
    "greedy_dev_wer": 13.0,
    "decoder": "adaptive",
    "heads": "30 % of the convolution head",
    "best_epoch": 4,
    "epochs_run": 9,
    "parameters": 3_400_000,
    "train_sentences_left_out": 2,
}
SESSION = {
    "started": "2026-01-02T03:04:05+00:00",
    "git": {"commit": None, "changed": None, "reason": "no *git*"},
    "version": "1.2.3",
    "seed": 7,
    "python": "3.11",
    "packages": {"torch": "2"},
}


def card(tmp_path, corpus, **changed) -> str:
    folder = tmp_path / "my_run"
    folder.mkdir(exist_ok=True)
    verdict = Verdict("levelled off", "it has learned.", ("A reason.",))
    write_model_card(folder / "MODEL_CARD.md", RESULT | changed, corpus, 5, verdict, SESSION)
    return (folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_the_card_has_data_figures_use_and_limits(make_corpus, tmp_path):
    splits = {"train": ["SUN RAIN", "WIND"], "dev": ["SUN", "RAIN"]}
    corpus = Corpus(make_corpus(tmp_path / "a|b", splits, name="a|b <i>"))
    text = card(tmp_path, corpus)
    for heading in (
        "# Model card: my\\_run",
        "## Data",
        "## Result",
        "## Intended use",
        "## Limits",
        "## How to repeat the run",
    ):
        assert heading in text
    assert "Corpus a\\|b \\<i\\>, 25 frames/s" in text and corpus.fingerprint in text
    assert f"- train: 2 sentences, {corpus.split('train').lengths.sum()} frames, 1 signer\n" in text
    assert (
        "| dev, adaptive decoder, tuned on this dev split | 12.35 % "
        "(95 % interval 10.50 to 14.25) |" in text.replace("12.34", "12.35")
    )
    assert (
        "| dev, greedy, sequence head alone | 13.00 % |" in text
        and "Decoded heads: 30 % of the convolution head." in text
        and "This is the model of epoch 4 of 9.\nIt was chosen on this dev split." in text
        and "version 1.2.3, seed 7" in text
    )
    assert (
        "levelled off: it has learned. A reason." in text
        and "commit unknown (no \\*git\\*)" in text
    )
    assert (
        "every signer of dev is in train, too" in text
        and "- train sentences that were left out (`--skip_bad`): 2\n" in text
    )
    assert "simulated" not in text.lower() and "composed" not in text.lower()


def test_a_signer_that_is_not_known_is_no_person(make_corpus, tmp_path):
    def card_with(name: str, **unknown: int) -> str:
        """The signers of the first sentences of a split are not known."""
        splits = {"train": ["SUN", "RAIN"], "dev": ["SUN", "RAIN"]}
        folder = make_corpus(tmp_path / name, splits)
        for split, count in unknown.items():
            table = folder / f"{split}.csv"
            text = table.read_text("utf-8").replace("|anna|", "|unknown|", count)
            table.write_text(text, "utf-8")
        text = card(tmp_path, Corpus(folder))
        return text[text.index("- train") : text.index("- train sentences")]

    both = card_with("both", train=2, dev=2)
    assert both.count("frames, signer not known of 2 sentences\n") == 2 and "of dev" not in both
    in_dev = card_with("in_dev", dev=1)
    assert "frames, 1 signer, signer not known of 1 sentences\n" in in_dev
    assert "of dev" not in in_dev and "of dev" not in card_with("in_train", train=1)
    assert "every signer of dev is in train, too" in card_with("known")


def test_the_card_names_simulated_and_composed_data(make_corpus, tmp_path):
    splits = {"train": ["SUN"], "dev": ["SUN"]}
    simulated = card(tmp_path, Corpus(make_corpus(tmp_path / "s", splits, simulated=True)))
    assert simulated.index("**The data is simulated.**") < simulated.index("## Result")
    assert "**The sentences are composed**" in card(
        tmp_path, Corpus(make_corpus(tmp_path / "c", splits, composed=True))
    )
    greedy = card(tmp_path, Corpus(tmp_path / "c"), decoder="greedy", best_epoch=0)
    assert "| dev, greedy decoder | 12.3" in greedy and "tuned on" not in greedy
    assert "the model that the fine-tune started from: none of 9 epochs was better." in greedy


def test_a_rate_of_one_sentence_or_without_an_error_has_no_interval(make_corpus, tmp_path):
    one, two = (
        Corpus(make_corpus(tmp_path / name, {"train": ["SUN"], "dev": dev}))
        for name, dev in (("one", ["SUN"]), ("two", ["SUN", "RAIN"]))
    )
    assert "12.35 % (no interval of one sentence) |" in card(tmp_path, one, best_dev_wer=12.346)
    assert "0.00 % (no interval: no error in 2 sentences) |" in card(
        tmp_path, two, best_dev_wer=0.0
    )


def test_a_run_has_its_card(finished_run):
    result = json.loads((finished_run / "result.json").read_text())
    text = (finished_run / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert (
        f"{result['best_dev_wer']:.2f} % (95 % interval {result['best_dev_wer_interval'][0]:.2f}"
        in text
    )
    assert result["corpus_fingerprint"] in text
