// SPDX-License-Identifier: Apache-2.0
// What is left when the system denies something: real I/O, by the next best way, and said which.
//
// Filters and limits are put up in children.  Each test ends with data written, read back,
// compared.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <ringfall/ringfall.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/in_child.h"
#include "tests/queue_rig.h"
#include "tests/seccomp_filter.h"

namespace {

using queue_rig::kLostNs;
using queue_rig::Pattern;
using queue_rig::Rig;
using seccomp_filter::Deny;

// In the child, before anything is denied: what is not there without that cannot be tested.
void Need(rf_backend_id id) {
  rf_host host;
  if (rf_probe_host(nullptr, &host) != 0 || !host.verdicts[id].usable)
    in_child::Skip(rf_backend_name(id));
}

void InstallOrSkip(std::initializer_list<seccomp_filter::Rule> rules) {
  if (seccomp_filter::Install(rules) != 0) in_child::Skip("seccomp filters");
}

bool Contains(const std::string &text, const std::string &part) {
  return text.find(part) != std::string::npos;
}

int LowestFreeDescriptor() {
  int fd = dup(STDOUT_FILENO);
  close(fd);
  return fd;
}

// Descriptors from `limit` on cannot be opened any more.
void LimitDescriptors(int limit) {
  rlimit most = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &most), 0);
  most.rlim_cur = static_cast<rlim_t>(limit);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &most), 0);
}

// ---- setup denied ------------------------------------------------------------------------------

class SetupOfRings : public testing::TestWithParam<int> {};

TEST_P(SetupOfRings, DeniedLeadsToLibaioAndAVerdictWithCallErrnoAndFilter) {
  RF_IN_CHILD({
    Need(RF_BACKEND_IO_URING);
    Need(RF_BACKEND_LIBAIO);
    InstallOrSkip({Deny(SYS_io_uring_setup, GetParam())});
    Rig rig;
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    EXPECT_EQ(rf_engine_host(rig.engine)->selected, RF_BACKEND_LIBAIO);
    EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_LIBAIO);
    const rf_verdict &verdict = rig.Verdict(RF_BACKEND_IO_URING);
    EXPECT_FALSE(verdict.usable);
    EXPECT_EQ(verdict.stage, RF_STAGE_SETUP);
    EXPECT_STREQ(verdict.syscall, "io_uring_setup");
    EXPECT_EQ(verdict.error, GetParam());
    EXPECT_EQ(verdict.cause, RF_CAUSE_SECCOMP) << rf_cause_name(verdict.cause);
    EXPECT_TRUE(Contains(verdict.why, "io_uring_setup")) << verdict.why;
    EXPECT_TRUE(Contains(verdict.why, strerrorname_np(GetParam()))) << verdict.why;
    EXPECT_TRUE(Contains(verdict.why, "seccomp")) << verdict.why;
    EXPECT_TRUE(Contains(rf_engine_explanation(rig.engine), "libaio"));
    EXPECT_TRUE(rig.Logged(RF_LOG_WARNING, {"io_uring", "seccomp"})) << rig.Log();
    EXPECT_EQ(rig.Counters().generation, 1u);
    EXPECT_TRUE(rig.RoundTrip());
  });
}

INSTANTIATE_TEST_SUITE_P(Errors, SetupOfRings,
                         testing::Values(EPERM, ENOSYS, EACCES, EOPNOTSUPP, ENOMEM, ENOANO),
                         [](const auto &given) {
                           return std::string(strerrorname_np(given.param));
                         });

TEST(Fallback, SetupThatKillsLeadsToLibaioIfAChildTriesItFirst) {
  RF_IN_CHILD({
    Need(RF_BACKEND_IO_URING);
    Need(RF_BACKEND_LIBAIO);
    InstallOrSkip({seccomp_filter::Kill(SYS_io_uring_setup)});
    Rig rig;
    rig.engine_options.probe_in_child = true;
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_LIBAIO);
    const rf_verdict &verdict = rig.Verdict(RF_BACKEND_IO_URING);
    EXPECT_EQ(verdict.cause, RF_CAUSE_SECCOMP);
    EXPECT_TRUE(Contains(verdict.why, "killed by seccomp")) << verdict.why;
    EXPECT_TRUE(rig.RoundTrip());
  });
}

