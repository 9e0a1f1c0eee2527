"""HMDB51: 51 actions in 6 766 clips of films and of videos of users (Kuehne et al., ICCV 2011).

    wave/NAME.avi                                        videos in class folders
    testTrainMulti_7030_splits/wave_test_split1.txt      lines "NAME.avi 1": 1 trains, 2 tests, 0 does neither

The lists lie in any folder of the data set's, or beside it. Classes are the folders in which there are clips, so that any of them
can be left out. `group` is the class and the title of the source that a name tells; names of another form have none. Listed
clips that are not there are noted in `skipped`. Nothing is opened when listing.
"""

from __future__ import annotations

from pathlib import Path

from kinema.datasets._hmdb import read_hmdb
from kinema.datasets.base import Dataset, DatasetInfo, OnError

INFO = DatasetInfo(
    "hmdb51",
    "HMDB51: 51 actions in clips of films and videos of users",
    ("video",),
    51,
    "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
    "folder of class folders of videos, and the lists CLASS_test_split{1,2,3}.txt",
)


def read(root: str | Path, *, on_error: OnError = "raise", cache: bool = True) -> Dataset:
    """Protocols "official" (splits "1" to "3"; all classes: 3 570 / 1 530 clips each) and "random"."""
    return read_hmdb(INFO, root, on_error)
