// SPDX-License-Identifier: Apache-2.0
// What a queue costs: system calls, as the kernel counts them; memory; the time to open one and to
// probe a host.  Speed itself is tests/bench's.
//
// System calls are counted by ptrace in a forked child.  Memory is counted by --wrap, as in
// allocation_test.cc.  Times are medians of many, and the best of a few such medians counts: other
// work on the machine must not fail a test.
#include <errno.h>
#include <gtest/gtest.h>
#include <ringfall/ringfall.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include "tests/in_child.h"
#include "tests/queue_rig.h"
#include "tests/raw_host.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<size_t> bytes{0};

void Count(size_t size) {
  if (counting) bytes += size;
}

} // namespace

extern "C" {
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

void *__wrap_malloc(size_t size) {
  Count(size);
  return __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size) {
  Count(count * size);
  return __real_calloc(count, size);
}
void *__wrap_aligned_alloc(size_t align, size_t size) {
  Count(size);
  return __real_aligned_alloc(align, size);
}
}

namespace {

using queue_rig::kLostNs;
using queue_rig::Rig;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSlower = 10; // than without a sanitizer, at most
#else
constexpr int kSlower = 1;
#endif

class Cost : public testing::TestWithParam<rf_backend_id> {
protected:
  void SetUp() override {
    if (!raw_host::Works(GetParam())) GTEST_SKIP() << "needs " << rf_backend_name(GetParam());
    rig.engine_options.choice = RF_CHOICE_REQUIRE;
    rig.engine_options.backend = GetParam();
  }
  Rig rig;
};

// ---- system calls ------------------------------------------------------------------------------

constexpr unsigned kBatch = 32, kRounds = 200;

// Cached reads, a batch at a time.  Between two calls of getppid nothing else is done.
uint64_t Work(Rig *rig) {
  static char memory[kBatch][512];
  std::vector<rf_op> ops;
  for (unsigned i = 0; i < kBatch; i++)
    ops.push_back(rf_op_read(rig->file, memory[i], 512, i * 512, i));
  rf_completion done[kBatch];
  uint64_t before = 0;
  for (unsigned round = 0; round < kRounds + 10; round++) {
    if (round == 10) { // files are registered by now
      before = rig->Counters().system_calls;
      syscall(SYS_getppid);
    }
    if (rf_submit_and_wait(rig->queue, ops.data(), kBatch, nullptr, done, kBatch, kBatch,
                           RF_FOREVER) != static_cast<int>(kBatch))
      _exit(in_child::kFailed);
  }
  syscall(SYS_getppid);
  return rig->Counters().system_calls - before;
}

// The number of the system call in which the stopped child is.
long CallOf(pid_t child) {
  __ptrace_syscall_info info = {};
  long size =
      ptrace(static_cast<__ptrace_request>(PTRACE_GET_SYSCALL_INFO), child, sizeof(info), &info);
  return size > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY ? static_cast<long>(info.entry.nr) : -1;
}

// Follows the child to its end.  False if it cannot be followed.
bool Follow(pid_t child, uint64_t *calls) {
  bool between = false;
  int status = 0;
  while (waitpid(child, &status, 0) == child && !WIFEXITED(status) && !WIFSIGNALED(status)) {
    int signal = WSTOPSIG(status);
    long call = signal == (SIGTRAP | 0x80) ? CallOf(child) : -1;
    if (call == SYS_getppid)
      between = !between;
    else if (between && call >= 0)
      ++*calls;
    bool own = signal == (SIGTRAP | 0x80) || signal == SIGSTOP || signal == SIGTRAP;
    if (ptrace(PTRACE_SYSCALL, child, nullptr, own ? 0 : signal) != 0) break;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == in_child::kDone;
}

TEST_P(Cost, OfABatchIsOneCallToSubmitAndLittleMore) {
  if (GetParam() == RF_BACKEND_THREADS) return; // a call an op, by what it is
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "needs a build without ThreadSanitizer, which makes calls of its own";
#endif
  int result[2];
  ASSERT_EQ(pipe(result), 0);
  pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(in_child::kSkipped);
    raise(SIGSTOP);
    Rig *own = new Rig; // never closed: the child just ends
    own->engine_options = rig.engine_options;
    if (own->Open() != 0 || !own->RoundTrip(8)) _exit(in_child::kFailed);
    uint64_t counted = Work(own);
    _exit(write(result[1], &counted, sizeof(counted)) > 0 ? in_child::kDone : in_child::kFailed);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  if (!WIFSTOPPED(status)) GTEST_SKIP() << "needs ptrace";
  ASSERT_EQ(ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL),
            0);
  ASSERT_EQ(ptrace(PTRACE_SYSCALL, child, nullptr, nullptr), 0);
  uint64_t by_kernel = 0, by_library = 0;
  ASSERT_TRUE(Follow(child, &by_kernel));
  ASSERT_EQ(read(result[0], &by_library, sizeof(by_library)),
            static_cast<ssize_t>(sizeof(by_library)));
  close(result[0]), close(result[1]);
  RecordProperty("calls", static_cast<int>(by_kernel));
  double per_op = static_cast<double>(by_kernel) / (kBatch * kRounds);
  EXPECT_GE(by_kernel, uint64_t{kRounds}) << "nothing was counted";
  EXPECT_LE(per_op, 1.0 / 32 + 1.0 / 16) << by_kernel;
  EXPECT_EQ(by_library, by_kernel) << "the counter tells what was done";
}

// ---- memory ------------------------------------------------------------------------------------

size_t MemoryOf(Rig *rig, unsigned depth) {
  rig->queue_options.depth = depth;
  bytes = 0;
  counting = true;
  EXPECT_EQ(rf_queue_open(rig->engine, &rig->queue_options, &rig->queue), 0);
  counting = false;
  EXPECT_EQ(rig->CloseQueue(), 0);
  return bytes;
}

TEST_P(Cost, OfAQueueOf128IsAtMost64KibibytesOfMemory) {
  ASSERT_EQ(rig.OpenEngine(), 0);
  size_t memory = MemoryOf(&rig, 128);
  EXPECT_GT(memory, 128u * 100) << "not linked with --wrap: nothing is counted";
  EXPECT_LE(memory, 64u << 10);
  rig.queue_options.latency = true;
  EXPECT_LE(MemoryOf(&rig, 128), 64u << 10) << "with the histogram, too";
}

// The slot, its place among the timers, and what a backend keeps for each.
TEST_P(Cost, OfAnOpInTheQueueIsASlotAndLittleMore) {
  ASSERT_EQ(rig.OpenEngine(), 0);
  size_t small = MemoryOf(&rig, 1024), large = MemoryOf(&rig, 2048);
  size_t per_op = (large - small) / 1024;
  size_t event = GetParam() == RF_BACKEND_LIBAIO ? 32 : 0; // struct io_event
  EXPECT_GT(per_op, 100u);
  EXPECT_LE(per_op, 256 + sizeof(uint32_t) + event);
}

// ---- time --------------------------------------------------------------------------------------

int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int64_t Median(unsigned count, const std::function<int64_t()> &measure) {
  std::vector<int64_t> all(count);
  for (int64_t &one : all) one = measure();
  std::sort(all.begin(), all.end());
  return all[count / 2];
}

// At most `most`, in the best of several attempts.
void ExpectTime(int64_t most, unsigned count, const std::function<int64_t()> &measure) {
  int64_t best = INT64_MAX;
  for (int attempt = 0; attempt < 20 && best > most; attempt++)
    best = std::min(best, Median(count, measure));
  EXPECT_LE(best, most) << "ns";
}

TEST_P(Cost, OfOpeningAQueueOf128IsAtMostAMillisecond) {
  ASSERT_EQ(rig.OpenEngine(), 0);
  ExpectTime(kSlower * INT64_C(1000000), 9, [&] {
    int64_t before = NowNs();
    EXPECT_EQ(rf_queue_open(rig.engine, nullptr, &rig.queue), 0);
    int64_t took = NowNs() - before;
    EXPECT_EQ(rig.CloseQueue(), 0); // for libaio this takes the kernel tens of ms
    return took;
  });
}

TEST_P(Cost, OfProbingForThisBackendAloneIsAtMost20Milliseconds) {
  rf_probe_options asked = {};
  asked.depth = 128;
  asked.first_only = true;
  asked.skip = ~(1u << GetParam());
  bool closes_slowly = GetParam() == RF_BACKEND_LIBAIO; // io_destroy: an RCU grace period
  ExpectTime((closes_slowly ? 10 : 1) * kSlower * INT64_C(20000000), 5, [&] {
    rf_host host;
    int64_t before = NowNs();
    EXPECT_EQ(rf_probe_host(&asked, &host), 0);
    EXPECT_TRUE(host.verdicts[GetParam()].usable);
    return NowNs() - before;
  });
}

TEST(CostOfAHost, ThatHasRingsIsAtMost20MillisecondsToProbe) {
  if (!raw_host::Works(RF_BACKEND_IO_URING)) GTEST_SKIP() << "needs io_uring";
  ExpectTime(kSlower * INT64_C(20000000), 5, [&] {
    rf_probe_options asked = {};
    asked.depth = 128;
    asked.first_only = true;
    rf_host host;
    int64_t before = NowNs();
    EXPECT_EQ(rf_probe_host(&asked, &host), 0);
    int64_t took = NowNs() - before;
    EXPECT_EQ(host.selected, RF_BACKEND_IO_URING);
    EXPECT_FALSE(host.verdicts[RF_BACKEND_LIBAIO].tried) << "the first was enough";
    return took;
  });
}

INSTANTIATE_TEST_SUITE_P(
    Backends, Cost, testing::Values(RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO, RF_BACKEND_THREADS),
    [](const auto &given) { return std::string(rf_backend_name(given.param)); });

} // namespace
