"""The text that a PNG carries beside its picture, read and written chunk by chunk; no picture is ever unpacked here."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 10_000
SIDE = 512
MAX_PIXELS = 4096 * 4096


class BadPicture(ValueError):
    """The bytes are no whole PNG; the message says in a few words what is wrong."""


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and contents of each chunk, up to the end of the picture; every checksum is checked. Raises BadPicture."""
    if not data.startswith(SIGNATURE):
        raise BadPicture("it is no PNG picture")
    place = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        end = place + 8 + length
        if len(data) < end + 4:
            raise BadPicture("it is cut off")
        if zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise BadPicture(f"the checksum of its part {kind.decode('latin-1')!r} is wrong")
        yield kind, data[place + 8 : end]
        if kind == b"IEND":
            return
        place = end + 4
    raise BadPicture(f"it has more than {MAX_CHUNKS:,} parts")


def texts(data: bytes) -> dict[str, bytes]:
    """The uncompressed text chunks by keyword; the last of a keyword counts. Raises BadPicture."""
    found: dict[str, bytes] = {}
    for kind, contents in chunks(data):
        keyword, separator, text = contents.partition(b"\0")
        if kind == b"tEXt" and separator:
            found[keyword.decode("latin-1")] = text
    return found


def with_texts(data: bytes, added: Mapping[str, bytes]) -> bytes:
    """The picture with these texts, in place of older ones of the same keyword. Raises BadPicture."""
    parts = [SIGNATURE]
    for kind, contents in chunks(data):
        if kind == b"IEND":
            parts += [_chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + text) for keyword, text in added.items()]
        if kind != b"tEXt" or contents.partition(b"\0")[0].decode("latin-1") not in added:
            parts.append(_chunk(kind, contents))
    return b"".join(parts)


def drawn(name: str) -> bytes:
    """A plain portrait: the name's initial on a colour that goes with the name."""
    import io

    from PIL import Image, ImageDraw, ImageFont

    hue = zlib.crc32(name.encode()) % 360
    picture = Image.new("RGB", (SIDE, SIDE), f"hsl({hue}, 45%, 42%)")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=SIDE * 0.6)
    initial = next((letter for letter in name if letter.isalnum()), "?").upper()
    pen.text((SIDE / 2, SIDE / 2), initial, font=font, fill="white", anchor="mm")
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def portrait_of(data: bytes) -> bytes:
    """A PNG, JPEG or WebP picture as a PNG with nothing but its pixels. Raises BadPicture."""
    import io

    from PIL import Image

    try:
        # Opening reads the header alone, so that a picture that unpacks to a flood is refused before it does.
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise BadPicture(f"it is larger than {MAX_PIXELS:,} pixels")
            stream = io.BytesIO()
            picture.convert("RGBA" if picture.has_transparency_data else "RGB").save(stream, "PNG")
            return stream.getvalue()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, BadPicture):
            raise
        raise BadPicture("it is no PNG, JPEG or WebP picture that can be read") from error


def _chunk(kind: bytes, contents: bytes) -> bytes:
    checksum = zlib.crc32(kind + contents).to_bytes(4, "big")
    return len(contents).to_bytes(4, "big") + kind + contents + checksum
