// SPDX-License-Identifier: Apache-2.0
// The program `ringfall`, seen from outside.
#include <gtest/gtest.h>

#include <jansson.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <algorithm>
#include <memory>
#include <ostream>

#include "loop_device.h"
#include "raw_host.h"
#include "tool_json.h"
#include "tool_process.h"

using tool_test::Directory;
using tool_test::Json;
using tool_test::Lines;
using tool_test::ParseJson;
using tool_test::Process;
using tool_test::RandomBytes;
using tool_test::ReadFile;
using tool_test::Result;
using tool_test::RunTool;
using tool_test::Terminal;
using tool_test::Text;
using tool_test::World;
using tool_test::WorldWithThreadsOnly;
using tool_test::WriteFile;

namespace {

using Names = std::set<std::string>;
using Arguments = std::vector<std::string>;
constexpr off_t kKiB = 1024;
constexpr off_t kMiB = 1024 * kKiB;
constexpr off_t kGiB = 1024 * kMiB;

Json Probe(const World &world = World()) {
  const Result result = RunTool({"probe", "--json"}, world);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return ParseJson(result.out);
}

json_t *BackendIn(const Json &probe, const std::string &name) {
  json_t *backends = json_object_get(probe.get(), "backends");
  size_t index;
  json_t *backend;
  json_array_foreach(backends, index, backend) if (Text(backend, "name") == name) return backend;
  return nullptr;
}

bool Usable(const std::string &backend) {
  return json_is_true(json_object_get(BackendIn(Probe(), backend), "usable"));
}

// Skips in an environment where the backend does not work, such as a container.
#define REQUIRE_BACKEND(name)                                                                      \
  if (!Usable(name))                                                                               \
  GTEST_SKIP() << "the backend " << (name) << " does not work here (see ringfall probe)"

bool SameModeAs(const std::string &path, mode_t mode) {
  struct stat stat_buffer;
  return stat(path.c_str(), &stat_buffer) == 0 && (stat_buffer.st_mode & 07777) == mode;
}

// ---- probe ----

TEST(Probe, NamesEveryBackendInOrderOfPreference) {
  const Json probe = Probe();
  json_t *backends = json_object_get(probe.get(), "backends");
  ASSERT_EQ(json_array_size(backends), 3u);
  EXPECT_EQ(Text(json_array_get(backends, 0), "name"), "io_uring");
  EXPECT_EQ(Text(json_array_get(backends, 1), "name"), "libaio");
  EXPECT_EQ(Text(json_array_get(backends, 2), "name"), "threads");
}

TEST(Probe, SelectsTheFirstUsableBackend) {
  const Json probe = Probe();
  json_t *backends = json_object_get(probe.get(), "backends");
  std::string first;
  for (size_t i = 0; i < json_array_size(backends) && first.empty(); i++)
    if (json_is_true(json_object_get(json_array_get(backends, i), "usable")))
      first = Text(json_array_get(backends, i), "name");
  EXPECT_EQ(Text(probe.get(), "selected"), first);
}

TEST(Probe, GivesTypedJson) {
  const Json probe = Probe();
  size_t index;
  json_t *backend;
  json_array_foreach(json_object_get(probe.get(), "backends"), index, backend) {
    EXPECT_TRUE(json_is_boolean(json_object_get(backend, "usable")));
    EXPECT_TRUE(json_is_string(json_object_get(backend, "stage")));
    EXPECT_TRUE(json_is_string(json_object_get(backend, "cause")));
    EXPECT_TRUE(json_is_integer(json_object_get(backend, "errno_value")));
    EXPECT_TRUE(json_is_integer(json_object_get(backend, "depth")));
    EXPECT_TRUE(json_is_integer(json_object_get(backend, "depth_asked")));
    EXPECT_TRUE(json_is_string(json_object_get(backend, "features")));
    for (const char *key : {"syscall", "errno", "why", "remedy"})
      EXPECT_NE(json_object_get(backend, key), nullptr) << key;
  }
  EXPECT_TRUE(json_is_string(json_object_get(json_object_get(probe.get(), "limits"), "kernel")));
  EXPECT_TRUE(json_is_null(json_object_get(probe.get(), "directory")));
}

TEST(Probe, SaysWhatRefusedWhenOnlyThreadsWork) {
  const Json probe = Probe(WorldWithThreadsOnly());
  EXPECT_EQ(Text(probe.get(), "selected"), "threads");
  for (const char *name : {"io_uring", "libaio"}) {
    const json_t *backend = BackendIn(probe, name);
    EXPECT_TRUE(json_is_false(json_object_get(backend, "usable"))) << name;
    if (Text(backend, "stage") == "build") continue;
    EXPECT_EQ(Text(backend, "errno"), "EPERM") << name;
    EXPECT_EQ(Text(backend, "cause"), "seccomp") << name;
    EXPECT_NE(Text(backend, "why"), "(no string)") << name;
  }
}

// The calls are tried in children, which the filter kills.
TEST(Probe, AndEveryOtherCommandSurvivesAFilterThatKills) {
  World world = WorldWithThreadsOnly();
  world.kills = true;
  const Json probe = Probe(world);
  EXPECT_EQ(Text(probe.get(), "selected"), "threads");
  for (const char *name : {"io_uring", "libaio"}) {
    const json_t *backend = BackendIn(probe, name);
    EXPECT_TRUE(json_is_false(json_object_get(backend, "usable"))) << name;
    if (Text(backend, "stage") == "build") continue;
    EXPECT_EQ(Text(backend, "cause"), "seccomp") << name;
  }
  const Directory directory;
  const Result result = RunTool({"write", directory.path() + "/new", "/proc/self/exe"}, world);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.signal, 0);
}

TEST(Probe, ExitsWithZeroWhenOnlyThreadsWork) {
  const Result result = RunTool({"probe"}, WorldWithThreadsOnly());
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_NE(result.out.find("EPERM"), std::string::npos) << result.out;
}

