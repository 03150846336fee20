"""Isolated recordings → continuous sentences, so that a teacher can be trained on signs that were
recorded one by one. The new corpus knows when each gloss begins and ends.

All recordings of a sentence come from one signer and one session. Each is played completely, at its
own random speed, and a few interpolated frames connect two recordings. No recording is in two
splits:

repetition  For each gloss, the last fifth of its repetitions *within each session* goes to dev, and
            with --test_sentences the fifth before it to test. The others go to train. Dev measures
            unseen recordings of known signers in known sessions. (The last fifth over all sessions
            can leave a session with a single gloss, of which no sentence can be made.)
signer      Whole signers go to dev, the others to train. Dev measures signers who are not in train,
            which is harder.

The signer is the one in the source's csv. The session is repetition // repetitions_per_session, an
option of the import. A session with fewer different glosses than the shortest sentence has is left
out of that split.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.augmentation.transitions import change_speed, transition
from data.checks.changed_files import open_unchanged_corpus
from data.corpus import Split
from data.corpus_writer import CorpusWriter, check_output
from data.keyed_random import generator
from data.sources.isolated_recordings import IsolatedRecording, read_recordings
from data.sources.splitting import repeated_recordings
from errors import DataError, UsageError
from progress_bar import ProgressBar

SPEEDS = (0.8, 1.25)  # a recording is played at a random speed between these
TRANSITION_FRAMES = (2, 6)  # random number of frames between two recordings, both ends included
REPEAT_PROBABILITY = 0.02  # of a gloss directly after itself
CHOICE_NOISE = 3.0  # glosses whose counts differ by less than this have a random order
HELD_OUT_SHARE = 5  # one of five repetitions is held out


@dataclass
class SplitPlan:
    """The recordings of each sentence of a split, in order, and the recordings that are left out
    because their session has too few glosses."""

    sentences: list[list[IsolatedRecording]] = field(default_factory=list)
    left_out: list[IsolatedRecording] = field(default_factory=list)

    def gloss_counts(self) -> Counter[str]:
        """How often each gloss is in the sentences."""
        return Counter(recording.gloss for sentence in self.sentences for recording in sentence)


def compose(
    source: Path,
    output: Path,
    *,
    sentences: dict[str, int],
    min_glosses: int = 3,
    max_glosses: int = 7,
    split_by: str = "repetition",
    heldout_signers: list[str] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, SplitPlan]:
    """Write the corpus `output` of sentences composed from the train split of the corpus `source`.

    The same source and seed give the same bytes. Memory holds one sentence at a time.

    Args:
        source: a corpus made by `import --format mp_data`, also resampled or split.
        output: the corpus folder to write.
        sentences: number of sentences by split, for example {"train": 400, "dev": 80}.
        min_glosses, max_glosses: lengths of the shortest and the longest sentence.
        split_by: 'repetition' or 'signer', see the top of this file.
        heldout_signers: the signers of dev with 'signer'; None: the last one in sorted order.
        seed: random seed for the sentences and their motion.
        progress: show a progress bar.

    Returns the plan of each split. Raises DataError when the source was changed, has no isolated
    recordings or too few, UsageError for options that do not fit together or when `output` is not
    empty.
    """
    check_output(output, source)
    isolated = open_unchanged_corpus(source)
    clips = isolated.split("train")
    for name, split in isolated.splits.items():
        if name != "train" and len(split):
            print(f"note: compose uses train only, not the {len(split):,} recordings of {name}")
    pools = split_recordings(
        read_recordings(isolated),
        split_by,
        [name for name in sentences if name != "train"],
        heldout_signers,
    )
    _keep_apart(pools, clips)
    plans = {
        name: plan_split(
            pools[name],
            count,
            min_glosses,
            max_glosses,
            f"split '{name}' of {source}",
            (seed, name),
        )
        for name, count in sentences.items()
    }
    made_by = {
        "command": "compose",
        "sentences": sentences,
        "min_glosses": min_glosses,
        "max_glosses": max_glosses,
        "split_by": split_by,
        "heldout_signers": sorted({r.signer for r in pools["dev"]}) if split_by == "signer" else [],
        "seed": seed,
        "source": isolated.origin(),
    }
    with (
        CorpusWriter(
            output,
            name=output.name,
            fps=isolated.fps,
            aspect_ratio=isolated.aspect_ratio,
            made_by=made_by,
            simulated=isolated.simulated,
            composed=True,
        ) as writer,
        ProgressBar("compose", sum(sentences.values()), "sentence", progress) as bar,
    ):
        for name, plan in plans.items():
            for number, recordings in enumerate(plan.sentences):
                landmarks, detected, times = join(
                    [clips.read(recording.index) for recording in recordings],
                    generator(seed, name, number, "motion"),
                )
                annotation = [recording.gloss for recording in recordings]
                writer.split(name).add(
                    f"{name}-{number:05d}",
                    recordings[0].signer,
                    annotation,
                    landmarks,
                    detected,
                    times,
                )
                bar.update()
    return plans


def split_recordings(
    recordings: list[IsolatedRecording],
    split_by: str,
    heldout_splits: list[str],
    heldout_signers: list[str] | None = None,
) -> dict[str, list[IsolatedRecording]]:
    """Distribute the recordings over `train` and the held-out splits.

    Args:
        recordings: all isolated recordings.
        split_by: 'repetition' or 'signer', see the top of this file.
        heldout_splits: [], ['dev'] or ['dev', 'test'].
        heldout_signers: the signers of dev with 'signer'; None: the last one in sorted order.

    Returns the recordings of each split; no recording is in two. Raises UsageError when the
    recordings cannot be split this way.
    """
    if split_by == "signer":
        return _split_by_signer(recordings, heldout_splits, heldout_signers)
    if heldout_signers:
        raise UsageError("--heldout_signers goes with --split_by signer")
    repetitions: dict[tuple[str, int, str], list[IsolatedRecording]] = defaultdict(list)
    for recording in recordings:
        repetitions[recording.signer, recording.session, recording.gloss].append(recording)
    pools: dict[str, list[IsolatedRecording]] = {name: [] for name in ("train", *heldout_splits)}
    for group in repetitions.values():
        group = sorted(group, key=lambda recording: recording.repetition)
        held_out = max(1, round(len(group) / HELD_OUT_SHARE))
        for name in heldout_splits:
            if len(group) > held_out:  # a gloss with one recording stays in train
                pools[name] += group[-held_out:]
                group = group[:-held_out]
        pools["train"] += group
    return pools


def _keep_apart(pools: dict[str, list[IsolatedRecording]], clips: Split) -> None:
    """Leave recordings out of a pool that are in a later one, too: a recording may be in the source
    twice, under two names. Prints how many, and if the copies have different glosses."""
    gloss_of = {each.index: each.gloss for pool in pools.values() for each in pool}
    copies = [[row for row in rows if row in gloss_of] for rows in repeated_recordings(clips)]
    for rows in copies:
        if len({gloss_of[row] for row in rows}) > 1:
            shown = " and ".join(clips.sentences[row].id for row in rows)
            print(f"warning: {shown} are the same recording; correct or remove one")
    names, left_out = list(pools), 0
    for number, name in enumerate(names):
        later = {each.index for other in names[number + 1 :] for each in pools[other]}
        doubled = {row for rows in copies if later.intersection(rows) for row in rows}
        kept = [each for each in pools[name] if each.index not in doubled]
        left_out += len(pools[name]) - len(kept)
        pools[name] = kept
    if left_out:
        print(f"{left_out} recordings are left out, because another split has a copy of them")


def _split_by_signer(
    recordings: list[IsolatedRecording],
    heldout_splits: list[str],
    heldout_signers: list[str] | None,
) -> dict[str, list[IsolatedRecording]]:
    signers = sorted({recording.signer for recording in recordings})
    if heldout_splits != ["dev"]:
        raise UsageError(
            "--split_by signer makes the splits train and dev: "
            "give --dev_sentences, no --test_sentences"
        )
    held_out = set(heldout_signers or signers[-1:])
    unknown = sorted(held_out - set(signers))
    if unknown:
        raise UsageError(
            f"--heldout_signers {unknown[0]}: no such signer; "
            f"the recordings have {', '.join(signers)}"
        )
    if held_out == set(signers):
        raise UsageError(
            "--split_by signer needs one signer to train on and another one to hold out, "
            f"found only {', '.join(signers)}; hold out fewer signers, or import again with "
            "--recorders if several people took turns"
        )
    return {
        "train": [recording for recording in recordings if recording.signer not in held_out],
        "dev": [recording for recording in recordings if recording.signer in held_out],
    }


def plan_split(
    recordings: list[IsolatedRecording],
    count: int,
    min_glosses: int,
    max_glosses: int,
    where: str,
    key: tuple[int, str],
) -> SplitPlan:
    """Choose the recordings of each sentence of a split.

    A sentence takes its recordings from one group, a session of one signer. The group is one of
    those that have the gloss used least so far, and the glosses are the group's least used ones,
    with some noise: so all glosses are used about equally often. The recordings of a gloss are used
    in turn, in an order shuffled for each group. No recording is twice in a sentence.

    Args:
        recordings: those of the split.
        count: number of sentences.
        min_glosses, max_glosses: lengths of the shortest and the longest sentence.
        where: the split and its source, for the error message.
        key: (seed, split), which the random choices depend on.

    Raises DataError when no group has `min_glosses` different glosses.
    """
    plan, random = SplitPlan(), generator(*key, "plan")
    groups = _groups(recordings, min_glosses, plan, random)
    if not groups:
        raise DataError(
            f"{where}: no signer has {min_glosses} different glosses in one session among "
            f"{len(recordings)} recordings; record more, or lower --min_glosses"
        )
    glosses = sorted({gloss for group in groups for gloss in group})
    used: Counter[str] = Counter()
    for _ in range(count):
        rare = _least_used(glosses, used, random)
        candidates = [group for group in groups if rare in group]
        weights = np.array([len(group[rare]) for group in candidates], dtype=np.float64)
        group = candidates[random.choice(len(candidates), p=weights / weights.sum())]
        length = min(
            int(random.integers(min_glosses, max_glosses + 1)), sum(map(len, group.values()))
        )
        sentence: list[IsolatedRecording] = []
        while len(sentence) < length:
            gloss = _next_gloss(sentence, group, used, random)
            recording = group[gloss].pop(0)
            group[gloss].append(recording)  # to the end of its queue
            used[gloss] += 1
            sentence.append(recording)
        plan.sentences.append(sentence)
    return plan


def _groups(
    recordings: list[IsolatedRecording],
    min_glosses: int,
    plan: SplitPlan,
    random: np.random.Generator,
) -> list[dict[str, list[IsolatedRecording]]]:
    """The queues of recordings by gloss of each (signer, session) with at least `min_glosses`
    glosses. The recordings of other sessions are added to `plan.left_out`."""
    groups: dict[tuple[str, int], dict[str, list[IsolatedRecording]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for recording in recordings:
        groups[recording.signer, recording.session][recording.gloss].append(recording)
    usable = []
    for _, queues in sorted(groups.items()):
        if len(queues) < min_glosses:
            plan.left_out += [recording for queue in queues.values() for recording in queue]
        else:
            usable.append(
                {
                    gloss: [queues[gloss][i] for i in random.permutation(len(queues[gloss]))]
                    for gloss in sorted(queues)
                }
            )
    return usable


def _next_gloss(
    sentence: list[IsolatedRecording],
    group: dict[str, list[IsolatedRecording]],
    used: Counter[str],
    random: np.random.Generator,
) -> str:
    """The next gloss of a sentence: rarely the previous one again, otherwise a little used one.

    It is a gloss with a recording that is not in the sentence yet.
    """
    in_sentence = Counter(recording.gloss for recording in sentence)
    available = [gloss for gloss in group if in_sentence[gloss] < len(group[gloss])]
    previous = sentence[-1].gloss if sentence else None
    others = [gloss for gloss in available if gloss != previous]
    if previous is not None and (
        not others or (previous in available and random.random() < REPEAT_PROBABILITY)
    ):
        return previous
    return _least_used(others, used, random)


def _least_used(glosses: list[str], used: Counter[str], random: np.random.Generator) -> str:
    """The gloss with the smallest sum of its count and a random number from 0 to CHOICE_NOISE."""
    scores = [used[gloss] for gloss in glosses] + CHOICE_NOISE * random.random(len(glosses))
    return glosses[int(scores.argmin())]


def join(
    recordings: list[tuple[np.ndarray, np.ndarray]], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join G recordings to one: each at a random speed, with a random number of transition
    frames between two.

    recordings: landmarks (T_i, 543, 3) and detected (T_i, 4) of each. Returns landmarks float32
    (T, 543, 3), detected bool (T, 4), and when each recording begins and ends, int64 (G, 2): its
    first frame, and the frame after its last one.
    """
    pieces: list[tuple[np.ndarray, np.ndarray]] = []
    times, end = [], 0
    for landmarks, detected in recordings:
        played = change_speed(landmarks, detected, float(random.uniform(*SPEEDS)))
        if pieces:
            frames = int(random.integers(TRANSITION_FRAMES[0], TRANSITION_FRAMES[1] + 1))
            pieces.append(transition(pieces[-1], played, frames))
            end += frames
        pieces.append(played)
        times.append((end, end + len(played[0])))
        end = times[-1][1]
    landmarks, detected = (np.concatenate(part) for part in zip(*pieces, strict=True))
    return landmarks, detected, np.array(times)
