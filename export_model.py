"""Write a checkpoint as one file that runs without this project: landmarks in, log-probabilities out.

    python export_model.py --checkpoint checkpoints/student/best_model.pth --format onnx --output student.onnx
    python export_model.py --checkpoint checkpoints/student/best_model.pth --format onnx --int8 --output student_int8.onnx
    python export_model.py --checkpoint checkpoints/teacher/best_model.pth --format torchscript --output teacher.pt

Inputs: landmarks float32 (B, T, 543, 3) as MediaPipe gives them, with zeros (not NaN) in each part that was not detected;
detected bool (B, T, 4: pose, face, left hand, right hand); lengths int64 (B,). Outputs: log_probs float32 (B, ceil(T / 4), V), steps int64 (B,). Features and standardisation are inside;
steps without a pose have the blank. Vocabulary, frame rate, aspect ratio and decoder settings are the checkpoint's, in the
file's metadata. If your images
have another aspect ratio, first multiply x and z by (your aspect ratio / the file's aspect ratio).
docs/exported_model.py shows how to decode with numpy and onnxruntime only. The script compares the
file with torch on the first 64 sentences of the dev split and prints the WER of both. With --int8 this shows the loss in
WER. Without a corpus it compares them on made-up recordings.

Exit codes: 0 done, 1 the file differs from torch, 2 usage, 3 data.
"""

from collections.abc import Sequence

from command_line import Parser, add_options, parse_request
from errors import run_script
from inference.requests import ExportRequest


def make_parser() -> Parser:
    parser = Parser(prog="export_model.py", description=__doc__).add_version()
    add_options(parser, ExportRequest)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    request = parse_request(make_parser(), argv, ExportRequest)

    from inference.model_export import export_model

    return 0 if export_model(request) else 1


if __name__ == "__main__":
    run_script(main, to_its_end=True)
