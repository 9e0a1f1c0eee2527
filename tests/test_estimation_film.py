"""A whole video as a clip of skeletons, and `kinema pose`."""

import json
import weakref
from dataclasses import replace

import numpy as np
import pytest
from made_people import COCO, Stage, standing
from make_videos import write_video
from tiny_bundles import tiny_bundle

from kinema import video
from kinema._pose_command import estimate_files, poses_text
from kinema.cli import main
from kinema.clip import Clip, PoseSequence, VideoSource
from kinema.datasets import Dataset, _estimated, read_dataset
from kinema.datasets._skeletons import npz_bytes, read_skeleton
from kinema.errors import BundleError, DataError, KinemaError
from kinema.estimation import backends, film, stage
from kinema.estimation.film import estimate
from kinema.estimation.poses import TrackedPose
from kinema.estimation.recorded import RecordedPoses
from kinema.layout import get_layout
from kinema.recognition.recognizer import Recognizer
from kinema.training.data import read
from kinema.training.recipe import DataConfig


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Four seconds at 10 frames/s, 64 x 48 pixels."""
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", frames=40)


def small(x=32.0, y=24.0):
    return standing(x, y, 30)


def tracker(people, **settings):
    return Stage(people).tracker(**settings)


def test_everybody_has_a_row_and_is_missing_where_he_was_not_seen(path):
    found = estimate(path, tracker(lambda time: [small(16)] * (time < 1.95) + [small(48)] * (time >= 0.95)))
    pose = found.clip.pose
    assert (found.persons, found.frames, found.left_out, found.notes) == (2, 40, 0, ())
    assert (pose.layout.name, pose.unit, pose.y_axis, pose.image_size) == ("coco17", "px", "down", (64, 48))
    np.testing.assert_allclose(pose.times, np.arange(40) / 10, atol=1e-6)
    np.testing.assert_array_equal(pose.observed.all(-1), [np.arange(40) < 20, np.arange(40) >= 10])
    np.testing.assert_allclose(pose.points[0, 5], small(16), atol=1e-4)
    assert pose.score[0, 5].min() == np.float32(0.8) and not pose.points[0, 30].any()
    assert found.clip.id == "film" and found.clip.source == path and found.clip.video == VideoSource(path)
    assert set(found.timings) == {"detect", "pose", "track"}


def test_nobody_is_one_person_who_is_nowhere(path):
    found = estimate(path, tracker(lambda time: []))
    assert found.persons == 0 and found.clip.pose.persons == 1 and not found.clip.pose.observed.any()
    assert found.clip.pose.frames == 40


def test_who_was_there_for_a_moment_is_left_out(path):
    def people(time):
        return [small(16)] + [small(48)] * (1.45 < time < 1.65)

    found = estimate(path, tracker(people, every=1))
    assert (found.persons, found.left_out) == (1, 1) and "1 more were seen for a moment" in found.notes[0]


def test_fewer_frames_a_second(path):
    found = estimate(path, tracker(lambda time: [small()]), fps=4)
    assert found.frames == 16 and found.clip.pose.fps == 4
    assert estimate(path, tracker(lambda time: [small()]), fps=60).clip.pose.fps == pytest.approx(10)
    for fps in (0, -1, float("nan")):
        with pytest.raises(KinemaError, match="a positive number is expected"):
            estimate(path, tracker(lambda time: []), fps=fps)


def test_frames_keep_their_times(tmp_path):
    times = [0, 40, 80, 400, 440, 1000]
    path = write_video(tmp_path / "v.mkv", frames=6, times=times)
    np.testing.assert_allclose(estimate(path, tracker(lambda time: [small()])).clip.pose.times, np.array(times) / 1e3, atol=1e-3)


def test_joints_that_are_unsure_or_far_outside_are_missing(path):
    class Half(Stage):
        def estimate(self, image, regions):
            found = super().estimate(image, regions)
            for one in found:
                one.scores[COCO.index("left_ankle")] = 0.05
                one.points[COCO.index("right_ankle")] = (30, 500)
            return found

    pose = estimate(path, Half(lambda time: [small().copy()]).tracker()).clip.pose
    missing = [COCO.joints[i] for i in np.flatnonzero(~pose.observed[0].any(0))]
    assert missing == ["left_ankle", "right_ankle"]


def test_points_in_metres(path):
    class Follower:
        layout, timings = get_layout("blazepose33"), {"detect": 0.0, "pose": 0.0, "track": 0.0}
        world = np.random.default_rng(0).normal(0, 0.3, (33, 3)).astype(np.float32)

        def reset(self):
            pass

        def step(self, image, time):
            return [TrackedPose(0, np.zeros((33, 2), np.float32), np.ones(33, np.float32), np.zeros(4), self.world)]

    pose = estimate(path, Follower(), world=True).clip.pose
    assert (pose.unit, pose.dims, pose.layout.name, pose.y_axis, pose.image_size) == ("m", 3, "blazepose33", "down", None)
    np.testing.assert_array_equal(pose.points[0, 7], Follower.world)
    with pytest.raises(KinemaError, match="gives no points in metres; blazepose does"):
        estimate(path, tracker(lambda time: [small()]), world=True)


def test_left_and_right_of_a_mirror_image_are_put_right(path):
    seen, right = (estimate(path, tracker(lambda time: [small()]), mirrored=mirrored).clip.pose for mirrored in (False, True))
    np.testing.assert_array_equal(right.points[0, 5, COCO.index("left_wrist")], seen.points[0, 5, COCO.index("right_wrist")])
    np.testing.assert_array_equal(right.points[0, 5, COCO.index("nose")], seen.points[0, 5, COCO.index("nose")])


def test_few_pictures_are_held_at_a_time(tmp_path):
    path = write_video(tmp_path / "long.mp4", frames=300)
    alive, most = [], []

    class Follower:
        layout, timings = COCO, {"detect": 0.0, "pose": 0.0, "track": 0.0}

        def reset(self):
            pass

        def step(self, image, time):
            alive.append(weakref.ref(image))
            most.append(sum(ref() is not None for ref in alive))
            return [TrackedPose(0, small(), np.ones(17, np.float32), np.zeros(4, np.float32))]

    assert estimate(path, Follower()).clip.pose.frames == 300
    assert max(most) < 20


def test_a_file_that_was_cut_off_is_used_as_far_as_it_goes(tmp_path):
    whole = write_video(tmp_path / "whole.ts", "mpeg2video", frames=40)
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    found = estimate(cut, tracker(lambda time: [small()]))
    assert 5 < found.frames < 40 and found.clip.pose.frames == found.frames
    if not video.index(cut).complete:
        assert "cut off" in found.notes[0]


def test_pictures_are_turned_as_the_file_says(tmp_path):
    shapes = []

    class Seeing(Stage):
        def detect(self, image):
            shapes.append(image.shape)
            return super().detect(image)

    path = write_video(tmp_path / "phone.mp4", frames=5, rotation=90)
    pose = estimate(path, Seeing(lambda time: [small(24, 32)]).tracker()).clip.pose
    assert set(shapes) == {(64, 48, 3)} and pose.image_size == (48, 64)


def test_people_upside_down_are_told(path):
    upside = small() * (1, -1) + (0, 48)
    assert "upside down" in estimate(path, tracker(lambda time: [upside.astype(np.float32)])).notes[0]
    assert estimate(path, tracker(lambda time: [small()])).notes == ()


def test_as_many_persons_as_can_be_held(path, monkeypatch):
    monkeypatch.setattr(film, "_MOST_JOINTS", 2 * 40 * 17)
    people = [small(10), small(32), small(54)]
    found = estimate(path, tracker(lambda time: people[: 3 if time < 2 else 2]))
    assert found.clip.pose.persons == 2 and found.clip.pose.observed.all() and found.left_out == 1


class TestCommand:
    @pytest.fixture(autouse=True)
    def made(self, monkeypatch):
        """Trackers of one who stands there, instead of networks."""
        self.asked = []

        def make(backend, **settings):
            self.asked.append((backend, settings))
            return tracker(lambda time: [small()])

        monkeypatch.setattr(backends, "make_tracker", make)
        monkeypatch.setattr(backends, "choose", lambda backend, models, world: backend)

    def test_each_video_leaves_a_file(self, path, tmp_path, capsys):
        assert main(["pose", str(path), str(tmp_path / "out"), "--every", "5", "--max_persons", "3"]) == 0
        assert "film.mp4: 1 person in 40 frames, " in capsys.readouterr().out
        pose = read_skeleton(tmp_path / "out/film.npz")
        np.testing.assert_allclose(pose.points[0, 0], small(), atol=1e-4)
        assert self.asked[0][1]["every"] == 5 and self.asked[0][1]["max_persons"] == 3

    def test_what_is_there_is_left_as_it_is(self, path, tmp_path):
        turns = (([small()], False), ([], False), ([], True))
        rows = [estimate_files([path], tmp_path, tracker(lambda _, here=here: here), overwrite=over)[0] for here, over in turns]
        assert [(row["status"], row["persons"]) for row in rows] == [("estimated", 1), ("there already", 1), ("estimated", 0)]
        assert poses_text(rows).splitlines()[1].endswith(f"there already -> {tmp_path / 'film.npz'}")
        assert poses_text(rows[2:]).startswith(f"{path}: nobody in 40 frames")

    def test_a_folder_and_videos_of_the_same_name(self, tmp_path, capsys):
        for name in ("a/one.mp4", "b/one.mp4", "b/two.mp4"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            write_video(tmp_path / name, frames=4)
        assert main(["pose", str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "out"), "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)["videos"]
        assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a-one.npz", "b-one.npz", "two.npz"]
        assert [row["frames"] for row in rows] == [4, 4, 4] and rows[0]["frames_per_second"] > 0

    def test_what_is_no_video_is_told_or_passed_over(self, path, tmp_path, capsys):
        bad = tmp_path / "bad.mp4"
        bad.write_bytes(b"no video")
        assert main(["pose", str(bad), str(path), str(tmp_path / "out")]) == 2
        assert "bad.mp4" in capsys.readouterr().err
        assert main(["pose", str(bad), str(path), str(tmp_path / "out"), "--on_error", "skip"]) == 0
        assert "bad.mp4: failed: " in capsys.readouterr().out and (tmp_path / "out/film.npz").exists()
        (tmp_path / "empty").mkdir()
        assert main(["pose", str(tmp_path / "empty"), str(tmp_path / "out")]) == 2
        assert main(["pose", str(path), str(path)]) == 2

    def test_the_skeletons_are_drawn_on_the_video(self, path, tmp_path, capsys):
        assert main(["pose", str(path), str(tmp_path), "--fps", "5", "--render"]) == 0
        assert "drawn: " in capsys.readouterr().out
        drawn = video.index(tmp_path / "film.mp4")
        assert drawn.duration == pytest.approx(4, abs=0.3)


def test_the_skeletons_of_a_file_are_laid_on_the_video(path, tmp_path, capsys):
    points = np.stack([[small(16 + i) for i in range(80)]])
    pose = PoseSequence(points, "coco17", "px", fps=20, image_size=(64, 48), y_axis="down")
    (tmp_path / "poses.npz").write_bytes(npz_bytes(pose))
    assert main(["pose", str(path), str(tmp_path / "out"), "--backend", str(tmp_path / "poses.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["backend"] == "poses.npz"
    np.testing.assert_allclose(read_skeleton(tmp_path / "out/film.npz").points[0], points[0, ::2], atol=1e-3)
    assert main(["pose", str(path), str(tmp_path / "out2"), "--backend", str(path)]) == 2
    assert "is no file with the skeletons of one recording" in capsys.readouterr().err


class TestRecognition:
    """A video that is given to a bundle of skeletons."""

    @pytest.fixture
    def bundle(self):
        return tiny_bundle(layout="coco17", dims=2, unit="px", scale=True)

    @pytest.fixture
    def estimator(self, monkeypatch):
        asked = []

        def make(backend, world, **settings):
            asked.append((backend, world))
            return tracker(lambda time: [small(20 + 5 * np.sin(3 * time))])

        monkeypatch.setattr(stage, "make_tracker", make)
        return asked

    def test_it_is_estimated_first_and_once(self, path, bundle, estimator):
        answer = Recognizer(bundle).predict(path)
        assert answer.known and answer.pose.frames == 40 and answer.video == VideoSource(path)
        assert estimator == [("auto", False)]
        pose = answer.pose
        np.testing.assert_allclose(Recognizer(bundle).predict(pose).probabilities, answer.probabilities, atol=1e-6)

    def test_the_backend_is_named_and_one_tracker_serves_all(self, path, bundle, estimator, tmp_path):
        other = tmp_path / "other.mp4"
        other.write_bytes(path.read_bytes())
        answers = Recognizer(bundle).predict_files([path, other], pose="movenet")
        assert [answer.known for answer in answers] == [True, True] and estimator == [("movenet", False)]

    def test_a_bundle_of_3d_skeletons_is_given_metres(self, path, estimator):
        with pytest.raises(KinemaError, match="gives no points in metres"):
            Recognizer(tiny_bundle(layout="coco17", dims=3)).predict(path)
        assert estimator == [("auto", True)]

    def test_what_has_skeletons_keeps_them(self, path, bundle, estimator):
        pose = PoseSequence(np.stack([small(20 + i) for i in range(30)])[None], "coco17", "px", fps=10, image_size=(64, 48), y_axis="down")
        clip = Clip("c", {"pose": pose, "video": VideoSource(path)})
        Recognizer(bundle).predict(clip)
        assert estimator == []
        Recognizer(bundle).predict(clip, pose="auto")
        assert estimator == [("auto", False)]

    def test_the_skeletons_of_a_file_are_taken(self, path, bundle, estimator, tmp_path):
        pose = PoseSequence(np.stack([small(20 + i) for i in range(40)])[None], "coco17", "px", fps=10, image_size=(64, 48), y_axis="down")
        (tmp_path / "poses.npz").write_bytes(npz_bytes(pose))
        answer = Recognizer(bundle).predict(path, pose=tmp_path / "poses.npz")
        np.testing.assert_array_equal(answer.pose.points, pose.points)
        assert estimator == []

    @pytest.mark.parametrize(("pose", "reason"), [("movnet", "did you mean 'movenet'"), ("none.npz", "there is no such file")])
    def test_neither_backend_nor_file(self, path, bundle, pose, reason):
        with pytest.raises(KinemaError, match=reason):
            Recognizer(bundle).predict(path, pose=pose)

    def test_nobody_is_too_few_frames(self, path, bundle, monkeypatch):
        monkeypatch.setattr(stage, "make_tracker", lambda *_, **__: tracker(lambda time: []))
        with pytest.raises(BundleError, match="it has 0 frames with a person"):
            Recognizer(bundle).predict(path)


def test_poses_in_a_file_stand_in_for_an_estimator(path):
    points = np.stack([[small(16 + i) for i in range(40)], [small(40)] * 40])
    mask = np.ones((2, 40, 17), bool)
    mask[1, 10:] = False
    pose = PoseSequence(2 * points, "coco17", "px", mask, fps=10, image_size=(128, 96), y_axis="down")
    recorded = RecordedPoses(pose)
    image = np.zeros((48, 64, 3), np.uint8)
    found = recorded.step(image, 0.52)
    assert [each.person for each in found] == [0, 1] and recorded.layout.name == "coco17"
    np.testing.assert_allclose(found[0].points, small(21), atol=1e-4)
    assert [each.person for each in recorded.step(image, 2.0)] == [0] and recorded.step(image, 9.0) == []
    np.testing.assert_allclose(estimate(path, recorded).clip.pose.points[0], points[0], atol=1e-3)
    with pytest.raises(DataError, match="2-D points in pixels"):
        RecordedPoses(PoseSequence(np.zeros((1, 2, 17, 3)), "coco17", "m"))


@pytest.mark.parametrize("backend", ["movenet", "blazepose"])
def test_somebody_who_claps_is_seen_by_real_models(backend, data_root, models):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ai_edge_litert")
    folder = models("rtmdet_nano_person.onnx").parent
    clips = sorted((data_root("jhmdb") / "clap").glob("*.mp4"))
    found = estimate(clips[0], backends.make_tracker(backend, models=folder, threads=1), fps=6)
    pose = found.clip.pose
    seen = pose.observed[0].any(-1)
    assert found.persons >= 1 and seen.mean() > 0.7
    nose, shoulder = (pose.points[0, seen][:, pose.layout.index(joint), 1] for joint in ("nose", "left_shoulder"))
    assert (nose < shoulder).mean() > 0.9 and pose.score[0, seen].max(-1).mean() > 0.5


@pytest.fixture
def videos(tmp_path, monkeypatch):
    """A data set of two videos, in the second of which nobody is seen, and one clip that has skeletons; how many trackers were made."""
    made = []

    def people(name):
        return lambda time: [] if name.stem == "empty" else [small()]

    class Trackers:
        def __call__(self, backend):
            made.append(backend)
            return tracker(lambda time: people(self.now)(time))

    trackers = Trackers()
    whole = _estimated.estimate

    def estimated(source, of, **settings):
        trackers.now = source.path
        return whole(source, of, **settings)

    monkeypatch.setattr(_estimated, "make_tracker", trackers)
    monkeypatch.setattr(_estimated, "estimate", estimated)
    clips = []
    for name in ("full", "empty"):
        path = write_video(tmp_path / f"{name}.mp4", frames=10)
        clips.append(Clip(name, {"video": VideoSource(path)}, label=0, source=path))
    pose = PoseSequence(np.ones((1, 5, 17, 2)), "coco17", "px", image_size=(64, 48), y_axis="down")
    clips.append(Clip("posed", {"pose": pose}, label=1))
    return Dataset("mine", tuple(clips), ("a", "b"), root=tmp_path), made


def test_a_data_sets_videos_get_their_skeletons_once(videos):
    dataset, made = videos
    found = _estimated.with_poses(dataset, "movenet", on_error="skip")
    assert [clip.id for clip in found.clips] == ["full", "posed"] and found.clips[1] is dataset.clips[2]
    np.testing.assert_allclose(found.clips[0].pose.points[0, 5], small(), atol=1e-4)
    assert found.clips[0].video == dataset.clips[0].video and found.clips[0].label == 0
    assert len(found.skipped) == 1 and "empty.mp4: nobody is seen in it" in str(found.skipped[0])
    again = _estimated.with_poses(dataset, "movenet", on_error="skip")
    np.testing.assert_array_equal(again.clips[0].pose.points, found.clips[0].pose.points)
    assert made == ["movenet"] and len(again.skipped) == 1


def test_a_video_without_anybody_is_an_error_unless_it_is_skipped(videos):
    with pytest.raises(DataError, match=r"empty.mp4: nobody is seen in it; a video of a person is expected"):
        _estimated.with_poses(videos[0], "movenet")


def test_a_data_set_that_has_skeletons_is_left_as_it_is(videos):
    dataset = replace(videos[0], clips=videos[0].clips[2:])
    assert _estimated.with_poses(dataset, "movenet") is dataset and not videos[1]


def test_converting_videos_writes_their_skeletons(videos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("kinema.datasets.base.read_dataset", lambda name, root, on_error: videos[0])
    assert main(["data", "convert", "mine", "x", str(tmp_path / "out"), "--pose", "movenet", "--on_error", "skip"]) == 0
    assert "2 clips written" in capsys.readouterr().out
    assert [clip.id for clip in read_dataset("folder", tmp_path / "out").clips] == ["full", "posed"]


def test_a_recipe_may_ask_for_the_skeletons_of_videos(videos, monkeypatch):
    monkeypatch.setattr("kinema.training.data.read_dataset", lambda name, root, on_error: videos[0])
    assert [clip.has("pose") for clip in read(DataConfig("mine", "x", on_error="skip")).clips] == [False, False, True]
    assert [clip.id for clip in read(DataConfig("mine", "x", pose="movenet", on_error="skip")).clips] == ["full", "posed"]
