"""Writes docs/api.md, the reference of the public Python API, from the docstrings.

    python docs/generate_api.py            writes the page
    python docs/generate_api.py --check    exits with 1 if the committed page is not what the docstrings say

The names are those in `__all__` of each package. Sections of the docstrings (Args, Attributes, Returns, Raises, Example) become
lists and code blocks.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec

PACKAGES = (
    "mhmodels",
    "mhmodels.export",
    "mhmodels.hardware",
    "mhmodels.android_bench",
    "mhmodels.store",
    "mhmodels.metrics",
    "mhmodels.report",
    "mhmodels.advice",
    "mhmodels.search",
    "mhmodels.training",
    "mhmodels.weights",
)
PAGE = Path(__file__).with_name("api.md")
HEAD = """# Python API

This page is generated from the docstrings by `python docs/generate_api.py`; change the docstrings, not the page. It lists what
each package exports in its `__all__`. Everything else may change without notice. The examples are run by the tests.

Arguments of the command line have the same names and limits: see `mhmodels COMMAND --help`.
"""
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example")
_SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):$")
_ITEM = re.compile(r"^(\*{0,2}[A-Za-z_][\w., `*-]*?): (.*)$")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_LONGEST = 100
_NONE = inspect.Parameter.empty


def main() -> None:
    """Writes or checks the page."""
    text = page()
    if "--check" in sys.argv[1:]:
        if not PAGE.is_file() or PAGE.read_text() != text:
            sys.exit("docs/api.md is not what the docstrings say; run `python docs/generate_api.py`")
        return
    PAGE.write_text(text)


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([HEAD, *_contents(), *(line for package in PACKAGES for line in _package(package))]).rstrip() + "\n"


def public_names(package: str) -> dict[str, object]:
    """The objects that a package exports, by name, without its version."""
    module = importlib.import_module(package)
    names = sorted(getattr(module, "__all__", ()), key=str.lower)
    return {name: getattr(module, name) for name in names if not name.startswith("__")}


def documented(value: object) -> bool:
    """Whether a public name is a class or a function, which has a docstring of its own; constants and aliases have none."""
    return inspect.isclass(value) or inspect.isroutine(value)


def _contents() -> Iterator[str]:
    for package in PACKAGES:
        yield f"- [{package}](#{package.replace('.', '')})"
    yield ""


def _package(package: str) -> Iterator[str]:
    module = importlib.import_module(package)
    yield f"## {package}"
    yield ""
    yield textwrap.dedent((module.__doc__ or "").strip()).split("\n\n    ")[0].strip()
    yield ""
    names = public_names(package)
    if package == "mhmodels":
        yield from _builders(module)
    described = {name: value for name, value in names.items() if documented(value)}
    errors = {name: value for name, value in described.items() if isinstance(value, type) and issubclass(value, Exception)}
    for name, value in described.items():
        if name not in errors:
            yield from _entry(package, name, value)
    constants = {name: value for name, value in names.items() if name not in described}
    if constants:
        yield f"### {package}: constants and types"
        yield ""
        yield from (f"- `{name}`: `{_short(value)}`" for name, value in constants.items())
        yield ""
    if errors:
        yield f"### {package}: errors"
        yield ""
        yield from (f"- `{name}` ({_bases(value)}): {_paragraph(value)}" for name, value in errors.items())
        yield ""


def _builders(module: object) -> Iterator[str]:
    """The builders of the zoo, which share one signature."""
    from mhmodels.registry import zoo

    entries = {entry.builder: name for name, entry in zoo().items() if entry.builder}
    yield "### Builders"
    yield ""
    yield "Each network of the zoo has a builder with the arguments of `create_model`, as in `keras.applications`."
    yield ""
    yield "```python"
    yield _signature("MultiMAX", getattr(module, "MultiMAX"))  # noqa: B009 - made on request
    yield "```"
    yield ""
    yield "| Builder | Network |"
    yield "|---|---|"
    yield from (f"| `{builder}` | `{name}` |" for builder, name in sorted(entries.items()))
    yield ""


def _entry(package: str, name: str, value: object) -> Iterator[str]:
    yield f"### {package}.{name}"
    yield ""
    signature = _signature(name, value)
    if signature:
        yield "```python"
        yield signature
        yield "```"
        yield ""
    yield from _docstring(value)
    if inspect.isclass(value):
        yield from _methods(value)


def _docstring(value: object) -> Iterator[str]:
    for section, lines in split(inspect.getdoc(value) or ""):
        if not section:
            yield "\n".join(lines).strip()
        elif section == "Example":
            yield "```python"
            yield textwrap.dedent("\n".join(lines)).strip()
            yield "```"
        else:
            yield f"**{section}**"
            yield ""
            yield from _items(lines) if section in ("Args", "Attributes", "Raises") else [" ".join(map(str.strip, lines)).strip()]
        yield ""


def split(docstring: str) -> list[tuple[str, list[str]]]:
    """A docstring's sections in order; the text before the first one has the name ""."""
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in docstring.splitlines():
        heading = _SECTION.match(line)
        if heading:
            found.append((heading[1], []))
        else:
            found[-1][1].append(line)
    return found


