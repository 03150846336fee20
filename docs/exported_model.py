"""Recognise glosses with numpy and onnxruntime alone.

    python docs/exported_model.py student.onnx landmarks.npy

landmarks.npy has the shape (T, 543, 3) or (T, 1629): x, y, z of MediaPipe Holistic's pose, face,
left hand, right hand; zeros or NaN where a part was not detected. Frame rate and image shape must
be those of the training corpus: `fps` and `aspect_ratio` (width / height) in the file's metadata.
For images of another shape, first multiply x and z by their width / height divided by the
metadata's.
"""

import json
import sys
from itertools import pairwise

import numpy as np
import onnxruntime

if len(sys.argv) != 3:
    sys.exit("usage: python docs/exported_model.py MODEL.onnx LANDMARKS.npy")
try:
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    landmarks = np.load(sys.argv[2]).reshape(1, -1, 543, 3)
except Exception as error:
    sys.exit(f"error: {error}: expected a file of export_model.py and landmarks (T, 543, 3)")
# The model needs zeros in a part that was not detected, not NaN.
landmarks = np.nan_to_num(landmarks.astype(np.float32))
parts = np.split(landmarks, [33, 501, 522], axis=2)
detected = np.stack([part.any(axis=(2, 3)) for part in parts], axis=-1)
lengths = np.array([landmarks.shape[1]])
log_probs, steps = session.run(
    None, {"landmarks": landmarks, "detected": detected, "lengths": lengths}
)

# Greedy CTC decoding: the best class of each step; repeats count once, class 0 is the blank.
best = log_probs[0, : steps[0]].argmax(-1)
vocabulary = json.loads(session.get_modelmeta().custom_metadata_map["vocabulary"])
glosses = [
    vocabulary[index - 1] for previous, index in pairwise([0, *best]) if index not in (0, previous)
]
print(*glosses)
