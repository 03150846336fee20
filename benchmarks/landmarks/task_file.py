"""A model file for MediaPipe 1.x with the models of MediaPipe 0.10.

`landmarks/parity.py --pack FILE` calls this. Three things differ between the two:

- The file is a zip archive of the models.
- Each model says in its metadata how pictures are normalised. MediaPipe 0.10 has this in its graph.
- The face has 478 points, the last ten of them on the irises. MediaPipe 0.10 has 468 in its default
  model. The ten points are filled with zeros; this project does not use them.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from data.sources.trackers import TASK_FILES
from errors import UsageError

# The models, in the order of TASK_FILES, and whether pixels become -1..1 or 0..1
_MODELS = (
    ("pose_detection/pose_detection", True),
    ("pose_landmark/pose_landmark_full", False),
    ("hand_landmark/hand_landmark_full", False),
    ("holistic_landmark/hand_recrop", False),
    ("face_detection/face_detection_short_range", True),
    ("face_landmark/face_landmark", False),
)
_POINTS, _WITH_IRISES = 468, 478


def pack(path: Path) -> None:
    """Write the model file. Raises UsageError without MediaPipe 0.10."""
    try:
        import mediapipe
        from mediapipe.tasks.python import metadata  # noqa: F401
    except ImportError:
        mediapipe = None
    folder = Path(getattr(mediapipe, "__file__", "")).parent / "modules"
    if not all((folder / f"{name}.tflite").is_file() for name, _ in _MODELS):
        raise UsageError(
            "--pack needs the models of MediaPipe 0.10.14: run it with Python 3.11 or 3.12, after "
            "pip install -r requirements.txt"
        )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file, (name, signed) in zip(TASK_FILES, _MODELS, strict=True):
            content = (folder / f"{name}.tflite").read_bytes()
            if name.startswith("face_landmark/"):
                content = with_irises(content)
            archive.writestr(file, with_normalisation(content, signed))


def with_normalisation(model: bytes, signed: bool) -> bytes:
    """The model with metadata: pixels 0..255 become -1..1 (signed) or 0..1."""
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema
    from mediapipe.tasks.metadata import schema_py_generated as tflite
    from mediapipe.tasks.python.metadata.metadata import MetadataPopulator

    outputs = tflite.Model.GetRootAsModel(model, 0).Subgraphs(0).OutputsLength()
    picture = _tensor(schema, schema.ContentProperties.ImageProperties, schema.ImagePropertiesT())
    picture.content.contentProperties.colorSpace = schema.ColorSpaceType.RGB
    unit = schema.ProcessUnitT()
    unit.optionsType = schema.ProcessUnitOptions.NormalizationOptions
    unit.options = schema.NormalizationOptionsT()
    unit.options.mean, unit.options.std = ([127.5], [127.5]) if signed else ([0.0], [255.0])
    picture.processUnits = [unit]
    graph = schema.SubGraphMetadataT()
    graph.inputTensorMetadata = [picture]
    graph.outputTensorMetadata = [
        _tensor(schema, schema.ContentProperties.FeatureProperties, schema.FeaturePropertiesT())
        for _ in range(outputs)
    ]
    facts = schema.ModelMetadataT()
    facts.subgraphMetadata = [graph]
    builder = flatbuffers.Builder(0)
    builder.Finish(facts.Pack(builder), MetadataPopulator.METADATA_FILE_IDENTIFIER)
    populator = MetadataPopulator.with_model_buffer(bytearray(model))
    populator.load_metadata_buffer(builder.Output())
    populator.populate()
    return bytes(populator.get_model_buffer())


def _tensor(schema: Any, kind: int, properties: object) -> Any:
    tensor = schema.TensorMetadataT()
    tensor.content = schema.ContentT()
    tensor.content.contentPropertiesType, tensor.content.contentProperties = kind, properties
    return tensor


def with_irises(model: bytes) -> bytes:
    """The model of the face with ten more points, all zeros, behind its 468."""
    import flatbuffers
    from mediapipe.tasks.metadata import schema_py_generated as tflite

    content = tflite.ModelT.InitFromObj(tflite.Model.GetRootAsModel(model, 0))
    graph = content.subgraphs[0]
    (points,) = (
        number for number in graph.outputs if graph.tensors[number].shape[-1] == 3 * _POINTS
    )
    shape = list(graph.tensors[points].shape)
    widths = np.zeros((len(shape), 2), np.int32)
    widths[-1, 1] = 3 * (_WITH_IRISES - _POINTS)
    constant = tflite.BufferT()
    constant.data = np.frombuffer(widths.tobytes(), np.uint8)
    content.buffers.append(constant)

    def add_tensor(name: str, shape: list[int], kind: int, buffer: int) -> int:
        tensor = tflite.TensorT()
        tensor.name, tensor.type, tensor.buffer = name, kind, buffer
        tensor.shape = np.array(shape, np.int32)
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    amounts = add_tensor(
        "amounts", list(widths.shape), tflite.TensorType.INT32, len(content.buffers) - 1
    )
    padded = add_tensor(
        "with_irises", [*shape[:-1], 3 * _WITH_IRISES], tflite.TensorType.FLOAT32, 0
    )
    code = tflite.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = tflite.BuiltinOperator.PAD
    code.version = 1
    content.operatorCodes.append(code)
    pad = tflite.OperatorT()
    pad.opcodeIndex = len(content.operatorCodes) - 1
    pad.inputs, pad.outputs = np.array([points, amounts], np.int32), np.array([padded], np.int32)
    pad.builtinOptionsType, pad.builtinOptions = (
        tflite.BuiltinOptions.PadOptions,
        tflite.PadOptionsT(),
    )
    graph.operators.append(pad)
    graph.outputs = np.array(
        [padded if number == points else number for number in graph.outputs], np.int32
    )
    builder = flatbuffers.Builder(0)
    builder.Finish(content.Pack(builder), b"TFL3")
    return bytes(builder.Output())
