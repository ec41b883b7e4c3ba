// SPDX-License-Identifier: Apache-2.0
// Which way a transfer takes where the backend is left to the library: by file, direction, policy
// and the backend there is; what is learned on the way; and that data, waiting and errors are the
// same on each.
//
// The core is watched through tests/observed_backend.h; a backend that it is to do without cannot
// be opened.  Loop devices and other file systems are made in children, by root.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <ringfall/ringfall.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "tests/in_child.h"
#include "tests/loop_device.h"
#include "tests/observed_backend.h"
#include "tests/queue_rig.h"
#include "tests/raw_host.h"

namespace {

using observed::CountFlag;
using observed::Seen;
using queue_rig::kLostNs;
using queue_rig::Pattern;
using queue_rig::Rig;

constexpr size_t kBlock = 4096;
constexpr size_t kBlocks = 16;
constexpr size_t kSize = kBlock * kBlocks;

enum Way { kMain, kMainNowait, kHere, kHereNowait, kWorkers, kCalls };

const char *NameOf(Way way) {
  static const char *const names[] = {"main",         "main, nowait", "here",
                                      "here, nowait", "workers",      "calls"};
  return names[way];
}

std::string NewPath(const std::string &directory) {
  std::string path = directory + "/ringfall-test-XXXXXX";
  int fd = mkstemp(path.data());
  if (fd < 0) return "";
  close(fd);
  return path;
}

std::string DiskDirectory() {
  const char *given = getenv("TEST_TMPDIR");
  return given != nullptr ? given : "/tmp";
}

// ---- what is expected --------------------------------------------------------------------------

// What the probe says of a file, in the words of route.c.
enum Class { kOther, kDirect, kNowait, kWaits, kUnknown };

Class ClassOf(const rf_file_info &info, bool write) {
  if (write && !info.nowait_write_tried) return kUnknown;
  bool nowait = write ? info.nowait_write : info.nowait_read;
  if (info.direct) return nowait ? kDirect : kOther;
  return nowait ? kNowait : kWaits;
}

// What every op but the first takes, once the first has told of an unknown file.
Way Expected(rf_backend_id main, rf_policy policy, Class file, bool write) {
  bool may_block = policy == RF_POLICY_MAY_BLOCK;
  if (file == kOther) return kMain;
  if (main == RF_BACKEND_IO_URING) {
    if (file != kWaits || !may_block) return kMain;
    return raw_host::Works(RF_BACKEND_LIBAIO) ? kCalls : kHere;
  }
  if (file == kDirect) {
    bool extends = main == RF_BACKEND_LIBAIO && write && !may_block; // might allocate, and block
    return extends ? kMainNowait : kMain;
  }
  if (file == kNowait) {
    if (may_block && write) return main == RF_BACKEND_LIBAIO ? kMain : kHere;
    return main == RF_BACKEND_LIBAIO ? kMainNowait : kHereNowait;
  }
  if (may_block) return main == RF_BACKEND_LIBAIO ? kMain : kHere;
  return main == RF_BACKEND_LIBAIO ? kWorkers : kMain;
}

Way WayOf(const Seen &one, rf_backend_id main) {
  bool nowait = one.Has(RF_REQUEST_NOWAIT);
  if (one.Has(RF_REQUEST_HERE)) return nowait ? kHereNowait : kHere;
  if (one.backend != main) return one.backend == RF_BACKEND_LIBAIO ? kCalls : kWorkers;
  return nowait ? kMainNowait : kMain;
}

// ---- the fixture -------------------------------------------------------------------------------

// An engine that chooses by itself, and for which `main` is the best that can be opened.
class Routed {
public:
  Routed(rf_backend_id main, rf_policy policy) {
    for (int id = 0; id < main; id++) backends.Without(static_cast<rf_backend_id>(id));
    rig.queue_options.policy = policy;
  }

  int Open(const std::string &path, int flags) {
    rig.fd = open(path.c_str(), flags | O_CLOEXEC);
    if (rig.fd < 0) return -errno;
    int status = rig.Open(backends.substitute());
    backends.Take();
    return status;
  }

  const rf_file_info &info() const { return *rf_file_get_info(rig.file); }

