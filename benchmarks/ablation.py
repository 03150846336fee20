"""What each part of the recipe is worth: variants trained on one corpus with one budget, several
seeds, one table and plot.

    python benchmarks/ablation.py --data_dir data/corpora/mine --output ablation
    python benchmarks/ablation.py --data_dir data/corpora/mine --also data/corpora/others:dev --seeds 0 1 2 --output ablation
    python benchmarks/ablation.py --variants configs/sweep.yaml --data_dir data/corpora/mine --output sweep

The variants file names rows; each holds the settings in which it differs from `base`
(sections as in configs/). Every run is judged greedily with its best epoch (by the dev split it was
trained beside) on that dev split and on every `--also` split; a split that has both signers of
train and others gives two columns. `patch` in a row replaces a step of the features for the
comparison's sake (PATCHES). Runs that OUTPUT/runs.jsonl already holds are not repeated, so that an
interrupted table goes on. Ends with OUTPUT/table.md and OUTPUT/table.png.
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

from benchmarks.machine import describe_machine
from benchmarks.results import add_json_option, figure_name, finish
from command_line import Parser
from data.corpus import Corpus
from data.landmarks import ALL_LANDMARKS
from errors import DataError, UsageError, run_script
from training.config import check_types, merge_overrides

VARIANTS = Path(__file__).with_suffix(".yaml")


def clip_centred(landmarks, detected, lengths, aspect_ratio, causal=False, selection=ALL_LANDMARKS):
    """Instead of body coordinates: image coordinates less the shoulders' mean over the clip, lost
    parts left at zero, which is what a plain model reads. Shapes as of
    data.features.body_coordinates; x and y divided by a typical shoulder width."""
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


def as_recorded(body, detected, lengths, selection=ALL_LANDMARKS):
    """Instead of mirror_left_handed: nothing is mirrored."""
    return body, detected


PATCHES = {"clip_centred": {"body_coordinates": clip_centred, "mirror_left_handed": as_recorded}}
PATCHES["as_recorded"] = {"mirror_left_handed": as_recorded}


def read_variants(path: Path) -> dict[str, tuple[dict, str | None]]:
    """{name: (overrides, patch)} of a variants file: `base` and `rows`; each row is merged over
    base. Raises UsageError."""
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
            f"--variants {path}: expected the keys 'base' and 'rows', the latter with a name for each row"
        )
    try:
        base, variants = check_types(content["base"] or {}), {}
        for name, row in content["rows"].items():
            row = dict(row or {})
            patch = row.pop("patch", None)
            if patch not in (None, *PATCHES):
                raise UsageError(
                    f"row '{name}': unknown patch '{patch}', expected one of {', '.join(PATCHES)}"
                )
            variants[name] = merge_overrides(base, check_types(row)), patch
        return variants
    except UsageError as error:
        raise UsageError(f"--variants {path}: {error}") from None


def judge(checkpoint: Path, corpus: str, split: str, train_signers: set[str]) -> dict[str, dict]:
    """{column: counts} of one split; two columns where it has signers of train and others."""
    from decoding.batches import decode_split
    from decoding.greedy import greedy_decode
    from decoding.scoring import align, by_group, total
    from inference.model_on_corpus import open_model_on_corpus

    judged = open_model_on_corpus(checkpoint, corpus, "auto")
    prepared = judged.prepared(split)
    readings = decode_split(judged.posteriors(split), greedy_decode)
    aligned = align(
        prepared.references, [judged.vocabulary.decode(reading) for reading in readings]
    )
    seen = ["seen" if s.signer in train_signers else "unseen" for s in prepared.split.sentences]
    groups = by_group(aligned, seen)
    name = judged.corpus.name if split == "dev" else f"{judged.corpus.name} {split}"
    columns = {
        f"{name}, {group} signers" if len(groups) > 1 else name: total(g)
        for group, g in groups.items()
    }
    return {
        column: {
            "wer": found.wer,
            "substitutions": found.substitutions,
            "deletions": found.deletions,
            "insertions": found.insertions,
            "reference_glosses": found.reference_glosses,
        }
        for column, found in columns.items()
    }


def train_and_judge(
    overrides: dict, patch: str | None, seed: int, corpus: str, also: list[tuple[str, str]]
) -> dict:
    """One run in a temporary folder: its counts on every split, seconds, parameters, frames a
    second."""
    from training.resume import plan_start
    from training.run import execute
    from training.setup import prepare_run

    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for step, other in PATCHES.get(patch, {}).items():
            stack.enter_context(mock.patch(f"data.features.{step}", other))
        fixed = {
            "data_dir": corpus,
            "output_dir": f"{folder}/run",
            "seed": seed,
            "decoder": "greedy",
        }
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            result = execute(
                prepare_run(plan_start(None, merge_overrides(overrides, {"training": fixed})))
            )
            train_signers = {
                sentence.signer for sentence in Corpus(corpus).split("train").sentences
            }
            columns = {}
            for path, split in [(corpus, "dev"), *also]:
                columns |= judge(
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
    """The runs that are done, one JSON line each. Raises DataError naming the line that a kill left
    half written."""
    runs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            runs.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            raise DataError(
                f"{path} line {number} is not a run's: remove the line, it will be run again"
            ) from None
    return runs


def _spread(values: list[float], form: str = "{:.2f}") -> str:
    mean = form.format(statistics.mean(values))
    return f"{mean} ± {form.format(statistics.stdev(values))}" if len(values) > 1 else mean


def table(rows: dict[str, list[dict]]) -> str:
    """Markdown: a line a variant; mean WER ± standard deviation over the seeds, summed S/D/I of the
    first column."""
    columns = list(
        dict.fromkeys(column for runs in rows.values() for run in runs for column in run["columns"])
    )
    first = columns[0]
    lines = [
        f"| variant | {' | '.join(f'WER % {column}' for column in columns)} | S/D/I {first} | seconds | parameters | seeds |",
        f"|---|{'---|' * (len(columns) + 4)}",
    ]
    for name, runs in rows.items():
        rates = [_spread([run["columns"][column]["wer"] for run in runs]) for column in columns]
        kinds = ("substitutions", "deletions", "insertions")
        counts = "/".join(str(sum(run["columns"][first][kind] for run in runs)) for kind in kinds)
        seconds = _spread([run["seconds"] for run in runs], "{:.0f}")
        lines.append(
            f"| {name} | {' | '.join(rates)} | {counts} | {seconds} | {runs[0]['parameters'] / 1e6:.2f} M | {len(runs)} |"
        )
    return "\n".join(lines)


def plot(rows: dict[str, list[dict]], path: Path) -> None:
    """A panel a column: each seed's WER as a dot, the mean as a bar, variants from top to bottom."""
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
    parser.add_argument(
        "--data_dir", required=True, help="corpus folder that every variant is trained on"
    )
    parser.add_argument(
        "--also", nargs="*", default=[], metavar="DIR:SPLIT", help="further splits to judge on"
    )
    parser.add_argument(
        "--variants",
        type=Path,
        default=VARIANTS,
        help=f"default: {VARIANTS.name} beside this script",
    )
    parser.add_argument("--only", nargs="*", help="names of rows to run (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: 0")
    parser.add_argument(
        "--epochs", type=int, default=argparse.SUPPRESS, help="instead of the variants file's"
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
    # What another corpus in this place gave is not this one's
    fingerprint = Corpus(options.data_dir).fingerprint
    for path, split in also:
        Corpus(path).split(split)  # must be there: it is needed after the first training

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
            # Tuples as lists, as they come back from the file
            asked = json.loads(json.dumps(asked))
            found = next(
                (run for run in done if all(run.get(key) == value for key, value in asked.items())),
                None,
            )
            if found is None:
                found = {
                    **asked,
                    **train_and_judge(asked["settings"], patch, seed, options.data_dir, also),
                }
                with open(log, "a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")
            rows.setdefault(name, []).append(found)
            rates = ", ".join(
                f"{column} {counts['wer']:.2f}" for column, counts in found["columns"].items()
            )
            print(
                f"{name}, seed {seed}: {rates}; {found['seconds']:.0f} s, best epoch {found['best_epoch']}",
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
