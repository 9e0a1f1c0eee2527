"""What published networks are given, and what their answers mean, by their authors' definitions."""

import math
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from made_people import COCO, standing
from tiny_onnx import write_rtmdet, write_rtmpose

from kinema.errors import DataError, KinemaError
from kinema.estimation.blazepose import BlazePose, next_region, refined, turned
from kinema.estimation.movenet import next_crop
from kinema.estimation.poses import Estimate, Region, presence_of
from kinema.estimation.regions import cut, square, to_image
from kinema.estimation.rtmdet import RTMDet
from kinema.estimation.rtmpose import RTMPose

onnx = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="ONNX Runtime is not installed")


def dotted(*dots, width=200, height=100, color=(255, 255, 255)):
    image = np.zeros((height, width, 3), np.uint8)
    for x, y in dots:
        image[y, x] = color
    return image


def test_a_region_of_whole_pixels_is_the_image_itself():
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    np.testing.assert_array_equal(cut(image, Region((30, 20), (20, 10)), (20, 10)), image[15:25, 20:40])


@pytest.mark.parametrize("outside", ["black", "edge"])
def test_beyond_the_image_it_is_black_or_its_edge_goes_on(outside):
    image = np.full((40, 60, 3), 200, np.uint8)
    image[:, :3] = 90
    found = cut(image, Region((0, 20), (20, 20)), (20, 20), outside)
    assert (found[:, 10:13] == 90).all() and (found[:, 13:] == 200).all()
    assert (found[:, :9] == (0 if outside == "black" else 90)).all()


def test_a_region_far_away_from_the_image_is_black():
    for outside in ("black", "edge"):
        found = cut(np.full((40, 60, 3), 200, np.uint8), Region((5000, -3000), (20, 20)), (8, 8), outside)
        assert found.shape == (8, 8, 3) and (outside == "edge" or not found.any())


@pytest.mark.parametrize("angle", [0, 0.7, math.pi / 2, -2.5])
def test_points_of_a_turned_region_come_back_to_where_they_are(angle):
    image = dotted((120, 40))
    region = Region((110, 50), (64, 64), angle)
    found = cut(image, region, (256, 256)).sum(-1)
    row, column = (np.indices(found.shape) * found).sum((1, 2)) / found.sum() + 0.5
    np.testing.assert_allclose(to_image(np.array([[column / 256, row / 256]]), region)[0], (120.5, 40.5), atol=0.1)


def test_an_upright_region_turned_by_a_quarter_shows_what_was_on_its_right_above():
    # Clockwise, as seen: the region's upper side lies on the image's right.
    found = cut(dotted((130, 50)), Region((110.5, 50.5), (64, 64), math.pi / 2), (64, 64)).sum(-1)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert row < 20 and abs(column - 31.5) < 2


def test_a_square_goes_round_a_box():
    assert square(np.array([10, 20, 30, 100]), 1.25) == Region((20, 60), (100, 100))


def test_presence_is_that_of_the_joints_that_are_in_the_image():
    assert presence_of(np.r_[np.full(6, 0.9), np.zeros(11)]) == pytest.approx(0.9 * 6 / 5, rel=0.17)
    assert presence_of(np.full(17, 0.1)) == pytest.approx(0.1)


@onnx
class TestRTMDet:
    BOXES = [[160, 32, 240, 224, 0.6], [16, 16, 64, 128, 0.9], [1, 1, 50, 50, 0.2], [9, 9, 90, 90, 0.8], [0, 0, 0, 0, 0]]

    @pytest.fixture
    def detector(self, tmp_path):
        return RTMDet(write_rtmdet(tmp_path / "det.onnx", self.BOXES, [0, 0, 0, 1, 0]), threads=1)

    def test_boxes_are_in_pixels_of_the_image_best_first(self, detector):
        boxes, scores = detector.detect(np.zeros((480, 640, 3), np.uint8))
        np.testing.assert_allclose(boxes, [[32, 32, 128, 256], [320, 64, 480, 448]])  # others: too unsure, no persons, nothing
        np.testing.assert_allclose(scores, [0.9, 0.6])

    def test_it_is_given_blue_green_red_padded_below_and_to_the_right(self, detector, monkeypatch):
        given = []
        monkeypatch.setattr(detector._model, "run", lambda images: given.append(images) or [np.zeros((1, 0, 5)), np.zeros((1, 0))])
        detector.detect(np.full((480, 640, 3), (200, 100, 50), np.uint8))
        assert given[0].shape == (1, 3, 256, 320) and given[0].dtype == np.float32
        mean, std = np.array([103.53, 116.28, 123.675]), np.array([57.375, 57.12, 58.395])
        np.testing.assert_allclose(given[0][0, :, 100, 100], ((50, 100, 200) - mean) / std, rtol=1e-5)
        np.testing.assert_allclose(given[0][0, :, 250, 100], (114 - mean) / std, rtol=1e-5)
        np.testing.assert_allclose(given[0][0, :, 239, 319], given[0][0, :, 0, 0])

    def test_a_model_of_one_size_is_given_that(self, tmp_path, monkeypatch):
        detector = RTMDet(write_rtmdet(tmp_path / "det.onnx", self.BOXES, [0] * 5, (1, 3, 96, 96)), threads=1)
        boxes, _ = detector.detect(np.zeros((480, 960, 3), np.uint8))
        assert len(boxes) == 3 and boxes.max() == 2400

    @pytest.mark.parametrize("size", [0, 100, 8])
    def test_other_sizes_are_refused(self, tmp_path, size):
        with pytest.raises(KinemaError, match="a multiple of 32 is expected"):
            RTMDet(tmp_path / "det.onnx", size=size)

    def test_nobody_is_no_boxes(self, tmp_path):
        boxes, scores = RTMDet(write_rtmdet(tmp_path / "d.onnx", [[0, 0, 0, 0, 0]], [0])).detect(np.zeros((90, 90, 3), np.uint8))
        assert boxes.shape == (0, 4) and scores.shape == (0,)


