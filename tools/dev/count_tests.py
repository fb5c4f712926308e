#!/usr/bin/env python3
"""Counts the tests that a run of ./dev test has left reports of.

Usage: count_tests.py FOLDER

FOLDER holds one folder a stage. In each: ctest.xml (JUnit, one entry a program), gtest/*.xml (one a GoogleTest program),
pytest.xml, static.txt (lines "pass NAME" or "fail NAME"). A program that GoogleTest wrote a report for counts by its
cases; any other counts as one test. Prints one line a stage and, last, the sum; exits 1 if anything failed.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


class Count:
    def __init__(self, passed: int = 0, failed: int = 0, skipped: int = 0):
        self.passed, self.failed, self.skipped = passed, failed, skipped

    def __iadd__(self, other: Count) -> Count:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        return self

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def count_gtest(path: Path) -> Count:
    count = Count()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None:
            count.failed += 1
        elif case.get("result") == "skipped":
            count.skipped += 1
        elif case.get("status") == "run":
            count.passed += 1
    return count


def count_junit(path: Path, gtest: Path | None = None) -> Count:
    count = Count()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        failed = case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail"
        skipped = case.find("skipped") is not None or case.get("status") in ("notrun", "disabled")
        report = gtest / f"{case.get('name')}.xml" if gtest else None
        if report and report.is_file():
            cases = count_gtest(report)
            if failed and not cases.failed:
                cases.failed += 1  # it crashed, leaked or ran out of time after its last case
            count += cases
        elif failed:
            count.failed += 1
        elif skipped:
            count.skipped += 1
        else:
            count.passed += 1
    return count


def count_static(path: Path) -> Count:
    words = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line]
    return Count(words.count("pass"), words.count("fail"))


def main() -> int:
    total = Count()
    for stage in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir()):
        count = Count()
        if (stage / "ctest.xml").is_file():
            count += count_junit(stage / "ctest.xml", stage / "gtest")
        if (stage / "pytest.xml").is_file():
            count += count_junit(stage / "pytest.xml")
        if (stage / "static.txt").is_file():
            count += count_static(stage / "static.txt")
        print(f"  {stage.name:<14}{count}")
        total += count
    print(total)
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
