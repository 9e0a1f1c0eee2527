"""Support vector machine on handcrafted skeleton features: RoboComp's first recogniser, and ours.

Fitted at once by scikit-learn, kept and evaluated as plain tensors, so that it travels in a bundle like any network and no
pickle is needed. Its answers agree with scikit-learn's to 1e-6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from kinema.errors import RecipeError
from kinema.layout import get_layout
from kinema.models.registry import ModelInfo, PoseShape, register
from kinema.transforms.handcrafted import FEATURES, JOINTS, features, positions, posture

if TYPE_CHECKING:
    from kinema.transforms.batches import Samples
    from kinema.transforms.config import PoseAugment

_ROWS = 1024  # samples whose kernel against all support vectors is held at once


@dataclass(frozen=True)
class SvmConfig:
    """Settings of the classifier.

    Args:
        features: "distances" are the 16 published ones a frame, "positions" those of all joints seen from the root, "posture"
            these and how the arms reach (see `kinema.transforms.handcrafted`).
        kernel: "rbf", exp(-gamma |a - b|^2), or "laplacian", exp(-gamma sum |a_i - b_i|).
        scale: what each feature is divided by: its "range" or its standard "deviation".
        c: penalty of a training sample on the wrong side of the margin.
        gamma: width of the kernel; 0 takes 1 / columns for features divided by their deviation, and 1 / (columns x variance of
            all of them), scikit-learn's "scale", for those divided by their range.
        scale_on: samples that range or deviation are taken over: those that train or, as published, all there are.
        floor: as published: displacements below 1e-6 m become 1e-6 m, which loses movement in the negative direction.
        every: of the phases of a window every how manieth trains; neighbours are nearly the same.
        calibration_folds: parts of the training recordings, each held out once to turn scores into probabilities.
        support: support vectors; set when fitted.
    """

    features: Literal["distances", "positions", "posture"] = "distances"
    kernel: Literal["rbf", "laplacian"] = "rbf"
    scale: Literal["range", "deviation"] = "range"
    c: float = 1.0
    gamma: float = 0.0
    scale_on: Literal["train", "all"] = "train"
    floor: bool = False
    every: int = 1
    calibration_folds: int = 3
    support: int = 0


class HandcraftedSvm(nn.Module):
    """(B, 1, T, V, 3) skeletons -> features of T frames, scaled -> log probabilities (B, classes), in double precision.

    One binary machine for each pair of classes (one against one), whose votes and margins give a score for each class.
    Probabilities are the softmax of these at a temperature that was fitted on held-out training recordings, so that the most
    probable class is always the one with most votes.
    """

    def __init__(self, config: SvmConfig, shape: PoseShape, num_classes: int):
        super().__init__()
        if shape.persons != 1 or shape.channels != 3:
            raise RecipeError("model 'handcrafted-svm' takes the joints of one person in 3-D (input.streams: [joint])")
        if config.features == "distances" and not shape.layout.has(*JOINTS):
            raise RecipeError(f"model 'handcrafted-svm': layout {shape.layout.name!r} lacks some of the joints {', '.join(JOINTS)}")
        if config.c <= 0 or config.gamma < 0 or config.every < 1 or config.calibration_folds < 2 or config.support < 0:
            raise RecipeError("model 'handcrafted-svm': c above 0, gamma from 0, every from 1 and calibration_folds from 2 are expected")
        self.config, self.layout, self.num_classes = config, shape.layout, num_classes
        each = len(FEATURES) if config.features == "distances" else 3 * (len(shape.layout) - 1) + 21 * (config.features == "posture")
        columns, pairs = shape.frames * each, num_classes * (num_classes - 1) // 2
        for name, size in {
            "middle": (columns,),
            "range": (columns,),
            "support": (config.support, columns),
            "dual": (num_classes - 1, config.support),
            "counts": (num_classes,),
            "intercept": (pairs,),
            "gamma": (),
            "sharpness": (),
        }.items():
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))

    @property
    def fitted_config(self) -> dict[str, int]:
        """Settings that the fit decided; without them its arrays find no place."""
        return {"support": self.config.support}

    def columns(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, columns) features in double precision; NaN where a joint that they are made of was not observed."""
        points = x[:, 0].double()
        if mask is not None:
            points = points.masked_fill(~mask[:, 0, ..., None], torch.nan)
        if self.config.features != "distances":
            return (posture if self.config.features == "posture" else positions)(points, self.layout).flatten(1)
        return features(points, self.layout, 1e-6 if self.config.floor else None).flatten(1)

    def forward_features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, columns) scaled features; the training part's mean where one cannot be told."""
        columns = self.columns(x, mask)
        return torch.where(columns.isnan(), self.middle, columns) / self.range

    def forward_head(self, scaled: Tensor) -> Tensor:
        scores = torch.cat([self._scores(rows) for rows in scaled.split(_ROWS)])
        return (self.sharpness * scores).log_softmax(1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, mask))

    def head_prefixes(self) -> tuple[str, ...]:
        """None: a machine is fitted as a whole, and has no part that transfer could keep."""
        return ()

    def _scores(self, rows: Tensor) -> Tensor:
        """(N, classes) votes of the pairwise machines, ties broken by their margins."""
        if self.config.kernel == "rbf":
            far = torch.cdist(rows, self.support, compute_mode="donot_use_mm_for_euclid_dist") ** 2
        else:
            far = torch.cdist(rows, self.support, p=1)
        kernel = torch.exp(-self.gamma * far)
        if self.num_classes == 2:
            margin = kernel @ self.dual[0] + self.intercept
            return torch.stack([-margin, margin], dim=1)
        owner = torch.repeat_interleave(torch.arange(self.num_classes, device=rows.device), self.counts.long())
        # parts[c][:, i]: what the support vectors of class c say in its machine number i.
        parts = [kernel[:, owner == c] @ self.dual[:, owner == c].T for c in range(self.num_classes)]
        votes = rows.new_zeros(len(rows), self.num_classes)
        margins = torch.zeros_like(votes)
        pair = 0
        for first in range(self.num_classes):
            for second in range(first + 1, self.num_classes):
                decision = parts[first][:, second - 1] + parts[second][:, first] + self.intercept[pair]
                votes[:, first] += decision >= 0
                votes[:, second] += decision < 0
                margins[:, first] += decision
                margins[:, second] -= decision
                pair += 1
        return votes + margins / (3 * (margins.abs() + 1))

    def fit_samples(
        self, train: Samples, others: Samples | None = None, augment: PoseAugment | None = None, repeats: int = 1, seed: int = 0
    ) -> None:
        """Fit the machine to all of `train` at once: `repeats` draws of each sample, changed as `augment` says.

        `others`: samples that count for the scaling with `scale_on: all`, and for nothing else. Raises `RecipeError` where a
        class has fewer than two recordings to calibrate by.
        """
        used = torch.nonzero(train.phases % self.config.every == 0).flatten().repeat(repeats)
        values = self._columns_of(train, used, augment, torch.Generator().manual_seed(seed))
        middle = np.nanmean(values, axis=0)
        values = np.where(np.isnan(values), middle, values)
        seen = values
        if self.config.scale_on == "all" and others is not None:
            seen = np.concatenate([values, self._columns_of(others, torch.arange(len(others)))])
        span = np.nanstd(seen, axis=0) if self.config.scale == "deviation" else np.nanmax(seen, axis=0) - np.nanmin(seen, axis=0)
        span[span == 0] = 1  # a feature that never changes, such as the first frame's displacement
        self._set(middle=middle, range=span, **self._machine(values / span, train.labels[used].numpy(), train.clip_of[used].numpy()))

    def _columns_of(
        self, samples: Samples, indices: Tensor, augment: PoseAugment | None = None, generator: torch.Generator | None = None
    ) -> np.ndarray:
        batches = (samples.batch(part, augment=augment, generator=generator) for part in indices.split(_ROWS))
        return torch.cat([self.columns(batch.x, batch.mask) for batch in batches]).numpy()

    def _machine(self, values: np.ndarray, labels: np.ndarray, clips: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of a machine fitted to scaled `values` (N, columns); `clips` (N,): the recording that each is cut from."""
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.metrics.pairwise import laplacian_kernel
        from sklearn.model_selection import PredefinedSplit
        from sklearn.svm import SVC

        gamma = self.config.gamma or 1 / (values.shape[1] * (1 if self.config.scale == "deviation" else values.var()))
        kernel = partial(laplacian_kernel, gamma=gamma) if self.config.kernel == "laplacian" else "rbf"
        machine = SVC(C=self.config.c, kernel=kernel, gamma=gamma, cache_size=1000)
        split = PredefinedSplit(_folds(labels, clips, self.num_classes, self.config.calibration_folds))
        calibrated = CalibratedClassifierCV(machine, method="temperature", cv=split, ensemble=False).fit(values, labels)
        fitted = calibrated.calibrated_classifiers_[0]
        machine = fitted.estimator
        return {
            "support": values[machine.support_],
            "dual": machine.dual_coef_,
            "counts": machine.n_support_,
            "intercept": machine.intercept_,
            "gamma": gamma,
            "sharpness": fitted.calibrators[0].beta_,
        }

    def _set(self, **arrays: np.ndarray) -> None:
        for name, value in arrays.items():
            setattr(self, name, torch.as_tensor(np.asarray(value, dtype=np.float64)))
        self.config = replace(self.config, support=len(self.support))


def _folds(labels: np.ndarray, clips: np.ndarray, classes: int, folds: int) -> np.ndarray:
    """(N,) part in which each sample is held out: the recordings of each class dealt out in turn, none divided."""
    held = np.zeros(len(labels), dtype=int)
    for label in range(classes):
        recordings, which = np.unique(clips[labels == label], return_inverse=True)
        if len(recordings) < 2:
            raise RecipeError(f"class {label} has {len(recordings)} training recordings; probabilities need at least 2 of each class")
        held[labels == label] = which % folds
    return held


register(
    ModelInfo(
        name="handcrafted-svm",
        summary="16 distances, displacements and turns in each of 4 frames, or positions; support vector machine, fitted at once",
        paper="RoboComp HumanActivityRecognition, 2019",
        build=HandcraftedSvm,
        defaults=SvmConfig(),
        example=PoseShape(1, 4, get_layout("cad60"), 3),
    )
)