@onnx
class TestRTMPose:
    @pytest.fixture
    def estimator(self, tmp_path):
        return RTMPose(write_rtmpose(tmp_path / "pose.onnx"), threads=1)

    def test_the_region_is_a_quarter_more_than_the_box_in_the_shape_of_the_network(self, estimator):
        high, wide = (estimator.region(np.array(box)) for box in ([100, 100, 140, 260], [100, 100, 200, 140]))
        assert high == Region((120, 180), (pytest.approx(150), 200))
        assert wide == Region((150, 120), (125, pytest.approx(125 * 64 / 48)))

    def test_joints_are_at_the_highest_bins(self, estimator):
        image = np.zeros((300, 400, 3), np.uint8)
        image[150:154, 220:224] = (255, 0, 0)
        image[90:94, 200:204] = (0, 255, 255)  # blue and green are not looked at
        found = estimator.estimate(image, [estimator.region(np.array([180, 60, 260, 220]))])[0]
        # Of a region of 150 x 200 at 48 x 64 a pixel is 3.1 wide.
        np.testing.assert_allclose(found.points, np.tile([[222, 152]], (17, 1)), atol=3)
        np.testing.assert_allclose(found.scores, (255 - 123.675) / 58.395 / 10, rtol=0.02)  # the lower one of x and y
        assert found.presence == pytest.approx(found.scores[0]) and found.next is None and found.world is None

    @pytest.mark.parametrize("batch", ["batch", 1])
    def test_all_persons_of_an_image_are_estimated(self, tmp_path, batch):
        estimator = RTMPose(write_rtmpose(tmp_path / "pose.onnx", batch=batch), threads=1)
        image = np.zeros((240, 1280, 3), np.uint8)
        centers = [40 + 62 * i for i in range(20)]
        for x in centers:
            image[118:122, x - 1 : x + 2, 0] = 255
        regions = [estimator.region(np.array([x - 12, 90, x + 12, 150])) for x in centers]
        found = estimator.estimate(image, regions)
        np.testing.assert_allclose([estimate.points[0, 0] for estimate in found], centers, atol=1.5)
        assert estimator.estimate(image, []) == []

    def test_a_model_of_other_joints_is_refused(self, tmp_path):
        estimator = RTMPose(write_rtmpose(tmp_path / "pose.onnx", joints=26), threads=1)
        with pytest.raises(DataError, match="is no RTMPose of 17 COCO key points"):
            estimator.estimate(np.zeros((64, 48, 3), np.uint8), [Region((24, 32), (48, 64))])


class TestMoveNetsCrop:
    """The rule of its tutorial."""

    POINTS = standing(300, 240, 200).astype(float)

    def test_it_is_round_the_hips_and_as_large_as_the_body(self):
        found = next_crop(self.POINTS, np.ones(17), 1000, 800)
        hips = self.POINTS[[COCO.index("left_hip"), COCO.index("right_hip")]].mean(0)
        half = max(1.9 * 0.32 * 200, 1.2 * 0.48 * 200)  # shoulders; eyes and ankles are nearer in this measure
        assert found.center == pytest.approx(tuple(hips)) and found.size == pytest.approx((2 * half, 2 * half)) and found.angle == 0

    def test_joints_that_are_not_sure_do_not_make_it_larger(self):
        points, scores = self.POINTS.copy(), np.ones(17)
        points[COCO.index("left_ankle")] += (0, 300)
        far = next_crop(points, scores, 1000, 800)
        scores[COCO.index("left_ankle")] = 0.1
        assert next_crop(points, scores, 1000, 800).size[0] < far.size[0]

    def test_a_body_larger_than_the_image_is_looked_for_in_all_of_it(self):
        assert next_crop(standing(150, 120, 400).astype(float), np.ones(17), 320, 240) == Region((160, 120), (320, 320))

    @pytest.mark.parametrize("unsure", [("hip",), ("shoulder",), ("hip", "shoulder")])
    def test_without_hips_or_shoulders_it_does_not_know(self, unsure):
        scores = np.ones(17)
        for joint in unsure:
            scores[[COCO.index(f"left_{joint}"), COCO.index(f"right_{joint}")]] = 0.1
        assert next_crop(self.POINTS, scores, 640, 480) is None


