#!/usr/bin/env python3
"""The layer check finds what it is there to find."""

from __future__ import annotations

import re
import unittest
from pathlib import Path

from check_layers import TABLE, check_code, check_words


def breaches(path: str, text: str, siblings: set[str] = frozenset()) -> list[str]:
    found, _ = check_code(Path(path), text, set(siblings))
    return [what for _, what in found]


class Layers(unittest.TestCase):
    def test_lower_layers_may_be_seen(self):
        self.assertEqual(breaches("src/pool/pool.cpp", '#include "invoke/exchange.h"\n#include <vector>\n'), [])
        self.assertEqual(breaches("src/pool/pool.cpp", '#include "pool/limits.h"\n'), [])

    def test_upper_layers_may_not(self):
        self.assertEqual(
            breaches("src/base/sys.cpp", '#include "model/function.h"\n'),
            ['src/base may not see model ("model/function.h")'],
        )
        self.assertEqual(len(breaches("src/gateway/router.cpp", '  #  include "sandbox/sandbox.h"\n')), 1)
        self.assertEqual(len(breaches("apps/thaw-spawner/main.cpp", '#include "http/server.h"\n')), 1)

    def test_the_table_has_no_circles(self):
        def below(folder: str, seen: tuple[str, ...]) -> None:
            self.assertNotIn(folder, seen, f"{' -> '.join(seen)} -> {folder}")
            for other in TABLE[f"src/{folder}"]:
                below(other, (*seen, folder))

        for folder in TABLE:
            if folder.startswith("src/"):
                below(folder.removeprefix("src/"), ())

    def test_the_table_is_complete_downwards(self):
        for folder, others in TABLE.items():
            for other in others:
                if folder in ("src/events", "src/gateway", "apps/thaw-onnx", "apps/thaw-spawner"):
                    continue  # they are walled off from what their neighbours use
                missing = TABLE[f"src/{other}"] - others - {other}
                self.assertFalse(missing, f"{folder} sees {other} but not {missing}")

    def test_the_page_shows_the_same_table(self):
        page = (Path(__file__).parents[2] / "docs/architecture.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `((?:src|apps)/[\w-]+)` \| (.+) \|$", page.split("## Who may see whom")[1], re.MULTILINE)
        shown = {folder: set() if others == "nothing" else set(others.split(", ")) for folder, others in rows}
        self.assertEqual(shown, TABLE)

    def test_an_unknown_folder_is_a_breach(self):
        self.assertEqual(len(breaches("src/misc/a.cpp", "")), 1)

    def test_a_library_stays_with_its_owner(self):
        self.assertEqual(len(breaches("src/gateway/router.cpp", "#include <soci/soci.h>\n")), 1)
        self.assertEqual(breaches("src/adapters/sql/catalog.cpp", "#include <soci/soci.h>\n"), [])

    def test_the_own_header_comes_first(self):
        text = '#include "base/log.h"\n#include "base/sys.h"\n'
        self.assertEqual(len(breaches("src/base/sys.cpp", text, {"sys.h"})), 1)
        self.assertEqual(len(breaches("src/base/sys_test.cpp", text, {"sys.h"})), 1)
        self.assertEqual(breaches("src/base/log.cpp", text, {"log.h"}), [])

    def test_headers_have_a_guard_and_files_a_limit(self):
        self.assertEqual(breaches("src/base/a.h", "int f();\n"), ["no '#pragma once'"])
        self.assertEqual(breaches("src/base/a.h", "// What\n#pragma once\nint f();\n"), [])
        self.assertEqual(len(breaches("src/base/a.cpp", "\n" * 801)), 1)

    def test_words_of_the_build_machine_are_found(self):
        self.assertEqual(len(check_words("see https://registry.npm" + "js.org/x\n")), 1)
        self.assertEqual(check_words("a plain line\n"), [])


if __name__ == "__main__":
    unittest.main()
