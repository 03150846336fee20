"""MODEL_CARD.md of a run: the model, its data, its error rate, and what it is not made for."""

from pathlib import Path
from typing import Any

from data.corpus import Corpus
from reports.interval_words import interval_text
from reports.rendering import write_text
from reports.verdict import Verdict


def write_model_card(
    path: Path,
    result: dict[str, Any],
    corpus: Corpus,
    glosses: int,
    verdict: Verdict,
    session: dict[str, Any],
) -> None:
    """Write the card of a finished run. Raises OSError.

    Args:
        path: MODEL_CARD.md in the run's folder.
        result: the content of result.json.
        glosses: size of the vocabulary, without the blank.
        session: see `provenance.describe_session`.
    """
    signers = {
        name: {sentence.signer for sentence in corpus.splits[name].sentences}
        for name in ("train", "dev")
    }
    write_text(
        path,
        "MODEL_CARD.md",
        name=path.resolve().parent.name,
        parameters=f"{result['parameters'] / 1e6:.1f}",
        glosses=f"{glosses:,}",
        date=session["started"][:10],
        teacher=result.get("teacher"),
        corpus=corpus.describe(),
        fps=f"{corpus.fps:g}",
        fingerprint=corpus.fingerprint,
        simulated=corpus.simulated,
        composed=corpus.composed,
        splits=[
            {
                "name": name,
                "sentences": f"{len(corpus.splits[name]):,}",
                "frames": f"{int(corpus.splits[name].lengths.sum()):,}",
                "signers": len(signers[name]),
            }
            for name in signers
        ],
        unseen_signers=len(signers["dev"] - signers["train"]),
        left_out=result["train_sentences_left_out"],
        decoder=result["decoder"],
        heads=result["heads"],
        wer=f"{result['best_dev_wer']:.2f}",
        interval=interval_text(
            result["best_dev_wer"], result["best_dev_wer_interval"], len(corpus.splits["dev"])
        ),
        greedy_wer=f"{result['greedy_dev_wer']:.2f}",
        best_epoch=result["best_epoch"],
        epochs=result["epochs_run"],
        verdict=" ".join([str(verdict), *verdict.reasons]),
        version=session["version"],
        seed=session["seed"],
        git=session["git"],
        python=session["python"],
        packages=", ".join(f"{name} {version}" for name, version in session["packages"].items()),
    )
