// SPDX-License-Identifier: Apache-2.0
// What a verdict says, word by word: every cause with its limit, and every remedy, for surroundings
// that are made up.  That they are found on a real host is probe_test.cc's business.
#include <errno.h>
#include <gtest/gtest.h>
#include <ringfall/verdict.h>

#include <cstring>
#include <string>

#include "probe/cause.h"

namespace {

// A host without limits, filters or sysctls in the way, with an ordinary user.
rf_surroundings Plain() {
  rf_surroundings around = {};
  strcpy(around.limits.kernel, "6.12.1");
  around.limits.memlock = around.limits.fsize = INT64_MAX;
  around.limits.nofile = 1024;
  around.limits.aio_nr = 0;
  around.limits.aio_max_nr = 65536;
  around.limits.io_uring_disabled = 0;
  around.limits.seccomp = 0;
  around.rights.ring_group = -1;
  around.rights.max_processes = INT64_MAX;
  return around;
}

rf_surroundings Filtered() {
  rf_surroundings around = Plain();
  around.limits.seccomp = 2;
  return around;
}

struct Verdict : rf_verdict {
  std::string words() const {
    return std::string(rf_cause_name(cause)) + " | " + why + " | " + remedy;
  }
};

Verdict ExplainRefusal(const rf_surroundings &around, const rf_refusal &refusal,
                       bool usable = false, unsigned depth = 128) {
  Verdict verdict = {};
  bool aio = strncmp(refusal.call, "io_", 3) == 0 && strncmp(refusal.call, "io_uring", 8) != 0;
  verdict.backend = aio ? RF_BACKEND_LIBAIO : RF_BACKEND_IO_URING;
  verdict.usable = usable;
  verdict.depth_asked = 128;
  verdict.depth = depth;
  rf_explain(&around, &refusal, &verdict);
  EXPECT_LT(strlen(verdict.why), sizeof(verdict.why) - 1) << "was it cut?";
  EXPECT_LT(strlen(verdict.remedy), sizeof(verdict.remedy) - 1) << "was it cut?";
  return verdict;
}

Verdict Explain(const rf_surroundings &around, const char *call, int error, bool usable = false,
                unsigned depth = 128) {
  rf_refusal refusal = {};
  refusal.stage = rf_stage_of(call);
  refusal.call = call;
  refusal.error = error;
  return ExplainRefusal(around, refusal, usable, depth);
}

const char kRingProfile[] =
    "run with a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register: "
    "docker run --security-opt seccomp=PROFILE.json; Kubernetes: a seccompProfile of type "
    "Localhost; systemd: add @aio to SystemCallFilter=";
const char kContextProfile[] =
    "run with a seccomp profile that allows io_setup, io_submit, io_pgetevents, io_getevents, "
    "io_cancel and io_destroy: docker run --security-opt seccomp=PROFILE.json; Kubernetes: a "
    "seccompProfile of type Localhost; systemd: add @aio to SystemCallFilter=";

// ---- seccomp -----------------------------------------------------------------------------------

TEST(Seccomp, ThatForbidsRingsIsNamedWithTheSysctlThatDoesNot) {
  EXPECT_EQ(Explain(Filtered(), "io_uring_setup", EPERM).words(),
            std::string("seccomp | io_uring_setup answered EPERM: a seccomp filter (mode 2) is "
                        "active, and kernel.io_uring_disabled is 0, which does not forbid it | ") +
                kRingProfile);
  rf_surroundings old = Filtered();
  old.limits.io_uring_disabled = -1; // before Linux 6.6
  EXPECT_EQ(Explain(old, "io_uring_setup", EACCES).words(),
            std::string("seccomp | io_uring_setup answered EACCES: a seccomp filter (mode 2) is "
                        "active | ") +
                kRingProfile);
}

TEST(Seccomp, ThatHidesACallIsToldFromAKernelWithoutIt) {
  EXPECT_EQ(Explain(Filtered(), "io_uring_setup", ENOSYS).words(),
            std::string("seccomp | io_uring_setup answered ENOSYS: the kernel has this call "
                        "(/proc/sys/kernel/io_uring_disabled exists), so the active seccomp "
                        "filter (mode 2) answers | ") +
                kRingProfile);
  EXPECT_EQ(Explain(Filtered(), "io_setup", ENOSYS).words(),
            std::string("seccomp | io_setup answered ENOSYS: the kernel has this call "
                        "(/proc/sys/fs/aio-nr exists), so the active seccomp filter (mode 2) "
                        "answers | ") +
                kContextProfile);
  rf_surroundings old = Filtered();
  old.limits.io_uring_disabled = -1;
  EXPECT_EQ(Explain(old, "io_uring_setup", ENOSYS).words(),
            std::string("seccomp | io_uring_setup answered ENOSYS: a seccomp filter (mode 2) is "
                        "active, and Linux 6.12.1 should have this call | ") +
                kRingProfile);
}

TEST(Seccomp, ThatForbidsContextsNamesTheirCalls) {
  EXPECT_EQ(Explain(Filtered(), "io_submit", EPERM).words(),
            std::string("seccomp | io_submit answered EPERM: a seccomp filter (mode 2) is active "
                        "| ") +
                kContextProfile);
  EXPECT_EQ(Explain(Filtered(), "io_setup", EAGAIN).words(),
            std::string("seccomp | io_setup answered EAGAIN: a seccomp filter (mode 2) is active, "
                        "and fs.aio-nr, 0, leaves room below fs.aio-max-nr, 65536 | ") +
                kContextProfile);
}

TEST(Seccomp, ThatPretendsAShortageIsNamedWithTheLimitThatIsNotReached) {
  EXPECT_EQ(Explain(Filtered(), "io_uring_setup", ENOMEM).words(),
            std::string("seccomp | io_uring_setup answered ENOMEM: a seccomp filter (mode 2) is "
                        "active, and no limit explains it (memlock unlimited) | ") +
                kRingProfile);
  rf_surroundings root = Filtered();
  root.limits.memlock = 65536;
  root.rights.ipc_lock = true;
  EXPECT_EQ(Explain(root, "io_uring_setup", ENOMEM).words(),
            std::string("seccomp | io_uring_setup answered ENOMEM: a seccomp filter (mode 2) is "
                        "active, and no limit explains it (memlock 65536 bytes, not applied to "
                        "this process) | ") +
                kRingProfile);
  EXPECT_EQ(Explain(Filtered(), "io_uring_setup", EMFILE).words(),
            std::string("seccomp | io_uring_setup answered EMFILE: a seccomp filter (mode 2) is "
                        "active, and there are descriptors left | ") +
                kRingProfile);
}

TEST(Seccomp, ThatGivesAnUnheardOfAnswerIsNamed) {
  EXPECT_EQ(Explain(Filtered(), "io_uring_setup", ENOANO).words(),
            std::string("seccomp | io_uring_setup answered ENOANO: a seccomp filter (mode 2) is "
                        "active, and the kernel itself does not answer ENOANO here | ") +
                kRingProfile);
}

TEST(Seccomp, ThatLeavesARingUsableSaysWhatItGoesWithout) {
  EXPECT_EQ(Explain(Filtered(), "io_uring_register", EPERM, true).words(),
            std::string("seccomp | io_uring_register answered EPERM: a seccomp filter (mode 2) is "
                        "active; the ring is used without registered files and buffers | ") +
                kRingProfile);
  EXPECT_EQ(Explain(Filtered(), "io_pgetevents", EPERM, true).words(),
            std::string("seccomp | io_pgetevents answered EPERM: a seccomp filter (mode 2) is "
                        "active; io_getevents is used in its place | ") +
                kContextProfile);
}

// ---- kernel.io_uring_disabled ------------------------------------------------------------------

TEST(Sysctl, OfTwoForbidsRingsToAll) {
  for (bool root : {false, true}) {
    rf_surroundings around = Filtered(); // the sysctl goes before a filter
    around.limits.io_uring_disabled = 2;
    around.rights.sys_admin = root;
    EXPECT_EQ(Explain(around, "io_uring_setup", EPERM).words(),
              "sysctl | io_uring_setup answered EPERM: kernel.io_uring_disabled is 2, which "
              "forbids io_uring to every process | sysctl -w kernel.io_uring_disabled=0");
  }
}

TEST(Sysctl, OfOneForbidsRingsToOrdinaryUsersOutsideOfAGroup) {
  rf_surroundings around = Plain();
  around.limits.io_uring_disabled = 1;
  EXPECT_EQ(Explain(around, "io_uring_setup", EPERM).words(),
            "sysctl | io_uring_setup answered EPERM: kernel.io_uring_disabled is 1, and this "
            "process has neither CAP_SYS_ADMIN nor the group of kernel.io_uring_group (-1) | "
            "sysctl -w kernel.io_uring_disabled=0, or for one group only: sysctl -w "
            "kernel.io_uring_group=GID");
  around.rights.ring_group = 1000;
  EXPECT_NE(Explain(around, "io_uring_setup", EPERM).words().find("kernel.io_uring_group (1000) |"),
            std::string::npos);
  around.rights.in_ring_group = true;
  EXPECT_EQ(Explain(around, "io_uring_setup", EPERM).cause, RF_CAUSE_PERMISSION);
  around.rights.in_ring_group = false;
  around.rights.sys_admin = true;
  EXPECT_EQ(Explain(around, "io_uring_setup", EPERM).cause, RF_CAUSE_PERMISSION);
}

TEST(Sysctl, IsNotBlamedForCallsThatItDoesNotConcern) {
  rf_surroundings around = Plain();
  around.limits.io_uring_disabled = 2;
  EXPECT_EQ(Explain(around, "io_setup", EPERM).cause, RF_CAUSE_PERMISSION);
}

// ---- calls that are not there ------------------------------------------------------------------

TEST(MissingCall, OfAnOldKernelNamesTheOneThatHasIt) {
  rf_surroundings around = Plain();
  around.limits.io_uring_disabled = -1;
  strcpy(around.limits.kernel, "4.14.9");
  EXPECT_EQ(Explain(around, "io_uring_setup", ENOSYS).words(),
            "no syscall | io_uring_setup answered ENOSYS: Linux 4.14.9 does not have this call, "
            "which came with Linux 5.1 | Linux 5.1 or newer with CONFIG_IO_URING=y");
  EXPECT_EQ(Explain(around, "io_pgetevents", ENOSYS, true).words(),
            "no syscall | io_pgetevents answered ENOSYS: Linux 4.14.9 does not have this call, "
            "which came with Linux 4.18; io_getevents is used in its place | Linux 4.18 or newer");
}

TEST(MissingCall, OfANewKernelNamesItsConfiguration) {
  rf_surroundings around = Plain();
  around.limits.io_uring_disabled = around.limits.aio_nr = around.limits.aio_max_nr = -1;
  EXPECT_EQ(Explain(around, "io_uring_setup", ENOSYS).words(),
            "no syscall | io_uring_setup answered ENOSYS: Linux 6.12.1 does not have this call "
            "(built without CONFIG_IO_URING?) | Linux 5.1 or newer with CONFIG_IO_URING=y");
  EXPECT_EQ(Explain(around, "io_setup", ENOSYS).words(),
            "no syscall | io_setup answered ENOSYS: Linux 6.12.1 does not have this call (built "
            "without CONFIG_AIO?) | a kernel with CONFIG_AIO=y");
}

TEST(MissingCall, ThatTheKernelHasIsASandboxes) {
  EXPECT_EQ(Explain(Plain(), "io_uring_setup", ENOSYS).words(),
            "other | io_uring_setup answered ENOSYS: the kernel (Linux 6.12.1) has this call, and "
            "there is no seccomp filter: a sandbox that answers for the kernel? | ");
}

// ---- limits ------------------------------------------------------------------------------------

TEST(Memlock, IsNamedWithItsValueAndThreeWaysToRaiseIt) {
  rf_surroundings around = Plain();
  around.limits.memlock = 65536;
  EXPECT_EQ(Explain(around, "io_uring_setup", ENOMEM).words(),
            "memlock | io_uring_setup answered ENOMEM: RLIMIT_MEMLOCK is 65536 bytes for all rings "
            "of this user together, and the process has no CAP_IPC_LOCK | ulimit -l unlimited; "
            "systemd: LimitMEMLOCK=infinity; docker run --ulimit memlock=-1");
  EXPECT_EQ(
      Explain(around, "io_uring_setup", ENOMEM, true, 32)
          .words()
          .find("memlock | io_uring_setup answered ENOMEM: RLIMIT_MEMLOCK is 65536 bytes for all "
                "rings of this user together, and the process has no CAP_IPC_LOCK; it holds 32 "
                "requests in place of 128 | "),
      0u);
}

TEST(Memlock, IsBlamedUnderAFilterOnlyWhereItIsSmall) {
  rf_surroundings around = Filtered();
  around.limits.memlock = 65536;
  EXPECT_EQ(Explain(around, "io_uring_setup", ENOMEM).cause, RF_CAUSE_MEMLOCK);
  around.limits.memlock = 8 << 20;
  EXPECT_EQ(Explain(around, "io_uring_setup", ENOMEM).cause, RF_CAUSE_SECCOMP);
}

TEST(Memory, ThatIsShortWithoutALimitIsTheKernels) {
  EXPECT_EQ(Explain(Plain(), "io_uring_setup", ENOMEM).words(),
            "memory | io_uring_setup answered ENOMEM: the kernel is short of memory, and no limit "
            "explains it | ");
}

TEST(AioMaxNr, IsNamedWithWhatIsTakenWhatIsAskedForAndALargerValue) {
  rf_surroundings around = Plain();
  around.limits.aio_nr = 65500;
  EXPECT_EQ(Explain(around, "io_setup", EAGAIN).words(),
            "aio-max-nr | io_setup answered EAGAIN: fs.aio-nr is 65500 of fs.aio-max-nr 65536, and "
            "128 were asked for | sysctl -w fs.aio-max-nr=1048576");
  EXPECT_EQ(Explain(around, "io_setup", EAGAIN, true, 36).words(),
            "aio-max-nr | io_setup answered EAGAIN: fs.aio-nr is 65500 of fs.aio-max-nr 65536, and "
            "128 were asked for; it holds 36 requests in place of 128 | sysctl -w "
            "fs.aio-max-nr=1048576");
  around.limits.aio_nr = around.limits.aio_max_nr = 2000000;
  EXPECT_STREQ(Explain(around, "io_setup", EAGAIN).remedy, "sysctl -w fs.aio-max-nr=4000000");
}

TEST(Nofile, IsNamedWithItsValueAndThreeWaysToRaiseIt) {
  EXPECT_EQ(Explain(Plain(), "io_uring_setup", EMFILE).words(),
            "nofile | io_uring_setup answered EMFILE: RLIMIT_NOFILE is 1024 descriptors, and none "
            "is left for the ring | ulimit -n 65536; systemd: LimitNOFILE=65536; docker run "
            "--ulimit nofile=65536");
  rf_surroundings around = Plain();
  around.limits.nofile = 20000;
  EXPECT_STREQ(Explain(around, "io_uring_setup", EMFILE).remedy,
               "ulimit -n 80000; systemd: LimitNOFILE=80000; docker run --ulimit nofile=80000");
  EXPECT_EQ(Explain(Plain(), "io_uring_setup", ENFILE).words(),
            "nofile | io_uring_setup answered ENFILE: the whole system is out of file descriptors "
            "(fs.file-max) | sysctl -w fs.file-max=N with a larger N (now: sysctl fs.file-nr)");
}

TEST(Nproc, IsNamedWhereTheKernelCouldNotStartAWorker) {
  rf_surroundings around = Plain();
  around.rights.max_processes = 0;
  rf_refusal refusal = {};
  refusal.stage = RF_STAGE_IO;
  refusal.call = "io_uring_enter";
  refusal.error = ETIMEDOUT;
  refusal.deed = "a write was taken and not answered";
  refusal.wrong_answer = true;
  EXPECT_EQ(ExplainRefusal(around, refusal).words(),
            "other | io_uring_enter: a write was taken and not answered: the kernel took the "
            "request and never answered; RLIMIT_NPROC is 0, which may keep it from starting the "
            "threads that it needs | ulimit -u unlimited; systemd: LimitNPROC=infinity");
  refusal.error = ECANCELED;
  refusal.deed = "a write";
  refusal.wrong_answer = false;
  EXPECT_EQ(ExplainRefusal(around, refusal).words(),
            "other | io_uring_enter: a write answered ECANCELED: the kernel could not start a "
            "thread that it needs for this; RLIMIT_NPROC is 0 | ulimit -u unlimited; systemd: "
            "LimitNPROC=infinity");
}

TEST(Nproc, IsNamedWhereAnOlderKernelMustNotBeGivenWorkForWorkers) {
  rf_surroundings around = Plain();
  around.rights.max_processes = 0;
  strcpy(around.limits.kernel, "5.10.0");
  const char remedy[] = " | ulimit -u unlimited; systemd: LimitNPROC=infinity, TasksMax=infinity; "
                        "docker run --pids-limit -1";
  EXPECT_EQ(Explain(around, "clone", EAGAIN).words(),
            std::string("other | clone answered EAGAIN: no thread can be started, and without its "
                        "workers a ring of Linux 5.10.0 may never return; RLIMIT_NPROC is 0, the "
                        "other limit is the cgroup's pids.max") +
                remedy);
  around.rights.max_processes = INT64_MAX;
  around.limits.seccomp = 2;
  EXPECT_EQ(Explain(around, "clone", EAGAIN).words(),
            std::string("other | clone answered EAGAIN: no thread can be started, and without its "
                        "workers a ring of Linux 5.10.0 may never return; RLIMIT_NPROC is "
                        "unlimited, the other limit is the cgroup's pids.max") +
                remedy);
}

// ---- the rest ----------------------------------------------------------------------------------

TEST(Permission, WithoutFilterOrSysctlIsPerhapsASecurityModules) {
  EXPECT_EQ(Explain(Plain(), "io_uring_setup", EPERM).words(),
            "permission | io_uring_setup answered EPERM: neither a seccomp filter nor a sysctl "
            "explains it; a security module? | look for the denial: journalctl -k | grep -iE "
            "'denied|apparmor|avc'");
  rf_surroundings blind = Plain();
  blind.limits.seccomp = -1;
  EXPECT_STREQ(Explain(blind, "io_setup", EACCES).why,
               "io_setup answered EACCES: /proc does not say whether a seccomp filter is active; a "
               "security module?");
}

TEST(Flag, ThatAKernelDoesNotKnowIsNoFaultOfAnybodys) {
  EXPECT_EQ(Explain(Plain(), "io_uring_setup", EINVAL, true).words(),
            "flag | io_uring_setup answered EINVAL: Linux 6.12.1 does not know a flag or an op of "
            "it; a lesser set of flags is in use | ");
}

TEST(Storage, ThatRefusesTheProbesOwnDataIsNamed) {
  rf_surroundings around = Plain();
  around.in_directory = true;
  rf_refusal refusal = {};
  refusal.stage = RF_STAGE_IO;
  refusal.call = "io_uring_enter";
  refusal.error = ENOSPC;
  refusal.deed = "a write";
  EXPECT_EQ(
      ExplainRefusal(around, refusal).words(),
      "storage | io_uring_enter: a write answered ENOSPC: the directory's file system refused "
      "it | look at the directory itself: ringfall probe DIR");
}

TEST(Nothing, RefusedIsNothingSaid) {
  Verdict verdict = Explain(Plain(), "io_uring_setup", 0, true);
  EXPECT_EQ(verdict.words(), "none |  | ");
  EXPECT_STREQ(verdict.syscall, "");
}

} // namespace
