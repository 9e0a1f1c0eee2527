"""The component over loopback: what the recogniser answers is what the client hears, and bad clients harm nobody."""

import time

import numpy as np
import pytest
from tiny_bundles import CLASSES, moving_pose, tiny_bundle

from kinema.errors import KinemaError
from kinema.recognition.recognizer import Recognizer
from kinema.serving._ice import communicator, interface
from kinema.serving.robocomp import ActivityServer, Streams, TooManyStreams
from kinema.serving.robocomp_client import RemoteRecognizer, client

try:
    ice, slice_module = interface()
except KinemaError as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer(tiny_bundle())


@pytest.fixture
def server(recognizer):
    with ActivityServer(recognizer, port=0, max_clients=3) as running:
        yield running


def frames(pose):
    for frame in range(pose.frames):
        yield {joint: pose.points[0, frame, v].tolist() for v, joint in enumerate(pose.layout.joints)}, frame / pose.fps


def feed(remote, pose):
    return [remote.add_skeleton(skeleton, moment) for skeleton, moment in frames(pose)]


def soon(true):
    """Wait until it is true, at most five seconds."""
    until = time.monotonic() + 5
    while not true() and time.monotonic() < until:
        time.sleep(0.01)
    return true()


def test_a_client_hears_what_the_recognizer_answers(recognizer, server):
    pose = moving_pose(frames=30)
    with RemoteRecognizer(port=server.port) as remote:
        assert remote.classes == CLASSES
        assert not remote.current_activity().known and "no skeleton" in remote.current_activity().reason
        ready = feed(remote, pose)
        assert not ready[10] and ready[-1]
        np.testing.assert_allclose(remote.current_activity().probabilities, recognizer.predict(pose).probabilities, atol=1e-5)
        remote.reset()
        assert not remote.current_activity().known


