"""The models made of temporal attention and image networks, on skeletons, depth, and both."""

from dataclasses import asdict, replace
from math import pi

import pytest
import torch
from torch.nn.functional import cross_entropy

from kinema.errors import DataError, RecipeError
from kinema.layout import get_layout
from kinema.models._count import count
from kinema.models.memory_attention import SkeletonImage
from kinema.models.registry import DepthShape, InertialShape, PoseShape, Shapes, create_model, model_config, model_infos

POSE = PoseShape(persons=2, frames=20, layout=get_layout("utd-mhad"), channels=3)
DEPTH = DepthShape(channels=2, height=40, width=36)
VIDEO = DepthShape(channels=2, height=40, width=36, frames=6)
SHAPES = {
    "memory-attention": POSE,
    "memory-attention-depth": Shapes(pose=POSE, depth=DEPTH),
    "memory-attention-cnn": Shapes(pose=POSE, depth=DEPTH),
    "depth-cnn": DEPTH,
    "depth-attention": DEPTH,
    "feature-fusion": Shapes(pose=POSE, depth=DEPTH),
    "feature-fusion-inertial": Shapes(pose=POSE, inertial=InertialShape(6, 64)),
    "feature-fusion-all": Shapes(pose=POSE, depth=DEPTH, inertial=InertialShape(6, 64)),
}
# The small image network in place of ResNet-18: these tests are of what stands in front of it.
SMALL = {name: {"backbone": "small"} for name in SHAPES}
SMALL["memory-attention-cnn"] |= {"depth_backbone": "small"}
SMALL |= {
    name: {"pose_config": {"backbone": "small"}, "depth_config": {"backbone": "small"}} for name in SHAPES if name.startswith("feature")
}


def make(name, shape=None, classes=4, **config):
    torch.manual_seed(0)
    return create_model(name, classes, shape or SHAPES[name], **(SMALL[name] | config))


def inputs(shape, batch=3):
    torch.manual_seed(1)
    return shape.example(batch)


def answer(model, given):
    with torch.no_grad():
        return model.eval()(**given)


@pytest.fixture(params=SHAPES)
def name(request):
    return request.param


# The image of a skeleton.


def test_a_skeleton_of_the_images_size_is_the_image():
    shape = replace(POSE, frames=40)
    x = inputs(shape)["x"]
    image = SkeletonImage(40, "rectangular", shape)(x)
    assert image.shape == (3, 3, 40, 40)
    for m, t, v, c in ((0, 0, 0, 0), (1, 7, 19, 2), (0, 39, 4, 1)):
        assert torch.equal(image[:, c, t, 20 * m + v], x[:, m, t, v, c])


def test_resizing_is_linear():
    frames = torch.arange(20.0).view(1, 1, 20, 1, 1).expand(1, 2, 20, 20, 3)
    image = SkeletonImage(40, "rectangular", POSE)(frames)
    torch.testing.assert_close(image[0, 0, 1:-1, 5], torch.arange(0.25, 19, 0.5))


@pytest.mark.parametrize(
    "coordinates, expected",
    [
        ("spherical", [(5, pi / 2, pi / 2), (2, 0, 0), (3, pi, 0), (4, pi / 2, 0), (2**0.5, pi / 4, -pi / 2)]),
        ("cylindrical", [(5, pi / 2, 0), (0, 0, 2), (0, 0, -3), (4, 0, 0), (1, -pi / 2, 1)]),
    ],
)
def test_coordinates_about_the_vertical(coordinates, expected):
    shape = PoseShape(1, 5, get_layout("utd-mhad"), 6)
    points = torch.tensor([[5.0, 0, 0], [0, 2, 0], [0, -3, 0], [0, 0, 4], [-1, 1, 0]])
    x = torch.cat([points, 2 * points], 1).view(1, 1, 5, 1, 6).expand(1, 1, 5, 20, 6)
    image = SkeletonImage(5, coordinates, shape)(x[..., :5, :])
    torch.testing.assert_close(image[0, :3, :, 2].T, torch.tensor(expected))
    lengths = [0] if coordinates == "spherical" else [0, 2]
    torch.testing.assert_close(image[0, 3:][lengths], 2 * image[0, :3][lengths])