TEST(Fallback, RegistrationDeniedLeavesARingWithoutItAndSaysSo) {
  RF_IN_CHILD({
    Need(RF_BACKEND_IO_URING);
    InstallOrSkip({Deny(SYS_io_uring_register, EPERM)});
    Rig rig;
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_IO_URING);
    const rf_verdict &verdict = rig.Verdict(RF_BACKEND_IO_URING);
    EXPECT_TRUE(verdict.usable);
    EXPECT_EQ(verdict.stage, RF_STAGE_REGISTER);
    EXPECT_STREQ(verdict.syscall, "io_uring_register");
    EXPECT_EQ(verdict.error, EPERM);
    EXPECT_FALSE(Contains(verdict.features, "DEFER_TASKRUN")) << verdict.features;
    EXPECT_TRUE(Contains(verdict.why, "io_uring_register")) << verdict.why;
    EXPECT_TRUE(rig.RoundTrip());
    EXPECT_EQ(rig.Counters().deaths, 0u);
  });
}

TEST(Fallback, BothInterfacesDeniedLeaveThreadsAndTwoVerdicts) {
  RF_IN_CHILD({
    InstallOrSkip({Deny(SYS_io_uring_setup, EPERM), Deny(SYS_io_setup, EACCES)});
    Rig rig;
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_THREADS);
    EXPECT_FALSE(rig.Verdict(RF_BACKEND_IO_URING).usable);
    EXPECT_FALSE(rig.Verdict(RF_BACKEND_LIBAIO).usable);
    EXPECT_STREQ(rig.Verdict(RF_BACKEND_IO_URING).syscall, "io_uring_setup");
    EXPECT_EQ(rig.Verdict(RF_BACKEND_IO_URING).error, EPERM);
    EXPECT_STREQ(rig.Verdict(RF_BACKEND_LIBAIO).syscall, "io_setup");
    EXPECT_EQ(rig.Verdict(RF_BACKEND_LIBAIO).error, EACCES);
    EXPECT_TRUE(rig.RoundTrip());
    EXPECT_EQ(rig.Counters().generation, 1u);
  });
}

// ---- wishes ------------------------------------------------------------------------------------

TEST(Fallback, RequiredAndDeniedIsNotSupportedAndTheLogSaysWhy) {
  RF_IN_CHILD({
    InstallOrSkip({Deny(SYS_io_uring_setup, EPERM), Deny(SYS_io_setup, EPERM)});
    for (rf_backend_id id : {RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO}) {
      Rig rig;
      rig.engine_options.choice = RF_CHOICE_REQUIRE;
      rig.engine_options.backend = id;
      EXPECT_EQ(rig.OpenEngine(), -ENOTSUP);
      EXPECT_EQ(rig.engine, nullptr);
      EXPECT_TRUE(rig.Logged(RF_LOG_ERROR, {rf_backend_name(id), "required"})) << rig.Log();
    }
  });
}

TEST(Fallback, RequiredByTheEnvironmentAndDeniedIsNotSupported) {
  RF_IN_CHILD({
    InstallOrSkip({Deny(SYS_io_uring_setup, EPERM)});
    setenv("RINGFALL_BACKEND", "require:io_uring", 1);
    Rig rig;
    rig.use_environment = true;
    EXPECT_EQ(rig.OpenEngine(), -ENOTSUP);
    EXPECT_TRUE(rig.Logged(RF_LOG_ERROR, {"io_uring", "required"})) << rig.Log();
  });
}

TEST(Fallback, PreferredAndDeniedIsRecordedAndTheNextBestIsUsed) {
  RF_IN_CHILD({
    InstallOrSkip({Deny(SYS_io_uring_setup, EPERM), Deny(SYS_io_setup, EPERM)});
    Rig rig;
    rig.engine_options.choice = RF_CHOICE_PREFER;
    rig.engine_options.backend = RF_BACKEND_LIBAIO;
    ASSERT_EQ(rig.Open(), 0);
    EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_THREADS);
    EXPECT_TRUE(rig.Logged(RF_LOG_WARNING, {"libaio is not usable"})) << rig.Log();
    EXPECT_TRUE(Contains(rf_engine_explanation(rig.engine), "libaio"));
    EXPECT_TRUE(rig.RoundTrip());
  });
}

// ---- resources ---------------------------------------------------------------------------------

TEST(Fallback, NoDescriptorForTheRingOfAQueueLeadsToLibaio) {
  RF_IN_CHILD({
    Need(RF_BACKEND_IO_URING);
    Need(RF_BACKEND_LIBAIO);
    Rig rig;
    rig.OpenFile();
    ASSERT_EQ(rig.OpenEngine(), 0);
    ASSERT_EQ(rf_engine_host(rig.engine)->selected, RF_BACKEND_IO_URING);
    ASSERT_EQ(rf_file_from_fd(rig.engine, rig.fd, false, &rig.file), 0);
    LimitDescriptors(LowestFreeDescriptor());
    ASSERT_EQ(rig.OpenQueue(), 0) << rig.Log();
    EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_LIBAIO);
    EXPECT_EQ(rig.Counters().generation, 2u);
    EXPECT_TRUE(rig.Logged(RF_LOG_WARNING, {"io_uring", strerror(EMFILE)})) << rig.Log();
    EXPECT_TRUE(rig.RoundTrip());
  });
}

