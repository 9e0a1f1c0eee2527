"""A frozen encoder answers once: what it makes of each look at each sample is kept, and what follows it trains on that.

Looks at training samples are drawn as `augment` says, `fit.encode` of each, the same for every seed and fold; test-time views are what
they are. Answers are kept in memory, and on disk in the cache folder by a digest of what the encoder was given and of its weights, so that
other folds, seeds and decoders find them there.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from kinema._cache_folder import cache_folder
from kinema._seal import digest_of
from kinema._write import write_whole
from kinema.errors import KinemaError, RecipeError
from kinema.training.data import Prepared
from kinema.training.loop import derived_seed
from kinema.training.recipe import Recipe
from kinema.transforms.batches import Batch, Samples

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_AT_ONCE = 8  # samples that the encoder is given together
_PER_FILE = 512  # samples a file: what an interrupted run may lose
_MOST = 8 << 30  # bytes of answers that are kept on disk


class Encoder:
    """The frozen encoder of `model` on the fabric's device: answers, and keeps them.

    Raises `RecipeError` for a model without an encoder, or with one that trains.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, fabric: Fabric, say: Callable[[str], None] = lambda line: None):
        if not hasattr(model, "encode"):
            raise RecipeError(f"fit.encode: model {recipe.model.name!r} has no encoder that could answer once; crnn and cnn-rnn have")
        free = [name for name, p in model.named_parameters() if name.startswith(model.encoder_prefix) and p.requires_grad]
        if free:
            raise RecipeError(f"fit.encode: {free[0]!r} trains; init.freeze: [{model.encoder_prefix}] is expected, all of the encoder")
        self.looks, self.say, self._fabric = recipe.fit.encode, say, fabric
        self._model = model.to(fabric.device)
        folder = cache_folder()
        self._kept = _Kept(folder / "encoded" / _digest_of_encoder(model, recipe.engine.precision) if folder is not None else None)

    def of(self, samples: Samples) -> EncodedSamples:
        return EncodedSamples(samples, self)

    def answers(self, count: int, given: Callable[[list[int]], list[Tensor]]) -> Tensor:
        """(count, T, F) of samples 0 to `count` - 1; `given` makes the videos of some of them."""
        found: list[Tensor] = []
        for start in range(0, count, _AT_ONCE):
            videos = given(list(range(start, min(start + _AT_ONCE, count))))
            digests = [hashlib.blake2b(video.cpu().contiguous().numpy().tobytes(), digest_size=16).digest() for video in videos]
            answers = {digest: answer for digest in digests if (answer := self._kept.find(digest)) is not None}
            missing = {digest: video for digest, video in zip(digests, videos, strict=True) if digest not in answers}
            if missing:
                for digest, answer in zip(missing, self._answer(torch.stack(list(missing.values()))), strict=True):
                    answers[digest] = answer
                    self._kept.add(digest, answer)
            found += [answers[digest] for digest in digests]
        self._kept.write()
        return torch.stack(found)

    @torch.no_grad()
    def _answer(self, videos: Tensor) -> Tensor:
        model, training = self._model, self._model.training
        model.eval()
        with self._fabric.autocast():
            answer = model.encode(videos.to(self._fabric.device)).float().cpu()
        model.train(training)
        return answer


