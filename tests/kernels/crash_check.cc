// SPDX-License-Identifier: Apache-2.0
// Cuts the power at many points of what crash_guest.cc did, and looks at what is left each time.
//
//     crash_check LOG IMAGE DIRECTORY POINTS|all
//
// LOG is the log of QEMU's blklogwrites driver (dm-log-writes' format), IMAGE the disk before the
// first of its entries, DIRECTORY a place for temporary files.  At each point two disks are made:
//   flushed    only what was flushed, or written past the cache (FUA), has reached the medium
//   all        every write up to the point has; or, by turns,
//   some       a random part of what was not flushed, as when a disk writes back in any order
// Each goes through what a boot does (e2fsck -p: the journal is replayed, and no damage is allowed
// to be found); then everything that was marked as acknowledged before the point must be there, and
// each file that was replaced must be one version, whole.
//
// Prints one line for each loss and one for the sum.  0: nothing was lost.  1: something was.
// 2: the log or the tools are not as they must be.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/kernels/crash.h"

namespace {

using namespace crash;

using Bytes = std::vector<unsigned char>;

// ---- the log -----------------------------------------------------------------------------------

struct Entry {
  enum : uint64_t { kFlush = 1, kFua = 2, kDiscard = 4 };
  uint64_t offset; // on the disk, bytes
  uint64_t size;
  uint64_t flags;
  size_t data; // where in the log
};

uint64_t Little64(const Bytes &from, size_t at) {
  uint64_t value = 0;
  if (at + 8 > from.size()) throw std::runtime_error("the log ends too early");
  for (size_t i = 8; i-- > 0;) value = value << 8 | from[at + i];
  return value;
}

Bytes ReadFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be read");
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

// The format: a sector with magic, version, entries, sector size; then for each entry a sector
// (place and length in sectors, flags) and its data.
std::vector<Entry> ReadEntries(const Bytes &log) {
  constexpr uint64_t kLogMagic = 0x6a736677736872;
  if (Little64(log, 0) != kLogMagic) throw std::runtime_error("this is no log of writes");
  uint64_t count = Little64(log, 16), sector = Little64(log, 24) & 0xffffffff;
  std::vector<Entry> entries;
  size_t at = sector;
  for (uint64_t i = 0; i < count; i++) {
    Entry entry = {Little64(log, at) * sector, Little64(log, at + 8) * sector,
                   Little64(log, at + 16), at + sector};
    at += sector + (entry.flags & Entry::kDiscard ? 0 : entry.size);
    entries.push_back(entry);
  }
  if (at > log.size()) throw std::runtime_error("the log ends too early");
  return entries;
}

// ---- what is left ------------------------------------------------------------------------------

// Version by block, file by file: what has been acknowledged.
using Acknowledged = std::map<std::pair<uint32_t, uint32_t>, uint64_t>;

uint64_t VersionOf(const Acknowledged &acknowledged, uint32_t file, uint32_t block) {
  auto found = acknowledged.find({file, block});
  return found == acknowledged.end() ? 0 : found->second;
}

// Each block: the version acknowledged, or the one that was being written then.
std::string CheckBlocks(const Bytes &content, uint32_t file, const Acknowledged &acknowledged) {
  for (auto at = acknowledged.lower_bound({file, 0}); at != acknowledged.end(); ++at) {
    auto [number, block] = at->first;
    if (number != file) break;
    uint64_t version = 0;
    if ((block + 1) * kBlock <= content.size())
      version = crash::VersionOf(&content[block * kBlock], file, block);
    if (version != at->second && version != at->second + 1)
      return "block " + std::to_string(block) + " has version " + std::to_string(version) +
             ", and " + std::to_string(at->second) + " was acknowledged";
  }
  return "";
}

// The old file or the new one, whole.
std::string CheckReplaced(const Bytes &content, uint32_t file, uint64_t acknowledged) {
  if (content.empty() && acknowledged == 0) return "";
  uint64_t version = content.size() < kBlock ? 0 : crash::VersionOf(&content[0], file, 0);
  std::string is = "has version " + std::to_string(version) + ", and " +
                   std::to_string(acknowledged) + " was acknowledged";
  if (version == 0 || (version != acknowledged && version != acknowledged + 1)) return is;
  if (content.size() != BlocksOfVersion(version) * kBlock) return is + "; its size is another's";
  for (uint32_t block = 0; block < BlocksOfVersion(version); block++)
    if (crash::VersionOf(&content[block * kBlock], file, block) != version)
      return is + "; block " + std::to_string(block) + " is another's";
  return "";
}

int Shell(const std::string &command) {
  int status = system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

class Checker {
public:
  explicit Checker(std::string directory)
      : directory_(std::move(directory)), image_(directory_ + "/crash.img"),
        files_(directory_ + "/files") {}

  // The disk after the power cut.
  void Check(const Bytes &disk, const Acknowledged &acknowledged, const std::string &name) {
    points_++;
    std::ofstream(image_, std::ios::binary)
        .write(reinterpret_cast<const char *>(disk.data()), kFileSystem);
    int status = Shell("e2fsck -fp " + image_ + " >" + directory_ + "/e2fsck 2>&1");
    if (status > 1) { // 1: the journal was replayed
      Loss(name, "the file system is damaged: e2fsck ends with " + std::to_string(status));
      return;
    }
    Shell("rm -rf " + files_ + "; mkdir " + files_);
    if (Shell("debugfs -R 'rdump / " + files_ + "' " + image_ + " >/dev/null 2>&1") != 0)
      throw std::runtime_error("debugfs failed");
    for (uint32_t file = 0; file < kFiles; file++) CheckFile(file, acknowledged, name);
  }

  unsigned points() const { return points_; }
  unsigned losses() const { return losses_; }

private:
  void CheckFile(uint32_t file, const Acknowledged &acknowledged, const std::string &name) {
    std::string path = files_ + "/" + NameOf(file), wrong;
    Bytes content = access(path.c_str(), F_OK) == 0 ? ReadFile(path) : Bytes();
    if (WorkloadOf(file).kind == Kind::kReplace)
      wrong = CheckReplaced(content, file, VersionOf(acknowledged, file, 0));
    else
      wrong = CheckBlocks(content, file, acknowledged);
    if (!wrong.empty()) Loss(name, NameOf(file) + " " + wrong);
  }

  void Loss(const std::string &name, const std::string &what) {
    constexpr unsigned kShown = 10;
    if (++losses_ <= kShown) printf("%s: %s\n", name.c_str(), what.c_str());
  }

  std::string directory_, image_, files_;
  unsigned points_ = 0, losses_ = 0;
};

// ---- the replay --------------------------------------------------------------------------------

class Replay {
public:
  Replay(Bytes log, Bytes disk)
      : log_(std::move(log)), entries_(ReadEntries(log_)), all_(std::move(disk)) {
    all_.resize(kFileSystem + kBlock);
    flushed_ = all_;
  }

  size_t size() const { return entries_.size(); }
  size_t acknowledged_count() const { return acknowledgements_; }
  bool IsFlush(size_t i) const { return (entries_[i].flags & Entry::kFlush) != 0; }
  size_t Flushes() const {
    return static_cast<size_t>(std::count_if(entries_.begin(), entries_.end(), [](const Entry &e) {
      return (e.flags & Entry::kFlush) != 0;
    }));
  }

  // Takes the next entry.
  void Step(size_t i) {
    const Entry &entry = entries_[i];
    if (entry.flags & Entry::kFlush) {
      for (const Entry *waiting : waiting_) Write(&flushed_, *waiting);
      waiting_.clear();
    }
    if (entry.flags & Entry::kDiscard || entry.size == 0) return;
    if (entry.offset + entry.size > all_.size()) throw std::runtime_error("a write past the disk");
    if (entry.offset >= kFileSystem) return TakeMark(entry);
    Write(&all_, entry);
    if (entry.flags & Entry::kFua) Write(&flushed_, entry);
    waiting_.push_back(&entry); // a FUA write, too: older ones must not come over it
  }

  void Check(size_t i, std::mt19937 *random, Checker *checker) const {
    std::string point = "entry " + std::to_string(i);
    checker->Check(flushed_, acknowledged_, point + ", flushed");
    if ((*random)() % 2 == 0) return checker->Check(all_, acknowledged_, point + ", all");
    Bytes some = flushed_;
    for (const Entry *waiting : waiting_)
      if (waiting->flags & Entry::kFua || (*random)() % 2 == 0) Write(&some, *waiting);
    checker->Check(some, acknowledged_, point + ", some");
  }

private:
  void Write(Bytes *disk, const Entry &entry) const {
    memcpy(disk->data() + entry.offset, log_.data() + entry.data, entry.size);
  }

  void TakeMark(const Entry &entry) {
    Mark mark;
    if (entry.size != sizeof(mark)) throw std::runtime_error("a mark of another size");
    memcpy(&mark, log_.data() + entry.data, sizeof(mark));
    if (mark.magic != Mark::kMagic) throw std::runtime_error("a mark without its magic");
    for (uint64_t i = 0; i < mark.count; i++)
      acknowledged_[{mark.acks[i].file, mark.acks[i].block}] = mark.acks[i].version;
    acknowledgements_ += mark.count;
  }

  Bytes log_;
  std::vector<Entry> entries_;
  Bytes all_, flushed_;
  std::vector<const Entry *> waiting_; // written, not flushed
  Acknowledged acknowledged_;
  size_t acknowledgements_ = 0;
};

int Run(char **arguments) {
  Replay replay(ReadFile(arguments[1]), ReadFile(arguments[2]));
  Checker checker(arguments[3]);
  std::mt19937 random(1);
  size_t flushes = replay.Flushes(), seen = 0, taken = 0;
  size_t points = strcmp(arguments[4], "all") == 0 ? flushes : strtoul(arguments[4], nullptr, 10);
  if (points == 0 || flushes < points) throw std::runtime_error("too few flushes in the log");
  // Evenly over the flushes.  Just before one is where most has been acknowledged since the last.
  for (size_t i = 0; i < replay.size(); i++) {
    if (replay.IsFlush(i) && seen++ * points / flushes >= taken) {
      replay.Check(i, &random, &checker);
      taken++;
    }
    replay.Step(i);
  }
  replay.Check(replay.size(), &random, &checker);
  printf("%u disks after power cuts at %zu points of %zu writes and %zu flushes, "
         "%zu acknowledgements: %u losses\n",
         checker.points(), taken + 1, replay.size() - flushes, flushes, replay.acknowledged_count(),
         checker.losses());
  if (replay.acknowledged_count() == 0) throw std::runtime_error("nothing was acknowledged");
  return checker.losses() == 0 ? 0 : 1;
}

} // namespace

int main(int count, char **arguments) try {
  if (count != 5) throw std::runtime_error("crash_check LOG IMAGE DIRECTORY POINTS|all");
  return Run(arguments);
} catch (const std::exception &error) {
  fprintf(stderr, "crash_check: %s\n", error.what());
  return 2;
}
