#!/usr/bin/env python3
"""What set-up fetches is pinned: every npm package by version and SHA-512, every Python requirement by version.

Usage: check_locks.py ROOT
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path


def check_npm(folder: Path) -> list[str]:
    wanted = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
    found = []
    if lock.get("lockfileVersion") not in (2, 3):
        found.append("package-lock.json: lockfileVersion must be 2 or 3, which npm 9 reads")
    packages = lock.get("packages", {})
    for kind in ("dependencies", "optionalDependencies", "devDependencies"):
        if packages.get("", {}).get(kind, {}) != wanted.get(kind, {}):
            found.append(f"package-lock.json does not match the {kind} of package.json")
        for name, version in wanted.get(kind, {}).items():
            if not re.fullmatch(r"\d+\.\d+\.\d+", version):
                found.append(f"package.json: {name} is not pinned ({version})")
            elif packages.get(f"node_modules/{name}", {}).get("version") != version:
                found.append(f"package-lock.json: {name} is not at {version}")
    for path, package in packages.items():
        if path and not package.get("link") and not package.get("integrity", "").startswith("sha512-"):
            found.append(f"package-lock.json: {path} has no SHA-512")
        if "resolved" in package:
            found.append(f"package-lock.json: {path} names a host; write it with --omit-lockfile-registry-resolved")
    return found


def check_requirements(path: Path) -> list[str]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = line.split("#")[0].strip()
        if line and not line.startswith("-") and not re.match(r"[\w.\[\]-]+==[\w.+!]+", line):
            found.append(f"{path.name}:{number}: not pinned by '==': {line}")
    return found


def main() -> int:
    root = Path(sys.argv[1]).resolve()
    found = check_npm(root / "tools/npm") + check_npm(root / "tools/npm-test")
    files = sorted(path for path in root.glob("models/**/requirements*.txt") if "node_modules" not in path.parts)
    for path in files:
        found += check_requirements(path)
    for line in found:
        print(line)
    print(f"npm locks and {len(files)} requirements files checked, {len(found)} breaches")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