def test_planes_are_images_of_two_coordinates_side_by_side():
    shape = PoseShape(1, 40, get_layout("utd-mhad"), 3)
    x = inputs(shape)["x"]
    image = SkeletonImage(40, "planes", shape)(x)
    for plane, (first, second) in enumerate(((0, 1), (1, 2), (2, 0))):
        assert torch.equal(image[:, plane], torch.cat([x[:, 0, ..., first], x[:, 0, ..., second]], 2))


@pytest.mark.parametrize("coordinates", ["spherical", "planes"])
def test_points_in_the_plane_have_rectangular_coordinates_only(coordinates):
    flat = replace(POSE, channels=2)
    assert answer(make("memory-attention", flat), inputs(flat)).shape == (3, 4)
    with pytest.raises(RecipeError, match="3-D points; joints have 2 channels"):
        make("memory-attention", flat, coordinates=coordinates)


# The models.


def test_logits_and_gradients_everywhere(name):
    model, given = make(name).train(), inputs(SHAPES[name])
    before = {key: value.clone() for key, value in given.items()}
    logits = model(**given)
    assert logits.shape == (3, 4)
    cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    assert all(torch.equal(given[key], before[key]) for key in given), "the input was changed"


def test_head_is_apart_and_is_made_anew(name):
    model, given = make(name), inputs(SHAPES[name])
    whole = answer(model, given)
    features = model.forward_features(**given)
    assert features.shape == (3, model.num_features)
    torch.testing.assert_close(model.forward_head(features), whole)
    prefixes, before = model.head_prefixes(), model.state_dict()
    assert [key for key in before if key.startswith(prefixes)]
    before = {key: value.clone() for key, value in before.items()}
    model.reset_classifier(9)
    assert answer(model, given).shape == (3, 9)
    for key, value in model.state_dict().items():
        assert key.startswith(prefixes) or torch.equal(value, before[key]), key


def test_a_row_is_the_same_alone_and_in_a_batch(name):
    model, given = make(name), inputs(SHAPES[name], batch=9)
    alone = answer(model, {key: value[7:8] for key, value in given.items()})
    torch.testing.assert_close(alone, answer(model, given)[7:8], rtol=1e-4, atol=1e-5)


def test_every_modality_has_influence(name):
    model, given = make(name), inputs(SHAPES[name])
    for key in given:
        other = given | {key: given[key].flip(0)}
        assert not torch.allclose(answer(model, other), answer(model, given), rtol=1e-3), key


def test_settings_come_back_from_yaml_and_figures_are_counted(name):
    info = model_infos()[name]
    assert model_config(name, **asdict(info.defaults)) == info.defaults
    parameters, multiply_adds = count(make(name, info.example), info.example)
    assert parameters > 1e5 and multiply_adds > 1e7
    arguments = {"pose": "x", "depth": "depth", "inertial": "inertial"}
    assert [arguments[part] for part in info.modalities] == list(info.example.example())


@pytest.mark.parametrize("name", [name for name in SHAPES if SHAPES[name] is POSE or hasattr(SHAPES[name], "pose")])
def test_what_was_not_observed_has_no_influence(name):
    model, given = make(name), inputs(SHAPES[name])
    mask = torch.ones(given["x"].shape[:-1], dtype=torch.bool)
    mask[:, 1] = False
    mask[1, 0, 2:18, 7:] = False
    mask[2] = False
    logits = answer(model, given | {"mask": mask})
    nonsense = torch.where(mask[..., None], given["x"], torch.nan)
    assert logits.isfinite().all() and torch.equal(answer(model, given | {"x": nonsense, "mask": mask}), logits)


@pytest.mark.parametrize(
    "config",
    [
        {"form": "reference", "normalise": "batch"},
        {"form": "self-attention", "shared": True},
        {"coordinates": "spherical", "normalise": "clip"},
        {"coordinates": "planes"},
        {"dropout": 0.5, "size": 64},
    ],
    ids=lambda config: ", ".join(map(str, config.values())),
)
def test_settings_of_memory_attention(config):
    shape = replace(POSE, channels=6)  # two streams
    model, given = make("memory-attention", shape, **config), inputs(shape)
    cross_entropy(model.train()(**given), torch.tensor([0, 1, 2])).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())
    assert answer(model, given).isfinite().all()


