"""Dev and test split off from train: what is held out, what is refused, what is written."""

import json
import shutil
import tracemalloc

import numpy as np
import pytest

from data.corpus import Corpus
from data.corpus_check import check_corpus
from data.corpus_writer import CorpusWriter
from data.keyed_random import generator
from data.sources.splitting import HeldOut, split_corpus
from errors import DataError, UsageError
from tests.data.signers import standing_signer
from tests.data.small_corpus import FACTS, recording, rehash

WORDS = ("A", "B", "C", "D", "E")


def write(path, rows, **facts):
    """A corpus of the train rows (id, signer, annotation); further splits by name in `others`."""
    others = facts.pop("others", {})
    with CorpusWriter(path, **{**FACTS, **facts}) as writer:
        for split, part in {"train": rows, **others}.items():
            target = writer.split(split)
            for number, (id, signer, annotation) in enumerate(part):
                seed = int(id.removeprefix("same")) if id.startswith("same") else f"{split}{number}"
                landmarks = standing_signer(17, hash_of(seed))
                target.add(id, signer, annotation, landmarks, np.ones((17, 4), bool))
    return path


def hash_of(seed) -> int:
    return int(generator("recording", str(seed)).integers(2**31))


def drawn_rows(count, signers, *names):
    """Rows with random signers and one to three random glosses; many sequences repeat."""
    random = generator("rows", *names)
    return [
        (
            f"s{number:03d}",
            f"signer{random.integers(signers)}",
            " ".join(random.choice(WORDS, size=random.integers(1, 4))),
        )
        for number in range(count)
    ]


def split(source, output, **options):
    facts = split_corpus(source, output, **options)
    return Corpus(output).splits, {one.name: one for one in facts}


def column(part, name):
    return {getattr(sentence, name) for sentence in part.sentences}


@pytest.mark.parametrize("by", ["signer", "sentence", "random"])
@pytest.mark.parametrize("seed", range(4))
def test_each_sentence_is_in_one_split_and_what_is_held_out_is_not_in_train(tmp_path, by, seed):
    source = write(tmp_path / "in", drawn_rows(60, 8, seed))
    options = {"dev": HeldOut(0.2), "test": HeldOut(0.1), "seed": seed}
    splits, facts = split(source, tmp_path / "out", by=by, **options)
    assert list(splits) == ["train", "dev", "test"]
    ids = [sentence.id for part in splits.values() for sentence in part.sentences]
    assert len(ids) == 60 == len(set(ids))
    unit = {"signer": "signer", "sentence": "glosses", "random": "id"}[by]
    seen = [column(part, unit) for part in splits.values()]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    original = Corpus(source).split("train")
    place = {sentence.id: row for row, sentence in enumerate(original.sentences)}
    for name, part in splits.items():
        rows = [place[sentence.id] for sentence in part.sentences]
        assert rows == sorted(rows), "the sentences stay in their order"
        for row, sentence in enumerate(part.sentences):
            assert sentence == original.sentences[rows[row]]
            for found, expected in zip(part.read(row), original.read(rows[row]), strict=True):
                np.testing.assert_array_equal(found, expected)
        if name != "train":
            assert facts[name].sentences == len(part) and facts[name].total == 60
            assert abs(len(part) / 60 - options[name].share) <= (0.01 if by == "random" else 0.1)
    report = check_corpus(tmp_path / "out")
    assert not report.problems


def test_the_share_is_met_as_nearly_as_whole_signers_allow(tmp_path):
    """By hand: of signers with 50, 30, 12, 5 and 3 sentences, 20 % are 12 + 5 + 3."""
    sizes = {"a": 50, "b": 30, "c": 12, "d": 5, "e": 3}
    rows = [
        (f"{signer}{n}", signer, WORDS[n % 5])
        for signer, size in sizes.items()
        for n in range(size)
    ]
    source = write(tmp_path / "in", rows)
    splits, facts = split(source, tmp_path / "out", by="signer", dev=HeldOut(0.2))
    assert column(splits["dev"], "signer") == {"c", "d", "e"} and len(splits["dev"]) == 20
    assert next(facts["dev"].lines()) == "dev: 20 of 100 train sentences (20.0 %, asked for 20 %)"
    sizes = {"a": 19, **{f"b{n}": 1 for n in range(81)}}
    rows = [(f"{who}-{n}", who, WORDS[n % 5]) for who, size in sizes.items() for n in range(size)]
    many = write(tmp_path / "many", rows)
    for seed in range(5):
        splits, _ = split(many, tmp_path / f"m{seed}", by="signer", seed=seed)
        assert len(splits["dev"]) == 10 and "a" not in column(splits["dev"], "signer")
    splits, facts = split(source, tmp_path / "small", by="signer", dev=HeldOut(0.001))
    assert column(splits["dev"], "signer") == {"e"}, "the smallest signer is more than the share"
    assert next(facts["dev"].lines()) == "dev: 3 of 100 train sentences (3.0 %, asked for 0.1 %)"
    splits, _ = split(source, tmp_path / "large", by="signer", dev=HeldOut(0.999))
    assert len(column(splits["train"], "signer")) >= 1


