"""What every model of videos does, whatever its architecture: checks that the tests of each of them call."""

from __future__ import annotations

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from kinema.models._count import count
from kinema.models.registry import VideoShape, create_model, model_info

CLASSES = 5


def make(name: str, shape: VideoShape, classes: int = CLASSES, **config):
    torch.manual_seed(0)
    return create_model(name, classes, shape, **config)


def videos(shape: VideoShape, batch: int = 3) -> torch.Tensor:
    return shape.example(batch)["video"]


def answer(model, **inputs) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**inputs)


def check(name: str, shape: VideoShape, **config) -> None:
    """Logits for any number of frames, gradients, features and head, saving, rows alone, a new classifier, and figures."""
    video = videos(shape)
    before = video.clone()
    model = make(name, shape, **config)

    for frames in (shape.frames, 19, 29):
        other = videos(VideoShape(shape.channels, frames, shape.height, shape.width))
        assert answer(model, video=other).shape == (3, CLASSES), frames
    whole = answer(model, video=video)
    assert whole.isfinite().all() and torch.equal(video, before), "the input was changed"
    torch.testing.assert_close(answer(model, video=video[1:2]), whole[1:2], rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        features = model.forward_features(video)
        assert features.shape == (3, model.num_features)
        torch.testing.assert_close(model.forward_head(features), whole)

    model.forward_head(features).sum().backward()
    heads = tuple(model.head_prefixes())
    assert {key for key, p in model.named_parameters() if p.grad is not None} == {
        k for k, _ in model.named_parameters() if k.startswith(heads)
    }
    torch.nn.functional.cross_entropy(model.train()(video), torch.tensor([0, 1, 2])).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key

    state = load_tensors(save_tensors({key: value.contiguous() for key, value in model.state_dict().items()}))
    torch.manual_seed(1)
    other = create_model(name, CLASSES, shape, **config)
    other.load_state_dict(state, strict=True)
    assert torch.equal(answer(model, video=video), answer(other, video=video))

    kept = {key: value.clone() for key, value in model.state_dict().items()}
    model.reset_classifier(9)
    assert answer(model, video=video).shape == (3, 9)
    for key, value in model.state_dict().items():
        assert key.startswith(heads) != (value.shape == kept[key].shape and torch.equal(value, kept[key])), key


def check_example(name: str) -> tuple[int, int]:
    """The figures of the shape that the model is registered with."""
    info = model_info(name)
    assert info.inputs == "video" and isinstance(info.example, VideoShape)
    return count(create_model(name, 101, info.example), info.example)
