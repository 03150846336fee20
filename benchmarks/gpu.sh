#!/bin/bash
# The whole table of benchmarks/gpu.py in one command, on a machine with a CUDA GPU, a python3 that has torch, and nothing to
# download from. The figures go to checkpoints/gpu.json, options to gpu.py:
#
#   benchmarks/gpu.sh                          every step, within 570 seconds
#   benchmarks/gpu.sh --steps training --epochs 40 --work gpu_run
#   benchmarks/gpu.sh --device cpu --small     that it runs at all
#
# MediaPipe is not needed. What python3 there lacks, usually jiwer with its rapidfuzz, is carried as wheels (for that machine's
# Python) and installed from the folder `wheels` beside this project's README:
#
#   pip download jiwer rapidfuzz -d wheels --only-binary :all: --python-version 3.12
set -e
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || python=python3
if [ -d wheels ]; then
    "$python" -m pip install --quiet --no-index --find-links wheels jiwer rapidfuzz
fi
exec "$python" benchmarks/gpu.py --json checkpoints/gpu.json "$@"
