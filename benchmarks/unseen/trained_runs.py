"""Trainings of a benchmark: train once, decode with the model of the last epoch, and remember."""

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.ablation import read_runs, read_variants
from benchmarks.results import stopped_training_is_ctrl_c
from data.corpus import Corpus
from decoding.scoring import SentenceErrors, align, paired_p_value
from errors import UsageError
from settings import merge_overrides


def add_run_options(parser: argparse.ArgumentParser, variants: Path) -> None:
    """Add --variants, --only and --seeds. variants: the file of variants without --variants."""
    parser.add_argument(
        "--variants",
        type=Path,
        default=variants,
        help=f"YAML file of variants (default: benchmarks/variants/{variants.name})",
    )
    parser.add_argument("--only", nargs="*", help="names of rows to run (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: 0")


def chosen_variants(options: argparse.Namespace) -> dict[str, Any]:
    """The rows of --variants that --only names. Raises UsageError and DataError."""
    variants = read_variants(options.variants)
    for name in options.only or ():
        if name not in variants:
            raise UsageError(
                f"--only '{name}': {options.variants} has the rows {', '.join(variants)}"
            )
    return {name: variants[name] for name in options.only or variants}


def train_and_decode(
    overrides: dict[str, Any], seed: int, corpus: Path, splits: Sequence[str] = ("dev",)
) -> dict[str, Any]:
    """Train once, and decode some splits greedily with the model of the last epoch: no split
    chooses an epoch.

    Returns the references, hypotheses and signers of each split, WER on train, seconds.
    """
    from decoding.batches import decode_sentences
    from decoding.greedy import greedy_decode
    from inference.model_on_corpus import open_model_on_corpus
    from models.checkpoint import LAST
    from training.resume import plan_start
    from training.run import execute
    from training.setup import prepare_run

    decoded = {}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        fixed = {"data_dir": str(corpus), "output_dir": str(run), "seed": seed, "decoder": "greedy"}
        with contextlib.redirect_stdout(io.StringIO()), stopped_training_is_ctrl_c():
            start = plan_start(None, merge_overrides(overrides, {"training": fixed}))
            result = execute(prepare_run(start))
            opened = open_model_on_corpus(run / LAST, str(corpus), "auto")
            for name in splits:
                prepared = opened.prepared(name)
                found = decode_sentences(
                    opened.posteriors(name), len(prepared.split), {"greedy": greedy_decode}
                )
                decoded[name] = {
                    "references": prepared.references,
                    "hypotheses": [
                        opened.vocabulary.decode(row) for row in found.predictions["greedy"]
                    ],
                    "signers": [sentence.signer for sentence in prepared.split.sentences],
                }
        last = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return {"splits": decoded, "train_wer": last.get("train_wer"), "seconds": result["seconds"]}


class RememberedRuns:
    """The runs of a benchmark. One that the log has already is not repeated.

    log: a file with a JSON line per run; it need not exist.
    """

    def __init__(self, log: Path):
        self._log = log
        self._done = read_runs(log) if log.exists() else []

    def get(
        self,
        names: dict[str, Any],
        overrides: dict[str, Any],
        seed: int,
        corpus: Path,
        splits: Sequence[str] = ("dev",),
    ) -> dict[str, Any]:
        """The result of `train_and_decode`, with names, seed and settings of the run."""
        asked = {**names, "seed": seed, "settings": overrides, "splits_decoded": list(splits)}
        asked["corpus_fingerprint"] = Corpus(corpus).fingerprint
        asked = json.loads(json.dumps(asked))
        found = next((run for run in self._done if asked.items() <= run.items()), None)
        if found is None:
            found = asked | train_and_decode(overrides, seed, corpus, splits)
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found, ensure_ascii=False) + "\n")
        return found


def aligned(run: dict[str, Any], split: str = "dev") -> list[SentenceErrors]:
    """The sentences of a split of a run, aligned."""
    decoded = run["splits"][split]
    return align(decoded["references"], decoded["hypotheses"])


def paired(
    first: Sequence[dict[str, Any]],
    other: Sequence[dict[str, Any]],
    same: Sequence[str],
    split: str = "dev",
) -> str:
    """The p-value of the difference between two rows, over the sentences of the runs that both
    have.

    same: the keys, beside the seed, in which two runs must agree, such as the fold.
    """

    def key(run: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(run[name] for name in (*same, "seed"))

    before = {key(run): aligned(run, split) for run in first}
    pairs = [(before[key(run)], aligned(run, split)) for run in other if key(run) in before]
    if not pairs:
        return "-"
    p = paired_p_value(
        [sentence for pair in pairs for sentence in pair[0]],
        [sentence for pair in pairs for sentence in pair[1]],
    )
    return f"{p:.4f}"
