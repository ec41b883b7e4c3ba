// SPDX-License-Identifier: Apache-2.0
// Rings that are restricted, that poll devices, that have a kernel thread to submit; alone and
// together: everything a queue does works on each, and a restricted ring does nothing else.
//
// Linked with --wrap=rf_uring_setup, which shows the rings that the library makes, and refuses
// flags as an older kernel does.  A test may use such a ring between two calls of the library: its
// submission ring is empty then.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <poll.h>
#include <ringfall/ringfall.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "tests/in_child.h"
#include "tests/queue_rig.h"
#include "tests/raw_host.h"
#include "tests/ring_fd.h"
#include "tests/seccomp_filter.h"

namespace {

io_uring *last_ring = nullptr;
unsigned last_flags = 0;
unsigned refused_flags = 0;

} // namespace

extern "C" {
int __real_rf_uring_setup(unsigned entries, io_uring *ring, io_uring_params *params);
int __wrap_rf_uring_setup(unsigned entries, io_uring *ring, io_uring_params *params);

int __wrap_rf_uring_setup(unsigned entries, io_uring *ring, io_uring_params *params) {
  if (params->flags & refused_flags) return -EINVAL;
  int status = __real_rf_uring_setup(entries, ring, params);
  if (status == 0) last_ring = ring, last_flags = params->flags;
  return status;
}
}

namespace {

using queue_rig::kLostNs;
using queue_rig::Pattern;
using queue_rig::Rig;

constexpr size_t kBlock = 4096;

enum { kRestricted = 1, kPolling = 2, kKernelThread = 4, kAll = 8 };

class RingOptions : public testing::TestWithParam<int> {
protected:
  void SetUp() override {
    if (!raw_host::Works(RF_BACKEND_IO_URING)) GTEST_SKIP() << "needs io_uring";
    rig.engine_options.choice = RF_CHOICE_REQUIRE;
    rig.engine_options.backend = RF_BACKEND_IO_URING;
    rig.queue_options.restricted = with(kRestricted);
    rig.queue_options.iopoll = with(kPolling);
    rig.queue_options.sqpoll_idle_ms = with(kKernelThread) ? 1 : 0;
  }
  bool with(int option) const { return (GetParam() & option) != 0; }

  void Open() {
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    ASSERT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_IO_URING);
  }

  // A pipe to read from, whose other end is `end`.
  rf_file *NewPipe(int *end) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    *end = ends[1];
    rf_file *file = nullptr;
    EXPECT_EQ(rf_file_from_fd(rig.engine, ends[0], true, &file), 0);
    return file;
  }

  Rig rig;
};

TEST_P(RingOptions, AreWhatTheKernelWasAskedFor) {
  Open();
  if (HasFatalFailure()) return;
  EXPECT_EQ((last_flags & IORING_SETUP_SQPOLL) != 0, with(kKernelThread));
  EXPECT_EQ((last_flags & IORING_SETUP_IOPOLL) != 0, with(kPolling));
  EXPECT_TRUE(!with(kRestricted) || (last_flags & IORING_SETUP_R_DISABLED) != 0);
}

TEST_P(RingOptions, DataIsRight) {
  Open();
  if (HasFatalFailure()) return;
  for (uint32_t seed = 1; seed < 6; seed++) EXPECT_TRUE(rig.RoundTrip(200, kBlock, seed));
  EXPECT_EQ(rig.Counters().failed, 0u);
  EXPECT_EQ(rig.Counters().deaths, 0u);
}

