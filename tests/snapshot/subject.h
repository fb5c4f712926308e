// A program that is frozen: it makes some state, says "ready", waits for SIGUSR2, looks whether the state is what it
// was, and says "right"; or "wrong: WHAT" for each thing that is not, and then "not right".
//
//   PROGRAM CASE
//
// A case that this machine cannot run says "skip: WHY" instead of "ready".
#pragma once

#include <functional>
#include <initializer_list>
#include <string>

namespace subject {

struct Case {
  const char* name;
  std::function<void()> prepare;
  std::function<void()> check;
};

// What is wrong goes to the output.
void expect(bool right, const std::string& what);
// Ends the program: the state cannot be made at all.
void require(bool made, const char* what);
[[noreturn]] void skip(const char* why);

int run(int argc, char** argv, std::initializer_list<Case> cases);

}  // namespace subject
