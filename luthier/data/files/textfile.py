"""Text files: UTF-8 or a clear word about what they are instead."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from luthier.errors import DataError

_SNIFF_BYTES = 4096
_TEXT_BYTES = bytes([9, 10, 11, 12, 13, 27, *range(32, 127), *range(128, 256)])
_LEAST_BYTES, _MOST_CONTROLS = 64, 0.05
"""In random bytes every ninth is a control character; a damaged text has a few."""
_BROKEN = re.compile("[\x00\ud800-\udfff]")
_BROKEN_BYTE = re.compile("[\udc80-\udcff]")
_OTHER_FILES = {
    b"PK\x03\x04": "an Excel or ZIP file; save it as CSV (UTF-8)",
    b"\x1f\x8b": "gzip-compressed; end its name in .gz, or unpack it",
    b"PAR1": "a Parquet file; name it .parquet",
    b"version https://git-lfs": "a pointer of Git LFS, not the data; fetch it with `git lfs pull`",
    b"%PDF": "a PDF; save its text as .txt or its rows as .csv",
    b"\x89PNG": "a PNG picture, not data",
    b"\xff\xd8\xff": "a JPEG picture, not data",
    b"GIF8": "a GIF picture, not data",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file; save it as CSV (UTF-8)",
    b"ARROW1": "an Arrow file; write it as Parquet",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it",
    b"BZh": "bzip2-compressed; unpack it",
    b"\xfd7zXZ": "xz-compressed; unpack it",
    b"\x28\xb5\x2f\xfd": "zstd-compressed; unpack it",
}
_BOMS = {
    b"\xff\xfe\x00\x00": "UTF-32-LE", b"\x00\x00\xfe\xff": "UTF-32-BE",
    b"\xff\xfe": "UTF-16-LE", b"\xfe\xff": "UTF-16-BE",
}  # fmt: skip


def suffix_of(path: Path) -> str:
    """The ending that tells what a file holds, in small letters: `.jsonl` of `rows.JSONL.gz`."""
    return (Path(path.stem) if is_packed(path) else path).suffix.lower()


def is_packed(path: Path) -> bool:
    """Whether a file is to be read through gzip."""
    return path.suffix.lower() == ".gz"


def open_text(path: Path) -> IO[str]:
    """Open a UTF-8 text file (a byte-order mark is skipped), line ends untouched.

    Of a `.gz` file it is the text in it; `buffer.tell()` counts the packed bytes.
    """
    # Bytes that are not UTF-8 become lone surrogates, so that one damaged row is one reject.
    if is_packed(path):
        packed = _Packed(path)
        return io.TextIOWrapper(packed, "utf-8-sig", errors="surrogateescape", newline="")
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline="")


class _Packed(gzip.GzipFile):
    """A gzip file whose place is that in the packed file, as its size is; damage is a DataError."""

    def __init__(self, path: Path) -> None:
        self.path, self.packed = path, open(path, "rb")  # noqa: SIM115 - closed below
        super().__init__(fileobj=self.packed, mode="rb")

    def tell(self) -> int:
        return self.packed.tell()

    def read(self, size: int | None = -1) -> bytes:
        try:
            return super().read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise self._damaged(error) from None

    def read1(self, size: int = -1) -> bytes:
        try:
            return super().read1(size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise self._damaged(error) from None

    def close(self) -> None:
        super().close()
        self.packed.close()

    def _damaged(self, error: Exception) -> DataError:
        with open(self.path, "rb") as file:
            if file.read(2) != b"\x1f\x8b":
                return DataError(
                    f"{self.path}: is not gzip data, though its name ends in .gz; take that off "
                    "the name if the file is not packed."
                )
        what = "breaks off" if isinstance(error, EOFError) else f"is damaged ({error})"
        return DataError(
            f"{self.path}: the gzip data {what}. Fetch the file again; `gzip -t` tells whether it "
            "is whole."
        )


def refuse_other_encodings(path: Path, name: str) -> None:
    """Raise a DataError for files in UTF-16 or UTF-32, and for those that are not text."""
    with _Packed(path) if is_packed(path) else open(path, "rb") as file:
        head = file.read(_SNIFF_BYTES)
    for magic, what in _OTHER_FILES.items():
        if head.startswith(magic):
            raise DataError(f"{name}: is {what}.")
    found = next((encoding for bom, encoding in _BOMS.items() if head.startswith(bom)), None)
    if found is None and head.count(0) > len(head) // 5:
        # Text in UTF-16 has a zero byte in every other place.
        found = "UTF-16-LE" if head[1::2].count(0) > head[0::2].count(0) else "UTF-16-BE"
    if found is None and _is_binary(head):
        raise DataError(f"{name}: holds binary data, not text. Is it the right file?")
    if found:
        raise DataError(f"{name}:1: is {found}, expected UTF-8. {_convert(found, path)}")


def _is_binary(head: bytes) -> bool:
    """Whether the beginning of a file is no text in any encoding of single bytes, nor in UTF-8."""
    controls = len(head.translate(None, delete=_TEXT_BYTES))
    if len(head) < _LEAST_BYTES or controls <= _MOST_CONTROLS * len(head):
        return False
    try:
        head[:-4].decode("utf-8")
    except UnicodeDecodeError as error:
        # The last sign may be cut.
        return error.start < len(head) - 8
    return False


def _convert(encoding: str, path: Path) -> str:
    if is_packed(path):
        inner = Path(path.stem)
        out = f"{inner.stem}.utf8{inner.suffix}"
        return f"Convert it: gzip -dc '{path.name}' | iconv -f {encoding} -t UTF-8 > '{out}'"
    out = f"{path.stem}.utf8{path.suffix}"
    return f"Convert it: iconv -f {encoding} -t UTF-8 '{path.name}' > '{out}'"


@dataclass
class Damage:
    """Judges text that does not hold together: a damaged row, or a file in another encoding."""

    path: Path | None
    """None for a stream, which cannot be read again."""
    name: str
    known_utf8: bool = False

    def reason(self, text: str) -> str | None:
        """The reason to reject a row with this text, or None.

        Raises:
            DataError: the whole file is in another encoding.
        """
        if text.isascii() and "\0" not in text:
            return None  # in a fraction of the time that the search takes
        match = _BROKEN.search(text)
        if match is None:
            return None
        code = ord(match.group())
        if code == 0:
            return "NUL byte: the row holds a character with code 0"
        if not 0xDC80 <= code <= 0xDCFF:
            return "broken Unicode: half of a surrogate pair"
        if not self.known_utf8 and self.path is not None:
            self._diagnose(self.path)
            self.known_utf8 = True
        return f"not UTF-8: byte 0x{code - 0xDC00:02X}"

    def _diagnose(self, path: Path) -> None:
        good = bad = first = 0
        sample = b""
        with open_text(path) as file:
            for line, text in enumerate(file, 1):
                if text.isascii():
                    continue
                match = _BROKEN_BYTE.search(text)
                good, bad = good + (match is None), bad + (match is not None)
                if match is not None and not first:
                    first = line
                    around = text[max(0, match.start() - 15) : match.start() + 15]
                    sample = around.encode("utf-8", "surrogateescape").strip()
        if good > bad:
            return
        # Bytes 0x80-0x9F are control characters in Latin-1 and quotes and dashes in Windows-1252.
        encoding = "CP1252" if any(0x80 <= b <= 0x9F for b in sample) else "ISO-8859-1 (Latin-1)"
        shown = sample.decode("cp1252", "replace")
        raise DataError(
            f"{self.name}:{first}: is not UTF-8; it looks like {encoding} ('{shown}'). "
            + _convert(encoding.split(" ")[0], path)
        )
