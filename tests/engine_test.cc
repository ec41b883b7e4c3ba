// SPDX-License-Identifier: Apache-2.0
// The engine: which backend is chosen, at whose wish, and what it says about it.
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/conformance.h"

namespace conformance {
namespace {

class Engine : public testing::Test {
protected:
  void SetUp() override {
    unsetenv("RINGFALL_BACKEND");
    rf_engine_options_init(&options_);
    options_.log = [](void *context, rf_log_level level, const char *message) {
      static_cast<Engine *>(context)->log_.emplace_back(level, message);
    };
    options_.log_context = this;
  }
  void TearDown() override { unsetenv("RINGFALL_BACKEND"); }

  // The status, and on success the backend in *chosen.
  int Open(rf_backend_id *chosen = nullptr) {
    rf_engine *engine = nullptr;
    int status = rf_engine_open(&engine, &options_);
    if (status != 0) return status;
    if (chosen != nullptr) *chosen = rf_engine_host(engine)->selected;
    explanation_ = rf_engine_explanation(engine);
    EXPECT_EQ(0, rf_engine_close(engine));
    return 0;
  }

  int OpenWith(const char *environment, rf_backend_id *chosen = nullptr) {
    setenv("RINGFALL_BACKEND", environment, 1);
    int status = Open(chosen);
    unsetenv("RINGFALL_BACKEND");
    return status;
  }

  static rf_backend_id Best() {
    for (int id = 0; id < RF_BACKENDS; id++)
      if (raw_host::Works(static_cast<rf_backend_id>(id))) return static_cast<rf_backend_id>(id);
    return RF_BACKEND_THREADS;
  }

