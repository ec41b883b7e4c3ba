// SPDX-License-Identifier: Apache-2.0
// A backend that the kernel denies in mid-flight: seccomp filters that are put up while a queue of
// 128 is busy with reads and writes.
//
// Every write carries a number of its own.  As soon as one completes, the test puts its own mark
// over it by a plain write: a write that ran a second time, or late, would wipe the mark out.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <ringfall/ringfall.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "tests/in_child.h"
#include "tests/queue_rig.h"
#include "tests/seccomp_filter.h"

namespace {

using queue_rig::kLostNs;
using queue_rig::Rig;
using seccomp_filter::Deny;

constexpr size_t kBlock = 4096;
constexpr unsigned kOps = 1200, kDepth = 128;

struct Memory {
  explicit Memory(size_t size) : base(static_cast<char *>(aligned_alloc(kBlock, size))) {}
  ~Memory() { free(base); }
  char *base;
};

void Number(char *block, uint64_t number) {
  for (size_t at = 0; at < kBlock; at += sizeof(number))
    memcpy(block + at, &number, sizeof(number));
}

bool IsNumber(const char *block, uint64_t number) {
  std::vector<char> right(kBlock);
  Number(right.data(), number);
  return memcmp(block, right.data(), kBlock) == 0;
}

constexpr uint64_t kOld = 1, kMark = UINT64_C(1) << 60, kNew = UINT64_C(1) << 40;

// The load: op i reads (odd) or writes (even) block i, in a file that is full of old blocks.
class Load {
public:
  explicit Load(bool direct) : memory_(kOps * kBlock), direct_(direct) {}

  void Open(rf_backend_id prefer) {
    rig.OpenFile();
    Memory old(kBlock);
    Number(old.base, kOld);
    for (unsigned i = 0; i < kOps; i++)
      ASSERT_EQ(pwrite(rig.fd, old.base, kBlock, i * kBlock), static_cast<ssize_t>(kBlock));
    ASSERT_EQ(fsync(rig.fd), 0);
    if (direct_ && fcntl(rig.fd, F_SETFL, O_DIRECT) != 0) in_child::Skip("direct I/O");
    rig.engine_options.choice = RF_CHOICE_PREFER;
    rig.engine_options.backend = prefer;
    rig.queue_options.depth = kDepth;
    ASSERT_EQ(rig.Open(), 0);
    if (rf_queue_backend(rig.queue) != prefer) in_child::Skip(rf_backend_name(prefer));
  }

  // Keeps the queue full; `deny` is called when so many have completed.
  void Run(unsigned before, const std::function<void()> &deny) {
    std::set<uint64_t> seen;
    unsigned next = 0;
    bool denied = false;
    while (seen.size() < kOps) {
      Submit(&next);
      if (!denied && seen.size() >= before) {
        ASSERT_EQ(rf_flush(rig.queue), 0);
        deny();
        denied = true;
      }
      rf_completion done[32];
      int n = rf_wait(rig.queue, done, 1, 32, kLostNs);
      ASSERT_GT(n, 0) << "lost after " << seen.size() << "\n" << rig.Log();
      for (int i = 0; i < n; i++) {
        ASSERT_TRUE(seen.insert(done[i].user_data).second) << "completed twice";
        Check(done[i]);
      }
    }
    rf_completion more;
    EXPECT_EQ(rf_wait(rig.queue, &more, 0, 1, 0), 0);
  }

  // After everything has been closed, so that nothing can come late.
  void CheckFile() {
    ASSERT_EQ(rig.CloseQueue(), 0);
    Memory back(kBlock);
    for (unsigned i = 0; i < kOps; i++) {
      ASSERT_EQ(pread(rig.fd, back.base, kBlock, i * kBlock), static_cast<ssize_t>(kBlock));
      if (lost_.count(i) > 0) continue;
      EXPECT_TRUE(IsNumber(back.base, i % 2 == 1 ? kOld : kMark + i))
          << "block " << i << (i % 2 == 1 ? " was written" : " was written again");
    }
  }

  size_t lost() const { return lost_.size(); }