TEST(Fallback, NoDescriptorForAnyRingLeadsToLibaioFromTheStart) {
  RF_IN_CHILD({
    Need(RF_BACKEND_IO_URING);
    Need(RF_BACKEND_LIBAIO);
    Rig rig;
    rig.OpenFile();
    LimitDescriptors(LowestFreeDescriptor() + 1); // one, which the probe's own file takes
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    EXPECT_EQ(rf_engine_host(rig.engine)->selected, RF_BACKEND_LIBAIO);
    EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_LIBAIO);
    EXPECT_EQ(rig.Verdict(RF_BACKEND_IO_URING).error, EMFILE);
    EXPECT_EQ(rig.Verdict(RF_BACKEND_IO_URING).cause, RF_CAUSE_NOFILE);
    EXPECT_TRUE(rig.RoundTrip());
  });
}

// No user that others use here: what they lock counts, too.
void BecomeAUserOfOnesOwn() {
  if (geteuid() != 0) in_child::Skip("root, to become another user");
  uid_t id = static_cast<uid_t>(3000000000u + static_cast<uid_t>(getpid()));
  ASSERT_EQ(setgid(id), 0);
  ASSERT_EQ(setuid(id), 0);
}

void LimitLockedMemory(rlim_t bytes) {
  rlimit limit = {bytes, bytes};
  ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
}

TEST(Fallback, NoLockedMemoryLeadsToLibaioAndTheVerdictNamesTheLimit) {
  RF_IN_CHILD({
    Need(RF_BACKEND_IO_URING);
    Need(RF_BACKEND_LIBAIO);
    Rig rig;
    rig.OpenFile();
    LimitLockedMemory(0);
    BecomeAUserOfOnesOwn();
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    const rf_verdict &verdict = rig.Verdict(RF_BACKEND_IO_URING);
    if (verdict.usable) in_child::Skip("a kernel that counts rings as locked memory");
    EXPECT_EQ(verdict.error, ENOMEM);
    EXPECT_EQ(verdict.cause, RF_CAUSE_MEMLOCK) << verdict.why;
    EXPECT_TRUE(Contains(verdict.why, "RLIMIT_MEMLOCK is 0 bytes")) << verdict.why;
    EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_LIBAIO);
    EXPECT_TRUE(rig.RoundTrip());
  });
}

// All rings of a user count together: the first ones fit, the later ones go on with less or with
// libaio, and each queue has its depth.
TEST(Fallback, QueuesBeyondTheLimitOfLockedMemoryWorkAllTheSame) {
  RF_IN_CHILD({
    Need(RF_BACKEND_IO_URING);
    Need(RF_BACKEND_LIBAIO);
    Rig rig;
    rig.OpenFile();
    LimitLockedMemory(64 << 10);
    BecomeAUserOfOnesOwn();
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    std::vector<rf_queue *> queues = {rig.queue};
    for (int i = 1; i < 8; i++) {
      ASSERT_EQ(rig.OpenQueue(), 0) << rig.Log();
      queues.push_back(rig.queue);
    }
    unsigned limited = 0;
    for (rf_queue *queue : queues) {
      rig.queue = queue;
      limited += rf_queue_backend(queue) != RF_BACKEND_IO_URING;
      EXPECT_TRUE(rig.RoundTrip(128, 512, 3));
      EXPECT_EQ(rig.Counters().deaths, 0u);
      EXPECT_EQ(rig.CloseQueue(), 0);
    }
    if (limited == 0 && !rig.Logged(RF_LOG_INFO, {"io_uring grants"}))
      in_child::Skip("a kernel that counts rings as locked memory");
  });
}

// Takes what is left of fs.aio-max-nr, but for `spare`, until the child ends.
void ExhaustContexts(unsigned spare) {
  aio_context_t reserved = 0;
  if (spare > 0 && syscall(SYS_io_setup, spare, &reserved) != 0) in_child::Skip("fs.aio-max-nr");
  for (unsigned size = 65536; size > 0; size /= 2) {
    aio_context_t context = 0;
    while (syscall(SYS_io_setup, size, &context) == 0) context = 0;
    if (errno != EAGAIN && errno != ENOMEM) in_child::Skip("to exhaust fs.aio-max-nr");
  }
  if (reserved != 0) syscall(SYS_io_destroy, reserved);
}

