// SPDX-License-Identifier: Apache-2.0
// The fixture of the tests of transfers: pools on each backend, files on a disk and in memory, and
// what is in them by plain system calls.
#ifndef RINGFALL_TESTS_TRANSFER_RIG_H
#define RINGFALL_TESTS_TRANSFER_RIG_H

#include <gtest/gtest.h>
#include <ringfall/ringfall.h>

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/engines.h"
#include "tests/in_child.h"
#include "tests/raw_host.h"
#include "tests/test_files.h"

namespace transfer_rig {

using engines::Engines;
using engines::OpenEngine;
using test_files::Buffer;
using test_files::DiffersFromPattern;
using test_files::FillWithPattern;
using test_files::IsAll;
using test_files::kPatience;
using test_files::Place;

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

inline rf_backend_id BackendOf(const Case &parameters) {
  return parameters.automatic ? engines::kAutomatic : parameters.backend;
}

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

class Transfers : public testing::TestWithParam<Case>, protected test_files::Files {
protected:
  void SetUp() override {
    if (!FindDirectory(place())) GTEST_SKIP() << "needs " << NameOf(place());
    int status = Engines::Get()->Find(BackendOf(GetParam()), &engine_);
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
    RemoveAll();
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
    ASSERT_EQ(0, OpenEngine(BackendOf(GetParam()), &engine_));
  }

  rf_file *OpenFile(const std::string &path, int flags) {
    rf_file *file = nullptr;
    EXPECT_EQ(0, rf_file_open(engine_, path.c_str(), flags, 0600, &file)) << path;
    if (file == nullptr) throw std::runtime_error("no file to go on with"); // ends the test
    files_.push_back(file);
    return file;
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

private:
  rf_engine *engine_ = nullptr;
  std::vector<rf_pool *> pools_;
  std::vector<rf_file *> files_;
};

} // namespace transfer_rig

#endif
