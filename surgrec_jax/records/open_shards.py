"""Open ArrayRecord shards, shared by all sources of a process and bounded in number.

A corpus has a shard for every few hundred MB: a loader that kept all of them open would pass the
usual limit of 1,024 files.
"""

import collections
import resource
import threading
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordReader

from surgrec_jax.records import storage
from surgrec_jax.records.example import DamagedRecordError


def open_shard(path: Path, count: int) -> ArrayRecordReader:
    """A reader that many threads may share, as array_record's own data source opens it.

    Raises:
      DamagedRecordError: missing, no ArrayRecord file, or not one of `count` records.
      StorageError: the file system failed.
    """
    try:
        options = "readahead_buffer_size:0"
        reader = ArrayRecordReader(str(path), options=options, file_reader_buffer_size=1 << 16)
        found = reader.num_records()
        if found != count:
            reader.close()  # of a file that is no ArrayRecord, array_record complains only here
    except (OSError, RuntimeError, ValueError) as e:
        failed = storage.trouble(path, e)
        if failed is not None:
            raise failed from e
        why = "is missing" if not path.exists() else f"cannot be opened: {e}"
        raise DamagedRecordError(f"shard {path} {why}") from e
    if found != count:
        raise DamagedRecordError(f"shard {path} holds {found} records, its metadata says {count}")
    return reader


class OpenShards:
    """The shards read last, open.

    A reader that falls out is not closed but let go: it closes when the last read under way ends.

    Args:
      most: how many stay open.
    """

    def __init__(self, most: int):
        self.most = most
        self._open: collections.OrderedDict[Path, ArrayRecordReader] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def reader(self, path: Path, count: int) -> ArrayRecordReader:
        """The reader of a shard of `count` records, opened if need be. Raises as `open_shard`."""
        with self._lock:
            reader = self._open.get(path)
            if reader is not None:
                self._open.move_to_end(path)
                return reader
        reader = open_shard(path, count)  # may take long: others read meanwhile
        with self._lock:
            reader = self._open.setdefault(path, reader)
            self._open.move_to_end(path)
            while len(self._open) > self.most:
                self._open.popitem(last=False)
        return reader

    def forget(self, path: Path) -> None:
        """The shard is opened anew when it is next read."""
        with self._lock:
            self._open.pop(path, None)


def _most() -> int:
    """Half of the files that this process may open (`ulimit -n`), at most 4,096."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 4096 if limit == resource.RLIM_INFINITY else max(1, min(4096, limit // 2))


OPEN = OpenShards(_most())