def _items(lines: list[str]) -> Iterator[str]:
    """`name: text` with indented lines that belong to it, as a list."""
    items: list[str] = []
    for line in textwrap.dedent("\n".join(lines)).splitlines():
        found = _ITEM.match(line)
        if found:
            items.append(f"- `{found[1]}`: {found[2]}")
        elif line.strip() and items:
            items[-1] += f" {line.strip()}"
    yield from items


def _methods(value: type) -> Iterator[str]:
    """Public methods and properties that a class or its `…Data` base defines, a line each."""
    lines = []
    own = [base for base in value.__mro__ if base is value or base.__name__ == f"{value.__name__}Data"]
    for name, member in (each for base in own for each in vars(base).items()):
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            lines.append(f"- `{name}`: {_paragraph(member)}")
        elif isinstance(member, (staticmethod, classmethod)) or inspect.isfunction(member):
            lines.append(f"- `{_signature(name, getattr(value, name), wrap=False)}`: {_paragraph(member)}")
    if lines:
        yield "**Methods and properties**"
        yield ""
        yield from lines
        yield ""


def _signature(name: str, value: object, *, wrap: bool = True) -> str:
    try:
        signature = _struct_signature(value) if _is_struct(value) else inspect.signature(value)  # type: ignore[arg-type]
    except NameError as error:  # an import for type checkers only, such as keras
        setattr(sys.modules[value.__module__], error.name, importlib.import_module(error.name))
        return _signature(name, value, wrap=wrap)
    except (TypeError, ValueError):
        return ""
    parameters = [
        parameter.replace(default=_Shown(parameter.default) if parameter.default is not parameter.empty else parameter.default)
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    text = name + _plain(str(signature.replace(parameters=parameters)))
    if inspect.isclass(value):
        text = text.removesuffix(" -> None")
    if not wrap or len(text) <= _LONGEST:
        return text
    given = [_plain(str(each)) for each in parameters]
    first = next((i for i, each in enumerate(parameters) if each.kind == each.KEYWORD_ONLY), None)
    if first is not None:
        given.insert(first, "*")
    end = text[text.rindex(") -> ") :] if ") -> " in text else ")"
    return "\n".join([f"{name}(", *(f"    {each}," for each in given), end])


def _is_struct(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, msgspec.Struct)


def _struct_signature(kind: type[msgspec.Struct]) -> inspect.Signature:
    """The signature of a struct with the annotations as the source has them; msgspec's own has their aliases resolved."""
    annotations = {name: text for base in reversed(kind.__mro__) for name, text in vars(base).get("__annotations__", {}).items()}
    names, defaults = kind.__struct_fields__, kind.__struct_defaults__
    given = dict(zip(names[len(names) - len(defaults) :], map(_default, defaults), strict=True))
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotations[name], default=given.get(name, _NONE))
        for name in names
    ]
    return inspect.Signature(parameters)


def _default(value: object) -> object:
    """A field's default; msgspec keeps a factory for a new dict or list."""
    if value is msgspec.NODEFAULT:
        return _NONE
    return value.factory() if type(value).__name__ == "Factory" else value  # type: ignore[attr-defined]


class _Shown:
    """A default value whose text is short and the same in every process; `…` for a function."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __repr__(self) -> str:
        return _short(self._value)


def _short(value: object) -> str:
    text = _ADDRESS.sub("", repr(value)).replace("typing.", "")
    return "…" if inspect.isroutine(value) or len(text) > _LONGEST else text


def _plain(signature: str) -> str:
    """Annotations without quotes, the names of our modules, and limits, which the descriptions state."""
    unquoted = re.sub(r"ForwardRef\('([^']*)'\)", r"\1", signature)
    unquoted = re.sub(r"(: |-> )'([^']*)'", r"\1\2", unquoted)
    unquoted = re.sub(r"Annotated\[(\w+), msgspec\.Meta\([^()]*\)\]", r"\1", unquoted)
    return re.sub(r"\b(?:mhmodels\.[a-z_.]+|typing|collections\.abc|pathlib)\.([A-Z])", r"\1", unquoted).replace("~", "")


def _paragraph(value: object) -> str:
    return " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())


def _bases(error: object) -> str:
    return ", ".join(f"`{base.__name__}`" for base in getattr(error, "__bases__", ()))


if __name__ == "__main__":
    main()
