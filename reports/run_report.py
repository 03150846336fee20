"""MODEL_CARD.md and report.html of a finished run, beside its results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decoding.batches import DecodedSentences, Decoder
from decoding.decoders import make_decoder
from decoding.length_normalization import LengthNormalization
from decoding.scoring import breakdown
from models.prediction import Prediction
from reports.decoded_split import DecodedSplit
from reports.decoder_comparison import (
    ComparedDecoder,
    DecoderResult,
    compare_decoders,
    compared_decoders,
)
from reports.evaluation_report import EvaluationReport, write_evaluation_report
from reports.model_card import write_model_card
from reports.provenance import environment_facts
from reports.result_files import try_to_write
from reports.verdict import GREEDY, Verdict, history_verdict

_BEAM = "the most probable hypothesis of the beam, no language model"


@dataclass(frozen=True)
class FinishedRun:
    """What is known of a run at its end.

    Args:
        history: the epochs of the run (rows of metrics.jsonl).
        result: the content of result.json.
        settings: the configuration, {section: {key: value}}.
        session: see `provenance.describe_session`.
        loaded_wer: greedy dev WER in percent of the model that a fine-tune started from.
    """

    folder: Path
    history: Sequence[dict[str, Any]]
    result: dict[str, Any]
    settings: Mapping[str, Mapping[str, Any]]
    session: dict[str, Any]
    loaded_wer: float | None


def decoders_of_run(
    name: str,
    settings: LengthNormalization,
    prediction: Prediction,
    decoder: Decoder | None = None,
) -> dict[str, ComparedDecoder]:
    """The decoder of a run, and those that its report compares it with, by name.

    Args:
        name: of the run's decoder.
        settings: of that decoder.
        prediction: of the model, whose joined heads all of these decoders decode.
        decoder: the run's decoder; None: `make_decoder` makes it from name and settings.
    """
    in_words = prediction.named_beside
    described = {
        "adaptive": f"{settings}; tuned on this dev split",
        "beam": _BEAM,
        "greedy": "the best path",
    }[name]
    used = ComparedDecoder(name, in_words(described), decoder or make_decoder(name, settings))
    beam = ComparedDecoder("beam", in_words(_BEAM), make_decoder("beam", settings))
    return compared_decoders(used, [beam], in_words)


def write_run_report(
    run: FinishedRun,
    decoded: DecodedSplit,
    found: DecodedSentences,
    decoders: Iterable[ComparedDecoder],
) -> None:
    """Print the verdict; write MODEL_CARD.md and report.html into the run's folder.

    A file that cannot be written gives one line of warning and no error: checkpoints and results
    are already written.

    Args:
        run: the run.
        decoded: dev with the predictions of the run's decoder.
        found: the predictions of all decoders.
        decoders: see `decoders_of_run`.
    """
    verdict = history_verdict(run.history, run.loaded_wer, run.result["best_epoch"])
    print(f"verdict: {verdict}")
    glosses = len(decoded.vocabulary.glosses)
    try_to_write(
        run.folder / "MODEL_CARD.md",
        lambda path: write_model_card(
            path, run.result, decoded.corpus, glosses, verdict, run.session
        ),
    )
    page = run.folder / "report.html"
    if try_to_write(
        page,
        lambda path: write_evaluation_report(
            path,
            _report(run, decoded, verdict, compare_decoders(decoded, found, decoders)),
            decoded,
        ),
    ):
        print(f"report: {page}")


def _report(
    run: FinishedRun, decoded: DecodedSplit, verdict: Verdict, decoders: Sequence[DecoderResult]
) -> EvaluationReport:
    return EvaluationReport(
        title=f"Training run {run.folder.resolve().name}",
        subtitle=f"dev of {decoded.corpus.describe()}, {_model(run.result)}, "
        f"{run.result['decoder']} decoder",
        verdict=verdict,
        result={
            **breakdown(decoded.aligned, decoded.signers),
            "novelty": run.result["novelty"],
        },
        tiles=_tiles(run.result),
        history=run.history,
        best_epoch=run.result["best_epoch"],
        curves_note=_curves_note(run),
        decoders=decoders,
        decoders_note="All decoders use the same log-probabilities of dev (heads: "
        f"{run.result['heads']}). A decoder or heads that are tuned on this dev split look a "
        "little better here than they are on new data.",
        settings=run.settings,
        environment=environment_facts(run.session),
    )


def _model(result: dict[str, Any]) -> str:
    return "model of the best epoch" if result["best_epoch"] else "the loaded model"


def _tiles(result: dict[str, Any]) -> list[tuple[str, str]]:
    """(value, meaning) of the figures beside the WER."""
    unbeaten = "" if result["best_epoch"] else f": {_model(result)}"
    return [
        (
            f"{result['best_epoch']} of {result['epochs_run']}",
            f"best epoch by greedy dev WER{unbeaten}",
        ),
        (f"{result['greedy_dev_wer']:.2f} %", "greedy dev WER, sequence head alone"),
        (f"{result['parameters'] / 1e6:.1f} M", "parameters"),
        (
            f"{result['seconds'] / 60:.1f} min",
            f"of training, {result['frames_per_second']:,.0f} frames/s",
        ),
    ]


def _curves_note(run: FinishedRun) -> str:
    note = (
        "Dev is decoded greedily after each epoch, by the sequence head alone, without dropout. "
        "Train is measured during the epoch, with dropout and augmentation."
    )
    if "teacher" in run.result:
        note += " The train loss has the distillation from the teacher in it, the dev loss has not."
    if run.loaded_wer is not None:
        is_better = run.result["greedy_dev_wer"] < run.loaded_wer
        comparison = "better than" if is_better else "no better than"
        note += (
            f" This run is a fine-tune. Its best dev WER is {comparison} the loaded model's "
            f"{run.loaded_wer:.2f} % ({GREEDY})."
        )
    return note