TEST(Fallback, FewContextsShrinkTheContextAndNotTheQueue) {
  RF_IN_CHILD({
    if (geteuid() != 0) in_child::Skip("root, to take all contexts");
    Need(RF_BACKEND_LIBAIO);
    Rig rig;
    rig.engine_options.choice = RF_CHOICE_REQUIRE;
    rig.engine_options.backend = RF_BACKEND_LIBAIO;
    rig.queue_options.depth = 4096;
    rig.OpenFile();
    ASSERT_EQ(rig.OpenEngine(), 0) << rig.Log();
    ExhaustContexts(100);
    ASSERT_EQ(rig.OpenQueue(), 0) << rig.Log();
    EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_LIBAIO);
    EXPECT_TRUE(rig.Logged(RF_LOG_INFO, {"libaio", "of 4096"})) << rig.Log();
    std::string data = Pattern(4096 * 512);
    std::vector<rf_op> ops = rig.Blocks(RF_OP_WRITE, &data, 512);
    ASSERT_EQ(rf_submit(rig.queue, ops.data(), 4096), 4096) << "the depth is the queue's";
    std::vector<rf_completion> done(4096);
    ASSERT_EQ(rf_wait(rig.queue, done.data(), 4096, 4096, kLostNs), 4096);
    EXPECT_TRUE(rig.Completed(done, 4096, 512));
    EXPECT_TRUE(rig.Content(data.size()) == data);
    EXPECT_TRUE(rig.RoundTrip(4096, 512, 3));
  });
}

TEST(Fallback, NoContextsLeadToThreadsAndTheVerdictNamesTheLimit) {
  RF_IN_CHILD({
    if (geteuid() != 0) in_child::Skip("root, to take all contexts");
    Need(RF_BACKEND_LIBAIO);
    InstallOrSkip({Deny(SYS_io_uring_setup, EPERM)});
    ExhaustContexts(0);
    Rig rig;
    rig.queue_options.depth = 4096;
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_THREADS);
    EXPECT_EQ(rig.Verdict(RF_BACKEND_LIBAIO).error, EAGAIN);
    EXPECT_EQ(rig.Verdict(RF_BACKEND_LIBAIO).cause, RF_CAUSE_AIO_MAX_NR);
    EXPECT_TRUE(Contains(rig.Verdict(RF_BACKEND_LIBAIO).why, "aio-max-nr"));
    EXPECT_TRUE(rig.RoundTrip(4096, 512));
  });
}

TEST(Fallback, AQueueOpenedAfterSetupWasDeniedFallsBackAndEarlierOnesGoOn) {
  RF_IN_CHILD({
    Need(RF_BACKEND_IO_URING);
    Need(RF_BACKEND_LIBAIO);
    Rig rig;
    ASSERT_EQ(rig.Open(), 0);
    ASSERT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_IO_URING);
    EXPECT_TRUE(rig.RoundTrip());
    InstallOrSkip({Deny(SYS_io_uring_setup, EPERM)});
    rf_queue *first = rig.queue;
    std::thread([&] { // FAILURES: a second thread, whose setup fails
      ASSERT_EQ(rig.OpenQueue(), 0);
      EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_LIBAIO);
      EXPECT_EQ(rig.Counters().generation, 2u);
      EXPECT_EQ(rig.Counters().deaths, 0u);
      EXPECT_TRUE(rig.Logged(RF_LOG_WARNING, {"io_uring_setup", strerror(EPERM)})) << rig.Log();
      EXPECT_TRUE(rig.RoundTrip(64, 4096, 2));
    })
        .join();
    std::swap(first, rig.queue);
    EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_IO_URING);
    EXPECT_TRUE(rig.RoundTrip(64, 4096, 3));
    EXPECT_EQ(rig.Counters().generation, 1u);
    EXPECT_EQ(rf_queue_close(first), 0);
  });
}

TEST(Fallback, AQueueOfARequiredBackendDoesNotFallBack) {
  RF_IN_CHILD({
    Need(RF_BACKEND_IO_URING);
    Rig rig;
    rig.engine_options.choice = RF_CHOICE_REQUIRE;
    rig.engine_options.backend = RF_BACKEND_IO_URING;
    ASSERT_EQ(rig.OpenEngine(), 0);
    InstallOrSkip({Deny(SYS_io_uring_setup, EPERM)});
    EXPECT_EQ(rig.OpenQueue(), -ENOTSUP);
    EXPECT_EQ(rig.queue, nullptr);
    EXPECT_TRUE(rig.Logged(RF_LOG_WARNING, {"io_uring_setup", strerror(EPERM)})) << rig.Log();
  });
}

