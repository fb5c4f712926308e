// The program thaw-spawner, all but its main(): two processes. The keeper is the parent and only waits; the spawner is
// its child and works. Whichever is killed, the other one ends every environment and removes their groups.
#pragma once

#include <string>
#include <vector>

#include "sandbox/process_images.h"

namespace thaw::sandbox {

// The exit status of the program.
int run_spawner_program(const std::vector<std::string>& arguments, ProcessImages& images);

}  // namespace thaw::sandbox
