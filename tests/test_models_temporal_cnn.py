"""The temporal CNN: what its features depend on, and what masks and persons do to it."""

import copy

import pytest
import torch

from kinema.errors import RecipeError
from kinema.layout import get_layout
from kinema.models.registry import PoseShape, create_model
from kinema.models.temporal_cnn import FEATURES, Geometry, TemporalCNNConfig

NTU = get_layout("ntu25")
ONE = PoseShape(1, 16, NTU, 3)
TWO = PoseShape(2, 16, NTU, 3)


def small(shape=ONE, **settings):
    torch.manual_seed(0)
    return create_model("temporal-cnn", 5, shape, **{"widths": (16, 24), "embedding": 8, **settings})


def features(x, mask=None, layout=NTU, **settings):
    """Feature groups by name of (N, T, V, C) points, and whether each was observed."""
    config = TemporalCNNConfig(**settings)
    geometry = Geometry(config, layout, x.shape[-1])
    values, known = geometry(x, mask)
    names = [
        name if name != "motion" else f"motion {step}" for name in config.features for step in (config.steps if name == "motion" else (0,))
    ]
    groups = dict(zip(names, values.split(geometry.sizes, -1), strict=True))
    return groups, None if known is None else dict(zip(names, known.split(geometry.sizes, -1), strict=True))


def turned(x):
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(4), dtype=x.dtype))
    return x @ rotation.T


def test_features_are_the_geometry_that_they_are_named_for():
    x = torch.randn(3, 16, 25, 3)
    groups, known = features(x, steps=(1, 4))
    assert known is None and list(groups) == ["distance", "position", "bone", "motion 1", "motion 4"]
    pairs = torch.triu_indices(25, 25, 1)
    torch.testing.assert_close(groups["distance"], torch.cdist(x, x)[..., pairs[0], pairs[1]], rtol=1e-4, atol=1e-4)
    # Within a group coordinate by coordinate: all x, all y, all z.
    torch.testing.assert_close(groups["position"].unflatten(-1, (3, 25)).transpose(-1, -2), x - x[:, :, NTU.root, None])
    bones = torch.stack([x[:, :, child] - x[:, :, parent] for child, parent in NTU.bones], 2)
    torch.testing.assert_close(groups["bone"].unflatten(-1, (3, 24)).transpose(-1, -2), bones)
    moved = groups["motion 4"].unflatten(-1, (3, 25)).transpose(-1, -2)
    torch.testing.assert_close(moved[:, 2:-2], x[:, 4:] - x[:, :-4])
    assert not moved[:, :2].any() and not moved[:, -2:].any()
    moved = groups["motion 1"].unflatten(-1, (3, 25)).transpose(-1, -2)
    torch.testing.assert_close(moved[:, :-1], x[:, 1:] - x[:, :-1])
    assert not moved[:, -1].any()


@pytest.mark.parametrize("dims", [2, 3])
def test_features_do_not_depend_on_the_place(dims):
    x = torch.randn(2, 16, 25, dims, dtype=torch.float64)
    before, after = (features(points)[0] for points in (x, x + torch.tensor([3.0, -2.0, 5.0][:dims])))
    for name, values in before.items():
        torch.testing.assert_close(after[name], values, msg=name)


def test_distances_do_not_depend_on_the_direction_and_all_else_does():
    x = torch.randn(2, 16, 25, 3, dtype=torch.float64)
    before, after = features(x)[0], features(turned(x))[0]
    for name, values in before.items():
        assert torch.allclose(after[name], values) == (name == "distance"), name


def test_a_model_of_distances_alone_knows_no_direction():
    model, x = small(features=("distance",)).eval(), torch.randn(3, 1, 16, 25, 3)
    with torch.no_grad():
        torch.testing.assert_close(model(turned(x) + 7), model(x), rtol=1e-4, atol=1e-4)