class TestBlazePosesRegion:
    """The rules of MediaPipe's graphs."""

    @pytest.mark.parametrize(
        ("on_circle", "angle"), [((300, 100), 0), ((400, 200), math.pi / 2), ((200, 200), -math.pi / 2), ((300, 300), math.pi)]
    )
    def test_it_turns_with_the_body(self, on_circle, angle):
        found = next_region(np.array([300.0, 200.0]), np.array(on_circle, float))
        assert found.center == (300, 200) and found.size == pytest.approx((250, 250))
        assert abs(math.remainder(found.angle - angle, 2 * math.pi)) < 1e-6

    def test_the_point_on_the_circle_is_straight_above_the_middle_in_it(self):
        center, on_circle = np.array([300.0, 200.0]), np.array([370.0, 140.0])
        found = to_image(np.array([[0.5, 0.5], [0.5, 0.1]]), next_region(center, on_circle))
        np.testing.assert_allclose(found, [center, on_circle], atol=1e-9)

    def test_a_circle_of_no_size_is_no_region(self):
        assert next_region(np.array([3.0, 4.0]), np.array([3.0, 4.2])) is None

    def test_metres_turn_with_the_region(self):
        up = np.array([[0, -0.5, 0.1]])  # above the hips in a region that lies on its right side
        np.testing.assert_allclose(turned(up, math.pi / 2), [[0.5, 0, 0.1]], atol=1e-7)

    def test_heatmaps_move_landmarks_a_little_where_they_are_sure(self):
        places = np.full((39, 2), 0.5)
        places[2] = (-0.01, 0.5)
        heatmaps = np.full((64, 64, 39), -20.0)
        heatmaps[32, 34, 0] = 5.0
        heatmaps[32, 34, 1] = -0.5  # not sure
        heatmaps[10, 10, 3] = 5.0  # too far away
        found = refined(places, heatmaps)
        np.testing.assert_allclose(found[0], (34 / 64, 0.5), atol=1e-4)
        np.testing.assert_allclose(found[1:], places[1:])


class TestBlazePosesBeginning:
    """Where a detected body is looked for first: a stand-in for the network is sure of a body in one place alone."""

    def begin(self, body: Region, box):
        def one(image, region):
            near = np.hypot(*np.subtract(region.center, body.center)) < 0.15 * body.size[0]
            right = near and 0.7 < region.size[0] / body.size[0] < 1.4 and abs(math.remainder(region.angle - body.angle, 2 * math.pi)) < 0.5
            looked.append(region)
            # The joints fill the region that is looked at; the next region is the same.
            points = to_image(np.random.default_rng(0).uniform(0.1, 0.9, (33, 2)), region).astype(np.float32)
            return Estimate(points, np.full(33, 0.97 if right else 0.7, np.float32), 1.0 if right else 0.6, region)

        looked: list[Region] = []
        estimator = BlazePose.__new__(BlazePose)
        estimator._one = one
        return estimator.begin(np.zeros((480, 640, 3), np.uint8), [np.array(box, np.float32)])[0], looked

    def test_somebody_who_stands_is_looked_at_twice(self):
        found, looked = self.begin(Region((300, 200), (250, 250)), (250, 100, 350, 300))
        assert found.next == Region((300, 200), (250, 250)) and len(looked) == 2

    @pytest.mark.parametrize("angle", [math.pi / 2, math.pi, -math.pi / 2])
    def test_somebody_who_lies_or_is_upside_down_is_found(self, angle):
        found, _ = self.begin(Region((300, 200), (250, 250), angle), (200, 150, 400, 250))
        assert abs(math.remainder(found.next.angle - angle, 2 * math.pi)) < 1e-6

    def test_of_somebody_cut_off_by_the_image_the_rest_is_looked_for_below_it(self):
        box = (200, 180, 440, 480)
        found, _ = self.begin(Region((320, 510), (825, 825)), box)
        assert found.next.center[1] > 480 and found.next.size[0] == pytest.approx(825)


@pytest.mark.parametrize(("module", "make"), [("onnxruntime", "rtmpose.RTMPose"), ("ai_edge_litert.interpreter", "movenet.MoveNet")])
def test_a_runtime_that_is_not_installed_says_how_to_get_it(monkeypatch, tmp_path, module, make):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "m").write_bytes(b"x")
    with pytest.raises(KinemaError, match=r'is not installed: pip install "kinema\[pose\]"'):
        made(make)(tmp_path / "m")


@pytest.mark.parametrize("make", ["rtmdet.RTMDet", "rtmpose.RTMPose", "movenet.MoveNet", "blazepose.BlazePose"])
def test_what_is_no_model_is_refused_in_one_line(tmp_path, make):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "model").write_bytes(b"no model at all" * 100)
    for path, words in ((tmp_path / "model", "is no whole"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(DataError, match=words) as error:
            made(make)(path)
        assert "\n" not in str(error.value) and str(path) in str(error.value)


def made(name):
    import importlib

    module, _, kind = name.partition(".")
    return getattr(importlib.import_module(f"kinema.estimation.{module}"), kind)