  rf_engine_options options_;
  std::vector<std::pair<rf_log_level, std::string>> log_;
  std::string explanation_;
};

TEST_F(Engine, TakesTheBestThatWorksWhenNothingIsWished) {
  rf_backend_id chosen;
  ASSERT_EQ(0, Open(&chosen));
  EXPECT_EQ(Best(), chosen);
  EXPECT_NE(std::string::npos, explanation_.find(rf_backend_name(chosen))) << explanation_;
  ASSERT_FALSE(log_.empty());
  EXPECT_EQ(RF_LOG_INFO, log_.back().first);
  EXPECT_EQ(explanation_, log_.back().second);
}

// What an engine of a program without a log of its own says on stderr.
std::string SaidWith(const char *level, rf_engine_options options) {
  rf_engine *engine = nullptr;
  setenv("RINGFALL_LOG", level, 1);
  testing::internal::CaptureStderr();
  EXPECT_EQ(0, rf_engine_open(&engine, &options));
  EXPECT_EQ(0, rf_engine_close(engine));
  unsetenv("RINGFALL_LOG");
  return testing::internal::GetCapturedStderr();
}

TEST_F(Engine, SpeaksOnStderrWhenTheEnvironmentWantsItAndNobodyElseListens) {
  options_.log = nullptr;
  options_.log_context = nullptr;
  std::string said = SaidWith("info", options_);
  EXPECT_EQ(0u, said.find("ringfall: ")) << said;
  EXPECT_NE(std::string::npos, said.find(std::string("ringfall: info: ") + rf_backend_name(Best())))
      << said;
  EXPECT_EQ(std::string::npos, SaidWith("warning", options_).find("ringfall: info"));
  EXPECT_EQ("", SaidWith("error", options_));
  EXPECT_EQ("", SaidWith("", options_));
  EXPECT_EQ("ringfall: error: RINGFALL_LOG=loud is not understood: error, warning or info\n",
            SaidWith("loud", options_));
}

TEST_F(Engine, KeepsOffStderrWhenTheProgramListensOrTheEnvironmentIsIgnored) {
  EXPECT_EQ("", SaidWith("info", options_));
  EXPECT_FALSE(log_.empty());
  options_.log = nullptr;
  options_.ignore_environment = true;
  EXPECT_EQ("", SaidWith("info", options_));
}

TEST_F(Engine, OpensWithoutOptions) {
  rf_engine *engine = nullptr;
  ASSERT_EQ(0, rf_engine_open(&engine, nullptr));
  EXPECT_EQ(Best(), rf_engine_host(engine)->selected);
  EXPECT_EQ(0, rf_engine_close(engine));
}

TEST_F(Engine, TakesWhatTheEnvironmentNames) {
  for (int id = 0; id < RF_BACKENDS; id++) {
    auto backend = static_cast<rf_backend_id>(id);
    if (!raw_host::Works(backend)) continue; // threads always do
    for (std::string before : {"", "prefer:", "require:"}) {
      rf_backend_id chosen = RF_BACKENDS;
      std::string wish = before + rf_backend_name(backend);
      ASSERT_EQ(0, OpenWith(wish.c_str(), &chosen)) << wish;
      EXPECT_EQ(backend, chosen) << wish;
      EXPECT_NE(std::string::npos, explanation_.find("RINGFALL_BACKEND")) << explanation_;
    }
  }
}

TEST_F(Engine, TheEnvironmentGoesBeforeTheOptions) {
  rf_backend_id chosen;
  options_.choice = RF_CHOICE_REQUIRE;
  options_.backend = Best();
  ASSERT_EQ(0, OpenWith("threads", &chosen));
  EXPECT_EQ(RF_BACKEND_THREADS, chosen);
  options_.backend = RF_BACKEND_THREADS;
  ASSERT_EQ(0, OpenWith("auto", &chosen));
  EXPECT_EQ(Best(), chosen);
}

TEST_F(Engine, TheEnvironmentIsIgnoredWhenAsked) {
  rf_backend_id chosen;
  options_.ignore_environment = true;
  options_.choice = RF_CHOICE_REQUIRE;
  options_.backend = RF_BACKEND_THREADS;
  ASSERT_EQ(0, OpenWith("auto", &chosen));
  EXPECT_EQ(RF_BACKEND_THREADS, chosen);
  EXPECT_EQ(0, OpenWith("nonsense"));
}

TEST_F(Engine, AnEmptyEnvironmentMeansNothing) {
  rf_backend_id chosen;
  options_.choice = RF_CHOICE_PREFER;
  options_.backend = RF_BACKEND_THREADS;
  ASSERT_EQ(0, OpenWith("", &chosen));
  EXPECT_EQ(RF_BACKEND_THREADS, chosen);
}

TEST_F(Engine, WhatTheEnvironmentSaysHasToMakeSense) {
  for (const char *text : {"nonsense", "URING", "prefer:", "require:nonsense", "prefer:auto",
                           "require:auto", "threads ", "avoid:threads", "prefer:prefer:threads"}) {
    log_.clear();
    EXPECT_EQ(-EINVAL, OpenWith(text)) << text;
    ASSERT_EQ(1u, log_.size()) << text;
    EXPECT_EQ(RF_LOG_ERROR, log_[0].first);
    EXPECT_NE(std::string::npos, log_[0].second.find(text)) << log_[0].second;
  }
}

TEST_F(Engine, OptionsHaveToMakeSense) {
  options_.choice = static_cast<rf_choice>(99);
  EXPECT_EQ(-EINVAL, Open());
  rf_engine_options_init(&options_);
  options_.choice = RF_CHOICE_REQUIRE;
  options_.backend = RF_BACKENDS;
  EXPECT_EQ(-EINVAL, Open());
  rf_engine_options_init(&options_);
  options_.depth = RF_DEPTH_MAX + 1;
  EXPECT_EQ(-EINVAL, Open());
  for (uint32_t size : {0u, 3u, 100000u}) {
    rf_engine_options_init(&options_);
    options_.size = size;
    EXPECT_EQ(-EINVAL, Open()) << size;
  }
}

TEST_F(Engine, QueuesOfItRunOnWhatItChose) {
  options_.choice = RF_CHOICE_REQUIRE;
  options_.ignore_environment = true;
  for (int id = 0; id < RF_BACKENDS; id++) {
    options_.backend = static_cast<rf_backend_id>(id);
    if (!raw_host::Works(options_.backend)) {
      EXPECT_EQ(-ENOTSUP, Open());
      continue;
    }
    rf_engine *engine = nullptr;
    rf_queue *queue = nullptr;
    ASSERT_EQ(0, rf_engine_open(&engine, &options_)) << rf_backend_name(options_.backend);
    ASSERT_EQ(0, rf_queue_open(engine, nullptr, &queue));
    EXPECT_EQ(options_.backend, rf_queue_backend(queue));
    EXPECT_EQ(0, rf_queue_close(queue));
    EXPECT_EQ(0, rf_engine_close(engine));
  }
}

constexpr size_t kHuge = size_t{2} << 20;

bool HugePagesCanBeAskedFor() {
  std::string mode;
  std::getline(std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled"), mode);
  return mode.find('[') != mode.npos; // a kernel without them takes no such advice
}

// By the mark (hg) that the kernel keeps for the mapping that begins there.
bool AskedForHugePages(const void *base) {
  std::ostringstream head;
  head << std::hex << reinterpret_cast<uintptr_t>(base) << '-';
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  while (std::getline(maps, line) && line.rfind(head.str(), 0) != 0) continue;
  while (std::getline(maps, line) && line.rfind("VmFlags:", 0) != 0) continue;
  return line.find(" hg") != line.npos;
}

TEST_F(Engine, ArenasAreZeroedAlignedAndWhole) {
  rf_engine *engine = nullptr;
  options_.choice = RF_CHOICE_REQUIRE;
  options_.backend = RF_BACKEND_THREADS;
  ASSERT_EQ(0, rf_engine_open(&engine, &options_));
  for (size_t size : {size_t{10000}, kHuge - 1, kHuge + 10000, 3 * kHuge}) {
    rf_arena *arena = nullptr;
    ASSERT_EQ(0, rf_arena_open(engine, size, 0, &arena));
    EXPECT_EQ((size + 4095) / 4096 * 4096, rf_arena_size(arena));
    bool large = rf_arena_size(arena) >= kHuge;
    EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(rf_arena_base(arena)) % (large ? kHuge : 4096));
    if (HugePagesCanBeAskedFor()) {
      EXPECT_EQ(large, AskedForHugePages(rf_arena_base(arena))) << size;
    }
    EXPECT_TRUE(IsAll(static_cast<unsigned char *>(rf_arena_base(arena)), rf_arena_size(arena), 0));
    rf_arena_close(arena);
  }
  rf_arena *none = nullptr;
  EXPECT_EQ(-EINVAL, rf_arena_open(engine, 0, 0, &none));
  EXPECT_EQ(-EINVAL, rf_arena_open(engine, 4096, 1u << 7, &none));
  EXPECT_EQ(-ENOMEM, rf_arena_open(engine, SIZE_MAX / 2, 0, &none));
  EXPECT_EQ(0, rf_engine_close(engine));
}

// Bytes that this process has locked, as the kernel counts them.
size_t LockedBytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  size_t kib = 0;
  while (status >> word)
    if (word == "VmLck:") status >> kib;
  return kib * 1024;
}

// Whoever may lock memory beyond the limit is an ordinary process from here on.
void DropCapabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  ASSERT_EQ(0, syscall(SYS_capset, &header, none)) << strerror(errno);
}

