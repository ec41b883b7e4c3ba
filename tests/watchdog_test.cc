// SPDX-License-Identifier: Apache-2.0
// Ops that take too long, queues that are closed with ops that never end, and many queues at once.
#include <dirent.h>
#include <errno.h>
#include <gtest/gtest.h>
#include <ringfall/ringfall.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/fault_rig.h"
#include "tests/in_child.h"
#include "tests/queue_rig.h"

namespace {

using queue_rig::kLostNs;
using queue_rig::Pattern;
using queue_rig::Rig;

constexpr uint64_t kMillisecond = 1000000;

unsigned Reports(const Rig &rig) {
  return static_cast<unsigned>(std::count_if(rig.log.begin(), rig.log.end(), [](const auto &line) {
    return line.first == RF_LOG_WARNING &&
           line.second.find("has not been done") != std::string::npos;
  }));
}

TEST(Watchdog, ReportsAnOpThatTakesTooLongOnceAndCountsIt) {
  fault_rig::Faults faults;
  Rig rig;
  faults.Plan("stand_in delay=300ms:write");
  rig.queue_options.stall_ns = 20 * kMillisecond;
  ASSERT_EQ(rig.Open(faults.injector()), 0);
  char byte = 'x';
  EXPECT_EQ(rig.Do(rf_op_write(rig.file, &byte, 1, 4711, 42)).status, 0);
  EXPECT_EQ(rig.Counters().stalled, 1u);
  EXPECT_EQ(Reports(rig), 1u) << rig.Log();
  EXPECT_TRUE(
      rig.Logged(RF_LOG_WARNING, {"op 42 has", "20 ms: write of 1 byte at offset 4711 of /"}))
      << rig.Log();
}

// What an op goes through after it has been reported must not depend on that.
TEST(Watchdog, AReportedOpThatMovedAPartGoesOnWhereItWas) {
  fault_rig::Faults faults;
  Rig rig;
  faults.Plan("stand_in short=1000:write,x1 delay=200ms:write,x1");
  rig.queue_options.stall_ns = 20 * kMillisecond;
  ASSERT_EQ(rig.Open(faults.injector()), 0);
  std::string data = Pattern(4096);
  rf_completion done = rig.Do(rf_op_write(rig.file, data.data(), data.size(), 0, 42));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, 4096);
  EXPECT_EQ(done.backend, rf_queue_backend(rig.queue));
  EXPECT_EQ(rig.Counters().stalled, 1u);
  EXPECT_EQ(rig.Counters().continued, 1u);
}

TEST(Watchdog, IsSilentAboutOpsThatAreInTime) {
  Rig rig;
  rig.queue_options.stall_ns = static_cast<uint64_t>(kLostNs);
  ASSERT_EQ(rig.Open(), 0);
  EXPECT_TRUE(rig.RoundTrip());
  EXPECT_EQ(rig.Counters().stalled, 0u);
  EXPECT_EQ(Reports(rig), 0u);
}

class WatchdogOn : public testing::TestWithParam<rf_backend_id> {};

TEST_P(WatchdogOn, WakesAWaitThatHasNothingElseToWakeIt) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Rig rig;
  rig.engine_options.choice = RF_CHOICE_REQUIRE;
  rig.engine_options.backend = GetParam();
  rig.queue_options.stall_ns = 10 * kMillisecond;
  int status = rig.Open();
  if (status == -ENOTSUP) GTEST_SKIP() << "needs " << rf_backend_name(GetParam());
  ASSERT_EQ(status, 0);
  rf_file *file = nullptr;
  ASSERT_EQ(rf_file_from_fd(rig.engine, ends[0], false, &file), 0);
  char got = 0;
  rf_op op = rf_op_read(file, &got, 1, 0, 7);
  rf_completion done;
  ASSERT_EQ(rf_submit_and_wait(rig.queue, &op, 1, nullptr, &done, 1, 1, 100 * kMillisecond), 0);
  EXPECT_EQ(rig.Counters().stalled, 1u);
  EXPECT_TRUE(rig.Logged(RF_LOG_WARNING, {"op 7 has", "10 ms: read of 1 byte of pipe:["}))
      << rig.Log();
  ASSERT_EQ(write(ends[1], "!", 1), 1);
  ASSERT_EQ(rf_wait(rig.queue, &done, 1, 1, kLostNs), 1);
  EXPECT_EQ(done.status, 0) << "to be reported changes nothing";
  EXPECT_EQ(rf_file_close(file), 0);
  close(ends[0]), close(ends[1]);
}

