"""The commands `kinema data ...`: typed functions, one each, with no logic of their own."""

from __future__ import annotations

from typing import Literal

from kinema._commandline import answer


def data_list(*, json: bool = False) -> None:
    """The data sets and formats that Kinema reads.

    Args:
        json: Print one JSON object and nothing else.
    """
    from dataclasses import asdict

    from kinema.datasets._inspect import list_text
    from kinema.datasets.base import dataset_infos

    infos = dataset_infos()
    answer(list_text(infos), {"datasets": [asdict(info) for info in infos]}, json)


def data_inspect(name: str, root: str | None = None, *, on_error: Literal["raise", "skip"] = "raise", json: bool = False) -> None:
    """What a data set holds: clips, classes, people, lengths, units, missing joints, protocols and their splits.

    Args:
        name: Data set, see `kinema data list`.
        root: Its folder. Default: the folder of that name under $KINEMA_DATA.
        on_error: What happens at a clip that cannot be read: "raise" stops, "skip" leaves it out and counts it.
        json: Print one JSON object and nothing else.
    """
    from kinema.datasets._inspect import inspect, inspect_text
    from kinema.datasets.base import read_dataset

    found = inspect(read_dataset(name, root, on_error=on_error), progress=not json)
    answer(inspect_text(found), found, json)


def data_audit(
    name: str, root: str | None = None, *, protocol: str | None = None, depth: bool = False, video: bool = False, json: bool = False
) -> None:
    """Look for what makes results untrue: copies and people on both sides of a split, broken, frozen or saturated recordings.

    Args:
        name: Data set, see `kinema data list`.
        root: Its folder. Default: the folder of that name under $KINEMA_DATA.
        protocol: The division that is looked at. Default: all that the data set has.
        depth: Look into the depth images too, which takes minutes.
        video: Decode the videos, which takes long, to find copies and shared frames in what they show; otherwise whole files are compared.
        json: Print one JSON object and nothing else.
    """
    from kinema.datasets.audit import audit
    from kinema.datasets.base import read_dataset

    found = audit(read_dataset(name, root, on_error="skip"), protocol, depth=depth, video=video, progress=not json)
    answer(found.text(), found.to_dict(), json)


def data_convert(
    name: str,
    root: str,
    out: str,
    *,
    pose: Literal["auto", "rtmpose", "movenet", "blazepose"] | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> None:
    """Write a data set in Kinema's own form: a folder with clips.csv and one .npz a clip.

    Args:
        name: Data set, see `kinema data list`.
        root: Its folder.
        out: New folder.
        pose: Estimate the skeletons of clips that are videos without one by this backend, see `kinema pose --help`.
        on_error: What happens at a clip that cannot be read, or in whose video nobody is seen: "raise" stops, "skip" leaves it out and
            counts it.
    """
    from kinema.datasets._convert import convert
    from kinema.datasets.base import read_dataset

    dataset = read_dataset(name, root, on_error=on_error)
    if pose is not None:
        from kinema.datasets._estimated import with_poses

        dataset = with_poses(dataset, pose, on_error=on_error)
    convert(dataset, out)
    clips = sum(clip.has("pose") for clip in dataset.clips)
    print(f"{clips} clips written to {out}" + (f", {len(dataset.skipped)} skipped" if dataset.skipped else ""))


def data_draw(name: str, clip: str, out: str, *, root: str | None = None) -> None:
    """Draw what models are given of a clip's depth images: motion and difference images, views, segments, frames.

    Args:
        name: Data set, see `kinema data list`.
        clip: Name of the clip, such as a5_s1_t1.
        out: The picture, OUT.png.
        root: The data set's folder. Default: the folder of that name under $KINEMA_DATA.
    """
    from kinema.datasets.base import read_dataset
    from kinema.evaluation.depth_plots import draw_depth

    print(f"drawn: {draw_depth(read_dataset(name, root), clip, out)}")


def data_fit_camera(
    name: str,
    marks: str,
    out: str,
    *,
    root: str | None = None,
    size: tuple[int, int] | None = None,
    centre: str | None = None,
    draw: str | None = None,
    json: bool = False,
) -> None:
    """Fit the camera that saw a data set's joints in space, from joints marked in pictures: u = cx X/Z + bx, v = cy Y/Z + by.

    Recipes name the file as data.camera, for pictures that are cut to the people in them. The signs of cx and cy are found.

    Args:
        name: Data set, see `kinema data list`.
        marks: CSV file with the columns clip, frame (of the skeleton, from 0), joint, u, v (pixels).
        out: The camera, OUT.json.
        root: The data set's folder. Default: the folder of that name under $KINEMA_DATA.
        size: [WIDTH,HEIGHT] of the pictures that were marked. Default: of the clip's video, or of its depth images.
        centre: "fit" fits bx and by too. Default: they are the middle of the picture.
        draw: Draw the joints of the first marked frame over its picture, into this PNG file.
        json: Print one JSON object and nothing else.
    """
    from kinema import _camera_command as camera
    from kinema.datasets.base import read_dataset

    dataset = read_dataset(name, root)
    fitted, read = camera.fit(dataset, marks, size, centre)
    found = fitted.to_dict()
    path = camera.write_camera(found, out)
    drawn = camera.draw(dataset, fitted, read, draw) if draw else None
    text = camera.fit_text(found, path) + (f"\ndrawn     {drawn}" if drawn else "")
    answer(text, {**found, "file": str(path), **({"drawn": str(drawn)} if drawn else {})}, json)


DATA_COMMANDS = {
    "list": data_list,
    "inspect": data_inspect,
    "audit": data_audit,
    "convert": data_convert,
    "draw": data_draw,
    "fit-camera": data_fit_camera,
}
