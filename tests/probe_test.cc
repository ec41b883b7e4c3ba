// SPDX-License-Identifier: Apache-2.0
// The probe: limits, verdicts on the host with and without obstacles, directories, files.
//
// Obstacles (filters, limits, users, mounts) are put up in children.  What a host may or may not
// have is found out by raw system calls, never by the probe itself.
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <ringfall/verdict.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/in_child.h"
#include "tests/seccomp_filter.h"

namespace {

using seccomp_filter::Deny;

constexpr unsigned kNobody = 65534;

// ---- helpers -----------------------------------------------------------------------------------

int SetupRing(unsigned entries) {
  io_uring_params params = {};
  return static_cast<int>(syscall(SYS_io_uring_setup, entries, &params));
}

// Does the kernel, without the library, set up a ring or a context?
bool RingsWork() {
  int fd = SetupRing(8);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

bool ContextsWork() {
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, 8, &context) != 0) return false;
  syscall(SYS_io_destroy, context);
  return true;
}

// What verdicts without any obstacle look like decides which tests make sense: a backend may be
// missing from this build.
rf_host Probe(const char *directory = nullptr, unsigned depth = 0) {
  rf_probe_options options = {};
  options.depth = depth;
  options.directory = directory;
  rf_host host;
  EXPECT_EQ(rf_probe_host(&options, &host), 0);
  return host;
}

bool Built(rf_backend_id id) {
  return Probe().verdicts[id].cause != RF_CAUSE_NOT_BUILT;
}

std::string Describe(const rf_verdict &v) {
  return std::string(rf_backend_name(v.backend)) + (v.usable ? " usable" : " unusable") +
         ", stage " + rf_stage_name(v.stage) + ", " + v.syscall + " errno " +
         std::to_string(v.error) + ", cause " + rf_cause_name(v.cause) +
         "\n  features: " + v.features + "\n  why: " + v.why + "\n  remedy: " + v.remedy;
}

bool Contains(const char *text, const std::string &part) {
  return std::string(text).find(part) != std::string::npos;
}

int64_t NumberIn(const char *path) {
  std::ifstream file(path);
  int64_t number;
  return file >> number ? number : -1;
}

std::set<std::string> Entries(const std::string &directory) {
  std::set<std::string> names;
  DIR *stream = opendir(directory.c_str());
  if (stream == nullptr) return names;
  while (dirent *entry = readdir(stream)) names.insert(entry->d_name);
  closedir(stream);
  return names;
}

// A directory of the test's own, on the file system of TEST_TMPDIR (or /tmp), removed at the end.
class Directory {
public:
  explicit Directory(const char *parent = nullptr) {
    const char *given = getenv("TEST_TMPDIR");
    std::string base = parent != nullptr ? parent : given != nullptr ? given : "/tmp";
    path_ = base + "/probe-test-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  ~Directory() {
    if (!path_.empty()) (void)!system(("rm -rf '" + path_ + "'").c_str());
  }
  const char *path() const { return path_.c_str(); }
  std::string operator/(const char *name) const { return path_ + "/" + name; }

private:
  std::string path_;
};

int MakeFile(const std::string &path, size_t bytes, int flags = O_RDWR) {
  int fd = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) return -1;
  std::string data(bytes, 'r');
  bool wrote = write(fd, data.data(), bytes) == static_cast<ssize_t>(bytes);
  close(fd);
  return wrote ? open(path.c_str(), flags | O_CLOEXEC) : -1;
}

void BecomeNobody() {
  if (geteuid() != 0) return; // ordinary already
  if (setgroups(0, nullptr) != 0 || setresgid(kNobody, kNobody, kNobody) != 0 ||
      setresuid(kNobody, kNobody, kNobody) != 0)
    in_child::Skip("to become another user");
}

void InstallOrSkip(std::initializer_list<seccomp_filter::Rule> rules) {
  if (seccomp_filter::Install(rules) != 0) in_child::Skip("seccomp filters");
}

// ---- names -------------------------------------------------------------------------------------

TEST(Names, OfBackendsLeadBackToThem) {
  for (int i = 0; i < RF_BACKENDS; i++) {
    auto id = static_cast<rf_backend_id>(i);
    rf_backend_id found = RF_BACKENDS;
    EXPECT_EQ(rf_backend_by_name(rf_backend_name(id), &found), 0);
    EXPECT_EQ(found, id);
  }
}

TEST(Names, RefuseBackendsThatDoNotExist) {
  rf_backend_id id = RF_BACKEND_LIBAIO;
  for (const char *name : {"", "uring", "IO_URING", "libaio ", "auto"})
    EXPECT_EQ(rf_backend_by_name(name, &id), -EINVAL) << name;
  EXPECT_EQ(rf_backend_by_name(nullptr, &id), -EINVAL);
  EXPECT_EQ(id, RF_BACKEND_LIBAIO);
}

TEST(Names, AreDistinctAndComplete) {
  std::set<std::string> stages, causes, sources;
  for (int i = 0; i <= RF_STAGE_IO; i++) stages.insert(rf_stage_name(static_cast<rf_stage>(i)));
  for (int i = 0; i <= RF_CAUSE_OTHER; i++) causes.insert(rf_cause_name(static_cast<rf_cause>(i)));
  for (int i = 0; i <= RF_ALIGNMENT_ASSUMED; i++)
    sources.insert(rf_alignment_source_name(static_cast<rf_alignment_source>(i)));
  EXPECT_EQ(stages.size(), RF_STAGE_IO + 1u);
  EXPECT_EQ(causes.size(), RF_CAUSE_OTHER + 1u);
  EXPECT_EQ(sources.size(), RF_ALIGNMENT_ASSUMED + 1u);
  EXPECT_EQ(causes.count("unknown") + stages.count("unknown") + sources.count("unknown"), 0u);
}