TEST_P(RingOptions, DataIsRightThroughAnArenaAndADirectFile) {
  rig.OpenFile();
  if (fcntl(rig.fd, F_SETFL, O_DIRECT) != 0) GTEST_SKIP() << "needs O_DIRECT in TEST_TMPDIR";
  Open();
  if (HasFatalFailure()) return;
  constexpr size_t kSize = 128 * kBlock;
  rf_arena *arena = nullptr;
  ASSERT_EQ(rf_arena_open(rig.engine, 2 * kSize, 0, &arena), 0);
  char *out = static_cast<char *>(rf_arena_base(arena)), *in = out + kSize;
  std::string data = Pattern(kSize, 11);
  memcpy(out, data.data(), kSize);
  std::vector<rf_op> writes, reads;
  for (size_t at = 0; at < kSize; at += kBlock) {
    writes.push_back(rf_op_write(rig.file, out + at, kBlock, at, at));
    reads.push_back(rf_op_read(rig.file, in + at, kBlock, at, at));
  }
  EXPECT_TRUE(rig.Completed(rig.Do(writes), 128, kBlock));
  EXPECT_TRUE(rig.Completed(rig.Do(reads), 128, kBlock));
  EXPECT_EQ(memcmp(in, data.data(), kSize), 0);
  rf_arena_close(arena);
}

TEST_P(RingOptions, EveryOpWorks) {
  Open();
  if (HasFatalFailure()) return;
  std::string data = Pattern(4 * kBlock), back(data.size(), '\0');
  iovec out[2] = {{data.data(), 100}, {data.data() + 100, data.size() - 100}};
  iovec in[2] = {{back.data(), 5000}, {back.data() + 5000, back.size() - 5000}};
  rf_op durable = rf_op_write(rig.file, data.data(), kBlock, 0, 1);
  durable.flags = RF_OP_DSYNC;
  const rf_op ops[] = {
      rf_op_nop(1),
      rf_op_fallocate(rig.file, 0, 0, data.size(), 1),
      durable,
      rf_op_writev(rig.file, out, 2, 0, 1),
      rf_op_fdatasync(rig.file, 1),
      rf_op_fsync(rig.file, 1),
      rf_op_readv(rig.file, in, 2, 0, 1),
      rf_op_discard(rig.file, kBlock, kBlock, 1),
  };
  for (const rf_op &op : ops) EXPECT_EQ(rig.Do(op).status, 0) << "kind " << int{op.kind};
  EXPECT_TRUE(back == data);
  memset(data.data() + kBlock, 0, kBlock);
  EXPECT_TRUE(rig.Content(data.size()) == data);
  EXPECT_EQ(rig.Counters().deaths, 0u);
}

TEST_P(RingOptions, LinkedOpsKeepTheirOrderAndFailTogether) {
  Open();
  if (HasFatalFailure()) return;
  std::vector<rf_op> ops;
  std::string data = Pattern(40 * kBlock);
  for (size_t i = 0; i < 40; i++) {
    ops.push_back(rf_op_write(rig.file, data.data() + i * kBlock, kBlock, 0, i));
    ops.back().flags = i > 0 ? RF_OP_LINK : 0;
  }
  std::vector<rf_completion> all = rig.Do(ops);
  ASSERT_EQ(all.size(), 40u);
  for (size_t i = 0; i < 40; i++) EXPECT_EQ(all[i].user_data, i);
  EXPECT_TRUE(rig.Content(kBlock) == data.substr(39 * kBlock));
  rf_op bad = rf_op_read(rig.file, nullptr, kBlock, 0, 1);
  rf_op after = rf_op_write(rig.file, data.data(), kBlock, 0, 2);
  after.flags = RF_OP_LINK;
  all = rig.Do({bad, after});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].status, -EFAULT);
  EXPECT_EQ(all[1].status, -ECANCELED);
}

TEST_P(RingOptions, AReadOfAnEmptyPipeEndsWithItsDeadline) {
  Open();
  if (HasFatalFailure()) return;
  int end = -1;
  char byte = 0;
  rf_file *pipe = NewPipe(&end);
  rf_op op = rf_op_read(pipe, &byte, 1, 0, 1);
  op.deadline_ns = 1000000;
  rf_completion done = {};
  int got = rf_submit_and_wait(rig.queue, &op, 1, nullptr, &done, 1, 1, 50000000);
  if (got == 0) { // a worker sleeps in read(), which nothing can stop
    EXPECT_TRUE(with(kPolling)) << "a ring can stop it";
    ASSERT_EQ(write(end, "!", 1), 1);
    ASSERT_EQ(rf_wait(rig.queue, &done, 1, 1, kLostNs), 1);
    EXPECT_EQ(done.bytes, 1);
  } else {
    ASSERT_EQ(got, 1);
    EXPECT_EQ(done.status, -ETIMEDOUT);
  }
  EXPECT_EQ(rf_file_close(pipe), 0);
  close(end);
  EXPECT_TRUE(rig.RoundTrip());
}

