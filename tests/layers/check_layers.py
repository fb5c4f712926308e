#!/usr/bin/env python3
"""Holds the table of who may see whom, and a few rules about the source tree.

Usage: check_layers.py ROOT

Checks, over the C++ files of src/ and apps/:
  - a quoted include names a folder that the including folder may see (TABLE; docs/architecture.md explains it);
  - a library that belongs to certain folders is included by those alone (LIBRARIES);
  - a file that has a header of its own name beside it includes that header first, so the header compiles alone;
  - headers open with #pragma once;
  - no file is longer than LINES_MAX lines (a warning from LINES_WARN on).
And over every text file of the repository: no word of FORBIDDEN.

Prints each breach as path:line: what is wrong; exits 1 if there was one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

# Folder -> the folders that it may include from, besides itself. Written out in full, nothing is inherited.
TABLE: dict[str, set[str]] = {
    "src/base": set(),
    "src/model": {"base"},
    "src/http": {"base", "model"},
    "src/ports": {"base", "model"},
    "src/adapters": {"base", "model", "ports"},
    "src/sandbox": {"base", "model", "ports"},
    "src/store": {"base", "model", "ports", "http"},
    "src/observe": {"base", "model"},
    "src/snapshot": {"base", "model", "ports", "http", "sandbox", "store"},
    "src/invoke": {"base", "model", "ports", "http", "sandbox"},
    "src/pool": {"base", "model", "ports", "http", "store", "observe", "sandbox", "invoke", "snapshot"},
    "src/control": {"base", "model", "ports", "http", "store"},
    "src/features": {"base", "model", "ports", "http", "store"},
    "src/events": {"base", "model", "ports", "http", "store", "observe", "invoke", "pool", "control"},
    "src/gateway": {
        "base", "model", "ports", "http", "store", "observe", "invoke", "pool", "control", "events", "features",
    },
    "src/image": {"base"},
    "src/onnx": {"base", "model", "http", "image"},
    # Programs wire. What the privileged ones may see is what may run with privileges: they never parse a request.
    "apps/thaw-stub": {"base", "model", "ports", "sandbox"},
    "apps/thaw-extensions": set(),
    "apps/thaw-spawner": {"base", "model", "ports", "sandbox", "snapshot"},
    "apps/thaw-onnx": {"base", "model", "http", "onnx"},
    "apps/thaw": {
        "base", "model", "http", "ports", "adapters", "sandbox", "store", "observe", "snapshot", "invoke", "pool",
        "control", "events", "features", "gateway",
    },
}  # fmt: skip

# Prefix of an angle include -> the folders that may name the library.
LIBRARIES: dict[str, set[str]] = {
    "soci/": {"src/adapters", "src/control", "src/features"},
    "nats/": {"src/adapters"},
    "sqlite3.h": {"src/adapters", "src/control"},
    "csv.h": {"src/adapters"},
    "libpq": {"src/adapters"},
    "hiredis/": {"src/adapters"},
    "hnswlib/": {"src/features"},
    "archive": {"src/control", "apps/thaw"},
    "curl/": {"src/adapters", "apps/thaw"},
    "expat.h": {"src/adapters"},
    "onnxruntime": {"src/onnx"},
    "unicode/": {"src/onnx"},
    "jpeglib.h": {"src/image"},
    "jerror.h": {"src/image"},
    "png.h": {"src/image"},
    "webp/": {"src/image"},
    "seccomp.h": {"src/sandbox"},
    "histedit.h": {"apps/thaw"},
    "CLI/": {"apps/thaw", "apps/thaw-onnx"},
}

LINES_WARN = 500
LINES_MAX = 800

# Where packages came from and where a build ran are no part of the source. Spelled so that this file passes.
FORBIDDEN = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"registry\.npm" r"js\.org",
        r"registry\.yarn" r"pkg\.com",
        r"files\.python" r"hosted\.org",
        r"(?<![\w.])pypi" r"\.org",
        r"\bdeb\.debian" r"\.org",
        r"proxy\.golang" r"\.org",
        r"static\.crates" r"\.io",
        r"repo1\.maven" r"\.org",
        r"/work" r"/(main|shared)\b",
        r"/tmp" r"/brief",
    )
]

CODE_SUFFIXES = {".h", ".c", ".cpp"}
TEXT_SUFFIXES = CODE_SUFFIXES | {
    ".cmake", ".css", ".html", ".js", ".json", ".md", ".py", ".service", ".sh", ".toml", ".ts", ".txt", ".yaml", ".yml", "",
}  # fmt: skip
TEXT_BYTES_MAX = 2_000_000

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"(?P<quoted>[^"]+)"|<(?P<angle>[^>]+)>)')


def folder_of(path: Path) -> str:
    """The layer that a file belongs to: the first two parts of its path."""
    return "/".join(path.parts[:2])


def may_see(table: dict[str, set[str]], folder: str, other: str) -> bool:
    return f"src/{other}" == folder or other in table.get(folder, set())


def check_includes(path: Path, text: str, siblings: set[str]) -> list[tuple[int, str]]:
    """path is relative to the root; siblings are the names of the files beside it."""
    found: list[tuple[int, str]] = []
    folder = folder_of(path)
    if folder not in TABLE:
        return [(1, f"the folder {folder} is not in the table of layers (tests/layers/check_layers.py)")]
    first_quoted: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quoted, angle = match["quoted"], match["angle"]
        if angle:
            for prefix, owners in LIBRARIES.items():
                if angle.startswith(prefix) and folder not in owners:
                    found.append((number, f"<{angle}> may be included in {', '.join(sorted(owners))} alone"))
            continue
        if first_quoted is None:
            first_quoted = quoted
        parts = Path(quoted).parts
        if ".." in parts:
            found.append((number, f'"{quoted}" leaves its folder: name it from src/'))
        elif len(parts) == 1:
            if not folder.startswith("apps/"):
                found.append((number, f'"{quoted}": name it from src/, as in "{folder[4:]}/{quoted}"'))
        elif f"src/{parts[0]}" in TABLE and not may_see(TABLE, folder, parts[0]):
            found.append((number, f'{folder} may not see {parts[0]} ("{quoted}")'))
    own = re.sub(r"_(test|fuzz)$", "", path.stem) + ".h"
    if path.suffix == ".cpp" and own in siblings and first_quoted is not None and Path(first_quoted).name != own:
        found.append((1, f"{own} comes first, so that it compiles alone (the first here is {first_quoted})"))
    return found


def check_code(path: Path, text: str, siblings: set[str]) -> tuple[list[tuple[int, str]], list[str]]:
    """Breaches and warnings of one C++ file."""
    found = check_includes(path, text, siblings)
    warnings = []
    lines = text.count("\n")
    if lines > LINES_MAX:
        found.append((1, f"{lines} lines: the limit is {LINES_MAX}"))
    elif lines > LINES_WARN:
        warnings.append(f"{path}: {lines} lines (aim at {LINES_WARN})")
    guard = r"^#pragma once$|^#ifndef [A-Z0-9_]+_H_$"  # the second in headers that C files include too
    if path.suffix == ".h" and not re.search(guard, text, re.MULTILINE):
        found.append((1, "no '#pragma once'"))
    return found, warnings


def check_words(text: str) -> list[tuple[int, str]]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for pattern in FORBIDDEN:
            match = pattern.search(line)
            if match:
                found.append((number, f"'{match[0]}' does not belong in the repository"))
    return found


def files_of(root: Path) -> list[Path]:
    """Every file of the repository, also those not yet added; without git, everything outside build folders."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={root}", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        return sorted({Path(name) for name in listed.stdout.decode().split("\0") if name})
    skipped = {"build", "node_modules", ".git", "__pycache__"}
    paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(path for path in paths if not skipped & set(path.parts))


def main() -> int:
    root = Path(sys.argv[1]).resolve()
    breaches, warnings, checked = [], [], 0
    files = [path for path in files_of(root) if (root / path).is_file()]
    beside: dict[Path, set[str]] = {}
    for path in files:
        beside.setdefault(path.parent, set()).add(path.name)
    for path in files:
        if path.suffix not in TEXT_SUFFIXES or (root / path).stat().st_size > TEXT_BYTES_MAX:
            continue
        try:
            text = (root / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a corpus or another binary file
        found = check_words(text)
        if path.suffix in CODE_SUFFIXES and path.parts[0] in ("src", "apps"):
            checked += 1
            in_code, in_warnings = check_code(path, text, beside[path.parent])
            found += in_code
            warnings += in_warnings
        breaches += [f"{path}:{number}: {what}" for number, what in found]
    for line in warnings:
        print(f"warning: {line}")
    for line in breaches:
        print(line)
    print(f"{checked} C++ files checked, {len(breaches)} breaches, {len(warnings)} warnings")
    if checked == 0:
        print("no C++ file found: is the root right?")
        return 1
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