TEST(Names, SayUnknownForNumbersOutsideTheEnum) {
  EXPECT_STREQ(rf_backend_name(RF_BACKENDS), "unknown");
  EXPECT_STREQ(rf_backend_name(static_cast<rf_backend_id>(-1)), "unknown");
  EXPECT_STREQ(rf_stage_name(static_cast<rf_stage>(99)), "unknown");
  EXPECT_STREQ(rf_cause_name(static_cast<rf_cause>(-7)), "unknown");
  EXPECT_STREQ(rf_alignment_source_name(static_cast<rf_alignment_source>(4)), "unknown");
}

// ---- limits ------------------------------------------------------------------------------------

TEST(Limits, EqualTheSystemsOwn) {
  rf_limits limits;
  rlimit memlock, nofile;
  utsname names;
  rf_probe_limits(&limits);
  ASSERT_EQ(getrlimit(RLIMIT_MEMLOCK, &memlock), 0);
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &nofile), 0);
  ASSERT_EQ(uname(&names), 0);
  EXPECT_STREQ(limits.kernel, names.release);
  EXPECT_EQ(limits.memlock,
            memlock.rlim_cur == RLIM_INFINITY ? INT64_MAX : static_cast<int64_t>(memlock.rlim_cur));
  EXPECT_EQ(limits.nofile, static_cast<int64_t>(nofile.rlim_cur));
  EXPECT_EQ(limits.aio_max_nr, NumberIn("/proc/sys/fs/aio-max-nr"));
  EXPECT_EQ(limits.io_uring_disabled, NumberIn("/proc/sys/kernel/io_uring_disabled"));
}

TEST(Limits, FollowSetrlimit) {
  RF_IN_CHILD({
    rlimit lower = {12345 * 4096, 12345 * 4096};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &lower), 0);
    rf_limits limits;
    rf_probe_limits(&limits);
    EXPECT_EQ(limits.fsize, 12345 * 4096);
  });
}

TEST(Limits, ShowASeccompFilter) {
  RF_IN_CHILD({
    InstallOrSkip({});
    rf_limits limits;
    rf_probe_limits(&limits);
    EXPECT_EQ(limits.seccomp, 2);
  });
}

// ---- the host ----------------------------------------------------------------------------------

TEST(Host, FindsUsableWhatTheKernelOffers) {
  rf_host host = Probe();
  const rf_verdict *v = host.verdicts;
  EXPECT_TRUE(v[RF_BACKEND_THREADS].usable) << Describe(v[RF_BACKEND_THREADS]);
  if (Built(RF_BACKEND_IO_URING)) {
    EXPECT_EQ(v[RF_BACKEND_IO_URING].usable, RingsWork()) << Describe(v[RF_BACKEND_IO_URING]);
  }
  if (Built(RF_BACKEND_LIBAIO)) {
    EXPECT_EQ(v[RF_BACKEND_LIBAIO].usable, ContextsWork()) << Describe(v[RF_BACKEND_LIBAIO]);
  }
}

TEST(Host, SelectsTheFirstUsable) {
  rf_host host = Probe();
  for (int i = 0; i < static_cast<int>(host.selected); i++) EXPECT_FALSE(host.verdicts[i].usable);
  EXPECT_TRUE(host.verdicts[host.selected].usable);
}

TEST(Host, FillsEveryFieldOfEveryVerdict) {
  Directory directory;
  for (const char *place : {static_cast<const char *>(nullptr), directory.path()}) {
    rf_host host = Probe(place, 17);
    for (int i = 0; i < RF_BACKENDS; i++) {
      const rf_verdict &v = host.verdicts[i];
      EXPECT_EQ(v.backend, i);
      EXPECT_TRUE(v.tried);
      EXPECT_EQ(v.depth_asked, 17u);
      ASSERT_NE(v.syscall, nullptr);
      EXPECT_EQ(v.error == 0, v.stage == RF_STAGE_NONE) << Describe(v);
      EXPECT_EQ(v.error == 0, v.cause == RF_CAUSE_NONE) << Describe(v);
      EXPECT_EQ(v.error == 0, v.why[0] == '\0') << Describe(v);
      if (v.usable) {
        EXPECT_GE(v.depth, 1u);
        EXPECT_LE(v.depth, 17u);
        EXPECT_NE(v.features[0], '\0') << Describe(v);
      }
    }
  }
}

TEST(Host, TakesDepthsUpToTheMostAndRefusesMore) {
  EXPECT_EQ(Probe(nullptr, 1).verdicts[RF_BACKEND_THREADS].depth, 1u);
  EXPECT_EQ(Probe(nullptr, 65536).verdicts[RF_BACKEND_THREADS].depth, 65536u);
  rf_probe_options options = {};
  options.depth = 65537;
  rf_host host;
  EXPECT_EQ(rf_probe_host(&options, &host), -EINVAL);
  EXPECT_EQ(rf_probe_host(nullptr, nullptr), -EINVAL);
}

TEST(Host, StopsAtTheFirstUsableWhenAsked) {
  rf_probe_options options = {};
  options.first_only = true;
  rf_host host;
  ASSERT_EQ(rf_probe_host(&options, &host), 0);
  for (int i = 0; i < RF_BACKENDS; i++)
    EXPECT_EQ(host.verdicts[i].tried, i <= static_cast<int>(host.selected)) << i;
  EXPECT_EQ(host.selected, Probe().selected);
}

// Without the kernel's own workers for rings (iou-...), which outlive them a little.
size_t Threads() {
  size_t count = 0;
  for (const std::string &task : Entries("/proc/self/task")) {
    std::string name;
    std::ifstream("/proc/self/task/" + task + "/comm") >> name;
    count += !name.empty() && name.rfind("iou-", 0) != 0;
  }
  return count;
}

