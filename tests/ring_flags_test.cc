// SPDX-License-Identifier: Apache-2.0
// Kernels that do not know some ring flags: the ladder of flag sets, and what the verdict says.
//
// Linked with --wrap=io_uring_queue_init_params and --wrap=syscall (rings are set up by either), so
// that chosen flags are refused as an older kernel refuses them.
#include <gtest/gtest.h>
#include <liburing.h>
#include <ringfall/ringfall.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "backends/uring/uapi.h"
#include "tests/in_child.h"
#include "tests/queue_rig.h"

namespace {

unsigned refused_flags = 0;
bool without_ext_arg = false;
unsigned setups = 0;

// As liburing does it for kernels that have no NO_SQARRAY.
int SetUpWithArray(unsigned entries, io_uring *ring, io_uring_params *params) {
  int fd = static_cast<int>(syscall(SYS_io_uring_setup, entries, params));
  if (fd < 0) return -errno;
  int status = io_uring_queue_mmap(fd, params, ring);
  if (status != 0) {
    close(fd);
    return status;
  }
  for (unsigned i = 0; i < params->sq_entries; i++) ring->sq.array[i] = i;
  ring->flags = params->flags, ring->features = params->features;
  ring->ring_fd = ring->enter_ring_fd = fd; // which io_uring_queue_mmap() does in some releases
  return 0;
}

} // namespace

extern "C" {
int __real_io_uring_queue_init_params(unsigned entries, io_uring *ring, io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, io_uring *ring, io_uring_params *params);

int __wrap_io_uring_queue_init_params(unsigned entries, io_uring *ring, io_uring_params *params) {
  setups++;
  if (params->flags & refused_flags) return -EINVAL;
  // Newer releases of liburing ask for NO_SQARRAY by themselves, by calls that cannot be wrapped.
  bool with_array = (refused_flags & IORING_SETUP_NO_SQARRAY) != 0;
  int status = with_array ? SetUpWithArray(entries, ring, params)
                          : __real_io_uring_queue_init_params(entries, ring, params);
  if (status == 0 && without_ext_arg) {
    ring->features &= ~static_cast<unsigned>(IORING_FEAT_EXT_ARG);
    params->features &= ~static_cast<unsigned>(IORING_FEAT_EXT_ARG);
  }
  return status;
}

long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
  if (number == SYS_io_uring_setup) {
    setups++;
    if (reinterpret_cast<const io_uring_params *>(b)->flags & refused_flags) {
      errno = EINVAL;
      return -1;
    }
  }
  return __real_syscall(number, a, b, c, d, e, f);
}
}

namespace {

using queue_rig::kLostNs;
using queue_rig::Rig;

// What kernels before these flags refuse, all at once.
constexpr unsigned kBefore6_6 = IORING_SETUP_NO_SQARRAY;
constexpr unsigned kBefore6_1 = kBefore6_6 | IORING_SETUP_DEFER_TASKRUN;
constexpr unsigned kBefore6_0 = kBefore6_1 | IORING_SETUP_SINGLE_ISSUER;
constexpr unsigned kBefore5_19 = kBefore6_0 | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
constexpr unsigned kBefore5_18 = kBefore5_19 | IORING_SETUP_SUBMIT_ALL;
constexpr unsigned kBefore5_10 = kBefore5_18 | IORING_SETUP_R_DISABLED;

struct Kernel {
  const char *name;
  unsigned refused;
  const char *features; // the beginning of them
};

const Kernel kKernels[] = {
    {"Newest", 0, "SINGLE_ISSUER, DEFER_TASKRUN, SUBMIT_ALL"},
    {"Before_6_6", kBefore6_6, "SINGLE_ISSUER, DEFER_TASKRUN, SUBMIT_ALL; "},
    {"Before_6_1", kBefore6_1, "COOP_TASKRUN, SUBMIT_ALL"},
    {"Before_6_0", kBefore6_0, "COOP_TASKRUN, SUBMIT_ALL"},
    {"Before_5_19", kBefore5_19, "SUBMIT_ALL"},
    {"Before_5_18", kBefore5_18, "no flags"},
    {"Before_5_10", kBefore5_10, "no flags"},
    {"WithoutCoopAlone", IORING_SETUP_COOP_TASKRUN, "SINGLE_ISSUER, DEFER_TASKRUN, SUBMIT_ALL"},
    {"WithoutSubmitAllAlone", IORING_SETUP_SUBMIT_ALL, "no flags"},
};

class RingFlags : public testing::TestWithParam<Kernel> {
protected:
  void SetUp() override {
    rf_host host;
    refused_flags = 0, without_ext_arg = false, setups = 0;
    ASSERT_EQ(rf_probe_host(nullptr, &host), 0);
    const rf_verdict &plain = host.verdicts[RF_BACKEND_IO_URING];
    // The expectations below begin at the top of the ladder.
    if (!plain.usable || plain.error != 0)
      GTEST_SKIP() << "needs a kernel with every flag\n" << plain.why;
    ASSERT_GT(setups, 0u) << "not linked with --wrap: nothing is tested";
    refused_flags = GetParam().refused;
  }
  void TearDown() override { refused_flags = 0, without_ext_arg = false; }

