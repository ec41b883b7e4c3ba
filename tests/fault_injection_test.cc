// SPDX-License-Identifier: Apache-2.0
// The injector itself: plans as text, the same faults for the same seed, and on every backend.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "tests/fault_rig.h"
#include "tests/queue_rig.h"

namespace {

using queue_rig::kLostNs;
using queue_rig::Pattern;
using queue_rig::Rig;

constexpr int64_t kMillisecond = 1000000;

// ---- plans as text -----------------------------------------------------------------------------

const char *const kPlans[] = {
    "seed=0",
    "seed=18446744073709551615 stand_in",
    "seed=42 short=10.0000% error=EIO:write@3x1",
    "seed=1 short=512:read,write,from=4096,to=8192",
    "seed=1 error=ENOSPC:writev,dsync,io_uring,each,0.0001%,x5",
    "seed=1 error=0 error=4000@7+",
    "seed=1 delay=3 delay=1500ns:nop reorder:50.0000% partial=2",
    "seed=1 refuse=EAGAIN@51x12 death=EPERM:libaio@9+ deaf=EPERM open=EMFILE:x1",
    "seed=1 error=EINVAL:read,direct,each,x1",
    "seed=1 capacity=4 lack:fsync,fdatasync lack:hipri",
};

TEST(Plan, ThatWasPrintedIsReadBackAsTheSame) {
  for (const char *text : kPlans) {
    rf_fault_plan plan, again;
    memset(&plan, 0, sizeof(plan));
    ASSERT_EQ(fault_rig::Parse(text, &plan), "") << text;
    std::string printed = fault_rig::Print(plan);
    ASSERT_EQ(fault_rig::Parse(printed, &again), "") << printed;
    EXPECT_EQ(memcmp(&plan, &again, sizeof(plan)), 0) << text << "\n" << printed;
    EXPECT_EQ(fault_rig::Print(again), printed);
  }
}

TEST(Plan, MeansWhatItSays) {
  rf_fault_plan plan;
  ASSERT_EQ(fault_rig::Parse("seed=42 short=10% error=EIO:write@3 delay=2us@4x5", &plan), "");
  EXPECT_EQ(plan.seed, 42u);
  ASSERT_EQ(plan.count, 3u);
  EXPECT_EQ(plan.faults[0].kind, RF_FAULT_SHORT);
  EXPECT_EQ(plan.faults[0].amount, 0u);
  EXPECT_EQ(plan.faults[0].chance, 100000u);
  EXPECT_EQ(plan.faults[1].error, EIO);
  EXPECT_EQ(plan.faults[1].ops, 1u << RF_OP_WRITE);
  EXPECT_EQ(plan.faults[1].first, 3u);
  EXPECT_EQ(plan.faults[1].times, 1u);
  EXPECT_EQ(plan.faults[2].delay_ns, 2000u);
  EXPECT_EQ(plan.faults[2].first, 4u);
  EXPECT_EQ(plan.faults[2].times, 5u);
}

TEST(Plan, IsCutAtTheEndOfTheRoomAndItsWholeLengthIsTold) {
  rf_fault_plan plan;
  ASSERT_EQ(fault_rig::Parse("seed=7 error=EIO:write", &plan), "");
  char room[8] = "xxxxxxx";
  EXPECT_EQ(rf_fault_plan_print(&plan, room, sizeof(room)), 22);
  EXPECT_STREQ(room, "seed=7 ");
}

struct Nonsense {
  const char *text;
  const char *where; // the part that is not understood begins so
};

TEST(Plan, ThatMakesNoSenseIsRefusedWithThePlaceShown) {
  const Nonsense all[] = {
      {"seed=x", "x"},
      {"seed=1 eror=EIO", "eror"},
      {"error", ""},
      {"error=EWHAT", ""},
      {"error=EIO:wrote", ""},
      {"error=EIO:write,", ""},
      {"error=EIO;write", ";"},
      {"error=EIO:101%", "101%"},
      {"error=EIO:0%", "0%"},
      {"error=EIO@0", ""},
      {"refuse=EPERM", ""},
      {"death=EAGAIN", ""},
      {"partial=0", ""},
      {"lack", ""},
      {"capacity=0", ""},
      {"delay=5min", ""},
      {"seed=99999999999999999999", "9"},
      {"stand_in=yes", "=yes"},
  };
  for (const Nonsense &given : all) {
    rf_fault_plan plan;
    memset(&plan, 0x5a, sizeof(plan));
    rf_fault_plan before = plan;
    const char *where = nullptr;
    EXPECT_EQ(rf_fault_plan_parse(given.text, &plan, &where), -EINVAL) << given.text;
    ASSERT_NE(where, nullptr) << given.text;
    EXPECT_EQ(strncmp(where, given.where, strlen(given.where)), 0)
        << given.text << " shown at \"" << where << "\"";
    EXPECT_EQ(memcmp(&plan, &before, sizeof(plan)), 0) << given.text;
  }
}

TEST(Plan, OfTooManyFaultsIsRefused) {
  std::string text;
  for (int i = 0; i < RF_FAULTS_MAX; i++) text += "reorder ";
  rf_fault_plan plan;
  EXPECT_EQ(rf_fault_plan_parse(text.c_str(), &plan, nullptr), 0);
  EXPECT_EQ(rf_fault_plan_parse((text + "reorder").c_str(), &plan, nullptr), -E2BIG);
}

TEST(Plan, MadeByHandThatCannotBeIsRefused) {
  rf_fault_plan plan = {};
  rf_fault_injector *injector = nullptr;
  plan.count = 1;
  plan.faults[0].kind = RF_FAULT_KINDS;
  EXPECT_EQ(rf_fault_injector_open(&plan, &injector), -EINVAL);
  plan.count = RF_FAULTS_MAX + 1;
  EXPECT_EQ(rf_fault_injector_open(&plan, &injector), -EINVAL);
}

// ---- replay ------------------------------------------------------------------------------------

using Answer = std::tuple<int, uint64_t, int64_t, bool>; // op, offset, res, made up

// Every answer of every request of one run, in an order that is no matter of time.
std::vector<Answer> AnswersOf(const std::string &plan, rf_backend_id id, unsigned depth) {
  fault_rig::Faults faults;
  std::vector<Answer> answers;
  faults.Plan(plan);
  Rig rig;
  rig.engine_options.choice = RF_CHOICE_REQUIRE;
  rig.engine_options.backend = id;
  rig.queue_options.depth = depth;
  EXPECT_EQ(rig.Open(faults.injector()), 0) << rig.Log();
  std::string data = Pattern(100 * 700);
  rig.Do(rig.Blocks(RF_OP_WRITE, &data, 700));
  rig.Do(rig.Blocks(RF_OP_READ, &data, 1234));
  for (int i = 0; i < RF_BACKENDS; i++)
    for (const rf_fault_event &event : faults.Done(static_cast<rf_backend_id>(i)))
      answers.emplace_back(event.op, event.offset, event.res, event.made_up);
  std::sort(answers.begin(), answers.end());
  return answers;
}

TEST(Replay, OfAPlanHasTheSameFaultsWhateverTheTiming) {
  const std::string plan = "seed=5 stand_in short=30% error=EINTR:20% error=EIO:3%";
  std::vector<Answer> first = AnswersOf(plan, RF_BACKEND_IO_URING, 128);
  EXPECT_EQ(AnswersOf(plan, RF_BACKEND_IO_URING, 128), first);
  EXPECT_EQ(AnswersOf(plan, RF_BACKEND_IO_URING, 3), first);
  EXPECT_EQ(AnswersOf(plan + " reorder delay=2:50%", RF_BACKEND_LIBAIO, 64), first);
}

TEST(Replay, WithAnotherSeedHasOtherFaults) {
  const std::string plan = " stand_in short=30% error=EINTR:20%";
  EXPECT_NE(AnswersOf("seed=5" + plan, RF_BACKEND_THREADS, 16),
            AnswersOf("seed=6" + plan, RF_BACKEND_THREADS, 16));
}

// ---- faults that the fault test does not need
// ----------------------------------------------------

class Injected : public testing::Test {
protected:
  void Open(const std::string &plan) {
    faults.Plan("stand_in " + plan);
    ASSERT_EQ(rig.Open(faults.injector()), 0) << rig.Log();
  }
  void TearDown() override { EXPECT_EQ(faults.BrokenRule(), ""); }