TEST_F(Engine, AdoptedMemoryStaysTheCallers) {
  rf_engine *engine = nullptr;
  ASSERT_EQ(rf_engine_open(&engine, nullptr), 0);
  std::vector<char> memory(100000, 'm');
  char *odd = memory.data() + 1;
  rf_arena *arena = nullptr;
  EXPECT_EQ(rf_arena_adopt(engine, nullptr, 4096, &arena), -EINVAL);
  EXPECT_EQ(rf_arena_adopt(engine, odd, 0, &arena), -EINVAL);
  EXPECT_EQ(rf_arena_adopt(engine, odd, SIZE_MAX, &arena), -EINVAL);
  EXPECT_EQ(arena, nullptr);
  ASSERT_EQ(rf_arena_adopt(engine, odd, 77777, &arena), 0);
  EXPECT_EQ(rf_arena_base(arena), odd);
  EXPECT_EQ(rf_arena_size(arena), 77777u);
  EXPECT_EQ(rf_engine_close(engine), -EBUSY);
  rf_arena_close(arena);
  EXPECT_EQ(memory, std::vector<char>(100000, 'm')) << "there, and as it was";
  EXPECT_EQ(rf_engine_close(engine), 0);
}

TEST_F(Engine, ArenasAreLockedOnlyOnRequestAndARefusalIsTheStatus) {
  RF_IN_CHILD({
    struct rlimit limit = {65536, 65536}; // a hard limit: it can only be lowered from here
    ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit)) << strerror(errno);
    DropCapabilities();
    static char plain[1 << 20];
    if (mlock(plain, sizeof(plain)) == 0)
      in_child::Skip("a build without sanitizers, whose mlock does nothing");
    rf_engine *engine = nullptr;
    options_.choice = RF_CHOICE_REQUIRE; // which locks nothing itself
    options_.backend = RF_BACKEND_THREADS;
    ASSERT_EQ(0, rf_engine_open(&engine, &options_));
    rf_arena *arena = nullptr;
    EXPECT_EQ(0, rf_arena_open(engine, 1 << 20, 0, &arena));
    EXPECT_EQ(0u, LockedBytes());
    rf_arena_close(arena);
    ASSERT_EQ(0, rf_arena_open(engine, 10000, RF_ARENA_LOCKED, &arena));
    EXPECT_EQ(rf_arena_size(arena), LockedBytes());
    rf_arena_close(arena);
    EXPECT_EQ(0u, LockedBytes());
    EXPECT_EQ(-ENOMEM, rf_arena_open(engine, 1 << 20, RF_ARENA_LOCKED, &arena));
    limit.rlim_cur = limit.rlim_max = 0;
    ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
    EXPECT_EQ(-EPERM, rf_arena_open(engine, 4096, RF_ARENA_LOCKED, &arena));
    EXPECT_EQ(0, rf_arena_open(engine, 4096, 0, &arena));
    rf_arena_close(arena);
    EXPECT_EQ(0, rf_engine_close(engine)) << "something is left of those that failed";
  });
}