  observed::Backends backends;
  Rig rig;
};

// Memory that suits direct I/O.
class Aligned {
public:
  explicit Aligned(size_t size)
      : size_(size), at_(static_cast<char *>(aligned_alloc(kBlock, size))) {
    memset(at_, 0, size);
  }
  Aligned(const Aligned &) = delete;
  Aligned &operator=(const Aligned &) = delete;
  ~Aligned() { free(at_); }
  char *data() { return at_; }
  std::string text() const { return std::string(at_, size_); }

private:
  size_t size_;
  char *at_;
};

std::vector<rf_op> Blocks(rf_file *file, rf_op_kind kind, char *data) {
  std::vector<rf_op> ops;
  for (size_t i = 0; i < kBlocks; i++) {
    char *at = data + i * kBlock;
    ops.push_back(kind == RF_OP_READ ? rf_op_read(file, at, kBlock, i * kBlock, i)
                                     : rf_op_write(file, at, kBlock, i * kBlock, i));
  }
  return ops;
}

void ExpectWay(const std::vector<Seen> &seen, rf_backend_id main, Way expected) {
  EXPECT_GE(seen.size(), kBlocks);
  for (const Seen &one : seen)
    EXPECT_STREQ(NameOf(WayOf(one, main)), NameOf(expected)) << "block " << one.offset / kBlock;
}

void ExpectBackend(const std::vector<rf_completion> &all, rf_backend_id expected) {
  for (const rf_completion &done : all)
    EXPECT_EQ(done.backend, expected) << "op " << done.user_data;
}

// Written twice, so that an unknown file is known, and all blocks are there; read while cached.
void Expect(Routed *routed, rf_backend_id main, rf_policy policy) {
  Rig &rig = routed->rig;
  ASSERT_EQ(rf_queue_backend(rig.queue), main) << rig.Log();
  Aligned data(kSize), back(kSize);
  std::string pattern = Pattern(kSize, 3);
  memcpy(data.data(), pattern.data(), kSize);
  EXPECT_TRUE(rig.Completed(rig.Do(Blocks(rig.file, RF_OP_WRITE, data.data())), kBlocks, kBlock));
  ASSERT_EQ(fsync(rig.fd), 0);
  bool unknown = !routed->info().nowait_write_tried;
  std::vector<Seen> first = routed->backends.Take();
  for (bool write : {true, false}) {
    rf_counters before = rig.Counters();
    rf_op_kind kind = write ? RF_OP_WRITE : RF_OP_READ;
    char *memory = write ? data.data() : back.data();
    std::vector<rf_completion> all = rig.Do(Blocks(rig.file, kind, memory));
    EXPECT_TRUE(rig.Completed(all, kBlocks, kBlock));
    std::vector<Seen> seen = routed->backends.Take();
    rf_counters after = rig.Counters();
    Class file = ClassOf(routed->info(), write);
    if (file == kUnknown && main == RF_BACKEND_IO_URING && policy == RF_POLICY_NEVER_BLOCK) {
      ExpectWay(seen, main, kMain); // asks nobody
      continue;
    }
    SCOPED_TRACE(write ? "writes" : "reads");
    if (file == kUnknown && unknown) { // what the test finds out itself
      iovec one = {data.data(), kBlock};
      ssize_t moved = pwritev2(rig.fd, &one, 1, 0, RWF_NOWAIT);
      bool supported = moved > 0 || errno == EAGAIN;
      file = supported ? kNowait : kWaits;
      bool asks = policy == RF_POLICY_NEVER_BLOCK || main == RF_BACKEND_IO_URING;
      EXPECT_EQ(CountFlag(first, RF_REQUEST_NOWAIT) > 0, asks);
      if (!asks) { // MAY_BLOCK with libaio or threads need not know
        ExpectWay(seen, main, main == RF_BACKEND_LIBAIO ? kMain : kHere);
        continue;
      }
      if (main == RF_BACKEND_IO_URING && supported) file = kNowait;
    }
    Way way = Expected(main, policy, file, write);
    if (way == kMainNowait || way == kHereNowait) {
      // What would have blocked was put off to workers; the rest stayed.
      EXPECT_GT(CountFlag(seen, RF_REQUEST_NOWAIT), 0u);
      continue;
    }
    ExpectWay(seen, main, way);
    bool elsewhere = way == kHere || way == kWorkers || way == kCalls;
    ExpectBackend(all, way == kCalls ? RF_BACKEND_LIBAIO : elsewhere ? RF_BACKEND_THREADS : main);
    rf_fallback_reason reason = way == kWorkers ? RF_FALLBACK_WOULD_BLOCK : RF_FALLBACK_CHEAPER;
    uint64_t count = after.fell_back[kind][reason] - before.fell_back[kind][reason];
    EXPECT_EQ(count, elsewhere && main != RF_BACKEND_THREADS ? kBlocks : 0u);
  }
  EXPECT_TRUE(back.text() == pattern);
  EXPECT_TRUE(rig.Content(kSize) == pattern || routed->info().direct);
  EXPECT_EQ(rig.Counters().failed, 0u);
}

using Param = std::tuple<rf_backend_id, rf_policy>;

std::string ParamName(const testing::TestParamInfo<Param> &given) {
  std::string name = rf_backend_name(std::get<0>(given.param));
  return name + (std::get<1>(given.param) == RF_POLICY_MAY_BLOCK ? "_MayBlock" : "_NeverBlock");
}

class Route : public testing::TestWithParam<Param> {
protected:
  void SetUp() override {
    if (!raw_host::Works(main())) GTEST_SKIP() << "needs " << rf_backend_name(main());
  }
  void TearDown() override {
    for (const std::string &path : paths_) unlink(path.c_str());
  }
  rf_backend_id main() const { return std::get<0>(GetParam()); }
  rf_policy policy() const { return std::get<1>(GetParam()); }
  bool may_block() const { return policy() == RF_POLICY_MAY_BLOCK; }

