"""The papers of a finished run, beside its results: curves, model card and report."""

from collections.abc import Sequence

from decoding.decoders import make_decoder
from decoding.length_normalization import LengthNormalization
from decoding.scoring import breakdown
from reports.evaluation_report import (
    DecodedSplit,
    EvaluationReport,
    compare_decoders,
    write_evaluation_report,
)
from reports.model_card import write_model_card
from reports.provenance import environment_facts
from reports.result_files import try_to_write
from reports.verdict import Verdict, history_verdict
from training.run_log import write_curves
from training.trainer import Trainer


def write_run_report(
    trainer: Trainer,
    result: dict,
    reading: DecodedSplit,
    used: tuple[str, LengthNormalization, float],
    session: dict,
) -> None:
    """Write training_curves.png, MODEL_CARD.md and report.html into the run's folder; print the
    verdict.

    result: result.json's content; reading: dev as the chosen decoder read it; used: that decoder's
    name, settings and milliseconds a sentence; session: `provenance.describe_session`. What fails
    is said in one line and costs nothing else: the run's results and checkpoints are written
    already.
    """
    folder, history, corpus = trainer.folder, trainer.progress.history, reading.corpus
    verdict = history_verdict(history)
    print(f"verdict: {verdict}")
    if history:
        try_to_write(
            folder / "training_curves.png",
            lambda path: write_curves(path, history, corpus.describe()),
        )
    glosses = len(trainer.vocabulary.glosses)
    try_to_write(
        folder / "MODEL_CARD.md",
        lambda path: write_model_card(path, result, corpus, glosses, verdict, session),
    )
    page = folder / "report.html"
    if try_to_write(
        page,
        lambda path: write_evaluation_report(
            path, _report(trainer, result, reading, used, session, verdict), reading
        ),
    ):
        print(f"report: {page}")


def _report(
    trainer: Trainer,
    result: dict,
    reading: DecodedSplit,
    used: tuple[str, LengthNormalization, float],
    session: dict,
    verdict: Verdict,
) -> EvaluationReport:
    name, settings, taken = used
    words = {
        "adaptive": f"{settings}; tuned on this same dev",
        "beam": _BEAM,
        "greedy": "the best path",
    }[name]
    beam = make_decoder("beam", settings)
    minutes = result["seconds"] / 60
    unbeaten = "" if result["best_epoch"] else ": the loaded model"
    tiles: Sequence[tuple[str, str]] = (
        (
            f"{result['best_epoch']} of {result['epochs_run']}",
            f"best epoch by greedy dev WER{unbeaten}",
        ),
        (f"{result['greedy_dev_wer']:.2f} %", "greedy dev WER of that model"),
        (f"{result['parameters'] / 1e6:.1f} M", "parameters"),
        (f"{minutes:.1f} min", f"of training, {result['frames_per_second']:,.0f} frames/s"),
    )
    note = "After each epoch dev is read greedily, without dropout; train is read while it is learned, with augmentation."
    if (loaded := trainer.progress.loaded_wer) is not None:
        better = "better than" if trainer.stopping.best_wer < loaded else "no better than"
        note += f" A fine-tune: its best is {better} the loaded model's {loaded:.2f} % (greedy)."
    return EvaluationReport(
        title=f"Training run {trainer.folder.resolve().name}",
        subtitle=f"dev of {reading.corpus.describe()}, read by the best epoch's model, {name} decoder",
        verdict=verdict,
        result=breakdown(
            reading.aligned, [sentence.signer for sentence in reading.split.sentences]
        ),
        tiles=tiles,
        history=trainer.progress.history,
        best_epoch=result["best_epoch"],
        curves_note=note,
        decoders=compare_decoders(reading, [("beam", _BEAM, beam)], (name, words, taken)),
        decoders_note="All on dev, from the same log-probabilities. A decoder tuned on this dev looks a little better here "
        "than it is on new data.",
        settings=trainer.config.to_dict(),
        environment=environment_facts(session),
    )


_BEAM = "the beam's most probable reading, no language model"