TEST(Host, LeavesNothingBehind) {
  Directory directory;
  auto files = Entries(directory.path());
  auto descriptors = Entries("/proc/self/fd").size();
  size_t threads = Threads();
  ASSERT_GE(threads, 1u);
  for (int i = 0; i < 3; i++) {
    Probe(directory.path());
    Probe();
  }
  EXPECT_EQ(Entries(directory.path()), files);
  EXPECT_EQ(Entries("/proc/self/fd").size(), descriptors);
  // A thread that was joined is gone from /proc a moment later, also the last of the test before.
  for (int i = 0; i < 1000 && Threads() > threads; i++)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_LE(Threads(), threads);
}

TEST(Host, RestsOnMemoryWhenTheDirectoryIsMissing) {
  rf_host with = Probe("/nonexistent/directory");
  EXPECT_EQ(with.selected, Probe().selected);
}

TEST(Host, CanBeProbedByManyThreadsAtOnce) {
  rf_backend_id expected = Probe().selected;
  std::vector<rf_host> hosts(4);
  std::vector<std::thread> threads;
  for (rf_host &host : hosts) threads.emplace_back([&host] { host = Probe(); });
  for (std::thread &thread : threads) thread.join();
  for (const rf_host &host : hosts) EXPECT_EQ(host.selected, expected);
}

TEST(Host, SurvivesAFileSizeLimitOfZero) {
  RF_IN_CHILD({
    rlimit none = {0, 0};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
    rf_host host = Probe();
    EXPECT_TRUE(host.verdicts[RF_BACKEND_THREADS].usable)
        << Describe(host.verdicts[RF_BACKEND_THREADS]);
  });
}

// ---- the host, with filters (FAILURES rows 1, 4, 5, 12)
// ------------------------------------------

class HostWithSetupDenied : public testing::TestWithParam<int> {};

TEST_P(HostWithSetupDenied, FallsBackAndNamesCallErrnoAndFilter) {
  if (!Built(RF_BACKEND_IO_URING) || !RingsWork()) GTEST_SKIP() << "needs io_uring";
  bool contexts = Built(RF_BACKEND_LIBAIO) && ContextsWork();
  int error = GetParam();
  RF_IN_CHILD({
    InstallOrSkip({Deny(SYS_io_uring_setup, error)});
    rf_host host = Probe();
    const rf_verdict &v = host.verdicts[RF_BACKEND_IO_URING];
    EXPECT_FALSE(v.usable);
    EXPECT_STREQ(v.syscall, "io_uring_setup");
    EXPECT_EQ(v.error, error);
    EXPECT_EQ(v.stage, RF_STAGE_SETUP);
    EXPECT_TRUE(Contains(v.why, "io_uring_setup")) << v.why;
    EXPECT_TRUE(Contains(v.why, strerrorname_np(error))) << v.why;
    // A kernel switch that explains EPERM goes first; see HostWithSysctl.
    EXPECT_EQ(v.cause, RF_CAUSE_SECCOMP) << Describe(v);
    EXPECT_TRUE(Contains(v.why, "seccomp")) << v.why;
    EXPECT_TRUE(Contains(v.remedy, "io_uring_setup")) << v.remedy;
    EXPECT_EQ(host.selected, contexts ? RF_BACKEND_LIBAIO : RF_BACKEND_THREADS);
  });
}

INSTANTIATE_TEST_SUITE_P(Errno, HostWithSetupDenied,
                         testing::Values(EPERM, ENOSYS, EACCES, EOPNOTSUPP, ENOMEM, ENOANO),
                         [](const testing::TestParamInfo<int> &parameter) {
                           return std::string(strerrorname_np(parameter.param));
                         });

class HostWithKillingFilter : public testing::TestWithParam<long> {};

TEST_P(HostWithKillingFilter, SurvivesInAChildAndSaysKilledBySeccomp) {
  if (!Built(RF_BACKEND_IO_URING) || !RingsWork()) GTEST_SKIP() << "needs io_uring";
  bool contexts = Built(RF_BACKEND_LIBAIO) && ContextsWork();
  long call = GetParam();
  RF_IN_CHILD({
    InstallOrSkip({seccomp_filter::Kill(call)});
    rf_probe_options options = {};
    options.in_child = true;
    rf_host host;
    ASSERT_EQ(rf_probe_host(&options, &host), 0);
    const rf_verdict &v = host.verdicts[RF_BACKEND_IO_URING];
    EXPECT_FALSE(v.usable);
    EXPECT_TRUE(v.tried);
    EXPECT_EQ(v.cause, RF_CAUSE_SECCOMP) << Describe(v);
    EXPECT_TRUE(Contains(v.why, "killed by seccomp")) << v.why;
    EXPECT_EQ(host.selected, contexts ? RF_BACKEND_LIBAIO : RF_BACKEND_THREADS);
  });
}

INSTANTIATE_TEST_SUITE_P(Call, HostWithKillingFilter,
                         testing::Values(SYS_io_uring_setup, SYS_io_uring_register,
                                         SYS_io_uring_enter));

TEST(Host, FindsTheSameInAChild) {
  rf_probe_options options = {};
  options.in_child = true;
  rf_host host;
  ASSERT_EQ(rf_probe_host(&options, &host), 0);
  rf_host here = Probe();
  EXPECT_EQ(host.selected, here.selected);
  for (int i = 0; i < RF_BACKENDS; i++) {
    EXPECT_EQ(host.verdicts[i].usable, here.verdicts[i].usable);
    EXPECT_STREQ(host.verdicts[i].features, here.verdicts[i].features);
  }
}

