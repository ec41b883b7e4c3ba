// SPDX-License-Identifier: Apache-2.0
// What only a machine of one's own can show: sysctls that count for all of it, and an NVMe disk
// with a queue for polling.
//
// The tests set the sysctls of this machine, and write over the disk that RINGFALL_SPARE_DISK
// names: run.sh starts them in virtual machines, and they refuse to run without that variable.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <ringfall/ringfall.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <string>

#include "tests/in_child.h"
#include "tests/queue_rig.h"
#include "tests/seccomp_filter.h"

namespace {

using queue_rig::Pattern;
using queue_rig::Rig;

constexpr unsigned kNobody = 65534;
constexpr char kRings[] = "/proc/sys/kernel/io_uring_disabled";
constexpr char kContexts[] = "/proc/sys/fs/aio-max-nr";

bool Contains(const std::string &text, const std::string &part) {
  return text.find(part) != std::string::npos;
}

// -1: there is no such sysctl.
long ReadSysctl(const char *path) {
  long value = -1;
  std::ifstream(path) >> value;
  return value;
}

// Sets a sysctl, and puts it back.
class Sysctl {
public:
  Sysctl(const char *path, long value) : path_(path), before_(ReadSysctl(path)) { Write(value); }
  Sysctl(const Sysctl &) = delete;
  Sysctl &operator=(const Sysctl &) = delete;
  ~Sysctl() { Write(before_); }

private:
  void Write(long value) {
    std::ofstream(path_) << value << std::flush;
    EXPECT_EQ(ReadSysctl(path_), value) << path_;
  }

  const char *path_;
  long before_;
};

// What each test here begins with.
class Machine : public testing::Test {
protected:
  void SetUp() override {
    ASSERT_NE(getenv("RINGFALL_SPARE_DISK"), nullptr)
        << "this is for virtual machines that are there for nothing else: see run.sh";
  }
};

class RingsDisabled : public Machine {
protected:
  void SetUp() override {
    Machine::SetUp();
    if (ReadSysctl(kRings) < 0) GTEST_SKIP() << "needs kernel.io_uring_disabled (Linux 6.6)";
  }

  // The sysctl and nothing else is named, libaio chosen, and it works.
  static void ExpectLibaioAndTheSysctlNamed(const char *value) {
    Rig rig;
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    const rf_verdict &verdict = rig.Verdict(RF_BACKEND_IO_URING);
    EXPECT_FALSE(verdict.usable);
    EXPECT_EQ(verdict.stage, RF_STAGE_SETUP);
    EXPECT_STREQ(verdict.syscall, "io_uring_setup");
    EXPECT_EQ(verdict.error, EPERM);
    EXPECT_EQ(verdict.cause, RF_CAUSE_SYSCTL) << rf_cause_name(verdict.cause);
    EXPECT_TRUE(Contains(verdict.why, std::string("kernel.io_uring_disabled is ") + value))
        << verdict.why;
    EXPECT_FALSE(Contains(verdict.why, "seccomp")) << verdict.why;
    EXPECT_TRUE(Contains(verdict.remedy, "kernel.io_uring")) << verdict.remedy;
    EXPECT_EQ(rf_engine_host(rig.engine)->selected, RF_BACKEND_LIBAIO);
    EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_LIBAIO);
    EXPECT_TRUE(rig.Logged(RF_LOG_WARNING, {"kernel.io_uring_disabled"})) << rig.Log();
    EXPECT_TRUE(rig.RoundTrip());
  }
};

TEST_F(RingsDisabled, ForAllLeadsToLibaioAndIsNamed) {
  Sysctl disabled(kRings, 2);
  ExpectLibaioAndTheSysctlNamed("2");
}

TEST_F(RingsDisabled, ForOrdinaryUsersLeadsThemToLibaioAndIsNamed) {
  Sysctl disabled(kRings, 1);
  RF_IN_CHILD({
    Rig rig;
    rig.OpenFile();
    ASSERT_EQ(setgroups(0, nullptr), 0);
    ASSERT_EQ(setresgid(kNobody, kNobody, kNobody), 0);
    ASSERT_EQ(setresuid(kNobody, kNobody, kNobody), 0);
    setenv("TEST_TMPDIR", "/dev/shm", 1); // anybody may write there
    ExpectLibaioAndTheSysctlNamed("1");
  });
}

