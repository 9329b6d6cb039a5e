"""Reads folders of images and of text files: a row for each file, labelled by the folder it lies in."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from sill.core.errors import PluginMissing
from sill.core.names import shorten
from sill.sources.encodings import to_utf8
from sill.sources.failures import check_rows, check_size, too_large, unreadable
from sill.sources.limits import ReadLimits
from sill.sources.parts import Part

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
_MODES = {"1": "L", "L": "L", "RGB": "RGB", "RGBA": "RGBA", "LA": "RGBA", "PA": "RGBA", "I;16": "L", "I": "L", "F": "L"}
_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}


def read_images(parts: Sequence[Part], limits: ReadLimits) -> "pa.Table":
    """Columns `name`, `label`, `height`, `width`, `channels`, `pixels`.

    `name` is the path below the source, such as `cats/0001.png`: the files of two folders may be called the same.
    `pixels` is row-major uint8 (height × width × channels), a list where all images have one shape, else bytes.

    Raises:
        InvalidValue: a file that is not an image of a listed kind, or is cut off.
        TooLarge: an image with too many pixels (before it is decoded), or too many bytes together.
    """
    import pyarrow as pa

    shapes: list[tuple[int, int, int]] = []
    pixels: list[bytes] = []
    size = 0
    check_rows("the images", len(parts), limits)
    for part in parts:
        shape, content = _decode(part, limits)
        size += len(content)
        check_size(part.name, size, limits)
        shapes.append(shape)
        pixels.append(content)
    heights, widths, channels = (pa.array([shape[axis] for shape in shapes], pa.int64()) for axis in range(3))
    columns = {
        "name": pa.array([part.inner for part in parts], pa.string()),
        "label": pa.array([label(part) for part in parts], pa.string()),
        "height": heights,
        "width": widths,
        "channels": channels,
        "pixels": _as_lists(pixels) if len(set(shapes)) == 1 else pa.array(pixels, pa.binary()),
    }
    return pa.table(columns)


def read_texts(parts: Sequence[Part], encoding: str, limits: ReadLimits) -> "pa.Table":
    """Columns `name`, `label`, `text`: one row for each file, whole.

    Raises:
        InvalidValue: bytes that are not text in the encoding.
        TooLarge: a file longer than a cell may be, or too much together.
    """
    import pyarrow as pa

    texts: list[str] = []
    size = 0
    check_rows("the texts", len(parts), limits)
    for part in parts:
        length = part.path.stat().st_size
        if length > limits.cell_bytes_max:
            raise too_large(part.name, "cell_bytes_max", f"it is {length:,} bytes", limits.cell_bytes_max)
        texts.append(to_utf8(part.path, part.name, encoding, part.path.parent).path.read_bytes().decode())
        size += length
        check_size(part.name, size, limits)
    columns = {
        "name": pa.array([part.inner for part in parts], pa.string()),
        "label": pa.array([label(part) for part in parts], pa.string()),
        "text": pa.array(texts, pa.string()),
    }
    return pa.table(columns)


def label(part: Part) -> str | None:
    """The name of the folder the file lies in, None if it lies in none."""
    folders = PurePosixPath(part.inner).parts[:-1]
    return folders[-1] if folders else None


def _decode(part: Part, limits: ReadLimits) -> tuple[tuple[int, int, int], bytes]:
    import warnings

    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as missing:
        raise PluginMissing("reading images needs 'pillow'.", fix="pip install 'sill[images]'") from missing

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own pixel warning; ours is an error, below
            with Image.open(part.path, formats=FORMATS) as image:
                count = image.width * image.height
                if count > limits.image_pixels_max:
                    got = f"it is {image.width:,} × {image.height:,} pixels"
                    raise too_large(part.name, "image_pixels_max", got, limits.image_pixels_max)
                return _pixels(image)
    except UnidentifiedImageError as wrong:
        what = f"it is not an image that is read; {', '.join(FORMATS)} are."
        raise unreadable(part.name, what, "Convert it, or leave it out.") from wrong
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as wrong:
        what = f"the image cannot be decoded: {shorten(str(wrong), 200)}."
        raise unreadable(part.name, what, "Save it again, or leave it out.") from wrong


def _pixels(image: Any) -> tuple[tuple[int, int, int], bytes]:
    if image.mode in ("I;16", "I", "F"):
        image = _stretch(image)
    mode = _MODES.get(image.mode, "RGB")
    plain = image if image.mode == mode else image.convert(mode)
    return (plain.height, plain.width, _CHANNELS[mode]), plain.tobytes()


def _stretch(image: Any) -> Any:
    """16-bit and wider grey values onto 0…255 by their high byte; Pillow's own conversion would clip them."""
    import numpy
    from PIL import Image

    values = numpy.asarray(image, dtype=numpy.float64)
    top = 65_535.0 if image.mode != "F" else max(float(values.max(initial=0.0)), 1.0)
    return Image.fromarray(numpy.clip(values * (255.0 / top), 0, 255).astype(numpy.uint8), "L")


def _as_lists(pixels: Sequence[bytes]) -> "pa.Array":
    import pyarrow as pa

    width = len(pixels[0])
    chunks = [
        pa.ListArray.from_arrays(
            pa.array(range(0, width * len(some) + 1, width) if width else [0] * (len(some) + 1), pa.int32()),
            pa.Array.from_buffers(pa.uint8(), width * len(some), [None, pa.py_buffer(b"".join(some))]),
        )
        for some in _groups(pixels, max(1, (2**31 - 1) // max(width, 1)))
    ]
    return pa.chunked_array(chunks)


def _groups(pixels: Sequence[bytes], size: int) -> list[Sequence[bytes]]:
    return [pixels[at : at + size] for at in range(0, len(pixels), size)]
