"""Small files of every format that the readers know, made of a moving skeleton of random numbers."""

import json
import pickle
from pathlib import Path

import numpy as np
import scipy.io

UTD_KEYS = {"Skeleton": "d_skel", "Depth": "d_depth", "Inertial": "d_iner"}


def moving(frames: int, joints: int, dims: int = 3, seed: int = 0) -> np.ndarray:
    """(T, V, C) points that drift, about 1 m in size, 2 m away."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.3, (1, joints, dims)) + np.linspace(0, 0.2, frames)[:, None, None] + np.array([0, 0, 2])[:dims]


def utd_file(root: Path, name: str = "a1_s1_t1", frames: int = 6, points: np.ndarray | None = None) -> Path:
    path = root / "Skeleton" / f"{name}_skeleton.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    points = moving(frames, 20, seed=sum(map(ord, name))) if points is None else points
    scipy.io.savemat(path, {"d_skel": points.transpose(1, 2, 0)}, do_compression=True)
    return path


def utd_folder(root: Path, names: list[str]) -> Path:
    for name in names:
        utd_file(root, name)
        for kind, value in (("Depth", np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)), ("Inertial", np.ones((9, 6)))):
            path = root / kind / f"{name}_{kind.lower()}.mat"
            path.parent.mkdir(exist_ok=True)
            scipy.io.savemat(path, {UTD_KEYS[kind]: value})
    return root


def cad_line(number: int, points: np.ndarray, confidence: float = 1) -> str:
    fields = [str(number)]
    for joint, point in enumerate(points):
        fields += (["0"] * 9 + ["1"] if joint < 11 else []) + [f"{value:.1f}" for value in point] + [f"{confidence:g}"]
    return ",".join(fields) + ","


def cad_text(frames: int = 5, seed: int = 0) -> str:
    points = 1000 * moving(frames, 15, seed=seed)
    return "\n".join([*(cad_line(i + 1, frame, confidence=i % 2) for i, frame in enumerate(points)), "END", ""])


def cad_folder(root: Path, labels: dict[str, dict[str, str | None]]) -> Path:
    """`labels`: person -> recording -> activity (None: not in the label file)."""
    for person, recordings in labels.items():
        folder = root / f"data{person}"
        folder.mkdir(parents=True)
        for i, name in enumerate(recordings):
            (folder / f"{name}.txt").write_text(cad_text(seed=i))
        lines = [f"{name},{activity},\n" for name, activity in recordings.items() if activity is not None]
        (folder / "activityLabel.txt").write_text("".join(lines) + "END\n")
    return root


def ucla_file(root: Path, name: str = "a01_s01_e00_v01", label: int | None = 1, points: object = None) -> Path:
    path = root / "all_sqe" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"file_name": name, "skeletons": moving(4, 20, seed=sum(map(ord, name))).tolist() if points is None else points}
    path.write_text(json.dumps(content | ({} if label is None else {"label": label})))
    return path


def ntu_text(frames: list[list[tuple[str, np.ndarray]]], state: int = 2) -> str:
    """`frames`: for each frame its bodies, as (id, (25, 3) points)."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for body, points in bodies:
            lines += [f"{body} 0 1 1 1 1 0 0.01 -0.2 2", "25"]
            lines += [f"{x:.6f} {y:.6f} {z:.6f} 1 2 3 4 0 0 0 0 {state}" for x, y, z in points]
    return "\n".join(lines) + "\n"


def standing(frames: int, seed: int = 0, at: float = 0.0, move: float = 0.1) -> np.ndarray:
    """(T, 25, 3) of somebody taller than wide who moves by `move` metres."""
    rng = np.random.default_rng(seed)
    body = rng.uniform(-1, 1, (1, 25, 3)) * [0.2, 0.9, 0.1] + [at, 0, 3]
    return body + np.linspace(0, move, frames)[:, None, None]


def ntu_file(root: Path, name: str = "S001C001P001R001A001", bodies: int = 1, frames: int = 15) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    people = {f"7{i}": standing(frames, seed=i, at=i) for i in range(bodies)}
    path = root / f"{name}.skeleton"
    path.write_text(ntu_text([[(body, points[t]) for body, points in people.items()] for t in range(frames)]))
    return path


def pyskl_annotation(name: str, label: int, joints: int = 17, dims: int = 2, frames: int = 8, persons: int = 1) -> dict:
    points = np.stack([moving(frames, joints, dims, seed=i) for i in range(persons)]) * (100 if dims == 2 else 1)
    annotation = {
        "frame_dir": name,
        "label": label,
        "total_frames": frames,
        "keypoint": points.astype(np.float16 if dims == 2 else np.float32),
    }
    if dims == 2:
        annotation |= {"img_shape": (1080, 1920), "original_shape": (1080, 1920)}
        annotation["keypoint_score"] = np.full((persons, frames, joints), 0.9, np.float16)
    return annotation


def pickled(path: Path, content: object, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def own_folder(root: Path, rows: list[dict[str, str]], frames: int = 6) -> Path:
    """A folder with clips.csv over .npz files, one for each row (its `path` is made of its `id`)."""
    root.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(["id", "path", "label", *(key for row in rows for key in row)]))
    lines = [",".join(columns)]
    for i, row in enumerate(rows):
        row = {"path": f"{row['id']}.npz", **row}
        np.savez(root / row["path"], points=moving(frames, 17, 2, seed=i), layout="coco17", unit="px", fps=25.0)
        lines.append(",".join(row.get(column, "") for column in columns))
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    return root
