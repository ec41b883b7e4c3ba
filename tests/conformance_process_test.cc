// SPDX-License-Identifier: Apache-2.0
// The process around the queue: threads, forks, signals, exec, and closing things in any order.
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>
#include <set>
#include <thread>

#include "tests/conformance.h"
#include "tests/seccomp_filter.h"

namespace conformance {
namespace {

// ---- threads -----------------------------------------------------------------------------------

TEST_P(Conformance, AnotherThreadIsRefusedAndTheOwnerUnharmed) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  rf_op op = pipe->Read(1);
  ASSERT_EQ(1, rf_submit(queue, &op, 1));
  bool ran = false;
  std::thread([&] {
    rf_op intruder = rf_op_nop(2);
    rf_completion done;
    unsigned accepted = 9;
    EXPECT_EQ(-EPERM, rf_submit(queue, &intruder, 1));
    EXPECT_EQ(-EPERM, rf_flush(queue));
    EXPECT_EQ(-EPERM, rf_wait(queue, &done, 1, 1, RF_FOREVER));
    EXPECT_EQ(-EPERM, rf_submit_and_wait(queue, &intruder, 1, &accepted, &done, 1, 1, RF_FOREVER));
    EXPECT_EQ(0u, accepted);
    EXPECT_EQ(-EPERM, rf_reap(queue, &done, 1));
    EXPECT_EQ(-EPERM, rf_cancel(queue, 1));
    EXPECT_EQ(-EPERM, rf_queue_fd(queue));
    EXPECT_EQ(-EPERM, rf_queue_close(queue)) << "an op is in the queue";
    rf_counters counters;
    EXPECT_EQ(0, rf_queue_counters(queue, &counters)) << "anyone may look";
    EXPECT_EQ(1u, counters.accepted);
    ran = true;
  }).join();
  ASSERT_TRUE(ran);
  pipe->Write();
  auto done = WaitAll(queue, 1);
  EXPECT_EQ(0, done[1].status);
  EXPECT_EQ(1, done[1].bytes);
}

TEST_P(Conformance, AQueueBelongsToTheThreadThatUsesItFirst) {
  rf_file *file = Open(NewFile(65536));
  rf_queue *queue = OpenQueue();
  Buffer room(65536);
  bool ran = false;
  std::thread([&] {
    std::vector<rf_op> ops;
    for (uint64_t i = 0; i < 16; i++)
      ops.push_back(rf_op_read(file, room.data() + i * 4096, 4096, i * 4096, i));
    ops.push_back(rf_op_discard(file, 0, 0x1000, 16));
    auto done = RunAll(queue, ops);
    EXPECT_EQ(17u, done.size());
    for (auto &[user_data, answer] : done) EXPECT_EQ(0, answer.status) << user_data;
    ran = true;
  }).join();
  ASSERT_TRUE(ran);
  rf_op op = rf_op_nop(1);
  EXPECT_EQ(-EPERM, rf_submit(queue, &op, 1));
  Forget(queue);
  EXPECT_EQ(0, rf_queue_close(queue)) << "an empty queue may be closed by anyone";
  EXPECT_EQ("", DiffersFromPattern(room.data() + 4096, 61440, 4096));
}

// The next thread has the pthread_t of the one that has just ended, but is another.
TEST_P(Conformance, AThreadThatTookThePlaceOfTheOwnerIsRefusedToo) {
  rf_file *file = Open(NewFile(65536));
  rf_queue *queue = OpenQueue();
  std::thread([&] {
    rf_op op = rf_op_nop(1);
    EXPECT_EQ(0, Run(queue, op).status);
  }).join();
  std::thread([&] {
    rf_queue *own = nullptr;
    ASSERT_EQ(0, rf_queue_open(engine(), nullptr, &own));
    Buffer room(4096);
    for (uint64_t i = 0; i < 20; i++)
      EXPECT_EQ(0, Run(own, rf_op_read(file, room.data(), 4096, 0, i)).status);
    rf_op op = rf_op_nop(2);
    rf_completion done;
    EXPECT_EQ(-EPERM, rf_submit_and_wait(queue, &op, 1, nullptr, &done, 1, 1, kPatience / 10));
    Forget(queue);
    EXPECT_EQ(0, rf_queue_close(queue)) << "it is empty";
    for (uint64_t i = 0; i < 20; i++)
      EXPECT_EQ(0, Run(own, rf_op_read(file, room.data(), 4096, 0, i)).status);
    rf_counters counters;
    EXPECT_EQ(0, rf_queue_counters(own, &counters));
    EXPECT_EQ(0u, counters.deaths);
    EXPECT_EQ(0, rf_queue_close(own));
  }).join();
}

TEST_P(Conformance, SixteenThreadsShareOneFile) {
  constexpr unsigned kThreads = 16, kBlocks = 32, kRounds = 4;
  std::string path = NewPath();
  rf_file *file = Open(path);
  std::vector<rf_queue *> queues;
  for (unsigned t = 0; t < kThreads; t++) queues.push_back(OpenQueue(16));
  std::atomic<unsigned> right{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; t++)
    threads.emplace_back([&, t] {
      uint64_t start = uint64_t{t} * kBlocks * 4096;
      Buffer data = Buffer::Pattern(kBlocks * 4096, start), room(kBlocks * 4096);
      for (unsigned round = 0; round < kRounds; round++) {
        std::vector<rf_op> writes, reads;
        for (uint64_t i = 0; i < kBlocks; i++) {
          uint64_t at = i * 4096;
          writes.push_back(rf_op_write(file, data.data() + at, 4096, start + at, i));
          reads.push_back(rf_op_read(file, room.data() + at, 4096, start + at, i));
        }
        for (auto &[user_data, answer] : RunAll(queues[t], writes))
          if (answer.bytes == 4096 && answer.status == 0) right++;
        for (auto &[user_data, answer] : RunAll(queues[t], reads))
          if (answer.bytes == 4096 && answer.status == 0) right++;
        EXPECT_EQ("", DiffersFromPattern(room.data(), room.size(), start));
      }
    });
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(kThreads * kRounds * kBlocks * 2, right.load());
  for (rf_queue *queue : queues) {
    Forget(queue);
    EXPECT_EQ(0, rf_queue_close(queue));
  }
  std::vector<unsigned char> found = ReadBack(path, kThreads * kBlocks * 4096);
  ASSERT_EQ(kThreads * kBlocks * 4096u, found.size());
  EXPECT_EQ("", DiffersFromPattern(found.data(), found.size(), 0));
}

// ---- fork --------------------------------------------------------------------------------------

TEST_P(Conformance, AForkedChildCanOnlyCloseAndTheParentLosesNothing) {
  auto pipe = NewPipe();
  rf_file *file = Open(NewFile(4096));
  rf_queue *queue = OpenQueue(), *idle = OpenQueue();
  int fd = rf_queue_fd(idle);
  ASSERT_GE(fd, 0);
  rf_arena *arena = nullptr;
  ASSERT_EQ(0, rf_arena_open(engine(), 65536, 0, &arena));
  Buffer room(4096);
  rf_op ops[] = {pipe->Read(1), rf_op_read(file, room.data(), 4096, 0, 2)};
  ASSERT_EQ(2, rf_submit(queue, ops, 2));
  ASSERT_EQ(0, rf_flush(queue));
  RF_IN_CHILD({
    rf_completion done;
    rf_counters counters;
    rf_queue *none = nullptr;
    rf_file *other = nullptr;
    EXPECT_EQ(-EBADF, rf_submit(queue, ops, 1));
    EXPECT_EQ(-EBADF, rf_flush(queue));
    EXPECT_EQ(-EBADF, rf_wait(queue, &done, 1, 1, RF_FOREVER));
    EXPECT_EQ(-EBADF, rf_reap(queue, &done, 1));
    EXPECT_EQ(-EBADF, rf_cancel(queue, 1));
    EXPECT_EQ(-EBADF, rf_queue_fd(queue));
    EXPECT_EQ(-EBADF, rf_queue_open(engine(), nullptr, &none));
    EXPECT_EQ(-EBADF, rf_file_open(engine(), "/dev/null", O_RDONLY, 0, &other));
    EXPECT_EQ(-EBADF, rf_engine_counters(engine(), &counters));
    EXPECT_EQ(0, rf_queue_close(queue));
    EXPECT_EQ(0, rf_queue_close(idle));
    EXPECT_EQ(0, rf_file_close(file));
    EXPECT_EQ(0, rf_file_close(pipe->file));
    rf_arena_close(arena);
    EXPECT_EQ(0, rf_engine_close(engine()));
  });
  pipe->Write();
  auto done = WaitAll(queue, 2);
  EXPECT_EQ(1, done[1].bytes);
  EXPECT_EQ(4096, done[2].bytes);
  EXPECT_EQ("", DiffersFromPattern(room.data(), 4096, 0));
  EXPECT_EQ(0, Run(idle, rf_op_nop(5)).status);
  rf_arena_close(arena);
}

void CanOnlyBeClosedInAChild(rf_engine *engine) {
  RF_IN_CHILD({
    rf_counters counters;
    EXPECT_EQ(-EBADF, rf_engine_counters(engine, &counters));
    EXPECT_EQ(0, rf_engine_close(engine));
  });
}

// Emulators and sandboxes may not know MADV_WIPEONFORK.
TEST_P(Conformance, AForkedChildIsFoundOutWhereTheKernelWipesNothing) {
  RF_IN_CHILD({
    if (seccomp_filter::Install({seccomp_filter::Deny(SYS_madvise, EINVAL)}) != 0)
      in_child::Skip("a kernel that takes seccomp filters");
    rf_engine *engines[3] = {};
    for (rf_engine *&own : engines) ASSERT_EQ(0, OpenEngine(GetParam().backend, &own));
    EXPECT_EQ(0, rf_engine_close(engines[1]));
    CanOnlyBeClosedInAChild(engines[0]);
    CanOnlyBeClosedInAChild(engines[2]);
    rf_counters counters;
    EXPECT_EQ(0, rf_engine_counters(engines[0], &counters));
    EXPECT_EQ(0, rf_engine_close(engines[0]));
    EXPECT_EQ(0, rf_engine_counters(engines[2], &counters));
    EXPECT_EQ(0, rf_engine_close(engines[2]));
  });
}

TEST_P(Conformance, AForkedChildMayStartAnew) {
  if (kThreadSanitizer)
    GTEST_SKIP() << "needs a build without ThreadSanitizer: no threads in a child";
  std::string path = NewFile(4096);
  EXPECT_EQ(0, Run(OpenQueue(), rf_op_nop(1)).status);
  RF_IN_CHILD({
    StartAnewInChild();
    Buffer room(4096);
    rf_completion done = Run(OpenQueue(), rf_op_read(Open(path), room.data(), 4096, 0, 1));
    EXPECT_EQ(4096, done.bytes);
    EXPECT_EQ("", DiffersFromPattern(room.data(), 4096, 0));
    CloseAll();
    EXPECT_EQ(0, rf_engine_close(engine()));
  });
}

// ---- closing -----------------------------------------------------------------------------------

TEST_P(Conformance, AFileIsBusyWhileAnOpIsInAQueue) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  rf_op ops[] = {pipe->Read(1), rf_op_nop(2)};
  ASSERT_EQ(2, rf_submit(queue, ops, 2));
  EXPECT_EQ(-EBUSY, rf_file_close(pipe->file)) << "collected";
  ASSERT_EQ(0, rf_flush(queue));
  EXPECT_EQ(-EBUSY, rf_file_close(pipe->file)) << "in flight";
  pipe->Write();
  EXPECT_EQ(1, WaitAll(queue, 2)[1].bytes);
  Forget(pipe->file);
  EXPECT_EQ(0, rf_file_close(pipe->file));
}

