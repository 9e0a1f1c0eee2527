"""Several bundles that answer as one: the rule that makes one answer of theirs, and the file that holds them all.

A fused file is of the same form as a bundle's (see `kinema.bundle`), under the same digest: tensors are named by the number of
their member, and the metadata hold, under `fused`, the rule, its numbers, and what each member's own file would say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from kinema import bundle as bundles
from kinema._seal import seal, unseal
from kinema._write import write_whole
from kinema.bundle import Bundle, plain
from kinema.errors import BundleError, DataError, unknown

if TYPE_CHECKING:
    from torch import Tensor

Rule = Literal["average", "product", "maximum", "weighted", "stacked"]
RULES: tuple[Rule, ...] = get_args(Rule)
# Weights and stacking are learned from clips that no member trained on.
LEARNED: tuple[Rule, ...] = ("weighted", "stacked")
# Below this a float32 softmax says no more than "not at all"; a single member must not veto a class by an underflow.
_FLOOR = 1e-7


@dataclass(frozen=True)
class Fusion:
    """How the probabilities of n members become one answer.

    Args:
        rule: "average": mean of the probabilities. "product": their geometric mean. "maximum": the largest of each class.
            "weighted": mean with `weights`. "stacked": multinomial logistic regression on the members' log-probabilities with
            one coefficient a member (`weights`) and one constant a class (`bias`).
        weights: (n,), of the learned rules only; those of "weighted" sum to 1.
        bias: (K,), of "stacked" only.

    All but the constants of "stacked" are renormalised to sum to 1. Raises `DataError` for numbers that are no weights.
    """

    rule: Rule = "average"
    weights: tuple[float, ...] = ()
    bias: tuple[float, ...] = ()

    def __post_init__(self):
        if self.rule not in RULES:
            raise DataError(unknown("rule", str(self.rule), RULES))
        numbers = np.array([*self.weights, *self.bias], float)
        if bool(self.weights) != (self.rule in LEARNED) or bool(self.bias) != (self.rule == "stacked") or not np.isfinite(numbers).all():
            raise DataError(f"rule {self.rule!r} with weights {self.weights} and {len(self.bias)} constants is not possible")
        weights = np.array(self.weights)
        if self.weights and (weights.min() < 0 or not weights.sum() > 0 or (self.rule == "weighted" and abs(weights.sum() - 1) > 1e-6)):
            raise DataError(f"the weights are {self.weights}; numbers from 0 on, of which those of 'weighted' sum to 1, are expected")

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """(N, K) from (n, N, K). A member without an answer has a row of NaN there: the others answer, and share its weight
        (with "stacked", whose evidence adds up, it is missing).

        Raises `DataError` where no member answers, or the members are not as many as the weights.
        """
        p = np.asarray(probabilities, np.float64)
        if p.ndim != 3 or len(self.weights) not in (0, len(p)) or len(self.bias) not in (0, p.shape[2]):
            raise DataError(f"probabilities have shape {p.shape}; members x samples x classes, as the rule has them, is expected")
        there = ~np.isnan(p).any(2)
        if not there.any(0).all():
            raise DataError(f"sample {int(np.argmin(there.any(0)))}: no member has an answer")
        p = np.where(there[..., None], p, 0)
        if self.rule == "maximum":
            return _normalised(p.max(0))
        weights = np.array(self.weights) if self.weights else np.full(len(p), 1 / len(p))
        share = weights[:, None] * there
        # Where those that answer weigh nothing, they count alike.
        share = np.where(share.sum(0) > 0, share, there)
        share = share / share.sum(0)
        if self.rule in ("average", "weighted"):
            return _normalised(np.einsum("mn,mnk->nk", share, p))
        logits = np.einsum("mn,mnk->nk", share, log_probabilities(p))
        if self.rule == "stacked":
            # Its members' evidence adds up: with one missing the answer is less sure, not surer of the rest.
            evidence = (weights[:, None] * there).sum(0)
            logits = logits * np.where(evidence > 0, evidence, 1)[:, None] + np.array(self.bias)
        return _normalised(np.exp(logits - logits.max(1, keepdims=True)))


def log_probabilities(p: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(p, _FLOOR))


def _normalised(p: np.ndarray) -> np.ndarray:
    return p / p.sum(1, keepdims=True)


@dataclass(frozen=True, eq=False)
class FusedBundle:
    """Trained models that answer together, with all that is needed to use them.

    Args:
        name: short name of it.
        members: bundles of the same classes, in any order of them, of any modalities.
        fusion: the rule that makes one answer of theirs; its constants are in the order of the first member's classes.
        result: what was measured with it, and on what.
        notes: one or two lines for whoever uses it.

    Raises `BundleError` for members that do not fit together.
    """

    name: str
    members: tuple[Bundle, ...]
    fusion: Fusion = Fusion()
    result: dict[str, Any] = field(default_factory=dict, repr=False)
    notes: str = ""

    def __post_init__(self):
        if not (isinstance(self.name, str) and self.name and isinstance(self.notes, str) and isinstance(self.result, dict)):
            raise BundleError("a fused bundle has a name, and its notes are text, its result a mapping")
        if len(self.members) < 2:
            raise BundleError(f"{len(self.members)} bundles cannot be fused; two at least are expected")
        first = self.members[0]
        for member in self.members:
            if set(map(plain, member.classes)) != set(map(plain, first.classes)):
                raise BundleError(f"{member.name!r} and {first.name!r} know other classes; bundles of the same can be fused")
        weights, constants = len(self.fusion.weights), len(self.fusion.bias)
        if weights not in (0, len(self.members)) or constants not in (0, len(first.classes)):
            raise BundleError(f"{weights} weights and {constants} constants do not fit {len(self.members)} bundles")

    @property
    def classes(self) -> tuple[str, ...]:
        """K class names, in the first member's order."""
        return self.members[0].classes

    def class_of(self, label: str, dataset: str = "") -> int | None:
        """As `Bundle.class_of`, by the first member's vocabulary."""
        return self.members[0].class_of(label, dataset)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What its members take, all together."""
        taken = {name for member in self.members for name in member.modalities}
        return tuple(name for name in ("pose", "depth", "inertial", "video") if name in taken)

    def columns(self, member: Bundle) -> list[int]:
        """Where a member has each of `classes`."""
        own = [plain(name) for name in member.classes]
        return [own.index(plain(name)) for name in self.classes]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of its file, in hexadecimal."""
        return _serialise(self)[1]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the weights, as JSON-able values, with the file's hash."""
        return {**_about(self), "members": [member.to_dict() for member in self.members], "classes": list(self.classes), "hash": self.hash}

    def describe(self) -> str:
        """A few lines for people: what it recognises, its members, how it was measured."""
        weights = self.fusion.weights or [None] * len(self.members)
        lines = [
            f"{self.name} ({self.hash[:16]}): {len(self.members)} bundles fused by rule {self.fusion.rule!r}, {len(self.classes)} classes"
        ]
        for member, weight in zip(self.members, weights, strict=True):
            share = "" if weight is None else f", weight {weight:.3f}"
            lines.append(f"  member   {member.name} ({member.hash[:16]}): {member.model}{share}; takes {member.takes}")
        return "\n".join([*lines, f"  classes  {', '.join(self.classes)}", *bundles.ending(self.result, self.notes)])


