"""``python -m benchmarks NAME [options] [--json]``."""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import BenchmarkError, Value

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of all benchmarks."""
    return sorted(_files())


def _files() -> dict[str, Path]:
    """The module of each benchmark, by name; a package is known by its ``__init__``."""
    packages = {folder.parent.name: folder for folder in _FOLDER.glob("[!_]*/__init__.py")}
    modules = {file.stem: file for file in _FOLDER.glob("[!_]*.py")}
    return {
        name.replace("_", "-"): file for name, file in (packages | modules).items() if description(file) is not None
    }


def description(file: Path) -> str | None:
    """``DESCRIPTION`` of a module, read without importing it; None when it is no benchmark."""
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="DESCRIPTION")], value=ast.Constant(value=str(text))):
                return text
    return None


def main(argv: Sequence[str]) -> int:
    """Run one benchmark and print its results; returns the exit code."""
    arguments = [argument for argument in argv if argument != "--json"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        for name, file in sorted(_files().items()):
            print(f"  {name:<14} {description(file)}")
        return 0
    name, *options = arguments
    if name.replace("_", "-") not in names():
        print(f"There is no benchmark {name}; there are: {', '.join(names())}", file=sys.stderr)
        return 2
    try:
        results = importlib.import_module(f"benchmarks.{name.replace('-', '_')}").main(options)
    except BenchmarkError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"benchmark": name, **results}) if "--json" in argv else table(results))
    return 0


def table(results: Mapping[str, Value]) -> str:
    """Results as text: a line a value, and lists of records as columns."""
    lines = []
    width = max((len(key) for key in results), default=0)
    for key, value in results.items():
        if isinstance(value, Mapping):
            lines += ["", f"{key}:", *("  " + line for line in table(value).split("\n"))]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            records = [row for row in value if isinstance(row, Mapping)]
            lines += (
                ["", f"{key}:", *("  " + line for line in _columns(records))] if records else [f"{key:<{width}}  -"]
            )
        else:
            lines.append(f"{key:<{width}}  {_text(value)}")
    return "\n".join(lines)


def _columns(records: Sequence[Mapping[str, Value]]) -> list[str]:
    heads = list(dict.fromkeys(key for record in records for key in record))
    rows = [heads, *([_text(record.get(head)) for head in heads] for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _text(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
