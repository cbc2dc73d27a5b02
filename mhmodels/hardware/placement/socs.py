"""The SoCs that a .tflite file can be placed on, as data.

Names, numbers and generations are those that LiteRT's plug-in for Qualcomm and the libraries of QAIRT 2.51 give. The plug-in
knows 111 SoCs. It also says yes for 47 of them that have no Hexagon tensor processor (HTP) of version 68 or later, among them
Snapdragons of 2016: a yes means nothing there, so that these are left out. Left out too are six that the libraries do not
compile for (five of routers, and SC7280X), and the server card AIC100.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

from mhmodels.errors import UnknownNameError
from mhmodels.formats.checked import Checked

FIRST_GENERATION = 68
"""Smallest version of the HTP, and the one that the plug-in assumes where the libraries name none."""

PlacementFormat: TypeAlias = Literal["int8", "uint8", "float32"]
"""A number format in which networks with random weights are placed."""

_REMEDY = f"(`mhmodels place --list` shows all: SoCs with an HTP of version {FIRST_GENERATION} or later)"


class PlacementSoc(Checked, frozen=True, kw_only=True):
    """A SoC with a Hexagon tensor processor (HTP).

    Attributes:
        name: Qualcomm's name, as Android's `ro.soc.model` gives it.
        soc_model: Its number in Qualcomm's libraries.
        generation: Version of the HTP: 75 is "HTP v75".
        product: Name on the market; "" where it is not known.
        device: What it is made for: `phone`, `PC`, `car`, `industry` or `wearable`.
        listed: Whether Google lists it as a target of LiteRT's ahead-of-time compilation for Qualcomm.

    Example:
        >>> from mhmodels.hardware import get_placement_soc
        >>> get_placement_soc("SM8650").product
        'Snapdragon 8 Gen 3'
    """

    name: str
    soc_model: int
    generation: int
    product: str = ""
    device: str = "phone"
    listed: bool = False

    @property
    def title(self) -> str:
        """Name, with the name on the market where it is known."""
        return f"{self.name} ({self.product})" if self.product else self.name


_LISTED = {"SA8255", "SA8295", "SM8350", "SM8450", "SM8475", "SM8550", "SM8650", "SM8750", "SM8845", "SM8850"}


def _socs(device: str, rows: Iterable[tuple[str, int, int, str]]) -> tuple[PlacementSoc, ...]:
    return tuple(
        PlacementSoc(name=name, soc_model=model, generation=generation, product=product, device=device, listed=name in _LISTED)
        for name, model, generation, product in rows
    )


_PHONES = (
    ("SM8850", 87, 81, "Snapdragon 8 Elite Gen 5"),
    ("SM8845", 97, 81, "Snapdragon 8 Gen 5"),
    ("SM8845P", 97, 81, ""),
    ("SM8750", 69, 79, "Snapdragon 8 Elite"),
    ("SM8735", 85, 73, "Snapdragon 8s Gen 4"),
    ("SM8650", 57, 75, "Snapdragon 8 Gen 3"),
    ("SM8635", 68, 73, "Snapdragon 8s Gen 3"),
    ("SM8550", 43, 73, "Snapdragon 8 Gen 2"),
    ("SM8475", 42, 69, "Snapdragon 8+ Gen 1"),
    ("SM8450", 36, 69, "Snapdragon 8 Gen 1"),
    ("SM8350", 30, 68, "Snapdragon 888"),
    ("SM8350P", 30, 68, ""),
    ("SM8325", 34, 68, ""),
    ("SM7750", 86, 73, "Snapdragon 7 Gen 4"),
    ("SM7675", 70, 73, "Snapdragon 7+ Gen 3"),
    ("SM7635", 73, 73, "Snapdragon 7s Gen 3"),
    ("SM7550", 64, 73, "Snapdragon 7 Gen 3"),
    ("SM7475", 54, 69, "Snapdragon 7+ Gen 2"),
    ("SM7450", 41, 69, "Snapdragon 7 Gen 1"),
    ("SM7435", 61, 73, "Snapdragon 7s Gen 2"),
    ("SM7350", 32, 68, "Snapdragon 780G"),
    ("SM7325", 35, 68, "Snapdragon 778G"),
    ("SM7315", 38, 68, ""),
    ("SM6650", 74, 73, "Snapdragon 6 Gen 4"),
    ("SM6475", 76, 73, "Snapdragon 6 Gen 3"),
    ("SM6450", 50, 73, "Snapdragon 6 Gen 1"),
)
_PCS = (
    ("SC8480XP", 88, 81, "Snapdragon X2 Elite"),
    ("SC8380XP", 60, 73, "Snapdragon X Elite"),
    ("SC8280X", 37, 68, "Snapdragon 8cx Gen 3"),
)
_CARS = (
    ("SA8797", 72, 81, ""),
    ("SA8775", 52, 73, ""),
    ("SA8650", 52, 73, ""),
    ("SA8630", 52, 73, ""),
    ("SA8620", 67, 75, ""),
    ("SA8620P", 67, 75, ""),
    ("SA8610", 67, 75, ""),
    ("SA8540", 62, 68, ""),
    ("SA8295", 39, 68, ""),
    ("SA8255", 52, 73, ""),
    ("SA7255", 67, 75, ""),
)
_INDUSTRY = (
    ("QCS9100", 77, 73, "Dragonwing IQ-9"),
    ("QCS9075", 77, 73, "Dragonwing IQ-9"),
    ("QCS8625", 90, 75, ""),
    ("QCS8550", 66, 73, ""),
    ("QCS8300", 82, 75, "Dragonwing IQ-8"),
    ("QCS8275", 82, 75, "Dragonwing IQ-8"),
    ("QCM6690", 78, 73, ""),
    ("QCM6490", 93, 68, ""),
)
_WEARABLES = (
    ("SXR2330P", 75, 79, ""),
    ("SXR2230P", 53, 69, "Snapdragon XR2 Gen 2"),
    ("SXR1230P", 45, 73, ""),
    ("SSG2125P", 58, 73, ""),
    ("SSG2115P", 46, 73, "Snapdragon AR2 Gen 1"),
    ("SAR2230P", 95, 81, ""),
    ("SAR2130P", 46, 73, ""),
    ("SAR1130P", 58, 73, ""),
    ("SW6100", 96, 81, ""),
)
PLACEMENT_SOCS = (
    *_socs("phone", _PHONES),
    *_socs("PC", _PCS),
    *_socs("car", _CARS),
    *_socs("industry", _INDUSTRY),
    *_socs("wearable", _WEARABLES),
)


def find_placement_soc(name: str) -> PlacementSoc | None:
    """Returns the SoC of a name, whose letters may be of either case; None if there is none."""
    return next((soc for soc in PLACEMENT_SOCS if soc.name == name.upper()), None)


def get_placement_soc(name: str) -> PlacementSoc:
    """Returns the SoC of a name, whose letters may be of either case.

    Raises:
        UnknownNameError: No such SoC; the message offers the nearest names.

    Example:
        >>> from mhmodels.hardware import get_placement_soc
        >>> get_placement_soc("sm8750").generation
        79
    """
    soc = find_placement_soc(name)
    if soc is None:
        raise UnknownNameError("SoC", name, [soc.name for soc in PLACEMENT_SOCS], _REMEDY)
    return soc


def get_placement_socs(names: Iterable[str]) -> tuple[PlacementSoc, ...]:
    """Returns the SoCs of names, each once.

    Raises:
        UnknownNameError: One of them is unknown; the message offers the nearest names.
    """
    return tuple(dict.fromkeys(get_placement_soc(name) for name in names))


class PlacementTarget(NamedTuple):
    """What an id such as `SM8650-uint8` stands for.

    Attributes:
        soc: The SoC.
        format: Number format of the files that are placed on it.
    """

    soc: PlacementSoc
    format: PlacementFormat


def placement_target(target_id: str) -> PlacementTarget | None:
    """Returns the target of an id: `SOC` for int8 files, `SOC-uint8` or `SOC-float32`; None if it is no such id.

    Example:
        >>> target = placement_target("SM8650-uint8")
        >>> target.soc.name, target.format
        ('SM8650', 'uint8')
        >>> placement_target("ethos-u55-128") is None
        True
    """
    name, _, suffix = target_id.partition("-")
    soc = find_placement_soc(name)
    formats: dict[str, PlacementFormat] = {"": "int8", "uint8": "uint8", "float32": "float32"}
    return None if soc is None or suffix not in formats else PlacementTarget(soc, formats[suffix])
