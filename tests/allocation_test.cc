// SPDX-License-Identifier: Apache-2.0
// A queue allocates when it is opened, and never again.
//
// Linked with --wrap for each function that allocates: counts the library's own calls.  What libc
// does to start a thread is not among them.
#include <gtest/gtest.h>
#include <ringfall/ringfall.h>

#include <atomic>
#include <cstddef>
#include <string>
#include <vector>

#include "tests/queue_rig.h"
#include "tests/raw_host.h"

namespace {

std::atomic<uint64_t> allocations{0};

} // namespace

extern "C" {
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
int __real_posix_memalign(void **out, size_t align, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
int __wrap_posix_memalign(void **out, size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

void *__wrap_malloc(size_t size) {
  allocations++;
  return __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size) {
  allocations++;
  return __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size) {
  allocations++;
  return __real_realloc(old, size);
}
int __wrap_posix_memalign(void **out, size_t align, size_t size) {
  allocations++;
  return __real_posix_memalign(out, align, size);
}
void *__wrap_aligned_alloc(size_t align, size_t size) {
  allocations++;
  return __real_aligned_alloc(align, size);
}
}

namespace {

using queue_rig::kLostNs;
using queue_rig::Rig;

constexpr unsigned kOps = 10000;
constexpr unsigned kDepth = 64;
constexpr size_t kBlock = 512;

class Allocation : public testing::TestWithParam<rf_backend_id> {};

TEST_P(Allocation, IsOverWhenTheQueueIsOpen) {
  if (!raw_host::Works(GetParam())) GTEST_SKIP() << "needs " << rf_backend_name(GetParam());
  Rig rig;
  rig.engine_options.choice = RF_CHOICE_REQUIRE;
  rig.engine_options.backend = GetParam();
  rig.queue_options.depth = kDepth;
  rig.queue_options.latency = true;
  ASSERT_EQ(rig.OpenEngine(), 0) << rig.Log();
  uint64_t before = allocations;
  ASSERT_EQ(rig.OpenQueue(), 0) << rig.Log();
  ASSERT_GT(allocations, before) << "not linked with --wrap: nothing is counted";
  ASSERT_EQ(rf_queue_backend(rig.queue), GetParam());

  static char buffers[kOps][kBlock]; // one each: no two ops in flight share memory
  iovec parts[2] = {{buffers[0], 100}, {buffers[0] + 100, 412}};
  rf_completion done[kDepth];
  unsigned submitted = 0, completed = 0, failed = 0;
  uint64_t opened = allocations;
  while (completed < kOps) {
    while (submitted < kOps) {
      uint64_t at = submitted % 256 * kBlock, i = submitted;
      char *buffer = buffers[i];
      rf_op op = rf_op_write(rig.file, buffer, kBlock, at, i);
      if (i % 7 == 1) op = rf_op_read(rig.file, buffer, kBlock, at, i);
      if (i % 7 == 2) op = rf_op_writev(rig.file, parts, 2, at, i);
      if (i % 7 == 3) op = rf_op_nop(i); // libaio has none: goes to threads
      if (i % 500 == 4) op = rf_op_fdatasync(rig.file, i);
      op.deadline_ns = static_cast<uint64_t>(kLostNs);
      if (rf_submit(rig.queue, &op, 1) != 1) break;
      submitted++;
    }
    int n = rf_wait(rig.queue, done, 1, kDepth, kLostNs);
    if (n <= 0) break;
    for (int i = 0; i < n; i++) failed += done[i].status != 0;
    completed += static_cast<unsigned>(n);
  }
  uint64_t after = allocations;
  EXPECT_EQ(completed, kOps);
  EXPECT_EQ(failed, 0u);
  EXPECT_EQ(after - opened, 0u) << "allocations in " << kOps << " ops";
}

INSTANTIATE_TEST_SUITE_P(Backends, Allocation,
                         testing::Values(RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO,
                                         RF_BACKEND_THREADS),
                         [](const auto &given) {
                           return std::string(rf_backend_name(given.param));
                         });

} // namespace