TEST(HostWithFilter, UsesTheRingWithoutRegistrationOrSaysWhyNot) {
  if (!Built(RF_BACKEND_IO_URING) || !RingsWork()) GTEST_SKIP() << "needs io_uring";
  RF_IN_CHILD({
    InstallOrSkip({Deny(SYS_io_uring_register, EPERM)});
    rf_host host = Probe();
    const rf_verdict &v = host.verdicts[RF_BACKEND_IO_URING];
    EXPECT_STREQ(v.syscall, "io_uring_register") << Describe(v);
    EXPECT_EQ(v.error, EPERM);
    EXPECT_EQ(v.stage, RF_STAGE_REGISTER);
    EXPECT_EQ(v.cause, RF_CAUSE_SECCOMP);
    EXPECT_TRUE(v.usable) << Describe(v);
    EXPECT_TRUE(Contains(v.why, "without registered")) << v.why;
  });
}

TEST(HostWithFilter, NamesTheRefusalOfSubmission) {
  if (!Built(RF_BACKEND_IO_URING) || !RingsWork()) GTEST_SKIP() << "needs io_uring";
  RF_IN_CHILD({
    InstallOrSkip({Deny(SYS_io_uring_enter, EPERM)});
    rf_host host = Probe();
    const rf_verdict &v = host.verdicts[RF_BACKEND_IO_URING];
    EXPECT_FALSE(v.usable);
    EXPECT_STREQ(v.syscall, "io_uring_enter") << Describe(v);
    EXPECT_EQ(v.stage, RF_STAGE_SUBMIT);
    EXPECT_EQ(v.cause, RF_CAUSE_SECCOMP);
    EXPECT_NE(host.selected, RF_BACKEND_IO_URING);
  });
}

TEST(HostWithFilter, RunsOnThreadsWithTwoVerdictsWhenBothInterfacesAreDenied) {
  RF_IN_CHILD({
    InstallOrSkip({Deny(SYS_io_uring_setup, EPERM), Deny(SYS_io_setup, ENOSYS)});
    rf_host host = Probe();
    EXPECT_EQ(host.selected, RF_BACKEND_THREADS);
    for (rf_backend_id id : {RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO}) {
      const rf_verdict &v = host.verdicts[id];
      EXPECT_FALSE(v.usable);
      if (v.cause == RF_CAUSE_NOT_BUILT) continue;
      EXPECT_STREQ(v.syscall, id == RF_BACKEND_LIBAIO ? "io_setup" : "io_uring_setup");
      EXPECT_EQ(v.error, id == RF_BACKEND_LIBAIO ? ENOSYS : EPERM);
      EXPECT_NE(v.why[0], '\0');
      EXPECT_NE(v.remedy[0], '\0');
    }
  });
}

TEST(HostWithFilter, NamesTheFilterWhenContextsAreMissingButTheKernelHasThem) {
  if (!Built(RF_BACKEND_LIBAIO) || NumberIn("/proc/sys/fs/aio-nr") < 0)
    GTEST_SKIP() << "needs libaio and /proc/sys/fs/aio-nr";
  RF_IN_CHILD({
    InstallOrSkip({Deny(SYS_io_setup, ENOSYS)});
    rf_host host = Probe();
    const rf_verdict &v = host.verdicts[RF_BACKEND_LIBAIO];
    EXPECT_EQ(v.cause, RF_CAUSE_SECCOMP) << Describe(v);
    EXPECT_TRUE(Contains(v.why, "/proc/sys/fs/aio-nr")) << v.why;
  });
}

class HostWithPgeteventsDenied : public testing::TestWithParam<int> {};

TEST_P(HostWithPgeteventsDenied, ReapsByGeteventsAndSaysSo) {
  if (!Built(RF_BACKEND_LIBAIO) || !ContextsWork()) GTEST_SKIP() << "needs libaio";
  int error = GetParam();
  RF_IN_CHILD({
    InstallOrSkip({Deny(SYS_io_pgetevents, error)});
    rf_host host = Probe();
    const rf_verdict &v = host.verdicts[RF_BACKEND_LIBAIO];
    EXPECT_TRUE(v.usable) << Describe(v);
    EXPECT_STREQ(v.syscall, "io_pgetevents") << Describe(v);
    EXPECT_EQ(v.stage, RF_STAGE_WAIT);
    EXPECT_EQ(v.error, error);
    EXPECT_EQ(v.cause, RF_CAUSE_SECCOMP) << Describe(v);
    EXPECT_TRUE(Contains(v.why, "io_getevents is used")) << v.why;
  });
}

INSTANTIATE_TEST_SUITE_P(Errno, HostWithPgeteventsDenied, testing::Values(EPERM, ENOSYS),
                         [](const testing::TestParamInfo<int> &parameter) {
                           return std::string(strerrorname_np(parameter.param));
                         });

TEST(HostWithFilter, FallsBackToThreadsWhenContextsTakeNoRequests) {
  if (!Built(RF_BACKEND_LIBAIO) || !ContextsWork()) GTEST_SKIP() << "needs libaio";
  RF_IN_CHILD({
    InstallOrSkip({Deny(SYS_io_uring_setup, EPERM), Deny(SYS_io_submit, EPERM)});
    rf_host host = Probe();
    const rf_verdict &v = host.verdicts[RF_BACKEND_LIBAIO];
    EXPECT_FALSE(v.usable);
    EXPECT_STREQ(v.syscall, "io_submit") << Describe(v);
    EXPECT_EQ(v.stage, RF_STAGE_SUBMIT);
    EXPECT_EQ(v.cause, RF_CAUSE_SECCOMP);
    EXPECT_EQ(host.selected, RF_BACKEND_THREADS);
  });
}

// ---- the host, with limits (FAILURES rows 3, 6, 7, 8)
// --------------------------------------------

