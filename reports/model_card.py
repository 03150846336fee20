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
    signers, unknown = {}, {}
    for name in ("train", "dev"):
        sentences = corpus.splits[name].sentences
        signers[name] = {one.signer for one in sentences if one.signer_is_known}
        unknown[name] = sum(not one.signer_is_known for one in sentences)
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
                "signers": _signers_in_words(len(signers[name]), unknown[name]),
            }
            for name in signers
        ],
        # None: an unknown signer of train can be any signer of dev
        unseen_signers=None if unknown["train"] else len(signers["dev"] - signers["train"]),
        all_signers_known=not any(unknown.values()),
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


def _signers_in_words(known: int, unknown: int) -> str:
    """known: signers; unknown: sentences whose signer is not known."""
    parts = [f"{known} signer{'' if known == 1 else 's'}"] if known else []
    parts += [f"signer not known of {unknown:,} sentences"] if unknown else []
    return ", ".join(parts)
