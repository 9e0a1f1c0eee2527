"""Readers, one file per data set or format; the only place that knows file formats."""

from kinema.datasets.base import Dataset, DatasetInfo, Protocol, Split, dataset_infos, read_dataset

__all__ = ["Dataset", "DatasetInfo", "Protocol", "Split", "dataset_infos", "read_dataset"]