TEST_P(RingOptions, ACancelledReadOfAnEmptyPipeSaysWhatBecameOfIt) {
  Open();
  if (HasFatalFailure()) return;
  int end = -1;
  char byte = 0;
  rf_file *pipe = NewPipe(&end);
  rf_op op = rf_op_read(pipe, &byte, 1, 0, 77);
  ASSERT_EQ(rf_submit(rig.queue, &op, 1), 1);
  ASSERT_EQ(rf_flush(rig.queue), 0);
  int answer = rf_cancel(rig.queue, 77);
  rf_completion done = {};
  if (answer == RF_CANCEL_RUNNING) {
    EXPECT_TRUE(with(kPolling) || with(kKernelThread)) << "a ring can stop it at once";
    if (with(kPolling)) {
      ASSERT_EQ(write(end, "!", 1), 1);
    }
  } else {
    EXPECT_EQ(answer, RF_CANCEL_STOPPED);
  }
  ASSERT_EQ(rf_wait(rig.queue, &done, 1, 1, kLostNs), 1);
  EXPECT_EQ(done.user_data, 77u);
  EXPECT_TRUE(done.status == -ECANCELED || (answer == RF_CANCEL_RUNNING && done.bytes == 1));
  EXPECT_EQ(rf_file_close(pipe), 0);
  close(end);
}

TEST_P(RingOptions, AWaitSeesAnswersOfWorkersToo) {
  Open();
  if (HasFatalFailure()) return;
  int end = -1;
  char byte = 0;
  rf_file *pipe = NewPipe(&end);
  rf_op slow = rf_op_read(pipe, &byte, 1, 0, 1);
  ASSERT_EQ(rf_submit(rig.queue, &slow, 1), 1);
  ASSERT_EQ(rf_flush(rig.queue), 0);
  std::string data = Pattern(kBlock);
  for (uint64_t i = 0; i < 10; i++) { // neither is a thing that rings do here
    rf_completion done = {};
    rf_op fast = rf_op_discard(rig.file, 0, kBlock, 2);
    if (i % 2 == 1) fast = rf_op_write(rig.file, data.data(), kBlock, 0, 2);
    ASSERT_EQ(rf_submit_and_wait(rig.queue, &fast, 1, nullptr, &done, 1, 1, kLostNs), 1);
    EXPECT_EQ(done.user_data, 2u);
    EXPECT_EQ(done.status, 0);
  }
  ASSERT_EQ(write(end, "!", 1), 1);
  rf_completion done = {};
  ASSERT_EQ(rf_wait(rig.queue, &done, 1, 1, kLostNs), 1);
  EXPECT_EQ(done.user_data, 1u);
  EXPECT_EQ(rf_file_close(pipe), 0);
  close(end);
}

TEST_P(RingOptions, TheDescriptorTellsOfCompletions) {
  Open();
  if (HasFatalFailure()) return;
  int fd = rf_queue_fd(rig.queue);
  if (with(kPolling)) {
    EXPECT_EQ(fd, -EOPNOTSUPP) << "nothing would wake anybody";
    EXPECT_TRUE(rig.RoundTrip());
    return;
  }
  ASSERT_GE(fd, 0);
  std::string data = Pattern(kBlock);
  for (uint64_t i = 0; i < 100; i++) {
    rf_op op = rf_op_write(rig.file, data.data(), kBlock, i * kBlock, i);
    ASSERT_EQ(rf_submit(rig.queue, &op, 1), 1);
    ASSERT_EQ(rf_flush(rig.queue), 0);
    rf_completion done = {};
    for (int n = 0; n == 0;) { // it may be readable for nothing, but never silent for good
      pollfd ready = {fd, POLLIN, 0};
      ASSERT_EQ(poll(&ready, 1, static_cast<int>(kLostNs / 1000000)), 1) << "op " << i;
      n = rf_reap(rig.queue, &done, 1);
      ASSERT_GE(n, 0);
    }
    EXPECT_EQ(done.user_data, i);
    EXPECT_EQ(done.status, 0);
  }
}