@pytest.mark.parametrize("by", ["signer", "sentence", "random"])
def test_the_choice_depends_on_the_seed_and_not_on_the_order(tmp_path, by):
    rows = [
        (f"s{n:02d}", f"p{n % 10}", " ".join(WORDS[: 1 + n % 5]) + f" X{n % 10}") for n in range(40)
    ]
    source, turned = write(tmp_path / "in", rows), write(tmp_path / "turned", rows[::-1])
    held_out = {}
    for name, corpus, seed in (
        ("a", source, 1),
        ("b", source, 1),
        ("c", turned, 1),
        ("d", source, 2),
    ):
        splits, _ = split(corpus, tmp_path / name, by=by, seed=seed)
        held_out[name] = column(splits["dev"], "id")
    assert held_out["a"] == held_out["c"] != held_out["d"]
    for path in (tmp_path / "a").iterdir():
        if path.name != "corpus.json":  # which has the name of the folder
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_a_share_of_single_sentences_is_exact(tmp_path):
    for count, share, expected in ((2, 0.1, 1), (10, 0.3, 3), (11, 0.9, 10), (3, 0.99, 2)):
        source = write(tmp_path / f"in{count}", [(f"s{n}", "anna", "A B") for n in range(count)])
        splits, facts = split(source, tmp_path / f"out{count}", by="random", dev=HeldOut(share))
        assert len(splits["dev"]) == expected and len(splits["train"]) == count - expected
        assert facts["dev"].known_sequences == expected


@pytest.mark.parametrize(
    ("rows", "by", "test", "message"),
    [
        ([("a", "anna", "A"), ("b", "anna", "B")], "signer", None,
         r"dev and train need different known signers, and train has only 1 \(anna\): "
         "give --by sentence or --by random"),
        ([("a", "anna", "A"), ("b", "ben", "A")], "signer", HeldOut(0.1),
         r"dev, test and train need .* known signers, and train has only 2 \(anna, ben\)"),
        ([("a", "unknown", "A"), ("b", "unknown", "B")], "signer", None,
         "known signers, and train has only 0: give --by sentence"),
        ([("a", "anna", "A B"), ("b", "ben", "A B")], "sentence", None,
         "different gloss sequences, and train has only 1: give --by random"),
        ([("a", "anna", "A B")], "random", None,
         "different sentences, and train has only 1: record more"),
        ([("a", "anna", "A"), ("b", "ben", "A")], "random", HeldOut(0.1),
         "dev, test and train need different sentences, and train has only 2"),
        ([("a", "anna", "A"), ("b", "ben", "B")], "signer", None,
         "--by signer leaves no gloss of dev in train.*--by random"),
        ([("a", "anna", "A"), ("b", "anna", "B")], "sentence", None,
         "--by sentence leaves no gloss of dev in train.*--by random"),
    ],
)  # fmt: skip
def test_a_corpus_that_cannot_be_split_this_way(tmp_path, rows, by, test, message):
    source = write(tmp_path / "in", rows)
    with pytest.raises(DataError, match=message):
        split_corpus(source, tmp_path / "out", by=by, test=test)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_unknown_signers_stay_in_train_and_are_reported(tmp_path):
    rows = [(f"u{n}", "unknown", "A B") for n in range(3)]
    rows += [(f"k{n}", "anna", "A B") for n in range(3)]
    source = write(tmp_path / "in", rows)
    splits, facts = split(source, tmp_path / "out", by="signer")
    assert column(splits["dev"], "signer") == {"anna"}
    assert list(facts["dev"].warnings()) == [
        "the signer of 3 train sentences is unknown, and may be a signer of dev"
    ]
    _, facts = split(source, tmp_path / "random", by="random")
    assert list(facts["dev"].warnings()) == []
    named = HeldOut(0, ("unknown",))
    with pytest.raises(UsageError, match=r"--dev_signers unknown: no such signer; .* has anna"):
        split_corpus(source, tmp_path / "named", by="signer", dev=named)


