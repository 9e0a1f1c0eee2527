"""Several persons at once, each with a steady answer and with actions that begin and end."""

import numpy as np
import pytest
from tiny_bundles import moving_pose, tiny_bundle

from kinema.clip import PoseSequence
from kinema.errors import BundleError, DataError, KinemaError
from kinema.recognition.episodes import Rule
from kinema.recognition.live import LiveRecognizer
from kinema.recognition.recognizer import Recognizer
from kinema.recognition.steps import Skeleton, steps
from kinema.recognition.stream import ActivityRecognizer

AT_ONCE = Rule(enter=0.3, leave=0.2, least=0.0, smoothing=0.0)
# Whatever its net finds most probable counts: what is looked at here is when, not what.
ANY = Rule(enter=0.01, leave=0.01, least=0.2, smoothing=0.1)


@pytest.fixture(scope="module")
def flat():
    """A window of one second of 2-D points."""
    return Recognizer(tiny_bundle(layout="coco17", dims=2, unit="px", scale=True))


def people(count, frames=60, fps=30.0, size=200.0):
    poses = [moving_pose("coco17", frames=frames, fps=fps, dims=2, size=size, unit="px", y_axis="down", seed=seed) for seed in range(count)]
    return PoseSequence(np.concatenate([pose.points + 400 for pose in poses]), "coco17", "px", fps=fps, y_axis="down")


def play(live, pose, start=0.0):
    return [live.step(start + time, skeletons) for time, skeletons in steps(pose)]


def test_each_person_is_answered_as_alone_in_one_pass_of_the_network(flat, monkeypatch):
    pose = people(3, frames=40)
    sizes = []
    live = LiveRecognizer(flat, rule=AT_ONCE)
    monkeypatch.setattr(type(live.recognizer), "predict_clips", spy(sizes, type(live.recognizer).predict_clips))
    answers = play(live, pose)
    assert set(sizes) == {3}
    for person in range(3):
        alone = ActivityRecognizer(flat, layout="coco17", unit="px", y_axis="down")
        for frame in range(40):
            alone.add_skeleton(pose.points[person, frame], frame / 30)
        expected = dict(alone.current_activity().top(5))
        assert dict(answers[-1].persons[person].top) == pytest.approx(expected, abs=1e-5)


def spy(sizes, function):
    def predict_clips(self, clips, **options):
        sizes.append(len(clips))
        return function(self, clips, **options)

    return predict_clips


def test_before_a_window_is_full_the_answer_says_what_is_lacking(flat):
    answers = play(LiveRecognizer(flat, rule=ANY), people(1, frames=40))
    assert answers[10].persons[0].label is None and "of 1.0 s have been seen" in answers[10].persons[0].flaw
    assert answers[-1].persons[0].label in flat.bundle.classes and answers[-1].persons[0].flaw == ""


def moments(live, pose, keep=lambda frame: True, start=0.0):
    """Every step's answer; frames that are not kept are steps without anybody."""
    return [live.step(start + time, skeletons if keep(frame) else []) for frame, (time, skeletons) in enumerate(steps(pose))]


def events(answers):
    opened = [event for answer in answers for event in answer.opened]
    closed = [event for answer in answers for event in answer.closed]
    return opened, closed


def test_an_action_opens_goes_on_and_is_closed_where_its_person_was_last_seen(flat):
    live = LiveRecognizer(flat, rule=ANY, source="hall")
    answers = moments(live, people(1, frames=150), keep=lambda frame: frame < 60)
    opened, closed = events(answers)
    assert opened and len(closed) == len(opened)
    assert all(event.end is None and event.source == "hall" for event in opened)
    assert closed[-1].end == pytest.approx(59 / 30) and closed[-1].start < closed[-1].end
    assert 0 < closed[-1].confidence <= 1
    assert len(live) == 0 and live.open_events() == () and live.finish() == ()


def test_a_short_absence_does_not_end_an_action(flat):
    live = LiveRecognizer(flat, rule=Rule(enter=0.01, leave=0.01, least=0.2, smoothing=5.0))
    answers = moments(live, people(1, frames=150), keep=lambda frame: not 60 <= frame < 80)
    assert events(answers)[1] == []
    assert len(live.open_events()) == 1
    assert live.finish()[0].end == pytest.approx(149 / 30)


def test_somebody_carried_over_an_occlusion_was_not_seen(flat):
    class Carried(Skeleton):
        observed = False

    live = LiveRecognizer(flat, rule=ANY)
    for time, skeletons in steps(people(1, frames=120)):
        if time > 1.5:
            skeletons = [Carried(each.person, each.points, each.scores) for each in skeletons]
        answer = live.step(time, skeletons)
    assert answer.persons[0].label is None and "nobody has been seen for" in answer.persons[0].flaw
    assert live.finish() == ()  # it ended where it was last seen, long ago


@pytest.mark.parametrize("fps", [12.0, 30.0, 50.0])
def test_times_count_not_frames(flat, fps):
    """The same motion at any rate opens the same action at about the same second."""
    live = LiveRecognizer(flat, rule=ANY)
    opened, _ = events(moments(live, people(1, frames=int(2 * fps), fps=fps)))
    assert opened[0].start == pytest.approx(0.93, abs=0.1)


