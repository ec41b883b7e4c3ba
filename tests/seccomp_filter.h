// SPDX-License-Identifier: Apache-2.0
// Seccomp filters for tests: chosen system calls get chosen answers, all others go through.
//
// A filter cannot be taken off again: install it in a child only (in_child.h).
#ifndef RINGFALL_TESTS_SECCOMP_FILTER_H
#define RINGFALL_TESTS_SECCOMP_FILTER_H

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace seccomp_filter {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#elif defined(__riscv) && __riscv_xlen == 64
constexpr uint32_t kArchitecture = AUDIT_ARCH_RISCV64;
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
constexpr uint32_t kArchitecture = AUDIT_ARCH_PPC64LE;
#elif defined(__s390x__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_S390X;
#else
#error "add this machine's AUDIT_ARCH_ constant"
#endif

struct Rule {
  long call;         // SYS_...
  uint32_t action;   // SECCOMP_RET_...
  int argument = -1; // if not negative: only when this argument (0 to 5) has one of these bits
  uint32_t bits = 0;
};

// The call is not made; it answers this errno.
inline Rule Deny(long call, int error) {
  return {call, SECCOMP_RET_ERRNO | (static_cast<uint32_t>(error) & SECCOMP_RET_DATA), -1, 0};
}

// As Deny, but only when a flag is among the call's arguments.
inline Rule DenyFlag(long call, int argument, uint32_t bits, int error) {
  Rule rule = Deny(call, error);
  rule.argument = argument;
  rule.bits = bits;
  return rule;
}

// The call ends the process with SIGSYS.
inline Rule Kill(long call) {
  return {call, SECCOMP_RET_KILL_PROCESS, -1, 0};
}

// Filters see 64-bit arguments as two words.
constexpr size_t LowHalf(int argument) {
  size_t at = offsetof(seccomp_data, args) + sizeof(uint64_t) * static_cast<size_t>(argument);
  return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? at : at + sizeof(uint32_t);
}

// Puts the filter on all threads of this process.  0 or -errno.  A call by another architecture's
// numbers ends the process, as it should in every filter that looks at numbers.
inline int Install(std::initializer_list<Rule> rules) {
  auto load = [](size_t offset) {
    return sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset));
  };
  auto answer = [](uint32_t action) { return sock_filter BPF_STMT(BPF_RET | BPF_K, action); };
  std::vector<sock_filter> program;
  program.push_back(load(offsetof(seccomp_data, arch)));
  program.push_back(sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0));
  program.push_back(answer(SECCOMP_RET_KILL_PROCESS));
  for (const Rule &rule : rules) {
    bool flagged = rule.argument >= 0;
    program.push_back(load(offsetof(seccomp_data, nr)));
    program.push_back(sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                           static_cast<uint32_t>(rule.call), 0,
                                           static_cast<uint8_t>(flagged ? 3 : 1)));
    if (flagged) {
      program.push_back(load(LowHalf(rule.argument)));
      program.push_back(sock_filter BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, rule.bits, 0, 1));
    }
    program.push_back(answer(rule.action));
  }
  program.push_back(answer(SECCOMP_RET_ALLOW));
  sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -errno;
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) != 0)
    return -errno;
  return 0;
}

} // namespace seccomp_filter

#endif