INSTANTIATE_TEST_SUITE_P(Backends, WatchdogOn,
                         testing::Values(RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO,
                                         RF_BACKEND_THREADS),
                         [](const auto &given) {
                           return std::string(rf_backend_name(given.param));
                         });

// ---- closing
// -------------------------------------------------------------------------------------

// As the kernel tells it in /proc/self/task/TID/syscall.
bool SomeThreadIsIn(long number) {
  bool found = false;
  DIR *tasks = opendir("/proc/self/task");
  for (dirent *task; (task = readdir(tasks)) != nullptr;) {
    std::ifstream file(std::string("/proc/self/task/") + task->d_name + "/syscall");
    long in = -1;
    if (file >> in && in == number) found = true;
  }
  closedir(tasks);
  return found;
}

// A worker that sits in a read that nobody will ever answer: its memory cannot be had back.
TEST(Closing, WithAnOpThatNeverEndsReturnsAfterTheSetTime) {
  RF_IN_CHILD({
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    Rig rig;
    rig.engine_options.choice = RF_CHOICE_REQUIRE;
    rig.engine_options.backend = RF_BACKEND_THREADS;
    rig.queue_options.close_ns = 50 * kMillisecond;
    ASSERT_EQ(rig.Open(), 0);
    rf_file *file = nullptr;
    ASSERT_EQ(rf_file_from_fd(rig.engine, ends[0], false, &file), 0);
    char got = 0;
    rf_op op = rf_op_read(file, &got, 1, 0, 7);
    ASSERT_EQ(rf_submit(rig.queue, &op, 1), 1);
    ASSERT_EQ(rf_flush(rig.queue), 0);
    while (!SomeThreadIsIn(SYS_preadv2)) sched_yield(); // until then it could be stopped
    uint64_t before = rf_now_ns();
    EXPECT_EQ(rig.CloseQueue(), -ETIMEDOUT);
    EXPECT_LT(rf_now_ns() - before, 20000 * kMillisecond);
    // The worker is still there, and so is all that it uses: the late answer harms nobody.
    ASSERT_EQ(write(ends[1], "!", 1), 1);
    while (__atomic_load_n(&got, __ATOMIC_RELAXED) != '!') sched_yield();
    EXPECT_EQ(rf_file_close(file), 0);
    rf_counters counters;
    EXPECT_EQ(rf_engine_counters(rig.engine, &counters), 0) << "the engine has done with it";
    EXPECT_EQ(counters.accepted, 1u);
  });
}

// FAILURES: a limit keeps the kernel from starting a worker.
TEST(Closing, OfARingWhoseKernelCannotStartWorkersReturns) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  RF_IN_CHILD({
    Rig rig;
    rig.engine_options.choice = RF_CHOICE_REQUIRE;
    rig.engine_options.backend = RF_BACKEND_IO_URING;
    rig.queue_options.close_ns = 200 * kMillisecond;
    rig.queue_options.stall_ns = 20 * kMillisecond;
    rig.OpenFile();
    rlimit none = {0, 0};
    ASSERT_EQ(setgid(65534), 0);
    ASSERT_EQ(setuid(65534), 0);
    if (rig.Open() == -ENOTSUP) in_child::Skip("io_uring");
    ASSERT_EQ(setrlimit(RLIMIT_NPROC, &none), 0);
    std::string data = Pattern(64 * 4096);
    std::vector<rf_op> ops = rig.Blocks(RF_OP_WRITE, &data, 4096);
    ops.push_back(rf_op_fsync(rig.file, 64));
    rf_completion done[65];
    ASSERT_EQ(rf_submit(rig.queue, ops.data(), 65), 65);
    int n = rf_wait(rig.queue, done, 65, 65, 100 * kMillisecond);
    ASSERT_GE(n, 0);
    EXPECT_GE(rig.Counters().stalled, 65u - static_cast<unsigned>(n)) << rig.Log();
    EXPECT_EQ(Reports(rig), rig.Counters().stalled);
    uint64_t before = rf_now_ns();
    EXPECT_EQ(rig.CloseQueue(), 0) << rig.Log();
    EXPECT_LT(rf_now_ns() - before, 15000 * kMillisecond);
  });
}

// ---- orphans
// ------------------------------------------------------------------------------------