def test_at_most_so_many_answers_a_second(flat, monkeypatch):
    sizes = []
    live = LiveRecognizer(flat, rule=ANY, rate=5)
    monkeypatch.setattr(type(live.recognizer), "predict_clips", spy(sizes, type(live.recognizer).predict_clips))
    play(live, people(2, frames=120))
    assert 14 <= len(sizes) <= 16 and set(sizes) == {2}  # three seconds with a full window


def test_persons_are_bounded_and_forgotten(flat):
    live = LiveRecognizer(flat, rule=ANY, max_persons=2)
    answers = play(live, people(3, frames=40))
    assert [person.flaw.startswith("2 people are followed") for person in answers[-1].persons] == [False, False, True]
    for number in range(100):
        (skeleton,) = next(iter(steps(people(1, frames=2))))[1]
        live.step(10 + 2.0 * number, [Skeleton(number, skeleton.points, skeleton.scores)])
    assert len(live) == 1


def test_nobody_is_an_answer_without_persons(flat):
    live = LiveRecognizer(flat)
    assert live.step(0.0, []).persons == () and live.step(100.0, []).closed == ()


def test_twenty_people_are_one_pass(flat, monkeypatch):
    sizes = []
    live = LiveRecognizer(flat, rule=AT_ONCE)
    monkeypatch.setattr(type(live.recognizer), "predict_clips", spy(sizes, type(live.recognizer).predict_clips))
    answers = play(live, people(20, frames=32))
    assert set(sizes) == {20} and all(len(person.top) == 4 for person in answers[-1].persons)


def test_too_few_joints_in_view_is_told(flat):
    live = LiveRecognizer(flat)
    for time, (skeleton,) in steps(people(1, frames=40)):
        hidden = np.where(np.arange(17) < 10, 0.05, skeleton.scores)
        answer = live.step(time, [Skeleton(0, skeleton.points, hidden)])
    assert "nobody is seen (7 of 17 joints)" in answer.persons[0].flaw


def test_a_bundle_of_3d_skeletons_looks_at_metres():
    bundle, pose = Recognizer(tiny_bundle(layout="cad60", align=True)), moving_pose("cad60", frames=40)
    live = LiveRecognizer(bundle, layout="cad60", rule=AT_ONCE)
    answers = play(live, pose)
    expected = dict(bundle.predict(pose.select_frames(slice(10, 40))).top(5))
    assert dict(answers[-1].persons[0].top) == pytest.approx(expected, abs=1e-3)
    with pytest.raises(BundleError, match=r"takes 3-D skeletons, which these poses lack"):
        live.step(10.0, [Skeleton(0, np.zeros((15, 2)), np.ones(15))])


@pytest.mark.parametrize(
    ("time", "change", "says"),
    [
        (0.5, {}, "time runs backwards, from 1.3 s to 0.5 s"),
        (float("nan"), {}, "time is nan"),
        ("now", {}, "time is 'now'"),
        (2.0, {"points": np.zeros((5, 2))}, r"joints \(5, 2\)"),
        (2.0, {"scores": np.zeros(3)}, r"scores \(3,\)"),
        (2.0, {"points": np.full((17, 2), "a")}, "not arrays of numbers"),
    ],
)
def test_bad_steps_are_errors_that_change_nothing(flat, time, change, says):
    live = LiveRecognizer(flat, rule=ANY)
    before = play(live, people(1, frames=40))[-1]
    skeleton = {"person": 0, "points": np.zeros((17, 2)), "scores": np.ones(17), **change}
    with pytest.raises(DataError, match=says):
        live.step(time, [Skeleton(**skeleton)])
    assert live.step(1.3, []).persons == () and live.open_events()[0].start == before.persons[0].since


def test_two_poses_of_one_person_are_an_error(flat):
    (skeleton,) = next(iter(steps(people(1))))[1]
    with pytest.raises(DataError, match="two poses of one person"):
        LiveRecognizer(flat).step(0.0, [skeleton, skeleton])


def test_a_new_stream_begins_with_reset(flat):
    live = LiveRecognizer(flat, rule=ANY)
    first = play(live, people(1, frames=40), start=100.0)[-1]
    live.reset()
    again = play(live, people(1, frames=40))[-1]
    assert dict(again.persons[0].top) == pytest.approx(dict(first.persons[0].top))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"layout": "coco71"}, "unknown joint layout"),
        ({"rate": 0}, "rate is 0"),
        ({"max_persons": -1}, "max_persons"),
        ({"max_gap": 0}, "max_gap"),
        ({"window": -1}, "window"),
    ],
)
def test_impossible_settings_are_refused(flat, settings, says):
    with pytest.raises(KinemaError, match=says):
        LiveRecognizer(flat, **settings)


def test_the_bundle_that_it_was_given_stays_as_it_was():
    recognizer = Recognizer(tiny_bundle(layout="coco17", dims=2, unit="px", scale=True, fields={"views": 5}))
    live = LiveRecognizer(recognizer)
    assert recognizer.bundle.views == 5 and live.recognizer.bundle.views == 1
