// SPDX-License-Identifier: Apache-2.0
// Batches form by themselves: ops are collected until a batch is full or the program flushes,
// waits or reaps; and what is collected is in no way less accepted.
#include <errno.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <ringfall/ringfall.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tests/observed_backend.h"
#include "tests/queue_rig.h"
#include "tests/raw_host.h"

namespace {

using queue_rig::kLostNs;
using queue_rig::Pattern;
using queue_rig::Rig;

class Batch : public testing::TestWithParam<rf_backend_id> {
protected:
  void SetUp() override {
    if (!raw_host::Works(GetParam())) GTEST_SKIP() << "needs " << rf_backend_name(GetParam());
    rig.engine_options.choice = RF_CHOICE_REQUIRE;
    rig.engine_options.backend = GetParam();
  }

  void Open() { ASSERT_EQ(rig.Open(backends.substitute()), 0) << rig.Log(); }

  // Ops that every backend runs itself.
  void Submit(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
      rf_op op = rf_op_write(rig.file, "x", 1, next_, next_);
      next_++;
      ASSERT_EQ(rf_submit(rig.queue, &op, 1), 1);
    }
  }

  void WaitFor(unsigned count) {
    if (count == 0) return;
    std::vector<rf_completion> done(count);
    ASSERT_EQ(rf_wait(rig.queue, done.data(), count, count, kLostNs), static_cast<int>(count));
    for (const rf_completion &one : done) EXPECT_EQ(one.status, 0);
  }

  // How many ops were handed over, and in how many calls, since the last time.
  void ExpectHandedOver(unsigned ops, unsigned calls) {
    EXPECT_EQ(backends.Take().size(), ops);
    EXPECT_EQ(backends.TakeBatches(), calls);
  }

  observed::Backends backends;
  Rig rig;

private:
  uint64_t next_ = 0;
};

TEST_P(Batch, IsHandedOverWhenItIsFullAndNotBefore) {
  Open();
  Submit(31);
  ExpectHandedOver(0, 0);
  EXPECT_EQ(rig.Counters().accepted, 31u);
  Submit(1);
  ExpectHandedOver(32, 1);
  Submit(64);
  ExpectHandedOver(64, 2);
  WaitFor(96);
  EXPECT_EQ(rig.Counters().batches, 3u);
  EXPECT_EQ(rig.Counters().requests, 96u);
}

TEST_P(Batch, IsHandedOverByAFlush) {
  Open();
  Submit(5);
  ASSERT_EQ(rf_flush(rig.queue), 0);
  ExpectHandedOver(5, 1);
  ASSERT_EQ(rf_flush(rig.queue), 0);
  ExpectHandedOver(0, 0);
  WaitFor(5);
}

TEST_P(Batch, IsHandedOverByAReap) {
  Open();
  Submit(5);
  std::vector<rf_completion> done(8);
  int n = rf_reap(rig.queue, done.data(), 8);
  ASSERT_GE(n, 0);
  ExpectHandedOver(5, 1);
  WaitFor(5 - static_cast<unsigned>(n));
}

TEST_P(Batch, IsHandedOverByAWaitTogetherWithTheOpsOfTheCall) {
  Open();
  Submit(5);
  std::vector<rf_completion> done(8);
  rf_op op = rf_op_write(rig.file, "x", 1, 99, 99);
  ASSERT_EQ(rf_submit_and_wait(rig.queue, &op, 1, nullptr, done.data(), 6, 8, kLostNs), 6);
  ExpectHandedOver(6, 1);
  Submit(3);
  EXPECT_GE(rf_wait(rig.queue, done.data(), 0, 8, 0), 0) << "also by one that does not wait";
  ExpectHandedOver(3, 1);
}

TEST_P(Batch, OfOneIsHandedOverAtOnce) {
  rig.queue_options.batch = 1;
  Open();
  for (int i = 0; i < 4; i++) {
    Submit(1);
    ExpectHandedOver(1, 1);
  }
  WaitFor(4);
}

TEST_P(Batch, IsNeverLargerThanTheQueue) {
  rig.queue_options.depth = 8;
  rig.queue_options.batch = 1000;
  Open();
  Submit(7);
  ExpectHandedOver(0, 0);
  Submit(1);
  ExpectHandedOver(8, 1);
  WaitFor(8);
}