  void Open() {
    rig.engine_options.choice = RF_CHOICE_REQUIRE;
    rig.engine_options.backend = RF_BACKEND_IO_URING;
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    ASSERT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_IO_URING);
  }

  Rig rig;
};

TEST_P(RingFlags, TheVerdictShowsTheRungInUse) {
  Open();
  const rf_verdict &verdict = rig.Verdict(RF_BACKEND_IO_URING);
  EXPECT_TRUE(verdict.usable);
  EXPECT_EQ(std::string(verdict.features).find(GetParam().features), 0u) << verdict.features;
  bool stepped = std::string(GetParam().features).find("DEFER") == std::string::npos;
  EXPECT_EQ(verdict.error, stepped ? EINVAL : 0);
  EXPECT_EQ(verdict.cause, stepped ? RF_CAUSE_FLAG : RF_CAUSE_NONE);
  EXPECT_STREQ(verdict.syscall, stepped ? "io_uring_setup" : "");
  EXPECT_TRUE(rig.RoundTrip());
}

TEST_P(RingFlags, TheArrayOfTheSubmissionRingIsLeftOutWhereItCanBe) {
  refused_flags = 0;
  Open();
  if (HasFatalFailure()) return;
  std::string newest = rig.Verdict(RF_BACKEND_IO_URING).features;
  bool known = newest.find("NO_SQARRAY") != std::string::npos; // from Linux 6.6 on
  refused_flags = GetParam().refused;
  Rig other;
  other.engine_options.choice = RF_CHOICE_REQUIRE;
  other.engine_options.backend = RF_BACKEND_IO_URING;
  ASSERT_EQ(other.Open(), 0) << other.Log();
  std::string features = other.Verdict(RF_BACKEND_IO_URING).features;
  bool wanted = known && !(refused_flags & IORING_SETUP_NO_SQARRAY);
  EXPECT_EQ(features.find("NO_SQARRAY") != std::string::npos, wanted) << features;
  EXPECT_TRUE(other.RoundTrip());
  for (uint64_t i = 0; i < 300; i++) // all around the ring
    ASSERT_EQ(other.Do(rf_op_nop(i)).user_data, i);
}

TEST_P(RingFlags, ABadOpInABatchLeavesTheOthersAlone) {
  Open();
  if (HasFatalFailure()) return;
  char bytes[64] = {};
  std::vector<rf_op> ops;
  for (uint64_t i = 0; i < 64; i++) {
    ops.push_back(rf_op_write(rig.file, &bytes[i], 1, i, i));
    if (i % 5 == 2) ops.back().ioprio = 0xffff; // no such class: refused before it is started
  }
  std::vector<rf_completion> all = rig.Do(ops);
  ASSERT_EQ(all.size(), 64u);
  for (const rf_completion &done : all) {
    EXPECT_EQ(done.status == 0, done.user_data % 5 != 2) << done.user_data << ": " << done.status;
  }
}