TEST_P(RingOptions, CloseEndsWhatIsInFlight) {
  Open();
  if (HasFatalFailure()) return;
  int end = -1;
  rf_file *pipe = NewPipe(&end);
  std::vector<char> bytes(64);
  std::vector<rf_op> ops;
  std::string data = Pattern(kBlock);
  for (uint64_t i = 0; i < 64; i++) {
    ops.push_back(rf_op_write(rig.file, data.data(), kBlock, i * kBlock, i));
    if (i % 4 == 0 && !with(kPolling)) ops.back() = rf_op_read(pipe, &bytes[i], 1, 0, i);
  }
  ASSERT_EQ(rf_submit(rig.queue, ops.data(), 64), 64);
  ASSERT_EQ(rf_flush(rig.queue), 0);
  EXPECT_EQ(rig.CloseQueue(), 0);
  EXPECT_EQ(rf_file_close(pipe), 0) << "nobody uses it any more";
  close(end);
}

TEST_P(RingOptions, QueuesOfEveryDepthWork) {
  for (unsigned depth : {1u, 3u, 1000u, 5000u}) {
    Rig one;
    one.engine_options = rig.engine_options;
    one.queue_options = rig.queue_options;
    one.queue_options.depth = depth;
    ASSERT_EQ(one.Open(), 0) << one.Log();
    EXPECT_TRUE(one.RoundTrip(300, 512)) << "depth " << depth;
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, RingOptions, testing::Range(0, int{kAll}), [](const auto &given) {
  std::string name = given.param == 0 ? "None" : "";
  if (given.param & kRestricted) name += "Restricted";
  if (given.param & kPolling) name += "Polling";
  if (given.param & kKernelThread) name += "KernelThread";
  return name;
});

// ---- restrictions ------------------------------------------------------------------------------

class Restricted : public RingOptions {
protected:
  // The answer of the ring itself to a request of that kind that does nothing.
  int Answer(int opcode, unsigned flags = 0) {
    io_uring_sqe *sqe = io_uring_get_sqe(last_ring);
    EXPECT_NE(sqe, nullptr);
    memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = static_cast<uint8_t>(opcode);
    sqe->flags = static_cast<uint8_t>(flags);
    sqe->fd = -1;
    io_uring_cqe *cqe = nullptr;
    // A kernel thread may answer a request before it shows that it has taken it: then that one
    // counts again here.
    EXPECT_GE(io_uring_submit_and_wait(last_ring, 1), 1);
    EXPECT_EQ(io_uring_wait_cqe(last_ring, &cqe), 0);
    if (cqe == nullptr) return 0;
    int answer = cqe->res;
    io_uring_cqe_seen(last_ring, cqe);
    return answer;
  }
};

TEST_P(Restricted, TakesTheOpsItNeedsAndNoOthers) {
  const std::set<int> needed = {IORING_OP_NOP,         IORING_OP_READ,        IORING_OP_WRITE,
                                IORING_OP_READV,       IORING_OP_WRITEV,      IORING_OP_READ_FIXED,
                                IORING_OP_WRITE_FIXED, IORING_OP_FSYNC,       IORING_OP_FALLOCATE,
                                IORING_OP_POLL_ADD,    IORING_OP_ASYNC_CANCEL};
  Open();
  if (HasFatalFailure()) return;
  ASSERT_EQ(rig.Do(rf_op_nop(1)).status, 0);     // enables the ring
  io_uring_probe *kernel = io_uring_get_probe(); // which may have fewer than the header names
  ASSERT_NE(kernel, nullptr);
  int ops = std::min(int{IORING_OP_LAST}, kernel->last_op + 1);
  io_uring_free_probe(kernel);
  for (int opcode = 0; opcode < ops; opcode++) {
    int answer = Answer(opcode);
    if (needed.count(opcode) != 0)
      EXPECT_NE(answer, -EACCES) << "opcode " << opcode;
    else
      EXPECT_EQ(answer, -EACCES) << "opcode " << opcode;
  }
  EXPECT_TRUE(rig.RoundTrip()) << "and none of that did it any harm";
}

TEST_P(Restricted, TakesNoFlagsThatItDoesNotUse) {
  Open();
  if (HasFatalFailure()) return;
  ASSERT_EQ(rig.Do(rf_op_nop(1)).status, 0);
  for (unsigned flag : {IOSQE_ASYNC, IOSQE_IO_DRAIN, IOSQE_IO_LINK, IOSQE_IO_HARDLINK})
    EXPECT_EQ(Answer(IORING_OP_NOP, flag), -EACCES) << "flag " << flag;
  EXPECT_EQ(Answer(IORING_OP_NOP), 0);
}

TEST_P(Restricted, TakesNoRegistrationThatItDoesNotUse) {
  const std::set<int> needed = {IORING_REGISTER_ENABLE_RINGS, IORING_REGISTER_EVENTFD,
                                IORING_REGISTER_FILES_UPDATE, IORING_REGISTER_BUFFERS_UPDATE,
                                IORING_REGISTER_RING_FDS,     IORING_UNREGISTER_RING_FDS};
  Open();
  if (HasFatalFailure()) return;
  ASSERT_EQ(rig.Do(rf_op_nop(1)).status, 0);
  auto answer = [](int what) {
    return syscall(SYS_io_uring_register, last_ring->ring_fd, what, nullptr, 0) == 0 ? 0 : errno;
  };
  int calls = IORING_REGISTER_LAST; // a kernel older than the header does not have the last of them
  while (calls > 0 && answer(calls - 1) == EINVAL) calls--;
  EXPECT_GT(calls, int{IORING_REGISTER_ENABLE_RINGS}); // which came with restrictions
  for (int what = 0; what < calls; what++) {
    if (needed.count(what) != 0) continue;
    EXPECT_EQ(answer(what), EACCES) << what;
  }
  EXPECT_TRUE(rig.RoundTrip());
}

INSTANTIATE_TEST_SUITE_P(Sets, Restricted,
                         testing::Values(int{kRestricted}, kRestricted | kKernelThread),
                         [](const auto &given) {
                           return std::string(given.param & kKernelThread ? "KernelThread"
                                                                          : "Plain");
                         });

// ---- deferred work -----------------------------------------------------------------------------

class WorkFlag : public RingOptions {
protected:
  // As the kernel may: behind the work that it tells of, when that has been done already.
  void PutUp() { __atomic_or_fetch(last_ring->sq.kflags, IORING_SQ_TASKRUN, __ATOMIC_SEQ_CST); }

  void ExpectItTakenDown(unsigned calls) {
    int end = -1;
    char byte = 0;
    rf_file *pipe = NewPipe(&end);
    rf_op slow = rf_op_read(pipe, &byte, 1, 0, 1);
    rf_completion done = {};
    ASSERT_EQ(rf_submit(rig.queue, &slow, 1), 1);
    ASSERT_EQ(rf_flush(rig.queue), 0);
    PutUp();
    EXPECT_EQ(rf_reap(rig.queue, &done, 1), 0); // and comes back
    uint64_t before = rig.Counters().system_calls;
    EXPECT_EQ(rf_reap(rig.queue, &done, 1), 0);
    EXPECT_EQ(rig.Counters().system_calls - before, calls);
    ASSERT_EQ(write(end, "!", 1), 1);
    EXPECT_EQ(rf_wait(rig.queue, &done, 1, 1, kLostNs), 1);
    EXPECT_EQ(done.bytes, 1);
    EXPECT_EQ(rf_file_close(pipe), 0);
    close(end);
  }
};

TEST_P(WorkFlag, IsTakenDownWhereItTellsOfNothing) {
  Open();
  if (!HasFatalFailure()) ExpectItTakenDown(0);
}

TEST_P(WorkFlag, IsTakenDownInAPollableQueueToo) {
  Open();
  ASSERT_GE(rf_queue_fd(rig.queue), 0);
  ExpectItTakenDown(1); // to empty the eventfd
}

INSTANTIATE_TEST_SUITE_P(Sets, WorkFlag, testing::Values(0, int{kRestricted}, int{kKernelThread}),
                         [](const auto &given) {
                           return std::string(given.param == 0             ? "None"
                                              : given.param == kRestricted ? "Restricted"
                                                                           : "KernelThread");
                         });

// Neither may the ring be entered, nor are its pages lent: what came all the same is not lost.
TEST(DeniedRing, WithoutDeferredWorkIsGivenTimeForWhatItStillPosts) {
  RF_IN_CHILD({
    refused_flags = IORING_SETUP_DEFER_TASKRUN;
    Rig rig;
    rig.engine_options.choice = RF_CHOICE_PREFER;
    rig.engine_options.backend = RF_BACKEND_IO_URING;
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    if (rf_queue_backend(rig.queue) != RF_BACKEND_IO_URING) in_child::Skip("io_uring");
    int ends[2] = {-1, -1};
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    rf_file *pipe = nullptr;
    ASSERT_EQ(rf_file_from_fd(rig.engine, ends[0], true, &pipe), 0);
    char byte = 0;
    rf_op slow = rf_op_read(pipe, &byte, 1, 0, 1); // of a stream: nothing to be done again
    rf_completion done = {};
    ASSERT_EQ(rf_submit(rig.queue, &slow, 1), 1);
    ASSERT_EQ(rf_flush(rig.queue), 0);
    if (seccomp_filter::Install({seccomp_filter::Deny(SYS_io_uring_enter, EPERM),
                                 seccomp_filter::Deny(SYS_vmsplice, EPERM)}) != 0)
      in_child::Skip("seccomp filters");
    ASSERT_EQ(rf_wait(rig.queue, &done, 1, 1, 1000000), 0);
    EXPECT_EQ(rig.Counters().deaths, 1u) << rig.Log();
    ASSERT_EQ(write(ends[1], "!", 1), 1);
    ASSERT_EQ(rf_wait(rig.queue, &done, 1, 1, kLostNs), 1);
    EXPECT_EQ(done.status, 0);
    EXPECT_EQ(byte, '!');
    EXPECT_EQ(rig.Counters().lost, 0u);
    EXPECT_EQ(rf_file_close(pipe), 0);
    close(ends[1]);
  });
}

// ---- the kernel's thread -----------------------------------------------------------------------

class KernelThread : public RingOptions {};

TEST_P(KernelThread, IsWokenWhenItHasGoneToSleep) {
  Open();
  if (HasFatalFailure()) return;
  std::string data = Pattern(kBlock);
  for (uint64_t i = 0; i < 20; i++) {
    rf_op op = rf_op_write(rig.file, data.data(), kBlock, 0, i);
    EXPECT_EQ(rig.Do(op).status, 0);
    while (!(__atomic_load_n(last_ring->sq.kflags, __ATOMIC_ACQUIRE) & IORING_SQ_NEED_WAKEUP))
      sched_yield(); // until it sleeps: 1 ms
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, KernelThread,
                         testing::Values(int{kKernelThread}, kKernelThread | kRestricted),
                         [](const auto &given) {
                           return std::string(given.param & kRestricted ? "Restricted" : "Plain");
                         });

} // namespace
