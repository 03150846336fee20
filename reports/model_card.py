"""MODEL_CARD.md: what a trained model is, what it was trained on, how well it reads, and what it is
not for."""

from pathlib import Path

from data.corpus import Corpus
from reports.verdict import Verdict


def write_model_card(
    path: Path, result: dict, corpus: Corpus, glosses: int, verdict: Verdict, session: dict
) -> None:
    """MODEL_CARD.md of a finished run, from its result.json's content. Raises OSError."""
    low, high = result["best_dev_wer_interval"]
    data = []
    if corpus.simulated:
        data.append(
            "**The data is simulated.** Simulated signers acted it. The figures show that the programs work; they say nothing "
            "about real signers."
        )
    if corpus.composed:
        data.append(
            "**The sentences are composed** of recordings of isolated signs. Continuous signing is harder to read."
        )
    for name in ("train", "dev"):
        split = corpus.splits[name]
        signers = len({sentence.signer for sentence in split.sentences})
        data.append(
            f"- {name}: {len(split):,} sentences, {int(split.lengths.sum()):,} frames, "
            f"{signers} {'signer' if signers == 1 else 'signers'}"
        )
    unseen = {s.signer for s in corpus.splits["dev"].sentences} - {
        s.signer for s in corpus.splits["train"].sentences
    }
    rate = f"{result['best_dev_wer']:.2f} % (95 % interval {low:.2f} to {high:.2f})"
    decoder = result["decoder"] + (
        " decoder, tuned on this same dev" if result["decoder"] == "adaptive" else " decoder"
    )
    epoch, epochs = result["best_epoch"], result["epochs_run"]
    chosen = (
        f"Epoch {epoch} of {epochs}"
        if epoch
        else f"The model that was fine-tuned, which none of {epochs} epochs beat"
    )
    words = _plain(" ".join([str(verdict), *verdict.reasons]))
    git = session["git"]
    code = git["commit"] or f"of unknown commit ({_plain(git['reason'])})"
    teacher = result.get("teacher")
    taught = (
        f"\nTaught by {_plain(teacher['path'])}, SHA-256 {teacher['sha256']}." if teacher else ""
    )
    packages = ", ".join(f"{name} {version}" for name, version in session["packages"].items())
    text = f"""# Model card: {_plain(path.resolve().parent.name)}

A model for continuous sign language recognition: MediaPipe Holistic landmarks in, gloss sentences out.
{result["parameters"] / 1e6:.1f} M parameters, {glosses:,} glosses, time stride 4. Written by the run that
trained it, {session["started"][:10]}.{taught}

## Data

Corpus {_plain(corpus.describe())}, {corpus.fps:g} frames/s, SHA-256 of its corpus.json {corpus.fingerprint}.

{chr(10).join(data)}
- {"every signer of dev is in train too" if not unseen else f"dev has signers that are not in train: {len(unseen)}"}
- {result["train_sentences_left_out"]} train sentences were left out (they cannot be aligned)

The corpus's own licence applies to what is made from it; ask it before you pass the weights on.

## Result

| what | WER |
|---|---|
| dev, {decoder} | {rate} |
| dev, greedy | {result["greedy_dev_wer"]:.2f} % |

{chosen}, chosen on this dev split: expect a higher rate on new data, and measure
it with `evaluate.py --split test`. The run in words: {words}

## Intended use

Research on sign language recognition: reading landmarks of the signers, signs and recording conditions of the corpus above, and
teaching smaller models. A gloss sentence is not a translation.

## Limits

- Glosses outside the {glosses:,} of the vocabulary are never read; they are replaced or left out.
- Other signers, cameras, frame rates or sign languages than the corpus's can be read far worse than the figure above.
- Whatever MediaPipe misses (a hand before the face, motion blur, a turned body) is missed here too.
- Not for decisions about people, and not in place of an interpreter.

## To repeat it

`config.yaml` and `environment.json` beside this file: configuration, command line, versions, machine.

- seed {session["seed"]}
- code {code}{", with uncommitted changes" if git["changed"] else ""}
- Python {session["python"]}, {packages}
"""
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _plain(text: str) -> str:
    """Text from files or names as Markdown shows it: nothing in it is formatting, HTML or a table's
    border."""
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#&" else char for char in text)
