"""How fast videos become what a network is given: opened, decoded and kept, and made into batches; for `video_speed.py`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BATCH = 32
# Input and random changes of each, as in recipes.
LOADS = {
    "29 x 90 x 120": (
        {"frames": 29, "test_frames": 19, "sampling": "first", "height": 90, "width": 120, "fit": "stretch"},
        {"mirror": 0.5},
    ),
    "16 x 112 x 112": ({"frames": 16, "height": 112, "width": 112, "short": 128}, {"place": "random", "mirror": 0.5}),
    "16 x 112 x 112, colours": (
        {"frames": 16, "height": 112, "width": 112, "short": 128},
        {"place": "area", "mirror": 0.5, "brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.05},
    ),
    "8 x 224 x 224": ({"frames": 8, "height": 224, "width": 224, "short": 256}, {"place": "random", "mirror": 0.5}),
}


def load(files: Sequence[str | Path], name: str, epochs: int = 1) -> dict[str, Any]:
    """Seconds of opening `files` for the load of that name, how many of them are kept decoded, and clips per second of `epochs` passes in
    batches. What is kept is settled by the environment: KINEMA_CACHE (an empty folder: a first opening) and KINEMA_FRAMES_GB (0: nothing).
    """
    import torch

    from kinema.clip import Clip, VideoSource
    from kinema.transforms.video_config import VideoAugment, VideoInput
    from kinema.transforms.video_samples import VideoSamples

    input, changes = LOADS[name]
    clips = [Clip(Path(file).stem, {"video": VideoSource(Path(file))}) for file in files]
    start = time.perf_counter()
    samples = VideoSamples.from_clips(clips, VideoInput(**input), keep=True)
    opened = time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for part in torch.randperm(len(samples), generator=generator).split(BATCH):
            samples.batch(part, augment=VideoAugment(**changes), generator=generator)
    seconds = time.perf_counter() - opened
    return {"clips": len(samples), "kept": samples.kept, "open_s": opened - start, "clips_per_s": epochs * len(samples) / seconds}