  fault_rig::Faults faults;
  Rig rig;
};

TEST_F(Injected, TheThirdWriteFailsAndNoOther) {
  Open("error=EIO:write@3");
  std::string data = Pattern(5 * 512);
  for (int i = 0; i < 5; i++) {
    rf_op op =
        rf_op_write(rig.file, data.data() + 512 * i, 512, 512u * static_cast<unsigned>(i), 1);
    EXPECT_EQ(rig.Do(op).status, i == 2 ? -EIO : 0) << i;
  }
  EXPECT_EQ(faults.Counts().injected[RF_FAULT_ERROR], 1u);
  EXPECT_EQ(rig.Content(5 * 512).substr(1024, 512), std::string(512, '\0')) << "it was not done";
}

TEST_F(Injected, ATenthOfManyIsAboutATenth) {
  Open("seed=3 error=EIO:10%");
  std::string data = Pattern(2000 * 8);
  unsigned failed = 0;
  for (const rf_completion &done : rig.Do(rig.Blocks(RF_OP_WRITE, &data, 8)))
    failed += done.status == -EIO;
  EXPECT_GT(failed, 140u);
  EXPECT_LT(failed, 260u);
  EXPECT_EQ(faults.Counts().injected[RF_FAULT_ERROR], failed);
}

TEST_F(Injected, AnAnswerIsHeldBackForSoManyLooks) {
  Open("delay=5");
  rf_op op = rf_op_nop(1);
  rf_completion done;
  ASSERT_EQ(rf_submit(rig.queue, &op, 1), 1);
  while (faults.Done(RF_BACKEND_IO_URING).empty()) {
    ASSERT_EQ(rf_reap(rig.queue, &done, 1), 0);
  }
  EXPECT_EQ(rf_reap(rig.queue, &done, 1), 0) << "a reap looks twice at most";
  EXPECT_EQ(rf_wait(rig.queue, &done, 1, 1, kLostNs), 1);
}

TEST_F(Injected, AnAnswerIsHeldBackForSoLong) {
  Open("delay=30ms");
  uint64_t before = rf_now_ns();
  EXPECT_EQ(rig.Do(rf_op_nop(1)).status, 0);
  EXPECT_GE(rf_now_ns() - before, 30u * kMillisecond);
}

TEST_F(Injected, ADelayedAnswerWakesThoseWhoPoll) {
  for (const char *plan : {"delay=10ms", "delay=4"}) {
    Rig own;
    faults.Plan(std::string("stand_in ") + plan);
    ASSERT_EQ(own.Open(faults.injector()), 0);
    int fd = rf_queue_fd(own.queue);
    ASSERT_GE(fd, 0);
    rf_op op = rf_op_nop(1);
    rf_completion done;
    ASSERT_EQ(rf_submit(own.queue, &op, 1), 1);
    ASSERT_EQ(rf_flush(own.queue), 0);
    int n = 0;
    while (n == 0) {
      pollfd one = {fd, POLLIN, 0};
      ASSERT_EQ(poll(&one, 1, 10000), 1) << plan << ": nobody was woken";
      n = rf_reap(own.queue, &done, 1);
    }
    EXPECT_EQ(n, 1);
  }
}

TEST_F(Injected, ReorderedAnswersComeInAnotherOrder) {
  Open("reorder delay=1ms");
  std::vector<rf_op> ops;
  for (uint64_t i = 0; i < 32; i++) ops.push_back(rf_op_nop(i));
  std::vector<rf_completion> all = rig.Do(ops);
  EXPECT_FALSE(std::is_sorted(all.begin(), all.end(), [](const auto &a, const auto &b) {
    return a.user_data < b.user_data;
  }));
  EXPECT_GT(faults.Counts().injected[RF_FAULT_REORDER], 0u);
}

// Found by the injector: the core moved what the last backend refused back to the same backend.
TEST_F(Injected, WhatTheLastBackendRefusesForEverFailsWithThat) {
  rig.engine_options.choice = RF_CHOICE_REQUIRE;
  rig.engine_options.backend = RF_BACKEND_THREADS;
  Open("refuse=EBUSY");
  EXPECT_EQ(rig.Do(rf_op_nop(1)).status, -EBUSY);
  faults.Plan("");
  EXPECT_TRUE(rig.RoundTrip());
}

TEST_F(Injected, WhatEveryBackendRefusesForEverFailsWithThat) {
  Open("refuse=EAGAIN");
  EXPECT_EQ(rig.Do(rf_op_nop(1)).status, -EAGAIN);
  EXPECT_EQ(rig.Counters().fell_back[RF_OP_NOP][RF_FALLBACK_EXHAUSTED], 1u);
}

// ---- on the host's own backends ----------------------------------------------------------------

class OnBackend : public testing::TestWithParam<rf_backend_id> {};

TEST_P(OnBackend, NothingIsLostAndNothingIsWrittenTwice) {
  fault_rig::Faults faults;
  Rig rig;
  rig.engine_options.choice = RF_CHOICE_REQUIRE;
  rig.engine_options.backend = GetParam();
  faults.Plan("seed=11 short=30% error=EINTR:20% error=EAGAIN:5% delay=2:10% delay=50us:10% "
              "reorder=50% partial=3:30% refuse=EAGAIN:5%");
  int status = rig.Open(faults.injector());
  if (status == -ENOTSUP) GTEST_SKIP() << "needs " << rf_backend_name(GetParam());
  ASSERT_EQ(status, 0);
  EXPECT_TRUE(rig.RoundTrip(300, 600));
  for (unsigned times : faults.TimesWritten(300 * 600)) ASSERT_EQ(times, 1u);
  rf_fault_counts counts = faults.Counts();
  for (rf_fault_kind kind : {RF_FAULT_SHORT, RF_FAULT_ERROR, RF_FAULT_DELAY, RF_FAULT_PARTIAL})
    EXPECT_GT(counts.injected[kind], 0u) << rf_fault_name(kind);
  EXPECT_EQ(faults.BrokenRule(), "");
}

INSTANTIATE_TEST_SUITE_P(Backends, OnBackend,
                         testing::Values(RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO,
                                         RF_BACKEND_THREADS),
                         [](const auto &given) {
                           return std::string(rf_backend_name(given.param));
                         });

} // namespace