// ---- in use ------------------------------------------------------------------------------------

void OpenOn(Rig *rig, rf_backend_id id) {
  rig->engine_options.choice = RF_CHOICE_REQUIRE;
  rig->engine_options.backend = id;
  ASSERT_EQ(rig->Open(), 0) << rig->Log();
  ASSERT_EQ(rf_queue_backend(rig->queue), id);
}

TEST(Fallback, TheNewerCallToReapDeniedLeavesTheOlderOne) {
  RF_IN_CHILD({
    Need(RF_BACKEND_LIBAIO);
    InstallOrSkip({Deny(SYS_io_pgetevents, EPERM)});
    Rig rig;
    OpenOn(&rig, RF_BACKEND_LIBAIO);
    if (testing::Test::HasFatalFailure()) return;
    const rf_verdict &verdict = rig.Verdict(RF_BACKEND_LIBAIO);
    EXPECT_TRUE(verdict.usable);
    EXPECT_STREQ(verdict.syscall, "io_pgetevents");
    EXPECT_EQ(verdict.error, EPERM);
    EXPECT_TRUE(Contains(verdict.features, "io_getevents")) << verdict.features;
    EXPECT_TRUE(rig.RoundTrip());
    EXPECT_EQ(rig.Counters().deaths, 0u);
    EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_LIBAIO);
  });
}

// After some I/O; all that comes later is done by threads, each op once.
void DenyInUse(rf_backend_id id, long call, const char *name) {
  Need(id);
  Rig rig;
  OpenOn(&rig, id);
  if (testing::Test::HasFatalFailure()) return;
  EXPECT_TRUE(rig.RoundTrip(64, 4096, 1));
  InstallOrSkip({Deny(call, EPERM)});
  EXPECT_TRUE(rig.RoundTrip(200, 4096, 2));
  rf_counters counters = rig.Counters();
  EXPECT_EQ(counters.deaths, 1u);
  EXPECT_EQ(counters.generation, 2u);
  EXPECT_EQ(counters.failed, 0u);
  EXPECT_EQ(counters.accepted, 64u * 2 + 1 + 200 * 2 + 1);
  EXPECT_EQ(counters.completed, counters.accepted);
  EXPECT_EQ(counters.fell_back[RF_OP_WRITE][RF_FALLBACK_DEAD], 200u);
  EXPECT_EQ(counters.fell_back[RF_OP_READ][RF_FALLBACK_DEAD], 200u);
  EXPECT_EQ(counters.fell_back[RF_OP_FSYNC][RF_FALLBACK_DEAD], 1u);
  EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_THREADS);
  EXPECT_TRUE(rig.Logged(RF_LOG_ERROR, {rf_backend_name(id), name, strerror(EPERM)})) << rig.Log();
}

TEST(Fallback, SubmittingToAContextDeniedInUseLeadsToThreads) {
  RF_IN_CHILD({ DenyInUse(RF_BACKEND_LIBAIO, SYS_io_submit, "io_submit"); });
}

TEST(Fallback, EnteringARingDeniedInUseLeadsToThreads) {
  RF_IN_CHILD({ DenyInUse(RF_BACKEND_IO_URING, SYS_io_uring_enter, "io_uring_enter"); });
}

// Where a queue may block, transfers on memory file systems go to libaio beside the ring.
TEST(Fallback, CallsDeniedInUseAreMadeByWorkersAndTheRingGoesOn) {
  RF_IN_CHILD({
    Need(RF_BACKEND_IO_URING);
    Need(RF_BACKEND_LIBAIO);
    Rig rig;
    rig.fd = static_cast<int>(memfd_create("memory", MFD_CLOEXEC));
    rig.queue_options.policy = RF_POLICY_MAY_BLOCK;
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    ASSERT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_IO_URING);
    char byte = 'x';
    ASSERT_EQ(rig.Do(rf_op_write(rig.file, &byte, 1, 0, 1)).backend, RF_BACKEND_LIBAIO);
    InstallOrSkip({Deny(SYS_io_submit, EPERM)});
    EXPECT_TRUE(rig.RoundTrip());
    rf_completion done = rig.Do(rf_op_read(rig.file, &byte, 1, 0, 2));
    EXPECT_EQ(done.status, 0);
    EXPECT_EQ(done.backend, RF_BACKEND_THREADS);
    EXPECT_EQ(rig.Do(rf_op_nop(3)).backend, RF_BACKEND_IO_URING);
    EXPECT_TRUE(rig.Logged(RF_LOG_WARNING, {"libaio beside io_uring", strerror(EPERM)}));
  });
}

} // namespace