TEST_P(Conformance, AnEngineIsBusyWhileAnythingOfItIsOpen) {
  rf_engine *own = nullptr;
  ASSERT_EQ(0, OpenEngine(GetParam().backend, &own));
  rf_queue *queue = nullptr;
  rf_file *file = nullptr;
  rf_arena *arena = nullptr;
  ASSERT_EQ(0, rf_queue_open(own, nullptr, &queue));
  EXPECT_EQ(-EBUSY, rf_engine_close(own));
  ASSERT_EQ(0, rf_file_open(own, "/dev/null", O_RDWR, 0, &file));
  EXPECT_EQ(0, rf_queue_close(queue));
  EXPECT_EQ(-EBUSY, rf_engine_close(own));
  ASSERT_EQ(0, rf_arena_open(own, 4096, 0, &arena));
  EXPECT_EQ(0, rf_file_close(file));
  EXPECT_EQ(-EBUSY, rf_engine_close(own));
  rf_arena_close(arena);
  EXPECT_EQ(0, rf_engine_close(own));
}

TEST_P(Conformance, ClosingNothingIsFine) {
  EXPECT_EQ(0, rf_queue_close(nullptr));
  EXPECT_EQ(0, rf_file_close(nullptr));
  EXPECT_EQ(0, rf_engine_close(nullptr));
  rf_arena_close(nullptr);
}

