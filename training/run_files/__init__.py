"""What a run keeps in its folder, and reads again when it is continued.

run_folder             the folder: its lock, and what was in it before
run_log                config.yaml, metrics.jsonl, TensorBoard
checkpoint_writer      checkpoints, written while the next epoch trains
remembered_statistics  standardisation statistics of a corpus, kept for its next runs
"""
