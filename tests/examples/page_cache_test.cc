// SPDX-License-Identifier: Apache-2.0
// The page cache of examples/page_cache.c.
#include "examples/page_cache.h"

#include <gtest/gtest.h>
#include <ringfall/ringfall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "tests/engines.h"
#include "tests/fault_rig.h"
#include "tests/raw_host.h"
#include "tests/test_files.h"

namespace {

using engines::Engines;
using test_files::DiffersFromPattern;
using test_files::Place;

constexpr size_t kPage = 4096;
constexpr uint64_t kPages = 300;

using Pages = std::vector<uint64_t>;

class Cached : public testing::Test, protected test_files::Files {
protected:
  void TearDown() override {
    page_cache_close(cache);
    if (own_engine) {
      EXPECT_EQ(rf_engine_close(engine), 0);
    }
    RemoveAll();
  }

  void Open(unsigned frames, Place place = Place::kDisk) {
    ASSERT_TRUE(FindDirectory(place)) << NameOf(place);
    path = NewFile(kPages * kPage + 100);
    ASSERT_EQ(page_cache_open(engine, path.c_str(), kPage, frames, &cache), 0);
    ASSERT_EQ(page_cache_pages(cache), kPages);
  }

  void OpenWithFaults(unsigned frames) {
    own_engine = true;
    ASSERT_EQ(rf_fault_engine_open(faults.injector(), &engine, nullptr), 0);
    Open(frames);
  }

  void OpenSimply(unsigned frames) {
    ASSERT_EQ(Engines::Get()->Find(RF_BACKEND_THREADS, &engine), 0);
    Open(frames);
  }

  // Gets them and looks at them; they stay pinned.
  int Get(const Pages &pages) {
    std::vector<const void *> data(pages.size());
    int status =
        page_cache_get_many(cache, pages.data(), static_cast<unsigned>(pages.size()), data.data());
    for (size_t i = 0; status == 0 && i < pages.size(); i++) {
      EXPECT_EQ(
          DiffersFromPattern(static_cast<const unsigned char *>(data[i]), kPage, pages[i] * kPage),
          "")
          << "page " << pages[i];
    }
    return status;
  }
  void Release(const Pages &pages) {
    page_cache_release_many(cache, pages.data(), static_cast<unsigned>(pages.size()));
  }
  // Gets and releases them: how many had to be read.
  uint64_t Misses(const Pages &pages) {
    const uint64_t before = page_cache_get_stats(cache).misses;
    EXPECT_EQ(Get(pages), 0);
    Release(pages);
    return page_cache_get_stats(cache).misses - before;
  }
  static Pages From(uint64_t first, size_t count) {
    Pages pages(count);
    std::iota(pages.begin(), pages.end(), first);
    return pages;
  }