TEST_P(Conformance, ClosingAQueueDrainsWhatIsInFlight) {
  std::string path = NewFile(1 << 20);
  rf_file *file = Open(path);
  for (int i = 0; i < 20; i++) {
    rf_queue *queue = OpenQueue(256);
    auto room = std::make_unique<Buffer>(1 << 20);
    std::vector<rf_op> ops;
    for (uint64_t k = 0; k < 200; k++)
      ops.push_back(rf_op_read(file, room->data() + k * 4096, 4096, k * 4096, k));
    ASSERT_EQ(200, rf_submit(queue, ops.data(), 200));
    Forget(queue);
    ASSERT_EQ(0, rf_queue_close(queue));
    room.reset(); // a completion that still writes here would crash
  }
  EXPECT_EQ(0, Run(OpenQueue(), rf_op_fsync(file, 1)).status);
}

TEST_P(Conformance, ClosingDropsWhatIsHeldAndWhatIsNotReaped) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  rf_op ops[] = {rf_op_nop(1), pipe->Read(2), Flagged(rf_op_nop(3), RF_OP_LINK),
                 WithDeadline(Flagged(rf_op_nop(4), RF_OP_LINK), kPatience)};
  ASSERT_EQ(4, rf_submit(queue, ops, 4));
  ASSERT_EQ(0, rf_flush(queue));
  std::thread writer([&] { pipe->Write(); }); // some backends cannot stop the read
  Forget(queue);
  EXPECT_EQ(0, rf_queue_close(queue));
  writer.join();
  EXPECT_EQ(0, rf_file_close(pipe->file)) << "no op is on it any more";
  Forget(pipe->file);
}

