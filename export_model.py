"""Write a checkpoint as one file that runs without this project: landmarks in, log-probabilities
out.

    python export_model.py --checkpoint checkpoints/student/best_model.pth --format onnx --output student.onnx
    python export_model.py --checkpoint checkpoints/student/best_model.pth --format onnx --int8 --output student_int8.onnx
    python export_model.py --checkpoint checkpoints/teacher/best_model.pth --format torchscript --output teacher.pt

Inputs: landmarks float32 (B, T, 543, 3) as MediaPipe gives them, detected bool (B, T, 4: pose,
face, left hand, right hand), lengths int64 (B,). Outputs: log_probs float32 (B, ceil(T / 4), V),
steps int64 (B,). Features and standardisation are inside; vocabulary, frame rate, aspect ratio and
decoder settings travel in the file's metadata. Landmarks of images of another aspect ratio: first
multiply x and z by theirs / the file's. docs/exported_model.py reads glosses with it, with numpy
and onnxruntime alone. The file is compared with torch on the dev split, which also tells what int8
costs. Exit codes: 0 done, 1 the file differs from torch, 2 usage, 3 data.
"""

from pathlib import Path

from command_line import Parser
from errors import run_script


def make_parser() -> Parser:
    parser = Parser(prog="export_model.py", description=__doc__)
    files = parser.add_argument_group("files")
    files.add_argument(
        "--checkpoint", type=Path, required=True, help="best_model.pth of a teacher or a student"
    )
    files.add_argument(
        "--output", type=Path, required=True, help="file to write; must not exist yet"
    )
    files.add_argument(
        "--data_dir",
        help="corpus to compare on (default: the one that the checkpoint was trained on)",
    )
    kind = parser.add_argument_group("what is written")
    kind.add_argument(
        "--format", choices=("onnx", "torchscript"), default="onnx", help="format of the file"
    )
    kind.add_argument(
        "--int8", action="store_true", help="onnx: weights in 8 bits (dynamic quantisation)"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    options = make_parser().parse_args(argv)

    from inference.onnx_export import OnnxExportRequest, export_model

    return 0 if export_model(OnnxExportRequest(**vars(options))) else 1


if __name__ == "__main__":
    run_script(main)
