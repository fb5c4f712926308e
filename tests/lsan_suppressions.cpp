// Leaks of libraries that Thaw cannot mend. Compiled into every program of an AddressSanitizer build; the shared
// libraries carry no symbols, so a whole library is named.
//   libarchive: its zip writer keeps its list of entries when a half-written archive is given up.
//   libsqlite3: SOCI drops the handle of a database file that turns out not to be one.

extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libarchive.so\nleak:libsqlite3.so\n"; }
extern "C" const char* __lsan_default_options();
// Otherwise every run prints what was suppressed, in the middle of the output that tests compare.
extern "C" const char* __lsan_default_options() { return "print_suppressions=0"; }
