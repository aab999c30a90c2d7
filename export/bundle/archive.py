"""Files as a .tar or .tar.zst whose bytes follow from their names and contents alone."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from secateur.core.errors import ExportError
from secateur.core.files import atomic_path
from secateur.export.bundle.contents import Source
from secateur.export.runner.archive import TOP, import_zstd

LEVEL = 10
"""Of Zstandard; weights hardly get smaller beyond it."""
SUFFIXES = (".tar", ".tar.zst")


def write_archive(files: Mapping[str, Source], out: Path) -> None:
    """Writes the files below `bundle/`, in their order, without times, owners and rights of their own; atomically."""
    with atomic_path(out) as part, part.open("wb") as file:
        if out.name.endswith(".tar"):
            _write_tar(files, file)
            return
        zstd = import_zstd()
        options = {zstd.CompressionParameter.compression_level: LEVEL, zstd.CompressionParameter.checksum_flag: 1}
        with zstd.ZstdFile(file, "wb", options=options) as packed:
            _write_tar(files, packed)


def _write_tar(files: Mapping[str, Source], file: IO[bytes]) -> None:
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for name, source in files.items():
            member = tarfile.TarInfo(f"{TOP}/{name}")
            member.mode = 0o644
            member.size = len(source) if isinstance(source, bytes) else source.stat().st_size
            with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as content:
                try:
                    tar.addfile(member, content)
                except ValueError as error:  # a name of more than USTAR's 100 + 155 bytes, or a file of 8 GiB
                    raise ExportError(
                        f"{name} does not fit into a .tar ({error}): write the bundle as a folder"
                    ) from error