  std::string New(const std::string &directory) {
    paths_.push_back(NewPath(directory));
    return paths_.back();
  }
  // A file in memory, or "" with the test skipped.
  std::string NewInMemory() {
    return access("/dev/shm", W_OK) == 0 ? New("/dev/shm") : std::string();
  }

private:
  std::vector<std::string> paths_;
};

// ---- by file -----------------------------------------------------------------------------------

TEST_P(Route, FilesInMemoryGoTheWayThatSuitsThem) {
  std::string path = NewInMemory();
  if (path.empty()) GTEST_SKIP() << "needs a tmpfs at /dev/shm";
  Routed routed(main(), policy());
  ASSERT_EQ(routed.Open(path, O_RDWR), 0) << routed.rig.Log();
  Expect(&routed, main(), policy());
}

TEST_P(Route, BufferedFilesOnADiskGoTheWayThatSuitsThem) {
  Routed routed(main(), policy());
  ASSERT_EQ(routed.Open(New(DiskDirectory()), O_RDWR), 0) << routed.rig.Log();
  Expect(&routed, main(), policy());
}

TEST_P(Route, DirectFilesGoTheWayThatSuitsThem) {
  Routed routed(main(), policy());
  int status = routed.Open(New(DiskDirectory()), O_RDWR | O_DIRECT);
  if (status == -EINVAL) GTEST_SKIP() << "needs O_DIRECT in " << DiskDirectory();
  ASSERT_EQ(status, 0) << routed.rig.Log();
  Expect(&routed, main(), policy());
}

TEST_P(Route, BlockDevicesGoTheWayThatSuitsThem) {
  std::string backing = New(DiskDirectory());
  ASSERT_EQ(truncate(backing.c_str(), 1 << 20), 0);
  RF_IN_CHILD({
    loop_device::Loop loop(backing);
    if (!loop.missing().empty()) in_child::Skip(loop.missing());
    for (int flags : {O_RDWR, O_RDWR | O_DIRECT}) {
      SCOPED_TRACE(flags & O_DIRECT ? "direct" : "buffered");
      Routed routed(main(), policy());
      ASSERT_EQ(routed.Open(loop.path(), flags), 0) << routed.rig.Log();
      Expect(&routed, main(), policy());
    }
  });
}

class OtherFileSystem : public testing::TestWithParam<std::tuple<Param, const char *>> {};

// What the first write of the program tells: these have buffered writes without blocking, and that
// cannot be probed without a risk.
TEST_P(OtherFileSystem, IsLearnedFromTheFirstWrite) {
  const auto &[param, system] = GetParam();
  const auto &[main, policy] = param;
  if (!raw_host::Works(main)) GTEST_SKIP() << "needs " << rf_backend_name(main);
  std::string make = std::string("/sbin/mkfs.") + system;
  if (access(make.c_str(), X_OK) != 0) GTEST_SKIP() << "needs " << make;
  std::string image = NewPath(DiskDirectory());
  ASSERT_EQ(truncate(image.c_str(), 512 << 20), 0); // the least that mkfs.xfs takes is 300 MiB
  rf_backend_id id = main;
  rf_policy how = policy;
  std::string name = system;
  RF_IN_CHILD({
    if (std::system((make + " -q " + image).c_str()) != 0) in_child::Skip(make + " that works");
    loop_device::Loop loop(image);
    if (!loop.missing().empty()) in_child::Skip(loop.missing());
    std::string point = DiskDirectory() + "/ringfall-mount-XXXXXX";
    if (mkdtemp(point.data()) == nullptr || unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount(loop.path().c_str(), point.c_str(), name.c_str(), 0, nullptr) != 0)
      in_child::Skip("root and a kernel with " + name);
    {
      Routed routed(id, how);
      ASSERT_EQ(routed.Open(NewPath(point), O_RDWR), 0) << routed.rig.Log();
      EXPECT_FALSE(routed.info().nowait_write_tried) << "or this shows nothing";
      Expect(&routed, id, how);
    }
    {
      Routed routed(id, how);
      ASSERT_EQ(routed.Open(NewPath(point), O_RDWR | O_DIRECT), 0) << routed.rig.Log();
      Expect(&routed, id, how);
    }
    EXPECT_EQ(umount(point.c_str()), 0) << strerror(errno);
    rmdir(point.c_str());
  });
  unlink(image.c_str());
}

INSTANTIATE_TEST_SUITE_P(
    Systems, OtherFileSystem,
    testing::Combine(testing::Combine(testing::Values(RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO,
                                                      RF_BACKEND_THREADS),
                                      testing::Values(RF_POLICY_NEVER_BLOCK, RF_POLICY_MAY_BLOCK)),
                     testing::Values("xfs", "btrfs")),
    [](const auto &given) {
      const Param &param = std::get<0>(given.param);
      return ParamName(testing::TestParamInfo<Param>(param, given.index)) + "_" +
             std::get<1>(given.param);
    });

// ---- what the policy promises ------------------------------------------------------------------

// As a call of this thread: libaio makes it in io_submit, for buffered files and new ones.
bool IsDoneHere(const Seen &one) {
  bool transfer = one.kind == RF_REQUEST_READ || one.kind == RF_REQUEST_WRITE;
  return one.Has(RF_REQUEST_HERE) || (one.backend == RF_BACKEND_LIBAIO && transfer);
}

// On this thread a call is made under NEVER_BLOCK only if the kernel is told not to block.
TEST_P(Route, NeverBlockMakesNoCallOnThisThreadThatMayBlock) {
  if (may_block()) return; // the other half of the parameters has nothing to promise
  for (const std::string &directory : {DiskDirectory(), std::string("/dev/shm")}) {
    if (access(directory.c_str(), W_OK) != 0) continue;
    Routed routed(main(), policy());
    ASSERT_EQ(routed.Open(New(directory), O_RDWR), 0) << routed.rig.Log();
    EXPECT_TRUE(routed.rig.RoundTrip(kBlocks));
    std::vector<Seen> seen = routed.backends.Take();
    ASSERT_GT(seen.size(), 2 * kBlocks);
    for (const Seen &one : seen)
      EXPECT_TRUE(!IsDoneHere(one) || one.Has(RF_REQUEST_NOWAIT))
          << directory << ": " << NameOf(WayOf(one, main()));
  }
}

TEST_P(Route, WhatIsLongIsNeverDoneOnThisThread) {
  std::string path = NewInMemory();
  if (path.empty()) GTEST_SKIP() << "needs a tmpfs at /dev/shm";
  Routed routed(main(), policy());
  ASSERT_EQ(routed.Open(path, O_RDWR), 0) << routed.rig.Log();
  std::string data = Pattern((64 << 10) + 1), back(data.size(), '\0');
  Rig &rig = routed.rig;
  for (int i = 0; i < 3; i++) { // also when the file is unknown no more
    EXPECT_EQ(rig.Do(rf_op_write(rig.file, data.data(), data.size(), 0, 1)).status, 0);
    EXPECT_EQ(rig.Do(rf_op_read(rig.file, back.data(), back.size(), 0, 2)).status, 0);
    EXPECT_TRUE(back == data);
    for (const Seen &one : routed.backends.Take()) EXPECT_FALSE(IsDoneHere(one));
    EXPECT_EQ(rig.Do(rf_op_write(rig.file, data.data(), 64 << 10, 0, 3)).status, 0);
    std::vector<Seen> seen = routed.backends.Take();
    bool here = std::any_of(seen.begin(), seen.end(), IsDoneHere);
    EXPECT_TRUE(here || !may_block()) << "as long as it may be";
  }
}

// A pipe in which there is nothing: a call made on this thread would never return.
TEST_P(Route, ReadsThatCannotEndDoNotHoldUpThisThread) {
  RF_IN_CHILD({
    Routed routed(main(), policy());
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    Rig &rig = routed.rig;
    ASSERT_EQ(rig.Open(routed.backends.substitute()), 0);
    rf_file *pipe = nullptr;
    ASSERT_EQ(rf_file_from_fd(rig.engine, ends[0], true, &pipe), 0);
    char byte = 0;
    rf_op op = rf_op_read(pipe, &byte, 1, 0, 1);
    ASSERT_EQ(rf_submit(rig.queue, &op, 1), 1);
    ASSERT_EQ(rf_flush(rig.queue), 0);
    rf_completion done = {};
    EXPECT_EQ(rf_reap(rig.queue, &done, 1), 0);
    ASSERT_EQ(write(ends[1], "!", 1), 1);
    EXPECT_EQ(rf_wait(rig.queue, &done, 1, 1, kLostNs), 1);
    EXPECT_EQ(byte, '!');
    EXPECT_EQ(rf_file_close(pipe), 0);
  });
}

// ---- one wait for both lanes -------------------------------------------------------------------

// The read cannot end before the write's answer is there, and after that it does.
TEST_P(Route, AWaitSeesAnswersOfEitherLane) {
  std::string path = NewInMemory();
  if (path.empty()) path = New(DiskDirectory());
  RF_IN_CHILD({
    Routed routed(main(), policy());
    ASSERT_EQ(routed.Open(path, O_RDWR), 0);
    Rig &rig = routed.rig;
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    rf_file *pipe = nullptr;
    ASSERT_EQ(rf_file_from_fd(rig.engine, ends[0], true, &pipe), 0);
    char byte = 0;
    std::string data = Pattern(kBlock);
    rf_op slow = rf_op_read(pipe, &byte, 1, 0, 1);
    for (uint64_t round = 0; round < 20; round++) {
      rf_op fast = rf_op_write(rig.file, data.data(), kBlock, round * kBlock, 2);
      rf_completion done = {};
      ASSERT_EQ(rf_submit(rig.queue, &slow, 1), 1);
      if (round % 2 == 1) { // the read is in flight by then
        ASSERT_EQ(rf_flush(rig.queue), 0);
      }
      ASSERT_EQ(rf_submit_and_wait(rig.queue, &fast, 1, nullptr, &done, 1, 1, kLostNs), 1);
      ASSERT_EQ(done.user_data, 2u);
      EXPECT_EQ(done.status, 0);
      ASSERT_EQ(write(ends[1], "!", 1), 1);
      ASSERT_EQ(rf_wait(rig.queue, &done, 1, 1, kLostNs), 1);
      ASSERT_EQ(done.user_data, 1u);
    }
    EXPECT_EQ(rf_file_close(pipe), 0);
    close(ends[1]);
  });
}

// ---- what would block --------------------------------------------------------------------------

// True if the kernel has nothing of the file in memory any more.
bool DropFromCache(int fd, size_t size) {
  if (fsync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0) return false;
  void *at = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  std::vector<unsigned char> there(size / 4096 + 1);
  bool told = at != MAP_FAILED && mincore(at, size, there.data()) == 0;
  if (at != MAP_FAILED) munmap(at, size);
  return told && std::none_of(there.begin(), there.end(), [](auto page) { return page & 1; });
}

// The kernel may be so quick to read ahead that one attempt shows nothing.
TEST_P(Route, ReadsOfWhatIsNotInMemoryGoToWorkers) {
  Routed routed(main(), policy());
  ASSERT_EQ(routed.Open(New(DiskDirectory()), O_RDWR), 0) << routed.rig.Log();
  Rig &rig = routed.rig;
  std::string data = Pattern(kSize);
  ASSERT_EQ(pwrite(rig.fd, data.data(), kSize, 0), static_cast<ssize_t>(kSize));
  bool put_off = false;
  for (int attempt = 0; attempt < 50 && !put_off; attempt++) {
    std::string back(kSize, '\0');
    if (!DropFromCache(rig.fd, kSize)) GTEST_SKIP() << "needs a file system that drops its cache";
    rf_completion done = rig.Do(rf_op_read(rig.file, back.data(), kSize, 0, 1));
    EXPECT_EQ(done.status, 0);
    EXPECT_EQ(done.bytes, static_cast<int64_t>(kSize));
    EXPECT_TRUE(back == data);
    std::vector<Seen> seen = routed.backends.Take();
    ASSERT_GE(seen.size(), 1u);
    if (main() == RF_BACKEND_IO_URING) { // which does that by itself
      EXPECT_EQ(seen.size(), 1u);
      EXPECT_EQ(WayOf(seen[0], main()), kMain);
      return;
    }
    EXPECT_TRUE(seen.front().Has(RF_REQUEST_NOWAIT));
    put_off = seen.back().backend == RF_BACKEND_THREADS &&
              !seen.back().Has(RF_REQUEST_NOWAIT | RF_REQUEST_HERE);
  }
  EXPECT_TRUE(put_off);
  EXPECT_EQ(rig.Counters().fell_back[RF_OP_READ][RF_FALLBACK_WOULD_BLOCK],
            main() == RF_BACKEND_LIBAIO ? 1u : 0u);
  EXPECT_EQ(rig.Counters().retried, 0u) << "no pause on the way";
}

// The front is in memory, the rest is not: one read, done by two.
TEST_P(Route, ReadsThatAreHalfInMemoryAreWholeAllTheSame) {
  Routed routed(main(), policy());
  ASSERT_EQ(routed.Open(New(DiskDirectory()), O_RDWR), 0) << routed.rig.Log();
  Rig &rig = routed.rig;
  std::string data = Pattern(kSize), back(kSize, '\0');
  ASSERT_EQ(pwrite(rig.fd, data.data(), kSize, 0), static_cast<ssize_t>(kSize));
  if (!DropFromCache(rig.fd, kSize)) GTEST_SKIP() << "needs a file system that drops its cache";
  ASSERT_EQ(posix_fadvise(rig.fd, 0, 0, POSIX_FADV_RANDOM), 0);
  char byte;
  ASSERT_EQ(pread(rig.fd, &byte, 1, 0), 1);
  rf_completion done = rig.Do(rf_op_read(rig.file, back.data(), kSize, 0, 1));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, static_cast<int64_t>(kSize));
  EXPECT_TRUE(back == data);
}

