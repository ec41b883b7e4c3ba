// SPDX-License-Identifier: Apache-2.0
// The interpreter as a target for libFuzzer, which brings main() along:
//
//     bazel run --config=fuzz //tests/model:model_fuzz -- -max_total_time=60
//
// --config=fuzz builds with clang and its libFuzzer (Debian: clang, libclang-rt-14-dev or, up to
// Debian 12, libclang-common-14-dev); where they are missing the build says so.  A program that
// fails is described, and libFuzzer keeps its bytes in a file crash-..., which is run again by
// giving it as the argument.  The threads backend, in memory, with faults: the fastest.
#include <cstdio>
#include <cstdlib>

#include "tests/model/interpreter.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static model::Host *host = nullptr;
  if (host == nullptr) {
    host = new model::Host; // lives as long as the program: libFuzzer ends it by exit()
    if (host->Open(RF_BACKEND_THREADS, true, "/dev/shm") != 0) abort();
  }
  std::string program(reinterpret_cast<const char *>(bytes), size);
  std::string wrong = host->Run(program);
  if (wrong.empty()) return 0;
  fprintf(stderr, "%s\n%s", wrong.c_str(), model::Describe(program).c_str());
  abort();
}
