"""Measure each part of the recipe: train variants on one corpus with one budget and several seeds.

    python benchmarks/ablation.py --data_dir data/corpora/mine --output ablation
    python benchmarks/ablation.py --data_dir data/corpora/mine --also data/corpora/others:dev \
        --seeds 0 1 2 --output ablation
    python benchmarks/ablation.py --variants benchmarks/variants/sweep.yaml \
        --data_dir data/corpora/mine --output sweep

The variants file (benchmarks/variants/) has a named row per variant: the settings that differ from
`base`, in the sections of configs/. `patch` in a row replaces steps of the features (PATCHES).

Every run is evaluated with greedy decoding and its best epoch on dev. It is evaluated on the dev
split of --data_dir and on every --also split. A split with signers of train and with other signers
gives two columns. Runs that OUTPUT/runs.jsonl already has are not repeated: an interrupted table
continues. The result is OUTPUT/table.md and OUTPUT/table.png.
"""

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import yaml

from benchmarks.results import (
    add_json_option,
    describe_machine,
    figure_name,
    finish,
    stopped_training_is_ctrl_c,
)
from command_line import Parser
from data.corpus import Corpus
from data.landmarks import ALL_LANDMARKS
from errors import DataError, UsageError, run_script
from settings import check_types, merge_overrides
from training.config import Config

VARIANTS = Path(__file__).parent / "variants" / "ablation.yaml"


def clip_centred(landmarks, detected, lengths, aspect_ratio, causal=False, selection=ALL_LANDMARKS):
    """Plain image coordinates in place of `data.features.body_coordinates`; the same shapes.

    The origin is the middle of the shoulders, averaged over the clip. The unit is a typical
    shoulder width. Parts that were not detected stay zero.
    """
    import torch

    from data.features import PARTS, frame_mask

    x = landmarks.float() * landmarks.new_tensor(
        [aspect_ratio, 1.0, aspect_ratio], dtype=torch.float32
    )
    inside = frame_mask(lengths, x.shape[1]) & detected[..., 0]
    count = inside.sum(1).clamp(min=1)[:, None]
    centre = (
        x[:, :, [selection.left_shoulder, selection.right_shoulder]].mean(2) * inside[..., None]
    ).sum(1) / count  # (B, 3)
    x = (x - centre[:, None, None]) / 0.3
    for column, part in enumerate(PARTS):
        x[:, :, selection.part_slices[part]] *= detected[..., column, None, None]
    last = (lengths - 1)[:, None]
    hold = torch.minimum(torch.arange(x.shape[1])[None].to(last), last)
    return x.gather(1, hold[:, :, None, None].expand(x.shape))


def as_recorded(body, detected, left, selection=ALL_LANDMARKS):
    """In place of `data.features.mirror_left_handed`: no sentence is mirrored."""
    return body, detected


PATCHES = {"clip_centred": {"body_coordinates": clip_centred, "mirror_left_handed": as_recorded}}
PATCHES["as_recorded"] = {"mirror_left_handed": as_recorded}


