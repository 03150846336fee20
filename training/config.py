"""The configuration of a teacher's run, and what its command line asks for. No torch in here.

Precedence: default < checkpoint (with --resume) < YAML (--config) < command line.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from data.augmentation.config import AugmentationConfig
from decoding import OPEN_DECODERS
from models.config import ModelConfig
from settings import Overrides, Settings, SettingsFile, setting

OPTIMIZERS = ("adamw", "adam")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
LINEAR_LAYERS = ("auto", "torch", "onednn")
_FILES, _OPTIMISATION = "data and files", "optimisation"
_REST = "decoding, device, reproducibility"


@dataclass(frozen=True)
class TrainingConfig(Settings):
    """How a run trains. The defaults are those of a full training."""

    data_dir: str | None = setting(
        None,
        "corpus folder",
        group=_FILES,
        default_text="the built-in simulated corpus; a student: the corpus of its teacher",
        shapes_training=False,
    )
    output_dir: str = setting(
        "checkpoints/teacher",
        "run folder; with --resume, by default that of the checkpoint. A fine-tune is a new run: "
        "it never uses the folder of its checkpoint, even if you give it, but the one beside it "
        "with _finetune behind the name",
        group=_FILES,
        shapes_training=False,
    )
    skip_bad: bool = setting(
        False,
        "leave out broken train sentences and those that CTC cannot align, and list them, instead "
        "of refusing the corpus",
        group=_FILES,
        shapes_training=False,
    )
    checkpoint_minutes: float = setting(
        0.0,
        "minutes between checkpoints inside an epoch; 0: only at its end",
        low=0,
        group=_FILES,
        shapes_training=False,
    )
    epochs: int = setting(150, "passes over the train split", low=1, group=_OPTIMISATION)
    batch_size: int = setting(8, "sentences per batch", low=1, group=_OPTIMISATION)
    frames_per_batch: int = setting(
        0,
        "fill each batch with sentences up to this many frames, padding included, instead of "
        "--batch_size; 0: use --batch_size",
        low=0,
        group=_OPTIMISATION,
    )
    accumulation_steps: int = setting(2, "batches per update", low=1, group=_OPTIMISATION)
    learning_rate: float = setting(3e-4, "peak learning rate", above=0, group=_OPTIMISATION)
    min_learning_rate: float = setting(
        1e-6, "learning rate at the end of the cosine", low=0, group=_OPTIMISATION
    )
    warmup_epochs: float = setting(5.0, "epochs of linear warm-up", low=0, group=_OPTIMISATION)
    weight_decay: float = setting(
        1e-4, "weight decay of the weight matrices", low=0, group=_OPTIMISATION
    )
    optimizer: str = setting("adamw", "optimiser", choices=OPTIMIZERS, group=_OPTIMISATION)
    max_grad_norm: float = setting(
        1.0, "clip the gradient norm at this value", above=0, group=_OPTIMISATION
    )
    patience: int = setting(
        15,
        "stop early after this many epochs without a better dev WER; with --resume, a higher "
        "value continues a run that stopped early",
        low=1,
        group=_OPTIMISATION,
        shapes_training=False,
    )
    decoder: str = setting(
        "adaptive",
        "decoder of the final evaluation; only adaptive also tunes on dev how the heads are "
        "joined. After each epoch dev is decoded greedily",
        choices=OPEN_DECODERS,
        group=_REST,
        shapes_training=False,
    )
    precision: str = setting(
        "auto",
        "number format; auto: bf16 on CUDA; on the CPU fp32, or bf16 for a large model if a short "
        "test finds it 1.5 times as fast",
        choices=PRECISIONS,
        group=_REST,
    )
    device: str = setting("auto", "auto, cpu, cuda or cuda:N", group=_REST, shapes_training=False)
    compile: bool = setting(
        False,
        "compile the convolutional front of a teacher with torch.compile; this takes minutes in "
        "the first epoch and is not measured on GPUs",
        group=_REST,
        shapes_training=False,
    )
    linear_layers: str = setting(
        "auto",
        "what computes large linear layers on a CPU: torch (its BLAS library) or onednn; auto: as "
        "in the run that is continued, else the faster one in a short test",
        choices=LINEAR_LAYERS,
        group=_REST,
        shapes_training=False,
    )
    seed: int = setting(
        0, "random seed for weights, data order, dropout and augmentation", group=_REST
    )
    deterministic: bool = setting(
        False,
        "use deterministic kernels where torch has them",
        group=_REST,
        shapes_training=False,
    )
    conv_loss_weight: float = setting(
        1.0, "weight of the CTC loss of the convolution head; the sequence head has 1", low=0
    )
    distillation_weight: float = setting(
        1.0, "weight of the distillation from the sequence head to the convolution head", low=0
    )
    distillation_temperature: float = setting(
        8.0, "temperature of that distillation: both heads' logits are divided by it", above=0
    )
    label_smoothing: float = setting(
        0.02,
        "label smoothing: weight of the cross-entropy between the uniform distribution and both "
        "heads; with it every gloss stays possible",
        low=0,
        below=1,
    )
    flat_start_epochs: float = setting(
        4.0,
        "epochs of the flat start, 600 updates at most: a loss on glosses that are spread evenly "
        "over the sentence is added, and its weight falls from 1 to 0; a fine-tune and a student "
        "use 0 unless you set it",
        low=0,
    )
    part_mask: float = setting(
        0.05,
        "probability that a part of the body is hidden from the model for a whole sentence",
        low=0,
        below=1,
    )

    def conflicts(self) -> list[str]:
        wrong = []
        if self.min_learning_rate > self.learning_rate:
            low, peak = self.min_learning_rate, self.learning_rate
            wrong.append(f"min_learning_rate {low} is above learning_rate {peak}")
        return wrong + self.impossible_paths(data_dir="a folder", output_dir="a folder")


@dataclass(frozen=True)
class Config(SettingsFile):
    """Everything that a run is made from. The sections of a YAML file have these names."""

    kind: ClassVar[str] = "teacher"  # the model that the run trains

    training: TrainingConfig = field(default_factory=TrainingConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    def without_effect(self, given: Overrides) -> list[str]:
        """What is wrong with settings of the command line, `given`, that this configuration leaves
        without an effect, in words."""
        budget = self.training.frames_per_batch
        if budget and "batch_size" in given.get("training", {}):
            return [
                f"--batch_size has no effect with --frames_per_batch {budget}: leave it out, or "
                "give --frames_per_batch 0"
            ]
        return []


@dataclass(frozen=True)
class TrainingCommand(Settings):
    """The options of a training script that are not settings of the run."""

    config: Path | None = setting(
        None,
        "YAML file with a section for each group of settings; see configs/",
        group=_FILES,
        default_text="none",
    )
    resume: str | None = setting(
        None,
        "start from a checkpoint: a path, or last, best or auto (the newest undamaged one) in the "
        "output folder. With the same settings and corpus, the run continues exactly. With a "
        "setting that shapes training and differs, a new run starts, a fine-tune. auto without a "
        "checkpoint starts a fresh run, but only where --data_dir or other settings of one are "
        "given",
        group=_FILES,
        metavar="CHECKPOINT",
        default_text="none",
    )
    extend_vocabulary: bool = setting(
        False,
        "fine-tuning: add the new glosses of the corpus to the vocabulary of the checkpoint "
        "instead of refusing them",
        group=_FILES,
    )
    dry_run: bool = setting(
        False, "print sizes and estimated times; make no run folder", group=_FILES
    )


@dataclass(frozen=True)
class OverfitCommand(Settings):
    """The options of overfit_test.py that are not settings of the run."""

    prefix: ClassVar[str] = "--"

    num_samples: int = setting(5, "sentences to memorise", low=1, group=_FILES)
    config: Path | None = setting(
        None, "YAML file, on top of configs/overfit.yaml", group=_FILES, default_text="none"
    )
