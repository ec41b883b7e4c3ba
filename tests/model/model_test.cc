// SPDX-License-Identifier: Apache-2.0
// Thousands of random programs on every backend, with and without faults, against the model.
//
// A program that fails is shown with its seed, and shrunk.  To see it again: --seed=N, or
// RINGFALL_SEED=N in the environment; RINGFALL_SEEDS=N for another number of them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ostream>
#include <string>

#include "tests/model/interpreter.h"

namespace {

uint64_t first_seed = 1;
uint64_t seeds = 0; // 0: as many as each suite has

enum class Place { kMemory, kDisk };

struct Case {
  rf_backend_id id;
  bool wrapped;
  Place place;
  uint64_t seeds;
};

void PrintTo(const Case &given, std::ostream *out) {
  *out << rf_backend_name(given.id) << (given.wrapped ? "_Faults" : "_Plain")
       << (given.place == Place::kDisk ? "_Disk" : "_Memory");
}

std::string Directory(Place place) {
  const char *given = getenv("TEST_TMPDIR");
  if (place == Place::kMemory && access("/dev/shm", W_OK) == 0) return "/dev/shm";
  return given != nullptr ? given : "/tmp";
}

class Model : public testing::TestWithParam<Case> {
protected:
  static int Open(model::Host *host) {
    const Case &given = GetParam();
    return host->Open(given.id, given.wrapped, Directory(given.place));
  }
};

TEST_P(Model, AgreesWithEveryProgram) {
  model::Host host;
  int status = Open(&host);
  if (status == -ENOTSUP) GTEST_SKIP() << "needs " << rf_backend_name(GetParam().id);
  ASSERT_EQ(status, 0);
  uint64_t count = seeds != 0 ? seeds : GetParam().seeds;
  for (uint64_t seed = first_seed; seed < first_seed + count; seed++) {
    std::string program = model::Generate(seed);
    std::string wrong = host.Run(program);
    if (wrong.empty()) continue;
    std::string small = model::Shrink(program, [](const std::string &less) {
      model::Host other;
      return Open(&other) == 0 && !other.Run(less).empty();
    });
    FAIL() << "seed " << seed << ": " << wrong << "\nshrunk: " << model::Describe(small)
           << "in full: " << model::Describe(program);
  }
}

// On a disk each fsync takes its time, and each queue on libaio takes tens of ms to close.
INSTANTIATE_TEST_SUITE_P(Backends, Model,
                         testing::Values(Case{RF_BACKEND_IO_URING, false, Place::kMemory, 1000},
                                         Case{RF_BACKEND_IO_URING, true, Place::kMemory, 1000},
                                         Case{RF_BACKEND_IO_URING, false, Place::kDisk, 100},
                                         Case{RF_BACKEND_IO_URING, true, Place::kDisk, 100},
                                         Case{RF_BACKEND_LIBAIO, false, Place::kMemory, 150},
                                         Case{RF_BACKEND_LIBAIO, true, Place::kMemory, 150},
                                         Case{RF_BACKEND_LIBAIO, false, Place::kDisk, 40},
                                         Case{RF_BACKEND_LIBAIO, true, Place::kDisk, 40},
                                         Case{RF_BACKEND_THREADS, false, Place::kMemory, 1000},
                                         Case{RF_BACKEND_THREADS, true, Place::kMemory, 1000},
                                         Case{RF_BACKEND_THREADS, false, Place::kDisk, 50},
                                         Case{RF_BACKEND_THREADS, true, Place::kDisk, 50}),
                         testing::PrintToStringParamName());

void TakeNumber(const char *text, uint64_t *number) {
  if (text != nullptr) *number = strtoull(text, nullptr, 10);
}

} // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  const char *seed = getenv("RINGFALL_SEED");
  for (int i = 1; i < argc; i++)
    if (strncmp(argv[i], "--seed=", 7) == 0) seed = argv[i] + 7;
  TakeNumber(getenv("RINGFALL_SEEDS"), &seeds);
  if (seed != nullptr) seeds = 1;
  TakeNumber(seed, &first_seed);
  return RUN_ALL_TESTS();
}