def test_named_signers_are_held_out(tmp_path):
    rows = [(f"s{n}", "abcd"[n % 4], "A B") for n in range(12)]
    source = write(tmp_path / "in", rows)
    named = {"dev": HeldOut(0, ("b", "d")), "test": HeldOut(0, ("a",))}
    splits, facts = split(source, tmp_path / "out", by="signer", **named)
    signers = {name: column(part, "signer") for name, part in splits.items()}
    assert signers == {"train": {"c"}, "dev": {"b", "d"}, "test": {"a"}}
    assert next(facts["dev"].lines()) == "dev: 6 of 12 train sentences (50.0 %)"
    splits, _ = split(source, tmp_path / "mixed", by="signer", test=HeldOut(0, ("c",)))
    assert column(splits["test"], "signer") == {"c"} and len(column(splits["dev"], "signer")) == 1
    with pytest.raises(UsageError, match=r"--test_signers x: no such signer; .* has a, b, c, d"):
        split_corpus(source, tmp_path / "x", by="signer", test=HeldOut(0, ("c", "x")))
    everyone = HeldOut(0, ("a", "b", "c", "d"))
    for test in (None, HeldOut(0.1)):
        with pytest.raises(UsageError, match=r"are all signers of .*/in: leave one to train"):
            split_corpus(source, tmp_path / "x", by="signer", dev=everyone, test=test)
    most = HeldOut(0, ("a", "b", "d"))
    with pytest.raises(DataError, match=r"test and train need .* and train has only 1 \(c\)"):
        split_corpus(source, tmp_path / "x", by="signer", dev=most, test=HeldOut(0.1))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("by", ["signer", "sentence", "random"])
def test_a_recording_under_two_ids_is_in_one_split(tmp_path, by):
    """Ids 'same…' with equal numbers have the same landmarks."""
    pairs = [
        (f"same{'0' * copy}{n}", f"p{n}{copy}", f"A X{n}{copy} B")
        for n in range(6)
        for copy in (1, 2)
    ]
    for seed in range(5):
        source = write(tmp_path / f"in{seed}", pairs)
        splits, _ = split(source, tmp_path / f"out{seed}", by=by, dev=HeldOut(0.25), seed=seed)
        numbers = [
            {int(s.id.removeprefix("same")) for s in part.sentences} for part in splits.values()
        ]
        assert numbers[0].isdisjoint(numbers[1]) and len(numbers[1]) in (1, 2)
        assert not check_corpus(tmp_path / f"out{seed}").problems


def test_signers_who_share_a_recording_are_not_separated(tmp_path):
    rows = [("same1", "anna", "A"), ("same01", "ben", "A"), ("s3", "cleo", "A")]
    source = write(tmp_path / "in", rows)
    with pytest.raises(DataError, match="ben and --dev_signers anna share a recording"):
        split_corpus(source, tmp_path / "out", by="signer", dev=HeldOut(0, ("anna",)))
    splits, _ = split(source, tmp_path / "out", by="signer", dev=HeldOut(0, ("anna", "ben")))
    assert column(splits["train"], "signer") == {"cleo"}


def test_recordings_without_anything_detected_are_not_the_same(tmp_path):
    with CorpusWriter(tmp_path / "in", **FACTS) as writer:
        for number in range(4):
            landmarks, detected = np.zeros((3, 543, 3)), np.zeros((3, 4), bool)
            writer.split("train").add(f"s{number}", "anna", "A", landmarks, detected)
    splits, _ = split(tmp_path / "in", tmp_path / "out", by="random")
    assert len(splits["dev"]) == 1


def test_a_split_that_exists_is_kept_and_never_changed(tmp_path):
    dev = [("d1", "zoe", "A B"), ("d2", "zoe", "C")]
    rows = drawn_rows(20, 4)
    source = write(tmp_path / "in", rows, others={"extra": [("e1", "zoe", "A")], "dev": dev})
    advice = "has a split 'dev' of 2 sentences already, .* only --test 0.1"
    for options in ({}, {"dev": HeldOut(0.1)}):
        with pytest.raises(UsageError, match=advice):
            split_corpus(source, tmp_path / "out", by="random", **options)
    splits, facts = split(source, tmp_path / "out", by="random", test=HeldOut(0.2))
    assert {name: len(part) for name, part in splits.items()} == {
        "train": 16, "dev": 2, "test": 4, "extra": 1,
    }  # fmt: skip
    assert list(facts) == ["test"]
    before = Corpus(source)
    for name in ("dev", "extra"):
        assert splits[name].sentences == before.splits[name].sentences
        np.testing.assert_array_equal(splits[name].landmarks, before.splits[name].landmarks)
    with pytest.raises(UsageError, match=r"'test' of 4 sentences already.*leave --test out"):
        split_corpus(tmp_path / "out", tmp_path / "again", by="random", test=HeldOut(0.2))
    with pytest.raises(
        UsageError, match=r"'dev' of 2 sentences already.*: train with this corpus$"
    ):
        split_corpus(tmp_path / "out", tmp_path / "again", by="random")