// FAILURES: the submitting thread ends with ops in flight.  Nobody else may close the queue then,
// and nobody hangs.  (Not even a later thread that happens to get the same pthread_t.)
class Orphan : public testing::TestWithParam<rf_backend_id> {};

TEST_P(Orphan, QueueOfAThreadThatEndedWithOpsInItHarmsNobody) {
  RF_IN_CHILD({
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    Rig rig;
    rig.engine_options.choice = RF_CHOICE_REQUIRE;
    rig.engine_options.backend = GetParam();
    rig.queue_options.close_ns = 50 * kMillisecond;
    int status = rig.Open();
    if (status == -ENOTSUP) in_child::Skip(rf_backend_name(GetParam()));
    ASSERT_EQ(status, 0) << rig.Log();
    rf_file *file = nullptr;
    ASSERT_EQ(rf_file_from_fd(rig.engine, ends[0], false, &file), 0);
    static char room[2][512]; // the queue's for ever
    rf_op ops[2] = {rf_op_read(file, room[0], 1, 0, 1), rf_op_write(rig.file, room[1], 512, 0, 2)};
    rf_queue *queue = rig.queue;
    rig.queue = nullptr;
    std::thread([&] {
      EXPECT_EQ(rf_submit(queue, ops, 2), 2);
      EXPECT_EQ(rf_flush(queue), 0);
    }).join();
    EXPECT_EQ(rf_queue_close(queue), -EPERM);
    EXPECT_EQ(rf_submit(queue, ops, 1), -EPERM);
    rf_counters counters;
    EXPECT_EQ(rf_queue_counters(queue, &counters), 0);
    EXPECT_EQ(counters.accepted, 2u);
    EXPECT_EQ(rf_file_close(file), -EBUSY);
    EXPECT_EQ(rf_engine_close(rig.engine), -EBUSY);
    ASSERT_EQ(write(ends[1], "!", 1), 1);
    int closed = -1;
    std::thread([&] { closed = rf_queue_close(queue); }).join();
    EXPECT_TRUE(closed == -EPERM || closed == 0 || closed == -ETIMEDOUT) << closed;
    ASSERT_EQ(rig.OpenQueue(), 0) << "the engine goes on";
    EXPECT_TRUE(rig.RoundTrip());
    EXPECT_EQ(rig.CloseQueue(), 0);
    fflush(nullptr);
    _exit(testing::Test::HasFailure() ? in_child::kFailed : in_child::kDone); // the engine is open
  });
}

INSTANTIATE_TEST_SUITE_P(
    Backends, Orphan, testing::Values(RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO, RF_BACKEND_THREADS),
    [](const auto &given) { return std::string(rf_backend_name(given.param)); });

// ---- many
// ----------------------------------------------------------------------------------------

class Crowd : public testing::TestWithParam<rf_backend_id> {};

TEST_P(Crowd, OfAHundredThreadsOpensLoadsAndClosesQueues) {
  Rig rig;
  rig.engine_options.choice = RF_CHOICE_REQUIRE;
  rig.engine_options.backend = GetParam();
  rig.OpenFile();
  if (rig.OpenEngine() == -ENOTSUP) GTEST_SKIP() << "needs " << rf_backend_name(GetParam());
  rf_file *file = nullptr;
  ASSERT_EQ(rf_file_from_fd(rig.engine, rig.fd, false, &file), 0);
  std::atomic<unsigned> right{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 100; t++)
    threads.emplace_back([&, t] {
      std::string data = Pattern(16 * 512, t);
      for (unsigned round = 0; round < 3; round++) {
        rf_queue *queue = nullptr;
        rf_queue_options options;
        rf_queue_options_init(&options);
        options.depth = 16;
        options.workers = 2;
        if (rf_queue_open(rig.engine, &options, &queue) != 0) return;
        std::vector<rf_op> ops;
        for (uint64_t i = 0; i < 16; i++)
          ops.push_back(rf_op_write(file, data.data() + 512 * i, 512, (16 * t + i) * 512, i));
        rf_completion some[4];
        bool good = rf_submit(queue, ops.data(), 16) == 16;
        good = good && rf_wait(queue, some, round, 4, kLostNs) >= static_cast<int>(round);
        if (rf_queue_close(queue) == 0 && good) right++; // the rest in flight
      }
    });
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(right, 300u);
  EXPECT_EQ(rf_file_close(file), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Backends, Crowd, testing::Values(RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO, RF_BACKEND_THREADS),
    [](const auto &given) { return std::string(rf_backend_name(given.param)); });

} // namespace
