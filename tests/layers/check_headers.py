#!/usr/bin/env python3
"""Compiles every header of src/ and apps/ alone.

Usage: check_headers.py ROOT BUILD

Takes the flags from BUILD/compile_commands.json: those of a source file in the header's folder, or of any if there is
none. A header that a source file of its own name includes first has been compiled alone by the ordinary build
(check_layers.py sees to the order) and is left out.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def flags_by_folder(build: Path) -> dict[Path, list[str]]:
    flags = {}
    for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        words = shlex.split(entry["command"])
        if Path(words[0]).name == "ccache":
            words = words[1:]
        kept, skip = [], False
        for word in words:
            if skip or word in ("-c", entry["file"]):
                skip = False
            elif word in ("-o", "-MF", "-MT", "-MQ"):
                skip = True
            elif word not in ("-MD", "-MMD"):
                kept.append(word)
        flags.setdefault(Path(entry["file"]).parent, kept)
    return flags


def main() -> int:
    root, build = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    flags = flags_by_folder(build)
    if not flags:
        print("no compile commands")
        return 1
    headers = sorted(path for top in ("src", "apps") for path in (root / top).rglob("*.h"))
    alone = [path for path in headers if not path.with_suffix(".cpp").exists()]

    def compile_alone(header: Path) -> tuple[Path, subprocess.CompletedProcess]:
        words = flags.get(header.parent) or next(iter(flags.values()))
        command = [*words, "-Wno-pragma-once-outside-header", "-fsyntax-only", "-x", "c++", str(header)]
        return header, subprocess.run(command, cwd=build, capture_output=True, text=True, check=False)

    failed = 0
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as workers:
        for header, result in workers.map(compile_alone, alone):
            if result.returncode != 0:
                failed += 1
                print(f"{header.relative_to(root)} does not compile alone:\n{result.stderr}")
    print(f"{len(headers)} headers, {len(alone)} of them compiled here, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
