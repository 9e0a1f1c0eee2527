"""The recipe: everything that makes a result, as typed settings read from YAML. No torch here, so that reading one stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from kinema.transforms.config import PoseAugment, PoseInput
from kinema.transforms.depth_config import DepthAugment, DepthInput
from kinema.transforms.inertial_config import InertialAugment, InertialInput
from kinema.transforms.video_config import VideoAugment, VideoInput


@dataclass(frozen=True)
class DataConfig:
    """What is trained and tested on.

    Args:
        name: data set, see `kinema data list`; several, joined by "+", are trained on together.
        root: its folder; default: the folder of that name under $KINEMA_DATA.
        protocol: how it is divided; default: the data set's first protocol. Of several data sets: one each, joined by "+"; there "train"
            and "test" are protocols too: all clips of that data set train, or all of them test, those of classes that train.
        fold: name of one split of the protocol; default: the only split there is. Of several data sets: of those that have folds.
        classes: the vocabulary, where it is not the data set's own: the classes that take part, by name, each with the data set's
            classes that it is made of (of several data sets "NAME/CLASS"); an empty list stands for the one of that name. Clips of
            classes that are not named are left out. One vocabulary serves recipes of different data sets: "NAME/CLASS" of one that
            is not among the recipe's counts as not written.
        use: "split" trains on the split's training part and tests on its test part; "all" trains on every labelled clip, for a
            model to be handed on: nothing is left to test it, so that its figure must be that of folds, see `quotes`.
        pose: estimate the skeletons of clips that are videos without one, by this backend of `kinema pose`; default: as the data are.
            With `video.crop` those of all clips, to cut the pictures by.
        camera: where pictures are cut to joints in space: the camera that saw them, by name (kinect-v1, utd-mhad-depth) or as
            a file of `kinema data fit-camera`.
        on_error: "raise" stops at a clip that cannot be read, "skip" leaves it out and counts it.
        val_by: what validation is cut by, so that no one stands on both sides: subject, group, view, or clip; of several data sets one
            for all, or one each, joined by "+".
        val_share: share of the training part that validates, at least one subject (or group ...).
        allow_leak: train although clips cut from one recording both train and test; the result then carries the word "leak".
    """

    name: str = ""
    root: str | None = None
    protocol: str | None = None
    fold: str | None = None
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    use: Literal["split", "all"] = "split"
    pose: Literal["", "auto", "rtmpose", "movenet", "blazepose"] = ""
    camera: str | None = None
    on_error: Literal["raise", "skip"] = "raise"
    val_by: str = "subject"
    val_share: float = 0.25
    allow_leak: bool = False


@dataclass(frozen=True)
class ModelConfig:
    """Which network.

    Args:
        name: its registered name, see `kinema models`.
        config: settings of its own config dataclass, such as `--model.config.dropout .3`.
    """

    name: str = "hcn"
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class InitConfig:
    """Where training starts from: a bundle's weights (transfer), and what stays frozen.

    Args:
        bundle: name or path of a bundle; none starts from random weights. $VARIABLES in it are filled in.
        layers: "all" loads every parameter whose name and shape agree, "backbone" all but the classification head.
        remake: parameter-name prefixes that are made anew although they would fit.
        freeze: parameter-name prefixes that do not train; their batch norms keep their running statistics.
        slow: parameter-name prefixes that train with `slow_factor` times the learning rate, as an encoder that is fine-tuned.
        slow_factor: see `slow`.
        arch: `bundle` is a file of published weights of this architecture, as `kinema import` takes them; for resnet18 to resnet152 one of
            torchvision's ImageNet weights for the ResNet in a model, whole or in part, or "imagenet", which fetches it.
    """

    bundle: str | None = None
    layers: Literal["all", "backbone"] = "all"
    remake: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    slow_factor: float = 0.1
    arch: str | None = None


@dataclass(frozen=True)
class FitConfig:
    """How it is fitted.

    Args:
        epochs: passes over the training part.
        batch_size: samples a step, over all devices together.
        lr: learning rate.
        optimizer: adamw, adam or sgd (momentum .9, Nesterov).
        weight_decay: of matrices and kernels; biases and norms are never decayed.
        schedule: cosine (to 0, after `warmup`), step (x `gamma` at `milestones`), plateau (x `gamma` after `patience` epochs
            without a better validation loss), constant.
        warmup: epochs of linear warm-up.
        milestones: epochs, for "step".
        gamma: factor, for "step" and "plateau".
        patience: epochs, for "plateau".
        early_stop: epochs without a better validation result after which training ends; 0 never stops early.
        clip: largest gradient norm; 0 does not clip.
        label_smoothing: share of the target given to all classes alike.
        loss: cross_entropy, focal, or mse, the mean squared error between probabilities and one-hot labels, which some published
            code trains with.
        focal_gamma: exponent, for "focal".
        class_weights: weigh classes inversely to their number of samples.
        balanced: draw every class equally often.
        ema: decay of the exponential moving average of the weights that is evaluated and kept; 0 is none.
        repeats: passes over the training part that count as one epoch.
        selection: which weights are kept: "validation" the best epoch on validation subjects cut from the training part;
            "refit" finds that epoch, then trains anew on the whole training part for as many epochs (of the same
            schedule); "last" the last epoch,
            training on the whole training part without validation; "paper" the best epoch on the test part, as the
            publication did, and the result says so.
        views: test-time views whose probabilities are averaged.
        encode: how many looks at each training sample, drawn as `augment` says, a frozen encoder answers once and for all, so that what
            follows it trains in seconds an epoch; each epoch draws one of them for each sample. 0 runs the encoder in every step.
    """

    epochs: int = 100
    batch_size: int = 64
    lr: float = 1e-3
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    weight_decay: float = 1e-4
    schedule: Literal["cosine", "step", "plateau", "constant"] = "cosine"
    warmup: int = 0
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    patience: int = 10
    early_stop: int = 0
    clip: float = 0.0
    label_smoothing: float = 0.0
    loss: Literal["cross_entropy", "focal", "mse"] = "cross_entropy"
    focal_gamma: float = 2.0
    class_weights: bool = False
    balanced: bool = False
    ema: float = 0.0
    repeats: int = 1
    selection: Literal["validation", "refit", "last", "paper"] = "validation"
    views: int = 1
    encode: int = 0


@dataclass(frozen=True)
class HierarchyConfig:
    """Classifiers of superclasses on earlier stages of the network, whose losses are added to its own (Davoodikakhki, Yin: Hierarchical
    Action Classification with Network Pruning, 2020). They serve training alone: the network that is kept has its own classifier.

    Args:
        counts: superclasses of each level, rising; 0 is every class by itself, deep supervision without superclasses. None: no hierarchy,
            unless `file` has one.
        stages: of the network, counted from 1, on which the levels' classifiers stand; default: the ones right before the last.
        weights: of the levels' losses and, last, of the network's own; default: 1 for that, and half of the following one's for each.
        file: where the superclasses come from: a file of `kinema hierarchy build`, a bundle that has them, or the folder of a run, from
            the confusions of its validation clips. Default: a first pass trains without hierarchy, on the training part without
            validation clips, and its confusions of these give the superclasses; the second pass then starts where the first one did.
        confusion: what is counted: clips taken for another class, or the probabilities that they got.
        optimiser: how superclasses are searched for: swap, steepest descent by swaps, or annealing.
        restarts: searches, of which the best counts.
        dropout: probability before the levels' classifiers.
    """

    counts: tuple[int, ...] = ()
    stages: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    file: str | None = None
    confusion: Literal["counts", "probabilities"] = "counts"
    optimiser: Literal["swap", "annealing"] = "swap"
    restarts: int = 1000
    dropout: float = 0.0

    @property
    def wanted(self) -> bool:
        return bool(self.counts or self.file)

    @property
    def two_passes(self) -> bool:
        """Whether a first pass has to find the superclasses."""
        return any(self.counts) and self.file is None


@dataclass(frozen=True)
class EngineConfig:
    """What it runs on (Lightning Fabric's own options).

    Args:
        accelerator: cpu, cuda, mps or auto.
        devices: processes on this machine, one device each.
        nodes: machines.
        precision: 32-true, bf16-mixed or 16-mixed.
        threads: CPU threads a process; 0 leaves PyTorch's default.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: int = 0


@dataclass(frozen=True)
class Recipe:
    """Everything that makes a result. Of the sections on input and augmentation those count that the model takes: `input` and `augment`
    are about skeletons (`augment.mixup` mixes whatever there is), the others about depth images, worn sensors and videos.

    Args:
        title: one line of what this is.
        paper: what it follows, and where it departs.
        seed: of everything random: first weights, order, augmentation, dropout, and which subjects validate.
        quotes: for `data.use: all`: "FILE: ROW", the row of a file of results whose figure the bundle carries, measured with the
            same settings on folds.
    """

    title: str = ""
    paper: str = ""
    data: DataConfig = field(default_factory=DataConfig)
    input: PoseInput = field(default_factory=PoseInput)
    augment: PoseAugment = field(default_factory=PoseAugment)
    depth: DepthInput = field(default_factory=DepthInput)
    depth_augment: DepthAugment = field(default_factory=DepthAugment)
    inertial: InertialInput = field(default_factory=InertialInput)
    inertial_augment: InertialAugment = field(default_factory=InertialAugment)
    video: VideoInput = field(default_factory=VideoInput)
    video_augment: VideoAugment = field(default_factory=VideoAugment)
    model: ModelConfig = field(default_factory=ModelConfig)
    init: InitConfig = field(default_factory=InitConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    hierarchy: HierarchyConfig = field(default_factory=HierarchyConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    seed: int = 0
    quotes: str = ""
