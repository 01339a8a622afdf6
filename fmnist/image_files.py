"""Pictures of clothes from files, as the network has seen them: grey, 28x28, bright cloth on black."""

import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageStat, UnidentifiedImageError

from fmnist.config import IMAGE_SIZE, UserError
from fmnist.words import harmless, shown

SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
)  # in folders
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MOST_BYTES, MOST_PIXELS = 50_000_000, 50_000_000  # a small file may unpack to gigabytes
FAINT = 8  # of 255: what differs less from the background is no cloth, but noise of JPEG
Grey = NDArray[np.uint8]  # (h, w)


class ImageError(Exception):
    """A file is no picture, or none that can be read; the message is one line."""


@dataclass(frozen=True)
class Garment:
    """A picture as the network takes it."""

    name: str
    pixels: Grey  # (28, 28)
    was_inverted: bool  # it was dark on a bright background


def files(names: Sequence[str]) -> Iterator[tuple[str, bytes | Path]]:
    """The files that are meant: each as it is named, those within a folder, and standard input for `-`.

    Raises:
        UserError: a folder has no picture in it.
    """
    for name in names:
        path = Path(name)
        if name == "-":
            yield "standard input", sys.stdin.buffer.read(MOST_BYTES + 1)
        elif path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            if not found:
                raise UserError(f"{shown(name)} has no pictures in it ({', '.join(SUFFIXES)})")
            yield from ((str(file), file) for file in found)
        else:
            yield name, path


def read(name: str, source: bytes | Path) -> Garment:
    """A picture as the network takes it.

    Raises:
        ImageError: it cannot be read, or is too large.
    """
    try:
        content = source if isinstance(source, bytes) else _beginning(source)
        if len(content) > MOST_BYTES:
            raise ImageError(f"has more than {MOST_BYTES:,} bytes")
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            return _garment(name, _grey(ImageOps.exif_transpose(image)))
    except Image.DecompressionBombError as error:
        raise ImageError(f"has more than {MOST_PIXELS:,} pixels, the most that are unpacked") from error
    except UnidentifiedImageError as error:
        raise ImageError("is no picture that can be read (PNG, JPEG)") from error
    except OSError as error:
        raise ImageError(error.strerror or harmless(f"is damaged: {error}", 100)) from error
    except ImageError:
        raise
    except Exception as error:  # there is no end to what Pillow makes of a damaged file
        raise ImageError(harmless(f"is damaged: {error}", 100)) from error


def _beginning(file: Path) -> bytes:
    with file.open("rb") as stream:  # a device has no end
        return stream.read(MOST_BYTES + 1)


def _grey(image: Image.Image) -> Grey:
    """The picture in grey from 0 to 255; what is transparent becomes a background that its cloth stands out from."""
    if image.mode[0] in "IF":  # more than 8 bits, which Pillow would cut off
        values = np.asarray(image, np.float64)
        top = 1.0 if values.max() <= 1 and image.mode == "F" else 65535.0 if values.max() > 255 else 255.0
        return np.clip(255 * values / top, 0, 255).round().astype(np.uint8)
    if "A" not in image.getbands() and "transparency" not in image.info:
        return np.asarray(image.convert("RGB").convert("L") if image.mode == "CMYK" else image.convert("L"))
    opaque = image.convert("RGBA")
    alpha, grey = opaque.getchannel("A"), opaque.convert("L")
    if alpha.getbbox() is None:
        raise ImageError("is all transparent")
    is_bright = ImageStat.Stat(grey, alpha).mean[0] > 127.5
    ground = Image.new("L", image.size, 0 if is_bright else 255)
    ground.paste(grey, mask=alpha)
    return np.asarray(ground)


def _garment(name: str, grey: Grey) -> Garment:
    """Bright on black, and cut out and centred as the data set was, unless it is of that size already."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    was_inverted = bool(border.mean() > 127.5)  # as it is in none of the data set's 70,000
    cloth = 255 - grey if was_inverted else grey
    if cloth.shape != (IMAGE_SIZE, IMAGE_SIZE):
        cloth = _fitted(cloth)
    return Garment(name, cloth, was_inverted)


def _fitted(cloth: Grey) -> Grey:
    """The cloth alone, its longer side 28 pixels, in the middle of a black square."""
    box = Image.fromarray((cloth > FAINT).astype(np.uint8)).getbbox()
    image = ImageOps.contain(Image.fromarray(cloth).crop(box), (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX)
    square = Image.new("L", (IMAGE_SIZE, IMAGE_SIZE))
    left, top = ((IMAGE_SIZE + 1 - side) // 2 for side in image.size)  # the wider margin is there, as in the data set
    square.paste(image, (left, top))
    return np.asarray(square)