def test_a_dev_split_without_sentences_is_made_anew(tmp_path):
    source = write(tmp_path / "in", drawn_rows(20, 4), others={"dev": []})
    splits, _ = split(source, tmp_path / "out", by="random")
    assert {name: len(part) for name, part in splits.items()} == {"train": 18, "dev": 2}


def test_the_origin_of_a_corpus_is_kept(tmp_path):
    made_by = {"generator": "simulated signer", "seed": 5}
    facts = {"made_by": made_by, "simulated": True, "composed": True, "fps": 12.5}
    source = write(tmp_path / "in", drawn_rows(20, 4), **facts)
    split_corpus(source, tmp_path / "out", by="signer", seed=3, dev=HeldOut(0.25))
    corpus, before = Corpus(tmp_path / "out"), Corpus(source)
    assert corpus.describe() == "out (simulated signers, composed)"
    assert (corpus.fps, corpus.aspect_ratio) == (12.5, 4 / 3)
    assert corpus.facts["made_by"] == {
        "command": "split",
        "by": "signer",
        "held_out": {
            "dev": {"share": 0.25, "signers": sorted(column(corpus.split("dev"), "signer"))}
        },
        "seed": 3,
        "source": {"name": "tiny", "fingerprint": before.fingerprint, "made_by": made_by},
    }


@pytest.mark.parametrize("by", ["sentence", "random"])
def test_composed_sentences_share_recordings(tmp_path, by):
    source = write(tmp_path / "in", drawn_rows(20, 4), composed=True)
    with pytest.raises(DataError, match=f"composed: .* --by {by} .* with --dev_sentences"):
        split_corpus(source, tmp_path / "out", by=by)


def test_glosses_that_train_loses_are_reported(tmp_path):
    rows = [("a", "anna", "A B"), ("b", "ben", "A NEW NEW"), ("c", "ben", "B A"), ("d", "ben", "C")]
    source = write(tmp_path / "in", rows)
    _, facts = split(source, tmp_path / "out", by="signer", dev=HeldOut(0, ("ben",)))
    assert list(facts["dev"].lines()) == [
        "dev: 3 of 4 train sentences (75.0 %)",
        "dev: 0 of 1 signers are in train (ben); 0 of 3 sentences have a gloss sequence of train",
        "dev: 2 of 4 glosses are not in train",
    ]
    assert list(facts["dev"].warnings()) == [
        "3 of 6 gloss tokens of dev are not in train and count as errors in WER (2 of 3 sentences "
        "have one): C, NEW"
    ]


def test_memory_holds_one_sentence_at_a_time(tmp_path):
    with CorpusWriter(tmp_path / "in", **FACTS) as writer:
        for number in range(80):
            writer.split("train").add(f"s{number}", "anna", "A", *recording(60, number))
    size = (tmp_path / "in/train.landmarks.npy").stat().st_size
    tracemalloc.start()
    split_corpus(tmp_path / "in", tmp_path / "out", by="random")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 4


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    source = write(tmp_path / "in", drawn_rows(10, 2))
    with pytest.raises(UsageError, match="is an input of this command"):
        split_corpus(source, source, by="random")
    table = source / "train.csv"
    lines = table.read_text().splitlines()
    lines[4] = "s003|anna|17|"
    table.write_text("\n".join(lines) + "\n")
    rehash(source)
    with pytest.raises(DataError, match=r"in: .* sentence 's003': annotation '' is empty; .*check"):
        split_corpus(source, tmp_path / "out", by="random")
    shutil.rmtree(source)
    write(source, [("a", "anna", "A")], others={})
    facts = json.loads((source / "corpus.json").read_text())
    facts["splits"] = {}
    (source / "corpus.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match="has no split 'train'"):
        split_corpus(source, tmp_path / "out", by="random")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_signer_who_stays_in_train_under_almost_the_same_name(tmp_path):
    rows = [("s1", "Anna", "A"), ("s2", "anna", "A"), ("s3", "ben", "A")]
    source = write(tmp_path / "in", rows)
    held_out = HeldOut(0.0, ("Anna",))
    _, facts = split(source, tmp_path / "out", by="signer", dev=held_out)
    (warning,) = facts["dev"].warnings()
    assert warning.startswith("the signers 'Anna' of dev and 'anna' of train differ only in")
    _, facts = split(source, tmp_path / "random", by="random", dev=HeldOut(0.4))
    assert list(facts["dev"].warnings()) == []
