#!/bin/bash
# Print the table of benchmarks/gpu.py on a machine with a CUDA GPU and a python3 that has torch. The machine needs no access to
# the internet. The figures go to checkpoints/gpu.json. The options are those of gpu.py:
#
#   benchmarks/gpu.sh                          every step, within 570 seconds
#   benchmarks/gpu.sh --steps training --epochs 40 --work gpu_run
#   benchmarks/gpu.sh --device cpu --small     check that it runs
#
# MediaPipe is not needed. If python3 lacks other packages (usually jiwer and its rapidfuzz), download their wheels for the Python
# of that machine into the folder `wheels` beside the README; this script installs them:
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
