// SPDX-License-Identifier: Apache-2.0
// The fixture of the tests of transfers: pools on each backend, files on a disk and in memory, and
// what is in them by plain system calls.
#ifndef RINGFALL_TESTS_TRANSFER_RIG_H
#define RINGFALL_TESTS_TRANSFER_RIG_H

#include <fcntl.h>
#include <gtest/gtest.h>
#include <ringfall/ringfall.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/conformance.h"

namespace transfer_rig {

using conformance::Buffer;
using conformance::DiffersFromPattern;
using conformance::IsAll;
using conformance::kPatience;
using conformance::PatternAt;
using conformance::Place;

struct Case {
  rf_backend_id backend;
  bool automatic; // AUTO instead of this backend
  Place place;
};

inline std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (Place place : {Place::kDisk, Place::kTmpfs}) {
    for (int id = 0; id < RF_BACKENDS; id++)
      cases.push_back({static_cast<rf_backend_id>(id), false, place});
    cases.push_back({RF_BACKEND_IO_URING, true, place});
  }
  return cases;
}

inline std::vector<Case> DiskCases() {
  std::vector<Case> cases = AllCases(), some;
  for (const Case &one : cases)
    if (one.place == Place::kDisk) some.push_back(one);
  return some;
}

inline std::string CaseName(const testing::TestParamInfo<Case> &info) {
  std::string name = info.param.automatic ? "auto" : rf_backend_name(info.param.backend);
  return name + (info.param.place == Place::kDisk ? "_Disk" : "_Tmpfs");
}

inline int OpenEngine(const Case &parameters, rf_engine **engine) {
  rf_engine_options options;
  rf_engine_options_init(&options);
  options.choice = parameters.automatic ? RF_CHOICE_AUTO : RF_CHOICE_REQUIRE;
  options.backend = parameters.backend;
  options.ignore_environment = true;
  return rf_engine_open(engine, &options);
}

// One engine a case for the whole program: opening one takes as long as many tests.
class Engines : public testing::Environment {
public:
  static Engines *Get() {
    static auto *engines = static_cast<Engines *>(testing::AddGlobalTestEnvironment(new Engines));
    return engines;
  }
  int Find(const Case &wanted, rf_engine **engine) {
    rf_engine *&kept = open_[wanted.automatic ? RF_BACKENDS : static_cast<int>(wanted.backend)];
    int status = kept == nullptr ? OpenEngine(wanted, &kept) : 0;
    *engine = kept;
    return status;
  }
  void TearDown() override {
    for (rf_engine *engine : open_) {
      EXPECT_EQ(0, rf_engine_close(engine)) << "something is open";
    }
  }

private:
  rf_engine *open_[RF_BACKENDS + 1] = {};
};
inline Engines *const engines_registered = Engines::Get();

inline rf_transfer_request NewRequest() {
  rf_transfer_request request;
  rf_transfer_request_init(&request);
  return request;
}

// The path must live as long as the request.
inline rf_transfer_request ByPath(const char *path, void *buffer, uint64_t length,
                                  uint64_t offset = 0) {
  rf_transfer_request request = NewRequest();
  request.path = path;
  request.buffer = buffer;
  request.length = length;
  request.offset = offset;
  return request;
}

inline rf_transfer_request ByPath(const std::string &path, void *buffer, uint64_t length,
                                  uint64_t offset = 0) {
  return ByPath(path.c_str(), buffer, length, offset);
}

inline rf_transfer_request ByFd(int fd, void *buffer, uint64_t length, uint64_t offset = 0) {
  rf_transfer_request request = ByPath("", buffer, length, offset);
  request.path = nullptr;
  request.fd = fd;
  return request;
}

inline rf_pool_options PoolOptions(unsigned workers = 2, size_t block_size = 1 << 20,
                                   unsigned depth = 16) {
  rf_pool_options options;
  rf_pool_options_init(&options);
  options.workers = workers;
  options.block_size = block_size;
  options.queue_depth = depth;
  return options;
}

class Transfers : public testing::TestWithParam<Case> {
protected:
  void SetUp() override {
    directory_ = conformance::FindDirectory(GetParam().place);
    if (directory_.empty())
      GTEST_SKIP() << "needs "
                   << (GetParam().place == Place::kTmpfs ? "a tmpfs at /dev/shm"
                                                         : "a directory on a disk");
    int status = Engines::Get()->Find(GetParam(), &engine_);
    if (!GetParam().automatic && !raw_host::Works(GetParam().backend)) {
      EXPECT_EQ(-ENOTSUP, status);
      GTEST_SKIP() << "needs " << rf_backend_name(GetParam().backend)
                   << ", which this kernel refuses";
    }
    ASSERT_EQ(0, status);
  }

  void TearDown() override {
    for (rf_pool *pool : pools_) EXPECT_EQ(0, rf_pool_close(pool, RF_POOL_CANCEL));
    for (rf_file *file : files_) EXPECT_EQ(0, rf_file_close(file));
    for (int fd : fds_) close(fd);
    for (const std::string &path : paths_) unlink(path.c_str());
  }

