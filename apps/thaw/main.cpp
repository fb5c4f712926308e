#include "command_line.h"
#include "serve.h"

int main(int argc, char** argv) { return thaw::cli::run_command_line(argc, argv, thaw::cli::run_serve); }
