// SPDX-License-Identifier: Apache-2.0
// Transfers that meet what goes wrong: full disks, limits, bad files, signals; replacing a file
// while the process is killed; sectors of 4096 bytes.
#include <dirent.h>
#include <grp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/xattr.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "tests/fault_rig.h"
#include "tests/loop_device.h"
#include "tests/queue_rig.h"
#include "tests/seccomp_filter.h"
#include "tests/transfer_rig.h"

namespace transfer_rig {
namespace {

constexpr size_t kMiB = 1 << 20;

class TransferFaults : public Transfers {};

// ---- errors ------------------------------------------------------------------------------------

TEST_P(TransferFaults, WhatIsWrongWithTheFileIsTheStatus) {
  rf_pool *pool = NewPool();
  Buffer room(8192);
  std::string path = NewFile(8192), missing = NewPath();
  int ends[2];
  ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
  int writable = OpenFd(path, O_WRONLY), readable = OpenFd(path, O_RDONLY);
  int directory_fd = OpenFd(directory(), O_RDONLY | O_DIRECTORY);
  int closed = fcntl(readable, F_DUPFD_CLOEXEC, 900); // a number that nothing else will take
  close(closed);
  rf_transfer_request to_missing = ByPath(missing, room.data(), 8192);
  to_missing.flags = 0;
  EXPECT_EQ(-ENOENT, Read(pool, to_missing).status);
  EXPECT_EQ(-ENOENT, Write(pool, to_missing).status);
  EXPECT_EQ(-EISDIR, Read(pool, ByPath(directory(), room.data(), 8192)).status);
  EXPECT_EQ(-EISDIR, Write(pool, ByPath(directory(), room.data(), 8192)).status);
  EXPECT_EQ(-EISDIR, Read(pool, ByFd(directory_fd, room.data(), 8192)).status);
  EXPECT_EQ(-EBADF, Read(pool, ByFd(closed, room.data(), 8192)).status);
  EXPECT_EQ(-EBADF, Read(pool, ByFd(writable, room.data(), 8192)).status);
  EXPECT_EQ(-EBADF, Write(pool, ByFd(readable, room.data(), 8192)).status);
  EXPECT_EQ(-ESPIPE, Read(pool, ByFd(ends[0], room.data(), 1)).status);
  EXPECT_EQ(-ENOTDIR, Read(pool, ByPath(path + "/below", room.data(), 1)).status);
  rf_transfer_request replace = ByPath(directory(), room.data(), 8192);
  replace.flags |= RF_TRANSFER_REPLACE;
  EXPECT_EQ(-EISDIR, Write(pool, replace).status);
  replace.path = "/dev/null";
  EXPECT_EQ(-EINVAL, Write(pool, replace).status);
  EXPECT_EQ(8192u, Read(pool, ByPath(path, room.data(), 8192)).bytes) << "the pool goes on";
  rf_transfer_counters counters = Counters(pool);
  EXPECT_EQ(13u, counters.completed);
  EXPECT_EQ(12u, counters.failed);
  close(ends[0]);
  close(ends[1]);
}

// As file servers have for their clients.  The kernel asks for it back by SIGIO.
TEST_P(TransferFaults, AFileWithALeaseIsWaitedFor) {
  std::string path = NewFile(8192);
  RF_IN_CHILD({
    static int fd = -1; // for the handler
    struct sigaction action = {};
    action.sa_handler = [](int) { fcntl(fd, F_SETLEASE, F_UNLCK); };
    ASSERT_EQ(0, sigaction(SIGIO, &action, nullptr));
    fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0) in_child::Skip("leases");
    StartAnewInChild();
    Buffer data = Buffer::Pattern(8192);
    rf_transfer_result result = Write(NewPool(), ByPath(path, data.data(), 8192));
    EXPECT_EQ(0, result.status);
    EXPECT_EQ(8192u, result.bytes);
  });
}

TEST_P(TransferFaults, AFileSizeLimitGivesTheBytesBeforeItAndEfbig) {
  std::string path = NewPath(), other = NewPath();
  RF_IN_CHILD({
    StartAnewInChild();
    rf_pool *pool = NewPool(PoolOptions(2, 4096, 4)); // also when the limit comes later
    struct rlimit limit = {6144, 6144};
    ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
    Buffer data = Buffer::Pattern(8192);
    rf_transfer_request request = ByPath(path, data.data(), 8192);
    request.flags = RF_TRANSFER_CREATE;
    rf_transfer_result result = Write(pool, request);
    EXPECT_EQ(-EFBIG, result.status);
    EXPECT_EQ(6144u, result.bytes);
    std::vector<unsigned char> found = Content(path);
    ASSERT_EQ(6144u, found.size());
    EXPECT_EQ("", DiffersFromPattern(found.data(), 6144, 0));
    request = ByPath(other, data.data(), 8192);
    result = Write(pool, request); // with PREALLOCATE: before anything is written
    EXPECT_EQ(-EFBIG, result.status);
    EXPECT_EQ(0u, result.bytes);
    EXPECT_EQ(0u, SizeOf(other));
  });
}

// A file system of 256 KiB in memory, mounted in a child's own name space.
void MountSmall(const std::string &at) {
  if (geteuid() != 0) in_child::Skip("root, to mount a file system");
  ASSERT_EQ(0, unshare(CLONE_NEWNS));
  ASSERT_EQ(0, mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
  ASSERT_EQ(0, mount("ringfall", at.c_str(), "tmpfs", 0, "size=256k"));
}

TEST_P(TransferFaults, AFullDiskGivesTheBytesBeforeItAndEnospc) {
  char made[] = "/tmp/ringfall-mount-XXXXXX";
  ASSERT_NE(nullptr, mkdtemp(made));
  std::string at = made;
  in_child::Outcome outcome = in_child::Run([&] {
    MountSmall(at);
    StartAnewInChild();
    rf_pool *pool = NewPool(PoolOptions(1, 16384, 1));
    Buffer data = Buffer::Pattern(kMiB);
    std::string path = at + "/plain", other = at + "/room";
    rf_transfer_request request = ByPath(path, data.data(), kMiB);
    request.flags = RF_TRANSFER_CREATE;
    rf_transfer_result result = Write(pool, request);
    EXPECT_EQ(-ENOSPC, result.status);
    EXPECT_EQ(256u << 10, result.bytes);
    std::vector<unsigned char> found = Content(path);
    ASSERT_EQ(256u << 10, found.size());
    EXPECT_EQ("", DiffersFromPattern(found.data(), found.size(), 0));
    unlink(path.c_str());
    request = ByPath(other, data.data(), kMiB);
    result = Write(pool, request); // with PREALLOCATE: before anything is written
    EXPECT_EQ(-ENOSPC, result.status);
    EXPECT_EQ(0u, result.bytes);
    EXPECT_EQ(0u, SizeOf(other));
    unlink(other.c_str());
    Buffer old = Buffer::Pattern(4096, 0, 9); // an old file outlives what should have replaced it
    EXPECT_EQ(4096u, Write(pool, ByPath(path, old.data(), 4096)).bytes);
    request.path = path.c_str();
    for (unsigned flags : {0u, unsigned{RF_TRANSFER_PREALLOCATE}}) {
      request.flags = RF_TRANSFER_REPLACE | flags;
      EXPECT_EQ(-ENOSPC, Write(pool, request).status);
      EXPECT_EQ("", DiffersFromPattern(Content(path).data(), 4096, 0, 9));
      EXPECT_EQ(4096u, SizeOf(path));
    }
    ClosePool(pool, RF_POOL_DRAIN);
  });
  rmdir(made);
  if (outcome.ended_with(in_child::kSkipped)) GTEST_SKIP() << "needs " << outcome.output;
  EXPECT_TRUE(outcome.ended_with(in_child::kDone)) << outcome.how() << "\n" << outcome.output;
}

void CountSignal(int) {}

// Memory of `size` bytes, from an odd address on, so that direct I/O goes through bounce buffers.
// Behind it is nothing, or a file without a byte.  (Nothing lies there only as long as nobody maps
// something new of a fitting size.)
class MemoryThatEnds {
public:
  MemoryThatEnds(size_t size, bool file_behind)
      : size_(size), mapped_((size / kPage + 2) * kPage), all_(mapped_ + (file_behind ? kMiB : 0)) {
    constexpr int kAccess = PROT_READ | PROT_WRITE;
    base_ = static_cast<char *>(
        mmap(nullptr, mapped_ + kMiB, kAccess, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_NE(MAP_FAILED, base_);
    EXPECT_EQ(0, munmap(base_ + mapped_, kMiB));
    if (!file_behind) return;
    int nothing = memfd_create("nothing", MFD_CLOEXEC);
    EXPECT_EQ(base_ + mapped_,
              mmap(base_ + mapped_, kMiB, kAccess, MAP_SHARED | MAP_FIXED, nothing, 0));
    close(nothing);
  }
  ~MemoryThatEnds() { munmap(base_, all_); }
  unsigned char *data() { return reinterpret_cast<unsigned char *>(base_) + mapped_ - size_; }

private:
  static inline const size_t kPage = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_t size_, mapped_, all_;
  char *base_;
};

// That a mapped file has no page there can be asked since Linux 5.14.
bool TheKernelTellsOfFiles() {
  char byte = 0;
  auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  char *at = &byte - reinterpret_cast<uintptr_t>(&byte) % page;
  return madvise(at, page, MADV_POPULATE_READ) == 0;
}

TEST_P(TransferFaults, MemoryThatEndsEarlyGivesTheBytesBeforeAndEfault) {
  constexpr size_t kThere = 300001, kWhole = kMiB; // from an odd address to the end of a page
  rf_pool *pool = NewPool(PoolOptions(2, 64 << 10, 4));
  std::string path = NewPath(), source = NewPath();
  Buffer data = Buffer::Pattern(kWhole + 1);
  ASSERT_EQ(0, Write(pool, ByPath(source, data.data(), kWhole)).status);
  ASSERT_EQ(0, Read(pool, ByPath(source, data.data() + 1, kWhole)).status); // all is mapped by now
  for (bool file_behind : {false, true}) {
    if (file_behind && !TheKernelTellsOfFiles())
      GTEST_SKIP() << "needs MADV_POPULATE_READ (Linux 5.14)";
    SCOPED_TRACE(file_behind ? "a file" : "nothing");
    MemoryThatEnds memory(kThere, file_behind);
    FillWithPattern(memory.data(), kThere, 0);
    rf_transfer_result result = Write(pool, ByPath(path, memory.data(), kWhole));
    EXPECT_EQ(-EFAULT, result.status);
    EXPECT_LE(result.bytes, kThere);
    EXPECT_GT(result.bytes + 4096, kThere) << "all but part of a sector";
    std::vector<unsigned char> found = Content(path);
    ASSERT_GE(found.size(), result.bytes);
    EXPECT_EQ("", DiffersFromPattern(found.data(), result.bytes, 0));

    MemoryThatEnds into(kThere, file_behind);
    result = Read(pool, ByPath(source, into.data(), kWhole));
    EXPECT_EQ(-EFAULT, result.status);
    EXPECT_LE(result.bytes, kThere);
    EXPECT_GT(result.bytes + 4096, kThere);
    EXPECT_EQ("", DiffersFromPattern(into.data(), result.bytes, 0));
    result = Read(pool, ByPath(source, into.data(), kThere));
    EXPECT_EQ(0, result.status) << "exactly what is there";
    EXPECT_EQ("", DiffersFromPattern(into.data(), kThere, 0));
  }
}

// Pages without the right in the middle, in memory or not, and at the end of a block or not.
TEST_P(TransferFaults, MemoryWithoutPermissionGivesTheBytesBeforeAndEfault) {
  if (!TheKernelTellsOfFiles()) GTEST_SKIP() << "needs MADV_POPULATE_READ (Linux 5.14)";
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  rf_pool *pool = NewPool(PoolOptions(2, 64 << 10, 4));
  std::string path = NewPath(), source = NewPath();
  Buffer data = Buffer::Pattern(kMiB);
  ASSERT_EQ(0, Write(pool, ByPath(source, data.data(), kMiB)).status);
  for (bool touched : {true, false})
    for (size_t forbidden : {size_t{0}, page, 5 * page, size_t{256} << 10}) {
      SCOPED_TRACE(testing::Message() << "from byte " << forbidden << " on, touched " << touched);
      auto *at = static_cast<unsigned char *>(
          mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      ASSERT_NE(MAP_FAILED, at);
      if (touched) FillWithPattern(at + 1, kMiB - 1, 0);
      size_t there = forbidden > 0 ? forbidden - 1 : 0; // from the odd address on
      auto expect_cut = [&](const rf_transfer_result &result) {
        EXPECT_EQ(-EFAULT, result.status);
        EXPECT_LE(result.bytes, there);
        EXPECT_GT(result.bytes + 4096, there);
      };
      ASSERT_EQ(0, mprotect(at + forbidden, page, PROT_NONE));
      rf_transfer_result result = Write(pool, ByPath(path, at + 1, kMiB - 1));
      expect_cut(result);
      if (touched) {
        EXPECT_EQ("", DiffersFromPattern(ReadBack(path, result.bytes).data(), result.bytes, 0));
      }
      result = Read(pool, ByPath(source, at + 1, kMiB - 1));
      expect_cut(result);
      EXPECT_EQ("", DiffersFromPattern(at + 1, result.bytes, 0));
      ASSERT_EQ(0, mprotect(at + forbidden, page, PROT_READ));
      expect_cut(Read(pool, ByPath(source, at + 1, kMiB - 1)));
      EXPECT_EQ(kMiB - 1, Write(pool, ByPath(path, at + 1, kMiB - 1)).bytes) << "which only reads";
      munmap(at, kMiB);
    }
}

TEST_P(TransferFaults, AMappedFileCutShortIsEfaultAsWell) {
  if (!TheKernelTellsOfFiles()) GTEST_SKIP() << "needs MADV_POPULATE_READ (Linux 5.14)";
  rf_pool *pool = NewPool(PoolOptions(2, 64 << 10, 4));
  std::string path = NewPath(), mapped = NewPath();
  Buffer data = Buffer::Pattern(kMiB);
  ASSERT_EQ(0, Write(pool, ByPath(mapped, data.data(), kMiB)).status);
  int fd = open(mapped.c_str(), O_RDWR | O_CLOEXEC);
  void *at = mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ASSERT_NE(MAP_FAILED, at);
  ASSERT_EQ(0, ftruncate(fd, 256 << 10));
  auto *odd = static_cast<unsigned char *>(at) + 1;
  rf_transfer_result result = Write(pool, ByPath(path, odd, kMiB - 1));
  EXPECT_EQ(-EFAULT, result.status);
  EXPECT_LT(result.bytes, 256u << 10);
  EXPECT_GT(result.bytes + 4097, 256u << 10);
  munmap(at, kMiB);
  close(fd);
}

TEST_P(TransferFaults, SignalStormsAreNeverSeen) {
  constexpr size_t kSize = 32 * kMiB + 5;
  std::string path = NewFile(kSize), made = NewPath();
  RF_IN_CHILD({
    StartAnewInChild();
    struct sigaction action = {};
    action.sa_handler = CountSignal; // and no SA_RESTART
    ASSERT_EQ(0, sigaction(SIGALRM, &action, nullptr));
    struct itimerval storm = {{0, 100}, {0, 100}}; // 10 kHz
    rf_pool *pool = NewPool(PoolOptions(2, 65536, 8));
    Buffer room(kSize);
    ASSERT_EQ(0, setitimer(ITIMER_REAL, &storm, nullptr));
    EXPECT_EQ(kSize, Read(pool, ByPath(path, room.data(), kSize)).bytes);
    rf_transfer_request request = ByPath(made, room.data(), kSize);
    request.durability = RF_DURABLE_ENTRY;
    EXPECT_EQ(kSize, Write(pool, request).bytes);
    storm = {};
    ASSERT_EQ(0, setitimer(ITIMER_REAL, &storm, nullptr));
    EXPECT_EQ("", DiffersFromPattern(room.data(), kSize, 0));
    std::vector<unsigned char> found = Content(made);
    ASSERT_EQ(kSize, found.size());
    EXPECT_EQ("", DiffersFromPattern(found.data(), kSize, 0));
  });
}

// ---- the caller's descriptor -------------------------------------------------------------------

TEST_P(TransferFaults, TheCallersDescriptorKeepsFlagsAndOffset) {
  constexpr size_t kSize = 100000;
  Buffer room(kSize);
  for (int extra : {0, DirectFlag(), O_APPEND, O_NONBLOCK}) {
    std::string path = NewFile(kSize);
    int fd = OpenFd(path, O_RDWR | extra);
    int flags = fcntl(fd, F_GETFL);
    ASSERT_EQ(77, lseek(fd, 77, SEEK_SET));
    rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
    ASSERT_EQ(50001u, Read(pool, ByFd(fd, room.data(), 50001, 4095)).bytes) << extra;
    ASSERT_EQ("", DiffersFromPattern(room.data(), 50001, 4095)) << extra;
    FillWithPattern(room.data(), 50001, 0, 3);
    ASSERT_EQ(50001u, Write(pool, ByFd(fd, room.data(), 50001, 4095)).bytes) << extra;
    EXPECT_EQ(flags, fcntl(fd, F_GETFL)) << extra;
    EXPECT_EQ(77, lseek(fd, 0, SEEK_CUR)) << extra;
    std::vector<unsigned char> found = Content(path);
    ASSERT_EQ(kSize, found.size()) << extra;
    EXPECT_EQ("", DiffersFromPattern(found.data(), 4095, 0)) << extra;
    EXPECT_EQ("", DiffersFromPattern(found.data() + 4095, 50001, 0, 3)) << extra;
    EXPECT_EQ("", DiffersFromPattern(found.data() + 54096, kSize - 54096, 54096)) << extra;
    ClosePool(pool, RF_POOL_DRAIN);
  }
}

TEST_P(TransferFaults, FilesWithoutANameAndFilesOfTheEngineWork) {
  constexpr size_t kSize = 100001;
  rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
  Buffer data = Buffer::Pattern(kSize), room(kSize);
  std::string path = NewPath();
  int fd = OpenFd(path, O_RDWR | O_CREAT);
  unlink(path.c_str());
  EXPECT_EQ(kSize, Write(pool, ByFd(fd, data.data(), kSize)).bytes);
  EXPECT_EQ(kSize, Read(pool, ByFd(fd, room.data(), kSize)).bytes);
  EXPECT_EQ("", DiffersFromPattern(room.data(), kSize, 0));
  for (int extra : {0, DirectFlag()}) {
    rf_file *file = OpenFile(NewPath(), O_RDWR | O_CREAT | extra);
    rf_transfer_request request = ByFd(-1, data.data(), kSize);
    request.file = file;
    EXPECT_EQ(kSize, Write(pool, request).bytes) << extra;
    EXPECT_EQ(kSize, Write(pool, request).bytes) << extra; // it has become longer since
    memset(room.data(), 0, kSize);
    request.buffer = room.data();
    EXPECT_EQ(kSize, Read(pool, request).bytes) << extra;
    EXPECT_EQ("", DiffersFromPattern(room.data(), kSize, 0)) << extra;
  }
}

// ---- modes -------------------------------------------------------------------------------------

TEST_P(TransferFaults, ShorterContentsKeepTheOldTailOrCutItAsAsked) {
  rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
  Buffer data = Buffer::Pattern(50001, 0, 4);
  for (bool cut : {false, true}) {
    std::string path = NewFile(100000);
    rf_transfer_request request = ByPath(path, data.data(), 50001);
    if (cut) request.flags |= RF_TRANSFER_TRUNCATE;
    EXPECT_EQ(50001u, Write(pool, request).bytes);
    std::vector<unsigned char> found = Content(path);
    ASSERT_EQ(cut ? 50001u : 100000u, found.size());
    EXPECT_EQ("", DiffersFromPattern(found.data(), 50001, 0, 4));
    EXPECT_EQ("", DiffersFromPattern(found.data() + 50001, found.size() - 50001, 50001));
  }
  std::string path = NewFile(1000);
  rf_transfer_request empty = ByPath(path, nullptr, 0);
  empty.flags |= RF_TRANSFER_TRUNCATE;
  EXPECT_EQ(0, Write(pool, empty).status);
  EXPECT_EQ(0u, SizeOf(path));
}

TEST_P(TransferFaults, EachDurabilityWritesTheSameBytes) {
  rf_pool *pool = NewPool();
  Buffer data = Buffer::Pattern(70001);
  for (int durability = RF_DURABLE_NONE; durability <= RF_DURABLE_ENTRY; durability++)
    for (unsigned flags : {unsigned{RF_TRANSFER_CREATE}, unsigned{RF_TRANSFER_REPLACE}}) {
      std::string path = NewPath();
      rf_transfer_request request = ByPath(path, data.data(), 70001);
      request.durability = static_cast<rf_durability>(durability);
      request.flags = flags;
      EXPECT_EQ(70001u, Write(pool, request).bytes) << durability;
      EXPECT_EQ("", DiffersFromPattern(Content(path).data(), 70001, 0)) << durability;
    }
}

// The directory is the one that the file was made in.
TEST_P(TransferFaults, PathsThatMeanSomethingElseMeanwhileAreSyncedWhereTheyWere) {
  std::string path = NewPath(), name = path.substr(path.rfind('/') + 1);
  RF_IN_CHILD({
    StartAnewInChild();
    ASSERT_EQ(0, chdir(directory().c_str()));
    Buffer data = Buffer::Pattern(70001);
    rf_transfer_request request = ByPath(name, data.data(), 70001);
    request.durability = RF_DURABLE_ENTRY;
    request.progress = [](void *, uint64_t, uint64_t) { EXPECT_EQ(0, chdir("/")); };
    rf_transfer_result result = Write(NewPool(), request);
    EXPECT_EQ(0, result.status);
    EXPECT_EQ(70001u, result.bytes);
    EXPECT_EQ("", DiffersFromPattern(Content(path).data(), 70001, 0));
  });
}

// ---- replacing ---------------------------------------------------------------------------------

std::vector<std::string> Litter(const std::string &directory, const std::string &path) {
  std::vector<std::string> found;
  std::string prefix = "." + path.substr(path.rfind('/') + 1) + ".ringfall-";
  DIR *open = opendir(directory.c_str());
  for (dirent *entry; open != nullptr && (entry = readdir(open)) != nullptr;)
    if (std::string(entry->d_name).rfind(prefix, 0) == 0)
      found.push_back(directory + "/" + entry->d_name);
  if (open != nullptr) closedir(open);
  return found;
}

TEST_P(TransferFaults, ReplacingKeepsPermissionsAndFollowsLinks) {
  rf_pool *pool = NewPool();
  std::string path = NewFile(100000, 1), link = NewPath();
  ASSERT_EQ(0, chmod(path.c_str(), 0640));
  ASSERT_EQ(0, symlink(path.c_str(), link.c_str()));
  Buffer data = Buffer::Pattern(50001, 0, 2);
  rf_transfer_request request = ByPath(link, data.data(), 50001);
  request.flags |= RF_TRANSFER_REPLACE;
  request.durability = RF_DURABLE_ENTRY;
  struct stat before, after;
  ASSERT_EQ(0, stat(path.c_str(), &before));
  EXPECT_EQ(50001u, Write(pool, request).bytes);
  ASSERT_EQ(0, lstat(path.c_str(), &after));
  EXPECT_NE(before.st_ino, after.st_ino);
  EXPECT_EQ(0640u, after.st_mode & 07777);
  ASSERT_EQ(0, lstat(link.c_str(), &after));
  EXPECT_TRUE(S_ISLNK(after.st_mode));
  std::vector<unsigned char> found = Content(path);
  ASSERT_EQ(50001u, found.size());
  EXPECT_EQ("", DiffersFromPattern(found.data(), 50001, 0, 2));
  EXPECT_TRUE(Litter(directory(), path).empty());
}

// As the kernel takes it: the owner may read and write, user 1000 too, the group nothing.
constexpr unsigned char kAccessList[] = {
    2,    0, 0, 0,                         // version
    1,    0, 6, 0, 0xff, 0xff, 0xff, 0xff, // the owner
    2,    0, 6, 0, 0xe8, 3,    0,    0,    // user 1000
    4,    0, 0, 0, 0xff, 0xff, 0xff, 0xff, // the group
    0x10, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, // the mask
    0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, // others
};

// The mode of such a file has the mask where that of others has the group.
TEST_P(TransferFaults, ReplacingKeepsAccessControlLists) {
  constexpr char kName[] = "system.posix_acl_access";
  rf_pool *pool = NewPool();
  std::string path = NewFile(1000, 1), below = NewPath(), inside = below + "/file";
  if (setxattr(path.c_str(), kName, kAccessList, sizeof(kAccessList), 0) != 0)
    GTEST_SKIP() << "needs access control lists in " << directory();
  Buffer data = Buffer::Pattern(5000, 0, 2);
  rf_transfer_request request = ByPath(path, data.data(), 5000);
  request.flags |= RF_TRANSFER_REPLACE;
  EXPECT_EQ(0, Write(pool, request).status);
  EXPECT_EQ(5000u, SizeOf(path));
  unsigned char found[sizeof(kAccessList)] = {};
  EXPECT_EQ(static_cast<ssize_t>(sizeof(found)),
            getxattr(path.c_str(), kName, found, sizeof(found)));
  EXPECT_EQ(0, memcmp(found, kAccessList, sizeof(found)));

  // The other way round: the directory gives one to new files, and the old one has none.
  ASSERT_EQ(0, mkdir(below.c_str(), 0700));
  int fd = open(inside.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
  close(fd);
  ASSERT_EQ(0, chmod(inside.c_str(), 0640));
  EXPECT_EQ(
      0, setxattr(below.c_str(), "system.posix_acl_default", kAccessList, sizeof(kAccessList), 0));
  request.path = inside.c_str();
  EXPECT_EQ(0, Write(pool, request).status);
  EXPECT_EQ(-1, getxattr(inside.c_str(), kName, found, sizeof(found)));
  EXPECT_EQ(ENODATA, errno);
  struct stat after = {};
  EXPECT_EQ(0, stat(inside.c_str(), &after));
  EXPECT_EQ(0640u, after.st_mode & 07777);
  unlink(inside.c_str());
  rmdir(below.c_str());
}

// Who may not give a file to its owner may give it to its group, if he is in it.
TEST_P(TransferFaults, ReplacingKeepsTheGroupWhereTheOwnerCannotBeKept) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody else";
  std::string below = (place() == Place::kDisk ? "/tmp" : directory()) + "/ringfall-group-XXXXXX";
  ASSERT_NE(nullptr, mkdtemp(below.data())); // others must get there
  ASSERT_EQ(0, chmod(below.c_str(), 0777));
  std::string path = below + "/file";
  int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_EQ(0, fchown(fd, 1001, 2000));
  ASSERT_EQ(0, fchmod(fd, 0660));
  close(fd);
  RF_IN_CHILD({
    constexpr gid_t kGroups[] = {2000};
    ASSERT_EQ(0, setgroups(1, kGroups));
    ASSERT_EQ(0, setresgid(1002, 1002, 1002));
    ASSERT_EQ(0, setresuid(1002, 1002, 1002));
    StartAnewInChild();
    Buffer data = Buffer::Pattern(5000, 0, 2);
    rf_transfer_request request = ByPath(path, data.data(), 5000);
    request.flags |= RF_TRANSFER_REPLACE;
    EXPECT_EQ(0, Write(NewPool(), request).status);
  });
  struct stat after = {};
  EXPECT_EQ(0, stat(path.c_str(), &after));
  EXPECT_EQ(1002u, after.st_uid);
  EXPECT_EQ(2000u, after.st_gid);
  EXPECT_EQ(0660u, after.st_mode & 07777);
  unlink(path.c_str());
  rmdir(below.c_str());
}

TEST_P(TransferFaults, ACancelledReplacementLeavesTheOldFile) {
  rf_pool *pool = NewPool(PoolOptions(1, 65536, 2));
  std::string path = NewFile(5000, 1);
  Buffer data = Buffer::Pattern(16 * kMiB, 0, 2);
  rf_transfer_request request = ByPath(path, data.data(), 16 * kMiB);
  std::atomic<rf_transfer *> token{nullptr};
  request.flags |= RF_TRANSFER_REPLACE;
  request.progress_context = &token;
  request.progress = [](void *context, uint64_t, uint64_t) {
    auto *which = static_cast<std::atomic<rf_transfer *> *>(context);
    while (which->load() == nullptr) std::this_thread::yield();
    rf_transfer_cancel(which->load());
  };
  token = Start(pool, true, request);
  EXPECT_EQ(-ECANCELED, Finish(token).status);
  EXPECT_EQ(5000u, SizeOf(path));
  EXPECT_EQ("", DiffersFromPattern(Content(path).data(), 5000, 0, 1));
  EXPECT_TRUE(Litter(directory(), path).empty());
}

// Killed in a progress function, at the system calls that matter, and at any time.
TEST_P(TransferFaults, KilledWhileReplacingTheOldFileOrTheNewOneIsThereWhole) {
  constexpr size_t kOld = 50001, kNew = 4 * kMiB + 3;
  std::string path = NewFile(kOld, 1);
  auto replace = [&](bool at_link, bool at_rename, uint64_t kill_at) {
    StartAnewInChild();
    rf_pool *pool = NewPool(PoolOptions(2, 65536, 4));
    Buffer data = Buffer::Pattern(kNew, 0, 2);
    rf_transfer_request request = ByPath(path, data.data(), kNew);
    request.flags |= RF_TRANSFER_REPLACE;
    request.durability = RF_DURABLE_ENTRY;
    request.progress_context = &kill_at;
    request.progress = [](void *context, uint64_t bytes, uint64_t) {
      if (bytes >= *static_cast<uint64_t *>(context)) kill(getpid(), SIGKILL);
    };
    if (at_link) {
      ASSERT_EQ(0, seccomp_filter::Install({seccomp_filter::Kill(SYS_linkat)}));
    }
    if (at_rename) {
      ASSERT_EQ(0, seccomp_filter::Install({
#ifdef SYS_renameat
                       seccomp_filter::Kill(SYS_renameat),
#endif
                       seccomp_filter::Kill(SYS_renameat2)}));
    }
    EXPECT_EQ(0, Write(pool, request).status);
  };
  auto whole = [&](const std::string &name, bool must_be_old) {
    std::vector<unsigned char> found = Content(name);
    bool old = found.size() == kOld;
    EXPECT_TRUE(old || (found.size() == kNew && !must_be_old)) << found.size();
    EXPECT_EQ("", DiffersFromPattern(found.data(), found.size(), 0, old ? 1 : 2));
  };
  for (uint64_t kill_at : {uint64_t{1}, uint64_t{kNew / 2}, uint64_t{kNew}}) {
    in_child::Outcome outcome = in_child::Run([&] { replace(false, false, kill_at); });
    EXPECT_TRUE(outcome.killed_by(SIGKILL)) << outcome.how() << outcome.output;
    whole(path, true);
    EXPECT_TRUE(Litter(directory(), path).empty()) << "killed at " << kill_at;
  }
  for (bool at_rename : {false, true}) {
    in_child::Outcome outcome = in_child::Run([&] { replace(!at_rename, at_rename, UINT64_MAX); });
    EXPECT_TRUE(outcome.killed_by(SIGSYS)) << outcome.how() << outcome.output;
    whole(path, true);
    // Between the two, and only there, the new file has a name already, and is whole.
    std::vector<std::string> litter = Litter(directory(), path);
    EXPECT_EQ(at_rename ? 1u : 0u, litter.size());
    for (const std::string &name : litter) whole(name, false), unlink(name.c_str());
  }
  in_child::Outcome outcome = in_child::Run([&] { replace(false, false, UINT64_MAX); });
  EXPECT_TRUE(outcome.ended_with(in_child::kDone)) << outcome.how() << outcome.output;
  EXPECT_EQ(kNew, SizeOf(path));
  whole(path, false);
}

INSTANTIATE_TEST_SUITE_P(Everywhere, TransferFaults, testing::ValuesIn(AllCases()), CaseName);

// ---- syncs, on the backend where they are system calls that can be filtered --------------------

class TransferSyncs : public Transfers {};

// What is asked to be durable must have been synced: by a filter that forbids it, it shows.
TEST_P(TransferSyncs, AFailedSyncIsTheStatus) {
  std::string path = NewPath(), old = NewFile(1000, 5);
  RF_IN_CHILD({
    StartAnewInChild();
    rf_pool *pool = NewPool();
    Buffer data = Buffer::Pattern(70001);
    rf_transfer_request request = ByPath(path, data.data(), 70001);
    ASSERT_EQ(0, seccomp_filter::Install({seccomp_filter::Deny(SYS_fsync, EIO)}));
    request.durability = RF_DURABLE_DATA;
    EXPECT_EQ(0, Write(pool, request).status) << "fdatasync is another call";
    request.durability = RF_DURABLE_FILE;
    rf_transfer_result result = Write(pool, request);
    EXPECT_EQ(-EIO, result.status);
    EXPECT_EQ(70001u, result.bytes);
    ASSERT_EQ(0, seccomp_filter::Install({seccomp_filter::Deny(SYS_fdatasync, EIO)}));
    request.path = old.c_str();
    request.durability = RF_DURABLE_NONE;
    request.flags |= RF_TRANSFER_REPLACE;
    EXPECT_EQ(-EIO, Write(pool, request).status) << "what replaces a file is synced before";
    EXPECT_EQ("", DiffersFromPattern(Content(old).data(), 1000, 0, 5));
  });
}

INSTANTIATE_TEST_SUITE_P(Threads, TransferSyncs,
                         testing::Values(Case{RF_BACKEND_THREADS, false, Place::kDisk},
                                         Case{RF_BACKEND_THREADS, false, Place::kTmpfs}),
                         CaseName);

// ---- direct I/O that is accepted and then refused ----------------------------------------------

// Files take O_DIRECT, and requests on such descriptors are refused as the plan says.
class TransferRetreats : public testing::Test, protected test_files::Files {
protected:
  static constexpr size_t kBlock = 16384, kSize = 20 * kBlock;

  void SetUp() override {
    if (!FindDirectory(Place::kDisk)) GTEST_SKIP() << "needs " << NameOf(Place::kDisk);
    path_ = NewFile(kSize);
    int fd = open(path_.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0) GTEST_SKIP() << "needs O_DIRECT in " << directory();
    close(fd);
    faults_.Plan("stand_in");
    ASSERT_EQ(0, rig_.OpenEngine(faults_.injector()));
    rf_pool_options options = PoolOptions(2, kBlock, 4);
    ASSERT_EQ(0, rf_pool_open(rig_.engine, &options, &pool_));
  }
  void TearDown() override {
    EXPECT_EQ(0, rf_pool_close(pool_, RF_POOL_DRAIN));
    EXPECT_EQ("", faults_.BrokenRule());
    RemoveAll();
  }

  // Does it, and looks at what holds for each: progress that only grows, and sums that are right.
  rf_transfer_result Run(bool write, rf_transfer_request request) {
    struct Told {
      uint64_t bytes = 0;
      bool good = true;
    } told;
    request.progress_context = &told;
    request.progress = [](void *context, uint64_t bytes, uint64_t length) {
      auto *before = static_cast<Told *>(context);
      before->good = before->good && bytes >= before->bytes && bytes <= length;
      before->bytes = bytes;
    };
    rf_transfer_result result = {};
    if (write)
      rf_transfer_write_sync(pool_, &request, &result);
    else
      rf_transfer_read_sync(pool_, &request, &result);
    EXPECT_TRUE(told.good);
    if (result.status == 0) {
      EXPECT_EQ(result.bytes, told.bytes);
      EXPECT_EQ(result.bytes, result.direct_bytes + result.buffered_bytes);
    }
    EXPECT_LE(result.bounced_bytes, result.direct_bytes);
    return result;
  }

  // Reads and writes of the plan's file that are to succeed, by path and by descriptor.
  void RoundTrip(uint64_t offset, uint64_t length, size_t shift) {
    SCOPED_TRACE(testing::Message() << length << " bytes at " << offset << ", address +" << shift);
    std::vector<unsigned char> expected = Content(path_);
    int fd = OpenFd(path_, O_RDWR | O_DIRECT), flags = fcntl(fd, F_GETFL);
    Buffer room(shift + length);
    unsigned char *at = room.data() + shift;
    for (bool by_path : {true, false}) {
      rf_transfer_request request =
          by_path ? ByPath(path_, at, length, offset) : ByFd(fd, at, length, offset);
      memset(room.data(), 0xEE, room.size());
      Note(Run(false, request), length);
      EXPECT_EQ(0, memcmp(at, expected.data() + offset, length));
      FillWithPattern(at, length, 0, ++seed_);
      memcpy(expected.data() + offset, at, length);
      Note(Run(true, request), length);
      EXPECT_TRUE(expected == Content(path_));
    }
    EXPECT_EQ(flags, fcntl(fd, F_GETFL)) << "it is the caller's";
  }

  void Note(const rf_transfer_result &result, uint64_t length) {
    EXPECT_EQ(0, result.status);
    EXPECT_EQ(length, result.bytes);
    EXPECT_TRUE(result.refused_direct);
    EXPECT_EQ(result.direct, result.direct_bytes > 0);
    last_ = result;
  }

  fault_rig::Faults faults_; // outlives the engine
  queue_rig::Rig rig_;
  rf_pool *pool_ = nullptr;
  std::string path_;
  unsigned seed_ = 1;
  rf_transfer_result last_ = {};
};

TEST_F(TransferRetreats, RefusedFromTheFirstRequestAllGoesThroughThePageCache) {
  faults_.Plan("stand_in error=EINVAL:direct");
  for (uint64_t offset : {0, 1, 4096, 12289})
    for (uint64_t length : {65536, 65537, 300000 - 12289})
      for (size_t shift : {0, 1}) {
        RoundTrip(offset, length, shift);
        EXPECT_EQ(0u, last_.direct_bytes);
      }
  rf_transfer_counters counters;
  ASSERT_EQ(0, rf_pool_counters(pool_, &counters));
  EXPECT_EQ(4u * 24, counters.refused_direct);
}

TEST_F(TransferRetreats, RefusedOnTheWayWhatWasDoneBeforeCounts) {
  faults_.Plan("stand_in error=EINVAL:direct,from=81920");
  for (size_t shift : {0, 1}) {
    RoundTrip(0, kSize, shift);
    EXPECT_EQ(81920u, last_.direct_bytes);
    EXPECT_EQ(shift * 81920u, last_.bounced_bytes);
  }
}

// The blocks beyond the one that is refused may have been done, and are done again.
TEST_F(TransferRetreats, RefusedAtOnePlaceNothingIsLostOrCountedTwice) {
  for (const char *refused : {"to=16384", "from=16384,to=32768", "from=65536,to=81920"}) {
    for (bool write : {false, true}) {
      faults_.Plan(std::string("stand_in error=EINVAL:direct,") + refused);
      Buffer room = Buffer::Pattern(kSize);
      Note(Run(write, ByPath(path_, room.data(), kSize)), kSize);
      EXPECT_EQ("", DiffersFromPattern(write ? Content(path_).data() : room.data(), kSize, 0));
    }
  }
}

TEST_F(TransferRetreats, NewFilesAndReplacedOnesAreWhole) {
  faults_.Plan("stand_in error=EINVAL:direct");
  Buffer data = Buffer::Pattern(kSize - 5, 0, 3);
  for (unsigned flags : {0u, unsigned{RF_TRANSFER_PREALLOCATE}, unsigned{RF_TRANSFER_REPLACE}}) {
    std::string path = NewPath();
    rf_transfer_request request = ByPath(path, data.data(), data.size());
    request.flags = RF_TRANSFER_CREATE | flags;
    request.durability = RF_DURABLE_ENTRY;
    Note(Run(true, request), data.size());
    std::vector<unsigned char> found = Content(path);
    ASSERT_EQ(data.size(), found.size());
    EXPECT_EQ("", DiffersFromPattern(found.data(), found.size(), 0, 3));
  }
}

TEST_F(TransferRetreats, ReadsAcrossTheEndStillEndThere) {
  faults_.Plan("stand_in error=EINVAL:direct,from=32768,to=49152");
  Buffer room(kSize + 100000);
  rf_transfer_result result = Run(false, ByPath(path_, room.data(), room.size()));
  Note(result, kSize);
  EXPECT_EQ("", DiffersFromPattern(room.data(), kSize, 0));
}

TEST_F(TransferRetreats, WhatIsRefusedWithoutDirectAsWellIsAnError) {
  faults_.Plan("stand_in error=EINVAL:read,write,from=32768");
  Buffer room(kSize);
  for (bool write : {false, true}) {
    rf_transfer_result result = Run(write, ByPath(path_, room.data(), kSize));
    EXPECT_EQ(-EINVAL, result.status);
    EXPECT_EQ(32768u, result.bytes);
    EXPECT_TRUE(result.refused_direct);
  }
}

TEST_F(TransferRetreats, OtherErrorsAreErrorsAtOnce) {
  faults_.Plan("stand_in error=EIO:direct,from=32768");
  Buffer room(kSize);
  rf_transfer_result result = Run(false, ByPath(path_, room.data(), kSize));
  EXPECT_EQ(-EIO, result.status);
  EXPECT_EQ(32768u, result.bytes);
  EXPECT_FALSE(result.refused_direct);
}

// ---- other sectors -----------------------------------------------------------------------------

class TransferSectors : public Transfers {};

TEST_P(TransferSectors, OddTransfersOnSectorsOf4096BytesAreExact) {
  constexpr size_t kSize = 4 * kMiB;
  std::string backing = NewFile(kSize);
  loop_device::Loop device(backing, 4096);
  if (!device.missing().empty()) GTEST_SKIP() << "needs " << device.missing();
  rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
  std::vector<unsigned char> expected = Content(backing);
  Buffer room(kSize);
  unsigned seed = 1;
  for (uint64_t offset : {0, 512, 4095, 4096})
    for (uint64_t length : {511, 4096, 4097, 100001})
      for (size_t shift : {0, 1, 512}) {
        unsigned char *at = room.data() + shift;
        rf_transfer_result result = Read(pool, ByPath(device.path(), at, length, offset));
        ASSERT_EQ(0, result.status) << length << " at " << offset;
        ASSERT_EQ(length, result.bytes);
        ASSERT_EQ(0, memcmp(at, expected.data() + offset, length)) << length << " at " << offset;
        FillWithPattern(at, length, 0, seed);
        memcpy(expected.data() + offset, at, length);
        result = Write(pool, ByPath(device.path(), at, length, offset));
        ASSERT_EQ(0, result.status) << length << " at " << offset;
        ASSERT_EQ(length, result.bytes);
        seed++;
      }
  rf_transfer_result all = Read(pool, ByPath(device.path(), room.data(), kSize));
  ASSERT_EQ(kSize, all.bytes);
  EXPECT_TRUE(all.direct);
  EXPECT_EQ(0, memcmp(room.data(), expected.data(), kSize));
}

INSTANTIATE_TEST_SUITE_P(Everywhere, TransferSectors, testing::ValuesIn(DiskCases()), CaseName);

} // namespace
} // namespace transfer_rig