// The real switch is the whole machine's.  So /proc shows another value in this child, and a filter
// answers as the kernel then would.
void DisableRings(const char *value, const std::string &stand_in) {
  const char *path = "/proc/sys/kernel/io_uring_disabled";
  std::ofstream(stand_in) << value << "\n";
  if (access(path, R_OK) != 0) in_child::Skip("kernel.io_uring_disabled");
  if (unshare(CLONE_NEWNS) != 0 ||
      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount(stand_in.c_str(), path, nullptr, MS_BIND, nullptr) != 0)
    in_child::Skip("CAP_SYS_ADMIN, to mount a file over a sysctl");
}

TEST(HostWithSysctl, NamesTheSysctlAndNotTheFilter) {
  if (!Built(RF_BACKEND_IO_URING)) GTEST_SKIP() << "needs io_uring";
  Directory directory;
  RF_IN_CHILD({
    DisableRings("2", directory / "two");
    InstallOrSkip({Deny(SYS_io_uring_setup, EPERM)});
    rf_host host = Probe();
    const rf_verdict &v = host.verdicts[RF_BACKEND_IO_URING];
    EXPECT_EQ(v.cause, RF_CAUSE_SYSCTL) << Describe(v);
    EXPECT_TRUE(Contains(v.why, "kernel.io_uring_disabled is 2")) << v.why;
    EXPECT_FALSE(Contains(v.why, "seccomp")) << v.why;
    EXPECT_TRUE(Contains(v.remedy, "sysctl -w kernel.io_uring_disabled=0")) << v.remedy;
  });
}

TEST(HostWithSysctl, DoesNotBlameAGroupSwitchThatDoesNotApplyToRoot) {
  if (!Built(RF_BACKEND_IO_URING)) GTEST_SKIP() << "needs io_uring";
  Directory directory;
  RF_IN_CHILD({
    // Root in a namespace of its own (as in a build sandbox) is an ordinary user to the kernel.
    struct stat own;
    if (geteuid() != 0 || stat("/proc/self/ns/user", &own) != 0 || own.st_ino != 0xEFFFFFFD)
      in_child::Skip("root in the first user namespace");
    DisableRings("1", directory / "one");
    InstallOrSkip({Deny(SYS_io_uring_setup, EPERM)});
    rf_host host = Probe();
    const rf_verdict &v = host.verdicts[RF_BACKEND_IO_URING];
    EXPECT_EQ(v.cause, RF_CAUSE_SECCOMP) << Describe(v);
  });
}

TEST(HostWithSysctl, BlamesTheGroupSwitchForAnOrdinaryUser) {
  if (!Built(RF_BACKEND_IO_URING)) GTEST_SKIP() << "needs io_uring";
  Directory directory;
  RF_IN_CHILD({
    DisableRings("1", directory / "one");
    ASSERT_EQ(chmod((directory / "one").c_str(), 0644), 0);
    BecomeNobody();
    InstallOrSkip({Deny(SYS_io_uring_setup, EPERM)});
    rf_host host = Probe();
    const rf_verdict &v = host.verdicts[RF_BACKEND_IO_URING];
    EXPECT_EQ(v.cause, RF_CAUSE_SYSCTL) << Describe(v);
    EXPECT_TRUE(Contains(v.why, "CAP_SYS_ADMIN")) << v.why;
    EXPECT_TRUE(Contains(v.remedy, "io_uring_group")) << v.remedy;
  });
}

TEST(HostWithLimit, NamesMemlockAndItsValue) {
  if (!Built(RF_BACKEND_IO_URING) || !RingsWork()) GTEST_SKIP() << "needs io_uring";
  RF_IN_CHILD({
    rlimit none = {0, 0};
    ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    BecomeNobody();
    if (SetupRing(128) >= 0) in_child::Skip("a kernel that counts rings as locked memory");
    rf_host host = Probe();
    const rf_verdict &v = host.verdicts[RF_BACKEND_IO_URING];
    EXPECT_EQ(v.error, ENOMEM) << Describe(v);
    EXPECT_EQ(v.cause, RF_CAUSE_MEMLOCK) << Describe(v);
    EXPECT_TRUE(Contains(v.why, "RLIMIT_MEMLOCK is 0 bytes")) << v.why;
    EXPECT_TRUE(Contains(v.remedy, "ulimit -l")) << v.remedy;
    EXPECT_TRUE(host.verdicts[host.selected].usable);
  });
}

TEST(HostWithLimit, UsesContextsWhenNoDescriptorIsLeftForARing) {
  if (!Built(RF_BACKEND_IO_URING) || !RingsWork()) GTEST_SKIP() << "needs io_uring";
  if (!Built(RF_BACKEND_LIBAIO) || !ContextsWork()) GTEST_SKIP() << "needs libaio";
  RF_IN_CHILD({
    int lowest = open("/dev/null", O_RDONLY);
    ASSERT_GE(lowest, 0);
    close(lowest);
    rlimit one_left = {static_cast<rlim_t>(lowest + 1), static_cast<rlim_t>(lowest + 1)};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &one_left), 0);
    rf_host host = Probe();
    const rf_verdict &v = host.verdicts[RF_BACKEND_IO_URING];
    EXPECT_EQ(v.error, EMFILE) << Describe(v);
    EXPECT_EQ(v.cause, RF_CAUSE_NOFILE) << Describe(v);
    EXPECT_TRUE(Contains(v.why, std::to_string(lowest + 1) + " descriptors")) << v.why;
    EXPECT_TRUE(Contains(v.remedy, "ulimit -n")) << v.remedy;
    EXPECT_TRUE(host.verdicts[RF_BACKEND_LIBAIO].usable)
        << Describe(host.verdicts[RF_BACKEND_LIBAIO]);
    EXPECT_EQ(host.selected, RF_BACKEND_LIBAIO);
  });
}

