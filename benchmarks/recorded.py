"""WER of the demo-size teacher on sentences that are composed from recorded isolated signs.

    python benchmarks/recorded.py --input MP_DATA_DIR
    python benchmarks/recorded.py --input MP_DATA_DIR --recorders 3 --split_by signer

Imports recordings in the MP_Data selection and composes 400 train and 80 dev sentences of 3 to 7
glosses; no recording is in both splits. Trains with configs/demo.yaml and prints the dev WER and
the seconds of the training. Works in a temporary folder.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import prepare_data
import train_teacher
from benchmarks.results import add_json_option, describe_machine, finish
from errors import run_script

ROOT = Path(__file__).resolve().parent.parent


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="recorded.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--input", type=Path, required=True, help="folder <gloss>/<repetition>/<frame>.npy"
    )
    parser.add_argument(
        "--recorders", type=int, default=1, help="as in prepare_data.py import (default: 1)"
    )
    parser.add_argument("--split_by", choices=("repetition", "signer"), default="repetition")
    parser.add_argument(
        "--seed", type=int, default=1, help="random seed of composition and training (default: 1)"
    )
    add_json_option(parser)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        isolated, corpus, run = (str(Path(folder) / name) for name in ("isolated", "corpus", "run"))
        steps = (
            (
                prepare_data.main,
                f"import --format mp_data --recorders {args.recorders} --input {{}} --output {{}}",
            ),
            (
                prepare_data.main,
                "compose --input {} --output {} --sentences 400 --dev_sentences 80 "
                "--min_glosses 3 --max_glosses 7 "
                f"--split_by {args.split_by} --seed {args.seed}",
            ),
            (
                train_teacher.main,
                f"--config {{}} --data_dir {{}} --output_dir {{}} --seed {args.seed}",
            ),
        )
        paths = (
            (str(args.input), isolated),
            (isolated, corpus),
            (str(ROOT / "configs/demo.yaml"), corpus, run),
        )
        for (script, words), fill in zip(steps, paths, strict=True):
            values = iter(fill)
            if code := script([next(values) if word == "{}" else word for word in words.split()]):
                return code
        result = json.loads((Path(run) / "result.json").read_text(encoding="utf-8"))
    print(describe_machine())
    print(f"train seconds: {result['seconds']:.0f}, parameters: {result['parameters']:,}")
    print(f"greedy_dev_wer: {result['greedy_dev_wer']:.2f}")
    figures = {name: result[name] for name in ("seconds", "parameters", "greedy_dev_wer")}
    finish(args, {**figures, "dev_wer": result["best_dev_wer"]}, "dev_wer")
    return 0


if __name__ == "__main__":
    run_script(main)
