# SPDX-License-Identifier: Apache-2.0
"""Random crops of a source picture, and marks drawn on a crop so that a question has a known answer.

Every function takes a seeded generator and gives the same picture for the same seed. Marks are drawn after flips, so
that "upper left" is always as seen in the picture. Marks are cyan, a colour that no source contains.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw

from medix_verl.demo.questions.pictures import SourcePicture

__all__ = ["PLACES", "crop_picture", "draw_dots", "draw_marker", "draw_square", "encode_png"]

PICTURE_SIZES = ((96, 96), (96, 64), (64, 96))
"""Width and height in pixels: multiples of 32, so that the image processor neither scales nor pads."""

PLACES = ("upper left", "upper right", "lower left", "lower right")
CYAN = (0, 255, 255)
BLACK = (0, 0, 0)


def crop_picture(rng: np.random.Generator, source: SourcePicture, split: str) -> Image.Image:
    """A random crop of the split's part of a source, with random brightness, contrast and mirroring."""
    pixels = source.loader(int(rng.choice(source.frames(split))))
    rows, columns = pixels.shape[:2]
    boxes = source.boxes(split)
    left, top, right, bottom = boxes[int(rng.integers(len(boxes)))]
    x0, x1 = round(left * columns), round(right * columns)
    y0, y1 = round(top * rows), round(bottom * rows)
    width, height = PICTURE_SIZES[int(rng.integers(len(PICTURE_SIZES)))]
    full = min((x1 - x0) / width, (y1 - y0) / height)
    scale = full * rng.uniform(0.65, 1.0)
    crop_w, crop_h = max(1, int(width * scale)), max(1, int(height * scale))
    x = x0 + int(rng.integers(0, x1 - x0 - crop_w + 1))
    y = y0 + int(rng.integers(0, y1 - y0 - crop_h + 1))
    part = vary(rng, pixels[y : y + crop_h, x : x + crop_w])
    return Image.fromarray(part).resize((width, height), Image.Resampling.BILINEAR)


def vary(rng: np.random.Generator, part: np.ndarray) -> np.ndarray:
    if rng.random() < 0.5:
        part = part[:, ::-1]
    if rng.random() < 0.5:
        part = part[::-1]
    gain, shift = rng.uniform(0.85, 1.15), rng.uniform(-12.0, 12.0)
    return np.clip(part.astype(np.float64) * gain + shift, 0, 255).astype(np.uint8)


def draw_marker(rng: np.random.Generator, image: Image.Image, place: str) -> Image.Image:
    """Draw a filled disc in one of the four corners of PLACES."""
    x, y = spot(rng, image, place)
    return discs(image, [(x, y)], radius=7)


def spot(rng: np.random.Generator, image: Image.Image, place: str) -> tuple[int, int]:
    across = rng.uniform(0.15, 0.33) + (0.5 if place.endswith("right") else 0.0)
    down = rng.uniform(0.15, 0.33) + (0.5 if place.startswith("lower") else 0.0)
    return int(across * image.width), int(down * image.height)


def draw_dots(rng: np.random.Generator, image: Image.Image, count: int) -> Image.Image:
    """Draw `count` discs (1 to 4), each in a different quarter of the picture, so that they never touch."""
    places = rng.permutation(len(PLACES))[:count]
    return discs(image, [spot(rng, image, PLACES[int(place)]) for place in places], radius=6)


def discs(image: Image.Image, centres: list[tuple[int, int]], radius: int) -> Image.Image:
    marked = image.copy()
    pen = ImageDraw.Draw(marked)
    for x, y in centres:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=CYAN, outline=BLACK)
    return marked


def draw_square(rng: np.random.Generator, image: Image.Image, side: int) -> Image.Image:
    """Draw the outline of a square, `side` pixels from edge to edge, inside the picture."""
    marked = image.copy()
    x = int(rng.integers(0, image.width - side + 1))
    y = int(rng.integers(0, image.height - side + 1))
    ImageDraw.Draw(marked).rectangle((x, y, x + side - 1, y + side - 1), outline=CYAN, width=3)
    return marked


def encode_png(image: Image.Image) -> bytes:
    """PNG bytes, deterministic for the same pixels and Pillow version."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()