// ---- what is not routed ------------------------------------------------------------------------

TEST_P(Route, OpsWithFlagsOfTheirOwnTakeTheBackend) {
  std::string path = NewInMemory();
  if (path.empty()) GTEST_SKIP() << "needs a tmpfs at /dev/shm";
  Routed routed(main(), policy());
  ASSERT_EQ(routed.Open(path, O_RDWR), 0) << routed.rig.Log();
  Rig &rig = routed.rig;
  std::string data = Pattern(kBlock);
  rf_op op = rf_op_write(rig.file, data.data(), kBlock, 0, 1);
  op.flags = RF_OP_DSYNC;
  EXPECT_EQ(rig.Do(op).status, 0);
  rf_op refused = rf_op_read(rig.file, data.data(), kBlock, 0, 2);
  refused.flags = RF_OP_NOWAIT;
  int status = rig.Do(refused).status;
  bool supported = routed.info().nowait_read;
  EXPECT_EQ(status, supported ? 0 : -EOPNOTSUPP) << "the caller asked, so the caller is told";
  EXPECT_EQ(CountFlag(routed.backends.Take(), RF_REQUEST_HERE), 0u);
}

TEST_P(Route, ErrorsAreThoseOfTheFileOnEveryWay) {
  for (const std::string &directory : {DiskDirectory(), std::string("/dev/shm")}) {
    if (access(directory.c_str(), W_OK) != 0) continue;
    std::string path = New(directory);
    char byte = 0;
    {
      Routed routed(main(), policy());
      ASSERT_EQ(routed.Open(path, O_RDONLY), 0);
      Rig &rig = routed.rig;
      EXPECT_EQ(rig.Do(rf_op_write(rig.file, &byte, 1, 0, 1)).status, -EBADF);
      EXPECT_EQ(rig.Do(rf_op_read(rig.file, &byte, 1, 0, 1)).bytes, 0) << "the end of the file";
    }
    Routed routed(main(), policy());
    ASSERT_EQ(routed.Open(path, O_WRONLY), 0);
    Rig &rig = routed.rig;
    EXPECT_EQ(rig.Do(rf_op_read(rig.file, &byte, 1, 0, 1)).status, -EBADF);
    EXPECT_EQ(rig.Do(rf_op_write(rig.file, nullptr, 1, 0, 1)).status, -EFAULT);
    EXPECT_EQ(rig.Do(rf_op_write(rig.file, "x", 1, 0, 1)).bytes, 1);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Everywhere, Route,
    testing::Combine(testing::Values(RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO, RF_BACKEND_THREADS),
                     testing::Values(RF_POLICY_NEVER_BLOCK, RF_POLICY_MAY_BLOCK)),
    ParamName);

class Forced : public Route {};

TEST_P(Forced, EveryTransferTakesTheBackendThatWasAskedFor) {
  std::string memory = NewInMemory();
  for (rf_choice choice : {RF_CHOICE_PREFER, RF_CHOICE_REQUIRE}) {
    for (const std::string &path : {New(DiskDirectory()), memory}) {
      if (path.empty()) continue;
      observed::Backends backends;
      Rig rig;
      rig.engine_options.choice = choice;
      rig.engine_options.backend = main();
      rig.queue_options.policy = policy();
      rig.fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
      ASSERT_EQ(rig.Open(backends.substitute()), 0) << rig.Log();
      EXPECT_TRUE(rig.RoundTrip(kBlocks));
      for (const Seen &one : backends.Take()) EXPECT_EQ(WayOf(one, main()), kMain);
      rf_counters counters = rig.Counters();
      for (int reason = 0; reason < RF_FALLBACK_REASONS; reason++)
        EXPECT_EQ(counters.fell_back[RF_OP_READ][reason] + counters.fell_back[RF_OP_WRITE][reason],
                  0u);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Everywhere, Forced,
    testing::Combine(testing::Values(RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO, RF_BACKEND_THREADS),
                     testing::Values(RF_POLICY_NEVER_BLOCK, RF_POLICY_MAY_BLOCK)),
    ParamName);

// FAILURES: io_submit blocks on buffered writes.  Where libaio is demanded they are its to do, and
// the time that passed in there is told.
TEST(Blocked, TimeInSubmitIsCounted) {
  Rig rig;
  rig.engine_options.choice = RF_CHOICE_REQUIRE;
  rig.engine_options.backend = RF_BACKEND_LIBAIO;
  int status = rig.Open();
  if (status == -ENOTSUP) GTEST_SKIP() << "needs libaio";
  ASSERT_EQ(status, 0) << rig.Log();
  std::string data = Pattern(32 << 20);
  std::vector<rf_op> ops = rig.Blocks(RF_OP_WRITE, &data, 1 << 20);
  uint64_t before = rf_now_ns();
  ASSERT_EQ(rf_submit(rig.queue, ops.data(), 32), 32);
  ASSERT_EQ(rf_flush(rig.queue), 0);
  uint64_t passed = rf_now_ns() - before, blocked = rig.Counters().submit_ns;
  EXPECT_GT(blocked, passed / 2) << "of " << passed;
  EXPECT_LE(blocked, passed);
  rf_completion done[32];
  ASSERT_EQ(rf_wait(rig.queue, done, 32, 32, kLostNs), 32);
}

} // namespace
