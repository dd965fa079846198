#!/usr/bin/env python3
"""Writes an sdist of setuptools so that two builds of the same files are equal: packaging/normal_sdist.py SDIST DIRECTORY.

setuptools keeps the times, owners and order of the files on disk. The times become $SOURCE_DATE_EPOCH, as in the sdists of hatchling.
"""

import gzip
import os
import sys
import tarfile
from pathlib import Path


def normalize(sdist: Path, target: Path, time: int) -> None:
    """Write the files of an sdist in the order of their names, with one time and without owners."""
    with (
        tarfile.open(sdist) as given,
        open(target, "wb") as out,
        gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=time) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as written,
    ):
        for member in sorted(given.getmembers(), key=lambda each: each.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = time, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            written.addfile(member, given.extractfile(member) if member.isfile() else None)


if __name__ == "__main__":
    source = Path(sys.argv[1])
    normalize(source, Path(sys.argv[2]) / source.name, int(os.environ["SOURCE_DATE_EPOCH"]))