  fault_rig::Faults faults;
  std::string path;
  rf_engine *engine = nullptr;
  bool own_engine = false;
  page_cache *cache = nullptr;
};

class CachedOn : public Cached, public testing::WithParamInterface<rf_backend_id> {};

TEST_P(CachedOn, PagesAreTheFilesAndEachIsReadWhenItIsNotThere) {
  if (!raw_host::Works(GetParam())) GTEST_SKIP() << "needs " << rf_backend_name(GetParam());
  for (const Place place : {Place::kDisk, Place::kTmpfs}) {
    SCOPED_TRACE(NameOf(place));
    ASSERT_EQ(Engines::Get()->Find(GetParam(), &engine), 0);
    Open(100, place);
    rf_directory directory;
    ASSERT_EQ(rf_probe_directory(this->directory().c_str(), &directory), 0);
    EXPECT_EQ(page_cache_get_stats(cache).direct, directory.direct_error == 0);
    std::mt19937 random(1);
    uint64_t gets = 0;
    for (int i = 0; i < 400; i++) {
      Pages pages(1 + random() % 100);
      for (uint64_t &page : pages) page = std::min(random() % kPages, random() % kPages);
      ASSERT_EQ(Get(pages), 0);
      Release(pages);
      gets += pages.size();
      ASSERT_FALSE(HasFailure());
    }
    const page_cache_stats stats = page_cache_get_stats(cache);
    EXPECT_EQ(stats.hits + stats.misses, gets);
    EXPECT_EQ(stats.evictions, stats.misses - 100) << "every frame is in use";
    EXPECT_GT(stats.hits, 0u);
    page_cache_close(cache);
    cache = nullptr;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Backends, CachedOn, testing::Values(RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO, RF_BACKEND_THREADS),
    [](const auto &backend) { return std::string(rf_backend_name(backend.param)); });

TEST_F(Cached, HitsAndMissesAreCountedAlsoOfAPageThatIsAskedForTwice) {
  OpenSimply(8);
  EXPECT_EQ(Misses(From(0, 8)), 8u);
  EXPECT_EQ(Misses(From(0, 8)), 0u);
  EXPECT_EQ(Misses({20, 20, 20, 21}), 2u);
  const page_cache_stats stats = page_cache_get_stats(cache);
  EXPECT_EQ(stats.hits, 10u);
  EXPECT_EQ(stats.misses, 10u);
  EXPECT_EQ(stats.evictions, 2u);
}

TEST_F(Cached, PagesThatWereUsedAgainOutliveOthers) {
  OpenSimply(4);
  EXPECT_EQ(Misses(From(0, 4)), 4u);
  EXPECT_EQ(Misses({4}), 1u); // the hand goes round once: 0 goes, and nobody was asked for since
  EXPECT_EQ(Misses({1}), 0u);
  EXPECT_EQ(Misses({5}), 1u); // passes by 1, and takes 2
  EXPECT_EQ(Misses({1, 3, 4, 5}), 0u);
  EXPECT_EQ(Misses({2}), 1u);
}

TEST_F(Cached, PagesThatArePinnedStayAndTooManyPinsAreToldAndUndone) {
  OpenSimply(4);
  ASSERT_EQ(Get({0, 1, 1}), 0);
  for (uint64_t page = 10; page < 40; page++) EXPECT_EQ(Misses({page}), 1u);
  EXPECT_EQ(Misses({0, 1}), 0u) << "pinned";
  EXPECT_EQ(Get({50, 51, 52}), -ENOBUFS);
  EXPECT_EQ(Misses({60, 61}), 2u) << "the frames of the call that failed are free again";
  Release({1});
  EXPECT_EQ(Get({50, 51, 52}), -ENOBUFS) << "1 was got twice";
  Release({1});
  EXPECT_EQ(Misses({50, 51, 52}), 3u);
  EXPECT_EQ(Misses({0}), 0u);
  Release({0});
}

TEST_F(Cached, PagesThatTheFileDoesNotHaveAreRefused) {
  OpenSimply(4);
  EXPECT_EQ(Get({0, kPages}), -EINVAL);
  EXPECT_EQ(Get({UINT64_MAX}), -EINVAL);
  EXPECT_EQ(Misses({0, kPages - 1, 1, 2}), 4u) << "nothing was pinned, nothing kept";
}

TEST_F(Cached, AFileThatBecameShorterIsAnError) {
  OpenSimply(4);
  ASSERT_EQ(truncate(path.c_str(), 2 * kPage + 512), 0);
  EXPECT_EQ(Misses({0, 1}), 2u);
  EXPECT_EQ(Get({0, 2}), -EIO);
  EXPECT_EQ(Get({299}), -EIO);
  EXPECT_EQ(Misses({0, 1}), 0u);
}

TEST_F(Cached, OptionsThatMakeNoSenseAreRefused) {
  OpenSimply(1);
  for (const size_t size : {0, 256, 4095, 6144, 2097152}) {
    page_cache *other = nullptr;
    EXPECT_EQ(page_cache_open(engine, path.c_str(), size, 8, &other), -EINVAL) << size;
  }
  page_cache *other = nullptr;
  EXPECT_EQ(page_cache_open(engine, path.c_str(), kPage, 0, &other), -EINVAL);
  EXPECT_EQ(page_cache_open(engine, "/no/such/file", kPage, 8, &other), -ENOENT);
  EXPECT_EQ(Misses({3}), 1u);
  EXPECT_EQ(Misses({4}), 1u) << "one frame is enough for one page at a time";
}

TEST_F(Cached, AReadThatFailsLeavesNothingOfTheGroup) {
  faults.Plan("stand_in");
  OpenWithFaults(16);
  EXPECT_EQ(Misses({0, 1}), 2u);
  faults.Plan("error=EIO:read@3");
  EXPECT_EQ(Get(From(0, 8)), -EIO);
  faults.Plan("");
  EXPECT_EQ(Misses(From(0, 8)), 6u) << "what was there before is there still";
  EXPECT_EQ(Misses(From(100, 16)), 16u) << "no pin was left behind";
}

TEST_F(Cached, ShortReadsAndADeadBackendAreNoticedByNobody) {
  faults.Plan("stand_in short=512:30% death=EPERM@40");
  OpenWithFaults(64);
  EXPECT_EQ(Misses(From(0, 64)), 64u);
  EXPECT_EQ(Misses(From(100, 64)), 64u);
  EXPECT_GT(faults.Counts().injected[RF_FAULT_SHORT], 0u);
  EXPECT_GT(faults.Counts().injected[RF_FAULT_DEATH], 0u);
}

// More than the queue takes at a time; all the misses that fit are in flight together.
TEST_F(Cached, MissesOfAGroupAreReadTogether) {
  faults.Plan("stand_in delay=1ms");
  OpenWithFaults(200);
  EXPECT_EQ(Misses(From(0, 200)), 200u);
  uint64_t most = 0;
  for (const auto &backend : faults.Counts().backends)
    most = std::max(most, backend.most_in_flight);
  EXPECT_EQ(most, 128u);
}

} // namespace