def save(fused: FusedBundle, path: str | Path) -> Path:
    """Write it to one file, whole or not at all; errors as for `kinema.bundle.save`."""
    return write_whole(path, _serialise(fused)[0])


def load(source: str | Path | Bundle | FusedBundle) -> Bundle | FusedBundle:
    """A bundle of either kind, by name or path; errors as for `kinema.bundle.load`."""
    if isinstance(source, Bundle | FusedBundle):
        return source
    path, data = bundles.read_file(source)
    try:
        about, state, digest = unseal(data)
        loaded = _fused_of(about["fused"], state) if "fused" in about else bundles.bundle_of(about, state)
    except (BundleError, DataError) as error:
        raise BundleError(f"{path}: {error}") from error
    loaded.__dict__["hash"] = digest
    return loaded


def _about(fused: FusedBundle) -> dict[str, Any]:
    rule = {"rule": fused.fusion.rule, "weights": list(fused.fusion.weights), "bias": list(fused.fusion.bias)}
    return {"name": fused.name, **rule, "result": fused.result, "notes": fused.notes}


def _serialise(fused: FusedBundle) -> tuple[bytes, str]:
    state = {f"{i}.{key}": value for i, member in enumerate(fused.members) for key, value in member.state.items()}
    # The hash of the file that a member was: older files differ from what would be written of them today.
    members = [{"hash": member.hash, **bundles.about_of(member)} for member in fused.members]
    return seal(fused.name, state, {"fused": {**_about(fused), "members": members}})


def _fused_of(about: Any, state: Mapping[str, Tensor]) -> FusedBundle:
    """From JSON, every value checked; `BundleError` otherwise."""
    if not isinstance(about, dict) or about.keys() != {"name", "rule", "weights", "bias", "result", "notes", "members"}:
        raise BundleError("the fused bundle's metadata are not of their form")
    if not isinstance(about["members"], list) or not isinstance(about["rule"], str):
        raise BundleError("the fused bundle's members are no list, or its rule is not text")
    numbers = {}
    for name in ("weights", "bias"):
        if not isinstance(about[name], list) or not all(isinstance(value, float) for value in about[name]):
            raise BundleError(f"the fused bundle's {name} are no list of numbers")
        numbers[name] = tuple(about[name])
    parts: list[dict[str, Tensor]] = [{} for _ in about["members"]]
    for key, value in state.items():
        number, _, rest = key.partition(".")
        if not (number.isascii() and number.isdigit() and len(number) < 5 and int(number) < len(parts)):
            raise BundleError(f"the fused bundle has weights {key} of no member")
        parts[int(number)][rest] = value
    members = []
    for member, part in zip(about["members"], parts, strict=True):
        digest = member.pop("hash", None) if isinstance(member, dict) else None
        if not isinstance(digest, str) or len(digest) != 64:
            raise BundleError("the fused bundle has a member without its hash")
        members.append(bundles.bundle_of(member, part))
        members[-1].__dict__["hash"] = digest
    return FusedBundle(about["name"], tuple(members), Fusion(about["rule"], **numbers), about["result"], about["notes"])