TEST_P(Batch, MayBeLargerThanWhatABackendTakesAtOnce) {
  rig.queue_options.depth = 500;
  rig.queue_options.batch = 500;
  Open();
  Submit(499);
  ExpectHandedOver(0, 0);
  Submit(1);
  EXPECT_EQ(backends.Take().size(), 500u);
  WaitFor(500);
}

TEST_P(Batch, OfNothingIsInvalid) {
  rig.queue_options.batch = 0;
  EXPECT_EQ(rig.Open(backends.substitute()), -EINVAL);
}

TEST_P(Batch, ThatIsNotFullIsStillCountedInTheDepth) {
  rig.queue_options.depth = 4;
  Open();
  Submit(3);
  rf_op ops[2] = {rf_op_nop(1), rf_op_nop(2)};
  EXPECT_EQ(rf_submit(rig.queue, ops, 2), 1) << "one place is left";
  EXPECT_EQ(rf_submit(rig.queue, ops, 1), -EAGAIN);
  WaitFor(4);
}

TEST_P(Batch, ThatWasNotHandedOverCanBeCancelledForSure) {
  Open();
  Submit(3);
  EXPECT_EQ(rf_cancel(rig.queue, 1), RF_CANCEL_STOPPED);
  std::vector<rf_completion> done(3);
  ASSERT_EQ(rf_wait(rig.queue, done.data(), 3, 3, kLostNs), 3);
  for (const rf_completion &one : done) EXPECT_EQ(one.status, one.user_data == 1 ? -ECANCELED : 0);
  EXPECT_EQ(rig.Content(3), std::string("x\0x", 3)) << "it was not done";
}

TEST_P(Batch, ThatWasNotHandedOverIsDroppedByClose) {
  Open();
  Submit(31);
  EXPECT_EQ(rig.CloseQueue(), 0);
  EXPECT_EQ(backends.Take().size(), 0u);
  EXPECT_EQ(rig.Content(100), "");
}

TEST_P(Batch, AFlushIsEnoughToBeWokenByTheDescriptor) {
  Open();
  int fd = rf_queue_fd(rig.queue);
  ASSERT_GE(fd, 0);
  Submit(3);
  pollfd ready = {fd, POLLIN, 0};
  EXPECT_EQ(poll(&ready, 1, 0), 0) << "nothing was started";
  ASSERT_EQ(rf_flush(rig.queue), 0);
  EXPECT_EQ(poll(&ready, 1, static_cast<int>(kLostNs / 1000000)), 1);
  WaitFor(3);
}

// The kernel hands an answer over first and signals it then; the program may have reaped it before.
class LateSignal : public Batch {};

TEST_P(LateSignal, WakesTheProgramOnceAndIsGone) {
  Open();
  if (HasFatalFailure()) return;
  int fd = rf_queue_fd(rig.queue);
  ASSERT_GE(fd, 0);
  Submit(4);
  WaitFor(4);
  rf_completion done;
  EXPECT_EQ(rf_reap(rig.queue, &done, 1), 0);
  pollfd look = {fd, POLLIN, 0};
  EXPECT_EQ(poll(&look, 1, 0), 0);
  int signal = rf_backend_tables[GetParam()]->pollable(backends.opened(GetParam()));
  uint64_t one = 1;
  ASSERT_EQ(write(signal, &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
  EXPECT_EQ(poll(&look, 1, 0), 1);
  EXPECT_EQ(rf_reap(rig.queue, &done, 1), 0);
  EXPECT_EQ(poll(&look, 1, 0), 0) << "a loop over it would spin";
}

INSTANTIATE_TEST_SUITE_P(Kernels, LateSignal,
                         testing::Values(RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO),
                         [](const auto &given) {
                           return std::string(rf_backend_name(given.param));
                         });

INSTANTIATE_TEST_SUITE_P(
    Backends, Batch, testing::Values(RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO, RF_BACKEND_THREADS),
    [](const auto &given) { return std::string(rf_backend_name(given.param)); });

} // namespace