// The refused flag comes first, and is not what stands in the way.
TEST_P(RingFlags, WhatIsRefusedBehindTheFlagsIsWhatTheVerdictNames) {
  RF_IN_CHILD({
    int lowest = dup(STDOUT_FILENO);
    close(lowest);
    rlimit limit = {};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = static_cast<rlim_t>(lowest) + 1; // one, which the probe's own file takes
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    rf_host host;
    ASSERT_EQ(rf_probe_host(nullptr, &host), 0);
    const rf_verdict &verdict = host.verdicts[RF_BACKEND_IO_URING];
    EXPECT_FALSE(verdict.usable);
    EXPECT_EQ(verdict.error, EMFILE);
    EXPECT_EQ(verdict.cause, RF_CAUSE_NOFILE) << verdict.why;
  });
}

// Before 5.11, which has none of the flags either.
class OldRing : public RingFlags {};

TEST_P(OldRing, WaitsHaveAnEndOnKernelsThatCannotTimeThem) {
  without_ext_arg = true;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Open();
  if (HasFatalFailure()) return;
  rf_file *pipe_file = nullptr;
  ASSERT_EQ(rf_file_from_fd(rig.engine, ends[0], false, &pipe_file), 0);
  char got = 0;
  rf_op slow = rf_op_read(pipe_file, &got, 1, 0, 1);
  rf_completion done = {};
  EXPECT_EQ(rf_submit_and_wait(rig.queue, &slow, 1, nullptr, &done, 1, 1, 1000000), 0);
  ASSERT_EQ(write(ends[1], "!", 1), 1);
  EXPECT_EQ(rf_wait(rig.queue, &done, 1, 1, kLostNs), 1);
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(got, '!');
  EXPECT_TRUE(rig.RoundTrip());
  EXPECT_EQ(rf_file_close(pipe_file), 0);
  close(ends[0]), close(ends[1]);
}

// The kernel keeps completions of such a ring to itself until it is entered, and hands over so many
// at a time (20 in Linux 6.18): who asked for one does not enter it again for the rest.
TEST(DeferredCompletions, ThatWereNotAskedForCostNoCallOfTheirOwn) {
  enum { kReads = 48 };
  Rig rig;
  rig.engine_options.choice = RF_CHOICE_REQUIRE;
  rig.engine_options.backend = RF_BACKEND_IO_URING;
  rig.queue_options.depth = kReads;
  if (rig.Open() != 0) GTEST_SKIP() << "needs io_uring";
  std::string features = rig.Verdict(RF_BACKEND_IO_URING).features;
  if (features.find("DEFER_TASKRUN") == std::string::npos) GTEST_SKIP() << "needs Linux 6.1";
  /* Sockets: what they have for a request is told to the ring.  Reads of pipes are carried out by
   * kernel threads before Linux 6.4, and those complete one by one. */
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  rf_file *file = nullptr;
  ASSERT_EQ(rf_file_from_fd(rig.engine, ends[0], false, &file), 0);
  char got[kReads];
  std::vector<rf_op> ops;
  for (uint64_t i = 0; i < kReads; i++) ops.push_back(rf_op_read(file, &got[i], 1, 0, i));
  rf_completion done[kReads];
  ASSERT_EQ(rf_submit(rig.queue, ops.data(), kReads), kReads);
  ASSERT_EQ(rf_reap(rig.queue, done, kReads), 0) << "they wait for data";
  ASSERT_EQ(write(ends[1], std::string(kReads, 'x').data(), kReads), kReads);
  uint64_t before = rig.Counters().system_calls;
  int n = rf_wait(rig.queue, done, 1, kReads, kLostNs);
  EXPECT_GE(n, 1);
  EXPECT_EQ(rig.Counters().system_calls - before, 1u) << n << " came";
  for (int more; n < kReads; n += more) {
    more = rf_reap(rig.queue, done, kReads);
    ASSERT_GT(more, 0) << "they are there";
  }
  EXPECT_EQ(rf_file_close(file), 0);
  close(ends[0]), close(ends[1]);
}

INSTANTIATE_TEST_SUITE_P(Kernels, RingFlags, testing::ValuesIn(kKernels),
                         [](const auto &given) { return std::string(given.param.name); });

INSTANTIATE_TEST_SUITE_P(Kernels, OldRing,
                         testing::Values(Kernel{"Before_5_10", kBefore5_10, "no flags"}),
                         [](const auto &given) { return std::string(given.param.name); });

} // namespace