// ---- signals -----------------------------------------------------------------------------------

std::atomic<unsigned> g_signals{0};

TEST_P(Conformance, AStormOfSignalsIsNeverSeen) {
  std::string path = NewFile(65536);
  RF_IN_CHILD({
    StartAnewInChild();
    rf_file *file = Open(path);
    auto pipe = NewPipe();
    rf_queue *queue = OpenQueue(32);
    struct sigaction action = {};
    action.sa_handler = [](int) { g_signals++; };
    ASSERT_EQ(0, sigaction(SIGUSR1, &action, nullptr));
    sigevent event = {};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    timer_t timer;
    ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
    itimerspec every = {{0, 200000}, {0, 200000}}; // 5 kHz
    ASSERT_EQ(0, timer_settime(timer, 0, &every, nullptr));
    Buffer room(65536);
    Buffer data = Buffer::Pattern(65536);
    for (int round = 0; round < 500 || g_signals < 500; round++) {
      std::vector<rf_op> ops;
      for (uint64_t i = 0; i < 16; i++)
        ops.push_back(i % 4 == 3 ? rf_op_write(file, data.data() + i * 4096, 4096, i * 4096, i)
                                 : rf_op_read(file, room.data() + i * 4096, 4096, i * 4096, i));
      auto done = RunAll(queue, ops);
      ASSERT_EQ(16u, done.size());
      for (auto &[user_data, answer] : done) {
        ASSERT_EQ(0, answer.status) << user_data;
        ASSERT_EQ(4096, answer.bytes) << user_data;
      }
    }
    rf_op op = pipe->Read(1);
    rf_completion done;
    ASSERT_EQ(1, rf_submit(queue, &op, 1));
    Stopwatch watch;
    ASSERT_EQ(0, rf_wait(queue, &done, 1, 1, 50 * kMilliseconds));
    EXPECT_GE(watch.ns(), 50 * kMilliseconds) << "a signal ended the wait";
    pipe->Write();
    ASSERT_EQ(1, rf_wait(queue, &done, 1, 1, RF_FOREVER));
    EXPECT_EQ(0, done.status);
    EXPECT_GE(g_signals.load(), 500u);
    timer_delete(timer);
    CloseAll();
  });
}

