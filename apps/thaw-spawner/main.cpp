// The privileged half of Thaw. Started by `thaw serve`; see src/sandbox/spawner.h.
#include <string>
#include <vector>

#include "sandbox/spawner_main.h"

int main(int argc, char** argv) {
  return thaw::sandbox::run_spawner_program(std::vector<std::string>(argv, argv + argc));
}