def test_a_joint_that_was_not_observed_makes_no_distance():
    x, mask = torch.randn(2, 16, 25, 3), torch.ones(2, 16, 25, dtype=torch.bool)
    mask[0, :, 6] = False  # never
    mask[1, 5:9, 6] = False  # for a while
    groups, known = features(x, mask)
    pairs = torch.triu_indices(25, 25, 1)
    of_joint = (pairs == 6).any(0)
    assert torch.equal(known["distance"][:, 0], torch.stack([~of_joint, torch.ones_like(of_joint)]))
    expected = torch.cdist(x, x)[..., pairs[0], pairs[1]]
    expected[1, 5:9, of_joint] = expected[1, 4, of_joint]  # the last that was seen, however the other joint moved
    torch.testing.assert_close(groups["distance"][1], expected[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(groups["distance"][0][:, ~of_joint], expected[0][:, ~of_joint], rtol=1e-4, atol=1e-4)
    joint = torch.arange(25) == 6
    assert torch.equal(known["position"][0, 0], ~joint.repeat(3)) and torch.equal(known["motion 1"][0, 0], ~joint.repeat(3))
    bones = torch.tensor([6 in pair for pair in NTU.bones])
    assert torch.equal(known["bone"][0, 0], ~bones.repeat(3))


def test_what_is_never_observed_is_taken_as_average():
    model, x = small(dropout=0).train(), torch.randn(8, 1, 16, 25, 3) + torch.arange(25.0)[:, None]
    for _ in range(100):
        model(x)
    values, known = model.geometry(x[:, 0], None)
    torch.testing.assert_close(model.known.running_mean, values.mean((0, 1)), rtol=1e-3, atol=1e-3)
    mask = torch.ones(8, 16, 25, dtype=torch.bool)
    mask[2, :, 6] = False
    values, known = model.geometry(x[:, 0], mask)
    replaced = model.eval().known(values, known)
    assert torch.equal(replaced[2, :, ~known[2, 0]], model.known.running_mean[~known[2, 0]].expand(16, -1))
    assert torch.equal(replaced[2, :, known[2, 0]], values[2, :, known[2, 0]])


@pytest.mark.parametrize("train", [False, True])
def test_an_absent_person_takes_no_part(train):
    model = small(TWO, dropout=0, head_dropout=0).train(train)
    alone = copy.deepcopy(model)
    x, mask = torch.randn(6, 2, 16, 25, 3), torch.ones(6, 2, 16, 25, dtype=torch.bool)
    mask[:, 1] = False
    torch.testing.assert_close(model(x, mask), alone(x[:, :1]))
    for (name, ours), theirs in zip(model.named_buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_persons_are_interchangeable_and_nobody_is_zero():
    model, x = small(TWO).eval(), torch.randn(3, 2, 16, 25, 3)
    mask = torch.ones(3, 2, 16, 25, dtype=torch.bool)
    mask[0, 0], mask[1] = False, False
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(x.flip(1)))
        torch.testing.assert_close(model(x, mask), model(x.flip(1), mask.flip(1)))
        found = model.forward_features(x, mask)
        assert not found[1].any() and found[0].any()
        assert not model.forward_features(x, mask & False).any()


def test_gradients_reach_the_points_and_are_finite_where_joints_coincide():
    x = torch.randn(3, 1, 16, 25, 3)
    x[:, :, :, 4] = x[:, :, :, 5]
    x.requires_grad_()
    small().train()(x).square().sum().backward()
    assert x.grad.isfinite().all() and (x.grad != 0).any((0, 1, 2, 4)).all()


@pytest.mark.parametrize("name", FEATURES)
def test_each_group_of_features_works_alone(name):
    model = small(features=(name,), steps=(1, 3))
    assert len(model.embed) == 1 + (name == "motion")
    assert model(torch.randn(3, 1, 16, 25, 3)).isfinite().all()


def test_longer_clips_than_it_was_made_for_are_answered():
    with torch.no_grad():
        assert small().eval()(torch.randn(2, 1, 45, 25, 3)).shape == (2, 5)


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({}, PoseShape(1, 16, NTU, 6), "6 channels"),
        ({"features": ("distances",)}, ONE, "did you mean 'distance'"),
        ({"features": ()}, ONE, "at least one"),
        ({"widths": ()}, ONE, "at least one"),
        ({"kernel": 4}, ONE, "kernel 4 must be odd"),
        ({"widths": (8,) * 6}, ONE, "at least 32 are needed"),
        ({"steps": (0,)}, ONE, "steps"),
        ({"steps": (16,)}, ONE, "at least 17"),
    ],
)
def test_impossible_settings_are_refused(settings, shape, message):
    with pytest.raises(RecipeError, match=message):
        create_model("temporal-cnn", 5, shape, **settings)