  rf_pool *NewPool(const rf_pool_options &options = PoolOptions()) {
    rf_pool *pool = nullptr;
    EXPECT_EQ(0, rf_pool_open(engine_, &options, &pool));
    if (pool == nullptr) throw std::runtime_error("no pool to go on with"); // ends the test
    pools_.push_back(pool);
    return pool;
  }

  void ClosePool(rf_pool *pool, rf_pool_end end) {
    pools_.erase(std::find(pools_.begin(), pools_.end(), pool));
    EXPECT_EQ(0, rf_pool_close(pool, end));
  }

  // In a forked child: nothing of the parent's, and an engine of its own.
  void StartAnewInChild() {
    pools_.clear();
    files_.clear();
    ASSERT_EQ(0, OpenEngine(GetParam(), &engine_));
  }

  // A name that nothing has yet, removed at the end.
  std::string NewPath() {
    static int serial = 0;
    std::string path = directory_ + "/ringfall_transfer_" + std::to_string(getpid()) + "_" +
                       std::to_string(serial++);
    paths_.push_back(path);
    return path;
  }

  // A file of that many bytes of pattern, and its name.
  std::string NewFile(size_t size, unsigned seed = 0) {
    std::string path = NewPath();
    Buffer content = Buffer::Pattern(size, 0, seed);
    int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    EXPECT_GE(fd, 0) << strerror(errno);
    EXPECT_EQ(static_cast<ssize_t>(size), size == 0 ? 0 : write(fd, content.data(), size));
    close(fd);
    return path;
  }

  int OpenFd(const std::string &path, int flags) {
    int fd = open(path.c_str(), flags | O_CLOEXEC, 0600);
    EXPECT_GE(fd, 0) << path << ": " << strerror(errno);
    fds_.push_back(fd);
    return fd;
  }

  rf_file *OpenFile(const std::string &path, int flags) {
    rf_file *file = nullptr;
    EXPECT_EQ(0, rf_file_open(engine_, path.c_str(), flags, 0600, &file)) << path;
    if (file == nullptr) throw std::runtime_error("no file to go on with"); // ends the test
    files_.push_back(file);
    return file;
  }

  // What is in the file, by plain system calls.
  static std::vector<unsigned char> Content(const std::string &path) {
    struct stat info = {};
    EXPECT_EQ(0, stat(path.c_str(), &info)) << path << ": " << strerror(errno);
    std::vector<unsigned char> content(static_cast<size_t>(info.st_size));
    int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    size_t got = 0;
    for (ssize_t n = 1; n > 0 && got < content.size(); got += static_cast<size_t>(n)) {
      n = pread(fd, content.data() + got, content.size() - got, static_cast<off_t>(got));
      EXPECT_GE(n, 0) << strerror(errno);
      if (n < 0) break;
    }
    close(fd);
    content.resize(got);
    return content;
  }

  static uint64_t SizeOf(const std::string &path) {
    struct stat info = {};
    EXPECT_EQ(0, stat(path.c_str(), &info)) << path << ": " << strerror(errno);
    return static_cast<uint64_t>(info.st_size);
  }

  static rf_transfer_result Read(rf_pool *pool, const rf_transfer_request &request) {
    rf_transfer_result result = {};
    EXPECT_EQ(rf_transfer_read_sync(pool, &request, &result), result.status);
    return result;
  }

  static rf_transfer_result Write(rf_pool *pool, const rf_transfer_request &request) {
    rf_transfer_result result = {};
    EXPECT_EQ(rf_transfer_write_sync(pool, &request, &result), result.status);
    return result;
  }

  static rf_transfer *Start(rf_pool *pool, bool write, const rf_transfer_request &request) {
    rf_transfer *token = nullptr;
    EXPECT_EQ(0, write ? rf_transfer_write(pool, &request, &token)
                       : rf_transfer_read(pool, &request, &token));
    if (token == nullptr) throw std::runtime_error("no token to go on with"); // ends the test
    return token;
  }

  // Waits for it and gives it back.
  static rf_transfer_result Finish(rf_transfer *token) {
    rf_transfer_result result = {};
    EXPECT_EQ(0, rf_transfer_wait(token, kPatience, &result));
    EXPECT_EQ(0, rf_transfer_release(token));
    return result;
  }

  rf_transfer_counters Counters(rf_pool *pool) {
    rf_transfer_counters counters = {};
    EXPECT_EQ(0, rf_pool_counters(pool, &counters));
    return counters;
  }

  rf_engine *engine() const { return engine_; }
  Place place() const { return GetParam().place; }
  const std::string &directory() const { return directory_; }

private:
  rf_engine *engine_ = nullptr;
  std::string directory_;
  std::vector<rf_pool *> pools_;
  std::vector<rf_file *> files_;
  std::vector<int> fds_;
  std::vector<std::string> paths_;
};

} // namespace transfer_rig

#endif
