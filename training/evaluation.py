"""A model's reading of a split: in batches while it trains (greedy), sentence by sentence when it is judged."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from data.batching import plan_evaluation
from data.corpus import Split
from data.vocabulary import Vocabulary
from decoding.greedy import greedy_decode
from decoding.language_model import LanguageModel
from decoding.length_normalization import LengthNormalization, adaptive_decode
from decoding.posteriors import Decoder
from decoding.scoring import Score, score
from errors import DataError
from models.i3d_teacher import I3DTeacher, TeacherOutput
from training.devices import Precision
from training.losses import TeacherLoss
from training.pipeline import FeaturePipeline
from training.ranks import Ranks
from training.sentences import PreparedSplit, pad_targets


def make_decoder(name: str, settings: LengthNormalization, language_model: LanguageModel | None = None) -> Decoder:
    """(log_probs, lengths) -> class indices of each sentence, for 'greedy', 'adaptive' or 'beam'.

    'beam' is the most probable reading of the beam, without any length normalization; where there is a language model it
    weighs in as the settings say, with their gloss bonus, as it would otherwise drop glosses.
    """
    if name == "greedy":
        return greedy_decode
    if name == "beam":
        weight, bonus = (settings.lm_weight, settings.gloss_bonus) if language_model is not None else (0.0, 0.0)
        settings = LengthNormalization(settings.steps_per_gloss, "beam", 0.0, bonus if weight else 0.0, weight)
    return lambda log_probs, lengths: adaptive_decode(log_probs, lengths, settings, language_model)


def decoder_entry(settings: LengthNormalization, language_model: LanguageModel | None, tuned_on: str) -> dict:
    """What a checkpoint holds of a tuned decoder: its settings, where they come from, and the language model if it counts."""
    model = vars(language_model) if language_model is not None and settings.lm_weight else None
    return {**asdict(settings), "tuned_on": tuned_on, "language_model": model and dict(model)}


def read_decoder_entry(entry: dict) -> tuple[LengthNormalization, LanguageModel | None, str | None]:
    """Settings, language model and what they were tuned on (None: not tuned) of a checkpoint's `decoder` entry."""
    known = dict(entry)
    tuned_on, model = known.pop("tuned_on", None), known.pop("language_model", None)
    try:
        return LengthNormalization(**known), model and LanguageModel(**model), tuned_on
    except TypeError as error:
        raise DataError(f"the checkpoint's decoder settings are not those of this version: {error}") from None


_ALONE = Ranks()


@dataclass(frozen=True)
class Evaluation:
    """hypotheses[i] belongs to sentence i of the split. loss: mean per sentence over those that have one, NaN if none.
    blank_share: share of steps whose best class is blank, 0 to 1."""

    hypotheses: list[list[str]]
    score: Score
    loss: float
    blank_share: float


@torch.inference_mode()
def _outputs(
    model: I3DTeacher, pipeline: FeaturePipeline, split: Split, precision: Precision, plan: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, TeacherOutput]]:
    """Indices and output of each of the plan's batches, with the model's dropout off."""
    was_training = model.training
    model.eval()
    try:
        for batch in pipeline.batches(split, plan):
            with precision.autocast():
                output = model(batch.features, batch.lengths, batch.detected)
            yield batch.indices, output
    finally:
        model.train(was_training)


def read_posteriors(
    model: I3DTeacher, pipeline: FeaturePipeline, split: Split, precision: Precision, progress: bool = True
) -> list[Tensor]:
    """Log-probabilities float32 (T', V) of each sentence of a split, on the CPU.

    One sentence at a time: in a batch their last bits depend on its shape (a matrix product adds up in another order), and a
    hypothesis must not depend on its neighbours. Raises DataError naming a sentence whose values are NaN or infinite.
    """
    posteriors = []
    outputs = _outputs(model, pipeline, split, precision, [np.array([index]) for index in range(len(split))])
    # None: no bar in a pipe.
    bar = tqdm(outputs, split.name, len(split), leave=False, unit="sentence", disable=None if progress else True)
    for (index,), output in bar:
        posteriors.append(output.log_probs[0].float().cpu())
        if not posteriors[-1].isfinite().all():
            raise DataError(
                f"{split.name} sentence {split.sentences[index].id}: the model's log-probabilities are not finite: "
                "its weights are damaged or its training diverged; use another checkpoint"
            )
    return posteriors


@torch.inference_mode()
def evaluate(
    model: I3DTeacher,
    pipeline: FeaturePipeline,
    prepared: PreparedSplit,
    vocabulary: Vocabulary,
    loss: TeacherLoss,
    precision: Precision,
    decoder: Decoder = greedy_decode,
    batch_size: int = 16,
    on_batch: Callable[[], None] = lambda: None,
    ranks: Ranks = _ALONE,
) -> Evaluation:
    """Decode and score every sentence of a split. `on_batch` is called after each batch (a progress bar, a stop).

    ranks: the processes that share the batches; each batch is read as one process reads it, and all return the same.
    """
    split = prepared.split
    plan = plan_evaluation(split.lengths, batch_size)
    own = ranks.share(plan)
    read = []
    outputs = _outputs(model, pipeline, split, precision, own)
    with contextlib.closing(outputs):
        for indices, output in outputs:
            inside = torch.arange(output.log_probs.shape[1], device=output.lengths.device) < output.lengths[:, None]
            read.append(
                (
                    decoder(output.log_probs, output.lengths),
                    _losses(loss, output, [prepared.targets[index] for index in indices]),
                    int(((output.log_probs.argmax(-1) == 0) & inside).sum()),
                    int(output.lengths.sum()),
                )
            )
            on_batch()
    if len(own) < -(-len(plan) // ranks.world):
        on_batch()  # as often as on the other processes
    shares = ranks.gather(read)
    hypotheses: list[list[str]] = [[] for _ in range(len(split))]
    losses, blanks, steps = [], 0, 0
    for number, indices in enumerate(plan):
        classes, own_losses, own_blanks, own_steps = shares[number % ranks.world][number // ranks.world]
        for index, one in zip(indices, classes, strict=True):
            hypotheses[index] = vocabulary.decode(one)
        losses += own_losses
        blanks += own_blanks
        steps += own_steps
    return Evaluation(
        hypotheses,
        score(prepared.references, hypotheses),
        float(np.mean(losses)) if losses else float("nan"),
        blanks / steps,
    )


def _losses(loss: TeacherLoss, output: TeacherOutput, targets: list[list[int] | None]) -> list[float]:
    rows = [row for row, target in enumerate(targets) if target is not None]
    if not rows:
        return []
    index = torch.tensor(rows, device=output.lengths.device)
    chosen = TeacherOutput(*(tensor.index_select(0, index) for tensor in output))
    return loss(chosen, *pad_targets([targets[row] for row in rows], output.lengths.device)).total.tolist()