class EncodedSamples:
    """Samples as `features` (B, T, F) in place of `video`, everything else as of the samples themselves."""

    def __init__(self, samples: Samples, encoder: Encoder):
        self._samples, self._encoder = samples, encoder
        self._looks: Tensor | None = None
        self._views: dict[tuple[int, int], Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._samples, name)

    def __len__(self) -> int:
        return len(self._samples)

    def batch(
        self,
        indices: Sequence[int] | Tensor,
        *,
        augment: Any = None,
        generator: torch.Generator | None = None,
        view: int = 0,
        views: int = 1,
        device: torch.device | str | None = None,
    ) -> Batch:
        """With `augment` one of the looks at each sample, drawn with `generator`; otherwise the view."""
        indices = torch.as_tensor(indices, dtype=torch.long)
        if augment is None:
            features = self._view(view, views)[indices]
        else:
            looks = self._drawn(augment)
            features = looks[torch.randint(len(looks), (len(indices),), generator=generator), indices]
        return Batch({"features": features.to(device)}, self._samples.labels[indices].to(device))

    def _view(self, view: int, views: int) -> Tensor:
        if (view, views) not in self._views:
            self._encoder.say(f"the frozen encoder answers: {len(self)} samples" + (f", view {view + 1} of {views}" if views > 1 else ""))
            self._views[view, views] = self._encoder.answers(
                len(self), lambda some: list(self._samples.batch(some, view=view, views=views).inputs["video"])
            )
        return self._views[view, views]

    def _drawn(self, augment: Any) -> Tensor:
        """(looks, N, T, F)."""
        if self._looks is None:
            count = self._encoder.looks
            self._encoder.say(f"the frozen encoder answers: {len(self)} training samples, {count} looks at each")

            def given(look: int) -> Callable[[list[int]], list[Tensor]]:
                return lambda some: [self._one(i, augment, look) for i in some]

            self._looks = torch.stack([self._encoder.answers(len(self), given(look)) for look in range(count)])
        return self._looks

    def _one(self, i: int, augment: Any, look: int) -> Tensor:
        """A look at one sample, drawn by the clip, its place in it and the look alone: whatever else is in the part."""
        clip = self.clip_ids[int(self.clip_of[i])]
        seed = int.from_bytes(hashlib.blake2b(f"{clip}:{int(self.starts[i])}".encode(), digest_size=8).digest())
        generator = torch.Generator().manual_seed(derived_seed(look, seed))
        return self._samples.batch([i], augment=augment, generator=generator).inputs["video"][0]


def encoded(prepared: Prepared, encoder: Encoder) -> Prepared:
    """What a recipe trains on and is measured by, as the encoder answers it."""
    parts = {name: getattr(prepared, name) for name in ("train", "val", "test")}
    return replace(prepared, **{name: encoder.of(part) for name, part in parts.items() if part is not None})


def _digest_of_encoder(model: nn.Module, precision: str) -> str:
    about = repr((model.encoder_settings, precision, digest_of(model.encoder.state_dict())))
    return hashlib.sha256(about.encode()).hexdigest()[:32]


class _Kept:
    """Answers on disk, by digest: files of some hundred of them each. Without a folder nothing is kept."""

    def __init__(self, folder: Path | None):
        self.folder = folder
        self._places: dict[bytes, tuple[Path, int]] = {}
        self._open: dict[Path, Any] = {}
        self._new: dict[bytes, Tensor] = {}
        for path in sorted(folder.glob("*.safetensors")) if folder is not None else ():
            with self._readable(path):
                digests = self._file(path).get_tensor("digests")
                self._places |= {bytes(row.tolist()): (path, i) for i, row in enumerate(digests)}

    def find(self, digest: bytes) -> Tensor | None:
        if digest in self._new:
            return self._new[digest]
        if digest in self._places:
            path, row = self._places[digest]
            with self._readable(path):
                return self._file(path).get_slice("features")[row : row + 1][0]
        return None

    def add(self, digest: bytes, answer: Tensor) -> None:
        if self.folder is None:
            return
        if self._new and next(iter(self._new.values())).shape != answer.shape:
            self.write()
        self._new[digest] = answer
        if len(self._new) >= _PER_FILE:
            self.write()

    def write(self) -> None:
        if self._new and self.folder is not None and self._size() < _MOST:
            digests = torch.tensor([list(digest) for digest in self._new], dtype=torch.uint8)
            path = self.folder / f"{hashlib.sha256(digests.numpy().tobytes()).hexdigest()[:32]}.safetensors"
            with contextlib.suppress(KinemaError):  # a full or read-only cache folder
                write_whole(path, to_bytes({"digests": digests, "features": torch.stack(list(self._new.values()))}))
                self._places |= {digest: (path, i) for i, digest in enumerate(self._new)}
        self._new = {}

    def _file(self, path: Path) -> Any:
        if path not in self._open:
            self._open[path] = safe_open(path, "pt")
        return self._open[path]

    @contextlib.contextmanager
    def _readable(self, path: Path) -> Iterator[None]:
        """A file that was damaged or deleted counts as not there."""
        try:
            yield
        except (OSError, SafetensorError):
            self._places = {digest: place for digest, place in self._places.items() if place[0] != path}

    def _size(self) -> int:
        assert self.folder is not None
        return sum(path.stat().st_size for path in self.folder.parent.rglob("*.safetensors"))