TEST(HostWithLimit, AnswersEmfileWhenNotEvenAFileCanBeMade) {
  RF_IN_CHILD({
    rlimit none = {0, 0};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    rf_host host;
    EXPECT_EQ(rf_probe_host(nullptr, &host), -EMFILE);
  });
}

// Takes contexts until only `left` requests may be granted on this host.  They end with the child.
bool FillContexts(int64_t left) {
  int64_t most = NumberIn("/proc/sys/fs/aio-max-nr");
  for (int tries = 0; tries < 4096; tries++) {
    int64_t room = most - NumberIn("/proc/sys/fs/aio-nr") - left;
    if (room == 0) return true;
    if (room < 0) return false;
    aio_context_t context = 0;
    long chunk = static_cast<long>(room < 4096 ? room : 4096);
    if (syscall(SYS_io_setup, chunk, &context) != 0) return false;
  }
  return false;
}

TEST(HostWithLimit, ShrinksTheContextAndNamesAioMaxNr) {
  if (!Built(RF_BACKEND_LIBAIO) || !ContextsWork()) GTEST_SKIP() << "needs libaio";
  RF_IN_CHILD({
    if (!FillContexts(70)) in_child::Skip("fs.aio-nr to itself");
    rf_host host = Probe();
    const rf_verdict &v = host.verdicts[RF_BACKEND_LIBAIO];
    EXPECT_TRUE(v.usable) << Describe(v);
    EXPECT_EQ(v.cause, RF_CAUSE_AIO_MAX_NR) << Describe(v);
    EXPECT_EQ(v.error, EAGAIN);
    EXPECT_STREQ(v.syscall, "io_setup");
    EXPECT_LT(v.depth, v.depth_asked);
    EXPECT_TRUE(Contains(v.why, std::to_string(host.limits.aio_nr))) << v.why;
    EXPECT_TRUE(Contains(v.why, std::to_string(host.limits.aio_max_nr))) << v.why;
    EXPECT_TRUE(Contains(v.remedy, "sysctl -w fs.aio-max-nr=")) << v.remedy;
  });
}

TEST(HostWithLimit, NamesAioMaxNrEvenUnderAFilter) {
  if (!Built(RF_BACKEND_LIBAIO) || !ContextsWork()) GTEST_SKIP() << "needs libaio";
  RF_IN_CHILD({
    if (!FillContexts(0)) in_child::Skip("fs.aio-nr to itself");
    InstallOrSkip({});
    rf_host host = Probe();
    const rf_verdict &v = host.verdicts[RF_BACKEND_LIBAIO];
    EXPECT_FALSE(v.usable);
    EXPECT_EQ(v.cause, RF_CAUSE_AIO_MAX_NR) << Describe(v);
    EXPECT_NE(host.selected, RF_BACKEND_LIBAIO);
  });
}

// Without a limit to how often the kernel tries to start a worker: before Linux 6.11.  The library
// goes by a feature of 6.12.
bool TriesForEver() {
  utsname name;
  int major = 0, minor = 0;
  uname(&name);
  sscanf(name.release, "%d.%d", &major, &minor);
  return major < 6 || (major == 6 && minor < 11);
}

// FAILURES row 9: what needs a kernel worker is then taken and not answered, on some kernels, and
// on older ones the thread that asks is kept in the kernel.
TEST(HostWithLimit, ComesBackWhenNoProcessMayBeStarted) {
  RF_IN_CHILD({
    BecomeNobody();
    rlimit none = {0, 0};
    ASSERT_EQ(setrlimit(RLIMIT_NPROC, &none), 0);
    rf_host host = Probe();
    const rf_verdict &v = host.verdicts[RF_BACKEND_IO_URING];
    EXPECT_TRUE(host.verdicts[host.selected].usable) << Describe(v);
    if (TriesForEver() && v.stage != RF_STAGE_BUILD) {
      EXPECT_FALSE(v.usable);
      EXPECT_STREQ(v.syscall, "clone") << Describe(v);
      EXPECT_EQ(v.error, EAGAIN);
      EXPECT_STREQ(v.features, "") << "nothing is in use";
      EXPECT_TRUE(Contains(v.why, "RLIMIT_NPROC is 0")) << v.why;
      EXPECT_TRUE(Contains(v.remedy, "LimitNPROC")) << v.remedy;
    }
    if (v.error == ETIMEDOUT) {
      EXPECT_TRUE(Contains(v.why, "RLIMIT_NPROC is 0")) << v.why;
    }
  });
}

// ---- directories -------------------------------------------------------------------------------

void ExpectUsable(const rf_directory &d, const char *where) {
  EXPECT_TRUE(d.usable) << where << ": " << d.why;
  EXPECT_STREQ(d.syscall, "");
  EXPECT_EQ(d.error, 0);
  EXPECT_STREQ(d.why, "");
  EXPECT_TRUE(d.file.regular);
  EXPECT_TRUE(d.file.nowait_write_tried);
  EXPECT_GT(d.free_bytes, 0u);
  EXPECT_NE(d.file.file_system[0], '\0');
}

void ExpectUnusable(const rf_directory &d, const char *call, int error) {
  EXPECT_FALSE(d.usable);
  EXPECT_STREQ(d.syscall, call);
  EXPECT_EQ(d.error, error) << d.why;
  EXPECT_TRUE(Contains(d.why, strerrorname_np(error))) << d.why;
  EXPECT_TRUE(Contains(d.why, call)) << d.why;
}

TEST(DirectoryProbe, FindsTheTestsDirectoryUsableAndLeavesNothingBehind) {
  Directory directory;
  auto descriptors = Entries("/proc/self/fd").size();
  rf_directory d;
  ASSERT_EQ(rf_probe_directory(directory.path(), &d), 0);
  ExpectUsable(d, directory.path());
  EXPECT_EQ(Entries(directory.path()).size(), 2u) << "more than . and ..";
  EXPECT_EQ(Entries("/proc/self/fd").size(), descriptors);
}