def test_normalisation_of_a_clip_forgets_place_and_size():
    model, given = make("memory-attention", normalise="clip"), inputs(POSE)
    moved = {"x": 3 * given["x"] + torch.tensor([1.0, -2, 4])}
    torch.testing.assert_close(answer(model, moved), answer(model, given), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "name, shape", [("depth-attention", VIDEO), ("memory-attention-depth", Shapes(pose=POSE, depth=VIDEO))], ids=["alone", "with skeletons"]
)
def test_attention_over_frames_of_depth_without_a_descriptor(name, shape):
    model, given = make(name, shape).train(), inputs(shape)
    assert (model.image if name == "depth-attention" else model.depth_image)(given["depth"]).shape == (3, 2, 50, 50)
    cross_entropy(model(**given), torch.tensor([0, 1, 2])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    shuffled = given | {"depth": given["depth"].flip(2)}
    assert not torch.allclose(answer(model, shuffled), answer(model, given), rtol=1e-3)


def test_rows_of_a_depth_video_are_its_frames():
    rows = make("depth-attention", replace(VIDEO, frames=50), cells=4).image
    depth = torch.rand(2, 2, 50, 40, 36)
    cells = depth[1, 0, 17].view(4, 10, 4, 9).mean((1, 3)).flatten()
    expected = cells @ rows.rows.weight[0] + rows.rows.bias[0, 0]
    torch.testing.assert_close(rows(depth)[1, 0, 17], expected)


@pytest.mark.parametrize("fused_as", ["features", "map"])
@pytest.mark.parametrize("first", ["small", "densenet121"])
def test_the_first_cnns_output_is_a_channel_of_the_second(fused_as, first):
    model, given = make("memory-attention-cnn", fused_as=fused_as, depth_backbone=first).train(), inputs(SHAPES["memory-attention-cnn"])
    assert next(model.cnn.parameters()).shape[1] == 4
    cross_entropy(model(**given), torch.tensor([0, 1, 2])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_fusion_takes_any_registered_models_and_does_without_a_modality():
    shape = SHAPES["feature-fusion-all"]
    config = {"pose": "hcn", "pose_config": {"widths": [16, 16, 16, 16, 16, 16]}, "inertial": "inertial-gru"}
    model = make("feature-fusion-all", shape, **config, hidden=12, drop_modality=0.5)
    assert model.head_prefixes() == ("hidden.", "classifier.")
    given = inputs(shape)
    cross_entropy(model.train()(**given), torch.tensor([0, 1, 2])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert answer(model, given | {"depth": None}).isfinite().all()
    zeros = model.forward_features(**given | {"depth": None}) == 0
    widths = [branch.num_features for branch in model.branches.values()]
    assert zeros[:, widths[0] : widths[0] + widths[1]].all() and not zeros[:, : widths[0]].all()
    with pytest.raises(DataError, match=r"none of the modalities.*pose, depth, inertial"):
        model()


def test_hidden_modalities_leave_at_least_one():
    model = make("feature-fusion-all", drop_modality=0.9)
    kept = model._kept(2000, torch.device("cpu"))
    assert kept.any(1).all() and 0.3 < kept.float().mean() < 0.5  # (1 + 2 * .1) / 3 expected, a little more for the certain one


@pytest.mark.parametrize(
    "name, shape, config, words",
    [
        ("memory-attention", POSE, {"coordinates": "sferical"}, "did you mean 'spherical'"),
        ("memory-attention", POSE, {"normalise": "bach"}, "did you mean 'batch'"),
        ("memory-attention-depth", Shapes(pose=POSE), {}, "takes skeletons and depth"),
        ("memory-attention-cnn", Shapes(pose=POSE, depth=VIDEO), {}, "no videos"),
        ("memory-attention-cnn", SHAPES["memory-attention-cnn"], {"fused_as": "feature"}, "did you mean 'features'"),
        ("depth-cnn", VIDEO, {}, "no videos"),
        ("feature-fusion", SHAPES["feature-fusion"], {"pose": "depth-cnn", "pose_config": {}}, "takes depth; a branch.*for pose"),
        ("feature-fusion", SHAPES["feature-fusion"], {"pose": "handcrafted-svm", "pose_config": {}}, "handcrafted-svm"),
        ("feature-fusion", Shapes(pose=POSE), {}, "two or three modalities"),
        ("feature-fusion", SHAPES["feature-fusion"], {"drop_modality": 1.0}, "drop_modality 1.0"),
    ],
)
def test_impossible_settings_are_refused(name, shape, config, words):
    with pytest.raises(RecipeError, match=words):
        make(name, shape, **config)
