// SPDX-License-Identifier: Apache-2.0
// What crash_guest.cc, which writes in a virtual machine, and crash_check.cc, which looks at what
// a power cut would have left of it, have to agree on.
//
// The disk: a file system in its first kFileSystem bytes, and behind that one block for marks.  The
// guest writes a mark there after it has learned that something is durable and before it goes on.
// QEMU logs the mark with all other writes in one order, so whatever a mark acknowledges was
// durable by the entries of the log before it.
#ifndef RINGFALL_TESTS_KERNELS_CRASH_H
#define RINGFALL_TESTS_KERNELS_CRASH_H

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace crash {

constexpr uint64_t kFileSystem = 16 << 20;
constexpr size_t kBlock = 4096;
constexpr unsigned kSlots = 32; // blocks of a file that is written over

enum class Kind { kOverwrite, kAppend, kReplace };
enum class Sync { kFdatasync, kFsync, kDsync };

struct Workload {
  const char *name;
  Kind kind;
  Sync sync;
  bool direct;
};

constexpr Workload kWorkloads[] = {
    {"overwrite_fdatasync", Kind::kOverwrite, Sync::kFdatasync, false},
    {"overwrite_direct_fdatasync", Kind::kOverwrite, Sync::kFdatasync, true},
    {"overwrite_dsync", Kind::kOverwrite, Sync::kDsync, false},
    {"overwrite_direct_dsync", Kind::kOverwrite, Sync::kDsync, true},
    {"append_fsync", Kind::kAppend, Sync::kFsync, false},
    {"append_direct_fdatasync", Kind::kAppend, Sync::kFdatasync, true},
    {"append_dsync", Kind::kAppend, Sync::kDsync, false},
    {"replace_fsync", Kind::kReplace, Sync::kFsync, false},
    {"replace_direct_fsync", Kind::kReplace, Sync::kFsync, true},
};
constexpr unsigned kWorkloadCount = sizeof(kWorkloads) / sizeof(kWorkloads[0]);
constexpr const char *kBackends[] = {"io_uring", "libaio", "threads"};
constexpr unsigned kFiles = 3 * kWorkloadCount;

// Files are numbered: backend by backend, workload by workload.
inline const Workload &WorkloadOf(uint32_t file) {
  return kWorkloads[file % kWorkloadCount];
}
inline std::string NameOf(uint32_t file) {
  return std::string(WorkloadOf(file).name) + "." + kBackends[file / kWorkloadCount];
}

// A file that is replaced has one block more or less with each version.
inline unsigned BlocksOfVersion(uint64_t version) {
  return 3 + version * 7 % 12;
}

// "This version of this block (0 for a whole file that was replaced) is durable."
struct Ack {
  uint32_t file;
  uint32_t block;
  uint64_t version; // from 1 on; a block is not written anew before this one is acknowledged
};

struct Mark {
  static constexpr uint64_t kMagic = UINT64_C(0x72696e6766616c6c);
  uint64_t magic;
  uint64_t count;
  Ack acks[(kBlock - 16) / sizeof(Ack)];
};
static_assert(sizeof(Mark) == kBlock, "one block a mark");

// A block tells which it is, and all the rest of it follows from that.
inline uint64_t WordAt(const Ack &which, size_t at) {
  uint64_t word = (which.version << 24 ^ uint64_t{which.file} << 16 ^ which.block) + at * 8191;
  word = (word ^ word >> 31) * UINT64_C(0x9E3779B97F4A7C15);
  return word ^ word >> 29;
}

inline void Fill(void *block, const Ack &which) {
  auto *words = static_cast<uint64_t *>(block);
  memcpy(words, &which, sizeof(which));
  for (size_t i = sizeof(which) / 8; i < kBlock / 8; i++) words[i] = WordAt(which, i);
}

// The version of this block of this file, if all of it is there; else 0.
inline uint64_t VersionOf(const void *block, uint32_t file, uint32_t number) {
  Ack found;
  memcpy(&found, block, sizeof(found));
  if (found.file != file || found.block != number) return 0;
  alignas(8) unsigned char whole[kBlock];
  Fill(whole, found);
  return memcmp(whole, block, kBlock) == 0 ? found.version : 0;
}

} // namespace crash

#endif
