"""WER of the demo-size teacher on sentences that are composed from recorded isolated signs.

    python benchmarks/recorded.py --input MP_DATA_DIR
    python benchmarks/recorded.py --input MP_DATA_DIR --recorders 3 --split_by signer

Imports recordings in the MP_Data selection and composes 400 train, 80 dev and 400 test sentences of
3 to 7 glosses; no recording is in two splits. With --split_by signer there is no test split. Trains
with configs/demo.yaml. Prints the dev WER, the greedy WER of the best model on test, and the
seconds of the training. Works in a temporary folder.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import evaluate
import prepare_data
import train_teacher
from benchmarks.results import add_json_option, describe_machine, finish
from errors import run_script
from models.checkpoint import BEST

DEMO = Path(__file__).resolve().parent.parent / "configs" / "demo.yaml"


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
    by_repetition = args.split_by == "repetition"
    counts = "--sentences 400 --dev_sentences 80" + " --test_sentences 400" * by_repetition
    asked = f"{counts} --min_glosses 3 --max_glosses 7 --split_by {args.split_by}".split()
    seed = ["--seed", args.seed]
    with tempfile.TemporaryDirectory() as folder:
        isolated, corpus, run, test = (Path(folder) / name for name in ("i", "c", "r", "t"))
        signs = ["--format", "mp_data", "--recorders", args.recorders, "--input", args.input]
        best = ["--checkpoint", run / BEST, "--output_dir", test]
        steps = [
            (prepare_data, ["import", *signs, "--output", isolated]),
            (prepare_data, ["compose", "--input", isolated, "--output", corpus, *asked, *seed]),
            (train_teacher, ["--config", DEMO, "--data_dir", corpus, "--output_dir", run, *seed]),
        ]
        if by_repetition:
            steps.append((evaluate, [*best, "--split", "test", "--decoder", "greedy"]))
        for script, words in steps:
            if code := script.main([str(word) for word in words]):
                return code
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        figures = {name: result[name] for name in ("seconds", "parameters", "greedy_dev_wer")}
        figures["dev_wer"] = result["best_dev_wer"]
        if by_repetition:
            found = json.loads((test / "result.json").read_text(encoding="utf-8"))
            figures["test_wer"] = found["wer"]
    print(describe_machine())
    for name, value in figures.items():
        print(f"{name}: {value:,.2f}" if name.endswith("wer") else f"{name}: {value:,.0f}")
    finish(args, figures, "dev_wer")
    return 0


if __name__ == "__main__":
    run_script(main)