def test_the_client_plays_a_recording_asks_and_draws(server, tmp_path):
    shown = []
    pose = moving_pose(frames=90)
    answers = client(pose, port=server.port, draw=tmp_path / "now.png", speed=20, show=shown.append)
    assert [answer.known for answer in answers] == [True, True, True] and len(shown) == 3
    assert answers[0].label in shown[0]
    assert (tmp_path / "now.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(KinemaError, match=r"\.png"):
        client(pose, port=server.port, draw=tmp_path / "now.txt")


def test_a_recording_in_millimetres_is_played_in_the_components_metres(recognizer, server):
    pose = moving_pose(frames=30)
    shown = client(pose.to_unit("mm"), port=server.port, speed=20, show=lambda line: None)
    assert shown[-1].label == recognizer.predict(pose).label


def test_each_client_is_one_stream_that_goes_with_it(server):
    with RemoteRecognizer(port=server.port) as one, RemoteRecognizer(port=server.port) as two:
        feed(one, moving_pose(frames=30))
        assert one.current_activity().known and not two.current_activity().known
        assert len(server.streams) == 2
    assert soon(lambda: len(server.streams) == 0)


def test_a_shared_server_has_one_stream_for_all(recognizer):
    with ActivityServer(recognizer, port=0, shared=True) as server:
        with RemoteRecognizer(port=server.port) as one, RemoteRecognizer(port=server.port) as two:
            feed(one, moving_pose(frames=30))
            assert two.current_activity().known
        assert len(server.streams) == 1


def test_more_clients_than_allowed_are_told_so_and_find_room_later(server):
    remotes = [RemoteRecognizer(port=server.port) for _ in range(4)]
    for remote in remotes[:3]:
        remote.current_activity()
    with pytest.raises(KinemaError, match="3 clients are connected"):
        remotes[3].current_activity()
    remotes[0].close()
    assert soon(lambda: len(server.streams) < 3)
    assert not remotes[3].current_activity().known
    for remote in remotes[1:]:
        remote.close()


@pytest.mark.parametrize(
    ("joints", "moment", "says"),
    [
        ({"tail": (1.0, 2.0, 3.0)}, 1.0, "changed midway"),
        ({f"j{i}": (1.0, 2.0, 3.0) for i in range(600)}, 1.0, "this one has 600"),
        (None, 1.0, "time runs backwards"),
        (None, float("inf"), "time is inf"),
    ],
)
def test_what_a_client_sends_amiss_is_told_and_leaves_its_stream_whole(server, joints, moment, says):
    pose = moving_pose(frames=120)
    with RemoteRecognizer(port=server.port) as remote:
        feed(remote, pose)
        before = remote.current_activity()
        with pytest.raises(KinemaError, match=says):
            remote.add_skeleton(joints or next(frames(pose))[0], moment)
        after = remote.current_activity()
        np.testing.assert_array_equal(after.probabilities, before.probabilities)


def test_a_client_that_falls_silent_gets_no_stale_answer(recognizer):
    with ActivityServer(recognizer, port=0, max_gap=0.2) as server, RemoteRecognizer(port=server.port) as remote:
        feed(remote, moving_pose(frames=30))
        assert remote.current_activity().known
        time.sleep(0.3)
        assert "nobody has been seen" in remote.current_activity().reason


def _raw(server):
    """A client without the manners of ours."""
    own = communicator(**{"Ice.MessageSizeMax": "4096"})
    proxy = own.stringToProxy(f"activity:tcp -h 127.0.0.1 -p {server.port}")
    return own, slice_module.HumanActivityRecognitionPrx.uncheckedCast(proxy)


def test_a_message_that_is_too_large_closes_its_connection_alone(server):
    joint = slice_module.Joint(1.0, 2.0, 3.0, 1.0)
    own, proxy = _raw(server)
    with RemoteRecognizer(port=server.port) as other:
        with pytest.raises(ice.Exception):
            proxy.addSkeleton(slice_module.Skeleton(0.0, {"x" * 200_000: joint}))
        assert not other.current_activity().known
    own.destroy()


def test_bytes_that_are_not_ice_harm_nobody(server):
    import socket

    for noise in (b"GET / HTTP/1.1\r\n\r\n", bytes(4096), b"IceP" + b"\xff" * 200):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(noise)
    with RemoteRecognizer(port=server.port) as remote:
        assert feed(remote, moving_pose(frames=30))[-1]


def test_a_flood_is_swallowed_while_others_are_served(recognizer, server):
    pose = moving_pose(frames=30)
    skeletons = [
        slice_module.Skeleton(moment, {joint: slice_module.Joint(*point, 1.0) for joint, point in skeleton.items()})
        for skeleton, moment in frames(pose)
    ]
    own, proxy = _raw(server)
    calls = [proxy.addSkeletonAsync(skeletons[i % 30]) for i in range(2000)]
    questions = [proxy.getCurrentActivityAsync() for _ in range(200)]
    with RemoteRecognizer(port=server.port) as other:
        assert feed(other, pose)[-1]
        np.testing.assert_allclose(other.current_activity().probabilities, recognizer.predict(pose).probabilities, atol=1e-5)
    for call in [*calls, *questions]:
        call.result(timeout=20)
    assert soon(lambda: all(len(stream._recognizer) <= 122 for stream in server.streams._streams.values()))
    own.destroy()
    assert soon(lambda: len(server.streams) == 0)


def test_a_client_that_vanishes_is_forgotten(server):
    own, proxy = _raw(server)
    pending = [proxy.getCurrentActivityAsync() for _ in range(50)]
    proxy.ice_getConnection().close(ice.ConnectionClose.Forcefully)
    own.destroy()
    assert soon(lambda: len(server.streams) == 0)
    with RemoteRecognizer(port=server.port) as remote:
        assert remote.current_activity().reason
    del pending


def test_nobody_there_and_a_taken_port_are_one_line(server, recognizer):
    with ActivityServer(recognizer, port=0) as other:
        port = other.port
    for host, wrong, says in (
        ("127.0.0.1", port, "no activity recogniser answers"),
        ("no host", 1, "no address"),
        ("127.0.0.1", -4, "no address"),
    ):
        with pytest.raises(KinemaError, match=says) as error:
            RemoteRecognizer(host, wrong)
        assert "\n" not in str(error.value)
    with pytest.raises(KinemaError, match=f"cannot listen on 127.0.0.1 port {server.port}") as error:
        ActivityServer(recognizer, port=server.port)
    assert "\n" not in str(error.value)


def test_the_streams_of_a_server_are_counted():
    streams = Streams(lambda: None, most=2)
    assert streams.of("a") is streams.of("a")
    streams.of("b")
    with pytest.raises(TooManyStreams):
        streams.of("c")
    streams.drop("a")
    streams.of("c")
    streams.drop("nobody")
    assert len(streams) == 2