def read_variants(path: Path) -> dict[str, tuple[dict, str | None]]:
    """{name: (overrides, patch)} of a variants file; `base` is merged into each row.

    Raises UsageError.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--variants {path} cannot be read: {' '.join(str(error).split())}"
        ) from None
    if (
        not isinstance(content, dict)
        or set(content) != {"base", "rows"}
        or not isinstance(content["rows"], dict)
    ):
        raise UsageError(
            f"--variants {path}: expected the keys 'base' and 'rows', with a name for each row"
        )
    try:
        base, variants = check_types(content["base"] or {}, Config), {}
        for name, row in content["rows"].items():
            row = dict(row or {})
            patch = row.pop("patch", None)
            if patch not in (None, *PATCHES):
                raise UsageError(
                    f"row '{name}': unknown patch '{patch}', expected one of {', '.join(PATCHES)}"
                )
            variants[name] = merge_overrides(base, check_types(row, Config)), patch
        return variants
    except UsageError as error:
        raise UsageError(f"--variants {path}: {error}") from None


def evaluate_split(
    checkpoint: Path, corpus: str, split: str, train_signers: set[str]
) -> dict[str, dict]:
    """{column: counts} of one split; two columns when it has signers of train and other signers."""
    from decoding.batches import decode_sentences
    from decoding.greedy import greedy_decode
    from decoding.scoring import align, by_group, total
    from inference.model_on_corpus import open_model_on_corpus

    opened = open_model_on_corpus(checkpoint, corpus, "auto")
    prepared = opened.prepared(split)
    found = decode_sentences(
        opened.posteriors(split), len(prepared.split), {"greedy": greedy_decode}
    )
    aligned = align(
        prepared.references,
        [opened.vocabulary.decode(classes) for classes in found.predictions["greedy"]],
    )
    seen = ["seen" if s.signer in train_signers else "unseen" for s in prepared.split.sentences]
    groups = by_group(aligned, seen)
    name = opened.corpus.name if split == "dev" else f"{opened.corpus.name} {split}"
    columns = {
        f"{name}, {group} signers" if len(groups) > 1 else name: total(pairs)
        for group, pairs in groups.items()
    }
    return {
        column: {
            "wer": score.wer,
            "substitutions": score.substitutions,
            "deletions": score.deletions,
            "insertions": score.insertions,
            "reference_glosses": score.reference_glosses,
        }
        for column, score in columns.items()
    }


def train_and_evaluate(
    overrides: dict, patch: str | None, seed: int, corpus: str, also: list[tuple[str, str]]
) -> dict:
    """One run in a temporary folder: its counts on every split, seconds, parameters, best epoch."""
    from training.resume import plan_start
    from training.run import execute
    from training.setup import prepare_run

    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for step, replacement in PATCHES.get(patch, {}).items():
            stack.enter_context(mock.patch(f"data.features.{step}", replacement))
        fixed = {
            "data_dir": corpus,
            "output_dir": f"{folder}/run",
            "seed": seed,
            "decoder": "greedy",
        }
        with contextlib.redirect_stdout(io.StringIO()), stopped_training_is_ctrl_c():
            result = execute(
                prepare_run(plan_start(None, merge_overrides(overrides, {"training": fixed})))
            )
            train_signers = {
                sentence.signer for sentence in Corpus(corpus).split("train").sentences
            }
            columns = {}
            for path, split in [(corpus, "dev"), *also]:
                columns |= evaluate_split(
                    Path(folder) / "run" / "best_model.pth", path, split, train_signers
                )
    return {
        "columns": columns,
        "seconds": result["seconds"],
        "parameters": result["parameters"],
        "best_epoch": result["best_epoch"],
        "corpus_fingerprint": result["corpus_fingerprint"],
    }


def read_runs(path: Path) -> list[dict]:
    """The finished runs, one JSON line each. Raises DataError with the number of a broken line."""
    runs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            runs.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            raise DataError(
                f"{path} line {number} is not a complete run: remove the line, and it runs again"
            ) from None
    return runs


def _mean_and_deviation(values: list[float], form: str = "{:.2f}") -> str:
    mean = form.format(statistics.mean(values))
    return f"{mean} ± {form.format(statistics.stdev(values))}" if len(values) > 1 else mean


def table(rows: dict[str, list[dict]]) -> str:
    """Markdown with one line per variant.

    A line has the mean WER ± standard deviation over the seeds, and the substitutions, deletions
    and insertions of the first column, summed over the seeds.
    """
    columns = list(
        dict.fromkeys(column for runs in rows.values() for run in runs for column in run["columns"])
    )
    first = columns[0]
    lines = [
        f"| variant | {' | '.join(f'WER % {column}' for column in columns)} "
        f"| S/D/I {first} | seconds | parameters | seeds |",
        f"|---|{'---|' * (len(columns) + 4)}",
    ]
    for name, runs in rows.items():
        rates = [
            _mean_and_deviation([run["columns"][column]["wer"] for run in runs])
            for column in columns
        ]
        kinds = ("substitutions", "deletions", "insertions")
        counts = "/".join(str(sum(run["columns"][first][kind] for run in runs)) for kind in kinds)
        seconds = _mean_and_deviation([run["seconds"] for run in runs], "{:.0f}")
        lines.append(
            f"| {name} | {' | '.join(rates)} | {counts} | {seconds} "
            f"| {runs[0]['parameters'] / 1e6:.2f} M | {len(runs)} |"
        )
    return "\n".join(lines)


def plot(rows: dict[str, list[dict]], path: Path) -> None:
    """One panel per column. A bar is a variant's mean WER, a dot is the WER of one seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = list(
        dict.fromkeys(column for runs in rows.values() for run in runs for column in run["columns"])
    )
    size = (4 + 3.2 * len(columns), 1.2 + 0.32 * len(rows))
    figure, axes = pyplot.subplots(
        1, len(columns), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for axis, column in zip(axes[0], columns, strict=True):
        for place, runs in enumerate(rows.values()):
            rates = [run["columns"][column]["wer"] for run in runs]
            axis.barh(place, statistics.mean(rates), color="#9ecae1")
            axis.plot(rates, [place] * len(rates), "o", color="#08519c", markersize=4)
        axis.set(title=column, xlabel="WER %")
        axis.grid(axis="x", alpha=0.3)
    axes[0][0].set_yticks(range(len(rows)), list(rows))
    axes[0][0].invert_yaxis()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="ablation.py", description=__doc__)
    parser.add_argument("--data_dir", required=True, help="corpus folder to train on")
    parser.add_argument(
        "--also", nargs="*", default=[], metavar="DIR:SPLIT", help="further splits to evaluate"
    )
    parser.add_argument(
        "--variants",
        type=Path,
        default=VARIANTS,
        help="YAML file of variants (default: benchmarks/variants/ablation.yaml)",
    )
    parser.add_argument("--only", nargs="*", help="names of rows to run (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: 0")
    parser.add_argument(
        "--epochs",
        type=int,
        default=argparse.SUPPRESS,
        help="in place of the epochs in the variants file",
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for runs.jsonl, table.md and table.png"
    )
    add_json_option(parser)
    options = parser.parse_args(argv)
    variants = read_variants(options.variants)
    for name in options.only or ():
        if name not in variants:
            raise UsageError(
                f"--only '{name}': {options.variants} has the rows {', '.join(variants)}"
            )
    also = []
    for place in options.also:
        path, colon, split = place.rpartition(":")
        if not colon or split not in ("train", "dev", "test"):
            raise UsageError(
                f"--also {place}: expected a corpus folder and a split, e.g. data/corpora/mine:dev"
            )
        also.append((path, split))
    options.output.mkdir(parents=True, exist_ok=True)
    log = options.output / "runs.jsonl"
    done = read_runs(log) if log.exists() else []
    # Runs of another corpus in the same folder do not count
    fingerprint = Corpus(options.data_dir).fingerprint
    for path, split in also:
        Corpus(path).split(split)  # raises before the first training if the split is missing

    print(describe_machine())
    rows: dict[str, list[dict]] = {}
    budget = {"training": {"epochs": options.epochs}} if "epochs" in options else {}
    for seed in options.seeds:
        for name in options.only or variants:
            overrides, patch = variants[name]
            asked = {
                "variant": name,
                "seed": seed,
                "settings": merge_overrides(overrides, budget),
                "patch": patch,
            }
            asked |= {
                "data_dir": options.data_dir,
                "also": options.also,
                "corpus_fingerprint": fingerprint,
            }
            # JSON turns tuples into lists, so that the settings compare equal to those of the file
            asked = json.loads(json.dumps(asked))
            found = next(
                (run for run in done if all(run.get(key) == value for key, value in asked.items())),
                None,
            )
            if found is None:
                found = {
                    **asked,
                    **train_and_evaluate(asked["settings"], patch, seed, options.data_dir, also),
                }
                with open(log, "a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")
            rows.setdefault(name, []).append(found)
            rates = ", ".join(
                f"{column} {counts['wer']:.2f}" for column, counts in found["columns"].items()
            )
            print(
                f"{name}, seed {seed}: {rates}; {found['seconds']:.0f} s, "
                f"best epoch {found['best_epoch']}",
                flush=True,
            )
    text = table(rows)
    (options.output / "table.md").write_text(f"{describe_machine()}\n\n{text}\n", encoding="utf-8")
    plot(rows, options.output / "table.png")
    print(f"\n{text}")
    figures = {
        figure_name(name, column): statistics.mean(run["columns"][column]["wer"] for run in runs)
        for name, runs in rows.items()
        for column in runs[0]["columns"]
    }
    first = next(iter(next(iter(rows.values()))[0]["columns"]))
    best = min(rows, key=lambda name: figures[figure_name(name, first)])
    print(f"best_variant: {best}")
    finish(
        options,
        {**figures, "best_variant_wer": figures[figure_name(best, first)]},
        "best_variant_wer",
    )
    return 0


if __name__ == "__main__":
    run_script(main)
