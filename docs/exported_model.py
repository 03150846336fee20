"""Glosses with numpy and onnxruntime alone: python docs/exported_model.py student.onnx
landmarks.npy

landmarks.npy: (T, 543, 3), MediaPipe Holistic's x, y, z of pose, face, left hand, right hand; zeros
where one was not detected. Frame rate and image shape are to be those of the training corpus, `fps`
and `aspect_ratio` (width / height) of the metadata; landmarks of images of another shape: multiply
x and z by their width / height over the metadata's.
"""

import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
landmarks = np.load(sys.argv[2]).astype(np.float32)[None]
parts = np.split(landmarks, [33, 501, 522], axis=2)
detected = np.stack([part.any(axis=(2, 3)) for part in parts], axis=-1)
lengths = np.array([landmarks.shape[1]])
log_probs, steps = session.run(
    None, {"landmarks": landmarks, "detected": detected, "lengths": lengths}
)
best = log_probs[0, : steps[0]].argmax(-1)
vocabulary = json.loads(session.get_modelmeta().custom_metadata_map["vocabulary"])
print(
    *(
        vocabulary[now - 1]
        for before, now in zip([0, *best], best, strict=False)
        if now not in (0, before)
    )
)