  Rig rig;

private:
  void Submit(unsigned *next) {
    for (; *next < kOps; ++*next) {
      unsigned i = *next;
      char *at = memory_.base + i * kBlock;
      Number(at, i % 2 == 0 ? kNew + i : 0);
      rf_op op = i % 2 == 0 ? rf_op_write(rig.file, at, kBlock, i * kBlock, i)
                            : rf_op_read(rig.file, at, kBlock, i * kBlock, i);
      if (rf_submit(rig.queue, &op, 1) != 1) return;
    }
  }

  void Check(const rf_completion &done) {
    auto i = static_cast<unsigned>(done.user_data);
    if (done.status == -EOWNERDEAD && i % 2 == 0) {
      lost_.insert(i);
      return;
    }
    ASSERT_EQ(done.status, 0) << "op " << i;
    ASSERT_EQ(done.bytes, static_cast<int64_t>(kBlock));
    if (i % 2 == 1) {
      EXPECT_TRUE(IsNumber(memory_.base + i * kBlock, kOld)) << i;
      Number(memory_.base + i * kBlock, 0); // what comes after the completion is seen at the end
      return;
    }
    Memory mark(kBlock);
    Number(mark.base, kMark + i);
    ASSERT_EQ(pwrite(rig.fd, mark.base, kBlock, i * kBlock), static_cast<ssize_t>(kBlock));
  }

