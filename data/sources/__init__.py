"""Where corpora come from: videos, landmark files, transcripts, isolated recordings.

A recording is the video, the folder of video frames or the landmark file of one sentence.

    annotations/         annotation files → sentences with their glosses, by split
    corpora/             single published corpora with a layout of their own
    video_files          which recording belongs to which sentence
    video_frames         the frames of a recording, each with its time
    segment_reader       the frames of segments of a recording
    matroska             whether an .mkv or .webm file is whole
    holistic             MediaPipe Holistic: video frames → landmarks
    extraction           videos and folders of frames → a corpus; shards → one corpus
    extraction_workers   the worker processes of an extraction
    extraction_folder    the working folder of an extraction: plan, results, failures
    landmark_import      one .npy, .npz, .pose or .parquet file per sentence → a corpus
    landmark_files       readers of these formats
    mp_data              isolated signs, <gloss>/<repetition>/<frame>.npy → a corpus
    import_checks        the same checks of landmarks for every import format
    import_defaults      what is assumed of recordings that do not tell it
    import_failures      the sentences that an import cannot read
    unseen_parts         which parts were not detected, by one rule for all formats
    vector_widths        what a vector of an unsupported width is, and what it needs
    composer             a corpus of isolated recordings → a corpus of continuous sentences
    corpus_resampling    a corpus at another frame rate
    splitting            dev and test split off from the train split of a corpus
    recording_facts      one frame rate and one image shape for recordings that differ
    safe_npz             .npz archives from untrusted sources
"""
