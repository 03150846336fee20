"""The official clean-up of RWTH-PHOENIX-Weather 2014, in its two forms.

The corpus's evaluation script works line by line. In the train transcripts a line is a sentence. In
a ctm file of hypotheses a line is one gloss. So the rules that look at two glosses work on
transcripts only: they never join or remove glosses of a hypothesis.

    rule                                                     transcripts    hypotheses
    prefixes, suffixes and variants of one sign: `_rename`   yes            yes
    __EMOTION__, __PU__, __LEFTHAND__ are removed            yes            yes
    lines with __EPENTHESIS__ are removed                    -              yes
    WIE AUSSEHEN and spelled letters are joined              yes            no
    a plain gloss that repeats is kept once                  yes            no

References of dev and test are never cleaned. The rules are written anew. A train split cleaned by
`normalize_phoenix2014` equals the official train.stm.
"""

import re
from collections.abc import Sequence

_PREFIXES = ("loc-", "cl-", "qu-", "poss-", "lh-")
_NO_GLOSSES = ("__EMOTION__", "__PU__", "__LEFTHAND__")
_SPELLED = re.compile(r"(?:[A-Z]|SCH|NN)(?:\+(?:[A-Z]|SCH|NN))*")  # letters of the finger alphabet


def normalize_phoenix2014(glosses: Sequence[str]) -> tuple[str, ...]:
    """Clean the glosses of a sentence as the official clean-up does for train transcripts.

    __EMOTION__, __PU__ and __LEFTHAND__ are removed last: REGEN __PU__ REGEN stays two glosses. No
    glosses give no glosses.
    """
    cleaned: list[str] = []
    for gloss in map(_rename, glosses):
        if cleaned and (cleaned[-1], gloss) == ("WIE", "AUSSEHEN"):
            cleaned[-1] = "WIE-AUSSEHEN"
        elif cleaned and _SPELLED.fullmatch(cleaned[-1]) and _SPELLED.fullmatch(gloss):
            cleaned[-1] += f"+{gloss}"
        elif gloss:
            cleaned.append(gloss)
    once = [
        gloss
        for gloss, before in zip(cleaned, [None, *cleaned], strict=False)
        if not _repeats(gloss, before)
    ]
    return tuple(gloss for gloss in once if gloss not in _NO_GLOSSES)


def normalize_gloss_phoenix2014(gloss: str) -> str:
    """Clean one gloss of a hypothesis as the official clean-up does for a line of a ctm file. An
    empty result means that the gloss is removed."""
    gloss = _rename(gloss)
    for name in _NO_GLOSSES:
        gloss = gloss.replace(name, "")
    return "" if "__EPENTHESIS__" in gloss else gloss


def _rename(gloss: str) -> str:
    """Remove prefixes and suffixes that describe how a sign is made; give variants one name."""
    for prefix in _PREFIXES:
        gloss = gloss.replace(prefix, "")
    gloss = gloss.replace("S0NNE", "SONNE").replace("HABEN2", "HABEN")
    if gloss.endswith("ZEIGEN"):
        gloss += "-BILDSCHIRM"
    return re.sub("([A-Z]{2})RAUM", r"\1", gloss).replace("-PLUSPLUS", "")


def _repeats(gloss: str, before: str | None) -> bool:
    """Whether a cleaned gloss repeats the one before it. Compounds such as A+B and IN-KOMMEND may
    be signed twice."""
    return gloss == before and re.fullmatch("[A-Z]+", gloss) is not None
