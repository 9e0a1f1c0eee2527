"""JHMDB's videos: 928 short clips of 21 actions, chosen from HMDB51 (Jhuang et al., ICCV 2013).

    wave/NAME.avi                     videos in class folders
    splits/wave_test_split1.txt       lines "NAME.avi 1": 1 trains, 2 tests

A data set of its own beside `jhmdb`, the poses: those carry no names of clips, and cannot be tied to the videos. `group` is the
class and the title of the source that a name tells; the official splits keep such clips together. Copies that were encoded
anew from 25 to 30 frames per second repeat every fifth frame. Nothing is opened when listing.
"""

from __future__ import annotations

from pathlib import Path

from kinema.datasets._hmdb import read_hmdb
from kinema.datasets.base import Dataset, DatasetInfo, OnError

INFO = DatasetInfo(
    "jhmdb-video",
    "JHMDB: videos of 21 actions",
    ("video",),
    21,
    "http://jhmdb.is.tue.mpg.de/",
    "folder of class folders of videos, and the lists CLASS_test_split{1,2,3}.txt; the same folder as of jhmdb",
    folder="jhmdb",
)


def read(root: str | Path, *, on_error: OnError = "raise", cache: bool = True) -> Dataset:
    """928 clips; splits "1" to "3" of the protocol "official" train 660, 658, 663 and test 268, 270, 265; and "random"."""
    return read_hmdb(INFO, root, on_error)
