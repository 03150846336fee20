"""The language of the built-in corpus: about forty glosses and a small grammar of everyday
sentences, in the word order of a sign language.

[time] subject [place] [object [adjective]] verb [negation] [question word]
"""

from collections.abc import Sequence

import numpy as np

TIMES = ("YESTERDAY", "TODAY", "TOMORROW", "NOW", "MORNING")
SUBJECTS = ("I", "YOU", "WE", "MOTHER", "FATHER", "FRIEND", "TEACHER", "CHILD")
PLACE_GLOSSES = ("HOME", "SCHOOL", "CITY", "SHOP")
ADJECTIVES = ("GOOD", "NEW", "BIG", "OLD")
STATES = ("HAPPY", "TIRED", "SICK")
VERBS: dict[str, tuple[str, ...]] = {  # the objects of each verb
    "BUY": ("BOOK", "COFFEE", "CAR", "HOUSE", "BREAD"),
    "SEE": ("BOOK", "CAR", "HOUSE", "DOG"),
    "LIKE": ("HOUSE", "COFFEE", "CAR", "DOG", "BREAD"),
    "READ": ("BOOK",),
    "DRINK": ("COFFEE", "WATER"),
    "WANT": ("HOUSE", "WATER", "BREAD", "CAR", "DOG"),
    "GIVE": ("BOOK", "WATER", "BREAD"),
    "HELP": (),
    "LEARN": (),
    "GO": (),
}
QUESTIONS = ("WHAT", "WHERE", "WHEN", "WHY")
NOT = "NOT"
GLOSSES = tuple(
    sorted(
        {
            *TIMES,
            *SUBJECTS,
            *PLACE_GLOSSES,
            *ADJECTIVES,
            *STATES,
            *VERBS,
            *sum(VERBS.values(), ()),
            *QUESTIONS,
            NOT,
        }
    )
)
SHORTEST, LONGEST = 3, 8


def draw_sentence(rng: np.random.Generator) -> tuple[str, ...]:
    """The glosses of one random sentence: 3 to 8, about 5 on average."""
    while True:
        glosses = _draw(rng)
        if SHORTEST <= len(glosses) <= LONGEST:
            return glosses


def _draw(rng: np.random.Generator) -> tuple[str, ...]:
    def pick(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    def chance(share: float) -> bool:
        return rng.random() < share

    glosses = [pick(TIMES)] if chance(0.7) else []
    glosses.append(pick(SUBJECTS))
    if chance(0.55):
        glosses.append(pick(PLACE_GLOSSES))
    if chance(0.15):
        glosses.append(pick(STATES))
    else:
        verb = pick(tuple(VERBS))
        if VERBS[verb]:
            glosses.append(pick(VERBS[verb]))
            if chance(0.5):
                glosses.append(pick(ADJECTIVES))
        elif verb != "GO" and chance(0.5):
            glosses.append(pick(SUBJECTS))  # the person whom the subject helps or learns from
        glosses.append(verb)
    if chance(0.2):
        glosses.append(NOT)
    if chance(0.3):
        glosses.append(pick(QUESTIONS))
    return tuple(glosses)