// ---- exec --------------------------------------------------------------------------------------

std::set<int> OpenDescriptors() {
  std::set<int> open;
  DIR *directory = opendir("/proc/self/fd");
  if (directory == nullptr) return open;
  while (dirent *entry = readdir(directory)) {
    int fd = atoi(entry->d_name);
    if (entry->d_name[0] != '.' && fd != dirfd(directory)) open.insert(fd);
  }
  closedir(directory);
  return open;
}

TEST_P(Conformance, NothingSurvivesExecAndNothingStaysOpen) {
  std::string path = NewFile(65536);
  std::set<int> before = OpenDescriptors();
  ASSERT_FALSE(before.empty()) << "needs /proc";
  rf_engine *own = nullptr;
  ASSERT_EQ(0, OpenEngine(GetParam().backend, &own));
  EXPECT_EQ(before, OpenDescriptors()) << "an engine alone holds no descriptor";
  rf_queue *queue = nullptr;
  rf_file *file = nullptr;
  ASSERT_EQ(0, rf_queue_open(own, nullptr, &queue));
  ASSERT_EQ(0, rf_file_open(own, path.c_str(), O_RDWR | (direct() ? O_DIRECT : 0), 0, &file));
  ASSERT_GE(rf_queue_fd(queue), 0);
  Buffer room(4096);
  auto done =
      RunAll(queue, {rf_op_read(file, room.data(), 4096, 0, 1), rf_op_discard(file, 0, 4096, 2)});
  ASSERT_EQ(2u, done.size());
  unsigned looked_at = 0;
  for (int fd : OpenDescriptors()) {
    if (before.count(fd) != 0) continue;
    EXPECT_NE(0, fcntl(fd, F_GETFD) & FD_CLOEXEC) << "descriptor " << fd;
    looked_at++;
  }
  EXPECT_GE(looked_at, 4u) << "the file, the epoll, the eventfd and the timerfd at least";
  EXPECT_EQ(0, rf_queue_close(queue));
  EXPECT_EQ(0, rf_file_close(file));
  EXPECT_EQ(0, rf_engine_close(own));
  EXPECT_EQ(before, OpenDescriptors());
}

RF_CONFORMANCE_EVERYWHERE();

} // namespace
} // namespace conformance
