// An allocator's view: memory that it has given back to the kernel is zeros when it is had again. The allocator is
// malloc, or what LD_PRELOAD puts in its place; see subject.h.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "subject.h"

namespace {

using subject::expect;
using subject::require;

constexpr std::size_t kBytes[] = {64, 4096, 70'000, 3 << 20};  // small ones, pages, runs of pages, maps of their own
constexpr std::size_t kOfEach = 6;

struct Block {
  unsigned char* bytes = nullptr;
  std::size_t size = 0;
};
std::vector<Block> kept;
using Control = int (*)(const char*, void*, std::size_t*, void*, std::size_t);

unsigned char mark(std::size_t i) { return static_cast<unsigned char>(i % 251 + 1); }

// What jemalloc has free goes back to the kernel, as far as it still lies about.
void purge() {
  const auto control = reinterpret_cast<Control>(::dlsym(RTLD_DEFAULT, "mallctl"));
  if (control == nullptr) return;
  unsigned arenas = 0;
  std::size_t size = sizeof(arenas);
  require(control("arenas.narenas", &arenas, &size, nullptr, 0) == 0, "arenas.narenas");
  control("thread.tcache.flush", nullptr, nullptr, nullptr, 0);
  for (unsigned arena = 0; arena < arenas; ++arena)
    control(("arena." + std::to_string(arena) + ".purge").c_str(), nullptr, nullptr, nullptr, 0);
}

// Fills the memory with garbage, gives half of it back.
void churn() {
  std::vector<Block> freed;
  for (const std::size_t size : kBytes) {
    for (std::size_t i = 0; i < kOfEach * 2; ++i) {
      Block block{static_cast<unsigned char*>(std::malloc(size)), size};
      require(block.bytes != nullptr, "malloc");
      std::memset(block.bytes, mark(kept.size()), size);
      (i % 2 == 0 ? kept : freed).push_back(block);
    }
  }
  for (const Block& block : freed) std::free(block.bytes);
  purge();
}

void check_zeros() {
  for (const std::size_t size : kBytes) {
    for (std::size_t i = 0; i < kOfEach * 3; ++i) {
      auto* const bytes = static_cast<unsigned char*>(std::calloc(1, size));
      require(bytes != nullptr, "calloc");
      bool zeros = true;
      for (std::size_t at = 0; at < size; ++at) zeros &= bytes[at] == 0;
      expect(zeros, "zeros in " + std::to_string(size) + " bytes of calloc");
      std::memset(bytes, 0xee, size);
      // Some are freed, so that what was purged is had again.
      if (i % 3 != 0) std::free(bytes);
    }
  }
}

void check_kept() {
  for (std::size_t i = 0; i < kept.size(); ++i) {
    bool right = true;
    for (std::size_t at = 0; at < kept[i].size; ++at) right &= kept[i].bytes[at] == mark(i);
    expect(right, "what a block holds");
  }
}

void prepare() {
  const bool preloaded = std::getenv("LD_PRELOAD") != nullptr;
  require(!preloaded || ::dlsym(RTLD_DEFAULT, "mallctl") != nullptr, "jemalloc is not there");
  churn();
}

void check() {
  check_kept();
  check_zeros();
  for (const Block& block : kept) std::memset(block.bytes, 0xdd, block.size);
  for (const Block& block : kept) std::free(block.bytes);
  kept.clear();
  purge();
  check_zeros();
  churn();
  check_kept();
  check_zeros();
}

}  // namespace

int main(int argc, char** argv) { return subject::run(argc, argv, {{"zeros", prepare, check}}); }
