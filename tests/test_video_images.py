import numpy as np
import pytest
from make_videos import picture
from PIL import Image

from kinema import video
from kinema.clip import VideoSource
from kinema.errors import DataError


def write_images(folder, names, height=48, width=64):
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        Image.fromarray(picture(i, height, width)).save(folder / name, **({"quality": 95} if name.endswith("g") and "jp" in name else {}))
    return folder


@pytest.mark.parametrize("suffix", ["png", "bmp", "jpg", "JPEG"])
def test_images_come_in_the_order_of_their_numbers(suffix, tmp_path):
    folder = write_images(tmp_path / "frames.mp4", [f"frame_{i}.{suffix}" for i in range(12)])
    (folder / "list.txt").write_text("not an image")
    about = video.index(folder)
    assert (len(about), about.height, about.width, about.fps, about.container) == (12, 48, 64, 30, "folder")
    found = video.read_frames(folder, [11, 2, 10, 2])
    assert np.abs(found.astype(int) - [picture(i, 48, 64) for i in (11, 2, 10, 2)]).mean() < (6 if suffix in ("jpg", "JPEG") else 1e-9)
    np.testing.assert_array_equal([image for _, image in video.stream(folder)], video.read_frames(folder, range(12)))


def test_their_rate_is_told_and_parts_follow_it(tmp_path):
    folder = write_images(tmp_path / "a", [f"{i:05}.png" for i in range(1, 21)])
    part = VideoSource(folder, start=1, end=1.5, fps=10)
    np.testing.assert_allclose(video.index(part).times, np.arange(5) / 10)
    np.testing.assert_array_equal(video.read_frames(part, [0, 4]), [picture(10, 48, 64), picture(14, 48, 64)])
    assert [round(seconds, 6) for seconds, _ in video.stream(part)] == [0, 0.1, 0.2, 0.3, 0.4]
    assert video.index(VideoSource(folder)).fps == 30


@pytest.mark.parametrize("size", [(24, 32), 12, (96, 100)])
def test_they_are_resized(size, tmp_path):
    folder = write_images(tmp_path / "a", ["1.jpg", "2.jpg"], 96, 128)
    found = video.read_frames(folder, [1], size)[0]
    shape = size if isinstance(size, tuple) else (12, 16)
    wanted = np.asarray(Image.fromarray(picture(1, 96, 128)).resize(shape[::-1], Image.Resampling.BILINEAR))
    assert found.shape == wanted.shape and np.abs(found.astype(int) - wanted).mean() < 8


def test_colour_pictures_are_told_from_depth_beside_them(tmp_path):
    folder = write_images(tmp_path / "a", [f"frame_{i}_tc_{33 * i}_rgb.jpg" for i in range(5)])
    write_images(folder, [f"frame_{i}_tc_{33 * i}_depth.png" for i in range(5)])
    assert len(video.index(folder)) == 5
    write_images(tmp_path / "b", ["left1.png", "right1.png"])
    with pytest.raises(DataError, match=r"2 sequences of images in it \(left#.png, right#.png"):
        video.index(tmp_path / "b")


def test_grey_and_transparent_images_become_rgb_and_turned_ones_are_turned(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(picture(0, 48, 64)).convert("L").save(tmp_path / "a" / "0.png")
    Image.fromarray(picture(0, 48, 64)).convert("RGBA").save(tmp_path / "a" / "1.png")
    assert video.read_frames(tmp_path / "a", [0, 1]).shape == (2, 48, 64, 3)
    (tmp_path / "b").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(0, 48, 64)).save(tmp_path / "b" / "0.png", exif=exif)
    np.testing.assert_array_equal(video.read_frames(tmp_path / "b", [0])[0], np.rot90(picture(0, 48, 64), -1))


def test_what_is_wrong_with_images_is_said(tmp_path):
    folder = write_images(tmp_path / "a", ["1.png", "2.png", "3.png"])
    (folder / "2.png").write_bytes(b"not an image")
    Image.new("RGB", (9, 9)).save(folder / "3.png")
    assert len(video.index(folder)) == 3
    for frame, said in ((1, r"2\.png: .*an image \(jpg, png, bmp\) is expected"), (2, r"3\.png: it has 9 x 9 pixels, the first 64 x 48")):
        with pytest.raises(DataError, match=said):
            video.read_frames(folder, [frame])
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"1\.png: .*truncated"):
        video.read_frames(folder, [0])
    Image.fromarray(np.zeros((48, 64), np.uint16)).save(folder / "1.png")
    with pytest.raises(DataError, match=r"1\.png: .*no colour image"):
        video.read_frames(folder, [0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: there are no numbered images"):
        video.index(tmp_path / "empty")