  Memory memory_;
  bool direct_;
  std::set<unsigned> lost_;
};

unsigned ErrorsLogged(const Rig &rig, const std::string &part) {
  unsigned n = 0;
  for (const auto &line : rig.log)
    n += line.first == RF_LOG_ERROR && line.second.find(part) != std::string::npos;
  return n;
}

void InstallOrSkip(std::initializer_list<seccomp_filter::Rule> rules) {
  if (seccomp_filter::Install(rules) != 0) in_child::Skip("seccomp filters");
}

bool Usable(rf_backend_id id) {
  rf_host host;
  return rf_probe_host(nullptr, &host) == 0 && host.verdicts[id].usable;
}

class Failover : public testing::TestWithParam<std::tuple<bool, unsigned>> {
protected:
  bool direct() const { return std::get<0>(GetParam()); }
  unsigned before() const { return std::get<1>(GetParam()); }
};

TEST_P(Failover, OfADeniedRingGoesOnWithLibaio) {
  RF_IN_CHILD({
    bool libaio = Usable(RF_BACKEND_LIBAIO);
    Load load(direct());
    load.Open(RF_BACKEND_IO_URING);
    load.Run(before(), [] { InstallOrSkip({Deny(SYS_io_uring_enter, EPERM)}); });
    rf_counters counters = load.rig.Counters();
    EXPECT_EQ(counters.deaths, 1u);
    EXPECT_EQ(counters.lost, load.lost());
    EXPECT_EQ(ErrorsLogged(load.rig, "io_uring stopped taking requests (io_uring_enter: " +
                                         std::string(strerror(EPERM))),
              1u)
        << load.rig.Log();
    EXPECT_EQ(rf_queue_backend(load.rig.queue), libaio ? RF_BACKEND_LIBAIO : RF_BACKEND_THREADS);
    printf("%zu lost\n", load.lost());
    load.CheckFile();
  });
}

TEST_P(Failover, OfADeniedContextGoesOnWithTheRing) {
  RF_IN_CHILD({
    bool ring = Usable(RF_BACKEND_IO_URING);
    Load load(direct());
    load.Open(RF_BACKEND_LIBAIO);
    load.Run(before(), [] { InstallOrSkip({Deny(SYS_io_submit, EPERM)}); });
    EXPECT_EQ(load.rig.Counters().deaths, 1u);
    EXPECT_EQ(load.lost(), 0u) << "its answers can be read all the same";
    EXPECT_EQ(ErrorsLogged(load.rig, "libaio stopped taking requests (io_submit: "), 1u);
    EXPECT_EQ(rf_queue_backend(load.rig.queue), ring ? RF_BACKEND_IO_URING : RF_BACKEND_THREADS);
    load.CheckFile();
  });
}

TEST_P(Failover, OfOneAfterTheOtherEndsWithThreads) {
  RF_IN_CHILD({
    if (!Usable(RF_BACKEND_LIBAIO)) in_child::Skip("libaio");
    Load load(direct());
    load.Open(RF_BACKEND_IO_URING);
    load.Run(before(), [] {
      InstallOrSkip({Deny(SYS_io_uring_enter, ENOSYS), Deny(SYS_io_submit, EPERM)});
    });
    EXPECT_EQ(load.rig.Counters().deaths, 2u);
    EXPECT_EQ(load.rig.Counters().generation, 3u);
    EXPECT_EQ(rf_queue_backend(load.rig.queue), RF_BACKEND_THREADS);
    load.CheckFile();
  });
}

TEST_P(Failover, OfEverythingThatALibaioQueueCallsReadsTheAnswersInItsRing) {
  RF_IN_CHILD({
    Load load(direct());
    load.Open(RF_BACKEND_LIBAIO);
    load.Run(before(), [] {
      InstallOrSkip({Deny(SYS_io_submit, EPERM), Deny(SYS_io_getevents, EPERM),
                     Deny(SYS_io_pgetevents, EPERM)});
    });
    EXPECT_EQ(load.lost(), 0u);
    load.CheckFile();
  });
}

INSTANTIATE_TEST_SUITE_P(Under, Failover,
                         testing::Combine(testing::Bool(), testing::Values(0u, 100u, 1000u)),
                         [](const auto &given) {
                           return std::string(std::get<0>(given.param) ? "Direct" : "Buffered") +
                                  "After" + std::to_string(std::get<1>(given.param));
                         });

// The ring's answers can be got at on kernels that map rings as ordinary pages.
TEST(Salvage, BringsBackTheTrueAnswersOfDirectWrites) {
  RF_IN_CHILD({
    Load load(true);
    load.Open(RF_BACKEND_IO_URING);
    load.Run(100, [] { InstallOrSkip({Deny(SYS_io_uring_enter, EPERM)}); });
    if (load.lost() > 0) in_child::Skip("a kernel that lends the pages of a ring (Linux 6.10)");
  });
}

TEST(Salvage, TakesAReadThatWaitsOutOfTheRingAndDoesItElsewhere) {
  RF_IN_CHILD({
    int ends[2];
    Load load(false);
    load.Open(RF_BACKEND_IO_URING);
    ASSERT_EQ(pipe(ends), 0);
    rf_file *pipe_file = nullptr;
    ASSERT_EQ(rf_file_from_fd(load.rig.engine, ends[0], false, &pipe_file), 0);
    char got = 0;
    rf_op slow = rf_op_read(pipe_file, &got, 1, 0, kOps);
    ASSERT_EQ(rf_submit(load.rig.queue, &slow, 1), 1);
    ASSERT_EQ(rf_flush(load.rig.queue), 0);
    InstallOrSkip({Deny(SYS_io_uring_enter, EPERM)});
    rf_completion done;
    ASSERT_EQ(rf_wait(load.rig.queue, &done, 1, 1, 100000000), 0);
    EXPECT_EQ(load.rig.Counters().deaths, 1u) << load.rig.Log();
    ASSERT_EQ(write(ends[1], "!", 1), 1);
    ASSERT_EQ(rf_wait(load.rig.queue, &done, 1, 1, kLostNs), 1);
    EXPECT_EQ(done.status, 0);
    EXPECT_EQ(got, '!');
    ASSERT_EQ(load.rig.CloseQueue(), 0);
    EXPECT_EQ(rf_file_close(pipe_file), 0);
  });
}

TEST(Salvage, LetsAQueueCloseThatCanNoLongerEnterItsRing) {
  RF_IN_CHILD({
    Load load(true);
    load.Open(RF_BACKEND_IO_URING);
    std::string data(kBlock * 64, 'x');
    std::vector<rf_op> ops = load.rig.Blocks(RF_OP_WRITE, &data, kBlock);
    ASSERT_EQ(rf_submit(load.rig.queue, ops.data(), 64), 64);
    ASSERT_EQ(rf_flush(load.rig.queue), 0);
    InstallOrSkip({Deny(SYS_io_uring_enter, EPERM)});
    EXPECT_EQ(load.rig.CloseQueue(), 0);
  });
}

} // namespace
