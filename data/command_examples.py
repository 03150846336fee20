"""What the --help of each command of prepare_data.py shows below its first sentence: examples, and what to know before
the first use."""

EXAMPLES = {
    "synthesize": """\
    python prepare_data.py synthesize --output data/corpora/demo

The sentences come from a small grammar, or with --transcripts from a real corpus.""",
    "extract": """\
    python prepare_data.py extract --input videos --annotations annotations --output data/corpora/mine

The frames of a video have the times that the video gives them. A recording with another frame rate than most, or with
uneven times, is resampled. --fps replaces the times that the videos give.
Finished videos are kept in <output>.extracting. If the command was stopped, repeat it: it continues
with the other videos.
Videos that fail are listed at the end with the reason. The exit code is then 3; all other videos are in the corpus.

Several machines share the work by RANK and WORLD_SIZE, as torchrun sets them; merge makes one corpus of their shards:

    RANK=0 WORLD_SIZE=2 python prepare_data.py extract --input videos --annotations annotations --output data/corpora/ours
    python prepare_data.py merge --input SHARD_0/ours.extracting SHARD_1/ours.extracting --output data/corpora/ours""",
    "merge": """\
    python prepare_data.py merge --input SHARD_0/ours.extracting SHARD_1/ours.extracting --output data/corpora/ours

The corpus equals the one that a single machine makes. All shards must be finished. Failed videos
are listed, and the exit code is then 3; all other videos are in the corpus. If several shards wrote
into the same folder, give this folder only once.""",
    "import": """\
    python prepare_data.py import --format mp_data --input MP_Data --output data/corpora/isolated
    python prepare_data.py import --format npy --input FEATURES_DIR --annotations ANNOTATIONS_DIR --output data/corpora/mine
    python prepare_data.py import --format isharah --input POSE.pkl --annotations LISTS_DIR --output data/corpora/isharah

Each file needs an annotation and each annotation a file, found by its id: <split>/<id>.npy. An npy or npz file has
(T, 1629), (T, 1662), (T, 258), (T, 6516) or (T, 543, 3 or 4) values. Pickles are refused, except for --format isharah,
which reads arrays from them and runs nothing.
Coordinates must be fractions of the image, in the order pose, face, left hand, right hand, as MediaPipe gives them.""",
    "compose": """\
    python prepare_data.py compose --input data/corpora/isolated --output data/corpora/composed --sentences 400

A sentence joins recordings of one signer in one session by short movements. No recording is in two splits.""",
    "resample": """\
    python prepare_data.py resample data/corpora/mine --output data/corpora/mine_30fps --fps 30

A model needs a corpus of the frame rate that it was trained on. The landmarks are interpolated between the frames.""",
    "align": """\
    python prepare_data.py align data/corpora/mine --checkpoint checkpoints/mine/best_model.pth --output data/corpora/mine_aligned

The new corpus has the same sentences, and the first and last frame of each gloss in the most probable alignment of the
model. The augmentation `splice` needs them. A sentence with a gloss that the model does not know gets none.""",
    "split": """\
    python prepare_data.py split data/corpora/mine --output data/corpora/mine_split --by signer
    python prepare_data.py split data/corpora/mine --output data/corpora/mine_split --by sentence --dev 0.1 --test 0.1

signer: no signer of dev or test is in train. sentence: no gloss sequence is in two of these splits.
random: signers and gloss sequences of dev are usually in train. No recording is in two of these splits.
A dev or test split that the corpus has already is copied as it is. The landmarks are written once.""",
    "check": """\
    python prepare_data.py check data/corpora/composed --html report.html

Exit code 0 when the corpus is fine, 3 when it is broken: each problem is listed.""",
}
