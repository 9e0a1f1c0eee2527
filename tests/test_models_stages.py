"""Models with stages: what further classifiers are shown of them."""

from dataclasses import fields

import pytest
import torch

from kinema.models._stages import Tap
from kinema.models.registry import create_model, model_infos

# Settings that keep a forward pass short; of the others the defaults.
SMALL = {"frames": 0, "size": 32, "hidden": (16, 16)}
STAGED = {name: info for name, info in model_infos().items() if hasattr(info.build, "stages") or name in ("poseconv3d", "poseconv3d-x3d")}


def small(name):
    info = STAGED[name]
    known = {field.name: type(getattr(info.defaults, field.name)) for field in fields(info.defaults)}
    config = {key: value for key, value in SMALL.items() if isinstance(value, known.get(key, ()))}
    config |= {"depth": 18} if name.startswith(("resnet3d", "inflated")) else {}
    torch.manual_seed(0)
    return create_model(name, 4, info.example, **config), info.example.example(2)


def maps_of(model, inputs):
    found = {name: [] for name in model.stages()}
    hooks = [model.get_submodule(name).register_forward_hook(lambda _, given, out, own=own: own.append(out)) for name, own in found.items()]
    logits = model(**inputs)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(own) for name, own in found.items()}, logits


@pytest.mark.parametrize("name", sorted(STAGED))
def test_every_stage_shows_a_map_of_each_clip_and_the_logits_stay_the_same(name):
    model, inputs = small(name)
    with torch.no_grad():
        alone = model.eval()(**inputs)
        maps, logits = maps_of(model, inputs)
    assert torch.allclose(logits, alone, atol=1e-6)
    assert len(maps) >= 2
    for shown in maps.values():
        assert shown.ndim >= 2 and len(shown) % 2 == 0 and shown.isfinite().all()
    assert not any(isinstance(module, Tap) and module.watched for module in model.modules())
    assert not any("taps" in key or "joined" in key for key in model.state_dict())


@pytest.mark.parametrize("name", ["hcn", "temporal-cnn", "efficientgcn-b0", "poseconv3d"])
def test_gradients_reach_the_network_through_each_stage(name):
    model, inputs = small(name)
    maps, _ = maps_of(model.train(), inputs)
    for shown in maps.values():
        model.zero_grad()
        shown.square().mean().backward(retain_graph=True)
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("name", ["hcn", "temporal-cnn"])
def test_persons_and_clips_without_anybody_keep_their_rows(name):
    model, inputs = small(name)
    x = inputs["x"].repeat(1, 2, 1, 1, 1)[:, :2]
    mask = torch.ones(x.shape[:-1], dtype=torch.bool)
    mask[0, 1] = False
    with torch.no_grad():
        maps, _ = maps_of(model.eval(), {"x": x, "mask": mask})
        alone, _ = maps_of(model, {"x": x[:1, :1], "mask": mask[:1, :1]})
        mask[1] = False
        empty, _ = maps_of(model, {"x": x, "mask": mask})
    for shown, one, without in zip(maps.values(), alone.values(), empty.values(), strict=True):
        assert shown.shape[0] == without.shape[0] == 2
        torch.testing.assert_close(shown[:1], one, rtol=1e-4, atol=1e-5)
        assert (without[1] == 0).all()