TEST(Probe, DescribesADirectoryAndLeavesNothingInIt) {
  const Directory directory;
  const Result result = RunTool({"probe", directory.path(), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json probe = ParseJson(result.out);
  const json_t *found = json_object_get(probe.get(), "directory");
  EXPECT_TRUE(json_is_true(json_object_get(found, "usable")));
  EXPECT_TRUE(json_is_string(json_object_get(found, "file_system")));
  EXPECT_TRUE(json_is_boolean(json_object_get(found, "direct")));
  EXPECT_GT(json_integer_value(json_object_get(found, "free_bytes")), 0);
  EXPECT_EQ(directory.Names(), Names());
}

TEST(Probe, FailsForADirectoryThatIsNotThere) {
  const Directory directory;
  const Result result = RunTool({"probe", directory / "missing"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(Lines(result.err), 1u) << result.err;
  EXPECT_NE(result.out.find("missing"), std::string::npos);
  EXPECT_NE(result.out.find("ENOENT"), std::string::npos) << result.out;
}

TEST(Probe, TakesTheEnvironmentIntoAccount) {
  World world;
  world.environment = {{"RINGFALL_BACKEND", "threads"}};
  const Json probe = Probe(world);
  EXPECT_EQ(Text(probe.get(), "selected"), "threads");
  EXPECT_EQ(Text(probe.get(), "environment"), "threads");
}

TEST(Probe, TellsAnEnvironmentThatMakesNoSense) {
  World world;
  world.environment = {{"RINGFALL_BACKEND", "floppy"}};
  const Result result = RunTool({"probe", "--json"}, world);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(Lines(result.err), 1u) << result.err;
  EXPECT_TRUE(json_is_null(json_object_get(ParseJson(result.out).get(), "selected")));
}

TEST(Probe, TellsWhatTheBuildFound) {
  EXPECT_NE(RunTool({"probe", "--build"}).out.find("liburing"), std::string::npos);
  const Result result = RunTool({"probe", "--build", "--json"});
  EXPECT_EQ(result.exit_code, 0);
  const Json json = ParseJson(result.out);
  const json_t *build = json_object_get(json.get(), "build");
  for (const char *name : {"liburing", "libaio"}) {
    const json_t *library = json_object_get(build, name);
    EXPECT_TRUE(json_is_boolean(json_object_get(library, "found"))) << name;
    EXPECT_NE(json_object_get(library, "remedy"), nullptr) << name;
  }
}

// ---- copy ----

struct CopyCase {
  const char *backend;
  bool direct;
};
void PrintTo(const CopyCase &value, std::ostream *out) {
  *out << value.backend << (value.direct ? ", direct" : ", buffered");
}

class Copy : public testing::TestWithParam<CopyCase> {
protected:
  Arguments Command(Arguments more) const {
    Arguments arguments = {"copy", "--backend", GetParam().backend};
    if (GetParam().direct) arguments.push_back("--direct");
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  // Nothing on stderr but, with O_DIRECT, notes that it was refused.
  static void ExpectQuiet(const Result &result) {
    if (GetParam().direct && result.err.find("refuses O_DIRECT") != std::string::npos) return;
    EXPECT_EQ(result.err, "");
  }

  const Directory directory_;
};

INSTANTIATE_TEST_SUITE_P(Each, Copy,
                         testing::Values(CopyCase{"io_uring", false}, CopyCase{"io_uring", true},
                                         CopyCase{"libaio", false}, CopyCase{"libaio", true},
                                         CopyCase{"threads", false}, CopyCase{"threads", true}),
                         [](const testing::TestParamInfo<CopyCase> &each) {
                           return std::string(each.param.backend) +
                                  (each.param.direct ? "_direct" : "_buffered");
                         });

TEST_P(Copy, IsExactForAnySize) {
  REQUIRE_BACKEND(GetParam().backend);
  const std::string source = directory_ / "source";
  const std::string target = directory_ / "target";
  for (const off_t size : {off_t{0}, off_t{1}, off_t{511}, off_t{512}, off_t{513}, off_t{4095},
                           off_t{4096}, off_t{4097}, kMiB - 1, kMiB, kMiB + 1, 10 * kMiB + 3}) {
    unlink(source.c_str());
    const std::string content =
        RandomBytes(static_cast<size_t>(size), static_cast<unsigned long long>(size));
    ASSERT_TRUE(WriteFile(source, content));
    const Result result = RunTool(Command({source, target}));
    ASSERT_EQ(result.exit_code, 0) << size << ": " << result.err;
    ExpectQuiet(result);
    EXPECT_TRUE(ReadFile(target) == content) << size;
    const Result sum = Process({source}, World(), "sha256sum").Wait();
    EXPECT_NE(result.out.find("sha256 " + sum.out.substr(0, 64)), std::string::npos)
        << size << ": " << result.out << sum.out;
    EXPECT_EQ(Lines(result.out), 1u);
    EXPECT_EQ(directory_.Names(), (Names{"source", "target"}));
  }
}

off_t AllocatedBytes(const std::string &path) {
  struct stat stat_buffer;
  return stat(path.c_str(), &stat_buffer) == 0 ? stat_buffer.st_blocks * 512 : -1;
}

// True if both have the same bytes wherever the first has data; what is a hole reads as zeros.
bool SameWhereFirstHasData(int first, int second) {
  std::string one(static_cast<size_t>(kMiB), '\0');
  std::string two(static_cast<size_t>(kMiB), '\0');
  off_t at = 0;
  while ((at = lseek(first, at, SEEK_DATA)) >= 0) {
    const off_t end = lseek(first, at, SEEK_HOLE);
    while (at < end) {
      const size_t length = static_cast<size_t>(std::min(kMiB, end - at));
      if (pread(first, &one[0], length, at) != static_cast<ssize_t>(length) ||
          pread(second, &two[0], length, at) != static_cast<ssize_t>(length) ||
          memcmp(one.data(), two.data(), length) != 0)
        return false;
      at += static_cast<off_t>(length);
    }
  }
  return errno == ENXIO;
}

bool SameContent(const std::string &first, const std::string &second) {
  const int one = open(first.c_str(), O_RDONLY | O_CLOEXEC);
  const int two = open(second.c_str(), O_RDONLY | O_CLOEXEC);
  const bool same = lseek(one, 0, SEEK_END) == lseek(two, 0, SEEK_END) &&
                    SameWhereFirstHasData(one, two) && SameWhereFirstHasData(two, one);
  close(one);
  close(two);
  return same;
}

TEST_P(Copy, KeepsTheHolesOfFiveGigabytes) {
  REQUIRE_BACKEND(GetParam().backend);
  const std::string source = directory_ / "source";
  const std::string target = directory_ / "target";
  ASSERT_TRUE(WriteFile(source, RandomBytes(4096)));
  ASSERT_TRUE(WriteFile(source, RandomBytes(100000, 2), kGiB + 12345));
  ASSERT_TRUE(WriteFile(source, RandomBytes(3 * kMiB, 3), 3 * kGiB - kMiB));
  ASSERT_TRUE(WriteFile(source, RandomBytes(7, 4), 5 * kGiB + 1234560));
  if (AllocatedBytes(source) > kGiB)
    GTEST_SKIP() << "the file system of " << directory_.path() << " has no sparse files";
  const Result result = RunTool(Command({"--checksum", "none", source, target}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(SameContent(source, target));
  EXPECT_LE(AllocatedBytes(target), AllocatedBytes(source) + 256 * kKiB);
}

TEST_P(Copy, LeavesAnOldFileAloneWhenAWriteFails) {
  REQUIRE_BACKEND(GetParam().backend);
  ASSERT_TRUE(WriteFile(directory_ / "source", RandomBytes(3 * kMiB)));
  ASSERT_TRUE(WriteFile(directory_ / "target", "old"));
  World world;
  world.file_size = kMiB;
  const Result result = RunTool(Command({directory_ / "source", directory_ / "target"}), world);
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_NE(result.err.find("File too large"), std::string::npos) << result.err;
  EXPECT_EQ(ReadFile(directory_ / "target"), "old");
  EXPECT_EQ(directory_.Names(), (Names{"source", "target"}));
}

TEST_P(Copy, WorksWhereFilesNeedANameFromTheStart) {
  REQUIRE_BACKEND(GetParam().backend);
  World world;
  world.no_tmpfile = true;
  const std::string content = RandomBytes(2 * kMiB + 17);
  ASSERT_TRUE(WriteFile(directory_ / "source", content));
  ASSERT_TRUE(WriteFile(directory_ / "target", "old"));
  const Result result =
      RunTool(Command({"--sync", directory_ / "source", directory_ / "target"}), world);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(ReadFile(directory_ / "target") == content);
  EXPECT_EQ(directory_.Names(), (Names{"source", "target"}));
}

class CopyOnce : public testing::Test {
protected:
  void SetUp() override { ASSERT_TRUE(WriteFile(source_, "content")); }

  // A copy that is under way until it is stopped: the checksum of a terabyte takes minutes.
  static constexpr off_t kEndless = 1024 * kGiB;
  void MakeEndless(off_t size = kEndless) {
    ASSERT_TRUE(WriteFile(source_, RandomBytes(2 * kMiB)));
    ASSERT_EQ(truncate(source_.c_str(), size), 0) << strerror(errno);
  }

  // True once the copy has been begun in a file of its own in the directory.
  bool Begun(Process &process) {
    return process.Until([&] {
      return process.HasOpen(directory_.path() + "/#") ||
             process.HasOpen(directory_.path() + "/.target.ringfall-");
    });
  }

  const Directory directory_;
  const std::string source_ = directory_ / "source";
  const std::string target_ = directory_ / "target";
};

TEST_F(CopyOnce, ComputesTheChecksumOfHolesAsZeros) {
  ASSERT_TRUE(WriteFile(source_, RandomBytes(10000), 300 * kMiB + 77));
  ASSERT_EQ(truncate(source_.c_str(), 400 * kMiB + 1), 0);
  const Result result = RunTool({"copy", source_, target_});
  const Result sum = Process({source_}, World(), "sha256sum").Wait();
  EXPECT_NE(result.out.find(sum.out.substr(0, 64)), std::string::npos) << result.out << sum.out;
  EXPECT_TRUE(SameContent(source_, target_));
}

TEST_F(CopyOnce, KeepsThePermissionBits) {
  ASSERT_EQ(chmod(source_.c_str(), 0751), 0);
  ASSERT_EQ(RunTool({"copy", source_, target_}).exit_code, 0);
  EXPECT_TRUE(SameModeAs(target_, 0751));
}

TEST_F(CopyOnce, DoesNotMakeASetUserIdProgram) {
  ASSERT_EQ(chmod(source_.c_str(), 04755), 0);
  ASSERT_EQ(RunTool({"copy", source_, target_}).exit_code, 0);
  EXPECT_TRUE(SameModeAs(target_, 0755));
}

TEST_F(CopyOnce, ReplacesALongerFile) {
  ASSERT_TRUE(WriteFile(target_, std::string(100000, 'x')));
  ASSERT_EQ(RunTool({"copy", "--sync", source_, target_}).exit_code, 0);
  EXPECT_EQ(ReadFile(target_), "content");
}

TEST_F(CopyOnce, ReplacesWhatASymbolicLinkPointsTo) {
  ASSERT_TRUE(WriteFile(target_, "old"));
  ASSERT_EQ(symlink("target", (directory_ / "link").c_str()), 0);
  ASSERT_EQ(RunTool({"copy", source_, directory_ / "link"}).exit_code, 0);
  EXPECT_EQ(ReadFile(target_), "content");
  char link[16];
  EXPECT_EQ(readlink((directory_ / "link").c_str(), link, sizeof(link)), 6);
}

TEST_F(CopyOnce, TakesANameAsLongAsNamesCanBe) {
  const std::string name(255, 'n');
  World world;
  world.no_tmpfile = true;
  ASSERT_EQ(RunTool({"copy", source_, directory_ / name}, world).exit_code, 0);
  EXPECT_EQ(directory_.Names(), (Names{"source", name}));
}

TEST_F(CopyOnce, GivesTypedJson) {
  const Result result = RunTool({"copy", "--json", source_, target_});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = ParseJson(result.out);
  EXPECT_EQ(json_integer_value(json_object_get(json.get(), "bytes")), 7);
  EXPECT_TRUE(json_is_real(json_object_get(json.get(), "seconds")));
  EXPECT_TRUE(json_is_real(json_object_get(json.get(), "mib_per_second")));
  EXPECT_EQ(Text(json.get(), "sha256").size(), 64u);
}

TEST_F(CopyOnce, FollowsTheEnvironmentUnlessABackendIsNamed) {
  World world;
  world.environment = {{"RINGFALL_BACKEND", "threads"}};
  EXPECT_NE(RunTool({"copy", source_, target_}, world).out.find(", threads,"), std::string::npos);
  world.environment = {{"RINGFALL_BACKEND", "floppy"}};
  EXPECT_FAILS(RunTool({"copy", source_, target_}, world), 2);
  EXPECT_EQ(RunTool({"copy", "--backend", "threads", source_, target_}, world).exit_code, 0);
}

TEST_F(CopyOnce, RefusesABackendThatDoesNotWork) {
  for (const char *backend : {"io_uring", "libaio"}) {
    const Result result =
        RunTool({"copy", "--backend", backend, source_, target_}, WorldWithThreadsOnly());
    EXPECT_FAILS(result, 3);
    EXPECT_NE(result.err.find(backend), std::string::npos) << result.err;
  }
  World world = WorldWithThreadsOnly();
  world.environment = {{"RINGFALL_BACKEND", "require:io_uring"}};
  EXPECT_FAILS(RunTool({"copy", source_, target_}, world), 3);
  EXPECT_EQ(directory_.Names(), Names{"source"});
}

TEST_F(CopyOnce, FallsBackToThreadsByItself) {
  const Result result = RunTool({"copy", source_, target_}, WorldWithThreadsOnly());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find(", threads,"), std::string::npos) << result.out;
}

TEST_F(CopyOnce, RefusesWhatCannotBeCopied) {
  ASSERT_EQ(mkfifo((directory_ / "pipe").c_str(), 0600), 0);
  EXPECT_FAILS(RunTool({"copy", directory_ / "missing", target_}), 1);
  EXPECT_FAILS(RunTool({"copy", directory_.path(), target_}), 1);
  EXPECT_FAILS(RunTool({"copy", "/dev/null", target_}), 1);
  EXPECT_FAILS(RunTool({"copy", directory_ / "pipe", target_}), 1);
  EXPECT_EQ(directory_.Names(), (Names{"pipe", "source"}));
}

TEST_F(CopyOnce, RefusesWhatCannotBeReplaced) {
  ASSERT_EQ(link(source_.c_str(), (directory_ / "same").c_str()), 0);
  ASSERT_EQ(symlink("nowhere", (directory_ / "dangling").c_str()), 0);
  EXPECT_FAILS(RunTool({"copy", source_, directory_.path()}), 1);
  EXPECT_FAILS(RunTool({"copy", source_, directory_.path() + "/"}), 1);
  EXPECT_FAILS(RunTool({"copy", source_, directory_ / "missing/target"}), 1);
  EXPECT_FAILS(RunTool({"copy", source_, "/dev/null"}), 1);
  EXPECT_FAILS(RunTool({"copy", source_, source_}), 1);
  EXPECT_FAILS(RunTool({"copy", source_, directory_ / "same"}), 1);
  EXPECT_FAILS(RunTool({"copy", source_, directory_ / "dangling"}), 1);
  EXPECT_FAILS(RunTool({"copy", source_, ""}), 1);
  EXPECT_EQ(ReadFile(source_), "content");
  EXPECT_EQ(directory_.Names(), (Names{"dangling", "same", "source"}));
}

TEST_F(CopyOnce, KeepsItsMessagesOnOneLine) {
  const Result result = RunTool({"copy", directory_ / "a\nb", target_});
  EXPECT_FAILS(result, 1);
  EXPECT_NE(result.err.find("a?b"), std::string::npos) << result.err;
}

TEST_F(CopyOnce, LeavesNothingBehindWhenStoppedBySignals) {
  MakeEndless();
  for (const bool no_tmpfile : {false, true}) {
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
      World world;
      world.no_tmpfile = no_tmpfile;
      Process process({"copy", source_, target_}, world);
      ASSERT_TRUE(Begun(process)) << process.Wait().err;
      process.Signal(number);
      const Result result = process.Wait();
      EXPECT_EQ(result.signal, number);
      EXPECT_EQ(Lines(result.err), 1u) << result.err;
      EXPECT_EQ(directory_.Names(), Names{"source"});
    }
  }
}

TEST_F(CopyOnce, LeavesNothingBehindWhenKilled) {
  MakeEndless();
  Process process({"copy", source_, target_});
  ASSERT_TRUE(Begun(process)) << process.Wait().err;
  if (process.HasOpen(".target.ringfall-"))
    GTEST_SKIP() << "the file system of " << directory_.path() << " lacks O_TMPFILE";
  process.Signal(SIGKILL);
  EXPECT_EQ(process.Wait().signal, SIGKILL);
  EXPECT_EQ(directory_.Names(), Names{"source"});
}

TEST_F(CopyOnce, NoticesThatTheSourceGrows) {
  MakeEndless(2 * kGiB);
  ASSERT_TRUE(WriteFile(target_, "old"));
  Process process({"copy", source_, target_});
  ASSERT_TRUE(Begun(process)) << process.Wait().err;
  ASSERT_TRUE(WriteFile(source_, "more", 2 * kGiB));
  const Result result = process.Wait();
  EXPECT_FAILS(result, 1);
  EXPECT_NE(result.err.find("longer"), std::string::npos) << result.err;
  EXPECT_TRUE(ReadFile(target_) == "old");
}

TEST_F(CopyOnce, NoticesThatTheSourceShrinks) {
  MakeEndless(2 * kGiB);
  ASSERT_TRUE(WriteFile(target_, "old"));
  Process process({"copy", source_, target_});
  ASSERT_TRUE(Begun(process)) << process.Wait().err;
  ASSERT_EQ(truncate(source_.c_str(), kMiB), 0);
  const Result result = process.Wait();
  EXPECT_FAILS(result, 1);
  EXPECT_NE(result.err.find("shorter"), std::string::npos) << result.err;
  EXPECT_TRUE(ReadFile(target_) == "old");
}

TEST_F(CopyOnce, NoticesThatTheSourceIsWrittenTo) {
  MakeEndless(2 * kGiB);
  Process process({"copy", source_, target_});
  ASSERT_TRUE(Begun(process)) << process.Wait().err;
  ASSERT_TRUE(WriteFile(source_, "other", kMiB));
  EXPECT_FAILS(process.Wait(), 1);
  EXPECT_EQ(directory_.Names(), Names{"source"});
}

TEST_F(CopyOnce, SaysThatOutputCouldNotBeWritten) {
  World world;
  world.output = "/dev/full";
  const Result result = RunTool({"copy", source_, target_}, world);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(Lines(result.err), 1u) << result.err;
}

// ---- a small file system ----

// A tmpfs of 2 MiB, seen by this process and its children only.
class SmallFileSystem : public testing::Test {
protected:
  void SetUp() override {
    ASSERT_EQ(mkdir(small_.c_str(), 0755), 0);
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", small_.c_str(), "tmpfs", 0, "size=2m") != 0)
      GTEST_SKIP() << "needs the privilege to mount a tmpfs: " << strerror(errno);
    mounted_ = true;
  }
  void TearDown() override {
    if (mounted_) umount2(small_.c_str(), MNT_DETACH);
  }

  const Directory directory_;
  const std::string small_ = directory_ / "small";
  bool mounted_ = false;
};

TEST_F(SmallFileSystem, KeepsTheOldFileWhenACopyDoesNotFit) {
  const std::string target = small_ + "/target";
  ASSERT_TRUE(WriteFile(directory_ / "source", RandomBytes(5 * kMiB)));
  ASSERT_TRUE(WriteFile(target, "old"));
  for (const char *backend : {"auto", "threads"}) {
    const Result result = RunTool({"copy", "--backend", backend, directory_ / "source", target});
    EXPECT_FAILS(result, 1);
    EXPECT_NE(result.err.find(target), std::string::npos) << result.err;
    EXPECT_NE(result.err.find(strerror(ENOSPC)), std::string::npos) << result.err;
    EXPECT_TRUE(ReadFile(target) == "old");
    EXPECT_EQ(Directory::Names(small_), Names{"target"});
  }
}

TEST_F(SmallFileSystem, TellsBenchThatThereIsNoSpace) {
  const Result result = RunTool({"bench", "--dir", small_, "--size", "64M"});
  EXPECT_FAILS(result, 1);
  EXPECT_NE(result.err.find(strerror(ENOSPC)), std::string::npos) << result.err;
  EXPECT_EQ(Directory::Names(small_), Names());
}

TEST_F(SmallFileSystem, IsBenchedWithASmallerFile) {
  const Result result = RunTool({"bench", "--dir", small_, "--seconds", "0.1", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = ParseJson(result.out);
  const json_t *size = json_object_get(json_object_get(json.get(), "file"), "size");
  EXPECT_GT(json_integer_value(size), 0);
  EXPECT_LE(json_integer_value(size), kMiB);
}

TEST_F(SmallFileSystem, IsTunedWithAFileThatTakesAllOfIt) {
  ASSERT_EQ(mount("none", small_.c_str(), "tmpfs", MS_REMOUNT, "size=4m"), 0);
  for (const char *backend : {"threads", "all"}) { // a ring may keep the room for a while
    const Result result =
        RunTool({"tune", small_, "--backend", backend, "--size", "4M", "--time", "0.3"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
  }
  EXPECT_FAILS(RunTool({"tune", small_, "--size", "8M", "--time", "0.3"}), 1);
  EXPECT_EQ(Directory::Names(small_), Names());
}

// ---- bench ----

class Bench : public testing::Test {
protected:
  // Each result of a run that is to go well.
  void ExpectVerified(const Arguments &more, bool writes) {
    Arguments arguments = {"bench", "--dir", directory_.path(), "--seconds", "0.2", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Result result = RunTool(arguments);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    const Json json = ParseJson(result.out);
    json_t *results = json_object_get(json.get(), "results");
    size_t index;
    json_t *one;
    bool threads = false;
    json_array_foreach(results, index, one) {
      threads = threads || Text(one, "backend") == "threads";
      if (json_is_true(json_object_get(one, "usable"))) ExpectTyped(one, writes);
    }
    EXPECT_TRUE(threads);
    EXPECT_EQ(directory_.Names(), Names());
  }

  static void ExpectTyped(const json_t *one, bool writes) {
    const std::string name = Text(one, "backend");
    EXPECT_TRUE(json_is_true(json_object_get(one, "verified"))) << name;
    EXPECT_GT(json_integer_value(json_object_get(one, "verified_bytes")), 0) << name;
    EXPECT_GT(json_integer_value(json_object_get(one, writes ? "writes" : "reads")), 0) << name;
    for (const char *key : {"iops", "mib_per_second", "cpu_us_per_io", "system_calls_per_io"})
      EXPECT_TRUE(json_is_real(json_object_get(one, key))) << name << " " << key;
    const json_t *latency = json_object_get(one, "latency_us");
    double last = 0;
    for (const char *key : {"p50", "p99", "p99_9"}) {
      EXPECT_TRUE(json_is_real(json_object_get(latency, key))) << name << " " << key;
      EXPECT_GE(json_real_value(json_object_get(latency, key)), last) << name << " " << key;
      last = json_real_value(json_object_get(latency, key));
    }
    EXPECT_GT(last, 0) << name;
  }

  bool DirectWorks() {
    const Json probe = ParseJson(RunTool({"probe", "--json", directory_.path()}).out);
    return json_is_true(json_object_get(json_object_get(probe.get(), "directory"), "direct"));
  }

  // A file that bench made and left.
  void MakeKept() {
    const Result result = RunTool({"bench", "--file", file_, "--keep", "--size", "256K",
                                   "--seconds", "0.05", "--backend", "threads"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    ASSERT_EQ(directory_.Names(), Names{"file"});
    ASSERT_EQ(ReadFile(file_).size(), 256u * kKiB);
  }

  Result ReadKept(const Arguments &more = {}) {
    Arguments arguments = {"bench", "--file", file_, "--rw", "read", "--seconds", "0.2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunTool(arguments);
  }

  const Directory directory_;
  const std::string file_ = directory_ / "file";
};

TEST_F(Bench, VerifiesEveryModeOnEveryBackend) {
  for (const char *mode : {"read", "randread", "write", "randwrite", "mixed"}) {
    SCOPED_TRACE(mode);
    const bool writes = strstr(mode, "write") != nullptr || strcmp(mode, "mixed") == 0;
    ExpectVerified({"--size", "8M", "--rw", mode}, writes);
  }
}

TEST_F(Bench, VerifiesEveryModeWithDirectIo) {
  if (!DirectWorks()) GTEST_SKIP() << "no O_DIRECT in " << directory_.path();
  for (const char *mode : {"read", "randread", "write", "randwrite", "mixed"}) {
    SCOPED_TRACE(mode);
    const bool writes = strstr(mode, "write") != nullptr || strcmp(mode, "mixed") == 0;
    ExpectVerified({"--size", "8M", "--rw", mode, "--direct"}, writes);
  }
}

TEST_F(Bench, VerifiesBlocksOfOtherSizesAndDepths) {
  ExpectVerified({"--size", "4M", "--rw", "mixed", "--block", "512"}, true);
  ExpectVerified({"--size", "9M", "--rw", "mixed", "--block", "3M", "--depth", "8"}, true);
  ExpectVerified({"--size", "64K", "--rw", "randwrite", "--depth", "1000"}, true);
  ExpectVerified({"--size", "4M", "--rw", "randread", "--depth", "1"}, false);
  ExpectVerified({"--size", "4096", "--rw", "write"}, true);
}

TEST_F(Bench, PrintsOneTable) {
  const Result result =
      RunTool({"bench", "--dir", directory_.path(), "--size", "1M", "--seconds", "0.05"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  for (const char *word : {"io_uring", "libaio", "threads", "IOPS", "p99.9", "verified"})
    EXPECT_NE(result.out.find(word), std::string::npos) << word << " in\n" << result.out;
}

TEST_F(Bench, SaysWhyABackendIsNotInTheTable) {
  const Result result =
      RunTool({"bench", "--dir", directory_.path(), "--size", "1M", "--seconds", "0.05"},
              WorldWithThreadsOnly());
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("not usable: "), std::string::npos) << result.out;
  EXPECT_FAILS(RunTool({"bench", "--backend", "io_uring"}, WorldWithThreadsOnly()), 3);
}

TEST_F(Bench, KnowsAFileItKept) {
  MakeKept();
  const Result result = ReadKept({"--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const Json json = ParseJson(result.out);
  EXPECT_EQ(Text(json_object_get(json.get(), "work"), "verification"), "any version");
  EXPECT_EQ(directory_.Names(), Names{"file"});
}

TEST_F(Bench, FindsADamagedByte) {
  MakeKept();
  std::string content = ReadFile(file_);
  const size_t at = 100 * kKiB + 333;
  ASSERT_TRUE(WriteFile(file_, std::string(1, static_cast<char>(~content[at])), at));
  const Result result = ReadKept();
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_NE(result.out.find(" NO\n"), std::string::npos) << result.out;
  const Result json_result = ReadKept({"--json", "--backend", "threads"});
  EXPECT_EQ(json_result.exit_code, 4);
  EXPECT_EQ(Lines(json_result.err), 1u) << json_result.err;
  const Json json = ParseJson(json_result.out);
  const json_t *one = json_array_get(json_object_get(json.get(), "results"), 0);
  EXPECT_TRUE(json_is_false(json_object_get(one, "verified")));
}

TEST_F(Bench, FindsDamageInTheVeryFirstSector) {
  MakeKept();
  ASSERT_TRUE(WriteFile(file_, std::string(512, '\0')));
  EXPECT_EQ(ReadKept({"--backend", "threads"}).exit_code, 4);
}

TEST_F(Bench, FindsAMisplacedBlock) {
  MakeKept();
  ASSERT_TRUE(WriteFile(file_, ReadFile(file_).substr(0, 4096), 32 * kKiB));
  const Result result = ReadKept({"--backend", "threads"});
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_NE(result.err.find("belongs at offset 0"), std::string::npos) << result.err;
}

// The version is the fourth number of a sector.  Bench knows it only of what it wrote in this run,
// so the file is damaged while it reads.
TEST_F(Bench, FindsAStaleBlockWhileItRuns) {
  MakeKept();
  Process process({"bench", "--file", file_, "--overwrite", "--rw", "randread", "--seconds", "60",
                   "--backend", "threads"});
  ASSERT_TRUE(process.Until([&] { return Lines(process.Output()) > 0; }));
  ASSERT_TRUE(WriteFile(file_, std::string(8, '\0'), 8192 + 24));
  const Result result = process.Wait();
  EXPECT_EQ(result.exit_code, 4) << result.err;
  EXPECT_NE(result.err.find("stale"), std::string::npos) << result.err;
}

TEST_F(Bench, OnlyComparesASampleOfAForeignFile) {
  ASSERT_TRUE(WriteFile(file_, RandomBytes(kMiB + 100)));
  const std::string before = ReadFile(file_);
  const Result result = ReadKept({"--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const Json json = ParseJson(result.out);
  EXPECT_EQ(Text(json_object_get(json.get(), "work"), "verification"), "sample");
  EXPECT_TRUE(ReadFile(file_) == before);
}

TEST_F(Bench, DoesNotWriteToAFileWithoutLeave) {
  ASSERT_TRUE(WriteFile(file_, RandomBytes(kMiB)));
  const std::string before = ReadFile(file_);
  for (const char *mode : {"write", "randwrite", "mixed"})
    EXPECT_FAILS(RunTool({"bench", "--file", file_, "--rw", mode}), 2);
  EXPECT_FAILS(RunTool({"bench", "--file", file_, "--keep"}), 2);
  EXPECT_TRUE(ReadFile(file_) == before);
  const Result result = RunTool({"bench", "--file", file_, "--rw", "randwrite", "--overwrite",
                                 "--seconds", "0.1", "--backend", "threads"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_FALSE(ReadFile(file_) == before);
}

TEST_F(Bench, LeavesNothingBehindWhenStopped) {
  for (const bool no_tmpfile : {false, true}) {
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGKILL}) {
      World world;
      world.no_tmpfile = no_tmpfile;
      Process process({"bench", "--dir", directory_.path(), "--size", "1M", "--seconds", "1000"},
                      world);
      ASSERT_TRUE(process.Until([&] { return Lines(process.Output()) > 0; }));
      /* Without O_TMPFILE a kill may come between the making of the probe's file and its unlinking.
       * Both are done before a backend is opened, of which a ring is the one that can be seen. */
      if (number == SIGKILL && no_tmpfile) {
        if (!raw_host::Works(RF_BACKEND_IO_URING)) continue;
        ASSERT_TRUE(process.Until([&] { return process.HasOpen("[io_uring]"); }));
      }
      process.Signal(number);
      EXPECT_EQ(process.Wait().signal, number);
      EXPECT_EQ(directory_.Names(), Names());
    }
  }
}

TEST_F(Bench, MakesAndRemovesANamedFile) {
  const Result result = RunTool({"bench", "--file", file_, "--size", "1M", "--seconds", "0.05"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(directory_.Names(), Names());
}

// A block device with sectors of 4096 bytes, made of a file.
class Device : public testing::Test {
protected:
  void SetUp() override {
    ASSERT_TRUE(WriteFile(image_, RandomBytes(8 * kMiB)));
    loop_ = std::make_unique<loop_device::Loop>(image_, 4096);
    if (!loop_->missing().empty()) GTEST_SKIP() << "needs " << loop_->missing();
    device_ = loop_->path();
  }

  const Directory directory_;
  const std::string image_ = directory_ / "image";
  std::unique_ptr<loop_device::Loop> loop_;
  std::string device_;
};

TEST_F(Device, GetsNoBlocksThatDirectIoCannotTake) {
  const Result result = RunTool({"bench", "--file", device_, "--direct", "--block", "512"});
  EXPECT_FAILS(result, 2);
  EXPECT_NE(result.err.find("4096"), std::string::npos) << result.err;
}

TEST_F(Device, IsBenchedAndVerified) {
  EXPECT_FAILS(RunTool({"bench", "--file", device_, "--rw", "mixed"}), 2);
  for (const char *mode : {"mixed", "write"}) {
    const Result result = RunTool(
        {"bench", "--file", device_, "--direct", "--overwrite", "--rw", mode, "--seconds", "0.2"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
  }
}

TEST_F(Device, IsCopiedAndNotCopiedTo) {
  const std::string target = directory_ / "target";
  for (const char *option : {"--direct", "--sync"}) {
    const Result result = RunTool({"copy", option, device_, target});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(ReadFile(target) == ReadFile(image_));
  }
  EXPECT_FAILS(RunTool({"copy", target, device_}), 1);
}

// ---- the command line ----

class CommandLine : public testing::TestWithParam<Arguments> {};

TEST_P(CommandLine, IsRefusedWithOneLineAndCodeTwo) {
  EXPECT_FAILS(RunTool(GetParam()), 2);
}

INSTANTIATE_TEST_SUITE_P(
    Bad, CommandLine,
    testing::Values(
        Arguments{}, Arguments{"frobnicate"}, Arguments{"--frobnicate"},
        Arguments{"help", "frobnicate"}, Arguments{"help", "--frobnicate"},
        Arguments{"help", "copy", "read"}, Arguments{"probe", "--frobnicate"},
        Arguments{"probe", "/", "/"}, Arguments{"probe", "--build", "/"}, Arguments{"copy"},
        Arguments{"copy", "one"}, Arguments{"copy", "a", "b", "c"},
        Arguments{"copy", "-x", "a", "b"}, Arguments{"copy", "--checksum", "md5", "a", "b"},
        Arguments{"copy", "--checksum"}, Arguments{"copy", "--backend", "floppy", "a", "b"},
        Arguments{"copy", "--backend", "all", "a", "b"},
        Arguments{"copy", "--direct=yes", "a", "b"}, Arguments{"bench", "word"},
        Arguments{"bench", "--size", "-1"}, Arguments{"bench", "--size", "0"},
        Arguments{"bench", "--size", ""}, Arguments{"bench", "--size", "1Q"},
        Arguments{"bench", "--size", "1KB"}, Arguments{"bench", "--size", "99999999999999999999"},
        Arguments{"bench", "--size", "9999999T"}, Arguments{"bench", "--size", "1K"},
        Arguments{"bench", "--block", "0"}, Arguments{"bench", "--block", "-4096"},
        Arguments{"bench", "--block", "1000"}, Arguments{"bench", "--depth", "0"},
        Arguments{"bench", "--depth", "65537"}, Arguments{"bench", "--depth", "-1"},
        Arguments{"bench", "--depth", "4294967297"}, Arguments{"bench", "--depth", "x"},
        Arguments{"bench", "--seconds", "0"}, Arguments{"bench", "--seconds", "-1"},
        Arguments{"bench", "--seconds", "nan"}, Arguments{"bench", "--seconds", "inf"},
        Arguments{"bench", "--rw", "sideways"}, Arguments{"bench", "--backend", "floppy"},
        Arguments{"bench", "--keep"}, Arguments{"bench", "--overwrite"},
        Arguments{"bench", "--dir", "/tmp", "--file", "x"}));

TEST(CommandLineFails, ForDirectoriesAndFilesThatCannotBeUsed) {
  const Directory directory;
  EXPECT_FAILS(RunTool({"bench", "--dir", directory / "missing"}), 1);
  EXPECT_FAILS(RunTool({"bench", "--file", directory.path()}), 1);
  EXPECT_FAILS(RunTool({"bench", "--file", directory / "missing/file"}), 1);
  EXPECT_FAILS(RunTool({"bench", "--file", "/dev/null"}), 1);
  EXPECT_FAILS(RunTool({"bench", "--dir", directory.path(), "--size", "8000000T"}), 1);
  EXPECT_EQ(directory.Names(), Names());
}

TEST(Help, GoesToStdoutAndNamesTheExitCodes) {
  for (const Arguments &arguments :
       {Arguments{"--help"}, Arguments{"help"}, Arguments{"help", "copy"},
        Arguments{"probe", "--help"}, Arguments{"bench", "--help"}, Arguments{"copy", "--help"}}) {
    const Result result = RunTool(arguments);
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.err, "");
    EXPECT_NE(result.out.find("Exit codes:"), std::string::npos) << result.out;
    EXPECT_NE(result.out.find("RINGFALL_BACKEND"), std::string::npos) << result.out;
  }
}

TEST(Help, HasAVersion) {
  const Result result = RunTool({"--version"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out.compare(0, 9, "ringfall "), 0) << result.out;
}

TEST(Help, OfACommandIsWhatTheCommandSaysItself) {
  for (const char *command : {"probe", "bench", "tune", "copy", "read", "write", "verify"}) {
    const Result result = RunTool({"help", command});
    EXPECT_EQ(result.exit_code, 0) << command;
    EXPECT_EQ(result.err, "");
    EXPECT_EQ(result.out.compare(0, 16, "Usage: ringfall "), 0) << result.out;
    EXPECT_EQ(result.out, RunTool({command, "--help"}).out);
  }
  for (const Arguments &arguments :
       {Arguments{"help"}, Arguments{"help", "help"}, Arguments{"help", "--help"}, Arguments{"-h"}})
    EXPECT_EQ(RunTool(arguments).out, RunTool({"--help"}).out);
}

// ---- colours ----

// What the program shows on a terminal, in this environment.
std::string ShownOnATerminal(const Terminal &terminal, const Arguments &arguments,
                             const std::vector<std::pair<std::string, std::string>> &environment) {
  World world;
  world.environment = {{"TERM", "xterm"}, {"NO_COLOR", ""}};
  for (const auto &variable : environment) world.environment.push_back(variable);
  world.output = "/proc/self/fd/" + std::to_string(terminal.slave());
  Process process(arguments, world);
  std::string shown;
  process.Until([&] { // a terminal that nobody reads from stops the program
    shown += terminal.Shown();
    return false;
  });
  EXPECT_EQ(process.Wait().exit_code, 0);
  return shown + terminal.Shown();
}

size_t Escapes(const std::string &text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\033'));
}

// As in a pipe: without colours, and without what a terminal makes of line ends.
std::string Plain(const std::string &shown) {
  std::string plain;
  for (size_t i = 0; i < shown.size(); i++) {
    if (shown[i] == '\033')
      i = shown.find('m', i);
    else if (shown[i] != '\r')
      plain += shown[i];
    if (i == std::string::npos) break;
  }
  return plain;
}

TEST(Colours, AreOnATerminal) {
  const Terminal terminal;
  if (!terminal.usable()) GTEST_SKIP() << "no pseudo terminals here";
  const std::string shown = ShownOnATerminal(terminal, {"probe"}, {});
  EXPECT_NE(shown.find("threads   \033[32mworks\033[0m"), std::string::npos) << shown;
  EXPECT_NE(shown.find("\033[1mLimits\033[0m"), std::string::npos) << shown;
}

TEST(Colours, AddNothingElse) {
  const Terminal terminal;
  if (!terminal.usable()) GTEST_SKIP() << "no pseudo terminals here";
  const Arguments report = {"probe", "--build"}; // the same each time
  const std::string shown = ShownOnATerminal(terminal, report, {});
  EXPECT_GT(Escapes(shown), 0u);
  EXPECT_EQ(Plain(shown), RunTool(report).out);
}

TEST(Colours, AreOfEveryCommandThatHasAny) {
  const Directory directory;
  const Terminal terminal;
  if (!terminal.usable()) GTEST_SKIP() << "no pseudo terminals here";
  ASSERT_TRUE(WriteFile(directory / "a", "content"));
  ASSERT_TRUE(WriteFile(directory / "b", "content"));
  EXPECT_EQ(
      ShownOnATerminal(terminal, {"verify", directory / "a", "--against", directory / "b"}, {}),
      directory / "a" + " and " + (directory / "b") + ": \033[32mequal\033[0m, 7 bytes\r\n");
  const std::string bench = ShownOnATerminal(
      terminal, {"bench", "--dir", directory.path(), "--size", "1M", "--seconds", "0.1"}, {});
  EXPECT_NE(bench.find("\033[1mbackend "), std::string::npos) << bench;
  const std::string tune = ShownOnATerminal(terminal,
                                            {"tune", directory.path(), "--size", "4M", "--time",
                                             "1", "--backend", "threads", "--direction", "read"},
                                            {});
  EXPECT_NE(tune.find("\033[1mread\033[0m: "), std::string::npos) << tune;
}

TEST(Colours, AreNotWhereNobodyWantsThem) {
  const Terminal terminal;
  if (!terminal.usable()) GTEST_SKIP() << "no pseudo terminals here";
  const std::vector<std::pair<std::string, std::string>> objections = {
      {"NO_COLOR", "1"}, {"TERM", "dumb"}, {"TERM", ""}};
  for (const auto &variable : objections)
    EXPECT_EQ(Escapes(ShownOnATerminal(terminal, {"probe"}, {variable})), 0u) << variable.first;
  EXPECT_EQ(Escapes(ShownOnATerminal(terminal, {"probe", "--json"}, {})), 0u);
  EXPECT_EQ(Escapes(ShownOnATerminal(terminal, {"probe", "--build", "--json"}, {})), 0u);
}

TEST(Colours, AreNotInAPipe) {
  World world;
  world.environment = {{"TERM", "xterm"}};
  const Result result = RunTool({"probe"}, world);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(Escapes(result.out + result.err), 0u) << result.out;
}

// ---- progress ----

// A pseudo terminal: the program's stderr is one end, what it shows there is read at the other.
TEST(Progress, IsShownOnATerminalAfterASecondAndErased) {
  const Directory directory;
  const Terminal terminal;
  if (!terminal.usable()) GTEST_SKIP() << "no pseudo terminals here";
  World world;
  world.error_fd = terminal.slave();
  const Result result = RunTool({"bench", "--dir", directory.path(), "--size", "1M", "--seconds",
                                 "1.5", "--backend", "threads"},
                                world);
  ASSERT_EQ(result.exit_code, 0);
  const std::string shown = terminal.Shown();
  EXPECT_NE(shown.find("threads [###"), std::string::npos) << shown;
  ASSERT_GT(shown.size(), 40u);
  EXPECT_EQ(shown.back(), '\r');
  EXPECT_EQ(shown.substr(shown.size() - 31, 30), std::string(30, ' '));
}

TEST(Progress, IsNotShownForWhatIsShort) {
  const Directory directory;
  const Terminal terminal;
  if (!terminal.usable()) GTEST_SKIP() << "no pseudo terminals here";
  ASSERT_TRUE(WriteFile(directory / "source", "content"));
  World world;
  world.error_fd = terminal.slave();
  EXPECT_EQ(RunTool({"copy", directory / "source", directory / "target"}, world).exit_code, 0);
  EXPECT_EQ(terminal.Shown(), "");
}

TEST(Progress, IsNotShownInAPipe) {
  const Directory directory;
  const Result result = RunTool({"bench", "--dir", directory.path(), "--size", "1M", "--seconds",
                                 "1.5", "--backend", "threads"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
}

} // namespace
