#!/usr/bin/env python3
"""Writes pictures, and what Pillow makes of them, into a folder, for the unit tests of src/image to compare with.

    pillow_cases.py FOLDER

NAME.file    a JPEG, PNG or WebP; NAME.rgb what ImageOps.exif_transpose(Image.open(...)).convert("RGB") is
NAME.bomb    a PNG or JPEG that holds more than it shows
resize-N.rgb a picture; resize-N.F.WxH.rgb the same resized with Pillow's filter number F
An .rgb file is "WIDTH HEIGHT\\n" and the pixels, three bytes each.
"""

import io
import random
import struct
import sys
import warnings
import zlib
from pathlib import Path

from PIL import Image, ImageOps


def noise(mode, size, seed=1):
    """Smooth areas, edges and noise: what codecs and filters find hard."""
    width, height = size
    rng = random.Random(seed)
    pixels = bytearray()
    for y in range(height):
        for x in range(width):
            base = (x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), 255 if (x // 7 + y // 5) % 2 else 0)
            pixels += bytes(min(255, max(0, value + rng.randint(-40, 40))) for value in base)
    return Image.frombytes("RGB", size, bytes(pixels)).convert(mode)


def write_rgb(path, image):
    path.write_bytes(b"%d %d\n" % image.size + image.tobytes())


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size, bits, colours, rows, extra=b"", interlace=0):
    header = struct.pack(">IIBBBBB", *size, bits, colours, 0, 0, interlace)
    data = zlib.compress(b"".join(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def plain_rows(size, bytes_per_pixel, seed):
    rng = random.Random(seed)
    return [b"\0" + rng.randbytes(size[0] * bytes_per_pixel) for _ in range(size[1])]


def adam7_rows(size, bytes_per_pixel, seed):
    """Rows of the seven passes (PNG specification, section 8.2)."""
    rng = random.Random(seed)
    rows = []
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        width = len(range(x0, size[0], dx))
        if width:
            rows += [b"\0" + rng.randbytes(width * bytes_per_pixel) for _ in range(y0, size[1], dy)]
    return rows


def files():
    odd = (37, 23)
    colour = noise("RGB", odd)
    yield "jpeg-420", encode(colour, "JPEG", quality=90)
    yield "jpeg-444", encode(colour, "JPEG", quality=75, subsampling=0)
    yield "jpeg-progressive", encode(colour, "JPEG", progressive=True)
    yield "jpeg-progressive-large", encode(noise("RGB", (320, 240)), "JPEG", progressive=True)
    yield "jpeg-grey", encode(colour.convert("L"), "JPEG")
    yield "jpeg-cmyk", encode(colour.convert("CMYK"), "JPEG")
    for orientation in range(1, 9):
        yield f"jpeg-orientation-{orientation}", encode(colour, "JPEG", exif=oriented(orientation))
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1"):
        image = colour.convert("RGB").convert(mode)
        if mode in ("RGBA", "LA"):
            image.putalpha(noise("L", odd, 2))
        yield f"png-{mode}", encode(image, "PNG")
    palette = colour.quantize(16)
    yield "png-P-transparent", encode(palette, "PNG", transparency=bytes(range(0, 256, 16)))
    yield "png-orientation-6", encode(colour, "PNG", exif=oriented(6))
    yield "png-grey-16", png(odd, 16, 0, plain_rows(odd, 2, 3))
    dark = [b"\0" + b"".join(struct.pack(">H", x * 9) for x in range(odd[0])) for _ in range(odd[1])]
    yield "png-grey-16-dark", png(odd, 16, 0, dark)
    yield "png-grey-alpha-16", png(odd, 16, 4, plain_rows(odd, 4, 4))
    yield "png-rgb-16", png(odd, 16, 2, plain_rows(odd, 6, 5))
    yield "png-rgba-16", png(odd, 16, 6, plain_rows(odd, 8, 6))
    yield "png-interlaced", png(odd, 8, 2, adam7_rows(odd, 3, 7), interlace=1)
    yield "png-interlaced-grey-16", png(odd, 16, 0, adam7_rows(odd, 2, 8), interlace=1)
    yield "png-grey-transparent", png(odd, 8, 0, plain_rows(odd, 1, 9), extra=chunk(b"tRNS", b"\0\x07"))
    yield "webp-lossy", encode(colour, "WEBP", quality=80)
    yield "webp-lossless", encode(colour, "WEBP", lossless=True)
    yield "webp-orientation-8", encode(colour, "WEBP", lossless=True, exif=oriented(8))
    clear = colour.convert("RGBA")
    clear.putalpha(noise("L", odd, 2))
    yield "webp-alpha", encode(clear, "WEBP", lossless=True, exact=True)
    yield "webp-animated", encode(colour, "WEBP", lossless=True, save_all=True, append_images=[noise("RGB", odd, 5)])
    yield "one-pixel", encode(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG")


def bombs():
    """A pixel, and 200 MB of text or colour profile that is packed into 200 kB; a scan 200 times; a very long row."""
    packed = zlib.compress(bytes(200_000_000))
    rows = plain_rows((1, 1), 3, 1)
    yield "text", png((1, 1), 8, 2, rows, extra=chunk(b"zTXt", b"a\0\0" + packed))
    yield "international-text", png((1, 1), 8, 2, rows, extra=chunk(b"iTXt", b"a\0\1\0\0\0" + packed))
    yield "profile", png((1, 1), 8, 2, rows, extra=chunk(b"iCCP", b"a\0\0" + packed))
    yield "pixels", png((1, 1), 8, 2, [*rows, bytes(100_000_000)])
    progressive = encode(noise("RGB", (64, 48)), "JPEG", progressive=True)
    last = progressive.rindex(b"\xff\xda")
    yield "scans", progressive[:last] + progressive[last:-2] * 200 + progressive[-2:]
    yield "row", png((100_000, 1), 8, 2, plain_rows((100_000, 1), 3, 1))


def resizes():
    yield (97, 61), [(97, 61), (48, 30), (13, 61), (97, 7), (150, 99), (1, 1), (224, 200), (96, 60)]
    yield (640, 427), [(383, 256), (256, 170), (40, 300)]
    yield (3, 500), [(1, 256), (224, 224)]
    yield (1, 1), [(5, 4)]


def main():
    folder = Path(sys.argv[1])
    warnings.simplefilter("ignore")  # of palettes with transparency, which are meant
    for name, data in files():
        (folder / f"{name}.file").write_bytes(data)
        write_rgb(folder / f"{name}.rgb", ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    for name, data in bombs():
        (folder / f"{name}.bomb").write_bytes(data)
    for number, (size, targets) in enumerate(resizes()):
        image = noise("RGB", size, number)
        write_rgb(folder / f"resize-{number}.rgb", image)
        for target in targets:
            for resample in range(6):
                write_rgb(folder / f"resize-{number}.{resample}.{target[0]}x{target[1]}.rgb", image.resize(target, resample))


if __name__ == "__main__":
    main()
