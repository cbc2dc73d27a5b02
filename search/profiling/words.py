"""Short names of blocks for tables and pictures."""

from __future__ import annotations

_TYPES = {
    "fused_inverted_bottleneck": "fused",
    "universal_inverted_bottleneck": "uib",
    "inverted_bottleneck": "ib",
}
_FIELDS = {"kernel": "k", "expansion": "e", "groups": "g", "activation": "", "squeeze_excite": "se"}


def short(block: str) -> str:
    """A block in few letters, for example `ib k5 e6` for `inverted_bottleneck kernel=5 expansion=6 groups=1`.

    Args:
        block: Words of the block in a profile.
    """
    kind, *fields = block.split(" ")
    words = [_TYPES.get(kind, kind)]
    for field in fields:
        name, equals, value = field.partition("=")
        if field != "groups=1":
            words.append(f"{_FIELDS.get(name, name)}{'' if name == 'squeeze_excite' else value if equals else ''}")
    return " ".join(words)
