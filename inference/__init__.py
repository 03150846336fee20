"""Uses checkpoints without training: evaluation, transcription, export.

Shared
    requests                 the options of the three scripts
    opened_checkpoint        a checkpoint's content, vocabulary and model
    posteriors               log-probabilities of a split, one sentence after the other
    presence                 no gloss where nobody is seen
    sentence_lists           the sentences of a closed set, and those of the training

Evaluation (evaluate.py)
    evaluation               decodes and scores a split, writes the results
    evaluation_files         the files of an evaluation
    closed_evaluation        the results of --decoder closed
    model_on_corpus          a checkpoint's model with a corpus: posteriors and decoders

Transcription (transcribe.py)
    transcription            all recordings of a command: files or a camera
    recording_transcription  one recording, and the summary of its transcription
    recordings               videos, folders of frames, landmark files and cameras as landmarks
    recognizer               a model with its decoder: landmarks in, glosses out
    windows                  the settings of windows, and their defaults
    windowed_transcriber     as a whole, or in overlapping windows
    emitter                  joins the hypotheses of overlapping windows
    streaming_transcriber    frame by frame: glosses of a causal student
    streaming                frame by frame: log-probabilities of a causal student
    transcript_files         text, JSON, subtitles, ELAN
    output_paths             where transcripts and overlays are written
    overlays                 skeleton and glosses on the video

Export (export_model.py)
    onnx_export              a checkpoint as an ONNX or TorchScript file, compared with torch
    onnx_model               runs an exported ONNX file
"""