TEST(DirectoryProbe, AgreesWithAnOpenAboutDirectIo) {
  Directory directory;
  rf_directory d;
  ASSERT_EQ(rf_probe_directory(directory.path(), &d), 0);
  int fd = MakeFile(directory / "file", 4096, O_RDWR | O_DIRECT);
  if (fd < 0) {
    EXPECT_EQ(d.direct_error, EINVAL);
    return;
  }
  close(fd);
  EXPECT_EQ(d.direct_error, 0);
  EXPECT_TRUE(d.file.direct_possible);
}

TEST(DirectoryProbe, FindsTmpfsUsable) {
  if (access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "needs /dev/shm";
  rf_directory d;
  ASSERT_EQ(rf_probe_directory("/dev/shm", &d), 0);
  ExpectUsable(d, "/dev/shm");
  EXPECT_STREQ(d.file.file_system, "tmpfs");
}

TEST(DirectoryProbe, NamesWhatIsWrong) {
  Directory directory;
  int fd = MakeFile(directory / "file", 1);
  ASSERT_GE(fd, 0);
  close(fd);
  rf_directory d;
  ASSERT_EQ(rf_probe_directory((directory / "missing").c_str(), &d), 0);
  ExpectUnusable(d, "open", ENOENT);
  ASSERT_EQ(rf_probe_directory("", &d), 0);
  ExpectUnusable(d, "open", ENOENT);
  ASSERT_EQ(rf_probe_directory((directory / "file").c_str(), &d), 0);
  ExpectUnusable(d, "open", ENOTDIR);
  ASSERT_EQ(rf_probe_directory(std::string(5000, 'x').c_str(), &d), 0);
  ExpectUnusable(d, "open", ENAMETOOLONG);
  EXPECT_EQ(rf_probe_directory(nullptr, &d), -EINVAL);
  EXPECT_EQ(rf_probe_directory("/tmp", nullptr), -EINVAL);
}

TEST(DirectoryProbe, NamesMissingPermission) {
  Directory directory;
  ASSERT_EQ(chmod(directory.path(), geteuid() == 0 ? 0700 : 0500), 0);
  RF_IN_CHILD({
    BecomeNobody();
    rf_directory d;
    ASSERT_EQ(rf_probe_directory(directory.path(), &d), 0);
    ExpectUnusable(d, "open", EACCES);
  });
}

TEST(DirectoryProbe, RefusesPlacesWhereNoFileCanBeMade) {
  rf_directory d;
  ASSERT_EQ(rf_probe_directory("/proc/self", &d), 0);
  EXPECT_FALSE(d.usable);
  EXPECT_NE(d.error, 0);
  EXPECT_NE(d.why[0], '\0');
}

TEST(DirectoryProbe, NamesTheFileSizeLimitAndIsNotKilledByIt) {
  Directory directory;
  RF_IN_CHILD({
    rlimit small = {512, 512};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    rf_directory d;
    ASSERT_EQ(rf_probe_directory(directory.path(), &d), 0);
    ExpectUnusable(d, "pwrite", EFBIG);
    EXPECT_TRUE(Contains(d.why, "RLIMIT_FSIZE")) << d.why;
  });
}

// Mounts a tmpfs over the directory, in a mount namespace that ends with the child.
void MountTmpfs(const char *path, const char *options) {
  if (unshare(CLONE_NEWNS) != 0 ||
      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", path, "tmpfs", 0, options) != 0)
    in_child::Skip("CAP_SYS_ADMIN, to mount a tmpfs");
}

TEST(DirectoryProbe, NamesAFullFileSystem) {
  Directory directory;
  RF_IN_CHILD({
    MountTmpfs(directory.path(), "size=64k");
    int fd = open((directory / "filler").c_str(), O_CREAT | O_WRONLY, 0600);
    std::vector<char> page(4096);
    while (write(fd, page.data(), page.size()) > 0) continue;
    ASSERT_EQ(errno, ENOSPC);
    rf_directory d;
    ASSERT_EQ(rf_probe_directory(directory.path(), &d), 0);
    ExpectUnusable(d, "pwrite", ENOSPC);
    EXPECT_EQ(d.free_bytes, 0u);
    rf_host host = Probe(directory.path());
    EXPECT_EQ(host.selected, Probe().selected) << "that is no fault of the backends";
    const rf_verdict &v = host.verdicts[RF_BACKEND_THREADS];
    EXPECT_TRUE(v.usable) << Describe(v);
    EXPECT_EQ(v.cause, RF_CAUSE_NONE) << Describe(v);
  });
}

TEST(DirectoryProbe, NamesAReadOnlyFileSystem) {
  Directory directory;
  RF_IN_CHILD({
    MountTmpfs(directory.path(), "size=64k,ro");
    rf_directory d;
    ASSERT_EQ(rf_probe_directory(directory.path(), &d), 0);
    ExpectUnusable(d, "open", EROFS);
  });
}

TEST(DirectoryProbe, WorksWhereFilesCannotBeMadeWithoutAName) {
  Directory directory;
  for (int error : {EOPNOTSUPP, EISDIR}) {
    RF_IN_CHILD({
      constexpr int kNameless = O_TMPFILE & ~O_DIRECTORY;
      InstallOrSkip({seccomp_filter::DenyFlag(SYS_openat, 2, kNameless, error)});
      ASSERT_LT(open(directory.path(), O_TMPFILE | O_RDWR, 0600), 0);
      ASSERT_EQ(errno, error);
      rf_directory d;
      ASSERT_EQ(rf_probe_directory(directory.path(), &d), 0);
      ExpectUsable(d, directory.path());
    });
    EXPECT_EQ(Entries(directory.path()).size(), 2u) << "more than . and ..";
  }
}

// ---- files -------------------------------------------------------------------------------------

TEST(FileProbe, DescribesARegularFile) {
  Directory directory;
  int fd = MakeFile(directory / "file", 12345);
  ASSERT_GE(fd, 0);
  rf_file_info info;
  ASSERT_EQ(rf_probe_file(fd, &info), 0);
  EXPECT_TRUE(info.regular);
  EXPECT_FALSE(info.block_device || info.stream || info.direct);
  EXPECT_EQ(info.size, 12345u);
  EXPECT_GE(info.offset_align, 1u);
  EXPECT_EQ(info.offset_align & (info.offset_align - 1), 0u);
  EXPECT_EQ(info.memory_align & (info.memory_align - 1), 0u);
  EXPECT_NE(info.alignment_source, RF_ALIGNMENT_NONE);
  close(fd);
}

TEST(FileProbe, ChangesNeitherTimesNorSizeNorOffsetNorFlags) {
  Directory directory;
  for (int flags : {O_RDWR, O_RDONLY, O_WRONLY, O_RDWR | O_APPEND, O_RDWR | O_DIRECT}) {
    std::string path = directory / "file";
    int fd = MakeFile(path, 8192, flags);
    if (fd < 0 && flags & O_DIRECT) continue;
    ASSERT_GE(fd, 0);
    ASSERT_EQ(lseek(fd, 777, SEEK_SET), 777);
    struct stat before, after;
    ASSERT_EQ(fstat(fd, &before), 0);
    int flags_before = fcntl(fd, F_GETFL);
    rf_file_info info;
    ASSERT_EQ(rf_probe_file(fd, &info), 0);
    ASSERT_EQ(fstat(fd, &after), 0);
    EXPECT_EQ(after.st_size, before.st_size);
    EXPECT_EQ(after.st_blocks, before.st_blocks);
    EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    EXPECT_EQ(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 777);
    EXPECT_EQ(fcntl(fd, F_GETFL), flags_before);
    EXPECT_EQ(info.direct, (flags & O_DIRECT) != 0);
    close(fd);
    ASSERT_EQ(unlink(path.c_str()), 0);
  }
}

TEST(FileProbe, AgreesWithRealTransfersAboutNowait) {
  Directory directory;
  int fd = MakeFile(directory / "file", 4096);
  ASSERT_GE(fd, 0);
  rf_file_info info;
  ASSERT_EQ(rf_probe_file(fd, &info), 0);
  char bytes[512] = {};
  iovec all = {bytes, sizeof(bytes)};
  bool read_refused = preadv2(fd, &all, 1, 0, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP;
  bool write_refused = pwritev2(fd, &all, 1, 0, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP;
  EXPECT_EQ(info.nowait_read, !read_refused);
  if (info.nowait_write_tried) {
    EXPECT_EQ(info.nowait_write, !write_refused);
  } else {
    EXPECT_FALSE(info.nowait_write);
  }
  close(fd);
}

TEST(FileProbe, KeepsPosixLocks) {
  for (const char *parent : {static_cast<const char *>(nullptr), "/dev/shm"}) {
    Directory directory(parent);
    int fd = MakeFile(directory / "file", 4096);
    if (fd < 0 && parent != nullptr) continue;
    ASSERT_GE(fd, 0);
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    ASSERT_EQ(fcntl(fd, F_SETLK, &lock), 0);
    rf_file_info info;
    ASSERT_EQ(rf_probe_file(fd, &info), 0);
    in_child::Outcome outcome = in_child::Run([&] {
      struct flock other = {};
      other.l_type = F_WRLCK;
      other.l_whence = SEEK_SET;
      EXPECT_EQ(fcntl(fd, F_GETLK, &other), 0);
      EXPECT_EQ(other.l_type, F_WRLCK) << "the lock is gone";
    });
    EXPECT_TRUE(outcome.ended_with(in_child::kDone)) << outcome.output;
    close(fd);
  }
}

TEST(FileProbe, KnowsStreams) {
  int ends[2], pair[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  for (int fd : {ends[0], ends[1], pair[0]}) {
    rf_file_info info;
    ASSERT_EQ(rf_probe_file(fd, &info), 0);
    EXPECT_TRUE(info.stream);
    EXPECT_FALSE(info.regular || info.direct || info.direct_possible || info.nowait_read ||
                 info.nowait_write);
    EXPECT_EQ(info.alignment_source, RF_ALIGNMENT_NONE);
    EXPECT_EQ(info.memory_align, 1u);
    EXPECT_EQ(info.offset_align, 1u);
  }
  for (int fd : {ends[0], ends[1], pair[0], pair[1]}) close(fd);
}

TEST(FileProbe, RefusesWhatIsNotOpen) {
  rf_file_info info;
  EXPECT_EQ(rf_probe_file(-1, &info), -EBADF);
  EXPECT_EQ(rf_probe_file(1 << 20, &info), -EBADF);
  EXPECT_EQ(rf_probe_file(0, nullptr), -EINVAL);
  int path = open("/", O_PATH | O_CLOEXEC);
  ASSERT_GE(path, 0);
  EXPECT_EQ(rf_probe_file(path, &info), -EBADF);
  close(path);
}

TEST(FileProbe, NamesFileSystems) {
  int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  rf_file_info info;
  ASSERT_EQ(rf_probe_file(fd, &info), 0);
  EXPECT_STREQ(info.file_system, "proc");
  EXPECT_FALSE(info.direct_possible);
  EXPECT_FALSE(info.nowait_read);
  close(fd);
  fd = memfd_create("probe-test", MFD_CLOEXEC);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(rf_probe_file(fd, &info), 0);
  EXPECT_STREQ(info.file_system, "tmpfs");
  close(fd);
}

} // namespace
