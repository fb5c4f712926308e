// The privileged half of Thaw. Started by `thaw serve`; see src/sandbox/spawner.h.
#include <string>
#include <vector>

#include "sandbox/spawner_main.h"
#include "snapshot/engine.h"

int main(int argc, char** argv) {
  thaw::snapshot::Engine images;
  return thaw::sandbox::run_spawner_program(std::vector<std::string>(argv, argv + argc), images);
}