TEST_F(RingsDisabled, ForOrdinaryUsersLeavesRootItsRings) {
  Sysctl disabled(kRings, 1);
  Rig rig;
  ASSERT_EQ(rig.Open(), 0) << rig.Log();
  EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_IO_URING) << rig.Log();
  EXPECT_TRUE(rig.RoundTrip());
}

TEST_F(RingsDisabled, WhileAQueueIsOpenLeavesItsRingAtWorkAndNewQueuesFindLibaio) {
  Rig rig;
  ASSERT_EQ(rig.Open(), 0) << rig.Log();
  ASSERT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_IO_URING) << rig.Log();
  Sysctl disabled(kRings, 2);
  EXPECT_TRUE(rig.RoundTrip());
  ASSERT_EQ(rig.CloseQueue(), 0);
  ASSERT_EQ(rig.OpenQueue(), 0) << rig.Log();
  EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_LIBAIO);
  EXPECT_TRUE(rig.RoundTrip());
}

void ExpectNoContexts(const rf_verdict &verdict) {
  EXPECT_FALSE(verdict.usable);
  EXPECT_STREQ(verdict.syscall, "io_setup");
  EXPECT_EQ(verdict.error, EAGAIN);
  EXPECT_EQ(verdict.cause, RF_CAUSE_AIO_MAX_NR) << rf_cause_name(verdict.cause);
  EXPECT_TRUE(Contains(verdict.why, "fs.aio-max-nr")) << verdict.why;
  EXPECT_TRUE(Contains(verdict.remedy, "fs.aio-max-nr")) << verdict.remedy;
}

class NoContexts : public Machine {};

TEST_F(NoContexts, AtAllIsNamedByTheVerdictAndRingsGoOn) {
  Sysctl none(kContexts, 0);
  rf_host host;
  ASSERT_EQ(rf_probe_host(nullptr, &host), 0);
  ExpectNoContexts(host.verdicts[RF_BACKEND_LIBAIO]);
  Rig rig;
  ASSERT_EQ(rig.Open(), 0) << rig.Log();
  EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_IO_URING) << rig.Log();
  EXPECT_TRUE(rig.RoundTrip());
}

TEST_F(NoContexts, AndRingsFilteredLeadToThreads) {
  Sysctl none(kContexts, 0);
  RF_IN_CHILD({
    ASSERT_EQ(seccomp_filter::Install({seccomp_filter::Deny(SYS_io_uring_setup, EPERM)}), 0);
    Rig rig;
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_THREADS);
    EXPECT_EQ(rig.Verdict(RF_BACKEND_IO_URING).cause, RF_CAUSE_SECCOMP);
    ExpectNoContexts(rig.Verdict(RF_BACKEND_LIBAIO));
    EXPECT_TRUE(rig.RoundTrip());
  });
}

TEST_F(RingsDisabled, AndNoContextsLeadToThreadsAndTwoVerdicts) {
  Sysctl disabled(kRings, 2);
  Sysctl none(kContexts, 0);
  Rig rig;
  ASSERT_EQ(rig.Open(), 0) << rig.Log();
  EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_THREADS);
  EXPECT_EQ(rig.Verdict(RF_BACKEND_IO_URING).cause, RF_CAUSE_SYSCTL);
  ExpectNoContexts(rig.Verdict(RF_BACKEND_LIBAIO));
  EXPECT_TRUE(rig.RoundTrip());
}

// ---- a machine that was started with sysctls on the kernel's command line ----------------------

TEST_F(RingsDisabled, SinceTheMachineStartedLeadsToLibaioAndIsNamed) {
  if (getenv("RINGFALL_STARTED_WITHOUT_RINGS") == nullptr)
    GTEST_SKIP() << "needs a machine that was started without io_uring";
  ASSERT_EQ(ReadSysctl(kRings), 2) << "sysctl.kernel.io_uring_disabled=2 did nothing";
  ExpectLibaioAndTheSysctlNamed("2");
}

// ---- restricted rings --------------------------------------------------------------------------

TEST_F(Machine, ARestrictedQueueHasARingOnEveryKernel) {
  Rig rig;
  rig.queue_options.restricted = true;
  rig.engine_options.choice = RF_CHOICE_REQUIRE;
  rig.engine_options.backend = RF_BACKEND_IO_URING;
  ASSERT_EQ(rig.Open(), 0) << rig.Log();
  EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_IO_URING) << rig.Log();
  EXPECT_TRUE(rig.RoundTrip());
}

// ---- polling -----------------------------------------------------------------------------------

