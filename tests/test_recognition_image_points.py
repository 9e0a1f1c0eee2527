"""2-D key points as they come: pixels or scaled, with scores or none, partly wrong; what is taken, and what is told."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from make_files import pickled, pyskl_annotation
from tiny_bundles import CLASSES, moving_pose, tiny_bundle

from kinema import bundle as bundles
from kinema.bundle import Bundle
from kinema.cli import main
from kinema.clip import Clip, PoseSequence
from kinema.datasets._files import read_clips
from kinema.errors import BundleError, DataError
from kinema.models.registry import create_model
from kinema.recognition.recognizer import Recognizer
from kinema.transforms.config import PoseInput
from kinema.transforms.heatmap import pose_heatmaps
from kinema.transforms.samples import PoseSamples

SMALL = {
    "poseconv3d": {"width": 4, "blocks": [1, 1, 1], "size": 16},
    "poseconv3d-c3d": {"width": 4, "size": 16},
    "poseconv3d-x3d": {"width": 4, "blocks": [1, 1], "size": 16},
    "keypoint-cnn3d": {"widths": [4] * 8, "hidden": 8, "normalise": "box"},
}


def bundle_of(model="poseconv3d-x3d", unit="norm", streams=("joint", "score"), **config) -> Bundle:
    input = PoseInput("coco17", 8, 2, "segments", center="none", streams=streams)
    channels = 2 + ("score" in streams)
    made = Bundle("small", model, {**SMALL[model], **config}, CLASSES, input, channels, {}, unit=unit)
    torch.manual_seed(0)
    network = create_model(model, len(CLASSES), made.shape, **made.config)
    for name, value in network.state_dict().items():  # an untrained network's answers hardly depend on its input
        if name.endswith("weight") and value.ndim < 2:
            value.fill_(1)
        elif name in ("fc.weight", "fc1.weight", "fc2.weight"):
            value.normal_()
    return replace(made, state=network.state_dict())


def in_image(seed=0, **fields) -> PoseSequence:
    """Somebody in an image of 640 x 480 pixels."""
    pose = moving_pose("openpose18", frames=20, dims=2, seed=seed)
    points = np.float32([320, 240]) + 100 * pose.points
    return replace(pose, **{"points": points, "unit": "px", "y_axis": "down", "image_size": (640, 480), **fields})


def scaled(pose: PoseSequence) -> PoseSequence:
    return replace(pose, points=pose.points / 320 - 1, unit="norm", image_size=None)


@pytest.mark.parametrize("unit", ["norm", "px"])
@pytest.mark.parametrize("model", SMALL)
def test_pixels_and_scaled_points_are_the_same_to_models_that_look_at_the_box(model, unit):
    recognizer = Recognizer(bundle_of(model, unit))
    poses = [pose for seed in range(3) for pose in (in_image(seed), scaled(in_image(seed)))]
    together = [answer.probabilities for answer in recognizer.predict(poses)]
    for pixels, points in zip(together[::2], together[1::2], strict=True):
        np.testing.assert_allclose(pixels, points, atol=1e-5)
    assert np.abs(together[0] - together[2]).max() > 1e-4  # other people, other answers
    for pose, answer in zip(poses, together, strict=True):
        np.testing.assert_allclose(recognizer.predict(pose).probabilities, answer, atol=1e-5)


@pytest.mark.parametrize(
    "bundle", [bundle_of("keypoint-cnn3d", normalise="image"), tiny_bundle(layout="coco17", dims=2, unit="norm")], ids=["image", "none"]
)
def test_models_that_take_coordinates_as_they_are_refuse_the_other_unit(bundle):
    with pytest.raises(BundleError, match=r"in 'norm'; these are in 'px'"):
        Recognizer(bundle).predict(in_image())


def test_metres_are_no_image_unit():
    with pytest.raises(BundleError, match="these are in 'm'"):
        Recognizer(bundle_of()).predict(moving_pose("coco17", dims=2, unit="m"))


def test_missing_scores_and_sizes_are_no_hindrance():
    recognizer = Recognizer(bundle_of(unit="px"))
    given = recognizer.predict(in_image()).probabilities
    full = np.ones(in_image().points.shape[:3], np.float32)
    np.testing.assert_allclose(recognizer.predict(in_image(score=full, image_size=None)).probabilities, given)
    with pytest.raises(DataError, match="size of the image is not known; give the sequence an image_size"):
        pose_heatmaps(in_image(image_size=None), box=False)


def test_a_joint_or_person_without_score_is_nowhere():
    """Whatever its coordinates: the box that the model looks at must not follow it."""
    pose = in_image(score=np.ones((1, 20, 18), np.float32))
    points, score = np.concatenate([pose.points, pose.points + 300]), np.ones((2, 20, 18), np.float32)
    score[1] = 0
    recognizer = Recognizer(bundle_of(unit="px"))
    alone, beside = recognizer.predict(pose), recognizer.predict(replace(pose, points=points, score=score))
    np.testing.assert_allclose(alone.probabilities, beside.probabilities, atol=1e-6)


def test_a_recording_in_which_all_scores_are_0_is_refused():
    pose = in_image(score=np.zeros((1, 20, 18), np.float32))
    with pytest.raises(DataError, match=r"'x'.* scores of all joints are 0: nobody was found"):
        PoseSamples.from_clips([Clip("x", {"pose": pose})], bundle_of().input)


@pytest.mark.parametrize(("value", "shown"), [(1.5, "1..1.5"), (-0.1, "-0.1..1"), (87.0, "1..87")])
def test_scores_outside_the_unit_interval_are_refused(value, shown):
    score = np.ones((1, 20, 18), np.float32)
    score[0, 3, 4] = value
    with pytest.raises(DataError, match=rf"scores must lie in 0\.\.1; these lie in {shown}"):
        in_image(score=score)


def test_points_a_little_outside_the_image_are_taken_and_far_ones_are_named():
    points = in_image().points.copy()
    points[0, 3, 4] = (-50, 500)
    assert Recognizer(bundle_of(unit="px")).predict(in_image(points=points)).known
    # An image of the whole scene draws nothing there.
    mask = np.zeros(points.shape[:3], bool)
    mask[0, 3, 4] = True
    assert not pose_heatmaps(in_image(points=points, mask=mask), box=False).any()
    for far in ((-700, 100), (100, 1000), (5e6, 5e6)):
        points[0, 3, 4] = far
        with pytest.raises(DataError, match=r"person 0, frame 3, joint right_wrist: \(.*\) lies far outside the image of 640 x 480"):
            in_image(points=points)
    assert in_image(points=points, image_size=None).frames == 20  # of an image of unknown size nobody can tell


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keypoint_score": np.full((1, 8, 17), 90.0)}, r"'keypoint_score': scores lie in 90\.\.90; 0\.\.1 is expected"),
        ({"keypoint_score": np.full((1, 8, 17), np.nan)}, "scores lie in nan"),
        ({"keypoint_score": np.zeros((1, 8, 17))}, "scores of all joints are 0: nobody was found"),
        ({"img_shape": (0, 5)}, r"'img_shape': \(0, 5\) is no height and width"),
        ({"img_shape": "big"}, "'img_shape': 'big' is no height and width"),
        ({"keypoint": np.full((1, 8, 17, 2), 9000.0)}, "joint nose: .9000, 9000. lies far outside the image of 1920 x 1080"),
    ],
)
def test_a_pickle_tells_which_annotation_is_wrong(tmp_path, change, words):
    path = pickled(tmp_path / "x.pkl", [pyskl_annotation("good", 0), pyskl_annotation("bad", 0) | change])
    with pytest.raises(DataError, match=rf"x.pkl, annotation 1 \(bad\).*{words}"):
        read_clips(path)


def test_persons_and_joints_of_a_pickle_without_score_are_left_out(tmp_path):
    annotation = pyskl_annotation("x", 0, persons=2)
    annotation["keypoint_score"][1] = 0
    annotation["keypoint_score"][0, 2, 5] = 0
    del annotation["img_shape"]
    (clip,) = read_clips(pickled(tmp_path / "x.pkl", [annotation]))
    assert clip.pose.persons == 1 and not clip.pose.mask[0, 2, 5] and clip.pose.mask.sum() == clip.pose.mask.size - 1
    assert clip.pose.image_size is None


@pytest.fixture
def command(tmp_path, capsys):
    """`kinema predict` of one annotation changed: exit status, and what it printed."""
    bundle = bundles.save(bundle_of(unit="px"), tmp_path / "small.safetensors")

    def run(change: dict, *options: str) -> tuple[int, str]:
        annotation = {key: value for key, value in (pyskl_annotation("bad", 0) | change).items() if value is not None}
        path = pickled(tmp_path / "x.pkl", {"split": {"train": ["bad"], "test": ["bad"]}, "annotations": [annotation]})
        status = main([*(options or ("predict", str(path))), "--bundle", str(bundle), *(("--data.root", str(path)) if options else ())])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keypoint_score": np.full((1, 8, 17), 1.5)}, "'keypoint_score': scores lie in 1.5..1.5; 0..1 is expected"),
        ({"keypoint_score": np.full((1, 8, 17), -0.5)}, "'keypoint_score': scores lie in -0.5..-0.5; 0..1 is expected"),
        ({"keypoint_score": np.zeros((1, 8, 17))}, "'keypoint_score': the scores of all joints are 0: nobody was found"),
        ({"keypoint": np.full((1, 8, 17, 2), 9000.0)}, "joint nose: (9000, 9000) lies far outside the image of 1920 x 1080 pixels"),
        ({"img_shape": (0, 0)}, "'img_shape': (0, 0) is no height and width in pixels"),
    ],
    ids=lambda value: "",
)
def test_the_command_says_in_one_line_what_is_wrong_and_where(command, change, words):
    status, printed = command(change)
    assert status == 2 and words in printed and "x.pkl, annotation 0 (bad)" in printed and printed.count("\n") == 1


def test_the_command_does_without_the_images_size(command):
    status, printed = command({"img_shape": None, "original_shape": None})
    assert status == 0 and CLASSES[0] in printed


def test_the_command_names_the_splits_that_there_are(command):
    status, printed = command({}, "evaluate", "--data.name", "pyskl", "--protocol", "xsubb")
    assert status == 2 and "unknown protocol 'xsubb'; known: official" in printed and printed.count("\n") == 1
