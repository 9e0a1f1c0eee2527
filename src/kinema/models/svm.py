"""Support vector machine with a radial basis kernel on handcrafted skeleton features: RoboComp's first recogniser.

Fitted by scikit-learn, kept and evaluated as plain tensors, so that it travels in a bundle like any network and no pickle is
needed. Its answers agree with scikit-learn's to 1e-6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from kinema.errors import RecipeError
from kinema.layout import get_layout
from kinema.models.registry import ModelInfo, PoseShape, register
from kinema.transforms.handcrafted import FEATURES, features

_KERNEL_ROWS = 1024  # samples whose kernel against all support vectors is held at once


@dataclass(frozen=True)
class SvmConfig:
    """Settings of the classifier.

    Args:
        c: penalty of a training sample on the wrong side of the margin.
        gamma: width of the kernel; 0 takes 1 / (columns x variance of the scaled training features), scikit-learn's "scale".
        scale_on: samples whose range each feature is divided by: those that train, or, as published, all there are.
        floor: as published: displacements below 1e-6 m become 1e-6 m, which loses movement in the negative direction.
        calibration_folds: groups of training recordings by which the probabilities are calibrated.
        support: support vectors; set when fitted.
    """

    c: float = 1.0
    gamma: float = 0.0
    scale_on: Literal["train", "all"] = "train"
    floor: bool = False
    calibration_folds: int = 3
    support: int = 0


class HandcraftedSvm(nn.Module):
    """(B, 1, T, V, 3) skeletons -> 16 T features, scaled by their range -> log probabilities (B, classes), in double precision.

    One binary machine for each pair of classes (one against one), whose votes and margins give a score for each class; a
    sigmoid for each class, fitted on held-out training recordings, makes probabilities of them.
    """

    def __init__(self, config: SvmConfig, shape: PoseShape, num_classes: int):
        super().__init__()
        if shape.persons != 1 or shape.channels != 3 or not shape.layout.has("spine", "left_foot", "left_hand"):
            raise RecipeError("model 'handcrafted-svm' takes the joints of one person in 3-D, in layout cad60 (stream: joint)")
        self.config, self.layout, self.num_classes = config, shape.layout, num_classes
        columns, pairs = shape.frames * len(FEATURES), num_classes * (num_classes - 1) // 2
        for name, size in {
            "middle": (columns,),
            "range": (columns,),
            "support": (config.support, columns),
            "dual": (num_classes - 1, config.support),
            "counts": (num_classes,),
            "intercept": (pairs,),
            "gamma": (),
            "slope": (num_classes,),
            "offset": (num_classes,),
        }.items():
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))

    def columns(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, 16 T) features in double precision; NaN where a joint that they are made of was not observed."""
        points = x[:, 0].double()
        if mask is not None:
            points = points.masked_fill(~mask[:, 0, ..., None], torch.nan)
        return features(points, self.layout, 1e-6 if self.config.floor else None).flatten(1)

    def forward_features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, 16 T) features divided by their range; the training part's mean where one cannot be told."""
        columns = self.columns(x, mask)
        return torch.where(columns.isnan(), self.middle, columns) / self.range

    def forward_head(self, scaled: Tensor) -> Tensor:
        scores = torch.cat([self._scores(rows) for rows in scaled.split(_KERNEL_ROWS)])
        probabilities = torch.sigmoid(-(scores * self.slope + self.offset))
        total = probabilities.sum(1, keepdim=True)
        even = torch.full_like(probabilities, 1 / self.num_classes)
        return torch.where(total > 0, probabilities / total, even).clamp(min=1e-12).log()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, mask))

    def _scores(self, rows: Tensor) -> Tensor:
        """(N, classes) votes of the pairwise machines, ties broken by their margins."""
        kernel = torch.exp(-self.gamma * torch.cdist(rows, self.support, compute_mode="donot_use_mm_for_euclid_dist") ** 2)
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

    def fit_samples(self, columns: Tensor, labels: Tensor, groups: Tensor, unscaled: Tensor) -> HandcraftedSvm:
        """A fitted machine like this one.

        `columns`: (N, 16 T) from `columns()` of the samples that train, with `labels` (N,) and `groups` (N,), the recording
        that each is cut from; `unscaled`: (K, 16 T) of further samples, which count for the ranges alone (`scale_on: all`).
        """
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.model_selection import StratifiedGroupKFold
        from sklearn.svm import SVC

        values, truth = columns.numpy(), labels.numpy()
        middle = np.nanmean(values, axis=0)
        values = np.where(np.isnan(values), middle, values)
        ranged = np.concatenate([values, unscaled.numpy()]) if self.config.scale_on == "all" else values
        span = np.nanmax(ranged, axis=0) - np.nanmin(ranged, axis=0)
        span[span == 0] = 1  # a feature that never changes, such as the first frame's displacement
        values = values / span
        gamma = self.config.gamma or 1 / (values.shape[1] * values.var())
        machine = SVC(C=self.config.c, gamma=gamma, cache_size=1000)
        folds = StratifiedGroupKFold(self.config.calibration_folds).split(values, truth, groups.numpy())
        calibrated = CalibratedClassifierCV(machine, method="sigmoid", cv=list(folds), ensemble=False).fit(values, truth)
        fitted = calibrated.calibrated_classifiers_[0]
        machine, sigmoids = fitted.estimator, fitted.calibrators
        if len(machine.classes_) != self.num_classes:
            raise RecipeError(f"{self.num_classes - len(machine.classes_)} of {self.num_classes} classes have no training sample")
        arrays = {
            "middle": middle,
            "range": span,
            "support": machine.support_vectors_,
            "dual": machine.dual_coef_,
            "counts": machine.n_support_,
            "intercept": machine.intercept_,
            "gamma": gamma,
            "slope": [sigmoid.a_ for sigmoid in sigmoids],
            "offset": [sigmoid.b_ for sigmoid in sigmoids],
        }
        for name, value in arrays.items():
            setattr(self, name, torch.as_tensor(np.asarray(value, dtype=np.float64)))
        return self


register(
    ModelInfo(
        name="handcrafted-svm",
        summary="16 distances, displacements and turns in each of 4 frames, support vector machine",
        paper="RoboComp HumanActivityRecognition, 2019",
        build=HandcraftedSvm,
        defaults=SvmConfig(),
        inputs="handcrafted",
        example=PoseShape(1, 4, get_layout("cad60"), 3),
    )
)