TEST_F(Engine, FilesThatCannotBeAreRefusedAsByOpen) {
  rf_engine *engine = nullptr;
  rf_file *file = nullptr;
  options_.choice = RF_CHOICE_REQUIRE;
  options_.backend = RF_BACKEND_THREADS;
  ASSERT_EQ(0, rf_engine_open(&engine, &options_));
  EXPECT_EQ(-ENOENT, rf_file_open(engine, "/nonexistent/file", O_RDONLY, 0, &file));
  EXPECT_EQ(-EISDIR, rf_file_open(engine, "/", O_RDONLY, 0, &file));
  EXPECT_EQ(-EBADF, rf_file_from_fd(engine, -1, true, &file));
  int directory = open("/", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(-EISDIR, rf_file_from_fd(engine, directory, true, &file));
  EXPECT_EQ(0, close(directory)) << "it was not taken";
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(0, rf_file_from_fd(engine, fd, true, &file));
  EXPECT_EQ(fd, rf_file_fd(file));
  EXPECT_EQ(0, rf_file_close(file));
  EXPECT_EQ(-1, fcntl(fd, F_GETFD)) << "it was the file's";
  EXPECT_EQ(0, rf_engine_close(engine));
}

// FAILURES: hosts without these libraries.  What this program needs was loaded before main().
TEST_F(Engine, NeedsNeitherLibraryWhereItRuns) {
  std::ifstream maps("/proc/self/maps");
  unsigned lines = 0;
  for (std::string line; std::getline(maps, line); lines++)
    for (const char *library : {"libaio.so", "liburing.so"})
      EXPECT_EQ(line.find(library), std::string::npos)
          << library << " is needed: is its static archive not installed?";
  EXPECT_GT(lines, 0u) << "/proc/self/maps cannot be read";
}

} // namespace
} // namespace conformance
