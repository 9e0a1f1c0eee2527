"""What the depth-video network promises beyond what every model does."""

import pytest
import torch

from kinema.errors import RecipeError
from kinema.models._count import count
from kinema.models._shift import shift_in_time
from kinema.models.registry import DepthShape, create_model, model_info

SHAPE = DepthShape(channels=2, height=48, width=48, frames=16)
CLASSES = 5


def make(shape=SHAPE, **config):
    torch.manual_seed(0)
    return create_model("depth-video", CLASSES, shape, **config)


def videos(shape=SHAPE, batch=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, shape.channels, shape.frames, shape.height, shape.width, generator=generator)


def answer(model, depth):
    with torch.no_grad():
        return model.eval()(depth)


@pytest.mark.parametrize(
    "shape",
    [SHAPE, DepthShape(1, 32, 32, 8), DepthShape(6, 40, 56, 12), DepthShape(2, 45, 33, 7), DepthShape(1, 48, 48, 2)],
    ids=["as measured", "smaller", "three views, wider than high", "odd sizes", "two frames"],
)
def test_logits_for_videos_of_every_size(shape):
    depth = videos(shape)
    before = depth.clone()
    model = make(shape)
    logits = answer(model, depth)
    assert logits.shape == (3, CLASSES) and logits.isfinite().all()
    assert torch.equal(depth, before)
    with torch.no_grad():
        features = model.forward_features(depth)
        assert features.shape == (3, model.num_features)
        torch.testing.assert_close(model.forward_head(features), logits)


def test_every_parameter_gets_a_gradient():
    model = make().train()
    torch.nn.functional.cross_entropy(model(videos()), torch.tensor([0, 1, 2])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_small_enough_for_a_cpu():
    info = model_info("depth-video")
    parameters, multiply_adds = count(create_model(info.name, 27, info.example), info.example)
    assert parameters < 1e6 and multiply_adds < 0.15e9


def test_a_clip_is_the_same_alone_and_in_a_batch():
    model, depth = make(), videos(batch=9)
    torch.testing.assert_close(answer(model, depth[4:5]), answer(model, depth)[4:5], rtol=1e-4, atol=1e-5)


def test_more_frames_than_it_was_built_for():
    assert answer(make(), videos(DepthShape(2, 48, 48, 40))).shape == (3, CLASSES)


def test_a_still_clip_is_the_same_in_either_direction_and_a_moving_one_is_not():
    model, depth = make(), videos()
    still = depth[:, :, :1].expand_as(depth)
    torch.testing.assert_close(answer(model, still.flip(2)), answer(model, still))
    assert (answer(model, depth.flip(2)) - answer(model, depth)).abs().max() > 1e-3


def test_place_within_the_picture_counts():
    model, depth = make(), torch.zeros(1, 2, 16, 48, 48)
    depth[..., 8:16, 8:16] = 1
    moved = depth.roll((16, 16), (-2, -1))  # by a whole number of cells of the last map, so that what is seen is the same
    assert (answer(model, moved) - answer(model, depth)).abs().max() > 1e-3


def test_frames_know_of_neighbours_only_through_the_shift():
    """The last map of a frame changes with the frames next to it, as far as there are blocks, and no farther."""
    depth = videos(batch=1)
    changed = depth.clone()
    changed[:, :, 8] = 0

    def touched(model):
        seen = []
        handle = model.embed.register_forward_hook(lambda module, given, made: seen.append(made))
        answer(model, depth), answer(model, changed)
        handle.remove()
        return (seen[0] - seen[1]).abs().amax(1).gt(1e-6).nonzero().flatten().tolist()

    assert touched(make(shift=0.0)) == [8]
    reach = len(make().blocks)
    assert touched(make()) == list(range(8 - reach, 9 + reach))


def test_shift_takes_channels_from_the_frame_before_and_after():
    x = torch.arange(2 * 3 * 4 * 2 * 2, dtype=torch.float32).reshape(6, 4, 2, 2)  # 2 clips of 3 frames, 4 channels
    shifted = shift_in_time(x, 3, 1)
    for clip in range(2):
        for frame in range(3):
            here = 3 * clip + frame
            before = x[here - 1, 0] if frame > 0 else torch.zeros(2, 2)
            after = x[here + 1, 1] if frame < 2 else torch.zeros(2, 2)
            assert torch.equal(shifted[here], torch.stack([before, after, x[here, 2], x[here, 3]]))
    assert shift_in_time(x, 3, 0) is x


def test_a_new_classifier_leaves_the_rest_as_it_is():
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.reset_classifier(9)
    assert answer(model, videos()).shape == (3, 9)
    changed = {name for name, value in model.state_dict().items() if value.shape != before[name].shape}
    assert changed == {"classifier.weight", "classifier.bias"}
    assert all(name.startswith(model.head_prefixes()) for name in changed)


@pytest.mark.parametrize(
    ("shape", "config", "told"),
    [
        (DepthShape(1, 48, 48), {}, "0 frames; a video of at least 2"),
        (SHAPE, {"kernel": 2}, "kernel 2 must be odd"),
        (SHAPE, {"shift": 0.6}, "shift 0.6 must be from 0 to 0.5"),
        (SHAPE, {"widths": ()}, "at least one each"),
        (SHAPE, {"temporal": ()}, "at least one each"),
        (DepthShape(1, 48, 48, 3), {"temporal": (8, 8, 8)}, "3 frames; a video of at least 4"),
    ],
)
def test_impossible_settings_are_told(shape, config, told):
    with pytest.raises(RecipeError, match=told):
        make(shape, **config)
