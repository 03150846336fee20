"""Split off dev, and test if asked for, from the train split of a corpus.

signer    Whole signers are held out. No signer of dev or test is in train.
sentence  Whole gloss sequences are held out. No gloss sequence is in two of the splits.
random    Single sentences are held out. Signers and gloss sequences of dev are usually in train.

With each of them, no recording is in two of the splits, even if the corpus has it twice under two
ids. The choice depends on the seed and on the names of signers and sentences, not on their order.
The other splits of the corpus are copied as they are.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from data.checks.changed_files import open_unchanged_corpus
from data.checks.signer_names import split_signer_warning
from data.corpus import Corpus, Split
from data.corpus_writer import CorpusWriter, check_output
from data.keyed_random import key
from data.sentences import UNKNOWN_SIGNER
from data.sources.annotations.transcripts import SPLITS
from errors import DataError, UsageError, shown_names
from progress_bar import ProgressBar

DEFAULT_SHARE = 0.1  # of the train sentences, for dev
_ADVICE = {
    "signer": "give --by sentence or --by random",
    "sentence": "give --by random, or --by signer if there are several",
    "random": "record more sentences",
}


@dataclass(frozen=True)
class HeldOut:
    """What is held out as one split: a share of the sentences, or the given signers."""

    share: float
    signers: tuple[str, ...] = ()


@dataclass
class SplitFacts:
    """What became of a split that was held out, in comparison with train.

    sentences, total: number of its sentences, and of all that were divided.
    share: the share that was asked for; None where signers were named.
    signers, known_signers: the names of its signers, and how many of them are in train, too.
    known_sequences: sentences whose gloss sequence is in train, too.
    glosses, tokens: different glosses, and all of them.
    unknown: how often each gloss occurs that is not in train.
    without_loss: sentences with such a gloss.
    unknown_signers: train sentences whose signer is unknown, if signers were held out.
    alike_signers: a warning of signers whose names are almost those of train, if there are any and
        signers were held out.
    """

    name: str
    sentences: int
    total: int
    share: float | None
    signers: list[str]
    known_signers: int
    known_sequences: int
    glosses: int
    tokens: int
    unknown: Counter[str]
    without_loss: int
    unknown_signers: int
    alike_signers: str | None

    def lines(self) -> Iterator[str]:
        """The lines to print."""
        asked = "" if self.share is None else f", asked for {100 * self.share:g} %"
        yield (
            f"{self.name}: {self.sentences:,} of {self.total:,} train sentences "
            f"({100 * self.sentences / self.total:.1f} %{asked})"
        )
        yield (
            f"{self.name}: {self.known_signers} of {len(self.signers)} signers are in train "
            f"({shown_names(self.signers)}); {self.known_sequences:,} of {self.sentences:,} "
            "sentences have a gloss sequence of train"
        )
        yield f"{self.name}: {len(self.unknown)} of {self.glosses:,} glosses are not in train"

    def warnings(self) -> Iterator[str]:
        """The lines to print as warnings."""
        if self.unknown:
            yield (
                f"{self.unknown.total():,} of {self.tokens:,} gloss tokens of {self.name} are not "
                f"in train and count as errors in WER ({self.without_loss:,} of "
                f"{self.sentences:,} sentences have one): {shown_names(sorted(self.unknown))}"
            )
        if self.unknown_signers:
            yield (
                f"the signer of {self.unknown_signers:,} train sentences is unknown, and may be a "
                f"signer of {self.name}"
            )
        if self.alike_signers:
            yield self.alike_signers


def split_corpus(
    source: Path,
    output: Path,
    *,
    by: str,
    dev: HeldOut | None = None,
    test: HeldOut | None = None,
    seed: int = 0,
    progress: bool = False,
) -> list[SplitFacts]:
    """Write the corpus `output`: the corpus `source`, with dev and test split off from train.

    Memory holds one sentence at a time, and the landmarks are written once.

    Args:
        source: a corpus with a train split.
        output: the corpus folder to write.
        by: 'signer', 'sentence' or 'random', see the top of this file.
        dev: what to hold out as dev; None: a tenth, or nothing if the corpus has dev.
        test: the same of test; None: nothing.
        seed: random seed of the choice.
        progress: show a progress bar.

    Returns the facts of each split that was made. Raises UsageError for a split that is there
    already, for shares or signers that do not fit and when `output` is not empty; DataError when
    the corpus was changed or cannot be split this way.
    """
    check_output(output, source)
    corpus = open_unchanged_corpus(source)
    train = corpus.split("train")
    present = [name for name, split in corpus.splits.items() if len(split)]
    if dev is None and "dev" not in present:
        dev = HeldOut(DEFAULT_SHARE)
    asked = {name: one for name, one in (("dev", dev), ("test", test)) if one is not None}
    if there := next((name for name in asked or ("dev",) if name in present), None):
        raise UsageError(_already_there(corpus, there))
    if sum(one.share for one in asked.values()) >= 1:
        shares = " and ".join(f"--{name} {one.share:g}" for name, one in asked.items())
        raise UsageError(f"{shares} leave nothing for train: lower one of them")
    if corpus.composed and by != "signer":
        raise DataError(
            f"{source} is composed: its sentences share recordings of single signs, so --by {by} "
            "would put the same recording into train and dev; compose it again with "
            "--dev_sentences, or give --by signer"
        )
    chosen = choose(train, by, asked, seed, str(source))
    facts = [_facts(name, asked[name], train, chosen, by) for name in asked]
    if lost := next((one.name for one in facts if one.unknown.total() == one.tokens), None):
        raise DataError(
            f"{source}: --by {by} leaves no gloss of {lost} in train, so nothing in {lost} could "
            f"be recognised: {_ADVICE[by]}"
        )
    made_by = {
        "command": "split",
        "by": by,
        "held_out": {
            one.name: {"share": one.share, **({"signers": one.signers} if by == "signer" else {})}
            for one in facts
        },
        "seed": seed,
        "source": corpus.origin(),
    }
    kept = {name: corpus.splits[name] for name in present if name != "train"}
    parts = {name: (train, rows) for name, rows in chosen.items()}
    parts |= {name: (split, list(range(len(split)))) for name, split in kept.items()}
    with (
        CorpusWriter.like(corpus, output, made_by) as writer,
        ProgressBar(
            "split", sum(len(rows) for _, rows in parts.values()), "sentence", progress
        ) as bar,
    ):
        for name in sorted(parts, key=[*SPLITS, *kept].index):
            split, rows = parts[name]
            for row in rows:
                one = split.sentences[row]
                try:
                    writer.split(name).add(
                        one.id, one.signer, one.glosses, *split.read(row), split.times_of(row)
                    )
                except DataError as error:
                    raise DataError(
                        f"{source}: {error}; 'prepare_data.py check' lists all problems"
                    ) from None
                bar.update()
    return facts


def _already_there(corpus: Corpus, name: str) -> str:
    has_test = len(corpus.splits.get("test", ())) > 0
    if name == "test":
        way = "leave --test out"
    elif has_test:
        way = "train with this corpus"
    else:
        way = "train with this corpus, or give only --test 0.1 for a test split"
    return (
        f"{corpus.path} has a split '{name}' of {len(corpus.splits[name]):,} sentences already, "
        f"and split never changes it: {way}"
    )


# ---- the choice ----


def choose(
    train: Split, by: str, asked: dict[str, HeldOut], seed: int, where: str
) -> dict[str, list[int]]:
    """The rows of train that each split gets, in storage order; 'train' gets the others.

    Signers, gloss sequences or sentences are units, which are never divided. A split with a share
    takes units in random order, each one that does not exceed the share. At the end it takes the
    unit that comes nearest to the share, if this one is nearer than without it. Every split,
    train too, has at least one unit.

    Args:
        train: the sentences to divide.
        by: 'signer', 'sentence' or 'random'.
        asked: what to hold out, by the name of the split.
        seed: random seed.
        where: the corpus, for messages.

    Raises UsageError for signers that cannot be held out, DataError when there are too few units.
    """
    units = _units(train, by)
    chosen: dict[str, list[int]] = {}
    for name, one in asked.items():
        if one.signers:
            chosen[name] = _take_signers(train, units, name, one.signers, where)
    if not units:
        raise UsageError(
            f"the signers that are held out are all signers of {where}: leave one to train"
        )
    free = units
    if by == "signer":  # an unknown signer can be anybody
        unknown = {row for row, one in enumerate(train.sentences) if one.signer == UNKNOWN_SIGNER}
        free = {unit: rows for unit, rows in units.items() if unknown.isdisjoint(rows)}
    drawn = [name for name in asked if name not in chosen]
    spare = len(free) - (len(free) == len(units))  # this many units can leave train
    if spare < len(drawn):
        raise DataError(_too_few(by, free, drawn, where))
    for number, name in enumerate(drawn, start=1):
        order = sorted(free, key=lambda unit: key(seed, "split", by, name, unit))
        target = asked[name].share * len(train)
        taken = _draw(
            {unit: len(free[unit]) for unit in order}, target, spare - len(drawn) + number
        )
        chosen[name] = sorted(row for unit in taken for row in free.pop(unit))
        spare -= len(taken)
    held_out = {row for rows in chosen.values() for row in rows}
    return {
        "train": [row for row in range(len(train)) if row not in held_out],
        **{name: chosen[name] for name in asked},
    }


def _draw(sizes: dict[str, int], target: float, limit: int) -> list[str]:
    """The units of a split: at least one, at most `limit`, with about `target` sentences together.

    sizes: the number of sentences of each unit, in random order.
    """
    taken: list[str] = []
    missing, others = target, dict(sizes)
    for unit, size in sizes.items():
        if len(taken) < limit and size <= missing:
            taken.append(unit)
            missing -= others.pop(unit)
    if others and len(taken) < limit:
        nearest = min(others, key=lambda unit: abs(others[unit] - missing))
        if not taken or abs(others[nearest] - missing) < missing:
            taken.append(nearest)
    return taken


def _units(train: Split, by: str) -> dict[str, list[int]]:
    """The rows of each unit, by a name that does not depend on the order of the sentences.

    Units that have the same recording are joined to one.
    """
    names = {
        "signer": lambda sentence: sentence.signer,
        "sentence": lambda sentence: " ".join(sentence.glosses),
        "random": lambda sentence: sentence.id,
    }
    unit_of = [names[by](sentence) for sentence in train.sentences]
    parent = {unit: unit for unit in unit_of}

    def root(unit: str) -> str:
        while parent[unit] != unit:
            unit = parent[unit]
        return unit

    for rows in repeated_recordings(train):
        roots = sorted({root(unit_of[row]) for row in rows})
        parent.update(dict.fromkeys(roots, roots[0]))
    units: dict[str, list[int]] = defaultdict(list)
    for row, unit in enumerate(unit_of):
        units[root(unit)].append(row)
    return dict(units)


def repeated_recordings(train: Split) -> list[list[int]]:
    """The rows of each recording that is in the split more than once.

    Only recordings with the same length, first and last frame are read as a whole. Sentences in
    which nothing was detected are not compared.
    """
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for row, sentence in enumerate(train.sentences):
        landmarks, _ = train.read(row)
        ends = landmarks[:1].tobytes() + landmarks[-1:].tobytes()
        alike[sentence.frames, sha256(ends).digest()].append(row)
    same: dict[bytes, list[int]] = defaultdict(list)
    for rows in alike.values():
        for row in rows if len(rows) > 1 else ():
            landmarks, detected = train.read(row)
            if detected.any():
                same[sha256(landmarks.tobytes()).digest()].append(row)
    return [rows for rows in same.values() if len(rows) > 1]


def _take_signers(
    train: Split, units: dict[str, list[int]], name: str, signers: tuple[str, ...], where: str
) -> list[int]:
    """The rows of the given signers, whose units are removed from `units`."""
    present = {sentence.signer for sentence in train.sentences}
    for signer in signers:
        if signer == UNKNOWN_SIGNER or signer not in present:
            known = shown_names(sorted(present - {UNKNOWN_SIGNER})) or "none by name"
            raise UsageError(
                f"--{name}_signers {signer}: no such signer; train of {where} has {known}"
            )
    rows = [row for row, sentence in enumerate(train.sentences) if sentence.signer in signers]
    for unit in {unit for unit, members in units.items() if not {*members}.isdisjoint(rows)}:
        others = {train.sentences[row].signer for row in units.pop(unit)} - {*signers}
        if others:
            raise DataError(
                f"{where}: {shown_names(sorted(others))} and --{name}_signers {' '.join(signers)} "
                "share a recording ('check' names it): hold both out, or remove one of the "
                "sentences"
            )
    return rows


def _too_few(by: str, free: Collection[str], drawn: list[str], where: str) -> str:
    """Why the units cannot be divided, and what else to do."""
    kinds = {"signer": "known signers", "sentence": "gloss sequences", "random": "sentences"}
    names = f" ({shown_names(sorted(free))})" if by == "signer" and free else ""
    return (
        f"{where}: {', '.join(drawn)} and train need different {kinds[by]}, and train has only "
        f"{len(free)}{names}: {_ADVICE[by]}"
    )


def _facts(
    name: str, asked: HeldOut, train: Split, chosen: dict[str, list[int]], by: str
) -> SplitFacts:
    """Compare a split with what is left in train."""
    left = [train.sentences[row] for row in chosen["train"]]
    sentences = [train.sentences[row] for row in chosen[name]]
    signers, left_signers = ({one.signer for one in part} for part in (sentences, left))
    sequences = {sentence.glosses for sentence in left}
    known = {gloss for glosses in sequences for gloss in glosses}
    tokens = Counter(gloss for sentence in sentences for gloss in sentence.glosses)
    return SplitFacts(
        name=name,
        sentences=len(sentences),
        total=len(train),
        share=None if asked.signers else asked.share,
        signers=sorted(signers),
        known_signers=len(signers & left_signers),
        known_sequences=sum(sentence.glosses in sequences for sentence in sentences),
        glosses=len(tokens),
        tokens=tokens.total(),
        unknown=Counter({gloss: count for gloss, count in tokens.items() if gloss not in known}),
        without_loss=sum(not known.issuperset(sentence.glosses) for sentence in sentences),
        unknown_signers=sum(one.signer == UNKNOWN_SIGNER for one in left if by == "signer"),
        alike_signers=(
            split_signer_warning(name, signers, left_signers) if by == "signer" else None
        ),
    )