// The interrupts that NVMe disks have raised.
uint64_t Interrupts() {
  std::ifstream table("/proc/interrupts");
  uint64_t sum = 0;
  for (std::string line; std::getline(table, line);) {
    if (!Contains(line, "nvme")) continue;
    const char *at = line.c_str() + line.find(':') + 1;
    char *end;
    for (uint64_t count = strtoull(at, &end, 10); end != at; count = strtoull(at, &end, 10)) {
      sum += count;
      at = end;
    }
  }
  return sum;
}

class Polling : public Machine {
protected:
  static constexpr unsigned kBlocks = 64;
  static constexpr size_t kBlock = 4096;

  void SetUp() override {
    Machine::SetUp();
    if (HasFatalFailure()) return;
    disk = getenv("RINGFALL_SPARE_DISK");
    ASSERT_EQ(posix_memalign(&memory, kBlock, kBlocks * kBlock), 0);
    rig.engine_options.choice = RF_CHOICE_REQUIRE;
    rig.engine_options.backend = RF_BACKEND_IO_URING;
  }
  void TearDown() override { free(memory); }

  void Open(const std::string &name, bool polled) {
    path = name;
    rig.queue_options.iopoll = polled;
    rig.fd = open(path.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    ASSERT_GE(rig.fd, 0) << path << ": " << strerror(errno);
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    ASSERT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_IO_URING);
  }

  char *Block(unsigned i) { return static_cast<char *>(memory) + i * kBlock; }

  void Transfer(rf_op_kind kind) {
    std::vector<rf_op> ops;
    for (unsigned i = 0; i < kBlocks; i++) {
      ops.push_back(rf_op_read(rig.file, Block(i), kBlock, i * kBlock, i));
      ops.back().kind = static_cast<uint8_t>(kind);
    }
    std::vector<rf_completion> done = rig.Do(ops);
    EXPECT_TRUE(rig.Completed(done, kBlocks, kBlock));
    for (const rf_completion &one : done) EXPECT_EQ(one.backend, RF_BACKEND_IO_URING);
  }

  // Writes, reads back, compares; through the queue.
  void RoundTrip(uint32_t seed) {
    std::string data = Pattern(kBlocks * kBlock, seed);
    memcpy(memory, data.data(), data.size());
    Transfer(RF_OP_WRITE);
    memset(memory, 0, data.size());
    Transfer(RF_OP_READ);
    EXPECT_EQ(memcmp(memory, data.data(), data.size()), 0) << "read back other bytes";
    std::string stored(data.size(), '\0');
    std::ifstream(path, std::ios::binary)
        .read(stored.data(), static_cast<std::streamsize>(stored.size()));
    EXPECT_TRUE(stored == data) << "the file has other bytes";
  }

  std::string disk, path;
  void *memory = nullptr;
  Rig rig;
};

// The queue for polling has no interrupt; without polling each batch raises some, which shows that
// they are counted here.
TEST_F(Polling, OfADeviceMovesTheRightBytesWithoutAnInterrupt) {
  Open(disk, true);
  if (HasFatalFailure()) return;
  std::string data = Pattern(kBlocks * kBlock, 5);
  memcpy(memory, data.data(), data.size());
  uint64_t before = Interrupts();
  Transfer(RF_OP_WRITE);
  memset(memory, 0, data.size());
  Transfer(RF_OP_READ);
  EXPECT_EQ(Interrupts(), before) << "the disk was not polled";
  EXPECT_EQ(memcmp(memory, data.data(), data.size()), 0) << "read back other bytes";
}

TEST_F(Polling, LeftOffRaisesInterrupts) {
  Open(disk, false);
  if (HasFatalFailure()) return;
  uint64_t before = Interrupts();
  RoundTrip(6);
  EXPECT_GT(Interrupts(), before);
}

TEST_F(Polling, OfAFileMovesTheRightBytes) {
  Open(std::string(getenv("TEST_TMPDIR")) + "/polled", true);
  if (HasFatalFailure()) return;
  RoundTrip(7); // allocates
  RoundTrip(8); // writes over
  unlink(path.c_str());
}

TEST_F(Polling, LetsOtherOpsRunOnWorkers) {
  Open(std::string(getenv("TEST_TMPDIR")) + "/polled", true);
  if (HasFatalFailure()) return;
  RoundTrip(9);
  rf_completion done = rig.Do(rf_op_fdatasync(rig.file, 1));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.backend, RF_BACKEND_THREADS);
  unlink(path.c_str());
}

} // namespace
