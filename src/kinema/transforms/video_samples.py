"""Videos prepared for a model, a whole batch at once.

The order, and why: what is random is drawn first, for the whole batch. Then sample by sample, by several threads: the frames, from
where they are kept or decoded now (see `kinema._frames_cache`), one resampling of their bytes, colours and normalisation. Another device
than the CPU is given bytes, a quarter of what numbers would be, and does the last step for the whole batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor

from kinema._frames_cache import Frames, Resize, in_threads
from kinema.clip import Clip
from kinema.errors import DataError, RecipeError, unknown
from kinema.shape import VideoShape
from kinema.transforms import sampling, video
from kinema.transforms.batches import Batch, usable
from kinema.transforms.skeleton_box import places_of
from kinema.transforms.video_config import VideoAugment, VideoInput

_KNOWN = {
    "sampling": ("segments", "dense", "first", "every"),
    "fit": ("crop", "stretch"),
    "crop": ("", "skeleton"),
    "crop_of": ("clip", "person", "moving"),
    "colours": ("rgb", "grey"),
    "scale": tuple(video.SCALES),
}


class VideoSamples:
    """Samples of videos, ready to be drawn in batches. Made by `from_clips`; attributes as in `kinema.transforms.batches.Samples`.

    Every sample is of a whole clip. `kept`: how many of them are read from where their frames are kept decoded. `cuts`: whether pictures
    are cut to the people in them; `uncropped`: ids of clips whose whole pictures are shown, because nobody is seen there.
    """

    unit = "clips"
    saturated = ()

    def __init__(
        self,
        input: VideoInput,
        clips: Sequence[Clip],
        frames: Frames,
        places: Sequence[int],
        skipped: Sequence[DataError] = (),
        uncropped: Sequence[str] = (),
    ):
        """`places`: of the clips among `frames`."""
        self.input, self.skipped, self.uncropped = input, tuple(skipped), tuple(uncropped)
        self.clip_ids = tuple(clip.id for clip in clips)
        self._frames, self._places = frames, list(places)
        self.clip_of = torch.arange(len(clips))
        self.labels = torch.tensor([-1 if clip.label is None else clip.label for clip in clips])
        self.lengths = torch.tensor([frames.lengths[i] for i in places])
        self.starts, self.phases = torch.zeros_like(self.lengths), torch.zeros_like(self.lengths)
        self.mirrored = torch.zeros(len(clips), dtype=torch.bool)
        # Cuts are made of pictures of this size, of which the frames may be smaller copies.
        self._sizes = torch.tensor([frames.whole(i) for i in places])

    @classmethod
    def from_clips(cls, clips: Sequence[Clip], input: VideoInput, on_error: str = "raise", keep: bool = False) -> VideoSamples:
        """Find out about the videos of `clips`. Frames are read from where they are kept, if they are; `keep` decodes the others now and
        keeps them too, as far as there is room: for samples that are drawn again and again.

        Raises `DataError` naming the clip that cannot be used: without video, a file that is not there or cannot be decoded
        (`on_error="skip"` leaves it out, and lists it in `skipped`); `RecipeError` for impossible settings, and for skeletons of which
        nobody says where in the pictures they are.
        """
        _check(input)
        sources, skipped = usable(clips, lambda clip: clip.video, on_error)
        resize = Resize(input.height, input.width, input.short, input.fit == "stretch")
        head = 0
        if input.sampling in ("first", "every"):
            head = (max(input.frames, input.test_frames) - 1) * _step(input) + 1
        cuts = places_of(sources, input.crop_of, input.crop_margin) if input.crop else [None] * len(sources)
        frames = Frames([source for _, source in sources], resize, head, keep, cuts)
        number = {id(clip): i for i, (clip, _) in enumerate(sources)}

        def place(clip: Clip) -> int:
            if error := frames.errors.get(number[id(clip)]):
                raise _named(clip.id, error)
            return number[id(clip)]

        kept, unread = usable([clip for clip, _ in sources], place, on_error)
        uncropped = [clip.id for clip, i in kept if input.crop and cuts[i] is None]
        return cls(input, [clip for clip, _ in kept], frames, [i for _, i in kept], [*skipped, *unread], uncropped)

    def __len__(self) -> int:
        return len(self.clip_of)

    @property
    def shape(self) -> VideoShape:
        return self.input.shape

    @property
    def cuts(self) -> bool:
        return bool(self.input.crop)

    @property
    def kept(self) -> int:
        return self._frames.kept

    def batch(
        self,
        indices: Sequence[int] | Tensor,
        *,
        augment: VideoAugment | None = None,
        generator: torch.Generator | None = None,
        view: int = 0,
        views: int = 1,
        device: torch.device | str | None = None,
    ) -> Batch:
        """The samples `indices` as `video` (B, C, T, H, W) float32, T = `input.frames` with `augment`, else `input.test_frames` if given.

        Without `augment` nothing is random. `view` of `views`, for averaging over several looks at a test sample: with `input.places`
        P, view v shows place v mod P (the middle, both ends of the longer side) at moment m = v div P of M = views / P, rounded up.
        Moments are, for "segments", other places within the equal parts, (.5 + m / M) mod 1; for "dense" other parts of the clip, as
        far from its first one to its last; for "first" and "every" later ones, m / M of the way.
        Raises `DataError` naming the clip whose frames cannot be decoded.
        """
        if not 0 <= view < views:
            raise RecipeError(f"view {view} is not one of {views} views (0..{views - 1})")
        if augment is not None:
            _check_augment(augment)
        indices = torch.as_tensor(indices, dtype=torch.long)
        wanted, places = self.input, self.input.places
        moment, moments = view // places, -(-views // places)
        times = self._times(indices, augment, generator, moment / moments)
        cuts = video.cut_places(wanted, self._sizes[indices], augment, generator, view % places)
        mirror = torch.zeros(len(indices), dtype=torch.bool)
        changes = None
        if augment is not None:
            mirror = sampling.uniform((len(indices),), generator) < augment.mirror
            changes = video.colour_changes(len(indices), augment, generator)
        made = self._made(indices, times, cuts, mirror, changes, device)
        labels = self.labels[indices]
        return Batch({"video": made}, labels if device is None else labels.to(device, non_blocking=True))

    def _made(self, indices: Tensor, times: Tensor, cuts: Tensor, mirror: Tensor, changes: Tensor | None, device) -> Tensor:
        """(B, C, T, H, W): each sample by a thread, the last step by the device if there is one."""
        clips, mirrored = indices.tolist(), mirror.tolist()
        wanted, here = self.input, device is None or torch.device(device).type == "cpu"
        shape = (len(clips), times.shape[1], wanted.height, wanted.width)
        if here:
            x = torch.empty(shape[0], wanted.shape.channels, *shape[1:])
        else:
            pictures = torch.empty(*shape, 3, dtype=torch.uint8, pin_memory=torch.device(device).type == "cuda")

        inference = torch.is_inference_mode_enabled()  # which other threads do not know, and in which x was made

        @torch.inference_mode(inference)
        def make(i: int) -> None:
            decoded = self._frames.read(self._places[clips[i]], times[i].numpy(), threads=None if len(clips) == 1 else 1)
            if here:
                own = video.resample(decoded, cuts[i], mirrored[i], (wanted.height, wanted.width))
                video.normalise(own[None], wanted, None if changes is None else changes[:, i : i + 1], x[i : i + 1])
            else:
                pictures[i] = video.resample(decoded, cuts[i], mirrored[i], (wanted.height, wanted.width))

        with contextlib.closing(in_threads(make, range(len(clips)))) as done:
            for i, error in enumerate(done):
                if error is not None:
                    raise _named(self.clip_ids[clips[i]], error)
        return x if here else video.normalise(pictures.to(device, non_blocking=True), wanted, changes)

    def _times(self, indices: Tensor, augment: VideoAugment | None, generator, moment: float) -> Tensor:
        """(B, T) frames of the clips."""
        wanted, training = self.input, augment is not None
        frames = wanted.frames if training else wanted.test_frames or wanted.frames
        starts, lengths = self.starts[indices], self.lengths[indices]
        crop = None
        if training and augment.crop < 1:
            crop = sampling.random_crop(len(indices), augment.crop, generator)
        if wanted.sampling == "segments":
            shared = training and augment.offset == "shared"
            offset = (0.5 + moment) % 1
            return sampling.segment_frames(starts, lengths, frames, crop, 0.0, generator, training, offset, shared)
        if crop is not None:
            starts = (crop[0] * lengths).long()
            lengths = (crop[1] * lengths).round().long().clamp(min=1).minimum(lengths - starts)
        if wanted.sampling == "dense":
            offset = sampling.uniform((len(indices),), generator) if training else torch.tensor((0.5 + moment) % 1)
        else:
            offset = torch.tensor(moment)
        return sampling.row_frames(starts, lengths, frames, _step(wanted), offset)


def _step(input: VideoInput) -> int:
    return 1 if input.sampling == "first" else input.step


def _named(clip_id: str, error: DataError) -> DataError:
    return error if repr(clip_id) in error.reason else DataError(f"clip {clip_id!r}: {error.reason}", error.path, error.where)


def _check(input: VideoInput) -> None:
    for name, known in _KNOWN.items():
        if getattr(input, name) not in known:
            raise RecipeError(unknown(f"video.{name}", getattr(input, name), known))
    for name, least, most in (
        ("frames", 1, 1024),
        ("test_frames", 0, 1024),
        ("step", 1, 1024),
        ("height", 8, 2048),
        ("width", 8, 2048),
        ("short", 0, 4096),
    ):
        if not least <= getattr(input, name) <= most:
            raise RecipeError(f"video.{name} is {getattr(input, name)}; {least} to {most} is expected")
    if input.places not in (1, 3):
        raise RecipeError(f"video.places is {input.places}; 1 or 3 is expected")
    if input.fit == "stretch" and input.places > 1 and not input.short:
        raise RecipeError(f"video.places is {input.places}, but video.fit 'stretch' cuts nothing off; 'crop' does, or video.short")
    if not 0 <= input.crop_margin <= 1:
        raise RecipeError(f"video.crop_margin is {input.crop_margin}; 0 to 1 is expected")
    if not input.crop and (input.crop_of, input.crop_margin) != ("clip", VideoInput.crop_margin):
        raise RecipeError("video.crop_of and video.crop_margin say how video.crop cuts, and nothing is cut; video.crop: skeleton does")
    if input.step > 1 and input.sampling not in ("dense", "every"):
        raise RecipeError(f"video.step is {input.step}, but video.sampling {input.sampling!r} has no step; dense and every have")


def _check_augment(augment: VideoAugment) -> None:
    for name, known in (("offset", ("each", "shared")), ("place", ("centre", "random", "corners", "area"))):
        if getattr(augment, name) not in known:
            raise RecipeError(unknown(f"video_augment.{name}", getattr(augment, name), known))
    if len(augment.area) != 2 or not 0 < augment.area[0] <= augment.area[1] <= 1:
        raise RecipeError(
            f"video_augment.area is {list(augment.area)}; two shares are expected, the smallest and the largest, above 0 and up to 1"
        )
    for name, most in (("mirror", 1), ("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0.5)):
        if not 0 <= getattr(augment, name) <= most:
            raise RecipeError(f"video_augment.{name} is {getattr(augment, name)}; 0 to {most} is expected")
    if not 0 < augment.crop <= 1:
        raise RecipeError(f"video_augment.crop is {augment.crop}; above 0 and up to 1 is expected")
